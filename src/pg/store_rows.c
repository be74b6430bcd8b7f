/*-------------------------------------------------------------------------
 * store_rows.c
 *		Rows on their way into a set-based statement: one array per column.
 *
 * Typed arrays rather than one JSON document, since parsing that took longer
 * than the statement itself (make bench shows what a group costs).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "pg/group.h"
#include "pg/store_rows.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

void
store_rows_start(StoreRows *rows, StorePlan *plan, int most)
{
	rows->plan = plan;
	rows->n_rows = 0;
	rows->column = 0;
	rows->capacity = Max(most, 1);
	for (int i = 0; i < plan->n_columns; i++)
	{
		rows->values[i] = palloc(sizeof(Datum) * rows->capacity);
		rows->nulls[i] = palloc(sizeof(bool) * rows->capacity);
	}
}

static void
put(StoreRows *rows, Oid type, Datum value, bool null)
{
	if (rows->n_rows >= rows->capacity ||
		(!null && rows->plan->types[rows->column] != type))
		elog(ERROR, "column %d of a statement of qpsscale is put wrongly",
			 rows->column + 1);
	rows->values[rows->column][rows->n_rows] = value;
	rows->nulls[rows->column][rows->n_rows] = null;
	if (++rows->column == rows->plan->n_columns)
	{
		rows->column = 0;
		rows->n_rows++;
	}
}

void
store_put_null(StoreRows *rows)
{
	put(rows, InvalidOid, (Datum) 0, true);
}

void
store_put_int64(StoreRows *rows, int64 value)
{
	put(rows, INT8OID, Int64GetDatum(value), false);
}

void
store_put_int32(StoreRows *rows, int value)
{
	put(rows, INT4OID, Int32GetDatum(value), false);
}

void
store_put_count(StoreRows *rows, int value)
{
	put(rows, INT4OID, Int32GetDatum(value), value < 0);
}

void
store_put_double(StoreRows *rows, double value)
{
	bool		null = isnan(value) || isinf(value);

	put(rows, FLOAT8OID, Float8GetDatum(value), null);
}

void
store_put_bool(StoreRows *rows, bool value)
{
	put(rows, BOOLOID, BoolGetDatum(value), false);
}

void
store_put_text(StoreRows *rows, const char *value)
{
	if (value == NULL)
		store_put_null(rows);
	else
		put(rows, TEXTOID, CStringGetTextDatum(value), false);
}

void
store_put_time(StoreRows *rows, TimestampTz value)
{
	put(rows, TIMESTAMPTZOID, TimestampTzGetDatum(value), value == 0);
}

void
store_put_unix_us(StoreRows *rows, int64 value)
{
	if (value == QS_NEVER)
		store_put_null(rows);
	else
		store_put_time(rows, qpsscale_timestamptz(value));
}

static void
prepare(StorePlan *plan)
{
	Oid			arrays[STORE_MAX_COLUMNS];
	SPIPlanPtr	prepared;

	for (int i = 0; i < plan->n_columns; i++)
		arrays[i] = get_array_type(plan->types[i]);
	prepared = SPI_prepare(plan->sql, plan->n_columns, arrays);
	if (prepared == NULL || SPI_keepplan(prepared) != 0)
		elog(ERROR, "could not prepare: %s", plan->sql);
	plan->plan = prepared;
}

static Datum
make_array(const StoreRows *rows, int column)
{
	Oid			type = rows->plan->types[column];
	int			dimensions[1] = {rows->n_rows};
	int			bounds[1] = {1};
	int16		length;
	bool		by_value;
	char		alignment;

	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	return PointerGetDatum(construct_md_array(rows->values[column],
											  rows->nulls[column], 1,
											  dimensions, bounds, type,
											  length, by_value, alignment));
}

bool
store_rows_run(StoreRows *rows)
{
	Datum		arrays[STORE_MAX_COLUMNS];

	if (rows->n_rows == 0)
		return false;
	if (rows->plan->plan == NULL)
		prepare(rows->plan);
	for (int i = 0; i < rows->plan->n_columns; i++)
		arrays[i] = make_array(rows, i);
	if (SPI_execute_plan(rows->plan->plan, arrays, NULL, false, 0) < 0)
		elog(ERROR, "could not run: %s", rows->plan->sql);
	return true;
}
