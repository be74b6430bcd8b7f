/*-------------------------------------------------------------------------
 * breaker.h
 *		How long to wait before something that failed is tried again.
 *
 * Two breakers use it.  The circuit breaker opens when actions of a group
 * were refused, or not answered, several times in a row; after each pause one
 * attempt is made, whose success closes it and whose failure doubles the
 * pause.  The stock-out breaker holds a group whose accepted growth brought no
 * instance, and tries again after pauses that grow the same way.
 *
 * Pauses carry jitter, so that groups which failed together do not come back
 * together.  It is made of the group and the count, not of chance: the same
 * failure always has the same pause, on whatever server it is computed.
 *-------------------------------------------------------------------------
 */
#ifndef QS_BREAKER_H
#define QS_BREAKER_H

#include <stdint.h>

#define QS_CIRCUIT_FAILURES		5	/* in a row, before it opens */

/* The longest pause that qs_circuit_pause_us() can give: an hour and its
 * jitter.  A circuit that is open for longer was left by another clock. */
#define QS_CIRCUIT_LONGEST_US	(INT64_C(4500) * 1000000)

/*
 * The pause after that many failures in a row: 0 below QS_CIRCUIT_FAILURES,
 * then a minute, doubling to an hour, and up to a quarter more.
 */
extern int64_t qs_circuit_pause_us(int64_t group_id, int failures);

#define QS_STOCK_OUT_AFTER		3	/* unfulfilled scale-ups in a row */

/* The longest pause that qs_stock_out_pause_us() can give. */
#define QS_STOCK_OUT_LONGEST_US QS_CIRCUIT_LONGEST_US

/* The pause before desired is written once more: five minutes, doubling to an
 * hour, and up to a quarter more. */
extern int64_t qs_stock_out_pause_us(int64_t group_id, int unfulfilled);

#endif							/* QS_BREAKER_H */
