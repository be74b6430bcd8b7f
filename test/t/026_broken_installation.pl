# A worker library that cannot be loaded costs no server and no backend: who
# asks is told the reason, and once it is mended all works without a restart.

use strict;
use warnings;

use QpsscaleNode;
use PostgreSQL::Test::Utils;
use Test::More;

my $broken = PostgreSQL::Test::Utils::tempdir();

# The worker's library is found by dynamic_library_path, ours by its own path.
append_to_file("$broken/qpsscale_worker.so", "this is not a library\n");

sub break_library
{
	my ($node) = @_;
	my $path = $node->safe_psql('postgres', 'SHOW dynamic_library_path');

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET dynamic_library_path = '$broken:$path'");
	$node->reload;
	return;
}

sub mend_library
{
	my ($node) = @_;

	$node->safe_psql('postgres', 'ALTER SYSTEM RESET dynamic_library_path');
	$node->reload;
	return;
}

# ---- one-shot workers ----

my ($node, $cloud) = QpsscaleNode->start(preload => 0);
my $id = add_group($node, $cloud, 'one', desired => 2);

$cloud->set_traffic('alb-one', { kind => 'constant', qps => 100 });
break_library($node);
my ($rc, $out, $err) = $node->psql('postgres',
	"\\set VERBOSITY verbose\nSELECT qpsscale_evaluate($id)");
like($err, qr/ERROR:  55000: the worker library of qpsscale cannot be loaded/,
	'the caller of a one-shot worker is told');
like($err, qr/DETAIL:  could not load library ".*qpsscale_worker\.so"/,
	'with the reason');
like($err, qr/HINT:  Check that qpsscale is installed completely/,
	'and what to do');
mend_library($node);
is(evaluate($node, $id)->{reason}, 'optimal_instance_count_reached',
	'the next call after it was mended works');
$node->stop;

# ---- the resident worker ----

my ($resident) = QpsscaleNode->start(name => 'resident', cloud => $cloud);
my $pid = worker_pid($resident);

break_library($resident);
$resident->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_for($resident,
	"SELECT state || ' ' || (last_error ~ 'could not load library')"
	  . ' FROM qpsscale.stat_worker',
	'not running true', 'stat_worker says why no worker runs');
my $postmaster = $resident->safe_psql('postgres',
	'SELECT pg_postmaster_start_time()');
mend_library($resident);
wait_for($resident,
	'SELECT count(*) FROM qpsscale.stat_worker WHERE pid IS NOT NULL'
	  . " AND state IN ('waiting', 'loading', 'observing', 'deciding', 'acting', 'idle')",
	'1', 'the launcher tries again and finds it mended');
is($resident->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'),
	$postmaster, 'the server has not been restarted by any of this');

$resident->stop;
$cloud->stop;
done_testing();
