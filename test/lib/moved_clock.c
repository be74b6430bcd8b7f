/*-------------------------------------------------------------------------
 * moved_clock.c
 *		Preloaded into a server and the cloud it talks to: the time of day is
 *		moved by as many microseconds as the file $QPSSCALE_TEST_CLOCK says, in
 *		eight bytes, at each moment.  Clocks that only measure are left alone.
 *
 * Not libfaketime: what PostgreSQL 15 forks in a signal handler, while its
 * postmaster waits in select(), would have the real time there.
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *moved;

__attribute__((constructor)) static void
open_clock(void)
{
	const char *path = getenv("QPSSCALE_TEST_CLOCK");
	int			fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	void	   *at;

	if (fd < 0)
		return;
	at = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at != MAP_FAILED)
		moved = at;
}

int
clock_gettime(clockid_t clock, struct timespec *at)
{
	int			result = (int) syscall(SYS_clock_gettime, clock, at);
	int64_t		us;

	if (result != 0 || moved == NULL ||
		(clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
		return result;
	us = at->tv_sec * INT64_C(1000000) + at->tv_nsec / 1000 + *moved;
	at->tv_sec = us / 1000000;
	at->tv_nsec = us % 1000000 * 1000;
	return 0;
}

int
gettimeofday(struct timeval *restrict at, void *restrict zone)
{
	struct timespec now;

	(void) zone;
	(void) clock_gettime(CLOCK_REALTIME, &now);
	at->tv_sec = now.tv_sec;
	at->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *at)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_REALTIME, &now);
	if (at != NULL)
		*at = now.tv_sec;
	return now.tv_sec;
}
