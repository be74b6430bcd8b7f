# BytePlus' and AWS' groups in the ticks of one worker, while one of the two
# clouds is dead: the groups of the other are evaluated on time.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;
use Time::HiRes qw(time);

my $INTERVAL = 2;    # seconds
my $GROUPS = 20;     # of each cloud
my $TICKS = 6;       # looked at

my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.interval' => "'${INTERVAL}s'" });
my $amazon = QpsscaleCloud->start;

add_account($node, $amazon, 'aws', 'aws');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub of { return "(SELECT id FROM qpsscale.resource_groups WHERE provider = '$_[0]')"; }

foreach my $i (1 .. $GROUPS)
{
	add_group($node, $cloud, "b$i", max => 50);
	$cloud->set_traffic("alb-b$i", { kind => 'constant', qps => 40 });
	add_group($node, $amazon, "a$i", provider => 'aws', max => 50);
	$amazon->set_traffic(aws_alb("a$i"), { kind => 'constant', qps => 40 });
}

sub known
{
	return sql("SELECT count(*) FROM qpsscale.state WHERE last_reason ="
		  . " 'optimal_instance_count_reached' AND resource_group_id IN "
		  . of($_[0]));
}

# The longest time between two evaluations of the groups, the slowest of them
# each time, over some ticks; and how many of them could be evaluated.
sub longest_pause
{
	my ($provider) = @_;
	my ($last, $longest, $seen) = (undef, 0, 0);

	wait_until("$TICKS ticks of $provider", sub {
		my $at = sql('SELECT extract(epoch FROM min(last_evaluated_at))'
			  . ' FROM qpsscale.state WHERE resource_group_id IN '
			  . of($provider));

		return 0 if defined $last && $at == $last;
		$longest = $at - $last if defined $last && $at - $last > $longest;
		$last = $at;
		return ++$seen > $TICKS;
	});
	return $longest;
}

# On time is within the interval, and this machine may be busy with others.
sub on_time
{
	my ($provider, $what) = @_;
	my $pause = longest_pause($provider);

	cmp_ok($pause, '<', 2.5 * $INTERVAL,
		"$what: evaluated each $INTERVAL s or so");
	is(known($provider), $GROUPS, 'with their load and capacity');
	return;
}

wait_until('both clouds are known', sub {
	return known('byteplus') == $GROUPS && known('aws') == $GROUPS;
});

subtest 'AWS hangs' => sub {
	$amazon->fault({ kind => 'hang', times => -1 });
	wait_until('its groups know nothing', sub { return known('aws') == 0; });
	on_time('byteplus', 'BytePlus');

	# nor is an action late
	$cloud->set_traffic('alb-b1', { kind => 'constant', qps => 400 });
	wait_until('BytePlus is scaled',
		sub { return $cloud->group('asg-b1')->{desired} == 8; });
	is($cloud->group('asg-b1')->{desired}, 8, 'and scaled');
	is(sql("SELECT count(*) FROM qpsscale.activities WHERE resource_group_id IN "
			  . of('aws')), '0', 'what hangs is not scaled');
	$cloud->set_traffic('alb-b1', { kind => 'constant', qps => 380 });
	$amazon->clear_faults;
	wait_until('AWS is known again', sub { return known('aws') == $GROUPS; });
};

subtest 'BytePlus hangs' => sub {
	$cloud->fault({ kind => 'hang', times => -1 });
	wait_until('its groups know nothing',
		sub { return known('byteplus') == 0; });
	on_time('aws', 'AWS');
	$cloud->clear_faults;
	wait_until('BytePlus is known again',
		sub { return known('byteplus') >= $GROUPS - 1; });
};

subtest 'AWS refuses connections' => sub {
	wait_until('BytePlus is known again',
		sub { return known('byteplus') == $GROUPS; });
	$amazon->stop;
	wait_until('its groups know nothing', sub { return known('aws') == 0; });
	on_time('byteplus', 'BytePlus');
};

done_testing();
