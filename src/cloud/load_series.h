/*-------------------------------------------------------------------------
 * load_series.h
 *		From a monitor's data points to the load that is decided on.
 *
 * Only complete buckets within the window count, whatever their order; of
 * several with the same time the last.  What cannot be a rate (NaN, infinite,
 * negative, absurd) is a missing point and never a zero.
 *-------------------------------------------------------------------------
 */
#ifndef QS_LOAD_SERIES_H
#define QS_LOAD_SERIES_H

#include "core/arena.h"
#include "core/decide.h"

typedef struct QsLoadPoint
{
	int64_t		at_s;			/* start of its bucket */
	double		qps;
	size_t		position;
} QsLoadPoint;

/* What to ask of a monitor that has buckets of one and of five minutes. */
typedef struct QsLoadWindow
{
	int64_t		window_s;		/* whole buckets */
	int64_t		period_s;		/* of a bucket: 60 or 300 */
	int			ids_per_call;	/* at least one */
} QsLoadWindow;

/*
 * Fine buckets for windows up to ten minutes, as the first original had.  Long
 * windows take smaller batches rather than longer buckets: the newest bucket
 * should stay new.  One point more than the window holds is reckoned with,
 * since the server may count both ends.
 */
extern QsLoadWindow qs_load_window(int metric_period_s, int most_ids,
								   int most_points);

/* Zeroed before its first use; the memory serves the next series again. */
typedef struct QsLoadSeries
{
	int64_t		window_start_s;
	int64_t		window_end_s;
	int64_t		period_s;		/* of a bucket */
	QsLoadPoint *points;
	size_t		n;
	size_t		capacity;
	bool		sorted;
} QsLoadSeries;

extern void qs_load_series_start(QsLoadSeries *series, int64_t window_start_s,
								 int64_t window_end_s, int64_t period_s);

/* false when the arena is exhausted. */
extern bool qs_load_series_add(QsArena *arena, QsLoadSeries *series,
							   int64_t at_s, double qps);

/* In order, and of several points with the same time the last. */
extern void qs_load_series_settle(QsLoadSeries *series);

/*
 * Empty series of the minutes from start_s to end_s of a past of which whole
 * minutes up to latest_s are there, and those of so many days kept; of none
 * where the past does not reach.
 */
extern QsLoadSeries qs_load_series_past(int64_t start_s, int64_t end_s,
										int64_t latest_s, int days);

/* Sets known, mean, newest and points if there is a point; expected_points is
 * the caller's.  skew_s is the cloud's clock less ours. */
extern void qs_load_series_summarize(QsLoadSeries *series, int64_t skew_s,
									 QsLoad *load);

#endif							/* QS_LOAD_SERIES_H */
