# 037_overtaken.pl
#
# Two evaluators at a group at a time: what the slower one saw earlier does not
# take the place of what the faster one has seen since.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.databases' => "''" });
my $id = add_group($node, $cloud, 'web', desired => 4);

sub state_of
{
	return $node->safe_psql('postgres',
		"SELECT $_[0] FROM qpsscale.state WHERE resource_group_id = $id");
}

sub evaluations
{
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.evaluations WHERE resource_group_id = $id");
}

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 200 });
evaluate($node, $id);
my $before = evaluations();

# The slow one has decided, and cannot write before the row is free.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('LOCK TABLE qpsscale.evaluations IN EXCLUSIVE MODE');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 0, series => 'omit' });
my $slow_out = '';
my $slow = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		"SET lock_timeout = 0; SELECT qpsscale_evaluate($id)" ],
	'>', \$slow_out);
wait_for($node,
	q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'qpsscale: decide%'},
	'1', 'the slow evaluator waits to write what it has decided');

# Meanwhile another one has seen more than it, whose row says so.
$holder->query_safe(
	"UPDATE qpsscale.state SET last_evaluated_at = clock_timestamp(), latest_qps = 210"
	  . " WHERE resource_group_id = $id");
$holder->query_safe('COMMIT');
$slow->finish;
$holder->quit;

my $result = decode_json($slow_out);
is($result->{reason}, 'metrics_unavailable', 'the slow one had no load');
is($result->{recorded}, JSON::PP::false, 'it says that its verdict is not recorded');
is(state_of('latest_qps'), '210', 'what was seen later stays');
is(state_of('last_reason'), 'optimal_instance_count_reached',
	'and so does its verdict');
is(evaluations(), $before, 'the ledger has no verdict that was overtaken');

# A state of the future is not waited for.
$node->safe_psql('postgres',
	"UPDATE qpsscale.state SET last_evaluated_at = now() + interval '1 day'"
	  . " WHERE resource_group_id = $id");
$result = evaluate($node, $id);
is($result->{recorded}, JSON::PP::true,
	'a clock that was set back does not stop the record');
is(state_of('last_reason'), 'metrics_unavailable', 'nor the verdict');

# The slow one has seen the capacity, waits for the load, and writes last: what
# was done meanwhile is not forgotten, or somebody else would be accused of it.
my $api = add_group($node, $cloud, 'api', desired => 4, max => 20,
	boot_delay => 0, general_cooldown_seconds => 600);
$cloud->set_traffic('alb-api', { kind => 'constant', qps => 200 });
evaluate($node, $api);
$node->safe_psql('postgres',
	"UPDATE qpsscale.resource_groups SET target_qps = 51 WHERE id = $api");
$cloud->fault({ kind => 'delay', times => 1, params => { ms => 3000 },
		match => { action => 'GetMetricData' } });
$cloud->reset_log;
my $late_out = '';
my $late = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		"SELECT qpsscale_evaluate($api)" ], '>', \$late_out);
wait_until('the slow evaluator has seen the capacity', sub {
	return grep { $_->{action} eq 'DescribeScalingGroups' } @{ $cloud->log(0) };
});
$node->safe_psql('postgres',
	"SELECT qpsscale_set_capacity($api, 6, 'meanwhile')");
evaluate($node, $api);
is(activities($node, $api), 'successful 6', 'another one has changed it meanwhile');
$late->finish;
$result = decode_json($late_out);
is("$result->{current_desired} $result->{recorded}", '4 1',
	'the slow one had seen what was there before, and is the last to write');
evaluate($node, $api);
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.evaluations"
		  . " WHERE resource_group_id = $api AND explanation ? 'foreign_change'"),
	'0', 'nobody is accused of it');

# An action whose answer was lost is found to have been carried out by a look
# that is itself the first to record it: it remembers what it saw, and records
# all of it or nothing.
my $lost = add_group($node, $cloud, 'lost', desired => 4, max => 20,
	boot_delay => 30, general_cooldown_seconds => 600);
$cloud->set_traffic('alb-lost', { kind => 'constant', qps => 300 });
$cloud->fault({ kind => 'lost_reply', times => 1,
		match => { action => 'ModifyScalingGroup' } });
evaluate($node, $lost);
is(activities($node, $lost), 'unknown 6', 'nobody knows what became of an action');
$holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe("SELECT FROM qpsscale.state WHERE resource_group_id = $lost FOR UPDATE");
is(evaluate($node, $lost)->{reason}, 'row_locked', 'somebody holds its state');
is(activities($node, $lost), 'unknown 6',
	'an outcome whose cooldown cannot be recorded is not recorded either');
$holder->quit;
evaluate($node, $lost);
is(activities($node, $lost), 'accepted 6', 'it was carried out');
is( $node->safe_psql('postgres',
		"SELECT known_desired FROM qpsscale.state WHERE resource_group_id = $lost"),
	'6', 'and what was seen is what is known');

$node->stop;
done_testing();
