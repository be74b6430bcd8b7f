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

#include <math.h>

#include "catalog/pg_type.h"
#include "core/decide_parts.h"
#include "pg/store_samples.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* The same figures are in qpsscale.samples_of(). */
#define CHUNK_BITS		5
#define CHUNK_GROUPS	(1 << CHUNK_BITS)

/* A row's own values stand in each row of the statement's arrays. */
static const char write_sql[] =
"INSERT INTO qpsscale.samples"
"  (at, chunk, load, in_service, desired)"
" VALUES (($1::timestamptz[])[1], ($2::bigint[])[1],"
"  $3::float8[]::real[], $4, $5)";

static StorePlan write_plan = {write_sql, 5,
{TIMESTAMPTZOID, INT8OID, FLOAT8OID, INT4OID, INT4OID}, NULL};

/* What this process wrote last of each group. */
typedef struct Written
{
	int64		group_id;		/* key */
	TimestampTz at;
	bool		loaded;			/* with a load */
} Written;

static HTAB *written = NULL;

static int64
chunk_of(const QpsscaleGroup *group)
{
	return group->id >> CHUNK_BITS;
}

static int
place_of(const QpsscaleGroup *group)
{
	return (int) (group->id & (CHUNK_GROUPS - 1));
}

/* The newest complete bucket; NaN where there is none to be believed. */
static double
load_of(const QpsscaleGroup *group)
{
	const QsLoad *load = &group->target.load;
	QsReason	judged = qs_load_judge(load, &group->policy,
									   qpsscale_unix_us(group->decided_at));

	if ((judged != QS_NO_REASON && judged != QS_REASON_METRICS_PARTIAL) ||
		!(load->newest_qps >= 0))
		return NAN;
	/* as precise as the column, where a cast might overflow */
	return (double) (float) load->newest_qps;
}

/* Nobody asks for it in each cycle: where nothing is under way, all members
 * serve. */
static int
in_service_of(const QpsscaleGroup *group)
{
	const QsCapacity *capacity = &group->target.capacity;

	if (!capacity->known)
		return QS_UNKNOWN;
	if (capacity->in_service != QS_UNKNOWN)
		return capacity->in_service;
	return group->open.resolved != ACTIVITY_ACCEPTED &&
		capacity->total == qs_capacity_base(capacity) ?
		capacity->total : QS_UNKNOWN;
}

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
		(!last->loaded && isfinite(load_of(group)));
}

static void
put_sample(StoreRows *rows, const StoreBatch *batch, QpsscaleGroup *group)
{
	const QsCapacity *capacity = &group->target.capacity;
	bool		known = capacity->known;

	store_put_time(rows, batch->sampled_at);
	store_put_int64(rows, chunk_of(group));
	store_put_double(rows, load_of(group));
	store_put_count(rows, in_service_of(group));
	store_put_count(rows, known ? qs_capacity_base(capacity) : QS_UNKNOWN);
	group->sampled = true;
}

static void
put_nothing(StoreRows *rows, const StoreBatch *batch, int64 chunk)
{
	store_put_time(rows, batch->sampled_at);
	store_put_int64(rows, chunk);
	for (int i = 2; i < write_plan.n_columns; i++)
		store_put_null(rows);
}

void
qpsscale_store_samples(StoreBatch *batch)
{
	StoreRows	rows;
	int64		chunk = 0;

	store_rows_start(&rows, &write_plan, CHUNK_GROUPS);
	for (int i = 0; i < batch->n_groups; i++)
	{
		QpsscaleGroup *group = batch->groups[i];

		if (!is_due(batch, group))
			continue;
		if (rows.n_rows > 0 && chunk_of(group) != chunk)
		{
			(void) store_rows_run(&rows);
			rows.n_rows = 0;
		}
		chunk = chunk_of(group);
		while (rows.n_rows < place_of(group))
			put_nothing(&rows, batch, chunk);
		put_sample(&rows, batch, group);
	}
	(void) store_rows_run(&rows);
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
		entry->loaded = isfinite(load_of(group));
	}
}

void
qpsscale_store_trim_samples(void *retention_s)
{
	Oid			types[1] = {FLOAT8OID};
	Datum		values[1] = {Float8GetDatum(*(const int *) retention_s)};

	/* more at once than of other history: 10,000 groups leave 1,600 rows in
	 * the time between two batches */
	if (SPI_execute_with_args("DELETE FROM qpsscale.samples s WHERE s.ctid ="
							  " ANY (ARRAY(SELECT o.ctid"
							  "  FROM qpsscale.samples o"
							  "  WHERE o.at < now() - make_interval(secs => $1)"
							  "  ORDER BY o.at LIMIT 10000))",
							  1, types, values, NULL, false, 0) !=
		SPI_OK_DELETE)
		elog(ERROR, "could not trim the samples");
}
