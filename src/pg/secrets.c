/*-------------------------------------------------------------------------
 * secrets.c
 *		Accounts of a cycle: options from the catalog, secrets from files and
 *		the environment, and what is remembered about a region.
 *
 * Runs outside of any transaction.  A secret goes from the file or variable
 * (secret_reference.c) into QsAccount.credentials and nowhere else.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/borrowed_credentials.h"
#include "pg/secret_reference.h"
#include "pg/secrets.h"
#include "pg/user_sql.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct RegionKey
{
	char		provider[32];
	char		account[NAMEDATALEN];
	char		region[68];
} RegionKey;

typedef struct RegionEntry
{
	RegionKey	key;
	QsRegionMemory memory;
} RegionEntry;

static HTAB *regions = NULL;

QsRegionMemory *
qpsscale_region_memory(const QpsscaleAccount *account, const char *region)
{
	RegionKey	key;
	RegionEntry *entry;
	bool		found;

	if (regions == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(RegionKey);
		control.entrysize = sizeof(RegionEntry);
		control.hcxt = TopMemoryContext;
		regions = hash_create("qpsscale regions", 32, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&key, 0, sizeof(key));
	strlcpy(key.provider, account->provider, sizeof(key.provider));
	strlcpy(key.account, account->name == NULL ? "" : account->name,
			sizeof(key.account));
	strlcpy(key.region, region, sizeof(key.region));
	entry = hash_search(regions, &key, HASH_ENTER, &found);
	if (!found)
		memset(&entry->memory, 0, sizeof(entry->memory));
	return &entry->memory;
}

static const char *
option(const QpsscaleAccount *account, const char *name)
{
	for (int i = 0; i < account->n_options; i++)
		if (strcmp(account->options[i].name, name) == 0 &&
			account->options[i].value[0] != '\0')
			return account->options[i].value;
	return NULL;
}

static bool
refuse(QpsscaleAccount *account, const char *fmt,...) pg_attribute_printf(2, 3);

static bool
refuse(QpsscaleAccount *account, const char *fmt,...)
{
	char		text[1024];
	va_list		arguments;

	va_start(arguments, fmt);
	vsnprintf(text, sizeof(text), fmt, arguments);
	va_end(arguments);
	account->problem = pstrdup(text);
	account->usable = false;
	return false;
}

/*
 * The validator checked who may write which kind of reference; the rights are
 * checked again here, because owners and rights change after that.
 */
static bool
read_secret(QpsscaleAccount *account, const char *what, bool required,
			bool pem, char *target, size_t target_size)
{
	const char *reference = option(account, what);
	char		problem[QPSSCALE_SECRET_PROBLEM];
	QpsscaleSecretRights rights = {
		.secrets_dir = account->secrets_dir,
		.trusted = account->owner_is_superuser ||
		account->server_owner_is_superuser,
		.roles = {account->owner, account->server_owner}
	};

	target[0] = '\0';
	if (reference == NULL)
		return !required ||
			refuse(account, "the user mapping of account \"%s\" has no %s",
				   account->name, what);
	return (pem ? qpsscale_read_pem_reference(reference, &rights, target,
											  target_size, problem) :
			qpsscale_read_secret_reference(reference, &rights, target,
										   target_size, problem)) ||
		refuse(account, "%s of account \"%s\": %s", what, account->name,
			   problem);
}

static bool
resolve_secret(QpsscaleAccount *account, const char *what, bool required,
			   char *target, size_t target_size)
{
	return read_secret(account, what, required, false, target, target_size);
}

/* The three that make an account's static key, all or none. */
static bool
resolve_keys(QpsscaleAccount *account)
{
	QsCredentials *credentials = &account->cloud.credentials;

	return resolve_secret(account, "access_key_id", true,
						  credentials->access_key_id,
						  sizeof(credentials->access_key_id)) &&
		resolve_secret(account, "secret_access_key", true,
					   credentials->secret_access_key,
					   sizeof(credentials->secret_access_key)) &&
		resolve_secret(account, "session_token", false,
					   credentials->session_token,
					   sizeof(credentials->session_token));
}

/* A bearer token, as the header that shows it; none leaves it empty. */
static bool
resolve_token(QpsscaleAccount *account)
{
	static const char scheme[] = "Bearer ";
	char	   *header = account->cloud.credentials.authorization;
	size_t		length = strlen(scheme);

	header[0] = '\0';
	if (option(account, "token") == NULL)
		return true;
	if (!resolve_secret(account, "token", true, header + length,
						sizeof(account->cloud.credentials.authorization) - length))
		return false;
	memcpy(header, scheme, length);
	return true;
}

/* What the TLS handshake shows of us: a certificate and its key, or neither. */
static bool
resolve_client_certificate(QpsscaleAccount *account)
{
	QsCredentials *credentials = &account->cloud.credentials;
	bool		has_one = option(account, "client_certificate") != NULL ||
		option(account, "client_key") != NULL;

	if (!read_secret(account, "client_certificate", has_one, true,
					 credentials->client_certificate, QS_PEM_MAX) ||
		!read_secret(account, "client_key", has_one, true,
					 credentials->client_key, QS_PEM_MAX))
		return false;
	if (has_one)
	{
		strlcat(credentials->client_certificate, "\n",
				sizeof(credentials->client_certificate));
		strlcat(credentials->client_certificate, credentials->client_key,
				sizeof(credentials->client_certificate));
	}
	return true;
}

/* Kubernetes is asked without signing: by token, by certificate, or both. */
static bool
resolve_shown(QpsscaleAccount *account)
{
	if (option(account, "token") == NULL &&
		option(account, "client_certificate") == NULL)
		return refuse(account, "the user mapping of account \"%s\" has neither a token nor a client_certificate",
					  account->name);
	if (account->cloud.endpoint == NULL)
		return refuse(account, "account \"%s\" has no endpoint, the address of its API server",
					  account->name);
	return resolve_token(account) && resolve_client_certificate(account);
}

/* A name and a password, as the header that shows them. */
static bool
resolve_password(QpsscaleAccount *account)
{
	const char *user = option(account, "username");
	char		password[QS_SECRET_MAX];
	QsError		error;
	bool		ok;

	if (user == NULL)
		return refuse(account, "the user mapping of account \"%s\" has a password, and no username",
					  account->name);
	ok = resolve_secret(account, "password", true, password, sizeof(password));
	if (ok && !qs_credentials_set_basic(&account->cloud.credentials, user,
										password, &error))
		ok = refuse(account, "password of account \"%s\": %s", account->name,
					error.message);
	explicit_bzero(password, sizeof(password));
	return ok;
}

/* Prometheus may be open to all who reach it: nothing at all is in order. */
static bool
resolve_prometheus(QpsscaleAccount *account)
{
	bool		has_password = option(account, "username") != NULL ||
		option(account, "password") != NULL;

	if (account->cloud.endpoint == NULL)
		return refuse(account, "account \"%s\" has no endpoint, the address of Prometheus",
					  account->name);
	if (has_password && option(account, "token") != NULL)
		return refuse(account, "the user mapping of account \"%s\" has both a token and a password",
					  account->name);
	return (has_password ? resolve_password(account) :
			resolve_token(account)) && resolve_client_certificate(account);
}

/* What an account has of its own, by its provider. */
static bool
resolve_own(QpsscaleAccount *account)
{
	if (strcmp(account->provider, "prometheus") == 0)
		return resolve_prometheus(account);
	if (strcmp(account->provider, "kubernetes") == 0)
		return resolve_shown(account);
	return resolve_keys(account);
}

/* Takes what the supply has, or its problem; waiting says that neither is
 * there yet. */
static void
look_at_supply(QpsscaleAccount *account)
{
	account->waiting = false;
	switch (qpsscale_supply_state(account->supply))
	{
		case SUPPLY_READY:
			qpsscale_supply_take(account->supply, &account->cloud.credentials);
			account->cloud.serial = qpsscale_supply_serial(account->supply);
			account->usable = true;
			break;
		case SUPPLY_FETCHING:
			account->waiting = true;
			break;
		case SUPPLY_FAILED:
			refuse(account, "credentials of account \"%s\": %s%s%s",
				   account->cloud.name, account->absent,
				   account->absent[0] == '\0' ? "" : "; ",
				   qpsscale_supply_problem(account->supply));
			break;
	}
}

bool
qpsscale_account_arrived(QpsscaleAccount *account)
{
	if (account->waiting)
		look_at_supply(account);
	return !account->waiting;
}

static bool
resolve_borrowed(QpsscaleAccount *account, const char *kind)
{
	QpsscaleBorrowing borrowing = {
		.provider = account->provider,
		.kind = kind,
		.secrets_dir = account->secrets_dir,
		.metadata_endpoint = option(account, "metadata_endpoint"),
		.sts_endpoint = option(account, "sts_endpoint"),
		.ecs_role = option(account, "ecs_role"),
		.oidc_role_trn = option(account, "oidc_role_trn"),
		.oidc_token_file = option(account, "oidc_token_file"),
		.cli_config_file = option(account, "cli_config_file"),
		.cli_credentials_file = option(account, "cli_credentials_file"),
		.cli_profile = option(account, "cli_profile"),
		.oidc_role_arn = option(account, "oidc_role_arn"),
		.region = option(account, "region"),
		.dual_stack = account->cloud.dual_stack,
		.service_account_dir = option(account, "service_account_dir"),
		.endpoint = account->cloud.endpoint,
		.ca_file = account->cloud.ca_file
	};

	if (!account->owner_is_superuser && !account->server_owner_is_superuser)
		return account->name == NULL ?
			refuse(account, "only groups of a superuser may use the server's own credentials: give the group an account, or owner \"%s\" the right",
				   account->owner) :
			refuse(account, "account \"%s\" may not use the server's own credentials: neither its owner nor that of the group is a superuser",
				   account->name);
	if (!qpsscale_borrow(&borrowing, &account->cloud.credentials,
						 &account->supply))
		return account->name == NULL ?
			refuse(account, "%s", borrowing.problem) :
			refuse(account, "credentials of account \"%s\": %s",
				   account->name, borrowing.problem);
	account->absent = pstrdup(borrowing.problem);
	account->cloud.endpoint = borrowing.endpoint;
	account->cloud.ca_file = borrowing.ca_file;
	if (account->cloud.region == NULL && borrowing.found_region[0] != '\0')
		account->cloud.region = pstrdup(borrowing.found_region);
	return true;
}

/*
 * The role that the account names, assumed by what was found so far.  Whoever
 * owns the server names the role, so lent credentials assume only one that a
 * superuser named.
 */
static bool
resolve_role(QpsscaleAccount *account, bool borrowed)
{
	QpsscaleSupplyOrder order = {
		.endpoint = option(account, "sts_endpoint"),
		.role = option(account, "role_arn"),
		.session_name = option(account, "role_session_name"),
		.external_id = option(account, "external_id"),
		.region = qpsscale_token_service_region(option(account, "region")),
		.dual_stack = account->cloud.dual_stack,
		.ca_file = account->cloud.ca_file
	};

	if (order.role == NULL)
		return true;
	if (strcmp(account->provider, "aws") != 0)
		return refuse(account, "account \"%s\" has a role_arn, which only accounts of provider aws can have",
					  account->name);
	if (borrowed && !account->server_owner_is_superuser)
		return refuse(account, "account \"%s\" may not assume a role with the server's own credentials: its owner is no superuser",
					  account->name);
	account->supply = qpsscale_assume_role(&order,
										   &account->cloud.credentials,
										   account->supply);
	explicit_bzero(&account->cloud.credentials,
				   sizeof(account->cloud.credentials));
	return true;
}

/* Credentials from wherever the account says; reads what can be read. */
static bool
resolve_credentials(QpsscaleAccount *account)
{
	const char *kind = account->name == NULL ? "chain" :
		option(account, "credentials");

	account->waiting = false;
	account->supply = NULL;
	account->absent = "";
	if (kind != NULL && strcmp(account->provider, "prometheus") == 0)
		return refuse(account, "the server has no credentials of its own for Prometheus: give its account a token, a username and password, or nothing");
	if (!(kind != NULL ? resolve_borrowed(account, kind) :
		  resolve_own(account)) ||
		!resolve_role(account, kind != NULL))
		return false;
	if (account->supply == NULL)
		return true;
	look_at_supply(account);
	return account->usable;
}

static bool
are_the_same(const QsCredentials *a, const QsCredentials *b)
{
	return strcmp(a->access_key_id, b->access_key_id) == 0 &&
		strcmp(a->secret_access_key, b->secret_access_key) == 0 &&
		strcmp(a->session_token, b->session_token) == 0 &&
		strcmp(a->authorization, b->authorization) == 0 &&
		strcmp(a->client_certificate, b->client_certificate) == 0 &&
		strcmp(a->client_key, b->client_key) == 0;
}

/* What was not fetched is told from its predecessor by what it says. */
static QpsscaleRenewal
read_again(QpsscaleAccount *account)
{
	QsCredentials *refused = palloc(sizeof(QsCredentials));
	bool		other;

	*refused = account->cloud.credentials;
	other = resolve_credentials(account) &&
		!are_the_same(refused, &account->cloud.credentials);
	if (!other)
	{
		account->cloud.credentials = *refused;
		account->supply = NULL;
		account->waiting = false;
		account->usable = true;
	}
	explicit_bzero(refused, sizeof(*refused));
	pfree(refused);
	return other ? RENEWAL_DONE : RENEWAL_NONE;
}

QpsscaleRenewal
qpsscale_account_renew(QpsscaleAccount *account, int64 serial)
{
	QpsscaleRenewal renewal;

	if (account->cloud.serial != serial)
		return RENEWAL_DONE;
	if (account->renewed && !account->waiting)
		return RENEWAL_NONE;
	if (account->supply == NULL)
	{
		account->renewed = true;
		renewal = read_again(account);
		if (renewal == RENEWAL_DONE)
			qs_account_renewed(&account->cloud, account->cloud.serial + 1);
		return renewal;
	}
	if (account->renewed)
		look_at_supply(account);
	else
	{
		/* resolving is what fetches: it has the keys that assume a role */
		account->renewed = true;
		qpsscale_supply_refused(account->supply, serial);
		account->usable = resolve_credentials(account);
	}
	if (account->supply == NULL && account->usable)
	{
		qs_account_renewed(&account->cloud, serial + 1);
		return RENEWAL_DONE;
	}
	if (account->waiting)
		return RENEWAL_WAITING;
	if (!account->usable || account->cloud.serial == serial)
		return RENEWAL_NONE;
	qs_account_renewed(&account->cloud, account->cloud.serial);
	return RENEWAL_DONE;
}

static bool
check_rights(QpsscaleAccount *account)
{
	const char *declared = option(account, "provider");

	if (!account->owner_exists)
		return refuse(account, "the owner \"%s\" of the group does not exist",
					  account->owner);
	if (account->name == NULL)
		return true;
	if (!account->exists)
		return refuse(account, "account \"%s\" does not exist (CREATE SERVER ... FOREIGN DATA WRAPPER qpsscale makes one)",
					  account->name);
	if (!account->usage)
		return refuse(account, "role \"%s\" may not use account \"%s\" (GRANT USAGE ON FOREIGN SERVER gives the right)",
					  account->owner, account->name);
	if (!account->mapped && strcmp(account->provider, "prometheus") != 0)
		return refuse(account, "account \"%s\" has no user mapping for \"%s\" or PUBLIC",
					  account->name, account->owner);
	if (declared != NULL && strcmp(declared, account->provider) != 0)
		return refuse(account, "account \"%s\" is of provider %s, the group of %s",
					  account->name, declared, account->provider);
	return true;
}

/* Of groups that name none: the account's, then that which the cloud's own
 * tools find in the environment, then the setting. */
static const char *
default_region(const QpsscaleAccount *account, const char *setting)
{
	static const char *const variables[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
	const char *region = option(account, "region");

	if (region != NULL)
		return region;
	if (strcmp(account->provider, "aws") == 0)
		for (size_t i = 0; i < lengthof(variables); i++)
			if ((region = getenv(variables[i])) != NULL && region[0] != '\0')
				return region;
	/* a reload frees it */
	return setting == NULL || setting[0] == '\0' ? NULL : pstrdup(setting);
}

void
qpsscale_account_resolve(QpsscaleAccount *account, const char *secrets_dir,
						 const char *region_setting)
{
	QsAccount  *cloud = &account->cloud;
	const char *limits = option(account, "rate_limits");
	const char *dual_stack = option(account, "dual_stack");

	cloud->name = account->name == NULL ? "default" : account->name;
	cloud->provider = account->provider;
	cloud->region = default_region(account, region_setting);
	cloud->endpoint = option(account, "endpoint");
	cloud->autoscaling_endpoint = option(account, "autoscaling_endpoint");
	cloud->monitor_endpoint = option(account, "monitor_endpoint");
	cloud->autoscaling_service = option(account, "autoscaling_service");
	cloud->monitor_service = option(account, "monitor_service");
	cloud->ca_file = option(account, "ca_file");
	cloud->tenant = option(account, "tenant");
	cloud->rate_limits_off = limits != NULL && strcmp(limits, "off") == 0;
	cloud->dual_stack = dual_stack != NULL && strcmp(dual_stack, "on") == 0;

	account->secrets_dir = secrets_dir;
	account->usable = false;
	if (!check_rights(account))
		return;
	/* what the owner may do in this database needs no credentials */
	account->usable = strcmp(account->provider, QPSSCALE_USER_SQL_PROVIDER) == 0 ||
		resolve_credentials(account);
}
