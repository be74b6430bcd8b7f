/*-------------------------------------------------------------------------
 * aws_groups.c
 *		Capacity of scaling groups: DescribeAutoScalingGroups, by name.
 *
 * A hundred names a call, where MaxRecords is as large; a server that sends
 * fewer a page gives a token for the rest.  A name that does not exist is
 * left out of the reply without a word.
 *
 * The reply holds the instances, so how many are in service costs no call of
 * its own.  With weights, capacity is counted in units and not in instances.
 *-------------------------------------------------------------------------
 */
#include "cloud/aws.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cloud/xml_reader.h"

#define GROUP			"DescribeAutoScalingGroupsResult/AutoScalingGroups/member"
#define NEXT_TOKEN		"DescribeAutoScalingGroupsResult/NextToken"

/* The group that the walk is in. */
typedef struct Group
{
	bool		complete;		/* every number that counts was readable */
	int			position;		/* among the names asked for, -1 for none */
	bool		has_min;
	bool		has_max;
	bool		has_desired;
	QsCapacity	capacity;
	int			total;
	int			in_service;
	const char *target_groups[QS_AWS_TARGET_GROUPS];
	int			n_target_groups;

	/* its instance that the walk is in */
	int			weight;
	bool		member;			/* counts as a member of the group */
	bool		serving;
	bool		healthy;
} Group;

typedef struct Reading
{
	QsArena    *arena;
	QsAwsCall  *call;
	Group		group;
	char	   *next_token;
	bool		no_memory;
} Reading;

static bool
starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

static bool
begin_element(void *context, const char *path)
{
	Group	   *group = &((Reading *) context)->group;

	if (!starts_with(path, GROUP))
		return true;
	path += strlen(GROUP);
	if (*path == '\0')
	{
		*group = (Group) {.complete = true, .position = -1};
		group->capacity.active = true;
	}
	else if (strcmp(path, "/Instances/member") == 0)
	{
		group->weight = 1;
		group->member = group->serving = false;
		group->healthy = true;
	}
	return true;
}

/*
 * Members are those that exist or come into being, and those that are about
 * to go; what is on standby, detached or kept warm is not part of the
 * desired capacity.
 */
static void
read_lifecycle(Group *group, const char *state)
{
	group->serving = strcmp(state, "InService") == 0;
	group->member = group->serving || starts_with(state, "Pending") ||
		starts_with(state, "Terminating") || starts_with(state, "Quarantined") ||
		starts_with(state, "ReplacingRootVolume") ||
		starts_with(state, "RootVolumeReplaced");
}

static void
add_units(int *sum, int units)
{
	*sum = *sum > QS_MAX_INSTANCES - units ? QS_MAX_INSTANCES : *sum + units;
}

static void
end_instance(Group *group)
{
	if (group->member)
		add_units(&group->total, group->weight);
	if (group->serving && group->healthy)
		add_units(&group->in_service, group->weight);
}

/* A field of an instance, by its path below it. */
static void
read_instance_field(Group *group, const char *field, const char *text)
{
	if (strcmp(field, "LifecycleState") == 0)
		read_lifecycle(group, text);
	else if (strcmp(field, "HealthStatus") == 0)
		group->healthy = strcmp(text, "Unhealthy") != 0 &&
			strcmp(text, "UNHEALTHY") != 0;
	else if (strcmp(field, "WeightedCapacity") == 0 &&
			 (!qs_aws_count(text, &group->weight) || group->weight == 0))
		group->complete = false;
}

static void
read_number(Group *group, const char *text, int *number, bool *has)
{
	*has = qs_aws_count(text, number);
	group->complete = group->complete && *has;
}

/* "arn:...:targetgroup/web/0123456789abcdef": the metrics want its end. */
static void
add_target_group(Reading *reading, const char *arn)
{
	Group	   *group = &reading->group;
	const char *suffix = strstr(arn, "targetgroup/");
	char	   *copy;

	if (suffix == NULL || !qs_aws_dimension_is_valid(suffix) ||
		group->n_target_groups == QS_AWS_TARGET_GROUPS)
		return;
	copy = qs_arena_strdup(reading->arena, suffix);
	reading->no_memory = copy == NULL;
	if (copy != NULL)
		group->target_groups[group->n_target_groups++] = copy;
}

/* A field of a group, by its path below it. */
static void
read_group_field(Reading *reading, const char *field, const char *text)
{
	Group	   *group = &reading->group;
	QsCapacity *capacity = &group->capacity;

	if (starts_with(field, "Instances/member/"))
		read_instance_field(group, field + strlen("Instances/member/"), text);
	else if (strcmp(field, "AutoScalingGroupName") == 0)
		group->position = qs_id_index_find(&reading->call->ids, text);
	else if (strcmp(field, "MinSize") == 0)
		read_number(group, text, &capacity->min, &group->has_min);
	else if (strcmp(field, "MaxSize") == 0)
		read_number(group, text, &capacity->max, &group->has_max);
	else if (strcmp(field, "DesiredCapacity") == 0)
		read_number(group, text, &capacity->desired, &group->has_desired);
	else if (strcmp(field, "Status") == 0)
		capacity->active = text[0] == '\0'; /* only while it is deleted */
	else if (strcmp(field, "TargetGroupARNs/member") == 0)
		add_target_group(reading, text);
	else if (strcmp(field, "SuspendedProcesses/member/ProcessName") == 0)
	{
		capacity->scale_out_suspended |= strcmp(text, "Launch") == 0;
		capacity->scale_in_suspended |= strcmp(text, "Terminate") == 0;
	}
}

static void
end_group(Reading *reading)
{
	Group	   *group = &reading->group;
	const QsIdIndex *names = &reading->call->ids;
	QsError		error;

	if (group->position < 0)
		return;
	qs_error_clear(&error);
	group->capacity.total = group->total;
	group->capacity.in_service = QS_UNKNOWN;
	group->capacity.known = group->complete && group->has_min &&
		group->has_max && group->has_desired &&
		group->capacity.min <= group->capacity.max;
	if (group->capacity.known)
		group->capacity.in_service = group->in_service;
	else
		qs_error_set(&error, QS_ERROR_MALFORMED, "malformed_group",
					 "the scaling group's numbers are missing or cannot be "
					 "understood");
	for (int i = names->first[group->position];
		 i < names->first[group->position + 1]; i++)
	{
		QsTarget   *target = names->targets[i];
		QsAwsTarget *ours = target->provided;

		target->capacity = group->capacity;
		target->capacity_error = error;
		target->in_service_error = error;
		if (ours == NULL)
			continue;
		memcpy(ours->target_groups, group->target_groups,
			   sizeof(ours->target_groups));
		ours->n_target_groups = group->n_target_groups;
	}
}

static bool
end_element(void *context, const char *path, const char *text)
{
	Reading    *reading = context;

	if (starts_with(path, GROUP))
	{
		path += strlen(GROUP);
		if (*path == '\0')
			end_group(reading);
		else if (strcmp(path, "/Instances/member") == 0)
			end_instance(&reading->group);
		else if (*path == '/' && text != NULL)
			read_group_field(reading, path + 1, text);
	}
	else if (strcmp(path, NEXT_TOKEN) == 0 && text != NULL && text[0] != '\0')
	{
		reading->next_token = qs_arena_strdup(reading->arena, text);
		reading->no_memory = reading->next_token == NULL;
	}
	return !reading->no_memory;
}

static bool
add_call(QsArena *arena, const QsBatch *batch, QsCallKind kind,
		 const QsIdIndex *names, const char *next_token, int page,
		 int64_t now_us, QsCallList *calls, QsError *error)
{
	QsQueryParameter parameters[QS_AWS_GROUP_NAMES + 4] = {
		{"Action", "DescribeAutoScalingGroups"},
		{"MaxRecords", "100"},
		{"Version", "2011-01-01"},
	};
	char		members[QS_AWS_GROUP_NAMES][48];
	int			n_parameters = 3;
	QsTarget  **targets;
	QsAwsCall  *call;
	int			n;

	targets = qs_id_index_targets(names, &n);
	call = qs_aws_call_new(arena, batch, kind, targets, n);
	if (call == NULL)
		return qs_aws_no_memory(error);
	call->ids = *names;
	call->page = page;
	call->next_token = next_token;
	for (int i = 0; i < names->n_ids && i < QS_AWS_GROUP_NAMES; i++)
	{
		snprintf(members[i], sizeof(members[i]),
				 "AutoScalingGroupNames.member.%d", i + 1);
		parameters[n_parameters++] = (QsQueryParameter) {members[i],
			names->ids[i]};
	}
	if (next_token != NULL)
		parameters[n_parameters++] = (QsQueryParameter) {"NextToken",
			next_token};
	if (!qs_aws_set_form(arena, call, parameters, n_parameters, now_us,
						 error))
		return false;
	return qs_call_list_add(arena, calls, &call->base) ||
		qs_aws_no_memory(error);
}

bool
qs_aws_ask_groups(QsArena *arena, const QsBatch *batch,
				  const QsIdIndex *names, int64_t now_us, QsCallList *calls,
				  QsError *error)
{
	for (int i = 0; i < names->n_ids; i += QS_AWS_GROUP_NAMES)
	{
		QsIdIndex	slice = qs_id_index_slice(names, i, QS_AWS_GROUP_NAMES);

		if (!add_call(arena, batch, QS_CALL_CAPACITY, &slice, NULL, 0, now_us,
					  calls, error))
			return false;
	}
	return true;
}

/* The in-service count alone is asked for in the same way. */
QsCall *
qs_aws_ask_in_service(QsArena *arena, const QsBatch *batch, QsTarget *target,
					  int64_t now_us, QsError *error)
{
	QsTarget  **targets = qs_arena_alloc(arena, sizeof(QsTarget *));
	QsCallList	calls = {0};
	QsIdIndex	names;

	qs_error_clear(error);
	target->capacity.in_service = QS_UNKNOWN;
	if (targets == NULL)
		qs_aws_no_memory(error);
	else
	{
		targets[0] = target;
		if (!qs_id_index_build(arena, targets, 1, qs_target_asg_id, &names))
			qs_aws_no_memory(error);
		else
			(void) add_call(arena, batch, QS_CALL_IN_SERVICE, &names, NULL, 0,
							now_us, &calls, error);
	}
	target->in_service_error = *error;
	return calls.n_calls > 0 ? calls.calls[0] : NULL;
}

/* A count that was asked for by itself has no settling afterwards. */
static bool
was_named(const QsAwsCall *call, QsError *error)
{
	const QsTarget *target = call->base.targets[0];

	if (target->capacity.in_service != QS_UNKNOWN)
		return true;
	*error = target->in_service_error;
	if (error->class == QS_ERROR_NONE)
		qs_error_set(error, QS_ERROR_TERMINAL, "NotFound",
					 "no scaling group of that name");
	return false;
}

bool
qs_aws_parse_groups(QsArena *arena, QsAwsCall *call,
					const QsHttpReply *reply, int64_t now_us,
					QsCallList *follow_up, QsError *error)
{
	Reading		reading = {.arena = arena, .call = call};
	QsXmlVisitor visitor = {&reading, begin_element, end_element};
	QsBatch		batch = qs_call_batch(&call->base);

	if (!qs_aws_accepted(arena, call, reply, now_us, error))
		return false;
	if (!qs_xml_walk(reply->body, reply->body_length,
					 "DescribeAutoScalingGroupsResponse",
					 QS_AWS_GROUPS_NAMESPACE, &visitor, error))
		return reading.no_memory ? qs_aws_no_memory(error) : false;
	if (call->base.kind == QS_CALL_CAPACITY &&
		!qs_aws_ask_hosts(arena, &batch, call->base.targets,
						  call->base.n_targets, now_us, follow_up, error))
		return false;
	if (reading.next_token == NULL)
		return call->base.kind == QS_CALL_CAPACITY || was_named(call, error);
	if (call->page + 1 >= QS_AWS_MOST_PAGES)
		return qs_error_set(error, QS_ERROR_MALFORMED, "endless_pages",
							"the reply has more pages than groups were asked for");
	return add_call(arena, &batch, call->base.kind, &call->ids,
					reading.next_token, call->page + 1, now_us, follow_up,
					error);
}
