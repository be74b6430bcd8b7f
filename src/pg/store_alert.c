/*-------------------------------------------------------------------------
 * store_alert.c
 *		Alerts on their way into the tables, with the verdict or the activity
 *		that they tell of.
 *
 * A condition of a group is read from the word of its verdict: it holds, it
 * does not, or the verdict says nothing about it (no data, say), and then it
 * stays as it was.  Only verdicts that are new, or the first of a changed
 * policy, are looked at, so a group that repeats itself costs nothing.
 * Raising and resolving are idempotent in SQL: what is put here may be said
 * once too often, never too rarely.
 *
 * A new condition of a group is a line in conditions[], and one in
 * qpsscale.alert_types.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "pg/explain.h"
#include "pg/explain_signals.h"
#include "pg/json_writer.h"
#include "pg/resolution.h"
#include "pg/store_predictors.h"
#include "pg/store_parts.h"
#include "utils/timestamp.h"

#define MOST_REASONS	20
#define END				QS_REASON_COUNT

typedef enum Holds
{
	DOES_NOT_HOLD,
	HOLDS,
	NOT_SAID
} Holds;

typedef struct Condition
{
	const char *type;
	const char *summary;		/* after the group's name */
	QsReason	holds[MOST_REASONS];
	QsReason	not_said[MOST_REASONS];
} Condition;

/* A verdict that says nothing about the load. */
#define NO_VERDICT \
	QS_REASON_EVALUATION_ERROR, QS_REASON_ASG_STATUS_ERROR, \
	QS_REASON_ROW_LOCKED, QS_REASON_POLICY_CHANGED

#define NO_LOAD \
	NO_VERDICT, QS_REASON_METRICS_UNAVAILABLE, QS_REASON_METRICS_STALE, \
	QS_REASON_METRICS_PARTIAL, QS_REASON_SIGNAL_MISSING

static const Condition conditions[] = {
	{
		"qpsscale.group.at_max",
		"the load needs more instances than the limits allow",
		{QS_REASON_AT_MAX_CAPACITY, QS_REASON_AT_ASG_MAX_CAPACITY,
			QS_REASON_AT_POLICY_MAX, END},
		{NO_LOAD, QS_REASON_BELOW_LIMIT, QS_REASON_ABOVE_LIMIT, END}
	},
	{
		"qpsscale.metric.stale",
		"no usable load is known",
		{QS_REASON_METRICS_UNAVAILABLE, QS_REASON_METRICS_STALE, END},
		{NO_VERDICT, QS_REASON_SIGNAL_MISSING, QS_REASON_METRICS_PARTIAL, QS_REASON_BELOW_LIMIT,
		QS_REASON_ABOVE_LIMIT, END}
	},
	{
		"qpsscale.group.approval_required",
		"an action was decided and waits for a person",
		{QS_REASON_APPROVAL_REQUIRED, END},
		{NO_VERDICT, END}
	},
	{
		"qpsscale.scale.budget_cap",
		"a cap on its cost keeps it from growing as the load needs",
		{QS_REASON_BUDGET_CAP, QS_REASON_UNPRICED, END},
		{NO_LOAD, QS_REASON_SCALING_IN_PROGRESS, QS_REASON_COOLDOWN_GENERAL,
			QS_REASON_COOLDOWN_SCALE_UP, QS_REASON_ACTIVITY_IN_FLIGHT,
			QS_REASON_ACTIVITY_CHECK_FAILED, QS_REASON_SUSPENDED,
			QS_REASON_CIRCUIT_OPEN, QS_REASON_NOT_ARMED,
		QS_REASON_EXTENSION_DISABLED, END}
	},
	{
		"qpsscale.scale.capped",
		"max_scale_up_per_action keeps it from growing as the load needs",
		{QS_REASON_DYNAMIC_LIMITED_SCALE_UP, END},
		{NO_LOAD, QS_REASON_SCALING_IN_PROGRESS, QS_REASON_COOLDOWN_GENERAL,
			QS_REASON_COOLDOWN_SCALE_UP, QS_REASON_ACTIVITY_IN_FLIGHT,
			QS_REASON_ACTIVITY_CHECK_FAILED, QS_REASON_SUSPENDED,
			QS_REASON_CIRCUIT_OPEN, QS_REASON_NOT_ARMED,
		QS_REASON_EXTENSION_DISABLED, END}
	},
};

static const char alerts_sql[] =
"SELECT qpsscale.write_alerts($1, $2, $3, $4, $5::jsonb[], $6)";

static StorePlan alerts_plan = {alerts_sql, 6,
{TEXTOID, BOOLOID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL};

static bool
is_among(const QsReason *reasons, const char *name)
{
	for (; *reasons != END; reasons++)
		if (strcmp(qs_reason_name(*reasons), name) == 0)
			return true;
	return false;
}

static Holds
holds(const Condition *condition, const char *reason)
{
	if (reason == NULL)
		return NOT_SAID;
	if (is_among(condition->holds, reason))
		return HOLDS;
	return is_among(condition->not_said, reason) ? NOT_SAID : DOES_NOT_HOLD;
}

/* What an alert of a group tells programs; the caller closes it. */
static void
open_details(StringInfo out, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;

	initStringInfo(out);
	qpsscale_json_open(out, NULL, '{');
	qpsscale_json_text(out, "group", group->name);
	qpsscale_json_text(out, "alb_id", group->alb_id);
	qpsscale_json_text(out, "asg_id", group->asg_id);
	qpsscale_json_text(out, "reason", qpsscale_verdict_reason(group));
	if (decision->load_qps >= 0)
		qpsscale_json_double(out, "qps", decision->load_qps);
	qpsscale_json_bool(out, "dry_run", decision->dry_run);
}

static void
put_alert(StoreRows *rows, const char *type, bool resolve,
		  const QpsscaleGroup *group, const char *summary,
		  StringInfo details, TimestampTz at)
{
	qpsscale_json_close(details, '}');
	store_put_text(rows, type);
	store_put_bool(rows, resolve);
	store_put_int64(rows, group->id);
	store_put_text(rows, psprintf("%s: %s", group->name, summary));
	store_put_text(rows, details->data);
	store_put_time(rows, at);
}

static void
put_condition(StoreRows *rows, const Condition *condition,
			  const QpsscaleGroup *group, bool resolve)
{
	const QsDecision *decision = &group->decision;
	StringInfoData details;

	open_details(&details, group);
	if (resolve)
	{
		/* what it was raised with stays */
		resetStringInfo(&details);
		qpsscale_json_open(&details, NULL, '{');
		qpsscale_json_text(&details, "resolved_by",
						   qpsscale_verdict_reason(group));
	}
	else
	{
		qpsscale_json_count(&details, "desired_capacity", decision->desired);
		if (decision->approvable != QS_UNKNOWN)
			qpsscale_json_int(&details, "approvable", decision->approvable);
		qpsscale_json_text(&details, "error", group->error_message);
	}
	put_alert(rows, condition->type, resolve, group,
			  group->error_message == NULL ? condition->summary :
			  psprintf("%s (%s)", condition->summary, group->error_message),
			  &details, group->decided_at);
}

static void
put_conditions(StoreRows *rows, const QpsscaleGroup *group)
{
	for (size_t i = 0; i < lengthof(conditions); i++)
	{
		Holds		before = holds(&conditions[i], group->before.reason);
		Holds		now = holds(&conditions[i], qpsscale_verdict_reason(group));

		if (now == HOLDS)
			put_condition(rows, &conditions[i], group, false);
		else if (now == DOES_NOT_HOLD && before != DOES_NOT_HOLD &&
				 group->before.reason != NULL)
			put_condition(rows, &conditions[i], group, true);
	}
}

static void
put_executed(StoreRows *rows, const QpsscaleGroup *group, int64 activity_id,
			 int base, int desired, TimestampTz at)
{
	StringInfoData details;

	open_details(&details, group);
	qpsscale_json_text(&details, "action",
					   desired > base ? "scale_up" : "scale_down");
	qpsscale_json_int(&details, "from", base);
	qpsscale_json_int(&details, "desired_capacity", desired);
	qpsscale_json_int(&details, "activity_id", activity_id);
	put_alert(rows, "qpsscale.scale.executed", false, group,
			  psprintf("desired capacity set from %d to %d", base, desired),
			  &details, at);
}

static void
put_failed(StoreRows *rows, const QpsscaleGroup *group, int64 activity_id,
		   int base, int desired, const char *why, TimestampTz at)
{
	StringInfoData details;

	open_details(&details, group);
	qpsscale_json_text(&details, "action",
					   desired > base ? "scale_up" : "scale_down");
	qpsscale_json_int(&details, "from", base);
	qpsscale_json_int(&details, "desired_capacity", desired);
	qpsscale_json_int(&details, "activity_id", activity_id);
	qpsscale_json_text(&details, "error", why);
	put_alert(rows, "qpsscale.scale.failed", false, group,
			  psprintf("desired capacity could not be set from %d to %d: %s",
					   base, desired, why == NULL ? "unknown" : why),
			  &details, at);
}

static void
put_circuit(StoreRows *rows, const QpsscaleGroup *group, bool resolve,
			TimestampTz at)
{
	StringInfoData details;

	initStringInfo(&details);
	qpsscale_json_open(&details, NULL, '{');
	if (!resolve)
	{
		qpsscale_json_text(&details, "group", group->name);
		qpsscale_json_text(&details, "error", group->outcome_message);
	}
	put_alert(rows, "qpsscale.circuit.open", resolve, group,
			  "actions failed one after another and are not tried for a while",
			  &details, at);
}

/* The cloud takes growth and does not deliver it: told at both ends. */
static void
put_stock_out(StoreRows *rows, const QpsscaleGroup *group)
{
	bool		was = group->watch.stock_out.since != QS_NEVER;
	bool		is = group->stock_out.since != QS_NEVER;
	StringInfoData details;

	if (was == is)
		return;
	open_details(&details, group);
	qpsscale_json_count(&details, "desired_capacity",
						group->target.capacity.desired);
	qpsscale_json_count(&details, "instances", group->target.capacity.total);
	put_alert(rows, "qpsscale.group.stock_out", !is, group,
			  "the cloud accepts growth and delivers no instances",
			  &details, group->decided_at);
}

/* The first signal that is missing for longer than a fallback waits for. */
static const char *
long_missing_before(const QpsscaleGroup *group)
{
	for (int i = 0; i < group->n_signals; i++)
	{
		TimestampTz since = group->sources[i].before.missing_since;

		if (since != 0 && group->before.evaluated_at - since >
			group->signals[i].fallback_after_us)
			return group->signals[i].name;
	}
	return NULL;
}

static const char *
long_missing_now(const QpsscaleGroup *group)
{
	for (int i = 0; i < group->n_signals; i++)
	{
		int64		since = group->decision.missing_since[i];

		if (since != QS_NEVER && qpsscale_unix_us(group->decided_at) - since >
			group->signals[i].fallback_after_us)
			return group->signals[i].name;
	}
	return NULL;
}

/* Told at both ends; and at a change of the policy, which may have ended it. */
static void
put_missing(StoreRows *rows, const QpsscaleGroup *group)
{
	const char *was = long_missing_before(group);
	const char *is = long_missing_now(group);
	bool		new_policy = group->watch.known_version != 0 &&
		group->watch.known_version != group->version;
	StringInfoData details;

	if ((was == NULL) == (is == NULL) && !new_policy)
		return;
	initStringInfo(&details);
	qpsscale_json_open(&details, NULL, '{');
	if (is != NULL)
	{
		qpsscale_json_text(&details, "group", group->name);
		qpsscale_json_text(&details, "signal", is);
		qpsscale_explain_signals(&details, "signals", group);
	}
	put_alert(rows, "qpsscale.signal.missing", is == NULL, group,
			  is == NULL ? "its signals are known again" :
			  psprintf("signal \"%s\" has been missing for a while", is),
			  &details, group->decided_at);
}

static void
put_foreign_change(StoreRows *rows, const QpsscaleGroup *group)
{
	const GroupChange *change = &group->change;
	StringInfoData details;

	if (!qpsscale_changed_by_others(group))
		return;
	open_details(&details, group);
	qpsscale_json_int(&details, "from", change->from);
	qpsscale_json_int(&details, "to", change->to);
	put_alert(rows, "qpsscale.group.foreign_change", false, group,
			  psprintf("desired capacity was changed from %d to %d by somebody else",
					   change->from, change->to),
			  &details, group->decided_at);
}

static void
run(StoreRows *rows)
{
	if (store_rows_run(rows))
		SPI_freetuptable(SPI_tuptable);
}

static void
put_resolution(StoreRows *rows, const QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;

	if (open->resolved == ACTIVITY_FAILED)
		put_failed(rows, group, open->id, open->base, open->desired,
				   open->resolution, group->decided_at);
	else if (open->status != ACTIVITY_ACCEPTED &&
			 (open->resolved == ACTIVITY_ACCEPTED ||
			  open->resolved == ACTIVITY_SUCCESSFUL))
		put_executed(rows, group, open->id, open->base, open->desired,
					 group->decided_at);
}

/*
 * Transaction 2: conditions of groups whose verdict is new, and what became of
 * earlier activities.  Disabled groups are nobody's concern.
 */
/* What is foreseen is not believed any more, or is again. */
static void
put_demotion(StoreRows *rows, const QpsscaleGroup *group)
{
	const QsPredicted *told = &group->prediction.told;
	bool		demoted;
	StringInfoData details;

	if (!group->prediction.known || !told->steers)
		return;
	demoted = qpsscale_is_demoted(told->trust);
	if (demoted == group->prediction.was_demoted)
		return;
	open_details(&details, group);
	qpsscale_json_text(&details, "trust",
					   qs_prediction_trust_name(told->trust));
	put_alert(rows, "qpsscale.prediction.demoted", !demoted, group,
			  told->trust == QS_TRUST_BEYOND_HISTORY ?
			  "more than three times the largest load of 14 days is foreseen, so headroom on the load takes its place" :
			  "headroom on the load would have done better over the last day than what was foreseen, so it takes its place",
			  &details, group->decided_at);
}

void
qpsscale_store_alerts(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &alerts_plan,
					 batch->n_groups * ((int) lengthof(conditions) + 5));
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (group->open.settled)
			put_resolution(&rows, group);
		if (group->enabled && group->stored)
		{
			put_stock_out(&rows, group);
			put_foreign_change(&rows, group);
			put_missing(&rows, group);
			put_demotion(&rows, group);
		}
		/* one that was disabled for a moment comes back with its old verdict,
		 * and without its alerts */
		if (group->enabled && group->stored &&
			(group->evaluation_id != 0 ||
			 group->watch.known_version != group->version))
			put_conditions(&rows, group);
	}
	run(&rows);
}

/* The first failure after a success is told; the circuit tells of the rest. */
static bool
failed_before(const QpsscaleGroup *group)
{
	return group->before.error != NULL &&
		strncmp(group->before.error, "set_capacity: ", 14) == 0;
}

/* Transaction 3: what the cloud said to the calls. */
void
qpsscale_store_outcome_alerts(StoreBatch *batch, TimestampTz now)
{
	StoreRows	rows;

	store_rows_start(&rows, &alerts_plan, batch->n_groups * 2);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];
		const QsDecision *decision = &group->decision;

		if (group->outcome == ACTIVITY_ACCEPTED)
			put_executed(&rows, group, group->activity_id, decision->base,
						 decision->desired, now);
		else if (group->outcome == ACTIVITY_FAILED && !group->not_tried &&
				 !failed_before(group))
			put_failed(&rows, group, group->activity_id, decision->base,
					   decision->desired, group->outcome_message, now);
		if (group->circuit_opened)
			put_circuit(&rows, group, false, now);
		else if (group->outcome == ACTIVITY_ACCEPTED &&
				 group->circuit_open_until != 0)
			put_circuit(&rows, group, true, now);
	}
	run(&rows);
}
