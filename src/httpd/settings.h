/*-------------------------------------------------------------------------
 * settings.h
 *		What qpsscale-httpd is told by its environment and its arguments.
 *
 * The variables are those of the second original system where it had them:
 * HOST, PORT, DATABASE_URL, AWS_REGION, RUST_LOG; REDIS_URL is accepted and
 * unused.  An argument --name=value says the same as the variable NAME.
 *-------------------------------------------------------------------------
 */
#ifndef HTTPD_SETTINGS_H
#define HTTPD_SETTINGS_H

#include <stdbool.h>

#define HTTPD_MAX_HOSTS		16

typedef enum LogLevel
{
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG
} LogLevel;

typedef struct Settings
{
	const char *host;			/* address to listen at; default 127.0.0.1 */
	int			port;			/* default 8082; 0 = any that is free */
	const char *database_url;	/* libpq's connection string or URI */
	LogLevel	log_level;
	int			max_connections;	/* of clients at one time */
	int			pool_size;		/* connections to the database */
	bool		behind_proxy;	/* may listen beyond loopback without TLS */
	bool		redis_url_unused;	/* it was set */
	int			n_hosts;		/* names that clients may address us by, beside
								 * the address itself and localhost */
	const char *hosts[HTTPD_MAX_HOSTS];
} Settings;

extern Settings settings;

/* false after having said on stderr what is wrong. */
extern bool settings_read(int argc, char **argv);

extern void settings_help(void);

/* One line on stderr, for people and for the journal. */
extern void log_line(LogLevel level, const char *fmt,...)
			__attribute__((format(printf, 2, 3)));

#endif							/* HTTPD_SETTINGS_H */
