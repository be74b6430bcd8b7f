# AWS' credentials: where they are fetched, what happens when they expire in the
# middle of a tick, when the service that gives them hangs or lies, when token
# files rotate; roles that accounts assume; and that no secret is told.
#
# One emulator is cloud, metadata service, container service and STS at once.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use Test::More;

my $ISSUED = 'AwsIssuedCanary';
my $TOKEN = 'eyAwsTokenCanary.which-is_a.token';
my $AUTHORIZATION = 'AwsAuthorizationCanary';
my $SECRET = 'AwsStaticCanary+0123456789abcdef';
my $ROLE = 'arn:aws:iam::123456789012:role/scaler';
my $HOME = PostgreSQL::Test::Utils::tempdir();
my $dir = PostgreSQL::Test::Utils::tempdir();

# Nothing that the machine of the test knows may reach the server.
delete $ENV{$_} foreach grep { /^AWS_/ } keys %ENV;
$ENV{HOME} = $HOME;
chmod 0700, $dir or die "$dir: $!";

my $cloud = QpsscaleCloud->start(boot_delay => 0, access_key => 'AKIASTATIC',
	secret_key => $SECRET);
my %environment = (
	AWS_CONTAINER_CREDENTIALS_FULL_URI => $cloud->url . '/v1/credentials',
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => "$dir/authorization",
	AWS_EC2_METADATA_SERVICE_ENDPOINT => $cloud->url);
my $node;
{
	local @ENV{ keys %environment } = values %environment;
	($node) = QpsscaleNode->start(
		cloud => $cloud,
		settings => {
			'qpsscale.interval' => "'1h'",
			'qpsscale.request_timeout' => "'10s'",
			'qpsscale.cycle_deadline' => "'20s'",
			'qpsscale.secrets_dir' => "'$dir'",
			'qpsscale.allowed_hosts' => "'127.0.0.1, 169.254.169.254'",
			'qpsscale.log_level' => "'debug'",
			'log_min_messages' => 'debug2',
			'log_statement' => 'all'
		});
}
wait_for($node, 'SELECT ticks >= 1 FROM qpsscale.stat_worker', 't',
	'the worker is there and waits');
$cloud->set_identity(secret => $ISSUED, oidc_token => $TOKEN,
	container_token => $AUTHORIZATION);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub write_file
{
	my ($path, $text, $mode) = @_;

	unlink($path);
	append_to_file($path, $text);
	chmod $mode // 0600, $path or die "$path: $!";
	return;
}

sub quoted_options
{
	my (%options) = @_;

	return join(', ', map { "$_ '$options{$_}'" } sort keys %options);
}

sub account
{
	my ($name, $mapping, %server) = @_;

	sql("CREATE SERVER $name FOREIGN DATA WRAPPER qpsscale OPTIONS ("
		  . quoted_options(provider => 'aws', region => 'ap-southeast-1',
			endpoint => $cloud->url, sts_endpoint => $cloud->url, %server)
		  . ')');
	sql("CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ("
		  . quoted_options(%$mapping) . ')');
	return;
}

# A group that has the two instances it needs.
sub group
{
	my ($name, %options) = @_;
	my $id = add_group($node, $cloud, $name, provider => 'aws', desired => 2,
		account => $name, %options);

	$cloud->set_traffic(aws_alb($name), { kind => 'constant', qps => 100 });
	return $id;
}

sub works
{
	my ($id, $what) = @_;
	my $result = evaluate($node, $id);

	is($result->{reason}, 'optimal_instance_count_reached', $what)
	  or diag($result->{error});
	return;
}

sub fails
{
	my ($id, $error, $what) = @_;
	my $result = evaluate($node, $id);

	like($result->{error}, $error, $what);
	is($result->{action}, 'none', "$what: no action");
	return;
}

# How often each service was asked since the last call.
my @SERVICES = qw(ImdsToken ImdsRoles ImdsCredentials ContainerCredentials
  AssumeRoleWithWebIdentity AssumeRole);
my %before;

sub asked
{
	my $actions = $cloud->counters->{actions};
	my @now = map { $actions->{$_}{requests} // 0 } @SERVICES;
	my @since = map { $now[$_] - ($before{$_} // 0) } 0 .. $#now;

	@before{ 0 .. $#now } = @now;
	return "@since";
}

sub strike
{
	my ($action, $kind, %params) = @_;

	$cloud->fault({ kind => $kind, times => -1,
			match => { action => $action }, params => \%params });
	return;
}

subtest 'the role of an instance' => sub {
	account('imds', { credentials => 'imds' });
	my $id = group('imds');

	asked();
	works($id, 'its credentials are used');
	is(asked(), '1 1 1 0 0 0', 'asked for a token, the role, its credentials');
	works($id, 'once more');
	is(asked(), '0 0 0 0 0 0', 'what is known is not asked for again');

	group("many-$_", account => 'imds') foreach 1 .. 12;
	$cloud->set_identity(revoke => JSON::PP::true);
	is( sql("SELECT count(*) FROM qpsscale_evaluate() e WHERE e->>'reason' = 'optimal_instance_count_reached'"),
		13, 'credentials that expired are replaced within the cycle');
	is(asked(), '1 1 1 0 0 0', 'by one fetch for all groups');
	sql("DELETE FROM qpsscale.resource_groups WHERE name LIKE '%many-%'");
};

subtest 'credentials expire in the middle of a tick' => sub {
	my $id = group('change', account => 'imds');

	$cloud->set_traffic(aws_alb('change'), { kind => 'constant', qps => 405 });
	asked();
	$cloud->fault({ kind => 'status', times => 1,
			match => { action => 'SetDesiredCapacity' },
			params => { status => 403, code => 'ExpiredToken' } });
	my $result = evaluate($node, $id);
	is($result->{action}, 'scale_up', 'the change is made')
	  or diag($result->{error});
	is(activities($node, $id), 'accepted 9', 'and accepted');
	is(asked(), '1 1 1 0 0 0', 'with credentials that were fetched for it');
	is($cloud->counters->{modify_applied}, 1, 'once');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
};

subtest 'a metadata service that fails' => sub {
	my $id = sql("SELECT id FROM qpsscale.resource_groups WHERE account = 'imds'");

	$cloud->set_identity(revoke => JSON::PP::true, claimed_lifetime => -60);
	works($id, 'credentials that have expired, as it says, are used');
	asked();
	works($id, 'until the cloud refuses them');
	is(asked(), '0 0 0 0 0 0', 'and not asked for in each cycle');
	$cloud->set_identity(claimed_lifetime => 0);

	foreach my $lie (
		[ 'ImdsToken', 'status', qr/refused a token \(HTTP 503\)/, status => 503 ],
		[ 'ImdsToken', 'html', qr/where it gives its token/ ],
		[ 'ImdsRoles', 'empty', qr/names no role/ ],
		[ 'ImdsCredentials', 'body', qr/AssumeRoleUnauthorizedAccess/,
			body => '{"Code": "AssumeRoleUnauthorizedAccess", "Message": "m"}' ])
	{
		my ($action, $kind, $error, %params) = @$lie;

		$cloud->set_identity(revoke => JSON::PP::true);
		strike($action, $kind, %params);
		fails($id, qr/ExpiredToken/, "$action $kind: what is kept is refused");
		fails($id, $error, "$action $kind: the error says what was wrong");
		$cloud->clear_faults;
		works($id, "$action $kind: over when the service is itself again");
	}

	# One account waits in vain; another's group is scaled meanwhile.
	write_file("$dir/key", 'AKIASTATIC');
	write_file("$dir/secret", $SECRET);
	account('static',
		{ access_key_id => 'file:key', secret_access_key => 'file:secret' });
	my $busy = group('static');
	$cloud->set_traffic(aws_alb('static'), { kind => 'constant', qps => 405 });
	$cloud->set_identity(revoke => JSON::PP::true);
	strike('ImdsToken', 'hang');
	fails($id, qr/ExpiredToken/, 'what is kept is refused');
	my $took = sql('SELECT clock_timestamp()');
	sql('SELECT count(*) FROM qpsscale_evaluate()');
	cmp_ok(sql("SELECT extract(epoch FROM clock_timestamp() - '$took')"), '<',
		20, 'a service that hangs does not stretch the cycle to its deadline');
	is(activities($node, $busy), 'accepted 9', 'another group is scaled');
	is( sql("SELECT a.requested_at < s.last_evaluated_at - interval '300 ms'"
			  . ' FROM qpsscale.activities a, qpsscale.state s'
			  . " WHERE a.resource_group_id = $busy AND s.resource_group_id = $id"),
		't', 'and did not wait');
	like(sql("SELECT last_error FROM qpsscale.state WHERE resource_group_id = $id"),
		qr/EC2 metadata service.*time/, 'the one that did says for what');
	$cloud->clear_faults;
	works($id, 'it goes on when the service answers');
	sql("DELETE FROM qpsscale.resource_groups WHERE id IN ($busy, $id)");
};

subtest 'tokens that rotate' => sub {
	my $file = "$dir/web";

	account('web', { credentials => 'oidc', oidc_role_arn => $ROLE,
			oidc_token_file => $file });
	my $id = group('web');
	fails($id, qr/the web identity token: .*cannot be read/, 'without its file');
	write_file($file, "$TOKEN\n", 0644);
	asked();
	works($id, 'a token is exchanged for credentials');
	is(asked(), '0 0 0 0 1 0', 'once');
	$cloud->set_identity(revoke => JSON::PP::true, oidc_token => "${TOKEN}2");
	write_file($file, "${TOKEN}2", 0644);
	works($id, 'in the middle of a tick, with the file as it is now');
	is(asked(), '0 0 0 0 1 0', 'once again');
	$cloud->set_identity(revoke => JSON::PP::true);
	write_file($file, $TOKEN);
	fails($id, qr/ExpiredToken/, 'a token that is over');
	fails($id, qr/refused the token \(HTTP 400, ExpiredTokenException\)/,
		'is refused, and not repeated');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");

	account('container', { credentials => 'container' });
	$id = group('container');
	fails($id, qr/container's authorization token: .*cannot be read/,
		'a container without its authorization');
	write_file("$dir/authorization", "$AUTHORIZATION\n", 0644);
	works($id, 'and with it');
	is(asked() =~ s/ \d+ \d+$//r, '0 0 0 1', 'one call');
	$cloud->set_identity(revoke => JSON::PP::true,
		container_token => "${AUTHORIZATION}2");
	write_file("$dir/authorization", "${AUTHORIZATION}2", 0644);
	works($id, 'an authorization that was replaced');
	$cloud->set_identity(revoke => JSON::PP::true, container_token => 'other');
	fails($id, qr/ExpiredToken/, 'one that is not wanted any more');
	fails($id, qr/refused credentials \(HTTP 403, AccessDeniedException\)/,
		'is told, but not repeated');
	$cloud->set_identity(container_token => "${AUTHORIZATION}2");
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
};

subtest 'a role that an account assumes' => sub {
	my %keys = (access_key_id => 'file:key', secret_access_key => 'file:secret');

	$cloud->set_identity(external_id => 'e:1');
	account('role', \%keys, role_arn => $ROLE, external_id => 'e:1',
		role_session_name => 'me');
	account('stranger', \%keys, role_arn => $ROLE);
	my $id = group('role');
	asked();
	works($id, 'with keys');
	is(asked(), '0 0 0 0 0 1', 'by one signed call');
	works($id, 'for many cycles');
	is(asked(), '0 0 0 0 0 0', 'without another');
	$cloud->set_identity(revoke => JSON::PP::true);
	works($id, 'one that was revoked is assumed again within the cycle');
	is(asked(), '0 0 0 0 0 1', 'once');
	my $other = group('stranger');
	fails($other, qr/refused the role \(HTTP 403, AccessDenied\)/,
		'not without the external id');
	sql("DELETE FROM qpsscale.resource_groups WHERE id IN ($id, $other)");

	account('lent', { credentials => 'imds' }, role_arn => $ROLE,
		external_id => 'e:1');
	$id = group('lent');
	asked();
	works($id, "with an instance's credentials");
	is(asked(), '1 1 1 0 0 2', 'which had been revoked, and were replaced');
	works($id, 'for many cycles');
	is(asked(), '0 0 0 0 0 0', 'without another call');
	$cloud->set_identity(revoke => JSON::PP::true);
	works($id, 'both are replaced within the cycle when both have expired');
	is(asked(), '1 1 1 0 0 2', 'by one fetch, and one more call');
	sql('CREATE ROLE plain; GRANT USAGE ON FOREIGN DATA WRAPPER qpsscale TO plain;'
		  . ' ALTER SERVER lent OWNER TO plain');
	fails($id, qr/may not assume a role with the server's own credentials/,
		'but no role that somebody else names');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
	foreach my $option ("credentials 'imds'", "oidc_role_arn '$ROLE'",
		"cli_credentials_file '/etc/passwd'")
	{
		my ($rc, $out, $err) = $node->psql('postgres',
			'SET ROLE plain; CREATE SERVER own FOREIGN DATA WRAPPER qpsscale;'
			  . " CREATE USER MAPPING FOR plain SERVER own OPTIONS ($option)",
			extra_params => ['-1']);
		like($err, qr/only superusers may set option/,
			"an ordinary role lends itself nothing: $option");
	}
	$cloud->set_identity(external_id => '');
};

subtest 'the chain' => sub {
	account('chain', { credentials => 'chain' });
	my $id = group('chain');

	asked();
	works($id, 'ends, here, with the container');
	like(asked(), qr/^0 0 0 [01] 0 0$/, 'and does not go on to the instance');
	mkdir "$HOME/.aws" or die "mkdir: $!";
	write_file("$HOME/.aws/config", "[default]\nregion = eu-west-1\n", 0644);
	works($id, 'a profile without credentials is no link of it');
	is(asked(), '0 0 0 0 0 0', 'of which more is known already');
	write_file("$HOME/.aws/credentials", "[default]\naws_access_key_id = "
		  . "AKIASTATIC\naws_secret_access_key = $SECRET\n");
	$cloud->set_identity(container_token => 'other', revoke => JSON::PP::true);
	works($id, 'before the container comes the profile');
	write_file("$HOME/.aws/config", "[default]\nrole_arn = $ROLE\n"
		  . "source_profile = default\n", 0644);
	works($id, 'which may name a role');
	is(asked(), '0 0 0 0 0 1', 'that is assumed');
	chmod 0644, "$HOME/.aws/credentials" or die "chmod: $!";
	fails($id, qr/read by others/, 'a file that others can read breaks it');
	write_file("$HOME/.aws/credentials", "[default]\naws_access_key_id = A\n");
	fails($id, qr/key without its other half/, 'so does half a key');
	unlink("$HOME/.aws/credentials");
	write_file("$HOME/.aws/config", "[default]\ncredential_process = /bin/x\n");
	fails($id, qr/credential_process, which needs a person or a program/,
		'and what starts a program');
	write_file("$HOME/.aws/config", "[default]\nrole_arn = $ROLE\n"
		  . "source_profile = a\n[profile a]\nrole_arn = $ROLE\n"
		  . "source_profile = default\n");
	fails($id, qr/in a circle/, 'and profiles that go round');

	write_file("$HOME/.aws/config", "[default]\nregion = eu-west-1\n", 0644);
	write_file("$HOME/.aws/credentials", "[default]\naws_access_key_id = "
		  . "AKIASTATIC\naws_secret_access_key = $SECRET\n");
	account('homeless', { credentials => 'chain' });
	$id = group('homeless', region => undef);
	works($id, 'the region of an account comes first');
	is($cloud->log(0)->[-1]{region}, 'ap-southeast-1', 'as the cloud saw');
	sql('ALTER SERVER homeless OPTIONS (DROP region)');
	works($id, 'where nothing else names one the profile does');
	is($cloud->log(0)->[-1]{region}, 'eu-west-1', 'as the cloud saw, too');
	unlink("$HOME/.aws/credentials");
	unlink("$HOME/.aws/config");

	account('wrong', { credentials => 'ecs' });
	fails(group('wrong'), qr/ecs is a source of BytePlus/,
		'a source of another cloud');
	account('reach', { access_key_id => 'file:key',
			secret_access_key => 'file:secret' },
		endpoint => 'http://169.254.169.254');
	fails(group('reach'), qr/address_refused.*metadata service/,
		'no account can talk to the metadata service, allowed or not');
};

subtest 'a secret is nowhere to be found' => sub {
	my %text = (
		'the server log' => slurp_file($node->logfile),
		'pg_user_mappings' => sql('SELECT to_jsonb(m) FROM pg_user_mappings m'));
	my ($out, $err) = ('', '');

	$text{'the answers'} = sql('SELECT qpsscale_evaluate(dry_run => true)')
	  . sql('SELECT to_jsonb(v) FROM qpsscale.resource_groups g,'
		  . ' qpsscale_validate(g.id) v');
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr('postgres') ],
		'<', \undef, '>', \$out, '2>', \$err);
	$text{'pg_dump'} = $out;
	like($out, qr/credentials 'imds'/, 'the dump says where they come from');
	foreach my $place (sort keys %text)
	{
		my @found = grep { index($text{$place}, $_) >= 0 }
		  ($ISSUED, substr($TOKEN, 0, 12), $AUTHORIZATION,
			substr($SECRET, 0, 12));
		is("@found", '', "not in $place");
	}
};

done_testing();
