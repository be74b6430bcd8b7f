# The REST interface over HTTP: contract, statuses, rights and tokens, with the
# real program in front of a real server.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleHttpd;
use QpsscaleNode;
use Test::More;

plan skip_all => 'qpsscale-httpd is not built: libmicrohttpd-dev or libpq-dev is missing'
  unless -x 'qpsscale-httpd';

# all that a server can be told to log, it logs
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.interval' => "'1h'",
		log_statement => 'all',
		log_min_duration_statement => 0,
		log_min_messages => 'debug1'
	});
my $httpd = QpsscaleHttpd->start($node);

sub sql
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

is($httpd->request('GET', '/scale/decide')->{status}, 405, 'another method');
is($httpd->get('/nowhere')->{status}, 404, 'another path');
$httpd->{answers} = [];    # of what there is, from here on
my $reader = $httpd->token('reader');
my $operator = $httpd->token('operator');
my $web = add_group($node, $cloud, 'web', desired => 4, min => 1, max => 20,
	boot_delay => 0);
sql('GRANT USAGE ON FOREIGN SERVER cloud TO http_operator;'
	  . " UPDATE qpsscale.resource_groups SET owner = 'http_operator' WHERE id = $web;"
	  . " CREATE USER MAPPING FOR http_operator SERVER cloud OPTIONS (access_key_id 'env:TEST_ACCESS_KEY', secret_access_key 'env:TEST_SECRET_KEY')");
my $uuid = sql("SELECT uuid FROM qpsscale.resource_groups WHERE id = $web");
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 300 });

sub status_is
{
	my ($reply, $status, $what) = @_;

	is($reply->{status}, $status, $what) or diag($reply->{content});
	is($reply->{headers}{'content-type'}, 'application/problem+json', '- as a problem')
	  if $status >= 400 && ref $reply->{json} && exists $reply->{json}{type};
	return;
}

# ---- who comes without a token ----

my $health = $httpd->get('/health');
is($health->{json}{service}, 'scaler', 'health is for everybody');
status_is($httpd->get('/ready'), 200, 'and so is whether it is ready');
status_is($httpd->get('/openapi.json'), 200, 'and what there is');
status_is($httpd->get('/scale/history'), 401, 'all else needs a token');
is($httpd->get('/scale/history')->{headers}{'www-authenticate'}, 'Bearer realm="qpsscale"',
	'which is said');
status_is($httpd->get('/scale/history', 'qps_1_' . 'x' x 43), 401, 'a valid one');

# ---- decide ----

my $unseen = $httpd->post('/scale/decide', { resource_id => $uuid }, $operator);
status_is($unseen, 409, 'what was never looked at is not decided on: 409');
is($unseen->{json}{sqlstate}, '55000', 'the SQLSTATE is told');
like($unseen->{json}{hint}, qr/qpsscale_evaluate/, 'and what to do');
evaluate($node, $web, 'true');
my $decided = $httpd->post('/scale/decide',
	{ resource_id => $uuid, use_prediction => JSON::PP::false }, $operator);
status_is($decided, 200, 'a decision');
my $decision = $decided->{json};
is_deeply([ @$decision{qw(resource_id decision_type current_instances target_instances executed)} ],
	[ $uuid, 'scaleup', 4, 6, JSON::PP::false ], 'in the words of the contract');
status_is($httpd->post('/v1/scale/decide', { resource_id => $web }, $operator), 200,
	'at /v1 as well');
status_is($httpd->post('/scale/decide', $_->[0], $operator), $_->[1], "decide $_->[0]: $_->[1]")
  foreach (
	[ '{}', 400 ], [ 'x', 400 ], [ '[]', 400 ],
	[ '{"resource_id": "nobody"}', 404 ],
	[ '{"resource_id": true}', 400 ],
	[ "{\"resource_id\": $web, \"overrides\": {\"colour\": 1}}", 422 ],
	[ '{"resource_id": "00000000-0000-4000-8000-000000000000"}', 404 ]);
status_is($httpd->request('POST', '/scale/decide', 'resource_id=1', $operator,
		{ 'Content-Type' => 'text/plain' }), 415, 'what is not JSON');

my $open = $httpd->get("/scale/decisions?resource_id=$uuid", $reader);
status_is($open, 200, 'what can be executed');
ok((grep { $_->{id} eq $decision->{id} } @{ $open->{json}{decisions} }),
	'is what was decided');

# ---- rights are the role's ----

status_is($httpd->post('/scale/decide', { resource_id => $uuid }, $reader), 403,
	'a reader does not decide');
status_is($httpd->post('/scale/execute', { decision_id => $decision->{id} }, $reader), 403,
	'nor execute');
status_is($httpd->get('/scale/history', $reader), 200, 'but reads');
my $neighbour = $httpd->token('operator', 'http_neighbour');
status_is($httpd->post('/scale/decide', { resource_id => $uuid }, $neighbour), 403,
	'an operator of other groups does not decide');
status_is($httpd->post('/scale/execute', { decision_id => $decision->{id} }, $neighbour), 403,
	'nor execute');
is(sql("SELECT decided_by FROM qpsscale.decisions WHERE id = '$decision->{id}'"),
	'http_operator', 'who decided is the role');

# ---- fifty at once ----

my @runs = map
{
	my %run = (out => '');
	$run{harness} = IPC::Run::start(
		[ 'curl', '-s', '-m', '60', '-H', "Authorization: Bearer $operator",
			'-H', 'Content-Type: application/json',
			'-d', "{\"decision_id\": \"$decision->{id}\"}",
			$httpd->url . '/scale/execute' ],
		'<', \undef, '>', \$run{out});
	\%run;
} 1 .. 50;
$_->{harness}->finish foreach @runs;
my %events;
$events{ eval { decode_json($_->{out})->{event}{id} } // $_->{out} }++ foreach @runs;
is(scalar keys %events, 1, 'fifty that execute at once get one event') or diag explain \%events;
is(scalar(grep { grep { $_ eq 'asg-web' } @{ $_->{ids} } }
		  @{ $cloud->log(0, 'ModifyScalingGroup') }), 1, 'of one change');
ok(!(grep { $_->{id} eq $decision->{id} }
			@{ $httpd->get('/scale/decisions', $reader)->{json}{decisions} }),
	'which then cannot be executed any more');
my $executed = $httpd->post('/scale/execute', { decision_id => $decision->{id} }, $operator);
status_is($executed, 200, 'asked again it is the same');
is_deeply([ $executed->{json}{success}, @{ $executed->{json}{event} }{qw(action previous_instances new_instances success)} ],
	[ JSON::PP::true, 'ScaleUp', 4, 6, JSON::PP::true ], 'in the words of the contract');
is($executed->{json}{event}{requested_by}, 'http_operator', 'who executed is the role');

# ---- what is refused ----

$cloud->set_traffic('alb-web', { kind => 'constant', qps => 600 });
evaluate($node, $web, 'true');
my $cooling = $httpd->post('/scale/decide', { resource_id => $uuid }, $operator);
status_is($cooling, 429, 'a cooldown');
is_deeply([ @{ $cooling->{json} }{qw(error resource_id)} ],
	[ 'Resource is in cooldown period', $uuid ], 'in the words of the contract');
cmp_ok($cooling->{headers}{'retry-after'} // 0, '>=', 1, 'with a time to come back');
status_is($httpd->post('/scale/execute', $_->[0], $operator), $_->[1], "execute $_->[0]: $_->[1]")
  foreach (
	[ '{}', 400 ], [ '{"decision_id": "x"}', 400 ],
	[ '{"decision_id": "00000000-0000-4000-8000-000000000000"}', 404 ]);
sub decision_on
{
	my ($name) = @_;
	my $id = add_group($node, $cloud, $name, desired => 2, min => 1, max => 20,
		boot_delay => 0);

	sql("UPDATE qpsscale.resource_groups SET owner = 'http_operator' WHERE id = $id");
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 250 });
	evaluate($node, $id, 'true');
	return $httpd->post('/scale/decide', { resource_id => $id }, $operator)->{json}{id};
}
my $late = decision_on('late');
sql("UPDATE qpsscale.decisions SET expires_at = now() WHERE id = '$late'");
status_is($httpd->post('/scale/execute', { decision_id => $late }, $operator), 410, 'too late');
my $moved = decision_on('moved');
$cloud->patch_group('asg-moved', { desired => 3 });
status_is($httpd->post('/scale/execute', { decision_id => $moved }, $operator), 409, 'moved');
sql("UPDATE qpsscale.resource_groups SET require_approval = true WHERE id = "
	  . add_group($node, $cloud, 'slow', desired => 2, min => 1, max => 20, boot_delay => 0));
$cloud->set_traffic('alb-slow', { kind => 'constant', qps => 250 });
sql("SELECT qpsscale_evaluate(id) FROM qpsscale.resource_groups WHERE name = 'asg-slow'");
my ($waiting) = @{ $httpd->get('/scale/decisions?resource_id=asg-slow', $reader)->{json}{decisions} };
is($waiting->{target_instances}, 5, 'what waits for approval can be executed');
my $boss = $httpd->token('admin');
my $approved = $httpd->post('/scale/execute', { decision_id => $waiting->{id} }, $boss);
status_is($approved, 200, 'which is the approval');
is($cloud->group('asg-slow')->{desired}, 5, 'and acts');
my $poor = decision_on('poor');
$cloud->fault({ kind => 'status', times => 5,
		params => { status => 400, code => 'OperationDenied.Quota' },
		match => { action => 'ModifyScalingGroup' } });
my $failed = $httpd->post('/scale/execute', { decision_id => $poor }, $operator);
status_is($failed, 500, 'refused by the cloud');
is_deeply([ $failed->{json}{success}, $failed->{json}{event}{success}, $failed->{json}{event}{decision_id} ],
	[ JSON::PP::false, JSON::PP::false, $poor ], 'with the event');
like($failed->{json}{error}, qr/Quota/, 'and what the cloud said');

# ---- history ----

my $history = $httpd->get("/scale/history?resource_id=$uuid&limit=10&offset=0", $reader);
status_is($history, 200, 'the history');
is_deeply([ @{ $history->{json} }{qw(count limit offset)} ],
	[ scalar @{ $history->{json}{events} }, 10, 0 ], 'in the words of the contract');
is($httpd->get('/scale/history', $reader)->{json}{limit}, 50, 'fifty unless asked');
status_is($httpd->get("/scale/history?$_->[0]", $reader), $_->[1], "history $_->[0]: $_->[1]")
  foreach (
	[ 'resource_id=nobody', 404 ], [ 'limit=0', 422 ], [ 'limit=x', 400 ],
	[ 'offset=-1', 422 ], [ 'before_id=x', 400 ]);

# ---- forecast ----

my $forecast = $httpd->get("/groups/forecast?resource_id=$uuid&horizon=3", $reader);
status_is($forecast, 200, 'a forecast');
is(scalar @{ $forecast->{json}{forecast} }, 3, 'of so many hours');
status_is($httpd->get("/groups/forecast?$_->[0]", $reader), $_->[1], "a forecast with $_->[0]")
  foreach ([ "resource_id=$uuid&horizon=0", 422 ], [ "resource_id=$uuid&horizon=169", 422 ],
	[ "resource_id=$uuid&horizon=x", 400 ], [ 'resource_id=nobody', 404 ], [ 'horizon=3', 400 ]);

# ---- costs, metrics ----

my $cost = $httpd->post('/cost/estimate', { resource_id => $uuid, instance_count => 5 }, $reader);
status_is($cost, 200, 'costs');
is($cost->{json}{instance_count}, 5, 'of that many');
is($cost->{json}{hourly_cost}, undef, 'what has no price has no cost');
like($cost->{json}{unpriced}, qr/\S/, 'and why is said');
sql("UPDATE qpsscale.resource_groups SET hourly_price = 0.10, currency = 'USD' WHERE id = $web");
$cost = $httpd->post('/cost/estimate', { resource_id => $uuid, instance_count => 5 }, $reader);
is(join(' ', map { 0 + $_ } @{ $cost->{json} }{qw(hourly_cost daily_cost monthly_cost)}),
	'0.5 12 365', 'priced it is numbers, of 730 hours a month');
like($cost->{content}, qr/"hourly_cost" ?: ?0\.5/, 'and not strings');
is($cost->{json}{instance_type}, 'byteplus', 'without a type it is the kind of machines');
my $priced = $httpd->post('/scale/decide',
	{ resource_id => $uuid, overrides => { qps => 300 } }, $operator);
is(0 + $priced->{json}{estimated_cost}, $priced->{json}{target_instances} / 10,
	'and a decision tells it of an hour');
my $metrics = $httpd->get('/metrics', $reader);
status_is($metrics, 200, 'metrics');
is($metrics->{headers}{'content-type'}, 'text/plain; version=0.0.4; charset=utf-8',
	'in the format of Prometheus');

# ---- tokens end ----

my $old = $httpd->token('reader');
my $new = $httpd->token('reader');
status_is($httpd->get('/scale/history', $_), 200, 'while tokens change two are valid')
  foreach ($old, $new);
my ($old_id) = $old =~ /^qps_(\d+)_/;
sql("SELECT qpsscale_revoke_token($old_id)");
my $revoked = $httpd->get('/scale/history', $old);
status_is($revoked, 401, 'one that was revoked is not');
my $wrong = $httpd->get('/scale/history', 'qps_1_' . 'x' x 43);
is_deeply($revoked->{json}, $wrong->{json}, 'and is answered as if it had never been one');
status_is($httpd->get('/scale/history', $new), 200, 'the other still is');
my $short = $httpd->token('reader', undef, "'1 ms'");
status_is($httpd->get('/scale/history', $short), 401, 'one that has expired is not');
my $far = $httpd->token('reader', undef, "'1 h', '{192.0.2.0/24}'");
status_is($httpd->get('/scale/history', $far), 401, 'nor is one from elsewhere');
my $near = $httpd->token('reader', undef, "'1 h', '{127.0.0.0/8}'");
status_is($httpd->get('/scale/history', $near), 200, 'from where it may, it is');
isnt(sql("SELECT last_used_at FROM qpsscale.api_tokens WHERE id = "
	  . ($new =~ /^qps_(\d+)_/)[0]), '', 'that it was used is written down');
sql('CREATE ROLE http_alone');
my $alone = sql("SELECT token FROM qpsscale_create_token('http_alone', 'x')");
status_is($httpd->get('/scale/history', $alone), 403,
	'a role that was not granted to the gateway');

# ---- a token is nowhere but with who has it ----

my $log = slurp_file($node->logfile);
my $dump = $node->safe_psql('postgres', 'SELECT 1') . do
{
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr('postgres') ],
		'>', \$out, '2>', \$err);
	$out;
};
like($log, qr/token_role/, 'the log has the statements');
like($dump, qr/api_tokens/, 'the dump has the table');
my $tables = join "\n", map { sql("SELECT t::text FROM $_ t") } split /\n/,
  sql("SELECT oid::regclass FROM pg_class WHERE relnamespace = 'qpsscale'::regnamespace AND relkind = 'r'");
my $activity = sql('SELECT string_agg(query, chr(10)) FROM pg_stat_activity');
my %place = (log => $log, dump => $dump, tables => $tables,
	pg_stat_activity => $activity, 'log of the program' => $httpd->log);
foreach my $place (sort keys %place)
{
	my @seen = grep { index($place{$place}, substr($_, -43)) >= 0 }
	  ($reader, $operator, $old, $new, $near, $alone);

	is(scalar @seen, 0, "no token in: $place");
}

# ---- the document tells of all that was answered ----

my ($judged, $complaints) = ('', '');
IPC::Run::run([ 'python3', 'test/openapi' ], '<', \$httpd->answers, '>', \$judged,
	'2>', \$complaints);
my @bad = grep { !/^ok / } split /\n/, $judged;
is_deeply(\@bad, [], 'openapi.json: itself, its examples and every answer')
  or diag($complaints);
cmp_ok(scalar(() = $judged =~ /^ok - [A-Z]+ \S+: \d{3}$/mg), '>=', 45, 'of many');
is_deeply(
	$httpd->get('/openapi.json')->{json},
	decode_json(slurp_file('src/httpd/assets/openapi.json')),
	'it is what the server gives out');
my %paths = %{ decode_json(slurp_file('src/httpd/assets/openapi.json'))->{paths} };
my $routes = slurp_file('src/httpd/routes.c');
my @routes = ($routes =~ /(?:CALL\(|method = )"(GET|POST)", (?:\.path = )?"([^"]+)"/g,
	map { /(READ|WRITE)/ ? ($1 eq 'READ' ? 'GET' : 'POST') : $_ } $routes =~ /\b(READ|WRITE)\("([^"]+)"/g);
my @untold;
while (my ($method, $path) = splice @routes, 0, 2)
{
	push @untold, "$method $path" unless $paths{$path}{ lc $method };
	delete $paths{$path};
}
is_deeply(\@untold, [], 'and tells of every route');
is_deeply([ keys %paths ], ['/openapi.json'], 'and of none that is not there');

$httpd->stop;
done_testing();
