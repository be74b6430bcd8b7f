/*-------------------------------------------------------------------------
 * backfill.c
 *		The load from before a group was first seen, as its cloud has it.
 *
 * A step asks for a day of it at most, of the groups of one chunk of samples,
 * since they share their rows; newest first, as that counts most.  How far a
 * group has come is in its state, so that a restart goes on there.  What could
 * be read of a part is kept, and what could not is asked for later.
 *
 * Steps come after a tick, in what is left of its interval, and nobody waits
 * for them: a tick that is due is late by no more than one of them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "pg/backfill.h"
#include "pg/explain.h"
#include "pg/observe.h"
#include "pg/predictors.h"
#include "pg/store_backfill.h"
#include "pg/store_samples.h"
#include "pg/worker.h"
#include "utils/timestamp.h"

/* One step takes half of an interval at most, but no longer than: */
#define MOST_STEP_MS		5000
/* No other is begun when this part of the interval is over: */
#define PART_OF_INTERVAL	10

#define SOON_S				300
#define LATER_S				3600

StaticAssertDecl(QPSSCALE_SAMPLE_GROUPS <= QS_PAST_TARGETS,
				 "a provider is asked for a whole chunk");

/* The chunk whose turn it is, and until when the database is left alone. */
static int64 next_chunk = 0;
static TimestampTz paused_until = 0;

static const QpsscaleSettings *
settings(void)
{
	return qpsscale_worker_host->settings;
}

/* How far the past is wanted, and is there. */
static TimestampTz
goal_of(const QpsscaleGroup *group, TimestampTz now)
{
	int64		span_s = Min((int64) settings()->sample_backfill_s,
							 group->provider->past_days *
							 (int64) SECS_PER_DAY);

	if (settings()->sample_retention_s > 0)
		span_s = Min(span_s, settings()->sample_retention_s);
	return now - span_s * USECS_PER_SEC;
}

static TimestampTz
whole_minute(TimestampTz at)
{
	return at - qpsscale_unix_us(at) % USECS_PER_MINUTE;
}

/* Where the past ends that is not known: a group's first point is live. */
static TimestampTz
known_from(const QpsscaleGroup *group)
{
	if (group->backfilled_from != 0)
		return whole_minute(group->backfilled_from);
	return whole_minute(group->observed_at -
						settings()->metric_resolution_s * USECS_PER_SEC);
}

static bool
is_due(const QpsscaleGroup *group, TimestampTz now)
{
	return group->stage == STAGE_FINISHED && group->stored &&
		group->batch != NULL && group->observed_at != 0 &&
		group->provider->ask_past != NULL && group->alb_id != NULL &&
		group->policy.target_qps > 0 && group->backfill_retry_at <= now &&
		(group->backfilled_from == 0 ||
		 group->backfilled_from > goal_of(group, now));
}

/* The next chunk of which groups are due, and the newest part that one lacks. */
static bool
choose(const StoreSnapshot *snapshot, TimestampTz now, Past *past)
{
	int64		chunk = -1;
	TimestampTz goal = 0;
	int			span_s = 0;

	for (int i = 0; i < snapshot->n_groups; i++)
	{
		QpsscaleGroup *group = &snapshot->groups[i];
		int64		own = qpsscale_sample_chunk(group);

		if (own < next_chunk || (chunk != -1 && own != chunk) ||
			!is_due(group, now))
			continue;
		if (chunk == -1)
		{
			chunk = own;
			past->until = known_from(group);
			goal = goal_of(group, now);
			span_s = group->provider->past_span_s;
		}
		past->until = Max(past->until, known_from(group));
		goal = Min(goal, goal_of(group, now));
		span_s = Min(span_s, group->provider->past_span_s);
		past->groups[past->n_groups++] = group;
	}
	next_chunk = chunk + 1;
	past->since = Max(past->until - span_s * USECS_PER_SEC, whole_minute(goal));
	past->since = Min(past->since, past->until);
	return chunk != -1;
}

/* Those that know this part already have their turn with an older one. */
static void
keep_those_that_lack_it(Past *past, TimestampTz now)
{
	int			n = 0;

	for (int i = 0; i < past->n_groups; i++)
	{
		QpsscaleGroup *group = past->groups[i];

		if (known_from(group) <= past->since && past->since < past->until)
			continue;
		past->groups[n] = group;
		past->complete[n++] = past->since <= goal_of(group, now);
	}
	past->n_groups = n;
}

static void
await(Observer *observer)
{
	while (observer->pending > 0)
	{
		int64		left_ms = observer->deadline_ms - qs_net_now_ms();

		if (left_ms <= 0)
		{
			qpsscale_observe_abandon(observer, NULL, 0);
			return;
		}
		qpsscale_worker_wait(left_ms);
		qpsscale_observe_collect(observer);
	}
}

static bool
is_open(QpsscaleGroup *group)
{
	bool		open = false;

	for (int kind = 0; kind < QS_CALL_KINDS; kind++)
	{
		open |= group->pending[kind] > 0;
		group->pending[kind] = 0;
	}
	return open;
}

static void
note_error(Past *past, int i, const QsError *error, TimestampTz now)
{
	char	   *text = psprintf("the load of the past could not be read: %s%s%s",
								error->code, error->code[0] == '\0' ? "" : ": ",
								error->message);

	qpsscale_localize(text);
	past->errors[i] = text;
	past->complete[i] = false;
	past->retry_at[i] = now + USECS_PER_SEC *
		(qs_error_retryable(error) ? SOON_S : LATER_S);
}

static void
take_in(Past *past, int i, TimestampTz now)
{
	const QsTarget *target = &past->targets[i];
	const QsLoadSeries *read = target->past;
	int64		since_s = qpsscale_unix_us(past->since) / USECS_PER_SEC;
	int			n = past_minutes(past);
	QsError		late;

	past->loads[i] = palloc(sizeof(double) * Max(n, 1));
	for (int m = 0; m < n; m++)
		past->loads[i][m] = NAN;
	for (size_t p = 0; read != NULL && p < read->n; p++)
	{
		int64		minute = (read->points[p].at_s - since_s) / SECS_PER_MINUTE;

		if (minute >= 0 && minute < n)
			past->loads[i][minute] = read->points[p].qps;
	}
	qs_error_clear(&late);
	qs_error_set(&late, QS_ERROR_TRANSIENT, "deadline", "no answer in time");
	if (is_open(past->groups[i]))
		note_error(past, i, &late, now);
	else if (target->load_error.class != QS_ERROR_NONE)
		note_error(past, i, &target->load_error, now);
}

/* The state as it was written. */
static void
move_on(const Past *past)
{
	for (int i = 0; i < past->n_groups; i++)
	{
		QpsscaleGroup *group = past->groups[i];

		if (past->errors[i] != NULL)
			group->backfill_retry_at = past->retry_at[i];
		else
			group->backfilled_from = past->since;
		if (past->learned[i])
			qpsscale_predictors_forget(group->id);
	}
}

static void
step(Observer *observer, Past *past, TimestampTz now)
{
	ErrorData  *error;

	qpsscale_ask_past(observer, past->groups, past->targets, past->n_groups,
					  past->since, past->until);
	await(observer);
	for (int i = 0; i < past->n_groups; i++)
		take_in(past, i, now);
	if (qpsscale_store_past(past, &error))
	{
		move_on(past);
		return;
	}
	paused_until = now + SOON_S * USECS_PER_SEC;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("qpsscale could not write the load of the past: %s",
					error->message)));
}

void
qpsscale_backfill(Observer *cycle, const StoreSnapshot *snapshot,
				  int64 started_ms)
{
	int			interval_ms = settings()->interval_ms;
	TimestampTz now = GetCurrentTimestamp();
	int64		begun_ms = qs_net_now_ms();

	if (settings()->sample_backfill_s == 0 || now < paused_until)
		return;
	while (paused_until <= now &&
		   qs_net_now_ms() - started_ms < interval_ms / 2)
	{
		Observer	observer = *cycle;
		Past		past = {0};

		/* from the first chunk again, once */
		if (!choose(snapshot, now, &past) &&
			!choose(snapshot, now, &past))
			return;
		keep_those_that_lack_it(&past, now);
		qpsscale_worker_state("reading the past");
		observer.deadline_ms = qs_net_now_ms() +
			Min(interval_ms / 2, MOST_STEP_MS);
		observer.pending = 0;
		step(&observer, &past, now);
		cycle->calls = observer.calls;
		cycle->failed_calls = observer.failed_calls;
		if (qs_net_now_ms() - begun_ms >= interval_ms / PART_OF_INTERVAL)
			return;
	}
}
