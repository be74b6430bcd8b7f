/*-------------------------------------------------------------------------
 * webhook_body.h
 *		The bodies of webhooks; for webhook.c.
 *-------------------------------------------------------------------------
 */
#ifndef QS_WEBHOOK_BODY_H
#define QS_WEBHOOK_BODY_H

#include "cloud/webhook.h"

/* NUL-terminated JSON below QS_WEBHOOK_MAX_BODY bytes, in the arena; NULL when
 * memory is short or a text is not UTF-8. */
extern char *qs_webhook_body(QsArena *arena, QsWebhookFormat format,
							 const QsWebhookAlert *alert,
							 const char *receiver, const char *message_id);

#endif							/* QS_WEBHOOK_BODY_H */
