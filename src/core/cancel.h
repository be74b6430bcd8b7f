/*-------------------------------------------------------------------------
 * cancel.h
 *		How a caller stops a long computation in core.
 *
 * core never longjmps and never looks at a clock or a signal: it asks this
 * callback now and then, at least every few milliseconds, and gives up with
 * an error of its own when the answer is yes.
 *-------------------------------------------------------------------------
 */
#ifndef QS_CANCEL_H
#define QS_CANCEL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct QsCancel
{
	bool		(*wanted) (void *context);	/* NULL: never */
	void	   *context;
} QsCancel;

/* NULL is nobody who could cancel. */
static inline bool
qs_cancel_wanted(const QsCancel *cancel)
{
	return cancel != NULL && cancel->wanted != NULL &&
		cancel->wanted(cancel->context);
}

#endif							/* QS_CANCEL_H */
