# 067_approval.pl
#
# A group that requires approval: decided by evaluations, done by people.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

my ($node, $cloud) = QpsscaleNode->start(settings => {
		'qpsscale.databases' => "''", 'qpsscale.decision_lifetime' => "'5min'" });
my $id = add_group($node, $cloud, 'web', desired => 4, max => 20,
	boot_delay => 0, scale_down_window_seconds => 0,
	general_cooldown_seconds => 0, scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 600, require_approval => 'true');

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub load_is
{
	my ($qps) = @_;

	$cloud->set_traffic('alb-web', { kind => 'constant', qps => $qps });
	return;
}

# The rows that wait: from and to.
sub waiting
{
	return sql("SELECT string_agg(current_instances || ' ' || desired_instances, ', ')"
		  . " FROM qpsscale.decisions WHERE resource_group_id = $id"
		  . " AND decided_by IS NULL AND NOT executed AND expires_at > now()");
}

sub changing_calls
{
	return scalar @{ $cloud->log(0, 'ModifyScalingGroup') };
}

sub newest
{
	return sql("SELECT id FROM qpsscale.decisions WHERE resource_group_id = $id"
		  . " AND decided_by IS NULL ORDER BY decided_at DESC LIMIT 1");
}

load_is(300);
my $result = evaluate($node, $id);
is("$result->{action} $result->{reason}", 'none approval_required',
	'an action that is wanted waits');
is($result->{explanation}{approvable}, 6, 'the explanation says for what');
is(waiting(), '4 6', 'a decision is recorded');
is(sql("SELECT reason || ' ' || action FROM qpsscale.decisions"),
	'dynamic_scaling_scale_up scale_up', 'with the reason why it is wanted');
is(sql("SELECT status FROM qpsscale.status WHERE id = $id"), 'needs approval',
	'status has a word for it');
like(sql("SELECT summary FROM qpsscale_why($id)"),
	qr/scale up to 6 waits for approval \(dynamic_scaling_scale_up, approval_required\)/,
	'and qpsscale_why() says it');
is(sql("SELECT count(*) FROM qpsscale.alerts WHERE resource_group_id = $id"
	  . " AND type = 'qpsscale.group.approval_required' AND resolved_at IS NULL"),
	'1', 'an alert tells people');

evaluate($node, $id) foreach 1 .. 3;
is(sql('SELECT count(*) FROM qpsscale.decisions'), '1',
	'a verdict that repeats itself is recorded once');
sql("SELECT count(*) FROM (SELECT qpsscale_evaluate($id) FROM generate_series(1, 3)) e");
my @crowd = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 6;
$_->{stdin} .= "SELECT qpsscale_evaluate($id) IS NOT NULL;\n\\q\n" foreach @crowd;
$_->{run}->finish foreach @crowd;
is(sql('SELECT count(*) FROM qpsscale.decisions'), '1',
	'by however many evaluators');
is(changing_calls(), 0, 'nothing was sent');

# ---- another verdict ----

my $first = newest();
load_is(400);
evaluate($node, $id);
is(waiting(), '4 8', 'another verdict takes the place of the first');
my ($rc, undef, $error) =
  $node->psql('postgres', "SELECT qpsscale_execute('$first')", extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($error, qr/QS003/, 'which has expired');
load_is(200);
evaluate($node, $id);
is(waiting(), '', 'when nothing is wanted any more nothing waits');
is(sql("SELECT count(*) FROM qpsscale.alerts WHERE resource_group_id = $id"
	  . " AND type = 'qpsscale.group.approval_required' AND resolved_at IS NULL"),
	'0', 'and the alert is resolved');

# ---- it is approved ----

load_is(300);
evaluate($node, $id);
my $approved = newest();
$result = decode_json(sql("SELECT qpsscale_execute('$approved')"));
is("$result->{status} $result->{new_instances}", 'accepted 6', 'executing it acts');
is(changing_calls(), 1, 'with one call');
is(decode_json(sql("SELECT qpsscale_execute('$approved')"))->{activity_id},
	$result->{activity_id}, 'and once, however often it is asked for');
is(changing_calls(), 1, 'without a further call');
evaluate($node, $id);
is(waiting(), '', 'nothing waits after it');

# ---- it expires ----

load_is(500);
evaluate($node, $id);
my $late = newest();
is(waiting(), '6 10', 'the next one waits');
sql("UPDATE qpsscale.decisions SET decided_at = now() - interval '10 minutes',"
	  . " expires_at = now() - interval '1 second' WHERE id = '$late'");
evaluate($node, $id);
is(waiting(), '6 10', 'one that has expired is decided anew');
isnt(newest(), $late, 'under another number');

# ---- cooldowns, dry runs and people ----

load_is(100);
evaluate($node, $id);
is(waiting(), '6 2', 'shrinking waits, too');
sql("UPDATE qpsscale.resource_groups SET dry_run = true WHERE id = $id");
$result = evaluate($node, $id);
is("$result->{action} $result->{reason}", 'scale_down dynamic_scaling_scale_down',
	'a dry run only says what would be done');
is(waiting(), '', 'and waits for nobody');
sql("UPDATE qpsscale.resource_groups SET dry_run = false WHERE id = $id");
sql("SELECT qpsscale_set_capacity($id, 5, 'by hand')");
is($cloud->group('asg-web')->{desired}, 5, 'a person needs no approval');
evaluate($node, $id);
evaluate($node, $id);
is(waiting(), '', 'where a cooldown forbids it nothing waits');

$node->stop;
done_testing();
