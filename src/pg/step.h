/*-------------------------------------------------------------------------
 * step.h
 *		One transaction of a worker: begin, run, commit, report; or abort.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STEP_H
#define QPSSCALE_STEP_H

#include "postgres.h"

typedef void (*QpsscaleStepBody) (void *argument);

/*
 * Runs body in a transaction with SPI connected and a snapshot pushed.  true
 * when it was committed.  On an error the transaction is rolled back and a
 * copy of the error, allocated in the caller's context, is returned in *error.
 * The caller's memory context is current on return.  durable raises
 * synchronous_commit to at least "on" for this transaction.
 */
extern bool qpsscale_step(const char *what, QpsscaleStepBody body,
						  void *argument, bool durable, ErrorData **error);

/* The same in a subtransaction of the running step. */
extern bool qpsscale_substep(QpsscaleStepBody body, void *argument,
							 ErrorData **error);

/* Transactions since the process began. */
extern int64 qpsscale_step_count(void);

/* Settings of role or database that could stop or change a cycle. */
extern void qpsscale_step_pin_settings(int lock_timeout_ms);

/* Has the last durable step's commit been confirmed by the synchronous
 * standbys, if it must be?  A cancelled wait returns as if it had ended. */
extern bool qpsscale_step_was_replicated(void);

#endif							/* QPSSCALE_STEP_H */
