/*-------------------------------------------------------------------------
 * replay.c
 *		A group's own policy as a policy of the backtest: the same decide(),
 *		and the same prediction, as run live.
 *-------------------------------------------------------------------------
 */
#include "core/replay.h"

#include <math.h>
#include <string.h>

#define US		INT64_C(1000000)

static void
begin(QsReplay *replay)
{
	QsHistory  *history = &replay->history;

	memset(history, 0, sizeof(*history));
	history->previous_qps = -1;
	history->previous_qps_at = QS_NEVER;
	history->previous_in_service = QS_UNKNOWN;
	history->drop_seen_at = QS_NEVER;
	history->last_scale_up_at = QS_NEVER;
	history->last_scale_down_at = QS_NEVER;
	history->last_action_at = QS_NEVER;
	history->confirmations.observed_at = QS_NEVER;
	history->circuit_open_until = QS_NEVER;
	history->fulfilled_capacity = QS_UNKNOWN;
	history->stock_out_probe_at = QS_NEVER;
	history->suspended_until = QS_NEVER;
	history->held_instances = QS_UNKNOWN;
	history->held_until = QS_NEVER;
	replay->begun = true;
}

void
qs_history_follow(QsHistory *history, const QsDecision *decision,
				  const QsLoad *load, int in_service, int64_t now)
{
	bool		acted = decision->action != QS_ACTION_NONE &&
		!decision->dry_run;

	history->drop_seen_at = decision->drop_seen_at;
	if (decision->drop_seen_at == QS_NEVER && decision->load_qps >= 0)
	{
		history->previous_qps = decision->load_qps;
		history->previous_qps_at = load->newest_end_us;
		history->previous_in_service = in_service;
	}
	history->n_recommendations = decision->n_recommendations;
	memcpy(history->recommendations, decision->recommendations,
		   sizeof(history->recommendations));
	history->confirmations = decision->confirmations;
	if (!acted)
		return;
	history->last_action_at = now;
	if (decision->action == QS_ACTION_SCALE_UP)
		history->last_scale_up_at = now;
	else
		history->last_scale_down_at = now;
}

/* The mean over the window, as far as it is known. */
static QsLoad
load_of(const QsReplay *replay, const QsBacktestView *view, int64_t now)
{
	int64_t		tick_us = (int64_t) (view->plan->tick_seconds * (double) US);
	int			first = view->known - replay->window_ticks;
	QsLoad		load = {.newest_end_us = QS_NEVER};
	double		sum = 0;

	/* in the first tick its own load is known, as if it had been before */
	if (view->known == 0)
	{
		load.known = !isnan(view->newest);
		load.mean_qps = load.newest_qps = load.known ? view->newest : 0;
		load.newest_end_us = now;
		load.points = load.expected_points = load.known;
		return load;
	}
	for (int t = first > 0 ? first : 0; t < view->known; t++)
	{
		if (isnan(view->loads[t]))
			continue;
		sum += view->loads[t];
		load.points++;
		load.newest_qps = view->loads[t];
		load.newest_end_us = replay->begin_us + (t + 1) * tick_us;
	}
	load.expected_points = view->known < replay->window_ticks ?
		view->known : replay->window_ticks;
	load.known = load.points > 0;
	load.mean_qps = load.known ? sum / load.points : 0;
	return load;
}

static void
predict(QsReplay *replay, const QsBacktestView *view, const QsLoad *load)
{
	const QsBacktestPlan *plan = view->plan;
	int64_t		tick_us = (int64_t) (plan->tick_seconds * (double) US);
	double		each = replay->policy.target_qps;
	QsObserved	observed = {
		.end_us = replay->begin_us + view->known * tick_us,
		.load = view->newest,
		.each = each,
		/* as a worker sees it, who knows only what the policy says */
		.carried = view->served_by * each,
		.floor_load = plan->min * each,
		.share = replay->share,
		.frozen = !replay->steers || view->ready + view->pending >= plan->max
	};

	replay->history.predicted = NULL;
	if (replay->prediction == NULL)
		return;
	if (view->known > 0)
		qs_prediction_observe(replay->prediction, &observed);
	qs_prediction_tell(replay->prediction, &replay->predicted);
	if (load->known)
		replay->predicted.newest = load->newest_qps;
	replay->predicted.steers = replay->steers;
	replay->predicted.per_instance = each;
	replay->history.predicted = &replay->predicted;
}

static QsCapacity
capacity_of(const QsBacktestView *view)
{
	QsCapacity	capacity = {
		.known = true,
		.desired = view->ready + view->pending,
		.total = view->ready + view->pending,
		.in_service = view->ready,
		.min = view->plan->min,
		.max = view->plan->max,
		.active = true
	};

	return capacity;
}

double
qs_replay_wants(void *context, const QsBacktestView *view)
{
	static const QsCloudActivity quiet = {
		.asked = true, .known = true, .last_scale_up_at = QS_NEVER,
		.last_scale_down_at = QS_NEVER, .last_any_at = QS_NEVER,
		.newest_at = QS_NEVER
	};
	QsReplay   *replay = context;
	int64_t		now = replay->begin_us +
		(int64_t) (view->tick * view->plan->tick_seconds * (double) US);
	QsLoad		load;
	QsCapacity	capacity = capacity_of(view);

	if (!replay->begun)
		begin(replay);
	load = load_of(replay, view, now);
	predict(replay, view, &load);
	replay->history.activity_accepted = view->pending > 0;
	qs_decide(&replay->policy, &load, &capacity, &quiet, NULL, 0,
			  &replay->history, now, &replay->decision);
	qs_history_follow(&replay->history, &replay->decision, &load,
					  capacity.in_service, now);
	if (replay->reasons != NULL)
		replay->reasons[view->tick] = (uint8_t) replay->decision.reason;
	return replay->decision.action == QS_ACTION_NONE ?
		capacity.desired : replay->decision.desired;
}
