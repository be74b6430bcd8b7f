# Workers without superuser rights: a role that can log in and has the level
# worker does all that a worker does; one that is missing something says what.

use strict;
use warnings;

use PostgreSQL::Test::Utils qw(slurp_file);
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start;

sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

sub refusal
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);

	return $err;
}

# Waits until a worker runs that is the given role's.
sub use_role
{
	my ($role) = @_;

	sql("ALTER SYSTEM SET qpsscale.worker_role = '$role'");
	sql('SELECT pg_reload_conf()');
	wait_for($node, <<"SQL", $role, "the worker starts anew as $role");
SELECT coalesce(max(a.usename), '') FROM pg_stat_activity a
JOIN qpsscale.stat_worker w ON w.pid = a.pid
WHERE w.last_tick_finished_at IS NOT NULL
SQL
	return;
}

sub problem
{
	my ($pattern) = @_;

	return sql("SELECT coalesce(max(problem), '') FROM qpsscale.problems()"
		  . " WHERE problem LIKE '$pattern'");
}

# ---- the default ----

is(problem('worker role%'), 'worker role: workers run as a superuser',
	'problems warns of a worker that is a superuser');
like(slurp_file($node->logfile), qr/qpsscale worker for database "postgres" runs as a superuser/,
	'and so does the log');

# ---- a role that has what it needs ----

sql(<<'SQL');
CREATE ROLE night_worker LOGIN;
SELECT qpsscale_grant('night_worker', 'worker');
CREATE ROLE team;
GRANT USAGE ON FOREIGN SERVER cloud TO team;
SELECT qpsscale_grant('team', 'operator');
CREATE USER MAPPING FOR PUBLIC SERVER cloud
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY',
			 secret_access_key 'env:TEST_SECRET_KEY');
SQL
use_role('night_worker');
is(problem('worker role%'), '', 'problems is content');
is(sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'night_worker'"),
	'f', 'the role is no superuser');

$cloud->set_traffic("alb-$_", { kind => 'constant', qps => 405 })
  foreach qw(web team);
my $web = add_group($node, $cloud, 'web', desired => 3, boot_delay => 0);
wait_for($node,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $web",
	'successful', 'its worker scales a group, and follows it to the end');
is($cloud->group('asg-web')->{desired}, 9, 'the cloud was told');
my $team = add_group($node, $cloud, 'team', desired => 3, owner => 'team');
wait_for($node,
	"SELECT count(*) > 0 FROM qpsscale.activities WHERE resource_group_id = $team",
	't', 'and one of an owner whose account it reads by the mapping for PUBLIC');
is(sql("SELECT count(*) FROM qpsscale_validate($web) WHERE status = 'fail'"),
	'0', 'validate is answered');
isnt(sql("SELECT last_validated_at FROM qpsscale.resource_groups WHERE id = $web"),
	'', 'and noted');
is(sql('SELECT coalesce(max(last_error), \'\') FROM qpsscale.stat_worker'),
	'', 'it has met no error');

# retention deletes: rows older than it
sql("INSERT INTO qpsscale.errors (source, message, occurred_at)"
	  . " VALUES ('load', 'of old', now() - interval '1 year')");
wait_for($node,
	"SELECT count(*) FROM qpsscale.errors WHERE message = 'of old'",
	'0', 'it deletes old history');

# ---- a one-shot worker, as the same role ----

sql('CREATE DATABASE alone');
$node->safe_psql('alone', <<'SQL');
CREATE EXTENSION qpsscale;
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps, region)
	VALUES ('alb-x', 'asg-x', 1, 'eu-north-1');
SQL
my ($rc, $out, $err) =
  $node->psql('alone', '\set VERBOSITY verbose' . "\nSELECT qpsscale_evaluate(1)");
like($err, qr/42501: permission denied for schema qpsscale.*HINT:  SELECT qpsscale_grant\('night_worker', 'worker'\)/s,
	'a one-shot worker is the same role, and says what it lacks');
$node->safe_psql('alone', "SELECT qpsscale_grant('night_worker', 'worker')");
is($node->safe_psql('alone', "SELECT qpsscale_evaluate(1) ->> 'reason'"),
	'evaluation_error', 'with its level it answers');

# ---- roles that will not do ----

my @refused = (
	[ 'nobody', '', 'does not exist', 'worker role: it does not exist or may not log in' ],
	[ 'no_login', 'CREATE ROLE no_login', 'is not permitted to log in',
		'worker role: it does not exist or may not log in' ]);

foreach my $case (@refused)
{
	my ($role, $create, $says, $problem) = @$case;
	my $offset = -s $node->logfile;

	sql($create) if $create;
	sql("ALTER SYSTEM SET qpsscale.worker_role = '$role'");
	sql('SELECT pg_reload_conf()');
	wait_for($node,
		"SELECT state || '|' || (last_error ~ '$says')::text"
		  . " FROM qpsscale.stat_worker WHERE pid IS NULL",
		'worker role refused|true',
		"a role that $says is named in stat_worker");
	is(problem('worker role%'), $problem, 'and in problems');
	like(substr(slurp_file($node->logfile), $offset), qr/role "$role" $says/,
		'and in the log');
	like(refusal("\\set VERBOSITY verbose\nSELECT qpsscale_evaluate($web)"),
		qr/55000: no qpsscale worker can run as role "$role"/,
		'and to who calls');
	my $starts = () = substr(slurp_file($node->logfile), $offset) =~ /role "$role" $says/g;
	cmp_ok($starts, '<=', 3, 'it is no loop of starts');
}

sql('CREATE ROLE empty_handed LOGIN');
sql("ALTER SYSTEM SET qpsscale.worker_role = 'empty_handed'");
sql('SELECT pg_reload_conf()');
wait_for($node,
	"SELECT coalesce(max(last_error), '') ~ 'permission denied.*hint: SELECT qpsscale_grant..empty_handed., .worker.'"
	  . ' FROM qpsscale.stat_worker WHERE pid IS NOT NULL',
	't', 'a role without the level runs, and stat_worker says what it lacks');
is(problem('worker role%'), 'worker role: it has not what a worker needs',
	'problems too');
my $pid = worker_pid($node);
my $ticks = sql("SELECT ticks FROM qpsscale.stat_worker");
wait_for($node, "SELECT ticks > $ticks FROM qpsscale.stat_worker", 't',
	'it goes on trying');
is(worker_pid($node), $pid, 'in the same process');
sql("SELECT qpsscale_grant('empty_handed', 'worker')");
wait_for($node,
	"SELECT coalesce(max(last_error), 'none') FROM qpsscale.stat_worker WHERE pid = $pid",
	'none', 'with the level it works, without a restart');

# ---- what the role cannot do ----

foreach my $attempt (
	'SELECT umoptions FROM pg_catalog.pg_user_mapping',
	'CREATE TABLE qpsscale.mine (id integer)',
	'UPDATE qpsscale.resource_groups SET target_qps = 1',
	'INSERT INTO qpsscale.armed (system_identifier, database_oid, hosts) VALUES (1, 1, NULL)',
	'DELETE FROM qpsscale.resource_groups',
	'TRUNCATE qpsscale.errors',
	"SELECT qpsscale_grant('empty_handed', 'admin')",
	'SELECT qpsscale_arm()',
	'CREATE TRIGGER t BEFORE UPDATE ON qpsscale.state FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()')
{
	like(refusal("SET ROLE empty_handed; $attempt"),
		qr/permission denied|must be owner/, "a worker cannot: $attempt");
}

sql('ALTER SYSTEM RESET qpsscale.worker_role');
sql('SELECT pg_reload_conf()');
$node->stop;
done_testing();
