/*-------------------------------------------------------------------------
 * credential_aws_sts.c
 *		Credentials of a role from AWS' security token service: for a token
 *		that a platform gave us (web identity), or for credentials that may
 *		assume the role.
 *
 * The first is an unsigned form, as the token proves everything, the second a
 * signed one.  Source of parameters, limits and codes: AWS' API reference of
 * STS 2011-06-15.
 *-------------------------------------------------------------------------
 */
#include "cloud/credential_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "cloud/aws.h"
#include "cloud/xml_reader.h"

#define VERSION			"2011-06-15"
#define NAMESPACE		"https://sts.amazonaws.com/doc/"
#define SESSION_NAME	"qpsscale"
#define DURATION_SECONDS	"3600"

/* Without a region the global service is asked, which is signed for so. */
#define GLOBAL_ENDPOINT	"https://sts.amazonaws.com"
#define GLOBAL_REGION	"us-east-1"

/* Signatures may be five minutes old. */
#define SKEW_THAT_MATTERS_S	240

#define SIGNING_ARENA_BYTES	((size_t) 256 * 1024)

enum
{
	ASKED,
	ASKED_AT_THEIR_TIME
};

static QsCredentialStep
too_long(const QsCredentialFetch *fetch, QsError *error)
{
	qs_error_set(error, QS_ERROR_TERMINAL, "too_long",
				 "the role, its token, or what goes with them is too long "
				 "for %s", fetch->source->name);
	return QS_CREDENTIAL_FAILED;
}

static bool
find_endpoint(const QsCredentialConfig *config, char *out, size_t size)
{
	int			length;

	if (qs_credential_is_set(config->endpoint))
	{
		length = snprintf(out, size, "%s", config->endpoint);
		if (length > 0 && length < (int) size && out[length - 1] == '/')
			out[--length] = '\0';
	}
	else if (qs_credential_is_set(config->region))
		length = snprintf(out, size, "https://sts.%s.%s", config->region,
						  qs_aws_domain(config->region,
										config->dual_stack));
	else
		length = snprintf(out, size, GLOBAL_ENDPOINT);
	return length < (int) size;
}

/* What both actions are told. */
static bool
build_form(QsCredentialFetch *fetch, const char *action)
{
	const QsCredentialConfig *config = &fetch->config;

	return qs_credential_add_field(fetch, "Action", action) &&
		qs_credential_add_field(fetch, "Version", VERSION) &&
		qs_credential_add_field(fetch, "RoleArn", config->role) &&
		qs_credential_add_field(fetch, "RoleSessionName",
								qs_credential_is_set(config->session_name) ?
								config->session_name : SESSION_NAME) &&
		qs_credential_add_field(fetch, "DurationSeconds", DURATION_SECONDS);
}

static QsCredentialStep
nothing_to_ask_with(const char *what, QsError *error)
{
	qs_error_set(error, QS_ERROR_CREDENTIAL, "no_credentials",
				 "a role and %s are needed to assume a role", what);
	return QS_CREDENTIAL_FAILED;
}

static bool
region_is_usable(const QsCredentialConfig *config, QsError *error)
{
	return !qs_credential_is_set(config->region) ||
		qs_aws_region_is_valid(config->region) ||
		qs_error_set(error, QS_ERROR_TERMINAL, "invalid_region",
					 "the region holds characters that do not belong there");
}

static QsCredentialStep
start_web_identity(QsCredentialFetch *fetch, QsError *error)
{
	const QsCredentialConfig *config = &fetch->config;

	if (!qs_credential_is_set(config->role) ||
		!qs_credential_is_set(config->token))
		return nothing_to_ask_with("a token", error);
	if (!region_is_usable(config, error))
		return QS_CREDENTIAL_FAILED;
	if (!find_endpoint(config, fetch->url, sizeof(fetch->url) - 1) ||
		!build_form(fetch, "AssumeRoleWithWebIdentity") ||
		!qs_credential_add_field(fetch, "WebIdentityToken", config->token))
		return too_long(fetch, error);
	strcat(fetch->url, "/");
	qs_credential_post_form(fetch);
	return QS_CREDENTIAL_ASK;
}

/* A signed request into the fetch, out of the arena that it was made in. */
static bool
keep_request(QsCredentialFetch *fetch, const QsHttpRequest *made)
{
	size_t		used = 0;

	if (made->n_headers > (int) (sizeof(fetch->headers) /
								 sizeof(fetch->headers[0])) ||
		strlen(made->url) >= sizeof(fetch->url))
		return false;
	strcpy(fetch->url, made->url);
	for (int i = 0; i < made->n_headers; i++)
	{
		size_t		length = strlen(made->headers[i].value) + 1;

		if (length > sizeof(fetch->header_value) - used)
			return false;
		memcpy(fetch->header_value + used, made->headers[i].value, length);
		fetch->headers[i].name = made->headers[i].name;
		fetch->headers[i].value = fetch->header_value + used;
		used += length;
	}
	fetch->request = *made;
	fetch->request.url = fetch->url;
	fetch->request.headers = fetch->headers;
	return true;
}

static QsCredentialStep
sign(QsCredentialFetch *fetch, int64_t now_s, QsError *error)
{
	static const QsHttpHeader form[] = {
		{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
	};
	static const char *const also_sign[] = {"Content-Type", NULL};
	const char *region = qs_credential_is_set(fetch->config.region) ?
		fetch->config.region : GLOBAL_REGION;
	QsHttpRequest request = {
		.method = "POST",
		.headers = form,
		.n_headers = 1,
		.body = fetch->body,
		.body_length = strlen(fetch->body)
	};
	char		endpoint[QS_CREDENTIAL_URL_MAX];
	QsCredentialStep step = QS_CREDENTIAL_FAILED;
	QsArena    *arena = qs_arena_new(SIGNING_ARENA_BYTES);
	QsAccount  *signer = calloc(1, sizeof(QsAccount));

	if (arena == NULL || signer == NULL)
		qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
					 "out of memory for a signature");
	else if (!find_endpoint(&fetch->config, endpoint, sizeof(endpoint)))
		(void) too_long(fetch, error);
	else
	{
		signer->name = "base";
		signer->credentials = *fetch->config.base;
		if (qs_sign_request(arena, &qs_signing_aws, signer, endpoint, "/", "",
							region, "sts", also_sign, now_s, &request, error))
			step = keep_request(fetch, &request) ? QS_CREDENTIAL_ASK :
				too_long(fetch, error);
	}
	if (signer != NULL)
		OPENSSL_cleanse(signer, sizeof(*signer));
	free(signer);
	qs_arena_free(arena);
	return step;
}

static QsCredentialStep
start_assume_role(QsCredentialFetch *fetch, QsError *error)
{
	const QsCredentialConfig *config = &fetch->config;

	if (!qs_credential_is_set(config->role) || config->base == NULL)
		return nothing_to_ask_with("credentials", error);
	if (!region_is_usable(config, error))
		return QS_CREDENTIAL_FAILED;
	if (!build_form(fetch, "AssumeRole") ||
		(qs_credential_is_set(config->external_id) &&
		 !qs_credential_add_field(fetch, "ExternalId", config->external_id)))
		return too_long(fetch, error);
	fetch->stage = ASKED;
	return sign(fetch, config->now_us / 1000000, error);
}

/* ----------
 * Replies
 * ----------
 */
typedef struct Answer
{
	const char *path;			/* to the credentials, with "/" */
	char		access_key_id[256];
	char		secret_access_key[QS_SECRET_MAX];
	char		session_token[QS_SECRET_MAX];
	char		expiration[64];
	char		code[64];
} Answer;

static bool
read_element(void *context, const char *path, const char *text)
{
	Answer	   *answer = context;
	size_t		length = strlen(answer->path);
	const struct
	{
		const char *name;
		char	   *out;
		size_t		size;
	}			fields[] = {
		{"AccessKeyId", answer->access_key_id, sizeof(answer->access_key_id)},
		{"SecretAccessKey", answer->secret_access_key,
		sizeof(answer->secret_access_key)},
		{"SessionToken", answer->session_token,
		sizeof(answer->session_token)},
		{"Expiration", answer->expiration, sizeof(answer->expiration)},
	};

	if (text == NULL)
		return true;
	if (strcmp(path, "Error/Code") == 0)
		snprintf(answer->code, sizeof(answer->code), "%s", text);
	if (strncmp(path, answer->path, length) != 0)
		return true;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (strcmp(path + length, fields[i].name) == 0 &&
			snprintf(fields[i].out, fields[i].size, "%s", text) >=
			(int) fields[i].size)
			return false;
	return true;
}

/* What is wrong with the credentials that signed, not with what they ask. */
static bool
blames_base(const char *code)
{
	return strcmp(code, "ExpiredToken") == 0 ||
		strcmp(code, "ExpiredTokenException") == 0 ||
		strcmp(code, "InvalidClientTokenId") == 0 ||
		strcmp(code, "UnrecognizedClientException") == 0;
}

static QsCredentialStep
refused(QsCredentialFetch *fetch, const QsHttpReply *reply,
		const char *code, int64_t now_us, QsError *error)
{
	bool		is_signed = fetch->config.base != NULL;
	int64_t		skew_s = reply->date_epoch_s - now_us / 1000000;
	QsCredentialStep step;

	if (is_signed && fetch->stage == ASKED && reply->date_epoch_s > 0 &&
		reply->status < 500 && llabs(skew_s) > SKEW_THAT_MATTERS_S)
	{
		fetch->stage = ASKED_AT_THEIR_TIME;
		return sign(fetch, reply->date_epoch_s, error);
	}
	step = qs_credential_refused(fetch, is_signed ? "the role" : "the token",
								 reply->status, code, error);
	if (strcmp(code, "IDPCommunicationError") == 0)
		error->class = QS_ERROR_TRANSIENT;
	else if (strcmp(code, "Throttling") == 0 ||
			 strcmp(code, "ThrottlingException") == 0)
		error->class = QS_ERROR_THROTTLED;
	fetch->base_refused = is_signed && blames_base(code);
	return step;
}

static QsCredentialStep
read_reply(QsCredentialFetch *fetch, const QsHttpReply *reply, int64_t now_us,
		   QsError *error)
{
	bool		is_signed = fetch->config.base != NULL;
	Answer		answer = {.path = is_signed ? "AssumeRoleResult/Credentials/" :
		"AssumeRoleWithWebIdentityResult/Credentials/"};
	QsXmlVisitor visitor = {&answer, NULL, read_element};
	QsCredentialStep step;
	QsError		ignored;

	if (reply->status != 200)
	{
		(void) qs_xml_walk(reply->body, reply->body_length, "ErrorResponse",
						   "", &visitor, &ignored);
		step = refused(fetch, reply, answer.code, now_us, error);
	}
	else if (!qs_xml_walk(reply->body, reply->body_length, is_signed ?
						  "AssumeRoleResponse" :
						  "AssumeRoleWithWebIdentityResponse", NAMESPACE,
						  &visitor, &ignored))
		step = qs_credential_malformed(fetch, "credentials", error);
	else
		step = qs_credential_take(fetch, answer.access_key_id,
								  answer.secret_access_key,
								  answer.session_token, answer.expiration,
								  now_us, error);
	OPENSSL_cleanse(&answer, sizeof(answer));
	return step;
}

const QsCredentialSource qs_credential_aws_web_identity = {
	.name = "the security token service",
	.token_name = "the web identity token",
	.refresh_ahead_s = 900,
	.urgent_ahead_s = 600,
	.connect_timeout_ms = 1000,
	.request_timeout_ms = 5000,
	.start = start_web_identity,
	.reply = read_reply
};

const QsCredentialSource qs_credential_aws_assume_role = {
	.name = "the security token service",
	.refresh_ahead_s = 900,
	.urgent_ahead_s = 600,
	.connect_timeout_ms = 1000,
	.request_timeout_ms = 5000,
	.start = start_assume_role,
	.reply = read_reply
};
