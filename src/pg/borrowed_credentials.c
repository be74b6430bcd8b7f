/*-------------------------------------------------------------------------
 * borrowed_credentials.c
 *		The credentials that this host, and so this server, was given: by its
 *		environment, a platform's token, a file of the command line tool, or
 *		the metadata service.
 *
 * Here is what is BytePlus', and the entry for all; AWS has borrowed_aws.c,
 * Kubernetes borrowed_kubernetes.c.
 *
 * Order and variables are those of BytePlus' Go SDK (docs/1-Credentials.md,
 * "Default Credential Provider").  Unlike there, a link that is configured
 * and fails is the end: a server that silently became somebody else because a
 * token file was missing would be hard to understand, and to secure.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "pg/borrowing.h"
#include "pg/group.h"
#include "utils/timestamp.h"

const char *
qpsscale_variable(const char *name)
{
	const char *value = getenv(name);

	return value == NULL || value[0] == '\0' ? NULL : value;
}

const char *
qpsscale_first(const char *option, const char *name)
{
	return option != NULL ? option : qpsscale_variable(name);
}

static const char *
look_up(void *context, const char *name)
{
	return getenv(name);
}

QpsscaleLink
qpsscale_broken(QpsscaleBorrowing *borrowing, const char *problem)
{
	strlcpy(borrowing->problem, problem, sizeof(borrowing->problem));
	return LINK_BROKEN;
}

QpsscaleLink
qpsscale_borrow_variables(QpsscaleBorrowing *borrowing,
						  QsCredentials *credentials)
{
	QsError		error;

	if (qs_credentials_from_environment(borrowing->provider, look_up, NULL,
										credentials, &error))
		return LINK_THERE;
	if (strcmp(error.code, "no_credentials") != 0)
		return qpsscale_broken(borrowing, error.message);
	return LINK_ABSENT;
}

/* The variable holds a host, an option a URL. */
static const char *
sts_endpoint(const QpsscaleBorrowing *borrowing)
{
	const char *host = qpsscale_variable("BYTEPLUS_OIDC_STS_ENDPOINT");

	if (borrowing->sts_endpoint != NULL || host == NULL)
		return borrowing->sts_endpoint;
	return strstr(host, "://") != NULL ? host : psprintf("https://%s", host);
}

static QpsscaleLink
from_oidc(QpsscaleBorrowing *borrowing, QpsscaleSupply **supply)
{
	QpsscaleSupplyOrder order = {
		.source = &qs_credential_byteplus_oidc,
		.endpoint = sts_endpoint(borrowing),
		.role = qpsscale_first(borrowing->oidc_role_trn, "BYTEPLUS_OIDC_ROLE_TRN"),
		.session_name = qpsscale_variable("BYTEPLUS_OIDC_ROLE_SESSION_NAME"),
		.policy = qpsscale_variable("BYTEPLUS_OIDC_ROLE_POLICY"),
		.token_file = qpsscale_first(borrowing->oidc_token_file,
							"BYTEPLUS_OIDC_TOKEN_FILE"),
		.ca_file = borrowing->ca_file
	};

	if (order.role == NULL && order.token_file == NULL)
		return LINK_ABSENT;
	if (order.role == NULL || order.token_file == NULL)
		return qpsscale_broken(borrowing, "an OIDC role needs both its resource name (oidc_role_trn or BYTEPLUS_OIDC_ROLE_TRN) and a token file (oidc_token_file or BYTEPLUS_OIDC_TOKEN_FILE)");
	if (order.token_file[0] != '/')
		return qpsscale_broken(borrowing, "the path of the OIDC token file is not absolute");
	borrowing->problem[0] = '\0';
	*supply = qpsscale_supply(&order);
	return LINK_THERE;
}

static const char *
cli_file(const QpsscaleBorrowing *borrowing)
{
	const char *named = qpsscale_first(borrowing->cli_config_file,
							  "BYTEPLUS_CLI_CONFIG_FILE");
	const char *home = qpsscale_variable("HOME");

	if (named != NULL)
		return named;
	return home == NULL || home[0] != '/' ? NULL :
		psprintf("%s/.byteplus/config.json", home);
}

static QpsscaleLink
from_file(QpsscaleBorrowing *borrowing, QsCredentials *credentials)
{
	const char *path = cli_file(borrowing);
	const char *profile = qpsscale_first(borrowing->cli_profile, "BYTEPLUS_PROFILE");
	char		problem[QPSSCALE_SECRET_PROBLEM];
	char	   *text;
	ssize_t		length;
	int64_t		expires_at_us;
	QsError		error;
	bool		ok = false;

	if (path == NULL || (access(path, F_OK) != 0 && errno == ENOENT))
		return LINK_ABSENT;
	if (path[0] != '/')
		return qpsscale_broken(borrowing, "the path of the command line tool's configuration file is not absolute");
	if (profile == NULL)
		profile = qpsscale_variable("BYTEPLUS_CLI_PROFILE");
	text = palloc(QPSSCALE_MAX_CONFIG_BYTES);
	length = qpsscale_read_secret_file(NULL, path, true, text,
									   QPSSCALE_MAX_CONFIG_BYTES, problem);
	if (length < 0)
		(void) qpsscale_broken(borrowing, problem);
	else if (!qs_credentials_from_cli_file(text, length, profile,
										   qpsscale_unix_us(GetCurrentTimestamp()),
										   credentials, &expires_at_us,
										   &error))
		(void) qpsscale_broken(borrowing, error.message);
	else
		ok = true;
	explicit_bzero(text, QPSSCALE_MAX_CONFIG_BYTES);
	pfree(text);
	return ok ? LINK_THERE : LINK_BROKEN;
}

static QpsscaleLink
from_metadata(QpsscaleBorrowing *borrowing, QpsscaleSupply **supply)
{
	const char *disabled = qpsscale_variable("BYTEPLUS_ECS_METADATA_DISABLED");
	QpsscaleSupplyOrder order = {
		.source = &qs_credential_byteplus_ecs,
		.endpoint = qpsscale_first(borrowing->metadata_endpoint,
						  "BYTEPLUS_ECS_METADATA_ENDPOINT"),
		.role = qpsscale_first(borrowing->ecs_role, "BYTEPLUS_ECS_METADATA")
	};

	if (disabled != NULL && pg_strcasecmp(disabled, "true") == 0)
		return LINK_ABSENT;
	*supply = qpsscale_supply(&order);
	return LINK_THERE;
}

static bool
borrow_one(QpsscaleBorrowing *borrowing, QsCredentials *credentials,
		   QpsscaleSupply **supply)
{
	QpsscaleLink		link;
	const char *what;

	if (strcmp(borrowing->kind, "oidc") == 0)
	{
		link = from_oidc(borrowing, supply);
		what = "neither options nor the server's environment name an OIDC role and token file";
	}
	else if (strcmp(borrowing->kind, "file") == 0)
	{
		link = from_file(borrowing, credentials);
		what = "the command line tool's configuration file does not exist";
	}
	else if (strcmp(borrowing->kind, "ecs") != 0)
	{
		link = LINK_ABSENT;
		what = "container and imds are sources of AWS; of BytePlus there are chain, oidc, file and ecs";
	}
	else
	{
		link = from_metadata(borrowing, supply);
		what = "BYTEPLUS_ECS_METADATA_DISABLED forbids it in the server's environment";
	}
	if (link == LINK_ABSENT)
		(void) qpsscale_broken(borrowing, what);
	return link == LINK_THERE;
}

static QpsscaleLink
borrow_byteplus(QpsscaleBorrowing *borrowing, QsCredentials *credentials,
				QpsscaleSupply **supply)
{
	QpsscaleLink link;

	if (strcmp(borrowing->kind, "chain") != 0)
		return borrow_one(borrowing, credentials, supply) ? LINK_THERE :
			LINK_BROKEN;
	link = qpsscale_borrow_variables(borrowing, credentials);
	if (link == LINK_ABSENT)
	{
		(void) qpsscale_broken(borrowing, "neither BYTEPLUS_ACCESS_KEY and BYTEPLUS_SECRET_KEY nor ACCESS_KEY_ID and SECRET_ACCESS_KEY are set, no OIDC role, no file of the command line tool");
		link = from_oidc(borrowing, supply);
	}
	if (link == LINK_ABSENT)
		link = from_file(borrowing, credentials);
	if (link == LINK_ABSENT)
		link = from_metadata(borrowing, supply);
	return link;
}

bool
qpsscale_borrow(QpsscaleBorrowing *borrowing, QsCredentials *credentials,
				QpsscaleSupply **supply)
{
	QpsscaleLink link;

	borrowing->problem[0] = '\0';
	if (strcmp(borrowing->provider, "kubernetes") == 0)
		return qpsscale_borrow_kubernetes(borrowing, credentials) == LINK_THERE;
	if (strcmp(borrowing->provider, "aws") == 0)
		link = qpsscale_borrow_aws(borrowing, credentials, supply);
	else
		link = borrow_byteplus(borrowing, credentials, supply);
	if (link == LINK_ABSENT)
		strlcat(borrowing->problem,
				", and the metadata service is disabled",
				sizeof(borrowing->problem));
	return link == LINK_THERE;
}
