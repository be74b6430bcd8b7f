/*-------------------------------------------------------------------------
 * cloud_api.h
 *		The pretended cloud of the benchmark: groups, actions and replies.
 *
 * Shaped like BytePlus' AutoScaling and CloudMonitor, with the documented
 * limits on batch and page sizes, and as cheap as possible.  Signatures are
 * NOT checked here: this program measures speed, test/cloud proves the
 * protocol.  Used by cloud_server.c only.
 *-------------------------------------------------------------------------
 */
#ifndef BENCH_CLOUD_API_H
#define BENCH_CLOUD_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growing byte string; running out of memory ends the program. */
typedef struct Text
{
	char	   *data;
	size_t		length;
	size_t		capacity;
} Text;

extern void text_add(Text *text, const char *data, size_t length);

/* What can be set on the command line and by POST /_bench/set. */
typedef struct ApiOptions
{
	int			groups;			/* ids asg-1..asg-N, alb-1..alb-N */
	int			latency_ms;		/* of every call */
	double		acting;			/* share of groups that act in every tick */
	double		error_rate;		/* share of calls answered with 503 */
	bool		apply;			/* does ModifyScalingGroup change anything? */
	int			slow_group;		/* calls about this group alone ... */
	int			slow_ms;		/* ... take this long; 0 = off */
	int			slow_describe;	/* DescribeScalingGroups naming this one ... */
	int			slow_describe_ms;	/* ... take this long; 0 = off */
} ApiOptions;

typedef enum ApiAction
{
	ACTION_METRIC,
	ACTION_GROUPS,
	ACTION_INSTANCES,
	ACTION_ACTIVITIES,
	ACTION_MODIFY,
	ACTION_OTHER,				/* unknown: answered 404 */
	N_ACTIONS
} ApiAction;

#define MAX_BURSTS 512

typedef struct ApiCounters
{
	int64_t		requests[N_ACTIONS];
	int64_t		listings;		/* DescribeScalingGroups without ids */
	int64_t		errors_injected;
	int64_t		refused;		/* over a limit, unknown, not understood */
	int64_t		connections;	/* that carried at least one call */
	int64_t		bytes_sent;
	int			in_flight;
	int			max_in_flight;

	/* Bursts of calls with at least BURST_GAP_US of silence before them: how
	 * long a tick took as seen from the cloud's side. */
	int64_t		burst_started_us;
	int64_t		last_reply_us;
	int			n_bursts;
	int64_t		burst_us[MAX_BURSTS];
} ApiCounters;

typedef struct ApiRequest
{
	const char *method;
	size_t		method_length;
	const char *target;			/* "/?Action=..." */
	size_t		target_length;
	const char *body;
	size_t		body_length;
} ApiRequest;

typedef struct Api Api;

extern Api *api_new(const ApiOptions *options);

/* Sets one option by its name ("latency-ms", or "latency_ms"); false when the
 * name or the value is not understood. */
extern bool api_set_option(ApiOptions *options, const char *name,
						   const char *value);
extern ApiCounters *api_counters(Api *api);

/*
 * Appends a complete HTTP reply to out and returns after how many
 * microseconds it is to be sent.  *is_call tells calls of the cloud from the
 * benchmark's own /_bench/ requests, which are neither delayed nor counted.
 */
extern int64_t api_answer(Api *api, const ApiRequest *request, Text *out,
						  bool *is_call);

#endif							/* BENCH_CLOUD_API_H */
