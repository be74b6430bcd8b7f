# Who may do what.  A role without a grant can neither read a table of ours nor
# call a function; a role that owns groups and is dropped costs its own groups
# alone.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(preload => 0);

# What a role sees when it runs a statement: '' or the error.
sub refusal
{
	my ($role, $sql) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', "SET ROLE $role; $sql");

	return $err;
}

# ---- nothing without a grant ----

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE stranger;
CREATE ROLE guest;
GRANT USAGE ON SCHEMA qpsscale TO guest;
SQL

my @relations = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT c.oid::regclass FROM pg_class c
WHERE c.relnamespace = 'qpsscale'::regnamespace AND c.relkind IN ('r', 'v')
ORDER BY 1::text
SQL
cmp_ok(scalar(@relations), '>=', 8, 'there are tables and views');
foreach my $relation (@relations)
{
	like(refusal('stranger', "SELECT * FROM $relation"),
		qr/permission denied for schema qpsscale/,
		"a stranger does not read $relation");
	# even who is let into the schema
	like(refusal('guest', "SELECT * FROM $relation"),
		qr/permission denied for (table|view) /,
		"a guest in the schema does not read $relation");
	like(
		refusal('guest', "BEGIN; LOCK TABLE $relation"),
		qr/permission denied for (table|view) /,
		"nor locks $relation");
}
like(
	refusal('guest', "SELECT nextval('qpsscale.resource_groups_id_seq')"),
	qr/permission denied for sequence/,
	'a guest does not move a sequence');

# every function, called with a null for each argument that the planner does
# not see, lest it drop the call
my @calls = split /\n/, $node->safe_psql('postgres', <<'SQL');
SELECT format('SELECT * FROM %s(%s)', p.oid::regproc,
	(SELECT string_agg('(SELECT NULL::' || format_type(a.type, NULL) || ')', ', '
					   ORDER BY a.nr)
	 FROM unnest(p.proargtypes) WITH ORDINALITY a (type, nr)))
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qpsscale'
WHERE p.prorettype <> 'trigger'::regtype
ORDER BY 1
SQL
cmp_ok(scalar(@calls), '>=', 15, 'there are functions');
foreach my $call (@calls)
{
	my ($function) = $call =~ /FROM (.*)/;

	like(
		refusal('guest', $call),
		qr/permission denied for function/,
		"a guest does not call $function");
}
# trigger functions cannot be called; neither can they be attached
like(
	refusal(
		'guest',
		'CREATE TEMP TABLE t (a integer); CREATE TRIGGER t BEFORE INSERT ON t'
		  . ' FOR EACH ROW EXECUTE FUNCTION qpsscale.resource_groups_state()'),
	qr/permission denied for function/,
	'a guest does not use a trigger function');
like(
	refusal('guest', 'CREATE SERVER mine FOREIGN DATA WRAPPER qpsscale'),
	qr/permission denied for foreign-data wrapper/,
	'nor makes an account');

# a function that may be called gives no right to what it looks at
$node->safe_psql('postgres',
	'GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public, qpsscale TO guest');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 405 });
my $web = add_group($node, $cloud, 'web', desired => 3, boot_delay => 0);
like(
	refusal('guest', "SELECT qpsscale_evaluate($web)"),
	qr/permission denied for table resource_groups/,
	'evaluating a group needs the right to see it');
$node->safe_psql('postgres',
	'GRANT SELECT ON qpsscale.resource_groups TO guest');
like(
	refusal('guest', "SELECT qpsscale_evaluate($web)"),
	qr/permission denied for resource group $web/,
	'and to be a member of its owner');
like(
	refusal('guest', "SELECT * FROM qpsscale_validate($web)"),
	qr/permission denied for resource group $web/,
	'validating it likewise');
is( $node->safe_psql('postgres',
		'SET ROLE guest; SELECT count(*) FROM qpsscale_evaluate()'),
	'0',
	'of all groups, those of others are left out');
is($cloud->counters->{modify_applied}, 0, 'the cloud was left alone');

# ---- an owner that goes ----

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE leaver;
CREATE ROLE stayer;
GRANT USAGE ON FOREIGN SERVER cloud TO leaver, stayer;
CREATE USER MAPPING FOR PUBLIC SERVER cloud
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY',
			 secret_access_key 'env:TEST_SECRET_KEY');
SQL
foreach my $name (qw(left stays))
{
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 405 });
}
my $left = add_group($node, $cloud, 'left', owner => 'leaver', desired => 3);
my $stays = add_group($node, $cloud, 'stays', owner => 'stayer', desired => 3);

# DROP OWNED takes the grant, and leaves the group without an account
$node->safe_psql('postgres', 'DROP OWNED BY leaver');
my %result = map { $_->{asg_id} => $_ } map { decode_json($_) } split /\n/,
  $node->safe_psql('postgres', 'SELECT qpsscale_evaluate()');
like(
	$result{'asg-left'}{error},
	qr/role "leaver" may not use account "cloud" \(GRANT USAGE/,
	'after DROP OWNED the group says which right is missing');
is($result{'asg-stays'}{action}, 'scale_up', 'another owner\'s group acts');
is($result{'asg-web'}{action}, 'scale_up', 'and so does a superuser\'s');

# DROP ROLE leaves the group to superusers
$node->safe_psql('postgres', 'DROP ROLE leaver');
like(
	evaluate($node, $left)->{error},
	qr/the owner "leaver" of the group does not exist/,
	'after DROP ROLE the group says that its owner is missing');
is( $node->safe_psql('postgres',
		"SELECT status, error FROM qpsscale.status WHERE id = $left"),
	'failing|account: the owner "leaver" of the group does not exist',
	'status shows it');
is( $node->safe_psql('postgres',
		"SELECT DISTINCT source, message FROM qpsscale.errors"
		  . " WHERE resource_group_id = $left ORDER BY 2"),
	"account|role \"leaver\" may not use account \"cloud\""
	  . " (GRANT USAGE ON FOREIGN SERVER gives the right)\n"
	  . 'account|the owner "leaver" of the group does not exist',
	'both are on record');
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM qpsscale.errors'
		  . " WHERE resource_group_id IS DISTINCT FROM $left"),
	'0', 'and nothing else');
like(
	$node->safe_psql('postgres',
		"SELECT string_agg(detail, '; ') FROM qpsscale_validate($left)"
		  . " WHERE status = 'fail'"),
	qr/owner "leaver" .* does not exist/,
	'validate explains it too');
is($cloud->group('asg-left')->{desired}, 3, 'its scaling group is left alone');
is($node->safe_psql('postgres', 'SELECT qpsscale_suspend()'),
	'3', 'suspending all groups reaches it as well');
$node->safe_psql('postgres', 'SELECT qpsscale_resume()');

# a new owner takes it over
$node->safe_psql('postgres',
	"UPDATE qpsscale.resource_groups SET owner = 'stayer' WHERE id = $left");
is(evaluate($node, $left)->{action}, 'scale_up', 'with a new owner it acts');

$node->stop;
done_testing();
