/*-------------------------------------------------------------------------
 * store_error.c
 *		An error that concerns no group of its own.
 *
 * Errors of groups are written with their verdicts (store_verdict.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "pg/step.h"
#include "pg/store.h"
#include "utils/builtins.h"

static const char error_sql[] =
"INSERT INTO qpsscale.errors (source, message) VALUES ($1, $2)";

typedef struct ErrorRow
{
	const char *source;
	const char *message;
} ErrorRow;

static void
insert(void *argument)
{
	const ErrorRow *row = argument;
	Oid			types[2] = {TEXTOID, TEXTOID};
	Datum		values[2];

	values[0] = CStringGetTextDatum(row->source);
	values[1] = CStringGetTextDatum(row->message);
	if (SPI_execute_with_args(error_sql, 2, types, values, NULL, false,
							  0) != SPI_OK_INSERT)
		elog(ERROR, "an error could not be inserted");
}

bool
qpsscale_store_error(const char *source, const char *message,
					 ErrorData **error)
{
	ErrorRow	row = {source, message};

	return qpsscale_step("record an error", insert, &row, false, error);
}
