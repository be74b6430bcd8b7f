/*-------------------------------------------------------------------------
 * decide_parts.h
 *		What the files that make up decide() share; nobody else includes it.
 *
 * decide.c holds the order of thought, conclusion.c its last part; load.c what requests per second ask
 * for; signals.c what the further signals do; limits.c what may be written at
 * all; stabilization.c the memory of recommendations; rate.c how fast the
 * group may change; confirmation.c how often it must be said; held.c what an
 * operator asked for; blockers.c what forbids an action now.  All of it is
 * pure: no clock, no memory, no I/O.
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
	QsLimitStep steps[7];
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

extern void qs_decision_add_proposal(QsDecision *decision, const char *source,
									 double load, double target,
									 int instances);
extern void qs_decision_add_exclusion(QsDecision *decision,
									  const char *source, const char *why,
									  bool holds, int64_t since,
									  int64_t until);

/* What decide() knows and has found out so far. */
typedef struct QsThought
{
	const QsPolicy *policy;
	const QsLoad *load;
	const QsCapacity *capacity;
	const QsCloudActivity *activity;
	const QsSignal *signals;
	int			n_signals;
	const QsHistory *history;
	int64_t		now;
	QsLimits	limits;
	QsDecision *decision;

	int			target;			/* where to go, within the limits */
	QsReason	reason;			/* of going there, or of staying */
	QsReason	hold;			/* the first that holds it back, so far */
	int64_t		hold_until;
	QsReason	veto;			/* what vetoes say of shrinking */
	bool		ask_vetoes;
	bool		ask_in_service;
	bool		knows_load;		/* something proposed a size */
	bool		held;			/* target is an operator's number */
} QsThought;

/* The first that holds the group back is the one that is reported. */
static inline void
qs_hold(QsThought *thought, QsReason reason, int64_t until)
{
	if (thought->hold != QS_NO_REASON)
		return;
	thought->hold = reason;
	thought->hold_until = until;
}

/* conclusion.c */

extern void qs_conclude(QsThought *thought);

/* load.c */

typedef struct QsLoadProposal
{
	const char *source;
	double		load;
	int			instances;
	int			recommended;	/* to be remembered, within the limits */
	bool		tolerated;		/* so near to the target that nothing changes */
} QsLoadProposal;

extern bool qs_is_positive(double x);
extern bool qs_policy_usable(const QsPolicy *policy);
extern QsReason qs_load_judge(const QsLoad *load, const QsPolicy *policy,
							  int64_t now);
extern int	qs_optimal_instances(double load, double target);
extern void qs_load_propose(const QsPolicy *policy, const QsLoad *load,
							const QsLimits *limits, QsDecision *decision,
							QsLoadProposal *proposal);
extern int	qs_load_projection(const QsPolicy *policy, const QsLoad *load,
							   const QsLimits *limits, int to, int base);

/* signals.c */

typedef struct QsSignalsAdvice
{
	int			instances;		/* the highest proposal, QS_UNKNOWN: none */
	const char *source;			/* whose that is */
	int64_t		data_at;		/* of what it is made of */
	bool		tolerated;		/* it is the present size by tolerance only */
	bool		ask_in_service;
	bool		complete;		/* some are known and complete */
	bool		busy;			/* something is above its activation */
	bool		warming;		/* some would grow the group, had not some of
								 * its instances yet to boot */
	int			fallback;		/* the highest, QS_UNKNOWN: none */
	const char *fallback_source;
	QsReason	hold;			/* why the group may not shrink */
	int64_t		hold_until;
	QsReason	veto;			/* likewise, by those that were asked */
	bool		vetoes_unasked;
} QsSignalsAdvice;

extern void qs_signals_advise(const QsThought *thought, bool capacity_known,
							  bool busy, QsSignalsAdvice *advice);

/* rate.c */

extern int	qs_rate_apply(const QsPolicy *policy, const QsHistory *history,
						  int64_t now, const QsLimits *limits, int base,
						  int target, QsDecision *decision, int64_t *until);

/* confirmation.c */

extern void qs_confirmations_keep(const QsPolicy *policy,
								  const QsHistory *history,
								  QsDecision *decision);
extern void qs_confirmations_add(const QsPolicy *policy, QsAction seen,
								 int64_t data_at, int64_t now,
								 QsDecision *decision);
extern bool qs_confirmed(const QsPolicy *policy, QsDecision *decision);

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
