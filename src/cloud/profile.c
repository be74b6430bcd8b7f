/*-------------------------------------------------------------------------
 * profile.c
 *		A profile in the files that AWS' tools share: ~/.aws/credentials and
 *		~/.aws/config.
 *
 * Format: AWS' "Shared config and credentials files" reference.  A section is
 * called [name] in the first, [profile name] (or [default]) in the second; of
 * two values the later one counts, and of two files the first one.
 *-------------------------------------------------------------------------
 */
#include "cloud/profile.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>

#include "cloud/credential_source.h"

#define LONGEST_NAME	128

static const char blanks[] = " \t\r\f\v";

/* A piece of the file. */
typedef struct Text
{
	const char *at;
	size_t		length;
} Text;

typedef struct Reading
{
	QsProfile  *profile;
	const char *name;
	bool		is_config;
	bool		inside;			/* the section that is wanted */
	bool		found;
	const char *unusable;		/* key whose value cannot be used */
} Reading;

static Text
trimmed(Text text)
{
	while (text.length > 0 && strchr(blanks, text.at[0]) != NULL)
	{
		text.at++;
		text.length--;
	}
	while (text.length > 0 &&
		   strchr(blanks, text.at[text.length - 1]) != NULL)
		text.length--;
	return text;
}

static bool
is(Text text, const char *word)
{
	return strlen(word) == text.length &&
		strncasecmp(text.at, word, text.length) == 0;
}

static bool
is_exactly(Text text, const char *word)
{
	return strlen(word) == text.length &&
		memcmp(text.at, word, text.length) == 0;
}

/* [name], and in the configuration [profile name], or [default] as it is. */
static void
enter_section(Reading *reading, Text line)
{
	static const char prefix[] = "profile";
	const char *end = memchr(line.at, ']', line.length);
	Text		name = trimmed((Text) {line.at + 1,
			end == NULL ? 0 : (size_t) (end - line.at) - 1});
	size_t		length = sizeof(prefix) - 1;
	bool		has_prefix = name.length > length &&
		memcmp(name.at, prefix, length) == 0 &&
		strchr(" \t", name.at[length]) != NULL;

	if (reading->is_config)
	{
		if (has_prefix)
			name = trimmed((Text) {name.at + length, name.length - length});
		else if (!is_exactly(name, "default"))
			name.length = 0;
		if (name.length >= 2 && name.at[0] == '"' &&
			name.at[name.length - 1] == '"')
			name = (Text) {name.at + 1, name.length - 2};
	}
	reading->inside = name.length > 0 && is_exactly(name, reading->name);
	reading->found |= reading->inside;
}

/* What follows a blank and a number sign or semicolon is a comment. */
static Text
without_comment(Text value)
{
	for (size_t i = 1; i < value.length; i++)
		if ((value.at[i] == '#' || value.at[i] == ';') &&
			strchr(blanks, value.at[i - 1]) != NULL)
			value.length = i;
	return trimmed(value);
}

/* Ways that a database server cannot go: they ask a person, or start a
 * program. */
static const char *
not_for_servers(Text key)
{
	static const char *const ways[] = {"sso_session", "sso_start_url",
	"credential_process", "mfa_serial", "login_session"};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (is(key, ways[i]))
			return ways[i];
	return NULL;
}

static void
read_setting(Reading *reading, Text line)
{
	QsProfile  *p = reading->profile;
	QsCredentials *c = &p->credentials;
	const struct
	{
		const char *key;
		char	   *out;
		size_t		size;
	}			known[] = {
		/* keys first: see below */
		{"aws_access_key_id", c->access_key_id, sizeof(c->access_key_id)},
		{"aws_secret_access_key", c->secret_access_key,
		sizeof(c->secret_access_key)},
		{"aws_session_token", c->session_token, sizeof(c->session_token)},
		{"role_arn", p->role_arn, sizeof(p->role_arn)},
		{"source_profile", p->source_profile, sizeof(p->source_profile)},
		{"credential_source", p->credential_source,
		sizeof(p->credential_source)},
		{"external_id", p->external_id, sizeof(p->external_id)},
		{"role_session_name", p->role_session_name,
		sizeof(p->role_session_name)},
		{"web_identity_token_file", p->web_identity_token_file,
		sizeof(p->web_identity_token_file)},
		{"region", p->region, sizeof(p->region)},
	};
	const char *equals = memchr(line.at, '=', line.length);
	Text		key;
	Text		value;

	if (equals == NULL)
		return;
	key = trimmed((Text) {line.at, (size_t) (equals - line.at)});
	value = without_comment((Text) {equals + 1,
			line.length - (size_t) (equals - line.at) - 1});
	if (not_for_servers(key) != NULL)
		p->not_for_servers = not_for_servers(key);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
	{
		if (!is(key, known[i].key))
			continue;
		if (value.length >= known[i].size)
		{
			reading->unusable = known[i].key;
			return;
		}
		memset(known[i].out, 0, known[i].size);
		memcpy(known[i].out, value.at, value.length);
		if (i < 3 && reading->is_config)
			p->keys_in_config = true;
	}
}

static void
read_line(Reading *reading, Text line)
{
	bool		indented = line.length > 0 && strchr(blanks, line.at[0]);

	line = trimmed(line);
	if (line.length == 0 || line.at[0] == '#' || line.at[0] == ';')
		return;
	if (line.at[0] == '[')
		enter_section(reading, line);
	else if (reading->inside && !indented)	/* else a part of a value */
		read_setting(reading, line);
}

static void
read_file(Reading *reading, const char *text, size_t length, bool is_config)
{
	const char *end = text + length;

	reading->is_config = is_config;
	reading->inside = false;
	while (text != NULL && text < end)
	{
		const char *line_end = memchr(text, '\n', (size_t) (end - text));

		if (line_end == NULL)
			line_end = end;
		read_line(reading, (Text) {text, (size_t) (line_end - text)});
		text = line_end + 1;
	}
}

static bool
refuse(QsProfile *profile, QsError *error, const char *why)
{
	OPENSSL_cleanse(profile, sizeof(*profile));
	return qs_error_set(error, QS_ERROR_CREDENTIAL, "profile",
						"the profile that is wanted %s", why);
}

/* One that is there must be visible ASCII; a key needs its secret. */
static const char *
find_fault(const QsProfile *p)
{
	const QsCredentials *c = &p->credentials;
	const char *const values[] = {c->access_key_id, c->secret_access_key,
		c->session_token, p->role_arn, p->external_id, p->role_session_name,
	p->web_identity_token_file, p->region, p->credential_source};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		for (const char *at = values[i]; *at != '\0'; at++)
			if (*at < '!' || *at > '~')
				return "holds characters that no key or name has";
	if ((c->access_key_id[0] == '\0') != (c->secret_access_key[0] == '\0'))
		return "has a key without its other half";
	return NULL;
}

/*
 * The file of credentials is read last, as it counts more.  Keys are taken
 * from one of the files as a whole: halves of two would be refused by AWS.
 */
bool
qs_profile_read(const QsProfileFiles *files, const char *name,
				QsProfile *profile, QsError *error)
{
	Reading		reading = {.profile = profile, .name = name};
	QsCredentials of_config;
	bool		in_config;
	const char *fault;

	qs_error_clear(error);
	OPENSSL_cleanse(profile, sizeof(*profile));
	if (name[0] == '\0' || strlen(name) >= LONGEST_NAME)
		return refuse(profile, error, "has no name, or one that is too long");
	if ((files->config != NULL &&
		 memchr(files->config, '\0', files->config_length) != NULL) ||
		(files->credentials != NULL &&
		 memchr(files->credentials, '\0', files->credentials_length) != NULL))
		return refuse(profile, error, "stands in a file that is not text");

	read_file(&reading, files->config, files->config_length, true);
	of_config = profile->credentials;
	in_config = profile->keys_in_config;
	OPENSSL_cleanse(&profile->credentials, sizeof(profile->credentials));
	read_file(&reading, files->credentials, files->credentials_length, false);
	if (profile->credentials.access_key_id[0] == '\0' &&
		profile->credentials.secret_access_key[0] == '\0')
		profile->credentials = of_config;
	else
		in_config = false;
	OPENSSL_cleanse(&of_config, sizeof(of_config));
	profile->keys_in_config = in_config;

	if (!reading.found)
	{
		(void) refuse(profile, error, "is in neither file");
		snprintf(error->code, sizeof(error->code), "no_profile");
		return false;
	}
	if (reading.unusable != NULL)
	{
		(void) refuse(profile, error, "");
		return qs_error_set(error, QS_ERROR_CREDENTIAL, "profile",
							"the profile that is wanted has a %s that is too "
							"long", reading.unusable);
	}
	fault = find_fault(profile);
	return fault == NULL || refuse(profile, error, fault);
}
