# What qpsscale-httpd takes from a client: one framing, small requests, its own
# names, and nobody's patience used up.  The database is pretended.

use strict;
use warnings;

# A crowd needs descriptors, as many as one may have: before the streams are
# those of a test.
BEGIN
{
	if (!$ENV{QPSSCALE_CROWD})
	{
		local $ENV{QPSSCALE_CROWD} = 1;
		exec 'sh', '-c', 'ulimit -n "$(ulimit -Hn)"; exec "$@"', 'sh', $^X,
		  (map { "-I$_" } @INC), $0 or die "exec: $!";
	}
}

use IO::Select;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleFakes;
use QpsscaleHttpd;
use Socket;
use Test::More;
use Time::HiRes qw(time);

plan skip_all => 'qpsscale-httpd is not built: libmicrohttpd-dev or libpq-dev is missing'
  unless -x 'qpsscale-httpd';

local $SIG{PIPE} = 'IGNORE';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding', 'UTF8' ]);
$node->start;
create_fakes($node);
my $httpd = QpsscaleHttpd->start($node,
	roles => 0,
	settings => {
		DATABASE_URL => $node->connstr('postgres'),
		MAX_CONNECTIONS => 2048
	});
my ($port) = $httpd->url =~ /:(\d+)$/;
my $token = $QpsscaleFakes::TOKEN;
my $bearer = "Authorization: Bearer $token\r\n";
my $host = "Host: 127.0.0.1:$port\r\n";
my $json = "Content-Type: application/json\r\n";

sub client
{
	socket(my $socket, PF_INET, SOCK_STREAM, 0) or return;
	connect($socket, pack_sockaddr_in($port, INADDR_LOOPBACK)) or return;
	return $socket;
}

# All that comes back until the server closes, at most so many seconds.
sub answer_of
{
	my ($socket, $seconds) = @_;
	my $deadline = time() + ($seconds // 10);
	my $select = IO::Select->new($socket);
	my $text = '';

	while (time() < $deadline)
	{
		next unless $select->can_read(0.1);
		last unless sysread($socket, $text, 65536, length $text);
	}
	return $text;
}

sub ask
{
	my ($request) = @_;
	my $socket = client() or return "no connection: $!";

	syswrite($socket, $request);
	return answer_of($socket);
}

# Also of an answer behind a body that does not end with a line.
sub statuses { return join ' ', $_[0] =~ m{HTTP/1\.1 (\d{3}) [A-Z]}g; }

# Exactly these answers, and then the connection ends.
sub answers_are
{
	my ($request, $expected, $what) = @_;
	my $answer = ask($request);

	is(statuses($answer), $expected, $what) or diag(substr($answer, 0, 500));
	return $answer;
}

# What libmicrohttpd refuses by itself, before we see it; 0.9.75 sends the head
# of such an answer twice.
sub is_refused
{
	my ($request, $what) = @_;
	my $answer = ask($request);

	like(statuses($answer), qr/^(4\d\d)( \1)?$/, $what) or diag(substr($answer, 0, 500));
	return;
}

# ---- framing: what two readers could read in two ways, nobody gets ----

my $hidden = "GET /health HTTP/1.1\r\n$host\r\n";
my $post = "POST /scale/decide HTTP/1.1\r\n$host$bearer$json";
answers_are("${post}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}$hidden", '400',
	'two lengths');
answers_are("${post}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}$hidden", '400',
	'two equal lengths');
answers_are("${post}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n$hidden",
	'411', 'a length and chunks');
answers_are("${post}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n$hidden", '411',
	'chunks alone');
answers_are("${post}\r\n{}", '411', 'no length');
is_refused("${post}Content-Length: $_\r\n\r\n{}", "length $_")
  foreach ('-1', '2x', '0x2', '99999999999999999999999');
answers_are("GET /health HTTP/1.1\r\n${host}Content-Length: " . length($hidden)
	  . "\r\n\r\n$hidden", '400', 'a body where none is taken hides no request');

# ---- sizes ----

sub body { return "${post}Content-Length: " . length($_[0]) . "\r\n\r\n$_[0]"; }
my $largest = '"' . 'x' x 65534 . '"';
answers_are(body($largest), '200', 'a body of 64 KiB');
answers_are(body("$largest "), '413', 'one byte more');
my $flood = client();
syswrite($flood, "${post}Content-Length: 104857600\r\n\r\n");
is(statuses(answer_of($flood)), '413', '100 MB are refused before they come');
my $sent = 0;
{
	local $SIG{PIPE} = 'IGNORE';
	$flood = client();
	syswrite($flood, "${post}Content-Length: 104857600\r\n\r\n");
	my $some = 'x' x 65536;
	for (my $n = 1; $n && $sent < 104857600;)
	{
		$n = IO::Select->new($flood)->can_write(5) ? syswrite($flood, $some) : undef;
		$sent += $n // 0;
	}
}
cmp_ok($sent, '<', 104857600, 'who sends them all the same is hung up on');
note("$sent bytes were taken off the client");
my $headers = ask("GET /health HTTP/1.1\r\n${host}X: " . 'x' x 1_000_000 . "\r\n\r\n");
unlike($headers, qr{^HTTP/1\.1 2}, '1 MB of headers');
answers_are(body('[' x 30000 . ']' x 30000), '400', 'JSON of great depth');
answers_are(body("{\"a\": \"\0\"}"), '400', 'a NUL');
answers_are(body("\"\xff\xfe\""), '400', 'not UTF-8');

# ---- names, paths, methods ----

answers_are("GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", '421',
	'a name that is not ours');
answers_are("GET /health HTTP/1.1\r\nHost: localhost:$port\r\nConnection: close\r\n\r\n", '200',
	'localhost is');
is_refused("GET /health HTTP/1.1\r\n\r\n", 'no name');
answers_are("GET /health HTTP/1.1\r\n$host$host\r\n", '400', 'two names');
answers_are("GET /nowhere HTTP/1.1\r\n$host\r\n", '404', 'an unknown path');
answers_are("GET /v1/health HTTP/1.1\r\n${host}Connection: close\r\n\r\n", '200', '/v1');
my $wrong = answers_are("DELETE /health HTTP/1.1\r\n$host\r\n", '405', 'a wrong method');
like($wrong, qr/^Allow: GET, HEAD\r$/mi, 'the right ones are told');
like(ask("GET /scale/decide HTTP/1.1\r\n$host\r\n"), qr/^Allow: POST\r$/mi, 'those of a POST');
my $head = answers_are("HEAD /health HTTP/1.1\r\n${host}Connection: close\r\n\r\n", '200', 'HEAD');
like($head, qr/\r\n\r\n\z/, 'which has no body');
my $get = "GET /scale/history%s HTTP/1.1\r\n${host}Connection: close\r\n";
answers_are(sprintf($get, $_->[0]) . "$bearer\r\n", $_->[1], "history$_->[0]: $_->[1]")
  foreach ([ '', 200 ], [ '?limit=1', 200 ], [ '?colour=1', 422 ], [ '?limit=1&limit=2', 422 ]);

# ---- tokens ----

foreach my $bad ('', "Authorization: Basic eDp5\r\n", "Authorization: Bearer\r\n",
	"Authorization: Bearer $token'\r\n", "Authorization: Bearer qps_1_" . 'b' x 43 . "\r\n",
	"Authorization: Bearer qps_" . 'b' x 5000 . "\r\n", $bearer . $bearer)
{
	my $reply = answers_are(sprintf($get, '') . "$bad\r\n", '401',
		'token: ' . (length $bad ? substr($bad =~ s/\r\n/ /gr, 0, 40) : 'none'));
	like($reply, qr/^WWW-Authenticate: Bearer/mi, 'which is said');
}

# ---- one connection, many requests ----

answers_are($hidden x 3 . "GET /ready HTTP/1.1\r\n${host}Connection: close\r\n\r\n",
	'200 200 200 200', 'requests that come together are answered in turn');

# ---- a crowd ----

my @health_ms;

sub look_at_health
{
	my $began = time();
	my $answer = ask("GET /health HTTP/1.1\r\n${host}Connection: close\r\n\r\n");

	push @health_ms, 1000 * (time() - $began);
	return statuses($answer) eq '200';
}

sub rss_kb
{
	my ($kb) = slurp_file('/proc/' . $httpd->pid . '/status') =~ /^VmHWM:\s+(\d+) kB/m;
	return $kb;
}

# Ours and the server's 2,048 leave some for other things.
my ($limit) = `sh -c 'ulimit -n'` =~ /(\d+)/;
my $n = defined $limit && $limit < 10_200 ? $limit - 200 : 10_000;
my @crowd;
my $unhealthy = 0;
foreach my $i (1 .. $n)
{
	push @crowd, client() // next;
	$unhealthy++ if $i % 500 == 0 && !look_at_health();
}
cmp_ok(scalar @crowd, '>=', $n * 0.99, "$n connections at one time");
is($unhealthy, 0, 'all the while the server says how it is');
@crowd = ();

# ---- who takes his time ----

my %slow = (
	silent => { first => '', then => '', limit => 15 },
	'header by header' =>
	  { first => "GET /health HTTP/1.1\r\n", then => "X: 1\r\n", limit => 15 },
	'a body byte by byte' =>
	  { first => "${post}Content-Length: 60000\r\n\r\n", then => ' ', limit => 30 });
my $began = time();
foreach my $client (values %slow)
{
	$client->{socket} = client();
	syswrite($client->{socket}, $client->{first}) if length $client->{first};
}

# and slowhttptest: slow headers, slow bodies, slow readers, 300 of each
my %attack = (
	headers => [ '-H', '-t', 'GET' ],
	bodies => [ '-B', '-t', 'POST', '-s', '60000' ],
	readers => [ '-X', '-w', '10', '-y', '20', '-n', '5', '-z', '32' ]);
my %attacked = map { $_ => '' } keys %attack;
my @attackers = map {
	IPC::Run::start([ 'slowhttptest', @{ $attack{$_} }, '-c', '300', '-r', '300', '-i', '2',
			'-l', '12', '-p', '3', '-u', "http://127.0.0.1:$port/openapi.json" ],
		'<', \undef, '>&', \$attacked{$_})
} sort keys %attack;
while ((grep { !defined $_->{ended} } values %slow) && time() < $began + 40)
{
	foreach my $client (grep { !defined $_->{ended} } values %slow)
	{
		my $got = 1;

		$got = sysread($client->{socket}, my $ignored, 4096)
		  if IO::Select->new($client->{socket})->can_read(0);
		$client->{ended} = time() - $began unless $got;
		syswrite($client->{socket}, $client->{then}) if length $client->{then};
	}
	$unhealthy++ unless look_at_health();
	IO::Select->new(map { $_->{socket} } grep { !defined $_->{ended} } values %slow)
	  ->can_read(0.2);
}
cmp_ok($slow{$_}{ended} // 99, '<', $slow{$_}{limit}, "$_: the server hangs up")
  foreach sort keys %slow;
is($unhealthy, 0, 'and says how it is');
$_->finish foreach @attackers;
s/\e\[[0-9;]*[A-Za-z]//g foreach values %attacked;	# colours
like($attacked{$_}, qr/service available:\s+YES/, "slow $_: the service stays available")
  foreach sort keys %attacked;
unlike($attacked{$_}, qr/service available:\s+NO/, "slow $_: all the time") foreach sort keys %attacked;

my @sorted = sort { $a <=> $b } @health_ms;
cmp_ok($sorted[ @sorted / 2 ], '<', 100, 'in less than 100 ms (median)');
cmp_ok($sorted[-1], '<', 3000, 'and never in seconds');
cmp_ok(rss_kb(), '<', 64 * 1024, 'it never had 64 MB');
note(sprintf('health: median %.1f ms, longest %.1f ms of %d; at most %d kB',
	$sorted[ @sorted / 2 ], $sorted[-1], scalar @sorted, rss_kb()));
unlike($httpd->log, qr/\Q$token\E/, 'no token in the log');

$httpd->stop;
done_testing();
