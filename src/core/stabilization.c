/*-------------------------------------------------------------------------
 * stabilization.c
 *		The scale-down stabilization window over recorded recommendations.
 *
 * A group shrinks to the largest number that was recommended within the
 * window, as the Kubernetes autoscaler does, but from a record that outlives
 * a restart.  The record is a monotone queue: times ascend, instances
 * strictly descend, so each entry is the largest of all that followed it and
 * the first is the answer.  An empty record means no wait.
 *
 * An entry counts while now < at + window.  The queue is bounded: when it is
 * full, entries of the same slot (1/31 of the window, counted from the
 * epoch) become one with the larger number and the later time.  Slots do not
 * move, so an entry outstays its time by less than one slot however often
 * that happens, and the answer is never smaller than the truth.
 *
 * All functions work on the queue in the decision, which is what will be
 * stored.
 *-------------------------------------------------------------------------
 */
#include "core/decide_parts.h"

#define SLOTS_PER_WINDOW	(QS_MAX_RECOMMENDATIONS - 1)

/* Field by field, for the reason given at qs_decision_add_clamp. */
static void
set_entry(QsRecommendation *entry, int64_t at, int instances)
{
	entry->at = at;
	entry->instances = instances;
}

static void
truncate_queue(QsDecision *decision, int n)
{
	for (int i = n; i < decision->n_recommendations; i++)
		set_entry(&decision->recommendations[i], 0, 0);
	decision->n_recommendations = n;
}

/*
 * Merge the entries of each slot.  Afterwards every entry is in a slot of
 * its own, and entries of one window touch at most 32 slots.
 */
static void
merge_slots(QsDecision *decision, int64_t window_us)
{
	QsRecommendation *queue = decision->recommendations;
	int64_t		slot = (window_us - 1) / SLOTS_PER_WINDOW + 1;
	int			kept = 1;

	for (int i = 1; i < decision->n_recommendations; i++)
	{
		if (queue[kept - 1].at / slot == queue[i].at / slot)
			queue[kept - 1].at = queue[i].at;
		else
		{
			set_entry(&queue[kept], queue[i].at, queue[i].instances);
			kept++;
		}
	}
	truncate_queue(decision, kept);
}

/*
 * Make room in a full queue for an entry at "at".  Where that entry shares
 * the newest one's slot and no other two do, the merge finds nothing to do;
 * then the newest entry is given the new time, and stands for both.
 */
static bool
make_room(QsDecision *decision, int64_t window_us, int64_t at)
{
	merge_slots(decision, window_us);
	if (decision->n_recommendations < QS_MAX_RECOMMENDATIONS)
		return true;
	decision->recommendations[QS_MAX_RECOMMENDATIONS - 1].at = at;
	return false;
}

/* Append at the end; "at" is not before the newest entry. */
static void
append(QsDecision *decision, int64_t window_us, int64_t at, int instances)
{
	QsRecommendation *queue = decision->recommendations;
	int			n = decision->n_recommendations;

	/* what is not larger and not younger can never be the maximum again */
	while (n > 0 && queue[n - 1].instances <= instances)
		n--;
	truncate_queue(decision, n);
	if (n > 0 && queue[n - 1].at >= at)
		return;					/* outlived by a larger one */
	if (n == QS_MAX_RECOMMENDATIONS && !make_room(decision, window_us, at))
		return;
	set_entry(&queue[decision->n_recommendations], at, instances);
	decision->n_recommendations++;
}

/*
 * Take over what was recorded and has not left the window.  The record comes
 * from a table that a person can edit, so nothing is believed: entries are
 * put in order, times in the future count as now (the clock was set back),
 * negative numbers are dropped, absurd ones bounded.
 */
void
qs_window_load(const QsHistory *history, int64_t window_us, int64_t now,
			   QsDecision *decision)
{
	QsRecommendation sorted[QS_MAX_RECOMMENDATIONS];
	int			n_stored = history->n_recommendations;
	int			n = 0;

	decision->n_recommendations = 0;
	if (window_us <= 0)
		return;
	if (n_stored > QS_MAX_RECOMMENDATIONS)
		n_stored = QS_MAX_RECOMMENDATIONS;
	for (int i = 0; i < n_stored; i++)
	{
		int64_t		at = qs_time_earlier(history->recommendations[i].at, now);
		int			instances = history->recommendations[i].instances;
		int			place = n;

		if (instances < 0 || now >= qs_time_add(at, window_us))
			continue;
		if (instances > QS_MAX_INSTANCES)
			instances = QS_MAX_INSTANCES;
		for (; place > 0 && sorted[place - 1].at > at; place--)
			sorted[place] = sorted[place - 1];
		set_entry(&sorted[place], at, instances);
		n++;
	}
	for (int i = 0; i < n; i++)
		append(decision, window_us, sorted[i].at, sorted[i].instances);
}

void
qs_window_push(int64_t window_us, int64_t now, int instances,
			   QsDecision *decision)
{
	if (window_us > 0)
		append(decision, window_us, now, instances);
}

/* QS_UNKNOWN when nothing is recorded. */
int
qs_window_maximum(const QsDecision *decision)
{
	if (decision->n_recommendations == 0)
		return QS_UNKNOWN;
	return decision->recommendations[0].instances;
}

/*
 * When the last recommendation that forbids going below "base" leaves the
 * window.
 */
int64_t
qs_window_holds_until(const QsDecision *decision, int64_t window_us, int base)
{
	for (int i = decision->n_recommendations - 1; i >= 0; i--)
		if (decision->recommendations[i].instances >= base)
			return qs_time_add(decision->recommendations[i].at, window_us);
	return QS_NEVER;
}
