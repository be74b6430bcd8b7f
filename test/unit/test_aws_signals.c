/*-------------------------------------------------------------------------
 * test_aws_signals.c
 *		CloudWatch's metrics as signals: which are asked, and what their points
 *		come to.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#define TARGET_GROUP	"targetgroup/web/6d0ecf831eec9f09"
#define BALANCER	"app/web/50dc6c495c0c9188"

/* NOW_US is five seconds past a minute; the newest whole one is not asked. */
#define END_S		(VECTOR_TIME / 60 * 60 - 60)

static const QsProvider *const aws = &qs_provider_aws;
static Cloud *cloud;
static QsSignalQuery queries[600];
static char text[1 << 18];

static int
set_up(void **state)
{
	cloud = cloud_new(600);
	cloud->batch.region = "us-east-1";
	cloud->batch.n_targets = 1;
	for (int i = 0; i < 600; i++)
	{
		queries[i] = (QsSignalQuery) {.query = "cpu"};
		cloud->targets[i].region = "us-east-1";
		cloud->targets[i].alb_id = BALANCER;
		cloud->targets[i].query = &queries[i];
	}
	return 0;
}

static int
tear_down(void **state)
{
	cloud_free(cloud);
	return 0;
}

static QsCall *
ask(int n)
{
	cloud->batch.n_targets = n;
	memset(&cloud->calls, 0, sizeof(cloud->calls));
	assert_true(aws->observe_signals(cloud->arena, &cloud->batch, 300, NOW_US,
									 &cloud->calls, &cloud->error));
	return cloud->calls.n_calls > 0 ? cloud->calls.calls[0] : NULL;
}

static bool
reply_to(QsCall *call, int status, const char *body)
{
	QsHttpReply reply = {
		.status = status,
		.content_type = "application/x-amz-json-1.0",
		.body = body,
		.body_length = strlen(body),
		.retry_after_ms = -1,
		.date_epoch_s = -1,
	};

	memset(&cloud->follow_up, 0, sizeof(cloud->follow_up));
	return aws->parse(cloud->arena, call, &reply, NOW_US, &cloud->follow_up,
					  &cloud->error);
}

/* What one target knows after points at so many minutes before the end. */
static const QsTarget *
told(const char *query, int n, const int *minutes_ago, const double *values)
{
	size_t		at;
	QsCall	   *call;

	queries[0].query = query;
	call = ask(1);
	at = (size_t) sprintf(text, "{\"MetricDataResults\":[{\"Id\":\"m0\","
						  "\"StatusCode\":\"Complete\",\"Timestamps\":[");
	for (int i = 0; i < n; i++)
		at += (size_t) sprintf(text + at, "%s%lld.0", i ? "," : "",
							   (long long) (END_S - 60 * minutes_ago[i]));
	at += (size_t) sprintf(text + at, "],\"Values\":[");
	for (int i = 0; i < n; i++)
		at += (size_t) sprintf(text + at, "%s%g", i ? "," : "", values[i]);
	strcpy(text + at, "]}]}");
	assert_true(reply_to(call, 200, text));
	return &cloud->targets[0];
}

static void
each_metric_is_asked_by_its_own_name(void **state)
{
	static const char *const names[][3] = {
		{"cpu", "\"Namespace\":\"AWS/EC2\",\"MetricName\":\"CPUUtilization\"",
		"\"Name\":\"AutoScalingGroupName\",\"Value\":\"scg-00000\""},
		{"memory", "\"Namespace\":\"CWAgent\",\"MetricName\":\"mem_used_percent\"",
		"\"Name\":\"AutoScalingGroupName\",\"Value\":\"scg-00000\""},
		{"request_count_per_target", "\"MetricName\":\"RequestCountPerTarget\"",
			"\"Value\":\"" BALANCER "\"},{\"Name\":\"TargetGroup\","
		"\"Value\":\"" TARGET_GROUP "\"}"},
		{"target_response_time", "\"MetricName\":\"TargetResponseTime\"",
		"\"Name\":\"LoadBalancer\",\"Value\":\"" BALANCER "\""},
		{"target_5xx", "\"MetricName\":\"HTTPCode_Target_5XX_Count\"",
		"\"Stat\":\"Sum\""},
		{"elb_5xx", "\"MetricName\":\"HTTPCode_ELB_5XX_Count\"",
		"\"Stat\":\"Sum\""},
	};
	size_t		i;

	for (i = 0; aws->signals[i] != NULL; i++)
	{
		const char *body;

		queries[0].query = aws->signals[i];
		queries[0].label_value = TARGET_GROUP;
		body = ask(1)->request.body;
		assert_string_equal(names[i][0], aws->signals[i]);
		assert_non_null(strstr(body, names[i][1]));
		assert_non_null(strstr(body, names[i][2]));
	}
	assert_int_equal(i, sizeof(names) / sizeof(names[0]));
}

/* Two groups behind one balancer have each their own target group. */
static void
a_target_group_is_asked_once(void **state)
{
	static const char *const wrong[] = {NULL, "", "web", "targetgroup/a b/1",
	"app/web/50dc6c495c0c9188"};
	QsCall	   *call;

	for (int i = 0; i < 3; i++)
	{
		queries[i].query = "request_count_per_target";
		queries[i].label_value = i == 1 ? "targetgroup/other/1" : TARGET_GROUP;
	}
	call = ask(3);
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_int_equal(call->n_targets, 3);
	assert_non_null(strstr(call->request.body, "\"m1\""));
	assert_null(strstr(call->request.body, "\"m2\""));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		queries[0].label_value = wrong[i];
		assert_null(ask(1));
		assert_string_equal(cloud->targets[0].reading_error.code,
							"no_target_group");
	}
	queries[0].label_value = TARGET_GROUP;
	assert_true(told("request_count_per_target", 2, (int[]) {1, 2},
					 (double[]) {3000, 60})->reading.value == 50);
}

static void
five_hundred_metrics_are_one_call(void **state)
{
	ask(600);
	assert_int_equal(cloud->calls.n_calls, 2);
	assert_int_equal(cloud->calls.calls[0]->n_targets, 500);
	assert_int_equal(cloud->calls.calls[1]->n_targets, 100);
	assert_string_equal(cloud->calls.calls[0]->bucket, "/test/load");
}

static void
what_is_shared_is_asked_once(void **state)
{
	QsCall	   *call;

	for (int i = 0; i < 600; i++)
		queries[i].query = "target_response_time";
	call = ask(600);
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_int_equal(call->n_targets, 600);
	assert_null(strstr(call->request.body, "\"m1\""));
	snprintf(text, sizeof(text), "{\"MetricDataResults\":[{\"Id\":\"m0\","
			 "\"Timestamps\":[%lld],\"Values\":[0.25]}]}",
			 (long long) END_S - 60);
	assert_true(reply_to(call, 200, text));
	for (int i = 0; i < 600; i++)
		assert_true(cloud->targets[i].reading.value == 0.25);
}

static void
a_level_is_its_newest_point(void **state)
{
	const QsTarget *target = told("cpu", 3, (int[]) {12, 2, 7},
								  (double[]) {10, 55.5, 20});

	assert_int_equal(target->reading.state, QS_READING_KNOWN);
	assert_true(target->reading.value == 55.5);
	assert_true(target->reading.at_us == (END_S - 60) * INT64_C(1000000));
}

static void
errors_are_those_of_the_worst_minute(void **state)
{
	const QsTarget *target = told("target_5xx", 3, (int[]) {1, 4, 6},
								  (double[]) {6, 120, 6000});

	assert_int_equal(target->reading.state, QS_READING_KNOWN);
	assert_true(target->reading.value == 2);
	assert_true(target->reading.at_us == END_S * INT64_C(1000000));
	target = told("target_5xx", 1, (int[]) {6}, (double[]) {6000});
	assert_int_equal(target->reading.state, QS_READING_EMPTY);
}

static void
no_point_is_nothing(void **state)
{
	const QsTarget *target = told("cpu", 0, NULL, NULL);

	assert_int_equal(target->reading.state, QS_READING_EMPTY);
	assert_int_equal(target->reading_error.class, QS_ERROR_NONE);
	/* outside of the window, and below zero */
	target = told("cpu", 3, (int[]) {0, 16, 3}, (double[]) {1, 2, -3});
	assert_int_equal(target->reading.state, QS_READING_EMPTY);
}

static void
pages_are_put_together(void **state)
{
	QsCall	   *call = ask(2);
	QsCall	   *second;

	snprintf(text, sizeof(text), "{\"NextToken\":\"t\",\"MetricDataResults\":["
			 "{\"Id\":\"m0\",\"StatusCode\":\"PartialData\",\"Timestamps\":[%lld],"
			 "\"Values\":[7]}]}", (long long) END_S - 60);
	assert_true(reply_to(call, 200, text));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	assert_int_equal(cloud->targets[0].reading.state, QS_READING_UNKNOWN);
	second = cloud->follow_up.calls[0];
	assert_non_null(strstr(second->request.body, "\"NextToken\":\"t\""));
	snprintf(text, sizeof(text), "{\"MetricDataResults\":["
			 "{\"Id\":\"m0\",\"Timestamps\":[%lld],\"Values\":[3]},"
			 "{\"Id\":\"m1\",\"Timestamps\":[%lld],\"Values\":[9]}]}",
			 (long long) END_S - 120, (long long) END_S - 120);
	assert_true(reply_to(second, 200, text));
	assert_true(cloud->targets[0].reading.value == 7);
	assert_true(cloud->targets[1].reading.value == 9);
}

static void
what_cannot_be_read_is_an_error_of_its_own(void **state)
{
	QsCall	   *call = ask(3);

	assert_true(reply_to(call, 200, "{\"MetricDataResults\":["
						 "{\"Id\":\"m0\",\"StatusCode\":\"Forbidden\"},"
						 "{\"Id\":\"m1\",\"Timestamps\":[1],\"Values\":[]},"
						 "{\"Id\":\"m99\"},{\"Id\":7},null]}"));
	assert_string_equal(cloud->targets[0].reading_error.code, "Forbidden");
	assert_string_equal(cloud->targets[1].reading_error.code,
						"malformed_series");
	assert_string_equal(cloud->targets[2].reading_error.code,
						"malformed_series");
	for (int i = 0; i < 3; i++)
		assert_int_equal(cloud->targets[i].reading.state, QS_READING_UNKNOWN);
}

static void
a_refused_call_charges_all(void **state)
{
	QsCall	   *call = ask(2);

	assert_false(reply_to(call, 400, "{\"__type\":\"x#AccessDenied\","
						  "\"message\":\"User: u is not authorized to perform: "
						  "cloudwatch:GetMetricData\"}"));
	aws->abandon(call, &cloud->error);
	assert_string_equal(cloud->targets[1].reading_error.code, "AccessDenied");
	call = ask(1);
	assert_false(reply_to(call, 200, "[]"));
	assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
}

static void
what_cannot_be_asked_is_told(void **state)
{
	queries[0].query = "disk";
	queries[1].query = "elb_5xx";
	cloud->targets[1].alb_id = NULL;
	queries[2].query = "elb_5xx";
	cloud->targets[2].alb_id = "arn:aws:elasticloadbalancing:us-east-1:1:"
		"loadbalancer/" BALANCER;
	cloud->targets[3].asg_id = "";
	assert_null(ask(4));
	assert_string_equal(cloud->targets[0].reading_error.code,
						"unknown_signal");
	assert_string_equal(cloud->targets[1].reading_error.code, "no_alb_id");
	assert_string_equal(cloud->targets[2].reading_error.code,
						"invalid_alb_id");
	assert_string_equal(cloud->targets[3].reading_error.code,
						"invalid_asg_id");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(each_metric_is_asked_by_its_own_name),
		TEST(a_target_group_is_asked_once),
		TEST(five_hundred_metrics_are_one_call),
		TEST(what_is_shared_is_asked_once),
		TEST(a_level_is_its_newest_point),
		TEST(errors_are_those_of_the_worst_minute),
		TEST(no_point_is_nothing),
		TEST(pages_are_put_together),
		TEST(what_cannot_be_read_is_an_error_of_its_own),
		TEST(a_refused_call_charges_all),
		TEST(what_cannot_be_asked_is_told),
	};

	return cmocka_run_group_tests_name("aws_signals", tests, NULL, NULL);
}
