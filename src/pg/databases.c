/*-------------------------------------------------------------------------
 * databases.c
 *		Commands on databases that our worker processes must not be in.
 *
 * DROP DATABASE, RENAME TO, SET TABLESPACE and the copying of a TEMPLATE want
 * the database without any connection; a background worker's keeps them
 * waiting for 5 s and then makes them fail.  So, before such a command runs
 * for somebody who may give it:
 *
 *	1. the database is held: no worker of ours starts in it any more;
 *	2. those in it are told to end, and waited for, MAKE_WAY_MS at most.  A
 *	   one-shot worker is left alone while somebody is connected whom it may
 *	   be working for: the command would fail anyway (unless FORCE is asked);
 *	3. the command runs;
 *	4. the hold ends with the transaction, or with the command if it fails, and
 *	   the launcher is told what became of the database: it starts the worker
 *	   again, or waits long for one that has gone.
 *
 * All checks are made again by the command itself; here they only keep a
 * worker from being stopped for a command that is going to be refused.
 *
 * After PREPARE TRANSACTION (possible for RENAME TO and CREATE EXTENSION) the
 * launcher finds out by its own pauses, as nobody tells it of the commit.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/tablespace.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "pg/compat.h"
#include "pg/databases.h"
#include "pg/shared.h"

#define MAKE_WAY_MS			3000
#define MAKE_WAY_POLL_MS	20
#define DEFAULT_TEMPLATE	"template1"

/* What a utility command does with databases. */
typedef struct Command
{
	const char *title;			/* for the log; NULL: nothing that matters */
	char		emptied[NAMEDATALEN];	/* must have no connection; "" = none */
	char		appears[NAMEDATALEN];	/* exists afterwards; "" = none */
	bool		force;			/* connections are ended */
	bool		permitted;
} Command;

/* A database that this transaction has changed. */
typedef struct Change
{
	char		database_name[NAMEDATALEN];
	bool		exists;			/* as the transaction leaves it */
} Change;

static ProcessUtility_hook_type previous_utility_hook = NULL;

/* Has this transaction holds or changes? */
static bool involved = false;

/* Of Change; in the transaction's memory. */
static List *changes = NIL;

/* ---- the end of the transaction ---- */

static void
look_at_changes(void)
{
	ListCell   *cell;

	foreach(cell, changes)
	{
		Change	   *change = lfirst(cell);

		change->exists = OidIsValid(get_database_oid(change->database_name,
													 true));
	}
}

static void
report_changes(void)
{
	ListCell   *cell;

	foreach(cell, changes)
	{
		const Change *change = lfirst(cell);

		qpsscale_database_order(change->database_name,
								change->exists ? QPSSCALE_ORDER_RETRY :
								QPSSCALE_ORDER_PAUSE);
	}
}

/*
 * The catalog can be read until just before the commit, and the launcher be
 * told just after it.  Orders go before the end of the hold: the launcher must
 * not start a worker between the two.
 */
static void
at_transaction_end(XactEvent event, void *arg)
{
	if (!involved)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			look_at_changes();
			return;
		case XACT_EVENT_COMMIT:
			report_changes();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	changes = NIL;
	involved = false;
	qpsscale_database_release(NULL);
}

/* Only a process that needs the callback has it. */
static void
expect_transaction_end(void)
{
	static bool expected = false;

	if (!expected)
		RegisterXactCallback(at_transaction_end, NULL);
	expected = true;
	involved = true;
}

void
qpsscale_databases_changed(const char *database_name)
{
	MemoryContext before = MemoryContextSwitchTo(TopTransactionContext);
	Change	   *change = palloc0(sizeof(Change));

	expect_transaction_end();
	strlcpy(change->database_name, database_name, NAMEDATALEN);
	changes = lappend(changes, change);
	MemoryContextSwitchTo(before);
}

/* ---- what a command is about, and whether it will be refused ---- */

static const char *
string_option(List *options, const char *name, const char *otherwise)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return otherwise;
}

static bool
has_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
		if (strcmp(lfirst_node(DefElem, cell)->defname, name) == 0)
			return true;
	return false;
}

static bool
is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID,
										ObjectIdGetDatum(database));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
		ReleaseSysCache(tuple);
	}
	return result;
}

static bool
may_move_to(const char *tablespace_name)
{
	Oid			tablespace = get_tablespace_oid(tablespace_name, true);

	return OidIsValid(tablespace) &&
		qpsscale_may_create_in_tablespace(tablespace);
}

/*
 * As the server finds out, too, but it has not lent us its function for long:
 * of PostgreSQL 15, only the newest minor releases do.
 */
static bool
may_create_databases(void)
{
	HeapTuple	role;
	bool		may;

	if (superuser())
		return true;
	role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	if (!HeapTupleIsValid(role))
		return false;
	may = ((Form_pg_authid) GETSTRUCT(role))->rolcreatedb;
	ReleaseSysCache(role);
	return may;
}

static void
read_drop(Command *command, const DropdbStmt *statement, bool alone)
{
	Oid			database = get_database_oid(statement->dbname, true);

	command->title = "DROP DATABASE";
	strlcpy(command->emptied, statement->dbname, NAMEDATALEN);
	command->force = has_option(statement->options, "force");
	command->permitted = alone && OidIsValid(database) &&
		database != MyDatabaseId && qpsscale_owns_database(database) &&
		!is_template(database);
}

static void
read_rename(Command *command, const RenameStmt *statement)
{
	Oid			database = get_database_oid(statement->subname, true);

	command->title = "ALTER DATABASE ... RENAME TO";
	strlcpy(command->emptied, statement->subname, NAMEDATALEN);
	strlcpy(command->appears, statement->newname, NAMEDATALEN);
	command->permitted = OidIsValid(database) && database != MyDatabaseId &&
		qpsscale_owns_database(database) && may_create_databases() &&
		!OidIsValid(get_database_oid(statement->newname, true));
}

static void
read_move(Command *command, const AlterDatabaseStmt *statement, bool alone)
{
	const char *tablespace = string_option(statement->options, "tablespace",
										   NULL);
	Oid			database;

	if (tablespace == NULL)
		return;
	database = get_database_oid(statement->dbname, true);
	command->title = "ALTER DATABASE ... SET TABLESPACE";
	strlcpy(command->emptied, statement->dbname, NAMEDATALEN);
	command->permitted = alone && OidIsValid(database) &&
		database != MyDatabaseId && qpsscale_owns_database(database) &&
		may_move_to(tablespace);
}

static void
read_create(Command *command, const CreatedbStmt *statement, bool alone)
{
	const char *template = string_option(statement->options, "template",
										 DEFAULT_TEMPLATE);
	Oid			database = get_database_oid(template, true);

	command->title = "CREATE DATABASE ... TEMPLATE";
	strlcpy(command->emptied, template, NAMEDATALEN);
	strlcpy(command->appears, statement->dbname, NAMEDATALEN);
	command->permitted = alone && OidIsValid(database) &&
		may_create_databases() &&
		(is_template(database) || qpsscale_owns_database(database)) &&
		!OidIsValid(get_database_oid(statement->dbname, true));
}

/* `alone` is whether a command that wants no transaction around it has none. */
static void
read_command(Command *command, const Node *statement, bool alone)
{
	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			read_drop(command, (const DropdbStmt *) statement, alone);
			break;
		case T_RenameStmt:
			if (((const RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				read_rename(command, (const RenameStmt *) statement);
			break;
		case T_AlterDatabaseStmt:
			read_move(command, (const AlterDatabaseStmt *) statement, alone);
			break;
		case T_CreatedbStmt:
			read_create(command, (const CreatedbStmt *) statement, alone);
			break;
		default:
			break;
	}
}

/* ---- who is in the database ---- */

/*
 * Process ids of all others that are connected to it, but for autovacuum, which
 * the commands themselves send away.  Ends with 0.  Entries of processes that
 * have gone keep what they held until they are taken anew, so the server is
 * asked whether the process is there.
 */
static pid_t *
processes_in(Oid database)
{
	pid_t	   *pids = palloc0((ProcGlobal->allProcCount + 1) * sizeof(pid_t));
	int			n = 0;

	for (int i = 0; i < (int) ProcGlobal->allProcCount; i++)
	{
		const PGPROC *process = &ProcGlobal->allProcs[i];
		pid_t		pid = process->pid;

		if (process->databaseId == database && pid != 0 && pid != MyProcPid &&
			!(process->statusFlags & PROC_IS_AUTOVACUUM) &&
			BackendPidGetProc(pid) == process)
			pids[n++] = pid;
	}
	return pids;
}

static bool
is_worker(pid_t pid, const char *type)
{
	const char *found = GetBackgroundWorkerTypeByPid(pid);

	return found != NULL && strcmp(found, type) == 0;
}

typedef struct Presence
{
	bool		resident;
	bool		others;			/* not ours: it may be their call */
	int			n_oneshots;
} Presence;

/*
 * A process that is about to exit leaves its slot before it leaves the
 * database: both must be looked at.  One-shot workers are told to end where
 * they may be; a second signal does no harm.
 */
static Presence
look_around(Oid database, const Command *command)
{
	pid_t	   *pids = processes_in(database);
	Presence	presence = {0};

	presence.resident = qpsscale_database_worker(command->emptied, 0) != 0;
	for (pid_t *pid = pids; *pid != 0; pid++)
	{
		/* user SQL ends with the worker that it runs for */
		if (is_worker(*pid, QPSSCALE_WORKER_TYPE) ||
			is_worker(*pid, QPSSCALE_USER_SQL_TYPE))
			presence.resident = true;
		else if (is_worker(*pid, QPSSCALE_ONESHOT_TYPE))
			presence.n_oneshots++;
		else
			presence.others = true;
	}
	for (pid_t *pid = pids; *pid != 0; pid++)
		if ((command->force || !presence.others) &&
			is_worker(*pid, QPSSCALE_ONESHOT_TYPE))
			(void) kill(*pid, SIGTERM);
	pfree(pids);
	return presence;
}

static bool
somebody_leaves(const Presence *presence, const Command *command)
{
	return presence->resident ||
		(presence->n_oneshots > 0 && (command->force || !presence->others));
}

static void
sleep_a_little(void)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = qpsscale_wait_event("QpsscaleMakeWay");
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 MAKE_WAY_POLL_MS, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* When the time is over, the command itself waits on, and says who is left. */
static void
make_way(const Command *command)
{
	Oid			database = get_database_oid(command->emptied, true);
	TimestampTz limit = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													MAKE_WAY_MS);
	Presence	presence;

	if (!OidIsValid(database))
		return;
	if (qpsscale_database_worker(command->emptied, SIGTERM) != 0)
		ereport(LOG,
				(errmsg("stopping the qpsscale worker for database \"%s\" to make way for %s",
						command->emptied, command->title)));
	for (;;)
	{
		presence = look_around(database, command);
		if (!somebody_leaves(&presence, command) ||
			GetCurrentTimestamp() >= limit)
			break;
		sleep_a_little();
	}
}

/* ---- the hook ---- */

static void
pass_on(PlannedStmt *planned, const char *query, bool read_only_tree,
		ProcessUtilityContext context, ParamListInfo parameters,
		QueryEnvironment *environment, DestReceiver *destination,
		QueryCompletion *completion)
{
	if (previous_utility_hook)
		previous_utility_hook(planned, query, read_only_tree, context,
							  parameters, environment, destination,
							  completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context,
								parameters, environment, destination,
								completion);
}

/* Afterwards its effects must be visible to look_at_changes(). */
static void
note_changes(const Command *command)
{
	CommandCounterIncrement();
	qpsscale_databases_changed(command->emptied);
	if (command->appears[0] != '\0')
		qpsscale_databases_changed(command->appears);
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo parameters,
				QueryEnvironment *environment, DestReceiver *destination,
				QueryCompletion *completion)
{
	Command		command = {0};

	if (qpsscale_shared != NULL && !RecoveryInProgress() && !XactReadOnly)
		read_command(&command, planned->utilityStmt,
					 !IsInTransactionBlock(context == PROCESS_UTILITY_TOPLEVEL));
	if (command.title == NULL || !command.permitted)
	{
		pass_on(planned, query, read_only_tree, context, parameters,
				environment, destination, completion);
		return;
	}

	expect_transaction_end();
	PG_TRY();
	{
		if (qpsscale_database_hold(command.emptied))
			make_way(&command);
		pass_on(planned, query, read_only_tree, context, parameters,
				environment, destination, completion);
	}
	PG_CATCH();
	{
		qpsscale_database_release(command.emptied);
		PG_RE_THROW();
	}
	PG_END_TRY();
	note_changes(&command);
}

void
qpsscale_databases_hook(void)
{
	previous_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
