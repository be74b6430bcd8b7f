/*-------------------------------------------------------------------------
 * cloud_replies.c
 *		The JSON that the pretended cloud answers with.
 *
 * Put together from constant pieces with memcpy: a page of 50 groups has to
 * cost microseconds, for the server shares the machine with what is measured.
 * A group that acts reports the load of the desired number that it does not
 * have (5 or 6 instances at 100 QPS each), so that every tick that reads both
 * wants to change it, however ticks, retries and other readers interleave.  An
 * idle group reports the load of the 5 instances that it has.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud_replies.h"

#define MIN_INSTANCES		1
#define MAX_INSTANCES		100
#define QPS_PER_INSTANCE	100
#define METRIC_IDS_LIMIT	50	/* documented limits of the cloud */
#define METRIC_POINTS_LIMIT 1440
#define GROUP_IDS_LIMIT		10
#define PAGE_SIZE_LIMIT		50

const char *const action_names[N_ACTIONS] = {
	[ACTION_METRIC] = "GetMetricData",
	[ACTION_GROUPS] = "DescribeScalingGroups",
	[ACTION_INSTANCES] = "DescribeScalingInstances",
	[ACTION_ACTIVITIES] = "DescribeScalingActivities",
	[ACTION_MODIFY] = "ModifyScalingGroup",
	[ACTION_OTHER] = "Unknown",
};

void
text_add(Text *text, const char *data, size_t length)
{
	if (text->capacity - text->length < length)
	{
		size_t		capacity = text->capacity * 2 + length + 4096;
		char	   *grown = realloc(text->data, capacity);

		if (grown == NULL)
		{
			fprintf(stderr, "cloud_server: out of memory\n");
			exit(1);
		}
		text->data = grown;
		text->capacity = capacity;
	}
	memcpy(text->data + text->length, data, length);
	text->length += length;
}

void
add_string(Text *text, const char *s)
{
	text_add(text, s, strlen(s));
}

void
add_number(Text *text, int64_t number)
{
	char		digits[24];
	int			at = (int) sizeof(digits);
	uint64_t	rest = number < 0 ? -(uint64_t) number : (uint64_t) number;

	do
	{
		digits[--at] = (char) ('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (number < 0)
		digits[--at] = '-';
	text_add(text, digits + at, sizeof(digits) - (size_t) at);
}

static void
begin_metadata(Text *out, ApiAction action)
{
	ADD_LITERAL(out, "{\"ResponseMetadata\":{\"RequestId\":"
				"\"20260101000000BENCH0000000000000000\",\"Action\":\"");
	add_string(out, action_names[action]);
	ADD_LITERAL(out, "\",\"Version\":\"2020-01-01\",\"Service\":\"bench\","
				"\"Region\":\"ap-southeast-1\"");
}

static void
begin_result(Text *out, ApiAction action)
{
	begin_metadata(out, action);
	ADD_LITERAL(out, "},\"Result\":{");
}

int
error_body(Text *out, ApiAction action, int status, const char *code)
{
	begin_metadata(out, action);
	ADD_LITERAL(out, ",\"Error\":{\"Code\":\"");
	add_string(out, code);
	ADD_LITERAL(out, "\",\"Message\":\"the bench says so\"}}}");
	return status;
}

static int
refuse(Api *api, Text *out, ApiAction action, const char *code)
{
	api->counters.refused++;
	return error_body(out, action, action == ACTION_OTHER ? 404 : 400, code);
}

static Group *
find_group(Api *api, int id)
{
	return id >= 1 && id <= api->options.groups ? &api->groups[id - 1] : NULL;
}

static void
one_series(Text *out, int id, const Group *group, int64_t start, int64_t end)
{
	int			wanted = group->desired;
	int			step = -2;

	if (group->acting)
		wanted = group->desired == LOW_DESIRED ? HIGH_DESIRED : LOW_DESIRED;
	ADD_LITERAL(out, "{\"Legend\":\"ResourceID=alb-");
	add_number(out, id);
	ADD_LITERAL(out, "\",\"StatisticsMethods\":\"avg\",\"Dimensions\":"
				"[{\"Name\":\"ResourceID\",\"Value\":\"alb-");
	add_number(out, id);
	ADD_LITERAL(out, "\"}],\"DataPoints\":[");
	for (int64_t at = start; at < end; at += 60)
	{
		/* Half an instance above the one below: far from both borders. */
		if (at > start)
			ADD_LITERAL(out, ",");
		ADD_LITERAL(out, "{\"Timestamp\":");
		add_number(out, at);
		ADD_LITERAL(out, ",\"Value\":");
		add_number(out, wanted * QPS_PER_INSTANCE - QPS_PER_INSTANCE / 2 +
				   step);
		ADD_LITERAL(out, ".5}");
		step = step == 2 ? -2 : step + 1;
	}
	ADD_LITERAL(out, "]}");
}

static int
answer_metric(Api *api, const Query *query, Text *out)
{
	int64_t		start = query->start / 60 * 60;
	int64_t		end = query->end / 60 * 60;
	bool		first = true;

	if (start <= 0 || end <= start || query->n_ids == 0 ||
		query->n_ids > METRIC_IDS_LIMIT ||
		(end - start) / 60 * query->n_ids > METRIC_POINTS_LIMIT)
		return refuse(api, out, ACTION_METRIC, "InvalidParameter.Range");

	begin_result(out, ACTION_METRIC);
	ADD_LITERAL(out, "\"Data\":{\"Namespace\":\"VCM_ALB\",\"MetricName\":"
				"\"load_balancer_qps\",\"Period\":\"1m\",\"Unit\":"
				"\"Count/Second\",\"StartTime\":");
	add_number(out, start);
	ADD_LITERAL(out, ",\"EndTime\":");
	add_number(out, end);
	ADD_LITERAL(out, ",\"DescriptionCN\":\"\",\"DescriptionEN\":\"\","
				"\"MetricDataResults\":[");
	for (int i = 0; i < query->n_ids; i++)
	{
		const Group *group = find_group(api, query->ids[i]);

		if (group == NULL)
			continue;
		if (!first)
			ADD_LITERAL(out, ",");
		first = false;
		one_series(out, query->ids[i], group, start, end);
	}
	ADD_LITERAL(out, "]}}}");
	return 200;
}

static void
one_group(Text *out, int id, const Group *group)
{
	ADD_LITERAL(out, "{\"ScalingGroupId\":\"asg-");
	add_number(out, id);
	ADD_LITERAL(out, "\",\"ScalingGroupName\":\"bench-");
	add_number(out, id);
	ADD_LITERAL(out, "\",\"LifecycleState\":\"Active\","
				"\"TotalInstanceCount\":");
	add_number(out, group->desired);
	ADD_LITERAL(out, ",\"StoppedInstanceCount\":0,\"DesireInstanceNumber\":");
	add_number(out, group->desired);
	ADD_LITERAL(out, ",\"MinInstanceNumber\":");
	add_number(out, MIN_INSTANCES);
	ADD_LITERAL(out, ",\"MaxInstanceNumber\":");
	add_number(out, MAX_INSTANCES);
	ADD_LITERAL(out, ",\"DefaultCooldown\":300,\"SuspendedProcesses\":[],"
				"\"ScalingMode\":\"release\",\"HealthCheckType\":\"ECS\","
				"\"InstanceTerminatePolicy\":"
				"\"OldestScalingConfigurationWithOldestInstance\","
				"\"MultiAZPolicy\":\"BALANCE\",\"ServerGroupAttributes\":"
				"[{\"LoadBalancerId\":\"alb-");
	add_number(out, id);
	ADD_LITERAL(out, "\",\"ServerGroupId\":\"rsp-bench\",\"Port\":80,"
				"\"Weight\":50,\"Type\":\"ALB\"}],"
				"\"ActiveScalingConfigurationId\":\"scc-bench00000000000\","
				"\"LaunchTemplateId\":\"\",\"LaunchTemplateVersion\":\"\","
				"\"VpcId\":\"vpc-bench000000000000\","
				"\"SubnetIds\":[\"subnet-bench0\",\"subnet-bench1\"],"
				"\"ProjectName\":\"default\",\"Tags\":[],\"DBInstanceIds\":[],"
				"\"CreatedAt\":\"2025-01-01T00:00Z\","
				"\"UpdatedAt\":\"2025-01-01T00:00Z\"}");
}

/* By id, or a page of all of them. */
static int
answer_groups(Api *api, const Query *query, Text *out)
{
	int			first = 1;
	int			last = query->n_ids;
	int			total = query->n_ids;
	bool		comma = false;

	if (query->n_ids == 0)
	{
		api->counters.listings++;
		if (query->page < 1 || query->page_size < 1 ||
			query->page_size > PAGE_SIZE_LIMIT)
			return refuse(api, out, ACTION_GROUPS, "InvalidParameter.Page");
		total = api->options.groups;
		if (query->page > total / query->page_size + 1)
			first = total + 1;
		else
			first = (query->page - 1) * query->page_size + 1;
		last = first + query->page_size - 1;
		if (last > total)
			last = total;
	}
	else if (query->n_ids > GROUP_IDS_LIMIT)
		return refuse(api, out, ACTION_GROUPS, "InvalidParameter.Ids");

	begin_result(out, ACTION_GROUPS);
	ADD_LITERAL(out, "\"ScalingGroups\":[");
	for (int i = first; i <= last; i++)
	{
		int			id = query->n_ids > 0 ? query->ids[i - 1] : i;
		const Group *group = find_group(api, id);

		if (group == NULL)
			continue;
		if (comma)
			ADD_LITERAL(out, ",");
		comma = true;
		one_group(out, id, group);
	}
	ADD_LITERAL(out, "],\"TotalCount\":");
	add_number(out, total);
	ADD_LITERAL(out, ",\"PageNumber\":");
	add_number(out, query->page);
	ADD_LITERAL(out, ",\"PageSize\":");
	add_number(out, query->page_size);
	ADD_LITERAL(out, "}}");
	return 200;
}

static int
answer_instances(Api *api, const Query *query, Text *out)
{
	const Group *group = find_group(api, query->ids[0]);

	if (query->n_ids != 1 || group == NULL)
		return refuse(api, out, ACTION_INSTANCES, "NotFound.ScalingGroup");
	begin_result(out, ACTION_INSTANCES);
	ADD_LITERAL(out, "\"ScalingInstances\":[{\"InstanceId\":\"i-bench0\","
				"\"Status\":\"InService\",\"CreationType\":\"AutoCreated\","
				"\"ScalingGroupId\":\"asg-");
	add_number(out, query->ids[0]);
	ADD_LITERAL(out, "\",\"CreatedTime\":\"2025-01-01T00:00Z\",\"ZoneId\":"
				"\"ap-southeast-1a\"}],\"TotalCount\":");
	add_number(out, group->desired);
	ADD_LITERAL(out, ",\"PageNumber\":1,\"PageSize\":1}}");
	return 200;
}

/* One old activity: long over, and outside every cooldown. */
static int
answer_activities(Api *api, const Query *query, Text *out)
{
	if (query->n_ids != 1 || find_group(api, query->ids[0]) == NULL)
		return refuse(api, out, ACTION_ACTIVITIES, "NotFound.ScalingGroup");
	begin_result(out, ACTION_ACTIVITIES);
	ADD_LITERAL(out, "\"ScalingActivities\":[{\"ScalingActivityId\":"
				"\"sca-bench\",\"ScalingGroupId\":\"asg-");
	add_number(out, query->ids[0]);
	ADD_LITERAL(out, "\",\"ActivityType\":\"SCALE_OUT\",\"TaskCategory\":"
				"\"Manual\",\"StatusCode\":\"Success\",\"CreatedAt\":"
				"\"2025-01-01T00:00:00Z\",\"ExpectedRunTime\":"
				"\"2025-01-01T00:00:00Z\",\"StoppedAt\":"
				"\"2025-01-01T00:01:00Z\",\"CurrentInstanceNumber\":5,"
				"\"ActualAdjustInstanceNumber\":1,\"MinInstanceNumber\":1,"
				"\"MaxInstanceNumber\":100,\"Cooldown\":0,\"ResultMsg\":\"\","
				"\"RelatedInstances\":[]}],\"TotalCount\":1,"
				"\"PageNumber\":1,\"PageSize\":");
	add_number(out, query->page_size);
	ADD_LITERAL(out, "}}");
	return 200;
}

static int
answer_modify(Api *api, const Query *query, Text *out)
{
	Group	   *group = find_group(api, query->ids[0]);

	if (query->n_ids != 1 || group == NULL)
		return refuse(api, out, ACTION_MODIFY, "NotFound.ScalingGroup");
	if (query->desired < MIN_INSTANCES || query->desired > MAX_INSTANCES)
		return refuse(api, out, ACTION_MODIFY, "InvalidParameter.Desire");
	if (api->options.apply)
		group->desired = query->desired;
	begin_result(out, ACTION_MODIFY);
	ADD_LITERAL(out, "\"ScalingGroupId\":\"asg-");
	add_number(out, query->ids[0]);
	ADD_LITERAL(out, "\"}}");
	return 200;
}

int
answer_call(Api *api, const Query *query, Text *out)
{
	switch (query->action)
	{
		case ACTION_METRIC:
			return answer_metric(api, query, out);
		case ACTION_GROUPS:
			return answer_groups(api, query, out);
		case ACTION_INSTANCES:
			return answer_instances(api, query, out);
		case ACTION_ACTIVITIES:
			return answer_activities(api, query, out);
		case ACTION_MODIFY:
			return answer_modify(api, query, out);
		default:
			return refuse(api, out, ACTION_OTHER, "InvalidActionOrVersion");
	}
}
