# A worker runs no code of others: what hangs on our tables, and is not what
# was installed, stops it before it runs.

use strict;
use warnings;

use PostgreSQL::Test::Utils qw(slurp_file);
use QpsscaleNode;
use Test::More;

my ($node, $cloud) =
  QpsscaleNode->start(settings => { 'qpsscale.cycle_deadline' => "'10s'" });

sub sql
{
	my ($sql) = @_;

	return $node->safe_psql('postgres', $sql);
}

# A trace of who ran it; nontransactional, so that a rollback hides nothing.
sql(<<'SQL');
CREATE SEQUENCE ran;
CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM nextval('public.ran'); RETURN NEW; END $$;
CREATE FUNCTION evil_value() RETURNS integer LANGUAGE plpgsql VOLATILE AS $$
BEGIN PERFORM nextval('public.ran'); RETURN 1; END $$;
CREATE FUNCTION evil_check(v text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM nextval('public.ran'); RETURN true; END $$;
SQL
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 150 });
my $web = add_group($node, $cloud, 'web', desired => 3, boot_delay => 0);
wait_for($node, "SELECT last_reason IS NOT NULL FROM qpsscale.state", 't',
	'the worker runs');
is(sql('SELECT count(*) FROM qpsscale.foreign_objects()'),
	'0', 'as installed, nothing is foreign');

my @cases = (
	[ 'a trigger on the state',
		'CREATE TRIGGER evil BEFORE UPDATE ON qpsscale.state FOR EACH ROW EXECUTE FUNCTION evil()',
		'DROP TRIGGER evil ON qpsscale.state',
		'trigger evil on state is not part of qpsscale' ],
	[ 'a statement trigger on the evaluations',
		'CREATE TRIGGER evil AFTER INSERT ON qpsscale.evaluations EXECUTE FUNCTION evil()',
		'DROP TRIGGER evil ON qpsscale.evaluations',
		'trigger evil on evaluations is not part of qpsscale' ],
	[ 'a rule',
		'CREATE RULE evil AS ON UPDATE TO qpsscale.state DO ALSO SELECT evil_value()',
		'DROP RULE evil ON qpsscale.state',
		'rule evil on state is not part of qpsscale' ],
	[ 'a policy',
		'ALTER TABLE qpsscale.state ENABLE ROW LEVEL SECURITY; CREATE POLICY evil ON qpsscale.state USING (evil_value() = 1)',
		'DROP POLICY evil ON qpsscale.state; ALTER TABLE qpsscale.state DISABLE ROW LEVEL SECURITY',
		'row security of state is not part of qpsscale' ],
	[ 'a default',
		'ALTER TABLE qpsscale.errors ADD COLUMN evil integer; ALTER TABLE qpsscale.errors ALTER evil SET DEFAULT evil_value()',
		'ALTER TABLE qpsscale.errors DROP COLUMN evil',
		'default value for column evil of table qpsscale.errors, which uses function public.evil_value\\(\\), is not part' ],
	[ 'a check',
		'ALTER TABLE qpsscale.state ADD CONSTRAINT evil CHECK (evil_check(last_action)) NOT VALID',
		'ALTER TABLE qpsscale.state DROP CONSTRAINT evil',
		'constraint evil on table qpsscale.state, which uses function public.evil_check' ],
	[ 'an index on an expression',
		'CREATE INDEX evil ON qpsscale.evaluations (evil_check(action))',
		'DROP INDEX qpsscale.evil',
		'index qpsscale.evil, which uses function public.evil_check' ],
	[ 'a table that inherits',
		'CREATE TABLE evil_state () INHERITS (qpsscale.state)',
		'DROP TABLE evil_state',
		'table public.evil_state, which inherits state, is not part' ],
	[ 'a function of ours that was replaced',
		'CREATE OR REPLACE FUNCTION qpsscale.is_armed() RETURNS boolean LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT public.evil_value() = 1 $$',
		undef,
		'function is_armed\\(\\) was changed' ],
	[ 'a trigger of ours that was switched off',
		'ALTER TABLE qpsscale.resource_groups DISABLE TRIGGER resource_groups_check',
		'ALTER TABLE qpsscale.resource_groups ENABLE TRIGGER resource_groups_check',
		'trigger resource_groups_check on resource_groups was changed' ]);
my $is_armed = sql("SELECT pg_get_functiondef('qpsscale.is_armed()'::regprocedure)");

foreach my $case (@cases)
{
	my ($what, $add, $remove, $says) = @$case;

	sql("SELECT setval('ran', 1, false)");
	sql($add);
	# making it may have run it, once for each row
	my $before = sql("SELECT is_called::text || last_value FROM ran");
	wait_for($node,
		"SELECT coalesce(max(last_error), '') ~ '$says' FROM qpsscale.stat_worker",
		't', "$what stops the worker, which names it");
	my $seen = sql('SELECT last_evaluated_at FROM qpsscale.state');
	my $ticks = sql('SELECT ticks FROM qpsscale.stat_worker');
	wait_for($node, "SELECT ticks > $ticks + 1 FROM qpsscale.stat_worker",
		't', 'it looks again at each tick');
	is(sql('SELECT last_evaluated_at FROM qpsscale.state WHERE tableoid = \'qpsscale.state\'::regclass'),
		$seen, 'and evaluates nothing');
	is(sql('SELECT is_called::text || last_value FROM ran'),
		$before, 'the code of others has not run');
	my ($rc, $out, $err) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nSELECT qpsscale_evaluate($web)");
	like($err, qr/55000: objects of qpsscale are not as they were installed: .*$says.*HINT: /s,
		'who calls is told');
	sql($remove // $is_armed);
	wait_for($node,
		"SELECT last_evaluated_at > '$seen' FROM qpsscale.state", 't',
		'undone, the worker goes on');
}
is(sql("SELECT count(*) FROM qpsscale.problems() WHERE problem LIKE 'foreign%'"),
	'0', 'problems is content again');

# what only makes the tables faster or narrower is the DBA's business
sql(<<'SQL');
CREATE INDEX dba ON qpsscale.errors (occurred_at);
ALTER TABLE qpsscale.resource_groups ADD CONSTRAINT dba CHECK (target_qps < 1e9);
CREATE TABLE notes (id bigint REFERENCES qpsscale.resource_groups);
SQL
is(sql("SELECT coalesce(string_agg(f, '; '), 'none') FROM qpsscale.foreign_objects() f"),
	'none', 'an index, a check and a reference of a DBA stop nothing');

# meant by a superuser
sql('CREATE TRIGGER mine BEFORE UPDATE ON qpsscale.state FOR EACH ROW EXECUTE FUNCTION evil()');
like(sql("SELECT problem || ': ' || hint FROM qpsscale.problems() WHERE problem LIKE 'foreign%'"),
	qr/foreign objects: no worker runs: trigger mine on state is not part of qpsscale\. .*accept_objects/,
	'problems names it and the way out');
sql('SELECT qpsscale.accept_objects()');
my $seen = sql('SELECT last_evaluated_at FROM qpsscale.state');
wait_for($node, "SELECT last_evaluated_at > '$seen' FROM qpsscale.state",
	't', 'what a superuser has accepted runs');
sql('DROP TRIGGER mine ON qpsscale.state; SELECT qpsscale.accept_objects()');

# ---- in the middle of a cycle: seen before the first write ----

$cloud->fault(
	{
		kind => 'delay',
		params => { ms => 3000 },
		match => { action => 'DescribeScalingGroups' }
	});
my $before = sql('SELECT last_evaluated_at FROM qpsscale.state');
wait_for($node,
	"SELECT count(*) FROM qpsscale.stat_worker WHERE state = 'observing'"
	  . " AND last_tick_started_at < clock_timestamp() - interval '1 s'",
	'1', 'a cycle waits for the cloud');
sql("SELECT setval('ran', 1, false)");
sql('CREATE TRIGGER evil BEFORE UPDATE ON qpsscale.state FOR EACH ROW EXECUTE FUNCTION evil()');
wait_for($node,
	"SELECT coalesce(max(last_error), '') ~ 'trigger evil' FROM qpsscale.stat_worker",
	't', 'a trigger that comes during a cycle is noticed');
is(sql('SELECT is_called FROM ran'), 'f', 'and was not run by that cycle');

$node->stop;
done_testing();
