/*-------------------------------------------------------------------------
 * forecasting.c
 *		qpsscale_forecast(): the planning forecast as rows.
 *
 * Runs in the caller's backend.  The work is core's, in an arena: milliseconds
 * for hours, a tenth of a second or so for quarters of an hour.  It ends
 * early when the statement is cancelled.  core never throws, so that the
 * arena is freed before anything here does.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/forecast.h"
#include "pg/cancel.h"
#include "pg/compat.h"

PG_FUNCTION_INFO_V1(qpsscale_forecast_series);

#define COLUMNS				8	/* step, at, mean, four bounds, method */
#define FIRST_POINT_COLUMN	2

/* More elements than this are refused rather than silently left out. */
#define MAX_ELEMENTS		1000000

/* How many of these steps are a day; an error if that is no whole number. */
static int
steps_per_day(const Interval *step)
{
	int64		length = step->time;

	if (step->month != 0 || step->day != 0 || length <= 0 ||
		USECS_PER_DAY % length != 0 ||
		USECS_PER_DAY / length < QS_FORECAST_MIN_STEPS_PER_DAY ||
		USECS_PER_DAY / length > QS_FORECAST_MAX_STEPS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("step must be 15 minutes to 2 hours and divide a day"),
				 errhint("Take means over an hour, and leave step at its default.")));
	return (int) (USECS_PER_DAY / length);
}

/* What is NULL is missing, and so not a number to core. */
static double *
elements_of(ArrayType *array, int *count)
{
	Datum	   *datums;
	bool	   *nulls;
	double	   *values;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("series must be a one-dimensional array")));
	if (ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) > MAX_ELEMENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("series must have at most %d elements", MAX_ELEMENTS),
				 errhint("Only the newest %d days are looked at.",
						 QS_FORECAST_HISTORY_DAYS)));
	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &datums, &nulls, count);
	values = palloc(sizeof(double) * (*count + 1));
	for (int i = 0; i < *count; i++)
	{
		values[i] = nulls[i] ? NAN : DatumGetFloat8(datums[i]);
		if (values[i] < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("series must not have negative elements"),
					 errdetail("Element %d is %g.", i + 1, values[i]),
					 errhint("Use NULL for a value that is not known.")));
	}
	return values;
}

/* The points are palloc'd before core is called, so that nothing throws while
 * the arena exists. */
static QsForecastPoint *
carry_out(const QsForecastSeries *series, int horizon,
		  QsForecastMethod *method)
{
	QsForecastPoint *points = palloc(sizeof(QsForecastPoint) * horizon);
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	QsForecast	forecast;
	QsError		error;
	bool		done;

	if (arena == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	done = qs_forecast(series, horizon, arena, &qpsscale_cancel, &forecast, &error);
	if (done)
	{
		memcpy(points, forecast.points, sizeof(QsForecastPoint) * horizon);
		*method = forecast.method;
	}
	qs_arena_free(arena);
	if (!done)
	{
		CHECK_FOR_INTERRUPTS();
		ereport(ERROR,
				(errcode(error.class == QS_ERROR_RESOURCES ?
						 ERRCODE_OUT_OF_MEMORY : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", error.message)));
	}
	return points;
}

static void
put_point(ReturnSetInfo *result, int number, const TimestampTz *at,
		  const QsForecastPoint *point, QsForecastMethod method)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};
	const double numbers[] = {point->mean, point->lower80, point->upper80,
	point->lower95, point->upper95};

	values[0] = Int32GetDatum(number);
	nulls[1] = at == NULL;
	values[1] = TimestampTzGetDatum(at != NULL ? *at : 0);
	for (int i = 0; i < (int) lengthof(numbers); i++)
	{
		/* nothing known is not zero */
		nulls[FIRST_POINT_COLUMN + i] = method == QS_FORECAST_NONE;
		values[FIRST_POINT_COLUMN + i] = Float8GetDatum(numbers[i]);
	}
	values[COLUMNS - 1] =
		CStringGetTextDatum(qs_forecast_method_name(method));
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* When the first step after the series begins. */
static bool
begin_of(FunctionCallInfo fcinfo, int count, int64 length, TimestampTz *at)
{
	int64		passed;

	if (PG_ARGISNULL(3))
		return false;
	*at = PG_GETARG_TIMESTAMPTZ(3);
	passed = (int64) count * length;
	if (TIMESTAMP_NOT_FINITE(*at) ||
		!IS_VALID_TIMESTAMP(*at + passed) ||
		!IS_VALID_TIMESTAMP(*at + passed + length *
							QS_FORECAST_MAX_DAYS_AHEAD *
							QS_FORECAST_MAX_STEPS_PER_DAY))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("started_at is out of range")));
	*at += passed;
	return true;
}

Datum
qpsscale_forecast_series(PG_FUNCTION_ARGS)
{
	QsForecastSeries series;
	QsForecastPoint *points;
	QsForecastMethod method;
	int			horizon;
	int64		length;
	TimestampTz at;
	bool		dated;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("series, horizon and step must not be null"),
				 errhint("A series of which nothing is known is an empty array.")));
	horizon = PG_GETARG_INT32(1);
	series.steps_per_day = steps_per_day(PG_GETARG_INTERVAL_P(2));
	length = USECS_PER_DAY / series.steps_per_day;
	if (horizon < 1 ||
		horizon > QS_FORECAST_MAX_DAYS_AHEAD * series.steps_per_day)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("horizon must be 1 to %d steps",
						QS_FORECAST_MAX_DAYS_AHEAD * series.steps_per_day)));
	series.values = elements_of(PG_GETARG_ARRAYTYPE_P(0), &series.count);
	dated = begin_of(fcinfo, series.count, length, &at);

	InitMaterializedSRF(fcinfo, 0);
	points = carry_out(&series, horizon, &method);
	for (int k = 0; k < horizon; k++)
	{
		put_point((ReturnSetInfo *) fcinfo->resultinfo, k + 1,
				  dated ? &at : NULL, &points[k], method);
		at = dated ? at + length : 0;
	}
	return (Datum) 0;
}
