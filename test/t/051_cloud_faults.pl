# A cloud that fails in every way the emulator knows, at each of the calls: it
# never shrinks or doubles a group, it is reported once and clearly, it costs
# no other group its evaluation, and nothing is left of it when it is over.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 0 },
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.request_timeout' => "'300ms'",
		'qpsscale.cycle_deadline' => "'1500ms'"
	});

# The worker's first tick, which nobody asked for, must be over.
wait_for($node, 'SELECT ticks >= 1 FROM qpsscale.stat_worker', 't',
	'the worker is there and waits');

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

sub desired { return $cloud->group("asg-$_[0]")->{desired}; }

sub log_position { return $cloud->control('GET', 'log?limit=1')->{last}; }

# One tick for all groups: asg_id => result.
sub tick
{
	return map { ($_->{asg_id} => $_) }
	  map { decode_json($_) } split(/\n/, sql('SELECT qpsscale_evaluate()'));
}

sub error_count
{
	my ($id) = @_;
	return sql("SELECT count(*) FROM qpsscale.errors WHERE resource_group_id = $id");
}

#
# Every kind of failure at every call.  Each call is struck in a region of its
# own, so that one tick meets the failure in all of them at once.
#
my %struck = (
	load => 'GetMetricData',
	capacity => 'DescribeScalingGroups',
	activities => 'DescribeScalingActivities',
	in_service => 'DescribeScalingInstances',
	set_capacity => 'ModifyScalingGroup');
my %id;

# Four instances serve what four should; "activities", "set_capacity" and the
# group that nothing happens to need six; "in_service" needs two of its 20,
# but from one moment to the next.
my %desired = (map({ ($_ => 4) } keys %struck, 'well'), in_service => 20);
my %needed = (load => 4, capacity => 4, activities => 6, in_service => 2,
	set_capacity => 6, well => 6);

foreach my $name (sort keys %needed)
{
	(my $region = "r-$name") =~ tr/_/-/;
	(my $slug = $name) =~ tr/_/-/;
	$id{$name} = add_group($node, $cloud, $slug, %at_once,
		region => $region, desired => $desired{$name},
		suspicious_drop_guard => $name eq 'in_service' ? 'true' : 'false');
	qps($slug, 50 * $needed{$name});
}

sub start_over
{
	foreach my $name (sort keys %needed)
	{
		(my $slug = $name) =~ tr/_/-/;
		$cloud->put_groups([ { id => "asg-$slug", alb_id => "alb-$slug",
					desired => $desired{$name}, max => 100 } ]);
	}
	sql("UPDATE qpsscale.state SET latest_qps = 1000, latest_qps_at = now(),"
		  . " reference_qps = NULL, drop_seen_at = NULL, latest_in_service = 20"
		  . " WHERE resource_group_id = $id{in_service}");
	sql('DELETE FROM qpsscale.errors');
	return;
}

# What is wrong with the groups now, in words; nothing, if all is well.
sub harm
{
	my @harm;

	foreach my $name (sort keys %needed)
	{
		(my $slug = $name) =~ tr/_/-/;
		my $now = desired($slug);
		next if $now == $desired{$name};
		next if $now == $needed{$name} && $name ne 'in_service';
		push @harm, "$name is at $now";
	}
	return @harm;
}

# harmless: the answer is complete and only looks odd, or comes late.
my @failures = (
	[ 'hang', 'hang', {} ],
	[ 'hang in the body', 'hang', { phase => 'body' } ],
	[ 'reset', 'reset', {} ],
	[ 'close', 'close', {} ],
	[ 'drip', 'drip', { interval_ms => 50, bytes => 1 } ],
	[ '429', 'status', { status => 429, retry_after => 1 } ],
	[ '429 with a long Retry-After', 'status',
		{ status => 429, retry_after => 3600 } ],
	[ '500', 'status', { status => 500 } ],
	[ '502', 'status', { status => 502 } ],
	[ '503', 'status', { status => 503 } ],
	[ '504', 'status', { status => 504 } ],
	[ '403', 'status', { status => 403 } ],
	[ '500 without JSON', 'status', { status => 500, text => 'oops' } ],
	[ 'error in HTTP 200', 'error_200', {} ],
	[ 'gateway', 'gateway', {} ],
	[ 'truncated', 'truncated', {} ],
	[ 'huge', 'huge', { mb => 20 } ],
	[ 'not UTF-8', 'non_utf8', {} ],
	[ 'wrong content type', 'wrong_content_type', {}, 'harmless' ],
	[ 'HTML', 'html', {} ],
	[ 'empty', 'empty', {} ],
	[ 'an empty object', 'body', { body => '{}' } ],
	[ 'an empty result', 'body',
		{ body => '{"ResponseMetadata":{"RequestId":"r"},"Result":{}}' } ],
	[ 'lost reply', 'lost_reply', {} ],
	[ 'lost reply with RST', 'lost_reply', { rst => JSON::PP::true } ],
	[ 'slow', 'delay', { ms => 100 }, 'harmless' ],
	[ 'too slow', 'delay', { ms => 1000 } ],
	[ 'too slow, applied late', 'delay',
		{ ms => 1000, apply_late => JSON::PP::true } ],
	[ 'deep', 'deep', {} ],
	[ 'redirect', 'redirect', {} ]);

sub strike
{
	my ($kind, $params) = @_;

	foreach my $name (sort keys %struck)
	{
		(my $region = "r-$name") =~ tr/_/-/;
		$cloud->fault({ kind => $kind, params => $params, times => -1,
				match => { action => $struck{$name}, region => $region } });
	}
	return;
}

foreach my $failure (@failures)
{
	my ($title, $kind, $params, $harmless) = @$failure;

	subtest "$title: at every call" => sub {
		start_over();
		strike($kind, $params);
		my %first = tick();
		is_deeply([ harm() ], [], 'no group shrank or doubled');
		is($first{'asg-well'}{execution_result}{status}, 'accepted',
			'the group that nothing happened to was scaled');
		is($first{'asg-in-service'}{reason}, 'suspicious_drop',
			'a sudden drop is held');
		unless ($harmless)
		{
			foreach my $name (sort keys %struck)
			{
				# an empty answer to a write, with metadata, says that it worked
				next if $name eq 'set_capacity' && $title eq 'an empty result';
				my $seen = sql("SELECT string_agg(source || ': ' || message, ' ; ')"
					  . " FROM qpsscale.errors WHERE resource_group_id = $id{$name}");
				like($seen, qr/^$name: \w[\w.]*: [^;]{10,}$/,
					"$name: one error, which says what happened");
				is( sql("SELECT last_error FROM qpsscale.state"
						  . " WHERE resource_group_id = $id{$name}"),
					$seen, "$name: and it is in state");
			}
			is($first{'asg-load'}{reason}, 'metrics_unavailable', 'load: held');
			is($first{'asg-capacity'}{reason}, 'metrics_unavailable',
				'capacity: held');
			is($first{'asg-activities'}{reason}, 'activity_check_failed',
				'activities: held');
		}

		tick();
		is_deeply([ harm() ], [], 'nor did one in the second tick');
		foreach my $name ($harmless ? () : qw(load capacity activities))
		{
			is(error_count($id{$name}), '1', "$name: still one error");
		}

		$cloud->clear_faults;
		my %last;
		wait_until(
			'when it is over every group gets where it should be',
			sub {
				%last = tick();
				return desired('activities') == 6 && desired('set-capacity') == 6
				  && sql("SELECT count(*) FROM qpsscale.activities"
						. " WHERE status IN ('requested', 'unknown')") eq '0';
			})
		  or diag(explain([ map { "$_ $last{$_}{reason}" } sort keys %last ]));
		tick();
		is( sql("SELECT string_agg(g.name || ': ' || s.last_error, ' ; ')"
				  . " FROM qpsscale.state s JOIN qpsscale.resource_groups g"
				  . " ON g.id = s.resource_group_id"
				  . " WHERE s.last_error IS NOT NULL OR s.consecutive_errors > 0"),
			'', 'and no error is left');
		is_deeply([ harm() ], [], 'all is well');
	};
}

is($cloud->counters->{signature_failures}, 0,
	'no answer has brought a signature out of step');
is( sql("SELECT count(*) FROM qpsscale.activities"
		  . " WHERE desired_capacity NOT IN (4, 6)"),
	'0', 'no number but 6 was ever asked for');

#
# Writes that are refused.
#
sql('UPDATE qpsscale.resource_groups SET enabled = false');

sub refuse
{
	my ($times, %params) = @_;
	$cloud->fault({ kind => 'status', times => $times,
			params => { status => 400, code => 'OperationDenied.Quota', %params },
			match => { action => 'ModifyScalingGroup' } });
	return;
}

sub breaker
{
	my ($id) = @_;
	return sql("SELECT consecutive_errors || ' '"
		  . " || CASE WHEN circuit_open_until > clock_timestamp()"
		  . " THEN 'open' ELSE 'closed' END"
		  . " FROM qpsscale.state WHERE resource_group_id = $id");
}

# The time that the circuit breaker waits for is over.
sub end_of_wait
{
	my ($id) = @_;
	sql("UPDATE qpsscale.state SET circuit_open_until = now() - '1 s'::interval"
		  . " WHERE resource_group_id = $id");
	return;
}

subtest '503, then success: a second attempt with a key of its own' => sub {
	my @keys;

	# The two may lie on both sides of the end of a bucket, which lasts 300 s;
	# the next two then do not.
	foreach my $try (1 .. 2)
	{
		my $id = add_group($node, $cloud, "again-$try", %at_once, desired => 2);

		qps("again-$try", 300);
		refuse(1, status => 503, code => 'ServiceUnavailableTemporarily');
		is(evaluate($node, $id)->{execution_result}{status}, 'failed',
			'the first attempt failed');
		is(evaluate($node, $id)->{execution_result}{status}, 'accepted',
			'the second was accepted');
		is(activities($node, $id), "failed 6\naccepted 6", 'both are on record');
		@keys = map { [ split(/-/, $_) ] } split(/\n/,
			sql("SELECT activity_key FROM qpsscale.activities"
				  . " WHERE resource_group_id = $id ORDER BY id"));
		last if $keys[0][2] == $keys[1][2];
	}
	is("$keys[0][2]", "$keys[1][2]", 'both lie in one bucket');
	is("$keys[0][3] $keys[1][3]", '1 2', 'the key counts the attempts');
};

subtest 'a refusal consumes no cooldown' => sub {
	my $id = add_group($node, $cloud, 'cool', desired => 2);

	qps('cool', 300);
	refuse(1);
	is(evaluate($node, $id)->{execution_result}{status}, 'failed', 'refused');
	is( sql("SELECT concat(last_action_at, last_scale_up_at, cooldown_until)"
			  . " FROM qpsscale.state WHERE resource_group_id = $id"),
		'', 'no time of an action is recorded');
	is(evaluate($node, $id)->{execution_result}{status}, 'accepted',
		'the next evaluation acts at once');
	qps('cool', 500);
	is(evaluate($node, $id)->{reason}, 'cooldown_general',
		'an accepted action does consume it');
};

subtest 'five refusals open the circuit breaker' => sub {
	my $id = add_group($node, $cloud, 'breaker', %at_once, desired => 2);
	my $since = log_position();

	qps('breaker', 300);
	refuse(-1);
	foreach my $n (1 .. 4)
	{
		evaluate($node, $id);
		is(breaker($id), "$n closed", "after refusal $n");
	}
	evaluate($node, $id);
	is(breaker($id), '5 open', 'the fifth opens it');
	my $result = evaluate($node, $id);
	is($result->{reason}, 'circuit_open', 'then nothing is tried');
	ok($result->{explanation}{blocked_until}, 'and it says until when');
	is(scalar(@{ $cloud->log($since, 'ModifyScalingGroup') }), 5,
		'five requests in six evaluations');
	is( sql("SELECT status FROM qpsscale.status WHERE id = $id"),
		'circuit open', 'the view shows it');

	end_of_wait($id);
	evaluate($node, $id);
	is(breaker($id), '6 open', 'one probe after the wait; refused, it waits');
	is( sql("SELECT circuit_open_until - now() > '90 s'::interval"
			  . " FROM qpsscale.state WHERE resource_group_id = $id"),
		't', 'twice as long as the first time');
	evaluate($node, $id);
	is(scalar(@{ $cloud->log($since, 'ModifyScalingGroup') }), 6,
		'and it was one probe only');

	$cloud->clear_faults;
	end_of_wait($id);
	is(evaluate($node, $id)->{execution_result}{status}, 'accepted',
		'the next probe succeeds');
	is(breaker($id), '0 closed', 'which closes it');
	is(desired('breaker'), 6, 'the group is where it should be');
};

subtest 'an operator can close it' => sub {
	my $id = add_group($node, $cloud, 'reset', %at_once, desired => 2);

	qps('reset', 300);
	refuse(5);
	evaluate($node, $id) foreach 1 .. 5;
	is(evaluate($node, $id)->{reason}, 'circuit_open', 'it is open');
	is(sql("SELECT qpsscale_reset_circuit($id)"), 't',
		'qpsscale_reset_circuit says that it was');
	is(breaker($id), '0 closed', 'it is closed');
	is(evaluate($node, $id)->{execution_result}{status}, 'accepted',
		'and the group acts at once');
	is(sql("SELECT qpsscale_reset_circuit($id)"), 'f',
		'a closed one was not open');
};

subtest 'a throttled write is tried again in the same tick' => sub {
	my $id = add_group($node, $cloud, 'throttled', %at_once, desired => 2);
	my $since = log_position();

	qps('throttled', 300);
	refuse(1, status => 429, code => 'FlowLimitExceeded', retry_after => 1);
	is(evaluate($node, $id)->{execution_result}{status}, 'accepted', 'accepted');
	my @writes = @{ $cloud->log($since, 'ModifyScalingGroup') };
	is_deeply([ map { $_->{status} } @writes ], [ 429, 200 ], 'two requests');
	cmp_ok($writes[1]{start} - $writes[0]{end}, '>=', 0.9,
		'as far apart as Retry-After asked for');
	is(activities($node, $id), 'accepted 6', 'one activity');
};

subtest 'a write without an answer is read back, not repeated blindly' => sub {
	my $id = add_group($node, $cloud, 'unknown', %at_once, desired => 2);
	my $since = log_position();

	qps('unknown', 300);
	$cloud->fault({ kind => 'lost_reply', times => 1,
			match => { action => 'ModifyScalingGroup' } });
	is(evaluate($node, $id)->{execution_result}{status}, 'unknown',
		'the outcome is unknown');
	is(desired('unknown'), 6, 'although it was carried out');
	evaluate($node, $id);
	like(activities($node, $id), qr/^(accepted|successful) 6$/,
		'reading the group back tells');
	is(scalar(@{ $cloud->log($since, 'ModifyScalingGroup') }), 1, 'one request');
};

done_testing();
