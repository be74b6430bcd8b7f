/*-------------------------------------------------------------------------
 * launcher.c
 *		The process that keeps one worker per listed database running.
 *
 * It has shared memory but no database, reads qpsscale.databases, and owns
 * the decision when a worker is started again: the workers themselves are
 * registered to be never restarted.  A mistyped name must cost a line in the
 * log now and then, not a fork per millisecond.
 *
 * Each slot of the shared memory has a ward here, with the same index:
 *
 *	state		what happens						becomes
 *	---------	---------------------------------	-------------------------
 *	FREE		its name is listed					WAITING, due now
 *	WAITING		due, and registered					RUNNING
 *	WAITING		due, but max_worker_processes		WAITING, due in 5 s
 *				are in use (logged once)
 *	WAITING		reload, or a RETRY: CREATE			WAITING, due now, back-off
 *				EXTENSION was committed, a			forgotten
 *				command on the database ended
 *	WAITING		a PAUSE: the database was			WAITING, due in 300 s
 *				dropped or renamed
 *	WAITING		a command holds the database		WAITING, until it ends
 *	WAITING		its name has left the list			FREE
 *	RUNNING		ended for such a command			WAITING, due now
 *	RUNNING		ended: no extension					WAITING, due in interval,
 *													at least 5 s
 *	RUNNING		ended: built apart from us			WAITING, due in 300 s
 *	RUNNING		ended within 5 s					WAITING, due in back-off
 *													(5 s, doubling to 300 s)
 *	RUNNING		ended later							WAITING, due now
 *	RUNNING		its name has left the list			STOPPING, told to end
 *	STOPPING	ended								WAITING if listed again,
 *													else FREE
 *
 * Beside that each wake looks at the workers' heartbeats (stall.c).
 *
 * The postmaster sends SIGUSR1 when a worker of ours starts or ends.  Workers
 * of an earlier launcher send none: a launcher that finds such orphans stops
 * them and waits for their slots (STOPPING without a handle).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/compat.h"
#include "pg/crash_points.h"
#include "pg/installation.h"
#include "pg/launcher.h"
#include "pg/settings.h"
#include "pg/shared.h"
#include "pg/stall.h"

#define SHORT_LIFE_MS		5000
#define FIRST_BACKOFF_MS	5000
#define LAST_BACKOFF_MS		300000
#define REGISTER_RETRY_MS	5000
#define ORPHAN_POLL_MS		1000
#define LONGEST_SLEEP_MS	60000
#define LAUNCHER_RESTART_S	5

typedef enum WardState
{
	WARD_FREE,
	WARD_WAITING,
	WARD_RUNNING,
	WARD_STOPPING
} WardState;

typedef struct Ward
{
	WardState	state;
	char		name[NAMEDATALEN];
	bool		listed;
	BackgroundWorkerHandle *handle; /* NULL for an orphan */
	TimestampTz started_at;
	TimestampTz due_at;
	int			backoff_ms;		/* the last one; 0 = none */
	TimestampTz failing_since;	/* every start since ended early; 0 = no */
	bool		complained;		/* logged that no place was free */
	bool		wrote_error;	/* the slot's last error is ours */
	bool		held;			/* a command needs the database for itself */
} Ward;

static Ward wards[QPSSCALE_MAX_DATABASES];

void
qpsscale_launcher_register(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = LAUNCHER_RESTART_S;
	strlcpy(worker.bgw_library_name, "qpsscale",
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "qpsscale_launcher_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "qpsscale launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "qpsscale launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

static void
ward_becomes_waiting(Ward *ward, TimestampTz now, int delay_ms)
{
	ward->state = WARD_WAITING;
	ward->due_at = TimestampTzPlusMilliseconds(now, delay_ms);
}

static void
ward_becomes_free(int slot)
{
	qpsscale_slot_free(slot);
	qpsscale_stall_forget(slot);
	memset(&wards[slot], 0, sizeof(Ward));
}

/* ---- which databases are listed ---- */

/* A name without a ward gets one; while all slots are taken by wards that are
 * still stopping, it is tried again at the next wake. */
static void
list_database(const char *name, TimestampTz now)
{
	Ward	   *ward;
	int			slot = qpsscale_slot_take(name);

	if (slot < 0)
		return;
	ward = &wards[slot];
	ward->listed = true;
	if (ward->state == WARD_FREE)
	{
		strlcpy(ward->name, name, NAMEDATALEN);
		ward_becomes_waiting(ward, now, 0);
	}
}

static void
list_databases(TimestampTz now)
{
	List	   *names = qpsscale_settings_databases();
	ListCell   *cell;

	for (int i = 0; i < QPSSCALE_MAX_DATABASES; i++)
		wards[i].listed = false;
	foreach(cell, names)
		list_database(lfirst(cell), now);
	list_free_deep(names);
}

static void
forget_backoffs(TimestampTz now)
{
	for (int i = 0; i < QPSSCALE_MAX_DATABASES; i++)
	{
		wards[i].backoff_ms = 0;
		wards[i].complained = false;
		if (wards[i].state == WARD_WAITING)
			wards[i].due_at = now;
	}
}

/* ---- start ---- */

static bool
register_worker(int slot)
{
	Ward	   *ward = &wards[slot];
	BackgroundWorker worker = {0};
	QpsscaleLaunch launch = {0};
	MemoryContext before;
	bool		registered;

	StaticAssertStmt(sizeof(QpsscaleLaunch) <= BGW_EXTRALEN,
					 "QpsscaleLaunch must fit into bgw_extra");

	strlcpy(launch.build_id, qpsscale_host_stamp.build_id,
			sizeof(launch.build_id));
	launch.resident = true;
	launch.slot = slot;
	strlcpy(launch.database_name, ward->name, NAMEDATALEN);

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "qpsscale",
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "qpsscale_worker_main",
			sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name),
			 "qpsscale worker for %s", ward->name);
	strlcpy(worker.bgw_type, QPSSCALE_WORKER_TYPE, sizeof(worker.bgw_type));
	memcpy(worker.bgw_extra, &launch, sizeof(launch));

	/* The handle outlives the wake that makes it. */
	before = MemoryContextSwitchTo(TopMemoryContext);
	registered = RegisterDynamicBackgroundWorker(&worker, &ward->handle);
	MemoryContextSwitchTo(before);
	return registered;
}

static void
write_error(int slot, const char *error)
{
	qpsscale_slot_write(slot, QPSSCALE_STATE_NOT_RUNNING, error);
	wards[slot].wrote_error = true;
}

/* What a worker wrote stays, also over its end; what we wrote is over now. */
static void
clear_error(int slot)
{
	if (wards[slot].wrote_error)
		qpsscale_slot_write(slot, NULL, "");
	wards[slot].wrote_error = false;
}

static void
start_ward(int slot, TimestampTz now)
{
	Ward	   *ward = &wards[slot];

	if (qpsscale_slot_pid(slot) != 0)
	{
		ward_becomes_waiting(ward, now, ORPHAN_POLL_MS);
		return;
	}
	QPSSCALE_CRASH_POINT(launcher_starting_worker);
	if (!register_worker(slot))
	{
		ward->handle = NULL;
		ward_becomes_waiting(ward, now, REGISTER_RETRY_MS);
		if (!ward->complained)
			ereport(LOG,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no place for the qpsscale worker for database \"%s\"",
							ward->name),
					 errdetail("It is tried again every %d seconds.",
							   REGISTER_RETRY_MS / 1000),
					 errhint("You might need to increase max_worker_processes.")));
		if (!ward->complained)
			write_error(slot, "no place: max_worker_processes are in use");
		ward->complained = true;
		return;
	}
	ward->complained = false;
	clear_error(slot);
	ward->state = WARD_RUNNING;
	ward->started_at = now;
}

/* ---- end ---- */

static bool
ward_has_ended(int slot)
{
	pid_t		pid;

	if (wards[slot].handle == NULL)
		return qpsscale_slot_pid(slot) == 0;
	switch (GetBackgroundWorkerPid(wards[slot].handle, &pid))
	{
		case BGWH_NOT_YET_STARTED:
		case BGWH_STARTED:
			return false;
		case BGWH_STOPPED:
		case BGWH_POSTMASTER_DIED:
			return true;
	}
	return true;
}

/* A worker that could not connect has left the reason in its state. */
static bool
says_why(const char *state)
{
	return strcmp(state, QPSSCALE_STATE_NO_DATABASE) == 0 ||
		strcmp(state, QPSSCALE_STATE_NO_ROLE) == 0;
}

/*
 * How long to wait before the next start.  What the worker left in its slot
 * tells a failure from a database that has nothing for us yet, and from files
 * that were replaced under the running server.
 */
static int
delay_after_end(int slot, TimestampTz now)
{
	Ward	   *ward = &wards[slot];
	TimestampTz failing_since = ward->failing_since;
	char		state[sizeof(((QpsscaleWorkerStats *) 0)->state)];
	bool		unreachable;

	ward->failing_since = 0;
	qpsscale_slot_read(slot, NULL, state, NULL);
	if (strcmp(state, QPSSCALE_STATE_NO_EXTENSION) == 0)
	{
		ward->backoff_ms = 0;
		return Max(qpsscale_settings.interval_ms, FIRST_BACKOFF_MS);
	}
	if (strcmp(state, QPSSCALE_STATE_RESTART) == 0)
	{
		ward->backoff_ms = 0;
		return LAST_BACKOFF_MS;
	}
	unreachable = says_why(state);
	if (!unreachable)
		qpsscale_slot_write(slot, QPSSCALE_STATE_NOT_RUNNING, NULL);
	if (TimestampDifferenceExceeds(ward->started_at, now, SHORT_LIFE_MS))
	{
		ward->backoff_ms = 0;
		return 0;
	}
	/* where no worker can connect, none can tell of it */
	ward->failing_since = unreachable ? 0 :
		failing_since != 0 ? failing_since : now;
	ward->backoff_ms = ward->backoff_ms == 0 ? FIRST_BACKOFF_MS :
		Min(ward->backoff_ms * 2, LAST_BACKOFF_MS);
	return ward->backoff_ms;
}

static void
note_early_end(int slot)
{
	char		last_error[sizeof(((QpsscaleWorkerStats *) 0)->last_error)];

	ereport(LOG,
			(errmsg("qpsscale worker for database \"%s\" ended soon after its start, next start in %d s",
					wards[slot].name, wards[slot].backoff_ms / 1000)));
	qpsscale_slot_read(slot, NULL, NULL, last_error);
	if (last_error[0] == '\0')
		write_error(slot, "ended soon after its start, see the server log");
}

/* It was told to end, or what it ended for has changed since: no failure. */
static void
note_end_for_command(int slot)
{
	char		state[sizeof(((QpsscaleWorkerStats *) 0)->state)];

	qpsscale_slot_read(slot, NULL, state, NULL);
	if (!says_why(state))
		qpsscale_slot_write(slot, QPSSCALE_STATE_NOT_RUNNING, NULL);
	wards[slot].backoff_ms = 0;
	wards[slot].failing_since = 0;
}

static void
end_ward(int slot, TimestampTz now)
{
	Ward	   *ward = &wards[slot];
	int			delay_ms = 0;

	if (ward->handle)
		pfree(ward->handle);
	ward->handle = NULL;
	if (!ward->listed)
	{
		ward_becomes_free(slot);
		return;
	}
	if (qpsscale_slot_order(slot) != QPSSCALE_ORDER_NONE)
		note_end_for_command(slot);
	else if (ward->state == WARD_RUNNING)
	{
		delay_ms = delay_after_end(slot, now);
		if (ward->backoff_ms > 0)
			note_early_end(slot);
	}
	ward_becomes_waiting(ward, now, delay_ms);
}

static void
stop_ward(int slot)
{
	ereport(LOG,
			(errmsg("stopping the qpsscale worker for database \"%s\", which has left qpsscale.databases",
					wards[slot].name)));
	TerminateBackgroundWorker(wards[slot].handle);
	wards[slot].state = WARD_STOPPING;
}

/* ---- commands on databases ---- */

static void
pause_ward(int slot, TimestampTz now)
{
	Ward	   *ward = &wards[slot];

	ereport(LOG,
			(errmsg("database \"%s\" has been dropped or renamed, its qpsscale worker is not started",
					ward->name),
			 errdetail("It is tried again every %d seconds, and when a database of that name is created.",
					   LAST_BACKOFF_MS / 1000),
			 errhint("Take it out of qpsscale.databases.")));
	ward->backoff_ms = LAST_BACKOFF_MS;
	ward_becomes_waiting(ward, now, LAST_BACKOFF_MS);
}

/*
 * What backends have to say of a ward that waits (see databases.c).  Orders
 * lie until the hold is over: only then is it clear what became of the
 * database.
 */
static void
heed_backends(int slot, TimestampTz now)
{
	Ward	   *ward = &wards[slot];
	bool		was_held = ward->held;

	ward->held = qpsscale_database_is_held(ward->name);
	if (ward->held)
	{
		if (!was_held)
			qpsscale_slot_write(slot, QPSSCALE_STATE_HELD, NULL);
		return;
	}
	switch (qpsscale_slot_take_order(slot))
	{
		case QPSSCALE_ORDER_NONE:
			break;
		case QPSSCALE_ORDER_RETRY:
			ward->backoff_ms = 0;
			ward->due_at = now;
			break;
		case QPSSCALE_ORDER_PAUSE:
			pause_ward(slot, now);
			break;
	}
}

/* ---- the loop ---- */

static void
step_ward(int slot, TimestampTz now)
{
	Ward	   *ward = &wards[slot];

	switch (ward->state)
	{
		case WARD_FREE:
			break;
		case WARD_WAITING:
			heed_backends(slot, now);
			if (!ward->listed)
				ward_becomes_free(slot);
			else if (!ward->held && ward->due_at <= now)
				start_ward(slot, now);
			break;
		case WARD_RUNNING:
			if (ward_has_ended(slot))
				end_ward(slot, now);
			else if (!ward->listed)
				stop_ward(slot);
			break;
		case WARD_STOPPING:
			if (ward_has_ended(slot))
				end_ward(slot, now);
			break;
	}
}

static void
watch_ward(int slot, TimestampTz now)
{
	Ward	   *ward = &wards[slot];
	bool		running = ward->state == WARD_RUNNING;

	if (ward->state == WARD_FREE || ward->state == WARD_STOPPING)
		return;
	if (running && TimestampDifferenceExceeds(ward->started_at, now,
											  SHORT_LIFE_MS))
		ward->failing_since = 0;
	qpsscale_stall_look(slot, ward->name, running, ward->failing_since, now);
}

static long
sleep_ms(TimestampTz now)
{
	long		shortest = LONGEST_SLEEP_MS;

	for (int i = 0; i < QPSSCALE_MAX_DATABASES; i++)
	{
		const Ward *ward = &wards[i];

		if (ward->state == WARD_WAITING && !ward->held)
			shortest = Min(shortest,
						   TimestampDifferenceMilliseconds(now, ward->due_at));
		else if (ward->state == WARD_STOPPING && ward->handle == NULL)
			shortest = Min(shortest, ORPHAN_POLL_MS);
		if (ward->state == WARD_RUNNING || ward->failing_since != 0)
			shortest = Min(shortest, qpsscale_stall_watch_ms());
	}
	return Max(shortest, 0);
}

/*
 * Takes over what a launcher before us left: its workers run on, but tell
 * nobody of their end, so they are stopped and started anew.
 */
static void
adopt_slots(void)
{
	for (int i = 0; i < QPSSCALE_MAX_DATABASES; i++)
	{
		pid_t		pid = qpsscale_slot_pid(i);
		char		name[NAMEDATALEN];

		qpsscale_slot_read(i, name, NULL, NULL);
		if (name[0] == '\0')
			continue;
		strlcpy(wards[i].name, name, NAMEDATALEN);
		wards[i].state = WARD_STOPPING;
		if (pid != 0)
			(void) kill(pid, SIGTERM);
	}
}

static void
forget_launcher(int code, Datum arg)
{
	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	if (qpsscale_shared->launcher_pid == MyProcPid)
		qpsscale_shared->launcher_pid = 0;
	LWLockRelease(qpsscale_shared->lock);
}

static void
introduce_launcher(void)
{
	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	qpsscale_shared->launcher_pid = MyProcPid;
	LWLockRelease(qpsscale_shared->lock);
	before_shmem_exit(forget_launcher, (Datum) 0);
}

/*
 * Signals: without a database the server sets SIGUSR1 to be ignored, which
 * would hide the end of our workers from us; and before 19 SIGTERM ends the
 * process inside the signal handler.
 */
static void
install_signal_handlers(void)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGUSR1, procsignal_sigusr1_handler);
	BackgroundWorkerUnblockSignals();
}

void
qpsscale_launcher_main(Datum main_arg)
{
	MemoryContext wake_context;
	uint32		wait_event;

	install_signal_handlers();
	if (qpsscale_shared == NULL)
		elog(ERROR, "qpsscale launcher started without shared memory");
	introduce_launcher();
	adopt_slots();

	wait_event = qpsscale_wait_event("QpsscaleLauncherMain");
	wake_context = AllocSetContextCreate(TopMemoryContext, "qpsscale launcher",
										 ALLOCSET_SMALL_SIZES);
	for (;;)
	{
		TimestampTz now;

		MemoryContextSwitchTo(wake_context);
		MemoryContextReset(wake_context);
		CHECK_FOR_INTERRUPTS();

		now = GetCurrentTimestamp();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			forget_backoffs(now);
		}
		list_databases(now);
		for (int slot = 0; slot < QPSSCALE_MAX_DATABASES; slot++)
		{
			step_ward(slot, now);
			watch_ward(slot, now);
		}

		/* A start may have taken a while, and an earlier one ended by now. */
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 sleep_ms(GetCurrentTimestamp()), wait_event);
		ResetLatch(MyLatch);
	}
}
