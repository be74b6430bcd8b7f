# Decide first, execute later: recorded without acting, carried out once, and
# refused when the world has moved.

use strict;
use warnings;

use IPC::Run ();
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

# The result, or the error with its SQLSTATE and hint.
sub ask
{
	my ($query) = @_;
	my ($out, $err) = ('', '');

	$node->psql('postgres', "\\set VERBOSITY verbose\n$query",
		stdout => \$out, stderr => \$err);
	return $err =~ /ERROR: / ? $err : $out;
}

sub decide
{
	my ($arguments) = @_;

	return decode_json(
		sql("SELECT to_jsonb(d) FROM qpsscale_decide($arguments) d"));
}

sub execute
{
	my ($id) = @_;

	my $answer = ask("SELECT qpsscale_execute('$id')");
	return $answer =~ /ERROR/ ? $answer : decode_json($answer);
}

sub changes
{
	my ($name) = @_;

	return scalar grep { grep { $_ eq "asg-$name" } @{ $_->{ids} } }
	  @{ $cloud->log(0, 'ModifyScalingGroup') };
}

# ---- deciding ----

my $web = add_group($node, $cloud, 'web', desired => 4, min => 1, max => 20,
	boot_delay => 0);
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 300 });
like(ask("SELECT qpsscale_decide($web)"),
	qr/ERROR:  55000: .*never been evaluated.*HINT:  SELECT qpsscale_evaluate\($web, dry_run => true\)/s,
	'what was never looked at is not decided on, and the hint says how to look');
evaluate($node, $web, 'true');
my $before = @{ $cloud->log };
my $decision = decide($web);
is(join(' ', @$decision{qw(action current_instances desired_instances reason)}),
	'scale_up 4 6 dynamic_scaling_scale_up', 'a decision says what would be done');
is($decision->{executed}, JSON::PP::false, 'it is not done');
is(scalar @{ $cloud->log }, $before, 'no request was sent for it');
is($decision->{explanation}{winner}, 'qps', 'it explains itself');
is($decision->{confidence}, undef, 'without a forecast there is no confidence');
is($decision->{decided_by}, sql('SELECT current_user'), 'and says who asked');

# ---- what if ----

my $what_if = decide("$web, overrides => '{\"target_qps\": 100}'");
is($what_if->{desired_instances}, 4, 'what if an instance served more?');
ok($what_if->{action} eq 'none', 'then nothing would be done');
is(decide("$web, overrides => '{\"qps\": 900}'")->{desired_instances}, 18,
	'what if there were three times the load?');
like(ask("SELECT qpsscale_decide($web, overrides => '{\"owner\": \"x\"}')"),
	qr/ERROR:  22023: override "owner" is not known.*HINT:.*target_qps/s,
	'what a group is cannot be overridden');
like(ask("SELECT qpsscale_decide($web, overrides => '{\"target_qps\": -1}')"),
	qr/ERROR:  22023: with these overrides the policy would not be valid/,
	'a policy that the table would refuse is refused');
like(execute(decide("$web, overrides => '{\"qps\": 900}'")->{id}),
	qr/ERROR:  0A000: .*what-if/, 'a what-if is not executed');
my $rows = sql('SELECT count(*) FROM qpsscale.decisions');
$before = @{ $cloud->log };
sql(join ";\n", 'BEGIN',
	("SELECT qpsscale_decide($web, overrides => '{\"qps\": 900}')") x 200,
	'ROLLBACK');
is(sql('SELECT count(*) FROM qpsscale.decisions'), $rows,
	'in a transaction that is rolled back nothing is left');
is(scalar @{ $cloud->log }, $before, 'and nothing sent');

# ---- executing ----

like(ask("BEGIN;\nSELECT (qpsscale_decide($web)).id \\gset\nSELECT qpsscale_execute(:'id');\nCOMMIT"),
	qr/ERROR:  55000: the decision is not committed yet.*HINT:  Commit first/s,
	'a decision must be committed before it is executed');
my $result = execute($decision->{id});
is(join(' ', @$result{qw(status action previous_instances new_instances)}),
	'accepted scale_up 4 6', 'it is carried out');
is($result->{success}, JSON::PP::true, 'with success');
is($cloud->group('asg-web')->{desired}, 6, 'the cloud has the number');
is_deeply(execute($decision->{id}), $result,
	'asked again it answers the same');
is(changes('web'), 1, 'and does nothing again');
is(sql("SELECT a.reason || ' ' || a.requested_by || ' ' || (a.decision_id = '$decision->{id}')
	FROM qpsscale.activities a WHERE a.id = $result->{activity_id}"),
	'decision_executed ' . sql('SELECT current_user') . ' true',
	'the activity names the decision and who executed it');
is(sql("SELECT count(*) FROM qpsscale_history($web) WHERE status <> 'dry_run'"), 1,
	'it stands in the history');

# ---- the cooldown is consumed by acting, and holds for executing ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 600 });
evaluate($node, $web, 'true');
my $blocked = decide($web);
is($blocked->{action}, 'none', 'within the cooldown it is decided to do nothing');
like(execute($blocked->{id}), qr/ERROR:  QS005: .*do nothing: cooldown/,
	'which is nothing to execute');

# ---- what has moved or expired is refused ----

my $api = add_group($node, $cloud, 'api', desired => 2, min => 1, max => 20,
	boot_delay => 0);
$cloud->set_traffic('alb-api', { kind => 'constant', qps => 250 });
evaluate($node, $api, 'true');
my $moved = decide($api);
sql("UPDATE qpsscale.resource_groups SET target_qps = 60 WHERE id = $api");
like(execute($moved->{id}), qr/ERROR:  QS004: the policy has changed/,
	'another policy');
evaluate($node, $api, 'true');
$moved = decide($api);
$cloud->patch_group('asg-api', { desired => 3 });
like(execute($moved->{id}),
	qr/ERROR:  QS004: the desired capacity is 3 now; it was 2.*HINT:  SELECT \* FROM qpsscale_decide\($api\)/s,
	'another capacity');
$cloud->patch_group('asg-api', { desired => 2 });
sql("UPDATE qpsscale.decisions SET expires_at = now() WHERE id = '$moved->{id}'");
like(execute($moved->{id}), qr/ERROR:  QS003: the decision expired at/,
	'too late');
like(ask("SELECT qpsscale_execute(gen_random_uuid())"), qr/ERROR:  P0002: decision .* does not exist/,
	'one that does not exist');
is(changes('api'), 0, 'none of these changed anything');

# ---- fifty at once ----

my $many = add_group($node, $cloud, 'many', desired => 2, min => 1, max => 20,
	boot_delay => 0);
$cloud->set_traffic('alb-many', { kind => 'constant', qps => 250 });
evaluate($node, $many, 'true');
my $once = decide($many);
my @runs = map
{
	my %run = (out => '', err => '');
	$run{harness} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
			"SELECT qpsscale_execute('$once->{id}') ->> 'activity_id'" ],
		'<', \undef, '>', \$run{out}, '2>', \$run{err});
	\%run;
} 1 .. 50;
$_->{harness}->finish for @runs;
my %answers;
$answers{"$_->{out}$_->{err}"}++ for @runs;
is(scalar(keys %answers), 1, 'fifty calls at once get one answer')
  or diag explain \%answers;
like((keys %answers)[0], qr/^\d+$/, 'the activity');
is(changes('many'), 1, 'and one change is made');

# ---- who may ----

sql('CREATE ROLE stranger LOGIN; SELECT qpsscale_grant(\'stranger\', \'reader\')');
like(ask("SET ROLE stranger; SELECT qpsscale_decide($many)"),
	qr/ERROR:  42501/, 'a reader does not decide');
sql('SELECT qpsscale_grant(\'stranger\', \'operator\')');
like(ask("SET ROLE stranger; SELECT qpsscale_execute('$once->{id}')"),
	qr/ERROR:  42501: permission denied for resource group $many/,
	'an operator of other groups does not execute');
like(ask("SELECT count(*) FROM qpsscale_history($many, max_rows => 5000)"),
	qr/ERROR:  22023: max_rows must be from 1 to 1000/,
	'a page of the history is bounded');

done_testing();
