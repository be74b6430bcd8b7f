# How a cluster is reached: over TLS, by the service account of the server's own
# pod, or with a client certificate.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use QpsscaleCloud;
use QpsscaleNode;
use Test::More;

my $pki = PostgreSQL::Test::Utils::tempdir;
my $secrets = PostgreSQL::Test::Utils::tempdir;
my $pod = PostgreSQL::Test::Utils::tempdir;

chmod 0700, $secrets, $pod;

sub run
{
	my (@command) = @_;

	system_log(@command) == 0 or die "@command failed";
	return;
}

# A key NAME.key and a certificate NAME.pem, signed by CA.pem or by itself.
sub certify
{
	my ($name, $subject, @more) = @_;

	run('openssl', 'req', '-newkey', 'rsa:2048', '-nodes', '-days', '2',
		'-keyout', "$pki/$name.key", '-subj', $subject,
		'-out', "$pki/$name.csr");
	if ($name eq 'ca')
	{
		run('openssl', 'x509', '-req', '-in', "$pki/ca.csr", '-days', '2',
			'-signkey', "$pki/ca.key", '-out', "$pki/ca.pem");
		return;
	}
	open(my $file, '>', "$pki/$name.ext") or die $!;
	print $file join("\n", 'basicConstraints=CA:FALSE', @more), "\n";
	close($file);
	run('openssl', 'x509', '-req', '-in', "$pki/$name.csr", '-days', '2',
		'-CA', "$pki/ca.pem", '-CAkey', "$pki/ca.key", '-CAcreateserial',
		'-extfile', "$pki/$name.ext", '-out', "$pki/$name.pem");
	return;
}

# A file that only its owner may read.
sub keep
{
	my ($path, $text) = @_;

	open(my $file, '>', "$path.new") or die $!;
	chmod 0600, "$path.new";
	print $file $text;
	close($file) or die $!;
	rename("$path.new", $path) or die $!;
	return;
}

certify('ca', '/CN=test authority');
certify('server', '/CN=api', 'subjectAltName=IP:127.0.0.1');
certify('client', '/CN=scaler');
keep("$secrets/client.pem", slurp_file("$pki/client.pem"));
keep("$secrets/client.key", slurp_file("$pki/client.key"));
keep("$secrets/ca.key", slurp_file("$pki/ca.key"));
keep("$secrets/$_", "$_\n") foreach qw(of-the-pod of-tomorrow garbage x);
keep("$pod/ca.crt", slurp_file("$pki/ca.pem"));
keep("$pod/token", "  of-the-pod\n\n");

my %tls = (tls_cert => "$pki/server.pem", tls_key => "$pki/server.key",
	client_ca => "$pki/ca.pem", boot_delay => 0.2);
my $cluster = QpsscaleCloud->start(%tls);
my $other = QpsscaleCloud->start(%tls);
my $url = $cluster->url;

foreach my $cloud ($cluster, $other)
{
	$cloud->kubernetes('PUT', 'settings', {
			tokens => { 'of-the-pod' => 'system:serviceaccount:db:postgres' },
			rules => [ { namespace => 'prod', group => 'apps',
					resources => 'deployments deployments/scale',
					verbs => 'get list patch' } ] });
	$cloud->kubernetes('PUT', 'objects',
		[ { namespace => 'prod', name => 'web', replicas => 3 } ]);
}

# No host is listed: what is reached is the cluster of the pod alone.
local $ENV{KUBERNETES_SERVICE_HOST} = '127.0.0.1';
local $ENV{KUBERNETES_SERVICE_PORT} = $cluster->port;
my ($node) = QpsscaleNode->start(cloud => $cluster, settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.allowed_hosts' => "''",
		'qpsscale.secrets_dir' => "'$secrets'" });

sub sql { return $node->safe_psql('postgres', $_[0]); }

# An account and a group; what its evaluation says of the object.
sub seen_by
{
	my ($name, $server, $mapping) = @_;

	sql(<<SQL);
CREATE SERVER $name FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'kubernetes'$server);
CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ($mapping);
SQL
	return seen(sql(<<SQL));
INSERT INTO qpsscale.resource_groups
	(name, provider, account, asg_id, max_instances, target_cpu)
VALUES ('$name', 'kubernetes', '$name', 'prod/web', 9, 50) RETURNING id
SQL
}

sub seen
{
	my ($id) = @_;
	my $result = evaluate($node, $id);

	return defined $result->{current_desired} ?
	  "desired $result->{current_desired}" : $result->{error};
}

my $listed = "qpsscale.allowed_hosts = '127.0.0.1'";

subtest 'the service account of the pod' => sub {
	is(seen_by('pod', '', "credentials 'in_cluster', service_account_dir '$pod'"),
		'desired 3', 'its token, its authority, and the address of its cluster');
	my $id = sql("SELECT id FROM qpsscale.resource_groups WHERE name = 'pod'");

	$cluster->kubernetes('PUT', 'settings',
		{ tokens => { 'of-tomorrow' => 'system:serviceaccount:db:postgres' } });
	like(seen($id), qr/^Unauthorized: /, 'a token that is no longer taken');
	keep("$pod/token", "of-tomorrow");
	is(seen($id), 'desired 3', 'the file\'s new one is');
	keep("$pod/token", "two words");
	like(seen($id), qr/holds no token/, 'a file without a token');
	unlink("$pod/token");
	like(seen($id), qr/token" cannot be read/, 'no file');

	like(seen(sql(<<SQL)), qr/kubernetes\.io\/serviceaccount/, 'without an account it is looked for where pods have it');
INSERT INTO qpsscale.resource_groups (name, provider, asg_id, max_instances, target_cpu)
VALUES ('default', 'kubernetes', 'prod/web', 9, 50) RETURNING id
SQL
};

subtest 'no other private address' => sub {
	like(seen_by('elsewhere', ", endpoint '" . $other->url . "', ca_file '$pki/ca.pem'",
			"token 'file:of-the-pod'"),
		qr/^address_refused: .*allowed_hosts/, 'is reached unless it is listed');
	$node->append_conf('postgresql.conf', $listed);
	$node->reload;
	my $id = sql("SELECT id FROM qpsscale.resource_groups WHERE name = 'elsewhere'");
	wait_until('then it is', sub { seen($id) eq 'desired 3' });
};

subtest 'a client certificate' => sub {
	my $server = ", endpoint '$url', ca_file '$pki/ca.pem'";

	is(seen_by('shown', $server,
			"client_certificate 'file:client.pem', client_key 'file:client.key'"),
		'desired 3', 'is who one is');
	my ($entry) = grep { $_->{action} eq 'GetObject' } @{ $cluster->log(0) };
	ok($entry, 'as the cluster has seen');
	like(seen_by('half', $server, "client_certificate 'file:client.pem'"),
		qr/has no client_key/, 'without its key it is none');
	like(seen_by('swapped', $server,
			"client_certificate 'file:client.key', client_key 'file:client.pem'"),
		qr/tls|certificate/i, 'nor the other way round');
	like(seen_by('foreign_key', $server,
			"client_certificate 'file:client.pem', client_key 'file:ca.key'"),
		qr/tls|certificate|key/i, 'nor with the key of another');
	like(seen_by('nobody', $server, "token 'file:garbage'"),
		qr/^Unauthorized: Unauthorized/, 'another account shows no certificate of this one');
	like(seen_by('no_authority', ", endpoint '$url'", "token 'file:of-tomorrow'"),
		qr/^tls: /, 'a server that nobody vouches for is shown no token');
};

subtest 'what an account must have' => sub {
	like(seen_by('empty', '', "service_account_dir '/nowhere'"),
		qr/has neither a token nor a client_certificate/, 'somebody to be');
	like(seen_by('nowhere', '', "token 'file:x'"),
		qr/has no endpoint, the address of its API server/, 'somewhere to be');
};

my $log = slurp_file($node->logfile);

unlike($log, qr/(?<!file:)(?:of-the-pod|of-tomorrow)|BEGIN (?:RSA )?PRIVATE/,
	'no secret is in the log');

done_testing();
