/*-------------------------------------------------------------------------
 * user_sql_statement.h
 *		The statement of one order, and what is taken from its result.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_USER_SQL_STATEMENT_H
#define QPSSCALE_USER_SQL_STATEMENT_H

#include "pg/user_sql.h"

/*
 * Runs it in the current transaction, as the current user.  What is wrong with
 * the statement is told in the answer; whatever else happens is thrown.
 */
extern void qpsscale_user_sql_statement(const UserSqlOrder *order,
										UserSqlAnswer *answer);

#endif							/* QPSSCALE_USER_SQL_STATEMENT_H */
