/*-------------------------------------------------------------------------
 * store_load.c
 *		What a cycle reads: groups that are due, their state, their accounts.
 *
 * One read-only transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "pg/crash_points.h"
#include "pg/seal.h"
#include "pg/step.h"
#include "pg/row_reader.h"
#include "pg/store_signals.h"
#include "pg/worker.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

typedef struct LoadArguments
{
	const StoreSelection *selection;
	StoreSnapshot *snapshot;
	MemoryContext context;		/* of the results */
} LoadArguments;

static const char groups_sql[] =
"SELECT g.id, g.version, g.name, g.provider, g.account, g.owner::text,"
"  g.alb_id, g.asg_id, g.kind, g.region, g.enabled, g.dry_run,"
"  g.activity_deadline_seconds,"
"  g.target_cpu, g.target_memory,"
"  g.mode = 'static', g.target_qps, g.up_threshold, g.down_threshold,"
"  g.min_instances, g.max_instances, g.max_scale_up_per_action,"
"  g.max_scale_down_per_action, g.max_scale_down_percent,"
"  g.scale_up_tolerance, g.scale_down_tolerance, g.scale_up_on = 'peak',"
"  g.suspicious_drop_guard, g.scale_up_cooldown_seconds,"
"  g.scale_down_cooldown_seconds, g.general_cooldown_seconds,"
"  g.scale_down_window_seconds, g.max_load_age_seconds,"
"  g.on_foreign_change,"
"  s.latest_qps_at, s.latest_qps, s.reference_qps, s.drop_seen_at,"
"  s.last_scale_up_at, s.last_scale_down_at, s.last_action_at,"
"  s.recommended_until, s.recommended, s.circuit_open_until,"
"  s.suspended, s.suspended_direction, s.suspended_until,"
"  s.held_instances, s.held_until,"
"  s.consecutive_errors, s.last_evaluated_at,"
"  s.last_action, s.last_reason, s.last_blocker, s.last_desired,"
"  s.last_dry_run, s.latest_capacity, s.latest_total, s.latest_in_service,"
"  s.latest_min, s.latest_max, s.latest_optimal, s.blocked_until,"
"  s.cooldown_until, s.last_error,"
"  s.failed_actions, s.known_desired, s.known_version, s.lost_desired,"
"  s.lost_at, s.unfulfilled_scale_ups, s.fulfilled_capacity,"
"  s.unfulfilled_activity_id, s.stock_out_since, s.stock_out_probe_at,"
"  a.id, a.status, a.desired_capacity, a.eval_capacity, a.eval_total,"
"  a.requested_at,"
"  a.accepted_at,"
"  CASE WHEN a.status = 'requested'"
"    AND a.evaluator_pid <> pg_backend_pid()"
"  THEN qpsscale.evaluator_runs(a.evaluator_pid, a.evaluator_started_at)"
"  ELSE false END"
" FROM qpsscale.resource_groups g"
" JOIN qpsscale.state s ON s.resource_group_id = g.id"
" LEFT JOIN qpsscale.activities a ON a.resource_group_id = g.id"
"   AND (a.status = 'requested' OR a.status = 'unknown'"
"        OR a.status = 'accepted')"
" WHERE ($1 IS NULL AND g.enabled OR g.id = $1)"
"   AND ($2 IS NULL OR qpsscale.may_act("
"        (SELECT r.rolname FROM pg_roles r WHERE r.oid = $2), g.owner))"
" ORDER BY g.id, a.id DESC";

static const char accounts_sql[] =
"SELECT account, owner, provider, owner_exists, owner_is_superuser, account_exists,"
"  usage, server_owner, server_owner_is_superuser, server_options, mapped,"
"  mapping_options"
" FROM qpsscale.accounts($1)";

static QsForeignPolicy
foreign_policy(const char *name)
{
	if (name != NULL && strcmp(name, "override") == 0)
		return QS_FOREIGN_OVERRIDE;
	if (name != NULL && strcmp(name, "pause") == 0)
		return QS_FOREIGN_PAUSE;
	return QS_FOREIGN_ADOPT;
}

static void
read_policy(Row *row, QsPolicy *policy)
{
	policy->mode = next_bool(row) ? QS_MODE_STATIC : QS_MODE_DYNAMIC;
	policy->target_qps = next_double(row, 0);
	policy->up_threshold = next_double(row, 0.8);
	policy->down_threshold = next_double(row, 0.6);
	policy->min_instances = next_int32(row, QS_NO_LIMIT);
	policy->max_instances = next_int32(row, QS_NO_LIMIT);
	policy->max_scale_up_per_action = next_int32(row, 0);
	policy->max_scale_down_per_action = next_int32(row, 0);
	policy->max_scale_down_percent = next_int32(row, 0);
	policy->scale_up_tolerance = next_double(row, 0);
	policy->scale_down_tolerance = next_double(row, 0);
	policy->scale_up_on_peak = next_bool(row);
	policy->suspicious_drop_guard = next_bool(row);
	policy->scale_up_cooldown_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->scale_down_cooldown_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->general_cooldown_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->scale_down_window_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->max_load_age_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->on_foreign_change = foreign_policy(next_text(row));
	policy->ceiling = QS_NO_LIMIT;
}

/*
 * The stabilization window.  An entry "until infinity" was still recommended
 * at latest_qps_at: a steady group's arrays then never change.
 */
static void
read_recommendations(Row *row, QsHistory *history)
{
	int			times_at = row->next++;
	int			counts_at = row->next++;
	Datum	   *times;
	Datum	   *counts;
	bool	   *time_nulls;
	bool	   *count_nulls;
	int			n_times;
	int			n_counts;

	history->n_recommendations = 0;
	if (row->nulls[times_at] || row->nulls[counts_at])
		return;
	deconstruct_array(DatumGetArrayTypeP(row->values[times_at]), TIMESTAMPTZOID,
					  8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &times, &time_nulls,
					  &n_times);
	deconstruct_array(DatumGetArrayTypeP(row->values[counts_at]), INT4OID, 4,
					  true, TYPALIGN_INT, &counts, &count_nulls, &n_counts);
	for (int i = 0; i < n_times && i < n_counts; i++)
	{
		TimestampTz at;
		QsRecommendation *r;

		if (time_nulls[i] || count_nulls[i] ||
			history->n_recommendations == QS_MAX_RECOMMENDATIONS)
			continue;
		at = DatumGetTimestampTz(times[i]);
		r = &history->recommendations[history->n_recommendations];
		if (TIMESTAMP_IS_NOEND(at))
		{
			if (history->previous_qps_at == QS_NEVER)
				continue;
			r->at = history->previous_qps_at;
		}
		else if (TIMESTAMP_NOT_FINITE(at))
			continue;
		else
			r->at = qpsscale_unix_us(at);
		r->instances = DatumGetInt32(counts[i]);
		history->n_recommendations++;
	}
}

static void
read_suspension(Row *row, QpsscaleGroup *group, TimestampTz now)
{
	char	   *direction;
	TimestampTz until;
	bool		holds;

	group->suspended = next_bool(row);
	direction = next_text(row);
	group->suspended_direction = direction;
	group->suspended_until = next_int64(row, 0);
	until = TIMESTAMP_NOT_FINITE(group->suspended_until) ? 0 :
		group->suspended_until;
	holds = group->suspended && (until == 0 || now < until);
	group->history.suspended_until =
		until == 0 ? QS_NEVER : qpsscale_unix_us(until);
	group->history.suspended_up = holds &&
		(direction == NULL || strcmp(direction, "down") != 0);
	group->history.suspended_down = holds &&
		(direction == NULL || strcmp(direction, "up") != 0);
}

/* Until infinity is until somebody ends it. */
static void
read_held(Row *row, QsHistory *history)
{
	int			instances = next_int32(row, QS_UNKNOWN);
	TimestampTz until = next_int64(row, 0);

	history->held_instances = instances;
	if (instances == QS_UNKNOWN || until == 0 || TIMESTAMP_IS_NOBEGIN(until))
		history->held_until = QS_NEVER;
	else
		history->held_until = TIMESTAMP_IS_NOEND(until) ? INT64_MAX :
			qpsscale_unix_us(until);
}

static void
read_history(Row *row, QpsscaleGroup *group, TimestampTz now)
{
	QsHistory  *history = &group->history;
	double		reference;

	history->previous_qps_at = next_unix_us(row);
	history->previous_qps = next_double(row, -1);
	group->has_reference_qps = !next_null(row);
	reference = next_double(row, -1);
	if (group->has_reference_qps)
		history->previous_qps = reference;
	history->drop_seen_at = next_unix_us(row);
	history->last_scale_up_at = next_unix_us(row);
	history->last_scale_down_at = next_unix_us(row);
	group->last_action_at = next_time(row);
	history->last_action_at = group->last_action_at == 0 ? QS_NEVER :
		qpsscale_unix_us(group->last_action_at);
	read_recommendations(row, history);
	group->circuit_open_until = next_time(row);
	history->circuit_open_until = group->circuit_open_until == 0 ? QS_NEVER :
		qpsscale_unix_us(group->circuit_open_until);
	read_suspension(row, group, now);
	read_held(row, history);
}

static void
read_verdict(Row *row, QpsscaleGroup *group)
{
	GroupVerdict *before = &group->before;

	before->consecutive_errors = next_int32(row, 0);
	before->evaluated_at = next_time(row);
	before->action = next_text(row);
	before->reason = next_text(row);
	before->blocker = next_text(row);
	before->desired = next_int32(row, QS_UNKNOWN);
	before->dry_run = next_bool(row);
	before->capacity = next_int32(row, QS_UNKNOWN);
	before->total = next_int32(row, QS_UNKNOWN);
	before->in_service = next_int32(row, QS_UNKNOWN);
	before->min = next_int32(row, QS_UNKNOWN);
	before->max = next_int32(row, QS_UNKNOWN);
	before->optimal = next_int32(row, QS_UNKNOWN);
	before->blocked_until = next_time(row);
	before->cooldown_until = next_time(row);
	before->error = next_text(row);
	group->history.previous_in_service = before->in_service;
}

static void
read_watch(Row *row, GroupWatch *watch)
{
	watch->failed_actions = next_int32(row, 0);
	watch->known_desired = next_int32(row, QS_UNKNOWN);
	watch->known_version = next_int64(row, 0);
	watch->lost_desired = next_int32(row, QS_UNKNOWN);
	watch->lost_at = next_time(row);
	watch->stock_out.unfulfilled = next_int32(row, 0);
	watch->stock_out.fulfilled = next_int32(row, QS_UNKNOWN);
	watch->stock_out.counted = next_int64(row, 0);
	watch->stock_out.since = next_unix_us(row);
	watch->stock_out.probe_at = next_unix_us(row);
}

static void
read_open_activity(Row *row, GroupActivity *open)
{
	const char *status;

	open->id = next_int64(row, 0);
	status = next_text(row);
	open->desired = next_int32(row, QS_UNKNOWN);
	open->base = next_int32(row, QS_UNKNOWN);
	open->total = next_int32(row, QS_UNKNOWN);
	open->requested_at = next_time(row);
	open->accepted_at = next_time(row);
	open->evaluator_alive = next_bool(row);
	if (status == NULL)
		open->status = ACTIVITY_ABSENT;
	else if (strcmp(status, "requested") == 0)
		open->status = ACTIVITY_REQUESTED;
	else if (strcmp(status, "unknown") == 0)
		open->status = ACTIVITY_UNKNOWN;
	else
		open->status = ACTIVITY_ACCEPTED;
	open->resolved = open->status;
}

static void
read_group(Row *row, QpsscaleGroup *group, TimestampTz now)
{
	group->id = next_int64(row, 0);
	group->version = next_int64(row, 0);
	group->name = next_text(row);
	group->provider_name = next_text(row);
	group->account_name = next_text(row);
	group->owner = next_text(row);
	group->alb_id = next_text(row);
	group->asg_id = next_text(row);
	group->kind = next_text(row);
	group->region = next_text(row);
	group->enabled = next_bool(row);
	group->row_dry_run = next_bool(row);
	group->activity_deadline_s = next_int32(row, 1800);
	group->target_cpu = next_double(row, 0);
	group->target_memory = next_double(row, 0);
	read_policy(row, &group->policy);
	read_history(row, group, now);
	read_verdict(row, group);
	read_watch(row, &group->watch);
	read_open_activity(row, &group->open);
	group->policy.dry_run = group->row_dry_run || !group->enabled;
}

void
qpsscale_store_select(SPIPlanPtr *plan, const char *sql,
					  const StoreSelection *selection)
{
	Oid			types[2] = {INT8OID, OIDOID};
	Datum		values[2] = {Int64GetDatum(selection->group_id),
	ObjectIdGetDatum(selection->role)};
	char		nulls[3] = {selection->all_enabled ? 'n' : ' ',
	OidIsValid(selection->role) ? ' ' : 'n', '\0'};

	if (*plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare(sql, 2, types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare: %s", sql);
		*plan = prepared;
	}
	if (SPI_execute_plan(*plan, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run: %s", sql);
}

static void
load_groups(LoadArguments *arguments)
{
	static SPIPlanPtr plan = NULL;
	StoreSnapshot *snapshot = arguments->snapshot;
	TimestampTz now = GetCurrentTimestamp();
	Row			row;
	MemoryContext old;

	qpsscale_store_select(&plan, groups_sql, arguments->selection);
	row_start(&row);

	old = MemoryContextSwitchTo(arguments->context);
	snapshot->groups = palloc_extended(sizeof(QpsscaleGroup) *
									   Max(SPI_processed, 1),
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QpsscaleGroup *group = &snapshot->groups[snapshot->n_groups];

		row_read(&row, i);
		/* a group with two open activities: the newest comes first */
		if (snapshot->n_groups > 0 &&
			group[-1].id == DatumGetInt64(row.values[0]))
			continue;
		read_group(&row, group, now);
		snapshot->n_groups++;
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

static void
add_options(QpsscaleAccount *account, Row *row)
{
	int			i = row->next++;
	ListCell   *cell;

	if (row->nulls[i])
		return;
	foreach(cell, untransformRelOptions(row->values[i]))
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (account->n_options == QPSSCALE_MAX_ACCOUNT_OPTIONS)
			break;
		account->options[account->n_options].name = pstrdup(option->defname);
		account->options[account->n_options].value =
			option->arg == NULL ? "" : pstrdup(strVal(option->arg));
		account->n_options++;
	}
}

static void
load_accounts(LoadArguments *arguments)
{
	static SPIPlanPtr plan = NULL;
	StoreSnapshot *snapshot = arguments->snapshot;
	Row			row;
	MemoryContext old;

	qpsscale_store_select(&plan, accounts_sql, arguments->selection);
	row_start(&row);

	old = MemoryContextSwitchTo(arguments->context);
	snapshot->accounts = palloc0(sizeof(QpsscaleAccount *) *
								 Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QpsscaleAccount *account = palloc0(sizeof(QpsscaleAccount));

		row_read(&row, i);
		account->name = next_text(&row);
		account->owner = next_text(&row);
		account->provider = next_text(&row);
		account->owner_exists = next_bool(&row);
		account->owner_is_superuser = next_bool(&row);
		account->exists = next_bool(&row);
		account->usage = next_bool(&row);
		account->server_owner = next_text(&row);
		account->server_owner_is_superuser = next_bool(&row);
		add_options(account, &row);
		account->mapped = next_bool(&row);
		add_options(account, &row);
		snapshot->accounts[snapshot->n_accounts++] = account;
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Holds the extension against DROP EXTENSION for this transaction; a DROP that
 * is under way makes us skip the cycle rather than wait for it.
 */
static bool
lock_extension(LoadArguments *arguments)
{
	Oid			extension = get_extension_oid("qpsscale", true);
	char	   *version;

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	if (SPI_execute("SELECT extversion FROM pg_extension"
					" WHERE extname = 'qpsscale'", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read pg_extension");
	if (SPI_processed == 0)
		return false;
	version = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	arguments->snapshot->extension_version =
		MemoryContextStrdup(arguments->context, version);
	return true;
}

static bool
read_armed(void)
{
	bool		null;
	Datum		value;

	if (SPI_execute("SELECT qpsscale.is_armed()", true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read whether this database is armed");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &null);
	return !null && DatumGetBool(value);
}

/*
 * Retention, a bounded batch at a time.  Ids rise with time, so the oldest
 * rows are at the head of the primary key.  What is kept beyond its time does
 * not count for the batch, or enough of it would end all deletion: activities
 * of groups that are still to be followed, conditions that last, and what is
 * still to be delivered.  What somebody holds, or what is broken, must not
 * cost the groups their cycle.
 */
static void
trim_history(void *argument)
{
	static const char *const statements[] = {
		"DELETE FROM qpsscale.evaluations e USING"
		" (SELECT o.id, o.evaluated_at FROM qpsscale.evaluations o"
		"  ORDER BY o.id LIMIT 1000) old"
		" WHERE e.id = old.id"
		" AND old.evaluated_at < now() - make_interval(secs => $1)",
		"DELETE FROM qpsscale.errors e USING"
		" (SELECT o.id, o.occurred_at FROM qpsscale.errors o"
		"  ORDER BY o.id LIMIT 1000) old"
		" WHERE e.id = old.id"
		" AND old.occurred_at < now() - make_interval(secs => $1)",
		"DELETE FROM qpsscale.activities a USING"
		" (SELECT o.id, o.requested_at FROM qpsscale.activities o"
		"  WHERE o.status <> ALL ('{requested,unknown,accepted}')"
		"   OR NOT EXISTS (SELECT FROM qpsscale.resource_groups g"
		"    WHERE g.id = o.resource_group_id)"
		"  ORDER BY o.id LIMIT 1000) old"
		" WHERE a.id = old.id"
		" AND old.requested_at < now() - make_interval(secs => $1)",
		"DELETE FROM qpsscale.interventions i USING"
		" (SELECT o.id, o.made_at FROM qpsscale.interventions o"
		"  ORDER BY o.id LIMIT 1000) old"
		" WHERE i.id = old.id"
		" AND old.made_at < now() - make_interval(secs => $1)",
		"DELETE FROM qpsscale.alerts a USING"
		" (SELECT o.id, coalesce(o.resolved_at, o.occurred_at) AS at"
		"  FROM qpsscale.alerts o"
		"  WHERE o.status <> 'firing'"
		"  ORDER BY o.id LIMIT 1000) old"
		" WHERE a.id = old.id"
		" AND old.at < now() - make_interval(secs => $1)"
		" AND NOT EXISTS (SELECT FROM qpsscale.alert_deliveries d"
		"  WHERE d.alert_id = old.id AND d.status = 'pending')",
		"DELETE FROM qpsscale.alert_deliveries d USING"
		" (SELECT o.id, o.created_at FROM qpsscale.alert_deliveries o"
		"  WHERE o.status <> 'pending'"
		"  ORDER BY o.id LIMIT 1000) old"
		" WHERE d.id = old.id"
		" AND old.created_at < now() - make_interval(secs => $1)",
	};
	Oid			types[1] = {FLOAT8OID};
	Datum		values[1] = {Float8GetDatum(*(const int *) argument)};

	for (size_t i = 0; i < lengthof(statements); i++)
		if (SPI_execute_with_args(statements[i], 1, types, values, NULL, false,
								  0) != SPI_OK_DELETE)
			elog(ERROR, "could not trim the history");
	QPSSCALE_CRASH_POINT(history_trimmed);
}

static void
load_body(void *argument)
{
	LoadArguments *arguments = argument;
	StoreSnapshot *snapshot = arguments->snapshot;
	int			retention_s = arguments->selection->retention_s;
	ErrorData  *error;

	snapshot->extension_exists = lock_extension(arguments);
	if (!snapshot->extension_exists ||
		strcmp(snapshot->extension_version, QPSSCALE_VERSION) != 0)
		return;
	snapshot->foreign = qpsscale_seal_broken(true);
	if (snapshot->foreign != NULL)
		return;
	snapshot->armed = read_armed();
	load_groups(arguments);
	QPSSCALE_CRASH_POINT(groups_read);
	qpsscale_store_load_signals(arguments->selection, snapshot,
								arguments->context);
	load_accounts(arguments);
	if (arguments->selection->trim_history && retention_s > 0 &&
		!qpsscale_substep(trim_history, &retention_s, &error))
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale could not delete old history: %s",
						error->message)));
}

bool
qpsscale_store_load(const StoreSelection *selection, StoreSnapshot *snapshot,
					ErrorData **error)
{
	LoadArguments arguments = {selection, snapshot, CurrentMemoryContext};

	memset(snapshot, 0, sizeof(*snapshot));
	return qpsscale_step("qpsscale: load", load_body, &arguments, false,
						 error);
}
