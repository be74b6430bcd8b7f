# Load and size of each group are kept: one sample per point of the monitor,
# and what is not known is a gap, never zero.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

# for the restarts, too
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.metric_resolution' => "'1d'" });

sub sql { return $node->safe_psql('postgres', $_[0]); }

# The worker evaluates so many times more.
sub ticks
{
	my ($n, $what) = @_;
	my $before = sql('SELECT ticks FROM qpsscale.stat_worker');

	return wait_for($node, "SELECT ticks >= $before + $n FROM qpsscale.stat_worker",
		't', $what);
}

# neighbours by their ids, on both sides of the border between two rows
sql('ALTER SEQUENCE qpsscale.resource_groups_id_seq RESTART 30');
my %id;
foreach my $name (qw(a b c))
{
	$cloud->set_traffic("alb-$name",
		{ kind => 'constant', qps => 100 + 10 * length($name) + ord($name) - ord('a') });
	$id{$name} = add_group($node, $cloud, $name, desired => 3, max => 50);
}
is(join(' ', @id{qw(a b c)}), '30 31 32', 'three groups');

# ---- one per point ----

my %seen = (a => 110, b => 111, c => 112);
foreach my $name (qw(a b c))
{
	wait_for($node,
		"SELECT coalesce(string_agg(format('%s %s %s', round(load), in_service,"
		  . " desired), ', '), '') FROM qpsscale.samples_of($id{$name}, '-infinity', 'infinity')",
		"$seen{$name} 3 3", "group $name has its own sample");
}
ticks(3, 'the worker goes on');
is( sql('SELECT max(n) FROM (SELECT count(*) AS n FROM qpsscale.samples s,'
		  . ' generate_subscripts(s.desired, 1) place WHERE s.desired[place] IS NOT NULL'
		  . ' GROUP BY s.at, s.chunk, place) seen'),
	'1', 'in the time of one point no group is sampled twice');
$node->restart;
wait_for($node,
	'SELECT count(*) FROM qpsscale.samples WHERE chunk = 0 AND desired[31] IS NOT NULL',
	'2', 'a new process does not know that');
is(sql('SELECT count(*), count(DISTINCT at) FROM '
		  . "qpsscale.samples_of($id{a}, '-infinity', 'infinity')"),
	'1|1', 'what a restart samples once more is told once');

# ---- gaps ----

my $was = sql("SELECT max(at) FROM qpsscale.samples_of($id{a}, '-infinity', 'infinity')");
my $newest = "FROM qpsscale.samples_of($id{a}, '$was', 'infinity') WHERE at > '$was'";
$cloud->fault({ kind => 'status', times => -1, match => { action => 'GetMetricData' },
		params => { status => 500 } });
$node->append_conf('postgresql.conf', "qpsscale.metric_resolution = '1s'\n"
	  . "qpsscale.sample_retention = '1d'");
$node->reload;
wait_for($node, "SELECT count(*) > 0 $newest AND load IS NULL AND desired = 3", 't',
	'while the load is not known, the size is sampled and the load is NULL');
is(sql("SELECT count(*) $newest AND load = 0"), '0', 'and never 0');
$cloud->clear_faults;
wait_for($node, "SELECT count(*) > 0 $newest AND round(load) = 110", 't',
	'known again, it is sampled again');

$cloud->fault({ kind => 'status', times => -1, params => { status => 500 } });
wait_for($node, "SELECT last_error <> '' FROM qpsscale.state WHERE resource_group_id = $id{a}",
	't', 'an outage');
ticks(1, 'in it the worker goes on');
my $rows = sql('SELECT count(*) FROM qpsscale.samples');

cmp_ok($rows, '>', 5, 'there are some samples');
ticks(2, 'and on');
is(sql('SELECT count(*) FROM qpsscale.samples'), $rows,
	'of what nothing is known nothing is kept');
$cloud->clear_faults;

# ---- what is told ----

sql(<<SQL);
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
VALUES ('2001-01-01 00:01Z', 5, '{NULL,NULL}', '{NULL,2}', '{NULL,2}'),
	('2001-01-01 00:01Z', 5, '{NULL,7.5}', '{NULL,2}', '{NULL,2}'),
	('2001-01-01 00:03Z', 5, '{6}', '{1}', '{1}'),
	('2001-01-01 00:04Z', 5, '{NULL,8}', '{NULL,NULL}', '{NULL,NULL}');
SQL
is( sql("SELECT to_char(at AT TIME ZONE 'UTC', 'MI'), load, desired"
		  . " FROM qpsscale.samples_of(161, '2001-01-01 00:00Z', '2001-01-01 00:05Z')"),
	"01|7.5|2\n04|8|",
	'of two who saw the same moment the one that knew the load is told, and a moment without the group is not');
is(sql("SELECT count(*) FROM qpsscale.samples_of(161, '2001-01-01 00:01Z', '2001-01-01 00:04Z')"),
	'1', 'the end is not within');

# ---- retention ----

$node->restart;
wait_for($node, "SELECT count(*) FROM qpsscale.samples WHERE at < '2002-01-01'", '0',
	'old samples are deleted');
cmp_ok(sql("SELECT count(*) FROM qpsscale.samples WHERE at > now() - interval '1 hour'"),
	'>=', $rows - 5, 'others stay');

done_testing();
