/*-------------------------------------------------------------------------
 * fuzz_kubernetes.c
 *		Any replies of an API server to any calls, pages and pods included:
 *		each target ends as known or with an error, and what is known makes
 *		sense.  Its texts, too: quantities, durations, selectors.
 *
 * Input: a line "KIND TARGETS OBJECT" (KIND: observe, pods, service, activities,
 * write; the first letter counts; OBJECT: 0 Deployments, 1 another resource),
 * then replies, parted by lines of "---": a line "STATUS", and the body.  What
 * is left unanswered in the end is given up.  A KIND of "text" reads the second
 * line as each of the texts.
 *-------------------------------------------------------------------------
 */
#define FUZZED_PROVIDER	qs_provider_kubernetes

#include "cloud_fuzz.h"

#include "cloud/quantity.h"
#include "cloud/selector.h"

#define MOST_CALLS		512
#define MOST_TARGETS	12

static const char parting[] = "\n---\n";
static const QsSignalQuery queries[] = {{.query = "cpu"}, {.query = "memory"}};

typedef struct Calls
{
	QsCall	   *calls[MOST_CALLS];
	int			n;
	int			next;
} Calls;

static void
add_calls(Calls *open, const QsCallList *list)
{
	for (int i = 0; i < list->n_calls; i++)
	{
		const QsCall *call = list->calls[i];

		PROMISE(call->n_targets > 0 && call->n_targets <= MOST_TARGETS);
		PROMISE(strncmp(call->request.url, "https://k/api", 13) == 0);
		PROMISE(strpbrk(call->request.url, " \"\\\n") == NULL);
		PROMISE(call->request.n_headers > 0);
		if (open->n < MOST_CALLS)
			open->calls[open->n++] = list->calls[i];
	}
}

static void
check_pod(const QsPod *pod)
{
	PROMISE(isfinite(pod->usage) && (pod->usage >= 0 || pod->usage == -1));
	PROMISE(isfinite(pod->request) && pod->request >= 0);
	PROMISE((pod->usage < 0) == (pod->sampled_at == QS_NEVER));
	PROMISE(pod->window_us >= 0);
}

static void
check_reading(const QsTarget *target)
{
	const QsReading *reading = &target->reading;

	if (target->reading_error.class != QS_ERROR_NONE)
	{
		PROMISE(reading->state == QS_READING_UNKNOWN);
		check_refusal(&target->reading_error);
		return;
	}
	PROMISE(reading->state == QS_READING_KNOWN ||
			reading->state == QS_READING_EMPTY);
	PROMISE((reading->state == QS_READING_KNOWN) == (reading->n_pods > 0));
	for (int i = 0; i < reading->n_pods; i++)
		check_pod(&reading->pods[i]);
}

static void
check_capacity(const QsTarget *target)
{
	const QsCapacity *c = &target->capacity;

	PROMISE(c->known == (target->capacity_error.class == QS_ERROR_NONE));
	if (!c->known)
	{
		check_refusal(&target->capacity_error);
		return;
	}
	PROMISE(c->desired >= 0 && c->desired <= QS_MAX_INSTANCES);
	PROMISE(c->total >= 0 && c->total <= QS_MAX_INSTANCES);
	PROMISE(c->in_service >= QS_UNKNOWN && c->in_service <= QS_MAX_INSTANCES);
	PROMISE(c->min == 0 && c->max == QS_MAX_INSTANCES);
}

static void
check_target(char kind, const QsTarget *target)
{
	if (kind == 'o')
		check_capacity(target);
	else if (kind == 'p')
		check_reading(target);
	else if (kind == 's')
		PROMISE((target->capacity.in_service == QS_UNKNOWN) ==
				(target->in_service_error.class != QS_ERROR_NONE));
	else if (kind == 'a')
		PROMISE(target->activity.known ||
				target->activity_error.class != QS_ERROR_NONE);
	else
	{
		PROMISE(target->set_accepted ==
				(target->set_error.class == QS_ERROR_NONE));
		PROMISE(is_clean_text(target->set_request_id));
	}
}

/* An object has been read before anything else is asked about it. */
static void
read_object(Cloud *cloud, bool custom)
{
	static const char object[] = "{\"metadata\":{\"name\":\"scg-0\","
		"\"resourceVersion\":\"7\"},\"spec\":{\"replicas\":2,\"selector\":"
		"{\"matchLabels\":{\"app\":\"web\"}}},\"status\":{}}";
	static const char scale[] = "{\"kind\":\"Scale\",\"metadata\":{\"name\":"
		"\"scg-0\",\"resourceVersion\":\"7\"},\"spec\":{\"replicas\":2},"
		"\"status\":{\"replicas\":2,\"selector\":\"app=web\"}}";
	QsBatch		one = cloud->batch;
	QsCallList	calls = {0};
	QsCallList	more = {0};
	QsError		error;
	QsHttpReply reply = {.status = 200, .content_type = "",
		.body = custom ? scale : object, .retry_after_ms = -1,
	.date_epoch_s = -1};

	reply.body_length = strlen(reply.body);
	one.n_targets = 1;
	PROMISE(provider->observe(cloud->arena, &one, 300, NOW_US, &calls,
							  &error));
	PROMISE(calls.n_calls == 1);
	PROMISE(provider->parse(cloud->arena, calls.calls[0], &reply, NOW_US,
							&more, &error));
}

static void
ask(Cloud *cloud, char kind, bool custom, Calls *open)
{
	QsTarget   *target = cloud->list[0];
	QsCallList	calls = {0};
	QsCall	   *call = NULL;
	QsError		error;

	if (kind == 'o')
		PROMISE(provider->observe(cloud->arena, &cloud->batch, 300, NOW_US,
								  &calls, &error));
	else if (kind == 'p')
		PROMISE(provider->observe_signals(cloud->arena, &cloud->batch, 300,
										  NOW_US, &calls, &error));
	else
	{
		read_object(cloud, custom);
		target->capacity.in_service = QS_UNKNOWN;
		if (kind == 's')
			call = provider->ask_in_service(cloud->arena, &cloud->batch,
											target, NOW_US, &error);
		else if (kind == 'a')
			call = provider->ask_activities(cloud->arena, &cloud->batch,
											target, NOW_US, &error);
		else
			call = provider->set_capacity(cloud->arena, &cloud->batch, target,
										  7, NOW_US, &error);
		PROMISE(call != NULL &&
				qs_call_list_add(cloud->arena, &calls, call));
	}
	add_calls(open, &calls);
}

static void
answer(Cloud *cloud, Calls *open, Lines *lines)
{
	const char *end = memmem(lines->at, lines->left, parting,
							 sizeof(parting) - 1);
	size_t		length = end ? (size_t) (end - lines->at) : lines->left;
	Lines		mine = {lines->at, length};
	char	   *head = next_line(&mine);
	char	   *cursor = head;
	int			status = (int) (next_number(&cursor) & 0x7fff) % 600;
	char	   *body = text_of(mine.at, mine.left);
	QsHttpReply reply = {
		.status = status < 100 ? 200 : status,
		.content_type = "",
		.body = body,
		.body_length = mine.left,
		.retry_after_ms = -1,
		.date_epoch_s = -1,
	};
	QsCall	   *call = open->calls[open->next++];
	QsCallList	follow_up = {0};
	QsError		error;

	if (!provider->parse(cloud->arena, call, &reply, NOW_US, &follow_up,
						 &error))
	{
		check_refusal(&error);
		PROMISE(follow_up.n_calls == 0);
		PROMISE(call->kind != QS_CALL_SET_CAPACITY || status != 409 ||
				(error.class == QS_ERROR_CONFLICT && error.refused));
		provider->abandon(call, &error);
	}
	add_calls(open, &follow_up);
	free(body);
	free(head);
	if (end != NULL)
		length += sizeof(parting) - 1;
	lines->at += length;
	lines->left -= length;
}

static void
read_texts(Lines *lines)
{
	QsArena    *arena = qs_arena_new((size_t) 256 * 1024);
	char	   *text = text_of(lines->at, lines->left);
	double		value = 0;
	int64_t		us = 0;
	QsSelector	selector;
	QsSelector	again;

	PROMISE(arena != NULL);
	if (qs_quantity_parse(text, &value))
		PROMISE(isfinite(value) && fabs(value) <= 9.3e18);
	if (qs_duration_parse(text, &us))
		PROMISE(us >= 0);
	if (qs_selector_parse(arena, text, &selector) && selector.n > 0)
	{
		char	   *written = qs_selector_text(arena, &selector);

		PROMISE(written == NULL ||
				!qs_selector_parse(arena, written, &again) ||
				again.n == selector.n);
		PROMISE(written == NULL || qs_selector_parse(arena, written, &again) ||
				qs_arena_used(arena) > 100 * 1024);
	}
	free(text);
	qs_arena_free(arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	char	   *first = next_line(&lines);
	char	   *cursor = first + strcspn(first, " ");
	char		kind = first[0];
	int			n = (int) (next_number(&cursor) & 0xffff) % MOST_TARGETS + 1;
	bool		custom = next_number(&cursor) % 2 != 0;
	Cloud	   *cloud;
	Calls		open = {.n = 0};
	QsError		given_up;

	if (kind == 't')
	{
		read_texts(&lines);
		free(first);
		return 0;
	}
	if (strchr("opsaw", kind) == NULL || kind == '\0')
		kind = "opsaw"[(unsigned char) kind % 5];
	cloud = cloud_new(n, (size_t) 16 * 1024 * 1024);
	cloud->account.endpoint = "https://k";
	snprintf(cloud->account.credentials.authorization, 64, "Bearer %s", TOKEN);
	for (int i = 0; i < n; i++)
	{
		QsTarget   *target = &cloud->targets[i];

		/* two by two on one object, where it is about pods */
		snprintf(cloud->names[i][1], 16, "ns/scg-%d", kind == 'p' ? i / 2 : i);
		target->alb_id = NULL;
		target->kind = custom ? "workers.v1.example.com" : NULL;
		target->query = kind == 'p' ? &queries[i % 2] : NULL;
	}
	ask(cloud, kind, custom, &open);
	while (lines.left > 0 && open.next < open.n)
		answer(cloud, &open, &lines);
	qs_error_clear(&given_up);
	qs_error_set(&given_up, QS_ERROR_TRANSIENT, "deadline", "given up");
	while (open.next < open.n)
		provider->abandon(open.calls[open.next++], &given_up);
	if (kind == 'o')
		provider->settle(cloud->list, n);
	for (int i = 0; i < (kind == 'o' || kind == 'p' ? n : 1); i++)
		check_target(kind, &cloud->targets[i]);
	cloud_free(cloud);
	free(first);
	return 0;
}
