/*-------------------------------------------------------------------------
 * cancel.h
 *		How core learns, in a backend, that its statement was cancelled.
 *
 * core only looks and comes back; CHECK_FOR_INTERRUPTS() afterwards throws.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CANCEL_H
#define QPSSCALE_CANCEL_H

#include "postgres.h"

#include "core/cancel.h"
#include "miscadmin.h"

static inline bool
qpsscale_cancel_wanted(void *context)
{
	return InterruptPending && (QueryCancelPending || ProcDiePending);
}

static const QsCancel qpsscale_cancel = {qpsscale_cancel_wanted, NULL};

#endif							/* QPSSCALE_CANCEL_H */
