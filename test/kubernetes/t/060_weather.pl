# A real API server that has no time, loses its memory, or goes away and comes
# back: nothing shrinks, nothing is taken for none, and afterwards all goes on.

use strict;
use warnings;

use QpsscaleKubernetes;
use QpsscaleNode;
use Test::More;

my $cluster = QpsscaleKubernetes->start;

$cluster->namespace('prod');
$cluster->metrics_api;
$cluster->role(
	'prod',
	[ 'apps', 'deployments', 'get list' ],
	[ 'apps', 'deployments/scale', 'get patch' ],
	[ 'autoscaling', 'horizontalpodautoscalers', 'list' ],
	[ '', 'pods', 'list' ],
	[ 'metrics.k8s.io', 'pods', 'list' ]);

my $node = $cluster->node(settings => { 'qpsscale.request_timeout' => "'2s'" });
$cluster->use_token($cluster->token('prod'));
$cluster->workload('deployments', 'prod', 'web', replicas => 4,
	request => 'cpu=100m,memory=10Mi');
$cluster->usage('deployments', 'prod', 'web', 'cpu=50m,memory=10Mi');
my $id = $cluster->group($node, 'deployments', 'prod', 'web');
my $seen;

my $RESTS = qr/^none (optimal_instance_count_reached|within_tolerance) $/;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub comes
{
	my ($expected, $what) = @_;
	my $came = wait_until($what, sub {
		my $result = evaluate($node, $id);

		$seen = join(' ', $result->{action}, $result->{reason},
			$result->{error} // '');
		return $seen =~ $expected;
	});

	diag("last seen: $seen") unless $came;
	return $came;
}

comes($RESTS, 'it rests');

subtest 'too many requests' => sub {
	$cluster->crowd;
	comes(qr/^none \S+ .*(429|Too many requests)/, 'it is told, and nothing is done');
	$cluster->calm;
	comes($RESTS, 'then all goes on');
};

subtest 'an API server without its memory' => sub {
	$cluster->signal('etcd', 'SIGSTOP');
	comes(qr/^none \S+ \S/, 'nothing is done');
	$cluster->signal('etcd', 'SIGCONT');
	comes($RESTS, 'then all goes on');
};

subtest 'an API server that is killed' => sub {
	$cluster->signal('kube-apiserver', 'SIGSTOP');
	comes(qr/^none \S+ \S/, 'one that hangs: nothing is done');
	$cluster->restart;
	comes($RESTS,
		'one that is new: all goes on, over a new connection');
};

subtest 'a metrics service that hangs, or is not there' => sub {
	$cluster->usage('deployments', 'prod', 'web', 'cpu=1m,memory=10Mi');
	$cluster->hang_metrics(1);
	comes(qr/^none \S+ \S/, 'one that hangs shrinks nothing');
	is($cluster->replicas('deployments', 'prod', 'web'), 4, 'four');
	$cluster->must('DELETE',
		'/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io');
	comes(qr/^none \S+ .*metrics/, 'one that is not there is named');
	$cluster->hang_metrics(0);
	is($cluster->replicas('deployments', 'prod', 'web'), 4, 'four');
};

done_testing();
