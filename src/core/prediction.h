/*-------------------------------------------------------------------------
 * prediction.h
 *		What is foreseen of one group: a predictor, the violation target that
 *		it is asked with, and whether it may be believed.
 *
 * Points of a monitor come in, in the order of their times; each belongs to a
 * tick of the predictor, which learns from the mean of a tick once it is over.
 * Ticks without a point are gaps.  What comes out is handed to decide().
 *
 * The state is one block of memory without pointers, as the predictor's is:
 * stored and read back as it is, by a machine of the same kind.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PREDICTION_H
#define QS_PREDICTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/predicted_need.h"
#include "core/predictor.h"

/* The largest state. */
#define QS_PREDICTION_MAX_BYTES	QS_PREDICTOR_MAX_BYTES

/* An hour: what boots longer is not waited for. */
#define QS_PREDICTION_MAX_BOOT	3600

typedef struct QsPredictionPlan
{
	int			resolution_s;	/* of the monitor's points, 1 .. 900 */
	int			boot_s;			/* from the order until it serves, 0 .. 3600 */
} QsPredictionPlan;

typedef struct QsPrediction QsPrediction;

/* One point of the monitor. */
typedef struct QsObserved
{
	int64_t		end_us;			/* of the point, since 1970 */
	double		load;			/* NAN = not known */
	double		each;			/* load that one instance carries, > 0 */
	double		carried;		/* load that what is in service carries; NAN =
								 * not known */
	int64_t		carried_at_us;	/* when that was so, which may be after the
								 * point; 0: while it lasted */
	int64_t		late_us;		/* the load is of so long before the point, for
								 * its monitor was late */
	double		floor_load;		/* what the minimum of instances carries */
	double		share;			/* of time in which load may exceed it, 0..1 */
	bool		frozen;			/* a violation would not be the prediction's
								 * fault: it does not steer, capacity is at its
								 * maximum or refused */
} QsObserved;

/* What decide() is told. */
typedef struct QsPredicted
{
	bool		steers;			/* false: it is recorded, and changes nothing */
	QsPredictionTrust trust;
	bool		may_shrink;		/* false: this looks like an outage */
	int			outage_s;		/* so long it has */
	double		newest;			/* load; of the newest tick, unless the caller
								 * knows a newer one; NAN = unknown */
	double		upper_grow;		/* load; NAN = not learned yet */
	double		upper_shrink;
	double		yesterday;		/* load at this time; NAN = unknown */
	int			missing_s;		/* so long no load is known */
	double		quantile;
	int			grow_s;			/* the windows end so long after the newest */
	int			shrink_s;		/* tick */
	double		per_instance;	/* load that one instance carries, > 0 */
	QsPredictorScore score;
	bool		comparable;		/* that is of a day or more */
} QsPredicted;

/* The tick that points of such a resolution are gathered in: the shortest
 * that divides a day; 0 where there is none. */
extern int	qs_prediction_tick(int resolution_s);

/* 0 if the plan is out of bounds. */
extern size_t qs_prediction_bytes(const QsPredictionPlan *plan);

/* block: that many bytes, aligned as malloc does.  The first tick is that of
 * begin_us; share is the first QsObserved's. */
extern QsPrediction *qs_prediction_begin(void *block,
										 const QsPredictionPlan *plan,
										 int64_t begin_us, double share);

/* May a block that was read back be used at this time? */
extern bool qs_prediction_is_sane(const void *block, size_t size,
								  const QsPredictionPlan *plan,
								  int64_t now_us);

/*
 * A point of a tick that is over, or of one before that, is ignored.  What a
 * load is held against is the least that was in service in its tick and when
 * the next one began: what booted meanwhile came too late for it.
 */
extern void qs_prediction_observe(QsPrediction *prediction,
								  const QsObserved *observed);

/* Points up to here were observed. */
extern int64_t qs_prediction_until(const QsPrediction *prediction);

/* steers and per_instance are the caller's. */
extern void qs_prediction_tell(const QsPrediction *prediction,
							   QsPredicted *predicted);

#endif							/* QS_PREDICTION_H */
