/*-------------------------------------------------------------------------
 * byteplus_reply.c
 *		Tells an answer from an error, and says what kind of error it is.
 *
 * Errors come in three coats: the API's envelope (ResponseMetadata.Error, at
 * times with HTTP 200), the gateway's ({"HTTPCode", "errorcode", "message"})
 * and whatever a proxy writes.  Only the first two prove that the other side
 * understood the request and said no.
 *-------------------------------------------------------------------------
 */
#include "cloud/byteplus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a code says whatever the HTTP status is.  Compared as a prefix. */
typedef struct CodeRule
{
	const char *prefix;
	QsErrorClass class;
	bool		refused;		/* the request was certainly not carried out */
} CodeRule;

static const CodeRule code_rules[] = {
	{"FlowLimitExceeded", QS_ERROR_THROTTLED, true},
	{"Throttling", QS_ERROR_THROTTLED, true},
	{"RequestLimitExceeded", QS_ERROR_THROTTLED, true},
	{"TooManyRequests", QS_ERROR_THROTTLED, true},
	{"InvalidSecretToken", QS_ERROR_CREDENTIAL, true},
	{"ExpiredToken", QS_ERROR_CREDENTIAL, true},
	{"InvalidCredential", QS_ERROR_CREDENTIAL, true},
	{"InvalidAccessKey", QS_ERROR_CREDENTIAL, true},
	{"SignatureDoesNotMatch", QS_ERROR_CREDENTIAL, true},
	{"ServiceUnavailable", QS_ERROR_TRANSIENT, true},
	{"InternalService", QS_ERROR_TRANSIENT, false},
	{"InternalError", QS_ERROR_TRANSIENT, false},
	{"InternalServerError", QS_ERROR_TRANSIENT, false},
	{"ServiceTimeout", QS_ERROR_TRANSIENT, false},
	{"Invalid", QS_ERROR_TERMINAL, true},
	{"Missing", QS_ERROR_TERMINAL, true},
	{"NotFound", QS_ERROR_TERMINAL, true},
	{"ServiceNotFound", QS_ERROR_TERMINAL, true},
	{"AccessDenied", QS_ERROR_TERMINAL, true},
	{"LackPolicy", QS_ERROR_TERMINAL, true},
	{"MethodNotAllowed", QS_ERROR_TERMINAL, true},
	{"QuotaExceeded", QS_ERROR_TERMINAL, true},
	{"LimitExceeded", QS_ERROR_TERMINAL, true},
	{"OperationDenied", QS_ERROR_TERMINAL, true},
};

/* Codes that come as a number only (CodeN). */
static const struct
{
	int			number;
	const char *code;
}			code_numbers[] = {
	{100002, "MissingParameter"},
	{100003, "MissingAuthenticationToken"},
	{100004, "MissingRequestInfo"},
	{100005, "MissingSignature"},
	{100006, "InvalidTimestamp"},
	{100007, "ServiceNotFound"},
	{100008, "InvalidActionOrVersion"},
	{100009, "InvalidAccessKey"},
	{100010, "SignatureDoesNotMatch"},
	{100012, "LackPolicy"},
	{100013, "AccessDenied"},
	{100016, "InternalServiceTimeout"},
	{100018, "FlowLimitExceeded"},
	{100019, "ServiceUnavailableTemporarily"},
	{100020, "MethodNotAllowed"},
	{100023, "InternalServiceError"},
	{100025, "InvalidCredential"},
	{100026, "InvalidSecretToken"},
};

/* What an error reply says, before it is judged. */
typedef struct Complaint
{
	const char *code;			/* "" when there is none */
	const char *message;
	int			status;			/* of HTTP, or the one in the body */
	bool		well_formed;	/* the API or its gateway wrote it */
} Complaint;

static bool
has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static const char *
code_of_number(const json_t *number)
{
	int			n;

	if (qs_json_count(number, 1, 999999999, &n))
	{
		for (size_t i = 0;
			 i < sizeof(code_numbers) / sizeof(code_numbers[0]); i++)
		{
			if (code_numbers[i].number == n)
				return code_numbers[i].code;
		}
	}
	return "";
}

/* ResponseMetadata.Error: true if it is there, whatever it looks like. */
static bool
read_envelope(json_t *root, Complaint *complaint)
{
	json_t	   *metadata = json_object_get(root, "ResponseMetadata");
	json_t	   *problem = json_object_get(metadata, "Error");
	const char *text;

	if (problem == NULL || json_is_null(problem) ||
		(json_is_object(problem) && json_object_size(problem) == 0))
		return false;
	complaint->well_formed = json_is_object(problem);
	text = qs_json_text(json_object_get(problem, "Code"));
	complaint->code = text != NULL && text[0] != '\0' ? text :
		code_of_number(json_object_get(problem, "CodeN"));
	text = qs_json_text(json_object_get(problem, "Message"));
	complaint->message = text ? text : "";
	return true;
}

/* {"HTTPCode": 403, "errorcode": "AccessDenied", "message": "..."} */
static bool
read_gateway(json_t *root, Complaint *complaint)
{
	json_t	   *code = json_object_get(root, "errorcode");
	json_t	   *http = json_object_get(root, "HTTPCode");
	const char *text;
	int			status = 0;

	if ((code == NULL || json_is_null(code)) && http == NULL)
		return false;
	if (json_object_get(root, "ResponseMetadata") != NULL)
		return false;
	if (json_is_string(http))
		status = atoi(json_string_value(http));
	else
		(void) qs_json_count(http, 100, 599, &status);
	if (complaint->status < 300 && status >= 300 && status <= 599)
		complaint->status = status;
	text = qs_json_text(code);
	complaint->code = text ? text : code_of_number(code);
	text = qs_json_text(json_object_get(root, "message"));
	complaint->message = text ? text : "";
	complaint->well_formed = true;
	return true;
}

static void
set_complaint(const QsBytePlusCall *call, const QsHttpReply *reply,
			  const Complaint *complaint, const char *request_id,
			  QsError *error)
{
	QsErrorClass class = qs_answer_class_of_status(complaint->status);
	bool		refused = qs_answer_status_refuses(complaint->status);
	const char *code = complaint->code;
	const char *message = complaint->message;
	char		status_code[16];

	for (size_t i = 0; i < sizeof(code_rules) / sizeof(code_rules[0]); i++)
	{
		const CodeRule *rule = &code_rules[i];

		if (!has_prefix(complaint->code, rule->prefix))
			continue;
		/* a 5xx stays transient whatever its code is called */
		if (rule->class != QS_ERROR_TERMINAL || complaint->status < 500)
			class = rule->class;
		if (complaint->status < 400)
			refused = rule->refused;
		else
			refused = refused && rule->refused;
		break;
	}
	if (qs_answer_quotes_secret(&call->base, message))
		message = "(message withheld: it quotes a secret)";
	if (qs_answer_quotes_secret(&call->base, code))
		code = "withheld";
	if (request_id != NULL && qs_answer_quotes_secret(&call->base, request_id))
		request_id = NULL;
	snprintf(status_code, sizeof(status_code), "HTTP%d", complaint->status);

	qs_error_set(error, class, code[0] != '\0' ? code : status_code,
				 "%.160s%s%.48s%s",
				 message[0] != '\0' ? message : "no message",
				 request_id ? " (request " : "", request_id ? request_id : "",
				 request_id ? ")" : "");
	error->http_status = reply->status;
	error->retry_after_ms = reply->retry_after_ms;
	error->refused = complaint->well_formed && refused;
}

/*
 * A refusal because of the time can be mended at once if this call was signed
 * before the skew was known: signs it again, for the right time.
 *
 * A skew that the cloud refuses without showing a clock of its own may have
 * been a proxy's: it is forgotten, or nothing would ever correct it.
 */
static void
mend_time(QsArena *arena, QsBytePlusCall *call, const QsHttpReply *reply,
		  int64_t now_us, QsError *error)
{
	QsRegionMemory *memory = call->base.memory;
	QsError		ignored;
	bool		about_time;

	about_time = has_prefix(error->code, "InvalidTimestamp") ||
		(call->base.kind == QS_CALL_LOAD &&
		 has_prefix(error->code, "InvalidParameter"));
	if (error->class != QS_ERROR_TERMINAL || !about_time || memory == NULL)
		return;
	if (reply->date_epoch_s < 0 && has_prefix(error->code, "InvalidTimestamp"))
		memory->skew_s = 0;
	if (llabs(memory->skew_s - call->signed_skew_s) < 2)
		return;
	if (call->base.kind == QS_CALL_LOAD &&
		!qs_byteplus_load_body(arena, call, now_us, &ignored))
		return;
	if (qs_byteplus_sign(arena, call, now_us, &ignored))
		error->class = QS_ERROR_TRANSIENT;
}

json_t *
qs_byteplus_reply_open(QsArena *arena, QsBytePlusCall *call,
					   const QsHttpReply *reply, int64_t now_us,
					   QsError *error)
{
	Complaint	complaint = {.code = "", .message = "",
		.status = reply->status};
	bool		success = reply->status >= 200 && reply->status < 300;
	json_t	   *root;
	json_t	   *metadata;

	qs_error_clear(error);
	qs_answer_learn_skew(call->base.memory, reply, now_us);
	root = qs_answer_json(arena, reply);
	metadata = json_object_get(root, "ResponseMetadata");

	if (json_is_object(root) &&
		(read_envelope(root, &complaint) || read_gateway(root, &complaint)))
		success = false;
	else if (!success)
		complaint.message = root ? "reply without an error envelope" :
			"reply is not JSON";
	else if (!json_is_object(metadata))
	{
		qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
					 root == NULL ? "reply is not a complete JSON document"
					 : "reply has no ResponseMetadata");
		error->http_status = reply->status;
		json_decref(root);
		return NULL;
	}
	if (success)
		return root;

	set_complaint(call, reply, &complaint,
				  qs_json_text(json_object_get(metadata, "RequestId")),
				  error);
	json_decref(root);
	mend_time(arena, call, reply, now_us, error);
	return NULL;
}

json_t *
qs_byteplus_result(json_t *root, QsError *error)
{
	json_t	   *result = json_object_get(root, "Result");

	if (!json_is_object(result))
	{
		qs_error_set(error, QS_ERROR_MALFORMED, "malformed_reply",
					 "reply has no Result");
		return NULL;
	}
	return result;
}

/* "ScalingGroupNotFound", "InvalidId.NotExist": each product has its own. */
static bool
says_not_found(const char *code)
{
	return (strstr(code, "NotFound") != NULL ||
			strstr(code, "NotExist") != NULL) &&
		!has_prefix(code, "ServiceNotFound");
}

/* A complaint about time or period concerns the whole request. */
bool
qs_byteplus_blames_an_id(const QsError *error)
{
	if (error->class != QS_ERROR_TERMINAL || error->http_status == 401 ||
		error->http_status == 403)
		return false;
	if (!has_prefix(error->code, "InvalidParameter") &&
		!has_prefix(error->code, "InvalidInstance") &&
		!has_prefix(error->code, "InvalidResource") &&
		!has_prefix(error->code, "InvalidScalingGroup") &&
		!says_not_found(error->code))
		return false;
	return strstr(error->code, "Time") == NULL &&
		strstr(error->code, "Period") == NULL &&
		strstr(error->code, "Metric") == NULL &&
		strstr(error->code, "Namespace") == NULL;
}
