/*-------------------------------------------------------------------------
 * address.c
 *		Which hosts and which network addresses may be talked to.
 *-------------------------------------------------------------------------
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct Ipv4Range
{
	uint32_t network;
	int bits;
	QsAddressClass class;
} Ipv4Range;

/*
 * Sources: IANA special-purpose address registry, after the clouds' manuals for
 * their metadata services: AWS (instances, tasks, pods), Azure, GCP and many
 * others at 169.254.169.254, BytePlus, Azure's second one, Alibaba Cloud.
 */
static const Ipv4Range ipv4_ranges[] = {
	{0xa9fea9fe, 32, QS_ADDRESS_METADATA},
	{0xa9feaa02, 32, QS_ADDRESS_METADATA},
	{0xa9feaa17, 32, QS_ADDRESS_METADATA},
	{0x64600060, 32, QS_ADDRESS_METADATA},
	{0xa83f8110, 32, QS_ADDRESS_METADATA},
	{0x646464c8, 32, QS_ADDRESS_METADATA},
	{0x00000000, 8, QS_ADDRESS_UNSPECIFIED},
	{0x0a000000, 8, QS_ADDRESS_PRIVATE},
	{0x64400000, 10, QS_ADDRESS_SHARED},
	{0x7f000000, 8, QS_ADDRESS_LOOPBACK},
	{0xa9fe0000, 16, QS_ADDRESS_LINK_LOCAL},
	{0xac100000, 12, QS_ADDRESS_PRIVATE},
	{0xc0000000, 24, QS_ADDRESS_RESERVED},
	{0xc0000200, 24, QS_ADDRESS_RESERVED},
	{0xc0586300, 24, QS_ADDRESS_RESERVED},
	{0xc0a80000, 16, QS_ADDRESS_PRIVATE},
	{0xc6120000, 15, QS_ADDRESS_RESERVED},
	{0xc6336400, 24, QS_ADDRESS_RESERVED},
	{0xcb007100, 24, QS_ADDRESS_RESERVED},
	{0xe0000000, 4, QS_ADDRESS_MULTICAST},
	{0xf0000000, 4, QS_ADDRESS_RESERVED},
};

typedef struct Ipv6Range
{
	uint8_t network[16];
	int bits;
	QsAddressClass class;
} Ipv6Range;

/* The metadata services are those of AWS (instances, pods) and GCP. */
static const Ipv6Range ipv6_ranges[] = {
	{{0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128, QS_ADDRESS_METADATA},
	{{0xfd, 0x00, 0x0e, 0xc2, [15] = 0x23}, 128, QS_ADDRESS_METADATA},
	{{0xfd, 0x20, 0x00, 0xce, [14] = 0x02, [15] = 0x54}, 128, QS_ADDRESS_METADATA},
	{{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, QS_ADDRESS_PRIVATE},
	{{0x00}, 8, QS_ADDRESS_RESERVED},
	{{0x01, 0x00}, 64, QS_ADDRESS_RESERVED},
	{{0x20, 0x01, 0x00, 0x00}, 32, QS_ADDRESS_RESERVED},
	{{0x20, 0x01, 0x0d, 0xb8}, 32, QS_ADDRESS_RESERVED},
	{{0x3f, 0xff, 0x00}, 20, QS_ADDRESS_RESERVED},
	{{0xfc}, 7, QS_ADDRESS_PRIVATE},
	{{0xfe, 0x80}, 10, QS_ADDRESS_LINK_LOCAL},
	{{0xfe, 0xc0}, 10, QS_ADDRESS_PRIVATE},
	{{0xff}, 8, QS_ADDRESS_MULTICAST},
};

static const char *const class_names[] = {
	"public",
	"unspecified",
	"loopback",
	"private",
	"link-local",
	"shared (carrier NAT)",
	"multicast",
	"reserved",
	"metadata service",
};

const char *
qs_address_class_name(QsAddressClass class)
{
	if ((size_t) class >= sizeof(class_names) / sizeof(class_names[0]))
		return "unknown";
	return class_names[class];
}

static QsAddressClass
class_of_ipv4(uint32_t address)
{
	size_t i;

	for (i = 0; i < sizeof(ipv4_ranges) / sizeof(ipv4_ranges[0]); i++)
	{
		uint32_t mask = UINT32_MAX << (32 - ipv4_ranges[i].bits);

		if ((address & mask) == ipv4_ranges[i].network)
			return ipv4_ranges[i].class;
	}
	return QS_ADDRESS_PUBLIC;
}

static uint32_t
ipv4_at(const uint8_t *bytes)
{
	return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 |
		(uint32_t) bytes[2] << 8 | bytes[3];
}

static bool
in_ipv6_range(const uint8_t *address, const Ipv6Range *range)
{
	int whole = range->bits / 8;
	int rest = range->bits % 8;

	if (memcmp(address, range->network, (size_t) whole) != 0)
		return false;
	return rest == 0 ||
		((address[whole] ^ range->network[whole]) >> (8 - rest)) == 0;
}

/*
 * Addresses that carry an IPv4 address inside are judged by that one: mapped
 * (::ffff:a.b.c.d), NAT64 (64:ff9b::/96, RFC 6052) and 6to4 (2002::/16).
 */
static QsAddressClass
class_of_ipv6(const uint8_t *address)
{
	static const uint8_t zeros[16];
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
	size_t i;

	if (memcmp(address, zeros, 16) == 0)
		return QS_ADDRESS_UNSPECIFIED;
	if (memcmp(address, zeros, 15) == 0 && address[15] == 1)
		return QS_ADDRESS_LOOPBACK;
	if (memcmp(address, mapped, 12) == 0 || memcmp(address, nat64, 12) == 0)
		return class_of_ipv4(ipv4_at(address + 12));
	if (address[0] == 0x20 && address[1] == 0x02)
		return class_of_ipv4(ipv4_at(address + 2));
	for (i = 0; i < sizeof(ipv6_ranges) / sizeof(ipv6_ranges[0]); i++)
		if (in_ipv6_range(address, &ipv6_ranges[i]))
			return ipv6_ranges[i].class;
	return QS_ADDRESS_PUBLIC;
}

QsAddressClass
qs_address_class(const struct sockaddr *address, size_t length)
{
	if (address->sa_family == AF_INET && length >= sizeof(struct sockaddr_in))
	{
		struct sockaddr_in in;

		memcpy(&in, address, sizeof(in));
		return class_of_ipv4(ntohl(in.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6 &&
		length >= sizeof(struct sockaddr_in6))
	{
		struct sockaddr_in6 in6;

		memcpy(&in6, address, sizeof(in6));
		return class_of_ipv6(in6.sin6_addr.s6_addr);
	}
	return QS_ADDRESS_RESERVED;
}

QsAddressClass
qs_address_class_of_text(const char *text)
{
	struct in_addr in;
	struct in6_addr in6;

	if (text != NULL && inet_pton(AF_INET, text, &in) == 1)
		return class_of_ipv4(ntohl(in.s_addr));
	if (text != NULL && inet_pton(AF_INET6, text, &in6) == 1)
		return class_of_ipv6(in6.s6_addr);
	return QS_ADDRESS_RESERVED;
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + ('a' - 'A')) : c;
}

/*
 * Copies a host name or address in the one spelling that we compare: lower
 * case, no trailing dot, an IPv6 address as inet_ntop() writes it.  Only
 * characters that mean the same to every parser are let through; a host that
 * we read as one thing and curl as another would be a hole.
 */
static bool
copy_host(char *target, const char *source, size_t length, bool bracketed)
{
	size_t i;

	if (!bracketed && length > 1 && source[length - 1] == '.')
		length--;
	if (length == 0 || length > QS_MAX_HOST_BYTES)
		return false;
	for (i = 0; i < length; i++)
	{
		char c = lower(source[i]);
		bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			c == '.';

		if (bracketed)
			good = good || c == ':';
		else
			good = good || c == '-' || c == '_';
		if (!good)
			return false;
		target[i] = c;
	}
	target[length] = '\0';
	if (bracketed)
	{
		struct in6_addr in6;

		return inet_pton(AF_INET6, target, &in6) == 1 &&
			inet_ntop(AF_INET6, &in6, target, QS_MAX_HOST_BYTES) != NULL;
	}
	return target[0] != '.' && target[length - 1] != '.' &&
		strstr(target, "..") == NULL;
}

/* Reads 1..65535 that fills all of the text; -1 otherwise. */
static int
parse_port(const char *text, size_t length)
{
	int port = 0;
	size_t i;

	if (length == 0 || length > 5)
		return -1;
	for (i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return -1;
		port = port * 10 + (text[i] - '0');
	}
	return port >= 1 && port <= 65535 ? port : -1;
}

/*
 * Splits host[:port] or [address][:port] of the given length.  The port is
 * left alone where none is given.
 */
static bool
parse_authority(const char *text, size_t length, char *host, int *port)
{
	const char *end = text + length;
	const char *host_end;
	bool bracketed = length > 0 && text[0] == '[';

	if (bracketed)
	{
		text++;
		host_end = memchr(text, ']', (size_t) (end - text));
		if (host_end == NULL)
			return false;
	}
	else
	{
		host_end = memchr(text, ':', length);
		if (host_end == NULL)
			host_end = end;
	}
	if (!copy_host(host, text, (size_t) (host_end - text), bracketed))
		return false;
	if (bracketed)
		host_end++;
	if (host_end == end)
		return true;
	if (*host_end != ':')
		return false;
	*port = parse_port(host_end + 1, (size_t) (end - host_end - 1));
	return *port > 0;
}

bool
qs_url_parse(const char *text, QsUrl *url, QsError *error)
{
	size_t length = 0;
	const char *authority;

	if (text == NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "url_refused",
							"the request has no URL");
	while (length <= QS_MAX_URL_BYTES && text[length] > ' ' &&
		   text[length] < 0x7f && text[length] != '\\')
		length++;
	if (text[length] != '\0' || length > QS_MAX_URL_BYTES)
		return qs_error_set(error, QS_ERROR_TERMINAL, "url_refused",
							"the URL is too long or has characters that "
							"need escaping");
	if (strncmp(text, "https://", 8) == 0)
	{
		url->https = true;
		url->port = 443;
		authority = text + 8;
	}
	else if (strncmp(text, "http://", 7) == 0)
	{
		url->https = false;
		url->port = 80;
		authority = text + 7;
	}
	else
		return qs_error_set(error, QS_ERROR_TERMINAL, "url_refused",
							"the URL must begin with https://");
	length = strcspn(authority, "/?#");
	if (!parse_authority(authority, length, url->host, &url->port))
		return qs_error_set(error, QS_ERROR_TERMINAL, "url_refused",
							"the URL's host or port cannot be understood");
	return true;
}

typedef struct AllowedHost
{
	char *host; /* for a suffix: with the leading dot */
	int port; /* 0 = any */
	bool suffix;
} AllowedHost;

struct QsAllowList
{
	AllowedHost *hosts;
	size_t count;
};

/*
 * One entry: name, address, either with a port, or *.suffix.  A bare IPv6
 * address has no brackets but at least two colons.  A lone * is refused: it
 * would switch the protection off in a single character.
 */
static bool
parse_allowed(AllowedHost *entry, const char *text, size_t length)
{
	char host[QS_MAX_HOST_BYTES + 1];
	const char *colon;
	bool parsed;

	entry->port = 0;
	entry->suffix = length > 2 && text[0] == '*' && text[1] == '.';
	if (entry->suffix)
	{
		text += 2;
		length -= 2;
	}
	colon = memchr(text, ':', length);
	if (colon != NULL && text[0] != '[' &&
		memchr(colon + 1, ':', length - (size_t) (colon + 1 - text)) != NULL)
		parsed = copy_host(host, text, length, true);
	else
		parsed = parse_authority(text, length, host, &entry->port);
	if (!parsed || (entry->suffix && strchr(host, ':') != NULL))
		return false;
	entry->host = malloc(strlen(host) + 2);
	if (entry->host == NULL)
		return false;
	entry->host[0] = '.';
	strcpy(entry->host + (entry->suffix ? 1 : 0), host);
	return true;
}

QsAllowList *
qs_allow_list_new(const char *text, QsError *error)
{
	static const char spaces[] = " \t\r\n";
	QsAllowList *list = calloc(1, sizeof(*list));
	size_t most = 1;
	const char *c;

	if (text == NULL)
		text = "";
	for (c = text; *c != '\0'; c++)
		most += *c == ',';
	if (list != NULL)
		list->hosts = calloc(most, sizeof(*list->hosts));
	if (list == NULL || list->hosts == NULL)
	{
		free(list);
		qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
					 "out of memory for the list of allowed hosts");
		return NULL;
	}
	for (c = text; *c != '\0';)
	{
		size_t length;
		size_t whole;

		c += strspn(c, spaces);
		whole = length = strcspn(c, ",");
		while (length > 0 && strchr(spaces, c[length - 1]) != NULL)
			length--;
		if (length > 0 && !parse_allowed(&list->hosts[list->count], c, length))
		{
			qs_error_set(error, QS_ERROR_TERMINAL, "allowed_hosts",
						 "\"%.*s\" is neither a host, an address, host:port "
						 "nor *.suffix",
						 length > 80 ? 80 : (int) length, c);
			qs_allow_list_free(list);
			return NULL;
		}
		list->count += length > 0;
		c += whole;
		c += *c == ',';
	}
	return list;
}

/*
 * host is spelt as qs_url_parse() leaves it.  A suffix never matches an
 * address: "*.1" is not meant for 10.0.0.1, nor for 0x7f.1.
 */
bool
qs_allow_list_contains(const QsAllowList *list, const char *host, int port)
{
	size_t length = strlen(host);
	const char *last_label = strrchr(host, '.');
	bool named = strchr(host, ':') == NULL && last_label != NULL &&
		!(last_label[1] >= '0' && last_label[1] <= '9');
	size_t i;

	for (i = 0; i < list->count; i++)
	{
		const AllowedHost *entry = &list->hosts[i];
		size_t tail = strlen(entry->host);

		if (entry->port != 0 && entry->port != port)
			continue;
		if (!entry->suffix)
		{
			if (strcmp(entry->host, host) == 0)
				return true;
		}
		else if (named && length > tail &&
				 strcmp(host + length - tail, entry->host) == 0)
			return true;
	}
	return false;
}

void
qs_allow_list_free(QsAllowList *list)
{
	size_t i;

	if (list == NULL)
		return;
	for (i = 0; i < list->count; i++)
		free(list->hosts[i].host);
	free(list->hosts);
	free(list);
}
