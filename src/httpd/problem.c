/*-------------------------------------------------------------------------
 * problem.c
 *		What went wrong, as application/problem+json (RFC 9457).
 *-------------------------------------------------------------------------
 */
#include "problem.h"

#include "settings.h"

#include <jansson.h>
#include <string.h>

typedef struct Title
{
	int			status;
	const char *title;
} Title;

static const Title titles[] = {
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{413, "Content Too Large"},
	{415, "Unsupported Media Type"},
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{429, "Too Many Requests"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
};

const char *
status_title(int status)
{
	for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Error";
}

/*
 * The longest prefix of an SQLSTATE decides.  QS... are the extension's own;
 * README lists them.
 */
typedef struct StateStatus
{
	const char *state;
	int			status;
} StateStatus;

static const StateStatus states[] = {
	{"28", 401},				/* invalid authorization */
	{"42501", 403},				/* insufficient privilege */
	{"P0002", 404},				/* no such group or decision */
	{"22P02", 400},				/* not JSON, not a uuid */
	{"22P05", 400},
	{"22021", 400},				/* not UTF-8 */
	{"54001", 400},				/* nested too deeply */
	{"22", 422},
	{"23514", 422},
	{"23505", 409},
	{"40", 409},
	{"55000", 409},				/* not now: what was seen is too old, say */
	{"55P03", 409},				/* somebody holds the row */
	{"57014", 504},				/* statement_timeout */
	{"53", 503},
	{"57", 503},
	{"25006", 503},				/* a standby */
	{"0A000", 409},				/* a what-if is not executed */
	{"QS001", 503},				/* no worker was free */
	{"QS002", 504},				/* what became of it is not known yet */
	{"QS003", 410},				/* the decision has expired */
	{"QS004", 409},				/* capacity or policy has moved */
	{"QS005", 409},				/* waits for nothing: not to be executed */
	{"QS006", 429},				/* a cooldown, a rate */
	{"QS007", 500},				/* the cloud refused; the answer is there */
};

static int
status_of(const char *sqlstate)
{
	for (size_t length = 5; length >= 2; length--)
		for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
			if (strlen(states[i].state) == length &&
				strncmp(states[i].state, sqlstate, length) == 0)
				return states[i].status;
	return 500;
}

static void
add_text(json_t *body, const char *name, const char *text)
{
	/* what is not UTF-8 makes no string */
	if (text != NULL)
		(void) json_object_set_new(body, name, json_string(text));
}

static json_t *
new_problem(int status, const char *detail, const char *hint,
			const char *sqlstate)
{
	json_t	   *body = json_pack("{s:s, s:s, s:i}", "type", "about:blank",
								 "title", status_title(status), "status",
								 status);

	if (body == NULL)
		return NULL;
	add_text(body, "detail", detail);
	add_text(body, "error", detail);
	add_text(body, "hint", hint);
	add_text(body, "sqlstate", sqlstate);
	return body;
}

static char *
as_text(json_t *body)
{
	char	   *text = json_dumps(body, JSON_COMPACT);

	json_decref(body);
	return text;
}

char *
problem_body(int status, const char *detail, const char *hint,
			 const char *sqlstate)
{
	return as_text(new_problem(status, detail, hint, sqlstate));
}

/*
 * The members that the functions of the database want to be told beside the
 * standard ones, which they put into DETAIL.
 */
static json_t *
members_of(const PGresult *result)
{
	const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);

	return detail == NULL ? NULL : json_loads(detail, 0, NULL);
}

static int
retry_after_of(int status, const json_t *members)
{
	json_int_t	seconds =
		json_integer_value(json_object_get(members, "retry_after_seconds"));

	if (status != 429 && status != 503)
		return 0;
	return seconds < 1 ? 1 : seconds > 86400 ? 86400 : (int) seconds;
}

Problem
problem_of(const PGresult *result)
{
	Problem		problem;
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	json_t	   *body;
	json_t	   *members = NULL;

	if (sqlstate == NULL)
		sqlstate = "58000";
	problem.status = status_of(sqlstate);
	if (strncmp(sqlstate, "QS", 2) == 0)
		members = members_of(result);
	else if (problem.status >= 500)
	{
		log_line(LOG_LEVEL_ERROR, "database: %s: %s", sqlstate,
				 message == NULL ? "no message" : message);
		message = problem.status == 504 ? "the database took too long" :
			"the database could not answer";
		hint = "The log of qpsscale-httpd and the server's say more.";
	}
	problem.retry_after = retry_after_of(problem.status, members);
	body = new_problem(problem.status, message, hint, sqlstate);
	if (json_is_object(members))
		(void) json_object_update_missing(body, members);
	json_decref(members);
	problem.body = as_text(body);
	return problem;
}
