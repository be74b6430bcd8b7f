/*-------------------------------------------------------------------------
 * explain.h
 *		A decision in words: the explanation and the result of evaluate.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_EXPLAIN_H
#define QPSSCALE_EXPLAIN_H

#include "lib/stringinfo.h"
#include "pg/group.h"

/* Inputs, proposals, clamps, winner, blocker: a JSON object under key. */
extern void qpsscale_explain(StringInfo out, const char *key,
							 const QpsscaleGroup *group);

/* What qpsscale_evaluate() returns for one group: the first original
 * system's keys, then ours.  The README's reference lists them. */
extern char *qpsscale_evaluation_result(const QpsscaleGroup *group);

/* reason and action names of the verdict, with those that only the cycle can
 * know (row locked, evaluation error) */
extern const char *qpsscale_verdict_reason(const QpsscaleGroup *group);

/*
 * Puts text of core, cloud and net, which is UTF-8, into the encoding of the
 * database; it never gets longer.
 */
extern void qpsscale_localize(char *text);

#endif							/* QPSSCALE_EXPLAIN_H */
