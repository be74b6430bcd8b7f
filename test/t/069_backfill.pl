# The load from before a group was first seen comes from its cloud: minutes of
# days in few calls, once, and what the cloud does not know is a gap.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

# for the restarts, too
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my $LONG = 3600;    # seconds that no question of the present is about
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.metric_resolution' => "'1min'",
		'qpsscale.sample_backfill' => "'3d'" });

add_account($node, $cloud, 'aws', 'aws');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub ticks
{
	my ($n, $what) = @_;
	my $before = sql('SELECT ticks FROM qpsscale.stat_worker');

	return wait_for($node, "SELECT ticks >= $before + $n FROM qpsscale.stat_worker",
		't', $what);
}

# Questions about the past, as load balancer => number.
sub questions
{
	my %asked;

	foreach my $entry (@{ $cloud->log(0, 'GetMetricData') })
	{
		my $body = ref $entry->{body} ? $entry->{body} : decode_json($entry->{body});
		my $span = $body->{EndTime} - $body->{StartTime};

		next if $span <= $LONG;
		cmp_ok($span, '<=', 86400, 'a question of a day at most') if $span > 86400;
		$asked{$_}++ foreach @{ $entry->{ids} };
	}
	return \%asked;
}

my $known_to_the_end =
  "bool_and(coalesce(backfilled_from <= now() - interval '3 days', false))";

sub past_of
{
	my ($id) = @_;

	return "qpsscale.samples_of($id, now() - interval '3 days',"
	  . " (SELECT created_at - interval '2 minutes' FROM qpsscale.state"
	  . " WHERE resource_group_id = $id))";
}

# ---- first sight ----

# a day with its peak at 14:00 UTC; every seventh minute is not known
sub day_of
{
	my ($low) = @_;

	return { kind => 'day', low => $low, high => 3 * $low, nulls => 7 };
}

# neighbours by their ids, on both sides of the border between two rows
sql('ALTER SEQUENCE qpsscale.resource_groups_id_seq RESTART 30');
my %id;
$cloud->set_traffic("alb-$_->[0]", day_of($_->[1]))
  foreach ([ a => 100 ], [ b => 200 ], [ c => 300 ]);
foreach my $name (qw(a b c))
{
	$id{$name} = add_group($node, $cloud, $name, desired => 8, max => 50,
		dry_run => 'true', enabled => 'false');
}
is(join(' ', @id{qw(a b c)}), '30 31 32', 'three groups');
my $told = sql("SELECT date_trunc('minute', now()) - interval '5 hours'");
is(sql("SELECT qpsscale_remember($id{b}, ARRAY['$told'::timestamptz], ARRAY[7])"), '1',
	'of one a minute is known from elsewhere');
sql('UPDATE qpsscale.resource_groups SET enabled = true');

wait_for($node, "SELECT $known_to_the_end FROM qpsscale.state", 't',
	'all of the past that is wanted was asked for');
# the rest of the three days may be too short to be seen as such
my $asked = questions();
is(join(' ', sort keys %$asked), 'alb-a alb-b alb-c', 'of each group');
ok($_ == 3 || $_ == 4, 'in questions of a day') || diag("seen: $_") foreach values %$asked;

foreach my $name (qw(a b c))
{
	my ($n, $wrong, $zeros) = split /\|/, sql(<<SQL);
SELECT count(*), count(*) FILTER (WHERE mod(extract(epoch FROM at)::bigint / 60 - 1, 7) = 0
		AND at <> '$told'), count(*) FILTER (WHERE load = 0)
FROM @{[ past_of($id{$name}) ]}
SQL
	my $expected = 3 * 1440 * 6 / 7;

	cmp_ok(abs($n - $expected), '<', 15, "group $name: minutes of three days")
	  or diag("seen: $n");
	is("$wrong $zeros", '0 0', "group $name: what is not known is a gap, and never 0");
}
is(sql(<<SQL), 't', 'each minute has the load that it had');
SELECT bool_and(abs(load - (200 + 400 * (1 + cos(2 * pi()
		* (mod(extract(epoch FROM at) - 60, 86400) / 3600 - 14)::float8 / 24)) / 2)) < 0.1)
FROM @{[ past_of($id{b}) ]} WHERE at <> '$told'
SQL
is(sql("SELECT string_agg((load[$id{b} + 1])::text, ' ') FROM qpsscale.samples"
		  . " WHERE chunk = 0 AND at = '$told' AND load[$id{b} + 1] IS NOT NULL"),
	'7', 'what was known already is left as it was');
is(sql(<<SQL), 't', 'neighbours share their rows');
SELECT count(*) = count(DISTINCT at) FROM qpsscale.samples
WHERE chunk = 0 AND at < now() - interval '1 hour' AND at <> '$told'
SQL

# ---- what comes of it ----

is(sql("SELECT method FROM qpsscale_forecast($id{a}, 3) LIMIT 1"), 'daily',
	'a group of a minute ago has a forecast');
my $foreseen = evaluate($node, $id{a})->{explanation}{prediction};
ok($foreseen && $foreseen->{trust} ne 'not_learned', 'and its load is foreseen')
  or diag explain $foreseen;

# ---- once ----

$cloud->reset_log;
$node->restart;
ticks(3, 'a new process');
is_deeply(questions(), {}, 'does not ask again');
sql("ALTER SYSTEM SET qpsscale.sample_backfill = '4d'");
sql('SELECT pg_reload_conf()');
wait_for($node, "SELECT bool_and(backfilled_from <= now() - interval '4 days') FROM qpsscale.state",
	't', 'more of the past that is wanted later');
$asked = questions();
is(join(' ', sort keys %$asked), 'alb-a alb-b alb-c', 'is asked for');
cmp_ok($_, '<=', 2, 'and no more than that') foreach values %$asked;

# ---- what goes wrong ----

$cloud->reset_log;
$cloud->fault({ kind => 'status', times => -1, params => { status => 403 },
		match => { alb_id => 'alb-d', longer_than => $LONG } });
$cloud->fault({ kind => 'hang', times => -1,
		match => { alb_id => 'alb-e', longer_than => $LONG } });
$cloud->set_traffic("alb-$_", day_of(100)) foreach qw(d e f);
$id{$_} = add_group($node, $cloud, $_, desired => 3, max => 50, dry_run => 'true')
  foreach qw(d e f);
foreach my $name (qw(d e))
{
	wait_for($node, "SELECT backfill_retry_at > now() FROM qpsscale.state"
		  . " WHERE resource_group_id = $id{$name}", 't',
		"group $name: a past that cannot be read is asked for later");
	like(sql("SELECT string_agg(message, '; ') FROM qpsscale.errors"
			  . " WHERE resource_group_id = $id{$name} AND source = 'history'"),
		qr/^the load of the past could not be read: .*$/, "group $name: why is told once");
}
wait_for($node, "SELECT $known_to_the_end FROM qpsscale.state WHERE resource_group_id = $id{f}",
	't', 'their neighbour gets its own all the same');
ticks(3, 'the worker goes on');
is(sql("SELECT count(*) FROM qpsscale.state WHERE consecutive_errors > 0 OR last_error <> ''"),
	'0', 'and no group has failed by it');
unlike(sql("SELECT summary || details FROM qpsscale_why($id{d})"), qr/of the past/,
	'nor is it why anything was decided');
is(sql("SELECT count(*) FROM @{[ past_of($id{e}) ]} WHERE load IS NOT NULL"), '0',
	'nothing is known of what was not answered');

$cloud->clear_faults;
sql('UPDATE qpsscale.state SET backfill_retry_at = now()');
wait_for($node, "SELECT $known_to_the_end FROM qpsscale.state", 't',
	'when the cloud answers again, nothing is missing');
cmp_ok(sql("SELECT count(*) FROM @{[ past_of($id{$_}) ]}"), '>', 3600, "group $_: it is there")
  foreach qw(d e);

# ---- AWS ----

# no points where there were no requests: healthy hosts tell silence from gaps
$cloud->reset_log;
my $from = time() - time() % 60 - 3 * 86400;
$cloud->set_traffic(aws_alb('web'), { kind => 'steps', start => $from,
		steps => [ [ 0, 120 ], [ 86400, 0 ], [ 90000, 60 ] ] });
$id{web} = add_group($node, $cloud, 'web', provider => 'aws', desired => 2, dry_run => 'true');
wait_for($node, "SELECT $known_to_the_end FROM qpsscale.state WHERE resource_group_id = $id{web}",
	't', 'the past of a group of AWS');
is(sql(<<SQL), '60|120|60', 'has the silent hour as 0');
SELECT count(*) FILTER (WHERE load = 0), max(load), min(load) FILTER (WHERE load > 0)
FROM @{[ past_of($id{web}) ]}
SQL
cmp_ok(sql("SELECT count(*) FROM @{[ past_of($id{web}) ]}"), '>', 3 * 1440 - 15,
	'and all minutes');

done_testing();
