/*-------------------------------------------------------------------------
 * store_write.c
 *		What a cycle writes: verdicts and intents, then outcomes.
 *
 * Transaction 2 (intend), in this order:
 *	 resolve	open activities get the status that reading back the cloud gave
 *	 claim		groups about to act: lock the state row, skip what somebody
 *				else holds, check that nothing changed since it was read
 *	 insert		intents (status requested) and dry-run activities
 *	 repeat		groups whose verdict is the old one: five columns each
 *	 change		the rest: all columns, and a row in evaluations
 *	 reasons	activities learn which evaluation explains them
 *	 watch		what is remembered of earlier actions, where it changed
 *	 signals	what further signals said, where it is new
 *	 samples	load and size, once per point of the monitors, and what was
 *				foreseen then
 *	 intervene	what an operator asked for by hand, if this is about that
 *	 errors		errors that are new
 *	 alerts		conditions that begin or end, actions that were settled
 *	 charges	afterwards, what the database refused (store_charges.c)
 *	 predictors	some of those that are due (predictors.c)
 * Transaction 3 (record) writes the outcome of the calls.
 *
 * Idle groups are not locked one by one before their update (that would
 * double the WAL): the plain update waits lock_timeout for a row that somebody
 * holds; then the batch is done again carefully, claiming each row with SKIP
 * LOCKED.  What still fails is halved until the bad row stands alone.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/crash_points.h"
#include "pg/execution.h"
#include "pg/explain.h"
#include "pg/intervention.h"
#include "pg/json_writer.h"
#include "pg/predictors.h"
#include "pg/step.h"
#include "pg/store_samples.h"
#include "pg/store_signals.h"
#include "pg/worker.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A held row was met lately: claim first instead of waiting for it again. */
static bool careful_next_time = false;

QpsscaleGroup *
qpsscale_store_find(StoreBatch *batch, int64 id)
{
	int			low = 0;
	int			high = batch->n_groups - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		QpsscaleGroup *group = batch->groups[middle];

		if (group->id == id)
			return group;
		if (group->id < id)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

int64
qpsscale_store_result(uint64 row, int column, bool *null)
{
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row],
									   SPI_tuptable->tupdesc, column, null));
}

bool
qpsscale_store_flag(uint64 row, int column)
{
	bool		null;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
									  SPI_tuptable->tupdesc, column, &null);

	return !null && DatumGetBool(value);
}

bool
qpsscale_store_will_act(const QpsscaleGroup *group)
{
	return group->decision.action != QS_ACTION_NONE &&
		!group->decision.dry_run && !group->row_locked;
}

void
qpsscale_store_hold(QpsscaleGroup *group, QsReason reason)
{
	group->decision.action = QS_ACTION_NONE;
	group->decision.reason = reason;
	group->decision.blocker = reason;
	group->decision.desired = group->decision.base;
}

static void
intend_substep(void *argument)
{
	StoreBatch *batch = argument;

	for (int i = 0; i < batch->n_groups; i++)
	{
		batch->groups[i]->row_locked = false;
		batch->groups[i]->stored = false;
		batch->groups[i]->sampled = false;
		batch->groups[i]->activity_id = 0;
		batch->groups[i]->evaluation_id = 0;
		batch->groups[i]->outcome = ACTIVITY_ABSENT;
		batch->groups[i]->open.settled = false;
	}
	qpsscale_store_claim(batch);
	qpsscale_store_resolved(batch);
	qpsscale_store_budgets(batch);
	qpsscale_store_hourly(batch);
	qpsscale_store_activities(batch);
	qpsscale_store_repeated(batch);
	qpsscale_store_changed(batch);
	qpsscale_store_reasons(batch);
	qpsscale_store_watch(batch);
	qpsscale_store_signals(batch);
	qpsscale_store_samples(batch);
	qpsscale_store_interventions(batch);
	qpsscale_store_executions(batch);
	qpsscale_store_approvals(batch);
	qpsscale_store_errors(batch);
	qpsscale_store_alerts(batch);
	QPSSCALE_CRASH_POINT(intent_inserted);
}

/*
 * Halving finds a row that somebody holds, with a wait at each level.  A lock
 * on a whole table would be waited for once per group: so the waits of one
 * transaction are counted, and short after the first.
 */
static int	lock_waits_left = 0;

static void
allow_lock_waits(int n_groups)
{
	lock_waits_left = 2;
	for (; n_groups > 1; n_groups /= 2)
		lock_waits_left += 2;
}

static void
count_lock_wait(void)
{
	lock_waits_left--;
	(void) set_config_option("lock_timeout", "50ms", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* Groups whose rows, or whose table, somebody holds. */
static void
leave_locked(StoreBatch *batch)
{
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		group->row_locked = true;
		group->stored = false;
		group->activity_id = 0;
		qpsscale_store_hold(group, QS_REASON_ROW_LOCKED);
	}
}

static void
charge_group(StoreBatch *batch, ErrorData *error)
{
	QpsscaleGroup *group = batch->groups[0];

	qpsscale_store_charge(batch, error);
	qpsscale_store_hold(group, QS_REASON_EVALUATION_ERROR);
	group->stored = false;
	group->activity_id = 0;
}

/*
 * Decisions may be changed by a failed attempt (hold), so each attempt starts
 * from a copy.
 */
static void
intend_batch(StoreBatch *batch)
{
	ErrorData  *error;
	QsDecision *decisions;
	StoreBatch	half = *batch;
	int			n_first = batch->n_groups / 2;

	if (lock_waits_left <= 0)
	{
		leave_locked(batch);
		return;
	}
	decisions = palloc_extended(sizeof(QsDecision) * batch->n_groups,
								MCXT_ALLOC_HUGE);
	for (int i = 0; i < batch->n_groups; i++)
		decisions[i] = batch->groups[i]->decision;
	if (qpsscale_substep(intend_substep, batch, &error))
	{
		pfree(decisions);
		return;
	}
	for (int i = 0; i < batch->n_groups; i++)
		batch->groups[i]->decision = decisions[i];
	pfree(decisions);
	batch->acted = half.acted;

	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		count_lock_wait();
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && !batch->careful)
	{
		batch->careful = true;
		careful_next_time = true;
		intend_batch(batch);
		return;
	}
	if (batch->n_groups == 1)
	{
		if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
			leave_locked(batch);
		else
			charge_group(batch, error);
		return;
	}
	/* a half that is halved itself does not come back as it was */
	half.careful = batch->careful;
	half.n_groups = n_first;
	intend_batch(&half);
	batch->groups += n_first;
	batch->n_groups -= n_first;
	intend_batch(batch);
	batch->acted |= half.acted;
}

static void
intend_body(void *argument)
{
	StoreBatch	batch = *(StoreBatch *) argument;

	QPSSCALE_CRASH_POINT(intending);
	allow_lock_waits(batch.n_groups);
	intend_batch(&batch);
	qpsscale_store_charges(argument);
	qpsscale_predictors_store(batch.groups, batch.n_groups);
	((StoreBatch *) argument)->acted = batch.acted;
	QPSSCALE_CRASH_POINT_IN_COMMIT(intent_committing);
}

bool
qpsscale_store_intend(QpsscaleGroup **groups, int n_groups,
					  int metric_period_s, TimestampTz sampled_at,
					  bool *durable, ErrorData **error)
{
	StoreBatch	batch = {groups, n_groups, metric_period_s, sampled_at,
	careful_next_time, false, CurrentMemoryContext};
	bool		intents = false;
	bool		locked = false;

	for (int i = 0; i < n_groups; i++)
		intents |= qpsscale_store_will_act(groups[i]);
	*durable = false;
	if (!qpsscale_step("qpsscale: decide", intend_body, &batch, intents,
					   error))
	{
		for (int i = 0; i < n_groups; i++)
		{
			groups[i]->stored = false;
			groups[i]->activity_id = 0;
		}
		return false;
	}
	for (int i = 0; i < n_groups; i++)
		locked |= groups[i]->row_locked;
	careful_next_time = locked;
	qpsscale_samples_committed(&batch);
	qpsscale_predictors_committed(groups, n_groups);
	*durable = !batch.acted || qpsscale_step_was_replicated();
	return true;
}

static void
record_substep(void *argument)
{
	TimestampTz now = GetCurrentTimestamp();

	qpsscale_store_outcomes(argument, now);
	qpsscale_store_failures(argument, now);
	qpsscale_store_outcome_alerts(argument, now);
}

static void
record_batch(StoreBatch *batch)
{
	ErrorData  *error;
	StoreBatch	half = *batch;

	/* not recorded: the next cycle resolves it by reading */
	if (batch->n_groups == 0 || lock_waits_left <= 0 ||
		qpsscale_substep(record_substep, batch, &error))
		return;
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		count_lock_wait();
	if (batch->n_groups == 1)
	{
		/* stays requested; the next cycle resolves it by reading.  The call
		 * was made: decision and outcome are told as they are */
		qpsscale_store_charge(batch, error);
		return;
	}
	half.n_groups = batch->n_groups / 2;
	record_batch(&half);
	half.groups = batch->groups + half.n_groups;
	half.n_groups = batch->n_groups - half.n_groups;
	record_batch(&half);
}

static void
record_body(void *argument)
{
	allow_lock_waits(((StoreBatch *) argument)->n_groups);
	record_batch(argument);
	qpsscale_store_charges(argument);
	QPSSCALE_CRASH_POINT(outcome_written);
	QPSSCALE_CRASH_POINT_IN_COMMIT(outcome_committing);
}

bool
qpsscale_store_record(QpsscaleGroup **groups, int n_groups, ErrorData **error)
{
	StoreBatch	batch = {groups, n_groups, 0, 0, false, false,
	CurrentMemoryContext};

	return qpsscale_step("qpsscale: record", record_body, &batch, false,
						 error);
}

static void
validated_body(void *argument)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(*(int64 *) argument)};

	if (SPI_execute_with_args("UPDATE qpsscale.resource_groups"
							  " SET last_validated_at = now() WHERE id = $1",
							  1, types, values, NULL, false, 0) !=
		SPI_OK_UPDATE)
		elog(ERROR, "could not mark the group as validated");
}

bool
qpsscale_store_validated(int64 group_id, ErrorData **error)
{
	return qpsscale_step("qpsscale: validate", validated_body, &group_id,
						 false, error);
}
