/*-------------------------------------------------------------------------
 * accounts.h
 *		Options of cloud accounts: what CREATE SERVER and CREATE USER MAPPING
 *		accept, checked when they are written.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_ACCOUNTS_H
#define QPSSCALE_ACCOUNTS_H

#include <stddef.h>

/* Small letters, digits and single hyphens: a region becomes part of a host
 * name, so nothing else may pass.  At most 64 characters. */
extern bool qpsscale_valid_region(const char *region);

/* A host name, an IPv4 address, an IPv6 address (in brackets where a port
 * follows), each with or without ":port".  No user, no path. */
extern bool qpsscale_valid_host_port(const char *text, size_t length);

#endif							/* QPSSCALE_ACCOUNTS_H */
