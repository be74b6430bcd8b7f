/*-------------------------------------------------------------------------
 * decide.h
 *		How many instances a resource group needs, and whether to act now.
 *
 * decide() is pure: same inputs, same answer, no clock, no memory of its
 * own, no I/O.  The caller passes "now" and everything that was recorded.
 * The formula is the first original system's: ceil(QPS / target), clamped to
 * the cloud's and the policy's limits; windows, guards and cooldowns change
 * when a group gets there, not where it goes.
 *
 * Times are int64_t microseconds since the Unix epoch; QS_NEVER means "has
 * not happened".  Counts are instances.  Every output is set on every path.
 *-------------------------------------------------------------------------
 */
#ifndef QS_DECIDE_H
#define QS_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/prediction.h"
#include "core/signal.h"

#define QS_NEVER			INT64_MIN
#define QS_NO_LIMIT			(-1)	/* an optional count that is not set */
#define QS_UNKNOWN			(-1)	/* a count that was not observed */
#define QS_MAX_INSTANCES	1000000 /* larger figures are taken for garbage */
#define QS_MAX_RECOMMENDATIONS	32
#define QS_MAX_PROPOSALS	(QS_MAX_SIGNALS + 5)	/* qps, its peak, a limit, a
													 * person's number */
#define QS_MAX_EXCLUSIONS	(QS_MAX_SIGNALS + 1)
#define QS_MAX_CLAMPS		16
#define QS_MAX_RATE_POLICIES	4	/* in each direction */
#define QS_MAX_CHANGES		64	/* older ones are not looked at */
#define QS_MAX_CONFIRMATIONS	32	/* observations that are remembered */

typedef enum QsMode
{
	QS_MODE_DYNAMIC,			/* optimal = ceil(qps / target) */
	QS_MODE_STATIC				/* thresholds, one step at a time */
} QsMode;

/* What a desired capacity that somebody else wrote means to the group. */
typedef enum QsForeignPolicy
{
	QS_FOREIGN_ADOPT,			/* a new start, after the general cooldown */
	QS_FOREIGN_OVERRIDE,		/* nothing: back to the policy at once, so what
								 * others do in the cloud starts no cooldown */
	QS_FOREIGN_PAUSE			/* the caller suspends the group */
} QsForeignPolicy;

typedef enum QsAction
{
	QS_ACTION_NONE,
	QS_ACTION_SCALE_UP,
	QS_ACTION_SCALE_DOWN
} QsAction;

/*
 * Why.  The strings (qs_reason_name) are part of the user interface; those
 * marked A are the first original system's.  The table in reason.c holds for
 * each its string and one sentence that explains it to an operator.
 */
typedef enum QsReason
{
	QS_REASON_DYNAMIC_SCALE_UP, /* A dynamic_scaling_scale_up */
	QS_REASON_DYNAMIC_SCALE_DOWN,	/* A dynamic_scaling_scale_down */
	QS_REASON_DYNAMIC_LIMITED_SCALE_UP, /* A dynamic_scaling_limited_scale_up */
	QS_REASON_DYNAMIC_LIMITED_SCALE_DOWN,	/* A dynamic_scaling_limited_scale_down */
	QS_REASON_QPS_ABOVE_THRESHOLD,	/* A qps_above_threshold */
	QS_REASON_QPS_BELOW_THRESHOLD,	/* A qps_below_threshold */
	QS_REASON_QPS_WITHIN_THRESHOLDS,	/* A qps_within_thresholds */
	QS_REASON_AT_MAX_CAPACITY,	/* A at_max_capacity (static mode) */
	QS_REASON_AT_MIN_CAPACITY,	/* A at_min_capacity (static mode) */
	QS_REASON_AT_ASG_MIN_CAPACITY,	/* A at_asg_min_capacity */
	QS_REASON_AT_ASG_MAX_CAPACITY,	/* A at_asg_max_capacity */
	QS_REASON_CONSTRAINED_BY_ASG_LIMITS,	/* A constrained_by_asg_limits */
	QS_REASON_OPTIMAL_REACHED,	/* A optimal_instance_count_reached */
	QS_REASON_METRICS_UNAVAILABLE,	/* A metrics_unavailable */
	QS_REASON_ASG_STATUS_ERROR, /* A asg_status_error: capacity unreadable */
	QS_REASON_SCALING_IN_PROGRESS,	/* A scaling_in_progress */
	QS_REASON_COOLDOWN_GENERAL, /* A cooldown_general */
	QS_REASON_COOLDOWN_SCALE_UP,	/* A cooldown_scale_up */
	QS_REASON_COOLDOWN_SCALE_DOWN,	/* A cooldown_scale_down */
	QS_REASON_EVALUATION_ERROR, /* A evaluation_error */
	/* ours */
	QS_REASON_BELOW_LIMIT,		/* below_minimum: desired is under the lower
								 * limit and is raised to it */
	QS_REASON_ABOVE_LIMIT,		/* above_maximum: likewise, lowered */
	QS_REASON_AT_POLICY_MIN,	/* at_policy_min_capacity */
	QS_REASON_AT_POLICY_MAX,	/* at_policy_max_capacity */
	QS_REASON_METRICS_STALE,	/* metrics_stale */
	QS_REASON_METRICS_PARTIAL,	/* metrics_partial: would shrink */
	QS_REASON_WITHIN_TOLERANCE, /* within_tolerance */
	QS_REASON_STABILIZING,		/* scale_down_stabilizing */
	QS_REASON_SUSPICIOUS_DROP,	/* suspicious_drop */
	QS_REASON_ACTIVITY_IN_FLIGHT,	/* activity_in_flight: requested/unknown */
	QS_REASON_ACTIVITY_CHECK_FAILED,	/* activity_check_failed: the cloud's
										 * activities cannot be read */
	QS_REASON_ASG_NOT_ACTIVE,	/* asg_not_active */
	QS_REASON_ASG_PROCESS_SUSPENDED,	/* asg_process_suspended */
	QS_REASON_OTHER_AUTOSCALER, /* other_autoscaler: on the same object */
	QS_REASON_SUSPENDED,		/* suspended: by an operator */
	QS_REASON_CIRCUIT_OPEN,		/* circuit_open */
	QS_REASON_STOCK_OUT,		/* stock_out: accepted growth brought nothing */
	QS_REASON_NOT_ARMED,		/* not_armed: dry run because of that */
	QS_REASON_EXTENSION_DISABLED,	/* extension_disabled: qpsscale.enabled=off */
	QS_REASON_ROW_LOCKED,		/* row_locked: set by the cycle */
	QS_REASON_POLICY_CHANGED,	/* policy_changed: set by the cycle */
	QS_REASON_HELD,				/* held: at an operator's number */
	QS_REASON_SET_BY_HAND,		/* set_by_hand: qpsscale_set_capacity() */
	QS_REASON_SIGNAL_MISSING,	/* signal_missing: would shrink, or no signal
								 * is known at all */
	QS_REASON_VETOED,			/* vetoed: would shrink */
	QS_REASON_CONFIRMING,		/* confirming: n of m observations */
	QS_REASON_WOULD_SCALE_OUT_AGAIN,	/* would_scale_out_again */
	QS_REASON_RATE_LIMITED,		/* rate_limited */
	QS_REASON_DECISION_EXECUTED,	/* decision_executed: qpsscale_execute() */
	QS_REASON_APPROVAL_REQUIRED,	/* approval_required: by a person */
	QS_REASON_BUDGET_CAP,		/* budget_cap: costs are capped */
	QS_REASON_UNPRICED,			/* unpriced: they are, and not known */
	QS_REASON_PREDICTED_SCALE_UP,	/* predicted_scale_up */
	QS_REASON_PREDICTED_TO_RISE,	/* predicted_to_rise: would shrink */
	QS_REASON_OUTAGE_SUSPECTED, /* outage_suspected: would shrink */
	QS_REASON_HOURLY_LIMIT,		/* hourly_limit: set by the store */
	QS_REASON_COUNT				/* not a reason */
} QsReason;

/* A floor or a cap that the calendar sets. */
typedef struct QsScheduleBound
{
	const char *name;			/* of the schedule; NULL: there is none */
	int			instances;
} QsScheduleBound;

/*
 * How many instances the caps on its cost pay for.  Money is exact only as
 * decimals, so the caller divides; zeroed: no cap.
 */
typedef struct QsBudget
{
	const char *by;				/* "max_hourly_cost", "budget"; NULL: none */
	int			instances;
	bool		unpriced;		/* there is a cap and no price: no growth */
} QsBudget;

/*
 * How fast a group may change in one direction, by the arithmetic of the
 * Kubernetes autoscaler's "behavior": see rate.c.  Zeroed: as fast as it likes.
 */
typedef enum QsRateSelect
{
	QS_RATE_MAX,				/* the policy that allows the most decides */
	QS_RATE_MIN,
	QS_RATE_DISABLED			/* the load never moves it this way */
} QsRateSelect;

typedef struct QsRatePolicy
{
	bool		percent;		/* of what there was when the period began; else
								 * instances */
	int			value;			/* >= 0 */
	int64_t		period_us;
} QsRatePolicy;

typedef struct QsRate
{
	QsRateSelect select;
	int			n_policies;		/* 0: no limit, unless disabled */
	QsRatePolicy policies[QS_MAX_RATE_POLICIES];
} QsRate;

/* Act when n of the last m observations asked for it; n <= 1: at once. */
typedef struct QsConfirm
{
	int			n;
	int			m;				/* <= QS_MAX_CONFIRMATIONS */
} QsConfirm;

typedef struct QsPolicy
{
	QsMode		mode;
	double		target_qps;		/* QPS per instance, > 0 and finite; 0 with
								 * signals: requests do not drive the group */
	double		up_threshold;	/* static mode: share of target, > 0 */
	double		down_threshold; /* static mode: share of target, >= 0 */
	int			min_instances;	/* QS_NO_LIMIT or >= 0 */
	int			max_instances;	/* QS_NO_LIMIT or >= 0 */
	int			ceiling;		/* qpsscale.max_instances, QS_NO_LIMIT for none */
	QsScheduleBound schedule_min;	/* wins over schedule_max; the policy's own
									 * minimum and maximum and the ceiling win
									 * over both */
	QsScheduleBound schedule_max;
	QsBudget	budget;			/* bounds growth, never below the lower limit */
	QsRate		scale_up_rate;
	QsRate		scale_down_rate;
	QsConfirm	scale_up_confirm;
	QsConfirm	scale_down_confirm;
	int			max_scale_up_per_action;	/* 0 = no cap */
	int			max_scale_down_per_action;	/* 0 = no cap */
	int			max_scale_down_percent; /* of desired, 0 = no cap, 1..100; at
										 * least one instance may always go */
	double		scale_up_tolerance; /* share, 0 = none; hold while load per
									 * instance <= target * (1 + this) */
	double		scale_down_tolerance;	/* hold while load per instance >=
										 * target * (1 - this) */
	bool		scale_up_on_peak;	/* use the newest complete minute where it
									 * is larger than the window's mean */
	bool		suspicious_drop_guard;
	int64_t		scale_up_cooldown_us;
	int64_t		scale_down_cooldown_us;
	int64_t		general_cooldown_us;
	int64_t		scale_down_window_us;	/* stabilization, 0 = none */
	int64_t		max_load_age_us;	/* older load is stale; 0 = never */
	bool		dry_run;		/* by policy, call or disabled group */
	bool		armed;			/* false: as if dry_run, reason not_armed */
	bool		extension_enabled;	/* false: likewise, extension_disabled */
	QsForeignPolicy on_foreign_change;
	bool		require_approval;	/* an action is decided, and waits for a
									 * person: reason approval_required */
	bool		writes_while_busy;	/* the provider takes a larger desired while
									 * an activity of its own runs */
} QsPolicy;

/* What the load balancer does.  mean over complete buckets only. */
typedef struct QsLoad
{
	bool		known;			/* false: no usable data point at all */
	double		mean_qps;		/* garbage (NaN, infinite, negative) is taken
								 * for unknown */
	double		newest_qps;		/* newest complete bucket */
	int64_t		newest_end_us;	/* when that bucket ended */
	int			points;			/* usable buckets in the window */
	int			expected_points;	/* buckets that the window holds */
} QsLoad;

/* What the scaling group is. */
typedef struct QsCapacity
{
	bool		known;
	int			desired;		/* QS_UNKNOWN where the cloud's expected-count
								 * feature is off: then total is the base */
	int			total;			/* all members, booting ones too */
	int			in_service;		/* QS_UNKNOWN unless it was asked for */
	int			min;
	int			max;
	bool		active;			/* the cloud would carry out a change */
	bool		scale_out_suspended;
	bool		scale_in_suspended;
} QsCapacity;

/* The cloud's own activities; asked only for groups about to act. */
typedef struct QsCloudActivity
{
	bool		asked;			/* false: decide() may set needs_activities */
	bool		known;			/* asked and answered; asked and not known
								 * blocks an action (fails closed) */
	bool		in_progress;
	int64_t		last_scale_up_at;	/* end (or start while it runs) of the
									 * newest that grew; unknown types count
									 * for both directions */
	int64_t		last_scale_down_at;
	int64_t		last_any_at;	/* failed ones too: they are a back-off */
	int64_t		newest_at;		/* begin of the newest one, not for decide() */
	char		newest_category[32];	/* what the cloud says it was caused by;
										 * empty where it says nothing */
	bool		rival;			/* another autoscaler writes the same number */
} QsCloudActivity;

typedef struct QsRecommendation
{
	int64_t		at;				/* last time it was the recommendation */
	int			instances;
} QsRecommendation;

/* The desired capacity was changed, by us or by others. */
typedef struct QsChange
{
	int64_t		at;
	int			delta;
} QsChange;

/*
 * Which of the last observations asked for growth, which for shrinking, the
 * newest in the lowest bit.  They count only while the group has the size for
 * which they were made.
 */
typedef struct QsConfirmations
{
	uint32_t	up;
	uint32_t	down;
	int			base;			/* that size */
	int64_t		observed_at;	/* the newest data that was counted */
} QsConfirmations;

/* What was recorded about the group before this evaluation. */
typedef struct QsHistory
{
	double		previous_qps;	/* < 0 when there is none */
	int64_t		previous_qps_at;
	int			previous_in_service;	/* QS_UNKNOWN when not recorded */
	int64_t		drop_seen_at;	/* when a suspicious drop began, or QS_NEVER */
	int64_t		last_scale_up_at;	/* ours and foreign, as recorded */
	int64_t		last_scale_down_at;
	int64_t		last_action_at;
	/* the stabilization window as a monotone queue: times ascending,
	 * instances strictly descending (each is the maximum of what follows) */
	int			n_recommendations;
	QsRecommendation recommendations[QS_MAX_RECOMMENDATIONS];
	bool		activity_in_flight; /* ours: requested or unknown */
	bool		activity_accepted;	/* ours: accepted, capacity on its way */
	QsConfirmations confirmations;	/* zeroed: none */
	int			n_changes;		/* within the longest period of a rate, where
								 * the policy has any; in any order */
	const QsChange *changes;
	int64_t		circuit_open_until; /* QS_NEVER when closed */
	int			unfulfilled_scale_ups;	/* in a row; see stock_out.h */
	int			fulfilled_capacity; /* members before the first of them, or
									 * QS_UNKNOWN */
	int64_t		stock_out_probe_at; /* QS_NEVER: at once */
	bool		suspended_up;	/* by an operator, and not expired */
	bool		suspended_down;
	int64_t		suspended_until;	/* QS_NEVER: no end set */
	int			held_instances; /* an operator's number, used while */
	int64_t		held_until;		/* now is before this; QS_NEVER: none */
	bool		by_hand;		/* the operator asks for it just now */
	bool		executes;		/* it is the number of a recorded decision */
	const QsPredicted *predicted;	/* NULL: nothing is foreseen */
} QsHistory;

typedef struct QsProposal
{
	const char *source;			/* "qps", "threshold", "limit", or the name of
								 * a signal or of its fallback */
	double		load;			/* what was compared */
	double		target;			/* with what */
	int			instances;
} QsProposal;

/* A signal, or "qps", that did not say what it should, and what follows. */
typedef struct QsExclusion
{
	const char *source;
	const char *why;			/* "no_answer", "no_data", "stale", "garbage",
								 * "partial" (that one still proposes), "no_pods",
								 * "vetoes", ...: see signals.c */
	bool		holds;			/* the group does not shrink because of it */
	int64_t		since;			/* QS_NEVER: not recorded */
	int64_t		until;			/* when it stops to hold; QS_NEVER: not by itself */
} QsExclusion;

typedef struct QsClamp
{
	const char *by;				/* "policy_min", "schedule_max", "asg_max",
								 * "ceiling", "stabilization_window",
								 * "max_scale_up_per_action", "rate_policy",
								 * "scale_out_projection", ... */
	int			limit;
	int			from;
	int			to;
} QsClamp;

typedef struct QsDecision
{
	QsAction	action;			/* what to do now; NONE when blocked */
	QsReason	reason;			/* of the action, or why there is none */
	bool		dry_run;		/* true: record, do not call the cloud */
	QsAction	wanted;			/* direction before the blockers */
	int			base;			/* the desired capacity it started from;
								 * QS_UNKNOWN when the capacity is unknown */
	int			optimal;		/* ceil(load / target) within the limits;
								 * QS_UNKNOWN without data */
	int			required_change;	/* optimal - base */
	int			desired;		/* what to write: base when action is NONE */
	int			scaling_amount; /* |desired - base| of what is wanted, after
								 * windows and caps */
	double		load_qps;		/* the load used; < 0 when unknown */
	double		qps_per_instance;	/* load / base, 0 when base is 0 */
	int			least;			/* lower limit, 0 when the capacity is unknown */
	int			foreseen;		/* what prediction would make of it, within the
								 * limits; QS_UNKNOWN: it says nothing */
	bool		limited_by_safety;	/* a per-action cap cut the change */
	bool		limited_by_asg; /* the cloud's min or max cut the optimum */
	bool		probes_stock_out;	/* the action writes the desired capacity
									 * that is there already, once more */
	QsReason	blocker;		/* first blocker, or QS_REASON_COUNT */
	int64_t		blocked_until;	/* QS_NEVER when no time is known */
	int			approvable;		/* desired that waits for approval; QS_UNKNOWN
								 * where nothing does */
	QsReason	approvable_reason;	/* why it is wanted, or QS_REASON_COUNT */
	bool		needs_activities;	/* about to act: ask the cloud's
									 * activities, then decide again */
	bool		needs_in_service;	/* likewise the in-service count */
	bool		needs_vetoes;	/* likewise the vetoes: about to shrink */
	int64_t		cooldown_until; /* latest end of any cooldown, QS_NEVER if
								 * none runs: for display */
	/* to be stored for the next evaluation */
	int			n_recommendations;
	QsRecommendation recommendations[QS_MAX_RECOMMENDATIONS];
	int64_t		drop_seen_at;	/* while it is not QS_NEVER the caller keeps
								 * previous_qps, previous_qps_at and
								 * previous_in_service from before the drop */
	QsConfirmations confirmations;	/* zeroed where the policy wants none */
	int64_t		missing_since[QS_MAX_SIGNALS];	/* of each signal; QS_NEVER: it is
												 * known.  Of a veto that was not
												 * asked what was recorded */
	/* the explanation, in order */
	int			confirmed;		/* so many observations asked for what is
								 * wanted, of ... */
	int			confirm_n;		/* ... so many needed; 0: none are */
	int			confirm_m;		/* ... among so many */
	int			n_proposals;
	QsProposal	proposals[QS_MAX_PROPOSALS];
	const char *winner;			/* source of the winning proposal, or NULL */
	int			n_exclusions;
	QsExclusion exclusions[QS_MAX_EXCLUSIONS];
	int			n_clamps;
	QsClamp		clamps[QS_MAX_CLAMPS];
} QsDecision;

/* Signals beyond QS_MAX_SIGNALS are not looked at. */
extern void qs_decide(const QsPolicy *policy, const QsLoad *load,
					  const QsCapacity *capacity,
					  const QsCloudActivity *activity,
					  const QsSignal *signals, int n_signals,
					  const QsHistory *history, int64_t now,
					  QsDecision *decision);

/* How many instances the signals ask for, before rounding; NAN: nothing is
 * known.  For who wants to predict it. */
extern double qs_signals_demand(const QsSignal *signals, int n_signals,
								const QsCapacity *capacity, int64_t now);

extern const char *qs_action_name(QsAction action);
extern const char *qs_reason_name(QsReason reason);

/* One sentence for an operator, and what to do about it; never NULL. */
extern const char *qs_reason_explanation(QsReason reason);

#endif							/* QS_DECIDE_H */
