# The manual is true: every snippet of README.md runs, in order, and every list
# in it is the list in the code.
#
# By the language of its fence a block is
#   sql    run in database postgres of a fresh server, in the order of the text
#   sh     run by bash -e, with psql connected to that server
#   conf   the settings of that server
#   text   not run: output, or what would change the machine that runs the
#          tests (apt-get, make install)
#   json   AWS' policy: names exactly the actions that the code calls
#   yaml   Kubernetes' role: 058_kubernetes scales with it
# and no other language is allowed.  What a reader has and a test has not is
# put in by substitute(); what is there before the first snippet is made by
# prepare().

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleHttpd;
use QpsscaleNode;
use Test::More;

my $readme = slurp_file('README.md');
my $secrets = PostgreSQL::Test::Utils::tempdir() . '/qpsscale';
my ($node, $cloud, $httpd);

# ---- the snippets ----

sub blocks
{
	my ($text) = @_;
	my (@blocks, $block);
	my $line = 0;

	foreach (split /\n/, $text)
	{
		$line++;
		if (/^```(\w*)$/)
		{
			if ($block) { push @blocks, $block; $block = undef; }
			else { $block = { language => $1, line => $line, text => '' }; }
		}
		elsif ($block) { $block->{text} .= "$_\n"; }
	}
	die "README.md: the block of line $block->{line} has no end\n" if $block;
	return @blocks;
}

sub substitute
{
	my ($text) = @_;
	my $url = $cloud ? $cloud->url : '';

	# the secrets' directory, and a user who may write there
	$text =~ s{/etc/qpsscale}{$secrets}g;
	$text =~ s/sudo (?:-u \w+ )?//g;
	$text =~ s/ -o postgres//g;
	# the cloud: the account of the emulator instead of the vendor's hosts
	# the HTTP server, which a reader has started by then
	$text =~ s{http://127\.0\.0\.1:8082}{http_url()}ge;
	$text =~ s/(OPTIONS \()(provider '(?:byteplus|aws)')/$1endpoint '$url', $2/g;
	return $text;
}

sub http_url
{
	$httpd //= QpsscaleHttpd->start($node, roles => 0);
	return $httpd->url;
}

sub settings_of
{
	my ($text) = @_;

	return map { /^([\w.]+)\s*=\s*('[^']*'|\S+)/ ? ($1 => $2) : () }
	  split /\n/, substitute($text);
}

sub prepare
{
	$cloud->put_groups(
		[ map { { id => "scg-$_", alb_id => "alb-$_", min => 1, max => 20,
					desired => 2, boot_delay => 1 } } qw(web old own) ]);
	$cloud->set_traffic('alb-web', { kind => 'constant', qps => 405 });
	# the first system's table, for those who come from it
	$node->safe_psql('postgres', <<'SQL');
CREATE SCHEMA legacy;
CREATE TABLE legacy.resource_groups (
	id bigserial PRIMARY KEY,
	alb_id text, asg_id text, region text, target_qps double precision,
	scale_up_cooldown_seconds integer DEFAULT 300,
	scale_down_cooldown_seconds integer DEFAULT 600,
	general_cooldown_seconds integer DEFAULT 180,
	dry_run boolean DEFAULT true, enabled boolean DEFAULT false,
	last_validated_at timestamptz, created_at timestamptz, updated_at timestamptz);
INSERT INTO legacy.resource_groups (id, alb_id, asg_id, region, target_qps, dry_run, enabled)
VALUES (42, 'alb-old', 'scg-old', 'ap-southeast-1', 80, false, true);
CREATE TABLE legacy.activities (
	id bigserial PRIMARY KEY, resource_group_id bigint, activity_key text UNIQUE,
	requested_at timestamptz, action text, delta integer,
	desired_capacity integer, status text, response jsonb, error_message text,
	eval_qps double precision, eval_capacity integer,
	target_qps double precision, created_at timestamptz);
INSERT INTO legacy.activities (resource_group_id, activity_key, requested_at, action, delta,
	desired_capacity, status, response, error_message, eval_qps, eval_capacity, target_qps, created_at)
VALUES (42, 'a', now() - interval '2 h', 'scale_up', 2, 5, 'Successful', '{"RequestId": "x"}', NULL, 390, 3, 80, now()),
	(42, 'b', now() - interval '1 h', 'scale_down', -1, 4, 'failed', NULL, 'no', 300, 5, 80, now()),
	(42, 'c', now(), 'none', 0, 5, 'skipped', NULL, NULL, 400, 5, 80, now());
CREATE TABLE legacy.errors (
	id bigserial PRIMARY KEY, resource_group_id bigint, source text, message text,
	context jsonb, occurred_at timestamptz);
INSERT INTO legacy.errors (resource_group_id, source, message, context, occurred_at)
VALUES (42, 'metrics', 'timed out', '{"attempt": 3}', now()), (NULL, 'database', 'gone', NULL, now());
CREATE SCHEMA scaler;
CREATE TABLE scaler.resources (
	id uuid PRIMARY KEY, name text NOT NULL, resource_type text NOT NULL,
	cloud_provider text NOT NULL, min_instances integer, max_instances integer,
	current_instances integer, target_cpu double precision,
	target_memory double precision, cooldown_period integer,
	created_at timestamptz);
INSERT INTO scaler.resources VALUES
	('5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0001', 'web-fleet', 'ec2', 'aws', 2, 12, 4, 70, 80, 300, '2024-05-01'),
	('5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0002', 'team/api', 'kubernetes', 'kubernetes', 1, 30, 3, 65, 75, 120, '2024-05-02'),
	('5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0003', 'mailer', 'kubernetes', 'k8s', 1, 5, 1, 80, 80, 60, '2024-05-03');
CREATE TABLE scaler.scaling_events (
	id uuid PRIMARY KEY, resource_id uuid, decision_id uuid, action text,
	previous_instances integer, new_instances integer, success boolean,
	error_message text, execution_time_ms bigint, created_at timestamptz);
INSERT INTO scaler.scaling_events VALUES
	(gen_random_uuid(), '5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0001', '5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0009', 'ScaleUp', 2, 4, true, NULL, 412, now()),
	(gen_random_uuid(), '5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0002', gen_random_uuid(), 'ScaleDown', 5, 3, false, 'timeout', 30000, now());
SQL
	return;
}

sub sql
{
	my ($query) = @_;

	return $node->safe_psql('postgres', $query);
}

# SQLSTATE of what a statement raises, '00000' if nothing.
sub sqlstate
{
	my ($query) = @_;
	my ($stdout, $stderr) = ('', '');

	$node->psql('postgres', "\\set VERBOSITY verbose\n$query",
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 1);
	return $stderr =~ /^(?:psql:\S+ )?ERROR:  (\w{5}):/m ? $1 : '00000';
}

sub run_sql
{
	my ($block) = @_;
	my ($stdout, $stderr) = ('', '');
	my $rc = $node->psql('postgres', substitute($block->{text}),
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 1);

	is($rc, 0, "the sql of line $block->{line} runs") or diag($stderr);
	return $stdout;
}

sub run_sh
{
	my ($block) = @_;
	my ($stdout, $stderr) = ('', '');
	local %ENV = (
		%ENV,
		PGHOST => $node->host,
		PGPORT => $node->port,
		PGDATABASE => 'postgres',
		ACCESS_KEY_ID => 'AKLTEMULATOR',
		SECRET_ACCESS_KEY => 'EmulatorSecret');

	my $ok = run_command_with([ 'bash', '-euc', substitute($block->{text}) ],
		\$stdout, \$stderr);
	ok($ok, "the shell commands of line $block->{line} run") or diag($stderr);
	return $stdout;
}

sub run_command_with
{
	my ($command, $stdout, $stderr) = @_;

	return IPC::Run::run($command, '<', \undef, '>', $stdout, '2>', $stderr);
}

# Cells of the rows that psql's aligned output shows in a text block.
sub sample_rows
{
	my ($text) = @_;

	return map { s/^\s+|\s+$//gr }
	  grep { !/^[-+]+$/ } split /\n/, $text;
}

sub cells
{
	my ($row) = @_;

	return map { s/^\s+|\s+$//gr } split /\|/, $row;
}

# ---- what the reader is promised after a snippet ----

my @promises = (
	[
		qr/INSERT INTO qpsscale.signals.*percentile_cont/s => sub {
			is(sql("SELECT string_agg(name || ' ' || role, ', ' ORDER BY name)"
					  . ' FROM qpsscale.signals WHERE resource_group_id = 1'),
				'latency veto, queue required', 'signals are rows');
		}
	],
	[
		qr/FROM qpsscale.instance_cost/ => sub {
			my ($output, $sample) = @_;

			like($output, qr/^\Q${\ join '|', cells((sample_rows($sample->{text}))[1]) }\E$/m,
				'four instances cost what the manual shows');
		}
	],
	[
		qr/FROM qpsscale.schedules_at/ => sub {
			like($_[0], qr/^night\|\|6\|.*\nsale\|4\|\|/m,
				'night and sale hold on that Friday');
		}
	],
	[
		qr/SELECT \* FROM qpsscale_validate/ => sub {
			my ($output, $sample) = @_;
			my @said = map { join '|', (cells($_))[ 0, 1, 2 ] }
			  grep { !/^check_name/ } sample_rows($sample->{text});
			my @seen = map { join '|', (cells($_))[ 0, 1, 2 ] }
			  split /\n/, $output;

			is_deeply(\@seen, \@said,
				'qpsscale_validate() says what the manual shows');
		}
	],
	[
		qr/FROM qpsscale_evaluate\(1\)/ => sub {
			my ($output, $sample) = @_;
			my ($head, $row) = sample_rows($sample->{text});

			is($output, join('|', cells($row)),
				'qpsscale_evaluate() decides what the manual shows');
			is(sql("SELECT count(*) FROM qpsscale.activities WHERE status = 'dry_run'"),
				'1', 'as a dry run');
			is($cloud->counters->{modify_applied},
				0, 'and nothing has been changed in the cloud');
		}
	],
	[
		qr/SELECT qpsscale_arm\(\);\nUPDATE/ => sub {
			wait_for($node,
				"SELECT status || ' ' || desired_capacity FROM qpsscale.activities WHERE status <> 'dry_run'",
				'successful 9', 'a group that has gone live is scaled');
			is($cloud->group('scg-web')->{desired}, 9, 'in the cloud');
		}
	],
	[
		qr/provider 'aws'/ => sub {
			my $answer = sql("SELECT string_agg(check_name || ' ' || status, ', ')"
				  . ' FROM qpsscale_validate(2)');

			# the story of the manual goes on with one group
			like($answer, qr/account fail/, 'AWS: validate says that the keys are missing');
			sql('SELECT qpsscale_delete(2)');
		}
	],
	[
		qr/FROM public\.my_machines;/ => sub {
			my ($output, $sample) = @_;
			my ($head, $row) = sample_rows($sample->{text});

			is((split /\n/, $output)[0], join('|', cells($row)),
				'SQL alone decides what the manual shows');
			is(sql('SELECT wanted FROM public.my_machines'), '5',
				'and the function is called');
			# the story of the manual goes on with one group
			sql("SELECT qpsscale_delete(id) FROM qpsscale.resource_groups"
				  . " WHERE name = 'print'");
		}
	],
	[
		qr/SET qpsscale.enabled = off/ => sub {
			wait_for($node, 'SELECT state FROM qpsscale.stat_worker',
				'disabled', 'the kill switch stops the worker');
			is( sql('SELECT qpsscale_evaluate(1) ->> \'dry_run\''),
				'true', 'and what is evaluated by hand is a dry run');
		}
	],
	[
		qr/RESET qpsscale.enabled/ => sub {
			wait_for($node, "SELECT state <> 'disabled' FROM qpsscale.stat_worker",
				't', 'and the worker goes on when it is switched on again');
		}
	],
	[
		qr/qpsscale_health\(\) ->> 'status'/ => sub {
			my ($output) = @_;

			like($output, qr/^(ok|degraded|down|standby)$/, 'it prints one of four words');
		}
	],
	[
		qr/CREATE ROLE scaling_reader/ => sub {
			is(sqlstate("SET ROLE scaling_reader; TABLE qpsscale.status; TABLE qpsscale.stat_worker; SELECT qpsscale_health(); SELECT * FROM qpsscale_why(1);"),
				'00000', 'a reader can look');
			is(sqlstate("SET ROLE scaling_reader; SELECT qpsscale_evaluate();"),
				'42501', 'and not evaluate');
		}
	],
	[
		qr/CREATE ROLE scaling_operator/ => sub {
			is( sql("SET ROLE scaling_operator; SELECT qpsscale_suspend();"),
				'0', 'an operator suspends no group of others');
			is(sqlstate("SET ROLE scaling_operator; SELECT qpsscale_evaluate(1);"),
				'42501', 'and does not evaluate it');
			my $groups = sql('SELECT count(*) FROM qpsscale.resource_groups');
			my $own = sql("SET ROLE scaling_operator; INSERT INTO qpsscale.resource_groups"
				  . " (name, account, alb_id, asg_id, target_qps)"
				  . " VALUES ('own', 'prod', 'alb-own', 'scg-own', 10) RETURNING id");
			is(sql("SET ROLE scaling_operator; SELECT qpsscale_suspend();"),
				'1', 'but makes a group, and suspends that one');
			sql("SET ROLE scaling_operator; SELECT qpsscale_delete($own)");
			is( sql("SELECT count(*) FROM qpsscale.resource_groups"),
				$groups, 'and removes it');
			is(sqlstate('SET ROLE scaling_operator; SELECT qpsscale_arm();'),
				'42501', 'and does not arm');
		}
	],
	[
		qr/CREATE ROLE scaling_admin/ => sub {
			is(sql("SET ROLE scaling_admin; SELECT qpsscale_suspend(); SELECT qpsscale_resume();"),
				join("\n", (sql('SELECT count(*) FROM qpsscale.resource_groups')) x 2),
				'an admin suspends the groups of others');
			is(sqlstate('SET ROLE scaling_admin; SELECT qpsscale_arm();'),
				'00000', 'and arms');
		}
	],
	[
		qr/qpsscale_revoke\('scaling_reader'\)/ => sub {
			is(sqlstate("SET ROLE scaling_reader; SELECT qpsscale_health();"),
				'42501', 'revoked, the level is gone');
		}
	],
	[
		qr{api /scale/decide} => sub {
			my ($output, $sample) = @_;
			my @said = map { decode_json($_) } $output =~ /^(\{.*\})$/mg;

			is(join(' ', $output =~ /^(\d{3})$/mg),
				join(' ', $sample->{text} =~ /^(\d{3})$/mg),
				'over HTTP the statuses are those that the manual shows');
			# what holds the group at that moment may hold this, too
			like($said[0]{decision_type}, qr/^(scaleup|noaction)$/, 'a what-if is answered');
			is_deeply([ $said[1]{count}, $said[1]{events}[0]{action} ], [ 1, 'ScaleUp' ],
				'the history');
			is(join(' ', @{ $said[2] }{qw(hourly_cost daily_cost monthly_cost instance_type instance_count)}),
				'0.4825 11.58 352.225 ecs.g3i.large 5', 'the estimate');
			is($said[3]{detail}, 'decision 00000000-0000-4000-8000-000000000000 does not exist',
				'and the problem');
		}
	],
	[
		qr/DELETE FROM qpsscale.armed/ => sub {
			is(sql('SELECT qpsscale.is_armed()'), 'f', 'the database is disarmed');
		}
	],
	[
		qr/INSERT INTO qpsscale.resource_groups\n\s+\(id/ => sub {
			is(sql("SELECT id, name, target_qps, dry_run, enabled FROM qpsscale.resource_groups WHERE id = 42"),
				'42|scg-old|80|t|t', 'groups of the first system come over, in dry run');
			is(sql("SELECT last_value FROM qpsscale.resource_groups_id_seq"),
				'42', 'and new ones get higher numbers');
		}
	],
	[
		qr/SET dry_run = l.dry_run/ => sub {
			is(sql("SELECT dry_run FROM qpsscale.resource_groups WHERE id = 42"),
				'f', 'and go live as they were');
		}
	],
	[
		qr/FROM legacy.activities WHERE/ => sub {
			is(sql("SELECT string_agg(concat_ws(' ', status, action, eval_capacity, desired_capacity), ', ' ORDER BY id)"
				  . " FROM qpsscale.activities WHERE resource_group_id = 42 AND reason = 'imported'"),
				'successful scale_up 3 5, failed scale_down 5 4', 'its history comes along');
			is(sql("SELECT count(*) FROM qpsscale.errors WHERE message IN ('timed out', 'gone')"),
				2, 'and its errors');
		}
	],
	[
		qr/FROM scaler.resources;\n\nINSERT/ => sub {
			is(sql("SELECT string_agg(concat_ws(' ', right(uuid::text, 1), name, provider, kind, min_instances, max_instances,"
				  . " target_cpu, target_memory, general_cooldown_seconds, enabled, dry_run), ', ' ORDER BY uuid)"
				  . " FROM qpsscale.resource_groups WHERE uuid IN (SELECT id FROM scaler.resources)"),
				'1 web-fleet aws 2 12 70 80 300 f t, 2 team/api kubernetes Deployment 1 30 65 75 120 f t,'
				  . ' 3 default/mailer kubernetes Deployment 1 5 80 80 60 f t',
				'groups of the second system come over, disabled and in dry run');
			my $history = decode_json(sql(
				"SELECT qpsscale.http_history('{\"resource_id\": \"5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0001\"}')"));
			is_deeply([ map { [ @$_{qw(action previous_instances new_instances success execution_time_ms decision_id)} ] }
					  @{ $history->{events} } ],
				[ [ 'ScaleUp', 2, 4, JSON::PP::true, 412, '5f2e7a51-7d0b-4c35-9c8e-0d7d5e1c0009' ] ],
				'and are asked for by the ids they had');
		}
	],
	[
		qr/AND g.last_validated_at IS NOT NULL/ => sub {
			is(sql("SELECT count(*) FROM qpsscale.resource_groups g JOIN scaler.resources r ON r.id = g.uuid WHERE g.enabled"),
				0, 'what did not pass stays disabled');
		}
	]);

sub run_snippets
{
	my @blocks = blocks($readme);
	my %kept;

	my ($conf) = grep { $_->{language} eq 'conf' } @blocks;
	($node, $cloud) = QpsscaleNode->start(
		extension => 0,
		settings => { settings_of($conf->{text}) });
	prepare();
	for my $i (0 .. $#blocks)
	{
		my $block = $blocks[$i];
		my $output;

		if ($block->{language} eq 'sql') { $output = run_sql($block); }
		elsif ($block->{language} eq 'sh') { $output = run_sh($block); }
		else
		{
			like($block->{language}, qr/^(text|conf|json|yaml)$/,
				"line $block->{line} says how it is meant");
			next;
		}
		foreach my $promise (@promises)
		{
			next if $kept{ $promise->[0] } || $block->{text} !~ $promise->[0];
			$kept{ $promise->[0] } = 1;
			$promise->[1]->($output, $blocks[ $i + 1 ]);
		}
	}
	is(scalar keys %kept, scalar @promises,
		'every promise has been met on the way');
	return;
}

# ---- the lists ----

# Rows of the table whose header begins with the words given, as lists of cells.
sub table
{
	my ($header) = @_;
	my ($body) = $readme =~ /^\| \Q$header\E[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)/m
	  or die "README.md has no table with $header\n";

	return map { s/^\| ?//; s/ ?\|$//; [ split / ?\| ?/, $_, -1 ] }
	  split /\n/, $body;
}

# Words in backticks.
sub quoted
{
	my ($text) = @_;

	return $text =~ /`([^`]+)`/g;
}

sub same_list
{
	my ($said, $true, $what) = @_;
	my %said = map { $_ => 1 } @$said;
	my %true = map { $_ => 1 } @$true;

	is_deeply([ grep { !$said{$_} } sort keys %true ], [], "$what: none is missing");
	is_deeply([ grep { !$true{$_} } sort keys %said ], [], "$what: none is made up");
	return;
}

sub rows
{
	my ($query) = @_;

	return split /\n/, sql($query);
}

# A number with a unit, in that of the setting.
sub in_unit
{
	my ($value, $unit) = @_;

	return $value unless $unit;
	return sql("SELECT pg_size_bytes('$value') / 1024") if $unit eq 'kB';
	return sql("SELECT (extract(epoch FROM interval '$value')"
		  . ($unit eq 'ms' ? ' * 1000' : '') . ')::bigint');
}

sub check_settings
{
	my %true = map { my @c = split /\|/, $_, -1; $c[0] => \@c } rows(
		"SELECT name, unit, boot_val, min_val, max_val FROM pg_settings WHERE name LIKE 'qpsscale.%'");
	my @said = table('setting');

	same_list([ map { quoted($_->[0]) } @said ], [ keys %true ], 'settings');
	foreach my $row (@said)
	{
		my ($name) = quoted($row->[0]);
		my (undef, $unit, $boot, $min, $max) = @{ $true{$name} // next };
		my $default = $row->[1] =~ /`(.*)`/ ? in_unit($1, $unit) : '';

		is($default, $boot, "default of $name");
		next unless $row->[2] =~ /^(.+) \.\. (.+)$/;
		is(in_unit($1, $unit) . '..' . in_unit($2, $unit),
			"$min..$max", "range of $name");
	}
	my @variables = slurp_file('src/pg/settings.c') =~
	  /environment_\w+\("(\w+)"/g;
	same_list([ map { quoted($_->[4] // '') } @said ],
		\@variables, 'environment variables of settings');
	return;
}

sub check_policy
{
	my %true = map { my ($n, $d) = split /\|/, $_, 2; $n => $d } rows(
		"SELECT column_name, column_default FROM information_schema.columns"
		  . " WHERE table_schema = 'qpsscale' AND table_name = 'resource_groups'");
	my @said = table('column');

	same_list([ map { quoted($_->[0]) } @said ],
		[ keys %true ], 'columns of resource_groups');
	check_defaults(\%true, @said);
	check_parts_of_groups();
	return;
}

# Tables of what belongs to a group; nobody writes the columns left out here.
sub check_parts_of_groups
{
	my %of = (signals => 'of a signal', schedules => 'of a schedule');

	foreach my $table (sort keys %of)
	{
		my %true = map { my ($n, $d) = split /\|/, $_, 2; $n => $d } rows(
			"SELECT column_name, column_default FROM information_schema.columns"
			  . " WHERE table_schema = 'qpsscale' AND table_name = '$table'"
			  . " AND NOT column_name = ANY ('{id,created_at,updated_at}')");
		my @said = table($of{$table});

		same_list([ map { quoted($_->[0]) } @said ],
			[ keys %true ], "columns of $table");
		check_defaults(\%true, @said);
	}
	return;
}

sub check_defaults
{
	my ($defaults, @said) = @_;
	my %true = %$defaults;

	foreach my $row (@said)
	{
		my ($name) = quoted($row->[0]);
		my $default = $row->[1] =~ s/`//gr;
		my $true = $true{$name} =~ s/'(.*)'::\w+(\[\])?/$1/r;

		next if $default =~ /^(made|from .*|current user|kept)$/;
		is($row->[1] =~ /^(NULL|required)$/ ? '' : $default,
			$true, "default of $name");
	}
	return;
}

sub check_accounts
{
	my @true;
	my $source = slurp_file('src/pg/accounts.c');

	while ($source =~ /^\t\{"(\w+)", (ForeignServer|UserMapping)RelationId, (\w+)/mg)
	{
		push @true, "$1 of "
		  . ($2 eq 'UserMapping' ? 'user mapping' : 'server')
		  . ($3 eq 'true' ? ', superuser' : '');
	}
	same_list([ map { (quoted($_->[0]))[0] . " of $_->[1]" } table('option') ],
		\@true, 'options of accounts');

	my @chain = slurp_file('src/cloud/credentials.c') =~
	  /"([A-Z]+_[A-Z_]+)"/g;
	my ($said) = $readme =~ /^1\. Variables of the server process: (.*?)^2\./sm;
	same_list([ quoted($said) ], \@chain, 'variables with the default credentials');

	foreach my $name (slurp_file('src/pg/borrowed_aws.c') =~ /"(AWS_[A-Z0-9_]+)"/g)
	{
		like($readme, qr/`$name`/, "$name, which is read, is told");
	}

	my %borrowed = map { $_ => 1 }
	  slurp_file('src/pg/borrowed_credentials.c') =~ /"(BYTEPLUS_\w+)"/g;
	foreach my $name (sort keys %borrowed)
	{
		ok($readme =~ /`$name`/, "the manual knows $name");
	}
	return;
}

sub check_aws_permissions
{
	my ($block) = grep { $_->{language} eq 'json' } blocks($readme);
	my @said = map { ref $_->{Action} ? @{ $_->{Action} } : $_->{Action} }
	  @{ decode_json($block->{text})->{Statement} };
	my @true;

	foreach my $file (glob 'src/cloud/aws*.c')
	{
		my $source = slurp_file($file);

		push @true, ($1 eq 'DescribeTargetGroups' ? 'elasticloadbalancing'
			: 'autoscaling') . ":$1"
		  while $source =~ /"((?:Describe|Set)(?!\w*(?:Response|Result))\w+)"/g;
		push @true, "cloudwatch:$1"
		  while $source =~ /"GraniteServiceVersion\d+\.(\w+)"/g;
	}
	same_list(\@said, \@true, 'permissions at AWS');
	return;
}

sub check_reasons
{
	my ($source) = slurp_file('src/core/reason.c') =~
	  /reasons\[QS_REASON_COUNT\] = \{(.*?)\n\};/s;
	my @true = $source =~ /\] = \{\s*"(\w+)",/g;

	cmp_ok(scalar @true, '>', 30, 'reasons are found in the source');
	same_list([ map { quoted($_->[0]) } table('reason') ], \@true, 'reasons');
	return;
}

sub check_problems
{
	my @true = slurp_file('sql/qpsscale--1.0.0.sql') =~ /problem := '([^']+)'/g;
	my %said = map { $_ => 1 } map { quoted($_->[0]) } table('symptom');

	is_deeply([ grep { !$said{$_} } @true ], [], 'problems: none is missing');
	return;
}

# As the manual writes it: without the types of defaults.
sub check_functions
{
	my @true = rows(
		"SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ')'"
		  . " FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace"
		  . " AND p.proname LIKE 'qpsscale%'");
	s/::\w+(?: precision| with time zone)?(?:\[\])?//g, s/timestamp with time zone/timestamptz/g
	  foreach @true;
	same_list([ map { quoted($_->[0]) } table('function') ], \@true, 'functions');

	my ($said) = $readme =~ /^In schema `qpsscale`: (.*?)\n\n/ms;
	same_list(
		[ grep { /\(\)$/ } quoted($said) ],
		[
			rows("SELECT proname || '()' FROM pg_proc"
				  . " WHERE pronamespace = 'qpsscale'::regnamespace AND prorettype <> 'trigger'::regtype")
		],
		'functions in schema qpsscale');
	return;
}

sub check_relations
{
	same_list(
		[ map { quoted($_->[0]) } table('name') ],
		[
			rows("SELECT 'qpsscale.' || relname FROM pg_class"
				  . " WHERE relnamespace = 'qpsscale'::regnamespace AND relkind IN ('r', 'v')")
		],
		'tables and views');
	my @signals;
	foreach my $file (glob('src/cloud/*.c'))
	{
		my $source = slurp_file($file);
		my ($provider, $list) =
		  $source =~ /^(?:static )?const char \*const (?:qs_)?(\w+)_signals\[\] = \{(.*?)NULL\};/ms
		  or next;

		push @signals, map { "$provider $_" } $list =~ /"(\w+)"/g;
	}
	same_list(\@signals,
		[ rows("SELECT provider || ' ' || name FROM qpsscale.cloud_signals") ],
		'signals of clouds, as each provider lists them');
	my ($check) = rows("SELECT pg_get_constraintdef(oid) FROM pg_constraint"
		  . " WHERE conrelid = 'qpsscale.activities'::regclass AND conname = 'activities_status_check'");
	same_list([ map { quoted($_->[0]) } table('status') ],
		[ $check =~ /'(\w+)'/g ], 'statuses of activities');
	my ($view) = slurp_file('sql/qpsscale--1.0.0.sql') =~
	  /CREATE VIEW qpsscale.status AS(.*?)END AS status/s;
	my ($said) = $readme =~ /^`status` is (.*?)\(not/m;
	same_list([ quoted($said) ],
		[ $view =~ /(?:THEN|ELSE) '([^']+)'/g ], 'words of the view status');
	return;
}

sub check_metrics
{
	my ($families) = slurp_file('sql/qpsscale--1.0.0.sql') =~
	  /WITH family \(name, type, help\) AS \(VALUES\n(.*?)\n\), sample/s;
	my @true = map { s/''/'/gr } map { "$_->[0] $_->[1] $_->[2]" }
	  map { [ /\('(\w+)', '(\w+)', '((?:[^']|'')*)'\)/ ] } split /\n/, $families;

	same_list([ map { (quoted($_->[0]))[0] . " $_->[1] $_->[3]" } table('metric') ],
		\@true, 'metrics');
	return;
}

sub check_alerts
{
	is_deeply(
		[ map { join '|', (quoted($_->[0]))[0], @$_[ 1, 2 ], $_->[3] =~ s/`//gr }
			  table('type') ],
		[
			rows("SELECT type, severity, CASE WHEN lasting THEN 'condition' ELSE 'event' END,"
				  . " description FROM qpsscale.alert_types")
		],
		'types of alerts');
	same_list(
		[ map { quoted($_->[0]) } table('column of webhooks') ],
		[
			rows("SELECT attname FROM pg_attribute WHERE attrelid = 'qpsscale.webhooks'::regclass"
				  . " AND attnum > 0 AND attname NOT IN ('id', 'disabled_reason', 'created_at', 'updated_at')")
		],
		'columns of webhooks');
	return;
}

sub check_results
{
	my $result = decode_json(sql('SELECT qpsscale_evaluate(1, dry_run => true)'));

	same_list(
		[ map { quoted($_->[0]) } table('key') ],
		[ keys %$result, 'cooldown_remaining' ],
		'keys of a result');
	my ($health) = $readme =~ /`qpsscale_health\(\)` \| jsonb \| ([^|]*) \|/;
	same_list([ split /, /, $health ],
		[ rows('SELECT jsonb_object_keys(qpsscale_health())') ],
		'keys of qpsscale_health()');
	return;
}

# Each SQLSTATE that can be had without breaking the server.
sub check_sqlstates
{
	my %raised = (
		'55000' =>
		  "BEGIN; INSERT INTO qpsscale.resource_groups (id, account, alb_id, asg_id, target_qps) VALUES (77, 'prod', 'a', 'b', 1); SELECT qpsscale_evaluate(77);",
		'P0002' => 'SELECT qpsscale_evaluate(4711)',
		'22004' => 'SELECT qpsscale_evaluate(NULL::bigint)',
		'22003' => "SELECT qpsscale_set_capacity(1, 1000, 'too many')",
		'22023' => "SELECT qpsscale_suspend(direction => 'left')",
		'HV00D' => "ALTER SERVER prod OPTIONS (ADD colour 'red')",
		'23505' =>
		  "INSERT INTO qpsscale.resource_groups (account, alb_id, asg_id, target_qps, enabled, dry_run) VALUES ('prod', 'alb-other', 'scg-web', 1, true, false)",
		'42501' => 'SET ROLE scaling_operator; SELECT qpsscale_validate(1)',
		'42704' =>
		  "INSERT INTO qpsscale.resource_groups (account, alb_id, asg_id, target_qps) VALUES ('nobody', 'a', 'b', 1)");
	# raised by a worker that dies, by one that hangs, on a standby
	my @elsewhere = qw(QS001 QS002 QS003 QS004 QS005 QS006 QS007 25006);

	same_list([ map { quoted($_->[0]) } table('SQLSTATE') ],
		[ keys %raised, @elsewhere ], 'SQLSTATEs');
	is(sqlstate($raised{$_}), $_, "$_ is raised as the manual says")
	  foreach sort keys %raised;
	return;
}

# One row of the manual stands for several of the view.
sub check_privileges
{
	my @said;

	foreach my $row (table('level'))
	{
		my ($level) = quoted($row->[0]);
		my ($rights) = quoted($row->[1]);

		push @said, map { "$level: $rights on $_" } quoted($row->[2]);
	}
	same_list(
		\@said,
		[
			rows("SELECT level || ': ' || rights || ' on '"
				  . " || regexp_replace(object, '^(TABLE|FUNCTION) (public\\.)?', '')"
				  . " FROM qpsscale.privileges WHERE level <> 'nobody'")
		],
		'rights of the levels');
	return;
}

# What is said about a database that is to be dropped.
sub check_drop
{
	sql('CREATE DATABASE doomed');
	$node->safe_psql('doomed', 'CREATE EXTENSION qpsscale');
	sql("ALTER SYSTEM SET qpsscale.databases = 'postgres,doomed'");
	sql('SELECT pg_reload_conf()');
	wait_for($node,
		"SELECT state FROM qpsscale.stat_worker WHERE database = 'doomed' AND pid IS NOT NULL",
		'idle', 'a worker serves the database');
	is(sqlstate('DROP DATABASE doomed'),
		'00000', 'a database that a worker serves can be dropped');
	wait_for($node,
		"SELECT state FROM qpsscale.stat_worker WHERE database = 'doomed'",
		'database missing', 'stat_worker then says that it is missing');
	sql('ALTER SYSTEM RESET qpsscale.databases');
	sql('SELECT pg_reload_conf()');
	return;
}

# Headings, as the links to them are written.
sub anchor
{
	my ($heading) = @_;

	$heading = lc $heading =~ s/[^\w\s-]//gr;
	return $heading =~ s/ /-/gr;
}

sub check_links
{
	my $text = $readme =~ s/^```.*?^```//msgr;
	my %anchors = map { anchor($_) => 1 } $text =~ /^#+ (.*)$/mg;

	foreach my $link ($text =~ /\]\(([^)]+)\)/g)
	{
		if ($link =~ /^#(.*)/) { ok($anchors{$1}, "$link is a heading"); }
		else { ok(-e $link, "$link exists"); }
	}
	my ($makefile) = slurp_file('Makefile');
	foreach my $goal (map { map { /^make (\w+)/ } quoted($_->[0]) } table('command'))
	{
		like($makefile, qr/\b$goal\b/, "make $goal");
	}
	return;
}

# What is said outside of the manual: packages and versions.
sub check_packaging
{
	my ($needed) = slurp_file('test/install-packages') =~ /^needed=\((.*?)\)/ms;
	my %said = map { $_ => 1 } map { quoted($_->[0]) } table('package');
	my $meta = decode_json(slurp_file('META.json'));
	my ($version) = slurp_file('qpsscale.control') =~
	  /^default_version\s*=\s*'([^']+)'/m;

	is_deeply([ grep { !$said{$_} && $_ ne 'libc6-dev' } split ' ', $needed ],
		[], 'every package that is installed for the tests has its reason');
	is($meta->{version}, $version, 'META.json is of the version in the control file');
	is($meta->{provides}{qpsscale}{version}, $version, 'and so is what it provides');
	ok(-e $meta->{provides}{qpsscale}{$_}, "the $_ of META.json exists")
	  foreach qw(file docfile);
	return;
}

run_snippets();
check_settings();
check_policy();
check_accounts();
check_aws_permissions();
check_reasons();
check_problems();
check_functions();
check_relations();
check_metrics();
check_alerts();
check_results();
check_sqlstates();
check_privileges();
check_drop();
check_links();
check_packaging();
is($cloud->counters->{signature_failures}, 0, 'every signature was accepted');

done_testing();
