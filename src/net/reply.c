/*-------------------------------------------------------------------------
 * reply.c
 *		One HTTP reply while it arrives: bounded body, the headers we read.
 *-------------------------------------------------------------------------
 */
#include "net/reply.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "net/compat_curl.h"

#define FIRST_CAPACITY 4096

void
qs_reply_clear(QsReply *reply)
{
	reply->length = 0;
	reply->header_bytes = 0;
	reply->status = 0;
	reply->date_epoch_s = -1;
	reply->too_large = reply->no_memory = false;
	reply->content_type[0] = reply->retry_after[0] = '\0';
	if (reply->body != NULL)
		reply->body[0] = '\0';
}

bool
qs_reply_append(QsReply *reply, const char *data, size_t length,
				size_t max_bytes)
{
	if (length > max_bytes || reply->length > max_bytes - length)
	{
		reply->too_large = true;
		return false;
	}
	if (reply->length + length >= reply->capacity)
	{
		size_t need = reply->length + length + 1;
		size_t larger = reply->capacity ? reply->capacity : FIRST_CAPACITY;
		char *body;

		while (larger < need)
			larger = larger > SIZE_MAX / 2 ? need : larger * 2;
		if (larger > max_bytes)
			larger = max_bytes + 1 > need ? max_bytes + 1 : need;
		body = realloc(reply->body, larger);
		if (body == NULL)
		{
			reply->no_memory = true;
			return false;
		}
		reply->body = body;
		reply->capacity = larger;
	}
	memcpy(reply->body + reply->length, data, length);
	reply->length += length;
	reply->body[reply->length] = '\0';
	return true;
}

/*
 * Copies a header's value if the line has that name.  What does not fit is
 * cut: none of these values is long where it makes sense.
 */
static bool
header_is(const char *line, size_t length, const char *name, char *value,
		  size_t size)
{
	size_t skip = strlen(name);

	if (length <= skip || line[skip] != ':' ||
		strncasecmp(line, name, skip) != 0)
		return false;
	line += skip + 1;
	length -= skip + 1;
	while (length > 0 && (*line == ' ' || *line == '\t'))
	{
		line++;
		length--;
	}
	while (length > 0 && (unsigned char) line[length - 1] <= ' ')
		length--;
	if (length >= size)
		length = size - 1;
	memcpy(value, line, length);
	value[length] = '\0';
	return true;
}

bool
qs_reply_header(QsReply *reply, const char *line, size_t length)
{
	char date[64];

	reply->header_bytes += length;
	if (reply->header_bytes > QS_MAX_HEADER_BYTES)
	{
		reply->too_large = true;
		return false;
	}
	if (length == 0)
		return true;
	switch (line[0])
	{
		case 'H':
			/* 100 Continue and its kin come before the reply proper. */
			if (length > 5 && memcmp(line, "HTTP/", 5) == 0)
			{
				reply->date_epoch_s = -1;
				reply->content_type[0] = reply->retry_after[0] = '\0';
			}
			break;
		case 'c':
		case 'C':
			(void) header_is(line, length, "Content-Type",
							 reply->content_type,
							 sizeof(reply->content_type));
			break;
		case 'd':
		case 'D':
			if (header_is(line, length, "Date", date, sizeof(date)))
				reply->date_epoch_s = curl_getdate(date, NULL);
			break;
		case 'r':
		case 'R':
			(void) header_is(line, length, "Retry-After", reply->retry_after,
							 sizeof(reply->retry_after));
			break;
		default:
			break;
	}
	return true;
}

/*
 * RFC 9110, section 10.2.3: a number of seconds or a date.  A date is
 * compared with the server's own clock, since ours may be off.
 */
int64_t
qs_reply_retry_after_ms(const QsReply *reply, int64_t now_epoch_s)
{
	const char *text = reply->retry_after;
	int64_t seconds = 0;
	int64_t date;

	if (text[0] == '\0')
		return -1;
	if (text[strspn(text, "0123456789")] == '\0')
	{
		for (; *text != '\0' && seconds < QS_MAX_RETRY_AFTER_MS; text++)
			seconds = seconds * 10 + (*text - '0');
	}
	else
	{
		date = curl_getdate(text, NULL);
		if (date < 0)
			return -1;
		seconds = date - (reply->date_epoch_s >= 0 ? reply->date_epoch_s : now_epoch_s);
	}
	if (seconds < 0)
		return 0;
	if (seconds > QS_MAX_RETRY_AFTER_MS / 1000)
		return QS_MAX_RETRY_AFTER_MS;
	return seconds * 1000;
}
