# QpsscalePrometheus.pm
#
# A real Prometheus on the loopback interface, for a TAP test; where its
# program is says QPSSCALE_PROMETHEUS (test/prometheus finds it).
#
#   plan skip_all => '...' unless QpsscalePrometheus->program;
#   my $prometheus = QpsscalePrometheus->start(targets => ['127.0.0.1:1234']);
#   $prometheus->ask('up');             # { labels as text => value }
#   $prometheus->stop; $prometheus->go; # again, with what it has stored
#   $prometheus->queries;               # how many it has answered
#
# It scrapes each second and serves below /prefix.

package QpsscalePrometheus;

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP;
use QpsscaleChild;
use Time::HiRes qw(sleep time);

our $START_TIMEOUT = 60;

my $count = 0;

sub program
{
	my $program = $ENV{QPSSCALE_PROMETHEUS};

	return defined $program && -x $program ? $program : undef;
}

# Options: targets (of its scrapes), token (a bearer token for them), web (text of a --web.config.file).
sub start
{
	my ($class, %opts) = @_;
	my $base = ($ENV{TESTDATADIR} // 'tmp_check')
	  . "/prometheus_${$}_" . ++$count;
	my $targets = join(', ', map { "'$_'" } @{ $opts{targets} // [] });
	my $self = bless {
		base => $base,
		log => ($ENV{TESTLOGDIR} // 'tmp_check/log') . "/prometheus_${$}_$count.log",
		scheme => ($opts{web} // '') =~ /tls_server_config/ ? 'https' : 'http',
		port => 0,
		http => HTTP::Tiny->new(
			timeout => 30, keep_alive => 0, proxy => undef, http_proxy => undef)
	}, $class;

	my $authorization =
	  defined $opts{token} ? "  authorization: {credentials: '$opts{token}'}" : '';

	mkdir $base or die "$base: $!\n";
	_write("$base/prometheus.yml", <<YAML);
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: tests
  static_configs: [{targets: [$targets]}]
$authorization
YAML
	_write("$base/web.yml", $opts{web}) if defined $opts{web};
	$self->{web} = "$base/web.yml" if defined $opts{web};
	$self->go;
	return $self;
}

sub _write
{
	my ($path, $text) = @_;

	open(my $file, '>', $path) or die "$path: $!\n";
	print $file $text;
	close($file) or die "$path: $!\n";
	return;
}

# Starts it, again at the port that it had.
sub go
{
	my ($self) = @_;
	my @command = (program(), "--config.file=$self->{base}/prometheus.yml",
		"--storage.tsdb.path=$self->{base}/data",
		"--web.listen-address=127.0.0.1:$self->{port}",
		'--web.route-prefix=/prefix');
	my $deadline = time() + $START_TIMEOUT;
	my $text = '';

	push @command, "--web.config.file=$self->{web}" if $self->{web};
	unlink $self->{log};
	# it says nothing where a child is listened to
	$self->{child} = QpsscaleChild->start(\@command, $self->{log}, 0);
	my $listening = qr/msg="Listening on" address=127\.0\.0\.1:(\d+)/;

	# the two lines come in either order
	until ($text =~ /Server is ready/ && $text =~ $listening)
	{
		die "Prometheus did not start (see $self->{log})\n"
		  if time() > $deadline;
		sleep 0.05;
		open(my $file, '<', $self->{log}) or next;
		$text = do { local $/; <$file> } // '';
	}
	($self->{port}) = $text =~ $listening;
	return;
}

# Ends it; harmless when it has ended.
sub stop
{
	my ($self) = @_;

	$self->{child}->stop;
	return;
}

# As if it had never stored anything; it must have been stopped.
sub forget
{
	my ($self) = @_;

	require File::Path;
	File::Path::remove_tree("$self->{base}/data");
	return;
}

# Where the product finds it.
sub url
{
	my ($self) = @_;

	return "$self->{scheme}://127.0.0.1:$self->{port}/prefix";
}

sub _get
{
	my ($self, $path) = @_;
	my $reply = $self->{http}->get($self->url . $path);

	die "Prometheus: $path: $reply->{status} $reply->{content}\n"
	  unless $reply->{status} == 200;
	return $reply->{content};
}

# What a query gives now: the values of its labels, joined, and the number.
sub ask
{
	my ($self, $query) = @_;
	my $escaped = $query =~ s/([^A-Za-z0-9\-_.~])/sprintf('%%%02X', ord($1))/ger;
	my $answer = decode_json($self->_get("/api/v1/query?query=$escaped"));

	return {
		map {
			my $metric = $_->{metric};
			delete @$metric{qw(__name__ instance job)};
			(join(',', map { $metric->{$_} } sort keys %$metric)
				=> $_->{value}[1])
		} @{ $answer->{data}{result} } };
}

# How many queries it has been asked so far, ask()'s included.
sub queries
{
	my ($self) = @_;
	my $n = 0;

	$n += $_ foreach $self->_get('/metrics') =~
	  m{^prometheus_http_requests_total\{[^\}]*handler="/api/v1/query"[^\}]*\} (\S+)$}mg;
	return $n;
}

1;
