/*-------------------------------------------------------------------------
 * test_violation_target.c
 *		How careful to be: found without steering, and moved by what really
 *		happens.  That the share is kept is tested in test_backtest.c.
 *-------------------------------------------------------------------------
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/violation_target.h"

#define TICK_S		300
#define DAY			(86400 / TICK_S)
#define BOOT		2

typedef struct World
{
	QsPredictor *predictor;
	QsViolationTarget target;
	QsViolationTick tick;		/* but for the load */
	double		scale;
	int64_t		t;
} World;

static World *
world_new(double share)
{
	static const QsPredictorPlan plan = {TICK_S, {BOOT + 1, 2 * BOOT + 1}};
	World	   *world = calloc(1, sizeof(World));

	world->predictor = malloc(qs_predictor_bytes(&plan));
	assert_non_null(qs_predictor_begin(world->predictor, &plan, 0));
	world->scale = 1;
	world->tick.per_instance = 10;
	world->tick.share = share;
	world->tick.may_shrink = true;
	world->tick.frozen = true;
	qs_violation_target_begin(&world->target, TICK_S, BOOT, share);
	return world;
}

static void
world_free(World *world)
{
	free(world->predictor);
	free(world);
}

/* A day with noise that is larger where the load is. */
static double
load_at(int64_t t)
{
	double		noise = (double) ((t * 7919 + (t * t % 1013) * 104729) % 1000) /
		1000 - 0.5;

	return 100 * (2 + sin(2 * M_PI * (double) t / DAY)) * (1 + 0.3 * noise);
}

static void
live(World *world, int ticks)
{
	for (int i = 0; i < ticks; i++)
	{
		QsViolationTick tick = world->tick;

		tick.load = world->scale * load_at(world->t++);
		qs_predictor_update(world->predictor, tick.load);
		qs_violation_target_follow(&world->target, world->predictor, &tick);
		assert_true(qs_violation_target_is_sane(&world->target, TICK_S, BOOT));
	}
}

static double
quantile(const World *world)
{
	return qs_violation_target_quantile(&world->target);
}

static void
it_begins_with_what_is_known_of_other_loads(void **state)
{
	double		last = 1;

	for (double share = 0.001; share < 0.3; share *= 2)
	{
		World	   *world = world_new(share);

		assert_true(quantile(world) < last);
		last = quantile(world);
		world_free(world);
	}
	for (int i = 0; i < 3; i++)
	{
		static const double odd[] = {0, 1, NAN};
		World	   *world = world_new(odd[i]);

		live(world, DAY);
		assert_true(quantile(world) >= 0.3 && quantile(world) < 1);
		world_free(world);
	}
}

/* Fleets are imagined whether or not anybody steers. */
static void
it_is_found_without_steering(void **state)
{
	World	   *world = world_new(0.05);
	double		at_first = quantile(world);
	int			ready = 0;
	int			coming[BOOT] = {0};
	int			violations = 0;
	int			days = 14;

	live(world, 20 * DAY);
	assert_true(fabs(quantile(world) - at_first) > 0.002);
	assert_true(world->target.correction == 0);

	/* a real fleet that follows it from now on, growing only by its word */
	for (int t = 0; t < days * DAY; t++)
	{
		double		upper = qs_violation_target_upper(&world->target,
													  world->predictor,
													  QS_STREAM_GROW);
		double		calm = qs_violation_target_upper(&world->target,
													 world->predictor,
													 QS_STREAM_SHRINK);
		int			grown = (int) ceil(upper / 10);
		int			shrunk = (int) ceil(fmax(upper, calm) / 10);
		int			all = ready + coming[0] + coming[1];

		ready += coming[t % BOOT];
		coming[t % BOOT] = 0;
		if (grown > all)
			coming[t % BOOT] = grown - all;
		else if (shrunk < all && shrunk >= coming[0] + coming[1])
			ready = shrunk - coming[0] - coming[1];
		live(world, 1);
		violations += t >= DAY && load_at(world->t - 1) > ready * 10;
	}
	if (violations > 0.06 * (days - 1) * DAY ||
		violations < 0.03 * (days - 1) * DAY)
		fail_msg("asked for 5 %%, was %g",
				 100.0 * violations / ((days - 1) * DAY));
	world_free(world);
}

static void
what_really_happens_moves_it(void **state)
{
	World	   *imagined = world_new(0.05);
	World	   *real = world_new(0.05);

	live(imagined, 10 * DAY);
	live(real, 10 * DAY);
	real->tick.frozen = false;
	real->tick.violated = true;
	live(imagined, 2 * DAY);
	live(real, 2 * DAY);
	assert_true(real->target.correction > 0.5);
	assert_true(quantile(real) > quantile(imagined));

	/* while no quantile is to blame it stays */
	real->tick.frozen = true;
	live(imagined, DAY);
	live(real, DAY);
	assert_true(quantile(real) > quantile(imagined));

	/* and comes back when all is quiet, but not far below */
	real->tick.frozen = false;
	real->tick.violated = false;
	live(imagined, 90 * DAY);
	live(real, 90 * DAY);
	assert_true(real->target.correction == -1);
	assert_true(quantile(real) < quantile(imagined));
	real->tick.violated = true;
	live(real, 60 * DAY);
	assert_true(real->target.correction <= 3);
	world_free(imagined);
	world_free(real);
}

/* The predictor's spread knows the logarithm of the load, and is penalized. */
static void
the_unit_of_the_load_hardly_matters(void **state)
{
	World	   *one = world_new(0.02);
	World	   *many = world_new(0.02);

	many->scale = 1024;
	many->tick.per_instance *= 1024;
	live(one, 10 * DAY);
	live(many, 10 * DAY);
	if (fabs(quantile(one) - quantile(many)) > 0.02)
		fail_msg("%g and %g", quantile(one), quantile(many));
	world_free(one);
	world_free(many);
}

/* Instances that carry twice as much from now on are half as many. */
static void
another_capacity_is_no_violation(void **state)
{
	World	   *same = world_new(0.02);
	World	   *other = world_new(0.02);
	double		extra = 0;

	live(same, 10 * DAY);
	live(other, 10 * DAY);
	other->tick.per_instance *= 2;
	live(same, BOOT + 1);
	live(other, BOOT + 1);
	for (int i = 0; i < QS_QUANTILES; i++)
		extra += other->target.fleets[i].violations -
			same->target.fleets[i].violations;
	assert_true(extra <= 0.5);
	world_free(same);
	world_free(other);
}

static void
gaps_are_no_violations_and_what_was_ordered_arrives(void **state)
{
	World	   *world = world_new(0.02);
	double		scored;

	live(world, 5 * DAY);
	scored = world->target.scored;
	for (int i = 0; i < BOOT + 1; i++)
	{
		QsViolationTick tick = world->tick;

		tick.load = NAN;
		qs_predictor_update(world->predictor, NAN);
		qs_violation_target_follow(&world->target, world->predictor, &tick);
	}
	assert_true(world->target.scored == scored);
	for (int i = 0; i < QS_QUANTILES; i++)
		assert_int_equal(world->target.fleets[i].pending, 0);
	world_free(world);
}

static void
what_cannot_be_is_not_used(void **state)
{
	World	   *world = world_new(0.02);
	QsViolationTarget whole;

	live(world, 5 * DAY);
	whole = world->target;
	assert_false(qs_violation_target_is_sane(&whole, 60, BOOT));
	assert_false(qs_violation_target_is_sane(&whole, TICK_S, BOOT + 1));
	world->target.position = NAN;
	assert_false(qs_violation_target_is_sane(&world->target, TICK_S, BOOT));
	world->target = whole;
	world->target.fleets[3].launched[BOOT] = 1;
	assert_false(qs_violation_target_is_sane(&world->target, TICK_S, BOOT));
	world->target = whole;
	world->target.fleets[3].ready = -1;
	assert_false(qs_violation_target_is_sane(&world->target, TICK_S, BOOT));
	world->target = whole;
	world->target.fleets[3].pending++;
	assert_false(qs_violation_target_is_sane(&world->target, TICK_S, BOOT));
	world_free(world);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_begins_with_what_is_known_of_other_loads),
		cmocka_unit_test(it_is_found_without_steering),
		cmocka_unit_test(what_really_happens_moves_it),
		cmocka_unit_test(the_unit_of_the_load_hardly_matters),
		cmocka_unit_test(another_capacity_is_no_violation),
		cmocka_unit_test(gaps_are_no_violations_and_what_was_ordered_arrives),
		cmocka_unit_test(what_cannot_be_is_not_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
