/*-------------------------------------------------------------------------
 * canonical_request.c
 *		The text that a signature covers: escaped, sorted, one way to write it.
 *
 * Both signature families (BytePlus and AWS) agree on this part; what differs
 * is which headers are signed and how the key is made, see signing.c.
 *-------------------------------------------------------------------------
 */
#include "cloud/canonical_request.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "cloud/signing.h"

typedef struct EscapedPair
{
	const char *name;
	const char *value;
} EscapedPair;

void
qs_hex(const unsigned char *bytes, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++)
	{
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = '\0';
}

bool
qs_sha256_hex(const void *data, size_t length, char out[QS_SHA256_HEX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int size = 0;

	if (EVP_Digest(length > 0 ? data : "", length, digest, &size,
				   EVP_sha256(), NULL) != 1 || size != 32)
		return false;
	qs_hex(digest, size, out);
	return true;
}

/* RFC 3986 section 2.3, spelled out because isalnum() asks the locale. */
static bool
is_unreserved(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
}

static char *
escape_except(QsArena *arena, const char *s, char keep)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t		length = 0;
	char	   *out;
	char	   *p;

	for (const char *q = s; *q != '\0'; q++)
		length += is_unreserved(*q) || *q == keep ? 1 : 3;
	out = p = qs_arena_alloc(arena, length + 1);
	if (out == NULL)
		return NULL;
	for (; *s != '\0'; s++)
	{
		if (is_unreserved(*s) || *s == keep)
			*p++ = *s;
		else
		{
			*p++ = '%';
			*p++ = digits[(unsigned char) *s >> 4];
			*p++ = digits[(unsigned char) *s & 15];
		}
	}
	*p = '\0';
	return out;
}

char *
qs_uri_escape(QsArena *arena, const char *s)
{
	return escape_except(arena, s, '\0');
}

/* RFC 3986 section 5.2.4, and one slash for several in a row.  "/", which all
 * our requests have, is not copied. */
const char *
qs_normal_path(QsArena *arena, const char *path)
{
	bool		open = true;	/* does it end with a slash? */
	char	   *out;
	char	   *end;

	if (strcmp(path, "/") == 0)
		return path;
	out = end = qs_arena_alloc(arena, strlen(path) + 2);
	if (out == NULL)
		return NULL;
	while (*path != '\0')
	{
		size_t		length = strcspn(path, "/");

		open = length == 0 || (length <= 2 && strncmp(path, "..", length) == 0);
		if (length == 2 && open)
			while (end > out && *--end != '/');
		else if (!open)
		{
			*end++ = '/';
			memcpy(end, path, length);
			end += length;
		}
		path += length;
		if (*path == '/')
		{
			open = true;
			path++;
		}
	}
	if (open || end == out)
		*end++ = '/';
	*end = '\0';
	return out;
}

char *
qs_canonical_path(QsArena *arena, const char *path, bool twice)
{
	char	   *once = escape_except(arena, path, '/');

	if (once == NULL || !twice)
		return once;
	return escape_except(arena, once, '/');
}

static int
compare_pairs(const void *a, const void *b)
{
	const EscapedPair *left = a;
	const EscapedPair *right = b;
	int			order = strcmp(left->name, right->name);

	return order != 0 ? order : strcmp(left->value, right->value);
}

/* Sorting comes after escaping: the order of the escaped text counts. */
char *
qs_canonical_query(QsArena *arena, const QsQueryParameter *parameters, int n)
{
	EscapedPair *pairs;
	size_t		length = 1;
	char	   *out;
	char	   *p;

	if (n <= 0)
		return qs_arena_strdup(arena, "");
	pairs = qs_arena_alloc_array(arena, (size_t) n, sizeof(EscapedPair));
	if (pairs == NULL)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		pairs[i].name = qs_uri_escape(arena, parameters[i].name);
		pairs[i].value = qs_uri_escape(arena, parameters[i].value);
		if (pairs[i].name == NULL || pairs[i].value == NULL)
			return NULL;
		length += strlen(pairs[i].name) + strlen(pairs[i].value) + 2;
	}
	qsort(pairs, (size_t) n, sizeof(EscapedPair), compare_pairs);

	out = p = qs_arena_alloc(arena, length);
	if (out == NULL)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			*p++ = '&';
		p = stpcpy(p, pairs[i].name);
		*p++ = '=';
		p = stpcpy(p, pairs[i].value);
	}
	*p = '\0';
	return out;
}

static char *
lower_case(QsArena *arena, const char *s)
{
	char	   *copy = qs_arena_strdup(arena, s);

	if (copy != NULL)
	{
		for (char *p = copy; *p != '\0'; p++)
		{
			if (*p >= 'A' && *p <= 'Z')
				*p = (char) (*p - 'A' + 'a');
		}
	}
	return copy;
}

/*
 * No blanks at the ends, a run of blanks inside is one, and so is the fold of
 * a value over lines.  A value without any is not copied: it may be a session
 * token.
 */
static const char *
trimmed(QsArena *arena, const char *s)
{
	char	   *copy;
	char	   *p;

	if (strpbrk(s, " \t\r\n") == NULL)
		return s;
	copy = p = qs_arena_alloc(arena, strlen(s) + 1);
	if (copy == NULL)
		return NULL;
	for (; *s != '\0'; s++)
	{
		if (strchr(" \t\r\n", *s) == NULL)
			*p++ = *s;
		else if (p > copy && p[-1] != ' ')
			*p++ = ' ';
	}
	if (p > copy && p[-1] == ' ')
		p--;
	*p = '\0';
	return copy;
}

/*
 * The canonical form of the headers, sorted by name.  They are few, and those
 * of one name must keep their order.
 */
static QsHttpHeader *
canonical_headers(QsArena *arena, const QsHttpHeader *headers, int n)
{
	QsHttpHeader *sorted;

	sorted = qs_arena_alloc_array(arena, (size_t) n, sizeof(QsHttpHeader));
	if (sorted == NULL)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		QsHttpHeader header;
		int			at = i;

		header.name = lower_case(arena, headers[i].name);
		header.value = trimmed(arena, headers[i].value);
		if (header.name == NULL || header.value == NULL)
			return NULL;
		for (; at > 0 && strcmp(sorted[at - 1].name, header.name) > 0; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = header;
	}
	return sorted;
}

bool
qs_canonical_request(QsArena *arena, const char *method, const char *path,
					 const char *query, const QsHttpHeader *headers,
					 int n_headers, const char *body_hash,
					 QsCanonicalRequest *canonical)
{
	QsHttpHeader *sorted = canonical_headers(arena, headers, n_headers);
	size_t		list_length = 1;
	size_t		block_length = 1;
	char	   *list;
	char	   *block;
	char	   *p;
	char	   *q;

	if (sorted == NULL)
		return false;
	for (int i = 0; i < n_headers; i++)
	{
		list_length += strlen(sorted[i].name) + 1;
		block_length += strlen(sorted[i].name) + strlen(sorted[i].value) + 2;
	}
	list = p = qs_arena_alloc(arena, list_length);
	block = q = qs_arena_alloc(arena, block_length);
	if (list == NULL || block == NULL)
		return false;
	for (int i = 0; i < n_headers; i++)
	{
		if (i > 0 && strcmp(sorted[i].name, sorted[i - 1].name) == 0)
			q[-1] = ',';		/* one more value of the same */
		else
		{
			if (i > 0)
				*p++ = ';';
			p = stpcpy(p, sorted[i].name);
			q = stpcpy(q, sorted[i].name);
			*q++ = ':';
		}
		q = stpcpy(q, sorted[i].value);
		*q++ = '\n';
	}
	*p = '\0';
	*q = '\0';

	canonical->signed_headers = list;
	canonical->text = qs_arena_printf(arena, "%s\n%s\n%s\n%s\n%s\n%s", method,
									  path, query, block, list, body_hash);
	OPENSSL_cleanse(block, block_length);
	return canonical->text != NULL &&
		qs_sha256_hex(canonical->text, strlen(canonical->text),
					  canonical->hash);
}
