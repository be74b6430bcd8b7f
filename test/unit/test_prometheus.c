/*-------------------------------------------------------------------------
 * test_prometheus.c
 *		What Prometheus is asked, and what its answers mean.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#include <math.h>

#define LATER_US	(INT64_C(600) * 1000000)

static const QsProvider *const prometheus = &qs_provider_prometheus;

typedef struct World
{
	Cloud	   *cloud;
	QsSignalQuery *queries;
} World;

/* n signals that all ask for "load", of the label app="a0", "a1", ... */
static World
world_new(int n)
{
	World		world = {cloud_new(n), calloc((size_t) n + 1,
											  sizeof(QsSignalQuery))};

	assert_non_null(world.queries);
	world.cloud->account.endpoint = "https://prometheus.test/prefix/";
	world.cloud->account.provider = "prometheus";
	world.cloud->batch.region = "";
	for (int i = 0; i < n; i++)
	{
		snprintf(world.cloud->names[i][0], 32, "a%d", i);
		world.queries[i] = (QsSignalQuery) {
			.query = "load", .label = "app",
			.label_value = world.cloud->names[i][0],
			.max_age_us = LATER_US
		};
		world.cloud->targets[i].query = &world.queries[i];
		world.cloud->targets[i].reading.at_us = QS_NEVER;
	}
	return world;
}

static void
world_free(World *world)
{
	free(world->queries);
	cloud_free(world->cloud);
}

static void
ask(World *world)
{
	Cloud	   *cloud = world->cloud;

	memset(&cloud->calls, 0, sizeof(cloud->calls));
	assert_true(prometheus->observe_signals(cloud->arena, &cloud->batch, 300,
											NOW_US, &cloud->calls,
											&cloud->error));
}

static bool
answer_call(World *world, QsCall *call, int status, const char *body)
{
	Cloud	   *cloud = world->cloud;
	QsHttpReply reply = {
		.status = status,
		.content_type = "application/json",
		.body = body,
		.body_length = strlen(body),
		.retry_after_ms = -1,
		.date_epoch_s = cloud->date_s,
	};

	memset(&cloud->follow_up, 0, sizeof(cloud->follow_up));
	return prometheus->parse(cloud->arena, call, &reply, NOW_US,
							 &cloud->follow_up, &cloud->error);
}

static bool
answer_first(World *world, int status, const char *body)
{
	return answer_call(world, world->cloud->calls.calls[0], status, body);
}

/* A vector of the rows, asked and answered. */
static const QsTarget *
told(World *world, const char *rows)
{
	char		body[4096];

	ask(world);
	snprintf(body, sizeof(body), "{\"status\":\"success\",\"data\":"
			 "{\"resultType\":\"vector\",\"result\":[%s]}}", rows);
	assert_true(answer_first(world, 200, body));
	return world->cloud->targets;
}

#define ROW(app, value) \
	"{\"metric\":{\"app\":\"" app "\"},\"value\":[1704164645,\"" value "\"]}"

static void
assert_lost(const QsTarget *target, const char *code)
{
	assert_int_equal(target->reading.state, QS_READING_UNKNOWN);
	assert_int_not_equal(target->reading_error.class, QS_ERROR_NONE);
	assert_string_equal(target->reading_error.code, code);
}

static void
assert_known(const QsTarget *target, double value)
{
	assert_int_equal(target->reading_error.class, QS_ERROR_NONE);
	assert_int_equal(target->reading.state, QS_READING_KNOWN);
	assert_true(target->reading.value == value);
}

/* ---- what is asked ---- */

static void
a_thousand_groups_ask_once(void **state)
{
	World		world = world_new(1000);
	char	   *body = calloc(1, 200000);
	size_t		n;

	ask(&world);
	assert_int_equal(world.cloud->calls.n_calls, 1);
	assert_int_equal(world.cloud->calls.calls[0]->n_targets, 1000);
	n = (size_t) sprintf(body, "{\"status\":\"success\",\"data\":"
						 "{\"resultType\":\"vector\",\"result\":[");
	for (int i = 999; i >= 0; i--)
		n += (size_t) sprintf(body + n, "{\"metric\":{\"app\":\"a%d\"},\"value\":"
							  "[1704164645,\"%d\"]}%s", i, 10 * i, i ? "," : "");
	strcpy(body + n, "]}}");
	assert_true(answer_first(&world, 200, body));
	for (int i = 0; i < 1000; i++)
		assert_known(&world.cloud->targets[i], 10 * i);
	free(body);
	world_free(&world);
}

static void
other_queries_are_other_calls(void **state)
{
	World		world = world_new(3);

	world.queries[1].query = "other";
	world.queries[1].label = world.queries[1].label_value = NULL;
	ask(&world);
	assert_int_equal(world.cloud->calls.n_calls, 2);
	world_free(&world);
}

static void
the_form_says_query_and_moment(void **state)
{
	World		world = world_new(1);
	const QsHttpRequest *request;

	world.queries[0].query = "sum by (app) (rate(x{a=\"b\"}[5m]))";
	world.cloud->memory.skew_s = 100;
	ask(&world);
	request = &world.cloud->calls.calls[0]->request;
	assert_string_equal(request->method, "POST");
	assert_string_equal(request->url,
						"https://prometheus.test/prefix/api/v1/query");
	assert_string_equal(header_of(request, "Content-Type"),
						"application/x-www-form-urlencoded");
	assert_non_null(strstr(request->body, "query=sum%20by%20%28app%29%20%28"
						   "rate%28x%7Ba%3D%22b%22%7D%5B5m%5D%29%29"));
	assert_non_null(strstr(request->body, "time=1704164745.000"));
	assert_null(header_of(request, "Authorization"));
	assert_null(header_of(request, "X-Scope-OrgID"));
	world_free(&world);
}

static void
credentials_and_tenant_are_headers(void **state)
{
	World		world = world_new(1);
	QsCredentials *credentials = &world.cloud->account.credentials;
	const QsHttpRequest *request;
	QsError		error;

	/* RFC 7617's own example */
	assert_true(qs_credentials_set_basic(credentials, "Aladdin",
										 "open sesame", &error));
	world.cloud->account.tenant = "team-a|team-b";
	ask(&world);
	request = &world.cloud->calls.calls[0]->request;
	assert_string_equal(header_of(request, "Authorization"),
						"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
	assert_string_equal(header_of(request, "X-Scope-OrgID"), "team-a|team-b");

	strcpy(credentials->authorization, "Bearer new");
	assert_true(prometheus->sign(world.cloud->arena,
								 world.cloud->calls.calls[0], NOW_US, &error));
	assert_string_equal(header_of(request, "Authorization"), "Bearer new");
	world_free(&world);
}

static void
no_endpoint_and_no_query_are_errors(void **state)
{
	World		world = world_new(2);
	Cloud	   *cloud = world.cloud;

	world.queries[0].query = "";
	ask(&world);
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_lost(&cloud->targets[0], "no_query");
	cloud->account.endpoint = NULL;
	assert_false(prometheus->observe_signals(cloud->arena, &cloud->batch, 300,
											 NOW_US, &cloud->calls,
											 &cloud->error));
	assert_string_equal(cloud->error.code, "no_endpoint");
	world_free(&world);
}

/* ---- what values mean ---- */

static void
numbers_are_text(void **state)
{
	World		world = world_new(4);
	const QsTarget *targets = told(&world, ROW("a0", "812.5") ","
								   ROW("a1", "1e+06") "," ROW("a2", "-0.5")
								   "," ROW("else", "7"));

	assert_known(&targets[0], 812.5);
	assert_true(targets[0].reading.at_us == NOW_US);
	assert_known(&targets[1], 1e6);
	assert_known(&targets[2], -0.5);
	assert_int_equal(targets[3].reading.state, QS_READING_EMPTY);
	world_free(&world);
}

static void
nan_is_nothing_and_never_zero(void **state)
{
	World		world = world_new(2);
	const QsTarget *targets = told(&world, ROW("a0", "NaN") "," ROW("a1", ""));

	assert_int_equal(targets[0].reading.state, QS_READING_EMPTY);
	assert_int_equal(targets[1].reading.state, QS_READING_EMPTY);
	assert_int_equal(targets[0].reading_error.class, QS_ERROR_NONE);
	world_free(&world);
}

/* Where an empty answer means zero, an overload must not pass for one. */
static void
infinity_is_an_error_and_not_nothing(void **state)
{
	World		world = world_new(2);
	const QsTarget *targets = told(&world, ROW("a0", "+Inf") ","
								   ROW("a1", "-Inf"));

	assert_lost(&targets[0], "infinite");
	assert_lost(&targets[1], "infinite");
	world_free(&world);
}

static void
what_is_no_number_is_an_error(void **state)
{
	static const char *const values[] = {"0x10", "1 ", "twelve", "1e999",
	"1,5", "nan", "--1", "1e", "1\\u0000"};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		World		world = world_new(1);
		char		row[128];

		snprintf(row, sizeof(row), "{\"metric\":{\"app\":\"a0\"},\"value\":"
				 "[1704164645,\"%s\"]}", values[i]);
		assert_lost(told(&world, row), "malformed_series");
		world_free(&world);
	}
}

static void
two_series_of_one_name_are_an_error(void **state)
{
	World		world = world_new(2);
	const QsTarget *targets = told(&world, ROW("a0", "1") "," ROW("a0", "2")
								   "," ROW("a1", "3"));

	assert_lost(&targets[0], "several_series");
	assert_non_null(strstr(targets[0].reading_error.message,
						   "2 series have app = \"a0\""));
	assert_known(&targets[1], 3);
	world_free(&world);
}

static void
without_label_there_is_one_series_or_none(void **state)
{
	World		world = world_new(1);
	const QsTarget *target;

	world.queries[0].label = world.queries[0].label_value = NULL;
	target = told(&world, ROW("any", "5"));
	assert_known(target, 5);
	target = told(&world, "");
	assert_int_equal(target->reading.state, QS_READING_EMPTY);
	target = told(&world, ROW("x", "5") "," ROW("y", "5"));
	assert_lost(target, "several_series");
	world_free(&world);
}

/* Several groups may want the same series. */
static void
groups_share_a_series(void **state)
{
	World		world = world_new(4);
	const QsTarget *targets;

	world.queries[1].label_value = "a0";
	world.queries[2].label = world.queries[2].label_value = NULL;
	world.queries[3].label = world.queries[3].label_value = NULL;
	targets = told(&world, ROW("a0", "4"));
	assert_int_equal(world.cloud->calls.n_calls, 1);
	for (int i = 0; i < 4; i++)
		assert_known(&targets[i], 4);
	world_free(&world);
}

static void
a_scalar_is_a_number_without_labels(void **state)
{
	World		world = world_new(2);
	static const char body[] = "{\"status\":\"success\",\"data\":{"
		"\"resultType\":\"scalar\",\"result\":[1704164645,\"3\"]}}";

	world.queries[0].label = world.queries[0].label_value = NULL;
	ask(&world);
	assert_true(answer_first(&world, 200, body));
	assert_known(&world.cloud->targets[0], 3);
	assert_lost(&world.cloud->targets[1], "no_labels");
	world_free(&world);
}

static void
a_histogram_is_no_number(void **state)
{
	World		world = world_new(1);

	assert_lost(told(&world, "{\"metric\":{\"app\":\"a0\"},\"histogram\":"
					 "[1704164645,{\"count\":\"3\"}]}"), "malformed_series");
	world_free(&world);
}

static void
an_answer_of_another_moment_is_as_old_as_it_says(void **state)
{
	World		world = world_new(2);
	const QsTarget *targets;

	targets = told(&world, "{\"metric\":{\"app\":\"a0\"},\"value\":[1704164045,"
				   "\"1\"]},{\"metric\":{\"app\":\"a1\"},\"value\":"
				   "[1704169999,\"1\"]}");
	assert_known(&targets[0], 1);
	assert_true(targets[0].reading.at_us == NOW_US - 600 * INT64_C(1000000));
	assert_lost(&targets[1], "malformed_series");
	world_free(&world);
}

/* ---- partial answers ---- */

static void
warnings_make_an_answer_partial(void **state)
{
	World		world = world_new(3);
	static const char body[] = "{\"status\":\"success\",\"warnings\":[\"no "
		"store matched\"],\"data\":{\"resultType\":\"vector\",\"result\":["
		ROW("a0", "8") "," ROW("a1", "NaN") "]}}";

	ask(&world);
	assert_true(answer_first(&world, 200, body));
	assert_int_equal(world.cloud->targets[0].reading.state,
					 QS_READING_PARTIAL);
	assert_true(world.cloud->targets[0].reading.value == 8);
	assert_lost(&world.cloud->targets[1], "partial_answer");
	assert_lost(&world.cloud->targets[2], "partial_answer");
	world_free(&world);
}

static void
advice_about_a_query_is_no_warning(void **state)
{
	World		world = world_new(1);
	static const char body[] = "{\"status\":\"success\",\"infos\":[\"x\"],"
		"\"warnings\":[\"PromQL info: metric might not be a counter\"],"
		"\"data\":{\"resultType\":\"vector\",\"result\":[" ROW("a0", "8")
		"]}}";

	ask(&world);
	assert_true(answer_first(&world, 200, body));
	assert_known(&world.cloud->targets[0], 8);
	world_free(&world);
}

/* ---- ages and clocks ---- */

static void
only_a_short_age_is_asked_for(void **state)
{
	World		world = world_new(3);
	Cloud	   *cloud = world.cloud;
	QsCall	   *second;

	(void) told(&world, ROW("a0", "1") "," ROW("a1", "2") "," ROW("a2", "3"));
	assert_int_equal(cloud->follow_up.n_calls, 0);

	world.queries[0].max_age_us = 60 * INT64_C(1000000);
	world.queries[1].max_age_us = 60 * INT64_C(1000000);
	(void) told(&world, ROW("a0", "1") "," ROW("a1", "2") "," ROW("a2", "3"));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	second = cloud->follow_up.calls[0];
	assert_non_null(strstr(second->request.body,
						   "query=timestamp%28%0Aload%0A%29"));
	assert_true(answer_call(&world, second, 200, "{\"status\":\"success\","
							"\"data\":{\"resultType\":\"vector\",\"result\":["
							ROW("a0", "1704164445") "]}}"));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_known(&cloud->targets[0], 1);
	assert_true(cloud->targets[0].reading.at_us ==
				NOW_US - 200 * INT64_C(1000000));
	assert_lost(&cloud->targets[1], "no_timestamp");
	assert_known(&cloud->targets[2], 3);
	assert_true(cloud->targets[2].reading.at_us == NOW_US);
	world_free(&world);
}

/* A server whose clock is elsewhere finds nothing at our moment. */
static void
a_moment_of_the_wrong_clock_is_asked_again_once(void **state)
{
	World		world = world_new(1);
	Cloud	   *cloud = world.cloud;
	static const char body[] = "{\"status\":\"success\",\"data\":{"
		"\"resultType\":\"vector\",\"result\":[{\"metric\":{\"app\":\"a0\"},"
		"\"value\":[1704164045,\"9\"]}]}}";
	QsCall	   *second;

	cloud->date_s = VECTOR_TIME - 600;
	ask(&world);
	assert_true(answer_first(&world, 200, "{\"status\":\"success\",\"data\":{"
							 "\"resultType\":\"vector\",\"result\":[]}}"));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	second = cloud->follow_up.calls[0];
	assert_non_null(strstr(second->request.body, "time=1704164045.000"));
	cloud->date_s = VECTOR_TIME;
	assert_true(answer_call(&world, second, 200, body));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_known(&cloud->targets[0], 9);
	assert_true(cloud->targets[0].reading.at_us == NOW_US);
	world_free(&world);
}

/* ---- errors ---- */

static void
errors_have_their_class(void **state)
{
	static const struct
	{
		int			status;
		const char *body;
		QsErrorClass class;
		const char *code;
	}			cases[] = {
		{400, "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"1:4: "
		"parse error\"}", QS_ERROR_TERMINAL, "bad_data"},
		{422, "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"x\"}",
		QS_ERROR_TERMINAL, "execution"},
		{503, "{\"status\":\"error\",\"errorType\":\"timeout\",\"error\":\"x\"}",
		QS_ERROR_TRANSIENT, "timeout"},
		{200, "{\"status\":\"error\",\"errorType\":\"internal\",\"error\":\"x\"}",
		QS_ERROR_TRANSIENT, "internal"},
		{422, "{\"status\":\"error\",\"errorType\":\"too_many_requests\"}",
		QS_ERROR_THROTTLED, "too_many_requests"},
		{499, "", QS_ERROR_TRANSIENT, "HTTP499"},
		{401, "Unauthorized\n", QS_ERROR_CREDENTIAL, "HTTP401"},
		{403, "<html>no</html>", QS_ERROR_TERMINAL, "HTTP403"},
		{404, "404 page not found", QS_ERROR_TERMINAL, "HTTP404"},
		{302, "<a href=\"/login\">Found</a>", QS_ERROR_TERMINAL, "HTTP302"},
		{429, "slow down", QS_ERROR_THROTTLED, "HTTP429"},
		{502, "<html><body>Bad Gateway", QS_ERROR_TRANSIENT, "HTTP502"},
		{504, "", QS_ERROR_TRANSIENT, "HTTP504"},
		{200, "<html>Sign in</html>", QS_ERROR_MALFORMED, "malformed_reply"},
		{200, "{\"status\":\"success\"}", QS_ERROR_MALFORMED,
		"malformed_reply"},
		{200, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\","
		"\"result\":[]}}", QS_ERROR_TERMINAL, "not_a_number"},
		{200, "[[[[", QS_ERROR_MALFORMED, "malformed_reply"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		World		world = world_new(2);
		Cloud	   *cloud = world.cloud;

		ask(&world);
		assert_false(answer_first(&world, cases[i].status, cases[i].body));
		assert_int_equal(cloud->error.class, cases[i].class);
		assert_string_equal(cloud->error.code, cases[i].code);
		prometheus->abandon(cloud->calls.calls[0], &cloud->error);
		assert_lost(&cloud->targets[0], cases[i].code);
		assert_lost(&cloud->targets[1], cases[i].code);
		world_free(&world);
	}
}

static void
an_error_that_quotes_the_token_is_withheld(void **state)
{
	World		world = world_new(1);

	strcpy(world.cloud->account.credentials.authorization,
		   "Bearer CANARY-0123456789-abcdef");
	ask(&world);
	assert_false(answer_first(&world, 400, "{\"status\":\"error\","
							  "\"errorType\":\"CANARY-0123456789-abcdef\",\"error\":"
							  "\"bad header CANARY-0123456789-abcdef\"}"));
	assert_null(strstr(world.cloud->error.message, "CANARY"));
	assert_string_equal(world.cloud->error.code, "HTTP400");
	world_free(&world);
}

static void
too_many_series_are_an_error(void **state)
{
	World		world = world_new(1);
	char	   *body = calloc(1, 2000000);
	size_t		n;

	ask(&world);
	n = (size_t) sprintf(body, "{\"status\":\"success\",\"data\":"
						 "{\"resultType\":\"vector\",\"result\":[");
	for (int i = 0; i <= 10000; i++)
		n += (size_t) sprintf(body + n, "{\"metric\":{\"app\":\"a%d\"},\"value\":"
							  "[1704164645,\"1\"]}%s", i, i < 10000 ? "," : "");
	strcpy(body + n, "]}}");
	assert_false(answer_first(&world, 200, body));
	assert_string_equal(world.cloud->error.code, "too_many_series");
	free(body);
	world_free(&world);
}

static void
rows_of_any_shape_are_survived(void **state)
{
	World		world = world_new(2);
	const QsTarget *targets = told(&world, "null,7,[],{},{\"metric\":3},"
								   "{\"metric\":{\"app\":7}},{\"metric\":{\"app\":"
								   "\"a1\"},\"value\":[1704164645]},"
								   ROW("a0", "1"));

	assert_known(&targets[0], 1);
	assert_lost(&targets[1], "malformed_series");
	world_free(&world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thousand_groups_ask_once),
		cmocka_unit_test(other_queries_are_other_calls),
		cmocka_unit_test(the_form_says_query_and_moment),
		cmocka_unit_test(credentials_and_tenant_are_headers),
		cmocka_unit_test(no_endpoint_and_no_query_are_errors),
		cmocka_unit_test(numbers_are_text),
		cmocka_unit_test(nan_is_nothing_and_never_zero),
		cmocka_unit_test(infinity_is_an_error_and_not_nothing),
		cmocka_unit_test(what_is_no_number_is_an_error),
		cmocka_unit_test(two_series_of_one_name_are_an_error),
		cmocka_unit_test(without_label_there_is_one_series_or_none),
		cmocka_unit_test(groups_share_a_series),
		cmocka_unit_test(a_scalar_is_a_number_without_labels),
		cmocka_unit_test(a_histogram_is_no_number),
		cmocka_unit_test(an_answer_of_another_moment_is_as_old_as_it_says),
		cmocka_unit_test(warnings_make_an_answer_partial),
		cmocka_unit_test(advice_about_a_query_is_no_warning),
		cmocka_unit_test(only_a_short_age_is_asked_for),
		cmocka_unit_test(a_moment_of_the_wrong_clock_is_asked_again_once),
		cmocka_unit_test(errors_have_their_class),
		cmocka_unit_test(an_error_that_quotes_the_token_is_withheld),
		cmocka_unit_test(too_many_series_are_an_error),
		cmocka_unit_test(rows_of_any_shape_are_survived),
	};

	return cmocka_run_group_tests_name("prometheus", tests, NULL, NULL);
}
