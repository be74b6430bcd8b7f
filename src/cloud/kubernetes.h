/*-------------------------------------------------------------------------
 * kubernetes.h
 *		What the files kubernetes*.c share.  Nobody else includes it.
 *
 * Wire facts: the API conventions of Kubernetes, autoscaling/v1 Scale,
 * apps/v1, autoscaling/v1, core/v1 and metrics.k8s.io/v1beta1, and what
 * kube-apiserver does where they leave something open.
 *-------------------------------------------------------------------------
 */
#ifndef QS_KUBERNETES_H
#define QS_KUBERNETES_H

#include "cloud/answer.h"
#include "cloud/id_index.h"
#include "cloud/provider.h"
#include "cloud/selector.h"

/*
 * From so many scaled objects of one kind in one namespace they are listed,
 * where fewer are asked for one by one.  An answer has the same size per
 * object either way, but a list also has all those that are not ours: two
 * single requests cost less than a namespace.
 */
#define QS_KUBERNETES_LIST_FROM		3

/*
 * Objects of one page.  kubectl takes 500; with half of that a page stays
 * within the reply's size limit while its objects have 64 kB on average.
 */
#define QS_KUBERNETES_PAGE			"250"
#define QS_KUBERNETES_PAGE_OBJECTS	250
#define QS_KUBERNETES_MOST_PAGES	200

/* A kind of object that can be scaled; see QsTarget.kind. */
typedef struct QsKubernetesKind
{
	const char *kind;			/* "Deployment"; NULL: not known */
	const char *plural;
	const char *version;
	const char *group;
} QsKubernetesKind;

/* What QsTarget.provided points to. */
typedef struct QsKubernetesTarget
{
	QsKubernetesKind kind;
	const char *namespace;
	const char *name;
	const char *collection;		/* path of all objects of the kind here */

	/* of the last answer */
	char		resource_version[32];	/* "" = not known */
	QsSelector	selector;		/* of its pods; empty = not known */
	int			replicas;		/* that exist, QS_UNKNOWN */
} QsKubernetesTarget;

struct QsKubernetesPods;		/* kubernetes_pods.c */

typedef enum QsKubernetesQuestion
{
	QS_KUBERNETES_OBJECT,		/* one object of a built-in kind */
	QS_KUBERNETES_LIST,			/* all of a namespace */
	QS_KUBERNETES_SCALE,		/* the scale of another kind's object */
	QS_KUBERNETES_WRITE,		/* its change */
	QS_KUBERNETES_TRIAL,		/* a change that is not carried out */
	QS_KUBERNETES_AUTOSCALERS,
	QS_KUBERNETES_READY_PODS,	/* counted only */
	QS_KUBERNETES_PODS,
	QS_KUBERNETES_USAGE
} QsKubernetesQuestion;

typedef struct QsKubernetesCall
{
	QsCall		base;			/* first: a QsCall is cast to this */
	QsKubernetesQuestion question;
	const char *path;			/* without the page's token */
	int			pages;			/* of this list before this call */
	bool		listed_anew;	/* its token had expired once */
	QsIdIndex	wanted;			/* LIST: by asg_id */
	int			ready;			/* READY_PODS: of earlier pages */
	struct QsKubernetesPods *pods;	/* PODS, USAGE */
} QsKubernetesCall;

static inline QsKubernetesCall *
qs_kubernetes_call(QsCall *call)
{
	return (QsKubernetesCall *) call;
}

static inline QsKubernetesTarget *
qs_kubernetes_provided(const QsTarget *target)
{
	return target->provided;
}

/* kubernetes.c */
extern bool qs_kubernetes_no_memory(QsError *error);

/* Reads kind and asg_id into target->provided; false with the reason. */
extern bool qs_kubernetes_recognise(QsArena *arena, QsTarget *target,
									QsError *error);

/* A GET of path, which begins with "/"; NULL with error set. */
extern QsKubernetesCall *qs_kubernetes_get(QsArena *arena,
										   const QsBatch *batch,
										   QsCallKind kind,
										   QsKubernetesQuestion question,
										   const char *path,
										   QsTarget **targets, int n_targets,
										   QsError *error);

/*
 * Where a reply's metadata has a token for a further page, the call for it,
 * added to follow_up with *next pointing to it; NULL for the last page.
 * false: out of memory, or more pages than there can be.
 */
extern bool qs_kubernetes_next_page(QsArena *arena, QsKubernetesCall *call,
									const json_t *root, QsCallList *follow_up,
									QsKubernetesCall **next, QsError *error);

/* The list from its beginning, where its token has expired meanwhile: false
 * if that is not what happened. */
extern bool qs_kubernetes_list_anew(QsArena *arena, QsKubernetesCall *call,
									const QsHttpReply *reply,
									QsCallList *follow_up,
									QsKubernetesCall **first, QsError *error);
extern bool qs_kubernetes_hand_on(QsArena *arena, QsCallList *list,
								  QsKubernetesCall *call, QsError *error);

/* Targets of a call one by one. */
extern QsTarget **qs_kubernetes_alone(QsArena *arena, QsTarget *target);

/* kubernetes_reply.c */

/* The document of an answer, which the caller decrefs; NULL with error set. */
extern json_t *qs_kubernetes_read(QsArena *arena,
								  const QsKubernetesCall *call,
								  const QsHttpReply *reply, QsError *error);

/* A member of members, NULL where one is missing; keys end with NULL. */
extern json_t *qs_kubernetes_member(const json_t *object,...)
			__attribute__((sentinel));

/* A count of replicas: absent is otherwise, an absurd one false. */
extern bool qs_kubernetes_count(const json_t *value, int absent, int *out);
extern bool qs_kubernetes_malformed(const char *what, QsError *error);

/* kubernetes_objects.c */
extern bool qs_kubernetes_ask_objects(QsArena *arena, const QsBatch *batch,
									  QsCallKind kind, QsTarget **targets,
									  int n_targets, QsCallList *calls,
									  QsError *error);
extern bool qs_kubernetes_parse_object(QsArena *arena, QsKubernetesCall *call,
									   const QsHttpReply *reply,
									   QsCallList *follow_up, QsError *error);

/* kubernetes_actions.c */
extern QsCall *qs_kubernetes_ask_in_service(QsArena *arena,
											const QsBatch *batch,
											QsTarget *target, int64_t now_us,
											QsError *error);
extern QsCall *qs_kubernetes_ask_activities(QsArena *arena,
											const QsBatch *batch,
											QsTarget *target, int64_t now_us,
											QsError *error);
extern QsCall *qs_kubernetes_set_capacity(QsArena *arena,
										  const QsBatch *batch,
										  QsTarget *target, int desired,
										  int64_t now_us, QsError *error);
extern QsCall *qs_kubernetes_try_write(QsArena *arena, const QsBatch *batch,
									   QsTarget *target, int64_t now_us,
									   QsError *error);
extern bool qs_kubernetes_parse_trial(QsArena *arena, QsKubernetesCall *call,
									  const QsHttpReply *reply,
									  QsError *error);
extern bool qs_kubernetes_parse_ready_pods(QsArena *arena,
										   QsKubernetesCall *call,
										   const QsHttpReply *reply,
										   QsCallList *follow_up,
										   QsError *error);
extern bool qs_kubernetes_parse_autoscalers(QsArena *arena,
											QsKubernetesCall *call,
											const QsHttpReply *reply,
											QsCallList *follow_up,
											QsError *error);
extern bool qs_kubernetes_parse_write(QsArena *arena, QsKubernetesCall *call,
									  const QsHttpReply *reply,
									  QsError *error);

/* kubernetes_pods.c */

/* Calls for the pods of targets whose selectors are known: of the one that
 * selector is, or NULL for all of the namespace. */
extern bool qs_kubernetes_ask_pods(QsArena *arena, const QsBatch *batch,
								   QsTarget **targets, int n_targets,
								   const QsSelector *selector,
								   QsCallList *calls, QsError *error);
extern bool qs_kubernetes_parse_pods(QsArena *arena, QsKubernetesCall *call,
									 const QsHttpReply *reply,
									 QsCallList *follow_up, QsError *error);
extern bool qs_kubernetes_pod_is_ready(const json_t *pod);

#endif							/* QS_KUBERNETES_H */
