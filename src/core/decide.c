/*-------------------------------------------------------------------------
 * decide.c
 *		The order of thought of decide(): from load and capacity to an action
 *		and its explanation.
 *
 * The steps are: what the capacity is and may be; what requests and further
 * signals propose, each as far as it can be believed, of which the highest
 * wins; whether to go there now (data, stabilization window, suspicious drop,
 * projection, confirmation); how far one action may go; what forbids it;
 * whether it is a dry run.  The first thing that holds an action back is the
 * reason that is reported.
 *
 * Two rules stand above the steps.  Missing, stale or partial data never
 * shrinks a group.  A group below its lower limit is raised to it whatever
 * the data, since that needs no load to be known and growing is safe.
 *-------------------------------------------------------------------------
 */
#include "core/breaker.h"
#include "core/decide_parts.h"

#include <string.h>

/* A limit that moves the group whatever the load wins over the load. */
static void
win_by_limit(QsThought *t, QsReason reason)
{
	QsDecision *decision = t->decision;
	int			limit = reason == QS_REASON_BELOW_LIMIT ?
		t->limits.lower : t->limits.upper;

	qs_decision_add_proposal(decision, "limit", decision->base, limit, limit);
	decision->winner = "limit";
	t->reason = reason;
}

/*
 * Why nothing changes although everything was known.  The first original's
 * words where the cloud's limits hold the group, ours where its own do.
 */
static QsReason
reason_to_stay(const QsThought *t, int proposed, const QsCut *cut,
			   bool by_threshold)
{
	int			base = t->decision->base;

	if (by_threshold)
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

/* The highest of what all drivers propose. */
typedef struct Best
{
	int			instances;
	int			recommended;	/* to be remembered */
	const char *source;
	int64_t		data_at;
	bool		by_signal;		/* a further signal or its fallback */
	bool		by_threshold;	/* static mode, and not by a signal */
	bool		tolerated;		/* the size stays, though the load would have
								 * another */
	bool		foreseen;		/* by prediction, or headroom in its place */
} Best;

/*
 * Requests come first where others propose the same.  What they propose
 * counts for what it would do: near enough to the target, that is to stay.
 */
static void
choose(const QsThought *t, const QsLoadProposal *qps,
	   const QsSignalsAdvice *advice, Best *best)
{
	int			signals = advice->instances;
	bool		fallback = advice->fallback > signals;

	if (fallback)
		signals = advice->fallback;
	memset(best, 0, sizeof(*best));
	best->by_signal = qps == NULL ||
		signals > (qps->tolerated ? t->decision->base : qps->instances);
	if (best->by_signal)
	{
		best->instances = signals;
		best->source = fallback ? advice->fallback_source : advice->source;
		best->data_at = fallback ? QS_NEVER : advice->data_at;
		best->tolerated = !fallback && advice->tolerated;
	}
	else
	{
		best->instances = qps->instances;
		best->source = qps->source;
		best->data_at = t->load->newest_end_us;
		best->tolerated = qps->tolerated;
		best->by_threshold = t->policy->mode == QS_MODE_STATIC;
	}
	best->recommended = qs_limits_apply(&t->limits, signals > 0 ? signals : 0,
										NULL, NULL);
	if (qps != NULL && (signals < 0 || qps->recommended > best->recommended))
		best->recommended = qps->recommended;
}

/*
 * Not even in use: less than half an instance of what may come does not keep
 * a group from being empty that may be.
 */
static bool
is_nothing(const QsThought *t, const QsPredicted *predicted)
{
	return t->limits.lower == 0 && predicted->newest <= 0 &&
		predicted->upper_grow < predicted->per_instance / 2;
}

/*
 * After so long without any load, or next to none where there was much
 * yesterday: as many as at this time yesterday, since all users may return at
 * once.  QS_UNKNOWN: it is not so.
 */
#define PATIENCE_S		(15 * 60)
#define NEXT_TO_NOTHING	0.02

static int
of_yesterday(const QsThought *t)
{
	const QsPredicted *predicted = t->history->predicted;
	bool		cut_off;

	if (predicted == NULL || !predicted->steers ||
		t->policy->mode != QS_MODE_DYNAMIC || !(predicted->yesterday >= 0) ||
		!qs_is_positive(predicted->per_instance))
		return QS_UNKNOWN;
	cut_off = !predicted->may_shrink && predicted->outage_s >= PATIENCE_S &&
		predicted->newest <= NEXT_TO_NOTHING * predicted->yesterday;
	if (predicted->missing_s < PATIENCE_S && !cut_off)
		return QS_UNKNOWN;
	return qs_optimal_instances(predicted->yesterday,
								predicted->per_instance);
}

/* The mean of a window, or of what was learned, may lag behind a sudden rise. */
static double
at_least_newest(const QsPredicted *predicted, double upper)
{
	return upper >= 0 && predicted->newest > upper ? predicted->newest : upper;
}

/*
 * What is foreseen by the time that instances ordered now serve.  While that
 * cannot be believed, headroom on the newest load takes its place.  Never less
 * than what the load asks for as it is: this only adds a proposal.
 */
static void
foresee(QsThought *t, Best *best)
{
	const QsPredicted *predicted = t->history->predicted;
	bool		trusted = predicted->trust == QS_TRUST_FULL;
	double		load = trusted ? at_least_newest(predicted, predicted->upper_grow) :
		predicted->newest / QS_HEADROOM_TARGET;
	const char *source = trusted ? "prediction" : "headroom";
	int			yesterday = of_yesterday(t);
	int			instances;

	if (t->policy->mode != QS_MODE_DYNAMIC || !(load >= 0) ||
		!qs_is_positive(predicted->per_instance))
		return;
	instances = is_nothing(t, predicted) ? 0 :
		qs_optimal_instances(load, predicted->per_instance);
	if (yesterday > instances)
	{
		instances = yesterday;
		load = predicted->yesterday;
		source = "yesterday";
	}
	t->decision->foreseen =
		qs_limits_apply(&t->limits, instances > best->instances ? instances :
						best->instances, NULL, NULL);
	if (!predicted->steers)
		return;
	qs_decision_add_proposal(t->decision, source, load,
							 predicted->per_instance, instances);
	if (instances > (best->tolerated ? t->decision->base : best->instances))
	{
		best->instances = instances;
		best->source = source;
		best->tolerated = false;
		best->by_signal = false;
		best->foreseen = true;
	}
	instances = qs_limits_apply(&t->limits, instances, NULL, NULL);
	if (instances > best->recommended)
		best->recommended = instances;
}

static void
grow(QsThought *t, const Best *best)
{
	t->decision->wanted = QS_ACTION_SCALE_UP;
	if (t->decision->base < t->limits.lower &&
		best->instances < t->limits.lower)
		win_by_limit(t, QS_REASON_BELOW_LIMIT);
	else if (best->foreseen)
		t->reason = QS_REASON_PREDICTED_SCALE_UP;
	else if (best->by_threshold)
		t->reason = QS_REASON_QPS_ABOVE_THRESHOLD;
	else
		t->reason = QS_REASON_DYNAMIC_SCALE_UP;
}

/*
 * Shrink no further than to the largest recent recommendation.  The window
 * never keeps a group above its upper limit: what was recommended under older
 * limits is bounded by today's.
 */
static void
heed_window(QsThought *t)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	int			maximum = qs_window_maximum(decision);
	int			to;

	if (maximum > t->limits.upper)
		maximum = t->limits.upper;
	if (maximum <= t->target)
		return;
	to = maximum < base ? maximum : base;
	qs_decision_add_clamp(decision, "stabilization_window", maximum,
						  t->target, to);
	t->target = to;
}

/*
 * Nor below what may be needed by the time that what is let go now could be had
 * back, and not at all while the users seem to be cut off.
 */
static void
heed_prediction(QsThought *t)
{
	const QsPredicted *predicted = t->history->predicted;
	int			base = t->decision->base;
	double		load;
	int			keep;
	int			to;

	if (predicted == NULL || !predicted->steers ||
		t->policy->mode != QS_MODE_DYNAMIC)
		return;
	if (!predicted->may_shrink)
		qs_hold(t, QS_REASON_OUTAGE_SUSPECTED, QS_NEVER);
	if (predicted->trust != QS_TRUST_FULL || !(predicted->upper_shrink >= 0) ||
		!qs_is_positive(predicted->per_instance) || is_nothing(t, predicted))
		return;
	load = at_least_newest(predicted, predicted->upper_shrink);
	keep = qs_limits_apply(&t->limits,
						   qs_optimal_instances(load, predicted->per_instance),
						   NULL, NULL);
	if (keep <= t->target)
		return;
	to = keep < base ? keep : base;
	qs_decision_add_clamp(t->decision, "prediction", keep, t->target, to);
	t->target = to;
	if (to == base)
		qs_hold(t, QS_REASON_PREDICTED_TO_RISE, QS_NEVER);
}

/* Nor to where the same load would order back what was let go. */
static void
heed_projection(QsThought *t)
{
	int			to = qs_load_projection(t->policy, t->load, &t->limits,
										t->target, t->decision->base);

	if (to == t->target)
		return;
	qs_decision_add_clamp(t->decision, "scale_out_projection", to, t->target,
						  to);
	t->target = to;
	if (to == t->decision->base)
		qs_hold(t, QS_REASON_WOULD_SCALE_OUT_AGAIN, QS_NEVER);
}

/*
 * A fall of requests that is not to be believed yet.  It is judged on
 * complete data only; what was recorded is carried over till then.
 */
static void
heed_suspicion(QsThought *t)
{
	QsDecision *decision = t->decision;
	int64_t		until;
	QsDropVerdict drop = qs_drop_verdict(t->policy, t->load, t->capacity,
										 t->activity, t->history, t->now,
										 &decision->drop_seen_at, &until);

	if (drop == QS_DROP_HOLD)
		qs_hold(t, QS_REASON_SUSPICIOUS_DROP, until);
	t->ask_in_service = drop == QS_DROP_ASK;
}

/* Without complete data of all that must be known, not at all. */
static void
shrink(QsThought *t, const Best *best, bool knows_qps, QsReason data,
	   const QsSignalsAdvice *advice)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;

	decision->wanted = QS_ACTION_SCALE_DOWN;
	heed_window(t);
	if (base > t->limits.upper && t->target == t->limits.upper &&
		best->instances != t->limits.upper)
		win_by_limit(t, QS_REASON_ABOVE_LIMIT);
	else if (best->by_threshold)
		t->reason = QS_REASON_QPS_BELOW_THRESHOLD;
	else
		t->reason = QS_REASON_DYNAMIC_SCALE_DOWN;

	if (data != QS_NO_REASON)
		qs_hold(t, data, QS_NEVER);
	if (advice->hold != QS_NO_REASON)
		qs_hold(t, advice->hold, advice->hold_until);
	if (!advice->complete && (!knows_qps || data != QS_NO_REASON))
		qs_hold(t, QS_REASON_METRICS_PARTIAL, QS_NEVER);
	if (t->target == base)
		qs_hold(t, QS_REASON_STABILIZING,
			 qs_window_holds_until(decision, t->policy->scale_down_window_us,
								   base));
	if (t->reason != QS_REASON_ABOVE_LIMIT && t->target < base)
		heed_prediction(t);
	if (knows_qps && data == QS_NO_REASON)
		heed_suspicion(t);
	if (knows_qps && t->reason != QS_REASON_ABOVE_LIMIT && t->target < base)
		heed_projection(t);
	t->veto = advice->veto;
	t->ask_vetoes = advice->vetoes_unasked;
}

/*
 * What the data asked for, whether or not it happens; an answer that may not
 * shrink the group is none for shrinking it.  What is not confirmed yet still
 * goes as far as the limits demand.
 */
static void
observe(QsThought *t, const Best *best, bool complete)
{
	QsAction	seen = t->decision->wanted;
	int			base = t->decision->base;

	if (seen == QS_ACTION_SCALE_DOWN && !complete)
		seen = QS_ACTION_NONE;
	qs_confirmations_add(t->policy, seen, best->data_at, t->now, t->decision);
	if (t->decision->wanted == QS_ACTION_NONE ||
		t->reason == QS_REASON_BELOW_LIMIT ||
		t->reason == QS_REASON_ABOVE_LIMIT ||
		qs_confirmed(t->policy, t->decision))
		return;
	if (base < t->limits.lower)
	{
		t->target = t->limits.lower;
		win_by_limit(t, QS_REASON_BELOW_LIMIT);
	}
	else if (base > t->limits.upper)
	{
		t->target = t->limits.upper;
		win_by_limit(t, QS_REASON_ABOVE_LIMIT);
	}
	else
		qs_hold(t, QS_REASON_CONFIRMING, QS_NEVER);
}

/*
 * Something is known.  qps is NULL where requests are not, or do not drive the
 * group; "data" is why they may not shrink it.
 */
static void
think_with_data(QsThought *t, const QsLoadProposal *qps, QsReason data,
				const QsSignalsAdvice *advice)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	QsCut		cut;
	Best		best;

	choose(t, qps, advice, &best);
	if (t->history->predicted != NULL)
		foresee(t, &best);
	decision->winner = best.source;
	decision->optimal = qs_limits_apply(&t->limits, best.instances, decision,
										&cut);
	decision->limited_by_asg = cut.by_cloud_min || cut.by_cloud_max;
	decision->required_change = decision->optimal - base;
	qs_window_push(t->policy->scale_down_window_us, t->now, best.recommended,
				   decision);

	/* only a shrink can be suspicious; shrink() sets it again */
	if (qps != NULL && (data == QS_NO_REASON ||
						qs_drop_recovered(t->load, t->history)))
		decision->drop_seen_at = QS_NEVER;

	t->knows_load = true;
	t->target = decision->optimal;
	if (decision->optimal == base && advice->warming)
		t->reason = QS_REASON_SCALING_IN_PROGRESS;
	else if (decision->optimal == base && best.by_signal && best.tolerated)
		t->reason = QS_REASON_WITHIN_TOLERANCE;
	else if (decision->optimal == base)
		t->reason = reason_to_stay(t, best.instances, &cut,
								   best.by_threshold);
	else if (!best.by_signal && best.tolerated)
	{
		t->target = base;
		t->reason = QS_REASON_WITHIN_TOLERANCE;
	}
	else if (decision->optimal > base)
	{
		grow(t, &best);
		t->ask_in_service = best.by_signal && advice->ask_in_service;
	}
	else
		shrink(t, &best, qps != NULL, data, advice);
	observe(t, &best, data == QS_NO_REASON && advice->hold == QS_NO_REASON);
}

/*
 * Without anything to go by, only the limits are left, and what is to be there
 * when a signal is missing for long.  They may raise the group.  They do not
 * lower it: that a limit was breached is no proof that the instances are idle.
 */
static void
think_without_data(QsThought *t, QsReason why, const QsSignalsAdvice *advice)
{
	QsDecision *decision = t->decision;
	int			base = decision->base;
	int			yesterday = of_yesterday(t);
	bool		foreseen = yesterday > advice->fallback;
	int			instead = foreseen ? yesterday : advice->fallback;
	bool		fallback = instead > base;
	int			proposed = fallback ? instead : base;

	t->reason = why;
	if (foreseen)
		qs_decision_add_proposal(decision, "yesterday",
								 t->history->predicted->yesterday,
								 t->history->predicted->per_instance,
								 yesterday);
	if (!fallback && base >= t->limits.lower && base <= t->limits.upper)
		return;
	t->target = qs_limits_apply(&t->limits, proposed, decision, NULL);
	decision->required_change = t->target - base;
	if (t->target > base && fallback && proposed >= t->limits.lower)
	{
		decision->wanted = QS_ACTION_SCALE_UP;
		decision->winner = foreseen ? "yesterday" : advice->fallback_source;
		t->reason = foreseen ? QS_REASON_PREDICTED_SCALE_UP :
			QS_REASON_DYNAMIC_SCALE_UP;
	}
	else if (t->target > base)
	{
		decision->wanted = QS_ACTION_SCALE_UP;
		win_by_limit(t, QS_REASON_BELOW_LIMIT);
	}
	else if (t->target < base)
	{
		decision->wanted = QS_ACTION_SCALE_DOWN;
		win_by_limit(t, QS_REASON_ABOVE_LIMIT);
		qs_hold(t, why, QS_NEVER);
	}
}

static const char *
why_not_qps(QsReason reason)
{
	switch (reason)
	{
		case QS_REASON_EVALUATION_ERROR:
			return "bad_target";
		case QS_REASON_METRICS_STALE:
			return "stale";
		case QS_REASON_METRICS_PARTIAL:
			return "partial";
		default:
			return "no_answer";
	}
}

static bool
has_driving_signal(const QsThought *t)
{
	for (int i = 0; i < t->n_signals; i++)
		if (t->signals[i].role != QS_ROLE_VETO)
			return true;
	return false;
}

/*
 * Requests drive the group where it has a target for them, and where nothing
 * else does.
 */
static void
think(QsThought *t, QsReason data)
{
	const QsPolicy *policy = t->policy;
	QsDecision *decision = t->decision;
	QsSignalsAdvice advice;
	QsLoadProposal qps;
	bool		drives = policy->target_qps != 0 || !has_driving_signal(t);
	bool		known;

	if (!drives)
	{
		data = QS_NO_REASON;
		decision->drop_seen_at = QS_NEVER;
	}
	else if (!qs_policy_usable(policy))
		data = QS_REASON_EVALUATION_ERROR;
	known = drives && (data == QS_NO_REASON ||
					   data == QS_REASON_METRICS_PARTIAL);
	if (known)
	{
		qs_load_propose(policy, t->load, &t->limits, decision, &qps);
		decision->load_qps = qps.load;
		decision->qps_per_instance = decision->base > 0 ?
			qps.load / decision->base : 0;
	}
	if (data != QS_NO_REASON)
		qs_decision_add_exclusion(decision, "qps", why_not_qps(data), true,
								  QS_NEVER, QS_NEVER);
	qs_signals_advise(t, true, known && (qps.instances > 0 ||
										 qps.recommended > 0), &advice);
	if (known || advice.instances >= 0)
		think_with_data(t, known ? &qps : NULL, data, &advice);
	else
		think_without_data(t, data != QS_NO_REASON ? data :
						   QS_REASON_SIGNAL_MISSING, &advice);
}

/* What an operator asked for takes the place of all that was thought. */
static void
think_held(QsThought *t)
{
	t->target = qs_held_target(t->history, &t->limits, t->decision);
	t->reason = t->history->by_hand ? QS_REASON_SET_BY_HAND :
		t->history->executes ? QS_REASON_DECISION_EXECUTED : QS_REASON_HELD;
	t->hold = QS_NO_REASON;
	t->hold_until = QS_NEVER;
	t->veto = QS_NO_REASON;
	t->ask_vetoes = false;
	t->ask_in_service = false;
	t->held = true;
}

/*
 * Every output gets its value for "nothing is known".  The struct is zeroed
 * as bytes, padding too: equal inputs give equal bytes.
 */
static void
begin(const QsThought *t)
{
	const QsPolicy *policy = t->policy;
	QsDecision *decision = t->decision;

	memset(decision, 0, sizeof(*decision));
	decision->approvable = QS_UNKNOWN;
	decision->approvable_reason = QS_REASON_COUNT;
	decision->action = QS_ACTION_NONE;
	decision->wanted = QS_ACTION_NONE;
	decision->dry_run = policy->dry_run || !policy->armed ||
		!policy->extension_enabled;
	decision->base = QS_UNKNOWN;
	decision->optimal = QS_UNKNOWN;
	decision->foreseen = QS_UNKNOWN;
	decision->load_qps = -1;
	decision->blocker = QS_NO_REASON;
	decision->blocked_until = QS_NEVER;
	decision->cooldown_until = qs_cooldowns_end(policy, t->activity,
												t->history, t->now);
	decision->drop_seen_at = policy->suspicious_drop_guard ?
		t->history->drop_seen_at : QS_NEVER;
	for (int i = 0; i < QS_MAX_SIGNALS; i++)
		decision->missing_since[i] = QS_NEVER;
	qs_confirmations_keep(policy, t->history, decision);
	qs_window_load(t->history, policy->scale_down_window_us, t->now, decision);
}

/*
 * The one entry point; see decide.h.  A decision with needs_activities,
 * needs_in_service or needs_vetoes set is tentative: its action is what would
 * be done, and must not be done before the answers were asked for and decide()
 * was called again with the same history.
 */
void
qs_decide(const QsPolicy *policy, const QsLoad *load,
		  const QsCapacity *capacity, const QsCloudActivity *activity,
		  const QsSignal *signals, int n_signals,
		  const QsHistory *history, int64_t now, QsDecision *decision)
{
	QsReason	data = qs_load_judge(load, policy, now);
	QsThought	t = {
		.policy = policy, .load = load, .capacity = capacity,
		.activity = activity, .signals = signals, .n_signals = n_signals,
		.history = history, .now = now, .decision = decision,
		.hold = QS_NO_REASON, .hold_until = QS_NEVER, .veto = QS_NO_REASON
	};

	if (signals == NULL || n_signals < 0)
		t.n_signals = 0;
	else if (n_signals > QS_MAX_SIGNALS)
		t.n_signals = QS_MAX_SIGNALS;
	begin(&t);

	if (!qs_capacity_usable(capacity))
	{
		QsSignalsAdvice advice;

		qs_signals_advise(&t, false, false, &advice);
		if (data == QS_NO_REASON || data == QS_REASON_METRICS_PARTIAL)
			decision->load_qps = load->mean_qps;
		decision->reason = policy->mode == QS_MODE_STATIC ?
			QS_REASON_ASG_STATUS_ERROR : QS_REASON_METRICS_UNAVAILABLE;
		return;
	}
	decision->base = qs_capacity_base(capacity);
	qs_confirmations_keep(policy, history, decision);
	t.target = decision->base;
	qs_limits_init(&t.limits, policy, capacity);

	think(&t, data);
	if (qs_is_held(history, now))
		think_held(&t);
	qs_conclude(&t);
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
