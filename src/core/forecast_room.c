/*-------------------------------------------------------------------------
 * forecast_room.c
 *		The room that the members of the planning forecast work in, and the
 *		scales at which they look at a series.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>

bool
qs_forecast_room_make(QsForecastRoom *room, QsArena *arena, QsSeasons seasons,
					  int count, int horizon)
{
	size_t		n = (size_t) count;
	double	  **arrays[] = {&room->weights, &room->base_weights,
		&room->weighted, &room->errors, &room->sorting};

	room->capacity = count;
	room->ahead = horizon;
	room->x = qs_arena_alloc_array(arena, n + (size_t) horizon,
								   sizeof(double));
	room->z = qs_arena_alloc_array(arena, n + (size_t) horizon,
								   sizeof(double));
	/* an array of one for each season, and four of them in motion */
	room->smoothing =
		qs_arena_alloc_array(arena,
							 5 * (size_t) (seasons.day + seasons.week),
							 sizeof(double));
	if (room->x == NULL || room->z == NULL || room->smoothing == NULL)
		return false;
	for (size_t i = 0; i < sizeof(arrays) / sizeof(arrays[0]); i++)
	{
		*arrays[i] = qs_arena_alloc_array(arena, n, sizeof(double));
		if (*arrays[i] == NULL)
			return false;
	}
	for (int i = 0; i <= 2 * QS_FORECAST_MAX_HARMONICS; i++)
	{
		room->columns[i] = qs_arena_alloc_array(arena, n, sizeof(double));
		if (room->columns[i] == NULL)
			return false;
	}
	return true;
}

/* The unit is the mean; a logarithm needs none. */
void
qs_scale_apply(QsScale scale, const double *values, int count, double *x,
			   double *unit)
{
	*unit = 1;
	if (scale != QS_SCALE_LOG)
	{
		double		sum = 0;

		for (int t = 0; t < count; t++)
			sum += values[t];
		*unit = sum / count;
	}
	for (int t = 0; t < count; t++)
	{
		if (scale == QS_SCALE_LOG)
			x[t] = log(values[t]);
		else if (scale == QS_SCALE_ROOT)
			x[t] = sqrt(values[t] / *unit);
		else
			x[t] = values[t] / *unit;
	}
}

double
qs_scale_invert(QsScale scale, double unit, double x)
{
	if (scale == QS_SCALE_LOG)
		return exp(x);
	if (!(x > 0))
		return 0;
	return scale == QS_SCALE_ROOT ? x * x * unit : x * unit;
}

QsLimits
qs_forecast_limits(const double *x, int count)
{
	double		low = x[0];
	double		high = x[0];
	double		margin;

	for (int t = 1; t < count; t++)
	{
		low = x[t] < low ? x[t] : low;
		high = x[t] > high ? x[t] : high;
	}
	margin = 0.3 * (high - low);
	return (QsLimits)
	{
		low - margin, high + margin, x[count - 1]};
}

/* A recursion may be unstable, and then ends in anything. */
void
qs_forecast_bound(double *z, int ahead, QsLimits limits)
{
	for (int k = 0; k < ahead; k++)
	{
		if (isnan(z[k]))
			z[k] = limits.instead;
		z[k] = z[k] < limits.low ? limits.low : z[k];
		z[k] = z[k] > limits.high ? limits.high : z[k];
	}
}
