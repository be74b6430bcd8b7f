/*-------------------------------------------------------------------------
 * byteplus_ids.c
 *		Which ids may be asked for, and finding the targets of an id.
 *
 * A reply may name groups that nobody asked for and leave out some that were
 * (asking for an unknown scaling group returns others), so every answer is
 * looked up here and nothing is ever taken by position.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <stdlib.h>
#include <string.h>

#define ID_LENGTH		128
#define REGION_LENGTH	64

static bool
is_alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9');
}

/* Only characters that mean the same in JSON, in a URL and in a log. */
static bool
consists_of(const char *s, const char *also, size_t max_length)
{
	size_t		length;

	if (s == NULL)
		return false;
	for (length = 0; s[length] != '\0'; length++)
	{
		if (length >= max_length ||
			(!is_alphanumeric(s[length]) && strchr(also, s[length]) == NULL))
			return false;
	}
	return length > 0;
}

bool
qs_byteplus_id_is_valid(const char *id)
{
	return consists_of(id, "-_.:", ID_LENGTH);
}

bool
qs_byteplus_region_is_valid(const char *region)
{
	return consists_of(region, "-", REGION_LENGTH);
}

const char *
qs_byteplus_alb_id(const QsTarget *target)
{
	return target->alb_id;
}

const char *
qs_byteplus_asg_id(const QsTarget *target)
{
	return target->asg_id;
}

static int
compare_alb_ids(const void *a, const void *b)
{
	return strcmp((*(QsTarget *const *) a)->alb_id,
				  (*(QsTarget *const *) b)->alb_id);
}

static int
compare_asg_ids(const void *a, const void *b)
{
	return strcmp((*(QsTarget *const *) a)->asg_id,
				  (*(QsTarget *const *) b)->asg_id);
}

bool
qs_id_index_build(QsArena *arena, QsTarget **targets, int n_targets,
				  QsIdOf id_of, QsIdIndex *index)
{
	const char **ids;
	int		   *first;
	int			n = 0;

	memset(index, 0, sizeof(*index));
	ids = qs_arena_alloc_array(arena, (size_t) n_targets + 1, sizeof(*ids));
	first = qs_arena_alloc_array(arena, (size_t) n_targets + 1,
								 sizeof(*first));
	if (ids == NULL || first == NULL)
		return false;
	if (n_targets > 1)
		qsort(targets, (size_t) n_targets, sizeof(QsTarget *),
			  id_of == qs_byteplus_alb_id ? compare_alb_ids :
			  compare_asg_ids);
	for (int i = 0; i < n_targets; i++)
	{
		const char *id = id_of(targets[i]);

		if (n > 0 && strcmp(ids[n - 1], id) == 0)
			continue;
		ids[n] = id;
		first[n++] = i;
	}
	first[n] = n_targets;
	index->targets = targets;
	index->ids = ids;
	index->first = first;
	index->n_ids = n;
	return true;
}

QsIdIndex
qs_id_index_slice(const QsIdIndex *index, int from, int n)
{
	QsIdIndex	slice = *index;

	if (n > index->n_ids - from)
		n = index->n_ids - from;
	slice.ids += from;
	slice.first += from;
	slice.n_ids = n;
	return slice;
}

QsTarget **
qs_id_index_targets(const QsIdIndex *index, int *n)
{
	*n = index->first[index->n_ids] - index->first[0];
	return index->targets + index->first[0];
}

int
qs_id_index_find(const QsIdIndex *index, const json_t *id)
{
	const char *text = qs_json_text(id);
	int			low = 0;
	int			high = index->n_ids - 1;

	if (text == NULL)
		return -1;
	while (low <= high)
	{
		int			middle = low + (high - low) / 2;
		int			order = strcmp(text, index->ids[middle]);

		if (order == 0)
			return middle;
		if (order < 0)
			high = middle - 1;
		else
			low = middle + 1;
	}
	return -1;
}
