# Commands that want a database without connections, and CREATE EXTENSION: the
# worker makes way at once, comes back at once, and moves for nobody who may not
# give the command.

use strict;
use warnings;

use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;

# The launcher would look for the extension once an hour here, and a call may
# hang for 20 s, so that neither can be what a test sees.
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.databases' => "'postgres, served'",
		'qpsscale.interval' => "'1h'",
		'qpsscale.request_timeout' => "'20s'",
		'qpsscale.cycle_deadline' => "'20s'"
	});
my $url = $cloud->url;

sub column
{
	my ($column) = @_;

	return "SELECT $column FROM qpsscale.stat_worker"
	  . " WHERE database = 'served'";
}

# A worker that runs, and not the one of before; promised for 2 s.
sub comes_back
{
	my ($what, $before) = @_;

	wait_for($node, column("pid IS DISTINCT FROM $before AND ticks > 0"),
		't', $what, 2);
	return worker_pid($node, 'served');
}

# What psql says of a command that fails: SQLSTATE and message.
sub refusal
{
	my ($sql, @more) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose', @more ]);

	return $rc == 0 ? 'it was done' : $err;
}

sub succeeds_within
{
	my ($limit, $sql, $what) = @_;
	my ($rc, $out, $err);
	my $took =
	  seconds_for(sub { ($rc, $out, $err) = $node->psql('postgres', $sql); });

	ok($rc == 0 && $took < $limit, $what)
	  or diag("after $took s: $err");
	return;
}

# A group in another database than postgres, in dry run as it is not armed;
# its calls hang.
sub add_hanging_group
{
	my ($database) = @_;

	$cloud->put_groups([ { id => "asg-$database", desired => 2, max => 9 } ]);
	$cloud->set_traffic("alb-$database", { kind => 'constant', qps => 95 });
	$cloud->fault(
		{
			kind => 'hang',
			times => -1,
			match => {
				action => 'DescribeScalingGroups',
				group_id => "asg-$database"
			}
		});
	$node->safe_psql($database, <<SQL);
CREATE SERVER cloud FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'byteplus', region 'ap-southeast-1', endpoint '$url');
CREATE USER MAPPING FOR CURRENT_USER SERVER cloud
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY',
			 secret_access_key 'env:TEST_SECRET_KEY');
INSERT INTO qpsscale.resource_groups
	(account, alb_id, asg_id, target_qps, enabled)
	VALUES ('cloud', 'alb-$database', 'asg-$database', 50, true);
SQL
	return;
}

sub hangs
{
	my ($database, $what) = @_;

	return wait_until(
		$what,
		sub {
			grep { $_->{fault} && "@{ $_->{ids} }" =~ /asg-$database/ }
			  @{ $cloud->log(0, 'DescribeScalingGroups') };
		});
}

# ---- CREATE EXTENSION ----

$node->safe_psql('postgres', 'CREATE ROLE owner LOGIN CREATEDB');
$node->safe_psql('postgres', 'CREATE ROLE other LOGIN CREATEDB');
$node->safe_psql('postgres', 'CREATE DATABASE served OWNER owner');
wait_for($node, column('state'), 'extension missing',
	'CREATE DATABASE of a listed name is noticed at once', 2);
$node->safe_psql('served', 'CREATE EXTENSION qpsscale');
my $pid = comes_back('CREATE EXTENSION starts the worker within 2 s', 0);

is( $node->safe_psql('served',
		"SELECT has_function_privilege('other', 'qpsscale.wake_launcher()', 'EXECUTE')"
	),
	'f',
	'not everybody may wake the launcher');

# ---- who is refused moves nobody ----

my %refused = (
	'DROP DATABASE served' => '42501',
	'DROP DATABASE served WITH (FORCE)' => '42501',
	'ALTER DATABASE served RENAME TO stolen' => '42501',
	'ALTER DATABASE served SET TABLESPACE pg_default' => '42501',
	'CREATE DATABASE stolen TEMPLATE served' => '42501');

foreach my $command (sort keys %refused)
{
	like(refusal($command, '-U', 'other'),
		qr/$refused{$command}/, "refused to another role: $command");
}
like(
	refusal('BEGIN; DROP DATABASE served'),
	qr/25001/, 'refused within a transaction: DROP DATABASE');
like(
	refusal('CREATE DATABASE postgres TEMPLATE served'),
	qr/42P04/, 'refused for a name that is taken: CREATE DATABASE');
is(worker_pid($node, 'served'), $pid, 'none of these has ended the worker');
unlike(slurp_file($node->logfile), qr/to make way/, 'or tried to');

# ---- the database goes on to exist ----

succeeds_within(5, 'CREATE DATABASE copy TEMPLATE served',
	'a served database can be copied within 5 s');
$pid = comes_back('the worker of the original comes back', $pid);

$node->safe_psql('postgres',
	'ALTER SYSTEM SET allow_in_place_tablespaces = on');
$node->reload;
$node->safe_psql('postgres', "CREATE TABLESPACE attic LOCATION ''");
succeeds_within(5, 'ALTER DATABASE served SET TABLESPACE attic',
	'a served database can be moved within 5 s');
$pid = comes_back('the worker comes back after the move', $pid);

succeeds_within(5,
	'BEGIN; ALTER DATABASE served RENAME TO another; ROLLBACK',
	'a served database can be renamed within 5 s');
$pid = comes_back('the worker comes back when that is rolled back', $pid);

succeeds_within(5, <<'SQL', 'so too in part of a transaction');
BEGIN;
SAVEPOINT before;
ALTER DATABASE served RENAME TO another;
ROLLBACK TO before;
COMMIT;
SQL
$pid = comes_back('the worker comes back when only that part is undone',
	$pid);

# ---- it takes its name away, and brings it back ----

succeeds_within(5, 'ALTER DATABASE served RENAME TO another',
	'it can be renamed for good');
wait_for($node, column('state'), 'database missing',
	'stat_worker then says that the database is missing', 2);
is($node->safe_psql('postgres', column('last_error')),
	'database "served" does not exist', 'and which');
$node->safe_psql('postgres', 'ALTER DATABASE another RENAME TO served');
$pid = comes_back('a database that is given the name is served at once', 0);

# ---- a command that fails ----

my $session = $node->background_psql('served');
like(refusal('DROP DATABASE served'),
	qr/55006: .*1 other session/s,
	'DROP DATABASE fails while somebody else is connected, and only for that');
$pid = comes_back('the worker comes back after a DROP that failed', $pid);
$session->quit;

# ---- DROP DATABASE ----

add_hanging_group('served');
restart_worker($node, 'served');
hangs('served', 'a call of the worker hangs');
succeeds_within(5, 'DROP DATABASE served',
	'a database whose worker waits for the cloud can be dropped within 5 s');
wait_for($node, column("concat_ws(' ', pid, state)"), 'database missing',
	'stat_worker says that it is missing', 2);

$node->safe_psql('postgres', 'CREATE DATABASE served OWNER owner');
$node->safe_psql('served', 'CREATE EXTENSION qpsscale');
comes_back('made anew, it is served at once', 0);
my ($rc, $stdout, $err) =
  $node->psql('postgres', 'DROP DATABASE served WITH (FORCE)',
	extra_params => [ '-U', 'owner' ]);
is($err, '',
	'its owner may use FORCE, although the worker is a superuser\'s');

is( scalar(() = slurp_file($node->logfile) =~
		  /FATAL:  database "served" does not exist/g),
	1,
	'no worker was started for a name that had gone (but the first, before it was made)'
);

# ---- one-shot workers ----

# copy is not listed: its calls are carried out by one-shot workers
add_hanging_group('copy');
my $oneshots = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'copy'"
  . " AND backend_type = 'qpsscale one-shot worker'";

$session = $node->background_psql('copy', on_error_stop => 0);
$session->query_until(qr/begun/,
	"\\echo begun\nSELECT qpsscale_evaluate();\n");
hangs('copy', 'a call of a one-shot worker hangs');
like(refusal('DROP DATABASE copy'),
	qr/55006/, 'DROP DATABASE fails while its caller waits');
is($node->safe_psql('postgres', $oneshots),
	'1', 'and has not ended the one-shot worker');
$node->safe_psql('postgres',
	"SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
	  . " WHERE datname = 'copy' AND backend_type = 'client backend'");
is($node->safe_psql('postgres', $oneshots),
	'1', 'which goes on when its caller has gone');
succeeds_within(5, 'DROP DATABASE copy',
	'then the database can be dropped within 5 s');
$session->{run}->finish;

unlike(
	slurp_file($node->logfile),
	qr/PANIC|terminated by signal|TRAP:/,
	'no process has crashed in all of this');

$node->stop;
done_testing();
