# QpsscaleProcess.pm
#
# What a TAP test does to the processes of a server, and what it can see of
# them from outside: settings by reload, memory, descriptors, mapped libraries,
# transactions and locks.
#
#   reload_with($node, 'qpsscale.enabled' => 'off');
#   my $resident = memory_kb($pid);
#   unlike(libraries_of($pid), qr/libcurl/, '...');
#   is(held_by($node, $pid), '', 'no transaction, snapshot or lock');

package QpsscaleProcess;

use strict;
use warnings;

use Exporter qw(import);
use Time::HiRes qw(time);

our @EXPORT = qw(reload_with memory_kb descriptors libraries_of held_by
  restart_worker seconds_for state_of_process processes_below);

# Settings take effect as an administrator would make them do so.
sub reload_with
{
	my ($node, %settings) = @_;

	$node->append_conf('postgresql.conf', "$_ = $settings{$_}")
	  foreach sort keys %settings;
	$node->reload;
	return;
}

sub _slurp
{
	my ($path) = @_;

	open(my $file, '<', $path) or die "$path: $!\n";
	local $/;
	return scalar <$file>;
}

# Resident memory, without pages that belong to files or are shared: a process
# of PostgreSQL touches ever more of shared_buffers.
sub memory_kb
{
	my ($pid) = @_;

	my ($kb) = _slurp("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return $kb;
}

# Sockets, pipes and whatever else is open, but no files of tables: PostgreSQL
# opens those when it first needs them, and bounds them itself.
sub descriptors
{
	my ($pid) = @_;

	opendir(my $directory, "/proc/$pid/fd") or die "/proc/$pid/fd: $!\n";
	return scalar
	  grep { defined && !m{/base/\d+/[^/]+$} }
	  map { readlink("/proc/$pid/fd/$_") } readdir $directory;
}

# Names of the files that the process has mapped, one a line.
sub libraries_of
{
	my ($pid) = @_;
	my %seen;

	foreach my $line (split /\n/, _slurp("/proc/$pid/maps"))
	{
		$seen{$1} = 1 if $line =~ m{\s(/\S+)$};
	}
	return join("\n", sort keys %seen);
}

# R, S, T (stopped) ...; empty when there is no such process.
sub state_of_process
{
	my ($pid) = @_;

	return '' unless -r "/proc/$pid/stat";
	my ($state) = _slurp("/proc/$pid/stat") =~ /\) (\S)/;
	return $state;
}

# The children of a process, as pid => title; of a postmaster these are all
# the processes of a server, also when nobody can connect.
sub processes_below
{
	my ($parent) = @_;
	my %found;

	opendir(my $directory, '/proc') or die "/proc: $!\n";
	foreach my $pid (grep { /^\d+$/ } readdir $directory)
	{
		# any of them may go away while we look
		open(my $file, '<', "/proc/$pid/stat") or next;
		my $line = <$file> // '';
		my ($above) = $line =~ /\) \S (\d+)/ or next;
		next if $above != $parent;
		open($file, '<', "/proc/$pid/cmdline") or next;
		local $/;
		($found{$pid} = <$file> // '') =~ tr/\0/ /;
	}
	return %found;
}

# What a backend holds that could stop others: transaction, snapshot, locks
# other than the one that every session has on its database.  '' for nothing.
sub held_by
{
	my ($node, $pid) = @_;

	return $node->safe_psql('postgres', <<SQL);
SELECT concat_ws(' ', 'transaction', xact_start, backend_xid, backend_xmin)
FROM pg_stat_activity
WHERE pid = $pid
	AND (xact_start IS NOT NULL OR backend_xid IS NOT NULL
		 OR backend_xmin IS NOT NULL)
UNION ALL
SELECT concat_ws(' ', 'lock', locktype, relation::regclass, classid, objid, mode)
FROM pg_locks
WHERE pid = $pid
	AND NOT (locktype = 'object' AND classid = 'pg_database'::regclass)
SQL
}

# Ends the resident worker of a database; the launcher starts another.
sub restart_worker
{
	my ($node, $database) = @_;

	$database //= 'postgres';
	$node->safe_psql('postgres',
		"SELECT pg_terminate_backend(pid, 10000) FROM qpsscale.stat_worker"
		  . " WHERE database = '$database'");
	return;
}

sub seconds_for
{
	my ($what) = @_;
	my $start = time();

	$what->();
	return time() - $start;
}

1;
