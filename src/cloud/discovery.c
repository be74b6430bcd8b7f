/*-------------------------------------------------------------------------
 * discovery.c
 *		The list that discovering makes, whatever the cloud.
 *-------------------------------------------------------------------------
 */
#include "cloud/discovery.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

void *
qs_discovery_grow(QsArena *arena, void *array, int n, int *capacity,
				  size_t element)
{
	int			wanted = *capacity > 0 ? *capacity : 4;
	void	   *grown;

	if (n < *capacity)
		return array;
	if (wanted > INT_MAX / 2)
		return NULL;
	if (*capacity > 0)
		wanted *= 2;
	grown = qs_arena_alloc_array(arena, (size_t) wanted, element);
	if (grown == NULL)
		return NULL;
	if (n > 0)
		memcpy(grown, array, (size_t) n * element);
	*capacity = wanted;
	return grown;
}

bool
qs_discovery_add(QsArena *arena, QsDiscovery *discovery,
				 const QsFoundGroup *group, QsError *error)
{
	QsFoundGroup *groups;

	if (discovery->n_groups >= QS_MOST_DISCOVERED)
		return qs_error_set(error, QS_ERROR_RESOURCES, "too_many_groups",
							"the region has more than %d scaling groups",
							QS_MOST_DISCOVERED);
	groups = qs_discovery_grow(arena, discovery->groups, discovery->n_groups,
							   &discovery->capacity, sizeof(*groups));
	if (groups == NULL)
		return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
							"the memory limit of a discovery was reached");
	discovery->groups = groups;
	groups[discovery->n_groups++] = *group;
	return true;
}

bool
qs_discovery_add_text(QsArena *arena, const char ***texts, int *n,
					  int *capacity, const char *text)
{
	const char **grown;

	for (int i = 0; i < *n; i++)
		if (strcmp((*texts)[i], text) == 0)
			return true;
	grown = qs_discovery_grow(arena, *texts, *n, capacity, sizeof(*grown));
	if (grown == NULL || (text = qs_arena_strdup(arena, text)) == NULL)
		return false;
	*texts = grown;
	grown[(*n)++] = text;
	return true;
}

static int
compare_groups(const void *a, const void *b)
{
	return strcmp(((const QsFoundGroup *) a)->asg_id,
				  ((const QsFoundGroup *) b)->asg_id);
}

void
qs_discovery_sort(QsDiscovery *discovery)
{
	QsFoundGroup *groups = discovery->groups;
	int			n = 0;

	if (discovery->n_groups == 0)
		return;
	qsort(groups, (size_t) discovery->n_groups, sizeof(*groups),
		  compare_groups);
	for (int i = 1; i < discovery->n_groups; i++)
		if (compare_groups(&groups[i], &groups[n]) != 0)
			groups[++n] = groups[i];
	discovery->n_groups = n + 1;
}
