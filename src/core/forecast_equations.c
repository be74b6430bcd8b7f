/*-------------------------------------------------------------------------
 * forecast_equations.c
 *		Linear equations, as they come out of a ridge regression: Cholesky's
 *		way.
 *-------------------------------------------------------------------------
 */
#include "core/forecast_parts.h"

#include <math.h>

void
qs_solve(double matrix[][QS_FORECAST_MAX_COLUMNS], const double *right, int size,
	  double *solution)
{
	double		y[QS_FORECAST_MAX_COLUMNS];

	for (int i = 0; i < size; i++)
	{
		double		sum;

		for (int j = 0; j < i; j++)
		{
			sum = matrix[i][j];
			for (int k = 0; k < j; k++)
				sum -= matrix[i][k] * matrix[j][k];
			matrix[i][j] = sum / matrix[j][j];
		}
		sum = matrix[i][i];
		for (int k = 0; k < i; k++)
			sum -= matrix[i][k] * matrix[i][k];
		matrix[i][i] = sqrt(sum > 1e-300 ? sum : 1e-300);
	}
	for (int i = 0; i < size; i++)
	{
		double		sum = right[i];

		for (int k = 0; k < i; k++)
			sum -= matrix[i][k] * y[k];
		y[i] = sum / matrix[i][i];
	}
	for (int i = size - 1; i >= 0; i--)
	{
		double		sum = y[i];

		for (int k = i + 1; k < size; k++)
			sum -= matrix[k][i] * solution[k];
		solution[i] = sum / matrix[i][i];
	}
}
