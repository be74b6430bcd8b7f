/*-------------------------------------------------------------------------
 * foreign.h
 *		Who changed the desired capacity: we, the cloud's limits, or somebody
 *		else?
 *
 * Compared is what the cloud says now with what it said, or was told by us,
 * last.  Pure, as decide() is.  Where nothing can be compared nobody is
 * accused: the first sight of a group, a reply without a desired capacity, a
 * policy that changed meanwhile.
 *-------------------------------------------------------------------------
 */
#ifndef QS_FOREIGN_H
#define QS_FOREIGN_H

#include "core/decide.h"

/*
 * How long a call of ours that had no answer, and that the cloud did not show,
 * may still arrive.  Clouds promise nothing; a request older than this is
 * refused for its signature's date, and an hour is generous to all clocks.
 */
#define QS_LATE_CALL_US		(INT64_C(3600) * 1000000)

typedef enum QsDesiredChange
{
	QS_DESIRED_AS_KNOWN,		/* or it cannot be told */
	QS_DESIRED_OURS,			/* what the open action wrote */
	QS_DESIRED_OURS_LATE,		/* a call of ours that was taken for lost */
	QS_DESIRED_BY_LIMITS,		/* the cloud's new minimum or maximum moved it */
	QS_DESIRED_FOREIGN
} QsDesiredChange;

typedef struct QsKnownDesired
{
	int			desired;		/* as seen last, QS_UNKNOWN = nothing to
								 * compare with */
	int			min;			/* limits as seen last, or QS_UNKNOWN */
	int			max;
	int			written;		/* by the open action, QS_UNKNOWN for none */
	int			written_over;	/* what was desired before that */
	bool		accepted;		/* the cloud has taken that action */
	bool		just_written;	/* so lately that a reply may not show it yet */
	int			lost;			/* written by a call taken for lost, or
								 * QS_UNKNOWN */
	int64_t		lost_at;		/* when it was given up */
} QsKnownDesired;

/* *from is set to what it was before: QS_UNKNOWN unless it was changed. */
extern QsDesiredChange qs_desired_change(const QsKnownDesired *known,
										 const QsCapacity *capacity,
										 int64_t now, int *from);

#endif							/* QS_FOREIGN_H */
