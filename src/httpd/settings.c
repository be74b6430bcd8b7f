/*-------------------------------------------------------------------------
 * settings.c
 *		What qpsscale-httpd is told by its environment and its arguments.
 *-------------------------------------------------------------------------
 */
#include "settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <libpq-fe.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Settings	settings = {
	.host = "127.0.0.1",
	.port = 8082,
	.database_url = "",
	.log_level = LOG_LEVEL_INFO,
	.max_connections = 512,
	.pool_size = 4,
};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static bool
refuse(const char *name, const char *value, const char *wanted)
{
	fprintf(stderr, "qpsscale-httpd: %s=%s: %s\n", name, value, wanted);
	return false;
}

static bool
read_number(const char *name, const char *value, int least, int most,
			int *number)
{
	char	   *end;
	long		n = strtol(value, &end, 10);

	if (*value == '\0' || *end != '\0' || n < least || n > most)
	{
		fprintf(stderr, "qpsscale-httpd: %s=%s: give a number from %d to %d\n",
				name, value, least, most);
		return false;
	}
	*number = (int) n;
	return true;
}

static bool
set_host(const char *name, const char *value)
{
	unsigned char address[16];

	if (inet_pton(AF_INET, value, address) != 1 &&
		inet_pton(AF_INET6, value, address) != 1)
		return refuse(name, value, "give an address, 127.0.0.1 or ::1 say");
	settings.host = value;
	return true;
}

static bool
set_port(const char *name, const char *value)
{
	return read_number(name, value, 0, 65535, &settings.port);
}

static bool
is_uri(const char *value)
{
	return strncmp(value, "postgresql://", 13) == 0 ||
		strncmp(value, "postgres://", 11) == 0;
}

/*
 * In a URI an @ of the password that is not written as %40 ends the password:
 * its rest is taken for the host or the port, which messages quote.
 */
static bool
has_password_in_host(const PQconninfoOption *options)
{
	for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
	{
		if (o->val == NULL || (strcmp(o->keyword, "host") != 0 &&
							   strcmp(o->keyword, "port") != 0))
			continue;
		/* at the beginning it is a socket without a file */
		if (*o->val != '\0' && strchr(o->val + 1, '@') != NULL)
			return true;
	}
	return false;
}

/*
 * What libpq cannot read is refused here and not quoted: its own messages
 * quote it, password and all.  What is neither a URI nor has a "=" is the name
 * of a database.
 */
static bool
set_database_url(const char *name, const char *value)
{
	PQconninfoOption *options;
	bool		refused;

	settings.database_url = value;
	if (!is_uri(value) && strchr(value, '=') == NULL)
		return true;
	options = PQconninfoParse(value, NULL);
	refused = options == NULL ||
		(is_uri(value) && has_password_in_host(options));
	PQconninfoFree(options);
	if (refused)
		return refuse(name, "...",
					  "not a connection string or URI; write % as %25, @ as %40, : as %3A and / as %2F in a URI's password, and quote one with blanks in a string");
	return true;
}

/* RUST_LOG may say more than a level ("info,actix=debug"): its first word. */
static bool
set_log_level(const char *name, const char *value)
{
	size_t		length = strcspn(value, ",");

	for (int i = 0; i < 4; i++)
	{
		if (strlen(level_names[i]) == length &&
			strncasecmp(value, level_names[i], length) == 0)
		{
			settings.log_level = (LogLevel) i;
			return true;
		}
	}
	return refuse(name, value, "give error, warn, info or debug");
}

static bool
set_max_connections(const char *name, const char *value)
{
	return read_number(name, value, 8, 2048, &settings.max_connections);
}

static bool
set_pool_size(const char *name, const char *value)
{
	return read_number(name, value, 1, 32, &settings.pool_size);
}

static bool
set_behind_proxy(const char *name, const char *value)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return refuse(name, value, "give on or off");
	settings.behind_proxy = strcmp(value, "on") == 0;
	return true;
}

/* Names by commas; the list is cut in place in a copy of its own. */
static bool
set_allowed_hosts(const char *name, const char *value)
{
	char	   *list = strdup(value);

	if (list == NULL)
		return refuse(name, value, "out of memory");
	settings.n_hosts = 0;
	for (char *host = strtok(list, ", "); host != NULL;
		 host = strtok(NULL, ", "))
	{
		if (settings.n_hosts == HTTPD_MAX_HOSTS)
			return refuse(name, value, "give at most 16 names");
		settings.hosts[settings.n_hosts++] = host;
	}
	return true;
}

static bool
set_redis_url(const char *name, const char *value)
{
	settings.redis_url_unused = true;
	return true;
}

static bool
set_nothing(const char *name, const char *value)
{
	return true;
}

typedef struct Known
{
	const char *name;
	bool		(*set) (const char *name, const char *value);
	const char *help;
} Known;

static const Known known[] = {
	{"HOST", set_host, "address to listen at (127.0.0.1)"},
	{"PORT", set_port, "port to listen at (8082); 0 takes one that is free"},
	{"DATABASE_URL", set_database_url, "connection string or URI of the database (libpq's variables)"},
	{"ALLOWED_HOSTS", set_allowed_hosts, "names that clients may use, by commas (the address and localhost)"},
	{"BEHIND_PROXY", set_behind_proxy, "on: listen beyond loopback without TLS, which a proxy adds (off)"},
	{"MAX_CONNECTIONS", set_max_connections, "clients at one time, 8 to 2048 (512)"},
	{"POOL_SIZE", set_pool_size, "connections to the database, 1 to 32 (4)"},
	{"LOG_LEVEL", set_log_level, "error, warn, info or debug (info)"},
	{"RUST_LOG", set_log_level, "the same, as the second original system called it"},
	{"AWS_REGION", set_nothing, "accepted; a group or its account names the region"},
	{"REDIS_URL", set_redis_url, "accepted and not used: the database is the shared state"},
};

#define N_KNOWN		((int) (sizeof(known) / sizeof(known[0])))

void
settings_help(void)
{
	printf("qpsscale-httpd serves the REST interface, metrics and dashboard of qpsscale.\n\n"
		   "Settings, as variables or as --name=value:\n");
	for (int i = 0; i < N_KNOWN; i++)
		printf("  %-16s %s\n", known[i].name, known[i].help);
}

/* "--max-connections=5" is MAX_CONNECTIONS. */
static bool
same_name(const char *argument, size_t length, const char *name)
{
	if (strlen(name) != length)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char		c = argument[i] == '-' ? '_' :
			(char) toupper((unsigned char) argument[i]);

		if (c != name[i])
			return false;
	}
	return true;
}

static bool
read_argument(const char *argument)
{
	const char *equals = strchr(argument, '=');

	if (strncmp(argument, "--", 2) == 0 && equals != NULL)
		for (int i = 0; i < N_KNOWN; i++)
			if (same_name(argument + 2, (size_t) (equals - argument - 2),
						  known[i].name))
				return known[i].set(known[i].name, equals + 1);
	fprintf(stderr, "qpsscale-httpd: %s: not known; --help lists what is\n",
			argument);
	return false;
}

static bool
is_loopback(const char *host)
{
	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

bool
settings_read(int argc, char **argv)
{
	for (int i = 0; i < N_KNOWN; i++)
	{
		const char *value = getenv(known[i].name);

		if (value != NULL && *value != '\0' &&
			!known[i].set(known[i].name, value))
			return false;
	}
	for (int i = 1; i < argc; i++)
		if (!read_argument(argv[i]))
			return false;
	if (!is_loopback(settings.host) && !settings.behind_proxy)
		return refuse("HOST", settings.host,
					  "tokens would travel in the clear: listen at loopback behind a proxy with TLS, or say BEHIND_PROXY=on");
	return true;
}

void
log_line(LogLevel level, const char *fmt,...)
{
	char		line[1024];
	va_list		args;

	if (level > settings.log_level)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	for (char *c = line; *c != '\0'; c++)
		if ((unsigned char) *c < ' ')
			*c = ' ';
	fprintf(stderr, "qpsscale-httpd: %s: %s\n", level_names[level], line);
}
