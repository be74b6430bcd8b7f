/*-------------------------------------------------------------------------
 * fuzz_request.c
 *		Any request to qpsscale-httpd: it is answered once, and nothing that
 *		is framed in two ways, or comes without a token, reaches the database.
 *
 * Input: "METHOD PATH?QUERY", lines "Name: value", an empty line, the body.
 * libmicrohttpd, the pool and the clients are played: what is tried is what
 * exchange.c makes of what they hand over.  The first byte of the body says
 * what the database answers.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <jansson.h>
#include <strings.h>

#include "httpd/assets.h"
#include "httpd/clients.h"
#include "httpd/exchange.h"
#include "httpd/pool.h"
#include "httpd/problem.h"
#include "httpd/routes.h"
#include "httpd/settings.h"

#define MOST_HEADERS	32
#define CHUNK			1000

/* Files that are served, so small that they do not matter. */
#define PLAY_ASSET(name, path, file, content_type) \
	__asm__(".pushsection .rodata\n" \
			".global asset_" #name "_start, asset_" #name "_end\n" \
			"asset_" #name "_start:\n" \
			".ascii \"file\"\n" \
			"asset_" #name "_end:\n" \
			".byte 0\n" \
			".popsection\n");

ASSETS(PLAY_ASSET)

typedef struct Pair
{
	char	   *name;
	char	   *value;
} Pair;

struct MHD_Connection
{
	int			n_headers;
	Pair		headers[MOST_HEADERS];
	int			n_arguments;
	Pair		arguments[MOST_HEADERS];
	int			answers;
	unsigned	status;
	bool		suspended;
	bool		called;			/* the database */
	int			database;		/* what it answers */
	char	   *answer;
};

struct MHD_Response
{
	char	   *text;
	size_t		length;
	enum MHD_ResponseMemoryMode mode;
	int			references;
};

/* The call that exchange.c made last. */
static struct MHD_Connection *now = NULL;

Settings	settings = {.host = (char *) "127.0.0.1", .port = 8082};

/* ---- libmicrohttpd, as far as it is called ---- */

int
MHD_get_connection_values(struct MHD_Connection *connection,
						  enum MHD_ValueKind kind,
						  MHD_KeyValueIterator iterator, void *cls)
{
	const Pair *pairs = kind == MHD_HEADER_KIND ? connection->headers :
		connection->arguments;
	int			n = kind == MHD_HEADER_KIND ? connection->n_headers :
		connection->n_arguments;

	for (int i = 0; i < n; i++)
		if (iterator(cls, kind, pairs[i].name, pairs[i].value) != MHD_YES)
			return i;
	return n;
}

const char *
MHD_lookup_connection_value(struct MHD_Connection *connection,
							enum MHD_ValueKind kind, const char *name)
{
	for (int i = 0; i < connection->n_headers; i++)
		if (strcasecmp(connection->headers[i].name, name) == 0)
			return connection->headers[i].value;
	return NULL;
}

struct MHD_Response *
MHD_create_response_from_buffer(size_t size, void *buffer,
								enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = calloc(1, sizeof(*response));

	PROMISE(response != NULL && buffer != NULL);
	response->text = buffer;
	response->length = size;
	response->mode = mode;
	return response;
}

enum MHD_Result
MHD_add_response_header(struct MHD_Response *response, const char *header,
						const char *content)
{
	/* what a client sent must not split an answer */
	PROMISE(strpbrk(header, "\r\n:") == NULL);
	PROMISE(strpbrk(content, "\r\n") == NULL);
	return MHD_YES;
}

enum MHD_Result
MHD_queue_response(struct MHD_Connection *connection, unsigned int status,
				   struct MHD_Response *response)
{
	PROMISE(!connection->suspended);
	connection->answers++;
	connection->status = status;
	free(connection->answer);
	connection->answer = text_of(response->text, response->length);
	return MHD_YES;
}

void
MHD_destroy_response(struct MHD_Response *response)
{
	if (response->mode == MHD_RESPMEM_MUST_FREE)
		free(response->text);
	free(response);
}

void
MHD_suspend_connection(struct MHD_Connection *connection)
{
	PROMISE(!connection->suspended);
	connection->suspended = true;
}

void
MHD_resume_connection(struct MHD_Connection *connection)
{
	PROMISE(connection->suspended);
	connection->suspended = false;
}

/* ---- pool and clients ---- */

bool
pool_ready(void)
{
	return true;
}

int64_t
clock_ms(void)
{
	return 1000;
}

bool
pool_submit(Call *call)
{
	PGresult   *result;

	/* a question of our own about health has no client */
	if (now == NULL || call->context == NULL)
		return false;
	now->called = true;
	PROMISE(call->token != NULL && strncmp(call->token, "qps_", 4) == 0);
	PROMISE(call->argument != NULL && strlen(call->argument) <= 65536);
	PROMISE(call->address != NULL);
	switch (now->database)
	{
		case 'f':
			return false;
		case 'g':
			call->done(call, NULL, "gone");
			return true;
		case 'e':
			result = PQmakeEmptyPGresult(NULL, PGRES_FATAL_ERROR);
			break;
		default:
			result = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	}
	PROMISE(result != NULL);
	call->done(call, result, NULL);
	PQclear(result);
	return true;
}

int
clients_port(void)
{
	return 8082;
}

const char *
clients_address(struct MHD_Connection *connection)
{
	return "192.0.2.1";
}

void
clients_asked(struct MHD_Connection *connection)
{
}

void
clients_answered(struct MHD_Connection *connection)
{
}

void
log_line(LogLevel level, const char *format,...)
{
}

/* ---- the request ---- */

static void
add_pair(Pair *pairs, int *n, const char *name, size_t name_length,
		 const char *value)
{
	if (*n == MOST_HEADERS)
		return;
	pairs[*n].name = text_of(name, name_length);
	pairs[*n].value = value == NULL ? NULL : text_of(value, strlen(value));
	(*n)++;
}

static void
read_headers(struct MHD_Connection *connection, Lines *lines)
{
	while (lines->left > 0)
	{
		char	   *line = next_line(lines);
		char	   *colon = strchr(line, ':');
		bool		end = line[0] == '\0';

		if (colon != NULL)
			add_pair(connection->headers, &connection->n_headers, line,
					 (size_t) (colon - line), colon + 1 + strspn(colon + 1, " "));
		free(line);
		if (end)
			return;
	}
}

static void
read_arguments(struct MHD_Connection *connection, char *query)
{
	char	   *save = NULL;

	for (char *item = strtok_r(query, "&", &save); item != NULL;
		 item = strtok_r(NULL, "&", &save))
	{
		char	   *equals = strchr(item, '=');

		add_pair(connection->arguments, &connection->n_arguments, item,
				 equals == NULL ? strlen(item) : (size_t) (equals - item),
				 equals == NULL ? NULL : equals + 1);
	}
}

static int
count_of(const struct MHD_Connection *connection, const char *name)
{
	int			n = 0;

	for (int i = 0; i < connection->n_headers; i++)
		n += strcasecmp(connection->headers[i].name, name) == 0;
	return n;
}

/* Until it is answered, as the library does it. */
static void
play(struct MHD_Connection *connection, const char *url, const char *method,
	 const char *body, size_t length)
{
	void	   *context = NULL;
	size_t		none = 0;
	enum MHD_Result going = exchange_handle(NULL, connection, url, method,
											"HTTP/1.1", NULL, &none, &context);

	while (going == MHD_YES && connection->answers == 0 && length > 0)
	{
		size_t		size = length < CHUNK ? length : CHUNK;
		char	   *chunk = text_of(body, size);
		size_t		left = size;

		going = exchange_handle(NULL, connection, url, method, "HTTP/1.1",
								chunk, &left, &context);
		free(chunk);
		PROMISE(going != MHD_YES || left == 0);
		body += size;
		length -= size;
	}
	for (int i = 0; going == MHD_YES && connection->answers == 0 && i < 3; i++)
		going = exchange_handle(NULL, connection, url, method, "HTTP/1.1",
								NULL, &none, &context);
	PROMISE(going == MHD_YES && connection->answers == 1);
	exchange_completed(NULL, connection, &context,
					   MHD_REQUEST_TERMINATED_COMPLETED_OK);
	PROMISE(context == NULL && exchange_count() == 0);
}

static void
check(const struct MHD_Connection *connection)
{
	PROMISE(connection->status >= 200 && connection->status < 600);
	if (connection->called)
	{
		PROMISE(count_of(connection, "Host") == 1);
		PROMISE(count_of(connection, "Content-Length") <= 1);
		PROMISE(count_of(connection, "Transfer-Encoding") == 0);
		PROMISE(count_of(connection, "Authorization") == 1);
	}
	/* what is wrong is told as JSON, with the status once more */
	if (connection->status >= 400 && connection->status != 503)
	{
		json_t	   *problem = json_loads(connection->answer, 0, NULL);

		PROMISE(problem != NULL);
		PROMISE(json_integer_value(json_object_get(problem, "status")) ==
				(json_int_t) connection->status);
		json_decref(problem);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	struct MHD_Connection connection;
	char	   *first;
	char	   *url;
	char	   *query;

	if (size == 0)
		return 0;
	memset(&connection, 0, sizeof(connection));
	first = next_line(&lines);
	url = strchr(first, ' ');
	if (url == NULL)
	{
		free(first);
		return 0;
	}
	*url++ = '\0';
	query = strchr(url, '?');
	if (query != NULL)
	{
		*query = '\0';
		read_arguments(&connection, query + 1);
	}
	read_headers(&connection, &lines);
	connection.database = lines.left > 0 ? lines.at[0] : 't';
	now = &connection;
	play(&connection, url, first, lines.at, lines.left);
	now = NULL;
	check(&connection);

	for (int i = 0; i < connection.n_headers; i++)
	{
		free(connection.headers[i].name);
		free(connection.headers[i].value);
	}
	for (int i = 0; i < connection.n_arguments; i++)
	{
		free(connection.arguments[i].name);
		free(connection.arguments[i].value);
	}
	free(connection.answer);
	free(first);
	return 0;
}
