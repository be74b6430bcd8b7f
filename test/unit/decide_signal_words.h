/*-------------------------------------------------------------------------
 * decide_signal_words.h
 *		The words of decide_cases.h for what drives a group beside requests,
 *		and for what bounds and paces it.  Read by test_decide.c only.
 *
 * given:
 *		signal=NAME/LAW/ROLE/TARGET/VALUE	a further signal: "average" or
 *						"value"; "required", "optional" or "veto"; the value is
 *						a number, "none", "empty", "nan", or "~" and a number
 *						for a partial one.  Its sample is 60 s old and may be
 *						300 s, its tolerance is 0.1, it holds for 900 s
 *		signal.WORD=	changes the last one
 *		up_rate=max:4/60,100%/60	rates of growth; "min:...", "disabled"
 *		changes=+3@-10	earlier changes of desired
 *		up_confirm=2/3	n of m
 *		floor=night:6	a bound by schedule; cap= likewise
 * expected:
 *		proposals=qps:4,cpu:7
 *		excluded=queue:no_data!:-20:880	why, "!" while it holds the group, since
 *						when, until when
 *		missing=never,-20	since when, of each signal
 *-------------------------------------------------------------------------
 */

/* Names outlive the text that a case is read from. */
static const char *
keep_name(const char *name, const char *end)
{
	static char names[32][32];
	static int	n;
	char	   *kept = names[n++ % 32];

	snprintf(kept, sizeof(names[0]), "%s%s", name, end);
	return kept;
}

static void
give_value(QsReading *reading, const char *value)
{
	reading->state = QS_READING_KNOWN;
	if (strcmp(value, "none") == 0)
		reading->state = QS_READING_UNKNOWN;
	else if (strcmp(value, "empty") == 0)
		reading->state = QS_READING_EMPTY;
	else if (value[0] == '~')
		reading->state = QS_READING_PARTIAL;
	if (reading->state == QS_READING_PARTIAL)
		value++;
	reading->value = strtod(value, NULL);
	reading->at_us = NOW - 60 * SECOND;
}

static void
give_signal(World *w, char *text)
{
	QsSignal   *signal = &w->signals[w->n_signals++];
	char	   *part[5];

	assert_in_range(w->n_signals, 1, QS_MAX_SIGNALS + 1);
	for (int i = 0; i < 5; i++)
	{
		part[i] = strtok_r(i == 0 ? text : NULL, "/", &text);
		assert_non_null(part[i]);
	}
	memset(signal, 0, sizeof(*signal));
	signal->name = keep_name(part[0], "");
	signal->fallback_name = keep_name(part[0], "_fallback");
	signal->law = strcmp(part[1], "value") == 0 ? QS_LAW_VALUE :
		QS_LAW_AVERAGE_VALUE;
	signal->role = strcmp(part[2], "veto") == 0 ? QS_ROLE_VETO :
		strcmp(part[2], "optional") == 0		? QS_ROLE_OPTIONAL :
		QS_ROLE_REQUIRED;
	signal->target = strtod(part[3], NULL);
	give_value(&signal->reading, part[4]);
	signal->tolerance = 0.1;
	signal->max_age_us = 300 * SECOND;
	signal->hold_us = 900 * SECOND;
	signal->fallback_instances = QS_NO_LIMIT;
	signal->fallback_after_us = 300 * SECOND;
	signal->asked = true;
	signal->missing_since = QS_NEVER;
}

static void
give_rate(QsRate *rate, char *text)
{
	char	   *list = strchr(text, ':');

	rate->select = strcmp(text, "disabled") == 0 ? QS_RATE_DISABLED :
		strncmp(text, "min", 3) == 0 ? QS_RATE_MIN : QS_RATE_MAX;
	for (char *item = list ? strtok_r(list + 1, ",", &list) : NULL;
		 item != NULL; item = strtok_r(NULL, ",", &list))
	{
		QsRatePolicy *policy = &rate->policies[rate->n_policies++];
		char	   *period = strchr(item, '/');

		assert_in_range(rate->n_policies, 1, QS_MAX_RATE_POLICIES);
		assert_non_null(period);
		policy->percent = period[-1] == '%';
		policy->value = atoi(item);
		policy->period_us = parse_span(period + 1);
	}
}

static void
give_changes(QsHistory *history, char *list)
{
	static QsChange changes[QS_MAX_CHANGES];
	char	   *save = NULL;

	history->changes = changes;
	for (char *item = strtok_r(list, ",", &save); item != NULL;
		 item = strtok_r(NULL, ",", &save))
	{
		QsChange   *change = &changes[history->n_changes++];
		char	   *at = strchr(item, '@');

		assert_non_null(at);
		assert_in_range(history->n_changes, 1, QS_MAX_CHANGES);
		change->delta = atoi(item);
		change->at = parse_time(at + 1);
	}
}

static void
give_bound(QsScheduleBound *bound, char *text)
{
	char	   *number = strchr(text, ':');

	assert_non_null(number);
	*number = '\0';
	bound->name = keep_name(text, "");
	bound->instances = atoi(number + 1);
}

static void
give_confirm(QsConfirm *confirm, const char *text)
{
	assert_int_equal(sscanf(text, "%d/%d", &confirm->n, &confirm->m), 2);
}

static const Word signal_words[] = {
	{"signal.activation", NUMBER, offsetof(QsSignal, activation)},
	{"signal.tolerance", NUMBER, offsetof(QsSignal, tolerance)},
	{"signal.zero", FLAG, offsetof(QsSignal, empty_is_zero)},
	{"signal.max_age", SPAN, offsetof(QsSignal, max_age_us)},
	{"signal.hold", SPAN, offsetof(QsSignal, hold_us)},
	{"signal.fallback", COUNT, offsetof(QsSignal, fallback_instances)},
	{"signal.fallback_after", SPAN, offsetof(QsSignal, fallback_after_us)},
	{"signal.asked", FLAG, offsetof(QsSignal, asked)},
	{"signal.at", TIME, offsetof(QsSignal, reading.at_us)},
	{"signal.since", TIME, offsetof(QsSignal, missing_since)},
	{"signal.pods", COUNT, offsetof(QsSignal, reading.n_pods)},
};

/* Four pods that have asked for a core each; three have a sample. */
static const QsPod some_pods[] = {
	{0.9, 1, NOW - 15 * SECOND, 15 * SECOND, NOW - 3600 * SECOND,
	NOW - 3500 * SECOND, true, false, false},
	{0.9, 1, NOW - 15 * SECOND, 15 * SECOND, NOW - 3600 * SECOND,
	NOW - 3500 * SECOND, true, false, false},
	{0.9, 1, NOW - 15 * SECOND, 15 * SECOND, NOW - 3600 * SECOND,
	NOW - 3500 * SECOND, true, false, false},
	{-1, 1, QS_NEVER, 0, NOW - 3600 * SECOND, NOW - 3500 * SECOND, true, false,
	false},
};

static void
set_word(void *base, const Word *word, const char *value)
{
	char	   *at = (char *) base + word->offset;

	if (word->kind == COUNT)
		*(int *) at = atoi(value);
	else if (word->kind == NUMBER)
		*(double *) at = strtod(value, NULL);
	else if (word->kind == FLAG)
		*(bool *) at = value[0] == '1';
	else if (word->kind == TIME)
		*(int64_t *) at = parse_time(value);
	else
		*(int64_t *) at = parse_span(value);
}

/* False: it is a word of another room. */
static bool
give_driver(World *w, const char *name, char *value)
{
	if (strcmp(name, "signal") == 0)
		give_signal(w, value);
	else if (strncmp(name, "signal.", 7) == 0)
	{
		assert_true(w->n_signals > 0);
		set_word(&w->signals[w->n_signals - 1],
				 find_word(signal_words, N_ELEMENTS(signal_words), name),
				 value);
		w->signals[w->n_signals - 1].reading.pods = some_pods;
	}
	else if (strcmp(name, "up_rate") == 0)
		give_rate(&w->policy.scale_up_rate, value);
	else if (strcmp(name, "down_rate") == 0)
		give_rate(&w->policy.scale_down_rate, value);
	else if (strcmp(name, "changes") == 0)
		give_changes(&w->history, value);
	else if (strcmp(name, "up_confirm") == 0)
		give_confirm(&w->policy.scale_up_confirm, value);
	else if (strcmp(name, "down_confirm") == 0)
		give_confirm(&w->policy.scale_down_confirm, value);
	else if (strcmp(name, "floor") == 0)
		give_bound(&w->policy.schedule_min, value);
	else if (strcmp(name, "cap") == 0)
		give_bound(&w->policy.schedule_max, value);
	else if (strcmp(name, "affords") == 0)
	{
		w->policy.budget.by = "budget";
		w->policy.budget.instances = atoi(value);
		w->policy.budget.unpriced = atoi(value) < 0;
	}
	else
		return false;
	return true;
}

static void
print_proposals(const QsDecision *d, char *to, size_t size)
{
	size_t		used = 0;

	snprintf(to, size, "-");
	for (int i = 0; i < d->n_proposals && used < size; i++)
		used += (size_t) snprintf(to + used, size - used, "%s%s:%d",
								  i > 0 ? "," : "", d->proposals[i].source,
								  d->proposals[i].instances);
}

static void
print_exclusions(const QsDecision *d, char *to, size_t size)
{
	size_t		used = 0;

	snprintf(to, size, "-");
	for (int i = 0; i < d->n_exclusions && used < size; i++)
	{
		const QsExclusion *e = &d->exclusions[i];
		char		since[32];
		char		until[32];

		print_time(e->since, since, sizeof(since));
		print_time(e->until, until, sizeof(until));
		used += (size_t) snprintf(to + used, size - used, "%s%s:%s%s:%s:%s",
								  i > 0 ? "," : "", e->source, e->why,
								  e->holds ? "!" : "", since, until);
	}
}

static void
print_missing(const QsDecision *d, int n_signals, char *to, size_t size)
{
	size_t		used = 0;

	for (int i = 0; i < n_signals && used < size; i++)
	{
		char		since[32];

		print_time(d->missing_since[i], since, sizeof(since));
		used += (size_t) snprintf(to + used, size - used, "%s%s",
								  i > 0 ? "," : "", since);
	}
}
