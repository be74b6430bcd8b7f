/*-------------------------------------------------------------------------
 * signing.h
 *		Signature version 4 and its BytePlus variant: one algorithm, two
 *		parameter sets.
 *
 * Formula: reference of BytePlus "Signature V4 (header form)" and AWS SigV4;
 * the published vectors are in test/unit/test_signing.c.
 *-------------------------------------------------------------------------
 */
#ifndef QS_SIGNING_H
#define QS_SIGNING_H

#include "cloud/account.h"
#include "core/arena.h"
#include "core/http_message.h"

typedef struct QsSigningScheme
{
	const char *algorithm;		/* "HMAC-SHA256" | "AWS4-HMAC-SHA256" */
	const char *key_prefix;		/* "" | "AWS4" */
	const char *terminator;		/* "request" | "aws4_request" */
	const char *date_header;	/* "X-Date" | "X-Amz-Date" */
	const char *token_header;	/* "X-Security-Token" | "X-Amz-Security-Token" */
	const char *content_hash_header;	/* "X-Content-Sha256" | ... */
	bool		escape_path_twice;	/* AWS except S3 */
	bool		normalize_path;		/* likewise: what is signed, not what is sent */
} QsSigningScheme;

extern const QsSigningScheme qs_signing_byteplus;
extern const QsSigningScheme qs_signing_aws;

typedef struct QsQueryParameter
{
	const char *name;			/* unescaped */
	const char *value;
} QsQueryParameter;

/* Sorted, RFC 3986-escaped query string; NULL when the arena is exhausted. */
extern char *qs_canonical_query(QsArena *arena,
								const QsQueryParameter *parameters, int n);
extern char *qs_uri_escape(QsArena *arena, const char *s);

/*
 * Signs: adds date, content hash, (token) and Authorization headers to
 * request->headers (a new array in the arena).  endpoint is
 * "https://host[:port]", path "/..." unescaped, query as made by
 * qs_canonical_query().  Signed are host, the scheme's headers and the
 * request's headers named in also_sign (NULL-terminated list, may be NULL).
 * Sets request->url too.  now_epoch_s is corrected by the caller for skew.
 */
extern bool qs_sign_request(QsArena *arena, const QsSigningScheme *scheme,
							QsAccount *account, const char *endpoint,
							const char *path, const char *query,
							const char *region, const char *service,
							const char *const *also_sign, int64_t now_epoch_s,
							QsHttpRequest *request, QsError *error);

#endif							/* QS_SIGNING_H */
