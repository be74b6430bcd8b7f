/*-------------------------------------------------------------------------
 * test_utilization.c
 *		The law of utilization of the Kubernetes autoscaler: by cases, by what
 *		its own code says of 10,000 groups, and by a restatement of its
 *		documented table that shares nothing with the implementation.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/utilization.h"
#include "hpa_cases.h"

#define SECOND	INT64_C(1000000)
#define NOW		(INT64_C(1700000000) * SECOND)
#define N_RANDOM	10000

static const int hpa_results[HPA_CASES] = {
#include "hpa_results.h"
};

/* An old pod that is ready, with a sample of the last 15 s. */
static QsPod
old_pod(double usage, double request)
{
	QsPod		pod;

	memset(&pod, 0, sizeof(pod));
	pod.usage = usage;
	pod.request = request;
	pod.sampled_at = NOW - 10 * SECOND;
	pod.window_us = 15 * SECOND;
	pod.started_at = NOW - 4000 * SECOND;
	pod.ready_changed_at = NOW - 3990 * SECOND;
	pod.ready = true;
	return pod;
}

static QsUtilization
utilization_of(const QsPod *pods, int n, double target)
{
	QsUtilization u;

	memset(&u, 0xA5, sizeof(u));
	qs_utilization(pods, n, false, target, 0.1, n, NOW, &u);
	return u;
}

static void
what_kubernetes_own_code_says_of_ten_thousand_groups(void **state)
{
	HpaCase		c;
	QsUtilization u;

	(void) state;
	for (int i = 0; i < HPA_CASES; i++)
	{
		hpa_case(i, NOW, &c);
		qs_utilization(c.pods, c.n_pods, c.is_memory, c.target, 0.1,
					   c.current, NOW, &u);
		if ((u.problem != NULL ? -1 : u.proposal) != hpa_results[i])
			fail_msg("case %d: %s %d (%d %%), Kubernetes %d", i,
					 u.problem ? u.problem : "proposes", u.proposal,
					 u.percent, hpa_results[i]);
	}
}

static uint64_t seed;

static int
draw(int below)
{
	seed = seed * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (int) ((uint32_t) (seed >> 33) % (uint32_t) below);
}

static QsPod
draw_pod(void)
{
	QsPod		pod = old_pod(draw(2000) / 1000.0, (1 + draw(1500)) / 1000.0);

	pod.sampled_at = NOW - draw(90) * SECOND;
	if (draw(5) == 0)
		pod.started_at = NOW - draw(340) * SECOND;
	if (draw(5) == 0)
		pod.ready_changed_at = pod.started_at + draw(60) * SECOND;
	if (draw(8) == 0)
		pod.usage = -1;
	if (draw(12) == 0)
		pod.started_at = QS_NEVER;
	if (draw(12) == 0)
		pod.ready_changed_at = QS_NEVER;
	pod.ready = draw(6) != 0;
	pod.pending = draw(12) == 0;
	pod.gone = draw(12) == 0;
	return pod;
}

/* "Ignored" in the documented table: does the sample of a pod not count? */
static bool
is_ignored(const QsPod *p)
{
	if (p->pending)
		return true;
	if (p->usage < 0)
		return false;
	if (p->started_at == QS_NEVER || p->ready_changed_at == QS_NEVER)
		return true;
	if ((NOW - p->started_at) / SECOND < 300)
		return !p->ready || p->sampled_at - p->ready_changed_at < p->window_us;
	return !p->ready && p->ready_changed_at - p->started_at < 30 * SECOND;
}

/* A percentage as a whole number, of amounts that are whole thousandths. */
static double
ratio_of(long usage, long requests, int target)
{
	return (double) (100 * usage / requests) / target;
}

/*
 * The table, case by case, over whole thousandths: -1 where there is nothing
 * to say.
 */
static int
restated(const QsPod *pods, int n, int target, int current)
{
	long		used = 0;
	long		asked = 0;
	long		asked_by_missing = 0;
	long		asked_by_ignored = 0;
	int			ready = 0;
	int			missing = 0;
	int			ignored = 0;
	int			counted;
	double		r;
	double		again;
	int			result;

	for (int i = 0; i < n; i++)
	{
		long		request = lrint(pods[i].request * 1000);

		if (pods[i].gone)
			continue;
		if (is_ignored(&pods[i]))
		{
			ignored++;
			asked_by_ignored += request;
		}
		else if (pods[i].usage < 0)
		{
			missing++;
			asked_by_missing += request;
		}
		else
		{
			ready++;
			used += lrint(pods[i].usage * 1000);
			asked += request;
		}
	}
	if (ready == 0)
		return -1;
	r = ratio_of(used, asked, target);
	if (missing == 0 && !(ignored > 0 && r > 1))
		return fabs(1 - r) <= 0.1 ? current : (int) ceil(r * ready);

	counted = ready;
	if (missing > 0 && r != 1)
	{
		counted += missing;
		asked += asked_by_missing;
		used += r < 1 ? asked_by_missing : 0;
	}
	if (ignored > 0 && r > 1)
	{
		counted += ignored;
		asked += asked_by_ignored;
	}
	again = ratio_of(used, asked, target);
	if (fabs(1 - again) <= 0.1)
		return current;
	if ((r < 1) != (again < 1))
		return current;
	result = (int) ceil(again * counted);
	if ((again < 1) != (result < current) && result != current)
		return current;
	return result;
}

static void
the_documented_table_gives_the_same_for_random_groups(void **state)
{
	static const int targets[] = {50, 60, 80, 100, 130};
	int			kinds[3] = {0, 0, 0};

	(void) state;
	seed = 31;
	for (int i = 0; i < N_RANDOM; i++)
	{
		QsPod		pods[20];
		int			n = 1 + draw(20);
		int			target = targets[draw(5)];
		int			current = 1 + draw(22);
		int			expected;
		int			calm = draw(2);
		QsUtilization u;

		for (int j = 0; j < n; j++)
			pods[j] = calm ? old_pod(draw(1200) / 1000.0, 1) : draw_pod();
		expected = restated(pods, n, target, current);
		qs_utilization(pods, n, false, target, 0.1, current, NOW, &u);
		if ((u.problem != NULL ? -1 : u.proposal) != expected)
			fail_msg("group %d: %s %d (%d %%), the table %d", i,
					 u.problem ? u.problem : "proposes", u.proposal,
					 u.percent, expected);
		kinds[expected < 0 ? 0 : expected == current ? 1 : 2]++;
	}
	/* the generator must reach every answer worth reaching */
	for (int i = 0; i < 3; i++)
		assert_true(kinds[i] > N_RANDOM / 50);
}

static void
a_percentage_is_cut_to_a_whole_number_before_it_is_compared(void **state)
{
	QsPod		pods[2] = {old_pod(0.829, 1), old_pod(0.829, 1)};

	(void) state;
	/* 82.9 is further from 75 than the tolerance, 82 is not */
	assert_int_equal(utilization_of(pods, 2, 75).percent, 82);
	assert_int_equal(utilization_of(pods, 2, 75).proposal, 2);
	/* 0.29 of 1 is 29 per cent, though a double of it is a little less */
	pods[0] = pods[1] = old_pod(0.29, 1);
	assert_int_equal(utilization_of(pods, 2, 60).percent, 29);
}

static void
pods_without_a_sample_make_either_change_smaller(void **state)
{
	QsPod		pods[4] = {old_pod(0.9, 1), old_pod(0.9, 1), old_pod(0, 1),
	old_pod(0, 1)};

	(void) state;
	pods[2].usage = pods[3].usage = -1;
	/* 90 per cent of two, nothing of two: 45 is not above 60 */
	assert_int_equal(utilization_of(pods, 4, 60).proposal, 4);
	pods[0].usage = pods[1].usage = 0.1;
	/* 10 per cent of two, all of two: 55 is near enough to 60 */
	assert_int_equal(utilization_of(pods, 4, 60).proposal, 4);
	assert_true(utilization_of(pods, 4, 60).tolerated);
}

static void
a_pod_that_starts_is_idle_where_the_group_grows(void **state)
{
	QsPod		pods[3] = {old_pod(1.2, 1), old_pod(1.2, 1), old_pod(9, 1)};

	(void) state;
	pods[2].started_at = NOW - 60 * SECOND;
	pods[2].ready_changed_at = NOW - 12 * SECOND;
	/* its burst of use is left out: 240 of 300 per cent */
	assert_int_equal(utilization_of(pods, 3, 60).proposal, 4);
	/* once a whole sample is of the time after it became ready, it counts */
	pods[2].ready_changed_at = NOW - 25 * SECOND;
	assert_int_equal(utilization_of(pods, 3, 60).proposal, 19);
}

static void
readiness_does_not_matter_for_memory(void **state)
{
	QsPod		pods[2] = {old_pod(9e8, 1e9), old_pod(9e8, 1e9)};
	QsUtilization u;

	(void) state;
	pods[1].ready = false;
	pods[1].started_at = NOW - SECOND;
	qs_utilization(pods, 2, true, 60, 0.1, 2, NOW, &u);
	assert_int_equal(u.proposal, 3);
	qs_utilization(pods, 2, false, 60, 0.1, 2, NOW, &u);
	assert_int_equal(u.proposal, 2);
}

static void
a_pod_without_a_request_is_named(void **state)
{
	QsPod		pods[3] = {old_pod(1, 1), old_pod(1, 1), old_pod(1, 0)};
	QsUtilization u = utilization_of(pods, 3, 60);

	(void) state;
	assert_string_equal(u.problem, "no_request");
	assert_int_equal(u.problem_pod, 2);
	assert_int_equal(u.proposal, 3);
	pods[2].request = NAN;
	assert_string_equal(utilization_of(pods, 3, 60).problem, "no_request");
	pods[2].gone = true;
	assert_null(utilization_of(pods, 3, 60).problem);
}

static void
without_pods_or_samples_nothing_is_proposed(void **state)
{
	QsPod		pods[2] = {old_pod(-1, 1), old_pod(NAN, 1)};
	QsUtilization u = utilization_of(pods, 2, 60);

	(void) state;
	assert_string_equal(u.problem, "no_samples");
	assert_int_equal(u.proposal, 2);
	pods[0].gone = pods[1].gone = true;
	assert_string_equal(utilization_of(pods, 2, 60).problem, "no_pods");
	assert_string_equal(utilization_of(NULL, 0, 60).problem, "no_pods");
}

static void
absurd_amounts_and_times_do_not_crash(void **state)
{
	static const double amounts[] = {
		NAN, INFINITY, -INFINITY, -1, 0, 5e-324, 1e-9, 1, 1e15, 1e18, 1e300
	};
	static const int64_t times[] = {
		INT64_MIN, INT64_MIN + 1, 0, NOW, INT64_MAX - 1, INT64_MAX
	};

	(void) state;
	seed = 4;
	for (int i = 0; i < 20000; i++)
	{
		QsPod		pods[3];
		QsUtilization u;

		for (int j = 0; j < 3; j++)
		{
			pods[j] = draw_pod();
			pods[j].usage = amounts[draw(11)];
			pods[j].request = amounts[draw(11)];
			pods[j].started_at = times[draw(6)];
			pods[j].ready_changed_at = times[draw(6)];
			pods[j].sampled_at = times[draw(6)];
			pods[j].window_us = times[draw(6)];
		}
		qs_utilization(pods, 3, draw(2) == 0, draw(2) ? 60 : 5e-324, 0.1,
					   3, times[draw(6)], &u);
		assert_in_range(u.proposal, 0, QS_MAX_INSTANCES);
		assert_true(u.percent >= 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_kubernetes_own_code_says_of_ten_thousand_groups),
		cmocka_unit_test(the_documented_table_gives_the_same_for_random_groups),
		cmocka_unit_test(a_percentage_is_cut_to_a_whole_number_before_it_is_compared),
		cmocka_unit_test(pods_without_a_sample_make_either_change_smaller),
		cmocka_unit_test(a_pod_that_starts_is_idle_where_the_group_grows),
		cmocka_unit_test(readiness_does_not_matter_for_memory),
		cmocka_unit_test(a_pod_without_a_request_is_named),
		cmocka_unit_test(without_pods_or_samples_nothing_is_proposed),
		cmocka_unit_test(absurd_amounts_and_times_do_not_crash),
	};

	return cmocka_run_group_tests_name("utilization", tests, NULL, NULL);
}
