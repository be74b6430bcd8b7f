/*-------------------------------------------------------------------------
 * quantity.c
 *		Quantities and durations as Kubernetes writes them.
 *-------------------------------------------------------------------------
 */
#include "cloud/quantity.h"

#include <stdlib.h>
#include <string.h>

/* More than any number needs; further digits are garbage. */
#define MOST_DIGITS		27

typedef __int128 int128;

/* A decimal number: digits / 10^decimals. */
typedef struct Decimal
{
	int128		digits;
	int			decimals;
} Decimal;

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "12", "12.", ".5", "1.5"; returns what follows, NULL where there is none. */
static const char *
read_decimal(const char *text, Decimal *number)
{
	int			n = 0;
	bool		fraction = false;

	memset(number, 0, sizeof(*number));
	for (;; text++)
	{
		if (*text == '.' && !fraction)
		{
			fraction = true;
			continue;
		}
		if (!is_digit(*text))
			break;
		if (++n > MOST_DIGITS)
			return NULL;
		number->digits = number->digits * 10 + (*text - '0');
		number->decimals += fraction;
	}
	return n > 0 ? text : NULL;
}

/* How many tens, or tens of twos, a suffix stands for. */
typedef struct Suffix
{
	const char *text;
	int			tens;
	int			binary_tens;
} Suffix;

static const Suffix suffixes[] = {
	{"", 0, 0},
	{"n", -9, 0}, {"u", -6, 0}, {"m", -3, 0}, {"k", 3, 0}, {"M", 6, 0},
	{"G", 9, 0}, {"T", 12, 0}, {"P", 15, 0}, {"E", 18, 0},
	{"Ki", 0, 1}, {"Mi", 0, 2}, {"Gi", 0, 3}, {"Ti", 0, 4}, {"Pi", 0, 5},
	{"Ei", 0, 6},
};

/* "e3", "E-2"; a bare "E" is the suffix */
static bool
read_exponent(const char *text, int *tens)
{
	char	   *end;
	long		exponent;
	const char *digits = text + 1;

	if (text[0] != 'e' && text[0] != 'E')
		return false;
	if (*digits == '+' || *digits == '-')
		digits++;
	if (!is_digit(*digits) || strlen(digits) > 3)
		return false;
	exponent = strtol(text + 1, &end, 10);
	if (*end != '\0' || exponent < -60 || exponent > 60)
		return false;
	*tens = (int) exponent;
	return true;
}

static bool
read_suffix(const char *text, int *tens, int *binary_tens)
{
	*binary_tens = 0;
	if (read_exponent(text, tens))
		return true;
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strcmp(suffixes[i].text, text) == 0)
		{
			*tens = suffixes[i].tens;
			*binary_tens = suffixes[i].binary_tens;
			return true;
		}
	return false;
}

/* Ends at the bound, which more than an int64 is. */
static int128
multiplied(int128 number, int factor, int times, int128 bound)
{
	while (times-- > 0 && number <= bound)
		number *= factor;
	return number;
}

bool
qs_quantity_parse(const char *text, double *value)
{
	/* thousandths of what an int64 holds */
	const int128 most = (int128) INT64_MAX * 1000;
	bool		negative = text != NULL && text[0] == '-';
	Decimal		number;
	int			tens;
	int			binary_tens;
	int128		thousandths;

	if (text == NULL)
		return false;
	if (text[0] == '-' || text[0] == '+')
		text++;
	text = read_decimal(text, &number);
	if (text == NULL || !read_suffix(text, &tens, &binary_tens))
		return false;
	tens += 3 - number.decimals;
	thousandths = multiplied(number.digits, 1024, binary_tens, most * 1024);
	if (tens >= 0)
		thousandths = multiplied(thousandths, 10, tens, most);
	for (; tens < 0; tens++)
		thousandths = thousandths / 10 + (thousandths % 10 != 0);
	if (thousandths > most)
		return false;
	*value = (negative ? -1 : 1) * ((double) thousandths / 1000);
	return true;
}

bool
qs_duration_parse(const char *text, int64_t *microseconds)
{
	static const struct
	{
		const char *unit;
		double		microseconds;
	}			units[] = {
		{"ns", 1e-3}, {"us", 1}, {"\xc2\xb5s", 1}, {"ms", 1e3},
		{"s", 1e6}, {"m", 60e6}, {"h", 3600e6},
	};
	double		sum = 0;

	if (text == NULL || text[0] == '\0')
		return false;
	while (*text != '\0')
	{
		Decimal		number;
		double		amount;
		size_t		length;
		size_t		i = 0;

		text = read_decimal(text, &number);
		if (text == NULL)
			return false;
		length = strcspn(text, "0123456789.");
		while (i < sizeof(units) / sizeof(units[0]) &&
			   !(strlen(units[i].unit) == length &&
				 strncmp(units[i].unit, text, length) == 0))
			i++;
		if (i == sizeof(units) / sizeof(units[0]))
			return false;
		amount = (double) number.digits * units[i].microseconds;
		for (int n = 0; n < number.decimals; n++)
			amount /= 10;
		sum += amount;
		text += length;
	}
	if (!(sum < 1e17))
		return false;
	*microseconds = (int64_t) sum;
	return true;
}
