# Objects of Kubernetes, from the row to the API server and back.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use Test::More;

my $secrets = PostgreSQL::Test::Utils::tempdir;

chmod 0700, $secrets;

# The token that the account refers to.
sub write_token
{
	my ($token) = @_;

	open(my $file, '>', "$secrets/token.new") or die "token: $!";
	chmod 0600, "$secrets/token.new";
	print $file "$token\n";
	close($file) or die "token: $!";
	rename("$secrets/token.new", "$secrets/token") or die "token: $!";
	return;
}

write_token('first');

my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 0.5 },
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.secrets_dir' => "'$secrets'" });
my $url = $cloud->url;

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub forgets_everything
{
	$cloud->kubernetes('PUT', 'settings', {
			tokens => { first => 'scaler' }, rules => undef,
			kinds => { rollouts => 'Rollout' } });
	return;
}

forgets_everything();
sql(<<SQL);
CREATE SERVER cluster FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'kubernetes', endpoint '$url');
CREATE USER MAPPING FOR CURRENT_USER SERVER cluster
	OPTIONS (token 'file:token');
SQL

# An object of the cluster and a live group for it; returns the group's id.
# Keys of the object: replicas, ready, paused, usage ...; all others are columns.
sub add_object
{
	my ($name, %opts) = @_;
	my %object = (namespace => 'prod', name => $name,
		resource => 'deployments.v1.apps', replicas => 2);
	my %row = (provider => 'kubernetes', account => 'cluster',
		asg_id => "prod/$name", min_instances => 1, max_instances => 20,
		target_cpu => 50, enabled => 'true', dry_run => 'false',
		scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 0,
		general_cooldown_seconds => 0, scale_down_window_seconds => 0);

	foreach my $key (qw(resource namespace replicas ready paused boot_delay
		usage requests labels most pod_settings))
	{
		$object{$key} = delete $opts{$key} if exists $opts{$key};
	}
	$cloud->kubernetes('PUT', 'objects', [ \%object ]);
	%row = (%row, %opts);
	my @columns = sort grep { defined $row{$_} } keys %row;

	return sql('INSERT INTO qpsscale.resource_groups ('
		  . join(', ', @columns) . ') VALUES ('
		  . join(', ', map { "'$row{$_}'" } @columns)
		  . ') RETURNING id');
}

sub object
{
	my ($name, $resource) = @_;

	return $cloud->kubernetes('GET', "objects/prod/$name?resource="
		  . ($resource // 'deployments.v1.apps'));
}

sub change_object
{
	my ($name, $change) = @_;

	return $cloud->kubernetes('PATCH', "objects/prod/$name", $change);
}

sub verdict
{
	my ($result) = @_;

	return join(' ', $result->{action}, $result->{reason},
		$result->{desired_capacity} // 'null');
}

# Names of the calls since the last reset of the log.
sub calls
{
	return join(' ', sort map { $_->{action} } @{ $cloud->log(0) });
}

sub set_to
{
	my ($id, $number) = @_;

	return decode_json(
		sql("SELECT qpsscale_set_capacity($id, $number, 'test')"));
}

# Evaluates until the open activity has ended.
sub settled
{
	my ($id, $what) = @_;

	return wait_until($what, sub {
		evaluate($node, $id);
		return activities($node, $id) !~ /accepted|requested|unknown/;
	});
}

sub last_activity
{
	my ($id) = @_;

	return sql("SELECT concat_ws(' ', status, desired_capacity, error_message)"
		  . " FROM qpsscale.activities WHERE resource_group_id = $id"
		  . ' ORDER BY id DESC LIMIT 1');
}

subtest 'out, in, to zero and from zero' => sub {
	my $id = add_object('web', min_instances => 0);

	$cloud->reset_log;
	set_to($id, 5);
	is(calls(), 'GetObject GetObject ListPodMetrics ListPods PatchScale',
		'one call reads, one writes, three tell what its pods use');
	is(object('web')->{replicas}, 5, 'out: the cluster was told');
	my ($write) = grep { $_->{action} eq 'PatchScale' } @{ $cloud->log(0) };
	like($write->{body}, qr/"resourceVersion":"\d+"/,
		'which version the number is for');
	like($write->{query}, qr/fieldManager=qpsscale/, 'and who wrote it');
	is(activities($node, $id), 'accepted 5', 'the ledger knows');
	settled($id, 'the pods become ready');
	foreach my $number (2, 0, 3)
	{
		set_to($id, $number);
		is(object('web')->{replicas}, $number, "to $number");
		settled($id, 'that is carried out');
	}
	is(activities($node, $id),
		join("\n", map { "successful $_" } 5, 2, 0, 3),
		'each change has succeeded');
	cmp_ok(sql('SELECT max(in_service_seconds) FROM qpsscale.activities'
			  . " WHERE resource_group_id = $id"), '>', 0,
		'the time it took is measured');
};

subtest 'the group\'s own limits hold, as nothing else bounds it' => sub {
	my $id = add_object('low', replicas => 1, min_instances => 3);
	my $high = add_object('high', replicas => 9, max_instances => 6);

	is(verdict(evaluate($node, $id)), 'scale_up below_minimum 3',
		'too few are raised');
	is(object('low')->{replicas}, 3, 'in the cluster');
	my (undef, undef, $stderr) = $node->psql('postgres',
		"SELECT qpsscale_set_capacity($high, 30, 'test')");
	like($stderr, qr/max_instances of its policy is 6/,
		'not even a human exceeds them');
};

subtest 'every kind that has a scale' => sub {
	foreach my $case ([ 'StatefulSet', 'statefulsets.v1.apps' ],
		[ 'ReplicaSet', 'replicasets.v1.apps' ],
		[ 'rollouts.v1alpha1.argoproj.io', 'rollouts.v1alpha1.argoproj.io' ])
	{
		my ($kind, $resource) = @$case;
		my $name = lc($kind =~ s/\..*//r);
		my $id = add_object($name, resource => $resource, kind => $kind);

		set_to($id, 4);
		is(object($name, $resource)->{replicas}, 4, "$kind is scaled");
		settled($id, 'its pods become ready');
		is(activities($node, $id), 'successful 4', 'and counted');
	}
	is(sql("SELECT kind FROM qpsscale.resource_groups WHERE name = 'prod/web'"),
		'Deployment', 'the one that is meant where none is named');
};

subtest 'one list where many live in a namespace' => sub {
	my @ids = map { add_object("many-$_", namespace => 'many',
			asg_id => "many/many-$_") } 1 .. 5;

	sql("UPDATE qpsscale.resource_groups SET enabled = asg_id LIKE 'many/%'");
	$cloud->reset_log;
	my %seen = map { $_->{asg_id} => $_->{current_desired} }
	  @{ decode_json(sql('SELECT jsonb_agg(e) FROM qpsscale_evaluate() e')) };
	is((() = calls() =~ /ListObjects/g), 2,
		'once for what is there, once for whose pods they are');
	is(join(' ', map { $seen{"many/many-$_"} } 1 .. 5), '2 2 2 2 2',
		'and each has its own answer');
	unlike(calls(), qr/GetObject/, 'nobody is asked for alone');
	$cloud->kubernetes('PUT', 'settings', { page => 2 });
	$cloud->kubernetes('DELETE', 'objects/many/many-3');
	%seen = map { $_->{asg_id} => $_ }
	  @{ decode_json(sql('SELECT jsonb_agg(e) FROM qpsscale_evaluate() e')) };
	is($seen{'many/many-5'}{current_desired}, 2, 'page by page as well');
	like($seen{'many/many-3'}{error}, qr/NotFound: no Deployment "many\/many-3"/,
		'one that is on no page is not there');
	$cloud->kubernetes('PUT', 'settings', { page => 0 });
	sql('UPDATE qpsscale.resource_groups SET enabled = true');
};

subtest 'somebody else was faster' => sub {
	my $race = sub {
		my ($name, $what, %opts) = @_;
		my $id = add_object($name, min_instances => 4, replicas => 2, %opts);

		$cloud->kubernetes('PUT', 'settings',
			{ races => { "prod/$name" => $what } });
		$cloud->reset_log;
		evaluate($node, $id);
		return $id;
	};
	my $writes = sub { return scalar(() = calls() =~ /PatchScale/g); };

	my $id = $race->('busy', 'touch');
	is($writes->(), 2, 'only its status has changed: written once more');
	is(last_activity($id), 'accepted 4', 'and taken');
	is(object('busy')->{replicas}, 4, 'as the cluster shows');

	$id = $race->('three', 3);
	is(last_activity($id), 'accepted 4',
		'three, of somebody else, are still too few');
	is_deeply([ map { $_->[2] } @{ object('three')->{history} } ],
		[ 'rival', 'qpsscale' ], 'both have written, one after the other');

	$id = $race->('six', 6);
	is($writes->(), 1, 'six are enough: nothing is written over them');
	like(last_activity($id),
		qr/^failed 4 Conflict: somebody else changed the object \(desired capacity 2, now 6\); decided again: none, /,
		'and why is told');
	is(object('six')->{replicas}, 6, 'as the cluster shows');

	$id = $race->('rest', 3, general_cooldown_seconds => 60);
	is($writes->(), 1, 'another\'s change starts the cooldown');
	like(last_activity($id), qr/^failed 4 .*decided again: none, cooldown_general/,
		'which forbids the second write');

	$id = $race->('yield', 3, on_foreign_change => 'pause');
	is($writes->(), 1, 'or pauses the group');
	like(last_activity($id), qr/^failed 4 .*decided again: none, suspended/,
		'as its policy says');

	$id = $race->('vanished', 'delete');
	like(last_activity($id), qr/^failed 4 NotFound: /, 'an object that goes');

	# twice in a row: no third time
	$id = add_object('busier', min_instances => 4, replicas => 2);
	$cloud->fault({ kind => 'status', match => { action => 'PatchScale' },
			times => 2,
			params => { status => 409, message => 'the object has been modified' } });
	$cloud->reset_log;
	evaluate($node, $id);
	is($writes->(), 2, 'never a third time');
	like(last_activity($id), qr/^failed 4 Conflict: the object has been modified/,
		'the action has failed');
	is(object('busier')->{replicas}, 2, 'nothing was changed');
	evaluate($node, $id);
	is(object('busier')->{replicas}, 4, 'the next evaluation does it');
};

subtest 'what the pods use drives it' => sub {
	my $id = add_object('cpu', replicas => 4, requests => { cpu => '100m' },
		usage => { cpu => '90m', memory => '10Mi' });
	my $use = sub { change_object('cpu', { usage => { cpu => $_[0] } }); };

	my $result = evaluate($node, $id);
	is(verdict($result), 'scale_up dynamic_scaling_scale_up 8',
		'90 % of what four request, where 50 % should be: eight');
	$use->('45m');
	settled($id, 'the eight are there');
	is(verdict(evaluate($node, $id)), 'none within_tolerance 8',
		'45 % is near enough');
	$id = add_object('idle', replicas => 8,
		requests => { cpu => '100m' }, usage => { cpu => '10m' });
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 2',
		'10 % of eight that are long there: two');

	# no samples: nothing is known, not that nothing is used
	change_object('idle', { usage => undef });
	$result = evaluate($node, $id);
	is($result->{action}, 'none', 'without samples nothing shrinks');
	$cloud->kubernetes('PUT', 'settings', { serves_metrics => JSON::PP::false });
	$result = evaluate($node, $id);
	is($result->{action}, 'none', 'nor without a server of metrics');
	like($result->{error}, qr/NoMetrics: .*install metrics-server/, 'which is told');
	$cloud->kubernetes('PUT', 'settings', { serves_metrics => JSON::PP::true });

	$id = add_object('memory', replicas => 2, target_cpu => undef,
		target_memory => 50, requests => { memory => '64Mi' },
		usage => { cpu => '1m', memory => '64Mi' });
	is(verdict(evaluate($node, $id)), 'scale_up dynamic_scaling_scale_up 4',
		'memory likewise');
};

subtest 'a rollout that is paused' => sub {
	my $id = add_object('paused', replicas => 1, min_instances => 3,
		paused => JSON::PP::true);
	my $result = evaluate($node, $id);

	is("$result->{action} $result->{reason}", 'none asg_process_suspended',
		'is respected');
	is(object('paused')->{replicas}, 1, 'nothing was changed');
	change_object('paused', { paused => JSON::PP::false });
	is(verdict(evaluate($node, $id)), 'scale_up below_minimum 3',
		'until it is resumed');
};

subtest 'another autoscaler on the same object' => sub {
	my $id = add_object('hpa', replicas => 1, min_instances => 3);

	$cloud->kubernetes('PUT', 'autoscalers', [
		{ namespace => 'prod', name => 'other', target => 'web' },
		{ namespace => 'prod', name => 'of-a-set', target => 'hpa',
			kind => 'StatefulSet' } ]);
	is(verdict(evaluate($node, $id)), 'scale_up below_minimum 3',
		'those of other objects do not matter');
	$cloud->kubernetes('PUT', 'autoscalers', [
		{ namespace => 'prod', name => 'mine', target => 'hpa' } ]);
	settled($id, 'the three are there');
	sql("UPDATE qpsscale.resource_groups SET min_instances = 5 WHERE id = $id");
	my $result = evaluate($node, $id);
	is("$result->{action} $result->{reason}", 'none other_autoscaler',
		'nobody fights with it');
	like($result->{error}, qr/HorizontalPodAutoscaler "mine"/, 'its name is told');
	is(object('hpa')->{replicas}, 3, 'nothing was changed');
	$cloud->kubernetes('PUT', 'autoscalers', []);
};

subtest 'a token that rotates' => sub {
	my $id = add_object('token', replicas => 2);

	write_token('second');
	$cloud->kubernetes('PUT', 'settings', { tokens => { second => 'scaler' } });
	is(evaluate($node, $id)->{current_desired}, 2, 'a new file is read');

	# in the middle of a cycle: the old one was read, and is refused
	$cloud->fault({ kind => 'status', match => { action => 'GetObject' },
			params => { status => 401, message => 'Unauthorized' } });
	my $result = evaluate($node, $id);
	like($result->{error} // '', qr/Unauthorized/,
		'the same token once more is no use');
	$cloud->kubernetes('PUT', 'settings', { tokens => { third => 'scaler' } });
	like(evaluate($node, $id)->{error}, qr/Unauthorized/, 'a token that is refused');
	write_token('third');
	is(evaluate($node, $id)->{current_desired}, 2, 'until the file has another');
	write_token('first');
	forgets_everything();
};

subtest 'a missing permission is told as the rule that is missing' => sub {
	my $id = add_object('rbac', replicas => 1, min_instances => 3);
	my @rules = (
		{ group => 'apps', resources => 'deployments', verbs => 'get list' },
		{ group => 'autoscaling', resources => 'horizontalpodautoscalers',
			verbs => 'list' });

	$cloud->kubernetes('PUT', 'settings', { rules => \@rules });
	evaluate($node, $id);
	like(last_activity($id), qr/^failed 3 Forbidden: .*namespace prod: apiGroups \["apps"\], resources \["deployments\/scale"\], verbs \["patch"\]/,
		'to write the scale');
	like(sql("SELECT status || ' ' || detail FROM qpsscale_validate($id)"
			  . " WHERE check_name = 'write'"),
		qr/^fail the number could not be written: Forbidden: .*verbs \["patch"\]/,
		'which validate finds without writing');
	shift @rules;
	$cloud->kubernetes('PUT', 'settings', { rules => \@rules });
	like(evaluate($node, $id)->{error},
		qr/resources \["deployments"\], verbs \["get"\]/, 'to read the object');
	like(sql("SELECT detail FROM qpsscale_validate($id) WHERE check_name = 'capacity'"),
		qr/resources \["deployments"\], verbs \["get"\]/, 'validate says so, too');
	forgets_everything();
};

subtest 'the role in the manual is enough, and no more than that' => sub {
	my ($role) = slurp_file('README.md') =~ /^```yaml\n(.*?)^```/ms;
	my @rules;

	while ($role =~ /apiGroups: \[(.*?)\], resources: \[(.*?)\], verbs: \[(.*?)\]/g)
	{
		my ($group, $resources, $verbs) = map { s/["]//gr } $1, $2, $3;

		push @rules, { namespace => 'prod', group => $group,
			resources => $resources =~ s/,//gr, verbs => $verbs =~ s/,//gr };
	}
	is(scalar(@rules), 5, 'the manual has five rules');
	my %usage = (usage => { cpu => '50m', memory => '32Mi' });
	my @ids = map { add_object("role-$_", replicas => 1, min_instances => 2,
			%usage) } 1 .. 3;
	my $validated = sub {
		return sql("SELECT string_agg(concat_ws(' ', check_name, detail), E'\\n')"
			  . " FROM qpsscale_validate($ids[0]) WHERE status <> 'ok'");
	};

	$cloud->kubernetes('PUT', 'settings', { rules => \@rules });
	evaluate($node, $ids[0]);
	is(last_activity($ids[0]), 'accepted 2', 'with them an object is scaled');
	settled($ids[0], 'and its pods are counted');
	$cloud->reset_log;
	is($validated->(), '', 'validate misses nothing');
	is(join(' ', map { $_->{query} =~ /dryRun=(\w+)/ ? $1 : 'none' }
			grep { $_->{action} eq 'PatchScale' } @{ $cloud->log(0) }),
		'All', 'it tries a write that changes nothing');
	sql('SELECT count(*) FROM qpsscale_evaluate()');
	unlike(sql("SELECT coalesce(string_agg(last_error, ' '), '') FROM qpsscale.state"
			  . " WHERE resource_group_id IN ($ids[0], $ids[1], $ids[2])"),
		qr/Forbidden/, 'three are listed');
	forgets_everything();
};

subtest 'an object that goes' => sub {
	my $id = add_object('gone', replicas => 1, min_instances => 3);

	# between reading and writing
	$cloud->fault({ kind => 'status', match => { action => 'PatchScale' },
			params => { status => 404, message => 'deployments.apps "gone" not found' } });
	evaluate($node, $id);
	like(last_activity($id), qr/^failed 3 NotFound: deployments.apps "gone" not found/,
		'the write is refused');
	$cloud->kubernetes('DELETE', 'objects/prod/gone');
	my $result = evaluate($node, $id);
	is($result->{action}, 'none', 'then nothing is done');
	like($result->{error}, qr/^NotFound: deployments\.apps "gone" not found/,
		'and that is told');
	$cloud->kubernetes('PUT', 'objects',
		[ { namespace => 'prod', name => 'gone', replicas => 1 } ]);
	is(verdict(evaluate($node, $id)), 'scale_up below_minimum 3',
		'until it is back');
};

subtest 'a server that has no time' => sub {
	my $id = add_object('crowd', replicas => 1, min_instances => 3);

	$cloud->fault({ kind => 'status', match => { action => 'PatchScale' },
			params => { status => 429, retry_after => 1,
				text => "Too many requests, please try again later.\n" } });
	evaluate($node, $id);
	is(last_activity($id), 'accepted 3', 'is given some, and asked again');
	$cloud->fault({ kind => 'lost_reply', match => { action => 'PatchScale' } });
	settled($id, 'the three are there');
	sql("UPDATE qpsscale.resource_groups SET min_instances = 4 WHERE id = $id");
	evaluate($node, $id);
	like(last_activity($id), qr/^unknown 4/, 'a lost reply: nobody knows');
	settled($id, 'until the object is read');
	like(last_activity($id), qr/^successful 4/, 'it was applied, once');
};

subtest 'what a row may say' => sub {
	my $refused = sub {
		my ($columns, $values) = @_;
		my ($status, undef, $stderr) = $node->psql('postgres',
			"INSERT INTO qpsscale.resource_groups (provider, $columns)"
			  . " VALUES ('kubernetes', $values)");

		return $stderr =~ /constraint "(\w+)"/ ? $1 : "accepted, $status";
	};

	foreach my $case (
		[ 'asg_id', q('prod/x'), 'resource_groups_kubernetes_needs_limits' ],
		[ 'asg_id, max_instances', q('x', 5), 'resource_groups_kubernetes_asg_id' ],
		[ 'asg_id, max_instances', q('Prod/x', 5), 'resource_groups_kubernetes_asg_id' ],
		[ 'asg_id, max_instances, region', q('prod/x', 5, 'eu'),
			'resource_groups_kubernetes_has_no_region' ],
		[ 'asg_id, max_instances, alb_id', q('prod/x', 5, 'alb'),
			'resource_groups_kubernetes_has_no_balancer' ],
		[ 'asg_id, max_instances, kind', q('prod/x', 5, 'DaemonSet'),
			'resource_groups_kubernetes_kind' ],
		[ 'asg_id, max_instances, kind', q('prod/x', 5, 'deployments.v1.apps'),
			'resource_groups_kubernetes_kind' ])
	{
		my ($columns, $values, $constraint) = @$case;

		is($refused->($columns, $values), $constraint, "$columns: $values");
	}
	is(sql("INSERT INTO qpsscale.resource_groups (provider, asg_id, max_instances)"
			  . " VALUES ('kubernetes', 'prod/y', 5) RETURNING kind || ' ' || min_instances"),
		'Deployment 1', 'what is left out');
};

done_testing();
