/*-------------------------------------------------------------------------
 * credential_aws_container.c
 *		Credentials that AWS gives a container: of the task (ECS) or of the
 *		pod (EKS Pod Identity).
 *
 * One GET, with an Authorization that the platform put into a file or a
 * variable.  The answer is a secret and so may be the question, hence plain
 * http only to the addresses that lead nowhere but into this host.  Source of
 * hosts, header and members: botocore, utils.py (ContainerMetadataFetcher).
 *-------------------------------------------------------------------------
 */
#include "cloud/credential_source.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

/* Loopback in either family, or one of the services' addresses. */
static bool
leads_into_this_host(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;
	struct in6_addr pods;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127 ||
			strcmp(host, "169.254.170.2") == 0 ||
			strcmp(host, "169.254.170.23") == 0;
	return inet_pton(AF_INET6, host, &v6) == 1 &&
		inet_pton(AF_INET6, "fd00:ec2::23", &pods) == 1 &&
		(IN6_IS_ADDR_LOOPBACK(&v6) || memcmp(&v6, &pods, sizeof(v6)) == 0);
}

/* A port, or nothing, between the host and the path. */
static bool
is_port(const char *text, size_t length)
{
	return length == 0 ||
		(text[0] == ':' && strspn(text + 1, "0123456789") >= length - 1);
}

/*
 * Names, "localhost" among them, are not for plain http: who answers for a
 * name is not for this program to know.
 */
static bool
may_be_asked(const char *url)
{
	char		host[INET6_ADDRSTRLEN];
	const char *at = url + strlen("http://");
	bool		brackets = false;
	size_t		authority;
	size_t		length;

	if (strncmp(url, "https://", 8) == 0)
		return true;
	if (strncmp(url, "http://", 7) != 0)
		return false;
	authority = strcspn(at, "/?#");
	if (at[0] == '[')
	{
		brackets = true;
		at++;
		authority--;
		length = strcspn(at, "]");
	}
	else
		length = strcspn(at, ":/?#");
	if (length >= sizeof(host) || length > authority)
		return false;
	memcpy(host, at, length);
	host[length] = '\0';
	if (brackets && at[length++] != ']')
		return false;
	return leads_into_this_host(host) &&
		is_port(at + length, authority - length);
}

static QsCredentialStep
start(QsCredentialFetch *fetch, QsError *error)
{
	const QsCredentialConfig *config = &fetch->config;

	if (!qs_credential_value(fetch->url, sizeof(fetch->url),
							 config->endpoint) || !may_be_asked(fetch->url))
	{
		qs_error_set(error, QS_ERROR_CREDENTIAL, "url_refused",
					 "the address of the container's credentials must be "
					 "https, or http to a loopback address, 169.254.170.2, "
					 "169.254.170.23 or [fd00:ec2::23]");
		return QS_CREDENTIAL_FAILED;
	}
	if (qs_credential_is_set(config->token) &&
		!qs_credential_line(fetch->body, sizeof(fetch->body), config->token))
	{
		qs_error_set(error, QS_ERROR_CREDENTIAL, "bad_token",
					 "%s is not one line of printable characters",
					 fetch->source->token_name);
		return QS_CREDENTIAL_FAILED;
	}
	fetch->headers[0] = (QsHttpHeader) {"Accept", "application/json"};
	fetch->headers[1] = (QsHttpHeader) {"Authorization", fetch->body};
	fetch->request = (QsHttpRequest) {
		.method = "GET",
		.url = fetch->url,
		.headers = fetch->headers,
		.n_headers = fetch->body[0] != '\0' ? 2 : 1
	};
	return QS_CREDENTIAL_ASK;
}

static QsCredentialStep
read_reply(QsCredentialFetch *fetch, const QsHttpReply *reply, int64_t now_us,
		   QsError *error)
{
	json_t	   *root = json_loadb(reply->body, reply->body_length,
								  JSON_REJECT_DUPLICATES, NULL);
	QsCredentialStep step;

#define MEMBER(name)	json_string_value(json_object_get(root, name))
	if (reply->status != 200)
		step = qs_credential_refused(fetch, "credentials", reply->status,
									 MEMBER("code"), error);
	else
		step = qs_credential_take(fetch, MEMBER("AccessKeyId"),
								  MEMBER("SecretAccessKey"), MEMBER("Token"),
								  MEMBER("Expiration"), now_us, error);
#undef MEMBER
	json_decref(root);
	return step;
}

const QsCredentialSource qs_credential_aws_container = {
	.name = "the container's credentials service",
	.token_name = "the container's authorization token",
	.refresh_ahead_s = 900,
	.urgent_ahead_s = 600,
	.connect_timeout_ms = 1000,
	.request_timeout_ms = 2000,
	.start = start,
	.reply = read_reply
};
