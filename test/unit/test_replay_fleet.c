/*-------------------------------------------------------------------------
 * test_replay_fleet.c
 *		What decide() and the prediction are told of a fleet that is played:
 *		each of it changes what is decided, or what is learned.
 *-------------------------------------------------------------------------
 */
#include "replay_world.h"

/* What the fleet looked like when it was asked for. */
typedef struct Witness
{
	QsReplay	replay;
	QsPrediction *prediction;	/* told by hand, or NULL */
	int			ready[MOST];	/* after the decision of the tick */
	int			pending[MOST];
	int			decided[MOST];	/* capacity when it was decided */
} Witness;

static double
witnessed(void *context, const QsBacktestView *view)
{
	Witness    *witness = context;
	int			size = view->ready + view->pending;
	double		wants = qs_replay_wants(&witness->replay, view);

	witness->decided[view->tick] = size;
	witness->ready[view->tick] = wants < view->ready ? (int) wants :
		view->ready;
	witness->pending[view->tick] = view->pending;
	return wants;
}

static void
play_witnessed(Witness *witness, const QsBacktestPlan *plan)
{
	QsArena    *arena = qs_arena_new((size_t) 16 * 1024 * 1024);
	QsBacktest	result;
	QsError		error;

	assert_non_null(arena);
	assert_true(qs_backtest(plan, witnessed, witness, 1, arena, NULL, &result,
							&error));
	qs_arena_free(arena);
}

static double
wanted_of(QsReplay *replay, const QsBacktestPlan *plan, int tick, int ready,
		  int pending)
{
	QsBacktestView view = {
		.plan = plan, .loads = plan->loads, .known = tick, .tick = tick,
		.newest = tick > 0 ? plan->loads[tick - 1] : plan->loads[0],
		.served_by = ready, .ready = ready, .pending = pending
	};

	return qs_replay_wants(replay, &view);
}

/* It is never written to while it grows, where its provider refuses that. */
static void
what_boots_blocks_shrinking_and_where_refused_growing(void **state)
{
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(10);

	(void) state;
	load_is(0, 3, 45);
	load_is(3, 10, 5);
	assert_int_equal(wanted_of(&replay, &plan, 4, 2, 3), 5);
	assert_int_equal(reasons[4], QS_REASON_SCALING_IN_PROGRESS);
	assert_int_equal(wanted_of(&replay, &plan, 5, 5, 0), 1);
	assert_int_equal(reasons[5], QS_REASON_DYNAMIC_SCALE_DOWN);

	/* growing does not wait, unless the cloud refuses it */
	load_is(0, 10, 95);
	replay = calm_replay();
	assert_int_equal(wanted_of(&replay, &plan, 4, 2, 3), 10);
	replay = calm_replay();
	replay.policy.writes_while_busy = false;
	assert_int_equal(wanted_of(&replay, &plan, 4, 2, 3), 5);
	assert_int_equal(reasons[4], QS_REASON_SCALING_IN_PROGRESS);
	assert_int_equal(wanted_of(&replay, &plan, 5, 5, 0), 10);
}

/* What is booting counts as desired, so that it is not ordered again. */
static void
what_boots_is_not_ordered_again(void **state)
{
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(10);

	(void) state;
	load_is(0, 10, 45);
	assert_int_equal(wanted_of(&replay, &plan, 4, 2, 3), 5);
	assert_int_equal(reasons[4], QS_REASON_OPTIMAL_REACHED);
}

/*
 * A drop is believed where instances went with it, and those that boot have
 * not gone: only what is in service is healthy.
 */
static void
a_drop_is_judged_by_what_is_in_service(void **state)
{
	for (int lost = 0; lost < 2; lost++)
	{
		QsReplay	replay = calm_replay();
		QsBacktestPlan plan = minutes(10);

		(void) state;
		replay.policy.suspicious_drop_guard = true;
		load_is(0, 3, 95);
		load_is(3, 10, 5);
		assert_int_equal(wanted_of(&replay, &plan, 3, 8, 2), 10);
		assert_int_equal(replay.history.previous_in_service, 8);
		(void) wanted_of(&replay, &plan, 4, 8 - lost, 2 + lost);
		assert_int_equal(reasons[4], lost ? QS_REASON_SCALING_IN_PROGRESS :
						 QS_REASON_SUSPICIOUS_DROP);
	}
}

/* Each of the three, and each from the action that starts it. */
static void
each_cooldown_runs_from_its_own_action(void **state)
{
	static const struct
	{
		int			up,
					down,
					general;	/* minutes */
		double		then;		/* the load once it grew to five, or shrank
								 * from there to three */
		QsReason	expected[3];	/* in the three minutes after it */
	}			cases[] = {
		{2, 0, 0, 95, {QS_REASON_COOLDOWN_SCALE_UP,
		QS_REASON_DYNAMIC_SCALE_UP, QS_REASON_OPTIMAL_REACHED}},
		{2, 0, 0, 15, {QS_REASON_DYNAMIC_SCALE_DOWN,
		QS_REASON_OPTIMAL_REACHED, QS_REASON_OPTIMAL_REACHED}},
		{0, 2, 0, 15, {QS_REASON_DYNAMIC_SCALE_DOWN,
		QS_REASON_OPTIMAL_REACHED, QS_REASON_OPTIMAL_REACHED}},
		{0, 0, 2, 15, {QS_REASON_COOLDOWN_GENERAL,
		QS_REASON_DYNAMIC_SCALE_DOWN, QS_REASON_OPTIMAL_REACHED}},
		{0, 0, 2, 95, {QS_REASON_COOLDOWN_GENERAL,
		QS_REASON_DYNAMIC_SCALE_UP, QS_REASON_OPTIMAL_REACHED}}
	};
	QsReplay	replay;
	QsBacktestPlan plan = minutes(10);

	(void) state;
	plan.boot_ticks = 0;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		int			size = 1;

		replay = calm_replay();
		replay.policy.scale_up_cooldown_us = cases[i].up * 60 * US;
		replay.policy.scale_down_cooldown_us = cases[i].down * 60 * US;
		replay.policy.general_cooldown_us = cases[i].general * 60 * US;
		load_is(0, 3, 45);
		load_is(3, 10, cases[i].then);
		for (int tick = 3; tick < 7; tick++)
		{
			size = (int) wanted_of(&replay, &plan, tick, size, 0);
			if (tick == 3)
				assert_int_equal(size, 5);
			else
				assert_int_equal(reasons[tick], cases[i].expected[tick - 4]);
		}
	}

	/* that of shrinking runs from what shrank, not from what grew */
	replay = calm_replay();
	replay.policy.scale_down_cooldown_us = 3 * 60 * US;
	for (int tick = 0; tick < 10; tick++)
		loads[tick] = 95 - 10 * tick;
	(void) wanted_of(&replay, &plan, 3, 10, 0);
	assert_int_equal(reasons[3], QS_REASON_DYNAMIC_SCALE_DOWN);
	for (int tick = 4; tick <= 6; tick++)
	{
		(void) wanted_of(&replay, &plan, tick, 8, 0);
		assert_int_equal(reasons[tick], tick < 6 ?
						 QS_REASON_COOLDOWN_SCALE_DOWN :
						 QS_REASON_DYNAMIC_SCALE_DOWN);
	}
}

/* So many ticks late, and as old as that: decide() sees when it was. */
static void
a_late_load_is_late_and_known_to_be(void **state)
{
	(void) state;
	for (int delay = 0; delay < 4; delay++)
	{
		Witness    *witness = calloc(1, sizeof(Witness));
		QsBacktestPlan plan = minutes(12);

		assert_non_null(witness);
		witness->replay = calm_replay();
		plan.delay_ticks = delay;
		plan.boot_ticks = 3;
		load_is(0, 4, 5);
		load_is(4, 12, 35);
		play_witnessed(witness, &plan);
		/* over at the end of 4, ordered, booted */
		for (int tick = 0; tick < 12; tick++)
		{
			int			ordered = 5 + delay;

			assert_int_equal(reasons[tick], tick == ordered ?
							 QS_REASON_DYNAMIC_SCALE_UP :
							 QS_REASON_OPTIMAL_REACHED);
			assert_int_equal(witness->decided[tick], tick > ordered ? 4 : 1);
			assert_int_equal(witness->ready[tick],
							 tick >= ordered + 3 ? 4 : 1);
		}
		assert_true(witness->replay.history.previous_qps_at ==
					witness->replay.begin_us + (11 - delay) * 60 * US);
		free(witness);
	}
}

/* The mean of the ticks before, those that are missing left out. */
static void
a_window_is_the_mean_of_what_is_known_of_it(void **state)
{
	static const double expected[] = {10, 10, 15, 20, 35, 40, 50};
	QsReplay	replay = calm_replay();
	QsBacktestPlan plan = minutes(7);

	(void) state;
	replay.window_ticks = 3;
	for (int tick = 0; tick < 7; tick++)
		loads[tick] = 10 * (tick + 1);
	loads[3] = NAN;
	for (int tick = 0; tick < 7; tick++)
	{
		(void) wanted_of(&replay, &plan, tick, 5, 0);
		if (tick == 4)
			assert_true(replay.decision.load_qps == 25);
		else if (tick == 5)
			assert_true(replay.decision.load_qps == 40);
		else if (tick == 6)
			assert_true(replay.decision.load_qps == 55);
		else
			assert_true(replay.decision.load_qps == expected[tick]);
	}
}

/*
 * A tick's load, against what was in service in that tick by the policy's
 * target, as the worker tells it: not against what the fleet would really
 * carry, which the worker does not know.
 */
static double
witnessed_and_told(void *context, const QsBacktestView *view)
{
	Witness    *witness = context;
	double		wants = witnessed(context, view);
	int			last = view->known - 1;
	QsObserved	told = {
		.end_us = witness->replay.begin_us + view->known * 900 * US,
		.each = 10,
		.floor_load = 20,
		.share = 0.02
	};

	if (view->known == 0)
		return wants;
	told.load = loads[last];
	told.carried = witness->ready[last] * 10;
	told.frozen = witness->decided[view->tick] >= 9 || !witness->replay.steers;
	qs_prediction_observe(witness->prediction, &told);
	assert_memory_equal(witness->prediction, witness->replay.prediction,
						qs_prediction_bytes(&(QsPredictionPlan) {900, 1800}));
	return wants;
}

static void
the_prediction_is_told_what_a_worker_tells_it(void **state)
{
	const QsPredictionPlan predicted = {900, 1800};
	size_t		bytes = qs_prediction_bytes(&predicted);

	(void) state;
	for (int variant = 0; variant < 6; variant++)
	{
		Witness    *witness = calloc(1, sizeof(Witness));
		QsArena    *arena = qs_arena_new((size_t) 16 * 1024 * 1024);
		QsBacktestPlan plan = minutes(600);
		void	   *blocks[2] = {malloc(bytes), malloc(bytes)};
		QsBacktest	result;
		QsError		error;
		int			full = 0;
		int			short_of = 0;

		assert_true(witness != NULL && arena != NULL && blocks[0] != NULL &&
					blocks[1] != NULL);
		/* padding is compared, too */
		memset(blocks[0], 0, bytes);
		memset(blocks[1], 0, bytes);
		for (int i = 0; i < plan.count; i++)
			loads[i] = i % 97 == 96 ? NAN : 55 - 40 * cos(2 * M_PI * i / 96) +
				i * 7919 % 23 - (i % 48 == 30 ? 10 : 0);
		plan.tick_seconds = 900;
		plan.min = 2;
		plan.max = 9;
		plan.delay_ticks = variant % 3;
		plan.per_instance = variant < 3 ? 10 : 14;
		witness->replay = calm_replay();
		witness->replay.share = 0.02;
		witness->replay.steers = variant != 1;
		witness->replay.prediction =
			qs_prediction_begin(blocks[0], &predicted,
								witness->replay.begin_us + 1, 0.02);
		witness->prediction =
			qs_prediction_begin(blocks[1], &predicted,
								witness->replay.begin_us + 1, 0.02);
		assert_true(qs_backtest(&plan, witnessed_and_told, witness, 2, arena,
								NULL, &result, &error));
		for (int i = 0; i < plan.count; i++)
		{
			full += witness->decided[i] >= 9;
			short_of += loads[i] > witness->ready[i] * 10;
		}
		/* else nothing was shown */
		assert_true(full > 0 && full < 590 && short_of > 0);
		qs_arena_free(arena);
		free(blocks[0]);
		free(blocks[1]);
		free(witness);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_boots_blocks_shrinking_and_where_refused_growing),
		cmocka_unit_test(what_boots_is_not_ordered_again),
		cmocka_unit_test(a_drop_is_judged_by_what_is_in_service),
		cmocka_unit_test(each_cooldown_runs_from_its_own_action),
		cmocka_unit_test(a_late_load_is_late_and_known_to_be),
		cmocka_unit_test(a_window_is_the_mean_of_what_is_known_of_it),
		cmocka_unit_test(the_prediction_is_told_what_a_worker_tells_it),
	};

	return cmocka_run_group_tests_name("replay_fleet", tests, NULL, NULL);
}
