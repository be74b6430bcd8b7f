# A backtest decides what the live group decides: the same loads, one by one,
# through the cloud and through the replay.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(settings => {
		'qpsscale.databases' => "''" });
my %policy = (boot_delay => 0, general_cooldown_seconds => 0,
	scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 0,
	scale_down_window_seconds => 0, suspicious_drop_guard => 'false',
	prediction_mode => 'off');

# started at what the first load takes, as a backtest is
my @loads = (90, 330, 330, 330, 330, 190, 190, 205, 199, 610, 640, 2000, 2000,
	55, 0, 0, 101, 149.9, 150.1, 90, 260);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub lived
{
	my ($id, $name) = @_;
	my @desired;

	foreach my $qps (@loads)
	{
		$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
		my $result = evaluate($node, $id);

		is($result->{error}, undef, "$name at $qps QPS is decided");
		push @desired, "$result->{desired_capacity} $result->{reason}";
	}
	return \@desired;
}

# A load is known a step after it came; the last one is there to be followed.
# The step is the window of the monitor, 300 s, so that its mean is one load.
sub replayed
{
	my ($id) = @_;
	my $series = join ',', @loads, $loads[-1];

	return [ split /\n/, sql(<<SQL) ];
SELECT p.desired || ' ' || p.reason
FROM qpsscale.resource_groups g,
	qpsscale.play_ticks(g, ARRAY[$series], '2026-01-01 00:00Z',
		300, 0, 0, 0, 100, NULL) p
WHERE g.id = $id
ORDER BY p.at
OFFSET 1
SQL
}

my %groups = (
	plain => {},
	bounded => { min_instances => 2, max_instances => 9 },
	capped => { max_scale_up_per_action => 3, max_scale_down_per_action => 2 },
	tolerant => { scale_up_tolerance => 0.1, scale_down_tolerance => 0.2,
		max_scale_down_percent => 50 });

foreach my $name (sort keys %groups)
{
	my $id = add_group($node, $cloud, $name, %policy, %{ $groups{$name} }, desired => 2);
	my $live = lived($id, $name);
	my $played = replayed($id);

	is_deeply($played, $live, "$name: the backtest decides as the live group did, for the same reasons")
	  or diag(join("\n", map { sprintf '%8s  live %-45s played %s', $loads[$_], $live->[$_],
				$played->[$_] // '' } 0 .. $#loads));
}

# a fleet that nobody has, up and down: what it costs who knows the future took
# minutes, and no timeout ended it
subtest 'a load of millions takes no longer than one of hundreds' => sub {
	my ($status, $rows, $error) = $node->psql('postgres', <<'SQL');
SET statement_timeout = '30s';
SELECT count(*)
FROM qpsscale_backtest((SELECT array_agg(CASE WHEN t % 2 = 0 THEN 0 ELSE 1e6 END ORDER BY t)::float8[]
		FROM generate_series(1, 200000) t), '{"target_qps": 1}', players => '{oracle,hpa_v2}');
SQL
	is("$status $rows", '0 2', 'it is played') or diag($error);
};

subtest 'a backtest is bounded' => sub {
	my $months = 'array_fill(100::float8, ARRAY[200000])';

	foreach my $call ("count(*) FROM qpsscale_backtest($months, '{\"target_qps\": 1}')",
		"count(*) FROM qpsscale_tune($months, '{\"target_qps\": 1}')")
	{
		my ($status, undef, $error) = $node->psql('postgres',
			"SET statement_timeout = '100ms'; SELECT $call");

		isnt($status, 0, 'it ends');
		like($error, qr/canceling statement due to statement timeout/, 'when it is cancelled');
	}
	is(sql('SELECT count(*) FROM qpsscale.activities WHERE desired_capacity > 100'), '0',
		'and nothing was done by it');
};

done_testing();
