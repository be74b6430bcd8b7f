/*-------------------------------------------------------------------------
 * token_bucket.h
 *		Pacing: a bucket that fills at a rate and holds a burst.
 *
 * Pure arithmetic; the caller tells the time.  Sending one request takes one
 * token.  A rate of zero or less means no limit.
 *-------------------------------------------------------------------------
 */
#ifndef QS_TOKEN_BUCKET_H
#define QS_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct QsTokenBucket
{
	double rate_per_second;
	double burst;
	double tokens;
	int64_t filled_ms; /* when tokens was last brought up to date */
} QsTokenBucket;

extern void qs_token_bucket_init(QsTokenBucket *bucket, double rate_per_second,
								 double burst, int64_t now_ms);

/* Changes the limit and keeps what is in the bucket, up to the new burst. */
extern void qs_token_bucket_set(QsTokenBucket *bucket, double rate_per_second,
								double burst, int64_t now_ms);
extern bool qs_token_bucket_take(QsTokenBucket *bucket, int64_t now_ms);
extern void qs_token_bucket_give_back(QsTokenBucket *bucket);

/* Milliseconds until a token is there: 0 = now, at most one day. */
extern int64_t qs_token_bucket_wait_ms(QsTokenBucket *bucket, int64_t now_ms);
extern bool qs_token_bucket_full(QsTokenBucket *bucket, int64_t now_ms);

#endif /* QS_TOKEN_BUCKET_H */
