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
