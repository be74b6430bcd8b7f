/*-------------------------------------------------------------------------
 * test_arena.c
 *		The arena's bounds, and the cleaning of error texts.
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

#include "core/arena.h"
#include "core/error.h"

extern const char *__asan_default_options(void);

/* An allocation that cannot succeed is meant to fail, not to abort. */
const char *
__asan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static int
make_arena(void **state)
{
	*state = qs_arena_new(1024 * 1024);
	return *state == NULL ? -1 : 0;
}

static int
drop_arena(void **state)
{
	qs_arena_free(*state);
	return 0;
}

static bool
is_zero(const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

static void
memory_is_zeroed_and_aligned(void **state)
{
	QsArena    *arena = *state;

	for (size_t size = 1; size < 300; size++)
	{
		unsigned char *p = qs_arena_alloc(arena, size);

		assert_non_null(p);
		assert_int_equal((uintptr_t) p % _Alignof(max_align_t), 0);
		assert_true(is_zero(p, size));
		memset(p, 0xFF, size);
	}
}

static void
memory_is_zeroed_again_after_a_reset(void **state)
{
	QsArena    *arena = *state;
	void	   *first = qs_arena_alloc(arena, 4000);
	unsigned char *again;

	assert_non_null(first);
	memset(first, 0xFF, 4000);
	qs_arena_reset(arena);
	again = qs_arena_alloc(arena, 4000);
	assert_ptr_equal(again, first); /* the first block is kept */
	assert_true(is_zero(again, 4000));
}

static void
allocations_do_not_overlap(void **state)
{
	QsArena    *arena = *state;
	unsigned char *p[200];

	for (int i = 0; i < 200; i++)
	{
		p[i] = qs_arena_alloc(arena, 1 + (size_t) i * 7);
		assert_non_null(p[i]);
		memset(p[i], i, 1 + (size_t) i * 7);
	}
	for (int i = 0; i < 200; i++)
		for (size_t j = 0; j < 1 + (size_t) i * 7; j++)
			assert_int_equal(p[i][j], i);
}

static void
the_limit_is_kept_and_a_reset_gives_it_back(void **state)
{
	QsArena    *arena = qs_arena_new(10000);

	(void) state;
	assert_non_null(arena);
	for (int round = 0; round < 50; round++)
	{
		int			got = 0;

		while (qs_arena_alloc(arena, 100) != NULL)
			got++;
		assert_in_range(got, 80, 100);
		assert_true(qs_arena_used(arena) <= 10000);
		/* what failed took nothing: something smaller still fits */
		assert_non_null(qs_arena_alloc(arena, 10000 -
									   qs_arena_used(arena)));
		assert_null(qs_arena_alloc(arena, 1));
		qs_arena_reset(arena);
		assert_int_equal(qs_arena_used(arena), 0);
	}
	qs_arena_free(arena);
}

static void
endless_empty_allocations_reach_the_limit(void **state)
{
	QsArena    *arena = qs_arena_new(1000);
	int			got = 0;

	(void) state;
	assert_non_null(arena);
	while (got < 2000 && qs_arena_alloc(arena, 0) != NULL)
		got++;
	assert_in_range(got, 1, 1000);
	qs_arena_free(arena);
}

static void
a_limit_of_zero_gives_nothing(void **state)
{
	QsArena    *arena = qs_arena_new(0);

	(void) state;
	assert_non_null(arena);
	assert_null(qs_arena_alloc(arena, 1));
	assert_null(qs_arena_strdup(arena, ""));
	qs_arena_free(arena);
}

static void
sizes_that_overflow_are_refused(void **state)
{
	QsArena    *arena = qs_arena_new(SIZE_MAX);

	(void) state;
	assert_non_null(arena);
	assert_null(qs_arena_alloc(arena, SIZE_MAX));
	assert_null(qs_arena_alloc(arena, SIZE_MAX - 40));
	assert_null(qs_arena_alloc_array(arena, SIZE_MAX / 2, 3));
	assert_null(qs_arena_alloc_array(arena, 3, SIZE_MAX / 2));
	/* within the limit, but more than there is */
	assert_null(qs_arena_alloc(arena, SIZE_MAX / 4));
	assert_int_equal(qs_arena_used(arena), 0);
	/* and the arena still works */
	assert_non_null(qs_arena_alloc(arena, 100000));
	qs_arena_free(arena);
}

static void
empty_arrays_are_not_failures(void **state)
{
	assert_non_null(qs_arena_alloc_array(*state, 0, 100));
	assert_non_null(qs_arena_alloc_array(*state, 100, 0));
	assert_non_null(qs_arena_alloc_array(*state, 3, 5));
}

static void
strings_are_copied_and_terminated(void **state)
{
	QsArena    *arena = *state;
	char		raw[3] = {'a', 'b', 'c'};	/* no NUL */

	assert_string_equal(qs_arena_strdup(arena, "hello"), "hello");
	assert_string_equal(qs_arena_strdup(arena, ""), "");
	assert_string_equal(qs_arena_strndup(arena, raw, 3), "abc");
	assert_string_equal(qs_arena_strndup(arena, raw, 0), "");
	assert_string_equal(qs_arena_strndup(arena, "ab\0cd", 5), "ab");
	assert_null(qs_arena_strdup(arena, NULL));
	assert_null(qs_arena_strndup(arena, NULL, 4));
}

static void
printf_takes_any_length_or_nothing(void **state)
{
	QsArena    *arena = *state;
	char	   *text = qs_arena_printf(arena, "%s-%05d", "x", 42);
	size_t		used;

	assert_string_equal(text, "x-00042");
	text = qs_arena_printf(arena, "%*d", 50000, 7);
	assert_non_null(text);
	assert_int_equal(strlen(text), 50000);
	used = qs_arena_used(arena);
	assert_null(qs_arena_printf(arena, "%*d", 2000000, 7));
	assert_int_equal(qs_arena_used(arena), used);
}

static void
freeing_nothing_is_allowed(void **state)
{
	(void) state;
	qs_arena_free(NULL);
}

static void
set_fills_the_struct_and_returns_false(void **state)
{
	QsError		error;

	(void) state;
	memset(&error, 0xA5, sizeof(error));
	assert_false(qs_error_set(&error, QS_ERROR_THROTTLED, "FlowLimitExceeded",
							  "%d calls", 21));
	assert_int_equal(error.class, QS_ERROR_THROTTLED);
	assert_string_equal(error.code, "FlowLimitExceeded");
	assert_string_equal(error.message, "21 calls");
	assert_int_equal(error.http_status, 0);
	assert_false(error.refused);
	assert_int_equal(error.retry_after_ms, -1);
	qs_error_clear(&error);
	assert_int_equal(error.class, QS_ERROR_NONE);
	assert_int_equal(error.retry_after_ms, -1);
	assert_string_equal(error.message, "");
	qs_error_clear(NULL);
	assert_false(qs_error_set(NULL, QS_ERROR_TERMINAL, "x", "y"));
}

/* What goes in, and what a person may see of it. */
static void
texts_are_cleaned(void **state)
{
	static const struct
	{
		const char *in;
		const char *out;
	}			texts[] = {
		{"plain text", "plain text"},
		{"line\r\nbreak\ttab\x1b[31m\x7f", "line  break tab [31m "},
		{"Gr\xc3\xbc\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x98\x80",
		"Gr\xc3\xbc\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x98\x80"},
		{"latin1 \xfc!", "latin1 ?!"},
		{"lonely \x80\xbf", "lonely ??"},
		{"overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???"},
		{"surrogate \xed\xa0\x80", "surrogate ???"},
		{"too high \xf4\x90\x80\x80", "too high ????"},
		{"cut \xe2\x82", "cut ??"},
		{"c1 \xc2\x85.", "c1  ."},
		{"separator \xe2\x80\xa8.", "separator  ."},
		{"reversed \xe2\x80\xae.", "reversed  ."},
		{"isolate \xe2\x81\xa6.", "isolate  ."},
		{"\xff\xfe", "??"},
		{"", ""},
	};
	QsError		error;

	(void) state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		qs_error_set(&error, QS_ERROR_TERMINAL, texts[i].in, "%s",
					 texts[i].in);
		assert_string_equal(error.message, texts[i].out);
		assert_string_equal(error.code, texts[i].out);
	}
}

static void
long_texts_are_cut_between_characters(void **state)
{
	char		text[2000];
	QsError		error;

	(void) state;
	for (int shift = 0; shift < 3; shift++)
	{
		size_t		length;

		memset(text, 'x', sizeof(text));
		for (size_t i = (size_t) shift; i + 3 < sizeof(text); i += 3)
			memcpy(text + i, "\xe2\x82\xac", 3);
		text[sizeof(text) - 1] = '\0';
		qs_error_set(&error, QS_ERROR_TERMINAL, text, "%s", text);
		length = strlen(error.message);
		assert_in_range(length, sizeof(error.message) - 4,
						sizeof(error.message) - 1);
		assert_int_equal((length - (size_t) shift) % 3, 0);
		assert_memory_equal(error.message, text, length);
		assert_int_equal((strlen(error.code) - (size_t) shift) % 3, 0);
	}
}

static void
an_error_may_be_wrapped_in_itself(void **state)
{
	QsError		error;

	(void) state;
	qs_error_set(&error, QS_ERROR_TRANSIENT, "timeout", "no reply in 5 s");
	qs_error_set(&error, QS_ERROR_TRANSIENT, error.code, "group 7: %s",
				 error.message);
	assert_string_equal(error.message, "group 7: no reply in 5 s");
	assert_string_equal(error.code, "timeout");
}

static void
missing_codes_and_texts_do_not_crash(void **state)
{
	QsError		error;

	(void) state;
	qs_error_set(&error, QS_ERROR_RESOURCES, NULL, "out of memory");
	assert_string_equal(error.code, "");
}

static void
only_what_time_may_heal_is_retried(void **state)
{
	static const bool retried[] = {
		[QS_ERROR_THROTTLED] = true,
		[QS_ERROR_TRANSIENT] = true,
		[QS_ERROR_RESOURCES] = false,
	};
	QsError		error;

	(void) state;
	qs_error_clear(&error);
	for (int i = QS_ERROR_NONE; i <= QS_ERROR_RESOURCES; i++)
	{
		error.class = (QsErrorClass) i;
		assert_int_equal(qs_error_retryable(&error), retried[i]);
		assert_string_not_equal(qs_error_class_name(error.class), "unknown");
	}
	assert_string_equal(qs_error_class_name((QsErrorClass) 99), "unknown");
	assert_string_equal(qs_error_class_name((QsErrorClass) -1), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(memory_is_zeroed_and_aligned,
										make_arena, drop_arena),
		cmocka_unit_test_setup_teardown(memory_is_zeroed_again_after_a_reset,
										make_arena, drop_arena),
		cmocka_unit_test_setup_teardown(allocations_do_not_overlap,
										make_arena, drop_arena),
		cmocka_unit_test(the_limit_is_kept_and_a_reset_gives_it_back),
		cmocka_unit_test(endless_empty_allocations_reach_the_limit),
		cmocka_unit_test(a_limit_of_zero_gives_nothing),
		cmocka_unit_test(sizes_that_overflow_are_refused),
		cmocka_unit_test_setup_teardown(empty_arrays_are_not_failures,
										make_arena, drop_arena),
		cmocka_unit_test_setup_teardown(strings_are_copied_and_terminated,
										make_arena, drop_arena),
		cmocka_unit_test_setup_teardown(printf_takes_any_length_or_nothing,
										make_arena, drop_arena),
		cmocka_unit_test(freeing_nothing_is_allowed),
		cmocka_unit_test(set_fills_the_struct_and_returns_false),
		cmocka_unit_test(texts_are_cleaned),
		cmocka_unit_test(long_texts_are_cut_between_characters),
		cmocka_unit_test(an_error_may_be_wrapped_in_itself),
		cmocka_unit_test(missing_codes_and_texts_do_not_crash),
		cmocka_unit_test(only_what_time_may_heal_is_retried),
	};

	return cmocka_run_group_tests_name("arena and error", tests, NULL, NULL);
}
