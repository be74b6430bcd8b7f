/*-------------------------------------------------------------------------
 * store_signals.c
 *		Further signals of groups: read with them, written back with their
 *		verdicts.
 *
 * Where no group has any, this costs a tick one query of an empty table, and
 * no row is written.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "pg/explain_signals.h"
#include "pg/row_reader.h"
#include "pg/store_signals.h"
#include "utils/memutils.h"

/* ----------
 * Reading
 * ----------
 */
static const char signals_sql[] =
"SELECT s.resource_group_id, s.name, s.source, s.account, s.query, s.label,"
"  s.label_value, s.law = 'value', s.role, s.target, s.activation,"
"  s.tolerance, s.empty_means = 'zero', s.max_age_seconds, s.hold_seconds,"
"  s.fallback_instances, s.fallback_after_seconds"
" FROM qpsscale.signals s"
" WHERE s.enabled AND ($1 IS NULL OR s.resource_group_id = $1)"
" ORDER BY s.resource_group_id, s.name";

static const char state_sql[] =
"SELECT t.resource_group_id, t.name, t.latest_value, t.latest_at,"
"  t.missing_since, t.last_error"
" FROM qpsscale.signal_state t"
" WHERE $1 IS NULL OR t.resource_group_id = $1"
" ORDER BY t.resource_group_id";

/* The tables' defaults, for what has no row. */
#define BUILT_IN_TOLERANCE	0.1
#define BUILT_IN_MAX_AGE_US	(INT64CONST(300) * USECS_PER_SEC)
#define BUILT_IN_HOLD_US	(INT64CONST(900) * USECS_PER_SEC)
#define BUILT_IN_FALLBACK_US	(INT64CONST(300) * USECS_PER_SEC)

/* NULL where the group has as many as core takes. */
static QsSignal *
add_signal(QpsscaleGroup *group)
{
	QsSignal   *signal;

	if (group->n_signals == QS_MAX_SIGNALS)
		return NULL;
	signal = &group->signals[group->n_signals++];
	signal->missing_since = QS_NEVER;
	return signal;
}

static void
add_built_in(QpsscaleGroup *group, const char *name, double target)
{
	QsSignal   *signal;
	GroupSignal *source;

	if (!(target > 0) || (signal = add_signal(group)) == NULL)
		return;
	signal->name = name;
	signal->fallback_name = name;
	signal->law = QS_LAW_VALUE;
	signal->role = QS_ROLE_REQUIRED;
	signal->target = target;
	signal->tolerance = BUILT_IN_TOLERANCE;
	signal->max_age_us = BUILT_IN_MAX_AGE_US;
	signal->hold_us = BUILT_IN_HOLD_US;
	signal->fallback_instances = QS_NO_LIMIT;
	signal->fallback_after_us = BUILT_IN_FALLBACK_US;
	source = &group->sources[signal - group->signals];
	source->source = "cloud";
	source->query.query = name;
}

static QsSignalRole
role_of(const char *name)
{
	if (name != NULL && strcmp(name, "optional") == 0)
		return QS_ROLE_OPTIONAL;
	if (name != NULL && strcmp(name, "veto") == 0)
		return QS_ROLE_VETO;
	return QS_ROLE_REQUIRED;
}

static void
read_signal(Row *row, QsSignal *signal, GroupSignal *source)
{
	signal->name = next_text(row);
	source->source = next_text(row);
	source->account_name = next_text(row);
	source->query.query = next_text(row);
	source->query.label = next_text(row);
	source->query.label_value = next_text(row);
	signal->law = next_bool(row) ? QS_LAW_VALUE : QS_LAW_AVERAGE_VALUE;
	signal->role = role_of(next_text(row));
	signal->target = next_double(row, 0);
	signal->activation = next_double(row, 0);
	signal->tolerance = next_double(row, 0);
	signal->empty_is_zero = next_bool(row);
	signal->max_age_us = next_int32(row, 0) * USECS_PER_SEC;
	source->query.max_age_us = signal->max_age_us;
	signal->hold_us = next_int32(row, 0) * USECS_PER_SEC;
	signal->fallback_instances = next_int32(row, QS_NO_LIMIT);
	signal->fallback_after_us = next_int32(row, 0) * USECS_PER_SEC;
	signal->fallback_name = psprintf("%s_fallback", signal->name);
}

/* How many each group has, so that its arrays are made once. */
static bool
make_room(StoreSnapshot *snapshot)
{
	bool		some = false;
	Row			row;
	int			at = 0;

	for (int i = 0; i < snapshot->n_groups; i++)
		snapshot->groups[i].n_signals =
			(snapshot->groups[i].target_cpu > 0) +
			(snapshot->groups[i].target_memory > 0);
	row_start(&row);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QpsscaleGroup *group;

		row_read(&row, i);
		group = group_of_row(snapshot, &at, next_int64(&row, 0));
		if (group != NULL)
			group->n_signals++;
	}
	for (int i = 0; i < snapshot->n_groups; i++)
	{
		QpsscaleGroup *group = &snapshot->groups[i];
		int			n = group->n_signals;

		group->n_signals = 0;
		if (n == 0)
			continue;
		some = true;
		group->signals = palloc0(sizeof(QsSignal) * n);
		group->sources = palloc0(sizeof(GroupSignal) * n);
		add_built_in(group, "cpu", group->target_cpu);
		add_built_in(group, "memory", group->target_memory);
	}
	return some;
}

static bool
load_policies(const StoreSelection *selection, StoreSnapshot *snapshot,
			  MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext old;
	bool		some;
	Row			row;
	int			at = 0;

	qpsscale_store_select(&plan, signals_sql, selection);
	old = MemoryContextSwitchTo(context);
	some = make_room(snapshot);
	row_start(&row);
	for (uint64 i = 0; some && i < SPI_processed; i++)
	{
		QpsscaleGroup *group;
		QsSignal   *signal;

		row_read(&row, i);
		group = group_of_row(snapshot, &at, next_int64(&row, 0));
		signal = group == NULL ? NULL : add_signal(group);
		if (signal != NULL)
			read_signal(&row, signal,
						&group->sources[signal - group->signals]);
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
	return some;
}

static void
read_state(Row *row, QpsscaleGroup *group)
{
	const char *name = next_text(row);

	for (int i = 0; i < group->n_signals; i++)
	{
		GroupSignalState *before = &group->sources[i].before;

		if (strcmp(group->signals[i].name, name) != 0)
			continue;
		before->known = true;
		before->latest_value = next_double(row, NAN);
		before->latest_at = next_time(row);
		before->missing_since = next_time(row);
		before->last_error = next_text(row);
		if (before->missing_since != 0)
			group->signals[i].missing_since =
				qpsscale_unix_us(before->missing_since);
		return;
	}
}

void
qpsscale_store_load_signals(const StoreSelection *selection,
							StoreSnapshot *snapshot, MemoryContext context)
{
	static SPIPlanPtr plan = NULL;
	MemoryContext old;
	Row			row;
	int			at = 0;

	if (!load_policies(selection, snapshot, context))
		return;
	qpsscale_store_select(&plan, state_sql, selection);
	old = MemoryContextSwitchTo(context);
	row_start(&row);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		QpsscaleGroup *group;

		row_read(&row, i);
		group = group_of_row(snapshot, &at, next_int64(&row, 0));
		if (group != NULL && group->n_signals > 0)
			read_state(&row, group);
	}
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

/* ----------
 * Writing
 * ----------
 */
static const char write_sql[] =
"INSERT INTO qpsscale.signal_state AS t"
"  (resource_group_id, name, latest_value, latest_at, missing_since,"
"   last_error)"
" SELECT w.id, w.name, w.value, w.at, w.missing_since, w.error"
" FROM unnest($1::bigint[], $2::text[], $3::float8[], $4::timestamptz[],"
"  $5::timestamptz[], $6::text[])"
"  AS w(id, name, value, at, missing_since, error)"
" ON CONFLICT (resource_group_id, name) DO UPDATE"
" SET latest_value = coalesce(excluded.latest_value, t.latest_value),"
"  latest_at = coalesce(excluded.latest_at, t.latest_at),"
"  missing_since = excluded.missing_since,"
"  last_error = excluded.last_error";

static StorePlan write_plan = {write_sql, 6,
{INT8OID, TEXTOID, FLOAT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID}, NULL};

static bool
has_value(const QsReading *reading)
{
	return (reading->state == QS_READING_KNOWN ||
			reading->state == QS_READING_PARTIAL) && isfinite(reading->value);
}

static bool
same_text(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return strcmp(a, b) == 0;
}

/* One row, unless it says what is there.  A veto that was not asked in this
 * cycle says nothing. */
static void
put_signal(StoreRows *rows, const QpsscaleGroup *group, int i)
{
	const QsSignal *signal = &group->signals[i];
	const GroupSignal *source = &group->sources[i];
	const GroupSignalState *before = &source->before;
	const QsReading *reading = &signal->reading;
	bool		valued = has_value(reading);
	TimestampTz at = valued && reading->at_us != QS_NEVER ?
		qpsscale_timestamptz(reading->at_us) : 0;
	int64		since = group->decision.missing_since[i];
	TimestampTz missing_since = since == QS_NEVER ? 0 :
		qpsscale_timestamptz(since);
	const char *error = qpsscale_signal_error(source);

	if (!source->batched && source->target.reading_error.class == QS_ERROR_NONE)
		return;
	if (before->known && before->missing_since == missing_since &&
		(!valued || (before->latest_value == reading->value &&
					 before->latest_at == at)) &&
		same_text(before->last_error, error))
		return;
	store_put_int64(rows, group->id);
	store_put_text(rows, signal->name);
	store_put_double(rows, valued ? reading->value : NAN);
	store_put_time(rows, at);
	store_put_time(rows, missing_since);
	store_put_text(rows, error);
}

void
qpsscale_store_signals(StoreBatch *batch)
{
	StoreRows	rows;
	int			most = 0;

	for (int i = 0; i < batch->n_groups; i++)
		most += batch->groups[i]->n_signals;
	if (most == 0)
		return;
	store_rows_start(&rows, &write_plan, most);
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];

		if (!group->stored)
			continue;
		for (int j = 0; j < group->n_signals; j++)
			put_signal(&rows, group, j);
	}
	(void) store_rows_run(&rows);
}
