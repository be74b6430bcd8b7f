# What stops a group from trying in vain: the circuit breaker, and an intent
# that somebody else was faster with.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

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

# A group of two instances whose load takes six.
sub busy_group
{
	my ($name, %options) = @_;
	qps($name, 300);
	return add_group($node, $cloud, $name, %at_once, desired => 2, %options);
}

sub state_of
{
	my ($id, $columns) = @_;
	return sql("SELECT $columns FROM qpsscale.state WHERE resource_group_id = $id");
}

sub set_state
{
	my ($id, $changes) = @_;
	sql("UPDATE qpsscale.state SET $changes WHERE resource_group_id = $id");
	return;
}

sub desired { return $cloud->group("asg-$_[0]")->{desired}; }

sub log_position { return $cloud->control('GET', 'log?limit=1')->{last}; }

sub writes
{
	my ($since) = @_;
	return scalar @{ $cloud->log($since, 'ModifyScalingGroup') };
}

sub fail_writes
{
	my ($times, $kind, %params) = @_;
	$cloud->fault({ kind => $kind, times => $times, params => \%params,
			match => { action => 'ModifyScalingGroup' } });
	return;
}

subtest 'what could not be read does not open the circuit breaker' => sub {
	my $id = busy_group('unread');

	$cloud->fault({ kind => 'status', times => 7, params => { status => 403 },
			match => { action => 'DescribeScalingGroups' } });
	evaluate($node, $id) foreach 1 .. 7;
	is(state_of($id, 'consecutive_errors, failed_actions'), '7|0',
		'seven evaluations failed, and no action');
	fail_writes(1, 'status', status => 400);
	is(evaluate($node, $id)->{execution_result}{status}, 'failed',
		'then an action is refused');
	is(state_of($id, 'failed_actions, circuit_open_until'), '1|',
		'which is the first one');
	is(evaluate($node, $id)->{execution_result}{status}, 'accepted',
		'so the next one is tried at once');
};

subtest 'a rest in between does not forget the failures' => sub {
	my $id = busy_group('rest');

	fail_writes(5, 'status', status => 400);
	evaluate($node, $id) foreach 1 .. 4;
	qps('rest', 100);
	is(evaluate($node, $id)->{reason}, 'optimal_instance_count_reached',
		'for a while nothing is wanted');
	qps('rest', 300);
	evaluate($node, $id);
	is(state_of($id, 'failed_actions, circuit_open_until > now()'), '5|t',
		'the fifth refusal in a row opens the breaker all the same');
	is(evaluate($node, $id)->{explanation}{inputs}{history}{failed_actions}, 5,
		'the explanation says how many there were');
};

subtest 'an action that was carried out without an answer closes it' => sub {
	my $id = busy_group('landed');

	set_state($id, 'failed_actions = 4');
	fail_writes(1, 'lost_reply');
	is(evaluate($node, $id)->{execution_result}{status}, 'unknown', 'no answer');
	is(state_of($id, 'failed_actions, circuit_open_until > now()'), '5|t',
		'which counts as a failure');
	evaluate($node, $id);
	like(activities($node, $id), qr/^(accepted|successful) 6$/,
		'until reading back tells that it was none');
	is(state_of($id, 'failed_actions, circuit_open_until'), '0|', 'it is closed');
};

subtest 'a circuit left open by a clock that ran ahead' => sub {
	my $id = busy_group('ahead');

	set_state($id, "failed_actions = 5, circuit_open_until = now() + '1 year'::interval");
	is(evaluate($node, $id)->{reason}, 'circuit_open', 'is open');
	is( state_of($id, "circuit_open_until < now() + '76 min'::interval"),
		't', 'but from now on no longer than any other');
	my $until = state_of($id, 'circuit_open_until');
	evaluate($node, $id);
	is(state_of($id, 'circuit_open_until'), $until, 'and its end does not move');
};

subtest 'who was slower says so, and changes nothing' => sub {
	my $id = busy_group('race');
	my $since = log_position();

	# another evaluator's intent, committed just after the group was claimed
	open(my $other, '-|', 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
		"BEGIN; INSERT INTO qpsscale.activities (resource_group_id,"
		  . " activity_key, action, delta, desired_capacity, status, reason,"
		  . " eval_capacity, policy_version, evaluator_pid,"
		  . " evaluator_started_at) SELECT $id, 'other', 'scale_up', 3, 5,"
		  . " 'requested', 'test', 2, 1, pid, backend_start"
		  . " FROM pg_stat_activity WHERE pid = pg_backend_pid();"
		  . " DO \$\$ BEGIN FOR i IN 1 .. 600 LOOP"
		  . " EXIT WHEN EXISTS (SELECT FROM pg_locks WHERE NOT granted"
		  . " AND locktype = 'transactionid');"
		  . " PERFORM pg_sleep(0.05); END LOOP; END \$\$; COMMIT;"
		  . " SELECT pg_sleep(5)")
	  or die "psql: $!\n";
	wait_for($node, "SELECT count(*) FROM pg_stat_activity"
		  . " WHERE query LIKE 'BEGIN; INSERT INTO qpsscale.activities%'"
		  . " AND wait_event = 'PgSleep'", '1',
		'another evaluator is about to commit its intent');
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{reason}", 'none activity_in_flight',
		'it does not act');
	is($result->{execution_result}, undef, 'and says nothing else');
	is(writes($since), 0, 'nothing was sent');
	is(activities($node, $id), 'requested 5', 'the other intent is the only one');
	is( sql("SELECT string_agg(action || ' ' || reason, ',')"
			  . " FROM qpsscale.evaluations WHERE resource_group_id = $id"),
		'none activity_in_flight', 'the ledger says so too');
	close($other);
};

subtest 'an activity names the evaluation that explains it' => sub {
	my $id = busy_group('why', boot_delay => 1);

	evaluate($node, $id);
	is( sql("SELECT e.action || ' ' || e.desired FROM qpsscale.activities a"
			  . ' JOIN qpsscale.evaluations e ON e.id = a.evaluation_id'
			  . " WHERE a.resource_group_id = $id"),
		'scale_up 6', 'it is the one that decided it');
	wait_until('the instances come into service',
		sub { evaluate($node, $id); activities($node, $id) eq 'successful 6' });
	is( sql("SELECT in_service_seconds BETWEEN 0.9 AND 60"
			  . " FROM qpsscale.activities WHERE resource_group_id = $id"),
		't', 'and how long that took is on record');
	qps('why', 100);
	evaluate($node, $id) foreach 1 .. 2;
	wait_until('so do the ones that go', sub {
		evaluate($node, $id);
		activities($node, $id) eq "successful 6\nsuccessful 2";
	});
	is( sql("SELECT count(in_service_seconds) FROM qpsscale.activities"
			  . " WHERE resource_group_id = $id"),
		'1', 'but nobody boots there');
};

subtest 'an accepted action of the future is not waited for' => sub {
	my $id = busy_group('future', boot_delay => 600);

	evaluate($node, $id);
	sql("UPDATE qpsscale.activities SET accepted_at = now() + '1 year'::interval,"
		  . " requested_at = now() + '1 year'::interval"
		  . " WHERE resource_group_id = $id");
	evaluate($node, $id);
	is(activities($node, $id), 'failed 6', 'nobody can tell how old it is');
};

$node->stop;
done_testing();
