/*-------------------------------------------------------------------------
 * user_sql_provider.c
 *		SQL of users as a provider: queries that are signals, and groups whose
 *		capacity functions read and set.
 *
 * Its calls have no HTTP request: observe.c hands them to
 * user_sql_channel.c, and the reply's body is a UserSqlAnswer.  Functions are
 * called with asg_id, which names what is scaled.
 *
 * There is nothing behind the functions that could be asked for activities of
 * its own: what was accepted has succeeded when the getter says so.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/group.h"
#include "pg/user_sql.h"
#include "utils/timestamp.h"

const QsProvider *
qpsscale_provider_by_name(const char *name)
{
	if (strcmp(name, qpsscale_provider_sql.name) == 0)
		return &qpsscale_provider_sql;
	return qs_provider_by_name(name);
}

const char *
qpsscale_user_sql_hint(const QsError *error)
{
	static const char *const hints[][2] = {
		{"sql_timeout", "Make it faster, or raise qpsscale.sql_timeout."},
		{"sql_budget", "Make SQL of groups faster, or raise qpsscale.interval."},
		{"sql_process_ended", "It must heed a cancellation; the server log says how the process ended."},
		{"no_sql_process", "The message and the server log say why there is none."},
		{"owner_missing", "Set owner to an existing role."},
		{"function_missing", "CREATE FUNCTION makes it; get_capacity takes text, set_capacity text and integer."},
		{"too_long", "Put it into a function."},
		{"not_one_select", "Write one SELECT; what needs more goes into a function."},
		{"not_one_column", "SELECT the number alone."},
		{"not_a_number", "Cast it to double precision."},
		{"not_one_row", "Aggregate the rows, or select one of them."},
		{"not_a_count", "Return a whole number of instances, not below zero."},
		{"no_desired", "Have the function know this asg_id, or mend asg_id."},
	};

	for (size_t i = 0; i < lengthof(hints); i++)
		if (strcmp(error->code, hints[i][0]) == 0)
			return hints[i][1];
	/* an SQLSTATE: no cloud's code is one */
	if (strlen(error->code) == 5 &&
		strspn(error->code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5)
		return "It runs as the owner of the group, read only if it reads, with the search path pg_catalog, pg_temp.";
	return NULL;
}

static bool
no_memory(QsError *error)
{
	return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
						"out of memory");
}

/* One call for one target. */
static UserSqlCall *
make_call(QsArena *arena, const QsBatch *batch, QsTarget *target,
		  QsCallKind kind, QsError *error)
{
	const QpsscaleGroup *group = target->user;
	UserSqlCall *call = qs_arena_alloc(arena, sizeof(UserSqlCall));
	QsTarget  **targets = qs_arena_alloc_array(arena, 1, sizeof(*targets));

	qs_error_clear(error);
	if (call == NULL || targets == NULL)
	{
		no_memory(error);
		return NULL;
	}
	memset(call, 0, sizeof(*call));
	targets[0] = target;
	if (!qs_call_init(arena, &call->base, batch, kind, targets, 1))
	{
		no_memory(error);
		return NULL;
	}
	call->group_id = group->id;
	call->owner = group->owner;
	call->target = target->asg_id;
	return call;
}

static bool
sql_observe(QsArena *arena, const QsBatch *batch, int metric_period_s,
			int64_t now_us, QsCallList *calls, QsError *error)
{
	for (int i = 0; i < batch->n_targets; i++)
	{
		QsTarget   *target = batch->targets[i];
		const QpsscaleGroup *group = target->user;
		UserSqlCall *call;

		qs_target_forget(target);
		call = make_call(arena, batch, target, QS_CALL_CAPACITY, error);
		if (call == NULL || !qs_call_list_add(arena, calls, &call->base))
			return no_memory(error);
		call->kind = USER_SQL_GET;
		call->text = group->get_capacity;
	}
	return true;
}

static bool
sql_observe_signals(QsArena *arena, const QsBatch *batch, int metric_period_s,
					int64_t now_us, QsCallList *calls, QsError *error)
{
	for (int i = 0; i < batch->n_targets; i++)
	{
		QsTarget   *target = batch->targets[i];
		UserSqlCall *call = make_call(arena, batch, target, QS_CALL_SIGNAL,
									  error);

		if (call == NULL || !qs_call_list_add(arena, calls, &call->base))
			return no_memory(error);
		call->kind = USER_SQL_SIGNAL;
		call->text = target->query->query;
		call->target = "";
	}
	return true;
}

/* The getter says it, or that all are there: nobody asks. */
static QsCall *
sql_ask_in_service(QsArena *arena, const QsBatch *batch, QsTarget *target,
				   int64_t now_us, QsError *error)
{
	qs_error_set(error, QS_ERROR_TERMINAL, "unknown_call",
				 "instances in service are not asked for by themselves");
	return NULL;
}

static QsCall *
sql_set_capacity(QsArena *arena, const QsBatch *batch, QsTarget *target,
				 int desired, int64_t now_us, QsError *error)
{
	const QpsscaleGroup *group = target->user;
	UserSqlCall *call = make_call(arena, batch, target, QS_CALL_SET_CAPACITY,
								  error);

	if (call == NULL)
		return NULL;
	call->kind = USER_SQL_SET;
	call->text = group->set_capacity;
	call->desired = desired;
	return &call->base;
}

static int
first_known(int count, int otherwise)
{
	return count != QS_UNKNOWN ? count : otherwise;
}

/* What a getter does not tell is as if all had gone well. */
static void
take_capacity(const UserSqlAnswer *answer, QsCapacity *capacity)
{
	capacity->known = true;
	capacity->desired = answer->desired;
	capacity->total = first_known(answer->total,
								  first_known(answer->in_service,
											  answer->desired));
	capacity->in_service = first_known(answer->in_service, capacity->total);
	capacity->min = first_known(answer->min, 0);
	capacity->max = first_known(answer->max, QS_MAX_INSTANCES);
	capacity->active = true;
	capacity->scale_out_suspended = false;
	capacity->scale_in_suspended = false;
}

static void
take_reading(const UserSqlAnswer *answer, int64 now_us, QsReading *reading)
{
	memset(reading, 0, sizeof(*reading));
	reading->state = answer->outcome == USER_SQL_EMPTY ? QS_READING_EMPTY :
		QS_READING_KNOWN;
	reading->value = answer->value;
	reading->at_us = now_us;
}

/* A failure was rolled back, so a change that failed was not applied. */
static bool
sql_parse(QsArena *arena, QsCall *call, const QsHttpReply *reply,
		  int64_t now_us, QsCallList *follow_up, QsError *error)
{
	QsTarget   *target = call->targets[0];
	UserSqlAnswer answer;

	if (reply->body_length != sizeof(answer))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed",
							"the answer of user SQL is malformed");
	memcpy(&answer, reply->body, sizeof(answer));
	if (answer.outcome == USER_SQL_FAILED)
	{
		qs_error_set(error, QS_ERROR_TERMINAL, answer.code, "%s",
					 answer.message);
		error->refused = true;
		return false;
	}
	switch (call->kind)
	{
		case QS_CALL_CAPACITY:
			take_capacity(&answer, &target->capacity);
			return true;
		case QS_CALL_SIGNAL:
			take_reading(&answer, now_us, &target->reading);
			return true;
		case QS_CALL_SET_CAPACITY:
			target->set_accepted = true;
			return true;
		default:
			return qs_error_set(error, QS_ERROR_TERMINAL, "unknown_call",
								"no such kind of call");
	}
}

static void
sql_abandon(QsCall *call, const QsError *error)
{
	qs_call_charge(call, error);
}

const QsProvider qpsscale_provider_sql = {
	.name = QPSSCALE_USER_SQL_PROVIDER,
	.writes_while_busy = true,
	.has_no_regions = true,
	.observe = sql_observe,
	.observe_signals = sql_observe_signals,
	.ask_in_service = sql_ask_in_service,
	.set_capacity = sql_set_capacity,
	.parse = sql_parse,
	.abandon = sql_abandon,
	.settle = qs_targets_settle,
};
