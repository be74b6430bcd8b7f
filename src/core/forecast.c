/*-------------------------------------------------------------------------
 * forecast.c
 *		The planning forecast: how a load goes on over the next days.
 *
 * Which members there are, how much each is believed, and what is done while
 * history is too short for them.  The idea of an ensemble that is weighted by
 * back-tests, and combined by what lies in the middle, is an old one (Bates and
 * Granger 1969); it pays where members err in different ways.
 *-------------------------------------------------------------------------
 */
#include "core/forecast.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "core/forecast_bands.h"
#include "core/forecast_parts.h"

#define FOLDS			3
#define FOLD_DAYS		2

/* One of the ways to look at a series. */
typedef struct Member
{
	enum
	{
		AUTOREGRESSION, DIFFERENCES, SMOOTHING, DAYS, SPECTRUM, WEEKS
	}			family;
	union
	{
		QsAutoregressionPlan plan;	/* of AUTOREGRESSION */
		int			days_apart; /* of DIFFERENCES */
		QsScale		scale;		/* of SMOOTHING; WEEKS takes logs */
		QsDaysPlan	days;		/* of DAYS */
		QsSpectrumPlan spectrum;	/* of SPECTRUM */
	};
} Member;

/* The first is the one that the bands are taken from. */
static const Member members[] = {
	{AUTOREGRESSION,.plan = {QS_SCALE_LOG,.harmonics = 6,.many = true}},
	{AUTOREGRESSION,.plan = {QS_SCALE_ROOT,.harmonics = 0}},
	{AUTOREGRESSION,.plan = {QS_SCALE_LOG,.harmonics = 3,.many = true,
	.further_days = true}},
	{AUTOREGRESSION,.plan = {QS_SCALE_LINEAR,.harmonics = 6,.many = true}},
	{DIFFERENCES,.days_apart = 7},
	{DIFFERENCES,.days_apart = 1},
	{SMOOTHING,.scale = QS_SCALE_LOG},
	{SMOOTHING,.scale = QS_SCALE_LINEAR},
	{DAYS,.days = {QS_SCALE_LOG,.days = 2}},
	{DAYS,.days = {QS_SCALE_LINEAR,.days = 1}},
	{DAYS,.days = {QS_SCALE_LOG,.days = 2,.from_yesterday = true}},
	{SPECTRUM,.spectrum = {QS_SCALE_LOG, QS_WITHOUT_NOTHING}},
	{SPECTRUM,.spectrum = {QS_SCALE_LINEAR, QS_WITHOUT_NOTHING}},
	{SPECTRUM,.spectrum = {QS_SCALE_LINEAR, QS_WITHOUT_YESTERDAY}},
	{SPECTRUM,.spectrum = {QS_SCALE_LOG, QS_WITHOUT_WEEK}},
	{SPECTRUM,.spectrum = {QS_SCALE_LINEAR, QS_WITHOUT_WEEK}},
	{WEEKS,.scale = QS_SCALE_LOG}
};

#define MEMBERS		((int) (sizeof(members) / sizeof(members[0])))

_Static_assert(sizeof(members) / sizeof(members[0]) <= QS_FORECAST_MAX_MEMBERS,
			   "qs_middle_mean() takes so many");

/* A forecast under way. */
typedef struct Work
{
	QsArena    *arena;
	const QsCancel *cancel;
	QsError    *error;
	QsSeasons	seasons;
	double	   *values;			/* clean, of mean one, the newest last */
	int			count;
	int			horizon;
	double		unit;			/* what one of values is */
	QsForecastRoom room;
} Work;

static bool
out_of_memory(QsError *error)
{
	return qs_error_set(error, QS_ERROR_RESOURCES, "memory",
						"not enough memory for a forecast");
}

static bool
go_on(const Work *work)
{
	if (!qs_cancel_wanted(work->cancel))
		return true;
	return qs_error_set(work->error, QS_ERROR_RESOURCES, "cancelled",
						"the forecast was cancelled");
}

/* ---- the ensemble ---- */

static bool
ask(Work *work, const Member *member, int count, int ahead, double *result)
{
	QsForecastRoom *room = &work->room;

	switch (member->family)
	{
		case AUTOREGRESSION:
			return qs_forecast_by_autoregression(room, work->seasons,
												 &member->plan, work->values,
												 count, ahead, result);
		case DIFFERENCES:
			return qs_forecast_by_differences(room, work->seasons,
											  member->days_apart *
											  work->seasons.day,
											  work->values, count, ahead,
											  result);
		case SMOOTHING:
			return qs_forecast_by_smoothing(room, work->seasons,
											member->scale, work->values,
											count, ahead, result);
		case DAYS:
			return qs_forecast_by_days(room, work->seasons,
									   &member->days, work->values,
									   count, ahead, result);
		case SPECTRUM:
			return qs_forecast_by_spectrum(room, work->seasons,
										   &member->spectrum, work->values,
										   count, ahead, result);
		case WEEKS:
			return qs_forecast_by_weeks(room, work->seasons, work->values,
										count, ahead, result);
	}
	return false;
}

/*
 * The mean absolute error over the last known days, each time told only what
 * was known before; negative when that cannot be tried.
 */
static bool
try_member(Work *work, const Member *member, double *result, double *error)
{
	int			length = FOLD_DAYS * work->seasons.day;
	int			least = work->seasons.week;
	double		sum = 0;
	int			folds = 0;

	*error = -1;
	for (int fold = 1; fold <= FOLDS; fold++)
	{
		int			known = work->count - fold * length;
		double		miss = 0;

		if (known < least)
			break;
		if (!go_on(work))
			return false;
		if (!ask(work, member, known, length, result))
			break;
		for (int k = 0; k < length; k++)
			miss += fabs(work->values[known + k] - result[k]);
		sum += miss / length;
		folds++;
	}
	if (folds > 0)
		*error = sum / folds;
	return true;
}

static void
weigh(const double *errors, int count, double *weights)
{
	double		worst = 0;

	for (int i = 0; i < count; i++)
		worst = errors[i] > worst ? errors[i] : worst;
	for (int i = 0; i < count; i++)
	{
		double		error = errors[i] >= 0 ? errors[i] : worst;

		weights[i] = 1 / ((error + 1e-9) * (error + 1e-9));
	}
}

/* What the members say, combined, as means of the points. */
static bool
combine(Work *work, QsForecastPoint *points)
{
	int			horizon = work->horizon;
	int			longest = FOLD_DAYS * work->seasons.day;
	double	   *said[MEMBERS];
	double		errors[MEMBERS];
	double		weights[MEMBERS];
	double	   *trial;
	int			count = 0;

	trial = qs_arena_alloc_array(work->arena, (size_t) longest,
								 sizeof(double));
	if (trial == NULL)
		return out_of_memory(work->error);
	for (int i = 0; i < MEMBERS; i++)
	{
		said[count] = qs_arena_alloc_array(work->arena, (size_t) horizon,
										   sizeof(double));
		if (said[count] == NULL)
			return out_of_memory(work->error);
		if (!go_on(work))
			return false;
		if (!ask(work, &members[i], work->count, horizon, said[count]))
			continue;
		if (!try_member(work, &members[i], trial, &errors[count]))
			return false;
		count++;
	}
	weigh(errors, count, weights);
	for (int k = 0; k < horizon; k++)
	{
		double		values[MEMBERS];

		for (int i = 0; i < count; i++)
			values[i] = said[i][k];
		points[k].mean = qs_middle_mean(values, weights, count);
	}
	return true;
}

static bool
bands(Work *work, QsForecastPoint *points)
{
	double	   *x = work->room.x;
	double		mean = 0;
	double		unit;
	bool		enough;
	QsAutoregression model;

	if (!go_on(work))
		return false;
	qs_scale_apply(QS_SCALE_LOG, work->values, work->count, x, &unit);
	for (int t = 0; t < work->count; t++)
		mean += x[t];
	mean /= work->count;
	for (int t = 0; t < work->count; t++)
		x[t] -= mean;
	qs_autoregression_fit(&work->room, work->seasons, &members[0].plan, x,
						  work->count, &model);
	if (!qs_forecast_bands_of_model(&model, work->seasons, x, work->count,
									work->horizon, work->arena, points,
									&enough))
		return out_of_memory(work->error);
	if (!enough)
		qs_forecast_bands_of_changes(work->seasons, work->values, work->count,
									 work->horizon, work->room.sorting,
									 points);
	return true;
}

/* ---- the lower rungs ---- */

/* The mean of a day's hour and the level of the last hours, half each. */
static void
repeat_yesterday(Work *work, QsForecastPoint *points)
{
	int			day = work->seasons.day;
	double		level = work->values[0];

	for (int t = 1; t < work->count; t++)
		level += (work->values[t] - level) / 3;
	for (int k = 0; k < work->horizon; k++)
	{
		int			same = work->count - day + k % day;

		points[k].mean = level;
		if (same >= 0)
			points[k].mean = (level + work->values[same]) / 2;
	}
}

static QsForecastMethod
method_for(const Work *work, int known)
{
	int			day = work->seasons.day;

	if (known == 0)
		return QS_FORECAST_NONE;
	if (known < 3 || work->count < 3)
		return QS_FORECAST_LAST_VALUE;
	if (known < 2 * day || work->count < 2 * day)
		return QS_FORECAST_YESTERDAY;
	return work->count < 10 * day ? QS_FORECAST_DAILY : QS_FORECAST_WEEKLY;
}

static bool
carry_out(Work *work, QsForecast *forecast)
{
	switch (forecast->method)
	{
		case QS_FORECAST_NONE:
			return true;
		case QS_FORECAST_LAST_VALUE:
			for (int k = 0; k < work->horizon; k++)
				forecast->points[k].mean = work->values[work->count - 1];
			break;
		case QS_FORECAST_YESTERDAY:
			repeat_yesterday(work, forecast->points);
			break;
		case QS_FORECAST_DAILY:
		case QS_FORECAST_WEEKLY:
			return combine(work, forecast->points) &&
				bands(work, forecast->points);
	}
	qs_forecast_bands_of_changes(work->seasons, work->values, work->count,
								 work->horizon, work->room.sorting,
								 forecast->points);
	return true;
}

/* ---- taking a series in, giving points out ---- */

static double
as_finite(double value)
{
	if (!(value > 0))
		return 0;
	return value < DBL_MAX ? value : DBL_MAX;
}

/*
 * A power of two, so that another unit of the load changes no digit; 0 where
 * there is no load at all.
 */
static double
unit_of(const double *values, int count, int *known)
{
	double		largest = 0;
	int			exponent;

	*known = 0;
	for (int t = 0; t < count; t++)
	{
		if (!isfinite(values[t]) || values[t] < 0)
			continue;
		(*known)++;
		largest = values[t] > largest ? values[t] : largest;
	}
	if (largest == 0)
		return 0;
	frexp(largest, &exponent);
	return ldexp(1, exponent - 1);
}

/*
 * The newest of the series, without gaps and outliers, none below the floor.
 * known gets how many values there are at all.
 */
static bool
take_in(Work *work, const QsForecastSeries *series, QsForecast *forecast,
		int *known)
{
	int			most = QS_FORECAST_HISTORY_DAYS * work->seasons.day;
	const double *newest = series->values;
	double		sum = 0;

	work->count = series->count;
	if (work->count > most)
	{
		newest += work->count - most;
		work->count = most;
	}
	work->unit = unit_of(newest, work->count, known);
	work->values = qs_arena_alloc_array(work->arena,
										(size_t) work->count + 1,
										sizeof(double));
	if (work->values == NULL)
		return out_of_memory(work->error);
	if (work->unit == 0)
		return true;
	for (int t = 0; t < work->count; t++)
		work->values[t] = isfinite(newest[t]) && newest[t] >= 0 ?
			newest[t] / work->unit : NAN;
	if (!qs_forecast_clean(work->arena, work->seasons, work->values,
						   work->count, &forecast->missing,
						   &forecast->replaced))
		return out_of_memory(work->error);
	for (int t = 0; t < work->count; t++)
		sum += work->values[t];
	for (int t = 0; t < work->count; t++)
		work->values[t] = fmax(work->values[t],
							   QS_FORECAST_FLOOR * sum / work->count);
	return true;
}

static void
give_out(const Work *work, QsForecast *forecast)
{
	for (int k = 0; k < work->horizon; k++)
	{
		QsForecastPoint *point = &forecast->points[k];

		point->mean = as_finite(point->mean * work->unit);
		point->lower80 = fmin(as_finite(point->lower80 * work->unit),
							  point->mean);
		point->upper80 = fmax(as_finite(point->upper80 * work->unit),
							  point->mean);
		point->lower95 = fmin(as_finite(point->lower95 * work->unit),
							  point->lower80);
		point->upper95 = fmax(as_finite(point->upper95 * work->unit),
							  point->upper80);
	}
}

static bool
is_asked_within_bounds(const QsForecastSeries *series, int horizon,
					   QsError *error)
{
	int			day = series->steps_per_day;

	if (day < QS_FORECAST_MIN_STEPS_PER_DAY ||
		day > QS_FORECAST_MAX_STEPS_PER_DAY)
		return qs_error_set(error, QS_ERROR_TERMINAL, "steps_per_day",
							"a day must have %d to %d steps",
							QS_FORECAST_MIN_STEPS_PER_DAY,
							QS_FORECAST_MAX_STEPS_PER_DAY);
	if (horizon < 1 || horizon > QS_FORECAST_MAX_DAYS_AHEAD * day)
		return qs_error_set(error, QS_ERROR_TERMINAL, "horizon",
							"the horizon must be 1 to %d steps",
							QS_FORECAST_MAX_DAYS_AHEAD * day);
	if (series->count < 0)
		return qs_error_set(error, QS_ERROR_TERMINAL, "count",
							"a series has no negative length");
	return true;
}

bool
qs_forecast(const QsForecastSeries *series, int horizon, QsArena *arena,
			const QsCancel *cancel, QsForecast *forecast, QsError *error)
{
	Work		work = {.arena = arena,.cancel = cancel,.error = error,
		.horizon = horizon
	};
	int			known;

	qs_error_clear(error);
	memset(forecast, 0, sizeof(*forecast));
	if (!is_asked_within_bounds(series, horizon, error))
		return false;
	work.seasons.day = series->steps_per_day;
	work.seasons.week = 7 * series->steps_per_day;
	forecast->points = qs_arena_alloc_array(arena, (size_t) horizon,
											sizeof(QsForecastPoint));
	if (forecast->points == NULL)
		return out_of_memory(error);
	if (!take_in(&work, series, forecast, &known))
		return false;
	/* No load at all is a fact and needs no model. */
	forecast->method = method_for(&work, known);
	if (work.unit == 0)
		return true;
	if (!qs_forecast_room_make(&work.room, arena, work.seasons,
							   work.count > 2 * work.seasons.week ? work.count
							   : 2 * work.seasons.week,
							   horizon > FOLD_DAYS * work.seasons.day ? horizon
							   : FOLD_DAYS * work.seasons.day))
		return out_of_memory(error);
	if (!carry_out(&work, forecast))
		return false;
	give_out(&work, forecast);
	return true;
}

const char *
qs_forecast_method_name(QsForecastMethod method)
{
	static const char *const names[] = {
		[QS_FORECAST_NONE] = "none",
		[QS_FORECAST_LAST_VALUE] = "last_value",
		[QS_FORECAST_YESTERDAY] = "yesterday",
		[QS_FORECAST_DAILY] = "daily",
		[QS_FORECAST_WEEKLY] = "weekly"
	};

	return names[method];
}
