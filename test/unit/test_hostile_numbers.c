/*-------------------------------------------------------------------------
 * test_hostile_numbers.c
 *		Each class of input that other autoscalers had to fix, in a reply of
 *		the cloud: a row is a test of that name.
 *
 * The classes: not a number, infinities, negative, overflow, empty, missing,
 * huge, deep, of another type.  The answer is always that the point, or the
 * reply, is no data; it is never a zero and never a crash.  What decide() makes
 * of the same classes, and of a zero target, is in decide_cases.h; texts of
 * times and headers in test_timestamp.c and the fuzzers' corpus.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cloud_fixture.h"

typedef struct Case
{
	const char *name;
	const char *value;			/* JSON of the newest of five points; the
								 * others are 50 */
	int			points;			/* usable ones; 0 = no data, -1 = the reply
								 * is refused */
} Case;

static const Case cases[] = {
	{"a_plain_number_is_a_point", "50", 5},
	{"minus_zero_is_zero", "-0.0", 5},
	{"the_smallest_number_is_a_point", "5e-324", 5},
	{"null_is_no_point", "null", 4},
	{"infinity_is_no_point", "Infinity", 4},
	{"minus_infinity_is_no_point", "-Infinity", 4},
	{"nan_as_text_is_no_point", "\"NaN\"", 4},
	{"a_negative_number_is_no_point", "-1", 4},
	{"the_most_negative_number_is_no_point", "-1.7e308", 4},
	{"a_number_that_overflows_is_no_point", "1e400", 4},
	{"a_negative_number_that_overflows_is_no_point", "-1e400", 4},
	{"an_integer_that_overflows_is_no_point", "18446744073709551616", 4},
	{"nan_spoils_the_series", "NaN", 0},
	{"infinity_as_text_spoils_the_series", "\"Infinity\"", 0},
	{"empty_text_spoils_the_series", "\"\"", 0},
	{"an_empty_object_spoils_the_series", "{}", 0},
	{"an_empty_array_spoils_the_series", "[]", 0},
	{"true_spoils_the_series", "true", 0},
	{"an_empty_value_spoils_the_reply", "", -1},
};

#define N_CASES	(sizeof(cases) / sizeof(cases[0]))

/* Five minutes of points for the only load balancer that was asked for. */
static void
give_reply(char *reply, size_t size, const QsCall *call, const char *value)
{
	size_t		used = (size_t) snprintf(reply, size,
										 "{" METADATA ",\"Result\":{\"Data\":{"
										 "\"MetricDataResults\":[{\"Dimensions\":[{"
										 "\"Name\":\"ResourceID\",\"Value\":\"%s\"}],"
										 "\"DataPoints\":[",
										 call->targets[0]->alb_id);

	for (int i = 0; i < 5; i++)
		used += (size_t) snprintf(reply + used, size - used,
								  "%s{\"Timestamp\":%lld,\"Value\":%s}",
								  i > 0 ? "," : "",
								  (long long) (call->window_end_s -
											   60 * (5 - i)),
								  i == 4 ? value : "50");
	snprintf(reply + used, size - used, "]}]}}}");
}

static void
run_case(void **state)
{
	const Case *c = *state;
	Cloud	   *cloud = cloud_new(1);
	const QsLoad *load = &cloud->targets[0].load;
	char		reply[4096];
	QsCall	   *call;

	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_LOAD);
	give_reply(reply, sizeof(reply), call, c->value);
	assert_int_equal(answer(cloud, call, 200, reply), c->points >= 0);
	assert_int_equal(load->known, c->points > 0);
	if (load->known)
	{
		assert_int_equal(load->points, c->points);
		assert_true(load->mean_qps >= 40 && load->mean_qps <= 50);
	}
	cloud_free(cloud);
}

/* A value of "length" characters, all the same but the first and the last. */
static void
expect_no_load(size_t length, char first, char filling, char last)
{
	Cloud	   *cloud = cloud_new(1);
	char	   *value = malloc(length + 1);
	char	   *reply = malloc(length + 4096);
	QsCall	   *call;

	assert_non_null(value);
	assert_non_null(reply);
	memset(value, filling, length);
	value[0] = first;
	value[length - 1] = last;
	value[length] = '\0';
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_LOAD);
	give_reply(reply, length + 4096, call, value);
	(void) answer(cloud, call, 200, reply);
	assert_true(!cloud->targets[0].load.known ||
				cloud->targets[0].load.points == 4);
	free(reply);
	free(value);
	cloud_free(cloud);
}

static void
a_huge_text_is_no_point(void **state)
{
	(void) state;
	expect_no_load(1024 * 1024, '"', '9', '"');
}

/* A digit too many must not become another number. */
static void
a_huge_number_is_no_point(void **state)
{
	(void) state;
	expect_no_load(100000, '9', '9', '9');
}

/* Deeper than any stack would like, and never closed. */
static void
a_deep_value_is_no_point(void **state)
{
	(void) state;
	expect_no_load(100000, '[', '[', '[');
}

int
main(void)
{
	static struct CMUnitTest tests[N_CASES + 3] = {
		cmocka_unit_test(a_huge_text_is_no_point),
		cmocka_unit_test(a_huge_number_is_no_point),
		cmocka_unit_test(a_deep_value_is_no_point),
	};

	for (size_t i = 0; i < N_CASES; i++)
	{
		tests[i + 3].name = cases[i].name;
		tests[i + 3].test_func = run_case;
		tests[i + 3].initial_state = (void *) &cases[i];
	}
	return cmocka_run_group_tests_name("hostile numbers", tests, NULL, NULL);
}
