/*-------------------------------------------------------------------------
 * messenger.h
 *		A process that tells of a stalled worker in its stead.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_MESSENGER_H
#define QPSSCALE_MESSENGER_H

#include "pg/host.h"

/* Writes the alert, delivers what is due, and returns. */
extern void qpsscale_tell_of_stall(const QpsscaleWorkerSlot *shared_slot);

#endif							/* QPSSCALE_MESSENGER_H */
