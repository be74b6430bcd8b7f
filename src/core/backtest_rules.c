/*-------------------------------------------------------------------------
 * backtest_rules.c
 *		The policies that a backtest is compared with: what others do.
 *
 * Each from its documentation, as far as one tick can show it: a decision per
 * tick, the tick's mean load, all instances alike.
 *-------------------------------------------------------------------------
 */
#include "core/backtest.h"

#include <math.h>
#include <string.h>

#include "core/predicted_need.h"

#define LONG_AGO			(-1e9)
#define HPA_TOLERANCE		0.1
#define HPA_ROUND_SECONDS	15
#define TRACKING_LOW		0.9
#define PANIC_FACTOR		2
#define PANIC_SECONDS		60
#define MEAN_SECONDS		300

QsRule
qs_rule(QsRuleKind kind, double target)
{
	QsRule		rule = {.kind = kind,.target = target};

	rule.last_up = rule.last_down = rule.last_action = LONG_AGO;
	rule.last_panic = LONG_AGO;
	if (kind == QS_RULE_ORIGINAL)
	{
		rule.up_seconds = 300;
		rule.down_seconds = 600;
		rule.general_seconds = 180;
	}
	if (kind == QS_RULE_HPA)
		rule.window_seconds = 300;
	if (kind == QS_RULE_STABILIZED)
		rule.window_seconds = 600;
	return rule;
}

static double
limited(const QsBacktestPlan *plan, double desired)
{
	return fmin(fmax(desired, plan->min), plan->max);
}

static double
target_of(const QsRule *rule, const QsBacktestPlan *plan)
{
	return rule->target * plan->per_instance;
}

int
qs_rule_ready_at_first(const QsRule *rule, const QsBacktestPlan *plan)
{
	double		first = isnan(plan->loads[0]) ? 0 : plan->loads[0];

	return (int) limited(plan, ceil(first / target_of(rule, plan)));
}

/* The mean of the last five minutes that are known. */
static double
recent_mean(const QsBacktestView *view)
{
	int			length = (int) (MEAN_SECONDS / view->plan->tick_seconds);
	double		sum = 0;
	int			count = 0;

	if (length < 1)
		length = 1;
	for (int t = view->known - length; t < view->known; t++)
	{
		if (t >= 0 && !isnan(view->loads[t]))
		{
			sum += view->loads[t];
			count++;
		}
	}
	return count > 0 ? sum / count : view->newest;
}

static double
original_wants(QsRule *rule, const QsBacktestView *view)
{
	double		total = view->ready + view->pending;
	double		now = view->tick * view->plan->tick_seconds;
	double		wanted = limited(view->plan,
								 ceil(recent_mean(view) /
									  target_of(rule, view->plan)));

	if (wanted == total || now - rule->last_action < rule->general_seconds)
		return total;
	if (wanted > total)
	{
		if (now - rule->last_up < rule->up_seconds)
			return total;
		rule->last_up = now;
	}
	else
	{
		if (now - rule->last_down < rule->down_seconds)
			return total;
		rule->last_down = now;
	}
	rule->last_action = now;
	return wanted;
}

/* Remembers the recommendation; the largest of the window. */
static double
largest_recommended(QsRule *rule, const QsBacktestView *view, double wanted)
{
	int			length = (int) floor(rule->window_seconds /
									 view->plan->tick_seconds);
	double		largest = 0;

	length = length < 1 ? 1 : length;
	length = length > QS_RULE_WINDOW ? QS_RULE_WINDOW : length;
	rule->recommended[view->tick % QS_RULE_WINDOW] = wanted;
	for (int t = view->tick; t > view->tick - length && t >= 0; t--)
		largest = fmax(largest, rule->recommended[t % QS_RULE_WINDOW]);
	return largest;
}

static double
hpa_wants(QsRule *rule, const QsBacktestView *view)
{
	double		total = view->ready + view->pending;
	double		target = target_of(rule, view->plan);
	double		wanted = total;
	double		most = total;
	int			rounds = (int) floor(view->plan->tick_seconds /
									 HPA_ROUND_SECONDS);
	double		largest;

	if (fabs(view->newest / (target * fmax(total, 1)) - 1) > HPA_TOLERANCE)
		wanted = ceil(view->newest / target);
	/* four pods or as many as there are, each round */
	for (int i = 0; i < (rounds < 1 ? 1 : rounds); i++)
		most = fmin(fmax(most + 4, most * 2), QS_BACKTEST_MAX_FLEET);
	wanted = limited(view->plan, fmin(wanted, most));
	largest = largest_recommended(rule, view, wanted);
	return wanted >= total ? wanted : fmin(total, largest);
}

static int
ticks_in(const QsBacktestView *view, double seconds)
{
	int			ticks = (int) ceil(seconds / view->plan->tick_seconds);

	return ticks < 1 ? 1 : ticks;
}

static double
tracking_wants(QsRule *rule, const QsBacktestView *view)
{
	double		total = view->ready + view->pending;
	double		target = target_of(rule, view->plan);
	double		ready = view->ready > 1 ? view->ready : 1;
	double		each = view->newest / ready;
	double		wanted = ceil(view->ready * each / target);

	rule->above = each > target ? rule->above + 1 : 0;
	rule->below = each < TRACKING_LOW * target ? rule->below + 1 : 0;
	if (rule->above >= ticks_in(view, 180))
		return wanted > total ? wanted : total;
	if (rule->below >= ticks_in(view, 900) && view->pending == 0 &&
		wanted < total)
	{
		rule->below = 0;
		return wanted;
	}
	return total;
}

static double
panic_wants(QsRule *rule, const QsBacktestView *view)
{
	double		total = view->ready + view->pending;
	double		now = view->tick * view->plan->tick_seconds;
	double		wanted = ceil(view->newest / target_of(rule, view->plan));

	if (wanted >= PANIC_FACTOR * fmax(view->ready, 1))
		rule->last_panic = now;
	if (now - rule->last_panic < PANIC_SECONDS + view->plan->tick_seconds &&
		wanted < total)
		wanted = total;
	return fmax(wanted, floor(total / 2));
}

double
qs_rule_wants(void *context, const QsBacktestView *view)
{
	QsRule	   *rule = context;
	double		total = view->ready + view->pending;
	double		wanted;
	double		largest;

	if (isnan(view->newest))
	{
		rule->recommended[view->tick % QS_RULE_WINDOW] = total;
		return total;
	}
	switch (rule->kind)
	{
		case QS_RULE_ORIGINAL:
			return original_wants(rule, view);
		case QS_RULE_CEIL:
			return ceil(view->newest / target_of(rule, view->plan));
		case QS_RULE_HPA:
			return hpa_wants(rule, view);
		case QS_RULE_TARGET_TRACKING:
			return tracking_wants(rule, view);
		case QS_RULE_STABILIZED:
			wanted = limited(view->plan,
							 ceil(view->newest / target_of(rule, view->plan)));
			largest = largest_recommended(rule, view, wanted);
			return wanted >= total ? wanted : fmin(total, largest);
		case QS_RULE_PANIC:
			return panic_wants(rule, view);
	}
	return total;
}

/* ---- the predictor ---- */

static bool
predictor_plan(const QsBacktestPlan *plan, QsPredictorPlan *result)
{
	int			last = 2 * plan->boot_ticks + 1;

	if (plan->tick_seconds < QS_PREDICTOR_MIN_TICK ||
		plan->tick_seconds > QS_PREDICTOR_MAX_TICK ||
		plan->tick_seconds != floor(plan->tick_seconds))
		return false;
	result->tick_seconds = (int) plan->tick_seconds;
	result->last[QS_STREAM_GROW] = plan->boot_ticks + 1;
	result->last[QS_STREAM_SHRINK] = last < QS_PREDICTOR_MAX_WINDOW ? last :
		QS_PREDICTOR_MAX_WINDOW;
	return true;
}

size_t
qs_foresight_bytes(const QsBacktestPlan *plan)
{
	QsPredictorPlan predicted;

	return predictor_plan(plan, &predicted) ?
		qs_predictor_bytes(&predicted) : 0;
}

bool
qs_foresight_begin(QsForesight *foresight, void *block,
				   const QsBacktestPlan *plan, double quantile, double share)
{
	QsPredictorPlan predicted;

	memset(foresight, 0, sizeof(*foresight));
	if (!predictor_plan(plan, &predicted))
		return false;
	foresight->predictor = qs_predictor_begin(block, &predicted, 0);
	foresight->quantile = quantile;
	foresight->share = share;
	qs_violation_target_begin(&foresight->target, predicted.tick_seconds,
							  predicted.last[QS_STREAM_GROW] - 1, share);
	return foresight->predictor != NULL;
}

static double
upper_of(const QsForesight *foresight, int stream)
{
	double		most = stream == QS_STREAM_SHRINK ? QS_MOST_SHRINKING : 1;

	if (foresight->quantile > 0)
		return qs_predictor_upper(foresight->predictor, stream,
								  fmin(foresight->quantile, most));
	return qs_violation_target_upper(&foresight->target, foresight->predictor,
									 stream);
}

static void
follow_target(QsForesight *foresight, const QsBacktestView *view)
{
	const QsBacktestPlan *plan = view->plan;
	QsViolationTick tick = {
		.load = view->newest,
		.per_instance = plan->per_instance,
		.floor_load = plan->min * plan->per_instance,
		.share = foresight->share,
		.may_shrink = true,
		.violated = view->newest >
		view->served_by * plan->per_instance * (1 + 1e-9),
		.frozen = isnan(view->newest) ||
		view->ready + view->pending >= plan->max
	};

	qs_violation_target_follow(&foresight->target, foresight->predictor,
							   &tick);
}

/* As it would run: a tick is learned from once it is known. */
double
qs_foresight_wants(void *context, const QsBacktestView *view)
{
	QsForesight *foresight = context;
	const QsBacktestPlan *plan = view->plan;
	QsNeedInput input = {
		.newest = view->newest,
		.yesterday = NAN,
		.may_shrink = true,
		.per_instance = plan->per_instance,
		.reactive_target = 1,
		.current = view->ready + view->pending,
		.min = plan->min,
		.max = plan->max
	};

	while (foresight->seen < view->known)
		qs_predictor_update(foresight->predictor,
							view->loads[foresight->seen++]);
	if (foresight->quantile <= 0 && view->known > 0)
		follow_target(foresight, view);
	input.upper_grow = upper_of(foresight, QS_STREAM_GROW);
	input.upper_shrink = upper_of(foresight, QS_STREAM_SHRINK);
	return qs_predicted_need(&input).desired;
}
