/*-------------------------------------------------------------------------
 * test_net_limits.c
 *		src/net's promises about many calls: connections, places, deadlines,
 *		pacing, descriptors.
 *-------------------------------------------------------------------------
 */
#include "net_client.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/congestion.h"

#define MANY 1000

static int descriptors_given;
static int descriptors_limit;

static int
count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static void
run_many(Call *calls, int count, const char *path)
{
	QsNetLimits limits = limits_of(20000, 10000);
	int i;

	memset(calls, 0, sizeof(Call) * (size_t) count);
	for (i = 0; i < count; i++)
		submit(&calls[i], path, &limits);
	assert_int_equal(qs_net_pending(net), count);
	run();
	for (i = 0; i < count; i++)
	{
		if (!calls[i].outcome.ok)
			fail_msg("call %d: %s", i, calls[i].outcome.error.message);
		assert_int_equal(calls[i].outcome.results, 1);
	}
}

static void
a_thousand_calls_share_fifty_connections_and_keep_them(void **state)
{
	Call *calls = calloc(MANY, sizeof(Call));
	int accepted = server_counts->accepted;
	QsNetStats first;
	QsNetStats second;

	(void) state;
	start_net(50);
	server_counts->most_waiting = 0;
	run_many(calls, MANY, "/slow/5");
	first = stats_of();
	assert_in_range(first.connections_opened, 1, 50);
	assert_int_equal(server_counts->accepted - accepted,
					 first.connections_opened);
	assert_in_range(server_counts->most_waiting, 20, 50);
	run_many(calls, MANY, "/slow/5");
	second = stats_of();
	assert_int_equal(second.connections_opened, first.connections_opened);
	assert_int_equal(second.connections_open, first.connections_open);
	assert_int_equal(second.requests, 2 * MANY);
	assert_int_equal(second.in_flight, 0);
	assert_int_equal(second.queued, 0);
	free(calls);
}

/*
 * The server's reply may be there before the drive that sent the request
 * ends, again and again; no number of such rounds may leave a call lying.
 */
static void
quick_replies_on_one_connection_do_not_stall(void **state)
{
	Call *calls = calloc(5 * MANY, sizeof(Call));
	int64_t began_ms = qs_net_now_ms();

	(void) state;
	start_net(1);
	run_many(calls, 5 * MANY, "/ok");
	assert_in_range(qs_net_now_ms() - began_ms, 0, at_ease(10000));
	assert_int_equal(stats_of().connections_opened, 1);
	free(calls);
}

static void
a_host_gets_no_more_than_its_share(void **state)
{
	Call *calls = calloc(100, sizeof(Call));
	QsError error;

	(void) state;
	start_net(50);
	options.max_per_host = 7;
	assert_true(qs_net_configure(net, &options, &error));
	server_counts->most_waiting = 0;
	run_many(calls, 100, "/slow/5");
	assert_in_range(server_counts->most_waiting, 5, 7);
	assert_in_range(stats_of().connections_opened, 5, 7);
	free(calls);
}

static void
a_dead_host_does_not_take_every_place(void **state)
{
	/* The server takes the connections and is silent where TLS should begin. */
	Call *calls = calloc(60, sizeof(Call));
	QsNetLimits limits = limits_of(at_ease(2500), at_ease(2000));
	int64_t began_ms = qs_net_now_ms();
	QsError error;
	char url[100];
	int i;

	(void) state;
	start_net(10);
	snprintf(url, sizeof(url), "https://127.0.0.1:%d/hang", server_port);
	for (i = 0; i < 40; i++)
		assert_true(submit_url(&calls[i], url, &limits, &error));
	for (; i < 60; i++)
		submit(&calls[i], "/slow/5", &limits);
	run();
	for (i = 40; i < 60; i++)
	{
		if (!calls[i].outcome.ok)
			fail_msg("%s", calls[i].outcome.error.message);
		assert_in_range(calls[i].outcome.at_ms - began_ms, 0, at_ease(1900));
	}
	for (i = 0; i < 40; i++)
		assert_false(calls[i].outcome.ok);
	free(calls);
}

static void
deadlines_hold_for_calls_in_flight_and_in_the_queue(void **state)
{
	Call *calls = calloc(100, sizeof(Call));
	QsNetLimits limits = limits_of(300, 10000);
	int64_t began_ms = qs_net_now_ms();
	int i;

	(void) state;
	start_net(4);
	for (i = 0; i < 100; i++)
		submit(&calls[i], "/hang", &limits);
	run();
	for (i = 0; i < 100; i++)
	{
		assert_string_equal(calls[i].outcome.error.code, "deadline");
		assert_in_range(calls[i].outcome.at_ms - began_ms, 290, at_ease(1000));
	}
	free(calls);
}

static void
cancelling_leaves_no_descriptor_and_no_result(void **state)
{
	int before = count_descriptors();
	Call *calls = calloc(100, sizeof(Call));
	QsNetLimits limits = limits_of(10000, 10000);
	QsNetResult result;
	int round;
	int i;

	(void) state;
	start_net(20);
	for (round = 0; round < 3; round++)
	{
		int dropped = server_counts->dropped;
		int64_t end_ms = qs_net_now_ms() + 5000;

		for (i = 0; i < 100; i++)
			submit(&calls[i], "/hang", &limits);
		while (server_counts->dropped < dropped + 20 &&
			   qs_net_now_ms() < end_ms)
			wait_and_drive(100);
		assert_int_equal(stats_of().in_flight, 20);
		assert_int_equal(stats_of().queued, 80);
		qs_net_cancel_all(net);
		assert_int_equal(qs_net_pending(net), 0);
		assert_int_equal(stats_of().in_flight, 0);
		assert_int_equal(stats_of().queued, 0);
		assert_int_equal(stats_of().connections_open, 0);
		qs_net_drive(net);
		assert_false(qs_net_next(net, &result));
	}
	run_many(calls, 100, "/ok");
	for (i = 0; i < 100; i++)
		submit(&calls[i], i % 2 ? "/ok" : "/hang", &limits);
	for (i = 0; i < 20; i++)
		wait_and_drive(5);
	qs_net_free(net);
	net = NULL;
	assert_int_equal(count_descriptors(), before);
	assert_true(server_becomes(&server_counts->open, 0));
	free(calls);
}

static bool
is_odd(void *context, void *tag)
{
	return (((Call *) tag) - (Call *) context) % 2 == 1;
}

static void
a_call_may_be_withdrawn_until_it_is_sent(void **state)
{
	QsNetLimits limits = limits_of(5000, 4000);
	Call calls[6];
	QsNetResult result;
	int i;

	(void) state;
	start_net(1);
	memset(calls, 0, sizeof(calls));
	for (i = 5; i >= 0; i--)
		submit(&calls[i], "/slow/50", &limits);
	qs_net_drive(net); /* the last one, an odd one, is on its way */
	assert_int_equal(qs_net_withdraw(net, is_odd, calls), 2);
	assert_int_equal(qs_net_withdraw(net, is_odd, calls), 0);
	run();
	for (i = 0; i < 6; i++)
	{
		bool withdrawn = i == 1 || i == 3;

		assert_int_equal(calls[i].outcome.results, 1);
		assert_int_equal(calls[i].outcome.ok, !withdrawn);
		assert_int_equal(calls[i].outcome.sent, !withdrawn);
		if (withdrawn)
			assert_string_equal(calls[i].outcome.error.code, "withdrawn");
	}
	assert_int_equal(stats_of().queued, 0);

	/* one that waits to be sent again as well */
	memset(calls, 0, sizeof(calls));
	submit(&calls[1], "/slow/5", &limits);
	while (take_one(&result) == NULL)
		wait_and_drive(1000);
	result.error.retry_after_ms = 3000;
	assert_true(qs_net_retry(net, &result.error));
	assert_int_equal(qs_net_withdraw(net, is_odd, calls), 1);
	run();
	assert_int_equal(calls[1].outcome.results, 2);
	assert_string_equal(calls[1].outcome.error.code, "withdrawn");
	assert_false(calls[1].outcome.sent);
}

static void
jitter_spreads_the_retries(void **state)
{
	Call *calls = calloc(200, sizeof(Call));
	QsNetLimits limits = limits_of(10000, 1000);
	QsNetResult result;
	QsError error;
	int64_t taken_ms[200];
	int early = 0;
	int late = 0;
	int taken = 0;
	int i;

	(void) state;
	start_net(200);
	qs_error_clear(&error);
	qs_error_set(&error, QS_ERROR_THROTTLED, "x", "x");
	error.retry_after_ms = -1;
	for (i = 0; i < 200; i++)
		submit(&calls[i], "/ok", &limits);
	while (taken < 200)
	{
		Call *call;

		wait_and_drive(1000);
		while (taken < 200 && (call = take_one(&result)) != NULL)
		{
			if (result.attempts > 1)
				continue;
			taken++;
			taken_ms[call - calls] = qs_net_now_ms();
			assert_true(qs_net_retry(net, &error));
		}
	}
	run();

	/* Uniform over 0 to 500 ms: half of them on either side of 250. */
	for (i = 0; i < 200; i++)
	{
		int64_t waited = calls[i].outcome.at_ms - taken_ms[i];

		early += waited < 250;
		late += waited >= 250;
		assert_in_range(waited, 0, 1500);
	}
	assert_in_range(early, 40, 160);
	assert_in_range(late, 40, 160);
	free(calls);
}

static void
a_token_bucket_paces_its_own_calls_and_no_others(void **state)
{
	Call *calls = calloc(40, sizeof(Call));
	QsNetLimits slow = limits_of(10000, 1000);
	QsNetLimits fast = limits_of(10000, 1000);
	int64_t began_ms = qs_net_now_ms();
	int64_t last_slow_ms = 0;
	char name[] = "account/api";
	int i;

	(void) state;
	start_net(10);
	slow.bucket = name;
	slow.rate_per_second = 50;
	slow.burst = 5;
	for (i = 0; i < 30; i++)
		submit(&calls[i], "/ok", &slow);
	name[0] = 'X'; /* the name was copied */
	for (; i < 40; i++)
		submit(&calls[i], "/ok", &fast);
	run();
	for (i = 0; i < 30; i++)
		if (calls[i].outcome.at_ms > last_slow_ms)
			last_slow_ms = calls[i].outcome.at_ms;

	/* 5 at once, then 5 more every 100 ms. */
	assert_in_range(last_slow_ms - began_ms, 490, at_ease(1200));
	for (i = 30; i < 40; i++)
		assert_in_range(calls[i].outcome.at_ms - began_ms, 0, at_ease(400));
	free(calls);
}

static bool
acquire(void *context)
{
	assert_ptr_equal(context, &descriptors_given);
	if (descriptors_given >= descriptors_limit)
		return false;
	descriptors_given++;
	return true;
}

static void
release(void *context)
{
	assert_ptr_equal(context, &descriptors_given);
	descriptors_given--;
}

/* A port that is ours, so that nobody else listens there. */
static int
closed_port(int *fd)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);

	*fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_true(*fd >= 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(*fd, (struct sockaddr *) &address, length), 0);
	assert_int_equal(getsockname(*fd, (struct sockaddr *) &address, &length),
					 0);
	return ntohs(address.sin_port);
}

/* Submits all, waits, and says how many were sent. */
static int
run_period(Call *calls, int n, const char *path, int timeout_ms)
{
	QsNetLimits limits = limits_of(10000, timeout_ms);
	int sent = 0;
	int i;

	memset(calls, 0, sizeof(Call) * (size_t) n);
	for (i = 0; i < n; i++)
		submit(&calls[i], path, &limits);
	run();
	for (i = 0; i < n; i++)
		sent += calls[i].outcome.sent;
	return sent;
}

static void
a_dead_endpoint_costs_one_call_and_not_one_per_group(void **state)
{
	Call *calls = calloc(40, sizeof(Call));
	int i;

	(void) state;
	start_net(4);
	assert_in_range(run_period(calls, 40, "/hang", 200), 3, 7);
	for (int period = 0; period < 3; period++)
	{
		int timeouts = 0;

		assert_int_equal(run_period(calls, 40, "/hang", 200), 1);
		for (i = 0; i < 40; i++)
		{
			const Outcome *o = &calls[i].outcome;

			assert_int_equal(o->results, 1);
			if (strcmp(o->error.code, "timeout") == 0)
				timeouts++;
			else
				assert_string_equal(o->error.code, "endpoint_down");
			assert_int_equal(o->error.class, QS_ERROR_TRANSIENT);
		}
		assert_int_equal(timeouts, 1);
	}

	/* Its first answer lets all others through. */
	assert_int_equal(run_period(calls, 40, "/ok", 2000), 40);
	for (i = 0; i < 40; i++)
		assert_true(calls[i].outcome.ok);
	free(calls);
}

static void
an_endpoint_that_refuses_connections_is_not_asked_for_every_group(void **state)
{
	Call *calls = calloc(40, sizeof(Call));
	QsNetLimits limits = limits_of(10000, 2000);
	QsError error;
	char url[100];
	int64_t before;
	int fd;

	(void) state;
	start_net(4);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", closed_port(&fd));
	for (int period = 0; period < 2; period++)
	{
		before = stats_of().requests;
		memset(calls, 0, sizeof(Call) * 40);
		for (int i = 0; i < 40; i++)
			assert_true(submit_url(&calls[i], url, &limits, &error));
		run();
		if (period == 0)
			assert_in_range(stats_of().requests - before, 3, 8);
		else
			assert_int_equal(stats_of().requests - before, 1);
	}
	close(fd);
	free(calls);
}

static void
a_single_call_that_hangs_is_no_dead_endpoint(void **state)
{
	Call *calls = calloc(20, sizeof(Call));
	QsNetLimits limits;
	int i;

	(void) state;
	start_net(4);
	for (int period = 0; period < 5; period++)
		assert_int_equal(run_period(calls, 1, "/hang", 100), 1);
	memset(calls, 0, sizeof(Call) * 20);
	limits = limits_of(10000, 300);
	for (i = 0; i < 20; i++)
		submit(&calls[i], i == 0 ? "/hang" : "/ok", &limits);
	run();
	for (i = 1; i < 20; i++)
		if (!calls[i].outcome.ok)
			fail_msg("call %d: %s", i, calls[i].outcome.error.message);
	free(calls);
}

static void
a_call_that_is_tried_again_counts_once(void **state)
{
	Call calls[2];
	QsNetLimits limits = limits_of(10000, 100);
	QsNetResult result;

	(void) state;
	start_net(4);
	memset(calls, 0, sizeof(calls));
	submit(&calls[0], "/hang", &limits);
	for (int attempt = 1; attempt <= 3; attempt++)
	{
		while (!qs_net_next(net, &result))
			wait_and_drive(100);
		assert_int_equal(result.attempts, attempt);
		assert_int_equal(qs_net_retry(net, &result.error), attempt < 3);
	}
	submit(&calls[0], "/hang", &limits);
	submit(&calls[1], "/ok", &limits);
	run();
	assert_true(calls[1].outcome.ok);
}

static void
one_that_always_hangs_is_not_the_only_probe(void **state)
{
	Call *calls = calloc(4, sizeof(Call));
	bool came_through = false;

	(void) state;
	start_net(4);
	(void) run_period(calls, 4, "/hang", 100);
	for (int period = 0; period < 30 && !came_through; period++)
	{
		QsNetLimits limits = limits_of(10000, 100);

		memset(calls, 0, sizeof(Call) * 4);
		submit(&calls[0], "/hang", &limits);
		submit(&calls[1], "/ok", &limits);
		run();
		came_through = calls[1].outcome.ok;
	}
	assert_true(came_through);
	free(calls);
}

static void
a_probe_is_not_repeated(void **state)
{
	Call call;
	QsNetLimits limits = limits_of(10000, 100);
	QsNetResult result;
	Call *calls = calloc(4, sizeof(Call));

	(void) state;
	start_net(4);
	(void) run_period(calls, 4, "/hang", 100);
	memset(&call, 0, sizeof(call));
	submit(&call, "/hang", &limits);
	while (!qs_net_next(net, &result))
		wait_and_drive(100);
	assert_string_equal(result.error.code, "timeout");
	assert_false(qs_net_retry(net, &result.error));
	free(calls);
}

static void
throttling_makes_calls_fewer_and_answers_more_again(void **state)
{
	QsCongestion c = {0};
	int i;

	(void) state;
	assert_true(qs_congestion_has_room(&c));
	c.running = 15;
	qs_congestion_throttled(&c, 100, 200);
	assert_float_equal(c.window, 8, 0.001);
	/* the other 15 were on their way: they say nothing new */
	for (i = 0; i < 15; i++)
		qs_congestion_throttled(&c, 100, 201);
	assert_float_equal(c.window, 8, 0.001);
	c.running = 7;
	assert_true(qs_congestion_has_room(&c));
	qs_congestion_throttled(&c, 300, 400);
	assert_float_equal(c.window, 4, 0.001);
	assert_false(qs_congestion_has_room(&c));
	c.running = 3;
	for (i = 0; i < 20; i++)
	{
		qs_congestion_throttled(&c, 500 + i, 500 + i);
		assert_true(c.window >= 1);
	}
	assert_float_equal(c.window, 1, 0.001);
	for (i = 0; i < 3; i++)
		qs_congestion_answered(&c, 50);
	assert_in_range((int) c.window, 2, 3);
	for (; i < 5000; i++)
		qs_congestion_answered(&c, 50);
	assert_float_equal(c.window, 0, 0.001);
}

static void
a_throttled_api_gets_fewer_calls_at_a_time(void **state)
{
	Call *calls = calloc(40, sizeof(Call));
	QsNetLimits limits = limits_of(10000, 2000);
	QsNetResult result;

	(void) state;
	start_net(16);
	for (int i = 0; i < 40; i++)
		submit(&calls[i], "/slow/20", &limits);
	while (!qs_net_next(net, &result))
		wait_and_drive(100);
	assert_int_equal(stats_of().in_flight <= 16, 1);
	qs_net_throttled(net);
	server_counts->most_waiting = 0;
	run();
	memset(calls, 0, sizeof(Call) * 40);
	server_counts->most_waiting = 0;
	for (int i = 0; i < 20; i++)
		submit(&calls[i], "/slow/5", &limits);
	run();
	assert_in_range(server_counts->most_waiting, 1, 14);
	free(calls);
}

static void
a_lack_of_descriptors_slows_and_does_not_fail(void **state)
{
	Call *calls = calloc(300, sizeof(Call));
	QsError error;

	(void) state;
	start_net(100);
	options.acquire_fd = acquire;
	options.release_fd = release;
	options.context = &descriptors_given;
	descriptors_given = 0;
	descriptors_limit = 12;
	assert_true(qs_net_configure(net, &options, &error));
	run_many(calls, 300, "/slow/3");
	assert_in_range(stats_of().connections_opened, 8, 60);
	assert_in_range(descriptors_given, 1, 12);
	assert_int_equal(stats_of().failures, 0);

	/* With none at all the call ends, and says why. */
	qs_net_free(net);
	assert_int_equal(descriptors_given, 0);
	descriptors_limit = 0;
	net = qs_net_new(&options, &error);
	assert_non_null(net);
	get(&calls[0], "/ok");
	assert_false(calls[0].outcome.ok);
	assert_string_equal(calls[0].outcome.error.code, "descriptors");
	assert_int_equal(calls[0].outcome.error.class, QS_ERROR_RESOURCES);
	assert_false(calls[0].outcome.sent);
	free(calls);
}

static void
a_limit_of_64_descriptors_is_survived(void **state)
{
	Call *calls = calloc(MANY, sizeof(Call));
	struct rlimit before;
	struct rlimit tight;

	(void) state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	start_net(500);
	tight = before;
	tight.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	run_many(calls, MANY, "/slow/3");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_in_range(stats_of().connections_open, 1, 64);
	free(calls);
}

static void
the_descriptor_may_sit_in_another_epoll_set(void **state)
{
	int outer = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};
	QsNetLimits limits = limits_of(5000, 4000);
	QsNetResult result;
	Call call;
	int wakes = 0;

	(void) state;
	start_net(10);
	memset(&call, 0, sizeof(call));
	assert_int_equal(epoll_ctl(outer, EPOLL_CTL_ADD, qs_net_fd(net), &event),
					 0);
	assert_int_equal(qs_net_timeout_ms(net), -1);
	submit(&call, "/slow/200", &limits);
	assert_int_equal(qs_net_timeout_ms(net), 0);
	while (take_one(&result) == NULL)
	{
		int64_t wait = qs_net_timeout_ms(net);

		assert_in_range(++wakes, 1, 40); /* waits, does not spin */
		(void) epoll_wait(outer, &event, 1, wait < 0 ? 1000 : (int) wait);
		qs_net_drive(net);
	}
	assert_true(call.outcome.ok);
	qs_net_drive(net);
	assert_int_equal(qs_net_timeout_ms(net), -1);
	close(outer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_thousand_calls_share_fifty_connections_and_keep_them),
		TEST(quick_replies_on_one_connection_do_not_stall),
		TEST(a_host_gets_no_more_than_its_share),
		TEST(a_dead_host_does_not_take_every_place),
		TEST(deadlines_hold_for_calls_in_flight_and_in_the_queue),
		TEST(cancelling_leaves_no_descriptor_and_no_result),
		TEST(a_call_may_be_withdrawn_until_it_is_sent),
		TEST(jitter_spreads_the_retries),
		TEST(a_token_bucket_paces_its_own_calls_and_no_others),
		TEST(a_dead_endpoint_costs_one_call_and_not_one_per_group),
		TEST(an_endpoint_that_refuses_connections_is_not_asked_for_every_group),
		TEST(a_single_call_that_hangs_is_no_dead_endpoint),
		TEST(a_call_that_is_tried_again_counts_once),
		TEST(one_that_always_hangs_is_not_the_only_probe),
		TEST(a_probe_is_not_repeated),
		TEST(throttling_makes_calls_fewer_and_answers_more_again),
		TEST(a_throttled_api_gets_fewer_calls_at_a_time),
		TEST(a_lack_of_descriptors_slows_and_does_not_fail),
		TEST(a_limit_of_64_descriptors_is_survived),
		TEST(the_descriptor_may_sit_in_another_epoll_set),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
