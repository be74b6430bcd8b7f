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
#include "core/breaker.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/crash_points.h"
#include "pg/explain.h"
#include "pg/resolution.h"
#include "pg/step.h"
#include "pg/store_parts.h"
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
"                THEN NULL ELSE w.at END,"
"  in_service_seconds = CASE WHEN w.resolved = 'successful'"
"                AND a.desired_capacity > a.eval_capacity"
"                THEN greatest(extract(epoch FROM"
"                     w.at - coalesce(a.accepted_at, a.requested_at)), 0) END"
" FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[],"
"  $5::timestamptz[]) AS w(id, was, resolved, message, at)"
" WHERE a.id = w.id AND a.status = w.was"
" RETURNING a.resource_group_id";

static const char claim_sql[] =
"SELECT s.resource_group_id,"
"  g.version = w.version AND s.suspended = w.suspended"
"  AND s.suspended_direction = w.direction"
"  AND s.suspended_until IS NOT DISTINCT FROM w.until"
"  AND s.circuit_open_until IS NOT DISTINCT FROM w.circuit_open_until"
"  AND s.last_action_at IS NOT DISTINCT FROM w.last_action_at"
"  AND (SELECT qpsscale.is_armed()),"
"  EXISTS (SELECT FROM qpsscale.activities a"
"          WHERE a.resource_group_id = s.resource_group_id"
"          AND (a.status = 'requested' OR a.status = 'unknown')"
"          AND a.id IS DISTINCT FROM w.ended),"
"  s.last_action_at IS NOT DISTINCT FROM w.last_action_at"
" FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::text[],"
"  $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::bigint[])"
"  AS w(id, version, suspended, direction, until, circuit_open_until,"
"       last_action_at, ended)"
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
"  eval_capacity, eval_total, target_qps, policy_version, evaluator_pid,"
"  evaluator_started_at)"
" SELECT w.id, w.stem || '-' || CASE WHEN w.status = 'dry_run' THEN 1 ELSE"
"   (SELECT count(*) + 1 FROM qpsscale.activities p"
"    WHERE p.activity_key > w.stem || '-' AND p.activity_key < w.stem || '.')"
"   END,"
"  w.at, w.action, w.desired - w.base, w.desired, w.status, w.reason, w.qps,"
"  w.base, w.total, w.target, w.version, w.pid, w.started_at"
" FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::text[],"
"  $5::integer[], $6::integer[], $7::text[], $8::text[], $9::float8[],"
"  $10::float8[], $11::bigint[], $12::integer[], $13::integer[],"
"  $14::timestamptz[])"
"  AS w(id, stem, at, action, desired, base, status, reason, qps, target,"
"       version, total, pid, started_at)"
" WHERE w.status <> 'dry_run' OR NOT EXISTS"
"   (SELECT FROM qpsscale.activities d"
"    WHERE d.activity_key = w.stem || '-1')"
" ON CONFLICT DO NOTHING"
" RETURNING resource_group_id, id, activity_key";

static const char reasons_sql[] =
"UPDATE qpsscale.activities a"
" SET evaluation_id = w.evaluation_id"
" FROM unnest($1::bigint[], $2::bigint[]) AS w(id, evaluation_id)"
" WHERE a.id = w.id";

static const char supersede_sql[] =
"UPDATE qpsscale.activities a"
" SET status = 'superseded', finished_at = now(),"
"  error_message = 'a later action of the same group replaced it'"
" FROM unnest($1::bigint[]) AS w(id)"
" WHERE a.resource_group_id = w.id AND a.status = 'accepted'";

static const char record_sql[] =
"WITH w AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bigint[],"
"  $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],"
"  $8::boolean[], $9::integer[], $10::timestamptz[])"
"  AS w(id, activity_id, status, action, response, message, at, tried,"
"       failures, open_until)),"
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
"   ELSE s.consecutive_errors + w.tried::integer END,"
"  failed_actions = CASE WHEN w.status = 'accepted' THEN 0"
"   ELSE s.failed_actions + w.tried::integer END,"
"  circuit_open_until = CASE WHEN w.status = 'accepted' THEN NULL"
"   WHEN w.tried AND s.failed_actions + 1 = w.failures THEN w.open_until"
"   ELSE s.circuit_open_until END,"
"  last_error = CASE WHEN w.status = 'accepted' THEN NULL"
"   ELSE 'set_capacity: ' || w.message END"
" FROM w"
" WHERE s.resource_group_id = w.id"
" RETURNING s.resource_group_id, s.circuit_open_until > w.at";

static StorePlan resolve_plan = {resolve_sql, 5,
{INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL};
static StorePlan claim_plan = {claim_sql, 8,
	{INT8OID, INT8OID, BOOLOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
TIMESTAMPTZOID, INT8OID}, NULL};
static StorePlan insert_plan = {insert_sql, 14,
	{INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, INT4OID, INT4OID, TEXTOID,
		TEXTOID, FLOAT8OID, FLOAT8OID, INT8OID, INT4OID, INT4OID,
TIMESTAMPTZOID}, NULL};
static StorePlan reasons_plan = {reasons_sql, 2, {INT8OID, INT8OID}, NULL};
static StorePlan supersede_plan = {supersede_sql, 1, {INT8OID}, NULL};
static StorePlan record_plan = {record_sql, 10,
	{INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID,
BOOLOID, INT4OID, TIMESTAMPTZOID}, NULL};

/* Another evaluator may have been faster: then it is not ours to tell. */
static void
note_settled(StoreBatch *batch)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));

		if (group != NULL)
			group->open.settled = true;
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * After the claim: an outcome is recorded with what it means for the state, the
 * cooldown for instance, or not in this cycle.
 */
void
qpsscale_store_resolved(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &resolve_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];
		GroupActivity *open = &group->open;

		if (group->row_locked || open->resolved == open->status)
			continue;
		store_put_int64(&rows, open->id);
		store_put_text(&rows, qpsscale_activity_status_name(open->status));
		store_put_text(&rows, qpsscale_activity_status_name(open->resolved));
		store_put_text(&rows, open->resolution);
		store_put_time(&rows, group->decided_at);
	}
	if (store_rows_run(&rows))
	{
		note_settled(batch);
		QPSSCALE_CRASH_POINT(resolved);
	}
}

/*
 * Has another evaluator of ours acted after this one had read the rows?  What
 * this one has found out, a foreign change or an activity's end, may then be
 * that one's doing.  (Under another policy it may be of another target.)
 */
static bool
is_overtaken(const QpsscaleGroup *group, uint64 row)
{
	bool		in_flight = qpsscale_store_flag(row, 3);

	return !qpsscale_store_flag(row, 4) ||
		(in_flight && !group->history.activity_in_flight) ||
		(qpsscale_changed_by_others(group) && !qpsscale_store_flag(row, 2));
}

static bool
has_found_out(const QpsscaleGroup *group)
{
	return qpsscale_changed_by_others(group) ||
		group->open.resolved != group->open.status;
}

/* The open activity, if this cycle has found out what became of it. */
static int64
ended_activity(const QpsscaleGroup *group)
{
	ActivityStatus resolved = group->open.resolved;

	return resolved == ACTIVITY_REQUESTED || resolved == ACTIVITY_UNKNOWN ?
		0 : group->open.id;
}

/*
 * Locks the state rows of groups about to act, of those whose activity has
 * come to an end, and of those that somebody else seems to have changed (all,
 * if careful).  A group whose row is held, or that has changed since it was
 * read, does not act in this cycle; where what was found out may be another
 * evaluator's doing, all of it is left for the next one.
 */
void
qpsscale_store_claim(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &claim_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (!batch->careful && !qpsscale_store_will_act(group) &&
			!has_found_out(group))
			continue;
		group->row_locked = true;	/* until the claim says otherwise */
		store_put_int64(&rows, group->id);
		store_put_int64(&rows, group->version);
		store_put_bool(&rows, group->suspended);
		store_put_text(&rows, group->suspended_direction);
		store_put_time(&rows, group->suspended_until);
		store_put_time(&rows, group->circuit_open_until);
		store_put_time(&rows, group->last_action_at);
		store_put_int64(&rows, ended_activity(group));
	}
	if (!store_rows_run(&rows))
		return;
	QPSSCALE_CRASH_POINT(claimed);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));

		if (group == NULL)
			continue;
		group->row_locked = false;
		if (has_found_out(group) && is_overtaken(group, row))
		{
			group->row_locked = true;
			qpsscale_store_hold(group, QS_REASON_POLICY_CHANGED);
			continue;
		}
		if (!qpsscale_store_will_act(group))
			continue;
		if (qpsscale_store_flag(row, 3))
			qpsscale_store_hold(group, QS_REASON_ACTIVITY_IN_FLIGHT);
		else if (!qpsscale_store_flag(row, 2))
			qpsscale_store_hold(group, QS_REASON_POLICY_CHANGED);
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < batch->n_groups; i++)
		if (batch->groups[i]->row_locked &&
			batch->groups[i]->decision.reason != QS_REASON_POLICY_CHANGED)
			qpsscale_store_hold(batch->groups[i], QS_REASON_ROW_LOCKED);
}

static void
supersede(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &supersede_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
		if (batch->groups[i]->outcome == ACTIVITY_REQUESTED &&
			batch->groups[i]->open.resolved == ACTIVITY_ACCEPTED)
			store_put_int64(&rows, batch->groups[i]->id);
	(void) store_rows_run(&rows);
}

static void
put_activity(StoreRows *rows, const QpsscaleGroup *group, const char *stem)
{
	const QsDecision *decision = &group->decision;

	store_put_int64(rows, group->id);
	store_put_text(rows, stem);
	store_put_time(rows, group->decided_at);
	store_put_text(rows, qs_action_name(decision->action));
	store_put_int32(rows, decision->desired);
	store_put_int32(rows, decision->base);
	store_put_text(rows, decision->dry_run ? "dry_run" : "requested");
	store_put_text(rows, qpsscale_verdict_reason(group));
	if (decision->load_qps >= 0)
		store_put_double(rows, decision->load_qps);
	else
		store_put_null(rows);
	store_put_double(rows, group->policy.target_qps);
	store_put_int64(rows, group->version);
	store_put_count(rows, group->target.capacity.total);
	if (decision->dry_run)
	{
		store_put_null(rows);
		store_put_null(rows);
		return;
	}
	store_put_int32(rows, MyProcPid);
	store_put_time(rows, MyStartTimestamp);
}

/*
 * An intent that was not inserted is one that somebody else was faster with:
 * what they want is in flight, and this group does not act.
 */
static void
hold_the_lost(StoreBatch *batch)
{
	for (int i = 0; i < batch->n_groups; i++)
		if (qpsscale_store_will_act(batch->groups[i]) &&
			batch->groups[i]->activity_id == 0)
			qpsscale_store_hold(batch->groups[i],
								QS_REASON_ACTIVITY_IN_FLIGHT);
}

/* The bucket is that of the first original's idempotency key. */
void
qpsscale_store_activities(StoreBatch *batch)
{
	StoreRows	rows;
	int64		bucket_s = Max(batch->metric_period_s, 60);

	store_rows_start(&rows, &insert_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];
		const QsDecision *decision = &group->decision;
		int64		now_s;
		char	   *stem;

		if (group->row_locked || decision->action == QS_ACTION_NONE)
			continue;
		now_s = qpsscale_unix_us(group->decided_at) / USECS_PER_SEC;
		stem = psprintf("%s" INT64_FORMAT "-%d-" INT64_FORMAT,
						decision->dry_run ? "dry-" : "", group->id,
						decision->desired, now_s / bucket_s);
		/* a dry run's row may be there already: its key is the same */
		if (decision->dry_run)
			group->activity_key = MemoryContextStrdup(batch->context,
													  psprintf("%s-1", stem));
		put_activity(&rows, group, stem);
	}
	if (!store_rows_run(&rows))
		return;
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
	hold_the_lost(batch);
	supersede(batch);
}

/* Each activity of this cycle learns which evaluation explains it. */
void
qpsscale_store_reasons(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &reasons_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (group->activity_id == 0 || group->evaluation_id == 0)
			continue;
		store_put_int64(&rows, group->activity_id);
		store_put_int64(&rows, group->evaluation_id);
	}
	(void) store_rows_run(&rows);
}

static void
note_circuits(StoreBatch *batch)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));

		if (group != NULL)
			group->circuit_opened = qpsscale_store_flag(row, 2);
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Failures in a row if this call failed too, and when the circuit breaker lets
 * the next one pass.  Where an operator closed the circuit meanwhile the row
 * counts less, and the statement opens nothing.
 */
static void
put_breaker(StoreRows *rows, const QpsscaleGroup *group, TimestampTz now)
{
	int			failures = Min(group->watch.failed_actions, 1000000) + 1;
	int64		pause_us = qs_circuit_pause_us(group->id, failures);

	store_put_int32(rows, failures);
	store_put_time(rows, pause_us == 0 ? 0 : now + pause_us);
}

/*
 * The outcome of each call.  A refusal feeds the circuit breaker, and so does
 * a call without an answer.  A call that never had its turn, since others were
 * slow or we were switched off, does not.
 */
void
qpsscale_store_outcomes(StoreBatch *batch, TimestampTz now)
{
	StoreRows	rows;

	store_rows_start(&rows, &record_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		store_put_int64(&rows, group->id);
		store_put_int64(&rows, group->activity_id);
		store_put_text(&rows, qpsscale_activity_status_name(group->outcome));
		store_put_text(&rows, qs_action_name(group->decision.action));
		store_put_text(&rows, group->response);
		store_put_text(&rows, group->outcome_message);
		store_put_time(&rows, now);
		store_put_bool(&rows, !group->not_tried);
		put_breaker(&rows, group, now);
	}
	if (store_rows_run(&rows))
		note_circuits(batch);
}
