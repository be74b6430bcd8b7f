/*-------------------------------------------------------------------------
 * borrowed_credentials.h
 *		The credentials that this host, and so this server, was given: by its
 *		environment, a platform's token, a file of the command line tool, or
 *		the metadata service.
 *
 * They are the server's own identity; who may borrow it is the caller's
 * business (secrets.c).
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_BORROWED_CREDENTIALS_H
#define QPSSCALE_BORROWED_CREDENTIALS_H

#include "postgres.h"

#include "pg/credential_supply.h"
#include "pg/secret_reference.h"

/* What an account's options say; NULL = what the environment says. */
typedef struct QpsscaleBorrowing
{
	const char *provider;
	const char *kind;			/* "chain", or one of its links: of BytePlus
								 * "oidc", "file", "ecs", of AWS "oidc",
								 * "file", "container", "imds", of Kubernetes
								 * "in_cluster" */
	const char *secrets_dir;
	const char *metadata_endpoint;
	const char *sts_endpoint;
	const char *ecs_role;
	const char *oidc_role_trn;
	const char *oidc_token_file;
	const char *cli_config_file;
	const char *cli_credentials_file;	/* of AWS' tools */
	const char *cli_profile;
	const char *oidc_role_arn;	/* of AWS */
	const char *region;			/* whose token service of AWS is asked */
	bool		dual_stack;		/* by its host that has IPv6 addresses too */
	char		found_region[68];	/* out: of the profile of AWS, or "" */
	const char *service_account_dir;	/* of a pod of Kubernetes */

	/* of Kubernetes also found where they are not given */
	const char *endpoint;
	const char *ca_file;
	char		problem[640];	/* set on false */
} QpsscaleBorrowing;

/*
 * true: credentials are filled in, or, where they must be fetched, *supply
 * says from where.  The first link of the chain that is there at all decides;
 * if it fails, no other identity takes its place unseen.
 */
extern bool qpsscale_borrow(QpsscaleBorrowing *borrowing,
							QsCredentials *credentials,
							QpsscaleSupply **supply);

/* "HOST:PORT" of the API server of the cluster whose pod we run in, or NULL. */
extern char *qpsscale_cluster_host(void);

/*
 * A role of AWS, assumed by base_supply's credentials or, where that is NULL,
 * by those given.  role says all but those.
 */
extern QpsscaleSupply *qpsscale_assume_role(const QpsscaleSupplyOrder *role,
											const QsCredentials *credentials,
											QpsscaleSupply *base_supply);

/* The region whose token service of AWS is asked: the given one, else what
 * the environment says, else NULL. */
extern const char *qpsscale_token_service_region(const char *region);

#endif							/* QPSSCALE_BORROWED_CREDENTIALS_H */
