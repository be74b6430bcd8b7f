/*-------------------------------------------------------------------------
 * http_message.h
 *		HTTP requests and replies as values: what cloud builds, net sends.
 *
 * All pointers belong to the arena (or the caller) that made the message; a
 * request must stay valid until its reply was taken.
 *-------------------------------------------------------------------------
 */
#ifndef QS_HTTP_MESSAGE_H
#define QS_HTTP_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

typedef struct QsHttpHeader
{
	const char *name;
	const char *value;
} QsHttpHeader;

typedef struct QsHttpRequest
{
	const char *method;			/* "GET", "POST", "PUT", "PATCH" */
	const char *url;			/* absolute, already escaped */
	const QsHttpHeader *headers;
	int			n_headers;
	const char *body;			/* NULL for none */
	size_t		body_length;
} QsHttpRequest;

typedef struct QsHttpReply
{
	int			status;			/* 100..599 */
	const char *content_type;	/* "" when absent */
	const char *body;			/* not NUL-terminated by contract, but a NUL
								 * follows body[body_length] */
	size_t		body_length;
	int64_t		retry_after_ms; /* -1 when absent or unusable */
	int64_t		date_epoch_s;	/* Date header, -1 when absent */
} QsHttpReply;

#endif							/* QS_HTTP_MESSAGE_H */
