# How many calls a tick makes: as few as the cloud's limits allow, all in
# flight together, over connections that are there already.
#
# The worker is paused by its switch between two measurements, so that each
# sees whole ticks only; counts are compared with the number of ticks.

use strict;
use warnings;

use JSON::PP;
use POSIX qw(ceil);
use QpsscaleNode;
use Test::More;

my $GROUPS = 120;    # in the region ap-southeast-1 of the pretended cloud
my $LATENCY_MS = 100;

my ($node, $cloud) = QpsscaleNode->start(
	cloud => { latency_ms => $LATENCY_MS },
	settings => {
		'qpsscale.cycle_deadline' => "'10s'",
		'qpsscale.request_timeout' => "'10s'"
	});

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub setting
{
	my ($name, $value) = @_;

	$node->safe_psql('postgres', defined $value
		? "ALTER SYSTEM SET $name = '$value'" : "ALTER SYSTEM RESET $name");
	sql('SELECT pg_reload_conf()');
	return;
}

sub ticks
{
	return sql("SELECT ticks FROM qpsscale.stat_worker WHERE database = 'postgres'");
}

sub pause
{
	setting('qpsscale.enabled', 'off');
	wait_for($node,
		"SELECT state FROM qpsscale.stat_worker WHERE database = 'postgres'",
		'disabled', 'the worker pauses');
	return;
}

# Lets a paused worker run for so many ticks or a few more.  Returns how many
# ticks they were, the emulator's counters and its log.
sub run_ticks
{
	my ($wanted) = @_;
	my $before = ticks();
	my %seen;

	$cloud->reset_log;
	setting('qpsscale.enabled', undef);
	wait_until("$wanted ticks", sub { ticks() >= $before + $wanted });
	pause();
	$seen{ticks} = ticks() - $before;
	$seen{counters} = $cloud->counters;
	$seen{log} = $cloud->log(0);
	foreach my $action (qw(GetMetricData DescribeScalingGroups))
	{
		$seen{$action} = $seen{counters}{actions}{$action}{requests} // 0;
	}
	$seen{all} = scalar @{ $seen{log} };
	return \%seen;
}

# Groups that have what they need: alb-1 and asg-1 to alb-N and asg-N.
sub add_idle_groups
{
	my ($account, $n, $alb, $region) = @_;

	$alb //= "'alb-' || i";
	$region //= 'ap-southeast-1';
	add_account($node, $cloud, $account);
	sql("INSERT INTO qpsscale.resource_groups"
		  . " (name, alb_id, asg_id, region, target_qps, account, dry_run)"
		  . " SELECT '$account-$region-' || i, $alb, 'asg-' || i, '$region', 50,"
		  . " '$account', false FROM generate_series(1, $n) i");
	return;
}

sub enable_only
{
	my (@accounts) = @_;
	my $list = join(', ', map { "'$_'" } @accounts);

	sql("UPDATE qpsscale.resource_groups SET enabled = account IN ($list)"
		  . " WHERE enabled <> (account IN ($list))");
	return;
}

$cloud->put_groups([ map { { id => "asg-$_", alb_id => "alb-$_", desired => 1,
				max => 10, region => 'ap-southeast-1' } } 1 .. $GROUPS ]);
$cloud->control('PUT', 'traffic', { map {
		("alb-$_" => { kind => 'constant', qps => 40 })
	} 1 .. $GROUPS });
pause();

foreach my $n (1, 10, 51, $GROUPS)
{
	subtest "$n idle groups" => sub {
		my $account = "account_$n";

		add_idle_groups($account, $n);
		enable_only($account);

		my $seen = run_ticks(1);
		my $metrics = ceil($n / 50);
		my $by_id = ceil($n / 10);
		my $pages = ceil($GROUPS / 50);
		my $cheapest = $pages < $by_id ? $pages : $by_id;

		is( sql("SELECT string_agg(DISTINCT last_reason, ' ')"
				  . " FROM qpsscale.state s JOIN qpsscale.resource_groups g"
				  . " ON g.id = s.resource_group_id WHERE g.enabled"),
			'optimal_instance_count_reached', 'each has what it needs');
		cmp_ok($seen->{GetMetricData}, '<=', $metrics * $seen->{ticks},
			"at most $metrics GetMetricData a tick");
		cmp_ok($seen->{DescribeScalingGroups}, '<=', $by_id * $seen->{ticks},
			"at most $by_id DescribeScalingGroups a tick");
		is($seen->{all}, $seen->{GetMetricData} + $seen->{DescribeScalingGroups},
			'and nothing else');
		is($seen->{counters}{max_in_flight}, $metrics + $by_id,
			'the calls of a tick are in flight together');
		cmp_ok(sql("SELECT last_tick_ms FROM qpsscale.stat_worker"),
			'<', 8 * $LATENCY_MS, 'and not one after another');

		run_ticks(2);
		$seen = run_ticks(3);
		is($seen->{DescribeScalingGroups}, $cheapest * $seen->{ticks},
			"when the size of the region is known: $cheapest a tick");
		cmp_ok($seen->{GetMetricData}, '<=', $metrics * $seen->{ticks},
			"still at most $metrics GetMetricData");
		cmp_ok($seen->{GetMetricData}, '>', 0, 'but some');

		my @too_many = grep {
			$_->{n_ids} > ($_->{action} eq 'GetMetricData' ? 50 : 10)
		} @{ $seen->{log} };
		is(scalar(@too_many), 0, 'no call names more than the cloud allows');
	};
}

subtest 'warm ticks open no connection' => sub {
	my $opened = sql('SELECT connections_opened FROM qpsscale.stat_worker');
	my $seen = run_ticks(3);

	is($seen->{counters}{connections}{accepted}, 0,
		'the cloud accepted none in three ticks');
	is(sql('SELECT connections_opened FROM qpsscale.stat_worker'), $opened,
		'the worker says so too');
	cmp_ok($opened, '<=', 64, 'and it never had more than its limit');
};

subtest 'a reply never reaches into the next tick' => sub {
	my $pid = worker_pid($node);

	# Of the three pages of the region the last holds none of these groups.
	$cloud->set_options(result_order => 'given');
	enable_only('account_51');
	run_ticks(2);
	$cloud->fault({ kind => 'delay', skip => 2, params => { ms => 900 },
			match => { action => 'DescribeScalingGroups' } });
	my $seen = run_ticks(3);
	my ($late) = grep { ($_->{fault} // '') eq 'delay' } @{ $seen->{log} };

	ok(defined $late, 'a page that nobody waits for came late');
	is($late->{status}, undef, 'its call was given up at the end of its tick')
	  if defined $late;
	is(worker_pid($node), $pid, 'the worker is the same as before');
	is( sql("SELECT string_agg(DISTINCT last_reason, ' ')"
			  . " FROM qpsscale.state s JOIN qpsscale.resource_groups g"
			  . " ON g.id = s.resource_group_id WHERE g.enabled"),
		'optimal_instance_count_reached', 'and every group was decided');
	$cloud->clear_faults;
	$cloud->set_options(result_order => 'mixed');
	enable_only("account_$GROUPS");
	run_ticks(1);
};

subtest 'a metric is asked no more often than it is published' => sub {
	setting('qpsscale.metric_resolution', '1d');
	my $seen = run_ticks(4);
	my $metrics = ceil($GROUPS / 50);

	cmp_ok($seen->{GetMetricData}, '<=', $metrics,
		"$seen->{ticks} ticks asked for the load once");
	cmp_ok($seen->{DescribeScalingGroups}, '>=', $seen->{ticks},
		'the capacity is asked for in each');
	is( sql("SELECT count(*) FROM qpsscale.state WHERE latest_qps = 40"
			  . " AND latest_qps_at = last_evaluated_at"
			  . " AND last_reason = 'optimal_instance_count_reached'"
			  . " AND resource_group_id IN (SELECT id"
			  . " FROM qpsscale.resource_groups WHERE enabled)"),
		$GROUPS, 'and every group is decided on the load that is known');

	$cloud->reset_log;
	sql('SELECT count(*) FROM qpsscale_evaluate()');
	is($cloud->counters->{actions}{GetMetricData}{requests}, $metrics,
		'a person who asks gets an answer of now');
	setting('qpsscale.metric_resolution', undef);
};

subtest 'a shared load balancer is asked for once' => sub {
	add_idle_groups('shared', 30, "'alb-1'");
	enable_only('shared');
	my $seen = run_ticks(2);
	my @calls = grep { $_->{action} eq 'GetMetricData' } @{ $seen->{log} };

	cmp_ok(scalar(@calls), '>=', 1, 'thirty groups have one load balancer');
	is_deeply([ grep { $_->{n_ids} != 1 } @calls ], [],
		'each request names it once');
	cmp_ok(scalar(@calls), '<=', $seen->{ticks}, 'one request a tick');
	is( sql("SELECT count(*) FROM qpsscale.state s JOIN qpsscale.resource_groups g"
			  . " ON g.id = s.resource_group_id"
			  . " WHERE g.enabled AND s.latest_qps = 40"),
		'30', 'and all thirty know its load');
};

subtest 'accounts and regions are asked apart' => sub {
	my @regions = ('eu-east-1', 'us-west-2');

	foreach my $region (@regions)
	{
		$cloud->put_groups([ { id => "asg-in-$region", max => 10, desired => 1,
					alb_id => "alb-in-$region", region => $region } ]);
		$cloud->set_traffic("alb-in-$region",
			{ kind => 'constant', qps => 40, region => $region });
	}
	foreach my $account (qw(first second))
	{
		add_account($node, $cloud, $account);
		sql("INSERT INTO qpsscale.resource_groups"
			  . " (name, alb_id, asg_id, region, target_qps, account, dry_run)"
			  . " VALUES ('$account-$_', 'alb-in-$_', 'asg-in-$_', '$_', 50,"
			  . " '$account', false)")
		  foreach @regions;
	}
	enable_only(qw(first second));
	my $seen = run_ticks(2);
	my %asked;

	foreach my $entry (@{ $seen->{log} })
	{
		$asked{"$entry->{action} $entry->{region} @{ $entry->{ids} }"}++;
	}
	is_deeply([ sort keys %asked ], [
			map({ "DescribeScalingGroups $_ asg-in-$_" } @regions),
			map({ "GetMetricData $_ alb-in-$_" } @regions) ],
		'each region is asked for what is in it');
	is($asked{"DescribeScalingGroups $_ asg-in-$_"}, 2 * $seen->{ticks},
		"$_: once for each account") foreach @regions;
	is( sql("SELECT string_agg(DISTINCT last_reason, ' ') FROM qpsscale.state s"
			  . " JOIN qpsscale.resource_groups g ON g.id = s.resource_group_id"
			  . " WHERE g.enabled"),
		'optimal_instance_count_reached', 'all four were found');
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
