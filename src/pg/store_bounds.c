/*-------------------------------------------------------------------------
 * store_bounds.c
 *		What bounds groups beside their own columns: schedules that hold now,
 *		budgets, and the recent changes that count for their rates.
 *
 * Where there is no schedule and no budget this costs a tick two looks at
 * empty tables; changes are read only where a policy has rates.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/row_reader.h"
#include "pg/store_bounds.h"
#include "utils/memutils.h"

static const char schedules_sql[] =
"SELECT a.resource_group_id, a.schedule, a.min_instances, a.max_instances"
" FROM qpsscale.schedules_at($1, now()) a"
" WHERE EXISTS (SELECT FROM qpsscale.schedules)"
" ORDER BY a.resource_group_id, a.schedule";

static const char budgeted_sql[] =
"SELECT b.resource_group_id, b.instances"
" FROM qpsscale.budgeted(CASE WHEN $1 IS NOT NULL THEN ARRAY[$1] END) b"
" WHERE EXISTS (SELECT FROM qpsscale.budgets)"
" ORDER BY b.resource_group_id";

/*
 * Changes of desired: ours when the cloud accepted them, those of others as
 * they were alerted.  From the newest rows of each group, since only ids are
 * indexed.
 */
static const char changes_sql[] =
"SELECT g.id, c.at, c.delta"
" FROM qpsscale.resource_groups g"
" CROSS JOIN LATERAL ("
"  SELECT a.accepted_at AS at, a.delta"
"  FROM (SELECT r.accepted_at, r.delta FROM qpsscale.activities r"
"        WHERE r.resource_group_id = g.id"
"        ORDER BY r.id DESC LIMIT 100) a"
"  WHERE a.accepted_at > now() - interval '10000 seconds'"
"  UNION ALL"
"  SELECT f.occurred_at, (f.data ->> 'to')::integer"
"    - (f.data ->> 'from')::integer"
"  FROM (SELECT r.occurred_at, r.type, r.data FROM qpsscale.alerts r"
"        WHERE r.resource_group_id = g.id"
"        ORDER BY r.id DESC LIMIT 200) f"
"  WHERE f.type = 'qpsscale.group.foreign_change'"
"    AND f.occurred_at > now() - interval '10000 seconds') c"
" WHERE ($1 IS NULL AND g.enabled OR g.id = $1)"
"   AND (g.scale_up_rates <> '{}' OR g.scale_down_rates <> '{}')"
" ORDER BY g.id, c.at DESC";

/* Of several the highest floor and the lowest cap. */
static void
read_schedule(Row *row, QsPolicy *policy)
{
	const char *name = next_text(row);
	int			floor = next_int32(row, QS_NO_LIMIT);
	int			cap = next_int32(row, QS_NO_LIMIT);
	QsScheduleBound *min = &policy->schedule_min;
	QsScheduleBound *max = &policy->schedule_max;

	if (floor != QS_NO_LIMIT && (min->name == NULL || floor > min->instances))
	{
		min->name = name;
		min->instances = floor;
	}
	if (cap != QS_NO_LIMIT && (max->name == NULL || cap < max->instances))
	{
		max->name = name;
		max->instances = cap;
	}
}

static void
load_schedules(const StoreSelection *selection, StoreSnapshot *snapshot,
			   MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext old;
	Row			row;
	int			at = 0;

	qpsscale_store_select(&plan, schedules_sql, selection);
	old = MemoryContextSwitchTo(context);
	row_start(&row);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QpsscaleGroup *group;

		row_read(&row, i);
		group = group_of_row(snapshot, &at, next_int64(&row, 0));
		if (group != NULL)
			read_schedule(&row, &group->policy);
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

static void
load_budgets(const StoreSelection *selection, StoreSnapshot *snapshot)
{
	static SPIPlanPtr plan = NULL;
	Row			row;
	int			at = 0;

	qpsscale_store_select(&plan, budgeted_sql, selection);
	row_start(&row);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QpsscaleGroup *group;
		QsBudget   *budget;
		int			instances;

		row_read(&row, i);
		group = group_of_row(snapshot, &at, next_int64(&row, 0));
		instances = next_int32(&row, 0);
		if (group == NULL)
			continue;
		budget = &group->policy.budget;
		if (budget->by == NULL || instances < budget->instances)
		{
			budget->by = "budget";
			budget->instances = instances;
		}
	}
	SPI_freetuptable(SPI_tuptable);
}

static bool
has_rates(const QpsscaleGroup *group)
{
	return group->policy.scale_up_rate.n_policies > 0 ||
		group->policy.scale_down_rate.n_policies > 0;
}

static void
load_changes(const StoreSelection *selection, StoreSnapshot *snapshot,
			 MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext old;
	Row			row;
	int			at = 0;

	qpsscale_store_select(&plan, changes_sql, selection);
	old = MemoryContextSwitchTo(context);
	row_start(&row);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QpsscaleGroup *group;
		QsChange   *change;

		row_read(&row, i);
		group = group_of_row(snapshot, &at, next_int64(&row, 0));
		/* one place is left for what this cycle finds */
		if (group == NULL || group->changes == NULL ||
			group->n_changes == QS_MAX_CHANGES - 1)
			continue;
		change = &group->changes[group->n_changes++];
		change->at = next_unix_us(&row);
		change->delta = next_int32(&row, 0);
		group->history.changes = group->changes;
		group->history.n_changes = group->n_changes;
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

void
qpsscale_store_load_bounds(const StoreSelection *selection,
						   StoreSnapshot *snapshot, MemoryContext context)
{
	bool		some = false;

	load_schedules(selection, snapshot, context);
	load_budgets(selection, snapshot);
	for (int i = 0; i < snapshot->n_groups; i++)
	{
		if (!has_rates(&snapshot->groups[i]))
			continue;
		some = true;
		snapshot->groups[i].changes =
			MemoryContextAllocZero(context,
								   sizeof(QsChange) * QS_MAX_CHANGES);
	}
	if (some)
		load_changes(selection, snapshot, context);
}
