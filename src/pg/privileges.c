/*-------------------------------------------------------------------------
 * privileges.c
 *		What the caller may do to a group, deletes it for who may, and the
 *		role of workers.
 *
 * The rule itself is qpsscale.may_act() in SQL, one for all.  A function of
 * ours that needs more rights than its caller has learns here who calls
 * before it takes them: in a SECURITY DEFINER function that cannot be known,
 * and the role of the session is no substitute, as code of others can run in
 * the session of a superuser (an index expression does).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg/compat.h"
#include "pg/privileges.h"
#include "pg/settings.h"

PG_FUNCTION_INFO_V1(qpsscale_delete_group);
PG_FUNCTION_INFO_V1(qpsscale_remember);
PG_FUNCTION_INFO_V1(qpsscale_delete_schedule);
PG_FUNCTION_INFO_V1(qpsscale_delete_signal);

typedef struct GroupRights
{
	bool		found;			/* the caller sees it */
	bool		may_act;
	char		owner[NAMEDATALEN];
} GroupRights;

/*
 * As the caller's own snapshot and rights show it: a row that the caller may
 * not see does not exist.
 */
static void
read_rights(int64 group_id, GroupRights *rights)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(group_id)};
	bool		null;

	memset(rights, 0, sizeof(*rights));
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT g.owner::pg_catalog.text, "
							  "qpsscale.may_act(CURRENT_USER, g.owner) "
							  "FROM qpsscale.resource_groups g "
							  "WHERE g.id OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "resource group %lld cannot be read",
			 (long long) group_id);
	if (SPI_processed > 0)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		char	   *owner = SPI_getvalue(row, SPI_tuptable->tupdesc, 1);
		Datum		may_act = SPI_getbinval(row, SPI_tuptable->tupdesc, 2,
											&null);

		rights->found = true;
		rights->may_act = !null && DatumGetBool(may_act);
		strlcpy(rights->owner, owner == NULL ? "" : owner, NAMEDATALEN);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * What a worker carries out it looks at again, by which time it may have
 * changed; here it gives the caller an answer without starting a process.
 */
void
qpsscale_check_group(int64 group_id)
{
	GroupRights rights;

	read_rights(group_id, &rights);
	if (!rights.found)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("resource group %lld does not exist",
						(long long) group_id),
				 errhint("SELECT id, name FROM qpsscale.resource_groups shows the groups there are.")));
	if (!rights.may_act)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for resource group %lld",
						(long long) group_id),
				 errdetail("Only roles that have the rights of its owner \"%s\", admins and superusers may act on it.",
						   rights.owner),
				 errhint("With a membership that does not inherit, SET ROLE to the owner first.")));
}

static Oid
owner_of_groups(void)
{
	Relation	groups = table_openrv(makeRangeVar("qpsscale",
												   "resource_groups", -1),
									  RowExclusiveLock);
	Oid			owner = groups->rd_rel->relowner;

	table_close(groups, NoLock);
	return owner;
}

/*
 * Runs one DELETE, of ($1 group id, $2 name or null), and nothing else, as the
 * owner of the tables; how many rows it deleted.  An error gives the caller's
 * own rights back, as it does for SECURITY DEFINER.
 */
static uint64
delete_as_owner(FunctionCallInfo fcinfo, const char *function,
				const char *sql)
{
	Oid			types[2] = {INT8OID, TEXTOID};
	Datum		values[2] = {0, 0};
	char		nulls[3] = "  ";
	Oid			caller;
	int			context;
	uint64		deleted;

	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null",
							i == 0 ? "group_id" : "name")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s() during recovery", function),
				 errhint("This server is a standby. Call it on the primary.")));
	values[0] = PG_GETARG_DATUM(0);
	if (PG_NARGS() > 1)
		values[1] = PG_GETARG_DATUM(1);
	else
		nulls[1] = 'n';
	qpsscale_check_group(PG_GETARG_INT64(0));

	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(owner_of_groups(),
						   context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(sql, 2, types, values, nulls, false, 0) !=
		SPI_OK_DELETE)
		elog(ERROR, "could not run: %s", sql);
	deleted = SPI_processed;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	SetUserIdAndSecContext(caller, context);
	return deleted;
}

/* What belongs to a group, and has a name in it. */
static void
delete_part(FunctionCallInfo fcinfo, const char *function, const char *what,
			const char *sql)
{
	if (delete_as_owner(fcinfo, function, sql) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("resource group %lld has no %s \"%s\"",
						(long long) PG_GETARG_INT64(0), what,
						text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errhint("SELECT name FROM qpsscale.%ss WHERE resource_group_id = %lld lists them.",
						 what, (long long) PG_GETARG_INT64(0))));
}

/* qpsscale_delete(group_id bigint) */
Datum
qpsscale_delete_group(PG_FUNCTION_ARGS)
{
	(void) delete_as_owner(fcinfo, "qpsscale_delete",
						   "DELETE FROM qpsscale.resource_groups g "
						   "WHERE g.id OPERATOR(pg_catalog.=) $1");
	PG_RETURN_VOID();
}

/* qpsscale_delete_signal(group_id bigint, name text) */
Datum
qpsscale_delete_signal(PG_FUNCTION_ARGS)
{
	delete_part(fcinfo, "qpsscale_delete_signal", "signal",
				"DELETE FROM qpsscale.signals s "
				"WHERE s.resource_group_id OPERATOR(pg_catalog.=) $1 "
				"AND s.name OPERATOR(pg_catalog.=) $2");
	PG_RETURN_VOID();
}

/* qpsscale_delete_schedule(group_id bigint, name text) */
Datum
qpsscale_delete_schedule(PG_FUNCTION_ARGS)
{
	delete_part(fcinfo, "qpsscale_delete_schedule", "schedule",
				"DELETE FROM qpsscale.schedules s "
				"WHERE s.resource_group_id OPERATOR(pg_catalog.=) $1 "
				"AND s.name OPERATOR(pg_catalog.=) $2");
	PG_RETURN_VOID();
}

/*
 * qpsscale_remember(group_id bigint, at timestamptz[], load double precision[]):
 * the caller's rights here, the rest in SQL, as the owner of the tables.
 */
Datum
qpsscale_remember(PG_FUNCTION_ARGS)
{
	Oid			types[3] = {INT8OID, TIMESTAMPTZARRAYOID, FLOAT8ARRAYOID};
	Datum		values[3];
	Oid			caller;
	int			context;
	int64		n;
	bool		null;

	for (int i = 0; i < 3; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("group_id, at and load must not be null")));
		values[i] = PG_GETARG_DATUM(i);
	}
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute qpsscale_remember() during recovery"),
				 errhint("This server is a standby. Call it on the primary.")));
	qpsscale_check_group(PG_GETARG_INT64(0));

	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(owner_of_groups(),
						   context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT qpsscale.remember($1, $2, $3)", 3, types,
							  values, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "the load cannot be remembered");
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 1, &null));
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	SetUserIdAndSecContext(caller, context);
	PG_RETURN_INT64(n);
}

static void
refuse_role(const char *name, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no qpsscale worker can run as role \"%s\", which qpsscale.worker_role names",
					name),
			 errdetail_internal("%s", why),
			 errhint("%s", hint)));
}

Oid
qpsscale_worker_role(void)
{
	const char *name = qpsscale_settings.worker_role;
	HeapTuple	tuple;
	Oid			role;
	bool		may_log_in;

	if (name == NULL || name[0] == '\0')
		return InvalidOid;
	tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(name));
	if (!HeapTupleIsValid(tuple))
		refuse_role(name, "It does not exist.",
					"Create it with LOGIN, give it the level worker with qpsscale_grant(), or set another.");
	role = ((Form_pg_authid) GETSTRUCT(tuple))->oid;
	may_log_in = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!may_log_in)
		refuse_role(name, "It may not log in.", "ALTER ROLE ... LOGIN.");
	if (!qpsscale_may_connect(MyDatabaseId, role))
		refuse_role(name, "It may not connect to this database.",
					"GRANT CONNECT ON DATABASE ... TO the role.");
	return role;
}
