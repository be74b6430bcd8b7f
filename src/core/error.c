/*-------------------------------------------------------------------------
 * error.c
 *		Filling and reading the error struct of core, cloud and net.
 *
 * Texts come from strangers (a cloud's reply, a proxy's page) and end in a
 * table, a log line and a terminal.  They are cleaned here, once, so that
 * nobody later has to ask whether the bytes are valid UTF-8 or would move a
 * cursor.
 *-------------------------------------------------------------------------
 */
#include "core/error.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

void
qs_error_clear(QsError *error)
{
	if (error == NULL)
		return;
	memset(error, 0, sizeof(*error));
	error->retry_after_ms = -1;
}

/*
 * Length of the well-formed UTF-8 sequence at s, or 0.  Table 3-7 of the
 * Unicode standard: no overlong forms, no surrogates, nothing above
 * U+10FFFF.  A NUL ends every sequence, so nothing is read beyond it.
 */
static size_t
utf8_length(const unsigned char *s)
{
	unsigned char lowest = 0x80;
	unsigned char highest = 0xBF;
	size_t		length;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xC2 && s[0] <= 0xDF)
		length = 2;
	else if (s[0] >= 0xE0 && s[0] <= 0xEF)
		length = 3;
	else if (s[0] >= 0xF0 && s[0] <= 0xF4)
		length = 4;
	else
		return 0;
	if (s[0] == 0xE0)
		lowest = 0xA0;
	else if (s[0] == 0xED)
		highest = 0x9F;
	else if (s[0] == 0xF0)
		lowest = 0x90;
	else if (s[0] == 0xF4)
		highest = 0x8F;
	if (s[1] < lowest || s[1] > highest)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (s[i] < 0x80 || s[i] > 0xBF)
			return 0;
	return length;
}

/*
 * Control characters, and those that end a line or turn the direction of
 * writing: a log line must stay one line and read as it was written.
 */
static bool
is_control(const unsigned char *s, size_t length)
{
	if (length == 1)
		return s[0] < 0x20 || s[0] == 0x7F;
	if (length == 2)
		return s[0] == 0xC2 && s[1] < 0xA0; /* U+0080 to U+009F */
	if (length == 3 && s[0] == 0xE2 && s[1] == 0x80)
		return s[2] >= 0xA8 && s[2] <= 0xAE;	/* U+2028 to U+202E */
	return length == 3 && s[0] == 0xE2 && s[1] == 0x81 &&
		s[2] >= 0xA6 && s[2] <= 0xA9;	/* U+2066 to U+2069 */
}

/*
 * Copy text into a field, never cutting a character in two.  A control
 * character becomes a space, a byte that is not UTF-8 a question mark.
 */
static void
copy_clean(char *to, size_t size, const char *from)
{
	const unsigned char *s = (const unsigned char *) from;
	size_t		used = 0;

	while (*s != '\0')
	{
		size_t		length = utf8_length(s);
		bool		plain = length > 0 && !is_control(s, length);
		size_t		room = plain ? length : 1;

		if (room >= size - used)
			break;
		if (plain)
			memcpy(to + used, s, length);
		else
			to[used] = length == 0 ? '?' : ' ';
		used += room;
		s += length == 0 ? 1 : length;
	}
	to[used] = '\0';
}

/*
 * The struct is cleared first, so that it need not have been initialised:
 * set http_status, refused and retry_after_ms after this call.  The text is
 * formatted aside, because an argument may be the error's own old message.
 */
bool
qs_error_set(QsError *error, QsErrorClass class, const char *code,
			 const char *fmt,...)
{
	char		text[1024];
	char		code_copy[sizeof(error->code)];
	va_list		args;
	int			length;

	if (error == NULL)
		return false;
	va_start(args, fmt);
	length = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (length < 0)
		strcpy(text, "message could not be formatted");
	copy_clean(code_copy, sizeof(code_copy), code != NULL ? code : "");

	qs_error_clear(error);
	error->class = class;
	memcpy(error->code, code_copy, sizeof(code_copy));
	copy_clean(error->message, sizeof(error->message), text);
	return false;
}

const char *
qs_error_class_name(QsErrorClass class)
{
	static const char *const names[] = {
		[QS_ERROR_NONE] = "none",
		[QS_ERROR_THROTTLED] = "throttled",
		[QS_ERROR_TRANSIENT] = "transient",
		[QS_ERROR_CREDENTIAL] = "credential",
		[QS_ERROR_TERMINAL] = "terminal",
		[QS_ERROR_MALFORMED] = "malformed",
		[QS_ERROR_RESOURCES] = "resources",
		[QS_ERROR_CONFLICT] = "conflict",
	};
	size_t		i = (size_t) class;

	return i < sizeof(names) / sizeof(names[0]) ? names[i] : "unknown";
}

/*
 * Only what time may heal.  A malformed reply is not asked for again within
 * the cycle: the next one asks anyway, and a reply that our parser does not
 * understand would only be read twice.
 */
bool
qs_error_retryable(const QsError *error)
{
	return error->class == QS_ERROR_THROTTLED ||
		error->class == QS_ERROR_TRANSIENT;
}
