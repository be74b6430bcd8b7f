/*-------------------------------------------------------------------------
 * decide.c
 *		The order of thought of decide(): from load and capacity to an action
 *		and its explanation.
 *
 * The steps are: what the capacity is and may be; whether the load can be
 * believed; how many instances that takes; whether to go there now (data,
 * stabilization window, suspicious drop); how far one action may go; what
 * forbids it; whether it is a dry run.  The first thing that holds an action
 * back is the reason that is reported.
 *
 * Two rules stand above the steps.  Missing, stale or partial data never
 * shrinks a group.  A group below its lower limit is raised to it whatever
 * the data, since that needs no load to be known and growing is safe.
 *-------------------------------------------------------------------------
 */
#include "core/breaker.h"
#include "core/decide_parts.h"

#include <string.h>

/*
 * A mean over data points is a float sum: 3 times 50 may come as
 * 150.00000001.  A quotient that exceeds an integer by less than this share
 * is taken for the integer, or such noise would cost one instance.
 */
#define ROUNDING_SHARE	1e-9

/* More than any balancer serves; a counter that wrapped is near 1.8e19. */
#define ABSURD_QPS		1e15

typedef struct Thought
{
	const QsPolicy *policy;
	const QsLoad *load;
	const QsCapacity *capacity;
	const QsCloudActivity *activity;
	const QsHistory *history;
	int64_t		now;
	QsLimits	limits;
	QsDecision *decision;

	int			target;			/* where to go, within the limits */
	QsReason	reason;			/* of going there, or of staying */
	QsReason	hold;			/* the first that holds it back, so far */
	int64_t		hold_until;
	bool		ask_in_service;
	bool		held;			/* target is an operator's number */
} Thought;

static bool
is_qps(double qps)
{
	/* NaN fails both comparisons */
	return qps >= 0 && qps <= ABSURD_QPS;
}

static bool
is_positive(double x)
{
	return __builtin_isfinite(x) && x > 0;
}

/* The table's CHECKs forbid all this; a row may predate them. */
static bool
policy_usable(const QsPolicy *policy)
{
	if (!is_positive(policy->target_qps))
		return false;
	if (policy->mode == QS_MODE_DYNAMIC)
		return true;
	return policy->mode == QS_MODE_STATIC &&
		is_positive(policy->up_threshold) &&
		__builtin_isfinite(policy->down_threshold) &&
		policy->down_threshold >= 0;
}

/*
 * How far the load can be believed: METRICS_UNAVAILABLE (not at all),
 * METRICS_STALE (likewise), METRICS_PARTIAL (for growing), or QS_NO_REASON.
 * One bucket may be missing, because the newest is often published late.
 */
static QsReason
judge_load(const QsLoad *load, const QsPolicy *policy, int64_t now)
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
static int
optimal_instances(double load, double target)
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

static int
propose(const Thought *t, double load)
{
	if (t->policy->mode == QS_MODE_STATIC)
		return step_by_threshold(load, t->decision->base, t->policy);
	return optimal_instances(load, t->policy->target_qps);
}

static void
add_proposal(QsDecision *decision, const char *source, double load,
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

/* A limit that moves the group whatever the load wins over the load. */
static void
win_by_limit(Thought *t, QsReason reason)
{
	QsDecision *decision = t->decision;
	int			limit = reason == QS_REASON_BELOW_LIMIT ?
		t->limits.lower : t->limits.upper;

	add_proposal(decision, "limit", decision->base, limit, limit);
	decision->winner = "limit";
	t->reason = reason;
}

static void
hold(Thought *t, QsReason reason, int64_t until)
{
	if (t->hold != QS_NO_REASON)
		return;
	t->hold = reason;
	t->hold_until = until;
}

/*
 * Why nothing changes although everything was known.  The first original's
 * words where the cloud's limits hold the group, ours where its own do.
 */
static QsReason
reason_to_stay(const Thought *t, int proposed, const QsCut *cut)
{
	int			base = t->decision->base;

	if (t->policy->mode == QS_MODE_STATIC)
	{
		if (proposed == base)
			return QS_REASON_QPS_WITHIN_THRESHOLDS;
		return proposed > base ? QS_REASON_AT_MAX_CAPACITY :
			QS_REASON_AT_MIN_CAPACITY;
	}
	if (proposed == base)
		return QS_REASON_OPTIMAL_REACHED;
	if (cut->by_cloud_min)
		return proposed < base ? QS_REASON_AT_ASG_MIN_CAPACITY :
			QS_REASON_CONSTRAINED_BY_ASG_LIMITS;
	if (cut->by_cloud_max)
		return proposed > base ? QS_REASON_AT_ASG_MAX_CAPACITY :
			QS_REASON_CONSTRAINED_BY_ASG_LIMITS;
	return proposed < base ? QS_REASON_AT_POLICY_MIN :
		QS_REASON_AT_POLICY_MAX;
}

/*
 * Is the load per instance so near to the target that this direction holds?
 * Dynamic mode only: in static mode the thresholds are the band.
 */
static bool
within_tolerance(const Thought *t, double load)
{
	const QsPolicy *policy = t->policy;
	const QsDecision *decision = t->decision;
	double		per_instance;

	if (policy->mode != QS_MODE_DYNAMIC || decision->base == 0)
		return false;
	per_instance = load / decision->base;
	if (decision->optimal > decision->base)
		return policy->scale_up_tolerance > 0 &&
			per_instance <= policy->target_qps *
			(1 + policy->scale_up_tolerance) * (1 + ROUNDING_SHARE);
	return policy->scale_down_tolerance > 0 &&
		per_instance >= policy->target_qps *
		(1 - policy->scale_down_tolerance) * (1 - ROUNDING_SHARE);
}

static void
grow(Thought *t, int proposed)
{
	t->decision->wanted = QS_ACTION_SCALE_UP;
	if (t->decision->base < t->limits.lower && proposed < t->limits.lower)
		win_by_limit(t, QS_REASON_BELOW_LIMIT);
	else if (t->policy->mode == QS_MODE_STATIC)
		t->reason = QS_REASON_QPS_ABOVE_THRESHOLD;
	else
		t->reason = QS_REASON_DYNAMIC_SCALE_UP;
}

/*
 * Shrink to the largest recent recommendation, unless the data is partial or
 * the drop suspicious.  The window never keeps a group above its upper
 * limit: what was recommended under older limits is bounded by today's.
 */
static void
shrink(Thought *t, int proposed, QsReason data)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	int			maximum = qs_window_maximum(decision);
	int64_t		drop_until;
	QsDropVerdict drop;

	decision->wanted = QS_ACTION_SCALE_DOWN;
	if (maximum > t->limits.upper)
		maximum = t->limits.upper;
	if (maximum > t->target)
	{
		int			to = maximum < base ? maximum : base;

		qs_decision_add_clamp(decision, "stabilization_window", maximum,
							  t->target, to);
		t->target = to;
	}

	if (base > t->limits.upper && t->target == t->limits.upper &&
		proposed != t->limits.upper)
		win_by_limit(t, QS_REASON_ABOVE_LIMIT);
	else if (t->policy->mode == QS_MODE_STATIC)
		t->reason = QS_REASON_QPS_BELOW_THRESHOLD;
	else
		t->reason = QS_REASON_DYNAMIC_SCALE_DOWN;

	if (data != QS_NO_REASON)
	{
		/* carried over; a drop is judged on complete data only */
		hold(t, data, QS_NEVER);
		return;
	}
	drop = qs_drop_verdict(t->policy, t->load, t->capacity, t->activity,
						   t->history, t->now, &decision->drop_seen_at,
						   &drop_until);
	if (t->target == base)
		hold(t, QS_REASON_STABILIZING,
			 qs_window_holds_until(decision, t->policy->scale_down_window_us,
								   base));
	if (drop == QS_DROP_HOLD)
		hold(t, QS_REASON_SUSPICIOUS_DROP, drop_until);
	t->ask_in_service = drop == QS_DROP_ASK;
}

/*
 * The load of a growing group may be that of the newest minute; a shrinking
 * one follows the mean.  What the newest minute would take is recorded all
 * the same, or the window would let go what that minute is about to order
 * back.  Sets *recommended to the number to record.
 */
static double
choose_load(const Thought *t, int *proposed, int *recommended)
{
	QsDecision *decision = t->decision;
	const char *source = t->policy->mode == QS_MODE_STATIC ?
		"threshold" : "qps";
	double		target = t->policy->target_qps;
	double		mean = t->load->mean_qps;
	double		newest = t->load->newest_qps;
	int			peak;
	int			peak_recommended;

	*proposed = propose(t, mean);
	*recommended = qs_limits_apply(&t->limits, *proposed, NULL, NULL);
	add_proposal(decision, source, mean, target, *proposed);
	decision->winner = source;
	if (!t->policy->scale_up_on_peak || !is_qps(newest) || newest <= mean)
		return mean;

	peak = propose(t, newest);
	peak_recommended = qs_limits_apply(&t->limits, peak, NULL, NULL);
	source = t->policy->mode == QS_MODE_STATIC ?
		"threshold_peak" : "qps_peak";
	add_proposal(decision, source, newest, target, peak);
	if (peak_recommended > *recommended)
		*recommended = peak_recommended;
	if (peak_recommended <= decision->base)
		return mean;
	*proposed = peak;
	decision->winner = source;
	return newest;
}

static void
think_with_load(Thought *t, QsReason data)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	bool		inside = base >= t->limits.lower && base <= t->limits.upper;
	int			proposed;
	int			recommended;
	QsCut		cut;
	double		load = choose_load(t, &proposed, &recommended);

	decision->load_qps = load;
	decision->qps_per_instance = base > 0 ? load / base : 0;
	decision->optimal = qs_limits_apply(&t->limits, proposed, decision, &cut);
	decision->limited_by_asg = cut.by_cloud_min || cut.by_cloud_max;
	decision->required_change = decision->optimal - base;
	qs_window_push(t->policy->scale_down_window_us, t->now, recommended,
				   decision);

	/* only a shrink can be suspicious; shrink() sets it again */
	if (data == QS_NO_REASON || qs_drop_recovered(t->load, t->history))
		decision->drop_seen_at = QS_NEVER;

	t->target = decision->optimal;
	if (decision->optimal == base)
		t->reason = reason_to_stay(t, proposed, &cut);
	else if (inside && within_tolerance(t, load))
	{
		t->target = base;
		t->reason = QS_REASON_WITHIN_TOLERANCE;
	}
	else if (decision->optimal > base)
		grow(t, proposed);
	else
		shrink(t, proposed, data);
}

/*
 * Without a load, or a target to compare it with, only the limits are left.
 * They may raise the group.  They do not lower it: that a limit was breached
 * is no proof that the instances are idle.
 */
static void
think_without_load(Thought *t, QsReason why)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;

	t->reason = why;
	if (base >= t->limits.lower && base <= t->limits.upper)
		return;
	t->target = qs_limits_apply(&t->limits, base, decision, NULL);
	decision->required_change = t->target - base;
	if (t->target > base)
	{
		decision->wanted = QS_ACTION_SCALE_UP;
		win_by_limit(t, QS_REASON_BELOW_LIMIT);
	}
	else
	{
		decision->wanted = QS_ACTION_SCALE_DOWN;
		win_by_limit(t, QS_REASON_ABOVE_LIMIT);
		hold(t, why, QS_NEVER);
	}
}

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

/* What an operator asked for takes the place of all that was thought. */
static void
think_held(Thought *t)
{
	t->target = qs_held_target(t->history, &t->limits, t->decision);
	t->reason = t->history->by_hand ? QS_REASON_SET_BY_HAND : QS_REASON_HELD;
	t->hold = QS_NO_REASON;
	t->hold_until = QS_NEVER;
	t->ask_in_service = false;
	t->held = true;
}

/*
 * Does growth that the cloud does not deliver hold the group?  An operator's
 * number is written all the same.
 */
static bool
is_stocked_out(const Thought *t)
{
	return !t->held &&
		t->history->unfulfilled_scale_ups >= QS_STOCK_OUT_AFTER &&
		t->decision->load_qps >= 0 && t->target >= t->decision->base;
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
conclude_stock_out(Thought *t)
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
bound_growth(Thought *t, int to)
{
	int			base = t->decision->base;
	int			bound = qs_unfulfilled_bound(t->history, t->capacity, base);

	if (to <= base || to <= bound)
		return to;
	qs_decision_add_clamp(t->decision, "stock_out", bound, to, bound);
	return bound;
}

/*
 * From where to go to what to do now.  Blockers are looked at in a dry run
 * too, so that it shows what would have happened.
 */
static void
conclude(Thought *t)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	int			to;

	decision->reason = t->reason;
	decision->desired = base;
	if (is_stocked_out(t))
	{
		conclude_stock_out(t);
		return;
	}
	if (decision->wanted == QS_ACTION_NONE)
		return;

	to = t->held ? t->target :
		bound_growth(t, qs_caps_apply(t->policy, base, t->target, decision));
	to = qs_cloud_limits_apply(t->capacity, to, decision);
	decision->scaling_amount = to > base ? to - base : base - to;
	if (t->held && t->history->by_hand)
		t->hold = qs_by_hand_blocker(t->policy, t->capacity, t->history,
									 decision->wanted);
	else if (t->hold == QS_NO_REASON)
		t->hold = qs_first_blocker(t->policy, t->capacity, t->activity,
								   t->history, t->now, decision->wanted,
								   &t->hold_until);
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
		if (decision->reason == QS_REASON_DYNAMIC_SCALE_UP)
			decision->reason = QS_REASON_DYNAMIC_LIMITED_SCALE_UP;
		else if (decision->reason == QS_REASON_DYNAMIC_SCALE_DOWN)
			decision->reason = QS_REASON_DYNAMIC_LIMITED_SCALE_DOWN;
	}
	decision->reason = reason_of_dry_run(t->policy, decision->reason);
	decision->needs_activities = !t->activity->asked &&
		!(t->held && t->history->by_hand);
	decision->needs_in_service = t->ask_in_service;
}

/*
 * Every output gets its value for "nothing is known".  The struct is zeroed
 * as bytes, padding too: equal inputs give equal bytes.
 */
static void
begin(const Thought *t)
{
	const QsPolicy *policy = t->policy;
	QsDecision *decision = t->decision;

	memset(decision, 0, sizeof(*decision));
	decision->action = QS_ACTION_NONE;
	decision->wanted = QS_ACTION_NONE;
	decision->dry_run = policy->dry_run || !policy->armed ||
		!policy->extension_enabled;
	decision->base = QS_UNKNOWN;
	decision->optimal = QS_UNKNOWN;
	decision->load_qps = -1;
	decision->blocker = QS_NO_REASON;
	decision->blocked_until = QS_NEVER;
	decision->cooldown_until = qs_cooldowns_end(policy, t->activity,
												t->history, t->now);
	decision->drop_seen_at = policy->suspicious_drop_guard ?
		t->history->drop_seen_at : QS_NEVER;
	for (int i = 0; i < QS_MAX_SIGNALS; i++)
		decision->missing_since[i] = QS_NEVER;
	qs_window_load(t->history, policy->scale_down_window_us, t->now, decision);
}

/*
 * The one entry point; see decide.h.  A decision with needs_activities or
 * needs_in_service set is tentative: its action is what would be done, and
 * must not be done before the answers were asked for and decide() was called
 * again with the same history.
 */
void
qs_decide(const QsPolicy *policy, const QsLoad *load,
		  const QsCapacity *capacity, const QsCloudActivity *activity,
		  const QsSignal *signals, int n_signals,
		  const QsHistory *history, int64_t now, QsDecision *decision)
{
	Thought		t;
	QsReason	data = judge_load(load, policy, now);

	t.policy = policy;
	t.load = load;
	t.capacity = capacity;
	t.activity = activity;
	t.history = history;
	t.now = now;
	t.decision = decision;
	t.hold = QS_NO_REASON;
	t.hold_until = QS_NEVER;
	t.ask_in_service = false;
	t.held = false;
	begin(&t);

	if (!qs_capacity_usable(capacity))
	{
		if (data == QS_NO_REASON || data == QS_REASON_METRICS_PARTIAL)
			decision->load_qps = load->mean_qps;
		decision->reason = policy->mode == QS_MODE_STATIC ?
			QS_REASON_ASG_STATUS_ERROR : QS_REASON_METRICS_UNAVAILABLE;
		return;
	}
	decision->base = qs_capacity_base(capacity);
	t.target = decision->base;
	qs_limits_init(&t.limits, policy, capacity);

	if (!policy_usable(policy))
		think_without_load(&t, QS_REASON_EVALUATION_ERROR);
	else if (data == QS_REASON_METRICS_UNAVAILABLE ||
			 data == QS_REASON_METRICS_STALE)
		think_without_load(&t, data);
	else
		think_with_load(&t, data);
	if (qs_is_held(history, now))
		think_held(&t);
	conclude(&t);
}

const char *
qs_action_name(QsAction action)
{
	switch (action)
	{
		case QS_ACTION_NONE:
			return "none";
		case QS_ACTION_SCALE_UP:
			return "scale_up";
		case QS_ACTION_SCALE_DOWN:
			return "scale_down";
	}
	return "unknown";
}
