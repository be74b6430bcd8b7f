# A process ends at each named step of a cycle, one after the other.  Whatever
# the step, the cloud is told once, the activities come to one end each and say
# what the cloud did, the cooldown is kept, and a few cycles mend it all.
#
# The steps are those of src/pg/crash_points.h; a build of its own has them.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use QpsscaleOracle;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $conf = $ENV{QPSSCALE_HOOKED_CONF};
plan skip_all => 'there is no build with crash points'
  if !defined $conf || !-e $conf;

my $root = $ENV{QPSSCALE_LIBRARY_DIR};
foreach my $library (qw(qpsscale qpsscale_worker))
{
	# the name of the file that orders would come in
	ok(slurp_file("$root/$library.so") !~ /qpsscale\.crash_point/,
		"$library.so as it is shipped has no crash points");
}

my @points = slurp_file('src/pg/crash_points.h') =~
  /^\tPOINT\((\w+, "[a-z ]+")\)/mg;
cmp_ok(scalar @points, '>=', 20, 'the steps are read from the header');

# What has become of a call is settled 2 s after its intent (the deadline, and
# twice the time-out), so after seven cycles of these; three more are for what
# follows.  Nothing happens but what a call asks for, except right after a start.
my %settings = (
	'qpsscale.interval' => "'1h'",
	'qpsscale.cycle_deadline' => "'1200ms'",
	'qpsscale.request_timeout' => "'400ms'",
	restart_after_crash => 'on');
my $CYCLE_SECONDS = 0.3;
my $MOST_CYCLES = 10;

# Every process of the server inherits them, also after a crash.
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my ($resident, $cloud) = start_hooked('resident', 1, {});
my ($oneshot) = start_hooked('oneshot', 0, $cloud);

sub start_hooked
{
	my ($name, $preload, $where) = @_;
	my @lines = grep { /=/ } split /\n/, slurp_file($conf);

	return QpsscaleNode->start(
		name => $name,
		preload => $preload,
		cloud => $where,
		settings => { %settings, map { /^(\S+) = (.*)/ } @lines });
}

sub order_file { return $_[0]->data_dir . '/qpsscale.crash_point'; }

sub order
{
	my ($node, $order) = @_;

	append_to_file(order_file($node), $order);
	chmod 0666, order_file($node);
	return;
}

# A server that restarts answers for a while with errors: none is of interest.
sub ask
{
	my ($node, $sql) = @_;
	my ($rc, $out);

	# it dies where psql ends before it has read the question
	eval { ($rc, $out) = $node->psql('postgres', $sql, timeout => 30); };
	return defined $rc && $rc == 0 ? $out : undef;
}

# How often the server has ended all its processes and begun anew.
sub restarts
{
	my ($node) = @_;

	return scalar(() = slurp_file($node->logfile) =~ /; reinitializing$/mg);
}

sub is_back
{
	my ($node, $restarts) = @_;
	my $sql = $node->name eq 'resident' ?
	  'SELECT 1 FROM qpsscale.stat_worker WHERE ticks > 0' : 'SELECT 1';

	return restarts($node) > $restarts && (ask($node, $sql) // '') eq '1';
}

# The next worker begins with all that a worker begins with.
sub kill_worker
{
	my ($node) = @_;
	kill 'KILL', worker_pid($node);
	return;
}

# These are passed when a resident worker starts, and no call leads there.
my %at_start = map { ("resident-$_" => 1) }
  qw(launcher_starting_worker worker_connected history_trimmed);

# Deterministically between the call and its reply: the reply is long in coming,
# and only a signal wakes the process meanwhile.
sub crash_while_reply_is_awaited
{
	my ($node, $id, $name) = @_;

	$cloud->fault(
		{
			kind => 'hang',
			match => { action => 'ModifyScalingGroup', group_id => "asg-$name" },
			params => { apply => JSON::PP::true }
		});
	my $caller = $node->background_psql('postgres', on_error_stop => 0);
	$caller->query_until(qr/begun/,
		"\\echo begun\nSELECT qpsscale_evaluate($id);\n");
	wait_until("$name: the call is under way",
		sub { scalar applied_changes($cloud, $name) });
	order($node, 'reply_awaited');
	# a reload reaches every process of the server
	$node->reload;
	eval { $caller->quit };
	return;
}

sub crash_at
{
	my ($node, $point, $id, $name) = @_;
	my $cycles = 0;
	my $due = 0;
	my $restarts = restarts($node);

	# killing the worker is one restart, the crash point another
	$restarts++ if $at_start{$name};
	if ($point eq 'reply_awaited')
	{
		crash_while_reply_is_awaited($node, $id, $name);
	}
	else
	{
		order($node, $point);
		kill_worker($node) if $at_start{$name};
	}
	wait_until(
		"$name: a process gets there",
		sub {
			return 1 if !-e order_file($node);
			ask($node, "SELECT qpsscale_evaluate($id)") if !$at_start{$name};
			return !-e order_file($node);
		});
	wait_until("$name: the server recovers", sub { is_back($node, $restarts) });
	wait_until(
		"$name: the group gets there in $MOST_CYCLES cycles",
		sub {
			return 0 if time() < $due;
			$due = time() + $CYCLE_SECONDS;
			$cycles++ if defined ask($node, "SELECT qpsscale_evaluate($id)");
			return 1 if $cycles > $MOST_CYCLES;
			return 0 if $cloud->group("asg-$name")->{desired} != 9;
			return (ask($node, open_activities()) // '') eq '0';
		});
	cmp_ok($cycles, '<=', $MOST_CYCLES, "$name: took $cycles cycles");
	is(discrepancies($node, $cloud, $id, $name),
		'', "$name: the tables say what the cloud did");
	return;
}

my %walked;
foreach (@points)
{
	my ($point, $whose) = /^(\w+), "(.*)"$/;

	foreach my $node ($resident, $oneshot)
	{
		my $kind = $node->name;
		next if $whose !~ /\b$kind\b/;
		my $name = "$kind-$point";

		$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 405 });
		my $id = add_group($node, $cloud, $name, desired => 3,
			boot_delay => 0);
		crash_at($node, $point, $id, $name);
		$walked{$kind}{$name} = $id;
	}
}

# ---- nobody has forgotten that it has just acted ----

foreach my $node ($resident, $oneshot)
{
	my $kind = $node->name;
	my %groups = %{ $walked{$kind} };

	$cloud->set_traffic("alb-$_", { kind => 'constant', qps => 805 })
	  foreach keys %groups;
	my @reasons = map { evaluate($node, $groups{$_})->{reason} }
	  sort keys %groups;
	is( join(' ', grep { !/^cooldown_/ } @reasons),
		'', "$kind: every group is in its cooldown");
	is( join('', map { discrepancies($node, $cloud, $groups{$_}, $_) }
			  sort keys %groups),
		'', "$kind: and nothing more was done");
	$node->stop;
}

done_testing();
