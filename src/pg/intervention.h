/*-------------------------------------------------------------------------
 * intervention.h
 *		A number of instances that an operator sets by hand.
 *
 * It goes the way of any action: observed, decided, intended, called and
 * recorded.  What is different is said here: where the number comes from,
 * when it is refused, what is kept of it, and what the operator is told.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_INTERVENTION_H
#define QPSSCALE_INTERVENTION_H

#include "pg/store_parts.h"

/* The group is to get that number instead of what its load asks for. */
extern void qpsscale_intervene(QpsscaleGroup *group,
							   const QpsscaleByHand *by_hand);

/*
 * Can it not be done?  Then refused_sqlstate, refused_message and refused_hint
 * say why, in the current memory context.
 */
extern bool qpsscale_intervention_refused(QpsscaleGroup *group);

/* In transaction 2: the row in interventions, who asked, what is held. */
extern void qpsscale_store_interventions(StoreBatch *batch);

/* What qpsscale_set_capacity() returns: a JSON text. */
extern char *qpsscale_intervention_result(const QpsscaleGroup *group);

#endif							/* QPSSCALE_INTERVENTION_H */
