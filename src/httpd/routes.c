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
static const char *const history_parameters[] = {
	"resource_id", "limit", "offset", "before_id", NULL
};

const char	health_statement[] =
"SELECT qpsscale.http_health($1::pg_catalog.jsonb)";

#define ASSET_ROUTE(name, path, file, type) \
	{"GET", path, ROUTE_ASSET, .content_type = type, \
		.parameters = no_parameters, .start = asset_##name##_start, \
	.end = asset_##name##_end},

static const Route routes[] = {
	{"GET", "/health", ROUTE_HEALTH, .content_type = json_type,
	.parameters = no_parameters},
	{"GET", "/ready", ROUTE_READY, .content_type = json_type,
	.parameters = no_parameters},
	{"POST", "/scale/decide", ROUTE_CALL,
		"SELECT qpsscale.http_decide($1::pg_catalog.jsonb)", false, json_type,
	no_parameters},
	{"POST", "/scale/execute", ROUTE_CALL,
		"SELECT qpsscale.http_execute($1::pg_catalog.jsonb)", false, json_type,
	no_parameters},
	{"GET", "/scale/history", ROUTE_CALL,
		"SELECT qpsscale.http_history($1::pg_catalog.jsonb)", true, json_type,
	history_parameters},
	{"POST", "/cost/estimate", ROUTE_CALL,
		"SELECT qpsscale.http_estimate($1::pg_catalog.jsonb)", true, json_type,
	no_parameters},
	{"GET", "/metrics", ROUTE_CALL,
		"SELECT qpsscale.http_metrics($1::pg_catalog.jsonb)", true,
	metrics_type, no_parameters},
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
