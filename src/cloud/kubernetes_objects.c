/*-------------------------------------------------------------------------
 * kubernetes_objects.c
 *		What the scaled objects say: how many replicas are wanted, exist and
 *		are ready, and which pods are theirs.
 *
 * A Deployment and its kin are read as objects, alone or listed by namespace.
 * Of another resource only its scale has a form that is known.
 *
 * Counts that are zero are left out of an answer: absent is 0, not unknown.
 * Only spec.replicas of a Deployment and its kin is filled in by the server
 * where its author left it out (by 1).
 *-------------------------------------------------------------------------
 */
#include "cloud/kubernetes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ----------
 * Asking
 * ----------
 */
static int
by_collection(const void *a, const void *b)
{
	const QsTarget *x = *(QsTarget *const *) a;
	const QsTarget *y = *(QsTarget *const *) b;
	int			order = strcmp(qs_kubernetes_provided(x)->collection,
							   qs_kubernetes_provided(y)->collection);

	return order != 0 ? order : strcmp(x->asg_id, y->asg_id);
}

/* One object, which one or several targets want. */
static bool
ask_object(QsArena *arena, const QsBatch *batch, QsCallKind kind,
		   QsTarget **targets, int n_targets, QsCallList *calls,
		   QsError *error)
{
	const QsKubernetesTarget *ours = qs_kubernetes_provided(targets[0]);
	bool		scale = ours->kind.kind == NULL;
	char	   *path = qs_arena_printf(arena, "%s/%s%s", ours->collection,
									   ours->name, scale ? "/scale" : "");

	return qs_kubernetes_hand_on(arena, calls,
								 qs_kubernetes_get(arena, batch, kind,
												   scale ? QS_KUBERNETES_SCALE :
												   QS_KUBERNETES_OBJECT, path,
												   targets, n_targets, error),
								 error);
}

static bool
ask_each(QsArena *arena, const QsBatch *batch, QsCallKind kind,
		 const QsIdIndex *wanted, QsCallList *calls, QsError *error)
{
	for (int i = 0; i < wanted->n_ids; i++)
		if (!ask_object(arena, batch, kind, wanted->targets + wanted->first[i],
						wanted->first[i + 1] - wanted->first[i], calls,
						error))
			return false;
	return true;
}

static bool
ask_list(QsArena *arena, const QsBatch *batch, QsCallKind kind,
		 const QsIdIndex *wanted, QsCallList *calls, QsError *error)
{
	int			n_targets;
	QsTarget  **targets = qs_id_index_targets(wanted, &n_targets);
	QsKubernetesCall *call;

	call = qs_kubernetes_get(arena, batch, kind, QS_KUBERNETES_LIST,
							 qs_arena_printf(arena, "%s?limit="
											 QS_KUBERNETES_PAGE,
											 qs_kubernetes_provided(targets[0])->collection),
							 targets, n_targets, error);
	if (call == NULL)
		return false;
	call->wanted = *wanted;
	return qs_kubernetes_hand_on(arena, calls, call, error);
}

/* Targets of one collection. */
static bool
ask_collection(QsArena *arena, const QsBatch *batch, QsCallKind kind,
			   QsTarget **targets, int n_targets, QsCallList *calls,
			   QsError *error)
{
	QsIdIndex	wanted;

	if (!qs_id_index_build(arena, targets, n_targets, qs_target_asg_id,
						   &wanted))
		return qs_kubernetes_no_memory(error);
	if (wanted.n_ids < QS_KUBERNETES_LIST_FROM ||
		qs_kubernetes_provided(targets[0])->kind.kind == NULL)
		return ask_each(arena, batch, kind, &wanted, calls, error);
	return ask_list(arena, batch, kind, &wanted, calls, error);
}

bool
qs_kubernetes_ask_objects(QsArena *arena, const QsBatch *batch,
						  QsCallKind kind, QsTarget **targets, int n_targets,
						  QsCallList *calls, QsError *error)
{
	int			first = 0;

	if (n_targets > 1)
		qsort(targets, (size_t) n_targets, sizeof(QsTarget *), by_collection);
	for (int i = 1; i <= n_targets; i++)
	{
		if (i < n_targets &&
			strcmp(qs_kubernetes_provided(targets[i])->collection,
				   qs_kubernetes_provided(targets[first])->collection) == 0)
			continue;
		if (!ask_collection(arena, batch, kind, targets + first, i - first,
							calls, error))
			return false;
		first = i;
	}
	return true;
}

/* ----------
 * Reading
 * ----------
 */

/* What an object says about its replicas. */
typedef struct Seen
{
	QsCapacity	capacity;
	QsSelector	selector;
	const char *resource_version;
} Seen;

static void
begin_seen(Seen *seen, const json_t *object)
{
	const char *version =
		qs_json_text(qs_kubernetes_member(object, "metadata",
										  "resourceVersion", NULL));

	memset(seen, 0, sizeof(*seen));
	seen->capacity.known = true;
	seen->capacity.min = 0;
	seen->capacity.max = QS_MAX_INSTANCES;
	seen->capacity.active =
		qs_kubernetes_member(object, "metadata", "deletionTimestamp",
							 NULL) == NULL;
	seen->resource_version = version == NULL ? "" : version;
}

/* A Deployment, StatefulSet or ReplicaSet. */
static bool
see_object(QsArena *arena, const json_t *object, Seen *seen)
{
	json_t	   *spec = json_object_get(object, "spec");
	json_t	   *status = json_object_get(object, "status");
	bool		paused = json_is_true(json_object_get(spec, "paused"));

	begin_seen(seen, object);
	seen->capacity.scale_out_suspended = paused;
	seen->capacity.scale_in_suspended = paused;
	return json_is_object(spec) &&
		qs_kubernetes_count(json_object_get(spec, "replicas"), 1,
							&seen->capacity.desired) &&
		qs_kubernetes_count(json_object_get(status, "replicas"), 0,
							&seen->capacity.total) &&
		qs_kubernetes_count(json_object_get(status, "readyReplicas"), 0,
							&seen->capacity.in_service) &&
		qs_selector_read(arena, json_object_get(spec, "selector"),
						 &seen->selector);
}

/*
 * A Scale.  Whose pods it counts may be unknown; then those that exist are
 * taken for ready, as nothing else ever tells.
 */
static bool
see_scale(QsArena *arena, const json_t *scale, Seen *seen)
{
	json_t	   *status = json_object_get(scale, "status");
	const char *selector = qs_json_text(json_object_get(status, "selector"));

	begin_seen(seen, scale);
	if (!qs_json_equals(json_object_get(scale, "kind"), "Scale") ||
		!qs_kubernetes_count(qs_kubernetes_member(scale, "spec", "replicas",
												  NULL), 0,
							 &seen->capacity.desired) ||
		!qs_kubernetes_count(json_object_get(status, "replicas"), 0,
							 &seen->capacity.total) ||
		!qs_selector_parse(arena, selector == NULL ? "" : selector,
						   &seen->selector))
		return false;
	seen->capacity.in_service = seen->selector.n > 0 &&
		seen->capacity.total > 0 ? QS_UNKNOWN : seen->capacity.total;
	return true;
}

static void
tell(const Seen *seen, QsTarget *target)
{
	QsKubernetesTarget *ours = qs_kubernetes_provided(target);

	snprintf(ours->resource_version, sizeof(ours->resource_version), "%s",
			 strlen(seen->resource_version) < sizeof(ours->resource_version) ?
			 seen->resource_version : "");
	ours->selector = seen->selector;
	ours->replicas = seen->capacity.total;
	if (target->query != NULL)
		return;
	target->capacity = seen->capacity;
	qs_error_clear(&target->capacity_error);
}

static void
tell_all(const Seen *seen, QsTarget **targets, int n_targets)
{
	for (int i = 0; i < n_targets; i++)
		tell(seen, targets[i]);
}

static void
charge(QsTarget *target, const QsError *error)
{
	if (target->query != NULL)
		target->reading_error = *error;
	else
		target->capacity_error = *error;
}

/* ----------
 * One object
 * ----------
 */
static bool
read_one(QsArena *arena, QsKubernetesCall *call, const json_t *root,
		 Seen *seen, QsError *error)
{
	const QsTarget *target = call->base.targets[0];
	const char *name = qs_json_text(qs_kubernetes_member(root, "metadata",
														 "name", NULL));

	if (name == NULL ||
		strcmp(name, qs_kubernetes_provided(target)->name) != 0)
		return qs_kubernetes_malformed("the reply is about another object",
									   error);
	if (!(call->question == QS_KUBERNETES_SCALE ?
		  see_scale(arena, root, seen) : see_object(arena, root, seen)))
		return qs_kubernetes_malformed("the object's replicas or selector "
									   "cannot be understood", error);
	return true;
}

static bool
parse_one(QsArena *arena, QsKubernetesCall *call, const json_t *root,
		  QsCallList *follow_up, QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	Seen		seen;

	if (!read_one(arena, call, root, &seen, error))
		return false;
	tell_all(&seen, call->base.targets, call->base.n_targets);
	return call->base.kind != QS_CALL_SIGNAL ||
		qs_kubernetes_ask_pods(arena, &batch, call->base.targets,
							   call->base.n_targets, &seen.selector,
							   follow_up, error);
}

/* ----------
 * A list
 * ----------
 */

/* Position in the index of what is wanted, or -1. */
static int
find_item(const QsKubernetesCall *call, const json_t *item)
{
	const QsKubernetesTarget *any =
		qs_kubernetes_provided(call->base.targets[0]);
	const char *name = qs_json_text(qs_kubernetes_member(item, "metadata",
														 "name", NULL));
	char		id[320];

	if (name == NULL ||
		snprintf(id, sizeof(id), "%s/%s", any->namespace, name) >= (int) sizeof(id))
		return -1;
	return qs_id_index_find(&call->wanted, id);
}

static void
read_item(QsArena *arena, QsKubernetesCall *call, const json_t *item)
{
	int			found = find_item(call, item);
	QsTarget  **targets;
	int			n_targets;
	Seen		seen;
	QsError		error;

	if (found < 0)
		return;
	targets = call->wanted.targets + call->wanted.first[found];
	n_targets = call->wanted.first[found + 1] - call->wanted.first[found];
	if (see_object(arena, item, &seen))
	{
		tell_all(&seen, targets, n_targets);
		return;
	}
	qs_error_clear(&error);
	(void) qs_kubernetes_malformed("the object's replicas or selector cannot "
								   "be understood", &error);
	for (int i = 0; i < n_targets; i++)
		charge(targets[i], &error);
}

static bool
was_told(const QsTarget *target)
{
	return qs_kubernetes_provided(target)->replicas != QS_UNKNOWN ||
		(target->query != NULL ? target->reading_error.class :
		 target->capacity_error.class) != QS_ERROR_NONE;
}

/* The objects that no page has named so far. */
static bool
still_wanted(QsArena *arena, const QsKubernetesCall *call, QsIdIndex *rest,
			 QsError *error)
{
	QsTarget  **targets = qs_arena_alloc_array(arena,
											   (size_t) call->base.n_targets + 1,
											   sizeof(*targets));
	int			n = 0;

	if (targets == NULL)
		return qs_kubernetes_no_memory(error);
	for (int i = 0; i < call->base.n_targets; i++)
		if (!was_told(call->base.targets[i]))
			targets[n++] = call->base.targets[i];
	return qs_id_index_build(arena, targets, n, qs_target_asg_id, rest) ||
		qs_kubernetes_no_memory(error);
}

/* A signal's object that does not exist has no pods either. */
static void
settle_signals(const QsIdIndex *rest)
{
	QsError		error;

	qs_error_clear(&error);
	for (int i = 0; i < rest->first[rest->n_ids]; i++)
	{
		(void) qs_error_set(&error, QS_ERROR_TERMINAL, "NotFound",
							"no object \"%.150s\"",
							rest->targets[i]->asg_id);
		rest->targets[i]->reading_error = error;
	}
}

/*
 * The next page; or the rest one by one, where that is no more calls than
 * pages are left, or nothing, where nothing is wanted any more.
 */
static bool
go_on(QsArena *arena, QsKubernetesCall *call, const json_t *root,
	  const QsIdIndex *rest, bool *last, QsCallList *follow_up,
	  QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	const char *token = qs_json_text(qs_kubernetes_member(root, "metadata",
														  "continue", NULL));
	QsKubernetesCall *next;
	int			left = 0;

	*last = token == NULL || token[0] == '\0' || rest->n_ids == 0;
	if (*last)
	{
		if (call->base.kind == QS_CALL_SIGNAL)
			settle_signals(rest);
		return true;
	}
	(void) qs_json_count(qs_kubernetes_member(root, "metadata",
											  "remainingItemCount", NULL),
						 0, QS_MAX_INSTANCES, &left);
	if (rest->n_ids <= left / QS_KUBERNETES_PAGE_OBJECTS)
	{
		*last = true;
		return ask_each(arena, &batch, call->base.kind, rest, follow_up,
						error);
	}
	return qs_kubernetes_next_page(arena, call, root, follow_up, &next,
								   error);
}

/* All pods of the namespace, for those that the pages of the list named. */
static bool
ask_pods_of_list(QsArena *arena, QsKubernetesCall *call, QsCallList *follow_up,
				 QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	QsTarget  **targets = qs_arena_alloc_array(arena,
											   (size_t) call->base.n_targets + 1,
											   sizeof(*targets));
	int			n = 0;

	if (targets == NULL)
		return qs_kubernetes_no_memory(error);
	for (int i = 0; i < call->base.n_targets; i++)
		if (qs_kubernetes_provided(call->base.targets[i])->replicas != QS_UNKNOWN)
			targets[n++] = call->base.targets[i];
	return n == 0 || qs_kubernetes_ask_pods(arena, &batch, targets, n, NULL,
											follow_up, error);
}

static bool
parse_list(QsArena *arena, QsKubernetesCall *call, const json_t *root,
		   QsCallList *follow_up, QsError *error)
{
	json_t	   *items = json_object_get(root, "items");
	QsIdIndex	rest;
	bool		last;
	size_t		i;
	json_t	   *item;

	/* an empty list is null where its server was written in Go */
	if (!json_is_array(items) && !json_is_null(items))
		return qs_kubernetes_malformed("the reply is not a list", error);
	json_array_foreach(items, i, item)
		read_item(arena, call, item);
	if (!still_wanted(arena, call, &rest, error) ||
		!go_on(arena, call, root, &rest, &last, follow_up, error))
		return false;
	if (!last || call->base.kind != QS_CALL_SIGNAL)
		return true;
	return ask_pods_of_list(arena, call, follow_up, error);
}

/* ---------- */

bool
qs_kubernetes_parse_object(QsArena *arena, QsKubernetesCall *call,
						   const QsHttpReply *reply, QsCallList *follow_up,
						   QsError *error)
{
	QsKubernetesCall *first;
	json_t	   *root;
	bool		ok;

	if (qs_kubernetes_list_anew(arena, call, reply, follow_up, &first, error))
		return true;
	root = qs_kubernetes_read(arena, call, reply, error);
	if (root == NULL)
		return false;
	ok = call->question == QS_KUBERNETES_LIST ?
		parse_list(arena, call, root, follow_up, error) :
		parse_one(arena, call, root, follow_up, error);
	json_decref(root);
	return ok;
}
