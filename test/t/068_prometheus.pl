# Groups that are driven by a real Prometheus, and what becomes of them when it
# fails in any way: nothing that it does not say shrinks a group.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use QpsscalePrometheus;
use Test::More;

plan skip_all => 'no Prometheus: test/prometheus says why'
  unless QpsscalePrometheus->program;

my $secrets = PostgreSQL::Test::Utils::tempdir;
chmod 0700, $secrets;

my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.interval' => "'1h'",
		'qpsscale.secrets_dir' => "'$secrets'" });
my $exporter = QpsscaleCloud->start;
my $prometheus = QpsscalePrometheus->start(
	targets => [ $exporter->host . ':' . $exporter->port ]);
my $url = $prometheus->url;

sub sql { return $node->safe_psql('postgres', $_[0]); }

# open to all: no mapping
sql(<<SQL);
CREATE SERVER watch FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'prometheus', endpoint '$url');
SQL

# A live group without cooldowns that one series of a query drives.
sub add_driven
{
	my ($name, %opts) = @_;
	my %signal = (account => 'watch', query => 'queue_depth',
		label => 'queue', label_value => $name, target => 50);

	foreach my $key (qw(account query label label_value target max_age_seconds
		empty_means))
	{
		next unless exists $opts{$key};
		my $value = delete $opts{$key};
		if (defined $value) { $signal{$key} = $value; }
		else { delete $signal{$key}; }
	}
	my $id = add_group($node, $cloud, $name, desired => 8, boot_delay => 0,
		alb_id => undef, target_qps => undef, enabled => 'false',
		scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 0,
		general_cooldown_seconds => 0, scale_down_window_seconds => 0,
		suspicious_drop_guard => 'false', %opts);
	my @columns = sort keys %signal;

	sql('INSERT INTO qpsscale.signals (resource_group_id, name, source, '
		  . join(', ', @columns) . ") VALUES ($id, 'queue', 'prometheus', "
		  . join(', ', map { my $v = $signal{$_} =~ s/'/''/gr; "'$v'" } @columns)
		  . ')');
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	return $id;
}

# What the exporter says of some queues, once Prometheus has scraped it.
my %said;

sub say_depths
{
	my (%depths) = @_;

	%said = (%said, %depths);
	delete @said{ grep { !defined $said{$_} } keys %said };
	$exporter->expose(
		map { ("queue_depth{queue=\"$_\"}" => $said{$_}) } keys %said);
	wait_until('Prometheus knows it', sub {
		my $seen = $prometheus->ask('queue_depth');
		return !grep { ($seen->{$_} // 'none') ne ($depths{$_} // 'none') }
		  keys %depths;
	});
	return;
}

sub verdict
{
	my ($result) = @_;

	return join(' ', @$result{qw(action reason desired_capacity)});
}

sub signal_error { return $_[0]->{signals}[0]{error} // ''; }

subtest 'a group grows and shrinks with what Prometheus has scraped' => sub {
	my $id = add_driven('flow', query => 'cloud_requests_per_second',
		label => 'load_balancer', label_value => 'alb-flow');

	foreach my $case ([ 605, 'scale_up dynamic_scaling_scale_up 13' ],
		[ 130, 'scale_down dynamic_scaling_scale_down 3' ])
	{
		my ($qps, $expected) = @$case;

		$exporter->set_traffic('alb-flow', { kind => 'constant', qps => $qps });
		wait_until("Prometheus has seen $qps", sub {
			return ($prometheus->ask('cloud_requests_per_second')->{'alb-flow'}
				  // 0) == $qps;
		});
		my $result = evaluate($node, $id);
		is(verdict($result), $expected, "$qps at 50 each")
		  or diag(encode_json($result));
		wait_until('the action has ended', sub {
			evaluate($node, $id);
			return activities($node, $id) !~ /accepted|requested|unknown/;
		});
	}
	is($cloud->group('asg-flow')->{desired}, 3, 'the cloud was told');
};

subtest 'what is asked, and what cannot be' => sub {
	say_depths(a => 400, b => 100);
	foreach my $case (
		[ 'one', { query => 'sum(queue_depth)', label => undef,
				label_value => undef }, 'scale_up dynamic_scaling_scale_up 10', '' ],
		[ 'scalar', { query => 'scalar(sum(queue_depth)) # a comment',
				label => undef, label_value => undef },
			'scale_up dynamic_scaling_scale_up 10', '' ],
		[ 'many', { label => undef, label_value => undef },
			'none signal_missing 8', qr/several_series: the query gives 2 series/ ],
		[ 'wrong', { query => 'sum(' }, 'none signal_missing 8',
			qr/bad_data: .*parse error/ ],
		[ 'range', { query => 'queue_depth[1m]' }, 'none signal_missing 8',
			qr/not_a_number|bad_data/ ])
	{
		my ($name, $opts, $expected, $error) = @$case;
		my $result = evaluate($node, add_driven($name, %$opts));

		is(verdict($result), $expected, $name) or diag(encode_json($result));
		if (ref $error) { like(signal_error($result), $error, 'and why'); }
		else { is(signal_error($result), '', 'without an error'); }
	}
};

subtest 'a thousand groups are one query a tick' => sub {
	my $n = 1000;

	sql('UPDATE qpsscale.resource_groups SET enabled = false');
	$cloud->put_groups(
		[ map { { id => "asg-g$_", min => 0, max => 100, desired => 1 } } 1 .. $n ]);
	sql(<<SQL);
INSERT INTO qpsscale.resource_groups (name, account, region, asg_id, enabled)
	SELECT 'g' || i, 'cloud', 'ap-southeast-1', 'asg-g' || i, false
	FROM generate_series(1, $n) i;
INSERT INTO qpsscale.signals
	(resource_group_id, name, source, account, query, label, label_value, target)
	SELECT id, 'queue', 'prometheus', 'watch', 'queue_depth', 'queue', name, 100
	FROM qpsscale.resource_groups WHERE name ~ '^g[0-9]+\$';
UPDATE qpsscale.resource_groups SET enabled = true WHERE name ~ '^g[0-9]+\$';
SQL
	$exporter->expose(map { ("queue_depth{queue=\"g$_\"}" => $_) } 1 .. $n);
	wait_until('Prometheus knows all of them', sub {
		return keys %{ $prometheus->ask('queue_depth') } == $n;
	});
	my $before = $prometheus->queries;
	is(sql('SELECT count(*) FROM qpsscale_evaluate(true) e'
			  . " WHERE e ->> 'reason' <> 'signal_missing'"), $n,
		'all have their number');
	is($prometheus->queries - $before, 1, 'by one query');
	is(sql('SELECT count(*) FROM qpsscale.signal_state s'
			  . ' JOIN qpsscale.resource_groups g ON g.id = s.resource_group_id'
			  . " WHERE g.name = 'g' || s.latest_value"), $n, 'each its own');
	sql("UPDATE qpsscale.resource_groups SET enabled = false");
};

subtest 'no series, NaN and infinity never shrink a group' => sub {
	my $id = add_driven('odd');

	foreach my $case ([ undef, '' ], [ 'NaN', '' ], [ '+Inf', qr/infinite/ ],
		[ '-Inf', qr/infinite/ ])
	{
		my ($value, $error) = @$case;
		my $what = $value // 'no series';

		say_depths(odd => 400);
		is(verdict(evaluate($node, $id)), 'none optimal_instance_count_reached 8',
			'eight bear 400');
		say_depths(odd => $value);
		my $result = evaluate($node, $id);
		is(verdict($result), 'none signal_missing 8', "$what: nothing is taken away")
		  or diag(encode_json($result));
		like(signal_error($result), $error, 'and told') if ref $error;
	}
	say_depths(odd => 100);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 2',
		'but a number does');
};

subtest 'where an empty answer means zero, an infinite one does not' => sub {
	my $id = add_driven('zero', empty_means => 'zero', min_instances => 1);

	say_depths(zero => '+Inf');
	is(verdict(evaluate($node, $id)), 'none signal_missing 8', 'infinity holds');
	say_depths(zero => undef);
	is(verdict(evaluate($node, $id)), 'scale_down dynamic_scaling_scale_down 1',
		'no series is zero, as the signal says');
};

subtest 'stopped, stale, restarted and empty: nothing shrinks' => sub {
	my $young = add_driven('young', max_age_seconds => 3);
	my $old = add_driven('old', max_age_seconds => 3);

	say_depths(young => 400, old => 100);
	$prometheus->stop;
	$exporter->stop;
	my $result = evaluate($node, $old);
	is(verdict($result), 'none signal_missing 8', 'stopped: nothing is taken away')
	  or diag(encode_json($result));
	like(signal_error($result), qr/^(?:connect|reset|endpoint_down): /, 'and told');

	# it comes back with what it has stored, and nobody answers its scrapes: it
	# gives the last sample for as long as it looks back
	$prometheus->go;
	wait_until('it gives an old sample', sub {
		return ($prometheus->ask('time() - timestamp(queue_depth)')->{old} // 0) > 4;
	});
	is($prometheus->ask('queue_depth')->{old}, 100, 'as if it were new');
	$result = evaluate($node, $old);
	is(verdict($result), 'none signal_missing 8', 'stale: nothing is taken away')
	  or diag(encode_json($result));
	is($result->{explanation}{exclusions}[0]{why}, 'stale', 'and that is why');
	sql("UPDATE qpsscale.signals SET max_age_seconds = 300 WHERE resource_group_id = $old");
	is(verdict(evaluate($node, $old)), 'scale_down dynamic_scaling_scale_down 2',
		'where five minutes are young enough, it is a number');

	$prometheus->stop;
	$prometheus->forget;
	$prometheus->go;
	is_deeply($prometheus->ask('queue_depth'), {}, 'restarted it knows nothing');
	is(verdict(evaluate($node, $young)), 'none signal_missing 8',
		'empty: nothing is taken away');
	is($cloud->group('asg-young')->{desired}, 8, 'nor has the cloud heard of it');
};

# ---- who is let in ----

sub write_secret
{
	my ($name, $text) = @_;

	open(my $file, '>', "$secrets/$name") or die "$name: $!";
	chmod 0600, "$secrets/$name";
	print $file $text;
	close($file) or die "$name: $!";
	return;
}

sub openssl { system_or_bail('openssl', @_); return; }

my @new_key = ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes');

sub make_authority
{
	openssl('req', '-x509', @new_key, '-days', '2', '-subj', '/CN=authority',
		'-keyout', "$secrets/authority.key", '-out', "$secrets/authority.crt");
	return;
}

sub make_certificate
{
	my ($name) = @_;
	my $base = "$secrets/$name";

	openssl('req', @new_key, '-subj', "/CN=$name", '-keyout', "$base.key",
		'-out', "$base.csr");
	write_secret("$name.ext", "subjectAltName=IP:127.0.0.1\n");
	openssl('x509', '-req', '-in', "$base.csr", '-days', '2', '-CA',
		"$secrets/authority.crt", '-CAkey', "$secrets/authority.key",
		'-CAcreateserial', '-extfile', "$base.ext", '-out', "$base.crt");
	chmod 0600, "$base.crt", "$base.key";
	return;
}

subtest 'a password and a client certificate are shown, and wanted' => sub {
	make_authority();
	make_certificate($_) foreach qw(server client);
	my $hash = crypt('CanaryPassword', '$2b$04$abcdefghijklmnopqrstuu');
	$exporter = QpsscaleCloud->start;
	$exporter->expose('queue_depth{queue="shut"}' => '100');
	my $shut = QpsscalePrometheus->start(
		targets => [ $exporter->host . ':' . $exporter->port ],
		web => <<YAML);
tls_server_config:
  cert_file: $secrets/server.crt
  key_file: $secrets/server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: $secrets/authority.crt
basic_auth_users: {scaler: '$hash'}
YAML
	my $guarded = $shut->url;

	write_secret('password', 'CanaryPassword');
	write_secret('wrong', 'CanaryMistake');
	sql(<<SQL);
CREATE SERVER guarded FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'prometheus', endpoint '$guarded',
			 ca_file '$secrets/authority.crt');
CREATE USER MAPPING FOR CURRENT_USER SERVER guarded
	OPTIONS (username 'scaler', password 'file:password');
SQL
	my $id = add_driven('shut', account => 'guarded');
	like(signal_error(evaluate($node, $id)), qr/^(?:tls|reset): /,
		'without a certificate nobody is heard');
	sql(<<SQL);
ALTER USER MAPPING FOR CURRENT_USER SERVER guarded OPTIONS
	(ADD client_certificate 'file:client.crt', ADD client_key 'file:client.key',
	 SET password 'file:wrong');
SQL
	my $result = evaluate($node, $id);
	like(signal_error($result), qr/^HTTP401: credentials are wanted/,
		'a wrong password is refused');
	is(verdict($result), 'none signal_missing 8', 'and shrinks nothing');
	sql("ALTER USER MAPPING FOR CURRENT_USER SERVER guarded OPTIONS (SET password 'file:password')");
	my $seen;
	wait_until('both are shown: it answers', sub {
		$seen = evaluate($node, $id);
		return $seen->{action} eq 'scale_down';
	}) or diag(encode_json($seen));
	unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/Canary/,
		'no password in the log');
};

done_testing();
