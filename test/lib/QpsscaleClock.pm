# QpsscaleClock.pm
#
# A time of day that a test sets, for the server and the cloud that it starts
# meanwhile.  What waits, waits as long as ever.
#
#   my $clock = QpsscaleClock->new($seconds);      # since 1970
#   my ($node, $cloud) = $clock->during(sub { QpsscaleNode->start });
#   $clock->is($seconds);

package QpsscaleClock;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Temp;
use Time::HiRes ();

sub new
{
	my ($class, $seconds) = @_;
	my $self = bless { directory => File::Temp->newdir }, $class;
	my $library = "$self->{directory}/moved_clock.so";
	my @compile = ($ENV{CC} // 'cc', qw(-shared -fPIC -O1 -Wall -Werror -o),
		$library, dirname(abs_path(__FILE__)) . '/moved_clock.c');

	system(@compile) == 0 or die "could not compile: @compile\n";
	$self->{library} = $library;
	$self->is($seconds);
	return $self;
}

# In place, for it is mapped.
sub is
{
	my ($self, $seconds) = @_;
	my $file = "$self->{directory}/moved";

	open my $moved, -e $file ? '+<' : '>', $file or die "$file: $!";
	syswrite $moved, pack('q', int(1e6 * ($seconds - Time::HiRes::time())));
	close $moved or die "$file: $!";
	return;
}

sub during
{
	my ($self, $what) = @_;

	local @ENV{qw(LD_PRELOAD QPSSCALE_TEST_CLOCK)} =
	  ($self->{library}, "$self->{directory}/moved");
	return $what->();
}

1;
