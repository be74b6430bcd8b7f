/*-------------------------------------------------------------------------
 * xml_reader.h
 *		A bounded walk through an XML reply.
 *
 * libxml2 reads; what it may do is narrowed to what an API's reply needs: no
 * document type (so no entity but the five of XML), no network, UTF-8 only,
 * bounded depth.  Nothing is kept but the path to where the walk is, so a
 * reply of megabytes costs no more memory than a short one.
 *-------------------------------------------------------------------------
 */
#ifndef QS_XML_READER_H
#define QS_XML_READER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* Called with the path below the root ("Result/Groups/member/Name"): when an
 * element begins, and when it ends.  text is that of an element without
 * children, trimmed of white space; NULL for one with children.  false ends
 * the walk.  Any of them may be NULL. */
typedef struct QsXmlVisitor
{
	void	   *context;
	bool		(*begin) (void *context, const char *path);
	bool		(*end) (void *context, const char *path, const char *text);
} QsXmlVisitor;

/*
 * Walks through a document whose root has the given name and is in a name
 * space that begins as given ("" = any or none); elements of other name spaces have a path that
 * nothing is compared with.  false with class MALFORMED (code
 * "malformed_reply") for anything else, or if the visitor ended the walk.
 */
extern bool qs_xml_walk(const char *body, size_t length, const char *root,
						const char *name_space, const QsXmlVisitor *visitor,
						QsError *error);

#endif							/* QS_XML_READER_H */
