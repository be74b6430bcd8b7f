/*-------------------------------------------------------------------------
 * secret_reference.h
 *		Reading what a reference to a secret leads to: file:NAME, env:NAME or
 *		inline:VALUE.
 *
 * For worker processes.  A function here neither throws nor keeps anything;
 * buffers that held a secret on its way are overwritten.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_SECRET_REFERENCE_H
#define QPSSCALE_SECRET_REFERENCE_H

#include "postgres.h"

/* Who refers.  A role's directory is the one of its name in secrets_dir. */
typedef struct QpsscaleSecretRights
{
	const char *secrets_dir;	/* NULL or "" forbids files */
	bool		trusted;		/* any file, any variable, inline values */
	const char *roles[2];		/* else: only files in one of these roles'
								 * directories; NULL for none */
} QpsscaleSecretRights;

/* Room for a problem's text, which names files and variables but repeats no
 * secret. */
#define QPSSCALE_SECRET_PROBLEM		384

/*
 * Puts the secret into buffer, NUL-terminated, without the line ends at its
 * end.  It is one line of 1 to size - 1 visible ASCII characters, else it is
 * refused.  On false the buffer holds "" and problem says why and what to do;
 * it is the end of a sentence that begins with what the secret is for.
 *
 * A file is opened one component at a time below secrets_dir: no component
 * may be a symbolic link, be written by others, or belong to anybody but the
 * server's user and root.
 */
extern bool qpsscale_read_secret_reference(const char *reference,
										   const QpsscaleSecretRights *rights,
										   char *buffer, size_t size,
										   char *problem);

/* The same for PEM: a certificate with its chain, or a key. */
extern bool qpsscale_read_pem_reference(const char *reference,
										const QpsscaleSecretRights *rights,
										char *buffer, size_t size,
										char *problem);

/*
 * The same walk for a file that is another text than a secret:
 * up to size - 1 bytes as they are.  Returns the length, or -1 with the
 * problem.  path is relative to secrets_dir; or absolute, for paths that only
 * a superuser or the environment of the server can name: then its directories
 * are not looked at.  Others may read the file only if it is not confidential
 * (a token that a platform mounts for us), and never write it.
 */
extern ssize_t qpsscale_read_secret_file(const char *secrets_dir,
										 const char *path, bool confidential,
										 char *buffer, size_t size,
										 char *problem);

#endif							/* QPSSCALE_SECRET_REFERENCE_H */
