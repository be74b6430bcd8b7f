/*-------------------------------------------------------------------------
 * launcher.h
 *		The process that keeps one worker per listed database running.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_LAUNCHER_H
#define QPSSCALE_LAUNCHER_H

#include "fmgr.h"

/* Registers the launcher; for _PG_init() when preloaded. */
extern void qpsscale_launcher_register(void);

/* Where the process begins. */
extern PGDLLEXPORT void qpsscale_launcher_main(Datum main_arg);

#endif							/* QPSSCALE_LAUNCHER_H */
