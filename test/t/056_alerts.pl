# Alerts: each is written once, with what it tells of, and reaches its
# endpoints at least once, whatever they answer and whoever dies; no tick waits
# for them.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use QpsscaleProcess;
use QpsscaleReceiver;
use Test::More;
use Time::HiRes qw(time);

my $secrets = PostgreSQL::Test::Utils::tempdir() . '/secrets';
my $receiver = QpsscaleReceiver->start;

my $pager_secret = 'whsec_' . 'Q0FOQVJZLXBhZ2VyLXNlY3JldC0xMjM0NTY3ODkw';
my $new_secret = 'CANARY-new-raw-secret-of-the-pager';
my $hidden_path = '/services/T0/B0/CANARYurl';

sub write_secret
{
	my ($name, $text) = @_;

	open(my $file, '>', "$secrets/$name") or die "$secrets/$name: $!\n";
	print $file $text;
	close($file);
	chmod(0600, "$secrets/$name");
	return;
}

mkdir $secrets, 0700 or die "$secrets: $!\n";
write_secret('pager.key', "$pager_secret\n");
write_secret('new.key', $new_secret);
write_secret('slack.url', $receiver->url($hidden_path) . "\n");

local $ENV{ALERT_WEBHOOK_URL} = $receiver->url('/first-original');
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.secrets_dir' => "'$secrets'",
		'qpsscale.interval' => "'1h'",
		'qpsscale.stall_timeout' => "'2s'",
		'log_min_messages' => 'debug2',
		'log_statement' => "'all'",
		'restart_after_crash' => 'on' });

sub sql { return $node->safe_psql('postgres', $_[0]); }

$receiver->script('/pager', secrets => [ $pager_secret, $new_secret ]);
sql(<<SQL);
INSERT INTO qpsscale.webhooks (name, url, secret)
	VALUES ('pager', '@{[ $receiver->url('/pager') ]}', 'file:pager.key');
INSERT INTO qpsscale.webhooks (name, url, format, events)
	VALUES ('chat', 'file:slack.url', 'slack', '{qpsscale.scale.executed}'),
		   ('manager', '@{[ $receiver->url('/manager') ]}', 'alertmanager', '{qpsscale.scale.executed}');
SQL

# Alerts at a path as "type status", in the order in which they came.
sub told
{
	my ($path) = @_;

	return join("\n", map { "$_->{body}{type} $_->{body}{data}{status}" }
		  $receiver->received($path));
}

# Of one type, at the pager.
sub told_of
{
	my ($type) = @_;

	return join(' ', map { $_->{body}{data}{status} }
		  grep { $_->{body}{type} eq "qpsscale.$type" }
		  $receiver->received('/pager'));
}

sub wait_told
{
	my ($type, $expected, $what) = @_;
	my $seen;
	my $came = wait_until($what, sub { ($seen = told_of($type)) eq $expected });

	diag("told of $type: $seen\nexpected: $expected\n" . told('/pager'))
	  unless $came;
	return;
}

# Rows of a type: status, oldest first.
sub rows
{
	my ($type) = @_;

	return sql("SELECT string_agg(status, ' ' ORDER BY id) FROM qpsscale.alerts"
		  . " WHERE type = 'qpsscale.$type'");
}

sub delivery
{
	my ($id, $columns) = @_;

	return sql("SELECT $columns FROM qpsscale.alert_deliveries WHERE id = $id");
}

# Makes what waits for its next attempt due now, as if time had passed.
sub hurry
{
	my ($id) = @_;

	sql("UPDATE qpsscale.alert_deliveries SET next_attempt_at = now()"
		  . " WHERE id = $id AND status = 'pending'; SELECT qpsscale.alerts_written()");
	return;
}

# ---- an action ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 405 });
my $web = add_group(
	$node, $cloud, 'web',
	desired => 3,
	max => 20,
	boot_delay => 0,
	general_cooldown_seconds => 0,
	scale_up_cooldown_seconds => 0);

is(evaluate($node, $web)->{action}, 'scale_up', 'a group grows');
is(rows('scale.executed'), 'event', 'and one event is on record');
wait_told('scale.executed', 'event', 'which reaches the endpoint');
my ($got) = $receiver->received('/pager');
is_deeply($got->{valid}, [0], 'signed with its secret');
ok($got->{fresh}, 'and with the time of now');
is($got->{body}{specversion}, '1.0', 'the body is a CloudEvent too');
is($got->{body}{id}, $got->{id}, 'of the same id as the message');
is($got->{body}{data}{details}{from} . ' ' . $got->{body}{data}{details}{desired_capacity},
	'3 9', 'and says what was done');
wait_until('the variable of the first original is an endpoint',
	sub { told('/first-original') eq 'qpsscale.scale.executed event' });
ok(!($receiver->received('/first-original'))[0]{signed}, 'which is not signed');
wait_until('an endpoint whose URL is a secret gets what it wants',
	sub { scalar $receiver->received($hidden_path) });
like(($receiver->received($hidden_path))[0]{body}{text},
	qr/web: desired capacity set from 3 to 9/, 'in the words of Slack');
wait_until('and one that takes what Alertmanager sends',
	sub { scalar $receiver->received('/manager') });
is(($receiver->received('/manager'))[0]{body}{alerts}[0]{labels}{group},
	'asg-web', 'with the group as a label');

evaluate($node, $web) foreach 1 .. 3;
is(rows('scale.executed'), 'event', 'a group that rests tells nothing more');

# ---- conditions, each with its end ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 5000 });
evaluate($node, $web) foreach 1 .. 4;
is($cloud->group('asg-web')->{desired}, 20, 'it grows to the maximum');
is(rows('group.at_max'), 'firing', 'which is one alert, however often it is seen');
wait_told('group.at_max', 'firing', 'and it is told');
sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $web;"
	  . ' SELECT qpsscale.alerts_written()');
wait_told('group.at_max', 'firing resolved', 'it ends with the group');
sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $web");
evaluate($node, $web);
is(rows('group.at_max'), 'resolved firing',
	'and begins anew with it, though the verdict is the old one');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 950 });
evaluate($node, $web);
is(rows('group.at_max'), 'resolved resolved', 'it ends when the load falls');
wait_told('group.at_max', 'firing resolved firing resolved',
	'and that is told, in this order');
my @at_max = grep { $_->{body}{type} eq 'qpsscale.group.at_max' }
  $receiver->received('/pager');
is($at_max[1]{id}, "$at_max[0]{id}.resolved", 'as a message of its own');

$cloud->set_traffic('alb-web', undef);
evaluate($node, $web) foreach 1 .. 2;
is(rows('metric.stale'), 'firing', 'a load that is not known is an alert')
  or diag(encode_json(evaluate($node, $web)));
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 950 });
evaluate($node, $web);
wait_told('metric.stale', 'firing resolved', 'that ends when it is known again');

# ---- an action that fails, and the circuit ----

$cloud->set_traffic('alb-bad', { kind => 'constant', qps => 100 });
my $bad = add_group($node, $cloud, 'bad', desired => 1,
	general_cooldown_seconds => 0, scale_up_cooldown_seconds => 0);
$cloud->fault({ kind => 'status', times => 6,
		params => { status => 400, code => 'OperationDenied.Quota' },
		match => { action => 'ModifyScalingGroup' } });
evaluate($node, $bad) foreach 1 .. 6;
is( sql("SELECT count(*) FROM qpsscale.alerts WHERE type = 'qpsscale.scale.failed'"
		  . " AND resource_group_id = $bad"),
	'1', 'the first of failures in a row is told');
is(rows('circuit.open'), 'firing', 'and the circuit that they open');
$cloud->clear_faults;
sql("SELECT qpsscale_reset_circuit($bad)");
evaluate($node, $bad);
is(activities($node, $bad) =~ /(\w+) \d+$/ ? $1 : '',
	'accepted', 'a reset circuit lets the next one pass');
sql('SELECT qpsscale.alerts_written()');
wait_told('circuit.open', 'firing resolved', 'and its alert ends');

# ---- in the same transaction ----

sql("BEGIN; SELECT qpsscale.raise_alert('qpsscale.metric.stale', 'never'); ROLLBACK");
is( sql("SELECT count(*) FROM qpsscale.alerts WHERE summary = 'never'"),
	'0', 'what is rolled back leaves no alert');
# an alert that cannot be written takes the decision with it: both or none
$cloud->set_traffic('alb-both', { kind => 'constant', qps => 100 });
my $both = add_group($node, $cloud, 'both', desired => 1, max => 1);
sql(<<'SQL');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'no alert today'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON qpsscale.alerts
	FOR EACH ROW WHEN (NEW.type = 'qpsscale.group.at_max')
	EXECUTE FUNCTION refuse();
SQL
$node->psql('postgres', "SELECT qpsscale_evaluate($both)");
is( sql("SELECT count(*) FROM qpsscale.evaluations WHERE resource_group_id = $both"),
	'0', 'a verdict whose alert cannot be written is not written');
sql('DROP TRIGGER refuse ON qpsscale.alerts');
evaluate($node, $both);
is( sql("SELECT (SELECT count(*) FROM qpsscale.evaluations WHERE resource_group_id = $both),"
		  . " (SELECT count(*) FROM qpsscale.alerts WHERE resource_group_id = $both)"),
	'1|1', 'and then both are');
sql("DELETE FROM qpsscale.resource_groups WHERE id IN ($bad, $both)");

# ---- NOTIFY ----

my ($out, $err) = ('', '');
my $listener = IPC::Run::start(
	[ 'psql', '-XAtq', '-f', '-', $node->connstr('postgres') ],
	'<', \my $commands, '>', \$out, '2>', \$err,
	IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
$commands = "LISTEN qpsscale; SELECT 'listening';\n";
$listener->pump until $out =~ /listening/;
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 5000 });
evaluate($node, $web) foreach 1 .. 2;
$commands .= "SELECT 'looked';\n";
$listener->pump until $out =~ /looked/ && $out =~ /notification .*received/;
like($out, qr/"qpsscale".*"type" : "qpsscale.group.at_max"/,
	'an alert that a worker writes is a NOTIFY');
$listener->finish;

# ---- answers ----

# One test delivery to an endpoint that answers as told.
sub try_answers
{
	my ($name, @answers) = @_;

	$receiver->script("/$name", answers => \@answers);
	sql("INSERT INTO qpsscale.webhooks (name, url, events) VALUES"
		  . " ('$name', '@{[ $receiver->url(qq(/$name)) ]}', '{}')");
	return sql("SELECT qpsscale_webhook_test('$name')");
}

sub wait_delivery
{
	my ($id, $columns, $expected, $what) = @_;

	return wait_for($node,
		"SELECT $columns FROM qpsscale.alert_deliveries WHERE id = $id",
		$expected, $what);
}

my $ok = { status => 200 };
my $id = try_answers('flaky', { status => 500, body => 'oh /flaky no' }, $ok);
wait_delivery($id, 'status, attempts, last_http_status, last_error, last_response',
	'pending|1|500|answered 500|oh /[path] no', 'an error is tried again');
ok( sql("SELECT next_attempt_at - last_attempt_at BETWEEN '4 s' AND '7 s'"
		  . " FROM qpsscale.alert_deliveries WHERE id = $id") eq 't',
	'after five seconds');
hurry($id);
wait_delivery($id, 'status, attempts', 'delivered|2', 'and arrives');
my @flaky = $receiver->received('/flaky');
is($flaky[0]{id}, $flaky[1]{id}, 'as the same message');

$id = try_answers('busy', { status => 429, headers => { 'Retry-After' => '3600' } }, $ok);
wait_delivery($id,
	"status, next_attempt_at > now() + interval '50 min'",
	'pending|t', 'Retry-After is obeyed');
$id = try_answers('moved',
	{ status => 302, headers => { Location => $receiver->url('/elsewhere') } });
wait_delivery($id, 'status, last_http_status, last_error',
	'pending|302|answered 302: redirects are not followed',
	'a redirect is a failure');
is(scalar $receiver->received('/elsewhere'), 0, 'and is not followed');
$id = try_answers('garbage', { garbage => JSON::PP::true });
wait_delivery($id, 'status, last_http_status, last_error IS NOT NULL',
	'pending||t', 'an answer that is no HTTP is a failure');
$id = try_answers('gone', { status => 410 });
wait_delivery($id, 'status', 'dead', '410 Gone ends the delivery');
like(
	sql("SELECT enabled || ' ' || disabled_reason FROM qpsscale.webhooks WHERE name = 'gone'"),
	qr/^false it answered 410 Gone at 2/, 'and disables the endpoint');

# ---- dead letters, replay ----

$id = try_answers('down', { status => 500 });
wait_delivery($id, 'attempts', '1', 'an endpoint that is down');
foreach my $attempt (2 .. 10)
{
	hurry($id);
	wait_delivery($id, 'attempts, last_http_status', "$attempt|500", "attempt $attempt");
}
wait_delivery($id, 'status', 'dead', 'is given up after ten attempts');
$receiver->script('/down', answers => [$ok]);
is(sql("SELECT qpsscale_webhook_replay($id)"), '1', 'it can be sent again');
wait_delivery($id, 'status, attempts', 'delivered|1', 'and arrives');

# ---- rotation ----

sql("UPDATE qpsscale.webhooks SET secret = 'file:new.key', old_secret = 'file:pager.key' WHERE name = 'pager'");
$id = sql("SELECT qpsscale_webhook_test('pager')");
wait_delivery($id, 'status', 'delivered', 'while a secret is exchanged');
is_deeply([ sort @{ ($receiver->received('/pager'))[-1]{valid} } ],
	[ 0, 1 ], 'both sign');
chmod(0644, "$secrets/new.key");
$id = sql("SELECT qpsscale_webhook_test('pager')");
wait_delivery($id, "last_error LIKE 'the signing secret cannot be read%'",
	't', 'a secret that others can read is not used');
chmod(0600, "$secrets/new.key");
hurry($id);
wait_delivery($id, 'status', 'delivered', 'until it is safe again');

# ---- an endpoint that hangs ----

$id = try_answers('hanging', { hang => JSON::PP::true });
wait_until('a request hangs', sub { scalar $receiver->received('/hanging') });
my $seconds = seconds_for(sub { evaluate($node, $web) });
cmp_ok($seconds, '<', 8, 'no evaluation waits for it');
is(held_by($node, worker_pid($node)), '', 'and no transaction is open meanwhile');
my $other = sql("SELECT qpsscale_webhook_test('pager')");
wait_delivery($other, 'status', 'delivered', 'nor does another endpoint');

# ---- a worker that dies in the middle of it ----

is(delivery($id, 'status'), 'pending', 'the one that hangs is on its way');
$receiver->script('/hanging', answers => [$ok]);
kill('KILL', worker_pid($node));
wait_until('the server comes back',
	sub { $node->psql('postgres', 'SELECT 1') == 0 && worker_pid($node) });
hurry($id);
wait_delivery($id, 'status, attempts', 'delivered|2',
	'what a killed worker was sending is sent again');
is(delivery($other, 'attempts'), '1', 'and what had arrived is not');

# ---- a worker that hangs ----

kill('STOP', my $stopped = worker_pid($node));
wait_told('worker.stalled', 'firing', 'a stopped worker is told by another process');
is( sql("SELECT problem FROM qpsscale.problems() WHERE problem = 'worker stalled'"),
	'worker stalled', 'problems() says so');
is(sql("SELECT qpsscale_health() ->> 'status'"), 'down', 'and qpsscale_health()');
kill('CONT', $stopped);
wait_told('worker.stalled', 'firing resolved', 'and its end when it goes on');
is(worker_pid($node), $stopped, 'without a restart');
wait_for($node,
	"SELECT count(*) FROM qpsscale.problems() WHERE problem = 'worker stalled'",
	'0', 'and nothing is left of it');

# ---- secrets ----

my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ],
	'a dump is made');
my $said = slurp_file($node->logfile) . slurp_file($dump)
  . sql("SELECT string_agg(row::text, ' ') FROM (SELECT to_jsonb(d) AS row FROM"
	  . " qpsscale.alert_deliveries d UNION ALL SELECT to_jsonb(a) FROM qpsscale.alerts a"
	  . " UNION ALL SELECT to_jsonb(w) FROM qpsscale.webhooks w"
	  . " UNION ALL SELECT to_jsonb(s) FROM pg_stat_activity s"
	  . " UNION ALL SELECT to_jsonb(w) FROM qpsscale.stat_worker w) r");
unlike($said, qr/CANARY/, 'no secret and no hidden path is anywhere');
unlike($said, qr/Q0FOQVJZ/, 'nor a secret as it is written');

$node->stop('fast');

done_testing();
