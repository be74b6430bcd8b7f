/*-------------------------------------------------------------------------
 * decide_parts.h
 *		What the files that make up decide() share; nobody else includes it.
 *
 * decide.c holds the order of thought; limits.c what may be written at all;
 * stabilization.c the memory of recommendations; held.c what an operator asked
 * for; blockers.c what forbids an action now.  All of it is pure: no clock, no memory, no I/O.
 *-------------------------------------------------------------------------
 */
#ifndef QS_DECIDE_PARTS_H
#define QS_DECIDE_PARTS_H

#include "core/decide.h"

#define QS_NO_REASON	QS_REASON_COUNT

/* limits.c */

typedef struct QsLimitStep
{
	const char *by;
	int			limit;
	bool		raises;			/* a minimum; else a maximum */
	bool		of_cloud;
} QsLimitStep;

typedef struct QsLimits
{
	int			n_steps;
	QsLimitStep steps[5];
	int			lower;			/* all steps together allow lower..upper */
	int			upper;
} QsLimits;

typedef struct QsCut
{
	bool		by_cloud_min;
	bool		by_cloud_max;
} QsCut;

extern bool qs_capacity_usable(const QsCapacity *capacity);
extern int	qs_capacity_base(const QsCapacity *capacity);
extern void qs_limits_init(QsLimits *limits, const QsPolicy *policy,
						   const QsCapacity *capacity);
extern int	qs_limits_apply(const QsLimits *limits, int instances,
							QsDecision *decision, QsCut *cut);
extern int	qs_caps_apply(const QsPolicy *policy, int base, int target,
						  QsDecision *decision);
extern int	qs_cloud_limits_apply(const QsCapacity *capacity, int target,
								  QsDecision *decision);
extern void qs_decision_add_clamp(QsDecision *decision, const char *by,
								  int limit, int from, int to);

/* Growth that is not fulfilled goes on in bounded steps. */
extern int	qs_unfulfilled_bound(const QsHistory *history,
								 const QsCapacity *capacity, int base);

/* stabilization.c */

extern void qs_window_load(const QsHistory *history, int64_t window_us,
						   int64_t now, QsDecision *decision);
extern void qs_window_push(int64_t window_us, int64_t now, int instances,
						   QsDecision *decision);
extern int	qs_window_maximum(const QsDecision *decision);
extern int64_t qs_window_holds_until(const QsDecision *decision,
									 int64_t window_us, int base);

/* blockers.c */

typedef enum QsDropVerdict
{
	QS_DROP_NONE,				/* nothing suspicious, or waited out */
	QS_DROP_HOLD,
	QS_DROP_ASK					/* holds unless the in-service count, not
								 * asked yet, explains the drop */
} QsDropVerdict;

extern QsDropVerdict qs_drop_verdict(const QsPolicy *policy,
									 const QsLoad *load,
									 const QsCapacity *capacity,
									 const QsCloudActivity *activity,
									 const QsHistory *history, int64_t now,
									 int64_t *drop_seen_at, int64_t *until);
extern bool qs_drop_recovered(const QsLoad *load, const QsHistory *history);
extern QsReason qs_first_blocker(const QsPolicy *policy,
								 const QsCapacity *capacity,
								 const QsCloudActivity *activity,
								 const QsHistory *history, int64_t now,
								 QsAction wanted, int64_t *until);
extern int64_t qs_cooldowns_end(const QsPolicy *policy,
								const QsCloudActivity *activity,
								const QsHistory *history, int64_t now);

/* held.c */

extern bool qs_is_held(const QsHistory *history, int64_t now);
extern int	qs_held_target(const QsHistory *history, const QsLimits *limits,
						   QsDecision *decision);
extern QsReason qs_by_hand_blocker(const QsPolicy *policy,
								   const QsCapacity *capacity,
								   const QsHistory *history,
								   QsAction wanted);

/*
 * Times are saturated, not wrapped: a garbage time that came out of a row or
 * a reply must not turn "long ago" into "in the future".
 */
static inline int64_t
qs_time_add(int64_t time, int64_t span)
{
	int64_t		sum;

	if (__builtin_add_overflow(time, span, &sum))
		return span < 0 ? INT64_MIN : INT64_MAX;
	return sum;
}

static inline int64_t
qs_time_subtract(int64_t time, int64_t other)
{
	int64_t		span;

	if (__builtin_sub_overflow(time, other, &span))
		return other < 0 ? INT64_MAX : INT64_MIN;
	return span;
}

static inline int64_t
qs_time_later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static inline int64_t
qs_time_earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

#endif							/* QS_DECIDE_PARTS_H */
