/*-------------------------------------------------------------------------
 * conflict.h
 *		A write that somebody else's was faster than.
 *
 * The cloud refuses it (QS_ERROR_CONFLICT): what the decision was made from is
 * no longer so.  The object is read once more, and decided once more.  What was
 * committed is an intent to write one number, so only that one may still be
 * written, once; where the decision is another one now, the action has failed,
 * and the next cycle acts on an intent of its own.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CONFLICT_H
#define QPSSCALE_CONFLICT_H

#include "pg/observe.h"

/* true: the group's write met a conflict for the first time, and its capacity
 * is being read again.  It is ready when that is over. */
extern bool qpsscale_conflict_read_again(Observer *observer,
										 QpsscaleGroup *group);

/*
 * It is over: true if the number that was intended may be written once more,
 * else target.set_error says why not.  Nothing else of the group is changed.
 */
extern bool qpsscale_conflict_decide_again(QpsscaleGroup *group,
										   const QpsscaleSettings *settings,
										   void (*decide) (QpsscaleGroup *group));

#endif							/* QPSSCALE_CONFLICT_H */
