/*-------------------------------------------------------------------------
 * hpa_cases.c
 *		See hpa_cases.h.
 *-------------------------------------------------------------------------
 */
#include "hpa_cases.h"

#include <string.h>

/* A pod in the units of the horizontal pod autoscaler: whole thousandths and
 * milliseconds before now, -1 for what is not there. */
typedef struct PodNumbers
{
	int64_t		usage;
	int64_t		request;
	int64_t		sampled;
	int64_t		window;
	int64_t		started;
	int64_t		changed;
	bool		ready;
	bool		pending;
	bool		gone;
} PodNumbers;

typedef struct CaseNumbers
{
	int			current;
	int			target;
	bool		is_memory;
	int			n_pods;
	PodNumbers	pods[HPA_MAX_PODS];
} CaseNumbers;

/* A step of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t
next(uint64_t *state)
{
	uint64_t	z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* low .. high. */
static int64_t
between(uint64_t *state, int64_t low, int64_t high)
{
	return low + (int64_t) (next(state) % (uint64_t) (high - low + 1));
}

static bool
chance(uint64_t *state, int percent)
{
	return between(state, 1, 100) <= percent;
}

/*
 * How a pod is: mostly old and ready; else it starts, failed to become ready,
 * was lost, or says too little.  Ages of a start end in half a second, so that
 * none is at the edge of the five minutes that a start may take, since a
 * program that looks at the clock looks a moment later.
 */
static void
make_pod(uint64_t *state, int trouble, PodNumbers *pod)
{
	pod->sampled = between(state, 0, 60) * 1000;
	pod->window = between(state, 1, 6) * 10000;
	pod->started = between(state, 301, 100000) * 1000 + 500;
	pod->changed = pod->started - between(state, 1, 60) * 1000;
	pod->ready = true;
	if (!chance(state, trouble))
		return;
	switch (between(state, 0, 7))
	{
		case 0:
			pod->pending = true;
			pod->started = pod->changed = pod->usage = -1;
			pod->ready = false;
			break;
		case 1:
			pod->gone = true;
			break;
		case 2:
			pod->usage = -1;
			break;
		case 3:
			pod->changed = -1;
			pod->ready = false;
			break;
		case 4:
			pod->started = -1;
			break;
		case 5:
			pod->ready = false;
			break;
		default:
			/* Started lately: changed at any moment since. */
			pod->started = between(state, 0, 330) * 1000 + 500;
			pod->changed = between(state, 0, pod->started / 1000) * 1000;
			pod->ready = chance(state, 60);
			break;
	}
}

static void
make_case(int number, CaseNumbers *result)
{
	static const int targets[] = {50, 60, 70, 75, 80, 90, 100, 150};
	static const int troubles[] = {0, 5, 20, 60};
	uint64_t	state = (uint64_t) number;
	int64_t		request;
	int			level;
	int			trouble;
	int			noise;

	memset(result, 0, sizeof(*result));
	result->is_memory = chance(&state, 30);
	result->target = chance(&state, 80) ?
		targets[between(&state, 0, 7)] : (int) between(&state, 1, 200);
	result->n_pods = (int) between(&state, chance(&state, 3) ? 0 : 1,
								   HPA_MAX_PODS);
	trouble = troubles[between(&state, 0, 3)];
	request = between(&state, 1, 40) * (chance(&state, 50) ? 50 : 33);
	if (result->is_memory)
		request *= 1048576;

	/* Use in per cent of the target: a third of the cases near the edges of
	 * the tolerance, where a rounding decides. */
	level = chance(&state, 33) ? (int) between(&state, 85, 115)
		: (int) between(&state, 1, 400);
	noise = chance(&state, 40) ? 0 : (int) between(&state, 1, 60);
	for (int i = 0; i < result->n_pods; i++)
	{
		PodNumbers *pod = &result->pods[i];

		pod->request = request;
		if (noise > 20)
			pod->request += request * between(&state, 0, noise) / 100;
		pod->usage = pod->request * result->target / 100 * level / 100;
		if (noise > 0)
			pod->usage += pod->usage * between(&state, -noise, noise) / 100;
		make_pod(&state, trouble, pod);
		/* One that goes needs no request: there the laws differ knowingly. */
		if (trouble > 0 && !pod->gone && chance(&state, 1) &&
			chance(&state, 20))
			pod->request = -1;
	}
	/* The object may ask for another number than there is. */
	result->current = result->n_pods;
	if (chance(&state, 10))
		result->current += (int) between(&state, -3, 3);
	if (result->current < 1)
		result->current = 1;
}

void
hpa_case(int number, int64_t now_us, HpaCase *result)
{
	CaseNumbers numbers;

	make_case(number, &numbers);
	memset(result, 0, sizeof(*result));
	result->current = numbers.current;
	result->target = numbers.target;
	result->is_memory = numbers.is_memory;
	result->n_pods = numbers.n_pods;
	for (int i = 0; i < numbers.n_pods; i++)
	{
		const PodNumbers *from = &numbers.pods[i];
		QsPod	   *pod = &result->pods[i];
		bool		sampled = from->usage >= 0;

		pod->usage = sampled ? (double) from->usage / 1000.0 : -1;
		pod->request = from->request >= 0 ?
			(double) from->request / 1000.0 : -1;
		pod->sampled_at = sampled ? now_us - from->sampled * 1000 : QS_NEVER;
		pod->window_us = sampled ? from->window * 1000 : 0;
		pod->started_at = from->started >= 0 ?
			now_us - from->started * 1000 : QS_NEVER;
		pod->ready_changed_at = from->changed >= 0 ?
			now_us - from->changed * 1000 : QS_NEVER;
		pod->ready = from->ready;
		pod->pending = from->pending;
		pod->gone = from->gone;
	}
}

void
hpa_cases_print(FILE *out)
{
	for (int number = 0; number < HPA_CASES; number++)
	{
		CaseNumbers numbers;

		make_case(number, &numbers);
		fprintf(out, "%d %d %d %d", numbers.current, numbers.target,
				numbers.is_memory, numbers.n_pods);
		for (int i = 0; i < numbers.n_pods; i++)
		{
			const PodNumbers *pod = &numbers.pods[i];

			fprintf(out, " %lld %lld %lld %lld %lld %lld %d %d %d",
					(long long) pod->usage, (long long) pod->request,
					(long long) pod->sampled, (long long) pod->window,
					(long long) pod->started, (long long) pod->changed,
					pod->ready, pod->pending, pod->gone);
		}
		fputc('\n', out);
	}
}
