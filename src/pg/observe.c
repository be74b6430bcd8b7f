/*-------------------------------------------------------------------------
 * observe.c
 *		What a cycle asks the clouds, by calls that their providers make.
 *
 * A metric is asked no more often than its source publishes it; see
 * last_observed.h.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/batches.h"
#include "pg/last_observed.h"
#include "pg/observe.h"
#include "pg/user_sql.h"
#include "pg/worker.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

/* Publishing is not instant: a bucket is asked for this long after its end. */
#define PUBLISH_DELAY_S		5

static int64
now_us(void)
{
	return qpsscale_unix_us(GetCurrentTimestamp());
}

static int64
publishing_bucket(const Observer *observer)
{
	return (now_us() / USECS_PER_SEC - PUBLISH_DELAY_S) /
		Max(observer->metric_resolution_s, 1);
}

/* ----------
 * Batches: one per account and region.
 * ----------
 */
static const char *
region_of(const QpsscaleGroup *group, const QsProvider *provider,
		  const QpsscaleAccount *account)
{
	if (provider->has_no_regions)
		return "";
	return group->region != NULL ? group->region : account->cloud.region;
}

static void
name_target(QpsscaleGroup *group, QsTarget *target)
{
	target->group_id = group->id;
	target->asg_id = group->asg_id;
	target->kind = group->kind;
	target->user = group;
	target->capacity.in_service = QS_UNKNOWN;
}

static void
batch_group(HTAB *batches, QpsscaleGroup *group, Observer *observer)
{
	QsTarget   *target = &group->target;

	name_target(group, target);
	target->region = region_of(group, group->provider, group->account);
	if (group->policy.target_qps > 0 && !qpsscale_reuse_load(observer, group))
		target->alb_id = group->alb_id;
	group->batch = qpsscale_add_to_batch(batches, group->account,
										 group->provider, target);
}

/* How long what listing said about a region's size is good for. */
#define PROBE_INTERVAL_US	(INT64CONST(3600) * USECS_PER_SEC)

/*
 * The size of a region decides between listing and asking by id.  A process
 * that lives on learns it on its second cycle, then each hour.
 */
static void
plan_probe(Observer *observer, QsBatch *batch)
{
	QsRegionMemory *memory = batch->memory;

	memory->probe = false;
	if (observer->fresh)
		return;
	if (memory->listed_at == 0)
		memory->listed_at = 1;	/* first cycle: ask by id */
	else if (now_us() - memory->listed_at > PROBE_INTERVAL_US)
		memory->probe = true;
}

static void
charge_batch(QsBatch *batch, const QsError *error)
{
	for (int i = 0; i < batch->n_targets; i++)
	{
		batch->targets[i]->load_error = *error;
		batch->targets[i]->capacity_error = *error;
	}
}

/* ----------
 * Further signals.
 * ----------
 */
static void
batch_signal(HTAB *batches, QpsscaleGroup *group, int i, Observer *observer)
{
	GroupSignal *source = &group->sources[i];
	QsTarget   *target = &source->target;

	source->batched = true;
	name_target(group, target);
	target->alb_id = group->alb_id;
	target->query = &source->query;
	if (source->account == NULL || source->provider == NULL ||
		qpsscale_reuse_reading(observer, group, i))
		return;
	target->region = region_of(group, source->provider, source->account);
	if (target->region == NULL)
		qs_error_set(&target->reading_error, QS_ERROR_TERMINAL, "NoRegion",
					 "neither the group nor the account names a region");
	else
		(void) qpsscale_add_to_batch(batches, source->account,
									 source->provider, target);
}

static void
observe_signals(Observer *observer, HTAB *batches)
{
	HASH_SEQ_STATUS scan;
	BatchEntry *entry;

	hash_seq_init(&scan, batches);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		const QsProvider *provider = entry->key.provider;
		QsCallList	calls = {0};
		QsError		error;

		qs_error_clear(&error);
		if (provider->observe_signals(observer->arena, entry->batch,
									  observer->metric_period_s, now_us(),
									  &calls, &error))
			qpsscale_submit_all(observer, &calls, provider, entry->key.account);
		else
			for (int i = 0; i < entry->batch->n_targets; i++)
				entry->batch->targets[i]->reading_error = error;
	}
	hash_destroy(batches);
}

/* Vetoes are left for the group that is about to shrink. */
static void
start_signals(Observer *observer, QpsscaleGroup *groups, int n_groups)
{
	HTAB	   *batches = qpsscale_make_batches();

	for (int i = 0; i < n_groups; i++)
	{
		QpsscaleGroup *group = &groups[i];

		if (group->stage != STAGE_OBSERVING)
			continue;
		for (int j = 0; j < group->n_signals; j++)
			if (group->signals[j].role != QS_ROLE_VETO &&
				!group->sources[j].batched)
				batch_signal(batches, group, j, observer);
	}
	observe_signals(observer, batches);
}

/* ----------
 * Load and capacity.
 * ----------
 */
static void
start_groups(Observer *observer, QpsscaleGroup *groups, int n_groups)
{
	HTAB	   *batches = qpsscale_make_batches();
	HASH_SEQ_STATUS scan;
	BatchEntry *entry;

	for (int i = 0; i < n_groups; i++)
		if (groups[i].stage == STAGE_OBSERVING && groups[i].batch == NULL)
			batch_group(batches, &groups[i], observer);

	hash_seq_init(&scan, batches);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		const QsProvider *provider = entry->key.provider;
		QsCallList	calls = {0};
		QsError		error;

		qs_error_clear(&error);
		plan_probe(observer, entry->batch);
		if (!provider->observe(observer->arena, entry->batch,
							   observer->metric_period_s, now_us(), &calls,
							   &error))
			charge_batch(entry->batch, &error);
		else
			qpsscale_submit_all(observer, &calls, provider, entry->key.account);
	}
}

/*
 * No group is ready before all of its calls were made, even if one fails at
 * once: each counts one call more until then.
 */
void
qpsscale_observe(Observer *observer, QpsscaleGroup *groups, int n_groups)
{
	observer->bucket = publishing_bucket(observer);
	/* a call for one group says nothing about how many there are */
	if (!observer->fresh)
		qpsscale_bound_last_observed(groups, n_groups);
	for (int i = 0; i < n_groups; i++)
		groups[i].pending[QS_CALL_LOAD]++;
	start_groups(observer, groups, n_groups);
	start_signals(observer, groups, n_groups);
	for (int i = 0; i < n_groups; i++)
	{
		groups[i].pending[QS_CALL_LOAD]--;
		/* no call may carry it: a bad id, a failed build */
		if (groups[i].stage == STAGE_OBSERVING)
			qpsscale_tell_ready(observer, &groups[i]);
	}
}

void
qpsscale_ask_vetoes(Observer *observer, QpsscaleGroup *group)
{
	HTAB	   *batches = qpsscale_make_batches();

	group->asked_vetoes = true;
	for (int i = 0; i < group->n_signals; i++)
		if (group->signals[i].role == QS_ROLE_VETO)
			batch_signal(batches, group, i, observer);
	observe_signals(observer, batches);
}

/* ----------
 * The past.
 * ----------
 */
void
qpsscale_ask_past(Observer *observer, QpsscaleGroup **groups,
				  QsTarget *targets, int n, TimestampTz since,
				  TimestampTz until)
{
	HTAB	   *batches = qpsscale_make_batches();
	HASH_SEQ_STATUS scan;
	BatchEntry *entry;

	for (int i = 0; i < n; i++)
	{
		QpsscaleGroup *group = groups[i];

		memset(&targets[i], 0, sizeof(targets[i]));
		name_target(group, &targets[i]);
		targets[i].alb_id = group->alb_id;
		targets[i].region = group->target.region;
		(void) qpsscale_add_to_batch(batches, group->account, group->provider,
									 &targets[i]);
	}
	hash_seq_init(&scan, batches);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		const QsProvider *provider = entry->key.provider;
		QsCallList	calls = {0};
		QsError		error;

		qs_error_clear(&error);
		if (provider->ask_past(observer->arena, entry->batch,
							   qpsscale_unix_us(since) / USECS_PER_SEC,
							   qpsscale_unix_us(until) / USECS_PER_SEC,
							   now_us(), &calls, &error))
			qpsscale_submit_all(observer, &calls, provider,
								entry->key.account);
		else
			charge_batch(entry->batch, &error);
	}
	hash_destroy(batches);
}

/* ----------
 * Calls about one group.
 * ----------
 */
static void
submit_one(Observer *observer, QpsscaleGroup *group, QsCall *call,
		   QsError *charged, const QsError *error)
{
	if (call == NULL)
		*charged = *error;
	else
		qpsscale_submit(observer, call, group->provider, group->account);
}

void
qpsscale_ask_in_service(Observer *observer, QpsscaleGroup *group)
{
	QsError		error;

	qs_error_clear(&error);
	group->asked_in_service = true;
	submit_one(observer, group,
			   group->provider->ask_in_service(observer->arena, group->batch,
											   &group->target, now_us(),
											   &error),
			   &group->target.in_service_error, &error);
}

void
qpsscale_ask_activities(Observer *observer, QpsscaleGroup *group)
{
	QsError		error;

	qs_error_clear(&error);
	group->asked_activities = true;
	group->target.activity.asked = true;
	if (group->provider->ask_activities == NULL)
	{
		group->target.activity.known = true;
		return;
	}
	submit_one(observer, group,
			   group->provider->ask_activities(observer->arena, group->batch,
											   &group->target, now_us(),
											   &error),
			   &group->target.activity_error, &error);
}

void
qpsscale_set_capacity(Observer *observer, QpsscaleGroup *group, int desired)
{
	QsError		error;

	qs_error_clear(&error);
	submit_one(observer, group,
			   group->provider->set_capacity(observer->arena, group->batch,
											 &group->target, desired,
											 now_us(), &error),
			   &group->target.set_error, &error);
}

void
qpsscale_try_write(Observer *observer, QpsscaleGroup *group)
{
	const QsProvider *provider = group->provider;
	QsTarget   *target = &group->target;
	QsError		error;

	if (provider->try_write == NULL || !target->capacity.known)
		return;
	qs_error_clear(&error);
	submit_one(observer, group,
			   provider->try_write(observer->arena, group->batch, target,
								   now_us(), &error),
			   &target->trial_error, &error);
}

void
qpsscale_read_again(Observer *observer, QpsscaleGroup *group)
{
	QsTarget   *target = &group->target;
	QsCloudActivity activity = target->activity;
	QsTarget  **targets = palloc(sizeof(*targets));
	QsBatch    *batch = palloc(sizeof(*batch));
	QsCallList	calls = {0};
	QsError		error;

	*batch = *group->batch;
	*targets = target;
	batch->targets = targets;
	batch->n_targets = 1;
	target->alb_id = NULL;		/* the load stays as it is */
	qs_error_clear(&error);
	if (!group->provider->observe(observer->arena, batch,
								  observer->metric_period_s, now_us(),
								  &calls, &error))
		target->capacity_error = error;
	target->activity = activity;
	qpsscale_submit_all(observer, &calls, group->provider, group->account);
}

/* Which of them were open is not known: those that have said nothing. */
static void
charge_signals(QpsscaleGroup *group, const QsError *error)
{
	for (int i = 0; i < group->n_signals; i++)
	{
		QsTarget   *target = &group->sources[i].target;

		if (group->sources[i].batched &&
			target->reading.state == QS_READING_UNKNOWN &&
			target->reading_error.class == QS_ERROR_NONE)
			target->reading_error = *error;
	}
}

/*
 * Stops waiting.  Each open call's groups get an error; a changing call that
 * may have left us has an unknown outcome.
 */
void
qpsscale_observe_abandon(Observer *observer, QpsscaleGroup *groups,
						 int n_groups)
{
	QsError		error;

	qs_net_cancel_all(qpsscale_worker_net);
	qpsscale_user_sql_cancel_all();
	observer->failed_calls += observer->pending;
	observer->pending = 0;
	observer->parked = NULL;
	qs_error_clear(&error);
	qs_error_set(&error, QS_ERROR_TRANSIENT, "deadline",
				 "no answer before the cycle's deadline");
	for (int i = 0; i < n_groups; i++)
	{
		QpsscaleGroup *group = &groups[i];
		QsTarget   *target = &group->target;

		if (group->stage >= STAGE_FINISHED)
			continue;
		if (group->pending[QS_CALL_LOAD] > 0)
			target->load_error = error;
		if (group->pending[QS_CALL_CAPACITY] > 0 && !target->capacity.known)
			target->capacity_error = error;
		if (group->pending[QS_CALL_IN_SERVICE] > 0)
			target->in_service_error = error;
		if (group->pending[QS_CALL_ACTIVITIES] > 0)
			target->activity_error = error;
		if (group->pending[QS_CALL_SIGNAL] > 0)
			charge_signals(group, &error);
		if (group->pending[QS_CALL_SET_CAPACITY] > 0)
		{
			target->set_error = error;
			group->set_sent = true;
		}
		memset(group->pending, 0, sizeof(group->pending));
	}
	for (int i = 0; i < n_groups; i++)
		if (groups[i].stage < STAGE_FINISHED)
			qpsscale_tell_ready(observer, &groups[i]);
}
