/*-------------------------------------------------------------------------
 * net.c
 *		The public surface of src/net: submit, drive, take, retry, cancel.
 *
 * qs_net_drive() is the only place where anything moves: it lets curl handle
 * events, ends what is past its deadline, starts queued calls while there is
 * room, and collects what is finished.  It never blocks.
 *
 * When the process runs out of descriptors, the calls in flight show how many
 * connections can be had: capacity falls to that number, the call that found
 * none goes back to the head of its lane, and capacity grows again with time.
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/net_internal.h"

#define MAX_ATTEMPTS 3

/* A call that is cut off earlier says nothing about the other side. */
#define FAIR_CHANCE_MS 500
#define MAX_HEADERS 256
#define MAX_HEADERS_BYTES 65536
#define DEFAULT_TIMEOUT_MS 5000
#define LONGEST_TIMEOUT_MS 3600000
#define RETRY_BASE_MS 100
#define RETRY_THROTTLED_MS 500
#define RETRY_LONGEST_MS 5000

/* One drive goes round this often at most, so that calls which fail at once
 * cannot keep the caller from its other duties. */
#define ROUNDS_PER_DRIVE 32

/* Without another call in flight, tries to find a descriptor. */
#define MAX_SHORTAGES 3

typedef struct FailureText
{
	QsErrorClass class;
	const char *code;
	const char *text;
} FailureText;

static const FailureText failure_texts[] = {
	[QS_FAILURE_NONE] = {QS_ERROR_NONE, "", ""},
	[QS_FAILURE_RESOLVE] = {QS_ERROR_TRANSIENT, "resolve",
							"could not resolve the host name"},
	[QS_FAILURE_CONNECT] = {QS_ERROR_TRANSIENT, "connect",
							"could not connect"},
	[QS_FAILURE_TLS] = {QS_ERROR_TRANSIENT, "tls",
						"the TLS handshake failed"},
	[QS_FAILURE_TLS_REFUSED] = {QS_ERROR_TERMINAL, "tls",
								"the server's certificate was not accepted"},
	[QS_FAILURE_TIMEOUT] = {QS_ERROR_TRANSIENT, "timeout",
							"the request timed out"},
	[QS_FAILURE_DEADLINE] = {QS_ERROR_TRANSIENT, "deadline",
							 "the deadline passed"},
	[QS_FAILURE_WITHDRAWN] = {QS_ERROR_TERMINAL, "withdrawn",
							  "the call was withdrawn before it was sent"},
	[QS_FAILURE_ENDPOINT_DOWN] = {QS_ERROR_TRANSIENT, "endpoint_down",
								  "not sent, as calls before it had no answer; one call at a "
								  "time tries whether it is back"},
	[QS_FAILURE_RESET] = {QS_ERROR_TRANSIENT, "reset",
						  "the connection ended before a reply came"},
	[QS_FAILURE_TRUNCATED] = {QS_ERROR_TRANSIENT, "reset",
							  "the connection ended in the middle of the reply"},
	[QS_FAILURE_RESENT] = {QS_ERROR_TRANSIENT, "reset",
						   "a kept connection ended after the request was sent, and it was not "
						   "sent twice"},
	[QS_FAILURE_STALE] = {QS_ERROR_TRANSIENT, "reset",
						  "the connection had ended while it was idle"},
	[QS_FAILURE_TOO_LARGE] = {QS_ERROR_RESOURCES, "too_large",
							  "the reply is larger than allowed"},
	[QS_FAILURE_ADDRESS_REFUSED] = {QS_ERROR_TERMINAL, "address_refused",
									"the host's address is not public, and the host is not in "
									"allowed_hosts"},
	[QS_FAILURE_METADATA_REFUSED] = {QS_ERROR_TERMINAL, "address_refused",
									 "the host's address is a metadata service's, which only the "
									 "search for credentials may reach"},
	[QS_FAILURE_URL_REFUSED] = {QS_ERROR_TERMINAL, "url_refused",
								"plain http is only for hosts in allowed_hosts"},
	[QS_FAILURE_PROTOCOL] = {QS_ERROR_TRANSIENT, "protocol",
							 "the server's answer is not proper HTTP"},
	[QS_FAILURE_NO_MEMORY] = {QS_ERROR_RESOURCES, "no_memory",
							  "out of memory"},
	[QS_FAILURE_DESCRIPTORS] = {QS_ERROR_RESOURCES, "descriptors",
								"no file descriptor is left for a connection"},
};

int64_t
qs_net_now_ms(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int
qs_net_fd(const QsNet *net)
{
	return net->mux.epoll_fd;
}

int64_t
qs_net_timeout_ms(const QsNet *net)
{
	int64_t next = qs_queue_next_ms(net);
	int64_t wait;

	if (net->drive_again || net->first_finished != NULL ||
		(qs_queue_has_ready(net) && net->in_flight < net->capacity))
		return 0;
	if (net->mux.timer_ms >= 0 && (next < 0 || net->mux.timer_ms < next))
		next = net->mux.timer_ms;
	if (next < 0)
		return -1;
	wait = next - qs_net_now_ms();
	if (wait > LONGEST_TIMEOUT_MS)
		return LONGEST_TIMEOUT_MS;
	return wait > 0 ? wait : 0;
}

static bool
is_token(const char *text, size_t longest)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
								  "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~";
	size_t length = text ? strspn(text, letters) : 0;

	return length > 0 && length <= longest && text[length] == '\0';
}

/*
 * A line break in a header value would let whoever supplies it write headers
 * or requests of his own.
 */
static bool
check_request(const QsHttpRequest *request, QsError *error)
{
	size_t bytes = 0;
	int i;

	if (!is_token(request->method, 16) || request->n_headers < 0 ||
		request->n_headers > MAX_HEADERS ||
		(request->n_headers > 0 && request->headers == NULL) ||
		(request->body == NULL && request->body_length > 0))
		return qs_error_set(error, QS_ERROR_TERMINAL, "protocol",
							"the request's method, headers or body are not "
							"well-formed");
	for (i = 0; i < request->n_headers; i++)
	{
		const char *c = request->headers[i].value;

		if (!is_token(request->headers[i].name, 256) || c == NULL)
			return qs_error_set(error, QS_ERROR_TERMINAL, "protocol",
								"header %d has no proper name or no value",
								i + 1);
		for (; *c != '\0'; c++)
			if (((unsigned char) *c < ' ' && *c != '\t') || *c == 0x7f)
				return qs_error_set(error, QS_ERROR_TERMINAL, "protocol",
									"header %s has a control character",
									request->headers[i].name);
		bytes += strlen(request->headers[i].name) +
			(size_t) (c - request->headers[i].value);
	}
	if (bytes > MAX_HEADERS_BYTES)
		return qs_error_set(error, QS_ERROR_TERMINAL, "protocol",
							"the request's headers are too long");
	return true;
}

bool
qs_net_submit(QsNet *net, const QsHttpRequest *request,
			  const QsNetLimits *limits, void *tag, QsError *error)
{
	QsUrl url;
	QsLane *lane;
	QsCall *call;

	if (!check_request(request, error) ||
		!qs_url_parse(request->url, &url, error))
		return false;
	lane = qs_queue_lane(net, &url, limits, error);
	if (lane == NULL)
		return false;
	if (!url.https && !lane->host->allowed && !lane->host->metadata)
		return qs_error_set(error, QS_ERROR_TERMINAL, "url_refused",
							"%s:%d: plain http is only for hosts in "
							"allowed_hosts",
							url.host, url.port);
	call = qs_queue_new_call(net);
	if (call == NULL)
		return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
							"out of memory for a request");
	call->request = request;
	call->ca_file = limits->ca_file;
	call->client_certificate = limits->client_certificate;
	call->client_key = limits->client_key;
	call->tag = tag;
	call->lane = lane;
	call->deadline_ms = limits->deadline_ms > 0 ? limits->deadline_ms : 0;
	call->request_timeout_ms = limits->request_timeout_ms > 0 ?
		limits->request_timeout_ms :
		DEFAULT_TIMEOUT_MS;
	call->connect_timeout_ms = limits->connect_timeout_ms;
	if (net->pending++ == 0)
		net->busy_period++;
	qs_queue_append(net, call);
	return true;
}

static void
finish(QsNet *net, QsCall *call)
{
	call->state = QS_CALL_FINISHED;
	call->next = NULL;
	if (net->last_finished != NULL)
		net->last_finished->next = call;
	else
		net->first_finished = call;
	net->last_finished = call;
	if (call->failure != QS_FAILURE_NONE)
		net->stats.failures++;
}

static void
set_capacity(QsNet *net, int capacity, int64_t now_ms)
{
	if (capacity < 1)
		capacity = 1;
	if (capacity > net->max_in_flight)
		capacity = net->max_in_flight;
	net->capacity_changed_ms = now_ms;
	if (capacity == net->capacity)
		return;
	net->capacity = capacity;

	/* curl then closes an idle connection before it opens one too many. */
	qs_multiplexer_set_limits(&net->mux, capacity);
}

/*
 * A call found no descriptor.  Others in flight will give theirs back; with
 * none in flight, idle connections may.  true: the call waits in its lane
 * again.
 */
static bool
wait_for_descriptor(QsNet *net, QsCall *call, int64_t now_ms)
{
	if (now_ms >= call->deadline_ms)
		return false;
	if (net->in_flight == 0)
	{
		if (net->stats.connections_open == 0 ||
			call->shortages >= MAX_SHORTAGES)
			return false;
		call->shortages++;
		set_capacity(net, net->stats.connections_open, now_ms);
	}
	else
		set_capacity(net, net->in_flight < net->capacity ? net->in_flight : net->capacity, now_ms);
	call->attempts--;
	qs_queue_put_back(net, call);
	return true;
}

/* What the attempt says about the endpoint. */
static void
judge_endpoint(QsNet *net, const QsCall *call)
{
	QsCongestion *congestion = &call->lane->congestion;

	switch (call->failure)
	{
		case QS_FAILURE_NONE:
			qs_congestion_answered(congestion, net->max_in_flight);
			break;
		case QS_FAILURE_RESOLVE:
		case QS_FAILURE_CONNECT:
		case QS_FAILURE_TLS:
		case QS_FAILURE_TIMEOUT:
		case QS_FAILURE_DEADLINE:
			/* a call that is tried again is still one call */
			if (call->attempts == 1 || congestion->down)
				qs_congestion_unanswered(congestion, net->busy_period);
			break;
		default:
			break;
	}
}

/* Takes what curl has finished; how many there were. */
static int
collect(QsNet *net)
{
	CURLMsg *message;
	int left;
	int count = 0;

	while ((message = curl_multi_info_read(net->mux.multi, &left)) != NULL)
	{
		QsTransfer *transfer;
		QsCall *call;

		if (message->msg != CURLMSG_DONE)
			continue;
		transfer = qs_transfer_of(message->easy_handle);
		if (transfer == NULL || transfer->call == NULL)
			continue;
		count++;
		call = transfer->call;
		qs_transfer_conclude(transfer, message->data.result);
		qs_transfer_release(transfer);
		judge_endpoint(net, call);
		qs_queue_leave(net, call->lane);
		if (call->failure == QS_FAILURE_STALE)
		{
			/* Nothing was sent, and its next connection is a new one. */
			call->attempts--;
			qs_queue_put_back(net, call);
		}
		else if (call->failure != QS_FAILURE_DESCRIPTORS ||
				 !wait_for_descriptor(net, call, qs_net_now_ms()))
			finish(net, call);
	}
	return count;
}

static void
finish_unsent(QsNet *net, QsCall *call, QsFailure failure, const char *detail)
{
	call->failure = failure;
	call->sent = false;
	free(call->detail);
	call->detail = detail ? strdup(detail) : NULL;
	finish(net, call);
}

static int
start_queued(QsNet *net, int64_t now_ms)
{
	int count = 0;

	if (net->capacity < net->max_in_flight &&
		now_ms - net->capacity_changed_ms >= 1000)
		set_capacity(net, net->capacity + 1 + net->capacity / 4, now_ms);
	while (net->in_flight < net->capacity)
	{
		QsCall *call = qs_queue_take(net, now_ms);

		if (call == NULL)
			break;
		count++;
		call->started_ms = now_ms;
		if (qs_congestion_is_vain(&call->lane->congestion, net->busy_period))
		{
			qs_queue_leave(net, call->lane);
			finish_unsent(net, call, QS_FAILURE_ENDPOINT_DOWN, NULL);
		}
		else if (!qs_transfer_start(net, call, now_ms))
		{
			qs_queue_leave(net, call->lane);
			finish(net, call);
		}
	}
	return count;
}

static void
expire_queued(QsNet *net, int64_t now_ms)
{
	QsCall *call;

	while ((call = qs_queue_take_expired(net, now_ms)) != NULL)
		finish_unsent(net, call, QS_FAILURE_DEADLINE, "waiting to be sent");
}

int
qs_net_withdraw(QsNet *net, bool (*unwanted)(void *context, void *tag),
				void *context)
{
	QsCall *call;
	int count = 0;

	while ((call = qs_queue_take_unwanted(net, unwanted, context)) != NULL)
	{
		finish_unsent(net, call, QS_FAILURE_WITHDRAWN, NULL);
		count++;
	}
	return count;
}

void
qs_net_drive(QsNet *net)
{
	sigset_t saved;
	int round;

	qs_signals_block(&saved);
	qs_multiplexer_poll(&net->mux);
	for (round = 0; round < ROUNDS_PER_DRIVE; round++)
	{
		int64_t now_ms = qs_net_now_ms();
		int moved = collect(net);

		qs_queue_wake_delayed(net, now_ms);
		expire_queued(net, now_ms);
		moved += start_queued(net, now_ms);
		if (moved == 0)
			break;
		qs_multiplexer_run_timer(&net->mux);
	}

	/*
	 * What finished in the last round may have left curl with neither a
	 * socket nor a timer, so nothing but us would bring anyone back.
	 */
	net->drive_again = round == ROUNDS_PER_DRIVE;
	qs_signals_restore(&saved);
}

static void
release_taken(QsNet *net)
{
	if (net->taken != NULL)
		qs_queue_free_call(net, net->taken);
	net->taken = NULL;
}

/* A failure in words; no part of the URL but the host, for the rest may be
 * signed. */
static void
describe_failure(const QsCall *call, QsError *error)
{
	const FailureText *text = &failure_texts[call->failure];
	const QsUrl *url = &call->lane->host->url;

	if (call->detail != NULL)
		qs_error_set(error, text->class, text->code, "%.100s:%d: %s (%s)",
					 url->host, url->port, text->text, call->detail);
	else
		qs_error_set(error, text->class, text->code, "%.100s:%d: %s",
					 url->host, url->port, text->text);
}

bool
qs_net_next(QsNet *net, QsNetResult *result)
{
	QsCall *call;

	release_taken(net);
	call = net->first_finished;
	if (call == NULL)
		return false;
	net->first_finished = call->next;
	if (call->next == NULL)
		net->last_finished = NULL;
	call->next = NULL;
	call->state = QS_CALL_TAKEN;
	net->taken = call;
	net->pending--;

	memset(result, 0, sizeof(*result));
	qs_error_clear(&result->error);
	result->tag = call->tag;
	result->ok = call->failure == QS_FAILURE_NONE;
	result->sent = call->sent;
	result->attempts = call->attempts;
	result->elapsed_ms = call->elapsed_ms;
	result->reply.body = "";
	result->reply.content_type = "";
	result->reply.retry_after_ms = result->reply.date_epoch_s = -1;
	if (result->ok)
	{
		const QsReply *reply = call->reply;

		result->reply.status = reply->status;
		result->reply.content_type = reply->content_type;
		if (reply->body != NULL)
			result->reply.body = reply->body;
		result->reply.body_length = reply->length;
		result->reply.date_epoch_s = reply->date_epoch_s;
		if (reply->retry_after[0] != '\0')
			result->reply.retry_after_ms =
				qs_reply_retry_after_ms(reply, (int64_t) time(NULL));
	}
	else
		describe_failure(call, &result->error);
	return true;
}

/* xorshift64*: jitter needs no better. */
uint64_t
qs_net_random(QsNet *net)
{
	uint64_t x = net->random_state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	net->random_state = x;
	return x * UINT64_C(2685821657736338717) >> 16;
}

bool
qs_net_retry(QsNet *net, const QsError *error)
{
	QsCall *call = net->taken;
	int64_t now_ms = qs_net_now_ms();
	int64_t wait;

	if (call == NULL || call->attempts >= MAX_ATTEMPTS ||
		call->lane->congestion.down)
		return false;
	if (error != NULL && error->retry_after_ms > 0)
		wait = error->retry_after_ms;
	else
	{
		int doublings = call->attempts > 1 ? call->attempts - 1 : 0;

		wait = error != NULL && error->class == QS_ERROR_THROTTLED ?
			RETRY_THROTTLED_MS :
			RETRY_BASE_MS;
		wait <<= doublings;
		if (wait > RETRY_LONGEST_MS)
			wait = RETRY_LONGEST_MS;
		wait = (int64_t) (qs_net_random(net) % (uint64_t) (wait + 1));
	}
	if (wait >= call->deadline_ms - now_ms)
		return false;
	net->taken = NULL;
	net->pending++;
	net->stats.retries++;
	call->shortages = 0;
	call->failure = QS_FAILURE_NONE;
	free(call->detail);
	call->detail = NULL;
	if (call->reply != NULL)
		qs_reply_clear(call->reply);
	qs_queue_delay(net, call, now_ms + wait);
	return true;
}

void
qs_net_throttled(QsNet *net)
{
	if (net->taken != NULL)
		qs_congestion_throttled(&net->taken->lane->congestion,
								net->taken->started_ms, qs_net_now_ms());
}

int
qs_net_pending(const QsNet *net)
{
	return net->pending;
}

/*
 * Finished calls that nobody took are dropped as well: the memory of their
 * requests is about to go.
 */
void
qs_net_cancel_all(QsNet *net)
{
	sigset_t saved;
	QsCall *call;

	qs_signals_block(&saved);
	release_taken(net);
	while (net->running != NULL)
	{
		call = net->running->call;
		if (qs_net_now_ms() - call->started_ms >= FAIR_CHANCE_MS)
			qs_congestion_unanswered(&call->lane->congestion,
									 net->busy_period);
		qs_transfer_release(net->running);
		qs_queue_leave(net, call->lane);
		qs_queue_free_call(net, call);
	}
	qs_queue_drop_all(net);
	while ((call = net->first_finished) != NULL)
	{
		net->first_finished = call->next;
		qs_queue_free_call(net, call);
	}
	net->last_finished = NULL;
	net->pending = 0;
	net->drive_again = false;
	qs_signals_restore(&saved);
}

void
qs_net_stats(const QsNet *net, QsNetStats *stats)
{
	*stats = net->stats;
	stats->in_flight = net->in_flight;
	stats->queued = net->queued;
}
