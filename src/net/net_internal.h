/*-------------------------------------------------------------------------
 * net_internal.h
 *		What the files of src/net share and nobody else may see.
 *
 * A call is what the caller submitted.  It waits in a lane (all calls with
 * the same host and token bucket), runs in a transfer (a curl easy handle),
 * and ends in the list of finished calls with a reply or a failure.
 *
 * Ownership: the QsNet owns everything; calls, transfers and replies go back
 * to free lists, so that a steady load allocates nothing.
 *-------------------------------------------------------------------------
 */
#ifndef QS_NET_INTERNAL_H
#define QS_NET_INTERNAL_H

#include "net/address.h"
#include "net/compat_curl.h"
#include "net/congestion.h"
#include "net/multiplexer.h"
#include "net/net.h"
#include "net/priority_queue.h"
#include "net/reply.h"
#include "net/token_bucket.h"

#define QS_NAME_SLOTS 256

/* Connections that may be tried at once to a host that has not answered yet:
 * a dead one must not take every slot, nor a resolver thread for each call. */
#define QS_UNPROVEN_CALLS 4

typedef enum QsFailure
{
	QS_FAILURE_NONE = 0,
	QS_FAILURE_RESOLVE,
	QS_FAILURE_CONNECT,
	QS_FAILURE_TLS,
	QS_FAILURE_TLS_REFUSED,
	QS_FAILURE_TIMEOUT,
	QS_FAILURE_DEADLINE,
	QS_FAILURE_WITHDRAWN,
	QS_FAILURE_ENDPOINT_DOWN,
	QS_FAILURE_RESET,
	QS_FAILURE_TRUNCATED,
	QS_FAILURE_RESENT,
	QS_FAILURE_STALE,
	QS_FAILURE_TOO_LARGE,
	QS_FAILURE_ADDRESS_REFUSED,
	QS_FAILURE_METADATA_REFUSED,
	QS_FAILURE_URL_REFUSED,
	QS_FAILURE_PROTOCOL,
	QS_FAILURE_NO_MEMORY,
	QS_FAILURE_DESCRIPTORS
} QsFailure;

typedef struct QsCall QsCall;
typedef struct QsTransfer QsTransfer;
typedef struct QsLane QsLane;

/* Base of what is found by name; first member of QsHost and QsBucket. */
typedef struct QsNamed
{
	struct QsNamed *next;
	char *name;
} QsNamed;

typedef struct QsHost
{
	QsNamed named; /* scheme, host and port as one text */
	QsUrl url;
	bool allowed; /* in allowed_hosts */
	bool metadata; /* a metadata service's address, which we may reach */
	bool proven; /* the last connection came about */
	bool http2; /* the last reply came by HTTP/2 */
	int running;
	QsLane *held; /* lanes that wait for a place at this host */
} QsHost;

typedef struct QsBucket
{
	QsNamed named;
	QsTokenBucket tokens;
	QsLane *lanes;
} QsBucket;

/*
 * Where a lane is: nowhere while it is empty or has as many calls running as
 * it may, else in exactly one of ready (by age of its first call), paused (by
 * the time of its bucket's next token), or its host's list of held lanes.
 */
struct QsLane
{
	QsLane *next_of_bucket;
	QsLane *next_held;
	bool held;
	QsHost *host;
	QsBucket *bucket;
	QsCall *first;
	QsCall *last;
	QsCongestion congestion;
	QsPriorityNode ready;
	QsPriorityNode paused;
};

typedef enum QsCallState
{
	QS_CALL_FREE = 0,
	QS_CALL_QUEUED,
	QS_CALL_DELAYED, /* a retry that waits for its time */
	QS_CALL_RUNNING,
	QS_CALL_FINISHED,
	QS_CALL_TAKEN
} QsCallState;

struct QsCall
{
	QsCall *next; /* in lane, finished or free list */
	QsCall *prev; /* in lane */
	QsCallState state;
	bool sent;
	bool fresh; /* the last attempt's connection was of no use */
	int attempts;
	int elapsed_ms;
	int shortages; /* times it met a lack of descriptors */
	int request_timeout_ms;
	int connect_timeout_ms;
	int64_t sequence;
	int64_t deadline_ms;
	int64_t started_ms; /* the last attempt */
	const QsHttpRequest *request;
	const char *ca_file; /* as the caller gave it; NULL = the option's */
	const char *client_certificate; /* PEM, or NULL */
	const char *client_key;
	void *tag;
	QsLane *lane;
	QsTransfer *transfer;
	QsFailure failure;
	char *detail; /* malloc'd words of curl's, or NULL */
	QsReply *reply;
	QsPriorityNode expiry; /* while queued or delayed */
	QsPriorityNode delay;
};

struct QsTransfer
{
	QsTransfer *next; /* in the free list */
	QsTransfer *next_running;
	QsTransfer *prev_running;
	QsNet *net;
	QsCall *call;
	CURL *easy;
	bool own_ca; /* the call before named its own ca_file */
	bool own_certificate; /* likewise a client certificate */
	int64_t configuration; /* of the options that are set */

	/* What the callbacks found out, for the error that curl's code hides. */
	int sockets; /* opened by this attempt */
	bool address_refused;
	bool metadata_refused; /* and it was a metadata service's */
	bool no_descriptor;
	bool resend_refused;
	bool stale; /* the idle connection it got had ended */
	size_t max_reply_bytes;

	struct curl_slist *headers; /* an array whose elements are linked */
	int headers_capacity;
	char *header_text;
	size_t header_text_capacity;
	char words[CURL_ERROR_SIZE];
};

struct QsNet
{
	QsMultiplexer mux;

	/* Options; strings are our own. */
	int max_in_flight;
	int max_per_host;
	size_t max_reply_bytes;
	char *ca_file;
	char *user_agent;
	QsAllowList *allowed;
	bool reach_metadata;
	bool (*acquire_fd)(void *context);
	void (*release_fd)(void *context);
	void *fd_context;
	int64_t configuration; /* counts qs_net_configure() */
	char *system_ca_file;

	bool drive_again; /* the last drive ended before its work did */

	/* What the lack of descriptors leaves of max_in_flight. */
	int capacity;
	int64_t capacity_changed_ms;

	/* The queue (queue.c). */
	QsNamed *hosts[QS_NAME_SLOTS];
	QsNamed *buckets[QS_NAME_SLOTS];
	size_t n_names;
	size_t n_lanes;
	QsPriorityQueue ready;
	QsPriorityQueue paused;
	QsPriorityQueue delays;
	QsPriorityQueue expiries;
	int64_t next_sequence;
	int64_t busy_period; /* counts submissions to an idle net */
	size_t n_calls; /* all that exist, free ones included */
	int queued;
	int pending;

	QsCall *free_calls;
	QsCall *first_finished;
	QsCall *last_finished;
	QsCall *taken;
	QsTransfer *free_transfers;
	QsTransfer *running;
	int in_flight;
	QsReply *free_replies;
	int n_free_replies;
	uint64_t random_state;
	QsNetStats stats;
};

/* queue.c */
extern QsLane *qs_queue_lane(QsNet *net, const QsUrl *url,
							 const QsNetLimits *limits, QsError *error);
extern QsCall *qs_queue_new_call(QsNet *net);
extern void qs_queue_free_call(QsNet *net, QsCall *call);
extern void qs_queue_append(QsNet *net, QsCall *call);
extern void qs_queue_put_back(QsNet *net, QsCall *call);
extern void qs_queue_delay(QsNet *net, QsCall *call, int64_t until_ms);
extern QsCall *qs_queue_take(QsNet *net, int64_t now_ms);
extern void qs_queue_leave(QsNet *net, QsLane *lane);
extern uint64_t qs_net_random(QsNet *net);
extern void qs_queue_host_proven(QsNet *net, QsHost *host);
extern void qs_queue_wake_delayed(QsNet *net, int64_t now_ms);
extern QsCall *qs_queue_take_expired(QsNet *net, int64_t now_ms);
extern QsCall *qs_queue_take_unwanted(QsNet *net,
									  bool (*unwanted)(void *context, void *tag),
									  void *context);
extern bool qs_queue_has_ready(const QsNet *net);
extern int64_t qs_queue_next_ms(const QsNet *net);
extern void qs_queue_allow(QsNet *net);
extern void qs_queue_drop_all(QsNet *net);
extern void qs_queue_forget(QsNet *net);

/* transfer.c */
extern bool qs_transfer_start(QsNet *net, QsCall *call, int64_t now_ms);
extern QsTransfer *qs_transfer_of(CURL *easy);
extern void qs_transfer_release(QsTransfer *transfer);
extern void qs_transfer_free_all(QsNet *net);

/* outcome.c */
extern void qs_transfer_conclude(QsTransfer *transfer, CURLcode code);

#endif /* QS_NET_INTERNAL_H */
