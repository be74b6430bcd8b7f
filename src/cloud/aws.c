/*-------------------------------------------------------------------------
 * aws.c
 *		The AWS provider: where its services are, and its entry points.
 *
 * Every call of the provider is made and signed here; what is asked and how
 * answers are read is in aws_groups.c, aws_metrics.c and aws_actions.c.  No
 * file, variable, clock or socket is touched.
 *-------------------------------------------------------------------------
 */
#include "cloud/aws.h"

#include <string.h>

#define LONGEST_NAME		255
#define LONGEST_DIMENSION	255
#define LONGEST_REGION		64

/* GetMetricData: 50 calls per second and region by default, which may be
 * more by agreement; counted where they arrive, hence the tenth more. */
#define MONITOR_CALLS		50
#define MONITOR_PERIOD_S	1.1

bool
qs_aws_no_memory(QsError *error)
{
	return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
						"the cycle's memory limit was reached");
}

int64_t
qs_aws_cloud_time_s(const QsRegionMemory *memory, int64_t now_us)
{
	return now_us / 1000000 + (memory != NULL ? memory->skew_s : 0);
}

/* Any printable text but line breaks; it is escaped where it is sent. */
bool
qs_aws_name_is_valid(const char *name)
{
	size_t		length;

	if (name == NULL)
		return false;
	for (length = 0; name[length] != '\0'; length++)
	{
		unsigned char c = (unsigned char) name[length];

		if (length >= LONGEST_NAME || c < ' ' || c == 0x7f)
			return false;
	}
	return length > 0;
}

static bool
consists_of(const char *s, const char *also, size_t longest)
{
	size_t		length;

	if (s == NULL)
		return false;
	for (length = 0; s[length] != '\0'; length++)
	{
		char		c = s[length];

		if (length >= longest ||
			(!(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
			 !(c >= '0' && c <= '9') && strchr(also, c) == NULL))
			return false;
	}
	return length > 0;
}

/* Only characters that mean the same in JSON and in a log. */
bool
qs_aws_dimension_is_valid(const char *id)
{
	return consists_of(id, "-_./:", LONGEST_DIMENSION);
}

bool
qs_aws_region_is_valid(const char *region)
{
	return consists_of(region, "-", LONGEST_REGION);
}

/* NULL when the arena is exhausted. */
QsAwsCall *
qs_aws_call_new(QsArena *arena, const QsBatch *batch, QsCallKind kind,
				QsTarget **targets, int n_targets)
{
	QsAwsCall  *call = qs_arena_alloc(arena, sizeof(QsAwsCall));

	if (call == NULL ||
		!qs_call_init(arena, &call->base, batch, kind == QS_CALL_SIGNAL ?
					  QS_CALL_LOAD : kind, targets, n_targets))
		return NULL;
	call->base.kind = kind;		/* signals are of the load's API and limit */
	if (qs_aws_is_monitor(call))
	{
		call->base.burst = MONITOR_CALLS;
		if (!batch->account->rate_limits_off)
			call->base.rate_per_second = MONITOR_CALLS / MONITOR_PERIOD_S;
	}
	return call;
}

/* What the hosts of a region's partition end with, as AWS' own SDKs have it
 * (partitions.json). */
const char *
qs_aws_domain(const char *region, bool dual_stack)
{
	static const struct
	{
		const char *prefix;
		const char *domain;
		const char *dual_stack;
	}			partitions[] = {
		{"cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
		{"us-iso-", "c2s.ic.gov", "api.aws.ic.gov"},
		{"us-isob-", "sc2s.sgov.gov", "api.aws.scloud"},
		{"us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
		{"eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
		{"eusc-", "amazonaws.eu", "api.amazonwebservices.eu"},
		{"", "amazonaws.com", "api.aws"},
	};
	size_t		i = 0;

	while (strncmp(region, partitions[i].prefix,
				   strlen(partitions[i].prefix)) != 0)
		i++;
	return dual_stack ? partitions[i].dual_stack : partitions[i].domain;
}

static const char *
first_set(const char *a, const char *b)
{
	if (a != NULL && a[0] != '\0')
		return a;
	return b != NULL && b[0] != '\0' ? b : NULL;
}

/*
 * The request is made from its parts each time, so that a call can be signed
 * again after the clock's skew was learnt.
 */
bool
qs_aws_sign(QsArena *arena, QsAwsCall *call, int64_t now_us, QsError *error)
{
	static const QsHttpHeader form[] = {
		{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
	};
	static const QsHttpHeader json[] = {
		{"Content-Type", "application/x-amz-json-1.0"},
		{"X-Amz-Target", "GraniteServiceVersion20100801.GetMetricData"},
	};
	static const char *const sign_form[] = {"Content-Type", NULL};
	static const char *const sign_json[] = {"Content-Type", "X-Amz-Target",
	NULL};
	QsAccount  *account = call->base.account;
	QsHttpRequest *request = &call->base.request;
	bool		monitor = qs_aws_is_monitor(call);
	bool		balancers = call->balancers_api;
	const char *host = monitor ? "monitoring" :
		balancers ? "elasticloadbalancing" : "autoscaling";
	const char *service = first_set(monitor ? account->monitor_service :
									balancers ? NULL :
									account->autoscaling_service, host);
	const char *endpoint = first_set(monitor ? account->monitor_endpoint :
									 balancers ? NULL :
									 account->autoscaling_endpoint,
									 account->endpoint);

	if (endpoint == NULL)
		endpoint = qs_arena_printf(arena, "https://%s.%s.%s", host,
								   call->base.region,
								   qs_aws_domain(call->base.region,
												 account->dual_stack));
	if (endpoint == NULL || request->body == NULL)
		return qs_aws_no_memory(error);
	request->method = "POST";
	request->headers = monitor ? json : form;
	request->n_headers = monitor ? 2 : 1;
	call->signed_skew_s = call->base.memory ? call->base.memory->skew_s : 0;
	return qs_sign_request(arena, &qs_signing_aws, account, endpoint, "/", "",
						   call->base.region, service,
						   monitor ? sign_json : sign_form,
						   qs_aws_cloud_time_s(call->base.memory, now_us),
						   request, error);
}

bool
qs_aws_set_form(QsArena *arena, QsAwsCall *call,
				const QsQueryParameter *parameters, int n, int64_t now_us,
				QsError *error)
{
	/* a form is escaped as a query is; the order of fields is free */
	char	   *form = qs_canonical_query(arena, parameters, n);

	if (form == NULL)
		return qs_aws_no_memory(error);
	call->base.request.body = form;
	call->base.request.body_length = strlen(form);
	return qs_aws_sign(arena, call, now_us, error);
}

/* "app/NAME/ID"; what else the vendor's console shows is told apart. */
bool
qs_aws_check_balancer(const char *id, QsError *error)
{
	const char *end;

	if (!qs_aws_dimension_is_valid(id))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_alb_id",
							"alb_id must be the end of the load balancer's "
							"ARN: app/NAME/ID");
	if ((end = strstr(id, "loadbalancer/app/")) != NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_alb_id",
							"alb_id is a whole ARN; only its end is wanted: "
							"%.100s", end + strlen("loadbalancer/"));
	if (strstr(id, "targetgroup/") != NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_alb_id",
							"alb_id is a target group; the end of its load "
							"balancer's ARN is wanted: app/NAME/ID");
	if (strncmp(id, "app/", 4) != 0 || (end = strchr(id + 4, '/')) == NULL ||
		end == id + 4 || end[1] == '\0' || strpbrk(end + 1, "/:") != NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_alb_id",
							"alb_id is not the end of an application load "
							"balancer's ARN: app/NAME/ID");
	return true;
}

bool
qs_aws_check_group_name(const char *name, QsError *error)
{
	const char *end;

	if (!qs_aws_name_is_valid(name))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_asg_id",
							"asg_id is empty, too long or holds control "
							"characters");
	if (strncmp(name, "arn:", 4) == 0 &&
		(end = strstr(name, ":autoScalingGroupName/")) != NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_asg_id",
							"asg_id is a whole ARN; only the scaling group's "
							"name is wanted: %.100s",
							strchr(end, '/') + 1);
	return true;
}

/* Sorts out what cannot be asked for.  Ids are not quoted: they may hold
 * anything. */
static void
select_targets(const QsBatch *batch, QsAwsTarget *ours,
			   QsTarget **with_load, int *n_load, QsTarget **with_group,
			   int *n_group)
{
	bool		region_ok = qs_aws_region_is_valid(batch->region);

	*n_load = *n_group = 0;
	for (int i = 0; i < batch->n_targets; i++)
	{
		QsTarget   *target = batch->targets[i];

		qs_target_forget(target);
		target->provided = &ours[i];
		if (!region_ok)
		{
			qs_error_set(&target->capacity_error, QS_ERROR_TERMINAL,
						 "invalid_region", "the region is empty or holds "
						 "characters that do not belong there");
			target->load_error = target->capacity_error;
			continue;
		}
		if (target->alb_id != NULL &&
			qs_aws_check_balancer(target->alb_id, &target->load_error))
			with_load[(*n_load)++] = target;
		if (qs_aws_check_group_name(target->asg_id, &target->capacity_error))
			with_group[(*n_group)++] = target;
	}
}

static bool
aws_observe(QsArena *arena, const QsBatch *batch, int metric_period_s,
			int64_t now_us, QsCallList *calls, QsError *error)
{
	size_t		n = (size_t) (batch->n_targets > 0 ? batch->n_targets : 0) + 1;
	QsTarget  **with_load = qs_arena_alloc_array(arena, n, sizeof(*with_load));
	QsTarget  **with_group = qs_arena_alloc_array(arena, n,
												  sizeof(*with_group));
	QsAwsTarget *ours = qs_arena_alloc_array(arena, n, sizeof(*ours));
	QsIdIndex	balancers;
	QsIdIndex	names;
	int			n_load;
	int			n_group;

	qs_error_clear(error);
	if (with_load == NULL || with_group == NULL || ours == NULL)
		return qs_aws_no_memory(error);
	select_targets(batch, ours, with_load, &n_load, with_group, &n_group);
	if (!qs_id_index_build(arena, with_load, n_load, qs_target_alb_id,
						   &balancers) ||
		!qs_id_index_build(arena, with_group, n_group, qs_target_asg_id,
						   &names))
		return qs_aws_no_memory(error);
	return qs_aws_ask_groups(arena, batch, &names, now_us, calls, error) &&
		qs_aws_ask_load(arena, batch, &balancers, metric_period_s, now_us,
						calls, error);
}

/* The groups are asked for too: their target groups tell silence from gaps. */
static bool
aws_ask_past(QsArena *arena, const QsBatch *batch, int64_t start_s,
			 int64_t end_s, int64_t now_us, QsCallList *calls, QsError *error)
{
	size_t		n = (size_t) batch->n_targets + 1;
	QsTarget  **with_load = qs_arena_alloc_array(arena, n, sizeof(*with_load));
	QsTarget  **with_group = qs_arena_alloc_array(arena, n,
												  sizeof(*with_group));
	QsAwsTarget *ours = qs_arena_alloc_array(arena, n, sizeof(*ours));
	QsLoadSeries *pasts = qs_arena_alloc_array(arena, n, sizeof(*pasts));
	QsLoadSeries past = qs_load_series_past(start_s, end_s,
											qs_aws_cloud_time_s(batch->memory,
																now_us) -
											QS_AWS_SETTLED_AFTER_S,
											QS_AWS_PAST_DAYS);
	QsIdIndex	balancers;
	QsIdIndex	names;
	int			n_load;
	int			n_group;

	if (with_load == NULL || with_group == NULL || ours == NULL ||
		pasts == NULL)
		return qs_aws_no_memory(error);
	select_targets(batch, ours, with_load, &n_load, with_group, &n_group);
	for (int i = 0; i < batch->n_targets; i++)
	{
		QsTarget   *target = batch->targets[i];

		pasts[i] = past;
		target->past = &pasts[i];
		if (target->alb_id == NULL)
			qs_error_set(&target->load_error, QS_ERROR_TERMINAL,
						 "invalid_alb_id", "the group has no load balancer");
	}
	if (n_load == 0 || past.window_end_s <= past.window_start_s)
		return true;
	if (!qs_id_index_build(arena, with_load, n_load, qs_target_alb_id,
						   &balancers) ||
		!qs_id_index_build(arena, with_group, n_group, qs_target_asg_id,
						   &names))
		return qs_aws_no_memory(error);
	return qs_aws_ask_groups(arena, batch, &names, now_us, calls, error) &&
		qs_aws_ask_past_load(arena, batch, &balancers, &past, now_us, calls,
							 error);
}

static bool
parse_by_kind(QsArena *arena, QsAwsCall *call, const QsHttpReply *reply,
			  int64_t now_us, QsCallList *follow_up, QsError *error)
{
	switch (call->base.kind)
	{
		case QS_CALL_LOAD:
			return qs_aws_parse_load(arena, call, reply, now_us, follow_up,
									 error);
		case QS_CALL_CAPACITY:
		case QS_CALL_IN_SERVICE:
			return qs_aws_parse_groups(arena, call, reply, now_us, follow_up,
									   error);
		case QS_CALL_ACTIVITIES:
			return qs_aws_parse_activities(arena, call, reply, now_us, error);
		case QS_CALL_SET_CAPACITY:
			return qs_aws_parse_set(arena, call, reply, now_us, error);
		case QS_CALL_SIGNAL:
			return qs_aws_parse_signals(arena, call, reply, now_us, follow_up,
										error);
	}
	return qs_error_set(error, QS_ERROR_TERMINAL, "unknown_call",
						"no such kind of call");
}

/* A reply that fails leads to nothing further. */
static bool
aws_parse(QsArena *arena, QsCall *call, const QsHttpReply *reply,
		  int64_t now_us, QsCallList *follow_up, QsError *error)
{
	int			before = follow_up->n_calls;

	if (parse_by_kind(arena, qs_aws_call(call), reply, now_us, follow_up,
					  error))
		return true;
	follow_up->n_calls = before;
	return false;
}

/* A load that is known stays so if only its gaps could not be explained. */
static void
aws_abandon(QsCall *call, const QsError *error)
{
	if (call->kind == QS_CALL_LOAD && qs_aws_call(call)->target_groups != NULL)
		return;
	qs_call_charge(call, error);
}

static bool
aws_sign(QsArena *arena, QsCall *call, int64_t now_us, QsError *error)
{
	return qs_aws_sign(arena, qs_aws_call(call), now_us, error);
}

/* Healthy hosts were asked for where they could be: see aws_metrics.c. */
static const char *
aws_explain_silence(const QsTarget *target)
{
	const QsAwsTarget *ours = target->provided;

	if (!target->capacity.known || ours == NULL || ours->balancer == NULL)
		return NULL;
	if (ours->n_target_groups == 0)
		return "The scaling group has no target group: attach one of the load balancer, or no minute without requests can be told from one without data.";
	if (ours->balancer->hosts_asked)
		return "HealthyHostCount has no data either: the load balancer is not in this region, or none of the scaling group's target groups is behind it.";
	return NULL;
}

/* SetDesiredCapacity does not wait for activities: HonorCooldown is false. */
const QsProvider qs_provider_aws = {
	.name = "aws",
	.writes_while_busy = true,
	.observe = aws_observe,
	.observe_signals = qs_aws_observe_signals,
	.signals = qs_aws_signals,
	.signals_follow_resolution = true,
	.ask_past = aws_ask_past,
	.past_span_s = QS_AWS_PAST_SPAN_S,
	.past_days = QS_AWS_PAST_DAYS,
	.ask_in_service = qs_aws_ask_in_service,
	.ask_activities = qs_aws_ask_activities,
	.set_capacity = qs_aws_set_capacity,
	.parse = aws_parse,
	.sign = aws_sign,
	.abandon = aws_abandon,
	.settle = qs_targets_settle,
	.explain_silence = aws_explain_silence,
	.directory = &qs_directory_aws,
	.processes = "Launch and Terminate",
	.metric_price_usd = 0.00001,	/* GetMetricData: 0.01 per 1,000 */
};
