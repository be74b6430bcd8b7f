# A promotion in the middle of everything: the first decision of the new primary
# is the one that the old primary would have made at that moment, whatever was
# under way, and what the old one left open is settled by reading the cloud.
#
# The old primary is kept running, cut off, as the control: it is asked what it
# would do, in dry run, at the same load and the same moment.

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

# Nobody ticks unless a test says so: resident workers would have to be beaten
# to the first decision.
my ($old, $cloud) = QpsscaleNode->start(
	name => 'old',
	init => [ allows_streaming => 1 ],
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.initial_delay' => "'1h'",
		'qpsscale.cycle_deadline' => "'4s'",
		'qpsscale.request_timeout' => "'1s'",
		'wal_log_hints' => 'on',
		'wal_keep_size' => "'256MB'"
	});
$old->backup('base');
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init_from_backup($old, 'base', has_streaming => 1);
$new->start;

sub traffic
{
	my ($name, $qps) = @_;

	return $cloud->set_traffic("alb-$name",
		{ kind => 'constant', qps => $qps });
}

sub add
{
	my ($name, $qps, %opts) = @_;

	traffic($name, $qps);
	return add_group($old, $cloud, $name, boot_delay => 0,
		scale_down_window_seconds => 0, %opts);
}

sub writes
{
	return scalar @{ $cloud->log(0, 'ModifyScalingGroup') };
}

# ---- everything under way ----

my %group;

# grew a moment ago, and would grow again
$group{cooldown} = add('cooldown', 405, desired => 3);
evaluate($old, $group{cooldown});
traffic('cooldown', 805);

# shrank a moment ago, and would shrink again
$group{cooldown_down} = add('cooldown_down', 405, desired => 20,
	general_cooldown_seconds => 0);
evaluate($old, $group{cooldown_down});
traffic('cooldown_down', 205);

# its instances boot
$group{accepted} = add('accepted', 405, desired => 3, boot_delay => 3600,
	general_cooldown_seconds => 0, scale_up_cooldown_seconds => 0);
evaluate($old, $group{accepted});
traffic('accepted', 105);

# its load has fallen, but not for long enough
$group{window} = add('window', 405, desired => 9,
	scale_down_window_seconds => 3600, suspicious_drop_guard => 'false');
evaluate($old, $group{window});
traffic('window', 305);
evaluate($old, $group{window});
traffic('window', 205);

# nine tenths of its load are gone
$group{drop} = add('drop', 405, desired => 9);
evaluate($old, $group{drop});
traffic('drop', 40);
evaluate($old, $group{drop});

# an operator has stopped it
$group{suspended} = add('suspended', 405, desired => 3);
$old->safe_psql('postgres',
	"SELECT qpsscale_suspend($group{suspended}, 'up', reason => 'sale')");

# its circuit is open
$group{circuit} = add('circuit', 405, desired => 3);
$cloud->fault(
	{
		kind => 'status',
		times => 100,
		match => { action => 'ModifyScalingGroup', group_id => 'asg-circuit' },
		params => { status => 403, code => 'AccessDenied' }
	});
evaluate($old, $group{circuit}) for 1 .. 6;

# it may act at once
$group{free} = add('free', 405, desired => 3);
evaluate($old, $group{free}, 1);

# no answer came to its call, which was carried out
$group{unknown} = add('unknown', 405, desired => 3);
$cloud->fault(
	{
		kind => 'lost_reply',
		times => 1,
		match => { action => 'ModifyScalingGroup', group_id => 'asg-unknown' }
	});
evaluate($old, $group{unknown});

# ... which was not
$group{undone} = add('undone', 405, desired => 3);
$cloud->fault(
	{
		kind => 'hang',
		times => 1,
		match => { action => 'ModifyScalingGroup', group_id => 'asg-undone' }
	});
evaluate($old, $group{undone});

# the intent is there, the call is not: as if the primary had died in between
$group{requested} = add('requested', 405, desired => 3);
$old->safe_psql('postgres', <<SQL);
INSERT INTO qpsscale.activities (resource_group_id, activity_key, requested_at,
	action, delta, desired_capacity, status, reason, eval_capacity,
	policy_version, evaluator_pid, evaluator_started_at)
VALUES ($group{requested}, 'left', clock_timestamp(), 'scale_up', 6, 9,
	'requested', 'dynamic_scaling_scale_up', 3, 1, 1, now())
SQL

my %expected = (
	cooldown => 'cooldown_general',
	cooldown_down => 'cooldown_scale_down',
	accepted => 'scaling_in_progress',
	window => 'scale_down_stabilizing',
	drop => 'suspicious_drop',
	suspended => 'suspended',
	circuit => 'circuit_open',
	free => 'dynamic_scaling_scale_up');

# ---- the old primary is cut off, the new one takes over ----

$old->wait_for_catchup($new);
my $before = writes();
$new->promote;
wait_for($new, "SELECT count(*) FROM qpsscale.stat_worker WHERE state = 'idle'",
	'1', 'a worker runs on the new primary');
is(worker_pid($new) eq '' ? 0 : 1, 1, 'and serves its database');

# What there is to compare: the decision, not when or by whom it was made.
sub decision_of
{
	my ($result) = @_;
	my $explained = $result->{explanation};
	my %of_interest = map { $_ => $result->{$_} }
	  qw(action reason current_qps current_desired desired_capacity
	  optimal_instances required_change scaling_amount);

	$of_interest{$_} = $explained->{$_}
	  foreach qw(blocker winner wanted proposals clamps);
	# the end of a suspicious drop depends on nothing but what is stored
	$of_interest{blocked_until} = $explained->{blocked_until};
	return JSON::PP->new->canonical->encode(\%of_interest);
}

foreach my $name (sort keys %expected)
{
	my $control = evaluate($old, $group{$name}, 1);
	my $first = evaluate($new, $group{$name});

	is($first->{reason}, $expected{$name}, "$name: $expected{$name}");
	is(decision_of($first), decision_of($control),
		"$name: the first decision is the one that the old primary would have made");
}
is(writes(), $before + 1, 'only the group that was free has been changed');
is($cloud->group('asg-free')->{desired}, 9, 'as it should be');

# ---- what was open ----

my %ends = (
	unknown => 'successful 9',
	undone => 'failed 9, successful 9',
	requested => 'failed 9, successful 9');

foreach my $name (sort keys %ends)
{
	wait_until(
		"$name: settled as \"$ends{$name}\"",
		sub {
			evaluate($new, $group{$name});
			(activities($new, $group{$name}) =~ s/\n/, /gr) eq $ends{$name};
		})
	  or diag(activities($new, $group{$name}));
}
is(writes(), $before + 3, 'each that had not been carried out was, once');
is( $new->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.activities WHERE status IN ('requested', 'unknown')"),
	'0', 'nothing is left in doubt');

# ---- the old primary comes back, as a standby: it is silent ----

$old->stop;
$new->safe_psql('postgres', 'CHECKPOINT');
command_ok(
	[
		'pg_rewind', '--no-sync', '--target-pgdata' => $old->data_dir,
		'--source-server' => $new->connstr('postgres')
	],
	'pg_rewind makes the old primary follow');
$old->append_conf('postgresql.conf',
	"primary_conninfo = '" . $new->connstr . "'\nport = " . $old->port);
$old->append_conf('postgresql.conf',
	"unix_socket_directories = '" . $old->host . "'");
$old->append_conf('postgresql.conf', "qpsscale.interval = '1s'");
$old->append_conf('postgresql.conf', "qpsscale.initial_delay = 0");
$old->set_standby_mode;
$cloud->reset_log;
$old->start;
is( $old->safe_psql('postgres',
		"SELECT problem FROM qpsscale.problems() WHERE problem ~ 'recovery|no worker|armed|fenced'"),
	'in recovery: standby', 'it says that it is a standby');
$old->psql('postgres', "SELECT qpsscale_evaluate($group{free})");
is( $old->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'qpsscale%'"),
	'0', 'no process of ours runs on it');
is(scalar @{ $cloud->log(0) }, 0, 'and it calls nobody');

# ---- and back again: another timeline ----

$old->poll_query_until('postgres',
	"SELECT pg_last_wal_replay_lsn() >= '"
	  . $new->lsn('insert') . "'::pg_lsn");
$new->stop;
$old->promote;
wait_for($old,
	"SELECT count(*) FROM qpsscale.state WHERE last_evaluated_at > now() - interval '1 minute'",
	scalar(keys %group), 'promoted again, it evaluates all groups');
is( $old->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.activities WHERE status IN ('requested', 'unknown')"),
	'0', 'with nothing in doubt');
$old->stop;

done_testing();
