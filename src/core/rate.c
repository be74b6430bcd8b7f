/*-------------------------------------------------------------------------
 * rate.c
 *		How fast a group may change: at most so many instances, or so many per
 *		cent, in a period.
 *
 * The arithmetic is that of "behavior" of the Kubernetes autoscaler.  What
 * there was when a period began is what there is now without the changes
 * since, and all of these count, in whichever direction they went: counting
 * only those of one direction made that autoscaler take a wrong start
 * (kubernetes 108354).  Which direction's rates hold depends on where the
 * group is about to go, after windows: choosing them before made it grow while
 * it shrank (kubernetes 96671).  Percentages are computed in whole numbers,
 * rounded in favour of the change, and from nothing one instance is allowed.
 *-------------------------------------------------------------------------
 */
#include "core/decide_parts.h"

#include <stddef.h>

#define MOST	((int64_t) QS_MAX_INSTANCES)

static int
policies_of(const QsRate *rate)
{
	if (rate->n_policies < 0)
		return 0;
	return rate->n_policies < QS_MAX_RATE_POLICIES ? rate->n_policies :
		QS_MAX_RATE_POLICIES;
}

/* Did it happen in the period?  What is in the future counts as now. */
static bool
in_period(const QsChange *change, int64_t period_us, int64_t now)
{
	return qs_time_add(qs_time_earlier(change->at, now), period_us) > now;
}

/* How many there were when the period began. */
static int64_t
start_of_period(const QsHistory *history, int64_t period_us, int64_t now,
				int base)
{
	int64_t		start = base;
	int			n = history->changes == NULL ? 0 : history->n_changes;

	for (int i = 0; i < n && i < QS_MAX_CHANGES; i++)
		if (in_period(&history->changes[i], period_us, now))
			start -= history->changes[i].delta;
	return start < 0 ? 0 : start < MOST ? start : MOST;
}

/* How far the policy lets the group go. */
static int64_t
bound_of(const QsRatePolicy *policy, int64_t start, bool up)
{
	int64_t		value = policy->value > 0 ? policy->value : 0;
	int64_t		bound;

	if (!policy->percent)
		bound = up ? start + value : start - value;
	else if (up)
		bound = start > 0 ? (start * (100 + value) + 99) / 100 :
			value > 0 ? 1 : 0;
	else
		bound = value < 100 ? start * (100 - value) / 100 : 0;
	return bound < 0 ? 0 : bound < MOST ? bound : MOST;
}

/* When the first change that counts against this policy leaves its period. */
static int64_t
period_ends(const QsHistory *history, int64_t period_us, int64_t now, bool up)
{
	int64_t		ends = QS_NEVER;
	int			n = history->changes == NULL ? 0 : history->n_changes;

	for (int i = 0; i < n && i < QS_MAX_CHANGES; i++)
	{
		const QsChange *change = &history->changes[i];
		int64_t		end = qs_time_add(qs_time_earlier(change->at, now),
									  period_us);

		if (end <= now || (up ? change->delta <= 0 : change->delta >= 0))
			continue;
		if (ends == QS_NEVER || end < ends)
			ends = end;
	}
	return ends;
}

/*
 * Bring the target within what the rates of its direction allow, which is
 * never beyond the base on the other side.  A direction that is disabled is
 * closed to the load, not to the limits: they still move the group inside.
 * Sets *until to when more is allowed, where nothing is now.
 */
int
qs_rate_apply(const QsPolicy *policy, const QsHistory *history, int64_t now,
			  const QsLimits *limits, int base, int target,
			  QsDecision *decision, int64_t *until)
{
	bool		up = target > base;
	const QsRate *rate = up ? &policy->scale_up_rate :
		&policy->scale_down_rate;
	const QsRatePolicy *binding = NULL;
	int			n = policies_of(rate);
	int64_t		bound = base;
	int			to;

	*until = QS_NEVER;
	if (target == base)
		return target;
	if (rate->select == QS_RATE_DISABLED)
	{
		n = 0;
		if (up && limits->lower > base)
			bound = limits->lower;
		else if (!up && limits->upper < base)
			bound = limits->upper;
	}
	else if (n == 0)
		return target;

	for (int i = 0; i < n; i++)
	{
		const QsRatePolicy *p = &rate->policies[i];
		int64_t		limit = bound_of(p, start_of_period(history, p->period_us,
														now, base), up);
		bool		further = up ? limit > bound : limit < bound;

		if (binding != NULL && (limit == bound ||
								further != (rate->select == QS_RATE_MAX)))
			continue;
		binding = p;
		bound = limit;
	}
	if (up ? bound < base : bound > base)
		bound = base;
	if (up ? target <= bound : target >= bound)
		return target;
	to = (int) bound;
	qs_decision_add_clamp(decision, "rate_policy", to, target, to);
	decision->limited_by_safety = true;
	if (to == base && binding != NULL)
		*until = period_ends(history, binding->period_us, now, up);
	return to;
}
