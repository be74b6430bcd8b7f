/*-------------------------------------------------------------------------
 * backtest.h
 *		What a policy would have made of a load that is known.
 *
 * A fleet is played tick by tick: instances that booted long enough become
 * ready; the policy sees the load of ticks before this one, and what is ready
 * and booting, and says what it wants; the difference is launched, or stopped
 * at once, booting ones first; then the tick's load meets what is ready.
 * Booting instances are paid for.  A tick without data is neither scored nor
 * paid for.
 *
 * Load within a tick is taken as its mean, what exceeds the capacity counts as
 * lost, and no queue is played: good for comparing policies, not for promises.
 *-------------------------------------------------------------------------
 */
#ifndef QS_BACKTEST_H
#define QS_BACKTEST_H

#include <stdbool.h>

#include "core/arena.h"
#include "core/cancel.h"
#include "core/error.h"
#include "core/violation_target.h"

#define QS_BACKTEST_MAX_TICKS	2000000
#define QS_BACKTEST_MAX_TICK	86400	/* seconds */
#define QS_BACKTEST_MAX_BOOT	1000	/* ticks */
#define QS_BACKTEST_MAX_FLEET	100000	/* instances */

typedef struct QsBacktestPlan
{
	const double *loads;		/* one per tick, NAN = missing */
	int			count;
	double		tick_seconds;	/* 1 .. 86400 */
	int			scored_from;	/* the ticks before are seen, but not scored */
	double		per_instance;	/* load that one instance carries, > 0 */
	int			boot_ticks;
	int			delay_ticks;	/* until a load is known, beyond the one tick */
	int			min;
	int			max;
} QsBacktestPlan;

/* What a policy sees in a tick. */
typedef struct QsBacktestView
{
	const QsBacktestPlan *plan;
	const double *loads;
	int			known;			/* so many of loads are known; no others are
								 * to be looked at */
	int			tick;
	double		newest;			/* the last known one, NAN = missing; in the
								 * first tick its own load */
	int			served_by;		/* what was ready when newest was the load */
	int			ready;
	int			pending;
} QsBacktestView;

/* What is wanted; the limits are applied by the caller. */
typedef double (*QsBacktestPolicy) (void *context,
									const QsBacktestView *view);

/* Names as in the literature; shares in percent. */
typedef struct QsBacktestMetrics
{
	int			scored;			/* ticks */
	double		violation_time; /* ticks with more load than capacity */
	double		violation_load; /* load above the capacity */
	double		cost;			/* instance hours */
	double		oracle_cost;	/* of who knows the future and never violates */
	double		cost_ratio;
	double		utilization;
	double		under_provisioned;	/* theta U of SPEC RG */
	double		over_provisioned;	/* theta O */
	double		time_under;		/* tau U */
	double		time_over;		/* tau O */
	double		ups_per_day;
	double		downs_per_day;
	double		launches_per_day;
	double		instability;
} QsBacktestMetrics;

typedef struct QsBacktest
{
	double	   *desired;		/* per tick, in the arena, as the others */
	double	   *ready;
	double	   *billed;
	QsBacktestMetrics metrics;
} QsBacktest;

extern bool qs_backtest(const QsBacktestPlan *plan, QsBacktestPolicy policy,
						void *context, int ready_at_first, QsArena *arena,
						const QsCancel *cancel, QsBacktest *result,
						QsError *error);

/* Of instances that are there, for a policy that was played elsewhere. */
extern bool qs_backtest_metrics(const QsBacktestPlan *plan,
								const double *ready, const double *billed,
								QsArena *arena, QsBacktestMetrics *metrics);

/* Instance ticks of who knows the future: a level of the fleet is kept through
 * a gap that is no longer than a boot, else started anew. */
extern bool qs_backtest_oracle(const double *need, int count, int boot_ticks,
							   QsArena *arena, double *cost);

/* ---- policies to compare with ---- */

typedef enum QsRuleKind
{
	QS_RULE_ORIGINAL,			/* ceil of the mean of 300 s, three cooldowns */
	QS_RULE_CEIL,				/* ceil of the newest load */
	QS_RULE_HPA,				/* Kubernetes' HPA v2, its defaults */
	QS_RULE_TARGET_TRACKING,	/* AWS: 3 minutes above, 15 below 0.9 */
	QS_RULE_STABILIZED,			/* ceil, shrinking by the window's largest */
	QS_RULE_PANIC				/* Knative's KPA */
} QsRuleKind;

#define QS_RULE_WINDOW	128		/* ticks */

typedef struct QsRule
{
	QsRuleKind	kind;
	double		target;			/* share of per_instance to use, 0..1 */
	double		up_seconds;		/* cooldowns of the original */
	double		down_seconds;
	double		general_seconds;
	double		window_seconds; /* of HPA and STABILIZED */
	/* kept from tick to tick */
	double		last_up;
	double		last_down;
	double		last_action;
	double		last_panic;
	int			above;			/* ticks in a row */
	int			below;
	double		recommended[QS_RULE_WINDOW];
} QsRule;

/* With the kind's own cooldowns and windows. */
extern QsRule qs_rule(QsRuleKind kind, double target);
extern double qs_rule_wants(void *rule, const QsBacktestView *view);
extern int	qs_rule_ready_at_first(const QsRule *rule,
								   const QsBacktestPlan *plan);

/* The predictor, with a fixed quantile or a share of violations to keep. */
typedef struct QsForesight
{
	void	   *predictor;
	double		quantile;		/* 0 = by the share */
	double		share;			/* of time, 0.01 for one percent */
	QsViolationTarget target;
	int			seen;			/* ticks that the predictor knows */
} QsForesight;

/* block: qs_foresight_bytes(plan) of them; false if the plan has none. */
extern size_t qs_foresight_bytes(const QsBacktestPlan *plan);
extern bool qs_foresight_begin(QsForesight *foresight, void *block,
							   const QsBacktestPlan *plan, double quantile,
							   double share);
extern double qs_foresight_wants(void *foresight,
								 const QsBacktestView *view);

#endif							/* QS_BACKTEST_H */
