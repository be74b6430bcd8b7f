/*-------------------------------------------------------------------------
 * store_rows.h
 *		Rows on their way into a set-based statement: one array per column.
 *
 * A statement takes its rows from unnest($1::type[], $2::type[], ...).  The
 * caller puts the values row by row, column by column, in the order of the
 * plan's types; arrays (text forms of other types too) are made at the end.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_STORE_ROWS_H
#define QPSSCALE_STORE_ROWS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/spi.h"

#define STORE_MAX_COLUMNS	32

/* A statement that is prepared once per process and kept. */
typedef struct StorePlan
{
	const char *sql;
	int			n_columns;
	Oid			types[STORE_MAX_COLUMNS];	/* of the elements */
	SPIPlanPtr	plan;
} StorePlan;

typedef struct StoreRows
{
	StorePlan  *plan;
	int			n_rows;			/* complete ones */
	int			column;			/* where the next value goes */
	int			capacity;
	Datum	   *values[STORE_MAX_COLUMNS];
	bool	   *nulls[STORE_MAX_COLUMNS];
} StoreRows;

/* most: the largest number of rows that may be put. */
extern void store_rows_start(StoreRows *rows, StorePlan *plan, int most);

extern void store_put_null(StoreRows *rows);
extern void store_put_int64(StoreRows *rows, int64 value);
extern void store_put_int32(StoreRows *rows, int value);

/* A count of core/: negative (QS_UNKNOWN, QS_NO_LIMIT) is null. */
extern void store_put_count(StoreRows *rows, int value);

/* Not finite is null. */
extern void store_put_double(StoreRows *rows, double value);
extern void store_put_bool(StoreRows *rows, bool value);
extern void store_put_text(StoreRows *rows, const char *value); /* NULL = null */
extern void store_put_time(StoreRows *rows, TimestampTz value); /* 0 = null */

/* core's microseconds since 1970; QS_NEVER = null */
extern void store_put_unix_us(StoreRows *rows, int64 value);

/* Runs the statement; false, without running it, when there is no row. */
extern bool store_rows_run(StoreRows *rows);

#endif							/* QPSSCALE_STORE_ROWS_H */
