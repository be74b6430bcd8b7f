# What is saved comes back: groups, state and audit trail survive pg_dump, a
# template copy and pg_upgrade.  What comes back is disarmed: it shows what it
# would do, and does nothing to the original's cloud until it is armed.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleCloud;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(preload => 0);
my $dump = PostgreSQL::Test::Utils::tempdir . '/dump';

my @tables = qw(resource_groups state signals signal_state schedules activities
  evaluations errors samples armed webhooks alerts api_tokens prices
  budgets);

# All that is to survive, as text: each table, where each sequence stands, and
# the accounts with their rights and references to secrets.
sub contents
{
	my ($server, $database) = @_;
	my $text = '';

	foreach my $table (@tables)
	{
		$text .= "$table: "
		  . $server->safe_psql($database,
			'SELECT row FROM qpsscale.'
			  . $table
			  . ' t, CAST(to_jsonb(t) AS text) row ORDER BY row COLLATE "C"')
		  . "\n";
	}
	foreach my $table (qw(resource_groups signals schedules activities evaluations errors
		webhooks alerts api_tokens prices))
	{
		$text .= "$table: "
		  . $server->safe_psql($database,
			"SELECT last_value, is_called FROM qpsscale.${table}_id_seq")
		  . "\n";
	}
	return $text . $server->safe_psql($database, <<'SQL');
SELECT s.srvname, ARRAY(SELECT unnest(s.srvoptions) o ORDER BY o),
	s.srvowner::regrole, m.umuser::regrole,
	ARRAY(SELECT unnest(m.umoptions) o ORDER BY o)
FROM pg_foreign_server s
LEFT JOIN pg_user_mapping m ON m.umserver = s.oid
ORDER BY s.srvname, m.umuser;
SELECT a.grantee::regrole, a.privilege_type
FROM pg_foreign_server s, aclexplode(s.srvacl) a
ORDER BY 1, 2;
SQL
}

# That a database holds what the original held; says only what differs.
sub same_contents
{
	my ($server, $database, $what) = @_;
	my %found = map { $_ => 1 } split /\n/, contents($server, $database);
	my %wanted = map { $_ => 1 } split /\n/, our $original;

	return is(
		join("\n",
			(map { "lost: $_" } grep { !$found{$_} } sort keys %wanted),
			(map { "added: $_" } grep { !$wanted{$_} } sort keys %found)),
		'', $what);
}

sub evaluate_in
{
	my ($server, $database, $id) = @_;

	return decode_json($server->safe_psql($database,
			"SELECT qpsscale_evaluate($id)"));
}

sub modifications
{
	return $cloud->counters->{modify_applied};
}

# ---- an original with something of everything ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 405 });
my $web = add_group(
	$node, $cloud, 'web',
	desired => 3,
	max => 10_000,
	boot_delay => 0,
	general_cooldown_seconds => 0,
	scale_up_cooldown_seconds => 0);

# one that a role owns, which may use the account by a grant: a dump writes
# grants after the rows
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE team;
CREATE ROLE leaver;
GRANT USAGE ON FOREIGN SERVER cloud TO team, leaver;
CREATE USER MAPPING FOR team SERVER cloud
	OPTIONS (access_key_id 'file:team/id', secret_access_key 'file:team/key');
SQL
my $team = add_group($node, $cloud, 'team', owner => 'team');
# one whose owner is gone
my $orphan = add_group($node, $cloud, 'orphan', owner => 'leaver');
$node->safe_psql('postgres', 'DROP OWNED BY leaver; DROP ROLE leaver');
# two that functions scale; those of one are gone
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION public.machines(text) RETURNS integer LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION public.lost(text) RETURNS integer LANGUAGE sql AS 'SELECT 2';
CREATE FUNCTION public.want(text, integer) RETURNS void LANGUAGE sql AS '';
INSERT INTO qpsscale.resource_groups
	(name, provider, asg_id, get_capacity, set_capacity, max_instances, owner)
	VALUES ('machines', 'sql', 'machines', 'public.machines', 'public.want', 9, 'team'),
		   ('lost', 'sql', 'lost', 'public.lost', 'public.want', 9, 'team');
DROP FUNCTION public.lost(text);
SQL
# one whose account is gone
add_account($node, $cloud, 'closed');
my $closed = add_group($node, $cloud, 'closed', account => 'closed');
$node->safe_psql('postgres', 'DROP SERVER closed CASCADE');
# one that was never evaluated, and is suspended already
my $new = add_group($node, $cloud, 'new', enabled => 'false');
$node->safe_psql('postgres',
	"SELECT qpsscale_suspend($new, 'up', reason => 'not yet')");

is(evaluate($node, $web)->{action}, 'scale_up', 'the original acts');
is($cloud->group('asg-web')->{desired}, 9, 'on the cloud');
wait_until('and its action succeeds',
	sub { evaluate($node, $web); activities($node, $web) eq 'successful 9' });
evaluate($node, $orphan);
evaluate($node, $closed);
is( $node->safe_psql('postgres',
		'SELECT count(DISTINCT resource_group_id) FROM qpsscale.errors'),
	'2', 'there are errors on record');
my $modifications = modifications();

# who may ask, also where the role will not be there
$node->safe_psql('postgres', "CREATE ROLE asks; SELECT qpsscale_create_token('asks', 'CI')");

# what it costs, and may
$node->safe_psql('postgres', "INSERT INTO qpsscale.budgets VALUES ('USD', 12.50)");
$node->safe_psql('postgres', 'INSERT INTO qpsscale.prices'
	  . " (provider, instance_type, price_per_hour, currency) VALUES ('byteplus', 'g3', 0.1, 'USD')");

# who is told, also where its owner's role will not be there
$node->safe_psql('postgres',
	"INSERT INTO qpsscale.webhooks (name, url, secret, owner)"
	  . " VALUES ('pager', 'https://pager.example/x', 'file:team/pager', 'team')");

# what belongs to groups: one row of the dump may come before its group
$node->safe_psql('postgres', <<SQL);
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
VALUES ($team, 'queue', 'sql', 'SELECT 7', 10),
	($orphan, 'queue', 'sql', 'SELECT 7', 10),
	($new, 'queue', 'sql', 'SELECT 7', 10);
INSERT INTO qpsscale.signal_state (resource_group_id, name, missing_since)
VALUES ($team, 'queue', now());
INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration, min_instances)
VALUES ($team, 'night', '22:00', '8 hours', 2), ($new, 'night', '22:00', '8 hours', 2);
SQL

our $original = contents($node, 'postgres');

# A copy is as the original, disarmed, and acts when it is armed.
sub check_copy
{
	my ($name, $server, $database) = @_;

	same_contents($server, $database, "$name: keeps everything");
	is($server->safe_psql($database, 'SELECT qpsscale.is_armed()'),
		'f', "$name: is disarmed");
	like(
		$server->safe_psql($database,
			"SELECT problems FROM qpsscale.status WHERE id = $web"),
		qr/not armed: every group is in dry run/,
		"$name: status says so");
	is( $server->safe_psql($database,
			"SELECT hint FROM qpsscale.problems()"
			  . " WHERE problem LIKE 'not armed%'"),
		'Once sure that no other database scales these groups:'
		  . ' SELECT qpsscale_arm();',
		"$name: and what to do about it");
	is( decode_json(
			$server->safe_psql($database, 'SELECT qpsscale_health()'))
		  ->{armed},
		JSON::PP::false, "$name: health does too");

	# twice the load: the original would act
	my $desired = $cloud->group('asg-web')->{desired};
	$cloud->set_traffic('alb-web',
		{ kind => 'constant', qps => 2 * 50 * $desired - 10 });
	my $result = evaluate_in($server, $database, $web);
	is($result->{reason}, 'not_armed', "$name: evaluate says why not");
	ok($result->{dry_run}, "$name: it was a dry run");
	is($result->{optimal_instances},
		2 * $desired, "$name: and what it would have done");
	is($cloud->group('asg-web')->{desired},
		$desired, "$name: the cloud is left alone");
	is( $server->safe_psql($database,
			'SELECT count(*) FROM qpsscale.activities'
			  . " WHERE status NOT IN ('successful', 'dry_run')"),
		'0', "$name: nor was anything intended");

	# new rows get ids of their own
	is( $server->safe_psql($database,
			'SELECT nextval(pg_get_serial_sequence('
			  . "'qpsscale.activities', 'id'))"
			  . ' > max(id) FROM qpsscale.activities'),
		't', "$name: the next activity gets a fresh id");
	my $largest = $server->safe_psql($database,
		'SELECT max(id) FROM qpsscale.resource_groups');
	is( $server->safe_psql($database,
			'INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps)'
			  . " VALUES ('alb-next', 'asg-next', 1) RETURNING id"),
		$largest + 1,
		"$name: and so does the next group");
	is( $server->safe_psql($database,
			'SELECT count(*) = (SELECT count(*) FROM qpsscale.resource_groups)'
			  . ' FROM qpsscale.state'),
		't', "$name: with a state row each");

	# each group that has lost something says so for itself
	like(
		evaluate_in($server, $database, $orphan)->{error},
		qr/owner "leaver" .* does not exist/,
		"$name: the group without an owner says so");
	like(
		evaluate_in($server, $database, $closed)->{error},
		qr/account "closed" does not exist/,
		"$name: and the one without an account");

	$server->safe_psql($database, 'SELECT qpsscale_arm()');
	$result = evaluate_in($server, $database, $web);
	is("$result->{action} $result->{reason}",
		'scale_up dynamic_scaling_scale_up', "$name: armed, it acts");
	is($cloud->group('asg-web')->{desired},
		2 * $desired, "$name: on the cloud");
	$modifications++;
	is(modifications(), $modifications, "$name: once");
	return;
}

sub fresh_server
{
	my ($name) = @_;
	my ($server) = QpsscaleNode->start(
		name => $name,
		cloud => $cloud,
		preload => 0,
		extension => 0,
		armed => 0);
	return $server;
}

# ---- a copy by CREATE DATABASE ... TEMPLATE ----

$node->safe_psql('template1', 'CREATE DATABASE clone TEMPLATE postgres');
check_copy('template', $node, 'clone');

# ---- another database of the same cluster ----

$node->command_ok(
	[ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ],
	'pg_dump');
$node->safe_psql('template1', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ],
	'pg_restore into another database of the cluster');
check_copy('another database', $node, 'restored');

# ---- a fresh server, with several jobs ----

my $fresh = fresh_server('fresh');
$fresh->safe_psql('postgres', 'CREATE ROLE team');
$fresh->command_ok(
	[
		'pg_restore', '--exit-on-error', '-j', 3, '-d',
		$fresh->connstr('postgres'), $dump
	],
	'pg_restore into a fresh server');
check_copy('fresh server', $fresh, 'postgres');

# the same as a script of INSERTs, restored in one transaction
$node->command_ok(
	[ 'pg_dump', '--inserts', '-f', "$dump.sql", $node->connstr('postgres') ],
	'pg_dump --inserts');
$fresh->safe_psql('template1', 'CREATE DATABASE script TEMPLATE template0');
$fresh->command_ok(
	[
		'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$dump.sql",
		'-d', $fresh->connstr('script')
	],
	'a script of INSERTs in one transaction');
same_contents($fresh, 'script', 'script: keeps everything');
$fresh->stop;

# a dump of a dump is the same dump
same_contents($node, 'postgres', 'the original is as it was');
is($node->safe_psql('postgres', 'SELECT qpsscale.is_armed()'),
	't', 'and still armed');

# ---- pg_upgrade: keeps everything, and disarms by the new system identifier
#
# With the same version on both sides, which is all that is installed here.
# The library is preloaded on both: the worker must not run meanwhile.

# pg_upgrade of PostgreSQL 18 looks for libraries in $libdir alone, so it does
# not find ours where this run has staged them for extension_control_path.

if ($node->safe_psql('postgres',
		q{SELECT coalesce(current_setting('extension_control_path', true), '$system')}
	) ne '$system')
{
	note('pg_upgrade is not tried: the library is not in $libdir');
	$node->stop;
	done_testing();
	exit;
}

$node->safe_psql('template1', "DROP DATABASE $_") foreach qw(clone restored);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'qpsscale'");
$node->append_conf('postgresql.conf', "qpsscale.interval = '1h'");
$node->stop;

my $upgraded = PostgreSQL::Test::Cluster->new('upgraded');
$upgraded->init;
QpsscaleNode::configure(
	$upgraded,
	'qpsscale.allowed_hosts' => "'127.0.0.1'",
	'qpsscale.host_id' => "'test'",
	'qpsscale.metric_resolution' => "'1s'",
	'shared_preload_libraries' => "'qpsscale'",
	'qpsscale.databases' => "''");
my $calls = $cloud->counters->{requests};
cmp_ok($calls, '>', 0, 'the cloud counts calls');
my $bindir = $node->config_data('--bindir');
# it leaves a script in the current directory
chdir PostgreSQL::Test::Utils::tempdir;
command_ok(
	[
		'pg_upgrade', '--no-sync', '-b', $bindir, '-B', $bindir,
		'-d', $node->data_dir, '-D', $upgraded->data_dir,
		'-p', $node->port, '-P', $upgraded->port, '-s', $node->host,
		'-U', scalar(getpwuid($<))
	],
	'pg_upgrade');
is($cloud->counters->{requests}, $calls, 'no worker asked the cloud meanwhile');

{
	local $ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
	local $ENV{TEST_SECRET_KEY} = 'EmulatorSecret';
	$upgraded->start;
}
check_copy('pg_upgrade', $upgraded, 'postgres');
$upgraded->stop;

done_testing();
