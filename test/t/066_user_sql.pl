# SQL that users wrote as a signal: whatever it does is contained, named and
# charged to its own group, and all others are evaluated in the same tick.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils qw(slurp_file);
use QpsscaleNode;
use Test::More;
use Time::HiRes qw(time);

# A tick when it is asked for: each evaluates what there is once.
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.cycle_deadline' => "'20s'",
		'qpsscale.sql_timeout' => "'400ms'"
	});

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(<<'SQL');
CREATE ROLE team;
CREATE SCHEMA team AUTHORIZATION team;
CREATE TABLE public.salaries (amount integer);
CREATE TABLE public.jobs (n integer);
INSERT INTO public.jobs VALUES (37);
GRANT SELECT, INSERT ON public.jobs TO team;
SET ROLE team;
CREATE TABLE team.mine (n integer);
CREATE FUNCTION team.get(text) RETURNS integer LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION team.set(text, integer) RETURNS void LANGUAGE sql AS '';
-- runs a text that SQL alone cannot
CREATE FUNCTION team.run(statement text) RETURNS integer LANGUAGE plpgsql AS
	'BEGIN EXECUTE statement; RETURN 5; END';
CREATE FUNCTION team.deep(n integer) RETURNS integer LANGUAGE plpgsql AS
	'BEGIN RETURN team.deep(n + 1); END';
CREATE FUNCTION team.chatter() RETURNS integer LANGUAGE plpgsql AS
	'BEGIN FOR i IN 1..2000 LOOP RAISE WARNING ''CHATTER %'', i; END LOOP; RETURN 5; END';
CREATE FUNCTION team.stubborn() RETURNS integer LANGUAGE plpgsql AS
	'BEGIN PERFORM pg_sleep(60); RETURN 5;
	 EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(60); RETURN 5; END';
CREATE FUNCTION team.definer(statement text) RETURNS integer LANGUAGE plpgsql
	SECURITY DEFINER AS 'BEGIN EXECUTE statement; RETURN 5; END';
SQL

# One group that does not need SQL, and one with a signal that changes.
my $web = add_group($node, $cloud, 'web', desired => 9);
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 405 });
my $id = sql(<<'SQL');
SET ROLE postgres;
INSERT INTO qpsscale.resource_groups
	(name, provider, asg_id, get_capacity, set_capacity, max_instances, owner)
	VALUES ('pool', 'sql', 'pool', 'team.get', 'team.set', 10, 'team')
	RETURNING id;
SQL
sql(<<"SQL");
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	VALUES ($id, 'jobs', 'sql', 'SELECT n FROM public.jobs', 10);
UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id;
SQL

my $latest;

# Sets the query, evaluates all; what came of both groups, and how long it took.
sub ask
{
	my ($query) = @_;
	my $started = time();
	my $update = defined $query
	  ? "UPDATE qpsscale.signals SET query = \$Q\$$query\$Q\$ WHERE resource_group_id = $id;"
	  : '';
	my ($answer, $value) = split /\n/, sql(<<"SQL");
$update
SELECT jsonb_agg(e) FROM qpsscale_evaluate() e;
SELECT latest_value FROM qpsscale.signal_state WHERE resource_group_id = $id;
SQL
	my %result = map { $_->{asg_id} => $_ } @{ decode_json($answer) };

	$latest = $value // '';
	return ($result{pool}, $result{'asg-web'}, time() - $started);
}

# What the signal's state has since then.
sub latest { return $latest; }

# Of the signal alone: whatever decides has nothing to do with it.
sub error_of
{
	my ($result) = @_;

	return $result->{error} // '';
}

sub processes
{
	return sql("SELECT count(*) FROM pg_stat_activity"
		  . " WHERE backend_type = 'qpsscale user SQL'");
}

# ---- what is asked for ----

my ($pool, $other) = ask();
is(latest(), '37', 'a query\'s number is the signal');
is($pool->{current_desired}, 2, 'a function\'s the capacity');
is(processes(), '1', 'one process runs them');

foreach my $case (
	[ 'VALUES (4)', '4', 'VALUES' ],
	[ 'SELECT 1.5::numeric', '1.5', 'numeric' ],
	[ 'WITH q AS (SELECT 7::bigint AS n) SELECT n FROM q', '7', 'WITH' ],
	[ 'SELECT 8::smallint -- a comment', '8', 'a comment behind it' ],
	[ 'SELECT 9::real;', '9', 'a semicolon behind it' ],
	[ q{SELECT (current_user = 'team')::integer}, '1', 'the owner runs it' ],
	[ q{SELECT (current_setting('search_path') = 'pg_catalog, pg_temp')::integer},
		'1', 'with a search path of its own' ],
	[ q{SELECT (current_setting('transaction_read_only') = 'on')::integer + 1},
		'2', 'read only' ],
	[ 'SELECT team.chatter()', '5', 'a flood of messages' ])
{
	my ($query, $value, $what) = @$case;
	my ($result, $beside) = ask($query);

	is(error_of($result) . latest(), $value, "a signal may be: $what");
	is($beside->{reason}, 'optimal_instance_count_reached',
		'and the other group is evaluated');
}
unlike(slurp_file($node->logfile), qr/WARNING:\s+CHATTER/,
	'messages of users are not the server\'s log');

# ---- no number ----

sql("UPDATE qpsscale.signals SET query = 'SELECT 37' WHERE resource_group_id = $id");
ask();
foreach my $case (
	[ 'SELECT 1 WHERE false', 'no row' ],
	[ 'SELECT NULL::integer', 'NULL' ],
	[ q{SELECT 'NaN'::double precision}, 'NaN' ],
	[ q{SELECT 'Infinity'::double precision}, 'an infinity' ],
	[ q{SELECT '1e400'::numeric}, 'too large a number' ])
{
	my ($query, $what) = @$case;
	my ($result) = ask($query);

	is(error_of($result), '', "$what is an answer");
	is(latest(), '', 'but no number, least of all zero');
	isnt($result->{action}, 'scale_down', 'and shrinks nothing');
}

# ---- what is refused, and by which name ----

# A second session holds what some of them want.
my $holder = $node->background_psql('postgres', on_error_stop => 0);
$holder->query_safe('BEGIN; SELECT pg_advisory_lock(42); LOCK TABLE team.mine;');

my @refused = (
	[ 'not_one_row', 'SELECT generate_series(1, 2)', 'two rows' ],
	[ 'not_one_row', 'SELECT generate_series(1, 2000000000)', 'very many rows' ],
	[ 'not_one_column', 'SELECT 1, 2', 'two columns' ],
	[ 'not_one_column', 'SELECT', 'no column' ],
	[ 'not_a_number', q{SELECT '37'}, 'text' ],
	[ 'not_a_number', q{SELECT repeat('x', 1000000000)}, 'huge text' ],
	[ 'not_a_number', 'SELECT ARRAY[1]', 'an array' ],
	[ 'not_one_select', 'SELECT 1; SELECT 2', 'two statements' ],
	[ 'not_one_select', 'SELECT 1; COMMIT; SELECT 2', 'the end of its transaction' ],
	[ 'not_one_select', '-- nothing', 'nothing' ],
	[ 'not_one_select', q{COPY (SELECT 1) TO PROGRAM 'true'}, 'COPY' ],
	[ 'not_one_select', q{DO 'BEGIN END'}, 'DO' ],
	[ 'not_one_select', 'CALL team.nothing()', 'CALL' ],
	[ 'not_one_select', 'SET ROLE postgres', 'SET ROLE' ],
	[ 'not_one_select', 'EXPLAIN ANALYZE SELECT 1', 'EXPLAIN' ],
	[ 'not_one_select', 'INSERT INTO public.jobs VALUES (1) RETURNING n', 'INSERT' ],
	[ '25006', 'WITH w AS (INSERT INTO public.jobs VALUES (1) RETURNING n) SELECT n FROM w',
		'a write in WITH' ],
	[ '25006', q{SELECT team.run('INSERT INTO public.jobs VALUES (1)')}, 'a write in a function' ],
	[ '25006', 'SELECT n FROM team.mine2 FOR UPDATE', 'a row lock' ],
	[ '25001', q{SELECT team.run('SET transaction_read_only = off; INSERT INTO public.jobs VALUES (1)')},
		'the end of READ ONLY' ],
	[ '22012', 'SELECT 1 / 0', 'an error' ],
	[ '42601', 'SELEC 1', 'a syntax error' ],
	[ '42P01', 'SELECT n FROM public.no_such_table', 'a missing table' ],
	[ '42501', 'SELECT amount FROM public.salaries', 'a table the owner may not read' ],
	[ '54001', 'SELECT team.deep(1)', 'endless recursion' ],
	[ '53200', q{SELECT length(repeat('x', 1000000000))}, 'more memory than it may have' ],
	[ 'sql_timeout', 'SELECT 1 FROM pg_sleep(60)', 'sleep' ],
	[ 'sql_timeout', 'SELECT count(*) FROM generate_series(1, 100000000000)', 'endless work' ],
	[ 'sql_timeout', q{SELECT team.run('SET statement_timeout = 0; SET lock_timeout = 0; SELECT pg_sleep(60)')},
		'sleep without a time-out' ],
	[ '55P03', 'SELECT 1 FROM pg_advisory_lock(42)', 'an advisory lock that is held' ],
	[ '55P03', 'SELECT n FROM team.mine', 'a table that is locked' ],
	[ 'sql_process_ended', 'SELECT team.stubborn()', 'a cancellation that is caught' ],
	# to become somebody else
	[ '42501', q{SELECT team.run('SET ROLE postgres')}, 'SET ROLE in a function' ],
	[ '42501', q{SELECT team.run('SET LOCAL ROLE postgres')}, 'SET LOCAL ROLE' ],
	[ '42501', q{SELECT team.run('RESET ROLE')}, 'RESET ROLE' ],
	[ '42501', q{SELECT team.run('SET ROLE none')}, 'SET ROLE none' ],
	[ '42501', q{SELECT team.run('SET SESSION AUTHORIZATION postgres')}, 'SET SESSION AUTHORIZATION' ],
	[ '42501', q{SELECT team.run('RESET SESSION AUTHORIZATION')}, 'RESET SESSION AUTHORIZATION' ],
	[ '42501', q{SELECT 1 FROM set_config('role', 'postgres', false)}, 'set_config of the role' ],
	[ '42501', q{SELECT 1 FROM set_config('session_authorization', 'postgres', false)},
		'set_config of the session' ],
	[ '42501', q{SELECT team.definer('SET ROLE postgres')}, 'a SECURITY DEFINER function of its own' ],
	[ '42501|25006', q{SELECT team.run('ALTER ROLE team SUPERUSER')}, 'ALTER ROLE' ],
	[ '42501|25006', q{SELECT team.run('GRANT postgres TO team')}, 'GRANT' ],
	[ '42501', q{SELECT team.run('COPY (SELECT 1) TO PROGRAM ''true''')}, 'COPY TO PROGRAM' ],
	[ '42501', q{SELECT 1 FROM pg_read_file('postgresql.conf')}, 'reading a file' ],
	[ '42501|25006', q{SELECT team.run('CREATE TEMP TABLE t (n integer)')}, 'a temporary table' ],
	[ '42501', q{SELECT team.run('DECLARE c CURSOR WITH HOLD FOR SELECT 1')}, 'a cursor that stays' ],
	[ '42501', q{SELECT team.run('PREPARE p AS SELECT 1')}, 'a prepared statement' ],
	[ '\w{5}', q{SELECT team.run('LISTEN c')}, 'LISTEN' ],
	[ '\w{5}', q{SELECT team.run('COMMIT')}, 'COMMIT in a function' ],
	# to end or stop us
	[ '42501', 'SELECT 1 FROM pg_terminate_backend(pg_backend_pid())', 'ending its process' ],
	[ '42501', 'SELECT 1 FROM pg_cancel_backend(pg_backend_pid())', 'cancelling its process' ],
	[ '42501', 'SELECT 1 FROM pg_terminate_backend(' . worker_pid($node) . ')', 'ending the worker' ],
	[ '42501', 'SELECT 1 FROM pg_reload_conf()', 'a reload' ]);

sql('CREATE TABLE team.mine2 (n integer); ALTER TABLE team.mine2 OWNER TO team');
foreach my $case (@refused)
{
	my ($code, $query, $what) = @$case;
	my ($result, $beside, $seconds) = ask($query);

	like(error_of($result), qr/^(?:$code): /, "$what is $code");
	is(latest(), '', 'and no number');
	is($beside->{reason}, 'optimal_instance_count_reached',
		'the other group was evaluated');
	cmp_ok($seconds, '<', 10, 'it took no longer than it may');
}
$holder->quit;

is(sql('SELECT count(*) FROM public.jobs'), '1', 'nothing was written');
is(sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'team'"), 'f',
	'nobody has become a superuser');
is(sql("SELECT count(DISTINCT source || message) >= 20 FROM qpsscale.errors"
	  . " WHERE resource_group_id = $id AND source = 'signal jobs'"),
	't', 'each is on record, under the name of the signal');

# ---- nothing is left for the next one ----

foreach my $case (
	[ 'SELECT 1 FROM pg_advisory_lock(7)',
		q{SELECT count(*) + 1 FROM pg_locks WHERE locktype = 'advisory'}, 'an advisory lock' ],
	[ q{SELECT length(set_config('search_path', 'team', false))},
		q{SELECT (current_setting('search_path') = 'pg_catalog, pg_temp')::integer},
		'a setting' ],
	[ q{SELECT length(set_config('team.secret', 'x', false))},
		q{SELECT (coalesce(current_setting('team.secret', true), '') = '')::integer},
		'a setting of its own' ])
{
	my ($leaves, $finds, $what) = @$case;
	my ($first) = ask($leaves);
	my ($second) = ask($finds);

	is(error_of($first) . error_of($second) . latest(), '1',
		"$what does not outlive its query");
}

# ---- ends of the process ----

sub runner
{
	return sql("SELECT pid FROM pg_stat_activity"
		  . " WHERE backend_type = 'qpsscale user SQL'");
}

ask('SELECT 11');
my $pid = runner();
sql("SELECT pg_terminate_backend($pid)");
wait_until('a process that is idle can be ended', sub { runner() ne $pid });
my ($result) = ask('SELECT 12');
is(error_of($result) . latest(), '12', 'the next query has another one');
isnt(runner(), $pid, 'indeed');
sql("SELECT pg_cancel_backend(" . runner() . ")");
wait_until('one that is idle and cancelled does not stop anything',
	sub { ask('SELECT 13'); return latest() eq '13' });

# ---- tick by tick ----

# Six that sleep, and thirty that do not, in one tick.
sql("UPDATE qpsscale.signals SET query = 'SELECT 37'");
sql(<<'SQL');
INSERT INTO qpsscale.resource_groups
	(name, provider, asg_id, get_capacity, set_capacity, max_instances, owner)
	SELECT 'p' || i, 'sql', 'p' || i, 'team.get', 'team.set', 10, 'team'
	FROM generate_series(1, 36) i;
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	SELECT g.id, 's', 'sql',
		CASE WHEN substr(g.name, 2)::integer <= 6
		THEN 'SELECT 1 FROM pg_sleep(60)' ELSE 'SELECT 7' END, 10
	FROM qpsscale.resource_groups g WHERE g.name LIKE 'p_' OR g.name LIKE 'p__';
UPDATE qpsscale.resource_groups SET enabled = true;
ALTER SYSTEM SET qpsscale.interval = '2s';
ALTER SYSTEM SET qpsscale.cycle_deadline = 0;
SELECT pg_reload_conf();
SQL
wait_for($node,
	"SELECT count(*) FROM qpsscale.signal_state WHERE name = 's' AND latest_value = 7",
	'30', 'all that answer are heard, though six sleep before them');
wait_for($node, "SELECT count(*) FROM qpsscale.signal_state"
	  . " WHERE name = 's' AND last_error LIKE 'sql_timeout:%'",
	'6', 'the six are named');
my $before = sql("SELECT ticks FROM qpsscale.stat_worker");
wait_for($node, "SELECT ticks > $before + 3 FROM qpsscale.stat_worker", 't',
	'ticks go on');
is(sql("SELECT max(extract(epoch FROM now() - last_evaluated_at)) < 6"
	  . " FROM qpsscale.state s JOIN qpsscale.resource_groups g"
	  . " ON g.id = s.resource_group_id WHERE g.enabled"), 't',
	'and evaluate every group');
wait_for($node,
	"SELECT last_tick_ms < 1000 FROM qpsscale.stat_worker", 't',
	'what fails again and again does not cost each tick its time');
is(processes(), '1', 'still one process');

# Once somebody has asked and got an answer, that is over.
sql("UPDATE qpsscale.signals SET query = 'SELECT n FROM team.later'"
	  . " WHERE resource_group_id = $id");
$before = sql("SELECT ticks FROM qpsscale.stat_worker");
wait_for($node, "SELECT ticks > $before + 4 FROM qpsscale.stat_worker", 't',
	'a query fails for some ticks');
sql('CREATE TABLE team.later AS SELECT 21 AS n; ALTER TABLE team.later OWNER TO team');
evaluate($node, $id);
$before = sql("SELECT ticks FROM qpsscale.stat_worker");
wait_for($node, "SELECT ticks > $before + 2 FROM qpsscale.stat_worker", 't',
	'it was mended, and qpsscale_evaluate() has found that');
is(sql("SELECT latest_value || coalesce(last_error, '') FROM qpsscale.signal_state"
	  . " WHERE resource_group_id = $id"), '21', 'ticks ask it again at once');

# A tick of three hundred that take 10 ms each, so that there is always news.
sql(<<'SQL');
ALTER SYSTEM SET qpsscale.interval = '1h';
ALTER SYSTEM SET qpsscale.cycle_deadline = '20s';
SELECT pg_reload_conf();
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	SELECT g.id, 'short' || i, 'sql', 'SELECT 1 FROM pg_sleep(0.01)', 10
	FROM qpsscale.resource_groups g, generate_series(1, 10) i
	WHERE g.name ~ '^p[0-9]' AND substr(g.name, 2)::integer > 6;
SQL
$before = sql('SELECT ticks FROM qpsscale.stat_worker');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 980 });
sql("ALTER SYSTEM SET qpsscale.interval = '15s'; SELECT pg_reload_conf()");
wait_for($node, "SELECT count(*) FROM qpsscale.activities WHERE resource_group_id = $web"
	  . " AND desired_capacity = 20 AND status <> 'requested'", '1',
	'a group that does not need them is scaled');
is(sql('SELECT last_tick_finished_at IS NULL OR last_tick_finished_at <'
	  . ' last_tick_started_at FROM qpsscale.stat_worker'), 't',
	'while the others are being asked');
is(sql("SELECT a.accepted_at - w.last_tick_started_at < '2 s' FROM"
	  . " qpsscale.activities a, qpsscale.stat_worker w"
	  . " WHERE a.resource_group_id = $web AND a.desired_capacity = 20"), 't',
	'without waiting for them');
wait_for($node, "SELECT ticks > $before FROM qpsscale.stat_worker", 't',
	'the tick goes on to its end');

# ---- owners ----

# What a session keeps is kept for one owner: each has a process of his own.
sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE name ~ '^p[0-9]'");
sql(<<"SQL");
ALTER SYSTEM SET qpsscale.interval = '1h';
SELECT pg_reload_conf();
CREATE ROLE others;
GRANT USAGE ON SCHEMA team TO others;
INSERT INTO qpsscale.resource_groups
	(name, provider, asg_id, get_capacity, set_capacity, max_instances, owner)
	VALUES ('theirs', 'sql', 'theirs', 'team.get', 'team.set', 10, 'others');
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	SELECT g.id, 'pid', 'sql', 'SELECT pg_backend_pid()', 10
	FROM qpsscale.resource_groups g WHERE g.name = 'theirs';
UPDATE qpsscale.resource_groups SET enabled = true WHERE name = 'theirs';
SQL
ask('SELECT pg_backend_pid()');
is(sql("SELECT count(DISTINCT s.latest_value) FROM qpsscale.signal_state s"
	  . " JOIN qpsscale.resource_groups g ON g.id = s.resource_group_id"
	  . " WHERE g.name = 'pool' OR g.name = 'theirs'"), '2',
	'two owners have two processes in one tick');
wait_until('one after the other', sub { processes() eq '1' });
like((ask('SELECT n FROM team.mine'))[0]{error} // '', qr/^\s*$/,
	'the one may read his table');
sql("UPDATE qpsscale.signals s SET query = 'SELECT n FROM team.mine'"
	  . " FROM qpsscale.resource_groups g"
	  . " WHERE g.id = s.resource_group_id AND g.name = 'theirs'");
ask();
like(sql("SELECT last_error FROM qpsscale.signal_state WHERE name = 'pid'"),
	qr/^42501: permission denied for table mine/, 'the other may not');

# ---- for ever ----

sub memory_kb
{
	my ($process) = @_;

	return slurp_file("/proc/$process/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : 0;
}

sub descriptors
{
	my ($process) = @_;
	my @all = glob("/proc/$process/fd/*");

	return scalar @all;
}

sub cycles
{
	my ($n) = @_;

	sql("DO 'BEGIN FOR i IN 1..$n LOOP PERFORM qpsscale_evaluate(); END LOOP; END'");
	return;
}

# One that answers, one that fails, and one whose owner is another.
ask('SELECT 11');
cycles(50);
my $worker = worker_pid($node);
my ($memory, $files) = (memory_kb($worker), descriptors($worker));
cycles(100);
cmp_ok(memory_kb($worker) - $memory, '<', 1024,
	'200 processes, one after the other, cost the worker no memory');
cmp_ok(descriptors($worker), '<=', $files + 2, 'and no descriptors');
is(worker_pid($node), $worker, 'it is the same worker');
is(processes(), '1', 'and there is one process beside it');
sql("UPDATE qpsscale.resource_groups SET enabled = name <> 'theirs' WHERE name = 'theirs'");
ask();
cycles(50);
$pid = runner();
$memory = memory_kb($pid);
cycles(500);
is(runner(), $pid, 'one owner has one process for 500 cycles');
cmp_ok(memory_kb($pid) - $memory, '<', 1024, 'which does not grow');

done_testing();
