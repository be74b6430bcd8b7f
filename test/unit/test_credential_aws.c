/*-------------------------------------------------------------------------
 * test_credential_aws.c
 *		Where AWS gives temporary credentials: requests as botocore makes
 *		them, replies of the published shapes, and what lies are worth.
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
#include "cloud/profile.h"

#define NOW_US	(INT64_C(1704164645) * 1000000) /* 2024-01-02T03:04:05Z */

static QsCredentialFetch fetch;
static QsError error;

static QsCredentialStep
start(const QsCredentialSource *source, QsCredentialConfig config)
{
	config.now_us = NOW_US;
	return qs_credential_start(&fetch, source, &config, &error);
}

static QsCredentialStep
answer_at(int status, const char *body, int64_t date_s)
{
	QsHttpReply reply = {
		.status = status,
		.content_type = "",
		.body = body,
		.body_length = strlen(body),
		.retry_after_ms = -1,
		.date_epoch_s = date_s
	};

	return qs_credential_reply(&fetch, &reply, NOW_US, &error);
}

static QsCredentialStep
answer(int status, const char *body)
{
	return answer_at(status, body, -1);
}

static const char *
header(const char *name)
{
	for (int i = 0; i < fetch.request.n_headers; i++)
		if (strcmp(fetch.request.headers[i].name, name) == 0)
			return fetch.request.headers[i].value;
	return NULL;
}

static void
check_request(const char *method, const char *url)
{
	assert_string_equal(fetch.request.method, method);
	assert_string_equal(fetch.request.url, url);
}

#define IMDS		(&qs_credential_aws_imds)
#define CONTAINER	(&qs_credential_aws_container)
#define WEB			(&qs_credential_aws_web_identity)
#define ASSUME		(&qs_credential_aws_assume_role)
#define ROLES		"http://169.254.169.254/latest/meta-data/iam/" \
	"security-credentials/"
#define NONE		((QsCredentialConfig) {0})
#define ROLE		"arn:aws:iam::123456789012:role/scaler"

#define GIVEN \
	"<Credentials><AccessKeyId>ASIA1</AccessKeyId><SecretAccessKey>S/1+" \
	"</SecretAccessKey><SessionToken>T==</SessionToken><Expiration>" \
	"2024-01-02T04:04:05Z</Expiration></Credentials>"
#define REPLY(action, inner) \
	"<" action "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">" \
	"<" action "Result>" inner "<AssumedRoleUser><Arn>a</Arn></AssumedRoleUser>" \
	"</" action "Result><ResponseMetadata><RequestId>r</RequestId>" \
	"</ResponseMetadata></" action "Response>"
#define REFUSAL(code) \
	"<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">" \
	"<Error><Type>Sender</Type><Code>" code "</Code><Message>canary in it" \
	"</Message></Error><RequestId>r</RequestId></ErrorResponse>"
#define GOOD_IMDS \
	"{\"Code\":\"Success\",\"LastUpdated\":\"2024-01-02T03:00:00Z\"," \
	"\"Type\":\"AWS-HMAC\",\"AccessKeyId\":\"ASIA2\"," \
	"\"SecretAccessKey\":\"S2\",\"Token\":\"T2\"," \
	"\"Expiration\":\"2024-01-02T09:04:05Z\"}"

static const QsCredentials base = {
	.access_key_id = "AKIDEXAMPLE",
	.secret_access_key = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
};

/* ----------
 * The metadata service of an instance
 * ----------
 */
static void
an_instance_s_role_is_asked_for_in_three_steps(void **state)
{
	(void) state;
	assert_int_equal(start(IMDS, NONE), QS_CREDENTIAL_ASK);
	check_request("PUT", "http://169.254.169.254/latest/api/token");
	assert_string_equal(header("X-aws-ec2-metadata-token-ttl-seconds"),
						"21600");
	assert_int_equal(answer(200, "AQAEAtoken=="), QS_CREDENTIAL_ASK);
	check_request("GET", ROLES);
	assert_string_equal(header("X-aws-ec2-metadata-token"), "AQAEAtoken==");
	assert_int_equal(answer(200, "scaler"), QS_CREDENTIAL_ASK);
	check_request("GET", ROLES "scaler");
	assert_int_equal(answer(200, GOOD_IMDS), QS_CREDENTIAL_DONE);
	assert_string_equal(fetch.credentials.access_key_id, "ASIA2");
	assert_string_equal(fetch.credentials.session_token, "T2");
	assert_int_equal(fetch.expires_at_us - NOW_US, INT64_C(6 * 3600) * 1000000);

	assert_int_equal(start(IMDS, (QsCredentialConfig) {
		.endpoint = "http://[fd00:ec2::254]/"}), QS_CREDENTIAL_ASK);
	check_request("PUT", "http://[fd00:ec2::254]/latest/api/token");
	assert_true(IMDS->request_timeout_ms <= 1000);
}

static void
an_error_in_a_reply_of_200_is_one(void **state)
{
	(void) state;
	start(IMDS, (QsCredentialConfig) {.role = "r"});
	answer(200, "t");
	assert_int_equal(answer(200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\","
							"\"Message\":\"canary\"}"), QS_CREDENTIAL_FAILED);
	assert_non_null(strstr(error.message, "AssumeRoleUnauthorizedAccess"));
	assert_null(strstr(error.message, "canary"));

	start(IMDS, (QsCredentialConfig) {.role = "r"});
	answer(200, "t");
	assert_int_equal(answer(200, "{\"Code\":\"Success\"}"),
					 QS_CREDENTIAL_FAILED);
	assert_int_equal(error.class, QS_ERROR_MALFORMED);
}

static void
an_instance_s_credentials_that_end_soon_or_have_ended_are_used(void **state)
{
	static const char *const ends[] = {"2024-01-02T03:05:00Z",
		"2024-01-02T03:04:05Z", "2023-12-31T00:00:00Z"};
	char		body[300];

	(void) state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
	{
		snprintf(body, sizeof(body), "{\"Code\":\"Success\",\"AccessKeyId\":"
				 "\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\","
				 "\"Expiration\":\"%s\"}", ends[i]);
		start(IMDS, (QsCredentialConfig) {.role = "r"});
		answer(200, "t");
		assert_int_equal(answer(200, body), QS_CREDENTIAL_DONE);
		assert_int_equal(fetch.expires_at_us - NOW_US,
						 QS_CREDENTIAL_EXTENDED_US);

		/* only there: a container's are over when they say so */
		if (i > 0)
		{
			start(CONTAINER, (QsCredentialConfig) {
				.endpoint = "http://169.254.170.2/x"});
			assert_int_equal(answer(200, body), QS_CREDENTIAL_FAILED);
			assert_string_equal(error.code, "expired");
		}
	}
}

/* ----------
 * Containers
 * ----------
 */
static void
a_container_asks_once_with_its_authorization(void **state)
{
	(void) state;
	assert_int_equal(start(CONTAINER, (QsCredentialConfig) {
		.endpoint = "http://169.254.170.2/v2/credentials/1-2?a=b"}),
					 QS_CREDENTIAL_ASK);
	check_request("GET", "http://169.254.170.2/v2/credentials/1-2?a=b");
	assert_null(header("Authorization"));
	assert_int_equal(answer(200, "{\"RoleArn\":\"r\",\"AccessKeyId\":\"ASIA3\","
							"\"SecretAccessKey\":\"S3\",\"Token\":\"T3\","
							"\"Expiration\":\"2024-01-02T09:04:05Z\"}"),
					 QS_CREDENTIAL_DONE);
	assert_string_equal(fetch.credentials.access_key_id, "ASIA3");

	start(CONTAINER, (QsCredentialConfig) {
		.endpoint = "http://169.254.170.23/v1/credentials",
		.token = "ey.J.x"});
	assert_string_equal(header("Authorization"), "ey.J.x");
	assert_int_equal(answer(403, "{\"code\":\"AccessDeniedException\","
							"\"message\":\"canary\"}"), QS_CREDENTIAL_FAILED);
	assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
	assert_non_null(strstr(error.message, "AccessDeniedException"));
	assert_null(strstr(error.message, "canary"));
}

static void
a_container_s_address_is_https_or_leads_into_this_host(void **state)
{
	static const char *const good[] = {
		"https://credentials.example.com/x", "http://169.254.170.2/x",
		"http://169.254.170.23/v1/credentials", "http://169.254.170.2",
		"http://[fd00:ec2::23]/v1/credentials", "http://127.0.0.1:8080/x",
		"http://127.9.9.9/x", "http://[::1]/x", "http://[::1]:80?x",
	};
	static const char *const bad[] = {
		"", "/x", "ftp://127.0.0.1/x", "http://", "http:///x",
		"http://169.254.169.254/x", "http://169.254.170.3/x",
		"http://[fd00:ec2::254]/x", "http://[fd00:ec2::24]/x",
		"http://10.0.0.1/x", "http://localhost/x", "http://example.com/x",
		"http://127.0.0.1@example.com/x", "http://127.0.0.1:80@example.com/x",
		"http://169.254.170.2.example.com/x", "http://169.254.170.2:8x/x",
		"http://[::1]x/", "http://[::1", "http://[::1]@example.com/",
		"http://127.1/x", "http://0x7f000001/x", "http://169.254.170.2\\@x/",
		"http://a\r\nb/x", "http://[::ffff:10.0.0.1]/x", "HTTP://127.0.0.1/x",
		"http://example.com#[::1]", "http://example.com?127.0.0.1",
	};

	(void) state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (start(CONTAINER, (QsCredentialConfig) {.endpoint = good[i]}) !=
			QS_CREDENTIAL_ASK)
			fail_msg("%s is refused", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (start(CONTAINER, (QsCredentialConfig) {.endpoint = bad[i]}) !=
			QS_CREDENTIAL_FAILED)
			fail_msg("%s is asked", bad[i]);
}

static void
an_authorization_that_is_no_header_is_not_sent(void **state)
{
	static const char *const tokens[] = {"a\r\nX-Other: b", "a\nb", "\x80",
	" \n"};

	(void) state;
	start(CONTAINER, (QsCredentialConfig) {
		.endpoint = "https://a.example.com/", .token = "Basic YTpi\n"});
	assert_string_equal(header("Authorization"), "Basic YTpi");
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
		assert_int_equal(start(CONTAINER, (QsCredentialConfig) {
			.endpoint = "https://a.example.com/", .token = tokens[i]}),
						 QS_CREDENTIAL_FAILED);
}

/* ----------
 * The security token service
 * ----------
 */
static void
a_token_is_exchanged_by_one_unsigned_form(void **state)
{
	(void) state;
	assert_int_equal(start(WEB, (QsCredentialConfig) {
		.role = ROLE, .token = "ey.J-_", .region = "eu-west-1"}),
					 QS_CREDENTIAL_ASK);
	check_request("POST", "https://sts.eu-west-1.amazonaws.com/");
	assert_string_equal(fetch.request.body,
						"Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
						"&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2F"
						"scaler&RoleSessionName=qpsscale&DurationSeconds=3600"
						"&WebIdentityToken=ey.J-_");
	assert_null(header("Authorization"));
	assert_int_equal(answer(200, REPLY("AssumeRoleWithWebIdentity", GIVEN)),
					 QS_CREDENTIAL_DONE);
	assert_string_equal(fetch.credentials.access_key_id, "ASIA1");
	assert_string_equal(fetch.credentials.secret_access_key, "S/1+");
	assert_string_equal(fetch.credentials.session_token, "T==");
	assert_int_equal(fetch.expires_at_us - NOW_US, INT64_C(3600000000));
}

static void
each_partition_has_its_own_service_and_no_region_the_global_one(void **state)
{
	static const struct
	{
		const char *region;
		const char *endpoint;
		const char *url;
	}			cases[] = {
		{NULL, NULL, "https://sts.amazonaws.com/"},
		{"", "", "https://sts.amazonaws.com/"},
		{"us-gov-west-1", NULL, "https://sts.us-gov-west-1.amazonaws.com/"},
		{"cn-north-1", NULL, "https://sts.cn-north-1.amazonaws.com.cn/"},
		{"eu-west-1", "https://sts.example.com:8443",
		"https://sts.example.com:8443/"},
		{"eu-west-1", "https://sts.example.com/", "https://sts.example.com/"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		QsCredentialConfig config = {.role = ROLE, .token = "t",
			.region = cases[i].region, .endpoint = cases[i].endpoint};

		assert_int_equal(start(WEB, config), QS_CREDENTIAL_ASK);
		assert_string_equal(fetch.request.url, cases[i].url);
		config.base = &base;
		assert_int_equal(start(ASSUME, config), QS_CREDENTIAL_ASK);
		assert_string_equal(fetch.request.url, cases[i].url);
	}
	assert_non_null(strstr(header("Authorization"), "/eu-west-1/sts/"));
	start(WEB, (QsCredentialConfig) {.role = ROLE, .token = "t",
		.region = "eu-west-1", .dual_stack = true});
	assert_string_equal(fetch.request.url, "https://sts.eu-west-1.api.aws/");
	start(ASSUME, (QsCredentialConfig) {.role = ROLE, .base = &base});
	assert_non_null(strstr(header("Authorization"),
						   "/20240102/us-east-1/sts/aws4_request"));
	assert_int_equal(start(WEB, (QsCredentialConfig) {.role = ROLE,
		.token = "t", .region = "x.example.com/"}), QS_CREDENTIAL_FAILED);
}

/* The signature is what botocore computes for this request. */
static void
a_role_is_assumed_by_a_signed_form(void **state)
{
	(void) state;
	assert_int_equal(start(ASSUME, (QsCredentialConfig) {
		.role = ROLE, .external_id = "two words:1", .session_name = "me",
		.region = "eu-west-1", .base = &base}), QS_CREDENTIAL_ASK);
	check_request("POST", "https://sts.eu-west-1.amazonaws.com/");
	assert_string_equal(fetch.request.body,
						"Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws"
						"%3Aiam%3A%3A123456789012%3Arole%2Fscaler"
						"&RoleSessionName=me&DurationSeconds=3600"
						"&ExternalId=two%20words%3A1");
	assert_string_equal(header("X-Amz-Date"), "20240102T030405Z");
	assert_string_equal(header("Authorization"),
						"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20240102/"
						"eu-west-1/sts/aws4_request, SignedHeaders="
						"content-type;host;x-amz-date, Signature=dfc2d8853181463059f090053fcb890013688f3499412428d74640d5ddb032ba");
	assert_null(header("X-Amz-Security-Token"));
	assert_int_equal(answer(200, REPLY("AssumeRole", GIVEN)),
					 QS_CREDENTIAL_DONE);
	assert_string_equal(fetch.credentials.access_key_id, "ASIA1");
}

static void
temporary_credentials_assume_a_role_with_their_token(void **state)
{
	QsCredentials temporary = base;

	(void) state;
	strcpy(temporary.session_token, "the/token==");
	assert_int_equal(start(ASSUME, (QsCredentialConfig) {.role = ROLE,
		.base = &temporary}), QS_CREDENTIAL_ASK);
	assert_string_equal(header("X-Amz-Security-Token"), "the/token==");
	assert_non_null(strstr(header("Authorization"), "x-amz-security-token"));
}

static void
a_clock_that_is_wrong_is_corrected_once_by_the_service_s(void **state)
{
	(void) state;
	start(ASSUME, (QsCredentialConfig) {.role = ROLE, .base = &base});
	assert_int_equal(answer_at(403, REFUSAL("SignatureDoesNotMatch"),
							   NOW_US / 1000000 + 3600), QS_CREDENTIAL_ASK);
	assert_string_equal(header("X-Amz-Date"), "20240102T040405Z");
	assert_int_equal(answer_at(403, REFUSAL("SignatureDoesNotMatch"),
							   NOW_US / 1000000 + 3600), QS_CREDENTIAL_FAILED);

	start(ASSUME, (QsCredentialConfig) {.role = ROLE, .base = &base});
	assert_int_equal(answer_at(403, REFUSAL("SignatureDoesNotMatch"),
							   NOW_US / 1000000 + 1), QS_CREDENTIAL_FAILED);
}

static void
a_refusal_says_why_and_whom_it_blames(void **state)
{
	static const struct
	{
		int			status;
		const char *body;
		QsErrorClass class;
		bool		base_refused;
		const char *said;
	}			cases[] = {
		{403, REFUSAL("AccessDenied"), QS_ERROR_CREDENTIAL, false,
		"HTTP 403, AccessDenied"},
		{403, REFUSAL("ExpiredToken"), QS_ERROR_CREDENTIAL, true,
		"ExpiredToken"},
		{403, REFUSAL("InvalidClientTokenId"), QS_ERROR_CREDENTIAL, true,
		"InvalidClientTokenId"},
		{400, REFUSAL("Throttling"), QS_ERROR_THROTTLED, false, "Throttling"},
		{400, REFUSAL("IDPCommunicationError"), QS_ERROR_TRANSIENT, false,
		"IDPCommunicationError"},
		{503, "", QS_ERROR_TRANSIENT, false, "HTTP 503)"},
		{429, "", QS_ERROR_THROTTLED, false, "HTTP 429)"},
		{403, "<html>canary", QS_ERROR_CREDENTIAL, false, "HTTP 403)"},
		{403, REFUSAL("canary with words"), QS_ERROR_CREDENTIAL, false,
		"HTTP 403)"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		start(ASSUME, (QsCredentialConfig) {.role = ROLE, .base = &base});
		assert_int_equal(answer(cases[i].status, cases[i].body),
						 QS_CREDENTIAL_FAILED);
		if (error.class != cases[i].class ||
			fetch.base_refused != cases[i].base_refused ||
			strstr(error.message, cases[i].said) == NULL ||
			strstr(error.message, "canary") != NULL ||
			strstr(error.code, "canary") != NULL)
			fail_msg("case %zu: %s %s", i, error.code, error.message);
	}
	start(WEB, (QsCredentialConfig) {.role = ROLE, .token = "t"});
	assert_int_equal(answer(400, REFUSAL("ExpiredTokenException")),
					 QS_CREDENTIAL_FAILED);
	assert_false(fetch.base_refused);
	assert_non_null(strstr(error.message, "ExpiredTokenException"));
}

static void
a_role_s_credentials_are_whole_or_refused(void **state)
{
	static const char *const bodies[] = {
		"", "{}", "<html></html>", GIVEN, REPLY("AssumeRole", ""),
		REPLY("AssumeRoleWithWebIdentity", GIVEN),
		"<AssumeRoleResponse xmlns=\"urn:x\"><AssumeRoleResult>" GIVEN
		"</AssumeRoleResult></AssumeRoleResponse>",
		"<!DOCTYPE x [<!ENTITY e \"x\">]>" REPLY("AssumeRole", GIVEN),
		REPLY("AssumeRole", "<Credentials><AccessKeyId>A</AccessKeyId>"
			  "<SecretAccessKey>S</SecretAccessKey><Expiration>"
			  "2024-01-02T04:04:05Z</Expiration></Credentials>"),
		REPLY("AssumeRole", "<Credentials><AccessKeyId>A</AccessKeyId>"
			  "<SecretAccessKey>S</SecretAccessKey><SessionToken>T"
			  "</SessionToken></Credentials>"),
		REPLY("AssumeRole", "<Credentials><AccessKeyId>A</AccessKeyId>"
			  "<SecretAccessKey>S&#10;X</SecretAccessKey><SessionToken>T"
			  "</SessionToken><Expiration>2024-01-02T04:04:05Z</Expiration>"
			  "</Credentials>"),
		REPLY("AssumeRole", "<Credentials><AccessKeyId>A</AccessKeyId>"
			  "<SecretAccessKey>S</SecretAccessKey><SessionToken>T"
			  "</SessionToken><Expiration>2024-01-02T03:04:05Z</Expiration>"
			  "</Credentials>"),
	};

	(void) state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
	{
		start(ASSUME, (QsCredentialConfig) {.role = ROLE, .base = &base});
		if (answer(200, bodies[i]) != QS_CREDENTIAL_FAILED)
			fail_msg("case %zu is taken for credentials", i);
		assert_string_equal(fetch.credentials.secret_access_key, "");
	}
}

static void
what_is_missing_or_too_long_is_not_sent(void **state)
{
	static char large[QS_CREDENTIAL_BODY_MAX];

	(void) state;
	memset(large, '%', sizeof(large) - 1);
	assert_int_equal(start(WEB, NONE), QS_CREDENTIAL_FAILED);
	assert_int_equal(start(WEB, (QsCredentialConfig) {.role = ROLE}),
					 QS_CREDENTIAL_FAILED);
	assert_int_equal(start(ASSUME, (QsCredentialConfig) {.role = ROLE}),
					 QS_CREDENTIAL_FAILED);
	assert_int_equal(start(ASSUME, (QsCredentialConfig) {.base = &base}),
					 QS_CREDENTIAL_FAILED);
	assert_int_equal(start(WEB, (QsCredentialConfig) {.role = ROLE,
		.token = large}), QS_CREDENTIAL_FAILED);
	assert_int_equal(start(ASSUME, (QsCredentialConfig) {.role = ROLE,
		.base = &base, .external_id = large}), QS_CREDENTIAL_FAILED);
	assert_int_equal(start(ASSUME, (QsCredentialConfig) {.role = ROLE,
		.base = &base, .endpoint = large}), QS_CREDENTIAL_FAILED);
	assert_int_equal(start(CONTAINER, (QsCredentialConfig) {
		.endpoint = large}), QS_CREDENTIAL_FAILED);
}

/* ----------
 * Shared files
 * ----------
 */
static QsProfile profile;

static bool
read_profile(const char *credentials, const char *config, const char *name)
{
	QsProfileFiles files = {credentials,
		credentials == NULL ? 0 : strlen(credentials), config,
		config == NULL ? 0 : strlen(config)
	};

	return qs_profile_read(&files, name, &profile, &error);
}

static void
a_profile_s_keys_come_from_either_file(void **state)
{
	static const struct
	{
		const char *credentials;
		const char *config;
		const char *name;
		const char *key;		/* NULL = no such profile, "" = no key */
		bool		in_config;
	}			cases[] = {
		{"[default]\naws_access_key_id=A\naws_secret_access_key=S\n", NULL,
		"default", "A", false},
		{"# c\n; c\n[default]\r\n  \r\naws_access_key_id = A \r\n"
			"AWS_SECRET_ACCESS_KEY = S # not this\r\n", NULL, "default", "A",
		false},
		{NULL, "[default]\naws_access_key_id=A\naws_secret_access_key=S",
		"default", "A", true},
		{NULL, "[profile p]\naws_access_key_id=A\naws_secret_access_key=S",
		"p", "A", true},
		{NULL, "[profile \"p q\"]\naws_access_key_id=A\n"
		"aws_secret_access_key=S", "p q", "A", true},
		{NULL, "[p]\naws_access_key_id=A\naws_secret_access_key=S", "p", NULL,
		false},
		{"[profile p]\naws_access_key_id=A\naws_secret_access_key=S", NULL,
		"p", NULL, false},
		{"[p]\naws_access_key_id=A\naws_secret_access_key=S\n",
			"[profile p]\naws_access_key_id=B\naws_secret_access_key=T\n"
		"region = eu-west-1", "p", "A", false},
		{"[p]\naws_access_key_id=A\naws_secret_access_key=S\n[q]\n"
		"aws_access_key_id=Q\naws_secret_access_key=S\n", NULL, "q", "Q",
		false},
		{"[p]\naws_access_key_id=A\naws_secret_access_key=S\n"
		"aws_access_key_id=B\n", NULL, "p", "B", false},
		{"[p]\ns3 =\n  aws_access_key_id=A\n", NULL, "p", "", false},
		{"[P]\n", NULL, "p", NULL, false},
		{"[p]\n", NULL, "p", "", false},
		{"[p\naws_access_key_id=A\n", NULL, "p", NULL, false},
		{"[]\n", NULL, "", NULL, false},
		{NULL, NULL, "default", NULL, false},
		{"", "", "default", NULL, false},
		{"[p]\n[", NULL, "p", "", false},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		bool		ok = read_profile(cases[i].credentials, cases[i].config,
									  cases[i].name);

		if (ok != (cases[i].key != NULL))
			fail_msg("case %zu: %s", i, error.message);
		if (!ok)
			continue;
		if (strcmp(profile.credentials.access_key_id, cases[i].key) != 0)
			fail_msg("case %zu: %s", i, profile.credentials.access_key_id);
		assert_int_equal(profile.keys_in_config, cases[i].in_config);
		if (cases[i].key[0] == 'A')
			assert_string_equal(profile.credentials.secret_access_key, "S");
	}
}

static void
a_profile_names_a_role_and_whose_credentials_assume_it(void **state)
{
	(void) state;
	assert_true(read_profile(NULL, "[profile p]\nrole_arn = " ROLE "\n"
							 "source_profile = my base\nexternal_id = e:1\n"
							 "role_session_name = s\nregion = eu-west-1\n"
							 "credential_source = EcsContainer\n"
							 "web_identity_token_file = /var/run/token\n",
							 "p"));
	assert_string_equal(profile.role_arn, ROLE);
	assert_string_equal(profile.source_profile, "my base");
	assert_string_equal(profile.external_id, "e:1");
	assert_string_equal(profile.role_session_name, "s");
	assert_string_equal(profile.region, "eu-west-1");
	assert_string_equal(profile.credential_source, "EcsContainer");
	assert_string_equal(profile.web_identity_token_file, "/var/run/token");
	assert_null(profile.not_for_servers);
	assert_true(read_profile(NULL, "[default]\ncredential_process = /bin/x",
							 "default"));
	assert_string_equal(profile.not_for_servers, "credential_process");
}

static void
a_profile_that_cannot_be_used_leaves_nothing_behind(void **state)
{
	static char large[QS_SECRET_MAX + 100] = "[p]\naws_access_key_id=A\n"
		"aws_secret_access_key=";
	static const char nul[] = "[p]\naws_access_key_id=A\n\0"
		"aws_secret_access_key=S\n";
	static const char *const bad[] = {
		"[p]\naws_access_key_id=A\n", "[p]\naws_secret_access_key=canary\n",
		"[p]\naws_access_key_id=A\naws_secret_access_key=can ary\n",
		"[p]\naws_access_key_id=A\naws_secret_access_key=\x80\n",
		"[p]\naws_access_key_id=A\naws_secret_access_key=S\nrole_arn=a b\n",
	};
	QsProfileFiles files = {.credentials = nul,
		.credentials_length = sizeof(nul) - 1};

	(void) state;
	memset(large + strlen(large), 'x', sizeof(large) - strlen(large) - 1);
	assert_false(read_profile(large, NULL, "p"));
	assert_string_equal(profile.credentials.access_key_id, "");
	assert_non_null(strstr(error.message, "aws_secret_access_key"));
	assert_false(qs_profile_read(&files, "p", &profile, &error));
	assert_string_equal(profile.credentials.access_key_id, "");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		if (read_profile(bad[i], NULL, "p"))
			fail_msg("case %zu is taken", i);
		assert_string_equal(profile.credentials.access_key_id, "");
		assert_string_equal(profile.credentials.secret_access_key, "");
		assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
		assert_null(strstr(error.message, "canary"));
	}
}

/* ----------
 * The environment
 * ----------
 */
static const char *
look_up(void *context, const char *name)
{
	const char *const *variables = context;

	for (; variables[0] != NULL; variables += 2)
		if (strcmp(variables[0], name) == 0)
			return variables[1];
	return NULL;
}

static void
the_environment_gives_a_whole_key_or_none(void **state)
{
	const char *key[] = {"AWS_ACCESS_KEY_ID", "A", "AWS_SECRET_ACCESS_KEY",
	"S", "AWS_SESSION_TOKEN", "T", NULL};
	const char *half[] = {"AWS_ACCESS_KEY_ID", "A", "ACCESS_KEY_ID", "B",
	"SECRET_ACCESS_KEY", "C", NULL};
	QsCredentials credentials;

	(void) state;
	assert_true(qs_credentials_from_environment("aws", look_up, key,
												&credentials, &error));
	assert_string_equal(credentials.access_key_id, "A");
	assert_string_equal(credentials.session_token, "T");
	assert_false(qs_credentials_from_environment("byteplus", look_up, key,
												 &credentials, &error));
	assert_false(qs_credentials_from_environment("aws", look_up, half,
												 &credentials, &error));
	assert_string_equal(error.code, "no_credentials");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_instance_s_role_is_asked_for_in_three_steps),
		cmocka_unit_test(an_error_in_a_reply_of_200_is_one),
		cmocka_unit_test(an_instance_s_credentials_that_end_soon_or_have_ended_are_used),
		cmocka_unit_test(a_container_asks_once_with_its_authorization),
		cmocka_unit_test(an_authorization_that_is_no_header_is_not_sent),
		cmocka_unit_test(a_container_s_address_is_https_or_leads_into_this_host),
		cmocka_unit_test(a_token_is_exchanged_by_one_unsigned_form),
		cmocka_unit_test(each_partition_has_its_own_service_and_no_region_the_global_one),
		cmocka_unit_test(a_role_is_assumed_by_a_signed_form),
		cmocka_unit_test(temporary_credentials_assume_a_role_with_their_token),
		cmocka_unit_test(a_clock_that_is_wrong_is_corrected_once_by_the_service_s),
		cmocka_unit_test(a_refusal_says_why_and_whom_it_blames),
		cmocka_unit_test(a_role_s_credentials_are_whole_or_refused),
		cmocka_unit_test(what_is_missing_or_too_long_is_not_sent),
		cmocka_unit_test(a_profile_s_keys_come_from_either_file),
		cmocka_unit_test(a_profile_names_a_role_and_whose_credentials_assume_it),
		cmocka_unit_test(a_profile_that_cannot_be_used_leaves_nothing_behind),
		cmocka_unit_test(the_environment_gives_a_whole_key_or_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
