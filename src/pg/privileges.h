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

#endif							/* QPSSCALE_PRIVILEGES_H */
