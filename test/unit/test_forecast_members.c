/*-------------------------------------------------------------------------
 * test_forecast_members.c
 *		The parts of the planning forecast against an implementation of the
 *		same algorithms in numpy.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/forecast.h"
#include "core/forecast_bands.h"
#include "core/forecast_parts.h"
#include "forecast_loads.h"

/* a plan says only what it wants */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

static const QsSeasons hourly = {24, 168};

typedef struct Vector
{
	double		at[3];			/* 1, 24 and 48 hours ahead */
} Vector;

static const int vector_steps[3] = {0, 23, 47};

#define MEMBERS	17

static const Vector members_of_400[MEMBERS] = {
	{{146.866094235, 119.546124285, 80.3373129625}},
	{{148.767312207, 121.633836471, 81.4914371077}},
	{{151.32769319, 118.637662338, 84.5899972511}},
	{{151.52053112, 120.574747526, 85.1043805816}},
	{{144.540176948, 119.176513542, 80.8495252252}},
	{{148.708766453, 122.044343824, 82.199530723}},
	{{151.347389716, 120.478470984, 85.0639953216}},
	{{148.766450815, 120.693420349, 83.6760235722}},
	{{151.044532068, 122.69078872, 88.6777755298}},
	{{155.111688549, 159.821758686, 148.956467604}},
	{{145.66866798, 119.338469153, 87.753070292}},
	{{150.419300326, 139.314466647, 118.793744443}},
	{{148.226536951, 125.954397429, 95.7225556487}},
	{{145.257621644, 115.189417291, 83.013737677}},
	{{150.793284818, 121.785456613, 84.1597434558}},
	{{151.852807997, 121.46027172, 82.9143196161}},
	{{151.934387531, 120.73200535, 85.1260725814}}
};

static const Vector members_of_800[MEMBERS] = {
	{{240.700044211, 271.301435919, 312.646064334}},
	{{241.213588484, 270.421234364, 313.6031659}},
	{{235.768119177, 258.124280327, 312.232550512}},
	{{236.204595247, 259.431141593, 299.008176926}},
	{{240.697477703, 270.534013925, 311.950907568}},
	{{240.880109256, 268.406330203, 311.015111004}},
	{{236.17217431, 259.299208923, 299.064318224}},
	{{239.717358016, 269.61304731, 308.8042314}},
	{{233.017117521, 258.914792039, 301.517286605}},
	{{237.407471152, 265.126893448, 284.757444536}},
	{{222.617143455, 240.007400536, 278.69863456}},
	{{237.407197068, 276.827668257, 356.091412979}},
	{{235.20382048, 268.358650186, 313.878764479}},
	{{235.238639484, 262.616739075, 302.71447575}},
	{{237.541537794, 259.324470601, 305.54173121}},
	{{236.921083217, 260.630132535, 303.56066052}},
	{{234.395497066, 258.151295268, 301.891344827}}
};

/* Those of forecast.c's table, in the order of the vectors. */
static bool
ask_member(QsForecastRoom *room, int member, const double *values, int count,
		   double *result)
{
	static const QsAutoregressionPlan plans[MEMBERS] = {
		[0] = {QS_SCALE_LOG,.harmonics = 6,.many = true},
		[1] = {QS_SCALE_ROOT,.harmonics = 0},
		[4] = {QS_SCALE_LOG,.harmonics = 3,.many = true,.further_days = true},
		[5] = {QS_SCALE_LINEAR,.harmonics = 6,.many = true}
	};
	static const QsScale scales[MEMBERS] = {
		[3] = QS_SCALE_LOG,
		[6] = QS_SCALE_LINEAR
	};
	static const QsDaysPlan days[MEMBERS] = {
		[8] = {QS_SCALE_LOG,.days = 2},
		[9] = {QS_SCALE_LINEAR,.days = 1},
		[10] = {QS_SCALE_LOG,.days = 2,.from_yesterday = true}
	};
	static const QsSpectrumPlan spectra[MEMBERS] = {
		[11] = {QS_SCALE_LOG, QS_WITHOUT_NOTHING},
		[12] = {QS_SCALE_LINEAR, QS_WITHOUT_NOTHING},
		[13] = {QS_SCALE_LINEAR, QS_WITHOUT_YESTERDAY},
		[14] = {QS_SCALE_LOG, QS_WITHOUT_WEEK},
		[15] = {QS_SCALE_LINEAR, QS_WITHOUT_WEEK}
	};

	switch (member)
	{
		case 2:
			return qs_forecast_by_differences(room, hourly, 168, values,
											  count, AHEAD, result);
		case 7:
			return qs_forecast_by_differences(room, hourly, 24, values, count,
											  AHEAD, result);
		case 3:
		case 6:
			return qs_forecast_by_smoothing(room, hourly, scales[member],
											values, count, AHEAD, result);
		case 8:
		case 9:
		case 10:
			return qs_forecast_by_days(room, hourly, &days[member], values,
									   count, AHEAD, result);
		case 11:
		case 12:
		case 13:
		case 14:
		case 15:
			return qs_forecast_by_spectrum(room, hourly, &spectra[member],
										   values, count, AHEAD, result);
		case 16:
			return qs_forecast_by_weeks(room, hourly, values, count, AHEAD,
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
	for (int member = 0; member < MEMBERS; member++)
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

/* But for the stretch, which is 1.2 there and depends on the history here. */
#define BANDS_COUNT	800
static const QsForecastPoint band_points[3] = {
	{236.262710097, 225.277571748, 249.043957849, 219.949261618, 253.948706997},
	{259.431141593, 247.003419979, 273.574917253, 241.392247363, 279.175809943},
	{309.780632319, 295.40558932, 326.893969533, 289.4015501, 333.542102821}
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
		{50, 298.520110969}, {120, 151.356557043}, {121, 180.793119986},
		{200, 346.741755941}, {210, 136.273618893}, {216, 241.609174524},
		{221, 331.967343361}, {300, 618.566740517}
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_agree_with_the_reference),
		cmocka_unit_test(bands_agree_with_the_reference),
		cmocka_unit_test(cleaning_agrees_with_the_reference),
		cmocka_unit_test(medians_and_quantiles_are_those_of_the_reference)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
