/*-------------------------------------------------------------------------
 * group.h
 *		One resource group on its way through a cycle.
 *
 * The store fills it from the tables, the observer from the cloud, decide()
 * adds the decision, and the store writes it back.  All of it lives in the
 * cycle's memory context.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_GROUP_H
#define QPSSCALE_GROUP_H

#include "postgres.h"

#include "cloud/provider.h"
#include "core/decide.h"
#include "core/foreign.h"
#include "core/stock_out.h"
#include "datatype/timestamp.h"
#include "pg/host.h"

/* core/ counts microseconds from 1970, PostgreSQL from 2000. */
#define QPSSCALE_EPOCH_SHIFT \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static inline int64
qpsscale_unix_us(TimestampTz at)
{
	return (int64) at + QPSSCALE_EPOCH_SHIFT;
}

static inline TimestampTz
qpsscale_timestamptz(int64 unix_us)
{
	return (TimestampTz) (unix_us - QPSSCALE_EPOCH_SHIFT);
}

/* Where a group is in the cycle; see the table in src/README.md. */
typedef enum GroupStage
{
	STAGE_WAITING,				/* its account's credentials are fetched */
	STAGE_OBSERVING,			/* load and capacity are being read */
	STAGE_CHECKING,				/* about to act: activities, in-service */
	STAGE_DECIDED,				/* waits for the intent transaction */
	STAGE_ACTING,				/* intent committed, the call is under way */
	STAGE_ACTED,				/* waits for the record transaction */
	STAGE_FINISHED
} GroupStage;

typedef enum ActivityStatus
{
	ACTIVITY_ABSENT,
	ACTIVITY_REQUESTED,
	ACTIVITY_UNKNOWN,
	ACTIVITY_ACCEPTED,
	ACTIVITY_SUCCESSFUL,
	ACTIVITY_FAILED,
	ACTIVITY_SUPERSEDED
} ActivityStatus;

extern const char *qpsscale_activity_status_name(ActivityStatus status);

/* The group's open activity, as read and as it is to be written. */
typedef struct GroupActivity
{
	int64		id;
	ActivityStatus status;
	ActivityStatus resolved;	/* what it becomes in this cycle */
	bool		settled;		/* this cycle wrote that */
	const char *resolution;		/* why, for error_message; NULL for none */
	bool		evaluator_alive;	/* another process may still send it */
	int			desired;
	int			base;
	int			total;			/* members when it was decided, QS_UNKNOWN */
	TimestampTz requested_at;
	TimestampTz accepted_at;	/* 0 = not accepted */
	TimestampTz applied_by;		/* found to be applied, at this time or before */
} GroupActivity;

/* What the state row said when the cycle began. */
typedef struct GroupVerdict
{
	TimestampTz evaluated_at;	/* 0 = never */
	const char *action;
	const char *reason;			/* NULL: never evaluated */
	const char *blocker;
	int			desired;
	bool		dry_run;
	int			capacity;		/* latest_capacity and so on: QS_UNKNOWN = null */
	int			total;
	int			in_service;
	int			min;
	int			max;
	int			optimal;
	bool		blocked_until_set;
	TimestampTz blocked_until;
	bool		cooldown_until_set;
	TimestampTz cooldown_until;
	const char *error;
	int			consecutive_errors;
} GroupVerdict;

/*
 * What is remembered of a group's earlier actions beyond its cooldowns.  It
 * changes seldom, and is written only then (store_watch.c).
 */
typedef struct GroupWatch
{
	int			failed_actions; /* in a row: feeds the circuit breaker */
	int			known_desired;	/* desired capacity seen last, QS_UNKNOWN */
	int64		known_version;	/* of the policy when it was seen; 0 = none */
	int			lost_desired;	/* written by a call taken for lost */
	TimestampTz lost_at;		/* 0 = none */
	QsStockOut	stock_out;
} GroupWatch;

/* What this cycle found the desired capacity changed to, and by whom. */
typedef struct GroupChange
{
	QsDesiredChange kind;
	int			from;
	int			to;
	TimestampTz seen_at;		/* 0 = nothing to tell */
} GroupChange;

/* A row of qpsscale.decisions that is to be carried out. */
typedef struct GroupExecution
{
	const QpsscaleExecute *asked;
	int64		group_id;
	int64		policy_version;
	const char *action;
	const char *reason;
	int			current;
	int			desired;
	TimestampTz expires_at;
	bool		executed;
	bool		overridden;
} GroupExecution;

typedef enum GroupPredictionMode
{
	PREDICTION_OFF,
	PREDICTION_FORECAST_ONLY,
	PREDICTION_ENABLED
} GroupPredictionMode;

/* What is foreseen of the group: its policy, and what came of it. */
typedef struct GroupPrediction
{
	GroupPredictionMode mode;
	double		share;			/* of time in which load may exceed capacity */
	int			boot_s;			/* the policy's; measured in its stead later */
	bool		known;			/* told is set, and decide() was given it */
	QsPredicted told;
	bool		was_demoted;	/* the predictor, when it was stored last */
	bool		saved;			/* this cycle stored its state */
} GroupPrediction;

struct QpsscaleAccount;

/* What a row of qpsscale.signal_state said; all of it zero: there was none. */
typedef struct GroupSignalState
{
	bool		known;			/* it was there */
	double		latest_value;	/* NaN = null */
	TimestampTz latest_at;		/* 0 = null, as below */
	TimestampTz missing_since;
	const char *last_error;
} GroupSignalState;

/* Where a further signal comes from, and what it said in this cycle. */
typedef struct GroupSignal
{
	const char *source;			/* "cloud": the group's own; else a provider */
	const char *account_name;	/* NULL = the source's default chain */
	QsSignalQuery query;
	const QsProvider *provider;
	struct QpsscaleAccount *account;
	QsTarget	target;			/* its reading is the signal's */
	bool		batched;
	bool		reused;			/* not asked again: nothing newer published */
	GroupSignalState before;
} GroupSignal;

typedef struct QpsscaleGroup
{
	/* policy and identity */
	int64		id;
	int64		version;
	const char *name;
	const char *provider_name;
	const char *account_name;	/* NULL = default chain */
	const char *owner;
	const char *alb_id;
	const char *asg_id;
	const char *kind;			/* NULL where the provider knows only one */
	const char *region;			/* NULL = the account's */
	const char *get_capacity;	/* functions of provider sql, else NULL */
	const char *set_capacity;
	bool		enabled;
	bool		row_dry_run;
	int			activity_deadline_s;
	bool		has_hourly_limit;
	QsPolicy	policy;
	double		target_cpu;		/* per cent; 0 = no such signal */
	double		target_memory;
	GroupPrediction prediction;
	int			n_signals;
	QsSignal   *signals;		/* as decide() takes them */
	GroupSignal *sources;		/* of each of them */

	/* state */
	QsHistory	history;
	int			n_changes;		/* recent ones as they were read, and room for
								 * one more; NULL: the policy has no rates */
	QsChange   *changes;
	GroupVerdict before;
	GroupActivity open;
	GroupWatch	watch;			/* as it was read */
	QsStockOut	stock_out;		/* as it is to be written */
	GroupChange change;			/* of desired, by this cycle's observation */
	bool		has_reference_qps;	/* a suspicious drop is being held */
	TimestampTz circuit_open_until; /* raw, 0 = null */
	bool		suspended;		/* raw columns */
	const char *suspended_direction;
	TimestampTz suspended_until;	/* 0 = null */
	TimestampTz last_action_at; /* raw, 0 = null */
	TimestampTz backfilled_from;	/* of the past load; 0 = none of it */
	TimestampTz backfill_retry_at;	/* 0 = at once */

	/* this cycle */
	GroupStage	stage;
	const QsProvider *provider;
	struct QpsscaleAccount *account;
	QsBatch    *batch;
	QsTarget	target;
	int			pending[QS_CALL_KINDS]; /* calls that carry its answer */
	bool		asked_in_service;
	bool		asked_activities;
	bool		asked_vetoes;
	bool		load_reused;	/* not asked again: nothing newer published */
	bool		set_sent;		/* the changing call may have left us */
	bool		met_conflict;	/* it was refused; see conflict.h */
	bool		rereading;
	QsDecision	decision;
	TimestampTz decided_at;
	TimestampTz observed_at;	/* end of the monitors' newest point */
	const char *error_source;	/* NULL = no error in this cycle */
	const char *error_message;
	QsError		error;

	/* an operator's number instead of what the load asks for */
	const QpsscaleByHand *by_hand;	/* NULL: nobody asked */
	GroupExecution *execution;	/* a decision to be carried out, or NULL */
	int			refused_sqlstate;	/* 0, or why nothing of it was begun */
	const char *refused_message;
	const char *refused_hint;

	/* outcome */
	int64		evaluation_id;	/* 0 = verdict unchanged */
	int64		activity_id;	/* intent or dry-run row of this cycle; 0 = none */
	const char *activity_key;
	ActivityStatus outcome;		/* of the intent */
	bool		circuit_opened; /* by that outcome */
	bool		not_tried;		/* we ourselves let it be: no failure */
	const char *response;
	const char *outcome_message;
	bool		stored;
	bool		sampled;		/* what was seen of it is in samples */
	bool		charged;		/* the database refused its row */
	bool		charge_repeats; /* and that is known */
	bool		row_locked;
} QpsscaleGroup;

#endif							/* QPSSCALE_GROUP_H */
