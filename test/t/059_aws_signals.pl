# CPU and memory of AWS' scaling groups, response time and errors of their load
# balancers: what drives a group, and what keeps it from shrinking.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 0 },
	settings => { 'qpsscale.interval' => "'1h'" });

add_account($node, $cloud, 'aws', 'aws');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub add_aws
{
	my ($name, %opts) = @_;

	return add_group($node, $cloud, $name, provider => 'aws', desired => 4,
		scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 0,
		general_cooldown_seconds => 0, scale_down_window_seconds => 0,
		suspicious_drop_guard => 'false', %opts);
}

sub add_signal
{
	my ($id, $name, %opts) = @_;
	my %row = (resource_group_id => $id, name => $name, source => 'cloud', %opts);
	my @columns = sort keys %row;

	sql('INSERT INTO qpsscale.signals (' . join(', ', @columns) . ') VALUES ('
		  . join(', ', map { "'$row{$_}'" } @columns) . ')');
	return;
}

sub constant { return { kind => 'constant', qps => $_[0] }; }

# Requests of a group's load balancer, and other metrics of it.
sub traffic
{
	my ($name, $qps, %metrics) = @_;

	$cloud->set_traffic(aws_alb($name), { %{ constant($qps) },
			metrics => { map { $_ => constant($metrics{$_}) } keys %metrics } });
	return;
}

# Metrics of the scaling group itself.
sub usage
{
	my ($name, %metrics) = @_;

	$cloud->set_traffic("asg-$name", { %{ constant(0) },
			metrics => { map { $_ => constant($metrics{$_}) } keys %metrics } });
	return;
}

sub verdict
{
	my ($result) = @_;

	return join(' ', @$result{qw(action reason desired_capacity)});
}

subtest 'CPU and memory drive a group' => sub {
	my $id = add_aws('use', alb_id => undef, target_qps => undef,
		target_cpu => 50, target_memory => 80);

	usage('use', CPUUtilization => 90, mem_used_percent => 40);
	my $result = evaluate($node, $id);
	is(verdict($result), 'scale_up dynamic_scaling_scale_up 8',
		'four instances at 90 % are eight at 50 %')
	  or diag(encode_json($result));
	is_deeply([ map { "$_->{source} $_->{instances}" }
			@{ $result->{explanation}{proposals} } ],
		[ 'cpu 8', 'memory 2' ], 'both are on record');
	is($cloud->counters->{metrics_asked}, 2, 'two metrics were paid for');

	usage('use', CPUUtilization => 10);
	is(verdict(evaluate($node, $id)), 'none signal_missing 8',
		'a metric that is not there shrinks nothing');
};

subtest 'requests per target drive a group' => sub {
	my $id = add_aws('per-target', target_qps => undef, enabled => 'false');
	chomp(my $crc = qx(python3 -c 'import zlib; print("%016x" % zlib.crc32(b"asg-per-target"))'));
	my $target_group = "targetgroup/asg-per-target/$crc";
	my %signal = (query => 'request_count_per_target', law => 'value',
		target => 25);

	like($node->psql('postgres', "INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)"
			  . " VALUES ($id, 'share', 'cloud', 'request_count_per_target', 25)"),
		qr/^[1-9]/, 'which target group must be said');
	add_signal($id, 'share', %signal, label => 'TargetGroup',
		label_value => $target_group);
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	traffic('per-target', 200);
	my $result = evaluate($node, $id);
	is(verdict($result), 'scale_up dynamic_scaling_scale_up 8',
		'four targets with 50 each are eight with 25')
	  or diag(encode_json($result));
	traffic('per-target', 0);
	is(verdict(evaluate($node, $id)), 'none signal_missing 8',
		'no requests are no data');
};

subtest 'errors and slow answers hold a group that would shrink' => sub {
	my $id = add_aws('veto');

	add_signal($id, 'errors', query => 'target_5xx', role => 'veto',
		target => 0.5, empty_means => 'zero');
	add_signal($id, 'latency', query => 'target_response_time',
		role => 'veto', target => 0.2);
	traffic('veto', 190, TargetResponseTime => 3, HTTPCode_Target_5XX_Count => 9);
	$cloud->reset_log;
	is(verdict(evaluate($node, $id)), 'none optimal_instance_count_reached 4',
		'a group that does not shrink');
	is($cloud->counters->{metrics_asked}, 1, 'pays for its load alone');

	traffic('veto', 90, TargetResponseTime => 0.1, HTTPCode_Target_5XX_Count => 2);
	$cloud->reset_log;
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{desired_capacity}", 'none 4',
		'two errors a second: nothing is taken away') or diag(encode_json($result));
	is($cloud->counters->{metrics_asked}, 3, 'both vetoes were asked');
	my ($errors) = grep { $_->{name} eq 'errors' } @{ $result->{signals} };
	is($errors->{value}, 2, 'errors are counted per second');

	traffic('veto', 90, TargetResponseTime => 0.5);
	is(evaluate($node, $id)->{desired_capacity}, 4, 'nor while answers are slow');
	traffic('veto', 90);
	is(evaluate($node, $id)->{desired_capacity}, 4,
		'nor where nobody knows how slow they are');
	traffic('veto', 90, TargetResponseTime => 0.1);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 2',
		'no errors, as the signal says, and quick answers');
};

subtest 'missing errors are no data unless the signal says zero' => sub {
	my $id = add_aws('strict');

	add_signal($id, 'errors', query => 'elb_5xx', role => 'veto', target => 0.5);
	traffic('strict', 90);
	is(evaluate($node, $id)->{desired_capacity}, 4, 'nothing is taken away');
	is(sql("SELECT quantity || ' ' || note FROM qpsscale_estimate_cost($id) WHERE component = 'signal_metrics'"),
		'0 0 further metric(s), each asked every 3600 s, GetMetricData at 0.01 USD per 1,000;'
		  . ' and 1 veto(es), asked only when their groups are about to shrink',
		'a veto costs only then');
	sql("UPDATE qpsscale.signals SET empty_means = 'zero' WHERE resource_group_id = $id");
	is(evaluate($node, $id)->{desired_capacity}, 2, 'zero errors');
};

subtest 'groups of one load balancer share a metric' => sub {
	sql('UPDATE qpsscale.resource_groups SET enabled = false');
	foreach my $i (1 .. 3)
	{
		my $id = add_aws("shared-$i", alb_id => aws_alb('shared'));
		add_signal($id, 'latency', query => 'target_response_time',
			law => 'value', target => 1);
	}
	is(sql("SELECT quantity || ' ' || note FROM qpsscale_estimate_cost() WHERE component = 'signal_metrics'"),
		'730 1 further metric(s), each asked every 3600 s, GetMetricData at 0.01 USD per 1,000',
		'which is paid for once');
	traffic('shared', 190, TargetResponseTime => 1);
	$cloud->reset_log;
	is(sql("SELECT string_agg(DISTINCT e ->> 'reason', ' ') FROM qpsscale_evaluate() e"),
		'optimal_instance_count_reached', 'all three have their numbers');
	is($cloud->counters->{metrics_asked}, 2, 'of two metrics');
};

subtest 'a permission that is missing is told' => sub {
	my $id = add_aws('denied', alb_id => undef, target_qps => undef,
		target_cpu => 50);

	usage('denied', CPUUtilization => 10);
	$cloud->fault({ kind => 'status', match => { action => 'GetMetricData' },
			params => { status => 403, code => 'AccessDenied', message =>
				'User: arn:aws:iam::1:user/x is not authorized to perform: cloudwatch:GetMetricData' } });
	my $result = evaluate($node, $id);
	is(verdict($result), 'none signal_missing 4', 'nothing is taken away');
	like($result->{signals}[0]{error}, qr/perform: cloudwatch:GetMetricData/,
		'and what to allow');
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
