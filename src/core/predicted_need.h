/*-------------------------------------------------------------------------
 * predicted_need.h
 *		From a predicted load to a number of instances, and when not to
 *		believe it.
 *
 * Two steps after violation_target.h has said how careful to be, pure as
 * that, and none of which knows a clock:
 *
 *	guard				whether the predictor may be believed now: not in an
 *						outage (no shrinking), not far beyond all that was ever
 *						seen, not while doing without it would be better.
 *	need				the number: grow for the short window, shrink only when
 *						the long one agrees, never below what the load is now.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PREDICTED_NEED_H
#define QS_PREDICTED_NEED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/predictor.h"
#include "core/violation_target.h"

/* ---- guard ---- */

typedef enum QsPredictionTrust
{
	QS_TRUST_FULL,
	QS_TRUST_NOT_LEARNED,		/* not enough was seen yet */
	QS_TRUST_BEYOND_HISTORY,	/* more than three times what was ever seen */
	QS_TRUST_WORSE_THAN_NONE	/* headroom on the load would do better */
} QsPredictionTrust;

/* Kept from tick to tick; all zero at first. */
typedef struct QsPredictionGuard
{
	int32_t		outage_ticks;	/* of the outage under way */
	bool		demoted;
} QsPredictionGuard;

typedef struct QsGuardVerdict
{
	QsPredictionTrust trust;
	bool		may_shrink;
} QsGuardVerdict;

typedef struct QsGuardInput
{
	int			tick_seconds;
	double		newest;			/* load, NAN = unknown */
	double		yesterday;		/* load at this time, NAN = unknown */
	double		floor_load;		/* what the minimum of instances carries: below
								 * it nothing is an outage */
	double		upper;			/* unbounded, NAN = not learned */
	double		largest;		/* load of the last 14 days */
	QsPredictorScore score;
} QsGuardInput;

/* All that the predictor knows of it. */
extern QsGuardInput qs_guard_input(const QsPredictor *predictor,
								   int tick_seconds, double newest,
								   double floor_load);

/* Once per tick. */
extern QsGuardVerdict qs_prediction_guard(QsPredictionGuard *guard,
										  const QsGuardInput *input);
extern const char *qs_prediction_trust_name(QsPredictionTrust trust);

/* Share of what an instance carries that the newest load may use while the
 * prediction is not trusted. */
#define QS_HEADROOM_TARGET	0.7

/* ---- need ---- */

typedef struct QsNeedInput
{
	double		newest;			/* load, NAN = unknown */
	double		upper_grow;		/* load, NAN = unknown or not trusted */
	double		upper_shrink;
	double		yesterday;		/* load at this time, NAN = unknown */
	bool		stale;			/* unknown for longer than one can wait */
	bool		may_shrink;
	double		per_instance;	/* load that one instance carries, > 0 */
	double		reactive_target;	/* share of it that the newest load may use,
									 * 0..1; lower while not trusted */
	int			current;		/* instances in service and booting */
	int			min;
	int			max;
} QsNeedInput;

typedef enum QsNeedReason
{
	QS_NEED_AS_IT_IS,
	QS_NEED_FOR_NEWEST,			/* the load as it is now decided */
	QS_NEED_FOR_GROWTH,			/* the short window did */
	QS_NEED_FOR_SHRINKING,		/* the long one, or the same, allows fewer */
	QS_NEED_HELD,				/* fewer would do, but not in an outage */
	QS_NEED_LOAD_UNKNOWN,
	QS_NEED_FOR_YESTERDAY		/* unknown for too long */
} QsNeedReason;

typedef struct QsNeed
{
	int			desired;
	QsNeedReason reason;
} QsNeed;

extern QsNeed qs_predicted_need(const QsNeedInput *input);

#endif							/* QS_PREDICTED_NEED_H */
