/*-------------------------------------------------------------------------
 * test_address.c
 *		Which URLs, hosts and addresses may be talked to; small pure parts of
 *		src/net beside it: token bucket, reply headers, priority queue.
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/address.h"
#include "net/priority_queue.h"
#include "net/reply.h"
#include "net/token_bucket.h"

static void
every_address_has_its_class(void **state)
{
	static const struct
	{
		const char *address;
		QsAddressClass class;
	} cases[] = {
		{"8.8.8.8", QS_ADDRESS_PUBLIC},
		{"1.1.1.1", QS_ADDRESS_PUBLIC},
		{"100.63.255.255", QS_ADDRESS_PUBLIC},
		{"100.128.0.0", QS_ADDRESS_PUBLIC},
		{"172.15.255.255", QS_ADDRESS_PUBLIC},
		{"172.32.0.0", QS_ADDRESS_PUBLIC},
		{"9.255.255.255", QS_ADDRESS_PUBLIC},
		{"11.0.0.0", QS_ADDRESS_PUBLIC},
		{"168.63.129.15", QS_ADDRESS_PUBLIC},
		{"0.0.0.0", QS_ADDRESS_UNSPECIFIED},
		{"0.1.2.3", QS_ADDRESS_UNSPECIFIED},
		{"127.0.0.1", QS_ADDRESS_LOOPBACK},
		{"127.255.255.254", QS_ADDRESS_LOOPBACK},
		{"10.0.0.0", QS_ADDRESS_PRIVATE},
		{"10.255.255.255", QS_ADDRESS_PRIVATE},
		{"172.16.0.1", QS_ADDRESS_PRIVATE},
		{"172.31.255.255", QS_ADDRESS_PRIVATE},
		{"192.168.1.1", QS_ADDRESS_PRIVATE},
		{"169.254.169.254", QS_ADDRESS_METADATA},
		{"169.254.169.253", QS_ADDRESS_LINK_LOCAL},
		{"169.254.170.2", QS_ADDRESS_METADATA}, /* AWS, tasks */
		{"169.254.170.23", QS_ADDRESS_METADATA}, /* AWS, pods */
		{"168.63.129.16", QS_ADDRESS_METADATA}, /* Azure */
		{"100.64.0.1", QS_ADDRESS_SHARED},
		{"100.96.0.96", QS_ADDRESS_METADATA}, /* BytePlus */
		{"100.96.0.97", QS_ADDRESS_SHARED},
		{"100.100.100.200", QS_ADDRESS_METADATA}, /* Alibaba */
		{"100.127.255.255", QS_ADDRESS_SHARED},
		{"192.0.0.192", QS_ADDRESS_RESERVED},
		{"192.0.2.7", QS_ADDRESS_RESERVED},
		{"198.18.0.1", QS_ADDRESS_RESERVED},
		{"198.19.255.255", QS_ADDRESS_RESERVED},
		{"203.0.113.9", QS_ADDRESS_RESERVED},
		{"224.0.0.1", QS_ADDRESS_MULTICAST},
		{"239.255.255.255", QS_ADDRESS_MULTICAST},
		{"240.0.0.1", QS_ADDRESS_RESERVED},
		{"255.255.255.255", QS_ADDRESS_RESERVED},
		{"2606:4700::1111", QS_ADDRESS_PUBLIC},
		{"2a00:1450:4001::1", QS_ADDRESS_PUBLIC},
		{"::", QS_ADDRESS_UNSPECIFIED},
		{"::1", QS_ADDRESS_LOOPBACK},
		{"::2", QS_ADDRESS_RESERVED},
		{"::7f00:1", QS_ADDRESS_RESERVED}, /* IPv4-compatible */
		{"::ffff:127.0.0.1", QS_ADDRESS_LOOPBACK},
		{"::ffff:10.1.2.3", QS_ADDRESS_PRIVATE},
		{"::ffff:169.254.169.254", QS_ADDRESS_METADATA},
		{"64:ff9b::100.96.0.96", QS_ADDRESS_METADATA},
		{"2002:6460:60::1", QS_ADDRESS_METADATA},
		{"fd00:ec2::254", QS_ADDRESS_METADATA},
		{"fd00:ec2::23", QS_ADDRESS_METADATA},
		{"fd20:ce::254", QS_ADDRESS_METADATA},
		{"fd00:ec2::255", QS_ADDRESS_PRIVATE},
		{"::ffff:8.8.8.8", QS_ADDRESS_PUBLIC},
		{"::ffff:0:7f00:1", QS_ADDRESS_RESERVED},
		{"64:ff9b::a00:1", QS_ADDRESS_PRIVATE}, /* NAT64 of 10.0.0.1 */
		{"64:ff9b::808:808", QS_ADDRESS_PUBLIC},
		{"64:ff9b:1::1", QS_ADDRESS_PRIVATE},
		{"2002:7f00:1::", QS_ADDRESS_LOOPBACK}, /* 6to4 of 127.0.0.1 */
		{"2001::1", QS_ADDRESS_RESERVED}, /* Teredo */
		{"2001:db8::1", QS_ADDRESS_RESERVED},
		{"100::1", QS_ADDRESS_RESERVED},
		{"fc00::1", QS_ADDRESS_PRIVATE},
		{"fe80::1", QS_ADDRESS_LINK_LOCAL},
		{"febf::1", QS_ADDRESS_LINK_LOCAL},
		{"fec0::1", QS_ADDRESS_PRIVATE},
		{"ff02::1", QS_ADDRESS_MULTICAST},
		{"fe80::1%eth0", QS_ADDRESS_RESERVED},
		{"localhost", QS_ADDRESS_RESERVED},
		{"", QS_ADDRESS_RESERVED},
	};
	struct sockaddr unix_address = {.sa_family = AF_UNIX};
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (qs_address_class_of_text(cases[i].address) != cases[i].class)
			fail_msg("%s is said to be %s", cases[i].address,
					 qs_address_class_name(
						 qs_address_class_of_text(cases[i].address)));
	assert_int_equal(qs_address_class(&unix_address, sizeof(unix_address)),
					 QS_ADDRESS_RESERVED);
	assert_int_equal(qs_address_class_of_text(NULL), QS_ADDRESS_RESERVED);
}

static void
a_url_is_read_as_curl_reads_it(void **state)
{
	static const struct
	{
		const char *text;
		const char *host;
		int port;
		bool https;
	} cases[] = {
		{"https://example.com", "example.com", 443, true},
		{"https://EXAMPLE.com./x?y#z", "example.com", 443, true},
		{"http://a-b_c.example:8080/", "a-b_c.example", 8080, false},
		{"https://example.com?a=b:c@d", "example.com", 443, true},
		{"https://10.0.0.1:65535/", "10.0.0.1", 65535, true},
		{"https://[::1]:6443/api", "::1", 6443, true},
		{"https://[0:0:0:0:0:0:0:1]/", "::1", 443, true},
	};
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		QsUrl url;
		QsError error;

		assert_true(qs_url_parse(cases[i].text, &url, &error));
		assert_string_equal(url.host, cases[i].host);
		assert_int_equal(url.port, cases[i].port);
		assert_int_equal(url.https, cases[i].https);
	}
}

static void
a_url_that_parsers_could_read_differently_is_refused(void **state)
{
	static const char *const cases[] = {
		"",
		"example.com",
		"//example.com/",
		"ftp://example.com/",
		"file:///etc/passwd",
		"HTTPS://example.com/",
		"https://",
		"https:///path",
		"https://user@example.com/",
		"https://user:word@example.com/",
		"https://good.example\\@evil/",
		"https://example.com:/",
		"https://example.com:0/",
		"https://example.com:65536/",
		"https://example.com:8o/",
		"https://exa mple.com/",
		"https://example.com/a b",
		"https://example.com/\r\nX: y",
		"https://ex%61mple.com/",
		"https://b\xc3\xbc"
		"cher.example/",
		"https://[::1/",
		"https://[::1]x/",
		"https://[fe80::1%25eth0]/",
		"https://[example.com]/",
		"https://::1/",
		"https://.example.com/",
		"https://a..b/",
		"https://./",
		"https://a../",
	};
	char *endless = malloc(200000);
	QsUrl url;
	QsError error;
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		qs_error_clear(&error);
		if (qs_url_parse(cases[i], &url, &error))
			fail_msg("\"%s\" was let through", cases[i]);
		assert_string_equal(error.code, "url_refused");
		assert_int_equal(error.class, QS_ERROR_TERMINAL);
	}
	assert_false(qs_url_parse(NULL, &url, &error));
	memset(endless, 'a', 199999);
	endless[199999] = '\0';
	memcpy(endless, "https://", 8);
	assert_false(qs_url_parse(endless, &url, &error));
	endless[300] = '/';
	endless[1000] = '\0';
	assert_false(qs_url_parse(endless, &url, &error)); /* host of 292 */
	free(endless);
}

static void
the_allow_list_means_what_it_says(void **state)
{
	static const struct
	{
		const char *list;
		const char *host;
		int port;
		bool allowed;
	} cases[] = {
		{"", "example.com", 443, false},
		{NULL, "example.com", 443, false},
		{" , ,", "example.com", 443, false},
		{"example.com", "example.com", 443, true},
		{" a.example ,\tEXAMPLE.com. ", "example.com", 80, true},
		{"example.com", "www.example.com", 443, false},
		{"example.com", "example.com.evil.net", 443, false},
		{"example.com", "notexample.com", 443, false},
		{"*.example.com", "www.example.com", 443, true},
		{"*.example.com", "a.b.example.com", 443, true},
		{"*.example.com", "example.com", 443, false},
		{"*.example.com", "badexample.com", 443, false},
		{"*.example.com:8443", "www.example.com", 8443, true},
		{"*.example.com:8443", "www.example.com", 443, false},
		{"example.com:8080", "example.com", 8080, true},
		{"example.com:8080", "example.com", 80, false},
		{"127.0.0.1", "127.0.0.1", 80, true},
		{"127.0.0.1", "127.0.0.2", 80, false},
		{"*.0.0.1", "127.0.0.1", 80, false},
		{"*.1", "0x7f.1", 80, false},
		{"::1", "::1", 80, true},
		{"0:0:0:0:0:0:0:1", "::1", 80, true},
		{"[::1]:6443", "::1", 6443, true},
		{"[::1]:6443", "::1", 443, false},
		{"localhost", "localhost", 80, true},
	};
	static const char *const broken[] = {
		"*",
		"*.",
		"a b",
		"http://example.com",
		"example.com:0",
		"example.com:99999",
		"example.com:",
		"10.0.0.0/8",
		"[::1",
		"*.::1",
		"good.example, b@d",
		"*example.com",
		"a.*.com",
		"::g",
	};
	QsAllowList *list;
	QsError error;
	size_t i;

	(void) state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		list = qs_allow_list_new(cases[i].list, &error);
		assert_non_null(list);
		if (qs_allow_list_contains(list, cases[i].host,
								   cases[i].port) != cases[i].allowed)
			fail_msg("list \"%s\", host \"%s\" port %d", cases[i].list,
					 cases[i].host, cases[i].port);
		qs_allow_list_free(list);
	}
	for (i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
	{
		qs_error_clear(&error);
		if (qs_allow_list_new(broken[i], &error) != NULL)
			fail_msg("\"%s\" was let through", broken[i]);
		assert_string_equal(error.code, "allowed_hosts");
	}
	qs_allow_list_free(NULL);
}

static void
a_token_bucket_gives_its_burst_in_any_period_and_no_more(void **state)
{
	QsTokenBucket bucket;
	int64_t taken_ms[200];
	int64_t now_ms = 1000000;
	int taken = 0;
	int i;

	(void) state;
	qs_token_bucket_init(&bucket, 20, 5);
	for (i = 0; i < 10; i++)
		taken += qs_token_bucket_take(&bucket, now_ms);
	assert_int_equal(taken, 5);
	assert_int_equal(qs_token_bucket_wait_ms(&bucket, now_ms), 250);
	assert_int_equal(qs_token_bucket_wait_ms(&bucket, now_ms + 100), 150);

	/* Who comes at odd times, and whenever there is one, gets the rate. */
	now_ms += 10000;
	for (taken = 0; taken < 200; now_ms += 1 + taken * 7 % 13)
	{
		int64_t wait = qs_token_bucket_wait_ms(&bucket, now_ms);

		assert_int_equal(qs_token_bucket_take(&bucket, now_ms), wait == 0);
		if (wait == 0)
			taken_ms[taken++] = now_ms;
	}
	for (i = 5; i < 200; i++)
		assert_true(taken_ms[i] - taken_ms[i - 5] >= 250);
	assert_in_range(taken_ms[199] - taken_ms[0], 9750, 11000);

	/* A long pause fills it to the burst and no further. */
	now_ms += 86400000;
	for (taken = 0; qs_token_bucket_take(&bucket, now_ms);)
		taken++;
	assert_int_equal(taken, 5);
	qs_token_bucket_give_back(&bucket);
	assert_true(qs_token_bucket_take(&bucket, now_ms));

	/* A clock that stands still or goes back gives nothing. */
	assert_false(qs_token_bucket_take(&bucket, now_ms - 5000));
}

static void
a_token_bucket_takes_any_limit(void **state)
{
	static const double odd[] = {0, -1, 1e-300, 1e300, 0.0 / 0.0, 1.0 / 0.0};
	QsTokenBucket bucket;
	size_t i;
	size_t j;

	(void) state;
	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		for (j = 0; j < sizeof(odd) / sizeof(odd[0]); j++)
		{
			int64_t wait;

			qs_token_bucket_init(&bucket, odd[i], odd[j]);
			assert_true(qs_token_bucket_take(&bucket, 0));
			wait = qs_token_bucket_wait_ms(&bucket, 0);
			assert_in_range(wait, 0, 86400000);
			qs_token_bucket_give_back(&bucket);
			qs_token_bucket_give_back(&bucket);
			assert_true(qs_token_bucket_take(&bucket, 0));
		}
	qs_token_bucket_init(&bucket, 1, 1);
	assert_true(qs_token_bucket_take(&bucket, 0));
	qs_token_bucket_set(&bucket, 1000, 1);
	assert_int_equal(qs_token_bucket_wait_ms(&bucket, 0), 1);
	qs_token_bucket_set(&bucket, 0, 0);
	assert_int_equal(qs_token_bucket_wait_ms(&bucket, 0), 0);
}

static int64_t
retry_after(const char *value, const char *date)
{
	QsReply reply;
	char line[128];

	memset(&reply, 0, sizeof(reply));
	qs_reply_clear(&reply);
	if (date != NULL)
	{
		snprintf(line, sizeof(line), "date: %s\r\n", date);
		assert_true(qs_reply_header(&reply, line, strlen(line)));
	}
	snprintf(line, sizeof(line), "Retry-After:%s\r\n", value);
	assert_true(qs_reply_header(&reply, line, strlen(line)));
	return qs_reply_retry_after_ms(&reply, 784111777);
}

static void
retry_after_is_seconds_or_a_date_and_at_most_an_hour(void **state)
{
	const char *date = "Sun, 06 Nov 1994 08:49:37 GMT"; /* 784111777 */

	(void) state;
	assert_int_equal(retry_after(" 7", NULL), 7000);
	assert_int_equal(retry_after("\t0 ", NULL), 0);
	assert_int_equal(retry_after("3600", NULL), 3600000);
	assert_int_equal(retry_after("3601", NULL), 3600000);
	assert_int_equal(retry_after("99999999999999999999999", NULL), 3600000);
	assert_int_equal(retry_after("", NULL), -1);
	assert_int_equal(retry_after("-5", NULL), -1);
	assert_int_equal(retry_after("soon", NULL), -1);
	assert_int_equal(retry_after("Sun, 06 Nov 1994 08:49:40 GMT", NULL), 3000);
	assert_int_equal(retry_after("Sun, 06 Nov 1994 08:49:30 GMT", NULL), 0);
	assert_int_equal(retry_after("Mon, 07 Nov 1994 08:49:37 GMT", date),
					 3600000);
	assert_int_equal(retry_after("Sun, 06 Nov 1994 08:49:42 GMT", date), 5000);
}

static void
a_reply_is_bounded_and_ends_in_a_nul(void **state)
{
	QsReply reply;
	char block[1000];
	int i;

	(void) state;
	memset(&reply, 0, sizeof(reply));
	qs_reply_clear(&reply);
	memset(block, 'b', sizeof(block));
	for (i = 0; i < 10; i++)
		assert_true(qs_reply_append(&reply, block, 1000, 10000));
	assert_int_equal(reply.length, 10000);
	assert_int_equal(reply.body[10000], '\0');
	assert_true(reply.capacity <= 10001);
	assert_false(qs_reply_append(&reply, block, 1, 10000));
	assert_true(reply.too_large);
	qs_reply_clear(&reply);
	assert_false(qs_reply_append(&reply, block, SIZE_MAX, 10000));
	qs_reply_clear(&reply);
	for (i = 0; i < QS_MAX_HEADER_BYTES / 1000; i++)
		assert_true(qs_reply_header(&reply, block, 1000));
	assert_false(qs_reply_header(&reply, block, 1000));
	assert_true(reply.too_large);
	free(reply.body);
}

static void
a_priority_queue_gives_the_smallest_key_first(void **state)
{
	QsPriorityQueue queue;
	QsPriorityNode nodes[500];
	unsigned seed = 12345;
	int64_t before = -1;
	int i;

	(void) state;
	memset(&queue, 0, sizeof(queue));
	memset(nodes, 0, sizeof(nodes));
	for (i = 0; i < 500; i++)
	{
		seed = seed * 1103515245u + 12345u;
		qs_priority_push(&queue, &nodes[i], seed >> 20);
	}
	for (i = 0; i < 500; i += 3)
		qs_priority_remove(&queue, &nodes[i]);
	for (i = 1; i < 500; i += 3)
		qs_priority_push(&queue, &nodes[i], i);
	assert_int_equal(queue.count, 333);
	while (qs_priority_first(&queue) != NULL)
	{
		QsPriorityNode *node = qs_priority_first(&queue);

		assert_true(node->key >= before);
		before = node->key;
		qs_priority_remove(&queue, node);
		qs_priority_remove(&queue, node);
	}
	assert_int_equal(queue.count, 0);
	qs_priority_free(&queue);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_address_has_its_class),
		cmocka_unit_test(a_url_is_read_as_curl_reads_it),
		cmocka_unit_test(a_url_that_parsers_could_read_differently_is_refused),
		cmocka_unit_test(the_allow_list_means_what_it_says),
		cmocka_unit_test(a_token_bucket_gives_its_burst_in_any_period_and_no_more),
		cmocka_unit_test(a_token_bucket_takes_any_limit),
		cmocka_unit_test(retry_after_is_seconds_or_a_date_and_at_most_an_hour),
		cmocka_unit_test(a_reply_is_bounded_and_ends_in_a_nul),
		cmocka_unit_test(a_priority_queue_gives_the_smallest_key_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
