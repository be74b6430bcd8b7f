/*-------------------------------------------------------------------------
 * forecast.h
 *		The planning forecast: how a load goes on over the next days.
 *
 * Several small models of different families are fitted to the series, each
 * is tried on the last days that are known, and the weighted middle of what
 * they say is the forecast.  Bands come from the errors that the first of
 * them made in the past.  Pure: no clock, no state, same input, same output.
 *
 * For scaling itself the short-lead predictor (predictor.h) is the right
 * tool; this one is for plans, prices and pictures.
 *-------------------------------------------------------------------------
 */
#ifndef QS_FORECAST_H
#define QS_FORECAST_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/cancel.h"
#include "core/error.h"

/* The shape of a day must be visible, and the work must be bounded. */
#define QS_FORECAST_MIN_STEPS_PER_DAY	12
#define QS_FORECAST_MAX_STEPS_PER_DAY	96
/* No more than this is looked at: the newest of a longer series. */
#define QS_FORECAST_HISTORY_DAYS		42
/* What lies further ahead is only the week repeated. */
#define QS_FORECAST_MAX_DAYS_AHEAD		7

/* Enough for the largest series and horizon. */
#define QS_FORECAST_ARENA_BYTES			((size_t) 16 * 1024 * 1024)

/* How much of the machinery the history allowed. */
typedef enum QsForecastMethod
{
	QS_FORECAST_NONE,			/* nothing is known: points are meaningless */
	QS_FORECAST_LAST_VALUE,		/* fewer than three values */
	QS_FORECAST_YESTERDAY,		/* less than two days */
	QS_FORECAST_DAILY,			/* less than ten days */
	QS_FORECAST_WEEKLY			/* the whole ensemble */
} QsForecastMethod;

typedef struct QsForecastPoint
{
	double		mean;			/* finite and never negative, as are all */
	double		lower80;
	double		upper80;
	double		lower95;
	double		upper95;
} QsForecastPoint;

typedef struct QsForecastSeries
{
	const double *values;		/* oldest first, one per step; what is not
								 * finite or negative is missing */
	int			count;
	int			steps_per_day;	/* 24 for hours */
} QsForecastSeries;

typedef struct QsForecast
{
	QsForecastMethod method;
	int			missing;		/* values that had to be filled in */
	int			replaced;		/* values taken for outliers */
	QsForecastPoint *points;	/* horizon of them, in the arena */
} QsForecast;

/*
 * False, with an error, when cancelled, out of memory or asked for what the
 * bounds above exclude.  Never false for what the values are.
 */
extern bool qs_forecast(const QsForecastSeries *series, int horizon,
						QsArena *arena, const QsCancel *cancel,
						QsForecast *forecast, QsError *error);

extern const char *qs_forecast_method_name(QsForecastMethod method);

#endif							/* QS_FORECAST_H */
