/*-------------------------------------------------------------------------
 * store_samples.c
 *		Samples: load and size of each group, once per point of its monitor.
 *
 * A row holds a moment of a chunk of groups whose ids follow each other: where
 * a group stands in its arrays is part of its id, so a row of its own for each
 * group is saved, and the group's past is still found by one index.  What is
 * not known is NULL, never 0, and a group of which nothing is known has no
 * place in the row.
 *
 * Rows are only ever inserted, and nothing is unique, so that no evaluator
 * waits for another.  This process remembers what it wrote; what a restart or
 * a second evaluator writes once more, qpsscale.samples_of() passes over.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "core/decide_parts.h"
#include "pg/predictors.h"
#include "pg/store_samples.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* A row's own values stand in each row of the statement's arrays. */
static const char write_sql[] =
"INSERT INTO qpsscale.samples"
"  (at, chunk, load, in_service, desired)"
" VALUES (($1::timestamptz[])[1], ($2::bigint[])[1],"
"  $3::float8[]::real[], $4, $5)";

static StorePlan write_plan = {write_sql, 5,
{TIMESTAMPTZOID, INT8OID, FLOAT8OID, INT4OID, INT4OID}, NULL};

static const char foresee_sql[] =
"INSERT INTO qpsscale.forecasts (at, chunk, upper, quantile, window_seconds)"
" VALUES (($1::timestamptz[])[1], ($2::bigint[])[1],"
"  $3::float8[]::real[], $4::float8[]::real[], $5)";

static StorePlan foresee_plan = {foresee_sql, 5,
{TIMESTAMPTZOID, INT8OID, FLOAT8OID, FLOAT8OID, INT4OID}, NULL};

/* What this process wrote last of each group. */
typedef struct Written
{
	int64		group_id;		/* key */
	TimestampTz at;
	bool		loaded;			/* with a load */
} Written;

static HTAB *written = NULL;

static bool
is_due(const StoreBatch *batch, const QpsscaleGroup *group)
{
	const Written *last;

	if (!group->stored || batch->sampled_at == 0 ||
		(!group->target.load.known && !group->target.capacity.known))
		return false;
	if (written == NULL)
		return true;
	last = hash_search(written, &group->id, HASH_FIND, NULL);
	return last == NULL || last->at != batch->sampled_at ||
		(!last->loaded && isfinite(qpsscale_observed_load(group)));
}

static void
put_sample(StoreRows *rows, const StoreBatch *batch, QpsscaleGroup *group)
{
	const QsCapacity *capacity = &group->target.capacity;
	bool		known = capacity->known;

	store_put_time(rows, batch->sampled_at);
	store_put_int64(rows, qpsscale_sample_chunk(group));
	store_put_double(rows, qpsscale_observed_load(group));
	store_put_count(rows, qpsscale_observed_in_service(group));
	store_put_count(rows, known ? qs_capacity_base(capacity) : QS_UNKNOWN);
	group->sampled = true;
}

/* What the real of the column cannot hold is not told. */
static bool
foresees(const QpsscaleGroup *group)
{
	return group->prediction.known &&
		group->prediction.told.upper_grow >= 0 &&
		group->prediction.told.upper_grow <= FLT_MAX;
}

static void
put_forecast(StoreRows *rows, const StoreBatch *batch, QpsscaleGroup *group)
{
	const QsPredicted *told = &group->prediction.told;

	store_put_time(rows, batch->sampled_at);
	store_put_int64(rows, qpsscale_sample_chunk(group));
	store_put_double(rows, (double) (float) told->upper_grow);
	store_put_double(rows, (double) (float) told->quantile);
	store_put_int32(rows, told->grow_s);
}

/* A row under way: places of a chunk, up to the last group that was put. */
static void
make_place(StoreRows *rows, const StoreBatch *batch,
		   const QpsscaleGroup *group, int64 *chunk)
{
	if (rows->n_rows > 0 && qpsscale_sample_chunk(group) != *chunk)
	{
		(void) store_rows_run(rows);
		rows->n_rows = 0;
	}
	*chunk = qpsscale_sample_chunk(group);
	while (rows->n_rows < qpsscale_sample_place(group))
	{
		store_put_time(rows, batch->sampled_at);
		store_put_int64(rows, *chunk);
		for (int i = 2; i < rows->plan->n_columns; i++)
			store_put_null(rows);
	}
}

void
qpsscale_store_samples(StoreBatch *batch)
{
	StoreRows	seen;
	StoreRows	foreseen;
	int64		chunk = 0;
	int64		foreseen_chunk = 0;

	store_rows_start(&seen, &write_plan, QPSSCALE_SAMPLE_GROUPS);
	store_rows_start(&foreseen, &foresee_plan, QPSSCALE_SAMPLE_GROUPS);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (!is_due(batch, group))
			continue;
		make_place(&seen, batch, group, &chunk);
		put_sample(&seen, batch, group);
		if (!foresees(group))
			continue;
		make_place(&foreseen, batch, group, &foreseen_chunk);
		put_forecast(&foreseen, batch, group);
	}
	(void) store_rows_run(&seen);
	(void) store_rows_run(&foreseen);
}

static void
make_written(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(int64);
	control.entrysize = sizeof(Written);
	control.hcxt = TopMemoryContext;
	written = hash_create("qpsscale samples", 256, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

void
qpsscale_samples_committed(const StoreBatch *batch)
{
	/* groups come and go: starts anew where most are gone */
	if (written != NULL && batch->n_groups > 0 &&
		hash_get_num_entries(written) > 100000 + 2 * (long) batch->n_groups)
	{
		hash_destroy(written);
		written = NULL;
	}
	for (int i = 0; i < batch->n_groups; i++)
	{
		const QpsscaleGroup *group = batch->groups[i];
		Written    *entry;

		if (!group->sampled || !group->stored)
			continue;
		if (written == NULL)
			make_written();
		entry = hash_search(written, &group->id, HASH_ENTER, NULL);
		entry->at = batch->sampled_at;
		entry->loaded = isfinite(qpsscale_observed_load(group));
	}
}

void
qpsscale_store_trim_samples(void *retention_s)
{
	Oid			types[1] = {FLOAT8OID};
	Datum		values[1] = {Float8GetDatum(*(const int *) retention_s)};

	/* more at once than of other history: 10,000 groups leave 1,600 rows in
	 * the time between two batches */
	static const char *const statements[] = {
		"DELETE FROM qpsscale.samples s WHERE s.ctid = ANY (ARRAY("
		" SELECT o.ctid FROM qpsscale.samples o"
		" WHERE o.at < now() - make_interval(secs => $1)"
		" ORDER BY o.at LIMIT 10000))",
		"DELETE FROM qpsscale.forecasts f WHERE f.ctid = ANY (ARRAY("
		" SELECT o.ctid FROM qpsscale.forecasts o"
		" WHERE o.at < now() - make_interval(secs => $1)"
		" ORDER BY o.at LIMIT 10000))"
	};

	for (size_t i = 0; i < lengthof(statements); i++)
		if (SPI_execute_with_args(statements[i], 1, types, values, NULL,
								  false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not trim the samples");
}
