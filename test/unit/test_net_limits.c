/*-------------------------------------------------------------------------
 * test_net_limits.c
 *		src/net's promises about many calls: connections, places, deadlines,
 *		pacing, descriptors.
 *-------------------------------------------------------------------------
 */
#include "net_client.h"

#include <dirent.h>
#include <sys/resource.h>

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
	assert_in_range(qs_net_now_ms() - began_ms, 0, 10000);
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
	QsNetLimits limits = limits_of(2500, 2000);
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
		assert_in_range(calls[i].outcome.at_ms - began_ms, 0, 1900);
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
		assert_in_range(calls[i].outcome.at_ms - began_ms, 290, 1000);
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
	assert_in_range(last_slow_ms - began_ms, 490, 1200);
	for (i = 30; i < 40; i++)
		assert_in_range(calls[i].outcome.at_ms - began_ms, 0, 400);
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
		TEST(a_lack_of_descriptors_slows_and_does_not_fail),
		TEST(a_limit_of_64_descriptors_is_survived),
		TEST(the_descriptor_may_sit_in_another_epoll_set),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
