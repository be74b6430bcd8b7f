# 078_metrics.pl
#
# What can be watched: the view, its text, its counters; alert rules and
# dashboards beside it; and a real Prometheus that scrapes it.

use strict;
use warnings;

use File::Copy qw(copy);
use IPC::Run qw(run);
use PostgreSQL::Test::Utils;
use QpsscaleHttpd;
use QpsscaleNode;
use QpsscalePrometheus;
use Test::More;

my $promtool = (QpsscalePrometheus->program // '') =~ s{[^/]*$}{promtool}r;

my ($node, $cloud) = QpsscaleNode->start;
my $id = add_group($node, $cloud, 'web', desired => 4, max => 20,
	boot_delay => 0, general_cooldown_seconds => 600, name => 'we"b\\');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 300 });

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# The value of a sample, named as the text has it.
sub sample
{
	my ($name) = @_;
	my %value =
	  sql('SELECT qpsscale_metrics()') =~ /^(qpsscale_\w+(?:\{.*\})?) (\S+)$/mg;

	return $value{$name};
}

my $web = 'resource_group="we\\"b\\\\"';
wait_until('the group has grown',
	sub { activities($node, $id) eq 'successful 6' });
wait_until('and that is seen',
	sub { (sample("qpsscale_group_capacity_current{$web}") // '') eq '6' });

is(sample("qpsscale_group_capacity_desired{$web}"), '6', 'desired');
is(sample("qpsscale_group_requests_per_second{$web}"), '300', 'load');
is(sample("qpsscale_scale_actions_total{direction=\"up\",$web}"), '1', 'one action');
is(sample("qpsscale_scale_instances_total{direction=\"up\",$web}"), '2', 'of two instances');
is(sample("qpsscale_scale_actions_total{direction=\"down\",$web}"), '0', 'and none down');
is(sample('qpsscale_worker_up'), '1', 'the worker runs');
is(sample("qpsscale_group_cooldown_active{$web}"), '1', 'a cooldown runs');
is(sample('qpsscale_build_info{version="1.0.0"}'), '1', 'the version');
cmp_ok(sample('qpsscale_evaluations_total'), '>', 0, 'evaluations are counted');

my $foreseen = "qpsscale_group_forecast_requests_per_second_upper{$web}";
sql('DELETE FROM qpsscale.forecasts');
is(sample($foreseen), undef, 'what nobody foresees is not told');
sql(<<SQL);
INSERT INTO qpsscale.forecasts (at, chunk, upper, quantile, window_seconds)
SELECT now() - age, $id >> 5, array_fill(NULL::real, ARRAY[$id & 31]) || upper,
	array_fill(NULL::real, ARRAY[$id & 31]) || 0.99::real, array_fill(NULL::integer, ARRAY[$id & 31]) || 240
FROM (VALUES (interval '2 minutes', 500::real), ('1 minute', 450), ('30 seconds', NULL)) f (age, upper)
SQL
is(sample($foreseen), '450', 'what is foreseen of the load: the newest');
sql("UPDATE qpsscale.forecasts SET at = at - interval '1 hour'");
is(sample($foreseen), undef, 'and nothing that is old');

is(sample("qpsscale_group_estimated_hourly_cost{currency=\"USD\",$web}"), undef,
	'what has no price costs nothing that is known');
sql("UPDATE qpsscale.resource_groups SET hourly_price = 0.25, currency = 'USD' WHERE id = $id");
is(sample("qpsscale_group_estimated_hourly_cost{currency=\"USD\",$web}"), '1.5',
	'six instances at a quarter');

# ---- the format ----

my $text = sql('SELECT qpsscale_metrics()') . "\n";
my (%typed, %seen, @order);
my $bad = '';
foreach my $line (split /\n/, $text)
{
	if ($line =~ /^# TYPE (\S+) (?:gauge|counter)$/)
	{
		push @order, $1;
		$bad .= "$1 comes twice\n" if $typed{$1}++;
	}
	elsif ($line !~ /^# HELP /)
	{
		my ($name) = $line =~ /^([a-z_]+)/;

		$bad .= "$line: not of the family before it\n" if $name ne $order[-1];
		$bad .= "$line: twice\n" if $seen{ $line =~ s/ \S+$//r }++;
	}
}
is($bad, '', 'one family after the other, each sample once');
is(join(' ', @order), join(' ', sort @order), 'in the order of their names');

# ---- counters only rise ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 900 });
my $skipped = "qpsscale_scale_skipped_total{direction=\"up\",reason=\"cooldown_general\",$web}";
wait_until('growth is held back by the cooldown, once',
	sub { (sample($skipped) // 0) == 1 });
sql("UPDATE qpsscale.resource_groups SET general_cooldown_seconds = 0,"
	  . " scale_up_cooldown_seconds = 0 WHERE id = $id");
my $instances = "qpsscale_scale_instances_total{direction=\"up\",$web}";
wait_until('a second action is accepted', sub { sample($instances) == 14 });
wait_until('and done', sub { activities($node, $id) =~ /successful 18$/ });
sql('DELETE FROM qpsscale.activities; DELETE FROM qpsscale.evaluations');
is(sample($instances), '14', 'what retention deletes has been counted');
$node->restart;
is(sample($instances), '14', 'and so it is after a restart');
sql("INSERT INTO qpsscale.errors (resource_group_id, source, message)"
	  . " VALUES (NULL, 'worker', 'made up'), (NULL, 'worker', 'again')");
cmp_ok(sample('qpsscale_evaluation_failures_total{resource_group="",stage="worker"}'),
	'>=', 2, 'errors of no group are counted');

# ---- who may see it ----

sql("CREATE ROLE watcher; SELECT qpsscale_grant('watcher', 'reader'); CREATE ROLE stranger");
like(sql('SET ROLE watcher; SELECT qpsscale_metrics()'), qr/qpsscale_worker_up/,
	'a reader may see it');
my (undef, undef, $error) =
  $node->psql('postgres', 'SET ROLE stranger; SELECT qpsscale_metrics()');
like($error, qr/permission denied/, 'a stranger may not');

# ---- dashboards ----

my ($out, $err) = ('', '');
ok(run([ 'python3', 'test/lint-dashboards', '--self-test' ], '>', \$out, '2>', \$err),
	'the linter of dashboards finds what it should') or diag($out, $err);
my $known = sql("SELECT string_agg(DISTINCT f[1], ' ')"
	  . " FROM regexp_matches(pg_get_viewdef('qpsscale.metrics'), '''(qpsscale_[a-z_]+)''', 'g') f");
ok(run([ 'python3', 'test/lint-dashboards', '--metrics', $known,
			glob('src/httpd/monitoring/*.json') ], '>', \$out, '2>', \$err),
	'the dashboards follow the rules and ask for what there is') or diag($out, $err);
ok(run([ 'python3', 'test/lint-dashboards', '--sql', 'src/httpd/monitoring/grafana-postgresql.json' ],
		'>', \$out, '2>', \$err), 'the SQL of a dashboard can be listed') or diag($err);
my @queries = grep { /\S/ } split /\n/, $out;
cmp_ok(scalar @queries, '>=', 5, 'there is some');
foreach my $query (@queries)
{
	my ($rc, undef, $said) = $node->psql('postgres', "SET ROLE watcher; $query");

	is($rc, 0, 'a reader may run: ' . substr($query, 0, 60)) or diag("$query\n$said");
}

# ---- with the real programs ----

SKIP:
{
	skip 'no promtool: test/prometheus says why', 3 unless -x $promtool;
	my $dir = PostgreSQL::Test::Utils::tempdir();

	copy($_, $dir) foreach 'src/httpd/monitoring/alerts.yaml', 'test/monitoring/alerts_test.yaml';
	ok(run([ $promtool, 'check', 'metrics' ], '<', \$text, '>', \$out, '2>', \$err),
		'promtool has nothing to say about the metrics') or diag($out, $err);
	ok(run([ $promtool, 'check', 'rules', "$dir/alerts.yaml" ], '>', \$out, '2>', \$err),
		'the alert rules can be read') or diag($out, $err);
	ok(run([ 'sh', '-c', "cd $dir && $promtool test rules alerts_test.yaml" ], '>', \$out, '2>', \$err),
		'and fire when they should, and only then') or diag($out, $err);
}

SKIP:
{
	skip 'no Prometheus or no qpsscale-httpd', 1
	  unless QpsscalePrometheus->program && -x 'qpsscale-httpd';
	my $httpd = QpsscaleHttpd->start($node);
	my $token = $httpd->token('reader');
	my ($target) = $httpd->url =~ m{//(.*?)/?$};
	my $prometheus = QpsscalePrometheus->start(targets => [$target], token => $token);

	wait_until('a real Prometheus has scraped the group', sub {
		return grep { $_ >= 18 } values %{ $prometheus->ask('qpsscale_group_capacity_current') };
	});
	is((values %{ $prometheus->ask('up') })[0], 1, 'and the target is up');
	$prometheus->stop;
	$httpd->stop;
}

$node->stop;
done_testing();
