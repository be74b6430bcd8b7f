# A worker that has warmed up takes no more memory, descriptors or connections,
# whatever the cloud answers.

use strict;
use warnings;

use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start;

# some that act again and again, and some that rest
my @acting = map { "acting-$_" } 1 .. 5;
my @resting = map { "resting-$_" } 1 .. 15;
foreach my $name (@acting)
{
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 95 });
	add_group(
		$node, $cloud, $name,
		desired => 2,
		boot_delay => 0,
		general_cooldown_seconds => 0,
		scale_up_cooldown_seconds => 0,
		scale_down_cooldown_seconds => 0,
		scale_down_window_seconds => 0,
		suspicious_drop_guard => 'false');
}
foreach my $name (@resting)
{
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 95 });
	add_group($node, $cloud, $name, desired => 2);
}
wait_for($node,
	"SELECT count(*) FROM qpsscale.state WHERE latest_qps > 0",
	'20', 'twenty groups are watched');
my $pid = worker_pid($node);

# Cycles of the resident worker, each of all groups; the load of some changes
# meanwhile.
my $cycles = 0;

sub run_cycles
{
	my ($count) = @_;

	for (my $done = 0; $done < $count; $done += 25)
	{
		my $qps = ($cycles / 25) % 2 ? 95 : 245;

		$cloud->set_traffic("alb-$_", { kind => 'constant', qps => $qps })
		  foreach @acting;
		$node->safe_psql('postgres',
			join('', "SELECT count(*) FROM qpsscale_evaluate();\n" x 25));
		$cycles += 25;
	}
	return;
}

sub connections { return $cloud->counters->{connections}{accepted}; }

sub seen
{
	return {
		memory => memory_kb($pid),
		descriptors => descriptors($pid),
		connections => connections()
	};
}

# The first measure is given some slack for pages that any process comes by.
sub is_constant
{
	my ($from, $to, $what) = @_;

	cmp_ok($to->{memory}, '<=', $from->{memory} * 1.05 + 256,
		"$what: memory within 5 % ($from->{memory} kB, then $to->{memory})");
	return;
}

run_cycles(150);
my $warm = seen();
my $acted = $cloud->counters->{modify_applied};
run_cycles(300);
my $end = seen();
is_constant($warm, $end, '300 cycles');
cmp_ok($end->{descriptors}, '<=', $warm->{descriptors},
	'300 cycles: no more descriptors');
is($end->{connections}, $warm->{connections},
	'300 cycles: not one new connection');
cmp_ok($cloud->counters->{modify_applied},
	'>', $acted, '300 cycles: groups were scaled in them');

# ---- while the cloud fails ----

# Retries would take long.  Not before: on a busy machine such a deadline ends
# cycles of a healthy cloud too, and the connections that they wait for.
sub set_deadline
{
	my ($deadline) = @_;

	$node->append_conf('postgresql.conf',
		"qpsscale.cycle_deadline = '$deadline'");
	$node->reload;
	wait_for($node, 'SHOW qpsscale.cycle_deadline',
		$deadline, "the deadline is $deadline");
	return;
}

set_deadline('150ms');
$cloud->fault(
	{ kind => 'status', params => { status => 500 }, probability => 0.3 },
	{ kind => 'truncated', params => { bytes => 90 }, probability => 0.3 },
	{ kind => 'non_utf8', probability => 0.1 },
	{ kind => 'close', probability => 0.1 });
run_cycles(50);
$warm = seen();
run_cycles(125);
$end = seen();
is_constant($warm, $end, '125 cycles with failures');
cmp_ok($end->{descriptors}, '<=', $warm->{descriptors} + 8,
	'125 cycles with failures: descriptors stay bounded');
cmp_ok(
	$node->safe_psql('postgres', 'SELECT api_errors FROM qpsscale.stat_worker'),
	'>', 125, '125 cycles with failures: calls failed in them');

# ---- and when it is well again ----

$cloud->clear_faults;
set_deadline('5s');
my ($connections, $new);
for (my $round = 0; $round < 8; $round++)
{
	$connections = connections();
	run_cycles(25);
	$new = connections() - $connections;
	last if $new == 0;
}
is($new, 0, 'afterwards connections are kept again');
is_constant($warm, seen(), 'in the end');
is(worker_pid($node), $pid, 'all in one process');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.state WHERE consecutive_errors > 0"),
	'0', 'and no group is failing any more');
is( $node->safe_psql('postgres',
		'SELECT pg_size_bytes(total) < 4000000 FROM (SELECT pg_size_pretty('
		  . "pg_total_relation_size('qpsscale.state')) AS total) s"),
	't', 'the state table has not grown with the cycles');

$node->stop;
done_testing();
