/*-------------------------------------------------------------------------
 * test_decide.c
 *		decide() by table: a row of decide_cases.h is a test of that name.
 *
 * "given" is a list of word=value that overrides the calm default; "base"
 * sets desired and total.  "expected" is the action, the desired capacity
 * and the reason, then word=value for further outputs.  Points in time are
 * seconds from now, or "never"; spans are seconds, or "forever".  Records
 * are instances@time, clamps are by:from>to, "-" stands for none.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/decide.h"

#define SECOND	INT64_C(1000000)
#define NOW		(INT64_C(1700000000) * SECOND)

#define N_ELEMENTS(a)	(sizeof(a) / sizeof((a)[0]))

typedef struct Case
{
	const char *name;
	const char *given;
	const char *expected;
} Case;

static const Case cases[] = {
#include "decide_cases.h"
#include "decide_signal_cases.h"
};

typedef struct World
{
	QsPolicy	policy;
	QsLoad		load;
	QsCapacity	capacity;
	QsCloudActivity activity;
	QsHistory	history;
	int			n_signals;
	QsSignal	signals[QS_MAX_SIGNALS + 1];
	bool		foresees;
	QsPredicted predicted;
} World;

typedef enum Kind
{
	COUNT, NUMBER, FLAG, TIME, SPAN, REASON, ACTION, TEXT
} Kind;

typedef struct Word
{
	const char *name;
	Kind		kind;
	size_t		offset;
} Word;

#define IN(field)	offsetof(World, field)

static const Word given_words[] = {
	{"target", NUMBER, IN(policy.target_qps)},
	{"up", NUMBER, IN(policy.up_threshold)},
	{"down", NUMBER, IN(policy.down_threshold)},
	{"pmin", COUNT, IN(policy.min_instances)},
	{"pmax", COUNT, IN(policy.max_instances)},
	{"ceiling", COUNT, IN(policy.ceiling)},
	{"up_cap", COUNT, IN(policy.max_scale_up_per_action)},
	{"down_cap", COUNT, IN(policy.max_scale_down_per_action)},
	{"down_percent", COUNT, IN(policy.max_scale_down_percent)},
	{"up_tolerance", NUMBER, IN(policy.scale_up_tolerance)},
	{"down_tolerance", NUMBER, IN(policy.scale_down_tolerance)},
	{"peak", FLAG, IN(policy.scale_up_on_peak)},
	{"guard", FLAG, IN(policy.suspicious_drop_guard)},
	{"cooldown_up", SPAN, IN(policy.scale_up_cooldown_us)},
	{"cooldown_down", SPAN, IN(policy.scale_down_cooldown_us)},
	{"general", SPAN, IN(policy.general_cooldown_us)},
	{"window", SPAN, IN(policy.scale_down_window_us)},
	{"max_age", SPAN, IN(policy.max_load_age_us)},
	{"dry_run", FLAG, IN(policy.dry_run)},
	{"armed", FLAG, IN(policy.armed)},
	{"enabled", FLAG, IN(policy.extension_enabled)},
	{"busy_writes", FLAG, IN(policy.writes_while_busy)},
	{"load", FLAG, IN(load.known)},
	{"qps", NUMBER, IN(load.mean_qps)},
	{"newest", NUMBER, IN(load.newest_qps)},
	{"newest_end", TIME, IN(load.newest_end_us)},
	{"points", COUNT, IN(load.points)},
	{"expected", COUNT, IN(load.expected_points)},
	{"capacity", FLAG, IN(capacity.known)},
	{"desired", COUNT, IN(capacity.desired)},
	{"total", COUNT, IN(capacity.total)},
	{"in_service", COUNT, IN(capacity.in_service)},
	{"min", COUNT, IN(capacity.min)},
	{"max", COUNT, IN(capacity.max)},
	{"active", FLAG, IN(capacity.active)},
	{"out_suspended", FLAG, IN(capacity.scale_out_suspended)},
	{"in_suspended", FLAG, IN(capacity.scale_in_suspended)},
	{"asked", FLAG, IN(activity.asked)},
	{"known", FLAG, IN(activity.known)},
	{"in_progress", FLAG, IN(activity.in_progress)},
	{"cloud_up", TIME, IN(activity.last_scale_up_at)},
	{"cloud_down", TIME, IN(activity.last_scale_down_at)},
	{"cloud_any", TIME, IN(activity.last_any_at)},
	{"previous", NUMBER, IN(history.previous_qps)},
	{"previous_in_service", COUNT, IN(history.previous_in_service)},
	{"drop_seen", TIME, IN(history.drop_seen_at)},
	{"last_up", TIME, IN(history.last_scale_up_at)},
	{"last_down", TIME, IN(history.last_scale_down_at)},
	{"last_action", TIME, IN(history.last_action_at)},
	{"n_recs", COUNT, IN(history.n_recommendations)},
	{"in_flight", FLAG, IN(history.activity_in_flight)},
	{"accepted", FLAG, IN(history.activity_accepted)},
	{"circuit", TIME, IN(history.circuit_open_until)},
	{"unfulfilled", COUNT, IN(history.unfulfilled_scale_ups)},
	{"fulfilled", COUNT, IN(history.fulfilled_capacity)},
	{"probe_at", TIME, IN(history.stock_out_probe_at)},
	{"suspended_up", FLAG, IN(history.suspended_up)},
	{"suspended_down", FLAG, IN(history.suspended_down)},
	{"suspended_until", TIME, IN(history.suspended_until)},
	{"held", COUNT, IN(history.held_instances)},
	{"held_until", TIME, IN(history.held_until)},
	{"by_hand", FLAG, IN(history.by_hand)},
	{"seen_up", COUNT, IN(history.confirmations.up)},
	{"seen_down", COUNT, IN(history.confirmations.down)},
	{"seen_base", COUNT, IN(history.confirmations.base)},
	{"seen_at", TIME, IN(history.confirmations.observed_at)},
	{"foresees", FLAG, IN(foresees)},
	{"steers", FLAG, IN(predicted.steers)},
	{"trust", COUNT, IN(predicted.trust)},
	{"may_shrink", FLAG, IN(predicted.may_shrink)},
	{"cut_off", COUNT, IN(predicted.outage_s)},
	{"tick_load", NUMBER, IN(predicted.newest)},
	{"will_be", NUMBER, IN(predicted.upper_grow)},
	{"will_stay", NUMBER, IN(predicted.upper_shrink)},
	{"yesterday", NUMBER, IN(predicted.yesterday)},
	{"missing", COUNT, IN(predicted.missing_s)},
	{"carries", NUMBER, IN(predicted.per_instance)},
};

#define OUT(field)	offsetof(QsDecision, field)

static const Word expected_words[] = {
	{"dry_run", FLAG, OUT(dry_run)},
	{"wanted", ACTION, OUT(wanted)},
	{"base", COUNT, OUT(base)},
	{"optimal", COUNT, OUT(optimal)},
	{"required_change", COUNT, OUT(required_change)},
	{"amount", COUNT, OUT(scaling_amount)},
	{"load_qps", NUMBER, OUT(load_qps)},
	{"qps_per_instance", NUMBER, OUT(qps_per_instance)},
	{"limited_by_safety", FLAG, OUT(limited_by_safety)},
	{"limited_by_asg", FLAG, OUT(limited_by_asg)},
	{"blocker", REASON, OUT(blocker)},
	{"blocked_until", TIME, OUT(blocked_until)},
	{"needs_activities", FLAG, OUT(needs_activities)},
	{"needs_in_service", FLAG, OUT(needs_in_service)},
	{"cooldown_until", TIME, OUT(cooldown_until)},
	{"drop_seen", TIME, OUT(drop_seen_at)},
	{"winner", TEXT, OUT(winner)},
	{"probe", FLAG, OUT(probes_stock_out)},
	{"foreseen", COUNT, OUT(foreseen)},
	{"needs_vetoes", FLAG, OUT(needs_vetoes)},
	{"confirmed", COUNT, OUT(confirmed)},
	{"confirm_n", COUNT, OUT(confirm_n)},
	{"confirm_m", COUNT, OUT(confirm_m)},
	{"seen_up", COUNT, OUT(confirmations.up)},
	{"seen_down", COUNT, OUT(confirmations.down)},
	{"seen_base", COUNT, OUT(confirmations.base)},
	{"seen_at", TIME, OUT(confirmations.observed_at)},
};

static World
calm_world(void)
{
	World		w;

	memset(&w, 0, sizeof(w));
	w.policy.mode = QS_MODE_DYNAMIC;
	w.policy.target_qps = 50;
	w.policy.up_threshold = 0.8;
	w.policy.down_threshold = 0.6;
	w.policy.min_instances = QS_NO_LIMIT;
	w.policy.max_instances = QS_NO_LIMIT;
	w.policy.ceiling = QS_NO_LIMIT;
	w.policy.suspicious_drop_guard = true;
	w.policy.scale_up_cooldown_us = 300 * SECOND;
	w.policy.scale_down_cooldown_us = 600 * SECOND;
	w.policy.general_cooldown_us = 180 * SECOND;
	w.policy.scale_down_window_us = 300 * SECOND;
	w.policy.max_load_age_us = 600 * SECOND;
	w.policy.armed = true;
	w.policy.extension_enabled = true;
	w.policy.writes_while_busy = true;
	w.load.known = true;
	w.load.mean_qps = 200;
	w.load.newest_qps = 200;
	w.load.newest_end_us = NOW - 60 * SECOND;
	w.load.points = 5;
	w.load.expected_points = 5;
	w.capacity.known = true;
	w.capacity.desired = 4;
	w.capacity.total = 4;
	w.capacity.in_service = QS_UNKNOWN;
	w.capacity.max = 100;
	w.capacity.active = true;
	w.activity.asked = true;
	w.activity.known = true;
	w.activity.last_scale_up_at = QS_NEVER;
	w.activity.last_scale_down_at = QS_NEVER;
	w.activity.last_any_at = QS_NEVER;
	w.history.previous_qps = -1;
	w.history.previous_qps_at = QS_NEVER;
	w.history.previous_in_service = QS_UNKNOWN;
	w.history.drop_seen_at = QS_NEVER;
	w.history.last_scale_up_at = QS_NEVER;
	w.history.last_scale_down_at = QS_NEVER;
	w.history.last_action_at = QS_NEVER;
	w.history.circuit_open_until = QS_NEVER;
	w.history.fulfilled_capacity = QS_UNKNOWN;
	w.history.stock_out_probe_at = QS_NEVER;
	w.history.suspended_until = QS_NEVER;
	w.history.held_instances = QS_UNKNOWN;
	w.history.held_until = QS_NEVER;
	w.predicted.steers = true;
	w.predicted.may_shrink = true;
	w.predicted.newest = 200;
	w.predicted.upper_grow = 200;
	w.predicted.upper_shrink = 200;
	w.predicted.yesterday = 200;
	w.predicted.per_instance = 50;
	return w;
}

static const Word *
find_word(const Word *words, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i].name, name) == 0)
			return &words[i];
	fail_msg("unknown word \"%s\"", name);
	return NULL;
}

static int64_t
parse_span(const char *text)
{
	char	   *end;
	double		seconds;

	if (strcmp(text, "forever") == 0)
		return INT64_MAX;
	seconds = strtod(text, &end);
	if (*end != '\0' && *end != ',')
		fail_msg("not a number of seconds: \"%s\"", text);
	return (int64_t) (seconds * SECOND + (seconds < 0 ? -0.5 : 0.5));
}

static int64_t
parse_time(const char *text)
{
	if (strcmp(text, "never") == 0)
		return QS_NEVER;
	if (strcmp(text, "forever") == 0)
		return INT64_MAX;
	return NOW + parse_span(text);
}

static void
print_time(int64_t time, char *to, size_t size)
{
	if (time == QS_NEVER)
		snprintf(to, size, "never");
	else if (time == INT64_MAX)
		snprintf(to, size, "forever");
	else
		snprintf(to, size, "%lld", (long long) ((time - NOW) / SECOND));
}

#include "decide_signal_words.h"

static void
give_records(QsHistory *history, char *list)
{
	char	   *save = NULL;

	for (char *item = strtok_r(list, ",", &save); item != NULL;
		 item = strtok_r(NULL, ",", &save))
	{
		char	   *at = strchr(item, '@');
		QsRecommendation *entry;

		assert_non_null(at);
		assert_true(history->n_recommendations < QS_MAX_RECOMMENDATIONS);
		entry = &history->recommendations[history->n_recommendations++];
		entry->instances = atoi(item);
		entry->at = parse_time(at + 1);
	}
}

static void
give(World *w, const char *name, char *value)
{
	if (strcmp(name, "mode") == 0)
	{
		w->policy.mode = strcmp(value, "static") == 0 ?
			QS_MODE_STATIC : QS_MODE_DYNAMIC;
		return;
	}
	if (strcmp(name, "foreign") == 0)
	{
		w->policy.on_foreign_change =
			strcmp(value, "override") == 0 ? QS_FOREIGN_OVERRIDE :
			strcmp(value, "pause") == 0 ? QS_FOREIGN_PAUSE : QS_FOREIGN_ADOPT;
		return;
	}
	if (strcmp(name, "base") == 0)
	{
		w->capacity.desired = w->capacity.total = atoi(value);
		return;
	}
	if (strcmp(name, "recs") == 0)
	{
		give_records(&w->history, value);
		return;
	}
	if (!give_driver(w, name, value))
		set_word(w, find_word(given_words, N_ELEMENTS(given_words), name),
				 value);
}

/* Write an output as the table writes it; lists are compared as text. */
static void
print_records(const QsDecision *d, char *to, size_t size)
{
	size_t		used = 0;

	snprintf(to, size, "-");
	for (int i = 0; i < d->n_recommendations && used < size; i++)
		used += (size_t) snprintf(to + used, size - used, "%s%d@%lld",
								  i > 0 ? "," : "",
								  d->recommendations[i].instances,
								  (long long) (d->recommendations[i].at - NOW) /
								  SECOND);
}

static void
print_clamps(const QsDecision *d, char *to, size_t size)
{
	size_t		used = 0;

	snprintf(to, size, "-");
	for (int i = 0; i < d->n_clamps && used < size; i++)
		used += (size_t) snprintf(to + used, size - used, "%s%s:%d>%d",
								  i > 0 ? "," : "", d->clamps[i].by,
								  d->clamps[i].from, d->clamps[i].to);
}

static void
print_output(const World *w, const QsDecision *d, const char *name, char *to,
			 size_t size)
{
	const Word *word;
	const char *at;

	if (strcmp(name, "recs") == 0)
	{
		print_records(d, to, size);
		return;
	}
	if (strcmp(name, "clamps") == 0)
	{
		print_clamps(d, to, size);
		return;
	}
	if (strcmp(name, "proposals") == 0)
	{
		print_proposals(d, to, size);
		return;
	}
	if (strcmp(name, "excluded") == 0)
	{
		print_exclusions(d, to, size);
		return;
	}
	if (strcmp(name, "missing") == 0)
	{
		print_missing(d, w->n_signals, to, size);
		return;
	}
	word = find_word(expected_words, N_ELEMENTS(expected_words), name);
	at = (const char *) d + word->offset;
	switch (word->kind)
	{
		case COUNT:
			snprintf(to, size, "%d", *(const int *) at);
			break;
		case NUMBER:
			snprintf(to, size, "%g", *(const double *) at);
			break;
		case FLAG:
			snprintf(to, size, "%d", *(const bool *) at);
			break;
		case TIME:
		case SPAN:
			print_time(*(const int64_t *) at, to, size);
			break;
		case REASON:
			snprintf(to, size, "%s", *(const QsReason *) at == QS_REASON_COUNT ?
					 "-" : qs_reason_name(*(const QsReason *) at));
			break;
		case ACTION:
			snprintf(to, size, "%s", qs_action_name(*(const QsAction *) at));
			break;
		case TEXT:
			snprintf(to, size, "%s", *(const char *const *) at != NULL ?
					 *(const char *const *) at : "-");
			break;
	}
}

static void
run_case(void **state)
{
	const Case *c = *state;
	World		w = calm_world();
	QsDecision	d;
	char		text[1024];
	char		actual[1024];
	char	   *save = NULL;
	int			length;

	snprintf(text, sizeof(text), "%s", c->given);
	for (char *item = strtok_r(text, " ", &save); item != NULL;
		 item = strtok_r(NULL, " ", &save))
	{
		char	   *value = strchr(item, '=');

		assert_non_null(value);
		*value = '\0';
		give(&w, item, value + 1);
	}

	if (w.foresees)
		w.history.predicted = &w.predicted;
	/* every output must be set: start from garbage */
	memset(&d, 0xA5, sizeof(d));
	qs_decide(&w.policy, &w.load, &w.capacity, &w.activity, w.signals,
			  w.n_signals, &w.history, NOW, &d);

	length = snprintf(actual, sizeof(actual), "%s %d %s",
					  qs_action_name(d.action), d.desired,
					  qs_reason_name(d.reason));
	if (strncmp(actual, c->expected, (size_t) length) != 0 ||
		(c->expected[length] != '\0' && c->expected[length] != ' '))
		fail_msg("expected \"%s\", got \"%s\"", c->expected, actual);

	snprintf(text, sizeof(text), "%s", c->expected + length);
	for (char *item = strtok_r(text, " ", &save); item != NULL;
		 item = strtok_r(NULL, " ", &save))
	{
		char	   *value = strchr(item, '=');

		assert_non_null(value);
		*value = '\0';
		print_output(&w, &d, item, actual, sizeof(actual));
		if (strcmp(actual, value + 1) != 0)
			fail_msg("%s: expected %s, got %s", item, value + 1, actual);
	}
}

/* A row that repeats another's name or input promises nothing new. */
static void
every_case_is_a_different_promise(void **state)
{
	(void) state;
	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(cases[i].name, cases[j].name) == 0)
				fail_msg("two cases are called %s", cases[i].name);
	assert_true(N_ELEMENTS(cases) >= 130);
}

static void
every_reason_has_a_name_and_an_explanation(void **state)
{
	(void) state;
	for (int i = 0; i < QS_REASON_COUNT; i++)
	{
		const char *name = qs_reason_name((QsReason) i);
		const char *text = qs_reason_explanation((QsReason) i);

		assert_non_null(name);
		assert_non_null(text);
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"),
						 strlen(name));
		assert_true(strlen(text) > 20);
		assert_int_equal(text[strlen(text) - 1], '.');
		for (int j = 0; j < i; j++)
			assert_string_not_equal(name, qs_reason_name((QsReason) j));
	}
}

static void
garbage_reasons_and_actions_have_names_too(void **state)
{
	(void) state;
	assert_non_null(qs_reason_name(QS_REASON_COUNT));
	assert_non_null(qs_reason_name((QsReason) 1000));
	assert_non_null(qs_reason_name((QsReason) -1));
	assert_non_null(qs_reason_explanation((QsReason) -1));
	assert_non_null(qs_action_name((QsAction) 77));
	assert_string_equal(qs_action_name(QS_ACTION_SCALE_UP), "scale_up");
	assert_string_equal(qs_action_name(QS_ACTION_SCALE_DOWN), "scale_down");
	assert_string_equal(qs_action_name(QS_ACTION_NONE), "none");
}

int
main(void)
{
	static struct CMUnitTest tests[N_ELEMENTS(cases) + 3] = {
		cmocka_unit_test(every_case_is_a_different_promise),
		cmocka_unit_test(every_reason_has_a_name_and_an_explanation),
		cmocka_unit_test(garbage_reasons_and_actions_have_names_too),
	};

	for (size_t i = 0; i < N_ELEMENTS(cases); i++)
	{
		struct CMUnitTest *test = &tests[i + 3];

		test->name = cases[i].name;
		test->test_func = run_case;
		test->initial_state = (void *) &cases[i];
	}
	return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
