/*-------------------------------------------------------------------------
 * credentials.c
 *		The default credentials chain, and how secrets are forgotten.
 *
 * Nothing here reads the environment itself: the caller passes a lookup, so
 * that tests need no environment and pg/ decides whose variables count.
 *-------------------------------------------------------------------------
 */
#include "cloud/credential_source.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

/* One link of the chain: each value has up to two names. */
typedef struct CredentialNames
{
	const char *access_key[2];
	const char *secret_key[2];
	const char *token;
} CredentialNames;

static const CredentialNames byteplus_chain[] = {
	{{"BYTEPLUS_ACCESS_KEY", "BYTEPLUS_ACCESS_KEY_ID"},
		{"BYTEPLUS_SECRET_KEY", "BYTEPLUS_SECRET_ACCESS_KEY"},
	"BYTEPLUS_SESSION_TOKEN"},
	{{"ACCESS_KEY_ID", NULL}, {"SECRET_ACCESS_KEY", NULL}, "SESSION_TOKEN"},
};

static const CredentialNames aws_chain[] = {
	{{"AWS_ACCESS_KEY_ID", NULL}, {"AWS_SECRET_ACCESS_KEY", NULL},
	"AWS_SESSION_TOKEN"},
};

static const struct
{
	const char *provider;
	const CredentialNames *links;
	size_t		n_links;
	const char *absent;			/* none of them is set */
}			chains[] = {
	{"byteplus", byteplus_chain,
		sizeof(byteplus_chain) / sizeof(byteplus_chain[0]),
		"neither BYTEPLUS_ACCESS_KEY and BYTEPLUS_SECRET_KEY (or "
		"BYTEPLUS_ACCESS_KEY_ID and BYTEPLUS_SECRET_ACCESS_KEY) nor "
	"ACCESS_KEY_ID and SECRET_ACCESS_KEY are set"},
	{"aws", aws_chain, sizeof(aws_chain) / sizeof(aws_chain[0]),
	"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set"},
};

static const char *
look_up_first(QsLookup lookup, void *context, const char *const names[2])
{
	for (int i = 0; i < 2 && names[i] != NULL; i++)
	{
		const char *value = lookup(context, names[i]);

		if (value != NULL && value[0] != '\0')
			return value;
	}
	return NULL;
}

/*
 * A link counts only as a whole: the key of one and the secret of another
 * would sign, and be refused, without anybody seeing why.
 */
bool
qs_credentials_from_environment(const char *provider, QsLookup lookup,
								void *context, QsCredentials *credentials,
								QsError *error)
{
	size_t		chain = 0;

	OPENSSL_cleanse(credentials, sizeof(*credentials));
	while (chain < sizeof(chains) / sizeof(chains[0]) &&
		   (provider == NULL || strcmp(provider, chains[chain].provider) != 0))
		chain++;
	if (chain == sizeof(chains) / sizeof(chains[0]))
		return qs_error_set(error, QS_ERROR_CREDENTIAL, "no_credentials",
							"provider \"%s\" has no default credentials",
							provider ? provider : "");

	for (size_t i = 0; i < chains[chain].n_links; i++)
	{
		const CredentialNames *names = &chains[chain].links[i];
		const char *key = look_up_first(lookup, context, names->access_key);
		const char *secret = look_up_first(lookup, context, names->secret_key);
		const char *token;

		if (key == NULL || secret == NULL)
			continue;
		token = lookup(context, names->token);
		if (qs_credential_value(credentials->access_key_id,
								sizeof(credentials->access_key_id), key) &&
			qs_credential_value(credentials->secret_access_key,
								sizeof(credentials->secret_access_key),
								secret) &&
			(token == NULL || token[0] == '\0' ||
			 qs_credential_value(credentials->session_token,
								 sizeof(credentials->session_token), token)))
		{
			qs_error_clear(error);
			return true;
		}
		OPENSSL_cleanse(credentials, sizeof(*credentials));
		return qs_error_set(error, QS_ERROR_CREDENTIAL, "bad_credentials",
							"%s, %s or %s is too long or holds characters "
							"that a key cannot have", names->access_key[0],
							names->secret_key[0], names->token);
	}
	return qs_error_set(error, QS_ERROR_CREDENTIAL, "no_credentials", "%s",
						chains[chain].absent);
}

/* RFC 7617. */
bool
qs_credentials_set_basic(QsCredentials *credentials, const char *user,
						 const char *password, QsError *error)
{
	static const char scheme[] = "Basic ";
	size_t		length = strlen(user) + 1 + strlen(password);
	char		plain[QS_TOKEN_MAX / 4 * 3];
	char	   *header = credentials->authorization;

	header[0] = '\0';
	if (length >= sizeof(plain))
		return qs_error_set(error, QS_ERROR_CREDENTIAL, "too_long",
							"name and password are too long");
	snprintf(plain, sizeof(plain), "%s:%s", user, password);
	memcpy(header, scheme, strlen(scheme));
	(void) EVP_EncodeBlock((unsigned char *) header + strlen(scheme),
						   (const unsigned char *) plain, (int) length);
	OPENSSL_cleanse(plain, sizeof(plain));
	return true;
}

void
qs_account_renewed(QsAccount *account, int64_t serial)
{
	OPENSSL_cleanse(account->signing_keys, sizeof(account->signing_keys));
	account->next_signing_key = 0;
	account->serial = serial;
}

void
qs_account_cleanse(QsAccount *account)
{
	OPENSSL_cleanse(&account->credentials, sizeof(account->credentials));
	OPENSSL_cleanse(account->signing_keys, sizeof(account->signing_keys));
	account->next_signing_key = 0;
}
