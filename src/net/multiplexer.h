/*-------------------------------------------------------------------------
 * multiplexer.h
 *		curl's multi handle with its sockets in a private epoll set.
 *
 * The epoll descriptor is what the process waits for.  curl's timer is not a
 * descriptor but a moment that the owner asks for.  Every function here is
 * called with signals blocked (see qs_signals_block).
 *-------------------------------------------------------------------------
 */
#ifndef QS_MULTIPLEXER_H
#define QS_MULTIPLEXER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "net/compat_curl.h"

typedef struct QsMultiplexer
{
	CURLM *multi;
	int epoll_fd;
	int64_t timer_ms; /* when curl wants to be called; -1 = never */
} QsMultiplexer;

/*
 * curl looks names up in threads, and a thread inherits the signal mask of
 * the one that starts it.  The embedding process's signal handlers are not
 * made to run in a foreign thread, so signals are blocked around whatever may
 * start one (curl issue 8339: by design).
 */
extern void qs_signals_block(sigset_t *saved);
extern void qs_signals_restore(const sigset_t *saved);

extern bool qs_multiplexer_open(QsMultiplexer *mux, QsError *error);
extern void qs_multiplexer_set_limits(QsMultiplexer *mux, int connections);

/* Handles waiting events and the timer if it is due. */
extern void qs_multiplexer_poll(QsMultiplexer *mux);
extern void qs_multiplexer_run_timer(QsMultiplexer *mux);

/* All easy handles have been removed before. */
extern void qs_multiplexer_close(QsMultiplexer *mux);

#endif /* QS_MULTIPLEXER_H */
