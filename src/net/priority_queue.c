/*-------------------------------------------------------------------------
 * priority_queue.c
 *		A binary heap of nodes that live inside their owners.
 *-------------------------------------------------------------------------
 */
#include "net/priority_queue.h"

#include <stdlib.h>

bool
qs_priority_reserve(QsPriorityQueue *queue, size_t capacity)
{
	QsPriorityNode **nodes;
	size_t larger = queue->capacity ? queue->capacity : 64;

	if (capacity <= queue->capacity)
		return true;
	while (larger < capacity)
		larger *= 2;
	nodes = realloc(queue->nodes, larger * sizeof(*nodes));
	if (nodes == NULL)
		return false;
	queue->nodes = nodes;
	queue->capacity = larger;
	return true;
}

static void
put(QsPriorityQueue *queue, size_t place, QsPriorityNode *node)
{
	queue->nodes[place - 1] = node;
	node->place = place;
}

static void
sift_up(QsPriorityQueue *queue, size_t place, QsPriorityNode *node)
{
	while (place > 1 && queue->nodes[place / 2 - 1]->key > node->key)
	{
		put(queue, place, queue->nodes[place / 2 - 1]);
		place /= 2;
	}
	put(queue, place, node);
}

static void
sift_down(QsPriorityQueue *queue, size_t place, QsPriorityNode *node)
{
	for (;;)
	{
		size_t child = place * 2;

		if (child > queue->count)
			break;
		if (child < queue->count &&
			queue->nodes[child]->key < queue->nodes[child - 1]->key)
			child++;
		if (queue->nodes[child - 1]->key >= node->key)
			break;
		put(queue, place, queue->nodes[child - 1]);
		place = child;
	}
	put(queue, place, node);
}

/*
 * The caller has reserved room.  Should it not have, the node stays outside:
 * late is better than a write past the end.
 */
void
qs_priority_push(QsPriorityQueue *queue, QsPriorityNode *node, int64_t key)
{
	if (node->place != 0)
		qs_priority_remove(queue, node);
	if (!qs_priority_reserve(queue, queue->count + 1))
		return;
	node->key = key;
	queue->count++;
	sift_up(queue, queue->count, node);
}

void
qs_priority_remove(QsPriorityQueue *queue, QsPriorityNode *node)
{
	size_t place = node->place;
	QsPriorityNode *last;

	if (place == 0 || place > queue->count)
		return;
	node->place = 0;
	last = queue->nodes[queue->count - 1];
	queue->count--;
	if (last == node)
		return;
	if (place > 1 && queue->nodes[place / 2 - 1]->key > last->key)
		sift_up(queue, place, last);
	else
		sift_down(queue, place, last);
}

QsPriorityNode *
qs_priority_first(const QsPriorityQueue *queue)
{
	return queue->count > 0 ? queue->nodes[0] : NULL;
}

void
qs_priority_free(QsPriorityQueue *queue)
{
	free(queue->nodes);
	queue->nodes = NULL;
	queue->count = queue->capacity = 0;
}
