/*-------------------------------------------------------------------------
 * databases.h
 *		Commands on databases that our worker processes must not be in.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_DATABASES_H
#define QPSSCALE_DATABASES_H

/* Sees all utility commands from now on; for _PG_init() when preloaded. */
extern void qpsscale_databases_hook(void);

/*
 * When this transaction commits, the launcher tries the worker of the database
 * at once: whatever kept it away before may be over.  Needs the shared memory.
 */
extern void qpsscale_databases_changed(const char *database_name);

#endif							/* QPSSCALE_DATABASES_H */
