/*-------------------------------------------------------------------------
 * json_writer.c
 *		Writes JSON objects and arrays into a StringInfo.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "pg/group.h"
#include "pg/json_writer.h"
#include "utils/json.h"
#include "utils/timestamp.h"

static void
start_member(StringInfo out, const char *key)
{
	char		last = out->len > 0 ? out->data[out->len - 1] : '{';

	if (last != '{' && last != '[')
		appendStringInfoChar(out, ',');
	if (key != NULL)
	{
		escape_json(out, key);
		appendStringInfoChar(out, ':');
	}
}

void
qpsscale_json_open(StringInfo out, const char *key, char bracket)
{
	start_member(out, key);
	appendStringInfoChar(out, bracket);
}

void
qpsscale_json_close(StringInfo out, char bracket)
{
	appendStringInfoChar(out, bracket);
}

void
qpsscale_json_null(StringInfo out, const char *key)
{
	start_member(out, key);
	appendStringInfoString(out, "null");
}

void
qpsscale_json_text(StringInfo out, const char *key, const char *value)
{
	if (value == NULL)
	{
		qpsscale_json_null(out, key);
		return;
	}
	start_member(out, key);
	escape_json(out, value);
}

void
qpsscale_json_int(StringInfo out, const char *key, int64 value)
{
	start_member(out, key);
	appendStringInfo(out, INT64_FORMAT, value);
}

void
qpsscale_json_count(StringInfo out, const char *key, int value)
{
	if (value < 0)
		qpsscale_json_null(out, key);
	else
		qpsscale_json_int(out, key, value);
}

void
qpsscale_json_double(StringInfo out, const char *key, double value)
{
	char		text[DOUBLE_SHORTEST_DECIMAL_LEN];

	if (isnan(value) || isinf(value))
	{
		qpsscale_json_null(out, key);
		return;
	}
	start_member(out, key);
	double_to_shortest_decimal_buf(value, text);
	appendStringInfoString(out, text);
}

void
qpsscale_json_bool(StringInfo out, const char *key, bool value)
{
	start_member(out, key);
	appendStringInfoString(out, value ? "true" : "false");
}

void
qpsscale_json_time(StringInfo out, const char *key, TimestampTz value)
{
	if (value == 0)
		qpsscale_json_null(out, key);
	else
		qpsscale_json_text(out, key, timestamptz_to_str(value));
}

void
qpsscale_json_unix_us(StringInfo out, const char *key, int64 value)
{
	if (value == QS_NEVER)
		qpsscale_json_null(out, key);
	else
		qpsscale_json_time(out, key, qpsscale_timestamptz(value));
}
