/*-------------------------------------------------------------------------
 * store_samples.h
 *		Samples: load and size of each group, once per point of its monitor.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_SAMPLES_H
#define QPSSCALE_STORE_SAMPLES_H

#include "postgres.h"

#include "pg/store_parts.h"

/* Groups whose ids follow each other share their rows.  The same figures are
 * in qpsscale.samples_of(). */
#define QPSSCALE_SAMPLE_BITS	5
#define QPSSCALE_SAMPLE_GROUPS	(1 << QPSSCALE_SAMPLE_BITS)

static inline int64
qpsscale_sample_chunk(const QpsscaleGroup *group)
{
	return group->id >> QPSSCALE_SAMPLE_BITS;
}

static inline int
qpsscale_sample_place(const QpsscaleGroup *group)
{
	return (int) (group->id & (QPSSCALE_SAMPLE_GROUPS - 1));
}

/* In transaction 2, after the verdicts. */
extern void qpsscale_store_samples(StoreBatch *batch);

/* Transaction 2 was committed: what it wrote is not written again. */
extern void qpsscale_samples_committed(const StoreBatch *batch);

/* In transaction 1, in a subtransaction: a bounded batch of old ones goes. */
extern void qpsscale_store_trim_samples(void *retention_s);

#endif							/* QPSSCALE_STORE_SAMPLES_H */
