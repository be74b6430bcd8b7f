# Every level tries what it should not be able to do.
#
# One table: who, what, and the SQLSTATE it must get.  Each attempt runs in a
# session of that role and is rolled back.

use strict;
use warnings;

use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.secrets_dir' => "'/nonexistent'"
	});

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE nobody LOGIN;
CREATE ROLE reader LOGIN;
CREATE ROLE operator LOGIN;
CREATE ROLE admin LOGIN;
CREATE ROLE team_a LOGIN;
CREATE ROLE team_b LOGIN;
SELECT qpsscale_grant('reader', 'reader');
SELECT qpsscale_grant('operator', 'operator');
SELECT qpsscale_grant('admin', 'admin');
SELECT qpsscale_grant('team_a', 'operator');
SELECT qpsscale_grant('team_b', 'operator');
GRANT USAGE ON FOREIGN SERVER cloud TO team_a, team_b;
GRANT CREATE ON SCHEMA public TO team_b;
INSERT INTO qpsscale.resource_groups
	(id, name, account, alb_id, asg_id, region, target_qps, owner, enabled)
	VALUES (1, 'a', 'cloud', 'alb-a', 'asg-a', 'ap-southeast-1', 50, 'team_a', true),
		(2, 'super', NULL, 'alb-s', 'asg-s', 'ap-southeast-1', 50, CURRENT_USER, true),
		(3, 'b', 'cloud', 'alb-b', 'asg-b', 'ap-southeast-1', 50, 'team_b', true);
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	VALUES (1, 'queue', 'sql', 'SELECT 1', 10), (3, 'queue', 'sql', 'SELECT 1', 10);
INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration, min_instances)
	VALUES (1, 'night', '22:00', '8 hours', 1);
SQL

my $columns = '(name, account, alb_id, asg_id, region, target_qps)';
my $into = "INSERT INTO qpsscale.resource_groups $columns VALUES";
my @everybody = qw(nobody reader operator admin team_a team_b);
my @not_admin = qw(nobody reader operator team_a team_b);
my @others = qw(nobody reader operator team_b);
my @let_in = qw(reader operator admin team_a team_b);
my $denied = '42501';

my @attempts = (
	# secrets and addresses
	[ \@everybody, 'SELECT umoptions FROM pg_catalog.pg_user_mapping', $denied ],
	[ \@everybody, 'SELECT * FROM qpsscale.accounts(NULL)', $denied ],
	[ \@everybody, "ALTER SERVER cloud OPTIONS (SET endpoint 'https://evil.example')", $denied ],
	[ \@not_admin, 'CREATE SERVER mine FOREIGN DATA WRAPPER qpsscale', $denied ],
	[ ['admin'], "CREATE SERVER mine FOREIGN DATA WRAPPER qpsscale OPTIONS (endpoint 'https://evil.example')", $denied ],
	[ ['admin'], "CREATE SERVER mine FOREIGN DATA WRAPPER qpsscale OPTIONS (ca_file '/etc/passwd')", $denied ],
	[ ['admin'], "CREATE SERVER mine FOREIGN DATA WRAPPER qpsscale OPTIONS (rate_limits 'off')", $denied ],
	[ [ 'team_a', 'team_b' ], "CREATE USER MAPPING FOR CURRENT_USER SERVER cloud OPTIONS (access_key_id 'env:PATH', secret_access_key 'env:HOME')", $denied ],
	[ [ 'team_a', 'team_b' ], "CREATE USER MAPPING FOR CURRENT_USER SERVER cloud OPTIONS (access_key_id 'inline:x', secret_access_key 'inline:y')", '(42501|22023)' ],
	[ ['team_b'], "CREATE USER MAPPING FOR CURRENT_USER SERVER cloud OPTIONS (access_key_id 'file:team_a/key', secret_access_key 'file:team_a/key')", $denied ],
	[ ['team_b'], "CREATE USER MAPPING FOR CURRENT_USER SERVER cloud OPTIONS (access_key_id 'file:../../etc/passwd', secret_access_key 'file:/etc/passwd')", '(42501|22023)' ],
	[ ['team_b'], "CREATE USER MAPPING FOR team_a SERVER cloud OPTIONS (access_key_id 'file:team_b/key')", $denied ],
	[ [ 'reader', 'operator', 'admin' ], "CREATE USER MAPPING FOR CURRENT_USER SERVER cloud OPTIONS (access_key_id 'file:x/y')", $denied ],
	[ \@everybody, 'SHOW qpsscale.secrets_dir', $denied ],
	[ \@everybody, "SET qpsscale.allowed_hosts = 'evil.example'", '(55P02|42501)' ],
	[ \@everybody, 'SET qpsscale.enabled = on', '(55P02|42501)' ],
	[ \@everybody, "COMMIT; ALTER SYSTEM SET qpsscale.worker_role = ''", $denied ],

	# groups of others
	[ [ 'operator', 'team_b' ], "$into ('x', 'cloud', 'alb-a', 'asg-a', 'ap-southeast-1', 1)", $denied ],
	[ ['team_b'], "$into ('x', 'cloud', 'alb-x', 'asg-a', NULL, 1)", $denied ],
	[ ['team_b'], "$into ('x', NULL, 'alb-x', 'asg-a', 'eu-north-1', 1)", $denied ],
	[ ['team_b'], "$into ('x', NULL, 'alb-x', 'asg-s', NULL, 1)", $denied ],
	[ ['team_b'], "UPDATE qpsscale.resource_groups SET asg_id = 'asg-a' WHERE id = 3", $denied ],
	[ ['team_b'], "UPDATE qpsscale.resource_groups SET asg_id = 'asg-a', account = NULL, alb_id = 'alb-a' WHERE id = 3", $denied ],
	[ ['team_b'], 'UPDATE qpsscale.resource_groups SET owner = \'team_a\' WHERE id = 3', $denied ],
	[ \@others, 'UPDATE qpsscale.resource_groups SET target_qps = 1 WHERE id = 1', $denied ],
	[ \@others, 'UPDATE qpsscale.resource_groups SET enabled = false WHERE id = 2', $denied ],
	[ ['admin'], "UPDATE qpsscale.resource_groups SET owner = 'team_b' WHERE id = 1", $denied ],
	[ ['admin'], "UPDATE qpsscale.resource_groups SET account = 'cloud' WHERE id = 2", $denied ],
	[ ['admin'], "INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps, owner) SELECT 'x', 'y', 1, r.rolname FROM pg_roles r WHERE r.oid = 10", $denied ],
	[ \@everybody, 'DELETE FROM qpsscale.resource_groups WHERE id = 1', $denied ],
	# what belongs to a group: a query runs as its owner, and an account is his
	[ [ @others, 'admin' ], "UPDATE qpsscale.signals SET query = 'SELECT 2' WHERE resource_group_id = 1", $denied ],
	[ [ @others, 'admin' ], "INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target) VALUES (1, 'mine', 'sql', 'SELECT 2', 1)", $denied ],
	[ [ 'team_b', 'admin' ], "UPDATE qpsscale.signals SET resource_group_id = 1, name = 'mine' WHERE resource_group_id = 3", '(42501|55000)' ],
	[ \@others, 'UPDATE qpsscale.signals SET target = 1 WHERE resource_group_id = 1', $denied ],
	[ \@others, 'UPDATE qpsscale.schedules SET min_instances = 0 WHERE resource_group_id = 1', $denied ],
	[ \@others, "INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration, max_instances) VALUES (1, 'mine', '00:00', '1 day', 0)", $denied ],
	[ \@others, "SELECT qpsscale_delete_signal(1, 'queue')", $denied ],
	[ \@others, "SELECT qpsscale_delete_schedule(1, 'night')", $denied ],
	[ [ 'team_a', 'team_b' ], "UPDATE qpsscale.signals SET created_at = '2020-01-01'", $denied ],
	[ [ 'team_a', 'team_b' ], "INSERT INTO qpsscale.signals (resource_group_id, name, source, account, query, target, created_at) VALUES (1, 'mine', 'sql', NULL, 'SELECT 2', 1, '2020-01-01')", $denied ],
	[ \@everybody, "UPDATE qpsscale.signal_state SET missing_since = NULL", $denied ],
	[ \@everybody, 'DELETE FROM qpsscale.signals', $denied ],
	[ \@everybody, 'DELETE FROM qpsscale.schedules', $denied ],
	[ \@everybody, 'TRUNCATE qpsscale.signals', $denied ],
	[ \@everybody, 'TRUNCATE qpsscale.resource_groups', $denied ],
	[ \@others, 'SELECT qpsscale_delete(1)', $denied ],
	[ \@others, 'SELECT qpsscale_evaluate(1)', $denied ],
	[ \@others, 'SELECT * FROM qpsscale_validate(1)', $denied ],
	[ \@others, 'SELECT qpsscale_suspend(1)', '(42501|P0002)' ],
	[ \@others, 'SELECT qpsscale_resume(1)', '(42501|P0002)' ],
	[ \@others, 'SELECT qpsscale_reset_circuit(1)', '(42501|P0002)' ],
	[ \@others, "PREPARE p AS SELECT qpsscale_evaluate(1); EXECUTE p", $denied ],
	[ \@others, 'DECLARE c CURSOR FOR SELECT qpsscale_evaluate(1); FETCH c', $denied ],
	[ ['team_b'], 'INSERT INTO qpsscale.resource_groups (id, alb_id, asg_id, target_qps) VALUES (4, \'x\', \'y\', 1)', $denied ],
	[ ['team_b'], 'UPDATE qpsscale.resource_groups SET version = 1 WHERE id = 3', $denied ],

	# arming and granting
	[ \@not_admin, 'SELECT qpsscale_arm()', $denied ],
	[ \@not_admin, 'DELETE FROM qpsscale.armed', $denied ],
	[ \@not_admin, "SELECT qpsscale_grant(CURRENT_USER, 'reader')", $denied ],
	[ \@everybody, "SELECT qpsscale_grant(CURRENT_USER, 'admin')", $denied ],
	[ \@everybody, "SELECT qpsscale_grant(CURRENT_USER, 'worker')", $denied ],
	[ \@everybody, "SELECT qpsscale.set_level(CURRENT_USER, 'admin')", $denied ],
	[ \@everybody, "SELECT qpsscale_revoke('admin')", $denied ],
	[ \@everybody, "INSERT INTO qpsscale.grants (role, level) VALUES ('team_b', 'admin')", $denied ],
	[ \@everybody, 'SELECT qpsscale.accept_objects()', $denied ],
	[ \@everybody, 'SELECT qpsscale.reapply_grants()', $denied ],

	# the trail and the state, by hand
	(map { [ \@everybody, "DELETE FROM qpsscale.$_", $denied ],
		[ \@everybody, "INSERT INTO qpsscale.$_ DEFAULT VALUES", $denied ] }
		qw(activities evaluations errors state interventions grants seal)),
	[ \@everybody, 'UPDATE qpsscale.state SET suspended = true', $denied ],
	[ \@everybody, "UPDATE qpsscale.activities SET status = 'failed'", $denied ],
	[ \@let_in, "UPDATE qpsscale.own_state SET actor = 'postgres'", $denied ],

	# objects of ours
	[ \@everybody, 'CREATE TABLE qpsscale.mine (id integer)', $denied ],
	[ \@everybody, 'CREATE FUNCTION qpsscale.may_act(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$', $denied ],
	[ \@everybody, 'CREATE OR REPLACE FUNCTION qpsscale.may_act(actor name, owner name) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$', $denied ],
	[ \@everybody, 'CREATE TRIGGER t BEFORE UPDATE ON qpsscale.state FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', $denied ],
	[ \@everybody, 'CREATE RULE r AS ON UPDATE TO qpsscale.state DO INSTEAD NOTHING', $denied ],
	[ \@everybody, 'CREATE TEMP TABLE t () INHERITS (qpsscale.state)', $denied ],
	[ \@everybody, 'CREATE TEMP TABLE t (id bigint REFERENCES qpsscale.resource_groups)', '(42501|42P16)' ],
	[ \@everybody, 'ALTER TABLE qpsscale.state ADD COLUMN x integer', $denied ],
	[ \@everybody, 'ALTER EXTENSION qpsscale UPDATE', $denied ],
	[ \@everybody, 'DROP EXTENSION qpsscale CASCADE', $denied ],

	# stopping the worker: nothing above ACCESS SHARE for those below admin
	(map { my $mode = $_;
		map { [ \@not_admin, "LOCK TABLE qpsscale.$_ IN $mode MODE", $denied ] }
		  qw(state activities evaluations errors armed own_state seal) }
		'ROW SHARE', 'SHARE', 'ACCESS EXCLUSIVE'),
	(map { my $mode = $_;
		map { [ \@everybody, "LOCK TABLE qpsscale.$_ IN $mode MODE", $denied ] }
		  qw(resource_groups signals schedules alerts alert_deliveries) }
		'SHARE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE'),
	[ \@others, 'SELECT * FROM qpsscale.state FOR UPDATE', $denied ],

	# names that would be found first
	[ ['team_b'], 'CREATE TABLE pg_temp.resource_groups AS SELECT 1 AS id, CURRENT_USER AS owner; SET search_path = pg_temp, public; SELECT qpsscale_evaluate(1)', $denied ],
	[ ['team_b'], 'CREATE FUNCTION public.has_table_privilege(name, text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$; SET search_path = public, pg_catalog; SELECT qpsscale_evaluate(1)', $denied ],
	[ ['team_b'], 'CREATE FUNCTION public.yes(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$; CREATE OPERATOR public.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = public.yes); SET search_path = public, pg_catalog; SELECT qpsscale_delete(1)', $denied ],

	# what is called with another's rights
	[ \@everybody, 'CREATE TEMP TABLE t (a integer); CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION qpsscale.own_state_write()', $denied ],
	[ \@not_admin, "SELECT qpsscale.grant_as_admin('team_b', 'operator')", $denied ],
	[ [ 'nobody', 'reader' ], 'SELECT qpsscale.evaluator_runs(1, now())', $denied ],
	[ \@everybody, "SELECT qpsscale.token_role('qps_1_x', NULL)", $denied ],
	[ \@everybody, 'SELECT token_sha256 FROM qpsscale.api_tokens', $denied ],
	[ \@everybody, "INSERT INTO qpsscale.api_tokens (name, token_sha256, role_name) VALUES ('x', sha256('x'), 'team_a')", $denied ],
	[ \@not_admin, "SELECT qpsscale_create_token(CURRENT_USER, 'x')", $denied ],
	[ ['nobody'], 'EXPLAIN SELECT * FROM qpsscale.state', $denied ]);

sub sqlstate_of
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nBEGIN;\n$sql;\nROLLBACK;",
		extra_params => [ '-U', $role ]);

	return $err =~ /ERROR:  (\w{5}):/ ? $1 : "none ($out)";
}

my $before = $cloud->counters->{modify_applied};
my $groups = $node->safe_psql('postgres', 'TABLE qpsscale.resource_groups');
my $grants = $node->safe_psql('postgres', 'TABLE qpsscale.grants ORDER BY role');
foreach my $attempt (@attempts)
{
	my ($roles, $sql, $expected) = @$attempt;

	like(sqlstate_of($_, $sql), qr/^(?:$expected)$/, "$_ cannot: $sql")
	  foreach @$roles;
}
is($cloud->counters->{modify_applied}, $before, 'the cloud was left alone');
is($node->safe_psql('postgres', 'TABLE qpsscale.resource_groups'),
	$groups, 'so were the groups');
is($node->safe_psql('postgres', 'TABLE qpsscale.grants ORDER BY role'),
	$grants, 'and the levels');
is($node->safe_psql('postgres', <<'SQL'), '0', 'statistics of the tables are not for all');
SET ROLE nobody; SELECT count(*) FROM pg_stats WHERE schemaname = 'qpsscale'
SQL

$node->stop;
done_testing();
