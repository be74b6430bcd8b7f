/*-------------------------------------------------------------------------
 * outage.c
 *		What outages cost: part of what "make bench" prints about fleets that
 *		follow real loads.
 *
 * Every 31 hours nobody gets through for two hours, and all try again for an
 * hour, 1.4 times as many as there would have been.  A group's own policy is
 * played by decide(), with prediction and without.  Beside it, what a fleet
 * would have lost that stood still from the minute in which it broke: no guard
 * that only keeps what is there can do better.
 *-------------------------------------------------------------------------
 */
#include "fleets.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/replay.h"

#define US				INT64_C(1000000)
#define APART_S			(31 * 3600)
#define OUTAGE_S		(2 * 3600)
#define STORM_S			3600
#define STORM			1.4
#define WANTED_LOST		2.7		/* per cent of the first hour */

/* What is left of the load, or that nothing is known of it. */
static const struct
{
	const char *name;
	double		left;
}			kinds[] = {
	{"no load", 0},
	{"2 % of it", 0.02},
	{"not known", NAN}
};

#define KINDS	((int) (sizeof(kinds) / sizeof(kinds[0])))

typedef struct Outages
{
	int			first;			/* tick */
	int			apart;			/* ticks, as the others */
	int			outage;
	int			storm;
} Outages;

static Outages
outages_of(const QsBacktestPlan *plan)
{
	int			tick = (int) plan->tick_seconds;
	Outages		outages = {plan->scored_from, APART_S / tick,
	OUTAGE_S / tick, STORM_S / tick};

	return outages;
}

/* Ticks since the outage before began, < 0 where there was none. */
static int
since(const Outages *outages, int tick)
{
	return tick < outages->first ? -1 :
		(tick - outages->first) % outages->apart;
}

static void
break_loads(const QsBacktestPlan *plan, double left, double *broken)
{
	Outages		outages = outages_of(plan);

	for (int t = 0; t < plan->count; t++)
	{
		int			after = since(&outages, t);

		broken[t] = plan->loads[t];
		if (after >= 0 && after < outages.outage)
			broken[t] = isnan(left) ? NAN : broken[t] * left;
		else if (after >= 0 && after < outages.outage + outages.storm)
			broken[t] *= STORM;
	}
}

static QsReplay
replay_of(const QsBacktestPlan *plan, void *block, size_t bytes, bool steers)
{
	QsPredictionPlan predicted = {(int) plan->tick_seconds,
	(int) (plan->boot_ticks * plan->tick_seconds)};
	QsReplay	replay;

	memset(&replay, 0, sizeof(replay));
	replay.policy = (QsPolicy)
	{
		.target_qps = plan->per_instance, .min_instances = QS_NO_LIMIT,
		.max_instances = QS_NO_LIMIT, .ceiling = QS_NO_LIMIT,
		.armed = true, .extension_enabled = true, .writes_while_busy = true,
		.scale_down_window_us = 300 * US
	};
	replay.share = 0.01;
	replay.begin_us = INT64_C(20000) * 86400 * US;
	replay.window_ticks = 1;
	replay.steers = steers;
	memset(block, 0, bytes);
	if (steers)
		replay.prediction = qs_prediction_begin(block, &predicted,
												replay.begin_us + 1, 0.01);
	return replay;
}

typedef struct Lost
{
	double		mean;			/* per cent of what came in the hours after */
	double		worst;			/* of one of them */
	double		worst_still;	/* of that one, of a fleet that stood still */
	double		still;			/* mean of a fleet that stood still */
	int			outages;
	int			too_much;		/* of them */
	double		cost;			/* instance ticks in the outages */
} Lost;

static Lost
lost_of(const QsBacktestPlan *plan, const QsBacktest *result)
{
	Outages		outages = outages_of(plan);
	Lost		lost = {0};
	double		asked = 0;

	for (int from = outages.first;
		 from + outages.outage + outages.storm <= plan->count;
		 from += outages.apart)
	{
		int			back = from + outages.outage;
		double		came = 0;
		double		gone = 0;
		double		still = 0;

		for (int t = from; t < back; t++)
			lost.cost += result->billed[t];
		for (int t = back; t < back + outages.storm; t++)
		{
			double		load = plan->loads[t];

			if (isnan(load))
				continue;
			came += load;
			gone += fmax(load - result->ready[t] * plan->per_instance, 0);
			still += fmax(load - result->billed[from] * plan->per_instance,
						  0);
		}
		if (!(came > 0))
			continue;
		asked += came;
		lost.mean += gone;
		lost.still += still;
		lost.outages++;
		lost.too_much += 100 * gone / came > WANTED_LOST;
		if (100 * gone / came <= lost.worst)
			continue;
		lost.worst = 100 * gone / came;
		lost.worst_still = 100 * still / came;
	}
	lost.mean *= 100 / asked;
	lost.still *= 100 / asked;
	return lost;
}

static Lost
play_outages(const QsBacktestPlan *plan, bool steers)
{
	QsPredictionPlan predicted = {(int) plan->tick_seconds,
	(int) (plan->boot_ticks * plan->tick_seconds)};
	size_t		bytes = qs_prediction_bytes(&predicted);
	void	   *block = malloc(bytes);
	QsArena    *arena = qs_arena_new(64 * 1024 * 1024);
	QsReplay	replay = replay_of(plan, block, bytes, steers);
	QsBacktest	result;
	QsError		error;
	Lost		lost;

	if (!qs_backtest(plan, qs_replay_wants, &replay, plan->min, arena, NULL,
					 &result, &error))
	{
		fprintf(stderr, "%s\n", error.message);
		exit(1);
	}
	lost = lost_of(plan, &result);
	qs_arena_free(arena);
	free(block);
	return lost;
}

void
measure_outages(const QsBacktestPlan *plan)
{
	double	   *broken = malloc(sizeof(double) * (size_t) plan->count);
	QsBacktestPlan played = *plan;

	played.loads = broken;
	for (int i = 0; i < KINDS; i++)
	{
		Lost		with;
		Lost		without;

		break_loads(plan, kinds[i].left, broken);
		with = play_outages(&played, true);
		without = play_outages(&played, false);
		printf("  outages, %-10s %5.1f %% of the hour after them lost (wanted:"
			   " at most %.1f%s), %.1f without prediction, %.1f standing still;\n"
			   "    %d of %d lost more, at worst %.1f %% (%.1f standing still);"
			   " cost while they last x %.1f\n", kinds[i].name, with.mean,
			   WANTED_LOST, with.mean <= WANTED_LOST ? "" : ": MISSED",
			   without.mean, with.still, with.too_much, with.outages,
			   with.worst, with.worst_still, with.cost / without.cost);
	}
	free(broken);
}
