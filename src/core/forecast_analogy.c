/*-------------------------------------------------------------------------
 * forecast_analogy.c
 *		What followed when two days looked like the last two days do.
 *
 * The six stretches of history that start at the same hour and are most like
 * the newest one, each moved to today's level, weighted by likeness.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>

#define NEIGHBOURS	6

typedef struct Neighbour
{
	int			start;
	double		distance;
	double		shift;			/* from its level to ours */
} Neighbour;

static Neighbour
compare(const double *newest, const double *other, int length, int start)
{
	Neighbour	neighbour = {.start = start};

	for (int t = 0; t < length; t++)
		neighbour.shift += newest[t] - other[t];
	neighbour.shift /= length;
	for (int t = 0; t < length; t++)
		neighbour.distance += fabs(newest[t] - other[t] - neighbour.shift);
	neighbour.distance /= length;
	return neighbour;
}

/* Keeps the nearest, nearest first; of equals the older one. */
static int
keep(Neighbour *neighbours, int count, Neighbour next)
{
	int			place = count;

	while (place > 0 && (neighbours[place - 1].distance > next.distance ||
						 (neighbours[place - 1].distance == next.distance &&
						  neighbours[place - 1].start > next.start)))
		place--;
	if (place == NEIGHBOURS)
		return count;
	if (count < NEIGHBOURS)
		count++;
	for (int i = count - 1; i > place; i--)
		neighbours[i] = neighbours[i - 1];
	neighbours[place] = next;
	return count;
}

bool
qs_forecast_by_analogy(QsForecastRoom *room, QsSeasons seasons,
					   const double *values, int count, int ahead,
					   double *result)
{
	int			length = 2 * seasons.day;
	double	   *x = room->x;
	double	   *z = room->z;
	Neighbour	neighbours[NEIGHBOURS];
	int			found = 0;
	double		total = 0;
	double		unit;

	qs_scale_apply(QS_SCALE_LOG, values, count, x, &unit);
	for (int start = count - length; start > 0; start -= seasons.day)
	{
		if (start <= count - length - ahead)
			found = keep(neighbours, found,
						 compare(x + count - length, x + start, length,
								 start));
	}
	if (found == 0)
		return false;
	for (int i = 0; i < found; i++)
		total += 1 / (neighbours[i].distance + 1e-9);
	for (int k = 0; k < ahead; k++)
	{
		z[k] = 0;
		for (int i = 0; i < found; i++)
		{
			const Neighbour *neighbour = &neighbours[i];

			z[k] += 1 / (neighbour->distance + 1e-9) / total *
				(x[neighbour->start + length + k] + neighbour->shift);
		}
		result[k] = qs_scale_invert(QS_SCALE_LOG, unit, z[k]);
	}
	return true;
}
