/*-------------------------------------------------------------------------
 * compat_curl.h
 *		The only place that asks which libcurl this is.
 *
 * Floor: 7.74 (Debian 11).  Each switch names what the older library lacks
 * and what we do there instead.
 *-------------------------------------------------------------------------
 */
#ifndef QS_COMPAT_CURL_H
#define QS_COMPAT_CURL_H

#include <curl/curl.h>

/* Called before each request goes out, on reused connections too.  Without
 * it every call takes a fresh connection, since only so can a request not be
 * sent twice behind our back. */
#if LIBCURL_VERSION_NUM >= 0x075000
#define QS_CURL_HAS_PREREQ 1
#endif

/* The list of protocols as text; before it, a bit mask. */
#if LIBCURL_VERSION_NUM >= 0x075500
#define QS_CURL_HAS_PROTOCOLS_STR 1
#endif

/* Do not wait for resolver threads (easy handles); parsed CA store is kept. */
#if LIBCURL_VERSION_NUM >= 0x075700
#define QS_CURL_HAS_QUICK_EXIT 1
#define QS_CURL_HAS_CA_CACHE 1
#endif

/* The same for the multi handle, which took over the resolver threads. */
#if LIBCURL_VERSION_NUM >= 0x081400
#define QS_CURL_HAS_MULTI_QUICK_EXIT 1
#endif

#endif /* QS_COMPAT_CURL_H */
