/*-------------------------------------------------------------------------
 * problem.h
 *		What went wrong, as application/problem+json (RFC 9457).
 *
 * Members beside the standard ones: error (the same text as detail; what the
 * second original system's clients look at), hint, sqlstate.
 *-------------------------------------------------------------------------
 */
#ifndef HTTPD_PROBLEM_H
#define HTTPD_PROBLEM_H

#include <libpq-fe.h>

/* The body; NULL when out of memory.  hint and sqlstate may be NULL. */
extern char *problem_body(int status, const char *detail, const char *hint,
						  const char *sqlstate);

typedef struct Problem
{
	int			status;
	int			retry_after;	/* seconds; 0 = nothing is said of it */
	char	   *body;			/* NULL when out of memory */
} Problem;

/*
 * Of an error of the database.  Message and hint of what the client can mend,
 * or of what the cloud said, are passed on; anything else stays in the log.
 */
extern Problem problem_of(const PGresult *result);

extern const char *status_title(int status);

#endif							/* HTTPD_PROBLEM_H */
