/*-------------------------------------------------------------------------
 * byteplus_ids.c
 *		Which ids may be asked for.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <string.h>

#define ID_LENGTH		128
#define REGION_LENGTH	64

static bool
is_alphanumeric(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9');
}

/* Only characters that mean the same in JSON, in a URL and in a log. */
static bool
consists_of(const char *s, const char *also, size_t max_length)
{
	size_t		length;

	if (s == NULL)
		return false;
	for (length = 0; s[length] != '\0'; length++)
	{
		if (length >= max_length ||
			(!is_alphanumeric(s[length]) && strchr(also, s[length]) == NULL))
			return false;
	}
	return length > 0;
}

bool
qs_byteplus_id_is_valid(const char *id)
{
	return consists_of(id, "-_.:", ID_LENGTH);
}

bool
qs_byteplus_region_is_valid(const char *region)
{
	return consists_of(region, "-", REGION_LENGTH);
}
