/*-------------------------------------------------------------------------
 * test_foreign.c
 *		Who changed the desired capacity, by table: a row is a test.
 *
 * What a row does not give: nobody has an action open, no call was lost, and
 * the limits are 0 to 100 as before.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/foreign.h"

/* a row says only what is not calm */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

#define SECOND	INT64_C(1000000)
#define NOW		(INT64_C(1700000000) * SECOND)
#define NONE	QS_UNKNOWN

typedef struct Case
{
	const char *name;
	int			known;
	int			desired;		/* what the cloud says */
	QsDesiredChange expected;
	int			from;
	/* what is not calm */
	int			written;		/* 0 = nothing is open */
	int			over;
	bool		accepted;
	bool		just_written;
	int			lost;			/* 0 = none */
	int			lost_seconds_ago;
	int			min;
	int			max;			/* 0 = 100 */
	int			total;			/* 0 = desired */
} Case;

static const Case cases[] = {
	{"as_seen_last", 4, 4, QS_DESIRED_AS_KNOWN, NONE},
	{"somebody_raised_it", 4, 9, QS_DESIRED_FOREIGN, 4},
	{"somebody_lowered_it", 4, 1, QS_DESIRED_FOREIGN, 4},
	{"somebody_emptied_the_group", 4, 0, QS_DESIRED_FOREIGN, 4},
	{"somebody_woke_an_empty_group", 0, 3, QS_DESIRED_FOREIGN, 0},
	{"at_first_sight_nobody_is_accused", NONE, 9, QS_DESIRED_AS_KNOWN, NONE},
	{"a_capacity_that_contradicts_itself_accuses_nobody", 4, 9,
	QS_DESIRED_AS_KNOWN, NONE,.total = -3},
	{"an_absurd_desired_accuses_nobody", 4, INT_MAX, QS_DESIRED_AS_KNOWN, NONE},
	{"an_absurd_record_accuses_nobody", INT_MIN, 4, QS_DESIRED_AS_KNOWN, NONE},
	{"b03_the_feature_switched_off_tells_nothing", 4, -1, QS_DESIRED_AS_KNOWN,
	NONE,.total = 7},
	{"b03_members_that_come_and_go_are_no_change", NONE, -1,
	QS_DESIRED_AS_KNOWN, NONE,.total = 7},
	{"b03_any_negative_desired_tells_nothing", 4, INT_MIN, QS_DESIRED_AS_KNOWN,
	NONE,.total = 7},

	{"what_the_accepted_action_wrote", 4, 9, QS_DESIRED_OURS, NONE,
	.written = 9,.over = 4,.accepted = true},
	{"what_the_unanswered_action_wrote", 4, 9, QS_DESIRED_OURS, NONE,
	.written = 9,.over = 4},
	{"an_unanswered_action_that_is_not_there_yet", 4, 4, QS_DESIRED_AS_KNOWN,
	NONE,.written = 9,.over = 4},
	{"an_unanswered_action_and_a_third_number", 4, 6, QS_DESIRED_FOREIGN, 4,
	.written = 9,.over = 4},
	/* a killed evaluator's intent is later than the last recorded look */
	{"an_unanswered_action_began_after_the_last_look", 4, 6,
	QS_DESIRED_AS_KNOWN, NONE,.written = 9,.over = 6},
	{"what_it_began_from_counts_not_the_last_look", 4, 4, QS_DESIRED_FOREIGN, 6,
	.written = 9,.over = 6},
	{"somebody_wrote_over_the_accepted_action", 4, 6, QS_DESIRED_FOREIGN, 9,
	.written = 9,.over = 4,.accepted = true},
	{"somebody_undid_the_accepted_action", 4, 4, QS_DESIRED_FOREIGN, 9,
	.written = 9,.over = 4,.accepted = true},
	{"a_reply_may_be_older_than_the_write", 4, 4, QS_DESIRED_AS_KNOWN, NONE,
	.written = 9,.over = 4,.accepted = true,.just_written = true},
	{"but_a_third_number_is_not_older", 4, 6, QS_DESIRED_FOREIGN, 9,
	.written = 9,.over = 4,.accepted = true,.just_written = true},
	{"an_action_of_another_server_that_was_found_after_a_promotion", NONE, 9,
	QS_DESIRED_OURS, NONE,.written = 9,.over = 4},

	{"a_call_taken_for_lost_arrives_late", 4, 9, QS_DESIRED_OURS_LATE, 4,
	.lost = 9,.lost_seconds_ago = 60},
	{"it_may_arrive_after_the_next_action", 6, 9, QS_DESIRED_OURS_LATE, 7,
		.written = 7,.over = 6,.accepted = true,.lost = 9,
	.lost_seconds_ago = 60},
	{"it_never_did_and_somebody_wrote_something_else", 4, 8,
	QS_DESIRED_FOREIGN, 4,.lost = 9,.lost_seconds_ago = 60},
	{"after_an_hour_it_cannot_arrive_any_more", 4, 9, QS_DESIRED_FOREIGN, 4,
	.lost = 9,.lost_seconds_ago = 3600},
	{"a_loss_of_the_next_day_is_a_clock_that_was_set_back", 4, 9,
	QS_DESIRED_FOREIGN, 4,.lost = 9,.lost_seconds_ago = -86400},

	{"a_lower_maximum_moved_it", 9, 6, QS_DESIRED_BY_LIMITS, 9,.max = 6},
	{"a_higher_minimum_moved_it", 2, 5, QS_DESIRED_BY_LIMITS, 2,.min = 5},
	{"a_lower_maximum_cut_what_we_wrote", 4, 6, QS_DESIRED_BY_LIMITS, 9,
	.written = 9,.over = 4,.accepted = true,.max = 6},
	{"below_the_lower_maximum_it_was_somebody", 9, 5, QS_DESIRED_FOREIGN, 9,
	.max = 6},
	{"a_higher_maximum_moves_nothing", 9, 10, QS_DESIRED_FOREIGN, 9,
	.max = 1000},
	{"the_old_maximum_moves_nothing", 9, 100, QS_DESIRED_FOREIGN, 9},
};

#define N_CASES	(sizeof(cases) / sizeof(cases[0]))

static void
run_case(void **state)
{
	const Case *c = *state;
	QsCapacity	capacity;
	QsKnownDesired known = {
		.desired = c->known,
		.min = 0,
		.max = 100,
		.written = c->written ? c->written : QS_UNKNOWN,
		.written_over = c->over,
		.accepted = c->accepted,
		.just_written = c->just_written,
		.lost = c->lost ? c->lost : QS_UNKNOWN,
		.lost_at = NOW - c->lost_seconds_ago * SECOND,
	};
	int			from = 12345;

	memset(&capacity, 0, sizeof(capacity));
	capacity.known = true;
	capacity.desired = c->desired;
	capacity.total = c->total ? c->total : c->desired < 0 ? 0 : c->desired;
	if (c->desired == INT_MAX)
		capacity.total = 4;
	capacity.min = c->min;
	capacity.max = c->max ? c->max : 100;
	assert_int_equal(qs_desired_change(&known, &capacity, NOW, &from),
					 c->expected);
	assert_int_equal(from, c->from);

	/* what was not observed tells nothing, whatever the fields hold */
	capacity.known = false;
	assert_int_equal(qs_desired_change(&known, &capacity, NOW, &from),
					 QS_DESIRED_AS_KNOWN);
	assert_int_equal(from, QS_UNKNOWN);
}

int
main(void)
{
	static struct CMUnitTest tests[N_CASES];

	for (size_t i = 0; i < N_CASES; i++)
	{
		tests[i].name = cases[i].name;
		tests[i].test_func = run_case;
		tests[i].initial_state = (void *) &cases[i];
	}
	return cmocka_run_group_tests_name("foreign", tests, NULL, NULL);
}
