/*-------------------------------------------------------------------------
 * timestamp.h
 *		The time formats that cloud APIs write.
 *-------------------------------------------------------------------------
 */
#ifndef QS_TIMESTAMP_H
#define QS_TIMESTAMP_H

#include <stdbool.h>
#include <stdint.h>

/*
 * RFC 3339 ("2022-04-10T18:29:38.5+08:00", "...Z") and the minute form of
 * BytePlus ("2021-09-06T07:37Z").  *epoch_us is in microseconds since the Unix
 * epoch and only set on success.  Times before 1970 are refused: they are
 * how some servers write "not set".  So is a time without an offset.
 */
extern bool qs_timestamp_parse(const char *text, int64_t *epoch_us);

/* "20240102T030405Z"; false when the year does not have four digits. */
extern bool qs_timestamp_basic(int64_t epoch_s, char out[17]);

#endif							/* QS_TIMESTAMP_H */
