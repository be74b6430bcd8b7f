/*-------------------------------------------------------------------------
 * xml_reader.c
 *		A bounded walk through an XML reply.
 *-------------------------------------------------------------------------
 */
#include "cloud/xml_reader.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/xmlreader.h>

#define MOST_LEVELS		24
#define LONGEST_PATH	512
#define LONGEST_TEXT	65536

typedef struct Walk
{
	const QsXmlVisitor *visitor;
	const char *name_space;
	char		path[LONGEST_PATH];
	size_t		path_ends[MOST_LEVELS + 1]; /* length of the path per level */
	bool		has_children[MOST_LEVELS + 1];
	char	   *text;			/* of the innermost element */
	size_t		text_length;
} Walk;

static bool
malformed(QsError *error, const char *why)
{
	return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply", "%s",
						why);
}

/* libxml2 would write to standard error. */
#if LIBXML_VERSION >= 21200
static void
ignore_message(void *context, const xmlError *message)
#else
static void
ignore_message(void *context, xmlErrorPtr message)
#endif
{
	(void) context;
	(void) message;
}

static bool
is_ours(const Walk *walk, xmlTextReaderPtr reader)
{
	const char *uri = (const char *) xmlTextReaderConstNamespaceUri(reader);

	if (walk->name_space[0] == '\0')
		return true;
	return uri != NULL &&
		strncmp(uri, walk->name_space, strlen(walk->name_space)) == 0;
}

/* An element at this level (the root's is 0) begins. */
static bool
enter(Walk *walk, xmlTextReaderPtr reader, int level, QsError *error)
{
	const char *name = is_ours(walk, reader) ?
		(const char *) xmlTextReaderConstLocalName(reader) : "?";
	size_t		end;

	if (level > MOST_LEVELS)
		return malformed(error, "the reply's elements are nested too deeply");
	walk->has_children[level] = false;
	walk->text_length = 0;
	if (level == 0)
	{
		walk->path_ends[0] = 0;
		walk->path[0] = '\0';
		return true;
	}
	walk->has_children[level - 1] = true;
	end = walk->path_ends[level - 1];
	if (end + strlen(name) + 2 > sizeof(walk->path))
		return malformed(error, "the reply has an element with a long name");
	if (end > 0)
		walk->path[end++] = '/';
	strcpy(walk->path + end, name);
	walk->path_ends[level] = end + strlen(name);
	if (walk->visitor->begin != NULL &&
		!walk->visitor->begin(walk->visitor->context, walk->path))
		return malformed(error, "the reply cannot be understood");
	return true;
}

static const char *
trimmed(Walk *walk)
{
	static const char blanks[] = " \t\r\n";
	char	   *text = walk->text;

	while (walk->text_length > 0 &&
		   strchr(blanks, text[walk->text_length - 1]) != NULL)
		walk->text_length--;
	text[walk->text_length] = '\0';
	return text + strspn(text, blanks);
}

static bool
leave(Walk *walk, int level, QsError *error)
{
	const char *text = walk->has_children[level] ? NULL : trimmed(walk);

	if (level == 0)
		return true;
	walk->path[walk->path_ends[level]] = '\0';
	if (walk->visitor->end != NULL &&
		!walk->visitor->end(walk->visitor->context, walk->path, text))
		return malformed(error, "the reply cannot be understood");
	walk->path[walk->path_ends[level - 1]] = '\0';
	walk->text_length = 0;
	return true;
}

static bool
add_text(Walk *walk, xmlTextReaderPtr reader, QsError *error)
{
	const char *value = (const char *) xmlTextReaderConstValue(reader);
	size_t		length = value ? strlen(value) : 0;

	if (walk->text_length + length >= LONGEST_TEXT)
		return malformed(error, "the reply has an element with a long text");
	if (length > 0)
		memcpy(walk->text + walk->text_length, value, length);
	walk->text_length += length;
	return true;
}

static bool
visit(Walk *walk, xmlTextReaderPtr reader, QsError *error)
{
	int			level = xmlTextReaderDepth(reader);

	switch (xmlTextReaderNodeType(reader))
	{
		case XML_READER_TYPE_ELEMENT:
			return enter(walk, reader, level, error) &&
				(xmlTextReaderIsEmptyElement(reader) != 1 ||
				 leave(walk, level, error));
		case XML_READER_TYPE_END_ELEMENT:
			return leave(walk, level, error);
		case XML_READER_TYPE_TEXT:
		case XML_READER_TYPE_CDATA:
			return add_text(walk, reader, error);
		case XML_READER_TYPE_DOCUMENT_TYPE:
		case XML_READER_TYPE_ENTITY:
		case XML_READER_TYPE_ENTITY_REFERENCE:
			return malformed(error, "the reply has a document type or entities of its own");
		default:
			return true;
	}
}

/* The root decides whether this is a document for the caller at all. */
static bool
check_root(const Walk *walk, xmlTextReaderPtr reader, const char *root,
		   QsError *error)
{
	const char *name = (const char *) xmlTextReaderConstLocalName(reader);

	if (name == NULL || strcmp(name, root) != 0 || !is_ours(walk, reader))
		return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
							"the reply is not a %s", root);
	return true;
}

static bool
read_document(Walk *walk, xmlTextReaderPtr reader, const char *root,
			  QsError *error)
{
	bool		root_seen = false;
	int			more;

	while ((more = xmlTextReaderRead(reader)) == 1)
	{
		if (!root_seen &&
			xmlTextReaderNodeType(reader) == XML_READER_TYPE_ELEMENT)
		{
			root_seen = true;
			if (!check_root(walk, reader, root, error))
				return false;
		}
		if (!visit(walk, reader, error))
			return false;
	}
	if (more < 0 || !root_seen)
		return malformed(error, "the reply is not a complete XML document");
	return true;
}

/* Without a document type there is nothing to expand; a NUL ends no text. */
static bool
is_plain(const char *body, size_t length)
{
	return memchr(body, '\0', length) == NULL &&
		memmem(body, length, "<!DOCTYPE", 9) == NULL &&
		memmem(body, length, "<!ENTITY", 8) == NULL;
}

bool
qs_xml_walk(const char *body, size_t length, const char *root,
			const char *name_space, const QsXmlVisitor *visitor,
			QsError *error)
{
	Walk		walk = {.visitor = visitor, .name_space = name_space};
	xmlTextReaderPtr reader;
	bool		ok;

	if (body == NULL || length == 0 || length > INT_MAX)
		return malformed(error, "the reply is empty or too large");
	if (!is_plain(body, length))
		return malformed(error, "the reply has a document type or entities of its own");
	walk.text = malloc(LONGEST_TEXT);

	/* the encoding is given: one that hides what was looked for is ignored */
	reader = walk.text == NULL ? NULL :
		xmlReaderForMemory(body, (int) length, NULL, "UTF-8",
						   XML_PARSE_NONET);
	if (reader == NULL)
	{
		free(walk.text);
		return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
							"out of memory while reading a reply");
	}
	xmlTextReaderSetStructuredErrorHandler(reader, ignore_message, NULL);
	ok = read_document(&walk, reader, root, error);
	xmlFreeTextReader(reader);
	free(walk.text);
	return ok;
}
