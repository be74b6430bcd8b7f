/*-------------------------------------------------------------------------
 * row_reader.h
 *		A row of a query's result, read column by column in the order of its
 *		SELECT list.
 *
 * Rows are deformed once each, not column by column, since ten thousand groups
 * have to fit in a tick.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_ROW_READER_H
#define QPSSCALE_ROW_READER_H

#include "postgres.h"

#include "access/htup_details.h"
#include "executor/spi.h"
#include "pg/group.h"
#include "pg/store.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

typedef struct Row
{
	Datum	   *values;
	bool	   *nulls;
	int			next;
} Row;

/* Runs a query of ($1 group id or null, $2 role or null), planned once per
 * process; result in SPI. */
extern void qpsscale_store_select(SPIPlanPtr *plan, const char *sql,
								  const StoreSelection *selection);

/* For rows of SPI_tuptable. */
static inline void
row_start(Row *row)
{
	int			natts = SPI_tuptable->tupdesc->natts;

	row->values = palloc(sizeof(Datum) * natts);
	row->nulls = palloc(sizeof(bool) * natts);
}

static inline void
row_read(Row *row, uint64 number)
{
	heap_deform_tuple(SPI_tuptable->vals[number], SPI_tuptable->tupdesc,
					  row->values, row->nulls);
	row->next = 0;
}

static inline bool
next_null(Row *row)
{
	return row->nulls[row->next];
}

static inline int64
next_int64(Row *row, int64 when_null)
{
	int			i = row->next++;

	return row->nulls[i] ? when_null : DatumGetInt64(row->values[i]);
}

static inline int
next_int32(Row *row, int when_null)
{
	int			i = row->next++;

	return row->nulls[i] ? when_null : DatumGetInt32(row->values[i]);
}

static inline double
next_double(Row *row, double when_null)
{
	int			i = row->next++;

	return row->nulls[i] ? when_null : DatumGetFloat8(row->values[i]);
}

static inline bool
next_bool(Row *row)
{
	int			i = row->next++;

	return row->nulls[i] ? false : DatumGetBool(row->values[i]);
}

static inline char *
next_text(Row *row)
{
	int			i = row->next++;

	return row->nulls[i] ? NULL : TextDatumGetCString(row->values[i]);
}

/* Infinite times would overflow core's arithmetic: they count as not set. */
static inline TimestampTz
next_time(Row *row)
{
	TimestampTz at = next_int64(row, 0);

	return TIMESTAMP_NOT_FINITE(at) ? 0 : at;
}

static inline int64
next_unix_us(Row *row)
{
	TimestampTz at = next_time(row);

	return at == 0 ? QS_NEVER : qpsscale_unix_us(at);
}

/*
 * The group that a row belongs to, NULL if it was not read.  Rows and groups are
 * both in the order of ids: a group is found by going on from *at.
 */
static inline QpsscaleGroup *
group_of_row(const StoreSnapshot *snapshot, int *at, int64 group_id)
{
	while (*at < snapshot->n_groups && snapshot->groups[*at].id < group_id)
		(*at)++;
	if (*at == snapshot->n_groups || snapshot->groups[*at].id != group_id)
		return NULL;
	return &snapshot->groups[*at];
}

#endif							/* QPSSCALE_ROW_READER_H */
