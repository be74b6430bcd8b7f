# A group that is driven by more than requests per second: each signal proposes,
# the highest wins, and what is missing shrinks nothing.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.interval' => "'1h'" });

sub sql { return $node->safe_psql('postgres', $_[0]); }

# No cooldowns, no window: what follows is about signals.
my %at_once = (scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0, general_cooldown_seconds => 0,
	scale_down_window_seconds => 0, suspicious_drop_guard => 'false');

# What the queries read: one number for each group, changed by say().
sql('CREATE TABLE said (name text PRIMARY KEY, value double precision)');

sub say
{
	my ($name, $value) = @_;

	sql("INSERT INTO said VALUES ('$name', $value)"
		  . " ON CONFLICT (name) DO UPDATE SET value = excluded.value");
	return;
}

# A signal that reads what say() has left under the group's and its own name.
sub add_signal
{
	my ($id, $name, %opts) = @_;
	my %row = (resource_group_id => $id, name => $name, source => 'sql',
		query => "SELECT value FROM public.said WHERE name = '$id/$name'",
		%opts);
	my @columns = sort keys %row;

	sql('INSERT INTO qpsscale.signals (' . join(', ', @columns)
		  . ') VALUES ('
		  . join(', ', map { my $v = $row{$_} =~ s/'/''/gr; "'$v'" } @columns)
		  . ')');
	return;
}

# A group with 200 QPS, which take 4 of its instances.
sub add_busy
{
	my ($name, %opts) = @_;
	my $id = add_group($node, $cloud, $name, %at_once, boot_delay => 0,
		desired => 4, %opts);

	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 200 });
	return $id;
}

sub verdict
{
	my ($result) = @_;

	return join(' ', $result->{action}, $result->{reason},
		$result->{desired_capacity} // 'null');
}

sub why
{
	my ($id) = @_;

	return sql("SELECT summary FROM qpsscale_why($id)");
}

subtest 'the highest proposal wins, and the explanation names each' => sub {
	my $id = add_busy('queue');

	add_signal($id, 'queue', target => 100);
	say("$id/queue", 830);
	my $result = evaluate($node, $id);
	is(verdict($result), 'scale_up dynamic_scaling_scale_up 9',
		'830 entries at 100 each take nine')
	  or diag(encode_json($result));
	is($result->{explanation}{winner}, 'queue', 'the queue won');
	is_deeply([ map { "$_->{source} $_->{instances}" }
			@{ $result->{explanation}{proposals} } ],
		[ 'qps 4', 'queue 9' ], 'both proposals are on record');
	is($result->{signals}[0]{value}, 830, 'and what the signal said');
	like(why($id), qr/queue was 830 at a target of 100: that takes 9 \(wins\)/,
		'in words, too');
	is(sql("SELECT latest_value, missing_since IS NULL, last_error IS NULL"
			  . " FROM qpsscale.signal_state WHERE resource_group_id = $id"),
		'830|t|t', 'the last value is kept');
	say("$id/queue", 100);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 4',
		'when it is short the requests decide');
};

subtest 'a group without a load balancer is driven by its signals' => sub {
	my $id = add_busy('only', alb_id => undef, target_qps => undef,
		enabled => 'false');

	add_signal($id, 'queue', target => 100);
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	say("$id/queue", 600);
	$cloud->reset_log;
	my $result = evaluate($node, $id);
	is(verdict($result), 'scale_up dynamic_scaling_scale_up 6', 'it grows')
	  or diag(encode_json($result));
	is(scalar(grep { $_->{action} =~ /Metric/ } @{ $cloud->log(0) }), 0,
		'no metric of the cloud is asked for');
	is($result->{current_qps}, undef, 'no load is made up');
	like(why($id), qr/Requests do not drive the group/, 'and that is said');
	say("$id/queue", 200);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 2',
		'it shrinks');
};

subtest 'a required signal that is missing never shrinks a group' => sub {
	my $id = add_busy('blind', desired => 6);

	add_signal($id, 'queue', target => 100);
	my $result = evaluate($node, $id);
	is(verdict($result), 'none signal_missing 6', 'no row: nothing is taken away')
	  or diag(encode_json($result));
	my ($left_out) = @{ $result->{explanation}{exclusions} // [] };
	is($left_out->{source}, 'queue', 'the signal is named');
	is($left_out->{why}, 'no_data', 'why it was left out');
	ok($left_out->{holds}, 'and that it holds the group');
	like(why($id), qr/queue was left out \(no data since .*\) and keeps the group from shrinking/,
		'in words, too');
	like(why($id), qr/Signals now: queue missing since /, 'and what is now');

	say("$id/queue", "'NaN'");
	is(verdict(evaluate($node, $id)), 'none signal_missing 6', 'nor NaN');
	sql("UPDATE qpsscale.signals SET query = 'SELECT 1/0' WHERE resource_group_id = $id");
	$result = evaluate($node, $id);
	is($result->{desired_capacity}, 6, 'nor an error');
	like($result->{signals}[0]{error}, qr/division by zero/, 'which is shown');
	is(sql("SELECT last_error ~ 'division by zero' FROM qpsscale.signal_state"
			  . " WHERE resource_group_id = $id"), 't', 'and kept');

	# requests may grow it all the same
	$cloud->set_traffic('alb-blind', { kind => 'constant', qps => 405 });
	is(verdict(evaluate($node, $id)), 'scale_up dynamic_scaling_scale_up 9',
		'growing needs it not');
	is(sql("SELECT count(*) > 0 FROM qpsscale.evaluations WHERE resource_group_id = $id"
			  . " AND explanation ? 'exclusions'"), 't',
		'the exclusion is in the audit trail');
};

subtest 'an empty answer is zero where the policy says so' => sub {
	my $id = add_busy('zero', alb_id => undef, target_qps => undef,
		enabled => 'false', desired => 3);

	add_signal($id, 'queue', target => 100, empty_means => 'zero');
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 0',
		'no row in the queue: no instance');
	say("$id/queue", 1);
	is(verdict(evaluate($node, $id)), 'scale_up dynamic_scaling_scale_up 1',
		'one row: one instance');
	sql("UPDATE qpsscale.signals SET activation = 10 WHERE resource_group_id = $id");
	say("$id/queue", 0);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 0',
		'none once more');
	say("$id/queue", 10);
	is(evaluate($node, $id)->{action}, 'none', 'ten do not start it');
	say("$id/queue", 11);
	is(verdict(evaluate($node, $id)), 'scale_up dynamic_scaling_scale_up 1',
		'eleven do');
};

subtest 'an optional signal holds for a while, then the others decide' => sub {
	my $id = add_busy('optional', desired => 6);

	add_signal($id, 'queue', target => 100, role => 'optional',
		hold_seconds => 3600);
	my $result = evaluate($node, $id);
	is(verdict($result), 'none signal_missing 6', 'it holds')
	  or diag(encode_json($result));
	sql("UPDATE qpsscale.signal_state SET missing_since = missing_since - interval '1 hour'"
		  . " WHERE resource_group_id = $id");
	$result = evaluate($node, $id);
	is(verdict($result), 'scale_down dynamic_scaling_scale_down 4',
		'an hour later it does not') or diag(encode_json($result));
	my ($left_out) = @{ $result->{explanation}{exclusions} // [] };
	ok($left_out && !$left_out->{holds}, 'and the explanation still names it');
};

subtest 'a fallback is one more proposal' => sub {
	my $id = add_busy('fallback');

	add_signal($id, 'queue', target => 100, fallback_instances => 7);
	is(evaluate($node, $id)->{action}, 'none', 'at first nothing happens');
	sql("UPDATE qpsscale.signal_state SET missing_since = missing_since - interval '301 s'"
		  . " WHERE resource_group_id = $id;"
		  . "UPDATE qpsscale.state SET last_evaluated_at = last_evaluated_at - interval '301 s'"
		  . " WHERE resource_group_id = $id");
	my $result = evaluate($node, $id);
	is(verdict($result), 'scale_up dynamic_scaling_scale_up 7',
		'five minutes later it is proposed') or diag(encode_json($result));
	is($result->{explanation}{winner}, 'queue_fallback', 'by its name');
	is(sql("SELECT type, status FROM qpsscale.alerts WHERE resource_group_id = $id"
			  . " AND type = 'qpsscale.signal.missing'"),
		'qpsscale.signal.missing|firing', 'and somebody is told');
	say("$id/queue", 100);
	evaluate($node, $id);
	is(sql("SELECT status FROM qpsscale.alerts WHERE resource_group_id = $id"
			  . " AND type = 'qpsscale.signal.missing'"),
		'resolved', 'also when it is over');
};

subtest 'a veto is asked only of a group that would shrink, and stops it' => sub {
	my $id = add_busy('veto');

	add_signal($id, 'latency', target => 0.5, role => 'veto');
	my $result = evaluate($node, $id);
	is($result->{signals}[0]{state}, 'not_asked', 'not asked without need')
	  or diag(encode_json($result));
	$cloud->set_traffic('alb-veto', { kind => 'constant', qps => 100 });
	say("$id/latency", 0.7);
	is(verdict(evaluate($node, $id)), 'none vetoed 4', 'too high: it stays');
	sql("DELETE FROM said WHERE name = '$id/latency'");
	$result = evaluate($node, $id);
	is($result->{desired_capacity}, 4, 'missing: it stays');
	say("$id/latency", 0.3);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 2',
		'low: it shrinks');
};

subtest 'a schedule bounds what signals ask for' => sub {
	my $id = add_busy('calendar');

	sql("INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration, min_instances)"
		  . " VALUES ($id, 'sale', '00:00', '2 days', 6)");
	my $result = evaluate($node, $id);
	is($result->{desired_capacity}, 6, 'the floor raises it')
	  or diag(encode_json($result));
	is($result->{explanation}{inputs}{policy}{schedule_min}{schedule}, 'sale',
		'by its name');
	like(why($id), qr/"sale"/, 'in words, too');
	sql("UPDATE qpsscale.schedules SET min_instances = NULL, max_instances = 3"
		  . " WHERE resource_group_id = $id");
	is(evaluate($node, $id)->{desired_capacity}, 3, 'the cap lowers it');
	sql("SELECT qpsscale_delete_schedule($id, 'sale')");
	is(evaluate($node, $id)->{desired_capacity}, 4, 'without it the load decides');
};

subtest 'rates count what was changed before' => sub {
	my $id = add_busy('rate', scale_up_rates => '{2 per 600 s}');

	$cloud->set_traffic('alb-rate', { kind => 'constant', qps => 1000 });
	my $result = evaluate($node, $id);
	is($result->{desired_capacity}, 6, 'two are added')
	  or diag(encode_json($result));
	is(verdict(evaluate($node, $id)), 'none rate_limited 6',
		'and no more within ten minutes');
	sql("UPDATE qpsscale.activities SET accepted_at = accepted_at - interval '11 minutes'"
		  . " WHERE resource_group_id = $id");
	is(evaluate($node, $id)->{desired_capacity}, 8, 'then the next two');
	sql("UPDATE qpsscale.activities SET accepted_at = accepted_at - interval '11 minutes'"
		  . " WHERE resource_group_id = $id");
	$cloud->patch_group('asg-rate', { desired => 9 });
	is(evaluate($node, $id)->{desired_capacity}, 10, 'one that somebody else added counts, too');
};

subtest 'n of m observations must agree' => sub {
	my $id = add_busy('confirm', scale_up_confirm_n => 2,
		scale_up_confirm_m => 3, alb_id => undef, target_qps => undef,
		enabled => 'false');

	add_signal($id, 'queue', target => 100);
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	say("$id/queue", 700);
	my $result = evaluate($node, $id);
	is(verdict($result), 'none confirming 4', 'once is not enough')
	  or diag(encode_json($result));
	is($result->{explanation}{confirmation}{seen}, 1, 'and that is said');
	is(sql("SELECT confirmed_up, confirmed_base FROM qpsscale.state WHERE resource_group_id = $id"),
		'1|4', 'the observation is kept');
	is(verdict(evaluate($node, $id)), 'scale_up dynamic_scaling_scale_up 7',
		'twice is');
};

subtest 'a steady group has a window, and its rows are updated in place' => sub {
	my $id = add_busy('steady', alb_id => undef, target_qps => undef,
		enabled => 'false', scale_down_window_seconds => 300);

	add_signal($id, 'queue', target => 100);
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	say("$id/queue", 400);
	evaluate($node, $id) foreach 1 .. 3;
	is(sql("SELECT recommended, recommended_until FROM qpsscale.state WHERE resource_group_id = $id"),
		'{4}|{infinity}', 'four are recommended until now');
	is(sql("SELECT count(*) FROM qpsscale.evaluations WHERE resource_group_id = $id"),
		'1', 'three evaluations make one row');
	say("$id/queue", 100);
	is(verdict(evaluate($node, $id)), 'none scale_down_stabilizing 4',
		'a shorter queue must last');

	# values that change, and a signal that goes and comes, are no new rows
	sql("SELECT pg_stat_force_next_flush()");
	my $updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
	  . " WHERE relid = 'qpsscale.signal_state'::regclass";
	foreach my $value (401 .. 420)
	{
		say("$id/queue", $value);
		evaluate($node, $id);
	}
	is(sql("SELECT count(*) FROM qpsscale.signal_state WHERE resource_group_id = $id"),
		'1', 'the state of a signal is one row');
	wait_for($node, "SELECT n_tup_upd >= 20 AND n_tup_hot_upd >= n_tup_upd * 0.9"
		  . " FROM pg_stat_user_tables WHERE relid = 'qpsscale.signal_state'::regclass",
		't', 'and is updated in place');
};

subtest 'what is missing is a verdict of its own, who wins is not' => sub {
	my $id = add_busy('audit');

	add_signal($id, 'queue', target => 100);
	say("$id/queue", 390);
	evaluate($node, $id);
	my $count = "SELECT count(*) FROM qpsscale.evaluations WHERE resource_group_id = $id";
	my $before = sql($count);
	say("$id/queue", 310);
	evaluate($node, $id);
	is(sql($count), $before, 'another value is none');
	sql("DELETE FROM said WHERE name = '$id/queue'");
	evaluate($node, $id) foreach 1 .. 3;
	is(sql($count), $before + 1, 'that it is missing is one, once');
	is(sql("SELECT signals FROM qpsscale.status WHERE id = $id"),
		'queue missing', 'people see it in the status');
	my $gone = sql('SELECT clock_timestamp()');
	say("$id/queue", 310);
	evaluate($node, $id);
	is(sql($count), $before + 2, 'that it is back, too');
	like(sql("SELECT summary FROM qpsscale_why($id, '$gone')"),
		qr/queue was left out \(no data/, 'and of that moment it is told');
};

subtest 'signals of a disabled group and signals that are off are not asked' => sub {
	my $id = add_busy('off');

	add_signal($id, 'queue', target => 100, enabled => 'false',
		query => 'SELECT 1/0');
	is_deeply(evaluate($node, $id)->{signals}, [], 'it is not there');
	is(sql("SELECT count(*) FROM qpsscale.signal_state WHERE resource_group_id = $id"),
		'0', 'nor in the tables');
};

subtest 'validate has a row for each signal' => sub {
	my $id = add_busy('checked');

	add_signal($id, 'queue', target => 100);
	add_signal($id, 'latency', target => 0.5, role => 'veto');
	add_signal($id, 'broken', target => 1, query => 'SELECT no_such_column');
	say("$id/queue", 250);
	sql("INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration, min_instances, max_instances)"
		  . " VALUES ($id, 'sale', '00:00', '2 days', 6, NULL), ($id, 'night', '00:00', '2 days', NULL, 3)");
	my %row = map { my @c = split /\|/; $c[0] => \@c } split /\n/,
	  sql("SELECT check_name, status, detail FROM qpsscale_validate($id)");
	is($row{'signal queue'}[1], 'ok', 'what is known');
	like($row{'signal queue'}[2], qr/sql says 250/, 'with its value');
	is($row{'signal latency'}[1], 'warn', 'what has no data, a veto too');
	is($row{'signal broken'}[1], 'fail', 'what cannot be asked');
	like($row{'signal broken'}[2], qr/no_such_column/, 'with the error');
	is($row{schedules}[1], 'warn', 'schedules that contradict each other');
};

$node->stop;
done_testing();
