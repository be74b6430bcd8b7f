# A call that comes while the worker is in the middle of a tick is answered
# when the tick is over, not when the next one is due.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;
use Time::HiRes qw(time);

my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.interval' => "'60s'",
		'qpsscale.cycle_deadline' => "'20s'" });
my $id = add_group($node, $cloud, 'web', desired => 2);

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 100 });
wait_for($node, "SELECT state FROM qpsscale.stat_worker", 'idle',
	'the worker waits for its next tick');

# A reload makes the next tick due now; its first call takes a second.
$cloud->fault({ kind => 'delay', times => 1, params => { ms => 1500 } });
$node->safe_psql('postgres', "ALTER SYSTEM SET qpsscale.interval = '2s'");
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
wait_for($node, "SELECT state FROM qpsscale.stat_worker", 'observing',
	'a tick has begun');
$node->safe_psql('postgres', "ALTER SYSTEM SET qpsscale.interval = '60s'");
$node->safe_psql('postgres', 'SELECT pg_reload_conf()');

my $start = time();
my $result = evaluate($node, $id);
my $seconds = time() - $start;

is($result->{reason}, 'optimal_instance_count_reached', 'a call is answered');
cmp_ok($seconds, '<', 20, 'as soon as the tick is over')
  or diag("it took $seconds s");

done_testing();
