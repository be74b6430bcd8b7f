/*-------------------------------------------------------------------------
 * predictor.c
 *		How high a load may rise while instances boot.
 *
 * A load is looked at as its root, which makes its noise about even.  A tick is
 * taken into averages and profiles here; what is said of a window, and learned
 * when it is over, is in predictor_windows.c; a histogram of errors, in units
 * of their usual size, tells which share of them lies where.
 *-------------------------------------------------------------------------
 */
#include "core/predictor.h"

#include <math.h>
#include <string.h>

#include "core/predictor_parts.h"

/* also tells the byte order */
#define MAGIC				UINT32_C(0x71705031)
/* changes with any struct of predictor_parts.h: old states start anew */
#define LAYOUT				1

#define SECONDS_PER_DAY		86400
#define LEAST_HOUR			30	/* with fewer ticks an hour has no profile */
#define LEARNED_FOR_QUANTILE	50
#define QUANTILE_AT_FIRST	2.5 /* spreads */
#define BOUND				1.2 /* of the largest load of 14 days */
#define BOUND_OF_NOW		1.5 /* of the newest load */

static const double averages_fine[QS_AVERAGES] = {2, 5, 15, 45, 180, 8};
static const double averages_coarse[QS_AVERAGES] = {1, 2, 4, 12, 48, 3};

static int
ring_length(int day)
{
	return 7 * day + QS_PREDICTOR_MAX_WINDOW + 4;
}

size_t
qs_predictor_bytes(const QsPredictorPlan *plan)
{
	size_t		doubles;
	size_t		day;

	if (plan->tick_seconds < QS_PREDICTOR_MIN_TICK ||
		plan->tick_seconds > QS_PREDICTOR_MAX_TICK ||
		SECONDS_PER_DAY % plan->tick_seconds != 0)
		return 0;
	day = (size_t) (SECONDS_PER_DAY / plan->tick_seconds);
	doubles = (size_t) ring_length((int) day) + 2 * day;
	for (int i = 0; i < QS_PREDICTOR_STREAMS; i++)
	{
		if (plan->last[i] < 1 || plan->last[i] > QS_PREDICTOR_MAX_WINDOW)
			return 0;
		doubles += (size_t) (plan->last[i] + 1) * sizeof(QsPending) /
			sizeof(double);
	}
	return sizeof(QsPredictor) + doubles * sizeof(double) +
		(day + 7) / 8 * 8;
}

static QsPredictorView
view_of(const QsPredictor *predictor)
{
	QsPredictorView view = {.state = (QsPredictor *) predictor};
	double	   *next = view.state->data;

	view.day = SECONDS_PER_DAY / predictor->tick_seconds;
	view.week = 7 * view.day;
	view.hour = 3600 / predictor->tick_seconds;
	view.has_hour = view.hour >= LEAST_HOUR &&
		3600 % predictor->tick_seconds == 0;
	view.is_fine = predictor->tick_seconds <= 60;
	view.ring = ring_length(view.day);
	view.recent = next;
	next += view.ring;
	view.profile = next;
	next += view.day;
	view.high_profile = next;
	next += view.day;
	for (int i = 0; i < QS_PREDICTOR_STREAMS; i++)
	{
		view.pending[i] = (QsPending *) next;
		next += (size_t) (predictor->last[i] + 1) * sizeof(QsPending) /
			sizeof(double);
	}
	view.profile_counts = (uint8_t *) next;
	return view;
}

QsPredictor *
qs_predictor_begin(void *block, const QsPredictorPlan *plan,
				   int64_t first_tick)
{
	size_t		size = qs_predictor_bytes(plan);
	QsPredictor *predictor = block;

	if (size == 0 || first_tick < 0)
		return NULL;
	memset(block, 0, size);
	predictor->magic = MAGIC;
	predictor->layout = LAYOUT;
	predictor->tick_seconds = plan->tick_seconds;
	for (int i = 0; i < QS_PREDICTOR_STREAMS; i++)
	{
		predictor->last[i] = plan->last[i];
		predictor->streams[i].fast_error = 0.2;
		predictor->streams[i].slow_error = 0.2;
	}
	predictor->first_tick = first_tick;
	predictor->offset = NAN;
	predictor->newest = NAN;
	return predictor;
}

/* Any bytes may be in it: only what an index is made of must be right. */
bool
qs_predictor_is_sane(const void *block, size_t size,
					 const QsPredictorPlan *plan)
{
	const QsPredictor *predictor = block;

	if (qs_predictor_bytes(plan) == 0 || size != qs_predictor_bytes(plan) ||
		predictor->magic != MAGIC || predictor->layout != LAYOUT ||
		predictor->tick_seconds != plan->tick_seconds)
		return false;
	for (int i = 0; i < QS_PREDICTOR_STREAMS; i++)
	{
		if (predictor->last[i] != plan->last[i])
			return false;
	}
	return predictor->first_tick >= 0 && predictor->ticks >= 0 &&
		predictor->first_tick < INT64_MAX / 4 &&
		predictor->ticks < INT64_MAX / 4;
}

int64_t
qs_predictor_next_tick(const QsPredictor *predictor)
{
	return predictor->first_tick + predictor->ticks;
}

/* ---- taking a tick in ---- */

static void
take_profiles(QsPredictorView *view, int64_t tick, double root)
{
	QsPredictor *state = view->state;
	int			of_day = (int) (tick % view->day);
	double	   *usual = &view->profile[of_day];
	double	   *high = &view->high_profile[of_day];
	uint8_t    *count = &view->profile_counts[of_day];

	if (*count == 0)
		*usual = *high = root;
	else
	{
		*usual += (root - *usual) * fmax(1.0 / (*count + 1), 0.2);
		*high = fmax(root, *usual + (*high - *usual) * 0.75);
	}
	*count += *count < UINT8_MAX;
	if (view->has_hour)
	{
		int			of_hour = (int) (tick % view->hour);
		double		excess = root - state->averages[QS_SLOW_AVERAGE];

		state->hour[of_hour] += (excess - state->hour[of_hour]) *
			fmax(1.0 / (state->hour_counts[of_hour] + 1), 0.04);
		state->hour_counts[of_hour] += state->hour_counts[of_hour] < UINT8_MAX;
	}
}

/* t counts from the beginning, tick from midnight. */
static void
take_in(QsPredictorView *view, int64_t t, int64_t tick, double load)
{
	QsPredictor *state = view->state;
	const double *lengths = view->is_fine ? averages_fine : averages_coarse;
	bool		missing = isnan(load);
	double		root = t > 0 ? qs_root_at(view, t - 1) : 0;

	if (!missing)
		root = sqrt(load + state->offset * 0.1);
	view->recent[t % view->ring] = root;
	state->missed[t % (QS_PREDICTOR_MAX_WINDOW + 1)] = missing;
	state->newest = load;
	if (t == 0 || tick % view->day == 0)
		state->largest[tick / view->day % QS_DAYS_OF_LARGEST] = 0;
	if (missing)
		return;
	state->largest[tick / view->day % QS_DAYS_OF_LARGEST] =
		fmax(state->largest[tick / view->day % QS_DAYS_OF_LARGEST], load);
	for (int i = 0; i < QS_AVERAGES; i++)
	{
		if (state->has_averages)
			state->averages[i] += (root - state->averages[i]) / lengths[i];
		else
			state->averages[i] = root;
	}
	state->has_averages = true;
	take_profiles(view, tick, root);
}

/* ---- the surface ---- */

static void
step(QsPredictorView *view, int64_t t, double load)
{
	int64_t		tick = view->state->first_tick + t;

	take_in(view, t, tick, load);
	for (int i = 0; i < QS_PREDICTOR_STREAMS; i++)
	{
		qs_predictor_learn(view, i, t, tick);
		qs_predictor_say(view, i, t, tick);
	}
}

/*
 * The offset under the root is known after two hours; the loads wait until
 * then where their roots will be.
 */
static void
begin_after_wait(QsPredictorView *view)
{
	int64_t		waited = view->state->ticks;
	double		sum = 0;
	int			known = 0;

	for (int64_t t = 0; t < waited; t++)
	{
		if (!isnan(view->recent[t]))
		{
			sum += view->recent[t];
			known++;
		}
	}
	view->state->offset = fmax(known > 0 ? 0.05 * sum / known : 0, 1e-6);
	for (int64_t t = 0; t < waited; t++)
	{
		view->state->ticks = t + 1;
		step(view, t, view->recent[t]);
	}
}

void
qs_predictor_update(QsPredictor *predictor, double load)
{
	QsPredictorView view = view_of(predictor);
	int64_t		wait = 7200 / predictor->tick_seconds;
	int64_t		t = predictor->ticks++;

	if (!isfinite(load) || load < 0)
		load = NAN;
	if (!isnan(predictor->offset))
		step(&view, t, load);
	else
	{
		if (wait < LEAST_HOUR)
			wait = LEAST_HOUR;
		view.recent[t % view.ring] = load;
		if (t + 1 >= wait)
			begin_after_wait(&view);
	}
}

/* What was said at the newest tick; NULL: nothing was learned yet. */
static const QsPending *
newest_said(const QsPredictor *predictor, int stream)
{
	QsPredictorView view = view_of(predictor);

	if (!qs_predictor_has_learned(predictor))
		return NULL;
	return &view.pending[stream][(predictor->ticks - 1) %
								 (predictor->last[stream] + 1)];
}

/* How many spreads above the mean each quantile lies. */
static void
spreads_of(const QsPredictor *predictor, int stream, const double *quantiles,
		   int n, double *spreads)
{
	const QsHistogram *errors = &predictor->streams[stream].errors;

	if (qs_histogram_count(errors) > LEARNED_FOR_QUANTILE)
	{
		qs_histogram_quantiles(errors, quantiles, n, spreads);
		return;
	}
	for (int i = 0; i < n; i++)
		spreads[i] = QUANTILE_AT_FIRST;
}

static double
load_at(const QsPending *said, double spreads)
{
	double		root = said->level + said->mean + spreads * said->spread;

	if (!isfinite(root))
		return NAN;
	return root > 0 ? root * root : 0;
}

/* On the first day there is nothing to measure a load by. */
static double
bound_of(const QsPredictor *predictor)
{
	int			day = SECONDS_PER_DAY / predictor->tick_seconds;
	int64_t		tick = predictor->first_tick + predictor->ticks - 1;
	double		bound;

	if (tick / day == predictor->first_tick / day)
		return INFINITY;
	bound = BOUND * qs_predictor_largest(predictor);
	if (!isnan(predictor->newest))
		bound = fmax(bound, BOUND_OF_NOW * predictor->newest);
	return bound;
}

bool
qs_predictor_has_learned(const QsPredictor *predictor)
{
	return !isnan(predictor->offset) && predictor->ticks > 0 &&
		predictor->has_averages;
}

double
qs_predictor_unbounded(const QsPredictor *predictor, int stream,
					   double quantile)
{
	const QsPending *said = newest_said(predictor, stream);
	double		spreads;

	if (said == NULL)
		return NAN;
	spreads_of(predictor, stream, &quantile, 1, &spreads);
	return load_at(said, spreads);
}

void
qs_predictor_uppers(const QsPredictor *predictor, int stream,
					const double *quantiles, int n, double most,
					double *uppers)
{
	const QsPending *said = newest_said(predictor, stream);
	double		bound;
	double		upper_most = NAN;

	for (int i = 0; i < n; i++)
		uppers[i] = NAN;
	if (said == NULL)
		return;
	bound = bound_of(predictor);
	if (quantiles[n - 1] > most)
		upper_most = qs_predictor_upper(predictor, stream, most);
	spreads_of(predictor, stream, quantiles, n, uppers);
	for (int i = 0; i < n; i++)
	{
		double		upper = load_at(said, uppers[i]);

		uppers[i] = quantiles[i] > most ? upper_most :
			isnan(upper) ? NAN : fmin(upper, bound);
	}
}

double
qs_predictor_upper(const QsPredictor *predictor, int stream, double quantile)
{
	double		upper = qs_predictor_unbounded(predictor, stream, quantile);

	return isnan(upper) ? NAN : fmin(upper, bound_of(predictor));
}

double
qs_predictor_largest(const QsPredictor *predictor)
{
	double		largest = 0;

	for (int i = 0; i < QS_DAYS_OF_LARGEST; i++)
		largest = fmax(largest, predictor->largest[i]);
	return largest;
}

double
qs_predictor_yesterday(const QsPredictor *predictor)
{
	QsPredictorView view = view_of(predictor);
	int64_t		then = predictor->ticks - 1 - view.day;
	double		root;

	if (isnan(predictor->offset) || then < 2)
		return NAN;
	root = qs_root_around(&view, then);
	return fmax(root * root - predictor->offset * 0.1, 0);
}

QsPredictorScore
qs_predictor_score(const QsPredictor *predictor, int stream)
{
	const QsStream *learned = &predictor->streams[stream];
	QsPredictorScore score = {
		.scored = learned->scored,
		.loss = learned->loss,
		.loss_without = learned->loss_without,
		.inside = learned->inside
	};

	return score;
}
