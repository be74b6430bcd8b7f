/*-------------------------------------------------------------------------
 * kubernetes_actions.c
 *		What is asked for one object that is about to be scaled, and the
 *		change itself.
 *
 * The change is a merge patch of the scale: an absolute number, and the
 * version of the object that the decision was made from.  Whoever wrote in
 * between makes the API server refuse it (409).
 *-------------------------------------------------------------------------
 */
#include "cloud/kubernetes.h"

#include <stdio.h>
#include <string.h>

#include "cloud/signing.h"

/* A GET for one target; path is the arena's, or NULL where that is full. */
static QsKubernetesCall *
ask_for_one(QsArena *arena, const QsBatch *batch, QsCallKind kind,
			QsKubernetesQuestion question, const char *path, QsTarget *target,
			QsError *error)
{
	return qs_kubernetes_get(arena, batch, kind, question, path,
							 qs_kubernetes_alone(arena, target), 1, error);
}

/* ----------
 * Ready pods, where the object itself does not count them
 * ----------
 */
QsCall *
qs_kubernetes_ask_in_service(QsArena *arena, const QsBatch *batch,
							 QsTarget *target, int64_t now_us, QsError *error)
{
	const QsKubernetesTarget *ours;
	char	   *selector;
	QsKubernetesCall *call;

	if (!qs_kubernetes_recognise(arena, target, error))
		return NULL;
	ours = qs_kubernetes_provided(target);
	if (ours->selector.n == 0)
	{
		qs_error_set(error, QS_ERROR_TERMINAL, "no_selector",
					 "the object does not say which pods are its own");
		return NULL;
	}
	selector = qs_selector_text(arena, &ours->selector);
	if (selector != NULL)
		selector = qs_uri_escape(arena, selector);
	if (selector == NULL)
	{
		qs_kubernetes_no_memory(error);
		return NULL;
	}
	call = ask_for_one(arena, batch, QS_CALL_IN_SERVICE,
					   QS_KUBERNETES_READY_PODS,
					   qs_arena_printf(arena, "/api/v1/namespaces/%s/pods"
									   "?limit=" QS_KUBERNETES_PAGE
									   "&labelSelector=%s", ours->namespace,
									   selector),
					   target, error);
	return call == NULL ? NULL : &call->base;
}

static bool
count_ready(QsArena *arena, QsKubernetesCall *call, const json_t *root,
			QsCallList *follow_up, QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	json_t	   *items = json_object_get(root, "items");
	int			ready = call->ready;
	QsKubernetesCall *next;
	size_t		i;
	json_t	   *item;

	if (!json_is_array(items) && !json_is_null(items))
		return qs_kubernetes_malformed("the reply is not a list", error);
	json_array_foreach(items, i, item)
		ready += qs_kubernetes_pod_is_ready(item);
	if (!qs_kubernetes_next_page(arena, call, root, follow_up, &next, error))
		return false;
	if (next != NULL)
	{
		next->ready = ready;
		return true;
	}
	target->capacity.in_service = ready;
	qs_error_clear(&target->in_service_error);
	return true;
}

bool
qs_kubernetes_parse_ready_pods(QsArena *arena, QsKubernetesCall *call,
							   const QsHttpReply *reply,
							   QsCallList *follow_up, QsError *error)
{
	QsKubernetesCall *first;
	json_t	   *root;
	bool		ok;

	if (qs_kubernetes_list_anew(arena, call, reply, follow_up, &first, error))
		return true;
	root = qs_kubernetes_read(arena, call, reply, error);
	if (root == NULL)
		return false;
	ok = count_ready(arena, call, root, follow_up, error);
	json_decref(root);
	return ok;
}

/* ----------
 * Other autoscalers
 * ----------
 */

/*
 * Counts as asked from now on: without an answer nothing may be done.  Version
 * v1 of the API says whom an autoscaler scales as well as v2 does, and is
 * served by clusters of any age; v2 came with Kubernetes 1.23.
 */
QsCall *
qs_kubernetes_ask_activities(QsArena *arena, const QsBatch *batch,
							 QsTarget *target, int64_t now_us, QsError *error)
{
	QsKubernetesCall *call = NULL;

	target->activity = (QsCloudActivity) {
		.asked = true,
		.last_scale_up_at = QS_NEVER,
		.last_scale_down_at = QS_NEVER,
		.last_any_at = QS_NEVER,
		.newest_at = QS_NEVER,
	};
	if (qs_kubernetes_recognise(arena, target, error))
		call = ask_for_one(arena, batch, QS_CALL_ACTIVITIES,
						   QS_KUBERNETES_AUTOSCALERS,
						   qs_arena_printf(arena, "/apis/autoscaling/v1/"
										   "namespaces/%s/"
										   "horizontalpodautoscalers?limit="
										   QS_KUBERNETES_PAGE,
										   qs_kubernetes_provided(target)->namespace),
						   target, error);
	target->activity_error = *error;
	return call == NULL ? NULL : &call->base;
}

/* "apps/v1" is of group "apps"; the version does not matter. */
static bool
is_of_group(const char *api_version, const char *group)
{
	size_t		length = strlen(group);

	return api_version != NULL && strncmp(api_version, group, length) == 0 &&
		(api_version[length] == '/' || api_version[length] == '\0');
}

/* Of a resource that is no built-in kind only the plural is known: there the
 * name and the group decide. */
static bool
scales(const json_t *autoscaler, const QsKubernetesTarget *ours)
{
	json_t	   *reference = qs_kubernetes_member(autoscaler, "spec",
												 "scaleTargetRef", NULL);
	const char *name = qs_json_text(json_object_get(reference, "name"));

	return name != NULL && strcmp(name, ours->name) == 0 &&
		is_of_group(qs_json_text(json_object_get(reference, "apiVersion")),
					ours->kind.group) &&
		(ours->kind.kind == NULL ||
		 qs_json_equals(json_object_get(reference, "kind"), ours->kind.kind));
}

static bool
look_for_rivals(QsArena *arena, QsKubernetesCall *call, const json_t *root,
				QsCallList *follow_up, QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	json_t	   *items = json_object_get(root, "items");
	QsKubernetesCall *next;
	size_t		i;
	json_t	   *item;

	if (!json_is_array(items) && !json_is_null(items))
		return qs_kubernetes_malformed("the reply is not a list", error);
	if (!qs_kubernetes_next_page(arena, call, root, follow_up, &next, error))
		return false;
	target->activity.known |= next == NULL;
	qs_error_clear(&target->activity_error);
	json_array_foreach(items, i, item)
	{
		const char *name = qs_json_text(qs_kubernetes_member(item, "metadata",
															 "name", NULL));

		if (!scales(item, qs_kubernetes_provided(target)))
			continue;
		target->activity.rival = true;
		qs_error_set(&target->activity_error, QS_ERROR_TERMINAL, "Rival",
					 "HorizontalPodAutoscaler \"%.150s\" scales the same "
					 "object", name == NULL ? "" : name);
		break;
	}
	return true;
}

/*
 * Whoever may not list autoscalers, or has a cluster that knows none, scales
 * all the same: the list only helps to notice a mistake.  The error stays, for
 * people.
 */
static bool
may_be_hidden(QsTarget *target, const QsError *error)
{
	if (error->http_status != 403 && error->http_status != 404)
		return false;
	target->activity.known = true;
	target->activity_error = *error;
	return true;
}

bool
qs_kubernetes_parse_autoscalers(QsArena *arena, QsKubernetesCall *call,
								const QsHttpReply *reply,
								QsCallList *follow_up, QsError *error)
{
	QsKubernetesCall *first;
	json_t	   *root;
	bool		ok;

	if (qs_kubernetes_list_anew(arena, call, reply, follow_up, &first, error))
		return true;
	root = qs_kubernetes_read(arena, call, reply, error);
	if (root == NULL)
		return may_be_hidden(call->base.targets[0], error);
	ok = look_for_rivals(arena, call, root, follow_up, error);
	json_decref(root);
	return ok;
}

/* ----------
 * The change
 * ----------
 */
static QsKubernetesCall *
patch(QsArena *arena, const QsBatch *batch, QsTarget *target, int desired,
	  bool trial, int64_t now_us, QsError *error)
{
	const QsKubernetesTarget *ours = qs_kubernetes_provided(target);
	QsKubernetesCall *call;
	char	   *body;

	/* a version is opaque; one that would need escaping is none */
	if (strspn(ours->resource_version,
			   "0123456789abcdefghijklmnopqrstuvwxyz"
			   "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") !=
		strlen(ours->resource_version) || ours->resource_version[0] == '\0')
	{
		qs_error_set(error, QS_ERROR_TERMINAL, "no_version",
					 "the object was read without a resourceVersion that "
					 "could be sent back");
		error->refused = true;
		return NULL;
	}
	call = ask_for_one(arena, batch,
					   trial ? QS_CALL_ACTIVITIES : QS_CALL_SET_CAPACITY,
					   trial ? QS_KUBERNETES_TRIAL : QS_KUBERNETES_WRITE,
					   qs_arena_printf(arena, "%s/%s/scale"
									   "?fieldManager=qpsscale%s",
									   ours->collection, ours->name,
									   trial ? "&dryRun=All" : ""),
					   target, error);
	body = qs_arena_printf(arena, "{\"metadata\":{\"resourceVersion\":\"%s\"},"
						   "\"spec\":{\"replicas\":%d}}",
						   ours->resource_version, desired);
	if (call == NULL)
		return NULL;
	if (body == NULL)
	{
		qs_kubernetes_no_memory(error);
		return NULL;
	}
	call->base.request.method = "PATCH";
	call->base.request.body = body;
	call->base.request.body_length = strlen(body);
	return qs_provider_kubernetes.sign(arena, &call->base, now_us, error) ?
		call : NULL;
}

QsCall *
qs_kubernetes_set_capacity(QsArena *arena, const QsBatch *batch,
						   QsTarget *target, int desired, int64_t now_us,
						   QsError *error)
{
	QsKubernetesCall *call = NULL;

	target->set_accepted = false;
	target->set_request_id[0] = '\0';
	if (desired < 0 || desired > QS_MAX_INSTANCES)
		qs_error_set(error, QS_ERROR_TERMINAL, "invalid_desired",
					 "%d is not a number of replicas", desired);
	else if (qs_kubernetes_recognise(arena, target, error))
		call = patch(arena, batch, target, desired, false, now_us, error);
	target->set_error = *error;
	return call == NULL ? NULL : &call->base;
}

QsCall *
qs_kubernetes_try_write(QsArena *arena, const QsBatch *batch,
						QsTarget *target, int64_t now_us, QsError *error)
{
	QsKubernetesCall *call = NULL;

	if (qs_kubernetes_recognise(arena, target, error))
		call = patch(arena, batch, target, target->capacity.desired, true,
					 now_us, error);
	target->tried = call == NULL;
	target->trial_error = *error;
	return call == NULL ? NULL : &call->base;
}

/* That somebody else has written meanwhile means that we might have. */
bool
qs_kubernetes_parse_trial(QsArena *arena, QsKubernetesCall *call,
						  const QsHttpReply *reply, QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	json_t	   *root = qs_kubernetes_read(arena, call, reply, error);
	bool		ok = root != NULL || error->class == QS_ERROR_CONFLICT;

	json_decref(root);
	if (!ok)
		return false;
	target->tried = true;
	qs_error_clear(&target->trial_error);
	return true;
}

/* The scale as it is now.  What the audit keeps is the object's new version. */
bool
qs_kubernetes_parse_write(QsArena *arena, QsKubernetesCall *call,
						  const QsHttpReply *reply, QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	json_t	   *root = qs_kubernetes_read(arena, call, reply, error);
	const char *version = qs_json_text(qs_kubernetes_member(root, "metadata",
															"resourceVersion",
															NULL));
	QsError		cleaned;
	int			replicas;
	bool		ok;

	if (root == NULL)
		return false;
	ok = qs_json_equals(json_object_get(root, "kind"), "Scale") &&
		qs_kubernetes_count(qs_kubernetes_member(root, "spec", "replicas",
												 NULL), 0, &replicas);
	if (ok)
	{
		/* an error's code has the same size and is cleaned when it is set */
		qs_error_clear(&cleaned);
		qs_error_set(&cleaned, QS_ERROR_NONE,
					 version == NULL ? "" : version, "%s", "");
		memcpy(target->set_request_id, cleaned.code, sizeof(cleaned.code));
		target->set_accepted = true;
		qs_error_clear(&target->set_error);
	}
	json_decref(root);
	return ok || qs_kubernetes_malformed("the reply is not a Scale", error);
}
