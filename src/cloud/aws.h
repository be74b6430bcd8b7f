/*-------------------------------------------------------------------------
 * aws.h
 *		What the files aws*.c share.  Of others, only credential_aws_sts.c
 *		includes it, for the names of hosts.
 *
 * Wire facts: EC2 Auto Scaling 2011-01-01 (Query protocol, XML) and CloudWatch
 * 2010-08-01 (awsJson1.0), from AWS' API references and service models.
 *-------------------------------------------------------------------------
 */
#ifndef QS_AWS_H
#define QS_AWS_H

#include "cloud/answer.h"
#include "cloud/id_index.h"
#include "cloud/load_series.h"
#include "cloud/provider.h"
#include "cloud/signing.h"

#define QS_AWS_GROUP_NAMES		100 /* of one DescribeAutoScalingGroups, with
									 * MaxRecords as large */
#define QS_AWS_PAST_DAYS		14	/* of 15 for which minutes are kept */
#define QS_AWS_PAST_SPAN_S		86400	/* 46,080 points of 100,800, at most */
#define QS_AWS_METRICS			500 /* queries of one GetMetricData */
#define QS_AWS_MOST_PAGES		50	/* of one question */

/* A gap whose minute ended later than this may yet be filled. */
#define QS_AWS_SETTLED_AFTER_S	120

#define QS_AWS_GROUPS_NAMESPACE	"http://autoscaling.amazonaws.com/doc/"

typedef struct QsAwsCall
{
	QsCall		base;			/* first: a QsCall is cast to this */
	int64_t		signed_skew_s;	/* what memory->skew_s was when signing */
	QsIdIndex	ids;			/* LOAD: load balancers, CAPACITY: names */
	int			page;			/* pages of this question before this call */
	const char *next_token;		/* of this call, NULL for a first page */
	bool		asked_again;	/* LOAD: the window was placed anew */
	bool		of_past;		/* LOAD: the window stays where it is */
	struct QsDiscovery *discovery;	/* aws_discovery.c: what it adds to */
	bool		balancers_api;	/* asks Elastic Load Balancing */

	/* LOAD: per id of the index, or per query for healthy hosts */
	struct QsAwsBalancer **balancers;
	const char **target_groups; /* not NULL: healthy hosts are asked for */
	int			n_queries;

	struct QsAwsSeries *series; /* SIGNAL: one per query */
} QsAwsCall;

/*
 * One load balancer in one cycle.  It publishes requests only where there
 * were some, so a gap in its series is silence or delay; that a target group
 * of its has healthy hosts in the same minute tells which.
 */
typedef struct QsAwsBalancer
{
	const char *id;
	QsTarget  **targets;		/* that have it as their load */
	int			n_targets;
	int64_t		window_start_s;
	int64_t		period_s;
	int			n_buckets;
	double	   *requests;		/* per bucket, NAN = not published */
	bool		answered;		/* all pages of its requests have come */
	bool		named;			/* some page named it */
	bool		hosts_asked;
	QsError		error;
} QsAwsBalancer;

#define QS_AWS_TARGET_GROUPS	4

/* What QsTarget.provided points to. */
typedef struct QsAwsTarget
{
	QsAwsBalancer *balancer;	/* NULL: its load is not asked for */
	const char *target_groups[QS_AWS_TARGET_GROUPS];
	int			n_target_groups;
} QsAwsTarget;

static inline QsAwsCall *
qs_aws_call(QsCall *call)
{
	return (QsAwsCall *) call;
}

/* Is it CloudWatch that is asked? */
static inline bool
qs_aws_is_monitor(const QsAwsCall *call)
{
	return call->base.kind == QS_CALL_LOAD ||
		call->base.kind == QS_CALL_SIGNAL;
}

/* aws.c */
extern QsAwsCall *qs_aws_call_new(QsArena *arena, const QsBatch *batch,
								  QsCallKind kind, QsTarget **targets,
								  int n_targets);
extern bool qs_aws_no_memory(QsError *error);
extern int64_t qs_aws_cloud_time_s(const QsRegionMemory *memory,
								   int64_t now_us);

/* Signs request.body for now; may be done again later. */
extern bool qs_aws_sign(QsArena *arena, QsAwsCall *call, int64_t now_us,
						QsError *error);

/* A form of the Query protocol as the call's body, signed. */
extern bool qs_aws_set_form(QsArena *arena, QsAwsCall *call,
							const QsQueryParameter *parameters, int n,
							int64_t now_us, QsError *error);
extern bool qs_aws_name_is_valid(const char *name); /* of a scaling group */
extern bool qs_aws_dimension_is_valid(const char *id);	/* "app/web/50dc..." */
extern bool qs_aws_region_is_valid(const char *region);

/* false with an error that says what is wanted instead */
extern bool qs_aws_check_balancer(const char *id, QsError *error);
extern bool qs_aws_check_group_name(const char *name, QsError *error);

/* What the hosts of a region's partition end with. */
extern const char *qs_aws_domain(const char *region, bool dual_stack);

/* aws_reply.c */

/*
 * Learns the clock's skew and tells answers from errors: false with *error
 * set for those.  A call that was refused for its time is signed anew in
 * place, so that repeating it can succeed.
 */
extern bool qs_aws_accepted(QsArena *arena, QsAwsCall *call,
							const QsHttpReply *reply, int64_t now_us,
							QsError *error);

/* "12": digits only, at most QS_MAX_INSTANCES. */
extern bool qs_aws_count(const char *text, int *out);

/* aws_groups.c */
extern bool qs_aws_ask_groups(QsArena *arena, const QsBatch *batch,
							  const QsIdIndex *names, int64_t now_us,
							  QsCallList *calls, QsError *error);
extern bool qs_aws_parse_groups(QsArena *arena, QsAwsCall *call,
								const QsHttpReply *reply, int64_t now_us,
								QsCallList *follow_up, QsError *error);

/* aws_metrics.c */
extern bool qs_aws_ask_load(QsArena *arena, const QsBatch *batch,
							const QsIdIndex *balancers, int metric_period_s,
							int64_t now_us, QsCallList *calls,
							QsError *error);
extern bool qs_aws_ask_past_load(QsArena *arena, const QsBatch *batch,
								 const QsIdIndex *balancers,
								 const QsLoadSeries *past, int64_t now_us,
								 QsCallList *calls, QsError *error);
extern bool qs_aws_parse_load(QsArena *arena, QsAwsCall *call,
							  const QsHttpReply *reply, int64_t now_us,
							  QsCallList *follow_up, QsError *error);

/*
 * Asks for the healthy hosts of load balancers whose requests left gaps, as
 * far as a target group of theirs is known: called when either has come.
 */
extern bool qs_aws_ask_hosts(QsArena *arena, const QsBatch *batch,
							 QsTarget **targets, int n_targets,
							 int64_t now_us, QsCallList *follow_up,
							 QsError *error);

/* Places the window of a load call anew and writes its body. */
extern bool qs_aws_load_body(QsArena *arena, QsAwsCall *call, int64_t now_us,
							 QsError *error);

/* aws_signals.c */
extern const char *const qs_aws_signals[];
extern bool qs_aws_observe_signals(QsArena *arena, const QsBatch *batch,
								   int metric_period_s, int64_t now_us,
								   QsCallList *calls, QsError *error);
extern bool qs_aws_parse_signals(QsArena *arena, QsAwsCall *call,
								 const QsHttpReply *reply, int64_t now_us,
								 QsCallList *follow_up, QsError *error);

/* As qs_aws_load_body(). */
extern bool qs_aws_signal_body(QsArena *arena, QsAwsCall *call,
							   int64_t now_us, QsError *error);

/* aws_actions.c */
extern QsCall *qs_aws_ask_in_service(QsArena *arena, const QsBatch *batch,
									 QsTarget *target, int64_t now_us,
									 QsError *error);
extern QsCall *qs_aws_ask_activities(QsArena *arena, const QsBatch *batch,
									 QsTarget *target, int64_t now_us,
									 QsError *error);
extern QsCall *qs_aws_set_capacity(QsArena *arena, const QsBatch *batch,
								   QsTarget *target, int desired,
								   int64_t now_us, QsError *error);
extern bool qs_aws_parse_activities(QsArena *arena, QsAwsCall *call,
									const QsHttpReply *reply, int64_t now_us,
									QsError *error);
extern bool qs_aws_parse_set(QsArena *arena, QsAwsCall *call,
							 const QsHttpReply *reply, int64_t now_us,
							 QsError *error);

/* aws_discovery.c */
extern const struct QsDirectory qs_directory_aws;

#endif							/* QS_AWS_H */
