/*-------------------------------------------------------------------------
 * id_index.h
 *		Finding the targets that a reply is about.
 *
 * A reply may name groups that nobody asked for and leave out some that were,
 * and several targets may share a load balancer; so every answer is looked up
 * by id and nothing is ever taken by position.
 *-------------------------------------------------------------------------
 */
#ifndef QS_ID_INDEX_H
#define QS_ID_INDEX_H

#include "cloud/provider.h"

/*
 * Distinct ids, sorted, with the targets that share each: targets[first[i]]
 * up to targets[first[i + 1]] have ids[i].  A slice of an index is an index.
 */
typedef struct QsIdIndex
{
	QsTarget  **targets;		/* of the whole index: first[] is absolute */
	const char *const *ids;
	const int  *first;			/* n_ids + 1 entries */
	int			n_ids;
} QsIdIndex;

typedef const char *(*QsIdOf) (const QsTarget *target);
extern const char *qs_target_alb_id(const QsTarget *target);
extern const char *qs_target_asg_id(const QsTarget *target);

/* Sorts the targets; all must have an id.  false: the arena is exhausted. */
extern bool qs_id_index_build(QsArena *arena, QsTarget **targets,
							  int n_targets, QsIdOf id_of, QsIdIndex *index);
extern QsIdIndex qs_id_index_slice(const QsIdIndex *index, int from, int n);
extern QsTarget **qs_id_index_targets(const QsIdIndex *index, int *n);

/* Position of an id, or -1; so for NULL. */
extern int	qs_id_index_find(const QsIdIndex *index, const char *id);

#endif							/* QS_ID_INDEX_H */
