/*-------------------------------------------------------------------------
 * address.h
 *		Which hosts and which network addresses may be talked to.
 *
 * Pure functions.  The rule: https to a public address, except for hosts
 * that the administrator listed.  The name decides whether an exception
 * applies; the *resolved* address decides whether one is needed, so that a
 * name that points inwards (DNS rebinding) gains nothing.
 *-------------------------------------------------------------------------
 */
#ifndef QS_ADDRESS_H
#define QS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "core/error.h"

#define QS_MAX_URL_BYTES 65536
#define QS_MAX_HOST_BYTES 255

typedef enum QsAddressClass
{
	QS_ADDRESS_PUBLIC = 0,
	QS_ADDRESS_UNSPECIFIED,
	QS_ADDRESS_LOOPBACK,
	QS_ADDRESS_PRIVATE, /* RFC 1918, unique local, site local */
	QS_ADDRESS_LINK_LOCAL,
	QS_ADDRESS_SHARED, /* carrier grade NAT */
	QS_ADDRESS_MULTICAST,
	QS_ADDRESS_RESERVED, /* documentation, benchmarks, future use */
	QS_ADDRESS_METADATA /* where clouds hand out this host's credentials */
} QsAddressClass;

extern QsAddressClass qs_address_class(const struct sockaddr *address,
									   size_t length);

/* The same for text as inet_ntop() writes it; not an address = reserved. */
extern QsAddressClass qs_address_class_of_text(const char *text);
extern const char *qs_address_class_name(QsAddressClass class);

typedef struct QsUrl
{
	bool https;
	int port;
	char host[QS_MAX_HOST_BYTES + 1]; /* lower case, no brackets, no
												 * trailing dot */
} QsUrl;

/* Absolute http or https URL of visible ASCII without user information. */
extern bool qs_url_parse(const char *text, QsUrl *url, QsError *error);

typedef struct QsAllowList QsAllowList;

/* The syntax of QsNetOptions.allowed_hosts; NULL, with error set, when an
 * entry cannot be understood. */
extern QsAllowList *qs_allow_list_new(const char *text, QsError *error);
extern bool qs_allow_list_contains(const QsAllowList *list, const char *host,
								   int port);
extern void qs_allow_list_free(QsAllowList *list);

#endif /* QS_ADDRESS_H */
