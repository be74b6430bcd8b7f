/*-------------------------------------------------------------------------
 * observe.c
 *		The calls of a cycle: made by a provider, carried by net, their
 *		answers put into the groups.
 *
 * A group is ready as soon as its own answers are there; it does not wait for
 * the rest of the batch.  A listing's page that hangs holds nobody whose group
 * another page has named.
 *
 * A metric is asked no more often than its source publishes it: what the last
 * call said is kept per group in this process, and used again until the next
 * point can be there.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/observe.h"
#include "pg/worker.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Publishing is not instant: a bucket is asked for this long after its end. */
#define PUBLISH_DELAY_S		5

typedef struct BatchKey
{
	QpsscaleAccount *account;
	char		region[68];
} BatchKey;

typedef struct BatchEntry
{
	BatchKey	key;
	const QsProvider *provider;
	QsBatch    *batch;
	int			capacity;
} BatchEntry;

typedef struct KnownLoad
{
	int64		group_id;		/* key */
	int64		version;
	int64		bucket;			/* publishing interval it was asked in */
	QsLoad		load;
} KnownLoad;

static HTAB *known_loads = NULL;

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

static void
make_known_loads(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(int64);
	control.entrysize = sizeof(KnownLoad);
	control.hcxt = TopMemoryContext;
	known_loads = hash_create("qpsscale loads", 256, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static bool
reuse_load(const Observer *observer, QpsscaleGroup *group)
{
	KnownLoad  *known;

	if (observer->fresh || known_loads == NULL)
		return false;
	known = hash_search(known_loads, &group->id, HASH_FIND, NULL);
	if (known == NULL || known->version != group->version ||
		known->bucket != observer->bucket)
		return false;
	group->target.load = known->load;
	group->load_reused = true;
	return true;
}

static void
keep_load(const Observer *observer, const QpsscaleGroup *group)
{
	KnownLoad  *known;

	if (group->load_reused || group->target.load_error.class != QS_ERROR_NONE)
		return;
	if (known_loads == NULL)
		make_known_loads();
	known = hash_search(known_loads, &group->id, HASH_ENTER, NULL);
	known->version = group->version;
	known->bucket = observer->bucket;
	known->load = group->target.load;
}

/* Groups come and go: start anew rather than keep the gone ones for ever. */
static void
bound_known_loads(int n_groups)
{
	if (known_loads == NULL ||
		hash_get_num_entries(known_loads) <= 2 * (long) n_groups + 1000)
		return;
	hash_destroy(known_loads);
	known_loads = NULL;
}

static QsNetLimits
limits_of(const Observer *observer, const QsCall *call)
{
	QsNetLimits limits = {0};

	limits.deadline_ms = observer->deadline_ms;
	limits.request_timeout_ms = observer->request_timeout_ms;
	limits.bucket = call->bucket;
	limits.rate_per_second = call->rate_per_second;
	limits.burst = call->burst;
	limits.ca_file = call->ca_file;
	return limits;
}

static bool
is_ready(const QpsscaleGroup *group)
{
	const int  *pending = group->pending;

	switch (group->stage)
	{
		case STAGE_OBSERVING:
			return pending[QS_CALL_LOAD] == 0 &&
				(pending[QS_CALL_CAPACITY] == 0 ||
				 group->target.capacity.known);
		case STAGE_CHECKING:
			return pending[QS_CALL_IN_SERVICE] == 0 &&
				pending[QS_CALL_ACTIVITIES] == 0;
		case STAGE_ACTING:
			return pending[QS_CALL_SET_CAPACITY] == 0;
		default:
			return false;
	}
}

static void
tell_ready(Observer *observer, QpsscaleGroup *group)
{
	if (!is_ready(group))
		return;
	if (group->stage == STAGE_OBSERVING)
	{
		QsTarget   *target = &group->target;

		if (!target->capacity.known)
			group->provider->settle(&target, 1);
		keep_load(observer, group);
	}
	observer->ready(observer->context, group);
}

static void
release(Observer *observer, QsCall *call)
{
	for (int i = 0; i < call->n_targets; i++)
	{
		QpsscaleGroup *group = call->targets[i]->user;

		group->pending[call->kind]--;
		tell_ready(observer, group);
	}
}

static const QsProvider *
provider_of(const QsCall *call)
{
	return ((QpsscaleGroup *) call->targets[0]->user)->provider;
}

static void
count_in(Observer *observer, QsCall *call)
{
	for (int i = 0; i < call->n_targets; i++)
		((QpsscaleGroup *) call->targets[i]->user)->pending[call->kind]++;
	observer->pending += call->n_targets > 0;
}

static void
send_call(Observer *observer, QsCall *call)
{
	QsNetLimits limits = limits_of(observer, call);
	QsError		error;

	if (call->n_targets == 0)
		return;
	observer->last_event_ms = qs_net_now_ms();
	if (qs_net_submit(qpsscale_worker_net, &call->request, &limits, call,
					  &error))
		return;
	observer->pending--;
	observer->failed_calls++;
	provider_of(call)->abandon(call, &error);
	release(observer, call);
}

static void
submit(Observer *observer, QsCall *call)
{
	count_in(observer, call);
	send_call(observer, call);
}

/*
 * All are counted in before the first is sent: one that is refused at once
 * must not make a group ready whose other call has not even begun.
 */
static void
submit_all(Observer *observer, QsCallList *calls)
{
	for (int i = 0; i < calls->n_calls; i++)
		count_in(observer, calls->calls[i]);
	for (int i = 0; i < calls->n_calls; i++)
		send_call(observer, calls->calls[i]);
}

/*
 * A changing call is repeated only when it was certainly not applied, the
 * cloud asked for patience and nobody has switched us off; anything else is
 * resolved by reading back.
 */
static bool
may_retry(const QsCall *call, const QsError *error)
{
	if (!qs_error_retryable(error))
		return false;
	return call->kind != QS_CALL_SET_CAPACITY ||
		(error->class == QS_ERROR_THROTTLED && error->refused &&
		 qpsscale_worker_host->settings->enabled);
}

/* ----------
 * Calls whose credentials were refused: signed anew and sent once more.
 * ----------
 */
typedef struct ParkedCall
{
	struct ParkedCall *next;
	QsCall	   *call;
	QsError		error;
} ParkedCall;

static QpsscaleGroup *
group_of(const QsCall *call)
{
	return call->targets[0]->user;
}

/* A change that was refused for its signature was certainly not applied. */
static bool
may_sign_anew(const QsCall *call, const QsError *error)
{
	if (error->class != QS_ERROR_CREDENTIAL || call->signed_anew)
		return false;
	return call->kind != QS_CALL_SET_CAPACITY ||
		(error->refused && qpsscale_worker_host->settings->enabled);
}

static void
park(Observer *observer, QsCall *call, const QsError *error)
{
	ParkedCall *parked = palloc(sizeof(ParkedCall));

	parked->call = call;
	parked->error = *error;
	parked->next = observer->parked;
	observer->parked = parked;
}

/* true: the call is under way again, or waits until it can be. */
static bool
sign_anew(Observer *observer, QsCall *call, const QsError *error)
{
	QpsscaleGroup *group = group_of(call);
	QsError		problem;

	switch (qpsscale_account_renew(group->account, call->serial))
	{
		case RENEWAL_NONE:
			return false;
		case RENEWAL_WAITING:
			park(observer, call, error);
			return true;
		case RENEWAL_DONE:
			break;
	}
	call->signed_anew = true;
	call->serial = call->account->serial;
	if (!group->provider->sign(observer->arena, call, now_us(), &problem))
		return false;
	if (call->kind == QS_CALL_SET_CAPACITY)
		group->set_sent = false;
	send_call(observer, call);
	return true;
}

static void
give_up(Observer *observer, QsCall *call, const QsError *error)
{
	observer->pending--;
	provider_of(call)->abandon(call, error);
	release(observer, call);
}

/* After each wait: who has got credentials meanwhile? */
static void
unpark(Observer *observer)
{
	ParkedCall *parked = observer->parked;

	observer->parked = NULL;
	while (parked != NULL)
	{
		ParkedCall *next = parked->next;

		if (!sign_anew(observer, parked->call, &parked->error))
			give_up(observer, parked->call, &parked->error);
		pfree(parked);
		parked = next;
	}
}

static void
finish(Observer *observer, QsNetResult *result)
{
	QsCall	   *call = result->tag;
	QsCallList	follow_up = {0};
	QsError		error;
	bool		ok;

	observer->calls++;
	observer->last_reply_ms = observer->last_event_ms = qs_net_now_ms();
	qs_error_clear(&error);
	if (call->kind == QS_CALL_SET_CAPACITY)
		((QpsscaleGroup *) call->targets[0]->user)->set_sent |=
			result->sent || result->ok;
	if (result->ok)
	{
		observer->slowest_ms = Max(observer->slowest_ms, result->elapsed_ms);
		ok = provider_of(call)->parse(observer->arena, call, &result->reply,
									  now_us(), &follow_up, &error);
	}
	else
	{
		error = result->error;
		/* attempts before this one were refused, or it would not be one */
		if (call->kind == QS_CALL_SET_CAPACITY && !result->sent)
			error.refused = true;
		ok = false;
	}
	if (!ok)
	{
		observer->failed_calls++;
		if (result->ok && error.class == QS_ERROR_THROTTLED)
			qs_net_throttled(qpsscale_worker_net);
		if (may_retry(call, &error) &&
			qs_net_retry(qpsscale_worker_net, &error))
			return;
		if (result->ok && may_sign_anew(call, &error) &&
			sign_anew(observer, call, &error))
			return;
		give_up(observer, call, &error);
		return;
	}
	observer->pending--;
	submit_all(observer, &follow_up);
	release(observer, call);
}

void
qpsscale_observe_collect(Observer *observer)
{
	QsNetResult result;

	while (qs_net_next(qpsscale_worker_net, &result))
		finish(observer, &result);
	unpark(observer);
}

/* ----------
 * Batches: one per account and region.
 * ----------
 */
static BatchEntry *
find_batch(HTAB *batches, QpsscaleGroup *group, const char *region)
{
	BatchKey	key;
	BatchEntry *entry;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.account = group->account;
	strlcpy(key.region, region, sizeof(key.region));
	entry = hash_search(batches, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->provider = group->provider;
		entry->capacity = 16;
		entry->batch = palloc0(sizeof(QsBatch));
		entry->batch->account = &group->account->cloud;
		entry->batch->region = pstrdup(region);
		entry->batch->memory = qpsscale_region_memory(group->account,
													  region);
		entry->batch->targets = palloc(sizeof(QsTarget *) * entry->capacity);
	}
	return entry;
}

static void
add_to_batch(HTAB *batches, QpsscaleGroup *group, Observer *observer)
{
	QsTarget   *target = &group->target;
	const char *region = group->region != NULL ? group->region :
		group->account->cloud.region;
	BatchEntry *entry;

	target->group_id = group->id;
	target->asg_id = group->asg_id;
	target->region = region;
	target->user = group;
	target->capacity.in_service = QS_UNKNOWN;
	target->alb_id = reuse_load(observer, group) ? NULL : group->alb_id;

	entry = find_batch(batches, group, region);
	group->batch = entry->batch;
	if (entry->batch->n_targets == entry->capacity)
	{
		entry->capacity *= 2;
		entry->batch->targets =
			repalloc_huge(entry->batch->targets,
						  sizeof(QsTarget *) * entry->capacity);
	}
	entry->batch->targets[entry->batch->n_targets++] = target;
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

void
qpsscale_observe(Observer *observer, QpsscaleGroup *groups, int n_groups)
{
	HASHCTL		control = {0};
	HTAB	   *batches;
	HASH_SEQ_STATUS scan;
	BatchEntry *entry;

	observer->bucket = publishing_bucket(observer);
	/* a call for one group says nothing about how many there are */
	if (!observer->fresh)
		bound_known_loads(n_groups);
	control.keysize = sizeof(BatchKey);
	control.entrysize = sizeof(BatchEntry);
	control.hcxt = CurrentMemoryContext;
	batches = hash_create("qpsscale batches", 32, &control,
						  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < n_groups; i++)
		if (groups[i].stage == STAGE_OBSERVING && groups[i].batch == NULL)
			add_to_batch(batches, &groups[i], observer);

	hash_seq_init(&scan, batches);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		QsCallList	calls = {0};
		QsError		error;

		qs_error_clear(&error);
		plan_probe(observer, entry->batch);
		if (!entry->provider->observe(observer->arena, entry->batch,
									  observer->metric_period_s, now_us(),
									  &calls, &error))
			charge_batch(entry->batch, &error);
		else
			submit_all(observer, &calls);
	}
	/* groups that no call carries (a bad id, a failed build) are ready now */
	for (int i = 0; i < n_groups; i++)
		if (groups[i].stage == STAGE_OBSERVING)
			tell_ready(observer, &groups[i]);
}

/* ----------
 * Calls about one group.
 * ----------
 */
static void
submit_one(Observer *observer, QsCall *call, QsError *charged,
		   const QsError *error)
{
	if (call == NULL)
		*charged = *error;
	else
		submit(observer, call);
}

void
qpsscale_ask_in_service(Observer *observer, QpsscaleGroup *group)
{
	QsError		error;

	qs_error_clear(&error);
	group->asked_in_service = true;
	submit_one(observer,
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
	submit_one(observer,
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
	submit_one(observer,
			   group->provider->set_capacity(observer->arena, group->batch,
											 &group->target, desired,
											 now_us(), &error),
			   &group->target.set_error, &error);
}

static bool
is_change(void *context, void *tag)
{
	return ((const QsCall *) tag)->kind == QS_CALL_SET_CAPACITY;
}

void
qpsscale_withdraw_changes(void)
{
	(void) qs_net_withdraw(qpsscale_worker_net, is_change, NULL);
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
		if (group->pending[QS_CALL_SET_CAPACITY] > 0)
		{
			target->set_error = error;
			group->set_sent = true;
		}
		memset(group->pending, 0, sizeof(group->pending));
	}
	for (int i = 0; i < n_groups; i++)
		if (groups[i].stage < STAGE_FINISHED)
			tell_ready(observer, &groups[i]);
}
