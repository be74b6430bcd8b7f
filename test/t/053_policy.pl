# What a policy promises, from the row in the table to the capacity in the
# cloud: cooldowns, windows, guards, limits, caps, dry runs and switches.

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

# A group that waits for nothing but what the options say, and its load.
sub group
{
	my ($name, $qps, %options) = @_;
	my $id = add_group($node, $cloud, $name, %at_once, %options);
	qps($name, $qps);
	return $id;
}

sub policy
{
	my ($id, $changes) = @_;
	sql("UPDATE qpsscale.resource_groups SET $changes WHERE id = $id");
	return;
}

sub state_of
{
	my ($id, $columns) = @_;
	return sql("SELECT $columns FROM qpsscale.state WHERE resource_group_id = $id");
}

sub desired { return $cloud->group("asg-$_[0]")->{desired}; }

sub log_position { return $cloud->control('GET', 'log?limit=1')->{last}; }

# Writes about a group that arrived after a position in the log.
sub writes
{
	my ($name, $since) = @_;
	return scalar grep { "@{ $_->{ids} }" eq "asg-$name" }
	  @{ $cloud->log($since, 'ModifyScalingGroup') };
}

# Evaluates and compares "action reason".
sub verdict
{
	my ($id, $expected, $what) = @_;
	my $result = evaluate($node, $id);

	is("$result->{action} $result->{reason}", $expected, $what)
	  or diag(explain($result));
	return $result;
}

sub setting
{
	my ($name, $value) = @_;
	sql(defined $value ? "ALTER SYSTEM SET $name = '$value'"
		: "ALTER SYSTEM RESET $name");
	sql('SELECT pg_reload_conf()');
	wait_for($node, "SELECT current_setting('$name')", $value,
		"$name is $value") if defined $value;
	return;
}

subtest 'cooldowns after an action of its own' => sub {
	my $id = group('cool', 200, desired => 2, general_cooldown_seconds => 180,
		scale_up_cooldown_seconds => 300, scale_down_cooldown_seconds => 600);

	verdict($id, 'scale_up dynamic_scaling_scale_up', 'it grows to four');
	qps('cool', 400);
	my $result = verdict($id, 'none cooldown_general',
		'then it rests, whatever the direction');
	cmp_ok($result->{cooldown_remaining}, '>', 150, 'for the three minutes');
	cmp_ok($result->{cooldown_remaining}, '<=', 180, 'and no longer');
	is($result->{explanation}{wanted}, 'scale_up', 'what it would do is said');
	is( state_of($id, "cooldown_until > now() + '250 s'::interval"), 't',
		'state shows the end of the longest one');

	policy($id, 'general_cooldown_seconds = 0');
	verdict($id, 'none cooldown_scale_up', 'growing has a cooldown of its own');
	qps('cool', 100);
	verdict($id, 'scale_down dynamic_scaling_scale_down',
		'which does not hold a shrinking group');
	qps('cool', 50);
	verdict($id, 'none cooldown_scale_down', 'that has another one');
	policy($id, 'scale_down_cooldown_seconds = 0');
	verdict($id, 'scale_down dynamic_scaling_scale_down',
		'which ends when the policy says so');
	is(desired('cool'), 1, 'the cloud was told');
};

subtest 'cooldowns after what others did' => sub {
	my $id = group('foreign', 100, desired => 2, general_cooldown_seconds => 180);

	verdict($id, 'none optimal_instance_count_reached', 'nothing to do');
	$cloud->patch_group('asg-foreign', { desired => 3 });
	qps('foreign', 300);
	verdict($id, 'none cooldown_general', 'somebody scaled it a moment ago');
	is(state_of($id, 'last_action_at IS NOT NULL'), 't', 'that is recorded');
	is(desired('foreign'), 3, 'and left as it is');
	policy($id, 'general_cooldown_seconds = 0, scale_up_cooldown_seconds = 300');
	verdict($id, 'none cooldown_scale_up', 'the direction is known as well');
	policy($id, 'scale_up_cooldown_seconds = 0, scale_down_cooldown_seconds = 600');
	verdict($id, 'scale_up dynamic_scaling_scale_up',
		'a growth of others is no reason against growing after its cooldown');
	is(desired('foreign'), 6, 'from what the others made of it');
};

subtest 'the stabilization window outlives the server' => sub {
	my $id = group('window', 400, desired => 8, scale_down_window_seconds => 300);

	verdict($id, 'none optimal_instance_count_reached', 'eight are needed');
	qps('window', 200);
	my $before = verdict($id, 'none scale_down_stabilizing',
		'four would do, but eight were needed a moment ago');
	$node->restart;
	my $after = verdict($id, 'none scale_down_stabilizing',
		'a new server knows that too');
	is($after->{explanation}{blocked_until},
		$before->{explanation}{blocked_until}, 'and until when');
	qps('window', 300);
	verdict($id, 'none scale_down_stabilizing', 'six would do now');
	policy($id, 'scale_down_window_seconds = 1');
	qps('window', 200);
	wait_until('when the window is over it shrinks to what is needed now',
		sub { evaluate($node, $id); desired('window') == 4 });
};

subtest 'capacity on its way' => sub {
	my $id = group('boot', 300, desired => 2, boot_delay => 600);

	verdict($id, 'scale_up dynamic_scaling_scale_up', 'six are ordered');
	is(activities($node, $id), 'accepted 6', 'and boot');
	verdict($id, 'none optimal_instance_count_reached', 'none is ordered twice');
	qps('boot', 50);
	verdict($id, 'none scaling_in_progress', 'while they boot it does not shrink');
	qps('boot', 500);
	verdict($id, 'scale_up dynamic_scaling_scale_up',
		'but it may grow further, if the load still rises');
	is(activities($node, $id), "superseded 6\naccepted 10",
		'the later action replaces the earlier one');
	$cloud->patch_group('asg-boot', { desired => 7 });
	evaluate($node, $id, 1);
	like(activities($node, $id), qr/^superseded 6\nsuperseded 10\b/,
		'and so does a change by somebody else');

	$id = group('boot-soon', 300, desired => 2, boot_delay => 1);
	evaluate($node, $id);
	wait_until('once they are in service the activity is successful',
		sub { evaluate($node, $id); activities($node, $id) eq 'successful 6' });
	$id = group('boot-never', 300, desired => 2, boot_delay => 600,
		activity_deadline_seconds => 1);
	evaluate($node, $id);
	wait_until('if they never are it has failed',
		sub { evaluate($node, $id, 1); activities($node, $id) =~ /^failed 6/ });
	like( sql("SELECT error_message FROM qpsscale.activities"
			  . " WHERE resource_group_id = $id AND status = 'failed'"),
		qr/not in service within 1 second/, 'and says why');
};

subtest 'static mode' => sub {
	my $id = group('static', 90, desired => 2, max => 3, mode => 'static',
		up_threshold => 0.8, down_threshold => 0.4);

	verdict($id, 'scale_up qps_above_threshold', '45 of 50 are above 80 percent');
	is(desired('static'), 3, 'one step');
	verdict($id, 'none qps_within_thresholds', '30 are between the thresholds');
	qps('static', 150);
	verdict($id, 'none at_max_capacity', 'the cloud allows no more');
	qps('static', 50);
	verdict($id, 'scale_down qps_below_threshold', 'below 40 percent');
	is(desired('static'), 2, 'one step back');
	qps('static', 0);
	evaluate($node, $id) foreach 1 .. 2;
	is(desired('static'), 0, 'down to nothing');
	verdict($id, 'none qps_within_thresholds', 'where it rests without load');
	qps('static', 1);
	verdict($id, 'scale_up qps_above_threshold', 'the first request wakes it');
};

subtest 'to zero and back' => sub {
	my $id = group('zero', 0, desired => 3);

	verdict($id, 'scale_down dynamic_scaling_scale_down', 'no load at all');
	is(desired('zero'), 0, 'no instance');
	my $result = verdict($id, 'none optimal_instance_count_reached', 'it rests');
	is($result->{qps_per_instance}, 0, 'nothing is divided by zero');
	qps('zero', 0.01);
	verdict($id, 'scale_up dynamic_scaling_scale_up', 'any load takes one');
	is(desired('zero'), 1, 'there it is');

	$id = group('zero-no-data', 0, desired => 3);
	$cloud->set_traffic('alb-zero-no-data', undef);
	verdict($id, 'none metrics_unavailable', 'no data is no proof of no load');
	is(desired('zero-no-data'), 3, 'and never goes to zero');
};

subtest 'caps of one action' => sub {
	my $id = group('caps', 500, desired => 2, max_scale_up_per_action => 3,
		max_scale_down_per_action => 2);

	my $result = verdict($id, 'scale_up dynamic_scaling_limited_scale_up',
		'ten are needed');
	is("$result->{desired_capacity} $result->{scaling_amount} "
		  . "$result->{required_change}", '5 3 8', 'three come');
	ok($result->{limited_by_safety}, 'limited_by_safety says so');
	qps('caps', 50);
	verdict($id, 'scale_down dynamic_scaling_limited_scale_down',
		'one is needed');
	is(desired('caps'), 3, 'two go');

	$id = group('percent', 50, desired => 20, max_scale_down_percent => 10);
	verdict($id, 'scale_down dynamic_scaling_limited_scale_down',
		'ten percent of twenty');
	is(desired('percent'), 18, 'are two');
	policy($id, 'max_scale_down_percent = 1');
	evaluate($node, $id);
	is(desired('percent'), 17, 'and at least one may always go');
};

subtest 'limits of the cloud and of the policy' => sub {
	my $id = group('limits', 500, desired => 4, min => 2, max => 6);

	my $result = verdict($id, 'scale_up dynamic_scaling_scale_up', 'ten are needed');
	is(desired('limits'), 6, 'the cloud allows six');
	ok($result->{limited_by_asg}, 'limited_by_asg says so');
	verdict($id, 'none at_asg_max_capacity', 'more is not possible');
	qps('limits', 10);
	evaluate($node, $id);
	is(desired('limits'), 2, 'the cloud wants two at least');
	verdict($id, 'none at_asg_min_capacity', 'less is not possible');

	$id = group('own', 500, desired => 4, min_instances => 3, max_instances => 5);
	evaluate($node, $id);
	is(desired('own'), 5, 'its own maximum');
	verdict($id, 'none at_policy_max_capacity', 'is its own reason');
	qps('own', 10);
	evaluate($node, $id);
	is(desired('own'), 3, 'its own minimum');
	verdict($id, 'none at_policy_min_capacity', 'likewise');
	policy($id, 'min_instances = 4');
	$cloud->set_traffic('alb-own', undef);
	verdict($id, 'scale_up below_minimum',
		'it is raised to a higher minimum even without data');
	policy($id, 'min_instances = 1, max_instances = 2');
	verdict($id, 'none metrics_unavailable',
		'but not lowered to a lower maximum without');
	qps('own', 500);
	verdict($id, 'scale_down above_maximum', 'with data it is');
	is(desired('own'), 2, 'the lower maximum');

	$id = group('contradiction', 400, desired => 5, min => 5, max_instances => 3);
	verdict($id, 'none constrained_by_asg_limits',
		'where the two contradict each other the cloud\'s hold');
	is(desired('contradiction'), 5, 'and nothing is written in vain');
};

subtest 'the hard ceiling' => sub {
	my $id = group('ceiling', 5000, desired => 2);

	setting('qpsscale.max_instances', 7);
	my $result = verdict($id, 'scale_up dynamic_scaling_scale_up', 'much load');
	is(desired('ceiling'), 7, 'no more than qpsscale.max_instances');
	is_deeply([ map { $_->{by} } @{ $result->{explanation}{clamps} } ],
		['ceiling'], 'the explanation names it');
	verdict($id, 'none at_policy_max_capacity', 'and there it stays');
	setting('qpsscale.max_instances', undef);
	wait_until('until the ceiling is lifted',
		sub { evaluate($node, $id); desired('ceiling') == 100 });
};

subtest 'tolerance' => sub {
	my $id = group('tolerance', 216, desired => 4, scale_up_tolerance => 0.1,
		scale_down_tolerance => 0.2);

	verdict($id, 'none within_tolerance', 'eight percent above');
	qps('tolerance', 221);
	verdict($id, 'scale_up dynamic_scaling_scale_up', 'ten and a half percent');
	is(desired('tolerance'), 5, 'one more');
	qps('tolerance', 200);
	verdict($id, 'none within_tolerance', 'twenty percent below');
	qps('tolerance', 199);
	verdict($id, 'scale_down dynamic_scaling_scale_down', 'a little more');
};

subtest 'a suspicious drop is held, then believed' => sub {
	my $id = group('drop', 1000, desired => 20, suspicious_drop_guard => 'true');

	verdict($id, 'none optimal_instance_count_reached', 'much load');
	qps('drop', 50);
	verdict($id, 'none suspicious_drop', 'all gone at once: is it true?');
	is( state_of($id, 'drop_seen_at IS NOT NULL, reference_qps'), 't|1000',
		'since when, and from where, is recorded');
	my $seen = state_of($id, 'drop_seen_at');
	verdict($id, 'none suspicious_drop', 'it still is');
	is(state_of($id, 'drop_seen_at'), $seen, 'the wait does not begin anew');
	qps('drop', 900);
	verdict($id, 'scale_down dynamic_scaling_scale_down', 'it was not true');
	is(desired('drop'), 18, 'and only the small change is made');
	is(state_of($id, 'drop_seen_at IS NULL'), 't', 'it is forgotten');

	qps('drop', 50);
	verdict($id, 'none suspicious_drop',
		'once more, although its own action left fewer backends');
	sql("UPDATE qpsscale.state SET drop_seen_at = now() - '10 min'::interval"
		  . " WHERE resource_group_id = $id");
	verdict($id, 'scale_down dynamic_scaling_scale_down',
		'after a second window it is believed');
	is(desired('drop'), 1, 'all the way');

	$id = group('drop-true', 1000, desired => 20, suspicious_drop_guard => 'true');
	evaluate($node, $id);
	sql("UPDATE qpsscale.state SET latest_in_service = 20"
		  . " WHERE resource_group_id = $id");
	$cloud->patch_group('asg-drop-true',
		{ set_instances => { in_service => 15, failed => 5 } });
	qps('drop-true', 50);
	verdict($id, 'scale_down dynamic_scaling_scale_down',
		'where healthy backends went with it, it is believed at once');
};

subtest 'dry runs' => sub {
	my $id = group('dry', 300, desired => 2, dry_run => 'true');
	my $since = log_position();

	my $result = verdict($id, 'scale_up dynamic_scaling_scale_up',
		'the decision is the same');
	ok($result->{dry_run}, 'dry_run says that nothing is done');
	is($result->{execution_result}, undef, 'there is no result of a call');
	like($result->{activity_key}, qr/^dry-$id-6-\d+-1$/, 'the key says so too');
	evaluate($node, $id);
	is(activities($node, $id), 'dry_run 6', 'the same wish is recorded once');
	is(writes('dry', $since), 0, 'the cloud heard nothing');

	policy($id, 'dry_run = false');
	$result = verdict($id, 'scale_up dynamic_scaling_scale_up',
		'switched to live within the same minutes');
	like($result->{activity_key}, qr/^$id-6-\d+-1$/, 'the action has its own key');
	is($result->{execution_result}{status}, 'accepted', 'and is carried out');
	is(activities($node, $id), "dry_run 6\naccepted 6", 'both are on record');

	qps('dry', 500);
	$result = evaluate($node, $id, 1);
	ok($result->{dry_run}, 'a live group can be asked without consequences');
	is("$result->{action} $result->{desired_capacity}", 'scale_up 10',
		'what it would do');
	is(writes('dry', $since), 1, 'it does not do it');

	my $live = group('dry-live', 300, desired => 2, dry_run => 'true');
	$result = decode_json(sql("SELECT qpsscale_evaluate($live, dry_run => false)"));
	ok($result->{dry_run}, 'the argument cannot make a dry-run group live');
	is(desired('dry-live'), 2, 'nor was it');
};

subtest 'there and back and there and back: four keys' => sub {
	my $id = group('keys', 250, desired => 5);

	foreach my $n (8, 5, 8, 5)
	{
		qps('keys', 50 * $n);
		evaluate($node, $id);
		is(desired('keys'), $n, "to $n");
	}
	is( sql("SELECT count(*), count(DISTINCT activity_key)"
			  . " FROM qpsscale.activities WHERE resource_group_id = $id"
			  . " AND activity_key ~ '^$id-[58]-[0-9]+-[12]\$'"),
		'4|4', 'each action has a key of its own');
	is( sql("SELECT string_agg(delta::text, ' ' ORDER BY id)"
			  . " FROM qpsscale.activities WHERE resource_group_id = $id"),
		'3 -3 3 -3', 'and the right sign');
};

subtest 'suspend and resume' => sub {
	my $id = group('pause', 300, desired => 4);

	sql("SELECT qpsscale_suspend($id, 'up', reason => 'release night')");
	verdict($id, 'none suspended', 'no growth while that is suspended');
	qps('pause', 100);
	verdict($id, 'scale_down dynamic_scaling_scale_down', 'but shrinking');
	is( state_of($id, 'suspended_reason, suspended_by = current_user'),
		'release night|t', 'who and why is on record');
	sql("SELECT qpsscale_suspend($id, 'down')");
	qps('pause', 50);
	verdict($id, 'none suspended', 'the other way round: no shrinking');
	qps('pause', 200);
	verdict($id, 'scale_up dynamic_scaling_scale_up', 'but growth');

	is(sql("SELECT qpsscale_suspend($id, until => now() + '1 hour'::interval)"),
		'1', 'both, for an hour');
	qps('pause', 400);
	my $result = verdict($id, 'none suspended', 'no growth');
	ok($result->{explanation}{blocked_until}, 'it says until when');
	qps('pause', 50);
	verdict($id, 'none suspended', 'no shrinking');
	is(sql("SELECT status FROM qpsscale.status WHERE id = $id"), 'suspended',
		'the view shows it');
	is(sql("SELECT qpsscale_resume($id)"), '1', 'resumed');
	verdict($id, 'scale_down dynamic_scaling_scale_down', 'it acts again');

	sql("SELECT qpsscale_suspend($id,"
		  . " until => clock_timestamp() + '500 ms'::interval)");
	qps('pause', 300);
	wait_until('an end that was given is kept without anybody doing anything',
		sub { evaluate($node, $id)->{action} eq 'scale_up' }, 20);
};

subtest 'switches that turn everything into a dry run' => sub {
	my $id = group('switch', 300, desired => 2);
	my $since = log_position();

	sql('DELETE FROM qpsscale.armed');
	my $result = verdict($id, 'scale_up not_armed', 'not armed');
	ok($result->{dry_run}, 'so it is a dry run');
	is(activities($node, $id), 'dry_run 6', 'which is on record');
	sql("SELECT qpsscale_arm()");
	sql("UPDATE qpsscale.armed SET hosts = '{elsewhere}'");
	verdict($id, 'scale_up not_armed', 'armed on another host is not armed');
	sql('SELECT qpsscale_arm()');

	setting('qpsscale.enabled', 'off');
	$result = verdict($id, 'scale_up extension_disabled', 'switched off');
	ok($result->{dry_run}, 'so it is a dry run');
	setting('qpsscale.enabled', 'on');

	policy($id, 'enabled = false');
	$result = verdict($id, 'scale_up dynamic_scaling_scale_up', 'a disabled group');
	ok($result->{dry_run}, 'is evaluated as a dry run');
	is( sql("SELECT count(*) FROM qpsscale_evaluate() r"
			  . " WHERE (r ->> 'group_id')::bigint = $id"),
		'0', 'and only if it is asked for by name');
	is(writes('switch', $since), 0, 'the cloud heard nothing in all this');

	policy($id, 'enabled = true');
	verdict($id, 'scale_up dynamic_scaling_scale_up', 'live again');
	is(desired('switch'), 6, 'now it was told');
};

subtest 'the payload has every key of the first original' => sub {
	my $id = group('payload', 305, desired => 4, total => 3,
		max_scale_up_per_action => 2);
	my $result = evaluate($node, $id);
	my $execution = delete $result->{execution_result};
	my %expected = (
		action => 'scale_up',
		reason => 'dynamic_scaling_limited_scale_up',
		current_qps => 305,
		current_instances => 3,
		qps_per_instance => 76.25,
		target_qps_per_instance => 50,
		error => undef,
		alb_id => 'alb-payload',
		asg_id => 'asg-payload',
		scaling_amount => 2,
		optimal_instances => 7,
		required_change => 3);

	foreach my $key (sort keys %expected)
	{
		ok(exists $result->{$key}, "$key is there");
		is($result->{$key}, $expected{$key}, "and is right");
	}
	like($result->{timestamp}, qr/^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d/,
		'timestamp is a time');
	ok(!$result->{dry_run}, 'dry_run is false');
	ok($result->{limited_by_safety}, 'limited_by_safety is true');
	like($result->{activity_key}, qr/^$id-6-\d+-1$/,
		'activity_key is group, desired, bucket and attempt');
	is($execution->{status}, 'accepted', 'execution_result says what came of it');

	$result = evaluate($node, $id);
	my @missing = grep { !exists $result->{$_} } qw(timestamp action reason
	  current_qps current_instances qps_per_instance target_qps_per_instance
	  dry_run error execution_result alb_id asg_id scaling_amount
	  optimal_instances required_change limited_by_safety activity_key);
	is_deeply(\@missing, [], 'also when there was nothing to do');
};

subtest 'a group whose expected count is off' => sub {
	my $id = group('off', 100, desired => -1, total => 4);

	my $result = verdict($id, 'scale_down dynamic_scaling_scale_down',
		'four exist, two are needed');
	is("$result->{current_desired} $result->{desired_capacity}", '4 2',
		'the change is computed from what exists');
	is(desired('off'), 2, 'writing it turns the feature on');
	verdict($id, 'none optimal_instance_count_reached', 'and it is an ordinary group');
};

is($cloud->counters->{signature_failures}, 0, 'every request was signed well');

done_testing();
