/*-------------------------------------------------------------------------
 * secret_reference.c
 *		Reading what a reference to a secret leads to: file:NAME, env:NAME or
 *		inline:VALUE.
 *
 * Rules for files are those that PostgreSQL has for its own private key,
 * applied to each directory on the way too: who can rename a directory can
 * put another file in its place.  Names without ".." whose components are
 * opened one by one, none through a symbolic link, cannot lead out of the
 * directory; that is what openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
 * does, without the need for a kernel that has it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cloud/account.h"
#include "pg/secret_reference.h"

static bool
refuse(char *problem, const char *fmt,...) pg_attribute_printf(2, 3);

static bool
refuse(char *problem, const char *fmt,...)
{
	va_list		arguments;

	va_start(arguments, fmt);
	vsnprintf(problem, QPSSCALE_SECRET_PROBLEM, fmt, arguments);
	va_end(arguments);
	return false;
}

static bool
is_ours(const struct stat *status)
{
	return status->st_uid == geteuid() || status->st_uid == 0;
}

static bool
check_directory(int fd, const char *name, char *problem)
{
	struct stat status;

	if (fstat(fd, &status) != 0 || !S_ISDIR(status.st_mode))
		return refuse(problem, "\"%s\" is not a directory", name);
	if (!is_ours(&status))
		return refuse(problem, "directory \"%s\" belongs to another user",
					  name);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return refuse(problem, "directory \"%s\" can be written by others (chmod 700 cures it)",
					  name);
	return true;
}

/* Root may give the file to a group that the server is in: the mode 0640 that
 * PostgreSQL allows for ssl_key_file. */
static bool
check_file(int fd, const char *name, bool confidential, char *problem)
{
	struct stat status;
	mode_t		forbidden;

	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		return refuse(problem, "\"%s\" is not a plain file", name);
	if (!is_ours(&status))
		return refuse(problem, "file \"%s\" belongs to another user", name);
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return refuse(problem, "file \"%s\" can be written by others (chmod 600 cures it)",
					  name);
	forbidden = status.st_uid == geteuid() ? S_IRWXG | S_IRWXO : S_IRWXO;
	if (confidential && (status.st_mode & forbidden))
		return refuse(problem, "file \"%s\" can be read by others (chmod 600 cures it)",
					  name);
	return true;
}

/*
 * Opens the directory that holds the last component of path and returns it;
 * *file points to that component.  -1 with a problem.
 */
static int
open_directory(const char *directory, const char *path, const char **file,
			   char *problem)
{
	int			fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *slash;

	if (fd < 0)
		refuse(problem, "qpsscale.secrets_dir cannot be opened (%s)",
			   strerror(errno));
	else if (!check_directory(fd, directory, problem))
	{
		close(fd);
		fd = -1;
	}
	for (; fd >= 0 && (slash = strchr(path, '/')) != NULL; path = slash + 1)
	{
		char		name[MAXPGPATH];
		int			below = -1;

		snprintf(name, sizeof(name), "%.*s", (int) (slash - path), path);
		below = openat(fd, name,
					   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (below < 0)
			refuse(problem, "directory \"%s\" cannot be opened (%s)", name,
				   strerror(errno));
		else if (!check_directory(below, name, problem))
		{
			close(below);
			below = -1;
		}
		close(fd);
		fd = below;
	}
	*file = path;
	return fd;
}

/* Each component begins as a name does: none is "", ".", "..", or hidden. */
static bool
is_below(const char *path)
{
	for (;;)
	{
		if (*path == '\0' || *path == '.' || *path == '/')
			return false;
		path = strchr(path, '/');
		if (path == NULL)
			return true;
		path++;
	}
}

/* A FIFO must not make us wait, nor a terminal become ours. */
#define OPEN_FILE	(O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

static int
open_file(const char *directory, const char *path, char *problem)
{
	const char *file;
	int			parent;
	int			fd;

	if (path[0] == '/')
		fd = open(path, OPEN_FILE);
	else if (directory == NULL || directory[0] == '\0')
	{
		refuse(problem, "it refers to a file, but qpsscale.secrets_dir is not set");
		return -1;
	}
	else if (!is_below(path))
	{
		refuse(problem, "it names a file outside of qpsscale.secrets_dir");
		return -1;
	}
	else
	{
		parent = open_directory(directory, path, &file, problem);
		if (parent < 0)
			return -1;
		fd = openat(parent, file, OPEN_FILE | O_NOFOLLOW);
		close(parent);
	}
	if (fd < 0)
		refuse(problem, "file \"%s\" cannot be read (%s)", path,
			   errno == ELOOP ? "it is a symbolic link" : strerror(errno));
	return fd;
}

/*
 * Reads all of it, or says that it is too long.  A file that changes under
 * our eyes is no secret yet: whoever writes it will be done when it is read
 * the next time.
 */
static ssize_t
read_all(int fd, const char *path, char *buffer, size_t size, char *problem)
{
	struct stat before;
	struct stat after;
	size_t		length = 0;

	if (fstat(fd, &before) != 0)
		before.st_size = -1;
	while (length < size)
	{
		ssize_t		n = read(fd, buffer + length, size - length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
		{
			refuse(problem, "file \"%s\" cannot be read (%s)", path,
				   strerror(errno));
			return -1;
		}
		if (n == 0)
			break;
		length += n;
	}
	if (length == size)
	{
		refuse(problem, "file \"%s\" is too long", path);
		return -1;
	}
	if (fstat(fd, &after) != 0 || after.st_size != (off_t) length ||
		before.st_size != after.st_size ||
		before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
		before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
	{
		refuse(problem, "file \"%s\" is being written", path);
		return -1;
	}
	buffer[length] = '\0';
	return length;
}

ssize_t
qpsscale_read_secret_file(const char *secrets_dir, const char *path,
						  bool confidential, char *buffer, size_t size,
						  char *problem)
{
	ssize_t		length = -1;
	int			fd = open_file(secrets_dir, path, problem);

	if (fd < 0)
		return -1;
	if (check_file(fd, path, confidential, problem))
		length = read_all(fd, path, buffer, size, problem);
	close(fd);
	if (length < 0)
		explicit_bzero(buffer, size);
	return length;
}

/* Trailing line ends are an editor's, not the secret's; PEM has many lines. */
static bool
take(const char *value, size_t length, bool pem, char *buffer, size_t size,
	 char *problem)
{
	while (length > 0 && (value[length - 1] == '\n' ||
						  value[length - 1] == '\r'))
		length--;
	if (length == 0)
		return refuse(problem, "it is empty");
	if (length >= size)
		return refuse(problem, "it is too long");
	if (pem && strncmp(value, "-----BEGIN ", 11) != 0)
		return refuse(problem, "it is not PEM, which begins with -----BEGIN");
	for (size_t i = 0; i < length; i++)
		if (!(value[i] > ' ' && value[i] <= '~') &&
			!(pem && value[i] != '\0' && strchr(" \t\r\n", value[i]) != NULL))
			return refuse(problem, "it has a character that no key has");
	memmove(buffer, value, length);
	buffer[length] = '\0';
	return true;
}

static bool
may_read_file(const QpsscaleSecretRights *rights, const char *path)
{
	if (rights->trusted)
		return true;
	for (int i = 0; i < (int) lengthof(rights->roles); i++)
	{
		const char *role = rights->roles[i];
		size_t		length = role == NULL ? 0 : strlen(role);

		if (length > 0 && strncmp(path, role, length) == 0 &&
			path[length] == '/')
			return true;
	}
	return false;
}

/* An absolute path is a way for the server's own files only. */
static bool
read_file(const char *path, const QpsscaleSecretRights *rights, bool pem,
		  char *buffer, size_t size, char *problem)
{
	char		value[QS_PEM_MAX];
	ssize_t		length;
	bool		ok;

	if (path[0] == '/' || !is_below(path))
		return refuse(problem, "it names a file outside of qpsscale.secrets_dir");
	if (!may_read_file(rights, path))
		return refuse(problem, "roles that are not superusers may only refer to files in the directory of their own name");
	length = qpsscale_read_secret_file(rights->secrets_dir, path, true,
									   value, sizeof(value), problem);
	if (length < 0)
		return false;
	ok = take(value, length, pem, buffer, size, problem);
	explicit_bzero(value, sizeof(value));
	return ok;
}

static bool
read_reference(const char *reference, const QpsscaleSecretRights *rights,
			   bool pem, char *buffer, size_t size, char *problem)
{
	const char *value;

	if (strncmp(reference, "file:", 5) == 0)
		return read_file(reference + 5, rights, pem, buffer, size, problem);
	if (!rights->trusted)
		return refuse(problem, "only files may be referred to where no superuser is the owner");
	if (strncmp(reference, "inline:", 7) == 0)
		return take(reference + 7, strlen(reference + 7), pem, buffer, size,
					problem);
	if (strncmp(reference, "env:", 4) != 0)
		return refuse(problem, "it is not a reference (file:name or env:NAME)");
	value = getenv(reference + 4);
	if (value == NULL)
		return refuse(problem, "the server's environment has no variable %s",
					  reference + 4);
	return take(value, strlen(value), pem, buffer, size, problem);
}

bool
qpsscale_read_secret_reference(const char *reference,
							   const QpsscaleSecretRights *rights,
							   char *buffer, size_t size, char *problem)
{
	buffer[0] = '\0';
	problem[0] = '\0';
	return read_reference(reference, rights, false, buffer, size, problem);
}

bool
qpsscale_read_pem_reference(const char *reference,
							const QpsscaleSecretRights *rights,
							char *buffer, size_t size, char *problem)
{
	buffer[0] = '\0';
	problem[0] = '\0';
	return read_reference(reference, rights, true, buffer, size, problem);
}
