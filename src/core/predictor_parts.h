/*-------------------------------------------------------------------------
 * predictor_parts.h
 *		What the files of the predictor share; nobody else's business.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PREDICTOR_PARTS_H
#define QS_PREDICTOR_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/predictor.h"

#define QS_FEATURES			18	/* what the mean is regressed on */
#define QS_SPREAD_FEATURES	7	/* what the spread is */
#define QS_MAX_FEATURES		QS_FEATURES
#define QS_TRIANGLE(n)		((n) * ((n) + 1) / 2)

/* ---- decayed normal equations ---- */

typedef struct QsRegression
{
	double		products[QS_TRIANGLE(QS_MAX_FEATURES)]; /* lower triangle, by
														 * rows */
	double		targets[QS_MAX_FEATURES];
	double		coefficients[QS_MAX_FEATURES];
	int64_t		learned;		/* rows that were added */
} QsRegression;

extern void qs_regression_learn(QsRegression *regression, int features,
								double decay, const double *row,
								double target);
/* Keeps the coefficients and forgets the rest where they are not finite. */
extern void qs_regression_solve(QsRegression *regression, int features,
								const double *ridge);

/* ---- decayed histogram ---- */

#define QS_HISTOGRAM_BINS	400

typedef struct QsHistogram
{
	double		bins[QS_HISTOGRAM_BINS];
	double		total;
	double		weight;			/* of the next value; grows, so that the bins
								 * need not be touched */
} QsHistogram;

extern void qs_histogram_add(QsHistogram *histogram, double decay,
							 double value);
/* How many values are in it, decayed. */
extern double qs_histogram_count(const QsHistogram *histogram);
extern double qs_histogram_quantile(const QsHistogram *histogram,
									double share);
/* Of n shares that rise, in one pass. */
extern void qs_histogram_quantiles(const QsHistogram *histogram,
								   const double *shares, int n,
								   double *quantiles);


/* ---- the state ---- */

#define QS_AVERAGES			6
#define QS_LEVEL				0	/* all others are compared with it */
#define QS_SLOW_AVERAGE		4
#define QS_MAX_HOUR			60	/* ticks */
#define QS_DAYS_OF_LARGEST		14
#define QS_SLOTS_OF_DAY		96	/* in which errors are kept apart */

/* What was said at a tick, until it can be learned from. */
typedef struct QsPending
{
	double		features[QS_FEATURES];
	double		spread_features[QS_SPREAD_FEATURES];
	double		level;
	double		mean;			/* above the level */
	double		spread;
	double		upper;			/* load at SCORED_QUANTILE, NAN = no score */
	double		without;		/* load that it is scored against */
} QsPending;

typedef struct QsStream
{
	QsRegression mean;
	QsRegression spread;
	QsHistogram errors;			/* in spreads */
	double		fast_error;		/* mean |error|, over an hour or so */
	double		slow_error;		/* over a day */
	double		day_errors[QS_SLOTS_OF_DAY];
	double		hour_errors[QS_MAX_HOUR];
	uint16_t	day_counts[QS_SLOTS_OF_DAY];
	uint16_t	hour_counts[QS_MAX_HOUR];
	double		loss;
	double		loss_without;
	double		inside;
	int64_t		scored;
} QsStream;

struct QsPredictor
{
	uint32_t	magic;
	uint32_t	layout;
	int32_t		tick_seconds;
	int32_t		last[QS_PREDICTOR_STREAMS];
	int32_t		reserved;
	int64_t		first_tick;
	int64_t		ticks;			/* so far */
	double		offset;			/* under the root; NAN until it is known */
	double		newest;			/* load, NAN = missing */
	double		averages[QS_AVERAGES];
	double		largest[QS_DAYS_OF_LARGEST];	/* by day */
	double		hour[QS_MAX_HOUR];	/* profile above the slow average */
	uint8_t		hour_counts[QS_MAX_HOUR];
	uint8_t		missed[QS_PREDICTOR_MAX_WINDOW + 1];	/* by tick */
	uint8_t		has_averages;
	QsStream	streams[QS_PREDICTOR_STREAMS];
	double		data[];
};

/* Where things are in data, and what follows from the plan. */
typedef struct QsPredictorView
{
	QsPredictor *state;
	int			day;			/* ticks */
	int			week;
	int			hour;
	bool		has_hour;		/* is there a profile of the hour? */
	bool		is_fine;		/* ticks of a minute */
	int			ring;			/* length of recent */
	double	   *recent;			/* roots, by tick */
	double	   *profile;		/* of the day */
	double	   *high_profile;
	uint8_t    *profile_counts;
	QsPending  *pending[QS_PREDICTOR_STREAMS];
} QsPredictorView;

/* What root of a load, at a tick since the beginning. */
static inline double
qs_root_at(const QsPredictorView *view, int64_t tick)
{
	return view->recent[tick % view->ring];
}

/* A short mean that ends at a tick. */
extern double qs_root_around(const QsPredictorView *view,
									   int64_t tick);

/* ---- windows ---- */

/*
 * t counts ticks since the beginning, tick since midnight.  First what the
 * window that ends now teaches, then what is to be said of the next one.
 */
extern void qs_predictor_learn(QsPredictorView *view, int number, int64_t t,
							   int64_t tick);
extern void qs_predictor_say(QsPredictorView *view, int number, int64_t t,
							 int64_t tick);

#endif							/* QS_PREDICTOR_PARTS_H */
