/*-------------------------------------------------------------------------
 * routes.h
 *		Which request leads to which function of the database.
 *-------------------------------------------------------------------------
 */
#ifndef HTTPD_ROUTES_H
#define HTTPD_ROUTES_H

#include <stdbool.h>

typedef enum RouteKind
{
	ROUTE_CALL,					/* a function of the database */
	ROUTE_HEALTH,				/* what was last known, without asking */
	ROUTE_READY,
	ROUTE_ASSET					/* a file of our own */
} RouteKind;

typedef struct Route
{
	const char *method;			/* GET (and HEAD) or POST */
	const char *path;			/* without /v1, by which all can be reached */
	RouteKind	kind;
	const char *statement;		/* of ROUTE_CALL: with $1, the JSON argument */
	bool		read_only;
	const char *content_type;
	const char *const *parameters;	/* of the query, NULL at the end */
	const char *start;			/* of ROUTE_ASSET: its bytes */
	const char *end;
} Route;

/* NULL if there is none; *allowed is then the method that the path has, NULL
 * if the path is not known. */
extern const Route *route_find(const char *method, const char *path,
							   const char **allowed);

/* What GET /health is answered from. */
extern const char health_statement[];

#endif							/* HTTPD_ROUTES_H */
