/*-------------------------------------------------------------------------
 * validate.h
 *		What qpsscale_validate() says about one group.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_VALIDATE_H
#define QPSSCALE_VALIDATE_H

#include "nodes/pg_list.h"
#include "pg/cycle.h"

/*
 * One JSON text per check {"check", "status", "detail", "hint"}, from a cycle
 * that was run with validate set.  *passed: no check failed.
 */
extern List *qpsscale_validation_rows(const CycleResult *result,
									  bool *passed);

#endif							/* QPSSCALE_VALIDATE_H */
