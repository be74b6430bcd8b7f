# The files of the libraries are replaced under a running server, as a package
# manager does it: by renaming.  Nothing crashes, whoever runs goes on or ends
# cleanly, and status says at once that the server must be restarted.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use QpsscaleProcess;
use Test::More;

$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my ($stage) = ($ENV{QPSSCALE_EXTENSION_DIR} // '') =~ m{^(.*/stage)/};
plan skip_all => 'needs libraries in a stage that can be copied'
  unless defined $stage && -d $stage;

# ---- a stage of our own, and builds to put into it ----

my $private = PostgreSQL::Test::Utils::tempdir();
system('cp', '-a', "$stage/.", $private) == 0 or die "cp: $?\n";
my $config = slurp_file($ENV{TEMP_CONFIG});
my @paths = map { s/\Q$stage\E/$private/gr }
  $config =~ /^((?:extension_destdir|extension_control_path|dynamic_library_path) = .*)$/mg;

my %file;
foreach my $name (qw(qpsscale qpsscale_worker))
{
	chomp($file{$name} = `find $private -name $name.so`);
}
my %ours = map { $_ => slurp_file($file{$_}) } keys %file;
my $magic = pack('L', 0x51505331);
my ($build) = $ours{qpsscale} =~ /\Q$magic\E....1\.0\.0\0{27}(\d+)\0/s;
ok($build, "the libraries carry a stamp, of build $build");

# A build that differs in its id only; "older" in version and size as well.
(my $other_build = $build) =~ tr/0-9/1-90/;
my %other = map { $_ => $ours{$_} =~ s/\x00$build\x00/\x00$other_build\x00/gr } keys %ours;
my %older = map {
	$_ => $other{$_} =~ s/(\Q$magic\E)....1\.0\.0/$1\x10\0\0\x000.9.0/sr
} keys %ours;
ok($other{$_} ne $ours{$_} && $older{$_} ne $other{$_},
	"$_: the other build and the older one differ")
  foreach sort keys %ours;

sub install
{
	my (%content) = @_;

	foreach my $name (keys %content)
	{
		open(my $out, '>:raw', "$file{$name}.new") or die "$file{$name}: $!\n";
		print $out $content{$name};
		close($out) or die "$file{$name}: $!\n";
		chmod 0755, "$file{$name}.new";
		rename("$file{$name}.new", $file{$name}) or die "rename: $!\n";
	}
	return;
}

my $node = PostgreSQL::Test::Cluster->new('main');
my $cloud = QpsscaleCloud->start;
$node->init;
QpsscaleNode::configure(
	$node,
	'qpsscale.allowed_hosts' => "'127.0.0.1'",
	'qpsscale.interval' => "'1s'",
	'qpsscale.metric_resolution' => "'1s'",
	'qpsscale.host_id' => "'test'",
	shared_preload_libraries => "'qpsscale'");
$node->append_conf('postgresql.conf', $_) foreach @paths;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION qpsscale');
QpsscaleNode::add_account($node, $cloud, 'cloud');
$node->safe_psql('postgres', 'SELECT qpsscale_arm()');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 100 });
my $web = add_group($node, $cloud, 'web', desired => 2);
wait_for($node, "SELECT status FROM qpsscale.status WHERE id = $web",
	'live', 'a server scales with files of its own');
like(libraries_of(worker_pid($node)), qr/^\Q$private\E/m,
	'which its worker has mapped');

sub ticks_on
{
	my ($what) = @_;
	my $seen = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

	return wait_for($node,
		"SELECT last_evaluated_at > '$seen' FROM qpsscale.state WHERE resource_group_id = $web",
		't', $what);
}

sub restart_is_asked_for
{
	my ($expected, $what) = @_;

	return is(
		$node->safe_psql('postgres',
			"SELECT problems LIKE '%restart required%' FROM qpsscale.status WHERE id = $web"),
		$expected,
		$what);
}

restart_is_asked_for('f', 'nothing asks for a restart yet');

# ---- both ----

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $resident = worker_pid($node);
is($session->query_safe('SELECT qpsscale.restart_required()'),
	'f', 'an old session sees nothing of it either');
install(%other);
is($session->query_safe('SELECT qpsscale.restart_required()'),
	't', 'both replaced: the old session says it at once');
restart_is_asked_for('t', 'both replaced: status of a new session says it');
ticks_on('both replaced: the worker goes on');
is(worker_pid($node), $resident, 'both replaced: the one that was there');
is($session->query_safe("SELECT qpsscale_evaluate($web) ->> 'reason'"),
	'optimal_instance_count_reached', 'both replaced: it answers calls');

kill 'TERM', $resident;
wait_for($node, 'SELECT state FROM qpsscale.stat_worker',
	'restart required', 'both replaced: another worker ends with the reason');
foreach my $from ('old', 'new')
{
	my $caller = $from eq 'old' ? $session : $node->background_psql('postgres', on_error_stop => 0);
	my ($out) = $caller->query(
		"SELECT qpsscale_evaluate($web) ->> 'reason'");
	my $error = $caller->{stderr};

	like($error, qr/qpsscale was upgraded under the running server/,
		"both replaced: a call of an $from session is refused");
	like($error, qr/HINT:  Restart the server/, "both replaced: with advice");
	$caller->{stderr} = '';
	$caller->quit if $from eq 'new';
}

# ---- and put back ----

install(%ours);
$node->reload;
ticks_on('put back: a worker starts again');
restart_is_asked_for('f', 'put back: nothing asks for a restart any more');

# ---- only one of the two ----

install(qpsscale => $other{qpsscale});
restart_is_asked_for('t', 'qpsscale.so replaced: status says it');
restart_worker($node);
$node->reload;
ticks_on('qpsscale.so replaced: a new worker fits what the server runs');
install(%ours, qpsscale_worker => $other{qpsscale_worker});
restart_is_asked_for('t', 'qpsscale_worker.so replaced: status says it');
ticks_on('qpsscale_worker.so replaced: the worker goes on');
restart_worker($node);
wait_for($node, 'SELECT state FROM qpsscale.stat_worker',
	'restart required', 'qpsscale_worker.so replaced: another one does not');

# ---- by an older version ----

install(%older);
$node->reload;
wait_until(
	'an older version: it is told which',
	sub {
		slurp_file($node->logfile) =~
		  /The server runs version 1\.0\.0 \(build $build\), the file is version (?:1\.0\.0|0\.9\.0)/;
	});
wait_for($node, 'SELECT state FROM qpsscale.stat_worker',
	'restart required', 'an older version: no worker runs with it');

# ---- a restart ----

$session->quit;
install(%other);
$node->restart;
ticks_on('after the restart: the other build scales');
restart_is_asked_for('f', 'after the restart: and asks for nothing');

# ---- without preload ----

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
$session = $node->background_psql('postgres', on_error_stop => 0);
is($session->query_safe("SELECT qpsscale_evaluate($web) ->> 'reason'"),
	'optimal_instance_count_reached', 'without preload: a call');
install(%ours);
is( $node->safe_psql('postgres', "SELECT qpsscale_evaluate($web) ->> 'reason'"),
	'optimal_instance_count_reached',
	'without preload: a new session has the new files');
$session->query("SELECT qpsscale_evaluate($web)");
like($session->{stderr}, qr/the qpsscale worker ended before it answered/,
	'without preload: a session with the old ones gets an error');
like(slurp_file($node->logfile),
	qr/qpsscale was upgraded under a running session, which must connect anew/,
	'without preload: the log says what to do');
$session->{stderr} = '';
$session->quit;

unlike(
	slurp_file($node->logfile),
	qr/PANIC|terminated by signal|TRAP:/,
	'no process has crashed in all of this');
$node->stop;
done_testing();
