/*-------------------------------------------------------------------------
 * selector.c
 *		Label selectors of Kubernetes: which pods belong to an object.
 *-------------------------------------------------------------------------
 */
#include "cloud/selector.h"

#include <string.h>

#include "cloud/answer.h"

/* ----------
 * Text: words, commas, parentheses and operators.
 * ----------
 */
typedef struct Reader
{
	QsArena    *arena;
	const char *at;
} Reader;

static void
skip_blanks(Reader *reader)
{
	reader->at += strspn(reader->at, " \t");
}

/* Takes the given mark if it comes next. */
static bool
take_mark(Reader *reader, const char *mark)
{
	skip_blanks(reader);
	if (strncmp(reader->at, mark, strlen(mark)) != 0)
		return false;
	reader->at += strlen(mark);
	return true;
}

/* A key or a value, which may be empty; NULL: the arena is exhausted. */
static const char *
take_word(Reader *reader)
{
	size_t		length;
	const char *word;

	skip_blanks(reader);
	length = strcspn(reader->at, " \t,()=!<>");
	word = qs_arena_strndup(reader->arena, reader->at, length);
	reader->at += length;
	return word;
}

static bool
add_value(QsArena *arena, QsRequirement *requirement, const char *value)
{
	if (requirement->values == NULL)
		requirement->values = qs_arena_alloc_array(arena, QS_SELECTOR_MOST,
												   sizeof(char *));
	if (requirement->values == NULL || value == NULL ||
		requirement->n_values >= QS_SELECTOR_MOST)
		return false;
	requirement->values[requirement->n_values++] = value;
	return true;
}

/* "(a,b)" after "in" or "notin" */
static bool
take_values(Reader *reader, QsRequirement *requirement)
{
	if (!take_mark(reader, "("))
		return false;
	do
	{
		if (!add_value(reader->arena, requirement, take_word(reader)))
			return false;
	} while (take_mark(reader, ","));
	return take_mark(reader, ")");
}

static bool
take_requirement(Reader *reader, QsRequirement *requirement)
{
	const char *word;

	if (take_mark(reader, "!"))
		requirement->operator = QS_SELECTOR_ABSENT;
	else
		requirement->operator = QS_SELECTOR_EXISTS;
	requirement->key = take_word(reader);
	if (requirement->key == NULL || requirement->key[0] == '\0')
		return false;
	skip_blanks(reader);
	if (*reader->at == '\0' || *reader->at == ',')
		return true;
	if (requirement->operator == QS_SELECTOR_ABSENT)
		return false;
	if (take_mark(reader, "!="))
		requirement->operator = QS_SELECTOR_NOT_IN;
	else if (take_mark(reader, "==") || take_mark(reader, "="))
		requirement->operator = QS_SELECTOR_IN;
	else
	{
		word = take_word(reader);
		if (word == NULL ||
			(strcmp(word, "in") != 0 && strcmp(word, "notin") != 0))
			return false;
		requirement->operator = word[0] == 'i' ? QS_SELECTOR_IN :
			QS_SELECTOR_NOT_IN;
		return take_values(reader, requirement);
	}
	return add_value(reader->arena, requirement, take_word(reader));
}

static QsRequirement *
add_requirement(QsArena *arena, QsSelector *selector)
{
	if (selector->requirements == NULL)
		selector->requirements = qs_arena_alloc_array(arena, QS_SELECTOR_MOST,
													  sizeof(QsRequirement));
	if (selector->requirements == NULL || selector->n >= QS_SELECTOR_MOST)
		return NULL;
	return &selector->requirements[selector->n++];
}

bool
qs_selector_parse(QsArena *arena, const char *text, QsSelector *selector)
{
	Reader		reader = {arena, text};
	QsSelector	read = {0};

	memset(selector, 0, sizeof(*selector));
	skip_blanks(&reader);
	if (*reader.at == '\0')
		return true;
	do
	{
		QsRequirement *requirement = add_requirement(arena, &read);

		if (requirement == NULL || !take_requirement(&reader, requirement))
			return false;
	} while (take_mark(&reader, ","));
	skip_blanks(&reader);
	if (*reader.at != '\0')
		return false;
	*selector = read;
	return true;
}

/* ----------
 * The object
 * ----------
 */
static bool
read_labels(QsArena *arena, json_t *labels, QsSelector *selector)
{
	const char *key;
	json_t	   *value;

	if (labels == NULL)
		return true;
	if (!json_is_object(labels))
		return false;
	json_object_foreach(labels, key, value)
	{
		QsRequirement *requirement = add_requirement(arena, selector);
		const char *text = qs_json_text(value);

		if (requirement == NULL || text == NULL)
			return false;
		requirement->key = qs_arena_strdup(arena, key);
		requirement->operator = QS_SELECTOR_IN;
		if (requirement->key == NULL ||
			!add_value(arena, requirement, qs_arena_strdup(arena, text)))
			return false;
	}
	return true;
}

static bool
read_operator(const char *text, QsSelectorOperator *operator)
{
	static const char *const names[] = {"In", "NotIn", "Exists",
	"DoesNotExist"};

	for (size_t i = 0; text != NULL && i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(text, names[i]) == 0)
		{
			*operator = (QsSelectorOperator) i;
			return true;
		}
	return false;
}

static bool
read_expression(QsArena *arena, const json_t *expression,
				QsRequirement *requirement)
{
	const char *key = qs_json_text(json_object_get(expression, "key"));
	json_t	   *values = json_object_get(expression, "values");
	size_t		i;
	json_t	   *value;

	if (key == NULL || key[0] == '\0' ||
		!read_operator(qs_json_text(json_object_get(expression, "operator")),
					   &requirement->operator))
		return false;
	requirement->key = qs_arena_strdup(arena, key);
	if (requirement->key == NULL)
		return false;
	json_array_foreach(values, i, value)
	{
		const char *text = qs_json_text(value);

		if (text == NULL ||
			!add_value(arena, requirement, qs_arena_strdup(arena, text)))
			return false;
	}
	return (requirement->n_values > 0) ==
		(requirement->operator == QS_SELECTOR_IN ||
		 requirement->operator == QS_SELECTOR_NOT_IN);
}

bool
qs_selector_read(QsArena *arena, const json_t *object, QsSelector *selector)
{
	json_t	   *expressions = json_object_get(object, "matchExpressions");
	QsSelector	read = {0};
	size_t		i;
	json_t	   *expression;

	memset(selector, 0, sizeof(*selector));
	if (!json_is_object(object) ||
		!read_labels(arena, json_object_get(object, "matchLabels"), &read))
		return false;
	json_array_foreach(expressions, i, expression)
	{
		QsRequirement *requirement = add_requirement(arena, &read);

		if (requirement == NULL ||
			!read_expression(arena, expression, requirement))
			return false;
	}
	*selector = read;
	return true;
}

/* ----------
 * Use
 * ----------
 */
static bool
is_one_of(const QsRequirement *requirement, const char *value)
{
	for (int i = 0; i < requirement->n_values; i++)
		if (strcmp(requirement->values[i], value) == 0)
			return true;
	return false;
}

static bool
holds(const QsRequirement *requirement, const json_t *labels)
{
	const char *value = qs_json_text(json_object_get(labels,
													 requirement->key));

	switch (requirement->operator)
	{
		case QS_SELECTOR_IN:
			return value != NULL && is_one_of(requirement, value);
		case QS_SELECTOR_NOT_IN:
			return value == NULL || !is_one_of(requirement, value);
		case QS_SELECTOR_EXISTS:
			return value != NULL;
		case QS_SELECTOR_ABSENT:
			return value == NULL;
	}
	return false;
}

bool
qs_selector_matches(const QsSelector *selector, const json_t *labels)
{
	for (int i = 0; i < selector->n; i++)
		if (!holds(&selector->requirements[i], labels))
			return false;
	return selector->n > 0;
}

static char *
requirement_text(QsArena *arena, const QsRequirement *requirement)
{
	char	   *text = NULL;

	if (requirement->operator == QS_SELECTOR_EXISTS)
		return qs_arena_strdup(arena, requirement->key);
	if (requirement->operator == QS_SELECTOR_ABSENT)
		return qs_arena_printf(arena, "!%s", requirement->key);
	for (int i = 0; i < requirement->n_values; i++)
	{
		text = text == NULL ? qs_arena_strdup(arena, requirement->values[i]) :
			qs_arena_printf(arena, "%s,%s", text, requirement->values[i]);
		if (text == NULL)
			return NULL;
	}
	return qs_arena_printf(arena, "%s %s (%s)", requirement->key,
						   requirement->operator == QS_SELECTOR_IN ? "in" :
						   "notin", text == NULL ? "" : text);
}

char *
qs_selector_text(QsArena *arena, const QsSelector *selector)
{
	char	   *text = NULL;

	for (int i = 0; i < selector->n; i++)
	{
		char	   *one = requirement_text(arena, &selector->requirements[i]);

		if (one == NULL)
			return NULL;
		text = text == NULL ? one : qs_arena_printf(arena, "%s,%s", text, one);
		if (text == NULL)
			return NULL;
	}
	return text == NULL ? qs_arena_strdup(arena, "") : text;
}
