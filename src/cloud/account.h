/*-------------------------------------------------------------------------
 * account.h
 *		A cloud account as values: where its API is and how to sign for it.
 *
 * Filled by pg/ from a foreign server, a user mapping and the referenced
 * secrets, or from the environment (the provider's default chain).  cloud/
 * never reads a file, a variable or a clock; lookups are callbacks.
 *-------------------------------------------------------------------------
 */
#ifndef QS_ACCOUNT_H
#define QS_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

#define QS_SECRET_MAX		4096	/* bytes of one secret, terminator included */
#define QS_TOKEN_MAX		8192	/* of a bearer token, likewise */
#define QS_PEM_MAX			16384	/* of a certificate with its chain, a key */
#define QS_SIGNING_KEYS		4

typedef struct QsCredentials
{
	char		access_key_id[256];
	char		secret_access_key[QS_SECRET_MAX];
	char		session_token[QS_SECRET_MAX];	/* "" for none */

	/*
	 * Where nothing is signed: the Authorization header as it is sent, scheme
	 * included, and what is shown in the TLS handshake, as PEM; "" for none.
	 */
	char		authorization[QS_TOKEN_MAX + sizeof("Bearer ")];
	char		client_certificate[2 * QS_PEM_MAX]; /* with its key at the end:
													 * see net.h */
	char		client_key[QS_PEM_MAX];
} QsCredentials;

/* The key derived for a day, region and service: 6 us instead of 14. */
typedef struct QsSigningKey
{
	char		scope[160];		/* "20240102/region/service", "" = empty */
	unsigned char key[32];
} QsSigningKey;

typedef struct QsAccount
{
	const char *name;			/* foreign server, or "default" */
	const char *provider;
	const char *region;			/* of groups that name none; NULL for none */

	/* NULL = the provider's default.  An endpoint is "https://host[:port]". */
	const char *endpoint;		/* for every service of this account */
	const char *autoscaling_endpoint;
	const char *monitor_endpoint;
	const char *autoscaling_service;	/* signing service names */
	const char *monitor_service;
	const char *ca_file;
	const char *tenant;			/* Prometheus: whose data, or NULL */
	bool		rate_limits_off;
	bool		dual_stack;		/* AWS: hosts that have IPv6 addresses too */

	QsCredentials credentials;	/* cleansed by qs_account_cleanse() */
	int64_t		serial;			/* another number when those are replaced */
	QsSigningKey signing_keys[QS_SIGNING_KEYS];
	int			next_signing_key;

	/* What listing said last: total number of scaling groups per region is
	 * kept by the caller across cycles (QsRegionMemory in provider.h). */
} QsAccount;

/* Looks a variable up; NULL when it is not set. */
typedef const char *(*QsLookup) (void *context, const char *name);

/*
 * The first original's and BytePlus' environment variables: BYTEPLUS_ACCESS_KEY
 * or _ACCESS_KEY_ID, BYTEPLUS_SECRET_KEY or _SECRET_ACCESS_KEY,
 * BYTEPLUS_SESSION_TOKEN, then ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN.
 * AWS': AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN.
 * false with class CREDENTIAL and a message that names the variables.
 */
extern bool qs_credentials_from_environment(const char *provider,
											QsLookup lookup, void *context,
											QsCredentials *credentials,
											QsError *error);

/* "Authorization: Basic ..."; false when it is longer than there is room. */
extern bool qs_credentials_set_basic(QsCredentials *credentials,
									 const char *user, const char *password,
									 QsError *error);

/* After credentials were replaced: forgets what was derived from the old. */
extern void qs_account_renewed(QsAccount *account, int64_t serial);

/* Overwrites secrets and derived keys. */
extern void qs_account_cleanse(QsAccount *account);

#endif							/* QS_ACCOUNT_H */
