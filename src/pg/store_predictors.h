/*-------------------------------------------------------------------------
 * store_predictors.h
 *		What was learned of a group's load, as the tables have it.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_PREDICTORS_H
#define QPSSCALE_STORE_PREDICTORS_H

#include "postgres.h"

#include "pg/group.h"

typedef struct StoredPredictor
{
	QsPrediction *prediction;	/* NULL: nothing can be learned of this group */
	size_t		bytes;
	TimestampTz written_at;		/* 0 = never */
	bool		demoted;		/* when it was written */
} StoredPredictor;

/*
 * In a transaction: the stored state, and what samples have since, or all of it
 * learned anew.  Allocated in the given context.
 */
extern void qpsscale_read_predictor(const QpsscaleGroup *group,
									int resolution_s, MemoryContext context,
									StoredPredictor *stored);

/* In a transaction. */
extern void qpsscale_write_predictor(const QpsscaleGroup *group,
									 const QsPrediction *prediction,
									 size_t bytes, TimestampTz now);

/* Load that one instance carries. */
extern double qpsscale_carried_by_one(const QpsscaleGroup *group);

/* What of a point is not the load itself. */
extern void qpsscale_complete_observed(const QpsscaleGroup *group,
									   int in_service, int desired,
									   QsObserved *observed);

/* What decide() is told of it.  newest: load, NaN = unknown. */
extern void qpsscale_tell_predicted(const QsPrediction *prediction,
									bool steers, double newest,
									QpsscaleGroup *group);

extern bool qpsscale_is_demoted(QsPredictionTrust trust);

#endif							/* QPSSCALE_STORE_PREDICTORS_H */
