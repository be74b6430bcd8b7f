/*-------------------------------------------------------------------------
 * observe.h
 *		The calls of a cycle: made by a provider, carried by net, their
 *		answers put into the groups.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_OBSERVE_H
#define QPSSCALE_OBSERVE_H

#include "net/net.h"
#include "pg/cycle.h"
#include "pg/group.h"

typedef struct Observer
{
	QsArena    *arena;
	int			metric_period_s;
	int			metric_resolution_s;
	int64		deadline_ms;	/* of the cycle, net's clock */
	int			request_timeout_ms;
	bool		fresh;
	int64		bucket;			/* publishing interval that is asked for */
	int			pending;		/* calls without an answer */
	int64		last_reply_ms;	/* 0 = none yet */
	int64		last_event_ms;	/* last reply or call */
	int			slowest_ms;		/* longest that an answered call took */
	int64		calls;
	int64		failed_calls;
	struct ParkedCall *parked;	/* wait for other credentials */

	/* Called when a group has all the answers it waits for. */
	void		(*ready) (void *context, QpsscaleGroup *group);
	void	   *context;
} Observer;

/* Starts load, capacity and signal calls for groups in STAGE_OBSERVING that
 * have none yet; their batch, target and pending are set. */
extern void qpsscale_observe(Observer *observer, QpsscaleGroup *groups,
							 int n_groups);

/* The vetoes of a group that is about to shrink. */
extern void qpsscale_ask_vetoes(Observer *observer, QpsscaleGroup *group);

/* Further calls of one group; its error is set if they cannot be made. */
extern void qpsscale_ask_in_service(Observer *observer, QpsscaleGroup *group);
extern void qpsscale_ask_activities(Observer *observer, QpsscaleGroup *group);
extern void qpsscale_set_capacity(Observer *observer, QpsscaleGroup *group,
								  int desired);

/* A write that changes nothing, where the provider has such a one. */
extern void qpsscale_try_write(Observer *observer, QpsscaleGroup *group);

/* The capacity alone, once more; ready when group.rereading and it has come. */
extern void qpsscale_read_again(Observer *observer, QpsscaleGroup *group);

/* Within which limits a call is carried. */
extern QsNetLimits qpsscale_call_limits(const QsCall *call, int64 deadline_ms,
										int request_timeout_ms);

/* Takes what net has finished; calls ready(). */
extern void qpsscale_observe_collect(Observer *observer);

/* Calls that would change something and have not left us yet fail as refused. */
extern void qpsscale_withdraw_changes(void);

/* The deadline has passed: what is still open is charged to its groups. */
extern void qpsscale_observe_abandon(Observer *observer,
									 QpsscaleGroup *groups, int n_groups);

#endif							/* QPSSCALE_OBSERVE_H */
