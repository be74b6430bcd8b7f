/*-------------------------------------------------------------------------
 * floor.c
 *		The floor under a tick: the same calls made by a bare libcurl-multi loop.
 *
 * One tick asks load and capacity of all groups, then for each group that acts
 * its cloud activities (and in-service count where the worker asks for it), then
 * writes the desired number.  There is no barrier but the dependence of the
 * data: a group goes on as soon as its own replies are there.  Requests are
 * signed with src/cloud like the worker's; replies are received and thrown
 * away, or read by jansson with "--parse json".  No database, no decision.
 *
 * Connections are kept from tick to tick; the first tick opens them and is not
 * counted.  Prints one line of name=value words.
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <jansson.h>

#include "cloud/signing.h"
#include "core/arena.h"

#define REGION				"ap-southeast-1"
#define METRIC_IDS			50
#define METRIC_WINDOW_S		300
#define LIST_PAGE			50
#define MAX_HEADERS			16
#define MAX_CONNECTIONS		1000
#define MAX_TICKS			1000
#define CALL_TIMEOUT_MS		30000L
#define ARENA_BYTES			(1 << 20)

typedef enum CallKind
{
	CALL_METRIC,
	CALL_CAPACITY,
	CALL_ACTIVITIES,
	CALL_IN_SERVICE,
	CALL_MODIFY
} CallKind;

typedef struct Call
{
	CallKind	kind;
	int			first;			/* group, or first group of a batch */
	int			count;
} Call;

/* A group that acts: what it waits for before its next call. */
typedef struct Acting
{
	int			id;
	int			waits_for;		/* replies until the activities call */
	int			checks;			/* replies until the modify call */
} Acting;

typedef struct Slot
{
	CURL	   *easy;
	QsArena    *arena;			/* of the request in flight */
	struct curl_slist headers[MAX_HEADERS];
	Call		call;
	char	   *reply;
	size_t		reply_length;
	size_t		reply_capacity;
} Slot;

typedef struct Floor
{
	/* options */
	char		endpoint[128];
	int			groups;
	int			connections;
	int			ids_per_call;	/* of a describe call; 0 = listing pages */
	bool		metrics;
	int			in_service;		/* 0 never, 1 always, 2 in ticks that shrink */
	double		acting_share;
	int			ticks;
	int			pause_ms;
	bool		parse;

	QsAccount	account;
	CURLM	   *multi;
	Slot	   *slots;
	Slot	  **idle;
	int			n_idle;
	Call	   *queue;			/* of this tick, in order of submission */
	int			n_queue;
	int			next;
	Acting	   *acting;
	int			n_acting;
	int			desired;		/* what this tick writes */
	bool		ask_in_service; /* does this tick? */
	int64_t		opened;			/* connections */
	int64_t		failures;
} Floor;

static void
die(const char *what)
{
	fprintf(stderr, "floor: %s\n", what);
	exit(1);
}

static void *
must_alloc(size_t count, size_t size)
{
	void	   *p = calloc(count > 0 ? count : 1, size);

	if (p == NULL)
		die("out of memory");
	return p;
}

static double
now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec * 1e3 + (double) ts.tv_nsec / 1e6;
}

static double
cpu_us(void)
{
	struct rusage usage;

	if (getrusage(RUSAGE_SELF, &usage) < 0)
		return 0;
	return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/*-------------------------------------------------------------------------
 * Requests
 *-------------------------------------------------------------------------
 */
static const char *
describe_query(const Floor *floor, QsArena *arena, const Call *call)
{
	QsQueryParameter parameters[64];
	int			n = 0;

	parameters[n++] = (QsQueryParameter) {"Action", "DescribeScalingGroups"};
	parameters[n++] = (QsQueryParameter) {"Version", "2020-01-01"};
	parameters[n++] = (QsQueryParameter)
	{
		"PageSize", "50"};
	if (floor->ids_per_call == 0)
	{
		parameters[n++] = (QsQueryParameter)
		{
			"PageNumber",
			qs_arena_printf(arena, "%d", (call->first - 1) / LIST_PAGE + 1)};
		return qs_canonical_query(arena, parameters, n);
	}
	for (int i = 0; i < call->count; i++)
		parameters[n++] = (QsQueryParameter)
	{
			qs_arena_printf(arena, "ScalingGroupIds.%d", i + 1),
			qs_arena_printf(arena, "asg-%d", call->first + i)};
	return qs_canonical_query(arena, parameters, n);
}

static const char *
group_query(const Floor *floor, QsArena *arena, const Call *call)
{
	const char *action = "ModifyScalingGroup";
	QsQueryParameter parameters[4];

	parameters[3] = (QsQueryParameter) {"PageSize", "20"};
	if (call->kind == CALL_ACTIVITIES)
		action = "DescribeScalingActivities";
	else if (call->kind == CALL_IN_SERVICE)
		action = "DescribeScalingInstances";
	else
		parameters[3] = (QsQueryParameter)
	{
			"DesireInstanceNumber", qs_arena_printf(arena, "%d", floor->desired)};
	parameters[0] = (QsQueryParameter) {"Action", action};
	parameters[1] = (QsQueryParameter) {"Version", "2020-01-01"};
	parameters[2] = (QsQueryParameter)
	{
		"ScalingGroupId", qs_arena_printf(arena, "asg-%d", call->first)};
	return qs_canonical_query(arena, parameters, 4);
}

static void
metric_body(QsArena *arena, const Call *call, QsHttpRequest *request)
{
	static const char instance[] =
		"%s{\"Dimensions\":[{\"Name\":\"ResourceID\",\"Value\":\"alb-%d\"}]}";
	size_t		size = 512 + (size_t) call->count * 80;
	char	   *body = qs_arena_alloc(arena, size);
	long		end = (long) (time(NULL) / 60 * 60);
	int			n;

	if (body == NULL)
		die("arena exhausted");
	n = snprintf(body, size, "{\"StartTime\":%ld,\"EndTime\":%ld,"
				 "\"Namespace\":\"VCM_ALB\",\"SubNamespace\":\"loadbalancer\","
				 "\"MetricName\":\"load_balancer_qps\",\"Period\":\"1m\","
				 "\"Instances\":[", end - METRIC_WINDOW_S, end);
	for (int i = 0; i < call->count; i++)
		n += snprintf(body + n, size - (size_t) n, instance,
					  i > 0 ? "," : "", call->first + i);
	n += snprintf(body + n, size - (size_t) n, "]}");
	request->method = "POST";
	request->body = body;
	request->body_length = (size_t) n;
}

/* Builds and signs the slot's call, just before it is sent. */
static void
build_request(Floor *floor, Slot *slot, QsHttpRequest *request)
{
	static const QsHttpHeader json = {"Content-Type", "application/json"};
	static const QsQueryParameter metric_query[] = {
		{"Action", "GetMetricData"}, {"Version", "2018-01-01"}
	};
	QsArena    *arena = slot->arena;
	const char *service = "auto_scaling";
	const char *query;
	QsError		error;

	qs_arena_reset(arena);
	memset(request, 0, sizeof(*request));
	request->method = "GET";
	if (slot->call.kind == CALL_METRIC)
	{
		service = "Volc_Observe";
		query = qs_canonical_query(arena, metric_query, 2);
		metric_body(arena, &slot->call, request);
		request->headers = &json;
		request->n_headers = 1;
	}
	else if (slot->call.kind == CALL_CAPACITY)
		query = describe_query(floor, arena, &slot->call);
	else
		query = group_query(floor, arena, &slot->call);
	if (query == NULL)
		die("arena exhausted");
	if (!qs_sign_request(arena, &qs_signing_byteplus, &floor->account,
						 floor->endpoint, "/", query, REGION, service, NULL,
						 (int64_t) time(NULL), request, &error))
		die(error.message);
}

static void
set_headers(Slot *slot, const QsHttpRequest *request)
{
	if (request->n_headers + 1 > MAX_HEADERS)
		die("too many headers");
	for (int i = 0; i < request->n_headers; i++)
	{
		slot->headers[i].data = qs_arena_printf(slot->arena, "%s: %s",
												request->headers[i].name,
												request->headers[i].value);
		slot->headers[i].next = &slot->headers[i + 1];
	}
	slot->headers[request->n_headers].data = (char *) "Expect:";
	slot->headers[request->n_headers].next = NULL;
}

/*-------------------------------------------------------------------------
 * The loop
 *-------------------------------------------------------------------------
 */
static size_t
receive(char *data, size_t size, size_t count, void *context)
{
	Slot	   *slot = context;
	size_t		length = size * count;

	if (slot->reply_capacity > 0)	/* set when replies are parsed */
	{
		while (slot->reply_capacity - slot->reply_length < length)
		{
			slot->reply_capacity *= 2;
			slot->reply = realloc(slot->reply, slot->reply_capacity);
			if (slot->reply == NULL)
				die("out of memory");
		}
		memcpy(slot->reply + slot->reply_length, data, length);
	}
	slot->reply_length += length;
	return length;
}

static void
set_option(CURLcode code)
{
	if (code != CURLE_OK)
		die(curl_easy_strerror(code));
}

static void
prepare_slot(Floor *floor, Slot *slot)
{
	CURL	   *easy = curl_easy_init();

	slot->arena = qs_arena_new(ARENA_BYTES);
	if (easy == NULL || slot->arena == NULL)
		die("out of memory");
	slot->easy = easy;
	set_option(curl_easy_setopt(easy, CURLOPT_PRIVATE, slot));
	set_option(curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L));
	set_option(curl_easy_setopt(easy, CURLOPT_PROXY, ""));
	set_option(curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
								(long) CURL_HTTP_VERSION_1_1));
	set_option(curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, CALL_TIMEOUT_MS));
	set_option(curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive));
	set_option(curl_easy_setopt(easy, CURLOPT_WRITEDATA, slot));
	if (floor->parse)
	{
		slot->reply_capacity = 65536;
		slot->reply = must_alloc(1, slot->reply_capacity);
	}
}

static void
start_call(Floor *floor, Slot *slot, const Call *call)
{
	QsHttpRequest request;
	CURL	   *easy = slot->easy;

	slot->call = *call;
	slot->reply_length = 0;
	build_request(floor, slot, &request);
	set_headers(slot, &request);
	set_option(curl_easy_setopt(easy, CURLOPT_URL, request.url));
	set_option(curl_easy_setopt(easy, CURLOPT_HTTPHEADER, slot->headers));
	if (request.body != NULL)
	{
		set_option(curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE,
									(long) request.body_length));
		set_option(curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body));
	}
	else
		set_option(curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L));
	if (curl_multi_add_handle(floor->multi, easy) != CURLM_OK)
		die("curl_multi_add_handle");
}

static void
enqueue(Floor *floor, CallKind kind, int first, int count)
{
	floor->queue[floor->n_queue++] = (Call) {kind, first, count};
}

/* A batch of reads has ended: groups that now know all go on. */
static void
release_acting(Floor *floor, const Call *call)
{
	int			low = 0;
	int			high = floor->n_acting;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (floor->acting[middle].id < call->first)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < floor->n_acting &&
		 floor->acting[low].id < call->first + call->count;
		 low++)
	{
		Acting	   *acting = &floor->acting[low];

		if (--acting->waits_for > 0)
			continue;
		enqueue(floor, CALL_ACTIVITIES, acting->id, 1);
		if (floor->ask_in_service)
			enqueue(floor, CALL_IN_SERVICE, acting->id, 1);
	}
}

static void
check_ended(Floor *floor, const Call *call)
{
	int			low = 0;
	int			high = floor->n_acting - 1;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (floor->acting[middle].id < call->first)
			low = middle + 1;
		else
			high = middle;
	}
	if (--floor->acting[low].checks == 0)
		enqueue(floor, CALL_MODIFY, call->first, 1);
}

static void
finish_call(Floor *floor, Slot *slot, CURLcode result)
{
	long		status = 0;
	long		opened = 0;

	(void) curl_easy_getinfo(slot->easy, CURLINFO_RESPONSE_CODE, &status);
	(void) curl_easy_getinfo(slot->easy, CURLINFO_NUM_CONNECTS, &opened);
	floor->opened += opened;
	if (result != CURLE_OK || status != 200)
		floor->failures++;
	else if (floor->parse)
	{
		json_t	   *root = json_loadb(slot->reply, slot->reply_length, 0, NULL);

		if (root == NULL)
			floor->failures++;
		json_decref(root);
	}
	if (slot->call.kind == CALL_METRIC || slot->call.kind == CALL_CAPACITY)
		release_acting(floor, &slot->call);
	else if (slot->call.kind != CALL_MODIFY)
		check_ended(floor, &slot->call);
}

static void
start_tick(Floor *floor, int tick)
{
	int			batch = floor->ids_per_call > 0 ? floor->ids_per_call : LIST_PAGE;

	floor->n_queue = 0;
	floor->next = 0;
	floor->desired = tick % 2 == 0 ? 6 : 5;
	floor->ask_in_service = floor->in_service == 1 ||
		(floor->in_service == 2 && floor->desired == 5);
	for (int i = 0; i < floor->n_acting; i++)
	{
		floor->acting[i].waits_for = floor->metrics ? 2 : 1;
		floor->acting[i].checks = floor->ask_in_service ? 2 : 1;
	}
	for (int first = 1; floor->metrics && first <= floor->groups;
		 first += METRIC_IDS)
		enqueue(floor, CALL_METRIC, first,
				floor->groups - first + 1 < METRIC_IDS ?
				floor->groups - first + 1 : METRIC_IDS);
	for (int first = 1; first <= floor->groups; first += batch)
		enqueue(floor, CALL_CAPACITY, first,
				floor->groups - first + 1 < batch ?
				floor->groups - first + 1 : batch);
}

static void
run_tick(Floor *floor, int tick)
{
	int			running = 0;

	start_tick(floor, tick);
	while (floor->next < floor->n_queue || floor->n_idle < floor->connections)
	{
		CURLMsg    *message;
		int			left;

		while (floor->next < floor->n_queue && floor->n_idle > 0)
			start_call(floor, floor->idle[--floor->n_idle],
					   &floor->queue[floor->next++]);
		if (curl_multi_perform(floor->multi, &running) != CURLM_OK)
			die("curl_multi_perform");
		while ((message = curl_multi_info_read(floor->multi, &left)) != NULL)
		{
			CURL	   *easy = message->easy_handle;
			CURLcode	result = message->data.result;
			char	   *private = NULL;

			if (message->msg != CURLMSG_DONE)
				continue;
			set_option(curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private));
			(void) curl_multi_remove_handle(floor->multi, easy);
			finish_call(floor, (Slot *) private, result);
			floor->idle[floor->n_idle++] = (Slot *) private;
		}
		if (floor->n_idle < floor->connections &&
			!(floor->next < floor->n_queue && floor->n_idle > 0) &&
			curl_multi_poll(floor->multi, NULL, 0, 1000, NULL) != CURLM_OK)
			die("curl_multi_poll");
	}
}

/*-------------------------------------------------------------------------
 * Start and report
 *-------------------------------------------------------------------------
 */
static void
read_options(Floor *floor, int argc, char **argv)
{
	static const struct option options[] = {
		{"endpoint", required_argument, NULL, 'e'},
		{"groups", required_argument, NULL, 'g'},
		{"connections", required_argument, NULL, 'c'},
		{"ids", required_argument, NULL, 'i'},
		{"metrics", required_argument, NULL, 'm'},
		{"in-service", required_argument, NULL, 's'},
		{"acting", required_argument, NULL, 'a'},
		{"ticks", required_argument, NULL, 't'},
		{"pause-ms", required_argument, NULL, 'p'},
		{"parse", required_argument, NULL, 'j'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	floor->groups = 1000;
	floor->connections = 50;
	floor->metrics = true;
	floor->acting_share = 0.10;
	floor->ticks = 5;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'e':
				snprintf(floor->endpoint, sizeof(floor->endpoint), "%s",
						 optarg);
				break;
			case 'g':
				floor->groups = atoi(optarg);
				break;
			case 'c':
				floor->connections = atoi(optarg);
				break;
			case 'i':
				floor->ids_per_call = atoi(optarg);
				break;
			case 'm':
				floor->metrics = atoi(optarg) != 0;
				break;
			case 's':
				floor->in_service = atoi(optarg);
				break;
			case 'a':
				floor->acting_share = atof(optarg);
				break;
			case 't':
				floor->ticks = atoi(optarg);
				break;
			case 'p':
				floor->pause_ms = atoi(optarg);
				break;
			case 'j':
				floor->parse = strcmp(optarg, "json") == 0;
				break;
			default:
				exit(2);
		}
	}
	if (floor->endpoint[0] == '\0' || floor->groups < 1 ||
		floor->groups > 1000000 || floor->connections < 1 ||
		floor->connections > MAX_CONNECTIONS || floor->ids_per_call < 0 ||
		floor->ids_per_call > 10 || floor->ticks < 1 ||
		floor->ticks > MAX_TICKS || floor->pause_ms < 0 ||
		!(floor->acting_share >= 0 && floor->acting_share <= 1))
		die("--endpoint URL is needed, or an option is out of range");
}

static void
prepare(Floor *floor)
{
	size_t		n = (size_t) floor->groups;

	snprintf(floor->account.credentials.access_key_id,
			 sizeof(floor->account.credentials.access_key_id), "AKBENCH");
	snprintf(floor->account.credentials.secret_access_key,
			 sizeof(floor->account.credentials.secret_access_key), "SKBENCH");
	floor->acting = must_alloc(n, sizeof(*floor->acting));
	for (int i = 0; i < floor->groups; i++)
		if ((int64_t) (((double) i + 1) * floor->acting_share + 1e-9) !=
			(int64_t) ((double) i * floor->acting_share + 1e-9))
			floor->acting[floor->n_acting++].id = i + 1;
	floor->queue = must_alloc(2 * n + 3 * (size_t) floor->n_acting,
							  sizeof(*floor->queue));

	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		die("curl_global_init");
	floor->multi = curl_multi_init();
	if (floor->multi == NULL)
		die("curl_multi_init");
	if (curl_multi_setopt(floor->multi, CURLMOPT_MAXCONNECTS,
						  (long) floor->connections) != CURLM_OK)
		die("curl_multi_setopt");
	floor->slots = must_alloc((size_t) floor->connections,
							  sizeof(*floor->slots));
	floor->idle = must_alloc((size_t) floor->connections,
							 sizeof(*floor->idle));
	for (int i = 0; i < floor->connections; i++)
	{
		prepare_slot(floor, &floor->slots[i]);
		floor->idle[floor->n_idle++] = &floor->slots[i];
	}
}

static int
compare_double(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
	static Floor floor_data;
	Floor	   *floor = &floor_data;
	double		wall[MAX_TICKS];
	double		cpu = 0;
	int64_t		calls = 0;
	int64_t		cold;

	read_options(floor, argc, argv);
	prepare(floor);
	run_tick(floor, 1);
	cold = floor->opened;
	for (int tick = 0; tick < floor->ticks; tick++)
	{
		double		cpu_before;
		double		start;

		if (floor->pause_ms > 0)
			usleep((useconds_t) floor->pause_ms * 1000);
		cpu_before = cpu_us();
		start = now_ms();
		run_tick(floor, tick);
		wall[tick] = now_ms() - start;
		cpu += cpu_us() - cpu_before;
		calls += floor->n_queue;
	}
	printf("floor_ticks=%d floor_calls=%.0f floor_wall_ms=", floor->ticks,
		   (double) calls / floor->ticks);
	for (int tick = 0; tick < floor->ticks; tick++)
		printf("%s%.1f", tick > 0 ? "," : "", wall[tick]);
	qsort(wall, (size_t) floor->ticks, sizeof(wall[0]), compare_double);
	printf(" floor_median_ms=%.1f floor_min_ms=%.1f floor_cpu_us_per_tick=%.0f"
		   " floor_cold_connections=%lld floor_warm_connections=%lld"
		   " floor_failures=%lld\n",
		   floor->ticks % 2 != 0 ? wall[floor->ticks / 2] :
		   (wall[floor->ticks / 2 - 1] + wall[floor->ticks / 2]) / 2,
		   wall[0], cpu / floor->ticks, (long long) cold,
		   (long long) (floor->opened - cold), (long long) floor->failures);
	return 0;
}
