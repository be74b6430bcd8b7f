/*-------------------------------------------------------------------------
 * arena.c
 *		A bounded bump allocator: a chain of blocks, freed together.
 *
 * The first block survives a reset, so that a cycle that needs little does
 * not call malloc at all.  Memory is zeroed when it is handed out and not
 * when it is given back: a block is reused, so that only this order keeps
 * the promise of the header.  Not for secrets: nothing is cleansed here.
 *
 * One arena belongs to one owner at a time; there is no locking.
 *-------------------------------------------------------------------------
 */
#include "core/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BLOCK_BYTES	((size_t) 8 * 1024)
#define LARGEST_STEP_BYTES	((size_t) 1024 * 1024)
#define ALIGNMENT			alignof(max_align_t)

typedef struct Block Block;

struct Block
{
	Block	   *next;			/* the older block */
	size_t		size;			/* of data */
	size_t		used;			/* of data, a multiple of ALIGNMENT */
	alignas(max_align_t) unsigned char data[];
};

struct QsArena
{
	Block	   *newest;			/* never NULL; the chain ends in the first */
	size_t		limit;
	size_t		used;
	size_t		next_size;		/* of the next block, doubling */
};

static Block *
block_new(size_t size)
{
	Block	   *block;

	if (size > SIZE_MAX - sizeof(Block))
		return NULL;
	block = malloc(sizeof(Block) + size);
	if (block == NULL)
		return NULL;
	block->next = NULL;
	block->size = size;
	block->used = 0;
	return block;
}

QsArena *
qs_arena_new(size_t limit_bytes)
{
	QsArena    *arena = malloc(sizeof(QsArena));

	if (arena == NULL)
		return NULL;
	arena->newest = block_new(FIRST_BLOCK_BYTES);
	if (arena->newest == NULL)
	{
		free(arena);
		return NULL;
	}
	arena->limit = limit_bytes;
	arena->used = 0;
	arena->next_size = FIRST_BLOCK_BYTES * 2;
	return arena;
}

void
qs_arena_reset(QsArena *arena)
{
	Block	   *block = arena->newest;

	while (block->next != NULL)
	{
		Block	   *older = block->next;

		free(block);
		block = older;
	}
	block->used = 0;
	arena->newest = block;
	arena->used = 0;
	arena->next_size = FIRST_BLOCK_BYTES * 2;
}

void
qs_arena_free(QsArena *arena)
{
	if (arena == NULL)
		return;
	qs_arena_reset(arena);
	free(arena->newest);
	free(arena);
}

/*
 * Add a block that holds at least "size" bytes.  Blocks double in size up to
 * LARGEST_STEP_BYTES, so that many small allocations take few mallocs while
 * at most that much is taken without being used.
 */
static Block *
arena_grow(QsArena *arena, size_t size)
{
	size_t		block_size = arena->next_size;
	Block	   *block;

	if (block_size < size)
		block_size = size;
	block = block_new(block_size);
	if (block == NULL)
		return NULL;
	block->next = arena->newest;
	arena->newest = block;
	if (arena->next_size < LARGEST_STEP_BYTES)
		arena->next_size *= 2;
	return block;
}

/*
 * The limit counts what is handed out, rounded up to the alignment: an
 * allocation of no bytes costs one unit too, so that a hostile reply cannot
 * ask for endlessly many of them.
 */
void *
qs_arena_alloc(QsArena *arena, size_t size)
{
	Block	   *block = arena->newest;
	size_t		left = arena->limit - arena->used;
	void	   *result;

	if (size == 0)
		size = 1;
	if (size > SIZE_MAX - ALIGNMENT)
		return NULL;
	size = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (size > left)
		return NULL;
	if (size > block->size - block->used)
	{
		block = arena_grow(arena, size);
		if (block == NULL)
			return NULL;
	}
	result = block->data + block->used;
	block->used += size;
	arena->used += size;
	memset(result, 0, size);
	return result;
}

void *
qs_arena_alloc_array(QsArena *arena, size_t count, size_t size)
{
	if (size != 0 && count > SIZE_MAX / size)
		return NULL;
	return qs_arena_alloc(arena, count * size);
}

char *
qs_arena_strdup(QsArena *arena, const char *s)
{
	if (s == NULL)
		return NULL;
	return qs_arena_strndup(arena, s, strlen(s));
}

/* Copies at most n bytes, and fewer when a NUL comes earlier. */
char *
qs_arena_strndup(QsArena *arena, const char *s, size_t n)
{
	size_t		length;
	char	   *copy;

	if (s == NULL)
		return NULL;
	length = strnlen(s, n);
	if (length == SIZE_MAX)
		return NULL;
	copy = qs_arena_alloc(arena, length + 1);
	if (copy != NULL)
		memcpy(copy, s, length);
	return copy;
}

char *
qs_arena_printf(QsArena *arena, const char *fmt,...)
{
	va_list		args;
	int			length;
	char	   *text;

	va_start(args, fmt);
	length = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (length < 0)
		return NULL;
	text = qs_arena_alloc(arena, (size_t) length + 1);
	if (text == NULL)
		return NULL;
	va_start(args, fmt);
	length = vsnprintf(text, (size_t) length + 1, fmt, args);
	va_end(args);
	return length < 0 ? NULL : text;
}

size_t
qs_arena_used(const QsArena *arena)
{
	return arena->used;
}
