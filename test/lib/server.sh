# shellcheck shell=bash disable=SC2034
#
# server.sh: a private build and private PostgreSQL servers for scripts that
# must leave nothing behind: run-check, demo and bench source it.
#
#	. "$root/test/lib/server.sh"
#	qps_adopt_orphans "$@"			wait for what daemons leave behind
#	qps_open						a private directory, removed at exit
#	qps_copy						of the sources, so that the clone stays as is
#	qps_build [make arguments]		builds the copy, and stages an installation
#	qps_server_conf FILE...			writes $qps_work/server.conf
#	qps_server_start				initdb and start, on a Unix socket only
#	qps_psql -c 'select 1'			psql on that server
#	qps_as_user COMMAND...			how everything else is run
#	qps_limited SECONDS COMMAND...	the same, with a time limit
#
# Everything is in $qps_work.  Processes that a script starts with qps_as_user
# in the background need not be stopped by hand: at exit everything whose
# working directory is below $qps_work is.
#
# Root steps down, since PostgreSQL refuses to run as root: to the user
# postgres where there is one, else to nobody.

qps_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# A make that called us must not pass its jobs and goals on to ours.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES CDPATH

qps_work=
qps_installed=

# Become the parent of processes that lose theirs, such as a postmaster that
# pg_ctl started: in a container the first process often waits for nobody, and
# each would stay as a zombie.  Starts the calling script once more (with the
# arguments given), since the kernel keeps this property across exec.
qps_adopt_orphans()
{
	if [ "${QPSSCALE_ADOPTS:-}" = $$ ]; then
		unset QPSSCALE_ADOPTS
		return
	fi
	# 36 is PR_SET_CHILD_SUBREAPER.
	QPSSCALE_ADOPTS=$$ exec python3 -c '
import ctypes, os, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])' "$BASH" "$0" "$@"
}

# Find PostgreSQL and make the private directory.  Sets qps_work, qps_build,
# qps_stage, qps_bindir, qps_top (of PGXS) and qps_major.
qps_open()
{
	local pg_config=${PG_CONFIG:-pg_config} tmp=${TMPDIR:-/tmp}

	qps_pg_config=$(command -v "$pg_config") ||
		{ echo "no such command: $pg_config" >&2; return 1; }
	qps_bindir=$("$qps_pg_config" --bindir)
	qps_top=$(cd "$(dirname "$("$qps_pg_config" --pgxs)")/../.." && pwd)
	qps_major=$("$qps_pg_config" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')

	# A socket's path has 107 characters at most, and a directory of root's own
	# would be closed to the user that root steps down to.
	if [ ${#tmp} -gt 40 ] || [ "$(id -u)" -eq 0 ]; then
		tmp=/tmp
	fi
	qps_work=$(mktemp -d "$tmp/qpsscale.XXXXXX")
	chmod 755 "$qps_work"
	trap qps_close EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP

	qps_build=$qps_work/build
	qps_stage=$qps_work/stage
	qps_step_down=()
	qps_user=$(id -un)
	if [ "$(id -u)" -eq 0 ]; then
		qps_user=postgres
		id "$qps_user" >/dev/null 2>&1 || qps_user=nobody
		qps_step_down=(setpriv "--reuid=$(id -u "$qps_user")"
			"--regid=$(id -g "$qps_user")" --clear-groups --)
	fi
	mkdir "$qps_work/tmp"
	qps_hand_over "$qps_work"
	# Nothing of ours may have the directory it must remove as its own.
	cd /
}

# Give files to the user that tests and servers run as.
qps_hand_over()
{
	[ ${#qps_step_down[@]} -eq 0 ] || chown -R "$qps_user": "$@"
}

# Run a command as that user, in the build directory, with an environment that
# does not depend on who called us.  Words like NAME=value may come first.  Only
# a PostgreSQL built with sanitizers needs a word from outside (check-all).
qps_as_user()
{
	(qps_exec "$@")
}

qps_exec()
{
	cd "$qps_build" 2>/dev/null || cd "$qps_work" || exit 1
	exec "${qps_step_down[@]}" env -i \
		PATH="$qps_bindir:/usr/local/bin:/usr/bin:/bin" \
		HOME="$qps_work" TMPDIR="$qps_work/tmp" LC_ALL=C \
		PYTHONDONTWRITEBYTECODE=1 PG_CONFIG="$qps_pg_config" \
		${ASAN_OPTIONS+ASAN_OPTIONS="$ASAN_OPTIONS"} "$@"
}

# The same with a limit.  In the background, so that a signal ends this script
# at once.
qps_limited()
{
	local seconds=$1 rc=0

	shift
	qps_exec timeout -k 10 "$seconds" env "$@" &
	wait $! || rc=$?
	[ $rc -ne 124 ] || echo "stopped after $seconds s: $*"
	return $rc
}

# Run a test that is built on PostgreSQL::Test: limit, directory for its
# servers and logs, settings of its servers, then further words NAME=value and
# the command.  QPS_KILLS and QPS_SEED of the caller reach it.
qps_perl()
{
	local seconds=$1 dir=$2 conf=$3

	shift 3
	mkdir -p "$dir"
	qps_hand_over "$dir"
	qps_limited "$seconds" TESTDIR="$dir" TESTDATADIR="$dir/tmp_check" \
		TESTLOGDIR="$dir/tmp_check/log" PGPORT=65432 \
		PG_REGRESS="$qps_top/src/test/regress/pg_regress" \
		PERL5LIB="$qps_top/src/test/perl:$qps_build/test/lib" \
		TEMP_CONFIG="$conf" PG_TEST_TIMEOUT_DEFAULT=120 \
		${QPS_KILLS:+QPS_KILLS="$QPS_KILLS"} \
		${QPS_SEED:+QPS_SEED="$QPS_SEED"} "$@"
}

# Copy the sources to $qps_build: the clone is not touched, two runs do not meet.
qps_copy()
{
	local rc=0

	mkdir -p "$qps_build"
	# tar says 1 if a file changed while it was read: as good as any moment.
	tar -C "$qps_root" --exclude=./.git --exclude=./.cache --exclude='*.o' \
		--exclude='*.bc' --exclude='*.so' --exclude=__pycache__ \
		--exclude=./results --exclude=./test/unit/build -cf - . |
		tar -C "$qps_build" --no-same-owner -xf - || rc=$?
	[ $rc -le 1 ] || return $rc
	qps_hand_over "$qps_build"
}

# Build the copy and install it below $qps_stage.
qps_build()
{
	qps_as_user make -s -j "$(nproc)" PG_CONFIG="$qps_pg_config" "$@" all ||
		return 1
	qps_stage_files "$@"
}

# Make the server find the files: Debian has extension_destdir, PostgreSQL 18
# extension_control_path; any other server needs the files where it looks.
# Never is the stage only in dynamic_library_path: the library would be loaded
# a second time through $libdir, with statics of its own.
qps_stage_files()
{
	local pkglibdir sharedir

	pkglibdir=$("$qps_pg_config" --pkglibdir)
	sharedir=$("$qps_pg_config" --sharedir)
	qps_extension_dir=$qps_stage$sharedir/extension
	qps_paths="dynamic_library_path = '$qps_stage$pkglibdir:\$libdir'"
	if grep -q extension_destdir "$sharedir/postgresql.conf.sample"; then
		qps_paths="extension_destdir = '$qps_stage'"$'\n'$qps_paths
	elif [ "$qps_major" -ge 18 ]; then
		qps_paths="extension_control_path = '$qps_stage$sharedir:\$system'"$'\n'$qps_paths
	else
		qps_paths=
		qps_extension_dir=$sharedir/extension
		qps_installed=1
		(cd "$qps_build" &&
			make -s PG_CONFIG="$qps_pg_config" "$@" install >/dev/null)
		return
	fi
	qps_as_user make -s PG_CONFIG="$qps_pg_config" "$@" install \
		DESTDIR="$qps_stage" >/dev/null
}

# Settings for a private server: the files given, then where our files lie.
qps_server_conf()
{
	{
		[ $# -eq 0 ] || cat "$@"
		echo
		echo "$qps_paths"
		echo "fsync = off"
		echo "full_page_writes = on"
	} >"$qps_work/server.conf"
	qps_hand_over "$qps_work/server.conf"
}

# Start a server with the settings of qps_server_conf, reachable only through
# a socket in $qps_work; PGHOST, PGPORT, PGUSER and PGDATABASE are set for it.
qps_server_start()
{
	qps_data=$qps_work/data
	qps_log=$qps_work/server.log
	qps_as_user initdb -D "$qps_data" -U postgres -A trust -N \
		--no-locale -E UTF8 >"$qps_work/initdb.log" 2>&1 ||
		{ cat "$qps_work/initdb.log" >&2; return 1; }
	cat >>"$qps_data/postgresql.conf" <<-EOF
		include '$qps_work/server.conf'
		listen_addresses = ''
		unix_socket_directories = '$qps_work'
	EOF
	export PGHOST=$qps_work PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
	qps_as_user pg_ctl -s -w -t 60 -D "$qps_data" -l "$qps_log" start ||
		{ tail -n 30 "$qps_log" >&2; return 1; }
}

qps_server_stop()
{
	qps_as_user pg_ctl -s -w -t 60 -m "${1:-fast}" -D "$qps_data" stop
}

qps_psql()
{
	qps_as_user PGHOST="$PGHOST" PGPORT="$PGPORT" PGUSER="$PGUSER" \
		PGDATABASE="$PGDATABASE" psql -X -q -v ON_ERROR_STOP=1 "$@"
}

# Processes that still live in the private directory; this script does not.
qps_processes()
{
	# find fails wherever a process goes away while it looks.
	{ find /proc -mindepth 2 -maxdepth 2 -name cwd \
		\( -lname "$qps_work" -o -lname "$qps_work/*" \) 2>/dev/null ||
		true; } | cut -d / -f 3
}

# Stop what a suite has left running; true if there was nothing.  A server or
# an initdb that dies half-way leaves its shared memory for ever, and its files
# may be gone before it is: so freeze all, see what they have mapped, kill them
# and remove that.
qps_stop_all()
{
	local pids frozen='' maps='' tries=0

	pids=$(qps_processes)
	[ -n "$pids" ] || return 0
	while [ "$pids" != "$frozen" ] && [ $tries -lt 50 ]; do
		# shellcheck disable=SC2086
		kill -STOP $pids 2>/dev/null
		frozen=$pids
		pids=$(qps_processes)
		tries=$((tries + 1))
	done
	maps=$(for pid in $pids; do cat "/proc/$pid/maps"; done 2>/dev/null)

	tries=0
	while [ -n "$pids" ] && [ $tries -lt 100 ]; do
		# shellcheck disable=SC2086
		kill -KILL $pids 2>/dev/null
		sleep 0.1
		pids=$(qps_processes)
		tries=$((tries + 1))
	done

	# The inode number of a System V segment is its identifier.
	awk '$6 ~ /^\/SYSV/ { print $5 }' <<<"$maps" | sort -u |
		xargs -r -n 1 ipcrm -m 2>/dev/null
	awk '$6 ~ /^\/dev\/shm\/PostgreSQL\./ { print $6 }' <<<"$maps" | sort -u |
		xargs -r rm -f
	return 1
}

# At exit, however it comes about.
qps_close()
{
	local rc=$?

	trap - EXIT
	trap '' INT TERM HUP
	qps_stop_all || true
	if [ -n "$qps_installed" ]; then
		(cd "$qps_build" &&
			make -s PG_CONFIG="$qps_pg_config" uninstall >/dev/null)
	fi
	cd /
	rm -rf "$qps_work"
	exit $rc
}
