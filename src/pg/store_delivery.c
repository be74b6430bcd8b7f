/*-------------------------------------------------------------------------
 * store_delivery.c
 *		The SQL of delivery.c: what is to be sent, and what became of it.
 *
 * A claim moves next_attempt_at to the end of a lease.  If this process ends
 * before it has recorded an outcome, the delivery is due again by then: it is
 * sent at least once, with the same message id.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "pg/group.h"
#include "pg/step.h"
#include "pg/store_delivery.h"
#include "pg/store_rows.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* At once to one endpoint. */
#define PER_ENDPOINT	"2"

/* A group's name in a body; the column has no limit. */
#define MAX_NAME_BYTES	200

/*
 * The end of a condition is told after its beginning.  A database that is
 * armed elsewhere is a copy: what it was to send is the original's to send.
 */
static const char claim_sql[] =
"WITH endpoint AS ("
"  SELECT w.id, w.name, w.url, w.format, w.secret, w.old_secret, w.owner,"
"   coalesce(o.rolsuper, false) AS trusted"
"  FROM qpsscale.webhooks w LEFT JOIN pg_roles o ON o.rolname = w.owner"
"  WHERE w.enabled"
"  UNION ALL"
"  SELECT 0, 'default', NULL, 'standard', NULL, NULL, NULL, true WHERE $1),"
" due AS MATERIALIZED ("
"  SELECT p.id FROM endpoint e, LATERAL ("
"   SELECT q.id FROM qpsscale.alert_deliveries q"
"   WHERE q.webhook_id = e.id AND q.status = 'pending'"
"    AND q.next_attempt_at <= now()"
"    AND NOT EXISTS (SELECT FROM qpsscale.alert_deliveries b"
"     WHERE b.alert_id = q.alert_id AND b.webhook_id = q.webhook_id"
"     AND b.id < q.id AND b.status = 'pending')"
"   ORDER BY q.next_attempt_at, q.id"
"   LIMIT greatest(" PER_ENDPOINT " - (SELECT count(*) FROM unnest($2) u"
"    WHERE u = e.id), 0)"
"   FOR UPDATE OF q SKIP LOCKED) p"
"  WHERE NOT e.id = ANY ($3)"
"   AND (NOT EXISTS (SELECT FROM qpsscale.armed) OR qpsscale.is_armed())"
"  LIMIT $4)"
" UPDATE qpsscale.alert_deliveries d"
" SET attempts = d.attempts + 1, last_attempt_at = clock_timestamp(),"
"  next_attempt_at = clock_timestamp() + make_interval(secs => $5)"
" FROM due, endpoint e, qpsscale.alerts a"
" WHERE d.id = due.id AND e.id = d.webhook_id AND a.id = d.alert_id"
" RETURNING d.id, d.webhook_id, d.attempts, e.name, e.url, e.format,"
"  e.secret, e.old_secret, e.owner::text, e.trusted, a.uuid::text, a.type,"
"  a.severity, d.transition, a.summary, a.data ->> 'group', a.data::text,"
"  a.occurred_at, a.resolved_at, '/qpsscale/' || coalesce("
"   nullif(current_setting('cluster_name'), '') || '/', '')"
"   || current_database()";

/*
 * What is due, and was not claimed, does not count: it waits for an answer, the
 * end of a rest or an arming, and looking again brings none of them.
 */
static const char next_sql[] =
"SELECT ceil(1000 * extract(epoch FROM min(n.at) - clock_timestamp()))::bigint"
" FROM (SELECT w.id FROM qpsscale.webhooks w WHERE w.enabled"
"  UNION ALL SELECT 0 WHERE $1) e,"
" LATERAL (SELECT d.next_attempt_at AS at FROM qpsscale.alert_deliveries d"
"  WHERE d.webhook_id = e.id AND d.status = 'pending'"
"   AND d.next_attempt_at > now()"
"  ORDER BY d.next_attempt_at LIMIT 1) n";

static const char record_sql[] =
"WITH w AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bigint[],"
"  $3::boolean[], $4::boolean[], $5::boolean[], $6::integer[],"
"  $7::integer[], $8::text[], $9::text[], $10::bigint[])"
"  AS w(id, webhook_id, delivered, gone, counted, http_status, latency_ms,"
"       error, response, delay_ms)),"
" g AS (UPDATE qpsscale.webhooks h"
"  SET enabled = false, disabled_reason = 'it answered 410 Gone at '"
"   || to_char(now(), 'YYYY-MM-DD HH24:MI:SSOF')"
"  FROM w WHERE w.gone AND h.id = w.webhook_id)"
" UPDATE qpsscale.alert_deliveries d"
" SET status = CASE WHEN w.delivered THEN 'delivered'"
"   WHEN w.delay_ms < 0 THEN 'dead' ELSE 'pending' END,"
"  attempts = CASE WHEN w.counted THEN d.attempts"
"   ELSE greatest(d.attempts - 1, 0) END,"
"  next_attempt_at = clock_timestamp()"
"   + make_interval(secs => greatest(w.delay_ms, 0) / 1000.0),"
"  finished_at = CASE WHEN w.delivered OR w.delay_ms < 0"
"   THEN clock_timestamp() END,"
"  last_http_status = w.http_status, last_latency_ms = w.latency_ms,"
"  last_error = w.error, last_response = w.response"
" FROM w WHERE d.id = w.id AND d.status = 'pending'";

static StorePlan record_plan = {record_sql, 10,
	{INT8OID, INT8OID, BOOLOID, BOOLOID, BOOLOID, INT4OID, INT4OID, TEXTOID,
TEXTOID, INT8OID}, NULL};

typedef struct RoundArguments
{
	DeliveryRound *round;
	MemoryContext context;
} RoundArguments;

static void
record(const DeliveryRound *round)
{
	StoreRows	rows;

	store_rows_start(&rows, &record_plan, round->n_outcomes);
	for (int i = 0; i < round->n_outcomes; i++)
	{
		const DeliveryOutcome *outcome = &round->outcomes[i];

		store_put_int64(&rows, outcome->id);
		store_put_int64(&rows, outcome->webhook_id);
		store_put_bool(&rows, outcome->delivered);
		store_put_bool(&rows, outcome->gone);
		store_put_bool(&rows, outcome->counted);
		if (outcome->http_status > 0)
			store_put_int32(&rows, outcome->http_status);
		else
			store_put_null(&rows);
		store_put_int32(&rows, outcome->latency_ms);
		store_put_text(&rows, outcome->error);
		store_put_text(&rows, outcome->response);
		store_put_int64(&rows, outcome->delay_ms);
	}
	(void) store_rows_run(&rows);
}

static void
settle(const DeliveryRound *round)
{
	Oid			types[1] = {BOOLOID};
	Datum		values[1] = {BoolGetDatum(round->worker_runs)};

	if (SPI_execute_with_args("SELECT qpsscale.settle_alerts($1)", 1, types,
							  values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not settle alerts");
}

static Datum
bigints(const int64 *values, int n)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int64GetDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static char *
text_of(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						column);
}

/* NULL stays NULL; in the current context. */
static char *
utf8_of(uint64 row, int column)
{
	char	   *text = text_of(row, column);

	if (text == NULL)
		return NULL;
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

static int64
integer_of(uint64 row, int column, bool *null)
{
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row],
									   SPI_tuptable->tupdesc, column, null));
}

static int64
unix_us_of(uint64 row, int column)
{
	bool		null;
	int64		at = integer_of(row, column, &null);

	return null ? 0 : qpsscale_unix_us(at);
}

static void
read_claim(ClaimedDelivery *claimed, uint64 row)
{
	QsWebhookAlert *alert = &claimed->alert;
	bool		null;
	char	   *group;

	claimed->id = integer_of(row, 1, &null);
	claimed->webhook_id = integer_of(row, 2, &null);
	claimed->attempts = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row],
													SPI_tuptable->tupdesc, 3,
													&null));
	claimed->webhook = utf8_of(row, 4);
	claimed->url = text_of(row, 5);
	claimed->format = text_of(row, 6);
	claimed->secret = text_of(row, 7);
	claimed->old_secret = text_of(row, 8);
	claimed->owner = text_of(row, 9);
	claimed->owner_is_superuser =
		DatumGetBool(SPI_getbinval(SPI_tuptable->vals[row],
								   SPI_tuptable->tupdesc, 10, &null));
	alert->uuid = text_of(row, 11);
	alert->type = text_of(row, 12);
	alert->severity = text_of(row, 13);
	alert->transition = text_of(row, 14);
	alert->summary = utf8_of(row, 15);
	group = utf8_of(row, 16);
	if (group != NULL && strlen(group) > MAX_NAME_BYTES)
		group[pg_encoding_mbcliplen(PG_UTF8, group, strlen(group),
									MAX_NAME_BYTES)] = '\0';
	alert->group = group;
	alert->data = utf8_of(row, 17);
	alert->occurred_us = unix_us_of(row, 18);
	alert->resolved_us = unix_us_of(row, 19);
	alert->source = utf8_of(row, 20);
}

static void
claim(RoundArguments *arguments)
{
	static const Oid types[5] = {BOOLOID, INT8ARRAYOID, INT8ARRAYOID, INT8OID,
	FLOAT8OID};
	DeliveryRound *round = arguments->round;
	Datum		values[5] = {BoolGetDatum(round->has_default_url),
		bigints(round->busy, round->n_busy),
		bigints(round->resting, round->n_resting),
		Int64GetDatum(round->places),
	Float8GetDatum(round->lease_s)};
	MemoryContext old;

	if (SPI_execute_with_args(claim_sql, 5, unconstify(Oid *, &types[0]),
							  values, NULL, false, 0) !=
		SPI_OK_UPDATE_RETURNING)
		elog(ERROR, "could not claim deliveries");
	old = MemoryContextSwitchTo(arguments->context);
	round->claimed = palloc0(sizeof(ClaimedDelivery) * Max(SPI_processed, 1));
	for (uint64 i = 0; i < SPI_processed; i++)
		read_claim(&round->claimed[round->n_claimed++], i);
	MemoryContextSwitchTo(old);
	SPI_freetuptable(SPI_tuptable);
}

static void
look_ahead(DeliveryRound *round)
{
	Oid			types[1] = {BOOLOID};
	Datum		values[1] = {BoolGetDatum(round->has_default_url)};
	bool		null;

	if (SPI_execute_with_args(next_sql, 1, types, values, NULL, true, 0) !=
		SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not look for deliveries");
	round->next_ms = Max(integer_of(0, 1, &null), 0);
	if (null)
		round->next_ms = -1;
}

static void
round_body(void *argument)
{
	RoundArguments *arguments = argument;

	arguments->round->n_claimed = 0;
	record(arguments->round);
	settle(arguments->round);
	if (arguments->round->places > 0)
		claim(arguments);
	look_ahead(arguments->round);
}

bool
qpsscale_store_delivery_round(DeliveryRound *round, ErrorData **error)
{
	RoundArguments arguments = {round, CurrentMemoryContext};

	return qpsscale_step("qpsscale: deliver alerts", round_body, &arguments,
						 false, error);
}

static void
stalled_body(void *argument)
{
	Oid			types[2] = {TEXTOID, TEXTOID};
	const char *const *texts = argument;
	Datum		values[2] = {CStringGetTextDatum(texts[0]),
	CStringGetTextDatum(texts[1])};

	if (SPI_execute_with_args("SELECT qpsscale.raise_alert("
							  "'qpsscale.worker.stalled', $1,"
							  " data => $2::jsonb)", 2, types, values, NULL,
							  false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not raise an alert");
}

bool
qpsscale_store_stalled(const char *summary, const char *details,
					   ErrorData **error)
{
	const char *texts[2] = {summary, details};

	return qpsscale_step("qpsscale: alert", stalled_body, texts, false,
						 error);
}
