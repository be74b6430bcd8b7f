/*-------------------------------------------------------------------------
 * clients.c
 *		Who is connected, and for how long they may keep us waiting.
 *-------------------------------------------------------------------------
 */
#include "clients.h"

#include "pool.h"
#include "settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADERS_MS		5000	/* from the first byte to the last header */
#define REQUEST_MS		15000	/* to the answer */
#define IDLE_MS			15000	/* between two requests */
#define ACCEPT_AT_ONCE	64

typedef enum ClientState
{
	CLIENT_WAITING,				/* for the headers of a request */
	CLIENT_ASKING				/* a request is being served */
} ClientState;

typedef struct Client
{
	struct Client *next;		/* by age of the state, oldest first */
	struct Client *prev;
	int			fd;
	ClientState state;
	bool		served;			/* has got an answer before */
	bool		ended;			/* shut down, MHD will notice */
	int64_t		since_ms;
	struct sockaddr_storage address;
} Client;

const int	clients_tag = 0;

static Client clients = {.next = &clients, .prev = &clients};
static int	n_clients = 0;
static int	listen_fd = -1;
static char where[64];
static int	bound_port;

static void
unlink_client(Client *client)
{
	client->prev->next = client->next;
	client->next->prev = client->prev;
}

/* At the end of the list, as its state begins now. */
static void
enter_state(Client *client, ClientState state)
{
	client->state = state;
	client->since_ms = clock_ms();
	client->prev = clients.prev;
	client->next = &clients;
	clients.prev->next = client;
	clients.prev = client;
}

static void
end_client(Client *client)
{
	client->ended = true;
	(void) shutdown(client->fd, SHUT_RDWR);
}

bool
clients_listen(int epoll)
{
	struct sockaddr_storage address = {0};
	struct sockaddr_in *v4 = (struct sockaddr_in *) &address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &address;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr =
	(void *) &clients_tag};
	socklen_t	length = sizeof(address);
	int			on = 1;
	bool		is_v6 = inet_pton(AF_INET6, settings.host,
								  &v6->sin6_addr) == 1;

	if (is_v6)
	{
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t) settings.port);
	}
	else
	{
		memset(&address, 0, sizeof(address));
		inet_pton(AF_INET, settings.host, &v4->sin_addr);
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t) settings.port);
	}
	listen_fd = socket(address.ss_family,
					   SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listen_fd < 0 ||
		setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
		bind(listen_fd, (struct sockaddr *) &address,
			 is_v6 ? sizeof(*v6) : sizeof(*v4)) != 0 ||
		listen(listen_fd, 1024) != 0 ||
		getsockname(listen_fd, (struct sockaddr *) &address, &length) != 0 ||
		epoll_ctl(epoll, EPOLL_CTL_ADD, listen_fd, &event) != 0)
	{
		log_line(LOG_LEVEL_ERROR, "cannot listen at %s, port %d: %s",
				 settings.host, settings.port, strerror(errno));
		return false;
	}
	bound_port = ntohs(is_v6 ? v6->sin6_port : v4->sin_port);
	snprintf(where, sizeof(where), is_v6 ? "[%s]:%d" : "%s:%d", settings.host,
			 bound_port);
	return true;
}

const char *
clients_where(void)
{
	return where;
}

int
clients_port(void)
{
	return bound_port;
}

/*
 * Makes room where there are too many: of those who wait the one that never
 * asked anything goes first, then the one idle for longest.  Who is being
 * served stays.
 */
static bool
make_room(void)
{
	Client	   *idle = NULL;

	if (n_clients < settings.max_connections)
		return true;
	for (Client *c = clients.next; c != &clients; c = c->next)
	{
		if (c->state != CLIENT_WAITING || c->ended)
			continue;
		if (!c->served)
		{
			end_client(c);
			return true;
		}
		if (idle == NULL)
			idle = c;
	}
	if (idle == NULL)
		return false;
	end_client(idle);
	return true;
}

void
clients_accept(struct MHD_Daemon *daemon)
{
	for (int i = 0; i < ACCEPT_AT_ONCE; i++)
	{
		struct sockaddr_storage address;
		socklen_t	length = sizeof(address);
		int			on = 1;
		int			fd = accept4(listen_fd, (struct sockaddr *) &address,
								 &length, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0)
			return;
		if (!make_room())
		{
			(void) close(fd);
			continue;
		}
		(void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		/* on failure MHD has closed it */
		(void) MHD_add_connection(daemon, fd, (struct sockaddr *) &address,
								  length);
	}
}

static Client *
client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection,
								MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info == NULL ? NULL : info->socket_context;
}

static void
begin_client(struct MHD_Connection *connection, void **socket_context)
{
	const union MHD_ConnectionInfo *fd =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	const union MHD_ConnectionInfo *address =
		MHD_get_connection_info(connection,
								MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	Client	   *client = calloc(1, sizeof(Client));

	*socket_context = client;
	if (client == NULL || fd == NULL)
		return;
	client->fd = fd->connect_fd;
	if (address != NULL && address->client_addr != NULL)
		memcpy(&client->address, address->client_addr,
			   address->client_addr->sa_family == AF_INET6 ?
			   sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	enter_state(client, CLIENT_WAITING);
	n_clients++;
}

void
clients_notify(void *cls, struct MHD_Connection *connection,
			   void **socket_context,
			   enum MHD_ConnectionNotificationCode code)
{
	Client	   *client;

	if (code == MHD_CONNECTION_NOTIFY_STARTED)
	{
		begin_client(connection, socket_context);
		return;
	}
	client = *socket_context;
	if (client == NULL)
		return;
	unlink_client(client);
	n_clients--;
	free(client);
	*socket_context = NULL;
}

static void
change_state(struct MHD_Connection *connection, ClientState state)
{
	Client	   *client = client_of(connection);

	if (client == NULL)
		return;
	unlink_client(client);
	enter_state(client, state);
	client->served |= state == CLIENT_WAITING;
}

void
clients_asked(struct MHD_Connection *connection)
{
	change_state(connection, CLIENT_ASKING);
}

void
clients_answered(struct MHD_Connection *connection)
{
	change_state(connection, CLIENT_WAITING);
}

static int64_t
deadline_of(const Client *client)
{
	if (client->state == CLIENT_ASKING)
		return client->since_ms + REQUEST_MS;
	return client->since_ms + (client->served ? IDLE_MS : HEADERS_MS);
}

int
clients_tick(int64_t now_ms)
{
	int64_t		next = now_ms + 1000;

	for (Client *c = clients.next; c != &clients; c = c->next)
	{
		int64_t		deadline = deadline_of(c);

		if (c->ended)
			continue;
		if (deadline <= now_ms)
			end_client(c);
		else if (deadline < next)
			next = deadline;
	}
	return (int) (next - now_ms);
}

const char *
clients_address(struct MHD_Connection *connection)
{
	static char text[INET6_ADDRSTRLEN];
	const Client *client = client_of(connection);
	const void *bytes;

	text[0] = '\0';
	if (client == NULL)
		return text;
	bytes = client->address.ss_family == AF_INET6 ?
		(const void *) &((const struct sockaddr_in6 *) &client->address)->sin6_addr :
		(const void *) &((const struct sockaddr_in *) &client->address)->sin_addr;
	if (inet_ntop(client->address.ss_family, bytes, text, sizeof(text)) == NULL)
		text[0] = '\0';
	return text;
}

void
clients_stop(void)
{
	if (listen_fd >= 0)
		(void) close(listen_fd);
	listen_fd = -1;
}
