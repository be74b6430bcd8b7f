/*-------------------------------------------------------------------------
 * test_signing.c
 *		Signatures against published vectors, and the credentials chain.
 *
 * V1, V2, V2n and V3 were made with BytePlus' own SDK; the AWS ones are from
 * its signature test suite and documentation.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#include "cloud/canonical_request.h"
#include "cloud/signing.h"
#include "cloud/signing_key.h"

#define EMPTY_HASH \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define BODY_HASH \
	"e3da5c58e9d99f1aa9f1c6d86e5533d14d844a64a254752061aa3f9978bd5468"
#define REGION		"ap-southeast-1"
#define GROUPS_HOST	"https://auto-scaling.ap-southeast-1.byteplusapi.com"
#define LOAD_HOST	"https://volc-observe.ap-southeast-1.byteplusapi.com"

static const char load_body[] = "{\"MetricName\":\"load_balancer_qps\","
	"\"StartTime\":1704164400,\"EndTime\":1704164640,"
	"\"Namespace\":\"VCM_ALB\",\"SubNamespace\":\"loadbalancer\","
	"\"Period\":\"1m\",\"Instances\":[{\"Dimensions\":[{\"Name\":"
	"\"ResourceID\",\"Value\":\"alb-aaa\"}]},{\"Dimensions\":[{\"Name\":"
	"\"ResourceID\",\"Value\":\"alb-bbb\"}]}]}";

static QsArena *arena;
static QsAccount account;
static QsError error;

static int
set_up(void **state)
{
	(void) state;
	arena = qs_arena_new(1024 * 1024);
	vector_account(&account);
	return arena == NULL;
}

static int
tear_down(void **state)
{
	(void) state;
	qs_arena_free(arena);
	return 0;
}

static QsHttpRequest
sign(const char *method, const char *endpoint, const char *query,
	 const char *service, const char *body, const char *const *also_sign)
{
	static const QsHttpHeader json = {"Content-Type",
		"application/json; charset=utf-8"};
	QsHttpRequest request = {.method = method,.body = body,
		.body_length = body ? strlen(body) : 0};

	if (body != NULL)
	{
		request.headers = &json;
		request.n_headers = 1;
	}
	if (!qs_sign_request(arena, &qs_signing_byteplus, &account, endpoint, "/",
						 query, REGION, service, also_sign, VECTOR_TIME,
						 &request, &error))
		memset(&request, 0, sizeof(request));
	return request;
}

static void
v1_describe_by_ids(void **state)
{
	const QsQueryParameter parameters[] = {
		{"Version", "2020-01-01"}, {"ScalingGroupIds.2", "scg-bbb"},
		{"ScalingGroupIds.1", "scg-aaa"}, {"PageSize", "50"},
		{"Action", "DescribeScalingGroups"},
	};
	char	   *query = qs_canonical_query(arena, parameters, 5);
	QsHttpRequest request;

	(void) state;
	request = sign("GET", GROUPS_HOST, query, "auto_scaling", NULL, NULL);
	assert_signature(&request, "2852bc92baec85fbe9e320c3d241986ae618cc32455f"
					 "45e14aa718c6c0f19251");
	assert_string_equal(request.url, GROUPS_HOST "/?Action=Describe"
						"ScalingGroups&PageSize=50&ScalingGroupIds.1=scg-aaa&"
						"ScalingGroupIds.2=scg-bbb&Version=2020-01-01");
	assert_string_equal(header_of(&request, "X-Date"), "20240102T030405Z");
	assert_string_equal(header_of(&request, "X-Content-Sha256"), EMPTY_HASH);
	assert_null(header_of(&request, "Host"));
}

static void
v2_post_with_content_type(void **state)
{
	const char *const also[] = {"content-type", NULL};
	QsHttpRequest request;

	(void) state;
	request = sign("POST", LOAD_HOST,
				   "Action=GetMetricData&Version=2018-01-01", "Volc_Observe",
				   load_body, also);
	assert_signature(&request, "a35027df9e192a847d7f048ffa0ce1ee25eb90c8e285"
					 "2cc16bd1c64df3b28ab1");
	assert_string_equal(header_of(&request, "X-Content-Sha256"), BODY_HASH);
}

static void
v2n_post_without_content_type(void **state)
{
	QsHttpRequest request;

	(void) state;
	request = sign("POST", LOAD_HOST,
				   "Action=GetMetricData&Version=2018-01-01", "Volc_Observe",
				   load_body, NULL);
	assert_signature(&request, "1aa9add26fb4312d62b0e31458ca6e169abdc248c3d5"
					 "94428cbc7da41622636b");
	assert_string_equal(header_of(&request, "Content-Type"),
						"application/json; charset=utf-8");
}

static void
v3_modify(void **state)
{
	QsHttpRequest request;

	(void) state;
	request = sign("GET", GROUPS_HOST, "Action=ModifyScalingGroup&"
				   "DesireInstanceNumber=7&ScalingGroupId=scg-aaa&"
				   "Version=2020-01-01", "auto_scaling", NULL, NULL);
	assert_signature(&request, "0fd45e03ae8fecaf2a62c50a6dcc495a88fd0cba1985"
					 "e35c97e0b5036f039c70");
	assert_non_null(strstr(header_of(&request, "Authorization"),
						   "HMAC-SHA256 Credential=AKLTEXAMPLEACCESSKEY0001/"
						   "20240102/ap-southeast-1/auto_scaling/request, "
						   "SignedHeaders=host;x-content-sha256;x-date, "));
}

static void
canonical_requests_of_the_vectors(void **state)
{
	static const struct
	{
		const char *method;
		const char *host;
		const char *query;
		const char *body_hash;
		bool		content_type;
		const char *hash;
	}			vectors[] = {
		{"GET", GROUPS_HOST, "Action=DescribeScalingGroups&PageSize=50&"
			"ScalingGroupIds.1=scg-aaa&ScalingGroupIds.2=scg-bbb&"
			"Version=2020-01-01", EMPTY_HASH, false,
			"5dbea24967638e54bb71455b3da0d59d"
		"6a2da1325b08cc93f8db22c2081de096"},
		{"POST", LOAD_HOST, "Action=GetMetricData&Version=2018-01-01",
			BODY_HASH, true, "572e7a423d25f92874efc66c94047f8d"
		"e7ef37d362559828289a7a89667281fb"},
		{"POST", LOAD_HOST, "Action=GetMetricData&Version=2018-01-01",
			BODY_HASH, false, "d269a8752b68674fbe74cd4402795b8d"
		"4bdc25ef0841265b2c880d4d9ba74ec1"},
		{"GET", GROUPS_HOST, "Action=ModifyScalingGroup&"
			"DesireInstanceNumber=7&ScalingGroupId=scg-aaa&"
			"Version=2020-01-01", EMPTY_HASH, false,
			"32e51d72beeb933e72b6c6767f2134cd"
		"9f0e368aeff5d433c94e59e00632722d"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
	{
		const QsHttpHeader headers[] = {
			{"X-Date", "20240102T030405Z"},
			{"host", vectors[i].host + strlen("https://")},
			{"X-Content-Sha256", vectors[i].body_hash},
			{"Content-Type", " application/json;  charset=utf-8 "},
		};
		QsCanonicalRequest canonical;

		assert_true(qs_canonical_request(arena, vectors[i].method, "/",
										 vectors[i].query, headers,
										 vectors[i].content_type ? 4 : 3,
										 vectors[i].body_hash, &canonical));
		assert_string_equal(canonical.hash, vectors[i].hash);
	}
}

static void
assert_key(const unsigned char *key, const char *expected)
{
	char		hex[2 * QS_KEY_BYTES + 1];

	qs_hex(key, QS_KEY_BYTES, hex);
	assert_string_equal(hex, expected);
}

static void
key_chain_of_the_reference(void **state)
{
	unsigned char chain[QS_KEY_LINKS][QS_KEY_BYTES];

	(void) state;
	assert_true(qs_signing_key_chain(&qs_signing_byteplus,
									 account.credentials.secret_access_key,
									 "20240102", REGION, "auto_scaling",
									 chain));
	assert_key(chain[QS_KEY_DATE], "a25bd25e80d54859b064a3d5558e88ff"
			   "8e143bec4f783826eda3e4d547e620e7");
	assert_key(chain[QS_KEY_REGION], "796d134654e5d1d94245c7345a6b93ea"
			   "bd8422f9c25fb0cd738b76a8a93c21d2");
	assert_key(chain[QS_KEY_SERVICE], "2239e135022c58fd0ceea87df34841a0"
			   "209ed8575dabb8242e65f2237567137b");
	assert_key(chain[QS_KEY_SIGNING], "0a2453b054819f9f172555485e95f23d"
			   "0e7c103ce51d4ea098466a7b60fbef41");
	assert_key(qs_signing_key(&qs_signing_byteplus, &account, "20240102",
							  REGION, "Volc_Observe"),
			   "8d1b8ae1671961089e3410aafeaed723"
			   "cb81cacaa2c6376b42fa0ca0de91e72b");
}

static void
keys_are_remembered_until_the_secret_changes(void **state)
{
	const unsigned char *first;
	unsigned char before[QS_KEY_BYTES];

	(void) state;
	first = qs_signing_key(&qs_signing_byteplus, &account, "20240102", REGION,
						   "auto_scaling");
	assert_non_null(first);
	memcpy(before, first, sizeof(before));
	assert_ptr_equal(qs_signing_key(&qs_signing_byteplus, &account,
									"20240102", REGION, "auto_scaling"),
					 first);
	account.credentials.secret_access_key[0] = 'X';
	first = qs_signing_key(&qs_signing_byteplus, &account, "20240102", REGION,
						   "auto_scaling");
	assert_memory_not_equal(first, before, sizeof(before));
	for (int day = 10; day < 30; day++)
	{
		char		text[32];

		snprintf(text, sizeof(text), "202401%d", day);
		assert_non_null(qs_signing_key(&qs_signing_byteplus, &account, text,
									   REGION, "auto_scaling"));
	}
}

static void
session_token_is_sent_and_signed(void **state)
{
	QsHttpRequest request;

	(void) state;
	strcpy(account.credentials.session_token, "TOKEN123");
	request = sign("GET", GROUPS_HOST, "Action=A", "auto_scaling", NULL, NULL);
	assert_string_equal(header_of(&request, "X-Security-Token"), "TOKEN123");
	assert_non_null(strstr(header_of(&request, "Authorization"),
						   "SignedHeaders=host;x-content-sha256;x-date;"
						   "x-security-token, "));
}

static void
default_ports_are_dropped_and_others_signed(void **state)
{
	static const struct
	{
		const char *endpoint;
		const char *url;
	}			cases[] = {
		{"https://Example.com:443", "https://example.com/?A=1"},
		{"http://example.com:80", "http://example.com/?A=1"},
		{"https://example.com:80", "https://example.com:80/?A=1"},
		{"http://127.0.0.1:8443/", "http://127.0.0.1:8443/?A=1"},
		{"http://[::1]:8080", "http://[::1]:8080/?A=1"},
	};
	QsHttpRequest plain;
	QsHttpRequest request;

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		request = sign("GET", cases[i].endpoint, "A=1", "s", NULL, NULL);
		assert_non_null(request.url);
		assert_string_equal(request.url, cases[i].url);
	}
	plain = sign("GET", "https://example.com", "A=1", "s", NULL, NULL);
	request = sign("GET", "https://EXAMPLE.com:443", "A=1", "s", NULL, NULL);
	assert_string_equal(header_of(&plain, "Authorization"),
						header_of(&request, "Authorization"));
	request = sign("GET", "https://example.com:444", "A=1", "s", NULL, NULL);
	assert_string_not_equal(header_of(&plain, "Authorization"),
							header_of(&request, "Authorization"));
}

static void
odd_endpoints_are_refused(void **state)
{
	static const char *const endpoints[] = {
		"", "example.com", "ftp://example.com", "https://",
		"https://user@example.com", "https://example.com/path",
		"https://example.com?x", "https://example.com:", "https://a b.com",
		"https://example.com:99999", "https://example.com:0",
		"https://ex\r\nample.com", "https://[::1", "https://\xc3\xa9.com",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++)
	{
		assert_null(sign("GET", endpoints[i], "A=1", "s", NULL, NULL).url);
		assert_int_equal(error.class, QS_ERROR_TERMINAL);
		assert_string_equal(error.code, "invalid_endpoint");
	}
}

static void
keys_that_would_break_a_header_are_refused(void **state)
{
	(void) state;
	strcpy(account.credentials.session_token, "a\r\nX-Evil: 1");
	assert_null(sign("GET", GROUPS_HOST, "A=1", "s", NULL, NULL).url);
	assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
	vector_account(&account);
	account.credentials.secret_access_key[0] = '\0';
	assert_null(sign("GET", GROUPS_HOST, "A=1", "s", NULL, NULL).url);
	assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
}

static void
query_is_escaped_then_sorted(void **state)
{
	const QsQueryParameter parameters[] = {
		{"b", "2"}, {"a b", "*~"}, {"a", "z"}, {"a", "\xc3\xa9/"}, {"B", ""},
	};

	(void) state;
	assert_string_equal(qs_canonical_query(arena, parameters, 5),
						"B=&a=%C3%A9%2F&a=z&a%20b=%2A~&b=2");
	assert_string_equal(qs_canonical_query(arena, NULL, 0), "");
	assert_string_equal(qs_uri_escape(arena, "A-z_0.9~ +"),
						"A-z_0.9~%20%2B");
}

static void
aws_published_vectors(void **state)
{
	static const struct
	{
		const char *name;
		const char *method;
		const char *path;
		const char *query;
		const char *host;
		const char *service;
		const char *type;
		const char *body;
		const char *signature;
	}			vectors[] = {
		{"get-vanilla", "GET", "/", "", "https://example.amazonaws.com",
			"service", NULL, NULL, "5fa00fa31553b73ebf1942676e86291e"
		"8372ff2a2260956d9b8aae1d763fbf31"},
		{"get-vanilla-query-order-key-case", "GET", "/",
			"Param1=value1&Param2=value2", "https://example.amazonaws.com",
			"service", NULL, NULL, "b97d918cfa904a5beff61c982a1b6f45"
		"8b799221646efd99d3219ec94cdf2500"},
		{"post-vanilla", "POST", "/", "", "https://example.amazonaws.com",
			"service", NULL, NULL, "5da7c1a2acd57cee7505fc6676e4e544"
		"621c30862966e37dddb68e92efbe5d6b"},
		{"post-x-www-form-urlencoded", "POST", "/", "",
			"https://example.amazonaws.com", "service",
			"application/x-www-form-urlencoded", "Param1=value1",
			"ff11897932ad3f4e8b18135d722051e5"
		"ac45fc38421b1da7b9d196a0fe09473a"},
		{"documentation: IAM ListUsers", "GET", "/",
			"Action=ListUsers&Version=2010-05-08",
			"https://iam.amazonaws.com", "iam",
			"application/x-www-form-urlencoded; charset=utf-8", NULL,
			"5d672d79c15b13162d9279b0855cfba6"
		"789a8edb4c82c400e06b5924a6f2b5d7"},
	};
	const char *const also[] = {"Content-Type", NULL};

	(void) state;
	strcpy(account.credentials.access_key_id, "AKIDEXAMPLE");
	strcpy(account.credentials.secret_access_key,
		   "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
	{
		QsHttpHeader type = {"Content-Type", vectors[i].type};
		QsHttpRequest request = {
			.method = vectors[i].method,
			.headers = &type,
			.n_headers = vectors[i].type != NULL,
			.body = vectors[i].body,
			.body_length = vectors[i].body ? strlen(vectors[i].body) : 0,
		};

		/* 2015-08-30T12:36:00Z */
		assert_true(qs_sign_request(arena, &qs_signing_aws, &account,
									vectors[i].host, vectors[i].path,
									vectors[i].query, "us-east-1",
									vectors[i].service,
									vectors[i].type ? also : NULL,
									INT64_C(1440938160), &request, &error));
		print_message("  %s\n", vectors[i].name);
		assert_signature(&request, vectors[i].signature);
	}
}

static void
aws_escapes_the_path_twice_when_signing(void **state)
{
	(void) state;
	assert_string_equal(qs_canonical_path(arena, "/a b/c", false),
						"/a%20b/c");
	assert_string_equal(qs_canonical_path(arena, "/a b/c", true),
						"/a%2520b/c");
}

static void
memory_limit_is_an_error(void **state)
{
	QsArena    *big = arena;

	(void) state;
	for (size_t limit = 1; limit < 4096; limit += 37)
	{
		arena = qs_arena_new(limit);
		assert_non_null(arena);
		if (sign("GET", GROUPS_HOST, "A=1", "s", NULL, NULL).url == NULL)
			assert_int_equal(error.class, QS_ERROR_RESOURCES);
		qs_arena_free(arena);
	}
	arena = big;
}

/* "NAME=value" pairs as an environment. */
static const char *
look_up(void *context, const char *name)
{
	const char *const *pairs = context;

	for (; *pairs != NULL; pairs++)
	{
		size_t		length = strlen(name);

		if (strncmp(*pairs, name, length) == 0 && (*pairs)[length] == '=')
			return *pairs + length + 1;
	}
	return NULL;
}

static bool
from_environment(const char *const *pairs, QsCredentials *credentials)
{
	return qs_credentials_from_environment("byteplus", look_up,
										   (void *) pairs, credentials,
										   &error);
}

static void
environment_chain_takes_whole_links_only(void **state)
{
	static const char *const both[] = {"BYTEPLUS_ACCESS_KEY=bk",
		"BYTEPLUS_SECRET_ACCESS_KEY=bs", "ACCESS_KEY_ID=k",
	"SECRET_ACCESS_KEY=s", "SESSION_TOKEN=t", NULL};
	static const char *const half[] = {"BYTEPLUS_ACCESS_KEY=bk",
		"BYTEPLUS_SESSION_TOKEN=bt", "ACCESS_KEY_ID=k",
	"SECRET_ACCESS_KEY= s\n", NULL};
	static const char *const none[] = {"ACCESS_KEY_ID=k",
	"SECRET_ACCESS_KEY=", NULL};
	static const char *const evil[] = {"ACCESS_KEY_ID=k\r\nX: y",
	"SECRET_ACCESS_KEY=s3cr3t", NULL};
	static const char *const amazon[] = {"ACCESS_KEY_ID=k",
		"SECRET_ACCESS_KEY=s", "AWS_ACCESS_KEY_ID=ak",
	"AWS_SECRET_ACCESS_KEY=as", "AWS_SESSION_TOKEN=at", NULL};
	QsCredentials credentials;

	(void) state;
	assert_true(from_environment(both, &credentials));
	assert_string_equal(credentials.access_key_id, "bk");
	assert_string_equal(credentials.secret_access_key, "bs");
	assert_string_equal(credentials.session_token, "");
	assert_true(from_environment(half, &credentials));
	assert_string_equal(credentials.access_key_id, "k");
	assert_string_equal(credentials.secret_access_key, "s");
	assert_string_equal(credentials.session_token, "");
	assert_false(from_environment(none, &credentials));
	assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
	assert_non_null(strstr(error.message, "SECRET_ACCESS_KEY"));
	assert_false(from_environment(evil, &credentials));
	assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
	assert_null(strstr(error.message, "s3cr3t"));
	assert_string_equal(credentials.access_key_id, "");
	assert_true(qs_credentials_from_environment("aws", look_up,
												(void *) amazon, &credentials,
												&error));
	assert_string_equal(credentials.access_key_id, "ak");
	assert_string_equal(credentials.secret_access_key, "as");
	assert_string_equal(credentials.session_token, "at");
	assert_false(qs_credentials_from_environment("aws", look_up,
												 (void *) both, &credentials,
												 &error));
	assert_non_null(strstr(error.message, "AWS_SECRET_ACCESS_KEY"));
	assert_false(qs_credentials_from_environment("nobody", look_up,
												 (void *) both, &credentials,
												 &error));
}

static void
cleansing_leaves_no_secret(void **state)
{
	static const QsCredentials empty;

	(void) state;
	assert_non_null(qs_signing_key(&qs_signing_byteplus, &account, "20240102",
								   REGION, "auto_scaling"));
	qs_account_cleanse(&account);
	assert_memory_equal(&account.credentials, &empty, sizeof(empty));
	for (int i = 0; i < QS_SIGNING_KEYS; i++)
	{
		static const QsSigningKey unused;

		assert_memory_equal(&account.signing_keys[i], &unused,
							sizeof(unused));
	}
}

#define TEST(name)	cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(v1_describe_by_ids),
		TEST(v2_post_with_content_type),
		TEST(v2n_post_without_content_type),
		TEST(v3_modify),
		TEST(canonical_requests_of_the_vectors),
		TEST(key_chain_of_the_reference),
		TEST(keys_are_remembered_until_the_secret_changes),
		TEST(session_token_is_sent_and_signed),
		TEST(default_ports_are_dropped_and_others_signed),
		TEST(odd_endpoints_are_refused),
		TEST(keys_that_would_break_a_header_are_refused),
		TEST(query_is_escaped_then_sorted),
		TEST(aws_published_vectors),
		TEST(aws_escapes_the_path_twice_when_signing),
		TEST(memory_limit_is_an_error),
		TEST(environment_chain_takes_whole_links_only),
		TEST(cleansing_leaves_no_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
