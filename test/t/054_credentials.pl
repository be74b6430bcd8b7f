# Where keys come from, who may use them, and that they are never seen again.
#
# The cloud of this test has a secret that nobody else has: a canary, which is
# looked for at the end wherever a secret could come to light.

use strict;
use warnings;

use IPC::Run ();
use JSON::PP;
use POSIX ();
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use Test::More;

my $KEY = 'AKLTCANARY';
my $SECRET = 'CanarySecretThatSings+0123456789abcdef==';
my $WRONG = 'AnotherCanaryOfTheWrongKind+0123456789==';

my $cloud = QpsscaleCloud->start(
	access_key => $KEY, secret_key => $SECRET, boot_delay => 0);
my $secrets = PostgreSQL::Test::Utils::tempdir();
chmod 0700, $secrets or die "$secrets: $!";

# In the environment of the server.  The account that QpsscaleNode makes refers
# to TEST_ACCESS_KEY and TEST_SECRET_KEY, which this cloud does not know.
$ENV{CANARY_KEY} = $KEY;
$ENV{CANARY_SECRET} = $SECRET;
$ENV{ACCESS_KEY_ID} = 'AKLTDEFAULT';
$ENV{SECRET_ACCESS_KEY} = $WRONG;

my ($node) = QpsscaleNode->start(
	cloud => $cloud,
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.request_timeout' => "'2s'",
		'qpsscale.cycle_deadline' => "'4s'",
		'qpsscale.secrets_dir' => "'$secrets'",
		'qpsscale.log_level' => "'debug'",
		'qpsscale.detailed_logging' => "'on'",
		'log_min_messages' => 'debug2',
		'log_statement' => 'all'
	});

# The worker's first tick, which nobody asked for, must be over.
wait_for($node, 'SELECT ticks >= 1 FROM qpsscale.stat_worker', 't',
	'the worker is there and waits');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A file below qpsscale.secrets_dir.
sub secret_file
{
	my ($name, $text, $mode) = @_;
	my $path = "$secrets/$name";

	unlink($path);
	append_to_file($path, $text);
	chmod $mode // 0600, $path or die "$path: $!";
	return;
}

sub add_server
{
	my ($name, %options) = @_;
	my %all = (provider => 'byteplus', region => 'ap-southeast-1',
		endpoint => $cloud->url, %options);

	sql("CREATE SERVER $name FOREIGN DATA WRAPPER qpsscale OPTIONS ("
		  . join(', ', map { "$_ '$all{$_}'" } sort keys %all) . ')');
	return;
}

sub add_mapping
{
	my ($server, $role, $key, $secret) = @_;

	sql("CREATE USER MAPPING FOR $role SERVER $server"
		  . " OPTIONS (access_key_id '$key', secret_access_key '$secret')");
	return;
}

# A group that has what it needs; it says so if its account works.
sub group
{
	my ($name, %options) = @_;
	my $id = add_group($node, $cloud, $name, desired => 2, %options);

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

# The group cannot be evaluated; the error is everywhere where it should be.
sub fails
{
	my ($id, $error, $what) = @_;
	my $result = evaluate($node, $id);

	is($result->{action}, 'none', "$what: no action");
	like($result->{error}, $error, "$what: the answer says why");
	like( sql("SELECT message FROM qpsscale.errors"
			  . " WHERE resource_group_id = $id ORDER BY id DESC LIMIT 1"),
		$error, "$what: and so do the errors");
	return $result;
}

subtest 'a secret in a file' => sub {
	secret_file('key', "$KEY\n");
	secret_file('secret', "$SECRET\n");
	add_server('files');
	add_mapping('files', 'CURRENT_USER', 'file:key', 'file:secret');
	my $id = group('files', account => 'files');

	works($id, 'is used, without the line end of an editor');

	secret_file('secret', $WRONG);
	fails($id, qr/SignatureDoesNotMatch/, 'a wrong secret');
	is($cloud->counters->{modify_applied}, 0, 'nothing was changed with it');
	secret_file('secret', $SECRET);
	works($id, 'a new one is used at once, without a restart');
	is( sql("SELECT last_error FROM qpsscale.state WHERE resource_group_id = $id"),
		'', 'and the error is gone');
	secret_file('key', 'AKLTSOMEBODYELSE');
	fails($id, qr/InvalidAccessKey/, 'a wrong key id');
	secret_file('key', $KEY);

	my @bad = (
		[ 'readable by a group', sub { chmod 0640, "$secrets/secret" },
			qr/can be read by others \(chmod 600/ ],
		[ 'writable by a group', sub { chmod 0620, "$secrets/secret" },
			qr/can be written by others \(chmod 600/ ],
		[ 'readable by all', sub { chmod 0604, "$secrets/secret" },
			qr/can be read by others/ ],
		[ 'a symbolic link', sub {
				secret_file('elsewhere', $SECRET);
				unlink("$secrets/secret");
				symlink("$secrets/elsewhere", "$secrets/secret");
			}, qr/cannot be read \(it is a symbolic link/ ],
		[ 'a pipe', sub {
				unlink("$secrets/secret");
				POSIX::mkfifo("$secrets/secret", 0600) or die "mkfifo: $!";
			}, qr/not a plain file/ ],
		[ 'a directory', sub {
				unlink("$secrets/secret");
				mkdir "$secrets/secret", 0700 or die "mkdir: $!";
			}, qr/not a plain file/ ],
		[ 'missing', sub { rmdir "$secrets/secret" }, qr/cannot be read/ ],
		[ 'empty', sub { secret_file('secret', "\n") }, qr/is empty/ ],
		[ 'of no bytes', sub { secret_file('secret', '') }, qr/is empty/ ],
		[ 'too long', sub { secret_file('secret', 'x' x 5000) }, qr/too long/ ],
		[ 'huge', sub {
				secret_file('secret', '');
				truncate("$secrets/secret", 1 << 33) or die "truncate: $!";
			}, qr/too long/ ],
		[ 'with a zero byte', sub { secret_file('secret', "$SECRET\0") },
			qr/character that no key has/ ],
		[ 'two lines', sub { secret_file('secret', "$SECRET\nmore\n") },
			qr/character that no key has/ ]);

	foreach my $case (@bad)
	{
		my ($what, $spoil, $error) = @$case;

		$spoil->();
		my $before = $cloud->control('GET', 'log?limit=1')->{last};
		my $result = fails($id, $error, $what);
		is($result->{reason}, 'evaluation_error', "$what: with the right reason");
		is( $result->{explanation}->{summary},
			"The group could not be evaluated: $result->{error}.",
			"$what: and the explanation says the same");
		like($result->{error}, qr/files/, "$what: it names the account");
		is_deeply($cloud->log($before), [], "$what: no request was made");
	}
	secret_file('secret', "$SECRET\r\n\r\n");
	works($id, 'line ends of another system are not part of the secret');
	secret_file('secret', $SECRET);
	works($id, 'when the file is as it should be, all is well');

	# Who may write to a directory may put another file into it.
	chmod 0777, $secrets or die "$secrets: $!";
	fails($id, qr/directory .* can be written by others \(chmod 700/,
		'a secrets_dir that everybody may write');
	chmod 0700, $secrets or die "$secrets: $!";
	works($id, 'once it is closed, all is well');

	sql("ALTER SYSTEM SET qpsscale.secrets_dir = ''");
	sql('SELECT pg_reload_conf()');
	wait_for($node, "SELECT current_setting('qpsscale.secrets_dir')", '',
		'no directory for secrets');
	wait_until('then no file is read',
		sub { (evaluate($node, $id)->{error} // '') =~ /secrets_dir is not set/ });
	sql('ALTER SYSTEM RESET qpsscale.secrets_dir');
	sql('SELECT pg_reload_conf()');
	wait_until('until there is one again',
		sub { !defined evaluate($node, $id)->{error} });
};

subtest 'a secret in a directory of its own' => sub {
	mkdir "$secrets/deep" or die "mkdir: $!";
	mkdir "$secrets/deep/er", 0700 or die "mkdir: $!";
	chmod 0750, "$secrets/deep" or die "chmod: $!";
	secret_file('deep/er/key', $KEY);
	secret_file('deep/er/secret', $SECRET);
	add_server('deep');
	add_mapping('deep', 'CURRENT_USER', 'file:deep/er/key',
		'file:deep/er/secret');
	my $id = group('deep', account => 'deep');

	works($id, 'is used');
	chmod 0770, "$secrets/deep" or die "chmod: $!";
	fails($id, qr/directory "deep" can be written by others/,
		'a directory on the way that others may write');
	chmod 0750, "$secrets/deep" or die "chmod: $!";
	rename("$secrets/deep/er", "$secrets/elsewhere.d") or die "rename: $!";
	symlink("$secrets/elsewhere.d", "$secrets/deep/er") or die "symlink: $!";
	fails($id, qr/directory "er" cannot be opened/,
		'a symbolic link on the way');
	unlink("$secrets/deep/er");
	fails($id, qr/directory "er" cannot be opened \(No such file/,
		'a directory that is missing');
	rename("$secrets/elsewhere.d", "$secrets/deep/er") or die "rename: $!";
	works($id, 'when the directories are as they should be, all is well');
};

subtest 'what a user mapping may refer to' => sub {
	add_server('strict');
	my %refused = (
		'a file outside' => [ 'file:../secret', qr/name is not valid/ ],
		'an absolute file' => [ 'file:/etc/passwd', qr/name is not valid/ ],
		'a hidden file' => [ 'file:.pgpass', qr/name is not valid/ ],
		'a variable with a strange name' => [ 'env:A B', qr/name is not valid/ ],
		'no reference at all' => [ 'AKLT', qr/not written into the catalog/ ]);

	foreach my $what (sort keys %refused)
	{
		my ($value, $error) = @{ $refused{$what} };
		my ($rc, $out, $err) = $node->psql('postgres',
			"CREATE USER MAPPING FOR CURRENT_USER SERVER strict"
			  . " OPTIONS (access_key_id '$value')");
		isnt($rc, 0, "$what is refused");
		like($err, $error, "$what: it says why");
		like($err, qr/HINT/, "$what: and what to do");
	}
	my ($rc, $out, $err) = $node->psql('postgres',
		"ALTER SERVER strict OPTIONS (ADD ca_file 'relative.pem')");
	isnt($rc, 0, 'a relative ca_file is refused');
};

subtest 'a secret in the environment' => sub {
	add_server('variables');
	add_mapping('variables', 'CURRENT_USER', 'env:CANARY_KEY',
		'env:CANARY_SECRET');
	my $id = group('variables', account => 'variables');
	works($id, 'is used');

	add_server('no_variable');
	add_mapping('no_variable', 'CURRENT_USER', 'env:CANARY_KEY', 'env:NO_SUCH');
	$id = group('no-variable', account => 'no_variable');
	fails($id, qr/no variable NO_SUCH/, 'one that is not set');

	$id = group('wrong', account => 'cloud');
	fails($id, qr/InvalidAccessKey/, 'one that is wrong');
};

subtest 'whose secret it is' => sub {
	sql('CREATE ROLE app; CREATE ROLE other');
	add_server('shared');
	sql('GRANT USAGE ON FOREIGN SERVER shared TO app');
	my $id = group('app', account => 'shared', owner => 'app');

	fails($id, qr/no user mapping for "app" or PUBLIC/, 'no mapping');
	add_mapping('shared', 'PUBLIC', 'env:CANARY_KEY', 'env:CANARY_SECRET');
	works($id, 'a mapping for PUBLIC is used');
	add_mapping('shared', 'app', 'env:CANARY_KEY', 'env:TEST_SECRET_KEY');
	fails($id, qr/SignatureDoesNotMatch/,
		'the mapping of the owner comes before it');
	sql('DROP USER MAPPING FOR app SERVER shared');
	works($id, 'without that it is used again');

	my ($rc, $out, $err) = $node->psql('postgres',
		"INSERT INTO qpsscale.resource_groups"
		  . " (alb_id, asg_id, region, target_qps, account, owner)"
		  . " VALUES ('alb-x', 'asg-x', 'ap-southeast-1', 50, 'shared', 'other')");
	like($err, qr/role "other" may not use account "shared"/,
		'a group of a role without USAGE is refused');
	sql('REVOKE USAGE ON FOREIGN SERVER shared FROM app');
	fails($id, qr/role "app" may not use account "shared"/,
		'a right that was taken away counts at once');
	sql('GRANT USAGE ON FOREIGN SERVER shared TO app');
	works($id, 'and one that was given back too');

	sql('CREATE ROLE plain; GRANT USAGE ON FOREIGN DATA WRAPPER qpsscale TO plain');
	foreach my $case ([ 'file:key', qr/files of others/ ],
		[ 'env:CANARY_KEY', qr/only superusers/ ],
		[ 'inline:x', qr/not written into the catalog/ ])
	{
		($rc, $out, $err) = $node->psql('postgres',
			"SET ROLE plain; CREATE SERVER own FOREIGN DATA WRAPPER qpsscale"
			  . " OPTIONS (region 'r'); CREATE USER MAPPING FOR plain SERVER own"
			  . " OPTIONS (access_key_id '$case->[0]')",
			extra_params => ['-1']);
		like($err, $case->[1], "an ordinary role may not write $case->[0]");
	}

	# The worker does not rely on what was checked when the mapping was made:
	# a role may have been renamed, or the server given away.
	mkdir "$secrets/$_", 0700 or die "mkdir: $!" foreach qw(plain app);
	secret_file("plain/$_", $_ eq 'key' ? $KEY : $SECRET)
	  foreach qw(key secret);
	add_server('given');
	add_mapping('given', 'plain', 'file:plain/key', 'file:plain/secret');
	sql('GRANT USAGE ON FOREIGN SERVER given TO plain');
	$id = group('plain', account => 'given', owner => 'plain');
	works($id, 'a role\'s own files are used');
	sql('ALTER SERVER given OWNER TO plain');
	works($id, 'on its own server too');
	sql("ALTER USER MAPPING FOR plain SERVER given"
		  . " OPTIONS (SET access_key_id 'file:key')");
	fails($id, qr/may only refer to files in the directory of their own name/,
		'not those of others, even if a superuser has written the reference');
	sql("ALTER USER MAPPING FOR plain SERVER given"
		  . " OPTIONS (SET access_key_id 'env:CANARY_KEY')");
	fails($id, qr/only files may be referred to/, 'nor a variable');
	sql("ALTER USER MAPPING FOR plain SERVER given"
		  . " OPTIONS (SET access_key_id 'file:plain/key')");
	sql('ALTER ROLE plain RENAME TO fancy');
	sql("UPDATE qpsscale.resource_groups SET owner = 'fancy' WHERE id = $id");
	fails($id, qr/may only refer to files in the directory of their own name/,
		'nor those of the name it had');
	sql('ALTER ROLE fancy RENAME TO plain');
	sql("UPDATE qpsscale.resource_groups SET owner = 'plain' WHERE id = $id");
	works($id, 'with its name back it uses them again');
};

subtest 'the credentials of the server itself' => sub {
	# A label of 64 characters cannot be looked up, so nothing leaves this
	# machine: the name of the cloud's host is as far as it comes.
	my $nowhere = 'a' x 64;
	my $id = group('default', account => undef, region => $nowhere);
	my $result = evaluate($node, $id);

	is($result->{reason}, 'metrics_unavailable',
		'a superuser\'s group without an account uses them');
	like($result->{error}, qr/resolve|look|host/i,
		'and comes as far as looking the cloud up');
	unlike($result->{error}, qr/credential|ACCESS_KEY/, 'keys are not the problem');

	$id = group('default-app', account => undef, region => $nowhere,
		owner => 'app');
	fails($id, qr/only groups of a superuser/, 'any other role\'s group');

	delete local @ENV{qw(ACCESS_KEY_ID SECRET_ACCESS_KEY)};
	local $ENV{BYTEPLUS_ECS_METADATA_DISABLED} = 'true';    # not from a test
	$node->restart;
	$id = group('default-none', account => undef, region => $nowhere);
	fails($id, qr/neither .*ACCESS_KEY_ID and SECRET_ACCESS_KEY are set/,
		'a server without any');
};

subtest 'a cloud that quotes the secret' => sub {
	my $id = group('quoted', account => 'files');

	$cloud->fault({ kind => 'status', times => -1, params => { status => 401,
				code => 'SignatureDoesNotMatch',
				message => "signed with $SECRET, it seems" } });
	fails($id, qr/withheld/, 'its message is not passed on');
	$cloud->clear_faults;
};

subtest 'TLS' => sub {
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my ($out, $err) = ('', '');

	plan skip_all => 'openssl is not installed'
	  unless IPC::Run::run([ 'openssl', 'req', '-x509', '-newkey', 'rsa:2048',
			'-nodes', '-days', '2', '-subj', '/CN=127.0.0.1', '-addext',
			'subjectAltName=IP:127.0.0.1', '-keyout', "$dir/key.pem", '-out',
			"$dir/cert.pem" ], '<', \undef, '>', \$out, '2>', \$err);

	my $tls = QpsscaleCloud->start(tls_cert => "$dir/cert.pem",
		tls_key => "$dir/key.pem", access_key => $KEY, secret_key => $SECRET);

	add_server('untrusted', endpoint => $tls->url);
	add_server('trusted', endpoint => $tls->url, ca_file => "$dir/cert.pem");
	add_mapping($_, 'CURRENT_USER', 'file:key', 'file:secret')
	  foreach qw(untrusted trusted);
	$tls->put_groups([ { id => 'asg-tls', alb_id => 'alb-tls', desired => 2 } ]);
	$tls->set_traffic('alb-tls', { kind => 'constant', qps => 100 });

	my %id = map {
		($_ => sql("INSERT INTO qpsscale.resource_groups"
			  . " (alb_id, asg_id, region, target_qps, account, enabled)"
			  . " VALUES ('alb-tls', 'asg-tls', 'ap-southeast-1', 50, '$_', true)"
			  . " RETURNING id"))
	} qw(untrusted trusted);

	fails($id{untrusted}, qr/^tls: .*certificate/i,
		'a certificate that nobody vouches for');
	is($tls->counters->{connections}{accepted}, 0,
		'no request was sent over that connection');
	works($id{trusted}, 'one that the account\'s ca_file vouches for');
	fails($id{untrusted}, qr/^tls: /, 'the other account is not helped by that');

	# A group has two calls in flight at once.  Whether the second waits for the
	# first one's connection or opens its own is up to the version of libcurl.
	my $handshakes = 'SELECT tls_handshakes FROM qpsscale.stat_worker';
	cmp_ok(sql($handshakes), '>', 0, 'handshakes are counted');
	works($id{trusted}, 'evaluation ' . ($_ + 1)) foreach 1 .. 5;
	cmp_ok(sql($handshakes), '<=', 2,
		'two connections are enough for six evaluations');
	is($tls->counters->{connections}{accepted}, sql($handshakes),
		'which is what the cloud has seen');
	is($tls->counters->{signature_failures}, 0, 'and all were signed well');
	$tls->stop;
};

subtest 'a secret is nowhere to be found' => sub {
	# Once more with everything in use, so that there is something to find.
	sql('SELECT count(*) FROM qpsscale_evaluate()');
	my %text = (
		'the server log' => slurp_file($node->logfile),
		'pg_stat_activity' => sql('SELECT to_jsonb(a) FROM pg_stat_activity a'),
		'pg_user_mappings' => sql('SELECT to_jsonb(m) FROM pg_user_mappings m'),
		'the settings' => sql('SELECT to_jsonb(s) FROM pg_settings s'));

	foreach my $table (split(/\n/, sql("SELECT c.oid::regclass FROM pg_class c"
				  . " JOIN pg_namespace n ON n.oid = c.relnamespace"
				  . " WHERE n.nspname = 'qpsscale' AND c.relkind IN ('r', 'v')")))
	{
		$text{$table} = sql("SELECT to_jsonb(x) FROM $table x");
	}
	$text{'the answers'} = sql('SELECT qpsscale_evaluate(dry_run => true)')
	  . sql('SELECT qpsscale_health()')
	  . sql('SELECT to_jsonb(v) FROM qpsscale.resource_groups g,'
		  . ' qpsscale_validate(g.id) v');
	$text{'pg_dump'} = '';
	IPC::Run::run([ 'pg_dump', '-d', $node->connstr('postgres') ],
		'<', \undef, '>', \$text{'pg_dump'});

	like($text{'the server log'}, qr/DEBUG/, 'the log holds the smallest things');
	like($text{'the server log'}, qr/CREATE USER MAPPING/, 'and every statement');
	like($text{'pg_dump'}, qr/file:secret/, 'the dump holds the references');
	foreach my $place (sort keys %text)
	{
		my @found = grep { index($text{$place}, substr($_, 0, 12)) >= 0 }
		  ($SECRET, $WRONG);
		is(scalar(@found), 0, "not in $place");
	}
};

done_testing();
