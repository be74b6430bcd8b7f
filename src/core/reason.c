/*-------------------------------------------------------------------------
 * reason.c
 *		The words for why a group was or was not scaled.
 *
 * One table: the string that tables, payloads and alerts carry, and one
 * sentence for the operator who reads it, with what to do where something
 * can be done.  The strings are part of the user interface and never change;
 * the documentation's troubleshooting chapter goes by the same list.
 *-------------------------------------------------------------------------
 */
#include "core/decide.h"

#include <stddef.h>

typedef struct ReasonText
{
	const char *name;
	const char *explanation;
} ReasonText;

static const ReasonText reasons[QS_REASON_COUNT] = {
	[QS_REASON_DYNAMIC_SCALE_UP] = {
		"dynamic_scaling_scale_up",
		"The load needs more instances than are desired, so the group grows;"
		" nothing is to be done."
	},
	[QS_REASON_DYNAMIC_SCALE_DOWN] = {
		"dynamic_scaling_scale_down",
		"The load needs fewer instances than are desired, so the group"
		" shrinks; nothing is to be done."
	},
	[QS_REASON_DYNAMIC_LIMITED_SCALE_UP] = {
		"dynamic_scaling_limited_scale_up",
		"The group grows by less than the load needs; raise"
		" max_scale_up_per_action, or its rates, if it should get there in fewer"
		" steps."
	},
	[QS_REASON_DYNAMIC_LIMITED_SCALE_DOWN] = {
		"dynamic_scaling_limited_scale_down",
		"The group shrinks by less than the load allows; raise"
		" max_scale_down_per_action, max_scale_down_percent or its rates if it"
		" should get there in fewer steps."
	},
	[QS_REASON_QPS_ABOVE_THRESHOLD] = {
		"qps_above_threshold",
		"The load per instance is above the upper threshold, so the group"
		" grows by one step; nothing is to be done."
	},
	[QS_REASON_QPS_BELOW_THRESHOLD] = {
		"qps_below_threshold",
		"The load per instance is below the lower threshold, so the group"
		" shrinks by one step; nothing is to be done."
	},
	[QS_REASON_QPS_WITHIN_THRESHOLDS] = {
		"qps_within_thresholds",
		"The load per instance is between the two thresholds; nothing is to"
		" be done."
	},
	[QS_REASON_AT_MAX_CAPACITY] = {
		"at_max_capacity",
		"The load is above the upper threshold, but the group is at its"
		" maximum; raise the maximum of the policy or of the scaling group."
	},
	[QS_REASON_AT_MIN_CAPACITY] = {
		"at_min_capacity",
		"The load is below the lower threshold, but the group is at its"
		" minimum; lower the minimum if fewer instances would do."
	},
	[QS_REASON_AT_ASG_MIN_CAPACITY] = {
		"at_asg_min_capacity",
		"The load needs fewer instances than the cloud's minimum of the"
		" scaling group; lower that minimum in the cloud if they should go."
	},
	[QS_REASON_AT_ASG_MAX_CAPACITY] = {
		"at_asg_max_capacity",
		"The load needs more instances than the cloud's maximum of the"
		" scaling group; raise that maximum in the cloud."
	},
	[QS_REASON_CONSTRAINED_BY_ASG_LIMITS] = {
		"constrained_by_asg_limits",
		"The policy's limits and the cloud's limits of the scaling group"
		" contradict each other and the cloud's hold; make the policy's"
		" minimum and maximum lie within the cloud's."
	},
	[QS_REASON_OPTIMAL_REACHED] = {
		"optimal_instance_count_reached",
		"The group has as many instances as the load needs; nothing is to be"
		" done."
	},
	[QS_REASON_METRICS_UNAVAILABLE] = {
		"metrics_unavailable",
		"No usable load or capacity was observed, and a group is never"
		" changed on missing data; run qpsscale_validate for this group and"
		" look at qpsscale.errors."
	},
	[QS_REASON_ASG_STATUS_ERROR] = {
		"asg_status_error",
		"The state of the scaling group could not be read or contradicts"
		" itself; run qpsscale_validate for this group and look at"
		" qpsscale.errors."
	},
	[QS_REASON_SCALING_IN_PROGRESS] = {
		"scaling_in_progress",
		"An earlier change of the group is still being carried out; wait, or"
		" look at the scaling group's activities if it lasts."
	},
	[QS_REASON_COOLDOWN_GENERAL] = {
		"cooldown_general",
		"The group was changed a short while ago, by this extension or by"
		" somebody else; wait until blocked_until, or lower"
		" general_cooldown_seconds."
	},
	[QS_REASON_COOLDOWN_SCALE_UP] = {
		"cooldown_scale_up",
		"The group grew a short while ago; wait until blocked_until, or lower"
		" scale_up_cooldown_seconds."
	},
	[QS_REASON_COOLDOWN_SCALE_DOWN] = {
		"cooldown_scale_down",
		"The group shrank a short while ago; wait until blocked_until, or"
		" lower scale_down_cooldown_seconds."
	},
	[QS_REASON_EVALUATION_ERROR] = {
		"evaluation_error",
		"The group could not be evaluated, for instance because its target or"
		" a threshold is not a positive number; correct its row in"
		" qpsscale.resource_groups and look at qpsscale.errors."
	},
	[QS_REASON_BELOW_LIMIT] = {
		"below_minimum",
		"The desired capacity is below the lower limit and is raised to it;"
		" nothing is to be done unless something else keeps lowering it."
	},
	[QS_REASON_ABOVE_LIMIT] = {
		"above_maximum",
		"The desired capacity is above the upper limit and is lowered to it;"
		" nothing is to be done unless something else keeps raising it."
	},
	[QS_REASON_AT_POLICY_MIN] = {
		"at_policy_min_capacity",
		"The load needs fewer instances than the policy's minimum or a"
		" schedule's; lower min_instances, or change the schedule, if they"
		" should go."
	},
	[QS_REASON_AT_POLICY_MAX] = {
		"at_policy_max_capacity",
		"The load needs more instances than the policy, a schedule or"
		" qpsscale.max_instances allows; raise max_instances, change the"
		" schedule or raise the setting."
	},
	[QS_REASON_METRICS_STALE] = {
		"metrics_stale",
		"The newest data point is too old to act on; find out why the monitor"
		" publishes late, or whether this server's clock is right."
	},
	[QS_REASON_METRICS_PARTIAL] = {
		"metrics_partial",
		"The group would shrink, but data points are missing from the window;"
		" wait, or find out why the monitor leaves gaps."
	},
	[QS_REASON_WITHIN_TOLERANCE] = {
		"within_tolerance",
		"The load per instance is so near to the target that the policy's"
		" tolerance keeps the group as it is; lower the tolerance if it"
		" should follow."
	},
	[QS_REASON_STABILIZING] = {
		"scale_down_stabilizing",
		"The group would shrink, but as many instances were needed within the"
		" stabilization window; wait until blocked_until, or shorten the"
		" window."
	},
	[QS_REASON_SUSPICIOUS_DROP] = {
		"suspicious_drop",
		"The load fell by more than 80 % while the healthy backends stayed"
		" the same, so a second window is waited for; find out whether the"
		" metric or the traffic in front of the balancer broke."
	},
	[QS_REASON_ACTIVITY_IN_FLIGHT] = {
		"activity_in_flight",
		"A change that this extension requested has no known outcome yet; it"
		" is resolved by reading the group back in one of the next"
		" evaluations, so wait."
	},
	[QS_REASON_ACTIVITY_CHECK_FAILED] = {
		"activity_check_failed",
		"The cloud's own activities of the group could not be read, so it is"
		" not known whether it may be changed; check the account's permission"
		" to list them and look at qpsscale.errors."
	},
	[QS_REASON_ASG_NOT_ACTIVE] = {
		"asg_not_active",
		"The cloud would not carry out a change because the scaling group is"
		" not active; enable it in the cloud."
	},
	[QS_REASON_ASG_PROCESS_SUSPENDED] = {
		"asg_process_suspended",
		"The scaling group's process for this direction is suspended in the"
		" cloud; resume it there."
	},
	[QS_REASON_OTHER_AUTOSCALER] = {
		"other_autoscaler",
		"Another autoscaler, in Kubernetes a HorizontalPodAutoscaler, scales"
		" the same object, and two would fight for it; delete it, or disable"
		" this group."
	},
	[QS_REASON_SUSPENDED] = {
		"suspended",
		"An operator suspended scaling in this direction, or somebody else"
		" changed the group and its policy says pause; look at"
		" suspended_reason in qpsscale.state and call qpsscale_resume to end"
		" that."
	},
	[QS_REASON_CIRCUIT_OPEN] = {
		"circuit_open",
		"The last changes failed one after another, so none is tried until"
		" blocked_until; look at qpsscale.errors and, once the cause is gone,"
		" call qpsscale_reset_circuit."
	},
	[QS_REASON_STOCK_OUT] = {
		"stock_out",
		"The cloud accepted growth and delivered no instance, so the desired"
		" capacity is held, and written once more at blocked_until; look at"
		" the scaling group's activities in the cloud, its quota and the"
		" stock of its instance type."
	},
	[QS_REASON_NOT_ARMED] = {
		"not_armed",
		"This is recorded but not carried out, because the database is not"
		" armed on this machine; call qpsscale_arm if it is the one that"
		" should scale."
	},
	[QS_REASON_EXTENSION_DISABLED] = {
		"extension_disabled",
		"This is recorded but not carried out, because qpsscale.enabled is"
		" off; turn it on and reload the configuration."
	},
	[QS_REASON_ROW_LOCKED] = {
		"row_locked",
		"Somebody holds a lock on the group's state, so it was left out this"
		" time; end the transaction that holds it if it lasts."
	},
	[QS_REASON_POLICY_CHANGED] = {
		"policy_changed",
		"The policy was changed while the group was being evaluated; the next"
		" evaluation uses the new one, so wait."
	},
	[QS_REASON_HELD] = {
		"held",
		"An operator keeps the group at a number of instances; wait until"
		" blocked_until, or call qpsscale_resume or qpsscale_set_capacity."
	},
	[QS_REASON_SET_BY_HAND] = {
		"set_by_hand",
		"An operator set the number of instances with qpsscale_set_capacity;"
		" nothing is to be done."
	},
	[QS_REASON_SIGNAL_MISSING] = {
		"signal_missing",
		"A load signal without which the group does not shrink is not known,"
		" or none is known at all; find out why its source is silent, or make"
		" it optional."
	},
	[QS_REASON_VETOED] = {
		"vetoed",
		"The group would shrink, but a signal with the role of a veto is above"
		" its target; wait until it is not, or raise that target."
	},
	[QS_REASON_CONFIRMING] = {
		"confirming",
		"Fewer of the last observations than the policy asks for wanted this"
		" direction; wait for the next ones."
	},
	[QS_REASON_WOULD_SCALE_OUT_AGAIN] = {
		"would_scale_out_again",
		"The group would shrink, but with one instance less the same load"
		" would make it grow again; nothing is to be done."
	},
	[QS_REASON_RATE_LIMITED] = {
		"rate_limited",
		"The policy's rates allow no further change in this direction for now;"
		" wait until blocked_until, or raise them."
	},
	[QS_REASON_DECISION_EXECUTED] = {
		"decision_executed",
		"A recorded decision was carried out with qpsscale_execute; nothing is"
		" to be done."
	},
	[QS_REASON_BUDGET_CAP] = {
		"budget_cap",
		"A cap on what the group, or all groups of its currency, may cost an"
		" hour keeps it from growing as it needs; raise max_hourly_cost of the"
		" group or of qpsscale.budgets, or shrink another group."
	},
	[QS_REASON_UNPRICED] = {
		"unpriced",
		"What the group may cost is capped and what it costs is not known, so"
		" it does not grow; give it a price in the currency of its cap, or"
		" take max_hourly_cost away."
	},
	[QS_REASON_PREDICTED_SCALE_UP] = {
		"predicted_scale_up",
		"More instances are needed by the time that those ordered now serve;"
		" the load may reach what the proposal in the explanation says; nothing"
		" is to be done."
	},
	[QS_REASON_PREDICTED_TO_RISE] = {
		"predicted_to_rise",
		"The group would shrink, but what it lets go would soon be needed"
		" again; nothing is to be done."
	},
	[QS_REASON_OUTAGE_SUSPECTED] = {
		"outage_suspected",
		"The load is far below that of this time yesterday, so its users may"
		" not reach it and return all at once; look whether they can. The"
		" group shrinks if that lasts for four hours."
	},
	[QS_REASON_HOURLY_LIMIT] = {
		"hourly_limit",
		"The group, or all groups together, have changed as much within an"
		" hour as they may; wait until blocked_until, or raise"
		" max_actions_per_hour or max_instances_per_hour of the group or the"
		" settings of the same names."
	},
	[QS_REASON_APPROVAL_REQUIRED] = {
		"approval_required",
		"The action was decided and waits for a person: call qpsscale_execute"
		" with the newest row of qpsscale.decisions before it expires, or let"
		" it expire."
	},
};

const char *
qs_reason_name(QsReason reason)
{
	size_t		i = (size_t) reason;

	return i < QS_REASON_COUNT ? reasons[i].name : "unknown";
}

const char *
qs_reason_explanation(QsReason reason)
{
	size_t		i = (size_t) reason;

	if (i < QS_REASON_COUNT)
		return reasons[i].explanation;
	return "The reason is not known to this version; look at the server log.";
}
