/*-------------------------------------------------------------------------
 * calls.c
 *		Calls under way: sent, answered, sent once more or given up.
 *
 * A group is ready as soon as its own answers are there; it does not wait for
 * the rest of the batch.  A listing's page that hangs holds nobody whose group
 * another page has named.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/calls.h"
#include "pg/last_observed.h"
#include "pg/user_sql.h"
#include "pg/worker.h"
#include "utils/timestamp.h"

static int64
now_us(void)
{
	return qpsscale_unix_us(GetCurrentTimestamp());
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

void
qpsscale_tell_ready(Observer *observer, QpsscaleGroup *group)
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
		qpsscale_tell_ready(observer, group);
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

void
qpsscale_submit(Observer *observer, QsCall *call,
				const QsProvider *provider, QpsscaleAccount *account)
{
	call->provider = provider;
	call->user = account;
	count_in(observer, call);
	send_call(observer, call);
}

void
qpsscale_submit_all(Observer *observer, QsCallList *calls,
					const QsProvider *provider, QpsscaleAccount *account)
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
	qpsscale_submit_all(observer, &follow_up, call->provider, call->user);
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
