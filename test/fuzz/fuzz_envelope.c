/*-------------------------------------------------------------------------
 * fuzz_envelope.c
 *		Any reply to the one call that changes something: taken for success
 *		only if it is one, for a refusal only if the other side said so.
 *
 * Input: a line "STATUS RETRY-AFTER-MS DATE-OFFSET", then the body.
 *-------------------------------------------------------------------------
 */
#include "cloud_fuzz.h"

#include <jansson.h>

/*
 * Read apart from the provider: is there metadata, and no error in it?  The
 * provider forgives bare NaN and the like, which strict JSON has not.
 */
static bool
looks_like_success(const char *body, size_t length)
{
	json_t	   *root = json_loadb(body, length,
								  JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL,
								  NULL);
	json_t	   *metadata = json_object_get(root, "ResponseMetadata");
	json_t	   *error = json_object_get(metadata, "Error");
	bool		ok = root == NULL ?
		memmem(body, length, "ResponseMetadata", 16) != NULL :
		json_is_object(metadata) &&
		(error == NULL || json_is_null(error) ||
		 (json_is_object(error) && json_object_size(error) == 0));

	json_decref(root);
	return ok;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	char	   *first = next_line(&lines);
	char	   *cursor = first;
	int			status = (int) (next_number(&cursor) & 0x7fff) % 600;
	int64_t		retry_after_ms = next_number(&cursor) % 3600000;
	int64_t		date_offset = next_number(&cursor) % 10000000;
	char	   *body = text_of(lines.at, lines.left);
	Cloud	   *cloud = cloud_new(1, 1024 * 1024);
	QsTarget   *target = cloud->list[0];
	QsCallList	follow_up = {0};
	QsError		error;
	QsCall	   *call;
	QsHttpReply reply = {
		.status = status < 100 ? 200 : status,
		.content_type = "application/json",
		.body = body,
		.body_length = lines.left,
		.retry_after_ms = retry_after_ms < 0 ? -1 : retry_after_ms,
		.date_epoch_s = date_offset == 0 ? -1 : NOW_S + date_offset,
	};

	call = provider->set_capacity(cloud->arena, &cloud->batch, target, 5,
								  NOW_US, &error);
	PROMISE(call != NULL);
	if (provider->parse(cloud->arena, call, &reply, NOW_US, &follow_up,
						&error))
	{
		PROMISE(reply.status >= 200 && reply.status < 300);
		PROMISE(looks_like_success(body, lines.left));
		PROMISE(target->set_accepted);
		PROMISE(is_clean_text(target->set_request_id));
		check_no_secret(target->set_request_id);
	}
	else
	{
		check_refusal(&error);
		PROMISE(!target->set_accepted);
		PROMISE(error.http_status == reply.status ||
				error.class == QS_ERROR_MALFORMED);

		/* what may have been carried out is not called refused */
		if (error.refused && (reply.status >= 500 || reply.status == 408))
			PROMISE(reply.status == 503);
		if (lines.left == 0)
			PROMISE(!error.refused);
		provider->abandon(call, &error);
		PROMISE(target->set_error.class == error.class);
	}
	PROMISE(follow_up.n_calls == 0);
	PROMISE(llabs(cloud->memory.skew_s) <= 30 * 86400);
	cloud_free(cloud);
	free(body);
	free(first);
	return 0;
}
