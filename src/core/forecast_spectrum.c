/*-------------------------------------------------------------------------
 * forecast_spectrum.c
 *		The load as what its last two and a half days make likely.
 *
 * An autoregression on all lags up to 2.5 days, by the method of Burg (1975,
 * "maximum entropy"): one reflection after the other, each such that errors
 * forward and backward in time become least.  Its recursion never runs away;
 * where nothing can be foreseen it goes back to the mean.  That is what the
 * regressions lack for loads that are not regular.
 *
 * It sees no week.  Where one is wanted, the mean week is taken off before.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>
#include <string.h>

#include "core/forecast.h"

#define HALF_DAYS		5		/* that are looked back */
#define MOST_LAGS		(HALF_DAYS * QS_FORECAST_MAX_STEPS_PER_DAY / 2)
/* Of the power at the start; with less left there is no more to learn. */
#define NOTHING			1e-12

typedef double Lanes __attribute__((vector_size(32), aligned(8), may_alias));

#define LANES	4

QS_WIDE static double
dot_product(const double *a, const double *b, int count)
{
	Lanes		sums = {0, 0, 0, 0};
	double		sum;
	int			whole = count - count % LANES;

	for (int t = 0; t < whole; t += LANES)
		sums += *(const Lanes *) (a + t) * *(const Lanes *) (b + t);
	sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
	for (int t = whole; t < count; t++)
		sum += a[t] * b[t];
	return sum;
}

/* Takes from each error what the opposite one explains. */
QS_WIDE static void
reflect(double *forward, double *backward, int count, double share)
{
	for (int t = 0; t < count; t++)
	{
		double		f = forward[t];

		forward[t] = f - share * backward[t];
		backward[t] -= share * f;
	}
}

/*
 * Coefficients of lags 1, 2, ... of z, which has no mean; how many is
 * returned.  forward and backward are room for count values each.
 */
static int
learn(const double *z, int count, int most, double *forward,
	  double *backward, double *coefficients)
{
	double		start;
	double		power;
	int			n;

	memcpy(forward, z, (size_t) count * sizeof(double));
	memcpy(backward, z, (size_t) count * sizeof(double));
	start = power = 2 * dot_product(z, z, count);
	for (n = 0; n < most; n++)
	{
		/* the error forward at t goes with that backward at t - 1 */
		double	   *f = forward + n + 1;
		double	   *b = backward;
		int			pairs = count - n - 1;
		double		share;

		power -= f[-1] * f[-1] + b[pairs] * b[pairs];
		if (!(power > NOTHING * start))
			break;
		share = 2 * dot_product(f, b, pairs) / power;
		for (int i = 0; i < (n + 1) / 2; i++)
		{
			double		one = coefficients[i];
			double		other = coefficients[n - 1 - i];

			coefficients[i] = one - share * other;
			coefficients[n - 1 - i] = other - share * one;
		}
		coefficients[n] = share;
		reflect(f, b, pairs, share);
		power *= 1 - share * share;
	}
	return n;
}

/* The mean of each step of the week. */
static void
mean_week(const double *x, int count, int week, double *result)
{
	for (int step = 0; step < week; step++)
	{
		int			n = 0;

		result[step] = 0;
		for (int t = step; t < count; t += week)
		{
			result[step] += x[t];
			n++;
		}
		result[step] /= n;
	}
}

/* What there is before anything is learned: k steps after the end. */
static double
base(const QsSpectrumPlan *plan, QsSeasons seasons, const double *x, int count,
	 const double *week, int k)
{
	switch (plan->without)
	{
		case QS_WITHOUT_NOTHING:
			break;
		case QS_WITHOUT_YESTERDAY:
			return x[count + k - seasons.day];
		case QS_WITHOUT_WEEK:
			return week[(count + k) % seasons.week];
	}
	return 0;
}

bool
qs_forecast_by_spectrum(QsForecastRoom *room, QsSeasons seasons,
						const QsSpectrumPlan *plan, const double *values,
						int count, int ahead, double *result)
{
	double	   *x = room->x;
	double	   *z = room->z;
	double	   *week = room->smoothing;
	double		coefficients[MOST_LAGS];
	int			first = 0;
	double		mean = 0;
	double		unit;
	int			known;
	int			lags;

	if (plan->without == QS_WITHOUT_YESTERDAY)
		first = seasons.day;
	known = count - first;
	if (count < (plan->without == QS_WITHOUT_WEEK ? 2 * seasons.week :
				 3 * seasons.day))
		return false;
	qs_scale_apply(plan->scale, values, count, x, &unit);
	if (plan->without == QS_WITHOUT_WEEK)
		mean_week(x, count, seasons.week, week);
	for (int t = 0; t < known; t++)
	{
		z[t] = x[first + t] - base(plan, seasons, x, first, week, t);
		mean += z[t];
	}
	/* differences to yesterday have no trend worth going on with */
	mean = plan->without == QS_WITHOUT_YESTERDAY ? 0 : mean / known;
	for (int t = 0; t < known; t++)
		z[t] -= mean;
	lags = HALF_DAYS * seasons.day / 2;
	if (lags > known * 2 / 3)
		lags = known * 2 / 3;
	lags = learn(z, known, lags, room->weighted, room->errors, coefficients);
	for (int k = 0; k < ahead; k++)
	{
		double		sum = 0;

		for (int i = 0; i < lags; i++)
			sum += coefficients[i] * z[known + k - 1 - i];
		z[known + k] = sum;
		x[count + k] = sum + mean + base(plan, seasons, x, count, week, k);
	}
	qs_forecast_bound(x + count, ahead, qs_forecast_limits(x, count));
	for (int k = 0; k < ahead; k++)
		result[k] = qs_scale_invert(plan->scale, unit, x[count + k]);
	return true;
}
