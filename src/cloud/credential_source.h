/*-------------------------------------------------------------------------
 * credential_source.h
 *		Where temporary credentials come from, without ever opening a socket.
 *
 * A source is a small state machine: start() makes the first request, and
 * each reply leads to a further request, to credentials, or to an error.  The
 * caller carries requests and owns time-outs, retries, caching and the order
 * of sources.  Everything lives in the QsCredentialFetch: nothing is
 * allocated that outlives a call, and one call overwrites all of it.
 *
 * A message here never holds what a reply said but its HTTP status and an
 * error code: replies and requests of these services are secrets.
 *-------------------------------------------------------------------------
 */
#ifndef QS_CREDENTIAL_SOURCE_H
#define QS_CREDENTIAL_SOURCE_H

#include "cloud/account.h"
#include "core/http_message.h"

#define QS_CREDENTIAL_TOKEN_MAX		16384	/* of an OIDC token, with its NUL */
#define QS_CREDENTIAL_ROLE_MAX		128
#define QS_CREDENTIAL_HEADER_MAX	8192	/* of all headers' values */
#define QS_CREDENTIAL_URL_MAX		1024
#define QS_CREDENTIAL_BODY_MAX		(QS_CREDENTIAL_TOKEN_MAX + 8192)

/* Longest that credentials are trusted without asking again; clouds give at
 * most 12 hours, a broken clock of theirs may give centuries. */
#define QS_CREDENTIAL_LONGEST_US	(INT64_C(24) * 3600 * 1000000)

/* Where a service that outlasts_expiry gives credentials that end sooner than
 * the first, or have ended, they are asked for again after the second. */
#define QS_CREDENTIAL_NEAR_US		(INT64_C(10) * 60 * 1000000)
#define QS_CREDENTIAL_EXTENDED_US	(INT64_C(15) * 60 * 1000000)

/* What a source is told; NULL or "" where it has a default or needs none.
 * Must stay valid until the fetch has ended. */
typedef struct QsCredentialConfig
{
	const char *endpoint;		/* "https://host[:port]"; of containers the
								 * whole URL */
	const char *role;			/* name or resource name of the role */
	const char *session_name;
	const char *external_id;
	const char *policy;
	const char *token;			/* contents of the token file */
	const char *region;			/* whose security token service is asked */
	bool		dual_stack;		/* by its host that has IPv6 addresses too */
	const QsCredentials *base;	/* that assume the role */
	int64_t		now_us;			/* for the signature of the first request */
} QsCredentialConfig;

typedef enum QsCredentialStep
{
	QS_CREDENTIAL_FAILED,		/* see the error */
	QS_CREDENTIAL_ASK,			/* send fetch->request, bring the reply */
	QS_CREDENTIAL_DONE			/* credentials and expires_at_us are there */
} QsCredentialStep;

struct QsCredentialSource;

typedef struct QsCredentialFetch
{
	const struct QsCredentialSource *source;
	QsCredentialConfig config;
	int			stage;			/* the source's own */
	QsHttpRequest request;
	QsHttpHeader headers[8];
	char		header_value[QS_CREDENTIAL_HEADER_MAX];
	char		url[QS_CREDENTIAL_URL_MAX];
	char		body[QS_CREDENTIAL_BODY_MAX];

	QsCredentials credentials;
	int64_t		expires_at_us;

	/* on failure: because of config.base, which others may replace */
	bool		base_refused;
} QsCredentialFetch;

typedef struct QsCredentialSource
{
	const char *name;			/* for people: "the ECS metadata service" */
	const char *token_name;		/* of config.token: "the OIDC token" */
	int			refresh_ahead_s;	/* before the credentials expire */
	int			urgent_ahead_s; /* a failure to renew them is told only from
								 * then on; 0 = at once */
	bool		outlasts_expiry;	/* they are used until others come: the
									 * cloud refuses what is really over */
	int			connect_timeout_ms; /* 0 = as long as the request */
	int			request_timeout_ms;
	QsCredentialStep (*start) (QsCredentialFetch *fetch, QsError *error);
	QsCredentialStep (*reply) (QsCredentialFetch *fetch,
							   const QsHttpReply *reply, int64_t now_us,
							   QsError *error);
} QsCredentialSource;

/* ---- BytePlus ---- */

/* AssumeRoleWithOIDC of BytePlus' security token service: needs role (a TRN)
 * and token. */
extern const QsCredentialSource qs_credential_byteplus_oidc;

/* The metadata service of a BytePlus ECS instance; role NULL = its first. */
extern const QsCredentialSource qs_credential_byteplus_ecs;

/* ---- AWS ---- */

/* Both of the security token service of config.region, without one of the
 * global service.  AssumeRoleWithWebIdentity needs role (an ARN) and token,
 * AssumeRole role and base. */
extern const QsCredentialSource qs_credential_aws_web_identity;
extern const QsCredentialSource qs_credential_aws_assume_role;

/* What a container (ECS task, EKS pod) is given: endpoint is the whole URL,
 * of one of the hosts that may be asked, token the Authorization or none. */
extern const QsCredentialSource qs_credential_aws_container;

/* The metadata service of an EC2 instance, version 2. */
extern const QsCredentialSource qs_credential_aws_imds;

extern QsCredentialStep qs_credential_start(QsCredentialFetch *fetch,
											const QsCredentialSource *source,
											const QsCredentialConfig *config,
											QsError *error);
extern QsCredentialStep qs_credential_reply(QsCredentialFetch *fetch,
											const QsHttpReply *reply,
											int64_t now_us, QsError *error);

/* Overwrites all of it. */
extern void qs_credential_forget(QsCredentialFetch *fetch);

/*
 * The configuration file of BytePlus' command line tool: the profile named,
 * else the file's current one, else "default".  Holds keys of mode "ak", or
 * such as a login left there until they expire.  *expires_at_us is INT64_MAX
 * for keys that do not.
 */
extern bool qs_credentials_from_cli_file(const char *text, size_t length,
										 const char *profile, int64_t now_us,
										 QsCredentials *credentials,
										 int64_t *expires_at_us,
										 QsError *error);

/* ---- for sources ---- */

extern bool qs_credential_is_set(const char *text);

/* Appends name=value to the form in fetch->body; false when it does not fit. */
extern bool qs_credential_add_field(QsCredentialFetch *fetch,
									const char *name, const char *value);

/* fetch->body as an unsigned POST to fetch->url. */
extern void qs_credential_post_form(QsCredentialFetch *fetch);

/* One value of credentials: without the blanks around it, 1 to size - 1
 * visible ASCII characters, else false. */
extern bool qs_credential_value(char *out, size_t size, const char *value);

/* The same of a header, which may have blanks inside. */
extern bool qs_credential_line(char *out, size_t size, const char *value);

/* Appends text escaped as RFC 3986 wants it; false when it does not fit. */
extern bool qs_credential_escape(char *out, size_t size, const char *text);

/* Checks and takes what a reply said of credentials; any may be NULL. */
extern QsCredentialStep qs_credential_take(QsCredentialFetch *fetch,
										   const char *access_key_id,
										   const char *secret_access_key,
										   const char *session_token,
										   const char *expiration,
										   int64_t now_us, QsError *error);

/* An answer that is no answer: class by the status; code may be NULL. */
extern QsCredentialStep qs_credential_refused(const QsCredentialFetch *fetch,
											  const char *what, int status,
											  const char *code,
											  QsError *error);
extern QsCredentialStep qs_credential_malformed(const QsCredentialFetch *fetch,
												const char *what,
												QsError *error);

#endif							/* QS_CREDENTIAL_SOURCE_H */
