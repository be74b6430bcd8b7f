/*-------------------------------------------------------------------------
 * explain_signals.h
 *		Further signals in words: what they said, and which were left out.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_EXPLAIN_SIGNALS_H
#define QPSSCALE_EXPLAIN_SIGNALS_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "pg/group.h"

/* An array: one object per signal of the group. */
extern void qpsscale_explain_signals(StringInfo out, const char *key,
									 const QpsscaleGroup *group);

/* Member "exclusions", where there are any. */
extern void qpsscale_explain_exclusions(StringInfo out,
										const QsDecision *decision);

/* "prometheus", or "cloud (kubernetes)"; for validate. */
extern const char *qpsscale_signal_source_name(const QpsscaleGroup *group,
											   int i);

/* Why it could not be read; NULL: it was, or there was nothing to read. */
extern const char *qpsscale_signal_error(const GroupSignal *source);

#endif							/* QPSSCALE_EXPLAIN_SIGNALS_H */
