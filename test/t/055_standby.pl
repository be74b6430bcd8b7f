# A standby is silent, a promoted one takes over what the primary knew, and an
# isolated primary makes no call that changes anything: its intent waits for
# the synchronous standby, and a wait that somebody cuts short is no consent.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use Test::More;

my ($primary, $cloud) = QpsscaleNode->start(
	name => 'primary',
	init => [ allows_streaming => 1 ]);

sub writes
{
	return scalar @{ $cloud->log(0, 'ModifyScalingGroup') };
}

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
{
	local $ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
	local $ENV{TEST_SECRET_KEY} = 'EmulatorSecret';
	$standby->start;
}

# ---- the synchronous standby is there ----

$primary->append_conf('postgresql.conf',
	"synchronous_standby_names = 'standby'");
$primary->reload;
wait_for($primary, 'SELECT sync_state FROM pg_stat_replication',
	'sync', 'a standby follows synchronously');

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 405 });
my $web = add_group($primary, $cloud, 'web', desired => 3, boot_delay => 1);
wait_for($primary,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $web",
	'successful', 'the primary acts');
is(writes(), 1, 'once, although two servers have the row');

is( $standby->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'qpsscale%'"
		  . " AND backend_type NOT LIKE '%launcher%'"),
	'0', 'no worker runs on the standby');

# ---- what a standby says ----

# Every function either answers or says where to call; those that need no
# arguments get none.
my %argument = (bigint => $web, integer => 5, name => "'postgres'",
	boolean => 'NULL', text => "'reader'", uuid => 'gen_random_uuid()',
	'double precision[]' => "'{1,2,3}'::float8[]", jsonb => q('{"target_qps": 1, "prediction_mode": "off"}'),
	'timestamp with time zone[]' => 'ARRAY[now()]');
my @answers;
foreach my $line (split /\n/, $standby->safe_psql('postgres', <<'SQL'))
SELECT p.proname, (SELECT string_agg(format_type(a.type, NULL), ',' ORDER BY a.n)
		FROM unnest(p.proargtypes) WITH ORDINALITY a (type, n)
		WHERE a.n <= p.pronargs - p.pronargdefaults)
FROM pg_proc p
WHERE p.proname ~ '^qpsscale_' AND p.pronamespace = 'public'::regnamespace
ORDER BY 1, 2
SQL
{
	my ($name, $types) = split /\|/, $line;
	my $call = "$name(" . join(', ', map { $argument{$_} } split /,/, $types // '') . ')';
	my ($rc, undef, $refusal) = $standby->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT $call");

	if ($rc == 0) { push @answers, $name; next; }
	like($refusal,
		qr/25006: cannot execute $name\(\) during recovery.*HINT: .*on the primary/s,
		"$call is refused, with advice");
}
is("@answers", 'qpsscale_backtest qpsscale_backtest qpsscale_backtest_report qpsscale_backtest_report'
	  . ' qpsscale_backtest_ticks qpsscale_backtest_ticks qpsscale_estimate_cost'
	  . ' qpsscale_forecast qpsscale_forecast qpsscale_health qpsscale_history qpsscale_metrics qpsscale_spent'
	  . ' qpsscale_tune qpsscale_tune qpsscale_why',
	'what only reads answers');
is( $standby->safe_psql('postgres',
		"SELECT problem FROM qpsscale.problems() WHERE problem ~ 'recovery|no worker|armed|fenced'"),
	'in recovery: standby', 'problems name the one reason why nothing runs');
like(
	$standby->safe_psql('postgres',
		"SELECT status || ': ' || problems FROM qpsscale.status WHERE id = $web"),
	qr/^live: in recovery: standby/,
	'status can be read, and says it');
is( $standby->safe_psql('postgres',
		"SELECT h ->> 'status' || ' ' || (h ->> 'armed') FROM qpsscale_health() h"),
	'standby true', 'health is that of a standby, which would be armed here');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM qpsscale.stat_worker'),
	'0', 'stat_worker is empty');

# ---- the standby goes away ----

$standby->stop;
wait_for($primary, 'SELECT count(*) FROM pg_stat_replication',
	'0', 'the primary is alone');

$cloud->set_traffic('alb-cut', { kind => 'constant', qps => 405 });
# the row of the policy must come to be although nobody confirms it
add_group_alone($primary);
my $waiting =
	"SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
  . " AND backend_type LIKE 'qpsscale%'";
wait_for($primary, $waiting, '1', 'the worker waits in a commit');
is($cloud->group('asg-cut')->{desired}, 3, 'and nothing is changed meanwhile');

# Cut the wait short, as an impatient operator may.
my $pid = worker_pid($primary);
for my $round (1 .. 3)
{
	wait_for($primary, $waiting, '1', "round $round: it waits");
	$primary->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
}
is($cloud->group('asg-cut')->{desired}, 3,
	'a wait that was cut short is no consent');
is(writes(), 1, 'the cloud was not even asked');

sub add_group_alone
{
	my ($node) = @_;

	# synchronous_commit = local for this session only
	local $ENV{PGOPTIONS} = '-c synchronous_commit=local';
	return add_group($node, $cloud, 'cut', desired => 3, boot_delay => 1);
}

# ---- the standby is promoted, the old primary is gone ----

$primary->stop('immediate');
{
	local $ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
	local $ENV{TEST_SECRET_KEY} = 'EmulatorSecret';
	$standby->start;
}
$standby->promote;
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 805 });
my $seen = $standby->safe_psql('postgres', 'SELECT clock_timestamp()');
wait_for($standby,
	"SELECT last_evaluated_at > '$seen' FROM qpsscale.state WHERE resource_group_id = $web",
	't', 'the promoted standby evaluates');
is( $standby->safe_psql('postgres',
		"SELECT last_reason FROM qpsscale.state WHERE resource_group_id = $web"),
	'cooldown_general', 'and knows what the primary did last');
is($cloud->group('asg-web')->{desired}, 9, 'so it waits as the primary would');
$standby->safe_psql('postgres',
	'UPDATE qpsscale.resource_groups SET general_cooldown_seconds = 0, scale_up_cooldown_seconds = 0');
wait_for($standby,
	"SELECT desired_capacity || ' ' || status FROM qpsscale.activities"
	  . " WHERE resource_group_id = $web ORDER BY id DESC LIMIT 1",
	'17 successful', 'and then acts');
is(writes(), 2, 'the cloud was told twice in all');
$standby->stop;

done_testing();
