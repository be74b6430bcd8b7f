# Groups of AWS, from the row to the cloud and back: an EC2 Auto Scaling group
# is scaled by its load balancer as a BytePlus one is.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 1 },
	settings => { 'qpsscale.interval' => "'1h'" });

add_account($node, $cloud, 'aws', 'aws');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# No cooldowns, no window: what follows is about the cloud.
my %at_once = (scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0, general_cooldown_seconds => 0,
	scale_down_window_seconds => 0, suspicious_drop_guard => 'false');

sub add_aws
{
	my ($name, %opts) = @_;

	return add_group($node, $cloud, $name, provider => 'aws', %at_once, %opts);
}

sub traffic
{
	my ($name, $qps, %more) = @_;

	$cloud->set_traffic(aws_alb($name),
		{ kind => 'constant', qps => $qps, %more });
	return;
}

# Names of the calls that the cloud has seen since the last reset of its log.
sub calls
{
	return map { $_->{action} } @{ $cloud->log(0) };
}

sub verdict
{
	my ($result) = @_;

	return join(' ', $result->{action}, $result->{reason},
		$result->{desired_capacity} // 'null');
}

# Evaluates until the open activity has ended.
sub settled
{
	my ($id, $what) = @_;

	return wait_until($what, sub {
		evaluate($node, $id);
		return activities($node, $id) !~ /accepted|requested|unknown/;
	});
}

subtest 'a group grows and shrinks with its requests' => sub {
	my $id = add_aws('web', min => 1, max => 20, desired => 2);

	traffic('web', 405);
	$cloud->reset_log;
	is(verdict(evaluate($node, $id)), 'scale_up dynamic_scaling_scale_up 9',
		'405 requests per second at 50 each want nine');
	is($cloud->group('asg-web')->{desired}, 9, 'the cloud was told');
	is_deeply([ sort(calls()) ], [ qw(DescribeAutoScalingGroups
		DescribeScalingActivities GetMetricData SetDesiredCapacity) ],
		'by four calls');
	is(activities($node, $id), 'accepted 9', 'and the ledger knows');
	ok(settled($id, 'the instances arrive'), 'until they serve');
	is(activities($node, $id), 'successful 9', 'the action has succeeded');
	cmp_ok(sql("SELECT in_service_seconds FROM qpsscale.activities"
			  . " WHERE resource_group_id = $id"), '>', 0,
		'the time it took is measured');

	$cloud->reset_log;
	is(verdict(evaluate($node, $id)), 'none optimal_instance_count_reached 9',
		'nothing more to do');
	is_deeply([ sort(calls()) ], [ qw(DescribeAutoScalingGroups GetMetricData) ],
		'an idle group costs one call of each kind');

	traffic('web', 120);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 3',
		'120 requests per second want three');
	is($cloud->group('asg-web')->{desired}, 3, 'the cloud was told again');
	settled($id, 'those that go have gone');
	is(activities($node, $id), "successful 9\nsuccessful 3",
		'both actions have succeeded');
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
