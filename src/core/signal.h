/*-------------------------------------------------------------------------
 * signal.h
 *		A further load signal of a resource group, beside requests per second:
 *		what it is compared with, what it said, what follows if it is silent.
 *
 * Each signal proposes a number of instances, and the highest proposal wins.
 * A signal that is not known proposes nothing: it is excluded by name, and
 * its role says for how long that keeps the group from shrinking.
 *
 * Plain values: the caller fills policy and reading, decide() reads them.
 * Times are microseconds since the Unix epoch, as in decide.h.
 *-------------------------------------------------------------------------
 */
#ifndef QS_SIGNAL_H
#define QS_SIGNAL_H

#include <stdbool.h>
#include <stdint.h>

#define QS_MAX_SIGNALS	16		/* of one group, built-in ones too */

/* How a value becomes a number of instances. */
typedef enum QsSignalLaw
{
	QS_LAW_AVERAGE_VALUE,		/* the value is of the whole group, and one
								 * instance bears the target: ceil(value /
								 * target) */
	QS_LAW_VALUE				/* the value is what it is at the present size,
								 * per cent of use or a latency, say:
								 * ceil(instances that serve * value / target),
								 * unless the ratio is within the tolerance */
} QsSignalLaw;

typedef enum QsSignalRole
{
	QS_ROLE_REQUIRED,			/* without it the group never shrinks */
	QS_ROLE_OPTIONAL,			/* without it the group does not shrink for
								 * hold_us; then the others decide */
	QS_ROLE_VETO				/* proposes nothing; the group shrinks only while
								 * it is known and at most its target */
} QsSignalRole;

/* What HPA's law of utilization needs of one pod. */
typedef struct QsPod
{
	double		usage;			/* cores or bytes; < 0: no sample */
	double		request;		/* the same unit; <= 0: none is set */
	int64_t		sampled_at;		/* end of the sample; QS_NEVER: no sample */
	int64_t		window_us;		/* length of the sample */
	int64_t		started_at;		/* QS_NEVER: not started */
	int64_t		ready_changed_at;	/* last transition of Ready, QS_NEVER: none */
	bool		ready;
	bool		pending;		/* phase Pending */
	bool		gone;			/* being deleted, or failed: counts for nothing */
} QsPod;

typedef enum QsReadingState
{
	QS_READING_UNKNOWN,			/* not asked, or the source did not answer */
	QS_READING_EMPTY,			/* it answered that there is nothing: no series,
								 * no row, NULL, NaN */
	QS_READING_PARTIAL,			/* may grow the group, never shrink it */
	QS_READING_KNOWN
} QsReadingState;

typedef struct QsReading
{
	QsReadingState state;
	double		value;			/* finite where the state is PARTIAL or KNOWN */
	int64_t		at_us;			/* of the sample, not of the answer */
	int			n_pods;			/* > 0: value is derived from these, by
								 * utilization.h; lives in the cycle's arena */
	const QsPod *pods;
	bool		is_memory;		/* of the pods: readiness does not matter */
} QsReading;

typedef struct QsSignal
{
	/* policy */
	const char *name;			/* "cpu", "memory", or the row's */
	QsSignalLaw law;
	QsSignalRole role;
	double		target;			/* > 0 and finite */
	double		activation;		/* from zero, only a value above this starts the
								 * group, and where it may be empty it is
								 * emptied when no driver is above its own;
								 * >= 0 */
	double		tolerance;		/* law VALUE: hold while |value / target - 1| is
								 * at most this, 0..1 */
	bool		empty_is_zero;	/* EMPTY is the value 0; else it is missing */
	int64_t		max_age_us;		/* an older sample is missing; 0 = never */
	int64_t		hold_us;		/* optional: see the role */
	int			fallback_instances; /* proposed while it is missing for longer
									 * than the next; QS_NO_LIMIT = none */
	int64_t		fallback_after_us;
	const char *fallback_name;	/* "NAME_fallback": who proposes that */

	/* observed; of a veto only when decide() has asked for it */
	bool		asked;
	QsReading	reading;

	/* recorded: since when it is missing or partial, QS_NEVER = it is not;
	 * what is to be stored is in the decision */
	int64_t		missing_since;
} QsSignal;

#endif							/* QS_SIGNAL_H */
