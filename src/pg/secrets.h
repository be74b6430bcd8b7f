/*-------------------------------------------------------------------------
 * secrets.h
 *		Accounts of a cycle: options from the catalog, secrets from files and
 *		the environment, and what is remembered about a region.
 *
 * Keys in files and variables are read anew each cycle (a rotated file is
 * picked up without a restart), live in the cycle's context and are
 * overwritten at its end.  Temporary credentials come from a supply
 * (credential_supply.h), for which an account may have to wait.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_SECRETS_H
#define QPSSCALE_SECRETS_H

#include "postgres.h"

#include "cloud/provider.h"
#include "pg/credential_supply.h"

#define QPSSCALE_MAX_ACCOUNT_OPTIONS	32

typedef struct QpsscaleOption
{
	const char *name;
	const char *value;
} QpsscaleOption;

/* One (owner, account, provider) that some group uses. */
struct QpsscaleAccount
{
	/* filled by the store */
	const char *name;			/* NULL = default chain */
	const char *provider;		/* of the groups that use it */
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
	bool		waiting;		/* neither usable nor not: being fetched */
	const char *problem;		/* why it is not usable, and what to do */
	const char *secrets_dir;
	QpsscaleSupply *supply;		/* NULL for keys that stand somewhere */
	const char *absent;			/* what was looked for before it */
	bool		renewed;		/* in this cycle, as the cloud wanted others */
	QsAccount	cloud;
};

typedef struct QpsscaleAccount QpsscaleAccount;

/* Reads the secrets.  Never throws for a missing or bad secret: usable and
 * problem say so.  Runs outside of a transaction. */
extern void qpsscale_account_resolve(QpsscaleAccount *account,
									 const char *secrets_dir,
									 const char *default_region);

/* Whether the wait of an account is over; usable or problem then say how it
 * ended. */
extern bool qpsscale_account_arrived(QpsscaleAccount *account);

typedef enum QpsscaleRenewal
{
	RENEWAL_DONE,				/* there are others now: sign again */
	RENEWAL_WAITING,			/* ask again after the next wait */
	RENEWAL_NONE				/* what the cloud refused is all there is */
} QpsscaleRenewal;

/*
 * The cloud has refused credentials of that number: looks for others, once a
 * cycle.  A key that is being replaced may have been read between its two
 * files, temporary credentials may have been revoked.
 */
extern QpsscaleRenewal qpsscale_account_renew(QpsscaleAccount *account,
											  int64 serial);

/* What the provider remembers of (account, region) across cycles. */
extern QsRegionMemory *qpsscale_region_memory(const QpsscaleAccount *account,
											  const char *region);

#endif							/* QPSSCALE_SECRETS_H */
