/*-------------------------------------------------------------------------
 * held.c
 *		The number of instances that an operator asked for by hand.
 *
 * It takes the place of what the load asks for, within the limits, at once
 * (by hand) and, where it is to be held, in each evaluation until its end.  An
 * operator who looks at the group knows more than windows, caps, guards and
 * tolerances do, so these are left out; the limits stand.
 *-------------------------------------------------------------------------
 */
#include "core/decide_parts.h"

bool
qs_is_held(const QsHistory *history, int64_t now)
{
	return history->held_until != QS_NEVER && now < history->held_until &&
		history->held_instances >= 0;
}

/*
 * Where to go instead of what was thought so far, of which the explanation
 * keeps the proposals.  Sets wanted, winner, clamps and blocked_until.
 */
int
qs_held_target(const QsHistory *history, const QsLimits *limits,
			   QsDecision *decision)
{
	int			target;
	QsCut		cut;

	decision->n_clamps = 0;
	decision->winner = history->by_hand ? "by_hand" :
		history->executes ? "decision" : "held";
	decision->confirmed = decision->confirm_n = decision->confirm_m = 0;
	qs_decision_add_proposal(decision, decision->winner, decision->base,
							 history->held_instances, history->held_instances);
	target = qs_limits_apply(limits, history->held_instances, decision, &cut);
	decision->limited_by_asg = cut.by_cloud_min || cut.by_cloud_max;
	decision->wanted = target > decision->base ? QS_ACTION_SCALE_UP :
		target < decision->base ? QS_ACTION_SCALE_DOWN : QS_ACTION_NONE;
	decision->blocked_until = history->held_until == INT64_MAX ? QS_NEVER :
		history->held_until;
	return target;
}

/*
 * What forbids even an operator's change: that its outcome could not be told
 * from another's, or that the cloud would not carry it out.  Cooldowns, a
 * suspension and an open circuit do not; there it is the attempt that shows
 * whether the cloud takes changes again.
 */
QsReason
qs_by_hand_blocker(const QsPolicy *policy, const QsCapacity *capacity,
				   const QsHistory *history, QsAction wanted)
{
	bool		up = wanted == QS_ACTION_SCALE_UP;

	if (history->activity_in_flight)
		return QS_REASON_ACTIVITY_IN_FLIGHT;
	if (!capacity->active)
		return QS_REASON_ASG_NOT_ACTIVE;
	if (up ? capacity->scale_out_suspended : capacity->scale_in_suspended)
		return QS_REASON_ASG_PROCESS_SUSPENDED;
	if (history->activity_accepted && !policy->writes_while_busy)
		return QS_REASON_SCALING_IN_PROGRESS;
	return QS_NO_REASON;
}
