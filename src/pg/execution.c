/*-------------------------------------------------------------------------
 * execution.c
 *		A recorded decision that is carried out: once, and only if the world is
 *		still the one that it was made for.
 *
 * The cloud is read again first.  A decision that has expired, or whose
 * capacity or policy has moved, is refused, each with an SQLSTATE of its own,
 * and so is one that a cooldown or another blocker forbids now: the cooldown
 * is consumed by acting, not by deciding.  That a decision is carried out once
 * is the work of its row: it is marked in the transaction of the intent.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "pg/execution.h"
#include "pg/explain.h"
#include "pg/row_reader.h"
#include "pg/step.h"
#include "pg/worker.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

static const char load_sql[] =
"SELECT d.resource_group_id, d.policy_version, d.action,"
"  d.current_instances, d.desired_instances, d.expires_at, d.executed,"
"  d.overrides IS NOT NULL, d.reason"
" FROM qpsscale.decisions d WHERE d.id = $1";

static const char executed_sql[] =
"UPDATE qpsscale.decisions d"
" SET executed = true, executed_at = $2, executed_by = $3, activity_id = $4"
" WHERE d.id = $1 AND NOT d.executed";

static const char requester_sql[] =
"UPDATE qpsscale.activities a SET requested_by = $2, decision_id = $1"
" WHERE a.id = $3";

static Datum
uuid_datum(const QpsscaleExecute *asked)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, asked->decision_id, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

void
qpsscale_load_execution(const QpsscaleExecute *asked, StoreSnapshot *snapshot,
						MemoryContext context)
{
	Oid			types[1] = {UUIDOID};
	Datum		values[1] = {uuid_datum(asked)};
	MemoryContext old;
	GroupExecution *execution;
	Row			row;

	if (SPI_execute_with_args(load_sql, 1, types, values, NULL, true, 1) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not read a decision");
	if (SPI_processed == 1 && snapshot->n_groups == 1)
	{
		row_start(&row);
		old = MemoryContextSwitchTo(context);
		row_read(&row, 0);
		execution = palloc0(sizeof(GroupExecution));
		execution->asked = asked;
		execution->group_id = next_int64(&row, 0);
		execution->policy_version = next_int64(&row, 0);
		execution->action = next_text(&row);
		execution->current = next_int32(&row, QS_UNKNOWN);
		execution->desired = next_int32(&row, QS_UNKNOWN);
		execution->expires_at = next_time(&row);
		execution->executed = next_bool(&row);
		execution->overridden = next_bool(&row);
		execution->reason = next_text(&row);
		if (execution->group_id == snapshot->groups[0].id)
			snapshot->groups[0].execution = execution;
		MemoryContextSwitchTo(old);
	}
	SPI_freetuptable(SPI_tuptable);
}

void
qpsscale_execute(QpsscaleGroup *group)
{
	if (group->execution == NULL || group->execution->desired == QS_UNKNOWN)
		return;
	group->history.executes = true;
	group->history.held_instances = group->execution->desired;
	group->history.held_until = INT64_MAX;
}

static bool
refuse(QpsscaleGroup *group, int sqlstate, const char *message,
	   const char *hint)
{
	group->refused_sqlstate = sqlstate;
	group->refused_message = message;
	group->refused_hint = hint;
	return true;
}

/* What time alone ends; all else is a state that somebody must change. */
static int
blocker_sqlstate(QsReason blocker)
{
	switch (blocker)
	{
		case QS_REASON_COOLDOWN_GENERAL:
		case QS_REASON_COOLDOWN_SCALE_UP:
		case QS_REASON_COOLDOWN_SCALE_DOWN:
		case QS_REASON_RATE_LIMITED:
			return QPSSCALE_ERRCODE_TOO_SOON;
		default:
			return ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	}
}

static char *
decide_again(const QpsscaleGroup *group)
{
	return psprintf("SELECT * FROM qpsscale_decide(" INT64_FORMAT "); decides anew.",
					group->id);
}

/* What can be said from the row alone. */
static bool
row_refused(QpsscaleGroup *group)
{
	const GroupExecution *execution = group->execution;

	if (execution == NULL)
		return refuse(group, ERRCODE_NO_DATA_FOUND,
					  "the decision does not exist", NULL);
	if (execution->executed)
		return refuse(group, ERRCODE_UNIQUE_VIOLATION,
					  "the decision was executed before", NULL);
	if (execution->overridden)
		return refuse(group, ERRCODE_FEATURE_NOT_SUPPORTED,
					  "a decision with overrides answers a what-if and is not executed",
					  "Change the policy of the group, then decide without overrides.");
	if (strcmp(execution->action, "none") == 0)
		return refuse(group, QPSSCALE_ERRCODE_NOTHING_TO_EXECUTE,
					  psprintf("the decision was to do nothing: %s",
							   execution->reason),
					  decide_again(group));
	if (execution->expires_at <= group->decided_at)
		return refuse(group, QPSSCALE_ERRCODE_DECISION_EXPIRED,
					  psprintf("the decision expired at %s",
							   timestamptz_to_str(execution->expires_at)),
					  decide_again(group));
	if (execution->policy_version != group->version)
		return refuse(group, QPSSCALE_ERRCODE_DECISION_MOVED,
					  "the policy has changed since the decision",
					  decide_again(group));
	return false;
}

/* What the cloud and the state say about it now. */
static bool
world_refused(QpsscaleGroup *group)
{
	const GroupExecution *execution = group->execution;
	const QsDecision *decision = &group->decision;

	if (decision->base == QS_UNKNOWN ||
		decision->reason == QS_REASON_EVALUATION_ERROR)
		return refuse(group, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  psprintf("resource group \"%s\" was not changed: %s",
							   group->name, group->error_message != NULL ?
							   group->error_message :
							   "the state of its scaling group could not be read"),
					  psprintf("SELECT * FROM qpsscale_validate(" INT64_FORMAT "); shows what is wrong.",
							   group->id));
	if (decision->base != execution->current)
		return refuse(group, QPSSCALE_ERRCODE_DECISION_MOVED,
					  psprintf("the desired capacity is %d now; it was %d when it was decided",
							   decision->base, execution->current),
					  decide_again(group));
	if (decision->blocker != QS_REASON_COUNT)
		return refuse(group, blocker_sqlstate(decision->blocker),
					  psprintf("resource group \"%s\" was not changed: %s",
							   group->name, qs_reason_name(decision->blocker)),
					  qs_reason_explanation(decision->blocker));
	if (decision->n_clamps > 0)
		return refuse(group, QPSSCALE_ERRCODE_DECISION_MOVED,
					  psprintf("the limits have moved since the decision: %s is %d",
							   decision->clamps[0].by,
							   decision->clamps[0].limit),
					  decide_again(group));
	if (decision->dry_run)
		return refuse(group, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					  psprintf("resource group \"%s\" was not changed: this is a dry run",
							   group->name),
					  "It is one while the group is not enabled or has dry_run, the database is not armed, or qpsscale.enabled is off.");
	return false;
}

bool
qpsscale_execution_refused(QpsscaleGroup *group)
{
	return row_refused(group) || world_refused(group);
}

static void
mark_executed(const QpsscaleGroup *group)
{
	const QpsscaleExecute *asked = group->execution->asked;
	Oid			types[4] = {UUIDOID, TIMESTAMPTZOID, TEXTOID, INT8OID};
	Datum		values[4] = {uuid_datum(asked),
		TimestampTzGetDatum(group->decided_at),
		CStringGetTextDatum(asked->executed_by),
	Int64GetDatum(group->activity_id)};
	Oid			requester_types[3] = {UUIDOID, TEXTOID, INT8OID};
	Datum		requester[3] = {values[0], values[2], values[3]};

	if (SPI_execute_with_args(executed_sql, 4, types, values, NULL, false,
							  0) != SPI_OK_UPDATE)
		elog(ERROR, "could not mark a decision as executed");
	/* no row: another call did it, and its intent is not to be doubled */
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the decision was executed meanwhile")));
	if (SPI_execute_with_args(requester_sql, 3, requester_types, requester,
							  NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not record who executed a decision");
}

void
qpsscale_store_executions(StoreBatch *batch)
{
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (group->execution != NULL && group->stored &&
			group->activity_id != 0 && !group->decision.dry_run)
			mark_executed(group);
	}
}

typedef struct Look
{
	const QpsscaleExecute *asked;
	MemoryContext context;
	char	   *result;
} Look;

static void
look(void *argument)
{
	Look	   *look = argument;
	Oid			types[1] = {UUIDOID};
	Datum		values[1] = {uuid_datum(look->asked)};
	char	   *result;

	if (SPI_execute_with_args("SELECT qpsscale.execution_result($1)", 1,
							  types, values, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read what became of a decision");
	result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (result != NULL)
		look->result = MemoryContextStrdup(look->context, result);
}

char *
qpsscale_execution_result(const QpsscaleExecute *asked)
{
	Look		it = {asked, CurrentMemoryContext, NULL};
	ErrorData  *error;

	(void) qpsscale_step("qpsscale: look at a decision", look, &it, false,
						 &error);
	return it.result;
}
