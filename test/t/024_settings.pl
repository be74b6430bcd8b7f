# Settings that cannot be meant are refused where they are given, with a word
# on what may be; the first original's variables that cannot are ignored, with
# a warning that does not repeat the value.

use strict;
use warnings;

use QpsscaleNode;
use PostgreSQL::Test::Utils;
use Test::More;

my %environment = (
	METRIC_PERIOD => 'AKLTcanary-period',
	INITIAL_DELAY_SECONDS => '99999999999999999999',
	ENABLE_DETAILED_LOGGING => 'AKLTcanary-logging',
	LOG_LEVEL => 'AKLTcanary-level',
	REGION => 'AKLT Canary Region');
my ($node, $cloud);

{
	local @ENV{ keys %environment } = values %environment;
	($node, $cloud) = QpsscaleNode->start;
}

# ---- the environment ----

my $log = slurp_file($node->logfile);
foreach my $variable (sort keys %environment)
{
	like($log, qr/WARNING:  .*environment variable $variable is ignored/,
		"a senseless $variable is ignored, and that is said");
}
unlike($log, qr/AKLT.?Canary|99999999999/i,
	'what it said is not: it may be a key in the wrong place');
is( $node->safe_psql('postgres',
		"SELECT string_agg(name || '=' || setting, ' ' ORDER BY name)"
		  . " FROM pg_settings WHERE name IN ('qpsscale.metric_period',"
		  . " 'qpsscale.initial_delay', 'qpsscale.log_level')"),
	$node->safe_psql('postgres',
		"SELECT string_agg(name || '=' || boot_val, ' ' ORDER BY name)"
		  . " FROM pg_settings WHERE name IN ('qpsscale.metric_period',"
		  . " 'qpsscale.initial_delay', 'qpsscale.log_level')"),
	'the settings are those without it');

# ---- each setting ----

sub refused
{
	my ($setting, $value, $detail, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres',
		"ALTER SYSTEM SET qpsscale.$setting = $value");

	like($err, $detail, "$setting: $what");
	return;
}

refused('databases', q('"never closed'), qr/List syntax is invalid/,
	'a quote that is not closed');
refused('databases', "'" . join(',', map { "db$_" } 1 .. 1000) . "'",
	qr/At most \d+ databases can be served/, 'more than there is room for');
foreach my $hosts ('https://a.example', 'a.example,,b.example', '*.*.example',
	'a b.example', '*', 'a.example:port', ',')
{
	refused('allowed_hosts', "'$hosts'", qr/Each element must be a host name/,
		"\"$hosts\"");
}
refused('secrets_dir', "'keys'", qr/The path must be absolute/,
	'a relative path, which would mean the data directory');
refused('secrets_dir', "'/" . ('x' x 2000) . "'",
	qr/The path must be shorter than/, 'a path that no system call takes');
refused('ca_file', "'ca.pem'", qr/The path must be absolute/,
	'a relative path');
refused('host_id', "'node one'", qr/It may hold at most \d+ letters/,
	'a blank');
refused('host_id', "'" . ('n' x 200) . "'",
	qr/It may hold at most \d+ letters/, 'more than fits a column');
refused('region', "'ap southeast'", qr/A region is made of/,
	'a blank');

is($node->safe_psql('postgres', "SELECT count(*) FROM pg_file_settings"
		  . " WHERE sourcefile ~ 'auto.conf' AND name ~ '^qpsscale'"),
	'0', 'nothing of that was kept');

# ---- and what is meant works ----

foreach my $setting (
	[ 'databases', q('postgres, "Shop 1", postgres') ],
	[ 'allowed_hosts', q(' 127.0.0.1 , *.internal.example:8443 ,[::1]:80') ],
	[ 'host_id', q('node-1.example:5432') ],
	[ 'region', q('cn-beijing') ])
{
	my ($name, $value) = @$setting;
	my ($rc, $out, $err) = $node->psql('postgres',
		"ALTER SYSTEM SET qpsscale.$name = $value");

	is($err, '', "$name = $value is taken");
}

$node->stop;
done_testing();
