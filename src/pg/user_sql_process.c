/*-------------------------------------------------------------------------
 * user_sql_process.c
 *		Starting and ending the process that runs SQL of users, and the two
 *		queues between it and the worker.
 *
 * One process at a time, and one owner in its life: whatever a session keeps
 * (connections of dblink, variables of a language, prepared statements), it
 * keeps for him alone.  One that was told to end and does not (code in it
 * looks for no interrupts) is left behind, and another is started beside it;
 * of those left behind a few may be alive, no more, as each holds a place of
 * max_worker_processes.
 *
 * After a process that failed the next one is started at once; after the
 * second in a row there is a pause, which doubles.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "pg/user_sql_process.h"
#include "pg/worker.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#define FIRST_PAUSE_MS		250
#define LONGEST_PAUSE_MS	30000
#define MAX_LEFT_BEHIND		3

/* One that is left needs some milliseconds to be gone, and then gives its
 * place to the next; it is not waited for longer than this. */
#define LEAVING_MS			500

static struct
{
	dsm_segment *segment;		/* NULL: there is none */
	shm_mq	   *orders;
	shm_mq_handle *orders_handle;
	shm_mq_handle *answers_handle;
	BackgroundWorkerHandle *handle;
	char		owner[NAMEDATALEN];
	bool		busy;			/* carries an order out */
}			process;

static BackgroundWorkerHandle *left_behind[MAX_LEFT_BEHIND];
static const char *problem = NULL;	/* why there is none */
static int	failures = 0;		/* in a row */
static int64 not_before_ms = 0;
static int64 left_at_ms = 0;	/* when one was left that did not fail */

static bool
is_alive(BackgroundWorkerHandle *handle)
{
	pid_t		pid;

	return GetBackgroundWorkerPid(handle, &pid) != BGWH_STOPPED;
}

/* A place for one more, or NULL when too many still live. */
static BackgroundWorkerHandle **
place_left_behind(void)
{
	for (int i = 0; i < MAX_LEFT_BEHIND; i++)
	{
		if (left_behind[i] != NULL && is_alive(left_behind[i]))
			continue;
		if (left_behind[i] != NULL)
			pfree(left_behind[i]);
		left_behind[i] = NULL;
		return &left_behind[i];
	}
	return NULL;
}

static bool
somebody_leaves(void)
{
	if (qs_net_now_ms() - left_at_ms > LEAVING_MS)
		return false;
	for (int i = 0; i < MAX_LEFT_BEHIND; i++)
		if (left_behind[i] != NULL && is_alive(left_behind[i]))
			return true;
	return false;
}

/* It does not outlive us: where it waits for an order it notices by itself, and
 * those that were left were told. */
static void
end_process(int code, Datum argument)
{
	if (process.segment != NULL && process.busy)
		TerminateBackgroundWorker(process.handle);
}

static void
describe(BackgroundWorker *worker)
{
	QpsscaleLaunch launch = {0};

	memcpy(launch.build_id, qpsscale_worker_host->stamp.build_id,
		   sizeof(launch.build_id));
	launch.runs_user_sql = true;
	launch.database = MyDatabaseId;
	launch.role = GetSessionUserId() == BOOTSTRAP_SUPERUSERID ? InvalidOid :
		GetSessionUserId();
	launch.request = dsm_segment_handle(process.segment);

	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	worker->bgw_notify_pid = MyProcPid;
	strlcpy(worker->bgw_library_name, "qpsscale",
			sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "qpsscale_oneshot_main",
			sizeof(worker->bgw_function_name));
	snprintf(worker->bgw_name, sizeof(worker->bgw_name), "%s for PID %d",
			 QPSSCALE_USER_SQL_TYPE, MyProcPid);
	strlcpy(worker->bgw_type, QPSSCALE_USER_SQL_TYPE,
			sizeof(worker->bgw_type));
	memcpy(worker->bgw_extra, &launch, sizeof(launch));
}

static void
make_segment(void)
{
	Size		orders = MAXALIGN(sizeof(UserSqlHeader));
	Size		answers = orders + QPSSCALE_USER_SQL_QUEUE;
	UserSqlHeader *header;

	process.segment = dsm_create(answers + QPSSCALE_USER_SQL_QUEUE, 0);
	dsm_pin_mapping(process.segment);
	header = dsm_segment_address(process.segment);
	header->magic = QPSSCALE_USER_SQL_MAGIC;
	header->orders_offset = orders;
	header->answers_offset = answers;
}

static void
open_queues(void)
{
	UserSqlHeader *header = dsm_segment_address(process.segment);
	shm_mq	   *answers;

	process.orders = shm_mq_create((char *) header + header->orders_offset,
								   QPSSCALE_USER_SQL_QUEUE);
	answers = shm_mq_create((char *) header + header->answers_offset,
							QPSSCALE_USER_SQL_QUEUE);
	shm_mq_set_sender(process.orders, MyProc);
	shm_mq_set_receiver(answers, MyProc);
	process.orders_handle = shm_mq_attach(process.orders, process.segment,
										  process.handle);
	process.answers_handle = shm_mq_attach(answers, process.segment,
										   process.handle);
}

static void
count_failure(void)
{
	int64		pause_ms = 0;

	if (failures > 0)
		pause_ms = Min((int64) FIRST_PAUSE_MS << Min(failures - 1, 10),
					   LONGEST_PAUSE_MS);
	failures++;
	not_before_ms = qs_net_now_ms() + pause_ms;
}

static bool
start_process(const char *owner)
{
	static bool watched = false;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	BackgroundWorker worker;
	bool		started;

	strlcpy(process.owner, owner, sizeof(process.owner));
	make_segment();
	describe(&worker);
	/* they are there before it is; told of it, they notice if it ends early */
	open_queues();
	started = RegisterDynamicBackgroundWorker(&worker, &process.handle);
	if (started)
	{
		shm_mq_set_handle(process.orders_handle, process.handle);
		shm_mq_set_handle(process.answers_handle, process.handle);
		if (!watched)
			before_shmem_exit(end_process, (Datum) 0);
		watched = true;
	}
	else
	{
		dsm_detach(process.segment);
		memset(&process, 0, sizeof(process));
		count_failure();
	}
	MemoryContextSwitchTo(old);
	return started;
}

bool
qpsscale_user_sql_exists(void)
{
	return process.segment != NULL;
}

bool
qpsscale_user_sql_process(const char *owner, const char **why)
{
	*why = NULL;
	if (process.segment != NULL && strcmp(process.owner, owner) == 0)
		return true;
	if (process.segment != NULL)
		qpsscale_user_sql_leave(false);
	if (somebody_leaves())
		return false;
	if (qs_net_now_ms() >= not_before_ms)
	{
		if (place_left_behind() == NULL)
			problem = "processes that run SQL of users do not end: code in them looks for no interrupts";
		else if (start_process(owner))
			return true;
		else
			problem = "no process is free for SQL of users: increase max_worker_processes";
	}
	*why = problem;
	return false;
}

bool
qpsscale_user_sql_tell(const UserSqlOrder *order, Size length)
{
	process.busy = shm_mq_send(process.orders_handle, length, order, true,
										true) == SHM_MQ_SUCCESS;
	return process.busy;
}

UserSqlNews
qpsscale_user_sql_hear(UserSqlAnswer *answer)
{
	Size		length;
	void	   *message;

	switch (shm_mq_receive(process.answers_handle, &length, &message, true))
	{
		case SHM_MQ_WOULD_BLOCK:
			return USER_SQL_NO_NEWS;
		case SHM_MQ_DETACHED:
			return USER_SQL_LOST;
		case SHM_MQ_SUCCESS:
			break;
	}
	if (length != sizeof(UserSqlAnswer))
		return USER_SQL_LOST;
	memcpy(answer, message, sizeof(UserSqlAnswer));
	answer->code[sizeof(answer->code) - 1] = '\0';
	answer->message[sizeof(answer->message) - 1] = '\0';
	process.busy = false;
	failures = 0;
	return USER_SQL_ANSWERED;
}

bool
qpsscale_user_sql_attached(void)
{
	return shm_mq_get_receiver(process.orders) != NULL;
}

void
qpsscale_user_sql_terminate(void)
{
	TerminateBackgroundWorker(process.handle);
}

void
qpsscale_user_sql_leave(bool failed)
{
	BackgroundWorkerHandle **place;

	if (process.segment == NULL)
		return;
	if (failed)
	{
		TerminateBackgroundWorker(process.handle);
		problem = "the process that runs SQL of users ended again and again; the server log says why";
		count_failure();
	}
	else
		left_at_ms = qs_net_now_ms();
	place = place_left_behind();
	if (is_alive(process.handle) && place != NULL)
		*place = process.handle;
	else
		pfree(process.handle);
	dsm_detach(process.segment);
	memset(&process, 0, sizeof(process));
}
