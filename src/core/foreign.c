/*-------------------------------------------------------------------------
 * foreign.c
 *		Who changed the desired capacity: we, the cloud's limits, or somebody
 *		else?
 *-------------------------------------------------------------------------
 */
#include "core/foreign.h"

#include "core/decide_parts.h"

/* Has a limit that was changed since the last look moved it here? */
static bool
moved_by_limits(const QsKnownDesired *known, const QsCapacity *capacity,
				int before)
{
	int			now = capacity->desired;

	return (now < before && now == capacity->max && known->max >= 0 &&
			capacity->max != known->max) ||
		(now > before && now == capacity->min && known->min >= 0 &&
		 capacity->min != known->min);
}

static bool
arrived_late(const QsKnownDesired *known, int desired, int64_t now)
{
	int64_t		age = qs_time_subtract(now, known->lost_at);

	return known->lost >= 0 && desired == known->lost &&
		known->lost_at != QS_NEVER &&
		age < QS_LATE_CALL_US && age > -QS_LATE_CALL_US;
}

QsDesiredChange
qs_desired_change(const QsKnownDesired *known, const QsCapacity *capacity,
				  int64_t now, int *from)
{
	int			desired = capacity->desired;
	int			before = known->desired;

	*from = QS_UNKNOWN;
	if (!qs_capacity_usable(capacity) || desired < 0)
		return QS_DESIRED_AS_KNOWN;
	if (known->written >= 0)
	{
		if (desired == known->written)
			return QS_DESIRED_OURS;
		/* a reply may be older than the write that it does not show */
		if (known->just_written && desired == known->written_over)
			return QS_DESIRED_AS_KNOWN;
		if (known->accepted)
			before = known->written;
		else if (known->written_over >= 0)
			before = known->written_over;	/* seen when it was intended, which
											 * is later than what is known */
	}
	if (before < 0 || desired == before)
		return QS_DESIRED_AS_KNOWN;
	*from = before;
	if (arrived_late(known, desired, now))
		return QS_DESIRED_OURS_LATE;
	if (moved_by_limits(known, capacity, before))
		return QS_DESIRED_BY_LIMITS;
	return QS_DESIRED_FOREIGN;
}
