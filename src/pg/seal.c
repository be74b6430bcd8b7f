/*-------------------------------------------------------------------------
 * seal.c
 *		A worker runs no code of others that hangs on our tables.
 *
 * Who puts a trigger, a rule or a default with a function on a table that a
 * worker writes, has his code run as the worker's role, which may be the
 * bootstrap superuser.  qpsscale.foreign_objects() compares what is there
 * with what was installed.
 *
 * It is asked at the start of each cycle, and again before any statement that
 * writes if the server has announced a change of one of our tables or of any
 * function since; without one, this costs a look at a flag.  Nothing slips in
 * between: a statement's locks are taken before it starts, announcements are
 * read while they are, and who adds such an object needs a lock that conflicts
 * with them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/executor.h"
#include "executor/spi.h"
#include "pg/seal.h"
#include "pg/worker.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define MOST_TABLES		64

static bool stale = true;
static char broken[512] = "";	/* "" = nothing foreign */
static Oid	tables[MOST_TABLES];
static int	n_tables = 0;		/* more than MOST_TABLES: all count */
static ExecutorStart_hook_type next_executor_start = NULL;

static void
relation_changed(Datum arg, Oid relation)
{
	bool		ours = !OidIsValid(relation) || n_tables > MOST_TABLES;

	for (int i = 0; i < n_tables && !ours; i++)
		ours = tables[i] == relation;
	stale = stale || ours;
}

static void
function_changed(Datum arg, int cache, uint32 hash)
{
	stale = true;
}

static void
read_tables(void)
{
	if (SPI_execute("SELECT c.oid FROM pg_class c"
					" WHERE c.relnamespace = 'qpsscale'::regnamespace"
					" AND c.relkind <> 'i' AND c.relkind <> 'S'",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not list the tables of qpsscale");
	n_tables = (int) SPI_processed;
	for (int i = 0; i < Min(n_tables, MOST_TABLES); i++)
	{
		bool		null;

		tables[i] =
			DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
										   SPI_tuptable->tupdesc, 1, &null));
	}
}

static void
read_foreign_objects(char *text, size_t size)
{
	if (SPI_execute("SELECT string_agg(f, '; ')"
					" FROM qpsscale.foreign_objects() f",
					true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not ask for foreign objects");
	text[0] = '\0';
	if (SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) != NULL)
		strlcpy(text, SPI_getvalue(SPI_tuptable->vals[0],
								   SPI_tuptable->tupdesc, 1), size);
}

/* The flag is taken down first: a change during the look counts anew. */
static void
look(void)
{
	char		found[sizeof(broken)];

	stale = false;
	PG_TRY();
	{
		PushActiveSnapshot(GetLatestSnapshot());
		SPI_connect();
		read_tables();
		read_foreign_objects(found, sizeof(found));
		SPI_finish();
		PopActiveSnapshot();
	}
	PG_CATCH();
	{
		stale = true;
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (found[0] != '\0' && strcmp(found, broken) != 0)
		ereport(qpsscale_elevel(WARNING),
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("qpsscale evaluates nothing, as its objects are not as they were installed: %s",
						found),
				 errhint(QPSSCALE_SEAL_HINT)));
	strlcpy(broken, found, sizeof(broken));
}

const char *
qpsscale_seal_broken(bool again)
{
	if (stale || (again && broken[0] != '\0'))
		look();
	return broken[0] == '\0' ? NULL : broken;
}

static void
require_seal(QueryDesc *query, int flags)
{
	bool		writes = query->operation != CMD_SELECT ||
		query->plannedstmt->hasModifyingCTE;

	if (writes && qpsscale_seal_broken(false) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("objects of qpsscale are not as they were installed: %s",
						broken),
				 errhint(QPSSCALE_SEAL_HINT)));
	if (next_executor_start)
		next_executor_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
}

void
qpsscale_seal_watch(void)
{
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	next_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = require_seal;
}
