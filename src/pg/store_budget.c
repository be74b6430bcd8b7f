/*-------------------------------------------------------------------------
 * store_budget.c
 *		Budgets: what all groups of a currency may cost an hour together.
 *
 * Looked at twice.  When a cycle reads its groups each learns how many
 * instances the budget leaves to it (store_bounds.c), which bounds its decision
 * and is part of the explanation.  When it is about to grow it is looked at
 * once more, under a lock that all who grow take in turn: two that have read
 * the same rest cannot both spend it.  Without a row of qpsscale.budgets that
 * is a look at an empty table, and no lock.
 *
 * Money is numeric, in SQL alone; what comes here are numbers of instances.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "pg/store_parts.h"

static const char over_budget_sql[] =
"SELECT o FROM qpsscale.over_budget($1, $2) AS o";

static StorePlan over_budget_plan = {over_budget_sql, 2, {INT8OID, INT4OID},
NULL};

/* Growth up to the lower limit is made whatever it costs. */
static bool
will_spend(const QpsscaleGroup *group)
{
	return qpsscale_store_will_act(group) &&
		group->decision.action == QS_ACTION_SCALE_UP &&
		group->decision.desired > group->decision.least;
}

/*
 * After the claim, before the intents: who is faster grows, and who would
 * break the budget does not in this cycle.  The next one bounds it to the rest.
 */
void
qpsscale_store_budgets(StoreBatch *batch)
{
	StoreRows	rows;

	store_rows_start(&rows, &over_budget_plan, batch->n_groups);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (!will_spend(group))
			continue;
		store_put_int64(&rows, group->id);
		store_put_int32(&rows, group->decision.desired);
	}
	if (!store_rows_run(&rows))
		return;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		null;
		QpsscaleGroup *group = qpsscale_store_find(batch,
										  qpsscale_store_result(row, 1, &null));

		if (group != NULL)
			qpsscale_store_hold(group, QS_REASON_BUDGET_CAP);
	}
	SPI_freetuptable(SPI_tuptable);
}
