# QpsscaleHttpd.pm
#
# The HTTP server of the extension, for a TAP test.  It logs in as the gateway
# that it makes, and chooses its own port.
#
#   my $httpd = QpsscaleHttpd->start($node);
#   my $token = $httpd->token('operator');           # of a role it makes
#   my $reply = $httpd->post('/scale/decide', { resource_id => 1 }, $token);
#   is($reply->{status}, 200); $reply->{json}{decision_type};

package QpsscaleHttpd;

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use QpsscaleChild;
use Time::HiRes qw(sleep time);

# Options: settings (a hash of the program's own), roles (0: they are there).
sub start
{
	my ($class, $node, %opts) = @_;
	my $log = PostgreSQL::Test::Utils::tempdir() . '/httpd.log';

	$node->safe_psql('postgres', <<'SQL') if $opts{roles} // 1;
CREATE ROLE qpsscale_httpd LOGIN NOINHERIT;
SELECT qpsscale_grant('qpsscale_httpd', 'gateway');
ALTER ROLE qpsscale_httpd SET log_parameter_max_length = 0;
SQL
	local %ENV = (
		%ENV,
		DATABASE_URL => $node->connstr('postgres') . ' user=qpsscale_httpd',
		HOST => '127.0.0.1',
		PORT => 0,
		HTTPD_LOG => $log,
		%{ $opts{settings} // {} });
	my $child = QpsscaleChild->start(
		[ 'sh', '-c', 'exec ./qpsscale-httpd 2>"$HTTPD_LOG"' ], '/dev/null', 0);
	my $self = bless { node => $node, child => $child, log => $log }, $class;
	my $deadline = time() + $QpsscaleChild::START_TIMEOUT;

	until (-e $log && slurp_file($log) =~ m{listening at (http://\S+?)/$}m)
	{
		die "qpsscale-httpd did not start: " . (-e $log ? slurp_file($log) : '')
		  if time() > $deadline;
		sleep 0.02;
	}
	($self->{url}) = slurp_file($log) =~ m{listening at (http://\S+?)/$}m;
	$self->{http} = HTTP::Tiny->new(timeout => 60, keep_alive => 0,
		proxy => undef, http_proxy => undef);
	sleep 0.02 until $self->get('/ready')->{status} == 200 || time() > $deadline;
	return $self;
}

sub url { return $_[0]->{url}; }
sub log { return slurp_file($_[0]->{log}); }
sub pid { return $_[0]->{child}->pid; }
sub stop { return $_[0]->{child}->stop; }

# A token for a role of that level and name, which is made when it is not there.
sub token
{
	my ($self, $level, $role, $more) = @_;

	$role //= "http_$level";
	$more = defined $more ? ", $more" : '';
	return $self->{node}->safe_psql('postgres', <<"SQL");
DO \$\$ BEGIN
	IF to_regrole('$role') IS NULL THEN
		CREATE ROLE $role;
		PERFORM qpsscale_grant('$role', '$level');
		GRANT $role TO qpsscale_httpd;
	END IF;
END \$\$;
SELECT token FROM qpsscale_create_token('$role', 'test'$more)
SQL
}

# Status, headers, content, and json where it is JSON.
sub request
{
	my ($self, $method, $path, $body, $token, $headers) = @_;
	my %options = (headers => { %{ $headers // {} } });

	$options{headers}{Authorization} = "Bearer $token" if defined $token;
	if (defined $body)
	{
		$options{content} = ref $body ? encode_json($body) : $body;
		$options{headers}{'Content-Type'} //= 'application/json';
	}
	my $reply = $self->{http}->request($method, $self->{url} . $path, \%options);

	$reply->{json} = eval { decode_json($reply->{content}) }
	  if ($reply->{headers}{'content-type'} // '') =~ m{^application/(problem\+)?json};
	push @{ $self->{answers} },
	  { method => $method, path => $path, status => $reply->{status},
		type => $reply->{headers}{'content-type'}, json => $reply->{json} };
	return $reply;
}

# What was answered so far, as test/openapi takes it: a line each.
sub answers
{
	my ($self) = @_;

	return join '', map { encode_json($_) . "\n" } @{ $self->{answers} };
}

sub get
{
	my ($self, $path, $token) = @_;

	return $self->request('GET', $path, undef, $token);
}

sub post
{
	my ($self, $path, $body, $token) = @_;

	return $self->request('POST', $path, $body, $token);
}

1;
