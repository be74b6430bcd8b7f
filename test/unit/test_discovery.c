/*-------------------------------------------------------------------------
 * test_discovery.c
 *		Scaling groups that clouds list, and lists that cannot be one.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#include "cloud/discovery.h"

#define GROUPS_OPEN	"<DescribeAutoScalingGroupsResponse xmlns=\"" \
	"http://autoscaling.amazonaws.com/doc/2011-01-01/\">" \
	"<DescribeAutoScalingGroupsResult><AutoScalingGroups>"
#define GROUPS_CLOSE "</AutoScalingGroups></DescribeAutoScalingGroupsResult>" \
	"</DescribeAutoScalingGroupsResponse>"
#define TARGETS_OPEN "<DescribeTargetGroupsResponse xmlns=\"" \
	"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">" \
	"<DescribeTargetGroupsResult><TargetGroups>"
#define TARGETS_CLOSE "</TargetGroups></DescribeTargetGroupsResult>" \
	"</DescribeTargetGroupsResponse>"
#define NAMED(name, more) "<member><AutoScalingGroupName>" name \
	"</AutoScalingGroupName>" more "</member>"
#define ATTACHED(arns) "<TargetGroupARNs>" arns "</TargetGroupARNs>"
#define TARGET(arn, balancers) "<member><TargetGroupArn>" arn \
	"</TargetGroupArn><LoadBalancerArns>" balancers \
	"</LoadBalancerArns></member>"
#define MEMBER(text) "<member>" text "</member>"

static Cloud *cloud;
static QsDiscovery found;
static const QsDirectory *directory;

static int
set_up(void **state)
{
	(void) state;
	cloud = cloud_new(1);
	memset(&found, 0, sizeof(found));
	return 0;
}

static int
tear_down(void **state)
{
	(void) state;
	cloud_free(cloud);
	return 0;
}

static void
begin(const QsProvider *provider)
{
	directory = provider->directory;
	memset(&found, 0, sizeof(found));
	memset(&cloud->calls, 0, sizeof(cloud->calls));
	assert_true(directory->begin(cloud->arena, &cloud->batch, NOW_US, &found,
								 &cloud->calls, &cloud->error));
}

static bool
take(QsCall *call, const char *body)
{
	QsHttpReply r = {
		.status = 200,
		.content_type = "",
		.body = body,
		.body_length = strlen(body),
		.retry_after_ms = -1,
		.date_epoch_s = -1,
	};

	memset(&cloud->follow_up, 0, sizeof(cloud->follow_up));
	return directory->parse(cloud->arena, call, &r, NOW_US,
							&cloud->follow_up, &cloud->error);
}

static void
target_groups_lead_to_load_balancers(void **state)
{
	(void) state;
	begin(&qs_provider_aws);
	assert_int_equal(cloud->calls.n_calls, 2);
	assert_true(take(cloud->calls.calls[0], GROUPS_OPEN
					 NAMED("two", ATTACHED(MEMBER("t:1") MEMBER("t:2")))
					 NAMED("net", ATTACHED(MEMBER("t:net")))
					 NAMED("bare", "<MinSize>1</MinSize>")
					 NAMED("lost", ATTACHED(MEMBER("t:gone")))
					 NAMED("going", "<Status>Delete in progress</Status>")
					 NAMED("two", ATTACHED(MEMBER("t:1"))) GROUPS_CLOSE));
	assert_true(take(cloud->calls.calls[1], TARGETS_OPEN
					 TARGET("t:net", MEMBER("arn:x:loadbalancer/net/n/1"))
					 TARGET("t:2", MEMBER("arn:x:loadbalancer/app/b/2"))
					 TARGET("t:1", MEMBER("arn:x:loadbalancer/app/a/1")
							MEMBER("arn:x:loadbalancer/app/b/2"))
					 TARGET("t:other", MEMBER("arn:x:loadbalancer/app/o/1"))
					 TARGETS_CLOSE));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_true(directory->finish(cloud->arena, &found));

	assert_int_equal(found.n_groups, 4);	/* each once, not what goes */
	assert_string_equal(found.groups[0].asg_id, "bare");
	assert_int_equal(found.groups[0].min, 1);
	assert_int_equal(found.groups[0].max, QS_UNKNOWN);
	assert_string_equal(found.groups[0].note, "no target group is attached");
	assert_string_equal(found.groups[1].asg_id, "lost");
	assert_int_equal(found.groups[1].n_balancers, 0);
	assert_non_null(strstr(found.groups[1].note, "behind no load balancer"));
	assert_string_equal(found.groups[2].asg_id, "net");
	assert_non_null(strstr(found.groups[2].note, "not an application"));
	assert_string_equal(found.groups[3].asg_id, "two");
	assert_true(found.groups[3].n_balancers >= 1);
	assert_string_equal(found.groups[3].balancers[0], "app/a/1");
	assert_null(found.groups[3].note);
}

static void
what_is_no_list_is_an_error(void **state)
{
	static const char *const bad[] = {
		"", "{}", "<a/>", GROUPS_OPEN, GROUPS_OPEN NAMED("", "") GROUPS_CLOSE,
		GROUPS_OPEN "<member/>" GROUPS_CLOSE,
		GROUPS_OPEN NAMED("a", "<MinSize>&bomb;</MinSize>") GROUPS_CLOSE,
		"<!DOCTYPE x [<!ENTITY a \"b\">]>" GROUPS_OPEN GROUPS_CLOSE,
		"<DescribeAutoScalingGroupsResponse xmlns=\"http://example.com/\"/>",
		TARGETS_OPEN TARGETS_CLOSE,
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		begin(&qs_provider_aws);
		if (take(cloud->calls.calls[0], bad[i]))
			fail_msg("taken for a list: %s", bad[i]);
		assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
		directory->abandon(cloud->calls.calls[0], &cloud->error);
		assert_int_equal(found.error.class, QS_ERROR_MALFORMED);
	}
	begin(&qs_provider_aws);
	assert_false(take(cloud->calls.calls[1], TARGETS_OPEN
					  "<member><LoadBalancerArns>" MEMBER("x")
					  "</LoadBalancerArns></member>" TARGETS_CLOSE));
	directory->abandon(cloud->calls.calls[1], &cloud->error);
	assert_int_equal(found.error.class, QS_ERROR_NONE);
	assert_int_equal(found.balancers_error.class, QS_ERROR_MALFORMED);
}

static void
pages_without_end_are_an_error(void **state)
{
	QsCall	   *call;
	int			pages = 1;

	(void) state;
	begin(&qs_provider_aws);
	call = cloud->calls.calls[0];
	while (take(call, "<DescribeAutoScalingGroupsResponse xmlns=\""
				"http://autoscaling.amazonaws.com/doc/2011-01-01/\">"
				"<DescribeAutoScalingGroupsResult><NextToken>t</NextToken>"
				"</DescribeAutoScalingGroupsResult>"
				"</DescribeAutoScalingGroupsResponse>"))
	{
		assert_int_equal(cloud->follow_up.n_calls, 1);
		assert_true(++pages < 1000);
		call = cloud->follow_up.calls[0];
	}
	assert_string_equal(cloud->error.code, "endless_pages");
}

static void
byteplus_names_the_load_balancers_itself(void **state)
{
	(void) state;
	begin(&qs_provider_byteplus);
	assert_true(take(cloud->calls.calls[0], "{\"ResponseMetadata\":{},"
					 "\"Result\":{\"TotalCount\":120,\"ScalingGroups\":["
					 "{\"ScalingGroupId\":\"scg-b\",\"ScalingGroupName\":\"B\","
					 "\"DesireInstanceNumber\":-1,\"ServerGroupAttributes\":["
					 "{\"LoadBalancerId\":\"clb-1\",\"Type\":\"CLB\"}]},"
					 "{\"ScalingGroupId\":\"scg-a\",\"ServerGroupAttributes\":["
					 "{\"LoadBalancerId\":\"alb-1\",\"Type\":\"ALB\"},"
					 "{\"LoadBalancerId\":\"alb-1\",\"Type\":\"ALB\"}]}]}}"));
	assert_int_equal(cloud->follow_up.n_calls, 2);	/* the rest at once */
	assert_true(directory->finish(cloud->arena, &found));
	assert_int_equal(found.n_groups, 2);
	assert_string_equal(found.groups[0].asg_id, "scg-a");
	assert_string_equal(found.groups[0].name, "scg-a");
	assert_int_equal(found.groups[0].n_balancers, 1);
	assert_string_equal(found.groups[1].name, "B");
	assert_int_equal(found.groups[1].desired, QS_UNKNOWN);
	assert_int_equal(found.groups[1].n_balancers, 0);
	assert_non_null(found.groups[1].note);

	begin(&qs_provider_byteplus);
	assert_false(take(cloud->calls.calls[0], "{\"ResponseMetadata\":{},"
					  "\"Result\":{\"TotalCount\":1000000,"
					  "\"ScalingGroups\":[]}}"));
	assert_string_equal(cloud->error.code, "too_many_groups");
	assert_false(take(cloud->calls.calls[0], "{\"ResponseMetadata\":{},"
					  "\"Result\":{\"ScalingGroups\":[]}}"));
	assert_string_equal(cloud->error.code, "malformed_reply");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(target_groups_lead_to_load_balancers),
		TEST(what_is_no_list_is_an_error),
		TEST(pages_without_end_are_an_error),
		TEST(byteplus_names_the_load_balancers_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
