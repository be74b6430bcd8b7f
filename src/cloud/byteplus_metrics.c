/*-------------------------------------------------------------------------
 * byteplus_metrics.c
 *		Queries per second of load balancers: CloudMonitor's GetMetricData.
 *
 * One request carries up to 50 load balancers.  Neither the order of series
 * and points nor what stands for "no data" is documented, so a series is
 * known by its ResourceID, a point by its time, and what is absent, null or
 * nonsense is a missing point and never a zero.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* EndTime in the future is refused: stay this far behind the cloud's clock. */
#define CLOCK_MARGIN_S		5

/*
 * The window ends at the last full bucket of the cloud's clock.  Both ends
 * are multiples of the period, because the server shifts them otherwise.
 */
static void
place_window(QsCall *call, int64_t now_us)
{
	int64_t		length = call->window_end_s - call->window_start_s;
	int64_t		latest = qs_byteplus_cloud_time_s(call->memory, now_us) -
		CLOCK_MARGIN_S;

	call->window_end_s = latest / call->period_s * call->period_s;
	call->window_start_s = call->window_end_s - length;
}

bool
qs_byteplus_load_body(QsArena *arena, QsBytePlusCall *call, int64_t now_us,
					  QsError *error)
{
	static const char format[] = "{\"MetricName\":\"load_balancer_qps\","
		"\"StartTime\":%lld,\"EndTime\":%lld,\"Namespace\":\"VCM_ALB\","
		"\"SubNamespace\":\"loadbalancer\",\"Period\":\"%s\","
		"\"Instances\":[%s]}";
	static const char before[] = "{\"Dimensions\":[{\"Name\":\"ResourceID\","
		"\"Value\":\"";
	static const char after[] = "\"}]}";
	size_t		length = 1;
	char	   *instances;
	char	   *body;
	char	   *p;

	if (!call->of_past)
		place_window(&call->base, now_us);
	for (int i = 0; i < call->ids.n_ids; i++)
		length += sizeof(before) + sizeof(after) + strlen(call->ids.ids[i]);
	instances = p = qs_arena_alloc(arena, length);
	if (instances == NULL)
		return qs_byteplus_no_memory(error);

	/* ids were checked: none needs to be escaped */
	for (int i = 0; i < call->ids.n_ids; i++)
	{
		if (i > 0)
			*p++ = ',';
		p = stpcpy(p, before);
		p = stpcpy(p, call->ids.ids[i]);
		p = stpcpy(p, after);
	}
	*p = '\0';
	body = qs_arena_printf(arena, format,
						   (long long) call->base.window_start_s,
						   (long long) call->base.window_end_s,
						   call->base.period_s == 60 ? "1m" : "5m",
						   instances);
	if (body == NULL)
		return qs_byteplus_no_memory(error);
	call->base.request.body = body;
	call->base.request.body_length = strlen(body);
	return true;
}

/* One request for a slice of the load balancers. */
static bool
add_load_call(QsArena *arena, const QsBatch *batch, const QsIdIndex *albs,
			  int64_t window_s, int64_t period_s, int64_t now_us,
			  QsCallList *calls, QsError *error)
{
	QsBytePlusCall *call;
	QsTarget  **targets;
	int			n;

	targets = qs_id_index_targets(albs, &n);
	call = qs_byteplus_call_new(arena, batch, QS_CALL_LOAD, targets, n);
	if (call == NULL)
		return qs_byteplus_no_memory(error);
	call->ids = *albs;
	call->query = "Action=GetMetricData&Version=2018-01-01";
	call->base.period_s = period_s;
	call->base.window_end_s = window_s;
	if (!qs_byteplus_load_body(arena, call, now_us, error) ||
		!qs_byteplus_sign(arena, call, now_us, error))
		return false;
	if (!qs_call_list_add(arena, calls, &call->base))
		return qs_byteplus_no_memory(error);
	return true;
}

bool
qs_byteplus_ask_load(QsArena *arena, const QsBatch *batch,
					 const QsIdIndex *albs, int metric_period_s,
					 int64_t now_us, QsCallList *calls, QsError *error)
{
	QsLoadWindow window = qs_load_window(metric_period_s,
										 QS_BYTEPLUS_LOAD_IDS,
										 QS_BYTEPLUS_LOAD_POINTS);

	for (int i = 0; i < albs->n_ids; i += window.ids_per_call)
	{
		QsIdIndex	slice = qs_id_index_slice(albs, i, window.ids_per_call);

		if (!add_load_call(arena, batch, &slice, window.window_s,
						   window.period_s, now_us, calls, error))
			return false;
	}
	return true;
}

static bool
add_past_call(QsArena *arena, const QsBatch *batch, const QsIdIndex *alb,
			  const QsLoadSeries *past, int64_t now_us, QsCallList *calls,
			  QsError *error)
{
	QsBytePlusCall *call;
	QsTarget  **targets;
	int			n;

	targets = qs_id_index_targets(alb, &n);
	call = qs_byteplus_call_new(arena, batch, QS_CALL_LOAD, targets, n);
	if (call == NULL)
		return qs_byteplus_no_memory(error);
	call->ids = *alb;
	call->of_past = true;
	call->query = "Action=GetMetricData&Version=2018-01-01";
	call->base.period_s = past->period_s;
	call->base.window_start_s = past->window_start_s;
	call->base.window_end_s = past->window_end_s;
	if (!qs_byteplus_load_body(arena, call, now_us, error) ||
		!qs_byteplus_sign(arena, call, now_us, error))
		return false;
	return qs_call_list_add(arena, calls, &call->base) ||
		qs_byteplus_no_memory(error);
}

/* A call for each load balancer: its points are as many as one may have. */
bool
qs_byteplus_ask_past(QsArena *arena, const QsBatch *batch, int64_t start_s,
					 int64_t end_s, int64_t now_us, QsCallList *calls,
					 QsError *error)
{
	QsTarget  **targets = qs_arena_alloc_array(arena,
											   (size_t) batch->n_targets + 1,
											   sizeof(*targets));
	QsLoadSeries *pasts = qs_arena_alloc_array(arena,
											   (size_t) batch->n_targets + 1,
											   sizeof(*pasts));
	QsLoadSeries past = qs_load_series_past(start_s, end_s,
											qs_byteplus_cloud_time_s(batch->memory,
																	 now_us) -
											CLOCK_MARGIN_S,
											QS_BYTEPLUS_PAST_DAYS);
	QsIdIndex	albs;
	int			n = 0;

	if (targets == NULL || pasts == NULL)
		return qs_byteplus_no_memory(error);
	for (int i = 0; i < batch->n_targets; i++)
	{
		QsTarget   *target = batch->targets[i];

		pasts[i] = past;
		target->past = &pasts[i];
		qs_error_clear(&target->load_error);
		if (target->alb_id != NULL && qs_byteplus_id_is_valid(target->alb_id) &&
			qs_byteplus_region_is_valid(batch->region))
			targets[n++] = target;
		else
			qs_error_set(&target->load_error, QS_ERROR_TERMINAL, "invalid_id",
						 "the load balancer's id or its region cannot be one");
	}
	if (past.window_end_s <= past.window_start_s)
		return true;
	if (!qs_id_index_build(arena, targets, n, qs_target_alb_id, &albs))
		return qs_byteplus_no_memory(error);
	for (int i = 0; i < albs.n_ids; i++)
	{
		QsIdIndex	alb = qs_id_index_slice(&albs, i, 1);

		if (!add_past_call(arena, batch, &alb, &past, now_us, calls, error))
			return false;
	}
	return true;
}

/* Asks again for the same load balancers, so many by each call. */
static bool
ask_again(QsArena *arena, QsBytePlusCall *call, int ids_each, int64_t now_us,
		  QsCallList *follow_up, QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	int64_t		window_s = call->base.window_end_s -
		call->base.window_start_s;

	for (int from = 0; from < call->ids.n_ids; from += ids_each)
	{
		QsIdIndex	slice = qs_id_index_slice(&call->ids, from, ids_each);
		QsCall	   *next;

		if (!add_load_call(arena, &batch, &slice, window_s,
						   call->base.period_s, now_us, follow_up, error))
			return false;
		next = follow_up->calls[follow_up->n_calls - 1];
		qs_byteplus_call(next)->asked_again = true;
	}
	return true;
}

/*
 * Was the window placed by a clock that this very reply has shown to be wrong?
 * Its points would be too old, or not yet complete.  Only once: a clock that
 * differs with each reply tells nothing.
 */
static bool
window_is_misplaced(const QsBytePlusCall *call)
{
	const QsRegionMemory *memory = call->base.memory;

	return memory != NULL && !call->asked_again && !call->of_past &&
		llabs(memory->skew_s - call->signed_skew_s) >= call->base.period_s;
}

/* Whole seconds; false if it is no time at all. */
static bool
read_time(const json_t *value, int64_t *at_s)
{
	if (json_is_integer(value))
	{
		*at_s = json_integer_value(value);
		return true;
	}
	if (json_is_real(value))
	{
		double		d = json_real_value(value);

		if (!(d >= 0 && d <= 1e15) || d != floor(d))
			return false;
		*at_s = (int64_t) d;
		return true;
	}
	return false;
}

/*
 * A point's value.  false: the series is malformed.  *missing: this point is
 * absent, as null, NaN (which servers in need write as a string) or a number
 * that cannot be a rate.
 */
static bool
read_value(const json_t *value, double *qps, bool *missing)
{
	*missing = true;
	if (value == NULL || json_is_null(value) ||
		qs_json_equals(value, "NaN"))
		return true;
	if (!json_is_number(value))
		return false;
	*qps = json_number_value(value);
	*missing = false;			/* nonsense is dropped with the others */
	return true;
}

typedef enum SeriesResult
{
	SERIES_OK,
	SERIES_MALFORMED,
	SERIES_NO_MEMORY
} SeriesResult;

/* Collects the points of complete buckets within the window. */
static SeriesResult
read_points(QsArena *arena, const QsCall *call, const json_t *data,
			QsLoadSeries *series)
{
	size_t		i;
	json_t	   *item;

	qs_load_series_start(series, call->window_start_s, call->window_end_s,
						 call->period_s);
	if (data == NULL || json_is_null(data))
		return SERIES_OK;
	if (!json_is_array(data))
		return SERIES_MALFORMED;
	json_array_foreach(data, i, item)
	{
		int64_t		at_s;
		double		qps;
		bool		missing;

		if (json_is_null(item))
			continue;
		if (!json_is_object(item) ||
			!read_time(json_object_get(item, "Timestamp"), &at_s) ||
			!read_value(json_object_get(item, "Value"), &qps, &missing))
			return SERIES_MALFORMED;
		if (!missing && !qs_load_series_add(arena, series, at_s, qps))
			return SERIES_NO_MEMORY;
	}
	return SERIES_OK;
}

/* Which load balancer a series is about, by its ResourceID; -1 if none. */
static int
find_series(const QsIdIndex *albs, const json_t *series)
{
	json_t	   *dimensions = json_object_get(series, "Dimensions");
	size_t		i;
	json_t	   *dimension;

	json_array_foreach(dimensions, i, dimension)
	{
		if (qs_json_equals(json_object_get(dimension, "Name"), "ResourceID"))
			return qs_id_index_find(albs,
									qs_json_text(json_object_get(dimension,
																 "Value")));
	}
	return -1;
}

/* Only averages: a server that is asked for several sends each apart. */
static bool
is_average(const json_t *series)
{
	const json_t *method = json_object_get(series, "StatisticsMethods");

	return !json_is_string(method) || json_string_length(method) == 0 ||
		qs_json_equals(method, "avg") || qs_json_equals(method, "average");
}

static void
set_load(const QsIdIndex *albs, int id, const QsLoad *load,
		 const QsError *error)
{
	for (int i = albs->first[id]; i < albs->first[id + 1]; i++)
	{
		albs->targets[i]->load = *load;
		albs->targets[i]->load_error = *error;
	}
}

/* The one series of a past; of several none is the right one. */
static bool
read_past(QsArena *arena, QsBytePlusCall *call, const json_t *results,
		  QsError *error)
{
	const json_t *found = NULL;
	QsLoadSeries points = {0};
	SeriesResult outcome;
	bool		several = false;
	size_t		i;
	json_t	   *series;

	json_array_foreach(results, i, series)
	{
		if (find_series(&call->ids, series) < 0 || !is_average(series))
			continue;
		several = found != NULL;
		found = series;
		if (several)
			break;
	}
	if (found == NULL)
		return true;
	outcome = several ? SERIES_MALFORMED :
		read_points(arena, &call->base, json_object_get(found, "DataPoints"),
					&points);
	if (outcome == SERIES_MALFORMED)
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_series",
							"the load balancer's data points cannot be understood");
	qs_load_series_settle(&points);
	for (int i = 0; i < call->base.n_targets; i++)
		*call->base.targets[i]->past = points;
	return outcome == SERIES_OK || qs_byteplus_no_memory(error);
}

/*
 * Reads all series of a document.  Two averages for one load balancer leave
 * it open which one is meant, so neither is used.
 */
static bool
read_series(QsArena *arena, QsBytePlusCall *call, const json_t *results,
			QsError *error)
{
	const QsLoad nothing = {
		.newest_end_us = QS_NEVER,
		.expected_points = (int) ((call->base.window_end_s -
								   call->base.window_start_s) /
								  call->base.period_s),
	};
	QsLoadSeries points = {0};
	int64_t		skew_s = call->base.memory ? call->base.memory->skew_s : 0;
	QsError		none;
	QsError		malformed;
	bool	   *seen;
	size_t		i;
	json_t	   *series;

	qs_error_clear(&none);
	qs_error_set(&malformed, QS_ERROR_MALFORMED, "malformed_series",
				 "the load balancer's data points cannot be understood");
	seen = qs_arena_alloc_array(arena, (size_t) call->ids.n_ids + 1,
								sizeof(bool));
	if (seen == NULL)
		return qs_byteplus_no_memory(error);
	for (int id = 0; id < call->ids.n_ids; id++)
		set_load(&call->ids, id, &nothing, &none);

	json_array_foreach(results, i, series)
	{
		QsLoad		load = nothing;
		SeriesResult outcome = SERIES_MALFORMED;
		int			id = find_series(&call->ids, series);

		if (id < 0 || !is_average(series))
			continue;
		if (!seen[id])
			outcome = read_points(arena, &call->base,
								  json_object_get(series, "DataPoints"),
								  &points);
		seen[id] = true;
		if (outcome == SERIES_NO_MEMORY)
			return qs_byteplus_no_memory(error);
		if (outcome == SERIES_OK)
			qs_load_series_summarize(&points, skew_s, &load);
		set_load(&call->ids, id, &load,
				 outcome == SERIES_OK ? &none : &malformed);
	}
	return true;
}

bool
qs_byteplus_parse_load(QsArena *arena, QsBytePlusCall *call,
					   const QsHttpReply *reply, int64_t now_us,
					   QsCallList *follow_up, QsError *error)
{
	json_t	   *root = qs_byteplus_reply_open(arena, call, reply, now_us,
											  error);
	json_t	   *result;
	json_t	   *series;
	bool		ok = false;

	if (root == NULL)
	{
		/* one id may have caused the refusal: each half is asked for alone */
		if (call->ids.n_ids > 1 && qs_byteplus_blames_an_id(error))
			return ask_again(arena, call, (call->ids.n_ids + 1) / 2, now_us,
							 follow_up, error);
		return false;
	}
	if (window_is_misplaced(call))
	{
		json_decref(root);
		return ask_again(arena, call, call->ids.n_ids, now_us, follow_up,
						 error);
	}
	result = qs_byteplus_result(root, error);
	series = json_object_get(json_object_get(result, "Data"),
							 "MetricDataResults");
	if (result == NULL)
		ok = false;
	else if (json_is_array(series) || json_is_null(series))
		ok = call->of_past ? read_past(arena, call, series, error) :
			read_series(arena, call, series, error);
	else
		qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
					 "reply has no MetricDataResults");
	json_decref(root);
	return ok;
}
