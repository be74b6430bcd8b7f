/*-------------------------------------------------------------------------
 * conclusion.c
 *		From where a group should go to what is done now: how far one action
 *		goes, what forbids it, whether it is a dry run.
 *-------------------------------------------------------------------------
 */
#include "core/breaker.h"
#include "core/decide_parts.h"

#include <stddef.h>

/* The reason of an action that is only recorded, where that is not the
 * policy's own wish. */
static QsReason
reason_of_dry_run(const QsPolicy *policy, QsReason reason)
{
	if (policy->dry_run)
		return reason;
	if (!policy->extension_enabled)
		return QS_REASON_EXTENSION_DISABLED;
	if (!policy->armed)
		return QS_REASON_NOT_ARMED;
	return reason;
}

/*
 * Does growth that the cloud does not deliver hold the group?  An operator's
 * number is written all the same.
 */
static bool
is_stocked_out(const QsThought *t)
{
	return !t->held &&
		t->history->unfulfilled_scale_ups >= QS_STOCK_OUT_AFTER &&
		t->knows_load && t->target >= t->decision->base;
}

/* What passes by itself is not named while the stock-out lasts. */
static bool
passes_by_itself(QsReason blocker)
{
	return blocker == QS_NO_REASON ||
		blocker == QS_REASON_SCALING_IN_PROGRESS ||
		blocker == QS_REASON_COOLDOWN_GENERAL ||
		blocker == QS_REASON_COOLDOWN_SCALE_UP;
}

/*
 * Hold desired where it is, and write the same number once more when the pause
 * is over and members are missing.  A group whose members are all there, and
 * boot, only waits.
 */
static void
conclude_stock_out(QsThought *t)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	bool		missing = t->capacity->total < base &&
		base >= t->limits.lower && !decision->dry_run;
	int64_t		probe_at = qs_time_earlier(t->history->stock_out_probe_at,
										   qs_time_add(t->now,
													   QS_STOCK_OUT_LONGEST_US));
	int64_t		until;
	QsReason	blocker;

	decision->reason = QS_REASON_STOCK_OUT;
	decision->desired = base;
	decision->scaling_amount = t->target - base;
	decision->wanted = missing || t->target > base ? QS_ACTION_SCALE_UP :
		QS_ACTION_NONE;
	if (decision->wanted == QS_ACTION_NONE)
		return;

	blocker = qs_first_blocker(t->policy, t->capacity, t->activity,
							   t->history, t->now, QS_ACTION_SCALE_UP, &until);
	if (passes_by_itself(blocker) &&
		(blocker != QS_NO_REASON || !missing || t->now < probe_at))
	{
		blocker = QS_REASON_STOCK_OUT;
		until = missing ? qs_time_later(until, probe_at) : QS_NEVER;
	}
	if (blocker != QS_NO_REASON)
	{
		decision->reason = blocker;
		decision->blocker = blocker;
		decision->blocked_until = until;
		return;
	}
	decision->action = QS_ACTION_SCALE_UP;
	decision->scaling_amount = 0;
	decision->probes_stock_out = true;
	decision->needs_activities = !t->activity->asked;
}

/* While growth is unfulfilled, the next step is bounded. */
static int
bound_growth(QsThought *t, int to)
{
	int			base = t->decision->base;
	int			bound = qs_unfulfilled_bound(t->history, t->capacity, base);

	if (to <= base || to <= bound)
		return to;
	qs_decision_add_clamp(t->decision, "stock_out", bound, to, bound);
	return bound;
}

/*
 * Within what its caps on cost pay for.  They hold an operator's number too,
 * and bound growth alone: what is there stays, and so does the lower limit.
 */
static int
bound_cost(QsThought *t, int to, QsReason *capped)
{
	const QsBudget *budget = &t->policy->budget;
	int			bound = budget->unpriced ? 0 : budget->instances;

	*capped = QS_NO_REASON;
	if (budget->by == NULL)
		return to;
	if (bound < t->limits.lower)
		bound = t->limits.lower;
	if (bound < t->decision->base)
		bound = t->decision->base;
	if (to <= bound)
		return to;
	qs_decision_add_clamp(t->decision, budget->by, bound, to, bound);
	*capped = budget->unpriced ? QS_REASON_UNPRICED : QS_REASON_BUDGET_CAP;
	return bound;
}

/* How far this one action goes.  Sets *until for a rate that allows nothing. */
static int
bound_step(QsThought *t, int64_t *until, QsReason *capped)
{
	QsDecision *decision = t->decision;
	int			to = t->target;

	*until = QS_NEVER;
	if (!t->held)
	{
		to = qs_caps_apply(t->policy, decision->base, to, decision);
		to = qs_rate_apply(t->policy, t->history, t->now, &t->limits,
						   decision->base, to, decision, until);
		to = bound_growth(t, to);
	}
	to = bound_cost(t, to, capped);
	return qs_cloud_limits_apply(t->capacity, to, decision);
}

/* What forbids the step now, if nothing did before. */
static void
block(QsThought *t, int to, int64_t rate_until, QsReason capped)
{
	QsDecision *decision = t->decision;

	if (t->held && t->history->by_hand)
	{
		t->hold = qs_by_hand_blocker(t->policy, t->capacity, t->history,
									 decision->wanted);
		return;
	}
	if (t->hold == QS_NO_REASON)
		t->hold = qs_first_blocker(t->policy, t->capacity, t->activity,
								   t->history, t->now, decision->wanted,
								   &t->hold_until);
	if (to == decision->base && capped != QS_NO_REASON)
		qs_hold(t, capped, QS_NEVER);
	else if (to == decision->base)
		qs_hold(t, QS_REASON_RATE_LIMITED, rate_until);
	if (decision->wanted == QS_ACTION_SCALE_DOWN && t->veto != QS_NO_REASON)
		qs_hold(t, t->veto, QS_NEVER);
}

/*
 * What nothing else forbids waits for a person, who has then seen all there is
 * to see.  What a person asked for, and a write of the number that is there
 * already, wait for nobody.
 */
static void
await_approval(QsThought *t)
{
	QsDecision *decision = t->decision;

	if (!t->policy->require_approval || decision->dry_run || t->held ||
		decision->needs_activities || decision->needs_in_service ||
		decision->needs_vetoes)
		return;
	decision->approvable = decision->desired;
	decision->approvable_reason = decision->reason;
	decision->action = QS_ACTION_NONE;
	decision->desired = decision->base;
	decision->reason = QS_REASON_APPROVAL_REQUIRED;
	decision->blocker = QS_REASON_APPROVAL_REQUIRED;
}

/*
 * From where to go to what to do now.  Blockers are looked at in a dry run
 * too, so that it shows what would have happened.
 */
void
qs_conclude(QsThought *t)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	int64_t		rate_until;
	QsReason	capped;
	int			to;

	decision->least = t->limits.lower;
	decision->reason = t->reason;
	decision->desired = base;
	if (is_stocked_out(t))
	{
		conclude_stock_out(t);
		return;
	}
	if (decision->wanted == QS_ACTION_NONE)
		return;

	to = bound_step(t, &rate_until, &capped);
	decision->scaling_amount = to > base ? to - base : base - to;
	block(t, to, rate_until, capped);
	if (t->hold != QS_NO_REASON)
	{
		decision->reason = t->hold;
		decision->blocker = t->hold;
		decision->blocked_until = t->hold_until;
		return;
	}

	decision->action = decision->wanted;
	decision->desired = to;
	if (decision->limited_by_safety)
	{
		if (decision->reason == QS_REASON_DYNAMIC_SCALE_UP ||
			decision->reason == QS_REASON_PREDICTED_SCALE_UP)
			decision->reason = QS_REASON_DYNAMIC_LIMITED_SCALE_UP;
		else if (decision->reason == QS_REASON_DYNAMIC_SCALE_DOWN)
			decision->reason = QS_REASON_DYNAMIC_LIMITED_SCALE_DOWN;
	}
	if (capped != QS_NO_REASON)
		decision->reason = capped;
	decision->reason = reason_of_dry_run(t->policy, decision->reason);
	decision->needs_activities = !t->activity->asked &&
		!(t->held && t->history->by_hand);
	decision->needs_in_service = t->ask_in_service;
	decision->needs_vetoes = t->ask_vetoes &&
		decision->action == QS_ACTION_SCALE_DOWN;
	await_approval(t);
}
