/*-------------------------------------------------------------------------
 * prometheus.h
 *		What the files prometheus*.c share; nobody else includes it.
 *
 * Wire facts: Prometheus' HTTP API, /api/v1/query, which Thanos, Mimir, Cortex
 * and VictoriaMetrics speak too.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PROMETHEUS_H
#define QS_PROMETHEUS_H

#include "cloud/answer.h"
#include "cloud/provider.h"

#define QS_PROMETHEUS_SERIES	10000	/* of one answer */

/*
 * The server gives no sample that is older than its look-back, five minutes
 * unless it was started with another.  Only who wants a younger one needs the
 * second question.
 */
#define QS_PROMETHEUS_LOOKBACK_US	(INT64_C(300) * 1000000)

/*
 * One query for all targets that have it: base.targets are sorted by label and
 * its value, those without label first.
 */
typedef struct QsPrometheusCall
{
	QsCall		base;			/* first: a QsCall is cast to this */
	const char *query;
	bool		wants_ages;		/* by some target's max_age_us */
	bool		asks_ages;		/* this is timestamp(query), the second call */
	int64_t		at_us;			/* moment asked about, of the server's clock */
	int64_t		skew_s;			/* that was reckoned with */
	bool		asked_again;	/* with another */
} QsPrometheusCall;

static inline QsPrometheusCall *
qs_prometheus_call(QsCall *call)
{
	return (QsPrometheusCall *) call;
}

static inline bool
qs_prometheus_wants_age(const QsTarget *target)
{
	return target->query->max_age_us > 0 &&
		target->query->max_age_us < QS_PROMETHEUS_LOOKBACK_US;
}

/* prometheus.c */
extern bool qs_prometheus_no_memory(QsError *error);

/* As the call is, but asked about ages, or about a moment of now. */
extern bool qs_prometheus_ask_ages(QsArena *arena,
								   const QsPrometheusCall *call,
								   QsCallList *calls, QsError *error);
extern bool qs_prometheus_ask_again(QsArena *arena,
									const QsPrometheusCall *call,
									int64_t now_us, QsCallList *calls,
									QsError *error);

/* prometheus_reply.c */
extern bool qs_prometheus_parse(QsArena *arena, QsCall *call,
								const QsHttpReply *reply, int64_t now_us,
								QsCallList *follow_up, QsError *error);

#endif							/* QS_PROMETHEUS_H */
