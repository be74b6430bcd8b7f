/*-------------------------------------------------------------------------
 * test_timestamp.c
 *		Time formats of cloud APIs: what is read, what is refused.
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cloud/timestamp.h"

static const struct
{
	const char *promise;
	const char *text;
	int64_t		us;				/* -1: refused */
}			cases[] = {
	{"UTC", "2022-05-11T03:15:26Z", INT64_C(1652238926000000)},
	{"offset east", "2022-04-10T18:29:38+08:00", INT64_C(1649586578000000)},
	{"offset west", "2022-04-10T18:29:38-02:30", INT64_C(1649624378000000)},
	{"offset without colon", "2022-04-10T18:29:38+0800",
	INT64_C(1649586578000000)},
	{"offset of hours only", "2022-04-10T18:29:38+08",
	INT64_C(1649586578000000)},
	{"b05 minute form", "2021-09-06T07:37Z", INT64_C(1630913820000000)},
	{"minute form with offset", "2021-09-06T15:37+08:00",
	INT64_C(1630913820000000)},
	{"fraction", "2022-05-11T03:15:26.25Z", INT64_C(1652238926250000)},
	{"nanoseconds are cut", "2022-05-11T03:15:26.123456789Z",
	INT64_C(1652238926123456)},
	{"small letters and a blank", "2022-05-11 03:15:26z",
	INT64_C(1652238926000000)},
	{"leap day", "2024-02-29T00:00:00Z", INT64_C(1709164800000000)},
	{"leap day of 2000", "2000-02-29T00:00:00Z", INT64_C(951782400000000)},
	{"leap second", "2016-12-31T23:59:60Z", INT64_C(1483228800000000)},
	{"the epoch", "1970-01-01T00:00:00Z", 0},
	{"no leap day in 2100", "2100-02-29T00:00:00Z", -1},
	{"no 30 February", "2024-02-30T00:00:00Z", -1},
	{"month 13", "2024-13-01T00:00:00Z", -1},
	{"hour 24", "2024-01-01T24:00:00Z", -1},
	{"second 61", "2024-01-01T00:00:61Z", -1},
	{"no offset", "2022-05-11T03:15:26", -1},
	{"date only", "2022-05-11", -1},
	{"rubbish after it", "2022-05-11T03:15:26Zx", -1},
	{"empty fraction", "2022-05-11T03:15:26.Z", -1},
	{"endless fraction", "2022-05-11T03:15:26.0000000000000000000Z", -1},
	{"the zero time of Go", "0001-01-01T00:00:00Z", -1},
	{"before the epoch by its offset", "1970-01-01T00:00:00+08:00", -1},
	{"empty", "", -1},
	{"number", "1652238926", -1},
	{"cut off in the offset", "2022-05-11T03:15:26+0", -1},
	{"minutes of the offset", "2022-05-11T03:15:26+08:60", -1},
};

static void
reads_what_clouds_write(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int64_t		us = -1;
		bool		ok = qs_timestamp_parse(cases[i].text, &us);

		if (ok != (cases[i].us >= 0) || us != cases[i].us)
			fail_msg("%s: %s gave %lld", cases[i].promise, cases[i].text,
					 (long long) us);
	}
	assert_false(qs_timestamp_parse(NULL, NULL));
}

static void
basic_form_agrees_with_gmtime(void **state)
{
	(void) state;
	for (int64_t at = 0; at < INT64_C(253402300800); at += 86399 * 37)
	{
		time_t		t = (time_t) at;
		struct tm	tm;
		char		expected[64];
		char		actual[17];

		assert_non_null(gmtime_r(&t, &tm));
		assert_int_equal(strftime(expected, sizeof(expected),
								  "%Y%m%dT%H%M%SZ", &tm), 16);
		assert_true(qs_timestamp_basic(at, actual));
		assert_string_equal(actual, expected);
	}
}

static void
basic_form_refuses_other_years(void **state)
{
	char		out[17];

	(void) state;
	assert_true(qs_timestamp_basic(INT64_C(253402300799), out));
	assert_string_equal(out, "99991231T235959Z");
	assert_false(qs_timestamp_basic(INT64_C(253402300800), out));
	assert_false(qs_timestamp_basic(-1, out));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_clouds_write),
		cmocka_unit_test(basic_form_agrees_with_gmtime),
		cmocka_unit_test(basic_form_refuses_other_years),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
