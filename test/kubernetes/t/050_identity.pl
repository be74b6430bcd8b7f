# Who we are to a real API server, and what that allows: tokens that end and
# change, certificates, a pod's service account, roles that lack a verb.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use QpsscaleKubernetes;
use QpsscaleNode;
use Test::More;

my $cluster = QpsscaleKubernetes->start;

$cluster->namespace('prod');
$cluster->metrics_api;
my %rule = (
	get => [ 'apps', 'deployments', 'get' ],
	list => [ 'apps', 'deployments', 'list' ],
	patch => [ 'apps', 'deployments/scale', 'patch' ],
	hpas => [ 'autoscaling', 'horizontalpodautoscalers', 'list' ],
	pods => [ '', 'pods', 'list' ],
	metrics => [ 'metrics.k8s.io', 'pods', 'list' ]);

sub role_without
{
	my %without = map { $_ => 1 } @_;

	$cluster->role('prod', map { $rule{$_} } grep { !$without{$_} } sort keys %rule);
	return;
}

role_without();

# As in a pod: a directory with the token and the authority, and the address
# in the environment.
my $pod = PostgreSQL::Test::Utils::tempdir();

sub write_file
{
	my ($name, $text) = @_;

	open(my $file, '>', "$pod/$name.new") or die "$name: $!\n";
	print $file $text;
	close($file) or die "$name: $!\n";
	rename("$pod/$name.new", "$pod/$name") or die "$name: $!\n";
	return;
}

my ($port) = $cluster->server =~ /:(\d+)$/;
local $ENV{KUBERNETES_SERVICE_HOST} = '127.0.0.1';
local $ENV{KUBERNETES_SERVICE_PORT} = $port;
my $node = $cluster->node;

sub sql { return $node->safe_psql('postgres', $_[0]); }

$cluster->workload('deployments', 'prod', 'web', replicas => 2,
	request => 'cpu=100m,memory=10Mi');
$cluster->usage('deployments', 'prod', 'web', 'cpu=50m,memory=10Mi');
my $id = $cluster->group($node, 'deployments', 'prod', 'web');
wait_until('two pods are ready',
	sub { $cluster->ready('deployments', 'prod', 'web') == 2 });

sub rests
{
	my ($group, $what) = @_;
	my $result;
	my $came = wait_until($what, sub {
		$result = evaluate($node, $group);
		return "$result->{action} $result->{reason}"
		  =~ /^none (optimal_instance_count_reached|within_tolerance)$/;
	});

	diag("last seen: $result->{reason} " . ($result->{error} // ''))
	  unless $came;
	return $came;
}

subtest 'a token that ends, and its successor' => sub {
	my $old = $cluster->token('prod');
	my $new = $cluster->token('prod');

	$cluster->use_token($old);
	rests($id, 'with a token it is read');
	$cluster->revoke('prod', $old);
	wait_until('the API server does not believe in it any more',
		sub { !$cluster->believes($old) });
	$cluster->forget;
	my $result;
	wait_until('which takes it up to ten seconds to remember', sub {
		$result = evaluate($node, $id);
		return defined $result->{error};
	});
	is("$result->{action}", 'none', 'nothing is done');
	like($result->{error}, qr/Unauthorized|401/, 'and it is told');
	unlike($result->{error}, qr/\Q$old->{token}\E/, 'without the token');
	is($cluster->replicas('deployments', 'prod', 'web'), 2, 'nothing changed');

	$cluster->use_token($new);
	rests($id, 'the new one is read at the next tick');
	is(sql("SELECT count(*) FROM qpsscale.errors WHERE message LIKE '%eyJ%'"),
		'0', 'no token is among the errors');
};

subtest 'each verb that is missing is named' => sub {
	my @cases = (
		[ get => qr/\["apps"\], resources \["deployments"\], verbs \["get"\]/ ],
		[ pods => qr/\[""\], resources \["pods"\], verbs \["list"\]/ ],
		[ metrics => qr/\["metrics.k8s.io"\], resources \["pods"\], verbs \["list"\]/ ]);

	foreach my $case (@cases)
	{
		my ($verb, $named) = @$case;
		my $result;

		role_without($verb);
		wait_until("without $verb it is told", sub {
			$result = evaluate($node, $id);
			return ($result->{error} // '') =~ $named;
		}) or diag('last seen: ' . ($result->{error} // 'no error'));
		is($result->{action}, 'none', 'nothing is done');
		like(sql("SELECT string_agg(concat_ws(' ', check_name, detail, hint), E'\\n')"
				  . " FROM qpsscale_validate($id) WHERE status = 'fail'"),
			$named, 'validate tells it, too');
	}
	role_without('patch');
	$cluster->usage('deployments', 'prod', 'web', 'cpu=90m,memory=10Mi');
	my $refused = "SELECT error_message FROM qpsscale.activities"
	  . " WHERE resource_group_id = $id AND status = 'failed' ORDER BY id DESC LIMIT 1";
	wait_until('without patch the write is refused, and the rule named', sub {
		evaluate($node, $id);
		return sql($refused) =~
		  qr{\["apps"\], resources \["deployments/scale"\], verbs \["patch"\]};
	}) or diag('last seen: ' . sql($refused));
	is($cluster->replicas('deployments', 'prod', 'web'), 2, 'nothing changed');

	role_without('hpas');
	sql("SELECT qpsscale_reset_circuit($id)");
	wait_until('whoever may not list autoscalers may scale', sub {
		evaluate($node, $id);
		return $cluster->replicas('deployments', 'prod', 'web') == 4;
	});
	like(sql("SELECT string_agg(concat_ws(' ', status, detail, hint), E'\\n')"
			  . " FROM qpsscale_validate($id)"),
		qr/warn.*horizontalpodautoscalers/, 'and is warned by validate');
	role_without();
	$cluster->usage('deployments', 'prod', 'web', 'cpu=50m,memory=10Mi');
	rests($id, 'with all of them it is read');
};

subtest 'a client certificate instead of a token' => sub {
	my $key = "$pod/client.key";

	is(system('openssl', 'ecparam', '-name', 'prime256v1', '-genkey', '-noout',
			'-out', $key), 0, 'a key');
	is(system("openssl req -new -key $key -subj /O=clients/CN=scaler"
			  . ' | openssl x509 -req -CA ' . $cluster->path('ca.crt')
			  . ' -CAkey ' . $cluster->path('ca.key')
			  . " -CAcreateserial -days 1 -out $pod/client.crt 2>$pod/openssl.log"), 0,
		'a certificate');
	$cluster->secret('client_key', PostgreSQL::Test::Utils::slurp_file($key));
	$cluster->secret('client_certificate',
		PostgreSQL::Test::Utils::slurp_file("$pod/client.crt"));
	$cluster->account($node, 'certified',
		"client_certificate 'file:client_certificate', client_key 'file:client_key'");
	sql("UPDATE qpsscale.resource_groups SET account = 'certified' WHERE id = $id");

	my $result = evaluate($node, $id);
	like($result->{error} // '', qr/verbs \["(get|list)"\]/,
		'it is believed in, but has no role');
	$cluster->must('POST',
		'/apis/rbac.authorization.k8s.io/v1/namespaces/prod/rolebindings', {
			metadata => { name => 'clients' },
			roleRef => { apiGroup => 'rbac.authorization.k8s.io',
				kind => 'Role', name => 'qpsscale' },
			subjects => [ { kind => 'Group', name => 'clients',
					apiGroup => 'rbac.authorization.k8s.io' } ] });
	rests($id, 'with the role it is read');
	is((grep { $_->{user}{username} eq 'scaler' } $cluster->audit) > 0, 1,
		'under the name in the certificate');
};

subtest 'the service account of the pod that the server runs in' => sub {
	my $token = $cluster->token('prod');

	write_file('token', $token->{token});
	write_file('ca.crt', PostgreSQL::Test::Utils::slurp_file($cluster->ca_file));
	sql(<<SQL);
CREATE SERVER pod FOREIGN DATA WRAPPER qpsscale OPTIONS (provider 'kubernetes');
CREATE USER MAPPING FOR CURRENT_USER SERVER pod
	OPTIONS (credentials 'in_cluster', service_account_dir '$pod');
UPDATE qpsscale.resource_groups SET account = 'pod' WHERE id = $id;
ALTER SYSTEM SET qpsscale.allowed_hosts = '';
SELECT pg_reload_conf();
SQL
	rests($id, 'token, authority and address are those of the pod');
	$cluster->revoke('prod', $token);
	my $result;
	wait_until('the token ends', sub {
		$result = evaluate($node, $id);
		return defined $result->{error};
	});
	write_file('token', $cluster->token('prod')->{token});
	rests($id, 'the kubelet writes another, which is read');
};

done_testing();
