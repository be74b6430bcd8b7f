/*-------------------------------------------------------------------------
 * test_backtest.c
 *		A fleet played against a known load: rules, predictor and metrics
 *		against an implementation in numpy, and that nobody sees the future.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/backtest.h"

#define TICKS	4000

static double loads[TICKS];

/* A day, noise, a burst in the second minute of each hour, gaps. */
static void
make_loads(double *loads, int count)
{
	for (int64_t t = 0; t < count; t++)
	{
		double		noise = (double) ((t * 7919 + (t * t % 1013) * 104729) %
									  1000) / 1000 - 0.5;

		loads[t] = 50 * (2 + sin(2 * M_PI * (double) (t * 60) / 86400)) *
			(1 + 0.4 * noise);
		if (t % 60 == 1)
			loads[t] *= 1.5;
		if (t % 97 == 13 || (t >= 2000 && t < 2040))
			loads[t] = NAN;
	}
}

static QsBacktestPlan
plan_of(int count, int delay)
{
	QsBacktestPlan plan = {
		.loads = loads,
		.count = count,
		.tick_seconds = 60,
		.scored_from = 1500,
		.per_instance = 7,
		.boot_ticks = 3,
		.delay_ticks = delay,
		.min = 2,
		.max = 2000
	};

	make_loads(loads, TICKS);
	return plan;
}

/* ---- against the reference ---- */

typedef struct Vector
{
	QsRuleKind	kind;
	int			delay;
	QsBacktestMetrics metrics;
} Vector;

static const Vector vectors[] = {
	{QS_RULE_ORIGINAL, 0, {2434, 2.09531635168, 0.472811254351, 785.266666667, 707.016666667, 1.11067631598, 77.8337246364, 0.324049532432, 25.8223938158, 2.09531635168, 92.8512736237, 124.239934265, 121.281840592, 171.569433032, 79.1516606643}},
	{QS_RULE_CEIL, 0, {2434, 21.0353327855, 1.91603138833, 774.583333333, 707.016666667, 1.09556587539, 87.1229367689, 2.1041620382, 12.9770333956, 21.0353327855, 63.7633525062, 604.634346754, 633.623664749, 1952.34182416, 79.3917567027}},
	{QS_RULE_HPA, 0, {2434, 1.3147082991, 0.307013078231, 882.833333333, 707.016666667, 1.2486740058, 70.7281060532, 0.195383371073, 39.2446135065, 1.3147082991, 97.3705834018, 57.3870172555, 80.4601479047, 311.191454396, 79.4317727091}},
	{QS_RULE_HPA, 2, {2434, 1.3147082991, 0.277271968966, 883.166666667, 707.016666667, 1.2491454704, 70.7094177345, 0.179424594355, 39.4369782442, 1.3147082991, 97.3294987675, 57.3870172555, 80.4601479047, 311.191454396, 78.7915166066}},
	{QS_RULE_TARGET_TRACKING, 0, {2434, 1.43796220214, 0.238239465172, 871.483333333, 707.016666667, 1.23262063601, 69.2378262419, 0.18289411304, 42.0289342989, 1.43796220214, 98.11010682, 20.1150369762, 8.8742810189, 39.0468364832, 81.31252501}},
	{QS_RULE_STABILIZED, 0, {2434, 0.821692686935, 0.187554001933, 941.733333333, 707.016666667, 1.33198180147, 65.7784824536, 0.11596563857, 50.2171515465, 0.821692686935, 98.9728841413, 68.6277732128, 71.5858668858, 213.574363188, 79.9519807923}},
	{QS_RULE_PANIC, 0, {2434, 20.9942481512, 1.90973706412, 775.433333333, 707.016666667, 1.09676811013, 87.1066385115, 2.0988503819, 13.0020397222, 20.9942481512, 63.7633525062, 603.451109285, 633.623664749, 1945.83401808, 79.4317727091}}
};

/* The predictor at the 0.95 quantile. */
static const QsBacktestMetrics of_predictor = {
	2434, 0.328677074774, 0.0367283125796, 785.65, 707.016666667, 1.11121850027,
	78.6846292225, 0.0240793531956, 24.2826807375, 0.328677074774,
	94.0016433854, 150.862777321, 162.103533279, 305.27526705, 76.3505402161
};

static void
check_metrics(const QsBacktestMetrics *seen, const QsBacktestMetrics *expected,
			  int number)
{
	static const struct
	{
		const char *name;
		size_t		at;
	}			members[] = {
		{"violation_time", offsetof(QsBacktestMetrics, violation_time)},
		{"violation_load", offsetof(QsBacktestMetrics, violation_load)},
		{"cost", offsetof(QsBacktestMetrics, cost)},
		{"oracle_cost", offsetof(QsBacktestMetrics, oracle_cost)},
		{"cost_ratio", offsetof(QsBacktestMetrics, cost_ratio)},
		{"utilization", offsetof(QsBacktestMetrics, utilization)},
		{"under_provisioned", offsetof(QsBacktestMetrics, under_provisioned)},
		{"over_provisioned", offsetof(QsBacktestMetrics, over_provisioned)},
		{"time_under", offsetof(QsBacktestMetrics, time_under)},
		{"time_over", offsetof(QsBacktestMetrics, time_over)},
		{"ups_per_day", offsetof(QsBacktestMetrics, ups_per_day)},
		{"downs_per_day", offsetof(QsBacktestMetrics, downs_per_day)},
		{"launches_per_day", offsetof(QsBacktestMetrics, launches_per_day)},
		{"instability", offsetof(QsBacktestMetrics, instability)}
	};

	assert_int_equal(seen->scored, expected->scored);
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
	{
		double		a = *(const double *) ((const char *) seen + members[i].at);
		double		b = *(const double *) ((const char *) expected +
										   members[i].at);

		if (!(fabs(a - b) <= 1e-6 * fabs(b)))
			fail_msg("policy %d, %s: saw %.12g, expected %.12g", number,
					 members[i].name, a, b);
	}
}

static void
play_rule(const QsBacktestPlan *plan, QsRuleKind kind, QsArena *arena,
		  QsBacktest *result)
{
	QsRule		rule = qs_rule(kind, 0.8);
	QsError		error;

	if (!qs_backtest(plan, qs_rule_wants, &rule,
					 qs_rule_ready_at_first(&rule, plan), arena, NULL, result,
					 &error))
		fail_msg("%s", error.message);
}

static void
play_predictor(const QsBacktestPlan *plan, double quantile, double share,
			   QsArena *arena, QsBacktest *result)
{
	QsForesight foresight;
	QsError		error;
	void	   *block = qs_arena_alloc(arena, qs_foresight_bytes(plan));

	assert_true(qs_foresight_begin(&foresight, block, plan, quantile, share));
	if (!qs_backtest(plan, qs_foresight_wants, &foresight, 2, arena, NULL,
					 result, &error))
		fail_msg("%s", error.message);
}

static void
metrics_of_rules_agree_with_the_reference(void **state)
{
	QsArena    *arena = qs_arena_new(16 * 1024 * 1024);

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
	{
		QsBacktestPlan plan = plan_of(TICKS, vectors[i].delay);
		QsBacktest	result;

		qs_arena_reset(arena);
		play_rule(&plan, vectors[i].kind, arena, &result);
		check_metrics(&result.metrics, &vectors[i].metrics, (int) i);
	}
	qs_arena_free(arena);
}

static void
metrics_of_the_predictor_agree_with_the_reference(void **state)
{
	QsArena    *arena = qs_arena_new(16 * 1024 * 1024);
	QsBacktestPlan plan = plan_of(TICKS, 0);
	QsBacktest	result;

	play_predictor(&plan, 0.95, 0, arena, &result);
	check_metrics(&result.metrics, &of_predictor, -1);
	qs_arena_free(arena);
}

/* ---- honesty ---- */

/* What was wanted in a tick does not depend on what comes after it. */
static void
the_future_is_not_seen(void **state)
{
	QsArena    *arena = qs_arena_new(32 * 1024 * 1024);
	QsBacktestPlan all = plan_of(TICKS, 0);
	QsBacktestPlan cut = plan_of(2500, 0);

	for (int kind = -1; kind <= (int) QS_RULE_PANIC; kind++)
	{
		QsBacktest	long_one;
		QsBacktest	short_one;

		qs_arena_reset(arena);
		if (kind < 0)
		{
			play_predictor(&all, 0, 0.01, arena, &long_one);
			play_predictor(&cut, 0, 0.01, arena, &short_one);
		}
		else
		{
			play_rule(&all, (QsRuleKind) kind, arena, &long_one);
			play_rule(&cut, (QsRuleKind) kind, arena, &short_one);
		}
		for (int t = 0; t < 2500; t++)
		{
			if (long_one.desired[t] != short_one.desired[t])
				fail_msg("policy %d wants %g in tick %d, and %g without the"
						 " future", kind, long_one.desired[t], t,
						 short_one.desired[t]);
		}
	}
	qs_arena_free(arena);
}

/* The newest value that a policy gets is of the tick before, or earlier. */
static double
check_view(void *context, const QsBacktestView *view)
{
	int			delay = *(int *) context;

	if (view->tick > delay)
	{
		assert_int_equal(view->known, view->tick - delay);
		assert_memory_equal(&view->newest, &view->loads[view->tick - 1 - delay],
							sizeof(double));
	}
	return 20;
}

static void
a_load_is_seen_a_tick_later_or_when_it_is_known(void **state)
{
	QsArena    *arena = qs_arena_new(16 * 1024 * 1024);

	for (int delay = 0; delay <= 5; delay += 5)
	{
		QsBacktestPlan plan = plan_of(TICKS, delay);
		QsBacktest	result;
		QsError		error;

		qs_arena_reset(arena);
		assert_true(qs_backtest(&plan, check_view, &delay, 20, arena, NULL,
								&result, &error));
	}
	qs_arena_free(arena);
}

/* ---- the fleet ---- */

/* Swings, and writes down which instances it is told to have served. */
static double
swing(void *context, const QsBacktestView *view)
{
	((double *) context)[view->tick] = view->served_by;
	return view->tick % 3 == 0 ? 20 : 4;
}

static void
a_policy_is_told_what_served_the_newest_load(void **state)
{
	QsArena    *arena = qs_arena_new(16 * 1024 * 1024);
	static double told[TICKS];

	for (int delay = 0; delay <= 4; delay += 4)
	{
		QsBacktestPlan plan = plan_of(TICKS, delay);
		QsBacktest	result;
		QsError		error;

		qs_arena_reset(arena);
		assert_true(qs_backtest(&plan, swing, told, 20, arena, NULL, &result,
								&error));
		for (int t = delay + 1; t < TICKS; t++)
			assert_true(told[t] == result.ready[t - 1 - delay]);
	}
	qs_arena_free(arena);
}

/*
 * After ten days: not exceeded, and not undercut by far although an outburst
 * in each hour lies between two of the quantiles.
 */
static void
the_share_of_violations_is_about_kept(void **state)
{
	static double fortnight[20000];
	QsArena    *arena = qs_arena_new(32 * 1024 * 1024);
	QsBacktestPlan plan = plan_of(TICKS, 0);
	QsBacktest	result;

	make_loads(fortnight, 20000);
	plan.loads = fortnight;
	plan.count = 20000;
	plan.scored_from = 14400;
	play_predictor(&plan, 0, 0.02, arena, &result);
	if (result.metrics.violation_time < 1 ||
		result.metrics.violation_time > 2.1)
		fail_msg("%g %% of the time instead of 2",
				 result.metrics.violation_time);
	qs_arena_free(arena);
}

static double
wants_from_list(void *context, const QsBacktestView *view)
{
	return ((const double *) context)[view->tick];
}

static void
instances_boot_and_the_newest_go_first(void **state)
{
	static const double calm[8] = {10, 10, 10, 10, 10, 10, 10, 10};
	static double wanted[8] = {2, 5, 7, 6, 6, 3, 3, 1};
	/* 3 launched in tick 1 come in 4; of 2 launched in 2 one is given up in 3 */
	static const double ready[8] = {2, 2, 2, 2, 5, 3, 3, 2};
	static const double billed[8] = {2, 5, 7, 6, 6, 3, 3, 2};
	QsArena    *arena = qs_arena_new(1024 * 1024);
	QsBacktestPlan plan = {calm, 8, 60, 0, 7, 3, 0, 2, 100};
	QsBacktest	result;
	QsError		error;

	assert_true(qs_backtest(&plan, wants_from_list, wanted, 2, arena, NULL,
							&result, &error));
	for (int t = 0; t < 8; t++)
	{
		if (result.ready[t] != ready[t] || result.billed[t] != billed[t])
			fail_msg("tick %d: %g ready and %g billed, expected %g and %g", t,
					 result.ready[t], result.billed[t], ready[t], billed[t]);
	}
	qs_arena_free(arena);
}

/* A gap of up to a boot is waited through, a longer one costs a boot. */
static void
the_oracle_keeps_an_instance_through_a_short_gap(void **state)
{
	static const double need[] = {1, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2};
	QsArena    *arena = qs_arena_new(1024 * 1024);
	double		cost;

	assert_true(qs_backtest_oracle(need, 12, 2, arena, &cost));
	/* level 1: 12; level 2: 3 ticks, 2 to boot, a gap of 2, another boot */
	assert_true(cost == 12 + 3 + 2 + 2 + 2);
	qs_arena_free(arena);
}

/* Level by level, as its definition has it. */
static double
oracle_by_levels(const double *need, int count, int boot)
{
	double		cost = 0;

	for (int level = 1; level <= 40; level++)
	{
		int			last = 0;

		for (int t = 0; t < count; t++)
		{
			if (need[t] < level)
				continue;
			cost += 1 + (t - last < boot ? t - last : boot);
			last = t + 1;
		}
	}
	return cost;
}

static void
the_oracle_is_that_of_its_definition(void **state)
{
	uint32_t	seed = 20;

	(void) state;
	for (int run = 0; run < 2000; run++)
	{
		double		need[40];
		int			count = run % 41;
		int			boot = run / 41 % 7;
		double		cost;
		QsArena    *arena = qs_arena_new(65536);

		for (int t = 0; t < count; t++)
		{
			seed = seed * 1664525u + 1013904223u;
			need[t] = (seed >> 28) * (seed >> 16 & 1) + (seed >> 20 & 7) * 3;
		}
		assert_true(qs_backtest_oracle(need, count, boot, arena, &cost));
		assert_true(cost == oracle_by_levels(need, count, boot));
		qs_arena_free(arena);
	}
}

/* Hundreds of thousands of ticks, each with another largest fleet: what took
 * minutes, during which nobody could cancel it. */
static void
the_oracle_of_a_huge_fleet_takes_no_longer(void **state)
{
	int			count = 500000;
	double	   *need = malloc(sizeof(double) * (size_t) count);
	QsArena    *arena = qs_arena_new((size_t) 64 * 1024 * 1024);
	double		cost;
	clock_t		begin = clock();

	(void) state;
	assert_true(need != NULL && arena != NULL);
	for (int t = 0; t < count; t++)
		need[t] = t % 2 == 0 ? 0 : t % 3 == 0 ? 1e300 : 50000 + t % 10007;
	assert_true(qs_backtest_oracle(need, count, 5, arena, &cost));
	assert_true(cost > 1e10 && isfinite(cost));
	assert_true(clock() - begin < 10 * CLOCKS_PER_SEC);
	qs_arena_free(arena);
	free(need);
}

/* ----------
 * Any load at all
 * ----------
 */

/* Constants, nothing, gaps, huge, tiny, all of them mixed. */
static double
any_load(int kind, int t)
{
	static const double odd[] = {0, 1e300, 1e-300, 5, 1e12, NAN, 1, 1e308};

	switch (kind)
	{
		case 0:
			return 50;
		case 1:
			return 0;
		case 2:
			return NAN;
		case 3:
			return t % 7 < 3 ? NAN : 40 + t % 13;
		case 4:
			return 1e300;
		case 5:
			return 1e-300;
		case 6:
			return odd[(t * 31 + t / 8) % 8];
		default:
			return 50 + 40 * sin(t / 9.0) + t * 7919 % 17;
	}
}

#define KINDS	8

static void
assert_sound(const QsBacktestPlan *plan, const QsBacktest *result)
{
	const QsBacktestMetrics *m = &result->metrics;
	const double shares[] = {m->violation_time, m->violation_load,
	m->utilization, m->time_under, m->time_over, m->instability};
	const double others[] = {m->cost, m->oracle_cost, m->cost_ratio,
		m->under_provisioned, m->over_provisioned, m->ups_per_day,
	m->downs_per_day, m->launches_per_day};

	for (int t = 0; t < plan->count; t++)
	{
		assert_true(result->desired[t] >= plan->min &&
					result->desired[t] <= plan->max);
		assert_true(result->ready[t] >= 0 && result->ready[t] <= plan->max);
		assert_true(result->billed[t] >= result->ready[t]);
	}
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		assert_true(shares[i] >= 0 && shares[i] <= 100 * (1 + 1e-9));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_true(others[i] >= 0 && isfinite(others[i]));
	/* of the ticks without data no more than the others is missing */
	assert_true(m->scored >= 0 && m->scored <= plan->count -
				plan->scored_from);
}

static void
any_load_of_any_length_gives_sound_measures(void **state)
{
	static const int lengths[] = {1, 2, 3, 5, 24, 25, 97, 300};
	static double series[300];

	(void) state;
	for (int kind = 0; kind < KINDS; kind++)
	{
		for (size_t l = 0; l < sizeof(lengths) / sizeof(lengths[0]); l++)
		{
			QsBacktestPlan plan = {
				.loads = series, .count = lengths[l], .tick_seconds = 300,
				.scored_from = lengths[l] / 3, .per_instance = 10,
				.boot_ticks = kind % 4, .delay_ticks = kind % 3,
				.min = kind % 2, .max = 1000
			};

			for (int t = 0; t < plan.count; t++)
				series[t] = any_load(kind, t);
			for (int rule = QS_RULE_ORIGINAL; rule <= QS_RULE_PANIC + 1; rule++)
			{
				QsArena    *arena = qs_arena_new(4 * 1024 * 1024);
				QsRule		reactive = qs_rule(rule <= QS_RULE_PANIC ?
											   (QsRuleKind) rule :
											   QS_RULE_CEIL, 0.7);
				void	   *block = malloc(qs_foresight_bytes(&plan));
				QsForesight foresight;
				QsBacktest	result;
				QsError		error;

				assert_true(qs_foresight_begin(&foresight, block, &plan, 0,
											   0.01));
				assert_true(qs_backtest(&plan, rule <= QS_RULE_PANIC ?
										qs_rule_wants : qs_foresight_wants,
										rule <= QS_RULE_PANIC ?
										(void *) &reactive : &foresight,
										0, arena, NULL, &result, &error));
				assert_sound(&plan, &result);
				qs_arena_free(arena);
				free(block);
			}
		}
	}
}

static void
no_load_at_all_is_refused(void **state)
{
	QsBacktestPlan plan = {.count = 0, .tick_seconds = 60, .per_instance = 1,
	.max = 10};
	QsArena    *arena = qs_arena_new(65536);
	QsRule		rule = qs_rule(QS_RULE_CEIL, 1);
	QsBacktest	result;
	QsError		error;

	(void) state;
	assert_false(qs_backtest(&plan, qs_rule_wants, &rule, 1, arena, NULL,
							 &result, &error));
	assert_string_equal(error.code, "count");
	qs_arena_free(arena);
}

static void
nobody_is_cheaper_than_the_oracle_without_violations(void **state)
{
	QsArena    *arena = qs_arena_new(16 * 1024 * 1024);
	QsBacktestPlan plan = plan_of(TICKS, 0);
	QsBacktest	result;

	for (double quantile = 0.5; quantile < 1; quantile += 0.1)
	{
		qs_arena_reset(arena);
		play_predictor(&plan, quantile, 0, arena, &result);
		assert_true(result.metrics.cost_ratio >= 1 ||
					result.metrics.violation_time > 0);
	}
	qs_arena_free(arena);
}

/* ---- the caller's limits ---- */

static bool
always(void *context)
{
	return true;
}

static void
a_cancelled_backtest_says_so(void **state)
{
	QsArena    *arena = qs_arena_new(16 * 1024 * 1024);
	QsBacktestPlan plan = plan_of(TICKS, 0);
	QsRule		rule = qs_rule(QS_RULE_CEIL, 0.8);
	QsCancel	cancel = {always, NULL};
	QsBacktest	result;
	QsError		error;

	assert_false(qs_backtest(&plan, qs_rule_wants, &rule, 2, arena, &cancel,
							 &result, &error));
	assert_string_equal(error.code, "cancelled");
	qs_arena_free(arena);
}

static void
plans_out_of_bounds_are_refused(void **state)
{
	QsArena    *arena = qs_arena_new(1024 * 1024);
	QsRule		rule = qs_rule(QS_RULE_CEIL, 0.8);
	QsBacktestPlan good = plan_of(10, 0);
	QsBacktestPlan refused[10];
	QsBacktest	result;
	QsError		error;

	good.scored_from = 0;
	for (int i = 0; i < 10; i++)
		refused[i] = good;
	refused[0].count = 0;
	refused[1].per_instance = 0;
	refused[2].per_instance = NAN;
	refused[3].tick_seconds = -1;
	refused[4].boot_ticks = -1;
	refused[5].min = 5;
	refused[5].max = 4;
	refused[6].scored_from = 10;
	refused[7].delay_ticks = QS_BACKTEST_MAX_BOOT + 1;
	refused[8].tick_seconds = 7e37;
	refused[9].tick_seconds = 1e-300;
	for (int i = 0; i < 10; i++)
		assert_false(qs_backtest(&refused[i], qs_rule_wants, &rule, 2, arena,
								 NULL, &result, &error));
	assert_true(qs_backtest(&good, qs_rule_wants, &rule, 2, arena, NULL,
							&result, &error));
	qs_arena_free(arena);
}

static void
a_load_that_is_never_known_is_not_scored(void **state)
{
	static const double nothing[3] = {NAN, NAN, NAN};
	QsArena    *arena = qs_arena_new(1024 * 1024);
	QsBacktestPlan plan = {nothing, 3, 60, 0, 7, 1, 0, 2, 100};
	QsRule		rule = qs_rule(QS_RULE_HPA, 0.8);
	QsBacktest	result;
	QsError		error;

	assert_true(qs_backtest(&plan, qs_rule_wants, &rule, 2, arena, NULL,
							&result, &error));
	assert_int_equal(result.metrics.scored, 0);
	assert_true(result.metrics.cost == 0 && result.metrics.cost_ratio == 0);
	qs_arena_free(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(metrics_of_rules_agree_with_the_reference),
		cmocka_unit_test(metrics_of_the_predictor_agree_with_the_reference),
		cmocka_unit_test(the_future_is_not_seen),
		cmocka_unit_test(a_load_is_seen_a_tick_later_or_when_it_is_known),
		cmocka_unit_test(a_policy_is_told_what_served_the_newest_load),
		cmocka_unit_test(the_share_of_violations_is_about_kept),
		cmocka_unit_test(instances_boot_and_the_newest_go_first),
		cmocka_unit_test(the_oracle_keeps_an_instance_through_a_short_gap),
		cmocka_unit_test(the_oracle_is_that_of_its_definition),
		cmocka_unit_test(the_oracle_of_a_huge_fleet_takes_no_longer),
		cmocka_unit_test(any_load_of_any_length_gives_sound_measures),
		cmocka_unit_test(no_load_at_all_is_refused),
		cmocka_unit_test(nobody_is_cheaper_than_the_oracle_without_violations),
		cmocka_unit_test(a_cancelled_backtest_says_so),
		cmocka_unit_test(plans_out_of_bounds_are_refused),
		cmocka_unit_test(a_load_that_is_never_known_is_not_scored)
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
