/*-------------------------------------------------------------------------
 * test_forecast.c
 *		What the planning forecast promises for any series and any caller.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/forecast.h"
#include "forecast_loads.h"

/* ---- for any series ---- */

static QsForecastMethod
check_promises_for(const double *values, int count, int day, int horizon)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	QsForecastSeries series = {values, count, day};
	QsForecastMethod method;
	QsForecast	forecast;
	QsError		error;

	if (!qs_forecast(&series, horizon, arena, NULL, &forecast, &error))
		fail_msg("%d values, %d a day: %s", count, day, error.message);
	for (int k = 0; k < horizon; k++)
	{
		QsForecastPoint *p = &forecast.points[k];

		if (!(p->lower95 >= 0 && p->lower95 <= p->lower80 &&
			  p->lower80 <= p->mean && p->mean <= p->upper80 &&
			  p->upper80 <= p->upper95 && p->upper95 <= DBL_MAX))
			fail_msg("%d values, %d a day, step %d: %g %g %g %g %g", count,
					 day, k + 1, p->lower95, p->lower80, p->mean, p->upper80,
					 p->upper95);
	}
	method = forecast.method;
	qs_arena_free(arena);
	return method;
}

/* xorshift: the same numbers in each run */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void
any_length_gives_a_forecast(void **state)
{
	double		values[420];
	uint64_t	random = 88172645463325252;

	for (int t = 0; t < 420; t++)
		values[t] = (double) (next_random(&random) % 1000);
	for (int count = 0; count <= 400; count += count < 60 ? 1 : 5)
		check_promises_for(values, count, 24, AHEAD);
	for (int count = 0; count <= 400; count += 57)
	{
		check_promises_for(values, count, 12, 84);
		check_promises_for(values, count, 48, 96);
		check_promises_for(values, count, 95, 3);
	}
	check_promises_for(values, 420, 96, 1);
	check_promises_for(values, 420, 96, 7 * 96);
}

/* Lengths at which a rung, a member or a lag begins, for days of any size. */
static void
any_size_of_a_day_gives_a_forecast(void **state)
{
	static const int days[] = {2, 3, 7, 8, 10, 12, 14, 15, 21, 42};
	static double values[43 * QS_FORECAST_MAX_STEPS_PER_DAY];
	uint64_t	random = 2463534242;

	for (size_t t = 0; t < sizeof(values) / sizeof(values[0]); t++)
		values[t] = (double) (next_random(&random) % 1000);
	for (int day = QS_FORECAST_MIN_STEPS_PER_DAY; day <= 48; day += 9)
	{
		for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++)
		{
			for (int more = -1; more <= 1; more++)
				check_promises_for(values, days[i] * day + more, day,
								   more == 0 ? 7 * day : 1);
		}
	}
}

static void
any_content_gives_a_forecast(void **state)
{
	static const double strange[] = {0, -1, NAN, INFINITY, -INFINITY, 1e-320,
	DBL_MIN, 1e-300, 1e-9, 1, 1e9, 1e300, DBL_MAX};
	static const int lengths[] = {3, 40, 100, 300};
	int			all = sizeof(strange) / sizeof(strange[0]);
	double		values[300];
	uint64_t	random = 1181783497276652981;

	for (int round = 0; round < 2 * all; round++)
	{
		int			kinds = 1 + round % all;

		for (int t = 0; t < 300; t++)
			values[t] = strange[(next_random(&random) + (uint64_t) round) %
								(uint64_t) kinds];
		for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
			check_promises_for(values, lengths[i], 24, AHEAD);
	}
}

/* A regular load in any unit, of which any share is not known. */
static void
any_share_of_a_load_may_be_unknown(void **state)
{
	static const double units[] = {1e-300, 1e-9, 1, 1e9, 1e300};
	double		values[500];
	uint64_t	random = 362436069;

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
	{
		for (int known = 0; known <= 100; known += 20)
		{
			for (int t = 0; t < 500; t++)
				values[t] = (int) (next_random(&random) % 100) < known ?
					load_at(t) * units[i] : NAN;
			check_promises_for(values, 500, 24, AHEAD);
		}
	}
}

/* One value among zeros, a jump at the very end, an end in nothing. */
static void
any_break_in_a_load_gives_a_forecast(void **state)
{
	double		values[500];

	for (int at = 0; at < 500; at += 71)
	{
		for (int t = 0; t < 500; t++)
			values[t] = t == at ? 1e6 : 0;
		check_promises_for(values, 500, 24, AHEAD);
		for (int t = 0; t < 500; t++)
			values[t] = t >= at ? 1e12 : 1e-12;
		check_promises_for(values, 500, 24, AHEAD);
		make_load(values, 500);
		for (int t = at; t < 500; t++)
			values[t] = 0;
		check_promises_for(values, 500, 24, AHEAD);
	}
}

static void
more_history_allows_more(void **state)
{
	double		values[800];

	make_load(values, 800);
	assert_int_equal(check_promises_for(values, 0, 24, 48), QS_FORECAST_NONE);
	assert_int_equal(check_promises_for(values, 2, 24, 48),
					 QS_FORECAST_LAST_VALUE);
	assert_int_equal(check_promises_for(values, 3, 24, 48),
					 QS_FORECAST_YESTERDAY);
	assert_int_equal(check_promises_for(values, 48, 24, 48),
					 QS_FORECAST_DAILY);
	assert_int_equal(check_promises_for(values, 240, 24, 48),
					 QS_FORECAST_WEEKLY);
}

/* The mean of |forecast - truth| as a share of the truth. */
static double
error_of(const double *values, int count, int replaced_expected)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	QsForecastSeries series = {values, count, 24};
	QsForecast	forecast;
	QsError		error;
	double		sum = 0;

	assert_true(qs_forecast(&series, AHEAD, arena, NULL, &forecast, &error));
	if (replaced_expected >= 0)
		assert_int_equal(forecast.replaced, replaced_expected);
	for (int k = 0; k < AHEAD; k++)
		sum += fabs(forecast.points[k].mean - load_at(count + k)) /
			load_at(count + k);
	qs_arena_free(arena);
	return sum / AHEAD;
}

static void
a_regular_load_is_forecast_within_its_noise(void **state)
{
	double		values[800];
	double		e;

	make_load(values, 800);
	e = error_of(values, 800, 0);
	if (e > 0.06)
		fail_msg("mean error %.3f", e);
}

static void
gross_outliers_and_gaps_change_little(void **state)
{
	double		values[800];
	double		e;

	make_load(values, 800);
	for (int t = 37; t < 800; t += 151)
		values[t] *= t % 2 == 0 ? 0.1 : 10;
	e = error_of(values, 800, 6);
	if (e > 0.07)
		fail_msg("mean error with outliers %.3f", e);
	for (int t = 700; t < 712; t++)
		values[t] = NAN;
	e = error_of(values, 800, 6);
	if (e > 0.07)
		fail_msg("mean error with a gap %.3f", e);
}

/* Six times the load every fifth night, which no day around has. */
static void
a_job_that_runs_now_and_then_is_no_outlier(void **state)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	double		values[800];
	QsForecast	forecast;
	QsError		error;

	make_load(values, 800);
	for (int t = 3; t < 800; t += 120)
		values[t] *= 6;
	values[400] *= 6;			/* and one that does not come back */
	assert_true(qs_forecast(&(QsForecastSeries) {values, 800, 24}, AHEAD,
							arena, NULL, &forecast, &error));
	assert_int_equal(forecast.replaced, 1);
	qs_arena_free(arena);
}

static void
another_unit_of_the_load_changes_nothing_else(void **state)
{
	static const double factors[] = {1024, 1.0 / 65536, 3.7, 1e-7, 1e12,
	1e-290, 1e290};
	QsArena    *arena = qs_arena_new(8 * QS_FORECAST_ARENA_BYTES);
	double		values[500];
	double		scaled[500];
	QsForecast	one;
	QsForecast	other;
	QsError		error;

	make_load(values, 500);
	assert_true(qs_forecast(&(QsForecastSeries) {values, 500, 24}, AHEAD,
							arena, NULL, &one, &error));
	for (size_t i = 0; i < sizeof(factors) / sizeof(factors[0]); i++)
	{
		for (int t = 0; t < 500; t++)
			scaled[t] = values[t] * factors[i];
		assert_true(qs_forecast(&(QsForecastSeries) {scaled, 500, 24}, AHEAD,
								arena, NULL, &other, &error));
		for (int k = 0; k < AHEAD; k++)
		{
			assert_agrees(other.points[k].mean / factors[i],
						  one.points[k].mean, "mean");
			assert_agrees(other.points[k].upper95 / factors[i],
						  one.points[k].upper95, "upper95");
			assert_agrees(other.points[k].lower80 / factors[i],
						  one.points[k].lower80, "lower80");
			/* powers of two do not even round */
			if (i < 2)
				assert_true(other.points[k].mean / factors[i] ==
							one.points[k].mean);
		}
	}
	qs_arena_free(arena);
}

/* Bit by bit, and whatever was forecast in the arena before. */
static void
the_same_series_gives_the_same_forecast(void **state)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	QsForecastPoint first[AHEAD];
	double		values[500];
	QsForecast	forecast;
	QsError		error;

	for (int round = 0; round < 3; round++)
	{
		for (int t = 0; t < 500; t++)
			values[t] = round == 1 ? 1e6 / (t + 1) : load_at(t);
		qs_arena_reset(arena);
		assert_true(qs_forecast(&(QsForecastSeries) {values, 500, 24}, AHEAD,
								arena, NULL, &forecast, &error));
		if (round == 0)
			memcpy(first, forecast.points, sizeof(first));
	}
	assert_memory_equal(first, forecast.points, sizeof(first));
	qs_arena_free(arena);
}

/* Nothing older than six weeks is looked at. */
static void
what_is_too_old_changes_nothing(void **state)
{
	int			most = QS_FORECAST_HISTORY_DAYS * 24;
	QsArena    *arena = qs_arena_new(2 * QS_FORECAST_ARENA_BYTES);
	double		values[QS_FORECAST_HISTORY_DAYS * 24 + 100];
	QsForecast	shorter;
	QsForecast	longer;
	QsError		error;

	make_load(values, most + 100);
	for (int t = 0; t < 100; t++)
		values[t] = 1e9;
	assert_true(qs_forecast(&(QsForecastSeries) {values + 100, most, 24},
							AHEAD, arena, NULL, &shorter, &error));
	assert_true(qs_forecast(&(QsForecastSeries) {values, most + 100, 24},
							AHEAD, arena, NULL, &longer, &error));
	assert_memory_equal(shorter.points, longer.points,
						sizeof(QsForecastPoint) * AHEAD);
	qs_arena_free(arena);
}

static void
a_steady_load_stays(void **state)
{
	static const double loads[] = {1e-300, 0.007, 42, 1e300};
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	double		values[400];
	QsForecast	forecast;
	QsError		error;

	for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
	{
		for (int t = 0; t < 400; t++)
			values[t] = loads[i];
		for (int count = 1; count <= 400; count += 57)
		{
			qs_arena_reset(arena);
			assert_true(qs_forecast(&(QsForecastSeries) {values, count, 24},
									AHEAD, arena, NULL, &forecast, &error));
			for (int k = 0; k < AHEAD; k++)
			{
				if (fabs(forecast.points[k].mean / loads[i] - 1) > 1e-4)
					fail_msg("%d times %g, step %d: %g", count, loads[i],
							 k + 1, forecast.points[k].mean);
			}
		}
	}
	qs_arena_free(arena);
}

static void
no_load_at_all_stays_none(void **state)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	double		values[300] = {0};
	QsForecast	forecast;
	QsError		error;

	assert_true(qs_forecast(&(QsForecastSeries) {values, 300, 24}, AHEAD,
							arena, NULL, &forecast, &error));
	assert_int_equal(forecast.method, QS_FORECAST_WEEKLY);
	for (int k = 0; k < AHEAD; k++)
		assert_true(forecast.points[k].upper95 == 0);
	qs_arena_free(arena);
}

/* ---- the caller's limits ---- */

static bool
third_time(void *context)
{
	return ++*(int *) context >= 3;
}

static void
a_cancelled_forecast_says_so(void **state)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	double		values[800];
	int			asked = 0;
	QsCancel	cancel = {third_time, &asked};
	QsForecast	forecast;
	QsError		error;

	make_load(values, 800);
	assert_false(qs_forecast(&(QsForecastSeries) {values, 800, 24}, AHEAD,
							 arena, &cancel, &forecast, &error));
	assert_string_equal(error.code, "cancelled");
	assert_int_equal(asked, 3);
	qs_arena_free(arena);
}

/* Whatever the limit is: a forecast or a refusal, never a crash. */
static void
a_small_arena_is_an_error(void **state)
{
	double		values[300];
	int			given = 0;

	make_load(values, 300);
	for (size_t limit = 0; limit < 2000000; limit = limit * 5 / 4 + 100)
	{
		QsArena    *arena = qs_arena_new(limit);
		QsForecast	forecast;
		QsError		error;

		if (qs_forecast(&(QsForecastSeries) {values, 300, 24}, AHEAD, arena,
						NULL, &forecast, &error))
			given++;
		else
			assert_string_equal(error.code, "memory");
		qs_arena_free(arena);
	}
	assert_true(given > 0);
}

static void
the_largest_forecast_fits_the_arena(void **state)
{
	static double values[5000];

	make_load(values, 5000);
	assert_int_equal(check_promises_for(values, 5000,
										QS_FORECAST_MAX_STEPS_PER_DAY,
										QS_FORECAST_MAX_DAYS_AHEAD *
											QS_FORECAST_MAX_STEPS_PER_DAY),
					 QS_FORECAST_WEEKLY);
}

static void
what_is_out_of_bounds_is_refused(void **state)
{
	static const struct
	{
		int			count;
		int			day;
		int			horizon;
	}			refused[] = {
		{-1, 24, 48}, {10, 11, 48}, {10, 97, 48}, {10, 24, 0}, {10, 24, -5},
		{10, 24, 7 * 24 + 1}, {10, 0, 1}, {10, -24, 48}
	};
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	double		values[10] = {0};
	QsForecast	forecast;
	QsError		error;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		QsForecastSeries series = {values, refused[i].count, refused[i].day};

		assert_false(qs_forecast(&series, refused[i].horizon, arena, NULL,
								 &forecast, &error));
		assert_int_equal(error.class, QS_ERROR_TERMINAL);
	}
	qs_arena_free(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_length_gives_a_forecast),
		cmocka_unit_test(any_size_of_a_day_gives_a_forecast),
		cmocka_unit_test(any_content_gives_a_forecast),
		cmocka_unit_test(any_share_of_a_load_may_be_unknown),
		cmocka_unit_test(any_break_in_a_load_gives_a_forecast),
		cmocka_unit_test(more_history_allows_more),
		cmocka_unit_test(a_regular_load_is_forecast_within_its_noise),
		cmocka_unit_test(gross_outliers_and_gaps_change_little),
		cmocka_unit_test(a_job_that_runs_now_and_then_is_no_outlier),
		cmocka_unit_test(another_unit_of_the_load_changes_nothing_else),
		cmocka_unit_test(the_same_series_gives_the_same_forecast),
		cmocka_unit_test(what_is_too_old_changes_nothing),
		cmocka_unit_test(a_steady_load_stays),
		cmocka_unit_test(no_load_at_all_stays_none),
		cmocka_unit_test(a_cancelled_forecast_says_so),
		cmocka_unit_test(a_small_arena_is_an_error),
		cmocka_unit_test(the_largest_forecast_fits_the_arena),
		cmocka_unit_test(what_is_out_of_bounds_is_refused)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
