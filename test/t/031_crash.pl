# A process dies, or an answer is lost, between intent and record.  Whatever
# happened, the cloud is told once, and each activity comes to one end.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;

# Every process of the server inherits them, also after a crash.
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.cycle_deadline' => "'10s'",
		'qpsscale.request_timeout' => "'1500ms'",
		restart_after_crash => 'on'
	});

sub modifications_of
{
	my ($name) = @_;

	return scalar grep { $_->{ids}[0] eq "asg-$name" }
	  @{ $cloud->log(0, 'ModifyScalingGroup') };
}

sub wait_for_server
{
	my ($what) = @_;

	return wait_until(
		$what,
		sub {
			my ($rc, $out) = $node->psql('postgres',
				"SELECT 1 FROM qpsscale.stat_worker WHERE ticks > 0");

			return $rc == 0 && ($out // '') eq '1';
		});
}

# A group that needs nine instances and has three; the call that sets them
# meets a fault.
sub add_faulty
{
	my ($name, %fault) = @_;

	$cloud->fault(
		{
			match => {
				action => 'ModifyScalingGroup',
				group_id => "asg-$name"
			},
			%fault
		});
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 405 });
	return add_group($node, $cloud, $name, desired => 3, boot_delay => 0);
}

sub wait_for_call
{
	my ($name) = @_;

	return wait_until("$name: the call is under way",
		sub { modifications_of($name) > 0 });
}

# Statuses and attempts of a group's activities.
sub trail_of
{
	my ($id) = @_;

	return "SELECT string_agg(status || ' ' || desired_capacity, ', ' ORDER BY id)"
	  . " FROM qpsscale.activities WHERE resource_group_id = $id";
}

sub one_ending
{
	my ($name, $id) = @_;

	wait_for($node, trail_of($id), 'successful 9',
		"$name: the activity ends as successful, and no other is made");
	is(modifications_of($name), 1, "$name: the cloud was told once");
	is($cloud->group("asg-$name")->{desired}, 9, "$name: as decided");
	return;
}

sub failed_then_done
{
	my ($name, $id) = @_;

	wait_for($node, trail_of($id), 'failed 9, successful 9',
		"$name: the activity ends as failed, then another attempt acts");
	is(modifications_of($name), 2, "$name: the cloud was asked twice");
	is( $node->safe_psql('postgres',
			'SELECT count(DISTINCT activity_key) FROM qpsscale.activities'
			  . " WHERE resource_group_id = $id"),
		'2', "$name: under two keys");
	like(
		$node->safe_psql('postgres',
			'SELECT error_message FROM qpsscale.activities'
			  . " WHERE resource_group_id = $id ORDER BY id LIMIT 1"),
		qr/outcome unknown; the cloud's desired capacity is 3, not 9/,
		"$name: the first says how it was found out");
	return;
}

wait_for_server('the worker ticks');

# ---- the reply is lost ----

my $id = add_faulty('lost', kind => 'lost_reply');
one_ending('lost', $id);
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.errors WHERE resource_group_id = $id"
		  . " AND source = 'set_capacity'"),
	'1', 'lost: the doubt is on record');

$id = add_faulty('reset', kind => 'reset');
failed_then_done('reset', $id);

# ---- the worker is terminated in the middle of the call ----

$id = add_faulty('told', kind => 'hang', params => { apply => JSON::PP::true });
wait_for_call('told');
restart_worker($node);
one_ending('told', $id);

# ---- the worker is killed: the server restarts all its processes ----

$id = add_faulty('killed', kind => 'hang',
	params => { apply => JSON::PP::true });
wait_for_call('killed');
is($node->safe_psql('postgres', trail_of($id)),
	'requested 9', 'killed: the intent was committed before the call');
my $pid = worker_pid($node);
kill 'KILL', $pid;
wait_until('killed: the process is gone',
	sub { state_of_process($pid) eq '' });
wait_for_server('killed: the server recovers');
one_ending('killed', $id);

$id = add_faulty('undone', kind => 'hang');
wait_for_call('undone');
$pid = worker_pid($node);
kill 'KILL', $pid;
wait_until('undone: the process is gone',
	sub { state_of_process($pid) eq '' });
wait_for_server('undone: the server recovers');
failed_then_done('undone', $id);

is( $node->safe_psql('postgres',
		'SELECT count(*) FROM qpsscale.activities'
		  . " WHERE status IN ('requested', 'unknown', 'accepted')"),
	'0', 'no activity is left open');
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM qpsscale.activities WHERE finished_at IS NULL'),
	'0', 'each says when it ended');
is($cloud->counters->{signature_failures}, 0, 'every call was signed');

$node->stop;
done_testing();
