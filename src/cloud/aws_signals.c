/*-------------------------------------------------------------------------
 * aws_signals.c
 *		Further signals of scaling groups and load balancers: CloudWatch's
 *		GetMetricData, like the load.
 *
 * Each metric of each scaling group or load balancer is asked once, however
 * many groups want it: metrics are paid for by the piece.
 *
 * A level (use, latency) is the newest point of the last quarter of an hour,
 * as basic monitoring publishes CPU every five minutes; how old it may be is
 * the signal's to say.  Errors are published only in minutes that have some,
 * and late: what counts is the worst of the last five minutes, and none at all
 * is nothing, of which the signal says whether it means zero.
 */
#include "cloud/aws.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/timestamp.h"

#define PERIOD_S			60
#define WINDOW_S			900
#define WORST_OF_S			300

/* The newest minute may still be incomplete. */
#define PUBLISH_DELAY_S		60

typedef struct Metric
{
	const char *name;			/* of the signal */
	const char *namespace;
	const char *metric;
	const char *statistic;
	bool		of_balancer;	/* else of the scaling group */
	bool		of_target_group;	/* ... of one of its target groups */
	bool		rate;			/* a sum, told per second */
	bool		worst;			/* of the last minutes; else the newest point */
} Metric;

static const Metric metrics[] = {
	{"cpu", "AWS/EC2", "CPUUtilization", "Average",
	false, false, false, false},
	{"memory", "CWAgent", "mem_used_percent", "Average",
	false, false, false, false},
	{"request_count_per_target", "AWS/ApplicationELB",
	"RequestCountPerTarget", "Sum", true, true, true, false},
	{"target_response_time", "AWS/ApplicationELB", "TargetResponseTime",
	"Average", true, false, false, false},
	{"target_5xx", "AWS/ApplicationELB", "HTTPCode_Target_5XX_Count", "Sum",
	true, false, true, true},
	{"elb_5xx", "AWS/ApplicationELB", "HTTPCode_ELB_5XX_Count", "Sum",
	true, false, true, true},
};

const char *const qs_aws_signals[] = {"cpu", "memory",
	"request_count_per_target", "target_response_time", "target_5xx",
"elb_5xx", NULL};

/* One metric of one thing, in one cycle; shared by the pages of its call. */
typedef struct QsAwsSeries
{
	const Metric *metric;
	const char *of;				/* value of the dimension */
	const char *target_group;	/* value of the second one, or NULL */
	QsTarget  **targets;
	int			n_targets;
	int64_t		newest_s;		/* start of its minute */
	double		newest;			/* NAN = no point */
	double		worst;			/* likewise */
	bool		named;			/* some page named it */
	QsError		error;
} QsAwsSeries;

static const Metric *
metric_of(const QsTarget *target)
{
	const char *name = target->query != NULL ? target->query->query : NULL;

	for (size_t i = 0; name != NULL && i < sizeof(metrics) /
		 sizeof(metrics[0]); i++)
		if (strcmp(metrics[i].name, name) == 0)
			return &metrics[i];
	return NULL;
}

static const char *
dimension_of(const QsTarget *target)
{
	return metric_of(target)->of_balancer ? target->alb_id : target->asg_id;
}

/* Which of the balancer's target groups: the signal's label_value. */
static const char *
target_group_of(const QsTarget *target)
{
	return metric_of(target)->of_target_group ? target->query->label_value :
		NULL;
}

static int
compare_targets(const void *a, const void *b)
{
	const QsTarget *one = *(QsTarget *const *) a;
	const QsTarget *two = *(QsTarget *const *) b;
	const Metric *first = metric_of(one);
	const Metric *second = metric_of(two);
	int			order;

	if (first != second)
		return first < second ? -1 : 1;
	order = strcmp(dimension_of(one), dimension_of(two));
	if (order != 0 || !first->of_target_group)
		return order;
	return strcmp(target_group_of(one), target_group_of(two));
}

/* ----------
 * Questions
 * ----------
 */

/* One entry of MetricDataQueries; its Id is its place in the call. */
static json_t *
query(const QsAwsSeries *series, int i)
{
	const Metric *metric = series->metric;
	json_t	   *dimensions = json_pack("[{s:s, s:s}]", "Name",
									   metric->of_balancer ? "LoadBalancer" :
									   "AutoScalingGroupName",
									   "Value", series->of);
	char		id[16];

	/* what could not be made makes no query either */
	if (series->target_group != NULL)
		json_array_append_new(dimensions,
							  json_pack("{s:s, s:s}", "Name", "TargetGroup",
										"Value", series->target_group));
	snprintf(id, sizeof(id), "m%d", i);
	return json_pack("{s:s, s:{s:{s:s, s:s, s:o}, s:i, s:s}, s:b}",
					 "Id", id, "MetricStat", "Metric",
					 "Namespace", metric->namespace,
					 "MetricName", metric->metric,
					 "Dimensions", dimensions,
					 "Period", PERIOD_S, "Stat", metric->statistic,
					 "ReturnData", 1);
}

/* Newest first, so that what counts is on the first page. */
bool
qs_aws_signal_body(QsArena *arena, QsAwsCall *call, int64_t now_us,
				   QsError *error)
{
	QsCall	   *base = &call->base;
	json_t	   *queries = json_array();
	json_t	   *root;
	char	   *text;

	if (call->next_token == NULL)
	{
		base->window_end_s = (qs_aws_cloud_time_s(base->memory, now_us) -
							  PUBLISH_DELAY_S) / PERIOD_S * PERIOD_S;
		base->window_start_s = base->window_end_s - WINDOW_S;
	}
	for (int i = 0; i < call->n_queries; i++)
		json_array_append_new(queries, query(&call->series[i], i));
	root = json_pack("{s:I, s:I, s:s, s:o}",
					 "StartTime", (json_int_t) base->window_start_s,
					 "EndTime", (json_int_t) base->window_end_s,
					 "ScanBy", "TimestampDescending",
					 "MetricDataQueries", queries);
	if (call->next_token != NULL)
		json_object_set_new(root, "NextToken", json_string(call->next_token));
	text = root != NULL &&
		json_array_size(queries) == (size_t) call->n_queries ?
		json_dumps(root, JSON_COMPACT) : NULL;
	json_decref(root);
	base->request.body = text ? qs_arena_strdup(arena, text) : NULL;
	free(text);
	if (base->request.body == NULL)
		return qs_aws_no_memory(error);
	base->request.body_length = strlen(base->request.body);
	return true;
}

static bool
add_call(QsArena *arena, const QsBatch *batch, QsAwsSeries *series,
		 int n_series, const QsAwsCall *page_of, const char *token,
		 int64_t now_us, QsCallList *calls, QsError *error)
{
	QsTarget  **targets = series[0].targets;
	int			n_targets = 0;
	QsAwsCall  *call;

	for (int i = 0; i < n_series; i++)
		n_targets += series[i].n_targets;
	call = qs_aws_call_new(arena, batch, QS_CALL_SIGNAL, targets, n_targets);
	if (call == NULL)
		return qs_aws_no_memory(error);
	call->series = series;
	call->n_queries = n_series;
	if (page_of != NULL)
	{
		call->page = page_of->page + 1;
		call->next_token = qs_arena_strdup(arena, token);
		call->base.window_start_s = page_of->base.window_start_s;
		call->base.window_end_s = page_of->base.window_end_s;
		if (call->next_token == NULL)
			return qs_aws_no_memory(error);
	}
	if (!qs_aws_signal_body(arena, call, now_us, error) ||
		!qs_aws_sign(arena, call, now_us, error))
		return false;
	return qs_call_list_add(arena, calls, &call->base) ||
		qs_aws_no_memory(error);
}

/* targetgroup/NAME/ID, of characters that an ARN may have */
static bool
is_target_group(const char *text)
{
	static const char prefix[] = "targetgroup/";

	return text != NULL && strncmp(text, prefix, sizeof(prefix) - 1) == 0 &&
		strlen(text) <= 128 &&
		text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
					"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-/")] == '\0';
}

/* Sorts out what cannot be asked for. */
static bool
can_be_asked(const QsBatch *batch, QsTarget *target)
{
	const Metric *metric = metric_of(target);
	QsError    *error = &target->reading_error;

	if (metric == NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "unknown_signal",
							"there is no such signal of AWS");
	if (!qs_aws_region_is_valid(batch->region))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_region",
							"the region is empty or holds characters that do "
							"not belong there");
	if (!metric->of_balancer)
		return qs_aws_check_group_name(target->asg_id, error);
	if (target->alb_id == NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "no_alb_id",
							"the signal is one of the load balancer, and the "
							"group has no alb_id");
	if (metric->of_target_group &&
		!is_target_group(target->query->label_value))
		return qs_error_set(error, QS_ERROR_TERMINAL, "no_target_group",
							"label_value must be the end of the target "
							"group's ARN, targetgroup/NAME/ID");
	return qs_aws_check_balancer(target->alb_id, error);
}

/* Targets that are sorted, as series: alike ones share one. */
static int
make_series(QsAwsSeries *series, QsTarget **targets, int n)
{
	int			n_series = 0;

	for (int i = 0; i < n; i++)
	{
		QsAwsSeries *last = n_series > 0 ? &series[n_series - 1] : NULL;

		if (last == NULL || compare_targets(&targets[i - 1], &targets[i]) != 0)
		{
			last = &series[n_series++];
			last->metric = metric_of(targets[i]);
			last->of = dimension_of(targets[i]);
			last->target_group = target_group_of(targets[i]);
			last->targets = &targets[i];
			last->newest = last->worst = NAN;
		}
		last->n_targets++;
	}
	return n_series;
}

bool
qs_aws_observe_signals(QsArena *arena, const QsBatch *batch,
					   int metric_period_s, int64_t now_us,
					   QsCallList *calls, QsError *error)
{
	size_t		room = (size_t) (batch->n_targets > 0 ? batch->n_targets : 0) + 1;
	QsTarget  **targets = qs_arena_alloc_array(arena, room, sizeof(*targets));
	QsAwsSeries *series = qs_arena_alloc_array(arena, room, sizeof(*series));
	int			n = 0;
	int			n_series;

	qs_error_clear(error);
	if (targets == NULL || series == NULL)
		return qs_aws_no_memory(error);
	for (int i = 0; i < batch->n_targets; i++)
		if (can_be_asked(batch, batch->targets[i]))
			targets[n++] = batch->targets[i];
	qsort(targets, (size_t) n, sizeof(*targets), compare_targets);
	n_series = make_series(series, targets, n);
	for (int i = 0; i < n_series; i += QS_AWS_METRICS)
		if (!add_call(arena, batch, series + i, n_series - i < QS_AWS_METRICS ?
					  n_series - i : QS_AWS_METRICS, NULL, NULL, now_us,
					  calls, error))
			return false;
	return true;
}

/* ----------
 * Answers
 * ----------
 */

/* The start of a minute of the window, which imitations of CloudWatch may
 * write as text; -1 for none. */
static int64_t
minute_of(const QsAwsCall *call, const json_t *time)
{
	double		at = json_is_number(time) ? json_number_value(time) : -1;
	const char *text = qs_json_text(time);
	int64_t		at_us;

	if (text != NULL && qs_timestamp_parse(text, &at_us))
		at = (double) at_us / 1e6;
	return at >= (double) call->base.window_start_s &&
		at < (double) call->base.window_end_s ? (int64_t) at : -1;
}

static void
take_point(const QsAwsCall *call, QsAwsSeries *series, int64_t at_s,
		   double value)
{
	if (isnan(series->newest) || at_s >= series->newest_s)
	{
		series->newest_s = at_s;
		series->newest = value;
	}
	if (at_s >= call->base.window_end_s - WORST_OF_S &&
		!(series->worst >= value))
		series->worst = value;
}

/* One entry of MetricDataResults. */
static void
read_result(const QsAwsCall *call, QsAwsSeries *series, const json_t *result)
{
	const json_t *times = json_object_get(result, "Timestamps");
	const json_t *values = json_object_get(result, "Values");
	const json_t *status = json_object_get(result, "StatusCode");

	series->named = true;
	if (qs_json_equals(status, "Forbidden"))
		qs_error_set(&series->error, QS_ERROR_TERMINAL, "Forbidden",
					 "the metric may not be read");
	else if (qs_json_equals(status, "InternalError"))
		qs_error_set(&series->error, QS_ERROR_TRANSIENT, "InternalError",
					 "CloudWatch could not read the metric");
	else if (json_array_size(times) != json_array_size(values))
		qs_error_set(&series->error, QS_ERROR_MALFORMED, "malformed_series",
					 "the metric's data points cannot be understood");
	if (series->error.class != QS_ERROR_NONE)
		return;
	for (size_t i = 0; i < json_array_size(times); i++)
	{
		const json_t *value = json_array_get(values, i);
		int64_t		at_s = minute_of(call, json_array_get(times, i));

		/* false for NaN, too */
		if (at_s >= 0 && json_is_number(value) &&
			json_number_value(value) >= 0 && json_number_value(value) <= 1e15)
			take_point(call, series, at_s, json_number_value(value));
	}
}

static void
settle_series(const QsAwsCall *call, QsAwsSeries *series)
{
	int64_t		skew_s = call->base.memory ? call->base.memory->skew_s : 0;
	double		point = series->metric->worst ? series->worst :
		series->newest;
	double		value = series->metric->rate ? point / PERIOD_S : point;
	int64_t		at_s = series->metric->worst || isnan(value) ?
		call->base.window_end_s : series->newest_s + PERIOD_S;

	if (!series->named && series->error.class == QS_ERROR_NONE)
		qs_error_set(&series->error, QS_ERROR_MALFORMED, "malformed_series",
					 "the reply does not mention the metric");
	for (int i = 0; i < series->n_targets; i++)
	{
		QsTarget   *target = series->targets[i];

		target->reading_error = series->error;
		if (series->error.class != QS_ERROR_NONE)
			continue;
		target->reading.at_us = (at_s - skew_s) * 1000000;
		target->reading.state = isnan(value) ? QS_READING_EMPTY :
			QS_READING_KNOWN;
		target->reading.value = isnan(value) ? 0 : value;
	}
}

static bool
read_reply(QsArena *arena, QsAwsCall *call, json_t *root, int64_t now_us,
		   QsCallList *follow_up, QsError *error)
{
	const json_t *results = json_object_get(root, "MetricDataResults");
	const char *token = qs_json_text(json_object_get(root, "NextToken"));
	QsBatch		batch = qs_call_batch(&call->base);
	size_t		i;
	const json_t *result;

	if (!json_is_array(results))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
							"reply has no MetricDataResults");
	json_array_foreach(results, i, result)
	{
		const char *id = qs_json_text(json_object_get(result, "Id"));
		int			q;

		if (id != NULL && id[0] == 'm' && qs_aws_count(id + 1, &q) &&
			q < call->n_queries)
			read_result(call, &call->series[q], result);
	}
	if (token != NULL && token[0] != '\0')
	{
		if (call->page + 1 >= QS_AWS_MOST_PAGES)
			return qs_error_set(error, QS_ERROR_MALFORMED, "endless_pages",
								"the reply has more pages than there can be points");
		return add_call(arena, &batch, call->series, call->n_queries, call,
						token, now_us, follow_up, error);
	}
	for (int q = 0; q < call->n_queries; q++)
		settle_series(call, &call->series[q]);
	return true;
}

bool
qs_aws_parse_signals(QsArena *arena, QsAwsCall *call,
					 const QsHttpReply *reply, int64_t now_us,
					 QsCallList *follow_up, QsError *error)
{
	json_t	   *root;
	bool		ok;

	if (!qs_aws_accepted(arena, call, reply, now_us, error))
		return false;
	root = qs_answer_json(arena, reply);
	if (!json_is_object(root))
		ok = qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
						  "reply is not a complete JSON document");
	else
		ok = read_reply(arena, call, root, now_us, follow_up, error);
	json_decref(root);
	return ok;
}
