# What somebody holds, spoils or stops costs that group or that caller alone.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start;
my $groups = 80;

# Groups 1 to 80, all of which need what they have.
$cloud->put_groups(
	[
		map {
			{
				id => "asg-$_",
				alb_id => "alb-$_",
				min => 0,
				max => 100,
				desired => 2,
				boot_delay => 0
			}
		} 1 .. $groups
	]);
$cloud->control('PUT', 'traffic',
	{ map { ("alb-$_" => { kind => 'constant', qps => 95 }) } 1 .. $groups });
$node->safe_psql('postgres', <<SQL);
INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, region, target_qps, account, enabled, dry_run)
SELECT 'alb-' || i, 'asg-' || i, 'ap-southeast-1', 50, 'cloud', true, false
FROM generate_series(1, $groups) i
SQL

sub id_of
{
	my ($i) = @_;

	return $node->safe_psql('postgres',
		"SELECT id FROM qpsscale.resource_groups WHERE asg_id = 'asg-$i'");
}

sub now
{
	return $node->safe_psql('postgres', 'SELECT clock_timestamp()');
}

# How many groups were decided and committed after a time, and how long the
# slowest of all took: within twice a tick all but those that were held.
sub wait_for_others
{
	my ($since, $held, $what) = @_;

	return wait_for(
		$node,
		"SELECT count(*) FROM qpsscale.state"
		  . " WHERE last_evaluated_at > '$since'",
		$groups - $held,
		$what, 3);
}

wait_for($node,
	'SELECT count(*) FROM qpsscale.state'
	  . " WHERE last_reason = 'optimal_instance_count_reached'",
	$groups, 'all groups are decided');

# ---- a state row in an open psql ----

my $busy = id_of(7);
my $session = $node->background_psql('postgres');
$session->query_safe("BEGIN; UPDATE qpsscale.state SET updated_at = now()"
	  . " WHERE resource_group_id = $busy");
wait_for_others(now(), 1, 'a locked state row costs its group alone');
wait_for_others(now(), 1, 'and does so in the next tick');
my $result = evaluate($node, $busy);
is($result->{reason}, 'row_locked', 'evaluate of that group says why');
is($result->{recorded}, JSON::PP::false, 'and that nothing was recorded');

# its load rises: the lock holds an action back, too
$cloud->set_traffic('alb-7', { kind => 'constant', qps => 405 });
$cloud->set_traffic('alb-8', { kind => 'constant', qps => 405 });
wait_for($node,
	'SELECT status FROM qpsscale.activities WHERE resource_group_id = '
	  . id_of(8),
	'successful', 'another group acts meanwhile');
is($cloud->group('asg-7')->{desired}, 2, 'the locked one does not');
$session->query_safe('ROLLBACK');
wait_for($node,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $busy",
	'successful', 'until the lock is gone');

# ---- a policy row ----

my $policy = id_of(9);
$session->query_safe('BEGIN; SELECT FROM qpsscale.resource_groups'
	  . " WHERE id = $policy FOR UPDATE");
wait_for_others(now(), 0, 'a policy row that is locked costs nobody');
$session->query_safe('UPDATE qpsscale.resource_groups'
	  . " SET target_qps = 10 WHERE id = $policy");
wait_for_others(now(), 0, 'nor does an uncommitted change of a policy');
is($cloud->group('asg-9')->{desired}, 2, 'which is not followed');
$session->query_safe('COMMIT');
wait_for($node,
	"SELECT desired_capacity FROM qpsscale.activities"
	  . " WHERE resource_group_id = $policy",
	'10', 'until it is committed');

# ---- all rows at once ----

$session->query_safe('BEGIN; LOCK TABLE qpsscale.state IN SHARE MODE');
my $ticks = 'SELECT ticks > %d FROM qpsscale.stat_worker';
my $before =
  $node->safe_psql('postgres', 'SELECT ticks FROM qpsscale.stat_worker');
wait_for($node, sprintf($ticks, $before + 2),
	't', 'a lock on the whole table does not stop the worker', 15);
$result = evaluate($node, $busy);
is($result->{reason}, 'row_locked', 'nor a call, which says why');
$session->query_safe('ROLLBACK');
wait_for_others(now(), 0, 'which goes on when it is gone');

# ---- a row that cannot be written ----

my $poison = id_of(11);
$node->safe_psql('postgres',
	'ALTER TABLE qpsscale.state ADD CONSTRAINT poison CHECK'
	  . " (resource_group_id <> $poison OR latest_qps < 100) NOT VALID");
$cloud->set_traffic("alb-$_", { kind => 'constant', qps => 145 })
  foreach (10, 11, 12);
wait_for($node,
	'SELECT count(*) FROM qpsscale.activities WHERE resource_group_id IN ('
	  . id_of(10) . ', ' . id_of(12) . ") AND status = 'successful'",
	'2', 'a row that cannot be written costs its group alone');
wait_for_others(now(), 1, 'all others are written in every tick');
is($cloud->group('asg-11')->{desired}, 2,
	'a decision that cannot be written is not carried out');
$result = evaluate($node, $poison);
is("$result->{reason} $result->{action}",
	'evaluation_error none', 'evaluate of that group says so');
like($result->{error}, qr/violates check constraint "poison"/,
	'with the reason');
like(slurp_file($node->logfile),
	qr/resource group "asg-11" could not be written: .*"poison"/,
	'which is in the log as well');
my $poisoned = "FROM qpsscale.errors WHERE resource_group_id = $poison AND source = 'database'";
is($node->safe_psql('postgres', "SELECT count(*) $poisoned"),
	'1', 'it is one error, however many ticks it lasts');
is($node->safe_psql('postgres', "SELECT message ~ 'poison', context ->> 'code' $poisoned"),
	't|23514', 'that says what it is');
my $lines = () = slurp_file($node->logfile) =~ /"asg-11" could not be written/g;
is($lines, 1, 'and one line in the log');
like( $node->safe_psql('postgres', "SELECT summary FROM qpsscale_why($poison)"),
	qr/Error: database: .*"poison"/, 'why() tells it');
$node->safe_psql('postgres',
	'ALTER TABLE qpsscale.state DROP CONSTRAINT poison');
wait_for($node,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $poison",
	'successful', 'and then it is carried out');

# ---- a caller that was stopped ----

# more rows than the queue to the caller holds
my $caller = $session->query_safe('SELECT pg_backend_pid()');
my $served = 'SELECT requests_served > %d FROM qpsscale.stat_worker';
$before = $node->safe_psql('postgres',
	'SELECT requests_served FROM qpsscale.stat_worker');
$cloud->fault({ kind => 'delay', match => { action => 'GetMetricData' },
		params => { ms => 700 }, times => 2 });
$session->query_until(qr/asked/, "\\echo asked\nSELECT qpsscale_evaluate();\n");
wait_for($node, sprintf($served, $before),
	't', 'a call for all groups is served');
kill 'STOP', $caller;
wait_until('its caller is stopped',
	sub { state_of_process($caller) eq 'T' });
$before =
  $node->safe_psql('postgres', 'SELECT ticks FROM qpsscale.stat_worker');
wait_for($node, sprintf($ticks, $before + 2),
	't', 'the worker goes on to tick', 15);
wait_for_others(now(), 0, 'for all groups');
kill 'CONT', $caller;

is( $node->safe_psql('postgres',
		'SELECT count(*) FROM qpsscale.activities WHERE finished_at IS NULL'),
	'0', 'no activity is left open');
$node->stop;
done_testing();
