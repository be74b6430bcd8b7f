/*-------------------------------------------------------------------------
 * discovery.c
 *		What qpsscale_discover() finds: the scaling groups of an account.
 *
 * Load the account (one transaction), wait for its credentials, ask.  It takes
 * at most a cycle's deadline; a tick that is due meanwhile comes after it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "cloud/discovery.h"
#include "pg/calls.h"
#include "pg/discovery.h"
#include "pg/explain.h"
#include "pg/json_writer.h"
#include "pg/resolution.h"
#include "pg/user_sql.h"
#include "pg/validate.h"
#include "pg/worker.h"
#include "utils/timestamp.h"

#define ARENA_LIMIT		((size_t) 64 * 1024 * 1024)

typedef struct Search
{
	const QpsscaleSettings *settings;
	QpsscaleAccount *account;
	const QsProvider *provider;
	QsBatch		batch;
	QsArena    *arena;
	QsDiscovery found;
	int64		deadline_ms;
	int			pending;		/* calls without an answer */
	List	   *parked;			/* those of them that wait for credentials */
	CycleResult *result;
} Search;

static bool
fail(CycleResult *result, int sqlstate, const char *error, const char *hint)
{
	result->sqlstate = sqlstate;
	result->error = error;
	result->hint = hint;
	return false;
}

static bool
fail_with(CycleResult *result, const QsError *cause)
{
	char	   *message = psprintf("the scaling groups could not be listed: %s%s%s",
								   cause->code, cause->code[0] == '\0' ? "" : ": ",
								   cause->message);

	qpsscale_localize(message);
	return fail(result, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message,
				qpsscale_error_hint(cause));
}

/* ----------
 * Where to look
 * ----------
 */
static const char *
provider_option(const QpsscaleAccount *account)
{
	for (int i = 0; i < account->n_options; i++)
		if (strcmp(account->options[i].name, "provider") == 0)
			return account->options[i].value;
	return NULL;
}

/* The argument, what the account says, or that of a group that says nothing. */
static bool
choose_provider(Search *search, const QpsscaleDiscoveryPlace *place)
{
	QpsscaleAccount *account = search->account;

	if (place->provider[0] != '\0')
		account->provider = pstrdup(place->provider);
	else if ((account->provider = provider_option(account)) == NULL)
		account->provider = "byteplus";
	search->provider = qpsscale_provider_by_name(account->provider);
	if (search->provider == NULL)
		return fail(search->result, ERRCODE_INVALID_PARAMETER_VALUE,
					psprintf("provider \"%s\" is not known",
							 account->provider),
					"The providers are listed at column provider of qpsscale.resource_groups.");
	if (search->provider->directory == NULL)
		return fail(search->result, ERRCODE_FEATURE_NOT_SUPPORTED,
					psprintf("the groups of provider %s cannot be listed",
							 account->provider),
					"Insert them into qpsscale.resource_groups by hand.");
	return true;
}

/* The account's problem, with the code that tells what kind it is. */
static bool
refuse_account(Search *search)
{
	const QpsscaleAccount *account = search->account;
	int			sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	const char *hint = "The message says what is missing.";

	if (account->name != NULL && !account->exists)
	{
		sqlstate = ERRCODE_UNDEFINED_OBJECT;
		hint = "The worker sees committed rows only: commit first.";
	}
	else if (account->name == NULL ? !account->owner_is_superuser :
			 !account->usage)
	{
		sqlstate = ERRCODE_INSUFFICIENT_PRIVILEGE;
		hint = "Ask whoever owns the account.";
	}
	return fail(search->result, sqlstate, account->problem, hint);
}

static bool
await_credentials(Search *search)
{
	QpsscaleAccount *account = search->account;

	qpsscale_account_resolve(account, search->settings->secrets_dir,
							 search->settings->region);
	while (account->waiting && !qpsscale_account_arrived(account))
	{
		int64		left_ms = search->deadline_ms - qs_net_now_ms();

		if (left_ms <= 0)
			return fail(search->result, QPSSCALE_ERRCODE_TIMEOUT,
						"no credentials before the deadline",
						"See qpsscale.errors for what became of them.");
		qpsscale_worker_wait(left_ms);
	}
	return account->usable || refuse_account(search);
}

static bool
choose_region(Search *search, const QpsscaleDiscoveryPlace *place)
{
	const char *region = place->region[0] != '\0' ? place->region :
		search->account->cloud.region;

	if (region == NULL)
		return fail(search->result, ERRCODE_INVALID_PARAMETER_VALUE,
					"neither the call nor the account names a region",
					"Name one: qpsscale_discover(account, region => ...).");
	search->batch.account = &search->account->cloud;
	search->batch.region = region;
	search->batch.memory = qpsscale_region_memory(search->account, region);
	return true;
}

/* ----------
 * Asking
 * ----------
 */
static int64
now_us(void)
{
	return qpsscale_unix_us(GetCurrentTimestamp());
}

static void
give_up(Search *search, QsCall *call, const QsError *error)
{
	search->pending--;
	search->result->failed_calls++;
	search->provider->directory->abandon(call, error);
}

static void
send_call(Search *search, QsCall *call)
{
	QsNetLimits limits = qpsscale_call_limits(call, search->deadline_ms,
											  search->settings->request_timeout_ms);
	QsError		error;

	if (!qs_net_submit(qpsscale_worker_net, &call->request, &limits, call,
					   &error))
		give_up(search, call, &error);
}

static void
send_calls(Search *search, QsCallList *calls)
{
	search->pending += calls->n_calls;
	for (int i = 0; i < calls->n_calls; i++)
		send_call(search, calls->calls[i]);
}

/* true: it is under way again, or waits until it can be. */
static bool
sign_anew(Search *search, QsCall *call)
{
	QsError		problem;

	switch (qpsscale_account_renew(search->account, call->serial))
	{
		case RENEWAL_NONE:
			return false;
		case RENEWAL_WAITING:
			search->parked = lappend(search->parked, call);
			return true;
		case RENEWAL_DONE:
			break;
	}
	call->signed_anew = true;
	call->serial = call->account->serial;
	if (!search->provider->sign(search->arena, call, now_us(), &problem))
		return false;
	send_call(search, call);
	return true;
}

static void
take_result(Search *search, QsNetResult *result)
{
	QsCall	   *call = result->tag;
	QsCallList	follow_up = {0};
	QsError		error = result->error;

	search->result->calls++;
	if (result->ok &&
		search->provider->directory->parse(search->arena, call,
										   &result->reply, now_us(),
										   &follow_up, &error))
	{
		search->pending--;
		send_calls(search, &follow_up);
		return;
	}
	if (result->ok && error.class == QS_ERROR_THROTTLED)
		qs_net_throttled(qpsscale_worker_net);
	if (qs_error_retryable(&error) &&
		qs_net_retry(qpsscale_worker_net, &error))
		return;
	if (error.class == QS_ERROR_CREDENTIAL && !call->signed_anew &&
		sign_anew(search, call))
		return;
	give_up(search, call, &error);
}

static void
unpark(Search *search)
{
	List	   *parked = search->parked;
	ListCell   *cell;

	search->parked = NIL;
	foreach(cell, parked)
	{
		QsCall	   *call = lfirst(cell);
		QsError		error;

		qs_error_clear(&error);
		qs_error_set(&error, QS_ERROR_CREDENTIAL, "credentials",
					 "the cloud refused the credentials, and there are no others");
		if (!sign_anew(search, call))
			give_up(search, call, &error);
	}
}

/* One call without its answer ends it: there is no use for half a list. */
static bool
ask(Search *search)
{
	QsDiscovery *found = &search->found;
	QsCallList	calls = {0};
	QsNetResult result;

	qs_error_clear(&found->error);
	qs_error_clear(&found->balancers_error);
	if (!search->provider->directory->begin(search->arena, &search->batch,
											now_us(), found, &calls,
											&found->error))
		return fail_with(search->result, &found->error);
	send_calls(search, &calls);
	while (search->pending > 0 && found->error.class == QS_ERROR_NONE)
	{
		int64		left_ms = search->deadline_ms - qs_net_now_ms();

		if (left_ms <= 0)
			qs_error_set(&found->error, QS_ERROR_TRANSIENT, "deadline",
						 "no answer before the deadline");
		else
		{
			qpsscale_worker_wait(left_ms);
			while (qs_net_next(qpsscale_worker_net, &result))
				take_result(search, &result);
			unpark(search);
		}
	}
	qs_net_cancel_all(qpsscale_worker_net);
	if (found->error.class == QS_ERROR_NONE &&
		!search->provider->directory->finish(search->arena, found))
		qs_error_set(&found->error, QS_ERROR_RESOURCES, "no_memory",
					 "the memory limit of a discovery was reached");
	return found->error.class == QS_ERROR_NONE ||
		fail_with(search->result, &found->error);
}

/* ----------
 * Telling
 * ----------
 */

/* In the database's encoding; *whole turns false where that loses something. */
static const char *
localized(const char *text, bool *whole)
{
	char	   *copy;

	if (text == NULL)
		return NULL;
	copy = pstrdup(text);
	qpsscale_localize(copy);
	if (strcmp(copy, text) != 0)
		*whole = false;
	return copy;
}

static char *
row_of(const Search *search, const QsFoundGroup *group, const char *balancer)
{
	bool		whole = true;
	bool		name_whole;
	const char *asg_id = localized(group->asg_id, &whole);
	const char *alb_id = localized(balancer, &whole);
	const char *note = localized(group->note, &name_whole);
	StringInfoData row;

	if (!whole)
	{
		alb_id = NULL;
		note = "its id cannot be written in this database's encoding";
	}
	else if (group->n_balancers > 1)
		note = psprintf("it has %d load balancers: choose one",
						group->n_balancers);
	initStringInfo(&row);
	qpsscale_json_open(&row, NULL, '{');
	qpsscale_json_text(&row, "provider", search->provider->name);
	qpsscale_json_text(&row, "account", search->account->name);
	qpsscale_json_text(&row, "region", search->batch.region);
	qpsscale_json_text(&row, "asg_id", asg_id);
	qpsscale_json_text(&row, "alb_id", alb_id);
	qpsscale_json_text(&row, "name", localized(group->name, &name_whole));
	qpsscale_json_count(&row, "min_instances", group->min);
	qpsscale_json_count(&row, "max_instances", group->max);
	qpsscale_json_count(&row, "desired", group->desired);
	qpsscale_json_text(&row, "note", note);
	qpsscale_json_close(&row, '}');
	return row.data;
}

static List *
rows_of(const Search *search)
{
	List	   *rows = NIL;

	for (int i = 0; i < search->found.n_groups; i++)
	{
		const QsFoundGroup *group = &search->found.groups[i];

		for (int j = 0; j < Max(group->n_balancers, 1); j++)
			rows = lappend(rows, row_of(search, group, j < group->n_balancers ?
										group->balancers[j] : NULL));
	}
	return rows;
}

static bool
look_through(Search *search, const QpsscaleDiscoveryPlace *place)
{
	bool		found = choose_provider(search, place) &&
		await_credentials(search) && choose_region(search, place) &&
		ask(search);

	qs_account_cleanse(&search->account->cloud);
	return found;
}

bool
qpsscale_discover(const QpsscaleRequest *request, CycleResult *result,
				  List **rows)
{
	Search		search = {.settings = qpsscale_worker_host->settings,
	.result = result};
	StoreSelection selection = {.role = request->role,
	.place = &request->place};
	ErrorData  *error;
	bool		found;

	memset(result, 0, sizeof(*result));
	if (!qpsscale_store_load(&selection, &result->snapshot, &error))
		return qpsscale_load_failed(result, error);
	if (!qpsscale_check_extension(&result->snapshot, result))
		return false;
	search.account = result->snapshot.accounts[0];
	search.arena = qs_arena_new(ARENA_LIMIT);
	if (search.arena == NULL)
		return fail(result, ERRCODE_OUT_OF_MEMORY, "out of memory", NULL);
	search.deadline_ms = qs_net_now_ms() +
		qpsscale_cycle_deadline_ms(search.settings);
	qpsscale_worker_state("discovering");
	found = look_through(&search, &request->place);
	if (found)
		*rows = rows_of(&search);
	qs_arena_free(search.arena);
	return found;
}
