/*-------------------------------------------------------------------------
 * test_decide_properties.c
 *		What must hold of decide() for any input, tried on many.
 *
 * The inputs come from a generator with a fixed seed, so a failure can be
 * repeated; they mix sensible values with the extremes of each type.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "decide_world.h"

#define N_INPUTS	200000

static uint64_t seed;

/* Knuth's constants for a 64-bit linear congruential generator. */
static uint32_t
draw(uint32_t below)
{
	seed = seed * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (uint32_t) (seed >> 33) % below;
}

static bool
draw_bool(uint32_t percent)
{
	return draw(100) < percent;
}

static int
draw_count(void)
{
	static const int extremes[] = {
		INT32_MIN, -2, -1, 0, 1, QS_MAX_INSTANCES, QS_MAX_INSTANCES + 1,
		INT32_MAX
	};

	return draw_bool(10) ? extremes[draw(8)] : (int) draw(12);
}

static double
draw_number(double scale)
{
	static const double extremes[] = {
		NAN, INFINITY, -INFINITY, -1, -0.0, 0, 5e-324, 1e-300, 1e15, 1e16,
		1.8446744073709552e19, 1.7e308
	};

	return draw_bool(10) ? extremes[draw(12)] : scale * draw(1000) / 1000;
}

static int64_t
draw_time(int64_t now)
{
	static const int64_t extremes[] = {
		INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX
	};
	int64_t		span = (int64_t) draw(1000) * SECOND;
	int64_t		time;

	if (draw_bool(10))
		return extremes[draw(7)];
	if (draw_bool(40))
		return QS_NEVER;
	return __builtin_sub_overflow(now, span, &time) ? now : time;
}

static int64_t
draw_span(void)
{
	static const int64_t extremes[] = {INT64_MIN, -1, 0, 1, 31, INT64_MAX};

	return draw_bool(10) ? extremes[draw(6)] : (int64_t) draw(700) * SECOND;
}

static void
draw_history(QsHistory *h, int64_t now)
{
	h->previous_qps = draw_number(5000);
	h->previous_qps_at = draw_time(now);
	h->previous_in_service = draw_count();
	h->drop_seen_at = draw_time(now);
	h->last_scale_up_at = draw_time(now);
	h->last_scale_down_at = draw_time(now);
	h->last_action_at = draw_time(now);
	h->n_recommendations = draw_bool(10) ? draw_count() : (int) draw(33);
	for (int i = 0; i < QS_MAX_RECOMMENDATIONS; i++)
	{
		h->recommendations[i].at = draw_time(now);
		h->recommendations[i].instances = draw_count();
	}
	h->activity_in_flight = draw_bool(5);
	h->activity_accepted = draw_bool(10);
	h->circuit_open_until = draw_time(now);
	h->unfulfilled_scale_ups = draw_bool(70) ? 0 : draw_count();
	h->fulfilled_capacity = draw_count();
	h->stock_out_probe_at = draw_time(now);
	h->suspended_up = draw_bool(5);
	h->suspended_down = draw_bool(5);
	h->suspended_until = draw_time(now);
	h->held_instances = draw_bool(80) ? QS_UNKNOWN : draw_count();
	h->held_until = draw_bool(50) ? QS_NEVER : draw_time(now);
	h->by_hand = draw_bool(5) && h->held_instances >= 0 &&
		h->held_until != QS_NEVER && now < h->held_until;
}

static QsPredicted
draw_predicted(void)
{
	QsPredicted p;

	memset(&p, 0, sizeof(p));
	p.steers = draw_bool(70);
	p.trust = draw_bool(70) ? QS_TRUST_FULL : (QsPredictionTrust) draw(4);
	p.may_shrink = draw_bool(80);
	p.newest = draw_number(5000);
	p.upper_grow = draw_number(5000);
	p.upper_shrink = draw_number(5000);
	p.yesterday = draw_number(5000);
	p.missing_s = draw_count();
	p.per_instance = draw_number(100);
	return p;
}

static QsSignal
draw_signal(int64_t now)
{
	static const char *const names[] = {"cpu", "queue", "latency", "errors"};
	QsSignal	s = plain_signal(names[draw(4)], (QsSignalLaw) draw(2),
								 draw_bool(90) ? 10 + draw(90) :
								 draw_number(100));

	s.role = (QsSignalRole) draw(3);
	s.asked = s.role != QS_ROLE_VETO || draw_bool(50);
	s.activation = draw_bool(70) ? 0 : draw_number(30);
	s.tolerance = draw_bool(70) ? 0.1 : draw_number(1);
	s.empty_is_zero = draw_bool(40);
	s.max_age_us = draw_span();
	s.hold_us = draw_span();
	s.fallback_instances = draw_bool(70) ? QS_NO_LIMIT : draw_count();
	s.fallback_after_us = draw_span();
	s.fallback_name = draw_bool(80) ? "fallback of it" : NULL;
	s.missing_since = draw_time(now);
	s.reading.state = (QsReadingState) (draw_bool(60) ? QS_READING_KNOWN :
										draw(4));
	s.reading.value = draw_number(draw_bool(50) ? 200 : 1000);
	s.reading.at_us = draw_bool(70) ? now : draw_time(now);
	return s;
}

static QsRate
draw_rate(void)
{
	QsRate		rate;

	memset(&rate, 0, sizeof(rate));
	if (draw_bool(70))
		return rate;
	rate.select = (QsRateSelect) draw(3);
	rate.n_policies = draw_bool(90) ? (int) draw(4) : draw_count();
	for (int i = 0; i < QS_MAX_RATE_POLICIES; i++)
	{
		rate.policies[i].percent = draw_bool(40);
		rate.policies[i].value = draw_bool(50) ? draw_count() : (int) draw(120);
		rate.policies[i].period_us = draw_span();
	}
	return rate;
}

/* What drives, bounds and paces a group beside requests. */
static void
draw_drivers(World *w)
{
	QsConfirmations *seen = &w->history.confirmations;

	if (draw_bool(30))
		w->policy.target_qps = 0;
	w->n_signals = draw_bool(30) ? 0 : (int) draw(WORLD_SIGNALS + 1);
	for (int i = 0; i < w->n_signals; i++)
		w->signals[i] = draw_signal(w->now);
	w->policy.schedule_min.name = draw_bool(80) ? NULL : "day";
	w->policy.schedule_min.instances = draw_count();
	w->policy.schedule_max.name = draw_bool(80) ? NULL : "night";
	w->policy.schedule_max.instances = draw_count();
	w->policy.scale_up_rate = draw_rate();
	w->policy.scale_down_rate = draw_rate();
	w->policy.scale_up_confirm.n = draw_bool(80) ? 0 : draw_count();
	w->policy.scale_up_confirm.m = draw_count();
	w->policy.scale_down_confirm.n = draw_bool(80) ? 0 : draw_count();
	w->policy.scale_down_confirm.m = draw_count();
	seen->up = draw(256);
	seen->down = draw(256);
	seen->base = draw_bool(50) ? w->capacity.desired : draw_count();
	seen->observed_at = draw_time(w->now);
	w->history.n_changes = draw_bool(90) ? (int) draw(WORLD_CHANGES) :
		draw_count();
	for (int i = 0; i < WORLD_CHANGES; i++)
	{
		w->changes[i].at = draw_time(w->now);
		w->changes[i].delta = draw_bool(50) ? draw_count() :
			-(int) draw(9);
	}
}

static World
draw_world(void)
{
	World		w;
	QsPolicy   *p = &w.policy;

	memset(&w, 0, sizeof(w));
	w.now = draw_bool(3) ? draw_time(0) : NOW;
	p->mode = (QsMode) draw(draw_bool(5) ? 3 : 2);
	p->target_qps = draw_number(100);
	p->up_threshold = draw_number(2);
	p->down_threshold = draw_number(1);
	p->min_instances = draw_bool(50) ? QS_NO_LIMIT : draw_count();
	p->max_instances = draw_bool(50) ? QS_NO_LIMIT : draw_count();
	p->ceiling = draw_bool(70) ? QS_NO_LIMIT : draw_count();
	p->max_scale_up_per_action = draw_bool(60) ? 0 : draw_count();
	p->max_scale_down_per_action = draw_bool(60) ? 0 : draw_count();
	p->max_scale_down_percent = draw_bool(60) ? 0 :
		draw_bool(20) ? draw_count() : (int) draw(120);
	p->scale_up_tolerance = draw_bool(50) ? 0 : draw_number(1);
	p->scale_down_tolerance = draw_bool(50) ? 0 : draw_number(1);
	p->scale_up_on_peak = draw_bool(30);
	p->suspicious_drop_guard = draw_bool(50);
	p->scale_up_cooldown_us = draw_span();
	p->scale_down_cooldown_us = draw_span();
	p->general_cooldown_us = draw_span();
	p->scale_down_window_us = draw_span();
	p->max_load_age_us = draw_span();
	p->dry_run = draw_bool(20);
	p->armed = draw_bool(90);
	p->extension_enabled = draw_bool(90);
	p->writes_while_busy = draw_bool(50);
	p->on_foreign_change = (QsForeignPolicy) draw(3);
	w.load.known = draw_bool(90);
	w.load.mean_qps = draw_number(900);
	w.load.newest_qps = draw_number(900);
	w.load.newest_end_us = draw_bool(80) ? w.now : draw_time(w.now);
	w.load.expected_points = draw_bool(80) ? 5 : draw_count();
	w.load.points = draw_bool(80) ? 5 : draw_count();
	w.capacity.known = draw_bool(95);
	w.capacity.desired = draw_count();
	w.capacity.total = draw_bool(90) ? (int) draw(12) : draw_count();
	w.capacity.in_service = draw_count();
	w.capacity.min = draw_bool(80) ? (int) draw(4) : draw_count();
	w.capacity.max = draw_bool(80) ? 4 + (int) draw(9) : draw_count();
	w.capacity.active = draw_bool(95);
	w.capacity.scale_out_suspended = draw_bool(5);
	w.capacity.scale_in_suspended = draw_bool(5);
	w.activity.asked = draw_bool(60);
	w.activity.known = draw_bool(80);
	w.activity.in_progress = draw_bool(10);
	w.activity.last_scale_up_at = draw_time(w.now);
	w.activity.last_scale_down_at = draw_time(w.now);
	w.activity.last_any_at = draw_time(w.now);
	draw_history(&w.history, w.now);
	w.foresees = draw_bool(50);
	w.predicted = draw_predicted();
	draw_drivers(&w);
	return w;
}

/*
 * A world in which nothing stands between what is proposed and what is done
 * but what the policy says of it.
 */
static World
draw_calm_world(void)
{
	World		w = plain_world();
	QsPolicy   *p = &w.policy;

	p->mode = (QsMode) draw(2);
	p->up_threshold = 0.8;
	p->down_threshold = draw_bool(50) ? 0.6 : 0.3;
	p->scale_up_on_peak = draw_bool(50);
	p->scale_up_tolerance = draw_bool(50) ? 0 : draw(20) / 100.0;
	p->scale_down_tolerance = draw_bool(50) ? 0 : draw(20) / 100.0;
	p->max_scale_up_per_action = draw_bool(70) ? 0 : (int) draw(5);
	p->max_scale_down_per_action = draw_bool(70) ? 0 : (int) draw(5);
	p->scale_up_rate = draw_rate();
	p->scale_down_rate = draw_rate();
	p->suspicious_drop_guard = draw_bool(30);
	p->schedule_min.name = draw_bool(80) ? NULL : "day";
	p->schedule_min.instances = (int) draw(20);
	p->schedule_max.name = draw_bool(80) ? NULL : "night";
	p->schedule_max.instances = (int) draw(20);
	p->scale_down_confirm.n = p->scale_down_confirm.m = (int) draw(3);
	w.load.known = draw_bool(85);
	w.load.mean_qps = draw(3000) / 10.0;
	w.load.newest_qps = draw(3000) / 10.0;
	w.load.expected_points = 5;
	w.load.points = draw_bool(90) ? 5 : (int) draw(6);
	w.load.newest_end_us = NOW;
	w.capacity.desired = w.capacity.total = (int) draw(30);
	w.capacity.in_service = draw_bool(50) ? QS_UNKNOWN :
		(int) draw((uint32_t) w.capacity.total + 1);
	w.capacity.min = draw_bool(70) ? 0 : (int) draw(6);
	w.capacity.max = draw_bool(70) ? 1000 : 10 + (int) draw(15);
	w.history.confirmations.base = w.capacity.desired;
	w.history.confirmations.down = draw(4);
	w.history.previous_qps = draw_bool(50) ? -1.0 : draw(3000);
	w.n_signals = (int) draw(WORLD_SIGNALS + 1);
	for (int i = 0; i < w.n_signals; i++)
	{
		w.signals[i] = draw_signal(NOW);
		w.signals[i].asked = true;
	}
	return w;
}

static void
any_input_gives_a_sane_decision(void **state)
{
	int			actions[3] = {0, 0, 0};

	(void) state;
	seed = 20240102;
	for (int i = 0; i < N_INPUTS; i++)
	{
		World		w = draw_world();
		QsDecision	d;
		QsDecision	again;

		memset(&d, 0, sizeof(d));
		memset(&again, 0xA5, sizeof(again));
		decide(&w, &d);
		decide(&w, &again);
		assert_memory_equal(&d, &again, sizeof(d));
		check_decision(&w, &d);
		actions[d.action]++;
	}
	/* the generator must reach every branch worth reaching */
	for (int i = 0; i < 3; i++)
		assert_true(actions[i] > N_INPUTS / 200);
}

/* One more opinion may keep the group larger, never make it smaller. */
static void
another_signal_never_lowers_the_result(void **state)
{
	int			raised = 0;
	int			kept = 0;

	(void) state;
	seed = 77;
	for (int i = 0; i < N_INPUTS; i++)
	{
		World		w = draw_calm_world();
		QsDecision	with;
		QsDecision	without;

		if (w.n_signals == 0)
			continue;
		decide(&w, &with);
		check_decision(&w, &with);
		w.n_signals--;
		decide(&w, &without);
		if (with.desired < without.desired)
			fail_msg("world %d: %d (%s) with it, %d (%s) without", i,
					 with.desired, qs_reason_name(with.reason),
					 without.desired, qs_reason_name(without.reason));
		raised += with.desired > without.desired &&
			with.action == QS_ACTION_SCALE_UP;
		kept += without.action == QS_ACTION_SCALE_DOWN &&
			with.action == QS_ACTION_NONE;
	}
	assert_true(raised > N_INPUTS / 100 && kept > N_INPUTS / 100);
}

/* When its time is over the group shrinks as if the signal were not there. */
static void
a_missing_optional_signal_blocks_no_longer_than_its_hold(void **state)
{
	int			shrunk = 0;

	(void) state;
	seed = 78;
	for (int i = 0; i < N_INPUTS / 4; i++)
	{
		World		w = draw_calm_world();
		QsSignal   *last = &w.signals[w.n_signals > 0 ? w.n_signals - 1 : 0];
		QsDecision	with;
		QsDecision	without;

		if (w.n_signals == 0)
			continue;
		last->role = QS_ROLE_OPTIONAL;
		last->reading.state = QS_READING_UNKNOWN;
		last->fallback_instances = QS_NO_LIMIT;
		last->hold_us = (int64_t) draw(1000) * SECOND;
		last->missing_since = NOW - last->hold_us;
		decide(&w, &with);
		w.n_signals--;
		decide(&w, &without);
		assert_int_equal(with.action, without.action);
		assert_int_equal(with.desired, without.desired);
		shrunk += with.action == QS_ACTION_SCALE_DOWN;
	}
	assert_true(shrunk > N_INPUTS / 400);
}

/*
 * The same load, spread over what is left: the same rules must not order any
 * of it back.
 */
static void
what_was_let_go_is_not_ordered_back_by_the_same_load(void **state)
{
	int			shrunk = 0;

	(void) state;
	seed = 79;
	for (int i = 0; i < N_INPUTS; i++)
	{
		World		w = draw_calm_world();
		QsDecision	before;
		QsDecision	after;

		w.capacity.in_service = w.capacity.total;
		decide(&w, &before);
		if (before.action != QS_ACTION_SCALE_DOWN)
			continue;
		for (int j = 0; j < w.n_signals; j++)
			if (w.signals[j].law == QS_LAW_VALUE && before.desired > 0)
				w.signals[j].reading.value *=
					(double) before.base / before.desired;
		w.capacity.desired = w.capacity.total = w.capacity.in_service =
			before.desired;
		w.history.n_changes = 0;
		decide(&w, &after);
		if (after.wanted == QS_ACTION_SCALE_UP)
			fail_msg("world %d: %d to %d (%s), then to %d (%s)", i,
					 before.base, before.desired,
					 qs_reason_name(before.reason), after.optimal,
					 qs_reason_name(after.reason));
		shrunk++;
	}
	assert_true(shrunk > N_INPUTS / 100);
}

/* With nothing in the way the answer is the formula, for any load. */
static void
in_steady_state_the_answer_is_the_formula(void **state)
{
	World		w = plain_world();
	QsDecision	d;

	(void) state;
	seed = 7;
	for (int i = 0; i < 20000; i++)
	{
		int			tenths = (int) draw(90000);
		int			optimal = (tenths + 99) / 100;

		w.capacity.desired = w.capacity.total = (int) draw(900);
		w.load.mean_qps = tenths / 10.0;
		decide(&w, &d);
		assert_int_equal(d.desired, optimal);
		assert_int_equal(d.optimal, optimal);
		/* and there it stays */
		w.capacity.desired = w.capacity.total = d.desired;
		decide(&w, &d);
		assert_int_equal(d.action, QS_ACTION_NONE);
	}
}

#define SERIES_LENGTH	400

typedef struct Series
{
	int64_t		at[SERIES_LENGTH];
	int			instances[SERIES_LENGTH];
} Series;

/* The largest recommendation younger than "span", the newest included. */
static int
naive_maximum(const Series *s, int n, int64_t span)
{
	int			maximum = 0;

	for (int i = 0; i < n; i++)
		if (s->at[n - 1] - s->at[i] < span && s->instances[i] > maximum)
			maximum = s->instances[i];
	return maximum;
}

/*
 * Feed a series through decide(), its record carried from call to call, and
 * compare with the naive maximum.  base is far above, so that desired is the
 * effective recommendation.  Returns how often the answer was not exact.
 */
static int
run_series(const Series *s, int64_t window)
{
	World		w = plain_world();
	int			inexact = 0;

	w.policy.scale_down_window_us = window;
	w.capacity.max = 2000;
	w.capacity.desired = w.capacity.total = 2000;
	for (int n = 1; n <= SERIES_LENGTH; n++)
	{
		QsDecision	d;
		int			truth;

		w.now = s->at[n - 1];
		w.load.mean_qps = 10.0 * s->instances[n - 1];
		decide(&w, &d);
		assert_int_equal(d.action, QS_ACTION_SCALE_DOWN);
		check_record(&w, &d);
		truth = naive_maximum(s, n, window);
		assert_true(d.desired >= truth);
		if (d.desired != truth)
		{
			/* never kept for longer than one slot of 31 */
			assert_true(d.desired <=
						naive_maximum(s, n, window + window / 31 + 1));
			inexact++;
		}
		w.history.n_recommendations = d.n_recommendations;
		memcpy(w.history.recommendations, d.recommendations,
			   sizeof(d.recommendations));
	}
	return inexact;
}

static void
the_window_equals_a_naive_maximum(void **state)
{
	Series		s;

	(void) state;
	seed = 99;
	for (int round = 0; round < 400; round++)
	{
		int64_t		at = NOW;
		int64_t		window = (int64_t) (100 + draw(300)) * SECOND;

		for (int i = 0; i < SERIES_LENGTH; i++)
		{
			/* steps of 15 s and more: 32 entries are enough to be exact */
			at += (int64_t) (15 + draw(40)) * SECOND;
			s.at[i] = at;
			s.instances[i] = 1 + (int) draw(1 + draw(900));
		}
		assert_int_equal(run_series(&s, window), 0);
	}
}

/* Slowly falling load fills the record; it may forget late, never early. */
static void
a_full_record_is_never_below_the_truth(void **state)
{
	Series		s;
	int			inexact = 0;

	(void) state;
	seed = 5;
	for (int round = 0; round < 200; round++)
	{
		int64_t		at = NOW;
		int			level = 1900;
		int64_t		window = (int64_t) (300 + draw(3000)) * SECOND + draw(99);

		for (int i = 0; i < SERIES_LENGTH; i++)
		{
			at += (int64_t) draw(15) * SECOND + draw(1000000) + 1;
			level -= 1 + (int) draw(5);
			if (draw_bool(2) || level < 1)
				level = 1 + (int) draw(1900);
			s.at[i] = at;
			s.instances[i] = level;
		}
		inexact += run_series(&s, window);
	}
	assert_true(inexact > 0);	/* or the record was never full */
}

/*
 * The default guards must cost a rising group nothing: growth follows the
 * formula whatever was recorded.
 */
static void
growth_is_never_delayed_by_the_record(void **state)
{
	QsDecision	d;

	(void) state;
	seed = 3;
	for (int i = 0; i < 20000; i++)
	{
		World		w = plain_world();
		int			optimal = 2 + (int) draw(900);

		draw_history(&w.history, NOW);
		w.history.activity_in_flight = false;
		w.history.activity_accepted = draw_bool(50);
		w.history.circuit_open_until = QS_NEVER;
		w.history.unfulfilled_scale_ups = 0;
		w.history.suspended_up = false;
		w.history.held_until = QS_NEVER;
		w.history.by_hand = false;
		w.policy.writes_while_busy = true;
		w.policy.suspicious_drop_guard = true;
		w.policy.scale_down_window_us = 300 * SECOND;
		w.capacity.desired = (int) draw((uint32_t) optimal);
		w.load.mean_qps = 10.0 * optimal;
		decide(&w, &d);
		assert_int_equal(d.action, QS_ACTION_SCALE_UP);
		assert_int_equal(d.desired, optimal);
	}
}

/*
 * Ten thousand groups a tick must not be felt.  The bound is far above what
 * it takes (well under 1 us), for sanitizers and busy machines.
 */
static void
a_decision_costs_microseconds_at_most(void **state)
{
	World		w = plain_world();
	struct timespec from;
	struct timespec to;
	QsDecision	d;
	double		ns;
	const int	rounds = 100000;

	(void) state;
	w.policy.scale_down_window_us = 300 * SECOND;
	w.policy.suspicious_drop_guard = true;
	w.history.n_recommendations = 20;
	for (int i = 0; i < 20; i++)
	{
		w.history.recommendations[i].at = NOW - (300 - 15 * i) * SECOND;
		w.history.recommendations[i].instances = 100 - i;
	}
	w.capacity.desired = w.capacity.total = 60;
	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from), 0);
	for (int i = 0; i < rounds; i++)
	{
		w.load.mean_qps = i % 600;
		decide(&w, &d);
	}
	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to), 0);
	ns = ((double) (to.tv_sec - from.tv_sec) * 1e9 +
		  (double) (to.tv_nsec - from.tv_nsec)) / rounds;
	print_message("one decide() takes %.0f ns\n", ns);
	assert_true(ns < 20000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(any_input_gives_a_sane_decision),
		cmocka_unit_test(another_signal_never_lowers_the_result),
		cmocka_unit_test(a_missing_optional_signal_blocks_no_longer_than_its_hold),
		cmocka_unit_test(what_was_let_go_is_not_ordered_back_by_the_same_load),
		cmocka_unit_test(in_steady_state_the_answer_is_the_formula),
		cmocka_unit_test(the_window_equals_a_naive_maximum),
		cmocka_unit_test(a_full_record_is_never_below_the_truth),
		cmocka_unit_test(growth_is_never_delayed_by_the_record),
		cmocka_unit_test(a_decision_costs_microseconds_at_most),
	};

	return cmocka_run_group_tests_name("decide: properties", tests, NULL,
									   NULL);
}
