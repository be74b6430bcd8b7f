# A copy of the whole cluster must not scale the original's groups, and a host
# that was named must: clones, backups that go back in time, standbys without
# queries, and a primary that comes back from a crash.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use QpsscaleProcess;
use Test::More;

$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my ($primary, $cloud) = QpsscaleNode->start(
	name => 'primary',
	armed => 0,
	init => [ allows_streaming => 1, has_archiving => 1 ],
	settings => {
		'qpsscale.host_id' => "'one'",
		'qpsscale.cycle_deadline' => "'4s'",
		'qpsscale.request_timeout' => "'1s'",
		'restart_after_crash' => 'on'
	});
is( $primary->safe_psql('postgres', "SELECT qpsscale_arm(ARRAY['partner'])"),
	'{one,partner}', 'this host and its partner are armed');

sub writes_to
{
	my ($name) = @_;

	return scalar grep { $_->{ids}[0] eq "asg-$name" }
	  @{ $cloud->log(0, 'ModifyScalingGroup') };
}

sub traffic
{
	my ($name, $qps) = @_;

	return $cloud->set_traffic("alb-$name",
		{ kind => 'constant', qps => $qps });
}

sub is_evaluated
{
	my ($node, $id, $what) = @_;
	my $seen = $node->safe_psql('postgres', 'SELECT clock_timestamp()');

	return wait_for($node,
		"SELECT last_evaluated_at > '$seen' FROM qpsscale.state WHERE resource_group_id = $id",
		't', $what);
}

# A copy of the primary as it is now, with a host identity of its own.
sub copy
{
	my ($name, $host, %opts) = @_;

	$primary->backup($name);
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init_from_backup($primary, $name, %opts);
	$node->append_conf('postgresql.conf',
		"qpsscale.host_id = '$host'\narchive_mode = off");
	$node->start;
	return $node;
}

traffic('web', 405);
my $web = add_group($primary, $cloud, 'web', desired => 3, boot_delay => 0,
	general_cooldown_seconds => 0, scale_up_cooldown_seconds => 0);
wait_for($primary,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $web",
	'successful', 'the original scales');

# ---- the same files on another host ----

my $clone = copy('clone', 'elsewhere');
my $partner = copy('partner', 'partner', has_streaming => 1);
$primary->stop;
traffic('web', 605);
is_evaluated($clone, $web, 'a clone on a host that was not named evaluates');
is( $clone->safe_psql('postgres',
		"SELECT last_desired || ' ' || last_dry_run FROM qpsscale.state WHERE resource_group_id = $web"),
	'13 true', 'what it comes to is a dry run');
is( $clone->safe_psql('postgres',
		"SELECT string_agg(problem, ', ') FROM qpsscale.problems() WHERE problem LIKE 'not armed%'"),
	'not armed: every group is in dry run', 'it says so');
is(writes_to('web'), 1, 'and changes nothing');
$clone->stop;

is( $partner->safe_psql('postgres',
		"SELECT string_agg(problem, ', ') FROM qpsscale.problems() WHERE problem ~ 'recovery|no worker|armed|fenced'"),
	'in recovery: standby', 'the partner waits');
$partner->promote;
wait_for($partner,
	"SELECT string_agg(status || ' ' || desired_capacity, ', ' ORDER BY id)"
	  . " FROM qpsscale.activities WHERE resource_group_id = $web",
	'successful 9, successful 13', 'promoted, it acts');
is(writes_to('web'), 2, 'once');
$partner->stop;

# ---- a standby that was not named says so before it is needed ----

$primary->start;
$primary->safe_psql('postgres', 'UPDATE qpsscale.resource_groups SET enabled = false');
my $stranger = copy('stranger', 'stranger', has_streaming => 1);
is( $stranger->safe_psql('postgres',
		"SELECT string_agg(problem, ', ' ORDER BY problem) FROM qpsscale.problems() WHERE problem ~ 'recovery|no worker|armed|fenced'"),
	'in recovery: standby, not armed: every group is in dry run',
	'a standby says that it would not act after a promotion');
like(
	$stranger->safe_psql('postgres',
		"SELECT hint FROM qpsscale.problems() WHERE problem LIKE 'not armed%'"),
	qr/On the primary.*qpsscale_arm\(other_hosts => ARRAY\['stranger'/,
	'and what to call where');
$stranger->stop;

# ---- a standby that takes no queries ----

my $before = @{ $cloud->log(0) };
my $blind = PostgreSQL::Test::Cluster->new('blind');
$blind->init_from_backup($primary, 'stranger', has_streaming => 1);
$blind->append_conf('postgresql.conf', $_)
  foreach ("qpsscale.host_id = 'partner'", 'hot_standby = off',
	'archive_mode = off');
$blind->start;
wait_for($primary,
	"SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'",
	'1', 'a standby that takes no queries follows');
unlike(slurp_file($blind->logfile), qr/qpsscale launcher|qpsscale worker/,
	'nothing of ours runs on it');
$primary->wait_for_catchup('blind');
$primary->stop;
$blind->promote;
wait_for($blind,
	"SELECT count(*) FROM qpsscale.stat_worker WHERE state = 'idle' AND ticks > 0",
	'1', 'promoted, it works');
$blind->stop;

# ---- a restore into the past ----

$primary->start;
traffic('past', 405);
my $past = add_group($primary, $cloud, 'past', desired => 3, boot_delay => 0);
$primary->safe_psql('postgres',
	"UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $past");
$primary->backup('past');
my $target = $primary->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
$primary->safe_psql('postgres',
	"UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $past");
wait_for($primary,
	"SELECT string_agg(status || ' ' || desired_capacity, ', ' ORDER BY id)"
	  . " FROM qpsscale.activities WHERE resource_group_id = $past",
	'successful 9', 'after the backup the group grows');
$primary->safe_psql('postgres', 'SELECT pg_switch_wal()');
$primary->stop;

my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($primary, 'past', has_restoring => 1, standby => 0);
$restored->append_conf('postgresql.conf',
	"recovery_target_lsn = '$target'\nrecovery_target_action = 'promote'");
$restored->start;
$restored->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()');
is( $restored->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.activities WHERE resource_group_id = $past"),
	'0', 'a restore into the past knows nothing of that');
is($restored->safe_psql('postgres', 'SELECT qpsscale.is_armed()'),
	't', 'on the same host it stays armed');
traffic('past', 105);
$restored->safe_psql('postgres',
	"UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $past");
is_evaluated($restored, $past, 'its worker evaluates');
is( $restored->safe_psql('postgres',
		"SELECT latest_capacity || ' ' || last_reason FROM qpsscale.state WHERE resource_group_id = $past"),
	'9 cooldown_general',
	'what the cloud says counts: nine instances, changed a moment ago');
is(writes_to('past'), 1, 'so nothing is done in haste');
$restored->stop;

# ---- a crash of the primary ----

$primary->start;
$cloud->fault(
	{
		kind => 'hang',
		times => 1,
		match => { action => 'ModifyScalingGroup', group_id => 'asg-crash' },
		params => { apply => JSON::PP::true }
	});
traffic('crash', 405);
my $crash = add_group($primary, $cloud, 'crash', desired => 3, boot_delay => 0);
wait_until('the call is under way', sub { writes_to('crash') > 0 });
$primary->stop('immediate');
$primary->start;
wait_for($primary,
	"SELECT string_agg(status || ' ' || desired_capacity, ', ' ORDER BY id)"
	  . " FROM qpsscale.activities WHERE resource_group_id = $crash",
	'successful 9', 'after a crash the worker settles what was open');
is(writes_to('crash'), 1, 'and repeats nothing');
$primary->stop;

done_testing();
