/*-------------------------------------------------------------------------
 * backfill.h
 *		The load from before a group was first seen, as its cloud has it.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_BACKFILL_H
#define QPSSCALE_BACKFILL_H

#include "pg/calls.h"
#include "pg/store.h"

/*
 * Asks for some of it, where groups of the snapshot have not got it all, and
 * writes it.  All groups have finished, and no call of theirs is open; the
 * cycle began at started_ms.
 */
extern void qpsscale_backfill(Observer *cycle, const StoreSnapshot *snapshot,
							  int64 started_ms);

#endif							/* QPSSCALE_BACKFILL_H */
