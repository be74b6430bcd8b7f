# A load that falls off a cliff while the healthy backends stay is held, and no
# figure from before the group's last change stands for "before".

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start;
my $id;

# The group as it is known to the worker, once it has this many instances.
sub wait_for_size
{
	my ($size, $what) = @_;

	return wait_for($node,
		"SELECT latest_total = $size AND NOT EXISTS (SELECT FROM qpsscale.activities"
		  . " WHERE status IN ('requested', 'accepted', 'unknown'))"
		  . " FROM qpsscale.state WHERE resource_group_id = $id",
		't', $what);
}

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 400 });
$id = add_group($node, $cloud, 'web',
	desired => 6,
	boot_delay => 1,
	scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0,
	general_cooldown_seconds => 0,
	scale_down_window_seconds => 0);

wait_for_size(8, 'the group grows to eight');
is( $node->safe_psql('postgres',
		"SELECT in_service FROM qpsscale.status WHERE id = $id"),
	'8', 'which are known to be in service');

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 250 });
wait_for_size(5, 'and shrinks to five');
isnt( $node->safe_psql('postgres',
		"SELECT in_service FROM qpsscale.status WHERE id = $id"),
	'8', 'nobody says any more that eight are in service');

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 10 });
my $seen = "FROM qpsscale.evaluations WHERE resource_group_id = $id"
  . " AND (explanation #>> '{inputs,load,mean_qps}')::float8 = 10";
wait_for($node, "SELECT count(*) > 0 $seen", 't', 'the load falls by 96 %');
is( $node->safe_psql('postgres',
		"SELECT action || ' ' || reason $seen ORDER BY id LIMIT 1"),
	'none suspicious_drop',
	'five backends are as healthy as before, so that is waited for');
is($cloud->group('asg-web')->{desired}, 5, 'and the group stays');

done_testing();
