/*-------------------------------------------------------------------------
 * predictors.h
 *		What a worker has learned of its groups' loads, kept from cycle to
 *		cycle.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_PREDICTORS_H
#define QPSSCALE_PREDICTORS_H

#include "postgres.h"

#include "pg/group.h"
#include "pg/store.h"

/* In transaction 1, in a subtransaction: reads what is not here yet, as far as
 * time and memory allow, and forgets groups that are gone. */
extern void qpsscale_predictors_load(const StoreSelection *selection,
									 StoreSnapshot *snapshot);

/* Before decide(): learns from what was observed, and says what is foreseen.
 * observed_at is the end of the monitors' newest point. */
extern void qpsscale_predict(QpsscaleGroup *group, TimestampTz observed_at);

/* The group's past has changed: it is read anew in the next cycle. */
extern void qpsscale_predictors_forget(int64 group_id);

/* In transaction 2, in a subtransaction: stores a few that are due. */
extern void qpsscale_predictors_store(QpsscaleGroup **groups, int n_groups);

/* Transaction 2 was committed. */
extern void qpsscale_predictors_committed(QpsscaleGroup **groups,
										  int n_groups);

/* Load and size as they are learned and sampled. */
extern double qpsscale_observed_load(const QpsscaleGroup *group);
extern int	qpsscale_observed_in_service(const QpsscaleGroup *group);

#endif							/* QPSSCALE_PREDICTORS_H */
