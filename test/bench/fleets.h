/*-------------------------------------------------------------------------
 * fleets.h
 *		What the parts of the bench of fleets share.
 *-------------------------------------------------------------------------
 */
#ifndef FLEETS_H
#define FLEETS_H

#include "core/backtest.h"

/* Prints what outages in the scored ticks cost. */
extern void measure_outages(const QsBacktestPlan *plan);

#endif							/* FLEETS_H */
