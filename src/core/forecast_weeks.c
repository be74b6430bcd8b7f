/*-------------------------------------------------------------------------
 * forecast_weeks.c
 *		The mean of the last weeks, moved to the level of the last day.
 *
 * The plainest of all, for loads of which nothing but the week is regular.
 * A level above or below that of other weeks is not for long.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>

#define WEEKS			4
#define LEFT_NEXT_DAY	0.7		/* of a level that is not the usual one */

/* Of the weeks that end before step t + 1 of the next one. */
static double
mean_of_weeks(const double *x, int t, int week, int weeks)
{
	double		sum = 0;

	for (int i = 1; i <= weeks; i++)
		sum += x[t - i * week];
	return sum / weeks;
}

bool
qs_forecast_by_weeks(QsForecastRoom *room, QsSeasons seasons,
					 const double *values, int count, int ahead,
					 double *result)
{
	double	   *x = room->x;
	int			weeks = (count - seasons.day) / seasons.week;
	double		level = 0;
	double		unit;

	if (weeks < 1)
		return false;
	if (weeks > WEEKS)
		weeks = WEEKS;
	qs_scale_apply(QS_SCALE_LOG, values, count, x, &unit);
	for (int t = count - seasons.day; t < count; t++)
		level += (x[t] - mean_of_weeks(x, t, seasons.week, weeks)) /
			seasons.day;
	for (int k = 0; k < ahead; k++)
		x[count + k] = mean_of_weeks(x, count + k, seasons.week, weeks) +
			level * pow(LEFT_NEXT_DAY, (double) k / seasons.day);
	qs_forecast_bound(x + count, ahead, qs_forecast_limits(x, count));
	for (int k = 0; k < ahead; k++)
		result[k] = qs_scale_invert(QS_SCALE_LOG, unit, x[count + k]);
	return true;
}
