# While a cloud does not answer: nothing is held, nobody else waits, and the
# worker still hears what it is told.

use strict;
use warnings;

use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;

# A call may hang for 20 s here, so that there is time to look.
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.request_timeout' => "'20s'",
		'qpsscale.cycle_deadline' => "'20s'"
	});
my $hanging_state = "SELECT state FROM qpsscale.stat_worker"
  . " WHERE database = 'postgres'";

sub requests
{
	my ($action) = @_;

	return $cloud->counters->{actions}{$action}{requests} // 0;
}

sub hang
{
	my ($action, $group) = @_;

	$cloud->fault(
		{
			kind => 'hang',
			match => { action => $action, group_id => $group }
		});
	return;
}

sub reason_of
{
	my ($id) = @_;

	return "SELECT last_reason FROM qpsscale.state"
	  . " WHERE resource_group_id = $id";
}

# Groups in regions of their own, so that each has calls of its own.
sub add_loaded
{
	my ($name, $qps, %opts) = @_;

	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
	return add_group($node, $cloud, $name, boot_delay => 0, %opts);
}

my $still = add_loaded('still', 95, desired => 2);
wait_for($node, reason_of($still), 'optimal_instance_count_reached',
	'a group is decided as long as the cloud answers');
my $pid = worker_pid($node);

# ---- an observation hangs ----

hang('DescribeScalingGroups', 'asg-mute');
my $mute = add_loaded('mute', 405, desired => 3, region => 'eu-mute');
wait_until('a call hangs',
	sub { grep { $_->{fault} } @{ $cloud->log(0, 'DescribeScalingGroups') } });
wait_for($node, $hanging_state, 'observing', 'the worker waits for it', 5);
is(held_by($node, $pid), '',
	'it holds no transaction, no snapshot and no lock meanwhile');

wait_for(
	$node,
	"SELECT last_evaluated_at > (SELECT last_tick_started_at"
	  . " FROM qpsscale.stat_worker) FROM qpsscale.state"
	  . " WHERE resource_group_id = $still",
	't', 'the groups whose calls were answered are decided and committed', 5);
is($node->safe_psql('postgres', $hanging_state),
	'observing', 'while the call still hangs');
is($node->safe_psql('postgres', reason_of($mute)),
	'', 'and its group is undecided');

$node->safe_psql('postgres', 'CREATE DATABASE other');
my $took =
  seconds_for(sub { $node->safe_psql('postgres', 'DROP DATABASE other') });
cmp_ok($took, '<', 2, 'another database can be dropped');
is(held_by($node, $pid), '', 'nothing is held after the commit either');

my $beat = $node->safe_psql('postgres',
	'SELECT heartbeat_at FROM qpsscale.stat_worker');
reload_with($node, 'qpsscale.interval' => "'1100ms'");
wait_for($node, "SELECT heartbeat_at > '$beat' FROM qpsscale.stat_worker",
	't', 'a reload is heard meanwhile', 5);
is($node->safe_psql('postgres', $hanging_state),
	'observing', 'and does not end the wait');

$took = seconds_for(sub { $node->stop('fast') });
cmp_ok($took, '<', 2, 'a fast shutdown does not wait for the cloud');

# the credentials that the accounts refer to
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';
$node->start;
wait_for($node, activity_of($mute), 'successful',
	'after a restart its group is scaled');

# ---- the kill switch during a wait ----

sub activity_of
{
	my ($id) = @_;

	return "SELECT coalesce(string_agg(status, ' ' ORDER BY id), '')"
	  . " FROM qpsscale.activities"
	  . " WHERE resource_group_id = $id AND status <> 'dry_run'";
}

sub modifications_of
{
	my (@names) = @_;
	my %ours = map { ("asg-$_" => 1) } @names;

	return scalar
	  grep { $ours{ $_->{ids}[0] } } @{ $cloud->log(0, 'ModifyScalingGroup') };
}

$cloud->fault(
	{
		kind => 'delay',
		match => { action => 'DescribeScalingActivities',
			group_id => 'asg-late' },
		params => { ms => 2000 }
	});
my $late = add_loaded('late', 405, desired => 3);
wait_until('a group about to act waits for its last check',
	sub { @{ $cloud->log(0, 'DescribeScalingActivities') } > 1 });
reload_with($node, 'qpsscale.enabled' => 'off');
wait_for($node, $hanging_state, 'disabled', 'the cycle ends after a switch-off');
is(modifications_of('late'), 0, 'without a call that changes anything');
is($node->safe_psql('postgres', activity_of($late)),
	'failed', 'its intent is closed');


# ---- the kill switch while calls wait for their turn ----

sub act_one_after_the_other
{
	my ($fault, @names) = @_;
	my %id;

	$cloud->fault(
		{
			match => { action => 'ModifyScalingGroup' },
			times => -1,
			%$fault
		});
	$id{$_} = add_loaded($_, 405, desired => 3, enabled => 'false')
	  foreach @names;
	reload_with(
		$node,
		'qpsscale.enabled' => 'on',
		'qpsscale.max_in_flight' => '1');
	$node->safe_psql('postgres',
		'UPDATE qpsscale.resource_groups SET enabled = true WHERE id IN ('
		  . join(', ', values %id) . ')');
	wait_until('of several groups that act the first has called',
		sub { modifications_of(@names) > 0 });
	reload_with($node, 'qpsscale.enabled' => 'off');
	wait_for($node, $hanging_state, 'disabled', 'the cycle ends early', 10);
	$cloud->clear_faults;
	return map { $node->safe_psql('postgres', activity_of($id{$_})) } @names;
}

my @names = qw(queue-a queue-b queue-c queue-d);
my @ends = sort(act_one_after_the_other(
		{ kind => 'delay', params => { ms => 1000 } }, @names));
is(modifications_of(@names), 1,
	'calls that wait for their turn are not made after a switch-off');
is("@ends", 'accepted failed failed failed',
	'they are recorded as not made, the one that was made as made');

@names = ('retry');
@ends = act_one_after_the_other(
	{
		kind => 'status',
		params => { status => 429, retry_after => 2 }
	},
	@names);
is(modifications_of(@names), 1,
	'a call that the cloud has asked to repeat later is not repeated');
is("@ends", 'failed', 'and recorded as not made');

$node->stop;
done_testing();
