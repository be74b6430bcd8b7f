/*-------------------------------------------------------------------------
 * test_credential_sources.c
 *		Where temporary credentials come from: requests as the vendor's own
 *		tools make them, replies of the published shapes, and what lies are
 *		worth.
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "cloud/credential_source.h"

#define NOW_US	(INT64_C(1704164645) * 1000000) /* 2024-01-02T03:04:05Z */

static QsCredentialFetch fetch;
static QsError error;

static QsCredentialStep
start(const QsCredentialSource *source, QsCredentialConfig config)
{
	return qs_credential_start(&fetch, source, &config, &error);
}

static QsCredentialStep
answer(int status, const char *body)
{
	QsHttpReply reply = {
		.status = status,
		.content_type = "",
		.body = body,
		.body_length = strlen(body),
		.retry_after_ms = -1,
		.date_epoch_s = -1
	};

	return qs_credential_reply(&fetch, &reply, NOW_US, &error);
}

static void
check_request(const char *method, const char *url, const char *header,
			  const char *value)
{
	assert_string_equal(fetch.request.method, method);
	assert_string_equal(fetch.request.url, url);
	assert_int_equal(fetch.request.n_headers, 1);
	assert_string_equal(fetch.request.headers[0].name, header);
	assert_string_equal(fetch.request.headers[0].value, value);
}

#define ECS				(&qs_credential_byteplus_ecs)
#define OIDC			(&qs_credential_byteplus_oidc)
#define ROLES			"/volcstack/latest/iam/security_credentials"
#define TOKEN_HEADER	"X-volc-ecs-metadata-token"
#define NONE			((QsCredentialConfig) {0})
#define GOOD_ECS \
	"{\"AccessKeyId\":\"AKTP1\",\"SecretAccessKey\":\"S\"," \
	"\"SessionToken\":\"T\",\"ExpiredTime\":\"2024-01-02T12:04:05+08:00\"}"
#define GOOD_OIDC \
	"{\"ResponseMetadata\":{\"RequestId\":\"r\"},\"Result\":{" \
	"\"Credentials\":{\"CurrentTime\":\"2024-01-02T03:04:05Z\"," \
	"\"Expiration\":\"2024-01-02T04:04:05Z\",\"AccessKeyId\":\"AKTP2\"," \
	"\"SecretAccessKey\":\"S2\",\"SessionToken\":\"T2\"}," \
	"\"AssumedRoleUser\":{\"Trn\":\"t\",\"AssumedRoleId\":\"i\"}}}"

static void
an_instance_s_role_is_asked_for_in_three_steps(void **state)
{
	(void) state;
	assert_int_equal(start(ECS, NONE), QS_CREDENTIAL_ASK);
	check_request("PUT", "http://100.96.0.96/latest/api/token",
				  "X-volc-ecs-metadata-token-ttl-seconds", "21600");
	assert_int_equal(answer(200, "the-token\n"), QS_CREDENTIAL_ASK);
	check_request("GET", "http://100.96.0.96" ROLES "?type=user&format=json",
				  TOKEN_HEADER, "the-token");
	assert_int_equal(answer(200, "[\"scaler\",\"other\"]"), QS_CREDENTIAL_ASK);
	check_request("GET", "http://100.96.0.96" ROLES "/scaler", TOKEN_HEADER,
				  "the-token");
	assert_int_equal(answer(200, GOOD_ECS), QS_CREDENTIAL_DONE);
	assert_string_equal(fetch.credentials.access_key_id, "AKTP1");
	assert_string_equal(fetch.credentials.secret_access_key, "S");
	assert_string_equal(fetch.credentials.session_token, "T");

	assert_int_equal(fetch.expires_at_us - NOW_US, INT64_C(3600000000));
}

static void
a_role_that_is_named_is_not_looked_up_and_becomes_one_path_component(void **state)
{
	(void) state;
	assert_int_equal(start(ECS, (QsCredentialConfig) {
		.endpoint = "http://127.0.0.1:8080/", .role = "a/b?c d"}),
					 QS_CREDENTIAL_ASK);
	assert_int_equal(answer(200, "t"), QS_CREDENTIAL_ASK);
	check_request("GET", "http://127.0.0.1:8080" ROLES "/a%2Fb%3Fc%20d",
				  TOKEN_HEADER, "t");
	assert_int_equal(answer(404, "none"), QS_CREDENTIAL_FAILED);
	assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
	assert_non_null(strstr(error.message, "404"));

	assert_int_equal(start(ECS, (QsCredentialConfig) {.role = ".."}),
					 QS_CREDENTIAL_ASK);
	assert_int_equal(answer(200, "t"), QS_CREDENTIAL_FAILED);
}

static void
roles_come_as_json_or_as_lines(void **state)
{
	static const struct
	{
		const char *body;
		const char *role;		/* NULL = none is found */
	}			cases[] = {
		{"[\"one\"]", "one"},
		{"one\ntwo\n", "one"},
		{"one\r\n", "one"},
		{"one", "one"},
		{"[]", NULL},
		{"", NULL},
		{"\n", NULL},
		{"{}", NULL},
		{"[1]", NULL},
		{"[null]", NULL},
		{"[\"\"]", NULL},
		{"[\"a b\"]", NULL},
		{"[\"one\"", NULL},
		{"{\"Error\"", NULL},
		{"<html>", NULL},
		{"[\".\"]", NULL},
		{"..\n", NULL},
	};
	char		url[200];

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		assert_int_equal(start(ECS, NONE), QS_CREDENTIAL_ASK);
		assert_int_equal(answer(200, "t"), QS_CREDENTIAL_ASK);
		if (cases[i].role == NULL)
		{
			if (answer(200, cases[i].body) != QS_CREDENTIAL_FAILED)
				fail_msg("\"%s\" is taken for a role", cases[i].body);
			continue;
		}
		assert_int_equal(answer(200, cases[i].body), QS_CREDENTIAL_ASK);
		snprintf(url, sizeof(url), "http://100.96.0.96" ROLES "/%s",
				 cases[i].role);
		assert_string_equal(fetch.request.url, url);
	}
}

static void
a_token_that_is_no_header_is_refused(void **state)
{
	static const char *const bodies[] = {"", " \n", "a b", "a\r\nX-Other: b",
		"a\tb", "<html>\n</html>", "\x80", "{\"Code\": 1}"};
	char		large[QS_CREDENTIAL_HEADER_MAX + 10];

	(void) state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
	{
		assert_int_equal(start(ECS, NONE), QS_CREDENTIAL_ASK);
		if (answer(200, bodies[i]) != QS_CREDENTIAL_FAILED)
			fail_msg("\"%s\" is taken for a token", bodies[i]);
		assert_int_equal(error.class, QS_ERROR_MALFORMED);
	}
	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	assert_int_equal(start(ECS, NONE), QS_CREDENTIAL_ASK);
	assert_int_equal(answer(200, large), QS_CREDENTIAL_FAILED);
}

static void
credentials_are_whole_and_good_for_a_while_or_refused(void **state)
{
	static const char *const bodies[] = {
		"", "[]", "{}", "null", "\"x\"", "{\"AccessKeyId\":\"A\"",
		"{\"AccessKeyId\":1,\"SecretAccessKey\":\"S\",\"SessionToken\":\"T\","
		"\"ExpiredTime\":\"2024-01-02T09:00:00Z\"}",
		"{\"AccessKeyId\":\"A\",\"SessionToken\":\"T\","
		"\"ExpiredTime\":\"2024-01-02T09:00:00Z\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		"\"ExpiredTime\":\"2024-01-02T09:00:00Z\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		"\"SessionToken\":\"T\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		"\"SessionToken\":\"T\",\"ExpiredTime\":\"soon\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		"\"SessionToken\":\"T\",\"ExpiredTime\":\"2024-01-02T03:04:05Z\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		"\"SessionToken\":\"T\",\"ExpiredTime\":\"1970-01-01T00:00:00Z\"}",
		"{\"AccessKeyId\":\"A\\r\\nX: y\",\"SecretAccessKey\":\"S\","
		"\"SessionToken\":\"T\",\"ExpiredTime\":\"2024-01-02T09:00:00Z\"}",
		"{\"AccessKeyId\":\"A\",\"AccessKeyId\":\"B\",\"SecretAccessKey\":"
		"\"S\",\"SessionToken\":\"T\",\"ExpiredTime\":\"2024-01-02T09:00:00Z\"}",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
	{
		assert_int_equal(start(ECS, (QsCredentialConfig) {.role = "r"}),
						 QS_CREDENTIAL_ASK);
		assert_int_equal(answer(200, "t"), QS_CREDENTIAL_ASK);
		if (answer(200, bodies[i]) != QS_CREDENTIAL_FAILED)
			fail_msg("%s is taken for credentials", bodies[i]);
		assert_string_equal(fetch.credentials.secret_access_key, "");
		assert_string_equal(fetch.credentials.access_key_id, "");
	}
}

static void
credentials_for_a_century_are_asked_for_again_after_a_day(void **state)
{
	(void) state;
	start(ECS, (QsCredentialConfig) {.role = "r"});
	answer(200, "t");
	assert_int_equal(answer(200, "{\"AccessKeyId\":\"A\",\"SecretAccessKey\":"
							"\"S\",\"SessionToken\":\"T\",\"ExpiredTime\":"
							"\"2124-01-02T09:00:00Z\"}"), QS_CREDENTIAL_DONE);
	assert_int_equal(fetch.expires_at_us - NOW_US, QS_CREDENTIAL_LONGEST_US);
}

static void
a_token_is_exchanged_by_one_form(void **state)
{
	(void) state;
	assert_int_equal(start(OIDC, (QsCredentialConfig) {
		.role = "trn:iam::2000000001:role/scaler", .token = "ey.J-_"}),
					 QS_CREDENTIAL_ASK);
	check_request("POST", "https://sts.ap-southeast-1.byteplusapi.com/"
				  "?Action=AssumeRoleWithOIDC&Version=2018-01-01",
				  "Content-Type", "application/x-www-form-urlencoded");
	assert_string_equal(fetch.request.body,
						"RoleTrn=trn%3Aiam%3A%3A2000000001%3Arole%2Fscaler"
						"&OIDCToken=ey.J-_&RoleSessionName=qpsscale"
						"&DurationSeconds=3660");
	assert_int_equal(fetch.request.body_length, strlen(fetch.request.body));
	assert_int_equal(answer(200, GOOD_OIDC), QS_CREDENTIAL_DONE);
	assert_string_equal(fetch.credentials.access_key_id, "AKTP2");
	assert_string_equal(fetch.credentials.session_token, "T2");
	assert_int_equal(fetch.expires_at_us - NOW_US, INT64_C(3600000000));

	assert_int_equal(start(OIDC, (QsCredentialConfig) {
		.endpoint = "https://sts.example.com", .role = "r", .token = "a&b=c",
		.session_name = "me", .policy = "{\"a\": 1}"}), QS_CREDENTIAL_ASK);
	assert_string_equal(fetch.request.body,
						"RoleTrn=r&OIDCToken=a%26b%3Dc&RoleSessionName=me"
						"&DurationSeconds=3660&Policy=%7B%22a%22%3A%201%7D");
	assert_int_equal(strncmp(fetch.request.url, "https://sts.example.com/?",
							 25), 0);
}

static void
a_token_or_role_that_is_missing_or_too_long_is_not_sent(void **state)
{
	static char large[QS_CREDENTIAL_BODY_MAX];

	(void) state;
	assert_int_equal(start(OIDC, NONE), QS_CREDENTIAL_FAILED);
	assert_int_equal(start(OIDC, (QsCredentialConfig) {.role = "r"}),
					 QS_CREDENTIAL_FAILED);
	assert_int_equal(start(OIDC, (QsCredentialConfig) {.token = "t"}),
					 QS_CREDENTIAL_FAILED);
	memset(large, '%', sizeof(large) - 1);
	assert_int_equal(start(OIDC, (QsCredentialConfig) {.role = "r",
		.token = large}), QS_CREDENTIAL_FAILED);
	assert_int_equal(start(OIDC, (QsCredentialConfig) {.endpoint = large,
		.role = "r", .token = "t"}), QS_CREDENTIAL_FAILED);
	assert_int_equal(start(ECS, (QsCredentialConfig) {.endpoint = large}),
					 QS_CREDENTIAL_FAILED);
}

static void
a_refusal_says_why_and_quotes_no_secret(void **state)
{
	static const struct
	{
		int			status;
		const char *body;
		QsErrorClass class;
		const char *said;
	}			cases[] = {
		{400, "{\"ResponseMetadata\":{\"Error\":{\"Code\":\"InvalidToken\","
			"\"Message\":\"canaryToken\"}}}",
		QS_ERROR_CREDENTIAL, "HTTP 400, InvalidToken"},
		{200, "{\"ResponseMetadata\":{\"Error\":{\"Code\":\"AccessDenied\"}}}",
		QS_ERROR_CREDENTIAL, "AccessDenied"},
		{403, "{\"ResponseMetadata\":{\"Error\":{\"Code\":\"canaryToken\"}}}",
		QS_ERROR_CREDENTIAL, "HTTP 403)"},
		{403, "{\"ResponseMetadata\":{\"Error\":{\"Code\":\"a b: canary\"}}}",
		QS_ERROR_CREDENTIAL, "HTTP 403)"},
		{429, "", QS_ERROR_THROTTLED, "HTTP 429)"},
		{500, "<html>canaryToken", QS_ERROR_TRANSIENT, "HTTP 500)"},
		{503, "{}", QS_ERROR_TRANSIENT, "HTTP 503)"},
		{302, "", QS_ERROR_CREDENTIAL, "HTTP 302)"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		start(OIDC, (QsCredentialConfig) {.role = "r",
			.token = "ey.canaryToken.x"});
		assert_int_equal(answer(cases[i].status, cases[i].body),
						 QS_CREDENTIAL_FAILED);
		if (error.class != cases[i].class ||
			strstr(error.message, cases[i].said) == NULL ||
			strstr(error.message, "canary") != NULL ||
			strstr(error.code, "canary") != NULL)
			fail_msg("case %zu: %s %s", i, error.code, error.message);
	}
}

static void
nothing_is_left_of_a_fetch_that_is_forgotten(void **state)
{
	const char *bytes = (const char *) &fetch;

	(void) state;
	start(OIDC, (QsCredentialConfig) {.role = "r", .token = "canary"});
	answer(200, GOOD_OIDC);
	qs_credential_forget(&fetch);
	for (size_t i = 0; i < sizeof(fetch); i++)
		assert_int_equal(bytes[i], 0);
}

static void
the_command_line_tool_s_file_gives_keys_that_stand_in_it(void **state)
{
	static const struct
	{
		const char *text;
		const char *profile;
		const char *key;		/* NULL = refused */
		int64_t		expires_at_us;
	}			cases[] = {
		{"{\"current\":\"p\",\"profiles\":{\"p\":{\"mode\":\"ak\","
		"\"access-key\":\"K\",\"secret-key\":\"S\"}}}", NULL, "K", INT64_MAX},
		{"{\"profiles\":{\"default\":{\"access-key\":\"K\",\"secret-key\":"
		"\"S\"}}}", NULL, "K", INT64_MAX},
		{"{\"current\":\"p\",\"profiles\":{\"p\":{},\"q\":{\"mode\":\"AK\","
		"\"access-key\":\"Q\",\"secret-key\":\"S\"}}}", "q", "Q", INT64_MAX},
		{"{\"profiles\":{\"default\":{\"mode\":\"sso\",\"access-key\":\"K\","
			"\"secret-key\":\"S\",\"sts-expiration\":1704164700}}}", NULL, "K",
		INT64_C(1704164700000000)},
		{"{\"profiles\":{\"default\":{\"mode\":\"sso\",\"access-key\":\"K\","
			"\"secret-key\":\"S\",\"sts-expiration\":1704164700000}}}", NULL,
		"K", INT64_C(1704164700000000)},
		{"{\"profiles\":{\"default\":{\"mode\":\"sso\",\"access-key\":\"K\","
			"\"secret-key\":\"S\",\"sts-expiration\":1704164645}}}", NULL,
		NULL, 0},
		{"{\"profiles\":{\"default\":{\"mode\":\"sso\",\"access-key\":\"K\","
		"\"secret-key\":\"S\"}}}", NULL, NULL, 0},
		{"{\"profiles\":{\"default\":{\"mode\":\"sso\",\"access-key\":\"K\","
			"\"secret-key\":\"S\",\"sts-expiration\":-1}}}", NULL, NULL, 0},
		{"{\"profiles\":{\"default\":{\"mode\":\"ecsrole\"}}}", NULL, NULL, 0},
		{"{\"profiles\":{\"default\":{\"access-key\":\"K\"}}}", NULL, NULL, 0},
		{"{\"profiles\":{\"default\":{\"access-key\":\"K\",\"secret-key\":"
		"\"S\\nT\"}}}", NULL, NULL, 0},
		{"{\"profiles\":{}}", NULL, NULL, 0},
		{"{\"profiles\":[]}", NULL, NULL, 0},
		{"{\"profiles\":{\"default\":[]}}", NULL, NULL, 0},
		{"", NULL, NULL, 0},
		{"[default]\nkey = x\n", NULL, NULL, 0},
	};
	QsCredentials credentials;
	int64_t		expires_at_us;

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		bool		ok = qs_credentials_from_cli_file(cases[i].text,
													  strlen(cases[i].text),
													  cases[i].profile, NOW_US,
													  &credentials,
													  &expires_at_us, &error);

		if (ok != (cases[i].key != NULL))
			fail_msg("case %zu: %s", i, error.message);
		if (ok)
		{
			assert_string_equal(credentials.access_key_id, cases[i].key);
			assert_int_equal(expires_at_us, cases[i].expires_at_us);
		}
		else
		{
			assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
			assert_string_equal(credentials.secret_access_key, "");
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_instance_s_role_is_asked_for_in_three_steps),
		cmocka_unit_test(a_role_that_is_named_is_not_looked_up_and_becomes_one_path_component),
		cmocka_unit_test(roles_come_as_json_or_as_lines),
		cmocka_unit_test(a_token_that_is_no_header_is_refused),
		cmocka_unit_test(credentials_are_whole_and_good_for_a_while_or_refused),
		cmocka_unit_test(credentials_for_a_century_are_asked_for_again_after_a_day),
		cmocka_unit_test(a_token_is_exchanged_by_one_form),
		cmocka_unit_test(a_token_or_role_that_is_missing_or_too_long_is_not_sent),
		cmocka_unit_test(a_refusal_says_why_and_quotes_no_secret),
		cmocka_unit_test(nothing_is_left_of_a_fetch_that_is_forgotten),
		cmocka_unit_test(the_command_line_tool_s_file_gives_keys_that_stand_in_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
