/*-------------------------------------------------------------------------
 * store_backfill.h
 *		What clouds have said of the past, on its way into the tables.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_BACKFILL_H
#define QPSSCALE_STORE_BACKFILL_H

#include "postgres.h"

#include "pg/group.h"

/* A part of the past, of groups of one chunk of samples. */
typedef struct Past
{
	TimestampTz since;			/* whole minutes, as until */
	TimestampTz until;
	int			n_groups;
	QpsscaleGroup *groups[QS_PAST_TARGETS];
	QsTarget	targets[QS_PAST_TARGETS];
	double	   *loads[QS_PAST_TARGETS]; /* of each minute; NAN = not known */
	bool		complete[QS_PAST_TARGETS];	/* nothing older is wanted */
	bool		learned[QS_PAST_TARGETS];	/* stored: to be learned anew */
	const char *errors[QS_PAST_TARGETS];	/* NULL: all of it was read */
	TimestampTz retry_at[QS_PAST_TARGETS];	/* where there is an error */
} Past;

static inline int
past_minutes(const Past *past)
{
	return (int) ((past->until - past->since) / USECS_PER_MINUTE);
}

/*
 * One transaction.  Minutes of which a load is known already are left as they
 * are.  Where all of the past is there, or what is missing may take long, what
 * was learned without it is thrown away.  false with *error set when the
 * database refused.
 */
extern bool qpsscale_store_past(Past *past, ErrorData **error);

#endif							/* QPSSCALE_STORE_BACKFILL_H */
