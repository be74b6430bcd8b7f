/*-------------------------------------------------------------------------
 * exchange.c
 *		One request and its answer.
 *
 * A request that needs the database is suspended until the pool has its
 * answer.  If the client is gone by then, the answer is thrown away.
 *-------------------------------------------------------------------------
 */
#include "exchange.h"

#include "clients.h"
#include "pool.h"
#include "problem.h"
#include "routes.h"
#include "settings.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_BODY		65536
#define MAX_TOKEN		128
#define HEALTH_EACH_MS	2000
#define HEALTH_OLD_MS	15000

static const char problem_type[] = "application/problem+json";

static const char security_policy[] =
"default-src 'none'; script-src 'self'; style-src 'self';"
" img-src 'self' data:; connect-src 'self'; frame-ancestors 'none';"
" base-uri 'none'; form-action 'none'";

typedef enum ExchangeState
{
	EXCHANGE_READING,			/* its body */
	EXCHANGE_CALLING,			/* suspended */
	EXCHANGE_ANSWERED			/* resumed: the answer is there */
} ExchangeState;

typedef struct Exchange
{
	struct MHD_Connection *connection;
	const Route *route;
	ExchangeState state;
	int			retry_after;	/* seconds, with 429 and 503; 0 = a second */
	bool		keep_alive;
	char	   *body;
	size_t		body_length;
	bool		too_long;
	char		token[MAX_TOKEN];
	int			status;			/* of the answer */
	const char *content_type;
	char	   *answer;
	Call		call;
} Exchange;

static int	n_exchanges = 0;

/* What GET /health says: the last answer, and when that was. */
static char *health_answer = NULL;
static int	health_status = 503;
static int64_t health_at_ms = 0;
static int64_t health_asked_ms = 0;
static bool health_asking = false;
static bool health_wanted = true;
static Call health_call;

static enum MHD_Result
add_header(struct MHD_Response *response, const char *name, const char *value)
{
	return MHD_add_response_header(response, name, value);
}

static enum MHD_Result
send_response(const Exchange *exchange, int status,
			  struct MHD_Response *response, const char *content_type)
{
	enum MHD_Result result;

	if (response == NULL)
		return MHD_NO;
	(void) add_header(response, "Content-Type", content_type);
	(void) add_header(response, "X-Content-Type-Options", "nosniff");
	(void) add_header(response, "Referrer-Policy", "no-referrer");
	(void) add_header(response, "Content-Security-Policy", security_policy);
	(void) add_header(response, "Cache-Control", "no-store");
	if (status == 401)
		(void) add_header(response, "WWW-Authenticate",
						  "Bearer realm=\"qpsscale\"");
	if (status == 503 || status == 429)
	{
		char		seconds[16];

		snprintf(seconds, sizeof(seconds), "%d", exchange->retry_after > 0 ?
				 exchange->retry_after : 1);
		(void) add_header(response, "Retry-After", seconds);
	}
	if (!exchange->keep_alive)
		(void) add_header(response, "Connection", "close");
	result = MHD_queue_response(exchange->connection, (unsigned) status,
								response);
	MHD_destroy_response(response);
	return result;
}

/* The text is the response's from now on. */
static enum MHD_Result
send_text(const Exchange *exchange, int status, char *text,
		  const char *content_type)
{
	if (text == NULL)
		return MHD_NO;
	return send_response(exchange, status,
						 MHD_create_response_from_buffer(strlen(text), text,
														 MHD_RESPMEM_MUST_FREE),
						 content_type);
}

static enum MHD_Result
send_problem(Exchange *exchange, int status, const char *detail,
			 const char *hint)
{
	exchange->keep_alive = false;
	return send_text(exchange, status,
					 problem_body(status, detail, hint, NULL), problem_type);
}

/* ----------
 * What a request must be before it is looked at
 * ----------
 */
typedef struct HeaderCount
{
	const char *name;
	int			n;
} HeaderCount;

static enum MHD_Result
count_header(void *cls, enum MHD_ValueKind kind, const char *name,
			 const char *value)
{
	HeaderCount *count = cls;

	count->n += strcasecmp(name, count->name) == 0;
	return MHD_YES;
}

static int
headers_named(struct MHD_Connection *connection, const char *name)
{
	HeaderCount count = {name, 0};

	(void) MHD_get_connection_values(connection, MHD_HEADER_KIND, count_header,
									 &count);
	return count.n;
}

static const char *
header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* "name", "name:port", "[v6]:port": is it one of ours? */
static bool
is_our_host(const char *host)
{
	char		name[256];
	char		port[16];
	size_t		length;

	snprintf(port, sizeof(port), ":%d", clients_port());
	length = strlen(host);
	if (length > strlen(port) &&
		strcmp(host + length - strlen(port), port) == 0)
		length -= strlen(port);
	if (length >= sizeof(name))
		return false;
	memcpy(name, host, length);
	name[length] = '\0';
	if (name[0] == '[' && length > 2 && name[length - 1] == ']')
	{
		memmove(name, name + 1, length - 2);
		name[length - 2] = '\0';
	}
	if (strcasecmp(name, "localhost") == 0 ||
		strcasecmp(name, settings.host) == 0)
		return true;
	for (int i = 0; i < settings.n_hosts; i++)
		if (strcasecmp(name, settings.hosts[i]) == 0 ||
			strcasecmp(host, settings.hosts[i]) == 0)
			return true;
	return false;
}

/* 0, or the status to refuse with; *why says it. */
static int
check_framing(struct MHD_Connection *connection, const char **why)
{
	int			lengths = headers_named(connection, "Content-Length");

	*why = NULL;
	if (headers_named(connection, "Transfer-Encoding") > 0)
		*why = "Transfer-Encoding is not taken: send a Content-Length";
	if (*why != NULL)
		return 411;
	if (lengths > 1)
		*why = "more than one Content-Length";
	else if (headers_named(connection, "Host") != 1)
		*why = "exactly one Host is needed";
	if (*why != NULL)
		return 400;
	if (!is_our_host(header(connection, "Host")))
	{
		*why = "this host is not served here";
		return 421;
	}
	return 0;
}

static bool
is_json(const char *content_type)
{
	static const char json[] = "application/json";

	return content_type != NULL &&
		strncasecmp(content_type, json, sizeof(json) - 1) == 0 &&
		strchr("; \t", content_type[sizeof(json) - 1]) != NULL;
}

static int
check_post(struct MHD_Connection *connection, const char **why)
{
	const char *length = header(connection, "Content-Length");

	if (length == NULL)
	{
		*why = "a Content-Length is needed";
		return 411;
	}
	if (strlen(length) > 7 || atol(length) > MAX_BODY)
	{
		*why = "a body of at most 65536 bytes is taken";
		return 413;
	}
	if (!is_json(header(connection, "Content-Type")))
	{
		*why = "the body must be application/json";
		return 415;
	}
	return 0;
}

/*
 * "Bearer TOKEN", or Basic with the token as the password for tools that know
 * nothing else.  Its form is checked here, so that garbage costs the database
 * nothing.
 */
static bool
read_token(Exchange *exchange)
{
	const char *value = header(exchange->connection, "Authorization");
	size_t		length;

	if (headers_named(exchange->connection, "Authorization") != 1 ||
		strncasecmp(value, "Bearer ", 7) != 0)
		return false;
	value += 7 + strspn(value + 7, " ");
	length = strspn(value, "0123456789abcdefghijklmnopqrstuvwxyz"
					"ABCDEFGHIJKLMNOPQRSTUVWXYZ_-");
	if (value[length] != '\0' || length >= MAX_TOKEN ||
		strncmp(value, "qps_", 4) != 0)
		return false;
	memcpy(exchange->token, value, length + 1);
	return true;
}

/* ----------
 * Answers without the database
 * ----------
 */
static enum MHD_Result
answer_health(Exchange *exchange)
{
	int64_t		age_ms = clock_ms() - health_at_ms;

	health_wanted = true;
	if (health_answer == NULL || age_ms > HEALTH_OLD_MS)
		return send_text(exchange, 503,
						 strdup("{\"status\":\"unhealthy\",\"service\":\"scaler\",\"detail\":\"the database cannot be reached\"}"),
						 "application/json");
	return send_text(exchange, health_status, strdup(health_answer),
					 "application/json");
}

static enum MHD_Result
answer_ready(Exchange *exchange)
{
	bool		ready = pool_ready();

	return send_text(exchange, ready ? 200 : 503,
					 strdup(ready ? "{\"ready\":true}" : "{\"ready\":false}"),
					 "application/json");
}

static void
health_done(Call *call, const PGresult *result, const char *problem)
{
	json_t	   *answer;
	const char *status;

	health_asking = false;
	if (problem != NULL || PQresultStatus(result) != PGRES_TUPLES_OK ||
		PQntuples(result) != 1 || PQgetisnull(result, 0, 0))
	{
		if (problem == NULL)
			log_line(LOG_LEVEL_ERROR, "health: %s",
					 PQresultErrorMessage(result));
		return;
	}
	free(health_answer);
	health_answer = strdup(PQgetvalue(result, 0, 0));
	health_at_ms = clock_ms();
	answer = json_loads(PQgetvalue(result, 0, 0), 0, NULL);
	status = json_string_value(json_object_get(answer, "status"));
	health_status = status != NULL && strcmp(status, "unhealthy") != 0 ?
		200 : 503;
	json_decref(answer);
}

int
exchange_tick(long long now_ms)
{
	static char empty[] = "{}";

	if (health_asking || !health_wanted ||
		now_ms - health_asked_ms < HEALTH_EACH_MS || !pool_ready())
		return 1000;
	memset(&health_call, 0, sizeof(health_call));
	health_call.statement = health_statement;
	health_call.argument = empty;
	health_call.done = health_done;
	health_asked_ms = now_ms;
	health_asking = pool_submit(&health_call);
	health_wanted = now_ms - health_at_ms > HEALTH_OLD_MS;
	return 1000;
}

/* ----------
 * Answers of the database
 * ----------
 */
typedef struct Query
{
	const Route *route;
	json_t	   *argument;
	const char *refused;		/* a parameter that is not known or twice there */
} Query;

static enum MHD_Result
add_parameter(void *cls, enum MHD_ValueKind kind, const char *name,
			  const char *value)
{
	Query	   *query = cls;

	for (const char *const *known = query->route->parameters;
		 *known != NULL; known++)
	{
		if (strcmp(*known, name) != 0)
			continue;
		if (value == NULL || json_object_get(query->argument, name) != NULL ||
			json_object_set_new(query->argument, name, json_string(value)) != 0)
			break;
		return MHD_YES;
	}
	query->refused = name;
	return MHD_NO;
}

/* The query of a GET as the JSON that a POST would have sent. */
static char *
query_argument(Exchange *exchange, const char **refused)
{
	Query		query = {exchange->route, json_object(), NULL};
	char	   *text;

	(void) MHD_get_connection_values(exchange->connection,
									 MHD_GET_ARGUMENT_KIND, add_parameter,
									 &query);
	text = query.refused == NULL ? json_dumps(query.argument, JSON_COMPACT) :
		NULL;
	json_decref(query.argument);
	*refused = query.refused;
	return text;
}

static void
take_answer(Exchange *exchange, const PGresult *result)
{
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		Problem		problem = problem_of(result);

		exchange->content_type = problem_type;
		exchange->status = problem.status;
		exchange->retry_after = problem.retry_after;
		exchange->answer = problem.body;
		return;
	}
	exchange->content_type = exchange->route->content_type;
	exchange->status = 200;
	exchange->answer = strdup(PQntuples(result) == 1 ?
							  PQgetvalue(result, 0, 0) : "");
}

static void
called(Call *call, const PGresult *result, const char *problem)
{
	Exchange   *exchange = call->context;

	exchange->state = EXCHANGE_ANSWERED;
	if (problem != NULL)
	{
		exchange->status = 503;
		exchange->content_type = problem_type;
		exchange->answer = problem_body(503, problem,
										exchange->route->read_only ?
										"Try again." :
										"Whether it was done is not known: ask GET /scale/history.",
										NULL);
	}
	else
		take_answer(exchange, result);
	explicit_bzero(exchange->token, sizeof(exchange->token));
	MHD_resume_connection(exchange->connection);
}

static enum MHD_Result
call_database(Exchange *exchange)
{
	Call	   *call = &exchange->call;
	static char empty[] = "{}";

	call->statement = exchange->route->statement;
	call->read_only = exchange->route->read_only;
	call->token = exchange->token;
	call->address = strdup(clients_address(exchange->connection));
	call->argument = exchange->body != NULL ? exchange->body : empty;
	call->done = called;
	call->context = exchange;
	if (call->address == NULL)
		return MHD_NO;
	/* the answer may be there before submit returns */
	exchange->state = EXCHANGE_CALLING;
	MHD_suspend_connection(exchange->connection);
	if (pool_submit(call))
		return MHD_YES;
	exchange->state = EXCHANGE_ANSWERED;
	exchange->status = 503;
	exchange->content_type = problem_type;
	exchange->answer = problem_body(503, "too many requests wait for the database",
									"Try again in a second.", NULL);
	MHD_resume_connection(exchange->connection);
	return MHD_YES;
}

static enum MHD_Result
perform(Exchange *exchange)
{
	switch (exchange->route->kind)
	{
		case ROUTE_HEALTH:
			return answer_health(exchange);
		case ROUTE_READY:
			return answer_ready(exchange);
		case ROUTE_ASSET:
			return send_response(exchange, 200,
								 MHD_create_response_from_buffer(exchange->route->end -
																 exchange->route->start,
																 (void *) exchange->route->start,
																 MHD_RESPMEM_PERSISTENT),
								 exchange->route->content_type);
		case ROUTE_CALL:
			return call_database(exchange);
	}
	return MHD_NO;
}

/* ----------
 * The life of an exchange
 * ----------
 */
static Exchange *
begin_exchange(struct MHD_Connection *connection, void **context)
{
	Exchange   *exchange = calloc(1, sizeof(Exchange));

	if (exchange == NULL)
		return NULL;
	exchange->connection = connection;
	*context = exchange;
	n_exchanges++;
	clients_asked(connection);
	return exchange;
}

static enum MHD_Result
refuse_path(Exchange *exchange, const char *allowed)
{
	char	   *body;
	struct MHD_Response *response;

	if (allowed == NULL)
		return send_problem(exchange, 404, "there is nothing at this path",
							"GET /openapi.json lists what there is.");
	body = problem_body(405, "this path does not take that method", allowed,
						NULL);
	if (body == NULL)
		return MHD_NO;
	response = MHD_create_response_from_buffer(strlen(body), body,
											   MHD_RESPMEM_MUST_FREE);
	if (response != NULL)
		(void) add_header(response, "Allow", allowed);
	return send_response(exchange, 405, response, problem_type);
}

/* The headers are there, the body is not. */
static enum MHD_Result
look_at(Exchange *exchange, const char *url, const char *method)
{
	struct MHD_Connection *connection = exchange->connection;
	const char *allowed;
	const char *why;
	int			status = check_framing(connection, &why);
	bool		is_post;

	if (status != 0)
		return send_problem(exchange, status, why, NULL);
	exchange->route = route_find(method, url, &allowed);
	if (exchange->route == NULL)
		return refuse_path(exchange, allowed);
	is_post = strcmp(exchange->route->method, "POST") == 0;
	exchange->keep_alive = !is_post;
	if (is_post)
		status = check_post(connection, &why);
	else if (headers_named(connection, "Content-Length") > 0 &&
			 strcmp(header(connection, "Content-Length"), "0") != 0)
	{
		status = 400;
		why = "this request takes no body";
	}
	if (status != 0)
		return send_problem(exchange, status, why, NULL);
	if (exchange->route->kind == ROUTE_CALL && !read_token(exchange))
		return send_problem(exchange, 401, "a token is needed",
							"Send \"Authorization: Bearer TOKEN\"; qpsscale_create_token() makes one.");
	return MHD_YES;
}

static enum MHD_Result
take_body(Exchange *exchange, const char *data, size_t *size)
{
	if (exchange->body == NULL)
		exchange->body = malloc(MAX_BODY + 1);
	if (exchange->body == NULL)
		return MHD_NO;
	if (*size > MAX_BODY - exchange->body_length)
		exchange->too_long = true;
	else
	{
		memcpy(exchange->body + exchange->body_length, data, *size);
		exchange->body_length += *size;
	}
	*size = 0;
	return MHD_YES;
}

static enum MHD_Result
all_read(Exchange *exchange)
{
	const char *refused;

	if (exchange->too_long)
		return send_problem(exchange, 413,
							"a body of at most 65536 bytes is taken", NULL);
	if (exchange->body != NULL)
	{
		exchange->body[exchange->body_length] = '\0';
		if (strlen(exchange->body) != exchange->body_length)
			return send_problem(exchange, 400, "the body holds a NUL", NULL);
	}
	else if (strcmp(exchange->route->method, "GET") == 0)
	{
		exchange->body = query_argument(exchange, &refused);
		if (exchange->body == NULL)
			return send_problem(exchange, 422,
								"a parameter is not known, or given twice",
								refused);
	}
	return perform(exchange);
}

enum MHD_Result
exchange_handle(void *cls, struct MHD_Connection *connection,
				const char *url, const char *method, const char *version,
				const char *upload_data, size_t *upload_data_size,
				void **context)
{
	Exchange   *exchange = *context;

	if (exchange == NULL)
	{
		exchange = begin_exchange(connection, context);
		return exchange == NULL ? MHD_NO : look_at(exchange, url, method);
	}
	if (exchange->state == EXCHANGE_ANSWERED)
	{
		char	   *answer = exchange->answer;

		exchange->answer = NULL;
		return send_text(exchange, exchange->status, answer,
						 exchange->content_type);
	}
	if (*upload_data_size > 0)
		return take_body(exchange, upload_data, upload_data_size);
	return all_read(exchange);
}

void
exchange_completed(void *cls, struct MHD_Connection *connection,
				   void **context, enum MHD_RequestTerminationCode code)
{
	Exchange   *exchange = *context;

	if (exchange == NULL)
		return;
	*context = NULL;
	clients_answered(connection);
	explicit_bzero(exchange->token, sizeof(exchange->token));
	free(exchange->call.address);
	free(exchange->body);
	free(exchange->answer);
	free(exchange);
	n_exchanges--;
}

int
exchange_count(void)
{
	return n_exchanges;
}
