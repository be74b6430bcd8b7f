/*-------------------------------------------------------------------------
 * store_approval.c
 *		Decisions that wait for a person, on their way into the tables.
 *
 * A group that requires approval has at most one such decision open: another
 * verdict withdraws it, which is to let it expire.  The verdict was written in
 * the same transaction just before, so the state row is ours and two evaluators
 * cannot both record one.  Groups that require none cost nothing here.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "pg/explain.h"
#include "pg/json_writer.h"
#include "pg/store_parts.h"
#include "pg/worker.h"
#include "utils/timestamp.h"

static const char withdraw_sql[] =
"UPDATE qpsscale.decisions d SET expires_at = w.at"
" FROM unnest($1::bigint[], $2::timestamptz[], $3::integer[], $4::integer[],"
"  $5::bigint[]) AS w(id, at, base, desired, version)"
" WHERE d.resource_group_id = w.id AND d.decided_by IS NULL"
"  AND NOT d.executed AND d.expires_at > w.at"
"  AND (w.desired IS NULL OR d.current_instances <> w.base"
"   OR d.desired_instances <> w.desired OR d.policy_version <> w.version)";

static const char record_sql[] =
"INSERT INTO qpsscale.decisions (resource_group_id, decided_at, expires_at,"
"  action, current_instances, desired_instances, reason, explanation,"
"  observed_at, policy_version, estimated_hourly_cost,"
"  hourly_cost_change, currency)"
" SELECT w.id, w.at, w.expires_at, w.action, w.base, w.desired, w.reason,"
"  w.explanation::jsonb, w.at, w.version, c.hourly, c.hourly - b.hourly,"
"  c.currency"
" FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[],"
"  $4::text[], $5::integer[], $6::integer[], $7::text[], $8::text[],"
"  $9::bigint[])"
"  AS w(id, at, expires_at, action, base, desired, reason, explanation,"
"       version)"
" CROSS JOIN LATERAL qpsscale.instance_cost(w.id, w.desired, w.at) AS c"
" CROSS JOIN LATERAL qpsscale.instance_cost(w.id, w.base, w.at) AS b"
" WHERE NOT EXISTS (SELECT FROM qpsscale.decisions d"
"  WHERE d.resource_group_id = w.id AND d.decided_by IS NULL"
"  AND NOT d.executed AND d.expires_at > w.at)";

static StorePlan withdraw_plan = {withdraw_sql, 5,
{INT8OID, TIMESTAMPTZOID, INT4OID, INT4OID, INT8OID}, NULL};
static StorePlan record_plan = {record_sql, 9,
	{INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, INT4OID, INT4OID,
TEXTOID, TEXTOID, INT8OID}, NULL};

static bool
awaits_approval(const QpsscaleGroup *group)
{
	return group->stored && group->decision.approvable != QS_UNKNOWN;
}

static bool
awaited_approval(const QpsscaleGroup *group)
{
	return group->stored && group->before.reason != NULL &&
		strcmp(group->before.reason,
			   qs_reason_name(QS_REASON_APPROVAL_REQUIRED)) == 0;
}

static void
withdraw(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &withdraw_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (!awaits_approval(group) && !awaited_approval(group))
			continue;
		store_put_int64(&rows, group->id);
		store_put_time(&rows, group->decided_at);
		store_put_count(&rows, group->decision.base);
		store_put_count(&rows, group->decision.approvable);
		store_put_int64(&rows, group->version);
	}
	(void) store_rows_run(&rows);
}

static void
put_decision(StoreRows *rows, const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;
	int64		lifetime_us = USECS_PER_SEC *
		qpsscale_worker_host->settings->decision_lifetime_s;
	StringInfoData explanation;

	initStringInfo(&explanation);
	qpsscale_explain(&explanation, NULL, group);
	store_put_int64(rows, group->id);
	store_put_time(rows, group->decided_at);
	store_put_time(rows, group->decided_at + lifetime_us);
	store_put_text(rows, qs_action_name(decision->wanted));
	store_put_int32(rows, decision->base);
	store_put_int32(rows, decision->approvable);
	store_put_text(rows, qs_reason_name(decision->approvable_reason));
	store_put_text(rows, explanation.data);
	store_put_int64(rows, group->version);
}

void
qpsscale_store_approvals(StoreBatch *batch)
{
	StoreRows	rows;

	withdraw(batch);
	store_rows_start(&rows, &record_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
		if (awaits_approval(batch->groups[i]))
			put_decision(&rows, batch->groups[i]);
	(void) store_rows_run(&rows);
}
