/*-------------------------------------------------------------------------
 * arena.h
 *		A bounded bump allocator that the caller owns.
 *
 * core, cloud and net take their memory from an arena, so that one reset
 * at the end of a cycle frees all of it, and so that a hostile reply cannot
 * take more than the limit.  Nothing here throws or longjmps: a NULL result
 * means "out of memory or over the limit" and must be looked at.
 *-------------------------------------------------------------------------
 */
#ifndef QS_ARENA_H
#define QS_ARENA_H

#include <stdarg.h>
#include <stddef.h>

typedef struct QsArena QsArena;

/* limit_bytes bounds the sum of all allocations; NULL when malloc fails. */
extern QsArena *qs_arena_new(size_t limit_bytes);

/* Gives everything back but the first block, which is kept for reuse. */
extern void qs_arena_reset(QsArena *arena);
extern void qs_arena_free(QsArena *arena);	/* NULL is allowed */

/* Zeroed, aligned for any type; NULL when exhausted. */
extern void *qs_arena_alloc(QsArena *arena, size_t size);
extern void *qs_arena_alloc_array(QsArena *arena, size_t count, size_t size);
extern char *qs_arena_strdup(QsArena *arena, const char *s);
extern char *qs_arena_strndup(QsArena *arena, const char *s, size_t n);
extern char *qs_arena_printf(QsArena *arena, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

/* Bytes handed out since the last reset. */
extern size_t qs_arena_used(const QsArena *arena);

#endif							/* QS_ARENA_H */
