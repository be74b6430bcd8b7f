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
#define QPSSCALE_STATE_NO_EXTENSION	"extension missing"
#define QPSSCALE_STATE_NO_DATABASE	"database missing"
#define QPSSCALE_STATE_RESTART		"restart required"

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

/* ---- for a worker process ---- */

/*
 * Makes this process the slot's worker until it exits.  False when the slot
 * no longer belongs to that database or has a worker already.
 */
extern bool qpsscale_slot_claim(int slot, const char *database_name);

/* ---- for backends ---- */

/* Is a resident worker alive and connected to that database? */
extern bool qpsscale_database_is_served(Oid database);

typedef struct QpsscaleListing
{
	int			slot;
	pid_t		pid;			/* of the worker that was told */
} QpsscaleListing;

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
