/*-------------------------------------------------------------------------
 * validate_signals.c
 *		What qpsscale_validate() says about what drives and bounds a group
 *		beside requests per second.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/explain_signals.h"
#include "pg/validate.h"

static void
check_signal(ValidationReport *report, const QpsscaleGroup *group, int i)
{
	const QsSignal *signal = &group->signals[i];
	const QsReading *reading = &signal->reading;
	const char *check = psprintf("signal %s", signal->name);
	const char *source = qpsscale_signal_source_name(group, i);
	const char *error = qpsscale_signal_error(&group->sources[i]);
	int64		age_s;

	if (error != NULL)
	{
		qpsscale_report_error(report, check,
							  psprintf("%s cannot be asked for it", source),
							  &group->sources[i].target.reading_error);
		return;
	}
	if (reading->state == QS_READING_UNKNOWN)
	{
		qpsscale_report(report, check, "fail",
						psprintf("%s has not answered", source),
						"Try again; look at qpsscale.errors if it stays.");
		return;
	}
	if (reading->state == QS_READING_EMPTY)
	{
		qpsscale_report(report, check, signal->empty_is_zero ? "ok" : "warn",
						psprintf("%s answered that there is nothing: that is %s",
								 source, signal->empty_is_zero ? "zero" :
								 "no data"),
						signal->empty_is_zero ? NULL :
						"Check the query; empty_means says what an empty answer means.");
		return;
	}
	if (reading->n_pods > 0)
	{
		qpsscale_report(report, check, "ok",
						psprintf("%s shows %d pods", source, reading->n_pods),
						NULL);
		return;
	}
	age_s = reading->at_us == QS_NEVER ? 0 :
		(qpsscale_unix_us(group->decided_at) - reading->at_us) / USECS_PER_SEC;
	if (signal->max_age_us > 0 && age_s * USECS_PER_SEC > signal->max_age_us)
		qpsscale_report(report, check, "warn",
						psprintf("%s says %g, but that is " INT64_FORMAT " s old",
								 source, reading->value, age_s),
						"It counts as missing: max_age_seconds says how old a value may be.");
	else
		qpsscale_report(report, check,
						reading->state == QS_READING_PARTIAL ? "warn" : "ok",
						psprintf("%s says %g (target %g, " INT64_FORMAT " s old)%s",
								 source, reading->value, signal->target, age_s,
								 reading->state == QS_READING_PARTIAL ?
								 ", but that is partial" : ""),
						reading->state == QS_READING_PARTIAL ?
						"A partial answer may grow the group, never shrink it." :
						NULL);
}

static void
check_driver(ValidationReport *report, const QpsscaleGroup *group)
{
	if (group->policy.target_qps > 0)
		return;
	for (int i = 0; i < group->n_signals; i++)
		if (group->signals[i].role != QS_ROLE_VETO)
			return;
	qpsscale_report(report, "driver", "fail",
					"the group has nothing that drives it",
					"Set alb_id and target_qps, or target_cpu or target_memory, or add a row to qpsscale.signals.");
}

static void
check_schedules(ValidationReport *report, const QpsscaleGroup *group)
{
	const QsPolicy *policy = &group->policy;
	const QsScheduleBound *floor = &policy->schedule_min;
	const QsScheduleBound *cap = &policy->schedule_max;

	if (floor->name == NULL && cap->name == NULL)
		return;
	if (floor->name != NULL && cap->name != NULL &&
		floor->instances > cap->instances)
		qpsscale_report(report, "schedules", "warn",
						psprintf("now \"%s\" wants at least %d, \"%s\" at most %d instances: the floor holds",
								 floor->name, floor->instances, cap->name,
								 cap->instances),
						"SELECT * FROM qpsscale.schedules_at(id, moment) shows what holds when.");
	else if (floor->name != NULL && policy->max_instances != QS_NO_LIMIT &&
			 floor->instances > policy->max_instances)
		qpsscale_report(report, "schedules", "warn",
						psprintf("now \"%s\" wants at least %d instances, but max_instances is %d",
								 floor->name, floor->instances,
								 policy->max_instances),
						"Raise max_instances if the floor is meant.");
	else if (floor->name == NULL)
		qpsscale_report(report, "schedules", "ok",
						psprintf("now at most %d instances by \"%s\"",
								 cap->instances, cap->name), NULL);
	else
		qpsscale_report(report, "schedules", "ok",
						psprintf("now at least %d instances by \"%s\"%s",
								 floor->instances, floor->name,
								 cap->name == NULL ? "" :
								 psprintf(", at most %d by \"%s\"",
										  cap->instances, cap->name)), NULL);
}

void
qpsscale_validate_signals(ValidationReport *report,
						  const QpsscaleGroup *group)
{
	check_driver(report, group);
	for (int i = 0; i < group->n_signals; i++)
		check_signal(report, group, i);
	check_schedules(report, group);
}
