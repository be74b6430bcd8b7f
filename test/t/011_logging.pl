# What reaches the server log: as much as qpsscale.log_level and
# qpsscale.detailed_logging ask for, and it may be asked by environment.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use QpsscaleNode;
use Test::More;

$ENV{LOG_LEVEL} = 'debug';
my ($node, $cloud) = QpsscaleNode->start(
	settings => { 'qpsscale.databases' => "'Postgres'" });
delete $ENV{LOG_LEVEL};
$cloud->set_traffic('alb-web', { kind => 'constant', qps => 100 });
add_group($node, $cloud, 'web', desired => 2);

sub log_since
{
	my ($offset) = @_;

	return substr(slurp_file($node->logfile), $offset);
}

sub set
{
	$node->safe_psql('postgres', "ALTER SYSTEM SET $_") foreach @_;
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	return -s $node->logfile;
}

is( $node->safe_psql('postgres',
		"SELECT count(*) FROM qpsscale.problems() WHERE problem = 'no worker: database not listed'"),
	'0', 'an unquoted name in qpsscale.databases is folded as SQL does it');
wait_until('LOG_LEVEL=debug in the environment shows each cycle',
	sub { log_since(0) =~ /qpsscale evaluated 1 groups with \d+ calls/ });
unlike(log_since(0), qr/resource group "asg-web": none/,
	'decisions are not logged by default');

my $offset = set('qpsscale.detailed_logging = on');
wait_until('detailed_logging shows each decision',
	sub { log_since($offset) =~
		/resource group "asg-web": none, optimal_instance_count_reached/ });

set("qpsscale.log_level = 'warning'");
my $ticks = $node->safe_psql('postgres',
	'SELECT ticks FROM qpsscale.stat_worker');
wait_for($node, "SELECT ticks > $ticks + 1 FROM qpsscale.stat_worker", 't',
	'cycles go on');
$offset = -s $node->logfile;
wait_for($node, "SELECT ticks > $ticks + 3 FROM qpsscale.stat_worker", 't',
	'and on');
unlike(log_since($offset), qr/qpsscale evaluated|resource group/,
	'log_level = warning silences both');

done_testing();
