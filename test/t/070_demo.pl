# What a newcomer sees of "make demo", and what is left of it: nothing.

use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
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
	my ($directory) = @_;
	local $ENV{TMPDIR} = $directory;
	local $ENV{DEMO_SECONDS} = 24;
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

done_testing();
