/*-------------------------------------------------------------------------
 * byteplus.c
 *		The BytePlus provider: where its services are, and its entry points.
 *
 * Every call of the provider is made and signed here; what is asked and how
 * answers are read is in byteplus_metrics.c, byteplus_groups.c and
 * byteplus_actions.c.  No file, variable, clock or socket is touched.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <string.h>

#define MONITOR_SERVICE			"Volc_Observe"
#define AUTOSCALING_SERVICE		"auto_scaling"

/*
 * The documented limit of GetMetricData is 20 calls per second and account.
 * They are counted where they arrive, and one that has to make its connection
 * first takes longer than the next one over it.
 */
#define MONITOR_CALLS			20
#define MONITOR_PERIOD_S		1.1

bool
qs_byteplus_no_memory(QsError *error)
{
	return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
						"the cycle's memory limit was reached");
}

int64_t
qs_byteplus_cloud_time_s(const QsRegionMemory *memory, int64_t now_us)
{
	return now_us / 1000000 + (memory != NULL ? memory->skew_s : 0);
}

/* NULL when the arena is exhausted. */
QsBytePlusCall *
qs_byteplus_call_new(QsArena *arena, const QsBatch *batch, QsCallKind kind,
					 QsTarget **targets, int n_targets)
{
	QsBytePlusCall *call = qs_arena_alloc(arena, sizeof(QsBytePlusCall));

	if (call == NULL ||
		!qs_call_init(arena, &call->base, batch, kind, targets, n_targets))
		return NULL;
	call->base.burst = 1;
	if (kind == QS_CALL_LOAD)
	{
		call->base.burst = MONITOR_CALLS;
		if (!batch->account->rate_limits_off)
			call->base.rate_per_second = MONITOR_CALLS / MONITOR_PERIOD_S;
	}
	return call;
}

/*
 * The documented host of a service: auto_scaling becomes
 * auto-scaling.<region>.byteplusapi.com; mainland regions end in ".cn".
 */
static char *
default_endpoint(QsArena *arena, const char *service, const char *region)
{
	bool		mainland = strncmp(region, "cn-", 3) == 0 &&
		strcmp(region, "cn-hongkong") != 0;
	char	   *host = qs_arena_strdup(arena, service);

	if (host == NULL)
		return NULL;
	for (char *p = host; *p != '\0'; p++)
	{
		if (*p == '_')
			*p = '-';
		else if (*p >= 'A' && *p <= 'Z')
			*p = (char) (*p - 'A' + 'a');
	}
	return qs_arena_printf(arena, "https://%s.%s.byteplusapi.com%s", host,
						   region, mainland ? ".cn" : "");
}

static const char *
first_set(const char *a, const char *b, const char *otherwise)
{
	if (a != NULL && a[0] != '\0')
		return a;
	if (b != NULL && b[0] != '\0')
		return b;
	return otherwise;
}

/*
 * The request is made from its parts each time, so that a call can be signed
 * again after the clock's skew was learnt.
 */
bool
qs_byteplus_sign(QsArena *arena, QsBytePlusCall *call, int64_t now_us,
				 QsError *error)
{
	static const QsHttpHeader json_header[] = {
		{"Content-Type", "application/json; charset=utf-8"},
	};
	QsAccount  *account = call->base.account;
	QsHttpRequest *request = &call->base.request;
	bool		monitor = call->base.kind == QS_CALL_LOAD;
	const char *service;
	const char *endpoint;

	service = monitor ?
		first_set(account->monitor_service, NULL, MONITOR_SERVICE) :
		first_set(account->autoscaling_service, NULL, AUTOSCALING_SERVICE);
	if (!qs_byteplus_id_is_valid(service))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_service",
							"the signing service name of account \"%s\" holds "
							"characters that do not belong there",
							account->name ? account->name : "default");
	endpoint = first_set(monitor ? account->monitor_endpoint :
						 account->autoscaling_endpoint, account->endpoint,
						 NULL);
	if (endpoint == NULL)
		endpoint = default_endpoint(arena, service, call->base.region);
	if (endpoint == NULL || call->query == NULL)
		return qs_byteplus_no_memory(error);

	request->method = request->body != NULL ? "POST" : "GET";
	request->headers = request->body != NULL ? json_header : NULL;
	request->n_headers = request->body != NULL ? 1 : 0;
	call->signed_skew_s = call->base.memory ? call->base.memory->skew_s : 0;
	return qs_sign_request(arena, &qs_signing_byteplus, account, endpoint,
						   "/", call->query, call->base.region, service, NULL,
						   qs_byteplus_cloud_time_s(call->base.memory,
													now_us),
						   request, error);
}

/*
 * Sorts out what cannot be asked for.  The id itself is not quoted: it may
 * hold anything.
 */
static void
select_targets(const QsBatch *batch, QsTarget **with_load, int *n_load,
			   QsTarget **with_group, int *n_group)
{
	bool		region_ok = qs_byteplus_region_is_valid(batch->region);

	*n_load = *n_group = 0;
	for (int i = 0; i < batch->n_targets; i++)
	{
		QsTarget   *target = batch->targets[i];

		qs_target_forget(target);
		if (!region_ok)
		{
			qs_error_set(&target->capacity_error, QS_ERROR_TERMINAL,
						 "invalid_region", "the region is empty or holds "
						 "characters that do not belong there");
			target->load_error = target->capacity_error;
			continue;
		}
		if (target->alb_id != NULL)
		{
			if (qs_byteplus_id_is_valid(target->alb_id))
				with_load[(*n_load)++] = target;
			else
				qs_error_set(&target->load_error, QS_ERROR_TERMINAL,
							 "invalid_alb_id", "alb_id is empty, too long or "
							 "holds characters that do not belong there");
		}
		if (qs_byteplus_id_is_valid(target->asg_id))
			with_group[(*n_group)++] = target;
		else
			qs_error_set(&target->capacity_error, QS_ERROR_TERMINAL,
						 "invalid_asg_id", "asg_id is empty, too long or "
						 "holds characters that do not belong there");
	}
}

static bool
byteplus_observe(QsArena *arena, const QsBatch *batch, int metric_period_s,
				 int64_t now_us, QsCallList *calls, QsError *error)
{
	size_t		n = (size_t) (batch->n_targets > 0 ? batch->n_targets : 0) + 1;
	QsTarget  **with_load = qs_arena_alloc_array(arena, n, sizeof(*with_load));
	QsTarget  **with_group = qs_arena_alloc_array(arena, n,
												  sizeof(*with_group));
	QsIdIndex	albs;
	QsIdIndex	groups;
	int			n_load;
	int			n_group;

	qs_error_clear(error);
	if (with_load == NULL || with_group == NULL)
		return qs_byteplus_no_memory(error);
	select_targets(batch, with_load, &n_load, with_group, &n_group);
	if (!qs_id_index_build(arena, with_load, n_load, qs_target_alb_id,
						   &albs) ||
		!qs_id_index_build(arena, with_group, n_group, qs_target_asg_id,
						   &groups))
		return qs_byteplus_no_memory(error);
	return qs_byteplus_ask_load(arena, batch, &albs, metric_period_s, now_us,
								calls, error) &&
		qs_byteplus_ask_groups(arena, batch, &groups, now_us, calls, error);
}

static bool
byteplus_parse(QsArena *arena, QsCall *call, const QsHttpReply *reply,
			   int64_t now_us, QsCallList *follow_up, QsError *error)
{
	QsBytePlusCall *ours = qs_byteplus_call(call);

	switch (call->kind)
	{
		case QS_CALL_LOAD:
			return qs_byteplus_parse_load(arena, ours, reply, now_us,
										  follow_up, error);
		case QS_CALL_CAPACITY:
			return qs_byteplus_parse_groups(arena, ours, reply, now_us,
											follow_up, error);
		case QS_CALL_IN_SERVICE:
			return qs_byteplus_parse_in_service(arena, ours, reply, now_us,
												follow_up, error);
		case QS_CALL_ACTIVITIES:
			return qs_byteplus_parse_activities(arena, ours, reply, now_us,
												follow_up, error);
		case QS_CALL_SET_CAPACITY:
			return qs_byteplus_parse_set(arena, ours, reply, now_us, error);
		case QS_CALL_SIGNAL:
			break;
	}
	return qs_error_set(error, QS_ERROR_TERMINAL, "unknown_call",
						"no such kind of call");
}

static void
byteplus_abandon(QsCall *call, const QsError *error)
{
	QsError		reason;

	if (call->kind != QS_CALL_CAPACITY)
	{
		qs_call_charge(call, error);
		return;
	}
	reason = qs_call_abandoned(error);
	qs_byteplus_abandon_groups(qs_byteplus_call(call), &reason);
}

static bool
byteplus_sign(QsArena *arena, QsCall *call, int64_t now_us, QsError *error)
{
	return qs_byteplus_sign(arena, qs_byteplus_call(call), now_us, error);
}

/* A change of the desired number is taken while an activity runs. */
const QsProvider qs_provider_byteplus = {
	.name = "byteplus",
	.writes_while_busy = true,
	.observe = byteplus_observe,
	.ask_past = qs_byteplus_ask_past,
	.past_span_s = QS_BYTEPLUS_PAST_SPAN_S,
	.past_days = QS_BYTEPLUS_PAST_DAYS,
	.ask_in_service = qs_byteplus_ask_in_service,
	.ask_activities = qs_byteplus_ask_activities,
	.set_capacity = qs_byteplus_set_capacity,
	.parse = byteplus_parse,
	.sign = byteplus_sign,
	.abandon = byteplus_abandon,
	.settle = qs_targets_settle,
	.directory = &qs_directory_byteplus,
	.processes = "ScaleOut, ScaleIn and HealthCheck",
};
