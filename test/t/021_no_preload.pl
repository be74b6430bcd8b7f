# Without shared_preload_libraries: all but the resident worker works, and what
# is missing is said.  With it: the same calls go to the resident worker.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use QpsscaleCloud;
use QpsscaleNode;
use QpsscaleProcess;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(
	preload => 0,
	settings => {
		max_worker_processes => 8,
		'qpsscale.cycle_deadline' => "'10s'"
	});

sub modifications
{
	return $cloud->counters->{modify_applied};
}

# SQLSTATE, message and hint of a call that must fail, in that order.
sub refusal
{
	my ($sql, @params) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql",
		@params);

	return $err;
}

# ---- what is missing is said ----

is( $node->safe_psql('postgres',
		"SELECT problem || '|' || hint FROM qpsscale.problems()"
		  . " WHERE problem LIKE 'no worker%'"),
	'no worker: library not preloaded|Add qpsscale to shared_preload_libraries'
	  . ' and restart the server; until then only qpsscale_evaluate() evaluates.',
	'problems names the missing worker and the remedy');
my $health = decode_json(
	$node->safe_psql('postgres', 'SELECT qpsscale_health()'));
is($health->{status}, 'down', 'health does not pretend');
is($health->{preloaded}, JSON::PP::false, 'and says why');
is($health->{problems}[0]{problem},
	'no worker: library not preloaded', 'with the problem');

# ---- evaluate by one-shot workers ----

$cloud->set_traffic('alb-one', { kind => 'constant', qps => 405 });
my $one = add_group($node, $cloud, 'one', desired => 3, boot_delay => 0);
like($node->safe_psql('postgres', 'SELECT problems FROM qpsscale.status'),
	qr/library not preloaded/, 'the status of a group shows it as well');

my $result = evaluate($node, $one, 1);
is("$result->{action} $result->{reason} $result->{optimal_instances}",
	'scale_up dynamic_scaling_scale_up 9', 'evaluate decides without preload');
is(modifications(), 0, 'a dry run changes nothing');
$result = evaluate($node, $one);
is("$result->{action} " . ($result->{dry_run} ? 'dry run' : 'live'),
	'scale_up live', 'and acts when it may');
is(modifications(), 1, 'once');
is($cloud->group('asg-one')->{desired}, 9, 'as decided');
evaluate($node, $one);
is(activities($node, $one), "dry_run 9\nsuccessful 9",
	'the next call finds the instances in service');

# ---- what a ROLLBACK leaves ----

$cloud->set_traffic('alb-undone', { kind => 'constant', qps => 405 });
my $undone = add_group($node, $cloud, 'undone', desired => 3, boot_delay => 0);
$node->safe_psql('postgres',
	"BEGIN; SELECT qpsscale_evaluate($undone); ROLLBACK");
is(activities($node, $undone), 'accepted 9',
	'a ROLLBACK of the caller keeps the activity');
is( $node->safe_psql('postgres',
		'SELECT count(*) FROM qpsscale.evaluations'
		  . " WHERE resource_group_id = $undone"),
	'1', 'and its explanation');

# ---- calls that are refused ----

like(
	refusal('SELECT qpsscale_evaluate(NULL::bigint)'),
	qr/ERROR:  22004: /, 'a group must be named');
like(
	refusal('SELECT qpsscale_evaluate(4711)'),
	qr/ERROR:  P0002: resource group 4711 does not exist/,
	'and exist');
like(
	refusal(
		"BEGIN; INSERT INTO qpsscale.resource_groups (alb_id, asg_id, region,"
		  . " target_qps, account) VALUES ('alb-new', 'asg-new',"
		  . " 'ap-southeast-1', 50, 'cloud') RETURNING id AS new \\gset\n"
		  . 'SELECT qpsscale_evaluate(:new)'),
	qr/ERROR:  55000: .*not committed.*HINT:  Commit first/s,
	'and be committed');

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE stranger;
SELECT qpsscale_grant('stranger', 'operator');
REVOKE EXECUTE ON FUNCTION qpsscale_evaluate(boolean) FROM stranger;
SQL
my $before = modifications();
like(
	refusal("SET ROLE stranger; SELECT qpsscale_evaluate($one)"),
	qr/ERROR:  42501: permission denied for resource group $one/,
	'only members of the owner may evaluate a group');
like(
	refusal("SET ROLE stranger; SELECT qpsscale_evaluate()"),
	qr/ERROR:  42501: permission denied for function/,
	'and only those who were let call the function');
is(modifications(), $before, 'a refused call changes nothing');

# ---- a call that is cancelled ----

$cloud->set_traffic('alb-cancel', { kind => 'constant', qps => 405 });
my $cancel = add_group($node, $cloud, 'cancel', desired => 3, boot_delay => 0);
$cloud->fault(
	{
		kind => 'delay',
		match => { action => 'ModifyScalingGroup', group_id => 'asg-cancel' },
		params => { ms => 2500, apply_late => JSON::PP::true }
	});

my ($in, $out, $err) = ('', '', '');
my $caller = IPC::Run::start(
	[
		'psql', '-X', '-d', $node->connstr('postgres'), '-c',
		"SELECT qpsscale_evaluate($cancel)"
	],
	'<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(60));
wait_for($node,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $cancel",
	'requested', 'a call has written its intent');
is( $node->safe_psql('postgres',
		"SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
		  . " WHERE query LIKE 'SELECT qpsscale_evaluate($cancel)%'"),
	't', 'its caller is cancelled');
$caller->finish;
is(activities($node, $cancel), 'requested 9',
	'who gets the prompt back while the call is under way');
like($err, qr/canceling statement due to user request/, 'with an error');
wait_for($node,
	"SELECT status FROM qpsscale.activities WHERE resource_group_id = $cancel",
	'accepted', 'the action is completed and recorded all the same');
is($cloud->group('asg-cancel')->{desired}, 9, 'in the cloud too');

# ---- many at once ----

# How often which answer came.
sub answers_to_a_crowd
{
	my ($server, $group) = @_;
	my @crowd;
	my %answers;

	foreach (1 .. 50)
	{
		my %call = (out => '', err => '');

		$call{run} = IPC::Run::start(
			[
				'psql', '-XAt', '-d', $server->connstr('postgres'), '-c',
				"SELECT qpsscale_evaluate($group) ->> 'reason'"
			],
			'<', \undef, '>', \$call{out}, '2>', \$call{err},
			IPC::Run::timeout(120));
		push @crowd, \%call;
	}
	$_->{run}->finish foreach @crowd;
	$answers{"$_->{out}$_->{err}"}++ foreach @crowd;
	return join('', map { "$answers{$_} x $_" } sort keys %answers);
}

is( answers_to_a_crowd($node, $one),
	"50 x optimal_instance_count_reached\n",
	'50 calls at once all answer, with 8 worker processes');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity"
		  . " WHERE backend_type LIKE 'qpsscale%'"),
	'0', 'and no process is left');

# ---- what a backend carries ----

sub libraries_after_evaluate
{
	my ($server, $group) = @_;
	my $session = $server->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');

	$session->query_safe("SELECT qpsscale_evaluate($group)");
	my $libraries = libraries_of($pid);
	$session->quit;
	return $libraries;
}

my $libraries = libraries_after_evaluate($node, $one);
like($libraries, qr{/qpsscale\.so$}m, 'a backend that evaluates loads qpsscale');
unlike($libraries, qr/libcurl|libjansson|qpsscale_worker/,
	'but neither libcurl nor jansson');
$node->stop;

my ($loaded) = QpsscaleNode->start(
	name => 'preloaded',
	cloud => $cloud,
	settings => {
		max_worker_processes => 8,
		'qpsscale.cycle_deadline' => "'2s'"
	});
my $group = add_group($loaded, $cloud, 'loaded', desired => 1);

wait_for($loaded,
	"SELECT last_reason FROM qpsscale.state WHERE resource_group_id = $group",
	'metrics_unavailable', 'with preload the resident worker evaluates');
# ---- a call that comes while the worker is busy ----

$cloud->fault(
	{
		kind => 'hang',
		match => { action => 'GetMetricData', alb_id => 'alb-loaded' }
	});
wait_for($loaded, 'SELECT state FROM qpsscale.stat_worker',
	'observing', 'a tick is under way');
my $due = $loaded->safe_psql('postgres',
	'SELECT ticks FROM qpsscale.stat_worker');
reload_with($loaded, 'qpsscale.interval' => "'60s'");
my $took = seconds_for(sub { evaluate($loaded, $group) });
cmp_ok($took, '<', 20, 'a call that comes meanwhile is served right after it');
is( $loaded->safe_psql('postgres', 'SELECT ticks FROM qpsscale.stat_worker'),
	$due + 1, 'without another tick between');
reload_with($loaded, 'qpsscale.interval' => "'1s'");

$libraries = libraries_after_evaluate($loaded, $group);
unlike($libraries, qr/libcurl|libjansson|qpsscale_worker/,
	'a backend of a preloaded server has no libcurl either');
$libraries = libraries_of(worker_pid($loaded));
like($libraries, qr/libcurl/, 'the worker has libcurl');
like($libraries, qr/libjansson/, 'and jansson');
unlike(libraries_of($loaded->{_pid}), qr/libcurl|libjansson|qpsscale_worker/,
	'the postmaster has not');
is( answers_to_a_crowd($loaded, $group),
	"50 x metrics_unavailable\n",
	'50 calls at once all answer with preload as well');
is( $loaded->safe_psql('postgres',
		'SELECT requests_served FROM qpsscale.stat_worker'),
	'52', 'and the resident worker served them all');
$loaded->stop;

done_testing();
