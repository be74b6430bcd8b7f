# Objects of a real API server, from the row to the object and back: out, in,
# to zero and from zero; the kinds there are.

use strict;
use warnings;

use QpsscaleKubernetes;
use QpsscaleNode;
use Test::More;

my $cluster = QpsscaleKubernetes->start;

$cluster->namespace('prod');
$cluster->custom_kind;
$cluster->metrics_api;
$cluster->role(
	'prod',
	[ 'apps', 'deployments statefulsets replicasets', 'get list' ],
	[ 'apps', 'deployments/scale statefulsets/scale replicasets/scale',
		'get patch' ],
	[ 'stable.example.com', 'workers workers/scale', 'get list patch' ],
	[ 'autoscaling', 'horizontalpodautoscalers', 'list' ],
	[ '', 'pods', 'list' ],
	[ 'metrics.k8s.io', 'pods', 'list' ]);

my $node = $cluster->node;
$cluster->use_token($cluster->token('prod'));

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub verdict
{
	my ($result) = @_;

	return join(' ', $result->{action}, $result->{desired_capacity} // 'null');
}

# Evaluates until the group's last activity is as expected.
sub comes_to
{
	my ($id, $expected, $what) = @_;
	my $seen;
	my $came = wait_until($what, sub {
		evaluate($node, $id);
		$seen = (split /\n/, activities($node, $id))[-1] // '';
		return $seen eq $expected;
	});

	diag("expected: $expected, seen: "
		  . join(', ', split /\n/, activities($node, $id))) unless $came;
	return $came;
}

# Pods of an object, each using so much of the 100m that it requests.
sub busy
{
	my ($plural, $name, $percent) = @_;

	$cluster->usage($plural, 'prod', $name, "cpu=${percent}m,memory=10Mi");
	return;
}

sub ready_comes_to
{
	my ($plural, $name, $count) = @_;

	return wait_until("$name has $count ready pods",
		sub { $cluster->ready($plural, 'prod', $name) == $count });
}

subtest 'a deployment grows and shrinks with its CPU' => sub {
	$cluster->workload('deployments', 'prod', 'web', replicas => 2,
		request => 'cpu=100m,memory=10Mi');
	my $id = $cluster->group($node, 'deployments', 'prod', 'web');

	busy('deployments', 'web', 90);
	ready_comes_to('deployments', 'web', 2);
	comes_to($id, 'accepted 4', 'two pods at 90 percent where 50 are wanted: four');
	is($cluster->replicas('deployments', 'prod', 'web'), 4,
		'the object says it');
	$cluster->forget;
	busy('deployments', 'web', 50);
	comes_to($id, 'successful 4', 'the pods come up');
	is($cluster->ready('deployments', 'prod', 'web'), 4, 'all of them');
	wait_until('and are ready for a while',
		sub { $cluster->warm('prod', 'web', 4) });

	busy('deployments', 'web', 20);
	comes_to($id, 'accepted 2', 'at 20 percent two are enough');
	is($cluster->replicas('deployments', 'prod', 'web'), 2, 'the object says it');
	my @writes = grep { $_->{verb} eq 'patch' } $cluster->audit;
	is(scalar(@writes), 1, 'by one write');
	like($writes[0]{requestURI}, qr/[?&]fieldManager=qpsscale\b/,
		'which bears our name');
	ok($writes[0]{requestObject}{metadata}{resourceVersion},
		'and says which version of the object it is for');
	is(join("\n", grep { !/ 200$/ } $cluster->asked), '',
		'nothing was refused, nor did it miss');
	busy('deployments', 'web', 50);
	ready_comes_to('deployments', 'web', 2);
	comes_to($id, 'successful 2', 'the others go');
};

subtest 'to zero, and from zero' => sub {
	$cluster->workload('deployments', 'prod', 'idle', replicas => 2,
		request => 'cpu=100m,memory=10Mi');
	my $id = $cluster->group($node, 'deployments', 'prod', 'idle');

	ready_comes_to('deployments', 'idle', 2);
	sql("SELECT qpsscale_set_capacity($id, 0, 'night')");
	is($cluster->replicas('deployments', 'prod', 'idle'), 0, 'none is asked for');
	comes_to($id, 'successful 0', 'all have gone');
	is(status_of($node, $id)->{latest_capacity}, 0, 'and that is known, not unknown');
	sql("SELECT qpsscale_set_capacity($id, 3, 'morning')");
	comes_to($id, 'successful 3', 'from zero there are three again');
};

subtest 'every kind that has replicas' => sub {
	foreach my $plural (qw(statefulsets replicasets workers))
	{
		my $name = "a-$plural";

		$cluster->workload($plural, 'prod', $name, replicas => 1,
			request => 'cpu=100m,memory=10Mi');
		my $id = $cluster->group($node, $plural, 'prod', $name);

		wait_until("$name has its status", sub {
			($cluster->object($plural, 'prod', $name)->{status}{replicas} // 0) == 1;
		});
		sql("SELECT qpsscale_set_capacity($id, 3, 'more')");
		is($cluster->replicas($plural, 'prod', $name), 3, "$name: three");
		comes_to($id, 'successful 3', 'which come up');
		sql("SELECT qpsscale_set_capacity($id, 0, 'none')");
		is($cluster->replicas($plural, 'prod', $name), 0, "$name: none");
		comes_to($id, 'successful 0', 'and they go');
	}
};

subtest 'many objects of a namespace are one list' => sub {
	sql('UPDATE qpsscale.resource_groups SET enabled = false');
	my @ids;

	foreach my $number (1 .. 300)
	{
		$cluster->workload('deployments', 'prod', "many-$number", replicas => 0);
		push @ids, $cluster->group($node, 'deployments', 'prod', "many-$number")
		  if $number % 3 == 0;
	}
	$cluster->forget;
	my $seen = sql("SELECT count(*) FROM qpsscale_evaluate() e"
		  . " WHERE (e ->> 'current_instances')::integer = 0"
		  . " AND e ->> 'error' IS NULL");
	is($seen, '100', 'each of the hundred was found');
	my %count;
	$count{$_}++ foreach $cluster->asked;
	# Once for what they have, once for whose pods are theirs.
	cmp_ok($count{'list deployments 200'}, '<=', 4, 'by lists of two pages');
	is($count{'get deployments 200'}, undef, 'and not one by one');
};

done_testing();
