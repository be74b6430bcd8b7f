/*-------------------------------------------------------------------------
 * messenger.c
 *		A process that tells of a stalled worker in its stead.
 *
 * Started by the launcher (stall.c), which has no database.  It stays as long
 * as deliveries are on their way, at most half a minute, and does not evaluate
 * anything.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/delivery.h"
#include "pg/json_writer.h"
#include "pg/messenger.h"
#include "pg/store_delivery.h"
#include "pg/worker.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define LONGEST_STAY_MS		30000
#define LOOK_MS				250

static char *
describe(const QpsscaleWorkerSlot *slot, TimestampTz stalled_since)
{
	StringInfoData out;

	initStringInfo(&out);
	qpsscale_json_open(&out, NULL, '{');
	qpsscale_json_text(&out, "database", slot->database_name);
	qpsscale_json_int(&out, "pid", slot->pid);
	qpsscale_json_text(&out, "state", slot->stats.state);
	qpsscale_json_time(&out, "heartbeat_at", slot->stats.heartbeat_at);
	qpsscale_json_time(&out, "stalled_since", stalled_since);
	if (slot->stats.last_error[0] != '\0')
		qpsscale_json_text(&out, "last_error", slot->stats.last_error);
	qpsscale_json_close(&out, '}');
	return out.data;
}

/*
 * Not waiting for a standby: that may be the very thing that the worker hangs
 * in, and an alert is no intent.
 */
void
qpsscale_tell_of_stall(const QpsscaleWorkerSlot *shared_slot)
{
	QpsscaleWorkerSlot slot;
	ErrorData  *error;
	int64		until_ms = qs_net_now_ms() + LONGEST_STAY_MS;

	SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
	LWLockAcquire(qpsscale_worker_host->shared->lock, LW_SHARED);
	slot = *shared_slot;
	LWLockRelease(qpsscale_worker_host->shared->lock);
	if (slot.stalled_since == 0)
		return;
	if (!qpsscale_store_stalled(psprintf("the worker of database %s gives no sign of life",
										 slot.database_name),
								describe(&slot, slot.stalled_since), &error))
	{
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale could not write the alert of a stalled worker: %s",
						error->message)));
		return;
	}
	qpsscale_deliver(true, false);
	while (qpsscale_delivery_busy() && qs_net_now_ms() < until_ms)
	{
		qpsscale_worker_wait(LOOK_MS);
		qpsscale_deliver(false, false);
	}
}
