/*-------------------------------------------------------------------------
 * seal.h
 *		A worker runs no code of others that hangs on our tables.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_SEAL_H
#define QPSSCALE_SEAL_H

#include "postgres.h"

/* For a worker process, once it is connected. */
extern void qpsscale_seal_watch(void);

/*
 * In a transaction with a snapshot: what is foreign on our tables, or NULL.
 * The text is valid until the next look.  "again" looks also where something
 * was and no change was announced since: that a table inherits no longer is
 * announced to nobody.
 */
extern const char *qpsscale_seal_broken(bool again);

#define QPSSCALE_SEAL_HINT \
	"SELECT * FROM qpsscale.problems(); tells more. Undo that, or have it run as the worker: SELECT qpsscale.accept_objects();"

#endif							/* QPSSCALE_SEAL_H */
