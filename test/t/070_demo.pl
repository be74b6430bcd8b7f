# What a newcomer sees of "make demo", and what is left of it: nothing.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use HTTP::Tiny;
use Test::More;

# A PostgreSQL that finds extensions in one place only, as one's own build of
# 15 or 16 does, has in it what is being tested now.
chomp(my $place = qx(\${PG_CONFIG:-pg_config} --sharedir));
plan skip_all => 'the demo would replace the installed files'
  if ($ENV{QPSSCALE_EXTENSION_DIR} // '') eq "$place/extension";

my $demo = "$FindBin::Bin/../demo";

# A short name: a socket will lie below it.
sub private_directory
{
	return tempdir('demoXXXX', DIR => $ENV{TMPDIR} // '/tmp', CLEANUP => 1);
}

# Start the demo; its output, errors too, can be read from the handle.  Ours is
# to receive a Ctrl-C, though we may run where that is ignored.
sub start_demo
{
	my ($directory, $hold) = @_;
	local $ENV{TMPDIR} = $directory;
	local $ENV{DEMO_SECONDS} = 24;
	local $ENV{HOLD} = $hold // '';
	local $SIG{INT} = 'DEFAULT';
	my $pid = open(my $output, '-|', 'sh', '-c', "exec '$demo' 2>&1")
	  // die "$demo: $!\n";

	return ($pid, $output);
}

# Processes that have their working directory there.
sub processes_in
{
	my ($directory) = @_;

	return grep { (readlink("$_/cwd") // '') =~ /^\Q$directory\E\// }
	  glob('/proc/[0-9]*');
}

sub nothing_left
{
	my ($directory, $when) = @_;
	my @files = glob("$directory/*");
	my @processes = processes_in($directory);

	is("@files", '', "no file is left $when");
	is("@processes", '', "no process is left $when");
	return;
}

# Two runs, to save time side by side but for their builds: one that is watched
# to its end, and one that is not.
my $whole = private_directory();
my $broken = private_directory();
my (undef, $whole_output) = start_demo($whole);
my $shown = '';
while (my $line = <$whole_output>)
{
	$shown .= $line;
	last if $line =~ /^== 2\./;
}

my ($broken_pid, $broken_output) = start_demo($broken);
my $seen = '';
while (my $line = <$broken_output>)
{
	$seen .= $line;
	if ($line =~ /^== 3\./)
	{
		ok(processes_in($broken) > 0, 'in its midst processes run');
		kill('INT', $broken_pid);
	}
}
close($broken_output);
is($? >> 8, 130, 'Ctrl-C ends it') or diag($seen);
unlike($seen, qr/^== 4\./m, 'at once');
nothing_left($broken, 'after Ctrl-C');

# A third one is held at its end.
my $held = private_directory();
my ($held_pid, $held_output) = start_demo($held, 1);

while (my $line = <$whole_output>)
{
	$shown .= $line;
}
close($whole_output);
is($?, 0, 'the demo succeeds') or diag($shown);
nothing_left($whole, 'after the end');
unlike($shown, qr/\e/, 'no colour but on a terminal');

my ($dry, $live) = split(/^== 4\..*\n/m, $shown, 2);
$live //= '';
like($dry, qr/^ *account +\| ok /m, 'the keys in files are found');
like($dry, qr/^ *api +\| dry run +.*\| scale_up +\|/m,
	'the dry run shows what would be done');
like($dry, qr/^Changes made in the cloud so far: 0\.$/m,
	'and does not do it');

my $clock = qr/^\d\d:\d\d +/m;
like($live, qr/${clock}shop .* -> .* dynamic_scaling_scale_up$/m, 'the shop grows');
like($live, qr/${clock}shop .* -> .* dynamic_scaling_scale_down$/m,
	'and shrinks');
like($live, qr/${clock}api .* dynamic_scaling_limited_scale_up$/m,
	'the spike is met in capped steps');
like($live, qr/${clock}batch .* -> 0 .*scale_down.*${clock}batch .* 0 -> [1-9].* scale_up /s,
	'the queue goes to zero and comes back');
like($live, qr/by hand.*${clock}shop +\d+ +\d+ +2 -> [^\n]*dynamic_scaling_scale_up\n/s,
	'what a hand did to the shop is made good');
like($live, qr/qpsscale_suspend.*${clock}shop .* suspended\n.*qpsscale_resume/s,
	'a suspended group is left alone');
like($live, qr/^${clock}carts +\d+ +\d+ +\d+ -> [^\n]*scale_up /m,
	'open carts in a table drive a Deployment of Kubernetes');
like($live, qr/^${clock}media +\d+ +\d+ +\d+ -> [^\n]*scale_up /m,
	'requests drive an Auto Scaling group of AWS');
like($live, qr/^${clock}print +1[1-9]\d +1 +1 -> \d+[^\n]*scale_up .*^${clock}print +\d+ +\d+ +\d+ -> [^\n]*scale_down /ms,
	'waiting jobs drive machines that only the database knows');
like($live, qr/^ *proposals +\| .* QPS per instance = \d+ instances/m,
	'a decision is explained');
like($live, qr/^BytePlus and AWS counted ([1-9]\d*) changes; for their groups the table has \1 activities\.$/m,
	'the books agree with the cloud');

SKIP:
{
	skip('qpsscale-httpd is not built', 4) if $live =~ /^qpsscale-httpd is not built/m;
	like($live, qr/^GET \/health +\{.*"service" ?: ?"scaler"/m, 'the server is asked how it is');
	like($live, qr/^GET \/groups +api: .*, shop: dry run, \d+ desired$/m, 'and for the groups');
	like($live, qr/^GET \/ +the pages of qpsscale$/m, 'and for its pages');
	unlike($live, qr/^Token/m, 'which is all, if nobody asked to hold it');
}

# ---- held ----

my ($told, $link, $token) = ('');
while (my $line = <$held_output>)
{
	$told .= $line;
	$link = $1 if $line =~ m{^Open +(http://127\.0\.0\.1:\d+/)$};
	$token = $1 if $line =~ /^Token +(qps_\S+)$/;
	last if $line =~ /Ctrl-C ends it/ || $line =~ /^qpsscale-httpd is not built/;
}
SKIP:
{
	skip('qpsscale-httpd is not built', 7) if $told =~ /^qpsscale-httpd is not built/m;
	my $http = HTTP::Tiny->new(timeout => 30, proxy => undef, http_proxy => undef);
	my $page = $http->get($link // '');
	my $groups = $http->get(($link // '') . 'groups',
		{ headers => { Authorization => 'Bearer ' . ($token // '') } });

	like($page->{content}, qr/<title>qpsscale</, 'with HOLD=1 the link leads to the dashboard')
	  or diag($told);
	is($groups->{status}, 200, 'and the token opens it') or diag($groups->{content});
	like($groups->{content}, qr/"status": ?"live"/, 'where groups are live again');
	kill('INT', $held_pid);
	$told .= $_ while <$held_output>;
	close($held_output);
	is($?, 0, 'Ctrl-C is how that ends') or diag($told);
	nothing_left($held, 'after that');
	is($http->get($link)->{status}, 599, 'and nobody serves any more');
}

done_testing();
