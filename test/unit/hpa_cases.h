/*-------------------------------------------------------------------------
 * hpa_cases.h
 *		Random groups of pods, the same ones at each run, for the comparison
 *		with Kubernetes' horizontal pod autoscaler.
 *
 * What its own code makes of them is recorded in hpa_results.h, which "make
 * check-k8s" compares with that code (test/kubernetes/t/020_hpa.pl).
 *-------------------------------------------------------------------------
 */
#ifndef HPA_CASES_H
#define HPA_CASES_H

#include <stdio.h>

#include "core/decide.h"
#include "core/signal.h"

#define HPA_CASES		10000
#define HPA_MAX_PODS	24

typedef struct HpaCase
{
	int			current;		/* desired replicas, > 0 */
	int			target;			/* per cent of the request */
	bool		is_memory;
	int			n_pods;
	QsPod		pods[HPA_MAX_PODS];
} HpaCase;

/* One of HPA_CASES cases, as seen at a moment in us since the epoch. */
extern void hpa_case(int number, int64_t now_us, HpaCase *result);

/* All of them, a line of integers each: replicas, target, is memory, pods; of
 * each pod usage and request in thousandths, sample's age and window, ages of
 * start and last transition of Ready in milliseconds, -1 for what is not there;
 * ready, pending, gone. */
extern void hpa_cases_print(FILE *out);

#endif							/* HPA_CASES_H */
