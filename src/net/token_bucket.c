/*-------------------------------------------------------------------------
 * token_bucket.c
 *		Pacing: a bucket that fills at a rate and holds a burst.
 *-------------------------------------------------------------------------
 */
#include "net/token_bucket.h"

#include <math.h>

/* A waiter that comes exactly when the token is due must not be turned away
 * because 0.1 s of 10/s is a little less than one in binary. */
#define TOKEN_TOLERANCE 1e-6
#define LONGEST_WAIT_MS ((int64_t) 24 * 3600 * 1000)

static void
clean_limits(QsTokenBucket *bucket, double rate_per_second, double burst)
{
	bucket->rate_per_second =
		isfinite(rate_per_second) && rate_per_second > 0 ? rate_per_second : 0;
	bucket->burst = isfinite(burst) && burst > 1 ? burst : 1;
}

static void
fill(QsTokenBucket *bucket, int64_t now_ms)
{
	if (now_ms <= bucket->filled_ms)
		return;
	bucket->tokens += (double) (now_ms - bucket->filled_ms) / 1000.0 *
		bucket->rate_per_second;
	if (bucket->tokens > bucket->burst)
		bucket->tokens = bucket->burst;
	bucket->filled_ms = now_ms;
}

void
qs_token_bucket_init(QsTokenBucket *bucket, double rate_per_second,
					 double burst, int64_t now_ms)
{
	clean_limits(bucket, rate_per_second, burst);
	bucket->tokens = bucket->burst;
	bucket->filled_ms = now_ms;
}

void
qs_token_bucket_set(QsTokenBucket *bucket, double rate_per_second,
					double burst, int64_t now_ms)
{
	fill(bucket, now_ms);
	clean_limits(bucket, rate_per_second, burst);
	if (bucket->tokens > bucket->burst)
		bucket->tokens = bucket->burst;
}

bool
qs_token_bucket_take(QsTokenBucket *bucket, int64_t now_ms)
{
	if (bucket->rate_per_second <= 0)
		return true;
	fill(bucket, now_ms);
	if (bucket->tokens < 1.0 - TOKEN_TOLERANCE)
		return false;
	bucket->tokens -= 1.0;
	return true;
}

void
qs_token_bucket_give_back(QsTokenBucket *bucket)
{
	if (bucket->rate_per_second <= 0)
		return;
	bucket->tokens += 1.0;
	if (bucket->tokens > bucket->burst)
		bucket->tokens = bucket->burst;
}

int64_t
qs_token_bucket_wait_ms(QsTokenBucket *bucket, int64_t now_ms)
{
	double wait;

	if (bucket->rate_per_second <= 0)
		return 0;
	fill(bucket, now_ms);
	if (bucket->tokens >= 1.0 - TOKEN_TOLERANCE)
		return 0;
	wait = ceil((1.0 - bucket->tokens) / bucket->rate_per_second * 1000.0 -
				TOKEN_TOLERANCE);
	if (!(wait < (double) LONGEST_WAIT_MS))
		return LONGEST_WAIT_MS;
	return wait < 1 ? 1 : (int64_t) wait;
}

bool
qs_token_bucket_full(QsTokenBucket *bucket, int64_t now_ms)
{
	if (bucket->rate_per_second <= 0)
		return true;
	fill(bucket, now_ms);
	return bucket->tokens >= bucket->burst - TOKEN_TOLERANCE;
}
