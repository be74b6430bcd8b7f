/*-------------------------------------------------------------------------
 * host.h
 *		What the two shared libraries know of each other.
 *
 * qpsscale.so (the host: SQL functions, settings, shared memory, launcher) is
 * mapped into every backend that uses us; qpsscale_worker.so (cycle, net,
 * cloud, core, with libcurl and jansson) only into worker processes.  A worker
 * process starts in the host, which loads the second library, compares the
 * stamps and hands over a QpsscaleHost.  After an upgrade of the files under a
 * running server the stamps differ: the worker then exits cleanly and status
 * says "restart required".
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_HOST_H
#define QPSSCALE_HOST_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/dsm.h"
#include "storage/lwlock.h"
#include "storage/shm_mq.h"

#ifndef QPSSCALE_VERSION
#define QPSSCALE_VERSION "1.0.0"
#endif

/* Of the sources that both libraries were built from; given by the Makefile. */
#ifndef QPSSCALE_BUILD_ID
#define QPSSCALE_BUILD_ID "unknown"
#endif

#define QPSSCALE_MAX_DATABASES	32
#define QPSSCALE_MAX_REQUESTS	128 /* waiting for one resident worker */
#define QPSSCALE_MAX_HOLDS		32	/* commands on databases at a time */

/* SQLSTATEs of our own (class QS); listed in README.md. */
#define QPSSCALE_ERRCODE_NO_WORKER	MAKE_SQLSTATE('Q','S','0','0','1')
#define QPSSCALE_ERRCODE_TIMEOUT	MAKE_SQLSTATE('Q','S','0','0','2')
#define QPSSCALE_ERRCODE_DECISION_EXPIRED	MAKE_SQLSTATE('Q','S','0','0','3')
#define QPSSCALE_ERRCODE_DECISION_MOVED		MAKE_SQLSTATE('Q','S','0','0','4')
#define QPSSCALE_ERRCODE_NOTHING_TO_EXECUTE MAKE_SQLSTATE('Q','S','0','0','5')
#define QPSSCALE_ERRCODE_TOO_SOON	MAKE_SQLSTATE('Q','S','0','0','6')

typedef struct QpsscaleStamp
{
	uint32		magic;			/* QPSSCALE_STAMP_MAGIC */
	uint32		host_size;		/* sizeof(QpsscaleHost) */
	char		version[32];
	char		build_id[32];
} QpsscaleStamp;

#define QPSSCALE_STAMP_MAGIC	0x51505331

/* Values of the settings; the GUC variables are the members themselves. */
typedef struct QpsscaleSettings
{
	bool		enabled;		/* kill switch */
	char	   *databases;		/* comma-separated */
	int			interval_ms;
	int			metric_period_s;
	int			metric_resolution_s;	/* how often monitors publish a point */
	int			initial_delay_s;
	int			request_timeout_ms;
	int			cycle_deadline_ms;	/* 0 = interval */
	int			max_in_flight;
	int			retention_s;	/* 0 = keep for ever */
	int			sample_retention_s; /* likewise, of samples */
	int			sample_backfill_s;	/* so much of the past is asked for */
	int			prediction_memory_kb;	/* for predictors, of a worker */
	int			max_instances;	/* hard ceiling for any group, 0 = none */
	int			max_actions_per_hour;	/* of all groups, 0 = none */
	int			max_instances_per_hour; /* likewise, added by them */
	char	   *allowed_hosts;
	char	   *secrets_dir;
	char	   *ca_file;
	char	   *host_id;		/* "" = machine id */
	char	   *worker_role;	/* "" = bootstrap superuser */
	char	   *region;			/* of groups whose account names none; "" */
	bool		detailed_logging;	/* log every decision */
	int			log_level;		/* elog level from which the worker logs */
	char	   *alert_webhook_url;	/* or a reference to one; "" = none */
	bool		notify;			/* NOTIFY for each alert */
	int			stall_timeout_ms;	/* 0 = automatic */
	int			max_observation_age_s;	/* qpsscale_decide() uses no older one */
	int			decision_lifetime_s;	/* then it is not executed any more */
	int			sql_timeout_ms; /* of one query or function of users */
} QpsscaleSettings;

typedef enum QpsscaleRequestKind
{
	QPSSCALE_REQUEST_EVALUATE,
	QPSSCALE_REQUEST_VALIDATE,
	QPSSCALE_REQUEST_SET_CAPACITY,
	QPSSCALE_REQUEST_EXECUTE,
	QPSSCALE_REQUEST_DISCOVER
} QpsscaleRequestKind;

/* What qpsscale_discover() looks through; "" = not said. */
typedef struct QpsscaleDiscoveryPlace
{
	char		account[NAMEDATALEN];	/* "": the server's own credentials */
	char		provider[32];
	char		region[64];
} QpsscaleDiscoveryPlace;

/* What an operator asks for with qpsscale_set_capacity(). */
typedef struct QpsscaleByHand
{
	int			instances;
	TimestampTz hold_until;		/* 0 = do not hold; may be infinity */
	char		made_by[NAMEDATALEN];	/* the role that asks */
	char		session_by[NAMEDATALEN];	/* the role that logged in */
	char		reason[512];	/* in the database's encoding */
} QpsscaleByHand;

/* What qpsscale_execute() is asked for. */
typedef struct QpsscaleExecute
{
	unsigned char decision_id[16];
	char		executed_by[NAMEDATALEN];
} QpsscaleExecute;

/*
 * One call of qpsscale_evaluate() and its kin, in a DSM segment that the
 * calling backend made; the answer comes back over the queue that follows.
 * Messages: one type byte, then
 *	 'r' a JSON text (one row);
 *	 'e' SQLSTATE (5 bytes), then message, detail and hint, each
 *		 NUL-terminated ("" for none): the call failed, nothing follows;
 *	 'd' done, nothing follows.
 */
typedef struct QpsscaleRequest
{
	uint32		magic;			/* QPSSCALE_REQUEST_MAGIC */
	QpsscaleRequestKind kind;
	Oid			database;
	Oid			role;			/* the caller's current user: only groups whose
								 * owner it is a member of are touched */
	bool		all_groups;		/* else group_id */
	int64		group_id;
	bool		dry_run;		/* true: nothing is called that changes */
	QpsscaleByHand by_hand;		/* of SET_CAPACITY */
	QpsscaleExecute execute;	/* of EXECUTE */
	QpsscaleDiscoveryPlace place;	/* of DISCOVER */
	Size		queue_offset;	/* of the shm_mq from the segment's start */
} QpsscaleRequest;

#define QPSSCALE_REQUEST_MAGIC	0x51505232
#define QPSSCALE_QUEUE_SIZE		65536

/* Shown by qpsscale.stat_worker; written by the worker under the lock. */
typedef struct QpsscaleWorkerStats
{
	TimestampTz started_at;
	TimestampTz heartbeat_at;	/* last wake */
	TimestampTz last_tick_started_at;	/* 0 = none yet */
	TimestampTz last_tick_finished_at;
	double		last_tick_ms;
	int64		ticks;
	int64		groups_evaluated;
	int64		api_calls;
	int64		api_errors;
	int64		transactions;
	int64		connections_opened;
	int64		tls_handshakes;
	int64		requests_served;	/* calls handed over by backends */
	char		state[64];		/* "idle", "observing", "acting",
								 * "extension missing", "in recovery", ... */
	char		last_error[256];
} QpsscaleWorkerStats;

/* What a backend tells the launcher about a slot; the last word counts. */
typedef enum QpsscaleOrder
{
	QPSSCALE_ORDER_NONE,
	QPSSCALE_ORDER_RETRY,		/* start the worker now, forget the back-off */
	QPSSCALE_ORDER_PAUSE		/* the database has gone: try rarely */
} QpsscaleOrder;

typedef struct QpsscaleWorkerSlot
{
	char		database_name[NAMEDATALEN]; /* "" = free */
	Oid			database;		/* set by the worker once connected */
	pid_t		pid;			/* 0 = not running */
	QpsscaleOrder order;
	bool		alerts_written; /* to be delivered; the worker takes it back */
	TimestampTz stalled_since;	/* 0 = the launcher finds it alive */
	QpsscaleWorkerStats stats;
	int			n_requests;
	dsm_handle	requests[QPSSCALE_MAX_REQUESTS];
} QpsscaleWorkerSlot;

/* A database whose worker must stay away while a command needs it. */
typedef struct QpsscaleHold
{
	pid_t		holder;			/* the backend; 0 = free */
	char		database_name[NAMEDATALEN];
} QpsscaleHold;

/* In shared memory if preloaded; nothing in it is a pointer to a process. */
typedef struct QpsscaleShared
{
	LWLock	   *lock;
	pid_t		launcher_pid;
	bool		restart_required;	/* a worker met a library of another build */
	QpsscaleHold holds[QPSSCALE_MAX_HOLDS];
	QpsscaleWorkerSlot slots[QPSSCALE_MAX_DATABASES];
} QpsscaleShared;

typedef struct QpsscaleHost
{
	QpsscaleStamp stamp;
	QpsscaleSettings *settings;
	QpsscaleShared *shared;		/* NULL when not preloaded */
	const char *(*host_identity) (void);	/* setting or machine id; "" if
											 * neither can be read */
} QpsscaleHost;

/* How a worker process was started.  The build comes first, for ever: without
 * preload an old backend may start a process that loads a new library. */
typedef struct QpsscaleLaunch
{
	char		build_id[32];
	bool		resident;
	int			slot;			/* resident: index into shared->slots */
	char		database_name[NAMEDATALEN]; /* resident; messenger */
	bool		tells_of_stall; /* a messenger: of the worker of slot */
	bool		runs_user_sql;	/* for the worker whose segment request is */
	Oid			database;		/* one-shot */
	Oid			role;			/* one-shot; InvalidOid = bootstrap superuser */
	dsm_handle	request;		/* one-shot; runs_user_sql */
} QpsscaleLaunch;

/* Exported by qpsscale_worker.so under these names. */
#define QPSSCALE_WORKER_LIBRARY	"qpsscale_worker"
#define QPSSCALE_WORKER_STAMP	"qpsscale_worker_stamp"	/* a QpsscaleStamp */
#define QPSSCALE_WORKER_RUN		"qpsscale_worker_run"
typedef void (*QpsscaleWorkerRun) (const QpsscaleHost *host,
								   const QpsscaleLaunch *launch);

#endif							/* QPSSCALE_HOST_H */
