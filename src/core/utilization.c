/*-------------------------------------------------------------------------
 * utilization.c
 *		The law of utilization of the Kubernetes autoscaler.
 *
 * Who moves a workload from there to here must find the same numbers, so
 * this follows its replica calculator in everything that shows: amounts are
 * whole thousandths, the percentage is cut to a whole number before it is
 * compared, pods without a sample count as using all of their request where
 * the group would shrink and nothing where it would grow, pods that start or
 * are not ready are left out, and count as idle where it would grow; and a
 * result that turns the direction around changes nothing.
 *
 * The delays are that autoscaler's defaults.  One thing differs: a pod that is
 * on its way out need not have a request.
 *-------------------------------------------------------------------------
 */
#include "core/utilization.h"

#include "core/decide.h"
#include "core/decide_parts.h"

#include <math.h>
#include <string.h>

#define CPU_INITIALIZATION_US	INT64_C(300000000)
#define READINESS_DELAY_US		INT64_C(30000000)

/* A pod's amounts beyond this are garbage, and sums of them must not wrap. */
#define MOST_THOUSANDTHS		1e18

typedef enum PodState
{
	POD_COUNTS,
	POD_UNREADY,				/* pending, starting, or never was ready */
	POD_WITHOUT_SAMPLE,
	POD_GONE
} PodState;

/* Sums over pods, in thousandths of a core or of a byte. */
typedef struct Sums
{
	__int128	usage;
	__int128	requests;
	int			n;
} Sums;

static PodState
state_of(const QsPod *pod, bool is_memory, int64_t now)
{
	bool		unready;

	if (pod->gone)
		return POD_GONE;
	if (pod->pending)
		return POD_UNREADY;
	/* NaN is no sample either */
	if (pod->sampled_at == QS_NEVER || !(pod->usage >= 0))
		return POD_WITHOUT_SAMPLE;
	if (is_memory)
		return POD_COUNTS;
	if (pod->started_at == QS_NEVER || pod->ready_changed_at == QS_NEVER)
		return POD_UNREADY;
	if (qs_time_add(pod->started_at, CPU_INITIALIZATION_US) > now)
		unready = !pod->ready || pod->sampled_at <
			qs_time_add(pod->ready_changed_at, pod->window_us);
	else
		unready = !pod->ready &&
			qs_time_add(pod->started_at, READINESS_DELAY_US) >
			pod->ready_changed_at;
	return unready ? POD_UNREADY : POD_COUNTS;
}

/*
 * Quantities are rounded up to whole thousandths there.  A double that stands
 * for 0.29 may be a little more than that, so what is within its precision
 * is not rounded up.
 */
static int64_t
thousandths(double amount)
{
	double		scaled = amount * 1000;
	double		whole;

	if (!(scaled > 0))
		return 0;
	if (!(scaled < MOST_THOUSANDTHS))
		return (int64_t) MOST_THOUSANDTHS;
	whole = rint(scaled);
	if (fabs(scaled - whole) > scaled * 1e-12)
		whole = ceil(scaled);
	return (int64_t) whole;
}

static void
add_pod(Sums *sums, const QsPod *pod, double usage)
{
	sums->usage += thousandths(usage);
	sums->requests += thousandths(pod->request);
	sums->n++;
}

static int
percent_of(const Sums *sums)
{
	__int128	percent = sums->usage * 100 / sums->requests;

	return percent < INT32_MAX ? (int) percent : INT32_MAX;
}

static int
round_up(double instances)
{
	if (!(instances < QS_MAX_INSTANCES))
		return QS_MAX_INSTANCES;
	return (int) ceil(instances);
}

/*
 * Once more, with the pods of which nothing is known on the side that makes
 * the change smaller.
 */
static int
propose_with_others(const QsPod *pods, int n_pods, bool is_memory,
					double target, double tolerance, int current, int64_t now,
					Sums sums, double ratio, bool *tolerated)
{
	bool		up = ratio > 1;
	bool		down = ratio < 1;
	double		again;
	int			proposal;

	for (int i = 0; i < n_pods; i++)
	{
		PodState	state = state_of(&pods[i], is_memory, now);

		if (state == POD_WITHOUT_SAMPLE && (up || down))
			add_pod(&sums, &pods[i], down ? pods[i].request : 0);
		else if (state == POD_UNREADY && up)
			add_pod(&sums, &pods[i], 0);
	}
	again = percent_of(&sums) / target;
	*tolerated = fabs(1.0 - again) <= tolerance;
	if (*tolerated || (down && again > 1) || (up && again < 1))
		return current;
	proposal = round_up(again * sums.n);
	if ((again < 1 && proposal > current) || (again > 1 && proposal < current))
		return current;
	return proposal;
}

void
qs_utilization(const QsPod *pods, int n_pods, bool is_memory, double target,
			   double tolerance, int current, int64_t now,
			   QsUtilization *utilization)
{
	Sums		sums = {0, 0, 0};
	int			n_unready = 0;
	int			n_without_sample = 0;
	int			n_there = 0;
	double		ratio;

	memset(utilization, 0, sizeof(*utilization));
	utilization->problem_pod = -1;
	utilization->proposal = current;
	for (int i = 0; i < n_pods; i++)
	{
		PodState	state = state_of(&pods[i], is_memory, now);

		if (state == POD_GONE)
			continue;
		n_there++;
		if (!(thousandths(pods[i].request) > 0) &&
			utilization->problem == NULL)
		{
			utilization->problem = "no_request";
			utilization->problem_pod = i;
		}
		n_unready += state == POD_UNREADY;
		n_without_sample += state == POD_WITHOUT_SAMPLE;
		if (state == POD_COUNTS)
			add_pod(&sums, &pods[i], pods[i].usage);
	}
	if (n_there == 0)
		utilization->problem = "no_pods";
	else if (utilization->problem == NULL && sums.n == 0)
		utilization->problem = "no_samples";
	if (utilization->problem != NULL)
		return;

	utilization->percent = percent_of(&sums);
	ratio = utilization->percent / target;
	if (n_without_sample == 0 && !(n_unready > 0 && ratio > 1))
	{
		utilization->tolerated = fabs(1.0 - ratio) <= tolerance;
		if (!utilization->tolerated)
			utilization->proposal = round_up(ratio * sums.n);
		return;
	}
	utilization->proposal =
		propose_with_others(pods, n_pods, is_memory, target, tolerance,
							current, now, sums, ratio,
							&utilization->tolerated);
}
