/*-------------------------------------------------------------------------
 * backtest.c
 *		A fleet that is played against a known load, and what to think of it.
 *
 * The measures of elasticity are those of SPEC's research group (Herbst et al.
 * 2013, Bauer et al. 2019).
 *-------------------------------------------------------------------------
 */
#include "core/backtest.h"

#include <math.h>
#include <string.h>

#define TICKS_BETWEEN_LOOKS	1024	/* for a cancellation */
#define HAIR				1e-9	/* rounding must not cost an instance */
#define MOST_NEEDED			1e15
#define SCALE				0x1p-32 /* the largest loads can be summed up */

/* ---- the fleet ---- */

typedef struct Fleet
{
	double		ready;
	double		pending;
	double	   *arrivals;		/* by tick modulo slots */
	int			slots;
} Fleet;

static void
fleet_arrive(Fleet *fleet, int tick)
{
	double	   *arriving = &fleet->arrivals[tick % fleet->slots];

	fleet->ready += *arriving;
	fleet->pending -= *arriving;
	*arriving = 0;
}

/* Newest launches are given up first: they have the longest way to go. */
static void
fleet_shrink(Fleet *fleet, int tick, int boot_ticks, double surplus)
{
	for (int t = tick + boot_ticks; t > tick && surplus > 0 &&
		 fleet->pending > 0;
		 t--)
	{
		double	   *arriving = &fleet->arrivals[t % fleet->slots];
		double		given_up = fmin(*arriving, surplus);

		*arriving -= given_up;
		fleet->pending -= given_up;
		surplus -= given_up;
	}
	fleet->ready -= surplus;
}

static void
fleet_follow(Fleet *fleet, int tick, int boot_ticks, double desired)
{
	double		missing = desired - fleet->ready - fleet->pending;

	if (missing < 0)
		fleet_shrink(fleet, tick, boot_ticks, -missing);
	else if (boot_ticks == 0)
		fleet->ready += missing;
	else if (missing > 0)
	{
		fleet->arrivals[(tick + boot_ticks) % fleet->slots] += missing;
		fleet->pending += missing;
	}
}

/* ---- playing ---- */

static bool
is_plan_within_bounds(const QsBacktestPlan *plan, QsError *error)
{
	if (plan->count < 1 || plan->count > QS_BACKTEST_MAX_TICKS)
		return qs_error_set(error, QS_ERROR_TERMINAL, "count",
							"a backtest needs 1 to %d ticks",
							QS_BACKTEST_MAX_TICKS);
	if (!(plan->per_instance > 0) || !isfinite(plan->per_instance) ||
		!(plan->tick_seconds >= 1) ||
		plan->tick_seconds > QS_BACKTEST_MAX_TICK)
		return qs_error_set(error, QS_ERROR_TERMINAL, "plan",
							"capacity must be above zero, and a tick 1 s to a day");
	if (plan->boot_ticks < 0 || plan->boot_ticks > QS_BACKTEST_MAX_BOOT ||
		plan->delay_ticks < 0 || plan->delay_ticks > QS_BACKTEST_MAX_BOOT)
		return qs_error_set(error, QS_ERROR_TERMINAL, "plan",
							"boot and delay must be 0 to %d ticks",
							QS_BACKTEST_MAX_BOOT);
	if (plan->min < 0 || plan->max < plan->min ||
		plan->max > QS_BACKTEST_MAX_FLEET)
		return qs_error_set(error, QS_ERROR_TERMINAL, "plan",
							"the fleet must be 0 to %d instances",
							QS_BACKTEST_MAX_FLEET);
	if (plan->scored_from < 0 || plan->scored_from >= plan->count)
		return qs_error_set(error, QS_ERROR_TERMINAL, "plan",
							"the first scored tick must be one of them");
	return true;
}

static bool
out_of_memory(QsError *error)
{
	return qs_error_set(error, QS_ERROR_RESOURCES, "memory",
						"not enough memory for a backtest");
}

static double
limited(const QsBacktestPlan *plan, double desired)
{
	if (!(desired > plan->min))
		return plan->min;
	return desired < plan->max ? desired : plan->max;
}

static void
play_tick(const QsBacktestPlan *plan, QsBacktestPolicy policy, void *context,
		  Fleet *fleet, int tick, QsBacktest *result)
{
	int			known = tick - plan->delay_ticks;
	double		first = isnan(plan->loads[0]) ? 0 : plan->loads[0];
	QsBacktestView view = {
		.plan = plan,
		.loads = plan->loads,
		.known = known > 0 ? known : 0,
		.tick = tick,
		.newest = known > 0 ? plan->loads[known - 1] : first
	};

	fleet_arrive(fleet, tick);
	view.ready = (int) fleet->ready;
	view.served_by = known > 0 ? (int) result->ready[known - 1] : view.ready;
	view.pending = (int) fleet->pending;
	result->desired[tick] = limited(plan, policy(context, &view));
	fleet_follow(fleet, tick, plan->boot_ticks, result->desired[tick]);
	result->ready[tick] = fleet->ready;
	result->billed[tick] = fleet->ready + fleet->pending;
}

bool
qs_backtest(const QsBacktestPlan *plan, QsBacktestPolicy policy, void *context,
			int ready_at_first, QsArena *arena, const QsCancel *cancel,
			QsBacktest *result, QsError *error)
{
	Fleet		fleet = {.slots = plan->boot_ticks + 1};
	double	  **arrays[] = {&result->desired, &result->ready, &result->billed};

	qs_error_clear(error);
	if (!is_plan_within_bounds(plan, error))
		return false;
	fleet.ready = limited(plan, ready_at_first);
	fleet.arrivals = qs_arena_alloc_array(arena, (size_t) fleet.slots,
										  sizeof(double));
	if (fleet.arrivals == NULL)
		return out_of_memory(error);
	for (int i = 0; i < 3; i++)
	{
		*arrays[i] = qs_arena_alloc_array(arena, (size_t) plan->count,
										  sizeof(double));
		if (*arrays[i] == NULL)
			return out_of_memory(error);
	}
	for (int tick = 0; tick < plan->count; tick++)
	{
		if (tick % TICKS_BETWEEN_LOOKS == 0 && qs_cancel_wanted(cancel))
			return qs_error_set(error, QS_ERROR_RESOURCES, "cancelled",
								"the backtest was cancelled");
		play_tick(plan, policy, context, &fleet, tick, result);
	}
	if (!qs_backtest_metrics(plan, result->ready, result->billed, arena,
							 &result->metrics))
		return out_of_memory(error);
	return true;
}

/* ---- what to think of it ---- */

/* Levels of the fleet that are not needed now, and since when. */
typedef struct Resting
{
	double		above;			/* the levels from here up to the next one's */
	int			since;			/* tick, counted from one; 0: never needed */
} Resting;

/*
 * Each tick pushes at most one stretch of levels and splits at most one: the
 * time does not grow with the fleet.
 */
bool
qs_backtest_oracle(const double *need, int count, int boot_ticks,
				   QsArena *arena, double *cost)
{
	Resting    *resting = qs_arena_alloc_array(arena, (size_t) count + 1,
											   sizeof(Resting));
	double		level = 0;
	int			n = 1;

	*cost = 0;
	if (resting == NULL)
		return false;
	resting[0] = (Resting) {.above = 0};
	for (int t = 0; t < count; t++)
	{
		double		wanted = fmin(need[t], QS_BACKTEST_MAX_FLEET);

		if (wanted < level)
			resting[n++] = (Resting) {.above = wanted, .since = t};
		while (level < wanted)
		{
			double		to = n > 1 ? fmin(resting[n - 2].above, wanted) :
				wanted;
			int			gap = t - resting[n - 1].since;

			/* the first launch cannot be before the beginning either */
			*cost += (to - level) * (gap < boot_ticks ? gap : boot_ticks);
			level = to;
			resting[n - 1].above = level;
			if (n > 1 && level >= resting[n - 2].above)
				n--;
		}
		level = wanted;
		*cost += wanted;
	}
	return true;
}

static double
need_of(const QsBacktestPlan *plan, double load, double hair)
{
	/* infinitely many are no number to reckon with */
	return fmin(fmax(plan->min, ceil(load / plan->per_instance - hair)),
				MOST_NEEDED);
}

static int
sign_of(double value)
{
	return (value > 0) - (value < 0);
}

/* Sums over the ticks with data; need gets what each of them needed. */
static void
add_up(const QsBacktestPlan *plan, const double *ready, const double *billed,
	   double *need, QsBacktestMetrics *metrics)
{
	double		offered = 0;
	double		lost = 0;

	for (int t = plan->scored_from; t < plan->count; t++)
	{
		double		load = plan->loads[t];
		double		capacity = ready[t] * plan->per_instance;
		double		needed;

		if (isnan(load))
			continue;
		needed = need_of(plan, load, HAIR);
		need[metrics->scored++] = needed;
		offered += load * SCALE;
		lost += fmax(0, load - capacity) * SCALE;
		metrics->cost += billed[t];
		metrics->violation_time += load > capacity * (1 + HAIR);
		metrics->utilization += capacity > 0 ? fmin(load / capacity, 1) :
			load > 0;
		metrics->time_under += ready[t] < needed;
		metrics->time_over += ready[t] > needed;
		if (needed > 0)
		{
			metrics->under_provisioned += fmax(needed - ready[t], 0) / needed;
			metrics->over_provisioned += fmax(ready[t] - needed, 0) / needed;
		}
	}
	metrics->violation_load = offered > 0 ? 100 * lost / offered : 0;
}

/* Changes from one tick to the next, those without data included. */
static void
count_changes(const QsBacktestPlan *plan, const double *ready,
			  const double *billed, QsBacktestMetrics *metrics)
{
	int			unlike = 0;
	int			changes = plan->count - plan->scored_from - 1;

	for (int t = plan->scored_from + 1; t < plan->count; t++)
	{
		double		change = billed[t] - billed[t - 1];
		double		before = isnan(plan->loads[t - 1]) ? 0 : plan->loads[t - 1];
		double		now = isnan(plan->loads[t]) ? 0 : plan->loads[t];

		metrics->ups_per_day += change > 0;
		metrics->downs_per_day += change < 0;
		metrics->launches_per_day += fmax(change, 0);
		unlike += sign_of(ready[t] - ready[t - 1]) !=
			sign_of(need_of(plan, now, 0) - need_of(plan, before, 0));
	}
	metrics->instability = changes > 0 ? 100.0 * unlike / changes : 0;
}

bool
qs_backtest_metrics(const QsBacktestPlan *plan, const double *ready,
					const double *billed, QsArena *arena,
					QsBacktestMetrics *metrics)
{
	double	   *shares[] = {&metrics->violation_time, &metrics->utilization,
		&metrics->under_provisioned, &metrics->over_provisioned,
		&metrics->time_under, &metrics->time_over
	};
	double	   *rates[] = {&metrics->ups_per_day, &metrics->downs_per_day,
	&metrics->launches_per_day};
	double	   *need = qs_arena_alloc_array(arena, (size_t) plan->count,
											sizeof(double));
	double		days;

	memset(metrics, 0, sizeof(*metrics));
	if (need == NULL)
		return false;
	add_up(plan, ready, billed, need, metrics);
	if (!qs_backtest_oracle(need, metrics->scored, plan->boot_ticks, arena,
							&metrics->oracle_cost))
		return false;
	if (metrics->scored == 0)
		return true;
	count_changes(plan, ready, billed, metrics);
	days = metrics->scored * plan->tick_seconds / 86400;
	for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++)
		*shares[i] *= 100.0 / metrics->scored;
	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++)
		*rates[i] /= days;
	if (metrics->oracle_cost > 0)
		metrics->cost_ratio = metrics->cost / metrics->oracle_cost;
	metrics->cost *= plan->tick_seconds / 3600;
	metrics->oracle_cost *= plan->tick_seconds / 3600;
	return true;
}
