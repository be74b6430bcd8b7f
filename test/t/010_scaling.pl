# The main job: a group is observed, decided and scaled, and the trail says why.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start;

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 405 });
my $id = add_group($node, $cloud, 'web', desired => 3, boot_delay => 1);

wait_for($node,
	"SELECT action || ' ' || delta || ' ' || desired_capacity || ' ' || reason"
	  . " FROM qpsscale.activities",
	'scale_up 6 9 dynamic_scaling_scale_up',
	'405 QPS at 50 per instance: from 3 to 9');
wait_for($node, "SELECT status FROM qpsscale.activities",
	'successful', 'the activity ends when nine instances are in service');
is($cloud->group('asg-web')->{desired}, 9, 'the cloud was told');
is($cloud->counters->{modify_applied}, 1, 'once');
is($cloud->counters->{signature_failures}, 0, 'every signature was accepted');
is( $node->safe_psql('postgres',
		"SELECT e.explanation -> 'proposals' -> 0 ->> 'instances'"
		  . " FROM qpsscale.activities a"
		  . " JOIN qpsscale.evaluations e ON e.id = a.evaluation_id"),
	'9', 'the action points to its explanation');

my $result = evaluate($node, $id);
is($result->{reason}, 'optimal_instance_count_reached', 'and then it rests');

done_testing();
