/*-------------------------------------------------------------------------
 * store_watch.c
 *		What is remembered of earlier actions, on its way into the state.
 *
 * It changes seldom: most cycles write nothing here.  The rows were written in
 * the same transaction just before, so nobody else holds them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/breaker.h"
#include "pg/store_parts.h"
#include "utils/timestamp.h"

/*
 * An action whose answer was lost, but which was carried out, closes the
 * circuit as one that was answered does.  A circuit that is open for longer
 * than any pause was opened by a clock that ran ahead.
 */
static const char watch_sql[] =
"UPDATE qpsscale.state s"
" SET updated_at = w.at,"
"  failed_actions = CASE WHEN w.landed THEN 0 ELSE s.failed_actions END,"
"  circuit_open_until = CASE WHEN w.landed THEN NULL"
"   ELSE least(s.circuit_open_until, w.circuit_latest) END"
" FROM unnest($1::bigint[], $2::timestamptz[], $3::boolean[],"
"  $4::timestamptz[]) AS w(id, at, landed, circuit_latest)"
" WHERE s.resource_group_id = w.id";

static StorePlan watch_plan = {watch_sql, 4,
{INT8OID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID}, NULL};

/* An answer was lost, but the cloud did it. */
static bool
landed(const QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;

	return open->status != open->resolved &&
		open->status != ACTIVITY_ACCEPTED &&
		open->resolved == ACTIVITY_ACCEPTED;
}

static TimestampTz
circuit_latest(const QpsscaleGroup *group)
{
	return group->decided_at + QS_CIRCUIT_LONGEST_US;
}

static bool
must_be_written(const QpsscaleGroup *group)
{
	return (landed(group) && group->watch.failed_actions > 0) ||
		group->circuit_open_until > circuit_latest(group);
}

void
qpsscale_store_watch(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &watch_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (!group->stored || !must_be_written(group))
			continue;
		store_put_int64(&rows, group->id);
		store_put_time(&rows, group->decided_at);
		store_put_bool(&rows, landed(group));
		store_put_time(&rows, circuit_latest(group));
	}
	(void) store_rows_run(&rows);
}
