/*-------------------------------------------------------------------------
 * store_delivery.h
 *		The SQL of delivery.c: what is to be sent, and what became of it.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_DELIVERY_H
#define QPSSCALE_STORE_DELIVERY_H

#include "postgres.h"

#include "cloud/webhook.h"
#include "datatype/timestamp.h"

/* A delivery that was claimed: this process sends it, for as long as its lease
 * lasts.  Texts that go into a body are UTF-8. */
typedef struct ClaimedDelivery
{
	int64		id;
	int64		webhook_id;		/* 0 = qpsscale.alert_webhook_url */
	int			attempts;		/* this one included */
	const char *webhook;		/* name */
	const char *url;			/* or a reference; NULL for webhook 0 */
	const char *format;
	const char *secret;			/* references, or NULL */
	const char *old_secret;
	const char *owner;
	bool		owner_is_superuser;
	QsWebhookAlert alert;
} ClaimedDelivery;

typedef struct DeliveryOutcome
{
	int64		id;
	int64		webhook_id;
	bool		delivered;
	bool		gone;			/* the endpoint is to be disabled */
	bool		counted;		/* false: it never had its turn */
	int			http_status;	/* 0 = no answer */
	int			latency_ms;
	const char *error;			/* NULL for none */
	const char *response;
	int64		delay_ms;		/* until the next attempt, -1 = given up */
} DeliveryOutcome;

typedef struct DeliveryRound
{
	/* in */
	const DeliveryOutcome *outcomes;
	int			n_outcomes;
	int			places;			/* how many may be claimed at most */
	const int64 *busy;			/* webhook of each delivery on its way */
	int			n_busy;
	const int64 *resting;		/* webhooks that want to be left alone */
	int			n_resting;
	int			lease_s;
	bool		has_default_url;
	bool		worker_runs;	/* end the alert that says it does not */
	/* out, in the caller's context */
	ClaimedDelivery *claimed;
	int			n_claimed;
	int64		next_ms;		/* until something is due; -1 = nothing is */
} DeliveryRound;

/* One transaction.  false with *error when the database refused. */
extern bool qpsscale_store_delivery_round(DeliveryRound *round,
										  ErrorData **error);

/* Raises the alert that the worker of this database does not run. */
extern bool qpsscale_store_stalled(const char *summary, const char *details,
								   ErrorData **error);

#endif							/* QPSSCALE_STORE_DELIVERY_H */
