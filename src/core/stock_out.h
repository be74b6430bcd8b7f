/*-------------------------------------------------------------------------
 * stock_out.h
 *		Did running grow?  The breaker against growth that the cloud accepts
 *		and does not deliver.
 *
 * An accepted scale-up of which the cloud says that nothing is in progress any
 * more, and after which the group has no member more than before, is
 * unfulfilled.  While one is, the next may add no more than there is already
 * (but four); after three in a row, or one whole deadline that ends with
 * members missing, desired does not rise at all.  Then the same
 * desired capacity is written once more after pauses that grow: a cloud that
 * had given up tries again, and desired cannot ratchet.  One instance in
 * service more than there were ends it.  Desired is never lowered to make the
 * books balance.
 *
 * Instances that still boot are neither: a slow boot is no stock-out.
 *-------------------------------------------------------------------------
 */
#ifndef QS_STOCK_OUT_H
#define QS_STOCK_OUT_H

#include "core/decide.h"

/* What is remembered from cycle to cycle; all zero but the unknowns is calm. */
typedef struct QsStockOut
{
	int			unfulfilled;	/* accepted scale-ups in a row without growth */
	int			fulfilled;		/* members that were there, QS_UNKNOWN if calm */
	int64_t		counted;		/* id of the last action that was counted */
	int64_t		since;			/* when it became a stock-out, or QS_NEVER */
	int64_t		probe_at;		/* when desired is written next, or QS_NEVER */
} QsStockOut;

/* The scale-up that is open, if any. */
typedef struct QsGrowth
{
	int64_t		id;				/* 0 = none is open */
	int			desired;
	int			members_before; /* when it was decided, QS_UNKNOWN */
	int64_t		requested_at;
	bool		too_late;		/* its deadline has passed */
} QsGrowth;

/*
 * What this cycle's observation says: counts the open scale-up, at most once,
 * or ends the stock-out.  in_service_unreadable: it was asked for in vain.
 */
extern void qs_stock_out_observe(QsStockOut *memory, const QsGrowth *growth,
								 const QsCapacity *capacity,
								 const QsCloudActivity *activity,
								 bool in_service_unreadable,
								 int64_t group_id, int64_t now);

/* Desired is being written once more: when it will be the next time. */
extern void qs_stock_out_probed(QsStockOut *memory, int64_t group_id,
								int64_t now);

#endif							/* QS_STOCK_OUT_H */
