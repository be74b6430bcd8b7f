/*-------------------------------------------------------------------------
 * main.c
 *		qpsscale-httpd: REST, metrics and dashboard of qpsscale, outside the
 *		database server.
 *
 * One thread and one epoll set: the listening socket, libmicrohttpd's own set
 * and the connections to the database.  A program of its own, so that a bug
 * here restarts nobody's database.
 *-------------------------------------------------------------------------
 */
#include "clients.h"
#include "exchange.h"
#include "pool.h"
#include "settings.h"

#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define CONNECTION_MEMORY	(16 * 1024) /* headers of a request */
#define SLACK				128	/* connections that are being closed */
#define EXIT_GRACE_MS		5000

static const int daemon_tag = 0;
static const int signal_tag = 0;

static bool stopping = false;

static void __attribute__((format(printf, 2, 0)))
log_mhd(void *cls, const char *fmt, va_list args)
{
	char		line[512];

	vsnprintf(line, sizeof(line), fmt, args);
	log_line(LOG_LEVEL_DEBUG, "%s", line);
}

static struct MHD_Daemon *
start_daemon(int epoll)
{
	struct MHD_Daemon *daemon =
		MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET |
						 MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
						 NULL, NULL, exchange_handle, NULL,
						 MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL,
						 MHD_OPTION_CONNECTION_LIMIT,
						 (unsigned) (settings.max_connections + SLACK),
						 MHD_OPTION_CONNECTION_MEMORY_LIMIT,
						 (size_t) CONNECTION_MEMORY,
						 MHD_OPTION_STRICT_FOR_CLIENT, 1,
						 MHD_OPTION_NOTIFY_CONNECTION, clients_notify, NULL,
						 MHD_OPTION_NOTIFY_COMPLETED, exchange_completed, NULL,
						 MHD_OPTION_END);
	const union MHD_DaemonInfo *info = daemon == NULL ? NULL :
		MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr =
	(void *) &daemon_tag};

	if (info == NULL ||
		epoll_ctl(epoll, EPOLL_CTL_ADD, info->epoll_fd, &event) != 0)
	{
		log_line(LOG_LEVEL_ERROR, "cannot start libmicrohttpd: %s",
				 strerror(errno));
		return NULL;
	}
	return daemon;
}

static bool
watch_signals(int epoll)
{
	sigset_t	set;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr =
	(void *) &signal_tag};
	int			fd;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return false;
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* A descriptor for each client, and some for everything else. */
static void
raise_descriptors(void)
{
	struct rlimit limit;
	rlim_t		wanted = (rlim_t) settings.max_connections + SLACK + 128;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	(void) setrlimit(RLIMIT_NOFILE, &limit);
}

static int
least(int a, int b)
{
	return a < b ? a : b;
}

static void
handle_events(const struct epoll_event *events, int n,
			  struct MHD_Daemon *daemon)
{
	for (int i = 0; i < n; i++)
	{
		void	   *tag = events[i].data.ptr;

		if (tag == &signal_tag)
			stopping = true;
		else if (tag == &clients_tag)
			clients_accept(daemon);
		else if (pool_owns(tag))
			pool_event(tag);
	}
}

/*
 * libmicrohttpd's set is level-triggered and nested, and resumed connections
 * are found by running it: it is run each time round.
 */
static void
run(int epoll, struct MHD_Daemon *daemon)
{
	struct epoll_event events[64];
	int64_t		stop_ms = 0;

	for (;;)
	{
		int64_t		now_ms = clock_ms();
		int			wait_ms = least(pool_tick(now_ms),
									least(clients_tick(now_ms),
										  exchange_tick(now_ms)));
		MHD_UNSIGNED_LONG_LONG mhd_ms;
		int			n;

		if (stopping && stop_ms == 0)
		{
			clients_stop();
			stop_ms = now_ms + EXIT_GRACE_MS;
		}
		if (stopping && (exchange_count() == 0 || now_ms >= stop_ms))
			return;
		if (MHD_get_timeout(daemon, &mhd_ms) == MHD_YES &&
			mhd_ms < (MHD_UNSIGNED_LONG_LONG) wait_ms)
			wait_ms = (int) mhd_ms;
		n = epoll_wait(epoll, events, 64, stopping ? least(wait_ms, 20) :
					   wait_ms);
		if (n < 0 && errno != EINTR)
		{
			log_line(LOG_LEVEL_ERROR, "epoll_wait: %s", strerror(errno));
			return;
		}
		handle_events(events, n, daemon);
		(void) MHD_run(daemon);
	}
}

int
main(int argc, char **argv)
{
	struct MHD_Daemon *daemon;
	int			epoll;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
	{
		settings_help();
		return 0;
	}
	if (!settings_read(argc, argv))
		return 2;
	/* no core dump with tokens in it */
	(void) prctl(PR_SET_DUMPABLE, 0);
	raise_descriptors();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0 || !watch_signals(epoll) || !clients_listen(epoll))
		return 1;
	daemon = start_daemon(epoll);
	if (daemon == NULL || !pool_start(epoll))
		return 1;
	if (settings.redis_url_unused)
		log_line(LOG_LEVEL_INFO, "REDIS_URL is not used: the database is the shared state");
	log_line(LOG_LEVEL_INFO, "listening at http://%s/", clients_where());
	run(epoll, daemon);
	pool_stop();
	(void) MHD_run(daemon);
	MHD_stop_daemon(daemon);
	(void) close(epoll);
	log_line(LOG_LEVEL_INFO, "stopped");
	return 0;
}
