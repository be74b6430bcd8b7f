/*-------------------------------------------------------------------------
 * credential_file.c
 *		Credentials in the configuration file of BytePlus' command line tool.
 *
 * Only keys that stand in the file are used, those of mode "ak" and those
 * that a login (mode "sso" or "console-login") left there with the time until
 * which they hold.  A database server does not log in anywhere; roles of OIDC
 * and ECS are sources of their own.  Source of the names: BytePlus' Go SDK,
 * credentials/clicreds/cli_provider.go.
 *-------------------------------------------------------------------------
 */
#include "cloud/credential_source.h"

#include <string.h>
#include <strings.h>

#include <jansson.h>
#include <openssl/crypto.h>

/* "sts-expiration" is written in seconds by some versions, in milli-, micro-
 * or nanoseconds by others. */
static int64_t
microseconds(json_int_t time)
{
	if (time >= INT64_C(1000000000000000000))
		return time / 1000;
	if (time >= INT64_C(1000000000000000))
		return time;
	if (time >= INT64_C(1000000000000))
		return time * 1000;
	return time * 1000000;
}

static bool
refuse(QsError *error, const char *why)
{
	return qs_error_set(error, QS_ERROR_CREDENTIAL, "cli_file",
						"the configuration file of the command line tool %s",
						why);
}

static bool
take_profile(const json_t *profile, int64_t now_us,
			 QsCredentials *credentials, int64_t *expires_at_us,
			 QsError *error)
{
	const char *mode = json_string_value(json_object_get(profile, "mode"));
	const char *token = json_string_value(json_object_get(profile,
														  "session-token"));
	json_int_t	until = json_integer_value(json_object_get(profile,
														   "sts-expiration"));
	bool		keys = mode == NULL || mode[0] == '\0' ||
		strcasecmp(mode, "ak") == 0;

	if (!keys && strcasecmp(mode, "sso") != 0 &&
		strcasecmp(mode, "console-login") != 0)
		return refuse(error, "has a profile whose mode holds no keys (only "
					  "ak, sso and console-login do)");
	*expires_at_us = keys ? INT64_MAX : until <= 0 ? 0 : microseconds(until);
	if (*expires_at_us <= now_us)
		return refuse(error, "has a profile whose login has expired");
	if (!qs_credential_value(credentials->access_key_id,
							 sizeof(credentials->access_key_id),
							 json_string_value(json_object_get(profile, "access-key"))) ||
		!qs_credential_value(credentials->secret_access_key,
							 sizeof(credentials->secret_access_key),
							 json_string_value(json_object_get(profile, "secret-key"))) ||
		(token != NULL && token[0] != '\0' &&
		 !qs_credential_value(credentials->session_token,
							  sizeof(credentials->session_token), token)))
	{
		OPENSSL_cleanse(credentials, sizeof(*credentials));
		return refuse(error, "has a profile without usable keys");
	}
	return true;
}

bool
qs_credentials_from_cli_file(const char *text, size_t length,
							 const char *name, int64_t now_us,
							 QsCredentials *credentials,
							 int64_t *expires_at_us, QsError *error)
{
	json_t	   *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	json_t	   *profile;
	bool		ok;

	qs_error_clear(error);
	OPENSSL_cleanse(credentials, sizeof(*credentials));
	*expires_at_us = 0;
	if (name == NULL || name[0] == '\0')
		name = json_string_value(json_object_get(root, "current"));
	if (name == NULL || name[0] == '\0')
		name = "default";
	profile = json_object_get(json_object_get(root, "profiles"), name);
	if (root == NULL)
		ok = refuse(error, "is not JSON");
	else if (!json_is_object(profile))
		ok = refuse(error, "has no profile of the name that is wanted");
	else
		ok = take_profile(profile, now_us, credentials, expires_at_us, error);
	json_decref(root);
	return ok;
}
