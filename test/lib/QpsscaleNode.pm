# QpsscaleNode.pm
#
# A PostgreSQL server with qpsscale and a pretended cloud, for a TAP test.
#
#   my ($node, $cloud) = QpsscaleNode->start;             # preloaded, armed
#   my $id = add_group($node, $cloud, 'a', desired => 3, target_qps => 50);
#   $cloud->set_traffic('alb-a', { kind => 'constant', qps => 500 });
#   my $result = evaluate($node, $id);                    # decoded jsonb
#   wait_for($node, "SELECT ...", 't', 'what is awaited');
#
# The server ticks every second and asks metrics as often, unless a test says
# otherwise (settings => { 'qpsscale.interval' => '1h' } for a quiet worker).

package QpsscaleNode;

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleCloud;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(add_group evaluate wait_for wait_until status_of activities
  worker_pid add_account aws_alb);

our $WAIT_SECONDS = 60;

my %defaults = (
	'qpsscale.allowed_hosts' => "'127.0.0.1'",
	'qpsscale.interval' => "'1s'",
	'qpsscale.metric_resolution' => "'1s'",
	'qpsscale.sample_backfill' => '0',
	'qpsscale.host_id' => "'test'",
	'max_worker_processes' => '16',
	'log_min_messages' => 'info');

# Options: name, preload (default 1), armed (1), extension (1), cloud (a hash of
# options for the emulator, or an emulator), settings (a hash), init (a list
# for PostgreSQL::Test::Cluster->init).
sub start
{
	my ($class, %opts) = @_;
	my $cloud = $opts{cloud} // {};
	$cloud = QpsscaleCloud->start(%$cloud) if ref $cloud eq 'HASH';
	my $node = PostgreSQL::Test::Cluster->new($opts{name} // 'main');
	my %settings = (%defaults, %{ $opts{settings} // {} });

	$settings{shared_preload_libraries} = "'qpsscale'"
	  if $opts{preload} // 1;
	$node->init(@{ $opts{init} // [] });
	configure($node, %settings);

	# the credentials of accounts made by add_account, and of the default chain
	local $ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
	local $ENV{TEST_SECRET_KEY} = 'EmulatorSecret';
	$node->start;
	return ($node, $cloud) unless $opts{extension} // 1;

	$node->safe_psql('postgres', 'CREATE EXTENSION qpsscale');
	add_account($node, $cloud, 'cloud');
	$node->safe_psql('postgres', 'SELECT qpsscale_arm()')
	  if $opts{armed} // 1;
	return ($node, $cloud);
}

sub configure
{
	my ($node, %settings) = @_;

	$node->append_conf('postgresql.conf', "$_ = $settings{$_}")
	  foreach sort keys %settings;
	return;
}

# Of provider byteplus, unless another is named.
sub add_account
{
	my ($node, $cloud, $name, $provider) = @_;
	my $url = $cloud->url;

	$provider //= 'byteplus';

	$node->safe_psql('postgres', <<SQL);
CREATE SERVER $name FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider '$provider', region 'ap-southeast-1', endpoint '$url');
CREATE USER MAPPING FOR CURRENT_USER SERVER $name
	OPTIONS (access_key_id 'env:TEST_ACCESS_KEY',
			 secret_access_key 'env:TEST_SECRET_KEY');
SQL
	return;
}

# Makes scaling group asg-NAME and load balancer alb-NAME in the cloud and a
# live group for them; returns its id.  Keys of the cloud's group: min, max,
# desired, total, boot_delay, lifecycle ...; all others are columns.  With
# provider => 'aws' the load balancer is aws_alb(NAME), the account "aws".
sub add_group
{
	my ($node, $cloud, $name, %opts) = @_;
	my $provider = $opts{provider} // 'byteplus';
	my $alb_id = $provider eq 'aws' ? aws_alb($name) : "alb-$name";
	my %group = (id => "asg-$name", alb_id => $alb_id, min => 0,
		max => 100, desired => 1);
	my %row = (alb_id => $alb_id, asg_id => "asg-$name",
		region => 'ap-southeast-1', target_qps => 50,
		account => $provider eq 'aws' ? 'aws' : 'cloud',
		enabled => 'true', dry_run => 'false');

	foreach my $key (qw(min max desired total boot_delay drain_delay lifecycle
		suspended_processes))
	{
		$group{$key} = delete $opts{$key} if exists $opts{$key};
	}
	$cloud->put_groups([ \%group ]);
	%row = (%row, %opts);
	my @columns = sort grep { defined $row{$_} } keys %row;

	return $node->safe_psql('postgres',
		'INSERT INTO qpsscale.resource_groups ('
		  . join(', ', @columns) . ') VALUES ('
		  . join(', ', map { "'$row{$_}'" } @columns)
		  . ') RETURNING id');
}

# The end of a load balancer's ARN.
sub aws_alb
{
	my ($name) = @_;

	return "app/$name/50dc6c495c0c9188";
}

# One evaluation, as a hash.
sub evaluate
{
	my ($node, $id, $dry_run) = @_;
	my $argument = $dry_run ? ', dry_run => true' : '';

	return decode_json($node->safe_psql('postgres',
			"SELECT qpsscale_evaluate($id$argument)"));
}

sub status_of
{
	my ($node, $id) = @_;

	return decode_json($node->safe_psql('postgres',
			"SELECT to_jsonb(s) FROM qpsscale.state s WHERE resource_group_id = $id"));
}

# Activities of a group, oldest first, as "status desired".
sub activities
{
	my ($node, $id) = @_;

	return $node->safe_psql('postgres',
		"SELECT status || ' ' || desired_capacity FROM qpsscale.activities"
		  . " WHERE resource_group_id = $id ORDER BY id");
}

sub worker_pid
{
	my ($node, $database) = @_;
	$database //= 'postgres';

	return $node->safe_psql('postgres',
		"SELECT pid FROM qpsscale.stat_worker WHERE database = '$database' AND pid IS NOT NULL");
}

# Polls a condition in Perl.  Says what was last seen when it does not come.
sub wait_until
{
	my ($what, $condition, $seconds) = @_;
	my $deadline = time() + ($seconds // $WAIT_SECONDS);

	while (1)
	{
		return pass($what) if $condition->();
		last if time() > $deadline;
		sleep 0.05;
	}
	return fail($what);
}

# Polls a query until it answers as expected.
sub wait_for
{
	my ($node, $query, $expected, $what, $seconds) = @_;
	my $seen;
	my $came = wait_until($what,
		sub { ($seen = $node->safe_psql('postgres', $query)) eq $expected },
		$seconds);

	diag("last seen: $seen\nexpected: $expected\nquery: $query") unless $came;
	return $came;
}

1;
