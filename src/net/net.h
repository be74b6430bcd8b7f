/*-------------------------------------------------------------------------
 * net.h
 *		Many HTTP requests at once behind one pollable descriptor.
 *
 * libcurl's multi interface with its sockets in a private epoll set.  The
 * caller submits requests, waits until qs_net_fd() is readable or
 * qs_net_timeout_ms() has passed, calls qs_net_drive(), and takes finished
 * calls with qs_net_next() one by one.  Connections are kept from cycle to
 * cycle.  Nothing here blocks, throws, logs, or reads a setting; curl's
 * callbacks record and return.
 *
 * Above curl sits a queue: at most max_in_flight requests run, the rest wait
 * in order of submission; each request may name a token bucket; a failed
 * request that the caller finds retryable goes back with qs_net_retry().
 * Throttling makes a host's calls of one bucket fewer at a time, and one that
 * does not answer at all is asked by one call at a time until it does.
 *
 * Not thread-safe; one QsNet a process.  Times are milliseconds of
 * CLOCK_MONOTONIC as returned by qs_net_now_ms().
 *-------------------------------------------------------------------------
 */
#ifndef QS_NET_H
#define QS_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/http_message.h"

typedef struct QsNet QsNet;

typedef struct QsNetOptions
{
	int			max_in_flight;	/* requests at once, and connections; 1..1000 */
	int			max_per_host;	/* connections to one host; 0 = max_in_flight */
	size_t		max_reply_bytes;	/* a larger body fails the call */
	const char *ca_file;		/* PEM bundle; NULL or "" = the system's */
	const char *user_agent;

	/* Comma-separated host names, addresses, host:port or *.suffix for which
	 * plain http and private, loopback or link-local addresses are allowed.
	 * Everything else must be https to a public address, checked on the
	 * address that is connected to. */
	const char *allowed_hosts;

	/* A cloud's metadata service, which gives this host's credentials to
	 * whoever asks, is refused even to hosts of that list; with this it is
	 * reached, by plain http too, where the URL names its address. */
	bool		reach_metadata;

	/* Accounting of descriptors with the process that embeds us; may be NULL.
	 * acquire returning false fails the connection cleanly. */
	bool		(*acquire_fd) (void *context);
	void		(*release_fd) (void *context);
	void	   *context;
} QsNetOptions;

typedef struct QsNetLimits
{
	int64_t		deadline_ms;	/* absolute; the call, retries included, fails
								 * with code "deadline" when it has passed */
	int			request_timeout_ms; /* of one attempt */
	int			connect_timeout_ms; /* of these; 0 = all of them */
	const char *bucket;			/* token bucket's name, or NULL for none; copied */
	/* Of the bucket: at most burst (1 to 64) calls in any burst / rate
	 * seconds; a rate <= 0 is no limit. */
	double		rate_per_second;
	double		burst;
	const char *ca_file;		/* overrides the option for this call, or NULL */

	/*
	 * PEM shown to the server, or NULL; valid as long as the request.  A
	 * connection is shared by calls with the same certificate, and curl does
	 * not compare keys: so the key must follow in certificate as well, or who
	 * knows another's certificate would use his connection.
	 */
	const char *client_certificate;
	const char *client_key;
} QsNetLimits;

typedef struct QsNetResult
{
	void	   *tag;			/* as submitted */
	bool		ok;				/* a complete reply arrived, whatever its status */
	QsHttpReply reply;			/* valid if ok, until the next qs_net_next(),
								 * qs_net_retry() or qs_net_cancel_all() */
	QsError		error;			/* set if not ok: class, code ("timeout",
								 * "resolve", "connect", "tls", "reset",
								 * "too_large", "address_refused", "deadline",
								 * "url_refused", "protocol", "no_memory",
								 * "withdrawn", "endpoint_down") */
	bool		sent;			/* the request may have reached the server: a
								 * write without a reply has unknown outcome */
	int			attempts;		/* 1 for the first */
	int			elapsed_ms;		/* of the last attempt, waiting in the queue
								 * not counted; 0 if none was made */
} QsNetResult;

typedef struct QsNetStats		/* since qs_net_new(), except in_flight, queued */
{
	int64_t		requests;
	int64_t		retries;
	int64_t		failures;
	int64_t		connections_opened;
	int64_t		tls_handshakes;
	int64_t		bytes_received;
	int			in_flight;
	int			queued;
	int			connections_open;
} QsNetStats;

/* curl_global_init() happens here, with all signals blocked. */
extern QsNet *qs_net_new(const QsNetOptions *options, QsError *error);

/* Replaces options after a reload; requests in flight keep the old ones. */
extern bool qs_net_configure(QsNet *net, const QsNetOptions *options,
							 QsError *error);

/* Drops everything at once, without waiting for a resolver thread. */
extern void qs_net_free(QsNet *net);

/* Readable when there is something to drive; constant for the QsNet's life. */
extern int	qs_net_fd(const QsNet *net);
extern int64_t qs_net_now_ms(void);

/* How long to wait at most for qs_net_fd(); -1 = for ever, 0 = drive now. */
extern int64_t qs_net_timeout_ms(const QsNet *net);

/* The request and everything it points to must stay valid until its result
 * has been taken and not been retried.  false: refused, see error; no result
 * will come. */
extern bool qs_net_submit(QsNet *net, const QsHttpRequest *request,
						  const QsNetLimits *limits, void *tag,
						  QsError *error);

extern void qs_net_drive(QsNet *net);

/* Takes one finished call; false when there is none. */
extern bool qs_net_next(QsNet *net, QsNetResult *result);

/*
 * Puts the call that qs_net_next() returned last back into the queue: waits
 * for error->retry_after_ms if given, else for a random time between 0 and
 * base * 2^(attempts-1) (base 100 ms, 500 ms when throttled, at most 5 s: full
 * jitter).  false if the wait would pass the deadline, after 3 attempts, or while
 * the endpoint is down: the call is then over.
 */
extern bool qs_net_retry(QsNet *net, const QsError *error);

/*
 * The reply that qs_net_next() gave last said that we ask too much: fewer calls
 * of its host and bucket are in flight from now on, and more again as answers
 * come (congestion.h).
 */
extern void qs_net_throttled(QsNet *net);

/*
 * Ends the calls that wait to be sent, or to be sent again, and that unwanted()
 * picks by their tags.  Their results come as of any call, not sent, with code
 * "withdrawn".  What is in flight goes on.  Returns how many there were.
 */
extern int	qs_net_withdraw(QsNet *net,
							bool (*unwanted) (void *context, void *tag),
							void *context);

/* Number of calls submitted and not yet taken by qs_net_next(). */
extern int	qs_net_pending(const QsNet *net);

/* Aborts what is queued or in flight; no results come for them. */
extern void qs_net_cancel_all(QsNet *net);
extern void qs_net_stats(const QsNet *net, QsNetStats *stats);

#endif							/* QS_NET_H */
