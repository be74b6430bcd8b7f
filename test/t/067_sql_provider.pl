# Provider sql: capacity is read and set by functions of the owner.  An action
# goes the way of any cloud's: intent, call, outcome; and whatever ends in the
# middle of it is settled by reading.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils qw(slurp_file);
use QpsscaleNode;
use Test::More;
use Time::HiRes qw(time);

my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.cycle_deadline' => "'2s'",
		'qpsscale.request_timeout' => "'200ms'",
		'qpsscale.sql_timeout' => "'300ms'",
		'restart_after_crash' => 'on'
	});

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $machines = <<'SQL';
CREATE ROLE team;
CREATE SCHEMA team AUTHORIZATION team;
SET ROLE team;
CREATE TABLE team.machines
	(pool text PRIMARY KEY, wanted integer, total integer, in_service integer,
	 calls integer NOT NULL DEFAULT 0, behaviour text NOT NULL DEFAULT '');
CREATE TABLE team.touched (pool text, wanted integer);
CREATE FUNCTION team.wanted(pool text) RETURNS integer LANGUAGE sql AS
	'SELECT wanted FROM team.machines m WHERE m.pool = $1';
CREATE FUNCTION team.counts(pool text,
	OUT desired integer, OUT total integer, OUT in_service integer)
	LANGUAGE sql AS
	'SELECT wanted, total, in_service FROM team.machines m WHERE m.pool = $1';
CREATE FUNCTION team.want(pool text, wanted integer) RETURNS boolean
	LANGUAGE plpgsql AS $$
DECLARE
	does text;
BEGIN
	UPDATE team.machines m SET wanted = want.wanted, calls = calls + 1
	WHERE m.pool = want.pool RETURNING m.behaviour INTO does;
	INSERT INTO team.touched VALUES (want.pool, want.wanted);
	IF does = 'fails' THEN
		RAISE EXCEPTION 'no machine is free';
	ELSIF does = 'sleeps' THEN
		PERFORM pg_sleep(60);
	ELSIF does = 'insists' THEN
		BEGIN
			PERFORM pg_sleep(60);
		EXCEPTION WHEN query_canceled THEN
			PERFORM pg_sleep(60);
		END;
	ELSIF does = 'becomes postgres' THEN
		SET ROLE postgres;
	ELSIF does = 'leaves a setting' THEN
		PERFORM set_config('search_path', 'team', false);
		PERFORM set_config('lock_timeout', '1', false);
	ELSIF does = 'leaves a temporary type' THEN
		CREATE DOMAIN pg_temp.leftover AS integer;
	ELSIF does = 'notifies' THEN
		PERFORM pg_notify('machines', want.pool || ' ' || want.wanted);
	ELSIF does = 'leaves a lock' THEN
		PERFORM pg_advisory_lock(7);
	END IF;
	RETURN does <> 'refuses';
END $$;
SQL
sql($machines);

# No cooldowns, no window: what follows is about the functions.
my $at_once = 'scale_up_cooldown_seconds, scale_down_cooldown_seconds,'
  . ' general_cooldown_seconds, scale_down_window_seconds';

# A pool that wants one machine for each ten jobs of its table.
sub add_pool
{
	my ($pool, %opts) = @_;
	my $getter = $opts{getter} // 'team.wanted';
	my $wanted = $opts{wanted} // 2;
	my $min = $opts{min} // 1;
	my $id = sql(<<"SQL");
INSERT INTO team.machines (pool, wanted, total, in_service)
	VALUES ('$pool', $wanted, $wanted, $wanted);
INSERT INTO qpsscale.resource_groups
	(name, provider, asg_id, get_capacity, set_capacity, min_instances,
	 max_instances, owner, dry_run, $at_once)
	VALUES ('$pool', 'sql', '$pool', '$getter', 'team.want', $min, 10, 'team',
			false, 0, 0, 0, 0)
	RETURNING id;
SQL
	sql(<<"SQL");
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	VALUES ($id, 'jobs', 'sql', 'SELECT $wanted * 10', 10);
UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id;
SQL
	return $id;
}

sub jobs
{
	my ($id, $n) = @_;

	sql("UPDATE qpsscale.signals SET query = 'SELECT $n'"
		  . " WHERE resource_group_id = $id");
	return;
}

sub does
{
	my ($pool, $behaviour) = @_;

	sql("UPDATE team.machines SET behaviour = '$behaviour' WHERE pool = '$pool'");
	return;
}

sub wanted
{
	my ($pool) = @_;

	return sql("SELECT wanted FROM team.machines WHERE pool = '$pool'");
}

sub verdict
{
	my ($id) = @_;
	my $result = evaluate($node, $id);

	return "$result->{action} " . ($result->{desired_capacity} // 'null');
}

sub last_activity
{
	my ($id) = @_;

	return sql("SELECT concat_ws(' ', status, desired_capacity, error_message)"
		  . " FROM qpsscale.activities WHERE resource_group_id = $id"
		  . ' ORDER BY id DESC LIMIT 1');
}

sub runner
{
	return sql("SELECT coalesce(max(pid), 0) FROM pg_stat_activity"
		  . " WHERE backend_type = 'qpsscale user SQL'");
}

# Evaluates until the activity has come to that.
sub comes_to
{
	my ($id, $expected, $what) = @_;
	my $seen = '';
	my $came = wait_until($what, sub {
		evaluate($node, $id);
		return ($seen = last_activity($id)) =~ $expected;
	});

	diag("last seen: $seen") unless $came;
	return;
}

# ---- out, in, to zero and back ----

my $id = add_pool('web', min => 0);
is(verdict($id), 'none 2', 'two are enough for 20 jobs');
jobs($id, 65);
is(verdict($id), 'scale_up 7', '65 jobs want seven');
is(wanted('web'), '7', 'the function was called');
is(last_activity($id), 'accepted 7', 'and the ledger knows');
comes_to($id, qr/^successful 7$/, 'what the function says is there has succeeded');
jobs($id, 11);
is(verdict($id), 'scale_down 2', '11 jobs want two');
is(wanted('web'), '2', 'the function was called again');
comes_to($id, qr/^successful 2$/, 'shrinking too');
jobs($id, 0);
is(verdict($id), 'scale_down 0', 'no jobs, no machines: min_instances is 0');
is(wanted('web'), '0', 'all of them went');
comes_to($id, qr/^successful 0$/, 'to zero');
is(verdict($id), 'none 0', 'and stays there');
jobs($id, 1);
is(verdict($id), 'scale_up 1', 'the first job starts a machine');
is(wanted('web'), '1', 'from zero');
comes_to($id, qr/^successful 1$/, 'and it is there');
jobs($id, 500);
is(verdict($id), 'scale_up 10', 'max_instances is the limit');

# ---- machines that take their time ----

$id = add_pool('slow', getter => 'team.counts');
jobs($id, 50);
is(verdict($id), 'scale_up 5', 'a function that tells more than one number');
evaluate($node, $id);
is(last_activity($id), 'accepted 5', 'they are not there yet');
sql("UPDATE team.machines SET total = 5, in_service = 3 WHERE pool = 'slow'");
evaluate($node, $id);
is(last_activity($id), 'accepted 5', 'three of five are not all');
jobs($id, 10);
is(evaluate($node, $id)->{reason}, 'scaling_in_progress',
	'and nothing shrinks meanwhile');
sql("UPDATE team.machines SET in_service = 5 WHERE pool = 'slow'");
wait_until('all serve', sub {
	evaluate($node, $id);
	return activities($node, $id) =~ /^successful 5\n/;
});
cmp_ok(sql("SELECT in_service_seconds FROM qpsscale.activities WHERE"
		  . " resource_group_id = $id AND desired_capacity = 5"), '>', 0,
	'the time it took is measured');

# ---- what cannot be read is no zero ----

foreach my $case (
	[ 'RETURNS integer LANGUAGE sql AS $$SELECT NULL::integer$$', 'no_desired', 'NULL' ],
	[ 'RETURNS integer LANGUAGE sql AS $$SELECT -1$$', 'not_a_count', 'a negative number' ],
	[ 'RETURNS numeric LANGUAGE sql AS $$SELECT 1.5$$', 'not_a_count', 'half a machine' ],
	[ 'RETURNS text LANGUAGE sql AS $$SELECT \'two\'$$', 'not_a_count', 'text' ],
	[ 'RETURNS numeric LANGUAGE sql AS $$SELECT \'NaN\'::numeric$$', 'not_a_count', 'NaN' ],
	[ 'RETURNS SETOF integer LANGUAGE sql AS $$SELECT 1 WHERE false$$', 'not_one_row', 'no row' ],
	[ 'RETURNS SETOF integer LANGUAGE sql AS $$SELECT generate_series(1, 3)$$', 'not_one_row', 'three rows' ],
	[ 'RETURNS integer LANGUAGE sql AS $$SELECT 1/0$$', '22012', 'an error' ],
	[ 'RETURNS integer LANGUAGE sql AS $$INSERT INTO team.touched VALUES (NULL, 1) RETURNING wanted$$',
		'25006', 'a write' ])
{
	my ($body, $code, $what) = @$case;

	sql("DROP FUNCTION IF EXISTS team.odd(text);"
		  . " CREATE FUNCTION team.odd(text) $body");
	my $odd = sql("SELECT id FROM qpsscale.resource_groups WHERE name = 'odd'")
	  || add_pool('odd', getter => 'team.odd', wanted => 3);
	my $result = evaluate($node, $odd);
	like($result->{error}, qr/^$code: /, "$what is $code");
	is("$result->{action} " . wanted('odd'), 'none 3', 'and nothing is done');
}
sql('DROP FUNCTION team.odd(text)');
like(evaluate($node, sql("SELECT id FROM qpsscale.resource_groups WHERE name = 'odd'"))->{error},
	qr/^function_missing: function team\.odd\(text\) does not exist/,
	'a function that was dropped is named');

# ---- a function that says no ----

sub touched
{
	my ($pool) = @_;

	return sql("SELECT count(*) FROM team.touched WHERE pool = '$pool'");
}

foreach my $case (
	[ 'fails', qr/^failed 5 P0001: no machine is free$/, 'an error' ],
	[ 'refuses', qr/^failed 5 refused: team\.want returned false$/, 'false' ],
	[ 'sleeps', qr/^failed 5 sql_timeout: /, 'no end in time' ],
	[ 'becomes postgres', qr/^failed 5 42501: /, 'SET ROLE' ])
{
	my ($behaviour, $activity, $what) = @$case;
	my $pool = $behaviour =~ s/ /_/gr;
	my $said_no = add_pool($pool);

	does($pool, $behaviour);
	jobs($said_no, 50);
	is(verdict($said_no), 'scale_up 5', "$what: it was tried");
	like(last_activity($said_no), $activity, 'and has failed, by name');
	is(wanted($pool) . ' ' . touched($pool), '2 0', 'all of it was rolled back');
	does($pool, '');
	is(verdict($said_no), 'scale_up 5', 'it is tried again');
	is(last_activity($said_no), 'accepted 5', 'and works');
}

# What a setter leaves behind is not there for the next.
foreach my $behaviour ('leaves a setting', 'leaves a temporary type', 'leaves a lock')
{
	my $pool = $behaviour =~ s/ /_/gr;
	my $leaves = add_pool($pool);

	does($pool, $behaviour);
	jobs($leaves, 50);
	evaluate($node, $leaves);
	my $done = last_activity($leaves);
	ok($done eq 'accepted 5' || $done =~ /^failed 5 42501/, "$behaviour: $done");
	sql("UPDATE qpsscale.signals SET query = \$\$SELECT (SELECT count(*) FROM"
		  . " pg_locks WHERE locktype = 'advisory') + (SELECT count(*) FROM pg_type"
		  . " WHERE typname = 'leftover') + (current_setting('search_path') <>"
		  . " 'pg_catalog, pg_temp')::integer\$\$ WHERE resource_group_id = $leaves");
	wait_until('the next one finds nothing of it', sub {
		evaluate($node, $leaves);
		return sql("SELECT latest_value FROM qpsscale.signal_state"
			  . " WHERE resource_group_id = $leaves") eq '0';
	});
}

# Who starts the machines can be told.
$id = add_pool('notifies');
does('notifies', 'notifies');
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN machines');
jobs($id, 50);
evaluate($node, $id);
wait_until('a function may notify', sub {
	return $listener->query('SELECT 1') =~ /"machines" with payload "notifies 5"/;
});
$listener->quit;

# ---- an end in the middle ----

# The process is ended by its own clock: nobody knows what became of it.
$id = add_pool('insists');
does('insists', 'insists');
jobs($id, 50);
evaluate($node, $id);
like(last_activity($id), qr/^unknown 5 sql_process_ended: /,
	'a function that catches its cancellation: unknown');
does('insists', '');
comes_to($id, qr/^(?:accepted|successful) 5$/, 'it is settled by reading, and set again');
is(sql("SELECT string_agg(status, ' ' ORDER BY id) ~ '^failed (accepted|successful)'"
	  . " FROM qpsscale.activities WHERE resource_group_id = $id"), 't',
	'one was not applied, one was');

sub in_setter
{
	return sql("SELECT coalesce(max(pid), 0) FROM pg_stat_activity"
		  . " WHERE backend_type = 'qpsscale user SQL' AND wait_event = 'PgSleep'");
}

sub lower_settings
{
	my (%settings) = @_;

	sql("LOAD 'qpsscale'; ALTER SYSTEM SET qpsscale.$_ = '$settings{$_}'")
	  foreach keys %settings;
	sql('SELECT pg_reload_conf()');
	return;
}

# A tick each second from here on, in which a setter may sleep.
sql('UPDATE qpsscale.resource_groups SET enabled = false');
lower_settings(interval => '1s', cycle_deadline => '6s', sql_timeout => '5s');

# terminated in the middle; somebody has set it by other means
my $by_others = add_pool('by_others');
does('by_others', 'sleeps');
jobs($by_others, 50);
wait_until('a setter is under way', sub { in_setter() ne '0' });
my $pid = in_setter();
sql("SELECT pg_terminate_backend($pid)");
wait_for($node, "SELECT status FROM qpsscale.activities"
	  . " WHERE resource_group_id = $by_others ORDER BY id LIMIT 1",
	'unknown', 'its end is an unknown outcome');
sql("UPDATE team.machines SET wanted = 5, behaviour = '' WHERE pool = 'by_others'");
wait_for($node, "SELECT status || ' ' || count(*) OVER () FROM qpsscale.activities"
	  . " WHERE resource_group_id = $by_others ORDER BY id LIMIT 1",
	'successful 1', 'which is found to be applied, and not made again');
isnt(runner(), $pid, 'another process runs');

# kill -9 in the middle: the postmaster starts everything anew
my $killed = add_pool('killed');
does('killed', 'sleeps');
jobs($killed, 50);
wait_until('a setter is under way again', sub { in_setter() ne '0' });
kill 9, in_setter();
wait_until('the server is back', sub {
	my ($rc, $out) = $node->psql('postgres', 'SELECT 1');
	return ($out // '') eq '1';
});
does('killed', '');
wait_for($node, "SELECT string_agg(status, ' ' ORDER BY id) FROM qpsscale.activities"
	  . " WHERE resource_group_id = $killed",
	'failed successful', 'kill -9: the lost one is settled, then it is set');
is(wanted('killed'), '5', 'once');

# ---- a process that does not end ----

lower_settings(sql_timeout => '200ms');
my $stuck = runner();
kill 'STOP', $stuck;
wait_until('a process that is stuck is left behind',
	sub { my $now = sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type"
		  . " = 'qpsscale user SQL' AND pid <> $stuck"); return $now eq '1'; });
wait_for($node, "SELECT bool_and(last_error IS NULL) FROM qpsscale.signal_state s"
	  . " JOIN qpsscale.resource_groups g ON g.id = s.resource_group_id"
	  . ' WHERE g.enabled', 't', 'and all are heard again');
kill 'CONT', $stuck;
wait_until('it ends when it can', sub { !kill 0, $stuck });

# ---- it is in nobody's way ----

sub sleeper
{
	my ($database) = @_;

	$node->safe_psql($database, <<'SQL');
CREATE FUNCTION public.nap(text) RETURNS integer LANGUAGE sql AS 'SELECT 1 FROM pg_sleep(60)';
CREATE FUNCTION public.none(text, integer) RETURNS void LANGUAGE sql AS '';
INSERT INTO qpsscale.resource_groups
	(name, provider, asg_id, get_capacity, set_capacity, max_instances)
	VALUES ('nap', 'sql', 'nap', 'public.nap', 'public.none', 10);
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	SELECT id, 's', 'sql', 'SELECT 1', 1 FROM qpsscale.resource_groups WHERE name = 'nap';
UPDATE qpsscale.resource_groups SET enabled = true WHERE name = 'nap';
SQL
	return;
}

lower_settings(sql_timeout => '30s', cycle_deadline => '40s');
sql('CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION qpsscale');
lower_settings(databases => 'postgres, app');
sleeper('app');
wait_for($node, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'app'"
	  . " AND backend_type = 'qpsscale user SQL' AND wait_event = 'PgSleep'",
	'1', 'a query sleeps in another database');
my $started = time();
sql('DROP DATABASE app');
cmp_ok(time() - $started, '<', 5, 'which can be dropped all the same');

sleeper('postgres');
wait_until('a query sleeps in this one', sub { in_setter() ne '0' });
$started = time();
$node->stop('fast');
cmp_ok(time() - $started, '<', 2, 'and the server is stopped at once');

# ---- without preload, as a role without rights ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->start;
sql(<<'SQL');
CREATE ROLE night_worker LOGIN;
SELECT qpsscale_grant('night_worker', 'worker');
DELETE FROM qpsscale.resource_groups;
SQL
$id = add_pool('oneshot');
foreach my $role ('night_worker', '')
{
	lower_settings(worker_role => $role, sql_timeout => '1s');
	jobs($id, $role ? 50 : 20);
	is(verdict($id), $role ? 'scale_up 5' : 'scale_down 2',
		'a one-shot worker does it, as ' . ($role || 'a superuser'));
	is(wanted('oneshot'), $role ? '5' : '2', 'and the function was called');
	wait_until('no process is left', sub { runner() eq '0' });
	comes_to($id, qr/^successful/, 'the action succeeds');
}

$node->stop;
done_testing();
