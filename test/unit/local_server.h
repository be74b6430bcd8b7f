/*-------------------------------------------------------------------------
 * local_server.h
 *		A small HTTP server in a child process, for test_net.c.
 *
 * One epoll loop.  The path of a request says how it is treated (see
 * behave()); a page shared with the test counts what the server saw, so that
 * a test can ask the other side of the wire.
 *-------------------------------------------------------------------------
 */
#ifndef LOCAL_SERVER_H
#define LOCAL_SERVER_H

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SERVER_CONNECTIONS 2048

typedef struct ServerCounts
{
	volatile int accepted;
	volatile int open;
	volatile int most_open;
	volatile int requests;
	volatile int waiting; /* /slow requests being waited for */
	volatile int most_waiting;
	volatile int dropped; /* requests read and not answered */
} ServerCounts;

typedef struct ServerConnection
{
	int fd;
	int requests;
	int64_t answer_at_ms; /* 0 = nothing due */
	bool endless; /* sends a body without end */
	size_t length;
	char in[8192];
} ServerConnection;

static ServerCounts *server_counts;
static pid_t server_pid;
static int server_port;
static ServerConnection *server_connections[SERVER_CONNECTIONS];

static int64_t
server_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
server_close(ServerConnection *c)
{
	server_connections[c->fd] = NULL;
	close(c->fd);
	free(c);
	server_counts->open--;
}

static void
server_send(ServerConnection *c, const char *text, size_t length)
{
	while (length > 0)
	{
		ssize_t n = send(c->fd, text, length, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the peer is gone; read will tell */
		text += n;
		length -= (size_t) n;
	}
}

static void
server_answer(ServerConnection *c, const char *status, const char *headers,
			  const char *body)
{
	char text[12288];
	int n = snprintf(text, sizeof(text),
					 "HTTP/1.1 %s\r\n%sContent-Length: %zu\r\n\r\n%s",
					 status, headers, strlen(body), body);

	server_send(c, text, (size_t) n);
}

static void
server_reset(ServerConnection *c)
{
	struct linger linger = {1, 0};

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	server_close(c);
}

static void
server_http_date(char *text, size_t size, time_t when)
{
	struct tm tm;

	gmtime_r(&when, &tm);
	strftime(text, size, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* true: the connection is gone. */
static bool
behave(ServerConnection *c, const char *path, const char *whole)
{
	char headers[512];
	char date[64];
	char later[64];

	c->requests++;
	server_counts->requests++;
	if (strncmp(path, "/slow/", 6) == 0)
	{
		c->answer_at_ms = server_now_ms() + atoi(path + 6);
		server_counts->waiting++;
		if (server_counts->waiting > server_counts->most_waiting)
			server_counts->most_waiting = server_counts->waiting;
		return false;
	}
	if (strncmp(path, "/hang", 5) == 0)
	{
		server_counts->dropped++;
		return false;
	}
	if (strncmp(path, "/reset", 6) == 0)
	{
		server_counts->dropped++;
		server_reset(c);
		return true;
	}
	if (strncmp(path, "/close", 6) == 0 ||
		(strncmp(path, "/drop-second", 12) == 0 && c->requests > 1))
	{
		server_counts->dropped++;
		server_close(c);
		return true;
	}
	if (strncmp(path, "/truncate", 9) == 0)
	{
		const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc";

		server_send(c, text, strlen(text));
		server_close(c);
		return true;
	}
	if (strncmp(path, "/leave", 6) == 0)
	{
		server_answer(c, "200 OK", "", "and goodbye");
		server_close(c);
		return true;
	}
	if (strncmp(path, "/compressed", 11) == 0)
	{
		static const char body[] =
			"\037\213\010\000\000\000\000\000\002\003\253\126"
			"\312\317\126\262\122\050\051\052\115\255\005\000"
			"\306\031\253\027\014\000\000\000";
		int n = snprintf(headers, sizeof(headers),
						 "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
						 "Content-Length: %zu\r\n\r\n",
						 sizeof(body) - 1);

		server_send(c, headers, (size_t) n);
		server_send(c, body, sizeof(body) - 1);
		return false;
	}
	if (strncmp(path, "/garbage", 8) == 0)
	{
		server_send(c, "220 this is not HTTP\r\n\r\n", 24);
		server_close(c);
		return true;
	}
	if (strncmp(path, "/endless", 8) == 0)
	{
		const char *text = "HTTP/1.1 200 OK\r\n"
						   "Transfer-Encoding: chunked\r\n\r\n";

		server_send(c, text, strlen(text));
		c->endless = true;
		return false;
	}
	if (strncmp(path, "/announce", 9) == 0)
	{
		const char *text = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";

		server_send(c, text, strlen(text));
		return false;
	}
	if (strncmp(path, "/redirect", 9) == 0)
		server_answer(c, "302 Found", "Location: /ok\r\n", "");
	else if (strncmp(path, "/busy/", 6) == 0)
	{
		snprintf(headers, sizeof(headers), "Retry-After: %d\r\n",
				 atoi(path + 6));
		server_answer(c, "429 Too Many Requests", headers, "slow down");
	}
	else if (strncmp(path, "/busy-until/", 12) == 0)
	{
		/* A server whose clock is a day off says "in n seconds". */
		server_http_date(date, sizeof(date), time(NULL) - 86400);
		server_http_date(later, sizeof(later),
						 time(NULL) - 86400 + atoi(path + 12));
		snprintf(headers, sizeof(headers), "Date: %s\r\nretry-after: %s\r\n",
				 date, later);
		server_answer(c, "503 Service Unavailable", headers, "");
	}
	else if (strncmp(path, "/interim", 8) == 0)
	{
		const char *text = "HTTP/1.1 103 Early Hints\r\nRetry-After: 5\r\n"
						   "Content-Type: text/early\r\n\r\n";

		server_send(c, text, strlen(text));
		server_answer(c, "200 OK", "Content-Type: text/late\r\n", "late");
	}
	else if (strncmp(path, "/echo", 5) == 0)
		server_answer(c, "200 OK", "Content-Type: text/plain\r\n", whole);
	else
		server_answer(c, "200 OK", "Content-Type: application/json\r\n",
					  "{\"ok\": true}");
	return false;
}

/* Takes complete requests out of the buffer. */
static void
server_read(ServerConnection *c)
{
	ssize_t n = read(c->fd, c->in + c->length,
					 sizeof(c->in) - 1 - c->length);
	char *end;

	if (n <= 0)
	{
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
		{
			if (c->answer_at_ms != 0)
				server_counts->waiting--;
			server_close(c);
		}
		return;
	}
	c->length += (size_t) n;
	c->in[c->length] = '\0';
	while ((end = strstr(c->in, "\r\n\r\n")) != NULL)
	{
		char *length_header = strcasestr(c->in, "\r\nContent-Length:");
		size_t whole = (size_t) (end + 4 - c->in);
		char request[8192];
		char *path;

		if (length_header != NULL && length_header < end)
			whole += (size_t) atoi(length_header + 17);
		if (whole > c->length)
			return;
		memcpy(request, c->in, whole);
		request[whole] = '\0';
		memmove(c->in, c->in + whole, c->length - whole + 1);
		c->length -= whole;
		path = strchr(request, ' ');
		if (path == NULL || behave(c, path + 1, request))
			return;
	}
}

static void
server_accept(int listener, int epoll_fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (fd >= SERVER_CONNECTIONS)
	{
		close(fd);
		return;
	}
	server_connections[fd] = calloc(1, sizeof(ServerConnection));
	server_connections[fd]->fd = event.data.fd = fd;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
	server_counts->accepted++;
	server_counts->open++;
	if (server_counts->open > server_counts->most_open)
		server_counts->most_open = server_counts->open;
}

static void
server_loop(int listener)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
	struct epoll_event events[64];

	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
	for (;;)
	{
		int n = epoll_wait(epoll_fd, events, 64, 2);
		int64_t now_ms = server_now_ms();
		int i;

		for (i = 0; i < n; i++)
		{
			if (events[i].data.fd == listener)
				server_accept(listener, epoll_fd);
			else if (server_connections[events[i].data.fd] != NULL)
				server_read(server_connections[events[i].data.fd]);
		}
		for (i = 0; i < SERVER_CONNECTIONS; i++)
		{
			ServerConnection *c = server_connections[i];

			if (c != NULL && c->answer_at_ms != 0 && now_ms >= c->answer_at_ms)
			{
				c->answer_at_ms = 0;
				server_counts->waiting--;
				server_answer(c, "200 OK", "", "at last");
			}
			else if (c != NULL && c->endless)
			{
				char chunk[4112];

				memset(chunk, 'x', sizeof(chunk));
				memcpy(chunk, "1000\r\n", 6);
				memcpy(chunk + 4102, "\r\n", 2);
				server_send(c, chunk, 4104);
			}
		}
	}
}

static void
server_start(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	server_counts = mmap(NULL, sizeof(*server_counts), PROT_READ | PROT_WRITE,
						 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (listener < 0 || server_counts == MAP_FAILED ||
		bind(listener, (struct sockaddr *) &address, sizeof(address)) != 0 ||
		listen(listener, 1024) != 0 ||
		getsockname(listener, (struct sockaddr *) &address, &length) != 0)
	{
		perror("local server");
		exit(1);
	}
	server_port = ntohs(address.sin_port);
	server_pid = fork();
	if (server_pid == 0)
	{
		/* Gone with the test, however that ends. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		server_loop(listener);
		_exit(0);
	}
	close(listener);
}

static void
server_stop(void)
{
	kill(server_pid, SIGKILL);
	waitpid(server_pid, NULL, 0);
	munmap(server_counts, sizeof(*server_counts));
}

/* Waits until the server saw something; never for a fixed time. */
__attribute__((unused)) static bool
server_becomes(volatile int *count, int value)
{
	int64_t end_ms = server_now_ms() + 5000;

	while (*count != value && server_now_ms() < end_ms)
		usleep(1000);
	return *count == value;
}

#endif /* LOCAL_SERVER_H */
