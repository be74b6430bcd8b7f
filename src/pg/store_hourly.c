/*-------------------------------------------------------------------------
 * store_hourly.c
 *		How much may change within an hour: of a group, and of all together.
 *
 * Looked at when a group is about to act, after the claim and before its
 * intent, under a lock that all who act take in turn where there is a limit:
 * two that have counted the same actions cannot both be the last one that is
 * allowed.  What is left of the instances bounds the growth; where nothing is,
 * the group waits until the oldest action is an hour ago.  To the lower limit
 * a group grows all the same.  Without a limit nothing is asked.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/decide_parts.h"
#include "executor/spi.h"
#include "pg/store_parts.h"
#include "pg/worker.h"

static const char hourly_sql[] =
"SELECT l.resource_group_id, l.instances, l.until"
" FROM qpsscale.hourly_rest($1, $2, $3[1], $4[1]) AS l";

static StorePlan hourly_plan = {hourly_sql, 4,
{INT8OID, INT4OID, INT4OID, INT4OID}, NULL};

/* Nobody has a limit: the usual case. */
static bool
is_unlimited(const StoreBatch *batch)
{
	const QpsscaleSettings *settings = qpsscale_worker_host->settings;

	if (settings->max_actions_per_hour > 0 ||
		settings->max_instances_per_hour > 0)
		return false;
	for (int i = 0; i < batch->n_groups; i++)
		if (batch->groups[i]->has_hourly_limit)
			return false;
	return true;
}

/* Growth up to the lower limit is counted, and not bounded. */
static int
asked_for(const QpsscaleGroup *group)
{
	const QsDecision *decision = &group->decision;

	return decision->action == QS_ACTION_SCALE_UP ?
		decision->desired - Max(decision->base, decision->least) : 0;
}

static bool
is_bounded(const QpsscaleGroup *group)
{
	return qpsscale_store_will_act(group) &&
		!(group->decision.action == QS_ACTION_SCALE_UP &&
		  group->decision.desired <= group->decision.least);
}

/* instances: so many may be added; negative: not even an action is left. */
static void
bound(QpsscaleGroup *group, int instances, TimestampTz until)
{
	QsDecision *decision = &group->decision;
	int			most = Max(decision->base, decision->least) + instances;

	if (instances < 0 || (decision->action == QS_ACTION_SCALE_UP &&
						  most <= decision->base))
	{
		qpsscale_store_hold(group, QS_REASON_HOURLY_LIMIT);
		decision->blocked_until = until == 0 ? QS_NEVER :
			qpsscale_unix_us(until);
		return;
	}
	if (decision->action != QS_ACTION_SCALE_UP || most >= decision->desired)
		return;
	qs_decision_add_clamp(decision, "max_instances_per_hour", most,
						  decision->desired, most);
	decision->desired = most;
	decision->scaling_amount = most - decision->base;
}

void
qpsscale_store_hourly(StoreBatch *batch)
{
	const QpsscaleSettings *settings = qpsscale_worker_host->settings;
	StoreRows	rows;

	if (is_unlimited(batch))
		return;
	store_rows_start(&rows, &hourly_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (!is_bounded(group))
			continue;
		store_put_int64(&rows, group->id);
		store_put_int32(&rows, asked_for(group));
		store_put_int32(&rows, settings->max_actions_per_hour);
		store_put_int32(&rows, settings->max_instances_per_hour);
	}
	if (!store_rows_run(&rows))
		return;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));
		Datum		instances = SPI_getbinval(SPI_tuptable->vals[row],
											  SPI_tuptable->tupdesc, 2, &null);
		Datum		until;

		if (group == NULL || null)
			continue;
		until = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
							  3, &null);
		bound(group, DatumGetInt32(instances),
			  null ? 0 : DatumGetTimestampTz(until));
	}
	SPI_freetuptable(SPI_tuptable);
}
