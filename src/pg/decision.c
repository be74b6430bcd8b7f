/*-------------------------------------------------------------------------
 * decision.c
 *		qpsscale_decide(): what would be done, recorded and not done.
 *
 * In the caller's backend and transaction, without a packet: from what the
 * last committed evaluation saw, by the same decide() as everything else.
 * Overrides change the policy, or the load, for this decision only.
 *
 * The row of qpsscale.decisions is written as the owner of the table, after
 * the caller's rights were looked at: nobody can make up a decision.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "pg/explain.h"
#include "pg/group_row.h"
#include "pg/json_writer.h"
#include "pg/privileges.h"
#include "pg/settings.h"
#include "pg/store_bounds.h"
#include "pg/store_predictors.h"
#include "pg/store_signals.h"

PG_FUNCTION_INFO_V1(qpsscale_decide_group);

/* What was asked for. */
typedef struct Wish
{
	int64		group_id;
	bool		use_prediction;
	Jsonb	   *overrides;		/* NULL = none */
} Wish;

/* The overridden row takes the place of the group's. */
static const char group_sql[] =
"SELECT " QPSSCALE_GROUP_COLUMNS ","
QPSSCALE_EVALUATOR_RUNS ", s.latest_qps, qpsscale.is_armed()"
" FROM qpsscale.overridden($1, $2) g"
" JOIN qpsscale.state s ON s.resource_group_id = g.id"
" LEFT JOIN qpsscale.activities a ON " QPSSCALE_OPEN_ACTIVITY
" ORDER BY a.id DESC";

static const char insert_sql[] =
"INSERT INTO qpsscale.decisions AS d (resource_group_id, decided_at,"
"  decided_by, expires_at, action, current_instances, desired_instances,"
"  reason, explanation, confidence, use_prediction, overrides, observed_at,"
"  policy_version, estimated_hourly_cost, hourly_cost_change, currency)"
" SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $14, $10, $11, $12, $13,"
"  c.hourly, c.hourly - b.hourly, c.currency"
" FROM qpsscale.instance_cost($1, $7, $2) AS c,"
"  qpsscale.instance_cost($1, $6, $2) AS b"
" RETURNING d.*";

static void
check_not_standby(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute qpsscale_decide() during recovery"),
				 errhint("This server is a standby. Call it on the primary.")));
}

static Wish
read_wish(FunctionCallInfo fcinfo)
{
	Wish		wish = {0};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("group_id must not be null")));
	wish.group_id = PG_GETARG_INT64(0);
	wish.use_prediction = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	wish.overrides = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	if (wish.overrides != NULL && !JB_ROOT_IS_OBJECT(wish.overrides))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("overrides must be a JSON object"),
				 errhint("For example {\"target_qps\": 120, \"qps\": 900}.")));
	qpsscale_check_group(wish.group_id);
	return wish;
}

/* A number of the overrides; fallback where it is not there. */
static double
overridden_number(const Wish *wish, const char *key, double fallback)
{
	JsonbValue *value;

	if (wish->overrides == NULL)
		return fallback;
	value = getKeyJsonValueFromContainer(&wish->overrides->root, key,
										 strlen(key), NULL);
	if (value == NULL)
		return fallback;
	if (value->type != jbvNumeric)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("override \"%s\" must be a number", key)));
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8,
											  NumericGetDatum(value->val.numeric)));
}

/* ----------
 * What the last evaluation saw
 * ----------
 */
static void
recall_load(QpsscaleGroup *group, const Wish *wish, double latest_qps,
			int64 now)
{
	QsLoad	   *load = &group->target.load;
	double		qps = overridden_number(wish, "qps", latest_qps);

	load->newest_end_us = group->history.previous_qps_at;
	if (qps != latest_qps)
		load->newest_end_us = now;
	load->known = qps >= 0 && load->newest_end_us != QS_NEVER;
	load->mean_qps = load->newest_qps = qps;
	load->points = load->expected_points = load->known;
}

static void
recall_capacity(QpsscaleGroup *group)
{
	const GroupVerdict *before = &group->before;
	QsCapacity *capacity = &group->target.capacity;

	capacity->known = before->capacity != QS_UNKNOWN;
	capacity->desired = before->capacity;
	capacity->total = before->total != QS_UNKNOWN ? before->total :
		before->capacity;
	capacity->in_service = before->in_service;
	capacity->min = before->min != QS_UNKNOWN ? before->min : 0;
	capacity->max = before->max != QS_UNKNOWN ? before->max :
		QS_MAX_INSTANCES;
	capacity->active = true;
}

/* What the cloud does just now is looked at by qpsscale_execute(). */
static void
recall_activity(QpsscaleGroup *group)
{
	QsCloudActivity *activity = &group->target.activity;

	activity->asked = activity->known = true;
	activity->last_scale_up_at = activity->last_scale_down_at = QS_NEVER;
	activity->last_any_at = activity->newest_at = QS_NEVER;
}

static void
recall_signals(QpsscaleGroup *group)
{
	for (int i = 0; i < group->n_signals; i++)
	{
		const GroupSignalState *before = &group->sources[i].before;
		QsReading  *reading = &group->signals[i].reading;

		group->signals[i].asked = before->known;
		reading->at_us = QS_NEVER;
		if (!before->known || before->missing_since != 0 ||
			before->latest_at == 0)
			continue;
		reading->state = QS_READING_KNOWN;
		reading->value = before->latest_value;
		reading->at_us = qpsscale_unix_us(before->latest_at);
		group->sources[i].target.reading = *reading;
	}
}

static void
check_age(const QpsscaleGroup *group)
{
	TimestampTz at = group->before.evaluated_at;

	if (at == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("resource group \"%s\" has never been evaluated",
						group->name),
				 errhint("SELECT qpsscale_evaluate(%lld, dry_run => true); looks at it now.",
						 (long long) group->id)));
	if (TimestampDifferenceExceeds(at, GetCurrentTimestamp(),
								   qpsscale_settings.max_observation_age_s *
								   1000))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("what is known of resource group \"%s\" is too old to decide on",
						group->name),
				 errdetail("It was last evaluated at %s; qpsscale.max_observation_age is %d s.",
						   timestamptz_to_str(at),
						   qpsscale_settings.max_observation_age_s),
				 errhint("SELECT qpsscale_evaluate(%lld, dry_run => true); looks at it now.",
						 (long long) group->id)));
}

static void
load_group(const Wish *wish, QpsscaleGroup *group, double *latest_qps)
{
	Oid			types[2] = {INT8OID, JSONBOID};
	Datum		values[2] = {Int64GetDatum(wish->group_id),
	PointerGetDatum(wish->overrides)};
	char		nulls[3] = {' ', wish->overrides == NULL ? 'n' : ' ', '\0'};
	StoreSelection selection = {0};
	StoreSnapshot snapshot = {0};
	Row			row;

	if (SPI_execute_with_args(group_sql, 2, types, values, nulls, true, 1) !=
		SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "resource group %lld cannot be read",
			 (long long) wish->group_id);
	row_start(&row);
	row_read(&row, 0);
	qpsscale_read_group(&row, group, GetCurrentTimestamp());
	*latest_qps = next_double(&row, -1);
	group->policy.armed = next_bool(&row);
	group->policy.extension_enabled = qpsscale_settings.enabled;
	if (qpsscale_settings.max_instances > 0)
		group->policy.ceiling = qpsscale_settings.max_instances;
	SPI_freetuptable(SPI_tuptable);

	selection.group_id = wish->group_id;
	snapshot.groups = group;
	snapshot.n_groups = 1;
	qpsscale_store_load_signals(&selection, &snapshot, CurrentMemoryContext);
	qpsscale_store_load_bounds(&selection, &snapshot, CurrentMemoryContext);
}

/* What is foreseen, from what the tables have: the worker that learns may have
 * seen a point more. */
static void
recall_prediction(QpsscaleGroup *group, const Wish *wish)
{
	StoredPredictor stored;

	if (!wish->use_prediction && group->prediction.mode == PREDICTION_OFF)
		return;
	if (group->prediction.mode == PREDICTION_OFF)
		group->prediction.mode = PREDICTION_FORECAST_ONLY;
	qpsscale_read_predictor(group, qpsscale_settings.metric_resolution_s,
							CurrentMemoryContext, &stored);
	if (stored.prediction != NULL)
		qpsscale_tell_predicted(stored.prediction, wish->use_prediction ||
								group->prediction.mode == PREDICTION_ENABLED,
								group->target.load.known ?
								group->target.load.newest_qps : NAN,
								group);
}

static void
decide(const Wish *wish, QpsscaleGroup *group)
{
	double		latest_qps;
	int64		now;

	load_group(wish, group, &latest_qps);
	check_age(group);
	group->decided_at = GetCurrentTimestamp();
	now = qpsscale_unix_us(group->decided_at);
	recall_load(group, wish, latest_qps, now);
	recall_capacity(group);
	recall_activity(group);
	recall_signals(group);
	recall_prediction(group, wish);
	group->policy.require_approval = false; /* whoever executes it approves */
	qs_decide(&group->policy, &group->target.load, &group->target.capacity,
			  &group->target.activity, group->signals, group->n_signals,
			  &group->history, now, &group->decision);
}

/* ----------
 * The row
 * ----------
 */
static char *
explanation_of(const Wish *wish, const QpsscaleGroup *group)
{
	StringInfoData out;

	initStringInfo(&out);
	qpsscale_explain(&out, NULL, group);
	out.data[--out.len] = '\0'; /* one member more */
	qpsscale_json_bool(&out, "dry_run", group->decision.dry_run);
	if (wish->use_prediction && !group->prediction.known)
		qpsscale_json_text(&out, "prediction",
						   "Nothing can be foreseen of this group: qpsscale.metric_resolution is longer than 15 minutes.");
	qpsscale_json_close(&out, '}');
	return out.data;
}

static Oid
owner_of_decisions(void)
{
	Relation	decisions = table_openrv(makeRangeVar("qpsscale", "decisions",
													  -1), RowExclusiveLock);
	Oid			owner = decisions->rd_rel->relowner;

	table_close(decisions, NoLock);
	return owner;
}

/*
 * How often, over the last day or so, the load stayed below the 0.95 quantile
 * that was foreseen of it.  NAN where nothing foreseen was used, or less than a
 * day of it has been compared.
 */
static double
confidence_of(const QpsscaleGroup *group)
{
	const QsPredicted *told = &group->prediction.told;

	if (!group->prediction.known || !told->steers ||
		told->trust != QS_TRUST_FULL || !told->comparable)
		return NAN;
	return told->score.inside;
}

/* An error gives the caller's own rights back, as it does for SECURITY
 * DEFINER. */
static HeapTuple
insert_decision(const Wish *wish, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	Oid			types[14] = {INT8OID, TIMESTAMPTZOID, NAMEOID, TIMESTAMPTZOID,
		TEXTOID, INT4OID, INT4OID, TEXTOID, TEXTOID, BOOLOID, JSONBOID,
	TIMESTAMPTZOID, INT8OID, FLOAT8OID};
	NameData	caller_name;
	Datum		values[14];
	char		nulls[15] = "              ";
	bool		known = decision->base != QS_UNKNOWN;
	Oid			caller;
	int			context;

	GetUserIdAndSecContext(&caller, &context);
	namestrcpy(&caller_name, GetUserNameFromId(caller, false));
	values[0] = Int64GetDatum(group->id);
	values[1] = TimestampTzGetDatum(group->decided_at);
	values[2] = NameGetDatum(&caller_name);
	values[3] = TimestampTzGetDatum(group->decided_at +
									qpsscale_settings.decision_lifetime_s *
									USECS_PER_SEC);
	values[4] = CStringGetTextDatum(qs_action_name(decision->action));
	values[5] = Int32GetDatum(decision->base);
	values[6] = Int32GetDatum(decision->desired);
	nulls[5] = nulls[6] = known ? ' ' : 'n';
	values[7] = CStringGetTextDatum(qpsscale_verdict_reason(group));
	values[8] = CStringGetTextDatum(explanation_of(wish, group));
	values[9] = BoolGetDatum(wish->use_prediction);
	values[10] = PointerGetDatum(wish->overrides);
	nulls[10] = wish->overrides == NULL ? 'n' : ' ';
	values[11] = TimestampTzGetDatum(group->before.evaluated_at);
	values[12] = Int64GetDatum(group->version);
	values[13] = Float8GetDatum(confidence_of(group));
	nulls[13] = isnan(confidence_of(group)) ? 'n' : ' ';

	SetUserIdAndSecContext(owner_of_decisions(),
						   context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_execute_with_args(insert_sql, 14, types, values, nulls, false,
							  1) != SPI_OK_INSERT_RETURNING ||
		SPI_processed != 1)
		elog(ERROR, "the decision cannot be recorded");
	SetUserIdAndSecContext(caller, context);
	return SPI_tuptable->vals[0];
}

/*
 * qpsscale_decide(group_id bigint, use_prediction boolean, overrides jsonb)
 */
Datum
qpsscale_decide_group(PG_FUNCTION_ARGS)
{
	Wish		wish;
	QpsscaleGroup *group;
	HeapTuple	tuple;
	HeapTupleHeader row;

	check_not_standby();
	wish = read_wish(fcinfo);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	group = palloc0(sizeof(QpsscaleGroup));
	decide(&wish, group);
	tuple = insert_decision(&wish, group);
	row = SPI_returntuple(tuple, BlessTupleDesc(SPI_tuptable->tupdesc));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	PG_RETURN_HEAPTUPLEHEADER(row);
}
