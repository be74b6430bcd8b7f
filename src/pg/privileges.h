/*-------------------------------------------------------------------------
 * privileges.h
 *		What the caller may do to a group, looked at in the caller's backend.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_PRIVILEGES_H
#define QPSSCALE_PRIVILEGES_H

#include "postgres.h"

/* Raises an error unless the current user sees the group and may act on it. */
extern void qpsscale_check_group(int64 group_id);

/*
 * The role as which a one-shot worker in this database is to connect;
 * InvalidOid for the bootstrap superuser.  Raises an error if it cannot.
 */
extern Oid	qpsscale_worker_role(void);

#endif							/* QPSSCALE_PRIVILEGES_H */
