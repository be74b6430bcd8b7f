# What comes between the steps of a cycle: reloads, operators, lost standbys,
# clocks that were set back, held rows, databases that are not UTF-8.

use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleNode;
use Test::More;

# No resident worker until the last test asks for one.
my ($node, $cloud) = QpsscaleNode->start(
	cloud => { boot_delay => 0 },
	init => [ allows_streaming => 1 ],
	settings => {
		'qpsscale.databases' => "''",
		'qpsscale.region' => "'ap-southeast-1'",
		'qpsscale.request_timeout' => "'4s'",
		'qpsscale.cycle_deadline' => "'10s'"
	});

my %at_once = (
	scale_up_cooldown_seconds => 0,
	scale_down_cooldown_seconds => 0,
	general_cooldown_seconds => 0,
	scale_down_window_seconds => 0,
	suspicious_drop_guard => 'false');

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A group of two instances whose load takes six.
sub busy_group
{
	my ($name, %options) = @_;
	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => 300 });
	return add_group($node, $cloud, $name, %at_once, desired => 2, %options);
}

sub desired { return $cloud->group("asg-$_[0]")->{desired}; }

sub setting
{
	my ($name, $value) = @_;
	sql(defined $value ? "ALTER SYSTEM SET $name = '$value'"
		: "ALTER SYSTEM RESET $name");
	sql('SELECT pg_reload_conf()');
	wait_for($node, "SELECT current_setting('$name')", $value,
		"$name is $value") if defined $value;
	return;
}

# A statement that runs while the test goes on; finish() gives its output.
sub begin
{
	my ($statement) = @_;
	open(my $out, '-|', 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
		$node->connstr('postgres'), '-c', $statement)
	  or die "psql: $!\n";
	return $out;
}

sub finish
{
	my ($out) = @_;
	my $text = join('', <$out>);

	close($out);
	chomp $text;
	return $text;
}

sub log_position { return $cloud->control('GET', 'log?limit=1')->{last}; }

sub under_way
{
	my ($action) = @_;
	return wait_until("$action is under way",
		sub { ($cloud->counters->{actions}{$action}{in_flight} // 0) > 0 });
}

sub slow
{
	my ($action) = @_;
	$cloud->fault({ kind => 'delay', times => 1, params => { ms => 1500 },
			match => { action => $action } });
	return;
}

subtest 'a reload during a cycle takes no text away from it' => sub {
	my $url = $cloud->url;

	sql(<<SQL);
CREATE SERVER regionless FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'byteplus', endpoint '$url');
CREATE USER MAPPING FOR CURRENT_USER SERVER regionless
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY',
			 secret_access_key 'env:TEST_SECRET_KEY');
SQL
	my $id = busy_group('reload', account => 'regionless', region => undef);

	slow('DescribeScalingGroups');
	my $validation = begin("SELECT detail FROM qpsscale_validate($id)"
		  . " WHERE check_name = 'account'");
	under_way('DescribeScalingGroups');
	setting('qpsscale.region', 'eu-west-1');
	is(finish($validation),
		'credentials of regionless found, region ap-southeast-1',
		'the region is the one that was asked');
	sql("ALTER SYSTEM RESET qpsscale.region"); sql("SELECT pg_reload_conf()");
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

subtest 'a cancelled wait for a standby means no call, whatever synchronous_commit is' => sub {
	my $id = busy_group('standby');
	my $since = log_position();
	my $waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	  . " AND backend_type = 'qpsscale one-shot worker'";

	setting('synchronous_commit', 'local');
	setting('synchronous_standby_names', 'nobody');
	my $evaluation = begin("SELECT qpsscale_evaluate($id)");
	wait_for($node, "SELECT count(*) FROM ($waiting) w", '1',
		'the intent waits for the standby');
	sql("SELECT pg_cancel_backend(pid) FROM ($waiting) w");
	my $result = decode_json(finish($evaluation));
	is($result->{execution_result}{status}, 'requested', 'it remains an intent')
	  or diag(explain($result));
	is(scalar(@{ $cloud->log($since, 'ModifyScalingGroup') }), 0, 'no call');
	setting('synchronous_standby_names', '');
	setting('synchronous_commit', 'on');
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

subtest 'a suspension that comes during a cycle holds, also over one that has ended' => sub {
	my $id = busy_group('suspended');
	my $since = log_position();

	sql("UPDATE qpsscale.state SET suspended = true,"
		  . " suspended_until = now() - '1 hour'::interval"
		  . " WHERE resource_group_id = $id");
	slow('DescribeScalingActivities');
	my $evaluation = begin("SELECT qpsscale_evaluate($id)");
	under_way('DescribeScalingActivities');
	sql("SELECT qpsscale_suspend($id)");
	my $result = decode_json(finish($evaluation));
	is("$result->{action} $result->{reason}", 'none policy_changed',
		'the group does not act');
	is(scalar(@{ $cloud->log($since, 'ModifyScalingGroup') }), 0, 'no call');
	is(evaluate($node, $id)->{reason}, 'suspended', 'then it is suspended');
	sql("SELECT qpsscale_resume($id)");
	sql("SELECT qpsscale_suspend($id, 'down', 'infinity')");
	is(evaluate($node, $id)->{action}, 'scale_up',
		'a suspension of one direction without end does not hold the other');
};

subtest 'a database that is disarmed during a cycle does not act' => sub {
	my $id = busy_group('disarmed');
	my $since = log_position();

	slow('DescribeScalingActivities');
	my $evaluation = begin("SELECT qpsscale_evaluate($id)");
	under_way('DescribeScalingActivities');
	sql('DELETE FROM qpsscale.armed');
	my $result = decode_json(finish($evaluation));
	is("$result->{action} $result->{reason}", 'none policy_changed',
		'the group does not act');
	is(scalar(@{ $cloud->log($since, 'ModifyScalingGroup') }), 0, 'no call');
	is(evaluate($node, $id)->{reason}, 'not_armed', 'then it is not armed');
	sql('SELECT qpsscale_arm()');
	sql("UPDATE qpsscale.resource_groups SET enabled = false WHERE id = $id");
};

subtest 'a time of the future does not hold a group until then' => sub {
	my $id = busy_group('clock');

	sql("UPDATE qpsscale.state SET last_action_at = now() + '1 year'::interval,"
		  . " last_scale_up_at = now() + '1 year'::interval"
		  . " WHERE resource_group_id = $id");
	sql("UPDATE qpsscale.resource_groups SET general_cooldown_seconds = 2,"
		  . " scale_up_cooldown_seconds = 2 WHERE id = $id");
	is(evaluate($node, $id)->{reason}, 'cooldown_general',
		'it is taken for now');
	wait_until('after one cooldown the group grows',
		sub { evaluate($node, $id)->{action} eq 'scale_up' }, 20);

	my $idle = busy_group('idle', desired => 6);
	evaluate($node, $idle);
	is( sql("SELECT num_nulls(last_action_at, last_scale_up_at,"
			  . " last_scale_down_at) FROM qpsscale.state"
			  . " WHERE resource_group_id = $idle"),
		'3', 'what has not happened has no time');

	my $lost = busy_group('lost');
	sql("INSERT INTO qpsscale.activities (resource_group_id, activity_key,"
		  . " requested_at, action, delta, desired_capacity, status, reason,"
		  . " eval_capacity, policy_version)"
		  . " VALUES ($lost, 'lost', now() + '1 year'::interval, 'scale_up',"
		  . " 3, 5, 'unknown', 'test', 2, 1)");
	is(evaluate($node, $lost)->{action}, 'scale_up',
		'an intent of the future is not waited for');
	is(activities($node, $lost), "failed 5\naccepted 6", 'its end is recorded');
};

subtest 'a call that waited for its turn is given as long as any other to arrive' => sub {
	my $id = busy_group('turn');
	my $since = log_position();

	setting('qpsscale.request_timeout', '1s');
	$cloud->fault(
		{ kind => 'status', times => 1,
			params => { status => 429, code => 'FlowLimitExceeded',
				retry_after => 2 },
			match => { action => 'ModifyScalingGroup' } },
		{ kind => 'hang', times => 1,
			match => { action => 'ModifyScalingGroup' } });
	is(evaluate($node, $id)->{execution_result}{status}, 'unknown',
		'the second attempt, two seconds after the intent, is not answered');
	is(evaluate($node, $id)->{reason}, 'activity_in_flight',
		'a moment later it may still be on its way');
	is(scalar(@{ $cloud->log($since, 'ModifyScalingGroup') }), 2,
		'so nothing else is sent');
	wait_until('in the end the group gets there',
		sub { evaluate($node, $id); desired('turn') == 6 }, 30);
	setting('qpsscale.request_timeout', '4s');
};

subtest 'a call that never had its turn is no failure of its group' => sub {
	my %id = map { $_ => busy_group("turn-$_") } qw(first second);

	# One call at a time, and the first write takes all the time there is.
	setting('qpsscale.max_in_flight', '1');
	setting('qpsscale.cycle_deadline', '3s');
	$cloud->fault({ kind => 'hang', times => 1,
			match => { action => 'ModifyScalingGroup' } });
	sql('SELECT qpsscale_evaluate()');
	is( sql("SELECT string_agg(status, ' ' ORDER BY status)"
			  . ' FROM qpsscale.activities WHERE resource_group_id IN ('
			  . join(', ', values %id) . ')'),
		'failed unknown', 'one waits for its answer, one was not sent');
	is( sql("SELECT string_agg(consecutive_errors || '', ' ' ORDER BY"
			  . ' consecutive_errors) FROM qpsscale.state'
			  . ' WHERE resource_group_id IN (' . join(', ', values %id) . ')'),
		'0 1', 'the breaker counts the one that was');
	setting('qpsscale.max_in_flight', '64');
	setting('qpsscale.cycle_deadline', '10s');
	sql('UPDATE qpsscale.resource_groups SET enabled = false');
};

subtest 'what was done is told, also where it could not be recorded' => sub {
	my $id = busy_group('held');

	slow('ModifyScalingGroup');
	my $evaluation = begin("SELECT qpsscale_evaluate($id)");
	under_way('ModifyScalingGroup');
	my $holder = begin("BEGIN; SELECT FROM qpsscale.state"
		  . " WHERE resource_group_id = $id FOR UPDATE; SELECT pg_sleep(60)");
	my $result = decode_json(finish($evaluation));
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		  . " WHERE query LIKE 'BEGIN; SELECT FROM qpsscale.state%'");
	finish($holder);
	is($result->{action}, 'scale_up', 'the action is told');
	is($result->{execution_result}{status}, 'accepted', 'and its outcome');
	like($result->{error}, qr/lock timeout/, 'and what went wrong after it');
	is(desired('held'), 6, 'the cloud was told');
	evaluate($node, $id);
	like(activities($node, $id), qr/^(accepted|successful) 6$/,
		'the next evaluation reads it back');
};

subtest 'an endpoint that is refused is not a group that is not found' => sub {
	my $url = $cloud->url;
	(my $refused = $url) =~ s/127\.0\.0\.1/localhost/;

	sql(<<SQL);
CREATE SERVER refused FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'byteplus', region 'ap-southeast-1',
			 autoscaling_endpoint '$url', monitor_endpoint '$refused');
CREATE USER MAPPING FOR CURRENT_USER SERVER refused
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY',
			 secret_access_key 'env:TEST_SECRET_KEY');
SQL
	my $result = evaluate($node, busy_group('refused', account => 'refused'));
	like($result->{error}, qr/url_refused/, 'the error is that of the load');
	is($result->{current_desired}, 2, 'the capacity is known');
};

subtest 'a table that takes no row does not flood the log' => sub {
	sql('UPDATE qpsscale.resource_groups SET enabled = false');
	sql("INSERT INTO qpsscale.resource_groups (alb_id, asg_id, account,"
		  . " target_qps, enabled) SELECT 'alb-many', 'asg-many-' || i, 'cloud',"
		  . " 50, true FROM generate_series(1, 100) i");
	sql('ALTER TABLE qpsscale.evaluations'
		  . ' ADD CONSTRAINT broken CHECK (false) NOT VALID');
	my $from = -s $node->logfile;
	is(sql("SELECT count(*) FROM qpsscale_evaluate() r"
			  . " WHERE r ->> 'error' LIKE '%broken%'"), '100',
		'each group says what is wrong');
	my $log = substr(slurp_file($node->logfile), $from);
	my $lines = () = $log =~ /could not be written/g;
	is($lines, 5, 'the log names a few');
	like($log, qr/could not write 95 more/, 'and counts the rest');
	sql('ALTER TABLE qpsscale.evaluations DROP CONSTRAINT broken');
	sql('DELETE FROM qpsscale.resource_groups WHERE NOT enabled'
		  . " OR asg_id LIKE 'asg-many-%'");
};

foreach my $encoding (qw(WIN1252 EUC_JP SQL_ASCII LATIN1))
{
	subtest "text of a cloud in a database in $encoding" => sub {
		my $database = lc $encoding;
		my $url = $cloud->url;

		sql("CREATE DATABASE $database ENCODING '$encoding' TEMPLATE template0"
			  . " LC_COLLATE 'C' LC_CTYPE 'C'");
		$cloud->put_groups([ { id => "asg-$database", desired => 2 } ]);
		my $id = $node->safe_psql($database, <<SQL);
CREATE EXTENSION qpsscale;
CREATE SERVER cloud FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'byteplus', region 'ap-southeast-1', endpoint '$url');
CREATE USER MAPPING FOR CURRENT_USER SERVER cloud
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY',
			 secret_access_key 'env:TEST_SECRET_KEY');
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, account, target_qps, enabled)
VALUES ('alb-$database', 'asg-$database', 'cloud', 50, true) RETURNING id;
SQL
		$cloud->fault({ kind => 'status', times => 2,
				params => { status => 403, code => 'AccessDenied',
					message => "key \x{4e0d}\x{6b63}\x{fc}" },
				match => { action => 'DescribeScalingGroups' } });
		my $seen = $encoding eq 'SQL_ASCII' ? qr/key / : qr/key \?\?\?/;
		my ($rc, $out, $err) = $node->psql($database,
			"SET client_encoding = 'UTF8';"
			  . " SELECT qpsscale_evaluate($id) ->> 'error'");
		is($rc, 0, 'the evaluation answers') or diag($err);
		like($out, $seen, 'with the error');
		($rc, $out, $err) = $node->psql($database,
			"SET client_encoding = 'UTF8';"
			  . ' SELECT last_error FROM qpsscale.state');
		is($rc, 0, 'which was recorded so that it can be read') or diag($err);
		like($out, $seen, 'by any client');
		($rc, $out, $err) = $node->psql($database,
			"SET client_encoding = 'UTF8';"
			  . " SELECT detail FROM qpsscale_validate($id)");
		is($rc, 0, 'a validation answers too') or diag($err);
	};
}

subtest 'old history that somebody holds costs nobody a cycle' => sub {
	sql("INSERT INTO qpsscale.errors (source, message, occurred_at)"
		  . " VALUES ('test', 'old', now() - '1 year'::interval)");
	my $holder = begin("BEGIN; SELECT FROM qpsscale.errors"
		  . " WHERE message = 'old' FOR UPDATE; SELECT pg_sleep(60)");
	wait_for($node, "SELECT count(*) FROM pg_stat_activity"
		  . " WHERE query LIKE 'BEGIN; SELECT FROM qpsscale.errors%'"
		  . " AND wait_event = 'PgSleep'", '1', 'a row is held');
	my $from = -s $node->logfile;
	setting('qpsscale.databases', 'postgres');
	wait_for($node, 'SELECT ticks >= 1 FROM qpsscale.stat_worker', 't',
		'the worker has ticked');
	my $log = substr(slurp_file($node->logfile), $from);
	unlike($log, qr/could not read the groups/, 'its first tick read the groups');
	like($log, qr/could not delete old history: .*lock timeout/,
		'and the log says what could not be done');
	sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
		  . " WHERE query LIKE 'BEGIN; SELECT FROM qpsscale.errors%'");
	finish($holder);
};

$node->stop;
done_testing();
