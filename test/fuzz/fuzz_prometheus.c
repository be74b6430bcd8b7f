/*-------------------------------------------------------------------------
 * fuzz_prometheus.c
 *		Any answers of Prometheus to the signals of some groups: each ends as
 *		known, partial, empty or with an error, and a number is one.
 *
 * Input: a line "SIGNALS AGE-SECONDS SKEW MEMORY-KB" (every third signal has no
 * label, every fourth another query), then replies, parted by lines of
 * "---": a line "STATUS DATE-OFFSET CONTENT-TYPE", and the body.  What is left
 * unanswered in the end is given up.
 *-------------------------------------------------------------------------
 */
#define FUZZED_PROVIDER	qs_provider_prometheus

#include "cloud_fuzz.h"

#define MOST_CALLS		16

static const char parting[] = "\n---\n";

static void
check_reading(const QsTarget *target)
{
	const QsReading *reading = &target->reading;

	PROMISE(reading->n_pods == 0);
	if (target->reading_error.class != QS_ERROR_NONE)
	{
		PROMISE(reading->state == QS_READING_UNKNOWN);
		check_refusal(&target->reading_error);
		return;
	}
	PROMISE(reading->state != QS_READING_UNKNOWN);
	if (reading->state == QS_READING_EMPTY)
		return;
	PROMISE(isfinite(reading->value));
	PROMISE(reading->at_us <= NOW_US + INT64_C(31) * 86400 * 1000000);
}

static void
answer(Cloud *cloud, QsCall *call, const char *text, size_t length,
	   QsCallList *calls)
{
	Lines		lines = {text, length};
	char	   *head = next_line(&lines);
	char	   *cursor = head;
	int			status = (int) (next_number(&cursor) & 0x7fff) % 600;
	int64_t		offset = next_number(&cursor) % 10000000;
	char	   *body = text_of(lines.at, lines.left);
	QsHttpReply reply = {
		.status = status < 100 ? 200 : status,
		.content_type = cursor,
		.body = body,
		.body_length = lines.left,
		.retry_after_ms = -1,
		.date_epoch_s = offset == 0 ? -1 : NOW_S + offset,
	};
	QsCallList	follow_up = {0};
	QsError		error;

	if (provider->parse(cloud->arena, call, &reply, NOW_US, &follow_up,
						&error))
	{
		PROMISE(follow_up.n_calls <= 1);
		for (int i = 0; i < follow_up.n_calls; i++)
			PROMISE(qs_call_list_add(cloud->arena, calls,
									 follow_up.calls[i]));
	}
	else
	{
		check_refusal(&error);
		provider->abandon(call, &error);
	}
	free(body);
	free(head);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	char	   *first = next_line(&lines);
	char	   *cursor = first;
	int			n = (int) (next_number(&cursor) & 0xffff) % MOST_GROUPS + 1;
	int64_t		age_s = next_number(&cursor) & 0xffff;
	int64_t		skew_s = next_number(&cursor) % (30 * 86400);
	int			memory_kb = (int) (next_number(&cursor) & 0xffff);
	Cloud	   *cloud = cloud_new(n, (size_t) (memory_kb > 0 ? memory_kb : 8192) * 1024);
	QsSignalQuery queries[MOST_GROUPS];
	QsCallList	calls = {0};
	QsError		error;
	int			next = 0;

	snprintf(cloud->account.credentials.authorization,
			 sizeof(cloud->account.credentials.authorization), "Bearer %s",
			 TOKEN);
	cloud->account.endpoint = "https://prometheus.test";
	cloud->memory.skew_s = skew_s;
	for (int i = 0; i < n; i++)
	{
		queries[i] = (QsSignalQuery) {
			.query = i % 4 == 3 ? "other" : "load",
			.label = i % 3 == 2 ? NULL : "app",
			.label_value = i % 3 == 2 ? NULL : cloud->names[i][0],
			.max_age_us = age_s * 1000000
		};
		cloud->targets[i].query = &queries[i];
	}
	if (provider->observe_signals(cloud->arena, &cloud->batch, 300, NOW_US,
								  &calls, &error))
	{
		while (next < calls.n_calls && next < MOST_CALLS && lines.left > 0)
		{
			const char *end = memmem(lines.at, lines.left, parting,
									 sizeof(parting) - 1);
			size_t		length = end ? (size_t) (end - lines.at) : lines.left;

			answer(cloud, calls.calls[next++], lines.at, length, &calls);
			if (end != NULL)
				length += sizeof(parting) - 1;
			lines.at += length;
			lines.left -= length;
		}
		qs_error_set(&error, QS_ERROR_TRANSIENT, "deadline", "given up");
		while (next < calls.n_calls)
			provider->abandon(calls.calls[next++], &error);
		for (int i = 0; i < n; i++)
			check_reading(&cloud->targets[i]);
	}
	cloud_free(cloud);
	free(first);
	return 0;
}
