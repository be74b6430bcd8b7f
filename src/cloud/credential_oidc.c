/*-------------------------------------------------------------------------
 * credential_oidc.c
 *		Credentials of a BytePlus role for a token that a platform (Kubernetes,
 *		say) gave us: AssumeRoleWithOIDC.
 *
 * One unsigned POST of a form.  The token is read anew for each fetch, as the
 * platform replaces it.  Source of parameters, reply and limits: BytePlus' Go
 * SDK, credentials/assume_role_oidc_provider.go.
 *-------------------------------------------------------------------------
 */
#include "cloud/credential_source.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#define ENDPOINT		"https://sts.ap-southeast-1.byteplusapi.com"
#define QUERY			"/?Action=AssumeRoleWithOIDC&Version=2018-01-01"
#define SESSION_NAME	"qpsscale"

/* What the vendor asks for: an hour, and the minute by which it is early. */
#define DURATION_SECONDS	"3660"

static QsCredentialStep
start(QsCredentialFetch *fetch, QsError *error)
{
	const QsCredentialConfig *config = &fetch->config;
	const char *endpoint = qs_credential_is_set(config->endpoint) ? config->endpoint :
		ENDPOINT;
	size_t		length = strlen(endpoint);

	if (length > 0 && endpoint[length - 1] == '/')
		length--;
	if (!qs_credential_is_set(config->role) || !qs_credential_is_set(config->token))
	{
		qs_error_set(error, QS_ERROR_CREDENTIAL, "no_credentials",
					 "a role and a token are needed to assume a role");
		return QS_CREDENTIAL_FAILED;
	}
	if (snprintf(fetch->url, sizeof(fetch->url), "%.*s" QUERY, (int) length,
				 endpoint) >= (int) sizeof(fetch->url) ||
		!qs_credential_add_field(fetch, "RoleTrn", config->role) ||
		!qs_credential_add_field(fetch, "OIDCToken", config->token) ||
		!qs_credential_add_field(fetch, "RoleSessionName",
					   qs_credential_is_set(config->session_name) ? config->session_name :
					   SESSION_NAME) ||
		!qs_credential_add_field(fetch, "DurationSeconds", DURATION_SECONDS) ||
		(qs_credential_is_set(config->policy) &&
		 !qs_credential_add_field(fetch, "Policy", config->policy)))
	{
		qs_error_set(error, QS_ERROR_TERMINAL, "too_long",
					 "the token, or what goes with it, is too long for %s",
					 fetch->source->name);
		return QS_CREDENTIAL_FAILED;
	}
	qs_credential_post_form(fetch);
	return QS_CREDENTIAL_ASK;
}

static const char *
member(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static QsCredentialStep
read_reply(QsCredentialFetch *fetch, const QsHttpReply *reply, int64_t now_us,
		   QsError *error)
{
	json_t	   *root = json_loadb(reply->body, reply->body_length,
								  JSON_REJECT_DUPLICATES, NULL);
	json_t	   *problem = json_object_get(json_object_get(root,
														  "ResponseMetadata"),
										  "Error");
	json_t	   *given = json_object_get(json_object_get(root, "Result"),
										"Credentials");
	QsCredentialStep step;

	if (reply->status != 200 || json_is_object(problem))
		step = qs_credential_refused(fetch, "the token", reply->status,
									 member(problem, "Code"), error);
	else
		step = qs_credential_take(fetch, member(given, "AccessKeyId"),
								  member(given, "SecretAccessKey"),
								  member(given, "SessionToken"),
								  member(given, "Expiration"), now_us, error);
	json_decref(root);
	return step;
}

const QsCredentialSource qs_credential_byteplus_oidc = {
	.name = "the security token service",
	.token_name = "the OIDC token",
	.refresh_ahead_s = 60,
	.connect_timeout_ms = 1000,
	.request_timeout_ms = 5000,
	.start = start,
	.reply = read_reply
};
