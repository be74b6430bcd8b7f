/*-------------------------------------------------------------------------
 * credential_source.c
 *		What all sources of temporary credentials share.
 *-------------------------------------------------------------------------
 */
#include "cloud/credential_source.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "cloud/timestamp.h"

QsCredentialStep
qs_credential_start(QsCredentialFetch *fetch,
					const QsCredentialSource *source,
					const QsCredentialConfig *config, QsError *error)
{
	qs_error_clear(error);
	qs_credential_forget(fetch);
	fetch->source = source;
	fetch->config = *config;
	return source->start(fetch, error);
}

QsCredentialStep
qs_credential_reply(QsCredentialFetch *fetch, const QsHttpReply *reply,
					int64_t now_us, QsError *error)
{
	qs_error_clear(error);
	return fetch->source->reply(fetch, reply, now_us, error);
}

void
qs_credential_forget(QsCredentialFetch *fetch)
{
	OPENSSL_cleanse(fetch, sizeof(*fetch));
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/*
 * Blanks around a value are what editors and "echo" leave behind; whatever
 * else cannot stand in an HTTP header is no part of a key.
 */
static bool
copy_trimmed(char *out, size_t size, const char *value, char lowest)
{
	size_t		length;

	if (value == NULL)
		return false;
	while (is_blank(*value))
		value++;
	length = strlen(value);
	while (length > 0 && is_blank(value[length - 1]))
		length--;
	if (length == 0 || length >= size)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (value[i] < lowest || value[i] > 0x7e)
			return false;
	}
	memcpy(out, value, length);
	out[length] = '\0';
	return true;
}

bool
qs_credential_value(char *out, size_t size, const char *value)
{
	return copy_trimmed(out, size, value, '!');
}

bool
qs_credential_line(char *out, size_t size, const char *value)
{
	return copy_trimmed(out, size, value, ' ');
}

bool
qs_credential_escape(char *out, size_t size, const char *text)
{
	static const char digits[] = "0123456789ABCDEF";
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"abcdefghijklmnopqrstuvwxyz0123456789-_.~";
	size_t		used = strlen(out);

	for (; *text != '\0'; text++)
	{
		unsigned char c = (unsigned char) *text;
		bool		is_plain = strchr(plain, c) != NULL;

		if (used + (is_plain ? 1 : 3) >= size)
			return false;
		if (is_plain)
			out[used++] = (char) c;
		else
		{
			out[used++] = '%';
			out[used++] = digits[c >> 4];
			out[used++] = digits[c & 15];
		}
		out[used] = '\0';
	}
	return true;
}

bool
qs_credential_is_set(const char *text)
{
	return text != NULL && text[0] != '\0';
}

bool
qs_credential_add_field(QsCredentialFetch *fetch, const char *name,
						const char *value)
{
	size_t		used = strlen(fetch->body);
	size_t		left = sizeof(fetch->body) - used;

	return snprintf(fetch->body + used, left, "%s%s=", used > 0 ? "&" : "",
					name) < (int) left &&
		qs_credential_escape(fetch->body, sizeof(fetch->body), value);
}

void
qs_credential_post_form(QsCredentialFetch *fetch)
{
	fetch->headers[0].name = "Content-Type";
	fetch->headers[0].value = "application/x-www-form-urlencoded";
	fetch->request = (QsHttpRequest) {
		.method = "POST",
		.url = fetch->url,
		.headers = fetch->headers,
		.n_headers = 1,
		.body = fetch->body,
		.body_length = strlen(fetch->body)
	};
}

QsCredentialStep
qs_credential_take(QsCredentialFetch *fetch, const char *access_key_id,
				   const char *secret_access_key, const char *session_token,
				   const char *expiration, int64_t now_us, QsError *error)
{
	QsCredentials *taken = &fetch->credentials;
	int64_t		expires_at_us;

	if (!qs_credential_value(taken->access_key_id,
							 sizeof(taken->access_key_id), access_key_id) ||
		!qs_credential_value(taken->secret_access_key,
							 sizeof(taken->secret_access_key),
							 secret_access_key) ||
		!qs_credential_value(taken->session_token,
							 sizeof(taken->session_token), session_token))
	{
		OPENSSL_cleanse(taken, sizeof(*taken));
		return qs_credential_malformed(fetch, "credentials", error);
	}
	if (expiration == NULL || !qs_timestamp_parse(expiration, &expires_at_us))
	{
		OPENSSL_cleanse(taken, sizeof(*taken));
		return qs_credential_malformed(fetch, "the credentials' expiry",
									   error);
	}
	if (fetch->source->outlasts_expiry &&
		expires_at_us - now_us < QS_CREDENTIAL_NEAR_US)
		expires_at_us = now_us + QS_CREDENTIAL_EXTENDED_US;
	if (expires_at_us <= now_us)
	{
		OPENSSL_cleanse(taken, sizeof(*taken));
		qs_error_set(error, QS_ERROR_CREDENTIAL, "expired",
					 "%s gave credentials that have expired; is this host's "
					 "clock right?", fetch->source->name);
		return QS_CREDENTIAL_FAILED;
	}
	if (expires_at_us - now_us > QS_CREDENTIAL_LONGEST_US)
		expires_at_us = now_us + QS_CREDENTIAL_LONGEST_US;
	fetch->expires_at_us = expires_at_us;
	return QS_CREDENTIAL_DONE;
}

/* A code is a word; whatever else stands there may be an echo of a secret. */
static bool
is_code(const QsCredentialFetch *fetch, const char *code)
{
	size_t		length = code == NULL ? 0 : strlen(code);

	return length > 0 && length < 48 &&
		strspn(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			   "abcdefghijklmnopqrstuvwxyz.") == length &&
		(fetch->config.token == NULL ||
		 strstr(fetch->config.token, code) == NULL);
}

QsCredentialStep
qs_credential_refused(const QsCredentialFetch *fetch, const char *what,
					  int status, const char *code, QsError *error)
{
	bool		known = is_code(fetch, code);

	qs_error_set(error,
				 status == 429 ? QS_ERROR_THROTTLED :
				 status >= 500 ? QS_ERROR_TRANSIENT : QS_ERROR_CREDENTIAL,
				 known ? code : "", "%s refused %s (HTTP %d%s%s)",
				 fetch->source->name, what, status, known ? ", " : "",
				 known ? code : "");
	error->http_status = status;
	return QS_CREDENTIAL_FAILED;
}

QsCredentialStep
qs_credential_malformed(const QsCredentialFetch *fetch, const char *what,
						QsError *error)
{
	qs_error_set(error, QS_ERROR_MALFORMED, "malformed",
				 "the reply of %s cannot be understood where it gives %s",
				 fetch->source->name, what);
	return QS_CREDENTIAL_FAILED;
}
