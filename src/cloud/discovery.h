/*-------------------------------------------------------------------------
 * discovery.h
 *		What a cloud says when it is asked which scaling groups there are.
 *
 * A provider that can list its groups has a QsDirectory.  Its calls run beside
 * each other; what they bring is put together at the end.  An answer that is
 * missing is an error of the whole, never a shorter list; only that load
 * balancers could not be read leaves the groups without.
 *-------------------------------------------------------------------------
 */
#ifndef QS_DISCOVERY_H
#define QS_DISCOVERY_H

#include "cloud/provider.h"

#define QS_MOST_DISCOVERED	10000	/* groups of an account and region */

typedef struct QsFoundGroup
{
	const char *asg_id;
	const char *name;			/* the cloud's, for people */
	int			min;			/* these: QS_UNKNOWN = not told */
	int			max;
	int			desired;
	const char **balancers;		/* as alb_id wants them */
	int			n_balancers;
	int			balancers_capacity;
	const char *note;			/* why there are none, or NULL */
	const char **attached;		/* the provider's: what leads to balancers */
	int			n_attached;
	int			attached_capacity;
} QsFoundGroup;

typedef struct QsDiscovery
{
	QsFoundGroup *groups;
	int			n_groups;
	int			capacity;
	QsError		error;			/* set: the groups are not all there */
	QsError		balancers_error;	/* set: their load balancers are not */
	void	   *provided;		/* the provider's own */
} QsDiscovery;

/* For a batch without targets; its targets are not looked at. */
typedef struct QsDirectory
{
	bool		(*begin) (QsArena *arena, const QsBatch *batch,
						  int64_t now_us, QsDiscovery *discovery,
						  QsCallList *calls, QsError *error);

	/* As those of a QsProvider, for the calls of begin(). */
	bool		(*parse) (QsArena *arena, QsCall *call,
						  const QsHttpReply *reply, int64_t now_us,
						  QsCallList *follow_up, QsError *error);
	void		(*abandon) (QsCall *call, const QsError *error);

	/* After all calls have ended without discovery->error: leads groups to
	 * their load balancers.  false when the arena is exhausted. */
	bool		(*finish) (QsArena *arena, QsDiscovery *discovery);
} QsDirectory;

/* Room for one more element; the array doubles.  NULL when exhausted. */
extern void *qs_discovery_grow(QsArena *arena, void *array, int n,
							   int *capacity, size_t element);

/* A new group, of which nothing is known; false with *error set. */
extern bool qs_discovery_add(QsArena *arena, QsDiscovery *discovery,
							 const QsFoundGroup *group, QsError *error);

/* Adds a text unless it is there; false when the arena is exhausted. */
extern bool qs_discovery_add_text(QsArena *arena, const char ***texts, int *n,
								  int *capacity, const char *text);

/* By id, each once: groups may have moved from one page to the next. */
extern void qs_discovery_sort(QsDiscovery *discovery);

#endif							/* QS_DISCOVERY_H */
