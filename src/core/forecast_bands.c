/*-------------------------------------------------------------------------
 * forecast_bands.c
 *		How far from the forecast the truth may well be.
 *
 * The leading autoregression is asked again what it would have said at each
 * hour of the last ten days, with the coefficients of today.  Quantiles of
 * those errors, by distance, are laid around the forecast.  As the
 * coefficients know those days the errors are a little too small; the bands
 * are stretched for that, by a factor that was measured.
 *
 * Where history is too short for that the changes from one step, or one day,
 * to the next take the place of errors.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_bands.h"

#include <math.h>
#include <string.h>

#define ORIGINS_DAYS	10
#define POOLED			2		/* neighbouring distances to either side */
#define STRETCH			3.0		/* for each coefficient of each row */

/* ---- from the model's own errors ---- */

typedef struct Errors
{
	double	   *at[2 * POOLED + 1]; /* sorted, by distance modulo that */
	int			count[2 * POOLED + 1];
	double	   *pooled;
	double	   *other;
} Errors;

/* paths[o * ahead + k]: said at origin first + o about first + o + k. */
static void
replay(const QsAutoregression *model, const double *x, const double *offsets,
	   int first, int origins, int ahead, QsLimits limits, double *paths)
{
	for (int o = 0; o < origins; o++)
	{
		double	   *path = paths + (size_t) o * (size_t) ahead;

		for (int k = 0; k < ahead; k++)
		{
			double		sum = offsets[o + k];

			for (int i = 0; i < model->lag_count; i++)
			{
				int			back = k - model->lags[i];

				sum += model->coefficients[i] *
					(back >= 0 ? path[back] : x[first + o + back]);
			}
			path[k] = sum;
		}
		qs_forecast_bound(path, ahead, limits);
	}
}

/* Two sorted lists become one. */
static int
merge(const double *a, int a_count, const double *b, int b_count,
	  double *result)
{
	int			i = 0;
	int			j = 0;
	int			n = 0;

	while (i < a_count && j < b_count)
		result[n++] = a[i] <= b[j] ? a[i++] : b[j++];
	while (i < a_count)
		result[n++] = a[i++];
	while (j < b_count)
		result[n++] = b[j++];
	return n;
}

static void
pool(Errors *errors, int k, int ahead, int *count)
{
	*count = 0;
	for (int j = k - POOLED; j <= k + POOLED; j++)
	{
		double	   *swap;

		if (j < 0 || j >= ahead)
			continue;
		*count = merge(errors->pooled, *count,
					   errors->at[j % (2 * POOLED + 1)],
					   errors->count[j % (2 * POOLED + 1)], errors->other);
		swap = errors->pooled;
		errors->pooled = errors->other;
		errors->other = swap;
	}
}

static double
upper_quantile(const double *sorted, int count, double share)
{
	return qs_quantile_of_sorted(sorted, count, share + 1.0 / count);
}

static double
lower_quantile(const double *sorted, int count, double share)
{
	return qs_quantile_of_sorted(sorted, count, share - 1.0 / count);
}

static bool
errors_make(Errors *errors, QsArena *arena, int origins)
{
	size_t		n = (size_t) origins;
	size_t		width = 2 * POOLED + 1;

	for (size_t i = 0; i < width; i++)
	{
		errors->at[i] = qs_arena_alloc_array(arena, n, sizeof(double));
		if (errors->at[i] == NULL)
			return false;
	}
	errors->pooled = qs_arena_alloc_array(arena, n * width, sizeof(double));
	errors->other = qs_arena_alloc_array(arena, n * width, sizeof(double));
	return errors->pooled != NULL && errors->other != NULL;
}

/* The fewer rows a coefficient was learned from, the better it knows them. */
static double
stretch_for(const QsAutoregression *model, int rows)
{
	int			coefficients = model->lag_count + model->harmonics + 1;

	return 1 + STRETCH * coefficients / rows;
}

static void
band_around(QsForecastPoint *point, const double *sorted, int count,
			double stretch)
{
	point->lower80 = point->mean *
		exp(stretch * lower_quantile(sorted, count, 0.1));
	point->upper80 = point->mean *
		exp(stretch * upper_quantile(sorted, count, 0.9));
	point->lower95 = point->mean *
		exp(stretch * lower_quantile(sorted, count, 0.025));
	point->upper95 = point->mean *
		exp(stretch * upper_quantile(sorted, count, 0.975));
}

bool
qs_forecast_bands_of_model(const QsAutoregression *model, QsSeasons seasons,
						   const double *x, int count, int ahead,
						   QsArena *arena, QsForecastPoint *points,
						   bool *enough)
{
	int			longest = 0;
	int			first;
	int			origins;
	int			gathered = 0;
	double	   *paths;
	double	   *offsets;
	Errors		errors;

	for (int i = 0; i < model->lag_count; i++)
		longest = model->lags[i] > longest ? model->lags[i] : longest;
	first = count - ORIGINS_DAYS * seasons.day - ahead;
	first = first < longest + 1 ? longest + 1 : first;
	origins = count - 1 - first;
	*enough = origins >= seasons.day;
	if (!*enough)
		return true;
	paths = qs_arena_alloc_array(arena, (size_t) origins * (size_t) ahead,
								 sizeof(double));
	offsets = qs_arena_alloc_array(arena, (size_t) (origins + ahead),
								   sizeof(double));
	if (paths == NULL || offsets == NULL ||
		!errors_make(&errors, arena, origins))
		return false;
	for (int t = 0; t < origins + ahead; t++)
		offsets[t] = t < seasons.day ?
			qs_autoregression_offset(model, seasons, first + t) :
			offsets[t - seasons.day];
	replay(model, x, offsets, first, origins, ahead,
		   qs_forecast_limits(x, count), paths);
	for (int k = 0; k < ahead; k++)
	{
		int			count_pooled;

		for (; gathered < ahead && gathered <= k + POOLED; gathered++)
		{
			int			slot = gathered % (2 * POOLED + 1);
			int			n = 0;

			for (int o = 0; o < origins && first + o + gathered < count; o++)
				errors.at[slot][n++] = x[first + o + gathered] -
					paths[(size_t) o * (size_t) ahead + (size_t) gathered];
			errors.count[slot] = n;
			qs_sort(errors.at[slot], n);
		}
		pool(&errors, k, ahead, &count_pooled);
		band_around(&points[k], errors.pooled, count_pooled,
					stretch_for(model, count - longest));
	}
	return true;
}

/* ---- from changes, where there is no model ---- */

static double
typical_change(const double *values, int count, int distance, double *room)
{
	int			n = 0;

	for (int t = distance; t < count; t++)
		room[n++] = fabs(log(values[t] / values[t - distance]));
	qs_sort(room, n);
	return qs_quantile_of_sorted(room, n, 0.68);
}

void
qs_forecast_bands_of_changes(QsSeasons seasons, const double *values,
							 int count, int ahead, double *room,
							 QsForecastPoint *points)
{
	/* Without anything to go by a load may well double or halve. */
	double		step = 0.4;
	double		most = 0.7;

	if (count >= 3)
		step = typical_change(values, count, 1, room);
	if (count >= seasons.day + 6)
		most = typical_change(values, count, seasons.day, room);
	for (int k = 0; k < ahead; k++)
	{
		/* a walk, which goes no further than from one day to the next */
		double		spread = step * sqrt(k + 1.0);
		QsForecastPoint *point = &points[k];

		if (spread > most)
			spread = most * sqrt(1 + k / seasons.day);
		point->lower80 = point->mean * exp(-1.2816 * spread);
		point->upper80 = point->mean * exp(1.2816 * spread);
		point->lower95 = point->mean * exp(-1.96 * spread);
		point->upper95 = point->mean * exp(1.96 * spread);
	}
}
