/*-------------------------------------------------------------------------
 * kubernetes_reply.c
 *		Tells an answer of an API server from an error, and says what kind of
 *		error it is.
 *
 * An error is an object "Status"; but what stands before the API server (its
 * priority and fairness, a proxy) answers in plain text, and then the HTTP
 * status is all that is known.
 *-------------------------------------------------------------------------
 */
#include "cloud/kubernetes.h"

#include <stdio.h>
#include <string.h>

#define LONGEST_PAUSE_S		3600

typedef struct Complaint
{
	char		reason[64];
	char		message[512];
	int			retry_after_s;	/* 0 = not said */
	bool		well_formed;	/* the API server wrote it */
} Complaint;

json_t *
qs_kubernetes_member(const json_t *object,...)
{
	va_list		keys;
	const char *key;

	va_start(keys, object);
	while (object != NULL && (key = va_arg(keys, const char *)) != NULL)
		object = json_object_get(object, key);
	va_end(keys);
	return (json_t *) object;
}

bool
qs_kubernetes_count(const json_t *value, int absent, int *out)
{
	if (value == NULL || json_is_null(value))
	{
		*out = absent;
		return true;
	}
	return qs_json_count(value, 0, QS_MAX_INSTANCES, out);
}

bool
qs_kubernetes_malformed(const char *what, QsError *error)
{
	return qs_error_set(error, QS_ERROR_MALFORMED, "malformed", "%s", what);
}

/* The first line of a text that is no Status. */
static void
read_text(const QsHttpReply *reply, Complaint *complaint)
{
	const char *body = reply->body == NULL ? "" : reply->body;
	size_t		length = strcspn(body, "\r\n");

	if (length >= sizeof(complaint->message))
		length = sizeof(complaint->message) - 1;
	memcpy(complaint->message, body, length);
	complaint->message[length] = '\0';
}

static void
read_status(QsArena *arena, const QsHttpReply *reply, Complaint *complaint)
{
	json_t	   *root = qs_answer_json(arena, reply);
	const char *reason = qs_json_text(json_object_get(root, "reason"));
	const char *message = qs_json_text(json_object_get(root, "message"));

	memset(complaint, 0, sizeof(*complaint));
	if (qs_json_equals(json_object_get(root, "kind"), "Status"))
	{
		complaint->well_formed = true;
		snprintf(complaint->reason, sizeof(complaint->reason), "%s",
				 reason == NULL ? "" : reason);
		snprintf(complaint->message, sizeof(complaint->message), "%s",
				 message == NULL ? "" : message);
		(void) qs_json_count(qs_kubernetes_member(root, "details",
												  "retryAfterSeconds", NULL),
							 0, LONGEST_PAUSE_S, &complaint->retry_after_s);
	}
	else
		read_text(reply, complaint);
	json_decref(root);
}

/* What a role must allow for the call, in the words of a manifest. */
typedef struct Rule
{
	const char *group;
	const char *resource;
	const char *verb;
} Rule;

static Rule
rule_of(QsArena *arena, const QsKubernetesCall *call)
{
	const QsKubernetesTarget *target =
		qs_kubernetes_provided(call->base.targets[0]);
	const char *plural = target != NULL ? target->kind.plural : "";
	const char *group = target != NULL ? target->kind.group : "";
	const char *scale = qs_arena_printf(arena, "%s/scale", plural);

	switch (call->question)
	{
		case QS_KUBERNETES_OBJECT:
			return (Rule) {group, plural, "get"};
		case QS_KUBERNETES_LIST:
			return (Rule) {group, plural, "list"};
		case QS_KUBERNETES_SCALE:
			return (Rule) {group, scale != NULL ? scale : plural, "get"};
		case QS_KUBERNETES_WRITE:
		case QS_KUBERNETES_TRIAL:
			return (Rule) {group, scale != NULL ? scale : plural, "patch"};
		case QS_KUBERNETES_AUTOSCALERS:
			return (Rule) {"autoscaling", "horizontalpodautoscalers", "list"};
		case QS_KUBERNETES_READY_PODS:
		case QS_KUBERNETES_PODS:
			return (Rule) {"", "pods", "list"};
		case QS_KUBERNETES_USAGE:
			return (Rule) {"metrics.k8s.io", "pods", "list"};
	}
	return (Rule) {"", "", ""};
}

/*
 * A role that lacks something is told what, so that nobody has to guess from
 * "forbidden".  Admission and quotas refuse with the same reason; their words
 * do not say that the user "cannot" do something to a "resource".
 */
static bool
forbidden(QsArena *arena, const QsKubernetesCall *call,
		  const Complaint *complaint, QsError *error)
{
	const QsKubernetesTarget *target =
		qs_kubernetes_provided(call->base.targets[0]);
	Rule		rule = rule_of(arena, call);

	if (complaint->message[0] != '\0' &&
		(strstr(complaint->message, " cannot ") == NULL ||
		 strstr(complaint->message, " resource ") == NULL))
		return qs_error_set(error, QS_ERROR_TERMINAL, "Forbidden", "%s",
							complaint->message);
	return qs_error_set(error, QS_ERROR_TERMINAL, "Forbidden",
						"the role needs, in namespace %.63s: apiGroups "
						"[\"%s\"], resources [\"%s\"], verbs [\"%s\"]",
						target != NULL ? target->namespace : "", rule.group,
						rule.resource, rule.verb);
}

static QsErrorClass
class_of_status(int status)
{
	if (status == 401)
		return QS_ERROR_CREDENTIAL;
	if (status == 409)
		return QS_ERROR_CONFLICT;
	return qs_answer_class_of_status(status);
}

static bool
refuse(QsArena *arena, const QsKubernetesCall *call, const QsHttpReply *reply,
	   QsError *error)
{
	Complaint	complaint;
	bool		api = call->question == QS_KUBERNETES_USAGE;

	read_status(arena, reply, &complaint);
	if (qs_answer_quotes_secret(&call->base, complaint.message) ||
		qs_answer_quotes_secret(&call->base, complaint.reason))
		memset(&complaint, 0, sizeof(complaint));
	if (complaint.reason[0] == '\0')
		snprintf(complaint.reason, sizeof(complaint.reason), "HTTP %d",
				 reply->status);
	if (reply->status == 403 &&
		strstr(complaint.message, "User \"system:anonymous\"") != NULL)
		(void) qs_error_set(error, QS_ERROR_CREDENTIAL, "Unauthorized",
							"the API server takes us for system:anonymous: it "
							"knows neither a token nor a certificate of ours");
	else if (reply->status == 403)
		(void) forbidden(arena, call, &complaint, error);
	else if (api && reply->status == 404)
		(void) qs_error_set(error, QS_ERROR_TERMINAL, "NoMetrics",
							"the cluster serves no metrics.k8s.io: install "
							"metrics-server");
	else
		(void) qs_error_set(error, class_of_status(reply->status),
							complaint.reason, "%s",
							complaint.message[0] != '\0' ? complaint.message :
							"the API server said no more");
	error->http_status = reply->status;

	/* a proxy may say 503 of a request that it had passed on */
	error->refused = qs_answer_status_refuses(reply->status) &&
		(reply->status != 503 || complaint.well_formed);
	error->retry_after_ms = reply->retry_after_ms >= 0 ||
		complaint.retry_after_s == 0 ? reply->retry_after_ms :
		complaint.retry_after_s * INT64_C(1000);
	return false;
}

json_t *
qs_kubernetes_read(QsArena *arena, const QsKubernetesCall *call,
				   const QsHttpReply *reply, QsError *error)
{
	json_t	   *root;

	if (reply->status < 200 || reply->status > 299)
	{
		(void) refuse(arena, call, reply, error);
		return NULL;
	}
	root = qs_answer_json(arena, reply);
	if (json_is_object(root))
		return root;
	json_decref(root);
	(void) qs_kubernetes_malformed("the reply is not a JSON object", error);
	return NULL;
}
