/*-------------------------------------------------------------------------
 * test_stock_out.c
 *		Did running grow?  What one observation does to what is remembered.
 *
 * The group below has four members and an accepted action that wanted ten;
 * the cloud says that its activity has ended.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/breaker.h"
#include "core/stock_out.h"

#define SECOND	INT64_C(1000000)
#define NOW		(INT64_C(1700000000) * SECOND)
#define GROUP	7

typedef struct Scene
{
	QsStockOut	memory;
	QsGrowth	growth;
	QsCapacity	capacity;
	QsCloudActivity activity;
	bool		unreadable;
	int64_t		now;
} Scene;

static Scene
scene(void)
{
	Scene		s;

	memset(&s, 0, sizeof(s));
	s.now = NOW;
	s.memory.fulfilled = QS_UNKNOWN;
	s.memory.since = QS_NEVER;
	s.memory.probe_at = QS_NEVER;
	s.growth.id = 11;
	s.growth.desired = 10;
	s.growth.members_before = 4;
	s.growth.requested_at = NOW - 30 * SECOND;
	s.capacity.known = true;
	s.capacity.desired = 10;
	s.capacity.total = 4;
	s.capacity.in_service = QS_UNKNOWN;
	s.capacity.max = 100;
	s.capacity.active = true;
	s.activity.asked = true;
	s.activity.known = true;
	s.activity.last_any_at = NOW - 10 * SECOND;
	s.activity.last_scale_up_at = QS_NEVER;
	s.activity.last_scale_down_at = QS_NEVER;
	return s;
}

static void
look(Scene *s)
{
	qs_stock_out_observe(&s->memory, &s->growth, &s->capacity, &s->activity,
						 s->unreadable, GROUP, s->now);
}

/* A stock-out that has begun: three actions brought nothing to four members. */
static Scene
stocked_out(void)
{
	Scene		s = scene();

	for (int i = 0; i < 3; i++)
	{
		s.growth.id++;
		look(&s);
	}
	assert_int_equal(s.memory.unfulfilled, 3);
	assert_int_equal(s.memory.since, NOW);
	return s;
}

static void
an_ended_activity_without_a_new_member_counts_once(void **state)
{
	Scene		s = scene();

	(void) state;
	for (int i = 0; i < 5; i++)
		look(&s);
	assert_int_equal(s.memory.unfulfilled, 1);
	assert_int_equal(s.memory.fulfilled, 4);
	assert_int_equal(s.memory.counted, 11);
	assert_int_equal(s.memory.since, QS_NEVER);
	assert_int_equal(s.memory.probe_at, QS_NEVER);
}

static void
the_third_in_a_row_is_a_stock_out(void **state)
{
	Scene		s = stocked_out();

	(void) state;
	assert_true(s.memory.probe_at >= NOW + 300 * SECOND);
	assert_true(s.memory.probe_at < NOW + 375 * SECOND);
	assert_int_equal(s.memory.fulfilled, 4);
}

static void
a_deadline_that_ends_with_members_missing_is_one_at_once(void **state)
{
	Scene		s = scene();

	(void) state;
	s.growth.too_late = true;
	s.activity.asked = false;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 3);
	assert_int_equal(s.memory.since, NOW);

	/* also where some have come */
	s = scene();
	s.growth.too_late = true;
	s.capacity.total = 7;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 3);
	assert_int_equal(s.memory.fulfilled, 7);

	/* but not where all are there and do not serve: that is no stock-out */
	s = scene();
	s.growth.too_late = true;
	s.capacity.total = 10;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
}

static void
what_is_not_known_to_have_ended_does_not_count(void **state)
{
	Scene		s = scene();

	(void) state;
	s.activity.asked = false;
	look(&s);
	s = scene();
	s.activity.known = false;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	s = scene();
	s.activity.in_progress = true;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	/* the newest activity is older than our write: it has not begun yet */
	s = scene();
	s.activity.last_any_at = s.growth.requested_at - 2 * SECOND;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	s.activity.last_any_at = QS_NEVER;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	/* unless a minute has passed */
	s.now = s.growth.requested_at + 60 * SECOND;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 1);
}

static void
instances_that_boot_are_no_stock_out(void **state)
{
	Scene		s = scene();

	(void) state;
	s.capacity.total = 5;
	look(&s);
	s.capacity.total = 10;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
}

static void
a_group_that_cannot_grow_is_no_stock_out(void **state)
{
	Scene		s = scene();

	(void) state;
	s.capacity.scale_out_suspended = true;
	look(&s);
	s = scene();
	s.capacity.active = false;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	s = scene();
	s.capacity.desired = 6;		/* somebody wrote over it */
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	s = scene();
	s.growth.members_before = QS_UNKNOWN;	/* a row of before */
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	s = scene();
	s.growth.id = 0;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
}

static void
one_more_in_service_ends_it(void **state)
{
	Scene		s = stocked_out();

	(void) state;
	s.capacity.total = 5;
	s.capacity.in_service = 5;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
	assert_int_equal(s.memory.fulfilled, QS_UNKNOWN);
	assert_int_equal(s.memory.since, QS_NEVER);
	assert_int_equal(s.memory.probe_at, QS_NEVER);
	/* and what was counted is not counted again */
	s.capacity.total = 4;
	s.capacity.in_service = QS_UNKNOWN;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
}

static void
members_that_boot_and_vanish_again_do_not_end_it(void **state)
{
	Scene		s = stocked_out();

	(void) state;
	s.capacity.total = 10;
	look(&s);
	s.capacity.in_service = 4;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 3);
	/* where the number in service cannot be read they must do */
	s.capacity.in_service = QS_UNKNOWN;
	s.unreadable = true;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
}

static void
where_nothing_is_missing_any_more_it_ends(void **state)
{
	Scene		s = stocked_out();

	(void) state;
	s.capacity.desired = 4;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
}

static void
members_that_die_lower_what_counts_as_growth(void **state)
{
	Scene		s = stocked_out();

	(void) state;
	s.capacity.total = 2;
	look(&s);
	assert_int_equal(s.memory.fulfilled, 2);
	assert_int_equal(s.memory.unfulfilled, 3);
	s.capacity.total = 3;
	s.capacity.in_service = 3;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 0);
}

static void
what_was_not_observed_changes_nothing(void **state)
{
	Scene		s = stocked_out();
	QsStockOut	before = s.memory;

	(void) state;
	s.growth.id++;
	s.growth.too_late = true;
	s.capacity.known = false;
	look(&s);
	s.capacity.known = true;
	s.capacity.total = -1;
	look(&s);
	s.capacity.total = INT_MAX;
	look(&s);
	assert_memory_equal(&s.memory, &before, sizeof(before));
}

static void
each_probe_is_twice_as_long_after_the_one_before_up_to_an_hour(void **state)
{
	Scene		s = stocked_out();
	int64_t		nominal = 600 * SECOND;

	(void) state;
	for (int i = 0; i < 50; i++)
	{
		qs_stock_out_probed(&s.memory, GROUP, s.now);
		assert_true(s.memory.probe_at >= s.now + nominal);
		assert_true(s.memory.probe_at < s.now + nominal + nominal / 4);
		assert_true(s.memory.probe_at <= s.now + QS_STOCK_OUT_LONGEST_US);
		s.growth.id++;
		look(&s);
		assert_int_equal(s.memory.unfulfilled, 4 + i);
		nominal = nominal * 2 > 3600 * SECOND ? 3600 * SECOND : nominal * 2;
	}
}

static void
garbage_that_was_remembered_does_no_harm(void **state)
{
	Scene		s = scene();

	(void) state;
	s.memory.unfulfilled = INT_MAX;
	s.memory.fulfilled = INT_MAX;
	s.memory.since = INT64_MAX;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, INT_MAX);
	assert_int_equal(s.memory.fulfilled, 4);
	s.now = INT64_MAX;
	qs_stock_out_probed(&s.memory, GROUP, s.now);
	assert_int_equal(s.memory.probe_at, INT64_MAX);
	s = scene();
	s.memory.unfulfilled = INT_MIN;
	s.memory.fulfilled = INT_MIN;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 1);
	assert_int_equal(s.memory.fulfilled, 4);
	s = scene();
	s.growth.requested_at = INT64_MIN;
	look(&s);
	s.growth.requested_at = INT64_MAX;
	look(&s);
	assert_int_equal(s.memory.unfulfilled, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ended_activity_without_a_new_member_counts_once),
		cmocka_unit_test(the_third_in_a_row_is_a_stock_out),
		cmocka_unit_test(a_deadline_that_ends_with_members_missing_is_one_at_once),
		cmocka_unit_test(what_is_not_known_to_have_ended_does_not_count),
		cmocka_unit_test(instances_that_boot_are_no_stock_out),
		cmocka_unit_test(a_group_that_cannot_grow_is_no_stock_out),
		cmocka_unit_test(one_more_in_service_ends_it),
		cmocka_unit_test(members_that_boot_and_vanish_again_do_not_end_it),
		cmocka_unit_test(where_nothing_is_missing_any_more_it_ends),
		cmocka_unit_test(members_that_die_lower_what_counts_as_growth),
		cmocka_unit_test(what_was_not_observed_changes_nothing),
		cmocka_unit_test(each_probe_is_twice_as_long_after_the_one_before_up_to_an_hour),
		cmocka_unit_test(garbage_that_was_remembered_does_no_harm),
	};

	return cmocka_run_group_tests_name("stock_out", tests, NULL, NULL);
}
