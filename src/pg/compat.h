/*-------------------------------------------------------------------------
 * compat.h
 *		The only file that tests the version of PostgreSQL.
 *
 * Each entry gives the newest spelling a name of ours, so that code elsewhere
 * reads the same for every server from 15 to 19.  Included after postgres.h,
 * by both libraries.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_COMPAT_H
#define QPSSCALE_COMPAT_H

#include "catalog/pg_database.h"
#include "catalog/pg_tablespace.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/walsender_private.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "qpsscale needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#endif

/* 18: the magic block carries a name and a version that the server shows. */
#if PG_VERSION_NUM >= 180000
#define QPSSCALE_MODULE_MAGIC(module_name, module_version) \
	PG_MODULE_MAGIC_EXT(.name = module_name, .version = module_version)
#else
#define QPSSCALE_MODULE_MAGIC(module_name, module_version) \
	PG_MODULE_MAGIC
#endif

/* 18: pg_noreturn goes first; before, an attribute that goes last. */
#if PG_VERSION_NUM >= 180000
#define QPSSCALE_NORETURN	pg_noreturn
#else
#define QPSSCALE_NORETURN	__attribute__((noreturn))
#endif

/*
 * 17: an extension may name its wait events.  The number must be asked for
 * once per process and kept, as each call takes a lock and looks it up.
 */
static inline uint32
qpsscale_wait_event(const char *name)
{
#if PG_VERSION_NUM >= 170000
	return WaitEventExtensionNew(name);
#else
	(void) name;
	return PG_WAIT_EXTENSION;
#endif
}

/* 17: a set belongs to a resource owner (NULL: to the process), not to a
 * memory context.  Ours live as long as the process. */
static inline WaitEventSet *
qpsscale_create_wait_event_set(int n_events)
{
#if PG_VERSION_NUM >= 170000
	return CreateWaitEventSet(NULL, n_events);
#else
	return CreateWaitEventSet(TopMemoryContext, n_events);
#endif
}

/* 16: one function checks the rights on objects of any kind. */
static inline bool
qpsscale_owns_database(Oid database)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
	return pg_database_ownercheck(database, GetUserId());
#endif
}

static inline bool
qpsscale_may_create_in_tablespace(Oid tablespace)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(TableSpaceRelationId, tablespace, GetUserId(),
						   ACL_CREATE) == ACLCHECK_OK;
#else
	return pg_tablespace_aclcheck(tablespace, GetUserId(),
								  ACL_CREATE) == ACLCHECK_OK;
#endif
}

/*
 * Must commits wait for a standby, as the checkpointer has read the settings?
 * A flag word since the minor releases of May 2025, a boolean before.
 */
#ifdef SYNC_STANDBY_DEFINED
#define QPSSCALE_SYNC_STANDBYS_DEFINED(control) \
	(((control)->sync_standbys_status & SYNC_STANDBY_DEFINED) != 0)
#else
#define QPSSCALE_SYNC_STANDBYS_DEFINED(control) \
	((control)->sync_standbys_defined)
#endif

static inline bool
qpsscale_may_connect(Oid database, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(DatabaseRelationId, database, role,
						   ACL_CONNECT) == ACLCHECK_OK;
#else
	return pg_database_aclcheck(database, role, ACL_CONNECT) == ACLCHECK_OK;
#endif
}

#endif							/* QPSSCALE_COMPAT_H */
