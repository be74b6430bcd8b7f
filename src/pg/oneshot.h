/*-------------------------------------------------------------------------
 * oneshot.h
 *		A backend's call that is carried out by a worker process.
 *
 * The network is never used in a user's backend.  A call goes to the resident
 * worker where one serves the database, else to a worker that is started for
 * it; both see committed rows only, and what they do outlives a ROLLBACK of
 * the caller.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_ONESHOT_H
#define QPSSCALE_ONESHOT_H

#include "pg/host.h"

typedef struct QpsscaleCallSpec
{
	const char *function;		/* for messages: what the user called */
	QpsscaleRequestKind kind;
	bool		all_groups;
	int64		group_id;		/* unless all_groups; the caller sees it */
	bool		dry_run;
	const QpsscaleByHand *by_hand;	/* of SET_CAPACITY */
	const QpsscaleExecute *execute; /* of EXECUTE */
	const QpsscaleDiscoveryPlace *place;	/* of DISCOVER */
} QpsscaleCallSpec;

/*
 * Called once per row of the answer, in the order in which they come.  json
 * is valid text in the database's encoding, freed after the call returns.
 */
typedef void (*QpsscaleRowCallback) (void *context, const char *json);

/*
 * Carries the call out and returns when the worker has said "done".
 * Everything else is an error: 25006 on a standby, 25000 in a parallel query,
 * QS001 when there is no worker or it ended, QS002 on time-out, and whatever
 * the worker reports.
 */
extern void qpsscale_call(const QpsscaleCallSpec *spec,
						  QpsscaleRowCallback row, void *context);

/*
 * The worker's side, for a worker that cannot even begin: answers a request
 * with an error.  Does nothing when the caller has gone.
 */
extern void qpsscale_request_refuse(dsm_handle request, int sqlstate,
									const char *message, const char *detail,
									const char *hint);

#endif							/* QPSSCALE_ONESHOT_H */
