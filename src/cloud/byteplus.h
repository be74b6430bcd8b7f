/*-------------------------------------------------------------------------
 * byteplus.h
 *		What the files byteplus*.c share.  Nobody else includes it.
 *
 * Wire facts (endpoints, limits, traps) are BytePlus' documentation of
 * CloudMonitor 2018-01-01 and Auto Scaling 2020-01-01.
 *-------------------------------------------------------------------------
 */
#ifndef QS_BYTEPLUS_H
#define QS_BYTEPLUS_H

#include "cloud/answer.h"
#include "cloud/id_index.h"
#include "cloud/load_series.h"
#include "cloud/provider.h"
#include "cloud/signing.h"

#define QS_BYTEPLUS_LOAD_IDS		50	/* instances of one GetMetricData */
#define QS_BYTEPLUS_LOAD_POINTS		1440	/* data points of one request */
#define QS_BYTEPLUS_PAST_DAYS		14	/* of 60 that are kept */

/* Of one call about the past: its points, if both ends should count. */
#define QS_BYTEPLUS_PAST_SPAN_S		((QS_BYTEPLUS_LOAD_POINTS - 1) * 60)
#define QS_BYTEPLUS_GROUP_IDS		10	/* ids of one DescribeScalingGroups */
#define QS_BYTEPLUS_PAGE_SIZE		50	/* rows of any page */

/* A listing of a region's scaling groups, shared by the calls of its pages. */
typedef struct QsListing
{
	QsIdIndex	wanted;
	bool	   *found;			/* per id */
	int			n_found;
	int			pages;			/* asked for so far */
	int			outstanding;	/* asked for, neither parsed nor abandoned */
	int			rounds;			/* of asking for pages */
	int			total;			/* groups in the region, 0 = not told */
} QsListing;

typedef struct QsBytePlusCall
{
	QsCall		base;			/* first: a QsCall is cast to this */
	const char *query;
	int64_t		signed_skew_s;	/* what memory->skew_s was when signing */
	QsIdIndex	ids;			/* LOAD, and CAPACITY by id */
	bool		asked_again;	/* LOAD: follows a call for the same ids */
	bool		of_past;		/* LOAD: the window stays where it is */
	QsListing  *listing;		/* CAPACITY by page */
	int			in_service_before;	/* counted by the call before this one */
	struct QsDiscovery *discovery;	/* byteplus_discovery.c: what it adds to */
} QsBytePlusCall;

static inline QsBytePlusCall *
qs_byteplus_call(QsCall *call)
{
	return (QsBytePlusCall *) call;
}

/* byteplus.c */
extern QsBytePlusCall *qs_byteplus_call_new(QsArena *arena,
											const QsBatch *batch,
											QsCallKind kind,
											QsTarget **targets,
											int n_targets);

/* Signs call->query (and the body) for now; may be done again later. */
extern bool qs_byteplus_sign(QsArena *arena, QsBytePlusCall *call,
							 int64_t now_us, QsError *error);
extern bool qs_byteplus_no_memory(QsError *error);
extern int64_t qs_byteplus_cloud_time_s(const QsRegionMemory *memory,
										int64_t now_us);

/* byteplus_ids.c */
extern bool qs_byteplus_id_is_valid(const char *id);
extern bool qs_byteplus_region_is_valid(const char *region);

/* byteplus_reply.c */

/*
 * Opens a reply: learns the clock's skew, tells errors from answers.  The
 * caller decrefs what it gets; NULL with error set otherwise.  Once the skew
 * has been learnt from a refusal, the call is signed anew in place, so that
 * repeating it can succeed.
 */
extern json_t *qs_byteplus_reply_open(QsArena *arena, QsBytePlusCall *call,
									  const QsHttpReply *reply,
									  int64_t now_us, QsError *error);

/* Result, which must be an object; NULL with error MALFORMED. */
extern json_t *qs_byteplus_result(json_t *root, QsError *error);

/* true if one id of many may be to blame, so that asking for fewer helps. */
extern bool qs_byteplus_blames_an_id(const QsError *error);

/* byteplus_metrics.c */
extern bool qs_byteplus_ask_load(QsArena *arena, const QsBatch *batch,
								 const QsIdIndex *albs, int metric_period_s,
								 int64_t now_us, QsCallList *calls,
								 QsError *error);
extern bool qs_byteplus_parse_load(QsArena *arena, QsBytePlusCall *call,
								   const QsHttpReply *reply, int64_t now_us,
								   QsCallList *follow_up, QsError *error);

extern bool qs_byteplus_ask_past(QsArena *arena, const QsBatch *batch,
								 int64_t start_s, int64_t end_s,
								 int64_t now_us, QsCallList *calls,
								 QsError *error);

/* Places the window of a load call anew and writes its body. */
extern bool qs_byteplus_load_body(QsArena *arena, QsBytePlusCall *call,
								  int64_t now_us, QsError *error);

/* byteplus_groups.c */
extern bool qs_byteplus_ask_groups(QsArena *arena, const QsBatch *batch,
								   const QsIdIndex *groups, int64_t now_us,
								   QsCallList *calls, QsError *error);
extern bool qs_byteplus_parse_groups(QsArena *arena, QsBytePlusCall *call,
									 const QsHttpReply *reply, int64_t now_us,
									 QsCallList *follow_up, QsError *error);
extern void qs_byteplus_abandon_groups(QsBytePlusCall *call,
									   const QsError *error);

/* byteplus_actions.c */
extern QsCall *qs_byteplus_ask_in_service(QsArena *arena,
										  const QsBatch *batch,
										  QsTarget *target, int64_t now_us,
										  QsError *error);
extern QsCall *qs_byteplus_ask_activities(QsArena *arena,
										  const QsBatch *batch,
										  QsTarget *target, int64_t now_us,
										  QsError *error);
extern QsCall *qs_byteplus_set_capacity(QsArena *arena, const QsBatch *batch,
										QsTarget *target, int desired,
										int64_t now_us, QsError *error);
extern bool qs_byteplus_parse_in_service(QsArena *arena, QsBytePlusCall *call,
										 const QsHttpReply *reply,
										 int64_t now_us,
										 QsCallList *follow_up,
										 QsError *error);
extern bool qs_byteplus_parse_activities(QsArena *arena, QsBytePlusCall *call,
										 const QsHttpReply *reply,
										 int64_t now_us,
										 QsCallList *follow_up,
										 QsError *error);
extern bool qs_byteplus_parse_set(QsArena *arena, QsBytePlusCall *call,
								  const QsHttpReply *reply, int64_t now_us,
								  QsError *error);

/* byteplus_discovery.c */
extern const struct QsDirectory qs_directory_byteplus;

#endif							/* QS_BYTEPLUS_H */
