/*-------------------------------------------------------------------------
 * accounts.c
 *		Options of cloud accounts: what CREATE SERVER and CREATE USER MAPPING
 *		accept, checked when they are written.
 *
 * An account is a foreign server of the wrapper "qpsscale".  One table below
 * holds every option; validation, hints and documentation come from it.  The
 * worker checks again what it reads: rows may come from a dump, and roles
 * lose rights.
 *
 * Secrets are referred to (file:name, env:NAME) and not written down, because
 * options are shown in pg_user_mapping, dumps and statement logs.  An error
 * about one neither repeats the value nor lets the server log the statement.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ctype.h>

#include "access/reloptions.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/varlena.h"

#include "pg/accounts.h"

PG_FUNCTION_INFO_V1(qpsscale_fdw_validator);

#define MAX_HOST_LENGTH			253 /* RFC 1035 */
#define MAX_REGION_LENGTH		64
#define MAX_SERVICE_LENGTH		64
#define MAX_SECRET_NAME_LENGTH	200
#define MAX_NAME_LENGTH			256
#define MAX_INLINE_LENGTH		4095	/* QS_SECRET_MAX with its NUL */
#define MAX_TYPING_DISTANCE		4

#define DIGITS			"0123456789"
#define SMALL_LETTERS	"abcdefghijklmnopqrstuvwxyz"
#define LETTERS			SMALL_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

typedef enum OptionKind
{
	OPTION_PROVIDER,
	OPTION_REGION,
	OPTION_URL,
	OPTION_ENDPOINT,
	OPTION_SERVICE,
	OPTION_PATH,
	OPTION_SWITCH,
	OPTION_NAME,
	OPTION_TENANT,
	OPTION_USER,
	OPTION_ROLE_ARN,
	OPTION_SESSION_NAME,
	OPTION_CREDENTIALS,
	OPTION_SECRET
} OptionKind;

typedef struct OptionRule
{
	const char *name;
	Oid			catalog;		/* of servers or of user mappings */
	bool		superuser_only;
	OptionKind	kind;
	const char *help;
} OptionRule;

/*
 * Every address is for superusers only: who can say where a signed request is
 * sent can send somebody else's there.
 */
static const OptionRule rules[] = {
	{"provider", ForeignServerRelationId, false, OPTION_PROVIDER,
	"which cloud it is: byteplus, aws or kubernetes; prometheus for signals"},
	{"region", ForeignServerRelationId, false, OPTION_REGION,
	"region of groups that name none"},
	{"endpoint", ForeignServerRelationId, true, OPTION_ENDPOINT,
	"https://host[:port] of every service of the account; of Prometheus with the path before /api/v1"},
	{"autoscaling_endpoint", ForeignServerRelationId, true, OPTION_URL,
	"https://host[:port] of the scaling groups' service"},
	{"monitor_endpoint", ForeignServerRelationId, true, OPTION_URL,
	"https://host[:port] of the metrics' service"},
	{"autoscaling_service", ForeignServerRelationId, false, OPTION_SERVICE,
	"name by which requests about scaling groups are signed"},
	{"monitor_service", ForeignServerRelationId, false, OPTION_SERVICE,
	"name by which requests for metrics are signed"},
	{"ca_file", ForeignServerRelationId, true, OPTION_PATH,
	"PEM bundle of certificate authorities, an absolute path"},
	{"rate_limits", ForeignServerRelationId, true, OPTION_SWITCH,
	"on or off: keep to the cloud's documented rate limits"},
	{"dual_stack", ForeignServerRelationId, false, OPTION_SWITCH,
	"on or off: AWS' hosts that have IPv6 addresses as well"},
	{"metadata_endpoint", ForeignServerRelationId, true, OPTION_URL,
	"http://host[:port] of the instance's metadata service"},
	{"sts_endpoint", ForeignServerRelationId, true, OPTION_URL,
	"https://host[:port] of the security token service"},
	{"role_arn", ForeignServerRelationId, false, OPTION_ROLE_ARN,
	"role of AWS that the account's credentials assume"},
	{"external_id", ForeignServerRelationId, false, OPTION_NAME,
	"external id that the role's owner asks for"},
	{"role_session_name", ForeignServerRelationId, false, OPTION_SESSION_NAME,
	"name of the role's sessions in the cloud's logs"},
	{"tenant", ForeignServerRelationId, false, OPTION_TENANT,
	"whose data Prometheus is asked for: header X-Scope-OrgID, as Mimir has it"},
	{"access_key_id", UserMappingRelationId, false, OPTION_SECRET,
	"file:name or env:NAME of the access key id"},
	{"secret_access_key", UserMappingRelationId, false, OPTION_SECRET,
	"file:name or env:NAME of the secret access key"},
	{"session_token", UserMappingRelationId, false, OPTION_SECRET,
	"file:name or env:NAME of a session token"},
	{"token", UserMappingRelationId, false, OPTION_SECRET,
	"file:name or env:NAME of a bearer token"},
	{"username", UserMappingRelationId, false, OPTION_USER,
	"name that Prometheus is shown with the password"},
	{"password", UserMappingRelationId, false, OPTION_SECRET,
	"file:name or env:NAME of the password"},
	{"client_certificate", UserMappingRelationId, false, OPTION_SECRET,
	"file:name or env:NAME of a client certificate with its chain, PEM"},
	{"client_key", UserMappingRelationId, false, OPTION_SECRET,
	"file:name or env:NAME of the client certificate's private key, PEM without passphrase"},
	{"credentials", UserMappingRelationId, true, OPTION_CREDENTIALS,
	"chain, oidc, file, ecs, container, imds or in_cluster: the server's own credentials, instead of keys"},
	{"oidc_role_trn", UserMappingRelationId, true, OPTION_NAME,
	"resource name of the role that an OIDC token is exchanged for"},
	{"oidc_role_arn", UserMappingRelationId, true, OPTION_ROLE_ARN,
	"role of AWS that a web identity token is exchanged for"},
	{"oidc_token_file", UserMappingRelationId, true, OPTION_PATH,
	"file of the OIDC token, an absolute path"},
	{"cli_config_file", UserMappingRelationId, true, OPTION_PATH,
	"configuration file of the command line tool, an absolute path"},
	{"cli_credentials_file", UserMappingRelationId, true, OPTION_PATH,
	"shared credentials file of AWS' tools, an absolute path"},
	{"cli_profile", UserMappingRelationId, true, OPTION_NAME,
	"profile in these files"},
	{"ecs_role", UserMappingRelationId, true, OPTION_NAME,
	"role of the ECS instance, where it has several"},
	{"service_account_dir", UserMappingRelationId, true, OPTION_PATH,
	"directory of a pod's token and ca.crt, an absolute path"}
};

static const char *const providers[] = {"byteplus", "aws", "kubernetes",
"prometheus"};
static const char *const borrowings[] = {"chain", "oidc", "file", "ecs",
"container", "imds", "in_cluster"};

/* ---- syntax of values; no function here raises an error ---- */

bool
qpsscale_valid_region(const char *region)
{
	size_t		length = strlen(region);

	return length > 0 && length <= MAX_REGION_LENGTH &&
		strspn(region, SMALL_LETTERS DIGITS "-") == length &&
		region[0] != '-' && region[length - 1] != '-' &&
		strstr(region, "--") == NULL;
}

static bool
valid_port(const char *text, size_t length)
{
	int			port = 0;

	if (length == 0 || length > 5)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		port = port * 10 + (text[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

static bool
valid_ipv6(const char *text, size_t length)
{
	char		copy[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (length == 0 || length >= sizeof(copy))
		return false;
	memcpy(copy, text, length);
	copy[length] = '\0';
	return inet_pton(AF_INET6, copy, &address) == 1;
}

/* Labels of letters, digits and inner hyphens, joined by single dots. */
static bool
valid_host_name(const char *text, size_t length)
{
	char		previous = '.';

	if (length == 0 || length > MAX_HOST_LENGTH)
		return false;
	for (size_t i = 0; i < length; i++)
	{
		char		c = text[i];

		if (c == '\0' || strchr(LETTERS DIGITS ".-", c) == NULL)
			return false;
		if ((c == '.' && (previous == '.' || previous == '-')) ||
			(c == '-' && previous == '.'))
			return false;
		previous = c;
	}
	return previous != '.' && previous != '-';
}

bool
qpsscale_valid_host_port(const char *text, size_t length)
{
	const char *end = text + length;
	const char *colon;

	if (length > 0 && text[0] == '[')
	{
		const char *bracket = memchr(text, ']', length);

		if (bracket == NULL || !valid_ipv6(text + 1, bracket - text - 1))
			return false;
		return bracket + 1 == end ||
			(bracket[1] == ':' && valid_port(bracket + 2, end - bracket - 2));
	}
	colon = memchr(text, ':', length);
	if (colon == NULL)
		return valid_host_name(text, length);
	if (memchr(colon + 1, ':', end - colon - 1) != NULL)
		return valid_ipv6(text, length);
	return valid_host_name(text, colon - text) &&
		valid_port(colon + 1, end - colon - 1);
}

/* "/prometheus/tenant-1": a prefix that needs no escaping. */
static bool
valid_path(const char *path)
{
	return strspn(path, LETTERS DIGITS "-._~/") == strlen(path) &&
		strstr(path, "//") == NULL && strstr(path, "/.") == NULL;
}

/*
 * http passes here: whether it may be used depends on qpsscale.allowed_hosts
 * at the time of the call.  An IPv6 address needs its brackets in a URL.
 */
static bool
valid_url(const char *url, bool with_path)
{
	const char *host;
	const char *path;
	size_t		length;

	if (strncmp(url, "https://", 8) == 0)
		host = url + 8;
	else if (strncmp(url, "http://", 7) == 0)
		host = url + 7;
	else
		return false;
	path = host + strcspn(host, "/");
	if (!(with_path ? valid_path(path) : path[0] == '\0' || path[1] == '\0'))
		return false;
	length = path - host;
	return qpsscale_valid_host_port(host, length) &&
		(host[0] == '[' || !valid_ipv6(host, length));
}

/* What Mimir allows, several of them included. */
static bool
valid_tenant(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 && length <= MAX_NAME_LENGTH &&
		strspn(name, LETTERS DIGITS "!-_.*'()|") == length;
}

/* The password begins behind the first colon. */
static bool
valid_user(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 && length <= MAX_NAME_LENGTH &&
		strspn(name, LETTERS DIGITS "_-./@=+,") == length;
}

static bool
valid_service(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 && length <= MAX_SERVICE_LENGTH &&
		strspn(name, LETTERS DIGITS "_-") == length;
}

static bool
is_one_of(const char *name, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

/* A cloud's name of something: trn:iam::2000000001:role/scaler */
static bool
valid_name(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 && length <= MAX_NAME_LENGTH &&
		strspn(name, LETTERS DIGITS "_-.:/@=+,") == length;
}

/* "arn:aws-cn:iam::123456789012:role/path/scaler" */
static bool
valid_role_arn(const char *arn)
{
	return valid_name(arn) && strncmp(arn, "arn:", 4) == 0 &&
		strstr(arn, ":iam::") != NULL && strstr(arn, ":role/") != NULL;
}

/* AWS: 2 to 64 of these. */
static bool
valid_session_name(const char *name)
{
	size_t		length = strlen(name);

	return length >= 2 && length <= 64 &&
		strspn(name, LETTERS DIGITS "_=,.@+-") == length;
}

/* Relative, and each part begins with a letter, a digit or an underscore:
 * that excludes "..", hidden files and empty parts. */
static bool
valid_secret_file(const char *name)
{
	size_t		length = strlen(name);

	if (length > MAX_SECRET_NAME_LENGTH ||
		strspn(name, LETTERS DIGITS "._-/") != length)
		return false;
	for (const char *part = name;;)
	{
		if (*part == '\0' || strchr(LETTERS DIGITS "_", *part) == NULL)
			return false;
		part = strchr(part, '/');
		if (part == NULL)
			return true;
		part++;
	}
}

static bool
valid_secret_variable(const char *name)
{
	size_t		length = strlen(name);

	return length > 0 && length <= MAX_SECRET_NAME_LENGTH &&
		strspn(name, LETTERS DIGITS "_") == length &&
		strchr(DIGITS, name[0]) == NULL;
}

static bool
valid_inline_secret(const char *value)
{
	size_t		length = strlen(value);

	if (length == 0 || length > MAX_INLINE_LENGTH)
		return false;
	for (size_t i = 0; i < length; i++)
		if (value[i] < '!' || value[i] > '~')
			return false;
	return true;
}

/* ---- checks that raise errors ---- */

/* In a user mapping any value may be a key that took a wrong turn. */
static void
refuse_value(const OptionRule *rule, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\"", rule->name),
			 errdetail("The option is: %s.", rule->help),
			 hint != NULL ? errhint("%s", hint) : 0,
			 errhidestmt(rule->catalog == UserMappingRelationId)));
}

/* The server would log the refused statement, with what it holds. */
static void
refuse_secret(const OptionRule *rule, int sqlstate, const char *message,
			  const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("option \"%s\": %s", rule->name, message),
			 errhint("%s", hint),
			 errhidestmt(true)));
}

/* A file that the current user may refer to, for hints. */
static char *
own_secret_file(void)
{
	return psprintf("%s/name", GetUserNameFromId(GetUserId(), false));
}

/*
 * A validator is not told whose mapping it is.  Whoever is not a superuser may
 * refer only to files below a directory of his own name; the worker looks
 * whether that fits the group's owner.
 */
static void
check_own_secret_file(const OptionRule *rule, const char *name)
{
	const char *role = GetUserNameFromId(GetUserId(), false);
	size_t		length = strlen(role);

	if (strncmp(name, role, length) == 0 && name[length] == '/')
		return;
	refuse_secret(rule, ERRCODE_INSUFFICIENT_PRIVILEGE,
				  "only superusers may refer to files of others",
				  psprintf("Use file:%s.", own_secret_file()));
}

static void
check_secret(const OptionRule *rule, const char *value)
{
	if (strncmp(value, "file:", 5) == 0)
	{
		if (!valid_secret_file(value + 5))
			refuse_secret(rule, ERRCODE_INVALID_PARAMETER_VALUE,
						  "the file's name is not valid",
						  "It is relative to qpsscale.secrets_dir and made of letters, digits, and the characters . _ - and /; no part of it begins with a dot.");
		if (!superuser())
			check_own_secret_file(rule, value + 5);
	}
	else if (strncmp(value, "env:", 4) == 0)
	{
		if (!superuser())
			refuse_secret(rule, ERRCODE_INSUFFICIENT_PRIVILEGE,
						  "only superusers may refer to environment variables",
						  psprintf("Use file:%s.", own_secret_file()));
		if (!valid_secret_variable(value + 4))
			refuse_secret(rule, ERRCODE_INVALID_PARAMETER_VALUE,
						  "the variable's name is not valid",
						  "It is made of letters, digits and underscores.");
	}
	else if (strncmp(value, "inline:", 7) == 0 && superuser())
	{
		if (!valid_inline_secret(value + 7))
			refuse_secret(rule, ERRCODE_INVALID_PARAMETER_VALUE,
						  "the value is not valid",
						  "It is made of 1 to 4095 printable ASCII characters without spaces.");
	}
	else
		refuse_secret(rule, ERRCODE_INVALID_PARAMETER_VALUE,
					  "a secret is not written into the catalog",
					  psprintf("Put it into a file below qpsscale.secrets_dir and refer to it as file:%s.",
							   superuser() ? "name" : own_secret_file()));
}

static void
check_value(const OptionRule *rule, const char *value)
{
	switch (rule->kind)
	{
		case OPTION_PROVIDER:
			if (!is_one_of(value, providers, lengthof(providers)))
				refuse_value(rule, "The providers are byteplus, aws, kubernetes and prometheus.");
			break;
		case OPTION_REGION:
			if (!qpsscale_valid_region(value))
				refuse_value(rule, "A region looks like ap-southeast-1.");
			break;
		case OPTION_URL:
			if (!valid_url(value, false))
				refuse_value(rule, "Give scheme, host and perhaps a port, without user, path or query.");
			break;
		case OPTION_ENDPOINT:
			if (!valid_url(value, true))
				refuse_value(rule, "Give scheme, host and perhaps a port, for Prometheus perhaps a path too, without user or query.");
			break;
		case OPTION_SERVICE:
			if (!valid_service(value))
				refuse_value(rule, "It is made of letters, digits, hyphens and underscores.");
			break;
		case OPTION_PATH:
			if (!is_absolute_path(value) || strlen(value) >= MAXPGPATH)
				refuse_value(rule, NULL);
			break;
		case OPTION_SWITCH:
			if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
				refuse_value(rule, NULL);
			break;
		case OPTION_NAME:
			if (!valid_name(value))
				refuse_value(rule, "It is made of letters, digits, and the characters _ - . : / @ = + and comma.");
			break;
		case OPTION_TENANT:
			if (!valid_tenant(value))
				refuse_value(rule, "It is made of letters, digits, and the characters ! - _ . * ' ( ) and |.");
			break;
		case OPTION_USER:
			if (!valid_user(value))
				refuse_value(rule, "It is made of letters, digits, and the characters _ - . / @ = + and comma.");
			break;
		case OPTION_ROLE_ARN:
			if (!valid_role_arn(value))
				refuse_value(rule, "It looks like arn:aws:iam::123456789012:role/name.");
			break;
		case OPTION_SESSION_NAME:
			if (!valid_session_name(value))
				refuse_value(rule, "It is made of 2 to 64 letters, digits, and the characters _ = , . @ + and -.");
			break;
		case OPTION_CREDENTIALS:
			if (!is_one_of(value, borrowings, lengthof(borrowings)))
				refuse_value(rule, "Keys go into the options access_key_id and secret_access_key, as references.");
			break;
		case OPTION_SECRET:
			check_secret(rule, value);
			break;
	}
}

static const OptionRule *
find_rule(const char *name, Oid catalog)
{
	for (int i = 0; i < (int) lengthof(rules); i++)
		if (rules[i].catalog == catalog && strcmp(rules[i].name, name) == 0)
			return &rules[i];
	return NULL;
}

/* The option that was probably meant, or NULL. */
static const char *
closest_option(const char *name, Oid catalog)
{
	const char *closest = NULL;
	int			shortest = MAX_TYPING_DISTANCE + 1;

	/* varstr_levenshtein() refuses long strings with an error of its own. */
	if (strlen(name) >= NAMEDATALEN)
		return NULL;
	for (int i = 0; i < (int) lengthof(rules); i++)
	{
		int			distance;

		if (rules[i].catalog != catalog)
			continue;
		distance = varstr_levenshtein_less_equal(name, strlen(name),
												 rules[i].name,
												 strlen(rules[i].name),
												 1, 1, 1, shortest, true);
		if (distance < shortest && distance <= (int) strlen(name) / 2)
		{
			shortest = distance;
			closest = rules[i].name;
		}
	}
	return closest;
}

static char *
list_options(Oid catalog)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < (int) lengthof(rules); i++)
		if (rules[i].catalog == catalog)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "",
							 rules[i].name);
	return list.data;
}

/* Which other object takes the option; NULL if none does. */
static const char *
other_home(const char *name, Oid catalog)
{
	if (catalog != ForeignServerRelationId &&
		find_rule(name, ForeignServerRelationId) != NULL)
		return "It is an option of the server.";
	if (catalog != UserMappingRelationId &&
		find_rule(name, UserMappingRelationId) != NULL)
		return "It is an option of the user mapping.";
	return NULL;
}

/* Here too the statement may hold a secret: as the value of an option whose
 * name was mistyped. */
static void
refuse_name(const char *name, Oid catalog)
{
	const char *home = other_home(name, catalog);
	const char *closest = closest_option(name, catalog);
	const char *list = list_options(catalog);
	const char *hint;

	if (home != NULL)
		hint = home;
	else if (closest != NULL)
		hint = psprintf("Perhaps you meant the option \"%s\".", closest);
	else if (list[0] != '\0')
		hint = psprintf("Valid options are: %s.", list);
	else
		hint = "There are no valid options here.";
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 errhint("%s", hint),
			 errhidestmt(true)));
}

/*
 * Called with all options that the object will have, also those that the
 * statement does not change: who is not a superuser cannot alter a server on
 * which a superuser has set an address.
 */
Datum
qpsscale_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	bool		borrows = false;
	bool		keys = false;
	bool		has_path = false;
	bool		may_have_path = false;
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);
		const OptionRule *rule = find_rule(option->defname, catalog);

		if (rule == NULL)
			refuse_name(option->defname, catalog);
		if (rule->superuser_only && !superuser())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("only superusers may set option \"%s\"",
							rule->name),
					 errdetail("The option is: %s.", rule->help),
					 errhidestmt(catalog == UserMappingRelationId)));
		check_value(rule, defGetString(option));
		borrows |= rule->kind == OPTION_CREDENTIALS;
		keys |= rule->kind == OPTION_SECRET;
		has_path |= rule->kind == OPTION_ENDPOINT &&
			!valid_url(defGetString(option), false);
		may_have_path |= rule->kind == OPTION_PROVIDER &&
			strcmp(defGetString(option), "prometheus") == 0;
	}
	if (has_path && !may_have_path)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"endpoint\" has a path, which only that of Prometheus can have"),
				 errhint("Set provider to prometheus in the same statement, or give scheme, host and perhaps a port.")));
	if (borrows && keys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"credentials\" and keys exclude each other"),
				 errhint("Drop credentials, or all that refer to files and variables."),
				 errhidestmt(true)));
	PG_RETURN_VOID();
}
