/*-------------------------------------------------------------------------
 * utilization.h
 *		How much of what they asked for the pods of a group use, and how many
 *		pods that takes: the law of the Kubernetes autoscaler, to the number.
 *
 * For decide(), and for whoever shows the value beside it.
 *-------------------------------------------------------------------------
 */
#ifndef QS_UTILIZATION_H
#define QS_UTILIZATION_H

#include "core/signal.h"

typedef struct QsUtilization
{
	const char *problem;		/* NULL, or why there is no answer: "no_pods",
								 * "no_request", "no_samples" */
	int			problem_pod;	/* "no_request": its index; else -1 */
	int			percent;		/* of the requests, of the pods that count */
	int			proposal;
	bool		tolerated;		/* the proposal is the present size because the
								 * ratio is near enough to 1 */
} QsUtilization;

/*
 * Target in per cent, > 0; tolerance as a share; current is what is desired
 * now, > 0.  All outputs are set on each path.
 */
extern void qs_utilization(const QsPod *pods, int n_pods, bool is_memory,
						   double target, double tolerance, int current,
						   int64_t now, QsUtilization *utilization);

#endif							/* QS_UTILIZATION_H */
