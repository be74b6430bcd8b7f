/*-------------------------------------------------------------------------
 * store_signals.h
 *		Further signals of groups: read with them, written back with their
 *		verdicts.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_SIGNALS_H
#define QPSSCALE_STORE_SIGNALS_H

#include "postgres.h"

#include "pg/store_parts.h"

/*
 * In transaction 1, after the groups: gives each its signals, the built-in ones
 * first, then those of qpsscale.signals by name.
 */
extern void qpsscale_store_load_signals(const StoreSelection *selection,
										StoreSnapshot *snapshot,
										MemoryContext context);

/* In transaction 2: what they said, where it is not what is there. */
extern void qpsscale_store_signals(StoreBatch *batch);

#endif							/* QPSSCALE_STORE_SIGNALS_H */
