/*-------------------------------------------------------------------------
 * breaker.c
 *		How long to wait before something that failed is tried again.
 *-------------------------------------------------------------------------
 */
#include "core/breaker.h"

#define SECOND_US		INT64_C(1000000)
#define JITTER_SHARE	4		/* up to a quarter of the pause */

/* A well mixed number; the finalizer of MurmurHash3, which is public domain. */
static uint64_t
mix(uint64_t x)
{
	x ^= x >> 33;
	x *= UINT64_C(0xff51afd7ed558ccd);
	x ^= x >> 33;
	x *= UINT64_C(0xc4ceb9fe1a85ec53);
	x ^= x >> 33;
	return x;
}

/*
 * first_us, doubled as many times as there were failures before, at most
 * most_us; and up to a quarter of that more, so that no pause is shorter than
 * what was promised.
 */
static int64_t
back_off_us(int64_t group_id, int doublings, int64_t first_us, int64_t most_us)
{
	int64_t		pause = first_us;
	uint64_t	dice = mix(mix((uint64_t) group_id) + (uint64_t) doublings);

	for (int i = 0; i < doublings && pause < most_us; i++)
		pause *= 2;
	if (pause > most_us)
		pause = most_us;
	return pause + (int64_t) (dice % (uint64_t) (pause / JITTER_SHARE));
}

int64_t
qs_circuit_pause_us(int64_t group_id, int failures)
{
	if (failures < QS_CIRCUIT_FAILURES)
		return 0;
	return back_off_us(group_id, failures - QS_CIRCUIT_FAILURES,
					   60 * SECOND_US, 3600 * SECOND_US);
}

int64_t
qs_stock_out_pause_us(int64_t group_id, int unfulfilled)
{
	int			doublings = unfulfilled - QS_STOCK_OUT_AFTER;

	return back_off_us(group_id, doublings > 0 ? doublings : 0,
					   300 * SECOND_US, 3600 * SECOND_US);
}
