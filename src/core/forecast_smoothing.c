/*-------------------------------------------------------------------------
 * forecast_smoothing.c
 *		Level, day and week, each following the errors at a rate of its own.
 *
 * Holt and Winters' exponential smoothing with two seasons (Taylor 2003) and
 * an autoregressive error.  The four rates are those that would have erred
 * least in the past, found by Nelder and Mead's simplex.
 *
 * Each step of a pass waits for the one before, so the processor idles; four
 * sets of rates go through the series side by side in the time of one.  A
 * simplex has that many candidates for its next corner.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>
#include <string.h>

#define RATES			4		/* of level, day, week, error */
#define SIDE_BY_SIDE	4
#define CORNERS			(RATES + 1)
#define MAX_PASSES		200

typedef double Lanes __attribute__((vector_size(32), may_alias, aligned(8)));

/* Rates as odds' logarithms, so that any number is a rate in 0..1. */
typedef struct Corner
{
	double		at[RATES];
	double		error;
} Corner;

typedef struct Smoothing
{
	const double *x;
	int			count;
	QsSeasons	seasons;
	double		level;			/* at the start, as the two below */
	double	   *day;
	double	   *week;
	Lanes	   *day_now;		/* of the pass under way */
	Lanes	   *week_now;
} Smoothing;

/* Where one would start to look. */
static const double starts[SIDE_BY_SIDE][RATES] = {
	{0.05, 0.1, 0.1, 0.9},
	{0.2, 0.2, 0.2, 0.6},
	{0.01, 0.05, 0.2, 0.95},
	{0.02, 0.3, 0.05, 0.9}
};

static double
rate_of(double odds)
{
	if (odds > 30)
		odds = 30;
	if (odds < -30)
		odds = -30;
	return 1 / (1 + exp(-odds));
}

/*
 * One pass with each of the corners: the mean absolute error of one step from
 * the second week on.  What is left in *level and *error, and in the two
 * arrays, is the state at the end.
 */
QS_WIDE static void
pass(const Smoothing *smoothing, Corner *corners, Lanes *level, Lanes *error)
{
	const double *x = smoothing->x;
	int			day = smoothing->seasons.day;
	int			week = smoothing->seasons.week;
	Lanes		rates[RATES];
	Lanes		e = {0, 0, 0, 0};
	Lanes		sum = e;
	Lanes		l = e + smoothing->level;
	int			i = 0;
	int			j = 0;

	for (int r = 0; r < RATES; r++)
	{
		for (int c = 0; c < SIDE_BY_SIDE; c++)
			rates[r][c] = rate_of(corners[c].at[r]);
	}
	for (int k = 0; k < day; k++)
		smoothing->day_now[k] = (Lanes) {0, 0, 0, 0} + smoothing->day[k];
	for (int k = 0; k < week; k++)
		smoothing->week_now[k] = (Lanes) {0, 0, 0, 0} + smoothing->week[k];
	for (int t = 0; t < smoothing->count; t++)
	{
		Lanes		d = smoothing->day_now[i];
		Lanes		w = smoothing->week_now[j];
		Lanes		now = (x[t] - (d + w)) - l;

		if (t >= week)
		{
			Lanes		miss = now - rates[3] * e;

			for (int c = 0; c < SIDE_BY_SIDE; c++)
				sum[c] += fabs(miss[c]);
		}
		e = now;
		l += rates[0] * e;
		smoothing->day_now[i] = d + rates[1] * e;
		smoothing->week_now[j] = w + rates[2] * e;
		i = i + 1 == day ? 0 : i + 1;
		j = j + 1 == week ? 0 : j + 1;
	}
	for (int c = 0; c < SIDE_BY_SIDE; c++)
		corners[c].error = sum[c] /
			(smoothing->count > week ? smoothing->count - week : 1);
	*level = l;
	*error = e;
}

static void
try_corners(const Smoothing *smoothing, Corner *corners)
{
	Lanes		level;
	Lanes		error;

	pass(smoothing, corners, &level, &error);
}

/* Level, day and week from the first two weeks. */
static void
begin(Smoothing *smoothing, double *room)
{
	int			day = smoothing->seasons.day;
	int			week = smoothing->seasons.week;
	int			weeks = smoothing->count / week >= 2 ? 2 : 1;
	double		mean[2] = {0, 0};

	/* the lanes first: they are the wider ones */
	smoothing->day_now = (Lanes *) room;
	smoothing->week_now = smoothing->day_now + day;
	smoothing->day = (double *) (smoothing->week_now + week);
	smoothing->week = smoothing->day + day;
	for (int i = 0; i < weeks; i++)
	{
		for (int t = 0; t < week; t++)
			mean[i] += smoothing->x[i * week + t];
		mean[i] /= week;
	}
	smoothing->level = mean[0];
	memset(smoothing->day, 0, (size_t) day * sizeof(double));
	for (int t = 0; t < week; t++)
	{
		smoothing->week[t] = smoothing->x[t] - mean[0];
		if (weeks == 2)
			smoothing->week[t] = (smoothing->week[t] +
								  (smoothing->x[week + t] - mean[1])) / 2;
		smoothing->day[t % day] += smoothing->week[t] / (week / day);
	}
	for (int t = 0; t < week; t++)
		smoothing->week[t] -= smoothing->day[t % day];
}

/* ---- Nelder and Mead ---- */

static void
order(Corner *corners)
{
	for (int i = 1; i < CORNERS; i++)
	{
		Corner		corner = corners[i];
		int			j = i;

		for (; j > 0 && corners[j - 1].error > corner.error; j--)
			corners[j] = corners[j - 1];
		corners[j] = corner;
	}
}

static bool
is_small(const Corner *corners)
{
	double		extent = 0;

	for (int i = 1; i < CORNERS; i++)
	{
		for (int r = 0; r < RATES; r++)
			extent = fmax(extent, fabs(corners[i].at[r] - corners[0].at[r]));
	}
	return extent < 0.02 &&
		fabs(corners[CORNERS - 1].error - corners[0].error) < 1e-6;
}

/* Reflected, expanded, contracted outside and inside, as are needed. */
static void
candidates(const Corner *corners, Corner *result)
{
	static const double shares[SIDE_BY_SIDE] = {-1, -2, -0.5, 0.5};
	double		mean[RATES] = {0};

	for (int i = 0; i < RATES; i++)
	{
		for (int r = 0; r < RATES; r++)
			mean[r] += corners[i].at[r] / RATES;
	}
	for (int c = 0; c < SIDE_BY_SIDE; c++)
	{
		for (int r = 0; r < RATES; r++)
			result[c].at[r] = mean[r] +
				shares[c] * (corners[CORNERS - 1].at[r] - mean[r]);
	}
}

/*
 * One move.  How many passes it would have taken one after the other is
 * returned: the limit counts those, so that the result is the textbook's.
 */
static int
move(const Smoothing *smoothing, Corner *corners)
{
	Corner		tried[SIDE_BY_SIDE];
	Corner	   *worst = &corners[CORNERS - 1];
	bool		outside;

	candidates(corners, tried);
	try_corners(smoothing, tried);
	if (tried[0].error < corners[0].error)
	{
		*worst = tried[1].error < tried[0].error ? tried[1] : tried[0];
		return 2;
	}
	if (tried[0].error < worst[-1].error)
	{
		*worst = tried[0];
		return 1;
	}
	outside = tried[0].error < worst->error;
	if (tried[outside ? 2 : 3].error < (outside ? tried[0] : *worst).error)
	{
		*worst = tried[outside ? 2 : 3];
		return 2;
	}
	for (int i = 1; i < CORNERS; i++)
	{
		for (int r = 0; r < RATES; r++)
			corners[i].at[r] = corners[0].at[r] +
				0.5 * (corners[i].at[r] - corners[0].at[r]);
	}
	try_corners(smoothing, corners + 1);
	return 2 + RATES;
}

static Corner
best_rates(const Smoothing *smoothing)
{
	Corner		first[SIDE_BY_SIDE];
	Corner		corners[CORNERS];
	int			best = 0;

	for (int c = 0; c < SIDE_BY_SIDE; c++)
	{
		for (int r = 0; r < RATES; r++)
			first[c].at[r] = log(starts[c][r] / (1 - starts[c][r]));
	}
	try_corners(smoothing, first);
	for (int c = 1; c < SIDE_BY_SIDE; c++)
		best = first[c].error < first[best].error ? c : best;
	for (int i = 0; i < CORNERS; i++)
	{
		corners[i] = first[best];
		if (i > 0)
			corners[i].at[i - 1] *= 1.05;
	}
	try_corners(smoothing, corners + 1);
	for (int passes = CORNERS; passes < MAX_PASSES;)
	{
		order(corners);
		if (is_small(corners))
			break;
		passes += move(smoothing, corners);
	}
	order(corners);
	return corners[0];
}

bool
qs_forecast_by_smoothing(QsForecastRoom *room, QsSeasons seasons,
						 QsScale scale, const double *values, int count,
						 int ahead, double *result)
{
	Smoothing	smoothing = {.x = room->x,.count = count,.seasons = seasons};
	double	   *z = room->z;
	Corner		corners[SIDE_BY_SIDE];
	Lanes		level;
	Lanes		error;
	double		fading;
	double		unit;

	if (count < seasons.week + seasons.day)
		return false;
	qs_scale_apply(scale, values, count, room->x, &unit);
	begin(&smoothing, room->smoothing);
	corners[0] = best_rates(&smoothing);
	for (int c = 1; c < SIDE_BY_SIDE; c++)
		corners[c] = corners[0];
	pass(&smoothing, corners, &level, &error);
	fading = error[0];
	for (int k = 0; k < ahead; k++)
	{
		fading *= rate_of(corners[0].at[3]);
		z[k] = level[0] + smoothing.day_now[(count + k) % seasons.day][0] +
			smoothing.week_now[(count + k) % seasons.week][0] + fading;
	}
	qs_forecast_bound(z, ahead, qs_forecast_limits(room->x, count));
	for (int k = 0; k < ahead; k++)
		result[k] = qs_scale_invert(scale, unit, z[k]);
	return true;
}
