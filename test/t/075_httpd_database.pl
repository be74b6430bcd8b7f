# qpsscale-httpd and its database: what it is told, slow answers, too many of
# them, restart, fail-over, and its own end.  The functions are pretended.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use QpsscaleFakes;
use QpsscaleHttpd;
use QpsscaleNode qw(wait_until);
use Test::More;

plan skip_all => 'qpsscale-httpd is not built: libmicrohttpd-dev or libpq-dev is missing'
  unless -x 'qpsscale-httpd';

my $token = $QpsscaleFakes::TOKEN;
my $canary = 'Kanarienvogel';

# ---- what it is told ----

# Exit code and complaint of a program that should not start.
sub refusal
{
	my ($environment, @arguments) = @_;
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, PORT => 0, %$environment);
	my $run = IPC::Run::start([ './qpsscale-httpd', @arguments ], '<', \undef,
		'>', \$out, '2>', \$err, IPC::Run::timer(20));

	eval { $run->finish; 1 } or $run->kill_kill;
	return ($run->full_result(0) // 0) >> 8, $err;
}

foreach my $case (
	[ { HOST => '0.0.0.0' }, qr/BEHIND_PROXY/, 'beyond loopback' ],
	[ { HOST => 'localhost' }, qr/give an address/, 'a name' ],
	[ { PORT => '80x' }, qr/from 0 to 65535/, 'no port' ],
	[ { RUST_LOG => 'loud' }, qr/error, warn, info or debug/, 'no level' ])
{
	my ($code, $error) = refusal($case->[0]);

	is($code, 2, "$case->[2] is refused");
	like($error, $case->[1], 'with what would do');
}
like((refusal({}, '--colour=red'))[1], qr/--help/, 'an unknown argument');
foreach my $url ("postgresql://u:$canary@[::1]x/db", "postgresql://u:$canary%zz\@h/db",
	"host=h password=a $canary", "postgresql://u:p\@$canary:x\@h/db",
	"postgresql://u:p\@$canary\@h/db")
{
	my ($code, $error) = refusal({ DATABASE_URL => $url });

	is($code, 2, 'a connection string that cannot be read: '
		  . ($url =~ s/$canary/secret/r));
	unlike($error, qr/$canary/, 'is not quoted, as it has the password');
}

# ---- two servers ----

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->start;
create_fakes($primary);
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $httpd = QpsscaleHttpd->start($primary,
	roles => 0,
	settings => {
		DATABASE_URL => 'dbname=postgres password=' . $canary . ' host='
		  . join(',', $standby->host, $primary->host) . ' port='
		  . join(',', $standby->port, $primary->port),
		POOL_SIZE => 1,
		AWS_REGION => 'eu-west-1',
		REDIS_URL => "redis://:$canary\@localhost",
		RUST_LOG => 'debug,actix=info'
	});
my ($port) = $httpd->url =~ /:(\d+)$/;

# Polls until the history is answered so.
sub comes_to
{
	my ($status, $what) = @_;
	my $reply;

	wait_until($what, sub {
			($reply = $httpd->get('/scale/history', $token))->{status} == $status })
	  or diag($reply->{content}, $httpd->log);
	return $reply;
}

like($httpd->log, qr/REDIS_URL is not used/, 'REDIS_URL is taken and said to be unused');
comes_to(200, 'the one of two servers that takes writes answers');

# ---- slow and too many ----

close_gate($primary);
my $slow = $httpd->get('/scale/history?resource_id=slow', $token);
is($slow->{status}, 504, 'a query that takes too long') or diag($slow->{content});
is($slow->{json}{sqlstate}, '57014', 'was ended by the server');

# one is with the database, 256 wait
my @crowd = map
{
	my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
	  or die "connection $_: $!";
	syswrite($socket, "GET /scale/history?resource_id=slow HTTP/1.1\r\n"
		  . "Host: 127.0.0.1:$port\r\nAuthorization: Bearer $token\r\n"
		  . "Connection: close\r\n\r\n");
	$socket;
} 1 .. 300;
my $select = IO::Select->new(@crowd);
my $early = '';
if (my ($first) = $select->can_read(10))
{
	sysread($first, $early, 65536);
}
like($early, qr{^HTTP/1\.1 503 }, 'too many at once: some are turned away at once');
like($early, qr/^Retry-After: \d+\r$/mi, 'and told when to come back');
is($httpd->get('/ready')->{status}, 200, 'what needs no database is answered');
open_gate($primary);
my %statuses;
foreach my $socket (@crowd)
{
	my $answer = '';

	while (IO::Select->new($socket)->can_read(20))
	{
		last unless sysread($socket, $answer, 65536, length $answer);
	}
	$statuses{ $answer =~ m{^HTTP/1\.1 (\d+)}m ? $1 : 'none' }++;
}
cmp_ok($statuses{200} // 0, '>=', 200, 'the others wait and are answered')
  or diag explain \%statuses;
@crowd = ();

# ---- the database goes and comes ----

$primary->stop('fast');
comes_to(503, 'without a database: 503');
is($httpd->get('/ready')->{status}, 503, 'and not ready');
$primary->start;
comes_to(200, 'it comes back, and is found');
$primary->stop('fast');
$standby->promote;
comes_to(200, 'the standby that was promoted is found');

# ---- its end ----

close_gate($standby);
my $last = '';
my $run = IPC::Run::start(
	[ 'curl', '-s', '-m', '30', '-w', '%{http_code}', '-H', "Authorization: Bearer $token",
		$httpd->url . '/scale/history?resource_id=slow' ], '<', \undef, '>', \$last);
ok($standby->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'active' AND application_name = 'qpsscale-httpd'"),
	'a request is being served');
my $pid = $httpd->pid;
kill 'TERM', $pid;
kill 'TERM', $pid;
wait_until('told to end it takes no more', sub {
		!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) });
open_gate($standby);
$run->finish;
like($last, qr/200$/, 'but finishes what it has') or diag($httpd->log);
wait_until('and ends, also when told twice', sub { $httpd->log =~ /stopped$/m });
unlike($httpd->log, qr/$canary|\Q$token\E/, 'no password and no token in the log');

$httpd->stop;
done_testing();
