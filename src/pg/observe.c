/*-------------------------------------------------------------------------
 * observe.c
 *		The calls of a cycle: made by a provider, carried by net, their
 *		answers put into the groups.
 *
 * A group is ready as soon as its own answers are there; it does not wait for
 * the rest of the batch.  A listing's page that hangs holds nobody whose group
 * another page has named.
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

QsNetLimits
qpsscale_call_limits(const QsCall *call, int64 deadline_ms,
					 int request_timeout_ms)
{
	const QsCredentials *shown = &call->account->credentials;
	QsNetLimits limits = {0};

	limits.deadline_ms = deadline_ms;
	limits.request_timeout_ms = request_timeout_ms;
	limits.bucket = call->bucket;
	limits.rate_per_second = call->rate_per_second;
	limits.burst = call->burst;
	limits.ca_file = call->ca_file;
	if (shown->client_certificate[0] != '\0')
	{
		limits.client_certificate = shown->client_certificate;
		limits.client_key = shown->client_key;
	}
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
				pending[QS_CALL_SIGNAL] == 0 &&
				(pending[QS_CALL_CAPACITY] == 0 ||
				 group->target.capacity.known);
		case STAGE_CHECKING:
			return pending[QS_CALL_IN_SERVICE] == 0 &&
				pending[QS_CALL_ACTIVITIES] == 0 &&
				pending[QS_CALL_SIGNAL] == 0;
		case STAGE_ACTING:
			return pending[QS_CALL_SET_CAPACITY] == 0 &&
				!(group->rereading && pending[QS_CALL_CAPACITY] > 0 &&
				  !group->target.capacity.known);
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
		qpsscale_keep_observed(observer, group);
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

static void
count_in(Observer *observer, QsCall *call)
{
	for (int i = 0; i < call->n_targets; i++)
		((QpsscaleGroup *) call->targets[i]->user)->pending[call->kind]++;
	observer->pending += call->n_targets > 0;
}

static bool
hand_over(const Observer *observer, QsCall *call, QsError *error)
{
	QsNetLimits limits = qpsscale_call_limits(call, observer->deadline_ms,
											  observer->request_timeout_ms);

	if (qpsscale_is_user_sql(call))
		return qpsscale_user_sql_submit((UserSqlCall *) call,
										observer->deadline_ms,
										observer->fresh, error);
	return qs_net_submit(qpsscale_worker_net, &call->request, &limits, call,
						 error);
}

static void
send_call(Observer *observer, QsCall *call)
{
	QsError		error;

	if (call->n_targets == 0)
		return;
	observer->last_event_ms = qs_net_now_ms();
	if (hand_over(observer, call, &error))
		return;
	observer->pending--;
	observer->failed_calls++;
	call->provider->abandon(call, &error);
	release(observer, call);
}

static void
submit(Observer *observer, QsCall *call, const QsProvider *provider,
	   QpsscaleAccount *account)
{
	call->provider = provider;
	call->user = account;
	count_in(observer, call);
	send_call(observer, call);
}

/*
 * All are counted in before the first is sent: one that is refused at once
 * must not make a group ready whose other call has not even begun.
 */
static void
submit_all(Observer *observer, QsCallList *calls, const QsProvider *provider,
		   QpsscaleAccount *account)
{
	for (int i = 0; i < calls->n_calls; i++)
	{
		calls->calls[i]->provider = provider;
		calls->calls[i]->user = account;
		count_in(observer, calls->calls[i]);
	}
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

	switch (qpsscale_account_renew(call->user, call->serial))
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
	if (!call->provider->sign(observer->arena, call, now_us(), &problem))
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
	call->provider->abandon(call, error);
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
		/* one that sleeps its second is no measure of the others */
		if (!qpsscale_is_user_sql(call))
			observer->slowest_ms = Max(observer->slowest_ms,
									   result->elapsed_ms);
		ok = call->provider->parse(observer->arena, call, &result->reply,
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
		if (!qpsscale_is_user_sql(call) && may_retry(call, &error) &&
			qs_net_retry(qpsscale_worker_net, &error))
			return;
		if (result->ok && may_sign_anew(call, &error) &&
			sign_anew(observer, call, &error))
			return;
		give_up(observer, call, &error);
		return;
	}
	observer->pending--;
	submit_all(observer, &follow_up, call->provider, call->user);
	release(observer, call);
}

void
qpsscale_observe_collect(Observer *observer)
{
	QsNetResult result;

	while (qs_net_next(qpsscale_worker_net, &result) ||
		   qpsscale_user_sql_next(&result))
		finish(observer, &result);
	unpark(observer);
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
			submit_all(observer, &calls, provider, entry->key.account);
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
			submit_all(observer, &calls, provider, entry->key.account);
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
			tell_ready(observer, &groups[i]);
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
		submit(observer, call, group->provider, group->account);
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
	submit_all(observer, &calls, group->provider, group->account);
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
	qpsscale_user_sql_withdraw_changes();
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
			tell_ready(observer, &groups[i]);
}
