/*-------------------------------------------------------------------------
 * borrowing.h
 *		What the files borrowed_*.c share.  Nobody else includes it.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_BORROWING_H
#define QPSSCALE_BORROWING_H

#include "postgres.h"

#include "pg/borrowed_credentials.h"

/* Largest configuration file of a command line tool. */
#define QPSSCALE_MAX_CONFIG_BYTES	(64 * 1024)

/* One place where credentials may be. */
typedef enum QpsscaleLink
{
	LINK_ABSENT,				/* not configured here */
	LINK_THERE,
	LINK_BROKEN					/* see the problem */
} QpsscaleLink;

/* A variable of the server's environment; NULL for none or an empty one. */
extern const char *qpsscale_variable(const char *name);

/* The option, else the variable. */
extern const char *qpsscale_first(const char *option, const char *name);

/* Sets the problem. */
extern QpsscaleLink qpsscale_broken(QpsscaleBorrowing *borrowing,
									const char *problem);

/* Keys in variables of the provider. */
extern QpsscaleLink qpsscale_borrow_variables(QpsscaleBorrowing *borrowing,
											  QsCredentials *credentials);

/* borrowed_aws.c: qpsscale_borrow() for AWS. */
extern QpsscaleLink qpsscale_borrow_aws(QpsscaleBorrowing *borrowing,
										QsCredentials *credentials,
										QpsscaleSupply **supply);

/* borrowed_kubernetes.c: the same for Kubernetes, where nothing is fetched. */
extern QpsscaleLink qpsscale_borrow_kubernetes(QpsscaleBorrowing *borrowing,
											   QsCredentials *credentials);

#endif							/* QPSSCALE_BORROWING_H */
