/*-------------------------------------------------------------------------
 * store_activity.c
 *		Actions on their way into the tables: claims, intents, outcomes.
 *
 * The intent is inserted under the lock of the group's state row, after
 * everything it was decided on was found unchanged; the unique index on what
 * is in flight stands behind that.
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

static StorePlan resolve_plan = {resolve_sql, {JSONOID}, 1, NULL};
static StorePlan claim_plan = {claim_sql, {JSONOID}, 1, NULL};
static StorePlan insert_plan = {insert_sql, {JSONOID}, 1, NULL};
static StorePlan supersede_plan = {supersede_sql, {INT8ARRAYOID}, 1, NULL};
static StorePlan record_plan = {record_sql, {JSONOID}, 1, NULL};

void
qpsscale_store_resolved(StoreBatch *batch)
{
	StringInfoData document;
	int			count = 0;

	qpsscale_store_document(&document);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];
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
		qpsscale_store_run_document(&resolve_plan, &document);
}

/*
 * Locks the state rows of groups about to act (all, if careful).  A group whose
 * row is held, or that has changed since it was read, does not act in this
 * cycle.
 */
void
qpsscale_store_claim(StoreBatch *batch)
{
	StringInfoData document;
	int			count = 0;

	qpsscale_store_document(&document);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (!batch->careful && !qpsscale_store_will_act(group))
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
	qpsscale_store_run_document(&claim_plan, &document);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));

		if (group == NULL)
			continue;
		group->row_locked = false;
		if (!qpsscale_store_will_act(group))
			continue;
		if (qpsscale_store_result(row, 3, &null) != 0)
			qpsscale_store_hold(group, QS_REASON_ACTIVITY_IN_FLIGHT);
		else if (qpsscale_store_result(row, 2, &null) == 0)
			qpsscale_store_hold(group, QS_REASON_POLICY_CHANGED);
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < batch->n_groups; i++)
		if (batch->groups[i]->row_locked)
			qpsscale_store_hold(batch->groups[i], QS_REASON_ROW_LOCKED);
}

static void
supersede(StoreBatch *batch)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(batch->n_groups, 1));
	Datum		values[1];
	int			count = 0;

	for (int i = 0; i < batch->n_groups; i++)
		if (qpsscale_store_will_act(batch->groups[i]) &&
			batch->groups[i]->open.resolved == ACTIVITY_ACCEPTED)
			ids[count++] = Int64GetDatum(batch->groups[i]->id);
	if (count == 0)
		return;
	values[0] = PointerGetDatum(construct_array(ids, count, INT8OID, 8,
												FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	qpsscale_store_run(&supersede_plan, values);
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
void
qpsscale_store_activities(StoreBatch *batch)
{
	StringInfoData document;
	int			count = 0;
	int64		bucket_s = Max(batch->metric_period_s, 60);

	qpsscale_store_document(&document);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];
		int64		now_s;

		if (group->row_locked || group->decision.action == QS_ACTION_NONE)
			continue;
		count++;
		now_s = qpsscale_unix_us(group->decided_at) / USECS_PER_SEC;
		if (group->decision.dry_run)
			group->activity_key =
				MemoryContextStrdup(batch->context,
									psprintf("dry-" INT64_FORMAT "-%d-" INT64_FORMAT "-1",
											 group->id, group->decision.desired,
											 now_s / bucket_s));
		write_activity(&document, group, now_s / bucket_s);
	}
	if (count == 0)
		return;
	supersede(batch);
	qpsscale_store_run_document(&insert_plan, &document);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));

		if (group == NULL)
			continue;
		group->activity_id = qpsscale_store_result(row, 2, &null);
		group->activity_key =
			MemoryContextStrdup(batch->context,
								SPI_getvalue(SPI_tuptable->vals[row],
											 SPI_tuptable->tupdesc, 3));
		if (!group->decision.dry_run)
		{
			group->outcome = ACTIVITY_REQUESTED;
			batch->acted = true;
		}
	}
	SPI_freetuptable(SPI_tuptable);
}

/* The outcome of each call; a refusal feeds the circuit breaker. */
void
qpsscale_store_outcomes(StoreBatch *batch, TimestampTz now)
{
	StringInfoData document;

	qpsscale_store_document(&document);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		qpsscale_json_open(&document, NULL, '{');
		qpsscale_json_int(&document, "id", group->id);
		qpsscale_json_int(&document, "activity_id", group->activity_id);
		qpsscale_json_text(&document, "status",
						   qpsscale_activity_status_name(group->outcome));
		qpsscale_json_text(&document, "action",
						   qs_action_name(group->decision.action));
		qpsscale_json_text(&document, "response", group->response);
		qpsscale_json_text(&document, "message", group->outcome_message);
		qpsscale_json_time(&document, "at", now);
		qpsscale_json_close(&document, '}');
	}
	qpsscale_store_run_document(&record_plan, &document);
}
