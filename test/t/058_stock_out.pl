# The cloud accepts growth and delivers nothing: desired is held, not raised
# step by step to the maximum, and growth goes on when instances come.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

# A restart of the server must find them too.
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

# No resident worker: each evaluation below is one that the test asked for.
my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 0 },
	settings => {
		'qpsscale.databases' => "''",
		'qpsscale.cycle_deadline' => "'10s'"
	});

my %at_once = (
	scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0,
	general_cooldown_seconds => 0,
	scale_down_window_seconds => 0,
	suspicious_drop_guard => 'false');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub qps
{
	my ($name, $qps) = @_;
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
	return;
}

# Two instances, and a cloud that has no more of them.
sub sold_out_group
{
	my ($name, %options) = @_;
	my $id = add_group($node, $cloud, $name, %at_once, desired => 2, %options);

	qps($name, 100);
	$cloud->patch_group("asg-$name", { activity_result => 'Error' });
	evaluate($node, $id);
	return $id;
}

sub stock_returns
{
	$cloud->patch_group("asg-$_[0]", { activity_result => 'Success' });
	return;
}

sub state_of
{
	my ($id, $columns) = @_;
	return sql("SELECT $columns FROM qpsscale.state WHERE resource_group_id = $id");
}

sub end_of_pause
{
	my ($id) = @_;
	sql("UPDATE qpsscale.state SET stock_out_probe_at = now()"
		  . " WHERE resource_group_id = $id");
	return;
}

sub stock_out_alerts
{
	return sql("SELECT string_agg(status, ' ' ORDER BY id) FROM qpsscale.alerts"
		  . " WHERE resource_group_id = $_[0]"
		  . " AND type = 'qpsscale.group.stock_out'");
}

sub desired { return $cloud->group("asg-$_[0]")->{desired}; }

sub verdict
{
	my ($id, $expected, $what) = @_;
	my $result = evaluate($node, $id);

	is("$result->{action} $result->{reason}", $expected, $what)
	  or diag(explain($result));
	return $result;
}

sub log_position { return $cloud->control('GET', 'log?limit=1')->{last}; }

sub writes
{
	my ($name, $since) = @_;
	return scalar grep { "@{ $_->{ids} }" eq "asg-$name" }
	  @{ $cloud->log($since, 'ModifyScalingGroup') };
}

# The load rises until the group is held; returns how many actions it took.
sub until_held
{
	my ($name, $id) = @_;
	my $actions = 0;

	foreach my $qps (200, 300, 400, 500, 600, 700)
	{
		qps($name, $qps);
		last if evaluate($node, $id)->{reason} eq 'stock_out';
		$actions++;
	}
	return $actions;
}

subtest 'three accepted scale-ups without growth, then it is held' => sub {
	my $id = sold_out_group('held');
	my $since = log_position();

	is(until_held('held', $id), 3, 'three were tried');
	is(desired('held'), 8, 'the third ordered eight');
	is(state_of($id, 'unfulfilled_scale_ups, fulfilled_capacity,'
			  . ' stock_out_since IS NOT NULL'), '3|2|t', 'the state knows');
	my $result = verdict($id, 'none stock_out', 'the reason is told');
	is($result->{explanation}{wanted}, 'scale_up', 'and what is wanted');
	ok($result->{explanation}{blocked_until}, 'and when it is tried again');
	is($result->{explanation}{inputs}{history}{unfulfilled_scale_ups}, 3,
		'and how it came to that');
	is(sql("SELECT status FROM qpsscale.status WHERE id = $id"), 'stock out',
		'the view shows it');
	is(sql("SELECT qpsscale_health() -> 'groups' ->> 'stock_out'"), '1',
		'and so does the health');

	is(stock_out_alerts($id), 'firing', 'and an alert tells of it');

	qps('held', 4000);
	evaluate($node, $id) foreach 1 .. 3;
	is(stock_out_alerts($id), 'firing', 'once');
	$node->restart;
	verdict($id, 'none stock_out', 'a restart forgets nothing');
	is(desired('held'), 8, 'desired is not raised any more, whatever the load');
	is(writes('held', $since), 3, 'and nothing else was sent');
};

subtest 'a probe writes the same number, and one instance more ends it' => sub {
	my $id = sql("SELECT id FROM qpsscale.resource_groups WHERE asg_id = 'asg-held'");
	my $since = log_position();

	end_of_pause($id);
	my $result = verdict($id, 'scale_up stock_out', 'when the pause is over');
	is("$result->{desired_capacity} $result->{scaling_amount}", '8 0',
		'the same number is written');
	is($result->{execution_result}{status}, 'accepted', 'and accepted');
	verdict($id, 'none stock_out', 'nothing came of it');
	is(state_of($id, "stock_out_probe_at > now() + '9 min'::interval"), 't',
		'the next pause is twice as long');
	is(writes('held', $since), 1, 'it was one write');
	like(activities($node, $id), qr/accepted 8$/, 'it is in the ledger');
	is(sql("SELECT delta FROM qpsscale.activities WHERE resource_group_id = $id"
			  . ' ORDER BY id DESC LIMIT 1'), '0', 'as one that adds nothing');

	stock_returns('held');
	verdict($id, 'none stock_out', 'that there are instances again nobody knows');
	end_of_pause($id);
	verdict($id, 'scale_up stock_out', 'until the next probe');
	$result = verdict($id, 'scale_up dynamic_scaling_scale_up',
		'instances have come, so it grows again');
	is(state_of($id, 'unfulfilled_scale_ups, stock_out_since'), '0|',
		'the stock-out is over');
	is(stock_out_alerts($id), 'resolved', 'which the alert tells as well');
	is(desired('held'), 80, 'desired is what the load takes');
	is( sql("SELECT string_agg(reason, ' ' ORDER BY id) FROM (SELECT id, reason"
			  . " FROM qpsscale.evaluations WHERE resource_group_id = $id"
			  . ' ORDER BY id DESC LIMIT 2) r'),
		'stock_out dynamic_scaling_scale_up', 'the ledger shows the change');
};

subtest 'a deadline that ends with instances missing is a stock-out too' => sub {
	my $id = sold_out_group('late', activity_deadline_seconds => 1);

	qps('late', 300);
	evaluate($node, $id);
	is(desired('late'), 6, 'six are ordered');
	wait_until('they do not come in time',
		sub { evaluate($node, $id); activities($node, $id) =~ /^failed 6/ });
	verdict($id, 'none stock_out', 'though the load takes no more than that');
	is(state_of($id, 'fulfilled_capacity'), '2', 'two are there');
	stock_returns('late');
	end_of_pause($id);
	verdict($id, 'scale_up stock_out', 'the same number once more');
	wait_until('brings them', sub {
		evaluate($node, $id);
		state_of($id, 'stock_out_since IS NULL') eq 't';
	});
	verdict($id, 'none optimal_instance_count_reached', 'all is well');
	like(activities($node, $id), qr/^failed 6\nsuccessful 6$/,
		'and the ledger says so');
};

subtest 'shrinking by the load is not held' => sub {
	my $id = sold_out_group('less');

	until_held('less', $id);
	qps('less', 150);
	verdict($id, 'scale_down dynamic_scaling_scale_down', 'the load fell');
	is(desired('less'), 3, 'desired follows it');
	qps('less', 100);
	evaluate($node, $id) foreach 1 .. 2;
	verdict($id, 'none optimal_instance_count_reached',
		'where nothing is missing it is over');
	is(state_of($id, 'unfulfilled_scale_ups'), '0', 'and forgotten');
};

subtest 'a slow boot is no stock-out' => sub {
	my $id = sold_out_group('slow');

	$cloud->patch_group('asg-slow',
		{ activity_result => 'Success', boot_delay => 600 });
	is(until_held('slow', $id), 6, 'it grows with the load');
	is(state_of($id, 'unfulfilled_scale_ups'), '0', 'nothing is counted');
	is(desired('slow'), 14, 'up to what it takes');
};

subtest 'an operator who knows better' => sub {
	my $id = sold_out_group('reset');

	until_held('reset', $id);
	stock_returns('reset');
	sql("SELECT qpsscale_reset_circuit($id)");
	verdict($id, 'scale_up dynamic_scaling_scale_up', 'need not wait');
};

$node->stop;
done_testing();
