/*-------------------------------------------------------------------------
 * replay.h
 *		A group's own policy as a policy of the backtest: the same decide(),
 *		and the same prediction, as run live.
 *
 * What the cloud would say is made up from the fleet that is played: desired
 * is what is there and booting, activities are quiet, and an action is
 * accepted at once.  The load is the mean of the window that the monitor is
 * asked for.  What a policy looks at beyond load and size (other signals,
 * schedules, circuit, operators) is not there.
 *-------------------------------------------------------------------------
 */
#ifndef QS_REPLAY_H
#define QS_REPLAY_H

#include <stdint.h>

#include "core/backtest.h"
#include "core/decide.h"

#define QS_REPLAY_MAX_WINDOW	64	/* ticks of the monitor's window */

typedef struct QsReplay
{
	/* given */
	QsPolicy	policy;
	QsPrediction *prediction;	/* NULL: none */
	bool		steers;
	double		share;			/* target_violation */
	int64_t		begin_us;		/* of the first tick */
	int			window_ticks;	/* over which load is a mean, >= 1 */
	uint8_t    *reasons;		/* room for one per tick, or NULL */

	/* kept from tick to tick; zero at first */
	bool		begun;
	QsHistory	history;
	QsPredicted predicted;
	QsDecision	decision;		/* the newest */
} QsReplay;

/* A QsBacktestPolicy. */
extern double qs_replay_wants(void *replay, const QsBacktestView *view);

/* What is told to the next evaluation, once the cloud has taken the action. */
extern void qs_history_follow(QsHistory *history, const QsDecision *decision,
							  const QsLoad *load, int in_service,
							  int64_t now);

#endif							/* QS_REPLAY_H */
