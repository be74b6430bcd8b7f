/*-------------------------------------------------------------------------
 * user_sql_statement.c
 *		The statement of one order, and what is taken from its result.
 *
 * A signal is one SELECT (or VALUES, TABLE, WITH) with one column that is a
 * number, which is looked at before it runs: text, however long, is never
 * computed.  A function is looked up by its name and arguments, and called by
 * the name that the catalog has, so that nothing in the name is SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "parser/parser.h"
#include "pg/user_sql_statement.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/varlena.h"

static void refuse(UserSqlAnswer *answer, const char *code, const char *fmt,...)
			pg_attribute_printf(3, 4);

static void
refuse(UserSqlAnswer *answer, const char *code, const char *fmt,...)
{
	va_list		arguments;

	answer->outcome = USER_SQL_FAILED;
	strlcpy(answer->code, code, sizeof(answer->code));
	va_start(arguments, fmt);
	vsnprintf(answer->message, sizeof(answer->message), fmt, arguments);
	va_end(arguments);
}

/* ----------
 * Signals
 * ----------
 */
static bool
is_number(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return true;
		default:
			return false;
	}
}

/* DO, COPY, CALL and their kin would leave the bounds of a query. */
static bool
is_one_query(const char *text, UserSqlAnswer *answer)
{
	List	   *statements = raw_parser(text, RAW_PARSE_DEFAULT);

	if (list_length(statements) == 1 &&
		IsA(linitial_node(RawStmt, statements)->stmt, SelectStmt))
		return true;
	refuse(answer, "not_one_select",
		   "the text must be one SELECT, and nothing else");
	return false;
}

static bool
gives_one_number(SPIPlanPtr plan, UserSqlAnswer *answer)
{
	const CachedPlanSource *source =
		linitial(SPI_plan_get_plan_sources(plan));
	TupleDesc	columns = source->resultDesc;
	Oid			type;

	if (columns == NULL || columns->natts != 1)
	{
		refuse(answer, "not_one_column",
			   "the query has %d columns, but must have one",
			   columns == NULL ? 0 : columns->natts);
		return false;
	}
	type = TupleDescAttr(columns, 0)->atttypid;
	if (!is_number(type))
	{
		refuse(answer, "not_a_number",
			   "the query gives %s, which is no number: cast it to double precision",
			   format_type_be(type));
		return false;
	}
	return true;
}

static void
take_value(UserSqlAnswer *answer)
{
	char	   *text;

	if (SPI_processed > 1)
	{
		refuse(answer, "not_one_row",
			   "the query gives more than one row: aggregate them");
		return;
	}
	answer->outcome = USER_SQL_EMPTY;
	if (SPI_processed == 0)
		return;
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (text == NULL)
		return;
	answer->value = strtod(text, NULL);
	if (isfinite(answer->value))
		answer->outcome = USER_SQL_DONE;
	else
		answer->value = 0;
}

static void
run_signal(const char *text, UserSqlAnswer *answer)
{
	SPIPlanPtr	plan;

	if (!is_one_query(text, answer))
		return;
	plan = SPI_prepare(text, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "the query cannot be prepared");
	if (!gives_one_number(plan, answer))
		return;
	/* that nothing is written is the transaction's law */
	if (SPI_execute_plan(plan, NULL, NULL, false, 2) != SPI_OK_SELECT)
		refuse(answer, "not_one_select", "the text gives no rows");
	else
		take_value(answer);
}

/* ----------
 * Functions
 * ----------
 */
static char *
quoted_function(const char *name, int n_arguments, UserSqlAnswer *answer)
{
	Oid			types[2] = {TEXTOID, INT4OID};
	List	   *names = textToQualifiedNameList(cstring_to_text(name));
	Oid			function = LookupFuncName(names, n_arguments, types, true);

	if (OidIsValid(function) && get_func_prokind(function) == PROKIND_FUNCTION)
		return quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
										  get_func_name(function));
	refuse(answer, "function_missing", "function %s(%s) does not exist", name,
		   n_arguments == 1 ? "text" : "text, integer");
	return NULL;
}

/* Takes a count from a column; false when it is none. */
static bool
take_count(UserSqlAnswer *answer, int column, int *count)
{
	const char *name = SPI_fname(SPI_tuptable->tupdesc, column);
	char	   *text = SPI_getvalue(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, column);
	char	   *end;
	double		value;

	if (text == NULL)
		return true;
	value = strtod(text, &end);
	if (end != text && *end == '\0' && value == floor(value) && value >= 0 &&
		value <= QS_MAX_INSTANCES)
	{
		*count = (int) value;
		return true;
	}
	refuse(answer, "not_a_count", "%s is %.40s, not a number of instances",
		   name, text);
	return false;
}

static bool
take_counts(UserSqlAnswer *answer)
{
	TupleDesc	columns = SPI_tuptable->tupdesc;
	const		struct
	{
		const char *name;
		int		   *count;
	}			known[] = {
		{"desired", &answer->desired},
		{"total", &answer->total},
		{"in_service", &answer->in_service},
		{"min", &answer->min},
		{"max", &answer->max},
	};

	/* a function that returns an integer */
	if (columns->natts == 1 && SPI_fnumber(columns, "desired") <= 0)
		return take_count(answer, 1, &answer->desired);
	for (size_t i = 0; i < lengthof(known); i++)
	{
		int			column = SPI_fnumber(columns, known[i].name);

		if (column > 0 && !take_count(answer, column, known[i].count))
			return false;
	}
	return true;
}

static void
run_getter(const char *name, const char *target, UserSqlAnswer *answer)
{
	char	   *function = quoted_function(name, 1, answer);
	Oid			types[1] = {TEXTOID};
	Datum		values[1];

	if (function == NULL)
		return;
	values[0] = CStringGetTextDatum(target);
	if (SPI_execute_with_args(psprintf("SELECT * FROM %s($1)", function), 1,
							  types, values, NULL, false, 2) != SPI_OK_SELECT)
		elog(ERROR, "the function gives no rows");
	if (SPI_processed != 1)
	{
		refuse(answer, "not_one_row", "%s gives %s", name,
			   SPI_processed == 0 ? "no row" : "more than one row");
		return;
	}
	answer->outcome = USER_SQL_DONE;
	if (take_counts(answer) && answer->desired == QS_UNKNOWN)
		refuse(answer, "no_desired", "%s does not know target \"%.64s\": it gives NULL",
			   name, target);
}

static void
run_setter(const char *name, const char *target, int desired,
		   UserSqlAnswer *answer)
{
	char	   *function = quoted_function(name, 2, answer);
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2];
	bool		null;

	if (function == NULL)
		return;
	values[0] = CStringGetTextDatum(target);
	values[1] = Int32GetDatum(desired);
	if (SPI_execute_with_args(psprintf("SELECT %s($1, $2)", function), 2,
							  types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "the function cannot be called");
	answer->outcome = USER_SQL_DONE;
	if (SPI_processed == 1 && SPI_gettypeid(SPI_tuptable->tupdesc, 1) == BOOLOID &&
		!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 1, &null)) && !null)
		refuse(answer, "refused", "%s returned false", name);
}

void
qpsscale_user_sql_statement(const UserSqlOrder *order, UserSqlAnswer *answer)
{
	const char *text = order->strings;
	const char *target = text + strlen(text) + 1;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	switch (order->kind)
	{
		case USER_SQL_SIGNAL:
			run_signal(text, answer);
			break;
		case USER_SQL_GET:
			run_getter(text, target, answer);
			break;
		case USER_SQL_SET:
			run_setter(text, target, order->desired, answer);
			break;
	}
	PopActiveSnapshot();
	SPI_finish();
}
