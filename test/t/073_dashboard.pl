# The dashboard in Debian's Chromium: every page by mouse and by keyboard, in
# both themes, with real groups behind it.  What a page does is tested in
# test/browser/dashboard.mjs; pictures of it are left in test/browser/screenshots.

use strict;
use warnings;

use Digest::SHA;
use IPC::Run;
use PostgreSQL::Test::Utils;
use QpsscaleHttpd;
use QpsscaleNode;
use Test::More;

my $assets = 'src/httpd/assets';

# ---- what is not ours ----

foreach my $line (split /\n/, slurp_file("$assets/uPlot.sha256"))
{
	my ($sum, $file) = split ' ', $line;

	is(Digest::SHA->new(256)->addfile("$assets/$file")->hexdigest, $sum,
		"$file is what its authors published");
}
my @strange = grep { slurp_file($_) =~ /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|\bstyle=|https?:(?!\/\/www\.w3\.org\/)/ }
  grep { !/uPlot/ } glob("$assets/*.js $assets/*.html");
is("@strange", '', 'text becomes text, and nothing is fetched from elsewhere');

# a word without a shape of its own would be drawn as nothing
my ($view) = slurp_file('sql/qpsscale--1.0.0.sql') =~ /^CREATE VIEW qpsscale\.status AS(.*?)^\tEND AS status/ms;
my ($drawn) = slurp_file("$assets/words.js") =~ /^const states = \{(.*?)^\};/ms;
is_deeply([ sort($drawn =~ /^\t"([^"]+)":/mg) ],
	[ sort($view =~ /(?:THEN|ELSE) '([^']+)'/g) ], 'every status word has a shape');

my $program = -x 'qpsscale-httpd';
my $modules = $ENV{QPSSCALE_BROWSER} // '';

unless ($program && -d "$modules/node_modules")
{
	ok(0, 'a browser is there in continuous integration') if $ENV{CI};
	SKIP: { skip('no qpsscale-httpd, or no browser (test/browser/install says why)', 1); }
	done_testing();
	exit;
}

# ---- groups with a past ----

my ($node, $cloud) = QpsscaleNode->start(cloud => { boot_delay => 1 });
my $httpd = QpsscaleHttpd->start($node);
my %policy = (scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 1,
	general_cooldown_seconds => 0, scale_down_window_seconds => 2,
	suspicious_drop_guard => 'false', max_scale_up_per_action => 2);

sub sql { return $node->safe_psql('postgres', $_[0]); }

my $web = add_group($node, $cloud, 'web', desired => 2, min => 1, max => 40, name => 'web',
	hourly_price => 0.25, currency => 'USD', %policy);
my $calm = add_group($node, $cloud, 'calm', desired => 2, min => 1, max => 9, name => 'calm');
my $asks = add_group($node, $cloud, 'asks', desired => 2, min => 1, max => 9, name => 'asks',
	require_approval => 'true');
$cloud->set_traffic('alb-asks', { kind => 'constant', qps => 140 });
add_group($node, $cloud, 'odd', desired => 1, min => 1, max => 9, enabled => 'false',
	name => '<img src=x onerror=alert(1)>');
$cloud->set_traffic('alb-calm', { kind => 'constant', qps => 90 });
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 330 });
my $operator = $httpd->token('operator');
my $reader = $httpd->token('reader');
sql(<<SQL);
GRANT USAGE ON FOREIGN SERVER cloud TO http_operator;
CREATE USER MAPPING FOR http_operator SERVER cloud
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY', secret_access_key 'env:TEST_SECRET_KEY');
UPDATE qpsscale.resource_groups SET owner = 'http_operator';
SELECT qpsscale_grant('http_operator', 'admin');
SELECT qpsscale_suspend($calm, 'down', NULL, 'holidays');
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
SELECT date_trunc('minute', now()) - t * interval '1 minute', $web >> 5,
	array_fill(NULL::real, ARRAY[$web & 31]) || (CASE WHEN t % 60 < 20 THEN 800 ELSE 90 END)::real, '{}', '{}'
FROM generate_series(60, 4400) t;	-- three days: enough to be forecast
INSERT INTO qpsscale.webhooks (name, url, enabled) VALUES ('ops', 'https://127.0.0.1:1/', false);
INSERT INTO qpsscale.alerts (type, severity, status, dedupe_key, summary)
	VALUES ('qpsscale.webhook.test', 'warning', 'firing', 'test', 'only <i>a</i> test');
INSERT INTO qpsscale.alert_deliveries (alert_id, webhook_id, transition, status, attempts, last_error)
	SELECT a.id, w.id, 'firing', 'dead', 10, 'nobody answered' FROM qpsscale.alerts a, qpsscale.webhooks w;
INSERT INTO qpsscale.errors (resource_group_id, source, message, context)
	VALUES ($web, 'load', 'the <b>cloud</b> did not answer', '{"http_status": 503}');
SQL
wait_for($node, "SELECT max(eval_capacity) >= 6 FROM qpsscale.activities WHERE resource_group_id = $web", 't',
	'the group grows, limited');
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 190 });
wait_for($node, "SELECT EXISTS (SELECT FROM qpsscale.activities WHERE resource_group_id = $web AND action = 'scale_down')",
	't', 'and shrinks');

wait_for($node, "SELECT EXISTS (SELECT FROM qpsscale.decisions WHERE resource_group_id = $asks)", 't',
	'one waits for a person');

# ---- a browser ----

my $pictures = PostgreSQL::Test::Utils::tempdir() . '/screenshots';
my ($out, $err) = ('', '');
{
	local %ENV = (%ENV, URL => $httpd->url . '/', OPERATOR => $operator,
		READER => $reader, HTTPD_PID => $httpd->pid, MODULES => $modules,
		SCREENSHOTS => $ENV{QPSSCALE_SCREENSHOTS} // $pictures);
	IPC::Run::run([ 'node', 'test/browser/dashboard.mjs' ], '<', \undef,
		'>', \$out, '2>', \$err, IPC::Run::timeout(240));
}
is($err, '', 'the browser has nothing to complain of');
foreach my $line (split /\n/, $out)
{
	if ($line =~ /^ok (.*)/) { pass($1); }
	elsif ($line =~ /^not ok (.*)/) { fail($1); }
	elsif ($line =~ /^# \w[^:]*: \d+ ms$/) { note($line); }
	else { diag($line); }
}
like($out, qr/^(?:not )?ok no page complained/m, 'all of it was looked at');

done_testing();
