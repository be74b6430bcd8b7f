# A backtest decides what a group that is predicted decides: two days of the
# same load, a quarter of an hour at a time, through a cloud and through the
# replay, from the first tick on, when nothing has been learned.

use strict;
use warnings;

use JSON::PP;
use QpsscaleClock;
use QpsscaleNode;
use Test::More;

my $STEP = 900;
my $LAST = 2 * 96 - 1;
my $BEGIN = 1_800_057_600;		# a midnight

my $clock = QpsscaleClock->new($BEGIN - 60);
my ($node, $cloud) = $clock->during(sub {
	return QpsscaleNode->start(settings => {
			'qpsscale.databases' => "''",
			'qpsscale.metric_resolution' => "'15min'",
			'qpsscale.metric_period' => "'15min'" });
});

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A day that rises in the morning, noise that is the same each time, and now and
# then a surge that nobody could foresee.
my @loads = map {
	sprintf('%.0f', 100 - 70 * cos(2 * 3.14159265 * $_ / 96) + $_ * 7919 % 31
		  + ($_ % 113 == 60 ? 90 : 0))
} 0 .. $LAST;

# BytePlus' group boots within a tick, so that its cloud is never busy when it
# is asked, and its monitor fails for an hour; that of AWS, where no point means
# no request, takes two ticks.
my %groups = (
	byteplus => { alb => 'alb-byteplus', delay => 700, boot => 900, gap => [ 150 .. 153 ] },
	aws => { alb => aws_alb('aws'), delay => 1700, boot => 1800, gap => [] });

add_account($node, $cloud, 'aws', 'aws');
foreach my $provider (sort keys %groups)
{
	my $group = $groups{$provider};
	my %points;

	@{ $group->{loads} } = @loads;
	$group->{loads}[$_] = undef foreach @{ $group->{gap} };
	foreach my $step (-1 .. $LAST)
	{
		my $load = $group->{loads}[ $step < 0 ? 0 : $step ];

		$points{ $BEGIN + $step * $STEP + 60 * $_ } = defined $load ? $load + 0 : undef
		  foreach 0 .. 14;
	}
	$cloud->set_traffic($group->{alb}, { kind => 'points', points => \%points });
	# a backtest begins with what the first load takes, and stops at once
	$group->{id} = add_group($node, $cloud, $provider, provider => $provider,
		min => 1, max => 14, desired => 2, boot_delay => $group->{delay}, drain_delay => 0,
		target_qps => 20, prediction_mode => 'enabled', target_violation => 0.05,
		boot_seconds => $group->{boot}, general_cooldown_seconds => 0,
		scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 600,
		scale_down_window_seconds => 1500, suspicious_drop_guard => 'true');
}

my %lived;
foreach my $step (0 .. $LAST)
{
	# Late enough for the monitors; each time a little less late, so that two
	# ticks of booting are not measured to be more than that.
	$clock->is($BEGIN + $step * $STEP + 170 - 0.3 * $step);
	foreach my $line (split /\n/, sql('SELECT qpsscale_evaluate()'))
	{
		my $result = decode_json($line);

		push @{ $lived{ $result->{group_id} } }, $result;
	}
}

foreach my $provider (sort keys %groups)
{
	my $group = $groups{$provider};
	my $live = $lived{ $group->{id} };
	my $series = join ',', map { $_ // 'NULL' } @{ $group->{loads} };
	my @played = split /\n/, sql(<<SQL);
SELECT p.desired || ' ' || p.reason
FROM qpsscale.resource_groups g,
	qpsscale.play_ticks(g, ARRAY[$series]::float8[], to_timestamp($BEGIN),
		$STEP, $group->{boot}, 0, 1, 14, NULL) p
WHERE g.id = $group->{id}
ORDER BY p.at
SQL
	my @lived = map { "$_->{desired_capacity} $_->{reason}" } @$live;
	my %reasons = map { $_->{reason} => 1 } @$live;
	my @unlike = grep { $lived[$_] ne $played[$_] } 0 .. $LAST;

	is(scalar @unlike, 0, "$provider: each tick is decided as it was live, for the same reason")
	  or diag(join "\n", map {
			sprintf '%3d %5s live %-40s played %-40s quantile %s', $_,
			  $group->{loads}[$_] // '-', $lived[$_], $played[$_],
			  $live->[$_]{explanation}{prediction}{quantile} // '-'
		} @unlike);
	# ... in which much came to pass
	ok($reasons{$_}, "$provider: $_") foreach qw(predicted_scale_up predicted_to_rise
	  dynamic_scaling_scale_down scale_down_stabilizing);
}

done_testing();
