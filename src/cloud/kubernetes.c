/*-------------------------------------------------------------------------
 * kubernetes.c
 *		The Kubernetes provider: what its objects are called, how its API
 *		server is asked, and its entry points.
 *
 * A target is an object that has replicas: a Deployment, a StatefulSet, a
 * ReplicaSet, or any other with the subresource "scale".  There is no cloud
 * behind it that bounds it or reports on activities of its own; what stands in
 * their place is another autoscaler on the same object.
 *
 * Nothing is signed: a request shows the account's token, or its certificate
 * in the TLS handshake.
 *-------------------------------------------------------------------------
 */
#include "cloud/kubernetes.h"

#include <stdlib.h>
#include <string.h>

#include "cloud/signing.h"

#define LONGEST_NAMESPACE	63	/* RFC 1123 label */
#define LONGEST_NAME		253 /* RFC 1123 subdomain */

static const QsKubernetesKind kinds[] = {
	{"Deployment", "deployments", "v1", "apps"},
	{"StatefulSet", "statefulsets", "v1", "apps"},
	{"ReplicaSet", "replicasets", "v1", "apps"},
};

bool
qs_kubernetes_no_memory(QsError *error)
{
	return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
						"the cycle's memory limit was reached");
}

/* ----------
 * Names
 * ----------
 */

/* Labels of small letters, digits and inner hyphens; joined by dots where
 * those are allowed.  Nothing of it needs escaping in a path. */
static bool
is_name(const char *text, size_t length, size_t longest, bool dots)
{
	char		before = '.';

	if (length == 0 || length > longest)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char		c = text[i];
		bool		sign = c == '-' || (dots && c == '.');

		if (!sign && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
			return false;
		if ((c == '.' && (before == '.' || before == '-')) ||
			(c == '-' && before == '.'))
			return false;
		before = c;
	}
	return before != '.' && before != '-';
}

/* "rollouts.v1alpha1.argoproj.io": as kubectl names a resource in full. */
static bool
read_resource(QsArena *arena, const char *text, QsKubernetesKind *kind,
			  QsError *error)
{
	const char *version = strchr(text, '.');
	const char *group = version == NULL ? NULL : strchr(version + 1, '.');

	memset(kind, 0, sizeof(*kind));
	if (group == NULL ||
		!is_name(text, (size_t) (version - text), LONGEST_NAMESPACE, false) ||
		!is_name(version + 1, (size_t) (group - version - 1),
				 LONGEST_NAMESPACE, false) ||
		!is_name(group + 1, strlen(group + 1), LONGEST_NAME, true))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_kind",
							"kind must be Deployment, StatefulSet, ReplicaSet "
							"or PLURAL.VERSION.GROUP of another resource, as "
							"in rollouts.v1alpha1.argoproj.io");
	kind->plural = qs_arena_strndup(arena, text, (size_t) (version - text));
	kind->version = qs_arena_strndup(arena, version + 1,
									 (size_t) (group - version - 1));
	kind->group = group + 1;
	return (kind->plural != NULL && kind->version != NULL) ||
		qs_kubernetes_no_memory(error);
}

static bool
read_kind(QsArena *arena, const char *text, QsKubernetesKind *kind,
		  QsError *error)
{
	if (text == NULL)
		text = kinds[0].kind;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kinds[i].kind, text) == 0)
		{
			*kind = kinds[i];
			return true;
		}
	return read_resource(arena, text, kind, error);
}

bool
qs_kubernetes_recognise(QsArena *arena, QsTarget *target, QsError *error)
{
	QsKubernetesTarget *ours = target->provided;
	const char *slash;

	qs_error_clear(error);
	if (ours != NULL)
		return true;
	ours = qs_arena_alloc(arena, sizeof(*ours));
	if (ours == NULL)
		return qs_kubernetes_no_memory(error);
	ours->replicas = QS_UNKNOWN;
	slash = target->asg_id == NULL ? NULL : strchr(target->asg_id, '/');
	if (slash == NULL ||
		!is_name(target->asg_id, (size_t) (slash - target->asg_id),
				 LONGEST_NAMESPACE, false) ||
		!is_name(slash + 1, strlen(slash + 1), LONGEST_NAME, true))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_asg_id",
							"asg_id must be NAMESPACE/NAME of the object");
	if (!read_kind(arena, target->kind, &ours->kind, error))
		return false;
	ours->namespace = qs_arena_strndup(arena, target->asg_id,
									   (size_t) (slash - target->asg_id));
	ours->name = slash + 1;
	ours->collection = qs_arena_printf(arena, "/apis/%s/%s/namespaces/%.*s/%s",
									   ours->kind.group, ours->kind.version,
									   (int) (slash - target->asg_id),
									   target->asg_id, ours->kind.plural);
	if (ours->namespace == NULL || ours->collection == NULL)
		return qs_kubernetes_no_memory(error);
	target->provided = ours;
	return true;
}

/* ----------
 * Calls
 * ----------
 */

/* Token and type of the request; the token is the account's own copy. */
static bool
qs_kubernetes_sign(QsArena *arena, QsCall *call, int64_t now_us,
				   QsError *error)
{
	const char *token = call->account->credentials.authorization;
	QsHttpHeader *headers = qs_arena_alloc_array(arena, 3, sizeof(*headers));
	int			n = 0;

	qs_error_clear(error);
	if (headers == NULL)
		return qs_kubernetes_no_memory(error);
	headers[n++] = (QsHttpHeader) {"Accept", "application/json"};
	if (call->request.body != NULL)
		headers[n++] = (QsHttpHeader) {"Content-Type",
			"application/merge-patch+json"};
	if (token[0] != '\0')
		headers[n++] = (QsHttpHeader) {"Authorization", token};
	call->request.headers = headers;
	call->request.n_headers = n;
	return true;
}

/* NULL: the arena is exhausted. */
static char *
url_of(QsArena *arena, const char *endpoint, const char *path,
	   const char *more)
{
	size_t		length = strlen(endpoint);

	while (length > 0 && endpoint[length - 1] == '/')
		length--;
	return qs_arena_printf(arena, "%.*s%s%s", (int) length, endpoint, path,
						   more);
}

QsKubernetesCall *
qs_kubernetes_get(QsArena *arena, const QsBatch *batch, QsCallKind kind,
				  QsKubernetesQuestion question, const char *path,
				  QsTarget **targets, int n_targets, QsError *error)
{
	QsKubernetesCall *call = qs_arena_alloc(arena, sizeof(*call));
	const char *endpoint = batch->account->endpoint;

	qs_error_clear(error);
	if (endpoint == NULL || endpoint[0] == '\0')
	{
		qs_error_set(error, QS_ERROR_TERMINAL, "no_endpoint",
					 "the account has no endpoint, the address of its API "
					 "server");
		return NULL;
	}
	if (call == NULL || path == NULL || targets == NULL ||
		!qs_call_init(arena, &call->base, batch, kind, targets, n_targets))
	{
		qs_kubernetes_no_memory(error);
		return NULL;
	}
	call->question = question;
	call->path = path;
	call->base.request.method = "GET";
	call->base.request.url = url_of(arena, endpoint, path, "");
	if (call->base.request.url == NULL)
	{
		qs_kubernetes_no_memory(error);
		return NULL;
	}
	return qs_kubernetes_sign(arena, &call->base, 0, error) ? call : NULL;
}

bool
qs_kubernetes_hand_on(QsArena *arena, QsCallList *list,
					  QsKubernetesCall *call, QsError *error)
{
	if (call == NULL)
		return false;
	return qs_call_list_add(arena, list, &call->base) ||
		qs_kubernetes_no_memory(error);
}

QsTarget **
qs_kubernetes_alone(QsArena *arena, QsTarget *target)
{
	QsTarget  **targets = qs_arena_alloc(arena, sizeof(QsTarget *));

	if (targets != NULL)
		targets[0] = target;
	return targets;
}

/* The same question at another place of its list. */
static QsKubernetesCall *
same_question(QsArena *arena, const QsKubernetesCall *call, const char *token,
			  QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	QsKubernetesCall *other = qs_kubernetes_get(arena, &batch,
												call->base.kind,
												call->question, call->path,
												call->base.targets,
												call->base.n_targets, error);
	char	   *escaped;

	if (other == NULL)
		return NULL;
	other->listed_anew = call->listed_anew;
	other->wanted = call->wanted;
	other->pods = call->pods;
	if (token == NULL)
		return other;
	escaped = qs_uri_escape(arena, token);
	if (escaped != NULL)
		escaped = qs_arena_printf(arena, "&continue=%s", escaped);
	if (escaped != NULL)
		other->base.request.url = url_of(arena, batch.account->endpoint,
										 call->path, escaped);
	if (escaped == NULL || other->base.request.url == NULL)
	{
		qs_kubernetes_no_memory(error);
		return NULL;
	}
	other->pages = call->pages + 1;
	return other;
}

bool
qs_kubernetes_next_page(QsArena *arena, QsKubernetesCall *call,
						const json_t *root, QsCallList *follow_up,
						QsKubernetesCall **next, QsError *error)
{
	const char *token = qs_json_text(qs_kubernetes_member(root, "metadata",
														  "continue", NULL));

	*next = NULL;
	if (token == NULL || token[0] == '\0')
		return true;
	if (call->pages >= QS_KUBERNETES_MOST_PAGES)
		return qs_error_set(error, QS_ERROR_RESOURCES, "too_many_pages",
							"more than %d pages of %s", call->pages,
							call->path);
	*next = same_question(arena, call, token, error);
	return qs_kubernetes_hand_on(arena, follow_up, *next, error);
}

bool
qs_kubernetes_list_anew(QsArena *arena, QsKubernetesCall *call,
						const QsHttpReply *reply, QsCallList *follow_up,
						QsKubernetesCall **first, QsError *error)
{
	if (reply->status != 410 || call->pages == 0 || call->listed_anew)
		return false;
	*first = same_question(arena, call, NULL, error);
	if (*first == NULL)
		return false;
	(*first)->listed_anew = true;
	return qs_kubernetes_hand_on(arena, follow_up, *first, error);
}

/* ----------
 * Entry points
 * ----------
 */

/* Sorts out what cannot be asked for; how many can. */
static int
recognise_all(QsArena *arena, const QsBatch *batch, QsTarget **known)
{
	int			n = 0;

	for (int i = 0; i < batch->n_targets; i++)
	{
		QsTarget   *target = batch->targets[i];
		QsError    *error = target->query != NULL ? &target->reading_error :
			&target->capacity_error;

		qs_target_forget(target);
		if (target->alb_id != NULL)
			qs_error_set(&target->load_error, QS_ERROR_TERMINAL, "no_load",
						 "Kubernetes tells no requests per second of a load "
						 "balancer");
		if (qs_kubernetes_recognise(arena, target, error))
			known[n++] = target;
	}
	return n;
}

static bool
observe_as(QsArena *arena, const QsBatch *batch, QsCallKind kind,
		   QsCallList *calls, QsError *error)
{
	size_t		n = (size_t) (batch->n_targets > 0 ? batch->n_targets : 0) + 1;
	QsTarget  **known = qs_arena_alloc_array(arena, n, sizeof(*known));

	qs_error_clear(error);
	if (known == NULL)
		return qs_kubernetes_no_memory(error);
	return qs_kubernetes_ask_objects(arena, batch, kind, known,
									 recognise_all(arena, batch, known),
									 calls, error);
}

static bool
kubernetes_observe(QsArena *arena, const QsBatch *batch, int metric_period_s,
				   int64_t now_us, QsCallList *calls, QsError *error)
{
	return observe_as(arena, batch, QS_CALL_CAPACITY, calls, error);
}

static bool
kubernetes_observe_signals(QsArena *arena, const QsBatch *batch,
						   int metric_period_s, int64_t now_us,
						   QsCallList *calls, QsError *error)
{
	return observe_as(arena, batch, QS_CALL_SIGNAL, calls, error);
}

static bool
parse_by_question(QsArena *arena, QsKubernetesCall *call,
				  const QsHttpReply *reply, QsCallList *follow_up,
				  QsError *error)
{
	switch (call->question)
	{
		case QS_KUBERNETES_OBJECT:
		case QS_KUBERNETES_LIST:
		case QS_KUBERNETES_SCALE:
			return qs_kubernetes_parse_object(arena, call, reply, follow_up,
											  error);
		case QS_KUBERNETES_WRITE:
			return qs_kubernetes_parse_write(arena, call, reply, error);
		case QS_KUBERNETES_TRIAL:
			return qs_kubernetes_parse_trial(arena, call, reply, error);
		case QS_KUBERNETES_AUTOSCALERS:
			return qs_kubernetes_parse_autoscalers(arena, call, reply,
												   follow_up, error);
		case QS_KUBERNETES_READY_PODS:
			return qs_kubernetes_parse_ready_pods(arena, call, reply,
												  follow_up, error);
		case QS_KUBERNETES_PODS:
		case QS_KUBERNETES_USAGE:
			return qs_kubernetes_parse_pods(arena, call, reply, follow_up,
											error);
	}
	return qs_error_set(error, QS_ERROR_TERMINAL, "unknown_call",
						"no such kind of call");
}

/* A reply that fails leads to nothing further. */
static bool
kubernetes_parse(QsArena *arena, QsCall *call, const QsHttpReply *reply,
				 int64_t now_us, QsCallList *follow_up, QsError *error)
{
	int			before = follow_up->n_calls;

	qs_error_clear(error);
	if (parse_by_question(arena, qs_kubernetes_call(call), reply, follow_up,
						  error))
		return true;
	follow_up->n_calls = before;
	return false;
}

/* What an earlier page of a list has said stays said. */
static void
kubernetes_abandon(QsCall *call, const QsError *error)
{
	QsCall		one = *call;

	if (qs_kubernetes_call(call)->question == QS_KUBERNETES_TRIAL)
	{
		call->targets[0]->tried = true;
		call->targets[0]->trial_error = qs_call_abandoned(error);
		return;
	}
	if (qs_kubernetes_call(call)->question != QS_KUBERNETES_LIST ||
		call->kind != QS_CALL_CAPACITY)
	{
		qs_call_charge(call, error);
		return;
	}
	one.n_targets = 1;
	for (int i = 0; i < call->n_targets; i++)
	{
		one.targets = &call->targets[i];
		if (!one.targets[0]->capacity.known)
			qs_call_charge(&one, error);
	}
}

/* An object that no page of a list named does not exist. */
static void
kubernetes_settle(QsTarget **targets, int n_targets)
{
	for (int i = 0; i < n_targets; i++)
	{
		QsTarget   *target = targets[i];

		if (!target->capacity.known &&
			target->capacity_error.class == QS_ERROR_NONE)
			qs_error_set(&target->capacity_error, QS_ERROR_TERMINAL,
						 "NotFound", "no %s \"%.150s\"",
						 target->kind != NULL ? target->kind : "Deployment",
						 target->asg_id != NULL ? target->asg_id : "");
	}
}

static const char *const kubernetes_signals[] = {"cpu", "memory", NULL};

/* A controller takes a new number while it still works on the old one. */
const QsProvider qs_provider_kubernetes = {
	.name = "kubernetes",
	.writes_while_busy = true,
	.has_no_regions = true,
	.observe = kubernetes_observe,
	.observe_signals = kubernetes_observe_signals,
	.signals = kubernetes_signals,
	.ask_in_service = qs_kubernetes_ask_in_service,
	.ask_activities = qs_kubernetes_ask_activities,
	.set_capacity = qs_kubernetes_set_capacity,
	.try_write = qs_kubernetes_try_write,
	.parse = kubernetes_parse,
	.sign = qs_kubernetes_sign,
	.abandon = kubernetes_abandon,
	.settle = kubernetes_settle,
};
