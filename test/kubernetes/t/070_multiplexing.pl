# Many writes at once share one connection: an API server speaks HTTP/2.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use QpsscaleKubernetes;
use QpsscaleNode;
use Test::More;

my $many = 30;
my $cluster = QpsscaleKubernetes->start;

$cluster->namespace('prod');
$cluster->role(
	'prod',
	[ 'apps', 'deployments', 'get list' ],
	[ 'apps', 'deployments/scale', 'get patch' ],
	[ 'autoscaling', 'horizontalpodautoscalers', 'list' ],
	[ '', 'pods', 'list' ]);
my $node = $cluster->node;
$cluster->use_token($cluster->token('prod'));

# Connections that a process has to the API server.
sub connections
{
	my ($pid) = @_;
	my ($port) = $cluster->server =~ /:(\d+)$/;
	my $remote = sprintf(':%04X', $port);
	my %own = map { (readlink($_) // '') =~ /^socket:\[(\d+)\]/ ? ($1 => 1) : () }
	  glob("/proc/$pid/fd/*");

	return scalar grep {
		my @field = split ' ';

		($field[2] // '') =~ /$remote$/ && $own{ $field[9] // '' }
	} split /\n/, slurp_file("/proc/$pid/net/tcp");
}

foreach my $i (1 .. $many)
{
	$cluster->workload('deployments', 'prod', "web-$i", replicas => 1);
	$cluster->group($node, 'deployments', 'prod', "web-$i",
		min_instances => 2, target_cpu => 50);
}
my $accepted = "SELECT count(DISTINCT resource_group_id) FROM qpsscale.activities"
  . " WHERE status IN ('accepted', 'successful')";

$node->safe_psql('postgres', 'SELECT count(*) FROM qpsscale_evaluate()');
wait_for($node, $accepted, $many, 'all are scaled');
is(connections(worker_pid($node)), 1,
	"$many reads and writes of one worker took one connection");

done_testing();
