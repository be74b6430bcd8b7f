# Others work on the same objects: a second writer, another autoscaler, whoever
# pauses or deletes them.  What a real API server makes of it, and what we do.

use strict;
use warnings;

use POSIX qw(_exit);
use QpsscaleKubernetes;
use QpsscaleNode;
use Test::More;

my $cluster = QpsscaleKubernetes->start;

$cluster->namespace('prod');
$cluster->metrics_api;
my @rules = (
	[ 'apps', 'deployments', 'get list' ],
	[ 'apps', 'deployments/scale', 'get patch' ],
	[ 'autoscaling', 'horizontalpodautoscalers', 'list' ],
	[ '', 'pods', 'list' ],
	[ 'metrics.k8s.io', 'pods', 'list' ]);
$cluster->role('prod', @rules);

my $node = $cluster->node;
$cluster->use_token($cluster->token('prod'));

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub add
{
	my ($name, $replicas, %opts) = @_;
	my $percent = delete $opts{percent} // 50;

	$cluster->workload('deployments', 'prod', $name, replicas => $replicas,
		request => 'cpu=100m,memory=10Mi');
	$cluster->usage('deployments', 'prod', $name, "cpu=${percent}m,memory=10Mi");
	wait_until("$name has $replicas ready pods",
		sub { $cluster->ready('deployments', 'prod', $name) == $replicas });
	return $cluster->group($node, 'deployments', 'prod', $name, %opts);
}

# Evaluates until the verdict is as expected: a new pod's first samples count
# for nothing.
sub verdict_comes
{
	my ($id, $expected, $what) = @_;
	my ($seen, $result);
	my $came = wait_until($what, sub {
		$result = evaluate($node, $id);
		$seen = "$result->{action} $result->{reason}";
		return $seen =~ $expected;
	});

	diag("last seen: $seen " . ($result->{error} // '')) unless $came;
	return $result;
}

my $RESTS = qr/^none (optimal_instance_count_reached|within_tolerance)/;

subtest 'a second writer: every write is one to what was read' => sub {
	my $id = add('raced', 2);

	verdict_comes($id, $RESTS, 'it rests');
	$cluster->pause_controllers(1);
	$cluster->forget;
	my $parent = $$;

	# Some who annotate the object as fast as the API server lets them.
	my @writers;
	foreach my $number (1 .. 3)
	{
		my $writer = fork() // die "fork: $!\n";
		push @writers, $writer and next if $writer != 0;
		for (my $count = 0; getppid() == $parent; $count++)
		{
			eval { $cluster->change('deployments', 'prod', 'raced',
				{ metadata => { annotations => { "by-$number" => "$count" } } }) };
		}
		_exit(0);
	}
	my ($taken, $refused) = (0, 0);
	my ($turn, $said) = (0, '');
	wait_until('writes were refused, and others taken', sub {
		my $wanted = 3 + $turn++ % 5;

		my ($rc, $out, $err) = $node->psql('postgres',
			"SELECT qpsscale_set_capacity($id, $wanted, 'race')");
		$said = $err || $out;
		($taken, $refused) = (0, 0);
		foreach my $asked ($cluster->asked)
		{
			$taken++ if $asked eq 'patch deployments/scale 200';
			$refused++ if $asked eq 'patch deployments/scale 409';
		}
		return $taken > 2 && $refused > 2;
	});
	note("$taken taken, $refused refused; last said: $said");
	kill('KILL', @writers);
	waitpid($_, 0) foreach @writers;

	my @writes = grep { $_->{verb} eq 'patch' } $cluster->audit;
	is(scalar(grep { !$_->{requestObject}{metadata}{resourceVersion} } @writes),
		0, 'no write was unconditional');
	is(sql("SELECT count(*) FROM qpsscale.activities"
			  . " WHERE resource_group_id = $id AND status IN ('requested', 'unknown')"),
		'0', 'of none it is unknown what became of it');
	cmp_ok(scalar(@writes), '<=', 2 * sql('SELECT count(*) FROM'
			  . " qpsscale.activities WHERE resource_group_id = $id"),
		'none was made more than twice');
	sql("SELECT qpsscale_set_capacity($id, 5, 'peace')");
	is($cluster->replicas('deployments', 'prod', 'raced'), 5,
		'in peace it is made at once');
	$cluster->pause_controllers(0);
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

subtest 'a change that somebody else makes is seen' => sub {
	my $id = add('foreign', 2);

	verdict_comes($id, $RESTS, 'it rests');
	$cluster->usage('deployments', 'prod', 'foreign', 'cpu=10m,memory=10Mi');
	$cluster->change('deployments', 'prod', 'foreign', { spec => { replicas => 6 } });
	wait_until('six are ready',
		sub { $cluster->ready('deployments', 'prod', 'foreign') == 6 });
	verdict_comes($id, qr/^scale_down/, 'six are too many');
	is(sql("SELECT count(*) > 0 FROM qpsscale.state WHERE resource_group_id = $id"
			  . ' AND last_action_at IS NOT NULL'), 't', 'it is on record');
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

subtest 'an object that a horizontal pod autoscaler scales is left alone' => sub {
	my $id = add('rivals', 2, percent => 90);
	my $hpas = '/apis/autoscaling/v1/namespaces/prod/horizontalpodautoscalers';

	foreach my $name (qw(rivals others))
	{
		$cluster->must('POST', $hpas, {
				metadata => { name => $name },
				spec => { maxReplicas => 9, scaleTargetRef => {
						apiVersion => 'apps/v1', kind => 'Deployment',
						name => $name } } });
	}
	my $result = verdict_comes($id, qr/^none other_autoscaler/, 'it is refused');
	like($result->{error} // '', qr/HorizontalPodAutoscaler "rivals"/,
		'and the other one is named');
	is($cluster->replicas('deployments', 'prod', 'rivals'), 2, 'nothing changed');
	$cluster->must('DELETE', "$hpas/rivals");
	verdict_comes($id, qr/^scale_up/, 'when it has gone, the object grows');
	is($cluster->replicas('deployments', 'prod', 'rivals'), 4, 'to four');
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

subtest 'a paused deployment stays as it is' => sub {
	my $id = add('held', 2, percent => 90);

	$cluster->change('deployments', 'prod', 'held',
		{ spec => { paused => JSON::PP::true } });
	verdict_comes($id, qr/^none asg_process_suspended/, 'it is left alone');
	is($cluster->replicas('deployments', 'prod', 'held'), 2, 'nothing changed');
	$cluster->change('deployments', 'prod', 'held',
		{ spec => { paused => JSON::PP::false } });
	verdict_comes($id, qr/^scale_up/, 'then it grows');
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

subtest 'an object that is deleted while it is scaled' => sub {
	my $id = add('gone', 2, percent => 90);

	verdict_comes($id, qr/^scale_up/, 'it grows');
	$cluster->delete_object('deployments', 'prod', 'gone');
	my $result = evaluate($node, $id);
	is($result->{action}, 'none', 'nothing is done');
	like($result->{error}, qr/NotFound/, 'it is not found');
	isnt($result->{current_instances} // 'unknown', 0, 'which is not none');
	my ($status) = $cluster->kube('GET',
		'/apis/apps/v1/namespaces/prod/deployments/gone');
	is($status, 404, 'and it was not made anew');

	$cluster->workload('deployments', 'prod', 'gone', replicas => 1,
		request => 'cpu=100m,memory=10Mi');
	verdict_comes($id, qr/^scale_up/, 'one of that name is scaled again');
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

done_testing();
