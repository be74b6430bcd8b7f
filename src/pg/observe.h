/*-------------------------------------------------------------------------
 * observe.h
 *		What a cycle asks the clouds, by calls that their providers make.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_OBSERVE_H
#define QPSSCALE_OBSERVE_H

#include "pg/calls.h"
#include "pg/cycle.h"

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

/*
 * The loads of at most QS_PAST_TARGETS groups of this cycle from since on and
 * before until; see ask_past() of a provider.  Each group's target, the
 * caller's, gets past or load_error; pending tells whether calls are open.
 */
extern void qpsscale_ask_past(Observer *observer, QpsscaleGroup **groups,
							  QsTarget *targets, int n, TimestampTz since,
							  TimestampTz until);

/* A write that changes nothing, where the provider has such a one. */
extern void qpsscale_try_write(Observer *observer, QpsscaleGroup *group);

/* The capacity alone, once more; ready when group.rereading and it has come. */
extern void qpsscale_read_again(Observer *observer, QpsscaleGroup *group);

/* The deadline has passed: what is still open is charged to its groups. */
extern void qpsscale_observe_abandon(Observer *observer,
									 QpsscaleGroup *groups, int n_groups);

#endif							/* QPSSCALE_OBSERVE_H */
