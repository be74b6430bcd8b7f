# What the emulator of an API server is built on is what a real one does: the
# recording in test/cloud/kubernetes_contract.json, played against it again.
# With QPS_RECORD=FILE in the environment it is written anew.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use QpsscaleKubernetes;
use QpsscaleNode;
use Test::More;

my $program =
  dirname(abs_path(__FILE__)) . '/../../cloud/kubernetes_contract.py';
my $cluster = QpsscaleKubernetes->start;

# ---- the scene, as that program describes it ----

$cluster->namespace($_) foreach qw(prod empty);
$cluster->custom_kind;
my %deployment = (
	web => [ replicas => 2 ],
	idle => [ replicas => 0 ],
	held => [ replicas => 1, spec => { paused => JSON::PP::true } ],
	api => [ replicas => 0 ],
	batch => [ replicas => 0 ]);
$cluster->workload('deployments', 'prod', $_, @{ $deployment{$_} })
  foreach sort keys %deployment;
$cluster->workload('statefulsets', 'prod', 'db', replicas => 1);
wait_until('the kind that a user has defined is served', sub {
	($cluster->kube('GET', '/apis/stable.example.com/v1/workers'))[0] == 200;
});
$cluster->workload('workers', 'prod', 'w', replicas => 2);
$cluster->must('POST',
	'/apis/autoscaling/v1/namespaces/prod/horizontalpodautoscalers', {
		metadata => { name => 'web' },
		spec => { maxReplicas => 9, scaleTargetRef => {
				apiVersion => 'apps/v1', kind => 'Deployment', name => 'web' } } });
$cluster->role(
	$_,
	[ 'apps', 'deployments/scale', 'get patch' ],
	[ 'apps', 'deployments', 'get list' ],
	[ 'apps', 'statefulsets/scale', 'get' ],
	[ 'stable.example.com', 'workers workers/scale', 'get list patch' ],
	[ 'autoscaling', 'horizontalpodautoscalers', 'list' ],
	[ 'metrics.k8s.io', 'pods', 'list' ],
	[ 'nosuch.example.com', 'things/scale', 'get' ]) foreach qw(prod);
$cluster->must('POST', '/apis/rbac.authorization.k8s.io/v1/namespaces/empty/'
	  . 'roles', { metadata => { name => 'reader' }, rules => [ {
			apiGroups => ['apps'], resources => ['deployments'],
			verbs => ['list'] } ] });
$cluster->must('POST', '/apis/rbac.authorization.k8s.io/v1/namespaces/empty/'
	  . 'rolebindings', { metadata => { name => 'reader' },
		roleRef => { apiGroup => 'rbac.authorization.k8s.io', kind => 'Role',
			name => 'reader' },
		subjects => [ { kind => 'ServiceAccount', name => 'qpsscale',
				namespace => 'prod' } ] });

foreach my $case ([ 'deployments', 'web', 2 ], [ 'deployments', 'held', 1 ],
	[ 'statefulsets', 'db', 1 ])
{
	my ($plural, $name, $count) = @$case;

	wait_until("$name is ready",
		sub { $cluster->ready($plural, 'prod', $name) == $count });
}
wait_until('a worker has its status', sub {
	($cluster->object('workers', 'prod', 'w')->{status}{replicas} // 0) == 2;
});
$cluster->pause_controllers(1);
$cluster->workload('workers', 'prod', 'bare');

# ---- the play ----

my $what = $ENV{QPS_RECORD} ? 'record' : 'check';
open(my $replies, '-|', 'python3', $program, $what, $cluster->server,
	$cluster->ca_file, $cluster->token('prod')->{token},
	"$cluster->{proxy}/_cluster") or die "python3: $!\n";

if ($what eq 'record')
{
	open(my $file, '>', $ENV{QPS_RECORD}) or die "$ENV{QPS_RECORD}: $!\n";
	print $file $_ while <$replies>;
	close($file) or die "$ENV{QPS_RECORD}: $!\n";
}
while (defined(my $line = <$replies>))
{
	if ($line =~ /^(not )?ok - (.*)/) { ok(!$1, $2); }
	elsif ($line =~ /^# (.*)/) { diag($1); }
}
ok(close($replies), 'all was asked');

done_testing();
