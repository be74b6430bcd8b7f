/*-------------------------------------------------------------------------
 * installation.c
 *		The library files as they are on disk now.
 *
 * A server goes on with the files that it mapped at its start, and a resident
 * worker with those of its own start, perhaps for months after an upgrade of
 * the package.  So that this is seen at once, not when the next worker starts,
 * whoever asks for problems compares: a file of the same build contains the
 * same stamp, byte for byte.  Nothing of the files is executed.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include "pg/installation.h"

/* Neither is nearly as large. */
#define LARGEST_FILE	(64 * 1024 * 1024)

const QpsscaleStamp qpsscale_host_stamp = {
	.magic = QPSSCALE_STAMP_MAGIC,
	.host_size = sizeof(QpsscaleHost),
	.version = QPSSCALE_VERSION,
	.build_id = QPSSCALE_BUILD_ID
};

/* A file as it was when it was last read by this process. */
typedef struct KnownFile
{
	struct stat seen;
	bool		differs;
} KnownFile;

/* The whole file; NULL when it cannot be read.  malloc'd, since a build that
 * is being installed is no reason for an error. */
static char *
read_file(const char *path, size_t size)
{
	int			fd = OpenTransientFile(path, O_RDONLY | PG_BINARY);
	char	   *content = NULL;
	size_t		done = 0;

	if (fd < 0)
		return NULL;
	if (size <= LARGEST_FILE)
		content = malloc(size + 1);
	while (content != NULL && done < size)
	{
		ssize_t		got = read(fd, content + done, size - done);

		if (got <= 0)
		{
			free(content);
			content = NULL;
			break;
		}
		done += got;
	}
	CloseTransientFile(fd);
	return content;
}

static bool
is_the_same(const struct stat *one, const struct stat *other)
{
	return one->st_dev == other->st_dev && one->st_ino == other->st_ino &&
		one->st_size == other->st_size &&
		one->st_mtim.tv_sec == other->st_mtim.tv_sec &&
		one->st_mtim.tv_nsec == other->st_mtim.tv_nsec;
}

static bool
file_differs(const char *path, KnownFile *known)
{
	struct stat now;
	char	   *content;

	if (stat(path, &now) != 0)
		return false;
	if (is_the_same(&now, &known->seen))
		return known->differs;
	content = read_file(path, now.st_size);
	if (content == NULL)
		return false;
	known->seen = now;
	known->differs = memmem(content, now.st_size, &qpsscale_host_stamp,
							sizeof(qpsscale_host_stamp)) == NULL;
	free(content);
	return known->differs;
}

bool
qpsscale_installation_differs(void)
{
	static KnownFile host = {0};
	static KnownFile worker = {0};
	char		path[MAXPGPATH];
	char	   *name;
	Dl_info		ours;

	if (dladdr(&qpsscale_host_stamp, &ours) == 0 || ours.dli_fname == NULL)
		return false;
	if (file_differs(ours.dli_fname, &host))
		return true;
	strlcpy(path, ours.dli_fname, sizeof(path));
	name = last_dir_separator(path);
	name = name == NULL ? path : name + 1;
	snprintf(name, sizeof(path) - (name - path), "%s%s",
			 QPSSCALE_WORKER_LIBRARY, DLSUFFIX);
	return file_differs(path, &worker);
}
