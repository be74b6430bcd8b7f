/*-------------------------------------------------------------------------
 * profile.h
 *		A profile in the files that AWS' tools share: ~/.aws/credentials and
 *		~/.aws/config.
 *
 * Reads one profile and follows nothing: where it names another profile, a
 * service or a file, the caller goes on.
 *-------------------------------------------------------------------------
 */
#ifndef QS_PROFILE_H
#define QS_PROFILE_H

#include "cloud/account.h"

/* Contents of the two; NULL for a file that does not exist. */
typedef struct QsProfileFiles
{
	const char *credentials;
	size_t		credentials_length;
	const char *config;
	size_t		config_length;
} QsProfileFiles;

/* "" for what the profile does not say. */
typedef struct QsProfile
{
	QsCredentials credentials;
	bool		keys_in_config; /* a key stands in the file that others may
								 * read */
	char		role_arn[256];
	char		source_profile[128];
	char		credential_source[32];
	char		external_id[256];
	char		role_session_name[128];
	char		web_identity_token_file[1024];
	char		region[68];
	const char *not_for_servers;	/* the way it gets credentials that needs
									 * a person or a program; NULL = none */
} QsProfile;

/*
 * false with class CREDENTIAL, and nothing of the profile, when there is none
 * of that name (code "no_profile") or a value of it cannot be used.  What must be secret in it is
 * the caller's to overwrite.
 */
extern bool qs_profile_read(const QsProfileFiles *files, const char *name,
							QsProfile *profile, QsError *error);

#endif							/* QS_PROFILE_H */
