# Fifty calls at once, at a cloud that allows twenty a second, while those who
# carry them out are ended: each caller gets an answer or an error that says
# that its worker has gone, nobody waits for ever, and the cloud is told once.

use strict;
use warnings;

use IPC::Run;
use QpsscaleNode;
use QpsscaleOracle;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# Every process of the server inherits them.
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my $CALLERS = 50;
my %settings = (
	max_worker_processes => 8,
	'qpsscale.interval' => "'1h'",
	'qpsscale.request_timeout' => "'500ms'",
	'qpsscale.cycle_deadline' => "'1s'");
my ($node, $cloud) = QpsscaleNode->start(preload => 0, settings => \%settings);
my ($loaded) = QpsscaleNode->start(
	name => 'loaded',
	cloud => $cloud,
	settings => \%settings);

$cloud->set_options(metric_rate => 20);

# Groups that want to grow from three to nine, one for each caller.
sub add_groups
{
	my ($server, $prefix) = @_;
	my %ids;

	foreach my $name (map { "$prefix-$_" } 1 .. $CALLERS)
	{
		$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 405 });
		$ids{$name} = add_group($server, $cloud, $name, desired => 3,
			boot_delay => 0);
	}
	return %ids;
}

# All callers at once; what happens meanwhile is done by the code given, again
# and again until they are through.  Counts the answers by their kind.
sub crowd
{
	my ($server, $meanwhile, @ids) = @_;
	my @calls;
	my %answers;

	foreach my $id (@ids)
	{
		my %call = (out => '', err => '');

		$call{run} = IPC::Run::start(
			[
				'psql', '-XAt', '-v', 'VERBOSITY=verbose', '-d',
				$server->connstr('postgres'), '-c',
				"SELECT 'answer ' || (qpsscale_evaluate($id) ->> 'reason')"
			],
			'<', \undef, '>', \$call{out}, '2>', \$call{err},
			IPC::Run::timeout(120));
		push @calls, \%call;
	}
	while (grep { $_->{run}->pumpable } @calls)
	{
		$meanwhile->();
		$_->{run}->pump_nb foreach grep { $_->{run}->pumpable } @calls;
		Time::HiRes::sleep(0.05);
	}
	foreach my $call (@calls)
	{
		$call->{run}->finish;
		my $text = "$call->{out}$call->{err}";
		my ($kind) = $text =~ /(^answer|QS001)/;

		$answers{ $kind // $text }++;
	}
	return \%answers;
}

# End workers as an administrator would, at most so many in all.
sub end_workers
{
	my ($server, $title, $most) = @_;

	return sub {
		return if $most <= 0;
		my %processes = processes_below($server->{_pid});
		my @found = grep { $processes{$_} =~ $title } keys %processes;

		return unless @found;
		$most -= kill('TERM', $found[ rand @found ]);
	};
}

sub told
{
	my ($answers) = @_;

	return join(', ', map { "$answers->{$_} $_" } sort keys %$answers);
}

# All groups get where they belong, and the tables say what the cloud did.
sub is_clean
{
	my ($server, $what, %ids) = @_;
	my @left = sort keys %ids;

	$cloud->set_options(metric_rate => 0);
	wait_until(
		"$what: every group gets there",
		sub {
			my ($rc) = eval {
				$server->psql('postgres', 'SELECT count(*) FROM qpsscale_evaluate()');
			};
			@left = grep { $cloud->group("asg-$_")->{desired} != 9 } @left;
			return 0 if @left || !defined $rc || $rc != 0;
			return $server->safe_psql('postgres', open_activities()) eq '0';
		}) or diag("left: @left");
	is( join("\n", grep { $_ ne '' }
			  map { discrepancies($server, $cloud, $ids{$_}, $_) } sort keys %ids),
		'', "$what: the tables say what the cloud did");
	$cloud->set_options(metric_rate => 20);
	return;
}

my %ids = add_groups($node, 'calm');
my $answers = crowd($node, sub { }, values %ids);
is(told($answers), "$CALLERS answer",
	'one-shot workers: all callers get an answer, whatever the cloud allows');
is_clean($node, 'one-shot workers', %ids);

%ids = add_groups($node, 'ended');
$answers =
  crowd($node, end_workers($node, qr/qpsscale one-shot/, 15),
	values %ids);
is(($answers->{answer} // 0) + ($answers->{QS001} // 0),
	$CALLERS, 'one-shot workers are ended: an answer or QS001 for each')
  or diag(told($answers));
cmp_ok($answers->{QS001} // 0, '>', 0, 'and some met that end');
is_clean($node, 'one-shot workers are ended', %ids);

%ids = add_groups($loaded, 'replaced');
$answers =
  crowd($loaded, end_workers($loaded, qr/qpsscale (worker for|one-shot)/,
		15), values %ids);
is(($answers->{answer} // 0) + ($answers->{QS001} // 0),
	$CALLERS, 'workers of both kinds are ended: an answer or QS001 for each')
  or diag(told($answers));
is_clean($loaded, 'workers of both kinds are ended', %ids);

$_->stop foreach $node, $loaded;
done_testing();
