# Processes are killed at random moments under a cloud that fails at random, and
# groups are scaled all the while, by the resident worker and by calls.  In the
# end the tables say what the cloud did: nothing lost, nothing done twice, no
# limit passed, no cooldown forgotten.
#
# QPS_KILLS says how many (25; "make soak" has 500), QPS_SEED repeats what was
# thrown: which faults, kills and loads.  What they meet is up to the scheduler.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use POSIX qw(ceil);
use QpsscaleNode;
use QpsscaleOracle;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $kills = $ENV{QPS_KILLS} // 25;
my $seed = $ENV{QPS_SEED} // int(rand(1 << 30));
srand($seed);
diag("QPS_SEED=$seed QPS_KILLS=$kills");

# Every process of the server inherits them, also after a crash.
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

# An intent is durable even where commits are not.
my ($node, $cloud) = QpsscaleNode->start(
	cloud => { seed => $seed },
	settings => {
		'qpsscale.cycle_deadline' => "'800ms'",
		'qpsscale.request_timeout' => "'300ms'",
		synchronous_commit => 'off',
		restart_after_crash => 'on'
	});

# ---- the groups ----

# Most act whenever their load moves.  One has a rest of some seconds after each
# action, and one of an hour.
my %cooldowns = ((map { ("quick-$_" => 0) } 1 .. 6), brief => 3, long => 3600);
my %ids;
my %loads;

sub set_load
{
	my ($name, $qps) = @_;

	$loads{$name} = $qps;
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
	return;
}

foreach my $name (sort keys %cooldowns)
{
	set_load($name, 205);
	$ids{$name} = add_group(
		$node, $cloud, $name,
		desired => 5,
		min => 1,
		max => 15,
		boot_delay => 0,
		min_instances => 2,
		max_instances => 12,
		general_cooldown_seconds => $cooldowns{$name},
		scale_up_cooldown_seconds => 0,
		scale_down_cooldown_seconds => 0,
		scale_down_window_seconds => 0,
		suspicious_drop_guard => 'false');
}

# What the test itself has set up must outlive the first kill.
$node->safe_psql('postgres', 'CHECKPOINT');

sub move_a_load
{
	my @names = sort keys %cooldowns;

	# from below the smallest to above the largest size
	set_load($names[ rand @names ], 5 + 50 * int(rand(15)));
	return;
}

# ---- what goes wrong ----

# Of all calls: 20 % are applied and not answered, 10 % answered with 5xx (half
# of them applied all the same), 5 % not answered at all (half of them applied).
# Each fault sees what those before it have left over.
sub break_the_cloud
{
	my @faults = (
		[ 0.2, 'lost_reply', {} ],
		[ 0.05, 'status', { status => 500 } ],
		[ 0.05, 'status', { status => 504, apply => JSON::PP::true } ],
		[ 0.025, 'hang', {} ],
		[ 0.025, 'hang', { apply => JSON::PP::true } ]);
	my $left = 1;

	foreach (@faults)
	{
		my ($share, $kind, $params) = @$_;

		$cloud->fault(
			{
				kind => $kind,
				params => $params,
				probability => $share / $left
			});
		$left -= $share;
	}
	return;
}

sub ask
{
	my ($sql) = @_;
	my ($rc, $out);

	# it dies where psql ends before it has read the question
	eval { ($rc, $out) = $node->psql('postgres', $sql, timeout => 30); };
	return defined $rc && $rc == 0 ? $out : undef;
}

# Sessions that call qpsscale_evaluate() all the time, of one group or of all.
my $dir = PostgreSQL::Test::Utils::tempdir();
my $stop = "$dir/stop";
my @callers;

sub start_callers
{
	my $list = join(' ', sort { $a <=> $b } values %ids);
	my $script = <<'SH';
RANDOM=$SEED
set -- $LIST ""
while [ ! -e "$STOP" ]; do
	which=${@:$((RANDOM % $# + 1)):1}
	psql -XAtq -c "SELECT qpsscale_evaluate($which)" || sleep 0.1
done
SH

	foreach my $number (1 .. 3)
	{
		local $ENV{LIST} = $list;
		local $ENV{STOP} = $stop;
		local $ENV{SEED} = $seed + $number;
		local $ENV{PGHOST} = $node->host;
		local $ENV{PGPORT} = $node->port;
		local $ENV{PGDATABASE} = 'postgres';
		push @callers,
		  IPC::Run::start([ 'bash', '-c', $script ],
			'<', \undef, '>', "$dir/answers-$number", '2>',
			"$dir/errors-$number");
	}
	return;
}

# ---- killing ----

my %killed;

# Who may be killed, how often of a hundred times, by the title of the process;
# TERM ends it as an administrator would.
my @victims = (
	[ 30, 'resident worker', qr/qpsscale worker for/, 'KILL' ],
	[ 30, 'one-shot worker', qr/qpsscale one-shot worker/, 'KILL' ],
	[ 15, 'postmaster', undef, 'KILL' ],
	[ 10, 'backend that waits', qr/ SELECT\b/, 'KILL' ],
	[ 5, 'launcher', qr/qpsscale launcher/, 'KILL' ],
	[ 10, 'either worker', qr/qpsscale (worker for|one-shot)/, 'TERM' ]);

sub choose_victim
{
	my $throw = rand(100);

	foreach (@victims)
	{
		$throw -= $_->[0];
		return @$_ if $throw < 0;
	}
	die 'the shares of the victims do not add up';
}

# The processes of a kind; one may not be there at every moment.
sub find_one
{
	my ($title) = @_;
	my $deadline = time() + 1;

	while (time() < $deadline)
	{
		my %processes = processes_below($node->{_pid});
		my @found = sort grep { $processes{$_} =~ $title } keys %processes;

		return $found[ rand @found ] if @found;
		Time::HiRes::sleep(0.01);
	}
	return;
}

sub start_again
{
	# the children of the one that was killed may still be leaving
	wait_until('the server starts again',
		sub { $node->start(fail_ok => 1) }, 60);
	return;
}

sub kill_one
{
	my (undef, $name, $title, $signal) = choose_victim();

	if (!defined $title)
	{
		$node->kill9;
		start_again();
		$killed{"$signal $name"}++;
		return 1;
	}
	my $pid = find_one($title) // return 0;
	return 0 unless kill($signal, $pid);
	$killed{"$signal $name"}++;
	return 1;
}

# Now a resident worker serves the database, now one-shot workers do.
sub turn_resident_worker
{
	my $databases = rand() < 0.5 ? "'postgres'" : "''";

	$node->append_conf('postgresql.conf', "qpsscale.databases = $databases");
	kill 'HUP', $node->{_pid};
	return;
}

# ---- what was seen committed must stay ----

my %seen;

sub look
{
	my $rows = ask('SELECT id, activity_key, desired_capacity'
		  . ' FROM qpsscale.activities');

	return unless defined $rows;
	$seen{$_} = 1 foreach split /\n/, $rows;
	return;
}

sub wait_for_server
{
	wait_until('the server is there',
		sub { (ask('SELECT 1') // '') eq '1' }, 60);
	return;
}

my $reset_circuits =
  'SELECT qpsscale_reset_circuit(id) FROM qpsscale.resource_groups';

start_callers();
break_the_cloud();
my $done = 0;
while ($done < $kills)
{
	my $moment = time() + rand(1.2);

	look();
	turn_resident_worker() if rand() < 0.5;
	while (time() < $moment)
	{
		move_a_load();
		Time::HiRes::sleep(rand(0.1));
	}
	$done += kill_one();
	next unless $done % 10 == 0;

	# an operator looks after it now and then
	ask($reset_circuits);
}

# ---- and now peace ----

$cloud->clear_faults;
$node->append_conf('postgresql.conf', "qpsscale.databases = 'postgres'");
kill 'HUP', $node->{_pid};
wait_for_server();
open(my $file, '>', $stop) or die "$stop: $!";
close($file);
$_->finish foreach @callers;
wait_for($node, 'SELECT count(*) FROM qpsscale.stat_worker WHERE ticks > 0',
	'1', 'a resident worker is back');
$node->safe_psql('postgres', $reset_circuits);

wait_for($node, open_activities(), '0', 'every activity comes to an end');
# Who rests for an hour may be anywhere.
foreach my $name (grep { $_ ne 'long' } sort keys %ids)
{
	my $optimal = ceil($loads{$name} / 50);

	$optimal = $optimal < 2 ? 2 : $optimal > 12 ? 12 : $optimal;
	wait_until("$name: gets where it belongs",
		sub { $cloud->group("asg-$name")->{desired} == $optimal });
}
wait_for($node, open_activities(), '0', 'and all of that is recorded');

foreach my $name (sort keys %ids)
{
	is(discrepancies($node, $cloud, $ids{$name}, $name),
		'', "$name: the tables say what the cloud did");
}
is( $node->safe_psql('postgres',
		"SELECT string_agg(resource_group_id || ': '"
		  . " || (explanation -> 'foreign_change')::text, ', ')"
		  . " FROM qpsscale.evaluations WHERE explanation ? 'foreign_change'"),
	'', 'nobody else is accused of what we did')
  or diag($node->safe_psql('postgres', <<'SQL'));
SELECT a.resource_group_id, a.requested_at, a.eval_capacity, a.desired_capacity,
	a.status, a.accepted_at, a.finished_at, a.error_message
FROM qpsscale.activities a
WHERE a.resource_group_id IN (SELECT e.resource_group_id FROM qpsscale.evaluations e
	WHERE e.explanation ? 'foreign_change')
ORDER BY a.id
SQL
look();
my %now = map { ($_ => 1) } split /\n/,
  ask('SELECT id, activity_key, desired_capacity FROM qpsscale.activities');
is(join(' ', grep { !$now{$_} } sort keys %seen),
	'', 'no row that was seen is lost');
unlike(slurp_file($node->logfile),
	qr/PANIC|TRAP:|signal 11|signal 6|could not write/,
	'nothing in the log but what was done to it');
is(scalar(applied_changes($cloud, 'long')),
	1, 'who rests for an hour acted once');
cmp_ok(
	$node->safe_psql('postgres', 'SELECT count(*) FROM qpsscale.activities'),
	'>', $kills, 'groups were scaled all the while');

diag("killed: $killed{$_} x $_") foreach sort keys %killed;
diag(
	"activities: "
	  . $node->safe_psql('postgres',
		"SELECT string_agg(n || ' ' || status, ', ' ORDER BY status)"
		  . ' FROM (SELECT status, count(*) AS n FROM qpsscale.activities'
		  . ' GROUP BY status) s')
	  . '; applied: '
	  . $cloud->counters->{modify_applied});

$node->stop;
done_testing();
