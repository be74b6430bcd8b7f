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

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A Date header further off than this is broken, not the time. */
#define MAX_SKEW_S	(30 * 86400)

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
	{"SignatureDoesNotMatch", QS_ERROR_TERMINAL, true},
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

const char *
qs_json_text(const json_t *value)
{
	const char *text = json_string_value(value);

	if (text == NULL || strlen(text) != json_string_length(value))
		return NULL;
	return text;
}

bool
qs_json_equals(const json_t *value, const char *text)
{
	const char *s = qs_json_text(value);

	return s != NULL && strcasecmp(s, text) == 0;
}

bool
qs_json_count(const json_t *value, int low, int high, int *out)
{
	if (json_is_integer(value))
	{
		json_int_t	n = json_integer_value(value);

		if (n < low || n > high)
			return false;
		*out = (int) n;
		return true;
	}
	if (json_is_real(value))
	{
		double		d = json_real_value(value);

		/* the comparison is false for NaN */
		if (!(d >= low && d <= high) || d != floor(d))
			return false;
		*out = (int) d;
		return true;
	}
	return false;
}

static bool
has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/*
 * The cloud's clock minus ours, from the Date header, which has whole
 * seconds: a difference below 2 s is the rounding and the way of the reply.
 */
static void
learn_skew(QsRegionMemory *memory, const QsHttpReply *reply, int64_t now_us)
{
	int64_t		difference;

	if (memory == NULL || reply->date_epoch_s < 0)
		return;
	difference = reply->date_epoch_s - now_us / 1000000;
	if (llabs(difference) > MAX_SKEW_S)
		return;
	memory->skew_s = llabs(difference) >= 2 ? difference : 0;
}

/* How long the word or number is that starts here; 0 for anything else. */
static size_t
token_length(const char *text, size_t length)
{
	size_t		n = 0;

	while (n < length && (isalnum((unsigned char) text[n]) ||
						  text[n] == '+' || text[n] == '-' || text[n] == '.'))
		n++;
	return n;
}

/* NaN and infinities as several libraries write them, and 1e999. */
static bool
is_no_double(const char *token, size_t n)
{
	static const char *const words[] = {"NaN", "-NaN", "nan", "Infinity",
	"-Infinity", "inf", "-inf"};
	char		number[64];

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i]) == n && memcmp(words[i], token, n) == 0)
			return true;
	if (n >= sizeof(number) ||
		!(isdigit((unsigned char) token[0]) || token[0] == '-'))
		return false;
	memcpy(number, token, n);
	number[n] = '\0';
	return isinf(strtod(number, NULL));
}

/*
 * A copy in which values that are no double read null, blanks filling what is
 * left of them: one broken series must not cost the other 49 of its reply.
 */
static char *
without_broken_numbers(QsArena *arena, const QsHttpReply *reply)
{
	size_t		length = reply->body_length;
	char	   *copy = qs_arena_strndup(arena, reply->body, length);
	bool		in_string = false;

	if (copy == NULL || memchr(reply->body, '\0', length) != NULL)
		return NULL;
	for (size_t i = 0; i < length; i++)
	{
		size_t		n;

		if (in_string && copy[i] == '\\')
			i++;
		else if (copy[i] == '"')
			in_string = !in_string;
		else if (!in_string &&
				 (n = token_length(copy + i, length - i)) > 0)
		{
			if (n >= 3 && is_no_double(copy + i, n))
			{
				/* where null does not fit, another thing that is no number */
				memset(copy + i, ' ', n);
				memcpy(copy + i, n >= 4 ? "null" : "[ ]", n >= 4 ? 4 : 3);
			}
			i += n - 1;
		}
	}
	return copy;
}

/*
 * A complete document or NULL.  jansson refuses bytes that are not UTF-8 and
 * more than 2,048 levels.  A number that no integer or double holds would cost
 * the whole reply, so such a document is read again: with all integers as
 * doubles, then without what is no double either.  Only the group that the
 * number belongs to is lost.
 */
static json_t *
load_document(QsArena *arena, const QsHttpReply *reply)
{
	json_error_t problem;
	json_t	   *root;
	char	   *copy;

	if (reply->body == NULL || reply->body_length == 0)
		return NULL;
	root = json_loadb(reply->body, reply->body_length, JSON_ALLOW_NUL,
					  &problem);
	if (root == NULL && json_error_code(&problem) ==
		json_error_numeric_overflow)
		root = json_loadb(reply->body, reply->body_length,
						  JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &problem);
	if (root == NULL &&
		(json_error_code(&problem) == json_error_numeric_overflow ||
		 json_error_code(&problem) == json_error_invalid_syntax) &&
		(copy = without_broken_numbers(arena, reply)) != NULL)
		root = json_loadb(copy, reply->body_length,
						  JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &problem);
	return root;
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

static QsErrorClass
class_of_status(int status)
{
	if (status == 429)
		return QS_ERROR_THROTTLED;
	if (status == 408 || (status >= 500 && status != 501))
		return QS_ERROR_TRANSIENT;
	return QS_ERROR_TERMINAL;
}

/* Said by the status alone; 5xx but 503 may have been carried out. */
static bool
status_refuses(int status)
{
	return (status >= 400 && status < 500 && status != 408) || status == 503;
}

/*
 * A text that quotes a secret (SignatureDoesNotMatch may quote what was signed)
 * is not passed on.  The beginning is enough to recognise one.
 */
static bool
quotes(const char *text, const char *secret)
{
	char		start[17];

	if (secret[0] == '\0')
		return false;
	memcpy(start, secret, strnlen(secret, sizeof(start) - 1));
	start[strnlen(secret, sizeof(start) - 1)] = '\0';
	return strstr(text, start) != NULL;
}

bool
qs_byteplus_quotes_secret(const QsBytePlusCall *call, const char *text)
{
	const QsCredentials *credentials = &call->base.account->credentials;

	return quotes(text, credentials->secret_access_key) ||
		quotes(text, credentials->session_token);
}

static void
set_complaint(const QsBytePlusCall *call, const QsHttpReply *reply,
			  const Complaint *complaint, const char *request_id,
			  QsError *error)
{
	QsErrorClass class = class_of_status(complaint->status);
	bool		refused = status_refuses(complaint->status);
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
	if (qs_byteplus_quotes_secret(call, message))
		message = "(message withheld: it quotes a secret)";
	if (qs_byteplus_quotes_secret(call, code))
		code = "withheld";
	if (request_id != NULL && qs_byteplus_quotes_secret(call, request_id))
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
	learn_skew(call->base.memory, reply, now_us);
	root = load_document(arena, reply);
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
