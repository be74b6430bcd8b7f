/*-------------------------------------------------------------------------
 * kubernetes_pods.c
 *		What the pods of scaled objects use of CPU and memory.
 *
 * Two lists make it: the pods (what they request, whether they are ready) and
 * their samples (metrics.k8s.io).  Where one object is asked for, the server
 * selects its pods; where many of a namespace are, all pods come once and are
 * matched here.  Which pod counts, and how, is core/utilization.c's business.
 *-------------------------------------------------------------------------
 */
#include "cloud/kubernetes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/quantity.h"
#include "cloud/timestamp.h"
#include "cloud/signing.h"

enum
{
	CPU,
	MEMORY,
	RESOURCES
};

static const char *const resource_names[RESOURCES] = {"cpu", "memory"};

/* One pod, as its list says; usage is still to come. */
typedef struct Pod
{
	const char *name;
	double		requests[RESOURCES];
	QsPod		shared;			/* what does not depend on the resource */
} Pod;

typedef struct Sample
{
	const char *name;			/* of the pod */
	double		usage[RESOURCES];	/* < 0: not said */
	int64_t		at;
	int64_t		window_us;
} Sample;

/* Pointers that grow in the arena. */
typedef struct PointerList
{
	void	  **items;
	int			n;
	int			capacity;
} PointerList;

/* A scaled object, of which several signals may be wanted. */
typedef struct Owner
{
	QsTarget  **targets;
	int			n_targets;
	const QsSelector *selector; /* NULL: the server has selected */
	PointerList pods;
} Owner;

typedef struct QsKubernetesPods
{
	Owner	   *owners;
	int			n_owners;
	PointerList samples;
	int			open_lists;		/* of the two */
} QsKubernetesPods;

static bool
add_pointer(QsArena *arena, PointerList *list, void *item)
{
	if (list->n >= list->capacity)
	{
		int			capacity = list->capacity > 0 ? 2 * list->capacity : 16;
		void	  **items = qs_arena_alloc_array(arena, (size_t) capacity,
												 sizeof(*items));

		if (items == NULL)
			return false;
		if (list->n > 0)
			memcpy(items, list->items, (size_t) list->n * sizeof(*items));
		list->items = items;
		list->capacity = capacity;
	}
	list->items[list->n++] = item;
	return true;
}

/* ----------
 * Asking
 * ----------
 */

/* Targets of one object stand side by side. */
static void
find_owners(QsKubernetesPods *pods, QsTarget **targets, int n_targets,
			bool selected)
{
	for (int i = 0; i < n_targets; i++)
	{
		Owner	   *owner = &pods->owners[pods->n_owners];

		if (pods->n_owners > 0 &&
			strcmp(owner[-1].targets[0]->asg_id, targets[i]->asg_id) == 0)
		{
			owner[-1].n_targets++;
			continue;
		}
		owner->targets = &targets[i];
		owner->n_targets = 1;
		if (!selected)
			owner->selector = &qs_kubernetes_provided(targets[i])->selector;
		pods->n_owners++;
	}
}

static bool
ask_list(QsArena *arena, const QsBatch *batch, QsKubernetesQuestion question,
		 const char *api, const char *selected, QsTarget **targets,
		 int n_targets, QsKubernetesPods *pods, QsCallList *calls,
		 QsError *error)
{
	char	   *path = qs_arena_printf(arena, "%s/namespaces/%s/pods?limit="
									   QS_KUBERNETES_PAGE "%s", api,
									   qs_kubernetes_provided(targets[0])->namespace,
									   selected);
	QsKubernetesCall *call = qs_kubernetes_get(arena, batch, QS_CALL_SIGNAL,
											   question, path, targets,
											   n_targets, error);

	if (call == NULL)
		return false;
	call->pods = pods;
	return qs_kubernetes_hand_on(arena, calls, call, error);
}

/* "&labelSelector=...", or "" for all; NULL: the arena is exhausted. */
static const char *
selection(QsArena *arena, const QsSelector *selector)
{
	char	   *text;

	if (selector == NULL)
		return "";
	text = qs_selector_text(arena, selector);
	if (text != NULL)
		text = qs_uri_escape(arena, text);
	return text == NULL ? NULL : qs_arena_printf(arena, "&labelSelector=%s",
												 text);
}

static void
say_no_selector(QsTarget **targets, int n_targets)
{
	for (int i = 0; i < n_targets; i++)
		qs_error_set(&targets[i]->reading_error, QS_ERROR_TERMINAL,
					 "no_selector",
					 "the object does not say which pods are its own");
}

bool
qs_kubernetes_ask_pods(QsArena *arena, const QsBatch *batch,
					   QsTarget **targets, int n_targets,
					   const QsSelector *selector, QsCallList *calls,
					   QsError *error)
{
	QsKubernetesPods *pods = qs_arena_alloc(arena, sizeof(*pods));
	const char *selected = selection(arena, selector);

	if (selector != NULL && selector->n == 0)
	{
		say_no_selector(targets, n_targets);
		return true;
	}
	if (pods == NULL || selected == NULL)
		return qs_kubernetes_no_memory(error);
	pods->owners = qs_arena_alloc_array(arena, (size_t) n_targets + 1,
										sizeof(Owner));
	if (pods->owners == NULL)
		return qs_kubernetes_no_memory(error);
	find_owners(pods, targets, n_targets, selector != NULL);
	pods->open_lists = 2;
	return ask_list(arena, batch, QS_KUBERNETES_PODS, "/api/v1", selected,
					targets, n_targets, pods, calls, error) &&
		ask_list(arena, batch, QS_KUBERNETES_USAGE,
				 "/apis/metrics.k8s.io/v1beta1", selected, targets,
				 n_targets, pods, calls, error);
}

/* ----------
 * Pods
 * ----------
 */
static const json_t *
ready_condition(const json_t *pod)
{
	json_t	   *conditions = qs_kubernetes_member(pod, "status", "conditions",
												  NULL);
	size_t		i;
	json_t	   *condition;

	json_array_foreach(conditions, i, condition)
		if (qs_json_equals(json_object_get(condition, "type"), "Ready"))
			return condition;
	return NULL;
}

bool
qs_kubernetes_pod_is_ready(const json_t *pod)
{
	return qs_json_equals(json_object_get(ready_condition(pod), "status"),
						  "True") &&
		qs_kubernetes_member(pod, "metadata", "deletionTimestamp",
							 NULL) == NULL;
}

static int64_t
read_time(const json_t *value)
{
	const char *text = qs_json_text(value);
	int64_t		at;

	return text != NULL && qs_timestamp_parse(text, &at) ? at : QS_NEVER;
}

/* Of "requests" or "usage"; < 0 where it is not said. */
static double
read_amount(const json_t *amounts, int resource)
{
	double		value;

	return qs_quantity_parse(qs_json_text(json_object_get(amounts,
														  resource_names[resource])),
							 &value) && value >= 0 ? value : -1;
}

/* Amounts are thousandths, of which a sum of doubles is a little off. */
static double
thousandths(double sum)
{
	return round(sum * 1000) / 1000;
}

/* Adds what containers request, of init containers those that go on running:
 * false where one requests nothing. */
static bool
add_requests(const json_t *containers, bool init, int resource, double *sum)
{
	size_t		i;
	json_t	   *container;

	json_array_foreach(containers, i, container)
	{
		double		request;

		if (init && !qs_json_equals(json_object_get(container, "restartPolicy"),
									"Always"))
			continue;
		request = read_amount(qs_kubernetes_member(container, "resources",
												   "requests", NULL),
							  resource);
		if (request < 0)
			return false;
		*sum += request;
	}
	return true;
}

/* Of the pod, where it has a request of its own, else of its containers. */
static double
read_request(const json_t *spec, int resource)
{
	double		whole = read_amount(qs_kubernetes_member(spec, "resources",
														 "requests", NULL),
									resource);
	double		sum = 0;

	if (whole >= 0)
		return whole;
	return add_requests(json_object_get(spec, "containers"), false, resource,
						&sum) &&
		add_requests(json_object_get(spec, "initContainers"), true, resource,
					 &sum) ? thousandths(sum) : 0;
}

static Pod *
read_pod(QsArena *arena, const json_t *item)
{
	const char *name = qs_json_text(qs_kubernetes_member(item, "metadata",
														 "name", NULL));
	const json_t *status = json_object_get(item, "status");
	const json_t *phase = json_object_get(status, "phase");
	const json_t *ready = ready_condition(item);
	Pod		   *pod = qs_arena_alloc(arena, sizeof(*pod));

	if (pod == NULL)
		return NULL;
	pod->name = qs_arena_strdup(arena, name == NULL ? "" : name);
	for (int i = 0; i < RESOURCES; i++)
		pod->requests[i] = read_request(json_object_get(item, "spec"), i);
	pod->shared.started_at = read_time(json_object_get(status, "startTime"));
	pod->shared.ready_changed_at =
		read_time(json_object_get(ready, "lastTransitionTime"));
	pod->shared.ready = qs_json_equals(json_object_get(ready, "status"),
									   "True");
	pod->shared.pending = qs_json_equals(phase, "Pending");
	pod->shared.gone = qs_json_equals(phase, "Failed") ||
		qs_kubernetes_member(item, "metadata", "deletionTimestamp",
							 NULL) != NULL;
	return pod->name == NULL ? NULL : pod;
}

static bool
take_pod(QsArena *arena, QsKubernetesPods *pods, const json_t *item)
{
	const json_t *labels = qs_kubernetes_member(item, "metadata", "labels",
												NULL);
	Pod		   *pod = NULL;

	for (int i = 0; i < pods->n_owners; i++)
	{
		Owner	   *owner = &pods->owners[i];

		if (owner->selector != NULL &&
			!qs_selector_matches(owner->selector, labels))
			continue;
		if (pod == NULL)
			pod = read_pod(arena, item);
		if (pod == NULL || !add_pointer(arena, &owner->pods, pod))
			return false;
	}
	return true;
}

/* ----------
 * Samples
 * ----------
 */

/* A pod one of whose containers has no sample has none. */
static double
sum_usage(const json_t *containers, int resource)
{
	double		sum = 0;
	size_t		i;
	json_t	   *container;

	json_array_foreach(containers, i, container)
	{
		double		usage = read_amount(json_object_get(container, "usage"),
										resource);

		if (usage < 0)
			return -1;
		sum += usage;
	}
	return i > 0 ? thousandths(sum) : -1;
}

static bool
take_sample(QsArena *arena, QsKubernetesPods *pods, const json_t *item)
{
	const char *name = qs_json_text(qs_kubernetes_member(item, "metadata",
														 "name", NULL));
	const char *window = qs_json_text(json_object_get(item, "window"));
	Sample	   *sample = qs_arena_alloc(arena, sizeof(*sample));

	if (name == NULL)
		return true;
	if (sample == NULL ||
		(sample->name = qs_arena_strdup(arena, name)) == NULL)
		return false;
	for (int i = 0; i < RESOURCES; i++)
		sample->usage[i] = sum_usage(json_object_get(item, "containers"), i);
	sample->at = read_time(json_object_get(item, "timestamp"));
	if (sample->at == QS_NEVER ||
		!qs_duration_parse(window, &sample->window_us))
		return true;
	return add_pointer(arena, &pods->samples, sample);
}

/* ----------
 * Both
 * ----------
 */
static int
by_name(const void *a, const void *b)
{
	return strcmp((*(Sample *const *) a)->name, (*(Sample *const *) b)->name);
}

static const Sample *
find_sample(const QsKubernetesPods *pods, const char *name)
{
	int			low = 0;
	int			high = pods->samples.n - 1;

	while (low <= high)
	{
		int			middle = low + (high - low) / 2;
		const Sample *sample = pods->samples.items[middle];
		int			order = strcmp(name, sample->name);

		if (order == 0)
			return sample;
		if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return NULL;
}

static QsPod
join(const Pod *pod, const Sample *sample, int resource)
{
	QsPod		joined = pod->shared;

	joined.request = pod->requests[resource];
	joined.usage = -1;
	joined.sampled_at = QS_NEVER;
	if (sample != NULL && sample->usage[resource] >= 0)
	{
		joined.usage = sample->usage[resource];
		joined.sampled_at = sample->at;
		joined.window_us = sample->window_us;
	}
	return joined;
}

/*
 * One signal of one object.  Where no pod has a sample nothing is known: not
 * that nothing is used.
 */
static bool
tell(QsArena *arena, const QsKubernetesPods *pods, const Owner *owner,
	 QsTarget *target, QsError *error)
{
	int			resource = strcmp(target->query->query,
								  resource_names[MEMORY]) == 0 ? MEMORY : CPU;
	QsReading  *reading = &target->reading;
	QsPod	   *joined = qs_arena_alloc_array(arena,
											  (size_t) owner->pods.n + 1,
											  sizeof(QsPod));

	if (joined == NULL)
		return qs_kubernetes_no_memory(error);
	memset(reading, 0, sizeof(*reading));
	reading->at_us = QS_NEVER;
	for (int i = 0; i < owner->pods.n; i++)
	{
		const Pod  *pod = owner->pods.items[i];

		joined[i] = join(pod, find_sample(pods, pod->name), resource);
		if (joined[i].sampled_at > reading->at_us)
			reading->at_us = joined[i].sampled_at;
	}
	qs_error_clear(&target->reading_error);
	reading->state = QS_READING_EMPTY;
	if (reading->at_us == QS_NEVER)
		return true;
	reading->state = QS_READING_KNOWN;
	reading->pods = joined;
	reading->n_pods = owner->pods.n;
	reading->is_memory = resource == MEMORY;
	return true;
}

static bool
tell_all(QsArena *arena, QsKubernetesPods *pods, QsError *error)
{
	if (pods->samples.n > 1)
		qsort(pods->samples.items, (size_t) pods->samples.n, sizeof(void *),
			  by_name);
	for (int i = 0; i < pods->n_owners; i++)
		for (int j = 0; j < pods->owners[i].n_targets; j++)
			if (!tell(arena, pods, &pods->owners[i],
					  pods->owners[i].targets[j], error))
				return false;
	return true;
}

static bool
parse_page(QsArena *arena, QsKubernetesCall *call, const json_t *root,
		   QsCallList *follow_up, QsError *error)
{
	json_t	   *items = json_object_get(root, "items");
	QsKubernetesCall *next;
	size_t		i;
	json_t	   *item;

	if (!json_is_array(items) && !json_is_null(items))
		return qs_kubernetes_malformed("the reply is not a list", error);
	json_array_foreach(items, i, item)
		if (!(call->question == QS_KUBERNETES_PODS ?
			  take_pod(arena, call->pods, item) :
			  take_sample(arena, call->pods, item)))
			return qs_kubernetes_no_memory(error);
	if (!qs_kubernetes_next_page(arena, call, root, follow_up, &next, error))
		return false;
	if (next != NULL || --call->pods->open_lists > 0)
		return true;
	return tell_all(arena, call->pods, error);
}

/* A list that begins anew takes back what its first pages said. */
static void
forget_pages(QsKubernetesCall *call)
{
	if (call->question == QS_KUBERNETES_USAGE)
		call->pods->samples.n = 0;
	else
		for (int i = 0; i < call->pods->n_owners; i++)
			call->pods->owners[i].pods.n = 0;
}

bool
qs_kubernetes_parse_pods(QsArena *arena, QsKubernetesCall *call,
						 const QsHttpReply *reply, QsCallList *follow_up,
						 QsError *error)
{
	QsKubernetesCall *first;
	json_t	   *root;
	bool		ok;

	if (qs_kubernetes_list_anew(arena, call, reply, follow_up, &first, error))
	{
		forget_pages(call);
		return true;
	}
	root = qs_kubernetes_read(arena, call, reply, error);
	if (root == NULL)
		return false;
	ok = parse_page(arena, call, root, follow_up, error);
	json_decref(root);
	return ok;
}
