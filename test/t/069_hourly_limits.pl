# How much may change within an hour: of a group, and of all together.

use strict;
use warnings;

use IPC::Run;
use QpsscaleNode;
use Test::More;

my $GROUPS = 12;
my ($node, $cloud) = QpsscaleNode->start(settings => {
		'qpsscale.databases' => "''", 'max_worker_processes' => 40 });
my @calm = (boot_delay => 0, general_cooldown_seconds => 0,
	scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 0,
	scale_down_window_seconds => 0, suspicious_drop_guard => 'false',
	prediction_mode => 'off');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub load_is
{
	my ($name, $qps) = @_;

	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
	return;
}

sub verdict
{
	my ($result) = @_;

	return "$result->{action} $result->{desired_capacity} $result->{reason}";
}

# What was done is as old as said.
sub grow_old
{
	my ($id, $age) = @_;

	sql("UPDATE qpsscale.activities SET requested_at = requested_at - interval '$age'"
		  . " WHERE resource_group_id = $id");
	return;
}

subtest 'instances of a group' => sub {
	my $id = add_group($node, $cloud, 'web', @calm, desired => 4,
		max_instances_per_hour => 5);

	load_is('web', 700);
	my $result = evaluate($node, $id);
	is(verdict($result), 'scale_up 9 dynamic_scaling_scale_up',
		'it grows by as many as it may');
	is_deeply($result->{explanation}{clamps}[-1],
		{ by => 'max_instances_per_hour', limit => 9, from => 14, to => 9 },
		'the explanation has the clamp');
	$result = evaluate($node, $id);
	is(verdict($result), 'none 9 hourly_limit', 'and no further');
	is(sql("SELECT blocked_until = (SELECT max(requested_at) + interval '1 hour'"
			  . " FROM qpsscale.activities) FROM qpsscale.state WHERE resource_group_id = $id"),
		't', 'until the action is an hour ago');
	load_is('web', 350);
	is(verdict(evaluate($node, $id)), 'scale_down 7 dynamic_scaling_scale_down',
		'which does not keep it from shrinking');
	load_is('web', 700);
	grow_old($id, '61 minutes');
	is(verdict(evaluate($node, $id)), 'scale_up 12 dynamic_scaling_scale_up',
		'an hour later it grows again');
	sql("UPDATE qpsscale.resource_groups SET min_instances = 14 WHERE id = $id");
	is(verdict(evaluate($node, $id)), 'scale_up 14 dynamic_scaling_scale_up',
		'to its lower limit whatever the limit says');
};

subtest 'actions of a group' => sub {
	my $id = add_group($node, $cloud, 'few', @calm, desired => 4,
		max_actions_per_hour => 2);

	foreach my $step ([ 250, 'scale_up 5 dynamic_scaling_scale_up' ],
		[ 150, 'scale_down 3 dynamic_scaling_scale_down' ],
		[ 100, 'none 3 hourly_limit' ], [ 900, 'none 3 hourly_limit' ])
	{
		load_is('few', $step->[0]);
		is(verdict(evaluate($node, $id)), $step->[1], "$step->[0] requests per second");
	}
	sql("UPDATE qpsscale.resource_groups SET dry_run = true WHERE id = $id");
	is(verdict(evaluate($node, $id)), 'scale_up 18 dynamic_scaling_scale_up',
		'what is not done is not limited');
};

subtest 'all groups together' => sub {
	my @ids;

	foreach my $i (1 .. $GROUPS)
	{
		push @ids, add_group($node, $cloud, "g$i", @calm, desired => 2);
		load_is("g$i", 250);	# takes 5
	}
	sql('DELETE FROM qpsscale.activities');
	$node->append_conf('postgresql.conf', "qpsscale.max_instances_per_hour = 14\n"
		  . "qpsscale.max_actions_per_hour = 100");
	$node->reload;
	wait_for($node, "SELECT setting FROM pg_settings WHERE name = 'qpsscale.max_instances_per_hour'",
		'14', 'the limit is known');
	my @calls = map {
		IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
				'-c', "SELECT qpsscale_evaluate($_)" ], '<', \undef, '>', \my $out, '2>', \my $err)
	} @ids;
	$_->finish foreach @calls;
	is(sql("SELECT sum(delta) FROM qpsscale.activities WHERE status <> 'failed'"), '14',
		"$GROUPS evaluators at once add as many as all may, and no more");
	$node->append_conf('postgresql.conf', 'qpsscale.max_instances_per_hour = 0');
	$node->append_conf('postgresql.conf', 'qpsscale.max_actions_per_hour = '
		  . sql("SELECT count(*) FROM qpsscale.activities WHERE status <> 'failed'"));
	$node->reload;
	wait_for($node, "SELECT setting FROM pg_settings WHERE name = 'qpsscale.max_instances_per_hour'",
		'0', 'another limit is known');
	load_is('g1', 2500);
	is(evaluate($node, $ids[0])->{reason}, 'hourly_limit', 'of actions, too');
};

done_testing();
