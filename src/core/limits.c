/*-------------------------------------------------------------------------
 * limits.c
 *		What a group may be set to: limits of policy and cloud, and caps on
 *		the size of one action.
 *
 * The order is the schedules' cap and floor, the policy's minimum and maximum,
 * the administrator's ceiling, then the cloud's minimum and maximum.  The
 * cloud comes last because it refuses anything else; limits that contradict
 * each other are therefore never an error, the later one wins.  So a schedule
 * moves the group within its policy, and of two that contradict each other the
 * floor wins, because too many instances harm less than too few.
 *-------------------------------------------------------------------------
 */
#include "core/decide_parts.h"

#include <stddef.h>

static bool
is_count(int n)
{
	return n >= 0 && n <= QS_MAX_INSTANCES;
}

/*
 * The capacity that a change is computed from.  It is the desired one, so
 * that instances which still boot are not ordered a second time (the first
 * original's bug B2); where the cloud's expected-count feature is off there
 * is none, and arithmetic on its -1 would be worse (B3).
 */
int
qs_capacity_base(const QsCapacity *capacity)
{
	return capacity->desired >= 0 ? capacity->desired : capacity->total;
}

/*
 * A capacity that contradicts itself is as good as none.  "total" is looked
 * at even where desired is the base: a reply that holds garbage in one field
 * deserves no trust in the others.
 */
bool
qs_capacity_usable(const QsCapacity *capacity)
{
	return capacity->known &&
		is_count(qs_capacity_base(capacity)) &&
		is_count(capacity->total) &&
		is_count(capacity->min) &&
		is_count(capacity->max) &&
		capacity->min <= capacity->max;
}

static void
add_step(QsLimits *limits, const char *by, int limit, bool raises,
		 bool of_cloud)
{
	QsLimitStep *step = &limits->steps[limits->n_steps];

	if (limit < 0)
		return;					/* QS_NO_LIMIT */
	step->by = by;
	step->limit = limit < QS_MAX_INSTANCES ? limit : QS_MAX_INSTANCES;
	step->raises = raises;
	step->of_cloud = of_cloud;
	limits->n_steps++;
}

/* The capacity must be usable. */
void
qs_limits_init(QsLimits *limits, const QsPolicy *policy,
			   const QsCapacity *capacity)
{
	limits->n_steps = 0;
	if (policy->schedule_max.name != NULL)
		add_step(limits, "schedule_max", policy->schedule_max.instances, false,
				 false);
	if (policy->schedule_min.name != NULL)
		add_step(limits, "schedule_min", policy->schedule_min.instances, true,
				 false);
	add_step(limits, "policy_min", policy->min_instances, true, false);
	add_step(limits, "policy_max", policy->max_instances, false, false);
	add_step(limits, "ceiling", policy->ceiling, false, false);
	add_step(limits, "asg_min", capacity->min, true, true);
	add_step(limits, "asg_max", capacity->max, false, true);

	/* steps are monotone, so the ends of what passes all are the images of
	 * the ends of what can be asked for */
	limits->lower = qs_limits_apply(limits, 0, NULL, NULL);
	limits->upper = qs_limits_apply(limits, QS_MAX_INSTANCES, NULL, NULL);
}

/*
 * Bring a number of instances inside the limits.  Each step that changes it
 * becomes a clamp of the decision; both results may be NULL.
 */
int
qs_limits_apply(const QsLimits *limits, int instances, QsDecision *decision,
				QsCut *cut)
{
	QsCut		made = {false, false};

	for (int i = 0; i < limits->n_steps; i++)
	{
		const QsLimitStep *step = &limits->steps[i];

		if (step->raises ? instances >= step->limit : instances <= step->limit)
			continue;
		if (decision != NULL)
			qs_decision_add_clamp(decision, step->by, step->limit, instances,
								  step->limit);
		if (step->of_cloud && step->raises)
			made.by_cloud_min = true;
		if (step->of_cloud && !step->raises)
			made.by_cloud_max = true;
		instances = step->limit;
	}
	if (cut != NULL)
		*cut = made;
	return instances;
}

static int
cap_change(QsDecision *decision, const char *by, int limit, int cap,
		   int base, int target)
{
	int			change = target - base;
	int			capped;

	if (cap <= 0 || (change <= cap && change >= -cap))
		return target;
	capped = base + (change > 0 ? cap : -cap);
	qs_decision_add_clamp(decision, by, limit, target, capped);
	decision->limited_by_safety = true;
	return capped;
}

/*
 * How far one action may go.  A percentage always lets one instance go, or a
 * small group could never shrink.
 */
int
qs_caps_apply(const QsPolicy *policy, int base, int target,
			  QsDecision *decision)
{
	if (target > base)
		return cap_change(decision, "max_scale_up_per_action",
						  policy->max_scale_up_per_action,
						  policy->max_scale_up_per_action, base, target);
	if (target < base)
	{
		int			percent = policy->max_scale_down_percent;

		if (percent > 0 && percent < 100)
		{
			int			share = (int) ((int64_t) base * percent / 100);

			target = cap_change(decision, "max_scale_down_percent", percent,
								share > 0 ? share : 1, base, target);
		}
		target = cap_change(decision, "max_scale_down_per_action",
							policy->max_scale_down_per_action,
							policy->max_scale_down_per_action, base, target);
	}
	return target;
}

/*
 * A cap may stop short of the cloud's own limits, but the cloud refuses
 * whatever lies outside of them: a group that is far outside would never get
 * back.  So the cloud's limits are also the last word here.
 */
int
qs_cloud_limits_apply(const QsCapacity *capacity, int target,
					  QsDecision *decision)
{
	int			to = target;

	if (to < capacity->min)
		to = capacity->min;
	else if (to > capacity->max)
		to = capacity->max;
	if (to != target)
		qs_decision_add_clamp(decision, to > target ? "asg_min" : "asg_max",
							  to, target, to);
	return to;
}

/*
 * How far desired may rise while growth is unfulfilled: by as many as were
 * there, or four, as the Kubernetes autoscaler bounds a step.  More would
 * order nothing sooner, and after three such steps desired is held.
 */
int
qs_unfulfilled_bound(const QsHistory *history, const QsCapacity *capacity,
					 int base)
{
	int			there = history->fulfilled_capacity;
	int			bound;

	if (history->unfulfilled_scale_ups <= 0)
		return QS_MAX_INSTANCES;
	if (there < 0 || there > capacity->total)
		there = capacity->total;
	bound = base + (there > 4 ? there : 4);
	return bound < QS_MAX_INSTANCES ? bound : QS_MAX_INSTANCES;
}

/* Field by field: a struct copy may carry padding, and equal decisions must
 * be equal bytes. */
void
qs_decision_add_clamp(QsDecision *decision, const char *by, int limit,
					  int from, int to)
{
	QsClamp    *clamp;

	if (decision->n_clamps >= QS_MAX_CLAMPS)
		return;
	clamp = &decision->clamps[decision->n_clamps++];
	clamp->by = by;
	clamp->limit = limit;
	clamp->from = from;
	clamp->to = to;
}

void
qs_decision_add_proposal(QsDecision *decision, const char *source, double load,
						 double target, int instances)
{
	QsProposal *proposal;

	if (decision->n_proposals >= QS_MAX_PROPOSALS)
		return;
	proposal = &decision->proposals[decision->n_proposals++];
	proposal->source = source;
	proposal->load = load;
	proposal->target = target;
	proposal->instances = instances;
}

void
qs_decision_add_exclusion(QsDecision *decision, const char *source,
						  const char *why, bool holds, int64_t since,
						  int64_t until)
{
	QsExclusion *exclusion;

	if (decision->n_exclusions >= QS_MAX_EXCLUSIONS)
		return;
	exclusion = &decision->exclusions[decision->n_exclusions++];
	exclusion->source = source;
	exclusion->why = why;
	exclusion->holds = holds;
	exclusion->since = since;
	exclusion->until = until;
}
