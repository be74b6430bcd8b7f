/*-------------------------------------------------------------------------
 * stock_out.c
 *		Did running grow?  The breaker against growth that the cloud accepts
 *		and does not deliver.
 *-------------------------------------------------------------------------
 */
#include "core/stock_out.h"

#include "core/breaker.h"
#include "core/decide_parts.h"

#define SECOND_US	INT64_C(1000000)

/* A cloud that has recorded no activity by then will not for this write. */
#define SETTLED_US	(60 * SECOND_US)

/* Times of the cloud's activities are of whole seconds. */
#define ROUNDING_US	(SECOND_US)

#define MOST_COUNTED	1000000

static void
calm_down(QsStockOut *memory)
{
	memory->unfulfilled = 0;
	memory->fulfilled = QS_UNKNOWN;
	memory->since = QS_NEVER;
	memory->probe_at = QS_NEVER;
}

/*
 * Has something come, or is nothing missing any more?  Members that boot are no
 * proof, they may vanish again; where the number in service cannot be read
 * they must do.
 */
static bool
is_over(const QsStockOut *memory, const QsCapacity *capacity,
		bool in_service_unreadable)
{
	int			base = qs_capacity_base(capacity);

	if (base <= memory->fulfilled && capacity->total >= base)
		return true;
	if (capacity->in_service >= 0)
		return capacity->in_service > memory->fulfilled;
	return in_service_unreadable && capacity->total > memory->fulfilled;
}

/* Has the cloud ended what the write had begun? */
static bool
is_settled(const QsGrowth *growth, const QsCloudActivity *activity,
		   int64_t now)
{
	if (!activity->asked || !activity->known || activity->in_progress)
		return false;
	return activity->last_any_at >=
		qs_time_subtract(growth->requested_at, ROUNDING_US) ||
		qs_time_subtract(now, growth->requested_at) >= SETTLED_US;
}

static bool
brought_nothing(const QsGrowth *growth, const QsCapacity *capacity,
				const QsCloudActivity *activity, int64_t now)
{
	if (!capacity->active || capacity->scale_out_suspended ||
		capacity->desired != growth->desired ||
		capacity->total >= growth->desired)
		return false;
	if (growth->too_late)
		return true;
	return growth->members_before >= 0 &&
		capacity->total <= growth->members_before &&
		is_settled(growth, activity, now);
}

void
qs_stock_out_observe(QsStockOut *memory, const QsGrowth *growth,
					 const QsCapacity *capacity,
					 const QsCloudActivity *activity,
					 bool in_service_unreadable, int64_t group_id,
					 int64_t now)
{
	if (!qs_capacity_usable(capacity))
		return;
	if (memory->unfulfilled > 0)
	{
		if (memory->fulfilled < 0 || memory->fulfilled > capacity->total)
			memory->fulfilled = capacity->total;
		if (is_over(memory, capacity, in_service_unreadable))
			calm_down(memory);
	}
	if (growth->id == 0 || growth->id == memory->counted ||
		!brought_nothing(growth, capacity, activity, now))
		return;
	memory->counted = growth->id;
	if (memory->unfulfilled <= 0)
	{
		memory->unfulfilled = 0;
		memory->fulfilled = capacity->total;
	}
	if (memory->unfulfilled < MOST_COUNTED)
		memory->unfulfilled++;
	if (growth->too_late && memory->unfulfilled < QS_STOCK_OUT_AFTER)
		memory->unfulfilled = QS_STOCK_OUT_AFTER;
	if (memory->unfulfilled >= QS_STOCK_OUT_AFTER &&
		memory->since == QS_NEVER)
	{
		memory->since = now;
		memory->probe_at = qs_time_add(now, qs_stock_out_pause_us(group_id,
																  memory->unfulfilled));
	}
}

void
qs_stock_out_probed(QsStockOut *memory, int64_t group_id, int64_t now)
{
	int			next = memory->unfulfilled < MOST_COUNTED ?
		memory->unfulfilled + 1 : MOST_COUNTED;

	memory->probe_at = qs_time_add(now, qs_stock_out_pause_us(group_id, next));
}
