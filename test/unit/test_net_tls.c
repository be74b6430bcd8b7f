/*-------------------------------------------------------------------------
 * test_net_tls.c
 *		src/net over TLS: certificates are checked, handshakes are not
 *		repeated.  The server is Python's, the certificate made by openssl.
 *-------------------------------------------------------------------------
 */
#include "net/net_internal.h"
#include "net_client.h"

#include <fcntl.h>

static char directory[] = "/tmp/test_net_tls_XXXXXX";
static char ca_file[64];
static int tls_port;
static pid_t tls_pid;

static const char tls_server[] =
	"import http.server, ssl, sys, time\n"
	"class H(http.server.BaseHTTPRequestHandler):\n"
	"    protocol_version = 'HTTP/1.1'\n"
	"    disable_nagle_algorithm = True\n"
	"    wbufsize = -1\n"
	"    def log_message(self, *a): pass\n"
	"    def do_GET(self):\n"
	"        if self.path.startswith('/slow'): time.sleep(0.03)\n"
	"        self.send_response(200)\n"
	"        self.send_header('Content-Length', '2')\n"
	"        self.end_headers()\n"
	"        self.wfile.write(b'ok')\n"
	"class S(http.server.ThreadingHTTPServer):\n"
	"    request_queue_size = 128\n"
	"    def get_request(self):\n"
	"        s, a = self.socket.accept()\n"
	"        return c.wrap_socket(s, server_side=True,\n"
	"            do_handshake_on_connect=False), a\n"
	"    def handle_error(self, *a): pass\n"
	"c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
	"c.load_cert_chain(sys.argv[1] + '/cert.pem', sys.argv[1] + '/key.pem')\n"
	"s = S(('127.0.0.1', 0), H)\n"
	"print(s.server_address[1], flush=True)\n"
	"s.serve_forever()\n";

static int
start_tls_server(void **state)
{
	char command[400];
	int out[2];
	char line[32] = "";
	size_t length = 0;

	(void) state;
	if (mkdtemp(directory) == NULL || pipe2(out, O_CLOEXEC) != 0)
		return -1;
	snprintf(ca_file, sizeof(ca_file), "%s/cert.pem", directory);
	snprintf(command, sizeof(command),
			 "openssl req -x509 -newkey ec -pkeyopt "
			 "ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost "
			 "-addext subjectAltName=IP:127.0.0.1 -keyout %s/key.pem "
			 "-out %s/cert.pem 2>/dev/null",
			 directory, directory);
	if (system(command) != 0)
		return -1;
	tls_pid = fork();
	if (tls_pid == 0)
	{
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], 1);
		execlp("python3", "python3", "-c", tls_server, directory,
			   (char *) NULL);
		_exit(127);
	}
	close(out[1]);
	while (length < sizeof(line) - 1 &&
		   read(out[0], line + length, 1) == 1 && line[length] != '\n')
		length++;
	close(out[0]);
	tls_port = atoi(line);
	if (tls_port == 0)
		return -1;
	return start_server(state);
}

static int
stop_tls_server(void **state)
{
	char path[64];

	kill(tls_pid, SIGKILL);
	waitpid(tls_pid, NULL, 0);
	unlink(ca_file);
	snprintf(path, sizeof(path), "%s/key.pem", directory);
	unlink(path);
	rmdir(directory);
	return stop_server(state);
}

static Outcome *
get_tls(Call *call, const char *host, const char *own_ca_file)
{
	QsNetLimits limits = limits_of(5000, 4000);
	char url[100];
	QsError error;

	limits.ca_file = own_ca_file;
	memset(call, 0, sizeof(*call));
	snprintf(url, sizeof(url), "https://%s:%d/", host, tls_port);
	assert_true(submit_url(call, url, &limits, &error));
	run();
	return &call->outcome;
}

static void
an_unknown_certificate_is_refused(void **state)
{
	Call call;
	Outcome *o;

	(void) state;
	start_net(10);
	o = get_tls(&call, "127.0.0.1", NULL);
	assert_false(o->ok);
	assert_string_equal(o->error.code, "tls");
	assert_int_equal(o->error.class, QS_ERROR_TERMINAL);
	assert_false(o->sent);
	assert_non_null(strstr(o->error.message, "certificate"));

	/* The right authority, but a name that the certificate does not carry. */
	o = get_tls(&call, "localhost", ca_file);
	assert_string_equal(o->error.code, "tls");
	assert_false(o->sent);
	o = get_tls(&call, "127.0.0.1", "/nonexistent/ca.pem");
	assert_string_equal(o->error.code, "tls");
	assert_int_equal(stats_of().tls_handshakes, 0);
}

static void
a_known_certificate_is_accepted_and_the_handshake_kept(void **state)
{
	Call call;
	QsError error;
	int i;

	(void) state;
	start_net(10);
	options.ca_file = ca_file;
	assert_true(qs_net_configure(net, &options, &error));
	for (i = 0; i < 20; i++)
		assert_true(get_tls(&call, "127.0.0.1", NULL)->ok);
	assert_int_equal(stats_of().tls_handshakes, 1);
	assert_int_equal(stats_of().connections_opened, 1);
}

static void
a_ca_file_of_one_call_does_not_serve_the_next(void **state)
{
	Call call;

	(void) state;
	start_net(1);
	assert_true(get_tls(&call, "127.0.0.1", ca_file)->ok);
	assert_string_equal(get_tls(&call, "127.0.0.1", NULL)->error.code, "tls");
	assert_true(get_tls(&call, "127.0.0.1", ca_file)->ok);
}

/* A machine without the package ca-certificates, say. */
static void
nor_does_it_where_the_system_has_no_bundle(void **state)
{
	Call call;

	(void) state;
	start_net(1);
	free(net->system_ca_file);
	net->system_ca_file = NULL;
	assert_true(get_tls(&call, "127.0.0.1", ca_file)->ok);
	assert_string_equal(get_tls(&call, "127.0.0.1", NULL)->error.code, "tls");
}

/*
 * Cold, 40 calls of 30 ms each open connections side by side: were they to
 * wait for one another, they would take 1.2 s.
 */
static void
a_cold_start_opens_connections_side_by_side(void **state)
{
	Call *calls = calloc(40, sizeof(Call));
	QsNetLimits limits = limits_of(10000, 8000);
	int round;
	int i;

	(void) state;
	start_net(40);
	limits.ca_file = ca_file;
	for (round = 0; round < 2; round++)
	{
		int64_t began_ms = qs_net_now_ms();

		for (i = 0; i < 40; i++)
		{
			char url[100];
			QsError error;

			snprintf(url, sizeof(url), "https://127.0.0.1:%d/slow", tls_port);
			assert_true(submit_url(&calls[i], url, &limits, &error));
		}
		run();
		for (i = 0; i < 40; i++)
			assert_true(calls[i].outcome.ok);
		print_message("round %d: %d ms, %d handshakes\n", round,
					  (int) (qs_net_now_ms() - began_ms),
					  (int) stats_of().tls_handshakes);
		assert_in_range(qs_net_now_ms() - began_ms, 30, at_ease(900));
		assert_in_range(stats_of().tls_handshakes, 10, 40);
		assert_int_equal(stats_of().tls_handshakes,
						 stats_of().connections_opened);
	}
	free(calls);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_unknown_certificate_is_refused),
		TEST(a_known_certificate_is_accepted_and_the_handshake_kept),
		TEST(a_ca_file_of_one_call_does_not_serve_the_next),
		TEST(nor_does_it_where_the_system_has_no_bundle),
		TEST(a_cold_start_opens_connections_side_by_side),
	};

	return cmocka_run_group_tests(tests, start_tls_server, stop_tls_server);
}
