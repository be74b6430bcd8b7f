/*-------------------------------------------------------------------------
 * backtesting.c
 *		qpsscale.play() and qpsscale.play_ticks(): a policy, and those of
 *		others, against a load that is known.
 *
 * Runs in the caller's backend, changes nothing, and ends early when the
 * statement is cancelled.  The policy is a row of resource_groups, read as a
 * worker reads it and decided on by the same decide().  core never throws, so
 * that the arena is freed before anything here does.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "core/replay.h"
#include "pg/cancel.h"
#include "pg/compat.h"
#include "pg/group_row.h"
#include "pg/settings.h"

PG_FUNCTION_INFO_V1(qpsscale_play);
PG_FUNCTION_INFO_V1(qpsscale_play_ticks);

/* More are refused: months of minutes. */
#define MOST_TICKS		200000
#define ARENA_BYTES		((size_t) 256 * 1024 * 1024)
#define METRICS			14

/* How a policy is played. */
typedef enum PlayedBy
{
	BY_POLICY,					/* as the row says */
	BY_REACTIVE_POLICY,			/* likewise, but without prediction */
	BY_PREDICTIVE_POLICY,		/* and with it */
	BY_RULE,
	BY_CONSTANT,				/* the fewest that keep target_violation */
	BY_ORACLE
} PlayedBy;

typedef struct Player
{
	const char *name;
	PlayedBy	by;
	QsRuleKind	rule;			/* BY_RULE */
} Player;

static const Player players[] = {
	{"policy", BY_POLICY, QS_RULE_CEIL},
	{"reactive", BY_REACTIVE_POLICY, QS_RULE_CEIL},
	{"predictive", BY_PREDICTIVE_POLICY, QS_RULE_CEIL},
	{"first_original", BY_RULE, QS_RULE_ORIGINAL},
	{"hpa_v2", BY_RULE, QS_RULE_HPA},
	{"aws_target_tracking", BY_RULE, QS_RULE_TARGET_TRACKING},
	{"knative_kpa", BY_RULE, QS_RULE_PANIC},
	{"static_best", BY_CONSTANT, QS_RULE_CEIL},
	{"oracle", BY_ORACLE, QS_RULE_CEIL}
};

/* What is played, as it was asked for. */
typedef struct Play
{
	QpsscaleGroup *group;
	QsBacktestPlan plan;
	int64		begin_us;
	int			boot_s;
	int			window_ticks;
	uint8	   *reasons;		/* of BY_POLICY, or NULL */
} Play;

/* ----------
 * What was asked for
 * ----------
 */

/* The composite is unnested, so that its fields have their names. */
static const char policy_sql[] =
"SELECT " QPSSCALE_GROUP_COLUMNS ", false"
" FROM unnest(ARRAY[$1]) g"
" LEFT JOIN qpsscale.state s ON false"
" LEFT JOIN qpsscale.activities a ON false";

static QpsscaleGroup *
read_policy(Datum row, Oid type)
{
	MemoryContext caller = CurrentMemoryContext;
	QpsscaleGroup *group = palloc0(sizeof(QpsscaleGroup));
	MemoryContext old;
	Row			values;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(policy_sql, 1, &type, &row, NULL, true, 1) !=
		SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "the policy cannot be read");
	row_start(&values);
	row_read(&values, 0);
	old = MemoryContextSwitchTo(caller);
	qpsscale_read_group(&values, group, GetCurrentTimestamp());
	MemoryContextSwitchTo(old);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");

	group->policy.armed = true;
	group->policy.dry_run = false;
	group->policy.extension_enabled = true;
	group->policy.require_approval = false;
	/* the cloud's own activities are not played */
	group->policy.writes_while_busy = true;
	if (qpsscale_settings.max_instances > 0)
		group->policy.ceiling = qpsscale_settings.max_instances;
	/* what signals ask for is a load in instances */
	if (group->policy.target_qps == 0)
		group->policy.target_qps = 1;
	return group;
}

static double *
read_loads(ArrayType *array, int *count)
{
	Datum	   *datums;
	bool	   *nulls;
	double	   *loads;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("load must be a one-dimensional array")));
	*count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	if (*count < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no load to play"),
				 errhint("A group has samples once it was evaluated: SELECT * FROM qpsscale.samples_of(id, '-infinity', 'infinity').")));
	if (*count > MOST_TICKS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("load must have at most %d elements", MOST_TICKS),
				 errhint("Play a shorter time, or longer steps.")));
	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &datums, &nulls, count);
	loads = palloc(sizeof(double) * *count);
	for (int i = 0; i < *count; i++)
	{
		loads[i] = nulls[i] ? NAN : DatumGetFloat8(datums[i]);
		if (loads[i] < 0 || isinf(loads[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("load must not have negative or infinite elements"),
					 errdetail("Element %d is %g.", i + 1, loads[i]),
					 errhint("Use NULL for a load that is not known.")));
	}
	return loads;
}

static int
bounded(FunctionCallInfo fcinfo, int argument, const char *name, int least,
		int most)
{
	int			value = PG_GETARG_INT32(argument);

	if (value < least || value > most)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be %d to %d", name, least, most)));
	return value;
}

static void
read_limits(FunctionCallInfo fcinfo, Play *play)
{
	const QsPolicy *policy = &play->group->policy;
	QsBacktestPlan *plan = &play->plan;

	plan->min = PG_ARGISNULL(6) ? 0 : PG_GETARG_INT32(6);
	plan->max = PG_ARGISNULL(7) ? QS_BACKTEST_MAX_FLEET : PG_GETARG_INT32(7);
	plan->max = Min(Max(plan->max, 0), QS_BACKTEST_MAX_FLEET);
	if (policy->max_instances != QS_NO_LIMIT)
		plan->max = Min(plan->max, policy->max_instances);
	if (policy->ceiling != QS_NO_LIMIT)
		plan->max = Min(plan->max, policy->ceiling);
	plan->min = Max(plan->min, policy->min_instances);
	plan->min = Min(Max(plan->min, 0), plan->max);
}

/*
 * (policy, load, started_at, step_seconds, boot_seconds, warm_up, least, most,
 * capacity_qps): warm_up in ticks; least and most are the cloud's limits.
 */
static void
read_play(FunctionCallInfo fcinfo, Play *play)
{
	QsBacktestPlan *plan = &play->plan;
	TimestampTz at;
	int			step_s;

	memset(play, 0, sizeof(*play));
	for (int i = 0; i <= 5; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("policy, load, started_at, step, boot_seconds and warm_up must not be null")));
	play->group = read_policy(PG_GETARG_DATUM(0),
							  get_fn_expr_argtype(fcinfo->flinfo, 0));
	plan->loads = read_loads(PG_GETARG_ARRAYTYPE_P(1), &plan->count);
	at = PG_GETARG_TIMESTAMPTZ(2);
	step_s = bounded(fcinfo, 3, "step", 1, 86400);
	play->boot_s = bounded(fcinfo, 4, "boot_seconds", 0,
						   QS_PREDICTION_MAX_BOOT);
	plan->scored_from = bounded(fcinfo, 5, "warm_up", 0, plan->count - 1);
	if (TIMESTAMP_NOT_FINITE(at) || qpsscale_unix_us(at) < 0 ||
		!IS_VALID_TIMESTAMP(at + (int64) plan->count * step_s *
							USECS_PER_SEC))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("started_at is out of range")));
	play->begin_us = qpsscale_unix_us(at);
	plan->tick_seconds = step_s;
	plan->boot_ticks = (play->boot_s + step_s - 1) / step_s;
	plan->per_instance = PG_ARGISNULL(8) ? play->group->policy.target_qps :
		PG_GETARG_FLOAT8(8);
	if (!(plan->per_instance > 0) || isinf(plan->per_instance))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capacity_qps must be above zero")));
	read_limits(fcinfo, play);
	play->window_ticks = Max(1, qpsscale_settings.metric_period_s / step_s);
}

/* ----------
 * Playing
 * ----------
 */

/* The predictor's room is palloc'd, so that nothing is to be freed by hand. */
static void
make_replay(const Play *play, PlayedBy by, QsReplay *replay)
{
	const GroupPrediction *prediction = &play->group->prediction;
	QsPredictionPlan plan = {(int) play->plan.tick_seconds, play->boot_s};
	size_t		bytes;
	bool		steers = by == BY_PREDICTIVE_POLICY ||
		(by == BY_POLICY && prediction->mode == PREDICTION_ENABLED);

	memset(replay, 0, sizeof(*replay));
	replay->policy = play->group->policy;
	replay->share = prediction->share;
	replay->begin_us = play->begin_us;
	replay->window_ticks = play->window_ticks;
	replay->reasons = play->reasons;
	if (!steers)
		return;
	bytes = qs_prediction_tick(plan.resolution_s) == plan.resolution_s ?
		qs_prediction_bytes(&plan) : 0;
	if (bytes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("what comes in steps of %d s cannot be predicted",
						plan.resolution_s),
				 errhint("Take steps of 1 to 15 minutes that divide a day, or prediction_mode \"off\".")));
	replay->steers = true;
	replay->prediction = qs_prediction_begin(palloc(bytes), &plan,
											 play->begin_us + 1,
											 replay->share);
}

static double
first_need(const Play *play)
{
	double		first = play->plan.loads[0];

	return isnan(first) ? play->plan.min :
		Min(ceil(first / play->group->policy.target_qps),
			QS_BACKTEST_MAX_FLEET);
}

static int
compare_doubles(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

/* The fewest instances that, always there, keep the violation target. */
static double
best_constant(const Play *play)
{
	const QsBacktestPlan *plan = &play->plan;
	double	   *loads = palloc(sizeof(double) * plan->count);
	int			n = 0;
	int			at;

	for (int i = plan->scored_from; i < plan->count; i++)
		if (!isnan(plan->loads[i]))
			loads[n++] = plan->loads[i];
	if (n == 0)
		return plan->min;
	qsort(loads, n, sizeof(double), compare_doubles);
	at = n - 1 - (int) floor(play->group->prediction.share * n);
	return Min(Max(ceil(loads[Max(at, 0)] / plan->per_instance - 1e-9),
				   plan->min), plan->max);
}

static bool
play_constant(const Play *play, double instances, QsArena *arena,
			  QsBacktest *result, QsError *error)
{
	const QsBacktestPlan *plan = &play->plan;
	double	   *fleet = qs_arena_alloc_array(arena, (size_t) plan->count,
											 sizeof(double));

	qs_error_clear(error);
	if (fleet != NULL)
	{
		for (int i = 0; i < plan->count; i++)
			fleet[i] = instances;
		result->desired = result->ready = result->billed = fleet;
		if (qs_backtest_metrics(plan, fleet, fleet, arena, &result->metrics))
			return true;
	}
	return qs_error_set(error, QS_ERROR_RESOURCES, "memory",
						"not enough memory for a backtest");
}

/* Nothing here throws once the arena is there. */
static bool
play_in(const Play *play, const Player *player, QsReplay *replay,
		double constant, QsArena *arena, QsBacktest *result, QsError *error)
{
	QsRule		rule;

	if (player->by == BY_CONSTANT || player->by == BY_ORACLE)
		return play_constant(play, constant, arena, result, error);
	if (player->by != BY_RULE)
		return qs_backtest(&play->plan, qs_replay_wants, replay,
						   (int) first_need(play), arena, &qpsscale_cancel,
						   result, error);
	/* others are set to the policy's target, too */
	rule = qs_rule(player->rule,
				   play->group->policy.target_qps / play->plan.per_instance);
	return qs_backtest(&play->plan, qs_rule_wants, &rule,
					   qs_rule_ready_at_first(&rule, &play->plan), arena,
					   &qpsscale_cancel, result, error);
}

/* The arena that the result is in is the caller's to free. */
static QsArena *
play_one(const Play *play, const Player *player, QsBacktest *result)
{
	QsReplay   *replay = palloc(sizeof(QsReplay));
	double		constant = player->by == BY_CONSTANT ? best_constant(play) :
		play->plan.min;
	QsArena    *arena;
	QsError		error;

	memset(result, 0, sizeof(*result));
	if (player->by <= BY_PREDICTIVE_POLICY)
		make_replay(play, player->by, replay);
	arena = qs_arena_new(ARENA_BYTES);
	if (arena == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (play_in(play, player, replay, constant, arena, result, &error))
	{
		pfree(replay);
		return arena;
	}
	qs_arena_free(arena);
	CHECK_FOR_INTERRUPTS();
	ereport(ERROR,
			(errcode(error.class == QS_ERROR_RESOURCES ?
					 ERRCODE_OUT_OF_MEMORY : ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", error.message)));
}

/* ----------
 * Rows
 * ----------
 */
static void
put_metrics(ReturnSetInfo *rows, const Player *player,
			const QsBacktestMetrics *m)
{
	bool		oracle = player->by == BY_ORACLE;
	const double numbers[METRICS] = {
		oracle ? 0 : m->violation_time, oracle ? 0 : m->violation_load,
		oracle ? m->oracle_cost : m->cost, oracle ? 1 : m->cost_ratio,
		m->utilization, m->under_provisioned, m->over_provisioned,
		m->time_under, m->time_over, m->ups_per_day, m->downs_per_day,
		m->launches_per_day, m->instability, m->scored
	};
	Datum		values[METRICS + 1];
	bool		nulls[METRICS + 1] = {false};

	values[0] = CStringGetTextDatum(player->name);
	for (int i = 0; i < METRICS; i++)
	{
		/* how the oracle's fleet changes is not known, only what it costs */
		nulls[i + 1] = !isfinite(numbers[i]) ||
			(oracle && i >= 4 && i < METRICS - 1);
		values[i + 1] = Float8GetDatum(numbers[i]);
	}
	values[METRICS] = Int32GetDatum(m->scored);
	tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
}

static bool
is_asked_for(ArrayType *names, const char *name)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (names == NULL)
		return true;
	deconstruct_array(names, TEXTOID, -1, false, TYPALIGN_INT, &values,
					  &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && strcmp(TextDatumGetCString(values[i]), name) == 0)
			return true;
	return false;
}

/* One of reactive and predictive is the policy as it is. */
static bool
is_policy(const Play *play, const Player *player)
{
	bool		predicts = play->group->prediction.mode == PREDICTION_ENABLED;

	return player->by == BY_POLICY ||
		player->by == (predicts ? BY_PREDICTIVE_POLICY : BY_REACTIVE_POLICY);
}

static QsBacktestMetrics
metrics_of(const Play *play, const Player *player)
{
	QsBacktest	result;
	QsArena    *arena = play_one(play, player, &result);

	qs_arena_free(arena);
	return result.metrics;
}

/* ... and the names of those who play; NULL: all. */
Datum
qpsscale_play(PG_FUNCTION_ARGS)
{
	ArrayType  *names = PG_ARGISNULL(9) ? NULL : PG_GETARG_ARRAYTYPE_P(9);
	bool		played = false;
	QsBacktestMetrics of_policy;
	QsBacktestMetrics metrics;
	Play		play;

	read_play(fcinfo, &play);
	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; i < lengthof(players); i++)
	{
		if (!is_asked_for(names, players[i].name))
			continue;
		if (!is_policy(&play, &players[i]))
			metrics = metrics_of(&play, &players[i]);
		else
		{
			if (!played)
				of_policy = metrics_of(&play, &players[i]);
			played = true;
			metrics = of_policy;
		}
		put_metrics((ReturnSetInfo *) fcinfo->resultinfo, &players[i],
					&metrics);
	}
	return (Datum) 0;
}

static void
put_ticks(ReturnSetInfo *rows, const Play *play, const double *desired,
		  const double *ready, const double *billed)
{
	const QsBacktestPlan *plan = &play->plan;
	int64		step_us = (int64) plan->tick_seconds * USECS_PER_SEC;

	for (int i = 0; i < plan->count; i++)
	{
		Datum		values[7];
		bool		nulls[7] = {false};

		CHECK_FOR_INTERRUPTS();
		values[0] = TimestampTzGetDatum(qpsscale_timestamptz(play->begin_us +
															 (i + 1) * step_us));
		values[1] = Float8GetDatum(plan->loads[i]);
		values[2] = Int32GetDatum((int32) desired[i]);
		values[3] = Int32GetDatum((int32) ready[i]);
		values[4] = Int32GetDatum((int32) billed[i]);
		values[5] = BoolGetDatum(plan->loads[i] >
								 ready[i] * plan->per_instance * (1 + 1e-9));
		values[6] = CStringGetTextDatum(qs_reason_name((QsReason) play->reasons[i]));
		nulls[1] = nulls[5] = isnan(plan->loads[i]);
		tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
	}
}

static double *
copy_of(const double *values, int count, double *to)
{
	memcpy(to, values, sizeof(double) * count);
	return to;
}

Datum
qpsscale_play_ticks(PG_FUNCTION_ARGS)
{
	Play		play;
	QsBacktest	result;
	QsArena    *arena;
	double	   *copies[3];
	int			n;

	read_play(fcinfo, &play);
	n = play.plan.count;
	for (int i = 0; i < 3; i++)
		copies[i] = palloc(sizeof(double) * n);
	play.reasons = palloc0(n);
	InitMaterializedSRF(fcinfo, 0);
	arena = play_one(&play, &players[0], &result);
	copy_of(result.desired, n, copies[0]);
	copy_of(result.ready, n, copies[1]);
	copy_of(result.billed, n, copies[2]);
	qs_arena_free(arena);
	put_ticks((ReturnSetInfo *) fcinfo->resultinfo, &play, copies[0],
			  copies[1], copies[2]);
	return (Datum) 0;
}
