/*-------------------------------------------------------------------------
 * test_forecast.c
 *		The planning forecast: its members against an implementation of the
 *		same algorithms in numpy, then what it promises for any series.
 *
 * The series are made by a formula, so that both can make them.
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
#include "core/forecast_bands.h"
#include "core/forecast_parts.h"

/* a plan says only what it wants */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define AHEAD	48

static const QsSeasons hourly = {24, 168};

/* A day and a week, and noise that any language computes alike. */
static double
load_at(int t)
{
	int64_t		i = t;
	double		noise = (double) ((i * 7919 + (i * i % 1013) * 104729) % 1000) /
		1000 - 0.5;

	return 100 * (2 + sin(2 * M_PI * t / 24) + 0.5 * sin(2 * M_PI * t / 168)) *
		(1 + 0.1 * noise);
}

static void
make_load(double *values, int count)
{
	for (int t = 0; t < count; t++)
		values[t] = load_at(t);
}

static bool
agree(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b));
}

static void
assert_agrees(double seen, double expected, const char *what)
{
	if (!agree(seen, expected))
		fail_msg("%s: saw %.12g, expected %.12g", what, seen, expected);
}

/* ---- against the reference ---- */

typedef struct Vector
{
	double		at[3];			/* 1, 24 and 48 hours ahead */
} Vector;

static const int vector_steps[3] = {0, 23, 47};

static const Vector members_of_400[] = {
	{{146.866094235, 119.546124285, 80.3373129625}},
	{{148.767312207, 121.633836471, 81.4914371077}},
	{{146.984301585, 119.629769174, 80.3429020037}},
	{{151.32769319, 118.637662338, 84.5899972511}},
	{{151.430305359, 120.531477413, 85.0943745954}},
	{{151.52053112, 120.574747526, 85.1043805816}},
	{{140.88895508, 117.618134515, 92.8007780403}},
	{{144.540176948, 119.176513542, 80.8495252252}},
	{{148.708766453, 122.044343824, 82.199530723}},
	{{151.347389716, 120.478470984, 85.0639953216}}
};

static const Vector members_of_800[] = {
	{{240.700044211, 271.301435919, 312.646064334}},
	{{241.213588484, 270.421234364, 313.6031659}},
	{{238.383000739, 263.934687653, 309.780632319}},
	{{235.768119177, 258.124280327, 312.232550512}},
	{{236.262710097, 259.299925849, 298.939565148}},
	{{236.204595247, 259.431141593, 299.008176926}},
	{{232.182139571, 251.404451337, 287.375037165}},
	{{240.697477703, 270.534013925, 311.950907568}},
	{{240.880109256, 268.406330203, 311.015111004}},
	{{236.17217431, 259.299208923, 299.064318224}}
};

/* Those of forecast.c's table, in the order of the vectors. */
static bool
ask_member(QsForecastRoom *room, int member, const double *values, int count,
		   double *result)
{
	static const QsAutoregressionPlan plans[10] = {
		[0] = {QS_SCALE_LOG,.harmonics = 6,.many = true},
		[1] = {QS_SCALE_ROOT,.harmonics = 0},
		[2] = {QS_SCALE_LOG,.harmonics = 3,.two_weeks = true},
		[4] = {QS_SCALE_ROOT,.harmonics = 0},
		[5] = {QS_SCALE_LOG,.harmonics = 0},
		[7] = {QS_SCALE_LOG,.harmonics = 3,.many = true,.further_days = true},
		[8] = {QS_SCALE_LINEAR,.harmonics = 6,.many = true},
		[9] = {QS_SCALE_LINEAR,.harmonics = 0}
	};

	switch (member)
	{
		case 3:
			return qs_forecast_by_differences(room, hourly, values, count,
											  AHEAD, result);
		case 4:
		case 5:
		case 9:
			return qs_forecast_by_smoothing(room, hourly, plans[member].scale,
											values, count, AHEAD, result);
		case 6:
			return qs_forecast_by_analogy(room, hourly, values, count, AHEAD,
										  result);
		default:
			return qs_forecast_by_autoregression(room, hourly, &plans[member],
												 values, count, AHEAD, result);
	}
}

static void
check_members(int count, const Vector *expected)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	QsForecastRoom room;
	double		values[800];
	double		result[AHEAD];
	char		what[64];

	make_load(values, count);
	assert_true(qs_forecast_room_make(&room, arena, hourly, count, AHEAD));
	for (int member = 0; member < 10; member++)
	{
		assert_true(ask_member(&room, member, values, count, result));
		for (int i = 0; i < 3; i++)
		{
			snprintf(what, sizeof(what), "member %d of %d values, %d h ahead",
					 member, count, vector_steps[i] + 1);
			assert_agrees(result[vector_steps[i]], expected[member].at[i],
						  what);
		}
	}
	qs_arena_free(arena);
}

static void
members_agree_with_the_reference(void **state)
{
	check_members(400, members_of_400);
	check_members(800, members_of_800);
}

/* With four weeks and more the bands are stretched as in the reference. */
#define BANDS_COUNT	800
static const QsForecastPoint band_points[3] = {
	{236.262710097, 224.834796446, 249.586734184, 219.299940383, 254.707360037},
	{259.431141593, 246.502887145, 274.175679316, 240.674445366, 280.023277932},
	{309.780632319, 294.826148787, 327.621122747, 288.588909915, 334.562268324}
};

static void
bands_agree_with_the_reference(void **state)
{
	static const QsAutoregressionPlan plan = {QS_SCALE_LOG,.harmonics = 6,
	.many = true};
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	QsForecastPoint points[AHEAD];
	QsForecastRoom room;
	QsAutoregression model;
	bool		enough;
	double		values[800];
	double		mean = 0;
	int			count = BANDS_COUNT;

	make_load(values, count);
	assert_true(qs_forecast_room_make(&room, arena, hourly, count, AHEAD));
	for (int t = 0; t < count; t++)
		mean += log(values[t]) / count;
	for (int t = 0; t < count; t++)
		room.x[t] = log(values[t]) - mean;
	for (int k = 0; k < AHEAD; k++)
		points[k].mean = 1;
	for (int i = 0; i < 3; i++)
		points[vector_steps[i]].mean = band_points[i].mean;
	qs_autoregression_fit(&room, hourly, &plan, room.x, count, &model);
	assert_true(qs_forecast_bands_of_model(&model, hourly, room.x, count,
										   AHEAD, arena, points, &enough));
	assert_true(enough);
	for (int i = 0; i < 3; i++)
	{
		const QsForecastPoint *point = &points[vector_steps[i]];

		assert_agrees(point->lower80, band_points[i].lower80, "lower80");
		assert_agrees(point->upper80, band_points[i].upper80, "upper80");
		assert_agrees(point->lower95, band_points[i].lower95, "lower95");
		assert_agrees(point->upper95, band_points[i].upper95, "upper95");
	}
	qs_arena_free(arena);
}

/* The noise is a tenth, so that all of these are gross. */
static void
cleaning_agrees_with_the_reference(void **state)
{
	static const struct
	{
		int			at;
		double		expected;
	}			cleaned[] = {
		{50, 303.64446228}, {120, 150.492591579}, {121, 170.930342704},
		{200, 358.553462285}, {210, 127.462893393}, {216, 238.652250523},
		{221, 325.668058578}, {300, 618.566740517}
	};
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	double		values[400];
	int			missing;
	int			replaced;

	make_load(values, 400);
	values[50] *= 10;
	values[120] *= 0.1;
	values[121] *= 0.1;
	for (int t = 300; t < 305; t++)
		values[t] *= 4;			/* five in a row: a new level, which stays */
	values[200] = NAN;
	for (int t = 210; t < 222; t++)
		values[t] = NAN;
	assert_true(qs_forecast_clean(arena, hourly, values, 400, &missing,
								  &replaced));
	for (size_t i = 0; i < sizeof(cleaned) / sizeof(cleaned[0]); i++)
		assert_agrees(values[cleaned[i].at], cleaned[i].expected, "cleaned");
	assert_int_equal(missing, 13);
	assert_int_equal(replaced, 3);
	qs_arena_free(arena);
}

static void
medians_and_quantiles_are_those_of_the_reference(void **state)
{
	double		values[50];

	for (int k = 0; k < 50; k++)
		values[k] = k * 37 % 101;
	assert_agrees(qs_median(values, 50), 49.5, "even");
	for (int k = 0; k < 50; k++)
		values[k] = k * 37 % 101;
	assert_agrees(qs_median(values, 49), 49, "odd");
	for (int k = 0; k < 50; k++)
		values[k] = k * 37 % 101;
	qs_sort(values, 50);
	assert_agrees(qs_quantile_of_sorted(values, 50, 0.1), 9.9, "tenth");
	assert_agrees(qs_quantile_of_sorted(values, 50, 0.975), 96.775, "0.975");
	assert_agrees(qs_middle_mean((double[]) {5, 1, 3}, (double[]) {1, 1, 3}, 3),
				  3, "middle of what weighs unevenly");
	assert_agrees(qs_middle_mean((double[]) {4, 1, 2, 9},
								 (double[]) {1, 1, 1, 1}, 4), 3, "middle");
}

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
	for (int count = 0; count <= 400; count += count < 60 ? 1 : 13)
		check_promises_for(values, count, 24, AHEAD);
	for (int count = 0; count <= 400; count += 57)
		check_promises_for(values, count, 12, 84);
	check_promises_for(values, 420, 96, 1);
	check_promises_for(values, 420, 96, 7 * 96);
}

static void
any_content_gives_a_forecast(void **state)
{
	static const double strange[] = {0, -1, NAN, INFINITY, -INFINITY, 1e-320,
	DBL_MIN, 1e-9, 1, 1e9, DBL_MAX};
	double		values[300];
	uint64_t	random = 1181783497276652981;

	for (int round = 0; round < 12; round++)
	{
		int			kinds = 1 + round % 11;

		for (int t = 0; t < 300; t++)
			values[t] = strange[(next_random(&random) + (uint64_t) round) %
								(uint64_t) kinds];
		check_promises_for(values, 300, 24, AHEAD);
		check_promises_for(values, 40, 24, AHEAD);
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

static void
another_unit_of_the_load_changes_nothing_else(void **state)
{
	static const double factors[] = {1024, 1.0 / 65536, 3.7, 1e-7, 1e12};
	QsArena    *arena = qs_arena_new(4 * QS_FORECAST_ARENA_BYTES);
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
		}
	}
	qs_arena_free(arena);
}

static void
a_steady_load_stays(void **state)
{
	QsArena    *arena = qs_arena_new(QS_FORECAST_ARENA_BYTES);
	double		values[400];
	QsForecast	forecast;
	QsError		error;

	for (int count = 1; count <= 400; count += 133)
	{
		for (int t = 0; t < 400; t++)
			values[t] = 42;
		qs_arena_reset(arena);
		assert_true(qs_forecast(&(QsForecastSeries) {values, count, 24}, AHEAD,
								arena, NULL, &forecast, &error));
		for (int k = 0; k < AHEAD; k++)
		{
			if (fabs(forecast.points[k].mean - 42) > 1e-3)
				fail_msg("%d values, step %d: %g", count, k + 1,
						 forecast.points[k].mean);
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
		cmocka_unit_test(members_agree_with_the_reference),
		cmocka_unit_test(bands_agree_with_the_reference),
		cmocka_unit_test(cleaning_agrees_with_the_reference),
		cmocka_unit_test(medians_and_quantiles_are_those_of_the_reference),
		cmocka_unit_test(any_length_gives_a_forecast),
		cmocka_unit_test(any_content_gives_a_forecast),
		cmocka_unit_test(more_history_allows_more),
		cmocka_unit_test(a_regular_load_is_forecast_within_its_noise),
		cmocka_unit_test(gross_outliers_and_gaps_change_little),
		cmocka_unit_test(another_unit_of_the_load_changes_nothing_else),
		cmocka_unit_test(a_steady_load_stays),
		cmocka_unit_test(no_load_at_all_stays_none),
		cmocka_unit_test(a_cancelled_forecast_says_so),
		cmocka_unit_test(a_small_arena_is_an_error),
		cmocka_unit_test(the_largest_forecast_fits_the_arena),
		cmocka_unit_test(what_is_out_of_bounds_is_refused)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
