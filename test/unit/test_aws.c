/*-------------------------------------------------------------------------
 * test_aws.c
 *		The AWS provider against replies as EC2 Auto Scaling and CloudWatch
 *		write them, and as they should not.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#include <math.h>

#include "cloud/xml_reader.h"

#define NAMESPACE	"http://autoscaling.amazonaws.com/doc/2011-01-01/"
#define BALANCER	"app/web/50dc6c495c0c9188"
#define GROUPS_OPEN	"<DescribeAutoScalingGroupsResponse xmlns=\"" NAMESPACE "\">" \
	"<DescribeAutoScalingGroupsResult><AutoScalingGroups>"
#define GROUPS_CLOSE "</AutoScalingGroups></DescribeAutoScalingGroupsResult>" \
	"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>" \
	"</DescribeAutoScalingGroupsResponse>"
#define INSTANCE(state, health) "<member><InstanceId>i-1</InstanceId>" \
	"<LifecycleState>" state "</LifecycleState>" \
	"<HealthStatus>" health "</HealthStatus></member>"
#define SIZES "<MinSize>1</MinSize><MaxSize>6</MaxSize>" \
	"<DesiredCapacity>2</DesiredCapacity>"

static const QsProvider *const aws = &qs_provider_aws;
static Cloud *cloud;
static char text[1 << 20];

static int
set_up(void **state)
{
	cloud = cloud_new(250);
	cloud->batch.region = "us-east-1";
	strcpy(cloud->account.credentials.access_key_id, "AKIDEXAMPLE");
	strcpy(cloud->account.credentials.secret_access_key,
		   "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
	for (int i = 0; i < 250; i++)
	{
		snprintf(cloud->names[i][1], 32, "web-%d", i);
		cloud->targets[i].region = "us-east-1";
		cloud->targets[i].alb_id = BALANCER;
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
	assert_true(aws->observe(cloud->arena, &cloud->batch, 300, NOW_US,
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
		.date_epoch_s = cloud->date_s,
	};

	memset(&cloud->follow_up, 0, sizeof(cloud->follow_up));
	return aws->parse(cloud->arena, call, &r, NOW_US, &cloud->follow_up,
					  &cloud->error);
}

static const char *
groups(const char *members)
{
	snprintf(text, sizeof(text), GROUPS_OPEN "%s" GROUPS_CLOSE, members);
	return text;
}

static const char *
group(const char *name, const char *fields)
{
	static char one[1 << 19];

	snprintf(one, sizeof(one), "<member><AutoScalingGroupName>%s"
			 "</AutoScalingGroupName>%s</member>", name, fields);
	return groups(one);
}

/* ----------
 * Requests
 * ----------
 */
static void
calls_carry_a_hundred_groups_and_five_hundred_metrics(void **state)
{
	ask(250);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_CAPACITY), 3);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_LOAD), 1);
	for (int i = 0; i < 250; i++)
	{
		snprintf(cloud->names[i][0], 32, "app/web/%016d", i);
		cloud->targets[i].alb_id = cloud->names[i][0];
	}
	ask(250);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_LOAD), 1);
	assert_int_equal(call_of(cloud, QS_CALL_LOAD)->n_targets, 250);
}

static void
requests_name_what_the_services_want(void **state)
{
	const QsHttpRequest *request;

	ask(1);
	request = &call_of(cloud, QS_CALL_CAPACITY)->request;
	assert_string_equal(request->url,
						"https://autoscaling.us-east-1.amazonaws.com/");
	assert_string_equal(request->method, "POST");
	assert_string_equal(request->body,
						"Action=DescribeAutoScalingGroups"
						"&AutoScalingGroupNames.member.1=web-0"
						"&MaxRecords=100&Version=2011-01-01");
	assert_non_null(strstr(header_of(request, "Authorization"),
						   "SignedHeaders=content-type;host;x-amz-date, "));
	request = &call_of(cloud, QS_CALL_LOAD)->request;
	assert_string_equal(request->url,
						"https://monitoring.us-east-1.amazonaws.com/");
	assert_string_equal(header_of(request, "X-Amz-Target"),
						"GraniteServiceVersion20100801.GetMetricData");
	assert_non_null(strstr(request->body, "\"Value\":\"" BALANCER "\""));
	assert_non_null(strstr(request->body, "\"StartTime\":1704164280,"));
	assert_non_null(strstr(request->body, "\"EndTime\":1704164580,"));
	assert_non_null(strstr(header_of(request, "Authorization"),
						   "SignedHeaders=content-type;host;x-amz-date;"
						   "x-amz-target, "));
}

static void
each_partition_has_its_own_domain(void **state)
{
	static const struct
	{
		const char *region;
		bool		dual_stack;
		const char *url;
	}			cases[] = {
		{"cn-north-1", false, "https://autoscaling.cn-north-1.amazonaws.com.cn/"},
		{"us-gov-west-1", false, "https://autoscaling.us-gov-west-1.amazonaws.com/"},
		{"eu-central-1", false, "https://autoscaling.eu-central-1.amazonaws.com/"},
		{"eu-isoe-west-1", false, "https://autoscaling.eu-isoe-west-1.cloud.adc-e.uk/"},
		{"cn-north-1", true, "https://autoscaling.cn-north-1.api.amazonwebservices.com.cn/"},
		{"us-gov-west-1", true, "https://autoscaling.us-gov-west-1.api.aws/"},
		{"eu-central-1", true, "https://autoscaling.eu-central-1.api.aws/"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		cloud->batch.region = cases[i].region;
		cloud->account.dual_stack = cases[i].dual_stack;
		ask(1);
		assert_string_equal(call_of(cloud, QS_CALL_CAPACITY)->request.url,
							cases[i].url);
	}
	assert_string_equal(call_of(cloud, QS_CALL_LOAD)->request.url,
						"https://monitoring.eu-central-1.api.aws/");
	cloud->account.dual_stack = false;
}

static void
names_are_escaped(void **state)
{
	cloud->targets[0].asg_id = "web & shop/1 \xc3\xa4";
	ask(1);
	assert_non_null(strstr(call_of(cloud, QS_CALL_CAPACITY)->request.body,
						   "member.1=web%20%26%20shop%2F1%20%C3%A4&"));
}

/* ----------
 * Groups
 * ----------
 */
static void
a_group_is_read_with_its_instances(void **state)
{
	const QsCapacity *c = &cloud->targets[0].capacity;

	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("web-0", SIZES "<WarmPoolConfiguration><MinSize>"
							"77</MinSize></WarmPoolConfiguration><Instances>"
							INSTANCE("InService", "Healthy")
							INSTANCE("InService", "Unhealthy")
							INSTANCE("Pending:Wait", "Healthy")
							INSTANCE("Terminating", "Healthy")
							INSTANCE("Standby", "Healthy")
							INSTANCE("Warmed:Stopped", "Healthy")
							"</Instances><SuspendedProcesses><member>"
							"<ProcessName>Terminate</ProcessName></member>"
							"</SuspendedProcesses>")));
	assert_true(c->known && c->active);
	assert_int_equal(c->min, 1);
	assert_int_equal(c->max, 6);
	assert_int_equal(c->desired, 2);
	assert_int_equal(c->total, 4);
	assert_int_equal(c->in_service, 1);
	assert_true(c->scale_in_suspended);
	assert_false(c->scale_out_suspended);
}

static void
weights_count_units(void **state)
{
	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("web-0", SIZES "<Instances><member><LifecycleState>"
							"InService</LifecycleState><WeightedCapacity>3"
							"</WeightedCapacity></member><member>"
							"<LifecycleState>Pending</LifecycleState>"
							"<WeightedCapacity>2</WeightedCapacity></member>"
							"</Instances>")));
	assert_int_equal(cloud->targets[0].capacity.total, 5);
	assert_int_equal(cloud->targets[0].capacity.in_service, 3);
}

static void
an_unknown_name_harms_nobody_else(void **state)
{
	QsTarget  **list = cloud->list;

	ask(2);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("web-1", SIZES "<Instances/>")));
	aws->settle(list, 2);
	assert_false(cloud->targets[0].capacity.known);
	assert_string_equal(cloud->targets[0].capacity_error.code, "NotFound");
	assert_true(cloud->targets[1].capacity.known);
}

static void
a_group_nobody_asked_for_is_not_taken_for_ours(void **state)
{
	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("other", SIZES)));
	assert_false(cloud->targets[0].capacity.known);
}

static void
the_rest_of_a_page_is_asked_for(void **state)
{
	ask(1);
	snprintf(text, sizeof(text), "%s", "<DescribeAutoScalingGroupsResponse "
			 "xmlns=\"" NAMESPACE "\"><DescribeAutoScalingGroupsResult>"
			 "<AutoScalingGroups/><NextToken>t &amp; 1</NextToken>"
			 "</DescribeAutoScalingGroupsResult>"
			 "</DescribeAutoScalingGroupsResponse>");
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200, text));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	assert_non_null(strstr(cloud->follow_up.calls[0]->request.body,
						   "NextToken=t%20%26%201"));
}

static void
pages_without_end_are_an_error(void **state)
{
	QsCall	   *call;
	int			pages = 0;

	ask(1);
	call = call_of(cloud, QS_CALL_CAPACITY);
	snprintf(text, sizeof(text), "%s", "<DescribeAutoScalingGroupsResponse "
			 "xmlns=\"" NAMESPACE "\"><DescribeAutoScalingGroupsResult>"
			 "<NextToken>again</NextToken></DescribeAutoScalingGroupsResult>"
			 "</DescribeAutoScalingGroupsResponse>");
	while (reply(call, 200, text))
	{
		assert_true(++pages < 100);
		call = cloud->follow_up.calls[0];
	}
	assert_string_equal(cloud->error.code, "endless_pages");
}

static void
numbers_that_are_none_make_the_group_unknown(void **state)
{
	static const char *const bad[] = {
		"<MinSize>-1</MinSize><MaxSize>6</MaxSize><DesiredCapacity>2</DesiredCapacity>",
		"<MinSize>1</MinSize><MaxSize>6</MaxSize><DesiredCapacity></DesiredCapacity>",
		"<MinSize>1</MinSize><MaxSize>6</MaxSize>",
		"<MinSize>1</MinSize><MaxSize>99999999999999999999</MaxSize><DesiredCapacity>2</DesiredCapacity>",
		"<MinSize>7</MinSize><MaxSize>6</MaxSize><DesiredCapacity>2</DesiredCapacity>",
		"<MinSize>1</MinSize><MaxSize>6</MaxSize><DesiredCapacity>NaN</DesiredCapacity>",
		"<MinSize>1</MinSize><MaxSize>6</MaxSize><DesiredCapacity>2.5</DesiredCapacity>",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		ask(1);
		assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
						  group("web-0", bad[i])));
		if (cloud->targets[0].capacity.known)
			fail_msg("taken for a group: %s", bad[i]);
		assert_string_equal(cloud->targets[0].capacity_error.code,
							"malformed_group");
	}
}

/* ----------
 * XML that should not be
 * ----------
 */
static void
hostile_xml_is_a_clean_error(void **state)
{
	static const char *const bad[] = {
		"", "x", "<", "<a>", "{}", "<html><body>503</body></html>",
		"<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"b\">]>"
		"<DescribeAutoScalingGroupsResponse xmlns=\"" NAMESPACE "\">&a;"
		"</DescribeAutoScalingGroupsResponse>",
		"<DescribeAutoScalingGroupsResponse xmlns=\"" NAMESPACE "\">&undefined;"
		"</DescribeAutoScalingGroupsResponse>",
		"<DescribeAutoScalingGroupsResponse xmlns=\"http://example.com/\"/>",
		"<DescribeAutoScalingGroupsResponse/>",
		"<?xml version=\"1.0\" encoding=\"UTF-7\"?>+ADwAIQ-DOCTYPE",
		"<DescribeAutoScalingGroupsResponse xmlns=\"" NAMESPACE "\">"
		"<a></b></DescribeAutoScalingGroupsResponse>",
		"<DescribeAutoScalingGroupsResponse xmlns=\"" NAMESPACE "\">\xff"
		"</DescribeAutoScalingGroupsResponse>",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		ask(1);
		if (reply(call_of(cloud, QS_CALL_CAPACITY), 200, bad[i]))
			fail_msg("taken for a reply: %s", bad[i]);
		assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
		aws->abandon(call_of(cloud, QS_CALL_CAPACITY), &cloud->error);
		assert_false(cloud->targets[0].capacity.known);
	}
}

static void
a_truncated_reply_is_not_used_at_all(void **state)
{
	size_t		length;

	ask(1);
	length = strlen(group("web-0", SIZES));
	for (size_t cut = 1; cut < length; cut += 7)
	{
		group("web-0", SIZES);
		text[length - cut] = '\0';
		assert_false(reply(call_of(cloud, QS_CALL_CAPACITY), 200, text));
		aws->abandon(call_of(cloud, QS_CALL_CAPACITY), &cloud->error);
		assert_false(cloud->targets[0].capacity.known);
	}
}

static void
deep_nesting_is_refused(void **state)
{
	size_t		used = 0;

	used += (size_t) sprintf(text, GROUPS_OPEN);
	for (int i = 0; i < 10000; i++)
		used += (size_t) sprintf(text + used, "<a>");
	ask(1);
	assert_false(reply(call_of(cloud, QS_CALL_CAPACITY), 200, text));
	assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
}

/* ----------
 * Errors
 * ----------
 */
static void
errors_say_what_to_do(void **state)
{
	static const struct
	{
		int			status;
		const char *code;
		const char *message;
		QsErrorClass class;
		const char *seen;
		bool		refused;
	}			cases[] = {
		{400, "Throttling", "Rate exceeded", QS_ERROR_THROTTLED, "Throttling", true},
		{500, "ResourceContention", "pending update", QS_ERROR_THROTTLED, "ResourceContention", true},
		{400, "ValidationError", "New SetDesiredCapacity value 9 is above max value 6 for the AutoScalingGroup.", QS_ERROR_TERMINAL, "AboveMaximum", true},
		{400, "ValidationError", "New SetDesiredCapacity value 0 is below min value 1 for the AutoScalingGroup.", QS_ERROR_TERMINAL, "BelowMinimum", true},
		{400, "ValidationError", "AutoScalingGroup name not found - AutoScalingGroup web-0 not found", QS_ERROR_TERMINAL, "NotFound", true},
		{403, "AccessDenied", "User is not authorized to perform: autoscaling:SetDesiredCapacity", QS_ERROR_TERMINAL, "AccessDenied", true},
		{403, "ExpiredToken", "The security token included in the request is expired", QS_ERROR_CREDENTIAL, "ExpiredToken", true},
		{500, "InternalFailure", "", QS_ERROR_TRANSIENT, "InternalFailure", false},
		{503, "ServiceUnavailable", "", QS_ERROR_TRANSIENT, "ServiceUnavailable", true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		QsCall	   *call = aws->set_capacity(cloud->arena, &cloud->batch,
											 cloud->list[0], 4, NOW_US,
											 &cloud->error);

		assert_non_null(call);
		snprintf(text, sizeof(text), "<ErrorResponse xmlns=\"" NAMESPACE
				 "\"><Error><Type>Sender</Type><Code>%s</Code><Message>%s"
				 "</Message></Error><RequestId>r</RequestId></ErrorResponse>",
				 cases[i].code, cases[i].message);
		assert_false(reply(call, cases[i].status, text));
		assert_string_equal(cloud->error.code, cases[i].seen);
		assert_int_equal(cloud->error.class, cases[i].class);
		assert_int_equal(cloud->error.refused, cases[i].refused);
	}
}

static void
an_act_is_accepted_by_its_own_reply_only(void **state)
{
	QsTarget   *target = cloud->list[0];
	QsCall	   *call = aws->set_capacity(cloud->arena, &cloud->batch, target, 4,
										 NOW_US, &cloud->error);

	assert_string_equal(call->request.body, "Action=SetDesiredCapacity"
						"&AutoScalingGroupName=web-0&DesiredCapacity=4"
						"&HonorCooldown=false&Version=2011-01-01");
	assert_false(reply(call, 200, "<html/>"));
	assert_false(target->set_accepted);
	assert_true(reply(call, 200, "<SetDesiredCapacityResponse xmlns=\""
					  NAMESPACE "\"><ResponseMetadata><RequestId>vVxa"
					  "</RequestId></ResponseMetadata>"
					  "</SetDesiredCapacityResponse>"));
	assert_true(target->set_accepted);
	assert_string_equal(target->set_request_id, "vVxa");
}

static void
a_wrong_clock_is_learnt_and_the_call_signed_again(void **state)
{
	QsCall	   *call;

	ask(1);
	call = call_of(cloud, QS_CALL_CAPACITY);
	cloud->date_s = VECTOR_TIME + 900;
	assert_false(reply(call, 403, "<ErrorResponse xmlns=\"" NAMESPACE "\">"
					   "<Error><Code>SignatureDoesNotMatch</Code><Message>"
					   "Signature expired: 20240102T030405Z is now earlier than"
					   "</Message></Error></ErrorResponse>"));
	assert_int_equal(cloud->error.class, QS_ERROR_TRANSIENT);
	assert_string_equal(header_of(&call->request, "X-Amz-Date"),
						"20240102T031905Z");
}

/* ----------
 * Load.  The window is 02:58 to 03:03 of the vectors' moment 03:04:05.
 * ----------
 */
#define START	1704164280

static const char *
metrics(const char *points, const char *values)
{
	snprintf(text, sizeof(text), "{\"MetricDataResults\":[{\"Id\":\"m0\","
			 "\"Label\":\"x\",\"Timestamps\":[%s],\"Values\":[%s],"
			 "\"StatusCode\":\"Complete\"}],\"Messages\":[]}", points, values);
	return text;
}

static void
load_is_the_sum_by_the_period(void **state)
{
	const QsLoad *load = &cloud->targets[0].load;

	/* newest first, as the service does by itself, and as floats */
	ask(2);
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  metrics("1704164520,1704164460.0,1704164400,1704164340,"
							  "1.70416428E9", "600,1200,600,600,600")));
	assert_true(load->known);
	assert_float_equal(load->mean_qps, 12, 1e-9);
	assert_float_equal(load->newest_qps, 10, 1e-9);
	assert_int_equal(load->points, 5);
	assert_int_equal(load->expected_points, 5);
	assert_true(load->newest_end_us == INT64_C(1704164580000000));
	assert_true(cloud->targets[1].load.known);
	assert_int_equal(cloud->follow_up.n_calls, 0);
}

static void
silence_without_proof_is_no_zero(void **state)
{
	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200, metrics("", "")));
	assert_false(cloud->targets[0].load.known);
	assert_int_equal(cloud->targets[0].load_error.class, QS_ERROR_NONE);
	assert_int_equal(cloud->follow_up.n_calls, 0);
}

/* Whichever comes last, the group or its load, asks for the healthy hosts. */
static void
healthy_hosts_prove_silence(void **state)
{
	const char *arns = SIZES "<TargetGroupARNs><member>arn:aws:elasticloadbalancing:"
		"us-east-1:1:targetgroup/web/0123456789abcdef</member>"
		"</TargetGroupARNs>";

	for (int group_first = 0; group_first < 2; group_first++)
	{
		const QsLoad *load = &cloud->targets[0].load;
		QsCall	   *hosts;

		ask(1);
		if (group_first)
			assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
							  group("web-0", arns)));
		assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
						  metrics("1704164400", "600")));
		if (!group_first)
			assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
							  group("web-0", arns)));
		assert_int_equal(cloud->follow_up.n_calls, 1);
		hosts = cloud->follow_up.calls[0];
		assert_int_equal(hosts->kind, QS_CALL_LOAD);
		assert_non_null(strstr(hosts->request.body, "HealthyHostCount"));
		assert_non_null(strstr(hosts->request.body,
							   "targetgroup/web/0123456789abcdef"));
		assert_non_null(strstr(hosts->request.body,
							   "\"StartTime\":1704164280,"));

		/* minute 03:02 ended less than two minutes ago: it may yet come */
		assert_true(reply(hosts, 200,
						  metrics("1704164280,1704164340,1704164400,1704164460,"
								  "1704164520", "2,2,2,2,2")));
		assert_true(load->known);
		assert_int_equal(load->points, 4);
		assert_int_equal(load->expected_points, 4);
		assert_float_equal(load->mean_qps, 2.5, 1e-9);
		assert_float_equal(load->newest_qps, 0, 1e-9);
	}
}

static void
without_healthy_hosts_a_gap_stays_a_gap(void **state)
{
	const QsLoad *load = &cloud->targets[0].load;
	QsCall	   *hosts;

	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("web-0", SIZES "<TargetGroupARNs><member>"
							"targetgroup/web/0123456789abcdef</member>"
							"</TargetGroupARNs>")));
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  metrics("1704164400", "600")));
	hosts = cloud->follow_up.calls[0];
	assert_true(reply(hosts, 200, metrics("", "")));
	assert_int_equal(load->points, 1);
	assert_int_equal(load->expected_points, 4);

	/* nor does a failure of the question make the load unknown */
	aws->abandon(hosts, &cloud->error);
	assert_true(load->known);
}

static void
a_load_in_pages_is_put_together(void **state)
{
	const QsLoad *load = &cloud->targets[0].load;

	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  "{\"MetricDataResults\":[{\"Id\":\"m0\",\"Timestamps\":"
					  "[1704164280,1704164340],\"Values\":[60,60],"
					  "\"StatusCode\":\"PartialData\"}],\"NextToken\":\"n\\\"1\"}"));
	assert_false(load->known);
	assert_int_equal(cloud->follow_up.n_calls, 1);
	assert_non_null(strstr(cloud->follow_up.calls[0]->request.body,
						   "\"NextToken\":\"n\\\"1\""));
	assert_true(reply(cloud->follow_up.calls[0], 200,
					  metrics("1704164400,1704164460,1704164520",
							  "60,60,60")));
	assert_int_equal(load->points, 5);
	assert_float_equal(load->mean_qps, 1, 1e-9);
}

/* A part of the past that began so many seconds ago. */
static void
ask_past(int64_t since_s)
{
	memset(&cloud->calls, 0, sizeof(cloud->calls));
	cloud->batch.n_targets = 2;
	assert_true(aws->ask_past(cloud->arena, &cloud->batch,
							  VECTOR_TIME - since_s,
							  VECTOR_TIME - since_s + aws->past_span_s, NOW_US,
							  &cloud->calls, &cloud->error));
}

static void
a_past_is_one_question_in_pages_and_gaps_stay_gaps(void **state)
{
	const QsTarget *target = &cloud->targets[0];
	QsCall	   *load;

	ask_past(86400);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_CAPACITY), 1);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_LOAD), 1);
	load = call_of(cloud, QS_CALL_LOAD);
	assert_int_equal(load->n_targets, 2);
	assert_int_equal(load->period_s, 60);
	assert_int_equal(load->window_end_s, 1704164520);
	assert_int_equal(load->window_start_s, 1704078300);

	/* a clock that this reply shows to be wrong does not move the window */
	cloud->date_s = VECTOR_TIME + 600;
	assert_true(reply(load, 200,
					  "{\"MetricDataResults\":[{\"Id\":\"m0\",\"Timestamps\":"
					  "[1704078300,1704078360],\"Values\":[60,120],"
					  "\"StatusCode\":\"PartialData\"}],\"NextToken\":\"n\"}"));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	assert_non_null(strstr(cloud->follow_up.calls[0]->request.body,
						   "\"NextToken\":\"n\""));
	assert_int_equal(cloud->follow_up.calls[0]->window_start_s,
					 load->window_start_s);
	assert_true(reply(cloud->follow_up.calls[0], 200,
					  metrics("1704164400,1704164520", "600,600")));
	assert_int_equal(target->load_error.class, QS_ERROR_NONE);
	assert_int_equal(target->past->n, 3);
	assert_int_equal(target->past->points[0].at_s, 1704078300);
	assert_float_equal(target->past->points[1].qps, 2, 1e-9);
	assert_int_equal(target->past->points[2].at_s, 1704164400);
}

static void
a_past_is_not_asked_for_where_none_is_kept(void **state)
{
	ask_past(INT64_C(60) * 86400);
	assert_int_equal(cloud->calls.n_calls, 0);
	assert_int_equal(cloud->targets[0].load_error.class, QS_ERROR_NONE);
	assert_int_equal(cloud->targets[0].past->n, 0);
}

static void
silent_minutes_of_a_past_are_proved_by_healthy_hosts(void **state)
{
	const QsTarget *target = &cloud->targets[0];

	ask_past(86400);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("web-0", SIZES "<TargetGroupARNs><member>"
							"targetgroup/web/0123456789abcdef</member>"
							"</TargetGroupARNs>")));
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  metrics("1704164400", "600")));
	assert_int_equal(target->past->n, 1);
	assert_int_equal(cloud->follow_up.n_calls, 1);
	assert_true(reply(cloud->follow_up.calls[0], 200,
					  metrics("1704160020,1704164400,1704164460",
							  "2,2,2")));
	assert_int_equal(target->past->n, 3);
	assert_int_equal(target->past->points[0].at_s, 1704160020);
	assert_float_equal(target->past->points[0].qps, 0, 1e-9);
	assert_float_equal(target->past->points[1].qps, 10, 1e-9);
}

static void
a_past_that_cannot_be_read_is_an_error_and_empty(void **state)
{
	const QsTarget *target = &cloud->targets[0];

	ask_past(86400);
	qs_error_set(&cloud->error, QS_ERROR_TRANSIENT, "deadline", "late");
	aws->abandon(call_of(cloud, QS_CALL_LOAD), &cloud->error);
	assert_string_equal(target->load_error.code, "deadline");
	assert_int_equal(target->past->n, 0);
	cloud->targets[0].alb_id = NULL;
	ask_past(86400);
	assert_string_equal(target->load_error.code, "invalid_alb_id");
	assert_int_equal(call_of(cloud, QS_CALL_LOAD)->n_targets, 1);
}

/* Nothing could come of the question, and it is paid for. */
static void
a_late_minute_is_not_asked_about(void **state)
{
	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("web-0", SIZES "<TargetGroupARNs><member>"
							"targetgroup/web/0123456789abcdef</member>"
							"</TargetGroupARNs>")));
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  metrics("1704164280,1704164340,1704164400,1704164460",
							  "60,60,60,60")));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_int_equal(cloud->targets[0].load.points, 4);
	assert_int_equal(cloud->targets[0].load.expected_points, 4);
}

/* What the vendor's console shows beside the wanted part. */
static void
ids_of_another_form_say_which_part_is_wanted(void **state)
{
	static const struct
	{
		const char *alb_id;
		const char *said;
	}			cases[] = {
		{"arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/" BALANCER, "wanted: " BALANCER},
		{"targetgroup/web/0123456789abcdef", "is a target group"},
		{"net/web/50dc6c495c0c9188", "app/NAME/ID"},
		{"app/web", "app/NAME/ID"},
		{"app//50dc6c495c0c9188", "app/NAME/ID"},
		{"app/web/", "app/NAME/ID"},
		{"app/web/50dc/6c495c0c9188", "app/NAME/ID"},
		{"web-1234567890.us-east-1.elb.amazonaws.com", "app/NAME/ID"},
		{"app/web/\"", "app/NAME/ID"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		cloud->targets[0].alb_id = cases[i].alb_id;
		ask(1);
		assert_int_equal(cloud->calls.n_calls, 1);
		assert_string_equal(cloud->targets[0].load_error.code,
							"invalid_alb_id");
		assert_non_null(strstr(cloud->targets[0].load_error.message,
							   cases[i].said));
	}
	cloud->targets[0].asg_id = "arn:aws:autoscaling:us-east-1:123456789012:"
		"autoScalingGroup:1-2:autoScalingGroupName/web";
	cloud->targets[0].alb_id = BALANCER;
	ask(1);
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_non_null(strstr(cloud->targets[0].capacity_error.message,
						   "name is wanted: web"));
}

static void
a_missing_permission_is_named_however_long_the_identity(void **state)
{
	QsCall	   *call;

	ask(1);
	call = call_of(cloud, QS_CALL_CAPACITY);
	assert_false(reply(call, 403, "<ErrorResponse xmlns=\"" NAMESPACE "\">"
					   "<Error><Code>AccessDenied</Code><Message>User: "
					   "arn:aws:sts::123456789012:assumed-role/"
					   "a-role-whose-name-is-as-long-as-a-role-name-may-be-at-all-64/"
					   "a-session-whose-name-is-as-long-as-it-may-be-which-is-64-too "
					   "is not authorized to perform: "
					   "autoscaling:DescribeAutoScalingGroups because no "
					   "identity-based policy allows it</Message></Error>"
					   "</ErrorResponse>"));
	assert_non_null(strstr(cloud->error.message,
						   "perform: autoscaling:DescribeAutoScalingGroups"));
	assert_non_null(strstr(cloud->error.message,
						   "(User: arn:aws:sts::123456789012:assumed-role/"));
}

static void
series_that_cannot_be_are_no_load(void **state)
{
	static const char *const bad[][2] = {
		{"1704164400", ""},
		{"1704164400", "1,2"},
		{"1704164400", "-5"},
		{"1704164400", "null"},
		{"1704164400", "\"600\""},
		{"\"x\"", "600"},
		{"99999999999999999999", "600"},
		{"1", "600"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		ask(1);
		(void) reply(call_of(cloud, QS_CALL_LOAD), 200,
					 metrics(bad[i][0], bad[i][1]));
		if (cloud->targets[0].load.known)
			fail_msg("taken for a load: %s %s", bad[i][0], bad[i][1]);
	}
}

static void
errors_of_cloudwatch_are_read(void **state)
{
	ask(1);
	assert_false(reply(call_of(cloud, QS_CALL_LOAD), 400,
					   "{\"__type\":\"com.amazon.coral.availability#"
					   "ThrottlingException:http://x\",\"message\":\"Rate\"}"));
	assert_int_equal(cloud->error.class, QS_ERROR_THROTTLED);
	assert_string_equal(cloud->error.code, "ThrottlingException");
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  "{\"MetricDataResults\":[{\"Id\":\"m0\",\"Timestamps\":[],"
					  "\"Values\":[],\"StatusCode\":\"Forbidden\"}]}"));
	assert_string_equal(cloud->targets[0].load_error.code, "Forbidden");
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  "{\"MetricDataResults\":[]}"));
	assert_false(cloud->targets[0].load.known);
}

/* ----------
 * Activities
 * ----------
 */
/* Of servers that stand in for AWS, and of gateways before it. */
static void
what_imitates_aws_is_understood(void **state)
{
	static const struct
	{
		const char *body;
		const char *code;
	}			errors[] = {
		{"<Response><Errors><Error><Code>Throttling</Code><Message>Rate"
			"</Message></Error></Errors><RequestID>r</RequestID></Response>",
		"Throttling"},
		{"\n<ErrorResponse>\n <Error>\n  <Code>\n  Throttling\n </Code>\n"
			" </Error>\n</ErrorResponse>\n", "Throttling"},
		{"{\"__type\":\"ThrottlingException\",\"Message\":\"Rate\"}",
		"ThrottlingException"},
		{"{\"code\":\"ThrottlingException\",\"message\":\"Rate\"}",
		"ThrottlingException"},
	};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
	{
		ask(1);
		for (int c = 0; c < cloud->calls.n_calls; c++)
		{
			assert_false(reply(cloud->calls.calls[c], 400, errors[i].body));
			assert_string_equal(cloud->error.code, errors[i].code);
			assert_int_equal(cloud->error.class, QS_ERROR_THROTTLED);
		}
	}
	ask(1);
	assert_true(reply(call_of(cloud, QS_CALL_CAPACITY), 200,
					  group("\n web-0 \n", "<Instances/><TargetGroupARNs/>"
							"<SuspendedProcesses/><Status/>"
							"<MinSize> 1 </MinSize>\n<MaxSize>6</MaxSize>"
							"<DesiredCapacity>0</DesiredCapacity>")));
	assert_true(cloud->targets[0].capacity.known);
	assert_int_equal(cloud->targets[0].capacity.total, 0);
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_true(reply(call_of(cloud, QS_CALL_LOAD), 200,
					  "{\"MetricDataResults\":[{\"Id\":\"m0\",\"Timestamps\":["
					  "\"2024-01-02T02:58:00Z\",1704164340.0,"
					  "\"2024-01-02T03:00:00+00:00\"],\"Values\":[60,60.0,60]}],"
					  "\"NextToken\":\"\",\"Messages\":[]}"));
	assert_int_equal(cloud->targets[0].load.points, 3);
	assert_float_equal(cloud->targets[0].load.mean_qps, 1, 1e-9);
}

static void
activities_tell_direction_and_time(void **state)
{
	QsTarget   *target = cloud->list[0];
	QsCall	   *call;

	ask(1);
	call = aws->ask_activities(cloud->arena, &cloud->batch, target, NOW_US,
							   &cloud->error);
	assert_true(reply(call, 200, "<DescribeScalingActivitiesResponse xmlns=\""
					  NAMESPACE "\"><DescribeScalingActivitiesResult><Activities>"
					  "<member><AutoScalingGroupName>web-0</AutoScalingGroupName>"
					  "<Description>Launching a new EC2 instance: i-1"
					  "</Description><StatusCode>Successful</StatusCode>"
					  "<StartTime>2024-01-02T02:50:00Z</StartTime>"
					  "<EndTime>2024-01-02T02:51:00Z</EndTime></member>"
					  "<member><AutoScalingGroupName>other</AutoScalingGroupName>"
					  "<Description>Terminating EC2 instance: i-9</Description>"
					  "<StatusCode>InProgress</StatusCode>"
					  "<StartTime>2024-01-02T03:00:00Z</StartTime></member>"
					  "</Activities></DescribeScalingActivitiesResult>"
					  "</DescribeScalingActivitiesResponse>"));
	assert_true(target->activity.known);
	assert_false(target->activity.in_progress);
	assert_true(target->activity.last_scale_up_at ==
				INT64_C(1704163860000000));
	assert_true(target->activity.last_scale_down_at == QS_NEVER);

	/* one without a status: nobody knows what it does */
	assert_false(reply(call, 200, "<DescribeScalingActivitiesResponse xmlns=\""
					   NAMESPACE "\"><DescribeScalingActivitiesResult>"
					   "<Activities><member><Description>Launching"
					   "</Description></member></Activities>"
					   "</DescribeScalingActivitiesResult>"
					   "</DescribeScalingActivitiesResponse>"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(calls_carry_a_hundred_groups_and_five_hundred_metrics),
		TEST(requests_name_what_the_services_want),
		TEST(each_partition_has_its_own_domain),
		TEST(names_are_escaped),
		TEST(a_group_is_read_with_its_instances),
		TEST(weights_count_units),
		TEST(an_unknown_name_harms_nobody_else),
		TEST(a_group_nobody_asked_for_is_not_taken_for_ours),
		TEST(the_rest_of_a_page_is_asked_for),
		TEST(pages_without_end_are_an_error),
		TEST(numbers_that_are_none_make_the_group_unknown),
		TEST(hostile_xml_is_a_clean_error),
		TEST(a_truncated_reply_is_not_used_at_all),
		TEST(deep_nesting_is_refused),
		TEST(errors_say_what_to_do),
		TEST(an_act_is_accepted_by_its_own_reply_only),
		TEST(a_wrong_clock_is_learnt_and_the_call_signed_again),
		TEST(load_is_the_sum_by_the_period),
		TEST(silence_without_proof_is_no_zero),
		TEST(healthy_hosts_prove_silence),
		TEST(without_healthy_hosts_a_gap_stays_a_gap),
		TEST(a_late_minute_is_not_asked_about),
		TEST(ids_of_another_form_say_which_part_is_wanted),
		TEST(a_missing_permission_is_named_however_long_the_identity),
		TEST(a_load_in_pages_is_put_together),
		TEST(a_past_is_one_question_in_pages_and_gaps_stay_gaps),
		TEST(a_past_is_not_asked_for_where_none_is_kept),
		TEST(silent_minutes_of_a_past_are_proved_by_healthy_hosts),
		TEST(a_past_that_cannot_be_read_is_an_error_and_empty),
		TEST(series_that_cannot_be_are_no_load),
		TEST(errors_of_cloudwatch_are_read),
		TEST(what_imitates_aws_is_understood),
		TEST(activities_tell_direction_and_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
