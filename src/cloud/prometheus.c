/*-------------------------------------------------------------------------
 * prometheus.c
 *		Prometheus as a source of signals: what it is asked.
 *
 * An instant query is asked once, however many groups it is for: each finds
 * its own series of the answer by a label.  The moment is said, so that the
 * answer to another one is noticed, and it is one of the server's clock.
 *
 * The time that comes with a value is that moment, and not the sample's, which
 * may be as old as the server's look-back.  Where a signal wants younger ones
 * a second query asks for the ages, of the same moment.
 *
 * It has no groups of its own: nothing here writes.
 */
#include "cloud/prometheus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/signing.h"

#define LONGEST_QUERY	32768

/* The server stops by itself what nobody waits for any more. */
#define QUERY_TIMEOUT	"60s"

bool
qs_prometheus_no_memory(QsError *error)
{
	return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
						"the cycle's memory limit was reached");
}

/* NULL comes first. */
static int
compare_texts(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

/* By query; of one query by label and its value. */
static int
compare_targets(const void *a, const void *b)
{
	const QsSignalQuery *one = (*(QsTarget *const *) a)->query;
	const QsSignalQuery *two = (*(QsTarget *const *) b)->query;
	int			order = strcmp(one->query, two->query);

	if (order == 0)
		order = compare_texts(one->label, two->label);
	if (order == 0)
		order = compare_texts(one->label_value, two->label_value);
	return order;
}

/* "https://host/prefix/" and the path of the API. */
static const char *
make_url(QsArena *arena, const char *endpoint)
{
	size_t		length = strlen(endpoint);

	while (length > 0 && endpoint[length - 1] == '/')
		length--;
	return qs_arena_printf(arena, "%.*s/api/v1/query", (int) length,
						   endpoint);
}

static bool
prometheus_sign(QsArena *arena, QsCall *call, int64_t now_us, QsError *error)
{
	const QsAccount *account = call->account;
	QsHttpHeader *headers = qs_arena_alloc_array(arena, 4, sizeof(*headers));
	int			n = 0;

	if (headers == NULL)
		return qs_prometheus_no_memory(error);
	headers[n++] = (QsHttpHeader) {
		"Content-Type", "application/x-www-form-urlencoded"
	};
	headers[n++] = (QsHttpHeader) {"Accept", "application/json"};
	if (account->credentials.authorization[0] != '\0')
		headers[n++] = (QsHttpHeader) {
			"Authorization", account->credentials.authorization
		};
	if (account->tenant != NULL && account->tenant[0] != '\0')
		headers[n++] = (QsHttpHeader) {"X-Scope-OrgID", account->tenant};
	call->request.headers = headers;
	call->request.n_headers = n;
	return true;
}

/* The form of a call; the comment that a query may end with ends before what
 * is put around it. */
static bool
make_request(QsArena *arena, QsPrometheusCall *call, QsError *error)
{
	char		moment[32];
	char		limit[16];
	QsQueryParameter form[] = {
		{"query", call->query},
		{"time", moment},
		{"timeout", QUERY_TIMEOUT},
		{"limit", limit},
	};
	QsHttpRequest *request = &call->base.request;

	if (call->asks_ages)
		form[0].value = qs_arena_printf(arena, "timestamp(\n%s\n)",
										call->query);
	snprintf(moment, sizeof(moment), "%lld.%03d",
			 (long long) (call->at_us / 1000000),
			 (int) (call->at_us / 1000 % 1000));
	/* one more shows that there are too many */
	snprintf(limit, sizeof(limit), "%d", QS_PROMETHEUS_SERIES + 1);
	request->method = "POST";
	request->url = make_url(arena, call->base.account->endpoint);
	request->body = form[0].value == NULL ? NULL :
		qs_canonical_query(arena, form, sizeof(form) / sizeof(form[0]));
	if (request->url == NULL || request->body == NULL)
		return qs_prometheus_no_memory(error);
	request->body_length = strlen(request->body);
	return prometheus_sign(arena, &call->base, 0, error);
}

static bool
add_call(QsArena *arena, QsPrometheusCall *call, QsCallList *calls,
		 QsError *error)
{
	return make_request(arena, call, error) &&
		(qs_call_list_add(arena, calls, &call->base) ||
		 qs_prometheus_no_memory(error));
}

static QsPrometheusCall *
new_call(QsArena *arena, const QsBatch *batch, QsTarget **targets, int n)
{
	QsPrometheusCall *call = qs_arena_alloc(arena, sizeof(*call));

	if (call == NULL ||
		!qs_call_init(arena, &call->base, batch, QS_CALL_SIGNAL, targets, n))
		return NULL;
	call->query = targets[0]->query->query;
	return call;
}

static void
place(QsPrometheusCall *call, int64_t now_us)
{
	const QsRegionMemory *memory = call->base.memory;

	call->skew_s = memory != NULL ? memory->skew_s : 0;
	call->at_us = now_us + call->skew_s * 1000000;
}

bool
qs_prometheus_ask_ages(QsArena *arena, const QsPrometheusCall *call,
					   QsCallList *calls, QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	QsPrometheusCall *next = new_call(arena, &batch, call->base.targets,
									  call->base.n_targets);

	if (next == NULL)
		return qs_prometheus_no_memory(error);
	next->asks_ages = true;
	next->at_us = call->at_us;
	next->skew_s = call->skew_s;
	return add_call(arena, next, calls, error);
}

bool
qs_prometheus_ask_again(QsArena *arena, const QsPrometheusCall *call,
						int64_t now_us, QsCallList *calls, QsError *error)
{
	QsBatch		batch = qs_call_batch(&call->base);
	QsPrometheusCall *next = new_call(arena, &batch, call->base.targets,
									  call->base.n_targets);

	if (next == NULL)
		return qs_prometheus_no_memory(error);
	next->wants_ages = call->wants_ages;
	next->asked_again = true;
	place(next, now_us);
	return add_call(arena, next, calls, error);
}

static bool
check_query(QsTarget *target)
{
	const QsSignalQuery *query = target->query;

	if (query == NULL || query->query == NULL || query->query[0] == '\0')
		return qs_error_set(&target->reading_error, QS_ERROR_TERMINAL,
							"no_query", "the signal has no query");
	if (strlen(query->query) > LONGEST_QUERY)
		return qs_error_set(&target->reading_error, QS_ERROR_TERMINAL,
							"query_too_long",
							"a query has at most %d bytes", LONGEST_QUERY);
	return true;
}

/* One call for targets that all have the same query. */
static bool
ask(QsArena *arena, const QsBatch *batch, QsTarget **targets, int n,
	int64_t now_us, QsCallList *calls, QsError *error)
{
	QsPrometheusCall *call = new_call(arena, batch, targets, n);

	if (call == NULL)
		return qs_prometheus_no_memory(error);
	for (int i = 0; i < n; i++)
		call->wants_ages |= qs_prometheus_wants_age(targets[i]);
	place(call, now_us);
	return add_call(arena, call, calls, error);
}

static bool
prometheus_observe_signals(QsArena *arena, const QsBatch *batch,
						   int metric_period_s, int64_t now_us,
						   QsCallList *calls, QsError *error)
{
	size_t		room = (size_t) (batch->n_targets > 0 ? batch->n_targets : 0);
	QsTarget  **targets = qs_arena_alloc_array(arena, room + 1,
											   sizeof(*targets));
	int			n = 0;
	int			next;

	qs_error_clear(error);
	if (targets == NULL)
		return qs_prometheus_no_memory(error);
	if (batch->account->endpoint == NULL)
		return qs_error_set(error, QS_ERROR_TERMINAL, "no_endpoint",
							"the account has no endpoint, the address of "
							"Prometheus");
	for (int i = 0; i < batch->n_targets; i++)
		if (check_query(batch->targets[i]))
			targets[n++] = batch->targets[i];
	qsort(targets, (size_t) n, sizeof(*targets), compare_targets);
	for (int i = 0; i < n; i = next)
	{
		for (next = i + 1; next < n &&
			 strcmp(targets[next]->query->query,
					targets[i]->query->query) == 0; next++)
			;
		if (!ask(arena, batch, targets + i, next - i, now_us, calls, error))
			return false;
	}
	return true;
}

static void
prometheus_abandon(QsCall *call, const QsError *error)
{
	qs_call_charge(call, error);
}

const QsProvider qs_provider_prometheus = {
	.name = "prometheus",
	.only_signals = true,
	.has_no_regions = true,
	.observe_signals = prometheus_observe_signals,
	.parse = qs_prometheus_parse,
	.sign = prometheus_sign,
	.abandon = prometheus_abandon,
	.settle = qs_targets_settle,
};
