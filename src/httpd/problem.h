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

/*
 * Of an error of the database: sets *status.  Message and hint of what the
 * client can mend are passed on, anything else stays in the log.
 */
extern char *problem_of(const PGresult *result, int *status);

extern const char *status_title(int status);

#endif							/* HTTPD_PROBLEM_H */
