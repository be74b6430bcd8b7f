/*-------------------------------------------------------------------------
 * user_sql.h
 *		SQL that users wrote: queries that are load signals, functions that
 *		read and set the capacity of groups of provider "sql".
 *
 * It runs in a process of its own (user_sql.c), as the owner of the group, one
 * short transaction each.  The worker never waits for it: what it says is a
 * reply like a cloud's, which may be late or never come
 * (user_sql_channel.c).  To the cycle it is a provider
 * (user_sql_provider.c).
 *
 * The two processes talk over a DSM segment: a header, then a queue for orders
 * and one for answers.  One order is on its way at a time, so a message always
 * finds its queue empty, and neither side ever waits for the other to read.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_USER_SQL_H
#define QPSSCALE_USER_SQL_H

#include "postgres.h"

#include "cloud/provider.h"
#include "net/net.h"
#include "pg/compat.h"
#include "pg/host.h"
#include "pg/shared.h"
#include "storage/shm_mq.h"

#define QPSSCALE_USER_SQL_PROVIDER	"sql"

/* Longer text than this is refused, with the names beside it. */
#define QPSSCALE_USER_SQL_MAX_TEXT	16384

/* ---- what the two processes say to each other ---- */

#define QPSSCALE_USER_SQL_MAGIC		0x51505333
#define QPSSCALE_USER_SQL_QUEUE		32768

typedef struct UserSqlHeader
{
	uint32		magic;
	Size		orders_offset;	/* of the queues, from the segment's start */
	Size		answers_offset;
} UserSqlHeader;

typedef enum UserSqlKind
{
	USER_SQL_SIGNAL,			/* a query that gives one number; read only */
	USER_SQL_GET,				/* a function of (target); read only */
	USER_SQL_SET				/* a function of (target, desired) */
} UserSqlKind;

typedef struct UserSqlOrder
{
	UserSqlKind kind;
	int			timeout_ms;
	int			desired;		/* of SET */
	char		owner[NAMEDATALEN];
	char		strings[FLEXIBLE_ARRAY_MEMBER]; /* the query or the function's
												 * name, then the target, each
												 * NUL-terminated */
} UserSqlOrder;

typedef enum UserSqlOutcome
{
	USER_SQL_DONE,
	USER_SQL_EMPTY,				/* no row, NULL, NaN: no number to speak of */
	USER_SQL_FAILED				/* rolled back; code and message say why */
} UserSqlOutcome;

typedef struct UserSqlAnswer
{
	UserSqlOutcome outcome;
	double		value;			/* of a signal; finite */
	int			desired;		/* of GET; those that it does not say are */
	int			total;			/* QS_UNKNOWN */
	int			in_service;
	int			min;
	int			max;
	char		code[32];		/* a word of ours, or an SQLSTATE */
	char		message[256];
} UserSqlAnswer;

/* ---- the process ---- */

QPSSCALE_NORETURN extern void qpsscale_user_sql_run(const QpsscaleLaunch *launch);

/* ---- the provider ---- */

/* A call as the channel carries it; there is no HTTP request in it. */
typedef struct UserSqlCall
{
	QsCall		base;			/* must be first */
	UserSqlKind kind;
	int64		group_id;
	const char *owner;
	const char *text;
	const char *target;			/* asg_id; "" of a signal */
	int			desired;
} UserSqlCall;

extern const QsProvider qpsscale_provider_sql;

/* The clouds' providers and this one; NULL when there is none of that name. */
extern const QsProvider *qpsscale_provider_by_name(const char *name);

/* For people: what to do about an error of ours; NULL if it is not ours. */
extern const char *qpsscale_user_sql_hint(const QsError *error);

static inline bool
qpsscale_is_user_sql(const QsCall *call)
{
	return call->provider == &qpsscale_provider_sql;
}

/* ---- the channel, in the worker ---- */

/*
 * As qs_net_submit() and its kin; the reply's body is a UserSqlAnswer.  Where
 * insist is false, an order that has failed again and again is left out for a
 * while: it is refused with the error that it had.
 */
extern bool qpsscale_user_sql_submit(UserSqlCall *call, int64 deadline_ms,
									 bool insist, QsError *error);
extern bool qpsscale_user_sql_next(QsNetResult *result);

/* Orders to set something that were not given yet fail as refused. */
extern void qpsscale_user_sql_withdraw_changes(void);

/* No results come any more for what was submitted so far. */
extern void qpsscale_user_sql_cancel_all(void);

/* Is something on its way? */
extern bool qpsscale_user_sql_busy(void);

/* At each wake of the worker: takes answers, gives orders, looks after the
 * process. */
extern void qpsscale_user_sql_drive(void);
extern int64 qpsscale_user_sql_timeout_ms(void);

#endif							/* QPSSCALE_USER_SQL_H */
