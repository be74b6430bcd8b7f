# 069_budgets.pl
#
# Caps on cost: of one group, and of all groups of a currency.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

my $GROUPS = 25;
my ($node, $cloud) = QpsscaleNode->start(settings => {
		'qpsscale.databases' => "''", 'max_connections' => 150,
		'max_worker_processes' => 40 });
my @calm = (boot_delay => 0, general_cooldown_seconds => 0,
	scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 0,
	scale_down_window_seconds => 0);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

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

sub firing
{
	return sql("SELECT string_agg(type, ' ') FROM qpsscale.alerts"
		  . " WHERE status = 'firing' AND type ~ 'budget'");
}

my $web = add_group($node, $cloud, 'web', @calm, desired => 4, max => 50,
	instance_type => 'm5', max_hourly_cost => 0.65, currency => 'USD');

subtest 'a group does not grow beyond what its own cap pays for' => sub {
	load_is('web', 500);
	is(verdict(evaluate($node, $web)), 'none 4 unpriced',
		'nor at all while it has no price');
	is(firing(), 'qpsscale.scale.budget_cap', 'which is alerted');
	sql("INSERT INTO qpsscale.prices (provider, instance_type, price_per_hour, currency)"
		  . " VALUES ('byteplus', 'm5', 0.1, 'USD')");
	is(sql("SELECT action || ' ' || desired_instances || ' ' || reason || ' '"
			  . " || estimated_hourly_cost || ' ' || currency FROM qpsscale_decide($web)"),
		'scale_up 6 budget_cap 0.6 USD', 'six cost 0.60, seven would cost 0.70');
	is(sql("SELECT desired_instances || ' ' || reason FROM"
			  . " qpsscale_decide($web, overrides => '{\"max_hourly_cost\": 0.5}')"),
		'5 budget_cap', 'what another cap would pay for can be asked');
	my $result = evaluate($node, $web);
	is(verdict($result), 'scale_up 6 budget_cap', 'so it has six');
	is_deeply($result->{explanation}{clamps}[-1],
		{ by => 'max_hourly_cost', limit => 6, from => 10, to => 6 },
		'the explanation has the clamp');
	is(verdict(evaluate($node, $web)), 'none 6 budget_cap', 'and no more');
	like(sql("SELECT string_agg(w::text, ' ') FROM qpsscale_why($web) w"), qr/max_hourly_cost \(6\)/,
		'qpsscale_why() names it');
	like(($node->psql('postgres', "SELECT qpsscale_set_capacity($web, 8, 'sale')"))[2],
		qr/what its max_hourly_cost pays for is 6/, 'not by hand either');
	sql("UPDATE qpsscale.resource_groups SET max_hourly_cost = 0.3 WHERE id = $web");
	is(verdict(evaluate($node, $web)), 'none 6 budget_cap',
		'a lower cap takes nothing away');
	is(firing(), 'qpsscale.scale.budget_cap', 'the alert lasts');
	sql("UPDATE qpsscale.resource_groups SET max_hourly_cost = NULL WHERE id = $web");
	is(verdict(evaluate($node, $web)), 'scale_up 10 dynamic_scaling_scale_up',
		'without it the group grows');
	is(firing(), '', 'and the alert ends');
};

subtest 'a decision is held against the cap of when it is executed' => sub {
	load_is('web', 600);
	evaluate($node, $web, 1);
	my $id = sql("SELECT id FROM qpsscale_decide($web) WHERE desired_instances = 12");
	sql("INSERT INTO qpsscale.budgets VALUES ('USD', 1.1)");
	like(($node->psql('postgres', "SELECT qpsscale_execute('$id')"))[2],
		qr/budget/, 'refused');
	is($cloud->group('asg-web')->{desired}, 10, 'and the cloud is not asked');
	sql("DELETE FROM qpsscale.budgets; UPDATE qpsscale.resource_groups SET enabled = false");
};

subtest '100 at once do not spend more than the budget' => sub {
	my @ids = map {
		load_is("g$_", 1000);
		add_group($node, $cloud, "g$_", @calm, desired => 2, max => 50,
			hourly_price => 1, currency => 'EUR')
	} 1 .. $GROUPS;
	my $first = $ids[0];

	sql("INSERT INTO qpsscale.budgets VALUES ('EUR', 60), ('USD', 0)");
	is(verdict(evaluate($node, $first)), 'none 2 budget_cap',
		'while others were never seen, what they cost is not known');
	# their load at first is what two serve
	load_is("g$_", 100) foreach 1 .. $GROUPS;
	sql('SELECT qpsscale_evaluate()');
	load_is("g$_", 1000) foreach 1 .. $GROUPS;

	my $script = $node->basedir . '/execute.sql';
	PostgreSQL::Test::Utils::append_to_file($script,
		"\\set g $first + :client_id % $GROUPS\nSELECT qpsscale_evaluate(:g);\n");
	my $errors;
	foreach my $round (1 .. 2)
	{
		IPC::Run::run([ 'pgbench', '-n', '-c', 100, '-j', 2, '-t', 1,
				'-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
			'>', \my $said, '2>', \$errors);
		my $sum = 0;
		$sum += $cloud->group("asg-g$_")->{desired} foreach 1 .. $GROUPS;
		cmp_ok($sum, '<=', 60, "all cost at most 60 after round $round")
		  or diag($errors);
		cmp_ok($sum, '>', 50, 'and what is left is spent') or diag($errors);
	}
	is(sql("SELECT count(*) FROM qpsscale.activities WHERE status = 'failed'"),
		'0', 'without a failed action');
};

done_testing();
