/*-------------------------------------------------------------------------
 * test_byteplus_groups.c
 *		Capacity of scaling groups, by id and by listing, against a pretended
 *		region that pages like the cloud and answers unknown ids with others.
 *-------------------------------------------------------------------------
 */
#include "cloud_fixture.h"

#define GOOD_GROUP(id) "{\"ScalingGroupId\":\"" id "\"," \
					   "\"DesireInstanceNumber\":3,\"TotalInstanceCount\":4," \
	"\"MinInstanceNumber\":1,\"MaxInstanceNumber\":9,"     \
	"\"LifecycleState\":\"Active\"}"

static char text[1 << 20];

/* A reply with these groups, as by id. */
static const char *
groups(const char *rows)
{
	snprintf(text, sizeof(text), "{" METADATA ",\"Result\":{"
								 "\"ScalingGroups\":%s,\"TotalCount\":1}}",
			 rows);
	return text;
}

/* The groups scg-<from> up to scg-<to>, and a total. */
static const char *
page_of(int from, int to, int total)
{
	size_t		used;

	used = (size_t) snprintf(text, sizeof(text), "{" METADATA ",\"Result\":{\"TotalCount\":%d,"
							 "\"ScalingGroups\":[", total);
	for (int i = from; i < to; i++)
		used += (size_t) snprintf(text + used, sizeof(text) - used,
								  "%s{\"ScalingGroupId\":\"scg-%05d\","
								  "\"DesireInstanceNumber\":%d,"
								  "\"TotalInstanceCount\":4,"
								  "\"MinInstanceNumber\":0,"
								  "\"MaxInstanceNumber\":200000,"
								  "\"LifecycleState\":\"Active\"}",
								  i > from ? "," : "", i, i);
	snprintf(text + used, sizeof(text) - used, "]}}");
	return text;
}

/*
 * Answers a call as a region with groups scg-00000 to scg-<total - 1> would:
 * pages by number, ids by their targets.
 */
static bool
answer_as_region(Cloud *cloud, QsCall *call, int total)
{
	int			from;
	int			to;

	if (call->page > 0)
	{
		from = (call->page - 1) * 50;
		to = from + 50 < total ? from + 50 : total;
		return answer(cloud, call, 200, page_of(from, to, total));
	}
	from = atoi(call->targets[0]->asg_id + 4);
	to = atoi(call->targets[call->n_targets - 1]->asg_id + 4) + 1;
	assert_true(to - from <= 10);
	return answer(cloud, call, 200,
				  page_of(from, to < total ? to : total, total));
}

/* Answers all calls for capacity and their follow-ups; returns how many. */
static int
run_region(Cloud *cloud, int total)
{
	QsCallList	queue = {0};
	int			done = 0;

	for (int i = 0; i < cloud->calls.n_calls; i++)
	{
		if (cloud->calls.calls[i]->kind == QS_CALL_CAPACITY)
			assert_true(qs_call_list_add(cloud->arena, &queue,
										 cloud->calls.calls[i]));
	}
	while (done < queue.n_calls)
	{
		assert_true(answer_as_region(cloud, queue.calls[done++], total));
		for (int i = 0; i < cloud->follow_up.n_calls; i++)
			assert_true(qs_call_list_add(cloud->arena, &queue,
										 cloud->follow_up.calls[i]));
	}
	byteplus->settle(cloud->list, cloud->n);
	return done;
}

static void
assert_all_known(const Cloud *cloud)
{
	for (int i = 0; i < cloud->n; i++)
	{
		assert_true(cloud->targets[i].capacity.known);
		assert_int_equal(cloud->targets[i].capacity.desired, i);
		assert_int_equal(cloud->targets[i].capacity_error.class,
						 QS_ERROR_NONE);
	}
}

static void
call_counts_by_id_listing_and_probe(void **state)
{
	static const struct
	{
		int			n;			/* groups of ours, all in the region */
		int			total;
		int			listed_total;
		bool		probe;
		int			calls;
	}			cases[] = {
		{1, 1, 0, false, 1},
		{10, 10, 0, false, 1},
		{11, 11, 0, false, 2},
		{50, 50, 0, false, 5},
		{51, 51, 0, false, 6},
		{1000, 1000, 0, false, 100},
		{10000, 10000, 0, false, 1000},
		/* listing, where it is cheaper */
		{1, 1, 1, false, 1},
		{10, 10, 10, false, 1},
		{11, 11, 11, false, 1},
		{50, 50, 50, false, 1},
		{51, 51, 51, false, 2},
		{1000, 1000, 1000, false, 20},
		{1000, 4900, 4900, false, 98},
		{1000, 5000, 5000, false, 100},
		{1000, 9000, 9000, false, 100},
		{10000, 10000, 10000, false, 200},
		/* a probe learns the total and goes on with what is cheaper */
		{10, 10, 0, true, 1},
		{11, 11, 0, true, 1},
		{50, 50, 0, true, 1},
		{51, 51, 0, true, 2},
		{1000, 1000, 0, true, 20},
		{1000, 100000, 0, true, 96},
		{10000, 10000, 0, true, 200},
		/* the region grew since it was listed */
		{1000, 1000, 500, false, 20},
		/* and shrank */
		{100, 100, 450, false, 9},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Cloud	   *cloud = cloud_new(cases[i].n);
		int			calls;

		cloud->memory.listed_total = cases[i].listed_total;
		cloud->memory.probe = cases[i].probe;
		observe(cloud, 300);
		calls = run_region(cloud, cases[i].total);
		if (calls != cases[i].calls)
			fail_msg("case %zu: %d calls, not %d", i, calls, cases[i].calls);
		assert_true(calls <= (cases[i].n + 9) / 10);
		assert_all_known(cloud);
		if (cases[i].probe && cases[i].n > 10)
		{
			assert_int_equal(cloud->memory.listed_total, cases[i].total);
			assert_int_equal(cloud->memory.listed_at, NOW_US);
		}
		cloud_free(cloud);
	}
}

static void
groups_that_move_between_pages_are_asked_by_id(void **state)
{
	Cloud	   *cloud = cloud_new(100);
	QsCall	   *pages[2];
	QsCall	   *rest;

	(void) state;
	cloud->memory.listed_total = 100;
	observe(cloud, 300);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_CAPACITY), 2);
	for (int i = 0, n = 0; i < cloud->calls.n_calls; i++)
	{
		if (cloud->calls.calls[i]->kind == QS_CALL_CAPACITY)
			pages[n++] = cloud->calls.calls[i];
	}
	/* three groups vanish from page 1 after page 2 was read */
	assert_true(answer(cloud, pages[1], 200, page_of(53, 100, 100)));
	assert_int_equal(cloud->follow_up.n_calls, 0);
	assert_true(answer(cloud, pages[0], 200, page_of(0, 50, 100)));
	assert_int_equal(cloud->follow_up.n_calls, 1);
	rest = cloud->follow_up.calls[0];
	assert_int_equal(rest->n_targets, 3);
	assert_int_equal(rest->page, 0);
	assert_non_null(strstr(rest->request.url, "=scg-00052&"));
	assert_true(answer(cloud, rest, 200, page_of(50, 53, 100)));
	assert_all_known(cloud);
	cloud_free(cloud);
}

static void
a_lost_page_charges_only_what_nobody_named(void **state)
{
	Cloud	   *cloud = cloud_new(100);
	QsError		error;
	QsCall	   *pages[2];

	(void) state;
	qs_error_set(&error, QS_ERROR_TRANSIENT, "timeout", "too slow");
	for (int last_lost = 0; last_lost < 2; last_lost++)
	{
		cloud->memory.listed_total = 100;
		observe(cloud, 300);
		for (int i = 0, n = 0; i < cloud->calls.n_calls; i++)
		{
			if (cloud->calls.calls[i]->kind == QS_CALL_CAPACITY)
				pages[n++] = cloud->calls.calls[i];
		}
		if (!last_lost)
			byteplus->abandon(pages[1], &error);
		assert_true(answer(cloud, pages[0], 200, page_of(0, 50, 100)));

		/* while pages are answered, the rest can still be asked by id */
		assert_int_equal(cloud->follow_up.n_calls, last_lost ? 0 : 5);
		if (last_lost)
			byteplus->abandon(pages[1], &error);
		byteplus->settle(cloud->list, cloud->n);
		for (int i = 0; i < 100; i++)
		{
			assert_int_equal(cloud->targets[i].capacity.known, i < 50);
			if (last_lost && i >= 50)
				assert_string_equal(cloud->targets[i].capacity_error.code,
									"timeout");
		}
	}
	cloud_free(cloud);
}

static void
forbidden_listing_falls_back_to_ids(void **state)
{
	Cloud	   *cloud = cloud_new(30);

	(void) state;
	cloud->memory.probe = true;
	observe(cloud, 300);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_CAPACITY), 1);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_CAPACITY), 403,
					   "{\"ResponseMetadata\":{\"Error\":{\"Code\":"
					   "\"AccessDenied\"}}}"));
	assert_int_equal(cloud->follow_up.n_calls, 3);
	assert_int_equal(cloud->follow_up.calls[0]->page, 0);
	assert_int_equal(cloud->memory.listed_total, 0);
	cloud_free(cloud);
}

static void
a_total_that_always_grows_ends_in_asking_by_id(void **state)
{
	Cloud	   *cloud = cloud_new(1000);
	QsCallList	queue = {0};
	int			done = 0;

	(void) state;
	cloud->memory.probe = true;
	observe(cloud, 300);
	assert_true(qs_call_list_add(cloud->arena, &queue,
								 call_of(cloud, QS_CALL_CAPACITY)));
	while (done < queue.n_calls)
	{
		QsCall	   *call = queue.calls[done++];

		assert_true(done < 300);
		assert_true(answer(cloud, call, 200,
						   page_of(0, 0, call->page * 50 + 60)));
		for (int i = 0; i < cloud->follow_up.n_calls; i++)
			assert_true(qs_call_list_add(cloud->arena, &queue,
										 cloud->follow_up.calls[i]));
	}
	byteplus->settle(cloud->list, cloud->n);
	assert_string_equal(cloud->targets[999].capacity_error.code, "NotFound");
	cloud_free(cloud);
}

static void
b06_unknown_ids_answered_with_other_groups(void **state)
{
	Cloud	   *cloud = cloud_new(2);

	(void) state;
	observe(cloud, 300);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_CAPACITY), 200,
					   groups("[" GOOD_GROUP("scg-other") ","
							  GOOD_GROUP("scg-00001") "]")));
	byteplus->settle(cloud->list, cloud->n);
	assert_true(cloud->targets[1].capacity.known);
	assert_false(cloud->targets[0].capacity.known);
	assert_int_equal(cloud->targets[0].capacity_error.class,
					 QS_ERROR_TERMINAL);
	assert_string_equal(cloud->targets[0].capacity_error.code, "NotFound");
	cloud_free(cloud);
}

static void
b06_ids_are_compared_whole(void **state)
{
	Cloud	   *cloud = cloud_new(1);

	(void) state;
	observe(cloud, 300);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_CAPACITY), 200,
					   groups("[" GOOD_GROUP("scg-00000\\u0000x") ","
							  GOOD_GROUP("scg-000000") ","
							  GOOD_GROUP("scg-0000") ","
							  GOOD_GROUP("SCG-00000") "]")));
	assert_false(cloud->targets[0].capacity.known);
	cloud_free(cloud);
}

static void
shadow_policies_on_one_group_all_get_the_answer(void **state)
{
	Cloud	   *cloud = cloud_new(25);

	(void) state;
	for (int i = 0; i < 25; i++)
		cloud->targets[i].asg_id = "scg-00000";
	observe(cloud, 300);
	assert_int_equal(count_calls(&cloud->calls, QS_CALL_CAPACITY), 1);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_CAPACITY), 200,
					   groups("[" GOOD_GROUP("scg-00000") "]")));
	for (int i = 0; i < 25; i++)
		assert_int_equal(cloud->targets[i].capacity.desired, 3);
	cloud_free(cloud);
}

/* One group's row without its id: what becomes of it. */
static const struct
{
	const char *promise;
	const char *row;
	bool		known;
	QsCapacity	capacity;
}			rows[] = {
#define NUMBERS(d, t, lo, hi) "\"DesireInstanceNumber\":" d \
							  ",\"TotalInstanceCount\":" t ",\"MinInstanceNumber\":" lo \
	",\"MaxInstanceNumber\":" hi
#define ACTIVE ",\"LifecycleState\":\"Active\""
	{"a plain group", NUMBERS("3", "4", "1", "9") ACTIVE, true, {.desired = 3, .total = 4, .min = 1, .max = 9, .active = true}},
	{"cooling down is active", NUMBERS("3", "4", "1", "9") ",\"LifecycleState\":\"CoolingDown\"", true, {.desired = 3, .total = 4, .min = 1, .max = 9, .active = true}},
	{"locked is not active", NUMBERS("3", "4", "1", "9") ",\"LifecycleState\":\"Locked\"", true, {.desired = 3, .total = 4, .min = 1, .max = 9}},
	{"b03 desired -1: the feature is off", NUMBERS("-1", "4", "1", "9") ACTIVE, true, {.desired = QS_UNKNOWN, .total = 4, .min = 1, .max = 9, .active = true}},
	{"zero is a number", NUMBERS("0", "0", "0", "0") ACTIVE, true, {.active = true}},
	{"scaling out suspended", NUMBERS("3", "4", "1", "9") ACTIVE ",\"SuspendedProcesses\":[\"AlarmNotification\",\"ScaleOut\"]", true, {.desired = 3, .total = 4, .min = 1, .max = 9, .active = true, .scale_out_suspended = true}},
	{"scaling in suspended", NUMBERS("3", "4", "1", "9") ACTIVE ",\"SuspendedProcesses\":[\"ScaleIn\"]", true, {.desired = 3, .total = 4, .min = 1, .max = 9, .active = true, .scale_in_suspended = true}},
	{"no health check suspends both", NUMBERS("3", "4", "1", "9") ACTIVE ",\"SuspendedProcesses\":[\"HealthCheck\"]", true, {.desired = 3, .total = 4, .min = 1, .max = 9, .active = true, .scale_out_suspended = true, .scale_in_suspended = true}},
	{"null for no suspended process", NUMBERS("3", "4", "1", "9") ACTIVE ",\"SuspendedProcesses\":null", true, {.desired = 3, .total = 4, .min = 1, .max = 9, .active = true}},
	{"b01 desired missing", "\"TotalInstanceCount\":4,"
							"\"MinInstanceNumber\":1,\"MaxInstanceNumber\":9" ACTIVE,
	 false,
	 {0}},
	{"b01 total missing", "\"DesireInstanceNumber\":4,"
						  "\"MinInstanceNumber\":1,\"MaxInstanceNumber\":9" ACTIVE,
	 false,
	 {0}},
	{"b01 total null", NUMBERS("3", "null", "1", "9") ACTIVE, false, {0}},
	{"b01 total as a string", NUMBERS("3", "\"4\"", "1", "9") ACTIVE, false, {0}},
	{"b01 half an instance", NUMBERS("3", "4.5", "1", "9") ACTIVE, false, {0}},
	{"desired -2", NUMBERS("-2", "4", "1", "9") ACTIVE, false, {0}},
	{"total negative", NUMBERS("3", "-1", "1", "9") ACTIVE, false, {0}},
	{"minimum above maximum", NUMBERS("3", "4", "9", "1") ACTIVE, false, {0}},
	{"more than a million", NUMBERS("3", "4", "1", "1000001") ACTIVE, false, {0}},
	{"beyond 32 bits", NUMBERS("4294967299", "4", "1", "9") ACTIVE, false, {0}},
	{"beyond 64 bits", NUMBERS("99999999999999999999", "4", "1", "9") ACTIVE, false, {0}},
	{"state missing", NUMBERS("3", "4", "1", "9"), false, {0}},
	{"suspended processes of a wrong type", NUMBERS("3", "4", "1", "9") ACTIVE ",\"SuspendedProcesses\":\"ScaleOut\"", false, {0}},
	{"a suspended process of a wrong type", NUMBERS("3", "4", "1", "9") ACTIVE ",\"SuspendedProcesses\":[1]", false, {0}},
};

static void
group_rows(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		Cloud	   *cloud = cloud_new(2);
		const QsCapacity *capacity = &cloud->targets[0].capacity;
		char		both[2048];

		print_message("  %s\n", rows[i].promise);
		snprintf(both, sizeof(both), "[{\"ScalingGroupId\":\"scg-00000\",%s}," GOOD_GROUP("scg-00001") "]", rows[i].row);
		observe(cloud, 300);
		assert_true(answer(cloud, call_of(cloud, QS_CALL_CAPACITY), 200,
						   groups(both)));
		byteplus->settle(cloud->list, cloud->n);
		assert_true(cloud->targets[1].capacity.known);
		assert_int_equal(capacity->known, rows[i].known);
		assert_int_equal(cloud->targets[0].capacity_error.class,
						 rows[i].known ? QS_ERROR_NONE : QS_ERROR_MALFORMED);
		if (rows[i].known)
		{
			const QsCapacity *want = &rows[i].capacity;

			assert_int_equal(capacity->desired, want->desired);
			assert_int_equal(capacity->total, want->total);
			assert_int_equal(capacity->min, want->min);
			assert_int_equal(capacity->max, want->max);
			assert_int_equal(capacity->active, want->active);
			assert_int_equal(capacity->scale_out_suspended,
							 want->scale_out_suspended);
			assert_int_equal(capacity->scale_in_suspended,
							 want->scale_in_suspended);
			assert_int_equal(capacity->in_service, QS_UNKNOWN);
		}
		cloud_free(cloud);
	}
}

static void
b01_a_failed_call_is_no_group_with_zero_instances(void **state)
{
	Cloud	   *cloud = cloud_new(3);
	QsCall	   *call;

	(void) state;
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_CAPACITY);
	assert_false(answer(cloud, call, 500, ""));
	byteplus->abandon(call, &cloud->error);
	byteplus->settle(cloud->list, cloud->n);
	for (int i = 0; i < 3; i++)
	{
		assert_false(cloud->targets[i].capacity.known);
		assert_int_equal(cloud->targets[i].capacity.total, QS_UNKNOWN);
		assert_int_equal(cloud->targets[i].capacity_error.class,
						 QS_ERROR_TRANSIENT);
	}
	cloud_free(cloud);
}

static void
rows_without_an_id_make_the_missing_ones_malformed(void **state)
{
	Cloud	   *cloud = cloud_new(2);

	(void) state;
	observe(cloud, 300);
	assert_true(answer(cloud, call_of(cloud, QS_CALL_CAPACITY), 200,
					   groups("[null,{},{\"ScalingGroupId\":7}," GOOD_GROUP("scg-00001") "]")));
	byteplus->settle(cloud->list, cloud->n);
	assert_int_equal(cloud->targets[0].capacity_error.class,
					 QS_ERROR_MALFORMED);
	assert_true(cloud->targets[1].capacity.known);
	cloud_free(cloud);
}

static void
no_rows_is_not_found_and_no_array_is_malformed(void **state)
{
	Cloud	   *cloud = cloud_new(1);
	QsCall	   *call;

	(void) state;
	observe(cloud, 300);
	call = call_of(cloud, QS_CALL_CAPACITY);
	assert_false(answer(cloud, call, 200, groups("{}")));
	assert_int_equal(cloud->error.class, QS_ERROR_MALFORMED);
	assert_false(answer(cloud, call, 200, "{" METADATA ",\"Result\":{}}"));
	assert_true(answer(cloud, call, 200, groups("null")));
	assert_int_equal(cloud->targets[0].capacity_error.class, QS_ERROR_NONE);
	byteplus->settle(cloud->list, cloud->n);
	assert_string_equal(cloud->targets[0].capacity_error.code, "NotFound");
	cloud_free(cloud);
}

static void
a_refused_batch_is_halved(void **state)
{
	static const struct
	{
		int			status;
		const char *code;
		int			calls;		/* that follow, 0 = the refusal is final */
	}			cases[] = {
		{404, "NotFound.ScalingGroup", 2},
		{400, "InvalidScalingGroup.NotFound", 2},
		{404, "ScalingGroupNotFound", 2},
		{400, "ErrScalingGroupNotExist", 2},
		{404, "ServiceNotFound", 0},
		{403, "AccessDenied", 0},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Cloud	   *cloud = cloud_new(10);
		char		body[128];

		print_message("  %s\n", cases[i].code);
		snprintf(body, sizeof(body), "{\"ResponseMetadata\":{\"Error\":{"
				 "\"Code\":\"%s\"}}}", cases[i].code);
		observe(cloud, 300);
		assert_int_equal(answer(cloud, call_of(cloud, QS_CALL_CAPACITY),
								cases[i].status, body), cases[i].calls > 0);
		assert_int_equal(cloud->follow_up.n_calls, cases[i].calls);
		for (int c = 0; c < cases[i].calls; c++)
			assert_int_equal(cloud->follow_up.calls[c]->n_targets, 5);
		cloud_free(cloud);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(call_counts_by_id_listing_and_probe),
		cmocka_unit_test(groups_that_move_between_pages_are_asked_by_id),
		cmocka_unit_test(a_lost_page_charges_only_what_nobody_named),
		cmocka_unit_test(forbidden_listing_falls_back_to_ids),
		cmocka_unit_test(a_total_that_always_grows_ends_in_asking_by_id),
		cmocka_unit_test(b06_unknown_ids_answered_with_other_groups),
		cmocka_unit_test(b06_ids_are_compared_whole),
		cmocka_unit_test(shadow_policies_on_one_group_all_get_the_answer),
		cmocka_unit_test(group_rows),
		cmocka_unit_test(b01_a_failed_call_is_no_group_with_zero_instances),
		cmocka_unit_test(rows_without_an_id_make_the_missing_ones_malformed),
		cmocka_unit_test(no_rows_is_not_found_and_no_array_is_malformed),
		cmocka_unit_test(a_refused_batch_is_halved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
