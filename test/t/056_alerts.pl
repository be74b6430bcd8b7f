# Alerts: each is written once, with what it tells of, and reaches its
# endpoints at least once, whatever they answer and whoever dies; no tick waits
# for them.

use strict;
use warnings;

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
		'max_worker_processes' => '16' });

sub sql { return $node->safe_psql('postgres', $_[0]); }

$receiver->script('/pager', secrets => [ $pager_secret, $new_secret ]);
sql(<<SQL);
INSERT INTO qpsscale.webhooks (name, url, secret)
	VALUES ('pager', '@{[ $receiver->url('/pager') ]}', 'file:pager.key');
INSERT INTO qpsscale.webhooks (name, url, format, events)
	VALUES ('chat', 'file:slack.url', 'slack', '{qpsscale.scale.executed}');
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

evaluate($node, $web) foreach 1 .. 3;
is(rows('scale.executed'), 'event', 'a group that rests tells nothing more');

# ---- conditions, each with its end ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 5000 });
evaluate($node, $web) foreach 1 .. 4;
is($cloud->group('asg-web')->{desired}, 20, 'it grows to the maximum');
is(rows('group.at_max'), 'firing', 'which is one alert, however often it is seen');
wait_told('group.at_max', 'firing', 'and it is told');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 950 });
evaluate($node, $web);
is(rows('group.at_max'), 'resolved', 'it ends when the load falls');
wait_told('group.at_max', 'firing resolved', 'and that is told, in this order');
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

done_testing();
