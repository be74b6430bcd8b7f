/*-------------------------------------------------------------------------
 * account_index.h
 *		The accounts of a cycle, found by who uses them.
 *
 * The same account in the hands of two owners, or of groups of two clouds, is
 * two: user mappings and providers differ.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_ACCOUNT_INDEX_H
#define QPSSCALE_ACCOUNT_INDEX_H

#include "postgres.h"

#include "pg/store.h"
#include "utils/hsearch.h"

/* Reads the secrets of all accounts; outside of a transaction.  The index is
 * in the caller's memory context. */
extern HTAB *qpsscale_accounts_resolve(const StoreSnapshot *snapshot,
									   const QpsscaleSettings *settings);

/* NULL if there was none when the groups were read. */
extern QpsscaleAccount *qpsscale_account_of(HTAB *accounts,
											const QpsscaleGroup *group);

/* Why the group cannot be asked about, or NULL; not when credentials are
 * still being fetched. */
extern const char *qpsscale_account_problem(const QpsscaleAccount *account,
											const QpsscaleGroup *group);

/* Logs and records what ails credentials that all groups still have. */
extern void qpsscale_accounts_tell(void);

/* Overwrites the secrets at the end of the cycle. */
extern void qpsscale_accounts_cleanse(StoreSnapshot *snapshot);

/* Provider and account of each further signal; one without has an error. */
extern void qpsscale_sources_resolve(HTAB *accounts, QpsscaleGroup *group);

/* Does an account that the group needs still wait for its credentials? */
extern bool qpsscale_group_waits(const QpsscaleGroup *group);

/* When they do no longer: signals without credentials get an error. */
extern void qpsscale_sources_arrived(QpsscaleGroup *group);

#endif							/* QPSSCALE_ACCOUNT_INDEX_H */
