# Thousands of cycles, under a cloud that fails, that nobody disturbs: nothing
# grows but what it counts.  Prints what was measured; SOAK_SECONDS says how long.
#
# The first half of the time is for warming up: caches and connections, tables
# until retention and autovacuum have caught up with what is written.  Then the
# last quarter is compared with the third.

use strict;
use warnings;

use JSON::PP;
use List::Util qw(sum max);
use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{SOAK_SECONDS} // 600;
my $seed = $ENV{QPS_SEED} // int(rand(1 << 30));
my $SAMPLES = 20;

srand($seed);
diag("QPS_SEED=$seed");

# Full-page images depend on checkpoints, not on cycles.
my ($node, $cloud) = QpsscaleNode->start(
	cloud => { seed => $seed },
	settings => {
		'qpsscale.cycle_deadline' => "'900ms'",
		'qpsscale.request_timeout' => "'300ms'",
		'qpsscale.retention' => "'" . max(int($seconds / 10), 10) . "s'",
		autovacuum_naptime => "'5s'",
		autovacuum_vacuum_cost_delay => 0,
		full_page_writes => 'off',
		log_statement => "'none'",
		log_min_messages => 'warning'
	});

# ---- groups: some act again and again, most rest ----

my @acting = map { "acting-$_" } 1 .. 20;
my @resting = map { "resting-$_" } 1 .. 80;

foreach my $name (@acting, @resting)
{
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 205 });
	add_group(
		$node, $cloud, $name,
		desired => 5,
		boot_delay => 0,
		general_cooldown_seconds => 0,
		scale_up_cooldown_seconds => 0,
		scale_down_cooldown_seconds => 0,
		scale_down_window_seconds => 0,
		suspicious_drop_guard => 'false');
}
$cloud->fault(
	{ kind => 'lost_reply', probability => 0.02 },
	{ kind => 'status', params => { status => 503 }, probability => 0.02 },
	{ kind => 'truncated', params => { bytes => 90 }, probability => 0.01 },
	{ kind => 'hang', probability => 0.005 });

wait_for($node, 'SELECT count(*) FROM qpsscale.stat_worker WHERE ticks > 0',
	'1', 'the worker ticks');
my $pid = worker_pid($node);

# ---- what is watched ----

my @tables = qw(state activities evaluations errors);
my $start = time();

sub measure
{
	my $row = decode_json($node->safe_psql('postgres', <<SQL));
SELECT jsonb_build_object(
	'cycles', (SELECT ticks + requests_served FROM qpsscale.stat_worker
			   WHERE database = 'postgres'),
	'wal', (SELECT wal_bytes FROM pg_stat_wal),
	'dead', (SELECT sum(n_dead_tup) FROM pg_stat_user_tables
			 WHERE schemaname = 'qpsscale'),
	'table_kb', (SELECT sum(pg_total_relation_size(c.oid)) / 1024
				 FROM pg_class c
				 WHERE c.relnamespace = 'qpsscale'::regnamespace
				 AND c.relkind = 'r'),
	'state_kb', pg_total_relation_size('qpsscale.state') / 1024)
SQL
	$row->{seconds} = time() - $start;
	$row->{rss_kb} = memory_kb($pid);
	$row->{fds} = descriptors($pid);
	return $row;
}

# Of each sample: cycles since the one before, and the WAL of one.
sub relate
{
	my ($before, $sample) = @_;

	$sample->{per_cycle} = int(($sample->{wal} - $before->{wal}) /
		  max($sample->{cycles} - $before->{cycles}, 1));
	$sample->{done} = $sample->{cycles} - $before->{cycles};
	return $sample;
}

my @columns = (
	[ 'second', sub { int $_[0]{seconds} } ],
	[ 'cycles', sub { $_[0]{done} } ],
	[ 'RssAnon kB', sub { $_[0]{rss_kb} } ],
	[ 'fds', sub { $_[0]{fds} } ],
	[ 'tables kB', sub { int $_[0]{table_kb} } ],
	[ 'state kB', sub { $_[0]{state_kb} } ],
	[ 'dead rows', sub { $_[0]{dead} } ],
	[ 'WAL B/cycle', sub { $_[0]{per_cycle} } ]);

sub print_row
{
	diag(join(' ', map { sprintf('%11s', $_) } @_));
	return;
}

# Cycles follow one another; loads move between them.
sub run_until
{
	my ($end) = @_;

	while (time() < $end)
	{
		foreach my $name (@acting)
		{
			next if rand() < 0.7;
			$cloud->set_traffic("alb-$name",
				{ kind => 'constant', qps => 5 + 50 * int(rand(15)) });
		}
		$node->safe_psql('postgres',
			"SELECT count(*) FROM qpsscale_evaluate();\n" x 10);
	}
	return;
}

print_row(map { $_->[0] } @columns);
my @samples;
my $before = measure();
foreach my $number (1 .. $SAMPLES)
{
	run_until($start + $seconds * $number / $SAMPLES);
	my $sample = relate($before, measure());

	print_row(map { $_->[1]->($sample) } @columns);
	push @samples, $sample;
	$before = $sample;
}

# ---- judgement ----

sub mean_of
{
	my ($key, @some) = @_;

	return sum(map { $_->{$key} } @some) / @some;
}

# key, what, how much larger the last quarter's mean may be: share, and amount
my @limits = (
	[ 'rss_kb', 'memory of the worker, kB', 1.05, 256 ],
	[ 'fds', 'its descriptors', 1, 8 ],
	[ 'table_kb', 'size of all tables, kB', 1.2, 512 ],
	[ 'state_kb', 'size of the state table, kB', 1.1, 128 ],
	[ 'dead', 'dead rows', 1.5, 2000 ],
	[ 'per_cycle', 'WAL of a cycle, bytes', 1.25, 1024 ]);
my $quarter = $SAMPLES / 4;
my @third = @samples[ 2 * $quarter .. 3 * $quarter - 1 ];
my @last = @samples[ 3 * $quarter .. $SAMPLES - 1 ];

foreach (@limits)
{
	my ($key, $what, $share, $amount) = @$_;
	my ($from, $to) = (mean_of($key, @third), mean_of($key, @last));

	cmp_ok($to, '<=', $from * $share + $amount,
		sprintf('%s: %.0f in the third quarter, %.0f in the last',
			$what, $from, $to));
}
is(worker_pid($node), $pid, 'all in one process');
my $cycles = sum(map { $_->{done} } @samples);
cmp_ok($cycles, '>', $seconds, "$cycles cycles");
cmp_ok($cloud->counters->{modify_applied}, '>', $seconds / 10,
	'groups were scaled in them');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|could not (write|trim|delete)/,
	'no complaint in the log');

$node->stop;
done_testing();
