/*-------------------------------------------------------------------------
 * cycle.c
 *		One cycle: load, observe, decide, intend, act, record.
 *
 * Each group walks through the stages of group.h on its own: as soon as its
 * answers are there it is decided, and asked more if it is about to act.  Two
 * points gather groups: the intent transaction and the record transaction.
 * Normally everybody arrives and there is one of each; a group that hangs is
 * left behind after a grace period and follows in a transaction of its own, so
 * that it costs nobody else the tick.
 *
 * Between qpsscale_store_load() and the end no transaction is open except
 * inside qpsscale_store_intend() and qpsscale_store_record(), and those wait
 * for nothing but the database.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "core/utilization.h"
#include "miscadmin.h"
#include "pg/crash_points.h"
#include "pg/account_index.h"
#include "pg/backfill.h"
#include "pg/conflict.h"
#include "pg/cycle.h"
#include "pg/execution.h"
#include "pg/explain.h"
#include "pg/intervention.h"
#include "pg/observe.h"
#include "pg/predictors.h"
#include "pg/resolution.h"
#include "pg/seal.h"
#include "pg/user_sql.h"
#include "pg/worker.h"
#include "utils/float.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Those who are late get twice as long as the others' calls, but at least: */
#define GRACE_MS	20

typedef struct Cycle
{
	const CycleRequest *request;
	const QpsscaleSettings *settings;
	StoreSnapshot *snapshot;
	Observer	observer;
	int			in_stage[STAGE_FINISHED + 1];
	int64		started_ms;
	int64		act_started_ms;
	int64		flushed_ms;		/* when groups that had arrived last went on */
	bool		over;			/* deadline passed: nothing more is asked */
} Cycle;

/* SQL of users is asked one by one: those that wait for each other to share a
 * transaction wait for it no longer than this. */
#define SQL_PATIENCE_MS		500

/* One arena per process: its first block is kept from cycle to cycle. */
#define ARENA_LIMIT		((size_t) 1024 * 1024 * 1024)

static QsArena *arena = NULL;

static void
enter(Cycle *cycle, QpsscaleGroup *group, GroupStage stage)
{
	cycle->in_stage[group->stage]--;
	cycle->in_stage[stage]++;
	group->stage = stage;
}

static void
localize_error(QsError *error)
{
	qpsscale_localize(error->code);
	qpsscale_localize(error->message);
}

static void
note_error(QpsscaleGroup *group, const char *source, const QsError *error)
{
	if (error->class == QS_ERROR_NONE || group->error_source != NULL)
		return;
	group->error_source = source;
	group->error = *error;
	group->error_message = error->code[0] == '\0' ? pstrdup(error->message) :
		psprintf("%s: %s", error->code, error->message);
}

/* ----------
 * Deciding
 * ----------
 */

/* Are the instances of an accepted scale-up all there, and do they serve? */
static bool
wants_in_service(const QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;
	const QsCapacity *capacity = &group->target.capacity;

	/* or has something come of what the cloud did not deliver? */
	if (group->stock_out.unfulfilled > 0 && capacity->known &&
		capacity->total > group->stock_out.fulfilled)
		return true;
	return open->status == ACTIVITY_ACCEPTED && capacity->known &&
		open->desired >= open->base && capacity->desired == open->desired &&
		capacity->total == open->desired;
}

/* What people see of a signal that is made of pods; NaN: nothing. */
static double
percent_used(const QsSignal *signal, int64 now)
{
	const QsReading *reading = &signal->reading;
	QsUtilization u;

	qs_utilization(reading->pods, reading->n_pods, reading->is_memory,
				   signal->target, signal->tolerance, 0, now, &u);
	return u.problem != NULL ? get_float8_nan() : u.percent;
}

/* The end of the newest point that was there to be read. */
static TimestampTz
observed_at(const Observer *observer)
{
	return qpsscale_timestamptz(observer->bucket *
								Max(observer->metric_resolution_s, 1) *
								USECS_PER_SEC);
}

static void
decide(QpsscaleGroup *group)
{
	group->decided_at = GetCurrentTimestamp();
	for (int i = 0; i < group->n_signals; i++)
	{
		QsSignal   *signal = &group->signals[i];

		signal->asked = group->sources[i].batched;
		signal->reading = group->sources[i].target.reading;
		if (signal->reading.n_pods > 0)
			signal->reading.value =
				percent_used(signal, qpsscale_unix_us(group->decided_at));
	}
	if (group->observed_at != 0)
		qpsscale_predict(group, group->observed_at);
	qs_decide(&group->policy, &group->target.load, &group->target.capacity,
			  &group->target.activity, group->signals, group->n_signals,
			  &group->history,
			  qpsscale_unix_us(group->decided_at), &group->decision);
}

/* The cloud could not even be asked: say that, not "no metrics". */
static void
decide_without_account(QpsscaleGroup *group, const char *problem)
{
	QsError		error;

	qs_error_clear(&error);
	qs_error_set(&error, QS_ERROR_CREDENTIAL, "", "%s", problem);
	note_error(group, "account", &error);
	decide(group);
	group->decision.reason = QS_REASON_EVALUATION_ERROR;
}

static void
log_decision(const Cycle *cycle, const QpsscaleGroup *group)
{
	if (!cycle->settings->detailed_logging)
		return;
	ereport(qpsscale_elevel(LOG),
			(errmsg("resource group \"%s\": %s, %s (load %.1f, desired %d, optimal %d)",
					group->name, qs_action_name(group->decision.action),
					qs_reason_name(group->decision.reason),
					group->decision.load_qps, group->decision.base,
					group->decision.optimal)));
}

static void
decided(Cycle *cycle, QpsscaleGroup *group)
{
	QsTarget   *target = &group->target;

	localize_error(&target->capacity_error);
	localize_error(&target->load_error);
	localize_error(&target->activity_error);
	localize_error(&target->in_service_error);
	note_error(group, "capacity", &target->capacity_error);
	note_error(group, "load", &target->load_error);
	/* what may not be listed does not stop a group; validate tells */
	if (!target->activity.known || target->activity.rival)
		note_error(group, "activities", &target->activity_error);
	note_error(group, "in_service", &target->in_service_error);
	for (int i = 0; i < group->n_signals; i++)
	{
		QsError    *error = &group->sources[i].target.reading_error;

		localize_error(error);
		note_error(group, psprintf("signal %s", group->signals[i].name),
				   error);
	}
	log_decision(cycle, group);
	enter(cycle, group, STAGE_DECIDED);
	QPSSCALE_CRASH_POINT(decided);
}

static void
refuse_account(Cycle *cycle, QpsscaleGroup *group, const char *problem)
{
	qpsscale_resolve_open(group, cycle->settings);
	decide_without_account(group, problem);
	decided(cycle, group);
}

/*
 * All answers that were asked for are there: decide, or ask what a group about
 * to act needs.
 */
static void
consider(Cycle *cycle, QpsscaleGroup *group)
{
	bool		in_service;
	bool		activities;
	bool		vetoes;

	qpsscale_resolve_open(group, cycle->settings);
	group->observed_at = observed_at(&cycle->observer);
	decide(group);

	/* where the capacity's answer says it, it is known already */
	in_service = !cycle->over && !group->asked_in_service &&
		group->target.capacity.known &&
		group->target.capacity.in_service == QS_UNKNOWN &&
		(group->decision.needs_in_service || wants_in_service(group) ||
		 cycle->request->validate);
	activities = !cycle->over && !group->asked_activities &&
		group->batch != NULL &&
		(group->decision.needs_activities || cycle->request->validate ||
		 qpsscale_changed_by_others(group));
	vetoes = !cycle->over && !group->asked_vetoes &&
		(group->decision.needs_vetoes || cycle->request->validate);
	if (!in_service && !activities && !vetoes)
	{
		decided(cycle, group);
		return;
	}
	enter(cycle, group, STAGE_CHECKING);
	/* not ready before both were asked, even if one fails at once */
	group->pending[QS_CALL_IN_SERVICE]++;
	if (in_service)
		qpsscale_ask_in_service(&cycle->observer, group);
	if (activities)
		qpsscale_ask_activities(&cycle->observer, group);
	if (activities && cycle->request->validate)
		qpsscale_try_write(&cycle->observer, group);
	if (vetoes)
		qpsscale_ask_vetoes(&cycle->observer, group);
	group->pending[QS_CALL_IN_SERVICE]--;
	if (group->stage == STAGE_CHECKING &&
		group->pending[QS_CALL_IN_SERVICE] == 0 &&
		group->pending[QS_CALL_ACTIVITIES] == 0 &&
		group->pending[QS_CALL_SIGNAL] == 0)
		consider(cycle, group);
}

/* ----------
 * Acting
 * ----------
 */
static void
acted(Cycle *cycle, QpsscaleGroup *group)
{
	QsTarget   *target = &group->target;
	QsError    *error = &target->set_error;

	QPSSCALE_CRASH_POINT(reply_received);
	localize_error(error);
	qpsscale_localize(target->set_request_id);
	if (target->set_accepted)
	{
		group->outcome = ACTIVITY_ACCEPTED;
		group->response = target->set_request_id;
	}
	else
	{
		/* no answer: it is unknown, unless it certainly never left */
		group->outcome = error->refused || !group->set_sent ?
			ACTIVITY_FAILED : ACTIVITY_UNKNOWN;
		group->outcome_message = error->code[0] == '\0' ?
			pstrdup(error->message) :
			psprintf("%s: %s", error->code, error->message);
	}
	group->not_tried = !target->set_accepted && !group->set_sent &&
		(strcmp(error->code, "deadline") == 0 ||
		 strcmp(error->code, "endpoint_down") == 0 ||
		 strcmp(error->code, "withdrawn") == 0 ||
		 strcmp(error->code, "disabled") == 0);
	enter(cycle, group, STAGE_ACTED);
}

static void
refuse_to_act(Cycle *cycle, QpsscaleGroup *group, const char *code,
			  const char *why)
{
	qs_error_set(&group->target.set_error, QS_ERROR_TERMINAL, code, "%s", why);
	group->target.set_error.refused = true;
	acted(cycle, group);
}

/*
 * The commit may have waited for a standby, and the process may have been
 * stopped, for any length of time.  Whoever finds the intent elsewhere counts
 * from the time in its row, by the wall clock (see resolve_unknown()), and must
 * not meet a call that leaves later.
 */
static bool
too_late(const Cycle *cycle, const QpsscaleGroup *group)
{
	return cycle->over ||
		qs_net_now_ms() >= cycle->observer.deadline_ms ||
		TimestampDifferenceExceeds(group->decided_at, GetCurrentTimestamp(),
								   qpsscale_cycle_deadline_ms(cycle->settings));
}

/* The intent is committed: this process, and no other, may now call. */
static void
act(Cycle *cycle, QpsscaleGroup *group)
{
	enter(cycle, group, STAGE_ACTING);
	if (!cycle->settings->enabled)
		refuse_to_act(cycle, group, "disabled",
					  "qpsscale.enabled was switched off before the call");
	else if (too_late(cycle, group))
		refuse_to_act(cycle, group, "deadline",
					  "the cycle's deadline had passed before the call");
	else
	{
		QPSSCALE_CRASH_POINT(call_starting);
		qpsscale_set_capacity(&cycle->observer, group,
							  group->decision.desired);
		QPSSCALE_CRASH_POINT(call_submitted);
		if (group->stage == STAGE_ACTING &&
			group->pending[QS_CALL_SET_CAPACITY] == 0)
			acted(cycle, group);
	}
}

/* The call has been answered, or its object has been read once more. */
static void
go_on_acting(Cycle *cycle, QpsscaleGroup *group)
{
	if (group->rereading)
	{
		if (qpsscale_conflict_decide_again(group, cycle->settings, decide))
			act(cycle, group);
		else
			acted(cycle, group);
	}
	else if (!qpsscale_conflict_read_again(&cycle->observer, group))
		acted(cycle, group);
	else if (group->rereading &&
			 group->pending[QS_CALL_CAPACITY] == 0)
		go_on_acting(cycle, group);
}

static void
ready(void *context, QpsscaleGroup *group)
{
	Cycle	   *cycle = context;

	switch (group->stage)
	{
		case STAGE_OBSERVING:
		case STAGE_CHECKING:
			consider(cycle, group);
			break;
		case STAGE_ACTING:
			go_on_acting(cycle, group);
			break;
		default:
			break;
	}
}

/* ----------
 * The two transactions
 * ----------
 */
static QpsscaleGroup **
gather(Cycle *cycle, GroupStage stage, int *n)
{
	QpsscaleGroup **groups = palloc_extended(sizeof(QpsscaleGroup *) *
											 Max(cycle->in_stage[stage], 1),
											 MCXT_ALLOC_HUGE);

	*n = 0;
	for (int i = 0; i < cycle->snapshot->n_groups; i++)
		if (cycle->snapshot->groups[i].stage == stage)
			groups[(*n)++] = &cycle->snapshot->groups[i];
	return groups;
}

static void
log_step_error(const char *what, ErrorData *error)
{
	ereport(qpsscale_elevel(ERROR),
			(errcode(error->sqlerrcode),
			 errmsg("qpsscale could not %s: %s", what, error->message)));
}

/* An operator's number that cannot be set is not even recorded, nor is a
 * decision that cannot be executed. */
static int
leave_refused(Cycle *cycle, QpsscaleGroup **groups, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		if (cycle->request->by_hand != NULL ?
			qpsscale_intervention_refused(groups[i]) :
			qpsscale_execution_refused(groups[i]))
			enter(cycle, groups[i], STAGE_FINISHED);
		else
			groups[left++] = groups[i];
	}
	return left;
}

static void
intend(Cycle *cycle)
{
	int			n;
	QpsscaleGroup **groups = gather(cycle, STAGE_DECIDED, &n);
	bool		durable = false;
	ErrorData  *error;

	cycle->flushed_ms = qs_net_now_ms();
	if (cycle->request->validate)
	{
		for (int i = 0; i < n; i++)
			enter(cycle, groups[i], STAGE_FINISHED);
		return;
	}
	if (cycle->request->by_hand != NULL ||
		cycle->request->selection.execute != NULL)
		n = leave_refused(cycle, groups, n);
	qpsscale_worker_state("writing decisions");
	if (!qpsscale_store_intend(groups, n, cycle->settings->metric_period_s,
							   observed_at(&cycle->observer), &durable, &error))
		log_step_error("write decisions", error);
	else if (!durable)
		ereport(WARNING,
				(errmsg("qpsscale does not act: no synchronous standby has confirmed the intent"),
				 errhint("The intents are resolved by reading the cloud.")));
	QPSSCALE_CRASH_POINT(intent_committed);
	/* a termination must be seen before the call, not after it */
	CHECK_FOR_INTERRUPTS();
	qpsscale_worker_state("acting");
	cycle->act_started_ms = qs_net_now_ms();
	for (int i = 0; i < n; i++)
	{
		QpsscaleGroup *group = groups[i];

		if (durable && group->activity_id != 0 && !group->decision.dry_run)
			act(cycle, group);
		else
		{
			if (group->activity_id != 0 && !group->decision.dry_run)
				group->outcome_message = "not sent: no synchronous standby has confirmed the intent";
			enter(cycle, group, STAGE_FINISHED);
		}
	}
	if (cycle->in_stage[STAGE_ACTING] == 0)
		qpsscale_worker_state("observing");
}

static void
record(Cycle *cycle)
{
	int			n;
	QpsscaleGroup **groups = gather(cycle, STAGE_ACTED, &n);
	ErrorData  *error;

	cycle->flushed_ms = qs_net_now_ms();
	qpsscale_worker_state("recording");
	QPSSCALE_CRASH_POINT(recording);
	if (!qpsscale_store_record(groups, n, &error))
		log_step_error("record outcomes", error);
	QPSSCALE_CRASH_POINT(outcome_recorded);
	for (int i = 0; i < n; i++)
		enter(cycle, groups[i], STAGE_FINISHED);
}

/*
 * When whatever is still open hangs: nothing was asked or answered for twice
 * as long as any call has taken in this cycle.
 */
static int64
grace_ends_ms(const Observer *observer)
{
	return observer->last_event_ms + Max(GRACE_MS, 2 * observer->slowest_ms);
}

/*
 * May the groups that have arrived go on?  Yes when nobody is on the way, or
 * when some answer has come and what is missing hangs; groups without
 * credentials count for no more than a hanging call.  *wait_ms is shortened to
 * the end of the grace.
 */
static bool
should_flush(const Cycle *cycle, GroupStage arrived, int on_the_way,
			 int waiting, int64 started_ms, int64 *wait_ms)
{
	int64		left;

	if (cycle->in_stage[arrived] == 0)
		return false;
	if (on_the_way + waiting == 0 || cycle->over)
		return true;
	if (cycle->observer.last_reply_ms <= started_ms && on_the_way > 0)
		return false;
	if (qpsscale_user_sql_busy() &&
		qs_net_now_ms() - cycle->flushed_ms > SQL_PATIENCE_MS)
		return true;
	left = Max(grace_ends_ms(&cycle->observer), started_ms + GRACE_MS) -
		qs_net_now_ms();
	if (left <= 0)
		return true;
	*wait_ms = Min(*wait_ms, left);
	return false;
}

/*
 * Groups whose account has got its credentials, or will not get any, go on.
 * After the deadline there is nothing left to wait for.
 */
static void
admit(Cycle *cycle)
{
	StoreSnapshot *snapshot = cycle->snapshot;
	bool		some = false;

	for (int i = 0; i < snapshot->n_accounts; i++)
		if (snapshot->accounts[i]->waiting &&
			qpsscale_account_arrived(snapshot->accounts[i]))
			some = true;
	if (!some && !cycle->over)
		return;
	for (int i = 0; i < snapshot->n_groups; i++)
	{
		QpsscaleGroup *group = &snapshot->groups[i];
		QpsscaleAccount *account = group->account;

		if (group->stage != STAGE_WAITING ||
			(qpsscale_group_waits(group) && !cycle->over))
			continue;
		if (account->usable && !cycle->over)
		{
			qpsscale_sources_arrived(group);
			enter(cycle, group, STAGE_OBSERVING);
			continue;
		}
		refuse_account(cycle, group, account->problem != NULL ?
					   account->problem : "no credentials before the cycle's deadline");
	}
	if (cycle->in_stage[STAGE_OBSERVING] > 0)
		qpsscale_observe(&cycle->observer, snapshot->groups,
						 snapshot->n_groups);
}

static void
run_stages(Cycle *cycle)
{
	int		   *in = cycle->in_stage;

	while (in[STAGE_FINISHED] < cycle->snapshot->n_groups)
	{
		int64		wait_ms = cycle->observer.deadline_ms - qs_net_now_ms();

		if (wait_ms <= 0 && !cycle->over)
		{
			cycle->over = true;
			qpsscale_observe_abandon(&cycle->observer,
									 cycle->snapshot->groups,
									 cycle->snapshot->n_groups);
		}
		wait_ms = Max(wait_ms, 0);
		if (in[STAGE_WAITING] > 0)
			admit(cycle);
		if (should_flush(cycle, STAGE_DECIDED,
						 in[STAGE_OBSERVING] + in[STAGE_CHECKING],
						 in[STAGE_WAITING], cycle->started_ms, &wait_ms))
		{
			intend(cycle);
			continue;
		}
		if (should_flush(cycle, STAGE_ACTED, in[STAGE_ACTING], 0,
						 cycle->act_started_ms, &wait_ms))
		{
			record(cycle);
			continue;
		}
		qpsscale_worker_wait(wait_ms);
		if (in[STAGE_ACTING] > 0)
			QPSSCALE_CRASH_POINT(reply_awaited);
		qpsscale_observe_collect(&cycle->observer);
	}
}

/*
 * Every group has finished, but a call may be open all the same: a page of a
 * listing whose groups other pages have named, say.  Its reply must not come
 * in the next cycle, when what it belongs to is gone.  It gets the grace that
 * stragglers get, because cancelling it costs its connection.
 */
static void
await_last_replies(Cycle *cycle)
{
	Observer   *observer = &cycle->observer;

	while (observer->pending > 0)
	{
		int64		left_ms = Min(grace_ends_ms(observer),
								  observer->deadline_ms) - qs_net_now_ms();

		if (left_ms <= 0)
		{
			qpsscale_observe_abandon(observer, cycle->snapshot->groups,
									 cycle->snapshot->n_groups);
			return;
		}
		qpsscale_worker_wait(left_ms);
		qpsscale_observe_collect(observer);
	}
}

/* ----------
 * Preparation
 * ----------
 */
/* What the settings, the call and the provider say about the policy. */
static void
complete_policy(Cycle *cycle, QpsscaleGroup *group)
{
	QsPolicy   *policy = &group->policy;

	policy->dry_run = policy->dry_run || cycle->request->dry_run;
	policy->armed = cycle->snapshot->armed;
	policy->extension_enabled = cycle->settings->enabled;
	if (cycle->settings->max_instances > 0)
		policy->ceiling = cycle->settings->max_instances;
	if (group->provider != NULL)
		policy->writes_while_busy = group->provider->writes_while_busy;
}

static void
prepare_group(Cycle *cycle, QpsscaleGroup *group, HTAB *accounts)
{
	QpsscaleAccount *account = qpsscale_account_of(accounts, group);
	const char *problem;

	cycle->in_stage[STAGE_OBSERVING]++;
	group->stage = STAGE_OBSERVING;
	group->target.capacity.in_service = QS_UNKNOWN;
	group->provider = qpsscale_provider_by_name(group->provider_name);
	complete_policy(cycle, group);
	if (cycle->request->by_hand != NULL)
		qpsscale_intervene(group, cycle->request->by_hand);
	qpsscale_execute(group);
	problem = qpsscale_account_problem(account, group);
	if (problem != NULL)
	{
		refuse_account(cycle, group, problem);
		return;
	}
	group->account = account;
	qpsscale_sources_resolve(accounts, group);
	if (qpsscale_group_waits(group))
		enter(cycle, group, STAGE_WAITING);
}

static void
run(Cycle *cycle, CycleResult *result)
{
	HTAB	   *accounts = qpsscale_accounts_resolve(cycle->snapshot,
													 cycle->settings);

	for (int i = 0; i < cycle->snapshot->n_groups; i++)
		prepare_group(cycle, &cycle->snapshot->groups[i], accounts);
	qpsscale_worker_state("observing");
	qpsscale_observe(&cycle->observer, cycle->snapshot->groups,
					 cycle->snapshot->n_groups);
	QPSSCALE_CRASH_POINT(calls_submitted);
	run_stages(cycle);
	await_last_replies(cycle);
	result->finished_at = GetCurrentTimestamp();
	/* a caller does not wait for it */
	if (!cycle->request->fresh && !cycle->over)
		qpsscale_backfill(&cycle->observer, cycle->snapshot,
						  cycle->started_ms);
	qpsscale_accounts_cleanse(cycle->snapshot);
	qpsscale_accounts_tell();
}

static bool
fail(CycleResult *result, int sqlstate, const char *error, const char *hint)
{
	result->sqlstate = sqlstate;
	result->error = error;
	result->hint = hint;
	return false;
}

bool
qpsscale_check_extension(const StoreSnapshot *snapshot, CycleResult *result)
{
	if (!snapshot->extension_exists)
		return fail(result, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					"extension qpsscale is not installed in this database",
					"CREATE EXTENSION qpsscale;");
	if (strcmp(snapshot->extension_version, QPSSCALE_VERSION) != 0)
		return fail(result, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					psprintf("extension qpsscale is of version %s, its library of version %s",
							 snapshot->extension_version, QPSSCALE_VERSION),
					"ALTER EXTENSION qpsscale UPDATE; (and restart the server if the library is the older one)");
	if (snapshot->foreign != NULL)
		return fail(result, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					psprintf("objects of qpsscale are not as they were installed: %s",
							 snapshot->foreign),
					QPSSCALE_SEAL_HINT);
	return true;
}

bool
qpsscale_load_failed(CycleResult *result, ErrorData *error)
{
	log_step_error("read the groups", error);
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE &&
		error->hint == NULL)
		error->hint = psprintf("SELECT qpsscale_grant('%s', 'worker'); gives the worker what it needs",
							   qpsscale_worker_host->settings->worker_role);
	return fail(result, error->sqlerrcode, error->message, error->hint);
}

static void
start_observer(Cycle *cycle)
{
	const QpsscaleSettings *settings = cycle->settings;
	Observer   *observer = &cycle->observer;

	cycle->started_ms = cycle->flushed_ms = qs_net_now_ms();
	observer->arena = arena;
	observer->metric_period_s = settings->metric_period_s;
	observer->metric_resolution_s = settings->metric_resolution_s;
	observer->request_timeout_ms = settings->request_timeout_ms;
	observer->deadline_ms = cycle->started_ms + qpsscale_cycle_deadline_ms(settings);
	observer->fresh = cycle->request->fresh;
	observer->ready = ready;
	observer->context = cycle;
}

bool
qpsscale_cycle(const CycleRequest *request, CycleResult *result)
{
	Cycle		cycle = {0};
	ErrorData  *error;

	memset(result, 0, sizeof(*result));
	if (arena == NULL)
		arena = qs_arena_new(ARENA_LIMIT);
	if (arena == NULL)
		return fail(result, ERRCODE_OUT_OF_MEMORY, "out of memory", NULL);
	qs_arena_reset(arena);

	qpsscale_worker_state("loading");
	if (!qpsscale_store_load(&request->selection, &result->snapshot, &error))
		return qpsscale_load_failed(result, error);
	if (!qpsscale_check_extension(&result->snapshot, result))
		return false;
	QPSSCALE_CRASH_POINT(loaded);

	cycle.request = request;
	cycle.settings = qpsscale_worker_host->settings;
	cycle.snapshot = &result->snapshot;
	start_observer(&cycle);
	run(&cycle, result);
	ereport(qpsscale_elevel(DEBUG1),
			(errmsg("qpsscale evaluated %d groups with " INT64_FORMAT " calls in " INT64_FORMAT " ms",
					result->snapshot.n_groups, cycle.observer.calls,
					qs_net_now_ms() - cycle.started_ms)));
	result->calls = cycle.observer.calls;
	result->failed_calls = cycle.observer.failed_calls;
	return true;
}
