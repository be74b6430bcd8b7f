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

/* Sets known, mean, newest and points if there is a point; expected_points is
 * the caller's.  skew_s is the cloud's clock less ours. */
extern void qs_load_series_summarize(QsLoadSeries *series, int64_t skew_s,
									 QsLoad *load);

#endif							/* QS_LOAD_SERIES_H */
