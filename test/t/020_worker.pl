# The life of the workers: who starts and stops them, and what cannot.

use strict;
use warnings;

use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;

# No database but postgres exists yet.  Up to the first reload nothing
# disturbs the launcher's pauses.
my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.databases' => "'postgres, later, mistyped'" });

sub column
{
	my ($database, $column) = @_;

	return "SELECT $column FROM qpsscale.stat_worker"
	  . " WHERE database = '$database'";
}

sub modifications
{
	return $cloud->counters->{actions}{ModifyScalingGroup}{requests} // 0;
}

# ---- one worker per listed database ----

my $tick = "SELECT coalesce(max(ticks), 0) > %d FROM qpsscale.stat_worker"
  . " WHERE database = 'postgres'";

wait_for($node, sprintf($tick, 0), 't',
	'a listed database with the extension is served');
is( $node->safe_psql('postgres',
		"SELECT string_agg(database, ' ' ORDER BY database)"
		  . " FROM qpsscale.stat_worker"),
	'later mistyped postgres',
	'every listed name is shown, served or not');

# ---- settings of role and database ----

{
	# our own sessions must not be stopped by what we try on the worker
	local $ENV{PGOPTIONS} = '-c statement_timeout=0'
	  . ' -c default_transaction_read_only=off -c search_path=public'
	  . ' -c session_replication_role=origin -c lock_timeout=0';
	my $evil = <<'SQL';
SET statement_timeout = '1ms'
SET default_transaction_read_only = on
SET default_transaction_isolation = 'serializable'
SET search_path = evil, pg_catalog
SET row_security = on
SET lock_timeout = '1ms'
SET session_replication_role = replica
SET DateStyle = 'SQL, DMY'
SET TimeZone = 'Asia/Kathmandu'
SQL

	# whoever trusts the search path would meet these
	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA evil;
CREATE FUNCTION evil.now() RETURNS timestamptz LANGUAGE plpgsql
	AS $$ BEGIN RAISE 'search_path was followed'; END $$;
CREATE FUNCTION evil.json_to_recordset(json) RETURNS SETOF record
	LANGUAGE plpgsql AS $$ BEGIN RAISE 'search_path was followed'; END $$;
SQL
	foreach my $setting (split /\n/, $evil)
	{
		$node->safe_psql('postgres', "ALTER DATABASE postgres $setting");
		$node->safe_psql('postgres', "ALTER ROLE CURRENT_USER $setting");
	}
	# an early end would be taken for a failed start
	wait_for($node,
		column('postgres', "now() - started_at > interval '6 s'"),
		't', 'the worker has lived long enough to be replaced at once');
	restart_worker($node);
	$cloud->set_traffic('alb-pinned', { kind => 'constant', qps => 405 });
	my $id = add_group($node, $cloud, 'pinned', desired => 3, boot_delay => 0);

	wait_for($node,
		"SELECT status FROM qpsscale.activities WHERE resource_group_id = $id",
		'successful',
		'settings of role and database neither stop nor change a cycle');
	is( $node->safe_psql('postgres',
			"SELECT count(*) FROM qpsscale.errors"
			  . " WHERE source = 'database'"),
		'0', 'and cause no error');
	$node->safe_psql('postgres',
		'ALTER DATABASE postgres RESET ALL; ALTER ROLE CURRENT_USER RESET ALL;'
		  . ' DROP SCHEMA evil CASCADE');
}

# ---- a mistyped database ----

sub pauses
{
	return slurp_file($node->logfile) =~
	  /worker for database "mistyped" ended soon after its start, next start in (\d+) s/g;
}

wait_until('a database that does not exist is tried again and again',
	sub { scalar(my @seen = pauses()) >= 3 });
my @pauses = pauses();
is("@pauses[0 .. 2]", '5 10 20', 'after pauses that double');

sub tries
{
	return scalar(() = slurp_file($node->logfile) =~
		  /FATAL:  database "mistyped" does not exist/g);
}
cmp_ok(tries(), '<=', scalar(@pauses) + 1,
	'with one process for each pause, no more');
is( $node->safe_psql('postgres',
		column('mistyped', "state || ': ' || last_error")),
	'database missing: database "mistyped" does not exist',
	'stat_worker says why');

# 20 s or more are left to wait
my $tries = tries();
$node->reload;
wait_until('a reload makes the launcher try at once',
	sub { tries() > $tries }, 10);
$node->safe_psql('postgres', 'CREATE DATABASE mistyped');
wait_for($node,
	column('mistyped', 'state'),
	'extension missing',
	'and so does the creation of the database', 2);

# ---- CREATE EXTENSION comes later ----

$node->safe_psql('postgres', 'CREATE DATABASE later');
$node->safe_psql('later', 'CREATE EXTENSION qpsscale');
wait_for($node,
	column('later', 'pid IS NOT NULL AND ticks > 0'),
	't', 'an extension that is created later is noticed without a reload');

# ---- the installed version is another ----

$node->safe_psql('later',
	"UPDATE pg_extension SET extversion = '0.9.9' WHERE extname = 'qpsscale'");
wait_for($node,
	column('later', "last_error LIKE '%0.9.9%'"),
	't', 'a version of the extension that is not ours is noticed');
like(
	$node->safe_psql('postgres', column('later', 'last_error')),
	qr/ALTER EXTENSION qpsscale UPDATE/,
	'stat_worker says what to do about it');
is($node->safe_psql('postgres', column('later', 'groups_evaluated')),
	'0', 'and nothing is evaluated meanwhile');
$node->safe_psql('later',
	"UPDATE pg_extension SET extversion = '1.0.0' WHERE extname = 'qpsscale'");
wait_for($node,
	column('later', 'last_error IS NULL'),
	't', 'after the upgrade the worker goes on');

# ---- a name leaves the list ----

my $leaving = worker_pid($node, 'later');
reload_with($node, 'qpsscale.databases' => "'postgres'");
wait_until(
	'the worker of a database that leaves qpsscale.databases ends',
	sub { !kill(0, $leaving) });
wait_for($node,
	"SELECT string_agg(database, ' ') FROM qpsscale.stat_worker",
	'postgres', 'and leaves stat_worker');

# ---- the kill switch ----

reload_with($node, 'qpsscale.enabled' => 'off');
wait_for($node, column('postgres', 'state'),
	'disabled', 'qpsscale.enabled = off reaches the worker');
my $before = modifications();
$cloud->set_traffic('alb-switch', { kind => 'constant', qps => 405 });
my $switch = add_group($node, $cloud, 'switch', desired => 3, boot_delay => 0);
my $result = evaluate($node, $switch);
is("$result->{reason} " . ($result->{dry_run} ? 'dry run' : 'live'),
	'extension_disabled dry run', 'evaluate is then a dry run that says why');
is($result->{optimal_instances}, 9, 'and says what would have been done');
my $seen = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
wait_for($node,
	column('postgres', "heartbeat_at > '$seen'::timestamptz + interval '1 s'"),
	't', 'the worker goes on to wake');
is(modifications(), $before, 'but changes nothing');
reload_with($node, 'qpsscale.enabled' => 'on');
wait_for($node,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $switch"
	  . " AND status <> 'dry_run'",
	'successful', 'qpsscale.enabled = on resumes actions');

# ---- initial_delay ----

reload_with($node, 'qpsscale.initial_delay' => "'3s'");
restart_worker($node);
wait_for($node, column('postgres', "state = 'idle' AND ticks = 0"),
	't', 'with an initial delay a new worker waits');
is(evaluate($node, $switch)->{action},
	'none', 'a call is answered meanwhile');
wait_for($node, sprintf($tick, 0), 't', 'then it ticks');
is( $node->safe_psql('postgres',
		column('postgres',
			"last_tick_finished_at - started_at >= interval '3 s'")),
	't', 'not before the delay is over');
reload_with($node, 'qpsscale.initial_delay' => '0');

# ---- DROP EXTENSION ----

# in the middle of a cycle, which cannot write what it has observed
$cloud->fault({ kind => 'delay', match => { action => 'GetMetricData' },
		params => { ms => 800 } });
wait_for($node, column('postgres', 'state'), 'observing', 'a cycle observes');
my $took = seconds_for(
	sub { $node->safe_psql('postgres', 'DROP EXTENSION qpsscale CASCADE') });
cmp_ok($took, '<', 2, 'DROP EXTENSION does not wait for the worker');

# the database has no view to look through: mistyped borrows one
$node->safe_psql('mistyped', 'CREATE EXTENSION qpsscale');
sub of_postgres
{
	my ($column, $expected, $what) = @_;

	return wait_until(
		$what,
		sub {
			$node->safe_psql('mistyped', column('postgres', $column)) eq
			  $expected;
		});
}
of_postgres("pid IS NULL AND state = 'extension missing'",
	't', 'the worker ends and leaves the reason');
$node->safe_psql('postgres', 'CREATE EXTENSION qpsscale');
of_postgres('pid IS NOT NULL AND ticks > 0',
	't', 'CREATE EXTENSION brings it back');

# ---- a library of another build ----

# The same file with another build id: what a package upgrade leaves behind.
my $private = PostgreSQL::Test::Utils::tempdir();
my $path = $node->safe_psql('postgres', 'SHOW dynamic_library_path');
my ($library) = grep { -r } map { "$_/qpsscale_worker.so" }
  map { s/^\$libdir$/$node->config_data('--pkglibdir')/er } split /:/, $path;
my $content = slurp_file($library);
my $stamp = pack('L', 0x51505331);
my $changed = ($content =~ s/(\Q$stamp\E....1\.0\.0\0{27})./$1X/s);
ok($changed, 'the library carries a stamp');
append_to_file("$private/qpsscale_worker.so", $content);
chmod 0755, "$private/qpsscale_worker.so";

reload_with($node, dynamic_library_path => "'$private:$path'");
$before = worker_pid($node);
$seen = $node->safe_psql('postgres', column('postgres', 'ticks'));
wait_for($node, column('postgres', "pid = $before AND ticks > $seen + 1"),
	't', 'the running worker goes on');
restart_worker($node);
wait_for($node, column('postgres', 'state'),
	'restart required', 'a worker of another build ends with the reason');
is($node->safe_psql('postgres', column('postgres', 'restart_required')),
	't', 'stat_worker says so');
is( $node->safe_psql('postgres',
		"SELECT hint FROM qpsscale.problems()"
		  . " WHERE problem = 'restart required'"),
	'The library files were replaced under the running server: restart the server.',
	'and so do the problems');
my ($rc, $out, $err) =
  $node->psql('postgres', 'SELECT qpsscale_evaluate()',
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($err, qr/ERROR:  55000: .*upgraded.*HINT:  Restart the server/s,
	'a call is refused with the same advice');

reload_with($node, dynamic_library_path => "'$path'");
$node->restart;
wait_for($node, sprintf($tick, 0), 't', 'a restart of the server mends it');
is($node->safe_psql('postgres', column('postgres', 'restart_required')),
	'f', 'and nothing asks for one any more');
unlike(
	slurp_file($node->logfile),
	qr/PANIC|terminated by signal|TRAP:/,
	'no process has crashed in all of this');

$node->stop;
done_testing();
