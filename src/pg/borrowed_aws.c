/*-------------------------------------------------------------------------
 * borrowed_aws.c
 *		The credentials that this host was given by AWS: in its environment, by
 *		a token (web identity), in the files of AWS' tools, as a container or
 *		as an instance.
 *
 * Order and variables are those of AWS' SDKs ("Standardized credential
 * providers"); as with BytePlus a link that is configured and fails is the
 * end.  A profile is the exception that those make, too: one called "default"
 * that nobody asked for and that holds no credentials is no link.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "cloud/profile.h"
#include "pg/borrowing.h"

#define CONTAINER_SERVICE	"http://169.254.170.2"
#define IPV6_METADATA		"http://[fd00:ec2::254]"

/* Profiles that may lead from one to the next. */
#define MAX_PROFILES		5

/* The files of AWS' tools, as they are now. */
typedef struct Files
{
	const char *config_path;
	char	   *config;			/* buffers to be overwritten; NULL = no file */
	char	   *credentials;
	QsProfileFiles contents;
} Files;

const char *
qpsscale_token_service_region(const char *region)
{
	return qpsscale_first(qpsscale_first(region, "AWS_REGION"),
						  "AWS_DEFAULT_REGION");
}

QpsscaleSupply *
qpsscale_assume_role(const QpsscaleSupplyOrder *role,
					 const QsCredentials *credentials,
					 QpsscaleSupply *base_supply)
{
	QpsscaleSupplyOrder order = *role;

	order.source = &qs_credential_aws_assume_role;
	order.base_supply = base_supply;
	if (base_supply == NULL)
	{
		order.base = credentials;
		order.base_id = credentials->access_key_id;
	}
	return qpsscale_supply(&order);
}

static QpsscaleLink
exchange_token(QpsscaleBorrowing *borrowing, const char *role,
			   const char *session_name, const char *token_file,
			   const char *region, QpsscaleSupply **supply)
{
	QpsscaleSupplyOrder order = {
		.source = &qs_credential_aws_web_identity,
		.endpoint = borrowing->sts_endpoint,
		.role = role,
		.session_name = session_name,
		.token_file = token_file,
		.region = region,
		.dual_stack = borrowing->dual_stack,
		.ca_file = borrowing->ca_file
	};

	if (token_file[0] != '/')
		return qpsscale_broken(borrowing, "the path of the web identity token file is not absolute");
	*supply = qpsscale_supply(&order);
	return LINK_THERE;
}

static QpsscaleLink
from_token(QpsscaleBorrowing *borrowing, QpsscaleSupply **supply)
{
	const char *role = qpsscale_first(borrowing->oidc_role_arn,
									  "AWS_ROLE_ARN");
	const char *file = qpsscale_first(borrowing->oidc_token_file,
									  "AWS_WEB_IDENTITY_TOKEN_FILE");

	if (file == NULL)
		return LINK_ABSENT;
	if (role == NULL)
		return qpsscale_broken(borrowing, "a web identity token needs a role (oidc_role_arn or AWS_ROLE_ARN)");
	return exchange_token(borrowing, role,
						  qpsscale_variable("AWS_ROLE_SESSION_NAME"), file,
						  qpsscale_token_service_region(borrowing->region),
						  supply);
}

static QpsscaleLink
from_container(QpsscaleBorrowing *borrowing, QpsscaleSupply **supply)
{
	const char *relative =
		qpsscale_variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	QpsscaleSupplyOrder order = {
		.source = &qs_credential_aws_container,
		.endpoint = qpsscale_variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
		.token_file = qpsscale_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
		.ca_file = borrowing->ca_file
	};

	if (relative != NULL)
		order.endpoint = psprintf("%s%s%s", CONTAINER_SERVICE,
								  relative[0] == '/' ? "" : "/", relative);
	if (order.endpoint == NULL)
		return LINK_ABSENT;
	if (order.token_file == NULL &&
		qpsscale_variable("AWS_CONTAINER_AUTHORIZATION_TOKEN") != NULL)
		order.token_variable = "AWS_CONTAINER_AUTHORIZATION_TOKEN";
	if (order.token_file != NULL && order.token_file[0] != '/')
		return qpsscale_broken(borrowing, "the path in AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not absolute");
	*supply = qpsscale_supply(&order);
	return LINK_THERE;
}

static QpsscaleLink
from_instance(QpsscaleBorrowing *borrowing, QpsscaleSupply **supply)
{
	const char *disabled = qpsscale_variable("AWS_EC2_METADATA_DISABLED");
	const char *mode =
		qpsscale_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
	QpsscaleSupplyOrder order = {
		.source = &qs_credential_aws_imds,
		.endpoint = qpsscale_first(borrowing->metadata_endpoint,
								   "AWS_EC2_METADATA_SERVICE_ENDPOINT")
	};

	if (disabled != NULL && pg_strcasecmp(disabled, "true") == 0)
		return LINK_ABSENT;
	if (order.endpoint == NULL && mode != NULL &&
		pg_strcasecmp(mode, "IPv6") == 0)
		order.endpoint = IPV6_METADATA;
	*supply = qpsscale_supply(&order);
	return LINK_THERE;
}

/* ----------
 * Profiles
 * ----------
 */
static const char *
file_of(const char *option, const char *name, const char *below_home)
{
	const char *named = qpsscale_first(option, name);
	const char *home = qpsscale_variable("HOME");

	if (named != NULL)
		return named;
	return home == NULL || home[0] != '/' ? NULL :
		psprintf("%s/%s", home, below_home);
}

/* One of the files: ABSENT where there is none. */
static QpsscaleLink
read_file(QpsscaleBorrowing *borrowing, const char *path, bool confidential,
		  char **text, size_t *length)
{
	char		problem[QPSSCALE_SECRET_PROBLEM];
	ssize_t		got;

	if (path == NULL || (access(path, F_OK) != 0 && errno == ENOENT))
		return LINK_ABSENT;
	if (path[0] != '/')
		return qpsscale_broken(borrowing, "the path of a file of AWS' tools is not absolute");
	*text = palloc(QPSSCALE_MAX_CONFIG_BYTES);
	got = qpsscale_read_secret_file(NULL, path, confidential, *text,
									QPSSCALE_MAX_CONFIG_BYTES, problem);
	if (got < 0)
		return qpsscale_broken(borrowing, problem);
	*length = got;
	return LINK_THERE;
}

static QpsscaleLink
read_files(QpsscaleBorrowing *borrowing, Files *files)
{
	const char *path = file_of(borrowing->cli_credentials_file,
							   "AWS_SHARED_CREDENTIALS_FILE",
							   ".aws/credentials");
	QpsscaleLink credentials;
	QpsscaleLink config;

	files->config_path = file_of(borrowing->cli_config_file,
								 "AWS_CONFIG_FILE", ".aws/config");
	credentials = read_file(borrowing, path, true, &files->credentials,
							&files->contents.credentials_length);
	if (credentials == LINK_BROKEN)
		return LINK_BROKEN;
	files->contents.credentials = files->credentials;
	config = read_file(borrowing, files->config_path, false, &files->config,
					   &files->contents.config_length);
	files->contents.config = files->config;
	return config == LINK_ABSENT ? credentials : config;
}

static void
forget_files(Files *files)
{
	if (files->config != NULL)
		explicit_bzero(files->config, QPSSCALE_MAX_CONFIG_BYTES);
	if (files->credentials != NULL)
		explicit_bzero(files->credentials, QPSSCALE_MAX_CONFIG_BYTES);
}

/* A configuration may be read by others as long as no key is in it. */
static QpsscaleLink
take_keys(QpsscaleBorrowing *borrowing, const Files *files,
		  const QsProfile *profile, QsCredentials *credentials)
{
	char	   *text = NULL;
	size_t		length;
	QpsscaleLink link = LINK_THERE;

	if (profile->keys_in_config)
	{
		link = read_file(borrowing, files->config_path, true, &text, &length);
		if (text != NULL)
			explicit_bzero(text, QPSSCALE_MAX_CONFIG_BYTES);
		if (link == LINK_ABSENT)
			link = qpsscale_broken(borrowing, "a file of AWS' tools has vanished");
	}
	if (link == LINK_THERE)
		*credentials = profile->credentials;
	return link;
}

static QpsscaleLink follow(QpsscaleBorrowing *borrowing, const Files *files,
						   const char *name, int depth,
						   QsCredentials *credentials,
						   QpsscaleSupply **supply);

/* Whose credentials assume the profile's role. */
static QpsscaleLink
find_base(QpsscaleBorrowing *borrowing, const Files *files,
		  const QsProfile *profile, const char *name, int depth,
		  QsCredentials *credentials, QpsscaleSupply **supply)
{
	const char *source = profile->credential_source;

	if (strcmp(profile->source_profile, name) == 0 &&
		profile->credentials.access_key_id[0] != '\0')
		return take_keys(borrowing, files, profile, credentials);
	if (profile->source_profile[0] != '\0')
		return follow(borrowing, files, profile->source_profile, depth + 1,
					  credentials, supply);
	if (strcmp(source, "Environment") == 0)
		return qpsscale_borrow_variables(borrowing, credentials);
	if (strcmp(source, "EcsContainer") == 0)
		return from_container(borrowing, supply);
	if (strcmp(source, "Ec2InstanceMetadata") == 0)
		return from_instance(borrowing, supply);
	return qpsscale_broken(borrowing, "a profile with role_arn needs source_profile, credential_source (Environment, EcsContainer or Ec2InstanceMetadata) or web_identity_token_file");
}

static const char *
or_null(const char *text)
{
	return text[0] == '\0' ? NULL : text;
}

static QpsscaleLink
assume(QpsscaleBorrowing *borrowing, const Files *files,
	   const QsProfile *profile, const char *name, int depth,
	   QsCredentials *credentials, QpsscaleSupply **supply)
{
	QpsscaleSupply *base = NULL;
	QpsscaleSupplyOrder order = {
		.endpoint = borrowing->sts_endpoint,
		.role = profile->role_arn,
		.session_name = or_null(profile->role_session_name),
		.external_id = or_null(profile->external_id),
		.region = qpsscale_token_service_region(borrowing->region),
		.dual_stack = borrowing->dual_stack,
		.ca_file = borrowing->ca_file
	};
	QpsscaleLink link;

	if (order.region == NULL)
		order.region = or_null(profile->region);
	if (profile->not_for_servers != NULL)
		return qpsscale_broken(borrowing,
							   psprintf("the profile has %s, which needs a person or a program",
										profile->not_for_servers));
	if (profile->web_identity_token_file[0] != '\0')
		return exchange_token(borrowing, profile->role_arn, order.session_name,
							  profile->web_identity_token_file, order.region,
							  supply);
	link = find_base(borrowing, files, profile, name, depth, credentials,
					 &base);
	if (link == LINK_ABSENT)
		return qpsscale_broken(borrowing, "the profile's role has a source that holds no credentials here");
	if (link == LINK_THERE)
	{
		*supply = qpsscale_assume_role(&order, credentials, base);
		explicit_bzero(credentials, sizeof(*credentials));
	}
	return link;
}

static QpsscaleLink
follow(QpsscaleBorrowing *borrowing, const Files *files, const char *name,
	   int depth, QsCredentials *credentials, QpsscaleSupply **supply)
{
	QsProfile  *profile;
	QpsscaleLink link;
	QsError		error;

	if (depth >= MAX_PROFILES)
		return qpsscale_broken(borrowing, "profiles lead to one another in a circle, or through too many");
	profile = palloc0(sizeof(QsProfile));
	if (!qs_profile_read(&files->contents, name, profile, &error))
		link = qpsscale_broken(borrowing, error.message);
	else if (profile->role_arn[0] != '\0')
		link = assume(borrowing, files, profile, name, depth, credentials,
					  supply);
	else if (profile->credentials.access_key_id[0] != '\0')
		link = take_keys(borrowing, files, profile, credentials);
	else if (profile->not_for_servers != NULL)
		link = qpsscale_broken(borrowing,
							   psprintf("the profile has %s, which needs a person or a program",
										profile->not_for_servers));
	else
		link = LINK_ABSENT;
	/* a source_profile's region is that of its token service */
	if (depth == 0)
		strlcpy(borrowing->found_region, profile->region,
				sizeof(borrowing->found_region));
	explicit_bzero(profile, sizeof(*profile));
	pfree(profile);
	return link;
}

static bool
has_profile(const Files *files, const char *name)
{
	QsProfile  *profile = palloc0(sizeof(QsProfile));
	QsError		error;
	bool		found = qs_profile_read(&files->contents, name, profile,
										&error) ||
		strcmp(error.code, "no_profile") != 0;

	explicit_bzero(profile, sizeof(*profile));
	pfree(profile);
	return found;
}

static QpsscaleLink
from_profile(QpsscaleBorrowing *borrowing, QsCredentials *credentials,
			 QpsscaleSupply **supply)
{
	const char *named = qpsscale_first(qpsscale_first(borrowing->cli_profile,
													  "AWS_PROFILE"),
									   "AWS_DEFAULT_PROFILE");
	Files		files = {0};
	QpsscaleLink link = read_files(borrowing, &files);

	if (link == LINK_THERE &&
		(named != NULL || has_profile(&files, "default")))
		link = follow(borrowing, &files, named != NULL ? named : "default", 0,
					  credentials, supply);
	else if (link == LINK_THERE)
		link = LINK_ABSENT;
	if (link == LINK_ABSENT && named != NULL)
		link = qpsscale_broken(borrowing, "the profile that is named holds no credentials, or there are no files of AWS' tools");
	forget_files(&files);
	return link;
}

static QpsscaleLink
borrow_one(QpsscaleBorrowing *borrowing, QsCredentials *credentials,
		   QpsscaleSupply **supply)
{
	QpsscaleLink link;
	const char *what;

	if (strcmp(borrowing->kind, "oidc") == 0)
	{
		link = from_token(borrowing, supply);
		what = "neither options nor the server's environment name a web identity token file";
	}
	else if (strcmp(borrowing->kind, "file") == 0)
	{
		link = from_profile(borrowing, credentials, supply);
		what = "the files of AWS' tools do not exist, or have no default profile with credentials";
	}
	else if (strcmp(borrowing->kind, "container") == 0)
	{
		link = from_container(borrowing, supply);
		what = "neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set in the server's environment";
	}
	else if (strcmp(borrowing->kind, "imds") == 0)
	{
		link = from_instance(borrowing, supply);
		what = "AWS_EC2_METADATA_DISABLED forbids it in the server's environment";
	}
	else
	{
		link = LINK_ABSENT;
		what = "ecs is a source of BytePlus; of AWS there are chain, oidc, file, container and imds";
	}
	return link == LINK_ABSENT ? qpsscale_broken(borrowing, what) : link;
}

QpsscaleLink
qpsscale_borrow_aws(QpsscaleBorrowing *borrowing, QsCredentials *credentials,
					QpsscaleSupply **supply)
{
	QpsscaleLink link;

	if (strcmp(borrowing->kind, "chain") != 0)
		return borrow_one(borrowing, credentials, supply);
	link = qpsscale_borrow_variables(borrowing, credentials);
	if (link == LINK_ABSENT)
		link = from_token(borrowing, supply);
	if (link == LINK_ABSENT)
		link = from_profile(borrowing, credentials, supply);
	if (link == LINK_ABSENT)
		link = from_container(borrowing, supply);
	if (link == LINK_ABSENT)
	{
		(void) qpsscale_broken(borrowing, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, no web identity, no profile, no container's credentials");
		link = from_instance(borrowing, supply);
	}
	return link;
}
