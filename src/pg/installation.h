/*-------------------------------------------------------------------------
 * installation.h
 *		The library files as they are on disk now.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_INSTALLATION_H
#define QPSSCALE_INSTALLATION_H

#include "pg/host.h"

/* Of this library, as it is mapped. */
extern const QpsscaleStamp qpsscale_host_stamp;

/*
 * Has one of our two files become another build than the one that runs?  Files
 * that cannot be read are no evidence.  Cheap as long as they stay the same.
 */
extern bool qpsscale_installation_differs(void);

#endif							/* QPSSCALE_INSTALLATION_H */
