/*-------------------------------------------------------------------------
 * last_observed.h
 *		What the last calls said, for as long as nothing newer is published.
 *
 * A metric is asked no more often than its source publishes it: load and
 * signals of each group are kept in this process, and used again until the
 * next point can be there.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_LAST_OBSERVED_H
#define QPSSCALE_LAST_OBSERVED_H

#include "pg/calls.h"

/* true: the group has it already, and it is not to be asked for. */
extern bool qpsscale_reuse_load(const Observer *observer,
								QpsscaleGroup *group);
extern bool qpsscale_reuse_reading(const Observer *observer,
								   QpsscaleGroup *group, int signal);

/* Keeps what was asked for and answered. */
extern void qpsscale_keep_observed(const Observer *observer,
								   const QpsscaleGroup *group);

/* Groups come and go: the gone ones are not kept for ever. */
extern void qpsscale_bound_last_observed(const QpsscaleGroup *groups,
										 int n_groups);

#endif							/* QPSSCALE_LAST_OBSERVED_H */
