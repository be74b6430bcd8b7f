/*-------------------------------------------------------------------------
 * explain.c
 *		A decision in words: the explanation and the result of evaluate.
 *
 * The explanation must let somebody who has never seen the code follow the
 * decision from its row alone, so it holds every input, every proposal, every
 * clamp in the order in which it was applied, the winner and the blocker, and
 * a sentence.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "pg/explain.h"
#include "pg/explain_signals.h"
#include "pg/json_writer.h"
#include "utils/timestamp.h"

/*
 * Where the encoding is another one, each character beyond ASCII becomes a
 * question mark.  A conversion needs a transaction and may fail; bytes that do
 * not belong to the encoding would make each later SELECT of the row fail.
 */
void
qpsscale_localize(char *text)
{
	int			encoding = GetDatabaseEncoding();
	char	   *to = text;

	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return;
	for (const char *from = text; *from != '\0'; from++)
	{
		if (!IS_HIGHBIT_SET(*from))
			*to++ = *from;
		else if ((*from & 0xC0) == 0xC0)	/* first byte of a character */
			*to++ = '?';
	}
	*to = '\0';
}

const char *
qpsscale_activity_status_name(ActivityStatus status)
{
	static const char *const names[] = {
		[ACTIVITY_ABSENT] = NULL,
		[ACTIVITY_REQUESTED] = "requested",
		[ACTIVITY_UNKNOWN] = "unknown",
		[ACTIVITY_ACCEPTED] = "accepted",
		[ACTIVITY_SUCCESSFUL] = "successful",
		[ACTIVITY_FAILED] = "failed",
		[ACTIVITY_SUPERSEDED] = "superseded",
	};

	return names[status];
}

const char *
qpsscale_verdict_reason(const QpsscaleGroup *group)
{
	return qs_reason_name(group->decision.reason);
}

static void
explain_load(StringInfo out, const QpsscaleGroup *group)
{
	const QsLoad *load = &group->target.load;

	if (!(group->policy.target_qps > 0))
		return;					/* requests do not drive the group */
	qpsscale_json_open(out, "load", '{');
	qpsscale_json_bool(out, "known", load->known);
	if (load->known)
	{
		qpsscale_json_double(out, "mean_qps", load->mean_qps);
		qpsscale_json_double(out, "newest_qps", load->newest_qps);
		qpsscale_json_unix_us(out, "newest_minute_ended", load->newest_end_us);
	}
	qpsscale_json_int(out, "points", load->points);
	qpsscale_json_int(out, "expected_points", load->expected_points);
	if (group->history.previous_qps >= 0)
		qpsscale_json_double(out, "previous_qps", group->history.previous_qps);
	qpsscale_json_close(out, '}');
}

static void
explain_capacity(StringInfo out, const QpsscaleGroup *group)
{
	const QsCapacity *capacity = &group->target.capacity;

	qpsscale_json_open(out, "capacity", '{');
	qpsscale_json_bool(out, "known", capacity->known);
	if (capacity->known)
	{
		qpsscale_json_count(out, "desired", capacity->desired);
		qpsscale_json_count(out, "total", capacity->total);
		qpsscale_json_count(out, "in_service", capacity->in_service);
		qpsscale_json_int(out, "min", capacity->min);
		qpsscale_json_int(out, "max", capacity->max);
		qpsscale_json_bool(out, "active", capacity->active);
	}
	qpsscale_json_close(out, '}');
}

static void
explain_bound(StringInfo out, const char *key, const QsScheduleBound *bound)
{
	if (bound->name == NULL)
		return;
	qpsscale_json_open(out, key, '{');
	qpsscale_json_text(out, "schedule", bound->name);
	qpsscale_json_int(out, "instances", bound->instances);
	qpsscale_json_close(out, '}');
}

static void
explain_policy(StringInfo out, const QpsscaleGroup *group)
{
	const QsPolicy *policy = &group->policy;

	qpsscale_json_open(out, "policy", '{');
	qpsscale_json_int(out, "version", group->version);
	qpsscale_json_text(out, "mode", policy->mode == QS_MODE_STATIC ?
					   "static" : "dynamic");
	if (policy->target_qps > 0)
		qpsscale_json_double(out, "target_qps", policy->target_qps);
	qpsscale_json_count(out, "min_instances", policy->min_instances);
	qpsscale_json_count(out, "max_instances", policy->max_instances);
	explain_bound(out, "schedule_min", &policy->schedule_min);
	explain_bound(out, "schedule_max", &policy->schedule_max);
	qpsscale_json_bool(out, "enabled", group->enabled);
	qpsscale_json_bool(out, "dry_run", policy->dry_run);
	qpsscale_json_bool(out, "armed", policy->armed);
	qpsscale_json_close(out, '}');
}

static void
explain_breakers(StringInfo out, const QpsscaleGroup *group)
{
	if (group->watch.failed_actions > 0)
		qpsscale_json_int(out, "failed_actions", group->watch.failed_actions);
	if (group->stock_out.unfulfilled > 0)
	{
		qpsscale_json_int(out, "unfulfilled_scale_ups",
						  group->stock_out.unfulfilled);
		qpsscale_json_count(out, "fulfilled_capacity",
							group->stock_out.fulfilled);
		qpsscale_json_unix_us(out, "stock_out_since",
							  group->stock_out.since);
	}
	if (group->history.circuit_open_until != QS_NEVER)
		qpsscale_json_unix_us(out, "circuit_open_until",
							  group->history.circuit_open_until);
}

static void
explain_times(StringInfo out, const QpsscaleGroup *group)
{
	const QsCloudActivity *activity = &group->target.activity;

	qpsscale_json_open(out, "history", '{');
	qpsscale_json_unix_us(out, "last_scale_up_at",
						  group->history.last_scale_up_at);
	qpsscale_json_unix_us(out, "last_scale_down_at",
						  group->history.last_scale_down_at);
	qpsscale_json_unix_us(out, "last_action_at",
						  group->history.last_action_at);
	if (activity->known)
	{
		qpsscale_json_bool(out, "cloud_activity_in_progress",
						   activity->in_progress);
		qpsscale_json_unix_us(out, "cloud_last_activity_at",
							  activity->last_any_at);
	}
	if (group->open.status != ACTIVITY_ABSENT)
		qpsscale_json_text(out, "open_activity",
						   qpsscale_activity_status_name(group->open.resolved));
	explain_breakers(out, group);
	qpsscale_json_close(out, '}');
}

/*
 * What the cloud's own record says caused its newest activity: told only where
 * that is younger than all that we know of, or it might be ours.
 */
static void
explain_cloud_activity(StringInfo out, const QpsscaleGroup *group)
{
	const QsCloudActivity *activity = &group->target.activity;
	int64		last = group->last_action_at == 0 ? QS_NEVER :
		qpsscale_unix_us(group->last_action_at);

	if (!activity->known || activity->newest_at == QS_NEVER ||
		activity->newest_at <= last)
		return;
	qpsscale_json_open(out, "cloud_activity", '{');
	qpsscale_json_unix_us(out, "at", activity->newest_at);
	if (activity->newest_category[0] != '\0')
		qpsscale_json_text(out, "category", activity->newest_category);
	qpsscale_json_close(out, '}');
}

/* The desired capacity is not what it was, and not by what we do now. */
static void
explain_change(StringInfo out, const QpsscaleGroup *group)
{
	static const char *const reactions[] = {
		[QS_FOREIGN_ADOPT] = "adopt",
		[QS_FOREIGN_OVERRIDE] = "override",
		[QS_FOREIGN_PAUSE] = "pause",
	};
	const GroupChange *change = &group->change;

	if (change->seen_at == 0)
		return;
	qpsscale_json_open(out, change->kind == QS_DESIRED_FOREIGN ? "foreign_change" : "own_change", '{');
	qpsscale_json_int(out, "from", change->from);
	qpsscale_json_int(out, "to", change->to);
	qpsscale_json_time(out, "seen_at", change->seen_at);
	if (change->kind == QS_DESIRED_FOREIGN)
	{
		qpsscale_json_text(out, "reaction",
						   reactions[group->policy.on_foreign_change]);
		explain_cloud_activity(out, group);
	}
	else
		qpsscale_json_text(out, "cause",
						   change->kind == QS_DESIRED_OURS_LATE ?
						   "late_call" : "limits");
	qpsscale_json_close(out, '}');
}

/* An evaluation that could not even begin is explained by its error. */
static const char *
summary(const QpsscaleGroup *group)
{
	if (group->decision.reason == QS_REASON_EVALUATION_ERROR &&
		group->error_message != NULL)
		return psprintf("The group could not be evaluated: %s.",
						group->error_message);
	return qs_reason_explanation(group->decision.reason);
}

static void
explain_confirmation(StringInfo out, const QsDecision *decision)
{
	if (decision->confirm_n <= 0)
		return;
	qpsscale_json_open(out, "confirmation", '{');
	qpsscale_json_int(out, "seen", decision->confirmed);
	qpsscale_json_int(out, "needed", decision->confirm_n);
	qpsscale_json_int(out, "of", decision->confirm_m);
	qpsscale_json_close(out, '}');
}

/* What is foreseen and follows, or would follow; left out while there is
 * nothing to tell. */
static void
explain_prediction(StringInfo out, const QpsscaleGroup *group)
{
	const QsPredicted *told = group->history.predicted;

	if (told == NULL ||
		(told->trust == QS_TRUST_NOT_LEARNED && !told->steers))
		return;
	qpsscale_json_open(out, "prediction", '{');
	qpsscale_json_bool(out, "used", told->steers);
	qpsscale_json_text(out, "trust", qs_prediction_trust_name(told->trust));
	qpsscale_json_int(out, "window_seconds", told->grow_s);
	qpsscale_json_double(out, "quantile", told->quantile);
	qpsscale_json_double(out, "load", told->newest);
	qpsscale_json_double(out, "upper", told->upper_grow);
	qpsscale_json_int(out, "shrink_window_seconds", told->shrink_s);
	qpsscale_json_double(out, "shrink_upper", told->upper_shrink);
	qpsscale_json_double(out, "yesterday", told->yesterday);
	if (told->comparable)
		qpsscale_json_double(out, "held", told->score.inside);
	qpsscale_json_count(out, "instances", group->decision.foreseen);
	qpsscale_json_close(out, '}');
}

void
qpsscale_explain(StringInfo out, const char *key, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;

	qpsscale_json_open(out, key, '{');
	qpsscale_json_text(out, "summary", summary(group));
	qpsscale_json_open(out, "inputs", '{');
	explain_load(out, group);
	if (group->n_signals > 0)
		qpsscale_explain_signals(out, "signals", group);
	explain_capacity(out, group);
	explain_policy(out, group);
	explain_times(out, group);
	qpsscale_json_close(out, '}');

	explain_prediction(out, group);
	explain_change(out, group);
	if (decision->approvable != QS_UNKNOWN)
	{
		qpsscale_json_int(out, "approvable", decision->approvable);
		qpsscale_json_text(out, "approvable_reason",
						   qs_reason_name(decision->approvable_reason));
	}
	qpsscale_json_open(out, "proposals", '[');
	for (int i = 0; i < decision->n_proposals; i++)
	{
		const QsProposal *p = &decision->proposals[i];

		qpsscale_json_open(out, NULL, '{');
		qpsscale_json_text(out, "source", p->source);
		qpsscale_json_double(out, "load", p->load);
		qpsscale_json_double(out, "target", p->target);
		qpsscale_json_int(out, "instances", p->instances);
		qpsscale_json_close(out, '}');
	}
	qpsscale_json_close(out, ']');

	qpsscale_json_open(out, "clamps", '[');
	for (int i = 0; i < decision->n_clamps; i++)
	{
		const QsClamp *c = &decision->clamps[i];

		qpsscale_json_open(out, NULL, '{');
		qpsscale_json_text(out, "by", c->by);
		qpsscale_json_int(out, "limit", c->limit);
		qpsscale_json_int(out, "from", c->from);
		qpsscale_json_int(out, "to", c->to);
		qpsscale_json_close(out, '}');
	}
	qpsscale_json_close(out, ']');

	qpsscale_json_text(out, "winner", decision->winner);
	qpsscale_explain_exclusions(out, decision);
	explain_confirmation(out, decision);
	qpsscale_json_text(out, "wanted", qs_action_name(decision->wanted));
	qpsscale_json_text(out, "blocker",
					   decision->blocker == QS_REASON_COUNT ? NULL :
					   qs_reason_name(decision->blocker));
	qpsscale_json_unix_us(out, "blocked_until", decision->blocked_until);
	if (group->error_message != NULL)
	{
		qpsscale_json_open(out, "error", '{');
		qpsscale_json_text(out, "source", group->error_source);
		qpsscale_json_text(out, "message", group->error_message);
		qpsscale_json_close(out, '}');
	}
	qpsscale_json_close(out, '}');
}

/* The first original's cooldown_remaining, in seconds. */
static void
result_cooldown(StringInfo out, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	int64		left;

	if (decision->reason != QS_REASON_COOLDOWN_GENERAL &&
		decision->reason != QS_REASON_COOLDOWN_SCALE_UP &&
		decision->reason != QS_REASON_COOLDOWN_SCALE_DOWN)
		return;
	if (decision->blocked_until == QS_NEVER)
		return;
	left = decision->blocked_until - qpsscale_unix_us(group->decided_at);
	qpsscale_json_int(out, "cooldown_remaining",
					  left <= 0 ? 0 : (left + USECS_PER_SEC - 1) / USECS_PER_SEC);
}

static void
result_execution(StringInfo out, const QpsscaleGroup *group)
{
	if (group->activity_id == 0 || group->decision.dry_run)
	{
		qpsscale_json_null(out, "execution_result");
		return;
	}
	qpsscale_json_open(out, "execution_result", '{');
	qpsscale_json_int(out, "activity_id", group->activity_id);
	qpsscale_json_text(out, "status",
					   qpsscale_activity_status_name(group->outcome));
	qpsscale_json_text(out, "response", group->response);
	qpsscale_json_text(out, "error", group->outcome_message);
	qpsscale_json_close(out, '}');
}

char *
qpsscale_evaluation_result(const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	const QsCapacity *capacity = &group->target.capacity;
	StringInfoData out;

	initStringInfo(&out);
	qpsscale_json_open(&out, NULL, '{');
	qpsscale_json_int(&out, "group_id", group->id);
	qpsscale_json_text(&out, "name", group->name);
	qpsscale_json_time(&out, "timestamp", group->decided_at);
	qpsscale_json_text(&out, "action", qs_action_name(decision->action));
	qpsscale_json_text(&out, "reason", qpsscale_verdict_reason(group));
	if (decision->load_qps >= 0)
		qpsscale_json_double(&out, "current_qps", decision->load_qps);
	else
		qpsscale_json_null(&out, "current_qps");
	qpsscale_json_count(&out, "current_instances",
						capacity->known ? capacity->total : QS_UNKNOWN);
	if (decision->load_qps >= 0 && decision->base != QS_UNKNOWN)
		qpsscale_json_double(&out, "qps_per_instance",
							 decision->qps_per_instance);
	else
		qpsscale_json_null(&out, "qps_per_instance");
	if (group->policy.target_qps > 0)
		qpsscale_json_double(&out, "target_qps_per_instance",
							 group->policy.target_qps);
	else
		qpsscale_json_null(&out, "target_qps_per_instance");
	qpsscale_explain_signals(&out, "signals", group);
	qpsscale_json_bool(&out, "dry_run", decision->dry_run);
	qpsscale_json_text(&out, "error", group->error_message);
	result_execution(&out, group);
	qpsscale_json_text(&out, "alb_id", group->alb_id);
	qpsscale_json_text(&out, "asg_id", group->asg_id);
	qpsscale_json_int(&out, "scaling_amount", decision->scaling_amount);
	qpsscale_json_count(&out, "optimal_instances", decision->optimal);
	if (decision->optimal != QS_UNKNOWN && decision->base != QS_UNKNOWN)
		qpsscale_json_int(&out, "required_change", decision->required_change);
	else
		qpsscale_json_null(&out, "required_change");
	qpsscale_json_bool(&out, "limited_by_safety", decision->limited_by_safety);
	qpsscale_json_bool(&out, "limited_by_asg", decision->limited_by_asg);
	qpsscale_json_text(&out, "activity_key", group->activity_key);
	result_cooldown(&out, group);
	qpsscale_json_count(&out, "current_desired", decision->base);
	qpsscale_json_count(&out, "desired_capacity", decision->base == QS_UNKNOWN ?
						QS_UNKNOWN : decision->desired);
	qpsscale_json_bool(&out, "recorded", group->stored);
	qpsscale_explain(&out, "explanation", group);
	qpsscale_json_close(&out, '}');
	return out.data;
}
