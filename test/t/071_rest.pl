# What HTTP calls, by SQL: requests as objects, answers in the second original's
# words, and the SQLSTATEs that become statuses.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $cloud) =
  QpsscaleNode->start(settings => { 'qpsscale.interval' => "'1h'" });
my $uuid = qr/^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?\+00:00$/;

sub sql
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# The answer, or a text with SQLSTATE, message, detail and hint.
sub call
{
	my ($function, $request, $role) = @_;
	my $json = ref $request ? encode_json($request) : $request;
	my ($out, $err) = ('', '');

	$node->psql('postgres',
		"\\set VERBOSITY verbose\nSET timezone = 'Asia/Kolkata';\n"
		  . ($role ? "SET ROLE $role;\n" : '')
		  . "SELECT qpsscale.http_$function(\$q\$$json\$q\$)",
		stdout => \$out, stderr => \$err);
	return $err if $err =~ /ERROR: /;
	return $function eq 'metrics' ? $out : decode_json($out);
}

sub detail_of
{
	my ($error) = @_;
	my ($detail) = $error =~ /^DETAIL:  (.*)$/m;

	return decode_json($detail // '{}');
}

sub is_number
{
	my ($value) = @_;

	return defined $value && encode_json([$value]) =~ /^\[-?[0-9.]+\]$/;
}

my $web = add_group($node, $cloud, 'web', desired => 4, min => 1, max => 20,
	boot_delay => 0);
my $web_uuid = sql("SELECT uuid FROM qpsscale.resource_groups WHERE id = $web");
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 300 });

# ---- deciding ----

like(call('decide', { resource_id => $web_uuid }), qr/ERROR:  55000: .*never been evaluated/,
	'what was never looked at is not decided on');
evaluate($node, $web, 'true');
my $decision = call('decide', { resource_id => $web_uuid, use_prediction => JSON::PP::false });
like($decision->{id}, $uuid, 'a decision has an id');
is_deeply([ @$decision{qw(resource_id decision_type current_instances target_instances)} ],
	[ $web_uuid, 'scaleup', 4, 6 ], 'and says what would be done');
like($decision->{reason}, qr/^Scaling up from 4 to 6 instances\. The load needs more .*[a-z]\.$/, 'and why, in words');
unlike($decision->{reason}, qr/nothing is to be done/, 'without what somebody reads at night');
is($decision->{reason_code}, 'dynamic_scaling_scale_up', 'and as a word');
like($decision->{created_at}, $time, 'and when, in UTC');
is($decision->{executed}, JSON::PP::false, 'and that it was not done');
ok(is_number($decision->{confidence}), 'confidence is a number');
is_deeply([ @$decision{qw(confidence predicted)} ], [ 0.5, JSON::PP::false ],
	'0.5 where no forecast was used, and that is said');
ok(exists $decision->{estimated_cost}, 'the cost has its place');
like($decision->{expires_at}, $time, 'and until when it can be executed');
is(call('decide', { resource_id => $_ })->{resource_id}, $web_uuid,
	"a group is found by $_")
  foreach ($web, "$web", 'asg-web', uc $web_uuid);
is(call('decide', { resource_id => $web, overrides => { qps => 900 } })->{target_instances},
	18, 'what if there were three times the load?');
is(call('decide', { resource_id => $web, future_field => 1 })->{decision_type},
	'scaleup', 'a member that nobody knows is ignored');

my %wrong = (
	'{"resource_id": "00000000-0000-4000-8000-000000000000"}' => 'P0002',
	'{"resource_id": "nobody"}' => 'P0002',
	'{"resource_id": 4711}' => 'P0002',
	'{"resource_id": -1}' => '22P02',
	'{"resource_id": 1.5}' => '22P02',
	'{"resource_id": []}' => '22P02',
	'{"resource_id": null}' => '22P02',
	'{}' => '22P02',
	'[]' => '22P02',
	'null' => '22P02',
	'"x"' => '22P02',
	'{"resource_id"' => '22P02',
	qq({"resource_id": $web, "use_prediction": "yes"}) => '22P02',
	qq({"resource_id": $web, "use_prediction": 1}) => '22P02',
	qq({"resource_id": $web, "overrides": []}) => '22023',
	qq({"resource_id": $web, "overrides": {"owner": "x"}}) => '22023',
	qq({"resource_id": $web, "overrides": {"target_qps": -1}}) => '22023');
like(call('decide', $_), qr/ERROR:  $wrong{$_}: /, "decide $_: $wrong{$_}")
  foreach sort keys %wrong;

# what was seen of processors and memory is told in the form of the contract
sub reason_with
{
	my ($signals) = @_;

	return sql("INSERT INTO qpsscale.decisions AS d (resource_group_id, expires_at, action, current_instances,"
		  . " desired_instances, reason, explanation, observed_at, policy_version)"
		  . " VALUES ($web, now(), 'scale_up', 4, 6, 'signal_scale_up', '{\"summary\": \"So it is.\","
		  . " \"inputs\": {\"signals\": $signals}}', now(), 1) RETURNING qpsscale.decision_reason(d)");
}
is(reason_with('[{"name": "memory", "value": 70, "target": 80}, {"name": "cpu", "value": 85.126, "target": 60}, {"name": "queue", "value": 3, "target": 1}]'),
	'Scaling up from 4 to 6 instances. CPU: 85.13%, Memory: 70%. Target CPU: 60%, Memory: 80%. So it is.',
	'use of processors and memory');
is(reason_with('[{"name": "cpu", "value": 50, "predicted": 85, "target": 60}]'),
	'Scaling up from 4 to 6 instances. Predicted CPU: 85%. Target CPU: 60%. So it is.',
	'what a forecast says of it');
is(reason_with($_), 'Scaling up from 4 to 6 instances. So it is.', "nothing of $_")
  foreach ('[]', '[{"name": "cpu", "target": 60, "error": "gone"}]', 'null', '{}');

# ---- executing ----

my $answer = call('execute', { decision_id => $decision->{id} });
is($answer->{success}, JSON::PP::true, 'it is carried out');
my $event = $answer->{event};
like($event->{id}, $uuid, 'the event has an id');
is_deeply([ @$event{qw(resource_id decision_id action previous_instances new_instances success error_message)} ],
	[ $web_uuid, $decision->{id}, 'ScaleUp', 4, 6, JSON::PP::true, undef ],
	'and tells what was done');
ok(is_number($event->{execution_time_ms}) && $event->{execution_time_ms} >= 0,
	'and how long that took');
is($answer->{execution_time_ms}, $event->{execution_time_ms}, 'once more beside it');
like($event->{created_at}, $time, 'and when, in UTC');
is($cloud->group('asg-web')->{desired}, 6, 'the cloud has the number');
is_deeply(call('execute', { decision_id => $decision->{id} })->{event}, $event,
	'asked again it answers the same event');

# ---- the cooldown is consumed by acting: then 429 ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 600 });
evaluate($node, $web, 'true');
my $before = sql('SELECT count(*) FROM qpsscale.decisions');
my $refused = call('decide', { resource_id => $web_uuid });
like($refused, qr/ERROR:  QS006: Resource is in cooldown period/,
	'within the cooldown after an action no other is decided');
is(detail_of($refused)->{resource_id}, $web_uuid, 'the answer names the resource');
cmp_ok(detail_of($refused)->{retry_after_seconds} // 0, '>', 0, 'and when to come back');
like(detail_of($refused)->{retry_at}, $time, 'also as a time');
is(sql('SELECT count(*) FROM qpsscale.decisions'), $before, 'and nothing is recorded');
is(call('decide', { resource_id => $web, overrides => { qps => 600 } })->{decision_type},
	'noaction', 'a what-if is answered anyway');

# ---- nothing to do ----

my $calm = add_group($node, $cloud, 'calm', desired => 2, min => 1, max => 20);
$cloud->set_traffic('alb-calm', { kind => 'constant', qps => 100 });
evaluate($node, $calm, 'true');
my $nothing = call('decide', { resource_id => 'asg-calm' });
is_deeply([ @$nothing{qw(decision_type current_instances target_instances)} ],
	[ 'noaction', 2, 2 ], 'where all is well nothing is to be done');
like($nothing->{reason}, qr/^No scaling: 2 instances stay\. /, 'as the reason says');
is_deeply(call('execute', { decision_id => $nothing->{id} }),
	{ message => 'No scaling action required' }, 'and that is no error to execute');

# ---- what cannot be executed ----

like(call('execute', $_->[0]), qr/ERROR:  $_->[1]: /, "execute: $_->[1]")
  foreach (
	[ '{}', '22P02' ],
	[ '{"decision_id": "x"}', '22P02' ],
	[ '{"decision_id": 1}', '22P02' ],
	[ '{"decision_id": "00000000-0000-4000-8000-000000000000"}', 'P0002' ]);
my $api = add_group($node, $cloud, 'api', desired => 2, min => 1, max => 20,
	boot_delay => 0);
$cloud->set_traffic('alb-api', { kind => 'constant', qps => 250 });
evaluate($node, $api, 'true');
my $moved = call('decide', { resource_id => $api });
sql("UPDATE qpsscale.decisions SET expires_at = now() WHERE id = '$moved->{id}'");
like(call('execute', { decision_id => $moved->{id} }), qr/ERROR:  QS003: /, 'one that has expired');
$moved = call('decide', { resource_id => $api });
$cloud->patch_group('asg-api', { desired => 3 });
like(call('execute', { decision_id => $moved->{id} }), qr/ERROR:  QS004: /, 'one whose capacity moved');
$cloud->patch_group('asg-api', { desired => 2 });

$moved = call('decide', { resource_id => $api, use_prediction => undef });
like(call('execute', { decision_id => $moved->{id} }), qr/ERROR:  QS006: .*cooldown_general/,
	'one that a cooldown forbids by now');

# the cloud refuses: the event says so
my $poor = add_group($node, $cloud, 'poor', desired => 2, min => 1, max => 20,
	boot_delay => 0);
$cloud->set_traffic('alb-poor', { kind => 'constant', qps => 250 });
evaluate($node, $poor, 'true');
my $refusal = call('decide', { resource_id => $poor });
$cloud->fault({ kind => 'status', times => 5,
		params => { status => 400, code => 'OperationDenied.Quota' },
		match => { action => 'ModifyScalingGroup' } });
my $failed = call('execute', { decision_id => $refusal->{id} });
like($failed, qr/ERROR:  QS007: /, 'a refusal by the cloud is an error');
is_deeply([ @{ detail_of($failed)->{event} }{qw(action success decision_id)} ],
	[ 'ScaleUp', JSON::PP::false, $refusal->{id} ], 'that comes with the event');
ok(detail_of($failed)->{event}{error_message}, 'and with what the cloud said');
is(sql("SELECT status FROM qpsscale.activities WHERE decision_id = '$refusal->{id}'"),
	'failed', 'which stays in the history');

# ---- history ----

sql("INSERT INTO qpsscale.activities (resource_group_id, activity_key, action, delta,"
	  . " desired_capacity, status, reason, eval_capacity, policy_version)"
	  . " SELECT $calm, 'test-' || i, 'scale_up', 1, 3, 'dry_run', 'dynamic_scaling_scale_up', 2, 1"
	  . " FROM generate_series(1, 120) i");
my $history = call('history', { resource_id => $web_uuid });
is_deeply([ @$history{qw(count limit offset)} ],
	[ scalar @{ $history->{events} }, 50, 0 ], 'a page has 50 events unless asked');
my ($again) = grep { ($_->{decision_id} // '') eq $decision->{id} } @{ $history->{events} };
is_deeply([ @$again{qw(id action created_at)} ], [ @$event{qw(id action created_at)} ],
	'and an event is what execute answered');
$history = call('history', { resource_id => "$calm" });
is_deeply([ $history->{count}, scalar @{ $history->{events} } ], [ 50, 50 ], 'a full page');
my $second = call('history', { resource_id => "$calm", before_id => "$history->{next}" });
my $offset = call('history', { resource_id => "$calm", offset => '50', limit => '50' });
is_deeply($second->{events}, $offset->{events}, 'the next page by key is that by offset');
my $third = call('history', { resource_id => "$calm", before_id => $second->{next} });
is_deeply([ $third->{count}, $third->{next} ], [ 20, undef ], 'the last page says so');
my @ids = map { $_->{activity_id} } map { @{ $_->{events} } } $history, $second, $third;
is_deeply(\@ids, [ sort { $b <=> $a } @ids ], 'newest first');
is(scalar @ids, 120, 'and each once');
is(call('history', { limit => 1000 })->{count},
	sql('SELECT count(*) FROM qpsscale.activities'), 'without a group: of all');
is(call('history', { limit => '100000000000' })->{limit}, 1000, 'a page has at most 1000');
is(call('history', {})->{events}[0]{success}, undef, 'a dry run neither succeeded nor failed');
like(call('history', $_->[0]), qr/ERROR:  $_->[1]: /, "history $_->[0]: $_->[1]")
  foreach (
	[ '{"limit": 0}', '22023' ],
	[ '{"limit": "-5"}', '22023' ],
	[ '{"limit": "many"}', '22P02' ],
	[ '{"limit": "1.5"}', '22P02' ],
	[ '{"offset": -1}', '22023' ],
	[ '{"offset": 100001}', '22023' ],
	[ '{"before_id": "x"}', '22P02' ],
	[ '{"resource_id": "nobody"}', 'P0002' ]);

# ---- costs, health ----

my $cost = call('estimate', { resource_id => $web_uuid, instance_count => 5 });
is($cost->{instance_count}, 5, 'costs are those of the number asked');
ok(exists $cost->{$_}, "$_ has its place")
  foreach qw(hourly_cost daily_cost monthly_cost instance_type);
is($cost->{hourly_cost}, undef, 'what has no price costs null');
like($cost->{unpriced}, qr/neither hourly_price nor instance_type/, 'and says why');
like(call('estimate', { resource_id => $web, instance_count => -1 }),
	qr/ERROR:  22023: /, 'fewer than none have no cost');
like(call('estimate', { instance_count => 1 }), qr/ERROR:  22P02: /, 'nor has no group');
my $health = call('health', {});
like($health->{status}, qr/^(healthy|degraded|unhealthy)$/, 'health is one of three words');
is($health->{service}, 'scaler', 'of the service');
like($health->{timestamp}, $time, 'as of now');
is_deeply([ sort keys %$health ], [qw(service status timestamp)],
	'to whom nobody knows it says no more');
like(call('metrics', {}), qr/^# TYPE qpsscale_\w+ /m, 'metrics are text');

# ---- rights are those of the caller ----

sql(<<'SQL');
CREATE ROLE watcher;
SELECT qpsscale_grant('watcher', 'reader');
CREATE ROLE neighbour;
SELECT qpsscale_grant('neighbour', 'operator');
SQL
like(call('decide', { resource_id => $web }, 'watcher'), qr/ERROR:  42501: /, 'a reader does not decide');
like(call('execute', { decision_id => $decision->{id} }, 'watcher'), qr/ERROR:  42501: /, 'nor execute');
cmp_ok(call('history', { resource_id => $web }, 'watcher')->{count}, '>', 0, 'but reads the history');
like(call('decide', { resource_id => $web }, 'neighbour'), qr/ERROR:  42501: /,
	'an operator does not decide for groups of others');
like(call('execute', { decision_id => $decision->{id} }, 'neighbour'), qr/ERROR:  42501: /,
	'nor execute for them');

# ---- however long the history is, a page is read by an index ----

sql("INSERT INTO qpsscale.activities (resource_group_id, activity_key, action, delta,"
	  . " desired_capacity, status, reason, eval_capacity, policy_version)"
	  . " SELECT 100 + i % 500, 'many-' || i, 'scale_up', 1, 3, 'dry_run', 'dynamic_scaling_scale_up', 2, 1"
	  . " FROM generate_series(1, 50000) i; ANALYZE qpsscale.activities");
foreach my $request ("{\"resource_id\": $calm}", '{}', "{\"resource_id\": $calm, \"before_id\": 100}",
	'{"before_id": 40000, "limit": 20}')
{
	my $rows = call('history', $request)->{count};

	is(sql("BEGIN; SELECT count(*) FROM (SELECT qpsscale.http_history('$request') OFFSET 0) x WHERE x IS NOT NULL;"
			  . " SELECT coalesce(seq_scan, 0), idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'qpsscale.activities'::regclass; COMMIT"),
		"1\n0|$rows", "history $request: by an index, and no row more than is shown");
}

done_testing();
