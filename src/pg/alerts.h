/*-------------------------------------------------------------------------
 * alerts.h
 *		Alerts, seen from the processes that write them.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_ALERTS_H
#define QPSSCALE_ALERTS_H

#include "postgres.h"

/* An http(s) URL without user, fragment and blanks, or a reference to one; the
 * CHECK of qpsscale.webhooks.url says the same. */
extern bool qpsscale_valid_webhook_url(const char *value);

#endif							/* QPSSCALE_ALERTS_H */
