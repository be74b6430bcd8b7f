/*-------------------------------------------------------------------------
 * alerts.c
 *		Alerts, seen from the processes that write them.
 *
 * Rows of qpsscale.alerts and their deliveries are written by SQL
 * (qpsscale.write_alerts) in whatever transaction they belong to.  What is
 * here tells the database's resident worker, once that is committed, that
 * there is something to deliver; delivery.c does it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

#include "pg/alerts.h"
#include "pg/settings.h"
#include "pg/shared.h"

PG_FUNCTION_INFO_V1(qpsscale_alerts_written);
PG_FUNCTION_INFO_V1(qpsscale_has_alert_webhook_url);

static bool written = false;

static bool
valid_host_part(const char *rest)
{
	size_t		length = strcspn(rest, "/?");

	return length > 0 && strcspn(rest, "@#") >= length;
}

bool
qpsscale_valid_webhook_url(const char *value)
{
	const char *rest = NULL;

	for (const char *c = value; *c != '\0'; c++)
		if ((unsigned char) *c <= ' ' || (unsigned char) *c > '~')
			return false;
	if (strncmp(value, "file:", 5) == 0)
		return value[5] != '\0';
	if (strncmp(value, "env:", 4) == 0)
		return value[4] != '\0';
	if (strncmp(value, "https://", 8) == 0)
		rest = value + 8;
	else if (strncmp(value, "http://", 7) == 0)
		rest = value + 7;
	return rest != NULL && valid_host_part(rest) && strchr(rest, '#') == NULL;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!written || (event != XACT_EVENT_COMMIT &&
					 event != XACT_EVENT_ABORT &&
					 event != XACT_EVENT_PREPARE))
		return;
	written = false;
	/* of one that is prepared the worker learns when it looks by itself */
	if (event == XACT_EVENT_COMMIT)
		qpsscale_database_wake_delivery(MyDatabaseId);
}

/* A process of ours prepares no transaction, so it may NOTIFY. */
static bool
is_process_of_ours(void)
{
	return MyBgworkerEntry != NULL &&
		(strcmp(MyBgworkerEntry->bgw_type, QPSSCALE_WORKER_TYPE) == 0 ||
		 strcmp(MyBgworkerEntry->bgw_type, QPSSCALE_ONESHOT_TYPE) == 0);
}

Datum
qpsscale_alerts_written(PG_FUNCTION_ARGS)
{
	static bool expected = false;

	if (qpsscale_shared != NULL)
	{
		if (!expected)
			RegisterXactCallback(at_transaction_end, NULL);
		expected = true;
		written = true;
	}
	PG_RETURN_BOOL(is_process_of_ours());
}

Datum
qpsscale_has_alert_webhook_url(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(qpsscale_settings.alert_webhook_url != NULL &&
				   qpsscale_settings.alert_webhook_url[0] != '\0');
}
