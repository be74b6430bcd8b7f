/*-------------------------------------------------------------------------
 * execution.h
 *		A recorded decision that is carried out: once, and only if the world is
 *		still the one that it was made for.
 *
 * It goes the way of any action.  What is different is said here: when it is
 * refused, what is kept of it, and what the caller is told.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_EXECUTION_H
#define QPSSCALE_EXECUTION_H

#include "pg/store_parts.h"

/* In transaction 1: the decision that was asked for, with the group. */
extern void qpsscale_load_execution(const QpsscaleExecute *asked,
									StoreSnapshot *snapshot,
									MemoryContext context);

/* The group is to get the decision's number. */
extern void qpsscale_execute(QpsscaleGroup *group);

/* Can it not be done?  As qpsscale_intervention_refused(). */
extern bool qpsscale_execution_refused(QpsscaleGroup *group);

/* In transaction 2: the decision is executed, by that activity. */
extern void qpsscale_store_executions(StoreBatch *batch);

/* What became of it, whoever executed it: the JSON text that
 * qpsscale_execute() returns.  NULL if nobody did. */
extern char *qpsscale_execution_result(const QpsscaleExecute *asked);

#endif							/* QPSSCALE_EXECUTION_H */
