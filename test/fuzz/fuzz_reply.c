/*-------------------------------------------------------------------------
 * fuzz_reply.c
 *		Any header lines and any body, as curl hands them over: bounded, and
 *		nothing but the last reply's headers counts.
 *
 * Input: a line "MOST-BYTES CHUNK NOW", header lines, an empty line, the body.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "net/reply.h"

static void
check_headers(const QsReply *reply, int64_t now)
{
	int64_t		wait = qs_reply_retry_after_ms(reply, now);

	PROMISE(memchr(reply->content_type, '\0', sizeof(reply->content_type)));
	PROMISE(memchr(reply->retry_after, '\0', sizeof(reply->retry_after)));
	PROMISE(wait >= -1 && wait <= QS_MAX_RETRY_AFTER_MS);
	PROMISE(reply->retry_after[0] != '\0' || wait == -1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	char	   *first = next_line(&lines);
	char	   *cursor = first;
	size_t		most = (size_t) next_number(&cursor) % 100000;
	size_t		chunk = (size_t) next_number(&cursor) % 1000 + 1;
	int64_t		now = next_number(&cursor);
	QsReply		reply = {0};
	size_t		taken = 0;
	const char *body;

	free(first);
	if (now < 0 || now > INT64_C(1000000000000))
		now = 1704164645;
	qs_reply_clear(&reply);
	while (lines.left > 0)
	{
		/* as curl does: with the line's end, without a NUL after it */
		const char *end = memchr(lines.at, '\n', lines.left);
		size_t		length = end ? (size_t) (end - lines.at) + 1 : lines.left;
		char	   *line;

		if (*lines.at == '\n')
			break;
		line = malloc(length);
		PROMISE(line != NULL);
		memcpy(line, lines.at, length);
		PROMISE(qs_reply_header(&reply, line, length) == !reply.too_large);
		if (length > 5 && memcmp(line, "HTTP/", 5) == 0 && !reply.too_large)
			PROMISE(reply.date_epoch_s == -1 && reply.retry_after[0] == '\0' &&
					reply.content_type[0] == '\0');
		free(line);
		check_headers(&reply, now);
		lines.at += length;
		lines.left -= length;
	}
	PROMISE(reply.header_bytes <= size);

	body = lines.at;
	while (taken < lines.left)
	{
		size_t		n = lines.left - taken < chunk ? lines.left - taken : chunk;

		if (!qs_reply_append(&reply, body + taken, n, most))
		{
			PROMISE(reply.too_large && taken + n > most);
			break;
		}
		taken += n;
		PROMISE(reply.length == taken && reply.length <= most);
		PROMISE(reply.body[taken] == '\0' && reply.capacity > taken);
	}
	PROMISE(taken == 0 || memcmp(reply.body, body, taken) == 0);
	qs_reply_clear(&reply);
	PROMISE(reply.length == 0 && !reply.too_large && reply.date_epoch_s == -1);
	check_headers(&reply, now);
	free(reply.body);
	return 0;
}
