/*-------------------------------------------------------------------------
 * aws_reply.c
 *		Tells an answer from an error, and says what kind of error it is.
 *
 * The Query protocol writes errors as XML, CloudWatch as JSON with "__type";
 * most throttling comes with HTTP 400, and a ValidationError may mean a name
 * that does not exist or a number outside the limits: only its message tells.
 *-------------------------------------------------------------------------
 */
#include "cloud/aws.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/xml_reader.h"

/* What a code says whatever the HTTP status is. */
typedef struct CodeRule
{
	const char *code;
	QsErrorClass class;
	bool		refused;		/* the request was certainly not carried out */
} CodeRule;

/*
 * Throttling, and credentials that a fresh set may replace, as AWS' own SDKs
 * sort them.  ResourceContention (HTTP 500) says that another update of the
 * group is pending and that this one was not taken.
 */
static const CodeRule code_rules[] = {
	{"Throttling", QS_ERROR_THROTTLED, true},
	{"ThrottlingException", QS_ERROR_THROTTLED, true},
	{"ThrottledException", QS_ERROR_THROTTLED, true},
	{"RequestThrottledException", QS_ERROR_THROTTLED, true},
	{"RequestThrottled", QS_ERROR_THROTTLED, true},
	{"TooManyRequestsException", QS_ERROR_THROTTLED, true},
	{"ProvisionedThroughputExceededException", QS_ERROR_THROTTLED, true},
	{"TransactionInProgressException", QS_ERROR_THROTTLED, true},
	{"RequestLimitExceeded", QS_ERROR_THROTTLED, true},
	{"BandwidthLimitExceeded", QS_ERROR_THROTTLED, true},
	{"LimitExceededException", QS_ERROR_THROTTLED, true},
	{"SlowDown", QS_ERROR_THROTTLED, true},
	{"PriorRequestNotComplete", QS_ERROR_THROTTLED, true},
	{"EC2ThrottledException", QS_ERROR_THROTTLED, true},
	{"ResourceContention", QS_ERROR_THROTTLED, true},
	{"ExpiredToken", QS_ERROR_CREDENTIAL, true},
	{"ExpiredTokenException", QS_ERROR_CREDENTIAL, true},
	{"InvalidClientTokenId", QS_ERROR_CREDENTIAL, true},
	{"UnrecognizedClientException", QS_ERROR_CREDENTIAL, true},
	{"RequestTimeout", QS_ERROR_TRANSIENT, false},
	{"RequestTimeoutException", QS_ERROR_TRANSIENT, false},
	{"ScalingActivityInProgress", QS_ERROR_TRANSIENT, true},
	{"InternalFailure", QS_ERROR_TRANSIENT, false},
	{"InternalError", QS_ERROR_TRANSIENT, false},
	{"ServiceUnavailable", QS_ERROR_TRANSIENT, true},
};

typedef struct Complaint
{
	char		code[64];
	char		message[512];
	char		request_id[64];
	bool		well_formed;	/* the API wrote it */
} Complaint;

bool
qs_aws_count(const char *text, int *out)
{
	char	   *end;
	long		value;

	if (text == NULL || text[0] < '0' || text[0] > '9')
		return false;
	value = strtol(text, &end, 10);
	if (*end != '\0' || value > QS_MAX_INSTANCES)
		return false;
	*out = (int) value;
	return true;
}

static bool
read_xml_field(void *context, const char *path, const char *text)
{
	Complaint  *complaint = context;

	if (text == NULL)
		return true;
	/* <Response><Errors><Error>, as EC2 has it, and what imitates it */
	if (strncmp(path, "Errors/", 7) == 0)
		path += 7;
	if (strcmp(path, "Error/Code") == 0)
	{
		complaint->well_formed = true;
		snprintf(complaint->code, sizeof(complaint->code), "%s", text);
	}
	else if (strcmp(path, "Error/Message") == 0)
		snprintf(complaint->message, sizeof(complaint->message), "%s", text);
	else if (strcmp(path, "RequestId") == 0 ||
			 strcmp(path, "RequestID") == 0)
		snprintf(complaint->request_id, sizeof(complaint->request_id), "%s",
				 text);
	return true;
}

/* <ErrorResponse><Error><Code/><Message/></Error><RequestId/> */
static void
read_xml(const QsHttpReply *reply, Complaint *complaint)
{
	QsXmlVisitor visitor = {.context = complaint, .end = read_xml_field};
	QsError		ignored;

	if (!qs_xml_walk(reply->body, reply->body_length, "ErrorResponse", "",
					 &visitor, &ignored) && !complaint->well_formed)
		(void) qs_xml_walk(reply->body, reply->body_length, "Response", "",
						   &visitor, &ignored);
}

/*
 * {"__type": "GraniteServiceVersion20100801#Code:more", "message": "..."},
 * where a gateway or an imitation may say "code" and "Message".
 */
static void
read_json(QsArena *arena, const QsHttpReply *reply, Complaint *complaint)
{
	json_t	   *root = qs_answer_json(arena, reply);
	const char *type = qs_json_text(json_object_get(root, "__type"));
	const char *message = qs_json_text(json_object_get(root, "message"));
	const char *mark;

	if (type == NULL)
		type = qs_json_text(json_object_get(root, "code"));
	if (message == NULL)
		message = qs_json_text(json_object_get(root, "Message"));
	if (type != NULL)
	{
		mark = strrchr(type, '#');
		snprintf(complaint->code, sizeof(complaint->code), "%s",
				 mark != NULL ? mark + 1 : type);
		complaint->code[strcspn(complaint->code, ":")] = '\0';
		complaint->well_formed = true;
	}
	if (message != NULL)
		snprintf(complaint->message, sizeof(complaint->message), "%s",
				 message);
	json_decref(root);
}

/* A ValidationError in words of our own, so that it can be told apart. */
static const char *
sharper_code(const Complaint *complaint)
{
	if (strcmp(complaint->code, "ValidationError") != 0 &&
		strcmp(complaint->code, "ValidationException") != 0)
		return complaint->code;
	if (strstr(complaint->message, "not found") != NULL)
		return "NotFound";
	if (strstr(complaint->message, "above max value") != NULL)
		return "AboveMaximum";
	if (strstr(complaint->message, "below min value") != NULL)
		return "BelowMinimum";
	return complaint->code;
}

/*
 * "User: ARN is not authorized to perform: ACTION ...": the action comes
 * first, because an ARN may be so long that nothing else would be left.
 */
static const char *
readable_message(const Complaint *complaint, char *buffer, size_t size)
{
	static const char refusal[] = " is not authorized to perform: ";
	const char *at = strstr(complaint->message, refusal);
	int			who;

	if (at == NULL)
		return complaint->message;
	who = (int) (at - complaint->message);
	snprintf(buffer, size, "not authorized to perform: %.64s (%.*s)",
			 at + strlen(refusal), who < 64 ? who : 64, complaint->message);
	return buffer;
}

static void
set_complaint(const QsAwsCall *call, const QsHttpReply *reply,
			  const Complaint *complaint, QsError *error)
{
	QsErrorClass class = qs_answer_class_of_status(reply->status);
	bool		refused = qs_answer_status_refuses(reply->status);
	const char *code = sharper_code(complaint);
	char		sentence[192];
	const char *message = readable_message(complaint, sentence,
										   sizeof(sentence));
	const char *request_id = complaint->request_id;
	char		status_code[16];

	if (reply->status == 509)
		class = QS_ERROR_THROTTLED;
	for (size_t i = 0; i < sizeof(code_rules) / sizeof(code_rules[0]); i++)
	{
		if (strcmp(code_rules[i].code, complaint->code) != 0)
			continue;
		class = code_rules[i].class;
		refused = code_rules[i].refused;
		break;
	}
	if (qs_answer_quotes_secret(&call->base, complaint->message))
		message = "(message withheld: it quotes a secret)";
	if (qs_answer_quotes_secret(&call->base, code))
		code = "withheld";
	if (qs_answer_quotes_secret(&call->base, request_id))
		request_id = "";
	snprintf(status_code, sizeof(status_code), "HTTP%d", reply->status);
	qs_error_set(error, class, code[0] != '\0' ? code : status_code,
				 "%.160s%s%.48s%s",
				 message[0] != '\0' ? message : "no message",
				 request_id[0] != '\0' ? " (request " : "", request_id,
				 request_id[0] != '\0' ? ")" : "");
	error->http_status = reply->status;
	error->retry_after_ms = reply->retry_after_ms;
	error->refused = complaint->well_formed && refused;
}

/*
 * A refusal because of the time can be mended at once if this call was signed
 * before the skew was known: signs it again, for the right time.
 */
static void
mend_time(QsArena *arena, QsAwsCall *call, const Complaint *complaint,
		  int64_t now_us, QsError *error)
{
	QsRegionMemory *memory = call->base.memory;
	QsError		ignored;

	if (strcmp(complaint->code, "RequestExpired") != 0 &&
		strcmp(complaint->code, "RequestTimeTooSkewed") != 0 &&
		strstr(complaint->message, "Signature expired") == NULL &&
		strstr(complaint->message, "not yet current") == NULL)
		return;
	if (memory == NULL || llabs(memory->skew_s - call->signed_skew_s) < 2)
		return;
	if (call->base.kind == QS_CALL_LOAD &&
		!qs_aws_load_body(arena, call, now_us, &ignored))
		return;
	if (call->base.kind == QS_CALL_SIGNAL &&
		!qs_aws_signal_body(arena, call, now_us, &ignored))
		return;
	if (qs_aws_sign(arena, call, now_us, &ignored))
		error->class = QS_ERROR_TRANSIENT;
}

bool
qs_aws_accepted(QsArena *arena, QsAwsCall *call, const QsHttpReply *reply,
				int64_t now_us, QsError *error)
{
	Complaint	complaint = {.code = ""};

	qs_error_clear(error);
	qs_answer_learn_skew(call->base.memory, reply, now_us);
	if (reply->status >= 200 && reply->status < 300)
		return true;
	if (qs_aws_is_monitor(call))
		read_json(arena, reply, &complaint);
	if (!complaint.well_formed)
		read_xml(reply, &complaint);
	if (!complaint.well_formed && !qs_aws_is_monitor(call))
		read_json(arena, reply, &complaint);
	if (!complaint.well_formed && complaint.message[0] == '\0')
		snprintf(complaint.message, sizeof(complaint.message),
				 "the reply is not an error of the API");
	set_complaint(call, reply, &complaint, error);
	mend_time(arena, call, &complaint, now_us, error);
	return false;
}
