/*-------------------------------------------------------------------------
 * worker.c
 *		The worker process: resident (a cycle per interval) or one-shot (the
 *		cycle of one request).
 *
 * Entered from qpsscale.so through qpsscale_worker_run().  All network I/O of
 * the extension happens in these processes.  The process waits for three
 * things at once: its latch (signals, requests of backends), the death of the
 * postmaster, and the net's descriptor; at each wake it checks for interrupts,
 * which is what keeps DROP DATABASE and shutdown from waiting for us.
 *
 * An error that nobody caught ends the process; the launcher starts it again,
 * and with that every leak is gone.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <malloc.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pg/calls.h"
#include "pg/channels.h"
#include "pg/compat.h"
#include "pg/crash_points.h"
#include "pg/cycle.h"
#include "pg/delivery.h"
#include "pg/discovery.h"
#include "pg/execution.h"
#include "pg/explain.h"
#include "pg/intervention.h"
#include "pg/messenger.h"
#include "pg/seal.h"
#include "pg/step.h"
#include "pg/user_sql.h"
#include "pg/validate.h"
#include "pg/worker.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

QPSSCALE_MODULE_MAGIC("qpsscale_worker", QPSSCALE_VERSION);

extern PGDLLEXPORT const QpsscaleStamp qpsscale_worker_stamp;
PGDLLEXPORT void qpsscale_worker_run(const QpsscaleHost *host,
									 const QpsscaleLaunch *launch);

const QpsscaleStamp qpsscale_worker_stamp = {
	.magic = QPSSCALE_STAMP_MAGIC,
	.host_size = sizeof(QpsscaleHost),
	.version = QPSSCALE_VERSION,
	.build_id = QPSSCALE_BUILD_ID
};

const QpsscaleHost *qpsscale_worker_host = NULL;
QsNet	   *qpsscale_worker_net = NULL;

/* A caller that does not take its answer is given up after this long. */
#define SEND_TIMEOUT_MS		5000

/* Each so many ticks a batch of old history is deleted. */
#define TICKS_PER_TRIM		20

static WaitEventSet *wait_set = NULL;
static uint32 wait_event = 0;
static QpsscaleWorkerSlot *slot = NULL; /* NULL in a one-shot worker */
static MemoryContext cycle_context = NULL;

/* ----------
 * Shared memory
 * ----------
 */
static void
lock_slot(void)
{
	LWLockAcquire(qpsscale_worker_host->shared->lock, LW_EXCLUSIVE);
}

static void
unlock_slot(void)
{
	LWLockRelease(qpsscale_worker_host->shared->lock);
}

void
qpsscale_worker_state(const char *state)
{
	if (slot == NULL)
		return;
	lock_slot();
	strlcpy(slot->stats.state, state, sizeof(slot->stats.state));
	slot->stats.heartbeat_at = GetCurrentTimestamp();
	unlock_slot();
}

static void
beat(void)
{
	if (slot == NULL)
		return;
	lock_slot();
	slot->stats.heartbeat_at = GetCurrentTimestamp();
	unlock_slot();
}

/* With its hint: stat_worker is where somebody looks who has not called. */
static void
publish_error(const char *message, const char *hint)
{
	char		text[sizeof(((QpsscaleWorkerStats *) 0)->last_error)] = "";

	if (slot == NULL)
		return;
	if (message != NULL)
		snprintf(text, sizeof(text), hint == NULL ? "%s" : "%s; hint: %s",
				 message, hint);
	lock_slot();
	strlcpy(slot->stats.last_error, text, sizeof(slot->stats.last_error));
	unlock_slot();
}

static void
publish_cycle(const CycleResult *result, TimestampTz started, bool tick)
{
	QsNetStats	net;
	TimestampTz finished = result->finished_at != 0 ? result->finished_at :
		GetCurrentTimestamp();

	if (slot == NULL)
		return;
	qs_net_stats(qpsscale_worker_net, &net);
	lock_slot();
	if (tick)
	{
		slot->stats.ticks++;
		slot->stats.last_tick_finished_at = finished;
		slot->stats.last_tick_ms = (finished - started) / 1000.0;
	}
	slot->stats.groups_evaluated += result->snapshot.n_groups;
	slot->stats.api_calls += result->calls;
	slot->stats.api_errors += result->failed_calls;
	slot->stats.transactions = qpsscale_step_count();
	slot->stats.connections_opened = net.connections_opened;
	slot->stats.tls_handshakes = net.tls_handshakes;
	unlock_slot();
}

/* ----------
 * Waiting
 * ----------
 */
static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	/* the kill switch reaches calls that still wait for their turn */
	if (!qpsscale_worker_host->settings->enabled)
		qpsscale_withdraw_changes();
	qpsscale_channels_configure();
}

/* Often enough that the launcher does not take a quiet worker for a dead one. */
static int64
heartbeat_ms(void)
{
	int			timeout_ms = qpsscale_worker_host->settings->stall_timeout_ms;

	return timeout_ms > 0 ? Max(timeout_ms / 4, 100) : 15000;
}

/* Whoever waits for something looks again, and waits on, if it has not come. */
void
qpsscale_worker_wait(int64 timeout_ms)
{
	int64		net_ms = qpsscale_channels_timeout_ms();
	int64		sql_ms = qpsscale_user_sql_timeout_ms();
	WaitEvent	event;

	Assert(!IsTransactionState());
	if (net_ms >= 0 && (timeout_ms < 0 || net_ms < timeout_ms))
		timeout_ms = net_ms;
	if (sql_ms >= 0 && (timeout_ms < 0 || sql_ms < timeout_ms))
		timeout_ms = sql_ms;
	/* a wait for a lock, a standby or a caller may have taken its latch */
	if (ConfigReloadPending)
		timeout_ms = 0;
	(void) WaitEventSetWait(wait_set, (long) Min(timeout_ms, heartbeat_ms()),
							&event, 1, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	beat();
	if (ConfigReloadPending)
		reload();
	qpsscale_channels_drive();
	qpsscale_supplies_collect();
	qpsscale_user_sql_drive();
}

static void
start_waiting(void)
{
	wait_event = qpsscale_wait_event("QpsscaleMain");
	wait_set = qpsscale_create_wait_event_set(2 + QPSSCALE_CHANNELS);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
					  NULL);
	qpsscale_channels_start(wait_set);
	qpsscale_worker_net = qpsscale_channel(QPSSCALE_CHANNEL_CLOUD);
}

/* ----------
 * Requests of backends
 * ----------
 */
typedef struct Answer
{
	dsm_segment *segment;
	shm_mq_handle *queue;
	bool		lost;			/* the caller has gone, or takes nothing */
} Answer;

/*
 * Never blocks on a caller: one that has stopped would stop the worker.
 */
static void
send_message(Answer *answer, const char *data, Size length)
{
	TimestampTz give_up = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													  SEND_TIMEOUT_MS);

	while (!answer->lost)
	{
		shm_mq_result result = shm_mq_send(answer->queue, length,
													data, true, true);

		if (result == SHM_MQ_SUCCESS)
			return;
		if (result == SHM_MQ_DETACHED || GetCurrentTimestamp() >= give_up)
			answer->lost = true;
		else
		{
			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 100, wait_event);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	}
}

static void
send_row(Answer *answer, const char *json)
{
	StringInfoData message;

	initStringInfo(&message);
	appendStringInfoChar(&message, 'r');
	appendStringInfoString(&message, json);
	send_message(answer, message.data, message.len);
	pfree(message.data);
}

static void
send_error(Answer *answer, int sqlstate, const char *text, const char *hint)
{
	StringInfoData message;

	initStringInfo(&message);
	appendStringInfoChar(&message, 'e');
	appendStringInfoString(&message, unpack_sql_state(sqlstate));
	appendBinaryStringInfo(&message, text, strlen(text) + 1);
	appendBinaryStringInfo(&message, "", 1);
	appendBinaryStringInfo(&message, hint == NULL ? "" : hint,
						   hint == NULL ? 1 : strlen(hint) + 1);
	send_message(answer, message.data, message.len);
}

static void
answer_evaluate(Answer *answer, const CycleResult *result)
{
	for (int i = 0; i < result->snapshot.n_groups && !answer->lost; i++)
	{
		char	   *json = qpsscale_evaluation_result(&result->snapshot.groups[i]);

		send_row(answer, json);
		pfree(json);
	}
}

static bool
answer_by_hand(Answer *answer, QpsscaleGroup *group)
{
	/* the intent's transaction may have found more that forbids it */
	if (qpsscale_intervention_refused(group))
	{
		send_error(answer, group->refused_sqlstate, group->refused_message,
				   group->refused_hint);
		return false;
	}
	send_row(answer, qpsscale_intervention_result(group));
	return true;
}

/* Of several calls for one decision all get what came of the first. */
static bool
answer_execute(Answer *answer, const QpsscaleExecute *asked,
			   QpsscaleGroup *group)
{
	char	   *result = qpsscale_execution_result(asked);

	if (result != NULL)
	{
		send_row(answer, result);
		return true;
	}
	if (qpsscale_execution_refused(group))
		send_error(answer, group->refused_sqlstate, group->refused_message,
				   group->refused_hint);
	else
		send_error(answer, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
				   "the decision could not be carried out just now",
				   "Call qpsscale_execute() again.");
	return false;
}

static void
answer_validate(Answer *answer, const CycleResult *result)
{
	ErrorData  *error;
	ListCell   *cell;
	bool		passed;

	foreach(cell, qpsscale_validation_rows(result, &passed))
		send_row(answer, lfirst(cell));
	if (passed && result->snapshot.n_groups == 1 &&
		!qpsscale_store_validated(result->snapshot.groups[0].id, &error))
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale could not mark a group as validated: %s",
						error->message)));
}

static void
answer_discover(Answer *answer, const QpsscaleRequest *request)
{
	CycleResult result;
	List	   *rows;
	ListCell   *cell;

	if (!qpsscale_discover(request, &result, &rows))
	{
		send_error(answer, result.sqlstate, result.error, result.hint);
		return;
	}
	foreach(cell, rows)
		send_row(answer, lfirst(cell));
	send_message(answer, "d", 1);
}

static void
answer_request(Answer *answer, const QpsscaleRequest *request)
{
	CycleRequest cycle = {0};
	CycleResult result;
	TimestampTz started = GetCurrentTimestamp();

	cycle.selection.all_enabled = request->all_groups;
	cycle.selection.group_id = request->group_id;
	cycle.selection.role = request->role;
	cycle.dry_run = request->dry_run;
	cycle.fresh = true;
	cycle.validate = request->kind == QPSSCALE_REQUEST_VALIDATE;
	if (request->kind == QPSSCALE_REQUEST_SET_CAPACITY)
		cycle.by_hand = &request->by_hand;
	if (request->kind == QPSSCALE_REQUEST_EXECUTE)
		cycle.selection.execute = &request->execute;

	if (!qpsscale_cycle(&cycle, &result))
	{
		send_error(answer, result.sqlstate, result.error, result.hint);
		return;
	}
	publish_cycle(&result, started, false);
	if (!request->all_groups && result.snapshot.n_groups == 0)
	{
		send_error(answer, ERRCODE_NO_DATA_FOUND,
				   psprintf("resource group " INT64_FORMAT " does not exist",
							request->group_id),
				   "SELECT id, name FROM qpsscale.resource_groups lists them.");
		return;
	}
	QPSSCALE_CRASH_POINT(answering);
	if (cycle.validate)
		answer_validate(answer, &result);
	else if (cycle.selection.execute != NULL)
	{
		if (!answer_execute(answer, cycle.selection.execute,
							&result.snapshot.groups[0]))
			return;
	}
	else if (cycle.by_hand == NULL)
		answer_evaluate(answer, &result);
	else if (!answer_by_hand(answer, &result.snapshot.groups[0]))
		return;
	send_message(answer, "d", 1);
	QPSSCALE_CRASH_POINT(answered);
}

static void
serve_request(dsm_handle handle)
{
	Answer		answer = {0};
	const QpsscaleRequest *request;
	MemoryContext old = MemoryContextSwitchTo(cycle_context);

	answer.segment = dsm_attach(handle);
	if (answer.segment != NULL)
	{
		char	   *start = dsm_segment_address(answer.segment);
		shm_mq	   *queue;

		request = (const QpsscaleRequest *) start;
		if (request->magic == QPSSCALE_REQUEST_MAGIC)
		{
			queue = (shm_mq *) (start + request->queue_offset);
			shm_mq_set_sender(queue, MyProc);
			answer.queue = shm_mq_attach(queue, answer.segment, NULL);
			QPSSCALE_CRASH_POINT(request_attached);
			if (request->kind == QPSSCALE_REQUEST_DISCOVER)
				answer_discover(&answer, request);
			else
				answer_request(&answer, request);
			shm_mq_detach(answer.queue);
		}
		else
			ereport(qpsscale_elevel(WARNING),
					(errmsg_internal("a request of qpsscale is malformed")));
		dsm_detach(answer.segment);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(cycle_context);
}

/* A handle is taken off the list before it is attached: see shared.h. */
static bool
take_request(dsm_handle *handle)
{
	bool		taken = false;

	lock_slot();
	if (slot->n_requests > 0)
	{
		*handle = slot->requests[0];
		slot->n_requests--;
		memmove(&slot->requests[0], &slot->requests[1],
				sizeof(dsm_handle) * slot->n_requests);
		slot->stats.requests_served++;
		taken = true;
	}
	unlock_slot();
	return taken;
}

/* What the latch was set for, and may have been taken for something else. */
static bool
news_wait(void)
{
	bool		waiting;

	lock_slot();
	waiting = slot->n_requests > 0 || slot->alerts_written;
	unlock_slot();
	return waiting;
}

static void
serve_requests(void)
{
	dsm_handle	handle;

	/* a bounded number: steady callers must not keep the tick from coming */
	for (int i = 0; i < QPSSCALE_MAX_REQUESTS && take_request(&handle); i++)
	{
		QPSSCALE_CRASH_POINT(request_taken);
		serve_request(handle);
	}
}

/* ----------
 * Alerts
 * ----------
 */
static void
deliver(void)
{
	bool		written;
	bool		runs;

	lock_slot();
	written = slot->alerts_written;
	slot->alerts_written = false;
	runs = slot->stalled_since == 0;
	unlock_slot();
	qpsscale_deliver(written, runs);
}

/* ----------
 * The resident worker
 * ----------
 */
static void
tick(void)
{
	static int64 ticks = 0;
	const QpsscaleSettings *settings = qpsscale_worker_host->settings;
	CycleRequest request = {0};
	CycleResult result;
	TimestampTz started = GetCurrentTimestamp();
	MemoryContext old = MemoryContextSwitchTo(cycle_context);
	bool		gone;

	request.selection.all_enabled = true;
	request.selection.trim_history = ticks++ % TICKS_PER_TRIM == 0;
	request.selection.retention_s = settings->retention_s;
	lock_slot();
	slot->stats.last_tick_started_at = started;
	unlock_slot();

	(void) qpsscale_cycle(&request, &result);
	publish_error(result.error, result.hint);
	gone = result.error != NULL && !result.snapshot.extension_exists &&
		result.sqlstate == ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	publish_cycle(&result, started, true);
	MemoryContextSwitchTo(old);
	MemoryContextReset(cycle_context);

	/* the launcher looks again later; until then the database is free */
	if (gone)
	{
		qpsscale_worker_state("extension missing");
		proc_exit(0);
	}
}

/* What qpsscale.worker_role was when this process connected. */
static char connected_role[NAMEDATALEN];

static bool
role_has_changed(void)
{
	return strcmp(connected_role,
				  qpsscale_worker_host->settings->worker_role) != 0;
}

static void
serve_database(void)
{
	const QpsscaleSettings *settings = qpsscale_worker_host->settings;
	int64		earliest_ms = qs_net_now_ms() +
		(int64) settings->initial_delay_s * 1000;
	int64		due_ms = earliest_ms;

	ereport(qpsscale_elevel(LOG),
			(errmsg("qpsscale worker for database \"%s\" started",
					slot->database_name)));
	if (connected_role[0] == '\0')
		ereport(qpsscale_elevel(WARNING),
				(errmsg("qpsscale worker for database \"%s\" runs as a superuser",
						slot->database_name),
				 errhint("Set qpsscale.worker_role to a role that has the level worker.")));
	qpsscale_worker_state("idle");
	for (;;)
	{
		int64		now_ms;

		CHECK_FOR_INTERRUPTS();
		/* between two cycles, so that no call is left without its outcome */
		if (role_has_changed())
		{
			ereport(qpsscale_elevel(LOG),
					(errmsg("qpsscale worker for database \"%s\" starts anew, as qpsscale.worker_role has changed",
							slot->database_name)));
			proc_exit(0);
		}
		serve_requests();
		now_ms = qs_net_now_ms();
		if (now_ms >= due_ms && settings->enabled)
		{
			tick();
			/* from start to start; a late one is not made up for */
			due_ms = Max(due_ms + settings->interval_ms,
						 now_ms + settings->interval_ms / 2);
		}
		else if (now_ms >= due_ms)
			due_ms = now_ms + settings->interval_ms;
		/* after a tick, a request or a reload alike */
		qpsscale_worker_state(settings->enabled ? "idle" : "disabled");
		deliver();
		now_ms = qs_net_now_ms();
		/* a shorter interval or a switch-on counts at once */
		due_ms = Max(earliest_ms, Min(due_ms, now_ms + settings->interval_ms));
		/* a wait for a lock may have taken the latch that they set */
		qpsscale_worker_wait(news_wait() ? 0 :
							 Max(Min(due_ms - now_ms,
									 qpsscale_delivery_wait_ms()), 0));
	}
}

static void
start_slot(const QpsscaleLaunch *launch)
{
	slot = &qpsscale_worker_host->shared->slots[launch->slot];
	lock_slot();
	slot->database = MyDatabaseId;
	memset(&slot->stats, 0, sizeof(slot->stats));
	slot->stats.started_at = GetCurrentTimestamp();
	strlcpy(slot->stats.state, "starting", sizeof(slot->stats.state));
	unlock_slot();
}

/* Settings of role and database are overridden, as they must not be able to
 * stop a cycle. */
static void
connect_to_database(const QpsscaleLaunch *launch)
{
	strlcpy(connected_role, qpsscale_worker_host->settings->worker_role,
			sizeof(connected_role));
	if (launch->resident || launch->tells_of_stall)
		BackgroundWorkerInitializeConnection(launch->database_name,
											 connected_role[0] == '\0' ?
											 NULL : connected_role, 0);
	else
		BackgroundWorkerInitializeConnectionByOid(launch->database,
												  launch->role, 0);
	qpsscale_step_pin_settings(launch->resident ? 250 : 2000);
	qpsscale_seal_watch();
	pgstat_report_appname("qpsscale");
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * A cycle takes and gives back some kilobytes per group.  Memory that goes
 * back to the kernel each time comes back as one page fault per page, so a
 * worker keeps what one cycle needed.
 */
static void
keep_memory(void)
{
	mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
	mallopt(M_TRIM_THRESHOLD, 128 * 1024 * 1024);
}

void
qpsscale_worker_run(const QpsscaleHost *host, const QpsscaleLaunch *launch)
{
	qpsscale_worker_host = host;
	if (launch->runs_user_sql)
		qpsscale_user_sql_run(launch);
	keep_memory();
	connect_to_database(launch);
	QPSSCALE_CRASH_POINT(worker_connected);
	cycle_context = AllocSetContextCreate(TopMemoryContext, "qpsscale cycle",
										  ALLOCSET_DEFAULT_SIZES);
	start_waiting();
	if (launch->resident)
	{
		start_slot(launch);
		serve_database();
	}
	if (launch->tells_of_stall)
		qpsscale_tell_of_stall(&host->shared->slots[launch->slot]);
	else
		serve_request(launch->request);

	/* without waiting for a resolver thread: the process ends here */
	proc_exit(0);
}
