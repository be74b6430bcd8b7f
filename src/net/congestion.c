/*-------------------------------------------------------------------------
 * congestion.c
 *		How many calls of one API may be in flight, judged by its answers.
 *-------------------------------------------------------------------------
 */
#include "net/congestion.h"

bool
qs_congestion_has_room(const QsCongestion *congestion)
{
	if (congestion->down)
		return congestion->running == 0;
	return congestion->window <= 0 ||
		congestion->running < (int) congestion->window;
}

bool
qs_congestion_is_vain(const QsCongestion *congestion, int64_t period)
{
	return congestion->down && congestion->probed_period == period;
}

/*
 * What was in flight together is refused together, and counts once: only a
 * call that was started after the last reduction says that it was too small.
 * The call itself has left the running ones when its reply is judged.
 */
void
qs_congestion_throttled(QsCongestion *congestion, int64_t started_ms,
						int64_t now_ms)
{
	double in_flight = congestion->running + 1;

	if (congestion->window > 0 && started_ms <= congestion->reduced_ms)
		return;
	if (congestion->window > 0 && congestion->window < in_flight)
		in_flight = congestion->window;
	congestion->window = in_flight / 2 < 1 ? 1 : in_flight / 2;
	congestion->reduced_ms = now_ms;
}

void
qs_congestion_answered(QsCongestion *congestion, int most)
{
	congestion->down = false;
	congestion->unanswered = 0;
	if (congestion->window <= 0)
		return;
	congestion->window += 1 / congestion->window;
	if (congestion->window >= most)
		congestion->window = 0;
}

void
qs_congestion_unanswered(QsCongestion *congestion, int64_t period)
{
	if (congestion->period != period)
		congestion->unanswered = 0;
	congestion->period = period;
	congestion->unanswered++;
	if (congestion->unanswered >= QS_DEAD_AFTER)
		congestion->down = true;
	if (congestion->down)
		congestion->probed_period = period;
}
