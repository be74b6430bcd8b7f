/*-------------------------------------------------------------------------
 * signing_key.h
 *		Keys derived from a secret.  Only for signing.c and its test.
 *-------------------------------------------------------------------------
 */
#ifndef QS_SIGNING_KEY_H
#define QS_SIGNING_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "cloud/signing.h"

#define QS_KEY_BYTES	32

/* The links of the chain, in the order in which they are made. */
enum
{
	QS_KEY_DATE,
	QS_KEY_REGION,
	QS_KEY_SERVICE,
	QS_KEY_SIGNING,
	QS_KEY_LINKS
};

extern bool qs_hmac_sha256(const unsigned char *key, size_t key_length,
						   const char *text,
						   unsigned char out[QS_KEY_BYTES]);

/* Secrets: the caller cleanses chain. */
extern bool qs_signing_key_chain(const QsSigningScheme *scheme,
								 const char *secret, const char *day,
								 const char *region, const char *service,
								 unsigned char chain[QS_KEY_LINKS][QS_KEY_BYTES]);

/* From the account's cache, or derived and put there; day is "20240102".
 * NULL when the library fails or a name is too long for the cache. */
extern const unsigned char *qs_signing_key(const QsSigningScheme *scheme,
										   QsAccount *account,
										   const char *day,
										   const char *region,
										   const char *service);

#endif							/* QS_SIGNING_KEY_H */
