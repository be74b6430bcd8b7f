/*-------------------------------------------------------------------------
 * pool.c
 *		A few connections to the database, and the calls that wait for one.
 *
 * A call is two statements in one pipeline, and so one round trip and one
 * transaction: the first takes on the token's role for as long as the
 * transaction lasts, the second is the call itself.  Only fixed statements are
 * sent, so that nobody can undo the first.
 *-------------------------------------------------------------------------
 */
#include "pool.h"

#include "settings.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define MAX_WAITING			256		/* calls without a connection */
#define MAX_PREPARED		32		/* statements of one connection */
#define CONNECT_TIMEOUT_MS	10000
#define CALL_TIMEOUT_MS		10000	/* the server's own ends after 5 s */
#define LONGEST_PAUSE_MS	10000

/* The role first: that the token was used is written, now and then, even where
 * the call itself only reads. */
static const char take_role[] =
"SELECT pg_catalog.set_config('role', qpsscale.token_role($1, $2), true),"
" pg_catalog.set_config('transaction_read_only', $3, true)";

typedef enum LinkState
{
	LINK_DOWN,					/* until retry_ms */
	LINK_CONNECTING,
	LINK_IDLE,
	LINK_BUSY
} LinkState;

typedef struct Link
{
	PGconn	   *conn;
	LinkState	state;
	int			fd;				/* in the epoll set, -1 = none */
	uint32_t	events;
	int64_t		retry_ms;
	int64_t		deadline_ms;
	int			pause_ms;
	Call	   *call;
	PGresult   *answer;			/* first error, or the row */
	const char *prepared[MAX_PREPARED]; /* NULL: the name is free */
	int			preparing[2];	/* their slots, each up to a sync of its own */
	int			n_preparing;
	int			n_synced;
	bool		failed;			/* since the last sync */
} Link;

static Link links[32];
static int	n_links = 0;
static int	epoll_fd = -1;
static Call *waiting_head = NULL;
static Call **waiting_tail = &waiting_head;
static int	n_waiting = 0;
static char problem[256] = "not connected yet";

int64_t
clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The first line only: what follows may quote the connection string. */
static void
note_problem(const char *message)
{
	size_t		length = strcspn(message, "\n");

	if (length >= sizeof(problem))
		length = sizeof(problem) - 1;
	memcpy(problem, message, length);
	problem[length] = '\0';
}

static void
watch(Link *link, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = link};
	int			fd = link->conn == NULL ? -1 : PQsocket(link->conn);

	if (fd == link->fd && events == link->events)
		return;
	if (link->fd >= 0 && link->fd != fd)
	{
		/* libpq may have closed it, and others may have got the number */
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
		link->fd = -1;
	}
	if (fd >= 0 &&
		epoll_ctl(epoll_fd, link->fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd,
				  &event) != 0)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
	link->fd = fd;
	link->events = events;
}

static void
finish_call(Link *link, const char *why)
{
	Call	   *call = link->call;
	PGresult   *answer = link->answer;

	link->call = NULL;
	link->answer = NULL;
	if (call != NULL)
		call->done(call, answer, why);
	PQclear(answer);
}

static void
drop(Link *link, const char *why)
{
	note_problem(why);
	log_line(LOG_LEVEL_WARN, "database: %s", problem);
	if (link->fd >= 0)
		(void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
	link->fd = -1;
	PQfinish(link->conn);
	link->conn = NULL;
	link->state = LINK_DOWN;
	link->pause_ms = link->pause_ms == 0 ? 100 : link->pause_ms * 2;
	if (link->pause_ms > LONGEST_PAUSE_MS)
		link->pause_ms = LONGEST_PAUSE_MS;
	link->retry_ms = clock_ms() + link->pause_ms;
	memset(link->prepared, 0, sizeof(link->prepared));
	PQclear(link->answer);
	link->answer = NULL;
	finish_call(link, "the connection to the database was lost");
}

/*
 * What stands before the connection string is a default that it may change;
 * what stands behind it holds.
 */
static void
connect_link(Link *link)
{
	static const char *const names[] = {"target_session_attrs",
		"connect_timeout", "application_name", "dbname", "options", NULL};
	const char *values[] = {"read-write", "5", "qpsscale-httpd",
		settings.database_url,
		"-c statement_timeout=5000 -c lock_timeout=2000"
		" -c idle_in_transaction_session_timeout=5000"
	" -c search_path=pg_catalog", NULL};

	link->conn = PQconnectStartParams(names, values, 1);
	link->state = LINK_CONNECTING;
	link->deadline_ms = clock_ms() + CONNECT_TIMEOUT_MS;
	if (link->conn == NULL)
	{
		drop(link, "out of memory");
		return;
	}
	if (PQstatus(link->conn) == CONNECTION_BAD)
	{
		drop(link, PQerrorMessage(link->conn));
		return;
	}
	watch(link, EPOLLOUT);
}

/*
 * Slot of a statement, -1 if it cannot be prepared.  Preparing ends with a
 * sync: whether it succeeded is then known by itself, and an error of the call
 * does not undo it.
 */
static int
prepare(Link *link, const char *statement)
{
	char		name[16];
	int			slot;

	for (slot = 0; slot < MAX_PREPARED; slot++)
		if (link->prepared[slot] == statement)
			return slot;
	for (slot = 0; slot < MAX_PREPARED && link->prepared[slot] != NULL; slot++)
		;
	if (slot == MAX_PREPARED)
		return -1;
	snprintf(name, sizeof(name), "s%d", slot);
	if (!PQsendPrepare(link->conn, name, statement, 0, NULL) ||
		!PQpipelineSync(link->conn))
		return -1;
	link->prepared[slot] = statement;
	link->preparing[link->n_preparing++] = slot;
	return slot;
}

static bool
send_prepared(Link *link, int slot, int n, const char *const *values)
{
	char		name[16];

	snprintf(name, sizeof(name), "s%d", slot);
	return PQsendQueryPrepared(link->conn, name, n, values, NULL, NULL, 0);
}

static bool
send_call(Link *link, const Call *call)
{
	const char *role_values[] = {call->token, call->address,
	call->read_only ? "on" : "off"};
	const char *call_values[] = {call->argument};
	int			role;
	int			statement;

	link->n_preparing = 0;
	link->n_synced = 0;
	link->failed = false;
	role = call->token == NULL ? 0 : prepare(link, take_role);
	statement = prepare(link, call->statement);
	return role >= 0 && statement >= 0 &&
		(call->token == NULL || send_prepared(link, role, 3, role_values)) &&
		send_prepared(link, statement, 1, call_values) &&
		PQpipelineSync(link->conn);
}

static void
flush(Link *link)
{
	int			left = PQflush(link->conn);

	if (left < 0)
		drop(link, PQerrorMessage(link->conn));
	else
		watch(link, left > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void
start_call(Link *link, Call *call)
{
	link->call = call;
	link->state = LINK_BUSY;
	link->deadline_ms = clock_ms() + CALL_TIMEOUT_MS;
	if (!send_call(link, call))
	{
		drop(link, PQerrorMessage(link->conn));
		return;
	}
	flush(link);
}

static void
serve(Link *link)
{
	while (link->state == LINK_IDLE && waiting_head != NULL)
	{
		Call	   *call = waiting_head;

		waiting_head = call->next;
		if (waiting_head == NULL)
			waiting_tail = &waiting_head;
		n_waiting--;
		start_call(link, call);
	}
}

static void
ignore_notice(void *context, const PGresult *result)
{
}

static void
go_on_connecting(Link *link)
{
	switch (PQconnectPoll(link->conn))
	{
		case PGRES_POLLING_READING:
			watch(link, EPOLLIN);
			break;
		case PGRES_POLLING_WRITING:
			watch(link, EPOLLOUT);
			break;
		case PGRES_POLLING_OK:
			PQsetNoticeReceiver(link->conn, ignore_notice, NULL);
			if (PQsetnonblocking(link->conn, 1) != 0 ||
				!PQenterPipelineMode(link->conn))
			{
				drop(link, PQerrorMessage(link->conn));
				break;
			}
			link->state = LINK_IDLE;
			link->pause_ms = 0;
			watch(link, EPOLLIN);
			log_line(LOG_LEVEL_INFO, "database: connected to %s",
					 PQhost(link->conn));
			serve(link);
			break;
		default:
			drop(link, PQerrorMessage(link->conn));
			break;
	}
}

/* The first error counts, or else the last row: that of the call. */
static void
keep_answer(Link *link, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	bool		have_error = link->answer != NULL &&
		PQresultStatus(link->answer) == PGRES_FATAL_ERROR;

	if (have_error ||
		(status != PGRES_TUPLES_OK && status != PGRES_FATAL_ERROR))
	{
		PQclear(result);
		return;
	}
	PQclear(link->answer);
	link->answer = result;
}

/* true: that was the last one.  What failed to be prepared is not there, and
 * what comes behind it will say so. */
static bool
take_sync(Link *link)
{
	int			i = link->n_synced++;

	if (i == link->n_preparing)
		return true;
	if (link->failed)
		link->prepared[link->preparing[i]] = NULL;
	link->failed = false;
	return false;
}

/*
 * NULL from PQgetResult stands between the results of two statements, and
 * behind the last; the end is PGRES_PIPELINE_SYNC.
 */
static void
take_results(Link *link)
{
	while (link->state == LINK_BUSY && !PQisBusy(link->conn))
	{
		PGresult   *result = PQgetResult(link->conn);

		if (result == NULL)
		{
			if (PQpipelineStatus(link->conn) == PQ_PIPELINE_OFF ||
				PQstatus(link->conn) == CONNECTION_BAD)
			{
				drop(link, PQerrorMessage(link->conn));
				return;
			}
			continue;
		}
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		{
			PQclear(result);
			if (!take_sync(link))
				continue;
			link->state = LINK_IDLE;
			finish_call(link, link->answer == NULL ? "no answer" : NULL);
			return;
		}
		link->failed |= PQresultStatus(result) == PGRES_FATAL_ERROR;
		keep_answer(link, result);
	}
}

/* A server that was demoted answers, but takes no writes: find the other. */
static bool
is_demoted(const Link *link)
{
	const char *read_only = PQparameterStatus(link->conn, "in_hot_standby");

	return read_only != NULL && strcmp(read_only, "on") == 0;
}

static void
go_on(Link *link)
{
	if (!PQconsumeInput(link->conn))
	{
		drop(link, PQerrorMessage(link->conn));
		return;
	}
	if (link->state == LINK_BUSY)
	{
		flush(link);
		if (link->conn == NULL)
			return;
		take_results(link);
	}
	if (link->conn == NULL)
		return;
	if (PQstatus(link->conn) == CONNECTION_BAD)
		drop(link, PQerrorMessage(link->conn));
	else if (link->state == LINK_IDLE && is_demoted(link))
		drop(link, "the server takes no writes any more");
	else
		serve(link);
}

bool
pool_owns(const void *tag)
{
	return tag >= (const void *) links && tag < (const void *) (links + 32);
}

void
pool_event(void *tag)
{
	Link	   *link = tag;

	if (link->conn == NULL)
		return;
	if (link->state == LINK_CONNECTING)
		go_on_connecting(link);
	else
		go_on(link);
}

bool
pool_ready(void)
{
	for (int i = 0; i < n_links; i++)
		if (links[i].state == LINK_IDLE || links[i].state == LINK_BUSY)
			return true;
	return false;
}

const char *
pool_problem(void)
{
	return problem;
}

bool
pool_start(int epoll)
{
	epoll_fd = epoll;
	n_links = settings.pool_size;
	for (int i = 0; i < n_links; i++)
	{
		links[i].fd = -1;
		connect_link(&links[i]);
	}
	return true;
}

bool
pool_submit(Call *call)
{
	if (n_waiting >= MAX_WAITING)
		return false;
	call->next = NULL;
	call->deadline_ms = clock_ms() + CALL_TIMEOUT_MS;
	*waiting_tail = call;
	waiting_tail = &call->next;
	n_waiting++;
	for (int i = 0; i < n_links && waiting_head != NULL; i++)
		if (links[i].state == LINK_IDLE)
			serve(&links[i]);
	return true;
}

/* Calls that nobody took in time; they stand in order of their deadlines. */
static void
expire_waiting(int64_t now_ms)
{
	while (waiting_head != NULL &&
		   (waiting_head->deadline_ms <= now_ms || !pool_ready()))
	{
		Call	   *call = waiting_head;

		waiting_head = call->next;
		if (waiting_head == NULL)
			waiting_tail = &waiting_head;
		n_waiting--;
		call->done(call, NULL, pool_ready() ?
				   "the database was busy for too long" :
				   "the database cannot be reached");
	}
}

int
pool_tick(int64_t now_ms)
{
	int64_t		next = now_ms + 1000;

	expire_waiting(now_ms);
	for (int i = 0; i < n_links; i++)
	{
		Link	   *link = &links[i];

		if (link->state == LINK_DOWN && link->retry_ms <= now_ms)
			connect_link(link);
		else if ((link->state == LINK_CONNECTING ||
				  link->state == LINK_BUSY) && link->deadline_ms <= now_ms)
			drop(link, link->state == LINK_BUSY ?
				 "the database does not answer" :
				 "no connection within 10 s");
		if (link->state == LINK_DOWN && link->retry_ms < next)
			next = link->retry_ms;
	}
	return next > now_ms ? (int) (next - now_ms) : 0;
}

void
pool_stop(void)
{
	for (int i = 0; i < n_links; i++)
	{
		PQfinish(links[i].conn);
		links[i].conn = NULL;
		links[i].state = LINK_DOWN;
		PQclear(links[i].answer);
		links[i].answer = NULL;
		finish_call(&links[i], "the server is stopping");
	}
	while (waiting_head != NULL)
	{
		Call	   *call = waiting_head;

		waiting_head = call->next;
		call->done(call, NULL, "the server is stopping");
	}
	waiting_tail = &waiting_head;
}
