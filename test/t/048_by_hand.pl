# An operator at night sets a number by hand: at once, within the limits, with a
# trace, and for as long as it is to be held.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use PostgreSQL::Test::Utils;
use Test::More;

my ($node, $cloud) =
  QpsscaleNode->start(settings => { 'qpsscale.interval' => "'1h'" });

sub sql
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# The result, or the error with its SQLSTATE.
sub set_capacity
{
	my ($arguments, $role) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres',
		"\\set VERBOSITY verbose\n"
		  . (defined $role ? "SET ROLE $role;\n" : '')
		  . "SELECT qpsscale_set_capacity($arguments)",
		stdout => \$out, stderr => \$err);
	return $err =~ /ERROR: / ? $err : decode_json($out);
}

sub desired
{
	my ($name) = @_;

	return $cloud->group("asg-$name")->{desired};
}

sub verdict
{
	my ($result) = @_;

	return join ' ', @$result{qw(action reason desired_capacity)};
}

# ---- what a load cannot do, an operator can ----

my $web = add_group($node, $cloud, 'web', desired => 4, min => 1, max => 20,
	max_instances => 15, max_scale_down_per_action => 1,
	scale_down_tolerance => 0.9, boot_delay => 0);
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 300 });
is(verdict(evaluate($node, $web)), 'scale_up dynamic_scaling_scale_up 6',
	'a group has just been scaled');
sql("SELECT qpsscale_suspend($web, reason => 'deploy')");
sql("UPDATE qpsscale.state SET circuit_open_until = now() + interval '1 hour'");

my $result = set_capacity("$web, 2, 'costs too much'");
is($result->{detail}, 'the cloud took 2 instead of 6',
	'cooldown, suspension, circuit, window, cap and tolerance do not stop an operator')
  or diag(explain($result));
is(desired('web'), 2, 'the cloud was told');
is($result->{changed}, JSON::PP::true, 'and the result says so');
is(verdict($result->{evaluation}), 'scale_down set_by_hand 2', 'with its reason');
is( sql("SELECT requested_by = current_user, reason, status <> 'requested' FROM qpsscale.activities ORDER BY id DESC LIMIT 1"),
	't|set_by_hand|t', 'the activity says who');
is( sql("SELECT kind, desired_capacity, reason, until IS NULL, made_by = current_user, session_by = session_user FROM qpsscale.interventions ORDER BY id DESC LIMIT 1"),
	'set_capacity|2|costs too much|t|t|t', 'and the intervention why');
is(sql("SELECT circuit_open_until IS NULL FROM qpsscale.state"),
	't', 'that the cloud took it closes the circuit');
like( sql("SELECT summary FROM qpsscale_why($web)"),
	qr/scale down to 2 \(set_by_hand\).* An operator asked for 2\..* by hand by \S+, accepted .*set 2 instances by hand at .* \("costs too much"\)/,
	'why() tells all that') or diag(sql("SELECT summary FROM qpsscale_why($web)"));
sql("SELECT qpsscale_resume($web)");
is(evaluate($node, $web)->{reason}, 'cooldown_general',
	'without hold_until the load decides again after the cooldown');
is( set_capacity("$web, 2, 'again'")->{detail},
	'2 instances are desired already', 'nothing to do is no failure');

# ---- but never beyond the limits ----

my $before = sql('SELECT count(*) FROM qpsscale.activities, qpsscale.evaluations, qpsscale.interventions');
sql("ALTER SYSTEM SET qpsscale.max_instances = 12");
sql('SELECT pg_reload_conf()');
wait_for($node, 'SHOW qpsscale.max_instances', '12', 'a ceiling is set');
wait_until('the ceiling is named',
	sub { ($result = set_capacity("$web, 13, 'x'")) =~ /qpsscale.max_instances is 12/ })
  or diag($result);
like($result, qr/ERROR:  22003: .*HINT:  Raise qpsscale.max_instances/s, 'with a hint');
sql("UPDATE qpsscale.resource_groups SET max_instances = 11");
like(set_capacity("$web, 12, 'x'"), qr/22003: .* max_instances of its policy is 11/,
	'so is the policy\'s maximum');
sql("UPDATE qpsscale.resource_groups SET max_instances = NULL, min_instances = 2");
like(set_capacity("$web, 1, 'x'"), qr/22003: .* min_instances of its policy is 2/,
	'its minimum');
sql("UPDATE qpsscale.resource_groups SET min_instances = NULL");
like(set_capacity("$web, 0, 'x'"), qr/22003: .* the cloud's minimum of the scaling group is 1/,
	'the cloud\'s minimum');
$cloud->patch_group('asg-web', { max => 7 });
like(set_capacity("$web, 8, 'x'"), qr/22003: .* the cloud's maximum of the scaling group is 7/,
	'and its maximum');
is(desired('web'), 2, 'the cloud was not told any of these');
is( sql('SELECT count(*) FROM qpsscale.activities, qpsscale.evaluations, qpsscale.interventions'),
	$before, 'nor was anything recorded');
$cloud->patch_group('asg-web', { max => 20 });
sql("ALTER SYSTEM RESET qpsscale.max_instances");
sql('SELECT pg_reload_conf()');
wait_for($node, 'SHOW qpsscale.max_instances', '0', 'the ceiling is gone');

# ---- arguments and rights ----

like(set_capacity("NULL, 2, 'x'"), qr/22004/, 'a group is needed');
like(set_capacity("$web, NULL, 'x'"), qr/22023/, 'and a number');
like(set_capacity("$web, -1, 'x'"), qr/22023/, 'which is no negative one');
like(set_capacity("$web, 2, NULL"), qr/22023: .*a reason is needed/, 'and a reason');
like(set_capacity("$web, 2, '  '"), qr/22023/, 'in words');
like(set_capacity("$web, 2, repeat('x', 512)"), qr/22023: .*too long/, 'not too many');
like(set_capacity("$web, 2, 'x', now() - interval '1 s'"), qr/22023/,
	'a hold ends in the future');
like(set_capacity("4711, 2, 'x'"), qr/P0002/, 'the group exists');
sql(<<'SQL');
CREATE ROLE stranger;
GRANT USAGE ON SCHEMA qpsscale TO stranger;
GRANT SELECT ON qpsscale.resource_groups TO stranger;
SQL
like(set_capacity("$web, 2, 'x'", 'stranger'), qr/42501/, 'a right is needed');
sql('GRANT EXECUTE ON FUNCTION qpsscale_set_capacity TO stranger');
like(set_capacity("$web, 2, 'x'", 'stranger'), qr/42501/,
	'and membership in the owner role');
is(desired('web'), 2, 'nobody has changed anything');

# ---- arming, kill switch, dry run ----

sub says_why
{
	my ($why, $what) = @_;

	my $seen = set_capacity("$web, 9, 'x', now() + interval '1 hour'");
	is(ref $seen ? $seen->{detail} : $seen, "nothing was changed: $why", $what);
	is($seen->{changed}, JSON::PP::false, '... and no');
	is(desired('web'), 2, '... not in the cloud');
	return is(sql("SELECT held_until IS NULL FROM qpsscale.state WHERE resource_group_id = $web"),
		't', '... and nothing is held');
}
sql("UPDATE qpsscale.resource_groups SET dry_run = true");
says_why('the group is in dry run', 'a dry run changes nothing and says so');
is( sql("SELECT status, requested_by = current_user FROM qpsscale.activities ORDER BY id DESC LIMIT 1"),
	'dry_run|t', 'its row says who');
sql("UPDATE qpsscale.resource_groups SET dry_run = false, enabled = false");
says_why('the group is not enabled', 'nor is a disabled group changed');
sql("UPDATE qpsscale.resource_groups SET enabled = true");
sql("CREATE TABLE was_armed AS TABLE qpsscale.armed; DELETE FROM qpsscale.armed");
says_why('the database is not armed on this host', 'nor one in a database that is not armed');
sql("INSERT INTO qpsscale.armed TABLE was_armed");
sql("ALTER SYSTEM SET qpsscale.enabled = off");
sql('SELECT pg_reload_conf()');
wait_for($node, 'SELECT state FROM qpsscale.stat_worker', 'disabled',
	'the kill switch is off');
says_why('qpsscale.enabled is off', 'nor with the kill switch off');
sql("ALTER SYSTEM RESET qpsscale.enabled");
sql('SELECT pg_reload_conf()');
wait_for($node, 'SELECT state FROM qpsscale.stat_worker', 'idle', 'it is on again');

# ---- one in flight ----

sql("INSERT INTO qpsscale.activities (resource_group_id, activity_key, action, delta, desired_capacity, status, reason, eval_capacity, policy_version)"
	  . " VALUES ($web, 'open', 'scale_up', 1, 3, 'unknown', 'x', 2, 1)");
like(set_capacity("$web, 9, 'x'"), qr/55000: .*was not changed: activity_in_flight.*HINT:  A change that/s,
	'while another change is in flight it is refused');
sql("DELETE FROM qpsscale.activities WHERE activity_key = 'open'");

# ---- what the cloud says ----

$cloud->fault({ kind => 'error_200', times => 1, params => { code => 'InvalidParameter', message => 'no' },
		match => { action => 'ModifyScalingGroup' } });
$result = set_capacity("$web, 3, 'x'");
like($result->{detail}, qr/^the cloud did not take it: .*InvalidParameter/,
	'a refusal is told') or diag(explain($result));
is($result->{changed}, JSON::PP::false, 'as no change');
$cloud->clear_faults;
$cloud->fault({ kind => 'gateway', times => -1, match => { action => 'DescribeScalingGroups' } });
like(set_capacity("$web, 3, 'x'"), qr/55000: .*was not changed: .*HINT:  SELECT \* FROM qpsscale_validate\($web\)/s,
	'a group that cannot be read is not changed');
$cloud->clear_faults;

# ---- hold ----

sql("UPDATE qpsscale.resource_groups SET general_cooldown_seconds = 0, scale_up_cooldown_seconds = 0, scale_down_cooldown_seconds = 0, scale_down_window_seconds = 0, max_scale_down_per_action = 0");
$result = set_capacity("$web, 10, 'sale', now() + interval '1 hour'");
is($result->{changed}, JSON::PP::true, 'a number is set and held');
like($result->{held_until}, qr/^\d{4}-/, 'until then');
is(verdict(evaluate($node, $web)), 'none held 10', 'the load does not change it');
is(sql("SELECT v.status, v.reason, v.blocked_until = s.held_until FROM qpsscale.status v, qpsscale.state s"),
	'held|held|t', 'status shows it');
like( sql("SELECT summary FROM qpsscale_why($web)"),
	qr/no change \(held\)\. An operator keeps .* set 10 instances by hand at .*, to be held until .* \("sale"\)/,
	'why() too') or diag(sql("SELECT summary FROM qpsscale_why($web)"));
wait_until('the instances come', sub {
	evaluate($node, $web);
	sql("SELECT count(*) FROM qpsscale.activities WHERE status = 'accepted'") eq '0';
});
$cloud->patch_group('asg-web', { desired => 5 });
is(verdict(evaluate($node, $web)), 'scale_up held 10',
	'what somebody else changes is put back');
is(desired('web'), 10, 'in the cloud');
sql("UPDATE qpsscale.resource_groups SET max_instances = 8");
wait_until('within the limits of today',
	sub { evaluate($node, $web); desired('web') == 8 });
$cloud->fault({ kind => 'gateway', times => -1, match => { action => 'GetMetricData' } });
is(verdict(evaluate($node, $web)), 'none held 8', 'no load is needed for that');
$cloud->clear_faults;
sql("UPDATE qpsscale.state SET held_until = now() - interval '1 s'");
is(evaluate($node, $web)->{optimal_instances}, 6, 'after its end');
unlike(evaluate($node, $web)->{reason}, qr/held/, 'the load decides again');
sql("UPDATE qpsscale.state SET held_until = 'infinity'");
is(evaluate($node, $web)->{reason}, 'held', 'a hold may have no end');
is(sql("SELECT qpsscale_resume($web)"), '1', 'resume ends it');
unlike(evaluate($node, $web)->{reason}, qr/held/, 'at once');
is(sql("SELECT num_nonnulls(held_instances, held_until, held_by, held_reason) FROM qpsscale.state"),
	'0', 'without a trace in the state');
set_capacity("$web, 7, 'sale', now() + interval '1 hour'");
is(evaluate($node, $web)->{reason}, 'held', 'held once more');
set_capacity("$web, 5, 'sale is over'");
unlike(evaluate($node, $web)->{reason}, qr/held/, 'a new number without an end ends it too');

# ---- without a resident worker ----

sql("ALTER SYSTEM SET qpsscale.databases = ''");
sql('SELECT pg_reload_conf()');
wait_for($node, 'SELECT qpsscale.is_served()', 'f', 'no worker serves the database');
is(set_capacity("$web, 4, 'x'")->{changed}, JSON::PP::true, 'a one-shot worker does it');
is(desired('web'), 4, 'in the cloud');

is($cloud->counters->{signature_failures}, 0, 'every signature was accepted');

done_testing();
