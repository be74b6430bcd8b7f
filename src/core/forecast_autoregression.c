/*-------------------------------------------------------------------------
 * forecast_autoregression.c
 *		The load as a weighted sum of what it was a moment, a day, a week ago.
 *
 * A ridge regression on lags and daily harmonics.  Newer values weigh more,
 * and values that fit badly weigh less (two rounds of Huber's weights), so
 * that one bad night does not bend the whole curve.  The forecast is made step
 * by step, each step reading the ones before.
 *
 * Nearly all of the time of a forecast is spent in dot_products() below.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>
#include <string.h>

#define FORGETTING_PER_WEEK		0.2
#define RIDGE					1e-5	/* of the variance, for a lag */
#define RIDGE_OF_HARMONIC		1e-4
#define RIDGE_OF_DIFFERENCE		1e-4
#define ROBUST_ROUNDS			2
#define ROBUST_UNIT				1.4826	/* median of |normal| to its sd */

/* Four at once, as wide as the machine has it; no alignment is assumed. */
typedef double Lanes __attribute__((vector_size(32), aligned(8), may_alias));

#define LANES	4

/* result[i] = a . columns[i], four columns at a time to save loads of a. */
QS_WIDE static void
dot_products(const double *a, const double *const *columns, int column_count,
			 int count, double *result)
{
	int			whole = count - count % LANES;

	for (int c = 0; c < column_count; c += 4)
	{
		int			left = column_count - c;
		const double *p = columns[c];
		const double *q = columns[left > 1 ? c + 1 : c];
		const double *r = columns[left > 2 ? c + 2 : c];
		const double *s = columns[left > 3 ? c + 3 : c];
		Lanes		sp = {0, 0, 0, 0};
		Lanes		sq = sp;
		Lanes		sr = sp;
		Lanes		ss = sp;
		double		sums[4];

		for (int t = 0; t < whole; t += LANES)
		{
			Lanes		at = *(const Lanes *) (a + t);

			sp += at * *(const Lanes *) (p + t);
			sq += at * *(const Lanes *) (q + t);
			sr += at * *(const Lanes *) (r + t);
			ss += at * *(const Lanes *) (s + t);
		}
		sums[0] = (sp[0] + sp[1]) + (sp[2] + sp[3]);
		sums[1] = (sq[0] + sq[1]) + (sq[2] + sq[3]);
		sums[2] = (sr[0] + sr[1]) + (sr[2] + sr[3]);
		sums[3] = (ss[0] + ss[1]) + (ss[2] + ss[3]);
		for (int t = whole; t < count; t++)
		{
			sums[0] += a[t] * p[t];
			sums[1] += a[t] * q[t];
			sums[2] += a[t] * r[t];
			sums[3] += a[t] * s[t];
		}
		for (int i = 0; i < 4 && i < left; i++)
			result[c + i] = sums[i];
	}
}

/* What a regression reads: "rows" values of target and of each column. */
typedef struct Design
{
	const double *target;
	const double *columns[QS_FORECAST_MAX_COLUMNS];
	double		ridge[QS_FORECAST_MAX_COLUMNS];
	int			column_count;
	int			rows;
} Design;

/* room->errors = |target - columns . coefficients| */
QS_WIDE static void
absolute_errors(QsForecastRoom *room, const Design *design,
				const double *coefficients)
{
	double	   *errors = room->errors;

	memcpy(errors, design->target, (size_t) design->rows * sizeof(double));
	for (int c = 0; c < design->column_count; c++)
	{
		const double *column = design->columns[c];
		double		coefficient = coefficients[c];

		for (int t = 0; t < design->rows; t++)
			errors[t] -= coefficient * column[t];
	}
	for (int t = 0; t < design->rows; t++)
		errors[t] = fabs(errors[t]);
}

/* room->base_weights hold the weights of age. */
static void
regress(QsForecastRoom *room, const Design *design, double *coefficients)
{
	double		matrix[QS_FORECAST_MAX_COLUMNS][QS_FORECAST_MAX_COLUMNS];
	double		right[QS_FORECAST_MAX_COLUMNS];
	int			rows = design->rows;
	double	   *weights = room->weights;

	memcpy(weights, room->base_weights, (size_t) rows * sizeof(double));
	for (int round = 0;; round++)
	{
		double		unit;

		for (int c = 0; c < design->column_count; c++)
		{
			for (int t = 0; t < rows; t++)
				room->weighted[t] = weights[t] * design->columns[c][t];
			dot_products(room->weighted, design->columns, c + 1, rows,
						 matrix[c]);
			dot_products(room->weighted, &design->target, 1, rows, &right[c]);
			matrix[c][c] += design->ridge[c];
		}
		qs_solve(matrix, right, design->column_count, coefficients);
		if (round == ROBUST_ROUNDS)
			return;
		absolute_errors(room, design, coefficients);
		memcpy(room->sorting, room->errors, (size_t) rows * sizeof(double));
		unit = qs_median(room->sorting, rows) * ROBUST_UNIT + 1e-9;
		for (int t = 0; t < rows; t++)
		{
			double		error = room->errors[t];

			weights[t] = room->base_weights[t] *
				(error > unit ? unit / error : 1);
		}
	}
}

/* Newest weighs one. */
static void
weigh_by_age(QsForecastRoom *room, QsSeasons seasons, int rows)
{
	double		factor = exp(-FORGETTING_PER_WEEK / seasons.week);
	double		weight = 1;

	for (int t = rows - 1; t >= 0; t--)
	{
		room->base_weights[t] = weight;
		weight *= factor;
	}
}

static double
variance_of(const double *x, int count)
{
	double		mean = 0;
	double		sum = 0;

	for (int t = 0; t < count; t++)
		mean += x[t];
	mean /= count;
	for (int t = 0; t < count; t++)
		sum += (x[t] - mean) * (x[t] - mean);
	return sum / count;
}

/* ---- which lags ---- */

/* Adds a lag, unless history is too short for it or it is there already. */
static int
add_lag(int *lags, int lag_count, int lag, int longest)
{
	if (lag < 1 || lag > longest || lag_count >= QS_FORECAST_MAX_LAGS)
		return lag_count;
	for (int i = 0; i < lag_count; i++)
	{
		if (lags[i] == lag)
			return lag_count;
	}
	lags[lag_count] = lag;
	return lag_count + 1;
}

static int
add_lags(int *lags, int lag_count, int from, int to, int longest)
{
	for (int lag = from; lag <= to; lag++)
		lag_count = add_lag(lags, lag_count, lag, longest);
	return lag_count;
}

/* A lag needs about eight days behind it to be learned from. */
static int
longest_lag(QsSeasons seasons, int count)
{
	return count - 25 * seasons.day / 3;
}

static int
few_lags(int *lags, QsSeasons seasons)
{
	int			n = add_lags(lags, 0, 1, 2, seasons.week);

	return add_lag(lags, n, seasons.day, seasons.week);
}

static int
choose_lags(const QsAutoregressionPlan *plan, QsSeasons seasons, int count,
			int *lags)
{
	int			day = seasons.day;
	int			week = seasons.week;
	int			longest = longest_lag(seasons, count);
	int			n = 0;

	n = add_lags(lags, n, 1, plan->many ? 6 : 4, longest);
	n = add_lags(lags, n, day - 2, day + 2, longest);
	n = add_lags(lags, n, plan->many ? 2 * day - 1 : 2 * day, 2 * day + 1,
				 longest);
	if (plan->further_days)
	{
		n = add_lags(lags, n, 3 * day - 1, 3 * day + 1, longest);
		n = add_lags(lags, n, 6 * day - 1, 6 * day + 1, longest);
	}
	n = add_lags(lags, n, week - 2, week + 2, longest);
	return n > 0 ? n : few_lags(lags, seasons);
}

/* ---- fitting ---- */

static double
harmonic(const QsAutoregression *model, QsSeasons seasons, int number, int step)
{
	double		angle = 2 * M_PI * (number / 2 + 1) *
		(step % seasons.day) / seasons.day;

	return model->harmonic_unit * (number % 2 == 0 ? sin(angle) : cos(angle));
}

double
qs_autoregression_offset(const QsAutoregression *model, QsSeasons seasons,
						 int step)
{
	const double *coefficients = model->coefficients + model->lag_count;
	double		offset = 0;

	for (int i = 0; i < model->harmonics; i++)
		offset += coefficients[i] * harmonic(model, seasons, i, step);
	return offset + coefficients[model->harmonics];
}

static int
largest(const int *lags, int lag_count)
{
	int			result = 0;

	for (int i = 0; i < lag_count; i++)
		result = lags[i] > result ? lags[i] : result;
	return result;
}

/* The columns that are no lags: harmonics and the constant, from "start". */
static int
add_harmonics(QsForecastRoom *room, const QsAutoregression *model,
			  QsSeasons seasons, Design *design, int start)
{
	int			n = design->column_count;

	for (int i = 0; i <= model->harmonics; i++)
	{
		double	   *column = room->columns[i];

		for (int t = 0; t < design->rows; t++)
		{
			if (i == model->harmonics)
				column[t] = 1;
			else if (t < seasons.day)
				column[t] = harmonic(model, seasons, i, start + t);
			else
				column[t] = column[t - seasons.day];
		}
		design->columns[n++] = column;
	}
	return n;
}

void
qs_autoregression_fit(QsForecastRoom *room, QsSeasons seasons,
					  const QsAutoregressionPlan *plan, const double *x,
					  int count, QsAutoregression *model)
{
	double		variance = variance_of(x, count);
	Design		design;
	double		volume;
	int			start;

	model->lag_count = choose_lags(plan, seasons, count, model->lags);
	model->harmonics = 2 * plan->harmonics;
	model->harmonic_unit = sqrt(variance) + 1e-12;
	start = largest(model->lags, model->lag_count);
	design.rows = count - start;
	design.target = x + start;
	design.column_count = model->lag_count;
	for (int i = 0; i < model->lag_count; i++)
		design.columns[i] = x + start - model->lags[i];
	design.column_count = add_harmonics(room, model, seasons, &design, start);
	volume = variance * design.rows + 1e-12;
	for (int i = 0; i < design.column_count; i++)
	{
		double		ridge = i < model->lag_count ? RIDGE : RIDGE_OF_HARMONIC;

		if (i == design.column_count - 1)
			ridge = 0;
		design.ridge[i] = ridge * volume + 1e-9 * volume;
	}
	weigh_by_age(room, seasons, design.rows);
	regress(room, &design, model->coefficients);
}

/* z holds "count" known values and is filled with "ahead" more. */
static void
go_on(const int *lags, int lag_count, const double *coefficients, double *z,
	  int count, int ahead)
{
	for (int t = count; t < count + ahead; t++)
	{
		for (int i = 0; i < lag_count; i++)
			z[t] += coefficients[i] * z[t - lags[i]];
	}
}

bool
qs_forecast_by_autoregression(QsForecastRoom *room, QsSeasons seasons,
							  const QsAutoregressionPlan *plan,
							  const double *values, int count, int ahead,
							  double *result)
{
	double	   *x = room->x;
	double		mean = 0;
	double		unit;
	QsAutoregression model;

	if (count < seasons.day + 3)
		return false;
	qs_scale_apply(plan->scale, values, count, x, &unit);
	for (int t = 0; t < count; t++)
		mean += x[t];
	mean /= count;
	for (int t = 0; t < count; t++)
		x[t] -= mean;
	qs_autoregression_fit(room, seasons, plan, x, count, &model);
	for (int k = 0; k < ahead; k++)
		x[count + k] = qs_autoregression_offset(&model, seasons, count + k);
	go_on(model.lags, model.lag_count, model.coefficients, x, count, ahead);
	qs_forecast_bound(x + count, ahead, qs_forecast_limits(x, count));
	for (int k = 0; k < ahead; k++)
		result[k] = qs_scale_invert(plan->scale, unit, x[count + k] + mean);
	return true;
}

/* ---- on differences to a day or a week ago ---- */

static int
choose_difference_lags(QsSeasons seasons, int apart, int count, int *lags)
{
	int			day = seasons.day;
	int			week = seasons.week;
	int			longest = longest_lag(seasons, count);
	int			n = 0;

	n = add_lags(lags, n, 1, 4, longest);
	n = add_lags(lags, n, day - 1, day + 1, longest);
	n = add_lag(lags, n, 2 * day, longest);
	if (apart == day)
	{
		for (int days = 3; days <= 5; days++)
			n = add_lag(lags, n, days * day, longest);
		n = add_lags(lags, n, 6 * day - 1, 6 * day + 1, longest);
		n = add_lag(lags, n, week, longest);
	}
	else
	{
		n = add_lag(lags, n, 6 * day, longest);
		n = add_lags(lags, n, week, week + 1, longest);
	}
	return n > 0 ? n : add_lags(lags, n, 1, 2, week);
}

bool
qs_forecast_by_differences(QsForecastRoom *room, QsSeasons seasons, int apart,
						   const double *values, int count, int ahead,
						   double *result)
{
	int			known = count - apart;
	double	   *x = room->x;
	double	   *z = room->z;
	int			lags[QS_FORECAST_MAX_LAGS];
	double		coefficients[QS_FORECAST_MAX_COLUMNS];
	double		volume;
	double		unit;
	Design		design;
	int			start;

	if (known < seasons.day)
		return false;
	qs_scale_apply(QS_SCALE_LOG, values, count, x, &unit);
	for (int t = 0; t < known; t++)
		z[t] = x[t + apart] - x[t];
	design.column_count = choose_difference_lags(seasons, apart, known, lags);
	start = largest(lags, design.column_count);
	design.rows = known - start;
	design.target = z + start;
	volume = variance_of(z, known) * design.rows + 1e-12;
	for (int i = 0; i < design.column_count; i++)
	{
		design.columns[i] = z + start - lags[i];
		design.ridge[i] = RIDGE_OF_DIFFERENCE * volume;
	}
	weigh_by_age(room, seasons, design.rows);
	regress(room, &design, coefficients);
	memset(z + known, 0, (size_t) ahead * sizeof(double));
	go_on(lags, design.column_count, coefficients, z, known, ahead);
	for (int k = 0; k < ahead; k++)
		x[count + k] = x[count + k - apart] + z[known + k];
	qs_forecast_bound(x + count, ahead, qs_forecast_limits(x, count));
	for (int k = 0; k < ahead; k++)
		result[k] = qs_scale_invert(QS_SCALE_LOG, unit, x[count + k]);
	return true;
}
