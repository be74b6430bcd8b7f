/*-------------------------------------------------------------------------
 * prometheus_reply.c
 *		What Prometheus, or whoever stands before it, has answered.
 *
 * Nothing here is ever taken for zero: a series that is not there and NaN are
 * "nothing", infinity is an error, since an overload may look like that, and a
 * series that is not in an answer with warnings may only have been left out.
 */
#include "cloud/prometheus.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A clock that is wrong by less than this hides no sample. */
#define MISPLACED_S		5

/* ----------
 * Errors
 * ----------
 */

/* What errorType says whatever the HTTP status is. */
static const struct
{
	const char *type;
	QsErrorClass class;
}			error_types[] = {
	{"bad_data", QS_ERROR_TERMINAL},
	{"execution", QS_ERROR_TERMINAL},
	{"not_found", QS_ERROR_TERMINAL},
	{"not_acceptable", QS_ERROR_TERMINAL},
	{"timeout", QS_ERROR_TRANSIENT},
	{"canceled", QS_ERROR_TRANSIENT},
	{"unavailable", QS_ERROR_TRANSIENT},
	{"internal", QS_ERROR_TRANSIENT},
	{"too_many_requests", QS_ERROR_THROTTLED},
};

/* What people need to know of a status that no Prometheus gives. */
static const char *
words_for(int status)
{
	if (status >= 300 && status < 400)
		return "a redirect: the endpoint is not that of the API itself";
	if (status == 401)
		return "credentials are wanted, or others";
	if (status == 403)
		return "the account may not ask this";
	if (status == 404 || status == 405)
		return "no API of Prometheus at this endpoint; a path that stands "
			"before /api/v1 belongs to it";
	return "the reply is not an error of Prometheus";
}

static QsErrorClass
class_of_status(int status)
{
	if (status == 401)
		return QS_ERROR_CREDENTIAL;
	if (status == 499)
		return QS_ERROR_TRANSIENT;
	return qs_answer_class_of_status(status);
}

/* {"status": "error", "errorType": "...", "error": "..."}, or anything. */
static bool
refuse(const QsCall *call, const QsHttpReply *reply, const json_t *root,
	   QsError *error)
{
	const char *type = qs_json_text(json_object_get(root, "errorType"));
	const char *message = qs_json_text(json_object_get(root, "error"));
	QsErrorClass class = class_of_status(reply->status);
	char		code[16];

	for (size_t i = 0; type != NULL && i < sizeof(error_types) /
		 sizeof(error_types[0]); i++)
		if (strcmp(error_types[i].type, type) == 0)
			class = error_types[i].class;
	snprintf(code, sizeof(code), "HTTP%d", reply->status);
	if (message != NULL && qs_answer_quotes_secret(call, message))
		message = "(message withheld: it quotes a secret)";
	if (type != NULL && qs_answer_quotes_secret(call, type))
		type = NULL;
	qs_error_set(error, class, type != NULL && type[0] != '\0' ? type : code,
				 "%.240s", message != NULL && message[0] != '\0' ? message :
				 words_for(reply->status));
	error->http_status = reply->status;
	error->retry_after_ms = reply->retry_after_ms;
	error->refused = true;
	return false;
}

static bool
malformed(QsError *error, const char *message)
{
	return qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply", "%s",
						message);
}

/* ----------
 * Values
 * ----------
 */

/*
 * The answer that is being read.  Of targets alike, which have one label and
 * one value of it, the first has the series.
 */
typedef struct Answer
{
	QsPrometheusCall *call;
	bool		partial;		/* it says that it may lack something */
	bool		scalar;			/* no labels */
	struct Series
	{
		const json_t *sample;	/* [time, "value"], or NULL */
		int			n;			/* how many there are */
	}		   *series;			/* per target */
} Answer;

static bool
says_nothing(const char *text)
{
	return text[0] == '\0' || strcmp(text, "NaN") == 0;
}

/* A number as Go prints it; C's own grammar has more. */
static bool
read_number(const char *text, double *value)
{
	size_t		length = strlen(text);
	char	   *end;

	if (length == 0 || length > 64 ||
		strspn(text, "0123456789+-.eE") != length)
		return false;
	*value = strtod(text, &end);
	return *end == '\0' && isfinite(*value);
}

static void
lose(QsTarget *target, QsErrorClass class, const char *code,
	 const char *message)
{
	target->reading.state = QS_READING_UNKNOWN;
	qs_error_set(&target->reading_error, class, code, "%s", message);
}

static void
lose_several(QsTarget *target, int n)
{
	const QsSignalQuery *query = target->query;

	target->reading.state = QS_READING_UNKNOWN;
	if (query->label == NULL)
		qs_error_set(&target->reading_error, QS_ERROR_TERMINAL,
					 "several_series", "the query gives %d series: sum them "
					 "up, or name one by label and label_value", n);
	else
		qs_error_set(&target->reading_error, QS_ERROR_TERMINAL,
					 "several_series", "%d series have %.64s = \"%.64s\": "
					 "sum them up by this label", n, query->label,
					 query->label_value != NULL ? query->label_value : "");
}

/*
 * The moment of a sample, which is the one asked about, or an earlier one if
 * somebody has kept an answer.
 */
static bool
read_moment(const Answer *answer, const json_t *sample, int64_t *at_us)
{
	const json_t *time = json_array_get(sample, 0);
	double		at = json_is_number(time) ? json_number_value(time) : -1;

	if (json_array_size(sample) != 2 ||
		!(at >= 0 && at <= (double) answer->call->at_us / 1e6 + 1))
		return false;
	*at_us = (int64_t) (at * 1e6) - answer->call->skew_s * 1000000;
	return true;
}

static void
take_value(const Answer *answer, QsTarget *target, const json_t *sample)
{
	QsReading  *reading = &target->reading;
	const char *text = qs_json_text(json_array_get(sample, 1));

	if (!read_moment(answer, sample, &reading->at_us))
		lose(target, QS_ERROR_MALFORMED, "malformed_series",
			 "the series has no sample of the moment asked about; is it a "
			 "histogram?");
	else if (text != NULL && strstr(text, "Inf") != NULL)
		lose(target, QS_ERROR_TERMINAL, "infinite",
			 "the value is infinite: a division by zero?");
	else if (text != NULL && says_nothing(text))
	{
		reading->state = QS_READING_EMPTY;
		if (answer->partial)
			lose(target, QS_ERROR_TRANSIENT, "partial_answer",
				 "the answer is not complete, and says nothing of this");
	}
	else if (text == NULL || !read_number(text, &reading->value))
		lose(target, QS_ERROR_MALFORMED, "malformed_series",
			 "the value is not a number");
	else
		reading->state = answer->partial ? QS_READING_PARTIAL :
			QS_READING_KNOWN;
}

static void
take_nothing(const Answer *answer, QsTarget *target)
{
	if (answer->scalar)
		lose(target, QS_ERROR_TERMINAL, "no_labels",
			 "the query gives one number without labels, and the signal asks "
			 "for the series of a label");
	else if (answer->partial)
		lose(target, QS_ERROR_TRANSIENT, "partial_answer",
			 "the answer is not complete, and has no series for this");
	else
	{
		target->reading.state = QS_READING_EMPTY;
		target->reading.at_us = answer->call->at_us -
			answer->call->skew_s * 1000000;
	}
}

/* The second question: how old is what is known already? */
static void
take_age(const Answer *answer, QsTarget *target, const struct Series *series)
{
	const char *text = qs_json_text(json_array_get(series->sample, 1));
	double		at;

	if (!qs_prometheus_wants_age(target) ||
		(target->reading.state != QS_READING_KNOWN &&
		 target->reading.state != QS_READING_PARTIAL))
		return;
	if (series->n != 1 || text == NULL || !read_number(text, &at) ||
		!(at >= 0 && at <= (double) answer->call->at_us / 1e6 + 1))
		lose(target, QS_ERROR_TERMINAL, "no_timestamp",
			 "the sample's age, which max_age_seconds asks for, is not known");
	else
		target->reading.at_us = (int64_t) (at * 1e6) -
			answer->call->skew_s * 1000000;
}

/* ----------
 * Series, and whose they are
 * ----------
 */

static int
compare_to(const QsTarget *target, const char *label, const char *value)
{
	const QsSignalQuery *query = target->query;
	int			order = query->label == NULL ? -1 :
		strcmp(query->label, label);

	if (order == 0)
		order = query->label_value == NULL ? -1 :
			strcmp(query->label_value, value);
	return order;
}

/* The first target that asks for this label's value; -1 for none. */
static int
find_target(const QsCall *call, const char *label, const char *value)
{
	int			low = 0;
	int			high = call->n_targets;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (compare_to(call->targets[middle], label, value) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < call->n_targets &&
		compare_to(call->targets[low], label, value) == 0 ? low : -1;
}

static void
add_series(struct Series *series, const json_t *sample)
{
	series->sample = sample;
	series->n++;
}

/* {"metric": {"label": "value", ...}, "value": [time, "number"]} */
static void
sort_in(Answer *answer, const json_t *row)
{
	const QsCall *call = &answer->call->base;
	const json_t *sample = json_object_get(row, "value");
	json_t	   *metric = json_object_get(row, "metric");
	const char *label;
	json_t	   *value;

	if (call->targets[0]->query->label == NULL)
		add_series(&answer->series[0], sample);
	json_object_foreach(metric, label, value)
	{
		const char *text = qs_json_text(value);
		int			i = text == NULL ? -1 : find_target(call, label, text);

		if (i >= 0)
			add_series(&answer->series[i], sample);
	}
}

static void
settle(Answer *answer)
{
	const QsCall *call = &answer->call->base;
	const struct Series *series = answer->series;

	for (int i = 0; i < call->n_targets; i++)
	{
		QsTarget   *target = call->targets[i];
		const QsSignalQuery *query = target->query;

		if (i > 0 && !(query->label == NULL ?
					   call->targets[i - 1]->query->label == NULL :
					   compare_to(call->targets[i - 1], query->label,
								  query->label_value != NULL ?
								  query->label_value : "") == 0))
			series = &answer->series[i];
		if (answer->call->asks_ages)
			take_age(answer, target, series);
		else if (series->n == 0)
			take_nothing(answer, target);
		else if (series->n > 1)
			lose_several(target, series->n);
		else
			take_value(answer, target, series->sample);
	}
}

static bool
read_result(Answer *answer, const json_t *data, QsError *error)
{
	const char *type = qs_json_text(json_object_get(data, "resultType"));
	const json_t *result = json_object_get(data, "result");
	size_t		i;
	const json_t *row;

	if (type == NULL || !json_is_array(result))
		return malformed(error, "the reply has no result");
	if (strcmp(type, "scalar") == 0)
	{
		answer->scalar = true;
		if (answer->call->base.targets[0]->query->label == NULL)
			add_series(&answer->series[0], result);
	}
	else if (strcmp(type, "vector") != 0)
		return qs_error_set(error, QS_ERROR_TERMINAL, "not_a_number",
							"the query gives %s; it must give a number per "
							"series", strcmp(type, "matrix") == 0 ?
							"a range" : "no numbers");
	else if (json_array_size(result) > QS_PROMETHEUS_SERIES)
		return qs_error_set(error, QS_ERROR_TERMINAL, "too_many_series",
							"the query gives more than %d series: sum them up",
							QS_PROMETHEUS_SERIES);
	else
		json_array_foreach(result, i, row)
			sort_in(answer, row);
	settle(answer);
	return true;
}

/*
 * Warnings mean that something may be lacking (a store of Thanos, a remote
 * one); advice about a query has stood among them, and does not.
 * VictoriaMetrics says isPartial.
 */
static bool
is_partial(const json_t *root)
{
	const json_t *warnings = json_object_get(root, "warnings");
	size_t		i;
	const json_t *warning;

	if (json_is_true(json_object_get(root, "isPartial")))
		return true;
	if (!json_is_array(warnings))
		return warnings != NULL && !json_is_null(warnings);
	json_array_foreach(warnings, i, warning)
	{
		const char *text = qs_json_text(warning);

		if (text == NULL || strncmp(text, "PromQL info", 11) != 0)
			return true;
	}
	return false;
}

static bool
read_success(QsArena *arena, QsPrometheusCall *call, const json_t *root,
			 QsCallList *follow_up, QsError *error)
{
	Answer		answer = {.call = call, .partial = is_partial(root)};

	answer.series = qs_arena_alloc_array(arena,
										 (size_t) call->base.n_targets,
										 sizeof(*answer.series));
	if (answer.series == NULL)
		return qs_prometheus_no_memory(error);
	if (!read_result(&answer, json_object_get(root, "data"), error))
		return false;
	return !call->wants_ages || answer.scalar ||
		qs_prometheus_ask_ages(arena, call, follow_up, error);
}

bool
qs_prometheus_parse(QsArena *arena, QsCall *base, const QsHttpReply *reply,
					int64_t now_us, QsCallList *follow_up, QsError *error)
{
	QsPrometheusCall *call = qs_prometheus_call(base);
	json_t	   *root;
	bool		ok;

	qs_error_clear(error);
	qs_answer_learn_skew(base->memory, reply, now_us);
	root = qs_answer_json(arena, reply);
	if (reply->status < 200 || reply->status >= 300 ||
		qs_json_equals(json_object_get(root, "status"), "error"))
		ok = refuse(base, reply, root, error);
	else if (!qs_json_equals(json_object_get(root, "status"), "success"))
		ok = malformed(error, "the reply is not an answer of Prometheus");
	else if (base->memory != NULL && !call->asked_again && !call->asks_ages &&
			 llabs(base->memory->skew_s - call->skew_s) >= MISPLACED_S)
		ok = qs_prometheus_ask_again(arena, call, now_us, follow_up, error);
	else
		ok = read_success(arena, call, root, follow_up, error);
	json_decref(root);
	return ok;
}
