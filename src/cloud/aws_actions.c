/*-------------------------------------------------------------------------
 * aws_actions.c
 *		What is asked for one group that is about to act, and the act itself.
 *
 * SetDesiredCapacity is the only call that changes anything.  It writes an
 * absolute number, so repeating it after a time-out is harmless.
 *-------------------------------------------------------------------------
 */
#include "cloud/aws.h"

#include <stdio.h>
#include <string.h>

#include "cloud/timestamp.h"
#include "cloud/xml_reader.h"

#define ACTIVITY	"DescribeScalingActivitiesResult/Activities/member"

/* A call for one group, signed; NULL with error set. */
static QsAwsCall *
call_for_one(QsArena *arena, const QsBatch *batch, QsCallKind kind,
			 QsTarget *target, const char *action,
			 const QsQueryParameter *more, int n_more, int64_t now_us,
			 QsError *error)
{
	QsQueryParameter parameters[8] = {
		{"Action", action},
		{"AutoScalingGroupName", target->asg_id},
		{"Version", "2011-01-01"},
	};
	QsTarget  **targets = qs_arena_alloc(arena, sizeof(QsTarget *));
	QsAwsCall  *call;

	qs_error_clear(error);
	if (!qs_aws_region_is_valid(batch->region) ||
		!qs_aws_name_is_valid(target->asg_id))
	{
		qs_error_set(error, QS_ERROR_TERMINAL, "invalid_asg_id",
					 "asg_id or region is empty, too long or holds "
					 "characters that do not belong there");
		return NULL;
	}
	for (int i = 0; i < n_more; i++)
		parameters[3 + i] = more[i];
	call = qs_aws_call_new(arena, batch, kind, targets, 1);
	if (targets == NULL || call == NULL)
	{
		qs_aws_no_memory(error);
		return NULL;
	}
	targets[0] = target;
	return qs_aws_set_form(arena, call, parameters, 3 + n_more, now_us,
						   error) ? call : NULL;
}

/* Counts as asked from now on: without an answer nothing may be done.  The
 * newest come first, those that still run before all others. */
QsCall *
qs_aws_ask_activities(QsArena *arena, const QsBatch *batch, QsTarget *target,
					  int64_t now_us, QsError *error)
{
	static const QsQueryParameter more[] = {{"MaxRecords", "100"}};
	QsAwsCall  *call;

	target->activity = (QsCloudActivity) {
		.asked = true,
		.last_scale_up_at = QS_NEVER,
		.last_scale_down_at = QS_NEVER,
		.last_any_at = QS_NEVER,
		.newest_at = QS_NEVER,
	};
	call = call_for_one(arena, batch, QS_CALL_ACTIVITIES, target,
						"DescribeScalingActivities", more, 1, now_us, error);
	target->activity_error = *error;
	return call ? &call->base : NULL;
}

QsCall *
qs_aws_set_capacity(QsArena *arena, const QsBatch *batch, QsTarget *target,
					int desired, int64_t now_us, QsError *error)
{
	char		number[16];
	const QsQueryParameter more[] = {
		{"DesiredCapacity", number},
		{"HonorCooldown", "false"},
	};
	QsAwsCall  *call = NULL;

	target->set_accepted = false;
	target->set_request_id[0] = '\0';
	if (desired < 0 || desired > QS_MAX_INSTANCES)
		qs_error_set(error, QS_ERROR_TERMINAL, "invalid_desired",
					 "%d is not a number of instances", desired);
	else
	{
		snprintf(number, sizeof(number), "%d", desired);
		call = call_for_one(arena, batch, QS_CALL_SET_CAPACITY, target,
							"SetDesiredCapacity", more, 2, now_us, error);
	}
	target->set_error = *error;
	return call ? &call->base : NULL;
}

/* ----------
 * Activities: one per instance that is launched or terminated
 * ----------
 */
typedef struct Activities
{
	const QsCall *call;
	int64_t		now_us;
	QsCloudActivity sum;

	/* the one that the walk is in */
	bool		of_this_group;
	bool		has_status;
	bool		in_progress;
	bool		failed;
	bool		grows;			/* an unknown kind does both */
	bool		shrinks;
	int64_t		started_at;		/* local clock */
	int64_t		ended_at;
} Activities;

static bool
begin_activity(void *context, const char *path)
{
	Activities *a = context;

	if (strcmp(path, ACTIVITY) != 0)
		return true;
	a->of_this_group = a->grows = a->shrinks = true;
	a->has_status = a->in_progress = a->failed = false;
	a->started_at = a->ended_at = QS_NEVER;
	return true;
}

/* The cloud's time by our clock, and never in the future. */
static int64_t
local_time(const Activities *a, const char *text)
{
	int64_t		skew_s = a->call->memory ? a->call->memory->skew_s : 0;
	int64_t		at;

	if (!qs_timestamp_parse(text, &at))
		return QS_NEVER;
	at -= skew_s * 1000000;
	return at < a->now_us ? at : a->now_us;
}

/* "Launching a new EC2 instance: i-...", "Terminating EC2 instance: i-..." */
static void
read_description(Activities *a, const char *text)
{
	a->grows = strncmp(text, "Terminating", 11) != 0;
	a->shrinks = strncmp(text, "Launching", 9) != 0;
}

static void
read_status(Activities *a, const char *text)
{
	a->has_status = text[0] != '\0';
	a->failed = strcmp(text, "Failed") == 0 || strcmp(text, "Cancelled") == 0;
	a->in_progress = !a->failed && strcmp(text, "Successful") != 0;
}

static int64_t
later(int64_t x, int64_t y)
{
	return x > y ? x : y;
}

/* false: an activity without a status, or that ended at no known time. */
static bool
count_activity(Activities *a)
{
	int64_t		at = a->ended_at != QS_NEVER ? a->ended_at : a->started_at;

	if (!a->of_this_group)
		return true;
	if (!a->has_status || (at == QS_NEVER && !a->in_progress))
		return false;
	a->sum.in_progress |= a->in_progress;
	a->sum.last_any_at = later(a->sum.last_any_at, at);
	if (a->failed)
		return true;
	if (a->grows)
		a->sum.last_scale_up_at = later(a->sum.last_scale_up_at, at);
	if (a->shrinks)
		a->sum.last_scale_down_at = later(a->sum.last_scale_down_at, at);
	return true;
}

static bool
end_of_element(void *context, const char *path, const char *text)
{
	Activities *a = context;
	const char *field = path + strlen(ACTIVITY);

	if (strncmp(path, ACTIVITY, strlen(ACTIVITY)) != 0)
		return true;
	if (*field == '\0')
		return count_activity(a);
	if (text == NULL)
		return true;
	if (strcmp(field, "/AutoScalingGroupName") == 0)
		a->of_this_group = strcmp(text, a->call->targets[0]->asg_id) == 0;
	else if (strcmp(field, "/StatusCode") == 0)
		read_status(a, text);
	else if (strcmp(field, "/Description") == 0)
		read_description(a, text);
	else if (strcmp(field, "/StartTime") == 0)
		a->started_at = local_time(a, text);
	else if (strcmp(field, "/EndTime") == 0 && text[0] != '\0')
		a->ended_at = local_time(a, text);
	return true;
}

bool
qs_aws_parse_activities(QsArena *arena, QsAwsCall *call,
						const QsHttpReply *reply, int64_t now_us,
						QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	Activities	activities = {.call = &call->base, .now_us = now_us,
		.sum = target->activity};
	QsXmlVisitor visitor = {&activities, begin_activity, end_of_element};

	if (!qs_aws_accepted(arena, call, reply, now_us, error) ||
		!qs_xml_walk(reply->body, reply->body_length,
					 "DescribeScalingActivitiesResponse",
					 QS_AWS_GROUPS_NAMESPACE, &visitor, error))
		return false;
	target->activity = activities.sum;
	target->activity.asked = true;
	target->activity.known = true;

	/* what the group itself says counts as well */
	if (target->capacity.known && target->capacity.in_service >= 0 &&
		target->capacity.in_service != target->capacity.desired)
		target->activity.in_progress = true;
	qs_error_clear(&target->activity_error);
	return true;
}

/* ----------
 * The act
 * ----------
 */
typedef struct RequestId
{
	char		text[64];
} RequestId;

static bool
read_request_id(void *context, const char *path, const char *text)
{
	if (text != NULL && strcmp(path, "ResponseMetadata/RequestId") == 0)
		snprintf(((RequestId *) context)->text, sizeof(RequestId), "%s",
				 text);
	return true;
}

bool
qs_aws_parse_set(QsArena *arena, QsAwsCall *call, const QsHttpReply *reply,
				 int64_t now_us, QsError *error)
{
	QsTarget   *target = call->base.targets[0];
	RequestId	id = {""};
	QsXmlVisitor visitor = {&id, NULL, read_request_id};
	QsError		cleaned;

	if (!qs_aws_accepted(arena, call, reply, now_us, error) ||
		!qs_xml_walk(reply->body, reply->body_length,
					 "SetDesiredCapacityResponse", QS_AWS_GROUPS_NAMESPACE,
					 &visitor, error))
		return false;
	if (qs_answer_quotes_secret(&call->base, id.text))
		id.text[0] = '\0';

	/* an error's code has the same size and is cleaned when it is set */
	qs_error_set(&cleaned, QS_ERROR_NONE, id.text, "%s", "");
	memcpy(target->set_request_id, cleaned.code, sizeof(cleaned.code));
	target->set_accepted = true;
	qs_error_clear(&target->set_error);
	return true;
}
