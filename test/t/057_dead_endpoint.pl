# 057_dead_endpoint.pl
#
# A cloud whose API is dead, or refuses with "too many requests", beside one
# that is well: what the sick one costs, and that the other pays none of it.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;
use Time::HiRes qw(time);

my $GROUPS = 60;
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.request_timeout' => "'700ms'",
		'qpsscale.cycle_deadline' => "'20s'",
		'qpsscale.max_in_flight' => 10,
	});
my $sick = QpsscaleCloud->start;

QpsscaleNode::add_account($node, $sick, 'sick');
my $well = add_group($node, $cloud, 'well', desired => 2);
$cloud->set_traffic('alb-well', { kind => 'constant', qps => 80 });
my @ids;
for my $i (1 .. $GROUPS)
{
	push @ids, add_group($node, $sick, "s$i", account => 'sick', desired => 2,
		min => 1, scale_up_cooldown_seconds => 0,
		general_cooldown_seconds => 0, enabled => 'false');
	$sick->set_traffic("alb-s$i", { kind => 'constant', qps => 80 });
}
$node->safe_psql('postgres',
	q{UPDATE qpsscale.resource_groups SET enabled = true});
wait_for($node,
	q{SELECT count(*) FROM qpsscale.state WHERE last_reason = 'optimal_instance_count_reached'},
	$GROUPS + 1, 'all groups are well at first');

sub ticks
{
	return $node->safe_psql('postgres',
		'SELECT ticks FROM qpsscale.stat_worker');
}

sub wait_ticks
{
	my ($n) = @_;
	my $until = ticks() + $n;

	wait_until("$n more ticks", sub { ticks() >= $until });
}

# ----------
# The instances' API hangs while all groups want to grow
# ----------
$sick->fault({ kind => 'hang', times => -1,
		match => { action => 'DescribeScalingActivities' } });
$sick->set_traffic("alb-s$_", { kind => 'constant', qps => 180 })
  for 1 .. $GROUPS;
wait_for($node,
	q{SELECT count(*) FROM qpsscale.state WHERE last_reason = 'activity_check_failed'},
	$GROUPS, 'an API that hangs stops the actions that it guards');
$sick->reset_log;
my $before = ticks();
wait_ticks(3);
my $asked = grep { ($_->{action} // '') eq 'DescribeScalingActivities' }
  @{ $sick->log };
my $ticks = ticks() - $before;
cmp_ok($asked, '<=', $ticks + 1,
	"a dead API is asked once a cycle, not once per group ($asked in $ticks cycles)");
cmp_ok($asked, '>=', 1, 'and it is asked');
like(
	$node->safe_psql('postgres',
		q{SELECT string_agg(DISTINCT message, E'\n') FROM qpsscale.errors WHERE source = 'activities'}),
	qr/endpoint_down|timeout/, 'the errors say so');
cmp_ok(
	$node->safe_psql('postgres',
		q{SELECT max(n) FROM (SELECT count(*) n FROM qpsscale.errors WHERE source = 'activities' GROUP BY resource_group_id) e}),
	'<=', 1, 'once per group, however long it lasts and whoever tries');

my $evaluated = $node->safe_psql('postgres',
	"SELECT last_evaluated_at FROM qpsscale.state WHERE resource_group_id = $well");
wait_ticks(2);    # the first may have been under way
isnt(
	$node->safe_psql('postgres',
		"SELECT last_evaluated_at FROM qpsscale.state WHERE resource_group_id = $well"),
	$evaluated, 'the other cloud\'s group is evaluated all the while');
cmp_ok(
	$node->safe_psql('postgres',
		'SELECT last_tick_ms FROM qpsscale.stat_worker'),
	'<', 6000, 'and a tick lasts no longer than a time-out or two');

# ----------
# It comes back
# ----------
$sick->clear_faults;
wait_for($node,
	q{SELECT count(DISTINCT resource_group_id) FROM qpsscale.activities WHERE status IN ('accepted', 'successful')},
	$GROUPS, 'when it answers again all groups act');

# ----------
# Too many requests
# ----------
$sick->fault({ kind => 'status', times => 40, params => { status => 429 },
		match => { action => 'ModifyScalingGroup' } });
$sick->set_traffic("alb-s$_", { kind => 'constant', qps => 380 })
  for 1 .. $GROUPS;
wait_for($node,
	qq{SELECT count(DISTINCT resource_group_id) FROM qpsscale.activities WHERE desired_capacity = 8 AND status IN ('accepted', 'successful')},
	$GROUPS, 'through throttling all groups arrive in the end', 120);
is(scalar(grep { $sick->group("asg-s$_")->{desired} != 8 } 1 .. $GROUPS), 0,
	'at the capacity they need');

$node->stop;
done_testing();
