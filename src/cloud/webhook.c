/*-------------------------------------------------------------------------
 * webhook.c
 *		An alert as an HTTP request, and what an answer to it means.
 *
 * Bodies are made in webhook_body.c.
 *-------------------------------------------------------------------------
 */
#include "cloud/webhook.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "cloud/webhook_body.h"

#define SECRET_PREFIX		"whsec_"
#define MAX_HEADERS			4

bool
qs_webhook_format_by_name(const char *name, QsWebhookFormat *format)
{
	static const char *const names[] = {
		[QS_WEBHOOK_STANDARD] = "standard",
		[QS_WEBHOOK_ALERTMANAGER] = "alertmanager",
		[QS_WEBHOOK_SLACK] = "slack"
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(names[i], name) == 0)
		{
			*format = (QsWebhookFormat) i;
			return true;
		}
	}
	return false;
}

char *
qs_webhook_message_id(QsArena *arena, const QsWebhookAlert *alert)
{
	return qs_arena_printf(arena, "%s%s", alert->uuid,
						   strcmp(alert->transition, "resolved") == 0 ?
						   ".resolved" : "");
}

/* ----------
 * Signature
 * ----------
 */

/* The key's length, or -1 with error.  Nothing of the secret is repeated. */
static int
secret_key(const char *secret, unsigned char key[QS_WEBHOOK_MAX_SECRET + 3],
		   QsError *error)
{
	size_t		length = strlen(secret);
	bool		encoded = strncmp(secret, SECRET_PREFIX,
								  strlen(SECRET_PREFIX)) == 0;
	int			size;

	if (!encoded)
	{
		size = length > QS_WEBHOOK_MAX_SECRET ? -1 : (int) length;
		if (size >= 0)
			memcpy(key, secret, length);
	}
	else
	{
		secret += strlen(SECRET_PREFIX);
		length -= strlen(SECRET_PREFIX);
		size = length % 4 != 0 || length > 4 * ((QS_WEBHOOK_MAX_SECRET + 2) / 3) ?
			-1 : EVP_DecodeBlock(key, (const unsigned char *) secret,
								 (int) length);
		/* OpenSSL counts what the padding stands for */
		for (size_t i = length; size > 0 && i > 0 && secret[i - 1] == '='; i--)
			size--;
	}
	if (size < QS_WEBHOOK_MIN_SECRET || size > QS_WEBHOOK_MAX_SECRET)
	{
		qs_error_set(error, QS_ERROR_CREDENTIAL, "secret",
					 "the signing secret must be %d to %d bytes, or whsec_ and the base64 of as many",
					 QS_WEBHOOK_MIN_SECRET, QS_WEBHOOK_MAX_SECRET);
		return -1;
	}
	return size;
}

static bool
hmac(const unsigned char *key, int key_length, const char *text,
	 size_t length, unsigned char out[32])
{
	unsigned int size = 0;

	return HMAC(EVP_sha256(), key, key_length, (const unsigned char *) text,
				length, out, &size) != NULL && size == 32;
}

char *
qs_webhook_signature(QsArena *arena, const char *secret,
					 const char *message_id, int64_t timestamp_s,
					 const char *body, size_t length, QsError *error)
{
	unsigned char key[QS_WEBHOOK_MAX_SECRET + 3];
	unsigned char digest[32];
	char		base64[48];
	char	   *start;
	char	   *signed_text;
	size_t		start_length;
	int			key_length = secret_key(secret, key, error);
	bool		ok;

	if (key_length < 0)
	{
		OPENSSL_cleanse(key, sizeof(key));
		return NULL;
	}
	start = qs_arena_printf(arena, "%s.%" PRId64 ".", message_id, timestamp_s);
	start_length = start == NULL ? 0 : strlen(start);
	signed_text = start == NULL ? NULL :
		qs_arena_alloc(arena, start_length + length + 1);
	ok = signed_text != NULL;
	if (ok)
	{
		memcpy(signed_text, start, start_length);
		memcpy(signed_text + start_length, body, length);
		ok = hmac(key, key_length, signed_text, start_length + length,
				  digest);
	}
	OPENSSL_cleanse(key, sizeof(key));
	if (!ok)
	{
		qs_error_set(error, QS_ERROR_RESOURCES, "no_memory", "out of memory");
		return NULL;
	}
	EVP_EncodeBlock((unsigned char *) base64, digest, sizeof(digest));
	return qs_arena_printf(arena, "v1,%s", base64);
}

/* One signature for each secret, separated by blanks. */
static char *
sign_all(QsArena *arena, const char *const *secrets, int n_secrets,
		 const char *message_id, int64_t now_epoch_s,
		 const QsHttpRequest *request, QsError *error)
{
	char	   *all = NULL;

	for (int i = 0; i < n_secrets; i++)
	{
		char	   *one = qs_webhook_signature(arena, secrets[i], message_id,
											   now_epoch_s, request->body,
											   request->body_length, error);

		if (one == NULL)
			return NULL;
		all = all == NULL ? one : qs_arena_printf(arena, "%s %s", all, one);
		if (all == NULL)
			break;
	}
	if (all == NULL)
		qs_error_set(error, QS_ERROR_RESOURCES, "no_memory", "out of memory");
	return all;
}

bool
qs_webhook_request(QsArena *arena, QsWebhookFormat format,
				   const QsWebhookAlert *alert, const char *receiver,
				   const char *const *secrets, int n_secrets,
				   int64_t now_epoch_s, QsHttpRequest *request,
				   QsError *error)
{
	QsHttpHeader *headers = qs_arena_alloc_array(arena, MAX_HEADERS,
												 sizeof(QsHttpHeader));
	char	   *id = qs_webhook_message_id(arena, alert);
	char	   *timestamp = qs_arena_printf(arena, "%" PRId64, now_epoch_s);

	memset(request, 0, sizeof(*request));
	qs_error_clear(error);
	if (headers == NULL || id == NULL || timestamp == NULL)
		return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
							"out of memory");
	request->method = "POST";
	request->headers = headers;
	request->body = qs_webhook_body(arena, format, alert, receiver, id);
	if (request->body == NULL)
		return qs_error_set(error, QS_ERROR_RESOURCES, "body",
							"the body could not be made");
	request->body_length = strlen(request->body);

	headers[request->n_headers++] = (QsHttpHeader)
	{
		"Content-Type", format == QS_WEBHOOK_STANDARD ?
			"application/cloudevents+json; charset=utf-8" : "application/json"
	};
	headers[request->n_headers++] = (QsHttpHeader) {"webhook-id", id};
	headers[request->n_headers++] = (QsHttpHeader)
	{
		"webhook-timestamp", timestamp
	};
	if (n_secrets > 0)
	{
		char	   *signatures = sign_all(arena, secrets, n_secrets, id,
										  now_epoch_s, request, error);

		if (signatures == NULL)
			return false;
		headers[request->n_headers++] = (QsHttpHeader)
		{
			"webhook-signature", signatures
		};
	}
	return true;
}

/* ----------
 * Answers
 * ----------
 */
QsWebhookAnswer
qs_webhook_answer(int http_status)
{
	if (http_status >= 200 && http_status <= 299)
		return QS_WEBHOOK_DELIVERED;
	switch (http_status)
	{
		case 410:
			return QS_WEBHOOK_GONE;
		case 429:
		case 502:
		case 503:
		case 504:
			return QS_WEBHOOK_THROTTLED;
		default:
			return QS_WEBHOOK_FAILED;
	}
}

/* The example of the specification, which asks for jitter. */
int64_t
qs_webhook_delay_ms(int attempts, double luck)
{
	static const int64_t seconds[QS_WEBHOOK_ATTEMPTS] = {
		0, 5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600,
		20 * 3600, 24 * 3600
	};

	if (attempts < 0)
		attempts = 0;
	if (attempts >= QS_WEBHOOK_ATTEMPTS)
		return -1;
	if (!(luck >= 0 && luck <= 1))
		luck = 0.5;
	return (int64_t) ((double) seconds[attempts] * 1000 * (0.9 + 0.2 * luck));
}

/* What follows the host, without the slash alone. */
static const char *
secret_part(const char *url)
{
	const char *host = strstr(url, "://");
	const char *path;

	if (host == NULL)
		return "";
	path = host + 3 + strcspn(host + 3, "/?");
	return strlen(path) > 1 ? path : "";
}

void
qs_webhook_excerpt(const char *url, const char *text, size_t length,
				   char *out, size_t size)
{
	static const char redacted[] = "[path]";
	const char *secret = secret_part(url);
	size_t		secret_length = strlen(secret);
	size_t		used = 0;

	/* with the first slash or without it */
	if (secret_length > 0)
	{
		secret++;
		secret_length--;
	}
	for (size_t i = 0; i < length && used + 1 < size;)
	{
		unsigned char c = (unsigned char) text[i];

		if (secret_length > 0 && length - i >= secret_length &&
			memcmp(text + i, secret, secret_length) == 0)
		{
			size_t		room = size - 1 - used;
			size_t		n = sizeof(redacted) - 1 < room ?
				sizeof(redacted) - 1 : room;

			memcpy(out + used, redacted, n);
			used += n;
			i += secret_length;
			continue;
		}
		if (c >= ' ' && c <= '~')
			out[used++] = (char) c;
		else
			out[used++] = c == '\n' || c == '\r' || c == '\t' ? ' ' : '?';
		i++;
	}
	if (size > 0)
		out[used] = '\0';
}
