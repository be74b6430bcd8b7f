/*-------------------------------------------------------------------------
 * calls.h
 *		Calls under way: made by a provider, carried by net, their answers put
 *		into the groups.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CALLS_H
#define QPSSCALE_CALLS_H

#include "net/net.h"
#include "pg/group.h"
#include "pg/secrets.h"

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

/* Within which limits a call is carried. */
extern QsNetLimits qpsscale_call_limits(const QsCall *call, int64 deadline_ms,
										int request_timeout_ms);

extern void qpsscale_submit(Observer *observer, QsCall *call,
							const QsProvider *provider,
							QpsscaleAccount *account);

/*
 * All are counted in before the first is sent: one that is refused at once
 * must not make a group ready whose other call has not even begun.
 */
extern void qpsscale_submit_all(Observer *observer, QsCallList *calls,
								const QsProvider *provider,
								QpsscaleAccount *account);

/* Calls ready() if no call that the group waits for is open. */
extern void qpsscale_tell_ready(Observer *observer, QpsscaleGroup *group);

/* Takes what net has finished; calls ready(). */
extern void qpsscale_observe_collect(Observer *observer);

/* Calls that would change something and have not left us yet fail as refused. */
extern void qpsscale_withdraw_changes(void);

#endif							/* QPSSCALE_CALLS_H */
