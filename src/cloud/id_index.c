/*-------------------------------------------------------------------------
 * id_index.c
 *		Finding the targets that a reply is about.
 *-------------------------------------------------------------------------
 */
#include "cloud/id_index.h"

#include <stdlib.h>
#include <string.h>

const char *
qs_target_alb_id(const QsTarget *target)
{
	return target->alb_id;
}

const char *
qs_target_asg_id(const QsTarget *target)
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
			  id_of == qs_target_alb_id ? compare_alb_ids :
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
qs_id_index_find(const QsIdIndex *index, const char *text)
{
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
