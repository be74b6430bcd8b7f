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
was_applied(QpsscaleGroup *group, int64 within_ms, TimestampTz now)
{
	GroupActivity *open = &group->open;
	QsHistory  *history = &group->history;
	TimestampTz latest = TimestampTzPlusMilliseconds(open->requested_at,
													 within_ms);
	int64		at;

	open->resolved = ACTIVITY_ACCEPTED;
	open->applied_by = Min(latest, now);
	at = qpsscale_unix_us(open->applied_by);
	history->last_action_at = later(history->last_action_at, at);
	if (open->desired >= open->base)
		history->last_scale_up_at = later(history->last_scale_up_at, at);
	else
		history->last_scale_down_at = later(history->last_scale_down_at, at);
}

/*
 * The longest that a call may be under way.  What the cloud showed before that
 * has passed may be older than the call.
 */
static int64
settled_ms(const QpsscaleSettings *settings)
{
	return 2 * (int64) settings->request_timeout_ms +
		qpsscale_cycle_deadline_ms(settings);
}

/* Does the group change anything in the cloud at all? */
static bool
is_writer(const QpsscaleGroup *group)
{
	return group->enabled && !group->row_dry_run && group->policy.armed &&
		group->policy.extension_enabled;
}

/*
 * Compares the desired capacity with what is known of it.  A group that never
 * writes follows whoever does, a live group on the same target for instance.
 * What was known under another policy, perhaps of another target or while the
 * group was disabled, is no base to accuse anybody.
 */
static void
compare_desired(QpsscaleGroup *group, const QpsscaleSettings *settings)
{
	const GroupWatch *watch = &group->watch;
	const GroupActivity *open = &group->open;
	bool		is_open = open->status != ACTIVITY_ABSENT;
	bool		accepted = open->status == ACTIVITY_ACCEPTED;
	TimestampTz now = GetCurrentTimestamp();
	QsKnownDesired known = {
		.desired = watch->known_version == group->version ?
		watch->known_desired : QS_UNKNOWN,
		.min = group->before.min,
		.max = group->before.max,
		.written = is_open ? open->desired : QS_UNKNOWN,
		.written_over = open->base,
		.accepted = accepted,
		.just_written = accepted &&
		!TimestampDifferenceExceeds(open->accepted_at, now,
									settled_ms(settings)),
		.lost = watch->lost_at == 0 ? QS_UNKNOWN : watch->lost_desired,
		.lost_at = qpsscale_unix_us(watch->lost_at),
	};
	GroupChange *change = &group->change;

	change->kind = qs_desired_change(&known, &group->target.capacity,
									 qpsscale_unix_us(now), &change->from);
	change->to = group->target.capacity.desired;
	if (change->from == QS_UNKNOWN || !is_writer(group))
		change->seen_at = 0;
	else if (change->seen_at == 0)
		change->seen_at = now;
}

bool
qpsscale_changed_by_others(const QpsscaleGroup *group)
{
	return group->change.seen_at != 0 &&
		group->change.kind == QS_DESIRED_FOREIGN;
}

/* What a foreign change does to the decision; see the policy's column. */
static void
react_to_others(QpsscaleGroup *group)
{
	QsHistory  *history = &group->history;

	history->last_action_at = group->last_action_at == 0 ? QS_NEVER :
		qpsscale_unix_us(group->last_action_at);
	if (!qpsscale_changed_by_others(group) ||
		group->policy.on_foreign_change == QS_FOREIGN_OVERRIDE)
		return;
	history->last_action_at = qpsscale_unix_us(group->change.seen_at);
	if (group->policy.on_foreign_change != QS_FOREIGN_PAUSE)
		return;
	history->suspended_up = true;
	history->suspended_down = true;
	history->suspended_until = QS_NEVER;
}

/* Why the desired capacity is not what our action wrote. */
static const char *
why_superseded(const QpsscaleGroup *group)
{
	int			desired = group->target.capacity.desired;
	int			ours = group->open.desired;

	if (desired < 0)
		return "the cloud tells no desired capacity any more";
	switch (group->change.kind)
	{
		case QS_DESIRED_OURS_LATE:
			return psprintf("desired capacity was changed from %d to %d by an earlier call that had been taken for lost",
							ours, desired);
		case QS_DESIRED_BY_LIMITS:
			return psprintf("desired capacity was changed from %d to %d by the cloud's new limits",
							ours, desired);
		default:
			return psprintf("desired capacity was changed from %d to %d by somebody else",
							ours, desired);
	}
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
	int64		settled = settled_ms(settings);
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
		was_applied(group, settled, now);
	else if (TimestampDifferenceExceeds(open->requested_at, now, settled) ||
			 TimestampDifferenceExceeds(now, open->requested_at, settled))
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
		/* the reply may be older than the write */
		if (group->change.kind == QS_DESIRED_AS_KNOWN &&
			capacity->desired == open->base)
			return;
		open->resolved = ACTIVITY_SUPERSEDED;
		open->resolution = why_superseded(group);
	}
	else if (open->desired < open->base ?
			 capacity->total <= open->desired :
			 capacity->total == open->desired &&
			 capacity->in_service >= open->desired)
		open->resolved = ACTIVITY_SUCCESSFUL;
	else if (is_too_late(group))
	{
		open->resolved = ACTIVITY_FAILED;
		open->resolution = psprintf("not in service within %d seconds",
									group->activity_deadline_s);
	}
}

/* Did running grow?  From what was read, however often it is asked. */
static void
watch_growth(QpsscaleGroup *group)
{
	const GroupActivity *open = &group->open;
	QsHistory  *history = &group->history;
	QsGrowth	growth = {
		.id = open->status == ACTIVITY_ACCEPTED &&
		open->desired >= open->base ? open->id : 0,
		.desired = open->desired,
		.members_before = open->total,
		.requested_at = qpsscale_unix_us(open->requested_at),
		.too_late = open->resolved == ACTIVITY_FAILED,
	};

	group->stock_out = group->watch.stock_out;
	qs_stock_out_observe(&group->stock_out, &growth,
						 &group->target.capacity, &group->target.activity,
						 group->asked_in_service, group->id,
						 qpsscale_unix_us(GetCurrentTimestamp()));
	history->unfulfilled_scale_ups = group->stock_out.unfulfilled;
	history->fulfilled_capacity = group->stock_out.fulfilled;
	history->stock_out_probe_at = group->stock_out.probe_at;
}

/* What others did just now counts for the rates as what they did before does. */
static void
count_change(QpsscaleGroup *group)
{
	QsHistory  *history = &group->history;
	QsChange   *change;

	history->changes = group->changes;
	history->n_changes = group->n_changes;
	if (group->changes == NULL || !qpsscale_changed_by_others(group))
		return;
	change = &group->changes[history->n_changes++];
	change->at = qpsscale_unix_us(group->change.seen_at);
	change->delta = group->change.to - group->change.from;
}

void
qpsscale_resolve_open(QpsscaleGroup *group, const QpsscaleSettings *settings)
{
	GroupActivity *open = &group->open;

	open->resolved = open->status;
	open->resolution = NULL;
	compare_desired(group, settings);
	react_to_others(group);
	count_change(group);
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
	watch_growth(group);
	group->history.activity_in_flight =
		open->resolved == ACTIVITY_REQUESTED ||
		open->resolved == ACTIVITY_UNKNOWN;
	/* what the cloud gave up is not on its way any more */
	group->history.activity_accepted =
		open->resolved == ACTIVITY_ACCEPTED &&
		open->id != group->stock_out.counted;
}
