/*-------------------------------------------------------------------------
 * error.h
 *		How core, cloud and net say what went wrong.
 *
 * A function that can fail returns false (or NULL) and fills a QsError.  The
 * class says what the caller should do about it; code and message are for
 * people.  A message never holds a secret or a signed URL.
 *-------------------------------------------------------------------------
 */
#ifndef QS_ERROR_H
#define QS_ERROR_H

#include <stdbool.h>
#include <stdint.h>

typedef enum QsErrorClass
{
	QS_ERROR_NONE = 0,
	QS_ERROR_THROTTLED,			/* slow down, then the same call may succeed */
	QS_ERROR_TRANSIENT,			/* network, time-out, 5xx: may succeed later */
	QS_ERROR_CREDENTIAL,		/* refresh the credentials once, then terminal */
	QS_ERROR_TERMINAL,			/* the same call will fail again */
	QS_ERROR_MALFORMED,			/* the reply cannot be understood */
	QS_ERROR_RESOURCES,			/* our own memory, descriptors or limits */
	QS_ERROR_CONFLICT			/* a write met a newer version of its object:
								 * read it again and decide anew */
} QsErrorClass;

typedef struct QsError
{
	QsErrorClass class;
	int			http_status;	/* 0 when no reply arrived */
	bool		refused;		/* the other side said no in a reply of its
								 * own: a write was certainly not applied */
	int64_t		retry_after_ms; /* -1 when not given */
	char		code[64];		/* e.g. FlowLimitExceeded, "timeout" */
	char		message[256];	/* valid UTF-8, no control characters */
} QsError;

extern void qs_error_clear(QsError *error);

/* Sets class, code and message; cleans the text; returns false so that a
 * caller can write "return qs_error_set(...)". */
extern bool qs_error_set(QsError *error, QsErrorClass class, const char *code,
						 const char *fmt,...)
			__attribute__((format(printf, 4, 5)));
extern const char *qs_error_class_name(QsErrorClass class);

/* May the same request be sent again within this cycle? */
extern bool qs_error_retryable(const QsError *error);

#endif							/* QS_ERROR_H */
