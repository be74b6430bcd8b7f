/*-------------------------------------------------------------------------
 * functions.c
 *		The SQL functions that are written in C.
 *
 * Two kinds: those that reach the cloud look at the arguments and the
 * caller's rights here and hand the call to a worker process (oneshot.c);
 * the others show what shared memory holds, and answer without it as well.
 * None is declared STRICT without need: NULL has a meaning of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "pg/compat.h"
#include "pg/databases.h"
#include "pg/installation.h"
#include "pg/oneshot.h"
#include "pg/privileges.h"
#include "pg/settings.h"
#include "pg/shared.h"

PG_FUNCTION_INFO_V1(qpsscale_evaluate_all);
PG_FUNCTION_INFO_V1(qpsscale_evaluate_group);
PG_FUNCTION_INFO_V1(qpsscale_validate_group);
PG_FUNCTION_INFO_V1(qpsscale_set_capacity_by_hand);
PG_FUNCTION_INFO_V1(qpsscale_execute_decision);
PG_FUNCTION_INFO_V1(qpsscale_discovered);
PG_FUNCTION_INFO_V1(qpsscale_stat_worker_rows);
PG_FUNCTION_INFO_V1(qpsscale_host_identity);
PG_FUNCTION_INFO_V1(qpsscale_is_preloaded);
PG_FUNCTION_INFO_V1(qpsscale_restart_required);
PG_FUNCTION_INFO_V1(qpsscale_served);
PG_FUNCTION_INFO_V1(qpsscale_wake_launcher);

#define CHECK_COLUMNS			4	/* of qpsscale_validate() */
#define STAT_WORKER_COLUMNS		19

/* Where the rows of an answer go. */
typedef struct RowSink
{
	ReturnSetInfo *result;
	MemoryContext row_context;	/* reset after each row */
} RowSink;

/* ---- arguments ---- */

static int64
group_argument(FunctionCallInfo fcinfo, int argument)
{
	int64		group_id;

	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("group_id must not be null"),
				 errhint("qpsscale_evaluate() without a group evaluates all enabled groups.")));
	group_id = PG_GETARG_INT64(argument);
	qpsscale_check_group(group_id);
	return group_id;
}

static bool
dry_run_argument(FunctionCallInfo fcinfo, int argument)
{
	return !PG_ARGISNULL(argument) && PG_GETARG_BOOL(argument);
}

/* ---- functions that a worker carries out ---- */

static Datum
parse_jsonb(const char *json)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

/* The tuplestore copies what it is given, so a row's memory can go. */
static void
put_row(RowSink *sink, Datum *values, bool *nulls)
{
	tuplestore_putvalues(sink->result->setResult, sink->result->setDesc,
						 values, nulls);
}

static void
put_evaluation(void *context, const char *json)
{
	RowSink    *sink = context;
	MemoryContext caller = MemoryContextSwitchTo(sink->row_context);
	Datum		value = parse_jsonb(json);
	bool		null = false;

	put_row(sink, &value, &null);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(sink->row_context);
}

/* A string of a JSON object as text; NULL where it is null or missing. */
static Datum
text_member(Jsonb *object, const char *key, bool *null)
{
	JsonbValue *value = getKeyJsonValueFromContainer(&object->root, key,
													 strlen(key), NULL);

	*null = value == NULL || value->type == jbvNull;
	if (*null)
		return (Datum) 0;
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the qpsscale worker sent a check whose \"%s\" is not a string",
						key)));
	return PointerGetDatum(cstring_to_text_with_len(value->val.string.val,
													value->val.string.len));
}

static void
put_check(void *context, const char *json)
{
	static const char *const members[CHECK_COLUMNS] =
	{"check", "status", "detail", "hint"};
	RowSink    *sink = context;
	MemoryContext caller = MemoryContextSwitchTo(sink->row_context);
	Jsonb	   *object = DatumGetJsonbP(parse_jsonb(json));
	Datum		values[CHECK_COLUMNS];
	bool		nulls[CHECK_COLUMNS];

	if (!JB_ROOT_IS_OBJECT(object))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the qpsscale worker sent a check that is not an object")));
	for (int i = 0; i < CHECK_COLUMNS; i++)
		values[i] = text_member(object, members[i], &nulls[i]);
	put_row(sink, values, nulls);
	MemoryContextSwitchTo(caller);
	MemoryContextReset(sink->row_context);
}

/* The declared result must be what we fill it with, whatever a hand-made
 * CREATE FUNCTION says. */
static void
check_result(const ReturnSetInfo *result, const Oid *types, int n_types)
{
	bool		right = result->setDesc->natts == n_types;

	for (int i = 0; right && i < n_types; i++)
		right = TupleDescAttr(result->setDesc, i)->atttypid == types[i];
	if (!right)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function was declared with another result than this version of qpsscale returns"),
				 errhint("Run ALTER EXTENSION qpsscale UPDATE.")));
}

static void
call_worker(FunctionCallInfo fcinfo, const QpsscaleCallSpec *spec,
			QpsscaleRowCallback row, const Oid *types, int n_types)
{
	RowSink		sink;

	/* A single jsonb column has no row type to look up: take the caller's. */
	InitMaterializedSRF(fcinfo, n_types == 1 ? MAT_SRF_USE_EXPECTED_DESC : 0);
	sink.result = (ReturnSetInfo *) fcinfo->resultinfo;
	check_result(sink.result, types, n_types);
	sink.row_context = AllocSetContextCreate(CurrentMemoryContext,
											 "qpsscale row",
											 ALLOCSET_DEFAULT_SIZES);
	qpsscale_call(spec, row, &sink);
	MemoryContextDelete(sink.row_context);
}

static void
call_evaluate(FunctionCallInfo fcinfo, QpsscaleCallSpec *spec)
{
	static const Oid types[1] = {JSONBOID};

	spec->function = "qpsscale_evaluate";
	spec->kind = QPSSCALE_REQUEST_EVALUATE;
	call_worker(fcinfo, spec, put_evaluation, types, 1);
}

/* qpsscale_evaluate(dry_run boolean) */
Datum
qpsscale_evaluate_all(PG_FUNCTION_ARGS)
{
	QpsscaleCallSpec spec = {0};

	spec.all_groups = true;
	spec.dry_run = dry_run_argument(fcinfo, 0);
	call_evaluate(fcinfo, &spec);
	return (Datum) 0;
}

/* qpsscale_evaluate(group_id bigint, dry_run boolean) */
Datum
qpsscale_evaluate_group(PG_FUNCTION_ARGS)
{
	QpsscaleCallSpec spec = {0};

	spec.group_id = group_argument(fcinfo, 0);
	spec.dry_run = dry_run_argument(fcinfo, 1);
	call_evaluate(fcinfo, &spec);
	return (Datum) 0;
}

/* qpsscale_validate(group_id bigint) */
Datum
qpsscale_validate_group(PG_FUNCTION_ARGS)
{
	static const Oid types[CHECK_COLUMNS] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	QpsscaleCallSpec spec = {0};

	spec.function = "qpsscale_validate";
	spec.kind = QPSSCALE_REQUEST_VALIDATE;
	spec.group_id = group_argument(fcinfo, 0);
	spec.dry_run = true;
	call_worker(fcinfo, &spec, put_check, types, CHECK_COLUMNS);
	return (Datum) 0;
}

static void
place_argument(FunctionCallInfo fcinfo, int argument, const char *what,
			   char *place, Size size)
{
	char	   *value = PG_ARGISNULL(argument) ? "" :
		text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (strlcpy(place, value, size) >= size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long", what),
				 errhint("At most %zu bytes are a name.", size - 1)));
}

/*
 * qpsscale.discovered(account text, region text, provider text); the worker
 * looks at the caller's rights, with the account's options.
 */
Datum
qpsscale_discovered(PG_FUNCTION_ARGS)
{
	static const Oid types[1] = {JSONBOID};
	QpsscaleDiscoveryPlace place;
	QpsscaleCallSpec spec = {0};

	place_argument(fcinfo, 0, "account", place.account,
				   sizeof(place.account));
	place_argument(fcinfo, 1, "region", place.region, sizeof(place.region));
	place_argument(fcinfo, 2, "provider", place.provider,
				   sizeof(place.provider));
	spec.function = "qpsscale_discover";
	spec.kind = QPSSCALE_REQUEST_DISCOVER;
	spec.all_groups = true;
	spec.dry_run = true;
	spec.place = &place;
	call_worker(fcinfo, &spec, put_evaluation, types, 1);
	return (Datum) 0;
}

static void
keep_result(void *context, const char *json)
{
	*(Datum *) context = parse_jsonb(json);
}

static char *
reason_argument(FunctionCallInfo fcinfo, int argument, Size most)
{
	char	   *reason = PG_ARGISNULL(argument) ? "" :
		text_to_cstring(PG_GETARG_TEXT_PP(argument));

	if (reason[strspn(reason, " \t\r\n")] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a reason is needed"),
				 errhint("Say for those who look at the group later why you set it by hand.")));
	if (strlen(reason) >= most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the reason is too long"),
				 errhint("At most %zu bytes are kept.", most - 1)));
	return reason;
}

static TimestampTz
hold_argument(FunctionCallInfo fcinfo, int argument)
{
	TimestampTz until = PG_ARGISNULL(argument) ? 0 :
		PG_GETARG_TIMESTAMPTZ(argument);

	if (until != 0 && until <= GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number would be held until a time in the past"),
				 errhint("Give a later time, or none to let the load decide again after the cooldown.")));
	return until;
}

/*
 * qpsscale_set_capacity(group_id bigint, n integer, reason text,
 *						 hold_until timestamptz)
 */
Datum
qpsscale_set_capacity_by_hand(PG_FUNCTION_ARGS)
{
	QpsscaleCallSpec spec = {0};
	QpsscaleByHand by_hand = {0};
	Datum		result = (Datum) 0;

	if (PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the number of instances must be 0 or more"),
				 errhint("Give the whole number that the group should have, not a difference.")));
	by_hand.instances = PG_GETARG_INT32(1);
	strlcpy(by_hand.reason, reason_argument(fcinfo, 2, sizeof(by_hand.reason)),
			sizeof(by_hand.reason));
	by_hand.hold_until = hold_argument(fcinfo, 3);
	strlcpy(by_hand.made_by, GetUserNameFromId(GetUserId(), false),
			NAMEDATALEN);
	strlcpy(by_hand.session_by, GetUserNameFromId(GetSessionUserId(), false),
			NAMEDATALEN);

	spec.function = "qpsscale_set_capacity";
	spec.kind = QPSSCALE_REQUEST_SET_CAPACITY;
	spec.group_id = group_argument(fcinfo, 0);
	spec.by_hand = &by_hand;
	qpsscale_call(&spec, keep_result, &result);
	if (result == (Datum) 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the qpsscale worker sent no result")));
	PG_RETURN_DATUM(result);
}

/* The group of a decision that the caller sees; *executed: it was before. */
static int64
group_of_decision(Datum decision_id, Datum *executed)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {UUIDOID};
	int64		group_id;
	bool		null;
	char	   *result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args("SELECT d.resource_group_id,"
							  " qpsscale.execution_result(d.id)"
							  " FROM qpsscale.decisions d"
							  " WHERE d.id OPERATOR(pg_catalog.=) $1", 1,
							  types, &decision_id, NULL, true, 1) !=
		SPI_OK_SELECT)
		elog(ERROR, "a decision cannot be read");
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("decision %s does not exist",
						DatumGetCString(DirectFunctionCall1(uuid_out,
															decision_id))),
				 errhint("SELECT id, resource_group_id, expires_at FROM qpsscale.decisions lists them.")));
	group_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										   SPI_tuptable->tupdesc, 1, &null));
	result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (result != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		*executed = parse_jsonb(result);
		MemoryContextSwitchTo(old);
	}
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return group_id;
}

/* qpsscale_execute(decision_id uuid) */
Datum
qpsscale_execute_decision(PG_FUNCTION_ARGS)
{
	QpsscaleCallSpec spec = {0};
	QpsscaleExecute execute = {0};
	Datum		result = (Datum) 0;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("decision_id must not be null")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute qpsscale_execute() during recovery"),
				 errhint("This server is a standby. Call it on the primary.")));
	spec.group_id = group_of_decision(PG_GETARG_DATUM(0), &result);
	qpsscale_check_group(spec.group_id);
	if (result != (Datum) 0)
		PG_RETURN_DATUM(result);
	memcpy(execute.decision_id, PG_GETARG_UUID_P(0)->data, UUID_LEN);
	strlcpy(execute.executed_by, GetUserNameFromId(GetUserId(), false),
			NAMEDATALEN);
	spec.function = "qpsscale_execute";
	spec.kind = QPSSCALE_REQUEST_EXECUTE;
	spec.execute = &execute;
	qpsscale_call(&spec, keep_result, &result);
	if (result == (Datum) 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the qpsscale worker sent no result")));
	PG_RETURN_DATUM(result);
}

/* ---- functions that look at this server ---- */

/*
 * Text that another process left in shared memory may be in the encoding of
 * another database; what is not valid here loses its non-ASCII bytes.
 */
static Datum
foreign_text(const char *text)
{
	char	   *copy = pstrdup(text);

	if (!pg_verify_mbstr(GetDatabaseEncoding(), copy, strlen(copy), true))
		for (char *c = copy; *c != '\0'; c++)
			if (IS_HIGHBIT_SET(*c))
				*c = '?';
	return CStringGetTextDatum(copy);
}

static void
put_time(Datum *value, bool *null, TimestampTz time)
{
	*null = time == 0;
	*value = TimestampTzGetDatum(time);
}

static void
put_slot(RowSink *sink, const QpsscaleWorkerSlot *slot, bool restart_required)
{
	const QpsscaleWorkerStats *stats = &slot->stats;
	Datum		values[STAT_WORKER_COLUMNS];
	bool		nulls[STAT_WORKER_COLUMNS] = {0};
	int			i = 0;

	values[i++] = foreign_text(slot->database_name);
	nulls[i] = slot->pid == 0;
	values[i++] = Int32GetDatum(slot->pid);
	values[i++] = foreign_text(stats->state);
	put_time(&values[i], &nulls[i], stats->started_at), i++;
	put_time(&values[i], &nulls[i], stats->heartbeat_at), i++;
	put_time(&values[i], &nulls[i], stats->last_tick_started_at), i++;
	put_time(&values[i], &nulls[i], stats->last_tick_finished_at), i++;
	nulls[i] = stats->last_tick_finished_at == 0;
	values[i++] = Float8GetDatum(stats->last_tick_ms);
	values[i++] = Int64GetDatum(stats->ticks);
	values[i++] = Int64GetDatum(stats->groups_evaluated);
	values[i++] = Int64GetDatum(stats->api_calls);
	values[i++] = Int64GetDatum(stats->api_errors);
	values[i++] = Int64GetDatum(stats->transactions);
	values[i++] = Int64GetDatum(stats->connections_opened);
	values[i++] = Int64GetDatum(stats->tls_handshakes);
	values[i++] = Int64GetDatum(stats->requests_served);
	nulls[i] = stats->last_error[0] == '\0';
	values[i] = nulls[i] ? (Datum) 0 : foreign_text(stats->last_error);
	i++;
	values[i++] = BoolGetDatum(restart_required);
	nulls[i] = slot->stalled_since == 0;
	values[i++] = TimestampTzGetDatum(slot->stalled_since);
	Assert(i == STAT_WORKER_COLUMNS);
	put_row(sink, values, nulls);
}

/* A copy of the slots, so that the lock is not held while rows are made. */
static QpsscaleWorkerSlot *
copy_slots(bool *restart_required)
{
	QpsscaleWorkerSlot *slots = palloc(sizeof(qpsscale_shared->slots));

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	memcpy(slots, qpsscale_shared->slots, sizeof(qpsscale_shared->slots));
	*restart_required = qpsscale_shared->restart_required;
	LWLockRelease(qpsscale_shared->lock);
	*restart_required |= qpsscale_installation_differs();
	return slots;
}

/* One row per slot in use; none where qpsscale is not preloaded. */
Datum
qpsscale_stat_worker_rows(PG_FUNCTION_ARGS)
{
	static const Oid types[STAT_WORKER_COLUMNS] = {
		TEXTOID, INT4OID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID, FLOAT8OID, INT8OID, INT8OID, INT8OID,
		INT8OID, INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, BOOLOID,
		TIMESTAMPTZOID
	};
	RowSink		sink = {0};
	QpsscaleWorkerSlot *slots;
	bool		restart_required;

	InitMaterializedSRF(fcinfo, 0);
	sink.result = (ReturnSetInfo *) fcinfo->resultinfo;
	check_result(sink.result, types, STAT_WORKER_COLUMNS);
	if (qpsscale_shared == NULL)
		return (Datum) 0;

	slots = copy_slots(&restart_required);
	for (int i = 0; i < QPSSCALE_MAX_DATABASES; i++)
		if (slots[i].database_name[0] != '\0')
			put_slot(&sink, &slots[i], restart_required);
	pfree(slots);
	return (Datum) 0;
}

/* "" where neither the setting nor the machine has one. */
Datum
qpsscale_host_identity(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(qpsscale_settings_host_identity()));
}

Datum
qpsscale_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(qpsscale_shared != NULL);
}

Datum
qpsscale_restart_required(PG_FUNCTION_ARGS)
{
	bool		required = false;

	if (qpsscale_shared != NULL)
	{
		LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
		required = qpsscale_shared->restart_required;
		LWLockRelease(qpsscale_shared->lock);
		required |= qpsscale_installation_differs();
	}
	PG_RETURN_BOOL(required);
}

/* Does a live resident worker serve this database? */
Datum
qpsscale_served(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(qpsscale_database_is_served(MyDatabaseId));
}

/* After the commit this database's worker starts at once, not after a pause. */
Datum
qpsscale_wake_launcher(PG_FUNCTION_ARGS)
{
	char	   *database_name = get_database_name(MyDatabaseId);

	if (qpsscale_shared != NULL && database_name != NULL)
		qpsscale_databases_changed(database_name);
	PG_RETURN_VOID();
}
