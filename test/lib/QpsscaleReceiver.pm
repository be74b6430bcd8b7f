# QpsscaleReceiver.pm
#
# An endpoint for webhooks (test/cloud/receiver.py), for a TAP test.
#
#   my $receiver = QpsscaleReceiver->start;
#   $receiver->script('/a', answers => [ { status => 500 }, { status => 200 } ],
#       secrets => ['whsec_...']);
#   my @got = $receiver->received('/a');      # decoded, oldest first

package QpsscaleReceiver;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use JSON::PP;
use POSIX qw(:sys_wait_h _exit);
use Time::HiRes qw(sleep);

my %running;
my $owner = $$;

sub start
{
	my ($class) = @_;
	my $program = dirname(abs_path(__FILE__)) . '/../cloud/receiver.py';

	pipe(my $reader, my $writer) or die "pipe: $!\n";
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0)
	{
		# Its streams are its own: prove waits for the end of ours.
		open(STDIN, '<', '/dev/null') or _exit(126);
		open(STDOUT, '>&', $writer) or _exit(126);
		open(STDERR, '>>', '/dev/null') or _exit(126);
		{ no warnings 'exec'; exec {'python3'} 'python3', $program; }
		_exit(127);
	}
	close($writer);
	$running{$pid} = 1;
	my $line = <$reader> // '';
	die "the receiver did not start: $line\n"
	  unless $line =~ /^listening on (\S+)$/;
	return bless {
		pid => $pid,
		url => "http://$1",
		http => HTTP::Tiny->new(
			timeout => 30, keep_alive => 0, proxy => undef, http_proxy => undef)
	}, $class;
}

sub url { return $_[0]->{url} . ($_[1] // ''); }

sub _call
{
	my ($self, $method, $path, $data) = @_;
	my $reply = $self->{http}->request($method, $self->{url} . $path,
		{ defined $data ? (content => encode_json($data)) : () });

	die "receiver: $method $path: $reply->{status} $reply->{content}\n"
	  unless $reply->{status} == 200;
	return $reply->{content};
}

# How a path answers from now on: answers, secrets.
sub script
{
	my ($self, $path, %script) = @_;

	$self->_call('PUT', '/_control', { path => $path, %script });
	return;
}

# What came, at one path or at all.
sub received
{
	my ($self, $path) = @_;

	return grep { !defined $path || $_->{path} eq $path }
	  @{ decode_json($self->_call('GET', '/_received')) };
}

sub _end
{
	my ($pid) = @_;
	local ($?, $!);

	return unless delete $running{$pid};
	kill('TERM', $pid);
	waitpid($pid, 0);
	return;
}

sub DESTROY { my ($self) = @_; _end($self->{pid}) if $owner == $$; return; }

END
{
	# A forked child of the test is not the one to end it.
	if ($owner == $$) { _end($_) foreach keys %running; }
}

1;
