/*-------------------------------------------------------------------------
 * pool.h
 *		A few connections to the database, and the calls that wait for one.
 *
 * Nothing here blocks.  A call is one function of the database: in one
 * transaction, as the role that a token stands for, with its JSON argument.
 * Lost connections are made anew with a growing pause, to whichever server of
 * the list takes writes.
 *-------------------------------------------------------------------------
 */
#ifndef HTTPD_POOL_H
#define HTTPD_POOL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

struct Call;

/* The answer: result is the row, or the error; NULL if there was no answer,
 * and problem then says why.  Called exactly once; the result is cleared by
 * the pool. */
typedef void (*CallDone) (struct Call *call, const PGresult *result,
						  const char *problem);

typedef struct Call
{
	const char *statement;		/* with $1, its JSON argument */
	bool		read_only;
	char	   *token;			/* NULL: as the role that we log in as */
	char	   *address;		/* of the client, for the token's limits */
	char	   *argument;
	CallDone	done;
	void	   *context;

	struct Call *next;			/* the pool's */
	int64_t		deadline_ms;
} Call;

extern bool pool_start(int epoll);
extern void pool_stop(void);

/* false when too many wait already; then done() is not called. */
extern bool pool_submit(Call *call);

/* Events of the pool's descriptors carry these in epoll_data.ptr. */
extern bool pool_owns(const void *tag);
extern void pool_event(void *tag);

/* Time-outs and reconnections; returns ms until there is more of that. */
extern int	pool_tick(int64_t now_ms);

/* Is a connection there that takes writes? */
extern bool pool_ready(void);

/* Why not, for people; never a secret. */
extern const char *pool_problem(void);

extern int64_t clock_ms(void);

#endif							/* HTTPD_POOL_H */
