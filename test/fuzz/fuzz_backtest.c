/*-------------------------------------------------------------------------
 * fuzz_backtest.c
 *		Any load, played by any rule or by a group's own policy: sound
 *		measures or a refusal, the same each time, and no look ahead.
 *
 * Input: lines "NAME NUMBER" that set up what is played, names as in words[];
 * other lines are loads, one per tick, "nan" where none is known.  "by" is the
 * number of a rule; above these the policy, without and with prediction.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <math.h>

#include "core/replay.h"

#define US			INT64_C(1000000)
#define MOST		400
#define BY_POLICY	(QS_RULE_PANIC + 1)

typedef struct Setup
{
	double		tick,
				per_instance,
				boot,
				delay,
				least,
				most,
				warm,
				by,
				target,
				share,
				window,
				cooldown,
				tolerance,
				ready;
} Setup;

static const struct
{
	const char *name;
	size_t		at;
}			words[] = {
	{"tick", offsetof(Setup, tick)},
	{"per_instance", offsetof(Setup, per_instance)},
	{"boot", offsetof(Setup, boot)},
	{"delay", offsetof(Setup, delay)},
	{"min", offsetof(Setup, least)},
	{"max", offsetof(Setup, most)},
	{"warm", offsetof(Setup, warm)},
	{"by", offsetof(Setup, by)},
	{"target", offsetof(Setup, target)},
	{"share", offsetof(Setup, share)},
	{"window", offsetof(Setup, window)},
	{"cooldown", offsetof(Setup, cooldown)},
	{"tolerance", offsetof(Setup, tolerance)},
	{"ready", offsetof(Setup, ready)},
};

static bool
set_up(Setup *setup, char *line)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		size_t		length = strlen(words[i].name);

		if (strncmp(line, words[i].name, length) == 0 && line[length] == ' ')
		{
			double		number = strtod(line + length, NULL);

			memcpy((char *) setup + words[i].at, &number, sizeof(number));
			return true;
		}
	}
	return false;
}

/* The bounds that SQL puts to what is given as an int. */
static int
integer(double number)
{
	if (isnan(number))
		return 0;
	return (int) fmin(fmax(number, -2000000), 2000000);
}

static QsReplay
replay_of(const Setup *setup, void *block)
{
	QsPredictionPlan predicted = {integer(setup->tick),
	integer(setup->boot * setup->tick)};
	QsReplay	replay;

	memset(&replay, 0, sizeof(replay));
	replay.policy = (QsPolicy)
	{
		.target_qps = setup->per_instance,
		.min_instances = QS_NO_LIMIT, .max_instances = QS_NO_LIMIT,
		.ceiling = QS_NO_LIMIT, .armed = true, .extension_enabled = true,
		.writes_while_busy = true, .suspicious_drop_guard = true,
		.scale_up_cooldown_us = integer(setup->cooldown) * US,
		.scale_down_window_us = integer(setup->window) * US,
		.scale_up_tolerance = setup->tolerance
	};
	replay.share = setup->share;
	replay.begin_us = INT64_C(20000) * 86400 * US;
	replay.window_ticks = 1 + abs(integer(setup->window)) % 50;
	replay.steers = setup->by > BY_POLICY;
	if (replay.steers && block != NULL)
		replay.prediction = qs_prediction_begin(block, &predicted,
												replay.begin_us + 1,
												setup->share);
	return replay;
}

static bool
play(const Setup *setup, const QsBacktestPlan *plan, QsArena *arena,
	 QsBacktest *result, QsError *error)
{
	QsPredictionPlan predicted = {integer(setup->tick),
	integer(setup->boot * setup->tick)};
	size_t		bytes = qs_prediction_bytes(&predicted);
	void	   *block = bytes > 0 ? calloc(1, bytes) : NULL;
	QsReplay	replay = replay_of(setup, block);
	int			kind = abs(integer(setup->by));
	QsRule		rule = qs_rule((QsRuleKind) (kind % BY_POLICY), setup->target);
	bool		by_rule = kind < BY_POLICY;
	bool		played = qs_backtest(plan, by_rule ? qs_rule_wants :
									 qs_replay_wants,
									 by_rule ? (void *) &rule : &replay,
									 integer(setup->ready), arena, NULL,
									 result, error);

	free(block);
	return played;
}

static void
check(const QsBacktestPlan *plan, const QsBacktest *result)
{
	const QsBacktestMetrics *m = &result->metrics;
	const double numbers[] = {m->violation_time, m->violation_load, m->cost,
		m->oracle_cost, m->cost_ratio, m->utilization, m->under_provisioned,
		m->over_provisioned, m->time_under, m->time_over, m->ups_per_day,
	m->downs_per_day, m->launches_per_day, m->instability};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		PROMISE(numbers[i] >= 0);
	PROMISE(m->violation_time <= 100.001 && m->violation_load <= 100.001);
	PROMISE(m->utilization <= 100.001 && m->instability <= 100.001);
	PROMISE(m->scored <= plan->count - plan->scored_from);
	for (int t = 0; t < plan->count; t++)
	{
		PROMISE(result->desired[t] >= plan->min);
		PROMISE(result->desired[t] <= plan->max);
		PROMISE(result->ready[t] >= 0);
		PROMISE(result->billed[t] >= result->ready[t]);
		PROMISE(result->billed[t] <= fmax(plan->max, plan->min));
	}
}

/* Without the ticks that come later nothing else is decided. */
static void
check_prefix(const Setup *setup, const QsBacktestPlan *plan,
			 const QsBacktest *whole)
{
	QsArena    *arena = qs_arena_new(1024 * 1024);
	QsBacktestPlan part = *plan;
	QsBacktest	result;
	QsError		error;

	part.count = 1 + plan->count / 2;
	part.scored_from = 0;
	PROMISE(arena != NULL);
	PROMISE(play(setup, &part, arena, &result, &error));
	for (int t = 0; t < part.count; t++)
		PROMISE(result.desired[t] == whole->desired[t]);
	qs_arena_free(arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static double loads[MOST];
	Lines		lines = {(const char *) data, size};
	Setup		setup = {.tick = 300, .per_instance = 10, .boot = 1,
		.least = 1, .most = 100, .target = 0.7, .share = 0.01};
	QsBacktestPlan plan = {.loads = loads};
	QsArena    *arena = qs_arena_new(1024 * 1024);
	QsBacktest	result;
	QsError		error;

	while (lines.left > 0 && plan.count < MOST)
	{
		char	   *line = next_line(&lines);

		/* what SQL lets through */
		if (!set_up(&setup, line))
		{
			double		load = strtod(line, NULL);

			if (!(load < 0) && !isinf(load))
				loads[plan.count++] = load;
		}
		free(line);
	}
	plan.tick_seconds = setup.tick;
	plan.per_instance = setup.per_instance;
	plan.boot_ticks = integer(setup.boot);
	plan.delay_ticks = integer(setup.delay);
	plan.min = integer(setup.least);
	plan.max = integer(setup.most);
	plan.scored_from = integer(setup.warm);
	PROMISE(arena != NULL);
	if (play(&setup, &plan, arena, &result, &error))
	{
		check(&plan, &result);
		check_prefix(&setup, &plan, &result);
	}
	else
		check_error(&error);
	qs_arena_free(arena);
	return 0;
}
