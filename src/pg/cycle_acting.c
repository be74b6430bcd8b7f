/*-------------------------------------------------------------------------
 * cycle_acting.c
 *		From a decision to its outcome: intent, call, record.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pg/conflict.h"
#include "pg/crash_points.h"
#include "pg/cycle_parts.h"
#include "pg/execution.h"
#include "pg/explain.h"
#include "pg/intervention.h"
#include "pg/resolution.h"
#include "pg/worker.h"
#include "utils/timestamp.h"

static void
acted(Cycle *cycle, QpsscaleGroup *group)
{
	QsTarget   *target = &group->target;
	QsError    *error = &target->set_error;

	QPSSCALE_CRASH_POINT(reply_received);
	qpsscale_localize_error(error);
	qpsscale_localize(target->set_request_id);
	if (target->set_accepted)
	{
		group->outcome = ACTIVITY_ACCEPTED;
		group->response = target->set_request_id;
	}
	else
	{
		/* no answer: it is unknown, unless it certainly never left */
		group->outcome = error->refused || !group->set_sent ?
			ACTIVITY_FAILED : ACTIVITY_UNKNOWN;
		group->outcome_message = error->code[0] == '\0' ?
			pstrdup(error->message) :
			psprintf("%s: %s", error->code, error->message);
	}
	group->not_tried = !target->set_accepted && !group->set_sent &&
		(strcmp(error->code, "deadline") == 0 ||
		 strcmp(error->code, "endpoint_down") == 0 ||
		 strcmp(error->code, "withdrawn") == 0 ||
		 strcmp(error->code, "disabled") == 0);
	qpsscale_enter(cycle, group, STAGE_ACTED);
}

static void
refuse_to_act(Cycle *cycle, QpsscaleGroup *group, const char *code,
			  const char *why)
{
	qs_error_set(&group->target.set_error, QS_ERROR_TERMINAL, code, "%s", why);
	group->target.set_error.refused = true;
	acted(cycle, group);
}

/*
 * The commit may have waited for a standby, and the process may have been
 * stopped, for any length of time.  Whoever finds the intent elsewhere counts
 * from the time in its row, by the wall clock (see resolve_unknown()), and must
 * not meet a call that leaves later.
 */
static bool
too_late(const Cycle *cycle, const QpsscaleGroup *group)
{
	return cycle->over ||
		qs_net_now_ms() >= cycle->observer.deadline_ms ||
		TimestampDifferenceExceeds(group->decided_at, GetCurrentTimestamp(),
								   qpsscale_cycle_deadline_ms(cycle->settings));
}

/* The intent is committed: this process, and no other, may now call. */
static void
act(Cycle *cycle, QpsscaleGroup *group)
{
	qpsscale_enter(cycle, group, STAGE_ACTING);
	if (!cycle->settings->enabled)
		refuse_to_act(cycle, group, "disabled",
					  "qpsscale.enabled was switched off before the call");
	else if (too_late(cycle, group))
		refuse_to_act(cycle, group, "deadline",
					  "the cycle's deadline had passed before the call");
	else
	{
		QPSSCALE_CRASH_POINT(call_starting);
		qpsscale_set_capacity(&cycle->observer, group,
							  group->decision.desired);
		QPSSCALE_CRASH_POINT(call_submitted);
		if (group->stage == STAGE_ACTING &&
			group->pending[QS_CALL_SET_CAPACITY] == 0)
			acted(cycle, group);
	}
}

/* The call has been answered, or its object has been read once more. */
void
qpsscale_go_on_acting(Cycle *cycle, QpsscaleGroup *group)
{
	if (group->rereading)
	{
		if (qpsscale_conflict_decide_again(group, cycle->settings,
										   qpsscale_decide_group))
			act(cycle, group);
		else
			acted(cycle, group);
	}
	else if (!qpsscale_conflict_read_again(&cycle->observer, group))
		acted(cycle, group);
	else if (group->rereading &&
			 group->pending[QS_CALL_CAPACITY] == 0)
		qpsscale_go_on_acting(cycle, group);
}

/* ----------
 * The two transactions
 * ----------
 */
static QpsscaleGroup **
gather(Cycle *cycle, GroupStage stage, int *n)
{
	QpsscaleGroup **groups = palloc_extended(sizeof(QpsscaleGroup *) *
											 Max(cycle->in_stage[stage], 1),
											 MCXT_ALLOC_HUGE);

	*n = 0;
	for (int i = 0; i < cycle->snapshot->n_groups; i++)
		if (cycle->snapshot->groups[i].stage == stage)
			groups[(*n)++] = &cycle->snapshot->groups[i];
	return groups;
}

void
qpsscale_log_step_error(const char *what, ErrorData *error)
{
	ereport(qpsscale_elevel(ERROR),
			(errcode(error->sqlerrcode),
			 errmsg("qpsscale could not %s: %s", what, error->message)));
}

/* An operator's number that cannot be set is not even recorded, nor is a
 * decision that cannot be executed. */
static int
leave_refused(Cycle *cycle, QpsscaleGroup **groups, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		if (cycle->request->by_hand != NULL ?
			qpsscale_intervention_refused(groups[i]) :
			qpsscale_execution_refused(groups[i]))
			qpsscale_enter(cycle, groups[i], STAGE_FINISHED);
		else
			groups[left++] = groups[i];
	}
	return left;
}

void
qpsscale_intend(Cycle *cycle)
{
	int			n;
	QpsscaleGroup **groups = gather(cycle, STAGE_DECIDED, &n);
	bool		durable = false;
	ErrorData  *error;

	cycle->flushed_ms = qs_net_now_ms();
	if (cycle->request->validate)
	{
		for (int i = 0; i < n; i++)
			qpsscale_enter(cycle, groups[i], STAGE_FINISHED);
		return;
	}
	if (cycle->request->by_hand != NULL ||
		cycle->request->selection.execute != NULL)
		n = leave_refused(cycle, groups, n);
	qpsscale_worker_state("writing decisions");
	if (!qpsscale_store_intend(groups, n, cycle->settings->metric_period_s,
							   qpsscale_observed_at(&cycle->observer), &durable, &error))
		qpsscale_log_step_error("write decisions", error);
	else if (!durable)
		ereport(WARNING,
				(errmsg("qpsscale does not act: no synchronous standby has confirmed the intent"),
				 errhint("The intents are resolved by reading the cloud.")));
	QPSSCALE_CRASH_POINT(intent_committed);
	/* a termination must be seen before the call, not after it */
	CHECK_FOR_INTERRUPTS();
	qpsscale_worker_state("acting");
	cycle->act_started_ms = qs_net_now_ms();
	for (int i = 0; i < n; i++)
	{
		QpsscaleGroup *group = groups[i];

		if (durable && group->activity_id != 0 && !group->decision.dry_run)
			act(cycle, group);
		else
		{
			if (group->activity_id != 0 && !group->decision.dry_run)
				group->outcome_message = "not sent: no synchronous standby has confirmed the intent";
			qpsscale_enter(cycle, group, STAGE_FINISHED);
		}
	}
	if (cycle->in_stage[STAGE_ACTING] == 0)
		qpsscale_worker_state("observing");
}

void
qpsscale_record(Cycle *cycle)
{
	int			n;
	QpsscaleGroup **groups = gather(cycle, STAGE_ACTED, &n);
	ErrorData  *error;

	cycle->flushed_ms = qs_net_now_ms();
	qpsscale_worker_state("recording");
	QPSSCALE_CRASH_POINT(recording);
	if (!qpsscale_store_record(groups, n, &error))
		qpsscale_log_step_error("record outcomes", error);
	QPSSCALE_CRASH_POINT(outcome_recorded);
	for (int i = 0; i < n; i++)
		qpsscale_enter(cycle, groups[i], STAGE_FINISHED);
}
