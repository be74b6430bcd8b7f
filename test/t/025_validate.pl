# What qpsscale_validate() finds, and what it advises.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.request_timeout' => "'1s'",
		'qpsscale.cycle_deadline' => "'3s'"
	});

# One check of a group: its status, what was seen and the advice.
sub finds
{
	my ($id, $check, $expected, $what) = @_;

	like( $node->safe_psql('postgres',
			"SELECT concat_ws(' | ', status, detail, hint)"
			  . " FROM qpsscale_validate($id) WHERE check_name = '$check'"),
		$expected, $what);
	return;
}

sub group
{
	my ($name, %options) = @_;

	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 100 });
	return add_group($node, $cloud, $name, desired => 2, %options);
}

# ---- the group itself ----

finds(group('off', enabled => 'false'), 'policy',
	qr/^warn \| the group is not enabled \| UPDATE /, 'a group that is off');
finds(group('dry', dry_run => 'true'), 'policy',
	qr/^warn \| the group is in dry run \| UPDATE /, 'a dry run');
finds(group('fixed', min => 2, max => 2), 'limits',
	qr/^warn \| .* both 2: nothing can be scaled \| Widen/,
	'limits of the cloud that leave no choice');
finds(group('above', max => 5, min_instances => 6, max_instances => 9),
	'limits', qr/^warn \| .* outside the cloud's 0\.\.5: the cloud's hold/,
	'limits that the cloud does not reach');
finds(group('unset', desired => -1, total => 3), 'capacity',
	qr/^warn \| the expected number .* 3 instances exist/,
	'a scaling group whose expected number is not in use');
finds(group('locked', lifecycle => 'Locked'), 'state',
	qr/^fail \| the scaling group is not active \| Enable/,
	'a scaling group that is not active');
finds(group('paused', suspended_processes => ['ScaleOut']), 'state',
	qr/^warn \| processes .* are suspended \| Resume/,
	'a scaling group whose processes are suspended');
finds(add_group($node, $cloud, 'idle', desired => 0), 'load',
	qr/^warn \| no data for load balancer "alb-idle" \| Normal if/,
	'a load balancer without any data');

# ---- what the cloud answers ----

my $id = group('whole');

is( $node->safe_psql('postgres',
		"SELECT string_agg(DISTINCT status, ' ') FROM qpsscale_validate($id)"),
	'ok', 'a group that has all it needs');

foreach my $case (
	[ 'load', 'GetMetricData', { status => 500 }, qr/Try again; if it stays/,
		'a server error' ],
	[ 'load', 'GetMetricData', { status => 429, code => 'Throttling' },
		qr/The cloud limits this account/, 'throttling' ],
	[ 'load', 'GetMetricData', { status => 403, code => 'AccessDenied' },
		qr/Give the account the permission/, 'a missing permission' ],
	[ 'load', 'GetMetricData', { kind => 'html' },
		qr/The reply is not what the API documents/, 'a page of a proxy' ],
	[ 'capacity', 'DescribeScalingGroups', { status => 403,
			code => 'SignatureDoesNotMatch' },
		qr/Check the access key .* and this host's clock/,
		'a signature that is refused' ],
	[ 'capacity', 'DescribeScalingGroups', { kind => 'truncated', bytes => 40 },
		qr/^fail \| the scaling group cannot be read: /, 'half a reply' ],
	[ 'activities', 'DescribeScalingActivities', { status => 400,
			code => 'InvalidParameter' },
		qr/^fail \| the scaling activities cannot be read: InvalidParameter/,
		'activities that may not be read' ],
	[ 'instances', 'DescribeScalingInstances', { status => 403,
			code => 'AccessDenied' },
		qr/^fail \| the instances cannot be read: AccessDenied/,
		'instances that may not be read' ],
	[ 'load', 'GetMetricData', { kind => 'hang' },
		qr/^fail \| the load cannot be read: .*Try again/, 'silence' ])
{
	my ($check, $action, $fault, $expected, $what) = @$case;
	my ($status, $code) = @$fault{qw(status code)};
	my $kind = $fault->{kind} // 'status';
	my %params = map { ($_ => $fault->{$_}) }
	  grep { exists $fault->{$_} } qw(status code bytes);

	$cloud->fault(
		{
			kind => $kind,
			match => { action => $action },
			times => -1,
			params => \%params
		});
	finds($id, $check, $expected, "$check: $what");
	$cloud->clear_faults;
}

# ---- addresses ----

$node->safe_psql('postgres', "ALTER SYSTEM SET qpsscale.allowed_hosts = ''");
$node->reload;
finds($id, 'capacity', qr/Add the host to qpsscale\.allowed_hosts/,
	'an address that may not be reached');

$node->stop;
$cloud->stop;
done_testing();
