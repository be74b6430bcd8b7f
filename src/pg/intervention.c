/*-------------------------------------------------------------------------
 * intervention.c
 *		A number of instances that an operator sets by hand.
 *
 * An operator at night needs a plain answer: an error where nothing was begun,
 * else a row that says whether the cloud took it.  Cooldowns, windows, caps, a
 * suspension and an open circuit do not stand in the way; the limits do, and
 * the error names the one that does.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "pg/explain.h"
#include "pg/intervention.h"
#include "pg/json_writer.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char store_sql[] =
"WITH i AS (INSERT INTO qpsscale.interventions"
"  (resource_group_id, kind, desired_capacity, until, reason, made_by,"
"   session_by)"
"  VALUES ($1, 'set_capacity', $2, $3, $4, $5, $6))"
" UPDATE qpsscale.state s"
" SET held_instances = CASE WHEN $3 IS NOT NULL THEN $2 END,"
"  held_until = $3,"
"  held_by = CASE WHEN $3 IS NOT NULL THEN $5::name END,"
"  held_reason = CASE WHEN $3 IS NOT NULL THEN $4 END"
" WHERE s.resource_group_id = $1";

static const char requester_sql[] =
"UPDATE qpsscale.activities a SET requested_by = $2 WHERE a.id = $1";

/* The words for the limits that a clamp names. */
static const struct
{
	const char *by;
	const char *words;
	const char *hint;
}			limits[] = {
	{"policy_min", "min_instances of its policy", "Lower min_instances."},
	{"policy_max", "max_instances of its policy", "Raise max_instances."},
	{"ceiling", "the setting qpsscale.max_instances",
	"Raise qpsscale.max_instances."},
	{"max_hourly_cost", "what its max_hourly_cost pays for",
	"Raise max_hourly_cost."},
	{"budget", "what the budget of its currency leaves to it",
	"Raise max_hourly_cost of qpsscale.budgets, or shrink another group."},
	{"unpriced", "its cost is capped and no price of it is known: the most",
	"Give it a price in the currency of its cap."},
	{"asg_min", "the cloud's minimum of the scaling group",
	"Lower that minimum in the cloud."},
	{"asg_max", "the cloud's maximum of the scaling group",
	"Raise that maximum in the cloud."},
};

void
qpsscale_intervene(QpsscaleGroup *group, const QpsscaleByHand *by_hand)
{
	group->by_hand = by_hand;
	group->history.by_hand = true;
	group->history.held_instances = by_hand->instances;
	group->history.held_until = INT64_MAX;
}

static bool
refuse(QpsscaleGroup *group, int sqlstate, const char *message,
	   const char *hint)
{
	group->refused_sqlstate = sqlstate;
	group->refused_message = message;
	group->refused_hint = hint;
	return true;
}

static bool
refuse_limit(QpsscaleGroup *group, const QsClamp *clamp)
{
	const char *words = clamp->by;
	const char *hint = NULL;

	for (size_t i = 0; i < lengthof(limits); i++)
	{
		if (strcmp(clamp->by, limits[i].by) != 0)
			continue;
		words = limits[i].words;
		hint = limits[i].hint;
	}
	return refuse(group, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
				  psprintf("resource group \"%s\" cannot be set to %d instances: %s is %d",
						   group->name, group->by_hand->instances, words,
						   clamp->limit),
				  hint);
}

bool
qpsscale_intervention_refused(QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;

	if (decision->base == QS_UNKNOWN ||
		decision->reason == QS_REASON_EVALUATION_ERROR)
		return refuse(group, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  psprintf("resource group \"%s\" was not changed: %s",
							   group->name, group->error_message != NULL ?
							   group->error_message :
							   "the state of its scaling group could not be read"),
					  psprintf("SELECT * FROM qpsscale_validate(" INT64_FORMAT "); shows what is wrong.",
							   group->id));
	if (decision->n_clamps > 0)
		return refuse_limit(group, &decision->clamps[0]);
	if (decision->blocker != QS_REASON_COUNT)
		return refuse(group, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  psprintf("resource group \"%s\" was not changed: %s",
							   group->name, qs_reason_name(decision->blocker)),
					  qs_reason_explanation(decision->blocker));
	return false;
}

static void
store_intervention(const QpsscaleGroup *group)
{
	const QpsscaleByHand *by_hand = group->by_hand;
	Oid			types[6] = {INT8OID, INT4OID, TIMESTAMPTZOID, TEXTOID, TEXTOID,
	TEXTOID};
	Datum		values[6] = {Int64GetDatum(group->id),
		Int32GetDatum(by_hand->instances),
		TimestampTzGetDatum(by_hand->hold_until),
		CStringGetTextDatum(by_hand->reason),
		CStringGetTextDatum(by_hand->made_by),
	CStringGetTextDatum(by_hand->session_by)};
	char		nulls[7] = "      ";

	if (by_hand->hold_until == 0)
		nulls[2] = 'n';
	if (SPI_execute_with_args(store_sql, 6, types, values, nulls, false, 0) !=
		SPI_OK_UPDATE)
		elog(ERROR, "could not record what was set by hand");
}

static void
store_requester(const QpsscaleGroup *group)
{
	Oid			types[2] = {INT8OID, TEXTOID};
	Datum		values[2] = {Int64GetDatum(group->activity_id),
	CStringGetTextDatum(group->by_hand->made_by)};

	if (SPI_execute_with_args(requester_sql, 2, types, values, NULL, false,
							  0) != SPI_OK_UPDATE)
		elog(ERROR, "could not record who asked for an action");
}

/* A dry run changes nothing, so nothing is held either. */
void
qpsscale_store_interventions(StoreBatch *batch)
{
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (group->by_hand == NULL || !group->stored ||
			group->decision.blocker != QS_REASON_COUNT)
			continue;
		if (!group->decision.dry_run)
			store_intervention(group);
		if (group->activity_id != 0)
			store_requester(group);
	}
}

/* Why a dry run was one. */
static const char *
why_dry_run(const QpsscaleGroup *group)
{
	if (!group->policy.extension_enabled)
		return "qpsscale.enabled is off";
	if (!group->policy.armed)
		return "the database is not armed on this host";
	if (!group->enabled)
		return "the group is not enabled";
	return "the group is in dry run";
}

static char *
told(const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;

	if (decision->dry_run)
		return psprintf("nothing was changed: %s", why_dry_run(group));
	if (!group->stored)
		return psprintf("nothing was changed: %s",
						group->error_message != NULL ? group->error_message :
						"it could not be recorded");
	if (decision->action == QS_ACTION_NONE)
		return psprintf("%d instances are desired already", decision->base);
	switch (group->outcome)
	{
		case ACTIVITY_ACCEPTED:
			return psprintf("the cloud took %d instead of %d",
							decision->desired, decision->base);
		case ACTIVITY_FAILED:
			return psprintf("the cloud did not take it: %s",
							group->outcome_message);
		default:
			return psprintf("whether the cloud took it is not known yet: %s",
							group->outcome_message != NULL ?
							group->outcome_message : "it was not called");
	}
}

char *
qpsscale_intervention_result(const QpsscaleGroup *group)
{
	StringInfoData out;
	bool		unknown = !group->decision.dry_run &&
		(group->outcome == ACTIVITY_UNKNOWN ||
		 group->outcome == ACTIVITY_REQUESTED);
	TimestampTz until = group->by_hand->hold_until;

	initStringInfo(&out);
	qpsscale_json_open(&out, NULL, '{');
	if (unknown)
		qpsscale_json_null(&out, "changed");
	else
		qpsscale_json_bool(&out, "changed",
						   group->outcome == ACTIVITY_ACCEPTED);
	qpsscale_json_text(&out, "detail", told(group));
	if (group->decision.dry_run || !group->stored || until == 0)
		qpsscale_json_null(&out, "held_until");
	else
		qpsscale_json_text(&out, "held_until", timestamptz_to_str(until));
	appendStringInfo(&out, ",\"evaluation\":%s",
					 qpsscale_evaluation_result(group));
	qpsscale_json_close(&out, '}');
	return out.data;
}
