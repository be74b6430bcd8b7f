/*-------------------------------------------------------------------------
 * predictor.h
 *		How high a load may rise while instances boot.
 *
 * Learns, tick by tick, the upper quantile of the *maximum* of a load over
 * the next few ticks: what must be in service by the time that instances
 * ordered now are.  A stream is one such window; a group has two, a short one
 * to grow by and a longer one to shrink by.  Work and memory per tick are
 * bounded; nothing is fitted offline.
 *
 * The state is one block of memory without pointers: it is copied, stored and
 * read back as it is, by a machine of the same kind, and qs_predictor_is_sane()
 * says whether a block that was read back may be used.  Nothing here knows a
 * clock: the caller calls once per tick, and with NAN for a tick without data.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PREDICTOR_H
#define QS_PREDICTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A tick divides a day and is one to fifteen minutes long. */
#define QS_PREDICTOR_MIN_TICK	60
#define QS_PREDICTOR_MAX_TICK	900
#define QS_PREDICTOR_STREAMS	2
#define QS_PREDICTOR_MAX_WINDOW	60	/* ticks ahead */
/* The largest state, which is that of a tick of a minute. */
#define QS_PREDICTOR_MAX_BYTES	(160 * 1000)

typedef struct QsPredictorPlan
{
	int			tick_seconds;
	int			last[QS_PREDICTOR_STREAMS]; /* the windows: ticks 1 to last
											 * after the newest known one */
} QsPredictorPlan;

typedef struct QsPredictor QsPredictor;

/* 0 if the plan is out of bounds. */
extern size_t qs_predictor_bytes(const QsPredictorPlan *plan);

/* block: that many bytes, aligned as malloc does.  first_tick is the number
 * of the first tick since midnight UTC of some day. */
extern QsPredictor *qs_predictor_begin(void *block,
									   const QsPredictorPlan *plan,
									   int64_t first_tick);
extern bool qs_predictor_is_sane(const void *block, size_t size,
								 const QsPredictorPlan *plan);

/* One tick: its mean load, NAN (or anything below zero or infinite) if there
 * is none. */
extern void qs_predictor_update(QsPredictor *predictor, double load);

/* The tick that comes next, counted as first_tick was. */
extern int64_t qs_predictor_next_tick(const QsPredictor *predictor);

/*
 * The load that the maximum over the stream's window exceeds in a share of
 * 1 - quantile of all cases; NAN as long as nothing was learned (two hours).
 */
extern double qs_predictor_upper(const QsPredictor *predictor, int stream,
								 double quantile);

/* Of several quantiles that rise, none counted as more than most. */
extern void qs_predictor_uppers(const QsPredictor *predictor, int stream,
								const double *quantiles, int n, double most,
								double *uppers);

/* Is there anything in those? */
extern bool qs_predictor_has_learned(const QsPredictor *predictor);

/* The same without the bound of 1.2 times what was ever seen. */
extern double qs_predictor_unbounded(const QsPredictor *predictor, int stream,
									 double quantile);

/* The largest load of the last 14 days; 0 at first. */
extern double qs_predictor_largest(const QsPredictor *predictor);

/* What the load was a day before the newest tick, about; NAN if unknown. */
extern double qs_predictor_yesterday(const QsPredictor *predictor);

/*
 * How the predictor does against doing without it.  Both losses are the
 * pinball loss at the 0.95 quantile, over the last day or so; "without" is
 * the newest load with the headroom of a target of 0.7.
 */
typedef struct QsPredictorScore
{
	int64_t		scored;			/* windows so far */
	double		loss;
	double		loss_without;
	double		inside;			/* share of windows below the upper value */
} QsPredictorScore;

extern QsPredictorScore qs_predictor_score(const QsPredictor *predictor,
										   int stream);

#endif							/* QS_PREDICTOR_H */
