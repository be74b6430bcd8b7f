/*-------------------------------------------------------------------------
 * aws_discovery.c
 *		Which scaling groups there are, and which load balancer leads to each.
 *
 * DescribeAutoScalingGroups names the target groups of a group, and
 * DescribeTargetGroups of Elastic Load Balancing (2015-12-01) their load
 * balancers.  Both are listed whole, beside each other: asking for target
 * groups by ARN would fail for all where one of them has gone.
 *-------------------------------------------------------------------------
 */
#include "cloud/aws.h"

#include <stdlib.h>
#include <string.h>

#include "cloud/discovery.h"
#include "cloud/xml_reader.h"

#define GROUP		"DescribeAutoScalingGroupsResult/AutoScalingGroups/member"
#define TARGETS		"DescribeTargetGroupsResult/TargetGroups/member"

#define BALANCERS_NAMESPACE	"http://elasticloadbalancing.amazonaws.com/doc/"
#define MOST_PAGES		100		/* of a listing */

/* A load balancer of a target group. */
typedef struct Link
{
	const char *target_group;
	const char *balancer;		/* the end of its ARN: "app/NAME/ID" */
} Link;

typedef struct Links
{
	Link	   *links;
	int			n_links;
	int			capacity;
} Links;

typedef struct Reading
{
	QsArena    *arena;
	QsDiscovery *discovery;
	QsFoundGroup group;
	bool		deleting;
	const char *target_group;
	const char *balancers[QS_AWS_TARGET_GROUPS];
	int			n_balancers;
	const char *next_token;
	QsError		error;
} Reading;

static bool
out_of_memory(Reading *reading)
{
	return qs_aws_no_memory(&reading->error);
}

static bool
ask_page(QsArena *arena, const QsBatch *batch, QsDiscovery *discovery,
		 bool balancers, const char *next_token, int page, int64_t now_us,
		 QsCallList *calls, QsError *error)
{
	QsQueryParameter groups[] = {
		{"Action", "DescribeAutoScalingGroups"},
		{"IncludeInstances", "false"},
		{"MaxRecords", "100"},
		{"Version", "2011-01-01"},
		{"NextToken", next_token},
	};
	QsQueryParameter targets[] = {
		{"Action", "DescribeTargetGroups"},
		{"PageSize", "400"},
		{"Version", "2015-12-01"},
		{"Marker", next_token},
	};
	int			more = next_token != NULL;
	QsAwsCall  *call;

	if (page >= MOST_PAGES)
		return qs_error_set(error, QS_ERROR_MALFORMED, "endless_pages",
							"the listing has more than %d pages", MOST_PAGES);
	call = qs_aws_call_new(arena, batch, QS_CALL_CAPACITY, NULL, 0);
	if (call == NULL)
		return qs_aws_no_memory(error);
	call->discovery = discovery;
	call->balancers_api = balancers;
	call->page = page;
	if (!(balancers ?
		  qs_aws_set_form(arena, call, targets, 3 + more, now_us, error) :
		  qs_aws_set_form(arena, call, groups, 4 + more, now_us, error)))
		return false;
	return qs_call_list_add(arena, calls, &call->base) ||
		qs_aws_no_memory(error);
}

static bool
aws_begin(QsArena *arena, const QsBatch *batch, int64_t now_us,
		  QsDiscovery *discovery, QsCallList *calls, QsError *error)
{
	qs_error_clear(error);
	if (!qs_aws_region_is_valid(batch->region))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_region",
							"the region is empty or holds characters that do "
							"not belong there");
	discovery->provided = qs_arena_alloc(arena, sizeof(Links));
	if (discovery->provided == NULL)
		return qs_aws_no_memory(error);
	return ask_page(arena, batch, discovery, false, NULL, 0, now_us, calls,
					error) &&
		ask_page(arena, batch, discovery, true, NULL, 0, now_us, calls,
				 error);
}

/* ----------
 * Scaling groups
 * ----------
 */
static bool
begin_group(void *context, const char *path)
{
	Reading    *reading = context;

	if (strcmp(path, GROUP) != 0)
		return true;
	reading->group = (QsFoundGroup) {.min = QS_UNKNOWN, .max = QS_UNKNOWN,
		.desired = QS_UNKNOWN};
	reading->deleting = false;
	return true;
}

static bool
end_group(Reading *reading)
{
	QsFoundGroup *group = &reading->group;

	if (group->asg_id == NULL)
		return qs_error_set(&reading->error, QS_ERROR_MALFORMED,
							"malformed_group",
							"the reply has a scaling group without a name");
	group->name = group->asg_id;
	return reading->deleting ||
		qs_discovery_add(reading->arena, reading->discovery, group,
						 &reading->error);
}

static void
read_count(const char *text, int *out)
{
	if (!qs_aws_count(text, out))
		*out = QS_UNKNOWN;
}

static bool
keep_token(Reading *reading, const char *text)
{
	if (text[0] == '\0')
		return true;
	reading->next_token = qs_arena_strdup(reading->arena, text);
	return reading->next_token != NULL || out_of_memory(reading);
}

static bool
read_group(void *context, const char *path, const char *text)
{
	Reading    *reading = context;
	QsFoundGroup *group = &reading->group;
	const char *field;

	if (strcmp(path, GROUP) == 0)
		return end_group(reading);
	if (text == NULL)
		return true;
	if (strcmp(path, "DescribeAutoScalingGroupsResult/NextToken") == 0)
		return keep_token(reading, text);
	if (strncmp(path, GROUP "/", strlen(GROUP "/")) != 0)
		return true;
	field = path + strlen(GROUP "/");
	if (strcmp(field, "AutoScalingGroupName") == 0)
	{
		if (!qs_aws_name_is_valid(text))
			return true;		/* end_group() says that there is none */
		group->asg_id = qs_arena_strdup(reading->arena, text);
		return group->asg_id != NULL || out_of_memory(reading);
	}
	if (strcmp(field, "TargetGroupARNs/member") == 0)
		return qs_discovery_add_text(reading->arena, &group->attached,
									 &group->n_attached,
									 &group->attached_capacity, text) ||
			out_of_memory(reading);
	if (strcmp(field, "LoadBalancerNames/member") == 0)
		group->note = "a classic load balancer is attached, which has no RequestCount to scale by here";
	else if (strcmp(field, "MinSize") == 0)
		read_count(text, &group->min);
	else if (strcmp(field, "MaxSize") == 0)
		read_count(text, &group->max);
	else if (strcmp(field, "DesiredCapacity") == 0)
		read_count(text, &group->desired);
	else if (strcmp(field, "Status") == 0)
		reading->deleting = text[0] != '\0';
	return true;
}

/* ----------
 * Target groups
 * ----------
 */
static bool
begin_target_group(void *context, const char *path)
{
	Reading    *reading = context;

	if (strcmp(path, TARGETS) == 0)
	{
		reading->target_group = NULL;
		reading->n_balancers = 0;
	}
	return true;
}

/* "arn:aws:...:loadbalancer/app/web/50dc6c495c0c9188": the metrics want its end. */
static const char *
end_of_balancer(const char *arn)
{
	const char *end = strstr(arn, "loadbalancer/");

	return end == NULL ? arn : end + strlen("loadbalancer/");
}

static bool
end_target_group(Reading *reading)
{
	Links	   *all = reading->discovery->provided;

	for (int i = 0; i < reading->n_balancers; i++)
	{
		Link	   *links;

		if (reading->target_group == NULL)
			return qs_error_set(&reading->error, QS_ERROR_MALFORMED,
								"malformed_reply",
								"the reply has a target group without an ARN");
		links = qs_discovery_grow(reading->arena, all->links, all->n_links,
								  &all->capacity, sizeof(Link));
		if (links == NULL)
			return out_of_memory(reading);
		all->links = links;
		links[all->n_links++] = (Link) {reading->target_group,
			reading->balancers[i]};
	}
	return true;
}

static bool
read_target_group(void *context, const char *path, const char *text)
{
	Reading    *reading = context;
	const char *copy;

	if (strcmp(path, TARGETS) == 0)
		return end_target_group(reading);
	if (text == NULL)
		return true;
	if (strcmp(path, "DescribeTargetGroupsResult/NextMarker") == 0)
		return keep_token(reading, text);
	if (strcmp(path, TARGETS "/TargetGroupArn") == 0)
	{
		copy = reading->target_group = qs_arena_strdup(reading->arena, text);
		return copy != NULL || out_of_memory(reading);
	}
	if (strcmp(path, TARGETS "/LoadBalancerArns/member") == 0 &&
		reading->n_balancers < QS_AWS_TARGET_GROUPS)
	{
		copy = qs_arena_strdup(reading->arena, end_of_balancer(text));
		if (copy == NULL)
			return out_of_memory(reading);
		reading->balancers[reading->n_balancers++] = copy;
	}
	return true;
}

static bool
aws_parse(QsArena *arena, QsCall *base, const QsHttpReply *reply,
		  int64_t now_us, QsCallList *follow_up, QsError *error)
{
	QsAwsCall  *call = qs_aws_call(base);
	bool		balancers = call->balancers_api;
	Reading		reading = {.arena = arena, .discovery = call->discovery};
	QsXmlVisitor visitor = {&reading, balancers ? begin_target_group :
		begin_group, balancers ? read_target_group : read_group};
	QsBatch		batch = qs_call_batch(base);

	if (!qs_aws_accepted(arena, call, reply, now_us, error))
		return false;
	if (!qs_xml_walk(reply->body, reply->body_length,
					 balancers ? "DescribeTargetGroupsResponse" :
					 "DescribeAutoScalingGroupsResponse",
					 balancers ? BALANCERS_NAMESPACE : QS_AWS_GROUPS_NAMESPACE,
					 &visitor, error))
	{
		if (reading.error.class != QS_ERROR_NONE)
			*error = reading.error;
		return false;
	}
	return reading.next_token == NULL ||
		ask_page(arena, &batch, call->discovery, balancers,
				 reading.next_token, call->page + 1, now_us, follow_up,
				 error);
}

static void
aws_abandon(QsCall *base, const QsError *error)
{
	QsAwsCall  *call = qs_aws_call(base);

	if (call->balancers_api)
		call->discovery->balancers_error = qs_call_abandoned(error);
	else
		call->discovery->error = qs_call_abandoned(error);
}

/* ----------
 * Together
 * ----------
 */
static int
compare_links(const void *a, const void *b)
{
	return strcmp(((const Link *) a)->target_group,
				  ((const Link *) b)->target_group);
}

/* The first link of a target group, or where it would be. */
static int
find_link(const Links *all, const char *target_group)
{
	int			low = 0;
	int			high = all->n_links;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (strcmp(all->links[middle].target_group, target_group) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Only those of applications publish requests. */
static bool
follow_links(QsArena *arena, const Links *all, QsFoundGroup *group)
{
	for (int i = 0; i < group->n_attached; i++)
	{
		const char *target_group = group->attached[i];

		for (int at = find_link(all, target_group); at < all->n_links &&
			 strcmp(all->links[at].target_group, target_group) == 0; at++)
		{
			const char *balancer = all->links[at].balancer;

			if (strncmp(balancer, "app/", 4) != 0 ||
				!qs_aws_dimension_is_valid(balancer))
				group->note = "its load balancer is not an application load balancer";
			else if (!qs_discovery_add_text(arena, &group->balancers,
											&group->n_balancers,
											&group->balancers_capacity,
											balancer))
				return false;
		}
	}
	return true;
}

static bool
aws_finish(QsArena *arena, QsDiscovery *discovery)
{
	Links	   *all = discovery->provided;
	const QsError *failed = &discovery->balancers_error;

	qs_discovery_sort(discovery);
	if (all->n_links > 0)
		qsort(all->links, (size_t) all->n_links, sizeof(Link), compare_links);
	for (int i = 0; i < discovery->n_groups; i++)
	{
		QsFoundGroup *group = &discovery->groups[i];

		if (group->n_attached > 0 && failed->class != QS_ERROR_NONE)
		{
			group->note = qs_arena_printf(arena, "its load balancer could not be read: %s: %s",
										  failed->code, failed->message);
			if (group->note == NULL)
				return false;
			continue;
		}
		if (!follow_links(arena, all, group))
			return false;
		if (group->n_balancers > 0)
			group->note = NULL;
		else if (group->note == NULL)
			group->note = group->n_attached == 0 ?
				"no target group is attached" :
				"its target groups are behind no load balancer";
	}
	return true;
}

const QsDirectory qs_directory_aws = {
	.begin = aws_begin,
	.parse = aws_parse,
	.abandon = aws_abandon,
	.finish = aws_finish,
};
