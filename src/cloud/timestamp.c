/*-------------------------------------------------------------------------
 * timestamp.c
 *		Reads and writes the time formats of cloud APIs.
 *
 * Written by hand rather than with strptime() and timegm(): those depend on
 * the locale, accept too much, and are not in C11.
 *-------------------------------------------------------------------------
 */
#include "cloud/timestamp.h"

#include <stddef.h>
#include <stdio.h>

/*
 * Days from 1970-01-01 to a date of the proleptic Gregorian calendar.
 *
 * The year is counted from March, so that the leap day is its last day and
 * the lengths of the months before it are the constant pattern 153 / 5.
 */
static int64_t
days_from_date(int64_t year, int month, int day)
{
	int64_t		y = month > 2 ? year : year - 1;
	int64_t		m = month > 2 ? month - 3 : month + 9;

	return y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 -
		719468;
}

static bool
is_leap_year(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int
days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return month == 2 && is_leap_year(year) ? 29 : days[month - 1];
}

/* Takes exactly count digits whose value lies in [low, high]. */
static bool
take_digits(const char **cursor, int count, int low, int high, int *value)
{
	const char *p = *cursor;
	int			v = 0;

	for (int i = 0; i < count; i++, p++)
	{
		if (*p < '0' || *p > '9')
			return false;
		v = v * 10 + (*p - '0');
	}
	if (v < low || v > high)
		return false;
	*value = v;
	*cursor = p;
	return true;
}

static bool
take_char(const char **cursor, char c)
{
	if (**cursor != c)
		return false;
	(*cursor)++;
	return true;
}

/* Up to nine digits of a fraction are read, those below 1 us are cut off. */
static bool
take_fraction(const char **cursor, int *micros)
{
	int			digits = 0;
	int			value = 0;

	while (**cursor >= '0' && **cursor <= '9')
	{
		if (digits < 6)
			value = value * 10 + (**cursor - '0');
		if (++digits > 9)
			return false;
		(*cursor)++;
	}
	for (int i = digits; i < 6; i++)
		value *= 10;
	*micros = value;
	return digits > 0;
}

/* "Z", "+08:00", "+0800" or "+08", in seconds east of UTC. */
static bool
take_offset(const char **cursor, int *offset_s)
{
	int			sign;
	int			hours;
	int			minutes = 0;

	*offset_s = 0;
	if (take_char(cursor, 'Z') || take_char(cursor, 'z'))
		return true;
	if (take_char(cursor, '+'))
		sign = 1;
	else if (take_char(cursor, '-'))
		sign = -1;
	else
		return false;
	if (!take_digits(cursor, 2, 0, 23, &hours))
		return false;
	if (**cursor != '\0')
	{
		(void) take_char(cursor, ':');
		if (!take_digits(cursor, 2, 0, 59, &minutes))
			return false;
	}
	*offset_s = sign * (hours * 3600 + minutes * 60);
	return true;
}

bool
qs_timestamp_parse(const char *text, int64_t *epoch_us)
{
	const char *p = text;
	int			year;
	int			month;
	int			day;
	int			hour;
	int			minute;
	int			second = 0;
	int			micros = 0;
	int			offset_s;
	int64_t		seconds;

	if (text == NULL)
		return false;
	if (!take_digits(&p, 4, 1970, 9999, &year) || !take_char(&p, '-') ||
		!take_digits(&p, 2, 1, 12, &month) || !take_char(&p, '-') ||
		!take_digits(&p, 2, 1, days_in_month(year, month), &day))
		return false;
	if (!take_char(&p, 'T') && !take_char(&p, 't') && !take_char(&p, ' '))
		return false;
	if (!take_digits(&p, 2, 0, 23, &hour) || !take_char(&p, ':') ||
		!take_digits(&p, 2, 0, 59, &minute))
		return false;

	/* 60 is a leap second: it counts as the first of the next minute */
	if (take_char(&p, ':') && !take_digits(&p, 2, 0, 60, &second))
		return false;
	if (take_char(&p, '.') && !take_fraction(&p, &micros))
		return false;
	if (!take_offset(&p, &offset_s) || *p != '\0')
		return false;

	seconds = days_from_date(year, month, day) * 86400 + hour * 3600 +
		minute * 60 + second - offset_s;
	if (seconds < 0)
		return false;
	*epoch_us = seconds * 1000000 + micros;
	return true;
}

bool
qs_timestamp_basic(int64_t epoch_s, char out[17])
{
	int64_t		days;
	int			rest;
	int			year;
	int			month = 1;
	int			written;
	char		text[64];

	/* 253402300799 is 9999-12-31T23:59:59Z */
	if (epoch_s < 0 || epoch_s > INT64_C(253402300799))
		return false;
	days = epoch_s / 86400;
	rest = (int) (epoch_s % 86400);

	/* the average year is a guess that is off by one at most */
	year = 1970 + (int) (days * 400 / 146097);
	while (days_from_date(year, 1, 1) > days)
		year--;
	while (days_from_date(year + 1, 1, 1) <= days)
		year++;
	days -= days_from_date(year, 1, 1);
	while (days >= days_in_month(year, month))
		days -= days_in_month(year, month++);

	written = snprintf(text, sizeof(text), "%04d%02d%02dT%02d%02d%02dZ", year,
					   month, (int) days + 1, rest / 3600, rest / 60 % 60,
					   rest % 60);
	if (written != 16)
		return false;
	for (size_t i = 0; i < 17; i++)
		out[i] = text[i];
	return true;
}
