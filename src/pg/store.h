/*-------------------------------------------------------------------------
 * store.h
 *		All SQL of the worker: what a cycle reads and what it writes.
 *
 * Set-based throughout: at most three transactions a cycle, whatever the
 * number of groups.  Where a statement fails, the batch is halved until the
 * bad row stands alone and is charged to its group.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_H
#define QPSSCALE_STORE_H

#include "postgres.h"

#include "pg/group.h"
#include "pg/host.h"
#include "pg/secrets.h"

typedef struct StoreSelection
{
	bool		all_enabled;	/* else group_id, enabled or not */
	int64		group_id;
	Oid			role;			/* only groups it may act on; InvalidOid = all */
	bool		trim_history;	/* delete a bounded batch of old rows too */
	int			retention_s;
	const QpsscaleExecute *execute; /* its decision is read too; or NULL */
	const QpsscaleDiscoveryPlace *place;	/* no groups: only its account, for
											 * that role as its owner */
} StoreSelection;

typedef struct StoreSnapshot
{
	bool		extension_exists;
	char	   *extension_version;
	const char *foreign;		/* on our tables, so that nothing was read */
	bool		armed;
	QpsscaleGroup *groups;
	int			n_groups;
	QpsscaleAccount **accounts;
	int			n_accounts;
} StoreSnapshot;

/* Transaction 1.  Results are in the caller's memory context.  false with
 * *error set when the database refused. */
extern bool qpsscale_store_load(const StoreSelection *selection,
								StoreSnapshot *snapshot, ErrorData **error);

/*
 * Transaction 2.  Writes verdicts of the given groups, resolves open
 * activities, and inserts an intent for each group whose decision is an
 * action.  Afterwards each group says whether it was stored, and those with
 * activity_id set and no dry run may be sent to the cloud, if durable is true.
 * What was seen is sampled as of sampled_at, unless that was done.
 */
extern bool qpsscale_store_intend(QpsscaleGroup **groups, int n_groups,
								  int metric_period_s, TimestampTz sampled_at,
								  bool *durable, ErrorData **error);

/* Transaction 3.  Writes the outcome of the intents. */
extern bool qpsscale_store_record(QpsscaleGroup **groups, int n_groups,
								  ErrorData **error);

/* Marks a group as validated. */
extern bool qpsscale_store_validated(int64 group_id, ErrorData **error);

/* An error that is nobody's group's, in a transaction of its own. */
extern bool qpsscale_store_error(const char *source, const char *message,
								 ErrorData **error);

#endif							/* QPSSCALE_STORE_H */
