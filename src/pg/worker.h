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
extern QsNet *qpsscale_worker_net;	/* the channel of the clouds */

/*
 * Waits until a channel's descriptor is readable, the latch is set or the time
 * has passed (milliseconds; -1 = no limit), then drives the channels.  Checks for
 * interrupts (a termination does not return), reloads settings, beats the
 * heart.  No transaction may be open.
 */
extern void qpsscale_worker_wait(int64 timeout_ms);

/*
 * The level to report at: LOG for what is important enough by
 * qpsscale.log_level (DEBUG1, LOG, WARNING or ERROR), else one that the log
 * does not show by default.
 */
static inline int
qpsscale_elevel(int importance)
{
	return importance >= qpsscale_worker_host->settings->log_level ?
		LOG : DEBUG2;
}

/* Shown in stat_worker. */
extern void qpsscale_worker_state(const char *state);

#endif							/* QPSSCALE_WORKER_H */
