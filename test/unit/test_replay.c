/*-------------------------------------------------------------------------
 * test_replay.c
 *		A group's own policy in a backtest: decide() with what a played fleet
 *		and a known load say.
 *-------------------------------------------------------------------------
 */
#include "replay_world.h"

static void
play(QsReplay *replay, const QsBacktestPlan *plan, double *desired)
{
	QsArena    *arena = qs_arena_new((size_t) 16 * 1024 * 1024);
	QsBacktest	result;
	QsError		error;

	assert_non_null(arena);
	assert_true(qs_backtest(plan, qs_replay_wants, replay, 1, arena, NULL,
							&result, &error));
	memcpy(desired, result.desired, sizeof(double) * (size_t) plan->count);
	qs_arena_free(arena);
}

/* A load is known a tick after it came. */
static void
it_follows_the_load(void **state)
{
	static const double expected[] = {1, 1, 4, 4, 4, 2, 2};
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(7);
	double		desired[7];

	(void) state;
	load_is(0, 1, 5);
	load_is(1, 4, 35);
	load_is(4, 7, 15);
	play(&replay, &plan, desired);
	assert_memory_equal(desired, expected, sizeof(desired));
	assert_int_equal(reasons[2], QS_REASON_DYNAMIC_SCALE_UP);
	assert_int_equal(reasons[3], QS_REASON_OPTIMAL_REACHED);
	assert_int_equal(reasons[5], QS_REASON_DYNAMIC_SCALE_DOWN);
}

static void
cooldowns_and_windows_hold_as_live(void **state)
{
	static const double expected[] = {2, 2, 2, 5, 5, 5, 5, 5, 1};
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(9);
	double		desired[9];

	(void) state;
	replay.policy.scale_up_cooldown_us = 180 * US;
	replay.policy.scale_down_window_us = 180 * US;
	load_is(0, 1, 15);
	load_is(1, 5, 45);
	load_is(5, 9, 5);
	play(&replay, &plan, desired);
	assert_int_equal(reasons[2], QS_REASON_COOLDOWN_SCALE_UP);
	assert_int_equal(reasons[6], QS_REASON_STABILIZING);
	assert_memory_equal(desired, expected, sizeof(desired));
}

static void
a_gap_changes_nothing(void **state)
{
	static const double expected[] = {3, 3, 3, 3, 3, 1};
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(6);
	double		desired[6];

	(void) state;
	load_is(0, 1, 25);
	load_is(1, 4, NAN);
	load_is(4, 6, 5);
	play(&replay, &plan, desired);
	assert_memory_equal(desired, expected, sizeof(desired));
	assert_int_equal(reasons[3], QS_REASON_METRICS_UNAVAILABLE);
}

/* Each morning at six the load comes within a minute. */
static void
prediction_steers_only_if_it_may(void **state)
{
	const QsPredictionPlan predicted = {300, 600};
	int			ahead[2] = {0, 0};

	(void) state;
	for (int i = 0; i < MOST; i++)
		loads[i] = i % 288 >= 72 ? 80 + i % 3 : 20 + i % 3;
	for (int steers = 0; steers < 2; steers++)
	{
		QsReplay	replay = calm_replay();
		QsBacktestPlan plan = minutes(MOST);
		double	   *desired = malloc(sizeof(double) * MOST);
		void	   *block = malloc(qs_prediction_bytes(&predicted));

		plan.tick_seconds = 300;
		replay.share = 0.001;
		assert_non_null(desired);
		replay.prediction = qs_prediction_begin(block, &predicted,
												replay.begin_us + 1, 0.001);
		replay.steers = steers == 1;
		play(&replay, &plan, desired);
		/* of the last five mornings: is it there when the load comes? */
		for (int day = 5; day < 10; day++)
			ahead[steers] += desired[day * 288 + 71] >= 6;
		free(block);
		free(desired);
	}
	assert_int_equal(ahead[0], 0);
	assert_true(ahead[1] >= 4);
}

/*
 * Ten days of a load as of an exchange point, then two hours in which nobody
 * gets through, and then all come at once and try again: the share of requests
 * that are lost in the hour after it.
 */
static double
lost_after_an_outage(bool steers)
{
	const QsPredictionPlan predicted = {300, 300};
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(10 * 288 + 24 + 12);
	QsArena    *arena = qs_arena_new((size_t) 16 * 1024 * 1024);
	QsBacktest	result;
	QsError		error;
	int			outage = 10 * 288;
	double		asked = 0;
	double		lost = 0;
	void	   *block = malloc(qs_prediction_bytes(&predicted));

	assert_true(arena != NULL && block != NULL);
	for (int i = 0; i < plan.count; i++)
	{
		/* it is noon when it breaks */
		double		day = 2 * M_PI * (i + 144) / 288;

		loads[i] = 150 - 100 * cos(day) + 2 * ((i * 7919 % 11) - 5);
		if (i >= outage)
			loads[i] *= i < outage + 24 ? 0.02 : 1.4;
	}
	plan.tick_seconds = 300;
	plan.boot_ticks = 1;
	replay.policy.suspicious_drop_guard = false;
	replay.policy.scale_down_window_us = 300 * US;
	if (steers)
		replay.prediction = qs_prediction_begin(block, &predicted,
												replay.begin_us + 1, 0.01);
	replay.steers = steers;
	assert_true(qs_backtest(&plan, qs_replay_wants, &replay, 5, arena, NULL,
							&result, &error));
	for (int i = outage + 24; i < plan.count; i++)
	{
		asked += loads[i];
		lost += fmax(loads[i] - result.ready[i] * plan.per_instance, 0);
	}
	qs_arena_free(arena);
	free(block);
	return 100 * lost / asked;
}

static void
an_outage_does_not_cost_the_hour_after_it(void **state)
{
	double		without = lost_after_an_outage(false);
	double		with = lost_after_an_outage(true);

	(void) state;
	print_message("lost: %.1f %% without, %.1f %% with prediction\n", without,
				  with);
	assert_true(without > 10);
	assert_true(with <= 2.7);
}

static void
an_action_that_is_not_carried_out_starts_no_cooldown(void **state)
{
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(3);
	double		desired[3];

	(void) state;
	replay.policy.dry_run = true;
	load_is(0, 3, 95);
	play(&replay, &plan, desired);
	assert_true(replay.history.last_action_at == QS_NEVER);
	replay = calm_replay();
	play(&replay, &plan, desired);
	assert_true(replay.history.last_action_at == replay.begin_us);
	assert_true(replay.history.last_scale_up_at == replay.begin_us);
	assert_true(replay.history.last_scale_down_at == QS_NEVER);
}

/* ----------
 * The same decisions, from decide() called by hand
 * ----------
 */
#define STEPS	400
#define BOOT	3

/* What a group that is watched once a minute would be told. */
typedef struct Watched
{
	QsHistory	history;
	int			ready;
	int			ordered[STEPS + BOOT];	/* by the minute that they serve from */
} Watched;

static int
booting(const Watched *group, int minute)
{
	int			sum = 0;

	for (int i = minute + 1; i <= minute + BOOT; i++)
		sum += group->ordered[i];
	return sum;
}

static void
carry_out(Watched *group, int minute, int wanted)
{
	int			missing = wanted - group->ready - booting(group, minute);

	if (missing > 0)
		group->ordered[minute + BOOT] += missing;
	/* the newest go first */
	for (int i = minute + BOOT; i > minute && missing < 0; i--)
	{
		int			gone = group->ordered[i] < -missing ?
			group->ordered[i] : -missing;

		group->ordered[i] -= gone;
		missing += gone;
	}
	if (missing < 0)
		group->ready += missing;
}

static QsLoad
newest_load(int minute, int64_t begin)
{
	int			i = minute > 0 ? minute - 1 : 0;
	bool		known = !isnan(loads[i]);
	QsLoad		load = {
		.known = known,
		.mean_qps = known ? loads[i] : 0,
		.newest_qps = known ? loads[i] : 0,
		.newest_end_us = known ? begin + minute * 60 * US : QS_NEVER,
		.points = known,
		.expected_points = 1
	};

	return load;
}

/* As the worker keeps it from one evaluation to the next. */
static void
remember(QsHistory *history, const QsDecision *decision, const QsLoad *load,
		 int in_service, int64_t now)
{
	history->drop_seen_at = decision->drop_seen_at;
	if (decision->drop_seen_at == QS_NEVER && decision->load_qps >= 0)
	{
		history->previous_qps = decision->load_qps;
		history->previous_qps_at = load->newest_end_us;
		history->previous_in_service = in_service;
	}
	history->n_recommendations = decision->n_recommendations;
	memcpy(history->recommendations, decision->recommendations,
		   sizeof(history->recommendations));
	history->confirmations = decision->confirmations;
	if (decision->action == QS_ACTION_NONE)
		return;
	history->last_action_at = now;
	if (decision->action == QS_ACTION_SCALE_UP)
		history->last_scale_up_at = now;
	else
		history->last_scale_down_at = now;
}

static QsPolicy
demanding_policy(void)
{
	QsPolicy	policy = calm_replay().policy;

	policy.scale_up_cooldown_us = 120 * US;
	policy.scale_down_cooldown_us = 300 * US;
	policy.general_cooldown_us = 60 * US;
	policy.scale_down_window_us = 240 * US;
	policy.suspicious_drop_guard = true;
	policy.max_scale_up_per_action = 4;
	policy.max_scale_down_percent = 30;
	policy.scale_up_tolerance = 0.1;
	policy.max_instances = 30;
	return policy;
}

static QsHistory
no_history(void)
{
	QsHistory	history = {
		.previous_qps = -1, .previous_qps_at = QS_NEVER,
		.previous_in_service = QS_UNKNOWN, .drop_seen_at = QS_NEVER,
		.last_scale_up_at = QS_NEVER, .last_scale_down_at = QS_NEVER,
		.last_action_at = QS_NEVER, .circuit_open_until = QS_NEVER,
		.fulfilled_capacity = QS_UNKNOWN, .stock_out_probe_at = QS_NEVER,
		.suspended_until = QS_NEVER, .held_instances = QS_UNKNOWN,
		.held_until = QS_NEVER
	};

	history.confirmations.observed_at = QS_NEVER;
	return history;
}

static void
make_noisy_loads(void)
{
	uint32_t	seed = 4711;

	for (int i = 0; i < STEPS; i++)
	{
		seed = seed * 1664525u + 1013904223u;
		loads[i] = 90 + 80 * sin(i / 20.0) + (double) (seed >> 24) / 4;
		if (i % 50 >= 30 && i % 50 < 34)
			loads[i] = 4;		/* a suspicious drop */
		if (i % 61 >= 58)
			loads[i] = NAN;
	}
}

static void
its_decisions_are_those_of_decide(void **state)
{
	static const QsCloudActivity quiet = {
		.asked = true, .known = true, .last_scale_up_at = QS_NEVER,
		.last_scale_down_at = QS_NEVER, .last_any_at = QS_NEVER,
		.newest_at = QS_NEVER
	};
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(STEPS);
	Watched		group = {.history = no_history(), .ready = 1};
	double		desired[STEPS];
	int			seen[QS_REASON_COUNT] = {0};

	(void) state;
	make_noisy_loads();
	replay.policy = demanding_policy();
	plan.boot_ticks = BOOT;
	plan.max = 30;
	play(&replay, &plan, desired);
	for (int minute = 0; minute < STEPS; minute++)
	{
		int64_t		now = replay.begin_us + minute * 60 * US;
		QsLoad		load = newest_load(minute, replay.begin_us);
		QsCapacity	capacity = {.known = true, .min = 1, .max = 30,
		.active = true};
		QsDecision	decision;

		group.ready += group.ordered[minute];
		capacity.in_service = group.ready;
		capacity.desired = group.ready + booting(&group, minute);
		capacity.total = capacity.desired;
		group.history.activity_accepted = booting(&group, minute) > 0;
		qs_decide(&replay.policy, &load, &capacity, &quiet, NULL, 0,
				  &group.history, now, &decision);
		remember(&group.history, &decision, &load, group.ready, now);
		if (decision.action != QS_ACTION_NONE)
			carry_out(&group, minute, decision.desired);
		assert_int_equal(reasons[minute], decision.reason);
		assert_int_equal((int) desired[minute],
						 group.ready + booting(&group, minute));
		seen[decision.reason]++;
	}
	/* ... in which much came to pass */
	assert_true(seen[QS_REASON_DYNAMIC_SCALE_UP] > 0);
	assert_true(seen[QS_REASON_DYNAMIC_SCALE_DOWN] +
				seen[QS_REASON_DYNAMIC_LIMITED_SCALE_DOWN] > 0);
	assert_true(seen[QS_REASON_COOLDOWN_SCALE_UP] > 0);
	assert_true(seen[QS_REASON_STABILIZING] > 0);
	assert_true(seen[QS_REASON_METRICS_UNAVAILABLE] > 0);
	assert_true(seen[QS_REASON_SUSPICIOUS_DROP] > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_follows_the_load),
		cmocka_unit_test(cooldowns_and_windows_hold_as_live),
		cmocka_unit_test(a_gap_changes_nothing),
		cmocka_unit_test(prediction_steers_only_if_it_may),
		cmocka_unit_test(an_outage_does_not_cost_the_hour_after_it),
		cmocka_unit_test(its_decisions_are_those_of_decide),
		cmocka_unit_test(an_action_that_is_not_carried_out_starts_no_cooldown),
	};

	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
