/*-------------------------------------------------------------------------
 * reply.h
 *		One HTTP reply while it arrives: bounded body, the headers we read.
 *-------------------------------------------------------------------------
 */
#ifndef QS_REPLY_H
#define QS_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All headers of a reply together; no cloud sends a tenth of it. */
#define QS_MAX_HEADER_BYTES (256 * 1024)
#define QS_MAX_RETRY_AFTER_MS ((int64_t) 3600 * 1000)

typedef struct QsReply
{
	struct QsReply *next; /* in a free list */
	char *body; /* NUL after length; NULL until the first byte */
	size_t length;
	size_t capacity;
	size_t header_bytes;
	int status;
	int64_t date_epoch_s; /* -1 when absent */
	bool too_large;
	bool no_memory;
	char content_type[128];
	char retry_after[64]; /* as it came; "" when absent */
} QsReply;

extern void qs_reply_clear(QsReply *reply);

/* false when the limit or memory ends: too_large or no_memory is set. */
extern bool qs_reply_append(QsReply *reply, const char *data, size_t length,
							size_t max_bytes);

/* One header line; a status line begins the headers anew. */
extern bool qs_reply_header(QsReply *reply, const char *line, size_t length);

/* Retry-After as milliseconds, 0 to one hour; -1 when absent or unusable.
 * now_epoch_s serves where the reply has a date there but no Date header. */
extern int64_t qs_reply_retry_after_ms(const QsReply *reply,
									   int64_t now_epoch_s);

#endif /* QS_REPLY_H */
