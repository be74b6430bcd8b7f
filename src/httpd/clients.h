/*-------------------------------------------------------------------------
 * clients.h
 *		Who is connected, and for how long they may keep us waiting.
 *
 * libmicrohttpd's time-out is one of inactivity, which a client that sends a
 * byte a second never meets.  So each connection has a deadline by the clock
 * for its request, and where there are too many the one that has waited
 * longest without asking anything makes room for the newest.
 *-------------------------------------------------------------------------
 */
#ifndef HTTPD_CLIENTS_H
#define HTTPD_CLIENTS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

/* The listening socket, in the epoll set with &clients_tag as its data. */
extern const int clients_tag;
extern bool clients_listen(int epoll);
extern void clients_accept(struct MHD_Daemon *daemon);
extern void clients_stop(void);

/* Where we listen, for people: "127.0.0.1:8082". */
extern const char *clients_where(void);
extern int	clients_port(void);

/* MHD_OPTION_NOTIFY_CONNECTION */
extern void clients_notify(void *cls, struct MHD_Connection *connection,
						   void **socket_context,
						   enum MHD_ConnectionNotificationCode code);

/* A request's headers are there; it has been answered. */
extern void clients_asked(struct MHD_Connection *connection);
extern void clients_answered(struct MHD_Connection *connection);

/* Ends what is overdue; returns ms until the next may be. */
extern int	clients_tick(int64_t now_ms);

/* Its address, as text in a buffer that the next call overwrites. */
extern const char *clients_address(struct MHD_Connection *connection);

#endif							/* HTTPD_CLIENTS_H */
