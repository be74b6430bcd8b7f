/*-------------------------------------------------------------------------
 * priority_queue.h
 *		A binary heap of nodes that live inside their owners.
 *
 * Smallest key first; nodes know their place, so that any of them can be
 * taken out.  Room is reserved where a failure can still be reported, so
 * that a push later cannot fail.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PRIORITY_QUEUE_H
#define QS_PRIORITY_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct QsPriorityNode
{
	int64_t key;
	size_t place; /* 1-based; 0 = not in a queue */
	void *owner;
} QsPriorityNode;

typedef struct QsPriorityQueue
{
	QsPriorityNode **nodes;
	size_t count;
	size_t capacity;
} QsPriorityQueue;

extern bool qs_priority_reserve(QsPriorityQueue *queue, size_t capacity);
extern void qs_priority_push(QsPriorityQueue *queue, QsPriorityNode *node,
							 int64_t key);

/* No effect on a node that is in no queue. */
extern void qs_priority_remove(QsPriorityQueue *queue, QsPriorityNode *node);

/* The node with the smallest key, or NULL. */
extern QsPriorityNode *qs_priority_first(const QsPriorityQueue *queue);
extern void qs_priority_free(QsPriorityQueue *queue);

#endif /* QS_PRIORITY_QUEUE_H */
