/*-------------------------------------------------------------------------
 * selector.h
 *		Label selectors of Kubernetes: which pods belong to an object.
 *
 * They come as text (status.selector of a Scale: "app=web,tier in (a,b)") or
 * as an object (spec.selector: matchLabels and matchExpressions).  Matching
 * follows apimachinery's labels.Requirement.
 *-------------------------------------------------------------------------
 */
#ifndef QS_SELECTOR_H
#define QS_SELECTOR_H

#include <jansson.h>
#include <stdbool.h>

#include "core/arena.h"

typedef enum QsSelectorOperator
{
	QS_SELECTOR_IN,				/* the label has one of the values */
	QS_SELECTOR_NOT_IN,			/* it has another one, or is absent */
	QS_SELECTOR_EXISTS,
	QS_SELECTOR_ABSENT
} QsSelectorOperator;

typedef struct QsRequirement
{
	const char *key;
	QsSelectorOperator operator;
	const char **values;
	int			n_values;
} QsRequirement;

/* All of its requirements must hold.  None: it selects nothing here, as an
 * object that owned every pod would be a mistake. */
typedef struct QsSelector
{
	QsRequirement *requirements;
	int			n;
} QsSelector;

#define QS_SELECTOR_MOST	64	/* requirements, and values of one */

/* false: not a selector, or the arena is exhausted. */
extern bool qs_selector_parse(QsArena *arena, const char *text,
							  QsSelector *selector);
extern bool qs_selector_read(QsArena *arena, const json_t *object,
							 QsSelector *selector);

/* labels: an object of texts, or NULL for none. */
extern bool qs_selector_matches(const QsSelector *selector,
								const json_t *labels);

/* As labelSelector takes it, not escaped; NULL: the arena is exhausted. */
extern char *qs_selector_text(QsArena *arena, const QsSelector *selector);

#endif							/* QS_SELECTOR_H */
