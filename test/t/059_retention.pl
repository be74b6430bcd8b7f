# History goes when its time has passed, whatever has to stay stands before it;
# and what cannot be sent now keeps nobody busy.

use strict;
use warnings;

use QpsscaleNode;
use QpsscaleReceiver;
use Test::More;
use Time::HiRes qw(time);

my $receiver = QpsscaleReceiver->start;
my ($node, $cloud) = QpsscaleNode->start(
	settings => {
		'qpsscale.alert_webhook_url' => "'@{[ $receiver->url('/all') ]}'",
		'qpsscale.retention' => "'1d'",
		'autovacuum' => 'off',
		'qpsscale.interval' => "'1h'" });

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub gone
{
	my ($what, $query) = @_;

	return wait_for($node, "SELECT count(*) FROM $query", '0', $what);
}

# How often the table of deliveries is read in some seconds.
sub looks
{
	my $looks = 'SELECT sum(seq_scan + coalesce(idx_scan, 0))'
	  . " FROM pg_stat_user_tables WHERE relname = 'alert_deliveries'";

	wait_for($node, "SELECT ($looks) > 0", 't', 'the worker has looked for deliveries');
	my $before = sql($looks);
	my $start = time();
	wait_until('some seconds pass', sub { time() > $start + 8 });
	return sql($looks) - $before;
}

# ---- nothing to send, or nothing that may be sent ----

cmp_ok(looks(), '<=', 6, 'where there is nothing to send it is seldom looked for');
sql("UPDATE qpsscale.armed SET hosts = '{elsewhere}'");
my $held = sql("SELECT qpsscale_webhook_test('default')");
cmp_ok(looks(), '<=', 8,
	'a copy, whose alerts are the original\'s to send, does not try all the time');
sql('SELECT qpsscale_arm()');
wait_for($node, "SELECT status FROM qpsscale.alert_deliveries WHERE id = $held",
	'delivered', 'as soon as it is armed it sends', 20);

# ---- what stays, and what goes behind it ----

sql(<<'SQL');
INSERT INTO qpsscale.activities (resource_group_id, activity_key, requested_at,
		action, delta, desired_capacity, status, reason, eval_capacity, policy_version)
	VALUES (4711, 'gone', now() - interval '2 days', 'scale_up', 1, 1, 'accepted',
		'dynamic_scale_up', 0, 1);
INSERT INTO qpsscale.alerts (type, severity, status, dedupe_key, summary, occurred_at)
	SELECT 'qpsscale.group.at_max', 'warning', 'firing', 'lasting/' || i, 'lasts',
		now() - interval '2 days'
	FROM generate_series(1, 1000) i;
INSERT INTO qpsscale.alerts (type, severity, status, dedupe_key, summary, occurred_at)
	VALUES ('qpsscale.scale.executed', 'info', 'event', 'old', 'old', now() - interval '2 days');
INSERT INTO qpsscale.alerts (type, severity, status, dedupe_key, summary,
		occurred_at, resolved_at)
	VALUES ('qpsscale.group.at_max', 'warning', 'resolved', 'ended', 'ended just now',
		now() - interval '2 days', now());
WITH a AS (
	INSERT INTO qpsscale.alerts (type, severity, status, dedupe_key, summary, occurred_at)
		VALUES ('qpsscale.scale.failed', 'warning', 'event', 'unsent', 'unsent',
			now() - interval '2 days')
		RETURNING id)
INSERT INTO qpsscale.alert_deliveries (alert_id, webhook_id, transition,
		next_attempt_at, created_at)
	SELECT a.id, 0, 'event', now() + interval '1 hour', now() - interval '2 days'
	FROM a;
SQL
$node->append_conf('postgresql.conf', "qpsscale.interval = '1s'");
$node->reload;
gone('an old alert goes, though a thousand conditions before it last',
	"qpsscale.alerts WHERE dedupe_key = 'old'");
gone('so does an action of a group that is gone, which nobody will follow',
	'qpsscale.activities WHERE resource_group_id = 4711');
is(sql("SELECT count(*) FROM qpsscale.alerts WHERE status = 'firing'"),
	'1000', 'the conditions stay');
is(sql("SELECT count(*) FROM qpsscale.alerts WHERE dedupe_key = 'ended'"),
	'1', 'and one that ended just now, however old its beginning is');
is(sql("SELECT count(*) FROM qpsscale.alerts a JOIN qpsscale.alert_deliveries d ON d.alert_id = a.id WHERE dedupe_key = 'unsent'"),
	'1', 'and what is still to be sent');

done_testing();
