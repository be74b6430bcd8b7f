/*-------------------------------------------------------------------------
 * explain_signals.c
 *		Further signals in words: what they said, and which were left out.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "pg/explain_signals.h"
#include "pg/json_writer.h"

static const char *const laws[] = {
	[QS_LAW_AVERAGE_VALUE] = "average_value",
	[QS_LAW_VALUE] = "value",
};

static const char *const roles[] = {
	[QS_ROLE_REQUIRED] = "required",
	[QS_ROLE_OPTIONAL] = "optional",
	[QS_ROLE_VETO] = "veto",
};

static const char *const states[] = {
	[QS_READING_UNKNOWN] = "unknown",
	[QS_READING_EMPTY] = "empty",
	[QS_READING_PARTIAL] = "partial",
	[QS_READING_KNOWN] = "known",
};

const char *
qpsscale_signal_error(const GroupSignal *source)
{
	const QsError *error = &source->target.reading_error;

	if (error->class == QS_ERROR_NONE)
		return NULL;
	return error->code[0] == '\0' ? pstrdup(error->message) :
		psprintf("%s: %s", error->code, error->message);
}

const char *
qpsscale_signal_source_name(const QpsscaleGroup *group, int i)
{
	const GroupSignal *source = &group->sources[i];

	if (strcmp(source->source, "cloud") != 0)
		return source->source;
	return psprintf("cloud (%s)", group->provider_name);
}

/*
 * What is foreseen is what all signals together ask for: each is told as much
 * above its value as that is above what they ask for now.
 */
static void
explain_predicted(StringInfo out, const QpsscaleGroup *group,
				  const QsSignal *signal)
{
	const QsPredicted *told = group->history.predicted;

	if (told == NULL || !told->steers || told->trust != QS_TRUST_FULL ||
		group->policy.target_qps > 0 || signal->role == QS_ROLE_VETO ||
		!(told->newest > 0) || !isfinite(signal->reading.value))
		return;
	qpsscale_json_double(out, "predicted", signal->reading.value *
						 fmax(told->upper_grow / told->newest, 0));
}

static void
explain_signal(StringInfo out, const QpsscaleGroup *group, int i)
{
	const QsSignal *signal = &group->signals[i];
	const GroupSignal *source = &group->sources[i];
	const QsReading *reading = &signal->reading;
	int64		since = group->decision.missing_since[i];

	qpsscale_json_open(out, NULL, '{');
	qpsscale_json_text(out, "name", signal->name);
	qpsscale_json_text(out, "source", source->source);
	qpsscale_json_text(out, "law", laws[signal->law]);
	qpsscale_json_text(out, "role", roles[signal->role]);
	qpsscale_json_double(out, "target", signal->target);
	if (!signal->asked)
		qpsscale_json_text(out, "state", "not_asked");
	else
		qpsscale_json_text(out, "state", states[reading->state]);
	if (signal->asked && (reading->state == QS_READING_KNOWN ||
						  reading->state == QS_READING_PARTIAL))
	{
		if (reading->n_pods > 0)
			qpsscale_json_int(out, "pods", reading->n_pods);
		if (reading->n_pods <= 0 || isfinite(reading->value))
			qpsscale_json_double(out, "value", reading->value);
		explain_predicted(out, group, signal);
		qpsscale_json_unix_us(out, "at", reading->at_us);
	}
	if (since != QS_NEVER)
		qpsscale_json_unix_us(out, "missing_since", since);
	if (qpsscale_signal_error(source) != NULL)
		qpsscale_json_text(out, "error", qpsscale_signal_error(source));
	qpsscale_json_close(out, '}');
}

void
qpsscale_explain_signals(StringInfo out, const char *key,
						 const QpsscaleGroup *group)
{
	qpsscale_json_open(out, key, '[');
	for (int i = 0; i < group->n_signals && i < QS_MAX_SIGNALS; i++)
		explain_signal(out, group, i);
	qpsscale_json_close(out, ']');
}

void
qpsscale_explain_exclusions(StringInfo out, const QsDecision *decision)
{
	if (decision->n_exclusions == 0)
		return;
	qpsscale_json_open(out, "exclusions", '[');
	for (int i = 0; i < decision->n_exclusions; i++)
	{
		const QsExclusion *e = &decision->exclusions[i];

		qpsscale_json_open(out, NULL, '{');
		qpsscale_json_text(out, "source", e->source);
		qpsscale_json_text(out, "why", e->why);
		qpsscale_json_bool(out, "holds", e->holds);
		qpsscale_json_unix_us(out, "since", e->since);
		qpsscale_json_unix_us(out, "until", e->until);
		qpsscale_json_close(out, '}');
	}
	qpsscale_json_close(out, ']');
}
