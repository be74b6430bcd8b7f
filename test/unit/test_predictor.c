/*-------------------------------------------------------------------------
 * test_predictor.c
 *		The short-lead predictor against an implementation of the same
 *		algorithm in numpy, and what it promises for any load; then what is
 *		made of it: guard, number of instances.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/predicted_need.h"
#include "core/predictor.h"

/* a row says only what is not calm */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Woverride-init"

/* A day, noise, a burst in the second minute of each hour, gaps. */
static double
load_at(int64_t t, int tick_seconds)
{
	double		noise = (double) ((t * 7919 + (t * t % 1013) * 104729) % 1000) /
		1000 - 0.5;
	double		load = 50 * (2 + sin(2 * M_PI * (double) (t * tick_seconds) /
									 86400)) * (1 + 0.4 * noise);

	if (t * tick_seconds / 60 % 60 == 1)
		load *= 1.5;
	if (t % 97 == 13 || (t >= 2000 && t < 2040))
		return NAN;
	return load;
}

static QsPredictor *
begin(const QsPredictorPlan *plan, int64_t first_tick)
{
	QsPredictor *predictor = malloc(qs_predictor_bytes(plan));

	assert_non_null(predictor);
	assert_ptr_equal(qs_predictor_begin(predictor, plan, first_tick),
					 predictor);
	return predictor;
}

/* ---- against the reference ---- */

typedef struct Vector
{
	int64_t		tick;
	double		grow99;			/* stream, quantile */
	double		grow80;
	double		shrink90;
} Vector;

static const QsPredictorPlan plan_of_minutes = {60, {3, 5}};
static const Vector of_minutes[] = {
	{199, 259.416615005, 175.727599359, 221.548854515},
	{999, 108.006011408, 64.3812755376, 68.2252940697},
	{1499, 292.895070614, 176.286047613, 170.479170353},
	{2019, 195.539550937, 146.059581357, 154.087329932},	/* in a gap */
	{2499, 77.9209662499, 60.9584549845, 64.0200431451},
	{4999, 140.260938466, 126.547067928, 129.197383346},
	{10999, 75.9288298186, 71.7308574534, 73.522403497},	/* has last week */
	{12958, 177.983464319, 163.596798112, 166.753461788}
};

static const QsPredictorPlan plan_of_five = {300, {2, 3}};
static const Vector of_five[] = {
	{199, 86.7491246992, 62.8974012156, 78.6899819991},
	{999, 155.965173733, 124.804470604, 129.80309437},
	{2019, 118.109557222, 103.865353732, 110.205388098},
	{2878, 131.405855854, 118.333764704, 124.13009472}
};

static void
check_upper(const QsPredictor *predictor, int stream, double quantile,
			double expected, int64_t tick)
{
	double		seen = qs_predictor_upper(predictor, stream, quantile);

	if (!(fabs(seen - expected) <= 1e-6 * expected))
		fail_msg("tick %d, stream %d, quantile %g: saw %.12g, expected %.12g",
				 (int) tick, stream, quantile, seen, expected);
}

static void
check_vectors(const QsPredictorPlan *plan, const Vector *vectors, int count)
{
	QsPredictor *predictor = begin(plan, 0);
	int64_t		t = 0;

	for (int i = 0; i < count; i++)
	{
		for (; t <= vectors[i].tick; t++)
			qs_predictor_update(predictor, load_at(t, plan->tick_seconds));
		check_upper(predictor, 0, 0.99, vectors[i].grow99, t - 1);
		check_upper(predictor, 0, 0.8, vectors[i].grow80, t - 1);
		check_upper(predictor, 1, 0.9, vectors[i].shrink90, t - 1);
	}
	free(predictor);
}

static void
uppers_agree_with_the_reference(void **state)
{
	check_vectors(&plan_of_minutes, of_minutes,
				  sizeof(of_minutes) / sizeof(of_minutes[0]));
	check_vectors(&plan_of_five, of_five,
				  sizeof(of_five) / sizeof(of_five[0]));
}

/* ---- for any load ---- */

static void
check_promises(const QsPredictor *predictor)
{
	for (int stream = 0; stream < QS_PREDICTOR_STREAMS; stream++)
	{
		double		before = 0;

		for (int i = 0; i < QS_QUANTILES; i++)
		{
			double		upper = qs_predictor_upper(predictor, stream,
												   qs_quantiles[i]);

			if (isnan(upper))
				continue;
			if (!(upper >= before && upper <= DBL_MAX))
				fail_msg("stream %d, quantile %g: %g after %g", stream,
						 qs_quantiles[i], upper, before);
			before = upper;
		}
	}
}

static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void
any_load_gives_an_upper_value(void **state)
{
	static const double strange[] = {0, 1, NAN, -5, INFINITY, -INFINITY, 1e-300,
	1e15, DBL_MAX, 100};
	uint64_t	random = 88172645463325252;

	for (int kinds = 1; kinds <= 10; kinds++)
	{
		QsPredictor *predictor = begin(&plan_of_five, 5);

		for (int t = 0; t < 700; t++)
		{
			qs_predictor_update(predictor,
								strange[next_random(&random) %
										(uint64_t) kinds]);
			check_promises(predictor);
		}
		free(predictor);
	}
}

static void
nothing_is_said_before_two_hours(void **state)
{
	QsPredictor *predictor = begin(&plan_of_minutes, 0);

	for (int t = 0; t < 119; t++)
		qs_predictor_update(predictor, 10);
	assert_true(isnan(qs_predictor_upper(predictor, 0, 0.9)));
	qs_predictor_update(predictor, 10);
	assert_true(qs_predictor_upper(predictor, 0, 0.9) >= 10);
	free(predictor);
}

/* As it is stored, read by another process and gone on with. */
static void
a_stored_state_goes_on_as_if_nothing_had_been(void **state)
{
	size_t		size = qs_predictor_bytes(&plan_of_five);
	QsPredictor *one = begin(&plan_of_five, 77);
	QsPredictor *other = malloc(size);

	for (int64_t t = 0; t < 1000; t++)
		qs_predictor_update(one, load_at(t, 300));
	memcpy(other, one, size);
	memset(one, 0xff, size);
	free(one);
	assert_true(qs_predictor_is_sane(other, size, &plan_of_five));
	one = begin(&plan_of_five, 77);
	for (int64_t t = 0; t < 2000; t++)
	{
		qs_predictor_update(one, load_at(t, 300));
		if (t >= 1000)
			qs_predictor_update(other, load_at(t, 300));
	}
	assert_int_equal(qs_predictor_next_tick(other), 2077);
	assert_memory_equal(one, other, size);
	free(one);
	free(other);
}

static void
a_state_of_something_else_is_refused(void **state)
{
	size_t		size = qs_predictor_bytes(&plan_of_five);
	unsigned char *block = (unsigned char *) begin(&plan_of_five, 0);
	QsPredictorPlan other = plan_of_five;

	assert_true(qs_predictor_is_sane(block, size, &plan_of_five));
	assert_false(qs_predictor_is_sane(block, size - 8, &plan_of_five));
	assert_false(qs_predictor_is_sane(block, size, &plan_of_minutes));
	other.last[1]++;
	assert_false(qs_predictor_is_sane(block, qs_predictor_bytes(&other),
									  &other));
	block[0] ^= 1;
	assert_false(qs_predictor_is_sane(block, size, &plan_of_five));
	free(block);
}

/* Behind a header that is right: whatever it says, nothing is overrun. */
static void
a_damaged_state_does_no_harm(void **state)
{
	size_t		size = qs_predictor_bytes(&plan_of_five);
	uint64_t	random = 1181783497276652981;

	for (int round = 0; round < 20; round++)
	{
		QsPredictor *predictor = begin(&plan_of_five, 0);
		unsigned char *bytes = (unsigned char *) predictor;

		for (int t = 0; t < 400; t++)
			qs_predictor_update(predictor, 50 + t % 7);
		for (int i = 0; i < 2000; i++)
			bytes[64 + next_random(&random) % (size - 64)] =
				(unsigned char) next_random(&random);
		for (int t = 0; t < 300; t++)
			qs_predictor_update(predictor, 50 + t % 7);
		for (int i = 0; i < QS_QUANTILES; i++)
		{
			double		upper = qs_predictor_upper(predictor, 0,
												   qs_quantiles[i]);

			assert_true(isnan(upper) || upper >= 0);
		}
		free(predictor);
	}
}

static void
plans_out_of_bounds_have_no_size(void **state)
{
	static const QsPredictorPlan refused[] = {
		{59, {1, 2}}, {70, {1, 2}}, {1800, {1, 2}}, {0, {1, 2}}, {60, {0, 2}},
		{60, {1, QS_PREDICTOR_MAX_WINDOW + 1}}, {-60, {1, 2}}
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		assert_int_equal(qs_predictor_bytes(&refused[i]), 0);
}

static void
the_largest_state_is_within_its_promise(void **state)
{
	QsPredictorPlan plan = {60, {QS_PREDICTOR_MAX_WINDOW,
	QS_PREDICTOR_MAX_WINDOW}};
	size_t		size = qs_predictor_bytes(&plan);

	if (size == 0 || size > QS_PREDICTOR_MAX_BYTES)
		fail_msg("%zu bytes", size);
}

/* Once learned: at first it knows nothing of the unit. */
static void
another_unit_of_the_load_changes_little(void **state)
{
	QsPredictor *one = begin(&plan_of_five, 0);
	QsPredictor *other = begin(&plan_of_five, 0);
	double		ratio;

	for (int64_t t = 0; t < 2800; t++)
	{
		qs_predictor_update(one, load_at(t, 300));
		qs_predictor_update(other, 1000 * load_at(t, 300));
	}
	ratio = qs_predictor_upper(other, 0, 0.95) /
		qs_predictor_upper(one, 0, 0.95);
	if (fabs(ratio / 1000 - 1) > 0.03)
		fail_msg("%g instead of 1000", ratio);
	free(one);
	free(other);
}

#define LONG	20000

static void
the_upper_value_is_exceeded_as_often_as_asked(void **state)
{
	static const double quantiles[] = {0.8, 0.9, 0.99};
	static double loads[LONG];
	QsPredictor *predictor = begin(&plan_of_five, 0);
	uint64_t	random = 88172645463325252;
	int			exceeded[3] = {0};
	int			count = 0;

	for (int t = 0; t < LONG; t++)
		loads[t] = 100 * (2 + sin(2 * M_PI * t / 288)) *
			(0.8 + 0.4 * (double) (next_random(&random) % 1000) / 1000);
	for (int t = 0; t + 2 < LONG; t++)
	{
		qs_predictor_update(predictor, loads[t]);
		if (t < 4000)
			continue;
		count++;
		for (int i = 0; i < 3; i++)
			exceeded[i] += fmax(loads[t + 1], loads[t + 2]) >
				qs_predictor_upper(predictor, 0, quantiles[i]);
	}
	for (int i = 0; i < 3; i++)
	{
		double		share = (double) exceeded[i] / count;

		/* errors of one moment resemble each other: it is a little careful */
		if (share > 1.2 * (1 - quantiles[i]) + 0.002 ||
			share < 0.4 * (1 - quantiles[i]))
			fail_msg("quantile %g was exceeded in %.4f", quantiles[i], share);
	}
	free(predictor);
}

/* ---- guard ---- */

static QsGuardVerdict
look(QsPredictionGuard *guard, const QsPredictor *predictor, double newest,
	 double floor_load)
{
	QsGuardInput input = qs_guard_input(predictor, 300, newest, floor_load);

	return qs_prediction_guard(guard, &input);
}

static void
an_outage_forbids_shrinking_for_four_hours(void **state)
{
	QsPredictor *predictor = begin(&plan_of_five, 0);
	QsPredictionGuard guard = {0};

	for (int t = 0; t < 600; t++)
		qs_predictor_update(predictor, 100 + t % 5);
	assert_true(look(&guard, predictor, 100, 10).may_shrink);
	for (int t = 0; t < 48; t++)
	{
		/* a tick without data within it changes nothing */
		double		load = t == 20 ? NAN : 3;

		qs_predictor_update(predictor, load);
		assert_false(look(&guard, predictor, load, 10).may_shrink);
	}
	qs_predictor_update(predictor, 3);
	assert_true(look(&guard, predictor, 3, 10).may_shrink);
	assert_true(look(&guard, predictor, 90, 10).may_shrink);
	assert_false(look(&guard, predictor, 3, 10).may_shrink);
	/* where the usual load is below what the minimum carries, none begins */
	assert_true(look(&guard, predictor, 90, 10).may_shrink);
	assert_true(look(&guard, predictor, 3, 500).may_shrink);
	/* no data is not an outage of the load */
	assert_true(look(&guard, predictor, NAN, 10).may_shrink);
	free(predictor);
}

static void
a_moment_of_little_load_yesterday_ends_no_outage(void **state)
{
	QsPredictionGuard guard = {0};
	QsGuardInput input = {.tick_seconds = 300, .newest = 3, .yesterday = 100,
	.floor_load = 10, .upper = 100, .largest = 100};

	(void) state;
	assert_false(qs_prediction_guard(&guard, &input).may_shrink);
	input.yesterday = 2;
	input.newest = 2;
	assert_false(qs_prediction_guard(&guard, &input).may_shrink);
	input.yesterday = NAN;
	assert_false(qs_prediction_guard(&guard, &input).may_shrink);
	input.newest = NAN;
	assert_false(qs_prediction_guard(&guard, &input).may_shrink);
	/* what the minimum is there for does */
	input.newest = 8;
	assert_true(qs_prediction_guard(&guard, &input).may_shrink);
	input.newest = 2;
	assert_true(qs_prediction_guard(&guard, &input).may_shrink);
}

static void
a_predictor_is_trusted_once_it_has_learned(void **state)
{
	QsPredictor *predictor = begin(&plan_of_five, 0);
	QsPredictionGuard guard = {0};

	assert_int_equal(look(&guard, predictor, 50, 1).trust,
					 QS_TRUST_NOT_LEARNED);
	for (int64_t t = 0; t < 800; t++)
		qs_predictor_update(predictor, 100 + (double) (t % 288) / 10);
	assert_int_equal(look(&guard, predictor, 50, 1).trust, QS_TRUST_FULL);
	free(predictor);
}

static void
a_predictor_that_loses_is_left_out_until_it_recovers(void **state)
{
	QsGuardInput input = {.tick_seconds = 300,.newest = 100,.yesterday = 100,
		.upper = 120,.largest = 150,.score = {287, 2, 1, 0.5}
	};
	QsPredictionGuard guard = {0};

	/* a day must have been scored */
	assert_int_equal(qs_prediction_guard(&guard, &input).trust, QS_TRUST_FULL);
	input.score.scored = 288;
	assert_int_equal(qs_prediction_guard(&guard, &input).trust,
					 QS_TRUST_WORSE_THAN_NONE);
	/* a hair better is not yet better */
	input.score.loss = 0.99;
	assert_int_equal(qs_prediction_guard(&guard, &input).trust,
					 QS_TRUST_WORSE_THAN_NONE);
	input.score.loss = 0.9;
	assert_int_equal(qs_prediction_guard(&guard, &input).trust, QS_TRUST_FULL);
	input.score.loss = 0.99;
	assert_int_equal(qs_prediction_guard(&guard, &input).trust, QS_TRUST_FULL);
}

static void
what_is_far_beyond_history_is_not_believed(void **state)
{
	QsGuardInput input = {.tick_seconds = 300,.newest = 100,.yesterday = 100,
		.upper = 451,.largest = 150
	};
	QsPredictionGuard guard = {0};

	assert_int_equal(qs_prediction_guard(&guard, &input).trust,
					 QS_TRUST_BEYOND_HISTORY);
	input.upper = 449;
	assert_int_equal(qs_prediction_guard(&guard, &input).trust, QS_TRUST_FULL);
}

/* One that knows the day must not lose to headroom. */
static void
a_regular_day_is_predicted_better_than_by_headroom(void **state)
{
	QsPredictor *predictor = begin(&plan_of_five, 0);
	QsPredictorScore score;

	for (int64_t t = 0; t < 2800; t++)
		qs_predictor_update(predictor, load_at(t, 300));
	score = qs_predictor_score(predictor, 0);
	if (!(score.scored > 2000 && score.loss < score.loss_without))
		fail_msg("%d windows, loss %g, without %g", (int) score.scored,
				 score.loss, score.loss_without);
	free(predictor);
}

/* ---- need ---- */

typedef struct Need
{
	const char *name;
	QsNeedInput input;
	int			desired;
	QsNeedReason reason;
} Need;

/* ten per instance, 2 to 50 of them */
#define CALM	.per_instance = 10, .reactive_target = 1, .min = 2, .max = 50, \
	.may_shrink = true

static const Need needs[] = {
	{"all_agree", {CALM,.current = 5,.newest = 45,.upper_grow = 48,
	.upper_shrink = 50}, 5, QS_NEED_AS_IT_IS},
	{"the_short_window_grows", {CALM,.current = 5,.newest = 45,
	.upper_grow = 71,.upper_shrink = 71}, 8, QS_NEED_FOR_GROWTH},
	{"the_long_window_alone_does_not_grow", {CALM,.current = 5,.newest = 45,
	.upper_grow = 50,.upper_shrink = 99}, 5, QS_NEED_AS_IT_IS},
	{"the_long_window_keeps", {CALM,.current = 9,.newest = 45,
	.upper_grow = 50,.upper_shrink = 85}, 9, QS_NEED_AS_IT_IS},
	{"both_windows_shrink", {CALM,.current = 9,.newest = 45,
	.upper_grow = 50,.upper_shrink = 61}, 7, QS_NEED_FOR_SHRINKING},
	{"never_below_the_load_as_it_is", {CALM,.current = 3,.newest = 95,
	.upper_grow = 20,.upper_shrink = 20}, 10, QS_NEED_FOR_NEWEST},
	{"headroom_while_not_trusted", {CALM,.reactive_target = 0.7,.current = 3,
	.newest = 70,.upper_grow = NAN,.upper_shrink = NAN}, 10,
	QS_NEED_FOR_NEWEST},
	{"a_hair_of_rounding_costs_nothing", {CALM,.current = 5,
	.newest = 50.000000001,.upper_grow = 50.000000001,.upper_shrink = 50}, 5,
	QS_NEED_AS_IT_IS},
	{"an_outage_keeps", {CALM,.may_shrink = false,.current = 9,.newest = 1,
	.upper_grow = 1,.upper_shrink = 1}, 9, QS_NEED_HELD},
	{"an_outage_grows_too", {CALM,.may_shrink = false,.current = 9,
	.newest = 100,.upper_grow = 120,.upper_shrink = 120}, 12,
	QS_NEED_FOR_GROWTH},
	{"a_lower_maximum_holds_in_an_outage", {CALM,.may_shrink = false,
	.max = 6,.current = 9,.newest = 1,.upper_grow = 1,.upper_shrink = 1}, 6,
	QS_NEED_HELD},
	{"no_load_keeps", {CALM,.current = 9,.newest = NAN,.upper_grow = 1,
	.upper_shrink = 1}, 9, QS_NEED_LOAD_UNKNOWN},
	{"no_load_for_long_is_yesterdays", {CALM,.current = 9,.newest = NAN,
	.stale = true,.yesterday = 200}, 20, QS_NEED_FOR_YESTERDAY},
	{"no_load_for_long_never_shrinks", {CALM,.current = 9,.newest = NAN,
	.stale = true,.yesterday = 20}, 9, QS_NEED_LOAD_UNKNOWN},
	{"no_load_and_no_yesterday_keeps", {CALM,.current = 9,.newest = NAN,
	.stale = true,.yesterday = NAN}, 9, QS_NEED_LOAD_UNKNOWN},
	{"the_minimum", {CALM,.current = 9,.newest = 0,.upper_grow = 0,
	.upper_shrink = 0}, 2, QS_NEED_FOR_SHRINKING},
	{"the_maximum", {CALM,.current = 9,.newest = 1e300,.upper_grow = 1e308,
	.upper_shrink = INFINITY}, 50, QS_NEED_FOR_NEWEST},
	{"a_target_of_nothing_changes_nothing", {CALM,.per_instance = 0,
	.current = 9,.newest = 5}, 9, QS_NEED_AS_IT_IS}
};

static void
needs_are_as_the_table_says(void **state)
{
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
	{
		QsNeed		need = qs_predicted_need(&needs[i].input);

		if (need.desired != needs[i].desired || need.reason != needs[i].reason)
			fail_msg("%s: saw %d for reason %d, expected %d for reason %d",
					 needs[i].name, need.desired, (int) need.reason,
					 needs[i].desired, (int) needs[i].reason);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(uppers_agree_with_the_reference),
		cmocka_unit_test(any_load_gives_an_upper_value),
		cmocka_unit_test(nothing_is_said_before_two_hours),
		cmocka_unit_test(a_stored_state_goes_on_as_if_nothing_had_been),
		cmocka_unit_test(a_state_of_something_else_is_refused),
		cmocka_unit_test(a_damaged_state_does_no_harm),
		cmocka_unit_test(plans_out_of_bounds_have_no_size),
		cmocka_unit_test(the_largest_state_is_within_its_promise),
		cmocka_unit_test(another_unit_of_the_load_changes_little),
		cmocka_unit_test(the_upper_value_is_exceeded_as_often_as_asked),
		cmocka_unit_test(an_outage_forbids_shrinking_for_four_hours),
		cmocka_unit_test(a_moment_of_little_load_yesterday_ends_no_outage),
		cmocka_unit_test(a_predictor_is_trusted_once_it_has_learned),
		cmocka_unit_test(a_predictor_that_loses_is_left_out_until_it_recovers),
		cmocka_unit_test(what_is_far_beyond_history_is_not_believed),
		cmocka_unit_test(a_regular_day_is_predicted_better_than_by_headroom),
		cmocka_unit_test(needs_are_as_the_table_says)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
