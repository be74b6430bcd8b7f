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
use QpsscaleChild;

sub start
{
	my ($class) = @_;
	my $program = dirname(abs_path(__FILE__)) . '/../cloud/receiver.py';

	my $child = QpsscaleChild->start([ 'python3', $program ], '/dev/null');
	my ($address) = $child->line =~ /^listening on (\S+)$/
	  or die 'the receiver did not start: ' . $child->line . "\n";
	return bless {
		child => $child,
		url => "http://$address",
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

1;
