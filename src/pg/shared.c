/*-------------------------------------------------------------------------
 * shared.c
 *		Shared memory: one slot per database that has a resident worker.
 *
 * The lock is held for copying and comparing only: no function is called
 * under it that can wait, and none that can raise an error.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "pg/shared.h"

#define TRANCHE		"qpsscale"

QpsscaleShared *qpsscale_shared = NULL;

static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(QpsscaleShared)));
	RequestNamedLWLockTranche(TRANCHE, 1);
}

/*
 * Also runs when the postmaster makes shared memory anew after a crash; then
 * everything starts from zero, as no process of before is left.
 */
static void
make_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	qpsscale_shared = ShmemInitStruct("qpsscale", sizeof(QpsscaleShared),
									  &found);
	if (!found)
	{
		memset(qpsscale_shared, 0, sizeof(QpsscaleShared));
		qpsscale_shared->lock = &(GetNamedLWLockTranche(TRANCHE))->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

void
qpsscale_shared_request(void)
{
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = make_memory;
}

static QpsscaleWorkerSlot *
slot_of(int slot)
{
	Assert(slot >= 0 && slot < QPSSCALE_MAX_DATABASES);
	return &qpsscale_shared->slots[slot];
}

int
qpsscale_slot_take(const char *database_name)
{
	int			found = -1;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < QPSSCALE_MAX_DATABASES; i++)
	{
		const char *name = slot_of(i)->database_name;

		if (strcmp(name, database_name) == 0)
		{
			found = i;
			break;
		}
		if (name[0] == '\0' && found < 0)
			found = i;
	}
	if (found >= 0 && slot_of(found)->database_name[0] == '\0')
	{
		memset(slot_of(found), 0, sizeof(QpsscaleWorkerSlot));
		strlcpy(slot_of(found)->database_name, database_name, NAMEDATALEN);
		strlcpy(slot_of(found)->stats.state, QPSSCALE_STATE_NOT_RUNNING,
				sizeof(slot_of(found)->stats.state));
	}
	LWLockRelease(qpsscale_shared->lock);
	return found;
}

void
qpsscale_slot_free(int slot)
{
	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	memset(slot_of(slot), 0, sizeof(QpsscaleWorkerSlot));
	LWLockRelease(qpsscale_shared->lock);
}

/* Frees the slot of its process, but for what it left to be read. */
static void
forget_process(QpsscaleWorkerSlot *slot)
{
	slot->pid = 0;
	slot->database = InvalidOid;
}

/*
 * A worker clears its pid when it exits, and one that cannot takes the whole
 * server down with it, which clears everything.  The test for a process that
 * is gone is for the case that one of these two is ever not true.
 */
pid_t
qpsscale_slot_pid(int slot)
{
	pid_t		pid;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	pid = slot_of(slot)->pid;
	if (pid != 0 && kill(pid, 0) != 0 && errno == ESRCH)
	{
		forget_process(slot_of(slot));
		pid = 0;
	}
	LWLockRelease(qpsscale_shared->lock);
	return pid;
}

void
qpsscale_slot_read(int slot, char *database_name, char *state,
				   char *last_error)
{
	const QpsscaleWorkerSlot *from = slot_of(slot);

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	if (database_name)
		strlcpy(database_name, from->database_name, NAMEDATALEN);
	if (state)
		strlcpy(state, from->stats.state, sizeof(from->stats.state));
	if (last_error)
		strlcpy(last_error, from->stats.last_error,
				sizeof(from->stats.last_error));
	LWLockRelease(qpsscale_shared->lock);
}

void
qpsscale_slot_write(int slot, const char *state, const char *last_error)
{
	QpsscaleWorkerStats *stats = &slot_of(slot)->stats;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	if (state)
		strlcpy(stats->state, state, sizeof(stats->state));
	if (last_error)
		strlcpy(stats->last_error, last_error, sizeof(stats->last_error));
	LWLockRelease(qpsscale_shared->lock);
}

QpsscaleOrder
qpsscale_slot_order(int slot)
{
	QpsscaleOrder order;

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	order = slot_of(slot)->order;
	LWLockRelease(qpsscale_shared->lock);
	return order;
}

QpsscaleOrder
qpsscale_slot_take_order(int slot)
{
	QpsscaleOrder order;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	order = slot_of(slot)->order;
	slot_of(slot)->order = QPSSCALE_ORDER_NONE;
	LWLockRelease(qpsscale_shared->lock);
	return order;
}

/* ---- holds ---- */

static bool
is_held(const char *database_name)
{
	for (int i = 0; i < QPSSCALE_MAX_HOLDS; i++)
	{
		const QpsscaleHold *hold = &qpsscale_shared->holds[i];

		if (hold->holder != 0 &&
			strcmp(hold->database_name, database_name) == 0)
			return true;
	}
	return false;
}

static QpsscaleWorkerSlot *
find_slot(const char *database_name)
{
	for (int i = 0; i < QPSSCALE_MAX_DATABASES; i++)
		if (strcmp(slot_of(i)->database_name, database_name) == 0)
			return slot_of(i);
	return NULL;
}

/*
 * The launcher is in no list of the server's from which its latch could be
 * found; its handler of SIGUSR1 sets it.
 */
static void
wake_launcher(void)
{
	if (qpsscale_shared->launcher_pid != 0)
		(void) kill(qpsscale_shared->launcher_pid, SIGUSR1);
}

bool
qpsscale_database_is_held(const char *database_name)
{
	bool		held;

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	held = is_held(database_name);
	LWLockRelease(qpsscale_shared->lock);
	return held;
}

bool
qpsscale_database_hold(const char *database_name)
{
	bool		held = false;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < QPSSCALE_MAX_HOLDS && !held; i++)
	{
		QpsscaleHold *hold = &qpsscale_shared->holds[i];

		if (hold->holder == 0)
		{
			hold->holder = MyProcPid;
			strlcpy(hold->database_name, database_name, NAMEDATALEN);
			held = true;
		}
	}
	if (held && find_slot(database_name) != NULL)
		find_slot(database_name)->order = QPSSCALE_ORDER_RETRY;
	LWLockRelease(qpsscale_shared->lock);
	return held;
}

void
qpsscale_database_release(const char *database_name)
{
	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < QPSSCALE_MAX_HOLDS; i++)
	{
		QpsscaleHold *hold = &qpsscale_shared->holds[i];

		if (hold->holder != MyProcPid)
			continue;
		if (database_name == NULL ||
			strcmp(hold->database_name, database_name) == 0)
			memset(hold, 0, sizeof(QpsscaleHold));
	}
	wake_launcher();
	LWLockRelease(qpsscale_shared->lock);
}

pid_t
qpsscale_database_worker(const char *database_name, int signal)
{
	const QpsscaleWorkerSlot *slot;
	pid_t		pid = 0;

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	slot = find_slot(database_name);
	if (slot != NULL)
		pid = slot->pid;

	/* Under the lock the process is the one that we mean: see release_slot. */
	if (pid != 0 && signal != 0)
		(void) kill(pid, signal);
	LWLockRelease(qpsscale_shared->lock);
	return pid;
}

void
qpsscale_database_order(const char *database_name, QpsscaleOrder order)
{
	QpsscaleWorkerSlot *slot;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	slot = find_slot(database_name);
	if (slot != NULL)
	{
		slot->order = order;
		if (order == QPSSCALE_ORDER_PAUSE)
		{
			strlcpy(slot->stats.state, QPSSCALE_STATE_NO_DATABASE,
					sizeof(slot->stats.state));
			snprintf(slot->stats.last_error, sizeof(slot->stats.last_error),
					 "database \"%s\" does not exist", database_name);
		}
		wake_launcher();
	}
	LWLockRelease(qpsscale_shared->lock);
}

/* Exit callback of a resident worker; the slot may be another's by now. */
static void
release_slot(int code, Datum arg)
{
	QpsscaleWorkerSlot *slot = slot_of(DatumGetInt32(arg));

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	if (slot->pid == MyProcPid)
		forget_process(slot);
	LWLockRelease(qpsscale_shared->lock);
}

/*
 * The statistics start anew with each process; only the last error stays, as
 * it usually says why the process before ended.
 */
bool
qpsscale_slot_claim(int slot, const char *database_name)
{
	QpsscaleWorkerSlot *mine;
	bool		claimed = false;

	if (slot < 0 || slot >= QPSSCALE_MAX_DATABASES || qpsscale_shared == NULL)
		return false;
	mine = slot_of(slot);

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	if (mine->pid == 0 && strcmp(mine->database_name, database_name) == 0 &&
		!is_held(database_name))
	{
		QpsscaleWorkerStats fresh = {0};

		fresh.started_at = GetCurrentTimestamp();
		fresh.heartbeat_at = fresh.started_at;
		strlcpy(fresh.state, QPSSCALE_STATE_STARTING, sizeof(fresh.state));
		strlcpy(fresh.last_error, mine->stats.last_error,
				sizeof(fresh.last_error));
		mine->stats = fresh;
		mine->pid = MyProcPid;
		mine->database = InvalidOid;
		claimed = true;
	}
	LWLockRelease(qpsscale_shared->lock);

	if (claimed)
		before_shmem_exit(release_slot, Int32GetDatum(slot));
	return claimed;
}

/* Slot and process that serve a database; false when there is none. */
static bool
find_worker(Oid database, QpsscaleListing *listing)
{
	bool		found = false;

	if (qpsscale_shared == NULL || !OidIsValid(database))
		return false;

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	for (int i = 0; i < QPSSCALE_MAX_DATABASES && !found; i++)
	{
		const QpsscaleWorkerSlot *slot = slot_of(i);

		if (slot->database_name[0] != '\0' && slot->pid != 0 &&
			slot->database == database)
		{
			listing->slot = i;
			listing->pid = slot->pid;
			found = true;
		}
	}
	LWLockRelease(qpsscale_shared->lock);
	return found;
}

bool
qpsscale_database_is_served(Oid database)
{
	QpsscaleListing listing;

	return find_worker(database, &listing) &&
		BackendPidGetProc(listing.pid) != NULL;
}

static void
wake_delivery(int slot)
{
	pid_t		pid;
	PGPROC	   *worker;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	slot_of(slot)->alerts_written = true;
	pid = slot_of(slot)->pid;
	LWLockRelease(qpsscale_shared->lock);
	worker = pid == 0 ? NULL : BackendPidGetProc(pid);
	if (worker != NULL)
		SetLatch(&worker->procLatch);
}

void
qpsscale_database_wake_delivery(Oid database)
{
	QpsscaleListing listing;

	if (find_worker(database, &listing))
		wake_delivery(listing.slot);
}

void
qpsscale_slot_heartbeat(int slot, TimestampTz *started_at,
						TimestampTz *heartbeat_at)
{
	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	*started_at = slot_of(slot)->pid == 0 ? 0 :
		slot_of(slot)->stats.started_at;
	*heartbeat_at = slot_of(slot)->pid == 0 ? 0 :
		slot_of(slot)->stats.heartbeat_at;
	LWLockRelease(qpsscale_shared->lock);
}

TimestampTz
qpsscale_slot_stalled(int slot)
{
	TimestampTz since;

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	since = slot_of(slot)->stalled_since;
	LWLockRelease(qpsscale_shared->lock);
	return since;
}

/* A worker that is alive again is woken: it ends the alert. */
void
qpsscale_slot_set_stalled(int slot, TimestampTz since)
{
	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	slot_of(slot)->stalled_since = since;
	LWLockRelease(qpsscale_shared->lock);
	if (since == 0)
		wake_delivery(slot);
}

static int
find_request(const QpsscaleWorkerSlot *slot, dsm_handle request)
{
	for (int i = 0; i < slot->n_requests; i++)
		if (slot->requests[i] == request)
			return i;
	return -1;
}

bool
qpsscale_request_list(Oid database, dsm_handle request,
					  QpsscaleListing *listing)
{
	QpsscaleWorkerSlot *slot;
	PGPROC	   *worker;
	bool		listed = false;

	if (!find_worker(database, listing))
		return false;
	worker = BackendPidGetProc(listing->pid);
	if (worker == NULL)
		return false;

	slot = slot_of(listing->slot);
	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	if (slot->pid == listing->pid && slot->database == database &&
		slot->n_requests < QPSSCALE_MAX_REQUESTS)
	{
		slot->requests[slot->n_requests++] = request;
		listed = true;
	}
	LWLockRelease(qpsscale_shared->lock);

	/* At worst it wakes a process that has since taken the place of ours. */
	if (listed)
		SetLatch(&worker->procLatch);
	return listed;
}

bool
qpsscale_request_is_listed(const QpsscaleListing *listing, dsm_handle request,
						   pid_t *pid)
{
	const QpsscaleWorkerSlot *slot = slot_of(listing->slot);
	bool		listed;

	LWLockAcquire(qpsscale_shared->lock, LW_SHARED);
	listed = find_request(slot, request) >= 0;
	*pid = slot->pid;
	LWLockRelease(qpsscale_shared->lock);
	return listed;
}

bool
qpsscale_request_withdraw(const QpsscaleListing *listing, dsm_handle request)
{
	QpsscaleWorkerSlot *slot = slot_of(listing->slot);
	int			place;

	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	place = find_request(slot, request);
	if (place >= 0)
	{
		slot->n_requests--;
		memmove(&slot->requests[place], &slot->requests[place + 1],
				(slot->n_requests - place) * sizeof(dsm_handle));
	}
	LWLockRelease(qpsscale_shared->lock);
	return place >= 0;
}
