/*-------------------------------------------------------------------------
 * canonical_request.h
 *		The text that a signature covers.  Only for signing.c and its test.
 *-------------------------------------------------------------------------
 */
#ifndef QS_CANONICAL_REQUEST_H
#define QS_CANONICAL_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/arena.h"
#include "core/http_message.h"

#define QS_SHA256_HEX	65

typedef struct QsCanonicalRequest
{
	char	   *text;
	const char *signed_headers; /* "host;x-date" */
	char		hash[QS_SHA256_HEX];
} QsCanonicalRequest;

extern bool qs_sha256_hex(const void *data, size_t length,
						  char out[QS_SHA256_HEX]);
extern void qs_hex(const unsigned char *bytes, size_t n, char *out);

/* A path without empty, "." and ".." segments; NULL when exhausted. */
extern const char *qs_normal_path(QsArena *arena, const char *path);

/* Escapes each segment of a path once, or twice. */
extern char *qs_canonical_path(QsArena *arena, const char *path, bool twice);

/*
 * headers are those to sign, in any order and case; path and query are
 * canonical already.  false when the arena is exhausted or hashing fails.
 */
extern bool qs_canonical_request(QsArena *arena, const char *method,
								 const char *path, const char *query,
								 const QsHttpHeader *headers, int n_headers,
								 const char *body_hash,
								 QsCanonicalRequest *canonical);

#endif							/* QS_CANONICAL_REQUEST_H */
