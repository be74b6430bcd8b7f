/*-------------------------------------------------------------------------
 * user_sql_process.h
 *		Starting and ending the process that runs SQL of users, and the two
 *		queues between it and the worker.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_USER_SQL_PROCESS_H
#define QPSSCALE_USER_SQL_PROCESS_H

#include "pg/user_sql.h"

/*
 * Is there one for that owner, or is one being started?  Sees to it: one of
 * another owner is left, and gone before the next is started; after failures
 * there is a pause.  Otherwise *why says why there is none, NULL if it is only
 * not there yet.  Not while an order is being carried out.
 */
extern bool qpsscale_user_sql_process(const char *owner, const char **why);

extern bool qpsscale_user_sql_exists(void);

/* Gives it an order.  Only while it has none. */
extern bool qpsscale_user_sql_tell(const UserSqlOrder *order, Size length);

typedef enum UserSqlNews
{
	USER_SQL_NO_NEWS,
	USER_SQL_ANSWERED,
	USER_SQL_LOST				/* the process has gone */
} UserSqlNews;

/* What became of the order; the answer is copied. */
extern UserSqlNews qpsscale_user_sql_hear(UserSqlAnswer *answer);

/* Has it come as far as to take orders? */
extern bool qpsscale_user_sql_attached(void);

/* Tells it to end. */
extern void qpsscale_user_sql_terminate(void);

/* Lets go of it, whatever it does: it ends when it notices.  failed counts
 * towards the pause before the next one. */
extern void qpsscale_user_sql_leave(bool failed);

#endif							/* QPSSCALE_USER_SQL_PROCESS_H */
