/*-------------------------------------------------------------------------
 * prediction.c
 *		What is foreseen of one group: a predictor, the violation target that
 *		it is asked with, and whether it may be believed.
 *-------------------------------------------------------------------------
 */
#include "core/prediction.h"

#include <math.h>
#include <string.h>

#define MAGIC			UINT32_C(0x71706733)
#define US				INT64_C(1000000)
#define SECONDS_PER_DAY	86400

/* After so long a gap nothing that was learned holds any more. */
#define LONGEST_GAP_S	(14 * SECONDS_PER_DAY)

/* Of so many ticks it is known what was in service: more than a monitor is
 * late. */
#define CARRIED_TICKS	16

struct QsPrediction
{
	uint32_t	magic;
	int32_t		tick_s;
	int64_t		tick;			/* the one that is being gathered */
	int64_t		until_us;		/* end of the newest point */
	double		sum;			/* of its loads so far */
	int32_t		points;
	int32_t		outage;
	int32_t		trust;
	int32_t		missing;		/* ticks in a row without a load */
	double		newest;
	QsViolationTarget target;
	int64_t		carried_tick;	/* the newest of them */
	double		carried[CARRIED_TICKS]; /* by tick modulo; when it was first
										 * looked at in that tick, NAN = never */
	QsPredictionGuard guard;
	QsPredictorPlan plan;
	double		predictor[];
};

int
qs_prediction_tick(int resolution_s)
{
	int			tick = resolution_s > QS_PREDICTOR_MIN_TICK ?
		resolution_s : QS_PREDICTOR_MIN_TICK;

	if (resolution_s < 1)
		return 0;
	while (tick <= QS_PREDICTOR_MAX_TICK && SECONDS_PER_DAY % tick != 0)
		tick++;
	return tick <= QS_PREDICTOR_MAX_TICK ? tick : 0;
}

/* Growth must be there by the end of the first window, what is let go can be
 * had back by the end of the second. */
static bool
predictor_plan(const QsPredictionPlan *plan, QsPredictorPlan *result)
{
	int			boot;

	memset(result, 0, sizeof(*result));
	result->tick_seconds = qs_prediction_tick(plan->resolution_s);
	if (result->tick_seconds == 0 || plan->boot_s < 0 ||
		plan->boot_s > QS_PREDICTION_MAX_BOOT)
		return false;
	boot = (plan->boot_s + result->tick_seconds - 1) / result->tick_seconds;
	result->last[QS_STREAM_GROW] = boot + 1;
	result->last[QS_STREAM_SHRINK] = 2 * boot + 1;
	for (int i = 0; i < QS_PREDICTOR_STREAMS; i++)
		if (result->last[i] > QS_PREDICTOR_MAX_WINDOW)
			result->last[i] = QS_PREDICTOR_MAX_WINDOW;
	return true;
}

size_t
qs_prediction_bytes(const QsPredictionPlan *plan)
{
	QsPredictorPlan predicted;
	size_t		bytes;

	if (!predictor_plan(plan, &predicted))
		return 0;
	bytes = qs_predictor_bytes(&predicted);
	return bytes == 0 ? 0 : sizeof(QsPrediction) + bytes;
}

static int64_t
tick_of(const QsPrediction *prediction, int64_t end_us)
{
	return (end_us - 1) / (prediction->tick_s * US);
}

/* Growth that is ordered at once is there so many ticks later. */
static int
boot_of(const QsPredictorPlan *plan)
{
	return plan->last[QS_STREAM_GROW] - 1;
}

/* Numbered since midnight of 1970-01-01, which the predictor asks for. */
static bool
start(QsPrediction *prediction, int64_t tick, double share)
{
	prediction->tick = tick;
	prediction->until_us = tick * prediction->tick_s * US;
	prediction->sum = 0;
	prediction->points = 0;
	prediction->outage = 0;
	prediction->missing = 0;
	prediction->trust = QS_TRUST_NOT_LEARNED;
	prediction->newest = NAN;
	prediction->carried_tick = 0;
	for (int i = 0; i < CARRIED_TICKS; i++)
		prediction->carried[i] = NAN;
	memset(&prediction->guard, 0, sizeof(prediction->guard));
	qs_violation_target_begin(&prediction->target, prediction->tick_s,
							  boot_of(&prediction->plan), share);
	return qs_predictor_begin(prediction->predictor, &prediction->plan,
							  tick) != NULL;
}

QsPrediction *
qs_prediction_begin(void *block, const QsPredictionPlan *plan,
					int64_t begin_us, double share)
{
	QsPrediction *prediction = block;
	size_t		size = qs_prediction_bytes(plan);

	if (size == 0 || begin_us < 1)
		return NULL;
	memset(block, 0, sizeof(QsPrediction));
	prediction->magic = MAGIC;
	(void) predictor_plan(plan, &prediction->plan);
	prediction->tick_s = prediction->plan.tick_seconds;
	return start(prediction, tick_of(prediction, begin_us), share) ?
		prediction : NULL;
}

bool
qs_prediction_is_sane(const void *block, size_t size,
					  const QsPredictionPlan *plan, int64_t now_us)
{
	const QsPrediction *prediction = block;
	QsPredictorPlan expected;

	if (size < sizeof(QsPrediction) || size != qs_prediction_bytes(plan) ||
		!predictor_plan(plan, &expected) || prediction->magic != MAGIC ||
		prediction->tick_s != expected.tick_seconds ||
		memcmp(&prediction->plan, &expected, sizeof(expected)) != 0 ||
		!qs_predictor_is_sane(prediction->predictor,
							  size - sizeof(QsPrediction), &expected) ||
		!qs_violation_target_is_sane(&prediction->target, prediction->tick_s,
									 boot_of(&expected)))
		return false;
	/* a clock that ran ahead left what would not be learned from for long */
	return prediction->until_us >= 0 && prediction->until_us <= now_us + 60 * US &&
		prediction->tick >= 0 && prediction->points >= 0 &&
		prediction->carried_tick >= 0 &&
		prediction->carried_tick <=
		(now_us + 60 * US) / (prediction->tick_s * US) &&
		prediction->missing >= 0 &&
		prediction->missing <= LONGEST_GAP_S / prediction->tick_s &&
		prediction->tick == tick_of(prediction, prediction->until_us + 1) &&
		prediction->tick ==
		qs_predictor_next_tick((const QsPredictor *) prediction->predictor) &&
		prediction->trust >= QS_TRUST_FULL &&
		prediction->trust <= QS_TRUST_WORSE_THAN_NONE;
}

int64_t
qs_prediction_until(const QsPrediction *prediction)
{
	return prediction->until_us;
}

static QsPredictor *
predictor_of(const QsPrediction *prediction)
{
	return (QsPredictor *) prediction->predictor;
}

/* A clock that ran ahead left ticks that are to come: they are forgotten. */
static void
note_carried(QsPrediction *prediction, const QsObserved *observed)
{
	int64_t		tick = observed->carried_at_us / (prediction->tick_s * US);
	double	   *carried = &prediction->carried[tick % CARRIED_TICKS];

	if (tick < prediction->carried_tick - CARRIED_TICKS ||
		tick >= prediction->carried_tick + CARRIED_TICKS)
	{
		for (int i = 0; i < CARRIED_TICKS; i++)
			prediction->carried[i] = NAN;
		prediction->carried_tick = tick;
	}
	while (prediction->carried_tick < tick)
		prediction->carried[++prediction->carried_tick % CARRIED_TICKS] = NAN;
	if (tick == prediction->carried_tick && isnan(*carried))
		*carried = observed->carried;
}

static double
carried_in(const QsPrediction *prediction, int64_t tick)
{
	if (tick < 0 || tick > prediction->carried_tick ||
		tick <= prediction->carried_tick - CARRIED_TICKS)
		return NAN;
	return prediction->carried[tick % CARRIED_TICKS];
}

/* What there was for the load of the tick that is being gathered. */
static double
carried_by(const QsPrediction *prediction, const QsObserved *observed)
{
	int64_t		tick = prediction->tick -
		observed->late_us / (prediction->tick_s * US);

	if (observed->carried_at_us <= 0)
		return observed->carried;
	return fmin(carried_in(prediction, tick),
				carried_in(prediction, tick + 1));
}

/* The tick is over: it is learned from, and the next one begins. */
static void
finish_tick(QsPrediction *prediction, const QsObserved *observed)
{
	double		carried = carried_by(prediction, observed);
	double		load = prediction->points > 0 ?
		prediction->sum / prediction->points : NAN;
	QsViolationTick after = {
		.load = load,
		.per_instance = observed->each,
		.floor_load = observed->floor_load,
		.share = observed->share,
		.violated = load > carried * (1 + 1e-9),
		.frozen = observed->frozen || isnan(load) || isnan(carried)
	};
	QsGuardInput input;
	QsGuardVerdict verdict;

	qs_predictor_update(predictor_of(prediction), load);
	prediction->tick++;
	prediction->sum = 0;
	prediction->points = 0;
	prediction->newest = load;
	prediction->missing = isnan(load) ? prediction->missing + 1 : 0;
	input = qs_guard_input(predictor_of(prediction), prediction->tick_s, load,
						   observed->floor_load);
	verdict = qs_prediction_guard(&prediction->guard, &input);
	prediction->outage = !verdict.may_shrink;
	prediction->trust = verdict.trust;
	after.may_shrink = verdict.may_shrink;
	qs_violation_target_follow(&prediction->target, predictor_of(prediction),
							   &after);
}

void
qs_prediction_observe(QsPrediction *prediction, const QsObserved *observed)
{
	int64_t		tick;

	if (observed->carried_at_us > 0)
		note_carried(prediction, observed);
	if (observed->end_us <= prediction->until_us)
		return;
	tick = tick_of(prediction, observed->end_us);
	if (tick - prediction->tick > LONGEST_GAP_S / prediction->tick_s)
		(void) start(prediction, tick, observed->share);
	while (prediction->tick < tick)
		finish_tick(prediction, observed);
	prediction->until_us = observed->end_us;
	if (observed->load >= 0 && isfinite(observed->load))
	{
		prediction->sum += observed->load;
		prediction->points++;
	}
	if (observed->end_us % (prediction->tick_s * US) == 0)
		finish_tick(prediction, observed);
}

void
qs_prediction_tell(const QsPrediction *prediction, QsPredicted *predicted)
{
	const QsPredictor *predictor = predictor_of(prediction);
	const int  *last = prediction->plan.last;

	memset(predicted, 0, sizeof(*predicted));
	predicted->trust = (QsPredictionTrust) prediction->trust;
	predicted->may_shrink = !prediction->outage;
	predicted->outage_s = prediction->guard.outage_ticks * prediction->tick_s;
	predicted->newest = prediction->newest;
	predicted->upper_grow =
		qs_violation_target_upper(&prediction->target, predictor,
								  QS_STREAM_GROW);
	predicted->upper_shrink =
		qs_violation_target_upper(&prediction->target, predictor,
								  QS_STREAM_SHRINK);
	predicted->yesterday = qs_predictor_yesterday(predictor);
	predicted->missing_s = prediction->missing * prediction->tick_s;
	predicted->quantile = qs_violation_target_quantile(&prediction->target);
	predicted->grow_s = last[QS_STREAM_GROW] * prediction->tick_s;
	predicted->shrink_s = last[QS_STREAM_SHRINK] * prediction->tick_s;
	predicted->score = qs_predictor_score(predictor, QS_STREAM_GROW);
	predicted->comparable = predicted->score.scored >=
		SECONDS_PER_DAY / prediction->tick_s;
}
