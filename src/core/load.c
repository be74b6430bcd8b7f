/*-------------------------------------------------------------------------
 * load.c
 *		Requests per second as a driver of a group: whether they can be
 *		believed, and how many instances they take.
 *-------------------------------------------------------------------------
 */
#include "core/decide_parts.h"

#include <stddef.h>

/*
 * A mean over data points is a float sum: 3 times 50 may come as
 * 150.00000001.  A quotient that exceeds an integer by less than this share
 * is taken for the integer, or such noise would cost one instance.
 */
#define ROUNDING_SHARE	1e-9

/* More than any balancer serves; a counter that wrapped is near 1.8e19. */
#define ABSURD_QPS		1e15

static bool
is_qps(double qps)
{
	/* NaN fails both comparisons */
	return qps >= 0 && qps <= ABSURD_QPS;
}

bool
qs_is_positive(double x)
{
	return __builtin_isfinite(x) && x > 0;
}

/* The table's CHECKs forbid all this; a row may predate them. */
bool
qs_policy_usable(const QsPolicy *policy)
{
	if (!qs_is_positive(policy->target_qps))
		return false;
	if (policy->mode == QS_MODE_DYNAMIC)
		return true;
	return policy->mode == QS_MODE_STATIC &&
		qs_is_positive(policy->up_threshold) &&
		__builtin_isfinite(policy->down_threshold) &&
		policy->down_threshold >= 0;
}

/*
 * How far the load can be believed: METRICS_UNAVAILABLE (not at all),
 * METRICS_STALE (likewise), METRICS_PARTIAL (for growing), or QS_NO_REASON.
 * One bucket may be missing, because the newest is often published late.
 */
QsReason
qs_load_judge(const QsLoad *load, const QsPolicy *policy, int64_t now)
{
	if (!load->known || !is_qps(load->mean_qps))
		return QS_REASON_METRICS_UNAVAILABLE;
	if (load->expected_points > 0 && load->points <= 0)
		return QS_REASON_METRICS_UNAVAILABLE;
	if (policy->max_load_age_us > 0 &&
		(load->newest_end_us == QS_NEVER ||
		 load->newest_end_us < qs_time_subtract(now, policy->max_load_age_us)))
		return QS_REASON_METRICS_STALE;
	if (load->expected_points > 0 && load->points < load->expected_points - 1)
		return QS_REASON_METRICS_PARTIAL;
	return QS_NO_REASON;
}

/* ceil(load / target): the formula.  Any load at all takes one instance. */
int
qs_optimal_instances(double load, double target)
{
	double		quotient = load / target;
	int			instances;

	if (!(load > 0))
		return 0;
	if (!(quotient < QS_MAX_INSTANCES))
		return QS_MAX_INSTANCES;
	quotient -= quotient * ROUNDING_SHARE;
	instances = (int) quotient;
	if (instances < quotient)
		instances++;
	return instances > 0 ? instances : 1;
}

/*
 * Static mode: one step when the load per instance leaves the band between
 * the thresholds.  From zero there is no load per instance, and any load
 * takes the first step: 0 / 0 taken for "below" never woke a group (B14).
 */
static int
step_by_threshold(double load, int base, const QsPolicy *policy)
{
	double		up = policy->target_qps * policy->up_threshold;
	double		down = policy->target_qps * policy->down_threshold;
	double		per_instance;

	if (base == 0)
		return load > 0 ? 1 : 0;
	per_instance = load / base;
	if (per_instance > up * (1 + ROUNDING_SHARE))
		return base + 1;
	if (per_instance < down * (1 - ROUNDING_SHARE))
		return base - 1;
	return base;
}

/* What the load takes of a group that has base instances. */
static int
propose(const QsPolicy *policy, double load, int base)
{
	if (policy->mode == QS_MODE_STATIC)
		return step_by_threshold(load, base, policy);
	return qs_optimal_instances(load, policy->target_qps);
}

/*
 * Is the load per instance so near to the target that a group of base
 * instances does not grow, or does not shrink?  Dynamic mode only: in static
 * mode the thresholds are the band.
 */
static bool
within_tolerance(const QsPolicy *policy, double load, int base, bool growing)
{
	double		per_instance;

	if (policy->mode != QS_MODE_DYNAMIC || base == 0)
		return false;
	per_instance = load / base;
	if (growing)
		return policy->scale_up_tolerance > 0 &&
			per_instance <= policy->target_qps *
			(1 + policy->scale_up_tolerance) * (1 + ROUNDING_SHARE);
	return policy->scale_down_tolerance > 0 &&
		per_instance >= policy->target_qps *
		(1 - policy->scale_down_tolerance) * (1 - ROUNDING_SHARE);
}

/*
 * The load of a growing group may be that of the newest minute; a shrinking
 * one follows the mean.  What the newest minute would take is recorded all
 * the same, or the window would let go what that minute is about to order
 * back.
 */
void
qs_load_propose(const QsPolicy *policy, const QsLoad *load,
				const QsLimits *limits, QsDecision *decision,
				QsLoadProposal *proposal)
{
	bool		is_static = policy->mode == QS_MODE_STATIC;
	const char *source = is_static ? "threshold" : "qps";
	int			base = decision->base;
	int			peak;
	int			within;

	proposal->load = load->mean_qps;
	proposal->instances = propose(policy, load->mean_qps, base);
	proposal->recommended = qs_limits_apply(limits, proposal->instances, NULL,
											NULL);
	proposal->source = source;
	qs_decision_add_proposal(decision, source, load->mean_qps,
							 policy->target_qps, proposal->instances);
	if (policy->scale_up_on_peak && is_qps(load->newest_qps) &&
		load->newest_qps > load->mean_qps)
	{
		peak = propose(policy, load->newest_qps, base);
		within = qs_limits_apply(limits, peak, NULL, NULL);
		source = is_static ? "threshold_peak" : "qps_peak";
		qs_decision_add_proposal(decision, source, load->newest_qps,
								 policy->target_qps, peak);
		if (within > proposal->recommended)
			proposal->recommended = within;
		if (within > base)
		{
			proposal->load = load->newest_qps;
			proposal->instances = peak;
			proposal->source = source;
		}
	}

	within = qs_limits_apply(limits, proposal->instances, NULL, NULL);
	proposal->tolerated = within != base && base >= limits->lower &&
		base <= limits->upper &&
		within_tolerance(policy, proposal->load, base, within > base);
}

/*
 * The smallest size, of those from "to" up to what is there, at which the same
 * load would not make the group grow again.
 *
 * The plain formula never needs this: it shrinks to no less than
 * ceil(load / target), and there it asks for no more.  The same holds of every
 * further signal, whose proposals are all at or below the size that won
 * (a law of ratios foretells serving * value / size, which is at most the
 * target there).  What is left are rules that grow by another number than the
 * one that shrinks: thresholds, and the newest minute.
 */
int
qs_load_projection(const QsPolicy *policy, const QsLoad *load,
				   const QsLimits *limits, int to, int base)
{
	double		most = load->mean_qps;
	int			enough;

	if (policy->scale_up_on_peak && is_qps(load->newest_qps) &&
		load->newest_qps > most)
		most = load->newest_qps;
	if (policy->mode == QS_MODE_STATIC)
	{
		while (to < base && to < limits->upper &&
			   step_by_threshold(most, to, policy) > to)
			to++;
		return to;
	}
	if (most == load->mean_qps)
		return to;
	enough = qs_optimal_instances(most, policy->scale_up_tolerance > 0 ?
								  policy->target_qps *
								  (1 + policy->scale_up_tolerance) :
								  policy->target_qps);
	if (enough > limits->upper)
		enough = limits->upper;
	if (enough > base)
		enough = base;
	return enough > to ? enough : to;
}
