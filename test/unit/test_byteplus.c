/*-------------------------------------------------------------------------
 * test_byteplus.c
 *		Calls of a batch, load of load balancers, and what errors mean.
 *
 * Groups are in test_byteplus_groups.c, single-group calls in
 * test_byteplus_actions.c.  Names beginning with b<nn>_ are bugs of the
 * first original system that must not come back.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#include <math.h>

/* The window of NOW_US and 300 s: 1704164340 to 1704164640. */
#define START	INT64_C(1704164340)

static char text[1 << 16];

/* A reply with one series for alb-00000 that has these data points. */
static const char *
one_series(const char *points)
{
	snprintf(text, sizeof(text), "{" METADATA ",\"Result\":{\"Data\":{"
			 "\"MetricDataResults\":[{\"StatisticsMethods\":\"avg\","
			 "\"Dimensions\":[{\"Name\":\"ResourceID\",\"Value\":"
								 "\"alb-00000\"}],\"DataPoints\":%s}]}}}",
			 points);
	return text;
}

static void
call_counts_stay_within_the_floor(void **state)
{
	static const int sizes[] = {1, 10, 11, 50, 51, 1000, 10000};

	(void) state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		int			n = sizes[i];
		Cloud	   *cloud = cloud_new(n);
		int			seen = 0;

		observe(cloud, 300);
		assert_int_equal(count_calls(&cloud->calls, QS_CALL_LOAD),
						 (n + 49) / 50);
		assert_int_equal(count_calls(&cloud->calls, QS_CALL_CAPACITY),
						 (n + 9) / 10);
		for (int c = 0; c < cloud->calls.n_calls; c++)
			seen += cloud->calls.calls[c]->n_targets;
		assert_int_equal(seen, 2 * n);
		cloud_free(cloud);
	}
}

static void
signs_the_vectors_of_the_reference(void **state)
{
	Cloud	   *cloud = cloud_new(2);
	QsCall	   *load;
	QsCall	   *groups;

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		cloud->targets[i].alb_id = i == 0 ? "alb-bbb" : "alb-aaa";
		cloud->targets[i].asg_id = i == 0 ? "scg-bbb" : "scg-aaa";
	}
	observe(cloud, 240);
	load = call_of(cloud, QS_CALL_LOAD);
	groups = call_of(cloud, QS_CALL_CAPACITY);
	assert_string_equal(load->request.method, "POST");
	assert_int_equal(load->request.body_length, 272);
	assert_signature(&load->request, "1aa9add26fb4312d62b0e31458ca6e169abdc2"
					 "48c3d594428cbc7da41622636b");
	assert_string_equal(groups->request.method, "GET");
	assert_signature(&groups->request, "2852bc92baec85fbe9e320c3d241986ae618"
					 "cc32455f45e14aa718c6c0f19251");
	cloud_free(cloud);
}

static void
shared_load_balancers_are_asked_once_and_answer_all(void **state)
{
	Cloud	   *cloud = cloud_new(120);

	(void) state;
	for (int i = 0; i < 120; i++)
		cloud->targets[i].alb_id = "alb-00000";
	observe(cloud, 300);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_LOAD), 1);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200,
					   one_series("[{\"Timestamp\":1704164400,"
								  "\"Value\":8}]")));
	for (int i = 0; i < 120; i++)
		assert_true(cloud->targets[i].load.known &&
					cloud->targets[i].load.mean_qps == 8);
	cloud_free(cloud);
}

static void
windows_are_aligned_and_within_the_limits(void **state)
{
	static const int windows[] = {0, 1, 60, 90, 300, 600, 601, 3600, 9000,
	86400, 1000000};

	(void) state;
	for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++)
	{
		Cloud	   *cloud = cloud_new(60);

		observe(cloud, windows[i]);
		for (int c = 0; c < cloud->calls.n_calls; c++)
		{
			QsCall	   *call = cloud->calls.calls[c];
			int64_t		length = call->window_end_s - call->window_start_s;

			if (call->kind != QS_CALL_LOAD)
				continue;
			assert_int_equal(call->window_end_s % call->period_s, 0);
			assert_int_equal(call->window_start_s % call->period_s, 0);
			assert_true(call->window_end_s <= VECTOR_TIME - 5);
			assert_true(length > 0 && length <= 86400);
			assert_true(length >= windows[i] || length == 86400);
			assert_true(call->n_targets <= 50);
			assert_true(call->n_targets * (length / call->period_s + 1) <=
						1440);
			assert_int_equal(call->period_s, windows[i] <= 600 ? 60 : 300);
		}
		cloud_free(cloud);
	}
}

static void
a_past_is_asked_for_in_calls_within_the_limits(void **state)
{
	Cloud	   *cloud = cloud_new(3);
	int64_t		end = VECTOR_TIME + 3600;

	(void) state;
	cloud->targets[2].alb_id = cloud->targets[0].alb_id;
	assert_true(byteplus->ask_past(cloud->arena, &cloud->batch,
								   end - byteplus->past_span_s, end, NOW_US,
								   &cloud->calls, &cloud->error));
	assert_int_equal(cloud->calls.n_calls, 2);
	for (int i = 0; i < cloud->calls.n_calls; i++)
	{
		QsCall	   *call = cloud->calls.calls[i];

		assert_int_equal(call->period_s, 60);
		assert_int_equal(call->window_start_s % 60, 0);
		assert_int_equal(call->window_end_s, 1704164640);
		assert_true(call->window_end_s - call->window_start_s < 86400);
		assert_true((call->window_end_s - call->window_start_s) / 60 + 1 <=
					1440);
	}
	cloud_free(cloud);
}

static void
a_past_is_not_asked_for_where_none_is_kept(void **state)
{
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	assert_true(byteplus->ask_past(cloud->arena, &cloud->batch, 0,
								   byteplus->past_span_s, NOW_US,
								   &cloud->calls, &cloud->error));
	assert_int_equal(cloud->calls.n_calls, 0);
	assert_int_equal(cloud->targets[0].past->n, 0);
	assert_int_equal(cloud->targets[0].load_error.class, QS_ERROR_NONE);
	cloud_free(cloud);
}

static void
gaps_of_a_past_stay_gaps_and_one_that_fails_harms_no_other(void **state)
{
	Cloud	   *cloud = cloud_new(2);
	QsTarget   *target = &cloud->targets[0];

	(void) state;
	cloud->targets[1].alb_id = "alb with blanks";
	assert_true(byteplus->ask_past(cloud->arena, &cloud->batch,
								   START - 600, START + 300, NOW_US,
								   &cloud->calls, &cloud->error));
	assert_int_equal(cloud->calls.n_calls, 1);
	assert_string_equal(cloud->targets[1].load_error.code, "invalid_id");

	/* a clock that this reply shows to be wrong does not move the window */
	cloud->date_s = VECTOR_TIME + 600;
	assert_true(answer(cloud, cloud->calls.calls[0], 200,
					   one_series("[{\"Timestamp\":1704164580,\"Value\":0},"
								  "{\"Timestamp\":1704164400,\"Value\":8},"
								  "{\"Timestamp\":1704164460,\"Value\":null},"
								  "{\"Timestamp\":1704164520,\"Value\":-1}]")));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_int_equal(target->load_error.class, QS_ERROR_NONE);
	assert_int_equal(target->past->n, 2);
	assert_int_equal(target->past->points[0].at_s, 1704164400);
	assert_float_equal(target->past->points[0].qps, 8, 1e-9);
	assert_float_equal(target->past->points[1].qps, 0, 1e-9);

	assert_false(answer(cloud, cloud->calls.calls[0], 200,
						one_series("[{\"Timestamp\":\"soon\"}]")));
	byteplus->abandon(cloud->calls.calls[0], &cloud->error);
	assert_string_equal(target->load_error.code, "malformed_series");
	cloud_free(cloud);
}

static void
window_follows_the_clouds_clock(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call;

	(void) state;
	cloud->memory.skew_s = -3600;
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_LOAD);
	assert_int_equal(call->window_end_s, START + 300 - 3600);
	assert_string_equal(header_of(&call->request, "X-Date"),
						"20240102T020405Z");
	cloud_free(cloud);
}

static void
rate_limit_is_the_documented_one_unless_switched_off(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call;

	(void) state;
	cloud->account.provider = "byteplus";
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_LOAD);
	/* of the account, whatever the region; and never more in any second */
	assert_string_equal(call->bucket, "byteplus/test/load");
	assert_true(call->burst == 20);
	assert_in_range(1000 * call->burst / call->rate_per_second, 1050, 1150);
	assert_true(call_of(cloud, QS_CALL_CAPACITY)->rate_per_second == 0);
	cloud->account.rate_limits_off = true;
	observe(cloud, 300);
	assert_true(call_of(cloud, QS_CALL_LOAD)->rate_per_second == 0);
	cloud_free(cloud);
}

static void
endpoints_and_services_can_be_overridden(void **state)
{
	static const struct
	{
		const char *region;
		const char *endpoint;
		const char *load_endpoint;
		const char *load_service;
		const char *load;
		const char *groups;
	}			cases[] = {
		{"cn-beijing", NULL, NULL, NULL,
			"https://volc-observe.cn-beijing.byteplusapi.com.cn/",
		"https://auto-scaling.cn-beijing.byteplusapi.com.cn/"},
		{"cn-hongkong", NULL, NULL, "cloudmonitor",
			"https://cloudmonitor.cn-hongkong.byteplusapi.com/",
		"https://auto-scaling.cn-hongkong.byteplusapi.com/"},
		{"r1", "http://127.0.0.1:9", "", "", "http://127.0.0.1:9/",
		"http://127.0.0.1:9/"},
		{"r1", "https://a.example", "https://b.example", NULL,
		"https://b.example/", "https://a.example/"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Cloud	   *cloud = cloud_new(1);

		cloud->batch.region = cases[i].region;
		cloud->account.endpoint = cases[i].endpoint;
		cloud->account.monitor_endpoint = cases[i].load_endpoint;
		cloud->account.monitor_service = cases[i].load_service;
		observe(cloud, 300);
		assert_memory_equal(call_of(cloud, QS_CALL_LOAD)->request.url,
							cases[i].load, strlen(cases[i].load));
		assert_memory_equal(call_of(cloud, QS_CALL_CAPACITY)->request.url,
							cases[i].groups, strlen(cases[i].groups));
		cloud_free(cloud);
	}
}

static void
odd_ids_cost_only_their_own_group(void **state)
{
	static const char *const odd[] = {"", "a b", "a/b", "a@b", "a\"b", "a\nb",
	"a'b", "a\\b", "a\x7f", "\xc3\xa9", "a&b", "a%20"};
	int			n = (int) (sizeof(odd) / sizeof(odd[0]));
	Cloud	   *cloud = cloud_new(n + 1);

	(void) state;
	for (int i = 0; i < n; i++)
		cloud->targets[i].alb_id = cloud->targets[i].asg_id = odd[i];
	observe(cloud, 300);
	assert_int_equal(cloud->calls.n_calls, 2);
	for (int i = 0; i < n; i++)
	{
		assert_int_equal(cloud->targets[i].load_error.class,
						 QS_ERROR_TERMINAL);
		assert_int_equal(cloud->targets[i].capacity_error.class,
						 QS_ERROR_TERMINAL);
	}
	assert_int_equal(call_of(cloud, QS_CALL_LOAD)->n_targets, 1);
	assert_int_equal(cloud->targets[n].load_error.class, QS_ERROR_NONE);
	cloud_free(cloud);
}

static void
odd_region_asks_nothing(void **state)
{
	Cloud	   *cloud = cloud_new(2);

	(void) state;
	cloud->batch.region = "evil.example/";
	observe(cloud, 300);
	assert_int_equal(cloud->calls.n_calls, 0);
	assert_string_equal(cloud->targets[1].capacity_error.code,
						"invalid_region");
	assert_int_equal(cloud->targets[1].load_error.class, QS_ERROR_TERMINAL);
	cloud_free(cloud);
}

/* What a list of data points becomes; n_points 0 = unknown load. */
static const struct
{
	const char *promise;
	const char *points;
	int			n_points;
	double		mean;
	double		newest;
	int64_t		newest_end;		/* after START */
	bool		malformed;
}			point_cases[] = {
	{"mean of all", "[{\"Timestamp\":1704164340,\"Value\":10},"
		"{\"Timestamp\":1704164400,\"Value\":20.5},"
		"{\"Timestamp\":1704164580,\"Value\":30}]",
	3, 60.5 / 3, 30, 300, false},
	{"unordered points", "[{\"Timestamp\":1704164580,\"Value\":30},"
		"{\"Timestamp\":1704164340,\"Value\":10},"
						 "{\"Timestamp\":1704164400,\"Value\":20}]",
	 3, 20, 30, 300, false},
	{"b08 null is missing, not zero",
		"[{\"Timestamp\":1704164340,\"Value\":null},"
	 "{\"Timestamp\":1704164400,\"Value\":20}]",
	 1, 20, 20, 120, false},
	{"b08 absent value is missing, not zero", "[{\"Timestamp\":1704164340},"
											  "{\"Timestamp\":1704164400,\"Value\":20}]",
	 1, 20, 20, 120, false},
	{"b08 negative value is missing",
		"[{\"Timestamp\":1704164340,\"Value\":-1},"
	 "{\"Timestamp\":1704164400,\"Value\":20}]",
	 1, 20, 20, 120, false},
	{"NaN in words is missing", "[{\"Timestamp\":1704164340,\"Value\":"
		"\"NaN\"},{\"Timestamp\":1704164400,\"Value\":20}]",
	1, 20, 20, 120, false},
	{"a real zero is a zero", "[{\"Timestamp\":1704164340,\"Value\":0}]",
	1, 0, 0, 60, false},
	{"duplicate time: the last wins",
		"[{\"Timestamp\":1704164400,\"Value\":1},"
		"{\"Timestamp\":1704164340,\"Value\":5},"
		"{\"Timestamp\":1704164400,\"Value\":9}]",
	2, 7, 9, 120, false},
	{"b08 newest incomplete bucket is dropped",
		"[{\"Timestamp\":1704164580,\"Value\":10},"
		"{\"Timestamp\":1704164640,\"Value\":1}]",
	1, 10, 10, 300, false},
	{"bucket that ends after the window is dropped",
		"[{\"Timestamp\":1704164580,\"Value\":10},"
		"{\"Timestamp\":1704164581,\"Value\":1}]",
	1, 10, 10, 300, false},
	{"points before the window are dropped",
		"[{\"Timestamp\":1704164339,\"Value\":1},"
		"{\"Timestamp\":1704164340,\"Value\":10}]",
	1, 10, 10, 60, false},
	{"time as a whole real number",
	"[{\"Timestamp\":1704164340.0,\"Value\":4}]", 1, 4, 4, 60, false},
	{"no points", "[]", 0, 0, 0, 0, false},
	{"null for no points", "null", 0, 0, 0, 0, false},
	{"all null", "[{\"Timestamp\":1704164340,\"Value\":null},null]",
	0, 0, 0, 0, false},
	{"absurd number is missing",
	"[{\"Timestamp\":1704164340,\"Value\":1e300}]", 0, 0, 0, 0, false},
	{"integer beyond 64 bits is missing", "[{\"Timestamp\":1704164340,"
		"\"Value\":99999999999999999999999},"
										  "{\"Timestamp\":1704164400,\"Value\":3}]",
	 1, 3, 3, 120, false},
	{"value as a string", "[{\"Timestamp\":1704164340,\"Value\":\"12\"}]",
	0, 0, 0, 0, true},
	{"value as an object", "[{\"Timestamp\":1704164340,\"Value\":{}}]",
	0, 0, 0, 0, true},
	{"time as a string",
	"[{\"Timestamp\":\"1704164340\",\"Value\":1}]", 0, 0, 0, 0, true},
	{"time missing", "[{\"Value\":1}]", 0, 0, 0, 0, true},
	{"a good point does not save a malformed series",
	"[{\"Timestamp\":1704164340,\"Value\":1},7]", 0, 0, 0, 0, true},
	{"points as an object", "{}", 0, 0, 0, 0, true},
	{"points as a number", "1", 0, 0, 0, 0, true},
};

static void
data_points(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(point_cases) / sizeof(point_cases[0]); i++)
	{
		Cloud	   *cloud = cloud_new(1);
		QsLoad	   *load = &cloud->targets[0].load;
		bool		ok;

		print_message("  %s\n", point_cases[i].promise);
		observe(cloud, 300);
		ok = answer(cloud, call_of(cloud, QS_CALL_LOAD), 200,
					one_series(point_cases[i].points));
		assert_true(ok);
		assert_int_equal(load->known, point_cases[i].n_points > 0);
		assert_int_equal(load->points, point_cases[i].n_points);
		assert_int_equal(load->expected_points, 5);
		assert_int_equal(cloud->targets[0].load_error.class,
						 point_cases[i].malformed ? QS_ERROR_MALFORMED :
						 QS_ERROR_NONE);
		if (load->known)
		{
			assert_true(fabs(load->mean_qps - point_cases[i].mean) < 1e-9);
			assert_true(load->newest_qps == point_cases[i].newest);
			assert_int_equal(load->newest_end_us,
							 (START + point_cases[i].newest_end) * 1000000);
		}
		cloud_free(cloud);
	}
}

static void
b08_series_are_known_by_id_and_missing_ones_are_unknown(void **state)
{
	Cloud	   *cloud = cloud_new(4);

	(void) state;
	observe(cloud, 300);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200,
					   "{" METADATA ",\"Result\":{\"Data\":{"
					   "\"MetricDataResults\":["
					   "{\"Dimensions\":[{\"Name\":\"ResourceID\",\"Value\":"
					   "\"alb-00002\"}],\"DataPoints\":[{\"Timestamp\":"
					   "1704164340,\"Value\":22}]},"
					   "{\"Dimensions\":[{\"Name\":\"ResourceID\",\"Value\":"
					   "\"alb-foreign\"}],\"DataPoints\":[{\"Timestamp\":"
					   "1704164340,\"Value\":99}]},"
					   "{\"Dimensions\":[{\"Name\":\"ListenerID\",\"Value\":"
					   "\"alb-00001\"}],\"DataPoints\":[{\"Timestamp\":"
					   "1704164340,\"Value\":98}]},"
					   "{\"Dimensions\":[{\"Name\":\"ResourceID\",\"Value\":"
					   "\"alb-00000\"}],\"DataPoints\":\"rubbish\"},"
					   "null,7,{\"DataPoints\":[]}]}}}"));
	assert_true(cloud->targets[2].load.known);
	assert_true(cloud->targets[2].load.mean_qps == 22);
	assert_false(cloud->targets[1].load.known);
	assert_int_equal(cloud->targets[1].load_error.class, QS_ERROR_NONE);
	assert_false(cloud->targets[3].load.known);
	assert_false(cloud->targets[0].load.known);
	assert_int_equal(cloud->targets[0].load_error.class, QS_ERROR_MALFORMED);
	byteplus->settle(cloud->list, cloud->n);
	assert_false(cloud->targets[1].load.known);
	cloud_free(cloud);
}

#define SERIES(method, value) "{\"StatisticsMethods\":\"" method "\"," \
							  "\"Dimensions\":[{\"Name\":\"ResourceID\",\"Value\":\"alb-00000\"}]," \
	"\"DataPoints\":[{\"Timestamp\":1704164340,\"Value\":" value "}]}"

static void
only_averages_count_and_two_are_one_too_many(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsLoad	   *load = &cloud->targets[0].load;

	(void) state;
	observe(cloud, 300);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200,
					   "{" METADATA ",\"Result\":{\"Data\":{"
					   "\"MetricDataResults\":[" SERIES("max", "90") "," SERIES("avg", "5") "," SERIES("min", "1") "]}}}"));
	assert_true(load->known && load->mean_qps == 5);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200,
					   "{" METADATA ",\"Result\":{\"Data\":{"
					   "\"MetricDataResults\":[" SERIES("avg", "90") "," SERIES("", "5") "]}}}"));
	assert_false(load->known);
	assert_int_equal(cloud->targets[0].load_error.class, QS_ERROR_MALFORMED);
	cloud_free(cloud);
}

#define SERIES_OF(id, value) "{\"Dimensions\":[{\"Name\":\"ResourceID\"," \
	"\"Value\":\"" id "\"}],\"DataPoints\":[{\"Timestamp\":1704164340," \
	"\"Value\":" value "}]}"

/* "a, NaN" is a name, not a number, and its quotes are where strings end */
static void
b08_a_number_that_is_no_double_costs_its_own_series_only(void **state)
{
	static const char *const broken[] = {"NaN", "-Infinity", "Infinity",
	"1e999", "-1.5E+400", "inf"};

	(void) state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
	{
		Cloud	   *cloud = cloud_new(2);
		char		reply[1024];

		snprintf(reply, sizeof(reply), "{" METADATA ",\"Result\":{\"Data\":{"
				 "\"Unit\":\"a \\\"NaN, 1e999\",\"MetricDataResults\":["
				 SERIES_OF("alb-00000", "%s") "," SERIES_OF("alb-00001", "7.5")
				 "]}}}", broken[i]);
		observe(cloud, 300);
		assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200, reply));
		assert_false(cloud->targets[0].load.known);
		assert_true(cloud->targets[1].load.known);
		assert_true(cloud->targets[1].load.mean_qps == 7.5);
		cloud_free(cloud);
	}
}

static void
null_results_are_no_data(void **state)
{
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	observe(cloud, 300);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200,
					   "{" METADATA ",\"Result\":{\"Data\":{"
					   "\"MetricDataResults\":null}}}"));
	assert_false(cloud->targets[0].load.known);
	cloud_free(cloud);
}

/* Error replies, whatever was asked. */
static const struct
{
	const char *promise;
	int			status;
	const char *body;
	QsErrorClass class;
	bool		refused;
	const char *code;
}			error_cases[] = {
	{"b15 an error with HTTP 200 is an error", 200,
		"{\"ResponseMetadata\":{\"Error\":{\"Code\":\"InvalidParameter.X\","
	"\"Message\":\"m\"}},\"Result\":{\"Data\":{\"MetricDataResults\":[]}}}",
	QS_ERROR_TERMINAL, true, "InvalidParameter.X"},
	{"b15 throttled with HTTP 200", 200, "{\"ResponseMetadata\":{\"Error\":{"
		"\"Code\":\"FlowLimitExceeded.QPSOverLimit\"}}}",
	QS_ERROR_THROTTLED, true, "FlowLimitExceeded.QPSOverLimit"},
	{"b15 unknown code with HTTP 200 leaves the outcome open", 200,
		"{\"ResponseMetadata\":{\"Error\":{\"Code\":\"Strange\"}}}",
	QS_ERROR_TERMINAL, false, "Strange"},
	{"b15 error that is a string", 200,
		"{\"ResponseMetadata\":{\"Error\":\"boom\"},\"Result\":{}}",
	QS_ERROR_TERMINAL, false, "HTTP200"},
	{"code by number only", 401, "{\"ResponseMetadata\":{\"Error\":{"
								 "\"CodeN\":100010}}}",
	 QS_ERROR_CREDENTIAL, true, "SignatureDoesNotMatch"},
	{"gateway's form", 403, "{\"HTTPCode\":403,\"errorcode\":"
		"\"AccessDenied\",\"message\":\"no\"}",
	QS_ERROR_TERMINAL, true, "AccessDenied"},
	{"gateway's form with HTTP 200", 200, "{\"HTTPCode\":429,\"errorcode\":"
										  "\"x\",\"message\":\"no\"}",
	 QS_ERROR_THROTTLED, true, "x"},
	{"429 with envelope", 429, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
							   "\"FlowLimitExceeded\"}}}",
	 QS_ERROR_THROTTLED, true, "FlowLimitExceeded"},
	{"429 of a proxy refuses nothing for certain", 429, "<html>",
	QS_ERROR_THROTTLED, false, "HTTP429"},
	{"500 may have been carried out", 500, "{\"ResponseMetadata\":{\"Error\":"
										   "{\"Code\":\"InternalError\"}}}",
	 QS_ERROR_TRANSIENT, false,
	"InternalError"},
	{"502 with envelope", 502, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
							   "\"InternalServiceError\"}}}",
	 QS_ERROR_TRANSIENT, false,
	"InternalServiceError"},
	{"502 stays transient whatever its code", 502, "{\"ResponseMetadata\":{"
												   "\"Error\":{\"Code\":\"InvalidUpstream\"}}}",
	 QS_ERROR_TRANSIENT,
	false, "InvalidUpstream"},
	{"503 with envelope was refused", 503, "{\"ResponseMetadata\":{\"Error\":"
		"{\"Code\":\"ServiceUnavailableTemporarily\"}}}",
	QS_ERROR_TRANSIENT, true, "ServiceUnavailableTemporarily"},
	{"503 of a proxy", 503, "down", QS_ERROR_TRANSIENT, false, "HTTP503"},
	{"504 in HTML", 504, "<html>", QS_ERROR_TRANSIENT, false, "HTTP504"},
	{"504 with an empty body", 504, "", QS_ERROR_TRANSIENT, false, "HTTP504"},
	{"token expired", 401, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
						   "\"InvalidSecretToken\"}}}",
	 QS_ERROR_CREDENTIAL, true,
	"InvalidSecretToken"},
	{"credential", 400, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
						"\"InvalidCredential\"}}}",
	 QS_ERROR_CREDENTIAL, true,
	"InvalidCredential"},
	{"404", 404, "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
				 "\"ServiceNotFound\"}}}",
	 QS_ERROR_TERMINAL, true,
	"ServiceNotFound"},
	{"a redirect is not followed", 302, "", QS_ERROR_TERMINAL, false,
	"HTTP302"},
	{"501 is never repeated", 501, "", QS_ERROR_TERMINAL, false, "HTTP501"},
	{"HTML with 200", 200, "<html>ok</html>", QS_ERROR_MALFORMED, false,
	"malformed_reply"},
	{"empty body with 200", 200, "", QS_ERROR_MALFORMED, false,
	"malformed_reply"},
	{"truncated", 200, "{" METADATA ",\"Result\":{\"Data\":{\"MetricData",
	QS_ERROR_MALFORMED, false, "malformed_reply"},
	{"two documents", 200, "{" METADATA ",\"Result\":{}}{}",
	QS_ERROR_MALFORMED, false, "malformed_reply"},
	{"an array", 200, "[]", QS_ERROR_MALFORMED, false, "malformed_reply"},
	{"no metadata", 200, "{\"Result\":{}}", QS_ERROR_MALFORMED, false,
	"malformed_reply"},
	{"no result", 200, "{" METADATA "}", QS_ERROR_MALFORMED, false,
	"malformed_reply"},
	{"result of a wrong type", 200, "{" METADATA ",\"Result\":[]}",
	QS_ERROR_MALFORMED, false, "malformed_reply"},
	{"no data", 200, "{" METADATA ",\"Result\":{}}", QS_ERROR_MALFORMED,
	false, "malformed_reply"},
	{"not UTF-8", 200, "{" METADATA ",\"Result\":{\"Data\":{"
		"\"MetricDataResults\":[],\"x\":\"\xff\xfe\"}}}",
	QS_ERROR_MALFORMED, false, "malformed_reply"},
};

static void
error_replies(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(error_cases) / sizeof(error_cases[0]); i++)
	{
		Cloud	   *cloud = cloud_new(1);
		QsCall	   *call;

		print_message("  %s\n", error_cases[i].promise);
		observe(cloud, 300);
		call = call_of(cloud, QS_CALL_LOAD);
		assert_false(answer(cloud, call, error_cases[i].status,
							error_cases[i].body));
		assert_int_equal(cloud->error.class, error_cases[i].class);
		assert_int_equal(cloud->error.refused, error_cases[i].refused);
		assert_string_equal(cloud->error.code, error_cases[i].code);
		assert_false(cloud->targets[0].load.known);
		byteplus->abandon(call, &cloud->error);
		assert_int_equal(cloud->targets[0].load_error.class,
						 error_cases[i].class);
		cloud_free(cloud);
	}
}

static void
every_prefix_of_a_reply_is_refused(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	const char *whole = one_series("[{\"Timestamp\":1704164340,"
								   "\"Value\":1}]");
	size_t		length = strlen(whole);

	(void) state;
	observe(cloud, 300);
	for (size_t n = 0; n < length; n++)
	{
		/* a block of its own, so that the sanitizer sees reading too far */
		char	   *part = malloc(n + 1);

		assert_non_null(part);
		memcpy(part, whole, n);
		part[n] = '\0';
		assert_false(answer_bytes(cloud, call_of(cloud, QS_CALL_LOAD), 200,
								  part, n));
		assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
		free(part);
	}
	assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200, whole));
	cloud_free(cloud);
}

static void
deep_nesting_is_malformed_not_a_crash(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	size_t		n = 1000000;
	char	   *body = malloc(n + 1);

	(void) state;
	assert_non_null(body);
	memset(body, '[', n);
	body[n] = '\0';
	observe(cloud, 300);
	assert_false(answer_bytes(cloud, call_of(cloud, QS_CALL_LOAD), 200, body,
							  n));
	assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
	free(body);
	cloud_free(cloud);
}

static void
a_message_that_quotes_a_secret_is_withheld(void **state)
{
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	strcpy(cloud->account.credentials.session_token, "CANARYTOKEN-0123456789");
	observe(cloud, 300);
	assert_false(answer(cloud, call_of(cloud, QS_CALL_LOAD), 401,
						"{\"ResponseMetadata\":{\"RequestId\":\"r9\","
						"\"Error\":{\"Code\":\"SignatureDoesNotMatch\","
						"\"Message\":\"x-security-token:"
						"CANARYTOKEN-0123456789\"}}}"));
	assert_null(strstr(cloud->error.message, "CANARY"));
	assert_non_null(strstr(cloud->error.message, "r9"));

	/* nor in what is not meant for words */
	assert_false(answer(cloud, call_of(cloud, QS_CALL_LOAD), 401,
						"{\"ResponseMetadata\":{\"RequestId\":"
						"\"CANARYTOKEN-0123456789\",\"Error\":{\"Code\":"
						"\"No.CANARYTOKEN-0123456789\",\"Message\":\"m\"}}}"));
	assert_string_equal(cloud->error.code, "withheld");
	assert_string_equal(cloud->error.message, "m");
	cloud_free(cloud);
}

static void
retry_after_is_handed_on(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsHttpReply reply = {.status = 429,.content_type = "",.body = "",
	.retry_after_ms = 2500,.date_epoch_s = -1};

	(void) state;
	observe(cloud, 300);
	assert_false(byteplus->parse(cloud->arena, call_of(cloud, QS_CALL_LOAD),
								 &reply, NOW_US, &cloud->follow_up,
								 &cloud->error));
	assert_int_equal(cloud->error.retry_after_ms, 2500);
	assert_int_equal(cloud->error.http_status, 429);
	cloud_free(cloud);
}

static void
skew_is_learnt_from_any_reply(void **state)
{
	static const struct
	{
		int64_t		difference;
		int64_t		skew;
	}			cases[] = {{0, 0}, {1, 0}, {-1, 0}, {2, 2}, {-2, -2},
	{3600, 3600}, {-7200, -7200}};
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	observe(cloud, 300);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		cloud->memory.skew_s = 77;
		cloud->date_s = VECTOR_TIME + cases[i].difference;
		assert_false(answer(cloud, call_of(cloud, QS_CALL_LOAD), 503, ""));
		assert_int_equal(cloud->memory.skew_s, cases[i].skew);
	}
	cloud->date_s = -1;
	assert_false(answer(cloud, call_of(cloud, QS_CALL_LOAD), 503, ""));
	assert_int_equal(cloud->memory.skew_s, -7200);
	cloud_free(cloud);
}

/* A proxy with a wrong clock must not lock an account out for ever. */
static void
a_skew_that_is_refused_without_a_clock_is_forgotten(void **state)
{
	static const char refusal[] = "{\"ResponseMetadata\":{\"Error\":{"
		"\"CodeN\":100006,\"Code\":\"InvalidTimestamp\"}}}";
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call;

	(void) state;
	cloud->memory.skew_s = -7200;
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_CAPACITY);
	assert_string_equal(header_of(&call->request, "X-Date"),
						"20240102T010405Z");
	assert_false(answer(cloud, call, 400, refusal));
	assert_int_equal(cloud->error.class, QS_ERROR_TRANSIENT);
	assert_string_equal(header_of(&call->request, "X-Date"),
						"20240102T030405Z");
	assert_int_equal(cloud->memory.skew_s, 0);

	/* our own clock was refused as well: there is nothing left to try */
	assert_false(answer(cloud, call, 400, refusal));
	assert_int_equal(cloud->error.class, QS_ERROR_TERMINAL);
	cloud_free(cloud);
}

/*
 * The first reply of a cloud whose clock is ahead teaches that the window it
 * answers lies too far back: those points would be called stale.
 */
static void
a_window_placed_by_the_wrong_clock_is_asked_again_once(void **state)
{
	static const char no_points[] = "{" METADATA ",\"Result\":{\"Data\":{"
		"\"MetricDataResults\":[]}}}";
	Cloud	   *cloud = cloud_new(3);
	QsCall	   *call;

	(void) state;
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_LOAD);
	cloud->date_s = VECTOR_TIME + 600;
	assert_true(answer(cloud, call, 200, no_points));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	call = cloud->follow_up.calls[0];
	assert_int_equal(call->n_targets, 3);
	assert_int_equal(call->window_end_s, START + 300 + 600);
	assert_string_equal(header_of(&call->request, "X-Date"),
						"20240102T031405Z");

	/* a clock that jumps with every reply does not keep us busy */
	cloud->date_s = VECTOR_TIME - 600;
	assert_true(answer(cloud, call, 200, no_points));
	assert_int_equal(cloud->follow_up.n_calls, 0);

	/* less than a bucket is of no account */
	memset(&cloud->memory, 0, sizeof(cloud->memory));
	observe(cloud, 300);
	cloud->date_s = VECTOR_TIME + 59;
	assert_true(answer(cloud, call_of(cloud, QS_CALL_LOAD), 200, no_points));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	cloud_free(cloud);
}

static void
invalid_timestamp_is_mended_once_the_skew_is_known(void **state)
{
	static const char refusal[] = "{\"ResponseMetadata\":{\"Error\":{"
		"\"CodeN\":100006,\"Code\":\"InvalidTimestamp\"}}}";
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call;

	(void) state;
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_LOAD);
	assert_false(answer(cloud, call, 400, refusal));
	assert_int_equal(cloud->error.class, QS_ERROR_TERMINAL);

	cloud->date_s = VECTOR_TIME - 3600;
	assert_false(answer(cloud, call, 400, refusal));
	assert_int_equal(cloud->error.class, QS_ERROR_TRANSIENT);
	assert_string_equal(header_of(&call->request, "X-Date"),
						"20240102T020405Z");
	assert_int_equal(call->window_end_s, START + 300 - 3600);

	/* signed for the right time and refused again: that will not heal */
	assert_false(answer(cloud, call, 400, refusal));
	assert_int_equal(cloud->error.class, QS_ERROR_TERMINAL);
	cloud_free(cloud);
}

static void
b08_one_bad_id_costs_its_own_group_only(void **state)
{
	Cloud	   *cloud = cloud_new(50);
	QsCall	   *queue[200];
	int			n_queue = 0;
	int			n_done = 0;

	(void) state;
	observe(cloud, 300);
	queue[n_queue++] = call_of(cloud, QS_CALL_LOAD);
	while (n_done < n_queue)
	{
		QsCall	   *call = queue[n_done++];
		bool		bad = strstr(call->request.body, "alb-00017") != NULL;

		if (!answer(cloud, call, bad ? 400 : 200, bad ? "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
					"\"InvalidParameter.ResourceID\"}}}" :
					"{" METADATA ",\"Result\":{\"Data\":{"
					"\"MetricDataResults\":[]}}}"))
			byteplus->abandon(call, &cloud->error);
		for (int i = 0; i < cloud->follow_up.n_calls; i++)
			queue[n_queue++] = cloud->follow_up.calls[i];
	}
	assert_true(n_queue <= 13);
	for (int i = 0; i < 50; i++)
		assert_int_equal(cloud->targets[i].load_error.class,
						 i == 17 ? QS_ERROR_TERMINAL : QS_ERROR_NONE);
	cloud_free(cloud);
}

static void
memory_limit_is_an_error(void **state)
{
	Cloud	   *cloud = cloud_new(120);
	QsArena    *whole = cloud->arena;

	(void) state;
	cloud->memory.probe = true;
	for (size_t limit = 16; limit < 100000; limit += 499)
	{
		QsError		error;

		memset(&cloud->calls, 0, sizeof(cloud->calls));
		cloud->arena = qs_arena_new(limit);
		if (!byteplus->observe(cloud->arena, &cloud->batch, 300, NOW_US,
							   &cloud->calls, &error))
			assert_int_equal(error.class, QS_ERROR_RESOURCES);
		else if (!answer(cloud, call_of(cloud, QS_CALL_CAPACITY), 200,
						 "{" METADATA ",\"Result\":{\"ScalingGroups\":[],"
						 "\"TotalCount\":60}}"))
			assert_int_equal(cloud->error.class, QS_ERROR_RESOURCES);
		qs_arena_free(cloud->arena);
	}
	cloud->arena = whole;
	cloud_free(cloud);
}

static void
providers_are_found_by_name(void **state)
{
	(void) state;
	assert_ptr_equal(qs_provider_by_name("byteplus"), byteplus);
	assert_null(qs_provider_by_name("BytePlus"));
	assert_null(qs_provider_by_name(NULL));
	assert_string_equal(qs_call_kind_name(QS_CALL_SET_CAPACITY),
						"set_capacity");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(call_counts_stay_within_the_floor),
		cmocka_unit_test(signs_the_vectors_of_the_reference),
		cmocka_unit_test(shared_load_balancers_are_asked_once_and_answer_all),
		cmocka_unit_test(windows_are_aligned_and_within_the_limits),
		cmocka_unit_test(a_past_is_asked_for_in_calls_within_the_limits),
		cmocka_unit_test(a_past_is_not_asked_for_where_none_is_kept),
		cmocka_unit_test(gaps_of_a_past_stay_gaps_and_one_that_fails_harms_no_other),
		cmocka_unit_test(window_follows_the_clouds_clock),
		cmocka_unit_test(rate_limit_is_the_documented_one_unless_switched_off),
		cmocka_unit_test(endpoints_and_services_can_be_overridden),
		cmocka_unit_test(odd_ids_cost_only_their_own_group),
		cmocka_unit_test(odd_region_asks_nothing),
		cmocka_unit_test(data_points),
		cmocka_unit_test(b08_series_are_known_by_id_and_missing_ones_are_unknown),
		cmocka_unit_test(b08_a_number_that_is_no_double_costs_its_own_series_only),
		cmocka_unit_test(only_averages_count_and_two_are_one_too_many),
		cmocka_unit_test(null_results_are_no_data),
		cmocka_unit_test(error_replies),
		cmocka_unit_test(every_prefix_of_a_reply_is_refused),
		cmocka_unit_test(deep_nesting_is_malformed_not_a_crash),
		cmocka_unit_test(a_message_that_quotes_a_secret_is_withheld),
		cmocka_unit_test(retry_after_is_handed_on),
		cmocka_unit_test(skew_is_learnt_from_any_reply),
		cmocka_unit_test(a_skew_that_is_refused_without_a_clock_is_forgotten),
		cmocka_unit_test(a_window_placed_by_the_wrong_clock_is_asked_again_once),
		cmocka_unit_test(invalid_timestamp_is_mended_once_the_skew_is_known),
		cmocka_unit_test(b08_one_bad_id_costs_its_own_group_only),
		cmocka_unit_test(memory_limit_is_an_error),
		cmocka_unit_test(providers_are_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
