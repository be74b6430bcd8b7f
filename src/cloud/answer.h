/*-------------------------------------------------------------------------
 * answer.h
 *		What the answers of all clouds have in common: a clock, a status,
 *		JSON, and that they may quote a secret.
 *-------------------------------------------------------------------------
 */
#ifndef QS_ANSWER_H
#define QS_ANSWER_H

#include <jansson.h>

#include "cloud/provider.h"

/* Sets memory->skew_s from the reply's Date header; memory may be NULL. */
extern void qs_answer_learn_skew(QsRegionMemory *memory,
								 const QsHttpReply *reply, int64_t now_us);

/* A complete JSON document, which the caller decrefs, or NULL. */
extern json_t *qs_answer_json(QsArena *arena, const QsHttpReply *reply);

/* What the HTTP status alone says. */
extern QsErrorClass qs_answer_class_of_status(int status);

/* Does it say that the request was certainly not carried out? */
extern bool qs_answer_status_refuses(int status);

/* Nothing that a reply says and that quotes a secret may be passed on. */
extern bool qs_answer_quotes_secret(const QsCall *call, const char *text);

/* A string without NUL in it, or NULL. */
extern const char *qs_json_text(const json_t *value);

/* Case does not matter. */
extern bool qs_json_equals(const json_t *value, const char *text);

/* An integral number within [low, high]. */
extern bool qs_json_count(const json_t *value, int low, int high, int *out);

#endif							/* QS_ANSWER_H */
