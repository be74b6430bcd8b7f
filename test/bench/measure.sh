# shellcheck shell=bash disable=SC2154,SC2034
#
# measure.sh: how test/bench/run looks at the pretended cloud, at processes and
# at the worker's ticks.  Needs what test/lib/server.sh sets; keeps state in
# variables that begin with bench_.

bench_port=
bench_ticking=

#
# The pretended cloud
#

bench_cloud_start()
{
	local file=$qps_work/cloud.out try

	qps_as_user "$qps_work/cloud_server" "$@" >"$file" 2>&1 &
	for try in {1..100}; do
		bench_port=$(sed -n 's/^listening on 127.0.0.1:\([0-9]*\)$/\1/p' "$file")
		[ -z "$bench_port" ] || return 0
		sleep 0.05
	done
	echo "cloud_server did not start ($try tries):" >&2
	cat "$file" >&2
	return 1
}

# One request of the benchmark's own; prints the reply's body.
bench_cloud()
{
	local fd

	exec {fd}<>"/dev/tcp/127.0.0.1/$bench_port" || return 1
	printf 'POST /_bench/%s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n' \
		"$1" >&"$fd"
	sed '1,/^\r$/d' <&"$fd"
	exec {fd}>&-
}

declare -A bench_count=()

# Fills bench_count with the cloud's counters.
bench_cloud_counters()
{
	local name value

	while IFS='=' read -r name value; do
		bench_count[$name]=$value
	done < <(bench_cloud counters.txt)
}

#
# Processes
#

# CPU of all threads of a process, in microseconds; 0 when it is gone.  By the
# scheduler's nanoseconds, for the ticks of /proc/PID/stat are 10 ms long.
bench_cpu_us()
{
	local sum=0 ns file fields

	for file in "/proc/$1"/task/*/schedstat; do
		read -r ns _ <"$file" 2>/dev/null || continue
		sum=$((sum + ns / 1000))
	done
	if [ "$sum" -eq 0 ] && fields=$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null); then
		# shellcheck disable=SC2086
		set -- $fields
		sum=$(((${12} + ${13}) * 10000))
	fi
	echo "$sum"
}

# The postmaster and its children but for one (the worker): "pid us" lines.
bench_cluster_cpu()
{
	local postmaster pid

	postmaster=$(head -n 1 "$qps_data/postmaster.pid")
	for pid in "$postmaster" $(cat "/proc/$postmaster/task/$postmaster/children"); do
		[ "$pid" = "$1" ] || echo "$pid $(bench_cpu_us "$pid")"
	done
}

# Kilobytes of a line of /proc/PID/status: VmHWM, RssAnon, ...
bench_memory_kb()
{
	sed -n "s/^$2:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$1/status" 2>/dev/null || true
}

#
# Arithmetic
#

bench_median()
{
	printf '%s\n' "$@" | sort -n |
		awk '{ v[NR] = $1 } END { if (NR) printf "%.1f",
			NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2;
			else printf "-" }'
}

# bench_calc FORMAT EXPRESSION; "-" where that divides by zero.
bench_calc()
{
	awk "BEGIN { printf \"$1\", $2 }" 2>/dev/null || printf '%s' -
}

#
# The database.  What only steers runs in the database postgres, so that the
# counters of the database bench show the worker alone.
#

bench_sql()
{
	PGDATABASE=bench qps_psql -At -c "$1"
}

# bench_settings NAME=VALUE...
bench_settings()
{
	local pair arguments=()

	for pair in "$@"; do
		arguments+=(-c "alter system set ${pair%%=*} = '${pair#*=}'")
	done
	qps_psql -o /dev/null "${arguments[@]}" -c 'select pg_reload_conf()'
}

# Let the worker tick each INTERVAL, or (bench_pause) not at all: it keeps its
# connections and caches while the floor is measured.  Whether it is at rest is
# seen from the cloud, so that nobody looks into its database.
bench_resume()
{
	[ "$bench_ticking" = "$1" ] ||
		bench_settings qpsscale.enabled=on "qpsscale.interval=$1"
	bench_ticking=$1
}

bench_pause()
{
	# Not in the middle of a tick: that would stop its actions.
	bench_quiet
	bench_settings qpsscale.enabled=off
	bench_ticking=
	bench_quiet
}

# Wait until the cloud has heard nothing for half a second.
bench_quiet()
{
	local quiet=0 calls='' try

	for try in {1..600}; do
		bench_cloud_counters
		if [ "${bench_count[in_flight]}" -eq 0 ] &&
			[ "${bench_count[calls]}" = "$calls" ]; then
			quiet=$((quiet + 1))
		else
			quiet=0
		fi
		[ $quiet -lt 5 ] || return 0
		calls=${bench_count[calls]}
		sleep 0.1
	done
	echo "the worker does not come to rest ($try tries)" >&2
	return 1
}

# bench_ticks K SECONDS: wait for K whole ticks and print their milliseconds,
# as the worker states them.  Polls from inside the server, one transaction a
# look, so that no snapshot is held.
bench_ticks()
{
	PGDATABASE=bench qps_psql -At -c "do \$do\$
		declare
			seen bigint;
			current record;
			found text := '';
			n int := 0;
			until timestamptz := clock_timestamp() + interval '$2 seconds';
		begin
			loop
				select ticks, last_tick_ms into current
				from qpsscale.stat_worker
				where pid is not null
				limit 1;
				if seen is null then
					seen := current.ticks;
				elsif current.ticks > seen then
					seen := current.ticks;
					found := found || ' ' || round(current.last_tick_ms::numeric, 1);
					n := n + 1;
					exit when n >= $1;
				end if;
				if clock_timestamp() > until then
					raise exception 'only % of $1 ticks in $2 s', n;
				end if;
				commit;
				perform pg_sleep(0.01);
			end loop;
			perform set_config('bench.found', found, false);
		end
		\$do\$" -c "select current_setting('bench.found')"
}

# bench_commit_time EXCLUDED GROUPS ACTIONS: from the start of the next tick
# until at least that many groups, but for asg-EXCLUDED, show an evaluation and
# that many of them an ended call; or until the tick is over.  Prints
# "milliseconds groups actions" of the last progress.
bench_commit_time()
{
	PGDATABASE=bench qps_psql -At -c "do \$do\$
		declare
			started timestamptz;
			before timestamptz;
			first_ticks bigint;
			current record;
			groups_done bigint;
			actions_done bigint;
			best text := '0 0 0';
			best_sum bigint := 0;
			over boolean := false;
			until timestamptz := clock_timestamp() + interval '60 seconds';
		begin
			loop
				select ticks, last_tick_started_at into current
				from qpsscale.stat_worker
				where pid is not null
				limit 1;
				before := coalesce(before, current.last_tick_started_at);
				exit when current.last_tick_started_at > before;
				if clock_timestamp() > until then
					raise exception 'no tick began in 60 s';
				end if;
				commit;
				perform pg_sleep(0.002);
			end loop;
			started := current.last_tick_started_at;
			first_ticks := current.ticks;
			loop
				select count(*) into groups_done
				from qpsscale.state s
				join qpsscale.resource_groups g on g.id = s.resource_group_id
				where s.last_evaluated_at >= started
					and g.asg_id <> 'asg-$1';
				select count(*) into actions_done
				from qpsscale.activities a
				join qpsscale.resource_groups g on g.id = a.resource_group_id
				where a.requested_at >= started
					and a.status <> 'requested'
					and g.asg_id <> 'asg-$1';
				if groups_done + actions_done > best_sum then
					best_sum := groups_done + actions_done;
					best := round(1000 * extract(epoch from
						clock_timestamp() - started)) || ' ' || groups_done
						|| ' ' || actions_done;
				end if;
				exit when over or groups_done >= $2 and actions_done >= $3;
				select ticks > first_ticks or clock_timestamp() > until into over
				from qpsscale.stat_worker
				where pid is not null
				limit 1;
				commit;
				perform pg_sleep(0.005);
			end loop;
			perform set_config('bench.found', best, false);
		end
		\$do\$" -c "select current_setting('bench.found')"
}

# All that is read before and after a stretch of ticks: name=value lines.  The
# session counts two transactions of its own, connecting and asking, which show
# only after it has ended: the difference between two holds them once.
bench_own_transactions=2
bench_snapshot()
{
	bench_sql "
		select 'pid=' || pid || E'\nticks=' || ticks
			|| E'\ngroups=' || groups_evaluated
			|| E'\napi_calls=' || api_calls
			|| E'\napi_errors=' || api_errors
			|| E'\ntransactions=' || transactions
			|| E'\nopened=' || connections_opened
			|| E'\nhandshakes=' || tls_handshakes
		from qpsscale.stat_worker
		where pid is not null
		limit 1;
		select 'xact=' || xact_commit + xact_rollback
		from pg_stat_database where datname = current_database();
		select 'updates=' || n_tup_upd || E'\nhot=' || n_tup_hot_upd
		from pg_stat_all_tables where relid = 'qpsscale.state'::regclass;
		select 'heap=' || pg_relation_size('qpsscale.state')
			|| E'\nwal=' || pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
}

# CPU of one backend that calls qpsscale_evaluate() for all groups, in us, and
# the groups answered.
bench_backend_call()
{
	# shellcheck disable=SC2016
	PGDATABASE=bench qps_psql -At <<-'EOF'
		select count(*) from qpsscale_evaluate() \g /dev/null
		select pg_backend_pid() as pid \gset
		\setenv BENCH_PID :pid
		\! cut -d ' ' -f 1 /proc/$BENCH_PID/schedstat
		select count(*) from qpsscale_evaluate();
		\! cut -d ' ' -f 1 /proc/$BENCH_PID/schedstat
	EOF
}
