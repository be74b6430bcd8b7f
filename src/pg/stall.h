/*-------------------------------------------------------------------------
 * stall.h
 *		The launcher's watch over workers that run and give no sign of life.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STALL_H
#define QPSSCALE_STALL_H

#include "datatype/timestamp.h"

/*
 * Judges the worker of a slot and acts on it.  running: the postmaster has the
 * process.  failing_since: since when every start ended early, 0 = it does not.
 */
extern void qpsscale_stall_look(int slot, const char *database_name,
								bool running, TimestampTz failing_since,
								TimestampTz now);

/* Forgets the slot: its database has left the list. */
extern void qpsscale_stall_forget(int slot);

/* How long the launcher may sleep while it watches a worker; milliseconds. */
extern long qpsscale_stall_watch_ms(void);

#endif							/* QPSSCALE_STALL_H */
