/*-------------------------------------------------------------------------
 * resolution.h
 *		What became of the actions of earlier cycles.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_RESOLUTION_H
#define QPSSCALE_RESOLUTION_H

#include "pg/group.h"
#include "pg/host.h"

/*
 * Sets group->open.resolved and what decide() needs to know about it, from the
 * group's capacity as observed so far.  May be called again when more is known.
 */
extern void qpsscale_resolve_open(QpsscaleGroup *group,
								  const QpsscaleSettings *settings);

/* Has somebody else changed the desired capacity of a group that acts? */
extern bool qpsscale_changed_by_others(const QpsscaleGroup *group);

/* Time limit of all requests of one cycle. */
extern int	qpsscale_cycle_deadline_ms(const QpsscaleSettings *settings);

#endif							/* QPSSCALE_RESOLUTION_H */
