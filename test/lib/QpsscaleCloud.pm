# QpsscaleCloud.pm
#
# Starts the cloud emulator for a TAP test, drives it through its control API
# and ends it with the test, however the test ends.
#
#   my $cloud = QpsscaleCloud->start(boot_delay => 1);
#   $cloud->put_groups([ { id => 'scg-a', desired => 3, alb_id => 'alb-a' } ]);
#   $cloud->set_traffic('alb-a', { kind => 'constant', qps => 500 });
#   $cloud->fault({ kind => 'hang', match => { action => 'GetMetricData' } });
#   is($cloud->counters->{modify_applied}, 1, 'one write');
#
# A refused control call dies with the emulator's reason.

package QpsscaleCloud;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use QpsscaleChild;

# Options that are passed on to the emulator as --name VALUE.
my @OPTIONS = qw(port bind tls_cert tls_key client_ca access_key secret_key
  session_token boot_delay latency_ms compress load log seed);

# Starts an emulator.  Beside its options: python, emulator (paths), stderr
# (a file for its complaints, default tmp_check/log/cloud_PID.log when that
# directory exists, else nothing).
sub start
{
	my ($class, %opts) = @_;
	my $python = delete $opts{python} // $ENV{PYTHON} // 'python3';
	my $emulator = delete $opts{emulator}
	  // dirname(abs_path(__FILE__)) . '/../cloud/emulator.py';
	my $stderr = delete $opts{stderr};
	my $tls = defined $opts{tls_cert};
	my @command = ($python, $emulator, '--exit-with-parent');

	foreach my $name (@OPTIONS)
	{
		my $value = delete $opts{$name};
		next unless defined $value;
		(my $option = $name) =~ tr/_/-/;
		push @command, "--$option", $value;
	}
	die 'unknown option ' . join(', ', sort keys %opts) . "\n" if %opts;

	if (!defined $stderr)
	{
		my $dir = $ENV{TESTLOGDIR} // 'tmp_check/log';
		$stderr = -d $dir ? "$dir/cloud_$$.log" : '/dev/null';
	}

	my $self = bless {
		child => QpsscaleChild->start(\@command, $stderr),
		stderr => $stderr,
		python => $python,
		control => dirname($emulator) . '/control.py'
	}, $class;
	my $line = $self->{child}->line;
	if ($line !~ /^listening on (\S+):(\d+)$/)
	{
		$self->stop;
		die "the cloud emulator did not start (see $stderr): $line\n";
	}
	$self->{host} = $1;
	$self->{port} = $2;
	$self->{scheme} = $tls ? 'https' : 'http';
	$self->{http} = HTTP::Tiny->new(
		timeout => 30,
		keep_alive => 0,
		no_proxy => $self->{host},
		proxy => undef,
		http_proxy => undef,
		https_proxy => undef,
		verify_SSL => 0);
	$self->{json} = JSON::PP->new->utf8->canonical->allow_nonref;
	return $self;
}

sub host { return $_[0]->{host}; }
sub port { return $_[0]->{port}; }
sub pid { return $_[0]->{child}->pid; }

# Where the product finds its cloud; also the base of webhook_url.
sub url
{
	my ($self) = @_;
	return "$self->{scheme}://$self->{host}:$self->{port}";
}

sub webhook_url { return $_[0]->url . '/_emulator/webhook'; }

# One control call; returns the decoded answer, dies when it was refused.
sub control
{
	my ($self, $method, $path, $data) = @_;
	return $self->_control_by_python($method, $path, $data)
	  if $self->{scheme} eq 'https';

	my %request = (headers => { 'Content-Type' => 'application/json' });

	$request{content} = $self->{json}->encode($data) if defined $data;
	my $reply = $self->{http}
	  ->request($method, $self->url . "/_emulator/$path", \%request);
	die "cloud emulator: $method $path: $reply->{status} $reply->{content}\n"
	  unless $reply->{status} == 200;
	return $self->{json}->decode($reply->{content});
}

# HTTP::Tiny speaks TLS only with modules that need not be installed.
sub _control_by_python
{
	my ($self, $method, $path, $data) = @_;
	my @command = ($self->{python}, $self->{control}, $self->url, $method,
		$path);

	if (defined $data)
	{
		my $file = File::Temp->new;
		print $file $self->{json}->encode($data);
		$file->flush;
		push @command, '@' . $file->filename;
		return $self->_read_json($file, @command);
	}
	return $self->_read_json(undef, @command);
}

# The JSON that a command prints; $file only has to live until it has read it.
sub _read_json
{
	my ($self, $file, @command) = @_;

	open(my $out, '-|', @command) or die "$command[0]: $!\n";
	my $text = do { local $/; <$out> };
	close($out) or die "cloud emulator: @command[3, 4] was refused\n";
	return $self->{json}->decode($text);
}

sub _escape
{
	my ($text) = @_;
	utf8::encode($text);
	$text =~ s/([^A-Za-z0-9\-_.~])/sprintf('%%%02X', ord($1))/ge;
	return $text;
}

# Creates or replaces groups.
sub put_groups
{
	my ($self, $groups) = @_;
	return $self->control('PUT', 'groups', $groups);
}

# The truth about a group.
sub group
{
	my ($self, $id) = @_;
	return $self->control('GET', 'groups/' . _escape($id));
}

# A change that somebody else makes: desired, min, max or a setting.
sub patch_group
{
	my ($self, $id, $patch) = @_;
	return $self->control('PATCH', 'groups/' . _escape($id), $patch);
}

sub delete_group
{
	my ($self, $id) = @_;
	return $self->control('DELETE', 'groups/' . _escape($id));
}

# The load of one load balancer; undef forgets it.
sub set_traffic
{
	my ($self, $alb_id, $script) = @_;
	return $self->control('PUT', 'traffic', { $alb_id => $script });
}

# What it says at /metrics beside its load: 'name{labels}' => value as text.
sub expose
{
	my ($self, %metrics) = @_;
	return $self->control('PUT', 'metrics',
		{ map { $_ => "$metrics{$_}" } keys %metrics });
}

# Orders one or more faults.
sub fault
{
	my ($self, @faults) = @_;
	return $self->control('POST', 'faults', \@faults);
}

sub clear_faults { return $_[0]->control('DELETE', 'faults'); }
sub counters { return $_[0]->control('GET', 'counters'); }
sub reset { return $_[0]->control('POST', 'reset'); }

# Empties log and counters, leaves groups, traffic and faults.
sub reset_log
{
	return $_[0]->control('POST', 'reset', { what => ['log'] });
}

# Log entries after a sequence number, of one action when it is given.
sub log
{
	my ($self, $since, $action) = @_;
	my $path = 'log?since=' . ($since // 0);
	$path .= '&action=' . _escape($action) if defined $action;
	return $self->control('GET', $path)->{entries};
}

# POSTs that arrived at webhook_url.
sub webhooks { return $_[0]->control('GET', 'webhook')->{entries}; }

# A call to the cluster of Kubernetes; see cloud/kubernetes_control.py.
sub kubernetes
{
	my ($self, $method, $path, $data) = @_;
	return $self->control($method, "kubernetes/$path", $data);
}

sub set_clock
{
	my ($self, %wanted) = @_;
	# Numbers, also where the caller had strings.
	return $self->control('POST', 'clock',
		{ map { $_ => $wanted{$_} + 0 } keys %wanted });
}

sub set_options
{
	my ($self, %wanted) = @_;
	return $self->control('POST', 'options', \%wanted);
}

# Settings of the metadata service and the STS: lifetime, roles, revoke ...
sub set_identity
{
	my ($self, %wanted) = @_;
	return $self->control('PUT', 'identity', \%wanted);
}

# Ends the emulator; harmless when it has ended.
sub stop
{
	my ($self) = @_;
	$self->{child}->stop;
	return;
}

1;
