/*-------------------------------------------------------------------------
 * predictor_windows.c
 *		What the predictor says of a window, and what it learns when that is
 *		over.
 *
 * Said is how far the maximum over the window will be above a short average:
 * from other averages, from the same window yesterday and a week ago, from
 * profiles of the day and the hour.  A second regression says how far that is
 * usually off.
 *-------------------------------------------------------------------------
 */
#include "core/predictor.h"

#include <math.h>
#include <string.h>

#include "core/predictor_parts.h"

#define FORGETTING_DAYS		7.0
#define LEARNED_FOR_MEAN	60	/* windows */
#define SCORED_QUANTILE		0.95
#define REACTIVE_TARGET		0.7

/* ---- looking back ---- */

static double
largest_root(const QsPredictorView *view, int64_t from, int64_t to)
{
	double		largest = qs_root_at(view, from);

	for (int64_t t = from + 1; t <= to; t++)
		largest = fmax(largest, qs_root_at(view, t));
	return largest;
}

/* Positions may be negative or beyond the end: profiles go round. */
static double
profile_at(const double *profile, int length, int64_t position)
{
	return profile[(position % length + length) % length];
}

static double
largest_of_profile(const double *profile, int length, int64_t from, int64_t to)
{
	double		largest = profile_at(profile, length, from);

	for (int64_t i = from + 1; i <= to; i++)
		largest = fmax(largest, profile_at(profile, length, i));
	return largest;
}

/* A short weighted mean that ends at a tick, of roots or of a profile. */
double
qs_root_around(const QsPredictorView *view, int64_t tick)
{
	if (view->is_fine)
		return (qs_root_at(view, tick - 2) + 2 * qs_root_at(view, tick - 1) +
				3 * qs_root_at(view, tick)) / 6;
	return (qs_root_at(view, tick - 1) + 2 * qs_root_at(view, tick)) / 3;
}

static double
profile_around(const QsPredictorView *view, int64_t position)
{
	double		now = profile_at(view->profile, view->day, position);
	double		before = profile_at(view->profile, view->day, position - 1);

	if (view->is_fine)
		return (profile_at(view->profile, view->day, position - 2) +
				2 * before + 3 * now) / 6;
	return (before + 2 * now) / 3;
}

/* ---- learning ---- */

/* In which slot of the day the middle of a window lies that follows a tick. */
static int
slot_of(const QsPredictorView *view, int64_t tick, int last)
{
	double		middle = fmod((double) (tick % view->day) + (1 + last) * 0.5,
							  view->day);

	return (int) (middle / ((double) view->day / QS_SLOTS_OF_DAY)) %
		QS_SLOTS_OF_DAY;
}

static double
following(double mean, double value, uint16_t *count, double least_gain)
{
	double		gain = fmax(1.0 / (*count + 1), least_gain);

	*count += *count < UINT16_MAX;
	return mean + (value - mean) * gain;
}

static void
learn_errors(QsPredictorView *view, QsStream *stream, int64_t tick, int last,
			 double error)
{
	double		per_slot = (double) view->day / QS_SLOTS_OF_DAY;
	double		size = fabs(error);
	int			slot = slot_of(view, tick, last);
	int			of_hour = (int) (tick % view->hour);
	double		fast_gain = view->is_fine ? 1 / 60.0 : 1 / 24.0;
	double		bounded;

	stream->fast_error += (fmin(size, 6 * stream->fast_error) -
						   stream->fast_error) * fast_gain;
	stream->slow_error += (fmin(size, 6 * stream->slow_error) -
						   stream->slow_error) / view->day;
	stream->fast_error = fmax(stream->fast_error, 1e-4);
	stream->slow_error = fmax(stream->slow_error, 1e-4);
	bounded = fmin(size, 8 * stream->slow_error);
	stream->day_errors[slot] =
		following(stream->day_errors[slot],
				  stream->day_counts[slot] == 0 ? size : bounded,
				  &stream->day_counts[slot], 1 / (5 * per_slot));
	stream->hour_errors[of_hour] =
		following(stream->hour_errors[of_hour],
				  stream->hour_counts[of_hour] == 0 ? size : bounded,
				  &stream->hour_counts[of_hour], 0.03);
}

static void
learn_spread(const QsPredictorView *view, QsStream *stream,
			 const QsPending *said, double error, double decay)
{
	static const double ridge[QS_SPREAD_FEATURES] = {1, 1, 1, 1, 1, 1, 1};

	qs_regression_learn(&stream->spread, QS_SPREAD_FEATURES, decay,
						said->spread_features,
						log(fmax(fabs(error), 0.05 * stream->slow_error)));
	if (stream->spread.learned % 20 == 0 &&
		stream->spread.learned >= view->day / 2)
		qs_regression_solve(&stream->spread, QS_SPREAD_FEATURES, ridge);
}

static void
learn_mean(QsStream *stream, const QsPending *said, double error, double decay)
{
	double		most = 5 * said->spread;
	double		target = said->mean + fmin(fmax(error, -most), most);
	double		ridge[QS_FEATURES];
	double		trace = 0;

	qs_regression_learn(&stream->mean, QS_FEATURES, decay, said->features,
						target);
	if (stream->mean.learned % 10 != 0 ||
		stream->mean.learned < LEARNED_FOR_MEAN)
		return;
	for (int i = 1; i < QS_FEATURES; i++)
		trace += stream->mean.products[QS_TRIANGLE(i + 1) - 1];
	/* 20: two features that were tried and gave nothing counted here */
	for (int i = 0; i < QS_FEATURES; i++)
		ridge[i] = i == 0 ? 1e-9 : 1e-3 * trace / 20 + 1e-9;
	qs_regression_solve(&stream->mean, QS_FEATURES, ridge);
}

static double
pinball(double truth, double said)
{
	return truth > said ? SCORED_QUANTILE * (truth - said) :
		(1 - SCORED_QUANTILE) * (said - truth);
}

static void
score(const QsPredictorView *view, QsStream *stream, const QsPending *said,
	  double root)
{
	double		truth = fmax(root * root - view->state->offset * 0.1, 0);
	double		gain = fmax(1.0 / ((double) stream->scored + 1),
							1.0 / view->day);

	if (isnan(said->upper) || isnan(said->without))
		return;
	stream->loss += (pinball(truth, said->upper) - stream->loss) * gain;
	stream->loss_without += (pinball(truth, said->without) -
							 stream->loss_without) * gain;
	stream->inside += ((truth <= said->upper) - stream->inside) * gain;
	stream->scored++;
}

/* The window that ends now, if all of it and the tick before are known. */
void
qs_predictor_learn(QsPredictorView *view, int number, int64_t t, int64_t tick)
{
	QsStream   *stream = &view->state->streams[number];
	int			last = view->state->last[number];
	int64_t		origin = t - last;
	const QsPending *said;
	double		decay = 1 - 1 / (FORGETTING_DAYS * view->day);
	double		largest;
	double		error;

	if (origin < 0)
		return;
	for (int64_t i = origin + 1; i <= t; i++)
	{
		if (view->state->missed[i % (QS_PREDICTOR_MAX_WINDOW + 1)])
			return;
	}
	said = &view->pending[number][origin % (last + 1)];
	largest = largest_root(view, origin + 1, t);
	error = largest - said->level - said->mean;
	qs_histogram_add(&stream->errors, decay, error / said->spread);
	score(view, stream, said, largest);
	learn_errors(view, stream, tick - last, last, error);
	learn_spread(view, stream, said, error, decay);
	learn_mean(stream, said, error, decay);
}

/* ---- saying ---- */

static void
look_at_averages(const QsPredictorView *view, int64_t t, double *f)
{
	const double *averages = view->state->averages;
	double		level = averages[QS_LEVEL];

	f[0] = 1;
	f[1] = qs_root_at(view, t) - level;
	for (int i = 1; i < QS_AVERAGES; i++)
		f[1 + i] = averages[i] - level;
	f[17] = level * 0.1;
}

static void
look_at_yesterday(const QsPredictorView *view, int64_t t, int64_t tick,
				  int last, double *f)
{
	double		level = view->state->averages[QS_LEVEL];
	int64_t		then = t - view->day;
	double		usual_now;
	double		usual_high;

	if (t < view->day + last + 2)
		return;
	f[7] = largest_root(view, then + 1, then + last) -
		qs_root_around(view, then);
	f[8] = level - qs_root_around(view, then);
	usual_now = profile_around(view, tick);
	usual_high = largest_of_profile(view->profile, view->day, tick + 1,
									tick + last);
	f[9] = usual_high - usual_now;
	f[10] = level - usual_now;
	f[11] = largest_of_profile(view->high_profile, view->day, tick + 1,
							   tick + last) - usual_now;
	f[12] = largest_of_profile(view->profile, view->day, tick - 1,
							   tick + last + 2) - usual_high;
}

static void
look_at_last_week(const QsPredictorView *view, int64_t t, int last, double *f)
{
	int64_t		then = t - view->week;

	if (t < view->week + last + 2)
		return;
	f[13] = largest_root(view, then + 1, then + last) -
		qs_root_around(view, then);
	f[14] = view->state->averages[QS_LEVEL] - qs_root_around(view, then);
}

static void
look_at_hour(const QsPredictorView *view, int64_t t, int64_t tick, int last,
			 double *f)
{
	const QsPredictor *state = view->state;
	double		usual;

	if (!view->has_hour || t < 6 * view->hour)
		return;
	usual = profile_at(state->hour, view->hour, tick);
	f[15] = largest_of_profile(state->hour, view->hour, tick + 1,
							   tick + last) - usual;
	f[16] = state->averages[QS_LEVEL] -
		state->averages[QS_SLOW_AVERAGE] - usual;
}

static void
look_at_errors(const QsPredictorView *view, const QsStream *stream, int64_t t,
			   int64_t tick, int last, double *g)
{
	double		slow = stream->slow_error;
	double		level = view->state->averages[QS_LEVEL];
	int			slot = slot_of(view, tick, last);
	int			of_hour = (int) (tick % view->hour);
	double		of_day = slow;
	double		of_hours = slow;

	if (stream->day_counts[slot] >= (double) view->day / QS_SLOTS_OF_DAY)
		of_day = stream->day_errors[slot];
	if (stream->hour_counts[of_hour] > 12)
		of_hours = stream->hour_errors[of_hour];
	g[0] = 1;
	g[1] = log(fmax(stream->fast_error, 1e-6));
	g[2] = log(fmax(slow, 1e-6));
	g[3] = log(fmax(of_day, 1e-6));
	g[4] = log(fmax(of_hours, 1e-6));
	g[5] = log(fmax(level, 1e-6));
	g[6] = log(fmax(fabs(qs_root_at(view, t) - level), 0.1 * slow));
}

static double
sum_of_products(const double *a, const double *b, int count)
{
	double		sum = 0;

	for (int i = 0; i < count; i++)
		sum += a[i] * b[i];
	return sum;
}

void
qs_predictor_say(QsPredictorView *view, int number, int64_t t, int64_t tick)
{
	QsPredictor *state = view->state;
	QsStream   *stream = &state->streams[number];
	int			last = state->last[number];
	QsPending  *said = &view->pending[number][t % (last + 1)];
	double		slow = stream->slow_error;

	memset(said, 0, sizeof(*said));
	look_at_averages(view, t, said->features);
	look_at_yesterday(view, t, tick, last, said->features);
	look_at_last_week(view, t, last, said->features);
	look_at_hour(view, t, tick, last, said->features);
	look_at_errors(view, stream, t, tick, last, said->spread_features);
	said->level = state->averages[QS_LEVEL];
	if (stream->mean.learned >= LEARNED_FOR_MEAN)
		said->mean = sum_of_products(stream->mean.coefficients,
									 said->features, QS_FEATURES);
	else
		said->mean = fmax(0, qs_root_at(view, t) - said->level);
	said->spread = sqrt(fmax(stream->fast_error, 1e-6) * fmax(slow, 1e-6));
	if (stream->spread.learned >= view->day / 2)
	{
		double		log_spread = 0.5 +
			sum_of_products(stream->spread.coefficients,
							said->spread_features, QS_SPREAD_FEATURES);

		said->spread = exp(fmin(fmax(log_spread, log(0.2 * slow)),
								log(20 * slow)));
	}
	said->spread = fmax(said->spread, 0.2 * slow);
	said->upper = qs_predictor_upper(state, number, SCORED_QUANTILE);
	said->without = state->newest / REACTIVE_TARGET;
}
