# Synchronous replication is the fence: an intent that no synchronous standby
# has confirmed is never carried out, however its wait came to an end and
# however synchronous_commit has been lowered.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use QpsscaleProcess;
use Test::More;
use Time::HiRes qw(time);

# Servers and sessions inherit them; our own sessions must not wait.
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my ($primary, $cloud) = QpsscaleNode->start(
	name => 'primary',
	init => [ allows_streaming => 1 ],
	settings => {
		'qpsscale.cycle_deadline' => "'3s'",
		'qpsscale.request_timeout' => "'500ms'"
	});
$primary->backup('base');
my %standby;
foreach my $name (qw(one two))
{
	$standby{$name} = PostgreSQL::Test::Cluster->new($name);
	$standby{$name}->init_from_backup($primary, 'base', has_streaming => 1);
	$standby{$name}->append_conf('postgresql.conf',
		"primary_conninfo = '" . $primary->connstr
		  . " application_name=$name'");
}
$ENV{PGOPTIONS} = '-c synchronous_commit=local';

my $waiting = "SELECT count(*) FROM pg_stat_activity"
  . " WHERE wait_event = 'SyncRep' AND backend_type = 'qpsscale worker'";

sub writes_to
{
	my ($name) = @_;

	return scalar grep { $_->{ids}[0] eq "asg-$name" }
	  @{ $cloud->log(0, 'ModifyScalingGroup') };
}

sub fence_with
{
	my ($names) = @_;

	$primary->safe_psql('postgres',
		"ALTER SYSTEM SET synchronous_standby_names = '$names'");
	$primary->reload;
	# the checkpointer is what commits go by
	wait_until("\"$names\" is in force",
		sub {
			$primary->safe_psql('postgres', 'SHOW synchronous_standby_names')
			  eq $names;
		});
	return;
}

sub follows
{
	my ($name, $state) = @_;

	wait_for($primary,
		"SELECT sync_state FROM pg_stat_replication"
		  . " WHERE application_name = '$name' AND state = 'streaming'",
		$state, "$name follows: $state");
	return;
}

sub leaves
{
	my ($name) = @_;

	$standby{$name}->stop('immediate');
	wait_for($primary,
		"SELECT count(*) FROM pg_stat_replication WHERE application_name = '$name'",
		'0', "$name is gone");
	return;
}

# A group that needs nine instances and has three.
sub add_needy
{
	my ($name) = @_;

	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 405 });
	return add_group($primary, $cloud, $name, desired => 3, boot_delay => 0);
}

# Until the next part: a group at rest asks for no intent.
sub put_to_rest
{
	my ($id) = @_;

	$primary->safe_psql('postgres',
		"UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
	return;
}

# Settings of role and database are read when a process connects.  A reload lets
# the launcher forget that the last worker has ended soon.
sub renew_worker
{
	restart_worker($primary);
	wait_until('another worker is there',
		sub {
			$primary->reload;
			(worker_pid($primary) || 0) > 0;
		});
	return;
}

sub trail_of
{
	my ($id) = @_;

	return "SELECT string_agg(status || ' ' || desired_capacity, ', ' ORDER BY id)"
	  . " FROM qpsscale.activities WHERE resource_group_id = $id";
}

# ---- the intent waits, whatever synchronous_commit has been lowered to ----

$standby{one}->start;
fence_with('one');
follows('one', 'sync');
leaves('one');

my @lowered = (
	[ 'off', 'ALTER DATABASE postgres SET synchronous_commit = off' ],
	[ 'local', 'ALTER ROLE CURRENT_USER SET synchronous_commit = local' ],
	[ 'remote', 'ALTER DATABASE postgres SET synchronous_commit = remote_write' ]);

foreach my $case (@lowered)
{
	my ($name, $statement) = @$case;

	$primary->safe_psql('postgres', $_)
	  foreach ('ALTER DATABASE postgres RESET ALL',
		'ALTER ROLE CURRENT_USER RESET ALL', $statement);
	renew_worker();
	my $id = add_needy($name);
	wait_for($primary, $waiting, '1', "$name: the intent waits");
	my $pid = worker_pid($primary);
	$primary->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	# other transactions of the cycle wait only where they were asked to
	wait_until(
		"$name: the cancelled intent is resolved by reading",
		sub {
			$primary->safe_psql('postgres',
				"SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
				  . " WHERE wait_event = 'SyncRep' AND backend_type = 'qpsscale worker'"
			) if $name eq 'remote';
			$primary->safe_psql('postgres', trail_of($id)) =~ /^(unknown|failed)/;
		});
	wait_for($primary, $waiting, '1', "$name: the next intent waits, too");
	renew_worker();
	wait_for($primary, $waiting, '1',
		"$name: and after its worker was terminated");
	is(writes_to($name), 0, "$name: nobody asked the cloud for anything");
	put_to_rest($id);
}
$primary->safe_psql('postgres', $_)
  foreach ('ALTER DATABASE postgres RESET ALL',
	'ALTER ROLE CURRENT_USER RESET ALL',
	# idle ticks shall not wait in what follows
	'ALTER DATABASE postgres SET synchronous_commit = local');

# ---- it comes back too late for the call, in time for the next one ----

renew_worker();
my $late = add_needy('late');
wait_for($primary, $waiting, '1', 'late: the intent waits');
my $since = time();
wait_until('late: for longer than its cycle may take',
	sub { time() - $since > 4 });
$cloud->set_traffic('alb-late', { kind => 'constant', qps => 205 });
$standby{one}->start;
wait_for($primary, trail_of($late), 'failed 9, successful 5',
	'late: it is not sent any more; what the load needs now is');
is( join(' ', map { $_->{query} =~ /\bDesireInstanceNumber=(\d+)/ }
		  grep { $_->{ids}[0] eq 'asg-late' }
		  @{ $cloud->log(0, 'ModifyScalingGroup') }),
	'5', 'late: the cloud never heard of nine');
like(
	$primary->safe_psql('postgres',
		"SELECT error_message FROM qpsscale.activities WHERE resource_group_id = $late ORDER BY id LIMIT 1"),
	qr/deadline had passed before the call/, 'late: the row says why');
put_to_rest($late);

# ---- remote_apply asks for more than a flush ----

$primary->safe_psql('postgres', $_)
  foreach ('ALTER DATABASE postgres SET synchronous_commit = remote_apply');
follows('one', 'sync');
renew_worker();
$standby{one}->safe_psql('postgres', 'SELECT pg_wal_replay_pause()');
my $applied = add_needy('applied');
wait_for($primary, $waiting, '1', 'remote_apply: the worker waits for the replay');
wait_until(
	'remote_apply: an intent whose wait was cancelled is not sent',
	sub {
		$primary->safe_psql('postgres',
			"SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
			  . " WHERE wait_event = 'SyncRep' AND backend_type = 'qpsscale worker'");
		$primary->safe_psql('postgres', trail_of($applied)) =~ /^(unknown|failed)/;
	});
is(writes_to('applied'), 0,
	'remote_apply: although the standby has flushed it');
$standby{one}->safe_psql('postgres', 'SELECT pg_wal_replay_resume()');
wait_for($primary, trail_of($applied), 'failed 9, successful 9',
	'remote_apply: with the replay the next one is');
put_to_rest($applied);
$primary->safe_psql('postgres',
	'ALTER DATABASE postgres SET synchronous_commit = local');
renew_worker();

# ---- a quorum ----

fence_with('ANY 1 (one, two)');
$standby{two}->start;
follows('two', 'quorum');
leaves('one');
my $quorum = add_needy('quorum');
wait_for($primary, trail_of($quorum), 'successful 9',
	'quorum: one of the two is enough');
put_to_rest($quorum);
leaves('two');
my $nobody = add_needy('nobody');
wait_for($primary, $waiting, '1', 'quorum: none of the two is not');
is(writes_to('nobody'), 0, 'quorum: nothing is called');

# ---- the fence is taken down while an intent waits ----

is( $primary->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.problems() WHERE problem LIKE 'unfenced%'"),
	'0', 'with the fence, no complaint');
$primary->safe_psql('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
$primary->reload;
wait_for($primary, trail_of($nobody), 'failed 9, successful 9',
	'taken down: the intent that waited is not sent, the next one is');
is(writes_to('nobody'), 1, 'taken down: one call');
is( $primary->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.status WHERE problems LIKE '%unfenced%'"
		  . " AND id = $nobody"),
	'1', 'taken down: status says unfenced');
put_to_rest($nobody);

# ---- a one-shot worker ----

reload_with($primary, 'qpsscale.databases' => "''");
wait_for($primary, 'SELECT count(*) FROM qpsscale.stat_worker WHERE pid IS NOT NULL',
	'0', 'no resident worker any more');
my $oneshot = "SELECT pid FROM pg_stat_activity"
  . " WHERE wait_event = 'SyncRep' AND backend_type = 'qpsscale one-shot worker'";

sub evaluate_meanwhile
{
	my ($id, $meanwhile) = @_;
	my ($out, $err) = ('', '');
	my $session = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $primary->connstr('postgres'),
			'-c', "SELECT qpsscale_evaluate($id)" ],
		'>', \$out, '2>', \$err);

	$meanwhile->();
	$session->finish;
	return ($out, $err);
}

sub wait_for_oneshot
{
	my ($what) = @_;
	my $pid = '';

	wait_until($what,
		sub { ($pid = $primary->safe_psql('postgres', $oneshot)) ne '' });
	return $pid;
}

fence_with('one');
my $single = add_needy('single');
my ($out, $err) = evaluate_meanwhile(
	$single,
	sub {
		my $pid = wait_for_oneshot('one-shot: the intent waits');
		$primary->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	});
my $result = decode_json($out)->{execution_result};
is("$result->{status}: $result->{error}",
	'requested: not sent: no synchronous standby has confirmed the intent',
	'one-shot: the result says that nothing was sent');

$primary->safe_psql('postgres',
	"UPDATE qpsscale.activities SET status = 'failed' WHERE resource_group_id = $single");
($out, $err) = evaluate_meanwhile(
	$single,
	sub {
		my $pid = wait_for_oneshot('one-shot: the next intent waits');
		$primary->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	});
like($err, qr/the qpsscale worker ended before it answered/,
	'one-shot: its end is told');
is(writes_to('single'), 0, 'one-shot: the cloud was not asked');

# ---- the fence is put up in the middle of a cycle ----
#
# A process that is in a transaction reads no settings.  A lock keeps the
# intent from being written until all others have them.

$primary->safe_psql('postgres', 'ALTER SYSTEM RESET synchronous_standby_names');
$primary->reload;
my $met = 0;
for my $attempt (1 .. 10)
{
	my $name = "raised$attempt";
	my $id = add_needy($name);
	my $holder = $primary->background_psql('postgres');
	$primary->poll_query_until('postgres',
		"SELECT setting = '' FROM pg_settings WHERE name = 'synchronous_standby_names'");
	$holder->query_safe(
		'BEGIN; LOCK TABLE qpsscale.activities IN SHARE MODE');
	evaluate_meanwhile(
		$id,
		sub {
			$primary->poll_query_until('postgres',
				"SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
				  . " AND relation = 'qpsscale.activities'::regclass");
			fence_with('one');
			$holder->query_safe('COMMIT');
			# a lock that was waited for too long: another attempt
			for (1 .. 40)
			{
				my $pid = $primary->safe_psql('postgres', $oneshot);

				$met = 1 if $pid ne '';
				$primary->safe_psql('postgres',
					"SELECT pg_cancel_backend($pid)") if $pid ne '';
				last if $met;
				Time::HiRes::sleep(0.05);
			}
		});
	$holder->quit;
	is(writes_to($name), 0, "put up ($attempt): the intent is not sent");
	put_to_rest($id);
	last if $met;
	$primary->safe_psql('postgres',
		'ALTER SYSTEM RESET synchronous_standby_names');
	$primary->reload;
}
ok($met, 'put up: the commit had waited by what others knew');

$primary->stop;
done_testing();
