/*-------------------------------------------------------------------------
 * credential_supply.h
 *		Temporary credentials that this process has fetched, kept until they
 *		expire and renewed before that.
 *
 * A supply is one source with one configuration, however many accounts and
 * groups use it: one fetch serves them all.  Fetching goes on while the
 * worker waits, in a cycle or between two; nobody but those who have no
 * credentials yet waits for it.  What is kept is overwritten when it is
 * replaced and when the process ends.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CREDENTIAL_SUPPLY_H
#define QPSSCALE_CREDENTIAL_SUPPLY_H

#include "postgres.h"

#include "cloud/credential_source.h"

typedef struct QpsscaleSupply QpsscaleSupply;

/* What a supply is made of; members may be NULL. */
typedef struct QpsscaleSupplyOrder
{
	const QsCredentialSource *source;
	const char *endpoint;
	const char *role;
	const char *session_name;
	const char *external_id;
	const char *policy;
	const char *region;
	bool		dual_stack;		/* of AWS' token service */
	const char *token_file;		/* absolute; read for each fetch */
	const char *token_variable; /* likewise, where there is no file */
	const char *ca_file;

	/*
	 * Whose credentials assume the role: those of another supply, or these,
	 * which are not kept and told from others by base_id.
	 */
	QpsscaleSupply *base_supply;
	const QsCredentials *base;
	const char *base_id;
} QpsscaleSupplyOrder;

typedef enum QpsscaleSupplyState
{
	SUPPLY_READY,
	SUPPLY_FETCHING,			/* and nothing usable until then */
	SUPPLY_FAILED				/* see the problem */
} QpsscaleSupplyState;

/*
 * The supply of that order, made when it is the first of its kind.  Where it
 * has no credentials, or they should be renewed, a fetch is begun.
 */
extern QpsscaleSupply *qpsscale_supply(const QpsscaleSupplyOrder *order);
extern QpsscaleSupplyState qpsscale_supply_state(const QpsscaleSupply *supply);

/* Of the last fetch that failed; "" if the last one did not. */
extern const char *qpsscale_supply_problem(const QpsscaleSupply *supply);

/* Which credentials these are: no two have the same number. */
extern int64 qpsscale_supply_serial(const QpsscaleSupply *supply);
extern void qpsscale_supply_take(const QpsscaleSupply *supply,
								 QsCredentials *credentials);

/* The cloud has refused the credentials of that number: if they are still the
 * ones that are kept, they are forgotten.  The next order fetches others. */
extern void qpsscale_supply_refused(QpsscaleSupply *supply, int64 serial);

/* Takes what the net has finished; after each wait. */
extern void qpsscale_supplies_collect(void);

/*
 * The next failure to renew credentials that are still good, told once until
 * it has worked again; NULL when there is none.  Those without credentials
 * hear of it as the problem of their account.
 */
extern const char *qpsscale_supplies_complaint(void);

#endif							/* QPSSCALE_CREDENTIAL_SUPPLY_H */
