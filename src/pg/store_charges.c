/*-------------------------------------------------------------------------
 * store_charges.c
 *		What the database refused to take, charged to the groups it is about.
 *
 * A group whose row cannot be written cannot keep its error in that row, so
 * whether the error is new is told by the group's newest row in errors: it is
 * not if nothing could be written since.  That row is written in a
 * subtransaction after the one that failed.  Only a new error is
 * logged: one that lasts the night must not be a line in each tick.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "pg/step.h"
#include "pg/store_parts.h"
#include "pg/worker.h"
#include "utils/timestamp.h"

/* What ails a table ails every group: a line each would flood the log. */
#define MOST_COMPLAINTS		5

static const char charges_sql[] =
"INSERT INTO qpsscale.errors"
"  (resource_group_id, source, message, context, occurred_at)"
" SELECT w.id, 'database', w.message, jsonb_build_object('code', w.code), w.at"
" FROM unnest($1::bigint[], $2::text[], $3::text[], $4::timestamptz[])"
"  AS w(id, message, code, at)"
" LEFT JOIN qpsscale.state s ON s.resource_group_id = w.id"
" LEFT JOIN LATERAL (SELECT e.* FROM qpsscale.errors e"
"   WHERE e.resource_group_id = w.id ORDER BY e.id DESC LIMIT 1) last ON true"
" WHERE last.source IS DISTINCT FROM 'database'"
"  OR last.message IS DISTINCT FROM w.message"
"  OR last.occurred_at < s.last_evaluated_at"
" RETURNING resource_group_id";

static StorePlan charges_plan = {charges_sql, 4,
{INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}, NULL};

void
qpsscale_store_charge(StoreBatch *batch, const ErrorData *error)
{
	QpsscaleGroup *group = batch->groups[0];

	group->charged = true;
	group->error_source = "database";
	group->error_message = MemoryContextStrdup(batch->context,
											   error->message);
	qs_error_set(&group->error, QS_ERROR_TERMINAL,
				 unpack_sql_state(error->sqlerrcode), "%s", error->message);
}

static void
insert_charges(void *argument)
{
	StoreBatch *batch = argument;
	StoreRows	rows;

	store_rows_start(&rows, &charges_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (!group->charged)
			continue;
		store_put_int64(&rows, group->id);
		store_put_text(&rows, group->error_message);
		store_put_text(&rows, group->error.code);
		store_put_time(&rows, group->decided_at);
	}
	if (!store_rows_run(&rows))
		return;
	/* those that come back are new */
	for (int i = 0; i < batch->n_groups; i++)
		batch->groups[i]->charge_repeats = true;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));

		if (group != NULL)
			group->charge_repeats = false;
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
complain(StoreBatch *batch)
{
	int			complaints = 0;

	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (group->charged && !group->charge_repeats &&
			complaints++ < MOST_COMPLAINTS)
			ereport(qpsscale_elevel(WARNING),
					(errmsg("resource group \"%s\" could not be written: %s",
							group->name, group->error_message)));
	}
	if (complaints > MOST_COMPLAINTS)
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale could not write %d more resource groups",
						complaints - MOST_COMPLAINTS)));
}

void
qpsscale_store_charges(StoreBatch *batch)
{
	ErrorData  *error;
	bool		any = false;

	for (int i = 0; i < batch->n_groups; i++)
	{
		any |= batch->groups[i]->charged;
		batch->groups[i]->charge_repeats = false;
	}
	if (!any)
		return;
	/* where not even this can be written, the log has to do */
	if (!qpsscale_substep(insert_charges, batch, &error))
		for (int i = 0; i < batch->n_groups; i++)
			batch->groups[i]->charge_repeats = false;
	complain(batch);
	for (int i = 0; i < batch->n_groups; i++)
		batch->groups[i]->charged = false;
}
