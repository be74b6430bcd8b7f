/*-------------------------------------------------------------------------
 * crash_points.h
 *		Named places at which a test can end or stop a process of ours.
 *
 * A crash point is a moment between two steps that must not be torn apart by
 * accident: what was promised must hold when the process ends just there.  Only
 * builds for tests (macro QPSSCALE_TEST_HOOKS) have them; in any other they
 * are nothing.
 *
 * A test writes "NAME" or "NAME pause" into the file qpsscale.crash_point of the
 * data directory.  The first process that comes by that point takes the file
 * away and kills itself as kill -9 would; or it makes the file
 * qpsscale.crash_point.paused and waits until the test removes that one.
 *
 * The table is what test/t/034_crash_points.pl walks: a new point is a line here
 * and a macro where it is.  The words say whose it is: "resident" is met where a
 * resident worker serves the database, "oneshot" where none does.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CRASH_POINTS_H
#define QPSSCALE_CRASH_POINTS_H

#define QPSSCALE_CRASH_POINTS(POINT) \
	/* on the way to a worker */                     \
	POINT(launcher_starting_worker, "resident")      \
	POINT(worker_connected, "resident oneshot")      \
	POINT(request_listed, "resident")                \
	POINT(request_taken, "resident")                 \
	POINT(oneshot_registered, "oneshot")             \
	POINT(request_attached, "resident oneshot")      \
	/* transaction 1 and the calls that only read */ \
	POINT(groups_read, "resident oneshot")           \
	POINT(history_trimmed, "resident")               \
	POINT(loaded, "resident oneshot")                \
	POINT(calls_submitted, "resident oneshot")       \
	POINT(decided, "resident oneshot")               \
	/* transaction 2 */                              \
	POINT(intending, "resident oneshot")             \
	POINT(resolved, "resident oneshot")              \
	POINT(claimed, "resident oneshot")               \
	POINT(intent_inserted, "resident oneshot")       \
	POINT(intent_committing, "resident oneshot")     \
	POINT(intent_committed, "resident oneshot")      \
	/* the call that changes something */            \
	POINT(call_starting, "resident oneshot")         \
	POINT(call_submitted, "resident oneshot")        \
	POINT(reply_awaited, "resident oneshot")         \
	POINT(reply_received, "resident oneshot")        \
	/* transaction 3 */                              \
	POINT(recording, "resident oneshot")             \
	POINT(outcome_written, "resident oneshot")       \
	POINT(outcome_committing, "resident oneshot")    \
	POINT(outcome_recorded, "resident oneshot")      \
	/* and the answer */                             \
	POINT(answering, "resident oneshot")             \
	POINT(answered, "resident oneshot")

#ifdef QPSSCALE_TEST_HOOKS

#define QPSSCALE_CRASH_POINT_ID(name, whose) CRASH_POINT_##name,

typedef enum QpsscaleCrashPoint
{
	QPSSCALE_CRASH_POINTS(QPSSCALE_CRASH_POINT_ID)
	CRASH_POINT_COUNT
} QpsscaleCrashPoint;

extern void qpsscale_crash_point(QpsscaleCrashPoint point);

/* Inside the commit of the current transaction: its record is written, and
 * nobody has been told. */
extern void qpsscale_crash_point_in_commit(QpsscaleCrashPoint point);

#define QPSSCALE_CRASH_POINT(name) \
	qpsscale_crash_point(CRASH_POINT_##name)
#define QPSSCALE_CRASH_POINT_IN_COMMIT(name) \
	qpsscale_crash_point_in_commit(CRASH_POINT_##name)

#else

#define QPSSCALE_CRASH_POINT(name)				((void) 0)
#define QPSSCALE_CRASH_POINT_IN_COMMIT(name)	((void) 0)

#endif							/* QPSSCALE_TEST_HOOKS */

#endif							/* QPSSCALE_CRASH_POINTS_H */
