/*-------------------------------------------------------------------------
 * multiplexer.c
 *		curl's multi handle with its sockets in a private epoll set.
 *-------------------------------------------------------------------------
 */
#include "net/multiplexer.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/net.h"

/* One poll handles at most this many events, then the owner gets control
 * back; what is left makes the descriptor readable again. */
#define EVENTS_PER_WAIT 64
#define WAITS_PER_POLL 16

void
qs_signals_block(sigset_t *saved)
{
	sigset_t all;

	sigfillset(&all);
	/* A fault in curl must stay a fault: blocked, these would be undefined. */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	if (pthread_sigmask(SIG_SETMASK, &all, saved) != 0)
		sigemptyset(saved);
}

void
qs_signals_restore(const sigset_t *saved)
{
	(void) pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/*
 * curl says which events it wants from a socket.  Whether we know the socket
 * already is asked of the kernel: a closed descriptor leaves the epoll set by
 * itself and its number comes back, so a note of our own could be stale.
 */
static int
on_socket(CURL *easy, curl_socket_t socket, int what, void *context,
		  void *socket_context)
{
	QsMultiplexer *mux = context;
	struct epoll_event event;

	(void) easy;
	(void) socket_context;
	memset(&event, 0, sizeof(event));
	event.data.fd = socket;
	switch (what)
	{
		case CURL_POLL_NONE:
			break;
		case CURL_POLL_IN:
			event.events = EPOLLIN;
			break;
		case CURL_POLL_OUT:
			event.events = EPOLLOUT;
			break;
		case CURL_POLL_INOUT:
			event.events = EPOLLIN | EPOLLOUT;
			break;
		case CURL_POLL_REMOVE:
			if (epoll_ctl(mux->epoll_fd, EPOLL_CTL_DEL, socket, &event) != 0 &&
				errno != ENOENT && errno != EBADF)
				return -1;
			return 0;
		default:
			return -1;
	}
	if (epoll_ctl(mux->epoll_fd, EPOLL_CTL_ADD, socket, &event) == 0)
		return 0;
	if (errno == EEXIST &&
		epoll_ctl(mux->epoll_fd, EPOLL_CTL_MOD, socket, &event) == 0)
		return 0;
	return -1;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *context)
{
	QsMultiplexer *mux = context;

	(void) multi;
	mux->timer_ms = timeout_ms < 0 ? -1 : qs_net_now_ms() + timeout_ms;
	return 0;
}

bool
qs_multiplexer_open(QsMultiplexer *mux, QsError *error)
{
	mux->timer_ms = -1;
	mux->multi = NULL;
	mux->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (mux->epoll_fd < 0)
		return qs_error_set(error, QS_ERROR_RESOURCES, "descriptors",
							"could not create an epoll descriptor: %s",
							strerror(errno));
	mux->multi = curl_multi_init();
	if (mux->multi == NULL ||
		curl_multi_setopt(mux->multi, CURLMOPT_SOCKETFUNCTION,
						  on_socket) != CURLM_OK ||
		curl_multi_setopt(mux->multi, CURLMOPT_SOCKETDATA, mux) != CURLM_OK ||
		curl_multi_setopt(mux->multi, CURLMOPT_TIMERFUNCTION,
						  on_timer) != CURLM_OK ||
		curl_multi_setopt(mux->multi, CURLMOPT_TIMERDATA, mux) != CURLM_OK)
	{
		qs_multiplexer_close(mux);
		return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
							"could not set libcurl up");
	}
#ifdef QS_CURL_HAS_MULTI_QUICK_EXIT
	(void) curl_multi_setopt(mux->multi, CURLMOPT_QUICK_EXIT, 1L);
#endif
	(void) curl_multi_setopt(mux->multi, CURLMOPT_PIPELINING,
							 (long) CURLPIPE_MULTIPLEX);
	return true;
}

/*
 * As many connections are kept as may be in use, so that the next cycle finds
 * all of them again.
 */
void
qs_multiplexer_set_limits(QsMultiplexer *mux, int connections)
{
	(void) curl_multi_setopt(mux->multi, CURLMOPT_MAXCONNECTS,
							 (long) connections);
	(void) curl_multi_setopt(mux->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
							 (long) connections);
}

void
qs_multiplexer_run_timer(QsMultiplexer *mux)
{
	int running;

	if (mux->timer_ms < 0 || qs_net_now_ms() < mux->timer_ms)
		return;
	mux->timer_ms = -1;
	(void) curl_multi_socket_action(mux->multi, CURL_SOCKET_TIMEOUT, 0,
									&running);
}

void
qs_multiplexer_poll(QsMultiplexer *mux)
{
	struct epoll_event events[EVENTS_PER_WAIT];
	int waits;

	for (waits = 0; waits < WAITS_PER_POLL; waits++)
	{
		int n = epoll_wait(mux->epoll_fd, events, EVENTS_PER_WAIT, 0);
		int i;

		for (i = 0; i < n; i++)
		{
			int running;
			int what = 0;

			if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP))
				what |= CURL_CSELECT_IN;
			if (events[i].events & EPOLLOUT)
				what |= CURL_CSELECT_OUT;
			if (events[i].events & EPOLLERR)
				what |= CURL_CSELECT_ERR;

			/*
			 * The socket may have been closed, or its number reused, by an
			 * event before it in the same batch.  curl then finds nothing to
			 * read, or does not know the socket; neither is an error.
			 */
			(void) curl_multi_socket_action(mux->multi, events[i].data.fd,
											what, &running);
		}
		if (n < EVENTS_PER_WAIT)
			break;
	}
	qs_multiplexer_run_timer(mux);
}

void
qs_multiplexer_close(QsMultiplexer *mux)
{
	if (mux->multi != NULL)
		(void) curl_multi_cleanup(mux->multi);
	mux->multi = NULL;
	if (mux->epoll_fd >= 0)
		(void) close(mux->epoll_fd);
	mux->epoll_fd = -1;
}
