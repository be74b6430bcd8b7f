/*-------------------------------------------------------------------------
 * decide_world.h
 *		Everything that decide() looks at, and what must hold of its answer
 *		whatever that is.
 *
 * Used by the unit tests with cmocka's assertions and by the fuzzer with its
 * own of the same names: whoever includes this has them.
 *-------------------------------------------------------------------------
 */
#ifndef DECIDE_WORLD_H
#define DECIDE_WORLD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "core/decide.h"

#define SECOND		INT64_C(1000000)
#define NOW			(INT64_C(1700000000) * SECOND)

#define WORLD_SIGNALS	4
#define WORLD_CHANGES	8

typedef struct World
{
	QsPolicy	policy;
	QsLoad		load;
	QsCapacity	capacity;
	QsCloudActivity activity;
	QsHistory	history;
	int64_t		now;
	int			n_signals;
	QsSignal	signals[WORLD_SIGNALS];
	QsChange	changes[WORLD_CHANGES]; /* the history's */
	bool		foresees;
	QsPredicted predicted;		/* likewise, where it foresees */
} World;

/* Nothing has happened yet, and nothing is in the way. */
static inline World
plain_world(void)
{
	World		w;

	memset(&w, 0, sizeof(w));
	w.now = NOW;
	w.policy.target_qps = 10;
	w.policy.min_instances = QS_NO_LIMIT;
	w.policy.max_instances = QS_NO_LIMIT;
	w.policy.ceiling = QS_NO_LIMIT;
	w.policy.armed = true;
	w.policy.extension_enabled = true;
	w.load.known = true;
	w.capacity.known = true;
	w.capacity.max = 1000;
	w.capacity.in_service = QS_UNKNOWN;
	w.capacity.active = true;
	w.activity.asked = true;
	w.activity.known = true;
	w.activity.last_scale_up_at = QS_NEVER;
	w.activity.last_scale_down_at = QS_NEVER;
	w.activity.last_any_at = QS_NEVER;
	w.history.previous_qps = -1;
	w.history.previous_in_service = QS_UNKNOWN;
	w.history.drop_seen_at = QS_NEVER;
	w.history.last_scale_up_at = QS_NEVER;
	w.history.last_scale_down_at = QS_NEVER;
	w.history.last_action_at = QS_NEVER;
	w.history.circuit_open_until = QS_NEVER;
	w.history.fulfilled_capacity = QS_UNKNOWN;
	w.history.stock_out_probe_at = QS_NEVER;
	w.history.suspended_until = QS_NEVER;
	w.history.held_instances = QS_UNKNOWN;
	w.history.held_until = QS_NEVER;
	return w;
}

static inline void
decide(const World *w, QsDecision *d)
{
	QsHistory	history = w->history;

	history.changes = w->changes;
	history.predicted = w->foresees ? &w->predicted : NULL;
	if (history.n_changes > WORLD_CHANGES)
		history.n_changes = WORLD_CHANGES;
	qs_decide(&w->policy, &w->load, &w->capacity, &w->activity, w->signals,
			  w->n_signals, &history, w->now, d);
}

/* A signal of the kind that most are, and that says nothing yet. */
static inline QsSignal
plain_signal(const char *name, QsSignalLaw law, double target)
{
	QsSignal	signal;

	memset(&signal, 0, sizeof(signal));
	signal.name = name;
	signal.law = law;
	signal.target = target;
	signal.fallback_instances = QS_NO_LIMIT;
	signal.missing_since = QS_NEVER;
	signal.reading.at_us = NOW;
	return signal;
}

/* Do requests drive the group?  They do where nothing else would. */
static inline bool
driven_by_requests(const World *w)
{
	if (w->policy.target_qps != 0)
		return true;
	for (int i = 0; i < w->n_signals; i++)
		if (w->signals[i].role != QS_ROLE_VETO)
			return false;
	return true;
}

/*
 * The rest of what shrinking takes is written apart from the implementation,
 * by the words of the contract.
 */
static inline bool
requests_allow_shrinking(const World *w)
{
	const QsLoad *load = &w->load;

	if (!load->known)
		return false;
	if (!isfinite(load->mean_qps) || load->mean_qps < 0)
		return false;
	if (load->expected_points > 0 && load->points < load->expected_points - 1)
		return false;
	if (w->policy.max_load_age_us > 0 &&
		(load->newest_end_us == QS_NEVER ||
		 (__int128) w->now - load->newest_end_us > w->policy.max_load_age_us))
		return false;
	return true;
}

static inline bool
is_known(const World *w, const QsSignal *signal)
{
	const QsReading *reading = &signal->reading;

	if (!isfinite(signal->target) || signal->target <= 0)
		return false;
	if (reading->state == QS_READING_EMPTY)
		return signal->empty_is_zero;
	return reading->state == QS_READING_KNOWN && isfinite(reading->value) &&
		reading->value >= 0 &&
		(signal->max_age_us <= 0 ||
		 (reading->at_us != QS_NEVER &&
		  (__int128) w->now - reading->at_us <= signal->max_age_us));
}

static inline bool
signal_allows_shrinking(const World *w, const QsSignal *signal,
						const QsDecision *d)
{
	__int128	since = signal->missing_since == QS_NEVER ||
		signal->missing_since > w->now ? w->now : signal->missing_since;

	switch (signal->role)
	{
		case QS_ROLE_VETO:
			if (!signal->asked)
				return d->needs_vetoes;
			return is_known(w, signal) &&
				(signal->reading.state == QS_READING_EMPTY ||
				 signal->reading.value <= signal->target);
		case QS_ROLE_OPTIONAL:
			return is_known(w, signal) ||
				w->now - since >= (signal->hold_us > 0 ? signal->hold_us : 0);
		default:
			return is_known(w, signal);
	}
}

static inline bool
data_allows_shrinking(const World *w, const QsDecision *d)
{
	bool		some = driven_by_requests(w);

	if (!w->capacity.known || (some && !requests_allow_shrinking(w)))
		return false;
	for (int i = 0; i < w->n_signals; i++)
	{
		if (!signal_allows_shrinking(w, &w->signals[i], d))
			return false;
		if (w->signals[i].role != QS_ROLE_VETO)
			some |= is_known(w, &w->signals[i]);
	}
	return some;
}

static inline void
check_record(const World *w, const QsDecision *d)
{
	assert_in_range(d->n_recommendations, 0, QS_MAX_RECOMMENDATIONS);
	for (int i = 0; i < d->n_recommendations; i++)
	{
		const QsRecommendation *r = &d->recommendations[i];

		assert_in_range(r->instances, 0, QS_MAX_INSTANCES);
		assert_true(r->at <= w->now);
		if (i > 0)
		{
			assert_true(r->at > r[-1].at);
			assert_true(r->instances < r[-1].instances);
		}
	}
}

static inline void
check_consistency(const World *w, const QsDecision *d)
{
	int			change = d->desired - d->base;

	assert_in_range(d->desired, 0, QS_MAX_INSTANCES);
	assert_in_range(d->reason, 0, QS_REASON_COUNT - 1);
	assert_in_range(d->blocker, 0, QS_REASON_COUNT);
	assert_in_range(d->n_clamps, 0, QS_MAX_CLAMPS);
	assert_in_range(d->n_proposals, 0, QS_MAX_PROPOSALS);
	assert_in_range(d->n_exclusions, 0, QS_MAX_EXCLUSIONS);
	assert_true(d->action == QS_ACTION_NONE || d->action == d->wanted);
	assert_true(d->action == QS_ACTION_NONE || d->blocker == QS_REASON_COUNT);
	assert_true(d->blocker == QS_REASON_COUNT || d->reason == d->blocker);
	assert_true(d->cooldown_until == QS_NEVER || d->cooldown_until > w->now);
	assert_true(isfinite(d->load_qps) && isfinite(d->qps_per_instance));
	assert_true(d->wanted != QS_ACTION_NONE || d->scaling_amount == 0);
	for (int i = 0; i < d->n_clamps; i++)
		assert_non_null(d->clamps[i].by);
	if (!w->policy.armed || !w->policy.extension_enabled || w->policy.dry_run)
		assert_true(d->dry_run);
	switch (d->action)
	{
		case QS_ACTION_NONE:
			assert_int_equal(d->desired, d->base < 0 ? 0 : d->base);
			assert_false(d->needs_activities || d->needs_in_service ||
						 d->needs_vetoes);
			break;
		case QS_ACTION_SCALE_UP:
			assert_true(d->probes_stock_out ? change == 0 : change > 0);
			assert_int_equal(d->scaling_amount, change);
			assert_false(d->needs_vetoes);
			break;
		case QS_ACTION_SCALE_DOWN:
			assert_true(change < 0);
			assert_int_equal(d->scaling_amount, -change);
			break;
	}
}

/* The cloud refuses whatever is outside of its limits. */
static inline void
check_cloud_limits(const World *w, const QsDecision *d)
{
	if (d->action == QS_ACTION_NONE)
		return;
	assert_true(d->desired >= w->capacity.min);
	assert_true(d->desired <= w->capacity.max);
}

/*
 * What the administrator allows at most is exceeded only where the cloud's own
 * minimum asks for more.
 */
static inline void
check_own_limits(const World *w, const QsDecision *d)
{
	const int	most[] = {w->policy.max_instances, w->policy.ceiling};

	if (d->action != QS_ACTION_SCALE_UP)
		return;
	for (int i = 0; i < 2; i++)
		assert_true(most[i] < 0 || d->desired <= most[i] ||
					d->desired <= w->capacity.min);
}

/* A cap of the calendar too, unless a minimum asks for more. */
static inline void
check_schedules(const World *w, const QsDecision *d)
{
	const QsScheduleBound *cap = &w->policy.schedule_max;
	const QsScheduleBound *floor = &w->policy.schedule_min;

	if (d->action != QS_ACTION_SCALE_UP || cap->name == NULL ||
		cap->instances < 0)
		return;
	assert_true(d->desired <= cap->instances ||
				d->desired <= w->policy.min_instances ||
				d->desired <= w->capacity.min ||
				(floor->name != NULL && d->desired <= floor->instances));
}

static inline bool
is_held(const World *w)
{
	return w->history.held_instances >= 0 &&
		w->history.held_until != QS_NEVER && w->now < w->history.held_until;
}

/*
 * While growth is unfulfilled desired rises by a bounded step at most, or as
 * far as the cloud's minimum demands; in a stock-out not at all, unless an
 * operator says so.  Whatever is remembered, it is never a reason to shrink.
 */
static inline void
check_stock_out(const World *w, const QsDecision *d)
{
	const QsHistory *h = &w->history;
	int			there = w->capacity.total;

	if (d->probes_stock_out)
	{
		assert_true(d->action == QS_ACTION_SCALE_UP);
		assert_true(d->desired == d->base && there < d->base);
		assert_false(d->dry_run);
	}
	if (d->action == QS_ACTION_SCALE_DOWN)
		assert_true(d->reason != QS_REASON_STOCK_OUT);
	if (d->action != QS_ACTION_SCALE_UP || h->unfulfilled_scale_ups <= 0 ||
		is_held(w))
		return;
	if (h->unfulfilled_scale_ups >= 3 && d->load_qps >= 0)
		assert_true(d->probes_stock_out);
	if (h->fulfilled_capacity >= 0 && h->fulfilled_capacity < there)
		there = h->fulfilled_capacity;
	assert_true(d->desired <= d->base + (there > 4 ? there : 4) ||
				d->desired <= w->capacity.min);
}

/*
 * A single rate that counts instances: what was added in its period, and is
 * added now, is no more than it says, unless the cloud's minimum asks for it.
 */
static inline void
check_rate(const World *w, const QsDecision *d)
{
	const QsRate *rate = &w->policy.scale_up_rate;
	const QsRatePolicy *p = &rate->policies[0];
	int64_t		start = d->base;

	if (d->action != QS_ACTION_SCALE_UP || d->probes_stock_out || is_held(w) ||
		rate->select == QS_RATE_DISABLED || rate->n_policies != 1 ||
		p->percent)
		return;
	for (int i = 0; i < w->history.n_changes && i < WORLD_CHANGES; i++)
	{
		int64_t		at = w->changes[i].at < w->now ? w->changes[i].at : w->now;

		if ((__int128) w->now - at < p->period_us)
			start -= w->changes[i].delta;
	}
	if (start < 0)
		start = 0;
	assert_true(d->desired <= start + (p->value > 0 ? p->value : 0) ||
				d->desired <= w->capacity.min);
}

/*
 * All of the above, and what must be known before anything is done.  What an
 * operator asked for needs no load; what he asks for just now needs no more
 * than that nothing is in flight.
 */
static inline void
check_decision(const World *w, const QsDecision *d)
{
	check_consistency(w, d);
	check_record(w, d);
	check_cloud_limits(w, d);
	check_own_limits(w, d);
	check_schedules(w, d);
	check_rate(w, d);
	check_stock_out(w, d);
	if (d->action != QS_ACTION_NONE)
		assert_false(w->history.activity_in_flight);
	if (d->action == QS_ACTION_SCALE_DOWN && !is_held(w))
		assert_true(data_allows_shrinking(w, d));
	if (w->history.by_hand && is_held(w))
		return;
	if (d->action == QS_ACTION_SCALE_DOWN)
		assert_false(w->history.activity_accepted);
	if (d->action != QS_ACTION_NONE)
	{
		assert_false(w->activity.asked && !w->activity.known);
		assert_int_equal(d->needs_activities, !w->activity.asked);
	}
}

#endif							/* DECIDE_WORLD_H */
