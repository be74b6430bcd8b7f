# QpsscaleChild.pm
#
# A program that a TAP test starts beside the server, which prints one line
# when it serves: the cloud emulator, a receiver of webhooks, a cluster.  It
# ends with the test, however the test ends.
#
#   my $child = QpsscaleChild->start([ 'python3', $program ], '/dev/null');
#   like($child->line, qr/^listening on/, 'it serves');
#   $child->stop;

package QpsscaleChild;

use strict;
use warnings;

use IO::Select;
use POSIX qw(WNOHANG _exit);
use Time::HiRes qw(sleep time);

our $START_TIMEOUT = 30;    # seconds; a loaded machine starts Python slowly

my $owner = $$;
my %running;                # pid => 1, for END

# A command as a list, a file for its complaints, and how long its first line
# may take.
sub start
{
	my ($class, $command, $stderr, $seconds) = @_;

	pipe(my $reader, my $writer) or die "pipe: $!\n";
	my $pid = fork() // die "fork: $!\n";
	if ($pid == 0)
	{
		# Its streams are its own: prove waits for the end of ours.
		open(STDIN, '<', '/dev/null') or _exit(126);
		open(STDOUT, '>&', $writer) or _exit(126);
		open(STDERR, '>>', $stderr) or _exit(126);
		{ no warnings 'exec'; exec { $command->[0] } @$command; }
		_exit(127);
	}
	close($writer);
	$running{$pid} = 1;

	my $self = bless { pid => $pid, owner => $$ }, $class;
	$self->{line} = _first_line($reader, $seconds // $START_TIMEOUT);
	close($reader);
	return $self;
}

# The first line of output, or what there is of it in time.
sub _first_line
{
	my ($reader, $seconds) = @_;
	my $deadline = time() + $seconds;
	my $select = IO::Select->new($reader);
	my $text = '';

	while ($text !~ /\n/ && time() < $deadline)
	{
		next unless $select->can_read(0.2);
		my $got = sysread($reader, $text, 4096, length($text));
		last unless $got;
	}
	$text =~ s/\n.*//s;
	return $text;
}

sub pid { return $_[0]->{pid}; }
sub line { return $_[0]->{line}; }

# Ends it; harmless when it has ended.  Keeps $? as it was.
sub stop
{
	my ($self) = @_;
	my $pid = delete $self->{pid};

	return unless defined $pid && $self->{owner} == $$;
	_end($pid);
	return;
}

sub _end
{
	my ($pid) = @_;
	local ($?, $!);

	return unless delete $running{$pid};
	kill('TERM', $pid);
	for (1 .. 100)
	{
		return if waitpid($pid, WNOHANG) != 0;
		sleep(0.05);
	}
	kill('KILL', $pid);
	waitpid($pid, 0);
	return;
}

sub DESTROY
{
	my ($self) = @_;
	$self->stop;
	return;
}

END
{
	# A forked child of the test is not the one to end it.
	if ($owner == $$) { _end($_) foreach keys %running; }
}

1;
