/*-------------------------------------------------------------------------
 * test_hpa_ramp.c
 *		A ramp to four times the load, with instances that take 300 s to boot:
 *		decide() is never slower than the rule of the Kubernetes autoscaler.
 *
 * Both see the same load at the same moments, every 15 s, and both grow a
 * cloud of their own.  The rule is that of horizontal pod autoscalers for a
 * metric of all pods: hold within 10 percent of the target; else the load
 * over the target, where pods that boot count as idle, bounded by the larger
 * of twice the pods and four more in 15 s.  It knows no cooldown for growth,
 * so the policy compared has none either.  With a cooldown decide() is late
 * by no more than that cooldown.
 *
 * The load comes as requests per second, and as the use that it makes of those
 * instances that serve, as a monitor of processors sees it.  That is where a
 * boot invites to order twice: the few that serve are overloaded for as long
 * as the others boot.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "decide_world.h"

#define TARGET		10.0		/* per instance */
#define BEGIN		5			/* instances, as the load takes */
#define BOOT_S		300
#define TICK_S		15
#define N_TICKS		240			/* an hour */

/* Instances of one autoscaler, by when they are in service. */
typedef struct Fleet
{
	int			desired[N_TICKS];
	int			in_service[N_TICKS];
} Fleet;

typedef struct Ramp
{
	double		seconds;		/* from the load it had to four times that */
	double		noise;			/* share, up and down in turn */
} Ramp;

static double
load_at(const Ramp *ramp, int tick)
{
	double		at = tick * TICK_S - 60.0;
	double		share = at <= 0 ? 0 : at >= ramp->seconds ? 1 :
		at / ramp->seconds;
	double		noise = tick % 2 == 0 ? ramp->noise : -ramp->noise;

	return BEGIN * TARGET * (1 + 3 * share) * (1 + noise);
}

/* What was desired BOOT_S ago is in service now. */
static int
served_at(const Fleet *fleet, int tick)
{
	int			ago = tick - BOOT_S / TICK_S;

	return ago < 0 ? BEGIN : fleet->desired[ago];
}

/* One sync of the rule; only growth is compared, so it never shrinks. */
static int
hpa_rule(int pods, int ready, double load)
{
	double		ratio = load / (TARGET * ready);
	int			proposed;
	int			most = pods * 2 > pods + 4 ? pods * 2 : pods + 4;

	/* pods that boot are taken for idle when the rest is above the target */
	if (pods > ready && ratio > 1)
	{
		double		rest = ratio * ready / pods;

		if (rest <= 1.1)
			return pods;
		proposed = (int) ceil(rest * pods - 1e-9);
	}
	else if (fabs(ratio - 1) <= 0.1)
		return pods;
	else
		proposed = (int) ceil(ratio * ready - 1e-9);
	if (proposed > most)
		proposed = most;
	return proposed > pods ? proposed : pods;
}

static void
run_hpa(const Ramp *ramp, Fleet *fleet)
{
	int			pods = BEGIN;

	for (int tick = 0; tick < N_TICKS; tick++)
	{
		fleet->in_service[tick] = served_at(fleet, tick);
		pods = hpa_rule(pods, fleet->in_service[tick], load_at(ramp, tick));
		fleet->desired[tick] = pods;
	}
}

/* What our policy goes by. */
typedef enum Driver
{
	BY_REQUESTS,
	BY_USE,						/* of the instances that serve */
	BY_USE_OF_UNKNOWN			/* likewise, but nobody says how many serve */
} Driver;

#define TARGET_USE	60.0		/* per cent, at TARGET of load */

static void
show_load(World *w, Driver driver, double load, int serving)
{
	w->load.mean_qps = load;
	w->capacity.in_service = driver == BY_USE_OF_UNKNOWN ? QS_UNKNOWN :
		serving;
	if (driver == BY_REQUESTS)
		return;
	w->policy.target_qps = 0;
	w->load.known = false;
	w->n_signals = 1;
	w->signals[0] = plain_signal("cpu", QS_LAW_VALUE, TARGET_USE);
	w->signals[0].tolerance = 0.1;
	w->signals[0].reading.state = QS_READING_KNOWN;
	w->signals[0].reading.value = TARGET_USE * load / TARGET / serving;
}

/* Ticks as the worker would do them: what is accepted blocks shrinking. */
static void
run_ours(const Ramp *ramp, Fleet *fleet, int64_t cooldown_us, Driver driver)
{
	World		w = plain_world();
	QsDecision	d;

	memset(&d, 0, sizeof(d));
	w.policy.target_qps = TARGET;
	w.policy.writes_while_busy = true;
	w.policy.suspicious_drop_guard = true;
	w.policy.scale_down_window_us = 300 * SECOND;
	w.policy.scale_up_cooldown_us = cooldown_us;
	w.policy.general_cooldown_us = cooldown_us;
	w.capacity.desired = BEGIN;
	for (int tick = 0; tick < N_TICKS; tick++)
	{
		w.now = NOW + (int64_t) tick * TICK_S * SECOND;
		fleet->in_service[tick] = served_at(fleet, tick);
		w.capacity.total = w.capacity.desired;	/* booting ones too */
		w.history.activity_accepted =
			fleet->in_service[tick] < w.capacity.desired;
		w.activity.in_progress = w.history.activity_accepted;
		show_load(&w, driver, load_at(ramp, tick), fleet->in_service[tick]);
		decide(&w, &d);
		check_decision(&w, &d);
		if (d.action == QS_ACTION_SCALE_UP)
		{
			w.capacity.desired = d.desired;
			w.history.last_action_at = w.now;
			w.history.last_scale_up_at = w.now;
		}
		w.history.n_recommendations = d.n_recommendations;
		memcpy(w.history.recommendations, d.recommendations,
			   sizeof(d.recommendations));
		w.history.previous_qps = driver == BY_REQUESTS ? d.load_qps : -1;
		w.history.drop_seen_at = d.drop_seen_at;
		fleet->desired[tick] = w.capacity.desired;
	}
}

static const Ramp ramps[] = {
	{0, 0}, {60, 0}, {300, 0}, {600, 0}, {1800, 0},
	{0, 0.05}, {300, 0.05}, {600, 0.05}, {1800, 0.05}, {600, 0.2},
};

#define N_RAMPS	(sizeof(ramps) / sizeof(ramps[0]))

static void
a_ramp_to_four_times_is_never_slower_than_the_rule_of_kubernetes(void **state)
{
	(void) state;
	for (size_t i = 0; i < N_RAMPS; i++)
	{
		Fleet		hpa;
		Fleet		ours;

		run_hpa(&ramps[i], &hpa);
		run_ours(&ramps[i], &ours, 0, BY_REQUESTS);
		for (int tick = 0; tick < N_TICKS; tick++)
		{
			if (ours.desired[tick] < hpa.desired[tick])
				fail_msg("ramp %zu, %d s: %d desired, the rule %d", i,
						 tick * TICK_S, ours.desired[tick],
						 hpa.desired[tick]);
			assert_true(ours.in_service[tick] >= hpa.in_service[tick]);
		}
		assert_true(hpa.desired[N_TICKS - 1] >= 4 * BEGIN * 0.9);
		assert_true(ours.in_service[N_TICKS - 1] >= 4 * BEGIN);
	}
}

/* The price of a cooldown is the cooldown: no boot is waited for beside it. */
static void
a_cooldown_delays_a_ramp_by_no_more_than_itself(void **state)
{
	const int	cooldown_s = 300;
	const int	late = cooldown_s / TICK_S;

	(void) state;
	for (size_t i = 0; i < N_RAMPS; i++)
	{
		Fleet		hpa;
		Fleet		ours;

		run_hpa(&ramps[i], &hpa);
		run_ours(&ramps[i], &ours, cooldown_s * SECOND, BY_REQUESTS);
		/* a ramp rises, so noise apart what was needed then is needed now */
		for (int tick = late; tick < N_TICKS && ramps[i].noise == 0; tick++)
			assert_true(ours.desired[tick] >= hpa.desired[tick - late]);
	}
}

static void
by_use_a_ramp_is_never_slower_than_the_rule_of_kubernetes(void **state)
{
	(void) state;
	for (size_t i = 0; i < N_RAMPS; i++)
	{
		Fleet		hpa;
		Fleet		ours;

		run_hpa(&ramps[i], &hpa);
		run_ours(&ramps[i], &ours, 0, BY_USE);
		for (int tick = 0; tick < N_TICKS; tick++)
			if (ours.desired[tick] < hpa.desired[tick])
				fail_msg("ramp %zu, %d s: %d desired, the rule %d", i,
						 tick * TICK_S, ours.desired[tick],
						 hpa.desired[tick]);
	}
}

/*
 * What serves is overloaded while the rest boots, by four times at worst.  No
 * more is ever ordered for that than the load has taken at its highest.
 */
static void
a_boot_does_not_order_more_than_the_load_takes(void **state)
{
	(void) state;
	for (size_t i = 0; i < N_RAMPS; i++)
	{
		for (Driver driver = BY_USE; driver <= BY_USE_OF_UNKNOWN; driver++)
		{
			Fleet		ours;
			int			most = BEGIN;

			run_ours(&ramps[i], &ours, 0, driver);
			for (int tick = 0; tick < N_TICKS; tick++)
			{
				int			takes = (int) ceil(load_at(&ramps[i], tick) /
											   TARGET - 1e-6);

				most = takes > most ? takes : most;
				if (ours.desired[tick] > most)
					fail_msg("ramp %zu, driver %d, %d s: %d desired, the load takes %d",
							 i, (int) driver, tick * TICK_S,
							 ours.desired[tick], most);
			}
			/* within the tolerance of what it takes in the end */
			assert_true(ours.desired[N_TICKS - 1] >= 4 * BEGIN * 0.9);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ramp_to_four_times_is_never_slower_than_the_rule_of_kubernetes),
		cmocka_unit_test(by_use_a_ramp_is_never_slower_than_the_rule_of_kubernetes),
		cmocka_unit_test(a_boot_does_not_order_more_than_the_load_takes),
		cmocka_unit_test(a_cooldown_delays_a_ramp_by_no_more_than_itself),
	};

	return cmocka_run_group_tests_name("hpa_ramp", tests, NULL, NULL);
}
