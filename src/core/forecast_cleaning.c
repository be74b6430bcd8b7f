/*-------------------------------------------------------------------------
 * forecast_cleaning.c
 *		Takes out of a history what would spoil a forecast: gaps and outliers.
 *
 * What a value should have been is the median of the same hour on the days
 * around it, moved to the level of its own day, and a little further to where
 * the values beside it lie.  What is missing gets that; so does a value that is absurdly far from it, unless its neighbours agree
 * with it, for a change of level is no outlier, or other days have the same
 * at that time, for a job that runs now and then is none either.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>
#include <string.h>

#include "core/forecast.h"

#define ROBUST_UNIT			1.4826	/* median of |normal| to its sd */
/*
 * Far enough that hardly a true value is taken for an outlier: each that is
 * costs more than most outliers do, since they weigh little in a robust fit.
 */
#define FAR_IN_UNITS		8
#define FAR_AT_LEAST		0.8		/* in logs: more than double, or half */
#define LONGEST_RUN			3
/* A job runs on so many days: on one a week, but for short and long series. */
#define RECURS_AT_LEAST		2
#define RECURS_AT_MOST		4
#define PEERS				8
/* How much of what is true of a value's neighbour is true of itself. */
#define LIKE_ITS_NEIGHBOUR	0.8
#define FURTHEST_NEIGHBOUR	40		/* of which nearly nothing is true of it */

/* Days to the values of the same hour that are compared with. */
static const int peer_days[PEERS] = {-3, -2, -1, 1, 2, 3, -7, 7};

/* A sorted window that moves over a series; NaN is not in it. */
typedef struct Window
{
	double	   *sorted;
	int			count;
} Window;

/* How many are smaller. */
static int
window_place(const Window *window, double value)
{
	int			low = 0;
	int			high = window->count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (window->sorted[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
window_add(Window *window, double value)
{
	int			place;

	if (isnan(value))
		return;
	place = window_place(window, value);
	memmove(window->sorted + place + 1, window->sorted + place,
			(size_t) (window->count - place) * sizeof(double));
	window->sorted[place] = value;
	window->count++;
}

static void
window_remove(Window *window, double value)
{
	int			place;

	if (isnan(value))
		return;
	place = window_place(window, value);
	window->count--;
	memmove(window->sorted + place, window->sorted + place + 1,
			(size_t) (window->count - place) * sizeof(double));
}

static double
window_median(const Window *window)
{
	const double *s = window->sorted;
	int			n = window->count;

	if (n == 0)
		return 0;
	if (n % 2 == 1)
		return s[n / 2];
	return s[n / 2 - 1] + (s[n / 2] - s[n / 2 - 1]) / 2;
}

/* result[t] = median of values[t - reach .. t + reach] */
static void
running_median(const double *values, int count, int reach, double *sorted,
			   double *result)
{
	Window		window = {.sorted = sorted};

	for (int t = 0; t < reach && t < count; t++)
		window_add(&window, values[t]);
	for (int t = 0; t < count; t++)
	{
		if (t + reach < count)
			window_add(&window, values[t + reach]);
		if (t - reach - 1 >= 0)
			window_remove(&window, values[t - reach - 1]);
		result[t] = window_median(&window);
	}
}

static double
median_of_known(const double *values, int count, double *room)
{
	int			known = 0;

	for (int t = 0; t < count; t++)
	{
		if (!isnan(values[t]))
			room[known++] = values[t];
	}
	return qs_median(room, known);
}

/* NaN where no peer is known. */
static double
peers_at(const double *x, int count, int day, int t)
{
	double		peers[PEERS];
	int			known = 0;

	for (int i = 0; i < PEERS; i++)
	{
		int			peer = t + peer_days[i] * day;

		if (peer >= 0 && peer < count && !isnan(x[peer]))
			peers[known++] = x[peer];
	}
	return known > 0 ? qs_median(peers, known) : NAN;
}

/* Days on which something is marked, by time of day and direction. */
typedef struct Recurrence
{
	int			days[2][QS_FORECAST_MAX_STEPS_PER_DAY];
	int			last[2][QS_FORECAST_MAX_STEPS_PER_DAY];
} Recurrence;

/* One step more or less is the same time of day. */
static void
note(Recurrence *recurrence, int day, bool up, int t)
{
	for (int step = t - 1; step <= t + 1; step++)
	{
		int			place = (step + day) % day;
		int		   *days = &recurrence->days[up][place];
		int		   *last = &recurrence->last[up][place];

		if (*days == 0 || t - *last >= day / 2)
		{
			(*days)++;
			*last = t;
		}
	}
}

/* Takes the marks off what came on several days at the same time. */
static void
believe_what_recurs(const double *errors, int count, QsSeasons seasons,
					bool *replace)
{
	Recurrence	recurrence = {0};
	int			day = seasons.day;
	int			enough = count / seasons.week;

	if (enough < RECURS_AT_LEAST)
		enough = RECURS_AT_LEAST;
	if (enough > RECURS_AT_MOST)
		enough = RECURS_AT_MOST;

	for (int t = 0; t < count; t++)
	{
		/* NaN: it is missing */
		if (replace[t] && !isnan(errors[t]))
			note(&recurrence, day, errors[t] > 0, t);
	}
	for (int t = 0; t < count; t++)
	{
		if (replace[t] && !isnan(errors[t]) &&
			recurrence.days[errors[t] > 0][t % day] >= enough)
			replace[t] = false;
	}
}

/* Marks what is far from where it should be, in runs that are short. */
static void
mark(const double *errors, const double *spread, double overall, int count,
	 bool *replace)
{
	int			run = 0;

	for (int t = 0; t <= count; t++)
	{
		bool		bad = false;

		if (t < count)
		{
			double		error = fabs(errors[t]);

			/* NaN: it is missing, or has no peers; the former is bad */
			bad = replace[t] ||
				(error > FAR_IN_UNITS * fmax(overall, ROBUST_UNIT * spread[t])
				 && error > FAR_AT_LEAST);
		}
		if (bad)
			run++;
		else
		{
			for (int i = t - run; i < t && run <= LONGEST_RUN; i++)
				replace[i] = true;
			run = 0;
		}
	}
}

/* In logs, NaN for missing; "expected" gets what each should have been. */
static bool
expect(QsArena *arena, QsSeasons seasons, const double *x, int count,
	   bool *replace, double *expected)
{
	size_t		n = (size_t) count;
	double	   *rest = qs_arena_alloc_array(arena, n, sizeof(double));
	double	   *level = qs_arena_alloc_array(arena, n, sizeof(double));
	double	   *spread = qs_arena_alloc_array(arena, n, sizeof(double));
	double	   *room = qs_arena_alloc_array(arena, n + 1, sizeof(double));
	double		overall;
	double		mean = 0;
	int			known = 0;

	if (rest == NULL || level == NULL || spread == NULL || room == NULL)
		return false;
	for (int t = 0; t < count; t++)
	{
		expected[t] = peers_at(x, count, seasons.day, t);
		rest[t] = x[t] - expected[t];
		if (!isnan(x[t]))
		{
			mean += x[t];
			known++;
		}
	}
	mean /= known;
	running_median(rest, count, seasons.day / 2, room, level);
	for (int t = 0; t < count; t++)
	{
		rest[t] -= level[t];
		spread[t] = fabs(rest[t]);
		expected[t] = (isnan(expected[t]) ? mean : expected[t]) + level[t];
	}
	overall = ROBUST_UNIT * median_of_known(spread, count, room) + 1e-9;
	running_median(spread, count, seasons.week / 2, room, level);
	mark(rest, level, overall, count, replace);
	believe_what_recurs(rest, count, seasons, replace);
	return true;
}

/*
 * How far the nearest values to either side that stay lie from what they
 * should have been: the nearer one says more, and less from further away.
 */
static double
beside(const double *x, const double *expected, const bool *replace,
	   int count, int t)
{
	double		sum = 0;
	double		total = 0;

	for (int side = -1; side <= 1; side += 2)
	{
		int			at = t + side;
		int			distance = 1;

		while (at >= 0 && at < count && replace[at] &&
			   distance < FURTHEST_NEIGHBOUR)
		{
			at += side;
			distance++;
		}
		if (at < 0 || at >= count || replace[at])
			continue;
		sum += pow(LIKE_ITS_NEIGHBOUR, distance) * (x[at] - expected[at]) /
			distance;
		total += 1.0 / distance;
	}
	return total > 0 ? sum / total : 0;
}

bool
qs_forecast_clean(QsArena *arena, QsSeasons seasons, double *values,
				  int count, int *missing, int *replaced)
{
	size_t		n = (size_t) count;
	double	   *x = qs_arena_alloc_array(arena, n, sizeof(double));
	double	   *expected = qs_arena_alloc_array(arena, n, sizeof(double));
	bool	   *replace = qs_arena_alloc_array(arena, n, sizeof(bool));

	*missing = 0;
	*replaced = 0;
	if (x == NULL || expected == NULL || replace == NULL)
		return false;
	for (int t = 0; t < count; t++)
	{
		x[t] = isnan(values[t]) ? NAN : log(fmax(values[t], 1e-9));
		replace[t] = isnan(values[t]);
		*missing += replace[t];
	}
	if (*missing == count)
		return true;
	if (!expect(arena, seasons, x, count, replace, expected))
		return false;
	for (int t = 0; t < count; t++)
	{
		if (!replace[t])
			continue;
		*replaced += !isnan(values[t]);
		values[t] = exp(expected[t] +
						beside(x, expected, replace, count, t));
	}
	return true;
}
