/*-------------------------------------------------------------------------
 * test_byteplus_actions.c
 *		Calls for one group that is about to act: in-service count,
 *		activities, and the one call that changes something.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

static char text[1 << 16];

static const char *
result(const char *fields)
{
	snprintf(text, sizeof(text), "{" METADATA ",\"Result\":{%s}}", fields);
	return text;
}

static QsCall *
ask_in_service(Cloud *cloud, int total)
{
	QsCall	   *call;

	cloud->targets[0].capacity.known = true;
	cloud->targets[0].capacity.total = total;
	call = byteplus->ask_in_service(cloud->arena, &cloud->batch,
									cloud->list[0], NOW_US, &cloud->error);
	assert_non_null(call);
	return call;
}

static void
in_service_is_one_call_when_all_members_serve(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call = ask_in_service(cloud, 4);

	(void) state;
	assert_non_null(strstr(call->request.url, "Action=Describe"
						   "ScalingInstances&PageNumber=1&PageSize=1&Scaling"
						   "GroupId=scg-00000&Status=InService&Version="
						   "2020-01-01"));
	assert_true(answer(cloud, call, 200, result("\"TotalCount\":4")));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_int_equal(cloud->targets[0].capacity.in_service, 4);
	cloud_free(cloud);
}

static void
protected_instances_are_added(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call = ask_in_service(cloud, 6);

	(void) state;
	assert_true(answer(cloud, call, 200, result("\"TotalCount\":3")));
	assert_int_equal(cloud->targets[0].capacity.in_service, QS_UNKNOWN);
	assert_int_equal(cloud->follow_up.n_calls, 1);
	call = cloud->follow_up.calls[0];
	assert_non_null(strstr(call->request.url, "&Status=Protected&"));
	assert_true(answer(cloud, call, 200, result("\"TotalCount\":2")));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_int_equal(cloud->targets[0].capacity.in_service, 5);
	cloud_free(cloud);
}

static void
half_a_count_is_no_count(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call = ask_in_service(cloud, 6);

	(void) state;
	assert_true(answer(cloud, call, 200, result("\"TotalCount\":3")));
	call = cloud->follow_up.calls[0];
	assert_false(answer(cloud, call, 500, ""));
	byteplus->abandon(call, &cloud->error);
	assert_int_equal(cloud->targets[0].capacity.in_service, QS_UNKNOWN);
	assert_int_equal(cloud->targets[0].in_service_error.class,
					 QS_ERROR_TRANSIENT);
	cloud_free(cloud);
}

static void
b01_b06_odd_counts_are_errors(void **state)
{
	static const char *const odd[] = {"", "\"TotalCount\":null",
		"\"TotalCount\":\"4\"", "\"TotalCount\":-1",
		"\"TotalCount\":1,\"ScalingInstances\":[{\"ScalingGroupId\":"
		"\"scg-other\"}]", "\"TotalCount\":1,\"ScalingInstances\":["
	"{\"ScalingGroupId\":5}]"};
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
	{
		assert_false(answer(cloud, ask_in_service(cloud, 1), 200,
							result(odd[i])));
		assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
		assert_int_equal(cloud->targets[0].capacity.in_service, QS_UNKNOWN);
	}
	cloud_free(cloud);
}

#define S(offset)	((VECTOR_TIME + (offset)) * 1000000)
#define UNREAD		INT64_C(-7)

/* Activities as rows; times: 03:00:00 is -245 s, 02:00:00 is -3845 s. */
static const struct
{
	const char *promise;
	const char *list;
	bool		in_progress;
	int64_t		up;				/* QS_NEVER, or UNREAD: an error */
	int64_t		down;
	int64_t		any;
}			activities[] = {
#define ROW(type, status, created, stopped) "{\"ScalingGroupId\":" \
											"\"scg-00000\",\"ActivityType\":\"" type "\",\"StatusCode\":\"" status \
	"\",\"CreatedAt\":\"" created "\",\"StoppedAt\":\"" stopped "\"}"
	{"none at all", "[]", false, QS_NEVER, QS_NEVER, QS_NEVER},
	{"null for none", "null", false, QS_NEVER, QS_NEVER, QS_NEVER},
	{"measured from its end", "[" ROW("ScaleOut", "Success", "2024-01-02T02:00:00Z", "2024-01-02T03:00:00Z") "]",
	false, S(-245), QS_NEVER, S(-245)},
	{"b05 type as in lifecycle hooks", "[" ROW("SCALE_IN", "PartialSuccess", "2024-01-02T02:00:00Z", "2024-01-02T03:00:00Z") "]",
	false, QS_NEVER, S(-245), S(-245)},
	{"b05 unknown type counts for both", "[" ROW("Resize", "Success", "2024-01-02T02:00:00Z", "2024-01-02T03:00:00Z") "]",
	false, S(-245), S(-245), S(-245)},
	{"b05 type missing counts for both", "[{\"StatusCode\":\"Success\","
										 "\"CreatedAt\":\"2024-01-02T03:00Z\"}]",
	 false, S(-245), S(-245),
	S(-245)},
	{"b05 minute form and offset", "[" ROW("ScaleOut", "Success", "2024-01-02T02:00Z", "") "," ROW("ScaleIn", "Success", "rubbish", "2024-01-02T11:00:00+08:00") "]",
	false, S(-3845), S(-245), S(-245)},
	{"b05 failed ones are a back-off only", "[" ROW("ScaleOut", "Error", "2024-01-02T02:00:00Z", "2024-01-02T03:00:00Z") "," ROW("ScaleIn", "Rejected", "2024-01-02T02:00:00Z", "") "," ROW("ScaleIn", "Exception", "2024-01-02T02:00:00Z", "") "]",
	false, QS_NEVER, QS_NEVER, S(-245)},
	{"order does not matter", "[" ROW("ScaleOut", "Success", "2024-01-02T02:00:00Z", "2024-01-02T02:00:00Z") "," ROW("ScaleOut", "Running", "2024-01-02T03:00:00Z", "") "," ROW("ScaleIn", "Success", "2024-01-02T02:00:00Z", "2024-01-02T02:00:00Z") "]",
	true, S(-245), S(-3845), S(-245)},
	{"init is in progress", "[" ROW("ScaleIn", "Init", "2024-01-02T02:00:00Z", "0001-01-01T00:00:00Z") "]",
	true, QS_NEVER, S(-3845), S(-3845)},
	{"a running one needs no time", "[" ROW("ScaleIn", "running", "", "") "]", true, QS_NEVER, QS_NEVER, QS_NEVER},
	{"unknown status without an end", "[" ROW("ScaleIn", "Thinking", "2024-01-02T02:00:00Z", "") "]",
	true, QS_NEVER, S(-3845), S(-3845)},
	{"unknown status with an end", "[" ROW("ScaleIn", "Cancelled", "2024-01-02T02:00:00Z", "2024-01-02T03:00:00Z") "]",
	false, QS_NEVER, S(-245), S(-245)},
	{"an end in the future is now", "[" ROW("ScaleIn", "Success", "2024-01-02T02:00:00Z", "2099-01-02T03:00:00Z") "]",
	false, QS_NEVER, S(0), S(0)},
	{"b06 another group's is not ours", "[{\"ScalingGroupId\":\"scg-x\","
										"\"StatusCode\":\"Running\"}]",
	 false, QS_NEVER, QS_NEVER, QS_NEVER},
	{"b04 finished at no readable time fails closed",
		"[" ROW("ScaleOut", "Success", "yesterday", "today") "]",
	false, UNREAD, UNREAD, UNREAD},
	{"b04 status missing fails closed", "[{\"ActivityType\":\"ScaleOut\","
		"\"CreatedAt\":\"2024-01-02T02:00:00Z\"}]",
	false, UNREAD, UNREAD, UNREAD},
	{"b04 row of a wrong type fails closed", "[7]", false, UNREAD, UNREAD,
	UNREAD},
	{"b04 list of a wrong type fails closed", "{}", false, UNREAD, UNREAD,
	UNREAD},
};

static QsCall *
ask_activities(Cloud *cloud)
{
	QsCall	   *call;

	call = byteplus->ask_activities(cloud->arena, &cloud->batch,
									cloud->list[0], NOW_US, &cloud->error);
	assert_non_null(call);
	assert_true(cloud->targets[0].activity.asked);
	assert_false(cloud->targets[0].activity.known);
	return call;
}

static void
activity_lists(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(activities) / sizeof(activities[0]); i++)
	{
		Cloud	   *cloud = cloud_new(1);
		const QsCloudActivity *seen = &cloud->targets[0].activity;
		QsCall	   *call = ask_activities(cloud);
		char		fields[8192];
		bool		ok;

		print_message("  %s\n", activities[i].promise);
		snprintf(fields, sizeof(fields), "\"ScalingActivities\":%s",
				 activities[i].list);
		ok = answer(cloud, call, 200, result(fields));
		assert_int_equal(ok, activities[i].any != UNREAD);
		if (ok)
		{
			assert_true(seen->known);
			assert_int_equal(seen->in_progress, activities[i].in_progress);
			assert_int_equal(seen->last_scale_up_at, activities[i].up);
			assert_int_equal(seen->last_scale_down_at, activities[i].down);
			assert_int_equal(seen->last_any_at, activities[i].any);
		}
		else
		{
			assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
			byteplus->abandon(call, &cloud->error);
			assert_true(seen->asked);
			assert_false(seen->known);
		}
		cloud_free(cloud);
	}
}

static void
activity_times_are_told_by_our_clock(void **state)
{
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	cloud->memory.skew_s = 3600;
	assert_true(answer(cloud, ask_activities(cloud), 200,
					   result("\"ScalingActivities\":["
							  ROW("ScaleIn", "Success", "",
								  "2024-01-02T04:00:00Z") "]")));
	assert_int_equal(cloud->targets[0].activity.last_scale_down_at, S(-245));
	cloud_free(cloud);
}

static void
b05_newest_activities_on_the_last_page_are_found(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call = ask_activities(cloud);

	(void) state;
	assert_non_null(strstr(call->request.url, "Action=DescribeScaling"
						   "Activities&PageNumber=1&PageSize=50&"));
	assert_true(answer(cloud, call, 200,
					   result("\"TotalCount\":120,\"ScalingActivities\":["
							  ROW("ScaleOut", "Success",
								  "2024-01-01T02:00:00Z",
								  "2024-01-01T02:00:00Z") ","
							  ROW("ScaleIn", "Success",
								  "2024-01-02T02:00:00Z",
								  "2024-01-02T02:00:00Z") "]")));
	assert_false(cloud->targets[0].activity.known);
	assert_int_equal(cloud->follow_up.n_calls, 1);
	call = cloud->follow_up.calls[0];
	assert_non_null(strstr(call->request.url, "&PageNumber=3&"));
	assert_true(answer(cloud, call, 200,
					   result("\"TotalCount\":120,\"ScalingActivities\":["
							  ROW("ScaleOut", "Success",
								  "2024-01-02T03:00:00Z",
								  "2024-01-02T03:00:00Z") "]")));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_true(cloud->targets[0].activity.known);
	assert_int_equal(cloud->targets[0].activity.last_scale_up_at, S(-245));
	assert_int_equal(cloud->targets[0].activity.last_scale_down_at,
					 S(-3845));
	cloud_free(cloud);
}

static QsCall *
set_capacity(Cloud *cloud, int desired)
{
	return byteplus->set_capacity(cloud->arena, &cloud->batch,
								  cloud->list[0], desired, NOW_US,
								  &cloud->error);
}

static void
b02_capacity_is_written_as_an_absolute_number(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call;

	(void) state;
	cloud->targets[0].asg_id = "scg-aaa";
	call = set_capacity(cloud, 7);
	assert_non_null(call);
	assert_string_equal(call->request.method, "GET");
	assert_signature(&call->request, "0fd45e03ae8fecaf2a62c50a6dcc495a88fd0c"
					 "ba1985e35c97e0b5036f039c70");
	cloud_free(cloud);
}

static void
acceptance_keeps_the_clouds_request_id(void **state)
{
	static const struct
	{
		const char *body;
		const char *request_id;
	}			cases[] = {
		{"{\"ResponseMetadata\":{\"RequestId\":\"2024-a\"},\"Result\":{"
		 "\"ScalingGroupId\":\"scg-00000\"}}",
		 "2024-a"},
		{"{\"ResponseMetadata\":{\"RequestId\":\"a\\nb\\u0007\"},"
		 "\"Result\":null}",
		 "a b "},
		{"{\"ResponseMetadata\":{\"RequestId\":\"0123456789012345678901234"
			"5678901234567890123456789012345678901234567890123456789\"}}",
		"012345678901234567890123456789012345678901234567890123456789012"},
		{"{\"ResponseMetadata\":{\"RequestId\":7},\"Result\":{}}", ""},
		{"{\"ResponseMetadata\":{\"RequestId\":\"SkExampleSecretKey/0001\"}}", ""},
		{"{\"ResponseMetadata\":{}}", ""},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Cloud	   *cloud = cloud_new(1);

		assert_true(answer(cloud, set_capacity(cloud, 5), 200,
						   cases[i].body));
		assert_true(cloud->targets[0].set_accepted);
		assert_string_equal(cloud->targets[0].set_request_id,
							cases[i].request_id);
		cloud_free(cloud);
	}
}

static void
b15_b10_a_refused_write_is_not_accepted(void **state)
{
	static const struct
	{
		int			status;
		const char *body;
		bool		refused;
	}			cases[] = {
		{200, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
			  "\"InvalidParameter.Desire\"}}}",
		 true},
		{400, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
			  "\"OperationDenied.Busy\"}}}",
		 true},
		{429, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
			  "\"FlowLimitExceeded\"}}}",
		 true},
		{500, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
			  "\"InternalError\"}}}",
		 false},
		{504, "<html>", false},
		{200, "", false},
		{200, "<html>", false},
		{200, "{" METADATA ",\"Result\":{\"ScalingGroupId\":\"scg-x\"}}",
		false},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Cloud	   *cloud = cloud_new(1);
		QsCall	   *call = set_capacity(cloud, 5);

		assert_false(answer(cloud, call, cases[i].status, cases[i].body));
		assert_int_equal(cloud->error.refused, cases[i].refused);
		byteplus->abandon(call, &cloud->error);
		assert_false(cloud->targets[0].set_accepted);
		assert_int_not_equal(cloud->targets[0].set_error.class,
							 QS_ERROR_NONE);
		assert_int_equal(cloud->follow_up.n_calls, 0);
		cloud_free(cloud);
	}
}

static void
odd_targets_are_refused_before_anything_is_sent(void **state)
{
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	assert_null(set_capacity(cloud, -1));
	assert_int_equal(cloud->error.class, QS_ERROR_TERMINAL);
	assert_null(set_capacity(cloud, QS_MAX_INSTANCES + 1));
	cloud->targets[0].asg_id = "scg&DesireInstanceNumber=99";
	assert_null(set_capacity(cloud, 1));
	assert_int_equal(cloud->targets[0].set_error.class, QS_ERROR_TERMINAL);
	assert_null(byteplus->ask_in_service(cloud->arena, &cloud->batch,
										 cloud->list[0], NOW_US,
										 &cloud->error));
	assert_null(byteplus->ask_activities(cloud->arena, &cloud->batch,
										 cloud->list[0], NOW_US,
										 &cloud->error));
	assert_true(cloud->targets[0].activity.asked);
	assert_false(cloud->targets[0].activity.known);
	cloud_free(cloud);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_service_is_one_call_when_all_members_serve),
		cmocka_unit_test(protected_instances_are_added),
		cmocka_unit_test(half_a_count_is_no_count),
		cmocka_unit_test(b01_b06_odd_counts_are_errors),
		cmocka_unit_test(activity_lists),
		cmocka_unit_test(activity_times_are_told_by_our_clock),
		cmocka_unit_test(b05_newest_activities_on_the_last_page_are_found),
		cmocka_unit_test(b02_capacity_is_written_as_an_absolute_number),
		cmocka_unit_test(acceptance_keeps_the_clouds_request_id),
		cmocka_unit_test(b15_b10_a_refused_write_is_not_accepted),
		cmocka_unit_test(odd_targets_are_refused_before_anything_is_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
