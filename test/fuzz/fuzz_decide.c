/*-------------------------------------------------------------------------
 * fuzz_decide.c
 *		Any policy, load, capacity and history, and what must hold of every
 *		decision (test/unit/decide_world.h), also of the one after it.
 *
 * Input: lines "FIELD VALUE", each a change to a calm world; numbers as the C
 * library reads them, times as such or as "now", "never", "now-300s".  A line
 * "recommend TIME NUMBER" adds to the record of recommendations, a line
 * "change TIME NUMBER" to that of changes.  The mutator writes such lines
 * itself, with a liking for the ends of each type.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "decide_world.h"

extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
extern size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size,
									  size_t max_size, unsigned int seed);

typedef enum FieldType
{
	FIELD_BOOL,
	FIELD_COUNT,
	FIELD_NUMBER,
	FIELD_TIME,					/* or a span of it */
	FIELD_MODE
} FieldType;

typedef struct Field
{
	const char *name;
	FieldType	type;
	size_t		offset;
} Field;

#define FIELD(part, name, type)	{#part "." #name, type, offsetof(World, part.name)}

#define RATE(rate) \
	FIELD(policy, rate.select, FIELD_MODE), \
	FIELD(policy, rate.n_policies, FIELD_COUNT), \
	FIELD(policy, rate.policies[0].percent, FIELD_BOOL), \
	FIELD(policy, rate.policies[0].value, FIELD_COUNT), \
	FIELD(policy, rate.policies[0].period_us, FIELD_TIME), \
	FIELD(policy, rate.policies[1].percent, FIELD_BOOL), \
	FIELD(policy, rate.policies[1].value, FIELD_COUNT), \
	FIELD(policy, rate.policies[1].period_us, FIELD_TIME)

#define SIGNAL(i) \
	FIELD(signals[i], law, FIELD_MODE), \
	FIELD(signals[i], role, FIELD_MODE), \
	FIELD(signals[i], target, FIELD_NUMBER), \
	FIELD(signals[i], activation, FIELD_NUMBER), \
	FIELD(signals[i], tolerance, FIELD_NUMBER), \
	FIELD(signals[i], empty_is_zero, FIELD_BOOL), \
	FIELD(signals[i], max_age_us, FIELD_TIME), \
	FIELD(signals[i], hold_us, FIELD_TIME), \
	FIELD(signals[i], fallback_instances, FIELD_COUNT), \
	FIELD(signals[i], fallback_after_us, FIELD_TIME), \
	FIELD(signals[i], asked, FIELD_BOOL), \
	FIELD(signals[i], missing_since, FIELD_TIME), \
	FIELD(signals[i], reading.state, FIELD_MODE), \
	FIELD(signals[i], reading.value, FIELD_NUMBER), \
	FIELD(signals[i], reading.at_us, FIELD_TIME)

static const Field fields[] = {
	FIELD(policy, mode, FIELD_MODE),
	FIELD(policy, target_qps, FIELD_NUMBER),
	FIELD(policy, up_threshold, FIELD_NUMBER),
	FIELD(policy, down_threshold, FIELD_NUMBER),
	FIELD(policy, min_instances, FIELD_COUNT),
	FIELD(policy, max_instances, FIELD_COUNT),
	FIELD(policy, ceiling, FIELD_COUNT),
	FIELD(policy, max_scale_up_per_action, FIELD_COUNT),
	FIELD(policy, max_scale_down_per_action, FIELD_COUNT),
	FIELD(policy, max_scale_down_percent, FIELD_COUNT),
	FIELD(policy, scale_up_tolerance, FIELD_NUMBER),
	FIELD(policy, scale_down_tolerance, FIELD_NUMBER),
	FIELD(policy, scale_up_on_peak, FIELD_BOOL),
	FIELD(policy, suspicious_drop_guard, FIELD_BOOL),
	FIELD(policy, scale_up_cooldown_us, FIELD_TIME),
	FIELD(policy, scale_down_cooldown_us, FIELD_TIME),
	FIELD(policy, general_cooldown_us, FIELD_TIME),
	FIELD(policy, scale_down_window_us, FIELD_TIME),
	FIELD(policy, max_load_age_us, FIELD_TIME),
	FIELD(policy, dry_run, FIELD_BOOL),
	FIELD(policy, armed, FIELD_BOOL),
	FIELD(policy, extension_enabled, FIELD_BOOL),
	FIELD(policy, writes_while_busy, FIELD_BOOL),
	FIELD(policy, on_foreign_change, FIELD_MODE),
	FIELD(load, known, FIELD_BOOL),
	FIELD(load, mean_qps, FIELD_NUMBER),
	FIELD(load, newest_qps, FIELD_NUMBER),
	FIELD(load, newest_end_us, FIELD_TIME),
	FIELD(load, points, FIELD_COUNT),
	FIELD(load, expected_points, FIELD_COUNT),
	FIELD(capacity, known, FIELD_BOOL),
	FIELD(capacity, desired, FIELD_COUNT),
	FIELD(capacity, total, FIELD_COUNT),
	FIELD(capacity, in_service, FIELD_COUNT),
	FIELD(capacity, min, FIELD_COUNT),
	FIELD(capacity, max, FIELD_COUNT),
	FIELD(capacity, active, FIELD_BOOL),
	FIELD(capacity, scale_out_suspended, FIELD_BOOL),
	FIELD(capacity, scale_in_suspended, FIELD_BOOL),
	FIELD(activity, asked, FIELD_BOOL),
	FIELD(activity, known, FIELD_BOOL),
	FIELD(activity, in_progress, FIELD_BOOL),
	FIELD(activity, last_scale_up_at, FIELD_TIME),
	FIELD(activity, last_scale_down_at, FIELD_TIME),
	FIELD(activity, last_any_at, FIELD_TIME),
	{"foresees", FIELD_BOOL, offsetof(World, foresees)},
	FIELD(predicted, steers, FIELD_BOOL),
	FIELD(predicted, trust, FIELD_MODE),
	FIELD(predicted, may_shrink, FIELD_BOOL),
	FIELD(predicted, newest, FIELD_NUMBER),
	FIELD(predicted, upper_grow, FIELD_NUMBER),
	FIELD(predicted, upper_shrink, FIELD_NUMBER),
	FIELD(predicted, yesterday, FIELD_NUMBER),
	FIELD(predicted, missing_s, FIELD_COUNT),
	FIELD(predicted, per_instance, FIELD_NUMBER),
	FIELD(history, previous_qps, FIELD_NUMBER),
	FIELD(history, previous_qps_at, FIELD_TIME),
	FIELD(history, previous_in_service, FIELD_COUNT),
	FIELD(history, drop_seen_at, FIELD_TIME),
	FIELD(history, last_scale_up_at, FIELD_TIME),
	FIELD(history, last_scale_down_at, FIELD_TIME),
	FIELD(history, last_action_at, FIELD_TIME),
	FIELD(history, n_recommendations, FIELD_COUNT),
	FIELD(history, activity_in_flight, FIELD_BOOL),
	FIELD(history, activity_accepted, FIELD_BOOL),
	FIELD(history, circuit_open_until, FIELD_TIME),
	FIELD(history, unfulfilled_scale_ups, FIELD_COUNT),
	FIELD(history, fulfilled_capacity, FIELD_COUNT),
	FIELD(history, stock_out_probe_at, FIELD_TIME),
	FIELD(history, suspended_up, FIELD_BOOL),
	FIELD(history, suspended_down, FIELD_BOOL),
	FIELD(history, suspended_until, FIELD_TIME),
	FIELD(history, held_instances, FIELD_COUNT),
	FIELD(history, held_until, FIELD_TIME),
	FIELD(history, by_hand, FIELD_BOOL),
	FIELD(policy, schedule_min.instances, FIELD_COUNT),
	FIELD(policy, schedule_max.instances, FIELD_COUNT),
	FIELD(policy, scale_up_confirm.n, FIELD_COUNT),
	FIELD(policy, scale_up_confirm.m, FIELD_COUNT),
	FIELD(policy, scale_down_confirm.n, FIELD_COUNT),
	FIELD(policy, scale_down_confirm.m, FIELD_COUNT),
	FIELD(history, confirmations.up, FIELD_COUNT),
	FIELD(history, confirmations.down, FIELD_COUNT),
	FIELD(history, confirmations.base, FIELD_COUNT),
	FIELD(history, confirmations.observed_at, FIELD_TIME),
	FIELD(policy, require_approval, FIELD_BOOL),
	RATE(scale_up_rate),
	RATE(scale_down_rate),
	SIGNAL(0),
	SIGNAL(1),
	{"n_signals", FIELD_COUNT, offsetof(World, n_signals)},
	{"now", FIELD_TIME, offsetof(World, now)},
};

#define N_FIELDS	(sizeof(fields) / sizeof(fields[0]))

/* "never", "now", "now-300s", "300s" or microseconds. */
static int64_t
read_time(const char *text)
{
	int64_t		base = 0;
	char	   *end;
	int64_t		value;

	if (strncmp(text, "never", 5) == 0)
		return QS_NEVER;
	if (strncmp(text, "now", 3) == 0)
	{
		base = NOW;
		text += 3;
	}
	value = strtoll(text, &end, 10);
	if (*end == 's' && __builtin_mul_overflow(value, SECOND, &value))
		value = INT64_MAX;
	if (__builtin_add_overflow(base, value, &value))
		value = INT64_MAX;
	return value;
}

static int
read_count(const char *text)
{
	int64_t		value = strtoll(text, NULL, 10);

	return value < INT32_MIN ? INT32_MIN : value > INT32_MAX ? INT32_MAX :
		(int) value;
}

static void
set_field(World *w, const Field *field, const char *text)
{
	char	   *at = (char *) w + field->offset;

	switch (field->type)
	{
		case FIELD_BOOL:
			*(bool *) at = atoi(text) != 0;
			break;
		case FIELD_COUNT:
			*(int *) at = read_count(text);
			break;
		case FIELD_NUMBER:
			*(double *) at = strtod(text, NULL);
			break;
		case FIELD_TIME:
			*(int64_t *) at = read_time(text);
			break;
		case FIELD_MODE:
			*(QsMode *) at = (QsMode) (read_count(text) & 3);
			break;
	}
}

static void
change(World *w, char *line)
{
	QsHistory  *history = &w->history;
	char	   *value = strchr(line, ' ');

	if (value == NULL)
		return;
	*value++ = '\0';
	for (size_t i = 0; i < N_FIELDS; i++)
		if (strcmp(line, fields[i].name) == 0)
			set_field(w, &fields[i], value);
	if (strcmp(line, "recommend") == 0 && history->n_recommendations >= 0 &&
		history->n_recommendations < QS_MAX_RECOMMENDATIONS)
	{
		QsRecommendation *entry =
			&history->recommendations[history->n_recommendations++];
		const char *number = strchr(value, ' ');

		entry->at = read_time(value);
		entry->instances = number ? read_count(number) : 0;
	}
	if (strcmp(line, "change") == 0 && history->n_changes >= 0 &&
		history->n_changes < WORLD_CHANGES)
	{
		QsChange   *entry = &w->changes[history->n_changes++];
		const char *number = strchr(value, ' ');

		entry->at = read_time(value);
		entry->delta = number ? read_count(number) : 0;
	}
}

static void
check(const World *w, QsDecision *d)
{
	QsDecision	again;

	memset(d, 0, sizeof(*d));
	memset(&again, 0xA5, sizeof(again));
	decide(w, d);
	decide(w, &again);
	PROMISE(memcmp(d, &again, sizeof(again)) == 0);
	check_decision(w, d);
	PROMISE(qs_reason_name(d->reason) != NULL);
	PROMISE(qs_reason_explanation(d->reason) != NULL);
}

static World
first_world(void)
{
	World		w = plain_world();

	w.policy.schedule_min.name = "day";
	w.policy.schedule_min.instances = QS_NO_LIMIT;
	w.policy.schedule_max.name = "night";
	w.policy.schedule_max.instances = QS_NO_LIMIT;
	for (int i = 0; i < WORLD_SIGNALS; i++)
		w.signals[i] = plain_signal("signal", QS_LAW_AVERAGE_VALUE, 10);
	return w;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	World		w = first_world();
	QsDecision	d;

	while (lines.left > 0)
	{
		char	   *line = next_line(&lines);

		change(&w, line);
		free(line);
	}
	if (w.n_signals < 0 || w.n_signals > WORLD_SIGNALS)
		w.n_signals = WORLD_SIGNALS;
	check(&w, &d);

	/* a tick later, with what was recorded */
	w.history.n_recommendations = d.n_recommendations;
	memcpy(w.history.recommendations, d.recommendations,
		   sizeof(d.recommendations));
	w.history.drop_seen_at = d.drop_seen_at;
	w.history.confirmations = d.confirmations;
	for (int i = 0; i < w.n_signals; i++)
		w.signals[i].missing_since = d.missing_since[i];
	if (__builtin_add_overflow(w.now, 15 * SECOND, &w.now))
		w.now = INT64_MAX;
	if (d.action != QS_ACTION_NONE)
	{
		w.capacity.desired = d.desired;
		w.history.last_action_at = w.now;
	}
	check(&w, &d);
	return 0;
}

static uint32_t
draw(uint32_t *state, uint32_t below)
{
	*state = *state * 1664525u + 1013904223u;
	return (*state >> 8) % below;
}

/* A line for some field with a value that is telling for its type. */
static int
write_line(char *line, size_t size, uint32_t *state)
{
	static const char *const numbers[] = {
		"nan", "inf", "-inf", "-1", "-0", "0", "5e-324", "1e-300", "1e15",
		"1.1e15", "1.8446744073709552e19", "1.7e308", "0.5", "1", "0.1"
	};
	static const char *const times[] = {
		"never", "now", "now-15s", "now-300s", "now-299s", "now+60s", "0",
		"1", "-1", "31", "300s", "600s", "-9223372036854775807",
		"9223372036854775807"
	};
	static const int counts[] = {
		INT32_MIN, -2, -1, 0, 1, 2, 99, 100, 101, QS_MAX_INSTANCES,
		QS_MAX_INSTANCES + 1, INT32_MAX
	};
	uint32_t	which = draw(state, N_FIELDS + 9);
	const Field *field = which < N_FIELDS ? &fields[which] : NULL;

	if (which >= N_FIELDS + 6)
		return snprintf(line, size, "change now-%us %d\n",
						draw(state, 700), (int) draw(state, 30) - 15);
	if (field == NULL)
		return snprintf(line, size, "recommend now-%us %u\n",
						draw(state, 700), draw(state, 30));
	switch (field->type)
	{
		case FIELD_BOOL:
		case FIELD_MODE:
			return snprintf(line, size, "%s %u\n", field->name,
							draw(state, field->type == FIELD_BOOL ? 2 : 3));
		case FIELD_COUNT:
			return snprintf(line, size, "%s %d\n", field->name,
							draw(state, 3) ? (int) draw(state, 40) :
							counts[draw(state, 12)]);
		case FIELD_NUMBER:
			if (draw(state, 3) != 0)
				return snprintf(line, size, "%s %.1f\n", field->name,
								draw(state, 9000) / 10.0);
			return snprintf(line, size, "%s %s\n", field->name,
							numbers[draw(state, 15)]);
		case FIELD_TIME:
			if (draw(state, 3) == 0)
				return snprintf(line, size, "%s now-%us\n", field->name,
								draw(state, 1000));
			return snprintf(line, size, "%s %s\n", field->name,
							times[draw(state, 14)]);
	}
	return 0;
}

/* Half of the time a line is put in or over another, else bytes change. */
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
						unsigned int seed)
{
	uint32_t	state = seed;
	char		line[96];
	size_t		length;
	size_t		at;
	size_t		replaced = 0;

	if (draw(&state, 4) == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	length = (size_t) write_line(line, sizeof(line), &state);
	at = size > 0 ? draw(&state, (uint32_t) size + 1) : 0;
	while (at > 0 && data[at - 1] != '\n')
		at--;
	if (draw(&state, 2) == 0)
	{
		const uint8_t *end = memchr(data + at, '\n', size - at);

		replaced = end ? (size_t) (end - data) + 1 - at : size - at;
	}
	if (size - replaced + length > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	memmove(data + at + length, data + at + replaced, size - at - replaced);
	memcpy(data + at, line, length);
	return size - replaced + length;
}
