/*-------------------------------------------------------------------------
 * user_sql.c
 *		The process that runs SQL of users: one order, one transaction, one
 *		answer.
 *
 * It connects as the worker that started it, and becomes the owner of the
 * group for each order, in a security-restricted operation: there the server
 * refuses to change role or session user, to make temporary tables, to leave
 * deferred triggers behind.  Queries and getters are READ ONLY and rolled
 * back.  Settings and advisory locks do not outlive an order; what else a
 * session keeps stays among the orders of one owner, as another one's go to
 * another process.
 *
 * Time is kept by timers of this process, which no setting reaches: the first
 * cancels, the second ends the process for code that catches a cancellation.
 * For code that looks for neither, the worker has user_sql_channel.c.
 *
 * The process ends with the worker, which lets go of the segment.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>
#include <math.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pg/user_sql.h"
#include "pg/user_sql_statement.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

/* Code that catches the cancellation has this long to end by itself. */
#define KILL_AFTER_MS		1000

/* A query may take this much memory beyond what the process has. */
#define MEMORY_BOUND		((rlim_t) 512 * 1024 * 1024)

static TimeoutId cancel_timer;
static TimeoutId kill_timer;
static volatile sig_atomic_t expired = false;
static bool in_user_code = false;
static emit_log_hook_type previous_log_hook = NULL;

/* ----------
 * Bounds
 * ----------
 */
static void
cancel_order(void)
{
	expired = true;
	QueryCancelPending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static void
end_process(void)
{
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

static void
start_clock(int timeout_ms)
{
	expired = false;
	enable_timeout_after(cancel_timer, timeout_ms);
	enable_timeout_after(kill_timer, timeout_ms + KILL_AFTER_MS);
}

/* A cancellation that comes too late must not hit the next order. */
static void
stop_clock(void)
{
	disable_timeout(cancel_timer, false);
	disable_timeout(kill_timer, false);
	QueryCancelPending = false;
}

/* What users say in their code is no news for the server's log. */
static void
drop_messages(ErrorData *error)
{
	if (in_user_code && error->elevel < FATAL)
		error->output_to_server = false;
	if (previous_log_hook)
		previous_log_hook(error);
}

/*
 * Of private memory alone: shared buffers do not count.  An allocation that
 * fails is an error of that order.
 */
static void
bound_memory(void)
{
	FILE	   *file = AllocateFile("/proc/self/statm", "r");
	unsigned long data_pages;
	struct rlimit limit;

	if (file == NULL)
		return;
	if (fscanf(file, "%*u %*u %*u %*u %*u %lu", &data_pages) == 1 &&
		getrlimit(RLIMIT_DATA, &limit) == 0)
	{
		rlim_t		bound = (rlim_t) data_pages * sysconf(_SC_PAGESIZE) +
			MEMORY_BOUND;

		if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > bound)
			limit.rlim_cur = bound;
		(void) setrlimit(RLIMIT_DATA, &limit);
	}
	FreeFile(file);
}

/* Settings of database and server that would change what a query means or how
 * long it takes; time zone and formats are left to whoever set them. */
static void
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"transaction_timeout", "0"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"row_security", "on"},
		{"session_replication_role", "origin"},
		{"extra_float_digits", "1"},
		{"max_parallel_workers_per_gather", "0"},
		{"jit", "off"},
		{"work_mem", "16MB"},
		{"temp_file_limit", "256MB"},
		{"client_min_messages", "error"},
		{"application_name", QPSSCALE_USER_SQL_TYPE},
	};

	for (size_t i = 0; i < lengthof(pinned); i++)
		/* transaction_timeout is not known before PostgreSQL 17 */
		if (GetConfigOption(pinned[i][0], true, false) != NULL)
			SetConfigOption(pinned[i][0], pinned[i][1], PGC_SUSET,
							PGC_S_OVERRIDE);
}

/* A lock that is held is named as that, before time is over anyway. */
static void
bound_lock_waits(int timeout_ms)
{
	char		value[32];

	snprintf(value, sizeof(value), "%d", Max(timeout_ms / 2, 1));
	(void) set_config_option("lock_timeout", value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* ----------
 * One order
 * ----------
 */
static void
fail(UserSqlAnswer *answer, const char *code, const char *message)
{
	answer->outcome = USER_SQL_FAILED;
	strlcpy(answer->code, code, sizeof(answer->code));
	strlcpy(answer->message, message, sizeof(answer->message));
}

/*
 * The owner's identity stays until after the commit: whatever runs there runs
 * as the owner, too.
 */
static void
run_as_owner(const UserSqlOrder *order, UserSqlAnswer *answer)
{
	Oid			owner = get_role_oid(order->owner, true);
	bool		reads = order->kind != USER_SQL_SET;
	Oid			user;
	int			context;
	int			settings;

	if (!OidIsValid(owner))
	{
		fail(answer, "owner_missing",
			 "the owner of the group does not exist");
		AbortCurrentTransaction();
		return;
	}
	XactReadOnly = reads;
	settings = NewGUCNestLevel();
	bound_lock_waits(order->timeout_ms);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	in_user_code = true;
	qpsscale_user_sql_statement(order, answer);
	AtEOXact_GUC(false, settings);
	disable_timeout(cancel_timer, false);
	if (!reads && expired)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
						errmsg("it took too long")));
	if (reads || answer->outcome == USER_SQL_FAILED)
		AbortCurrentTransaction();
	else
		CommitTransactionCommand();
	SetUserIdAndSecContext(user, context);
}

static void
note_failure(const UserSqlOrder *order, UserSqlAnswer *answer,
			 MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	if (expired)
		fail(answer, "sql_timeout",
			 psprintf("it was canceled after %d ms", order->timeout_ms));
	else
		fail(answer, unpack_sql_state(error->sqlerrcode),
			 error->message == NULL ? "no message" : error->message);
	FreeErrorData(error);
}

/* Nothing in here may be changed by a longjmp and looked at after it, but for
 * what the answer points to. */
static void
carry_out(const UserSqlOrder *order, UserSqlAnswer *answer,
		  MemoryContext context)
{
	answer->outcome = USER_SQL_FAILED;
	answer->desired = answer->total = answer->in_service = QS_UNKNOWN;
	answer->min = answer->max = QS_UNKNOWN;
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		debug_query_string = order->strings;
		pgstat_report_activity(STATE_RUNNING, order->strings);
		StartTransactionCommand();
		start_clock(order->timeout_ms);
		run_as_owner(order, answer);
	}
	PG_CATCH();
	{
		note_failure(order, answer, context);
		AbortCurrentTransaction();
	}
	PG_END_TRY();
	in_user_code = false;
	stop_clock();
	debug_query_string = NULL;
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* ----------
 * The process
 * ----------
 */
static void
connect_as_worker(const QpsscaleLaunch *launch)
{
	BackgroundWorkerInitializeConnectionByOid(launch->database, launch->role,
											  0);
	pin_settings();
	cancel_timer = RegisterTimeout(USER_TIMEOUT, cancel_order);
	kill_timer = RegisterTimeout(USER_TIMEOUT, end_process);
	previous_log_hook = emit_log_hook;
	emit_log_hook = drop_messages;
	bound_memory();
	pgstat_report_appname(QPSSCALE_USER_SQL_TYPE);
	pgstat_report_activity(STATE_IDLE, NULL);
}

static bool
order_is_whole(const UserSqlOrder *order, Size length)
{
	Size		strings = offsetof(UserSqlOrder, strings);
	const char *end;

	if (length <= strings || order->owner[NAMEDATALEN - 1] != '\0')
		return false;
	end = (const char *) order + length;
	return end[-1] == '\0' &&
		order->strings + strlen(order->strings) + 1 < end;
}

static void
serve(shm_mq_handle *orders, shm_mq_handle *answers)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "qpsscale user SQL",
												  ALLOCSET_DEFAULT_SIZES);
	char		owner[NAMEDATALEN] = "";

	for (;;)
	{
		UserSqlAnswer answer = {0};
		Size		length;
		void	   *message;

		if (shm_mq_receive(orders, &length, &message, false) != SHM_MQ_SUCCESS)
			return;
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!order_is_whole(message, length))
			elog(ERROR, "an order for user SQL is malformed");
		/* a process has one owner in its life */
		if (owner[0] == '\0')
			strlcpy(owner, ((UserSqlOrder *) message)->owner, NAMEDATALEN);
		if (strcmp(owner, ((UserSqlOrder *) message)->owner) != 0)
			return;
		carry_out(message, &answer, context);
		LockReleaseSession(USER_LOCKMETHOD);
		MemoryContextSwitchTo(TopMemoryContext);
		MemoryContextReset(context);
		if (shm_mq_send(answers, sizeof(answer), &answer, false,
								 true) != SHM_MQ_SUCCESS)
			return;
	}
}

void
qpsscale_user_sql_run(const QpsscaleLaunch *launch)
{
	dsm_segment *segment;
	const UserSqlHeader *header;
	shm_mq	   *orders;
	shm_mq	   *answers;
	shm_mq_handle *orders_handle;
	shm_mq_handle *answers_handle;

	connect_as_worker(launch);
	MemoryContextSwitchTo(TopMemoryContext);
	segment = dsm_attach(launch->request);
	if (segment == NULL)
		proc_exit(0);			/* the worker has gone meanwhile */
	header = dsm_segment_address(segment);
	if (header->magic != QPSSCALE_USER_SQL_MAGIC)
		elog(ERROR, "the segment for user SQL is malformed");
	orders = (shm_mq *) ((char *) header + header->orders_offset);
	answers = (shm_mq *) ((char *) header + header->answers_offset);
	shm_mq_set_receiver(orders, MyProc);
	shm_mq_set_sender(answers, MyProc);
	orders_handle = shm_mq_attach(orders, segment, NULL);
	answers_handle = shm_mq_attach(answers, segment, NULL);
	serve(orders_handle, answers_handle);
	proc_exit(0);
}
