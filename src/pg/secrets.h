/*-------------------------------------------------------------------------
 * secrets.h
 *		Accounts of a cycle: options from the catalog, secrets from files and
 *		the environment, and what is remembered about a region.
 *
 * Secrets are read anew each cycle (a rotated file is picked up without a
 * restart), live in the cycle's context and are overwritten at its end.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_SECRETS_H
#define QPSSCALE_SECRETS_H

#include "postgres.h"

#include "cloud/provider.h"

#define QPSSCALE_MAX_ACCOUNT_OPTIONS	32

typedef struct QpsscaleOption
{
	const char *name;
	const char *value;
} QpsscaleOption;

/* One (owner, account) pair that some group uses. */
struct QpsscaleAccount
{
	/* filled by the store */
	const char *name;			/* NULL = default chain */
	const char *owner;
	bool		owner_exists;
	bool		owner_is_superuser;
	bool		exists;			/* a foreign server of our wrapper */
	bool		usage;			/* the owner has USAGE on it */
	const char *server_owner;	/* NULL if there is no server */
	bool		server_owner_is_superuser;
	bool		mapped;			/* a user mapping for the owner or PUBLIC */
	int			n_options;
	QpsscaleOption options[QPSSCALE_MAX_ACCOUNT_OPTIONS];

	/* filled by qpsscale_account_resolve() */
	bool		usable;
	const char *problem;		/* why it is not usable, and what to do */
	QsAccount	cloud;
};

typedef struct QpsscaleAccount QpsscaleAccount;

/* Reads the secrets.  Never throws for a missing or bad secret: usable and
 * problem say so.  Runs outside of a transaction. */
extern void qpsscale_account_resolve(QpsscaleAccount *account,
									 const char *provider,
									 const char *secrets_dir,
									 const char *default_region);

/* What the provider remembers of (account, region) across cycles. */
extern QsRegionMemory *qpsscale_region_memory(const char *account,
											  const char *region);

#endif							/* QPSSCALE_SECRETS_H */
