# The first original system's bugs B1 to B19, one subtest or more each: from a
# row in qpsscale.resource_groups to the requests that the cloud received.
# Each would fail if the bug were here again.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP;
use QpsscaleNode;
use Test::More;

# B18: the address the first original sent its webhook to.
my $cloud = QpsscaleCloud->start(boot_delay => 0);
local $ENV{ALERT_WEBHOOK_URL} = $cloud->webhook_url;

# No resident worker: each evaluation below is one that the test asked for.
my ($node) = QpsscaleNode->start(
	cloud => $cloud,
	settings => {
		'qpsscale.databases' => "''",
		'qpsscale.request_timeout' => "'1s'",
		'qpsscale.cycle_deadline' => "'4s'"
	});

# A policy that waits for nothing.
my %at_once = (
	scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0,
	general_cooldown_seconds => 0,
	scale_down_window_seconds => 0,
	suspicious_drop_guard => 'false');

my @payloads;    # every answer of evaluate(), for B19

sub qps
{
	my ($name, $qps) = @_;
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
	return;
}

# Replaces the cloud's group by one with keys that add_group does not know.
sub cloud_group
{
	my ($name, %keys) = @_;
	$cloud->put_groups([
			{ id => "asg-$name", alb_id => "alb-$name", min => 0, max => 100,
				%keys } ]);
	return;
}

sub group
{
	my ($name, %options) = @_;
	return add_group($node, $cloud, $name, %at_once, %options);
}

sub decide
{
	my ($id) = @_;
	my $result = evaluate($node, $id);
	push @payloads, $result;
	return $result;
}

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub desired { return $cloud->group("asg-$_[0]")->{desired}; }

# Writes that the cloud was asked for, refused ones too, since a log position.
sub writes
{
	my ($since) = @_;
	return scalar @{ $cloud->log($since, 'ModifyScalingGroup') };
}

sub log_position { return $cloud->control('GET', 'log?limit=1')->{last}; }

# The newest error that a group is charged with.
sub last_error
{
	my ($id) = @_;
	return sql("SELECT source || ': ' || message FROM qpsscale.errors"
		  . " WHERE resource_group_id = $id ORDER BY id DESC LIMIT 1");
}

subtest 'B1: an API that fails is not a group without instances' => sub {
	my $id = group('b1', desired => 3);
	my $before = log_position();

	qps('b1', 150);
	foreach my $kind ('status', 'error_200', 'html', 'truncated', 'empty')
	{
		$cloud->fault({ kind => $kind, times => -1,
				match => { action => 'DescribeScalingGroups' } });
		my $result = decide($id);
		is($result->{action}, 'none', "$kind: no action");
		is($result->{reason}, 'metrics_unavailable', "$kind: and it says why");
		is($result->{current_instances}, undef,
			"$kind: the number of instances is unknown, not zero");
		$cloud->clear_faults;
	}
	is(writes($before), 0, 'nothing was written');
	is(desired('b1'), 3, 'the group is as it was');
	is(decide($id)->{current_instances}, 3, 'it is read again afterwards');
};

subtest 'B2: what boots or drains is not ordered twice' => sub {
	my $id = group('b2', desired => 8, total => 3);

	qps('b2', 400);
	my $result = decide($id);
	is($result->{current_instances}, 3, 'three of eight are there');
	is($result->{reason}, 'optimal_instance_count_reached',
		'eight are desired and needed: nothing to do');
	is($result->{required_change}, 0, 'the change is computed from desired');

	qps('b2', 500);
	decide($id);
	is(desired('b2'), 10, 'for two more it writes 10, not 8 + (10 - 3)');

	$id = group('b2-drain', desired => 3, total => 8);
	qps('b2-drain', 150);
	is(decide($id)->{action}, 'none', 'eight drain to three: nothing to do');
	is(desired('b2-drain'), 3, 'no further ones are removed');
};

subtest 'B3: where the expected count is off, -1 is no number' => sub {
	my $id = group('b3', desired => -1, total => 4);

	qps('b3', 500);
	my $result = decide($id);
	is($result->{current_desired}, 4, 'what exists is the base');
	is($result->{scaling_amount}, 6, 'six are added to the four');
	is(desired('b3'), 10, 'it grows to ten, not to -1 + 6');

	$id = group('b3-in', desired => -1, total => 10, min => 1);
	qps('b3-in', 150);
	decide($id);
	is(desired('b3-in'), 3, 'it shrinks to three, not to the minimum');

	$id = group('b3-idle', desired => -1, total => 3);
	qps('b3-idle', 150);
	is(decide($id)->{action}, 'none', 'a group that is right is left alone');
	is(desired('b3-idle'), -1, 'the feature stays off until it is needed');
};

subtest 'B4: a check that cannot be made forbids' => sub {
	my $id = group('b4', desired => 2);
	my $before = log_position();

	qps('b4', 300);
	foreach my $kind ('status', 'error_200', 'truncated', 'html')
	{
		$cloud->fault({ kind => $kind, times => -1,
				match => { action => 'DescribeScalingActivities' } });
		is(decide($id)->{reason}, 'activity_check_failed',
			"$kind: cooldown and progress cannot be read, so it waits");
		$cloud->clear_faults;
	}
	cloud_group('b4', desired => 2, time_format => 'garbage',
		activities => [ { age => 10, delta => 1, status => 'Success' } ]);
	is(decide($id)->{reason}, 'activity_check_failed',
		'likewise with an activity that ended nobody knows when');

	cloud_group('b4', desired => 2);
	$cloud->fault({ kind => 'body', times => -1,
			match => { action => 'DescribeScalingGroups' },
			params => { body => encode_json({
					ResponseMetadata => { RequestId => 'r' },
					Result => { TotalCount => 1, ScalingGroups => [ {
								ScalingGroupId => 'asg-b4',
								LifecycleState => 'Active',
								TotalInstanceCount => 2,
								DesireInstanceNumber => 2,
								MinInstanceNumber => 0 } ] } }) } });
	is(decide($id)->{action}, 'none', 'without a known maximum it does not grow');
	like(last_error($id), qr/^capacity: .*MaxInstanceNumber/,
		'and the error says what was missing');
	$cloud->clear_faults;

	is(writes($before), 0, 'nothing was written in all this');
	is(decide($id)->{action}, 'scale_up', 'it grows when all can be read again');
};

subtest 'B5: cooldowns know every spelling of an activity' => sub {
	my %up = (target_qps => 50, desired => 2, scale_up_cooldown_seconds => 300);

	foreach my $spelling (qw(SCALE_OUT ScaleOut scale_out unknown absent))
	{
		my $name = "b5-\L$spelling";
		$name =~ tr/_/-/;
		$name .= '-camel' if $spelling eq 'ScaleOut';
		$name .= '-low' if $spelling eq 'scale_out';
		my $id = group($name, %up);

		qps($name, 300);
		cloud_group($name, desired => 2, type_spelling => $spelling,
			activities => [ { age => 100, delta => 1, status => 'Success' } ]);
		is(decide($id)->{reason}, 'cooldown_scale_up',
			"type \"$spelling\" counts as growth");
	}
	foreach my $format (qw(z minutes offset fraction))
	{
		my $name = "b5-time-$format";
		my $id = group($name, %up);

		qps($name, 300);
		cloud_group($name, desired => 2, time_format => $format,
			activities => [ { age => 100, delta => 1, status => 'Success' } ]);
		my $result = decide($id);
		is($result->{reason}, 'cooldown_scale_up', "times as \"$format\" are read");
		cmp_ok($result->{cooldown_remaining} // 0, '>', 100,
			"\"$format\": for as long as is left");
		cmp_ok($result->{cooldown_remaining} // 999, '<=', 201,
			"\"$format\": and no longer");
	}

	my $id = group('b5-space', %up);
	qps('b5-space', 300);
	cloud_group('b5-space', desired => 2, time_format => 'space',
		activities => [ { age => 100, delta => 1, status => 'Success' } ]);
	is(decide($id)->{reason}, 'activity_check_failed',
		'a time without a zone could be any time: it waits');

	$id = group('b5-long', %up);
	qps('b5-long', 300);
	cloud_group('b5-long', desired => 2, activities =>
		  [ { age => 1000, delta => 1, status => 'Success', lasts => 950 } ]);
	is(decide($id)->{reason}, 'cooldown_scale_up',
		'the cooldown runs from the end of an activity, not from its start');

	foreach my $status (qw(Error Rejected Exception))
	{
		my $name = "b5-\L$status";
		$id = group($name, desired => 2, general_cooldown_seconds => 180);
		qps($name, 300);
		cloud_group($name, desired => 2, activities =>
			  [ { age => 30, delta => 1, status => $status } ]);
		is(decide($id)->{reason}, 'cooldown_general',
			"an activity that ended as $status is a back-off");
	}
};

subtest 'B6: the first element of a reply is not taken for the group' => sub {
	my $id = group('b6', desired => 3);
	my $before = log_position();

	qps('b6', 150);
	$cloud->set_options(unknown_ids => 'others');
	$cloud->delete_group('asg-b6');
	my $result = decide($id);
	my ($asked) = @{ $cloud->log($before, 'DescribeScalingGroups') };
	is($asked->{status}, 200, 'the cloud answered with other groups');
	is($result->{action}, 'none', 'none of them is scaled instead');
	is($result->{current_instances}, undef, 'nor counted');
	is(writes($before), 0, 'nothing was written');
	like(last_error($id), qr/^capacity: NotFound: .*"asg-b6"/,
		'the error says that the group was not found');
};

subtest 'B7: each group is asked for in its own region' => sub {
	my @ids = map {
		group("b7-$_->[0]", desired => 2, region => $_->[1])
	} ([ 'east', 'eu-east-1' ], [ 'west', 'us-west-2' ]);
	cloud_group('b7-east', desired => 2, region => 'eu-east-1');
	cloud_group('b7-west', desired => 2, region => 'us-west-2');
	my $before = log_position();
	my %regions;

	qps("b7-$_", 300) foreach qw(east west);
	is(decide($_)->{action}, 'scale_up', 'it is found and scaled') foreach @ids;
	foreach my $entry (@{ $cloud->log($before) })
	{
		$regions{ $entry->{region} }{$_} = 1 foreach @{ $entry->{ids} };
	}
	is_deeply(\%regions, {
			'eu-east-1' => { 'alb-b7-east' => 1, 'asg-b7-east' => 1 },
			'us-west-2' => { 'alb-b7-west' => 1, 'asg-b7-west' => 1 } },
		'every request went to the region of its row');
};

subtest 'B8: sixty load balancers, some of them odd, in two calls' => sub {
	my @albs = map { sprintf('b8-%02d', $_) } 1 .. 60;
	my %script = map {
		("alb-$albs[$_]" => { kind => 'constant', qps => 100 + $_ })
	} 0 .. $#albs;

	sql("UPDATE qpsscale.resource_groups SET enabled = false");
	$cloud->put_groups([ map { { id => "asg-$_", alb_id => "alb-$_",
					desired => 3, max => 100 } } @albs ]);
	sql("INSERT INTO qpsscale.resource_groups"
		  . " (alb_id, asg_id, region, target_qps, account, enabled, dry_run)"
		  . " SELECT 'alb-b8-' || n, 'asg-b8-' || n, 'ap-southeast-1', 50,"
		  . " 'cloud', true, true FROM (SELECT to_char(i, 'FM00') AS n"
		  . " FROM generate_series(1, 60) i) x");
	$script{'alb-b8-01'}{series} = 'omit';
	@{ $script{'alb-b8-02'} }{qw(nulls null_as)} = ('all', 'null');
	@{ $script{'alb-b8-03'} }{qw(nulls null_as)} = ('oldest', 'null');
	@{ $script{'alb-b8-04'} }{qw(nulls null_as)} = ('newest', 'absent');
	@{ $script{'alb-b8-05'} }{qw(nulls null_as)} = ('oldest', 'text');
	$script{'alb-b8-06'}{order} = 'reversed';
	$script{'alb-b8-07'}{incomplete} = 'scaled';
	$script{'alb-b8-08'}{series} = 'empty';
	$cloud->control('PUT', 'traffic', \%script);
	$cloud->set_options(result_order => 'mixed', stray_series => JSON::PP::true);

	my $before = log_position();
	my @rows = map { decode_json($_) }
	  split(/\n/, sql('SELECT qpsscale_evaluate()'));
	my $calls = $cloud->log($before, 'GetMetricData');
	push @payloads, @rows;

	is(scalar(@rows), 60, 'all sixty were evaluated');
	is(scalar(@$calls), 2, 'with two requests for load');
	is_deeply([ sort { $a <=> $b } map { $_->{n_ids} } @$calls ], [ 10, 50 ],
		'of at most fifty load balancers each');
	is_deeply([ grep { $_->{status} != 200 } @$calls ], [],
		'neither was refused');

	my %seen = map { ($_->{alb_id} => $_) } @rows;
	foreach my $number (1, 2, 5, 8)
	{
		my $row = $seen{ sprintf('alb-b8-%02d', $number) };
		is($row->{current_qps}, undef,
			"$row->{alb_id} has no data, which is not 0 QPS");
		is($row->{reason}, 'metrics_unavailable', 'and says so');
	}
	like($seen{'alb-b8-05'}{error}, qr/data points/,
		'a series that makes no sense is an error of its group alone');
	is($seen{'alb-b8-02'}{error}, undef, 'null points are none');
	my @wrong = grep {
		my $qps = $seen{"alb-$albs[$_]"}{current_qps};
		!defined $qps || abs($qps - (100 + $_)) > 0.001
	} 2, 3, 5, 6, 8 .. $#albs;
	is_deeply([ map { "$albs[$_]: "
				  . ($seen{"alb-$albs[$_]"}{current_qps} // 'none') } @wrong ],
		[],
		'all others have their own load: a null point costs only itself');

	sql("DELETE FROM qpsscale.resource_groups WHERE asg_id LIKE 'asg-b8-%'");
	$cloud->set_options(stray_series => JSON::PP::false);
};

subtest 'B9: the intent is committed before the call, and only one acts' => sub {
	my $id = group('b9', desired => 2);
	my $before = log_position();
	my @sessions;

	qps('b9', 300);
	$cloud->fault({ kind => 'delay', times => -1, params => { ms => 700 },
			match => { action => 'ModifyScalingGroup' } });
	foreach my $n (0 .. 2)
	{
		my $session = { out => '', err => '' };
		$session->{run} = IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
				"SELECT qpsscale_evaluate($id)" ],
			'<', \undef, '>', \$session->{out}, '2>', \$session->{err});
		push @sessions, $session;
	}
	wait_for($node,
		"SELECT status FROM qpsscale.activities WHERE resource_group_id = $id",
		'requested', 'the intent can be seen while the call is under way');
	foreach my $session (@sessions)
	{
		$session->{run}->finish;
		push @payloads, map { decode_json($_) } split(/\n/, $session->{out});
	}
	$cloud->clear_faults;
	is(writes($before), 1, 'three evaluators at once made one write');
	is(activities($node, $id), 'accepted 6', 'and one activity');
	is(desired('b9'), 6, 'of the right size');
};

subtest 'B10: what was refused is recorded as failed, in full' => sub {
	my $id = group('b10', desired => 2);

	qps('b10', 300);
	$cloud->fault({ kind => 'status', match => { action => 'ModifyScalingGroup' },
			params => { status => 400, code => 'OperationDenied.Quota',
				message => 'No more machines today.' } });
	decide($id);
	is( sql("SELECT status, action, delta, desired_capacity, eval_capacity,"
			  . " eval_qps, error_message ~ 'No more machines today'"
			  . " FROM qpsscale.activities WHERE resource_group_id = $id"),
		'failed|scale_up|4|6|2|300|t', 'every column is filled');
	is(decide($id)->{execution_result}{status}, 'accepted', 'the next try works');
	decide($id);
	is(activities($node, $id), "failed 6\nsuccessful 6",
		'successful only once the instances are there');
	is( sql("SELECT action || ' ' || reason FROM qpsscale.evaluations"
			  . " WHERE resource_group_id = $id ORDER BY id DESC LIMIT 1"),
		'none optimal_instance_count_reached',
		'a decision to do nothing is on record too, and is no success');
};

subtest 'B11: what state says is written, and is obeyed' => sub {
	my $id = group('b11', desired => 2, scale_up_cooldown_seconds => 300);

	qps('b11', 300);
	sql("UPDATE qpsscale.state SET last_scale_up_at = now() - '100 s'::interval"
		  . " WHERE resource_group_id = $id");
	is(decide($id)->{reason}, 'cooldown_scale_up',
		'a recorded growth is obeyed where the cloud has no activity');
	is( sql("SELECT latest_qps, latest_capacity,"
			  . " cooldown_until > now() + '150 s'::interval"
			  . " FROM qpsscale.state WHERE resource_group_id = $id"),
		'300|2|t', 'load, capacity and cooldown are there to be read');
	sql("UPDATE qpsscale.state SET last_scale_up_at = NULL"
		  . " WHERE resource_group_id = $id");

	sql("SELECT qpsscale_suspend($id, reason => 'release')");
	is(decide($id)->{reason}, 'suspended', 'a suspended group does not act');
	sql("SELECT qpsscale_resume($id)");

	$cloud->fault({ kind => 'status', times => 5, params => { status => 400 },
			match => { action => 'ModifyScalingGroup' } });
	decide($id) foreach 1 .. 5;
	is( sql("SELECT consecutive_errors, circuit_open_until > now()"
			  . " FROM qpsscale.state WHERE resource_group_id = $id"),
		'5|t', 'five refusals open the circuit breaker');
	is(decide($id)->{reason}, 'circuit_open', 'which is obeyed');
	sql("UPDATE qpsscale.state SET circuit_open_until = now() - '1 s'::interval"
		  . " WHERE resource_group_id = $id");
	is(decide($id)->{action}, 'scale_up', 'it tries again when the time is over');
	is( sql("SELECT consecutive_errors, circuit_open_until"
			  . " FROM qpsscale.state WHERE resource_group_id = $id"),
		'0|', 'a success sets the count back');
};

subtest 'B12: few calls, in flight together, and tried again' => sub {
	my @ids = map { group("b12-$_", desired => 2) } 1 .. 9;
	my %count;

	sql("UPDATE qpsscale.resource_groups SET enabled = asg_id LIKE 'asg-b12-%'");
	qps("b12-$_", 100) foreach 1 .. 8;
	qps('b12-9', 200);
	my $before = log_position();
	sql('SELECT qpsscale_evaluate()');
	$count{ $_->{action} }++ foreach @{ $cloud->log($before) };
	is_deeply(\%count, {
			GetMetricData => 1, DescribeScalingGroups => 1,
			DescribeScalingActivities => 1, ModifyScalingGroup => 1 },
		'nine groups, one of which acts, take four calls and not 32');

	$cloud->fault({ kind => 'delay', times => 2, params => { ms => 300 } });
	$cloud->reset_log;
	sql("SELECT qpsscale_evaluate($ids[0])");
	cmp_ok($cloud->counters->{max_in_flight}, '>=', 2,
		'load and capacity are asked for at the same time');

	$before = log_position();
	$cloud->fault({ kind => 'status', params => { status => 503 },
			match => { action => $_ } })
	  foreach qw(GetMetricData DescribeScalingGroups);
	is(decide($ids[0])->{reason}, 'optimal_instance_count_reached',
		'a read that failed once is tried again at once');
	is(scalar(@{ $cloud->log($before) }), 4, 'each of the two once more');
};

subtest 'B13: no flapping at the edge of ceil()' => sub {
	my $id = group('b13', desired => 8, scale_down_window_seconds => 300);
	my @reasons;

	foreach my $qps (401, 399, 401, 399)
	{
		qps('b13', $qps);
		push @reasons, decide($id)->{reason};
	}
	is_deeply(\@reasons, [
			'dynamic_scaling_scale_up', 'scale_down_stabilizing',
			'optimal_instance_count_reached', 'scale_down_stabilizing' ],
		'it grows once and keeps what the window still needs');
	is(desired('b13'), 9, 'one change in four evaluations');

	$id = group('b13-band', desired => 8, scale_up_tolerance => 0.1,
		scale_down_tolerance => 0.3);
	foreach my $qps (401, 310)
	{
		qps('b13-band', $qps);
		is(decide($id)->{reason}, 'within_tolerance', "$qps is near enough");
	}
	qps('b13-band', 450);
	is(decide($id)->{action}, 'scale_up', 'what is outside of the band acts');
};

subtest 'B14: static mode can leave zero' => sub {
	my $id = group('b14', desired => 0, mode => 'static');

	qps('b14', 5);
	my $result = decide($id);
	is($result->{reason}, 'qps_above_threshold', 'any load at all is above');
	is(desired('b14'), 1, 'the first instance comes');
	qps('b14', 0);
	is(decide($id)->{reason}, 'qps_below_threshold', 'no load is below');
	is(desired('b14'), 0, 'and it goes');
};

subtest 'B15: HTTP 200 with an error inside is an error' => sub {
	my $id = group('b15', desired => 2);
	my %error = (kind => 'error_200', times => -1,
		params => { code => 'AccessDenied', message => 'not for you' });

	qps('b15', 300);
	foreach my $case ([ 'GetMetricData', 'load' ],
		[ 'DescribeScalingGroups', 'capacity' ],
		[ 'DescribeScalingActivities', 'activities' ])
	{
		my ($action, $source) = @$case;

		$cloud->fault({ %error, match => { action => $action } });
		is(decide($id)->{action}, 'none', "$action: no action");
		like(last_error($id), qr/^$source: AccessDenied: .*not for you/,
			"$action: the error is on record");
		$cloud->clear_faults;
	}
	$cloud->fault({ %error, match => { action => 'ModifyScalingGroup' } });
	is(decide($id)->{execution_result}{status}, 'failed',
		'ModifyScalingGroup: a refused write is not an accepted one');
	$cloud->clear_faults;
	is(desired('b15'), 2, 'the group is as it was');
};

subtest 'B16: a database error is not an empty list of groups' => sub {
	sql('ALTER TABLE qpsscale.state RENAME COLUMN latest_qps TO mislaid');
	my ($rc, $out, $err) =
	  $node->psql('postgres', 'SELECT qpsscale_evaluate()');
	isnt($rc, 0, 'the call fails');
	is($out, '', 'it returns no result');
	like($err, qr/latest_qps/, 'and says what is wrong');
	sql('ALTER TABLE qpsscale.state RENAME COLUMN mislaid TO latest_qps');
	($rc) = $node->psql('postgres', 'SELECT qpsscale_evaluate()');
	is($rc, 0, 'once that is mended it works');
};

subtest 'B17: status and validation tell the truth' => sub {
	my $id = group('b17', desired => 2);
	my $bad = group('b17-gone', desired => 2);

	qps('b17', 100);
	$cloud->set_options(unknown_ids => 'omit');
	$cloud->delete_group('asg-b17-gone');
	is( sql("SELECT string_agg(DISTINCT status, ',') FROM qpsscale_validate($id)"),
		'ok', 'a good group passes every check');
	is( sql("SELECT last_validated_at IS NOT NULL"
			  . " FROM qpsscale.resource_groups WHERE id = $id"),
		't', 'and is marked as validated');
	is( sql("SELECT status FROM qpsscale_validate($bad)"
			  . " WHERE check_name = 'capacity'"),
		'fail', 'one that the cloud does not know fails');
	is( sql("SELECT last_validated_at FROM qpsscale.resource_groups"
			  . " WHERE id = $bad"),
		'', 'and is not marked');

	decide($bad);
	is( sql("SELECT count(*) FROM qpsscale.errors e"
			  . " JOIN qpsscale.resource_groups g ON g.id = e.resource_group_id"
			  . " WHERE g.asg_id = 'asg-b17-gone'"),
		'1', 'its error is charged to its row');
	is( sql("SELECT status || ' ' || (error IS NOT NULL)"
			  . " FROM qpsscale.status WHERE id = $bad"),
		'failing true', 'the view shows it as failing, with the error');
	decide($id);
	is( sql("SELECT concat_ws(' ', status, qps, desired, reason)"
			  . " FROM qpsscale.status WHERE id = $id"),
		'live 100.0 2 optimal_instance_count_reached',
		'and the good one as it is');
};

subtest 'B18: a batch run alone calls nobody' => sub {
	sql('SELECT qpsscale_evaluate()') foreach 1 .. 2;
	$node->safe_psql('postgres',
		"ALTER SYSTEM SET qpsscale.databases = 'postgres'");
	sql('SELECT pg_reload_conf()');

	# What the earlier tests broke is news, told once; then there is none.
	my ($told, $calls, $since);
	my $seen = '';
	wait_until('three runs without news call nobody', sub {
		my ($deliveries, $pending, $attempts, $ticks) = split /\|/,
		  sql("SELECT count(*), count(*) FILTER (WHERE status = 'pending'),"
			  . " coalesce(sum(attempts), 0), max(w.ticks)"
			  . " FROM (SELECT ticks FROM qpsscale.stat_worker"
			  . " WHERE database = 'postgres') w"
			  . " LEFT JOIN qpsscale.alert_deliveries ON true");
		my $called = $cloud->counters->{webhook} // 0;

		$seen = "$deliveries deliveries, $pending pending, $attempts attempts,"
		  . " $called calls, $ticks ticks";
		# one that a busy machine did not answer in time is told again
		if (!defined $told || $deliveries != $told || $called != $calls)
		{
			($told, $calls, $since) = ($deliveries, $called, $ticks);
			return 0;
		}
		return $ticks >= $since + 3 && $called <= $attempts;
	}) or diag("last seen: $seen");
};

subtest 'B19: one word for one thing, everywhere' => sub {
	my %words;

	$words{ $_->{action} }++ foreach @payloads;
	cmp_ok(scalar(@payloads), '>', 50, 'there is something to look at');
	is_deeply([ grep { !/^(none|scale_up|scale_down)$/ } keys %words ], [],
		'actions of the payloads');
	is( sql("SELECT string_agg(DISTINCT action, ' ') FROM"
			  . " (SELECT action FROM qpsscale.activities"
			  . " UNION SELECT action FROM qpsscale.evaluations"
			  . " UNION SELECT last_action FROM qpsscale.state) x"
			  . " WHERE action NOT IN ('none', 'scale_up', 'scale_down')"),
		'', 'actions of the tables');
	is( sql("SELECT string_agg(DISTINCT status, ' ') FROM qpsscale.activities"
			  . " WHERE status NOT IN ('requested', 'accepted', 'unknown',"
			  . " 'successful', 'failed', 'superseded', 'dry_run')"),
		'', 'statuses of the tables');
	is( sql("SELECT count(DISTINCT status) FROM qpsscale.activities"
			  . " WHERE status IN ('successful', 'failed', 'accepted')"),
		'3', 'of which this test has seen several');
	foreach my $column ([ 'status', 'success' ], [ 'action', 'scale_out' ])
	{
		my ($rc, $out, $err) = $node->psql('postgres',
			"UPDATE qpsscale.activities SET $column->[0] = '$column->[1]'");
		like($err, qr/violates check constraint/,
			"$column->[0] \"$column->[1]\" is not taken");
	}
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
