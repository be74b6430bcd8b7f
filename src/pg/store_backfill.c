/*-------------------------------------------------------------------------
 * store_backfill.c
 *		What clouds have said of the past, on its way into the tables.
 *
 * Samples are written as a tick writes them: a row for a minute of a whole
 * chunk of groups.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/row_reader.h"
#include "pg/step.h"
#include "pg/store_backfill.h"
#include "pg/store_samples.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char known_sql[] =
"SELECT s.at FROM qpsscale.samples_of($1, $2, $3) s"
" WHERE s.load IS NOT NULL";

static const char sample_sql[] =
"INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)"
" VALUES ($1, $2, $3::real[], '{}', '{}')";

static const char state_sql[] =
"UPDATE qpsscale.state s SET updated_at = now(),"
"  backfilled_from = coalesce($2, s.backfilled_from), backfill_retry_at = $3"
" WHERE s.resource_group_id = $1";

static const char predictor_sql[] =
"DELETE FROM qpsscale.predictors p WHERE p.resource_group_id = $1";

/* One that lasts is told once a day. */
static const char error_sql[] =
"INSERT INTO qpsscale.errors (resource_group_id, source, message)"
" SELECT $1, 'history', $2 WHERE NOT EXISTS"
"  (SELECT FROM qpsscale.errors e WHERE e.resource_group_id = $1"
"    AND e.source = 'history' AND e.message = $2"
"    AND e.occurred_at > now() - interval '1 day')";

static void
run(const char *sql, int n, Oid *types, Datum *values, const char *nulls,
	int expected)
{
	if (SPI_execute_with_args(sql, n, types, values, nulls,
							  expected == SPI_OK_SELECT, 0) != expected)
		elog(ERROR, "could not run: %s", sql);
}

/* A minute's sample is that of its end. */
static void
leave_known(Past *past, int i)
{
	Oid			types[3] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[3] = {Int64GetDatum(past->groups[i]->id),
		TimestampTzGetDatum(past->since),
	TimestampTzGetDatum(past->until + USECS_PER_MINUTE)};
	Row			row;

	run(known_sql, 3, types, values, NULL, SPI_OK_SELECT);
	row_start(&row);
	for (uint64 r = 0; r < SPI_processed; r++)
	{
		int64		minute;

		row_read(&row, r);
		minute = (next_int64(&row, 0) - past->since - 1) / USECS_PER_MINUTE;
		if (minute >= 0 && minute < past_minutes(past))
			past->loads[i][minute] = NAN;
	}
	SPI_freetuptable(SPI_tuptable);
}

/* The loads of a minute, each at its place; false where none is known. */
static bool
loads_of(const Past *past, int minute, Datum *loads, bool *nulls, int *n)
{
	*n = 0;
	memset(nulls, true, QPSSCALE_SAMPLE_GROUPS * sizeof(bool));
	for (int i = 0; i < past->n_groups; i++)
	{
		int			place = qpsscale_sample_place(past->groups[i]);
		double		load = past->loads[i][minute];

		if (!(load >= 0 && load <= FLT_MAX))
			continue;
		loads[place] = Float8GetDatum(load);
		nulls[place] = false;
		*n = Max(*n, place + 1);
	}
	return *n > 0;
}

static void
write_samples(const Past *past)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {TIMESTAMPTZOID, INT8OID, FLOAT8ARRAYOID};
	Datum		loads[QPSSCALE_SAMPLE_GROUPS] = {0};
	bool		nulls[QPSSCALE_SAMPLE_GROUPS];
	int			lower = 1;
	int			n;

	if (plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare(sample_sql, 3, types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare: %s", sample_sql);
		plan = prepared;
	}
	for (int minute = 0; minute < past_minutes(past); minute++)
	{
		Datum		values[3];
		ArrayType  *array;

		CHECK_FOR_INTERRUPTS();
		if (!loads_of(past, minute, loads, nulls, &n))
			continue;
		array = construct_md_array(loads, nulls, 1, &n, &lower, FLOAT8OID,
								   sizeof(float8), FLOAT8PASSBYVAL,
								   TYPALIGN_DOUBLE);
		values[0] = TimestampTzGetDatum(past->since +
										(minute + 1) * USECS_PER_MINUTE);
		values[1] = Int64GetDatum(qpsscale_sample_chunk(past->groups[0]));
		values[2] = PointerGetDatum(array);
		if (SPI_execute_plan(plan, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not run: %s", sample_sql);
		pfree(array);
	}
}

static bool
is_new(const Past *past, int i)
{
	for (int minute = 0; minute < past_minutes(past); minute++)
		if (!isnan(past->loads[i][minute]))
			return true;
	return false;
}

static void
write_state(Past *past, int i)
{
	Oid			types[3] = {INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum		values[3] = {Int64GetDatum(past->groups[i]->id)};
	char		nulls[4] = "   ";

	if (past->errors[i] != NULL)
	{
		Oid			error_types[2] = {INT8OID, TEXTOID};
		Datum		error[2] = {values[0], CStringGetTextDatum(past->errors[i])};

		nulls[1] = 'n';
		values[2] = TimestampTzGetDatum(past->retry_at[i]);
		run(error_sql, 2, error_types, error, NULL, SPI_OK_INSERT);
	}
	else
	{
		values[1] = TimestampTzGetDatum(past->since);
		nulls[2] = 'n';
	}
	run(state_sql, 3, types, values, nulls, SPI_OK_UPDATE);
	past->learned[i] = past->complete[i] ||
		(past->errors[i] != NULL && is_new(past, i));
	if (past->learned[i])
		run(predictor_sql, 1, types, values, NULL, SPI_OK_DELETE);
}

static void
store(void *argument)
{
	Past	   *past = argument;

	for (int i = 0; i < past->n_groups; i++)
		leave_known(past, i);
	write_samples(past);
	for (int i = 0; i < past->n_groups; i++)
		write_state(past, i);
}

bool
qpsscale_store_past(Past *past, ErrorData **error)
{
	return qpsscale_step("qpsscale: backfill", store, past, false, error);
}
