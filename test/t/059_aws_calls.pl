# What a tick of AWS groups costs: calls by the hundred names, metrics by the
# piece, and nothing for those that do not exist.

use strict;
use warnings;

use POSIX qw(ceil);
use QpsscaleNode;
use Test::More;
use Time::HiRes qw(time);

my $GROUPS = 1000;
my $UNKNOWN = 100;    # of them

my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.cycle_deadline' => "'30s'",
		'qpsscale.request_timeout' => "'30s'"
	});

add_account($node, $cloud, 'aws', 'aws');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub requests
{
	my ($action) = @_;

	return $cloud->counters->{actions}{$action}{requests} // 0;
}

sub tick
{
	$cloud->reset_log;
	sql('SELECT count(*) FROM qpsscale_evaluate()');
	return;
}

sub balancer { return sprintf('app/web-%d/%016x', $_[0], $_[0]); }

$cloud->put_groups([ map { { id => "web-$_", alb_id => balancer($_),
			desired => 1, max => 10, region => 'ap-southeast-1' } }
	  1 .. $GROUPS - $UNKNOWN ]);
$cloud->control('PUT', 'traffic', { map {
		(balancer($_) => { kind => 'constant', qps => 40 })
	} 1 .. $GROUPS });
sql("INSERT INTO qpsscale.resource_groups (provider, account, alb_id, asg_id,"
	  . " region, target_qps, dry_run, enabled) SELECT 'aws', 'aws',"
	  . " format('app/web-%s/%s', i, lpad(to_hex(i), 16, '0')), 'web-' || i,"
	  . " 'ap-southeast-1', 50, false, true FROM generate_series(1, $GROUPS) i");

subtest 'a thousand groups, of which a hundred do not exist' => sub {
	tick();
	is(requests('DescribeAutoScalingGroups'), 10, 'ten calls for the groups');
	is(requests('GetMetricData'), 2, 'two for the load');
	is($cloud->counters->{requests}, 12, 'and nothing else')
	  if defined $cloud->counters->{requests};
	is($cloud->counters->{metrics_asked}, $GROUPS, 'one metric each');
	is( sql("SELECT string_agg(last_reason || ' ' || n, ', ' ORDER BY n) FROM"
			  . ' (SELECT last_reason, count(*) AS n FROM qpsscale.state'
			  . ' GROUP BY last_reason) s'),
		"metrics_unavailable $UNKNOWN, optimal_instance_count_reached "
		  . ($GROUPS - $UNKNOWN),
		'unknown names harm nobody else');
};

subtest 'sixty thousand metrics an hour' => sub {
	# an hour of ticks by 15 s at 60 s a point, in the small: 1 s and 4 s
	sql("ALTER SYSTEM SET qpsscale.metric_resolution = '4s'");
	sql("ALTER SYSTEM SET qpsscale.interval = '1s'");
	$cloud->reset_log;
	my $started = time();
	sql('SELECT pg_reload_conf()');
	wait_until('ticks pass', sub {
		return requests('DescribeAutoScalingGroups') >= 10 * 8;
	});
	my $described = requests('DescribeAutoScalingGroups');
	my $metrics = $cloud->counters->{metrics_asked};
	my $points = ceil((time() - $started) / 4) + 1;

	cmp_ok($metrics, '<=', $GROUPS * $points,
		"each metric is asked once per point ($points points at most)");
	cmp_ok($metrics, '>=', $GROUPS, 'and it is asked');
	cmp_ok($metrics / $GROUPS, '<', $described / 10,
		'less often than the groups');
	sql("ALTER SYSTEM SET qpsscale.interval = '1h'");
	sql('SELECT pg_reload_conf()');
};

subtest 'what that costs a month is told before the bill does' => sub {
	my $cost = sub {
		return sql('SELECT component, quantity, amount, currency FROM'
			  . " qpsscale_estimate_cost($_[0]) WHERE $_[1]");
	};

	wait_for($node, 'SHOW qpsscale.interval', '1h', 'the pace of before');
	# 730 hours, at 0.01 USD per 1,000 metrics
	is($cost->('', "component = 'load_metrics'"),
		'load_metrics|730000|7.30|USD', 'a metric an hour of a thousand balancers');
	is($cost->(1, "component = 'load_metrics'"), 'load_metrics|730|0.01|USD',
		'of one group');
	like(sql('SELECT detail FROM qpsscale_validate(1)'
			  . " WHERE check_name = 'cost'"), qr/730 metrics a month, about 0\.01 USD/,
		'which validate says as well');
	is($cost->('1, 3', "component = 'instances'"), 'instances|2190||',
		'three instances have hours and no price');
	is(sql("SELECT note FROM qpsscale_estimate_cost(1) WHERE price IS NULL"),
		'no price: the group has neither hourly_price nor instance_type', 'and that is said');
	like(($node->psql('postgres', 'SELECT * FROM qpsscale_estimate_cost(0)'))[2],
		qr/resource group 0 does not exist/, 'a group must exist');
	like(($node->psql('postgres',
				'SELECT * FROM qpsscale_estimate_cost(instances => 3)'))[2],
		qr/instances must be 0 or more, of one group/,
		'a number of instances is that of one group');
};

subtest 'groups that share a load balancer share its metric' => sub {
	sql('UPDATE qpsscale.resource_groups SET enabled = id <= 30');
	sql(sprintf("UPDATE qpsscale.resource_groups SET alb_id = '%s' WHERE enabled",
			balancer(1)));
	tick();
	is($cloud->counters->{metrics_asked}, 1, 'thirty groups, one metric');
	is(sql('SELECT quantity FROM qpsscale_estimate_cost() WHERE amount > 0'),
		'730', 'which is what the estimate says');
	is(requests('DescribeAutoScalingGroups'), 1, 'and one call for them all');
	is( sql('SELECT count(*) FROM qpsscale.state s JOIN qpsscale.resource_groups g'
			  . ' ON g.id = s.resource_group_id WHERE g.enabled AND s.latest_qps = 40'),
		'30', 'and all thirty know their load');
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
