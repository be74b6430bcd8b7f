/*-------------------------------------------------------------------------
 * cloud_replies.h
 *		Any replies to any calls of a provider, follow-ups and repetitions
 *		included: each group ends as known or with an error, and what is known
 *		makes sense.
 *
 * Input: a line "KIND GROUPS LISTED PERIOD MEMORY-KB SKEW" (KIND: observe, load
 * (only groups with a load balancer are there), service, activities, write;
 * the first letter counts), then replies, parted by lines of "---": a line
 * "STATUS RETRY-AFTER-MS DATE-OFFSET CONTENT-TYPE", and the body.  What
 * is left unanswered in the end is given up.
 *-------------------------------------------------------------------------
 */
#ifndef CLOUD_REPLIES_H
#define CLOUD_REPLIES_H

#include "cloud_fuzz.h"

#define MOST_CALLS		1024
#define MOST_ATTEMPTS	3

static const char parting[] = "\n---\n";

typedef struct Pending
{
	QsCall	   *calls[MOST_CALLS];
	int			attempts[MOST_CALLS];
	int			n;
	int			next;
} Pending;

static void
add_calls(Pending *pending, const QsCallList *list)
{
	for (int i = 0; i < list->n_calls; i++)
	{
		const QsCall *call = list->calls[i];

		PROMISE(pending->n < MOST_CALLS);
		PROMISE(call->n_targets > 0 && call->n_targets <= MOST_GROUPS);
		PROMISE(call->request.url != NULL && call->request.n_headers > 0);
		pending->attempts[pending->n] = 0;
		pending->calls[pending->n++] = list->calls[i];
	}
}

static void
check_load(const QsTarget *target)
{
	const QsLoad *load = &target->load;

	if (!load->known)
		return;
	PROMISE(target->load_error.class == QS_ERROR_NONE);
	PROMISE(isfinite(load->mean_qps) && load->mean_qps >= 0 &&
			load->mean_qps <= 1e15);
	PROMISE(load->newest_qps >= 0 && load->newest_qps <= 1e15);
	PROMISE(load->points > 0 && load->points <= load->expected_points);
	PROMISE(llabs(load->newest_end_us - NOW_US) <=
			INT64_C(70) * 86400 * 1000000);
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
	PROMISE(c->desired >= -1 && c->desired <= QS_MAX_INSTANCES);
	PROMISE(c->total >= 0 && c->total <= QS_MAX_INSTANCES);
	PROMISE(c->min >= 0 && c->min <= c->max && c->max <= QS_MAX_INSTANCES);
	PROMISE(c->in_service >= QS_UNKNOWN &&
			c->in_service <= 2 * QS_MAX_INSTANCES);
}

static void
check_activity(const QsTarget *target)
{
	const QsCloudActivity *a = &target->activity;

	PROMISE(a->asked);
	PROMISE(a->known == (target->activity_error.class == QS_ERROR_NONE));
	if (!a->known)
		return;
	PROMISE(a->last_any_at <= NOW_US);
	PROMISE(a->last_scale_up_at <= a->last_any_at);
	PROMISE(a->last_scale_down_at <= a->last_any_at);
}

static void
check_in_service(const QsTarget *target)
{
	PROMISE((target->capacity.in_service == QS_UNKNOWN) ==
			(target->in_service_error.class != QS_ERROR_NONE));
	PROMISE(target->capacity.in_service >= -1 &&
			target->capacity.in_service <= 2 * QS_MAX_INSTANCES);
}

static void
check_write(const QsTarget *target)
{
	PROMISE(target->set_accepted ==
			(target->set_error.class == QS_ERROR_NONE));
	PROMISE(is_clean_text(target->set_request_id));
}

/* The calls of a kind; true if they could be made. */
static bool
ask(Cloud *cloud, char kind, int period_s, Pending *pending)
{
	QsCallList	calls = {0};
	QsError		error;
	bool		ok = true;

	if (kind == 'o' || kind == 'l')
		ok = provider->observe(cloud->arena, &cloud->batch, period_s, NOW_US,
							   &calls, &error);
	else
	{
		QsTarget   *target = cloud->list[0];
		QsCall	   *call;

		if (kind == 's')
			call = provider->ask_in_service(cloud->arena, &cloud->batch,
											target, NOW_US, &error);
		else if (kind == 'a')
			call = provider->ask_activities(cloud->arena, &cloud->batch,
											target, NOW_US, &error);
		else
			call = provider->set_capacity(cloud->arena, &cloud->batch, target,
										  7, NOW_US, &error);
		ok = call != NULL &&
			qs_call_list_add(cloud->arena, &calls, call);
	}
	if (ok)
		add_calls(pending, &calls);
	return ok;
}

/* Parses one reply; the caller of a provider does the same. */
static void
answer(Cloud *cloud, Pending *pending, const QsHttpReply *reply)
{
	int			i = pending->next;
	QsCall	   *call = pending->calls[i];
	bool		success = reply->status >= 200 && reply->status < 300;
	QsCallList	follow_up = {0};
	QsError		error;
	bool		ok = provider->parse(cloud->arena, call, reply, NOW_US,
									 &follow_up, &error);

	PROMISE(llabs(cloud->memory.skew_s) <= 30 * 86400);
	PROMISE(cloud->memory.listed_total >= 0);
	if (!success && call->kind >= QS_CALL_IN_SERVICE)
		PROMISE(!ok);
	if (!success && ok && call->page == 0)
		PROMISE(follow_up.n_calls > 0);
	if (!ok)
	{
		check_refusal(&error);
		PROMISE(follow_up.n_calls == 0);
		if (qs_error_retryable(&error) &&
			++pending->attempts[i] < MOST_ATTEMPTS)
			return;
		provider->abandon(call, &error);
	}
	pending->next++;
	add_calls(pending, &follow_up);
}

/* Takes the next reply off the input. */
static void
next_reply(Cloud *cloud, Pending *pending, Lines *lines)
{
	const char *end = memmem(lines->at, lines->left, parting,
							 sizeof(parting) - 1);
	size_t		length = end ? (size_t) (end - lines->at) : lines->left;
	Lines		mine = {lines->at, length};
	char	   *head = next_line(&mine);
	char	   *cursor = head;
	int			status = (int) (next_number(&cursor) & 0x7fff) % 600;
	int64_t		retry_after_ms = next_number(&cursor) % 3600000;
	int64_t		offset = next_number(&cursor) % 10000000;
	char	   *body = text_of(mine.at, mine.left);
	QsHttpReply reply = {
		.status = status < 100 ? 200 : status,
		.content_type = cursor,
		.body = body,
		.body_length = mine.left,
		.retry_after_ms = retry_after_ms < 0 ? -1 : retry_after_ms,
		.date_epoch_s = offset == 0 ? -1 : NOW_S + offset,
	};

	answer(cloud, pending, &reply);
	free(body);
	free(head);
	if (end != NULL)
		length += sizeof(parting) - 1;
	lines->at += length;
	lines->left -= length;
}

static void
check_all(Cloud *cloud, char kind, int n)
{
	if (kind == 'o' || kind == 'l')
	{
		provider->settle(cloud->list, n);
		for (int i = 0; i < n; i++)
		{
			check_load(&cloud->targets[i]);
			check_capacity(&cloud->targets[i]);
		}
	}
	else if (kind == 's')
		check_in_service(cloud->list[0]);
	else if (kind == 'a')
		check_activity(cloud->list[0]);
	else
		check_write(cloud->list[0]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	char	   *first = next_line(&lines);
	char	   *cursor = first + strcspn(first, " ");
	char		kind = first[0];
	int			n = (int) (next_number(&cursor) & 0xffff) % MOST_GROUPS + 1;
	int			listed = (int) (next_number(&cursor) & 0x7fffffff);
	int			period_s = (int) (next_number(&cursor) & 0x7fffffff);
	int			memory_kb = (int) (next_number(&cursor) & 0xffff);
	int64_t		skew_s = next_number(&cursor) % (30 * 86400);
	Cloud	   *cloud;
	Pending		pending = {.n = 0};
	QsError		given_up;

	if (strchr("olsaw", kind) == NULL || kind == '\0')
		kind = "olsaw"[(unsigned char) kind % 5];
	cloud = cloud_new(n, (size_t) (memory_kb > 0 ? memory_kb : 8192) * 1024);
	cloud->memory.listed_total = listed;
	cloud->memory.probe = listed == 0 && n > 10;
	cloud->memory.skew_s = skew_s;
	if (kind == 's')
	{
		cloud->targets[0].capacity.known = true;
		cloud->targets[0].capacity.total = n;
	}
	for (int i = 0; i < n && kind == 'o'; i += 3)
		cloud->targets[i].alb_id = i % 2 ? NULL : "alb-0";

	if (ask(cloud, kind, period_s, &pending))
	{
		while (lines.left > 0 && pending.next < pending.n)
			next_reply(cloud, &pending, &lines);
		qs_error_set(&given_up, QS_ERROR_TRANSIENT, "deadline", "given up");
		while (pending.next < pending.n)
			provider->abandon(pending.calls[pending.next++], &given_up);
		check_all(cloud, kind, n);
	}
	cloud_free(cloud);
	free(first);
	return 0;
}

#endif							/* CLOUD_REPLIES_H */
