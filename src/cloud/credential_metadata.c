/*-------------------------------------------------------------------------
 * credential_metadata.c
 *		Credentials of the role of an instance, from the cloud's metadata
 *		service: BytePlus' ECS, AWS' EC2 (version 2 of its service).
 *
 * Three steps: PUT for a token that proves that we are no browser that was
 * talked into a GET; the list of roles, unless one is named; the role's
 * credentials.  Source of paths, headers and limits: BytePlus' Go SDK,
 * credentials/ecs_role_provider.go, and botocore, utils.py.
 *-------------------------------------------------------------------------
 */
#include "cloud/credential_source.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>

#define TOKEN_PATH		"/latest/api/token"
#define TTL_SECONDS		"21600"

/* What the clouds write differently. */
typedef struct Dialect
{
	const char *endpoint;
	const char *roles_path;		/* and below it, each role's credentials */
	const char *list_path;
	const char *ttl_header;
	const char *token_header;
	const char *session_token;	/* members of the credentials */
	const char *expiration;
} Dialect;

static const Dialect byteplus = {
	.endpoint = "http://100.96.0.96",
	.roles_path = "/volcstack/latest/iam/security_credentials",
	.list_path = "/volcstack/latest/iam/security_credentials"
	"?type=user&format=json",
	.ttl_header = "X-volc-ecs-metadata-token-ttl-seconds",
	.token_header = "X-volc-ecs-metadata-token",
	.session_token = "SessionToken",
	.expiration = "ExpiredTime"
};

static const Dialect aws = {
	.endpoint = "http://169.254.169.254",
	.roles_path = "/latest/meta-data/iam/security-credentials",
	.list_path = "/latest/meta-data/iam/security-credentials/",
	.ttl_header = "X-aws-ec2-metadata-token-ttl-seconds",
	.token_header = "X-aws-ec2-metadata-token",
	.session_token = "Token",
	.expiration = "Expiration"
};

enum
{
	ASKED_TOKEN,
	ASKED_ROLES,
	ASKED_CREDENTIALS
};

static const Dialect *
dialect_of(const QsCredentialFetch *fetch)
{
	return fetch->source == &qs_credential_aws_imds ? &aws : &byteplus;
}

static bool
build_url(QsCredentialFetch *fetch, const char *path, const char *role)
{
	const char *endpoint = fetch->config.endpoint;
	size_t		length;

	if (endpoint == NULL || endpoint[0] == '\0')
		endpoint = dialect_of(fetch)->endpoint;
	length = strlen(endpoint);
	if (length > 0 && endpoint[length - 1] == '/')
		length--;
	if (snprintf(fetch->url, sizeof(fetch->url), "%.*s%s%s", (int) length,
				 endpoint, path, role == NULL ? "" : "/") >=
		(int) sizeof(fetch->url))
		return false;
	return role == NULL ||
		qs_credential_escape(fetch->url, sizeof(fetch->url), role);
}

static QsCredentialStep
ask(QsCredentialFetch *fetch, int stage, const char *method,
	const char *header, const char *path, const char *role, QsError *error)
{
	if (!build_url(fetch, path, role))
	{
		qs_error_set(error, QS_ERROR_TERMINAL, "too_long",
					 "the address of %s is too long", fetch->source->name);
		return QS_CREDENTIAL_FAILED;
	}
	fetch->stage = stage;
	fetch->headers[0].name = header;
	fetch->headers[0].value = fetch->header_value;
	fetch->request = (QsHttpRequest) {
		.method = method,
		.url = fetch->url,
		.headers = fetch->headers,
		.n_headers = 1
	};
	return QS_CREDENTIAL_ASK;
}

static QsCredentialStep
start(QsCredentialFetch *fetch, QsError *error)
{
	strcpy(fetch->header_value, TTL_SECONDS);
	return ask(fetch, ASKED_TOKEN, "PUT", dialect_of(fetch)->ttl_header,
			   TOKEN_PATH, NULL, error);
}

/* A role's name becomes a path component: "." and ".." would be others. */
static QsCredentialStep
ask_credentials(QsCredentialFetch *fetch, const char *role, QsError *error)
{
	if (strspn(role, ".") == strlen(role))
		return qs_credential_malformed(fetch, "the role's name", error);
	return ask(fetch, ASKED_CREDENTIALS, "GET",
			   dialect_of(fetch)->token_header,
			   dialect_of(fetch)->roles_path, role, error);
}

static QsCredentialStep
read_token(QsCredentialFetch *fetch, const QsHttpReply *reply, QsError *error)
{
	const char *role = fetch->config.role;

	if (strlen(reply->body) != reply->body_length ||
		!qs_credential_value(fetch->header_value,
							 sizeof(fetch->header_value), reply->body))
		return qs_credential_malformed(fetch, "its token", error);
	if (role != NULL && role[0] != '\0')
		return ask_credentials(fetch, role, error);
	return ask(fetch, ASKED_ROLES, "GET", dialect_of(fetch)->token_header,
			   dialect_of(fetch)->list_path, NULL, error);
}

/* A JSON array of names, or a name on each line; the first counts. */
static QsCredentialStep
read_roles(QsCredentialFetch *fetch, const QsHttpReply *reply, QsError *error)
{
	char		role[QS_CREDENTIAL_ROLE_MAX];
	json_t	   *root = json_loadb(reply->body, reply->body_length, 0, NULL);
	bool		found;

	if (json_is_array(root))
		found = qs_credential_value(role, sizeof(role),
									json_string_value(json_array_get(root, 0)));
	else if (root != NULL)
		found = false;
	else
	{
		size_t		length = strcspn(reply->body, "\r\n");
		char		line[QS_CREDENTIAL_ROLE_MAX];

		found = length < sizeof(line) && reply->body[0] != '<' &&
			reply->body[0] != '{' && reply->body[0] != '[';
		if (found)
		{
			memcpy(line, reply->body, length);
			line[length] = '\0';
			found = qs_credential_value(role, sizeof(role), line);
		}
	}
	json_decref(root);
	if (found)
		return ask_credentials(fetch, role, error);
	qs_error_set(error, QS_ERROR_CREDENTIAL, "no_role",
				 "%s names no role: attach one to the instance",
				 fetch->source->name);
	return QS_CREDENTIAL_FAILED;
}

static QsCredentialStep
read_credentials(QsCredentialFetch *fetch, const QsHttpReply *reply,
				 int64_t now_us, QsError *error)
{
	json_t	   *root = json_loadb(reply->body, reply->body_length,
								  JSON_REJECT_DUPLICATES, NULL);
	const Dialect *dialect = dialect_of(fetch);
	QsCredentialStep step;

#define MEMBER(name)	json_string_value(json_object_get(root, name))
	if (MEMBER("Code") != NULL && strcmp(MEMBER("Code"), "Success") != 0 &&
		MEMBER("AccessKeyId") == NULL)
		step = qs_credential_refused(fetch, "the role's credentials",
									 reply->status, MEMBER("Code"), error);
	else
		step = qs_credential_take(fetch, MEMBER("AccessKeyId"),
								  MEMBER("SecretAccessKey"),
								  MEMBER(dialect->session_token),
								  MEMBER(dialect->expiration), now_us, error);
#undef MEMBER
	json_decref(root);
	return step;
}

static QsCredentialStep
read_reply(QsCredentialFetch *fetch, const QsHttpReply *reply, int64_t now_us,
		   QsError *error)
{
	static const char *const wanted[] = {
		[ASKED_TOKEN] = "a token",
		[ASKED_ROLES] = "the list of roles",
		[ASKED_CREDENTIALS] = "the role's credentials",
	};

	if (reply->status != 200)
		return qs_credential_refused(fetch, wanted[fetch->stage],
									 reply->status, NULL, error);
	switch (fetch->stage)
	{
		case ASKED_TOKEN:
			return read_token(fetch, reply, error);
		case ASKED_ROLES:
			return read_roles(fetch, reply, error);
		default:
			return read_credentials(fetch, reply, now_us, error);
	}
}

const QsCredentialSource qs_credential_byteplus_ecs = {
	.name = "the ECS metadata service",
	.refresh_ahead_s = 300,
	.connect_timeout_ms = 1000,
	.request_timeout_ms = 2000,
	.start = start,
	.reply = read_reply
};

const QsCredentialSource qs_credential_aws_imds = {
	.name = "the EC2 metadata service",
	.refresh_ahead_s = 900,
	.urgent_ahead_s = 600,
	.outlasts_expiry = true,
	.connect_timeout_ms = 1000,
	.request_timeout_ms = 1000,
	.start = start,
	.reply = read_reply
};
