/*-------------------------------------------------------------------------
 * signing.c
 *		Signature version 4, for BytePlus and for AWS.
 *
 * Puts together the canonical request, the derived key and the endpoint.
 * The Host header is not added: curl derives it from the URL that is built
 * here, and what is signed is what curl will send.
 *-------------------------------------------------------------------------
 */
#include "cloud/signing.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "cloud/canonical_request.h"
#include "cloud/signing_key.h"
#include "cloud/timestamp.h"

#define MAX_SIGNED	20			/* headers of a request */

const QsSigningScheme qs_signing_byteplus = {
	.algorithm = "HMAC-SHA256",
	.key_prefix = "",
	.terminator = "request",
	.date_header = "X-Date",
	.token_header = "X-Security-Token",
	.content_hash_header = "X-Content-Sha256",
	.escape_path_twice = false,
};

/* Only S3 wants the content hash as a header. */
const QsSigningScheme qs_signing_aws = {
	.algorithm = "AWS4-HMAC-SHA256",
	.key_prefix = "AWS4",
	.terminator = "aws4_request",
	.date_header = "X-Amz-Date",
	.token_header = "X-Amz-Security-Token",
	.content_hash_header = NULL,
	.escape_path_twice = true,
	.normalize_path = true,
};

/* An endpoint, taken apart. */
typedef struct Endpoint
{
	const char *scheme;			/* "https://" */
	const char *host;			/* lower case, with a port that is not the
								 * scheme's own */
} Endpoint;

static bool
is_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
		c == '_' || c == '.';
}

/* 1..65535, digits only; 0 if it is not. */
static int
port_number(const char *s)
{
	int			port = 0;

	if (*s == '\0')
		return 0;
	for (; *s != '\0'; s++)
	{
		if (*s < '0' || *s > '9')
			return 0;
		port = port * 10 + (*s - '0');
		if (port > 65535)
			return 0;
	}
	return port;
}

/* Where the port's colon (or the end) of "name" or "[address]" is. */
static char *
end_of_host(char *host)
{
	char	   *p = host;

	if (*p == '[')
	{
		size_t		length = strspn(p + 1, "0123456789abcdef:.");

		if (length < 2 || p[1 + length] != ']')
			return NULL;
		return p + length + 2;
	}
	while (is_host_char(*p))
		p++;
	return p > host ? p : NULL;
}

/*
 * Takes "https://host[:port]" apart.  Anything more (a user, a path, blanks)
 * is refused rather than signed and sent somewhere else than was meant.
 */
static bool
read_endpoint(QsArena *arena, const char *text, Endpoint *endpoint,
			  QsError *error)
{
	int			default_port;
	char	   *host;
	char	   *end;
	size_t		length;

	if (strncasecmp(text, "https://", 8) == 0)
	{
		endpoint->scheme = "https://";
		default_port = 443;
	}
	else if (strncasecmp(text, "http://", 7) == 0)
	{
		endpoint->scheme = "http://";
		default_port = 80;
	}
	else
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_endpoint",
							"an endpoint must begin with https://");
	host = qs_arena_strdup(arena, text + strlen(endpoint->scheme));
	if (host == NULL)
		return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
							"out of memory while reading an endpoint");
	length = strlen(host);
	if (length > 0 && host[length - 1] == '/')
		host[--length] = '\0';
	for (char *p = host; *p != '\0'; p++)
	{
		if (*p >= 'A' && *p <= 'Z')
			*p = (char) (*p - 'A' + 'a');
	}

	end = length <= 300 ? end_of_host(host) : NULL;
	if (end == NULL || (*end != '\0' && *end != ':') ||
		(*end == ':' && port_number(end + 1) == 0))
		return qs_error_set(error, QS_ERROR_TERMINAL, "invalid_endpoint",
							"an endpoint must look like https://host or "
							"https://host:port");
	if (*end == ':' && port_number(end + 1) == default_port)
		*end = '\0';
	endpoint->host = host;
	return true;
}

/* A header value of ours: visible ASCII only, nothing can be smuggled in. */
static bool
is_plain(const char *s)
{
	for (; *s != '\0'; s++)
	{
		if (*s < 0x21 || *s > 0x7e)
			return false;
	}
	return true;
}

static bool
check_credentials(const QsCredentials *credentials, QsError *error)
{
	if (credentials->access_key_id[0] == '\0' ||
		credentials->secret_access_key[0] == '\0')
		return qs_error_set(error, QS_ERROR_CREDENTIAL, "no_credentials",
							"the account has no access key or no secret");
	if (!is_plain(credentials->access_key_id) ||
		!is_plain(credentials->session_token))
		return qs_error_set(error, QS_ERROR_CREDENTIAL, "bad_credentials",
							"the access key or the session token holds "
							"characters that a key cannot have");
	return true;
}

/*
 * The headers that will be signed: host, ours, and the request's asked for,
 * each as often as it is there.
 */
static int
collect_signed(const QsHttpRequest *request, const char *host,
			   const QsHttpHeader *ours, int n_ours,
			   const char *const *also_sign,
			   QsHttpHeader *list, QsError *error)
{
	int			n = 0;

	list[n++] = (QsHttpHeader) {"host", host};
	for (int i = 0; i < n_ours; i++)
		list[n++] = ours[i];
	for (int i = 0; also_sign != NULL && also_sign[i] != NULL; i++)
	{
		int			before = n;

		for (int j = 0; j < request->n_headers && n < MAX_SIGNED; j++)
			if (strcasecmp(request->headers[j].name, also_sign[i]) == 0)
				list[n++] = request->headers[j];
		if (n == before)
		{
			qs_error_set(error, QS_ERROR_TERMINAL, "cannot_sign",
						 "header \"%s\" was to be signed and is not there, or one too many",
						 also_sign[i]);
			return -1;
		}
	}
	return n;
}

/* hex(HMAC(key, algorithm \n date \n scope \n hash)) */
static bool
sign_text(QsArena *arena, const QsSigningScheme *scheme, QsAccount *account,
		  const char *date, const char *scope, const char *region,
		  const char *service, const char *hash, char out[QS_SHA256_HEX])
{
	unsigned char digest[QS_KEY_BYTES];
	const unsigned char *key;
	char		day[9];
	char	   *text;

	memcpy(day, date, 8);
	day[8] = '\0';
	text = qs_arena_printf(arena, "%s\n%s\n%s\n%s", scheme->algorithm, date,
						   scope, hash);
	key = qs_signing_key(scheme, account, day, region, service);
	if (text == NULL || key == NULL ||
		!qs_hmac_sha256(key, QS_KEY_BYTES, text, digest))
		return false;
	qs_hex(digest, sizeof(digest), out);
	return true;
}

/* The request's headers, then ours, then Authorization. */
static bool
set_headers(QsArena *arena, QsHttpRequest *request, const QsHttpHeader *ours,
			int n_ours, const char *authorization)
{
	int			n = request->n_headers;
	QsHttpHeader *all;

	all = qs_arena_alloc_array(arena, (size_t) (n + n_ours + 1),
							   sizeof(QsHttpHeader));
	if (all == NULL)
		return false;
	if (n > 0)
		memcpy(all, request->headers, (size_t) n * sizeof(QsHttpHeader));
	memcpy(all + n, ours, (size_t) n_ours * sizeof(QsHttpHeader));
	n += n_ours;
	all[n++] = (QsHttpHeader) {"Authorization", authorization};
	request->headers = all;
	request->n_headers = n;
	return true;
}

/*
 * Sets date, content hash and token.  The token's header points into the
 * account and is not copied: a secret should be in one place.
 */
static int
own_headers(const QsSigningScheme *scheme, const QsAccount *account,
			const char *date, const char *body_hash, QsHttpHeader ours[3])
{
	int			n = 0;

	ours[n++] = (QsHttpHeader) {scheme->date_header, date};
	if (scheme->content_hash_header != NULL)
		ours[n++] = (QsHttpHeader) {scheme->content_hash_header, body_hash};
	if (account->credentials.session_token[0] != '\0')
		ours[n++] = (QsHttpHeader) {scheme->token_header,
			account->credentials.session_token};
	return n;
}

/* The Authorization header's value; NULL when memory runs out. */
static char *
authorize(QsArena *arena, const QsSigningScheme *scheme, QsAccount *account,
		  const char *date, const char *region, const char *service,
		  const QsCanonicalRequest *canonical)
{
	char		signature[QS_SHA256_HEX];
	char	   *scope = qs_arena_printf(arena, "%.8s/%s/%s/%s", date, region,
										service, scheme->terminator);

	if (scope == NULL ||
		!sign_text(arena, scheme, account, date, scope, region, service,
				   canonical->hash, signature))
		return NULL;
	return qs_arena_printf(arena, "%s Credential=%s/%s, SignedHeaders=%s, "
						   "Signature=%s", scheme->algorithm,
						   account->credentials.access_key_id, scope,
						   canonical->signed_headers, signature);
}

/*
 * See signing.h.  The canonical text may hold the session token, so it is
 * cleansed as soon as it has been hashed.
 */
bool
qs_sign_request(QsArena *arena, const QsSigningScheme *scheme,
				QsAccount *account, const char *endpoint, const char *path,
				const char *query, const char *region, const char *service,
				const char *const *also_sign, int64_t now_epoch_s,
				QsHttpRequest *request, QsError *error)
{
	Endpoint	where = {"", ""};
	QsHttpHeader ours[3];
	QsHttpHeader list[MAX_SIGNED];
	QsCanonicalRequest canonical = {0};
	char	   *date = qs_arena_alloc(arena, 17);
	char	   *body_hash = qs_arena_alloc(arena, QS_SHA256_HEX);
	char	   *url_path = qs_canonical_path(arena, path, false);
	const char *normal_path = scheme->normalize_path ?
		qs_normal_path(arena, path) : path;
	char	   *signed_path = normal_path == NULL ? NULL :
		qs_canonical_path(arena, normal_path, scheme->escape_path_twice);
	char	   *authorization;
	int			n_ours;
	int			n_list;
	bool		ok;

	if (!check_credentials(&account->credentials, error) ||
		!read_endpoint(arena, endpoint, &where, error))
		return false;
	if (date == NULL || body_hash == NULL || url_path == NULL ||
		signed_path == NULL)
		goto no_memory;
	if (!qs_timestamp_basic(now_epoch_s, date))
		return qs_error_set(error, QS_ERROR_TERMINAL, "cannot_sign",
							"the clock is not within years 1970 to 9999");
	if (!qs_sha256_hex(request->body, request->body_length, body_hash))
		goto no_memory;

	n_ours = own_headers(scheme, account, date, body_hash, ours);
	n_list = collect_signed(request, where.host, ours, n_ours, also_sign,
							list, error);
	if (n_list < 0)
		return false;
	ok = qs_canonical_request(arena, request->method, signed_path, query,
							  list, n_list, body_hash, &canonical);
	if (canonical.text != NULL)
		OPENSSL_cleanse(canonical.text, strlen(canonical.text));
	if (!ok)
		goto no_memory;

	authorization = authorize(arena, scheme, account, date, region, service,
							  &canonical);
	request->url = qs_arena_printf(arena, "%s%s%s%s%s", where.scheme,
								   where.host, url_path,
								   query[0] != '\0' ? "?" : "", query);
	if (authorization == NULL || request->url == NULL ||
		!set_headers(arena, request, ours, n_ours, authorization))
		goto no_memory;
	return true;

no_memory:
	return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
						"out of memory, or a name too long, while signing");
}
