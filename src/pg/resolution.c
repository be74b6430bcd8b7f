/*-------------------------------------------------------------------------
 * resolution.c
 *		What became of the actions of earlier cycles.
 *
 * An activity that is open when a cycle begins is resolved by what the cloud
 * says now, never by what we believe we did; src/README.md has the table.  Only
 * decides: the store writes it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/resolution.h"
#include "utils/timestamp.h"

int
qpsscale_cycle_deadline_ms(const QpsscaleSettings *settings)
{
	return settings->cycle_deadline_ms > 0 ? settings->cycle_deadline_ms :
		settings->interval_ms;
}

static int64
later(int64 a, int64 b)
{
	return a > b ? a : b;
}

/*
 * The cloud has done what an activity without an outcome wanted.  When, nobody
 * has told us: after the intent, before now, and not later than the longest a
 * call may take.  Cooldowns begin at the last of these moments, and in this
 * very cycle, or else they would be too short.
 */
static void
was_applied(QpsscaleGroup *group, int64 settled_ms, TimestampTz now)
{
	GroupActivity *open = &group->open;
	QsHistory  *history = &group->history;
	TimestampTz settled = TimestampTzPlusMilliseconds(open->requested_at,
													  settled_ms);
	int64		at;

	open->resolved = ACTIVITY_ACCEPTED;
	open->applied_by = Min(settled, now);
	at = qpsscale_unix_us(open->applied_by);
	history->last_action_at = later(history->last_action_at, at);
	if (open->desired > open->base)
		history->last_scale_up_at = later(history->last_scale_up_at, at);
	else
		history->last_scale_down_at = later(history->last_scale_down_at, at);
}

/*
 * An intent without an outcome.  While the process that wrote it may still
 * send it, it is in flight; afterwards the cloud's desired capacity tells.  A
 * call that was sent may be carried out late, so "not applied" is believed
 * only when the longest a request may take has passed.  The row says when the
 * call was intended; it may have waited for its turn until the cycle's end.
 * An intent of the future was left by a clock that has been set back since:
 * nobody can tell how old it is, and it must not be waited for until then.
 */
static void
resolve_unknown(QpsscaleGroup *group, const QpsscaleSettings *settings)
{
	GroupActivity *open = &group->open;
	const QsCapacity *capacity = &group->target.capacity;
	int64		settled_ms = 2 * (int64) settings->request_timeout_ms +
		qpsscale_cycle_deadline_ms(settings);
	TimestampTz now = GetCurrentTimestamp();

	if (open->evaluator_alive)
		return;
	if (open->status == ACTIVITY_REQUESTED)
	{
		open->resolved = ACTIVITY_UNKNOWN;
		open->resolution = "the process that wanted to act has ended";
	}
	if (!capacity->known)
		return;
	if (capacity->desired == open->desired)
		was_applied(group, settled_ms, now);
	else if (TimestampDifferenceExceeds(open->requested_at, now,
										settled_ms) ||
			 TimestampDifferenceExceeds(now, open->requested_at, settled_ms))
	{
		open->resolved = ACTIVITY_FAILED;
		open->resolution = psprintf("outcome unknown; the cloud's desired capacity is %d, not %d",
									capacity->desired, open->desired);
	}
}

/*
 * Has the time that the policy gives passed?  A time of the future was left by
 * a clock that has been set back: it is waited for no longer than any other.
 */
static bool
is_too_late(const QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;
	TimestampTz since = open->accepted_at != 0 ? open->accepted_at :
		open->requested_at;
	TimestampTz now = GetCurrentTimestamp();
	int			deadline_ms = (int) Min((int64) group->activity_deadline_s * 1000,
										INT_MAX);

	return TimestampDifferenceExceeds(since, now, deadline_ms) ||
		TimestampDifferenceExceeds(now, since, deadline_ms);
}

/* Instances on their way: there, replaced by somebody, or too late. */
static void
resolve_accepted(QpsscaleGroup *group)
{
	GroupActivity *open = &group->open;
	const QsCapacity *capacity = &group->target.capacity;

	if (!capacity->known)
		return;
	if (capacity->desired != open->desired)
	{
		open->resolved = ACTIVITY_SUPERSEDED;
		open->resolution = psprintf("desired capacity was changed to %d by somebody else",
									capacity->desired);
	}
	else if (capacity->total == open->desired &&
			 (open->desired < open->base ||
			  capacity->in_service >= open->desired))
		open->resolved = ACTIVITY_SUCCESSFUL;
	else if (is_too_late(group))
	{
		open->resolved = ACTIVITY_FAILED;
		open->resolution = psprintf("not in service within %d seconds",
									group->activity_deadline_s);
	}
}

void
qpsscale_resolve_open(QpsscaleGroup *group, const QpsscaleSettings *settings)
{
	GroupActivity *open = &group->open;

	open->resolved = open->status;
	open->resolution = NULL;
	switch (open->status)
	{
		case ACTIVITY_REQUESTED:
		case ACTIVITY_UNKNOWN:
			resolve_unknown(group, settings);
			break;
		case ACTIVITY_ACCEPTED:
			resolve_accepted(group);
			break;
		default:
			break;
	}
	group->history.activity_in_flight =
		open->resolved == ACTIVITY_REQUESTED ||
		open->resolved == ACTIVITY_UNKNOWN;
	group->history.activity_accepted = open->resolved == ACTIVITY_ACCEPTED;
}
