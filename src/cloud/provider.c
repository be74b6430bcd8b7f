/*-------------------------------------------------------------------------
 * provider.c
 *		What all providers share: the registry and the list of calls.
 *-------------------------------------------------------------------------
 */
#include "cloud/provider.h"

#include <limits.h>
#include <string.h>

static const QsProvider *const providers[] = {
	&qs_provider_byteplus,
	&qs_provider_aws,
	&qs_provider_kubernetes,
	&qs_provider_prometheus,
};

const char *
qs_call_kind_name(QsCallKind kind)
{
	switch (kind)
	{
		case QS_CALL_LOAD:
			return "load";
		case QS_CALL_CAPACITY:
			return "capacity";
		case QS_CALL_IN_SERVICE:
			return "in_service";
		case QS_CALL_ACTIVITIES:
			return "activities";
		case QS_CALL_SIGNAL:
			return "signal";
		case QS_CALL_SET_CAPACITY:
			return "set_capacity";
	}
	return "unknown";
}

/*
 * The array doubles, and the old one stays in the arena until the end of the
 * cycle: at most as much again as the list itself.
 */
bool
qs_call_list_add(QsArena *arena, QsCallList *list, QsCall *call)
{
	if (list->n_calls >= list->capacity)
	{
		int			capacity = list->capacity > 0 ? list->capacity : 8;
		QsCall	  **calls;

		while (capacity <= list->n_calls)
		{
			if (capacity > INT_MAX / 2)
				return false;
			capacity *= 2;
		}
		calls = qs_arena_alloc_array(arena, (size_t) capacity,
									 sizeof(QsCall *));
		if (calls == NULL)
			return false;
		if (list->n_calls > 0)
			memcpy(calls, list->calls,
				   (size_t) list->n_calls * sizeof(QsCall *));
		list->calls = calls;
		list->capacity = capacity;
	}
	list->calls[list->n_calls++] = call;
	return true;
}

bool
qs_call_init(QsArena *arena, QsCall *call, const QsBatch *batch,
			 QsCallKind kind, QsTarget **targets, int n_targets)
{
	call->kind = kind;
	call->account = batch->account;
	call->serial = batch->account->serial;
	call->region = batch->region;
	call->memory = batch->memory;
	call->ca_file = batch->account->ca_file;
	call->targets = targets;
	call->n_targets = n_targets;
	call->burst = 1;

	/* what is throttled or dead is one API of one account; each cloud has a
	 * "default" one */
	call->bucket = qs_arena_printf(arena, "%s/%s/%s",
								   batch->account->provider ?
								   batch->account->provider : "",
								   batch->account->name ?
								   batch->account->name : "default",
								   qs_call_kind_name(kind));
	return call->bucket != NULL;
}

QsBatch
qs_call_batch(const QsCall *call)
{
	return (QsBatch) {
		.account = call->account,
		.region = call->region,
		.memory = call->memory,
		.targets = call->targets,
		.n_targets = call->n_targets,
	};
}

/*
 * Nothing is known about a target until a reply says so; but a load that is
 * not asked for, as alb_id is not set, is the caller's.
 */
void
qs_target_forget(QsTarget *target)
{
	if (target->alb_id != NULL)
	{
		memset(&target->load, 0, sizeof(target->load));
		target->load.newest_end_us = QS_NEVER;
	}
	memset(&target->capacity, 0, sizeof(target->capacity));
	target->capacity.desired = QS_UNKNOWN;
	target->capacity.total = QS_UNKNOWN;
	target->capacity.in_service = QS_UNKNOWN;
	target->capacity.min = QS_UNKNOWN;
	target->capacity.max = QS_UNKNOWN;
	memset(&target->activity, 0, sizeof(target->activity));
	target->activity.last_scale_up_at = QS_NEVER;
	target->activity.last_scale_down_at = QS_NEVER;
	target->activity.last_any_at = QS_NEVER;
	target->activity.newest_at = QS_NEVER;
	qs_error_clear(&target->load_error);
	qs_error_clear(&target->capacity_error);
	qs_error_clear(&target->in_service_error);
	qs_error_clear(&target->activity_error);
	qs_error_clear(&target->set_error);
	memset(&target->reading, 0, sizeof(target->reading));
	target->reading.at_us = QS_NEVER;
	qs_error_clear(&target->reading_error);
	target->set_accepted = false;
	target->set_request_id[0] = '\0';
	target->tried = false;
	target->provided = NULL;
}

QsError
qs_call_abandoned(const QsError *error)
{
	QsError		reason = *error;

	if (reason.class == QS_ERROR_NONE)
		qs_error_set(&reason, QS_ERROR_TRANSIENT, "abandoned",
					 "the call was given up");
	return reason;
}

static void
charge_target(QsCallKind kind, QsTarget *target, const QsError *reason)
{
	switch (kind)
	{
		case QS_CALL_LOAD:
			target->load.known = false;
			target->load_error = *reason;
			break;
		case QS_CALL_CAPACITY:
			target->capacity.known = false;
			target->capacity_error = *reason;
			break;
		case QS_CALL_IN_SERVICE:
			target->capacity.in_service = QS_UNKNOWN;
			target->in_service_error = *reason;
			break;
		case QS_CALL_ACTIVITIES:
			target->activity.asked = true;
			target->activity.known = false;
			target->activity_error = *reason;
			break;
		case QS_CALL_SIGNAL:
			target->reading.state = QS_READING_UNKNOWN;
			target->reading_error = *reason;
			break;
		case QS_CALL_SET_CAPACITY:
			target->set_accepted = false;
			target->set_error = *reason;
			break;
	}
}

void
qs_call_charge(QsCall *call, const QsError *error)
{
	QsError		reason = qs_call_abandoned(error);

	for (int i = 0; i < call->n_targets; i++)
		charge_target(call->kind, call->targets[i], &reason);
}

/* A scaling group that nobody named is not one with zero instances. */
void
qs_targets_settle(QsTarget **targets, int n_targets)
{
	for (int i = 0; i < n_targets; i++)
	{
		QsTarget   *target = targets[i];

		if (!target->capacity.known &&
			target->capacity_error.class == QS_ERROR_NONE)
			qs_error_set(&target->capacity_error, QS_ERROR_TERMINAL,
						 "NotFound", "no scaling group \"%.128s\" in region "
						 "\"%.64s\"", target->asg_id ? target->asg_id : "",
						 target->region ? target->region : "");
	}
}

const QsProvider *
qs_provider_by_name(const char *name)
{
	if (name == NULL)
		return NULL;
	for (size_t i = 0; i < sizeof(providers) / sizeof(providers[0]); i++)
	{
		if (strcmp(providers[i]->name, name) == 0)
			return providers[i];
	}
	return NULL;
}
