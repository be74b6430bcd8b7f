/*-------------------------------------------------------------------------
 * webhook.h
 *		Alerts as HTTP requests: bodies, signatures, and what an answer means.
 *
 * Sans-I/O like the providers: nothing here sends, sleeps or reads a clock.
 *
 * Sources: the Standard Webhooks specification (standardwebhooks.com, spec
 * 1.0.0) for headers, signature, schedule and answers; CloudEvents 1.0.2, JSON
 * format, structured mode; Alertmanager's webhook receiver, version 4; Slack's
 * incoming webhooks and limits of Block Kit.
 *-------------------------------------------------------------------------
 */
#ifndef QS_WEBHOOK_H
#define QS_WEBHOOK_H

#include <stddef.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/http_message.h"

/* A body stays below this whatever an alert holds. */
#define QS_WEBHOOK_MAX_BODY		20000

/* Attempts before a delivery is given up. */
#define QS_WEBHOOK_ATTEMPTS		10

/* Bytes of a secret: Standard Webhooks asks for 24 to 64. */
#define QS_WEBHOOK_MIN_SECRET	24
#define QS_WEBHOOK_MAX_SECRET	64

typedef enum QsWebhookFormat
{
	QS_WEBHOOK_STANDARD,		/* also a CloudEvent */
	QS_WEBHOOK_ALERTMANAGER,
	QS_WEBHOOK_SLACK
} QsWebhookFormat;

/* Texts are UTF-8. */
typedef struct QsWebhookAlert
{
	const char *uuid;
	const char *type;			/* "qpsscale.group.at_max" */
	const char *severity;		/* "info", "warning", "critical" */
	const char *transition;		/* "event", "firing", "resolved" */
	const char *summary;		/* one line */
	const char *source;			/* URI reference of the database */
	const char *group;			/* name of the resource group, or NULL */
	const char *data;			/* a JSON object */
	int64_t		occurred_us;	/* since the epoch */
	int64_t		resolved_us;	/* 0 unless resolved */
} QsWebhookAlert;

extern bool qs_webhook_format_by_name(const char *name,
									  QsWebhookFormat *format);

/* The same for every attempt and endpoint, so that a receiver can tell what it
 * has had already; NULL when the arena is exhausted. */
extern char *qs_webhook_message_id(QsArena *arena,
								   const QsWebhookAlert *alert);

/*
 * A POST with body and headers, without a URL.  receiver is the endpoint's
 * name.  secrets are whsec_ and base64, or raw; with none the request is not
 * signed.  false with error when a secret is unusable or memory is short.
 */
extern bool qs_webhook_request(QsArena *arena, QsWebhookFormat format,
							   const QsWebhookAlert *alert,
							   const char *receiver,
							   const char *const *secrets, int n_secrets,
							   int64_t now_epoch_s, QsHttpRequest *request,
							   QsError *error);

/* "v1,<base64>" of one secret; NULL with error when it is unusable. */
extern char *qs_webhook_signature(QsArena *arena, const char *secret,
								  const char *message_id,
								  int64_t timestamp_s, const char *body,
								  size_t length, QsError *error);

typedef enum QsWebhookAnswer
{
	QS_WEBHOOK_DELIVERED,
	QS_WEBHOOK_FAILED,			/* try again later */
	QS_WEBHOOK_THROTTLED,		/* likewise, and leave the endpoint alone */
	QS_WEBHOOK_GONE				/* never again */
} QsWebhookAnswer;

extern QsWebhookAnswer qs_webhook_answer(int http_status);

/*
 * Milliseconds until the next attempt after so many have been made, spread by
 * luck (0 to 1) over 10 % to either side; -1 when it was the last.
 */
extern int64_t qs_webhook_delay_ms(int attempts, double luck);

/* The beginning of an answer for people: visible ASCII, at most size - 1
 * bytes, and without the path of the URL, which may be a secret. */
extern void qs_webhook_excerpt(const char *url, const char *text,
							   size_t length, char *out, size_t size);

#endif							/* QS_WEBHOOK_H */
