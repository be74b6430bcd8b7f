/*-------------------------------------------------------------------------
 * store_verdict.c
 *		Verdicts on their way into the tables: state, evaluations, errors.
 *
 * Most groups come to the verdict they had: for those five columns of the
 * state row change, and nothing else is written.  A verdict that is new also
 * gets a row in evaluations with its explanation.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/explain.h"
#include "pg/json_writer.h"
#include "pg/step.h"
#include "pg/store_parts.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static const char repeat_sql[] =
"UPDATE qpsscale.state s"
" SET last_evaluated_at = w.at, updated_at = w.at,"
"  latest_qps_at = coalesce(w.qps_at, s.latest_qps_at),"
"  latest_qps = coalesce(w.qps, s.latest_qps),"
"  repeat_count = s.repeat_count + 1"
" FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[],"
"             $4::float8[]) AS w(id, at, qps_at, qps)"
" WHERE s.resource_group_id = w.id"
" RETURNING s.resource_group_id, NULL::bigint";

static const char change_sql[] =
"WITH w AS MATERIALIZED (SELECT * FROM json_to_recordset($1) AS"
"  w(id bigint, at timestamptz, qps_at timestamptz, qps float8,"
"    capacity integer, total integer, in_service integer,"
"    min integer, max integer, optimal integer,"
"    reference_qps float8, drop_seen_at timestamptz,"
"    recommended_until timestamptz[], recommended integer[],"
"    action text, reason text, blocker text, desired integer,"
"    dry_run boolean, version bigint, blocked_until timestamptz,"
"    cooldown_until timestamptz, last_scale_up_at timestamptz,"
"    last_scale_down_at timestamptz, last_action_at timestamptz,"
"    errors integer, error text, changed boolean, explanation jsonb)),"
" e AS (INSERT INTO qpsscale.evaluations (resource_group_id, evaluated_at,"
"   action, reason, blocker, desired, dry_run, policy_version, explanation)"
"  SELECT w.id, w.at, w.action, w.reason, w.blocker, w.desired, w.dry_run,"
"   w.version, w.explanation"
"  FROM w WHERE w.changed"
"  RETURNING id, resource_group_id)"
" UPDATE qpsscale.state s"
" SET last_evaluated_at = w.at, updated_at = w.at,"
"  latest_qps_at = coalesce(w.qps_at, s.latest_qps_at),"
"  latest_qps = coalesce(w.qps, s.latest_qps),"
"  repeat_count = CASE WHEN w.changed THEN 0 ELSE s.repeat_count + 1 END,"
"  latest_capacity = coalesce(w.capacity, s.latest_capacity),"
"  latest_total = coalesce(w.total, s.latest_total),"
"  latest_in_service = coalesce(w.in_service, s.latest_in_service),"
"  latest_min = coalesce(w.min, s.latest_min),"
"  latest_max = coalesce(w.max, s.latest_max),"
"  latest_optimal = coalesce(w.optimal, s.latest_optimal),"
"  reference_qps = w.reference_qps, drop_seen_at = w.drop_seen_at,"
"  recommended_until = coalesce(w.recommended_until, s.recommended_until),"
"  recommended = coalesce(w.recommended, s.recommended),"
"  last_action = w.action, last_reason = w.reason, last_blocker = w.blocker,"
"  last_desired = w.desired, last_dry_run = w.dry_run,"
"  last_verdict_at = CASE WHEN w.changed THEN w.at ELSE s.last_verdict_at END,"
"  last_evaluation_id = coalesce(e.id, s.last_evaluation_id),"
"  blocked_until = w.blocked_until, cooldown_until = w.cooldown_until,"
"  last_scale_up_at = greatest(s.last_scale_up_at, w.last_scale_up_at),"
"  last_scale_down_at = greatest(s.last_scale_down_at, w.last_scale_down_at),"
"  last_action_at = greatest(s.last_action_at, w.last_action_at),"
"  consecutive_errors = w.errors, last_error = w.error"
" FROM w LEFT JOIN e ON e.resource_group_id = w.id"
" WHERE s.resource_group_id = w.id"
" RETURNING s.resource_group_id, e.id";

static const char errors_sql[] =
"INSERT INTO qpsscale.errors"
"  (resource_group_id, source, message, context, occurred_at)"
" SELECT w.id, w.source, w.message, w.context, w.at"
" FROM json_to_recordset($1) AS"
"  w(id bigint, source text, message text, context jsonb, at timestamptz)";

static StorePlan repeat_plan = {repeat_sql, {INT8ARRAYOID, TIMESTAMPTZARRAYOID,
TIMESTAMPTZARRAYOID, FLOAT8ARRAYOID}, 4, NULL};
static StorePlan change_plan = {change_sql, {JSONOID}, 1, NULL};
static StorePlan errors_plan = {errors_sql, {JSONOID}, 1, NULL};

static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

static bool
verdict_changed(const QpsscaleGroup *group)
{
	const GroupVerdict *before = &group->before;
	const QsDecision *decision = &group->decision;

	return before->reason == NULL ||
		!same_text(before->action, qs_action_name(decision->action)) ||
		!same_text(before->reason, qpsscale_verdict_reason(group)) ||
		!same_text(before->blocker,
				   decision->blocker == QS_REASON_COUNT ? NULL :
				   qs_reason_name(decision->blocker)) ||
		before->dry_run != decision->dry_run ||
		(decision->base != QS_UNKNOWN && before->desired != decision->desired);
}

static bool
recommendations_changed(const QpsscaleGroup *group)
{
	const QsDecision *now = &group->decision;
	const QsHistory *before = &group->history;

	if (now->n_recommendations != before->n_recommendations)
		return true;
	for (int i = 0; i < now->n_recommendations; i++)
	{
		bool		last = i == now->n_recommendations - 1;

		if (now->recommendations[i].instances !=
			before->recommendations[i].instances)
			return true;
		/* the last one is "until now" both times: see store_load.c */
		if (!last && now->recommendations[i].at !=
			before->recommendations[i].at)
			return true;
	}
	return false;
}

static TimestampTz
time_or_zero(int64 unix_us)
{
	return unix_us == QS_NEVER ? 0 : qpsscale_timestamptz(unix_us);
}

static int64
later(int64 a, int64 b)
{
	return a > b ? a : b;
}

static char *
error_text(const QpsscaleGroup *group)
{
	if (group->error_message == NULL)
		return NULL;
	return psprintf("%s: %s", group->error_source, group->error_message);
}

/* A failed action keeps its error until an action succeeds. */
static bool
keeps_old_error(const QpsscaleGroup *group)
{
	return group->before.error != NULL &&
		strncmp(group->before.error, "set_capacity: ", 14) == 0 &&
		(group->decision.wanted != QS_ACTION_NONE);
}

static bool
saw_foreign_activity(const QpsscaleGroup *group)
{
	const QsCloudActivity *activity = &group->target.activity;

	return activity->known &&
		later(activity->last_any_at, later(activity->last_scale_up_at,
										   activity->last_scale_down_at)) >
		group->history.last_action_at;
}

static bool
resolved_to_accepted(const QpsscaleGroup *group)
{
	return group->open.status != group->open.resolved &&
		group->open.status != ACTIVITY_ACCEPTED &&
		(group->open.resolved == ACTIVITY_ACCEPTED ||
		 group->open.resolved == ACTIVITY_SUCCESSFUL);
}

/* Can the four-column update say all there is to say? */
static bool
repeats(const QpsscaleGroup *group)
{
	const GroupVerdict *before = &group->before;
	const QsDecision *decision = &group->decision;
	const QsCapacity *capacity = &group->target.capacity;

	if (verdict_changed(group) || recommendations_changed(group) ||
		saw_foreign_activity(group) || resolved_to_accepted(group))
		return false;
	if (capacity->known &&
		(before->capacity != decision->base ||
		 before->total != capacity->total || before->min != capacity->min ||
		 before->max != capacity->max ||
		 (capacity->in_service != QS_UNKNOWN &&
		  before->in_service != capacity->in_service)))
		return false;
	if (before->optimal != decision->optimal ||
		before->blocked_until != time_or_zero(decision->blocked_until) ||
		before->cooldown_until != time_or_zero(decision->cooldown_until))
		return false;
	if (group->history.drop_seen_at != decision->drop_seen_at ||
		group->has_reference_qps)
		return false;
	return before->error == NULL && group->error_message == NULL &&
		before->consecutive_errors == 0;
}

static void
note_stored(StoreBatch *batch)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));
		int64		evaluation_id = qpsscale_store_result(row, 2, &null);

		if (group == NULL)
			continue;
		group->stored = true;
		group->evaluation_id = null ? 0 : evaluation_id;
	}
	SPI_freetuptable(SPI_tuptable);
}

void
qpsscale_store_repeated(StoreBatch *batch)
{
	int			capacity = Max(batch->n_groups, 1);
	Datum	   *columns[4];
	bool	   *nulls = palloc0(sizeof(bool) * capacity);
	Datum		values[4];
	static const Oid types[4] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	FLOAT8OID};
	int			count = 0;
	int			bounds[1] = {1};

	for (int c = 0; c < 4; c++)
		columns[c] = palloc(sizeof(Datum) * capacity);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (group->row_locked || !repeats(group))
			continue;
		columns[0][count] = Int64GetDatum(group->id);
		columns[1][count] = TimestampTzGetDatum(group->decided_at);
		columns[2][count] = TimestampTzGetDatum(group->decided_at);
		columns[3][count] = Float8GetDatum(group->decision.load_qps);
		nulls[count] = group->decision.load_qps < 0;
		count++;
	}
	if (count == 0)
		return;
	for (int c = 0; c < 4; c++)
	{
		int			dimensions[1] = {count};

		values[c] = PointerGetDatum(construct_md_array(columns[c],
													   c >= 2 ? nulls : NULL,
													   1, dimensions, bounds,
													   types[c], 8,
													   FLOAT8PASSBYVAL,
													   TYPALIGN_DOUBLE));
	}
	qpsscale_store_run(&repeat_plan, values);
	note_stored(batch);
}

static void
write_recommendations(StringInfo document, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	int			last = decision->n_recommendations - 1;

	qpsscale_json_open(document, "recommended_until", '[');
	for (int i = 0; i <= last; i++)
	{
		/* "until now" only where this tick had a load to recommend from */
		if (i == last && decision->load_qps >= 0 &&
			decision->recommendations[i].at >=
			qpsscale_unix_us(group->decided_at))
			qpsscale_json_text(document, NULL, "infinity");
		else
			qpsscale_json_unix_us(document, NULL,
								  decision->recommendations[i].at);
	}
	qpsscale_json_close(document, ']');
	qpsscale_json_open(document, "recommended", '[');
	for (int i = 0; i <= last; i++)
		qpsscale_json_int(document, NULL,
						  decision->recommendations[i].instances);
	qpsscale_json_close(document, ']');
}

static void
write_times(StringInfo document, const QpsscaleGroup *group)
{
	const QsCloudActivity *activity = &group->target.activity;
	int64		up = QS_NEVER;
	int64		down = QS_NEVER;
	int64		any = QS_NEVER;

	if (activity->known)
	{
		up = activity->last_scale_up_at;
		down = activity->last_scale_down_at;
		any = later(activity->last_any_at, later(up, down));
	}
	if (resolved_to_accepted(group))
	{
		int64		at = qpsscale_unix_us(group->open.requested_at);

		any = later(any, at);
		if (group->open.desired > group->open.base)
			up = later(up, at);
		else
			down = later(down, at);
	}
	qpsscale_json_unix_us(document, "last_scale_up_at", up);
	qpsscale_json_unix_us(document, "last_scale_down_at", down);
	qpsscale_json_unix_us(document, "last_action_at", any);
}

/* Errors in a row: kept while an action is refused and not yet tried again. */
static int
count_errors(const QpsscaleGroup *group)
{
	if (group->error_message != NULL)
		return Min(group->before.consecutive_errors + 1, 1000000);
	if (keeps_old_error(group))
		return group->before.consecutive_errors;
	return 0;
}

static void
write_change(StringInfo document, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	const QsCapacity *capacity = &group->target.capacity;
	bool		changed = verdict_changed(group);
	bool		drop_held = decision->drop_seen_at != QS_NEVER;

	qpsscale_json_open(document, NULL, '{');
	qpsscale_json_int(document, "id", group->id);
	qpsscale_json_time(document, "at", group->decided_at);
	if (decision->load_qps >= 0)
	{
		qpsscale_json_time(document, "qps_at", group->decided_at);
		qpsscale_json_double(document, "qps", decision->load_qps);
	}
	if (capacity->known)
	{
		qpsscale_json_count(document, "capacity", decision->base);
		qpsscale_json_count(document, "total", capacity->total);
		qpsscale_json_count(document, "in_service", capacity->in_service);
		qpsscale_json_int(document, "min", capacity->min);
		qpsscale_json_int(document, "max", capacity->max);
	}
	qpsscale_json_count(document, "optimal", decision->optimal);
	if (drop_held && group->history.previous_qps >= 0)
		qpsscale_json_double(document, "reference_qps",
							 group->history.previous_qps);
	qpsscale_json_unix_us(document, "drop_seen_at", decision->drop_seen_at);
	write_recommendations(document, group);
	qpsscale_json_text(document, "action", qs_action_name(decision->action));
	qpsscale_json_text(document, "reason", qpsscale_verdict_reason(group));
	qpsscale_json_text(document, "blocker",
					   decision->blocker == QS_REASON_COUNT ? NULL :
					   qs_reason_name(decision->blocker));
	qpsscale_json_count(document, "desired", decision->base == QS_UNKNOWN ?
						QS_UNKNOWN : decision->desired);
	qpsscale_json_bool(document, "dry_run", decision->dry_run);
	qpsscale_json_int(document, "version", group->version);
	qpsscale_json_unix_us(document, "blocked_until", decision->blocked_until);
	qpsscale_json_unix_us(document, "cooldown_until",
						  decision->cooldown_until);
	write_times(document, group);
	qpsscale_json_int(document, "errors", count_errors(group));
	qpsscale_json_text(document, "error", keeps_old_error(group) &&
					   group->error_message == NULL ?
					   group->before.error : error_text(group));
	qpsscale_json_bool(document, "changed", changed);
	if (changed)
		qpsscale_explain(document, "explanation", group);
	qpsscale_json_close(document, '}');
}

void
qpsscale_store_changed(StoreBatch *batch)
{
	StringInfoData document;
	int			count = 0;

	qpsscale_store_document(&document);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (group->row_locked || repeats(group))
			continue;
		count++;
		write_change(&document, group);
	}
	if (count == 0)
		return;
	qpsscale_store_run_document(&change_plan, &document);
	note_stored(batch);
}

static void
write_error(StringInfo document, const QpsscaleGroup *group,
			const char *source, const char *message, const QsError *error,
			TimestampTz at)
{
	qpsscale_json_open(document, NULL, '{');
	qpsscale_json_int(document, "id", group->id);
	qpsscale_json_text(document, "source", source);
	qpsscale_json_text(document, "message", message);
	qpsscale_json_open(document, "context", '{');
	qpsscale_json_text(document, "class", qs_error_class_name(error->class));
	qpsscale_json_text(document, "code", error->code);
	if (error->http_status > 0)
		qpsscale_json_int(document, "http_status", error->http_status);
	if (group->activity_id != 0)
		qpsscale_json_int(document, "activity_id", group->activity_id);
	qpsscale_json_close(document, '}');
	qpsscale_json_time(document, "at", at);
	qpsscale_json_close(document, '}');
}

/*
 * An error that repeats from tick to tick is recorded once.  It is the same
 * one if it has the same source and code: the message behind them may hold a
 * request id, or how far this connection came, and differ each time.
 */
static bool
error_repeats(const QpsscaleGroup *group)
{
	char	   *start;

	if (group->before.error == NULL)
		return false;
	if (group->error.code[0] == '\0')
		return same_text(group->before.error, error_text(group));
	start = psprintf("%s: %s: ", group->error_source, group->error.code);
	return strncmp(group->before.error, start, strlen(start)) == 0;
}

void
qpsscale_store_errors(StoreBatch *batch)
{
	StringInfoData document;
	int			count = 0;

	qpsscale_store_document(&document);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (group->row_locked || group->error_message == NULL ||
			error_repeats(group))
			continue;
		count++;
		write_error(&document, group, group->error_source,
					group->error_message, &group->error, group->decided_at);
	}
	if (count > 0)
		qpsscale_store_run_document(&errors_plan, &document);
}

/* Errors of the calls that should have changed something. */
void
qpsscale_store_failures(StoreBatch *batch, TimestampTz now)
{
	StringInfoData document;
	int			count = 0;

	qpsscale_store_document(&document);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (group->outcome == ACTIVITY_ACCEPTED)
			continue;
		count++;
		write_error(&document, group, "set_capacity", group->outcome_message,
					&group->target.set_error, now);
	}
	if (count > 0)
		qpsscale_store_run_document(&errors_plan, &document);
}
