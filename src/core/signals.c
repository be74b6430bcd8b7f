/*-------------------------------------------------------------------------
 * signals.c
 *		What the further signals of a group say together: the size they
 *		propose, who is excluded and why, and whether the group may shrink.
 *
 * A signal that is not known proposes nothing, and its role says what follows:
 * never an answer of its own.  A fallback is one more proposal, so it may win
 * over nothing but less.
 *
 * Words for an exclusion: "no_answer" (not asked, or the source failed),
 * "no_data" (it answered that there is nothing), "stale", "garbage" (negative
 * or not finite), "bad_target", "partial" (it proposes all the same),
 * "no_instances" (what is measured on instances, of a group that has none),
 * "nothing_serves" (likewise, of one whose instances all still boot),
 * "no_pods", "no_request" and "no_samples" (utilization.h), "warming" (how
 * many serve is not known while some boot, so it does not grow the group), and
 * "vetoes" (a veto is above its target).
 *-------------------------------------------------------------------------
 */
#include "core/decide_parts.h"
#include "core/utilization.h"

#include <math.h>
#include <string.h>

typedef struct Judgement
{
	const char *why;			/* NULL: known and complete */
	bool		known;			/* there is a value, maybe a partial one */
	bool		of_nobody;		/* missing because there are no instances */
	double		value;
	int			instances;		/* what it proposes */
	bool		tolerated;
	bool		warming;
	bool		idle;			/* not above its activation */
} Judgement;

/*
 * How many instances the value is of.  Those that boot are part of the size
 * that a proposal is compared with, but not of this: they serve nothing yet,
 * and four instances at 150 per cent need six, however many of the six are
 * there.  Counted in, the same four would ask for nine next.
 */
static int
serving_instances(const QsCapacity *capacity)
{
	return capacity->in_service >= 0 && capacity->in_service <= QS_MAX_INSTANCES ?
		capacity->in_service : capacity->total;
}

/* Are some booting while nobody can say how many? */
static bool
unsure_who_serves(const QsThought *t)
{
	return t->capacity->in_service < 0 && t->activity->asked &&
		(t->history->activity_accepted ||
		 (t->activity->known && t->activity->in_progress));
}

static void
exclude_judged(Judgement *j, const char *why)
{
	j->why = why;
	j->known = false;
}

/*
 * The law of a ratio.  A ratio above one never shrinks the group and one below
 * never grows it: what does not serve is no proof of either.  Where the group
 * would shrink, what does not serve yet is taken to be as busy as it should
 * be, as the Kubernetes autoscaler does with pods without a sample.
 */
static void
judge_ratio(const QsThought *t, const QsSignal *signal, Judgement *j)
{
	int			base = t->decision->base;
	int			serving = serving_instances(t->capacity);
	double		ratio = j->value / signal->target;
	double		tolerance = signal->tolerance > 0 ? signal->tolerance : 0;

	j->instances = base;
	if (serving == 0)
	{
		exclude_judged(j, "nothing_serves");
		return;
	}
	if (fabs(1 - ratio) <= tolerance)
	{
		j->tolerated = true;
		return;
	}
	if (ratio < 1 && serving < base)
	{
		double		busy = j->value * serving +
			signal->target * (base - serving);
		int			needed = qs_optimal_instances(busy, signal->target);

		j->instances = needed < base ? needed : base;
	}
	else
	{
		int			needed = qs_optimal_instances(j->value * serving,
												  signal->target);

		if (ratio > 1 ? needed > base : needed < base)
			j->instances = needed;
	}
	if (j->instances > base && unsure_who_serves(t))
	{
		j->instances = base;
		j->warming = true;
	}
}

static void
judge_pods(const QsThought *t, const QsSignal *signal, Judgement *j)
{
	QsUtilization u;

	qs_utilization(signal->reading.pods, signal->reading.n_pods,
				   signal->reading.is_memory, signal->target,
				   signal->tolerance > 0 ? signal->tolerance : 0,
				   t->decision->base, t->now, &u);
	if (u.problem != NULL)
	{
		exclude_judged(j, u.problem);
		return;
	}
	j->value = u.percent;
	j->instances = u.proposal;
	j->tolerated = u.tolerated;
}

/*
 * The number of instances for a known value.  The capacity is known.  From
 * nothing only a value above the activation starts the group, and that takes
 * one instance at least.
 */
static void
judge_value(const QsThought *t, const QsSignal *signal, Judgement *j)
{
	int			base = t->decision->base;

	if (signal->reading.n_pods > 0 && base > 0)
		judge_pods(t, signal, j);
	else if (signal->law == QS_LAW_VALUE && base > 0)
		judge_ratio(t, signal, j);
	else
		j->instances = qs_optimal_instances(j->value, signal->target);
	j->idle = j->known && !(j->value > signal->activation && j->value > 0);
	if (base == 0 && j->known)
		j->instances = j->idle ? 0 : j->instances > 0 ? j->instances : 1;
}

/* What can be said of a reading before it is compared with anything. */
static void
judge_reading(const QsThought *t, const QsSignal *signal, Judgement *j)
{
	const QsReading *reading = &signal->reading;
	int64_t		oldest = qs_time_subtract(t->now, signal->max_age_us);

	memset(j, 0, sizeof(*j));
	if (!qs_is_positive(signal->target))
		j->why = "bad_target";
	else if (reading->state == QS_READING_EMPTY && signal->empty_is_zero)
		j->known = true;
	else if (reading->state == QS_READING_EMPTY)
		j->why = "no_data";
	else if (reading->state != QS_READING_KNOWN &&
			 reading->state != QS_READING_PARTIAL)
		j->why = "no_answer";
	else if (reading->n_pods <= 0 &&
			 !(__builtin_isfinite(reading->value) && reading->value >= 0))
		j->why = "garbage";
	else if (signal->max_age_us > 0 &&
			 (reading->at_us == QS_NEVER || reading->at_us < oldest))
		j->why = "stale";
	else
	{
		j->known = true;
		j->value = reading->value;
		if (reading->state == QS_READING_PARTIAL)
			j->why = "partial";
	}
}

static void
judge(const QsThought *t, const QsSignal *signal, bool capacity_known,
	  Judgement *j)
{
	const QsReading *reading = &signal->reading;

	judge_reading(t, signal, j);
	if (!capacity_known)
		return;
	if (signal->role == QS_ROLE_VETO)
	{
		if (j->known && reading->n_pods > 0)
			judge_pods(t, signal, j);
	}
	else if (t->decision->base == 0 && signal->law == QS_LAW_VALUE &&
			 (j->known ? reading->n_pods > 0 :
			  reading->state == QS_READING_EMPTY))
	{
		exclude_judged(j, "no_instances");
		j->of_nobody = true;
	}
	else if (j->known)
		judge_value(t, signal, j);
}

/* Since when: a time in the future was left by a clock that was set back. */
static int64_t
missing_since(const QsSignal *signal, const Judgement *j, int64_t now)
{
	if (j->why == NULL || j->of_nobody)
		return QS_NEVER;
	return signal->missing_since == QS_NEVER ? now :
		qs_time_earlier(signal->missing_since, now);
}

/* The hold that lasts longest is the one to name; QS_NEVER is for ever. */
static void
hold_shrinking(QsSignalsAdvice *advice, const Judgement *j, int64_t until)
{
	if (advice->hold != QS_NO_REASON &&
		(advice->hold_until == QS_NEVER ||
		 (until != QS_NEVER && until <= advice->hold_until)))
		return;
	advice->hold = j->known ? QS_REASON_METRICS_PARTIAL :
		QS_REASON_SIGNAL_MISSING;
	advice->hold_until = until;
}

static void
note_missing(const QsThought *t, const QsSignal *signal, const Judgement *j,
			 int64_t since, QsSignalsAdvice *advice)
{
	int64_t		hold_us = signal->hold_us > 0 ? signal->hold_us : 0;
	int64_t		until = QS_NEVER;
	bool		holds = !j->of_nobody;

	if (holds && signal->role == QS_ROLE_OPTIONAL)
	{
		holds = qs_time_subtract(t->now, since) < hold_us;
		if (holds)
			until = qs_time_add(since, hold_us);
	}
	if (holds)
		hold_shrinking(advice, j, until);
	qs_decision_add_exclusion(t->decision, signal->name, j->why, holds, since,
							  until);
}

/* The highest so far? */
static void
consider(const QsThought *t, const QsSignal *signal, const Judgement *j,
		 QsSignalsAdvice *advice)
{
	const QsReading *reading = &signal->reading;

	if (j->instances <= advice->instances)
		return;
	advice->instances = j->instances;
	advice->source = signal->name;
	advice->data_at = reading->state == QS_READING_EMPTY ? t->now :
		reading->at_us;
	advice->tolerated = j->tolerated;
	advice->ask_in_service = signal->law == QS_LAW_VALUE &&
		reading->n_pods <= 0 && t->decision->base > 0 &&
		j->instances > t->decision->base && t->capacity->in_service < 0;
}

static void
propose_fallback(const QsThought *t, const QsSignal *signal, int64_t since,
				 QsSignalsAdvice *advice)
{
	int64_t		after = signal->fallback_after_us > 0 ?
		signal->fallback_after_us : 0;
	const char *source = signal->fallback_name != NULL ?
		signal->fallback_name : "fallback";

	if (signal->fallback_instances < 0 || t->now < qs_time_add(since, after))
		return;
	qs_decision_add_proposal(t->decision, source, 0, 0,
							 signal->fallback_instances);
	if (signal->fallback_instances <= advice->fallback)
		return;
	advice->fallback = signal->fallback_instances < QS_MAX_INSTANCES ?
		signal->fallback_instances : QS_MAX_INSTANCES;
	advice->fallback_source = source;
}

static void
advise_on_driver(const QsThought *t, const QsSignal *signal,
				 const Judgement *j, int64_t since, bool capacity_known,
				 QsSignalsAdvice *advice)
{
	if (j->known && capacity_known)
	{
		qs_decision_add_proposal(t->decision, signal->name, j->value,
								 signal->target, j->instances);
		consider(t, signal, j, advice);
		advice->warming |= j->warming;
		advice->complete |= j->why == NULL;
		advice->busy |= !j->idle;
	}
	if (j->why != NULL)
		note_missing(t, signal, j, since, advice);
	else if (j->warming)
		qs_decision_add_exclusion(t->decision, signal->name, "warming", false,
								  QS_NEVER, QS_NEVER);
	if (!j->known && !j->of_nobody)
		propose_fallback(t, signal, since, advice);
}

/* Fails closed: only a veto that is known and not above its target agrees. */
static void
advise_on_veto(const QsThought *t, const QsSignal *signal, const Judgement *j,
			   int64_t since, QsSignalsAdvice *advice)
{
	bool		above = j->known && j->value > signal->target;

	if (j->why == NULL && !above)
		return;
	qs_decision_add_exclusion(t->decision, signal->name,
							  above ? "vetoes" : j->why, true, since,
							  QS_NEVER);
	if (advice->veto == QS_NO_REASON || above)
		advice->veto = above ? QS_REASON_VETOED : QS_REASON_SIGNAL_MISSING;
}

/*
 * Where nothing at all is above its activation, and the group may be empty, it
 * shall be.  While anything is, the others' laws hold as well: what is next to
 * nothing on many instances need not be that on the few that are left.
 */
static void
empty_if_idle(const QsThought *t, int first, QsSignalsAdvice *advice)
{
	if (advice->instances < 0 || advice->busy || t->limits.lower > 0)
		return;
	for (int i = first; i < t->decision->n_proposals; i++)
		if (t->decision->proposals[i].target > 0)
			t->decision->proposals[i].instances = 0;
	advice->instances = 0;
	advice->tolerated = false;
	advice->warming = false;
	advice->ask_in_service = false;
}

/*
 * Adds proposals, exclusions and missing_since to the decision.  Where the
 * capacity is not known nothing is proposed.  busy: requests ask for
 * instances.
 */
void
qs_signals_advise(const QsThought *t, bool capacity_known, bool busy,
				  QsSignalsAdvice *advice)
{
	QsDecision *decision = t->decision;
	int			first = decision->n_proposals;

	memset(advice, 0, sizeof(*advice));
	advice->instances = QS_UNKNOWN;
	advice->data_at = QS_NEVER;
	advice->busy = busy;
	advice->fallback = QS_UNKNOWN;
	advice->hold = QS_NO_REASON;
	advice->hold_until = QS_NEVER;
	advice->veto = QS_NO_REASON;
	for (int i = 0; i < t->n_signals; i++)
	{
		const QsSignal *signal = &t->signals[i];
		bool		vetoes = signal->role == QS_ROLE_VETO;
		Judgement	j;

		decision->missing_since[i] = signal->missing_since;
		if (vetoes && !signal->asked)
		{
			advice->vetoes_unasked = true;
			continue;
		}
		judge(t, signal, capacity_known, &j);
		decision->missing_since[i] = missing_since(signal, &j, t->now);
		if (vetoes)
			advise_on_veto(t, signal, &j, decision->missing_since[i], advice);
		else
			advise_on_driver(t, signal, &j, decision->missing_since[i],
							 capacity_known, advice);
	}
	empty_if_idle(t, first, advice);
}

/*
 * How many instances the signals ask for, before rounding: the highest of what
 * is known and complete.  That is a load too, of which an instance bears 1.
 */
double
qs_signals_demand(const QsSignal *signals, int n_signals,
				  const QsCapacity *capacity, int64_t now)
{
	QsThought	t = {.capacity = capacity, .now = now};
	double		demand = NAN;

	for (int i = 0; i < n_signals; i++)
	{
		const QsSignal *signal = &signals[i];
		double		ratio;
		Judgement	j;

		judge_reading(&t, signal, &j);
		if (signal->role == QS_ROLE_VETO || j.why != NULL)
			continue;
		ratio = j.value / signal->target;
		if (signal->law == QS_LAW_VALUE)
			ratio *= serving_instances(capacity);
		if (signal->law == QS_LAW_VALUE && !capacity->known)
			continue;
		if (__builtin_isfinite(ratio))
			demand = fmax(demand, ratio);
	}
	return demand;
}
