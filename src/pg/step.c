/*-------------------------------------------------------------------------
 * step.c
 *		One transaction of a worker: begin, run, commit, report; or abort.
 *
 * Nothing in here waits for the network, and nothing that waits for the
 * network runs inside a step: that is how no transaction, snapshot or lock is
 * ever held across a call.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pg/compat.h"
#include "pg/step.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

static int64 transactions = 0;

/* Where the last durable step's commit ends, and what it waited for. */
static XLogRecPtr durable_end = InvalidXLogRecPtr;
static int	durable_mode = SYNC_REP_WAIT_FLUSH;

/*
 * The copy must be made outside ErrorContext, which FlushErrorState() resets.
 */
static ErrorData *
take_error(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	return error;
}

bool
qpsscale_step(const char *what, QpsscaleStepBody body, void *argument,
			  bool durable, ErrorData **error)
{
	MemoryContext caller = CurrentMemoryContext;
	volatile bool committed = false;

	*error = NULL;
	transactions++;
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		if (durable && synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
			(void) set_config_option("synchronous_commit", "on", PGC_USERSET,
									 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
									 false);
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		debug_query_string = what;
		pgstat_report_activity(STATE_RUNNING, what);

		body(argument);

		SPI_finish();
		PopActiveSnapshot();
		if (durable)
			durable_mode = synchronous_commit == SYNCHRONOUS_COMMIT_REMOTE_APPLY ?
				SYNC_REP_WAIT_APPLY : SYNC_REP_WAIT_FLUSH;
		CommitTransactionCommand();
		if (durable)
			durable_end = XactLastCommitEnd;
		committed = true;
	}
	PG_CATCH();
	{
		*error = take_error(caller);
		AbortCurrentTransaction();
	}
	PG_END_TRY();

	MemoryContextSwitchTo(caller);
	debug_query_string = NULL;
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return committed;
}

bool
qpsscale_substep(QpsscaleStepBody body, void *argument, ErrorData **error)
{
	MemoryContext caller = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	*error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(caller);
	PG_TRY();
	{
		body(argument);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		*error = take_error(caller);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	CurrentResourceOwner = owner;
	return done;
}

int64
qpsscale_step_count(void)
{
	return transactions;
}

void
qpsscale_step_pin_settings(int lock_timeout_ms)
{
	static const char *const pinned[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"statement_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"transaction_timeout", "0"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"row_security", "off"},
		{"session_replication_role", "origin"},
		{"DateStyle", "ISO, YMD"},
		{"IntervalStyle", "postgres"},
		{"TimeZone", "UTC"},
		{"extra_float_digits", "1"},
		{"max_parallel_workers_per_gather", "0"},
		{"jit", "off"},
		{"client_min_messages", "error"},
		{"application_name", "qpsscale"},
	};
	char		value[32];

	for (size_t i = 0; i < lengthof(pinned); i++)
	{
		/* transaction_timeout is not known before PostgreSQL 17 */
		if (GetConfigOption(pinned[i][0], true, false) == NULL)
			continue;
		SetConfigOption(pinned[i][0], pinned[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
	}
	snprintf(value, sizeof(value), "%d", lock_timeout_ms);
	SetConfigOption("lock_timeout", value, PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * SyncRepWaitForLSN() answers a cancel with a WARNING and lets the commit
 * return; it does not wait at all in the moments after a start in which the
 * checkpointer has not yet read synchronous_standby_names; and it lets everybody
 * go when that is emptied.  So what counts is the position that it compares
 * with, the furthest that was ever confirmed to somebody's wait.
 *
 * Not being confirmed is in order only where nobody need confirm: by the names
 * as this process read them last, which is what it decided with, and by what
 * the checkpointer made of them, which is what the commit went by.  Where the
 * two differ a reload is under way, and the next cycle knows more.
 */
bool
qpsscale_step_was_replicated(void)
{
	bool		required;
	bool		reached;

	if (max_wal_senders == 0)
		return true;
	required = SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0';
	LWLockAcquire(SyncRepLock, LW_SHARED);
	reached = durable_end <= WalSndCtl->lsn[durable_mode];
	required |= QPSSCALE_SYNC_STANDBYS_DEFINED(WalSndCtl);
	LWLockRelease(SyncRepLock);
	return reached || !required;
}
