/*-------------------------------------------------------------------------
 * cycle_parts.h
 *		What the files of a cycle share; nobody else's business.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CYCLE_PARTS_H
#define QPSSCALE_CYCLE_PARTS_H

#include "pg/cycle.h"
#include "pg/observe.h"

typedef struct Cycle
{
	const CycleRequest *request;
	const QpsscaleSettings *settings;
	StoreSnapshot *snapshot;
	Observer	observer;
	int			in_stage[STAGE_FINISHED + 1];
	int64		started_ms;
	int64		act_started_ms;
	int64		flushed_ms;		/* when groups that had arrived last went on */
	bool		over;			/* deadline passed: nothing more is asked */
} Cycle;

/* cycle.c */
extern void qpsscale_enter(Cycle *cycle, QpsscaleGroup *group,
						   GroupStage stage);

/* cycle_deciding.c */

/* In the database's encoding. */
extern void qpsscale_localize_error(QsError *error);

/* The end of the newest point that was there to be read. */
extern TimestampTz qpsscale_observed_at(const Observer *observer);

/* By what is known of the group. */
extern void qpsscale_decide_group(QpsscaleGroup *group);

/* The cloud cannot be asked: that is the decision. */
extern void qpsscale_refuse_account(Cycle *cycle, QpsscaleGroup *group,
									const char *problem);

/* All answers that were asked for are there. */
extern void qpsscale_consider(Cycle *cycle, QpsscaleGroup *group);

/* cycle_acting.c */

/* The call has been answered, or its object has been read once more. */
extern void qpsscale_go_on_acting(Cycle *cycle, QpsscaleGroup *group);

/* Transaction 2 of the groups that are decided, and their calls. */
extern void qpsscale_intend(Cycle *cycle);

/* Transaction 3 of those that have acted. */
extern void qpsscale_record(Cycle *cycle);

extern void qpsscale_log_step_error(const char *what, ErrorData *error);

#endif							/* QPSSCALE_CYCLE_PARTS_H */
