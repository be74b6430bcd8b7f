/*-------------------------------------------------------------------------
 * cloud_api.c
 *		The pretended cloud: its groups, options, counters and latency.
 *
 * Reads a request, decides about delay and injected failure, and has
 * cloud_replies.c write the answer.  A change of desired is complete at once:
 * total and in-service counts follow.
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cloud_replies.h"

#define MAX_GROUPS			1000000

/*-------------------------------------------------------------------------
 * Options
 *-------------------------------------------------------------------------
 */
static bool
read_pair(const char *value, int *id, int *ms)
{
	return sscanf(value, "%d:%d", id, ms) == 2 && *id >= 0 && *ms >= 0 &&
		*ms <= 600000;
}

static bool
read_share(const char *value, double *share)
{
	char	   *end;

	*share = strtod(value, &end);
	return *value != '\0' && *end == '\0' && *share >= 0 && *share <= 1;
}

static bool
read_int(const char *value, int low, int high, int *number)
{
	char	   *end;
	long		n = strtol(value, &end, 10);

	if (*value == '\0' || *end != '\0' || n < low || n > high)
		return false;
	*number = (int) n;
	return true;
}

bool
api_set_option(ApiOptions *options, const char *name, const char *value)
{
	char		key[32];
	int			flag;
	size_t		i;

	for (i = 0; name[i] != '\0' && i < sizeof(key) - 1; i++)
		key[i] = name[i] == '_' ? '-' : name[i];
	key[i] = '\0';

	if (strcmp(key, "groups") == 0)
		return read_int(value, 1, MAX_GROUPS, &options->groups);
	if (strcmp(key, "latency-ms") == 0)
		return read_int(value, 0, 60000, &options->latency_ms);
	if (strcmp(key, "acting") == 0)
		return read_share(value, &options->acting);
	if (strcmp(key, "error-rate") == 0)
		return read_share(value, &options->error_rate);
	if (strcmp(key, "slow-group") == 0)
		return read_pair(value, &options->slow_group, &options->slow_ms);
	if (strcmp(key, "slow-describe") == 0)
		return read_pair(value, &options->slow_describe,
						 &options->slow_describe_ms);
	if (strcmp(key, "apply") == 0 && read_int(value, 0, 1, &flag))
	{
		options->apply = flag == 1;
		return true;
	}
	return false;
}

/* Groups and which of them act; floor.c spreads the share in the same way. */
static void
lay_out_groups(Api *api)
{
	size_t		n = (size_t) api->options.groups;
	double		share = api->options.acting;

	free(api->groups);
	api->groups = calloc(n, sizeof(*api->groups));
	if (api->groups == NULL)
	{
		fprintf(stderr, "cloud_server: out of memory\n");
		exit(1);
	}
	for (size_t i = 0; i < n; i++)
	{
		api->groups[i].desired = LOW_DESIRED;
		api->groups[i].acting = (int64_t) ((double) (i + 1) * share + 1e-9) !=
			(int64_t) ((double) i * share + 1e-9);
	}
}

Api *
api_new(const ApiOptions *options)
{
	Api		   *api = calloc(1, sizeof(*api));

	if (api == NULL)
	{
		fprintf(stderr, "cloud_server: out of memory\n");
		exit(1);
	}
	api->options = *options;
	api->random = UINT64_C(0x9E3779B97F4A7C15);
	lay_out_groups(api);
	return api;
}

ApiCounters *
api_counters(Api *api)
{
	return &api->counters;
}

/* xorshift64: the same faults in every run. */
static bool
chance(Api *api, double share)
{
	uint64_t	x = api->random;

	if (share <= 0)
		return false;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	api->random = x;
	return (double) (x >> 11) / 9007199254740992.0 < share;
}

/*-------------------------------------------------------------------------
 * Reading requests
 *-------------------------------------------------------------------------
 */
static bool
begins(const char *s, size_t length, const char *prefix)
{
	size_t		n = strlen(prefix);

	return length >= n && memcmp(s, prefix, n) == 0;
}

/* A number at s, bounded; -1 when there is none. */
static int64_t
number_at(const char *s, const char *end)
{
	int64_t		n = 0;
	const char *start = s;

	while (s < end && *s >= '0' && *s <= '9' && s - start < 15)
		n = n * 10 + (*s++ - '0');
	return s == start ? -1 : n;
}

static void
add_id(Query *query, int64_t id)
{
	if (query->n_ids < MAX_IDS)
		query->ids[query->n_ids++] = id < 0 || id > MAX_GROUPS ? 0 : (int) id;
}

static void
read_parameter(Query *query, const char *name, size_t name_length,
			   const char *value, const char *end)
{
	size_t		length = (size_t) (end - value);

	if (begins(name, name_length, "Action"))
	{
		for (int i = 0; i < ACTION_OTHER; i++)
			if (strlen(action_names[i]) == length &&
				memcmp(action_names[i], value, length) == 0)
				query->action = (ApiAction) i;
	}
	else if (begins(name, name_length, "ScalingGroupId"))
		add_id(query, begins(value, length, "asg-") ?
			   number_at(value + 4, end) : -1);
	else if (begins(name, name_length, "PageNumber"))
		query->page = (int) number_at(value, end);
	else if (begins(name, name_length, "PageSize"))
		query->page_size = (int) number_at(value, end);
	else if (begins(name, name_length, "DesireInstanceNumber"))
		query->desired = (int) number_at(value, end);
}

static void
read_query(const char *target, size_t length, Query *query)
{
	const char *end = target + length;
	const char *at = memchr(target, '?', length);

	memset(query, 0, sizeof(*query));
	query->action = ACTION_OTHER;
	query->page = 1;
	query->page_size = 10;
	query->desired = -1;
	while (at != NULL && ++at < end)
	{
		const char *next = memchr(at, '&', (size_t) (end - at));
		const char *stop = next != NULL ? next : end;
		const char *equals = memchr(at, '=', (size_t) (stop - at));

		if (equals != NULL)
			read_parameter(query, at, (size_t) (equals - at), equals + 1,
						   stop);
		at = next;
	}
}

/* The number after a JSON name, however it is spaced; -1 when absent. */
static int64_t
body_number(const ApiRequest *request, const char *name)
{
	const char *end = request->body + request->body_length;
	const char *at = memmem(request->body, request->body_length, name,
							strlen(name));

	if (at == NULL)
		return -1;
	at += strlen(name);
	while (at < end && (*at == ':' || isspace((unsigned char) *at)))
		at++;
	return number_at(at, end);
}

/* Window and load balancers of a metric query. */
static void
read_metric_body(const ApiRequest *request, Query *query)
{
	const char *at = request->body;
	const char *end = at + request->body_length;

	query->start = body_number(request, "\"StartTime\"");
	query->end = body_number(request, "\"EndTime\"");
	while ((at = memmem(at, (size_t) (end - at), "\"alb-", 5)) != NULL)
	{
		at += 5;
		add_id(query, number_at(at, end));
	}
}

/*-------------------------------------------------------------------------
 * The benchmark's own requests
 *-------------------------------------------------------------------------
 */
static int
compare_int64(const void *a, const void *b)
{
	int64_t		x = *(const int64_t *) a;
	int64_t		y = *(const int64_t *) b;

	return (x > y) - (x < y);
}

static int64_t
median_burst_us(const ApiCounters *counters)
{
	int64_t		sorted[MAX_BURSTS];
	size_t		n = (size_t) counters->n_bursts;

	if (n == 0)
		return 0;
	memcpy(sorted, counters->burst_us, n * sizeof(sorted[0]));
	qsort(sorted, n, sizeof(sorted[0]), compare_int64);
	return sorted[n / 2];
}

static void
show_counter(Text *out, bool json, const char *name, int64_t value)
{
	add_string(out, json ? ",\"" : "");
	add_string(out, name);
	add_string(out, json ? "\":" : "=");
	add_number(out, value);
	add_string(out, json ? "" : "\n");
}

/* JSON for programs, name=value lines (.txt) for the shell. */
static void
show_counters(Api *api, Text *out, bool json)
{
	const ApiCounters *c = &api->counters;
	struct rusage usage;
	int64_t		calls = 0;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		memset(&usage, 0, sizeof(usage));
	add_string(out, json ? "{\"program\":\"cloud_server\"" : "");
	for (int i = 0; i < N_ACTIONS; i++)
	{
		show_counter(out, json, action_names[i], c->requests[i]);
		calls += c->requests[i];
	}
	show_counter(out, json, "calls", calls);
	show_counter(out, json, "listings", c->listings);
	show_counter(out, json, "errors_injected", c->errors_injected);
	show_counter(out, json, "refused", c->refused);
	show_counter(out, json, "connections_accepted", c->connections);
	show_counter(out, json, "in_flight", c->in_flight);
	show_counter(out, json, "max_in_flight", c->max_in_flight);
	show_counter(out, json, "bytes_sent", c->bytes_sent);
	show_counter(out, json, "bursts", c->n_bursts);
	show_counter(out, json, "burst_us_median", median_burst_us(c));
	show_counter(out, json, "cpu_us",
				 (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) *
				 INT64_C(1000000) +
				 usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
	add_string(out, json ? "}\n" : "");
}

static void
reset_counters(Api *api)
{
	int			in_flight = api->counters.in_flight;

	memset(&api->counters, 0, sizeof(api->counters));
	api->counters.in_flight = in_flight;
	api->counters.max_in_flight = in_flight;
}

/* /_bench/set?name=value&...; all or nothing. */
static bool
set_options(Api *api, const char *target, size_t length)
{
	ApiOptions	options = api->options;
	char		pairs[512];
	char	   *rest;
	char	   *pair;
	const char *at = memchr(target, '?', length);
	size_t		n;

	if (at == NULL)
		return false;
	n = length - (size_t) (++at - target);
	if (n >= sizeof(pairs))
		return false;
	memcpy(pairs, at, n);
	pairs[n] = '\0';
	for (pair = strtok_r(pairs, "&", &rest); pair != NULL;
		 pair = strtok_r(NULL, "&", &rest))
	{
		char	   *equals = strchr(pair, '=');

		if (equals == NULL)
			return false;
		*equals = '\0';
		if (!api_set_option(&options, pair, equals + 1))
			return false;
	}
	if (options.groups != api->options.groups ||
		options.acting != api->options.acting)
	{
		api->options = options;
		lay_out_groups(api);
	}
	api->options = options;
	return true;
}

static int
answer_bench(Api *api, const ApiRequest *request, Text *out)
{
	const char *target = request->target;
	size_t		length = request->target_length;

	if (begins(target, length, "/_bench/counters.txt"))
		show_counters(api, out, false);
	else if (begins(target, length, "/_bench/counters"))
		show_counters(api, out, true);
	else if (begins(target, length, "/_bench/reset"))
		reset_counters(api);
	else if (!begins(target, length, "/_bench/set?") ||
			 !set_options(api, target, length))
		return 404;
	return 200;
}

/*-------------------------------------------------------------------------
 * Answering
 *-------------------------------------------------------------------------
 */
static bool
covers(const Api *api, const Query *query, int id)
{
	int64_t		first = ((int64_t) query->page - 1) * query->page_size + 1;

	for (int i = 0; i < query->n_ids; i++)
		if (query->ids[i] == id)
			return true;
	return query->n_ids == 0 && id <= api->options.groups &&
		id >= first && id < first + query->page_size;
}

static int64_t
delay_us(const Api *api, const Query *query)
{
	const ApiOptions *o = &api->options;

	if (o->slow_ms > 0 && query->n_ids == 1 &&
		query->ids[0] == o->slow_group)
		return (int64_t) o->slow_ms * 1000;
	if (o->slow_describe_ms > 0 && query->action == ACTION_GROUPS &&
		covers(api, query, o->slow_describe))
		return (int64_t) o->slow_describe_ms * 1000;
	return (int64_t) o->latency_ms * 1000;
}

/* The Date header's value, made once a second. */
static const char *
http_date(Api *api)
{
	time_t		now = time(NULL);
	struct tm	tm;

	if (now != api->date_for && gmtime_r(&now, &tm) != NULL)
	{
		strftime(api->date, sizeof(api->date), "%a, %d %b %Y %H:%M:%S GMT",
				 &tm);
		api->date_for = now;
	}
	return api->date;
}

static const char *
status_line(int status)
{
	switch (status)
	{
		case 200:
			return "HTTP/1.1 200 OK\r\n";
		case 400:
			return "HTTP/1.1 400 Bad Request\r\n";
		case 503:
			return "HTTP/1.1 503 Service Unavailable\r\n";
		default:
			return "HTTP/1.1 404 Not Found\r\n";
	}
}

int64_t
api_answer(Api *api, const ApiRequest *request, Text *out, bool *is_call)
{
	static Text body;			/* kept from reply to reply */
	Query		query;
	int			status;
	int64_t		delay = 0;

	body.length = 0;
	*is_call = !begins(request->target, request->target_length, "/_bench/");
	if (*is_call)
	{
		read_query(request->target, request->target_length, &query);
		if (query.action == ACTION_METRIC)
			read_metric_body(request, &query);
		api->counters.requests[query.action]++;
		delay = delay_us(api, &query);
		if (chance(api, api->options.error_rate))
		{
			api->counters.errors_injected++;
			status = error_body(&body, query.action, 503,
								"ServiceUnavailableTemporarily");
		}
		else
			status = answer_call(api, &query, &body);
	}
	else
		status = answer_bench(api, request, &body);

	add_string(out, status_line(status));
	ADD_LITERAL(out, "Date: ");
	add_string(out, http_date(api));
	ADD_LITERAL(out, "\r\nContent-Type: application/json; charset=utf-8\r\n"
				"Content-Length: ");
	add_number(out, (int64_t) body.length);
	ADD_LITERAL(out, "\r\n\r\n");
	text_add(out, body.data != NULL ? body.data : "", body.length);
	return delay;
}
