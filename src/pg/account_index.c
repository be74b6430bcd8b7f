/*-------------------------------------------------------------------------
 * account_index.c
 *		The accounts of a cycle, found by who uses them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/account_index.h"
#include "pg/credential_supply.h"
#include "pg/explain.h"
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

QpsscaleAccount *
qpsscale_account_of(HTAB *accounts, const QpsscaleGroup *group)
{
	AccountKey	key;
	AccountEntry *entry;

	account_key(&key, group->owner, group->account_name,
				group->provider_name);
	entry = hash_search(accounts, &key, HASH_FIND, NULL);
	return entry == NULL ? NULL : entry->account;
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
	if (group->region == NULL && account->cloud.region == NULL)
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
