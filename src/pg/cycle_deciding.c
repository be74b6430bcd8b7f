/*-------------------------------------------------------------------------
 * cycle_deciding.c
 *		From a group's answers to its decision, or to further questions.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/utilization.h"
#include "pg/crash_points.h"
#include "pg/cycle_parts.h"
#include "pg/explain.h"
#include "pg/predictors.h"
#include "pg/resolution.h"
#include "pg/worker.h"
#include "utils/float.h"
#include "utils/timestamp.h"

void
qpsscale_localize_error(QsError *error)
{
	qpsscale_localize(error->code);
	qpsscale_localize(error->message);
}

static void
note_error(QpsscaleGroup *group, const char *source, const QsError *error)
{
	if (error->class == QS_ERROR_NONE || group->error_source != NULL)
		return;
	group->error_source = source;
	group->error = *error;
	group->error_message = error->code[0] == '\0' ? pstrdup(error->message) :
		psprintf("%s: %s", error->code, error->message);
}

/* Are the instances of an accepted scale-up all there, and do they serve? */
static bool
wants_in_service(const QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;
	const QsCapacity *capacity = &group->target.capacity;

	/* or has something come of what the cloud did not deliver? */
	if (group->stock_out.unfulfilled > 0 && capacity->known &&
		capacity->total > group->stock_out.fulfilled)
		return true;
	return open->status == ACTIVITY_ACCEPTED && capacity->known &&
		open->desired >= open->base && capacity->desired == open->desired &&
		capacity->total == open->desired;
}

/* What people see of a signal that is made of pods; NaN: nothing. */
static double
percent_used(const QsSignal *signal, int64 now)
{
	const QsReading *reading = &signal->reading;
	QsUtilization u;

	qs_utilization(reading->pods, reading->n_pods, reading->is_memory,
				   signal->target, signal->tolerance, 0, now, &u);
	return u.problem != NULL ? get_float8_nan() : u.percent;
}

TimestampTz
qpsscale_observed_at(const Observer *observer)
{
	return qpsscale_timestamptz(observer->bucket *
								Max(observer->metric_resolution_s, 1) *
								USECS_PER_SEC);
}

void
qpsscale_decide_group(QpsscaleGroup *group)
{
	group->decided_at = GetCurrentTimestamp();
	for (int i = 0; i < group->n_signals; i++)
	{
		QsSignal   *signal = &group->signals[i];

		signal->asked = group->sources[i].batched;
		signal->reading = group->sources[i].target.reading;
		if (signal->reading.n_pods > 0)
			signal->reading.value =
				percent_used(signal, qpsscale_unix_us(group->decided_at));
	}
	if (group->observed_at != 0)
		qpsscale_predict(group, group->observed_at);
	qs_decide(&group->policy, &group->target.load, &group->target.capacity,
			  &group->target.activity, group->signals, group->n_signals,
			  &group->history,
			  qpsscale_unix_us(group->decided_at), &group->decision);
}

/* The cloud could not even be asked: say that, not "no metrics". */
static void
decide_without_account(QpsscaleGroup *group, const char *problem)
{
	QsError		error;

	qs_error_clear(&error);
	qs_error_set(&error, QS_ERROR_CREDENTIAL, "", "%s", problem);
	note_error(group, "account", &error);
	qpsscale_decide_group(group);
	group->decision.reason = QS_REASON_EVALUATION_ERROR;
}

static void
log_decision(const Cycle *cycle, const QpsscaleGroup *group)
{
	if (!cycle->settings->detailed_logging)
		return;
	ereport(qpsscale_elevel(LOG),
			(errmsg("resource group \"%s\": %s, %s (load %.1f, desired %d, optimal %d)",
					group->name, qs_action_name(group->decision.action),
					qs_reason_name(group->decision.reason),
					group->decision.load_qps, group->decision.base,
					group->decision.optimal)));
}

static void
decided(Cycle *cycle, QpsscaleGroup *group)
{
	QsTarget   *target = &group->target;

	qpsscale_localize_error(&target->capacity_error);
	qpsscale_localize_error(&target->load_error);
	qpsscale_localize_error(&target->activity_error);
	qpsscale_localize_error(&target->in_service_error);
	note_error(group, "capacity", &target->capacity_error);
	note_error(group, "load", &target->load_error);
	/* what may not be listed does not stop a group; validate tells */
	if (!target->activity.known || target->activity.rival)
		note_error(group, "activities", &target->activity_error);
	note_error(group, "in_service", &target->in_service_error);
	for (int i = 0; i < group->n_signals; i++)
	{
		QsError    *error = &group->sources[i].target.reading_error;

		qpsscale_localize_error(error);
		note_error(group, psprintf("signal %s", group->signals[i].name),
				   error);
	}
	log_decision(cycle, group);
	qpsscale_enter(cycle, group, STAGE_DECIDED);
	QPSSCALE_CRASH_POINT(decided);
}

void
qpsscale_refuse_account(Cycle *cycle, QpsscaleGroup *group, const char *problem)
{
	qpsscale_resolve_open(group, cycle->settings);
	decide_without_account(group, problem);
	decided(cycle, group);
}

/*
 * All answers that were asked for are there: decide, or ask what a group about
 * to act needs.
 */
void
qpsscale_consider(Cycle *cycle, QpsscaleGroup *group)
{
	bool		in_service;
	bool		activities;
	bool		vetoes;

	qpsscale_resolve_open(group, cycle->settings);
	group->observed_at = qpsscale_observed_at(&cycle->observer);
	qpsscale_decide_group(group);

	/* where the capacity's answer says it, it is known already */
	in_service = !cycle->over && !group->asked_in_service &&
		group->target.capacity.known &&
		group->target.capacity.in_service == QS_UNKNOWN &&
		(group->decision.needs_in_service || wants_in_service(group) ||
		 cycle->request->validate);
	activities = !cycle->over && !group->asked_activities &&
		group->batch != NULL &&
		(group->decision.needs_activities || cycle->request->validate ||
		 qpsscale_changed_by_others(group));
	vetoes = !cycle->over && !group->asked_vetoes &&
		(group->decision.needs_vetoes || cycle->request->validate);
	if (!in_service && !activities && !vetoes)
	{
		decided(cycle, group);
		return;
	}
	qpsscale_enter(cycle, group, STAGE_CHECKING);
	/* not ready before both were asked, even if one fails at once */
	group->pending[QS_CALL_IN_SERVICE]++;
	if (in_service)
		qpsscale_ask_in_service(&cycle->observer, group);
	if (activities)
		qpsscale_ask_activities(&cycle->observer, group);
	if (activities && cycle->request->validate)
		qpsscale_try_write(&cycle->observer, group);
	if (vetoes)
		qpsscale_ask_vetoes(&cycle->observer, group);
	group->pending[QS_CALL_IN_SERVICE]--;
	if (group->stage == STAGE_CHECKING &&
		group->pending[QS_CALL_IN_SERVICE] == 0 &&
		group->pending[QS_CALL_ACTIVITIES] == 0 &&
		group->pending[QS_CALL_SIGNAL] == 0)
		qpsscale_consider(cycle, group);
}
