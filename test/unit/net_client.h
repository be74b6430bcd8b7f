/*-------------------------------------------------------------------------
 * net_client.h
 *		What the tests of src/net share: a QsNet, calls, waiting for results.
 *-------------------------------------------------------------------------
 */
#ifndef NET_CLIENT_H
#define NET_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>

#include "local_server.h"
#include "net/net.h"

/* What a finished call was, copied before the next one is taken. */
typedef struct Outcome
{
	int results;
	bool ok;
	bool sent;
	int status;
	int attempts;
	int64_t retry_after_ms;
	int64_t at_ms;
	QsError error;
	char content_type[64];
	char body[9000];
	size_t body_length;
} Outcome;

typedef struct Call
{
	QsHttpRequest request;
	char url[256];
	Outcome outcome;
} Call;

static QsNetOptions options;
static QsNet *net;

/*
 * How much slower than a bare machine this one may be: valgrind says so in
 * the environment.  For limits that a test does not want to reach.
 */
static inline int
at_ease(int ms)
{
	const char *factor = getenv("QPSSCALE_TEST_SLOWNESS");

	return factor != NULL ? ms * atoi(factor) : ms;
}

static void
start_net(int max_in_flight)
{
	QsError error;

	memset(&options, 0, sizeof(options));
	options.max_in_flight = max_in_flight;
	options.max_reply_bytes = 100000;
	options.user_agent = "qpsscale-test";
	options.allowed_hosts = "127.0.0.1, localhost";
	net = qs_net_new(&options, &error);
	assert_non_null(net);
}

static int
stop_net(void **state)
{
	(void) state;
	qs_net_free(net);
	net = NULL;
	return 0;
}

static QsNetLimits
limits_of(int deadline_ms, int timeout_ms)
{
	QsNetLimits limits = {.deadline_ms = qs_net_now_ms() + deadline_ms,
						  .request_timeout_ms = timeout_ms};

	return limits;
}

static bool
submit_url(Call *call, const char *url, const QsNetLimits *limits,
		   QsError *error)
{
	snprintf(call->url, sizeof(call->url), "%s", url);
	if (call->request.method == NULL)
		call->request.method = "GET";
	call->request.url = call->url;
	return qs_net_submit(net, &call->request, limits, call, error);
}

static void
submit(Call *call, const char *path, const QsNetLimits *limits)
{
	char url[200];
	QsError error;

	snprintf(url, sizeof(url), "http://127.0.0.1:%d%s", server_port, path);
	assert_true(submit_url(call, url, limits, &error));
}

static Call *
take_one(QsNetResult *result)
{
	Call *call;
	Outcome *o;

	if (!qs_net_next(net, result))
		return NULL;
	call = result->tag;
	o = &call->outcome;
	o->results++;
	o->ok = result->ok;
	o->sent = result->sent;
	o->status = result->reply.status;
	o->attempts = result->attempts;
	o->retry_after_ms = result->reply.retry_after_ms;
	o->error = result->error;
	o->at_ms = qs_net_now_ms();
	o->body_length = result->reply.body_length;
	assert_int_equal(result->reply.body[result->reply.body_length], '\0');
	snprintf(o->body, sizeof(o->body), "%s", result->reply.body);
	snprintf(o->content_type, sizeof(o->content_type), "%s",
			 result->reply.content_type);
	return call;
}

static void
wait_and_drive(int64_t longest_ms)
{
	struct pollfd pollfd = {.fd = qs_net_fd(net), .events = POLLIN};
	int64_t wait = qs_net_timeout_ms(net);

	if (wait < 0 || wait > longest_ms)
		wait = longest_ms;
	assert_true(poll(&pollfd, 1, (int) wait) >= 0);
	qs_net_drive(net);
}

/* Drives until every call has given its result. */
static void
run(void)
{
	QsNetResult result;
	int64_t end_ms = qs_net_now_ms() + 30000;

	while (qs_net_pending(net) > 0)
	{
		assert_true(qs_net_now_ms() < end_ms);
		wait_and_drive(1000);
		while (take_one(&result) != NULL)
			;
	}
}

__attribute__((unused)) static Outcome *
get(Call *call, const char *path)
{
	QsNetLimits limits = limits_of(5000, 4000);

	memset(call, 0, sizeof(*call));
	submit(call, path, &limits);
	run();
	return &call->outcome;
}

static QsNetStats
stats_of(void)
{
	QsNetStats stats;

	qs_net_stats(net, &stats);
	return stats;
}

static int
start_server(void **state)
{
	(void) state;
	server_start();
	return 0;
}

static int
stop_server(void **state)
{
	(void) state;
	server_stop();
	return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, stop_net)

#endif /* NET_CLIENT_H */
