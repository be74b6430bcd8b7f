/*-------------------------------------------------------------------------
 * cycle.h
 *		One cycle: load, observe, decide, intend, act, record.
 *
 * The resident worker runs it for all enabled groups on its interval, and for
 * the groups of a request in between; a one-shot worker runs it once.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CYCLE_H
#define QPSSCALE_CYCLE_H

#include "core/arena.h"
#include "pg/store.h"

typedef struct CycleRequest
{
	StoreSelection selection;
	bool		dry_run;		/* can only make things safer */
	bool		fresh;			/* ask the load even if no newer is published */
	bool		validate;		/* ask everything, write nothing */
	const QpsscaleByHand *by_hand;	/* an operator's number, for one group;
									 * NULL = decide */
} CycleRequest;

typedef struct CycleResult
{
	StoreSnapshot snapshot;
	const char *error;			/* the cycle could not be run, and why */
	const char *hint;
	int			sqlstate;
	int64		calls;
	int64		failed_calls;
	TimestampTz finished_at;	/* of the groups; reading the past comes after */
} CycleResult;

/*
 * Everything is allocated in the current memory context, which the caller
 * resets.  Errors of one group are its own; false when nothing could be done
 * at all.  Throws only what cannot be survived (the process then ends and is
 * started again).
 */
extern bool qpsscale_cycle(const CycleRequest *request, CycleResult *result);

/* The extension is there, of this version and as it was installed; else false
 * with the result's error set. */
extern bool qpsscale_check_extension(const StoreSnapshot *snapshot,
									 CycleResult *result);

/* What reading tables failed with, as the result's error; returns false. */
extern bool qpsscale_load_failed(CycleResult *result, ErrorData *error);

#endif							/* QPSSCALE_CYCLE_H */
