/*-------------------------------------------------------------------------
 * byteplus_groups.c
 *		Capacity of scaling groups: DescribeScalingGroups, by id or by page.
 *
 * Up to ten groups can be asked for by id, fifty come with a page of the
 * listing of a region.  Pages are cheaper where we manage more than a fifth
 * of the groups; the size of the region is learnt from each page.
 *
 * A listing is a small state machine (QsListing) shared by its calls: pages
 * are asked for all at once, and when the last one has been answered, ids
 * that no page named are asked for: by further pages in the first round (a
 * probe asks for one page only), by id afterwards.  Groups may come and go
 * between two pages and shift others across the border, so that not having
 * been listed does not mean that a group does not exist.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#define MOST_PAGE_ROUNDS	2

static int
div_up(int a, int b)
{
	return a / b + (a % b != 0);
}

/* Signs a call and adds it to the list. */
static bool
finish_call(QsArena *arena, QsBytePlusCall *call,
			const QsQueryParameter *parameters, int n, int64_t now_us,
			QsCallList *calls, QsError *error)
{
	call->query = qs_canonical_query(arena, parameters, n);
	if (call->query == NULL)
		return qs_byteplus_no_memory(error);
	if (!qs_byteplus_sign(arena, call, now_us, error))
		return false;
	if (!qs_call_list_add(arena, calls, &call->base))
		return qs_byteplus_no_memory(error);
	return true;
}

/*
 * A page size of fifty although there are ten ids at most: if one of them
 * does not exist the reply holds other groups, among which ours must fit.
 */
static bool
add_ids_call(QsArena *arena, const QsBatch *batch, const QsIdIndex *ids,
			 int64_t now_us, QsCallList *calls, QsError *error)
{
	QsQueryParameter parameters[QS_BYTEPLUS_GROUP_IDS + 3] = {
		{"Action", "DescribeScalingGroups"},
		{"PageSize", "50"},
		{"Version", "2020-01-01"},
	};
	char		names[QS_BYTEPLUS_GROUP_IDS][32];
	QsBytePlusCall *call;
	QsTarget  **targets;
	int			n_parameters = 3;
	int			n;

	targets = qs_id_index_targets(ids, &n);
	call = qs_byteplus_call_new(arena, batch, QS_CALL_CAPACITY, targets, n);
	if (call == NULL)
		return qs_byteplus_no_memory(error);
	call->ids = *ids;
	for (int i = 0; i < ids->n_ids && i < QS_BYTEPLUS_GROUP_IDS; i++)
	{
		snprintf(names[i], sizeof(names[i]), "ScalingGroupIds.%d", i + 1);
		parameters[n_parameters++] = (QsQueryParameter) {names[i],
			ids->ids[i]};
	}
	return finish_call(arena, call, parameters, n_parameters, now_us, calls,
					   error);
}

static bool
ask_by_id(QsArena *arena, const QsBatch *batch, const QsIdIndex *groups,
		  int batch_size, int64_t now_us, QsCallList *calls, QsError *error)
{
	int			before = calls->n_calls;

	for (int i = 0; i < groups->n_ids; i += batch_size)
	{
		QsIdIndex	slice = qs_id_index_slice(groups, i, batch_size);

		if (!add_ids_call(arena, batch, &slice, now_us, calls, error))
		{
			calls->n_calls = before;
			return false;
		}
	}
	return true;
}

/*
 * Asks for the next pages of a listing.  They are counted as outstanding
 * only when all have been made: a failure here leaves no page waited for.
 */
static bool
ask_pages(QsArena *arena, const QsBatch *batch, QsListing *listing,
		  int n_pages, int64_t now_us, QsCallList *calls, QsError *error)
{
	int			before = calls->n_calls;
	QsTarget  **targets;
	int			n;

	targets = qs_id_index_targets(&listing->wanted, &n);
	for (int i = 0; i < n_pages; i++)
	{
		int			page = listing->pages + i + 1;
		char		number[16];
		QsQueryParameter parameters[] = {
			{"Action", "DescribeScalingGroups"},
			{"PageNumber", number},
			{"PageSize", "50"},
			{"Version", "2020-01-01"},
		};
		QsBytePlusCall *call;

		snprintf(number, sizeof(number), "%d", page);
		call = qs_byteplus_call_new(arena, batch, QS_CALL_CAPACITY, targets,
									n);
		if (call == NULL)
		{
			calls->n_calls = before;
			return qs_byteplus_no_memory(error);
		}
		call->base.page = page;
		call->listing = listing;
		if (!finish_call(arena, call, parameters, 4, now_us, calls, error))
		{
			calls->n_calls = before;
			return false;
		}
	}
	listing->pages += n_pages;
	listing->outstanding += n_pages;
	listing->rounds++;
	return true;
}

/* Chooses the cheaper way; a probe costs one page and learns the total. */
bool
qs_byteplus_ask_groups(QsArena *arena, const QsBatch *batch,
					   const QsIdIndex *groups, int64_t now_us,
					   QsCallList *calls, QsError *error)
{
	const QsRegionMemory *memory = batch->memory;
	int			by_id = div_up(groups->n_ids, QS_BYTEPLUS_GROUP_IDS);
	int			pages = 0;
	QsListing  *listing;

	if (groups->n_ids == 0)
		return true;
	if (memory != NULL && memory->listed_total > 0)
		pages = div_up(memory->listed_total, QS_BYTEPLUS_PAGE_SIZE);
	if (pages == 0 || pages >= by_id)
		pages = memory != NULL && memory->probe &&
			groups->n_ids > QS_BYTEPLUS_GROUP_IDS ? 1 : 0;
	if (pages == 0)
		return ask_by_id(arena, batch, groups, QS_BYTEPLUS_GROUP_IDS, now_us,
						 calls, error);

	listing = qs_arena_alloc(arena, sizeof(QsListing));
	if (listing == NULL)
		return qs_byteplus_no_memory(error);
	listing->wanted = *groups;
	listing->found = qs_arena_alloc_array(arena, (size_t) groups->n_ids,
										  sizeof(bool));
	if (listing->found == NULL)
		return qs_byteplus_no_memory(error);
	return ask_pages(arena, batch, listing, pages, now_us, calls, error);
}

/* The targets of those ids of a listing that no page has named so far. */
static bool
index_missing(QsArena *arena, const QsListing *listing, QsIdIndex *missing)
{
	const QsIdIndex *wanted = &listing->wanted;
	QsTarget  **targets;
	int			n_targets;
	int			n = 0;

	(void) qs_id_index_targets(wanted, &n_targets);
	targets = qs_arena_alloc_array(arena, (size_t) n_targets + 1,
								   sizeof(QsTarget *));
	if (targets == NULL)
		return false;
	for (int id = 0; id < wanted->n_ids; id++)
	{
		if (listing->found[id])
			continue;
		for (int i = wanted->first[id]; i < wanted->first[id + 1]; i++)
			targets[n++] = wanted->targets[i];
	}
	return qs_id_index_build(arena, targets, n, qs_target_asg_id, missing);
}

static void
charge(const QsIdIndex *ids, int id, const QsError *error)
{
	for (int i = ids->first[id]; i < ids->first[id + 1]; i++)
	{
		ids->targets[i]->capacity.known = false;
		ids->targets[i]->capacity_error = *error;
	}
}

static void
charge_missing(const QsListing *listing, const QsError *error)
{
	for (int id = 0; id < listing->wanted.n_ids; id++)
	{
		if (!listing->found[id])
			charge(&listing->wanted, id, error);
	}
}

/*
 * One page has been dealt with.  If it was the last one, asks for what is
 * missing, by whatever takes fewer calls.
 */
static bool
continue_listing(QsArena *arena, QsBytePlusCall *call, int64_t now_us,
				 QsCallList *follow_up, QsError *error)
{
	QsListing  *listing = call->listing;
	QsBatch		batch = qs_call_batch(&call->base);
	int			missing = listing->wanted.n_ids - listing->n_found;
	int			more_pages;
	QsIdIndex	ids;

	listing->outstanding--;
	if (listing->outstanding > 0 || missing == 0)
		return true;
	more_pages = div_up(listing->total, QS_BYTEPLUS_PAGE_SIZE) -
		listing->pages;
	if (more_pages > 0 && listing->rounds < MOST_PAGE_ROUNDS &&
		more_pages < div_up(missing, QS_BYTEPLUS_GROUP_IDS))
	{
		if (ask_pages(arena, &batch, listing, more_pages, now_us, follow_up,
					  error))
			return true;
	}
	else if (!index_missing(arena, listing, &ids))
		qs_byteplus_no_memory(error);
	else if (ask_by_id(arena, &batch, &ids, QS_BYTEPLUS_GROUP_IDS, now_us,
					   follow_up, error))
		return true;

	/* the caller will abandon this page: let it be the last one again */
	listing->outstanding++;
	return false;
}

/* ScaleOut, ScaleIn; without health checks no change is carried out. */
static bool
read_suspended(const json_t *processes, QsCapacity *capacity)
{
	size_t		i;
	json_t	   *process;

	if (processes == NULL || json_is_null(processes))
		return true;
	if (!json_is_array(processes))
		return false;
	json_array_foreach(processes, i, process)
	{
		bool		health_check = qs_json_equals(process, "HealthCheck");

		if (!json_is_string(process))
			return false;
		if (health_check || qs_json_equals(process, "ScaleOut"))
			capacity->scale_out_suspended = true;
		if (health_check || qs_json_equals(process, "ScaleIn"))
			capacity->scale_in_suspended = true;
	}
	return true;
}

/*
 * DesireInstanceNumber -1 means that the expected-count feature is off, which
 * is how groups are created.  A number that is missing is not zero.
 */
static bool
read_capacity(const json_t *group, QsCapacity *capacity, QsError *error)
{
	const json_t *state = json_object_get(group, "LifecycleState");
	const char *wrong = NULL;

	memset(capacity, 0, sizeof(*capacity));
	capacity->in_service = QS_UNKNOWN;
	if (!qs_json_count(json_object_get(group, "DesireInstanceNumber"), -1,
					   QS_MAX_INSTANCES, &capacity->desired))
		wrong = "DesireInstanceNumber";
	else if (!qs_json_count(json_object_get(group, "TotalInstanceCount"), 0,
							QS_MAX_INSTANCES, &capacity->total))
		wrong = "TotalInstanceCount";
	else if (!qs_json_count(json_object_get(group, "MinInstanceNumber"), 0,
							QS_MAX_INSTANCES, &capacity->min))
		wrong = "MinInstanceNumber";
	else if (!qs_json_count(json_object_get(group, "MaxInstanceNumber"),
							capacity->min, QS_MAX_INSTANCES, &capacity->max))
		wrong = "MaxInstanceNumber";
	else if (!json_is_string(state))
		wrong = "LifecycleState";
	else if (!read_suspended(json_object_get(group, "SuspendedProcesses"),
							 capacity))
		wrong = "SuspendedProcesses";
	if (wrong != NULL)
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_group",
							"the scaling group's %s is missing or makes no "
							"sense", wrong);
	if (capacity->desired == -1)
		capacity->desired = QS_UNKNOWN;
	capacity->active = qs_json_equals(state, "Active") ||
		qs_json_equals(state, "CoolingDown");
	capacity->known = true;
	qs_error_clear(error);
	return true;
}

/*
 * Hands the groups of a reply to the targets that asked for them, and to
 * nobody else.  Marks ids as found, even where the group is malformed: asking
 * again would not make it better.  Returns the number of rows that cannot
 * be attributed to any id.
 */
static int
take_groups(const json_t *groups, const QsIdIndex *ids, bool *found,
			int *n_found)
{
	int			unreadable = 0;
	size_t		i;
	json_t	   *group;

	json_array_foreach(groups, i, group)
	{
		const json_t *id = json_object_get(group, "ScalingGroupId");
		QsCapacity	capacity;
		QsError		error;
		int			position;

		if (qs_json_text(id) == NULL)
		{
			unreadable++;
			continue;
		}
		position = qs_id_index_find(ids, qs_json_text(id));
		if (position < 0)
			continue;
		if (!found[position])
			(*n_found)++;
		found[position] = true;
		if (!read_capacity(group, &capacity, &error))
		{
			charge(ids, position, &error);
			continue;
		}
		for (int t = ids->first[position]; t < ids->first[position + 1]; t++)
		{
			ids->targets[t]->capacity = capacity;
			qs_error_clear(&ids->targets[t]->capacity_error);
		}
	}
	return unreadable;
}

/* What every page says about the size of the region. */
static void
learn_total(QsBytePlusCall *call, const json_t *result, int64_t now_us)
{
	QsRegionMemory *memory = call->base.memory;
	int			total;

	if (!qs_json_count(json_object_get(result, "TotalCount"), 0,
					   INT_MAX / 2, &total))
		total = 0;
	call->listing->total = total;
	if (memory != NULL)
	{
		memory->listed_total = total;
		memory->listed_at = now_us;
	}
}

/* The rows of a reply: an array, or null for none (Go writes it so). */
static bool
find_rows(json_t *root, json_t **result, json_t **rows, QsError *error)
{
	*result = qs_byteplus_result(root, error);
	if (*result == NULL)
		return false;
	*rows = json_object_get(*result, "ScalingGroups");
	if (!json_is_array(*rows) && !json_is_null(*rows))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
							"reply has no ScalingGroups");
	return true;
}

static bool
parse_by_id(QsArena *arena, QsBytePlusCall *call, const json_t *rows,
			QsError *error)
{
	int			n_found = 0;
	int			unreadable;
	bool	   *found;

	found = qs_arena_alloc_array(arena, (size_t) call->ids.n_ids + 1,
								 sizeof(bool));
	if (found == NULL)
		return qs_byteplus_no_memory(error);
	unreadable = take_groups(rows, &call->ids, found, &n_found);

	/* a row that nobody can read may be the one that is missing */
	for (int id = 0; unreadable > 0 && id < call->ids.n_ids; id++)
	{
		QsError		malformed;

		if (found[id])
			continue;
		qs_error_set(&malformed, QS_ERROR_MALFORMED, "malformed_group",
					 "the reply holds rows without a ScalingGroupId");
		charge(&call->ids, id, &malformed);
	}
	return true;
}

/*
 * A page that is refused or unreadable counts as an empty one: what it would
 * have named is asked for by id.  Listing may be forbidden where asking by
 * id is not, so the next cycle does not list either.
 */
static bool
parse_page(QsArena *arena, QsBytePlusCall *call, const json_t *result,
		   const json_t *rows, int64_t now_us, QsCallList *follow_up,
		   QsError *error)
{
	if (rows != NULL)
	{
		learn_total(call, result, now_us);
		(void) take_groups(rows, &call->listing->wanted,
						   call->listing->found, &call->listing->n_found);
	}
	else if (call->base.memory != NULL)
		call->base.memory->listed_total = 0;
	if (!continue_listing(arena, call, now_us, follow_up, error))
		return false;
	qs_error_clear(error);
	return true;
}

bool
qs_byteplus_parse_groups(QsArena *arena, QsBytePlusCall *call,
						 const QsHttpReply *reply, int64_t now_us,
						 QsCallList *follow_up, QsError *error)
{
	json_t	   *root = qs_byteplus_reply_open(arena, call, reply, now_us,
											  error);
	json_t	   *result = NULL;
	json_t	   *rows = NULL;
	bool		ok = root != NULL && find_rows(root, &result, &rows, error);

	if (!ok)
		rows = NULL;
	if (call->listing != NULL)
	{
		if (ok || error->class == QS_ERROR_TERMINAL ||
			error->class == QS_ERROR_MALFORMED)
			ok = parse_page(arena, call, result, rows, now_us, follow_up,
							error);
	}
	else if (ok)
		ok = parse_by_id(arena, call, rows, error);
	else if (call->ids.n_ids > 1 && qs_byteplus_blames_an_id(error))
	{
		QsBatch		batch = qs_call_batch(&call->base);

		ok = ask_by_id(arena, &batch, &call->ids, (call->ids.n_ids + 1) / 2,
					   now_us, follow_up, error);
	}
	json_decref(root);
	return ok;
}

/*
 * A page that is given up charges nobody as long as another page is on its
 * way: that one may name the group, or lead to asking for it by id.
 */
void
qs_byteplus_abandon_groups(QsBytePlusCall *call, const QsError *error)
{
	if (call->listing != NULL)
	{
		if (call->listing->outstanding > 0 &&
			--call->listing->outstanding > 0)
			return;
		charge_missing(call->listing, error);
		return;
	}
	for (int id = 0; id < call->ids.n_ids; id++)
		charge(&call->ids, id, error);
}
