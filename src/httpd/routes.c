/*-------------------------------------------------------------------------
 * routes.c
 *		Which request leads to which function of the database.
 *-------------------------------------------------------------------------
 */
#include "routes.h"

#include "assets.h"

#include <string.h>

static const char json_type[] = "application/json";
static const char metrics_type[] = "text/plain; version=0.0.4; charset=utf-8";

static const char *const no_parameters[] = {NULL};
static const char *const list_parameters[] = {
	"resource_id", "limit", "before_id", NULL
};
static const char *const resource_parameters[] = {"resource_id", NULL};
static const char *const history_parameters[] = {
	"resource_id", "limit", "offset", "before_id", NULL
};
static const char *const groups_parameters[] = {"limit", "after", NULL};
static const char *const group_parameters[] = {
	"resource_id", "since", "until", NULL
};
static const char *const why_parameters[] = {"resource_id", "at", NULL};
static const char *const forecast_parameters[] = {
	"resource_id", "horizon", NULL
};

const char	health_statement[] =
"SELECT qpsscale.http_health($1::pg_catalog.jsonb)";

/* A function of the database; only one that changes nothing is read-only. */
#define CALL(http_method, url, function, only_reads, type, known) \
	{.method = http_method, .path = url, .kind = ROUTE_CALL, \
		.statement = "SELECT qpsscale." function "($1::pg_catalog.jsonb)", \
		.read_only = only_reads, .content_type = type, .parameters = known}
#define READ(url, function, known) \
	CALL("GET", url, function, true, json_type, known)
#define WRITE(url, function) \
	CALL("POST", url, function, false, json_type, no_parameters)
#define ASSET_ROUTE(name, url, file, type) \
	{.method = "GET", .path = url, .kind = ROUTE_ASSET, .content_type = type, \
		.parameters = no_parameters, .start = asset_##name##_start, \
	.end = asset_##name##_end},

static const Route routes[] = {
	{.method = "GET", .path = "/health", .kind = ROUTE_HEALTH,
	.content_type = json_type, .parameters = no_parameters},
	{.method = "GET", .path = "/ready", .kind = ROUTE_READY,
	.content_type = json_type, .parameters = no_parameters},
	WRITE("/scale/decide", "http_decide"),
	WRITE("/scale/execute", "http_execute"),
	READ("/scale/decisions", "http_decisions", resource_parameters),
	READ("/scale/history", "http_history", history_parameters),
	CALL("POST", "/cost/estimate", "http_estimate", true, json_type,
		 no_parameters),
	CALL("GET", "/metrics", "http_metrics", true, metrics_type,
		 no_parameters),

	/* what the pages ask */
	READ("/groups", "http_groups", groups_parameters),
	READ("/groups/one", "http_group", group_parameters),
	READ("/groups/why", "http_why", why_parameters),
	READ("/groups/forecast", "http_forecast", forecast_parameters),
	CALL("POST", "/groups/backtest", "http_backtest", true, json_type,
		 no_parameters),
	READ("/errors", "http_errors", list_parameters),
	READ("/webhooks", "http_webhooks", list_parameters),
	WRITE("/groups/what-if", "http_what_if"),
	WRITE("/groups/suspend", "http_suspend"),
	WRITE("/groups/resume", "http_resume"),
	WRITE("/webhooks/replay", "http_replay"),
	ASSETS(ASSET_ROUTE)
};

#define N_ROUTES	(sizeof(routes) / sizeof(routes[0]))

const Route *
route_find(const char *method, const char *path, const char **allowed)
{
	*allowed = NULL;
	if (strncmp(path, "/v1/", 4) == 0)
		path += 3;
	if (strcmp(method, "HEAD") == 0)
		method = "GET";
	for (size_t i = 0; i < N_ROUTES; i++)
	{
		if (strcmp(routes[i].path, path) != 0)
			continue;
		if (strcmp(routes[i].method, method) == 0)
			return &routes[i];
		*allowed = strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD" :
			routes[i].method;
	}
	return NULL;
}
