/*-------------------------------------------------------------------------
 * test_signing_suite.c
 *		AWS' published signing cases, all 38, through the signing core.
 *
 * The data are those of the test suite in awslabs/aws-c-auth
 * (tests/aws-signing-test-suite/v4, licensed under Apache-2.0), of each case
 * the request and the signature that its header must hold.  A path there is
 * what is sent, so it is escaped once only.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#include "cloud/canonical_request.h"
#include "cloud/signing.h"

#define AS_IS			1		/* the path is not normalized */
#define TOKEN			2
#define LONG_TOKEN		4
#define HASHES_BODY		8		/* the body's hash is a header */

#define MOST_HEADERS	4
#define UNRESERVED "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

typedef struct SuiteCase
{
	const char *name;
	const char *method;
	const char *path;
	const char *query;
	const char *headers[MOST_HEADERS];	/* "Name:value"; host is in all */
	const char *body;
	int			flags;
	const char *signature;
} SuiteCase;

static const SuiteCase cases[] = {
	{"get-header-key-duplicate", "GET", "/",
		"", {"My-Header1:value2", "My-Header1:value2", "My-Header1:value1"}, NULL,
		0, "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
	{"get-header-value-multiline", "GET", "/",
		"", {"My-Header1:value1\n  value2\n     value3"}, NULL,
		0, "cfd34249e4b1c8d6b91ef74165d41a32e5fab3306300901bb65a51a73575eefd"},
	{"get-header-value-order", "GET", "/",
		"", {"My-Header1:value4", "My-Header1:value1", "My-Header1:value3", "My-Header1:value2"}, NULL,
		0, "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
	{"get-header-value-trim", "GET", "/",
		"", {"My-Header1: value1", "My-Header2: \"a   b   c\""}, NULL,
		0, "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
	{"get-relative-normalized", "GET", "/example/..",
		"", {NULL}, NULL,
		0, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-relative-relative-normalized", "GET", "/example1/example2/../..",
		"", {NULL}, NULL,
		0, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-relative-relative-unnormalized", "GET", "/example1/example2/../..",
		"", {NULL}, NULL,
		AS_IS, "dc33e0856fd4baca4d7aa2146c38958283844764f38c74252a333df5e613003b"},
	{"get-relative-unnormalized", "GET", "/example/..",
		"", {NULL}, NULL,
		AS_IS, "eca7ead57bb5aa5c8e28007acd4ff04e1ff9a0ff3b237ec1554a184887ff9282"},
	{"get-slash-dot-slash-normalized", "GET", "/./",
		"", {NULL}, NULL,
		0, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-slash-dot-slash-unnormalized", "GET", "/./",
		"", {NULL}, NULL,
		AS_IS, "68714168e6557f8f2de0ef956fc24dc2593a4bd2961f8df51898d8a134695145"},
	{"get-slash-normalized", "GET", "//",
		"", {NULL}, NULL,
		0, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-slash-pointless-dot-normalized", "GET", "/./example",
		"", {NULL}, NULL,
		0, "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
	{"get-slash-pointless-dot-unnormalized", "GET", "/./example",
		"", {NULL}, NULL,
		AS_IS, "beb03f223f7deae4146464f06e29eebbee9c8afbe15c290cf07aa8b119e14cff"},
	{"get-slash-unnormalized", "GET", "//",
		"", {NULL}, NULL,
		AS_IS, "c88bcd3d312d75078c0cd961d6deae3f4c754924b01669efcfcb439fd5e5b76e"},
	{"get-slashes-normalized", "GET", "//example//",
		"", {NULL}, NULL,
		0, "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
	{"get-slashes-unnormalized", "GET", "//example//",
		"", {NULL}, NULL,
		AS_IS, "87cca117541a147f6df867677d98a7d80dff226d2bfca9e4ffa899665623c7e5"},
	{"get-space-normalized", "GET", "/example space/",
		"", {NULL}, NULL,
		0, "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
	{"get-space-unnormalized", "GET", "/example space/",
		"", {NULL}, NULL,
		AS_IS, "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"},
	{"get-unreserved", "GET", "/" UNRESERVED,
		"", {NULL}, NULL,
		0, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
	{"get-utf8", "GET", "/\341\210\264",
		"", {NULL}, NULL,
		0, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
	{"get-vanilla-empty-query-key", "GET", "/",
		"Param1=value1", {NULL}, NULL,
		0, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
	{"get-vanilla-query-order-encoded", "GET", "/",
		"Param-3=Value3&Param=Value2&%E1%88%B4=Value1", {NULL}, NULL,
		0, "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
	{"get-vanilla-query-order-key-case", "GET", "/",
		"Param2=value2&Param1=value1", {NULL}, NULL,
		0, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	{"get-vanilla-query-unreserved", "GET", "/",
		UNRESERVED "=" UNRESERVED, {NULL}, NULL,
		0, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
	{"get-vanilla-query", "GET", "/",
		"", {NULL}, NULL,
		0, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"get-vanilla-utf8-query", "GET", "/",
		"\341\210\264=bar", {NULL}, NULL,
		0, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
	{"get-vanilla-with-session-token", "GET", "/",
		"", {NULL}, NULL,
		TOKEN, "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},
	{"get-vanilla", "GET", "/",
		"", {NULL}, NULL,
		0, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	{"post-header-key-case", "POST", "/",
		"", {NULL}, NULL,
		0, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-header-key-sort", "POST", "/",
		"", {"My-Header1:value1"}, NULL,
		0, "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
	{"post-header-value-case", "POST", "/",
		"", {"My-Header1:VALUE1"}, NULL,
		0, "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
	{"post-sts-header-after", "POST", "/",
		"", {NULL}, NULL,
		0, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-sts-header-before", "POST", "/",
		"", {NULL}, NULL,
		LONG_TOKEN, "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"},
	{"post-vanilla-empty-query-value", "POST", "/",
		"Param1=value1", {NULL}, NULL,
		0, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{"post-vanilla-query", "POST", "/",
		"Param1=value1", {NULL}, NULL,
		0, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
	{"post-vanilla", "POST", "/",
		"", {NULL}, NULL,
		0, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
	{"post-x-www-form-urlencoded-parameters", "POST", "/",
		"", {"Content-Type:application/x-www-form-urlencoded; charset=utf-8", "Content-Length:13"}, "Param1=value1",
		HASHES_BODY, "328d1b9eaadca9f5818ef05e8392801e091653bafec24fcab71e7344e7f51422"},
	{"post-x-www-form-urlencoded", "POST", "/",
		"", {"Content-Type:application/x-www-form-urlencoded", "Content-Length:13"}, "Param1=value1",
		HASHES_BODY, "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"},
};

static const char token[] = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf19"
	"4267";
static const char long_token[] = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4"
	"FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI"
	"/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQ"
	"DYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT"
	"38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9K"
	"SYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";

static QsArena *arena;

static char *
unescaped(const char *s, size_t length)
{
	char	   *out = qs_arena_alloc(arena, length + 1);
	char	   *p = out;

	assert_non_null(out);
	for (size_t i = 0; i < length; i++)
	{
		unsigned int byte;

		if (s[i] == '%' && sscanf(s + i + 1, "%2x", &byte) == 1)
		{
			*p++ = (char) byte;
			i += 2;
		}
		else
			*p++ = s[i];
	}
	return out;
}

/* The query as the product would make it, from its names and values. */
static char *
canonical_query(const char *query)
{
	QsQueryParameter parameters[8];
	int			n = 0;

	while (*query != '\0')
	{
		size_t		length = strcspn(query, "&");
		size_t		name = strcspn(query, "=&");

		assert_true(n < 8);
		parameters[n].name = unescaped(query, name);
		parameters[n++].value = name == length ? "" :
			unescaped(query + name + 1, length - name - 1);
		query += length;
		query += *query == '&';
	}
	return qs_canonical_query(arena, parameters, n);
}

/* Fills headers and the list of their names, each once; returns how many. */
static int
read_headers(const SuiteCase *c, QsHttpHeader *headers, const char **names)
{
	int			n = 0;
	int			n_names = 0;

	for (; n < MOST_HEADERS && c->headers[n] != NULL; n++)
	{
		const char *colon = strchr(c->headers[n], ':');

		headers[n].name = qs_arena_strndup(arena, c->headers[n],
										   (size_t) (colon - c->headers[n]));
		headers[n].value = colon + 1;
		if (n == 0 || strcmp(headers[n].name, headers[n - 1].name) != 0)
			names[n_names++] = headers[n].name;
	}
	names[n_names] = NULL;
	return n;
}

static void
run_case(const SuiteCase *c)
{
	QsSigningScheme scheme = qs_signing_aws;
	QsAccount  *account = qs_arena_alloc(arena, sizeof(QsAccount));
	QsHttpHeader headers[MOST_HEADERS];
	const char *names[MOST_HEADERS + 1];
	QsHttpRequest request = {
		.method = c->method,
		.headers = headers,
		.n_headers = read_headers(c, headers, names),
		.body = c->body,
		.body_length = c->body ? strlen(c->body) : 0,
	};
	QsError		error;

	scheme.escape_path_twice = false;
	scheme.normalize_path = (c->flags & AS_IS) == 0;
	if (c->flags & HASHES_BODY)
		scheme.content_hash_header = "X-Amz-Content-Sha256";
	strcpy(account->credentials.access_key_id, "AKIDEXAMPLE");
	strcpy(account->credentials.secret_access_key,
		   "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
	if (c->flags & (TOKEN | LONG_TOKEN))
		strcpy(account->credentials.session_token,
			   c->flags & TOKEN ? token : long_token);
	/* 2015-08-30T12:36:00Z */
	assert_true(qs_sign_request(arena, &scheme, account,
								"https://example.amazonaws.com", c->path,
								canonical_query(c->query), "us-east-1",
								"service", names, INT64_C(1440938160),
								&request, &error));
	print_message("  %s\n", c->name);
	assert_signature(&request, c->signature);
}

static void
every_published_case_has_its_signature(void **state)
{
	size_t		n = sizeof(cases) / sizeof(cases[0]);

	(void) state;
	assert_int_equal(n, 38);
	for (size_t i = 0; i < n; i++)
	{
		arena = qs_arena_new(1024 * 1024);
		assert_non_null(arena);
		run_case(&cases[i]);
		qs_arena_free(arena);
	}
}

static void
paths_are_normalized_as_rfc_3986_says(void **state)
{
	static const char *const paths[][2] = {
		{"", "/"}, {"/", "/"}, {"//", "/"}, {".", "/"}, {"..", "/"},
		{"/a", "/a"}, {"/a/", "/a/"}, {"/a/.", "/a/"}, {"/a/..", "/"},
		{"/../../a", "/a"}, {"/a/b/../c", "/a/c"}, {"/a/b/..", "/a/"},
		{"/...", "/..."}, {"/.a/..b", "/.a/..b"}, {"a//b", "/a/b"},
	};

	(void) state;
	arena = qs_arena_new(1024 * 1024);
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		assert_string_equal(qs_normal_path(arena, paths[i][0]), paths[i][1]);
	qs_arena_free(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_published_case_has_its_signature),
		cmocka_unit_test(paths_are_normalized_as_rfc_3986_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
