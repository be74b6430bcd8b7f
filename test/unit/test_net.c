/*-------------------------------------------------------------------------
 * test_net.c
 *		src/net against a real server on loopback: what goes out, each way in
 *		which a call can end, and what is refused.
 *-------------------------------------------------------------------------
 */
#include "net_client.h"

#include <dirent.h>
#include <pthread.h>

static void
a_reply_comes_with_status_type_and_body(void **state)
{
	Call call;
	Outcome *o;

	(void) state;
	start_net(10);
	o = get(&call, "/ok");
	assert_true(o->ok && o->sent);
	assert_int_equal(o->status, 200);
	assert_int_equal(o->attempts, 1);
	assert_string_equal(o->content_type, "application/json");
	assert_string_equal(o->body, "{\"ok\": true}");
	assert_int_equal(o->retry_after_ms, -1);
	o = get(&call, "/interim");
	assert_int_equal(o->status, 200);
	assert_string_equal(o->content_type, "text/late");
	assert_int_equal(o->retry_after_ms, -1);
	assert_int_equal(stats_of().requests, 2);
	assert_int_equal(stats_of().failures, 0);
	assert_true(stats_of().bytes_received > 50);
}

static void
a_request_goes_out_as_it_was_built(void **state)
{
	static const QsHttpHeader headers[] = {
		{"Authorization", "HMAC abc"}, {"X-Empty", ""}, {"content-type", "application/json"}, {"Content-Length", "7"}, {"Host", "signed.example"}};
	static const char *const methods[] = {"POST", "PUT", "PATCH", "GET"};
	QsNetLimits limits = limits_of(5000, 4000);
	Call call;
	size_t i;

	(void) state;
	start_net(10);
	for (i = 0; i < 4; i++)
	{
		char first_line[64];

		memset(&call, 0, sizeof(call));
		call.request.method = methods[i];
		call.request.headers = headers;
		call.request.n_headers = 5;
		call.request.body = "{\"n\":1}";
		call.request.body_length = 7;
		submit(&call, "/echo?b=2&a=1", &limits);
		run();
		snprintf(first_line, sizeof(first_line),
				 "%s /echo?b=2&a=1 HTTP/1.1\r\n", methods[i]);
		assert_ptr_equal(strstr(call.outcome.body, first_line),
						 call.outcome.body);
		assert_non_null(strstr(call.outcome.body,
							   "\r\nAuthorization: HMAC abc\r\n"));
		assert_non_null(strstr(call.outcome.body, "\r\nX-Empty:\r\n"));
		assert_non_null(strstr(call.outcome.body, "\r\nHost: signed.example"));
		assert_non_null(strstr(call.outcome.body, "\r\n\r\n{\"n\":1}"));
		assert_non_null(strstr(call.outcome.body, "Agent: qpsscale-test\r\n"));
		assert_null(strcasestr(call.outcome.body, "\r\nExpect"));
		assert_null(strcasestr(strcasestr(call.outcome.body,
										  "\r\nContent-Length: 7") +
								   5,
							   "\r\nContent-Length"));
	}

	/* Nothing of the last request may cling to the next. */
	get(&call, "/echo");
	assert_null(strcasestr(call.outcome.body, "Authorization"));
	assert_null(strcasestr(call.outcome.body, "Content-"));
	memset(&call, 0, sizeof(call));
	call.request.method = "POST";
	submit(&call, "/echo", &limits);
	run();
	assert_non_null(strstr(call.outcome.body, "\r\nContent-Length: 0\r\n"));
	assert_null(strstr(call.outcome.body, "urlencoded"));
}

static void
a_malformed_request_is_refused_at_once(void **state)
{
	QsNetLimits limits = limits_of(5000, 4000);
	QsHttpHeader bad[] = {{"X", "a\r\nEvil: b"}, {"X Y", "a"}, {"", "a"}, {"X", NULL}, {"X:", "a"}, {"X", "a\nb"}};
	Call call;
	QsError error;
	size_t i;

	(void) state;
	start_net(10);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		memset(&call, 0, sizeof(call));
		call.request.headers = &bad[i];
		call.request.n_headers = 1;
		assert_false(submit_url(&call, "https://example.com/", &limits,
								&error));
		assert_string_equal(error.code, "protocol");
	}
	memset(&call, 0, sizeof(call));
	call.request.method = "GET / HTTP/1.1\r\n";
	assert_false(submit_url(&call, "https://example.com/", &limits, &error));
	call.request.method = NULL;
	assert_false(submit_url(&call, "gopher://example.com/", &limits, &error));
	assert_string_equal(error.code, "url_refused");
	assert_false(submit_url(&call, "http://example.com/", &limits, &error));
	assert_string_equal(error.code, "url_refused");
	assert_int_equal(qs_net_pending(net), 0);
}

static void
every_failure_has_its_code_and_tells_whether_it_was_sent(void **state)
{
	static const struct
	{
		const char *path;
		const char *code;
		QsErrorClass class;
		bool sent;
	} cases[] = {
		{"/hang", "timeout", QS_ERROR_TRANSIENT, true},
		{"/reset", "reset", QS_ERROR_TRANSIENT, true},
		{"/close", "reset", QS_ERROR_TRANSIENT, true},
		{"/truncate", "reset", QS_ERROR_TRANSIENT, true},
		{"/endless", "too_large", QS_ERROR_RESOURCES, true},
		{"/announce", "too_large", QS_ERROR_RESOURCES, true},
		{"/garbage", "protocol", QS_ERROR_TRANSIENT, true},
	};
	QsNetLimits limits = limits_of(10000, 300);
	QsNetLimits short_limits;
	Call call;
	Outcome *o = &call.outcome;
	QsError error;
	size_t i;

	(void) state;
	start_net(10);
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		memset(&call, 0, sizeof(call));
		submit(&call, cases[i].path, &limits);
		run();
		assert_false(o->ok);
		if (strcmp(o->error.code, cases[i].code) != 0)
			fail_msg("%s: %s, %s", cases[i].path, o->error.code,
					 o->error.message);
		assert_int_equal(o->error.class, cases[i].class);
		assert_int_equal(o->sent, cases[i].sent);
		assert_int_equal(o->error.http_status, 0);
		assert_int_equal(o->error.retry_after_ms, -1);
		assert_non_null(strstr(o->error.message, "127.0.0.1:"));
		assert_null(strstr(o->error.message, cases[i].path));
	}

	/* Port 1 answers nobody; nothing was sent. */
	memset(&call, 0, sizeof(call));
	assert_true(submit_url(&call, "http://127.0.0.1:1/", &limits, &error));
	run();
	assert_string_equal(o->error.code, "connect");
	assert_false(o->sent);

	memset(&call, 0, sizeof(call));
	assert_true(submit_url(&call, "https://no.such.host.invalid/", &limits,
						   &error));
	run();
	assert_string_equal(o->error.code,
						strcmp(o->error.code, "timeout") == 0 ? "timeout" :
																"resolve");
	assert_false(o->sent);

	/* TLS with a server that speaks none. */
	memset(&call, 0, sizeof(call));
	snprintf(call.url, sizeof(call.url), "https://127.0.0.1:%d/", server_port);
	call.request.url = call.url;
	call.request.method = "GET";
	assert_true(qs_net_submit(net, &call.request, &limits, &call, &error));
	run();
	assert_true(strcmp(o->error.code, "tls") == 0 ||
				strcmp(o->error.code, "timeout") == 0);
	assert_false(o->sent);

	/* The deadline comes before the time-out, in flight and in the queue. */
	short_limits = limits_of(100, 5000);
	memset(&call, 0, sizeof(call));
	submit(&call, "/hang", &short_limits);
	run();
	assert_string_equal(o->error.code, "deadline");
	assert_true(o->sent);
	short_limits = limits_of(-5, 5000);
	memset(&call, 0, sizeof(call));
	submit(&call, "/ok", &short_limits);
	run();
	assert_string_equal(o->error.code, "deadline");
	assert_false(o->sent);
	assert_int_equal(stats_of().failures, 12);
}

static void
redirects_are_returned_and_not_followed(void **state)
{
	Call call;
	int before = server_counts->requests;

	(void) state;
	start_net(10);
	assert_int_equal(get(&call, "/redirect")->status, 302);
	assert_true(call.outcome.ok);
	assert_int_equal(server_counts->requests, before + 1);
}

static void
retry_after_is_read_from_the_reply(void **state)
{
	Call call;

	(void) state;
	start_net(10);
	assert_int_equal(get(&call, "/busy/7")->retry_after_ms, 7000);
	assert_int_equal(call.outcome.status, 429);
	assert_int_equal(get(&call, "/busy/100000")->retry_after_ms, 3600000);
	assert_int_equal(get(&call, "/busy-until/60")->retry_after_ms, 60000);
}

static void
a_retry_waits_is_bounded_and_respects_the_deadline(void **state)
{
	QsNetLimits limits = limits_of(10000, 1000);
	QsNetResult result;
	QsError error;
	Call call;
	int64_t began_ms = qs_net_now_ms();
	int before = server_counts->requests;
	int tries = 0;

	(void) state;
	start_net(10);
	memset(&call, 0, sizeof(call));
	submit(&call, "/busy/1", &limits);
	for (;;)
	{
		wait_and_drive(1000);
		if (take_one(&result) == NULL)
			continue;
		assert_int_equal(result.attempts, ++tries);
		qs_error_set(&error, QS_ERROR_TRANSIENT, "x", "x");
		error.retry_after_ms = -1;
		if (!qs_net_retry(net, &error))
			break;
		assert_int_equal(qs_net_pending(net), 1);
	}
	assert_int_equal(tries, 3);
	assert_int_equal(server_counts->requests - before, 3);
	assert_in_range(qs_net_now_ms() - began_ms, 0, at_ease(1000));
	assert_int_equal(stats_of().retries, 2);
	assert_false(qs_net_next(net, &result));
	assert_false(qs_net_retry(net, &error)); /* nothing was taken */

	/* Retry-After is kept to, */
	memset(&call, 0, sizeof(call));
	began_ms = qs_net_now_ms();
	submit(&call, "/busy/1", &limits);
	while (take_one(&result) == NULL)
		wait_and_drive(1000);
	qs_error_set(&error, QS_ERROR_THROTTLED, "x", "x");
	error.retry_after_ms = 200;
	assert_true(qs_net_retry(net, &error));
	run();
	assert_in_range(call.outcome.at_ms - began_ms, 200, at_ease(1000));
	assert_int_equal(call.outcome.attempts, 2);

	/* but not past the deadline. */
	limits = limits_of(1000, 1000);
	submit(&call, "/busy/1", &limits);
	while (take_one(&result) == NULL)
		wait_and_drive(1000);
	error.retry_after_ms = 1000;
	assert_false(qs_net_retry(net, &error));
	assert_int_equal(qs_net_pending(net), 0);
}

/* Stands before the socket: no packet leaves this machine. */
static bool
no_socket(void *context)
{
	(void) context;
	return false;
}

static const char *
code_of_get(const char *url)
{
	static Call call;
	QsNetLimits limits = limits_of(10000, 3000);
	QsError error;

	memset(&call, 0, sizeof(call));
	if (!submit_url(&call, url, &limits, &error))
	{
		memcpy(call.outcome.error.code, error.code, sizeof(error.code));
		return call.outcome.error.code;
	}
	run();
	return call.outcome.error.code;
}

/*
 * The list is for clouds' private endpoints; a metadata service hands this
 * host's credentials to any caller, so no entry of that list opens it.
 */
static void
a_metadata_service_is_reached_only_by_a_net_that_may(void **state)
{
	QsError error;

	(void) state;
	start_net(10);
	options.allowed_hosts = "100.96.0.96,169.254.169.254,*.example";
	options.acquire_fd = no_socket;
	assert_true(qs_net_configure(net, &options, &error));
	assert_string_equal(code_of_get("http://100.96.0.96/x"),
						"address_refused");
	assert_string_equal(code_of_get("https://169.254.169.254/x"),
						"address_refused");

	options.allowed_hosts = "";
	options.reach_metadata = true;
	assert_true(qs_net_configure(net, &options, &error));
	assert_string_equal(code_of_get("http://100.96.0.96/x"), "descriptors");
	assert_string_equal(code_of_get("http://100.96.0.97/x"), "url_refused");
	assert_string_equal(code_of_get("https://100.96.0.97/x"),
						"address_refused");
	assert_string_equal(code_of_get("https://10.0.0.1/x"),
						"address_refused");
	options.reach_metadata = false;
	assert_true(qs_net_configure(net, &options, &error));
	assert_string_equal(code_of_get("http://100.96.0.96/x"), "url_refused");
	options.acquire_fd = NULL;
}

static void
inner_addresses_are_refused_unless_allowed(void **state)
{
	static const char *const refused[] = {
		"https://127.0.0.1:%d/",
		"https://localhost:%d/",
		"https://[::1]:%d/",
		"https://[::ffff:127.0.0.1]:%d/",
		"https://10.255.255.1:%d/",
		"https://169.254.169.254:%d/",
		"https://100.96.0.96:%d/",
		"https://0.0.0.0:%d/",
		"https://2130706433:%d/",
		"https://0x7f.1:%d/",
		"https://127.1:%d/",
	};
	QsNetLimits limits = limits_of(10000, 3000);
	int accepted = server_counts->accepted;
	Call call;
	QsError error;
	char url[100];
	size_t i;

	(void) state;
	start_net(10);
	assert_true(get(&call, "/ok")->ok);
	options.allowed_hosts = "127.0.0.9";
	assert_true(qs_net_configure(net, &options, &error));
	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
	{
		memset(&call, 0, sizeof(call));
		snprintf(url, sizeof(url), refused[i], server_port);
		assert_true(submit_url(&call, url, &limits, &error));
		run();
		if (strcmp(call.outcome.error.code, "address_refused") != 0)
			fail_msg("%s: %s %s", url, call.outcome.error.code,
					 call.outcome.error.message);
		assert_int_equal(call.outcome.error.class, QS_ERROR_TERMINAL);
		assert_false(call.outcome.sent);
	}
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/ok", server_port);
	assert_false(submit_url(&call, url, &limits, &error));
	assert_string_equal(error.code, "url_refused");
	assert_int_equal(server_counts->accepted, accepted + 1);

	/* A bad list changes nothing. */
	options.allowed_hosts = "127.0.0.1, *";
	assert_false(qs_net_configure(net, &options, &error));
	assert_string_equal(error.code, "allowed_hosts");
	assert_false(submit_url(&call, url, &limits, &error));
	options.allowed_hosts = "127.0.0.1";
	assert_true(qs_net_configure(net, &options, &error));
	assert_true(get(&call, "/ok")->ok);
}

static void
proxies_and_netrc_of_the_environment_are_ignored(void **state)
{
	char directory[] = "/tmp/test_net_XXXXXX";
	char path[64];
	FILE *file;
	Call call;

	(void) state;
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/.netrc", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("machine 127.0.0.1 login canary password canary\n", file);
	fclose(file);
	setenv("HOME", directory, 1);
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	start_net(10);
	assert_true(get(&call, "/echo")->ok);
	assert_null(strstr(call.outcome.body, "Authorization"));
	assert_null(strstr(call.outcome.body, "http://"));
	unsetenv("http_proxy");
	unsetenv("https_proxy");
	unsetenv("ALL_PROXY");
	unlink(path);
	rmdir(directory);
}

static void
a_connection_closed_while_idle_costs_no_call(void **state)
{
	Call call;

	(void) state;
	start_net(10);
	assert_true(server_becomes(&server_counts->open, 0));
	assert_true(get(&call, "/leave")->ok);
	assert_true(server_becomes(&server_counts->open, 0));
	assert_true(get(&call, "/ok")->ok);
	assert_int_equal(stats_of().connections_opened, 2);
}

static void
nothing_is_sent_twice_behind_our_back(void **state)
{
	static const char *const methods[] = {"POST", "GET"};
	QsNetLimits limits = limits_of(5000, 3000);
	Call call;
	int i;

	(void) state;
	for (i = 0; i < 2; i++)
	{
		int requests;

		start_net(1);
		assert_true(get(&call, "/drop-second")->ok);
		requests = server_counts->requests;
		memset(&call, 0, sizeof(call));
		call.request.method = methods[i];
		submit(&call, "/drop-second", &limits);
		run();
		assert_false(call.outcome.ok);
		assert_string_equal(call.outcome.error.code, "reset");
		assert_true(call.outcome.sent);
		assert_int_equal(server_counts->requests, requests + 1);
		assert_true(get(&call, "/ok")->ok);
		qs_net_free(net);
	}
	net = NULL;
}

/* Four idle connections, all of which the server drops when they are used. */
static void
a_repeated_call_does_not_meet_the_next_dead_connection(void **state)
{
	QsNetLimits limits = limits_of(5000, 3000);
	Call calls[4];
	QsNetResult result;
	QsError transient = {.class = QS_ERROR_TRANSIENT, .retry_after_ms = 0};
	int i;

	(void) state;
	start_net(4);
	memset(calls, 0, sizeof(calls));
	for (i = 0; i < 4; i++)
		submit(&calls[i], "/slow/50", &limits);
	run();
	assert_int_equal(stats_of().connections_open, 4);

	memset(calls, 0, sizeof(calls));
	submit(&calls[0], "/drop-second", &limits);
	while (take_one(&result) == NULL)
		wait_and_drive(1000);
	assert_string_equal(calls[0].outcome.error.code, "reset");
	assert_true(qs_net_retry(net, &transient));
	run();
	assert_true(calls[0].outcome.ok);
	assert_int_equal(calls[0].outcome.attempts, 2);
}

static void
no_compression_is_asked_for_but_it_is_understood(void **state)
{
	Call call;

	(void) state;
	start_net(1);
	assert_non_null(strstr(get(&call, "/echo")->body,
						   "\r\nAccept-Encoding: identity\r\n"));
	assert_string_equal(get(&call, "/compressed")->body, "{\"ok\": true}");
}

static void
resolver_threads_have_their_signals_blocked(void **state)
{
	sigset_t before;
	sigset_t after;
	Call call;
	QsNetLimits limits = limits_of(2000, 1000);
	QsError error;
	DIR *tasks;
	struct dirent *entry;
	int signal;

	(void) state;
	start_net(10);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	memset(&call, 0, sizeof(call));
	assert_true(submit_url(&call, "https://signals.test.invalid/", &limits,
						   &error));
	qs_net_drive(net);
	tasks = opendir("/proc/self/task");
	while ((entry = readdir(tasks)) != NULL)
	{
		char path[300];
		char line[200];
		FILE *file;

		if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/status",
				 entry->d_name);
		file = fopen(path, "r");
		while (file != NULL && fgets(line, sizeof(line), file) != NULL)
			if (strncmp(line, "SigBlk:", 7) == 0)
				assert_true((strtoull(line + 7, NULL, 16) &
							 (1 << (SIGTERM - 1) | 1 << (SIGUSR1 - 1))) ==
							(1 << (SIGTERM - 1) | 1 << (SIGUSR1 - 1)));
		if (file != NULL)
			fclose(file);
	}
	closedir(tasks);
	qs_net_cancel_all(net);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (signal = 1; signal < 65; signal++)
		assert_int_equal(sigismember(&before, signal),
						 sigismember(&after, signal));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_reply_comes_with_status_type_and_body),
		TEST(a_request_goes_out_as_it_was_built),
		TEST(a_malformed_request_is_refused_at_once),
		TEST(every_failure_has_its_code_and_tells_whether_it_was_sent),
		TEST(redirects_are_returned_and_not_followed),
		TEST(retry_after_is_read_from_the_reply),
		TEST(a_retry_waits_is_bounded_and_respects_the_deadline),
		TEST(inner_addresses_are_refused_unless_allowed),
		TEST(a_metadata_service_is_reached_only_by_a_net_that_may),
		TEST(proxies_and_netrc_of_the_environment_are_ignored),
		TEST(a_connection_closed_while_idle_costs_no_call),
		TEST(nothing_is_sent_twice_behind_our_back),
		TEST(a_repeated_call_does_not_meet_the_next_dead_connection),
		TEST(no_compression_is_asked_for_but_it_is_understood),
		TEST(resolver_threads_have_their_signals_blocked),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
