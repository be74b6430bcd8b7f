/*-------------------------------------------------------------------------
 * test_prediction.c
 *		What is foreseen of one group: points become ticks, gaps stay gaps,
 *		and a state that was stored goes on as if nothing had happened.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/prediction.h"

#define US			INT64_C(1000000)
#define DAY			INT64_C(86400)
#define BEGIN		(INT64_C(20000) * DAY)	/* seconds since 1970 */

static const QsPredictionPlan minutes = {60, 180};

static QsPrediction *
begin(const QsPredictionPlan *plan)
{
	size_t		size = qs_prediction_bytes(plan);
	void	   *block = malloc(size);

	assert_true(size > 0 && size <= QS_PREDICTION_MAX_BYTES);
	assert_non_null(block);
	assert_ptr_equal(qs_prediction_begin(block, plan, BEGIN * US + 1, 0.01),
					 block);
	return block;
}

/* A day that doubles at nine and halves at six. */
static double
load_at(int64_t second)
{
	int64_t		hour = second % DAY / 3600;

	return (hour >= 9 && hour < 18 ? 200 : 100) +
		(double) (second / 60 * 7919 % 11);
}

static void
observe(QsPrediction *prediction, int64_t end, double load)
{
	QsObserved	observed = {
		.end_us = end * US, .load = load, .each = 5, .carried = NAN,
		.share = 0.01
	};

	qs_prediction_observe(prediction, &observed);
}

static void
live(QsPrediction *prediction, int64_t from, int64_t until, int step)
{
	for (int64_t end = from + step; end <= until; end += step)
		observe(prediction, end, load_at(end - step));
}

static QsPredicted
tell(const QsPrediction *prediction)
{
	QsPredicted predicted;

	qs_prediction_tell(prediction, &predicted);
	return predicted;
}

static void
a_tick_divides_a_day(void **state)
{
	(void) state;
	assert_int_equal(qs_prediction_tick(1), 60);
	assert_int_equal(qs_prediction_tick(60), 60);
	assert_int_equal(qs_prediction_tick(61), 64);
	assert_int_equal(qs_prediction_tick(300), 300);
	assert_int_equal(qs_prediction_tick(900), 900);
	assert_int_equal(qs_prediction_tick(901), 0);
	assert_int_equal(qs_prediction_tick(0), 0);
}

static void
plans_out_of_bounds_have_no_state(void **state)
{
	(void) state;
	assert_int_equal(qs_prediction_bytes(&(QsPredictionPlan) {0, 60}), 0);
	assert_int_equal(qs_prediction_bytes(&(QsPredictionPlan) {1000, 60}), 0);
	assert_int_equal(qs_prediction_bytes(&(QsPredictionPlan) {60, -1}), 0);
	assert_int_equal(qs_prediction_bytes(&(QsPredictionPlan) {60, 3601}), 0);
	assert_true(qs_prediction_bytes(&(QsPredictionPlan) {1, 3600}) <=
				QS_PREDICTION_MAX_BYTES);
}

static void
the_rise_of_each_morning_is_foreseen(void **state)
{
	QsPrediction *prediction = begin(&minutes);
	int64_t		nine = BEGIN + 5 * DAY + 9 * 3600;
	QsPredicted p;

	(void) state;
	live(prediction, BEGIN, nine - 3600, 60);
	p = tell(prediction);
	assert_int_equal(p.trust, QS_TRUST_FULL);
	assert_true(p.upper_grow < 150);
	assert_int_equal(p.grow_s, 240);
	assert_int_equal(p.shrink_s, 420);
	live(prediction, nine - 3600, nine - 120, 60);
	p = tell(prediction);
	assert_true(p.upper_grow > 180);
	assert_true(p.newest < 120);
	free(prediction);
}

static void
points_of_a_second_are_gathered_into_minutes(void **state)
{
	QsPrediction *minute = begin(&minutes);
	QsPrediction *second = begin(&(QsPredictionPlan) {1, 180});
	QsPredicted a;
	QsPredicted b;

	(void) state;
	for (int64_t m = 1; m <= 300; m++)
	{
		for (int s = 1; s <= 60; s++)
			observe(second, BEGIN + (m - 1) * 60 + s, (double) (m + s));
		observe(minute, BEGIN + m * 60, (double) m + 30.5);
	}
	a = tell(minute);
	b = tell(second);
	assert_memory_equal(&a, &b, sizeof(a));
	free(minute);
	free(second);
}

static void
a_point_counts_once(void **state)
{
	QsPrediction *a = begin(&minutes);
	QsPrediction *b = begin(&minutes);

	(void) state;
	for (int64_t m = 1; m <= 200; m++)
	{
		observe(a, BEGIN + m * 60, (double) m);
		observe(b, BEGIN + m * 60, (double) m);
		observe(b, BEGIN + m * 60, (double) m + 100);
		observe(b, BEGIN + m * 60 - 60, 7000);
	}
	assert_memory_equal(a, b, qs_prediction_bytes(&minutes));
	free(a);
	free(b);
}

static void
a_gap_is_not_zero(void **state)
{
	QsPrediction *prediction = begin(&minutes);
	QsPredicted p;

	(void) state;
	live(prediction, BEGIN, BEGIN + 3 * DAY, 60);
	observe(prediction, BEGIN + 3 * DAY + 1200, NAN);
	p = tell(prediction);
	assert_true(isnan(p.newest));
	assert_int_equal(p.missing_s, 1200);
	assert_true(p.upper_grow > 90);
	assert_true(p.yesterday > 90);
	assert_true(p.may_shrink);
	live(prediction, BEGIN + 3 * DAY + 1200, BEGIN + 3 * DAY + 1260, 60);
	assert_int_equal(tell(prediction).missing_s, 0);
	free(prediction);
}

static void
after_two_weeks_of_nothing_it_starts_anew(void **state)
{
	QsPrediction *prediction = begin(&minutes);

	(void) state;
	live(prediction, BEGIN, BEGIN + DAY, 60);
	assert_int_equal(tell(prediction).trust, QS_TRUST_FULL);
	observe(prediction, BEGIN + 16 * DAY, 100);
	assert_int_equal(tell(prediction).trust, QS_TRUST_NOT_LEARNED);
	live(prediction, BEGIN + 16 * DAY, BEGIN + 17 * DAY, 60);
	assert_int_equal(tell(prediction).trust, QS_TRUST_FULL);
	free(prediction);
}

static void
a_third_of_yesterday_looks_like_an_outage_for_four_hours(void **state)
{
	QsPrediction *prediction = begin(&minutes);
	int64_t		at = BEGIN + 3 * DAY + 12 * 3600;

	(void) state;
	live(prediction, BEGIN, at, 60);
	for (int minute = 1; minute <= 240; minute++)
	{
		observe(prediction, at + minute * 60, 20);
		if (minute == 1 || minute == 239)
			assert_false(tell(prediction).may_shrink);
	}
	observe(prediction, at + 241 * 60, 20);
	assert_true(tell(prediction).may_shrink);
	free(prediction);
}

static void
violations_make_it_more_careful_unless_they_are_not_its_fault(void **state)
{
	double		quantile[3];

	(void) state;
	for (int kind = 0; kind < 3; kind++)
	{
		QsPrediction *prediction = begin(&minutes);

		for (int64_t m = 1; m <= 600; m++)
		{
			QsObserved	observed = {
				.end_us = (BEGIN + m * 60) * US, .load = 100,
				.each = 10, .carried = kind == 0 ? 200 : 50, .share = 0.01,
				.frozen = kind == 2
			};

			qs_prediction_observe(prediction, &observed);
		}
		quantile[kind] = tell(prediction).quantile;
		free(prediction);
	}
	assert_true(quantile[0] < quantile[2]);
	assert_true(quantile[1] > quantile[2]);
}

/* How careful it is after a day in which 100 came, and what carries it was
 * looked at only after each minute, when some more had booted. */
static double
position_after(int64_t late, double first, double second, int64_t at)
{
	QsPrediction *prediction = begin(&minutes);
	QsPredicted p;

	for (int64_t end = BEGIN + 60; end <= BEGIN + 3600; end += 60)
	{
		QsObserved	observed = {
			.end_us = end * US, .load = 100, .share = 0.5,
			.carried = end / 60 % 2 == 0 ? first : second,
			.carried_at_us = (end + at) * US, .late_us = late * US
		};

		qs_prediction_observe(prediction, &observed);
		/* again, when more have booted: that is not its minute any more */
		observed.carried = 1000;
		observed.carried_at_us += 15 * US;
		qs_prediction_observe(prediction, &observed);
	}
	p = tell(prediction);
	free(prediction);
	return p.quantile;
}

static void
what_boots_after_a_minute_is_too_late_for_it(void **state)
{
	double		none = position_after(0, 200, 200, 5);
	double		half = position_after(0, 200, 50, 5);
	double		all = position_after(0, 50, 50, 5);

	(void) state;
	/* each minute has one of both at its beginning or at its end */
	assert_true(all > none);
	assert_true(half == all);
	/* when nobody looked in its minute, what was seen after it counts */
	assert_true(position_after(0, 50, 50, 0) == all);
	assert_true(position_after(0, 200, 200, 0) == none);
}

/* Three minutes of load that are known three minutes late, while instances boot
 * in between. */
static void
a_late_load_is_held_against_what_there_was_then(void **state)
{
	double		quantile[2];

	(void) state;
	for (int late = 0; late < 2; late++)
	{
		QsPrediction *prediction = begin(&minutes);

		for (int minute = 1; minute <= 40; minute++)
		{
			QsObserved	observed = {
				.end_us = (BEGIN + minute * 60) * US,
				.load = minute % 10 >= 3 && minute % 10 < 6 ? 100 : 10,
				.share = 0.1,
				/* three minutes after the load came, it is carried */
				.carried = minute % 10 >= 3 && minute % 10 < 6 ? 200 : 50,
				.carried_at_us = (BEGIN + minute * 60 + 1) * US,
				.late_us = late * 180 * US
			};

			qs_prediction_observe(prediction, &observed);
		}
		quantile[late] = tell(prediction).quantile;
		free(prediction);
	}
	assert_true(quantile[1] > quantile[0]);
}

static void
a_clock_that_ran_ahead_leaves_nothing_to_compare_with(void **state)
{
	QsPrediction *prediction = begin(&minutes);
	double		before = tell(prediction).quantile;

	(void) state;
	for (int minute = 1; minute <= 60; minute++)
	{
		QsObserved	observed = {
			.end_us = (BEGIN + minute * 60) * US, .load = 100, .share = 0.5,
			.carried = minute == 1 ? 1 : 200,
			.carried_at_us = minute == 1 ? (BEGIN + 40 * DAY) * US :
			(BEGIN + minute * 60 + 1) * US
		};

		qs_prediction_observe(prediction, &observed);
	}
	/* nothing violated, and it is known that nothing did */
	assert_true(tell(prediction).quantile < before);
	free(prediction);
}

static void
a_stored_state_goes_on_as_if_nothing_had_happened(void **state)
{
	QsPrediction *prediction = begin(&minutes);
	size_t		size = qs_prediction_bytes(&minutes);
	int64_t		now = BEGIN + 4 * DAY + 30;
	void	   *copy = malloc(size);
	QsPredicted a;
	QsPredicted b;

	(void) state;
	live(prediction, BEGIN, BEGIN + 4 * DAY, 60);
	assert_non_null(copy);
	memcpy(copy, prediction, size);
	assert_true(qs_prediction_is_sane(copy, size, &minutes, now * US));
	assert_true(qs_prediction_until(copy) == (BEGIN + 4 * DAY) * US);
	live(prediction, BEGIN + 4 * DAY, BEGIN + 5 * DAY, 60);
	live(copy, BEGIN + 4 * DAY, BEGIN + 5 * DAY, 60);
	a = tell(prediction);
	b = tell(copy);
	assert_memory_equal(&a, &b, sizeof(a));
	free(prediction);
	free(copy);
}

static void
a_state_of_another_plan_or_time_is_not_used(void **state)
{
	QsPrediction *prediction = begin(&minutes);
	size_t		size = qs_prediction_bytes(&minutes);
	int64_t		now = (BEGIN + DAY + 30) * US;
	char	   *bytes = (char *) prediction;

	(void) state;
	live(prediction, BEGIN, BEGIN + DAY, 60);
	assert_true(qs_prediction_is_sane(prediction, size, &minutes, now));
	assert_false(qs_prediction_is_sane(prediction, size - 1, &minutes, now));
	assert_false(qs_prediction_is_sane(prediction, 0, &minutes, now));
	assert_false(qs_prediction_is_sane(prediction, size,
									   &(QsPredictionPlan) {60, 300}, now));
	assert_false(qs_prediction_is_sane(prediction, size,
									   &(QsPredictionPlan) {300, 180}, now));
	assert_false(qs_prediction_is_sane(prediction, size, &minutes,
									   now - 3600 * US));
	bytes[0] ^= 1;
	assert_false(qs_prediction_is_sane(prediction, size, &minutes, now));
	free(prediction);
}

/* ----------
 * Any load at all
 * ----------
 */

/* What a monitor may say: nothing, nonsense, the largest, the smallest. */
static double
any_load(int kind, int64_t minute)
{
	static const double odd[] = {0, 1e300, -1, 1e-300, NAN, INFINITY, 5,
	-INFINITY, 1e308, 1e12};

	switch (kind)
	{
		case 0:
			return 70;
		case 1:
			return 0;
		case 2:
			return NAN;
		case 3:
			return 1e308;
		case 4:
			return 1e-308;
		case 5:
			return minute % 100 < 60 ? NAN : 100;
		case 6:
			return odd[(minute * 31 + minute / 10) % 10];
		default:
			return load_at(minute * 60);
	}
}

#define KINDS	8

static void
assert_number_or_none(double value)
{
	assert_true(isnan(value) || (value >= 0 && isfinite(value)));
}

static void
any_load_of_any_length_is_foreseen_as_a_number_or_not_at_all(void **state)
{
	(void) state;
	for (int kind = 0; kind < KINDS; kind++)
	{
		QsPrediction *prediction = begin(&minutes);
		size_t		size = qs_prediction_bytes(&minutes);

		for (int64_t minute = 1; minute <= 2 * 1440 + 100; minute++)
		{
			QsObserved	observed = {
				.end_us = (BEGIN + minute * 60) * US,
				.load = any_load(kind, minute), .each = kind == 6 ? NAN : 10,
				.carried = any_load(kind, minute / 3),
				.carried_at_us = (BEGIN + minute * 60 + 7) * US,
				.floor_load = kind == 6 ? INFINITY : 10, .share = 0.01
			};
			QsPredicted p;

			qs_prediction_observe(prediction, &observed);
			if (minute > 200 && minute % 97 != 0)
				continue;
			p = tell(prediction);
			assert_number_or_none(p.upper_grow);
			assert_number_or_none(p.upper_shrink);
			assert_number_or_none(p.yesterday);
			assert_number_or_none(p.newest);
			assert_true(p.quantile > 0 && p.quantile < 1);
			assert_true(p.trust >= QS_TRUST_FULL &&
						p.trust <= QS_TRUST_WORSE_THAN_NONE);
			/* what it says of itself it takes back */
			assert_true(qs_prediction_is_sane(prediction, size, &minutes,
											  observed.end_us));
		}
		free(prediction);
	}
}

/*
 * Requests per second or per minute: once learned, about the same.  At first it
 * knows nothing of the unit, and learns more slowly in one than in the other.
 */
static void
another_unit_changes_little_once_learned(void **state)
{
	QsPrediction *one = begin(&minutes);
	QsPrediction *many = begin(&minutes);
	int			unlike = 0;

	(void) state;
	for (int64_t minute = 1; minute <= 6 * 1440; minute++)
	{
		double		load = load_at((minute - 1) * 60);
		QsObserved	observed = {
			.end_us = (BEGIN + minute * 60) * US, .load = load, .each = 10,
			.carried = load * (minute % 90 == 0 ? 0.9 : 1.1),
			.floor_load = 20, .share = 0.01
		};
		QsPredicted a;
		QsPredicted b;

		qs_prediction_observe(one, &observed);
		observed.load *= 60;
		observed.each *= 60;
		observed.carried *= 60;
		observed.floor_load *= 60;
		qs_prediction_observe(many, &observed);
		if (minute < 4 * 1440)
			continue;
		a = tell(one);
		b = tell(many);
		unlike += fabs(b.upper_grow / 60 / a.upper_grow - 1) > 0.03;
		assert_true(a.trust == b.trust && a.may_shrink == b.may_shrink);
	}
	if (unlike > 2 * 1440 / 10)
		fail_msg("%d of %d ticks differ by more than 3 %%", unlike, 2 * 1440);
	free(one);
	free(many);
}

/* An hour that comes twice, and one that is skipped. */
static void
a_clock_that_is_set_does_no_harm(void **state)
{
	QsPrediction *straight = begin(&minutes);
	QsPrediction *set_back = begin(&minutes);
	int64_t		end = BEGIN + 3 * DAY;
	QsPredicted a;
	QsPredicted b;

	(void) state;
	live(straight, BEGIN, end, 60);
	live(set_back, BEGIN, end, 60);
	/* back: these minutes are known already */
	live(set_back, end - 3600, end, 60);
	a = tell(straight);
	b = tell(set_back);
	assert_memory_equal(&a, &b, sizeof(a));
	/* ahead: an hour is missing */
	live(set_back, end + 3600, end + DAY, 60);
	live(straight, end, end + DAY, 60);
	a = tell(straight);
	b = tell(set_back);
	assert_int_equal(b.trust, QS_TRUST_FULL);
	assert_true(fabs(b.upper_grow / a.upper_grow - 1) < 0.1);
	free(straight);
	free(set_back);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tick_divides_a_day),
		cmocka_unit_test(plans_out_of_bounds_have_no_state),
		cmocka_unit_test(the_rise_of_each_morning_is_foreseen),
		cmocka_unit_test(points_of_a_second_are_gathered_into_minutes),
		cmocka_unit_test(a_point_counts_once),
		cmocka_unit_test(a_gap_is_not_zero),
		cmocka_unit_test(after_two_weeks_of_nothing_it_starts_anew),
		cmocka_unit_test(a_third_of_yesterday_looks_like_an_outage_for_four_hours),
		cmocka_unit_test(violations_make_it_more_careful_unless_they_are_not_its_fault),
		cmocka_unit_test(what_boots_after_a_minute_is_too_late_for_it),
		cmocka_unit_test(a_late_load_is_held_against_what_there_was_then),
		cmocka_unit_test(a_clock_that_ran_ahead_leaves_nothing_to_compare_with),
		cmocka_unit_test(a_stored_state_goes_on_as_if_nothing_had_happened),
		cmocka_unit_test(a_state_of_another_plan_or_time_is_not_used),
		cmocka_unit_test(any_load_of_any_length_is_foreseen_as_a_number_or_not_at_all),
		cmocka_unit_test(another_unit_changes_little_once_learned),
		cmocka_unit_test(a_clock_that_is_set_does_no_harm),
	};

	return cmocka_run_group_tests_name("prediction", tests, NULL, NULL);
}
