/*-------------------------------------------------------------------------
 * store_write.c
 *		What a cycle writes: verdicts and intents, then outcomes.
 *
 * Transaction 2 (intend), in this order:
 *	 resolve	open activities get the status that reading back the cloud gave
 *	 claim		groups about to act: lock the state row, skip what somebody
 *				else holds, check that nothing changed since it was read
 *	 repeat		groups whose verdict is the old one: four columns each
 *	 change		the rest: all columns, and a row in evaluations
 *	 insert		intents (status requested) and dry-run activities
 *	 errors		errors that are new
 * Transaction 3 (record) writes the outcome of the calls.
 *
 * Idle groups are not locked one by one before their update (that would
 * double the WAL): the plain update waits lock_timeout for a row that somebody
 * holds; then the batch is done again carefully, claiming each row with SKIP
 * LOCKED.  What still fails is halved until the bad row stands alone.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/explain.h"
#include "pg/json_writer.h"
#include "pg/step.h"
#include "pg/store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

typedef struct WriteArguments
{
	QpsscaleGroup **groups;
	int			n_groups;
	int			metric_period_s;
	bool		careful;		/* claim every row first */
	bool		acted;			/* out: intents were inserted */
	MemoryContext context;		/* of what is kept after the transaction */
} WriteArguments;

/* A held row was met lately: claim first instead of waiting for it again. */
static bool careful_next_time = false;

static const char resolve_sql[] =
"UPDATE qpsscale.activities a"
" SET status = w.resolved,"
"  error_message = coalesce(w.message, a.error_message),"
"  accepted_at = CASE WHEN w.resolved = 'accepted' OR w.resolved = 'successful'"
"                THEN coalesce(a.accepted_at, a.requested_at) END,"
"  finished_at = CASE WHEN w.resolved = 'accepted' OR w.resolved = 'unknown'"
"                THEN NULL ELSE w.at END"
" FROM json_to_recordset($1) AS"
"  w(id bigint, was text, resolved text, message text, at timestamptz)"
" WHERE a.id = w.id AND a.status = w.was";

static const char claim_sql[] =
"SELECT s.resource_group_id,"
"  g.version = w.version AND s.suspended = w.suspended"
"  AND s.circuit_open_until IS NOT DISTINCT FROM w.circuit_open_until"
"  AND s.last_action_at IS NOT DISTINCT FROM w.last_action_at,"
"  EXISTS (SELECT FROM qpsscale.activities a"
"          WHERE a.resource_group_id = s.resource_group_id"
"          AND (a.status = 'requested' OR a.status = 'unknown'))"
" FROM json_to_recordset($1) AS"
"  w(id bigint, version bigint, suspended boolean,"
"    circuit_open_until timestamptz, last_action_at timestamptz)"
" JOIN qpsscale.state s ON s.resource_group_id = w.id"
" JOIN qpsscale.resource_groups g ON g.id = w.id"
" ORDER BY s.resource_group_id"
" FOR UPDATE OF s SKIP LOCKED";

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

/*
 * The attempt is counted among the keys with the same stem; '.' follows '-' in
 * the "C" collation of the key, so the range is exactly that stem.
 */
static const char insert_sql[] =
"INSERT INTO qpsscale.activities (resource_group_id, activity_key,"
"  requested_at, action, delta, desired_capacity, status, reason, eval_qps,"
"  eval_capacity, target_qps, policy_version, evaluation_id, evaluator_pid,"
"  evaluator_started_at)"
" SELECT w.id, w.stem || '-' || CASE WHEN w.status = 'dry_run' THEN 1 ELSE"
"   (SELECT count(*) + 1 FROM qpsscale.activities p"
"    WHERE p.activity_key > w.stem || '-' AND p.activity_key < w.stem || '.')"
"   END,"
"  w.at, w.action, w.desired - w.base, w.desired, w.status, w.reason, w.qps,"
"  w.base, w.target, w.version, w.evaluation_id, w.pid, w.started_at"
" FROM json_to_recordset($1) AS"
"  w(id bigint, stem text, at timestamptz, action text, desired integer,"
"    base integer, status text, reason text, qps float8, target float8,"
"    version bigint, evaluation_id bigint, pid integer,"
"    started_at timestamptz)"
" WHERE w.status <> 'dry_run' OR NOT EXISTS"
"   (SELECT FROM qpsscale.activities d"
"    WHERE d.activity_key = w.stem || '-1')"
" ON CONFLICT DO NOTHING"
" RETURNING resource_group_id, id, activity_key";

static const char supersede_sql[] =
"UPDATE qpsscale.activities a"
" SET status = 'superseded', finished_at = now(),"
"  error_message = 'a later action of the same group replaced it'"
" FROM unnest($1::bigint[]) AS w(id)"
" WHERE a.resource_group_id = w.id AND a.status = 'accepted'";

static const char errors_sql[] =
"INSERT INTO qpsscale.errors"
"  (resource_group_id, source, message, context, occurred_at)"
" SELECT w.id, w.source, w.message, w.context, w.at"
" FROM json_to_recordset($1) AS"
"  w(id bigint, source text, message text, context jsonb, at timestamptz)";

static const char record_sql[] =
"WITH w AS MATERIALIZED (SELECT * FROM json_to_recordset($1) AS"
"  w(id bigint, activity_id bigint, status text, action text, response text,"
"    message text, at timestamptz, refused boolean)),"
" a AS (UPDATE qpsscale.activities a"
"  SET status = w.status, response = w.response, error_message = w.message,"
"   accepted_at = CASE WHEN w.status = 'accepted' THEN w.at END,"
"   finished_at = CASE WHEN w.status = 'failed' THEN w.at END"
"  FROM w"
"  WHERE a.id = w.activity_id"
"  AND (a.status = 'requested' OR a.status = 'unknown'))"
" UPDATE qpsscale.state s"
" SET updated_at = w.at,"
"  last_action_at = CASE WHEN w.status = 'accepted'"
"   THEN greatest(s.last_action_at, w.at) ELSE s.last_action_at END,"
"  last_scale_up_at = CASE WHEN w.status = 'accepted'"
"   AND w.action = 'scale_up' THEN w.at ELSE s.last_scale_up_at END,"
"  last_scale_down_at = CASE WHEN w.status = 'accepted'"
"   AND w.action = 'scale_down' THEN w.at ELSE s.last_scale_down_at END,"
"  consecutive_errors = CASE WHEN w.status = 'accepted' THEN 0"
"   ELSE s.consecutive_errors + 1 END,"
"  circuit_open_until = CASE WHEN w.status = 'accepted' THEN NULL"
"   WHEN s.consecutive_errors + 1 >= 5 THEN w.at + make_interval(secs =>"
"    least(60 * power(2, least(s.consecutive_errors + 1 - 5, 6)), 3600))"
"   ELSE s.circuit_open_until END,"
"  last_error = CASE WHEN w.status = 'accepted' THEN NULL"
"   ELSE 'set_capacity: ' || w.message END"
" FROM w"
" WHERE s.resource_group_id = w.id";

/* ----------
 * Plans are prepared once per process and kept.
 * ----------
 */
typedef struct KeptPlan
{
	const char *sql;
	Oid			types[4];
	int			n_types;
	SPIPlanPtr	plan;
} KeptPlan;

static KeptPlan resolve_plan = {resolve_sql, {JSONOID}, 1, NULL};
static KeptPlan claim_plan = {claim_sql, {JSONOID}, 1, NULL};
static KeptPlan repeat_plan = {repeat_sql, {INT8ARRAYOID, TIMESTAMPTZARRAYOID,
TIMESTAMPTZARRAYOID, FLOAT8ARRAYOID}, 4, NULL};
static KeptPlan change_plan = {change_sql, {JSONOID}, 1, NULL};
static KeptPlan insert_plan = {insert_sql, {JSONOID}, 1, NULL};
static KeptPlan supersede_plan = {supersede_sql, {INT8ARRAYOID}, 1, NULL};
static KeptPlan errors_plan = {errors_sql, {JSONOID}, 1, NULL};
static KeptPlan record_plan = {record_sql, {JSONOID}, 1, NULL};

static void
run(KeptPlan *kept, Datum *values)
{
	if (kept->plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare(kept->sql, kept->n_types,
										   kept->types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare: %s", kept->sql);
		kept->plan = prepared;
	}
	if (SPI_execute_plan(kept->plan, values, NULL, false, 0) < 0)
		elog(ERROR, "could not run: %s", kept->sql);
}

static void
run_json(KeptPlan *kept, StringInfo document)
{
	Datum		values[1] = {CStringGetTextDatum(document->data)};

	qpsscale_json_close(document, ']');
	values[0] = CStringGetTextDatum(document->data);
	run(kept, values);
}

static void
start_document(StringInfo document)
{
	initStringInfo(document);
	qpsscale_json_open(document, NULL, '[');
}

/* groups are sorted by id, as they were read */
static QpsscaleGroup *
find_group(WriteArguments *arguments, int64 id)
{
	int			low = 0;
	int			high = arguments->n_groups - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		QpsscaleGroup *group = arguments->groups[middle];

		if (group->id == id)
			return group;
		if (group->id < id)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

static int64
result_int64(uint64 row, int column, bool *null)
{
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row],
									   SPI_tuptable->tupdesc, column, null));
}

static bool
will_act(const QpsscaleGroup *group)
{
	return group->decision.action != QS_ACTION_NONE &&
		!group->decision.dry_run && !group->row_locked;
}

/* The decision stands, but not now: base stays. */
static void
hold(QpsscaleGroup *group, QsReason reason)
{
	group->decision.action = QS_ACTION_NONE;
	group->decision.reason = reason;
	group->decision.blocker = reason;
	group->decision.desired = group->decision.base;
}

static void
write_resolved(WriteArguments *arguments)
{
	StringInfoData document;
	int			count = 0;

	start_document(&document);
	for (int i = 0; i < arguments->n_groups; i++)
	{
		QpsscaleGroup *group = arguments->groups[i];
		GroupActivity *open = &group->open;

		if (group->row_locked || open->resolved == open->status)
			continue;
		count++;
		qpsscale_json_open(&document, NULL, '{');
		qpsscale_json_int(&document, "id", open->id);
		qpsscale_json_text(&document, "was",
						   qpsscale_activity_status_name(open->status));
		qpsscale_json_text(&document, "resolved",
						   qpsscale_activity_status_name(open->resolved));
		qpsscale_json_text(&document, "message", open->resolution);
		qpsscale_json_time(&document, "at", group->decided_at);
		qpsscale_json_close(&document, '}');
	}
	if (count > 0)
		run_json(&resolve_plan, &document);
}

/*
 * Locks the state rows of groups about to act (all, if careful).  A group whose
 * row is held, or that has changed since it was read, does not act in this
 * cycle.
 */
static void
claim(WriteArguments *arguments)
{
	StringInfoData document;
	int			count = 0;

	start_document(&document);
	for (int i = 0; i < arguments->n_groups; i++)
	{
		QpsscaleGroup *group = arguments->groups[i];

		if (!arguments->careful && !will_act(group))
			continue;
		count++;
		group->row_locked = true;	/* until the claim says otherwise */
		qpsscale_json_open(&document, NULL, '{');
		qpsscale_json_int(&document, "id", group->id);
		qpsscale_json_int(&document, "version", group->version);
		qpsscale_json_bool(&document, "suspended", group->suspended);
		qpsscale_json_time(&document, "circuit_open_until",
						   group->circuit_open_until);
		qpsscale_json_time(&document, "last_action_at", group->last_action_at);
		qpsscale_json_close(&document, '}');
	}
	if (count == 0)
		return;
	run_json(&claim_plan, &document);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = find_group(arguments,
										  result_int64(row, 1, &null));

		if (group == NULL)
			continue;
		group->row_locked = false;
		if (!will_act(group))
			continue;
		if (result_int64(row, 3, &null) != 0)
			hold(group, QS_REASON_ACTIVITY_IN_FLIGHT);
		else if (result_int64(row, 2, &null) == 0)
			hold(group, QS_REASON_POLICY_CHANGED);
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < arguments->n_groups; i++)
		if (arguments->groups[i]->row_locked)
			hold(arguments->groups[i], QS_REASON_ROW_LOCKED);
}

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
note_stored(WriteArguments *arguments)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = find_group(arguments,
										  result_int64(row, 1, &null));
		int64		evaluation_id = result_int64(row, 2, &null);

		if (group == NULL)
			continue;
		group->stored = true;
		group->evaluation_id = null ? 0 : evaluation_id;
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
write_repeated(WriteArguments *arguments)
{
	int			capacity = Max(arguments->n_groups, 1);
	Datum	   *columns[4];
	bool	   *nulls = palloc0(sizeof(bool) * capacity);
	Datum		values[4];
	static const Oid types[4] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID,
	FLOAT8OID};
	int			count = 0;
	int			bounds[1] = {1};

	for (int c = 0; c < 4; c++)
		columns[c] = palloc(sizeof(Datum) * capacity);
	for (int i = 0; i < arguments->n_groups; i++)
	{
		QpsscaleGroup *group = arguments->groups[i];

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
	run(&repeat_plan, values);
	note_stored(arguments);
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

static void
write_changed(WriteArguments *arguments)
{
	StringInfoData document;
	int			count = 0;

	start_document(&document);
	for (int i = 0; i < arguments->n_groups; i++)
	{
		QpsscaleGroup *group = arguments->groups[i];

		if (group->row_locked || repeats(group))
			continue;
		count++;
		write_change(&document, group);
	}
	if (count == 0)
		return;
	run_json(&change_plan, &document);
	note_stored(arguments);
}

static void
supersede(WriteArguments *arguments)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(arguments->n_groups, 1));
	Datum		values[1];
	int			count = 0;

	for (int i = 0; i < arguments->n_groups; i++)
		if (will_act(arguments->groups[i]) &&
			arguments->groups[i]->open.resolved == ACTIVITY_ACCEPTED)
			ids[count++] = Int64GetDatum(arguments->groups[i]->id);
	if (count == 0)
		return;
	values[0] = PointerGetDatum(construct_array(ids, count, INT8OID, 8,
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	run(&supersede_plan, values);
}

static void
write_activity(StringInfo document, QpsscaleGroup *group, int64 bucket)
{
	const QsDecision *decision = &group->decision;
	char	   *stem = psprintf("%s" INT64_FORMAT "-%d-" INT64_FORMAT,
								decision->dry_run ? "dry-" : "", group->id,
								decision->desired, bucket);

	qpsscale_json_open(document, NULL, '{');
	qpsscale_json_int(document, "id", group->id);
	qpsscale_json_text(document, "stem", stem);
	qpsscale_json_time(document, "at", group->decided_at);
	qpsscale_json_text(document, "action", qs_action_name(decision->action));
	qpsscale_json_int(document, "desired", decision->desired);
	qpsscale_json_int(document, "base", decision->base);
	qpsscale_json_text(document, "status", decision->dry_run ? "dry_run" :
					   "requested");
	qpsscale_json_text(document, "reason", qpsscale_verdict_reason(group));
	if (decision->load_qps >= 0)
		qpsscale_json_double(document, "qps", decision->load_qps);
	qpsscale_json_double(document, "target", group->policy.target_qps);
	qpsscale_json_int(document, "version", group->version);
	if (group->evaluation_id != 0)
		qpsscale_json_int(document, "evaluation_id", group->evaluation_id);
	if (!decision->dry_run)
	{
		qpsscale_json_int(document, "pid", MyProcPid);
		qpsscale_json_time(document, "started_at", MyStartTimestamp);
	}
	qpsscale_json_close(document, '}');
}

/* The bucket is that of the first original's idempotency key. */
static void
write_activities(WriteArguments *arguments)
{
	StringInfoData document;
	int			count = 0;
	int64		bucket_s = Max(arguments->metric_period_s, 60);

	start_document(&document);
	for (int i = 0; i < arguments->n_groups; i++)
	{
		QpsscaleGroup *group = arguments->groups[i];
		int64		now_s;

		if (group->row_locked || group->decision.action == QS_ACTION_NONE)
			continue;
		count++;
		now_s = qpsscale_unix_us(group->decided_at) / USECS_PER_SEC;
		if (group->decision.dry_run)
			group->activity_key =
				MemoryContextStrdup(arguments->context,
									psprintf("dry-" INT64_FORMAT "-%d-" INT64_FORMAT "-1",
											 group->id, group->decision.desired,
											 now_s / bucket_s));
		write_activity(&document, group, now_s / bucket_s);
	}
	if (count == 0)
		return;
	supersede(arguments);
	run_json(&insert_plan, &document);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = find_group(arguments,
										  result_int64(row, 1, &null));

		if (group == NULL)
			continue;
		group->activity_id = result_int64(row, 2, &null);
		group->activity_key =
			MemoryContextStrdup(arguments->context,
								SPI_getvalue(SPI_tuptable->vals[row],
											 SPI_tuptable->tupdesc, 3));
		if (!group->decision.dry_run)
		{
			group->outcome = ACTIVITY_REQUESTED;
			arguments->acted = true;
		}
	}
	SPI_freetuptable(SPI_tuptable);
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

/* An error that repeats from tick to tick is recorded once. */
static void
write_errors(WriteArguments *arguments)
{
	StringInfoData document;
	int			count = 0;

	start_document(&document);
	for (int i = 0; i < arguments->n_groups; i++)
	{
		QpsscaleGroup *group = arguments->groups[i];

		if (group->row_locked || group->error_message == NULL ||
			same_text(group->before.error, error_text(group)))
			continue;
		count++;
		write_error(&document, group, group->error_source,
					group->error_message, &group->error, group->decided_at);
	}
	if (count > 0)
		run_json(&errors_plan, &document);
}

static void
intend_substep(void *argument)
{
	WriteArguments *arguments = argument;

	for (int i = 0; i < arguments->n_groups; i++)
	{
		arguments->groups[i]->row_locked = false;
		arguments->groups[i]->stored = false;
		arguments->groups[i]->activity_id = 0;
	}
	claim(arguments);
	write_resolved(arguments);
	write_repeated(arguments);
	write_changed(arguments);
	write_activities(arguments);
	write_errors(arguments);
}

static void
charge_group(WriteArguments *arguments, ErrorData *error)
{
	QpsscaleGroup *group = arguments->groups[0];

	ereport(LOG,
			(errmsg("resource group \"%s\" could not be written: %s",
					group->name, error->message)));
	group->error_source = "database";
	group->error_message = MemoryContextStrdup(arguments->context,
											   error->message);
	qs_error_set(&group->error, QS_ERROR_TERMINAL,
				 unpack_sql_state(error->sqlerrcode), "%s", error->message);
	hold(group, QS_REASON_EVALUATION_ERROR);
	group->stored = false;
	group->activity_id = 0;
}

/*
 * Decisions may be changed by a failed attempt (hold), so each attempt starts
 * from a copy.
 */
static void
intend_batch(WriteArguments *arguments)
{
	ErrorData  *error;
	QsDecision *decisions;
	WriteArguments half = *arguments;

	decisions = palloc_extended(sizeof(QsDecision) * arguments->n_groups,
								MCXT_ALLOC_HUGE);
	for (int i = 0; i < arguments->n_groups; i++)
		decisions[i] = arguments->groups[i]->decision;
	if (qpsscale_substep(intend_substep, arguments, &error))
	{
		pfree(decisions);
		return;
	}
	for (int i = 0; i < arguments->n_groups; i++)
		arguments->groups[i]->decision = decisions[i];
	pfree(decisions);
	arguments->acted = half.acted;

	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && !arguments->careful)
	{
		arguments->careful = true;
		careful_next_time = true;
		intend_batch(arguments);
		return;
	}
	if (arguments->n_groups == 1)
	{
		charge_group(arguments, error);
		return;
	}
	half.careful = arguments->careful;
	half.n_groups = arguments->n_groups / 2;
	intend_batch(&half);
	arguments->groups += half.n_groups;
	arguments->n_groups -= half.n_groups;
	intend_batch(arguments);
	arguments->acted |= half.acted;
}

static void
intend_body(void *argument)
{
	WriteArguments arguments = *(WriteArguments *) argument;

	intend_batch(&arguments);
	((WriteArguments *) argument)->acted = arguments.acted;
}

bool
qpsscale_store_intend(QpsscaleGroup **groups, int n_groups,
					  int metric_period_s, bool *durable, ErrorData **error)
{
	WriteArguments arguments = {groups, n_groups, metric_period_s,
	careful_next_time, false, CurrentMemoryContext};
	bool		intents = false;
	bool		locked = false;

	for (int i = 0; i < n_groups; i++)
		intents |= will_act(groups[i]);
	*durable = false;
	if (!qpsscale_step("qpsscale: decide", intend_body, &arguments, intents,
					   error))
	{
		for (int i = 0; i < n_groups; i++)
		{
			groups[i]->stored = false;
			groups[i]->activity_id = 0;
		}
		return false;
	}
	for (int i = 0; i < n_groups; i++)
		locked |= groups[i]->row_locked;
	careful_next_time = locked;
	*durable = !arguments.acted || qpsscale_step_was_replicated();
	return true;
}

static void
record_substep(void *argument)
{
	WriteArguments *arguments = argument;
	StringInfoData outcomes;
	StringInfoData errors;
	TimestampTz now = GetCurrentTimestamp();
	int			failures = 0;

	start_document(&outcomes);
	start_document(&errors);
	for (int i = 0; i < arguments->n_groups; i++)
	{
		QpsscaleGroup *group = arguments->groups[i];

		qpsscale_json_open(&outcomes, NULL, '{');
		qpsscale_json_int(&outcomes, "id", group->id);
		qpsscale_json_int(&outcomes, "activity_id", group->activity_id);
		qpsscale_json_text(&outcomes, "status",
						   qpsscale_activity_status_name(group->outcome));
		qpsscale_json_text(&outcomes, "action",
						   qs_action_name(group->decision.action));
		qpsscale_json_text(&outcomes, "response", group->response);
		qpsscale_json_text(&outcomes, "message", group->outcome_message);
		qpsscale_json_time(&outcomes, "at", now);
		qpsscale_json_close(&outcomes, '}');
		if (group->outcome == ACTIVITY_ACCEPTED)
			continue;
		failures++;
		write_error(&errors, group, "set_capacity", group->outcome_message,
					&group->target.set_error, now);
	}
	run_json(&record_plan, &outcomes);
	if (failures > 0)
		run_json(&errors_plan, &errors);
}

static void
record_batch(WriteArguments *arguments)
{
	ErrorData  *error;
	WriteArguments half = *arguments;

	if (arguments->n_groups == 0 ||
		qpsscale_substep(record_substep, arguments, &error))
		return;
	if (arguments->n_groups == 1)
	{
		/* stays requested; the next cycle resolves it by reading */
		charge_group(arguments, error);
		return;
	}
	half.n_groups = arguments->n_groups / 2;
	record_batch(&half);
	half.groups = arguments->groups + half.n_groups;
	half.n_groups = arguments->n_groups - half.n_groups;
	record_batch(&half);
}

static void
record_body(void *argument)
{
	record_batch(argument);
}

bool
qpsscale_store_record(QpsscaleGroup **groups, int n_groups, ErrorData **error)
{
	WriteArguments arguments = {groups, n_groups, 0, false, false,
	CurrentMemoryContext};

	return qpsscale_step("qpsscale: record", record_body, &arguments, false,
						 error);
}

static void
validated_body(void *argument)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(*(int64 *) argument)};

	if (SPI_execute_with_args("UPDATE qpsscale.resource_groups"
							  " SET last_validated_at = now() WHERE id = $1",
							  1, types, values, NULL, false, 0) !=
		SPI_OK_UPDATE)
		elog(ERROR, "could not mark the group as validated");
}

bool
qpsscale_store_validated(int64 group_id, ErrorData **error)
{
	return qpsscale_step("qpsscale: validate", validated_body, &group_id,
						 false, error);
}
