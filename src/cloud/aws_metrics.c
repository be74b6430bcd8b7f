/*-------------------------------------------------------------------------
 * aws_metrics.c
 *		Queries per second of load balancers: CloudWatch's GetMetricData.
 *
 * QPS is the sum of RequestCount divided by the period.  One call carries 500
 * queries, and groups that share a load balancer share one: metrics are paid
 * for by the piece.
 *
 * A load balancer publishes RequestCount only where there were requests.  A
 * minute without a point means silence, delay or a load balancer that does
 * not exist.  HealthyHostCount is published always, so where it has a point
 * and RequestCount has none the requests were zero.  It costs as much again,
 * and is asked only for load balancers that left gaps.
 */
#include "cloud/aws.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/timestamp.h"

#define MOST_POINTS			100800	/* of one call */

/* Points come with a delay: the last minute may still be incomplete. */
#define PUBLISH_DELAY_S		60

/*
 * The window ends at a full bucket of the cloud's clock; StartTime counts,
 * EndTime does not.
 */
static void
place_window(QsAwsCall *call, int64_t now_us)
{
	QsCall	   *base = &call->base;
	int64_t		length = base->window_end_s - base->window_start_s;
	int64_t		latest = qs_aws_cloud_time_s(base->memory, now_us) -
		PUBLISH_DELAY_S;

	base->window_end_s = latest / base->period_s * base->period_s;
	base->window_start_s = base->window_end_s - length;
	for (int i = 0; i < call->n_queries; i++)
		call->balancers[i]->window_start_s = base->window_start_s;
}

static json_t *
dimension(const char *name, const char *value)
{
	return json_pack("{s:s, s:s}", "Name", name, "Value", value);
}

/* One entry of MetricDataQueries; its Id is its place in the call. */
static json_t *
query(const QsAwsCall *call, int i)
{
	json_t	   *dimensions = json_array();
	char		id[16];

	snprintf(id, sizeof(id), "m%d", i);
	json_array_append_new(dimensions, dimension("LoadBalancer",
												call->balancers[i]->id));
	if (call->target_groups != NULL)
		json_array_append_new(dimensions, dimension("TargetGroup",
													call->target_groups[i]));
	return json_pack("{s:s, s:{s:{s:s, s:s, s:o}, s:I, s:s}, s:b}",
					 "Id", id, "MetricStat", "Metric",
					 "Namespace", "AWS/ApplicationELB",
					 "MetricName", call->target_groups != NULL ?
					 "HealthyHostCount" : "RequestCount",
					 "Dimensions", dimensions,
					 "Period", (json_int_t) call->base.period_s,
					 "Stat", call->target_groups != NULL ? "Minimum" : "Sum",
					 "ReturnData", 1);
}

bool
qs_aws_load_body(QsArena *arena, QsAwsCall *call, int64_t now_us,
				 QsError *error)
{
	json_t	   *queries = json_array();
	json_t	   *root;
	char	   *text;

	/* a further page, or a question about the same minutes, keeps its window */
	if (call->next_token == NULL && call->target_groups == NULL &&
		!call->of_past)
		place_window(call, now_us);
	for (int i = 0; i < call->n_queries; i++)
		json_array_append_new(queries, query(call, i));
	root = json_pack("{s:I, s:I, s:s, s:o}",
					 "StartTime", (json_int_t) call->base.window_start_s,
					 "EndTime", (json_int_t) call->base.window_end_s,
					 "ScanBy", "TimestampAscending",
					 "MetricDataQueries", queries);
	if (call->next_token != NULL)
		json_object_set_new(root, "NextToken", json_string(call->next_token));
	text = root != NULL &&
		json_array_size(queries) == (size_t) call->n_queries ?
		json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	call->base.request.body = text ? qs_arena_strdup(arena, text) : NULL;
	free(text);
	if (call->base.request.body == NULL)
		return qs_aws_no_memory(error);
	call->base.request.body_length = strlen(call->base.request.body);
	return true;
}

static bool
finish_call(QsArena *arena, QsAwsCall *call, int64_t now_us,
			QsCallList *calls, QsError *error)
{
	if (!qs_aws_load_body(arena, call, now_us, error) ||
		!qs_aws_sign(arena, call, now_us, error))
		return false;
	return qs_call_list_add(arena, calls, &call->base) ||
		qs_aws_no_memory(error);
}

/* The load balancers of a slice, with room for their points. */
static QsAwsBalancer **
make_balancers(QsArena *arena, const QsIdIndex *ids, int64_t period_s,
			   int n_buckets)
{
	size_t		n = (size_t) ids->n_ids;
	QsAwsBalancer **list = qs_arena_alloc_array(arena, n + 1, sizeof(*list));
	QsAwsBalancer *balancers = qs_arena_alloc_array(arena, n + 1,
													sizeof(*balancers));
	double	   *requests = qs_arena_alloc_array(arena,
												n * (size_t) n_buckets + 1,
												sizeof(double));

	if (list == NULL || balancers == NULL || requests == NULL)
		return NULL;
	for (int i = 0; i < ids->n_ids; i++)
	{
		QsAwsBalancer *balancer = &balancers[i];

		list[i] = balancer;
		balancer->id = ids->ids[i];
		balancer->targets = ids->targets + ids->first[i];
		balancer->n_targets = ids->first[i + 1] - ids->first[i];
		balancer->period_s = period_s;
		balancer->n_buckets = n_buckets;
		balancer->requests = requests + (size_t) i * (size_t) n_buckets;
		qs_error_clear(&balancer->error);
		for (int b = 0; b < n_buckets; b++)
			balancer->requests[b] = NAN;
		for (int t = 0; t < balancer->n_targets; t++)
			((QsAwsTarget *) balancer->targets[t]->provided)->balancer =
				balancer;
	}
	return list;
}

static bool
add_load_call(QsArena *arena, const QsBatch *batch, const QsIdIndex *ids,
			  int64_t window_s, int64_t period_s, bool asked_again,
			  int64_t now_us, QsCallList *calls, QsError *error)
{
	QsTarget  **targets;
	QsAwsCall  *call;
	int			n;

	targets = qs_id_index_targets(ids, &n);
	call = qs_aws_call_new(arena, batch, QS_CALL_LOAD, targets, n);
	if (call == NULL)
		return qs_aws_no_memory(error);
	call->ids = *ids;
	call->asked_again = asked_again;
	call->base.period_s = period_s;
	call->base.window_end_s = window_s;
	call->balancers = make_balancers(arena, ids, period_s,
									 (int) (window_s / period_s));
	if (call->balancers == NULL)
		return qs_aws_no_memory(error);
	call->n_queries = ids->n_ids;
	return finish_call(arena, call, now_us, calls, error);
}

bool
qs_aws_ask_past_load(QsArena *arena, const QsBatch *batch,
					 const QsIdIndex *balancers, const QsLoadSeries *past,
					 int64_t now_us, QsCallList *calls, QsError *error)
{
	int			n;
	QsTarget  **targets = qs_id_index_targets(balancers, &n);
	QsAwsCall  *call = qs_aws_call_new(arena, batch, QS_CALL_LOAD, targets, n);

	if (call == NULL)
		return qs_aws_no_memory(error);
	call->ids = *balancers;
	call->of_past = true;
	call->base.period_s = past->period_s;
	call->base.window_start_s = past->window_start_s;
	call->base.window_end_s = past->window_end_s;
	call->balancers = make_balancers(arena, balancers, past->period_s,
									 (int) ((past->window_end_s -
											 past->window_start_s) /
											past->period_s));
	if (call->balancers == NULL)
		return qs_aws_no_memory(error);
	call->n_queries = balancers->n_ids;
	for (int i = 0; i < call->n_queries; i++)
		call->balancers[i]->window_start_s = past->window_start_s;
	return finish_call(arena, call, now_us, calls, error);
}

bool
qs_aws_ask_load(QsArena *arena, const QsBatch *batch,
				const QsIdIndex *balancers, int metric_period_s,
				int64_t now_us, QsCallList *calls, QsError *error)
{
	QsLoadWindow window = qs_load_window(metric_period_s, QS_AWS_METRICS,
										 MOST_POINTS);

	for (int i = 0; i < balancers->n_ids; i += window.ids_per_call)
	{
		QsIdIndex	slice = qs_id_index_slice(balancers, i,
											  window.ids_per_call);

		if (!add_load_call(arena, batch, &slice, window.window_s,
						   window.period_s, false, now_us, calls, error))
			return false;
	}
	return true;
}

/* ----------
 * Answers
 * ----------
 */

/* From the buckets to the load of its targets. */
static bool
settle_balancer(QsArena *arena, QsAwsBalancer *balancer, int64_t settled_s,
				int64_t skew_s, QsError *error)
{
	QsLoad		load = {.newest_end_us = QS_NEVER};
	QsLoadSeries series = {0};
	int64_t		end_s = balancer->window_start_s +
		balancer->n_buckets * balancer->period_s;

	qs_load_series_start(&series, balancer->window_start_s, end_s,
						 balancer->period_s);
	load.expected_points = balancer->n_buckets;
	for (int b = 0; b < balancer->n_buckets; b++)
	{
		int64_t		at_s = balancer->window_start_s + b * balancer->period_s;

		if (!isnan(balancer->requests[b]))
		{
			if (!qs_load_series_add(arena, &series, at_s,
									balancer->requests[b] /
									(double) balancer->period_s))
				return qs_aws_no_memory(error);
		}
		else if (at_s + balancer->period_s > settled_s)
			load.expected_points--; /* may come yet: not missed */
	}
	if (balancer->error.class == QS_ERROR_NONE)
		qs_load_series_summarize(&series, skew_s, &load);
	for (int i = 0; i < balancer->n_targets; i++)
	{
		if (balancer->targets[i]->past != NULL)
			*balancer->targets[i]->past = series;
		balancer->targets[i]->load = load;
		balancer->targets[i]->load_error = balancer->error;
	}
	return true;
}

/* Minutes without a point that will not come any more: those that may yet
 * come cannot be told by healthy hosts either, and each question is paid for. */
static bool
has_gaps(const QsAwsBalancer *balancer, int64_t settled_s)
{
	for (int b = 0; b < balancer->n_buckets; b++)
		if (isnan(balancer->requests[b]) && balancer->window_start_s +
			(b + 1) * balancer->period_s <= settled_s)
			return true;
	return false;
}

/* The bucket that a time is in, which imitations of CloudWatch may write as
 * text; -1 for none. */
static int
bucket_of(const QsAwsBalancer *balancer, const json_t *time)
{
	double		at = json_is_number(time) ? json_number_value(time) : -1;
	const char *text = qs_json_text(time);
	double		bucket;
	int64_t		at_us;

	if (text != NULL && qs_timestamp_parse(text, &at_us))
		at = (double) at_us / 1e6;
	if (!(at >= 0 && at <= 1e12))
		return -1;
	bucket = floor((at - (double) balancer->window_start_s) /
				   (double) balancer->period_s);
	return bucket >= 0 && bucket < balancer->n_buckets ? (int) bucket : -1;
}

static void
blame(QsAwsBalancer *balancer, QsErrorClass class, const char *code,
	  const char *message)
{
	qs_error_set(&balancer->error, class, code, "%s", message);
}

/*
 * One entry of MetricDataResults.  With healthy hosts, a minute that has a
 * point of those and none of requests had no requests.
 */
static void
read_result(QsAwsBalancer *balancer, const json_t *result, bool hosts)
{
	const json_t *times = json_object_get(result, "Timestamps");
	const json_t *values = json_object_get(result, "Values");
	const json_t *status = json_object_get(result, "StatusCode");

	balancer->named = true;
	if (qs_json_equals(status, "Forbidden"))
		blame(balancer, QS_ERROR_TERMINAL, "Forbidden",
			  "the metrics of this load balancer may not be read");
	else if (qs_json_equals(status, "InternalError"))
		blame(balancer, QS_ERROR_TRANSIENT, "InternalError",
			  "CloudWatch could not read the metrics of this load balancer");
	else if (json_array_size(times) != json_array_size(values))
		blame(balancer, QS_ERROR_MALFORMED, "malformed_series",
			  "the load balancer's data points cannot be understood");
	if (balancer->error.class != QS_ERROR_NONE)
		return;
	for (size_t i = 0; i < json_array_size(times); i++)
	{
		const json_t *value = json_array_get(values, i);
		int			b = bucket_of(balancer, json_array_get(times, i));

		if (b < 0 || !json_is_number(value) ||
			!(json_number_value(value) >= 0))
			continue;
		if (!hosts)
			balancer->requests[b] = json_number_value(value);
		else if (isnan(balancer->requests[b]))
			balancer->requests[b] = 0;
	}
}

/* "m12" is 12; -1 for anything else. */
static int
query_of(const QsAwsCall *call, const json_t *id)
{
	const char *text = qs_json_text(id);
	int			i;

	if (text == NULL || text[0] != 'm' || !qs_aws_count(text + 1, &i) ||
		i >= call->n_queries)
		return -1;
	return i;
}

/* The series of requests that are complete now: load, and what is missing. */
static bool
settle(QsArena *arena, QsAwsCall *call, int64_t now_us, QsError *error)
{
	int64_t		skew_s = call->base.memory ? call->base.memory->skew_s : 0;
	int64_t		settled_s = qs_aws_cloud_time_s(call->base.memory, now_us) -
		QS_AWS_SETTLED_AFTER_S;

	for (int i = 0; i < call->n_queries; i++)
	{
		QsAwsBalancer *balancer = call->balancers[i];

		balancer->answered = true;
		if (!balancer->named)
			blame(balancer, QS_ERROR_MALFORMED, "malformed_series",
				  "the reply does not mention the load balancer");
		if (!settle_balancer(arena, balancer, settled_s, skew_s, error))
			return false;
	}
	return true;
}

/* A gap that may yet be filled is no zero. */
static void
keep_late_gaps(QsAwsCall *call, const double *before, int64_t settled_s)
{
	size_t		at = 0;

	for (int i = 0; i < call->n_queries; i++)
	{
		QsAwsBalancer *balancer = call->balancers[i];

		for (int b = 0; b < balancer->n_buckets; b++, at++)
			if (isnan(before[at]) && balancer->window_start_s +
				(b + 1) * balancer->period_s > settled_s)
				balancer->requests[b] = NAN;
	}
}

static double *
copy_requests(QsArena *arena, const QsAwsCall *call)
{
	size_t		n = 0;
	double	   *copy;

	for (int i = 0; i < call->n_queries; i++)
		n += (size_t) call->balancers[i]->n_buckets;
	copy = qs_arena_alloc_array(arena, n + 1, sizeof(double));
	n = 0;
	for (int i = 0; copy != NULL && i < call->n_queries; i++)
	{
		const QsAwsBalancer *balancer = call->balancers[i];

		memcpy(copy + n, balancer->requests,
			   sizeof(double) * (size_t) balancer->n_buckets);
		n += (size_t) balancer->n_buckets;
	}
	return copy;
}

static bool
ask_next_page(QsArena *arena, const QsAwsCall *call, const char *token,
			  int64_t now_us, QsCallList *follow_up, QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	QsAwsCall  *next;

	if (call->page + 1 >= QS_AWS_MOST_PAGES)
		return qs_error_set(error, QS_ERROR_MALFORMED, "endless_pages",
							"the reply has more pages than there can be points");
	next = qs_aws_call_new(arena, &batch, QS_CALL_LOAD, call->base.targets,
						   call->base.n_targets);
	if (next == NULL)
		return qs_aws_no_memory(error);
	next->ids = call->ids;
	next->page = call->page + 1;
	next->next_token = qs_arena_strdup(arena, token);
	next->asked_again = call->asked_again;
	next->of_past = call->of_past;
	next->balancers = call->balancers;
	next->target_groups = call->target_groups;
	next->n_queries = call->n_queries;
	next->base.window_start_s = call->base.window_start_s;
	next->base.window_end_s = call->base.window_end_s;
	next->base.period_s = call->base.period_s;
	if (next->next_token == NULL)
		return qs_aws_no_memory(error);
	return finish_call(arena, next, now_us, follow_up, error);
}

/* Was the window placed by a clock that this very reply has shown wrong? */
static bool
window_is_misplaced(const QsAwsCall *call)
{
	const QsRegionMemory *memory = call->base.memory;

	return memory != NULL && !call->asked_again && !call->of_past &&
		call->page == 0 &&
		call->target_groups == NULL &&
		llabs(memory->skew_s - call->signed_skew_s) >= call->base.period_s;
}

static bool
read_reply(QsArena *arena, QsAwsCall *call, json_t *root, int64_t now_us,
		   QsCallList *follow_up, QsError *error)
{
	json_t	   *results = json_object_get(root, "MetricDataResults");
	const char *token = qs_json_text(json_object_get(root, "NextToken"));
	bool		hosts = call->target_groups != NULL;
	QsBatch		batch = qs_call_batch(&call->base);
	double	   *before = NULL;
	size_t		i;
	json_t	   *result;

	if (!json_is_array(results))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
							"reply has no MetricDataResults");
	if (hosts && (before = copy_requests(arena, call)) == NULL)
		return qs_aws_no_memory(error);
	json_array_foreach(results, i, result)
	{
		int			q = query_of(call, json_object_get(result, "Id"));

		if (q >= 0)
			read_result(call->balancers[q], result, hosts);
	}
	if (hosts)
		keep_late_gaps(call, before,
					   qs_aws_cloud_time_s(call->base.memory, now_us) -
					   QS_AWS_SETTLED_AFTER_S);
	if (token != NULL && token[0] != '\0')
		return ask_next_page(arena, call, token, now_us, follow_up, error);
	return settle(arena, call, now_us, error) &&
		(hosts || qs_aws_ask_hosts(arena, &batch, call->base.targets,
								   call->base.n_targets, now_us, follow_up,
								   error));
}

bool
qs_aws_parse_load(QsArena *arena, QsAwsCall *call, const QsHttpReply *reply,
				  int64_t now_us, QsCallList *follow_up, QsError *error)
{
	json_t	   *root;
	bool		ok;

	if (!qs_aws_accepted(arena, call, reply, now_us, error))
		return false;
	if (window_is_misplaced(call))
	{
		QsBatch		batch = qs_call_batch(&call->base);

		return add_load_call(arena, &batch, &call->ids,
							 call->base.window_end_s -
							 call->base.window_start_s, call->base.period_s,
							 true, now_us, follow_up, error);
	}
	root = qs_answer_json(arena, reply);
	if (!json_is_object(root))
		ok = qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
						  "reply is not a complete JSON document");
	else
		ok = read_reply(arena, call, root, now_us, follow_up, error);
	json_decref(root);
	return ok;
}

/* ----------
 * Healthy hosts
 * ----------
 */

/* A target group of any of the load balancer's targets; NULL if none. */
static const char *
target_group_of(const QsAwsBalancer *balancer, int nth)
{
	for (int i = 0; i < balancer->n_targets; i++)
	{
		const QsAwsTarget *ours = balancer->targets[i]->provided;

		if (nth < ours->n_target_groups)
			return ours->target_groups[nth];
	}
	return NULL;
}

/* Is this target's load balancer one to ask about, and has not been? */
static QsAwsBalancer *
balancer_to_ask(const QsTarget *target, int64_t settled_s)
{
	const QsAwsTarget *ours = target->provided;
	QsAwsBalancer *balancer = ours ? ours->balancer : NULL;

	if (balancer == NULL || !balancer->answered || balancer->hosts_asked ||
		balancer->error.class != QS_ERROR_NONE || !has_gaps(balancer, settled_s) ||
		target_group_of(balancer, 0) == NULL)
		return NULL;
	return balancer;
}

static bool
add_hosts_call(QsArena *arena, const QsBatch *batch, QsAwsBalancer **asked,
			   const char **target_groups, int n, int64_t now_us,
			   QsCallList *follow_up, QsError *error)
{
	int			n_targets = 0;
	QsTarget  **targets;
	QsAwsCall  *call;

	for (int i = 0; i < n; i++)
		n_targets += asked[i]->n_targets;
	targets = qs_arena_alloc_array(arena, (size_t) n_targets + 1,
								   sizeof(*targets));
	call = qs_aws_call_new(arena, batch, QS_CALL_LOAD, targets, n_targets);
	if (targets == NULL || call == NULL)
		return qs_aws_no_memory(error);
	n_targets = 0;
	for (int i = 0; i < n; i++)
		for (int t = 0; t < asked[i]->n_targets; t++)
			targets[n_targets++] = asked[i]->targets[t];
	call->balancers = asked;
	call->target_groups = target_groups;
	call->n_queries = n;
	call->base.period_s = asked[0]->period_s;
	call->base.window_start_s = asked[0]->window_start_s;
	call->base.window_end_s = asked[0]->window_start_s +
		asked[0]->n_buckets * asked[0]->period_s;
	return finish_call(arena, call, now_us, follow_up, error);
}

/*
 * Each load balancer once a cycle, by up to QS_AWS_TARGET_GROUPS queries: it
 * does not say which of the scaling group's target groups are its own.
 */
bool
qs_aws_ask_hosts(QsArena *arena, const QsBatch *batch, QsTarget **targets,
				 int n_targets, int64_t now_us, QsCallList *follow_up,
				 QsError *error)
{
	size_t		room = (size_t) n_targets * QS_AWS_TARGET_GROUPS;
	int64_t		settled_s = qs_aws_cloud_time_s(batch->memory, now_us) -
		QS_AWS_SETTLED_AFTER_S;
	QsAwsBalancer **asked;
	const char **groups;
	int			n = 0;

	for (int i = 0; i < n_targets; i++)
		n += balancer_to_ask(targets[i], settled_s) != NULL;
	if (n == 0)
		return true;
	asked = qs_arena_alloc_array(arena, room, sizeof(*asked));
	groups = qs_arena_alloc_array(arena, room, sizeof(*groups));
	if (asked == NULL || groups == NULL)
		return qs_aws_no_memory(error);
	n = 0;
	for (int i = 0; i < n_targets; i++)
	{
		QsAwsBalancer *balancer = balancer_to_ask(targets[i], settled_s);
		const char *group;

		if (balancer == NULL)
			continue;
		balancer->hosts_asked = true;
		for (int nth = 0; nth < QS_AWS_TARGET_GROUPS &&
			 (group = target_group_of(balancer, nth)) != NULL; nth++)
		{
			asked[n] = balancer;
			groups[n++] = group;
		}
	}
	for (int i = 0; i < n; i += QS_AWS_METRICS)
		if (!add_hosts_call(arena, batch, asked + i, groups + i,
							n - i < QS_AWS_METRICS ? n - i : QS_AWS_METRICS,
							now_us, follow_up, error))
			return false;
	return true;
}
