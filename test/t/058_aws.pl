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
	$cloud->reset_log;
	my $evaluations = 0;
	wait_until('the instances arrive', sub {
		evaluate($node, $id);
		$evaluations++;
		return activities($node, $id) eq 'successful 9';
	});
	is(scalar(grep { $_ eq 'DescribeAutoScalingGroups' } calls()),
		$evaluations, 'one call says what is desired and what serves');
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

subtest 'limits, and what the cloud says about them' => sub {
	my $id = add_aws('small', min => 1, max => 4, desired => 2);

	traffic('small', 1000);
	is(verdict(evaluate($node, $id)), 'scale_up dynamic_scaling_scale_up 4',
		'twenty are wanted, the cloud allows four');
	settled($id, 'the four arrive');

	# the limit falls between the reading and the write
	$cloud->patch_group('asg-small', { min => 1, max => 9, force => JSON::PP::true });
	$cloud->fault({ kind => 'status', match => { action => 'SetDesiredCapacity' },
			params => { status => 400, code => 'ValidationError',
				message => 'New SetDesiredCapacity value 9 is above max value 6'
				  . ' for the AutoScalingGroup.' } });
	evaluate($node, $id);
	is(sql("SELECT status || ' ' || (error_message LIKE 'AboveMaximum: %')"
			  . " FROM qpsscale.activities WHERE resource_group_id = $id"
			  . ' ORDER BY id DESC LIMIT 1'), 'failed true',
		'a number above the maximum is refused, and told as that');
	is($cloud->group('asg-small')->{desired}, 4, 'nothing was changed');
};

subtest 'a name that does not exist is no group of zero' => sub {
	my $id = add_aws('real');
	my $stray = add_aws('stray');

	traffic($_, 40) foreach qw(real stray);
	$cloud->delete_group('asg-stray');
	my $result = evaluate($node, $stray);
	is("$result->{action} $result->{reason}", 'none metrics_unavailable',
		'nothing is done');
	like($result->{error}, qr/^NotFound: /, 'and the name is told');
	is(verdict(evaluate($node, $id)), 'none optimal_instance_count_reached 1',
		'others are as before');
};

subtest 'a write that the cloud delays is made, once' => sub {
	foreach my $case ([ 500, 'ResourceContention' ], [ 400, 'Throttling' ])
	{
		my ($status, $code) = @$case;
		my $name = lc $code;
		my $id = add_aws($name, max => 20);

		traffic($name, 200);
		$cloud->reset_log;
		$cloud->fault({ kind => 'status',
				match => { action => 'SetDesiredCapacity' },
				params => { status => $status, code => $code } });
		evaluate($node, $id);
		is(activities($node, $id), 'accepted 4', "$code: made all the same");
		is(scalar(grep { $_ eq 'SetDesiredCapacity' } calls()), 2,
			'at the second attempt');
		is($cloud->counters->{modify_applied}, 1, 'and applied once');
	}
};

subtest 'a lost reply is resolved by reading' => sub {
	my $id = add_aws('lost', max => 20);

	traffic('lost', 200);
	$cloud->fault({ kind => 'lost_reply',
			match => { action => 'SetDesiredCapacity' } });
	evaluate($node, $id);
	is(activities($node, $id), 'unknown 4', 'nobody knows what became of it');
	$cloud->reset_log;
	ok(settled($id, 'it is found to be applied'), 'by the group itself');
	is(activities($node, $id), 'successful 4', 'one action, which succeeded');
	is($cloud->counters->{modify_applied}, 0, 'and it was not made again');
};

subtest 'no requests are zero only where hosts are healthy' => sub {
	my $id = add_aws('silent', min => 0, desired => 3);

	traffic('silent', 0);
	$cloud->reset_log;
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 0',
		'three healthy hosts and no request: none is needed');
	is(scalar(grep { $_ eq 'GetMetricData' } calls()), 2,
		'the healthy hosts were asked for');

	my $wrong = add_aws('wrong', min => 0, desired => 3);
	my $result = evaluate($node, $wrong);
	is("$result->{action} $result->{reason}", 'none metrics_unavailable',
		'a load balancer that does not exist shrinks nothing');
	is($cloud->group('asg-wrong')->{desired}, 3, 'nor does the cloud hear of it');
};

subtest 'late metrics are not taken for fewer requests' => sub {
	my $id = add_aws('late', max => 20, desired => 8);

	traffic('late', 400, lag => 115);
	$cloud->reset_log;
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{reason} " . int($result->{current_qps}),
		'none optimal_instance_count_reached 400', 'the load is what it was');
	is(scalar(grep { $_ eq 'GetMetricData' } calls()), 1,
		'and no healthy hosts are paid for');
};

subtest 'suspended processes hold their direction' => sub {
	my $id = add_aws('held', max => 20, desired => 4,
		suspended_processes => ['ScaleOut']);

	traffic('held', 500);
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{reason}", 'none asg_process_suspended',
		'Launch is suspended: nothing grows');
	traffic('held', 50);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 1',
		'but it shrinks');
};

subtest 'one owner may have the server\'s credentials of two clouds' => sub {
	my $id = add_aws('default', account => undef);
	my $other = add_group($node, $cloud, 'default-b', account => undef);

	# in one cycle: the same owner without an account, twice
	my %error = map { $_->{asg_id} => $_->{error} }
	  @{ decode_json(sql('SELECT jsonb_agg(e) FROM qpsscale_evaluate() e')) };

	like($error{'asg-default'}, qr/AWS_ACCESS_KEY_ID/,
		'AWS is told by its variables');
	unlike($error{'asg-default-b'}, qr/AWS_ACCESS_KEY_ID/,
		'and BytePlus is not');
};

subtest 'two clouds in one tick, of which one is dead' => sub {
	my $dead = QpsscaleCloud->start;
	my $url = $dead->url;

	add_account($node, $dead, 'dead', 'aws');
	$dead->stop;
	sql('UPDATE qpsscale.resource_groups SET enabled = false');
	foreach my $i (1 .. 5)
	{
		add_group($node, $cloud, "both-$i", max => 20);
		$cloud->set_traffic("alb-both-$i", { kind => 'constant', qps => 150 });
		add_aws("aws-$i", account => 'dead');
	}
	my $seen = decode_json(sql('SELECT jsonb_agg(e) FROM qpsscale_evaluate() e'));
	is(scalar(grep { $_->{action} eq 'scale_up' } @$seen), 5,
		'BytePlus\' five were scaled');
	is(scalar(grep { $_->{reason} eq 'metrics_unavailable' } @$seen), 5,
		'and AWS\' five were not');
	is(sql("SELECT count(*) FROM qpsscale.activities a"
			  . ' JOIN qpsscale.resource_groups g ON g.id = a.resource_group_id'
			  . " WHERE a.status = 'accepted' AND g.provider = 'byteplus'"
			  . ' AND g.enabled'), '5', 'as the cloud confirms');
};

subtest 'what validate finds' => sub {
	my $id = add_aws('check', desired => 2, suspended_processes => ['ScaleIn']);
	my $found = sub {
		my ($group, $check) = @_;

		return sql("SELECT concat_ws(' | ', status, detail, hint)"
			  . " FROM qpsscale_validate($group) WHERE check_name = '$check'");
	};

	traffic('check', 40);
	like($found->($id, 'load'), qr/^ok \| 40\.0 requests/, 'the load');
	like($found->($id, 'instances'), qr/^ok \| 2 in service/, 'the instances');
	like($found->($id, 'state'), qr/Resume its processes Launch and Terminate/,
		'what is suspended, in AWS\' words');
	like($found->($id, 'cost'), qr/^ok \| .* 730 metrics a month, about 0\.01 USD/,
		'what the load costs: this worker asks once an hour');
	foreach my $case (
		[ 'capacity', 'DescribeAutoScalingGroups', 'autoscaling' ],
		[ 'activities', 'DescribeScalingActivities', 'autoscaling' ],
		[ 'load', 'GetMetricData', 'cloudwatch' ])
	{
		my ($check, $action, $service) = @$case;

		$cloud->fault({ kind => 'status', match => { action => $action },
				times => -1, params => { status => 403, code => 'AccessDenied',
					message => 'User: arn:aws:iam::123456789012:user/scaler is'
					  . " not authorized to perform: $service:$action" } });
		like($found->($id, $check),
			qr/^fail \| .*perform: $service:$action .* \| Give .* the permission/,
			"the permission $service:$action");
		$cloud->clear_faults;
	}
	like($found->(add_aws('arn', alb_id => 'arn:aws:elasticloadbalancing:'
				  . 'ap-southeast-1:1:loadbalancer/' . aws_alb('arn')), 'load'),
		qr/whole ARN; only its end is wanted: app\/arn\//, 'an ARN');
	like($found->(add_aws('nobody', desired => 2), 'load'),
		qr/^warn \| no data .*HealthyHostCount has no data either/,
		'a load balancer without any data');
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
