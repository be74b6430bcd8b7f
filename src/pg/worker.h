/*-------------------------------------------------------------------------
 * worker.h
 *		The worker process: what its parts share.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_WORKER_H
#define QPSSCALE_WORKER_H

#include "net/net.h"
#include "pg/host.h"

/* Set once at the start of the process. */
extern const QpsscaleHost *qpsscale_worker_host;
extern QsNet *qpsscale_worker_net;

/*
 * Waits until the net's descriptor is readable, the latch is set or the time
 * has passed (milliseconds; -1 = no limit), then drives the net.  Checks for
 * interrupts (a termination does not return), reloads settings, beats the
 * heart.  No transaction may be open.
 */
extern void qpsscale_worker_wait(int64 timeout_ms);

/* Shown in stat_worker. */
extern void qpsscale_worker_state(const char *state);

#endif							/* QPSSCALE_WORKER_H */
