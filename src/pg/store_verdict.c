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

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/explain.h"
#include "pg/json_writer.h"
#include "pg/resolution.h"
#include "pg/step.h"
#include "pg/store_parts.h"
#include "pg/worker.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* As in qpsscale_health() and qpsscale_why(): 3 intervals and 5 s are late. */
#define LATE_MARGIN_MS	5000

/*
 * Two evaluators may be at a group at a time.  The verdict that was decided
 * earlier, but whose process was slower, says nothing any more, unless it did
 * something: see stands().  (A state of the future was left by a clock that has
 * been set back.)
 */
static const char repeat_sql[] =
"UPDATE qpsscale.state s"
" SET last_evaluated_at = w.at, updated_at = w.at,"
"  latest_qps_at = coalesce(w.qps_at, s.latest_qps_at),"
"  latest_qps = coalesce(w.qps, s.latest_qps),"
"  repeat_count = s.repeat_count + 1"
" FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[],"
"             $4::float8[]) AS w(id, at, qps_at, qps)"
" WHERE s.resource_group_id = w.id"
"  AND NOT coalesce(s.last_evaluated_at > w.at"
"   AND s.last_evaluated_at <= clock_timestamp(), false)"
" RETURNING s.resource_group_id, NULL::bigint";

/*
 * The row of a new verdict says until when the previous one held and how often
 * it was confirmed, because the counters in the state are overwritten now.  The
 * state row is locked for that: another evaluator may be counting.
 *
 * The number in service is asked for only where it matters.  It is forgotten
 * when the group's size changes: compared with a number of another size, a
 * metric that breaks would look like backends that went with the load, and the
 * guard against suspicious drops would let it pass.
 *
 * A time in the future was left by a clock that has been set back since.  It
 * becomes now, so that a cooldown lasts its span once more and not until the
 * clock gets there again.
 */
static const char change_sql[] =
"WITH w AS MATERIALIZED (SELECT *, clock_timestamp() AS now"
"  FROM unnest($1::bigint[],"
"  $2::timestamptz[], $3::timestamptz[], $4::float8[], $5::integer[],"
"  $6::integer[], $7::integer[], $8::integer[], $9::integer[],"
"  $10::integer[], $11::float8[], $12::timestamptz[], $13::text[],"
"  $14::text[], $15::text[], $16::text[], $17::text[], $18::integer[],"
"  $19::boolean[], $20::bigint[], $21::timestamptz[], $22::timestamptz[],"
"  $23::timestamptz[], $24::timestamptz[], $25::timestamptz[],"
"  $26::integer[], $27::text[], $28::boolean[], $29::text[], $30::boolean[])"
"  AS w(id, at, qps_at, qps, capacity, total, in_service, min, max, optimal,"
"       reference_qps, drop_seen_at, recommended_until, recommended,"
"       action, reason, blocker, desired, dry_run, version, blocked_until,"
"       cooldown_until, last_scale_up_at, last_scale_down_at,"
"       last_action_at, errors, error, after_gap, explanation, stands)),"
" e AS (INSERT INTO qpsscale.evaluations (resource_group_id, evaluated_at,"
"   action, reason, blocker, desired, dry_run, policy_version, explanation,"
"   previous_id, previous_until, previous_count, after_gap)"
"  SELECT w.id, w.at, w.action, w.reason, w.blocker, w.desired, w.dry_run,"
"   w.version, w.explanation::jsonb, p.last_evaluation_id,"
"   p.last_evaluated_at, p.repeat_count, w.after_gap"
"  FROM w JOIN qpsscale.state p ON p.resource_group_id = w.id"
"  WHERE w.explanation IS NOT NULL"
"   AND (w.stands OR NOT coalesce(p.last_evaluated_at > w.at"
"    AND p.last_evaluated_at <= w.now, false))"
"  FOR NO KEY UPDATE OF p"
"  RETURNING id, resource_group_id)"
" UPDATE qpsscale.state s"
" SET last_evaluated_at = w.at, updated_at = w.at,"
"  latest_qps_at = coalesce(w.qps_at, s.latest_qps_at),"
"  latest_qps = coalesce(w.qps, s.latest_qps),"
"  repeat_count = CASE WHEN w.explanation IS NOT NULL THEN 0 ELSE s.repeat_count + 1 END,"
"  latest_capacity = coalesce(w.capacity, s.latest_capacity),"
"  latest_total = coalesce(w.total, s.latest_total),"
"  latest_in_service = CASE WHEN w.in_service IS NULL"
"    AND coalesce(w.total, s.latest_total) IS NOT DISTINCT FROM s.latest_total"
"   THEN s.latest_in_service ELSE w.in_service END,"
"  latest_min = coalesce(w.min, s.latest_min),"
"  latest_max = coalesce(w.max, s.latest_max),"
"  latest_optimal = coalesce(w.optimal, s.latest_optimal),"
"  reference_qps = w.reference_qps, drop_seen_at = w.drop_seen_at,"
"  recommended_until = w.recommended_until::timestamptz[],"
"  recommended = w.recommended::integer[],"
"  last_action = w.action, last_reason = w.reason, last_blocker = w.blocker,"
"  last_desired = w.desired, last_dry_run = w.dry_run,"
"  last_verdict_at = CASE WHEN w.explanation IS NOT NULL THEN w.at"
"   ELSE s.last_verdict_at END,"
"  last_evaluation_id = coalesce(e.id, s.last_evaluation_id),"
"  blocked_until = w.blocked_until, cooldown_until = w.cooldown_until,"
"  last_scale_up_at = greatest(CASE WHEN s.last_scale_up_at > w.now"
"    THEN w.now ELSE s.last_scale_up_at END, w.last_scale_up_at),"
"  last_scale_down_at = greatest(CASE WHEN s.last_scale_down_at > w.now"
"    THEN w.now ELSE s.last_scale_down_at END, w.last_scale_down_at),"
"  last_action_at = greatest(CASE WHEN s.last_action_at > w.now"
"    THEN w.now ELSE s.last_action_at END, w.last_action_at),"
"  consecutive_errors = w.errors, last_error = w.error"
" FROM w LEFT JOIN e ON e.resource_group_id = w.id"
" WHERE s.resource_group_id = w.id"
"  AND (w.stands OR NOT coalesce(s.last_evaluated_at > w.at"
"   AND s.last_evaluated_at <= w.now, false))"
" RETURNING s.resource_group_id, e.id";

static const char errors_sql[] =
"INSERT INTO qpsscale.errors"
"  (resource_group_id, source, message, context, occurred_at)"
" SELECT w.id, w.source, w.message, w.context::jsonb, w.at"
" FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[],"
"  $5::timestamptz[]) AS w(id, source, message, context, at)";

static StorePlan repeat_plan = {repeat_sql, 4,
{INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, FLOAT8OID}, NULL};
static StorePlan change_plan = {change_sql, 30,
	{INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, FLOAT8OID, INT4OID, INT4OID,
		INT4OID, INT4OID, INT4OID, INT4OID, FLOAT8OID, TIMESTAMPTZOID,
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, BOOLOID,
		INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, TEXTOID, BOOLOID, TEXTOID,
BOOLOID}, NULL};
static StorePlan errors_plan = {errors_sql, 5,
{INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL};

static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

/*
 * Was nothing evaluated for so long that qpsscale_health() would have called the
 * group late?  Counters alone could not tell that from confirmations, so the
 * verdict gets a row of its own, even if it is the old one.
 */
static bool
follows_gap(const QpsscaleGroup *group)
{
	int64		late_ms = 3 * (int64) qpsscale_worker_host->settings->interval_ms
		+ LATE_MARGIN_MS;

	return group->before.evaluated_at != 0 &&
		group->decided_at - group->before.evaluated_at > late_ms * 1000;
}

/*
 * Is another set of signals missing than before?  Which of them wins is no part
 * of the verdict: two that are nearly equal would make a row per tick.
 */
static bool
signals_changed(const QpsscaleGroup *group)
{
	for (int i = 0; i < group->n_signals; i++)
		if ((group->sources[i].before.missing_since == 0) !=
			(group->decision.missing_since[i] == QS_NEVER))
			return true;
	return false;
}

static bool
verdict_changed(const QpsscaleGroup *group)
{
	const GroupVerdict *before = &group->before;
	const QsDecision *decision = &group->decision;

	return before->reason == NULL || follows_gap(group) ||
		group->change.seen_at != 0 || signals_changed(group) ||
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

/* Where others are overridden, what they do in the cloud is not recorded. */
static bool
minds_the_cloud(const QpsscaleGroup *group)
{
	return group->target.activity.known &&
		group->policy.on_foreign_change != QS_FOREIGN_OVERRIDE;
}

static bool
saw_foreign_activity(const QpsscaleGroup *group)
{
	const QsCloudActivity *activity = &group->target.activity;

	return minds_the_cloud(group) &&
		later(activity->last_any_at, later(activity->last_scale_up_at,
										   activity->last_scale_down_at)) >
		group->history.last_action_at;
}

/* Left by a clock that has been set back. */
static bool
acted_in_future(const QpsscaleGroup *group)
{
	const QsHistory *history = &group->history;

	return later(history->last_action_at, later(history->last_scale_up_at,
												history->last_scale_down_at)) >
		qpsscale_unix_us(group->decided_at);
}

static bool
resolved_to_accepted(const QpsscaleGroup *group)
{
	return group->open.status != group->open.resolved &&
		group->open.status != ACTIVITY_ACCEPTED &&
		(group->open.resolved == ACTIVITY_ACCEPTED ||
		 group->open.resolved == ACTIVITY_SUCCESSFUL);
}

/* It has done something, or found out what was done: no later verdict of
 * others makes up for that. */
static bool
stands(const QpsscaleGroup *group)
{
	return group->activity_id != 0 || group->by_hand != NULL ||
		group->execution != NULL ||
		group->open.resolved != group->open.status ||
		qpsscale_changed_by_others(group);
}

/* Can the five-column update say all there is to say? */
static bool
repeats(const QpsscaleGroup *group)
{
	const GroupVerdict *before = &group->before;
	const QsDecision *decision = &group->decision;
	const QsCapacity *capacity = &group->target.capacity;

	if (verdict_changed(group) || recommendations_changed(group) ||
		saw_foreign_activity(group) || stands(group) || acted_in_future(group))
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

/* Something drove the group: requests, or a further signal. */
static bool
was_driven(const QpsscaleGroup *group)
{
	return group->decision.load_qps >= 0 ||
		group->decision.optimal != QS_UNKNOWN;
}

void
qpsscale_store_repeated(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &repeat_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];
		bool		loaded = group->decision.load_qps >= 0;

		if (group->row_locked || !repeats(group))
			continue;
		store_put_int64(&rows, group->id);
		store_put_time(&rows, group->decided_at);
		store_put_time(&rows, was_driven(group) ? group->decided_at : 0);
		store_put_double(&rows, loaded ? group->decision.load_qps : NAN);
	}
	if (store_rows_run(&rows))
		note_stored(batch);
}

/* Two array literals: until when, and how many. */
static void
put_recommendations(StoreRows *rows, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	int64		now = qpsscale_unix_us(group->decided_at);
	StringInfoData until;
	StringInfoData instances;

	initStringInfo(&until);
	initStringInfo(&instances);
	for (int i = 0; i < decision->n_recommendations; i++)
	{
		const QsRecommendation *r = &decision->recommendations[i];
		const char *comma = i == 0 ? "" : ",";

		/* "until now" only where this tick had a load to recommend from */
		if (i == decision->n_recommendations - 1 && was_driven(group) &&
			r->at >= now)
			appendStringInfo(&until, "%sinfinity", comma);
		else
			appendStringInfo(&until, "%s\"%s\"", comma,
							 timestamptz_to_str(qpsscale_timestamptz(r->at)));
		appendStringInfo(&instances, "%s%d", comma, r->instances);
	}
	store_put_text(rows, psprintf("{%s}", until.data));
	store_put_text(rows, psprintf("{%s}", instances.data));
}

/* When it last grew, shrank and changed, as far as this cycle has seen. */
typedef struct SeenTimes
{
	int64		up;
	int64		down;
	int64		any;
} SeenTimes;

static SeenTimes
seen_times(const QpsscaleGroup *group)
{
	const QsCloudActivity *activity = &group->target.activity;
	SeenTimes	seen = {QS_NEVER, QS_NEVER, QS_NEVER};

	if (minds_the_cloud(group))
	{
		seen.up = activity->last_scale_up_at;
		seen.down = activity->last_scale_down_at;
		seen.any = later(activity->last_any_at, later(seen.up, seen.down));
	}
	if (qpsscale_changed_by_others(group) &&
		group->policy.on_foreign_change != QS_FOREIGN_OVERRIDE)
		seen.any = later(seen.any, qpsscale_unix_us(group->change.seen_at));
	if (resolved_to_accepted(group))
	{
		int64		at = qpsscale_unix_us(group->open.applied_by);

		seen.any = later(seen.any, at);
		if (group->open.desired >= group->open.base)
			seen.up = later(seen.up, at);
		else
			seen.down = later(seen.down, at);
	}
	return seen;
}

static void
put_times(StoreRows *rows, const QpsscaleGroup *group)
{
	SeenTimes	seen = seen_times(group);

	store_put_unix_us(rows, seen.up);
	store_put_unix_us(rows, seen.down);
	store_put_unix_us(rows, seen.any);
}

TimestampTz
qpsscale_store_last_action_at(const QpsscaleGroup *group)
{
	return Max(group->last_action_at, time_or_zero(seen_times(group).any));
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
put_observation(StoreRows *rows, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	const QsCapacity *capacity = &group->target.capacity;
	bool		loaded = decision->load_qps >= 0;
	bool		known = capacity->known;

	store_put_int64(rows, group->id);
	store_put_time(rows, group->decided_at);
	store_put_time(rows, was_driven(group) ? group->decided_at : 0);
	store_put_double(rows, loaded ? decision->load_qps : NAN);
	store_put_count(rows, known ? decision->base : QS_UNKNOWN);
	store_put_count(rows, known ? capacity->total : QS_UNKNOWN);
	store_put_count(rows, known ? capacity->in_service : QS_UNKNOWN);
	store_put_count(rows, known ? capacity->min : QS_UNKNOWN);
	store_put_count(rows, known ? capacity->max : QS_UNKNOWN);
	store_put_count(rows, decision->optimal);
}

static void
put_verdict(StoreRows *rows, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;

	store_put_text(rows, qs_action_name(decision->action));
	store_put_text(rows, qpsscale_verdict_reason(group));
	store_put_text(rows, decision->blocker == QS_REASON_COUNT ? NULL :
				   qs_reason_name(decision->blocker));
	store_put_count(rows, decision->base == QS_UNKNOWN ? QS_UNKNOWN :
					decision->desired);
	store_put_bool(rows, decision->dry_run);
	store_put_int64(rows, group->version);
	store_put_unix_us(rows, decision->blocked_until);
	store_put_unix_us(rows, decision->cooldown_until);
}

/* One row of change_sql. */
static void
put_change(StoreRows *rows, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	bool		drop_held = decision->drop_seen_at != QS_NEVER &&
		group->history.previous_qps >= 0;
	bool		old_error = group->error_message == NULL &&
		keeps_old_error(group);

	put_observation(rows, group);
	store_put_double(rows, drop_held ? group->history.previous_qps : NAN);
	store_put_unix_us(rows, decision->drop_seen_at);
	put_recommendations(rows, group);
	put_verdict(rows, group);
	put_times(rows, group);
	store_put_int32(rows, count_errors(group));
	store_put_text(rows, old_error ? group->before.error : error_text(group));
	store_put_bool(rows, follows_gap(group));
	if (verdict_changed(group))
	{
		StringInfoData explanation;

		initStringInfo(&explanation);
		qpsscale_explain(&explanation, NULL, group);
		store_put_text(rows, explanation.data);
	}
	else
		store_put_null(rows);
	store_put_bool(rows, stands(group));
}

void
qpsscale_store_changed(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &change_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
		if (!batch->groups[i]->row_locked && !repeats(batch->groups[i]))
			put_change(&rows, batch->groups[i]);
	if (store_rows_run(&rows))
		note_stored(batch);
}

static void
put_error(StoreRows *rows, const QpsscaleGroup *group, const char *source,
		  const char *message, const QsError *error, TimestampTz at)
{
	StringInfoData context;

	initStringInfo(&context);
	qpsscale_json_open(&context, NULL, '{');
	qpsscale_json_text(&context, "class", qs_error_class_name(error->class));
	qpsscale_json_text(&context, "code", error->code);
	if (error->http_status > 0)
		qpsscale_json_int(&context, "http_status", error->http_status);
	if (group->activity_id != 0)
		qpsscale_json_int(&context, "activity_id", group->activity_id);
	qpsscale_json_close(&context, '}');

	store_put_int64(rows, group->id);
	store_put_text(rows, source);
	store_put_text(rows, message);
	store_put_text(rows, context.data);
	store_put_time(rows, at);
}

static bool
is_same_error(const QpsscaleGroup *group, const char *code)
{
	char	   *start = psprintf("%s: %s: ", group->error_source, code);

	return strncmp(group->before.error, start, strlen(start)) == 0;
}

/*
 * Ways to say that an endpoint does not answer.  Whether a slow call meets its
 * own time limit or the cycle's, and whether a group's call is the one that
 * tries if the endpoint is back, is chance.
 */
static const char *const unanswered_codes[] = {
	"timeout", "deadline", "endpoint_down", "connect", "resolve"
};

static bool
had_no_answer(const QpsscaleGroup *group)
{
	for (size_t i = 0; i < lengthof(unanswered_codes); i++)
		if (is_same_error(group, unanswered_codes[i]))
			return true;
	return false;
}

/*
 * An error that repeats from tick to tick is recorded once.  It is the same
 * one if it has the same source and code: the message behind them may hold a
 * request id, or how far this connection came, and differ each time.
 */
static bool
error_repeats(const QpsscaleGroup *group)
{
	const char *code = group->error.code;

	if (group->before.error == NULL)
		return false;
	if (code[0] == '\0')
		return same_text(group->before.error, error_text(group));
	for (size_t i = 0; i < lengthof(unanswered_codes); i++)
		if (strcmp(code, unanswered_codes[i]) == 0)
			return had_no_answer(group);
	return is_same_error(group, code);
}

void
qpsscale_store_errors(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &errors_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (!group->row_locked && group->error_message != NULL &&
			!error_repeats(group))
			put_error(&rows, group, group->error_source, group->error_message,
					  &group->error, group->decided_at);
	}
	(void) store_rows_run(&rows);
}

/* Errors of the calls that should have changed something. */
void
qpsscale_store_failures(StoreBatch *batch, TimestampTz now)
{
	StoreRows	rows;

	store_rows_start(&rows, &errors_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (group->outcome != ACTIVITY_ACCEPTED)
			put_error(&rows, group, "set_capacity", group->outcome_message,
					  &group->target.set_error, now);
	}
	(void) store_rows_run(&rows);
}
