/*-------------------------------------------------------------------------
 * account_index.c
 *		The accounts of a cycle, found by who uses them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/account_index.h"
#include "pg/credential_supply.h"
#include "pg/explain.h"
#include "pg/user_sql.h"
#include "pg/worker.h"

typedef struct AccountKey
{
	char		owner[NAMEDATALEN];
	char		account[NAMEDATALEN];
	char		provider[32];
} AccountKey;

typedef struct AccountEntry
{
	AccountKey	key;
	QpsscaleAccount *account;
} AccountEntry;

static void
account_key(AccountKey *key, const char *owner, const char *account,
			const char *provider)
{
	memset(key, 0, sizeof(*key));
	strlcpy(key->owner, owner, sizeof(key->owner));
	strlcpy(key->account, account == NULL ? "" : account,
			sizeof(key->account));
	strlcpy(key->provider, provider, sizeof(key->provider));
}

HTAB *
qpsscale_accounts_resolve(const StoreSnapshot *snapshot,
						  const QpsscaleSettings *settings)
{
	HASHCTL		control = {0};
	HTAB	   *accounts;

	control.keysize = sizeof(AccountKey);
	control.entrysize = sizeof(AccountEntry);
	control.hcxt = CurrentMemoryContext;
	accounts = hash_create("qpsscale accounts", 32, &control,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int i = 0; i < snapshot->n_accounts; i++)
	{
		QpsscaleAccount *account = snapshot->accounts[i];
		AccountKey	key;
		AccountEntry *entry;

		account_key(&key, account->owner, account->name, account->provider);
		entry = hash_search(accounts, &key, HASH_ENTER, NULL);
		entry->account = account;
		qpsscale_account_resolve(account, settings->secrets_dir,
								 settings->region);
	}
	return accounts;
}

static QpsscaleAccount *
find_account(HTAB *accounts, const char *owner, const char *account,
			 const char *provider)
{
	AccountKey	key;
	AccountEntry *entry;

	account_key(&key, owner, account, provider);
	entry = hash_search(accounts, &key, HASH_FIND, NULL);
	return entry == NULL ? NULL : entry->account;
}

QpsscaleAccount *
qpsscale_account_of(HTAB *accounts, const QpsscaleGroup *group)
{
	return find_account(accounts, group->owner, group->account_name,
						group->provider_name);
}

static const char *
resolve_source(HTAB *accounts, const QpsscaleGroup *group,
			   GroupSignal *source)
{
	bool		of_group = strcmp(source->source, "cloud") == 0;
	QpsscaleAccount *account;

	source->provider = of_group ? group->provider :
		qpsscale_provider_by_name(source->source);
	if (source->provider == NULL || source->provider->observe_signals == NULL)
		return psprintf("\"%s\" is not a source of signals",
						of_group ? group->provider_name : source->source);
	account = of_group ? qpsscale_account_of(accounts, group) :
		find_account(accounts, group->owner, source->account_name,
					 source->source);
	if (account == NULL)
		return "the account changed while the cycle was being prepared";
	if (!account->usable && !account->waiting)
		return account->problem;
	source->account = account;
	return NULL;
}

void
qpsscale_sources_resolve(HTAB *accounts, QpsscaleGroup *group)
{
	for (int i = 0; i < group->n_signals; i++)
	{
		GroupSignal *source = &group->sources[i];
		const char *problem = resolve_source(accounts, group, source);

		source->target.reading.at_us = QS_NEVER;
		if (problem != NULL)
			qs_error_set(&source->target.reading_error, QS_ERROR_CREDENTIAL,
						 "", "%s", problem);
	}
}

bool
qpsscale_group_waits(const QpsscaleGroup *group)
{
	if (group->account->waiting)
		return true;
	for (int i = 0; i < group->n_signals; i++)
		if (group->sources[i].account != NULL &&
			group->sources[i].account->waiting)
			return true;
	return false;
}

/* The wait is over: who has got none says so. */
void
qpsscale_sources_arrived(QpsscaleGroup *group)
{
	for (int i = 0; i < group->n_signals; i++)
	{
		GroupSignal *source = &group->sources[i];

		if (source->account == NULL || source->account->usable)
			continue;
		qs_error_set(&source->target.reading_error, QS_ERROR_CREDENTIAL, "",
					 "%s", source->account->problem != NULL ?
					 source->account->problem :
					 "no credentials before the cycle's deadline");
		source->account = NULL;
	}
}

void
qpsscale_accounts_cleanse(StoreSnapshot *snapshot)
{
	for (int i = 0; i < snapshot->n_accounts; i++)
		qs_account_cleanse(&snapshot->accounts[i]->cloud);
}

const char *
qpsscale_account_problem(const QpsscaleAccount *account,
						 const QpsscaleGroup *group)
{
	if (account == NULL)
		return "the account changed while the cycle was being prepared";
	if (!account->usable && !account->waiting)
		return account->problem;
	if (group->provider == NULL)
		return psprintf("provider \"%s\" is not known",
						group->provider_name);
	if (!group->provider->has_no_regions && group->region == NULL &&
		account->cloud.region == NULL)
		return "neither the group nor its account names a region";
	return NULL;
}

/* Of credentials that all groups still have: nobody's error but our own. */
void
qpsscale_accounts_tell(void)
{
	const char *complaint;
	ErrorData  *error;

	while ((complaint = qpsscale_supplies_complaint()) != NULL)
	{
		char	   *message = pstrdup(complaint);

		qpsscale_localize(message);
		ereport(qpsscale_elevel(WARNING), (errmsg("qpsscale: %s", message)));
		if (!qpsscale_store_error("credentials", message, &error))
			ereport(qpsscale_elevel(ERROR),
					(errcode(error->sqlerrcode),
					 errmsg("qpsscale could not record an error: %s",
							error->message)));
	}
}
