/*-------------------------------------------------------------------------
 * fuzz_signing.c
 *		Any ids, names, endpoints and keys: what is signed is what will be
 *		sent, nothing is smuggled into a header, and no secret leaves its place.
 *
 * Input: lines: endpoint, path, region, service, access key, session token,
 * seconds since the epoch, body, then names and values of query parameters
 * in turn.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "cloud/canonical_request.h"
#include "cloud/signing.h"
#include "net/address.h"

#define SECRET			"SkFuzz/0001+abcdefghijklmnop=="
#define MAX_PARAMETERS	6

static bool
is_unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') || (c != '\0' && strchr("-_.~", c) != NULL);
}

static int
hex_digit(char c)
{
	const char *digits = "0123456789ABCDEF";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;

	return at ? (int) (at - digits) : -1;
}

/* Only the characters of RFC 3986, and back it is the same. */
static void
check_escaped(const char *escaped, const char *plain)
{
	for (; *escaped != '\0'; escaped++, plain++)
	{
		if (*escaped != '%')
			PROMISE(is_unreserved(*escaped) && *escaped == *plain);
		else
		{
			int			high = hex_digit(escaped[1]);
			int			low = high < 0 ? -1 : hex_digit(escaped[2]);

			PROMISE(low >= 0);
			PROMISE((unsigned char) *plain == high * 16 + low);
			PROMISE(!is_unreserved(*plain));
			escaped += 2;
		}
	}
	PROMISE(*plain == '\0');
}

/* Sorted as text, and as many pairs as were given. */
static void
check_query(const char *query, int n)
{
	char	   *copy = text_of(query, strlen(query));
	char	   *rest = copy;
	const char *name_before = "";
	const char *value_before = "";
	int			found = 0;

	for (char *pair; n > 0 && (pair = strsep(&rest, "&")) != NULL; found++)
	{
		char	   *value = strchr(pair, '=');
		int			order;

		PROMISE(value != NULL && strchr(value + 1, '=') == NULL);
		*value++ = '\0';
		order = strcmp(name_before, pair);
		PROMISE(order < 0 || (order == 0 &&
							  strcmp(value_before, value) <= 0));
		name_before = pair;
		value_before = value;
	}
	PROMISE(found == n);
	free(copy);
}

static bool
is_visible(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < 0x20 || *text > 0x7e)
			return false;
	return true;
}

/* Names that a caller has let through, as the provider does. */
static bool
is_name(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if (*c == '~' || !is_unreserved(*c))
			return false;
	return *text != '\0';
}

static void
check_signed(const QsHttpRequest *request, const QsAccount *account,
			 const char *endpoint)
{
	const char *authorization = NULL;
	const char *signature;
	QsUrl		url;
	QsUrl		meant;
	QsError		error;

	for (int i = 0; i < request->n_headers; i++)
	{
		const QsHttpHeader *header = &request->headers[i];

		PROMISE(is_visible(header->name) && is_visible(header->value));
		PROMISE(strstr(header->value, SECRET) == NULL);
		if (strcmp(header->name, "Authorization") == 0)
			authorization = header->value;
		if (strstr(header->name, "Security-Token") != NULL)
			PROMISE(header->value == account->credentials.session_token);
	}
	PROMISE(authorization != NULL);
	signature = strstr(authorization, "Signature=");
	while (signature != NULL && strstr(signature + 1, "Signature=") != NULL)
		signature = strstr(signature + 1, "Signature=");
	PROMISE(signature != NULL && strlen(signature) == 10 + 64);
	PROMISE(is_visible(request->url) && strchr(request->url, ' ') == NULL);
	PROMISE(strstr(request->url, SECRET) == NULL);

	/* the network layer sees the endpoint's host, or refuses */
	if (qs_url_parse(request->url, &url, &error) &&
		qs_url_parse(endpoint, &meant, &error))
		PROMISE(url.https == meant.https && url.port == meant.port &&
				strcmp(url.host, meant.host) == 0);
}

static void
try_scheme(QsArena *arena, const QsSigningScheme *scheme, QsAccount *account,
		   char *const *part, const char *query, int64_t now)
{
	static const char *const also[] = {"content-type", NULL};
	const QsHttpHeader own[] = {{"Content-Type", " application/json  x "}};
	QsHttpRequest request = {
		.method = "POST", .headers = own, .n_headers = 1,
		.body = part[7], .body_length = strlen(part[7]),
	};
	QsHttpRequest again = request;
	QsError		error;

	if (!is_name(part[2]) || !is_name(part[3]) || part[1][0] != '/')
		return;
	if (!qs_sign_request(arena, scheme, account, part[0], part[1], query,
						 part[2], part[3], also, now, &request, &error))
	{
		check_error(&error);
		PROMISE(strstr(error.message, SECRET) == NULL);
		return;
	}
	check_signed(&request, account, part[0]);

	/* from the cache of keys it is the same signature */
	PROMISE(qs_sign_request(arena, scheme, account, part[0], part[1], query,
							part[2], part[3], also, now, &again, &error));
	PROMISE(strcmp(request.headers[request.n_headers - 1].value,
				   again.headers[again.n_headers - 1].value) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	QsArena    *arena = qs_arena_new(1024 * 1024);
	QsAccount  *account = calloc(1, sizeof(QsAccount));
	QsQueryParameter parameters[MAX_PARAMETERS];
	char	   *part[8];
	char	   *words[2 * MAX_PARAMETERS];
	int			n = 0;
	char	   *query;

	PROMISE(arena != NULL && account != NULL);
	if (memmem(data, size, SECRET, strlen(SECRET)) != NULL)
		lines.left = 0;			/* libFuzzer reads our strings, too */
	for (int i = 0; i < 8; i++)
		part[i] = next_line(&lines);
	while (n < MAX_PARAMETERS && lines.left > 0)
	{
		words[2 * n] = next_line(&lines);
		words[2 * n + 1] = next_line(&lines);
		parameters[n] = (QsQueryParameter) {words[2 * n], words[2 * n + 1]};
		check_escaped(qs_uri_escape(arena, words[2 * n]), words[2 * n]);
		n++;
	}
	query = qs_canonical_query(arena, parameters, n);
	PROMISE(query != NULL);
	check_query(query, n);

	account->name = "fuzz";
	strcpy(account->credentials.secret_access_key, SECRET);
	snprintf(account->credentials.access_key_id,
			 sizeof(account->credentials.access_key_id), "%s", part[4]);
	snprintf(account->credentials.session_token,
			 sizeof(account->credentials.session_token), "%s", part[5]);
	try_scheme(arena, &qs_signing_byteplus, account, part, query,
			   atoll(part[6]));
	try_scheme(arena, &qs_signing_aws, account, part, query, atoll(part[6]));
	qs_account_cleanse(account);
	PROMISE(account->credentials.secret_access_key[0] == '\0');

	for (int i = 0; i < 8; i++)
		free(part[i]);
	for (int i = 0; i < 2 * n; i++)
		free(words[i]);
	free(account);
	qs_arena_free(arena);
	return 0;
}
