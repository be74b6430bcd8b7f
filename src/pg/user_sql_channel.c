/*-------------------------------------------------------------------------
 * user_sql_channel.c
 *		Orders of the worker to the process that runs SQL of users, and what
 *		became of them.
 *
 * Orders wait here, one at a time is given.  Changes go first; then what
 * answered when it was asked last; then what failed.  Of these, owner by owner,
 * since each has a process of his own, those who were asked the longest ago
 * come first: time that is too short for all is everybody's turn by turn.  Reading
 * may begin in the first half of a cycle: the other half is for those that
 * have begun, and for changes.
 *
 * An order that failed three times in a row is left out, for 10 s and doubling
 * to 5 minutes, unless somebody asks for that group: it costs nobody
 * else the time that it takes to fail.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "pg/user_sql_process.h"
#include "pg/worker.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* The process has been given its limit, and this much to keep to it. */
#define END_AFTER_MS		2000
#define LEAVE_AFTER_MS		3000

/* From its registration until it takes orders. */
#define START_MS			10000

#define IDLE_MS				60000
#define LOOK_MS				100

#define PATIENCE			3	/* failures in a row */
#define FIRST_PAUSE_MS		10000
#define LONGEST_PAUSE_MS	300000
#define MAX_REMEMBERED		50000

/* How an order has fared, from cycle to cycle. */
typedef struct RecordKey
{
	int64		group_id;
	uint32		text;			/* hash of owner and text */
	uint32		kind;
} RecordKey;

typedef struct Record
{
	RecordKey	key;
	int			failures;		/* in a row */
	int64		asked_ms;
	int64		pause_until_ms;
	QsError		error;			/* of the last failure */
} Record;

/* When an owner's turn came last. */
typedef struct Turn
{
	char		owner[NAMEDATALEN]; /* key */
	int64		came_ms;
} Turn;

typedef struct Order
{
	UserSqlCall *call;
	int64		begin_by_ms;
	int64		deadline_ms;
	int			failures;
	int64		asked_ms;
	int64		turn_ms;
} Order;

typedef struct Result
{
	UserSqlCall *call;
	bool		ok;
	bool		sent;
	QsError		error;
	UserSqlAnswer answer;
	int			elapsed_ms;
} Result;

static HTAB *records = NULL;
static HTAB *turns = NULL;
static List *waiting = NIL;		/* of Order; sorted unless unsorted */
static bool unsorted = false;
static Order *running = NULL;
static bool unwanted = false;	/* the running one's answer */
static bool told_to_end = false;
static int64 given_ms = 0;
static int64 limit_ms = 0;		/* of the running order */
static int64 last_used_ms = 0;
static bool begun = false;		/* the process takes orders */
static List *results = NIL;		/* of Result */

/* ----------
 * What is remembered
 * ----------
 */
static Record *
record_of(const UserSqlCall *call)
{
	RecordKey	key;
	Record	   *record;
	bool		found;

	if (records != NULL && hash_get_num_entries(records) > MAX_REMEMBERED)
	{
		hash_destroy(records);
		records = NULL;
	}
	if (records == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(RecordKey);
		control.entrysize = sizeof(Record);
		control.hcxt = TopMemoryContext;
		records = hash_create("qpsscale user SQL", 256, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&key, 0, sizeof(key));
	key.group_id = call->group_id;
	key.kind = call->kind;
	key.text = hash_combine(hash_bytes((const unsigned char *) call->text,
									   strlen(call->text)),
							hash_bytes((const unsigned char *) call->owner,
									   strlen(call->owner)));
	record = hash_search(records, &key, HASH_ENTER, &found);
	if (!found)
		memset((char *) record + sizeof(key), 0, sizeof(*record) - sizeof(key));
	return record;
}

static Turn *
turn_of(const char *owner)
{
	char		key[NAMEDATALEN] = "";
	Turn	   *turn;
	bool		found;

	if (turns != NULL && hash_get_num_entries(turns) > MAX_REMEMBERED)
	{
		hash_destroy(turns);
		turns = NULL;
	}
	if (turns == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = NAMEDATALEN;
		control.entrysize = sizeof(Turn);
		control.hcxt = TopMemoryContext;
		turns = hash_create("qpsscale turns of user SQL", 32, &control,
							HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	}
	strlcpy(key, owner, sizeof(key));
	turn = hash_search(turns, key, HASH_ENTER, &found);
	if (!found)
		turn->came_ms = 0;
	return turn;
}

static void
note_outcome(const UserSqlCall *call, const QsError *error)
{
	Record	   *record;

	if (call->kind == USER_SQL_SET)
		return;					/* the circuit breaker's business */
	record = record_of(call);
	if (error->class == QS_ERROR_NONE)
	{
		record->failures = 0;
		record->pause_until_ms = 0;
		return;
	}
	record->error = *error;
	if (++record->failures >= PATIENCE)
		record->pause_until_ms = qs_net_now_ms() +
			Min((int64) FIRST_PAUSE_MS << Min(record->failures - PATIENCE, 10),
				LONGEST_PAUSE_MS);
}

/* ----------
 * Results
 * ----------
 */
static void
add_result(Order *order, bool sent, const UserSqlAnswer *answer,
		   const QsError *error)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Result	   *result = palloc0(sizeof(Result));

	result->call = order->call;
	result->sent = sent;
	result->ok = answer != NULL;
	if (answer != NULL)
	{
		result->answer = *answer;
		result->elapsed_ms = (int) (qs_net_now_ms() - given_ms);
	}
	else
		result->error = *error;
	results = lappend(results, result);
	MemoryContextSwitchTo(old);
	pfree(order);
}

static void
fail_order(Order *order, bool sent, QsErrorClass class, const char *code,
		   const char *why)
{
	QsError		error;

	qs_error_clear(&error);
	qs_error_set(&error, class, code, "%s", why);
	if (sent)
		note_outcome(order->call, &error);
	add_result(order, sent, NULL, &error);
}

/* A refusal is an answer; what it means for the order's future is told here,
 * as it is the same for all kinds. */
static void
take_answer(Order *order, const UserSqlAnswer *answer)
{
	QsError		error;

	qs_error_clear(&error);
	if (answer->outcome == USER_SQL_FAILED)
		qs_error_set(&error, QS_ERROR_TERMINAL, answer->code, "%s",
					 answer->message);
	note_outcome(order->call, &error);
	add_result(order, true, answer, NULL);
}

bool
qpsscale_user_sql_next(QsNetResult *result)
{
	static Result taken;
	Result	   *first;

	if (results == NIL)
		return false;
	first = linitial(results);
	taken = *first;
	pfree(first);
	results = list_delete_first(results);
	memset(result, 0, sizeof(*result));
	result->tag = &taken.call->base;
	result->ok = taken.ok;
	result->sent = taken.sent;
	result->error = taken.error;
	result->attempts = taken.sent;
	result->elapsed_ms = taken.elapsed_ms;
	if (taken.ok)
	{
		result->reply.status = 200;
		result->reply.content_type = "";
		result->reply.body = (const char *) &taken.answer;
		result->reply.body_length = sizeof(taken.answer);
		result->reply.retry_after_ms = -1;
		result->reply.date_epoch_s = -1;
	}
	return true;
}

/* ----------
 * Submitting
 * ----------
 */
static Order *
make_order(UserSqlCall *call, int64 deadline_ms)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Order	   *order = palloc0(sizeof(Order));
	int64		now_ms = qs_net_now_ms();

	order->call = call;
	order->deadline_ms = deadline_ms;
	order->begin_by_ms = deadline_ms;
	if (call->kind != USER_SQL_SET)
	{
		Record	   *record = record_of(call);

		order->begin_by_ms = now_ms + (deadline_ms - now_ms) / 2;
		order->failures = record->failures;
		order->asked_ms = record->asked_ms;
		order->turn_ms = turn_of(call->owner)->came_ms;
	}
	waiting = lappend(waiting, order);
	unsorted = true;
	MemoryContextSwitchTo(old);
	return order;
}

bool
qpsscale_user_sql_submit(UserSqlCall *call, int64 deadline_ms, bool insist,
						 QsError *error)
{
	qs_error_clear(error);
	if (strlen(call->text) + strlen(call->target) + 2 >
		QPSSCALE_USER_SQL_MAX_TEXT)
		return qs_error_set(error, QS_ERROR_TERMINAL, "too_long",
							"the text is longer than %d bytes",
							QPSSCALE_USER_SQL_MAX_TEXT);
	if (!insist && call->kind != USER_SQL_SET)
	{
		const Record *record = record_of(call);

		if (qs_net_now_ms() < record->pause_until_ms)
		{
			*error = record->error;
			return false;
		}
	}
	(void) make_order(call, deadline_ms);
	return true;
}

static int
order_rank(const Order *order)
{
	if (order->call->kind == USER_SQL_SET)
		return 0;
	return order->failures == 0 ? 1 : 2;
}

static int
compare_orders(const ListCell *a, const ListCell *b)
{
	const Order *left = lfirst(a);
	const Order *right = lfirst(b);
	int			difference = order_rank(left) - order_rank(right);

	if (difference != 0)
		return difference;
	if (left->turn_ms != right->turn_ms)
		return left->turn_ms < right->turn_ms ? -1 : 1;
	difference = strcmp(left->call->owner, right->call->owner);
	if (difference != 0)
		return difference;
	if (left->asked_ms != right->asked_ms)
		return left->asked_ms < right->asked_ms ? -1 : 1;
	return left->call->group_id < right->call->group_id ? -1 :
		left->call->group_id > right->call->group_id;
}

/* ----------
 * Giving orders and taking answers
 * ----------
 */
static void
give(Order *order)
{
	const UserSqlCall *call = order->call;
	int64		now_ms = qs_net_now_ms();
	Size		text = strlen(call->text) + 1;
	Size		target = strlen(call->target) + 1;
	Size		length = offsetof(UserSqlOrder, strings) + text + target;
	UserSqlOrder *message = palloc0(length);

	message->kind = call->kind;
	message->desired = call->desired;
	message->timeout_ms = (int)
		Max(Min(qpsscale_worker_host->settings->sql_timeout_ms,
				order->deadline_ms - now_ms), 1);
	strlcpy(message->owner, call->owner, sizeof(message->owner));
	memcpy(message->strings, call->text, text);
	memcpy(message->strings + text, call->target, target);
	turn_of(call->owner)->came_ms = now_ms;
	if (call->kind != USER_SQL_SET)
		record_of(call)->asked_ms = now_ms;
	running = order;
	unwanted = false;
	told_to_end = begun = false;
	given_ms = last_used_ms = now_ms;
	limit_ms = message->timeout_ms;
	if (!qpsscale_user_sql_tell(message, length))
	{
		qpsscale_user_sql_leave(true);
		running = NULL;
		fail_order(order, false, QS_ERROR_RESOURCES, "sql_process_ended",
				   "the process that runs SQL of users has gone");
	}
	pfree(message);
}

static void
lose_running(const char *why)
{
	Order	   *order = running;

	qpsscale_user_sql_leave(true);
	running = NULL;
	if (unwanted)
		pfree(order);
	else
		fail_order(order, true, QS_ERROR_TRANSIENT, "sql_process_ended", why);
}

static void
hear(void)
{
	UserSqlAnswer answer;

	if (!qpsscale_user_sql_exists())
		return;
	switch (qpsscale_user_sql_hear(&answer))
	{
		case USER_SQL_NO_NEWS:
			return;
		case USER_SQL_LOST:
			if (running != NULL)
				lose_running("the process that runs SQL of users ended while it ran this; the server log says why");
			else
				qpsscale_user_sql_leave(false);
			return;
		case USER_SQL_ANSWERED:
			break;
	}
	last_used_ms = qs_net_now_ms();
	if (running == NULL)
		return;
	if (unwanted)
		pfree(running);
	else
		take_answer(running, &answer);
	running = NULL;
}

/* The process keeps the time itself; what does not let it is dealt with here. */
static void
watch(void)
{
	int64		spent_ms = qs_net_now_ms() - given_ms;

	if (running == NULL)
		return;
	if (!begun)
	{
		begun = qpsscale_user_sql_attached();
		if (begun)
			given_ms = qs_net_now_ms();
		else if (spent_ms > START_MS)
			lose_running("the process that runs SQL of users did not start in time");
		return;
	}
	if (spent_ms > limit_ms + LEAVE_AFTER_MS)
		lose_running("it could neither be canceled nor ended in time");
	else if (spent_ms > limit_ms + END_AFTER_MS && !told_to_end)
	{
		qpsscale_user_sql_terminate();
		told_to_end = true;
	}
}

/* Those whose time to begin is over; looked at now and then, as there may be
 * thousands. */
static void
drop_late_orders(const char *why_none)
{
	static int64 looked_ms = 0;
	int64		now_ms = qs_net_now_ms();
	ListCell   *cell;

	if (waiting == NIL || now_ms - looked_ms < LOOK_MS / 2)
		return;
	looked_ms = now_ms;
	foreach(cell, waiting)
	{
		Order	   *order = lfirst(cell);

		if (now_ms < order->begin_by_ms)
			continue;
		waiting = foreach_delete_current(waiting, cell);
		if (why_none != NULL)
			fail_order(order, false, QS_ERROR_RESOURCES, "no_sql_process",
					   why_none);
		else if (order->call->kind == USER_SQL_SET)
			fail_order(order, false, QS_ERROR_RESOURCES, "deadline",
					   "the cycle's deadline had passed before the call");
		else
			fail_order(order, false, QS_ERROR_RESOURCES, "sql_budget",
					   "other SQL of this tick took all of the time");
	}
}

/* The next one, as soon as there is a process for its owner. */
static const char *
give_next(void)
{
	const char *why = NULL;

	while (waiting != NIL && running == NULL)
	{
		Order	   *first = linitial(waiting);

		if (!qpsscale_user_sql_process(first->call->owner, &why))
			return why;
		waiting = list_delete_first(waiting);
		give(first);
	}
	return NULL;
}

void
qpsscale_user_sql_drive(void)
{
	hear();
	watch();
	if (unsorted)
		list_sort(waiting, compare_orders);
	unsorted = false;
	drop_late_orders(give_next());
	if (waiting == NIL && running == NULL && qpsscale_user_sql_exists() &&
		qs_net_now_ms() - last_used_ms > IDLE_MS)
		qpsscale_user_sql_leave(false);
}

bool
qpsscale_user_sql_busy(void)
{
	return waiting != NIL || results != NIL || (running != NULL && !unwanted);
}

int64
qpsscale_user_sql_timeout_ms(void)
{
	if (results != NIL || unsorted)
		return 0;
	return waiting != NIL || running != NULL ? LOOK_MS : -1;
}

/* ----------
 * Taking back
 * ----------
 */
void
qpsscale_user_sql_withdraw_changes(void)
{
	ListCell   *cell;

	foreach(cell, waiting)
	{
		Order	   *order = lfirst(cell);

		if (order->call->kind != USER_SQL_SET)
			continue;
		waiting = foreach_delete_current(waiting, cell);
		fail_order(order, false, QS_ERROR_TERMINAL, "withdrawn",
				   "the call was withdrawn before it was made");
	}
}

void
qpsscale_user_sql_cancel_all(void)
{
	list_free_deep(waiting);
	list_free_deep(results);
	waiting = results = NIL;
	unwanted = running != NULL;
}
