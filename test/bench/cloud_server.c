/*-------------------------------------------------------------------------
 * cloud_server.c
 *		A fast HTTP/1.1 server on loopback that plays the cloud in benchmarks.
 *
 * One thread, one epoll set.  A reply that has to wait for the pretended
 * latency sits in a heap ordered by due time, with a timerfd for its top, so
 * that any number of replies can wait at once.  A connection carries one
 * request at a time; pipelined bytes wait in its input buffer.  What is
 * answered is decided in cloud_api.c.
 *
 * Prints "listening on 127.0.0.1:PORT" and runs until it is killed.
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "cloud_api.h"

#define MAX_REQUEST_BYTES	65536
#define MAX_CONNECTIONS		16384
#define EVENTS_PER_WAIT		256
#define BURST_GAP_US		400000

typedef struct Connection
{
	int			fd;				/* -1 = unused */
	char	   *in;
	size_t		in_length;
	size_t		consumed;		/* bytes of in that the current request took */
	Text		out;
	size_t		out_sent;
	bool		busy;			/* a request is being answered */
	bool		is_call;
	bool		carried_call;	/* counted in counters->connections */
	bool		close_after;
	bool		wants_write;
	int64_t		due_us;
	int			heap_index;		/* -1 = not waiting */
	struct Connection *next_free;
} Connection;

typedef struct Server
{
	Api		   *api;
	ApiCounters *counters;
	int			epoll_fd;
	int			listen_fd;
	int			timer_fd;
	int64_t		armed_for_us;	/* 0 = timer not armed */
	Connection *heap[MAX_CONNECTIONS];
	int			n_heap;
	int			n_connections;
	Connection *free_list;
} Server;

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void
die(const char *what)
{
	fprintf(stderr, "cloud_server: %s: %s\n", what, strerror(errno));
	exit(1);
}

/*-------------------------------------------------------------------------
 * The heap of replies that wait for their time
 *-------------------------------------------------------------------------
 */
static void
heap_place(Server *server, int index, Connection *connection)
{
	server->heap[index] = connection;
	connection->heap_index = index;
}

static void
heap_sift_up(Server *server, int index, Connection *connection)
{
	while (index > 0)
	{
		int			parent = (index - 1) / 2;

		if (server->heap[parent]->due_us <= connection->due_us)
			break;
		heap_place(server, index, server->heap[parent]);
		index = parent;
	}
	heap_place(server, index, connection);
}

static void
heap_sift_down(Server *server, int index, Connection *connection)
{
	for (;;)
	{
		int			child = 2 * index + 1;

		if (child >= server->n_heap)
			break;
		if (child + 1 < server->n_heap &&
			server->heap[child + 1]->due_us < server->heap[child]->due_us)
			child++;
		if (server->heap[child]->due_us >= connection->due_us)
			break;
		heap_place(server, index, server->heap[child]);
		index = child;
	}
	heap_place(server, index, connection);
}

static void
heap_remove(Server *server, Connection *connection)
{
	int			index = connection->heap_index;
	Connection *last;

	if (index < 0)
		return;
	connection->heap_index = -1;
	last = server->heap[--server->n_heap];
	if (last == connection)
		return;
	if (index > 0 && server->heap[(index - 1) / 2]->due_us > last->due_us)
		heap_sift_up(server, index, last);
	else
		heap_sift_down(server, index, last);
}

/* Arms the timer for the heap's top unless it will already fire by then. */
static void
arm_timer(Server *server)
{
	struct itimerspec spec = {0};
	int64_t		due;

	if (server->n_heap == 0)
		return;
	due = server->heap[0]->due_us;
	if (server->armed_for_us != 0 && server->armed_for_us <= due)
		return;
	spec.it_value.tv_sec = due / 1000000;
	spec.it_value.tv_nsec = (due % 1000000) * 1000;
	if (timerfd_settime(server->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
		die("timerfd_settime");
	server->armed_for_us = due;
}

/*-------------------------------------------------------------------------
 * Connections
 *-------------------------------------------------------------------------
 */
static void
call_started(Server *server, Connection *connection)
{
	ApiCounters *counters = server->counters;
	int64_t		now = now_us();

	if (!connection->carried_call)
	{
		connection->carried_call = true;
		counters->connections++;
	}
	if (counters->in_flight == 0 &&
		now - counters->last_reply_us > BURST_GAP_US)
	{
		counters->burst_started_us = now;
		if (counters->n_bursts < MAX_BURSTS)
			counters->n_bursts++;
	}
	counters->in_flight++;
	if (counters->in_flight > counters->max_in_flight)
		counters->max_in_flight = counters->in_flight;
}

static void
call_ended(Server *server)
{
	ApiCounters *counters = server->counters;
	int64_t		now = now_us();

	counters->in_flight--;
	counters->last_reply_us = now;
	if (counters->n_bursts > 0)
		counters->burst_us[counters->n_bursts - 1] =
			now - counters->burst_started_us;
}

static void
close_connection(Server *server, Connection *connection)
{
	if (connection->fd < 0)
		return;
	heap_remove(server, connection);
	if (connection->busy && connection->is_call)
		call_ended(server);
	close(connection->fd);
	connection->fd = -1;
	connection->next_free = server->free_list;
	server->free_list = connection;
	server->n_connections--;
}

static Connection *
new_connection(Server *server, int fd)
{
	Connection *connection = server->free_list;

	if (connection != NULL)
		server->free_list = connection->next_free;
	else
	{
		connection = calloc(1, sizeof(*connection));
		if (connection == NULL ||
			(connection->in = malloc(MAX_REQUEST_BYTES)) == NULL)
			die("out of memory");
	}
	connection->fd = fd;
	connection->in_length = 0;
	connection->consumed = 0;
	connection->out.length = 0;
	connection->out_sent = 0;
	connection->busy = false;
	connection->is_call = false;
	connection->carried_call = false;
	connection->close_after = false;
	connection->wants_write = false;
	connection->heap_index = -1;
	server->n_connections++;
	return connection;
}

static void
accept_connections(Server *server)
{
	for (;;)
	{
		struct epoll_event event = {.events = EPOLLIN};
		int			one = 1;
		int			fd = accept4(server->listen_fd, NULL, NULL,
								 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
		{
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno == EAGAIN || errno == EWOULDBLOCK)
				return;
			die("accept");
		}
		if (server->n_connections >= MAX_CONNECTIONS)
		{
			close(fd);
			continue;
		}
		if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
			die("setsockopt");
		event.data.ptr = new_connection(server, fd);
		if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
			die("epoll_ctl");
	}
}

static bool
watch(Server *server, Connection *connection, bool wants_write)
{
	struct epoll_event event;

	if (connection->wants_write == wants_write)
		return true;
	event.events = EPOLLIN | (wants_write ? EPOLLOUT : 0);
	event.data.ptr = connection;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, connection->fd,
				  &event) < 0)
		return false;
	connection->wants_write = wants_write;
	return true;
}

/*
 * Sends what is left of the reply.  true when all of it is gone and the
 * connection is open and free for the next request.
 */
static bool
send_reply(Server *server, Connection *connection)
{
	while (connection->out_sent < connection->out.length)
	{
		ssize_t		n = send(connection->fd,
							 connection->out.data + connection->out_sent,
							 connection->out.length - connection->out_sent,
							 MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		{
			if (!watch(server, connection, true))
				close_connection(server, connection);
			return false;
		}
		if (n <= 0)
		{
			close_connection(server, connection);
			return false;
		}
		connection->out_sent += (size_t) n;
	}
	if (connection->is_call)
	{
		server->counters->bytes_sent += (int64_t) connection->out.length;
		call_ended(server);
	}
	connection->busy = false;
	connection->out.length = 0;
	connection->out_sent = 0;
	if (connection->close_after || !watch(server, connection, false))
	{
		close_connection(server, connection);
		return false;
	}

	/* Keep bytes that came after the request. */
	connection->in_length -= connection->consumed;
	if (connection->in_length > 0)
		memmove(connection->in, connection->in + connection->consumed,
				connection->in_length);
	connection->consumed = 0;
	return true;
}

/* Value of a header within the head, or NULL.  The name ends in ':'. */
static const char *
find_header(const char *head, size_t length, const char *name)
{
	size_t		name_length = strlen(name);
	const char *end = head + length;
	const char *line = memchr(head, '\n', length);

	while (line != NULL && ++line < end)
	{
		if ((size_t) (end - line) > name_length &&
			strncasecmp(line, name, name_length) == 0)
		{
			line += name_length;
			while (line < end && *line == ' ')
				line++;
			return line;
		}
		line = memchr(line, '\n', (size_t) (end - line));
	}
	return NULL;
}

typedef enum ParseResult
{
	PARSE_COMPLETE,
	PARSE_MORE,
	PARSE_BAD
} ParseResult;

/* Cuts one request out of the connection's input. */
static ParseResult
parse_request(Connection *connection, ApiRequest *request)
{
	const char *in = connection->in;
	const char *head_end = memmem(in, connection->in_length, "\r\n\r\n", 4);
	const char *space;
	const char *value;
	size_t		head_length;
	size_t		body_length = 0;

	if (head_end == NULL)
		return connection->in_length >= MAX_REQUEST_BYTES ?
			PARSE_BAD : PARSE_MORE;
	head_length = (size_t) (head_end - in) + 4;

	value = find_header(in, head_length, "content-length:");
	if (value != NULL)
		body_length = strtoul(value, NULL, 10);
	if (body_length > MAX_REQUEST_BYTES - head_length)
		return PARSE_BAD;
	if (connection->in_length < head_length + body_length)
		return PARSE_MORE;

	request->method = in;
	space = memchr(in, ' ', head_length);
	if (space == NULL)
		return PARSE_BAD;
	request->method_length = (size_t) (space - in);
	request->target = space + 1;
	space = memchr(space + 1, ' ', head_length - request->method_length - 1);
	if (space == NULL)
		return PARSE_BAD;
	request->target_length = (size_t) (space - request->target);
	request->body = in + head_length;
	request->body_length = body_length;

	value = find_header(in, head_length, "connection:");
	if (value != NULL && strncasecmp(value, "close", 5) == 0)
		connection->close_after = true;
	connection->consumed = head_length + body_length;
	return PARSE_COMPLETE;
}

/* Answers requests that are complete in the input, one at a time. */
static void
serve_input(Server *server, Connection *connection)
{
	while (!connection->busy)
	{
		ApiRequest	request;
		ParseResult result = parse_request(connection, &request);
		int64_t		delay;

		if (result == PARSE_MORE)
			return;
		if (result == PARSE_BAD)
		{
			close_connection(server, connection);
			return;
		}
		delay = api_answer(server->api, &request, &connection->out,
						   &connection->is_call);
		connection->busy = true;
		if (connection->is_call)
			call_started(server, connection);
		if (delay > 0)
		{
			connection->due_us = now_us() + delay;
			heap_sift_up(server, server->n_heap++, connection);
			return;
		}
		if (!send_reply(server, connection))
			return;
	}
}

static void
read_input(Server *server, Connection *connection)
{
	ssize_t		n;

	if (connection->in_length >= MAX_REQUEST_BYTES)
	{
		close_connection(server, connection);
		return;
	}
	n = recv(connection->fd, connection->in + connection->in_length,
			 MAX_REQUEST_BYTES - connection->in_length, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
	{
		close_connection(server, connection);
		return;
	}
	connection->in_length += (size_t) n;
	serve_input(server, connection);
}

static void
fire_timer(Server *server)
{
	uint64_t	expirations;
	int64_t		now = now_us();

	if (read(server->timer_fd, &expirations, sizeof(expirations)) < 0 &&
		errno != EAGAIN)
		die("timerfd");
	server->armed_for_us = 0;
	while (server->n_heap > 0 && server->heap[0]->due_us <= now)
	{
		Connection *connection = server->heap[0];

		heap_remove(server, connection);
		if (send_reply(server, connection))
			serve_input(server, connection);
	}
}

/*-------------------------------------------------------------------------
 * Start
 *-------------------------------------------------------------------------
 */
static void
open_sockets(Server *server)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	socklen_t	length = sizeof(address);
	struct epoll_event event = {.events = EPOLLIN};

	server->listen_fd = socket(AF_INET,
							   SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (server->listen_fd < 0)
		die("socket");
	if (bind(server->listen_fd, (struct sockaddr *) &address, length) < 0)
		die("bind");
	if (listen(server->listen_fd, 1024) < 0)
		die("listen");
	if (getsockname(server->listen_fd, (struct sockaddr *) &address,
					&length) < 0)
		die("getsockname");
	server->timer_fd = timerfd_create(CLOCK_MONOTONIC,
									  TFD_NONBLOCK | TFD_CLOEXEC);
	if (server->timer_fd < 0)
		die("timerfd_create");
	server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (server->epoll_fd < 0)
		die("epoll_create1");

	/* The two that are no connection are told by their addresses. */
	event.data.ptr = &server->listen_fd;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->listen_fd,
				  &event) < 0)
		die("epoll_ctl");
	event.data.ptr = &server->timer_fd;
	if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->timer_fd,
				  &event) < 0)
		die("epoll_ctl");
	printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
	if (fflush(stdout) != 0)
		die("stdout");
}

static void
run(Server *server)
{
	struct epoll_event events[EVENTS_PER_WAIT];

	for (;;)
	{
		int			n = epoll_wait(server->epoll_fd, events,
								   EVENTS_PER_WAIT, -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++)
		{
			void	   *what = events[i].data.ptr;
			Connection *connection = what;

			if (what == &server->listen_fd)
				accept_connections(server);
			else if (what == &server->timer_fd)
				fire_timer(server);
			else if (connection->fd < 0)
				continue;		/* closed earlier in this batch */
			else if ((events[i].events & EPOLLOUT) != 0)
			{
				if (send_reply(server, connection))
					serve_input(server, connection);
			}
			else
				read_input(server, connection);
		}
		arm_timer(server);
	}
}

int
main(int argc, char **argv)
{
	static Server server;
	ApiOptions	options = {.groups = 1000, .acting = 0.10, .apply = true};
	struct rlimit limit;

	for (int i = 1; i < argc; i += 2)
	{
		if (strncmp(argv[i], "--", 2) != 0 || i + 1 >= argc ||
			!api_set_option(&options, argv[i] + 2, argv[i + 1]))
		{
			fprintf(stderr, "usage: cloud_server [--groups N] [--latency-ms MS]"
					" [--acting SHARE] [--error-rate SHARE] [--apply 0|1]\n"
					"  [--slow-group N:MS] [--slow-describe N:MS]\n"
					"not understood: %s\n", argv[i]);
			return 2;
		}
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		(void) setrlimit(RLIMIT_NOFILE, &limit);	/* fewer will do as well */
	}
	signal(SIGPIPE, SIG_IGN);
	server.api = api_new(&options);
	server.counters = api_counters(server.api);
	open_sockets(&server);
	run(&server);
	return 0;
}
