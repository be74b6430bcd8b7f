/*-------------------------------------------------------------------------
 * batches.h
 *		Who is asked for together: one batch per account, provider and region.
 *
 * A group's own cloud and the source of one of its signals may be the same
 * account, and are then still two batches: they are other calls.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_BATCHES_H
#define QPSSCALE_BATCHES_H

#include "postgres.h"

#include "pg/secrets.h"
#include "utils/hsearch.h"

typedef struct BatchKey
{
	QpsscaleAccount *account;
	const QsProvider *provider;
	char		region[68];
} BatchKey;

typedef struct BatchEntry
{
	BatchKey	key;
	QsBatch    *batch;
	int			capacity;
} BatchEntry;

/* An empty table of BatchEntry, in the current memory context. */
extern HTAB *qpsscale_make_batches(void);

/* Puts a target, whose region is set, into its batch; the batch is not moved
 * when others join. */
extern QsBatch *qpsscale_add_to_batch(HTAB *batches, QpsscaleAccount *account,
									  const QsProvider *provider,
									  QsTarget *target);

#endif							/* QPSSCALE_BATCHES_H */
