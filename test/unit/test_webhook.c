/*-------------------------------------------------------------------------
 * test_webhook.c
 *		Webhooks: the published signature, bodies, schedule, redaction.
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cloud/webhook.h"

static QsArena *arena;

static int
set_up(void **state)
{
	arena = qs_arena_new(1024 * 1024);
	return arena == NULL;
}

static int
tear_down(void **state)
{
	qs_arena_free(arena);
	return 0;
}

static QsWebhookAlert
an_alert(void)
{
	QsWebhookAlert alert = {
		.uuid = "0e7b6a9c-3a1d-4b52-9d57-0f1f7f3f2b11",
		.type = "qpsscale.group.at_max",
		.severity = "warning",
		.transition = "firing",
		.summary = "web: the load needs more <instances> & more",
		.source = "/qpsscale/main/postgres",
		.group = "web",
		.data = "{\"qps\":405.5,\"reason\":\"at_asg_max_capacity\"}",
		.occurred_us = INT64_C(1614265330123456),
	};

	return alert;
}

static json_t *
body_of(QsWebhookFormat format, const QsWebhookAlert *alert)
{
	QsHttpRequest request;
	QsError		error;
	json_t	   *document;

	assert_true(qs_webhook_request(arena, format, alert, "pager", NULL, 0,
								   1614265330, &request, &error));
	assert_true(request.body_length < QS_WEBHOOK_MAX_BODY);
	document = json_loadb(request.body, request.body_length,
						  JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(document);
	return document;
}

static const char *
text_at(json_t *document, const char *key)
{
	return json_string_value(json_object_get(document, key));
}

static void
the_published_vector_is_signed_as_published(void **state)
{
	const char *body = "{\"test\": 2432232314}";
	QsError		error;

	/* standard-webhooks/libraries, tests of every language */
	assert_string_equal(qs_webhook_signature(arena,
											 "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
											 "msg_p5jXN8AQM9LWM0D4loKWxJek",
											 1614265330, body, strlen(body),
											 &error),
						"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

static void
a_raw_secret_is_used_as_it_is(void **state)
{
	const char *body = "{}";
	QsError		error;

	/* python3: base64(hmac(b"k"*24, b"id.1.{}", sha256)) */
	assert_string_equal(qs_webhook_signature(arena,
											 "kkkkkkkkkkkkkkkkkkkkkkkk", "id",
											 1, body, 2, &error),
						"v1,noF4yWdxS+6OR3Jg4eU4ThyVkulJ2cp6woQcHeC3VNQ=");
}

static void
an_unusable_secret_is_refused_and_not_repeated(void **state)
{
	static const char *const bad[] = {
		"short", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!notbase64atall!!!!!!!!!!!!!",
		"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		QsError		error;

		qs_error_clear(&error);
		assert_null(qs_webhook_signature(arena, bad[i], "id", 1, "{}", 2,
										 &error));
		assert_int_equal(error.class, QS_ERROR_CREDENTIAL);
		assert_null(strlen(bad[i]) > 6 ? strstr(error.message, bad[i]) : NULL);
	}
}

static void
two_secrets_give_two_signatures(void **state)
{
	QsWebhookAlert alert = an_alert();
	const char *secrets[2] = {"kkkkkkkkkkkkkkkkkkkkkkkk",
	"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"};
	QsHttpRequest request;
	QsError		error;
	char	   *first;
	char	   *second;

	assert_true(qs_webhook_request(arena, QS_WEBHOOK_STANDARD, &alert, "x",
								   secrets, 2, 1614265330, &request, &error));
	assert_int_equal(request.n_headers, 4);
	assert_string_equal(request.headers[1].value, alert.uuid);
	assert_string_equal(request.headers[2].value, "1614265330");
	first = qs_webhook_signature(arena, secrets[0], alert.uuid, 1614265330,
								 request.body, request.body_length, &error);
	second = qs_webhook_signature(arena, secrets[1], alert.uuid, 1614265330,
								  request.body, request.body_length, &error);
	assert_string_equal(request.headers[3].name, "webhook-signature");
	assert_string_equal(request.headers[3].value,
						qs_arena_printf(arena, "%s %s", first, second));
}

static void
one_body_is_a_standard_webhook_and_a_cloud_event(void **state)
{
	QsWebhookAlert alert = an_alert();
	json_t	   *document = body_of(QS_WEBHOOK_STANDARD, &alert);
	json_t	   *data = json_object_get(document, "data");

	assert_string_equal(text_at(document, "type"), "qpsscale.group.at_max");
	assert_string_equal(text_at(document, "timestamp"),
						"2021-02-25T15:02:10.123Z");
	assert_string_equal(text_at(document, "time"),
						"2021-02-25T15:02:10.123Z");
	assert_string_equal(text_at(document, "specversion"), "1.0");
	assert_string_equal(text_at(document, "id"), alert.uuid);
	assert_string_equal(text_at(document, "source"),
						"/qpsscale/main/postgres");
	assert_string_equal(text_at(document, "subject"), "web");
	assert_string_equal(text_at(data, "status"), "firing");
	assert_true(json_real_value(json_object_get(json_object_get(data,
																"details"),
												"qps")) == 405.5);
	json_decref(document);
}

static void
the_end_has_a_message_id_of_its_own(void **state)
{
	QsWebhookAlert alert = an_alert();
	json_t	   *document;

	alert.transition = "resolved";
	alert.resolved_us = alert.occurred_us + 60000000;
	document = body_of(QS_WEBHOOK_STANDARD, &alert);
	assert_string_equal(text_at(document, "id"),
						"0e7b6a9c-3a1d-4b52-9d57-0f1f7f3f2b11.resolved");
	assert_string_equal(text_at(document, "time"),
						"2021-02-25T15:03:10.123Z");
	assert_string_equal(text_at(json_object_get(document, "data"),
								"occurred_at"), "2021-02-25T15:02:10.123Z");
	json_decref(document);
}

static void
alertmanager_gets_version_4(void **state)
{
	QsWebhookAlert alert = an_alert();
	json_t	   *document = body_of(QS_WEBHOOK_ALERTMANAGER, &alert);
	json_t	   *first = json_array_get(json_object_get(document, "alerts"), 0);
	char	   *fingerprint;

	assert_string_equal(text_at(document, "version"), "4");
	assert_string_equal(text_at(document, "status"), "firing");
	assert_string_equal(text_at(document, "receiver"), "pager");
	assert_string_equal(text_at(first, "startsAt"),
						"2021-02-25T15:02:10.123Z");
	assert_string_equal(text_at(first, "endsAt"), "0001-01-01T00:00:00Z");
	assert_string_equal(text_at(json_object_get(first, "labels"), "group"),
						"web");
	fingerprint = qs_arena_strdup(arena, text_at(first, "fingerprint"));
	assert_int_equal(strlen(fingerprint), 16);
	json_decref(document);

	/* the end has the same fingerprint as the beginning */
	alert.transition = "resolved";
	alert.resolved_us = alert.occurred_us + 1000000;
	document = body_of(QS_WEBHOOK_ALERTMANAGER, &alert);
	first = json_array_get(json_object_get(document, "alerts"), 0);
	assert_string_equal(text_at(first, "status"), "resolved");
	assert_string_equal(text_at(first, "endsAt"),
						"2021-02-25T15:02:11.123Z");
	assert_string_equal(text_at(first, "fingerprint"), fingerprint);
	json_decref(document);
}

static void
slack_gets_escaped_text_within_its_limits(void **state)
{
	QsWebhookAlert alert = an_alert();
	json_t	   *document = body_of(QS_WEBHOOK_SLACK, &alert);
	char		longest[20001];

	assert_non_null(strstr(text_at(document, "text"),
						   "&lt;instances&gt; &amp; more"));
	assert_int_equal(json_array_size(json_object_get(document, "blocks")), 2);
	json_decref(document);

	memset(longest, '&', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	alert.summary = longest;
	document = body_of(QS_WEBHOOK_SLACK, &alert);
	assert_true(strlen(text_at(document, "text")) <= 3000);
	json_decref(document);
}

static void
no_alert_is_too_long(void **state)
{
	static const char *const fillers[] = {"\"", "\\", "<", "\xc3\xa4",
	"\xf0\x9f\x98\x80", "\x01"};

	for (size_t f = 0; f < sizeof(fillers) / sizeof(fillers[0]); f++)
	{
		for (int format = 0; format <= QS_WEBHOOK_SLACK; format++)
		{
			QsWebhookAlert alert = an_alert();
			char	   *text = qs_arena_alloc(arena, 60001);
			size_t		length = strlen(fillers[f]);
			json_t	   *details;

			for (size_t i = 0; i + length <= 60000; i += length)
				memcpy(text + i, fillers[f], length);
			alert.summary = text;
			alert.group = qs_arena_strndup(arena, text, 200 / length * length);
			details = json_pack("{s:s%}", "x", text, (size_t) (5000 / length *
															   length));
			alert.data = json_dumps(details, 0);
			json_decref(details);
			json_decref(body_of((QsWebhookFormat) format, &alert));
			free((char *) alert.data);
			qs_arena_reset(arena);
		}
	}
}

static void
details_that_are_no_object_are_left_out(void **state)
{
	static const char *const bad[] = {"", "[1]", "{", "null", "\xff"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		QsWebhookAlert alert = an_alert();
		json_t	   *document;

		alert.data = bad[i];
		document = body_of(QS_WEBHOOK_STANDARD, &alert);
		assert_true(json_is_true(json_object_get(json_object_get(json_object_get(document, "data"), "details"),
												 "details_left_out")));
		json_decref(document);
	}
}

static void
the_schedule_is_the_published_one(void **state)
{
	static const int seconds[] = {5, 300, 1800, 7200, 18000, 36000, 50400,
	72000, 86400};

	for (int attempts = 1; attempts < QS_WEBHOOK_ATTEMPTS; attempts++)
	{
		assert_int_equal(qs_webhook_delay_ms(attempts, 0.5),
						 (int64_t) seconds[attempts - 1] * 1000);
		assert_int_equal(qs_webhook_delay_ms(attempts, 0),
						 (int64_t) seconds[attempts - 1] * 900);
		assert_int_equal(qs_webhook_delay_ms(attempts, 1),
						 (int64_t) seconds[attempts - 1] * 1100);
	}
	assert_int_equal(qs_webhook_delay_ms(QS_WEBHOOK_ATTEMPTS, 0.5), -1);
}

static void
answers_mean_what_the_specification_says(void **state)
{
	assert_int_equal(qs_webhook_answer(200), QS_WEBHOOK_DELIVERED);
	assert_int_equal(qs_webhook_answer(204), QS_WEBHOOK_DELIVERED);
	assert_int_equal(qs_webhook_answer(302), QS_WEBHOOK_FAILED);
	assert_int_equal(qs_webhook_answer(404), QS_WEBHOOK_FAILED);
	assert_int_equal(qs_webhook_answer(410), QS_WEBHOOK_GONE);
	assert_int_equal(qs_webhook_answer(429), QS_WEBHOOK_THROTTLED);
	assert_int_equal(qs_webhook_answer(500), QS_WEBHOOK_FAILED);
	assert_int_equal(qs_webhook_answer(503), QS_WEBHOOK_THROTTLED);
}

static void
an_excerpt_does_not_hold_the_path_of_the_url(void **state)
{
	const char *text = "no route /services/T0/B0/canary here: services/T0/B0/canary\n\x80";
	char		out[80];
	char		small[12];

	qs_webhook_excerpt("https://hooks.example/services/T0/B0/canary", text,
					   strlen(text), out, sizeof(out));
	assert_string_equal(out, "no route /[path] here: [path] ?");
	qs_webhook_excerpt("https://hooks.example/", text, strlen(text), small,
					   sizeof(small));
	assert_string_equal(small, "no route /s");
	qs_webhook_excerpt("https://h.example?token=canary", "token=canary", 12,
					   out, sizeof(out));
	assert_string_equal(out, "[path]");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_vector_is_signed_as_published),
		cmocka_unit_test(a_raw_secret_is_used_as_it_is),
		cmocka_unit_test(an_unusable_secret_is_refused_and_not_repeated),
		cmocka_unit_test(two_secrets_give_two_signatures),
		cmocka_unit_test(one_body_is_a_standard_webhook_and_a_cloud_event),
		cmocka_unit_test(the_end_has_a_message_id_of_its_own),
		cmocka_unit_test(alertmanager_gets_version_4),
		cmocka_unit_test(slack_gets_escaped_text_within_its_limits),
		cmocka_unit_test(no_alert_is_too_long),
		cmocka_unit_test(details_that_are_no_object_are_left_out),
		cmocka_unit_test(the_schedule_is_the_published_one),
		cmocka_unit_test(answers_mean_what_the_specification_says),
		cmocka_unit_test(an_excerpt_does_not_hold_the_path_of_the_url),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
