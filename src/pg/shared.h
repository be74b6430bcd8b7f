/*-------------------------------------------------------------------------
 * shared.h
 *		Shared memory: one slot per database that has a resident worker.
 *
 * Who writes what in a slot, always under the lock:
 *
 *	database_name	the launcher, when it takes and frees the slot
 *	pid				the worker process, when it starts (qpsscale_slot_claim)
 *					and ends (an exit callback); the launcher, when it finds
 *					a process gone that did not say so
 *	database		the worker, once it is connected; cleared with pid
 *	stats			the worker; state and last_error also the launcher, while
 *					no worker runs
 *	requests		backends add a handle at the end; the worker takes one by
 *					removing it *before* it attaches.  A handle that is still
 *					listed was therefore certainly not taken, and the backend
 *					may withdraw it.  So a worker that ends leaves the list
 *					as it is: the backends take their handles back.
 *	alerts_written	whoever commits an alert; the worker takes it back
 *	stalled_since	the launcher
 *	order			backends, when a command on a database has ended or the
 *					extension was created; the launcher takes it
 *
 * Beside the slots there are the holds, which belong to the backends that
 * carry out such commands: no worker of a held database starts.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_SHARED_H
#define QPSSCALE_SHARED_H

#include "pg/host.h"

/* NULL when we were not preloaded. */
extern QpsscaleShared *qpsscale_shared;

/* States that the launcher knows; a worker may show others. */
#define QPSSCALE_STATE_STARTING		"starting"
#define QPSSCALE_STATE_NOT_RUNNING	"not running"
#define QPSSCALE_STATE_HELD			"held by a database command"
#define QPSSCALE_STATE_NO_EXTENSION	"extension missing"
#define QPSSCALE_STATE_NO_DATABASE	"database missing"
#define QPSSCALE_STATE_NO_ROLE		"worker role refused"
#define QPSSCALE_STATE_RESTART		"restart required"

/* bgw_type of our processes that connect to a database. */
#define QPSSCALE_WORKER_TYPE	"qpsscale worker"
#define QPSSCALE_ONESHOT_TYPE	"qpsscale one-shot worker"
#define QPSSCALE_USER_SQL_TYPE	"qpsscale user SQL"

/* Installs the hooks that make the memory; for _PG_init() when preloaded. */
extern void qpsscale_shared_request(void);

/* ---- for the launcher: slots by name ---- */

/* Index of the slot of that database, made if need be; -1 when all are taken. */
extern int	qpsscale_slot_take(const char *database_name);
extern void qpsscale_slot_free(int slot);

/* The slot's process, or 0; a process that is gone is cleared on the way. */
extern pid_t qpsscale_slot_pid(int slot);

/* Copies name, state and last error of a slot; any of them may be NULL. */
extern void qpsscale_slot_read(int slot, char *database_name, char *state,
							   char *last_error);

/* NULL leaves what is there.  Too long a text is cut. */
extern void qpsscale_slot_write(int slot, const char *state,
								const char *last_error);

/* When the slot's worker started and last gave a sign of life, 0 for a slot
 * without a process; and the launcher's judgement of it, 0 = it is alive. */
extern void qpsscale_slot_heartbeat(int slot, TimestampTz *started_at,
									TimestampTz *heartbeat_at);
extern TimestampTz qpsscale_slot_stalled(int slot);
extern void qpsscale_slot_set_stalled(int slot, TimestampTz since);

/* What backends have said since it was last taken. */
extern QpsscaleOrder qpsscale_slot_order(int slot);
extern QpsscaleOrder qpsscale_slot_take_order(int slot);

extern bool qpsscale_database_is_held(const char *database_name);

/* ---- for a worker process ---- */

/*
 * Makes this process the slot's worker until it exits.  False when the slot
 * no longer belongs to that database, has a worker already, or the database
 * is held.
 */
extern bool qpsscale_slot_claim(int slot, const char *database_name);

/* ---- for commands on databases ---- */

/*
 * Keeps the workers of that database from starting until this process releases
 * it, and tells the launcher to start one at once then.  False when too many
 * commands do so.  Does not end a worker that runs.
 */
extern bool qpsscale_database_hold(const char *database_name);

/* Takes one hold of this process back, or all of them if the name is NULL. */
extern void qpsscale_database_release(const char *database_name);

/* The resident worker of that database, or 0; also sends it a signal, if that
 * is not 0. */
extern pid_t qpsscale_database_worker(const char *database_name, int signal);

/* Leaves an order in the database's slot, if it has one, and with a PAUSE the
 * reason for it; wakes the launcher. */
extern void qpsscale_database_order(const char *database_name,
									QpsscaleOrder order);

/* ---- for backends ---- */

/* Is a resident worker alive and connected to that database? */
extern bool qpsscale_database_is_served(Oid database);

typedef struct QpsscaleListing
{
	int			slot;
	pid_t		pid;			/* of the worker that was told */
} QpsscaleListing;

/* Tells the database's worker, if it has one, that alerts were written. */
extern void qpsscale_database_wake_delivery(Oid database);

/* Lists a request with the database's worker and wakes it.  False when no
 * worker serves the database, or too many requests wait. */
extern bool qpsscale_request_list(Oid database, dsm_handle request,
								  QpsscaleListing *listing);

/* Is it still listed?  Also tells which process the slot has now (or 0). */
extern bool qpsscale_request_is_listed(const QpsscaleListing *listing,
									   dsm_handle request, pid_t *pid);

/* Removes it; true when it was still listed, so that nobody has taken it. */
extern bool qpsscale_request_withdraw(const QpsscaleListing *listing,
									  dsm_handle request);

#endif							/* QPSSCALE_SHARED_H */
