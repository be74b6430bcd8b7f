/*-------------------------------------------------------------------------
 * discovery.h
 *		What qpsscale_discover() finds: the scaling groups of an account.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_DISCOVERY_H
#define QPSSCALE_DISCOVERY_H

#include "nodes/pg_list.h"
#include "pg/cycle.h"

/*
 * Asks the cloud of the request's account, as the request's role may, and
 * changes nothing.  *rows: a JSON text per scaling group and load balancer.
 * false with the result's error set: a list that is not whole is none.
 */
extern bool qpsscale_discover(const QpsscaleRequest *request,
							  CycleResult *result, List **rows);

#endif							/* QPSSCALE_DISCOVERY_H */
