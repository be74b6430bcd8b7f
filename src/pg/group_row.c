/*-------------------------------------------------------------------------
 * group_row.c
 *		A resource group as the tables have it: policy, state, open activity.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "pg/group_row.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static QsForeignPolicy
foreign_policy(const char *name)
{
	if (name != NULL && strcmp(name, "override") == 0)
		return QS_FOREIGN_OVERRIDE;
	if (name != NULL && strcmp(name, "pause") == 0)
		return QS_FOREIGN_PAUSE;
	return QS_FOREIGN_ADOPT;
}

/* NULL: no cap; negative: no price. */
static void
read_budget(Row *row, QsBudget *budget)
{
	bool		capped = !next_null(row);
	int			instances = next_int32(row, 0);

	budget->by = !capped ? NULL : instances < 0 ? "unpriced" :
		"max_hourly_cost";
	budget->instances = instances;
	budget->unpriced = capped && instances < 0;
}

static GroupPredictionMode
prediction_mode(const char *name)
{
	if (name != NULL && strcmp(name, "enabled") == 0)
		return PREDICTION_ENABLED;
	if (name != NULL && strcmp(name, "forecast_only") == 0)
		return PREDICTION_FORECAST_ONLY;
	return PREDICTION_OFF;
}

static void
read_prediction(Row *row, GroupPrediction *prediction)
{
	prediction->mode = prediction_mode(next_text(row));
	prediction->share = next_double(row, 0.01);
	prediction->boot_s = next_int32(row, 180);
}

static void
read_policy(Row *row, QpsscaleGroup *group)
{
	QsPolicy   *policy = &group->policy;

	policy->mode = next_bool(row) ? QS_MODE_STATIC : QS_MODE_DYNAMIC;
	policy->target_qps = next_double(row, 0);
	policy->up_threshold = next_double(row, 0.8);
	policy->down_threshold = next_double(row, 0.6);
	policy->min_instances = next_int32(row, QS_NO_LIMIT);
	policy->max_instances = next_int32(row, QS_NO_LIMIT);
	policy->max_scale_up_per_action = next_int32(row, 0);
	policy->max_scale_down_per_action = next_int32(row, 0);
	policy->max_scale_down_percent = next_int32(row, 0);
	policy->scale_up_tolerance = next_double(row, 0);
	policy->scale_down_tolerance = next_double(row, 0);
	policy->scale_up_on_peak = next_bool(row);
	policy->suspicious_drop_guard = next_bool(row);
	policy->scale_up_cooldown_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->scale_down_cooldown_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->general_cooldown_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->scale_down_window_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->max_load_age_us = next_int32(row, 0) * USECS_PER_SEC;
	policy->on_foreign_change = foreign_policy(next_text(row));
	policy->require_approval = next_bool(row);
	read_prediction(row, &group->prediction);
	group->has_hourly_limit = next_bool(row);
	read_budget(row, &policy->budget);
	policy->ceiling = QS_NO_LIMIT;
}

static QsRateSelect
rate_select(const char *name)
{
	if (name != NULL && strcmp(name, "min") == 0)
		return QS_RATE_MIN;
	if (name != NULL && strcmp(name, "disabled") == 0)
		return QS_RATE_DISABLED;
	return QS_RATE_MAX;
}

/*
 * "4 per 60 s", "100% per 60 s": the table's CHECK has seen to the form.  One
 * that is of another form all the same allows nothing, as a limit that cannot
 * be read is none that may be ignored.
 */
static QsRatePolicy
rate_policy(const char *text)
{
	QsRatePolicy policy = {false, 0, USECS_PER_SEC};
	int			value;
	int			seconds;
	char		percent;

	if (sscanf(text, "%d per %d s", &value, &seconds) == 2)
		policy.percent = false;
	else if (sscanf(text, "%d%c per %d s", &value, &percent, &seconds) == 3 &&
			 percent == '%')
		policy.percent = true;
	else
		return policy;
	policy.value = Max(value, 0);
	policy.period_us = Max(seconds, 1) * USECS_PER_SEC;
	return policy;
}

static void
read_rate(Row *row, QsRate *rate)
{
	int			at = row->next++;
	Datum	   *texts;
	bool	   *nulls;
	int			n;

	rate->n_policies = 0;
	rate->select = rate_select(next_text(row));
	if (row->nulls[at])
		return;
	deconstruct_array(DatumGetArrayTypeP(row->values[at]), TEXTOID, -1, false,
					  TYPALIGN_INT, &texts, &nulls, &n);
	for (int i = 0; i < n && rate->n_policies < QS_MAX_RATE_POLICIES; i++)
		if (!nulls[i])
			rate->policies[rate->n_policies++] =
				rate_policy(TextDatumGetCString(texts[i]));
}

static void
read_pace(Row *row, QsPolicy *policy)
{
	read_rate(row, &policy->scale_up_rate);
	read_rate(row, &policy->scale_down_rate);
	policy->scale_up_confirm.n = next_int32(row, 1);
	policy->scale_up_confirm.m = next_int32(row, 1);
	policy->scale_down_confirm.n = next_int32(row, 1);
	policy->scale_down_confirm.m = next_int32(row, 1);
}

/*
 * The stabilization window.  An entry "until infinity" was still recommended
 * at latest_qps_at: a steady group's arrays then never change.
 */
static void
read_recommendations(Row *row, QsHistory *history)
{
	int			times_at = row->next++;
	int			counts_at = row->next++;
	Datum	   *times;
	Datum	   *counts;
	bool	   *time_nulls;
	bool	   *count_nulls;
	int			n_times;
	int			n_counts;

	history->n_recommendations = 0;
	if (row->nulls[times_at] || row->nulls[counts_at])
		return;
	deconstruct_array(DatumGetArrayTypeP(row->values[times_at]), TIMESTAMPTZOID,
					  8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &times, &time_nulls,
					  &n_times);
	deconstruct_array(DatumGetArrayTypeP(row->values[counts_at]), INT4OID, 4,
					  true, TYPALIGN_INT, &counts, &count_nulls, &n_counts);
	for (int i = 0; i < n_times && i < n_counts; i++)
	{
		TimestampTz at;
		QsRecommendation *r;

		if (time_nulls[i] || count_nulls[i] ||
			history->n_recommendations == QS_MAX_RECOMMENDATIONS)
			continue;
		at = DatumGetTimestampTz(times[i]);
		r = &history->recommendations[history->n_recommendations];
		if (TIMESTAMP_IS_NOEND(at))
		{
			if (history->previous_qps_at == QS_NEVER)
				continue;
			r->at = history->previous_qps_at;
		}
		else if (TIMESTAMP_NOT_FINITE(at))
			continue;
		else
			r->at = qpsscale_unix_us(at);
		r->instances = DatumGetInt32(counts[i]);
		history->n_recommendations++;
	}
}

static void
read_suspension(Row *row, QpsscaleGroup *group, TimestampTz now)
{
	char	   *direction;
	TimestampTz until;
	bool		holds;

	group->suspended = next_bool(row);
	direction = next_text(row);
	group->suspended_direction = direction;
	group->suspended_until = next_int64(row, 0);
	until = TIMESTAMP_NOT_FINITE(group->suspended_until) ? 0 :
		group->suspended_until;
	holds = group->suspended && (until == 0 || now < until);
	group->history.suspended_until =
		until == 0 ? QS_NEVER : qpsscale_unix_us(until);
	group->history.suspended_up = holds &&
		(direction == NULL || strcmp(direction, "down") != 0);
	group->history.suspended_down = holds &&
		(direction == NULL || strcmp(direction, "up") != 0);
}

/* Until infinity is until somebody ends it. */
static void
read_held(Row *row, QsHistory *history)
{
	int			instances = next_int32(row, QS_UNKNOWN);
	TimestampTz until = next_int64(row, 0);

	history->held_instances = instances;
	if (instances == QS_UNKNOWN || until == 0 || TIMESTAMP_IS_NOBEGIN(until))
		history->held_until = QS_NEVER;
	else
		history->held_until = TIMESTAMP_IS_NOEND(until) ? INT64_MAX :
			qpsscale_unix_us(until);
}

static void
read_history(Row *row, QpsscaleGroup *group, TimestampTz now)
{
	QsHistory  *history = &group->history;
	double		reference;

	history->previous_qps_at = next_unix_us(row);
	history->previous_qps = next_double(row, -1);
	group->has_reference_qps = !next_null(row);
	reference = next_double(row, -1);
	if (group->has_reference_qps)
		history->previous_qps = reference;
	history->drop_seen_at = next_unix_us(row);
	history->last_scale_up_at = next_unix_us(row);
	history->last_scale_down_at = next_unix_us(row);
	group->last_action_at = next_time(row);
	history->last_action_at = group->last_action_at == 0 ? QS_NEVER :
		qpsscale_unix_us(group->last_action_at);
	read_recommendations(row, history);
	group->circuit_open_until = next_time(row);
	history->circuit_open_until = group->circuit_open_until == 0 ? QS_NEVER :
		qpsscale_unix_us(group->circuit_open_until);
	read_suspension(row, group, now);
	read_held(row, history);
}

static void
read_verdict(Row *row, QpsscaleGroup *group)
{
	GroupVerdict *before = &group->before;

	before->consecutive_errors = next_int32(row, 0);
	before->evaluated_at = next_time(row);
	before->action = next_text(row);
	before->reason = next_text(row);
	before->blocker = next_text(row);
	before->desired = next_int32(row, QS_UNKNOWN);
	before->dry_run = next_bool(row);
	before->capacity = next_int32(row, QS_UNKNOWN);
	before->total = next_int32(row, QS_UNKNOWN);
	before->in_service = next_int32(row, QS_UNKNOWN);
	before->min = next_int32(row, QS_UNKNOWN);
	before->max = next_int32(row, QS_UNKNOWN);
	before->optimal = next_int32(row, QS_UNKNOWN);
	before->blocked_until = next_time(row);
	before->cooldown_until = next_time(row);
	before->error = next_text(row);
	group->history.previous_in_service = before->in_service;
}

static void
read_watch(Row *row, GroupWatch *watch)
{
	watch->failed_actions = next_int32(row, 0);
	watch->known_desired = next_int32(row, QS_UNKNOWN);
	watch->known_version = next_int64(row, 0);
	watch->lost_desired = next_int32(row, QS_UNKNOWN);
	watch->lost_at = next_time(row);
	watch->stock_out.unfulfilled = next_int32(row, 0);
	watch->stock_out.fulfilled = next_int32(row, QS_UNKNOWN);
	watch->stock_out.counted = next_int64(row, 0);
	watch->stock_out.since = next_unix_us(row);
	watch->stock_out.probe_at = next_unix_us(row);
}

static void
read_confirmations(Row *row, QsConfirmations *confirmations)
{
	confirmations->up = (uint32_t) next_int64(row, 0);
	confirmations->down = (uint32_t) next_int64(row, 0);
	confirmations->base = next_int32(row, 0);
	confirmations->observed_at = next_unix_us(row);
	if (confirmations->observed_at == QS_NEVER)
		memset(confirmations, 0, sizeof(*confirmations));
}

static void
read_open_activity(Row *row, GroupActivity *open)
{
	const char *status;

	open->id = next_int64(row, 0);
	status = next_text(row);
	open->desired = next_int32(row, QS_UNKNOWN);
	open->base = next_int32(row, QS_UNKNOWN);
	open->total = next_int32(row, QS_UNKNOWN);
	open->requested_at = next_time(row);
	open->accepted_at = next_time(row);
	open->evaluator_alive = next_bool(row);
	if (status == NULL)
		open->status = ACTIVITY_ABSENT;
	else if (strcmp(status, "requested") == 0)
		open->status = ACTIVITY_REQUESTED;
	else if (strcmp(status, "unknown") == 0)
		open->status = ACTIVITY_UNKNOWN;
	else
		open->status = ACTIVITY_ACCEPTED;
	open->resolved = open->status;
}

void
qpsscale_read_group(Row *row, QpsscaleGroup *group, TimestampTz now)
{
	group->id = next_int64(row, 0);
	group->version = next_int64(row, 0);
	group->name = next_text(row);
	group->provider_name = next_text(row);
	group->account_name = next_text(row);
	group->owner = next_text(row);
	group->alb_id = next_text(row);
	group->asg_id = next_text(row);
	group->kind = next_text(row);
	group->region = next_text(row);
	group->get_capacity = next_text(row);
	group->set_capacity = next_text(row);
	group->enabled = next_bool(row);
	group->row_dry_run = next_bool(row);
	group->activity_deadline_s = next_int32(row, 1800);
	group->target_cpu = next_double(row, 0);
	group->target_memory = next_double(row, 0);
	read_policy(row, group);
	read_pace(row, &group->policy);
	read_history(row, group, now);
	read_verdict(row, group);
	read_watch(row, &group->watch);
	read_confirmations(row, &group->history.confirmations);
	group->backfilled_from = next_time(row);
	group->backfill_retry_at = next_time(row);
	read_open_activity(row, &group->open);
	group->policy.dry_run = group->row_dry_run || !group->enabled;
}

void
qpsscale_store_select(SPIPlanPtr *plan, const char *sql,
					  const StoreSelection *selection)
{
	Oid			types[2] = {INT8OID, OIDOID};
	Datum		values[2] = {Int64GetDatum(selection->group_id),
	ObjectIdGetDatum(selection->role)};
	char		nulls[3] = {selection->all_enabled ? 'n' : ' ',
	OidIsValid(selection->role) ? ' ' : 'n', '\0'};

	if (*plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare(sql, 2, types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare: %s", sql);
		*plan = prepared;
	}
	if (SPI_execute_plan(*plan, values, nulls, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run: %s", sql);
}
