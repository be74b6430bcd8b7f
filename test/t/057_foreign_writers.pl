# Somebody else changes the desired capacity: a person, a schedule, a second
# autoscaler.  It is noticed and named, and the group does what its policy says.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

# A restart of the server must find them too.
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

# No resident worker: each evaluation below is one that the test asked for.
my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 0 },
	settings => {
		'qpsscale.databases' => "''",
		'qpsscale.request_timeout' => "'1s'",
		'qpsscale.cycle_deadline' => "'10s'"
	});

my %at_once = (
	scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0,
	general_cooldown_seconds => 0,
	scale_down_window_seconds => 0,
	suspicious_drop_guard => 'false');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub qps
{
	my ($name, $qps) = @_;
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
	return;
}

# A group of four instances, as its load of 200 takes, that was evaluated once.
sub calm_group
{
	my ($name, %options) = @_;
	my $id = add_group($node, $cloud, $name, %at_once, desired => 4, %options);
	qps($name, 200);
	evaluate($node, $id);
	return $id;
}

sub state_of
{
	my ($id, $columns) = @_;
	return sql("SELECT $columns FROM qpsscale.state WHERE resource_group_id = $id");
}

sub desired { return $cloud->group("asg-$_[0]")->{desired}; }

sub somebody_sets
{
	my ($name, $desired) = @_;
	$cloud->patch_group("asg-$name", { desired => $desired });
	return;
}

# All foreign changes in the ledger of a group, as "4>9 adopt".
sub foreign_changes
{
	my ($id) = @_;
	return sql("SELECT string_agg((f ->> 'from') || '>' || (f ->> 'to') || ' '"
		  . " || (f ->> 'reaction'), ',' ORDER BY id) FROM qpsscale.evaluations,"
		  . " LATERAL (SELECT explanation -> 'foreign_change') AS c(f)"
		  . " WHERE resource_group_id = $id AND f IS NOT NULL");
}

# Likewise changes that are our own, or a consequence of limits.
sub own_changes
{
	my ($id) = @_;
	return sql("SELECT string_agg((f ->> 'from') || '>' || (f ->> 'to') || ' '"
		  . " || (f ->> 'cause'), ',' ORDER BY id) FROM qpsscale.evaluations,"
		  . " LATERAL (SELECT explanation -> 'own_change') AS c(f)"
		  . " WHERE resource_group_id = $id AND f IS NOT NULL");
}

subtest 'adopt: noticed in an idle group, named, and given the general cooldown' => sub {
	my $id = calm_group('adopt', general_cooldown_seconds => 180);

	is(foreign_changes($id), '', 'the first sight of a group accuses nobody');
	somebody_sets('adopt', 9);
	qps('adopt', 450);
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{reason}",
		'none optimal_instance_count_reached', 'the load takes those nine');
	my $change = $result->{explanation}{foreign_change};
	is("$change->{from} $change->{to} $change->{reaction}", '4 9 adopt',
		'the result names the change');
	ok($change->{seen_at}, 'and when it was seen');
	is($change->{cloud_activity}{category}, 'Manual',
		'and what the cloud says about it');
	is(foreign_changes($id), '4>9 adopt', 'so does the ledger');
	is(state_of($id, "last_action_at > now() - '1 min'::interval"), 't',
		'the general cooldown has begun');
	evaluate($node, $id) foreach 1 .. 2;
	is(foreign_changes($id), '4>9 adopt', 'it is told once');
	is( sql("SELECT status || ' ' || (data ->> 'from') || '>' || (data ->> 'to')"
			  . " FROM qpsscale.alerts WHERE resource_group_id = $id"
			  . " AND type = 'qpsscale.group.foreign_change'"),
		'event 4>9', 'and alerted once');
	qps('adopt', 600);
	is(evaluate($node, $id)->{reason}, 'cooldown_general', 'it rests');
	sql("UPDATE qpsscale.state SET last_action_at = now() - '1 hour'::interval"
		  . " WHERE resource_group_id = $id");
	sql("UPDATE qpsscale.resource_groups SET general_cooldown_seconds = 0"
		  . " WHERE id = $id");
	evaluate($node, $id);
	is(desired('adopt'), 12, 'and goes on from there');
};

subtest 'override: back to the policy at once' => sub {
	my $id = calm_group('override', on_foreign_change => 'override',
		general_cooldown_seconds => 180, scale_up_cooldown_seconds => 300,
		scale_down_cooldown_seconds => 600);

	somebody_sets('override', 9);
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{reason}",
		'scale_down dynamic_scaling_scale_down', 'it does not wait');
	is(desired('override'), 4, 'and is back where it was');
	is(foreign_changes($id), '4>9 override', 'the ledger names the change');
	somebody_sets('override', 2);
	is(evaluate($node, $id)->{reason}, 'cooldown_general',
		'its own action has its cooldown all the same');
	is(foreign_changes($id), '4>9 override,4>2 override', 'the second one too');
};

subtest 'pause: suspended until somebody resumes it' => sub {
	my $id = calm_group('pause', on_foreign_change => 'pause');

	somebody_sets('pause', 2);
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{reason}", 'none suspended',
		'it does not act');
	is( state_of($id, 'suspended, suspended_direction, suspended_until,'
			  . ' suspended_reason'),
		't|both||desired capacity was changed from 4 to 2 by somebody else',
		'the state says why');
	is(foreign_changes($id), '4>2 pause', 'so does the ledger');
	is(evaluate($node, $id)->{reason}, 'suspended', 'it stays so');
	sql("SELECT qpsscale_resume($id)");
	is(evaluate($node, $id)->{action}, 'scale_up', 'until it is resumed');
	is(desired('pause'), 4, 'then it does what the load takes');
	evaluate($node, $id);
	is(state_of($id, 'suspended'), 'f', 'its own action does not pause it');

	sql("SELECT qpsscale_suspend($id, reason => 'release')");
	somebody_sets('pause', 3);
	evaluate($node, $id);
	is(state_of($id, 'suspended_reason'), 'release',
		'a suspension that is there is left as it is');
	is(foreign_changes($id), '4>2 pause,4>3 pause', 'the change is told');
};

subtest 'an accepted action that somebody wrote over says so' => sub {
	my $id = calm_group('over', boot_delay => 600);

	qps('over', 400);
	evaluate($node, $id);
	is(activities($node, $id), 'accepted 8', 'eight are on their way');
	somebody_sets('over', 6);
	evaluate($node, $id, 1);
	is( sql("SELECT status || ': ' || error_message FROM qpsscale.activities"
			  . " WHERE resource_group_id = $id ORDER BY id LIMIT 1"),
		'superseded: desired capacity was changed from 8 to 6 by somebody else',
		'and by whom and how');
	is(foreign_changes($id), '8>6 adopt', 'the ledger counts from what we wrote');
};

subtest 'its own changes are nobody else\'s' => sub {
	my $id = calm_group('own', on_foreign_change => 'pause');

	qps('own', 400);
	evaluate($node, $id);
	evaluate($node, $id) foreach 1 .. 2;
	is(activities($node, $id), 'successful 8', 'an action that was answered');
	$cloud->fault({ kind => 'lost_reply', times => 1,
			match => { action => 'ModifyScalingGroup' } });
	qps('own', 500);
	is(evaluate($node, $id)->{execution_result}{status}, 'unknown',
		'and one that was not');
	evaluate($node, $id) foreach 1 .. 2;
	$node->restart;
	evaluate($node, $id);
	is(desired('own'), 10, 'both were carried out');
	is(foreign_changes($id) . own_changes($id), '', 'nobody is accused');
	is(state_of($id, 'suspended'), 'f', 'nothing is paused');
};

subtest 'a call that was taken for lost and arrives late' => sub {
	my $id = calm_group('late', on_foreign_change => 'pause');

	sql("INSERT INTO qpsscale.activities (resource_group_id, activity_key,"
		  . " requested_at, action, delta, desired_capacity, status, reason,"
		  . " eval_capacity, policy_version)"
		  . " VALUES ($id, 'late', now() - '5 min'::interval, 'scale_up',"
		  . " 5, 9, 'unknown', 'test', 4, 1)");
	evaluate($node, $id);
	is(activities($node, $id), 'failed 9', 'the cloud does not show it');
	somebody_sets('late', 9);
	my $result = evaluate($node, $id, 1);
	is($result->{explanation}{own_change}{cause}, 'late_call', 'then it does');
	is(own_changes($id), '4>9 late_call', 'the ledger knows whose it is');
	is(foreign_changes($id), '', 'nobody is accused');
	is(state_of($id, 'suspended'), 'f', 'nothing is paused');
};

subtest 'limits that somebody changed' => sub {
	my $id = calm_group('limits', on_foreign_change => 'pause');

	$cloud->patch_group('asg-limits', { max => 3, desired => 3 });
	evaluate($node, $id);
	is(own_changes($id), '4>3 limits', 'the lower maximum moved it');
	is(state_of($id, 'suspended'), 'f', 'which pauses nothing');
	$cloud->patch_group('asg-limits', { max => 50 });
	evaluate($node, $id);
	is(desired('limits'), 4, 'with a higher one it goes on');
};

subtest 'a cloud that tells no desired capacity' => sub {
	my $id = calm_group('untold', on_foreign_change => 'pause');

	$cloud->patch_group('asg-untold', { desired => -1, force => JSON::PP::true });
	$cloud->patch_group('asg-untold', { set_instances => { in_service => 5 } });
	evaluate($node, $id, 1);
	$cloud->patch_group('asg-untold', { set_instances => { in_service => 7 } });
	evaluate($node, $id, 1);
	is(foreign_changes($id), '', 'members that come and go accuse nobody');
	is(state_of($id, 'known_desired, suspended'), '|f', 'there is nothing to compare');
};

subtest 'a group that never writes follows whoever does' => sub {
	my $id = calm_group('shadow', on_foreign_change => 'pause',
		dry_run => 'true');
	sql("INSERT INTO qpsscale.resource_groups (name, alb_id, asg_id, region,"
		  . " target_qps, account, enabled, dry_run,"
		  . " scale_up_cooldown_seconds, general_cooldown_seconds)"
		  . " VALUES ('shadow-live', 'alb-live', 'asg-shadow', 'ap-southeast-1',"
		  . " 50, 'cloud', true, false, 0, 0)");
	qps('live', 400);
	evaluate($node,
		sql("SELECT id FROM qpsscale.resource_groups WHERE name = 'shadow-live'"));
	is(desired('shadow'), 8, 'a live group on the same target acts');
	evaluate($node, $id);
	is(foreign_changes($id), '', 'the dry run does not take it for a stranger');
	is(state_of($id, 'suspended'), 'f', 'and is not paused');
	sql("UPDATE qpsscale.resource_groups SET enabled = false"
		  . " WHERE name = 'shadow-live'");
	sql("UPDATE qpsscale.resource_groups SET dry_run = false WHERE id = $id");
	somebody_sets('shadow', 9);
	qps('shadow', 450);
	evaluate($node, $id);
	is(state_of($id, 'suspended'), 'f',
		'what happened before it went live is no reason either');
	somebody_sets('shadow', 5);
	evaluate($node, $id);
	is(foreign_changes($id), '9>5 pause', 'what happens then is');
};

subtest 'a group that was disabled for a while' => sub {
	my $id = calm_group('away', on_foreign_change => 'pause');

	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
	somebody_sets('away', 7);
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	evaluate($node, $id);
	is(foreign_changes($id), '', 'who scaled it meanwhile had every right to');
	is(state_of($id, 'suspended'), 'f', 'nothing is paused');
};

subtest 'an idle group costs nothing more' => sub {
	my $id = calm_group('idle');

	evaluate($node, $id);
	my $before = sql("SELECT count(*) FROM qpsscale.evaluations");
	my $since = $cloud->control('GET', 'log?limit=1')->{last};
	sql("SELECT pg_stat_reset_single_table_counters('qpsscale.state'::regclass)");
	evaluate($node, $id) foreach 1 .. 3;
	wait_for($node, "SELECT n_tup_upd FROM pg_stat_user_tables"
		  . " WHERE relid = 'qpsscale.state'::regclass", '3',
		'one update of its row each time');
	is(sql("SELECT count(*) FROM qpsscale.evaluations"), $before,
		'no row of the ledger');
	is(scalar(grep { $_->{action} =~ /Activities|Instances/ }
			@{ $cloud->log($since) }), 0, 'no further question to the cloud');
};

$node->stop;
done_testing();
