/*-------------------------------------------------------------------------
 * settings.h
 *		The qpsscale.* settings, defined in every process that loads us.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_SETTINGS_H
#define QPSSCALE_SETTINGS_H

#include "pg/host.h"

#include "nodes/pg_list.h"

extern QpsscaleSettings qpsscale_settings;

/* Called once per process, from _PG_init(). */
extern void qpsscale_settings_define(void);

/*
 * The names in qpsscale.databases, without repetitions, palloc'd in the
 * current context.  At most QPSSCALE_MAX_DATABASES.
 */
extern List *qpsscale_settings_databases(void);

/* qpsscale.cycle_deadline, or the interval where that is 0; milliseconds. */
extern int	qpsscale_settings_cycle_deadline_ms(void);

/* How long a worker may give no sign of life; milliseconds. */
extern int	qpsscale_settings_stall_timeout_ms(void);

/*
 * What tells this host from its clones: qpsscale.host_id, else the machine
 * id, else "".  Points to static memory, valid until the next call.
 */
extern const char *qpsscale_settings_host_identity(void);

#endif							/* QPSSCALE_SETTINGS_H */
