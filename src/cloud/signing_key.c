/*-------------------------------------------------------------------------
 * signing_key.c
 *		Derives the key of a day, region and service, and remembers it.
 *
 * The chain costs four HMACs, more than the rest of a signature, and changes
 * once a day; so the account keeps the last few keys.
 *-------------------------------------------------------------------------
 */
#include "cloud/signing_key.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

bool
qs_hmac_sha256(const unsigned char *key, size_t key_length, const char *text,
			   unsigned char out[QS_KEY_BYTES])
{
	unsigned int size = 0;

	return HMAC(EVP_sha256(), key, (int) key_length,
				(const unsigned char *) text, strlen(text), out,
				&size) != NULL && size == QS_KEY_BYTES;
}

bool
qs_signing_key_chain(const QsSigningScheme *scheme, const char *secret,
					 const char *day, const char *region, const char *service,
					 unsigned char chain[QS_KEY_LINKS][QS_KEY_BYTES])
{
	char		start[QS_SECRET_MAX + 16];
	int			length;
	bool		ok;

	length = snprintf(start, sizeof(start), "%s%s", scheme->key_prefix,
					  secret);
	ok = length > 0 && (size_t) length < sizeof(start) &&
		qs_hmac_sha256((const unsigned char *) start, (size_t) length, day,
					   chain[QS_KEY_DATE]) &&
		qs_hmac_sha256(chain[QS_KEY_DATE], QS_KEY_BYTES, region,
					   chain[QS_KEY_REGION]) &&
		qs_hmac_sha256(chain[QS_KEY_REGION], QS_KEY_BYTES, service,
					   chain[QS_KEY_SERVICE]) &&
		qs_hmac_sha256(chain[QS_KEY_SERVICE], QS_KEY_BYTES,
					   scheme->terminator, chain[QS_KEY_SIGNING]);
	OPENSSL_cleanse(start, sizeof(start));
	return ok;
}

/*
 * FNV-1a.  Not for security: it notices that the secret of an account was
 * exchanged, so that no key of the old one is used.
 */
static uint64_t
fingerprint(uint64_t hash, const char *text)
{
	for (; *text != '\0'; text++)
	{
		hash ^= (unsigned char) *text;
		hash *= UINT64_C(1099511628211);
	}
	return hash;
}

const unsigned char *
qs_signing_key(const QsSigningScheme *scheme, QsAccount *account,
			   const char *day, const char *region, const char *service)
{
	char		scope[sizeof(account->signing_keys[0].scope)];
	unsigned char chain[QS_KEY_LINKS][QS_KEY_BYTES];
	QsSigningKey *slot;
	uint64_t	print = UINT64_C(14695981039346656037);
	int			length;
	bool		ok;

	print = fingerprint(print, scheme->key_prefix);
	print = fingerprint(print, scheme->terminator);
	print = fingerprint(print, account->credentials.secret_access_key);
	length = snprintf(scope, sizeof(scope), "%s/%s/%s/%016" PRIx64, day,
					  region, service, print);
	if (length < 0 || (size_t) length >= sizeof(scope))
		return NULL;

	for (int i = 0; i < QS_SIGNING_KEYS; i++)
	{
		if (strcmp(account->signing_keys[i].scope, scope) == 0)
			return account->signing_keys[i].key;
	}

	ok = qs_signing_key_chain(scheme, account->credentials.secret_access_key,
							  day, region, service, chain);
	if (account->next_signing_key < 0 ||
		account->next_signing_key >= QS_SIGNING_KEYS)
		account->next_signing_key = 0;
	slot = &account->signing_keys[account->next_signing_key];
	if (ok)
	{
		memcpy(slot->key, chain[QS_KEY_SIGNING], QS_KEY_BYTES);
		memcpy(slot->scope, scope, sizeof(scope));
		account->next_signing_key =
			(account->next_signing_key + 1) % QS_SIGNING_KEYS;
	}
	OPENSSL_cleanse(chain, sizeof(chain));
	return ok ? slot->key : NULL;
}
