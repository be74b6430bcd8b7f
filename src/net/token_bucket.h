/*-------------------------------------------------------------------------
 * token_bucket.h
 *		Pacing: so many calls within any period of so long.
 *
 * A token that is taken comes back when burst / rate seconds have passed.  So
 * never more than burst are taken within such a period, wherever it begins,
 * and in the long run they are taken at the rate.  A bucket that fills slowly
 * instead lets twice as many through in the first period, which a server that
 * counts calls per second refuses.
 *-------------------------------------------------------------------------
 */
#ifndef QS_TOKEN_BUCKET_H
#define QS_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* A larger burst counts as this many, with a period that is shorter. */
#define QS_TOKENS_AT_MOST 64

typedef struct QsTokenBucket
{
	int size; /* tokens, taken ones included; 0 = no limit */
	int64_t period_ms;
	unsigned int newest; /* in taken_ms, modulo its length */
	int n_taken; /* remembered, given back or not */
	int64_t taken_ms[QS_TOKENS_AT_MOST];
} QsTokenBucket;

extern void qs_token_bucket_init(QsTokenBucket *bucket, double rate_per_second,
								 double burst);

/* Changes the limit and remembers what was taken. */
extern void qs_token_bucket_set(QsTokenBucket *bucket, double rate_per_second,
								double burst);
extern bool qs_token_bucket_take(QsTokenBucket *bucket, int64_t now_ms);

/* The token that was taken last was not needed. */
extern void qs_token_bucket_give_back(QsTokenBucket *bucket);

/* Milliseconds until a token is there: 0 = now, at most one day. */
extern int64_t qs_token_bucket_wait_ms(const QsTokenBucket *bucket,
									   int64_t now_ms);

#endif /* QS_TOKEN_BUCKET_H */
