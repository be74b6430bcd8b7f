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

#include "pg/secret_reference.h"
#include "pg/secrets.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct RegionKey
{
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
qpsscale_region_memory(const char *account, const char *region)
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
	strlcpy(key.account, account == NULL ? "" : account, sizeof(key.account));
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
	char		text[512];
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
resolve_secret(QpsscaleAccount *account, const char *what, bool required,
			   const char *secrets_dir, char *target, size_t target_size)
{
	const char *reference = option(account, what);
	char		problem[QPSSCALE_SECRET_PROBLEM];
	QpsscaleSecretRights rights = {
		.secrets_dir = secrets_dir,
		.trusted = account->owner_is_superuser ||
		account->server_owner_is_superuser,
		.roles = {account->owner, account->server_owner}
	};

	target[0] = '\0';
	if (reference == NULL)
		return !required ||
			refuse(account, "the user mapping of account \"%s\" has no %s",
				   account->name, what);
	return qpsscale_read_secret_reference(reference, &rights, target,
										  target_size, problem) ||
		refuse(account, "%s of account \"%s\": %s", what, account->name,
			   problem);
}

static const char *
lookup_environment(void *context, const char *name)
{
	return getenv(name);
}

static bool
resolve_default_chain(QpsscaleAccount *account, const char *provider)
{
	QsError		error;

	if (!account->owner_is_superuser)
		return refuse(account, "only groups of a superuser may use the server's own credentials: give the group an account, or owner \"%s\" the right",
					  account->owner);
	if (!qs_credentials_from_environment(provider, lookup_environment, NULL,
										 &account->cloud.credentials, &error))
		return refuse(account, "%s", error.message);
	return true;
}

static bool
check_rights(QpsscaleAccount *account, const char *provider)
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
	if (!account->mapped)
		return refuse(account, "account \"%s\" has no user mapping for \"%s\" or PUBLIC",
					  account->name, account->owner);
	if (declared != NULL && strcmp(declared, provider) != 0)
		return refuse(account, "account \"%s\" is of provider %s, the group of %s",
					  account->name, declared, provider);
	return true;
}

void
qpsscale_account_resolve(QpsscaleAccount *account, const char *provider,
						 const char *secrets_dir, const char *default_region)
{
	QsAccount  *cloud = &account->cloud;
	const char *limits = option(account, "rate_limits");

	cloud->name = account->name == NULL ? "default" : account->name;
	cloud->region = option(account, "region");
	if (cloud->region == NULL && default_region != NULL &&
		default_region[0] != '\0')
		cloud->region = pstrdup(default_region);	/* a reload frees it */
	cloud->endpoint = option(account, "endpoint");
	cloud->autoscaling_endpoint = option(account, "autoscaling_endpoint");
	cloud->monitor_endpoint = option(account, "monitor_endpoint");
	cloud->autoscaling_service = option(account, "autoscaling_service");
	cloud->monitor_service = option(account, "monitor_service");
	cloud->ca_file = option(account, "ca_file");
	cloud->rate_limits_off = limits != NULL && strcmp(limits, "off") == 0;

	account->usable = false;
	if (!check_rights(account, provider))
		return;
	if (account->name == NULL)
		account->usable = resolve_default_chain(account, provider);
	else
		account->usable =
			resolve_secret(account, "access_key_id", true, secrets_dir,
						   cloud->credentials.access_key_id,
						   sizeof(cloud->credentials.access_key_id)) &&
			resolve_secret(account, "secret_access_key", true, secrets_dir,
						   cloud->credentials.secret_access_key,
						   sizeof(cloud->credentials.secret_access_key)) &&
			resolve_secret(account, "session_token", false, secrets_dir,
						   cloud->credentials.session_token,
						   sizeof(cloud->credentials.session_token));
}
