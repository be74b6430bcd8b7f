/*-------------------------------------------------------------------------
 * order_statistics.c
 *		Medians, quantiles and middles for the planning forecast.
 *
 * NaN must have been taken out before: it has no place in an order.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <stdlib.h>

static int
compare(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

void
qs_sort(double *values, int count)
{
	if (count > 1)
		qsort(values, (size_t) count, sizeof(double), compare);
}

/*
 * Puts the value that belongs at "rank" there, smaller ones before it and
 * larger ones behind it (Hoare's selection; the middle one of three as pivot
 * keeps sorted input from being the worst case).
 */
static double
select_rank(double *values, int count, int rank)
{
	int			low = 0;
	int			high = count - 1;

	while (low < high)
	{
		double		a = values[low];
		double		b = values[low + (high - low) / 2];
		double		c = values[high];
		double		pivot = a < b ? (b < c ? b : (a < c ? c : a))
			: (a < c ? a : (b < c ? c : b));
		int			i = low;
		int			j = high;

		while (i <= j)
		{
			while (values[i] < pivot)
				i++;
			while (values[j] > pivot)
				j--;
			if (i <= j)
			{
				double		swap = values[i];

				values[i++] = values[j];
				values[j--] = swap;
			}
		}
		if (rank <= j)
			high = j;
		else if (rank >= i)
			low = i;
		else
			break;
	}
	return values[rank];
}

double
qs_median(double *values, int count)
{
	double		upper;
	double		lower;

	if (count <= 0)
		return 0;
	upper = select_rank(values, count, count / 2);
	if (count % 2 == 1)
		return upper;
	lower = values[0];
	for (int i = 1; i < count / 2; i++)
	{
		if (values[i] > lower)
			lower = values[i];
	}
	return lower + (upper - lower) / 2;
}

double
qs_quantile_of_sorted(const double *sorted, int count, double share)
{
	double		position;
	int			below;

	if (count <= 0)
		return 0;
	if (!(share > 0))
		return sorted[0];
	if (share >= 1)
		return sorted[count - 1];
	position = share * (count - 1);
	below = (int) position;
	if (below >= count - 1)
		return sorted[count - 1];
	return sorted[below] +
		(position - below) * (sorted[below + 1] - sorted[below]);
}

/*
 * A median that does not jump from one value to the next: the mean of what lies
 * between the quartiles.
 */
double
qs_middle_mean(const double *values, const double *weights, int count)
{
	int			order[QS_FORECAST_MAX_MEMBERS];
	double		total = 0;
	double		below = 0;
	double		sum = 0;

	for (int i = 0; i < count; i++)
	{
		int			j = i;

		total += weights[i];
		for (; j > 0 && values[order[j - 1]] > values[i]; j--)
			order[j] = order[j - 1];
		order[j] = i;
	}
	for (int i = 0; i < count; i++)
	{
		double		above = below + weights[order[i]];
		double		from = below > 0.25 * total ? below : 0.25 * total;
		double		to = above < 0.75 * total ? above : 0.75 * total;

		if (to > from)
			sum += (to - from) * values[order[i]];
		below = above;
	}
	return total > 0 ? sum / (0.5 * total) : 0;
}
