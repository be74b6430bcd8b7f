/*-------------------------------------------------------------------------
 * settings.c
 *		The qpsscale.* settings: names, bounds, checks, defaults.
 *
 * All are PGC_SIGHUP: one value for the whole server, changed by ALTER SYSTEM
 * or postgresql.conf and a reload.  None needs a restart, so that all but the
 * resident worker works without shared_preload_libraries.
 *
 *	setting				default		bounds			default from variable
 *	------------------	----------	--------------	------------------------
 *	enabled				on							-
 *	databases			'postgres'	32 names		-
 *	interval			15 s		1 s .. 1 h		-
 *	metric_period		300 s		60 s .. 1 d		METRIC_PERIOD
 *	metric_resolution	60 s		1 s .. 1 d		-
 *	initial_delay		0 s			0 .. 1 d		INITIAL_DELAY_SECONDS
 *	request_timeout		5 s			100 ms .. 10 min	-
 *	cycle_deadline		0 (interval)	0 .. 1 h	-
 *	max_in_flight		64			1 .. 1000		-
 *	retention			90 d		0 (for ever) ..	-
 *	sample_retention	35 d		0 (for ever) ..	-
 *	sample_backfill		14 d		0 (nothing) ..	-
 *	prediction_memory	256 MB		0 (none) .. 1 TB	-
 *	max_instances		0 (none)	0 .. 1000000	-
 *	max_actions_per_hour	0 (none)	0 .. 1000000	-
 *	max_instances_per_hour	0 (none)	0 .. 1000000	-
 *	allowed_hosts		''			list of hosts	-	(superuser)
 *	secrets_dir			''			absolute path	-	(superuser)
 *	ca_file				''			absolute path	-	(superuser)
 *	host_id				''			128 characters	-	(superuser)
 *	worker_role			''			63 characters	-
 *	alert_webhook_url	''			a URL			ALERT_WEBHOOK_URL	(superuser)
 *	notify				on							-
 *	stall_timeout		0 (automatic)	0 .. 1 h	-
 *	sql_timeout			1 s			10 ms .. 1 min	-
 *	max_observation_age	300 s		1 s .. 1 d		-
 *	decision_lifetime	300 s		1 s .. 1 d		-
 *	region				''			a region name	REGION
 *	detailed_logging	off							ENABLE_DETAILED_LOGGING
 *	log_level			info						LOG_LEVEL
 *
 * The variables are those of the server process and only replace the built-in
 * default: whatever a configuration file says wins.  One that is out of
 * bounds is named in the log and ignored.  Variables that hold keys are never
 * settings, since any setting can be shown.  "(superuser)": shown only to
 * superusers and members of pg_read_all_settings.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "pg/accounts.h"
#include "pg/alerts.h"
#include "pg/settings.h"

#define MACHINE_ID_FILE		"/etc/machine-id"
#define MAX_HOST_ID			128

QpsscaleSettings qpsscale_settings;

static const struct config_enum_entry log_levels[] = {
	{"debug", DEBUG1, false},
	{"info", LOG, false},
	{"warning", WARNING, false},
	{"error", ERROR, false},
	{NULL, 0, false}
};

/*
 * A variable of the environment that gives a setting its default.
 *
 * Read with getenv() only while the settings are defined: that is in the
 * postmaster where we are preloaded, else in a backend that inherited the
 * postmaster's environment.
 */
static const char *
environment(const char *variable)
{
	const char *value = getenv(variable);

	return (value != NULL && value[0] != '\0') ? value : NULL;
}

/*
 * A variable's value is not repeated: somebody may have put a key there.
 * LOG and not WARNING in a backend, whose user can do nothing about it.
 */
static void
ignore_environment(const char *variable, const char *expected)
{
	ereport(process_shared_preload_libraries_in_progress ? WARNING : LOG,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("environment variable %s is ignored, as its value is not %s",
					variable, expected)));
}

static int
environment_int(const char *variable, int standard, int min, int max)
{
	const char *value = environment(variable);
	char	   *end;
	long		number;

	if (value == NULL)
		return standard;
	errno = 0;
	number = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' ||
		number < min || number > max)
	{
		ignore_environment(variable,
						   psprintf("a whole number from %d to %d", min, max));
		return standard;
	}
	return (int) number;
}

static bool
environment_bool(const char *variable, bool standard)
{
	const char *value = environment(variable);
	bool		result;

	if (value == NULL)
		return standard;
	if (!parse_bool(value, &result))
	{
		ignore_environment(variable, "a boolean");
		return standard;
	}
	return result;
}

static int
environment_log_level(const char *variable, int standard)
{
	const char *value = environment(variable);

	if (value == NULL)
		return standard;
	for (const struct config_enum_entry *entry = log_levels;
		 entry->name != NULL; entry++)
		if (pg_strcasecmp(value, entry->name) == 0)
			return entry->val;
	ignore_environment(variable, "debug, info, warning or error");
	return standard;
}

static const char *
environment_region(const char *variable, const char *standard)
{
	const char *value = environment(variable);

	if (value == NULL)
		return standard;
	if (!qpsscale_valid_region(value))
	{
		ignore_environment(variable, "the name of a region");
		return standard;
	}
	return value;
}

static const char *
environment_webhook_url(const char *variable, const char *standard)
{
	const char *value = environment(variable);

	if (value == NULL)
		return standard;
	if (!qpsscale_valid_webhook_url(value))
	{
		ignore_environment(variable, "an https URL");
		return standard;
	}
	return value;
}

/* ---- checks; each leaves *newval as it is ---- */

/*
 * Splits a list of database names; they fold to lower case unless quoted.
 * A repeated name is one name.  False on a syntax error.
 */
static bool
split_databases(const char *value, List **names)
{
	char	   *copy = pstrdup(value);
	List	   *found = NIL;
	ListCell   *cell;

	*names = NIL;
	if (!SplitIdentifierString(copy, ',', &found))
	{
		list_free(found);
		pfree(copy);
		return false;
	}
	foreach(cell, found)
	{
		char	   *name = lfirst(cell);
		bool		known = false;
		ListCell   *other;

		foreach(other, *names)
			known = known || strcmp(lfirst(other), name) == 0;
		if (!known && name[0] != '\0')
			*names = lappend(*names, pstrdup(name));
	}
	list_free(found);
	pfree(copy);
	return true;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	List	   *names;
	int			n_names;

	if (!split_databases(*newval, &names))
	{
		GUC_check_errdetail("List syntax is invalid.");
		return false;
	}
	n_names = list_length(names);
	list_free_deep(names);
	if (n_names > QPSSCALE_MAX_DATABASES)
	{
		GUC_check_errdetail("At most %d databases can be served.",
							QPSSCALE_MAX_DATABASES);
		return false;
	}
	return true;
}

/* One element of qpsscale.allowed_hosts: host, address, host:port, *.suffix. */
static bool
allowed_host_is_valid(const char *start, size_t length)
{
	if (length > 2 && start[0] == '*' && start[1] == '.')
	{
		start += 2;
		length -= 2;
	}
	return qpsscale_valid_host_port(start, length);
}

static bool
check_allowed_hosts(char **newval, void **extra, GucSource source)
{
	const char *rest = *newval;

	while (*rest == ' ')
		rest++;
	if (*rest == '\0')
		return true;
	for (;;)
	{
		size_t		length = strcspn(rest, ",");
		const char *next = rest + length;

		while (length > 0 && *rest == ' ')
			rest++, length--;
		while (length > 0 && rest[length - 1] == ' ')
			length--;
		if (!allowed_host_is_valid(rest, length))
		{
			GUC_check_errdetail("Each element must be a host name, an address, host:port or *.suffix.");
			return false;
		}
		if (*next == '\0')
			return true;
		rest = next + 1;
	}
}

static bool
check_absolute_path(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] != '\0' && !is_absolute_path(*newval))
	{
		GUC_check_errdetail("The path must be absolute, or empty.");
		return false;
	}
	if (strlen(*newval) >= MAXPGPATH)
	{
		GUC_check_errdetail("The path must be shorter than %d bytes.",
							MAXPGPATH);
		return false;
	}
	return true;
}

/* It is compared, shown and dumped: keep it to what survives all of that. */
static bool
check_host_id(char **newval, void **extra, GucSource source)
{
	const char *value = *newval;

	if (strlen(value) > MAX_HOST_ID ||
		value[strspn(value, "abcdefghijklmnopqrstuvwxyz"
					 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")] != '\0')
	{
		GUC_check_errdetail("It may hold at most %d letters, digits, and the characters . _ : -",
							MAX_HOST_ID);
		return false;
	}
	return true;
}

static bool
check_worker_role(char **newval, void **extra, GucSource source)
{
	if (strlen(*newval) >= NAMEDATALEN)
	{
		GUC_check_errdetail("The name of a role must be shorter than %d bytes.",
							NAMEDATALEN);
		return false;
	}
	return true;
}

static bool
check_region(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] != '\0' && !qpsscale_valid_region(*newval))
	{
		GUC_check_errdetail("A region is made of small letters, digits and hyphens.");
		return false;
	}
	return true;
}

/* A URL may carry a secret: it is never repeated. */
static bool
check_webhook_url(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] != '\0' && !qpsscale_valid_webhook_url(*newval))
	{
		GUC_check_errmsg("invalid value for parameter \"%s\"",
						 "qpsscale.alert_webhook_url");
		GUC_check_errdetail("It must be an https URL, or file:name or env:NAME where the URL is read.");
		return false;
	}
	return true;
}

/* ---- definitions ---- */

static void
define_int(const char *name, int *value, int boot, int min, int max,
		   int flags, const char *description, const char *explanation)
{
	DefineCustomIntVariable(name, description, explanation, value, boot, min,
							max, PGC_SIGHUP, flags, NULL, NULL, NULL);
}

static void
define_bool(const char *name, bool *value, bool boot,
			const char *description, const char *explanation)
{
	DefineCustomBoolVariable(name, description, explanation, value, boot,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_string(const char *name, char **value, const char *boot, int flags,
			  GucStringCheckHook check, const char *description,
			  const char *explanation)
{
	DefineCustomStringVariable(name, description, explanation, value, boot,
							   PGC_SIGHUP, flags, check, NULL, NULL);
}

static void
define_behaviour(void)
{
	QpsscaleSettings *s = &qpsscale_settings;

	define_bool("qpsscale.enabled", &s->enabled, true,
				"Whether qpsscale may change anything in a cloud.",
				"The kill switch. When off, resident workers evaluate "
				"nothing, and qpsscale_evaluate() is a dry run. A reload is "
				"enough: it is looked at again before each call that changes "
				"something.");
	define_string("qpsscale.databases", &s->databases, "postgres",
				  GUC_LIST_INPUT, check_databases,
				  "Databases in which a resident worker evaluates groups.",
				  "A comma-separated list of at most 32 names; a name with "
				  "capitals must be quoted. Each must have the extension. "
				  "Takes effect only where qpsscale is in "
				  "shared_preload_libraries; each worker takes a place of "
				  "max_worker_processes.");
	define_int("qpsscale.max_instances", &s->max_instances, 0, 0, 1000000, 0,
			   "Hard ceiling for the desired capacity of any group.",
			   "It holds whatever a policy or the cloud allows. Zero means "
			   "that there is no ceiling.");
	define_string("qpsscale.region", &s->region,
				  environment_region("REGION", ""), 0, check_region,
				  "Region of groups for which neither row nor account names one.",
				  "The default is the environment variable REGION of the "
				  "server process.");
	define_int("qpsscale.max_actions_per_hour", &s->max_actions_per_hour, 0,
			   0, 1000000, 0,
			   "How many actions all groups of a database may take in an hour.",
			   "Groups grow to their lower limits all the same. Zero is no "
			   "limit.");
	define_int("qpsscale.max_instances_per_hour", &s->max_instances_per_hour,
			   0, 0, 1000000, 0,
			   "How many instances all groups of a database may add in an hour.",
			   "Groups grow to their lower limits all the same. Zero is no "
			   "limit.");
	define_int("qpsscale.retention", &s->retention_s, 90 * 24 * 60 * 60, 0,
			   INT_MAX, GUC_UNIT_S,
			   "How long evaluations, activities and errors are kept.",
			   "Older rows are deleted in small batches. Zero keeps them for "
			   "ever.");
	define_int("qpsscale.sample_retention", &s->sample_retention_s,
			   35 * 24 * 60 * 60, 0, INT_MAX, GUC_UNIT_S,
			   "How long samples of load and size, and what was foreseen, are "
			   "kept.",
			   "Older ones are deleted in small batches. Zero keeps them for "
			   "ever.");
	define_int("qpsscale.sample_backfill", &s->sample_backfill_s,
			   14 * 24 * 60 * 60, 0, INT_MAX, GUC_UNIT_S,
			   "How much load of the time before a group was first seen is "
			   "asked of its cloud.",
			   "As far as the cloud still knows it, a day at a time. Zero "
			   "asks for nothing.");
	define_int("qpsscale.prediction_memory", &s->prediction_memory_kb,
			   256 * 1024, 0, 1024 * 1024 * 1024, GUC_UNIT_KB,
			   "How much memory a worker uses to predict loads.",
			   "A group takes up to 160 kB. Those for which there is no room "
			   "are decided on without prediction.");
	define_bool("qpsscale.detailed_logging", &s->detailed_logging,
				environment_bool("ENABLE_DETAILED_LOGGING", false),
				"Whether every decision is written to the server log.",
				"Otherwise decisions are in tables only. The default is the "
				"environment variable ENABLE_DETAILED_LOGGING of the server "
				"process.");
	DefineCustomEnumVariable("qpsscale.log_level",
							 "The least important messages that workers log.",
							 "One of debug, info, warning and error. Messages "
							 "that pass are still subject to log_min_messages. "
							 "The default is the environment variable "
							 "LOG_LEVEL of the server process.",
							 &s->log_level,
							 environment_log_level("LOG_LEVEL", LOG),
							 log_levels, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_times(void)
{
	QpsscaleSettings *s = &qpsscale_settings;

	define_int("qpsscale.interval", &s->interval_ms, 15000, 1000, 3600000,
			   GUC_UNIT_MS,
			   "Time from the start of one cycle to the start of the next.",
			   "Load is asked for no more often than its source publishes it, "
			   "however short this is.");
	define_int("qpsscale.metric_period", &s->metric_period_s,
			   environment_int("METRIC_PERIOD", 300, 60, 86400), 60, 86400,
			   GUC_UNIT_S,
			   "Length of the window over which load is averaged.",
			   "The default is the environment variable METRIC_PERIOD of the "
			   "server process, in seconds.");
	define_int("qpsscale.metric_resolution", &s->metric_resolution_s, 60, 1,
			   86400, GUC_UNIT_S,
			   "How often a cloud monitor publishes a new data point.",
			   "The resident worker asks for a metric no more often than "
			   "that; in between it decides on what it knows.");
	define_int("qpsscale.initial_delay", &s->initial_delay_s,
			   environment_int("INITIAL_DELAY_SECONDS", 0, 0, 86400), 0, 86400,
			   GUC_UNIT_S,
			   "How long a resident worker waits before its first cycle.",
			   "The default is the environment variable "
			   "INITIAL_DELAY_SECONDS of the server process.");
	define_int("qpsscale.request_timeout", &s->request_timeout_ms, 5000, 100,
			   600000, GUC_UNIT_MS,
			   "Time limit of one attempt of one request to a cloud.",
			   "Failed reads are tried again while the cycle's deadline "
			   "allows it.");
	define_int("qpsscale.cycle_deadline", &s->cycle_deadline_ms, 0, 0, 3600000,
			   GUC_UNIT_MS,
			   "Time limit of all requests of one cycle.",
			   "Groups whose data has not arrived by then are held as they "
			   "are. Zero means as long as qpsscale.interval.");
	define_int("qpsscale.sql_timeout", &s->sql_timeout_ms, 1000, 10, 60000,
			   GUC_UNIT_MS,
			   "Time limit of one query or function that a group's owner wrote.",
			   "One that takes longer is canceled, and ended if it does not "
			   "heed that. All SQL of one cycle is bounded by the cycle's "
			   "deadline.");
	define_int("qpsscale.max_in_flight", &s->max_in_flight, 64, 1, 1000, 0,
			   "Requests to clouds that may be under way at once, per worker.",
			   "Each takes a connection and with it a file descriptor.");
}

static void
define_security(void)
{
	QpsscaleSettings *s = &qpsscale_settings;

	define_string("qpsscale.worker_role", &s->worker_role, "", 0,
				  check_worker_role,
				  "Role as which workers connect.",
				  "It must be able to log in and have the level worker "
				  "(qpsscale_grant); no more than that is needed. Empty means "
				  "the bootstrap superuser. A worker that runs starts anew "
				  "after its tick.");
	define_string("qpsscale.allowed_hosts", &s->allowed_hosts, "",
				  GUC_SUPERUSER_ONLY, check_allowed_hosts,
				  "Hosts for which plain http and private addresses are allowed.",
				  "A comma-separated list of host names, addresses, host:port "
				  "or *.suffix. Everything else must be https to a public "
				  "address.");
	define_string("qpsscale.secrets_dir", &s->secrets_dir, "",
				  GUC_SUPERUSER_ONLY, check_absolute_path,
				  "Directory below which file: references of user mappings are read.",
				  "Its files must be readable by the owner of the server "
				  "process alone. Empty forbids such references.");
	define_string("qpsscale.ca_file", &s->ca_file, "",
				  GUC_SUPERUSER_ONLY, check_absolute_path,
				  "PEM bundle of certificate authorities.",
				  "Empty means the bundle of the system. Verification cannot "
				  "be switched off.");
	define_string("qpsscale.host_id", &s->host_id, "",
				  GUC_SUPERUSER_ONLY, check_host_id,
				  "Identity of this host, by which a clone is told from the original.",
				  "qpsscale_arm() lists it; on a host that is not listed "
				  "nothing is changed in a cloud. Empty means the machine id. "
				  "It must not be part of what is cloned.");
}

static void
define_alerts(void)
{
	QpsscaleSettings *s = &qpsscale_settings;

	define_string("qpsscale.alert_webhook_url", &s->alert_webhook_url,
				  environment_webhook_url("ALERT_WEBHOOK_URL", ""),
				  GUC_SUPERUSER_ONLY, check_webhook_url,
				  "One endpoint for all alerts, beside those in qpsscale.webhooks.",
				  "An https URL, or file:name or env:NAME where it is read. "
				  "Its body is that of the format standard, and it is not "
				  "signed. The default is the environment variable "
				  "ALERT_WEBHOOK_URL of the server process.");
	define_bool("qpsscale.notify", &s->notify, true,
				"Whether each alert is also a NOTIFY on channel qpsscale.",
				"Its payload is JSON with type, id and status.");
	define_int("qpsscale.stall_timeout", &s->stall_timeout_ms, 0, 0, 3600000,
			   GUC_UNIT_MS,
			   "How long a worker may give no sign of life before it counts as stalled.",
			   "Zero means three times qpsscale.interval, and at least a "
			   "minute.");
}

static void
define_decisions(void)
{
	QpsscaleSettings *s = &qpsscale_settings;

	define_int("qpsscale.max_observation_age", &s->max_observation_age_s, 300,
			   1, 86400, GUC_UNIT_S,
			   "Oldest observation that qpsscale_decide() decides on.",
			   "It asks no cloud but takes what the last evaluation saw.");
	define_int("qpsscale.decision_lifetime", &s->decision_lifetime_s, 300, 1,
			   86400, GUC_UNIT_S,
			   "How long a recorded decision can be executed.", NULL);
}

void
qpsscale_settings_define(void)
{
	define_decisions();
	define_behaviour();
	define_times();
	define_security();
	define_alerts();
	MarkGUCPrefixReserved("qpsscale");
}

/* ---- readings ---- */

List *
qpsscale_settings_databases(void)
{
	List	   *names = NIL;

	/* The check hook has seen it: a syntax error cannot happen. */
	if (!split_databases(qpsscale_settings.databases, &names))
		elog(ERROR, "qpsscale.databases cannot be split");
	return names;
}

int
qpsscale_settings_stall_timeout_ms(void)
{
	if (qpsscale_settings.stall_timeout_ms > 0)
		return qpsscale_settings.stall_timeout_ms;
	return Max(3 * qpsscale_settings.interval_ms, 60000);
}

int
qpsscale_settings_cycle_deadline_ms(void)
{
	if (qpsscale_settings.cycle_deadline_ms > 0)
		return qpsscale_settings.cycle_deadline_ms;
	return qpsscale_settings.interval_ms;
}

/*
 * The machine id is 32 hexadecimal digits and a newline (machine-id(5)).
 * Anything else ("uninitialized", an empty file in a container image) is the
 * same on many machines, and so no identity.
 */
static bool
read_machine_id(char *id, size_t size)
{
	int			fd = OpenTransientFile(MACHINE_ID_FILE, O_RDONLY);
	ssize_t		length;

	if (fd < 0)
		return false;
	length = read(fd, id, size - 1);
	CloseTransientFile(fd);
	if (length < 32)
		return false;
	id[length] = '\0';
	if (strspn(id, "0123456789abcdef") != 32 ||
		(id[32] != '\0' && id[32] != '\n') ||
		strspn(id, "0") == 32)
		return false;
	id[32] = '\0';
	return true;
}

const char *
qpsscale_settings_host_identity(void)
{
	static char machine_id[64];

	if (qpsscale_settings.host_id != NULL &&
		qpsscale_settings.host_id[0] != '\0')
		return qpsscale_settings.host_id;
	if (!read_machine_id(machine_id, sizeof(machine_id)))
		machine_id[0] = '\0';
	return machine_id;
}
