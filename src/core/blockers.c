/*-------------------------------------------------------------------------
 * blockers.c
 *		What forbids an action that is wanted: the suspicious-drop guard,
 *		operators, the circuit breaker, work in flight, cooldowns.
 *
 * Nothing here changes where a group goes, only when.  A check that cannot
 * be made forbids (it fails closed); a time in the future, left by a clock
 * that was set back, counts as now, so that it delays by one span at most
 * from the moment the clock is right again.
 *-------------------------------------------------------------------------
 */
#include "core/breaker.h"
#include "core/decide_parts.h"

/* A fall to less than this share of the recorded load is suspicious: the
 * usual cause is a metric that broke or traffic cut off upstream. */
#define DROP_SHARE			0.2

#define MINUTE_US			INT64_C(60000000)
#define DEFAULT_WINDOW_US	(5 * MINUTE_US)

/*
 * How long a suspicious drop is waited for: a second load window, so that
 * the judgement is repeated on data of which nothing was in the first.
 * Buckets are a minute long; a source without buckets gets the default
 * metric period of five minutes.
 */
static int64_t
drop_window_us(const QsLoad *load)
{
	if (load->expected_points <= 0)
		return DEFAULT_WINDOW_US;
	return load->expected_points * MINUTE_US;
}

/* Is the mean, which must be usable, no longer suspiciously low? */
bool
qs_drop_recovered(const QsLoad *load, const QsHistory *history)
{
	double		previous = history->previous_qps;

	if (!__builtin_isfinite(previous) || previous <= 0)
		return true;
	return load->mean_qps >= previous * DROP_SHARE;
}

/*
 * Judge a load that would shrink the group.  Sets *drop_seen_at to what is
 * to be stored, and *until to when a hold ends.
 *
 * The drop is believed at once where the number of healthy backends changed
 * with it.  Where that number is unknown it is taken for unchanged, and so it
 * is where all that are desired are healthy: then it is another one because
 * the group was scaled since it was last counted, perhaps by us.  The
 * wait starts when the drop is first seen, even while something else holds;
 * once it is running the number is not asked for again, so that a broken
 * metric of ten thousand groups does not cause ten thousand calls a tick.
 * When the wait is over the new level is accepted: drop_seen_at becomes
 * QS_NEVER, so that the caller records the load and a further drop from
 * there is judged anew.
 */
QsDropVerdict
qs_drop_verdict(const QsPolicy *policy, const QsLoad *load,
				const QsCapacity *capacity, const QsCloudActivity *activity,
				const QsHistory *history, int64_t now,
				int64_t *drop_seen_at, int64_t *until)
{
	bool		counted = capacity->in_service >= 0;
	int64_t		seen = qs_time_earlier(history->drop_seen_at, now);

	*drop_seen_at = QS_NEVER;
	*until = QS_NEVER;
	if (!policy->suspicious_drop_guard || qs_drop_recovered(load, history))
		return QS_DROP_NONE;
	if (counted && history->previous_in_service >= 0 &&
		capacity->in_service != history->previous_in_service &&
		capacity->in_service < qs_capacity_base(capacity))
		return QS_DROP_NONE;
	if (history->drop_seen_at == QS_NEVER)
		seen = now;
	*until = qs_time_add(seen, drop_window_us(load));
	if (now >= *until)
		return QS_DROP_NONE;
	*drop_seen_at = seen;
	if (history->drop_seen_at == QS_NEVER && !counted && !activity->asked)
		return QS_DROP_ASK;
	return QS_DROP_HOLD;
}

/* When a cooldown after "last" ends, or QS_NEVER when none is running. */
static int64_t
cooldown_end(int64_t last, int64_t cooldown_us, int64_t now)
{
	int64_t		end;

	if (last == QS_NEVER || cooldown_us <= 0)
		return QS_NEVER;
	end = qs_time_add(qs_time_earlier(last, now), cooldown_us);
	return now < end ? end : QS_NEVER;
}

typedef struct Cooldowns
{
	int64_t		general;		/* ends, QS_NEVER when not running */
	int64_t		up;
	int64_t		down;
} Cooldowns;

/*
 * Do the cloud's activities count?  Not where what others do is overridden:
 * ours are in the history anyway.
 */
static bool
minds_the_cloud(const QsPolicy *policy, const QsCloudActivity *activity)
{
	return activity->asked && activity->known &&
		policy->on_foreign_change != QS_FOREIGN_OVERRIDE;
}

/* Ours and those of others: whatever scaled the group, it needs its rest. */
static Cooldowns
running_cooldowns(const QsPolicy *policy, const QsCloudActivity *activity,
				  const QsHistory *history, int64_t now)
{
	int64_t		any = history->last_action_at;
	int64_t		up = history->last_scale_up_at;
	int64_t		down = history->last_scale_down_at;
	Cooldowns	ends;

	if (minds_the_cloud(policy, activity))
	{
		any = qs_time_later(any, activity->last_any_at);
		up = qs_time_later(up, activity->last_scale_up_at);
		down = qs_time_later(down, activity->last_scale_down_at);
	}
	ends.general = cooldown_end(any, policy->general_cooldown_us, now);
	ends.up = cooldown_end(up, policy->scale_up_cooldown_us, now);
	ends.down = cooldown_end(down, policy->scale_down_cooldown_us, now);
	return ends;
}

int64_t
qs_cooldowns_end(const QsPolicy *policy, const QsCloudActivity *activity,
				 const QsHistory *history, int64_t now)
{
	Cooldowns	ends = running_cooldowns(policy, activity, history, now);

	return qs_time_later(ends.general, qs_time_later(ends.up, ends.down));
}

/*
 * Capacity that is on its way blocks shrinking, because what the load will be
 * like with it is not known yet.  A larger desired capacity is written over
 * it where the provider takes that: waiting out a boot of minutes while the
 * load still rises would be slower than any plain autoscaler.
 */
static bool
scaling_in_progress(const QsPolicy *policy, const QsCloudActivity *activity,
					const QsHistory *history, QsAction wanted)
{
	bool		busy = history->activity_accepted ||
		(minds_the_cloud(policy, activity) && activity->in_progress);

	if (wanted == QS_ACTION_SCALE_UP && policy->writes_while_busy)
		return false;
	return busy;
}

/*
 * When the circuit breaker lets the next attempt pass, or QS_NEVER.  A clock
 * that ran ahead may have left a time that is further away than any pause.
 */
static int64_t
circuit_open_until(const QsHistory *history, int64_t now)
{
	if (history->circuit_open_until == QS_NEVER ||
		now >= history->circuit_open_until)
		return QS_NEVER;
	return qs_time_earlier(history->circuit_open_until,
						   qs_time_add(now, QS_CIRCUIT_LONGEST_US));
}

/*
 * The first thing that forbids the wanted action, or QS_NO_REASON.  The order
 * is from what a person did to what passes by itself; an operator's word
 * comes first because it is the one that explains all else.
 */
QsReason
qs_first_blocker(const QsPolicy *policy, const QsCapacity *capacity,
				 const QsCloudActivity *activity, const QsHistory *history,
				 int64_t now, QsAction wanted, int64_t *until)
{
	bool		up = wanted == QS_ACTION_SCALE_UP;
	Cooldowns	ends;

	*until = QS_NEVER;
	if (up ? history->suspended_up : history->suspended_down)
	{
		*until = history->suspended_until;
		return QS_REASON_SUSPENDED;
	}
	*until = circuit_open_until(history, now);
	if (*until != QS_NEVER)
		return QS_REASON_CIRCUIT_OPEN;
	if (history->activity_in_flight)
		return QS_REASON_ACTIVITY_IN_FLIGHT;
	if (!capacity->active)
		return QS_REASON_ASG_NOT_ACTIVE;
	if (up ? capacity->scale_out_suspended : capacity->scale_in_suspended)
		return QS_REASON_ASG_PROCESS_SUSPENDED;
	if (activity->asked && activity->known && activity->rival)
		return QS_REASON_OTHER_AUTOSCALER;
	if (scaling_in_progress(policy, activity, history, wanted))
		return QS_REASON_SCALING_IN_PROGRESS;

	ends = running_cooldowns(policy, activity, history, now);
	if (ends.general != QS_NEVER)
	{
		*until = ends.general;
		return QS_REASON_COOLDOWN_GENERAL;
	}
	if ((up ? ends.up : ends.down) != QS_NEVER)
	{
		*until = up ? ends.up : ends.down;
		return up ? QS_REASON_COOLDOWN_SCALE_UP :
			QS_REASON_COOLDOWN_SCALE_DOWN;
	}
	if (activity->asked && !activity->known)
		return QS_REASON_ACTIVITY_CHECK_FAILED;
	return QS_NO_REASON;
}
