/*-------------------------------------------------------------------------
 * test_kubernetes.c
 *		The Kubernetes provider against replies as an API server writes them,
 *		and as it should not.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#define API		"https://kubernetes.example.com:6443"
#define APPS	API "/apis/apps/v1/namespaces/prod/"
#define META(name) "\"metadata\":{\"name\":\"" name "\",\"resourceVersion\":\"7\"}"
#define SPEC(replicas) "\"spec\":{\"replicas\":" replicas \
	",\"selector\":{\"matchLabels\":{\"app\":\"web\"}}}"
#define WEB "{" META("web-0") "," SPEC("3") \
	",\"status\":{\"replicas\":3,\"readyReplicas\":2}}"
#define POD(name, more) "{\"metadata\":{\"name\":\"" name "\",\"labels\":" \
	"{\"app\":\"web\"}" more "},\"spec\":{\"containers\":[" \
	"{\"resources\":{\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}}," \
	"{\"resources\":{\"requests\":{\"cpu\":\"50m\",\"memory\":\"64Mi\"}}}]}," \
	"\"status\":{\"phase\":\"Running\",\"startTime\":\"2024-01-02T03:00:00Z\"," \
	"\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"," \
	"\"lastTransitionTime\":\"2024-01-02T03:00:10Z\"}]}}"
#define SAMPLE(name) "{\"metadata\":{\"name\":\"" name "\"}," \
	"\"timestamp\":\"2024-01-02T03:04:00Z\",\"window\":\"15s\"," \
	"\"containers\":[{\"usage\":{\"cpu\":\"30m\",\"memory\":\"10Mi\"}}," \
	"{\"usage\":{\"cpu\":\"20m\",\"memory\":\"5Mi\"}}]}"
#define LIST(items) "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[" items "]}"

static const QsProvider *const kubernetes = &qs_provider_kubernetes;
static const QsSignalQuery cpu = {.query = "cpu"};
static const QsSignalQuery memory = {.query = "memory"};
static Cloud *cloud;

static int
set_up(void **state)
{
	cloud = cloud_new(8);
	cloud->batch.region = "";
	cloud->account.endpoint = API "/";
	strcpy(cloud->account.credentials.authorization, "Bearer eyJhbGciOiJSUzI1NiJ9");
	for (int i = 0; i < 8; i++)
	{
		snprintf(cloud->names[i][1], 32, "prod/web-%d", i);
		cloud->targets[i].region = "";
		cloud->targets[i].alb_id = NULL;
		cloud->targets[i].kind = "Deployment";
	}
	return 0;
}

static int
tear_down(void **state)
{
	cloud_free(cloud);
	return 0;
}

static void
ask(int n_targets)
{
	cloud->batch.n_targets = n_targets;
	memset(&cloud->calls, 0, sizeof(cloud->calls));
	assert_true(kubernetes->observe(cloud->arena, &cloud->batch, 300, NOW_US,
									&cloud->calls, &cloud->error));
}

static bool
reply(QsCall *call, int status, const char *body)
{
	QsHttpReply r = {
		.status = status,
		.content_type = "",
		.body = body,
		.body_length = strlen(body),
		.retry_after_ms = -1,
		.date_epoch_s = -1,
	};

	memset(&cloud->follow_up, 0, sizeof(cloud->follow_up));
	return kubernetes->parse(cloud->arena, call, &r, NOW_US,
							 &cloud->follow_up, &cloud->error);
}

static const char *
url(int i)
{
	assert_true(i < cloud->calls.n_calls);
	return cloud->calls.calls[i]->request.url;
}

/* One target, whose object has been read. */
static void
read_web(const char *body)
{
	ask(1);
	assert_true(reply(cloud->calls.calls[0], 200, body));
}

/* ----------
 * Requests
 * ----------
 */
static void
one_or_two_are_asked_for_by_name_three_by_list(void **state)
{
	ask(2);
	assert_int_equal(cloud->calls.n_calls, 2);
	assert_string_equal(url(0), APPS "deployments/web-0");
	assert_string_equal(url(1), APPS "deployments/web-1");
	ask(3);
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_string_equal(url(0), APPS "deployments?limit=250");
	assert_int_equal(cloud->calls.calls[0]->n_targets, 3);

	/* three groups of one object, live and shadows, are one object */
	strcpy(cloud->names[1][1], "prod/web-0");
	strcpy(cloud->names[2][1], "prod/web-0");
	ask(3);
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_string_equal(url(0), APPS "deployments/web-0");
	assert_int_equal(cloud->calls.calls[0]->n_targets, 3);
}

static void
other_kinds_and_namespaces_are_asked_for_apart(void **state)
{
	cloud->targets[1].kind = "StatefulSet";
	cloud->targets[2].kind = "rollouts.v1alpha1.argoproj.io";
	strcpy(cloud->names[3][1], "test/web-0");
	cloud->targets[4].kind = NULL;
	ask(5);
	assert_int_equal(cloud->calls.n_calls, 5);
	assert_string_equal(url(0), APPS "deployments/web-0");
	assert_string_equal(url(1), APPS "deployments/web-4");
	assert_string_equal(url(2), APPS "statefulsets/web-1");
	assert_string_equal(url(3), API "/apis/apps/v1/namespaces/test/deployments/web-0");
	assert_string_equal(url(4), API "/apis/argoproj.io/v1alpha1/namespaces/prod/rollouts/web-2/scale");
}

static void
names_that_cannot_be_are_not_asked_for(void **state)
{
	static const struct
	{
		const char *asg_id;
		const char *kind;
	}			bad[] = {
		{"web", NULL}, {"/web", NULL}, {"prod/", NULL}, {"prod/a/b", NULL},
		{"Prod/web", NULL}, {"prod/..", NULL}, {"prod/a%2fb", NULL},
		{"prod/web?x", NULL}, {"a.b/web", NULL}, {"-prod/web", NULL},
		{"prod/web", "deployment"}, {"prod/web", "rollouts"},
		{"prod/web", "a.b"}, {"prod/web", "a..b"}, {"prod/web", "a/b.v1.x"},
		{"prod/web", "a.v1."}, {"prod/web", ""},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		cloud->targets[0].asg_id = bad[i].asg_id;
		cloud->targets[0].kind = bad[i].kind;
		ask(1);
		if (cloud->calls.n_calls != 0)
			fail_msg("%s %s", bad[i].asg_id, bad[i].kind);
		assert_int_equal(cloud->targets[0].capacity_error.class,
						 QS_ERROR_TERMINAL);
	}
}

static void
requests_show_the_token_and_no_more(void **state)
{
	const QsHttpRequest *request;

	ask(1);
	request = &cloud->calls.calls[0]->request;
	assert_string_equal(request->method, "GET");
	assert_string_equal(header_of(request, "Authorization"),
						"Bearer eyJhbGciOiJSUzI1NiJ9");
	assert_null(header_of(request, "Content-Type"));
	cloud->account.credentials.authorization[0] = '\0';
	ask(1);
	assert_null(header_of(&cloud->calls.calls[0]->request, "Authorization"));
	cloud->account.endpoint = NULL;
	cloud->batch.n_targets = 1;
	assert_false(kubernetes->observe(cloud->arena, &cloud->batch, 300, NOW_US,
									 &cloud->calls, &cloud->error));
	assert_string_equal(cloud->error.code, "no_endpoint");
}

/* ----------
 * Capacity
 * ----------
 */
static void
what_is_left_out_is_zero_but_replicas_of_an_object(void **state)
{
	const QsCapacity *c = &cloud->targets[0].capacity;

	read_web(WEB);
	assert_true(c->known && c->active);
	assert_int_equal(c->desired, 3);
	assert_int_equal(c->total, 3);
	assert_int_equal(c->in_service, 2);
	assert_int_equal(c->min, 0);
	assert_int_equal(c->max, QS_MAX_INSTANCES);
	read_web("{" META("web-0") "," SPEC("0") ",\"status\":{}}");
	assert_true(c->known);
	assert_int_equal(c->desired, 0);
	assert_int_equal(c->total, 0);
	assert_int_equal(c->in_service, 0);
	read_web("{" META("web-0") ",\"spec\":{\"selector\":{}}}");
	assert_int_equal(c->desired, 1);

	cloud->targets[0].kind = "workers.v1.example.com";
	read_web("{\"kind\":\"Scale\"," META("web-0")
			 ",\"spec\":{},\"status\":{\"replicas\":2,\"selector\":\"app=w\"}}");
	assert_int_equal(c->desired, 0);
	assert_int_equal(c->total, 2);
	assert_int_equal(c->in_service, QS_UNKNOWN);
	/* without a selector nothing ever says what is ready */
	read_web("{\"kind\":\"Scale\"," META("web-0")
			 ",\"spec\":{\"replicas\":2},\"status\":{\"replicas\":2}}");
	assert_int_equal(c->in_service, 2);
}

static void
paused_and_going_objects_are_not_scaled(void **state)
{
	const QsCapacity *c = &cloud->targets[0].capacity;

	read_web("{" META("web-0") ",\"spec\":{\"paused\":true,\"selector\":{}}}");
	assert_true(c->scale_out_suspended && c->scale_in_suspended);
	read_web("{\"metadata\":{\"name\":\"web-0\",\"deletionTimestamp\":"
			 "\"2024-01-02T03:04:05Z\"}," SPEC("1") "}");
	assert_true(c->known);
	assert_false(c->active);
}

static void
absurd_objects_are_malformed(void **state)
{
	static const char *const bodies[] = {
		"", "[]", "null", "{}", "{" META("web-1") "," SPEC("1") "}",
		"{" META("web-0") "}", "{" META("web-0") "," SPEC("-1") "}",
		"{" META("web-0") "," SPEC("1000001") "}",
		"{" META("web-0") "," SPEC("1.5") "}",
		"{" META("web-0") "," SPEC("\"3\"") "}",
		"{" META("web-0") "," SPEC("99999999999999999999") "}",
		"{" META("web-0") "," SPEC("1") ",\"status\":{\"readyReplicas\":-1}}",
		"{" META("web-0") ",\"spec\":{\"selector\":[]}}",
		"{\"metadata\":{\"name\":\"web-0\"}",
	};

	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
	{
		ask(1);
		if (reply(cloud->calls.calls[0], 200, bodies[i]))
			fail_msg("%s", bodies[i]);
		assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
		assert_false(cloud->targets[0].capacity.known);
	}
}

/* ----------
 * Lists
 * ----------
 */
static void
pages_are_followed_and_the_absent_are_not_found(void **state)
{
	QsCall	   *first;

	ask(4);
	first = cloud->calls.calls[0];
	assert_true(reply(first, 200, "{\"metadata\":{\"continue\":\"a b/=\","
					  "\"remainingItemCount\":2},\"items\":[" WEB ",{},null]}"));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	assert_string_equal(cloud->follow_up.calls[0]->request.url,
						APPS "deployments?limit=250&continue=a%20b%2F%3D");
	assert_true(cloud->targets[0].capacity.known);
	assert_false(cloud->targets[1].capacity.known);
	assert_true(reply(cloud->follow_up.calls[0], 200,
					  LIST("{" META("web-2") "," SPEC("5") "},"
						   "{" META("web-3") "," SPEC("-5") "}")));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	kubernetes->settle(cloud->list, 4);
	assert_int_equal(cloud->targets[2].capacity.desired, 5);
	assert_string_equal(cloud->targets[1].capacity_error.code, "NotFound");
	assert_string_equal(cloud->targets[3].capacity_error.code, "malformed");
}

static void
few_that_are_left_of_many_pages_are_asked_for_by_name(void **state)
{
	ask(3);
	assert_true(reply(cloud->calls.calls[0], 200,
					  "{\"metadata\":{\"continue\":\"c\",\"remainingItemCount\":600},"
					  "\"items\":[" WEB "]}"));
	assert_int_equal(cloud->follow_up.n_calls, 2);
	assert_string_equal(cloud->follow_up.calls[0]->request.url,
						APPS "deployments/web-1");
	ask(3);
	assert_true(reply(cloud->calls.calls[0], 200,
					  "{\"metadata\":{\"continue\":\"c\",\"remainingItemCount\":499},"
					  "\"items\":[" WEB "]}"));
	assert_int_equal(cloud->follow_up.n_calls, 1);
}

static void
an_expired_token_begins_the_list_anew_once(void **state)
{
	QsCall	   *next;

	ask(3);
	assert_true(reply(cloud->calls.calls[0], 200,
					  "{\"metadata\":{\"continue\":\"c\"},\"items\":[" WEB "]}"));
	next = cloud->follow_up.calls[0];
	assert_true(reply(next, 410, "{\"kind\":\"Status\",\"reason\":\"Expired\"}"));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	next = cloud->follow_up.calls[0];
	assert_string_equal(next->request.url, APPS "deployments?limit=250");
	assert_true(reply(next, 200,
					  "{\"metadata\":{\"continue\":\"d\"},\"items\":[]}"));
	assert_false(reply(cloud->follow_up.calls[0], 410,
					   "{\"kind\":\"Status\",\"reason\":\"Expired\"}"));
	assert_string_equal(cloud->error.code, "Expired");
}

static void
a_page_that_fails_takes_nothing_back(void **state)
{
	QsCall	   *next;

	ask(3);
	assert_true(reply(cloud->calls.calls[0], 200,
					  "{\"metadata\":{\"continue\":\"c\"},\"items\":[" WEB "]}"));
	next = cloud->follow_up.calls[0];
	assert_false(reply(next, 500, "boom"));
	kubernetes->abandon(next, &cloud->error);
	assert_true(cloud->targets[0].capacity.known);
	assert_string_equal(cloud->targets[1].capacity_error.code, "HTTP 500");
}

/* ----------
 * Errors
 * ----------
 */
static void
errors_have_their_classes(void **state)
{
	static const struct
	{
		int			status;
		const char *body;
		QsErrorClass class;
		const char *code;
		bool		refused;
	}			cases[] = {
		{401, "{\"kind\":\"Status\",\"reason\":\"Unauthorized\"}", QS_ERROR_CREDENTIAL, "Unauthorized", true},
		{403, "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"x is forbidden: User \\\"system:anonymous\\\" cannot get resource \\\"deployments\\\"\"}", QS_ERROR_CREDENTIAL, "Unauthorized", true},
		{403, "no", QS_ERROR_TERMINAL, "Forbidden", true},
		{404, "404 page not found\n", QS_ERROR_TERMINAL, "HTTP 404", true},
		{409, "{\"kind\":\"Status\",\"reason\":\"Conflict\"}", QS_ERROR_CONFLICT, "Conflict", true},
		{410, "{\"kind\":\"Status\",\"reason\":\"Gone\"}", QS_ERROR_TERMINAL, "Gone", true},
		{422, "{\"kind\":\"Status\",\"reason\":\"Invalid\"}", QS_ERROR_TERMINAL, "Invalid", true},
		{429, "Too many requests, please try again later.\n", QS_ERROR_THROTTLED, "HTTP 429", true},
		{500, "{\"kind\":\"Status\",\"reason\":\"InternalError\"}", QS_ERROR_TRANSIENT, "InternalError", false},
		{502, "<html>", QS_ERROR_TRANSIENT, "HTTP 502", false},
		{503, "upstream reset", QS_ERROR_TRANSIENT, "HTTP 503", false},
		{503, "{\"kind\":\"Status\",\"reason\":\"ServiceUnavailable\"}", QS_ERROR_TRANSIENT, "ServiceUnavailable", true},
		{504, "{\"kind\":\"Status\",\"reason\":\"Timeout\"}", QS_ERROR_TRANSIENT, "Timeout", false},
		{302, "", QS_ERROR_TERMINAL, "HTTP 302", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		ask(1);
		assert_false(reply(cloud->calls.calls[0], cases[i].status,
						   cases[i].body));
		if (cloud->error.class != cases[i].class ||
			strcmp(cloud->error.code, cases[i].code) != 0 ||
			cloud->error.refused != cases[i].refused)
			fail_msg("%d %s: %d %s", cases[i].status, cases[i].body,
					 cloud->error.class, cloud->error.code);
	}
}

static void
a_missing_right_is_told_as_the_rule(void **state)
{
	ask(3);
	assert_false(reply(cloud->calls.calls[0], 403,
					   "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":"
					   "\"deployments.apps is forbidden: User \\\"u\\\" cannot list resource \\\"deployments\\\" in API group \\\"apps\\\" in the namespace \\\"prod\\\"\"}"));
	assert_string_equal(cloud->error.message,
						"the role needs, in namespace prod: apiGroups [\"apps\"], resources [\"deployments\"], verbs [\"list\"]");

	/* a quota says no with the same reason, but no role would help */
	assert_false(reply(cloud->calls.calls[0], 403,
					   "{\"kind\":\"Status\",\"reason\":\"Forbidden\",\"message\":\"exceeded quota: pods\"}"));
	assert_string_equal(cloud->error.message, "exceeded quota: pods");
}

static void
a_pause_that_is_asked_for_is_kept_and_no_token_told(void **state)
{
	ask(1);
	assert_false(reply(cloud->calls.calls[0], 429,
					   "{\"kind\":\"Status\",\"reason\":\"TooManyRequests\",\"details\":{\"retryAfterSeconds\":3}}"));
	assert_int_equal(cloud->error.retry_after_ms, 3000);
	assert_false(reply(cloud->calls.calls[0], 400,
					   "bad header Bearer eyJhbGciOiJSUzI1NiJ9"));
	assert_null(strstr(cloud->error.message, "eyJ"));
}

/* ----------
 * The change
 * ----------
 */
static void
a_write_names_the_version_that_was_read(void **state)
{
	QsTarget   *target = &cloud->targets[0];
	QsCall	   *call;

	read_web(WEB);
	call = kubernetes->set_capacity(cloud->arena, &cloud->batch, target, 5,
									NOW_US, &cloud->error);
	assert_non_null(call);
	assert_string_equal(call->request.method, "PATCH");
	assert_string_equal(call->request.url, APPS
						"deployments/web-0/scale?fieldManager=qpsscale");
	assert_string_equal(header_of(&call->request, "Content-Type"),
						"application/merge-patch+json");
	assert_string_equal(call->request.body, "{\"metadata\":{\"resourceVersion\":"
						"\"7\"},\"spec\":{\"replicas\":5}}");
	assert_false(reply(call, 200, WEB));
	assert_false(target->set_accepted);
	assert_true(reply(call, 200, "{\"kind\":\"Scale\",\"metadata\":"
					  "{\"resourceVersion\":\"8\"},\"spec\":{\"replicas\":5}}"));
	assert_true(target->set_accepted);
	assert_string_equal(target->set_request_id, "8");
}

static void
without_a_version_nothing_is_written(void **state)
{
	QsTarget   *target = &cloud->targets[0];

	read_web("{\"metadata\":{\"name\":\"web-0\"}," SPEC("1") "}");
	assert_null(kubernetes->set_capacity(cloud->arena, &cloud->batch, target,
										 5, NOW_US, &cloud->error));
	assert_string_equal(target->set_error.code, "no_version");
	read_web("{\"metadata\":{\"name\":\"web-0\",\"resourceVersion\":\"1\\\"}\"},"
			 SPEC("1") "}");
	assert_null(kubernetes->set_capacity(cloud->arena, &cloud->batch, target,
										 5, NOW_US, &cloud->error));
	assert_null(kubernetes->set_capacity(cloud->arena, &cloud->batch, target,
										 -1, NOW_US, &cloud->error));
}

/* ----------
 * Other autoscalers
 * ----------
 */
#define HPA(kind, name, version) "{\"metadata\":{\"name\":\"h\"},\"spec\":" \
	"{\"scaleTargetRef\":{\"kind\":\"" kind "\",\"name\":\"" name \
	"\",\"apiVersion\":\"" version "\"}}}"

static void
an_autoscaler_of_the_same_object_is_a_rival(void **state)
{
	static const struct
	{
		const char *list;
		bool		rival;
	}			cases[] = {
		{LIST(""), false},
		{LIST(HPA("Deployment", "web-0", "apps/v1")), true},
		{LIST(HPA("Deployment", "web-0", "apps/v1beta2")), true},
		{LIST(HPA("Deployment", "web-1", "apps/v1")), false},
		{LIST(HPA("StatefulSet", "web-0", "apps/v1")), false},
		{LIST(HPA("Deployment", "web-0", "other/v1")), false},
		{LIST("{},null,7," HPA("Deployment", "web-0", "apps/v1")), true},
	};
	QsTarget   *target = &cloud->targets[0];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		QsCall	   *call;

		read_web(WEB);
		call = kubernetes->ask_activities(cloud->arena, &cloud->batch, target,
										  NOW_US, &cloud->error);
		assert_string_equal(call->request.url, API "/apis/autoscaling/v1/namespaces/prod/horizontalpodautoscalers?limit=250");
		assert_true(reply(call, 200, cases[i].list));
		assert_true(target->activity.known);
		if (target->activity.rival != cases[i].rival)
			fail_msg("%s", cases[i].list);
	}
}

static void
autoscalers_that_may_not_be_listed_stop_nobody(void **state)
{
	QsTarget   *target = &cloud->targets[0];
	QsCall	   *call;

	read_web(WEB);
	call = kubernetes->ask_activities(cloud->arena, &cloud->batch, target,
									  NOW_US, &cloud->error);
	assert_true(reply(call, 403, "no"));
	assert_true(target->activity.known);
	assert_false(target->activity.rival);
	assert_string_equal(target->activity_error.code, "Forbidden");
	assert_false(reply(call, 500, "boom"));
}

/* ----------
 * Pods
 * ----------
 */
static void
ask_signals(int n_targets)
{
	cloud->batch.n_targets = n_targets;
	memset(&cloud->calls, 0, sizeof(cloud->calls));
	assert_true(kubernetes->observe_signals(cloud->arena, &cloud->batch, 60,
											NOW_US, &cloud->calls,
											&cloud->error));
}

/* Of one object, cpu and memory: object, then pods and samples in any order. */
static void
pods_are_joined_with_their_samples(void **state)
{
	for (int samples_first = 0; samples_first < 2; samples_first++)
	{
		QsCall	   *lists[2];
		const QsReading *reading = &cloud->targets[0].reading;
		const QsPod *pod;

		strcpy(cloud->names[1][1], "prod/web-0");
		cloud->targets[0].query = &cpu;
		cloud->targets[1].query = &memory;
		ask_signals(2);
		assert_int_equal(cloud->calls.n_calls, 1);
		assert_true(reply(cloud->calls.calls[0], 200, WEB));
		assert_int_equal(cloud->follow_up.n_calls, 2);
		memcpy(lists, cloud->follow_up.calls, sizeof(lists));
		assert_string_equal(lists[0]->request.url, API "/api/v1/namespaces/prod/pods?limit=250&labelSelector=app%20in%20%28web%29");
		assert_string_equal(lists[1]->request.url, API "/apis/metrics.k8s.io/v1beta1/namespaces/prod/pods?limit=250&labelSelector=app%20in%20%28web%29");
		if (samples_first)
			assert_true(reply(lists[1], 200, LIST(SAMPLE("b") "," SAMPLE("a"))));
		assert_true(reply(lists[0], 200, LIST(POD("a", "") "," POD("c", "") ","
											  POD("b", ",\"deletionTimestamp\":\"2024-01-02T03:04:05Z\""))));
		if (!samples_first)
			assert_true(reply(lists[1], 200, LIST(SAMPLE("b") "," SAMPLE("a"))));
		assert_int_equal(reading->state, QS_READING_KNOWN);
		assert_int_equal(reading->n_pods, 3);
		assert_int_equal(reading->at_us, NOW_US - 5000000);
		pod = &reading->pods[0];
		assert_true(pod->usage == 0.05 && pod->request == 0.15 && pod->ready);
		assert_int_equal(pod->window_us, 15000000);
		assert_int_equal(pod->started_at, NOW_US - 245000000);
		assert_int_equal(pod->ready_changed_at, NOW_US - 235000000);
		assert_true(reading->pods[1].usage < 0);
		assert_true(reading->pods[1].sampled_at == QS_NEVER);
		assert_true(reading->pods[2].gone);
		reading = &cloud->targets[1].reading;
		assert_true(reading->is_memory);
		assert_true(reading->pods[0].usage == 15.0 * 1024 * 1024);
		assert_true(reading->pods[0].request == 128.0 * 1024 * 1024);
	}
}

static void
many_objects_share_the_pods_of_their_namespace(void **state)
{
	QsCall	   *lists[2];

	for (int i = 0; i < 4; i++)
		cloud->targets[i].query = &cpu;
	ask_signals(4);
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_true(reply(cloud->calls.calls[0], 200,
					  LIST(WEB ",{" META("web-1") "," SPEC("1") "},"
						   "{" META("web-2") ",\"spec\":{\"selector\":"
						   "{\"matchLabels\":{\"app\":\"x\"}}}}")));
	assert_int_equal(cloud->follow_up.n_calls, 2);
	memcpy(lists, cloud->follow_up.calls, sizeof(lists));
	assert_string_equal(lists[0]->request.url,
						API "/api/v1/namespaces/prod/pods?limit=250");
	assert_true(reply(lists[0], 200, LIST(POD("a", ""))));
	assert_true(reply(lists[1], 200, LIST(SAMPLE("a"))));
	assert_int_equal(cloud->targets[0].reading.n_pods, 1);
	assert_int_equal(cloud->targets[1].reading.n_pods, 1);
	assert_int_equal(cloud->targets[2].reading.state, QS_READING_EMPTY);
	assert_string_equal(cloud->targets[3].reading_error.code, "NotFound");
}

static void
no_sample_is_no_usage_of_zero(void **state)
{
	static const char *const samples[] = {
		LIST(""), "{\"items\":null}",
		LIST("{\"metadata\":{\"name\":\"a\"},\"timestamp\":\"2024-01-02T03:04:00Z\",\"window\":\"15s\",\"containers\":[]}"),
		LIST("{\"metadata\":{\"name\":\"a\"},\"timestamp\":\"never\",\"window\":\"15s\",\"containers\":[{\"usage\":{\"cpu\":\"1\"}}]}"),
		LIST("{\"metadata\":{\"name\":\"a\"},\"timestamp\":\"2024-01-02T03:04:00Z\",\"window\":\"15s\",\"containers\":[{\"usage\":{\"cpu\":\"-1\"}}]}"),
		LIST("{\"metadata\":{\"name\":\"a\"},\"timestamp\":\"2024-01-02T03:04:00Z\",\"window\":\"15s\",\"containers\":[{\"usage\":{\"cpu\":\"NaN\"}}]}"),
		LIST("{\"metadata\":{\"name\":\"a\"},\"timestamp\":\"2024-01-02T03:04:00Z\",\"window\":\"15s\",\"containers\":[{\"usage\":{\"cpu\":\"1\"}},{\"usage\":{}}]}"),
		LIST(SAMPLE("other")),
	};

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
	{
		QsCall	   *lists[2];

		cloud->targets[0].query = &cpu;
		ask_signals(1);
		assert_true(reply(cloud->calls.calls[0], 200, WEB));
		memcpy(lists, cloud->follow_up.calls, sizeof(lists));
		assert_true(reply(lists[0], 200, LIST(POD("a", ""))));
		assert_true(reply(lists[1], 200, samples[i]));
		if (cloud->targets[0].reading.state != QS_READING_EMPTY)
			fail_msg("%s", samples[i]);
	}
}

static void
a_container_without_a_request_leaves_the_pod_without(void **state)
{
	QsCall	   *lists[2];
	static const char pods[] = LIST("{\"metadata\":{\"name\":\"a\"},\"spec\":{\"containers\":["
									"{\"resources\":{\"requests\":{\"cpu\":\"1\"}}},{}]}},"
									"{\"metadata\":{\"name\":\"b\"},\"spec\":{\"containers\":["
									"{\"resources\":{\"requests\":{\"cpu\":\"1\"}}}],\"initContainers\":["
									"{\"resources\":{}},{\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":\"500m\"}}}]}}");

	cloud->targets[0].query = &cpu;
	ask_signals(1);
	assert_true(reply(cloud->calls.calls[0], 200, WEB));
	memcpy(lists, cloud->follow_up.calls, sizeof(lists));
	assert_true(reply(lists[0], 200, pods));
	assert_true(reply(lists[1], 200, LIST(SAMPLE("a"))));
	assert_true(cloud->targets[0].reading.pods[0].request == 0);
	assert_true(cloud->targets[0].reading.pods[1].request == 1.5);
}

static void
a_cluster_without_metrics_is_told(void **state)
{
	QsCall	   *usage;

	cloud->targets[0].query = &cpu;
	ask_signals(1);
	assert_true(reply(cloud->calls.calls[0], 200, WEB));
	usage = cloud->follow_up.calls[1];
	assert_false(reply(usage, 404, "404 page not found\n"));
	assert_string_equal(cloud->error.code, "NoMetrics");
	kubernetes->abandon(usage, &cloud->error);
	assert_int_equal(cloud->targets[0].reading.state, QS_READING_UNKNOWN);
	assert_int_equal(cloud->targets[0].reading_error.class, QS_ERROR_TERMINAL);
}

static void
ready_pods_are_counted_where_the_object_does_not(void **state)
{
	QsTarget   *target = &cloud->targets[0];
	QsCall	   *call;

	target->kind = "workers.v1.example.com";
	read_web("{\"kind\":\"Scale\"," META("web-0") ",\"spec\":{\"replicas\":3},"
			 "\"status\":{\"replicas\":3,\"selector\":\"app=web\"}}");
	call = kubernetes->ask_in_service(cloud->arena, &cloud->batch, target,
									  NOW_US, &cloud->error);
	assert_true(reply(call, 200, "{\"metadata\":{\"continue\":\"c\"},\"items\":["
					  POD("a", "") ",{\"metadata\":{\"name\":\"b\"}}]}"));
	assert_int_equal(target->capacity.in_service, QS_UNKNOWN);
	assert_true(reply(cloud->follow_up.calls[0], 200, LIST(POD("c", ""))));
	assert_int_equal(target->capacity.in_service, 2);
}

#define TEST(function)	cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(one_or_two_are_asked_for_by_name_three_by_list),
		TEST(other_kinds_and_namespaces_are_asked_for_apart),
		TEST(names_that_cannot_be_are_not_asked_for),
		TEST(requests_show_the_token_and_no_more),
		TEST(what_is_left_out_is_zero_but_replicas_of_an_object),
		TEST(paused_and_going_objects_are_not_scaled),
		TEST(absurd_objects_are_malformed),
		TEST(pages_are_followed_and_the_absent_are_not_found),
		TEST(few_that_are_left_of_many_pages_are_asked_for_by_name),
		TEST(an_expired_token_begins_the_list_anew_once),
		TEST(a_page_that_fails_takes_nothing_back),
		TEST(errors_have_their_classes),
		TEST(a_missing_right_is_told_as_the_rule),
		TEST(a_pause_that_is_asked_for_is_kept_and_no_token_told),
		TEST(a_write_names_the_version_that_was_read),
		TEST(without_a_version_nothing_is_written),
		TEST(an_autoscaler_of_the_same_object_is_a_rival),
		TEST(autoscalers_that_may_not_be_listed_stop_nobody),
		TEST(pods_are_joined_with_their_samples),
		TEST(many_objects_share_the_pods_of_their_namespace),
		TEST(no_sample_is_no_usage_of_zero),
		TEST(a_container_without_a_request_leaves_the_pod_without),
		TEST(a_cluster_without_metrics_is_told),
		TEST(ready_pods_are_counted_where_the_object_does_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
