# The server's own credentials: where they are fetched, for how long they are
# kept, what happens when they are refused, and that whoever waits for them
# waits alone.
#
# One emulator is cloud, metadata service and security token service at once.
# What it issues begins with a canary, which is looked for at the end.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use Test::More;

my $ISSUED = 'IssuedCanaryThatSings';
my $TOKEN = 'eyCanaryOfAPlatform.which-is_a.token';
my $SECRET = 'StaticCanaryThatSings+0123456789abcdef';
my $HOME = PostgreSQL::Test::Utils::tempdir();
my $dir = PostgreSQL::Test::Utils::tempdir();

# Nothing that the machine of the test knows may reach the server.
delete $ENV{$_} foreach grep { /^BYTEPLUS_|^(SECRET_)?ACCESS_KEY/ } keys %ENV;
$ENV{HOME} = $HOME;
chmod 0700, $dir or die "$dir: $!";

my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 0, access_key => 'AKLTSTATIC',
		secret_key => $SECRET },
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.request_timeout' => "'10s'",
		'qpsscale.cycle_deadline' => "'20s'",
		'qpsscale.secrets_dir' => "'$dir'",
		'qpsscale.allowed_hosts' => "'127.0.0.1, 100.96.0.96'",
		'qpsscale.log_level' => "'debug'",
		'qpsscale.detailed_logging' => "'on'",
		'log_min_messages' => 'debug2',
		'log_statement' => 'all'
	});

wait_for($node, 'SELECT ticks >= 1 FROM qpsscale.stat_worker', 't',
	'the worker is there and waits');
$cloud->set_identity(secret => $ISSUED, oidc_token => $TOKEN);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub write_file
{
	my ($path, $text, $mode) = @_;

	unlink($path);
	append_to_file($path, $text);
	chmod $mode // 0600, $path or die "$path: $!";
	return;
}

# An account whose mapping has these options; each is a supply of its own.
sub account
{
	my ($name, $mapping, %server) = @_;
	my %all = (provider => 'byteplus', region => 'ap-southeast-1',
		endpoint => $cloud->url, metadata_endpoint => $cloud->url,
		sts_endpoint => $cloud->url, %server);

	sql("CREATE SERVER $name FOREIGN DATA WRAPPER qpsscale OPTIONS ("
		  . join(', ', map { "$_ '$all{$_}'" } sort keys %all) . ')');
	sql("CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS ("
		  . join(', ', map { "$_ '$mapping->{$_}'" } sort keys %$mapping)
		  . ')');
	return;
}

# A group that has the two instances it needs.
sub group
{
	my ($name, %options) = @_;
	my $id = add_group($node, $cloud, $name, desired => 2, account => $name,
		%options);

	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 100 });
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

sub requests
{
	my ($action) = @_;

	return $cloud->counters->{actions}{$action}{requests} // 0;
}

# How often each service was asked since the last call.
my %before;

sub asked
{
	my @now = map { requests($_) }
	  qw(MetadataToken MetadataRoles MetadataCredentials AssumeRoleWithOIDC);
	my @since = map { $now[$_] - ($before{$_} // 0) } 0 .. 3;

	@before{ 0 .. 3 } = @now;
	return "@since";
}

sub break_metadata
{
	my ($action, $kind, %params) = @_;

	$cloud->fault({ kind => $kind, times => -1,
			match => { action => $action }, params => \%params });
	return;
}

subtest 'the role of an instance' => sub {
	account('ecs', { credentials => 'ecs' });
	my $id = group('ecs');

	asked();
	works($id, 'its credentials are used');
	is(asked(), '1 1 1 0', 'asked for a token, the roles, the credentials');
	works($id, 'once more');
	is(asked(), '0 0 0 0', 'what is known is not asked for again');

	group("many-$_", account => 'ecs') foreach 1 .. 30;
	$cloud->set_identity(revoke => JSON::PP::true);
	is( sql("SELECT count(*) FROM qpsscale_evaluate() e WHERE e->>'reason' = 'optimal_instance_count_reached'"),
		31, 'credentials that were revoked are replaced within the cycle');
	is(asked(), '1 1 1 0', 'by one fetch for all groups');
	sql("DELETE FROM qpsscale.resource_groups WHERE name LIKE '%many-%'");

	$cloud->set_identity(roles => [ 'first', 'web/scaler 1' ],
		format => 'lines');
	account('ecs_role', { credentials => 'ecs', ecs_role => 'first' });
	$id = group('ecs_role');
	works($id, 'a role that the account names');
	is(asked(), '1 0 1 0', 'is not looked up');
	account('no_role', { credentials => 'ecs', ecs_role => 'nobody' });
	fails(group('no_role'), qr/refused the role's credentials \(HTTP 404\)/,
		'one that does not exist');
	$cloud->set_identity(roles => ['scaler'], format => 'json');
};

subtest 'a change is repeated once with new credentials' => sub {
	my $id = group('ecs_change', account => 'ecs');

	$cloud->set_traffic('alb-ecs_change', { kind => 'constant', qps => 405 });
	$cloud->reset_log;
	%before = ();
	$cloud->fault({ kind => 'status', times => 1,
			match => { action => 'ModifyScalingGroup' },
			params => { status => 401, code => 'InvalidSecretToken' } });
	my $result = evaluate($node, $id);
	is($result->{action}, 'scale_up', 'a change whose token was refused')
	  or diag($result->{error});
	is(activities($node, $id), 'accepted 9', 'is accepted');
	is(requests('ModifyScalingGroup'), 2, 'at the second attempt');
	is($cloud->counters->{modify_applied}, 1, 'and applied once');
	is(asked(), '1 1 1 0', 'with credentials that were fetched for it');

	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");

	$id = group('ecs_refused', account => 'ecs');
	$cloud->set_traffic('alb-ecs_refused', { kind => 'constant', qps => 405 });
	$cloud->fault({ kind => 'status', times => -1,
			match => { action => 'ModifyScalingGroup' },
			params => { status => 401, code => 'InvalidSecretToken' } });
	$cloud->reset_log;
	%before = ();
	$result = evaluate($node, $id);
	is(requests('ModifyScalingGroup'), 2, 'one that is refused twice is given up');
	is(activities($node, $id), 'failed 9', 'and has failed');
	is($cloud->counters->{modify_applied}, 0, 'and was not applied');
	$cloud->clear_faults;
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
};

subtest 'renewal ahead of time' => sub {
	my ($renewed, $result);

	$cloud->set_identity(lifetime => 20);
	account('short', { credentials => 'ecs', ecs_role => 'scaler' });
	my $id = group('short');

	asked();
	works($id, 'credentials for twenty seconds');
	is(asked(), '1 0 1 0', 'are fetched');
	break_metadata('MetadataToken', 'status', status => 503);
	wait_until('half of their time later they are to be renewed',
		sub { works_quietly($id) && requests('MetadataToken') > $before{0} });
	wait_for($node,
		"SELECT count(*) FROM qpsscale.errors WHERE source = 'credentials'"
		  . ' AND resource_group_id IS NULL AND '
		  . q{message LIKE '%could not be renewed%503%'},
		'1', 'a failure to do so is one error of the server')
	  if wait_until('that fails, and they are used on', sub {
			works_quietly($id)
			  && sql("SELECT count(*) FROM qpsscale.errors WHERE source = 'credentials'")
		  });
	works($id, 'the group does not mind') foreach 1 .. 3;
	is( sql("SELECT count(*) FROM qpsscale.errors WHERE source = 'credentials'"),
		1, 'and the error is not repeated');
	wait_until('until they expire', sub {
			($result = evaluate($node, $id))->{error} });
	like($result->{error}, qr/metadata service refused a token \(HTTP 503\)/,
		'then the group says why it has none');
	$cloud->set_identity(lifetime => 3600);
	$cloud->clear_faults;
	works($id, 'and goes on as soon as the service does');
};

sub works_quietly
{
	my $result = evaluate($node, $_[0]);

	return !defined $result->{error};
}

subtest 'a metadata service that hangs or lies' => sub {
	my %lies = (
		'nothing' => [ qr/where it gives its token/, 'MetadataToken', 'empty' ],
		'a page of HTML for a token' =>
		  [ qr/where it gives its token/, 'MetadataToken', 'html' ],
		'a redirect' =>
		  [ qr/refused a token \(HTTP 302\)/, 'MetadataToken', 'redirect' ],
		'a token of two lines' => [ qr/where it gives its token/,
			'MetadataToken', 'body', body => "a\r\nX-Other: b" ],
		'a token without end' =>
		  [ qr/too_large/, 'MetadataToken', 'huge', mb => 1 ],
		'no roles' => [ qr/names no role/, 'MetadataRoles', 'body',
			body => '[]' ],
		'a role that climbs' => [ qr/where it gives the role's name/,
			'MetadataRoles', 'body', body => '[".."]' ],
		'half of the credentials' =>
		  [ qr/reset/, 'MetadataCredentials', 'truncated' ],
		'credentials without a key' => [ qr/where it gives credentials/,
			'MetadataCredentials', 'body', body => '{"AccessKeyId": "AKTP"}' ],
		'credentials that have expired' => [ qr/have expired/,
			'MetadataCredentials', 'body',
			body => "{\"AccessKeyId\": \"A\", \"SecretAccessKey\": \"$ISSUED\","
			  . '"SessionToken": "T", "ExpiredTime": "2020-01-01T00:00:00Z"}' ],
		'a connection that ends' => [ qr/reset/, 'MetadataCredentials', 'reset' ]);
	account('lies', { credentials => 'ecs' });
	my $lies = group('lies');

	foreach my $what (sort keys %lies)
	{
		my ($error, $action, $kind, %params) = @{ $lies{$what} };

		$cloud->set_identity(revoke => JSON::PP::true);
		break_metadata($action, $kind, %params);
		fails($lies, qr/InvalidSecretToken/, "$what: what is kept is refused");
		my $last = $cloud->control('GET', 'log?limit=1')->{last};
		fails($lies, $error, "$what: the error says what was wrong");
		is( scalar(grep { $_->{action} !~ /^Metadata/ } @{ $cloud->log($last) }),
			0, "$what: the cloud is not asked");
		$cloud->clear_faults;
		works($lies, "$what: over when the service is itself again");
	}
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $lies");

	# One group's account waits in vain; another's group is scaled meanwhile.
	write_file("$dir/key", 'AKLTSTATIC');
	write_file("$dir/secret", $SECRET);
	account('static',
		{ access_key_id => 'file:key', secret_access_key => 'file:secret' });
	account('hanging', { credentials => 'ecs', ecs_role => 'slow' });
	my $busy = group('static');
	my $waits = group('hanging');
	$cloud->set_traffic('alb-static', { kind => 'constant', qps => 405 });
	break_metadata('MetadataToken', 'hang');
	sql("SELECT count(*) FROM qpsscale_evaluate()");
	is( sql("SELECT a.requested_at < s.last_evaluated_at - interval '500 ms'"
			  . ' FROM qpsscale.activities a, qpsscale.state s'
			  . " WHERE a.resource_group_id = $busy"
			  . " AND s.resource_group_id = $waits"),
		't', 'the other group did not wait for it');
	like( sql("SELECT last_error FROM qpsscale.state WHERE resource_group_id = $waits"),
		qr/metadata service.*time/, 'the one that did says for what');

	sql("ALTER SYSTEM SET qpsscale.cycle_deadline = '500ms'");
	sql('SELECT pg_reload_conf()');
	wait_until('nobody waits past the deadline', sub {
			evaluate($node, $waits)->{error} =~
			  /no credentials before the cycle's deadline/ });
	sql('ALTER SYSTEM RESET qpsscale.cycle_deadline');
	sql('SELECT pg_reload_conf()');
	$cloud->clear_faults;
	sql("DELETE FROM qpsscale.resource_groups WHERE id IN ($busy, $waits)");
};

subtest 'a token of the platform' => sub {
	my $file = "$dir/oidc";
	my $role = $cloud->control('GET', 'identity')->{role_trn};

	account('oidc', { credentials => 'oidc', oidc_role_trn => $role,
			oidc_token_file => $file });
	my $id = group('oidc');
	fails($id, qr/the OIDC token: .*cannot be read/, 'without its file');
	write_file($file, "$TOKEN\n", 0644);
	asked();
	works($id, 'is exchanged for credentials');
	is(asked(), '0 0 0 1', 'once');

	$cloud->set_identity(revoke => JSON::PP::true, oidc_token => "${TOKEN}2");
	fails($id, qr/InvalidSecretToken/, 'a token that is not good any more');
	write_file($file, "${TOKEN}2", 0644);
	works($id, 'the file is read again for each exchange');

	$cloud->set_identity(revoke => JSON::PP::true);
	write_file($file, "${TOKEN}2", 0666);
	fails($id, qr/InvalidSecretToken/, 'a token that others may write');
	fails($id, qr/written by others/, 'is not used');
	write_file($file, "$TOKEN$TOKEN");
	fails($id, qr/refused the token \(HTTP 400, InvalidOIDCToken\)/,
		'a wrong one is refused, and not repeated');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
};

subtest 'the file of the command line tool' => sub {
	my $file = "$dir/config.json";
	my %ak = (mode => 'ak', 'access-key' => 'AKLTSTATIC',
		'secret-key' => $SECRET);
	my $write = sub {
		write_file($file, encode_json({ current => 'prod', profiles => $_[0] }),
			$_[1]);
	};

	account('file', { credentials => 'file', cli_config_file => $file });
	account('profile', { credentials => 'file', cli_config_file => $file,
			cli_profile => 'other' });
	my $id = group('file');
	fails($id, qr/configuration file does not exist/, 'one that is missing');
	$write->({ prod => \%ak });
	works($id, 'its current profile is used');
	fails(group('profile'), qr/no profile of the name/, 'or the one named');
	$write->({ prod => \%ak }, 0644);
	fails($id, qr/read by others/, 'not if others can read it');
	$write->({ prod => { %ak, mode => 'sso', 'sts-expiration' => 1700000000 } });
	fails($id, qr/login has expired/, 'nor after its login has ended');
	$write->({ prod => { %ak, mode => 'sso', 'sts-expiration' => time() + 600 } });
	works($id, 'before that it is good');
	$write->({ prod => { mode => 'ecsrole', 'role-name' => 'x' } });
	fails($id, qr/mode holds no keys/, 'a profile without keys');
};

subtest 'a key that is replaced while it is read' => sub {
	my $slow = QpsscaleCloud->start(latency_ms => 1500,
		access_key => 'AKLTNEW', secret_key => $SECRET);

	write_file("$dir/new.key", 'AKLTNEW');
	write_file("$dir/new.secret", 'the-secret-of-the-key-before');
	account('torn', { access_key_id => 'file:new.key',
			secret_access_key => 'file:new.secret' }, endpoint => $slow->url);
	my $id = group('torn');
	$slow->put_groups([ { id => 'asg-torn', alb_id => 'alb-torn', desired => 2 } ]);
	$slow->set_traffic('alb-torn', { kind => 'constant', qps => 100 });

	my ($out, $err) = ('', '');
	my $h = IPC::Run::start([ 'psql', '-XAtd', $node->connstr('postgres'), '-c',
			"SELECT qpsscale_evaluate($id)" ], '<', \undef, '>', \$out, '2>', \$err);
	wait_until('the id of one key, the secret of another are sent',
		sub { $slow->counters->{requests} >= 2 });
	write_file("$dir/new.secret", $SECRET);
	$h->finish;
	is(eval { decode_json($out)->{reason} }, 'optimal_instance_count_reached',
		'when that is refused, the files are read once more')
	  or diag("$out$err");
	is($slow->counters->{signature_failures}, 2, 'both calls were refused once');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
	$slow->stop;
};

subtest 'whose credentials these are' => sub {
	sql('CREATE ROLE plain; GRANT USAGE ON FOREIGN DATA WRAPPER qpsscale TO plain');
	foreach my $option ("credentials 'ecs'", "ecs_role 'r'",
		"oidc_token_file '/etc/passwd'", "oidc_role_trn 'r'",
		"cli_config_file '/etc/passwd'", "cli_profile 'p'")
	{
		my ($rc, $out, $err) = $node->psql('postgres',
			'SET ROLE plain; CREATE SERVER own FOREIGN DATA WRAPPER qpsscale;'
			  . " CREATE USER MAPPING FOR plain SERVER own OPTIONS ($option)",
			extra_params => ['-1']);
		like($err, qr/only superusers may set option/,
			"not those of an ordinary role: $option");
	}
	foreach my $option ('metadata_endpoint', 'sts_endpoint')
	{
		my ($rc, $out, $err) = $node->psql('postgres',
			'SET ROLE plain; CREATE SERVER own FOREIGN DATA WRAPPER qpsscale'
			  . " OPTIONS ($option 'http://127.0.0.1')");
		like($err, qr/only superusers may set option/,
			"who may not say where they are either: $option");
	}
	account('given', { credentials => 'ecs' });
	sql('CREATE USER MAPPING FOR plain SERVER given OPTIONS (credentials \'ecs\')');
	sql('GRANT USAGE ON FOREIGN SERVER given TO plain');
	my $id = group('given', owner => 'plain');
	works($id, 'a superuser may lend them');
	sql('ALTER SERVER given OWNER TO plain');
	fails($id, qr/may not use the server's own credentials/,
		'but a server that is given away has them no more');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");

	account('metadata', { access_key_id => 'file:key',
			secret_access_key => 'file:secret' },
		endpoint => 'http://100.96.0.96');
	$id = group('metadata');
	fails($id, qr/address_refused.*metadata service/,
		'no account can talk to the metadata service, allowed or not');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
};

subtest 'the chain' => sub {
	my $role = $cloud->control('GET', 'identity')->{role_trn};

	# The first tick after a restart must not ask for anybody.
	sql('UPDATE qpsscale.resource_groups SET enabled = false');
	account('chain', { credentials => 'chain' });
	my $id = group('chain', enabled => 'false');
	$cloud->set_identity(oidc_token => $TOKEN);
	write_file("$dir/oidc", $TOKEN);
	mkdir "$HOME/.byteplus" or die "mkdir: $!";

	asked();
	works($id, 'ends with the metadata service');
	is(asked(), '0 0 0 0', 'whose credentials are here already');
	{
		local $ENV{BYTEPLUS_ECS_METADATA_DISABLED} = 'true';
		$node->restart;
	}
	fails($id, qr/neither .*ACCESS_KEY_ID.* no OIDC role, .* disabled/,
		'which can be forbidden');
	write_file("$HOME/.byteplus/config.json", encode_json({ profiles => {
					default => { 'access-key' => 'AKLTSTATIC',
						'secret-key' => $SECRET } } }));
	works($id, 'before it comes the file of the command line tool');
	{
		local $ENV{BYTEPLUS_OIDC_TOKEN_FILE} = "$dir/oidc";
		local $ENV{BYTEPLUS_OIDC_ROLE_TRN} = $role;
		$node->restart;
	}
	asked();
	works($id, 'before that the token of the platform');
	is(asked(), '0 0 0 1', 'for which credentials are fetched');
	{
		local $ENV{BYTEPLUS_OIDC_TOKEN_FILE} = "$dir/no-such-file";
		local $ENV{BYTEPLUS_OIDC_ROLE_TRN} = $role;
		$node->restart;
	}
	fails($id, qr/OIDC token: .*no-such-file/,
		'a link that fails does not make the server somebody else');
	{
		local $ENV{BYTEPLUS_OIDC_TOKEN_FILE} = "$dir/oidc";
		local $ENV{BYTEPLUS_OIDC_ROLE_TRN} = $role;
		local $ENV{BYTEPLUS_ACCESS_KEY} = 'AKLTSTATIC';
		local $ENV{BYTEPLUS_SECRET_KEY} = $SECRET;
		$node->restart;
	}
	asked();
	works($id, 'and first of all the environment');
	is(asked(), '0 0 0 0', 'for which nobody is asked');

	unlink("$HOME/.byteplus/config.json");
	{
		local $ENV{BYTEPLUS_ECS_METADATA_ENDPOINT} = $cloud->url;
		$node->restart;
	}
	# A label of 64 characters cannot be looked up: nothing leaves this machine.
	$id = group('none', account => undef, region => 'a' x 64,
		enabled => 'false');
	asked();
	like(evaluate($node, $id)->{error}, qr/resolve|look|host/i,
		'a superuser\'s group without an account uses the chain');
	is(asked(), '1 1 1 0', 'down to the metadata service');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $id");
};

subtest 'a secret is nowhere to be found' => sub {
	my %text = (
		'the server log' => slurp_file($node->logfile),
		'pg_stat_activity' => sql('SELECT to_jsonb(a) FROM pg_stat_activity a'),
		'pg_user_mappings' => sql('SELECT to_jsonb(m) FROM pg_user_mappings m'),
		'the settings' => sql('SELECT to_jsonb(s) FROM pg_settings s'));
	my ($out, $err) = ('', '');

	$text{'the answers'} = sql('SELECT qpsscale_evaluate(dry_run => true)')
	  . sql('SELECT qpsscale_health()')
	  . sql('SELECT to_jsonb(v) FROM qpsscale.resource_groups g,'
		  . ' qpsscale_validate(g.id) v');
	foreach my $table (split(/\n/, sql("SELECT c.oid::regclass FROM pg_class c"
				  . " JOIN pg_namespace n ON n.oid = c.relnamespace"
				  . " WHERE n.nspname = 'qpsscale' AND c.relkind IN ('r', 'v')")))
	{
		$text{$table} = sql("SELECT to_jsonb(x) FROM $table x");
	}
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr('postgres') ],
		'<', \undef, '>', \$out, '2>', \$err);
	$text{'pg_dump'} = $out;
	like($out, qr/credentials 'ecs'/, 'the dump says where they come from');
	foreach my $place (sort keys %text)
	{
		my @found = grep { index($text{$place}, substr($_, 0, 12)) >= 0 }
		  ($ISSUED, $TOKEN, $SECRET);
		is("@found", '', "not in $place");
	}
};

# A core dump shows what a process remembers.  Temporary credentials must be
# remembered until they expire; a static key need not be from tick to tick.
subtest 'a static key is not in the memory of a worker that waits' => sub {
	my $key = 'MemoryCanaryOfAStaticKey+98765432101234567890';
	my $keen = QpsscaleCloud->start(access_key => 'AKLTMEM', secret_key => $key);

	write_file("$dir/mem.key", 'AKLTMEM');
	write_file("$dir/mem.secret", $key);
	account('memory', { access_key_id => 'file:mem.key',
			secret_access_key => 'file:mem.secret' }, endpoint => $keen->url);
	my $id = group('memory');
	$keen->put_groups([ { id => 'asg-memory', alb_id => 'alb-memory', desired => 2 } ]);
	$keen->set_traffic('alb-memory', { kind => 'constant', qps => 100 });
	works($id, 'a key is used');
	works($id, 'and used again');

	my $pid = worker_pid($node);
	my ($seen, $known, $readable) = (0, 0, 0);
	open(my $maps, '<', "/proc/$pid/maps") or plan skip_all => "maps: $!";
	open(my $mem, '<:raw', "/proc/$pid/mem")
	  or plan skip_all => "the memory of a process cannot be read here: $!";
	while (<$maps>)
	{
		next unless /^([0-9a-f]+)-([0-9a-f]+) rw/;
		no warnings 'portable';
		my ($from, $to) = map { hex } $1, $2;

		# Shared memory holds what backends do, too.
		next if / rw-s /;
		sysseek($mem, $from, 0) or next;
		my $got = sysread($mem, my $bytes, $to - $from);
		next unless defined $got;
		$readable += $got;
		$seen++ while $bytes =~ /\Q$key\E/g;
		$known++ while $bytes =~ /\Q$dir\E/g;
	}
	cmp_ok($known, '>', 0, "what it must know is there ($readable bytes)");
	is($seen, 0, 'but the key is not there');
	$keen->stop;
};

done_testing();
