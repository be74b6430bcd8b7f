/*-------------------------------------------------------------------------
 * fuzz.h
 *		What the fuzz targets share: a promise that is not kept ends the
 *		program, and inputs are text that a person can read and write.
 *
 * The assertions have cmocka's names, so that properties written for the unit
 * tests (test/unit/decide_world.h) serve here too.
 *-------------------------------------------------------------------------
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

#define PROMISE(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, \
					__LINE__, #condition); \
			abort(); \
		} \
	} while (0)

#define assert_true(c)			PROMISE(c)
#define assert_false(c)			PROMISE(!(c))
#define assert_non_null(p)		PROMISE((p) != NULL)
#define assert_int_equal(a, b)	PROMISE((a) == (b))
#define assert_in_range(v, low, high) \
	PROMISE((int64_t) (v) >= (low) && (int64_t) (v) <= (high))

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A NUL-terminated copy, so that reading past the end is noticed. */
static inline char *
text_of(const void *data, size_t length)
{
	char	   *text = malloc(length + 1);

	PROMISE(text != NULL);
	if (length > 0)
		memcpy(text, data, length);
	text[length] = '\0';
	return text;
}

/* Lines of an input, one after the other, each in memory of its own. */
typedef struct Lines
{
	const char *at;
	size_t		left;
} Lines;

/* The next line, or "" when there is none; the caller frees it. */
static inline char *
next_line(Lines *lines)
{
	const char *end = lines->left > 0 ? memchr(lines->at, '\n', lines->left) :
		NULL;
	size_t		length = end ? (size_t) (end - lines->at) : lines->left;
	char	   *line = text_of(lines->at, length);

	if (end != NULL)
		length++;
	if (lines->left > 0)
		lines->at += length;
	lines->left -= length;
	return line;
}

/* The rest as a number; 0 when there is none. */
static inline int64_t
next_number(char **cursor)
{
	return strtoll(*cursor, cursor, 10);
}

/*
 * Text that ends in a log, a table and a terminal: UTF-8, and nothing that
 * moves a cursor.  Written apart from core/error.c.
 */
static inline bool
is_clean_text(const char *text)
{
	const unsigned char *s = (const unsigned char *) text;

	while (*s != '\0')
	{
		uint32_t	c = *s++;
		int			more = c < 0x80 ? 0 : c < 0xC2 ? -1 : c < 0xE0 ? 1 :
			c < 0xF0 ? 2 : c < 0xF5 ? 3 : -1;
		static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};

		if (more < 0)
			return false;
		if (more > 0)
			c &= 0x3Fu >> more;
		for (int i = 0; i < more; i++, s++)
		{
			if ((*s & 0xC0) != 0x80)
				return false;
			c = c << 6 | (*s & 0x3F);
		}
		if (c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
			return false;
		if (c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029)
			return false;
	}
	return true;
}

/* What every failure owes to whoever reads of it. */
static inline void
check_error(const QsError *error)
{
	PROMISE(error->class > QS_ERROR_NONE &&
			error->class <= QS_ERROR_CONFLICT);
	PROMISE(memchr(error->code, '\0', sizeof(error->code)) != NULL);
	PROMISE(memchr(error->message, '\0', sizeof(error->message)) != NULL);
	PROMISE(is_clean_text(error->code));
	PROMISE(is_clean_text(error->message));
}

#endif							/* FUZZ_H */
