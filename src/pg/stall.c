/*-------------------------------------------------------------------------
 * stall.c
 *		The launcher's watch over workers that run and give no sign of life.
 *
 * A worker beats its heart at each wake, and wakes several times within
 * qpsscale.stall_timeout.  One that does not, or whose starts all end early
 * for that long, is stalled: the slot says so (problems(), stat_worker), and
 * a process of its own writes the alert in that database and delivers it,
 * since the launcher has no database and the worker cannot report its own
 * death.  It is sent again from time to time while the stall lasts, as it is
 * also the only process that tries failed deliveries anew.
 *
 * When the heart beats again the slot says that, and the worker itself ends
 * the alert (delivery.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/installation.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/stall.h"

#define AGAIN_MS			60000
#define LONGEST_WATCH_MS	15000
#define SHORTEST_WATCH_MS	200

typedef struct Watch
{
	BackgroundWorkerHandle *messenger;
	TimestampTz sent_at;		/* 0 = not in this stall */
} Watch;

static Watch watches[QPSSCALE_MAX_DATABASES];

static bool
messenger_is_under_way(Watch *watch)
{
	pid_t		pid;
	BgwHandleStatus status;

	if (watch->messenger == NULL)
		return false;
	status = GetBackgroundWorkerPid(watch->messenger, &pid);
	if (status == BGWH_NOT_YET_STARTED || status == BGWH_STARTED)
		return true;
	pfree(watch->messenger);
	watch->messenger = NULL;
	return false;
}

static bool
register_messenger(int slot, const char *database_name)
{
	BackgroundWorker worker = {0};
	QpsscaleLaunch launch = {0};
	MemoryContext before;
	bool		registered;

	strlcpy(launch.build_id, qpsscale_host_stamp.build_id,
			sizeof(launch.build_id));
	launch.resident = false;
	launch.tells_of_stall = true;
	launch.slot = slot;
	strlcpy(launch.database_name, database_name, NAMEDATALEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "qpsscale",
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "qpsscale_oneshot_main",
			sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name),
			 "qpsscale messenger for %s", database_name);
	strlcpy(worker.bgw_type, QPSSCALE_ONESHOT_TYPE, sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, &launch, sizeof(launch));

	before = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker,
												 &watches[slot].messenger);
	MemoryContextSwitchTo(before);
	if (!registered)
		watches[slot].messenger = NULL;
	return registered;
}

static void
send_messenger(int slot, const char *database_name, TimestampTz now)
{
	Watch	   *watch = &watches[slot];

	if (watch->sent_at != 0 &&
		!TimestampDifferenceExceeds(watch->sent_at, now, AGAIN_MS))
		return;
	/* where no process is to be had it is tried at the next look */
	if (!messenger_is_under_way(watch) &&
		register_messenger(slot, database_name))
		watch->sent_at = now;
}

static bool
lasts_too_long(TimestampTz since, TimestampTz now)
{
	return since != 0 &&
		TimestampDifferenceExceeds(since, now,
								   qpsscale_settings_stall_timeout_ms());
}

void
qpsscale_stall_look(int slot, const char *database_name, bool running,
					TimestampTz failing_since, TimestampTz now)
{
	TimestampTz started_at = 0;
	TimestampTz heartbeat_at = 0;
	TimestampTz before = qpsscale_slot_stalled(slot);
	TimestampTz since = 0;

	if (running)
		qpsscale_slot_heartbeat(slot, &started_at, &heartbeat_at);
	if (lasts_too_long(heartbeat_at, now))
		since = heartbeat_at;
	else if (lasts_too_long(failing_since, now))
		since = failing_since;
	if (since != 0 && before == 0)
	{
		qpsscale_slot_set_stalled(slot, since);
		watches[slot].sent_at = 0;
		ereport(LOG,
				(errmsg("qpsscale worker for database \"%s\" is stalled: %s",
						database_name, since == failing_since ?
						"it keeps ending soon after its start" :
						"it gives no sign of life")));
	}
	else if (since == 0 && before != 0)
	{
		qpsscale_slot_set_stalled(slot, 0);
		ereport(LOG,
				(errmsg("qpsscale worker for database \"%s\" is no longer stalled",
						database_name)));
	}
	if (since != 0)
		send_messenger(slot, database_name, now);
}

void
qpsscale_stall_forget(int slot)
{
	if (watches[slot].messenger != NULL)
		pfree(watches[slot].messenger);
	memset(&watches[slot], 0, sizeof(Watch));
}

long
qpsscale_stall_watch_ms(void)
{
	return Max(SHORTEST_WATCH_MS,
			   Min(LONGEST_WATCH_MS,
				   qpsscale_settings_stall_timeout_ms() / 4));
}
