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

#include "pg/account_index.h"
#include "pg/backfill.h"
#include "pg/crash_points.h"
#include "pg/cycle_parts.h"
#include "pg/execution.h"
#include "pg/intervention.h"
#include "pg/resolution.h"
#include "pg/seal.h"
#include "pg/user_sql.h"
#include "pg/worker.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Those who are late get twice as long as the others' calls, but at least: */
#define GRACE_MS	20

/* SQL of users is asked one by one: those that wait for each other to share a
 * transaction wait for it no longer than this. */
#define SQL_PATIENCE_MS		500

/* One arena per process: its first block is kept from cycle to cycle. */
#define ARENA_LIMIT		((size_t) 1024 * 1024 * 1024)

static QsArena *arena = NULL;

void
qpsscale_enter(Cycle *cycle, QpsscaleGroup *group, GroupStage stage)
{
	cycle->in_stage[group->stage]--;
	cycle->in_stage[stage]++;
	group->stage = stage;
}

static void
ready(void *context, QpsscaleGroup *group)
{
	Cycle	   *cycle = context;

	switch (group->stage)
	{
		case STAGE_OBSERVING:
		case STAGE_CHECKING:
			qpsscale_consider(cycle, group);
			break;
		case STAGE_ACTING:
			qpsscale_go_on_acting(cycle, group);
			break;
		default:
			break;
	}
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
			qpsscale_enter(cycle, group, STAGE_OBSERVING);
			continue;
		}
		qpsscale_refuse_account(cycle, group, account->problem != NULL ?
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
			qpsscale_intend(cycle);
			continue;
		}
		if (should_flush(cycle, STAGE_ACTED, in[STAGE_ACTING], 0,
						 cycle->act_started_ms, &wait_ms))
		{
			qpsscale_record(cycle);
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
		qpsscale_refuse_account(cycle, group, problem);
		return;
	}
	group->account = account;
	qpsscale_sources_resolve(accounts, group);
	if (qpsscale_group_waits(group))
		qpsscale_enter(cycle, group, STAGE_WAITING);
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
	qpsscale_log_step_error("read the groups", error);
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
