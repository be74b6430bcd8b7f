/*-------------------------------------------------------------------------
 * json_writer.h
 *		Writes JSON objects and arrays into a StringInfo.
 *
 * Commas are placed by looking at the last character written, so a writer
 * needs no state of its own.  Every value is valid JSON: NaN and infinities
 * become null, text is escaped.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_JSON_WRITER_H
#define QPSSCALE_JSON_WRITER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

/* key NULL: an element of an array, or the document itself */
extern void qpsscale_json_open(StringInfo out, const char *key, char bracket);
extern void qpsscale_json_close(StringInfo out, char bracket);
extern void qpsscale_json_text(StringInfo out, const char *key,
							   const char *value);	/* NULL = null */
extern void qpsscale_json_int(StringInfo out, const char *key, int64 value);

/* A count of core/: negative (QS_UNKNOWN, QS_NO_LIMIT) is null. */
extern void qpsscale_json_count(StringInfo out, const char *key, int value);
extern void qpsscale_json_double(StringInfo out, const char *key,
								 double value);
extern void qpsscale_json_bool(StringInfo out, const char *key, bool value);
extern void qpsscale_json_null(StringInfo out, const char *key);

/* 0 = null; DateStyle is pinned to ISO and UTC in workers. */
extern void qpsscale_json_time(StringInfo out, const char *key,
							   TimestampTz value);

/* core's microseconds since 1970; QS_NEVER = null */
extern void qpsscale_json_unix_us(StringInfo out, const char *key,
								  int64 value);

#endif							/* QPSSCALE_JSON_WRITER_H */
