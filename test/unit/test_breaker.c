/*-------------------------------------------------------------------------
 * test_breaker.c
 *		How long to wait before something that failed is tried again.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/breaker.h"

#define SECOND	INT64_C(1000000)

static void
four_failures_open_nothing(void **state)
{
	(void) state;
	for (int failures = 0; failures < QS_CIRCUIT_FAILURES; failures++)
		assert_int_equal(qs_circuit_pause_us(1, failures), 0);
	assert_int_equal(qs_circuit_pause_us(1, -1), 0);
	assert_int_equal(qs_circuit_pause_us(1, INT_MIN), 0);
}

static void
each_failure_doubles_the_pause_up_to_an_hour(void **state)
{
	(void) state;
	for (int64_t group = 1; group <= 1000; group++)
	{
		int64_t		nominal = 60 * SECOND;

		for (int failures = 5; failures < 40; failures++)
		{
			int64_t		pause = qs_circuit_pause_us(group, failures);

			assert_true(pause >= nominal);
			assert_true(pause < nominal + nominal / 4);
			nominal = nominal * 2 > 3600 * SECOND ? 3600 * SECOND :
				nominal * 2;
		}
	}
}

static void
no_pause_is_longer_than_the_longest(void **state)
{
	static const int many[] = {11, 12, 100, 1000000, INT_MAX - 1, INT_MAX};

	(void) state;
	for (int64_t group = -1000; group <= 1000; group++)
		for (int i = 0; i < 6; i++)
		{
			int64_t		pause = qs_circuit_pause_us(group, many[i]);

			assert_true(pause >= 3600 * SECOND);
			assert_true(pause <= QS_CIRCUIT_LONGEST_US);
		}
	assert_true(qs_circuit_pause_us(INT64_MIN, INT_MAX) >= 3600 * SECOND);
	assert_true(qs_circuit_pause_us(INT64_MAX, INT_MAX) >= 3600 * SECOND);
}

/* On any server, so that a promoted one waits as long as the old one would. */
static void
the_same_failure_always_has_the_same_pause(void **state)
{
	(void) state;
	for (int failures = 5; failures < 20; failures++)
		assert_int_equal(qs_circuit_pause_us(42, failures),
						 qs_circuit_pause_us(42, failures));
}

/* A thousand groups whose cloud went away at once come back spread out. */
static void
groups_that_failed_together_come_back_apart(void **state)
{
	int			in_tenth[10] = {0};

	(void) state;
	for (int64_t group = 1; group <= 1000; group++)
	{
		int64_t		jitter = qs_circuit_pause_us(group, 5) - 60 * SECOND;

		in_tenth[jitter * 10 / (15 * SECOND)]++;
	}
	for (int i = 0; i < 10; i++)
	{
		assert_true(in_tenth[i] > 60);
		assert_true(in_tenth[i] < 150);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(four_failures_open_nothing),
		cmocka_unit_test(each_failure_doubles_the_pause_up_to_an_hour),
		cmocka_unit_test(no_pause_is_longer_than_the_longest),
		cmocka_unit_test(the_same_failure_always_has_the_same_pause),
		cmocka_unit_test(groups_that_failed_together_come_back_apart),
	};

	return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
