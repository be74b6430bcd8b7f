/*-------------------------------------------------------------------------
 * forecast_days.c
 *		What follows when the last days looked like these, learned from all.
 *
 * Each day of history is an example of how a load goes on at this hour: from
 * the level of the day before, or from that day repeated.  A kernel ridge
 * regression (the mean of a Gaussian process) weighs the examples by how much
 * they are like the newest one, and against each other, so that ten copies of
 * a day count as one and those that differ teach something too.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>

/* With fewer, the autoregressions know better. */
#define LEAST_EXAMPLES	12
#define MOST_EXAMPLES	40
/* Likeness fades with the squared distance, in so many typical ones ... */
#define REACH			2.0
/* ... what goes on in proportion counts half as much ... */
#define PROPORTIONAL	0.5
/* ... and the same day of the week a little more. */
#define SAME_WEEKDAY	0.1
#define RIDGE			0.1

_Static_assert(MOST_EXAMPLES <= QS_FORECAST_MAX_COLUMNS,
			   "qs_solve() takes so many");

/* The newest example, of which the end is not known, is the last one. */
typedef struct Examples
{
	const double *x;
	const double *pattern;		/* x, or its differences to a day ago */
	int			day;
	int			length;			/* of the pattern before an origin */
	bool		from_yesterday;
	int			count;
	int			origin[MOST_EXAMPLES + 1];	/* where each goes on */
	double		level[MOST_EXAMPLES + 1];	/* what its pattern is told from */
} Examples;

typedef double Gram[MOST_EXAMPLES + 1][MOST_EXAMPLES + 1];

/* Where an example would be if nothing happened. */
static double
stay(const Examples *examples, int i, int k)
{
	return examples->from_yesterday ?
		examples->x[examples->origin[i] - examples->day + k % examples->day] :
		examples->level[i];
}

static double
level_of(const Examples *examples, int origin)
{
	double		sum = 0;

	if (examples->from_yesterday)
		return 0;				/* differences have none */
	for (int t = origin - examples->day; t < origin; t++)
		sum += examples->x[t];
	return sum / examples->day;
}

/* Those at the same hour of which the next "ahead" steps are known. */
static void
gather(Examples *examples, int count, int ahead)
{
	int			day = examples->day;
	int			least = examples->length +
		(examples->from_yesterday ? day : 0);
	int			n = 0;

	for (int origin = count - (ahead + day - 1) / day * day;
		 origin >= least && n < MOST_EXAMPLES; origin -= day)
		examples->origin[n++] = origin;
	examples->count = n;
	examples->origin[n] = count;
	for (int i = 0; i <= n; i++)
		examples->level[i] = level_of(examples, examples->origin[i]);
}

static double
product(const Examples *examples, int i, int j)
{
	const double *a = examples->pattern + examples->origin[i] -
		examples->length;
	const double *b = examples->pattern + examples->origin[j] -
		examples->length;
	double		a_level = examples->level[i];
	double		b_level = examples->level[j];
	double		sum = 0;

	for (int t = 0; t < examples->length; t++)
		sum += (a[t] - a_level) * (b[t] - b_level);
	return sum;
}

/* Inner products of all patterns, less the mean pattern of the examples. */
static void
compare(const Examples *examples, Gram gram)
{
	int			n = examples->count;
	double		mean[MOST_EXAMPLES + 1] = {0};
	double		overall = 0;

	for (int i = 0; i <= n; i++)
	{
		for (int j = 0; j <= i; j++)
			gram[i][j] = gram[j][i] = product(examples, i, j);
	}
	for (int i = 0; i <= n; i++)
	{
		for (int j = 0; j < n; j++)
			mean[i] += gram[i][j] / n;
		overall += i < n ? mean[i] / n : 0;
	}
	for (int i = 0; i <= n; i++)
	{
		for (int j = 0; j <= n; j++)
			gram[i][j] += overall - mean[i] - mean[j];
	}
}

static double
squared_distance(Gram gram, int i, int j)
{
	return fmax(gram[i][i] + gram[j][j] - 2 * gram[i][j], 0);
}

static double
typical_distance(Gram gram, int count)
{
	double		distances[MOST_EXAMPLES * (MOST_EXAMPLES + 1) / 2];
	int			n = 0;

	for (int i = 0; i <= count; i++)
	{
		for (int j = 0; j < i; j++)
			distances[n++] = squared_distance(gram, i, j);
	}
	return qs_median(distances, n);
}

/* How much each example has to say about the newest one. */
static void
weigh(const Examples *examples, QsSeasons seasons, double *weights)
{
	int			n = examples->count;
	double		kernel[QS_FORECAST_MAX_COLUMNS][QS_FORECAST_MAX_COLUMNS];
	double		newest[MOST_EXAMPLES];
	double		size = 0;
	double		reach;
	Gram		gram;

	compare(examples, gram);
	reach = REACH * typical_distance(gram, n) + 1e-12;
	for (int i = 0; i < n; i++)
		size += gram[i][i] / n;
	size += 1e-12;
	for (int i = 0; i <= n; i++)
	{
		for (int j = 0; j <= i && j < n; j++)
		{
			bool		same = (examples->origin[i] - examples->origin[j]) %
				seasons.week == 0;
			double		likeness = exp(-squared_distance(gram, i, j) / reach) *
				(same ? 1 + SAME_WEEKDAY : 1) +
				PROPORTIONAL * gram[i][j] / size;

			if (i == n)
				newest[j] = likeness;
			else
				kernel[i][j] = likeness + (i == j ? RIDGE : 0);
		}
	}
	qs_solve(kernel, newest, n, weights);
}

bool
qs_forecast_by_days(QsForecastRoom *room, QsSeasons seasons,
					const QsDaysPlan *plan, const double *values, int count,
					int ahead, double *result)
{
	double	   *x = room->x;
	double	   *z = room->z;
	Examples	examples = {.x = x,.day = seasons.day,
		.length = plan->days * seasons.day,
		.from_yesterday = plan->from_yesterday
	};
	double		weights[MOST_EXAMPLES];
	double		total = 0;
	double		unit;

	qs_scale_apply(plan->scale, values, count, x, &unit);
	for (int t = seasons.day; t < count; t++)
		z[t] = x[t] - x[t - seasons.day];
	examples.pattern = plan->from_yesterday ? z : x;
	gather(&examples, count, ahead);
	if (examples.count < LEAST_EXAMPLES)
		return false;
	weigh(&examples, seasons, weights);
	for (int i = 0; i < examples.count; i++)
		total += weights[i];
	for (int k = 0; k < ahead; k++)
	{
		double		way = 0;

		/* what is not said by weights is said by the mean of the examples */
		for (int i = 0; i < examples.count; i++)
			way += (weights[i] + (1 - total) / examples.count) *
				(x[examples.origin[i] + k] - stay(&examples, i, k));
		result[k] = stay(&examples, examples.count, k) + way;
	}
	qs_forecast_bound(result, ahead, qs_forecast_limits(x, count));
	for (int k = 0; k < ahead; k++)
		result[k] = qs_scale_invert(plan->scale, unit, result[k]);
	return true;
}
