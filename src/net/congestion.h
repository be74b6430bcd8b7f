/*-------------------------------------------------------------------------
 * congestion.h
 *		How many calls of one API may be in flight, judged by its answers.
 *
 * Additive increase, multiplicative decrease, as TCP does it (RFC 5681): a
 * throttled call halves the number, answers let it grow by one per round.
 *
 * An endpoint that lets QS_DEAD_AFTER calls of one busy period go unanswered,
 * with no answer between them, is down.  From then on a single call at a time
 * probes it; when the probe goes unanswered, whatever else waits for the
 * endpoint in this period need not be tried.  The first answer ends it.
 *
 * A period begins when something is submitted to a net that was idle: a cycle
 * or a stage of it.  A single call that hangs in each period is therefore no
 * dead endpoint, and costs nobody else his turn.
 *-------------------------------------------------------------------------
 */
#ifndef QS_CONGESTION_H
#define QS_CONGESTION_H

#include <stdbool.h>
#include <stdint.h>

#define QS_DEAD_AFTER 3

typedef struct QsCongestion
{
	int running;
	double window; /* calls in flight; 0 = as many as there is room for */
	int64_t reduced_ms; /* when it was last made smaller */
	int unanswered; /* in a row, in the period below */
	int64_t period;
	bool down;
	int64_t probed_period; /* in which a probe went unanswered */
} QsCongestion;

extern bool qs_congestion_has_room(const QsCongestion *congestion);

/* Would another call be in vain in this period? */
extern bool qs_congestion_is_vain(const QsCongestion *congestion,
								  int64_t period);

/* A call that started at started_ms was throttled. */
extern void qs_congestion_throttled(QsCongestion *congestion,
									int64_t started_ms, int64_t now_ms);
extern void qs_congestion_answered(QsCongestion *congestion, int most);
extern void qs_congestion_unanswered(QsCongestion *congestion,
									 int64_t period);

#endif /* QS_CONGESTION_H */
