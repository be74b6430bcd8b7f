/*-------------------------------------------------------------------------
 * store_watch.c
 *		What is remembered of earlier actions, on its way into the state.
 *
 * It changes seldom, but for groups that want several observations to agree:
 * most cycles write nothing here.  The rows were written in
 * the same transaction just before, so nobody else holds them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/breaker.h"
#include "pg/resolution.h"
#include "pg/store_parts.h"
#include "utils/timestamp.h"

/*
 * What the group is known to be set to is remembered with the version of the
 * policy under which it was seen; an operator's suspension without end stays.
 * Where another evaluator has recorded an action that this one does not know
 * of, or where this one's reply may be older than an accepted action, what it
 * saw is not remembered, or the next look would accuse somebody else of that
 * action.
 *
 * An action whose answer was lost, but which was carried out, closes the
 * circuit as one that was answered does.  A circuit that is open for longer
 * than any pause was opened by a clock that ran ahead.
 */
static const char watch_sql[] =
"UPDATE qpsscale.state s"
" SET updated_at = w.at,"
"  failed_actions = CASE WHEN w.landed THEN 0 ELSE s.failed_actions END,"
"  circuit_open_until = CASE WHEN w.landed THEN NULL"
"   WHEN s.circuit_open_until > w.circuit_latest THEN w.circuit_latest"
"   ELSE s.circuit_open_until END,"
"  known_desired = CASE WHEN w.outdated OR s.last_action_at > w.last_action_at"
"   THEN s.known_desired ELSE w.known_desired END,"
"  known_version = CASE WHEN w.outdated OR s.last_action_at > w.last_action_at"
"   THEN s.known_version ELSE w.known_version END,"
"  lost_desired = coalesce(w.lost_desired, s.lost_desired),"
"  lost_at = CASE WHEN w.lost_desired IS NULL THEN s.lost_at ELSE w.at END,"
"  unfulfilled_scale_ups = w.unfulfilled, fulfilled_capacity = w.fulfilled,"
"  unfulfilled_activity_id = w.counted, stock_out_since = w.since,"
"  stock_out_probe_at = w.probe_at,"
"  confirmed_up = w.confirmed_up, confirmed_down = w.confirmed_down,"
"  confirmed_base = w.confirmed_base, confirmed_at = w.confirmed_at,"
"  suspended = s.suspended OR w.pause IS NOT NULL,"
"  suspended_direction = CASE WHEN w.pause IS NULL"
"   THEN s.suspended_direction ELSE 'both' END,"
"  suspended_until = CASE WHEN w.pause IS NULL THEN s.suspended_until END,"
"  suspended_reason = coalesce(w.pause, s.suspended_reason),"
"  suspended_by = CASE WHEN w.pause IS NULL THEN s.suspended_by"
"   ELSE current_user END"
" FROM (SELECT w.id, w.at, w.landed, w.circuit_latest, w.known_desired,"
"   w.known_version, w.lost_desired, w.unfulfilled, w.fulfilled, w.counted,"
"   w.since, w.probe_at, w.confirmed_up, w.confirmed_down,"
"   w.confirmed_base, w.confirmed_at, w.outdated,"
"   coalesce(w.last_action_at, '-infinity') AS last_action_at,"
"   CASE WHEN o.suspended AND o.suspended_direction = 'both'"
"    AND o.suspended_until IS NULL THEN NULL ELSE w.pause END AS pause"
"  FROM unnest($1::bigint[], $2::timestamptz[], $3::boolean[],"
"   $4::timestamptz[], $5::integer[], $6::bigint[], $7::integer[],"
"   $8::text[], $9::integer[], $10::integer[], $11::bigint[],"
"   $12::timestamptz[], $13::timestamptz[], $14::bigint[], $15::bigint[],"
"   $16::integer[], $17::timestamptz[], $18::boolean[], $19::timestamptz[])"
"   AS w(id, at, landed, circuit_latest, known_desired, known_version,"
"        lost_desired, pause, unfulfilled, fulfilled, counted, since,"
"        probe_at, confirmed_up, confirmed_down, confirmed_base,"
"        confirmed_at, outdated, last_action_at)"
"  JOIN qpsscale.state o ON o.resource_group_id = w.id) w"
" WHERE s.resource_group_id = w.id";

static StorePlan watch_plan = {watch_sql, 19,
	{INT8OID, TIMESTAMPTZOID, BOOLOID, TIMESTAMPTZOID, INT4OID, INT8OID,
		INT4OID, TEXTOID, INT4OID, INT4OID, INT8OID, TIMESTAMPTZOID,
TIMESTAMPTZOID, INT8OID, INT8OID, INT4OID, TIMESTAMPTZOID, BOOLOID,
TIMESTAMPTZOID}, NULL};

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

/* The desired capacity that is to be compared with next time. */
static int
known_desired(const QpsscaleGroup *group)
{
	const QsCapacity *capacity = &group->target.capacity;

	if (!capacity->known)
		return group->watch.known_version == group->version ?
			group->watch.known_desired : QS_UNKNOWN;
	return capacity->desired >= 0 ? capacity->desired : QS_UNKNOWN;
}

/* The reply does not show the accepted action, and need not. */
static bool
is_outdated(const QpsscaleGroup *group)
{
	return group->open.status == ACTIVITY_ACCEPTED &&
		group->open.resolved == ACTIVITY_ACCEPTED &&
		group->target.capacity.known &&
		group->target.capacity.desired != group->open.desired;
}

/* A call that may have been made, and that the cloud did not show in time. */
static bool
gave_up_a_call(const QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;

	return open->resolved == ACTIVITY_FAILED &&
		(open->status == ACTIVITY_REQUESTED ||
		 open->status == ACTIVITY_UNKNOWN);
}

static bool
pauses(const QpsscaleGroup *group)
{
	return qpsscale_changed_by_others(group) &&
		group->policy.on_foreign_change == QS_FOREIGN_PAUSE;
}

/* With the intent to write desired once more comes the next such time. */
static QsStockOut
stock_out_now(const QpsscaleGroup *group)
{
	QsStockOut	now = group->stock_out;

	if (group->decision.probes_stock_out &&
		group->outcome == ACTIVITY_REQUESTED)
		qs_stock_out_probed(&now, group->id,
							qpsscale_unix_us(group->decided_at));
	return now;
}

static bool
stock_out_changed(const QpsscaleGroup *group)
{
	const QsStockOut *before = &group->watch.stock_out;
	QsStockOut	now = stock_out_now(group);

	return now.unfulfilled != before->unfulfilled ||
		now.fulfilled != before->fulfilled ||
		now.counted != before->counted || now.since != before->since ||
		now.probe_at != before->probe_at;
}

static void
put_stock_out(StoreRows *rows, const QsStockOut *memory)
{
	store_put_int32(rows, memory->unfulfilled);
	store_put_count(rows, memory->fulfilled);
	store_put_int64(rows, memory->counted);
	store_put_unix_us(rows, memory->since);
	store_put_unix_us(rows, memory->probe_at);
}

static bool
confirmations_changed(const QpsscaleGroup *group)
{
	const QsConfirmations *before = &group->history.confirmations;
	const QsConfirmations *now = &group->decision.confirmations;

	return now->up != before->up || now->down != before->down ||
		now->base != before->base || now->observed_at != before->observed_at;
}

/* All null where the policy asks for none. */
static void
put_confirmations(StoreRows *rows, const QsConfirmations *confirmations)
{
	if (confirmations->observed_at == 0)
	{
		for (int i = 0; i < 4; i++)
			store_put_null(rows);
		return;
	}
	store_put_int64(rows, confirmations->up);
	store_put_int64(rows, confirmations->down);
	store_put_int32(rows, confirmations->base);
	store_put_unix_us(rows, confirmations->observed_at);
}

static bool
must_be_written(const QpsscaleGroup *group)
{
	return (landed(group) && group->watch.failed_actions > 0) ||
		group->circuit_open_until > circuit_latest(group) ||
		group->watch.known_desired != known_desired(group) ||
		group->watch.known_version != group->version ||
		gave_up_a_call(group) || pauses(group) || stock_out_changed(group) ||
		confirmations_changed(group);
}

void
qpsscale_store_watch(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &watch_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];
		QsStockOut	stock_out = stock_out_now(group);

		if (!group->stored || !must_be_written(group))
			continue;
		store_put_int64(&rows, group->id);
		store_put_time(&rows, group->decided_at);
		store_put_bool(&rows, landed(group));
		store_put_time(&rows, circuit_latest(group));
		store_put_count(&rows, known_desired(group));
		store_put_int64(&rows, group->version);
		store_put_count(&rows, gave_up_a_call(group) ?
						group->open.desired : QS_UNKNOWN);
		store_put_text(&rows, pauses(group) ?
					   psprintf("desired capacity was changed from %d to %d by somebody else",
								group->change.from, group->change.to) : NULL);
		put_stock_out(&rows, &stock_out);
		put_confirmations(&rows, &group->decision.confirmations);
		store_put_bool(&rows, is_outdated(group));
		store_put_time(&rows, qpsscale_store_last_action_at(group));
	}
	(void) store_rows_run(&rows);
}
