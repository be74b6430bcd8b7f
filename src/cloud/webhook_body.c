/*-------------------------------------------------------------------------
 * webhook_body.c
 *		The bodies of webhooks: Standard Webhooks and CloudEvents in one,
 *		Alertmanager, Slack.
 *-------------------------------------------------------------------------
 */
#include "cloud/webhook_body.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

#include "cloud/signing.h"

/* Of the details that an alert brings; more is left out. */
#define MAX_DATA		((size_t) 12000)

/* The same as a text, which a body of Alertmanager's holds twice. */
#define MAX_NOTE		2000

/* A line for people; Slack takes 3000 characters in a section. */
#define MAX_SUMMARY		1000

/* Slack's limit of a section, after escaping. */
#define MAX_SLACK_TEXT	3000

#define TIME_SIZE		40

/* RFC 3339 in UTC with milliseconds. */
static const char *
format_time(int64_t epoch_us, char out[TIME_SIZE])
{
	time_t		seconds = (time_t) (epoch_us / 1000000);
	struct tm	parts;
	size_t		length;

	if (epoch_us < 0 || gmtime_r(&seconds, &parts) == NULL)
		return "1970-01-01T00:00:00.000Z";
	length = strftime(out, TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(out + length, TIME_SIZE - length, ".%03dZ",
			 (int) (epoch_us % 1000000 / 1000));
	return out;
}

static bool
is_resolved(const QsWebhookAlert *alert)
{
	return strcmp(alert->transition, "resolved") == 0;
}

/* At most limit bytes, cut where a character ends. */
static char *
cut(QsArena *arena, const char *text, size_t limit)
{
	size_t		length = strlen(text);

	if (length > limit)
	{
		length = limit;
		while (length > 0 && ((unsigned char) text[length] & 0xC0) == 0x80)
			length--;
	}
	return qs_arena_strndup(arena, text, length);
}

static char *
summary_of(QsArena *arena, const QsWebhookAlert *alert)
{
	char	   *summary = cut(arena, alert->summary, MAX_SUMMARY);

	if (summary == NULL || !is_resolved(alert))
		return summary;
	return qs_arena_printf(arena, "Resolved: %s", summary);
}

/* The details, or a note that they are too long. */
static json_t *
details_of(const QsWebhookAlert *alert)
{
	size_t		length = strlen(alert->data);
	json_t	   *details = NULL;

	if (length <= MAX_DATA)
		details = json_loadb(alert->data, length, 0, NULL);
	if (json_is_object(details))
		return details;
	json_decref(details);
	return json_pack("{s:b}", "details_left_out", 1);
}

/* Serialized into the arena; takes the reference. */
static char *
dump(QsArena *arena, json_t *document)
{
	char	   *text;
	char	   *copy = NULL;

	if (document == NULL)
		return NULL;
	text = json_dumps(document, JSON_COMPACT);
	json_decref(document);
	if (text != NULL && strlen(text) < QS_WEBHOOK_MAX_BODY)
		copy = qs_arena_strdup(arena, text);
	free(text);
	return copy;
}

static char *
standard_body(QsArena *arena, const QsWebhookAlert *alert,
			  const char *message_id)
{
	char		occurred[TIME_SIZE];
	char		resolved[TIME_SIZE];
	const char *began = format_time(alert->occurred_us, occurred);
	const char *ended = is_resolved(alert) ?
		format_time(alert->resolved_us, resolved) : NULL;
	char	   *summary = summary_of(arena, alert);
	json_t	   *data;

	if (summary == NULL)
		return NULL;
	data = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s, s:s*, s:o}",
					 "alert_id", alert->uuid,
					 "status", alert->transition,
					 "severity", alert->severity,
					 "summary", summary,
					 "group", alert->group,
					 "occurred_at", began,
					 "resolved_at", ended,
					 "details", details_of(alert));
	return dump(arena, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s*, s:s, s:o}",
								 "specversion", "1.0",
								 "id", message_id,
								 "source", alert->source,
								 "type", alert->type,
								 "time", ended != NULL ? ended : began,
								 "timestamp", ended != NULL ? ended : began,
								 "subject", alert->group,
								 "datacontenttype", "application/json",
								 "data", data));
}

/* FNV-1a over the labels in order of their names, as Prometheus does it. */
static uint64_t
hash_text(uint64_t hash, const char *text)
{
	for (; *text != '\0'; text++)
	{
		hash ^= (unsigned char) *text;
		hash *= UINT64_C(1099511628211);
	}
	hash ^= 0xFF;
	return hash * UINT64_C(1099511628211);
}

static char *
alertmanager_body(QsArena *arena, const QsWebhookAlert *alert,
				  const char *receiver)
{
	const char *const labels[][2] = {	/* sorted */
		{"alertname", alert->type},
		{"group", alert->group},
		{"severity", alert->severity},
		{"source", alert->source}
	};
	uint64_t	hash = UINT64_C(14695981039346656037);
	char		occurred[TIME_SIZE];
	char		resolved[TIME_SIZE];
	char		fingerprint[17];
	bool		event = strcmp(alert->transition, "event") == 0;
	const char *began = format_time(alert->occurred_us, occurred);
	const char *ended = is_resolved(alert) ?
		format_time(alert->resolved_us, resolved) :
		event ? began : "0001-01-01T00:00:00Z";
	const char *status = is_resolved(alert) ? "resolved" : "firing";
	char	   *summary = summary_of(arena, alert);
	char	   *key = qs_arena_printf(arena, "{}:{alertname=\"%s\", group=\"%s\"}",
									  alert->type,
									  alert->group == NULL ? "" : alert->group);
	char	   *all = dump(arena, details_of(alert));
	char	   *details = all == NULL ? NULL : cut(arena, all, MAX_NOTE);
	/* PostgreSQL has a json_object(), which inside a server is the one called */
	json_t	   *own = json_pack("{}");
	json_t	   *notes;
	json_t	   *document;

	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
	{
		if (labels[i][1] == NULL)
			continue;
		json_object_set_new(own, labels[i][0], json_string(labels[i][1]));
		hash = hash_text(hash_text(hash, labels[i][0]), labels[i][1]);
	}
	snprintf(fingerprint, sizeof(fingerprint), "%016" PRIx64, hash);
	notes = json_pack("{s:s, s:s}", "summary", summary == NULL ? "" : summary,
					  "details", details == NULL ? "" : details);
	document = json_pack("{s:s, s:s, s:i, s:s, s:s, s:{s:s}, s:O, s:O, s:s,"
						 " s:[{s:s, s:O, s:O, s:s, s:s, s:s, s:s}]}",
						 "version", "4",
						 "groupKey", key == NULL ? "" : key,
						 "truncatedAlerts", 0,
						 "status", status,
						 "receiver", receiver,
						 "groupLabels", "alertname", alert->type,
						 "commonLabels", own,
						 "commonAnnotations", notes,
						 "externalURL", "",
						 "alerts",
						 "status", status,
						 "labels", own,
						 "annotations", notes,
						 "startsAt", began,
						 "endsAt", ended,
						 "generatorURL", "",
						 "fingerprint", fingerprint);
	json_decref(own);
	json_decref(notes);
	return dump(arena, document);
}

/* Slack's control characters; bounded, so that no entity is cut in two. */
static char *
slack_escape(QsArena *arena, const char *text, size_t limit)
{
	char	   *out = qs_arena_alloc(arena, strlen(text) * 5 + 1);
	size_t		used = 0;

	if (out == NULL)
		return NULL;
	for (; *text != '\0'; text++)
	{
		char		one[2] = {*text, '\0'};
		const char *piece = *text == '&' ? "&amp;" :
			*text == '<' ? "&lt;" : *text == '>' ? "&gt;" : one;

		if (used + strlen(piece) > limit)
			break;
		memcpy(out + used, piece, strlen(piece));
		used += strlen(piece);
	}
	/* not in the middle of a character */
	if (*text != '\0')
		while (used > 0 && ((unsigned char) *text & 0xC0) == 0x80)
		{
			used--;
			text--;
		}
	out[used] = '\0';
	return out;
}

static char *
slack_body(QsArena *arena, const QsWebhookAlert *alert)
{
	const char *sign = is_resolved(alert) ? ":white_check_mark:" :
		strcmp(alert->severity, "critical") == 0 ? ":rotating_light:" :
		strcmp(alert->severity, "warning") == 0 ? ":warning:" :
		":information_source:";
	char		at[TIME_SIZE];
	char	   *summary = summary_of(arena, alert);
	char	   *escaped = summary == NULL ? NULL :
		slack_escape(arena, summary, MAX_SLACK_TEXT - 100);
	char	   *line;
	char	   *context;

	if (escaped == NULL)
		return NULL;
	line = qs_arena_printf(arena, "%s %s", sign, escaped);
	escaped = slack_escape(arena, alert->source, 500);
	context = qs_arena_printf(arena, "`%s` · %s · %s", alert->type,
							  format_time(is_resolved(alert) ?
										  alert->resolved_us :
										  alert->occurred_us, at),
							  escaped == NULL ? "" : escaped);
	if (line == NULL || context == NULL)
		return NULL;
	return dump(arena, json_pack("{s:s, s:[{s:s, s:{s:s, s:s}},"
								 " {s:s, s:[{s:s, s:s}]}]}",
								 "text", line,
								 "blocks",
								 "type", "section",
								 "text", "type", "mrkdwn", "text", line,
								 "type", "context",
								 "elements", "type", "mrkdwn", "text",
								 context));
}

char *
qs_webhook_body(QsArena *arena, QsWebhookFormat format,
				const QsWebhookAlert *alert, const char *receiver,
				const char *message_id)
{
	switch (format)
	{
		case QS_WEBHOOK_STANDARD:
			return standard_body(arena, alert, message_id);
		case QS_WEBHOOK_ALERTMANAGER:
			return alertmanager_body(arena, alert, receiver);
		case QS_WEBHOOK_SLACK:
			return slack_body(arena, alert);
	}
	return NULL;
}
