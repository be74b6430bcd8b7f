/*-------------------------------------------------------------------------
 * replay_world.h
 *		A policy that is calm and a fleet of minutes, for tests of the replay.
 *-------------------------------------------------------------------------
 */
#ifndef REPLAY_WORLD_H
#define REPLAY_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/replay.h"

#define US		INT64_C(1000000)
#define MOST	3000

static double loads[MOST];
static uint8_t reasons[MOST];

static inline QsReplay
calm_replay(void)
{
	QsReplay	replay;

	memset(&replay, 0, sizeof(replay));
	replay.policy.target_qps = 10;
	replay.policy.min_instances = QS_NO_LIMIT;
	replay.policy.max_instances = QS_NO_LIMIT;
	replay.policy.ceiling = QS_NO_LIMIT;
	replay.policy.armed = true;
	replay.policy.extension_enabled = true;
	replay.policy.writes_while_busy = true;
	replay.share = 0.01;
	replay.begin_us = INT64_C(20000) * 86400 * US;
	replay.window_ticks = 1;
	replay.reasons = reasons;
	return replay;
}

static inline QsBacktestPlan
minutes(int count)
{
	QsBacktestPlan plan = {
		.loads = loads, .count = count, .tick_seconds = 60,
		.per_instance = 10, .boot_ticks = 2, .min = 1, .max = 100
	};

	return plan;
}

static inline void
load_is(int from, int to, double load)
{
	for (int i = from; i < to; i++)
		loads[i] = load;
}

#endif							/* REPLAY_WORLD_H */
