/*-------------------------------------------------------------------------
 * byteplus_actions.c
 *		What is asked for one group that is about to act, and the act itself.
 *
 * In-service count, activities, and ModifyScalingGroup: the only call that
 * changes anything.  It writes an absolute number, so repeating it after a
 * time-out is harmless.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cloud/timestamp.h"

/* A call for one group, signed; NULL with error set. */
static QsBytePlusCall *
call_for_one(QsArena *arena, const QsBatch *batch, QsCallKind kind,
			 QsTarget *target, const char *action,
			 const QsQueryParameter *more, int n_more, int64_t now_us,
			 QsError *error)
{
	QsQueryParameter parameters[8] = {
		{"Action", action},
		{"Version", "2020-01-01"},
		{"ScalingGroupId", target->asg_id},
	};
	QsTarget  **targets = qs_arena_alloc(arena, sizeof(QsTarget *));
	QsBytePlusCall *call;

	qs_error_clear(error);
	if (!qs_byteplus_region_is_valid(batch->region) ||
		!qs_byteplus_id_is_valid(target->asg_id))
	{
		qs_error_set(error, QS_ERROR_TERMINAL, "invalid_asg_id",
					 "asg_id or region is empty, too long or holds "
					 "characters that do not belong there");
		return NULL;
	}
	for (int i = 0; i < n_more; i++)
		parameters[3 + i] = more[i];
	call = qs_byteplus_call_new(arena, batch, kind, targets, 1);
	if (targets == NULL || call == NULL)
	{
		qs_byteplus_no_memory(error);
		return NULL;
	}
	targets[0] = target;
	call->query = qs_canonical_query(arena, parameters, 3 + n_more);
	if (call->query == NULL)
	{
		qs_byteplus_no_memory(error);
		return NULL;
	}
	return qs_byteplus_sign(arena, call, now_us, error) ? call : NULL;
}

/* The count is in TotalCount, so one row is enough. */
static QsBytePlusCall *
ask_status(QsArena *arena, const QsBatch *batch, QsTarget *target,
		   const char *status, int64_t now_us, QsError *error)
{
	const QsQueryParameter more[] = {
		{"PageNumber", "1"},
		{"PageSize", "1"},
		{"Status", status},
	};
	QsBytePlusCall *call;

	call = call_for_one(arena, batch, QS_CALL_IN_SERVICE, target,
						"DescribeScalingInstances", more, 3, now_us, error);
	if (call != NULL)
		call->base.variant = status;
	return call;
}

QsCall *
qs_byteplus_ask_in_service(QsArena *arena, const QsBatch *batch,
						   QsTarget *target, int64_t now_us, QsError *error)
{
	QsBytePlusCall *call;

	target->capacity.in_service = QS_UNKNOWN;
	call = ask_status(arena, batch, target, "InService", now_us, error);
	target->in_service_error = *error;
	return call ? &call->base : NULL;
}

static QsBytePlusCall *
ask_activity_page(QsArena *arena, const QsBatch *batch, QsTarget *target,
				  int page, int64_t now_us, QsError *error)
{
	char		number[16];
	const QsQueryParameter more[] = {
		{"PageNumber", number},
		{"PageSize", "50"},
	};
	QsBytePlusCall *call;

	snprintf(number, sizeof(number), "%d", page);
	call = call_for_one(arena, batch, QS_CALL_ACTIVITIES, target,
						"DescribeScalingActivities", more, 2, now_us, error);
	if (call != NULL)
		call->base.page = page;
	return call;
}

/* Counts as asked from now on: without an answer nothing may be done. */
QsCall *
qs_byteplus_ask_activities(QsArena *arena, const QsBatch *batch,
						   QsTarget *target, int64_t now_us, QsError *error)
{
	QsBytePlusCall *call;

	target->activity = (QsCloudActivity) {
		.asked = true,
		.last_scale_up_at = QS_NEVER,
		.last_scale_down_at = QS_NEVER,
		.last_any_at = QS_NEVER,
		.newest_at = QS_NEVER,
	};
	call = ask_activity_page(arena, batch, target, 1, now_us, error);
	target->activity_error = *error;
	return call ? &call->base : NULL;
}

QsCall *
qs_byteplus_set_capacity(QsArena *arena, const QsBatch *batch,
						 QsTarget *target, int desired, int64_t now_us,
						 QsError *error)
{
	char		number[16];
	const QsQueryParameter more[] = {{"DesireInstanceNumber", number}};
	QsBytePlusCall *call = NULL;

	target->set_accepted = false;
	target->set_request_id[0] = '\0';
	if (desired < 0 || desired > QS_MAX_INSTANCES)
		qs_error_set(error, QS_ERROR_TERMINAL, "invalid_desired",
					 "%d is not a number of instances", desired);
	else
	{
		snprintf(number, sizeof(number), "%d", desired);
		call = call_for_one(arena, batch, QS_CALL_SET_CAPACITY, target,
							"ModifyScalingGroup", more, 1, now_us, error);
	}
	target->set_error = *error;
	return call ? &call->base : NULL;
}

/* Rows that name another group answer a question that was not asked. */
static bool
about_this_group(const json_t *row, const QsTarget *target)
{
	const json_t *id = json_object_get(row, "ScalingGroupId");
	const char *text = qs_json_text(id);

	if (id == NULL || json_is_null(id))
		return true;
	return text != NULL && strcmp(text, target->asg_id) == 0;
}

/*
 * Protected instances serve as well, but most groups have none: they are
 * asked for only if there are members that are not plainly in service.
 */
bool
qs_byteplus_parse_in_service(QsArena *arena, QsBytePlusCall *call,
							 const QsHttpReply *reply, int64_t now_us,
							 QsCallList *follow_up, QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	QsBatch		batch = qs_call_batch(&call->base);
	bool		first = strcmp(call->base.variant, "InService") == 0;
	json_t	   *root = qs_byteplus_reply_open(arena, call, reply, now_us,
											  error);
	json_t	   *result = root ? qs_byteplus_result(root, error) : NULL;
	json_t	   *row;
	QsBytePlusCall *next;
	int			count = 0;
	bool		ok = result != NULL;
	size_t		i;

	if (ok && !qs_json_count(json_object_get(result, "TotalCount"), 0,
							 QS_MAX_INSTANCES, &count))
		ok = qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
						  "reply has no TotalCount");
	json_array_foreach(json_object_get(result, "ScalingInstances"), i, row)
	{
		if (ok && !about_this_group(row, target))
			ok = qs_error_set(error, QS_ERROR_MALFORMED, "wrong_group",
							  "reply is about another scaling group");
	}
	json_decref(root);
	if (!ok)
		return false;

	count += call->in_service_before;
	if (!first || (target->capacity.known && count >= target->capacity.total))
	{
		target->capacity.in_service = count;
		qs_error_clear(&target->in_service_error);
		return true;
	}
	next = ask_status(arena, &batch, target, "Protected", now_us, error);
	if (next == NULL)
		return false;
	next->in_service_before = count;
	if (!qs_call_list_add(arena, follow_up, &next->base))
		return qs_byteplus_no_memory(error);
	return true;
}

#define WORD_CHARACTERS \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"

/* What one activity means for us. */
typedef struct Activity
{
	bool		in_progress;
	bool		failed;
	bool		grows;			/* an unknown type does both */
	bool		shrinks;
	int64_t		at;				/* local clock; QS_NEVER when unreadable */
	int64_t		created_at;		/* the cloud's clock, likewise */
	const char *category;		/* in the row, or NULL */
} Activity;

/* "SCALE_OUT", "ScaleOut" and "scaleout" are the same word. */
static bool
same_word(const char *a, const char *b)
{
	for (;;)
	{
		char		x;
		char		y;

		while (*a == '_')
			a++;
		while (*b == '_')
			b++;
		x = *a >= 'A' && *a <= 'Z' ? (char) (*a - 'A' + 'a') : *a;
		y = *b >= 'A' && *b <= 'Z' ? (char) (*b - 'A' + 'a') : *b;
		if (x != y)
			return false;
		if (x == '\0')
			return true;
		a++;
		b++;
	}
}

/* The cloud's time by our clock, and never in the future: a cooldown that
 * began tomorrow would not end today. */
static int64_t
local_time(const QsRegionMemory *memory, int64_t at, int64_t now_us)
{
	if (memory != NULL)
		at -= memory->skew_s * 1000000;
	return at < now_us ? at : now_us;
}

/*
 * Reads one activity.  false: it is over and nobody can tell since when, or
 * it has no status: the caller must not act on the rest.  A status that we do
 * not know is in progress as long as no end is given.
 */
static bool
read_activity(const json_t *row, const QsRegionMemory *memory,
			  int64_t now_us, Activity *activity)
{
	const json_t *status = json_object_get(row, "StatusCode");
	const char *type = qs_json_text(json_object_get(row, "ActivityType"));
	int64_t		stopped;
	bool		ended;
	bool		begun;

	memset(activity, 0, sizeof(*activity));
	if (!json_is_object(row) || qs_json_text(status) == NULL)
		return false;
	ended = qs_timestamp_parse(qs_json_text(json_object_get(row,
															"StoppedAt")),
							   &stopped);
	begun = qs_timestamp_parse(qs_json_text(json_object_get(row,
															"CreatedAt")),
							   &activity->created_at);
	if (!begun)
		activity->created_at = QS_NEVER;

	activity->category = qs_json_text(json_object_get(row, "TaskCategory"));
	activity->failed = qs_json_equals(status, "Error") ||
		qs_json_equals(status, "Rejected") ||
		qs_json_equals(status, "Exception");
	if (qs_json_equals(status, "Init") || qs_json_equals(status, "Running"))
		activity->in_progress = true;
	else if (!activity->failed && !qs_json_equals(status, "Success") &&
			 !qs_json_equals(status, "PartialSuccess"))
		activity->in_progress = !ended;

	activity->grows = type == NULL || !same_word(type, "ScaleIn");
	activity->shrinks = type == NULL || !same_word(type, "ScaleOut");
	if (ended && !activity->in_progress)
		activity->at = local_time(memory, stopped, now_us);
	else if (begun)
		activity->at = local_time(memory, activity->created_at, now_us);
	else
		activity->at = QS_NEVER;
	return activity->in_progress || activity->at != QS_NEVER;
}

static int64_t
later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/*
 * What the cloud says its newest activity was caused by.  One word such as
 * "Manual" or nothing: the text goes into explanations as it is.
 */
static void
note_newest(const Activity *activity, const QsRegionMemory *memory,
			int64_t now_us, QsCloudActivity *sum)
{
	const char *category = activity->category;
	int64_t		at;

	if (activity->created_at == QS_NEVER)
		return;
	at = local_time(memory, activity->created_at, now_us);
	if (sum->newest_at != QS_NEVER && at < sum->newest_at)
		return;
	sum->newest_at = at;
	memset(sum->newest_category, 0, sizeof(sum->newest_category));
	if (category != NULL &&
		strlen(category) < sizeof(sum->newest_category) &&
		strspn(category, WORD_CHARACTERS) == strlen(category))
		memcpy(sum->newest_category, category, strlen(category));
}

static void
count_activity(const Activity *activity, QsCloudActivity *sum)
{
	sum->in_progress = sum->in_progress || activity->in_progress;
	sum->last_any_at = later(sum->last_any_at, activity->at);
	if (activity->failed)
		return;
	if (activity->grows)
		sum->last_scale_up_at = later(sum->last_scale_up_at, activity->at);
	if (activity->shrinks)
		sum->last_scale_down_at = later(sum->last_scale_down_at,
										activity->at);
}

/*
 * Adds up all activities of a page, whose order is not documented.
 * *oldest_first is set if the page begins with an older one than it ends
 * with.
 */
static bool
read_activities(const QsCall *call, const json_t *rows, int64_t now_us,
				QsCloudActivity *sum, bool *oldest_first, QsError *error)
{
	const QsTarget *target = call->targets[0];
	int64_t		first = QS_NEVER;
	int64_t		last = QS_NEVER;
	size_t		i;
	json_t	   *row;

	if (!json_is_array(rows) && !json_is_null(rows))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
							"reply has no ScalingActivities");
	json_array_foreach(rows, i, row)
	{
		Activity	activity;

		if (!about_this_group(row, target))
			continue;
		if (!read_activity(row, call->memory, now_us, &activity))
			return qs_error_set(error, QS_ERROR_MALFORMED,
								"malformed_activity",
								"an activity has no status, or has ended at "
								"a time that cannot be read");
		count_activity(&activity, sum);
		note_newest(&activity, call->memory, now_us, sum);
		if (first == QS_NEVER)
			first = activity.created_at;
		if (activity.created_at != QS_NEVER)
			last = activity.created_at;
	}
	*oldest_first = first < last;
	return true;
}

/*
 * If there is more than one page and the first begins with the oldest, the
 * newest ones are on the last page: that one is asked for too.
 */
bool
qs_byteplus_parse_activities(QsArena *arena, QsBytePlusCall *call,
							 const QsHttpReply *reply, int64_t now_us,
							 QsCallList *follow_up, QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	QsBatch		batch = qs_call_batch(&call->base);
	QsCloudActivity sum = target->activity;
	QsBytePlusCall *next;
	json_t	   *root = qs_byteplus_reply_open(arena, call, reply, now_us,
											  error);
	json_t	   *result = root ? qs_byteplus_result(root, error) : NULL;
	bool		oldest_first = false;
	bool		ok;
	int			total = 0;

	ok = result != NULL &&
		read_activities(&call->base,
						json_object_get(result, "ScalingActivities"), now_us,
						&sum, &oldest_first, error);
	if (ok)
		(void) qs_json_count(json_object_get(result, "TotalCount"), 0,
							 INT_MAX / 2, &total);
	json_decref(root);
	if (!ok)
		return false;

	if (qs_answer_quotes_secret(&call->base, sum.newest_category))
		sum.newest_category[0] = '\0';
	target->activity = sum;
	target->activity.asked = true;
	if (call->base.page != 1 || total <= QS_BYTEPLUS_PAGE_SIZE ||
		!oldest_first)
	{
		target->activity.known = true;
		qs_error_clear(&target->activity_error);
		return true;
	}
	next = ask_activity_page(arena, &batch, target,
							 (total - 1) / QS_BYTEPLUS_PAGE_SIZE + 1, now_us,
							 error);
	if (next == NULL)
		return false;
	if (!qs_call_list_add(arena, follow_up, &next->base))
		return qs_byteplus_no_memory(error);
	return true;
}

_Static_assert(sizeof(((QsError *) 0)->code) ==
			   sizeof(((QsTarget *) 0)->set_request_id),
			   "a request id is cleaned as an error's code");

/*
 * Success is a 2xx with metadata and without an error.  A reply that names
 * another group leaves open what has happened: the caller reads back.
 */
bool
qs_byteplus_parse_set(QsArena *arena, QsBytePlusCall *call,
					  const QsHttpReply *reply, int64_t now_us,
					  QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	json_t	   *root = qs_byteplus_reply_open(arena, call, reply, now_us,
											  error);
	const json_t *metadata;
	const char *request_id;
	QsError		cleaned;
	bool		ours;

	if (root == NULL)
		return false;
	ours = about_this_group(json_object_get(root, "Result"), target);
	metadata = json_object_get(root, "ResponseMetadata");
	request_id = qs_json_text(json_object_get(metadata, "RequestId"));
	if (request_id != NULL && qs_answer_quotes_secret(&call->base, request_id))
		request_id = NULL;

	/* an error's code has the same size and is cleaned when it is set */
	qs_error_set(&cleaned, QS_ERROR_NONE, request_id ? request_id : "", "%s",
				 "");
	json_decref(root);
	if (!ours)
		return qs_error_set(error, QS_ERROR_MALFORMED, "wrong_group",
							"reply is about another scaling group");
	memcpy(target->set_request_id, cleaned.code, sizeof(cleaned.code));
	target->set_accepted = true;
	qs_error_clear(&target->set_error);
	return true;
}
