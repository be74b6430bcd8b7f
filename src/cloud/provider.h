/*-------------------------------------------------------------------------
 * provider.h
 *		What a cloud must be able to do, without ever opening a socket.
 *
 * A provider turns a batch of groups into calls (HTTP requests as values) and
 * replies into observations.  The cycle in pg/ owns order, concurrency,
 * deadlines and retries.  A reply may ask for further calls (next page, the
 * rest by id).  Groups in a reply are matched by id, never by position.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PROVIDER_H
#define QS_PROVIDER_H

#include "cloud/account.h"
#include "cloud/load_series.h"
#include "core/arena.h"
#include "core/decide.h"
#include "core/error.h"
#include "core/http_message.h"
#include "core/signal.h"

typedef enum QsCallKind
{
	QS_CALL_LOAD,				/* load of many groups */
	QS_CALL_CAPACITY,			/* desired, min, max, total of many groups */
	QS_CALL_IN_SERVICE,			/* in-service count of one group */
	QS_CALL_ACTIVITIES,			/* the cloud's activities of one group */
	QS_CALL_SIGNAL,				/* one further load signal of many groups */
	QS_CALL_SET_CAPACITY		/* the one call that changes anything */
} QsCallKind;

#define QS_CALL_KINDS	6

extern const char *qs_call_kind_name(QsCallKind kind);

/* What a further signal is, as its source is asked for it. */
typedef struct QsSignalQuery
{
	const char *query;			/* PromQL, or one of the provider's signals[] */
	const char *label;			/* Prometheus: NULL, or by which of its labels */
	const char *label_value;	/* the one series of many is found */
	int64_t		max_age_us;		/* of a sample that is any use; 0 = no limit */
} QsSignalQuery;

/* One group as a provider sees it.  Ids are the caller's; results are set by
 * parse() of the calls that carry the group. */
typedef struct QsTarget
{
	int64_t		group_id;
	const char *alb_id;			/* NULL when no load is wanted */
	const char *asg_id;
	const char *kind;			/* of the scaled object, or NULL */
	const char *region;			/* never NULL here: group's or account's; ""
								 * where the provider has_no_regions */

	QsLoad		load;
	QsError		load_error;		/* class NONE: known, or known to be missing */
	QsCapacity	capacity;
	QsError		capacity_error; /* e.g. NotFound when no reply named it */
	QsError		in_service_error;
	QsCloudActivity activity;
	QsError		activity_error;
	QsError		set_error;
	bool		tried;			/* a write that changes nothing, with its error */
	QsError		trial_error;
	const QsSignalQuery *query; /* not NULL: the target is one signal of the
								 * group, and only the next two are answered */
	QsReading	reading;
	QsError		reading_error;
	QsLoadSeries *past;			/* not NULL: of ask_past(), which alone is
								 * answered, with load_error */
	bool		set_accepted;
	char		set_request_id[64]; /* the cloud's, for the audit row */

	void	   *provided;		/* the provider's own, for one cycle */
	void	   *user;			/* the caller's */
} QsTarget;

/* Kept by the caller per (account, region) from cycle to cycle; zeroed at
 * first.  Lets the provider choose between listing and asking by id. */
typedef struct QsRegionMemory
{
	int			listed_total;	/* scaling groups in the region, 0 = unknown */
	int64_t		listed_at;		/* when that was learnt, us */
	int64_t		skew_s;			/* cloud's clock minus ours */
	bool		probe;			/* caller: learn listed_total in this cycle */
} QsRegionMemory;

typedef struct QsCall
{
	QsCallKind	kind;
	const struct QsProvider *provider;	/* the caller's: who reads the reply */
	QsHttpRequest request;		/* none where pg/ carries the call: "sql" */
	const char *bucket;			/* account and API: "aws/acct/load" */
	double		rate_per_second;	/* documented limit, <= 0 = none known */
	double		burst;			/* at most these in burst / rate seconds */
	const char *ca_file;		/* of the account, or NULL */
	int			n_targets;
	QsTarget  **targets;		/* whose answer this call carries */

	/* the provider's own; the caller only hands it back */
	QsAccount  *account;
	const char *region;
	QsRegionMemory *memory;
	int			page;			/* of a listing, 0 = not a listing */
	int64_t		window_start_s;
	int64_t		window_end_s;
	int64_t		period_s;
	const char *variant;

	/* the caller's */
	int64_t		serial;			/* of the credentials that signed it */
	bool		signed_anew;	/* after those were refused */
	void	   *user;
} QsCall;

typedef struct QsCallList
{
	QsCall	  **calls;
	int			n_calls;
	int			capacity;
} QsCallList;

/* Adds to a list that lives in the arena; false when exhausted. */
extern bool qs_call_list_add(QsArena *arena, QsCallList *list, QsCall *call);

/* One (account, region) with some of its groups. */
typedef struct QsBatch
{
	QsAccount  *account;
	const char *region;
	QsRegionMemory *memory;
	QsTarget  **targets;
	int			n_targets;
} QsBatch;

/* Sets what every call has; false when the arena is exhausted. */
extern bool qs_call_init(QsArena *arena, QsCall *call, const QsBatch *batch,
						 QsCallKind kind, QsTarget **targets, int n_targets);

/* A batch again, of the account, region and targets of a call. */
extern QsBatch qs_call_batch(const QsCall *call);

/* The error of a call that is given up: a target without one would pass for
 * answered. */
extern QsError qs_call_abandoned(const QsError *error);

/* Charges all targets of a call that will not be answered. */
extern void qs_call_charge(QsCall *call, const QsError *error);

/* Before a batch is observed: what is not asked for is the caller's. */
extern void qs_target_forget(QsTarget *target);

/* After it: targets that no reply named become "NotFound". */
extern void qs_targets_settle(QsTarget **targets, int n_targets);

#define QS_PAST_TARGETS	32		/* of one ask_past() */

typedef struct QsProvider
{
	const char *name;			/* "byteplus" */
	bool		writes_while_busy;

	/*
	 * Calls that observe load (of targets with alb_id; the load of others
	 * stays as it is) and capacity of a batch.  metric_period_s is the load
	 * window's length.  now_us is the local clock; the provider applies
	 * memory->skew_s.
	 */
	bool		(*observe) (QsArena *arena, const QsBatch *batch,
							int metric_period_s, int64_t now_us,
							QsCallList *calls, QsError *error);

	/*
	 * Calls that read signals: of a batch whose targets each have a query, and
	 * of its group alb_id, asg_id and kind.  Equal queries are asked once.
	 * NULL where the provider is the source of none.
	 */
	bool		(*observe_signals) (QsArena *arena, const QsBatch *batch,
									int metric_period_s, int64_t now_us,
									QsCallList *calls, QsError *error);
	const char *const *signals; /* what a query may be, NULL at the end; NULL:
								 * any text that is not empty */
	bool		signals_follow_resolution;	/* published each minute: not asked
											 * more often */
	bool		only_signals;	/* no groups of its own */
	bool		has_no_regions;

	/*
	 * Calls that read the loads of at most QS_PAST_TARGETS as they were: each
	 * minute from start_s (of the cloud's clock) until before end_s, at most
	 * past_span_s later, as far as it is complete and of the last past_days.
	 * Makes target->past of all.  A minute without a point in it is not
	 * known, by the same rule as that of the load; where load_error is set
	 * when all calls have ended, what is there is not all.  NULL where nothing
	 * is kept.
	 */
	bool		(*ask_past) (QsArena *arena, const QsBatch *batch,
							 int64_t start_s, int64_t end_s, int64_t now_us,
							 QsCallList *calls, QsError *error);
	int			past_span_s;	/* of one question, whole minutes */
	int			past_days;		/* for which minutes are kept */
	QsCall	   *(*ask_in_service) (QsArena *arena, const QsBatch *batch,
								   QsTarget *target, int64_t now_us,
								   QsError *error);

	/* NULL where nothing but us changes the group */
	QsCall	   *(*ask_activities) (QsArena *arena, const QsBatch *batch,
								   QsTarget *target, int64_t now_us,
								   QsError *error);
	QsCall	   *(*set_capacity) (QsArena *arena, const QsBatch *batch,
								 QsTarget *target, int desired,
								 int64_t now_us, QsError *error);

	/*
	 * For people: a write of the number that is there, which the cloud checks
	 * and does not carry out; of kind ACTIVITIES.  NULL where it has no such.
	 */
	QsCall	   *(*try_write) (QsArena *arena, const QsBatch *batch,
							  QsTarget *target, int64_t now_us,
							  QsError *error);

	/*
	 * Reads a reply.  true: results are in call->targets and in follow_up
	 * (calls that are still needed).  false: error says why; the caller either
	 * repeats the call or gives it up with abandon().  Nothing of a reply that
	 * is malformed is used.
	 */
	bool		(*parse) (QsArena *arena, QsCall *call,
						  const QsHttpReply *reply, int64_t now_us,
						  QsCallList *follow_up, QsError *error);

	/* Signs a call anew: its account has other credentials now. */
	bool		(*sign) (QsArena *arena, QsCall *call, int64_t now_us,
						 QsError *error);

	/* The call will not be answered: charges its targets with the error. */
	void		(*abandon) (QsCall *call, const QsError *error);

	/* After all observe calls have ended: targets that no reply named become
	 * "not found" (never zero). */
	void		(*settle) (QsTarget **targets, int n_targets);

	/* For people: why an observed load has no data, NULL if that is open; the
	 * member is NULL where the cloud says nothing about it. */
	const char *(*explain_silence) (const QsTarget *target);
	const struct QsDirectory *directory;	/* discovery.h; NULL: its groups
											 * cannot be listed */
	const char *processes;		/* whose suspension stops scaling; NULL: a
								 * rollout is paused as a whole */
	double		metric_price_usd;	/* of asking for one metric, 0 = none known */
} QsProvider;

extern const QsProvider qs_provider_byteplus;
extern const QsProvider qs_provider_aws;
extern const QsProvider qs_provider_kubernetes;
extern const QsProvider qs_provider_prometheus;

/* NULL when there is none of that name. */
extern const QsProvider *qs_provider_by_name(const char *name);

#endif							/* QS_PROVIDER_H */
