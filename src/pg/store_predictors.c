/*-------------------------------------------------------------------------
 * store_predictors.c
 *		What was learned of a group's load, as the tables have it.
 *
 * The state is stored seldom, because it is large; what came since is learned
 * again from the samples.  A state that does not fit any more (another boot
 * time, another build, another machine) is made anew in the same way, from all
 * samples that there are.
 *
 * Used by workers, which keep what they read, and by qpsscale_decide() in the
 * backend of its caller.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/row_reader.h"
#include "pg/store_predictors.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char state_sql[] =
"SELECT p.state, p.written_at, p.trust, qpsscale.measured_boot($1)"
" FROM (VALUES (1)) AS one (row)"
" LEFT JOIN qpsscale.predictors p ON p.resource_group_id = $1";

static const char samples_sql[] =
"SELECT s.at, s.load, s.in_service, s.desired"
" FROM qpsscale.samples_of($1, $2, 'infinity') s";

static const char write_sql[] =
"INSERT INTO qpsscale.predictors (resource_group_id, written_at, trust,"
"  quantile, window_seconds, scored, loss, loss_without, held, state)"
" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
" ON CONFLICT (resource_group_id) DO UPDATE SET"
"  written_at = excluded.written_at, trust = excluded.trust,"
"  quantile = excluded.quantile, window_seconds = excluded.window_seconds,"
"  scored = excluded.scored, loss = excluded.loss,"
"  loss_without = excluded.loss_without, held = excluded.held,"
"  state = excluded.state";

static void
run(SPIPlanPtr *plan, const char *sql, int n, Oid *types, Datum *values,
	const char *nulls, int expected)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	prepared = SPI_prepare(sql, n, types);

		if (prepared == NULL || SPI_keepplan(prepared) != 0)
			elog(ERROR, "could not prepare: %s", sql);
		*plan = prepared;
	}
	if (SPI_execute_plan(*plan, values, nulls, expected == SPI_OK_SELECT,
						 0) != expected)
		elog(ERROR, "could not run: %s", sql);
}

double
qpsscale_carried_by_one(const QpsscaleGroup *group)
{
	return group->policy.target_qps > 0 ? group->policy.target_qps : 1;
}

bool
qpsscale_is_demoted(QsPredictionTrust trust)
{
	return trust == QS_TRUST_BEYOND_HISTORY ||
		trust == QS_TRUST_WORSE_THAN_NONE;
}

void
qpsscale_complete_observed(const QpsscaleGroup *group, int in_service,
						   int desired, QsObserved *observed)
{
	double		each = qpsscale_carried_by_one(group);
	int			most = group->before.max;
	int			least = Max(group->before.min, group->policy.min_instances);

	if (group->policy.max_instances != QS_NO_LIMIT)
		most = most == QS_UNKNOWN ? group->policy.max_instances :
			Min(most, group->policy.max_instances);
	observed->each = each;
	observed->carried = in_service == QS_UNKNOWN ? NAN : in_service * each;
	observed->floor_load = Max(least, 0) * each;
	observed->share = group->prediction.share;
	observed->frozen = group->prediction.mode != PREDICTION_ENABLED ||
		group->policy.dry_run || group->stock_out.unfulfilled > 0 ||
		group->circuit_open_until > group->decided_at ||
		(most != QS_UNKNOWN && desired != QS_UNKNOWN && desired >= most);
}

void
qpsscale_tell_predicted(const QsPrediction *prediction, bool steers,
						double newest, QpsscaleGroup *group)
{
	QsPredicted *told = &group->prediction.told;

	qs_prediction_tell(prediction, told);
	told->steers = steers;
	if (!isnan(newest))
		told->newest = newest;
	told->per_instance = qpsscale_carried_by_one(group);
	group->prediction.known = true;
	group->history.predicted = told;
}

/* ----------
 * Reading
 * ----------
 */

/* The newest load was so long known late that it moves the windows. */
static int
delay_of(const QpsscaleGroup *group, int tick_s)
{
	int64		late;

	if (group->before.evaluated_at == 0 ||
		group->history.previous_qps_at == QS_NEVER)
		return 0;
	late = (qpsscale_unix_us(group->before.evaluated_at) -
			group->history.previous_qps_at) / USECS_PER_SEC;
	return (int) Min(Max(late, 0), 600) / tick_s * tick_s;
}

static bool
plan_of(const QpsscaleGroup *group, int resolution_s, int measured_s,
		QsPredictionPlan *plan)
{
	int			tick_s = qs_prediction_tick(resolution_s);
	int			boot_s = measured_s >= 0 ? measured_s :
		group->prediction.boot_s;

	if (group->prediction.mode == PREDICTION_OFF || tick_s == 0)
		return false;
	plan->resolution_s = resolution_s;
	plan->boot_s = Min(boot_s + delay_of(group, tick_s),
					   QS_PREDICTION_MAX_BOOT);
	return true;
}

/* What is stored, as far as it can be used; else NULL. */
static QsPrediction *
stored_state(Row *row, const QsPredictionPlan *plan, MemoryContext context)
{
	bytea	   *bytes;
	size_t		size;
	void	   *block;

	if (next_null(row))
		return NULL;
	bytes = DatumGetByteaPP(row->values[row->next]);
	size = VARSIZE_ANY_EXHDR(bytes);
	if (size != qs_prediction_bytes(plan))
		return NULL;
	block = MemoryContextAlloc(context, size);
	memcpy(block, VARDATA_ANY(bytes), size);
	if (qs_prediction_is_sane(block, size, plan,
							  qpsscale_unix_us(GetCurrentTimestamp())))
		return block;
	pfree(block);
	return NULL;
}

/* What samples have, from the newest that the state knows.  Made anew there is
 * none yet: it begins with the first. */
static void
learn_samples(const QpsscaleGroup *group, const QsPredictionPlan *plan,
			  MemoryContext context, StoredPredictor *stored)
{
	static SPIPlanPtr samples_plan = NULL;
	Oid			types[2] = {INT8OID, TIMESTAMPTZOID};
	Datum		values[2];
	bool		anew = stored->prediction == NULL;
	Row			row;

	values[0] = Int64GetDatum(group->id);
	values[1] = TimestampTzGetDatum(anew ? DT_NOBEGIN :
									qpsscale_timestamptz(qs_prediction_until(stored->prediction)));
	run(&samples_plan, samples_sql, 2, types, values, NULL, SPI_OK_SELECT);
	row_start(&row);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QsObserved	observed = {0};
		int			in_service;

		CHECK_FOR_INTERRUPTS();
		row_read(&row, i);
		observed.end_us = qpsscale_unix_us(next_int64(&row, 0));
		/* the group was looked at after the point, and before the next one */
		observed.carried_at_us = observed.end_us;
		observed.late_us = delay_of(group, qs_prediction_tick(plan->resolution_s)) *
			USECS_PER_SEC;
		observed.load = next_double(&row, NAN);
		in_service = next_int32(&row, QS_UNKNOWN);
		if (isnan(observed.load))
			continue;
		if (stored->prediction == NULL)
			stored->prediction =
				qs_prediction_begin(MemoryContextAlloc(context, stored->bytes),
									plan, observed.end_us,
									group->prediction.share);
		if (stored->prediction == NULL)
			break;
		qpsscale_complete_observed(group, in_service,
								   next_int32(&row, QS_UNKNOWN), &observed);
		/* what violated then was not steered by this */
		observed.frozen |= anew;
		qs_prediction_observe(stored->prediction, &observed);
	}
	SPI_freetuptable(SPI_tuptable);
}

void
qpsscale_read_predictor(const QpsscaleGroup *group, int resolution_s,
						MemoryContext context, StoredPredictor *stored)
{
	static SPIPlanPtr state_plan = NULL;
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(group->id)};
	QsPredictionPlan plan;
	const char *trust;
	Row			row;

	memset(stored, 0, sizeof(*stored));
	if (group->prediction.mode == PREDICTION_OFF)
		return;
	run(&state_plan, state_sql, 1, types, values, NULL, SPI_OK_SELECT);
	row_start(&row);
	row_read(&row, 0);
	row.next = 3;
	if (plan_of(group, resolution_s, next_int32(&row, -1), &plan))
	{
		stored->bytes = qs_prediction_bytes(&plan);
		row.next = 0;
		stored->prediction = stored_state(&row, &plan, context);
		row.next = 1;
		stored->written_at = next_time(&row);
		trust = next_text(&row);
		stored->demoted = trust != NULL &&
			(strcmp(trust, qs_prediction_trust_name(QS_TRUST_BEYOND_HISTORY)) == 0 ||
			 strcmp(trust, qs_prediction_trust_name(QS_TRUST_WORSE_THAN_NONE)) == 0);
	}
	SPI_freetuptable(SPI_tuptable);
	if (stored->bytes == 0)
		return;
	learn_samples(group, &plan, context, stored);
	if (stored->prediction == NULL)
		stored->prediction =
			qs_prediction_begin(MemoryContextAlloc(context, stored->bytes),
								&plan, qpsscale_unix_us(GetCurrentTimestamp()),
								group->prediction.share);
}

/* ----------
 * Writing
 * ----------
 */
void
qpsscale_write_predictor(const QpsscaleGroup *group,
						 const QsPrediction *prediction, size_t bytes,
						 TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[10] = {INT8OID, TIMESTAMPTZOID, TEXTOID, FLOAT8OID,
	INT4OID, INT8OID, FLOAT8OID, FLOAT8OID, FLOAT8OID, BYTEAOID};
	bytea	   *state = palloc(VARHDRSZ + bytes);
	char		nulls[11] = "          ";
	QsPredicted told;
	Datum		values[10];

	SET_VARSIZE(state, VARHDRSZ + bytes);
	memcpy(VARDATA(state), prediction, bytes);
	qs_prediction_tell(prediction, &told);
	values[0] = Int64GetDatum(group->id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = CStringGetTextDatum(qs_prediction_trust_name(told.trust));
	values[3] = Float8GetDatum(told.quantile);
	values[4] = Int32GetDatum(told.grow_s);
	values[5] = Int64GetDatum(told.score.scored);
	values[6] = Float8GetDatum(told.score.loss);
	values[7] = Float8GetDatum(told.score.loss_without);
	values[8] = Float8GetDatum(told.score.inside);
	values[9] = PointerGetDatum(state);
	for (int i = 6; i <= 8; i++)
		if (told.score.scored <= 0 || !isfinite(DatumGetFloat8(values[i])))
			nulls[i] = 'n';
	run(&plan, write_sql, 10, types, values, nulls, SPI_OK_INSERT);
	pfree(state);
}
