/*-------------------------------------------------------------------------
 * queue.c
 *		Who may go next: lanes, hosts, token buckets, deadlines, delays.
 *
 * Calls wait in lanes, one for each pair of host and token bucket, in order
 * of submission.  Among the lanes that may send, the one with the oldest call
 * goes first; so with a single host and bucket the whole is one plain queue,
 * and an exhausted bucket or a dead host stops nobody but its own callers.
 *
 * Every step costs O(log n); room in the heaps is reserved when a call or a
 * lane is made, so that nothing after that can fail.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/net_internal.h"

/* Names are kept from cycle to cycle; beyond this many, those that nobody
 * needs are forgotten when the queue is empty. */
#define MANY_NAMES 2048

/* Among so many calls of a lane a probe is chosen. */
#define MOST_PROBE_STEPS 1000

static size_t
slot_of(const char *name)
{
	uint32_t hash = 2166136261u; /* FNV-1a */

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char) *name) * 16777619u;
	return hash % QS_NAME_SLOTS;
}

/*
 * Finds the entry of that name or makes one of the given size, zeroed but
 * for its QsNamed part.
 */
static void *
find_or_make(QsNet *net, QsNamed **slots, const char *name, size_t size,
			 bool *is_new)
{
	QsNamed **slot = &slots[slot_of(name)];
	QsNamed *entry;

	*is_new = false;
	for (entry = *slot; entry != NULL; entry = entry->next)
		if (strcmp(entry->name, name) == 0)
			return entry;
	entry = calloc(1, size);
	if (entry == NULL)
		return NULL;
	entry->name = strdup(name);
	if (entry->name == NULL)
	{
		free(entry);
		return NULL;
	}
	entry->next = *slot;
	*slot = entry;
	net->n_names++;
	*is_new = true;
	return entry;
}

/*
 * Whatever the options say about the host.  A metadata service is meant only
 * where the URL gives its address: a name that leads there gains nothing.
 */
static void
apply_rules(const QsNet *net, QsHost *host)
{
	host->allowed = qs_allow_list_contains(net->allowed, host->url.host,
										   host->url.port);
	host->metadata = net->reach_metadata &&
		qs_address_class_of_text(host->url.host) == QS_ADDRESS_METADATA;
}

static QsHost *
find_host(QsNet *net, const QsUrl *url)
{
	char name[QS_MAX_HOST_BYTES + 32];
	QsHost *host;
	bool is_new;

	(void) snprintf(name, sizeof(name), "%s|%d|%s",
					url->https ? "https" : "http", url->port, url->host);
	host = find_or_make(net, net->hosts, name, sizeof(QsHost), &is_new);
	if (host != NULL && is_new)
	{
		host->url = *url;
		apply_rules(net, host);
	}
	return host;
}

static QsBucket *
find_bucket(QsNet *net, const QsNetLimits *limits)
{
	const char *name = limits->bucket ? limits->bucket : "";
	double rate = limits->bucket ? limits->rate_per_second : 0;
	QsBucket *bucket;
	bool is_new;

	bucket = find_or_make(net, net->buckets, name, sizeof(QsBucket), &is_new);
	if (bucket == NULL)
		return NULL;
	if (is_new)
		qs_token_bucket_init(&bucket->tokens, rate, limits->burst);
	else
		qs_token_bucket_set(&bucket->tokens, rate, limits->burst);
	return bucket;
}

/*
 * The lane for a call, made when it is the first of its kind.  The last one
 * used moves to the front of its bucket's list: callers come in runs.
 */
QsLane *
qs_queue_lane(QsNet *net, const QsUrl *url, const QsNetLimits *limits,
			  QsError *error)
{
	QsHost *host;
	QsBucket *bucket;
	QsLane *lane = NULL;
	QsLane **link;

	if (net->n_names > MANY_NAMES && net->pending == 0 && net->taken == NULL)
		qs_queue_forget(net);
	host = find_host(net, url);
	bucket = find_bucket(net, limits);
	if (host != NULL && bucket != NULL)
	{
		for (link = &bucket->lanes; *link != NULL;
			 link = &(*link)->next_of_bucket)
			if ((*link)->host == host)
				break;
		lane = *link;
		if (lane != NULL)
			*link = lane->next_of_bucket;
		else if (qs_priority_reserve(&net->ready, net->n_lanes + 1) &&
				 qs_priority_reserve(&net->paused, net->n_lanes + 1))
		{
			lane = calloc(1, sizeof(*lane));
			if (lane != NULL)
			{
				lane->host = host;
				lane->bucket = bucket;
				lane->ready.owner = lane->paused.owner = lane;
				net->n_lanes++;
			}
		}
	}
	if (lane == NULL)
	{
		qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
					 "out of memory for a request");
		return NULL;
	}
	lane->next_of_bucket = bucket->lanes;
	bucket->lanes = lane;
	return lane;
}

QsCall *
qs_queue_new_call(QsNet *net)
{
	QsCall *call = net->free_calls;

	if (call != NULL)
		net->free_calls = call->next;
	else
	{
		if (!qs_priority_reserve(&net->delays, net->n_calls + 1) ||
			!qs_priority_reserve(&net->expiries, net->n_calls + 1))
			return NULL;
		call = malloc(sizeof(*call));
		if (call == NULL)
			return NULL;
		net->n_calls++;
	}
	memset(call, 0, sizeof(*call));
	call->expiry.owner = call->delay.owner = call;
	return call;
}

void
qs_queue_free_call(QsNet *net, QsCall *call)
{
	free(call->detail);
	call->detail = NULL;
	if (call->reply != NULL)
	{
		/* A few idle buffers of ordinary size are worth keeping. */
		if (net->n_free_replies < net->max_in_flight &&
			call->reply->capacity <= 256 * 1024)
		{
			call->reply->next = net->free_replies;
			net->free_replies = call->reply;
			net->n_free_replies++;
		}
		else
		{
			free(call->reply->body);
			free(call->reply);
		}
		call->reply = NULL;
	}
	call->state = QS_CALL_FREE;
	call->next = net->free_calls;
	net->free_calls = call;
}

/* Takes the lane out of wherever it waits. */
static void
unplace(QsNet *net, QsLane *lane)
{
	qs_priority_remove(&net->ready, &lane->ready);
	qs_priority_remove(&net->paused, &lane->paused);
	if (lane->held)
	{
		QsLane **link = &lane->host->held;

		while (*link != NULL && *link != lane)
			link = &(*link)->next_held;
		if (*link == lane)
			*link = lane->next_held;
		lane->held = false;
	}
}

static void
make_ready(QsNet *net, QsLane *lane)
{
	qs_priority_push(&net->ready, &lane->ready, lane->first->sequence);
}

static void
enqueue(QsNet *net, QsCall *call, bool in_front)
{
	QsLane *lane = call->lane;
	bool was_empty = lane->first == NULL;

	call->state = QS_CALL_QUEUED;
	call->prev = in_front ? NULL : lane->last;
	call->next = in_front ? lane->first : NULL;
	if (call->next != NULL)
		call->next->prev = call;
	else
		lane->last = call;
	if (call->prev != NULL)
		call->prev->next = call;
	else
		lane->first = call;
	net->queued++;
	qs_priority_push(&net->expiries, &call->expiry, call->deadline_ms);
	if (was_empty || lane->ready.place != 0)
		make_ready(net, lane);
}

static void
dequeue(QsNet *net, QsCall *call)
{
	QsLane *lane = call->lane;
	bool was_first = lane->first == call;

	if (call->prev != NULL)
		call->prev->next = call->next;
	else
		lane->first = call->next;
	if (call->next != NULL)
		call->next->prev = call->prev;
	else
		lane->last = call->prev;
	call->next = call->prev = NULL;
	net->queued--;
	qs_priority_remove(&net->expiries, &call->expiry);
	if (lane->first == NULL)
		unplace(net, lane);
	else if (was_first && lane->ready.place != 0)
		make_ready(net, lane);
}

void
qs_queue_append(QsNet *net, QsCall *call)
{
	call->sequence = net->next_sequence++;
	enqueue(net, call, false);
}

/* Back to where qs_queue_take() found it, its token included. */
void
qs_queue_put_back(QsNet *net, QsCall *call)
{
	qs_token_bucket_give_back(&call->lane->bucket->tokens);
	enqueue(net, call, true);
}

void
qs_queue_delay(QsNet *net, QsCall *call, int64_t until_ms)
{
	call->state = QS_CALL_DELAYED;
	net->queued++;
	qs_priority_push(&net->delays, &call->delay, until_ms);
	qs_priority_push(&net->expiries, &call->expiry, call->deadline_ms);
}

void
qs_queue_wake_delayed(QsNet *net, int64_t now_ms)
{
	QsPriorityNode *node;

	while ((node = qs_priority_first(&net->delays)) != NULL &&
		   node->key <= now_ms)
	{
		QsCall *call = node->owner;

		qs_priority_remove(&net->delays, node);
		qs_priority_remove(&net->expiries, &call->expiry);
		net->queued--;
		enqueue(net, call, true);
	}
	while ((node = qs_priority_first(&net->paused)) != NULL &&
		   node->key <= now_ms)
	{
		QsLane *lane = node->owner;

		qs_priority_remove(&net->paused, node);
		make_ready(net, lane);
	}
}

static bool
host_is_full(const QsNet *net, const QsHost *host)
{
	if (!host->proven && host->running >= QS_UNPROVEN_CALLS)
		return true;

	/* Over HTTP/2 many calls share a connection, which is what is limited. */
	return net->max_per_host > 0 && !host->http2 &&
		host->running >= net->max_per_host;
}

/*
 * The lane's next call: its oldest, but any of them while the endpoint is
 * down, or one that always hangs would be its only probe for ever.
 */
static QsCall *
next_call(QsNet *net, const QsLane *lane)
{
	QsCall *call = lane->first;
	int steps = 0;

	if (!lane->congestion.down)
		return call;
	while (call->next != NULL && ++steps < MOST_PROBE_STEPS)
		call = call->next;
	steps = (int) (qs_net_random(net) % (uint64_t) (steps + 1));
	for (call = lane->first; steps > 0; steps--)
		call = call->next;
	return call;
}

static QsCall *
take(QsNet *net, QsCall *call)
{
	QsLane *lane = call->lane;

	dequeue(net, call);
	lane->host->running++;
	lane->congestion.running++;
	return call;
}

/*
 * The oldest call that may be sent now, with a token taken and a place at its
 * host; NULL when all have to wait.  One that would be sent in vain is given
 * out without a token: see qs_congestion_is_vain().
 */
QsCall *
qs_queue_take(QsNet *net, int64_t now_ms)
{
	QsPriorityNode *node;

	while ((node = qs_priority_first(&net->ready)) != NULL)
	{
		QsLane *lane = node->owner;

		if (qs_congestion_is_vain(&lane->congestion, net->busy_period))
			return take(net, lane->first);
		if (!qs_congestion_has_room(&lane->congestion))
		{
			/* until qs_queue_leave() */
			qs_priority_remove(&net->ready, node);
			continue;
		}
		if (host_is_full(net, lane->host))
		{
			qs_priority_remove(&net->ready, node);
			lane->held = true;
			lane->next_held = lane->host->held;
			lane->host->held = lane;
			continue;
		}
		if (!qs_token_bucket_take(&lane->bucket->tokens, now_ms))
		{
			qs_priority_remove(&net->ready, node);
			qs_priority_push(&net->paused, &lane->paused, now_ms + qs_token_bucket_wait_ms(&lane->bucket->tokens, now_ms));
			continue;
		}
		return take(net, next_call(net, lane));
	}
	return NULL;
}

static void
release_held(QsNet *net, QsHost *host)
{
	while (host->held != NULL)
	{
		QsLane *lane = host->held;

		host->held = lane->next_held;
		lane->held = false;
		make_ready(net, lane);
	}
}

/* A call that qs_queue_take() gave out does not need its place any more. */
void
qs_queue_leave(QsNet *net, QsLane *lane)
{
	QsHost *host = lane->host;

	lane->congestion.running--;
	host->running--;
	if (lane->first != NULL && lane->paused.place == 0 && !lane->held)
		make_ready(net, lane);
	if (host->held != NULL && !host_is_full(net, host))
		release_held(net, host);
}

void
qs_queue_host_proven(QsNet *net, QsHost *host)
{
	if (host->proven)
		return;
	host->proven = true;
	release_held(net, host);
}

static void
take_waiting(QsNet *net, QsCall *call)
{
	if (call->state == QS_CALL_QUEUED)
		dequeue(net, call);
	else
	{
		qs_priority_remove(&net->delays, &call->delay);
		qs_priority_remove(&net->expiries, &call->expiry);
		net->queued--;
	}
}

QsCall *
qs_queue_take_expired(QsNet *net, int64_t now_ms)
{
	QsPriorityNode *node = qs_priority_first(&net->expiries);

	if (node == NULL || node->key > now_ms)
		return NULL;
	take_waiting(net, node->owner);
	return node->owner;
}

/*
 * One waiting call that the caller does not want any more, or NULL.  Looks at
 * all of them: this is for rare events.
 */
QsCall *
qs_queue_take_unwanted(QsNet *net, bool (*unwanted)(void *context, void *tag),
					   void *context)
{
	size_t i;

	for (i = 0; i < net->expiries.count; i++)
	{
		QsCall *call = net->expiries.nodes[i]->owner;

		if (unwanted(context, call->tag))
		{
			take_waiting(net, call);
			return call;
		}
	}
	return NULL;
}

bool
qs_queue_has_ready(const QsNet *net)
{
	return qs_priority_first(&net->ready) != NULL;
}

/* When the queue wants to be looked at without a network event; -1 = never. */
int64_t
qs_queue_next_ms(const QsNet *net)
{
	const QsPriorityQueue *const queues[] = {&net->paused, &net->delays,
											 &net->expiries};
	int64_t next = -1;
	size_t i;

	for (i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
	{
		const QsPriorityNode *node = qs_priority_first(queues[i]);

		if (node != NULL && (next < 0 || node->key < next))
			next = node->key < 0 ? 0 : node->key;
	}
	return next;
}

/* After a change of options: which hosts are exempt, who waits for a place. */
void
qs_queue_allow(QsNet *net)
{
	size_t i;

	for (i = 0; i < QS_NAME_SLOTS; i++)
	{
		QsNamed *entry;

		for (entry = net->hosts[i]; entry != NULL; entry = entry->next)
		{
			QsHost *host = (QsHost *) entry;

			apply_rules(net, host);
			release_held(net, host);
		}
	}
}

void
qs_queue_drop_all(QsNet *net)
{
	QsCall *call;

	while ((call = qs_queue_take_expired(net, INT64_MAX)) != NULL)
		qs_queue_free_call(net, call);
}

/* Frees all names and lanes; nothing may be queued, running or taken. */
void
qs_queue_forget(QsNet *net)
{
	size_t i;

	for (i = 0; i < QS_NAME_SLOTS; i++)
	{
		QsNamed *entry;

		while ((entry = net->hosts[i]) != NULL)
		{
			net->hosts[i] = entry->next;
			free(entry->name);
			free(entry);
		}
		while ((entry = net->buckets[i]) != NULL)
		{
			QsBucket *bucket = (QsBucket *) entry;
			QsLane *lane;

			while ((lane = bucket->lanes) != NULL)
			{
				bucket->lanes = lane->next_of_bucket;
				free(lane);
			}
			net->buckets[i] = entry->next;
			free(entry->name);
			free(entry);
		}
	}
	net->n_names = net->n_lanes = 0;
}
