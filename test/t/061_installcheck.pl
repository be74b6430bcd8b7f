# make && make install && make installcheck, as a newcomer would: on a stock
# server without our library preloaded, without a setting of ours, and without
# a cloud.  The staged installation is the one that run-check made of these
# sources.

use strict;
use warnings;

use Cwd qw(getcwd);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
my $copy = PostgreSQL::Test::Utils::tempdir . '/clone';

# a clone of its own, since installcheck writes beside the sources
mkdir $copy;
system_or_bail('sh', '-c',
	"tar -C '" . getcwd . "' --exclude=./test/unit/build -cf - . | tar -C '$copy' -xf -");

my $node = PostgreSQL::Test::Cluster->new('stock');
$node->init;
$node->start;
is($node->safe_psql('postgres', 'SHOW shared_preload_libraries'),
	'', 'the server preloads nothing');
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_file_settings WHERE name LIKE 'qpsscale.%'"),
	'0', 'and has no setting of ours');

# run-check's variables about servers are not a newcomer's
delete local @ENV{qw(TEMP_CONFIG PG_REGRESS)};
local $ENV{PGHOST} = $node->host;
local $ENV{PGPORT} = $node->port;
my $log = '';
my $passed = run_command_log(
	'make', '-s', '-C', $copy, "PG_CONFIG=$pg_config", 'installcheck');
ok($passed, 'make installcheck succeeds');
like($log, qr/\b(install|resource_groups)\b/, 'it ran the regression tests');
like($log, qr/\bintents\b/, 'and the isolation tests');
foreach my $diffs ("$copy/regression.diffs",
	"$copy/test/isolation/regression.diffs",
	"$copy/test/isolation/output_iso/regression.diffs")
{
	diag(slurp_file($diffs)) if !$passed && -s $diffs;
}
is( $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_roles WHERE rolname LIKE 'regress_%'"),
	'0', 'no role of a test is left behind');

sub run_command_log
{
	my @command = @_;
	my $ok = IPC::Run::run(\@command, '<', \undef, '>&', \$log);

	note($log);
	return $ok;
}

$node->stop;
done_testing();
