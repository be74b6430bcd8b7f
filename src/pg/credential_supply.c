/*-------------------------------------------------------------------------
 * credential_supply.c
 *		Temporary credentials that this process has fetched, kept until they
 *		expire and renewed before that.
 *
 *	state of a supply		fetch		what its users do
 *	--------------------	---------	------------------------------------
 *	nothing kept			under way	wait, each for itself
 *	nothing kept			failed		are told why; next cycle tries again
 *	kept, fresh				none		use it
 *	kept, to be renewed		under way	use it
 *	kept, to be renewed		failed		use it until it expires, and after that
 *									where the source outlasts it
 *
 * A supply whose credentials come from those of another (a role that is
 * assumed) waits for that one, and has it renewed when its credentials are
 * refused.
 *
 * Nothing here throws but for want of memory, and no transaction is needed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "pg/channels.h"
#include "pg/credential_supply.h"
#include "pg/group.h"
#include "pg/secret_reference.h"
#include "pg/worker.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* All requests of one fetch together. */
#define FETCH_LIMIT_MS		8000

/* Pause after a failed renewal, while the old credentials still serve. */
#define RENEWAL_PAUSE_US	(5 * USECS_PER_SEC)

/* Beyond this many, supplies that nobody has used for a while are dropped. */
#define MANY_SUPPLIES		64
#define UNUSED_US			(10 * SECS_PER_MINUTE * USECS_PER_SEC)

typedef struct Fetch
{
	QsCredentialFetch fetch;
	char		token[QS_CREDENTIAL_TOKEN_MAX];
	QsCredentials base;
	int64		base_serial;
	bool		waits_for_base;
	bool		base_renewed;	/* once a fetch */
	int64		deadline_ms;
} Fetch;

struct QpsscaleSupply
{
	dlist_node	node;
	MemoryContext context;		/* of this and all that it points to */
	QpsscaleSupplyOrder order;
	int64		used_us;

	bool		kept;			/* credentials are there */
	QsCredentials credentials;
	int64		serial;
	int64		expires_us;
	int64		renew_us;
	int64		urgent_us;		/* failures to renew are told from then on */

	Fetch	   *fetch;			/* NULL = none is under way */
	char		bucket[32];		/* of the net: a supply is its own concern */
	int64		pause_until_us; /* no renewal before that */
	bool		complained;
	char		problem[512];
};

static dlist_head supplies = DLIST_STATIC_INIT(supplies);
static int	n_supplies = 0;
static int64 last_serial = 0;
static bool will_forget = false;

static int64
now_us(void)
{
	return qpsscale_unix_us(GetCurrentTimestamp());
}

static void
end_fetch(QpsscaleSupply *supply)
{
	if (supply->fetch == NULL)
		return;
	explicit_bzero(supply->fetch, sizeof(Fetch));
	pfree(supply->fetch);
	supply->fetch = NULL;
}

static void
forget(QpsscaleSupply *supply)
{
	explicit_bzero(&supply->credentials, sizeof(supply->credentials));
	supply->kept = false;
}

static void
forget_all(int code, Datum argument)
{
	dlist_iter	iter;

	dlist_foreach(iter, &supplies)
	{
		QpsscaleSupply *supply = dlist_container(QpsscaleSupply, node,
												 iter.cur);

		forget(supply);
		if (supply->fetch != NULL)
			explicit_bzero(supply->fetch, sizeof(Fetch));
	}
}

/* Whether what is kept still counts; what the cloud refuses is forgotten. */
static bool
is_usable(const QpsscaleSupply *supply)
{
	return supply->kept && (supply->expires_us > now_us() ||
							supply->order.source->outlasts_expiry);
}

/* ----------
 * Fetching
 * ----------
 */
static void
fail(QpsscaleSupply *supply, const char *who, const char *code,
	 const char *message)
{
	snprintf(supply->problem, sizeof(supply->problem), "%s%s%s%s%s", who,
			 who[0] == '\0' ? "" : ": ", code, code[0] == '\0' ? "" : ": ",
			 message);
	supply->pause_until_us = now_us() + RENEWAL_PAUSE_US;
	end_fetch(supply);
}

/*
 * Credentials that live shorter than they should be renewed ahead are renewed
 * at half of their life: else each cycle would ask for new ones.
 */
static void
install(QpsscaleSupply *supply)
{
	const QsCredentialFetch *fetch = &supply->fetch->fetch;
	int64		now = now_us();
	int64		ahead = supply->order.source->refresh_ahead_s * USECS_PER_SEC;
	int64		urgent = supply->order.source->urgent_ahead_s * USECS_PER_SEC;
	int64		life = fetch->expires_at_us - now;

	forget(supply);
	supply->credentials = fetch->credentials;
	supply->kept = true;
	supply->serial = ++last_serial;
	supply->expires_us = fetch->expires_at_us;
	supply->renew_us = supply->expires_us - Min(ahead, life / 2);
	supply->urgent_us = urgent == 0 ? supply->renew_us :
		supply->expires_us - Min(urgent, life / 3);
	supply->problem[0] = '\0';
	supply->complained = false;
	supply->pause_until_us = 0;
	end_fetch(supply);
}

static void
send_request(QpsscaleSupply *supply)
{
	const QsCredentialSource *source = supply->order.source;
	QsNetLimits limits = {0};
	QsError		error;

	limits.deadline_ms = supply->fetch->deadline_ms;
	limits.request_timeout_ms = source->request_timeout_ms;
	limits.connect_timeout_ms = source->connect_timeout_ms;
	limits.bucket = supply->bucket;
	limits.ca_file = supply->order.ca_file;
	if (!qs_net_submit(qpsscale_channel(QPSSCALE_CHANNEL_CREDENTIALS),
					   &supply->fetch->fetch.request, &limits, supply, &error))
		fail(supply, source->name, error.code, error.message);
}

/* From the file or variable, as it is now. */
static bool
read_token(QpsscaleSupply *supply)
{
	const QpsscaleSupplyOrder *order = &supply->order;
	const char *value = order->token_file != NULL ? NULL :
		getenv(order->token_variable);
	char		problem[QPSSCALE_SECRET_PROBLEM] = "the variable is not set";
	char	   *raw = palloc0(QS_CREDENTIAL_TOKEN_MAX);
	ssize_t		length = -1;
	bool		ok;

	if (order->token_file != NULL)
		length = qpsscale_read_secret_file(NULL, order->token_file, false,
										   raw, QS_CREDENTIAL_TOKEN_MAX,
										   problem);
	else if (value != NULL)
		length = strlcpy(raw, value, QS_CREDENTIAL_TOKEN_MAX);
	ok = length >= 0 && strlen(raw) == (size_t) length &&
		qs_credential_line(supply->fetch->token, QS_CREDENTIAL_TOKEN_MAX,
						   raw);
	explicit_bzero(raw, QS_CREDENTIAL_TOKEN_MAX);
	pfree(raw);
	if (!ok)
		fail(supply, order->source->token_name, "", length < 0 ? problem :
			 "what is there is not one");
	return ok;
}

/* The first request, with all that it is made of at hand. */
static void
ask(QpsscaleSupply *supply)
{
	const QpsscaleSupplyOrder *order = &supply->order;
	Fetch	   *fetch = supply->fetch;
	bool		assumes = order->base_supply != NULL || order->base_id != NULL;
	QsCredentialConfig config = {
		.endpoint = order->endpoint,
		.role = order->role,
		.session_name = order->session_name,
		.external_id = order->external_id,
		.policy = order->policy,
		.region = order->region,
		.dual_stack = order->dual_stack,
		.token = fetch->token,
		.base = assumes ? &fetch->base : NULL,
		.now_us = now_us()
	};
	QsError		error;

	if (qs_credential_start(&fetch->fetch, order->source, &config, &error) ==
		QS_CREDENTIAL_ASK)
		send_request(supply);
	else
		fail(supply, "", "", error.message);
}

/* What assumes the role, as soon as it is there. */
static void
ask_with_base(QpsscaleSupply *supply)
{
	QpsscaleSupply *base = supply->order.base_supply;
	Fetch	   *fetch = supply->fetch;

	fetch->waits_for_base = false;
	switch (qpsscale_supply_state(base))
	{
		case SUPPLY_READY:
			fetch->base = base->credentials;
			fetch->base_serial = base->serial;
			ask(supply);
			break;
		case SUPPLY_FETCHING:
			fetch->waits_for_base = true;
			break;
		case SUPPLY_FAILED:
			fail(supply, "", "", base->problem);
			break;
	}
}

static void
begin_fetch(QpsscaleSupply *supply, const QsCredentials *base)
{
	const QpsscaleSupplyOrder *order = &supply->order;

	supply->fetch = MemoryContextAllocZero(supply->context, sizeof(Fetch));
	supply->fetch->deadline_ms = qs_net_now_ms() + FETCH_LIMIT_MS;
	if ((order->token_file != NULL || order->token_variable != NULL) &&
		!read_token(supply))
		return;
	if (order->base_supply != NULL)
	{
		ask_with_base(supply);
		return;
	}
	if (base != NULL)
		supply->fetch->base = *base;
	ask(supply);
}

/*
 * The credentials that should assume a role were refused: they are dropped and
 * fetched once, if they can be without an order of their own.
 */
static bool
renew_base(QpsscaleSupply *supply)
{
	QpsscaleSupply *base = supply->order.base_supply;
	Fetch	   *fetch = supply->fetch;

	if (base == NULL || !fetch->fetch.base_refused || fetch->base_renewed)
		return false;
	fetch->base_renewed = true;
	qpsscale_supply_refused(base, fetch->base_serial);
	if (!base->kept && base->fetch == NULL)
	{
		if (base->order.base_id != NULL)
			return false;		/* the next cycle brings what it needs */
		begin_fetch(base, NULL);
	}
	ask_with_base(supply);
	return true;
}

/*
 * A refusal that may pass is tried again at once; after silence the next cycle
 * is soon enough, as somebody may be waiting.
 */
static void
finish(QsNet *net, QsNetResult *result)
{
	QpsscaleSupply *supply = result->tag;
	QsError		error = result->error;

	if (!result->ok)
	{
		fail(supply, supply->order.source->name, error.code, error.message);
		return;
	}
	switch (qs_credential_reply(&supply->fetch->fetch, &result->reply,
								now_us(), &error))
	{
		case QS_CREDENTIAL_ASK:
			send_request(supply);
			break;
		case QS_CREDENTIAL_DONE:
			install(supply);
			break;
		case QS_CREDENTIAL_FAILED:
			if (renew_base(supply))
				break;
			if (!qs_error_retryable(&error) || !qs_net_retry(net, &error))
				fail(supply, "", "", error.message);
			break;
	}
}

/* Until nobody's wait has ended: a role may be assumed by a role. */
static void
go_on_with_bases(void)
{
	bool		moved = true;

	while (moved)
	{
		dlist_iter	iter;

		moved = false;
		dlist_foreach(iter, &supplies)
		{
			QpsscaleSupply *supply = dlist_container(QpsscaleSupply, node,
													 iter.cur);

			if (supply->fetch == NULL || !supply->fetch->waits_for_base ||
				qpsscale_supply_state(supply->order.base_supply) ==
				SUPPLY_FETCHING)
				continue;
			ask_with_base(supply);
			moved = true;
		}
	}
}

void
qpsscale_supplies_collect(void)
{
	QsNet	   *net;
	QsNetResult result;

	if (n_supplies == 0)
		return;
	net = qpsscale_channel(QPSSCALE_CHANNEL_CREDENTIALS);
	while (qs_net_next(net, &result))
		finish(net, &result);
	go_on_with_bases();
}

/* ----------
 * Supplies
 * ----------
 */
static bool
same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool
is_order(const QpsscaleSupplyOrder *a, const QpsscaleSupplyOrder *b)
{
	return a->source == b->source && same(a->endpoint, b->endpoint) &&
		same(a->role, b->role) && same(a->session_name, b->session_name) &&
		same(a->external_id, b->external_id) && same(a->policy, b->policy) &&
		same(a->region, b->region) && same(a->token_file, b->token_file) &&
		same(a->token_variable, b->token_variable) &&
		same(a->ca_file, b->ca_file) && same(a->base_id, b->base_id) &&
		a->base_supply == b->base_supply && a->dual_stack == b->dual_stack;
}

static char *
copy(MemoryContext context, const char *text)
{
	return text == NULL ? NULL : MemoryContextStrdup(context, text);
}

static QpsscaleSupply *
make_supply(const QpsscaleSupplyOrder *order)
{
	static int64 made = 0;
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "qpsscale credentials",
												  ALLOCSET_SMALL_SIZES);
	QpsscaleSupply *supply = MemoryContextAllocZero(context,
													sizeof(QpsscaleSupply));

	if (!will_forget)
		on_proc_exit(forget_all, 0);
	will_forget = true;
	supply->context = context;
	snprintf(supply->bucket, sizeof(supply->bucket), "supply " INT64_FORMAT,
			 ++made);
	supply->order = *order;
	supply->order.endpoint = copy(context, order->endpoint);
	supply->order.role = copy(context, order->role);
	supply->order.session_name = copy(context, order->session_name);
	supply->order.external_id = copy(context, order->external_id);
	supply->order.policy = copy(context, order->policy);
	supply->order.region = copy(context, order->region);
	supply->order.token_file = copy(context, order->token_file);
	supply->order.token_variable = copy(context, order->token_variable);
	supply->order.ca_file = copy(context, order->ca_file);
	supply->order.base_id = copy(context, order->base_id);
	supply->order.base = NULL;
	dlist_push_head(&supplies, &supply->node);
	n_supplies++;
	return supply;
}

static bool
is_base(const QpsscaleSupply *supply)
{
	dlist_iter	iter;

	dlist_foreach(iter, &supplies)
		if (dlist_container(QpsscaleSupply, node,
							iter.cur)->order.base_supply == supply)
			return true;
	return false;
}

/* Accounts come and go, and what was fetched for the gone ones is a secret. */
static void
drop_unused(void)
{
	dlist_mutable_iter iter;
	int64		limit = now_us() - UNUSED_US;

	dlist_foreach_modify(iter, &supplies)
	{
		QpsscaleSupply *supply = dlist_container(QpsscaleSupply, node,
												 iter.cur);

		if (supply->fetch != NULL || supply->used_us > limit ||
			is_base(supply))
			continue;
		dlist_delete(&supply->node);
		n_supplies--;
		forget(supply);
		MemoryContextDelete(supply->context);
	}
}

static QpsscaleSupply *
find_supply(const QpsscaleSupplyOrder *order)
{
	dlist_iter	iter;

	dlist_foreach(iter, &supplies)
	{
		QpsscaleSupply *supply = dlist_container(QpsscaleSupply, node,
												 iter.cur);

		if (is_order(&supply->order, order))
			return supply;
	}
	if (n_supplies >= MANY_SUPPLIES)
		drop_unused();
	return make_supply(order);
}

QpsscaleSupply *
qpsscale_supply(const QpsscaleSupplyOrder *order)
{
	QpsscaleSupply *supply = find_supply(order);
	int64		now = now_us();

	supply->used_us = now;
	if (supply->kept && !is_usable(supply))
		forget(supply);
	if (supply->fetch == NULL &&
		(!supply->kept ||
		 (supply->renew_us <= now && supply->pause_until_us <= now)))
		begin_fetch(supply, order->base);
	return supply;
}

QpsscaleSupplyState
qpsscale_supply_state(const QpsscaleSupply *supply)
{
	if (is_usable(supply))
		return SUPPLY_READY;
	return supply->fetch != NULL ? SUPPLY_FETCHING : SUPPLY_FAILED;
}

const char *
qpsscale_supply_problem(const QpsscaleSupply *supply)
{
	return supply->problem;
}

int64
qpsscale_supply_serial(const QpsscaleSupply *supply)
{
	return supply->serial;
}

void
qpsscale_supply_take(const QpsscaleSupply *supply, QsCredentials *credentials)
{
	*credentials = supply->credentials;
}

void
qpsscale_supply_refused(QpsscaleSupply *supply, int64 serial)
{
	if (!supply->kept || supply->serial != serial)
		return;
	forget(supply);
}

const char *
qpsscale_supplies_complaint(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &supplies)
	{
		QpsscaleSupply *supply = dlist_container(QpsscaleSupply, node,
												 iter.cur);

		if (supply->problem[0] == '\0' || supply->complained ||
			!is_usable(supply) || supply->urgent_us > now_us())
			continue;
		supply->complained = true;
		return psprintf("credentials could not be renewed: %s; those at hand serve until %s%s",
						supply->problem,
						timestamptz_to_str(qpsscale_timestamptz(supply->expires_us)),
						supply->order.source->outlasts_expiry ?
						", and then as long as the cloud takes them" : "");
	}
	return NULL;
}
