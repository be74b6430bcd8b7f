/*-------------------------------------------------------------------------
 * predictor_regression.c
 *		What the predictor learns with: least squares that forget, and a
 *		histogram that does.
 *-------------------------------------------------------------------------
 */
#include "core/predictor_parts.h"

#include <math.h>
#include <string.h>

#define LEAST_PIVOT		1e-12
#define LOWEST			(-10.0)	/* of the histogram, in spreads */
#define EXTENT			30.0
#define HEAVIEST		1e12

void
qs_regression_learn(QsRegression *regression, int features, double decay,
					const double *row, double target)
{
	double	   *products = regression->products;

	for (int i = 0; i < features; i++)
	{
		regression->targets[i] = decay * regression->targets[i] +
			row[i] * target;
		for (int j = 0; j <= i; j++)
			products[j] = decay * products[j] + row[i] * row[j];
		products += i + 1;
	}
	regression->learned++;
}

/* lower becomes Cholesky's factor of products + ridge. */
static void
factorize(const QsRegression *regression, int features, const double *ridge,
		  double lower[][QS_MAX_FEATURES])
{
	const double *products = regression->products;

	for (int i = 0; i < features; i++)
	{
		for (int j = 0; j <= i; j++)
		{
			double		sum = products[j] + (i == j ? ridge[i] : 0);

			for (int k = 0; k < j; k++)
				sum -= lower[i][k] * lower[j][k];
			if (i == j)
				lower[i][i] = sqrt(sum > LEAST_PIVOT ? sum : LEAST_PIVOT);
			else
				lower[i][j] = sum / lower[j][j];
		}
		products += i + 1;
	}
}

void
qs_regression_solve(QsRegression *regression, int features,
					const double *ridge)
{
	double		lower[QS_MAX_FEATURES][QS_MAX_FEATURES];
	double		solution[QS_MAX_FEATURES];
	bool		is_finite = true;

	factorize(regression, features, ridge, lower);
	for (int i = 0; i < features; i++)
	{
		double		sum = regression->targets[i];

		for (int k = 0; k < i; k++)
			sum -= lower[i][k] * solution[k];
		solution[i] = sum / lower[i][i];
	}
	for (int i = features - 1; i >= 0; i--)
	{
		double		sum = solution[i];

		for (int k = i + 1; k < features; k++)
			sum -= lower[k][i] * solution[k];
		solution[i] = sum / lower[i][i];
		is_finite &= isfinite(solution[i]);
	}
	if (is_finite)
		memcpy(regression->coefficients, solution,
			   sizeof(double) * (size_t) features);
	else
	{
		memset(regression->products, 0, sizeof(regression->products));
		memset(regression->targets, 0, sizeof(regression->targets));
	}
}

/* Rather than each bin losing a little, the next value weighs a little more. */
void
qs_histogram_add(QsHistogram *histogram, double decay, double value)
{
	double		place = (value - LOWEST) / EXTENT * QS_HISTOGRAM_BINS;
	int			bin = 0;

	if (histogram->weight == 0)
		histogram->weight = 1;
	else
		histogram->weight /= decay;
	if (place >= QS_HISTOGRAM_BINS)
		bin = QS_HISTOGRAM_BINS - 1;
	else if (place > 0)
		bin = (int) place;
	histogram->bins[bin] += histogram->weight;
	histogram->total += histogram->weight;
	if (histogram->weight > HEAVIEST)
	{
		for (int i = 0; i < QS_HISTOGRAM_BINS; i++)
			histogram->bins[i] /= histogram->weight;
		histogram->total /= histogram->weight;
		histogram->weight = 1;
	}
}

double
qs_histogram_count(const QsHistogram *histogram)
{
	return histogram->weight > 0 ? histogram->total / histogram->weight : 0;
}

void
qs_histogram_quantiles(const QsHistogram *histogram, const double *shares,
					   int n, double *quantiles)
{
	double		sum = 0;
	int			found = 0;

	for (int i = 0; i < QS_HISTOGRAM_BINS && found < n; i++)
	{
		double		bin = histogram->bins[i];

		sum += bin;
		while (found < n && sum >= shares[found] * histogram->total)
		{
			double		beyond = bin > 0 ?
				(sum - shares[found] * histogram->total) / bin : 0;

			quantiles[found++] = LOWEST +
				EXTENT * (i + 1 - beyond) / QS_HISTOGRAM_BINS;
		}
	}
	while (found < n)
		quantiles[found++] = LOWEST + EXTENT;
}

double
qs_histogram_quantile(const QsHistogram *histogram, double share)
{
	double		quantile;

	qs_histogram_quantiles(histogram, &share, 1, &quantile);
	return quantile;
}
