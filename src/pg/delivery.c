/*-------------------------------------------------------------------------
 * delivery.c
 *		Sends alerts to their endpoints.
 *
 *	pending row --claim--> a place here --answer--> outcome --record--> row
 *
 * A round is one transaction that records outcomes and claims what is due;
 * between rounds the requests go on in a network of their own (channels.c),
 * driven by whatever the worker waits for, so that an endpoint that hangs
 * delays no tick.  Outcomes that could not be recorded stay until they can.
 *
 * Addresses and secrets are read when a request is built and overwritten when
 * it is over.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "common/pg_prng.h"
#include "pg/channels.h"
#include "pg/delivery.h"
#include "pg/secret_reference.h"
#include "pg/store_delivery.h"
#include "pg/worker.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PLACES				8
#define TIMEOUT_MS			15000
#define LEASE_S				30	/* longer than a request can take */
#define RESPONSE_BYTES		513
#define LONGEST_LOOK_MS		60000
#define RETRY_ROUND_MS		1000	/* after a round that failed, then twice that */
#define NO_TURN_DELAY_MS	5000
#define LONGEST_REST_MS		((int64) 24 * 3600 * 1000)
#define MAX_URL				2048
#define ARENA_LIMIT			((size_t) 1024 * 1024)

typedef enum PlaceState
{
	PLACE_FREE,
	PLACE_SENDING,
	PLACE_ANSWERED				/* outcome to be recorded */
} PlaceState;

typedef struct Place
{
	PlaceState	state;
	QsArena    *arena;			/* body and headers; kept from use to use */
	QsHttpRequest request;
	char		url[MAX_URL];
	int			attempts;
	DeliveryOutcome outcome;
	char		error[256 + 64];
	char		response[RESPONSE_BYTES];
} Place;

/* An endpoint that asked to be left alone for a while. */
typedef struct Rest
{
	int64		webhook_id;
	int64		until_ms;
} Rest;

#define MAX_RESTS	32

static Place places[PLACES];
static Rest rests[MAX_RESTS];
static int64 next_look_ms = 0;
static int64 failed_until_ms = 0;	/* no round before */
static int64 retry_ms = RETRY_ROUND_MS;
static char complaint[256] = "";	/* told since a round last succeeded */
static MemoryContext round_context = NULL;

/* ----------
 * Answers
 * ----------
 */
static void
rest(int64 webhook_id, int64 ms)
{
	Rest	   *place = &rests[0];

	/* its own, else the one that ends first */
	for (int i = 0; i < MAX_RESTS; i++)
	{
		if (rests[i].webhook_id == webhook_id && rests[i].until_ms > 0)
		{
			place = &rests[i];
			break;
		}
		if (rests[i].until_ms < place->until_ms)
			place = &rests[i];
	}
	place->webhook_id = webhook_id;
	place->until_ms = qs_net_now_ms() + Min(ms, LONGEST_REST_MS);
}

static void
forget_secrets(Place *place)
{
	explicit_bzero(place->url, sizeof(place->url));
	if (place->arena != NULL)
		qs_arena_reset(place->arena);
}

static void
answered(Place *place, bool delivered, const char *error)
{
	place->state = PLACE_ANSWERED;
	place->outcome.delivered = delivered;
	place->outcome.counted = true;
	place->outcome.delay_ms = delivered ? 0 :
		qs_webhook_delay_ms(place->attempts,
							pg_prng_double(&pg_global_prng_state));
	if (error != NULL)
		qs_webhook_excerpt(place->url, error, strlen(error), place->error,
						   sizeof(place->error));
	place->outcome.error = error == NULL ? NULL : place->error;
}

/* A connection that nobody answers was tried by another delivery just now. */
static void
had_no_turn(Place *place)
{
	place->outcome.counted = false;
	place->outcome.delay_ms = NO_TURN_DELAY_MS;
}

static void
judge_reply(Place *place, const QsHttpReply *reply)
{
	QsWebhookAnswer answer = qs_webhook_answer(reply->status);
	DeliveryOutcome *outcome = &place->outcome;

	outcome->http_status = reply->status;
	qs_webhook_excerpt(place->url, reply->body, reply->body_length,
					   place->response, sizeof(place->response));
	outcome->response = place->response;
	answered(place, answer == QS_WEBHOOK_DELIVERED,
			 answer == QS_WEBHOOK_DELIVERED ? NULL :
			 psprintf(reply->status >= 300 && reply->status <= 399 ?
					  "answered %d: redirects are not followed" :
					  "answered %d", reply->status));
	if (answer == QS_WEBHOOK_GONE)
	{
		outcome->gone = true;
		outcome->delay_ms = -1;
	}
	if (answer == QS_WEBHOOK_THROTTLED && reply->retry_after_ms > 0)
	{
		rest(outcome->webhook_id, reply->retry_after_ms);
		if (outcome->delay_ms >= 0)
			outcome->delay_ms = Max(outcome->delay_ms,
									Min(reply->retry_after_ms,
										LONGEST_REST_MS));
	}
}

static void
collect(QsNet *net)
{
	QsNetResult result;

	while (qs_net_next(net, &result))
	{
		Place	   *place = result.tag;

		place->outcome.latency_ms = result.elapsed_ms;
		if (result.ok)
			judge_reply(place, &result.reply);
		else
		{
			answered(place, false, psprintf("%s: %s", result.error.code,
											result.error.message));
			if (!result.sent && strcmp(result.error.code, "endpoint_down") == 0)
				had_no_turn(place);
		}
		forget_secrets(place);
	}
}

/* ----------
 * Sending
 * ----------
 */
static bool
read_reference(const ClaimedDelivery *claimed, const char *what,
			   const char *reference, char *buffer, size_t size,
			   char **problem)
{
	QpsscaleSecretRights rights = {0};
	char		why[QPSSCALE_SECRET_PROBLEM];

	rights.secrets_dir = qpsscale_worker_host->settings->secrets_dir;
	rights.trusted = claimed->owner_is_superuser;
	rights.roles[0] = claimed->owner;
	if (qpsscale_read_secret_reference(reference, &rights, buffer, size, why))
		return true;
	*problem = psprintf("%s cannot be read: %s", what, why);
	return false;
}

static bool
find_url(const ClaimedDelivery *claimed, char *url, char **problem)
{
	const char *given = claimed->webhook_id == 0 ?
		qpsscale_worker_host->settings->alert_webhook_url : claimed->url;

	if (strncmp(given, "file:", 5) == 0 || strncmp(given, "env:", 4) == 0)
		return read_reference(claimed, "the URL", given, url, MAX_URL,
							  problem);
	if (strlcpy(url, given, MAX_URL) < MAX_URL)
		return true;
	*problem = "the URL is too long";
	return false;
}

static bool
build(Place *place, const ClaimedDelivery *claimed, char **problem)
{
	const char *references[2] = {claimed->secret, claimed->old_secret};
	char		secrets[2][128];
	const char *usable[2];
	int			n_secrets = 0;
	QsWebhookFormat format;
	QsError		error;
	bool		ok = true;

	if (!qs_webhook_format_by_name(claimed->format, &format))
	{
		*problem = "the format is not known";
		return false;
	}
	for (int i = 0; i < 2 && ok; i++)
	{
		if (references[i] == NULL)
			continue;
		ok = read_reference(claimed, "the signing secret", references[i],
							secrets[n_secrets], sizeof(secrets[0]), problem);
		usable[n_secrets] = secrets[n_secrets];
		n_secrets += ok;
	}
	if (ok && !qs_webhook_request(place->arena, format, &claimed->alert,
								  claimed->webhook, usable, n_secrets,
								  (int64) time(NULL), &place->request, &error))
	{
		*problem = pstrdup(error.message);
		ok = false;
	}
	explicit_bzero(secrets, sizeof(secrets));
	return ok;
}

static void
send_claimed(QsNet *net, Place *place, const ClaimedDelivery *claimed)
{
	QsNetLimits limits = {0};
	QsError		error;
	char	   *problem = NULL;

	if (place->arena == NULL)
		place->arena = qs_arena_new(ARENA_LIMIT);
	memset(&place->outcome, 0, sizeof(place->outcome));
	place->outcome.id = claimed->id;
	place->outcome.webhook_id = claimed->webhook_id;
	place->attempts = claimed->attempts;
	place->url[0] = '\0';
	limits.deadline_ms = qs_net_now_ms() + TIMEOUT_MS;
	limits.request_timeout_ms = TIMEOUT_MS;
	if (place->arena == NULL)
		problem = "out of memory";
	else if (find_url(claimed, place->url, &problem) &&
			 build(place, claimed, &problem))
	{
		place->request.url = place->url;
		place->state = PLACE_SENDING;
		if (qs_net_submit(net, &place->request, &limits, place, &error))
			return;
		problem = psprintf("%s: %s", error.code, error.message);
	}
	answered(place, false, problem);
	forget_secrets(place);
}

static Place *
free_place(void)
{
	for (int i = 0; i < PLACES; i++)
		if (places[i].state == PLACE_FREE)
			return &places[i];
	elog(ERROR, "more deliveries were claimed than there are places");
	return NULL;
}

/* ----------
 * A round
 * ----------
 */
static int
list_outcomes(DeliveryOutcome *outcomes)
{
	int			n = 0;

	for (int i = 0; i < PLACES; i++)
		if (places[i].state == PLACE_ANSWERED)
			outcomes[n++] = places[i].outcome;
	return n;
}

static int
list_busy(int64 *busy)
{
	int			n = 0;

	for (int i = 0; i < PLACES; i++)
		if (places[i].state == PLACE_SENDING)
			busy[n++] = places[i].outcome.webhook_id;
	return n;
}

static int
list_resting(int64 *resting)
{
	int			n = 0;

	for (int i = 0; i < MAX_RESTS; i++)
		if (rests[i].until_ms > qs_net_now_ms())
			resting[n++] = rests[i].webhook_id;
	return n;
}

/*
 * What refuses a round may do so all night (objects that are not as they were
 * installed, a right that is missing): it is told once, and tried ever less.
 */
static void
round_failed(const ErrorData *error)
{
	char		told[sizeof(complaint)];

	strlcpy(told, error->message, sizeof(told));
	if (strcmp(told, complaint) != 0)
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale could not deliver alerts: %s",
						error->message)));
	strlcpy(complaint, told, sizeof(complaint));
	failed_until_ms = qs_net_now_ms() + retry_ms;
	next_look_ms = failed_until_ms;
	retry_ms = Min(2 * retry_ms, LONGEST_LOOK_MS);
}

static void
run_round(bool worker_runs)
{
	const char *url = qpsscale_worker_host->settings->alert_webhook_url;
	DeliveryOutcome outcomes[PLACES];
	int64		busy[PLACES];
	int64		resting[MAX_RESTS];
	DeliveryRound round = {0};
	ErrorData  *error;

	round.outcomes = outcomes;
	round.n_outcomes = list_outcomes(outcomes);
	round.busy = busy;
	round.n_busy = list_busy(busy);
	round.resting = resting;
	round.n_resting = list_resting(resting);
	round.places = PLACES - round.n_busy;
	round.lease_s = LEASE_S;
	round.has_default_url = url != NULL && url[0] != '\0';
	round.worker_runs = worker_runs;
	if (!qpsscale_store_delivery_round(&round, &error))
	{
		round_failed(error);
		return;
	}
	retry_ms = RETRY_ROUND_MS;
	complaint[0] = '\0';
	for (int i = 0; i < PLACES; i++)
		if (places[i].state == PLACE_ANSWERED)
			places[i].state = PLACE_FREE;
	for (int i = 0; i < round.n_claimed; i++)
		send_claimed(qpsscale_channel(QPSSCALE_CHANNEL_WEBHOOKS),
					 free_place(), &round.claimed[i]);
	next_look_ms = qs_net_now_ms() + LONGEST_LOOK_MS;
	for (int i = 0; i < MAX_RESTS; i++)
		if (rests[i].until_ms > qs_net_now_ms())
			next_look_ms = Min(next_look_ms, rests[i].until_ms);
	if (round.next_ms >= 0)
		next_look_ms = Min(next_look_ms,
						   qs_net_now_ms() + Max(round.next_ms,
												 RETRY_ROUND_MS));
}

static bool
any(PlaceState state)
{
	for (int i = 0; i < PLACES; i++)
		if (places[i].state == state)
			return true;
	return false;
}

void
qpsscale_deliver(bool alerts_written, bool worker_runs)
{
	MemoryContext old;

	if (round_context == NULL)
		round_context = AllocSetContextCreate(TopMemoryContext,
											  "qpsscale delivery",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(round_context);
	if (any(PLACE_SENDING))
		collect(qpsscale_channel(QPSSCALE_CHANNEL_WEBHOOKS));
	if (alerts_written)
		next_look_ms = 0;
	if (qs_net_now_ms() >= failed_until_ms &&
		(any(PLACE_ANSWERED) || qs_net_now_ms() >= next_look_ms))
		run_round(worker_runs);
	MemoryContextSwitchTo(old);
	MemoryContextReset(round_context);
}

int64
qpsscale_delivery_wait_ms(void)
{
	int64		next = any(PLACE_ANSWERED) ? 0 : next_look_ms;

	return Max(Max(next, failed_until_ms) - qs_net_now_ms(), 0);
}

bool
qpsscale_delivery_busy(void)
{
	return any(PLACE_SENDING) || any(PLACE_ANSWERED);
}
