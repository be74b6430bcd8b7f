/*-------------------------------------------------------------------------
 * fuzz_credentials.c
 *		Any replies of services that give credentials, and any configuration
 *		file: what is taken is usable and holds for a bounded time, and no
 *		message repeats what was read.
 *
 * Input: a line "SOURCE" (of BytePlus ecs, oidc or file; of AWS imds, web,
 * role, container or profile; the first letter counts), a line with the name
 * of the role or profile (of a container its address), a line with the token
 * of a platform (of a role the external id); then replies, parted by lines of
 * "---": a line with the status, and the body.  Of a file there is the body
 * only, of profiles both files, parted so.
 *-------------------------------------------------------------------------
 */
#include "cloud_fuzz.h"

#include "cloud/credential_source.h"
#include "cloud/profile.h"

static const char parting[] = "\n---\n";

/* It goes into a header, a query or a signature. */
static void
check_value(const char *value, size_t size, bool required)
{
	PROMISE(memchr(value, '\0', size) != NULL);
	PROMISE(!required || value[0] != '\0');
	for (; *value != '\0'; value++)
		PROMISE(*value > 0x20 && *value < 0x7f);
}

static void
check_credentials(const QsCredentials *c, int64_t expires_at_us)
{
	check_value(c->access_key_id, sizeof(c->access_key_id), true);
	check_value(c->secret_access_key, sizeof(c->secret_access_key), true);
	check_value(c->session_token, sizeof(c->session_token), false);
	PROMISE(expires_at_us > NOW_US);
}

static void
check_request(const QsCredentialFetch *fetch)
{
	const QsHttpRequest *request = &fetch->request;

	check_value(request->url, sizeof(fetch->url), true);
	for (int i = 0; i < request->n_headers; i++)
		for (const char *c = request->headers[i].value; *c != '\0'; c++)
			PROMISE(*c >= 0x20 && *c < 0x7f);
	PROMISE(request->body_length == 0 ||
			request->body_length == strlen(request->body));
}

static void
from_service(const QsCredentialSource *source, const char *role,
			 const char *token, Lines *lines)
{
	static QsCredentialFetch fetch;
	static const QsCredentials base = {
		.access_key_id = "AKIDEXAMPLE",
		.secret_access_key = "secret",
		.session_token = "session"
	};
	QsCredentialConfig config = {
		.role = role,
		.token = token,
		.endpoint = source == &qs_credential_aws_container ? role : NULL,
		.external_id = token,
		.base = source == &qs_credential_aws_assume_role ? &base : NULL,
		.now_us = NOW_US
	};
	QsCredentialStep step;
	QsError		error;
	int			asked = 0;

	step = qs_credential_start(&fetch, source, &config, &error);
	while (step == QS_CREDENTIAL_ASK && lines->left > 0)
	{
		const char *end = memmem(lines->at, lines->left, parting,
								 sizeof(parting) - 1);
		size_t		length = end ? (size_t) (end - lines->at) : lines->left;
		Lines		mine = {lines->at, length};
		char	   *head = next_line(&mine);
		char	   *body = text_of(mine.at, mine.left);
		QsHttpReply reply = {
			.status = atoi(head),
			.content_type = "application/json",
			.body = body,
			.body_length = mine.left,
			.retry_after_ms = -1,
			.date_epoch_s = -1,
		};

		check_request(&fetch);
		PROMISE(++asked <= 3);
		step = qs_credential_reply(&fetch, &reply, NOW_US, &error);
		free(body);
		free(head);
		if (end != NULL)
			length += sizeof(parting) - 1;
		lines->at += length;
		lines->left -= length;
	}
	if (step == QS_CREDENTIAL_DONE)
	{
		check_credentials(&fetch.credentials, fetch.expires_at_us);
		PROMISE(fetch.expires_at_us <= NOW_US + QS_CREDENTIAL_LONGEST_US);
	}
	else if (step == QS_CREDENTIAL_FAILED)
		check_refusal(&error);
	qs_credential_forget(&fetch);
}

static void
from_profile(const char *name, Lines *lines)
{
	static QsProfile profile;
	const char *end = memmem(lines->at, lines->left, parting,
							 sizeof(parting) - 1);
	size_t		length = end ? (size_t) (end - lines->at) : lines->left;
	size_t		rest = end ? lines->left - length - (sizeof(parting) - 1) : 0;
	char	   *credentials = text_of(lines->at, length);
	char	   *config = text_of(end ? end + sizeof(parting) - 1 : "", rest);
	QsProfileFiles files = {credentials, length, config, rest};
	QsError		error;

	if (qs_profile_read(&files, name, &profile, &error))
	{
		const QsCredentials *c = &profile.credentials;

		check_value(c->access_key_id, sizeof(c->access_key_id), false);
		check_value(c->secret_access_key, sizeof(c->secret_access_key),
					c->access_key_id[0] != '\0');
		check_value(c->session_token, sizeof(c->session_token), false);
		check_value(profile.role_arn, sizeof(profile.role_arn), false);
		check_value(profile.external_id, sizeof(profile.external_id), false);
		check_value(profile.web_identity_token_file,
					sizeof(profile.web_identity_token_file), false);
	}
	else
	{
		check_refusal(&error);
		PROMISE(profile.credentials.secret_access_key[0] == '\0');
	}
	free(config);
	free(credentials);
}

static const QsCredentialSource *
source_of(char letter)
{
	switch (letter)
	{
		case 'o':
			return &qs_credential_byteplus_oidc;
		case 'i':
			return &qs_credential_aws_imds;
		case 'w':
			return &qs_credential_aws_web_identity;
		case 'r':
			return &qs_credential_aws_assume_role;
		case 'c':
			return &qs_credential_aws_container;
		default:
			return &qs_credential_byteplus_ecs;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	char	   *kind = next_line(&lines);
	char	   *name = next_line(&lines);
	char	   *token = next_line(&lines);

	if (kind[0] == 'f')
	{
		char	   *text = text_of(lines.at, lines.left);
		QsCredentials credentials;
		int64_t		expires_at_us;
		QsError		error;

		if (qs_credentials_from_cli_file(text, lines.left, name, NOW_US,
										 &credentials, &expires_at_us,
										 &error))
			check_credentials(&credentials, expires_at_us);
		else
			check_refusal(&error);
		free(text);
	}
	else if (kind[0] == 'p')
		from_profile(name, &lines);
	else
		from_service(source_of(kind[0]), name, token, &lines);
	free(token);
	free(name);
	free(kind);
	return 0;
}
