/*-------------------------------------------------------------------------
 * predictors.c
 *		What a worker has learned of its groups' loads, kept from cycle to
 *		cycle.
 *
 * A tick is learned in microseconds, a predictor takes up to 160 kB and as
 * much to be stored.  So they stay in memory, bounded by
 * qpsscale.prediction_memory, and are stored seldom: once an hour each, or so
 * that all together are no more than MOST_STORED_PER_HOUR.  Reading one costs
 * some milliseconds: a cycle reads for no longer than a part of its interval,
 * and the others follow in the next ones.  A group without a predictor is
 * decided on without one.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "core/decide_parts.h"
#include "pg/predictors.h"
#include "pg/step.h"
#include "pg/store_predictors.h"
#include "pg/worker.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MOST_STORED_PER_HOUR	500
#define MOST_STORED_AT_ONCE		20
#define SECONDS_PER_STORE		3600

/* A part of the interval, at least this long: */
#define PART_FOR_READING		10
#define LEAST_READING_MS		200

/* After a day the boot time is looked at again, with the state read anew. */
#define KEPT_FOR_S				86400

/* A load that is not known is not waited for any longer. */
#define PATIENCE_S				300

typedef struct Kept
{
	int64		group_id;		/* key */
	int64		version;		/* of its policy: another one is read anew */
	QsPrediction *prediction;	/* NULL: cannot be learned of */
	size_t		bytes;
	TimestampTz read_at;
	TimestampTz store_at;
	bool		was_demoted;	/* when it was stored */
	bool		seen;			/* by the sweep that forgets */
} Kept;

static HTAB *all = NULL;
static MemoryContext memory = NULL;
static size_t taken = 0;
static bool told_of_memory = false;

static Kept *
find(int64 group_id)
{
	return all == NULL ? NULL : hash_search(all, &group_id, HASH_FIND, NULL);
}

static void
forget(Kept *kept)
{
	if (kept->prediction != NULL)
		pfree(kept->prediction);
	taken -= kept->bytes;
	hash_search(all, &kept->group_id, HASH_REMOVE, NULL);
}

void
qpsscale_predictors_forget(int64 group_id)
{
	Kept	   *kept = find(group_id);

	if (kept != NULL)
		forget(kept);
}

static void
prepare(void)
{
	HASHCTL		control = {0};

	if (all != NULL)
		return;
	memory = AllocSetContextCreate(TopMemoryContext, "qpsscale predictors",
								   ALLOCSET_DEFAULT_SIZES);
	control.keysize = sizeof(int64);
	control.entrysize = sizeof(Kept);
	control.hcxt = memory;
	all = hash_create("qpsscale predictors", 256, &control,
					  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* ----------
 * Reading
 * ----------
 */
static void
forget_gone(StoreSnapshot *snapshot)
{
	HASH_SEQ_STATUS scan;
	TimestampTz now = GetCurrentTimestamp();
	Kept	   *kept;

	if (all == NULL)
		return;
	for (int i = 0; i < snapshot->n_groups; i++)
	{
		const QpsscaleGroup *group = &snapshot->groups[i];

		kept = find(group->id);
		if (kept != NULL)
			kept->seen = group->prediction.mode != PREDICTION_OFF &&
				kept->version == group->version;
	}
	hash_seq_init(&scan, all);
	while ((kept = hash_seq_search(&scan)) != NULL)
	{
		if (!kept->seen ||
			(kept->store_at > now + USECS_PER_MINUTE &&
			 TimestampDifferenceExceeds(kept->read_at, now,
										KEPT_FOR_S * 1000)))
			forget(kept);
		else
			kept->seen = false;
	}
}

/* Those that were never stored come first, a few in each cycle, which spreads
 * them. */
static TimestampTz
next_store(const Kept *kept, TimestampTz written_at, TimestampTz now)
{
	int64		period = Max(SECONDS_PER_STORE,
							 hash_get_num_entries(all) *
							 INT64CONST(3600) / MOST_STORED_PER_HOUR);
	TimestampTz due = written_at + period * USECS_PER_SEC;

	if (written_at != 0 && due > now)
		return due;
	return now;
}

static bool
has_room(void)
{
	size_t		limit = (size_t)
		qpsscale_worker_host->settings->prediction_memory_kb * 1024;

	if (taken + QS_PREDICTION_MAX_BYTES <= limit)
		return true;
	if (!told_of_memory)
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale.prediction_memory is used up: further groups are decided without prediction"),
				 errhint("Raise it by 160 kB for each group, or set prediction_mode of some groups to off.")));
	told_of_memory = true;
	return false;
}

static void
read_one(void *argument)
{
	const QpsscaleGroup *group = argument;
	TimestampTz now = GetCurrentTimestamp();
	StoredPredictor stored;
	Kept	   *kept;
	bool		found;

	qpsscale_read_predictor(group,
							qpsscale_worker_host->settings->metric_resolution_s,
							memory, &stored);
	kept = hash_search(all, &group->id, HASH_ENTER, &found);
	kept->prediction = stored.prediction;
	kept->bytes = stored.prediction == NULL ? 0 : stored.bytes;
	kept->version = group->version;
	kept->read_at = now;
	kept->was_demoted = stored.demoted;
	kept->seen = false;
	taken += kept->bytes;
	kept->store_at = next_store(kept, stored.written_at, now);
}

static int
reading_ms(const StoreSelection *selection)
{
	int			part = qpsscale_worker_host->settings->interval_ms /
		PART_FOR_READING;

	return Max(part, LEAST_READING_MS);
}

void
qpsscale_predictors_load(const StoreSelection *selection,
						 StoreSnapshot *snapshot)
{
	TimestampTz start = GetCurrentTimestamp();

	if (selection->all_enabled)
		forget_gone(snapshot);
	for (int i = 0; i < snapshot->n_groups; i++)
	{
		QpsscaleGroup *group = &snapshot->groups[i];
		ErrorData  *error;

		if (group->prediction.mode == PREDICTION_OFF ||
			find(group->id) != NULL)
			continue;
		prepare();
		if (!has_room() ||
			TimestampDifferenceExceeds(start, GetCurrentTimestamp(),
									   reading_ms(selection)))
			return;
		if (!qpsscale_substep(read_one, group, &error))
		{
			ereport(qpsscale_elevel(WARNING),
					(errmsg("qpsscale could not read what was learned of resource group \"%s\": %s",
							group->name, error->message)));
			return;
		}
	}
}

/* ----------
 * Learning and telling
 * ----------
 */

/*
 * Requests per second of the newest complete point, or where they do not drive
 * the group the instances that its signals ask for; NaN where there is none to
 * be believed.
 */
double
qpsscale_observed_load(const QpsscaleGroup *group)
{
	const QsLoad *load = &group->target.load;
	int64		now = qpsscale_unix_us(group->decided_at);
	QsReason	judged;
	double		observed;

	if (group->policy.target_qps == 0 && group->n_signals > 0)
		observed = qs_signals_demand(group->signals, group->n_signals,
									 &group->target.capacity, now);
	else
	{
		judged = qs_load_judge(load, &group->policy, now);
		observed = judged == QS_NO_REASON ||
			judged == QS_REASON_METRICS_PARTIAL ? load->newest_qps : NAN;
	}
	/* as precise as the column, where a cast might overflow */
	return observed >= 0 ? (double) (float) observed : NAN;
}

/* Nobody asks for it in each cycle: where nothing is under way, all members
 * serve. */
int
qpsscale_observed_in_service(const QpsscaleGroup *group)
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

/* While instances boot and nobody counts, those that were there before serve. */
static int
serving(const QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;
	int			in_service = qpsscale_observed_in_service(group);

	if (in_service == QS_UNKNOWN && group->target.capacity.known &&
		open->resolved == ACTIVITY_ACCEPTED && open->desired > open->base)
		return open->base;
	return in_service;
}

/* Late is better than a gap, but not for ever: then the time goes on without
 * a load. */
static void
learn(const QpsscaleGroup *group, Kept *kept, TimestampTz observed_at)
{
	const QsCapacity *capacity = &group->target.capacity;
	const QsLoad *load = &group->target.load;
	QsObserved	observed = {
		.end_us = qpsscale_unix_us(observed_at),
		.load = qpsscale_observed_load(group),
		.carried_at_us = qpsscale_unix_us(group->decided_at)
	};

	/* how late a signal is, nobody says */
	if (group->policy.target_qps > 0 && load->known)
		observed.late_us = Max(0, observed.end_us - load->newest_end_us);
	if (isnan(observed.load))
		observed.end_us -= PATIENCE_S * USECS_PER_SEC;
	qpsscale_complete_observed(group, serving(group),
							   capacity->known ? qs_capacity_base(capacity) :
							   QS_UNKNOWN, &observed);
	qs_prediction_observe(kept->prediction, &observed);
}

void
qpsscale_predict(QpsscaleGroup *group, TimestampTz observed_at)
{
	Kept	   *kept = find(group->id);

	group->prediction.known = false;
	group->history.predicted = NULL;
	if (kept == NULL || kept->prediction == NULL ||
		group->prediction.mode == PREDICTION_OFF)
		return;
	learn(group, kept, observed_at);
	qpsscale_tell_predicted(kept->prediction,
							group->prediction.mode == PREDICTION_ENABLED,
							qpsscale_observed_load(group), group);
	group->prediction.was_demoted = kept->was_demoted;
}

/* ----------
 * Storing
 * ----------
 */
static bool
is_due(const QpsscaleGroup *group, const Kept *kept, TimestampTz now)
{
	if (kept == NULL || kept->prediction == NULL || !group->prediction.known ||
		!group->stored)
		return false;
	return kept->store_at <= now ||
		qpsscale_is_demoted(group->prediction.told.trust) !=
		kept->was_demoted;
}

typedef struct Storing
{
	QpsscaleGroup **groups;
	int			n_groups;
} Storing;

static void
store_some(void *argument)
{
	Storing    *storing = argument;
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	for (int i = 0; i < storing->n_groups && n < MOST_STORED_AT_ONCE; i++)
	{
		QpsscaleGroup *group = storing->groups[i];
		Kept	   *kept = find(group->id);

		if (!is_due(group, kept, now))
			continue;
		qpsscale_write_predictor(group, kept->prediction, kept->bytes, now);
		group->prediction.saved = true;
		n++;
	}
}

void
qpsscale_predictors_store(QpsscaleGroup **groups, int n_groups)
{
	Storing		storing = {groups, n_groups};
	ErrorData  *error;

	for (int i = 0; i < n_groups; i++)
		groups[i]->prediction.saved = false;
	if (all == NULL || qpsscale_substep(store_some, &storing, &error))
		return;
	for (int i = 0; i < n_groups; i++)
		groups[i]->prediction.saved = false;
	ereport(qpsscale_elevel(WARNING),
			(errmsg("qpsscale could not store what was learned: %s",
					error->message)));
}

void
qpsscale_predictors_committed(QpsscaleGroup **groups, int n_groups)
{
	TimestampTz now = GetCurrentTimestamp();

	for (int i = 0; i < n_groups; i++)
	{
		Kept	   *kept;

		if (!groups[i]->prediction.saved)
			continue;
		kept = find(groups[i]->id);
		if (kept == NULL)
			continue;
		kept->was_demoted =
			qpsscale_is_demoted(groups[i]->prediction.told.trust);
		kept->store_at = next_store(kept, now, now);
	}
}
