/*-------------------------------------------------------------------------
 * batches.c
 *		Who is asked for together: one batch per account, provider and region.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/batches.h"

HTAB *
qpsscale_make_batches(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(BatchKey);
	control.entrysize = sizeof(BatchEntry);
	control.hcxt = CurrentMemoryContext;
	return hash_create("qpsscale batches", 32, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

QsBatch *
qpsscale_add_to_batch(HTAB *batches, QpsscaleAccount *account,
					  const QsProvider *provider, QsTarget *target)
{
	BatchKey	key;
	BatchEntry *entry;
	bool		found;

	memset(&key, 0, sizeof(key));
	key.account = account;
	key.provider = provider;
	strlcpy(key.region, target->region, sizeof(key.region));
	entry = hash_search(batches, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->capacity = 16;
		entry->batch = palloc0(sizeof(QsBatch));
		entry->batch->account = &account->cloud;
		entry->batch->region = pstrdup(target->region);
		entry->batch->memory = qpsscale_region_memory(account,
													  target->region);
		entry->batch->targets = palloc(sizeof(QsTarget *) * entry->capacity);
	}
	if (entry->batch->n_targets == entry->capacity)
	{
		entry->capacity *= 2;
		entry->batch->targets =
			repalloc_huge(entry->batch->targets,
						  sizeof(QsTarget *) * entry->capacity);
	}
	entry->batch->targets[entry->batch->n_targets++] = target;
	return entry->batch;
}
