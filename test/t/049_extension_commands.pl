# Commands on the extension itself, while its worker runs: it makes way, sits
# idle where it does not fit, and goes on by itself.

use strict;
use warnings;

use QpsscaleNode;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start;

my $id = add_group($node, $cloud, 'web', desired => 3);
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 150 });

sub sql
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

my $pid;

# It evaluates again, and it is the process that it was.
sub goes_on
{
	my ($what) = @_;
	my $since = sql('SELECT clock_timestamp()');

	wait_for($node,
		"SELECT last_evaluated_at > '$since' FROM qpsscale.state", 't', $what);
	return is(worker_pid($node), $pid, '... without a new process');
}

wait_for($node, 'SELECT last_reason FROM qpsscale.state',
	'optimal_instance_count_reached', 'the worker evaluates');
$pid = worker_pid($node);

# ---- in a transaction that is open, and then rolled back ----

my $session = $node->background_psql('postgres');
my $ticks = 'SELECT ticks > %d FROM qpsscale.stat_worker_rows()';

foreach my $command ('DROP EXTENSION qpsscale CASCADE',
	'ALTER TABLE qpsscale.state ADD COLUMN novelty integer')
{
	$session->query_safe("BEGIN; SET LOCAL client_min_messages = warning; $command");
	# shared memory is asked through a function, which the command has locked
	# out in other sessions; the log tells that the worker's tick came and went
	my $from = -s $node->logfile;
	wait_until("during $command a tick is given up, not waited for",
		sub { substr(slurp_file($node->logfile), $from) =~ /lock timeout|could not write/ });
	$session->query_safe('ROLLBACK');
	goes_on("after ROLLBACK of $command it evaluates");
}

# ---- what an upgrade script does, committed ----

$session->query_safe('ALTER TABLE qpsscale.state ADD COLUMN novelty integer');
$session->query_safe('ALTER TABLE qpsscale.resource_groups ADD COLUMN novelty integer');
goes_on('tables that have been altered under it are read anew');
$session->query_safe('ALTER TABLE qpsscale.state DROP COLUMN novelty');
$session->query_safe('ALTER TABLE qpsscale.resource_groups DROP COLUMN novelty');

# ---- version skew, both ways ----

foreach my $version ('0.9.0', '2.0.0')
{
	sql("SET allow_system_table_mods = on; UPDATE pg_extension SET extversion = '$version' WHERE extname = 'qpsscale'");
	wait_for($node,
		"SELECT problem FROM qpsscale.problems() WHERE problem LIKE 'idle%'",
		'idle: extension and library are of different versions',
		"with SQL objects of $version it sits idle, and problems says so");
	like(sql('SELECT last_error FROM qpsscale.stat_worker'),
		qr/of version \Q$version\E, its library of version 1\.0\.0; hint: ALTER EXTENSION qpsscale UPDATE/,
		'stat_worker names both');
	like(sql('SELECT problems FROM qpsscale.status'), qr/idle:/, 'status too');
	my $calls = sql('SELECT api_calls FROM qpsscale.stat_worker');
	my $ran = sql('SELECT ticks FROM qpsscale.stat_worker');
	my ($out, $err) = ('', '');
	$node->psql('postgres', "\\set VERBOSITY verbose\nSELECT qpsscale_evaluate($id)", stderr => \$err);
	like($err, qr/ERROR:  55000: .*version \Q$version\E.*HINT:  ALTER EXTENSION/s,
		'a call says what to do');
	$err = '';
	$node->psql('postgres', "\\set VERBOSITY verbose\nSELECT qpsscale_set_capacity($id, 4, 'x')", stderr => \$err);
	like($err, qr/ERROR:  55000: .*version \Q$version\E/, 'so does one that would change something');
	wait_for($node, sprintf($ticks, $ran + 2), 't', 'it ticks');
	is(sql('SELECT api_calls FROM qpsscale.stat_worker'), $calls, 'but asks the cloud nothing');
	sql("SET allow_system_table_mods = on; UPDATE pg_extension SET extversion = '1.0.0' WHERE extname = 'qpsscale'");
	goes_on('when they fit again it evaluates');
	is(sql("SELECT count(*) FROM qpsscale.problems() WHERE problem LIKE 'idle%'"),
		'0', '... and there is no such problem');
}
is($cloud->group('asg-web')->{desired}, 3, 'nothing of all this changed the group');

$session->quit;
done_testing();
