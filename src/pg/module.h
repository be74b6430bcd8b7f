/*-------------------------------------------------------------------------
 * module.h
 *		Where qpsscale.so is entered: at load, and by each worker process.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_MODULE_H
#define QPSSCALE_MODULE_H

#include "pg/host.h"

/* What a worker is handed; static memory, brought up to date by each call. */
extern const QpsscaleHost *qpsscale_host(void);

/* Where worker processes begin. */
extern PGDLLEXPORT void qpsscale_worker_main(Datum main_arg);
extern PGDLLEXPORT void qpsscale_oneshot_main(Datum main_arg);

#endif							/* QPSSCALE_MODULE_H */
