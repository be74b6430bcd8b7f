/*-------------------------------------------------------------------------
 * module.c
 *		Where qpsscale.so is entered: at load, and by each worker process.
 *
 * A worker process begins here, in the library that the postmaster may have
 * loaded long ago, and continues in qpsscale_worker.so as it is on disk now.
 * The two are compared before any structure is handed over: after an upgrade
 * of the files under a running server they differ, and then a worker ends
 * cleanly and says what to do.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "pg/compat.h"
#include "pg/databases.h"
#include "pg/installation.h"
#include "pg/launcher.h"
#include "pg/module.h"
#include "pg/oneshot.h"
#include "pg/settings.h"
#include "pg/shared.h"

QPSSCALE_MODULE_MAGIC("qpsscale", QPSSCALE_VERSION);

PGDLLEXPORT void _PG_init(void);

/*
 * Settings are defined in every process.  Shared memory, launcher and the hook
 * that makes way for DROP DATABASE only where the postmaster loads us, and not
 * for pg_upgrade, whose server must not begin to scale anything.
 */
void
_PG_init(void)
{
	qpsscale_settings_define();

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	qpsscale_shared_request();
	qpsscale_launcher_register();
	qpsscale_databases_hook();
}

const QpsscaleHost *
qpsscale_host(void)
{
	static QpsscaleHost host;

	host.stamp = qpsscale_host_stamp;
	host.settings = &qpsscale_settings;
	host.shared = qpsscale_shared;
	host.host_identity = qpsscale_settings_host_identity;
	return &host;
}

static void
note_state(const QpsscaleLaunch *launch, const char *state,
		   const char *last_error)
{
	if (launch->resident)
		qpsscale_slot_write(launch->slot, state, last_error);
}

/*
 * The worker's library cannot be loaded: the caller of a one-shot worker is
 * told the reason, and the error goes on to end the process.
 */
static void
report_load_failure(const QpsscaleLaunch *launch)
{
	ErrorData  *error;

	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	note_state(launch, "library cannot be loaded", error->message);
	if (!launch->resident)
		qpsscale_request_refuse(launch->request,
								ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
								"the worker library of qpsscale cannot be loaded",
								error->message,
								"Check that qpsscale is installed completely.");
	FreeErrorData(error);
}

/* Notes whether only a restart helps; true when that is news. */
static bool
note_restart_required(bool required)
{
	bool		news;

	if (qpsscale_shared == NULL)
		return required;
	LWLockAcquire(qpsscale_shared->lock, LW_EXCLUSIVE);
	news = qpsscale_shared->restart_required != required;
	qpsscale_shared->restart_required = required;
	LWLockRelease(qpsscale_shared->lock);
	return news;
}

/* Ends the process with success: there is nothing to be mended here. */
static void
end_for_other_build(const QpsscaleLaunch *launch, const QpsscaleStamp *stamp)
{
	char		detail[256];

	/* A stamp of another magic may have no version where we look for it. */
	if (stamp->magic == QPSSCALE_STAMP_MAGIC)
		snprintf(detail, sizeof(detail),
				 "The server runs version %s (build %s), the file is version %.31s (build %.31s).",
				 QPSSCALE_VERSION, qpsscale_host_stamp.build_id,
				 stamp->version, stamp->build_id);
	else
		snprintf(detail, sizeof(detail),
				 "The server runs version %s (build %s), the file is of an unknown version.",
				 QPSSCALE_VERSION, qpsscale_host_stamp.build_id);

	if (note_restart_required(true))
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("qpsscale was upgraded under the running server, restart the server"),
				 errdetail_internal("%s", detail)));
	note_state(launch, QPSSCALE_STATE_RESTART,
			   "another version was installed, restart the server");
	if (!launch->resident)
		qpsscale_request_refuse(launch->request,
								ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
								"qpsscale was upgraded under the running server",
								detail, "Restart the server.");
	proc_exit(0);
}

static bool
stamps_agree(const QpsscaleStamp *ours, const QpsscaleStamp *theirs)
{
	return theirs->magic == ours->magic &&
		theirs->host_size == ours->host_size &&
		strncmp(theirs->version, ours->version, sizeof(ours->version)) == 0 &&
		strncmp(theirs->build_id, ours->build_id, sizeof(ours->build_id)) == 0;
}

/* Loads qpsscale_worker.so; does not return unless it fits to us. */
static QpsscaleWorkerRun
load_worker_library(const QpsscaleLaunch *launch)
{
	const QpsscaleStamp *volatile stamp = NULL;
	volatile QpsscaleWorkerRun run = NULL;

	PG_TRY();
	{
		void	   *library = NULL;

		stamp = (const QpsscaleStamp *)
			load_external_function(QPSSCALE_WORKER_LIBRARY,
								   QPSSCALE_WORKER_STAMP, true, &library);
		run = (QpsscaleWorkerRun)
			lookup_external_function(library, QPSSCALE_WORKER_RUN);
		if (run == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FUNCTION),
					 errmsg("could not find function \"%s\" in file \"%s\"",
							QPSSCALE_WORKER_RUN, QPSSCALE_WORKER_LIBRARY)));
	}
	PG_CATCH();
	{
		report_load_failure(launch);
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (!stamps_agree(&qpsscale_host()->stamp, stamp))
		end_for_other_build(launch, stamp);
	(void) note_restart_required(false);
	return run;
}

static emit_log_hook_type previous_log_hook = NULL;
static int	slot_to_note = -1;

/*
 * A worker whose database does not exist, or whose role does not or may not
 * connect, ends in the middle of connecting, with nothing but a message; it
 * says so in its slot too, for the launcher and for stat_worker.
 */
static void
note_refused_connection(ErrorData *error)
{
	if (error->elevel == FATAL &&
		error->sqlerrcode == ERRCODE_UNDEFINED_DATABASE)
		qpsscale_slot_write(slot_to_note, QPSSCALE_STATE_NO_DATABASE,
							error->message);
	if (error->elevel == FATAL &&
		(error->sqlerrcode == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION ||
		 error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE))
		qpsscale_slot_write(slot_to_note, QPSSCALE_STATE_NO_ROLE,
							psprintf("%s; hint: mend the role or qpsscale.worker_role, then reload",
									 error->message));
	if (previous_log_hook)
		previous_log_hook(error);
}

static void
watch_for_refused_connection(int slot)
{
	slot_to_note = slot;
	previous_log_hook = emit_log_hook;
	emit_log_hook = note_refused_connection;
}

/* A command that holds the database is no news. */
static void
report_refused_claim(const char *database_name)
{
	bool		held = qpsscale_shared != NULL &&
		qpsscale_database_is_held(database_name);

	ereport(held ? DEBUG1 : LOG,
			(errmsg("qpsscale worker for database \"%s\" ends, as its place is taken",
					database_name)));
}

/*
 * The caller, whose library was loaded before ours was installed, may lay out
 * everything in another way: it only sees us end.
 */
static void
end_for_old_caller(void)
{
	ereport(LOG,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("qpsscale was upgraded under a running session, which must connect anew")));
	proc_exit(0);
}

/*
 * Common to both kinds of worker.  Before 19 the default handler of SIGTERM
 * ends the process inside the signal handler; `die` waits for the next
 * CHECK_FOR_INTERRUPTS().
 */
static void
run_worker(bool resident)
{
	QpsscaleLaunch launch;
	QpsscaleWorkerRun run;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	memcpy(&launch, MyBgworkerEntry->bgw_extra, sizeof(launch));
	if (strncmp(launch.build_id, qpsscale_host_stamp.build_id,
				sizeof(launch.build_id)) != 0)
		end_for_old_caller();
	if (launch.resident != resident)
		elog(ERROR, "qpsscale worker was started in a wrong way");
	if (resident && !qpsscale_slot_claim(launch.slot, launch.database_name))
	{
		report_refused_claim(launch.database_name);
		proc_exit(0);
	}
	if (resident)
		watch_for_refused_connection(launch.slot);
	run = load_worker_library(&launch);
	run(qpsscale_host(), &launch);
	proc_exit(0);
}

void
qpsscale_worker_main(Datum main_arg)
{
	run_worker(true);
}

void
qpsscale_oneshot_main(Datum main_arg)
{
	run_worker(false);
}
