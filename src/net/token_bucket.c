/*-------------------------------------------------------------------------
 * token_bucket.c
 *		Pacing: so many calls within any period of so long.
 *-------------------------------------------------------------------------
 */
#include "net/token_bucket.h"

#include <math.h>
#include <string.h>

#define LONGEST_PERIOD_MS ((int64_t) 24 * 3600 * 1000)

void
qs_token_bucket_set(QsTokenBucket *bucket, double rate_per_second,
					double burst)
{
	double period_ms;

	bucket->size = 0;
	if (!isfinite(rate_per_second) || rate_per_second <= 0)
		return;
	bucket->size = 1;
	if (isfinite(burst) && burst > 1)
		bucket->size = burst < QS_TOKENS_AT_MOST ? (int) burst : QS_TOKENS_AT_MOST;
	period_ms = ceil(bucket->size * 1000.0 / rate_per_second);
	bucket->period_ms = period_ms < (double) LONGEST_PERIOD_MS ?
		(int64_t) period_ms :
		LONGEST_PERIOD_MS;
}

void
qs_token_bucket_init(QsTokenBucket *bucket, double rate_per_second,
					 double burst)
{
	memset(bucket, 0, sizeof(*bucket));
	qs_token_bucket_set(bucket, rate_per_second, burst);
}

/* When the token was taken that is the n-th, counted from the newest. */
static int64_t
taken_at(const QsTokenBucket *bucket, int n)
{
	return bucket->taken_ms[(bucket->newest - (unsigned int) (n - 1)) %
							QS_TOKENS_AT_MOST];
}

int64_t
qs_token_bucket_wait_ms(const QsTokenBucket *bucket, int64_t now_ms)
{
	int64_t wait;

	if (bucket->size == 0 || bucket->n_taken < bucket->size)
		return 0;
	wait = taken_at(bucket, bucket->size) + bucket->period_ms - now_ms;
	if (wait > LONGEST_PERIOD_MS)
		return LONGEST_PERIOD_MS;
	return wait > 0 ? wait : 0;
}

bool
qs_token_bucket_take(QsTokenBucket *bucket, int64_t now_ms)
{
	if (bucket->size == 0)
		return true;
	if (qs_token_bucket_wait_ms(bucket, now_ms) > 0)
		return false;
	bucket->newest++;
	bucket->taken_ms[bucket->newest % QS_TOKENS_AT_MOST] = now_ms;
	if (bucket->n_taken < QS_TOKENS_AT_MOST)
		bucket->n_taken++;
	return true;
}

void
qs_token_bucket_give_back(QsTokenBucket *bucket)
{
	if (bucket->size == 0 || bucket->n_taken == 0)
		return;
	bucket->newest--;
	bucket->n_taken--;
}
