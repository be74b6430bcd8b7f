/*-------------------------------------------------------------------------
 * store_parts.h
 *		What the files store_*.c share.  Nobody else includes it.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_PARTS_H
#define QPSSCALE_STORE_PARTS_H

#include "executor/spi.h"
#include "pg/store.h"
#include "pg/store_rows.h"

/* A batch of groups on its way into the tables, inside a transaction. */
typedef struct StoreBatch
{
	QpsscaleGroup **groups;		/* sorted by id, as they were read */
	int			n_groups;
	int			metric_period_s;
	TimestampTz sampled_at;		/* end of the newest point that the monitors
								 * have published; 0 = no samples */
	bool		careful;		/* claim every row first */
	bool		acted;			/* out: intents were inserted */
	MemoryContext context;		/* of what is kept after the transaction */
} StoreBatch;

/* store_write.c */
extern QpsscaleGroup *qpsscale_store_find(StoreBatch *batch, int64 id);
extern int64 qpsscale_store_result(uint64 row, int column, bool *null);
extern bool qpsscale_store_flag(uint64 row, int column);	/* null is false */

/* store_hourly.c: after the claim, before the intents. */
extern void qpsscale_store_hourly(StoreBatch *batch);

/* Will the group's decision become an intent? */
extern bool qpsscale_store_will_act(const QpsscaleGroup *group);

/* The decision stands, but not now: the desired capacity stays. */
extern void qpsscale_store_hold(QpsscaleGroup *group, QsReason reason);

/* store_verdict.c */
extern void qpsscale_store_repeated(StoreBatch *batch);
extern void qpsscale_store_changed(StoreBatch *batch);
extern void qpsscale_store_errors(StoreBatch *batch);

/* The last change of the target that this evaluator knows of; 0 = none. */
extern TimestampTz qpsscale_store_last_action_at(const QpsscaleGroup *group);

extern void qpsscale_store_failures(StoreBatch *batch, TimestampTz now);

/* store_watch.c */
extern void qpsscale_store_watch(StoreBatch *batch);

/* store_charges.c: the batch's one group could not be written; and, when all
 * were tried, the rows and log lines about that */
extern void qpsscale_store_charge(StoreBatch *batch, const ErrorData *error);
extern void qpsscale_store_charges(StoreBatch *batch);

/* store_activity.c */
extern void qpsscale_store_claim(StoreBatch *batch);
extern void qpsscale_store_resolved(StoreBatch *batch);
extern void qpsscale_store_activities(StoreBatch *batch);
extern void qpsscale_store_reasons(StoreBatch *batch);
extern void qpsscale_store_outcomes(StoreBatch *batch, TimestampTz now);

/* store_budget.c: of groups about to grow, who would break a budget is held */
extern void qpsscale_store_budgets(StoreBatch *batch);

/* store_approval.c: decisions that wait for a person */
extern void qpsscale_store_approvals(StoreBatch *batch);

/* store_alert.c */
extern void qpsscale_store_alerts(StoreBatch *batch);
extern void qpsscale_store_outcome_alerts(StoreBatch *batch, TimestampTz now);

#endif							/* QPSSCALE_STORE_PARTS_H */
