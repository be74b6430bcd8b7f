/*-------------------------------------------------------------------------
 * predicted_need.c
 *		From a predicted load to a number of instances, and when not to
 *		believe it.
 *-------------------------------------------------------------------------
 */
#include "core/predicted_need.h"

#include <math.h>

#include "core/decide.h"

#define OUTAGE_SHARE		0.3
#define OUTAGE_SECONDS		(4 * 3600)
#define BEYOND_HISTORY		3
#define RECOVERED			0.95
#define SECONDS_PER_DAY		86400

/* ---- guard ---- */

/*
 * Far less than at this time yesterday, where yesterday was worth speaking of:
 * the users cannot reach us, and will all come at once.  A moment in which
 * there was little yesterday, too, does not end it.  After four hours it is
 * taken for the new normal.
 */
static bool
is_outage(QsPredictionGuard *guard, const QsGuardInput *input)
{
	bool		was = guard->outage_ticks > 0;
	double		then = was ? fmax(input->yesterday, input->floor_load) :
		input->yesterday;
	bool		is = isnan(input->newest) ? was :
		input->newest < OUTAGE_SHARE * then;

	if (!is || !(was || then > input->floor_load))
	{
		guard->outage_ticks = 0;
		return false;
	}
	if (guard->outage_ticks < INT32_MAX)
		guard->outage_ticks++;
	return guard->outage_ticks <= OUTAGE_SECONDS / input->tick_seconds;
}

/* A day of scores must be there, and a demotion ends only where it is clear. */
static bool
is_worse_than_none(QsPredictionGuard *guard, const QsGuardInput *input)
{
	const QsPredictorScore *score = &input->score;

	if (score->scored < SECONDS_PER_DAY / input->tick_seconds)
		return guard->demoted;
	if (guard->demoted)
		guard->demoted = !(score->loss <= RECOVERED * score->loss_without);
	else
		guard->demoted = score->loss > score->loss_without;
	return guard->demoted;
}

QsGuardInput
qs_guard_input(const QsPredictor *predictor, int tick_seconds, double newest,
			   double floor_load)
{
	QsGuardInput input = {
		.tick_seconds = tick_seconds,
		.newest = newest,
		.yesterday = qs_predictor_yesterday(predictor),
		.floor_load = floor_load,
		.upper = qs_predictor_unbounded(predictor, QS_STREAM_GROW, 0.95),
		.largest = qs_predictor_largest(predictor),
		.score = qs_predictor_score(predictor, QS_STREAM_GROW)
	};

	return input;
}

QsGuardVerdict
qs_prediction_guard(QsPredictionGuard *guard, const QsGuardInput *input)
{
	QsGuardVerdict verdict = {.trust = QS_TRUST_FULL};
	bool		worse = is_worse_than_none(guard, input);

	verdict.may_shrink = !is_outage(guard, input);
	if (isnan(input->upper))
		verdict.trust = QS_TRUST_NOT_LEARNED;
	else if (input->largest > 0 &&
			 input->upper > BEYOND_HISTORY * input->largest)
		verdict.trust = QS_TRUST_BEYOND_HISTORY;
	else if (worse)
		verdict.trust = QS_TRUST_WORSE_THAN_NONE;
	return verdict;
}

const char *
qs_prediction_trust_name(QsPredictionTrust trust)
{
	static const char *const names[] = {
		[QS_TRUST_FULL] = "full",
		[QS_TRUST_NOT_LEARNED] = "not_learned",
		[QS_TRUST_BEYOND_HISTORY] = "beyond_history",
		[QS_TRUST_WORSE_THAN_NONE] = "worse_than_none"
	};

	return names[trust];
}

/* ---- need ---- */

/* A hair of rounding must not cost an instance. */
static int
instances_for(double load, double per_instance)
{
	double		instances;

	if (!(load > 0))
		return 0;
	instances = ceil(load / per_instance - 1e-9);
	if (!(instances < QS_MAX_INSTANCES))
		return QS_MAX_INSTANCES;
	return instances > 0 ? (int) instances : 0;
}

static int
limited(int instances, const QsNeedInput *input)
{
	instances = instances > input->min ? instances : input->min;
	return instances < input->max ? instances : input->max;
}

static QsNeed
need_without_load(const QsNeedInput *input)
{
	QsNeed		need = {input->current, QS_NEED_LOAD_UNKNOWN};
	int			then = instances_for(input->yesterday, input->per_instance);

	if (input->stale && then > need.desired)
	{
		need.desired = then;
		need.reason = QS_NEED_FOR_YESTERDAY;
	}
	need.desired = limited(need.desired, input);
	return need;
}

QsNeed
qs_predicted_need(const QsNeedInput *input)
{
	QsNeed		need = {input->current, QS_NEED_AS_IT_IS};
	int			now;
	int			grow;
	int			shrink;

	if (!(input->per_instance > 0))
		return need;
	if (isnan(input->newest))
		return need_without_load(input);
	now = instances_for(input->newest / input->reactive_target,
						input->per_instance);
	grow = instances_for(input->upper_grow, input->per_instance);
	need.reason = grow > now ? QS_NEED_FOR_GROWTH : QS_NEED_FOR_NEWEST;
	grow = grow > now ? grow : now;
	shrink = instances_for(input->upper_shrink, input->per_instance);
	shrink = shrink > grow ? shrink : grow;
	grow = limited(grow, input);
	shrink = limited(shrink, input);
	if (grow > input->current)
		need.desired = grow;
	else if (shrink < input->current)
	{
		need.desired = input->may_shrink ? shrink : input->current;
		need.reason = input->may_shrink ? QS_NEED_FOR_SHRINKING :
			QS_NEED_HELD;
		/* a limit was lowered: that holds in an outage, too */
		need.desired = limited(need.desired, input);
	}
	else
		need.reason = QS_NEED_AS_IT_IS;
	return need;
}
