/*-------------------------------------------------------------------------
 * fuzz_address.c
 *		Any URL, any list of allowed hosts, any address: no spelling gets
 *		around the rule, and curl reads the same host as we do.
 *
 * Input: four lines: a URL, a list of allowed hosts, an address as text, and
 * the bytes of a socket address.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>

#include "net/address.h"

/* Another parser that sees another host would be a way around the rule. */
static void
check_against_curl(const char *text, const QsUrl *url)
{
	CURLU	   *parts = curl_url();
	char	   *host = NULL;
	char	   *port = NULL;
	char	   *user = NULL;

	PROMISE(parts != NULL);
	if (curl_url_set(parts, CURLUPART_URL, text, 0) == CURLUE_OK &&
		curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK)
	{
		const char *theirs = host;
		char		plain[QS_MAX_HOST_BYTES + 1];
		struct in6_addr in6;
		size_t		length;

		PROMISE(curl_url_get(parts, CURLUPART_USER, &user, 0) != CURLUE_OK);
		PROMISE(curl_url_get(parts, CURLUPART_PORT, &port,
							 CURLU_DEFAULT_PORT) == CURLUE_OK);
		PROMISE(atoi(port) == url->port);
		length = strlen(host);
		if (host[0] == '[')
		{
			PROMISE(length > 2 && length - 2 < sizeof(plain));
			memcpy(plain, host + 1, length - 2);
			plain[length - 2] = '\0';
			PROMISE(inet_pton(AF_INET6, plain, &in6) == 1);
			PROMISE(inet_ntop(AF_INET6, &in6, plain, sizeof(plain)) != NULL);
			theirs = plain;
		}
		else if (length > 1 && host[length - 1] == '.')
			host[length - 1] = '\0';

		/* curl writes 0x7f.1 as 127.0.0.1: the resolved address decides */
		if (inet_addr(url->host) == INADDR_NONE)
			PROMISE(strcasecmp(theirs, url->host) == 0);
	}
	curl_free(host);
	curl_free(port);
	curl_free(user);
	curl_url_cleanup(parts);
}

static void
check_url(const char *text)
{
	QsUrl		url;
	QsUrl		again;
	QsError		error;
	char		spelt[QS_MAX_HOST_BYTES + 64];
	size_t		length;
	bool		bracketed;

	memset(&url, 0xA5, sizeof(url));
	if (!qs_url_parse(text, &url, &error))
	{
		check_error(&error);
		return;
	}
	PROMISE(memchr(url.host, '\0', sizeof(url.host)) != NULL);
	length = strlen(url.host);
	PROMISE(length > 0 && url.host[length - 1] != '.');
	PROMISE(url.port >= 1 && url.port <= 65535);
	for (size_t i = 0; i < length; i++)
		PROMISE(url.host[i] > ' ' && url.host[i] < 0x7f &&
				strchr("@/?#\\%[]", url.host[i]) == NULL &&
				!(url.host[i] >= 'A' && url.host[i] <= 'Z'));

	/* what was read is its own spelling */
	bracketed = strchr(url.host, ':') != NULL;
	snprintf(spelt, sizeof(spelt), "http%s://%s%s%s:%d/",
			 url.https ? "s" : "", bracketed ? "[" : "", url.host,
			 bracketed ? "]" : "", url.port);
	PROMISE(qs_url_parse(spelt, &again, &error));
	PROMISE(again.https == url.https && again.port == url.port &&
			strcmp(again.host, url.host) == 0);
	check_against_curl(text, &url);
}

/* The list that names exactly this host lets exactly this host in. */
static void
check_listed(const char *host, int port)
{
	char		text[QS_MAX_HOST_BYTES + 32];
	bool		bracketed = strchr(host, ':') != NULL;
	QsError		error;
	QsAllowList *list;

	snprintf(text, sizeof(text), "%s%s%s:%d", bracketed ? "[" : "", host,
			 bracketed ? "]" : "", port);
	list = qs_allow_list_new(text, &error);
	PROMISE(list != NULL);
	PROMISE(qs_allow_list_contains(list, host, port));
	PROMISE(!qs_allow_list_contains(list, host, port == 1 ? 2 : port - 1));
	PROMISE(!qs_allow_list_contains(list, "other.example", port) ||
			strcmp(host, "other.example") == 0);
	qs_allow_list_free(list);
}

static void
check_list(const char *text, const char *url_text)
{
	QsError		error;
	QsUrl		url;
	QsAllowList *list = qs_allow_list_new(text, &error);

	if (list == NULL)
	{
		check_error(&error);
		return;
	}
	PROMISE(strspn(text, " \t\r\n,") < strlen(text) ||
			!qs_allow_list_contains(list, "a.example", 443));
	PROMISE(!qs_allow_list_contains(list, "", 443));

	/* no list lets everything in: two hosts that share no suffix */
	PROMISE(!qs_allow_list_contains(list, "qs-fuzz-one.first", 1) ||
			!qs_allow_list_contains(list, "qs-fuzz-two.second", 2) ||
			strcasestr(text, "first") != NULL);
	if (qs_url_parse(url_text, &url, &error))
	{
		(void) qs_allow_list_contains(list, url.host, url.port);
		check_listed(url.host, url.port);
	}
	qs_allow_list_free(list);
}

/* Text and bytes of an address are judged alike; wrapped ones by the core. */
static void
check_address(const char *text)
{
	QsAddressClass class = qs_address_class_of_text(text);
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	PROMISE(strcmp(qs_address_class_name(class), "unknown") != 0);
	if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
	{
		char		mapped[64];

		PROMISE(qs_address_class((struct sockaddr *) &in, sizeof(in)) == class);
		PROMISE(qs_address_class((struct sockaddr *) &in, 4) ==
				QS_ADDRESS_RESERVED);
		snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
		PROMISE(qs_address_class_of_text(mapped) == class);
		snprintf(mapped, sizeof(mapped), "64:ff9b::%s", text);
		PROMISE(qs_address_class_of_text(mapped) == class);
	}
	else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
		PROMISE(qs_address_class((struct sockaddr *) &in6, sizeof(in6)) ==
				class);
	else
		PROMISE(class == QS_ADDRESS_RESERVED);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	char	   *url = next_line(&lines);
	char	   *list = next_line(&lines);
	char	   *address = next_line(&lines);
	struct sockaddr_storage any = {0};
	size_t		n = lines.left < sizeof(any) ? lines.left : sizeof(any);

	check_url(url);
	check_list(list, url);
	check_address(address);
	if (n > 0)
		memcpy(&any, lines.at, n);
	(void) qs_address_class((struct sockaddr *) &any, n);
	any.ss_family = n % 2 ? AF_INET : AF_INET6;
	(void) qs_address_class((struct sockaddr *) &any, sizeof(any));
	free(url);
	free(list);
	free(address);
	return 0;
}
