/*-------------------------------------------------------------------------
 * violation_target.c
 *		How careful to be: the quantile that keeps a share of time in which the
 *		load may exceed the capacity.
 *-------------------------------------------------------------------------
 */
#include "core/violation_target.h"

#include <math.h>
#include <string.h>

#include "core/decide.h"
#include "core/predicted_need.h"

#define SECONDS_PER_DAY		86400

/* Imagined fleets are judged by weeks: violations come in clusters. */
#define MEMORY_S			(28.0 * SECONDS_PER_DAY)

/*
 * Before: a window is exceeded more often than its last tick.  Over the public
 * loads that the method was tried on, the 0.95 quantile left 1.6 % of the
 * time short, 0.99 left 0.38 and 0.995 left 0.21.  That counts for three days.
 */
#define WINDOWS_PER_TICK	2.8
#define PRIOR_S				(3.0 * SECONDS_PER_DAY)

/* Of the share that is asked for: the rest is for what is to come. */
#define AIM					0.97

/* Per tick.  A week of twice the share moves it by two thirds of a position
 * where ticks are minutes. */
#define GAIN				0.0001
#define LEAST_CORRECTION	-1
#define MOST_CORRECTION		3

const double qs_quantiles[QS_QUANTILES] = {
	0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995
};

static double
within(double position)
{
	if (!(position > 0))
		return 0;
	return position < QS_QUANTILES - 1 ? position : QS_QUANTILES - 1;
}

/* ---- imagined fleets ---- */

/* What arrives in the tick that begins now. */
static void
arrive(QsImaginedFleet *fleet, int slot)
{
	fleet->ready += fleet->launched[slot];
	fleet->pending -= fleet->launched[slot];
	fleet->launched[slot] = 0;
}

static void
grow(QsViolationTarget *target, QsImaginedFleet *fleet, int slot, int more)
{
	if (target->boot == 0)
	{
		fleet->ready += more;
		return;
	}
	fleet->launched[slot] += more;
	fleet->pending += more;
}

/* The newest orders are cancelled first. */
static void
shrink(QsViolationTarget *target, QsImaginedFleet *fleet, int slot, int fewer)
{
	for (int back = 0; back < target->boot && fewer > 0; back++)
	{
		int			i = (slot + target->boot - back) % target->boot;
		int			cancelled = fleet->launched[i] < fewer ?
			fleet->launched[i] : fewer;

		fleet->launched[i] -= cancelled;
		fleet->pending -= cancelled;
		fewer -= cancelled;
	}
	fleet->ready -= fewer;
}

static int
instances_of(double load, double per_instance)
{
	double		n = ceil(load / per_instance - 1e-9);

	if (!(n > 0))
		return 0;
	return n < QS_MAX_INSTANCES ? (int) n : QS_MAX_INSTANCES;
}

/* Another capacity of an instance: the fleets carry what they carried. */
static void
rescale(QsViolationTarget *target, double per_instance)
{
	for (int i = 0; i < QS_QUANTILES; i++)
	{
		QsImaginedFleet *fleet = &target->fleets[i];
		double		carried = (fleet->ready + (double) fleet->pending) *
			target->per_instance;

		memset(fleet->launched, 0, sizeof(fleet->launched));
		fleet->pending = 0;
		fleet->ready = instances_of(carried, per_instance);
	}
	target->per_instance = per_instance;
}

static void
score(QsViolationTarget *target, double load)
{
	double		decay = 1 - target->tick_seconds / MEMORY_S;

	target->scored = target->scored * decay + 1;
	for (int i = 0; i < QS_QUANTILES; i++)
	{
		QsImaginedFleet *fleet = &target->fleets[i];
		bool		violated = load >
			fleet->ready * target->per_instance * (1 + 1e-9);

		fleet->violations = fleet->violations * decay + violated;
	}
}

/* What each of them orders for the tick that begins now. */
static void
order(QsViolationTarget *target, const QsPredictor *predictor,
	  const QsViolationTick *tick, int slot)
{
	double		uppers[QS_QUANTILES];
	double		uppers_shrink[QS_QUANTILES];
	QsNeedInput input = {
		.newest = tick->load,
		.yesterday = NAN,
		.may_shrink = tick->may_shrink,
		.per_instance = tick->per_instance,
		.reactive_target = 1,
		.min = instances_of(tick->floor_load, tick->per_instance),
		.max = QS_MAX_INSTANCES
	};

	qs_predictor_uppers(predictor, QS_STREAM_GROW, qs_quantiles, QS_QUANTILES,
						1, uppers);
	qs_predictor_uppers(predictor, QS_STREAM_SHRINK, qs_quantiles,
						QS_QUANTILES, QS_MOST_SHRINKING, uppers_shrink);
	for (int i = 0; i < QS_QUANTILES; i++)
	{
		QsImaginedFleet *fleet = &target->fleets[i];
		int			wanted;

		input.current = fleet->ready + fleet->pending;
		input.upper_grow = uppers[i];
		input.upper_shrink = uppers_shrink[i];
		wanted = qs_predicted_need(&input).desired;
		if (wanted > input.current)
			grow(target, fleet, slot, wanted - input.current);
		else
			shrink(target, fleet, slot, input.current - wanted);
	}
}

/* ---- position ---- */

/* The logarithms of the shares, that fall from one quantile to the next. */
static void
shares_of(const QsViolationTarget *target, double *shares)
{
	double		prior = PRIOR_S / target->tick_seconds;

	for (int i = 0; i < QS_QUANTILES; i++)
	{
		double		expected = prior * (1 - qs_quantiles[i]) / WINDOWS_PER_TICK;

		shares[i] = log((target->fleets[i].violations + expected) /
						(target->scored + prior));
		if (i > 0 && !(shares[i] < shares[i - 1] - 1e-6))
			shares[i] = shares[i - 1] - 1e-6;
	}
}

static double
calibrated(const QsViolationTarget *target, double share)
{
	double		shares[QS_QUANTILES];
	double		wanted = log(share);
	int			i = 0;

	shares_of(target, shares);
	if (!(wanted < shares[0]))
		return 0;
	while (i < QS_QUANTILES - 1 && shares[i + 1] > wanted)
		i++;
	if (i == QS_QUANTILES - 1)
		return i;
	return i + (shares[i] - wanted) / (shares[i] - shares[i + 1]);
}

/* ---- the surface ---- */

void
qs_violation_target_begin(QsViolationTarget *target, int tick_seconds,
						  int boot, double share)
{
	memset(target, 0, sizeof(*target));
	target->tick_seconds = tick_seconds;
	target->boot = boot;
	if (share > 0 && share < 1)
		target->position = calibrated(target, share * AIM);
}

bool
qs_violation_target_is_sane(const QsViolationTarget *target, int tick_seconds,
							int boot)
{
	if (target->tick_seconds != tick_seconds || target->boot != boot ||
		target->ticks < 0 ||
		!(target->scored >= 0 && target->scored <= MEMORY_S) ||
		!(target->per_instance >= 0) || !isfinite(target->per_instance) ||
		!(target->correction >= LEAST_CORRECTION && target->correction <= MOST_CORRECTION) ||
		!(target->position >= 0 && target->position <= QS_QUANTILES - 1))
		return false;
	for (int i = 0; i < QS_QUANTILES; i++)
	{
		const QsImaginedFleet *fleet = &target->fleets[i];
		int64_t		pending = 0;

		for (int t = 0; t < QS_PREDICTOR_MAX_WINDOW; t++)
		{
			if (fleet->launched[t] < 0 || (t >= boot && fleet->launched[t] > 0))
				return false;
			pending += fleet->launched[t];
		}
		if (!(fleet->violations >= 0 && fleet->violations <= MEMORY_S) ||
			fleet->ready < 0 || pending != fleet->pending ||
			fleet->ready + pending > QS_MAX_INSTANCES)
			return false;
	}
	return true;
}

void
qs_violation_target_follow(QsViolationTarget *target,
						   const QsPredictor *predictor,
						   const QsViolationTick *tick)
{
	double		share;
	int			slot;

	target->ticks++;
	slot = target->boot > 0 ? (int) (target->ticks % target->boot) : 0;
	if (tick->per_instance > 0 && isfinite(tick->per_instance) &&
		tick->per_instance != target->per_instance)
		rescale(target, tick->per_instance);
	if (!isnan(tick->load) && qs_predictor_has_learned(predictor))
		score(target, tick->load);
	if (target->boot > 0)
		for (int i = 0; i < QS_QUANTILES; i++)
			arrive(&target->fleets[i], slot);
	if (!isnan(tick->load) && target->per_instance > 0)
		order(target, predictor, tick, slot);
	if (!(tick->share > 0) || tick->share >= 1)
		return;
	share = tick->share * AIM;
	if (!tick->frozen)
		target->correction += GAIN * ((tick->violated ? 1 : 0) - share) / share;
	target->correction = fmin(fmax(target->correction, LEAST_CORRECTION),
							  MOST_CORRECTION);
	target->position = within(calibrated(target, share) +
							  target->correction);
}

double
qs_violation_target_quantile(const QsViolationTarget *target)
{
	int			below = (int) within(target->position);
	double		beyond = within(target->position) - below;

	if (below == QS_QUANTILES - 1)
		return qs_quantiles[below];
	return qs_quantiles[below] +
		beyond * (qs_quantiles[below + 1] - qs_quantiles[below]);
}

double
qs_violation_target_upper(const QsViolationTarget *target,
						  const QsPredictor *predictor, int stream)
{
	double		most = stream == QS_STREAM_SHRINK ? QS_MOST_SHRINKING : 1;
	int			below = (int) within(target->position);
	double		beyond = within(target->position) - below;
	double		uppers[2];

	if (below == QS_QUANTILES - 1 || beyond == 0)
		return qs_predictor_upper(predictor, stream,
								  fmin(qs_quantiles[below], most));
	qs_predictor_uppers(predictor, stream, &qs_quantiles[below], 2, most,
						uppers);
	return uppers[0] + beyond * (uppers[1] - uppers[0]);
}
