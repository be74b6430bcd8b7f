/*-------------------------------------------------------------------------
 * cloud_replies.h
 *		What the parts of the pretended cloud know of each other.
 *
 * cloud_api.c reads requests and owns the groups, cloud_replies.c writes the
 * JSON of each action.  Nobody else includes this.
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_CLOUD_REPLIES_H
#define BENCH_CLOUD_REPLIES_H

#include <time.h>

#include "cloud_api.h"

#define LOW_DESIRED			5
#define HIGH_DESIRED		6
#define MAX_IDS				64

typedef struct Group
{
	int			desired;
	bool		acting;
} Group;

struct Api
{
	ApiOptions	options;
	ApiCounters counters;
	Group	   *groups;			/* groups[0] is asg-1 */
	uint64_t	random;
	time_t		date_for;
	char		date[40];
};

/* What the query string said. */
typedef struct Query
{
	ApiAction	action;
	int			ids[MAX_IDS];
	int			n_ids;
	int			page;
	int			page_size;
	int			desired;		/* -1 = not given */
	int64_t		start;			/* of a metric's window, epoch s; -1 = none */
	int64_t		end;
} Query;

extern const char *const action_names[N_ACTIONS];

#define ADD_LITERAL(text, literal) text_add(text, literal, sizeof(literal) - 1)
extern void add_string(Text *text, const char *s);
extern void add_number(Text *text, int64_t number);

/* Write the body of a reply and return its HTTP status. */
extern int	error_body(Text *out, ApiAction action, int status,
					   const char *code);
extern int	answer_call(Api *api, const Query *query, Text *out);

#endif							/* BENCH_CLOUD_REPLIES_H */
