/*-------------------------------------------------------------------------
 * load_series.c
 *		From a monitor's data points to the load that is decided on.
 *-------------------------------------------------------------------------
 */
#include "cloud/load_series.h"

#include <stdlib.h>
#include <string.h>

/* More is garbage, and sums of less cannot overflow. */
#define HIGHEST_QPS			1e15

#define FINE_PERIOD_S		60
#define COARSE_PERIOD_S		300
#define FINE_WINDOW_S		600
#define LONGEST_WINDOW_S	86400	/* EndTime - StartTime, BytePlus' tool */

QsLoadWindow
qs_load_window(int metric_period_s, int most_ids, int most_points)
{
	QsLoadWindow window = {.window_s = metric_period_s};
	int64_t		ids;

	if (window.window_s > LONGEST_WINDOW_S)
		window.window_s = LONGEST_WINDOW_S;
	window.period_s = window.window_s <= FINE_WINDOW_S ? FINE_PERIOD_S :
		COARSE_PERIOD_S;
	if (window.window_s < window.period_s)
		window.window_s = window.period_s;
	window.window_s = (window.window_s + window.period_s - 1) /
		window.period_s * window.period_s;
	ids = most_points / (window.window_s / window.period_s + 1);
	if (ids > most_ids)
		ids = most_ids;
	window.ids_per_call = ids > 1 ? (int) ids : 1;
	return window;
}

void
qs_load_series_start(QsLoadSeries *series, int64_t window_start_s,
					 int64_t window_end_s, int64_t period_s)
{
	series->window_start_s = window_start_s;
	series->window_end_s = window_end_s;
	series->period_s = period_s;
	series->n = 0;
	series->sorted = true;
}

static bool
grow(QsArena *arena, QsLoadSeries *series)
{
	size_t		capacity = series->capacity > 0 ? series->capacity * 2 : 32;
	QsLoadPoint *points;

	points = qs_arena_alloc_array(arena, capacity, sizeof(QsLoadPoint));
	if (points == NULL)
		return false;
	if (series->n > 0)
		memcpy(points, series->points, series->n * sizeof(QsLoadPoint));
	series->points = points;
	series->capacity = capacity;
	return true;
}

bool
qs_load_series_add(QsArena *arena, QsLoadSeries *series, int64_t at_s,
				   double qps)
{
	if (!(qps >= 0 && qps <= HIGHEST_QPS) ||
		at_s < series->window_start_s ||
		at_s > series->window_end_s - series->period_s)
		return true;
	if (series->n == series->capacity && !grow(arena, series))
		return false;
	if (series->n > 0 && series->points[series->n - 1].at_s >= at_s)
		series->sorted = false;
	series->points[series->n] = (QsLoadPoint) {at_s, qps, series->n};
	series->n++;
	return true;
}

static int
compare_points(const void *a, const void *b)
{
	const QsLoadPoint *left = a;
	const QsLoadPoint *right = b;

	if (left->at_s != right->at_s)
		return left->at_s < right->at_s ? -1 : 1;
	if (left->position != right->position)
		return left->position < right->position ? -1 : 1;
	return 0;
}

void
qs_load_series_settle(QsLoadSeries *series)
{
	QsLoadPoint *points = series->points;
	size_t		n = 0;

	if (series->sorted)
		return;
	qsort(points, series->n, sizeof(QsLoadPoint), compare_points);
	for (size_t i = 0; i < series->n; i++)
		if (i + 1 == series->n || points[i + 1].at_s != points[i].at_s)
			points[n++] = points[i];
	series->n = n;
	series->sorted = true;
}

QsLoadSeries
qs_load_series_past(int64_t start_s, int64_t end_s, int64_t latest_s, int days)
{
	QsLoadSeries past = {0};
	int64_t		oldest_s = latest_s - days * INT64_C(86400);

	if (start_s < oldest_s)
		start_s = oldest_s;
	if (end_s > latest_s)
		end_s = latest_s;
	start_s = (start_s + FINE_PERIOD_S - 1) / FINE_PERIOD_S * FINE_PERIOD_S;
	end_s = end_s / FINE_PERIOD_S * FINE_PERIOD_S;
	qs_load_series_start(&past, start_s, end_s > start_s ? end_s : start_s,
						 FINE_PERIOD_S);
	return past;
}

void
qs_load_series_summarize(QsLoadSeries *series, int64_t skew_s, QsLoad *load)
{
	const QsLoadPoint *points;
	double		sum = 0;
	int			n;

	qs_load_series_settle(series);
	points = series->points;
	n = (int) series->n;
	for (int i = 0; i < n; i++)
		sum += points[i].qps;
	if (n == 0)
		return;
	load->known = true;
	load->mean_qps = sum / n;
	load->newest_qps = points[series->n - 1].qps;

	/* the caller compares it with its own clock */
	load->newest_end_us = (points[series->n - 1].at_s + series->period_s -
						   skew_s) * 1000000;
	load->points = n < load->expected_points ? n : load->expected_points;
}
