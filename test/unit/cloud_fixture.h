/*-------------------------------------------------------------------------
 * cloud_fixture.h
 *		A batch of targets and a way to answer their calls, for the tests of
 *		the cloud layer.
 *-------------------------------------------------------------------------
 */
#ifndef CLOUD_FIXTURE_H
#define CLOUD_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cloud/provider.h"

/* 2024-01-02T03:04:05Z, the moment of the reference's vectors */
#define VECTOR_TIME		INT64_C(1704164645)
#define NOW_US			(VECTOR_TIME * 1000000)
#define METADATA		"\"ResponseMetadata\":{\"RequestId\":\"req-1\"}"

typedef struct Cloud
{
	QsArena    *arena;
	QsAccount	account;
	QsRegionMemory memory;
	QsTarget   *targets;
	QsTarget  **list;
	int			n;
	char (*names)[2][32];
	QsBatch		batch;
	QsCallList	calls;
	QsCallList	follow_up;
	QsError		error;
	int64_t		date_s;			/* Date header of replies, -1 for none */
} Cloud;

static const QsProvider *const byteplus = &qs_provider_byteplus;

static inline void
vector_account(QsAccount *account)
{
	memset(account, 0, sizeof(*account));
	account->name = "test";
	strcpy(account->credentials.access_key_id, "AKLTEXAMPLEACCESSKEY0001");
	strcpy(account->credentials.secret_access_key,
		   "SkExampleSecretKey/0001+abcdefghijklmnopqrstuv==");
}

/* n targets alb-00000/scg-00000 and so on. */
static inline Cloud *
cloud_new(int n)
{
	Cloud	   *cloud = calloc(1, sizeof(Cloud));

	assert_non_null(cloud);
	cloud->arena = qs_arena_new((size_t) 512 * 1024 * 1024);
	cloud->targets = calloc((size_t) n + 1, sizeof(QsTarget));
	cloud->list = calloc((size_t) n + 1, sizeof(QsTarget *));
	cloud->names = calloc((size_t) n + 1, sizeof(*cloud->names));
	assert_non_null(cloud->arena);
	assert_non_null(cloud->targets);
	assert_non_null(cloud->list);
	assert_non_null(cloud->names);
	vector_account(&cloud->account);
	for (int i = 0; i < n; i++)
	{
		snprintf(cloud->names[i][0], 32, "alb-%05d", i);
		snprintf(cloud->names[i][1], 32, "scg-%05d", i);
		cloud->targets[i].group_id = i + 1;
		cloud->targets[i].alb_id = cloud->names[i][0];
		cloud->targets[i].asg_id = cloud->names[i][1];
		cloud->targets[i].region = "ap-southeast-1";
		cloud->list[i] = &cloud->targets[i];
	}
	cloud->n = n;
	cloud->date_s = -1;
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
	free(cloud->targets);
	free(cloud->list);
	free(cloud->names);
	free(cloud);
}

static inline void
observe(Cloud *cloud, int metric_period_s)
{
	memset(&cloud->calls, 0, sizeof(cloud->calls));
	assert_true(byteplus->observe(cloud->arena, &cloud->batch,
								  metric_period_s, NOW_US, &cloud->calls,
								  &cloud->error));
}

static inline int
count_calls(const QsCallList *list, QsCallKind kind)
{
	int			n = 0;

	for (int i = 0; i < list->n_calls; i++)
		n += list->calls[i]->kind == kind;
	return n;
}

/* The first call of a kind. */
static inline QsCall *
call_of(Cloud *cloud, QsCallKind kind)
{
	for (int i = 0; i < cloud->calls.n_calls; i++)
	{
		if (cloud->calls.calls[i]->kind == kind)
			return cloud->calls.calls[i];
	}
	fail_msg("no such call");
	return NULL;
}

static inline bool
answer_bytes(Cloud *cloud, QsCall *call, int status, const char *body,
			 size_t length)
{
	QsHttpReply reply = {
		.status = status,
		.content_type = "application/json",
		.body = body,
		.body_length = length,
		.retry_after_ms = -1,
		.date_epoch_s = cloud->date_s,
	};

	memset(&cloud->follow_up, 0, sizeof(cloud->follow_up));
	return byteplus->parse(cloud->arena, call, &reply, NOW_US,
						   &cloud->follow_up, &cloud->error);
}

static inline bool
answer(Cloud *cloud, QsCall *call, int status, const char *body)
{
	return answer_bytes(cloud, call, status, body, strlen(body));
}

static inline const char *
header_of(const QsHttpRequest *request, const char *name)
{
	for (int i = 0; i < request->n_headers; i++)
	{
		if (strcmp(request->headers[i].name, name) == 0)
			return request->headers[i].value;
	}
	return NULL;
}

static inline void
assert_signature(const QsHttpRequest *request, const char *signature)
{
	const char *authorization = header_of(request, "Authorization");

	assert_non_null(authorization);
	authorization = strstr(authorization, "Signature=");
	assert_non_null(authorization);
	assert_string_equal(authorization + strlen("Signature="), signature);
}

#endif							/* CLOUD_FIXTURE_H */
