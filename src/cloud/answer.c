/*-------------------------------------------------------------------------
 * answer.c
 *		What the answers of all clouds have in common.
 *-------------------------------------------------------------------------
 */
#include "cloud/answer.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A Date header further off than this is broken, not the time. */
#define MAX_SKEW_S	(30 * 86400)

const char *
qs_json_text(const json_t *value)
{
	const char *text = json_string_value(value);

	if (text == NULL || strlen(text) != json_string_length(value))
		return NULL;
	return text;
}

bool
qs_json_equals(const json_t *value, const char *text)
{
	const char *s = qs_json_text(value);

	return s != NULL && strcasecmp(s, text) == 0;
}

bool
qs_json_count(const json_t *value, int low, int high, int *out)
{
	if (json_is_integer(value))
	{
		json_int_t	n = json_integer_value(value);

		if (n < low || n > high)
			return false;
		*out = (int) n;
		return true;
	}
	if (json_is_real(value))
	{
		double		d = json_real_value(value);

		/* the comparison is false for NaN */
		if (!(d >= low && d <= high) || d != floor(d))
			return false;
		*out = (int) d;
		return true;
	}
	return false;
}

/*
 * The cloud's clock minus ours, from the Date header, which has whole
 * seconds: a difference below 2 s is the rounding and the way of the reply.
 */
void
qs_answer_learn_skew(QsRegionMemory *memory, const QsHttpReply *reply, int64_t now_us)
{
	int64_t		difference;

	if (memory == NULL || reply->date_epoch_s < 0)
		return;
	difference = reply->date_epoch_s - now_us / 1000000;
	if (llabs(difference) > MAX_SKEW_S)
		return;
	memory->skew_s = llabs(difference) >= 2 ? difference : 0;
}

/* How long the word or number is that starts here; 0 for anything else. */
static size_t
token_length(const char *text, size_t length)
{
	size_t		n = 0;

	while (n < length && (isalnum((unsigned char) text[n]) ||
						  text[n] == '+' || text[n] == '-' || text[n] == '.'))
		n++;
	return n;
}

/* NaN and infinities as several libraries write them, and 1e999. */
static bool
is_no_double(const char *token, size_t n)
{
	static const char *const words[] = {"NaN", "-NaN", "nan", "Infinity",
	"-Infinity", "inf", "-inf"};
	char		number[64];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i]) == n && memcmp(words[i], token, n) == 0)
			return true;
	if (n >= sizeof(number) ||
		!(isdigit((unsigned char) token[0]) || token[0] == '-'))
		return false;
	memcpy(number, token, n);
	number[n] = '\0';
	return isinf(strtod(number, NULL));
}

/*
 * A copy in which values that are no double read null, blanks filling what is
 * left of them: one broken series must not cost the other 49 of its reply.
 */
static char *
without_broken_numbers(QsArena *arena, const QsHttpReply *reply)
{
	size_t		length = reply->body_length;
	char	   *copy = qs_arena_strndup(arena, reply->body, length);
	bool		in_string = false;

	if (copy == NULL || memchr(reply->body, '\0', length) != NULL)
		return NULL;
	for (size_t i = 0; i < length; i++)
	{
		size_t		n;

		if (in_string && copy[i] == '\\')
			i++;
		else if (copy[i] == '"')
			in_string = !in_string;
		else if (!in_string &&
				 (n = token_length(copy + i, length - i)) > 0)
		{
			if (n >= 3 && is_no_double(copy + i, n))
			{
				/* where null does not fit, another thing that is no number */
				memset(copy + i, ' ', n);
				memcpy(copy + i, n >= 4 ? "null" : "[ ]", n >= 4 ? 4 : 3);
			}
			i += n - 1;
		}
	}
	return copy;
}

/*
 * A complete document or NULL.  jansson refuses bytes that are not UTF-8 and
 * more than 2,048 levels.  A number that no integer or double holds would cost
 * the whole reply, so such a document is read again: with all integers as
 * doubles, then without what is no double either.  Only the group that the
 * number belongs to is lost.
 */
json_t *
qs_answer_json(QsArena *arena, const QsHttpReply *reply)
{
	json_error_t problem;
	json_t	   *root;
	char	   *copy;

	if (reply->body == NULL || reply->body_length == 0)
		return NULL;
	root = json_loadb(reply->body, reply->body_length, JSON_ALLOW_NUL,
					  &problem);
	if (root == NULL && json_error_code(&problem) ==
		json_error_numeric_overflow)
		root = json_loadb(reply->body, reply->body_length,
						  JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &problem);
	if (root == NULL &&
		(json_error_code(&problem) == json_error_numeric_overflow ||
		 json_error_code(&problem) == json_error_invalid_syntax) &&
		(copy = without_broken_numbers(arena, reply)) != NULL)
		root = json_loadb(copy, reply->body_length,
						  JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &problem);
	return root;
}

QsErrorClass
qs_answer_class_of_status(int status)
{
	if (status == 429)
		return QS_ERROR_THROTTLED;
	if (status == 408 || (status >= 500 && status != 501))
		return QS_ERROR_TRANSIENT;
	return QS_ERROR_TERMINAL;
}

/* Said by the status alone; 5xx but 503 may have been carried out. */
bool
qs_answer_status_refuses(int status)
{
	return (status >= 400 && status < 500 && status != 408) || status == 503;
}

/*
 * A text that quotes a secret (SignatureDoesNotMatch may quote what was signed)
 * is not passed on.  The beginning is enough to recognise one.
 */
static bool
quotes(const char *text, const char *secret)
{
	char		start[17];

	if (secret[0] == '\0')
		return false;
	memcpy(start, secret, strnlen(secret, sizeof(start) - 1));
	start[strnlen(secret, sizeof(start) - 1)] = '\0';
	return strstr(text, start) != NULL;
}

bool
qs_answer_quotes_secret(const QsCall *call, const char *text)
{
	const QsCredentials *credentials = &call->account->credentials;

	const char *shown = strchr(credentials->authorization, ' ');

	return quotes(text, credentials->secret_access_key) ||
		quotes(text, credentials->session_token) ||
		(shown != NULL && quotes(text, shown + 1));
}
