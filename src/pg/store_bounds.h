/*-------------------------------------------------------------------------
 * store_bounds.h
 *		What bounds groups beside their own columns.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_BOUNDS_H
#define QPSSCALE_STORE_BOUNDS_H

#include "postgres.h"

#include "pg/store.h"

/* In transaction 1, after the groups. */
extern void qpsscale_store_load_bounds(const StoreSelection *selection,
									   StoreSnapshot *snapshot,
									   MemoryContext context);

#endif							/* QPSSCALE_STORE_BOUNDS_H */
