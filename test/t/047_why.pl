# qpsscale_why() is right for any moment: of a tick that acted, of one that did
# nothing, and of a time in which nothing was evaluated.

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

sub why
{
	my ($id, $at) = @_;

	return decode_json(sql("SELECT to_jsonb(w) FROM qpsscale_why($id"
			  . (defined $at ? ", '$at'" : '') . ') w'));
}

# What both a result of qpsscale_evaluate() and the details of qpsscale_why()
# say about a verdict.
sub verdict
{
	my ($action, $reason, $desired, $dry_run) = @_;

	return join ' ', $action, $reason, $desired // '-',
	  $dry_run ? 'dry run' : 'live';
}

# ---- before anything was evaluated ----

my $id = add_group($node, $cloud, 'web', desired => 3, max => 30,
	general_cooldown_seconds => 0, scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0, scale_down_window_seconds => 0);

like(why($id)->{summary}, qr/^Group asg-web at .*not been evaluated yet/,
	'a group that was never evaluated says so');
my ($out, $err) = ('', '');
$node->psql('postgres', 'SELECT * FROM qpsscale_why(4711)', stderr => \$err);
like($err, qr/resource group 4711 does not exist/, 'no group, no story');

# ---- a random history ----

my $seed = $ENV{WHY_SEED} // time();
srand($seed);
diag("WHY_SEED=$seed");

# What may happen between two ticks.
my @events = (
	sub { },
	sub { },
	sub { $cloud->set_traffic('alb-web', { kind => 'constant', qps => 50 * int rand 40 }) },
	sub { $cloud->set_traffic('alb-web', { kind => 'constant', qps => 50 * int rand 40 }) },
	sub { sql("SELECT qpsscale_suspend($id, '" . (qw(up down both))[ int rand 3 ] . "')") },
	sub { sql("SELECT qpsscale_resume($id)") },
	sub { sql("UPDATE qpsscale.resource_groups SET scale_up_cooldown_seconds = " . 3600 * int rand 2) },
	sub { sql("UPDATE qpsscale.resource_groups SET max_instances = " . (5 + int rand 20)) },
	sub { sql("UPDATE qpsscale.resource_groups SET dry_run = NOT dry_run") },
	sub { $cloud->fault({ kind => 'gateway', times => 3, match => { action => 'GetMetricData' } }) },
	sub { $cloud->clear_faults });
my @ticks;

for my $n (1 .. 60)
{
	$events[ int rand @events ]->();
	my $tick = evaluate($node, $id);

	next unless $tick->{recorded};
	push @ticks,
	  {
		at => $tick->{timestamp},
		verdict => verdict(@$tick{qw(action reason desired_capacity dry_run)})
	  };
}
$cloud->clear_faults;

my %reasons = map { (split ' ', $_->{verdict})[1] => 1 } @ticks;
cmp_ok(scalar keys %reasons, '>=', 3, 'the history has several verdicts');
diag('reasons: ' . join ' ', sort keys %reasons);

# At the moment of each tick, and until the next one, its verdict holds.
my (@wrong, @dull);
for my $i (0 .. $#ticks)
{
	my $tick = $ticks[$i];
	my $until = $i < $#ticks ? $ticks[ $i + 1 ]{at} : $tick->{at};
	my $between = sql("SELECT '$tick->{at}'::timestamptz + ('$until'::timestamptz - '$tick->{at}'::timestamptz) / 2");

	foreach my $at ($tick->{at}, $between)
	{
		my $why = why($id, $at);
		my $seen = verdict(@{ $why->{details} }{qw(action reason desired dry_run)});

		push @wrong, "at $at: $seen, not $tick->{verdict}"
		  if $seen ne $tick->{verdict};
		push @dull, $why->{summary}
		  unless $why->{summary} =~ /\Q$why->{details}{reason}\E/
		  && $why->{summary} =~ /This was decided at/;
	}
}
is_deeply(\@wrong, [], 'why() tells of each tick what evaluate() had said');
is_deeply(\@dull, [], 'in words');
is( sql("SELECT count(*) FROM qpsscale.evaluations e"
		  . " JOIN qpsscale.evaluations n ON n.previous_id = e.id"
		  . " WHERE n.previous_until < e.evaluated_at OR n.previous_until >= n.evaluated_at"),
	'0', 'each row says until when the one before it held');
is( sql("SELECT sum(coalesce(previous_count, 0)) + count(*)"
		  . " + (SELECT repeat_count FROM qpsscale.state)"
		  . " FROM qpsscale.evaluations"),
	scalar @ticks, 'no confirmation is lost');

# ---- what was done, and what became of it ----

sql("SELECT qpsscale_resume($id)");
sql("UPDATE qpsscale.resource_groups SET dry_run = false, max_instances = NULL, scale_up_cooldown_seconds = 0");
my $to = $cloud->group('asg-web')->{desired} + 2;
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 50 * $to });
is(evaluate($node, $id)->{execution_result}{status}, 'accepted', 'an action');
wait_until('that comes to its end',
	sub { evaluate($node, $id); activities($node, $id) =~ /successful $to$/ });
my $done = why($id)->{summary};
like($done, qr/at 50 per instance the load takes $to/i, 'the paragraph has what the load takes')
  or diag($done);
like($done, qr/to $to \(dynamic_scaling_scale_up\), accepted by the cloud at \S+ \S+ \w+; it was successful at .*, \d+ s after that/,
	'the action, its outcome and how long it took') or diag($done);
like($done, qr/Next: it is evaluated again at/, 'and what will happen next');

# ---- who suspended ----

sql("SELECT qpsscale_suspend($id, 'up', now() + interval '1 hour', 'sale tonight')");
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 50 * ($to + 1) });
is(evaluate($node, $id)->{reason}, 'suspended', 'a suspension');
my $suspended = why($id);
like($suspended->{summary}, qr/scale up was wanted and held back by suspended until \d/,
	'what was wanted, and until when it is held back');
like($suspended->{summary}, qr/\w+ suspended scaling up at .* until .* \("sale tonight"\)/,
	'who suspended, until when and why') or diag($suspended->{summary});
my $then = sql('SELECT clock_timestamp()');
sql("SELECT qpsscale_resume($id)");
evaluate($node, $id);
like(why($id, $then)->{summary}, qr/suspended scaling up .*Next, at .*, it was scale up/,
	'also when it has long been resumed');
like(why($id)->{summary}, qr/resumed scaling at/, 'then that is what is told');

# ---- gaps ----

sql("UPDATE qpsscale.resource_groups SET enabled = false");
evaluate($node, $id);
evaluate($node, $id);
# half a day ago, as if the server had been down since
sql("UPDATE qpsscale.evaluations SET evaluated_at = evaluated_at - interval '12 hours', previous_until = previous_until - interval '12 hours'");
sql("UPDATE qpsscale.state SET last_evaluated_at = last_evaluated_at - interval '12 hours'");
my $six = sql("SELECT clock_timestamp() - interval '6 hours'");
like(why($id, $six)->{summary}, qr/found again once by .*\. Nothing has been evaluated since\./,
	'a gap that has not ended is told');
my $rows = sql('SELECT count(*) FROM qpsscale.evaluations');
evaluate($node, $id);
is(sql('SELECT count(*) FROM qpsscale.evaluations'),
	$rows + 1, 'a verdict that is found again after a gap gets a row');
my $gap = why($id, $six);
like($gap->{summary}, qr/Nothing was evaluated between \S+ \S+ \w+ and \S+ \S+ \w+\./,
	'and the gap is told') or diag($gap->{summary});
is($gap->{details}{gap}, JSON::PP::true, 'in the details too');
is(why($id)->{details}{gap}, JSON::PP::false, 'afterwards there is none');

# ---- every reason has its sentence ----

my ($source) = slurp_file('src/core/reason.c') =~
  /reasons\[QS_REASON_COUNT\] = \{(.*?)\n\};/s;
my @silent;
while ($source =~ /\] = \{\s*"(\w+)",\s*((?:"[^"]*"\s*)+)\}/g)
{
	my ($reason, $text) = ($1, $2);
	$text =~ s/"\s*"//g;
	$text =~ s/^\s*"|"\s*$//g;

	sql("INSERT INTO qpsscale.evaluations (resource_group_id, evaluated_at, action,"
		  . " reason, blocker, desired, dry_run, policy_version, explanation)"
		  . " SELECT resource_group_id, clock_timestamp(), 'none', '$reason', '$reason', desired,"
		  . " dry_run, policy_version, explanation || jsonb_build_object('summary',"
		  . " \$said\$$text\$said\$, 'wanted', 'scale_down', 'blocked_until', NULL)"
		  . " FROM qpsscale.evaluations WHERE resource_group_id = $id ORDER BY id DESC LIMIT 1");
	my $said = why($id)->{summary};
	push @silent, "$reason: $said"
	  unless $said =~ /held back by $reason\. \Q$text\E/;
}
is_deeply(\@silent, [], 'every reason is told with its sentence');

# ---- what is no longer recorded ----

sql("DELETE FROM qpsscale.evaluations WHERE id < (SELECT max(previous_id) FROM qpsscale.evaluations)");
like(why($id, sql("SELECT clock_timestamp() - interval '1 day'"))->{summary},
	qr/no longer recorded/, 'deleted history is not taken for none');
sql('DELETE FROM qpsscale.resource_groups');
like(why($id)->{summary}, qr/^Group $id \(deleted since\)/,
	'the trail outlives the group');

done_testing();
