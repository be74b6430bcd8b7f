/*-------------------------------------------------------------------------
 * fuzz_timestamp.c
 *		Any text for a time: refused, or the moment that the C library reads
 *		in the same digits.
 *
 * Input: the text, whole.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <time.h>

#include "cloud/timestamp.h"

#define UNTOUCHED	INT64_C(-7777777)

/* The C library's opinion of "YYYY-MM-DDTHH:MM", seconds and offset. */
static int64_t
seconds_by_libc(const char *text)
{
	struct tm	tm = {0};
	int			hours = 0;
	int			minutes = 0;
	const char *zone = strpbrk(text + 16, "Zz+-");
	int64_t		seconds;

	PROMISE(zone != NULL);
	tm.tm_year = atoi(text) - 1900;
	tm.tm_mon = atoi(text + 5) - 1;
	tm.tm_mday = atoi(text + 8);
	tm.tm_hour = atoi(text + 11);
	tm.tm_min = atoi(text + 14);
	if (text[16] == ':')
		tm.tm_sec = atoi(text + 17);
	seconds = timegm(&tm);
	if (*zone == '+' || *zone == '-')
	{
		hours = (zone[1] - '0') * 10 + zone[2] - '0';
		if (zone[3] != '\0')
			minutes = atoi(zone + (zone[3] == ':' ? 4 : 3));
		seconds -= (*zone == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	}
	return seconds;
}

/* Written out and read in again it is the same second. */
static void
check_round_trip(int64_t seconds)
{
	char		basic[17];
	char		expected[32];
	char		extended[32];
	time_t		t = seconds;
	struct tm	tm;
	int64_t		again = UNTOUCHED;

	if (!qs_timestamp_basic(seconds, basic))
	{
		PROMISE(seconds < 0 || seconds > INT64_C(253402300799));
		return;
	}
	PROMISE(gmtime_r(&t, &tm) != NULL);
	PROMISE(strftime(expected, sizeof(expected), "%Y%m%dT%H%M%SZ", &tm) == 16);
	PROMISE(strcmp(basic, expected) == 0);
	PROMISE(strftime(extended, sizeof(extended), "%Y-%m-%dT%H:%M:%SZ",
					 &tm) == 20);
	PROMISE(qs_timestamp_parse(extended, &again));
	PROMISE(again == seconds * 1000000);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = text_of(data, size);
	int64_t		epoch_us = UNTOUCHED;
	int64_t		any = 0;

	if (qs_timestamp_parse(text, &epoch_us))
	{
		PROMISE(epoch_us >= 0);
		PROMISE(epoch_us / 1000000 == seconds_by_libc(text));
		check_round_trip(epoch_us / 1000000);
	}
	else
		PROMISE(epoch_us == UNTOUCHED);
	free(text);

	/* and the bytes as a number of seconds */
	memcpy(&any, data, size < sizeof(any) ? size : sizeof(any));
	check_round_trip(any);
	check_round_trip(any >> 24);
	return 0;
}
