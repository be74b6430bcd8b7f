/*-------------------------------------------------------------------------
 * byteplus_discovery.c
 *		Which scaling groups there are, and which load balancer leads to each.
 *
 * DescribeScalingGroups names the load balancers of a group itself.  The
 * first page tells how many there are; the others are asked for at once.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cloud/discovery.h"

static bool
ask_page(QsArena *arena, const QsBatch *batch, QsDiscovery *discovery,
		 int page, int64_t now_us, QsCallList *calls, QsError *error)
{
	char		number[16];
	QsQueryParameter parameters[] = {
		{"Action", "DescribeScalingGroups"},
		{"PageNumber", number},
		{"PageSize", "50"},
		{"Version", "2020-01-01"},
	};
	QsBytePlusCall *call = qs_byteplus_call_new(arena, batch,
												QS_CALL_CAPACITY, NULL, 0);

	if (call == NULL)
		return qs_byteplus_no_memory(error);
	snprintf(number, sizeof(number), "%d", page);
	call->base.page = page;
	call->discovery = discovery;
	call->query = qs_canonical_query(arena, parameters, 4);
	if (call->query == NULL)
		return qs_byteplus_no_memory(error);
	if (!qs_byteplus_sign(arena, call, now_us, error))
		return false;
	return qs_call_list_add(arena, calls, &call->base) ||
		qs_byteplus_no_memory(error);
}

static bool
byteplus_begin(QsArena *arena, const QsBatch *batch, int64_t now_us,
			   QsDiscovery *discovery, QsCallList *calls, QsError *error)
{
	qs_error_clear(error);
	if (!qs_byteplus_region_is_valid(batch->region))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_region",
							"the region is empty or holds characters that do "
							"not belong there");
	return ask_page(arena, batch, discovery, 1, now_us, calls, error);
}

static int
count_of(const json_t *group, const char *name)
{
	int			count;

	return qs_json_count(json_object_get(group, name), 0, QS_MAX_INSTANCES,
						 &count) ? count : QS_UNKNOWN;
}

/* ServerGroupAttributes: [{"LoadBalancerId": "alb-x", "Type": "ALB"}, ...] */
static bool
read_balancers(QsArena *arena, const json_t *json, QsFoundGroup *group)
{
	json_t	   *servers = json_object_get(json, "ServerGroupAttributes");
	json_t	   *server;
	size_t		i;

	group->note = "no load balancer is attached";
	json_array_foreach(servers, i, server)
	{
		const json_t *type = json_object_get(server, "Type");
		const char *id = qs_json_text(json_object_get(server,
													  "LoadBalancerId"));

		if (id == NULL || !qs_byteplus_id_is_valid(id))
			continue;
		if (json_is_string(type) && !qs_json_equals(type, "ALB"))
			group->note = "its load balancer is not an application load balancer";
		else if (!qs_discovery_add_text(arena, &group->balancers,
										&group->n_balancers,
										&group->balancers_capacity, id))
			return false;
	}
	if (group->n_balancers > 0)
		group->note = NULL;
	return true;
}

static bool
read_group(QsArena *arena, QsDiscovery *discovery, const json_t *json,
		   QsError *error)
{
	const char *id = qs_json_text(json_object_get(json, "ScalingGroupId"));
	const char *name = qs_json_text(json_object_get(json,
													"ScalingGroupName"));
	QsFoundGroup group = {0};

	if (id == NULL || !qs_byteplus_id_is_valid(id))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_group",
							"the reply has a scaling group without an id");
	if (qs_json_equals(json_object_get(json, "LifecycleState"), "Deleting"))
		return true;
	group.asg_id = qs_arena_strdup(arena, id);
	group.name = qs_arena_strdup(arena, name != NULL ? name : id);
	group.min = count_of(json, "MinInstanceNumber");
	group.max = count_of(json, "MaxInstanceNumber");
	group.desired = count_of(json, "DesireInstanceNumber");
	if (group.asg_id == NULL || group.name == NULL ||
		!read_balancers(arena, json, &group))
		return qs_byteplus_no_memory(error);
	return qs_discovery_add(arena, discovery, &group, error);
}

static bool
ask_further_pages(QsArena *arena, const QsBytePlusCall *call, int total,
				  int64_t now_us, QsCallList *follow_up, QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	int			pages = (total + QS_BYTEPLUS_PAGE_SIZE - 1) /
		QS_BYTEPLUS_PAGE_SIZE;

	if (total > QS_MOST_DISCOVERED)
		return qs_error_set(error, QS_ERROR_RESOURCES, "too_many_groups",
							"the region has more than %d scaling groups",
							QS_MOST_DISCOVERED);
	for (int page = 2; page <= pages; page++)
		if (!ask_page(arena, &batch, call->discovery, page, now_us, follow_up,
					  error))
			return false;
	return true;
}

static bool
read_page(QsArena *arena, QsBytePlusCall *call, json_t *root, int64_t now_us,
		  QsCallList *follow_up, QsError *error)
{
	json_t	   *result = qs_byteplus_result(root, error);
	json_t	   *rows = json_object_get(result, "ScalingGroups");
	json_t	   *row;
	size_t		i;
	int			total;

	if (result == NULL)
		return false;
	if ((!json_is_array(rows) && !json_is_null(rows)) ||
		!qs_json_count(json_object_get(result, "TotalCount"), 0, INT_MAX / 2,
					   &total))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
							"reply has no ScalingGroups or no TotalCount");
	json_array_foreach(rows, i, row)
		if (!read_group(arena, call->discovery, row, error))
			return false;
	return call->base.page > 1 ||
		ask_further_pages(arena, call, total, now_us, follow_up, error);
}

static bool
byteplus_parse(QsArena *arena, QsCall *base, const QsHttpReply *reply,
			   int64_t now_us, QsCallList *follow_up, QsError *error)
{
	QsBytePlusCall *call = qs_byteplus_call(base);
	json_t	   *root = qs_byteplus_reply_open(arena, call, reply, now_us,
											  error);
	bool		ok;

	if (root == NULL)
		return false;
	ok = read_page(arena, call, root, now_us, follow_up, error);
	json_decref(root);
	return ok;
}

static void
byteplus_abandon(QsCall *call, const QsError *error)
{
	qs_byteplus_call(call)->discovery->error = qs_call_abandoned(error);
}

static bool
byteplus_finish(QsArena *arena, QsDiscovery *discovery)
{
	(void) arena;
	qs_discovery_sort(discovery);
	return true;
}

const QsDirectory qs_directory_byteplus = {
	.begin = byteplus_begin,
	.parse = byteplus_parse,
	.abandon = byteplus_abandon,
	.finish = byteplus_finish,
};
