# What keeps alerts from being written or sent is told once, not in each try:
# it may last all night.  And a worker that waits for a cloud is alive.

use strict;
use warnings;

use PostgreSQL::Test::Utils qw(slurp_file);
use QpsscaleNode;
use QpsscaleReceiver;
use Test::More;

my $receiver = QpsscaleReceiver->start;
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.alert_webhook_url' => "'@{[ $receiver->url('/all') ]}'",
		'qpsscale.stall_timeout' => "'2s'",
		'qpsscale.request_timeout' => "'8s'",
		'qpsscale.cycle_deadline' => "'10s'" });

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub lines
{
	my ($pattern) = @_;

	return scalar grep { /$pattern/ } split /\n/, slurp_file($node->logfile);
}

my $ticks = "SELECT ticks FROM qpsscale.stat_worker WHERE database = 'postgres'";

# ---- objects that are not as they were installed ----

wait_for($node, "SELECT ticks > 0 FROM qpsscale.stat_worker", 't',
	'the worker ticks');
sql(<<'SQL');
CREATE FUNCTION foreign_code() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER foreign_code BEFORE UPDATE ON qpsscale.alerts
	FOR EACH ROW EXECUTE FUNCTION foreign_code();
SQL
sql("SELECT qpsscale_webhook_test('default')");
wait_until('the round that should deliver an alert is refused',
	sub { lines('could not deliver alerts') > 0 });
my $from = sql($ticks);
wait_for($node, "SELECT ticks >= $from + 8 FROM qpsscale.stat_worker",
	't', 'a worker whose objects were changed goes on looking at them');
is(lines('could not deliver alerts'),
	1, 'and says once that it delivers no alerts');
sql('DROP TRIGGER foreign_code ON qpsscale.alerts');
my $delivery = sql("SELECT qpsscale_webhook_test('default')");
wait_for($node,
	"SELECT status FROM qpsscale.alert_deliveries WHERE id = $delivery",
	'delivered', 'once they are as they were, alerts are delivered again', 120);
is(lines('could not deliver alerts'), 1, 'without another word');

# ---- a cloud that does not answer ----

my $calls = sql('SELECT api_errors FROM qpsscale.stat_worker');
$cloud->fault({ kind => 'hang', times => -1 });
add_group($node, $cloud, 'web');
wait_for($node, "SELECT api_errors > $calls FROM qpsscale.stat_worker",
	't', 'a cloud lets a call hang for four times the time of a stall');
is(sql("SELECT count(*) FROM qpsscale.alerts WHERE type = 'qpsscale.worker.stalled'"),
	'0', 'a worker that waits for it is not taken for a stalled one');

done_testing();
