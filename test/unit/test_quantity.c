/*-------------------------------------------------------------------------
 * test_quantity.c
 *		Quantities, durations and label selectors as Kubernetes writes them,
 *		and as it would not.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cloud/quantity.h"
#include "cloud/selector.h"

static QsArena *arena;

static int
set_up(void **state)
{
	arena = qs_arena_new((size_t) 1024 * 1024);
	return arena == NULL;
}

static int
tear_down(void **state)
{
	qs_arena_free(arena);
	return 0;
}

static void
quantities_have_all_suffixes(void **state)
{
	static const struct
	{
		const char *text;
		double		value;
	}			cases[] = {
		{"0", 0}, {"1", 1}, {"1.5", 1.5}, {".5", 0.5}, {"5.", 5},
		{"250m", 0.25}, {"12Mi", 12.0 * 1024 * 1024}, {"1Ki", 1024},
		{"1Gi", 1073741824.0}, {"2Ti", 2199023255552.0},
		{"1Pi", 1125899906842624.0}, {"1k", 1000}, {"3M", 3e6}, {"4G", 4e9},
		{"5T", 5e12}, {"6P", 6e15}, {"7E", 7e18}, {"1e3", 1000},
		{"1E3", 1000}, {"1E", 1e18}, {"1e-2", 0.01}, {"15e+1", 150},
		{"+7", 7}, {"-5", -5}, {"-250m", -0.25}, {"0.1Ki", 102.4},
		{"9223372036854775807", 9223372036854775807.0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		double		value = NAN;

		assert_true(qs_quantity_parse(cases[i].text, &value));
		if (fabs(value - cases[i].value) > fabs(cases[i].value) * 1e-12)
			fail_msg("%s is %.17g", cases[i].text, value);
	}
}

/* As the HPA rounds: 156340n cores are 157 thousandths. */
static void
quantities_are_rounded_up_to_thousandths(void **state)
{
	double		value;

	assert_true(qs_quantity_parse("156340n", &value));
	assert_true(value == 0.001);
	assert_true(qs_quantity_parse("156340u", &value));
	assert_true(value == 0.157);
	assert_true(qs_quantity_parse("1n", &value));
	assert_true(value == 0.001);
	assert_true(qs_quantity_parse("1e-60", &value));
	assert_true(value == 0.001);
}

static void
what_is_no_quantity_is_refused(void **state)
{
	static const char *const texts[] = {
		NULL, "", " ", "m", "-", "+", ".", "1 ", " 1", "1x", "1Kii", "1ki",
		"1K", "1mm", "--1", "1.2.3", "0x10", "NaN", "inf", "Infinity", "1e",
		"1e+", "1e1.5", "1e999", "1e61", "1,5", "9223372036854775808",
		"16Ei", "99999999999999999999999999999", "1e30",
		"0.0000000000000000000000000000000001", "12MiB", "1\xc2\xb5",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		double		value = 42;

		if (qs_quantity_parse(texts[i], &value))
			fail_msg("\"%s\" is %g", texts[i], value);
		assert_true(value == 42);
	}
}

static void
durations_are_those_of_go(void **state)
{
	static const struct
	{
		const char *text;
		int64_t		us;			/* < 0: refused */
	}			cases[] = {
		{"15s", 15000000}, {"15.02s", 15020000}, {"1m0s", 60000000},
		{"1h2m3s", 3723000000}, {"300ms", 300000}, {"1.5h", 5400000000},
		{"0s", 0}, {"10us", 10}, {"10\xc2\xb5s", 10}, {"1500ns", 1},
		{"", -1}, {"15", -1}, {"s", -1}, {"-1s", -1}, {"1x", -1},
		{"1s1", -1}, {"999999999999h", -1}, {"1 s", -1}, {".s", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t		us = -1;
		bool		ok = qs_duration_parse(cases[i].text, &us);

		if (ok != (cases[i].us >= 0) || us != cases[i].us)
			fail_msg("\"%s\" is %lld", cases[i].text, (long long) us);
	}
	assert_false(qs_duration_parse(NULL, &(int64_t) {0}));
}

/* ----------
 * Selectors
 * ----------
 */
static bool
matches(const QsSelector *selector, const char *labels)
{
	json_t	   *root = json_loads(labels, 0, NULL);
	bool		result = qs_selector_matches(selector, root);

	json_decref(root);
	return result;
}

static void
selectors_match_as_labels_do(void **state)
{
	static const struct
	{
		const char *text;
		const char *labels;
		bool		matches;
	}			cases[] = {
		{"app=web", "{\"app\":\"web\"}", true},
		{"app=web", "{\"app\":\"we\"}", false},
		{"app=web", "{}", false},
		{"app==web", "{\"app\":\"web\"}", true},
		{"app=web,tier=a", "{\"app\":\"web\",\"tier\":\"a\"}", true},
		{"app=web,tier=a", "{\"app\":\"web\",\"tier\":\"b\"}", false},
		{"app=web,tier=a", "{\"app\":\"web\"}", false},
		{"app!=web", "{\"app\":\"x\"}", true},
		{"app!=web", "{}", true},
		{"app!=web", "{\"app\":\"web\"}", false},
		{"app in (a,b)", "{\"app\":\"b\"}", true},
		{"app in (a, b)", "{\"app\":\"c\"}", false},
		{"app notin (a,b)", "{\"app\":\"c\"}", true},
		{"app notin (a,b)", "{}", true},
		{"app notin (a,b)", "{\"app\":\"a\"}", false},
		{"app", "{\"app\":\"\"}", true},
		{"app", "{}", false},
		{"!app", "{}", true},
		{"! app", "{\"app\":\"x\"}", false},
		{"app=", "{\"app\":\"\"}", true},
		{"app=", "{}", false},
		{"example.com/a-b_c=1", "{\"example.com/a-b_c\":\"1\"}", true},
		{" a = b , c in ( d ) ", "{\"a\":\"b\",\"c\":\"d\"}", true},
		{"in=notin", "{\"in\":\"notin\"}", true},
		{"", "{\"app\":\"web\"}", false},
		{"app=1", "{\"app\":1}", false},
		{"app=web", "[]", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		QsSelector	selector;

		assert_true(qs_selector_parse(arena, cases[i].text, &selector));
		if (matches(&selector, cases[i].labels) != cases[i].matches)
			fail_msg("\"%s\" on %s", cases[i].text, cases[i].labels);
	}
}

static void
what_is_no_selector_is_refused(void **state)
{
	static const char *const texts[] = {
		",", "a,", ",a", "a=b c", "a in b", "a in (b", "a in b)", "a in",
		"(", "a>1", "a<1", "!a=b", "=b", "a=b=c", "a in (b))", "! ", "a (b)",
	};
	char		many[QS_SELECTOR_MOST * 2 + 8] = "";
	QsSelector	selector;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (qs_selector_parse(arena, texts[i], &selector))
			fail_msg("\"%s\" has %d requirements", texts[i], selector.n);
	for (int i = 0; i <= QS_SELECTOR_MOST; i++)
		strcat(many, i > 0 ? ",a" : "a");
	assert_false(qs_selector_parse(arena, many, &selector));
	assert_int_equal(selector.n, 0);
}

static void
a_selector_is_read_from_an_object_and_written_as_text(void **state)
{
	static const char object[] = "{\"matchLabels\":{\"app\":\"web\"},"
		"\"matchExpressions\":["
		"{\"key\":\"tier\",\"operator\":\"In\",\"values\":[\"a\",\"b\"]},"
		"{\"key\":\"old\",\"operator\":\"DoesNotExist\"},"
		"{\"key\":\"zone\",\"operator\":\"Exists\"},"
		"{\"key\":\"x\",\"operator\":\"NotIn\",\"values\":[\"y\"]}]}";
	json_t	   *root = json_loads(object, 0, NULL);
	QsSelector	selector;
	QsSelector	again;
	const char *text;

	assert_true(qs_selector_read(arena, root, &selector));
	json_decref(root);
	text = qs_selector_text(arena, &selector);
	assert_string_equal(text,
						"app in (web),tier in (a,b),!old,zone,x notin (y)");
	assert_true(qs_selector_parse(arena, text, &again));
	assert_int_equal(again.n, selector.n);
	assert_true(matches(&again, "{\"app\":\"web\",\"tier\":\"b\",\"zone\":\"1\"}"));
	assert_false(matches(&again, "{\"app\":\"web\",\"tier\":\"b\",\"zone\":\"1\",\"old\":\"\"}"));
}

static void
what_is_no_selector_object_is_refused(void **state)
{
	static const char *const texts[] = {
		"[]", "{\"matchLabels\":[]}", "{\"matchLabels\":{\"a\":1}}",
		"{\"matchExpressions\":[1]}",
		"{\"matchExpressions\":[{\"key\":\"a\"}]}",
		"{\"matchExpressions\":[{\"key\":\"\",\"operator\":\"Exists\"}]}",
		"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Near\"}]}",
		"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\"}]}",
		"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"Exists\","
		"\"values\":[\"b\"]}]}",
		"{\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\","
		"\"values\":[1]}]}",
	};
	QsSelector	selector;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		json_t	   *root = json_loads(texts[i], 0, NULL);

		if (qs_selector_read(arena, root, &selector))
			fail_msg("%s", texts[i]);
		json_decref(root);
	}
	assert_false(qs_selector_read(arena, NULL, &selector));
}

#define TEST(function)	cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(quantities_have_all_suffixes),
		TEST(quantities_are_rounded_up_to_thousandths),
		TEST(what_is_no_quantity_is_refused),
		TEST(durations_are_those_of_go),
		TEST(selectors_match_as_labels_do),
		TEST(what_is_no_selector_is_refused),
		TEST(a_selector_is_read_from_an_object_and_written_as_text),
		TEST(what_is_no_selector_object_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
