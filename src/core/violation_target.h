/*-------------------------------------------------------------------------
 * violation_target.h
 *		How careful to be: the quantile that keeps a share of time in which the
 *		load may exceed the capacity.
 *
 * For each of a few quantiles a fleet is imagined that follows it, tick by
 * tick, as qs_predicted_need() would have it: what share of time its capacity
 * is exceeded in is known from weeks of load, whether or not anybody steers
 * by the prediction.  The quantile that is used lies where that share is the
 * one that is asked for.  It hardly moves, which is cheap: a loop that answers
 * each violation pays for caution just after it was wanted (measured; see
 * "make bench").
 *
 * What really happens closes the loop: where cooldowns, limits or slow clouds
 * violate more often than imagined fleets do, it slowly becomes more careful
 * than they are, and a little less where that is wasted.
 *-------------------------------------------------------------------------
 */
#ifndef QS_VIOLATION_TARGET_H
#define QS_VIOLATION_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "core/predictor.h"

/* The streams of a group's predictor. */
#define QS_STREAM_GROW		0	/* until what is ordered now is in service */
#define QS_STREAM_SHRINK	1	/* until what would be ordered again is */

/* The longer window is asked with no higher quantile than this. */
#define QS_MOST_SHRINKING	0.9

/* Quantiles that are tried; positions lie between them too. */
#define QS_QUANTILES		12
extern const double qs_quantiles[QS_QUANTILES];

typedef struct QsImaginedFleet
{
	double		violations;		/* ticks, decayed */
	int32_t		ready;
	int32_t		pending;
	int32_t		launched[QS_PREDICTOR_MAX_WINDOW];	/* by the tick in which they
													 * are ready */
} QsImaginedFleet;

/* Part of a state that is stored as it is: no pointers. */
typedef struct QsViolationTarget
{
	int32_t		tick_seconds;
	int32_t		boot;			/* ticks from the order until it serves */
	int64_t		ticks;
	double		scored;			/* ticks, decayed */
	double		per_instance;	/* load that one carries; 0 at first */
	double		correction;		/* positions */
	double		position;		/* 0 .. QS_QUANTILES - 1 */
	QsImaginedFleet fleets[QS_QUANTILES];
} QsViolationTarget;

/* share: of time, 0.01 for one percent.  boot: 0 .. QS_PREDICTOR_MAX_WINDOW. */
extern void qs_violation_target_begin(QsViolationTarget *target,
									  int tick_seconds, int boot,
									  double share);
extern bool qs_violation_target_is_sane(const QsViolationTarget *target,
										int tick_seconds, int boot);

/* A tick that is over, and what holds at its end. */
typedef struct QsViolationTick
{
	double		load;			/* NAN = not known */
	double		per_instance;	/* load that one instance carries, > 0 */
	double		floor_load;		/* what the minimum of instances carries */
	double		share;			/* that is asked for, of time */
	bool		may_shrink;		/* false: this looks like an outage */
	bool		violated;		/* the load exceeded the real capacity */
	bool		frozen;			/* and if so, no quantile is to blame: nobody
								 * steers by it, at the maximum, launches
								 * refused, or not known */
} QsViolationTick;

/* predictor: has learned from the tick already. */
extern void qs_violation_target_follow(QsViolationTarget *target,
									   const QsPredictor *predictor,
									   const QsViolationTick *tick);

extern double qs_violation_target_quantile(const QsViolationTarget *target);

/* Between the uppers of two quantiles; load, NAN = not learned. */
extern double qs_violation_target_upper(const QsViolationTarget *target,
										const QsPredictor *predictor,
										int stream);

#endif							/* QS_VIOLATION_TARGET_H */
