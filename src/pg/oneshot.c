/*-------------------------------------------------------------------------
 * oneshot.c
 *		A backend's call that is carried out by a worker process.
 *
 * The call lies in a dynamic shared memory segment: the request, then a queue
 * for the answer.  The segment belongs to the caller's resource owner; the
 * worker attaches by its handle, and when one of the two leaves, the other
 * finds the queue detached.
 *
 * A call is carried out once or, if something goes wrong, not at all; it is
 * tried a second time only where it was certainly not begun:
 *
 *	1. A resident worker serves the database: the handle is listed in its slot.
 *	   It is taken by removing it from the list (see shared.h).
 *	   - not taken and the worker is gone: withdraw, go to 2
 *	   - taken and the worker is gone: error QS001; the outcome of an action
 *		 is in qpsscale.activities
 *	2. A one-shot worker is registered for it.  While max_worker_processes are
 *	   in use, that is tried again for 30 s: error QS001.
 *
 * A caller that is cancelled withdraws its request if it was not taken, and
 * otherwise leaves the worker to finish.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/compat.h"
#include "pg/crash_points.h"
#include "pg/installation.h"
#include "pg/oneshot.h"
#include "pg/privileges.h"
#include "pg/settings.h"
#include "pg/shared.h"

#define REGISTER_RETRY_MS	100
#define REGISTER_LIMIT_MS	30000
#define ANSWER_POLL_MS		1000
#define ANSWER_MARGIN_MS	30000
#define QUEUE_OFFSET		MAXALIGN(sizeof(QpsscaleRequest))
#define SQLSTATE_LENGTH		5

/* Time-outs and ends are rare; two looks a second apart tell a worker that has
 * just taken a request from one that took it and is gone. */
#define LOOKS_BEFORE_LOST	2

typedef enum CallOutcome
{
	CALL_ANSWERED,
	CALL_NOT_TAKEN,				/* withdrawn: nobody will carry it out */
	CALL_LOST					/* begun, and the worker is gone */
} CallOutcome;

typedef struct Call
{
	const QpsscaleCallSpec *spec;
	QpsscaleRowCallback row;
	void	   *context;
	dsm_segment *segment;
	shm_mq	   *queue;
	shm_mq_handle *answer;
	bool		listed;			/* with a resident worker */
	QpsscaleListing listing;
	bool		taken;			/* a worker has attached to the queue */
	int			looks_without_worker;
	TimestampTz deadline;
} Call;

static dsm_handle
call_handle(const Call *call)
{
	return dsm_segment_handle(call->segment);
}

static uint32
call_wait_event(void)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = qpsscale_wait_event("QpsscaleCall");
	return wait_event;
}

/* Sleeps until the latch is set or the time has passed; may not return. */
static void
wait_for_latch(long timeout_ms)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, call_wait_event());
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* ---- opening and closing ---- */

static void
refuse_where_impossible(const QpsscaleCallSpec *spec)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s() during recovery",
						spec->function),
				 errdetail("This server is a standby; its decisions could not be recorded."),
				 errhint("Call it on the primary.")));
	if (IsParallelWorker() || IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot execute %s() during a parallel operation",
						spec->function)));
	if (!IsTransactionState())
		ereport(ERROR,
				(errcode(ERRCODE_NO_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s() needs a transaction", spec->function)));
}

static void
open_call(Call *call)
{
	QpsscaleRequest *request;

	call->segment = dsm_create(QUEUE_OFFSET + QPSSCALE_QUEUE_SIZE, 0);
	request = dsm_segment_address(call->segment);
	memset(request, 0, sizeof(QpsscaleRequest));
	request->magic = QPSSCALE_REQUEST_MAGIC;
	request->kind = call->spec->kind;
	request->database = MyDatabaseId;
	request->role = GetUserId();
	request->all_groups = call->spec->all_groups;
	request->group_id = call->spec->group_id;
	request->dry_run = call->spec->dry_run;
	if (call->spec->by_hand != NULL)
		request->by_hand = *call->spec->by_hand;
	if (call->spec->execute != NULL)
		request->execute = *call->spec->execute;
	if (call->spec->place != NULL)
		request->place = *call->spec->place;
	request->queue_offset = QUEUE_OFFSET;

	/* The sender sets itself: we do not know yet which process it will be. */
	call->queue = shm_mq_create((char *) request + QUEUE_OFFSET,
								QPSSCALE_QUEUE_SIZE);
	shm_mq_set_receiver(call->queue, MyProc);
	call->answer = shm_mq_attach(call->queue, call->segment, NULL);
}

/*
 * Also the clean-up of an error and of the end of this process: a request
 * that nobody has taken must not be carried out for a caller who has left.
 */
static void
close_call(int code, Datum arg)
{
	Call	   *call = (Call *) DatumGetPointer(arg);

	if (call->listed)
		(void) qpsscale_request_withdraw(&call->listing, call_handle(call));
	call->listed = false;
	if (call->segment)
		dsm_detach(call->segment);
	call->segment = NULL;
}

static void
restart_clock(Call *call)
{
	call->deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									2 * (int64) qpsscale_settings_cycle_deadline_ms() +
									ANSWER_MARGIN_MS);
}

/* ---- messages of the worker ---- */

/*
 * Text comes from a process that parses replies from the network: it is looked
 * at before the server stores or prints it.
 */
static bool
text_is_valid(const char *text, Size length)
{
	return memchr(text, '\0', length) == NULL &&
		pg_verify_mbstr(GetDatabaseEncoding(), text, length, true);
}

static void
pass_row(Call *call, const char *text, Size length)
{
	char	   *json;

	if (!text_is_valid(text, length))
		ereport(ERROR,
				(errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
				 errmsg("the qpsscale worker sent text that is invalid in encoding \"%s\"",
						GetDatabaseEncodingName())));
	json = pnstrdup(text, length);
	call->row(call->context, json);
	pfree(json);
}

/* The next NUL-terminated string of a message; "" where it is missing or is
 * not valid text. */
static const char *
next_string(const char **from, const char *end)
{
	const char *start = *from;
	const char *nul = start < end ? memchr(start, '\0', end - start) : NULL;

	if (nul == NULL)
	{
		*from = end;
		return "";
	}
	*from = nul + 1;
	return text_is_valid(start, nul - start) ? pstrdup(start) : "";
}

static int
sqlstate_of(const char *text)
{
	for (int i = 0; i < SQLSTATE_LENGTH; i++)
		if (!((text[i] >= '0' && text[i] <= '9') ||
			  (text[i] >= 'A' && text[i] <= 'Z')))
			return ERRCODE_INTERNAL_ERROR;
	if (strncmp(text, "00000", SQLSTATE_LENGTH) == 0)
		return ERRCODE_INTERNAL_ERROR;
	return MAKE_SQLSTATE(text[0], text[1], text[2], text[3], text[4]);
}

/* Raises the error that the worker reports, as if it had happened here. */
QPSSCALE_NORETURN static void raise_error(const Call *call, const char *body,
										  Size length);

static void
raise_error(const Call *call, const char *body, Size length)
{
	const char *end = body + length;
	const char *rest = body + Min(length, SQLSTATE_LENGTH);
	int			sqlstate = ERRCODE_INTERNAL_ERROR;
	const char *message;
	const char *detail;
	const char *hint;

	if (length >= SQLSTATE_LENGTH)
		sqlstate = sqlstate_of(body);
	message = next_string(&rest, end);
	detail = next_string(&rest, end);
	hint = next_string(&rest, end);

	/* The caller sees it (functions.c has looked), the worker not. */
	if (sqlstate == ERRCODE_NO_DATA_FOUND && !call->spec->all_groups)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 call->spec->execute != NULL ?
				 errmsg("the decision is not committed yet") :
				 errmsg("resource group %lld is not committed yet",
						(long long) call->spec->group_id),
				 errdetail("%s() runs in a worker process, which sees committed rows only.",
						   call->spec->function),
				 errhint("Commit first.")));
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg_internal("%s", message[0] != '\0' ? message :
							 "the qpsscale worker reported an error without a message"),
			 detail[0] != '\0' ? errdetail_internal("%s", detail) : 0,
			 hint[0] != '\0' ? errhint("%s", hint) : 0));
}

/* True when it was the last message. */
static bool
take_message(Call *call, const char *message, Size length)
{
	switch (length > 0 ? message[0] : '\0')
	{
		case 'r':
			pass_row(call, message + 1, length - 1);
			return false;
		case 'd':
			return true;
		case 'e':
			raise_error(call, message + 1, length - 1);
	}
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the qpsscale worker sent a message of an unknown type")));
	return false;				/* keep compiler quiet */
}

/* ---- waiting ---- */

/*
 * Where a listed request is now; CALL_ANSWERED stands for "wait on".  A worker
 * that has taken several requests attaches to ours when its turn comes.
 */
static CallOutcome
look_at_list(Call *call)
{
	pid_t		pid;

	if (qpsscale_request_is_listed(&call->listing, call_handle(call), &pid))
	{
		call->looks_without_worker = 0;
		call->listing.pid = pid;	/* another worker may take it as well */
		if (pid == 0 &&
			qpsscale_request_withdraw(&call->listing, call_handle(call)))
			return CALL_NOT_TAKEN;
		return CALL_ANSWERED;
	}
	if (pid == call->listing.pid)
		return CALL_ANSWERED;
	if (++call->looks_without_worker < LOOKS_BEFORE_LOST)
		return CALL_ANSWERED;
	return CALL_LOST;
}

static void
check_deadline(const Call *call)
{
	if (GetCurrentTimestamp() < call->deadline)
		return;
	ereport(ERROR,
			(errcode(QPSSCALE_ERRCODE_TIMEOUT),
			 errmsg("the qpsscale worker did not answer %s() in time",
					call->spec->function),
			 call->taken ?
			 errdetail("It has begun and is left to finish; what it does is recorded as usual.") :
			 errdetail("It has not begun."),
			 errhint("See qpsscale.stat_worker and the server log; the time allowed grows with qpsscale.cycle_deadline.")));
}

/*
 * Takes messages until the worker is done or gone.  The clock starts anew
 * when a worker attaches: until then others before us may have used it up.
 */
static CallOutcome
receive_answer(Call *call)
{
	restart_clock(call);
	for (;;)
	{
		Size		length;
		void	   *message;

		switch (shm_mq_receive(call->answer, &length, &message, true))
		{
			case SHM_MQ_SUCCESS:
				call->taken = true;
				if (take_message(call, message, length))
					return CALL_ANSWERED;
				CHECK_FOR_INTERRUPTS();
				continue;
			case SHM_MQ_DETACHED:
				return CALL_LOST;
			case SHM_MQ_WOULD_BLOCK:
				break;
		}
		if (!call->taken && shm_mq_get_sender(call->queue) != NULL)
		{
			call->taken = true;
			restart_clock(call);
		}
		else if (!call->taken && call->listed)
		{
			CallOutcome outcome = look_at_list(call);

			if (outcome != CALL_ANSWERED)
				return outcome;
		}
		check_deadline(call);
		wait_for_latch(ANSWER_POLL_MS);
	}
}

/* ---- the worker of our own ---- */

static void
describe_worker(BackgroundWorker *worker, const Call *call)
{
	QpsscaleLaunch launch = {0};

	strlcpy(launch.build_id, qpsscale_host_stamp.build_id,
			sizeof(launch.build_id));
	launch.resident = false;
	launch.database = MyDatabaseId;
	launch.role = qpsscale_worker_role();
	launch.request = call_handle(call);

	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
	worker->bgw_main_arg = UInt32GetDatum(launch.request);
	strlcpy(worker->bgw_library_name, "qpsscale",
			sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "qpsscale_oneshot_main",
			sizeof(worker->bgw_function_name));
	snprintf(worker->bgw_name, sizeof(worker->bgw_name),
			 "qpsscale one-shot worker for PID %d", MyProcPid);
	strlcpy(worker->bgw_type, QPSSCALE_ONESHOT_TYPE,
			sizeof(worker->bgw_type));
	memcpy(worker->bgw_extra, &launch, sizeof(launch));
}

static void
start_oneshot(Call *call)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	TimestampTz limit = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													REGISTER_LIMIT_MS);

	describe_worker(&worker, call);
	while (!RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		if (GetCurrentTimestamp() >= limit)
			ereport(ERROR,
					(errcode(QPSSCALE_ERRCODE_NO_WORKER),
					 errmsg("no worker process was free for %s() within %d seconds",
							call->spec->function, REGISTER_LIMIT_MS / 1000),
					 errhint("You might need to increase max_worker_processes, or to add this database to qpsscale.databases.")));
		wait_for_latch(REGISTER_RETRY_MS);
	}

	QPSSCALE_CRASH_POINT(oneshot_registered);
	/* So that an end before it attaches is noticed. */
	shm_mq_set_handle(call->answer, handle);
}

static void
carry_out(Call *call)
{
	CallOutcome outcome = CALL_NOT_TAKEN;

	call->listed = qpsscale_request_list(MyDatabaseId, call_handle(call),
										 &call->listing);
	if (call->listed)
	{
		QPSSCALE_CRASH_POINT(request_listed);
		outcome = receive_answer(call);
	}
	if (outcome == CALL_NOT_TAKEN)
	{
		call->listed = false;
		start_oneshot(call);
		outcome = receive_answer(call);
	}
	if (outcome != CALL_ANSWERED)
		ereport(ERROR,
				(errcode(QPSSCALE_ERRCODE_NO_WORKER),
				 errmsg("the qpsscale worker ended before it answered %s()",
						call->spec->function),
				 errdetail("Whether it has acted is recorded in qpsscale.activities."),
				 errhint("The server log says why it ended.")));
}

void
qpsscale_call(const QpsscaleCallSpec *spec, QpsscaleRowCallback row,
			  void *context)
{
	Call		call = {0};

	refuse_where_impossible(spec);
	call.spec = spec;
	call.row = row;
	call.context = context;

	PG_ENSURE_ERROR_CLEANUP(close_call, PointerGetDatum(&call));
	{
		open_call(&call);
		carry_out(&call);
	}
	PG_END_ENSURE_ERROR_CLEANUP(close_call, PointerGetDatum(&call));
	close_call(0, PointerGetDatum(&call));
}

/* ---- the worker's side ---- */

void
qpsscale_request_refuse(dsm_handle request_handle, int sqlstate,
						const char *message, const char *detail,
						const char *hint)
{
	dsm_segment *segment = request_handle == DSM_HANDLE_INVALID ? NULL :
		dsm_attach(request_handle);	/* a messenger has no request */
	const QpsscaleRequest *request;
	shm_mq	   *queue;
	shm_mq_handle *answer;
	StringInfoData body;

	if (segment == NULL)
		return;
	request = dsm_segment_address(segment);
	if (dsm_segment_map_length(segment) < QUEUE_OFFSET + QPSSCALE_QUEUE_SIZE ||
		request->magic != QPSSCALE_REQUEST_MAGIC ||
		request->queue_offset != QUEUE_OFFSET)
	{
		dsm_detach(segment);
		return;
	}
	queue = (shm_mq *) ((char *) dsm_segment_address(segment) + QUEUE_OFFSET);
	shm_mq_set_sender(queue, MyProc);
	answer = shm_mq_attach(queue, segment, NULL);

	initStringInfo(&body);
	appendStringInfo(&body, "e%s", unpack_sql_state(sqlstate));
	appendBinaryStringInfo(&body, message, strlen(message) + 1);
	appendBinaryStringInfo(&body, detail, strlen(detail) + 1);
	appendBinaryStringInfo(&body, hint, strlen(hint) + 1);

	/* It fits into the empty queue; a caller that has gone does not mind. */
	(void) shm_mq_send(answer, body.len, body.data, true, true);
	pfree(body.data);
	dsm_detach(segment);
}
