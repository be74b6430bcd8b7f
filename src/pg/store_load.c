/*-------------------------------------------------------------------------
 * store_load.c
 *		What a cycle reads: groups that are due, their state, their accounts.
 *
 * One read-only transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

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
#include "pg/execution.h"
#include "pg/group_row.h"
#include "pg/seal.h"
#include "pg/predictors.h"
#include "pg/step.h"
#include "pg/row_reader.h"
#include "pg/store_bounds.h"
#include "pg/store_samples.h"
#include "pg/store_signals.h"
#include "pg/worker.h"
#include "storage/lmgr.h"
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
"SELECT " QPSSCALE_GROUP_COLUMNS "," QPSSCALE_EVALUATOR_RUNS
" FROM qpsscale.resource_groups g"
" JOIN qpsscale.state s ON s.resource_group_id = g.id"
" LEFT JOIN qpsscale.activities a ON " QPSSCALE_OPEN_ACTIVITY
" WHERE ($1 IS NULL AND g.enabled OR g.id = $1)"
"   AND ($2 IS NULL OR qpsscale.may_act("
"        (SELECT r.rolname FROM pg_roles r WHERE r.oid = $2), g.owner))"
" ORDER BY g.id, a.id DESC";

static const char accounts_sql[] =
"SELECT account, owner, provider, owner_exists, owner_is_superuser, account_exists,"
"  usage, server_owner, server_owner_is_superuser, server_options, mapped,"
"  mapping_options"
" FROM qpsscale.accounts($1)";

static const char account_sql[] =
"SELECT account, owner, provider, owner_exists, owner_is_superuser, account_exists,"
"  usage, server_owner, server_owner_is_superuser, server_options, mapped,"
"  mapping_options"
" FROM qpsscale.accounts(NULL, (SELECT r.rolname FROM pg_roles r WHERE r.oid = $1),"
"  NULLIF($2, ''), $3)";

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
		qpsscale_read_group(&row, group, now);
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

/* Only one, once in a while: its plan is not kept. */
static void
select_account(const StoreSelection *selection)
{
	Oid			types[3] = {OIDOID, TEXTOID, TEXTOID};
	Datum		values[3] = {ObjectIdGetDatum(selection->role),
		CStringGetTextDatum(selection->place->account),
	CStringGetTextDatum(selection->place->provider)};

	if (SPI_execute_with_args(account_sql, 3, types, values, NULL, true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not run: %s", account_sql);
}

static void
load_accounts(LoadArguments *arguments)
{
	static SPIPlanPtr plan = NULL;
	StoreSnapshot *snapshot = arguments->snapshot;
	Row			row;
	MemoryContext old;

	if (arguments->selection->place != NULL)
		select_account(arguments->selection);
	else
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
		"DELETE FROM qpsscale.decisions d USING"
		" (SELECT o.id FROM qpsscale.decisions o"
		"  WHERE o.decided_at < now() - make_interval(secs => $1)"
		"  ORDER BY o.decided_at LIMIT 1000) old"
		" WHERE d.id = old.id",
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
trim(QpsscaleStepBody body, int retention_s)
{
	ErrorData  *error;

	if (retention_s > 0 && !qpsscale_substep(body, &retention_s, &error))
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale could not delete old history: %s",
						error->message)));
}

static void
load_body(void *argument)
{
	LoadArguments *arguments = argument;
	StoreSnapshot *snapshot = arguments->snapshot;

	snapshot->extension_exists = lock_extension(arguments);
	if (!snapshot->extension_exists ||
		strcmp(snapshot->extension_version, QPSSCALE_VERSION) != 0)
		return;
	snapshot->foreign = qpsscale_seal_broken(true);
	if (snapshot->foreign != NULL)
		return;
	if (arguments->selection->place != NULL)
	{
		load_accounts(arguments);
		return;
	}
	snapshot->armed = read_armed();
	load_groups(arguments);
	if (arguments->selection->execute != NULL)
		qpsscale_load_execution(arguments->selection->execute, snapshot,
								arguments->context);
	QPSSCALE_CRASH_POINT(groups_read);
	qpsscale_store_load_signals(arguments->selection, snapshot,
								arguments->context);
	qpsscale_store_load_bounds(arguments->selection, snapshot,
							   arguments->context);
	load_accounts(arguments);
	qpsscale_predictors_load(arguments->selection, snapshot);
	if (!arguments->selection->trim_history)
		return;
	trim(trim_history, arguments->selection->retention_s);
	trim(qpsscale_store_trim_samples,
		 qpsscale_worker_host->settings->sample_retention_s);
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
