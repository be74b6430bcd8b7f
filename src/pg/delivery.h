/*-------------------------------------------------------------------------
 * delivery.h
 *		Sends alerts to their endpoints.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_DELIVERY_H
#define QPSSCALE_DELIVERY_H

#include "postgres.h"

/*
 * Records what has been answered and sends what is due.  Never waits: a
 * transaction or two, and requests that go on by themselves.  alerts_written:
 * look into the table though nothing is known to be due.  worker_runs: end the
 * alert that says it does not.
 */
extern void qpsscale_deliver(bool alerts_written, bool worker_runs);

/* Until it is worth calling that again without any news; milliseconds. */
extern int64 qpsscale_delivery_wait_ms(void);

/* Is anything on its way? */
extern bool qpsscale_delivery_busy(void);

#endif							/* QPSSCALE_DELIVERY_H */
