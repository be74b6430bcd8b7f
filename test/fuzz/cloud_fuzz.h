/*-------------------------------------------------------------------------
 * cloud_fuzz.h
 *		A batch of groups whose cloud says whatever the fuzzer likes.
 *-------------------------------------------------------------------------
 */
#ifndef CLOUD_FUZZ_H
#define CLOUD_FUZZ_H

#include "fuzz.h"

#include <math.h>

#include "cloud/provider.h"

#define MOST_GROUPS		64
#define NOW_S			INT64_C(1704164645)
#define NOW_US			(NOW_S * 1000000)

/* What a reply must not make us repeat, in whole or by its beginning. */
#define SECRET			"SkFuzz0001abcdefghijklmnop"
#define TOKEN			"TkFuzz0002abcdefghijklmnop"

#ifndef FUZZED_PROVIDER
#define FUZZED_PROVIDER	qs_provider_byteplus
#endif

static const QsProvider *const provider = &FUZZED_PROVIDER;

typedef struct Cloud
{
	QsArena    *arena;
	QsAccount	account;
	QsRegionMemory memory;
	QsTarget	targets[MOST_GROUPS];
	QsTarget   *list[MOST_GROUPS];
	char		names[MOST_GROUPS][2][16];
	QsBatch		batch;
} Cloud;

/* n groups alb-0/scg-0, alb-1/scg-1, ... */
static inline Cloud *
cloud_new(int n, size_t memory_limit)
{
	Cloud	   *cloud = calloc(1, sizeof(Cloud));

	PROMISE(cloud != NULL);
	cloud->arena = qs_arena_new(memory_limit);
	PROMISE(cloud->arena != NULL);
	cloud->account.name = "fuzz";
	strcpy(cloud->account.credentials.access_key_id, "AKFUZZ");
	strcpy(cloud->account.credentials.secret_access_key, SECRET);
	strcpy(cloud->account.credentials.session_token, TOKEN);
	for (int i = 0; i < n; i++)
	{
		snprintf(cloud->names[i][0], 16, "alb-%d", i);
		snprintf(cloud->names[i][1], 16, "scg-%d", i);
		cloud->targets[i].group_id = i;
		cloud->targets[i].alb_id = cloud->names[i][0];
		cloud->targets[i].asg_id = cloud->names[i][1];
		cloud->targets[i].region = "ap-southeast-1";
		cloud->list[i] = &cloud->targets[i];
	}
	cloud->batch = (QsBatch) {
		.account = &cloud->account,
		.region = "ap-southeast-1",
		.memory = &cloud->memory,
		.targets = cloud->list,
		.n_targets = n,
	};
	return cloud;
}

static inline void
cloud_free(Cloud *cloud)
{
	qs_arena_free(cloud->arena);
	free(cloud);
}

/* Nothing that is written down or shown holds a secret's beginning. */
static inline void
check_no_secret(const char *text)
{
	char		start[17] = {0};

	memcpy(start, SECRET, 16);
	PROMISE(strstr(text, start) == NULL);
	memcpy(start, TOKEN, 16);
	PROMISE(strstr(text, start) == NULL);
}

static inline void
check_refusal(const QsError *error)
{
	check_error(error);
	check_no_secret(error->code);
	check_no_secret(error->message);
	PROMISE(error->retry_after_ms >= -1);
}

#endif							/* CLOUD_FUZZ_H */
