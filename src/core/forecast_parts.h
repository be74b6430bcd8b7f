/*-------------------------------------------------------------------------
 * forecast_parts.h
 *		What the files of the planning forecast share; nobody else's business.
 *
 * All lengths are in steps.  A member reads the first "count" values of a
 * series that is clean: finite and positive, of mean about one.
 *-------------------------------------------------------------------------
 */
#ifndef QS_FORECAST_PARTS_H
#define QS_FORECAST_PARTS_H

#include <stdbool.h>
#include <stdlib.h>

#include "core/arena.h"

/* The least that a clean series may hold, as a share of its mean. */
#define QS_FORECAST_FLOOR		1e-3

#define QS_FORECAST_MAX_LAGS	28
#define QS_FORECAST_MAX_HARMONICS	6
#define QS_FORECAST_MAX_COLUMNS	\
	(QS_FORECAST_MAX_LAGS + 2 * QS_FORECAST_MAX_HARMONICS + 1)

#define QS_FORECAST_MAX_MEMBERS	20

/*
 * For the few loops in which a forecast spends its time: also compiled for
 * processors with AVX, chosen when the library is loaded.  The operations are
 * the same ones, four at once instead of two, and so is each digit.
 */
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GLIBC__)
#define QS_WIDE		__attribute__((target_clones("avx", "default")))
#else
#define QS_WIDE
#endif

/* Length of a day, of a week and of the longest series and horizon. */
typedef struct QsSeasons
{
	int			day;
	int			week;
} QsSeasons;

/* Room that all members use in turn. */
typedef struct QsForecastRoom
{
	int			capacity;		/* steps of history */
	int			ahead;			/* steps of horizon */
	double	   *x;				/* capacity + ahead: the transformed series */
	double	   *z;				/* likewise */
	double	   *weights;		/* capacity, all of these */
	double	   *base_weights;
	double	   *weighted;
	double	   *errors;
	double	   *sorting;
	double	   *columns[QS_FORECAST_MAX_COLUMNS];	/* those that are no lags */
	double	   *smoothing;		/* 4 * (day + week) */
} QsForecastRoom;

extern bool qs_forecast_room_make(QsForecastRoom *room, QsArena *arena,
								  QsSeasons seasons, int count, int horizon);

/* ---- how a series is looked at ---- */

typedef enum QsScale
{
	QS_SCALE_LOG,
	QS_SCALE_ROOT,
	QS_SCALE_LINEAR
} QsScale;

extern void qs_scale_apply(QsScale scale, const double *values, int count,
						   double *x, double *unit);
extern double qs_scale_invert(QsScale scale, double unit, double x);

/* Within 0.3 ranges of what was ever seen. */
typedef struct QsLimits
{
	double		low;
	double		high;
	double		instead;		/* of what is not a number */
} QsLimits;

extern QsLimits qs_forecast_limits(const double *x, int count);
extern void qs_forecast_bound(double *z, int ahead, QsLimits limits);

/* ---- order statistics ---- */

extern double qs_median(double *values, int count); /* reorders them */
extern void qs_sort(double *values, int count);
/* Linear between order statistics; share is clamped to 0..1. */
extern double qs_quantile_of_sorted(const double *sorted, int count,
									double share);
/* The mean of the middle half of the weight; for QS_FORECAST_MAX_MEMBERS. */
extern double qs_middle_mean(const double *values, const double *weights,
							 int count);

/* ---- linear equations ---- */

/*
 * Solves "matrix . solution = right" for a symmetric positive matrix of which
 * the lower triangle is given (it is overwritten).  A pivot that is not
 * positive, which takes a constant series, is lifted to a tiny one.
 */
extern void qs_solve(double matrix[][QS_FORECAST_MAX_COLUMNS],
					 const double *right, int size, double *solution);

/* ---- seasonal autoregression ---- */

typedef struct QsAutoregression
{
	int			lags[QS_FORECAST_MAX_LAGS];
	int			lag_count;
	int			harmonics;
	double		harmonic_unit;
	double		coefficients[QS_FORECAST_MAX_COLUMNS];	/* lags, harmonics,
														 * one */
} QsAutoregression;

/* Which lags, in days and steps, and at which scale. */
typedef struct QsAutoregressionPlan
{
	QsScale		scale;
	int			harmonics;
	bool		many;			/* the longer list of lags */
	bool		further_days;	/* and those around three and six days ago */
} QsAutoregressionPlan;

extern void qs_autoregression_fit(QsForecastRoom *room, QsSeasons seasons,
								  const QsAutoregressionPlan *plan,
								  const double *x, int count,
								  QsAutoregression *model);
/* What harmonics and constant add at a step. */
extern double qs_autoregression_offset(const QsAutoregression *model,
									   QsSeasons seasons, int step);

extern bool qs_forecast_by_autoregression(QsForecastRoom *room,
										  QsSeasons seasons,
										  const QsAutoregressionPlan *plan,
										  const double *values, int count,
										  int ahead, double *result);
/* On differences to a day or a week ago. */
extern bool qs_forecast_by_differences(QsForecastRoom *room,
									   QsSeasons seasons, int apart,
									   const double *values, int count,
									   int ahead, double *result);

/* ---- double-seasonal exponential smoothing ---- */

extern bool qs_forecast_by_smoothing(QsForecastRoom *room, QsSeasons seasons,
									 QsScale scale, const double *values,
									 int count, int ahead, double *result);

/* ---- similar days ---- */

/* How days are compared, and from where they go on. */
typedef struct QsDaysPlan
{
	QsScale		scale;
	int			days;			/* that must be alike */
	bool		from_yesterday; /* or else from a level */
} QsDaysPlan;

extern bool qs_forecast_by_days(QsForecastRoom *room, QsSeasons seasons,
								const QsDaysPlan *plan, const double *values,
								int count, int ahead, double *result);

/* ---- what the last days make likely ---- */

typedef struct QsSpectrumPlan
{
	QsScale		scale;
	enum
	{
		QS_WITHOUT_NOTHING,
		QS_WITHOUT_YESTERDAY,	/* differences to a day ago */
		QS_WITHOUT_WEEK			/* the mean week */
	}			without;
} QsSpectrumPlan;

extern bool qs_forecast_by_spectrum(QsForecastRoom *room, QsSeasons seasons,
									const QsSpectrumPlan *plan,
									const double *values, int count,
									int ahead, double *result);

/* ---- the last weeks ---- */

extern bool qs_forecast_by_weeks(QsForecastRoom *room, QsSeasons seasons,
								 const double *values, int count, int ahead,
								 double *result);

/* ---- before and after ---- */

/* In place.  false when there is no room. */
extern bool qs_forecast_clean(QsArena *arena, QsSeasons seasons,
							  double *values, int count, int *missing,
							  int *replaced);

#endif							/* QS_FORECAST_PARTS_H */
