/*-------------------------------------------------------------------------
 * crash_points.c
 *		What happens at a crash point, in builds for tests.
 *
 * Part of both libraries, since launcher and backends have points too.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/crash_points.h"

#ifdef QPSSCALE_TEST_HOOKS

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/pmsignal.h"

#define ORDER_FILE	"qpsscale.crash_point"
#define PAUSE_FILE	ORDER_FILE ".paused"
#define PAUSE_US	10000

#define CRASH_POINT_NAME(name, whose) #name,

static const char *const names[] = {
	QPSSCALE_CRASH_POINTS(CRASH_POINT_NAME)
};

/* Reads the order, if there is one for this point; the servers' processes
 * have the data directory as their own. */
static bool
is_ordered(const char *name, bool *pause)
{
	char		order[128] = "";
	char		point[100] = "";
	char		action[20] = "";
	FILE	   *file = fopen(ORDER_FILE, "r");

	if (file == NULL)
		return false;
	if (fgets(order, sizeof(order), file) != NULL)
		(void) sscanf(order, "%99s %19s", point, action);
	fclose(file);
	*pause = strcmp(action, "pause") == 0;
	return strcmp(point, name) == 0;
}

static bool
is_paused(void)
{
	struct stat status;

	return stat(PAUSE_FILE, &status) == 0;
}

void
qpsscale_crash_point(QpsscaleCrashPoint point)
{
	bool		pause;

	if (!is_ordered(names[point], &pause))
		return;
	/* one process takes the order: whoever can move the file away */
	if (!pause)
	{
		if (unlink(ORDER_FILE) == 0)
			kill(getpid(), SIGKILL);
		return;
	}
	if (rename(ORDER_FILE, PAUSE_FILE) != 0)
		return;
	while (is_paused() && PostmasterIsAlive())
		pg_usleep(PAUSE_US);
}

static int	point_in_commit = -1;

static void
in_commit(XactEvent event, void *argument)
{
	if (point_in_commit < 0)
		return;
	if (event == XACT_EVENT_COMMIT)
		qpsscale_crash_point(point_in_commit);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT)
		point_in_commit = -1;
}

void
qpsscale_crash_point_in_commit(QpsscaleCrashPoint point)
{
	static bool registered = false;

	if (!registered)
		RegisterXactCallback(in_commit, NULL);
	registered = true;
	point_in_commit = point;
}

#endif							/* QPSSCALE_TEST_HOOKS */
