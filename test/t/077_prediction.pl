# Prediction: groups that grow ahead of their load, and by rule do not.

use strict;
use warnings;

use JSON::PP;
use QpsscaleNode;
use Test::More;

# for the restarts, too
$ENV{TEST_ACCESS_KEY} = 'AKLTEMULATOR';
$ENV{TEST_SECRET_KEY} = 'EmulatorSecret';

my ($node, $cloud) = QpsscaleNode->start(settings => {
		'qpsscale.databases' => "''" });
my @calm = (boot_delay => 0, general_cooldown_seconds => 0,
	scale_up_cooldown_seconds => 0, scale_down_cooldown_seconds => 0,
	scale_down_window_seconds => 0, suspicious_drop_guard => 'false');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub load_is
{
	my ($name, $qps) = @_;

	$cloud->set_traffic("alb-$name", { kind => 'constant', qps => $qps });
	return;
}

sub verdict
{
	my ($result) = @_;

	return "$result->{action} $result->{desired_capacity} $result->{reason}";
}

# A point a minute of so many days until now: $load is SQL of the seconds
# since "now" was a day ago, or two, and so on ("phase").
sub remember
{
	my ($id, $days, $load) = @_;

	sql(<<SQL);
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
SELECT m.at, $id >> 5, (array_fill(NULL::real, ARRAY[$id & 31]) || s.load::real),
	(array_fill(NULL::integer, ARRAY[$id & 31]) || 4),
	(array_fill(NULL::integer, ARRAY[$id & 31]) || 4)
FROM (SELECT date_trunc('minute', now()) AS minute) n,
	generate_series(n.minute - interval '$days days', n.minute - interval '2 minutes',
		'1 minute') m(at),
	LATERAL (SELECT mod(extract(epoch FROM m.at - n.minute + interval '100 days'), 86400)
		AS phase) p,
	LATERAL (SELECT $load AS load) s
SQL
	return;
}

# A day that triples in two minutes, for four hours.
my $surge = "CASE WHEN phase BETWEEN 60 AND 14400 THEN 300 ELSE 100 END"
  . " + mod(extract(minute FROM m.at), 7)";

sub mode_is
{
	my ($id, $mode) = @_;

	sql("UPDATE qpsscale.resource_groups SET prediction_mode = '$mode' WHERE id = $id");
	return;
}

my $web = add_group($node, $cloud, 'web', @calm, desired => 3);
load_is('web', 103);
remember($web, 10, $surge);

subtest 'what prediction_mode says holds' => sub {
	mode_is($web, 'off');
	my $result = evaluate($node, $web);
	is(verdict($result), 'none 3 optimal_instance_count_reached', 'off: as the load is');
	ok(!exists $result->{explanation}{prediction}, 'and nothing is foreseen');

	mode_is($web, 'forecast_only');
	$result = evaluate($node, $web);
	is(verdict($result), 'none 3 optimal_instance_count_reached',
		'forecast_only: as the load is');
	my $told = $result->{explanation}{prediction};
	ok(!$told->{used}, 'what is foreseen is not used');
	cmp_ok($told->{upper}, '>', 150, 'but told: the surge');
	cmp_ok($told->{instances}, '>=', 4, 'and what would follow from it');

	my $decision = decode_json(sql("SELECT to_json(d) FROM qpsscale_decide($web) d"));
	is($decision->{action}, 'none', 'nor does qpsscale_decide() use it');
	$decision = decode_json(sql("SELECT to_json(d) FROM qpsscale_decide($web, true) d"));
	is("$decision->{action} $decision->{reason}", 'scale_up predicted_scale_up',
		'unless it is asked to');
	cmp_ok($decision->{confidence}, '>', 0.8, 'with a confidence that was measured');
	cmp_ok($decision->{confidence}, '<=', 1, 'as a share');

	mode_is($web, 'enabled');
	$result = evaluate($node, $web);
	like(verdict($result), qr/^scale_up ([4-9]) predicted_scale_up$/,
		'enabled: the instances are ordered before the load is there');
	is($result->{explanation}{winner}, 'prediction', 'by what was foreseen');
	cmp_ok($result->{current_qps}, '<', 110, 'while the load is what it was');
	like(sql("SELECT string_agg(w::text, ' ') FROM qpsscale_why($web) w"),
		qr/In the next \d+ minutes/, 'qpsscale_why() tells that in words');
	my $n = $result->{desired_capacity};
	$result = evaluate($node, $web);
	is(verdict($result), "none $n optimal_instance_count_reached",
		'which are kept though the load is not there yet');
};

subtest 'what is let go must not be needed again soon' => sub {
	my $id = add_group($node, $cloud, 'dip', @calm, desired => 7,
		prediction_mode => 'enabled', scale_up_tolerance => 0);

	# in three minutes not yet, but in six
	load_is('dip', 103);
	remember($id, 5, "CASE WHEN phase BETWEEN 330 AND 14400 THEN 300 ELSE 100 END"
		  . " + mod(extract(minute FROM m.at), 7)");
	my $result = evaluate($node, $id);
	like(verdict($result), qr/^(none 7 predicted_to_rise|scale_down [3-6] dynamic_scaling_scale_down)$/,
		'it shrinks at most to what the longer window needs');
	my ($clamp) = grep { $_->{by} eq 'prediction' } @{ $result->{explanation}{clamps} };
	ok($clamp, 'and the clamp says so') or diag(encode_json($result->{explanation}));
};

subtest 'an outage' => sub {
	my $id = add_group($node, $cloud, 'cut', @calm, desired => 8,
		prediction_mode => 'enabled');

	load_is('cut', 10);
	remember($id, 5, "CASE WHEN m.at > n.minute - interval '20 minutes' THEN 10"
		  . " ELSE 190 + mod(extract(minute FROM m.at), 7) END");
	is(verdict(evaluate($node, $id)), 'none 8 outage_suspected',
		'a group does not shrink while its users seem to be cut off');
	mode_is($id, 'off');
	is(verdict(evaluate($node, $id)), 'scale_down 1 dynamic_scaling_scale_down',
		'without prediction it does');
};

subtest 'a group that its signals drive' => sub {
	my $id = add_group($node, $cloud, 'queue', @calm, desired => 4,
		target_qps => undef, enabled => 'false');

	sql("INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)"
		  . " VALUES ($id, 'backlog', 'sql', 'SELECT 380', 100)");
	sql("UPDATE qpsscale.resource_groups SET enabled = true WHERE id = $id");
	# in instances: four, and twelve from now on
	remember($id, 10, "(CASE WHEN phase BETWEEN 60 AND 14400 THEN 12 ELSE 3.8 END"
		  . " + mod(extract(minute FROM m.at), 7) / 20)");
	my $result = evaluate($node, $id);
	is(verdict($result), 'none 4 optimal_instance_count_reached', 'as its signals are')
	  or diag(encode_json($result));
	is(sql("SELECT load FROM qpsscale.samples_of($id, now() - interval '90 seconds', 'infinity')"
			  . ' ORDER BY at DESC LIMIT 1'), '3.799999952316284',
		'what they ask for, before rounding, is its load');
	mode_is($id, 'enabled');
	$result = evaluate($node, $id);
	like(verdict($result), qr/^scale_up ([5-9]|1\d) predicted_scale_up$/,
		'it grows for what they will ask for');
	my ($signal) = grep { $_->{name} eq 'backlog' } @{ $result->{explanation}{inputs}{signals} };
	cmp_ok($signal->{predicted}, '>', $signal->{value} * 1.2, 'which is told of the signal');
};

subtest 'nothing was learned yet' => sub {
	my $id = add_group($node, $cloud, 'new', @calm, desired => 2);

	load_is('new', 100);
	my $result = evaluate($node, $id);
	is(verdict($result), 'none 2 optimal_instance_count_reached', 'as the load is');
	ok(!exists $result->{explanation}{prediction}, 'nothing to tell');
	mode_is($id, 'enabled');
	$result = evaluate($node, $id);
	is(verdict($result), 'scale_up 3 predicted_scale_up',
		'enabled, headroom takes the place of what cannot be foreseen');
	is("$result->{explanation}{winner} $result->{explanation}{prediction}{trust}",
		'headroom not_learned', 'and the explanation says why');
};

subtest 'a policy that cannot be' => sub {
	like(($node->psql('postgres', "UPDATE qpsscale.resource_groups SET mode = 'static',"
				. " prediction_mode = 'enabled' WHERE id = $web"))[2],
		qr/resource_groups_static_is_not_predicted/, 'static mode is not predicted');
	like(($node->psql('postgres',
				"UPDATE qpsscale.resource_groups SET target_violation = 0 WHERE id = $web"))[2],
		qr/target_violation/, 'never to exceed the capacity cannot be promised');
};

subtest 'the ledger' => sub {
	my $id = 4711;				# of no group: chunk 147, place 8

	sql(<<SQL);
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
SELECT timestamptz '2020-01-01 00:00Z' + m.minute * interval '1 minute', 147,
	array_fill(NULL::real, ARRAY[7]) || m.load::real, '{}', '{}'
FROM (VALUES (0, 10), (1, 20), (2, 40), (3, 30), (5, 10), (6, 50)) AS m (minute, load);
INSERT INTO qpsscale.forecasts (at, chunk, upper, quantile, window_seconds)
SELECT timestamptz '2020-01-01 00:00Z' + f.minute * interval '1 minute', 147,
	array_fill(NULL::real, ARRAY[7]) || f.upper::real,
	array_fill(NULL::real, ARRAY[7]) || 0.75::real,
	array_fill(NULL::integer, ARRAY[7]) || f.seconds
FROM (VALUES (0, 36, 120), (1, 48, 120), (2, 32, 180), (5, 9, 300)) AS f (minute, upper, seconds);
SQL
	is( sql("SELECT to_char(at AT TIME ZONE 'UTC', 'MI') AS minute, load, upper, actual, held,"
			  . " loss, loss_of_persistence FROM qpsscale.forecasts_of($id,"
			  . " '2020-01-01 00:00Z', '2020-01-01 01:00Z') ORDER BY at"),
		"00|10|36|40|f|3|22.5\n"	# 0.75 * (40 - 36); 0.75 * 30
		  . "01|20|48|40|t|2|15\n"	# 0.25 * 8
		  . "02|40|32|30|t|0.5|2.5\n"	# a gap within: what was seen counts
		  . "05|10|9||||",		# its window is not over
		'forecasts beside what came, with their losses');
	cmp_ok(sql("SELECT count(*) FROM qpsscale.forecasts_of($web, '-infinity', 'infinity')"),
		'>', 0, 'what a decision used is kept');
};

subtest 'load from elsewhere' => sub {
	my $id = add_group($node, $cloud, 'past', @calm, desired => 4);
	my $history = "SELECT array_agg(m), array_agg(200 + 100 * sin(extract(epoch FROM m) / 86400 * 2 * pi()))"
	  . " FROM generate_series(date_trunc('minute', now()) - interval '3 days',"
	  . " date_trunc('minute', now()) - interval '2 minutes', '1 minute') m";

	load_is('past', 200);
	is(evaluate($node, $id)->{explanation}{prediction}, undef, 'nothing was learned');
	is(sql("SELECT qpsscale_remember($id, h.at, h.load) FROM ($history) h (at, load)"),
		3 * 1440 - 1, 'three days of minutes are remembered');
	is(sql("SELECT qpsscale_remember($id, h.at, h.load) FROM ($history) h (at, load)") <= 1, 1,
		'and once only');
	is(evaluate($node, $id)->{explanation}{prediction}{trust}, 'full',
		'which is learned at once');
	foreach my $bad (
		[ "ARRAY[now()], ARRAY[1, 2]::float8[]", qr/as many elements/ ],
		[ "ARRAY[now()], ARRAY[-1]::float8[]", qr/negative/ ],
		[ "ARRAY[now()], ARRAY['NaN']::float8[]", qr/infinite or absurd/ ],
		[ "ARRAY[now() + interval '1 minute'], ARRAY[1]::float8[]", qr/in the future/ ],
		[ "NULL, ARRAY[1]::float8[]", qr/must not be null/ ])
	{
		like(($node->psql('postgres', "SELECT qpsscale_remember($id, $bad->[0])"))[2],
			$bad->[1], "refused: $bad->[0]");
	}
	sql("CREATE ROLE stranger LOGIN; SELECT qpsscale_grant('stranger', 'operator')");
	like(($node->psql('postgres', "SET ROLE stranger; SELECT qpsscale_remember($id, '{}', '{}')"))[2],
		qr/permission denied for resource group/, 'not of the groups of others');
};

subtest 'a restart loses nothing' => sub {
	my $group = "SELECT trust FROM qpsscale.predictors WHERE resource_group_id = $web";

	$node->append_conf('postgresql.conf', "qpsscale.databases = 'postgres'");
	$node->reload;
	mode_is($web, 'forecast_only');
	wait_for($node, "SELECT count(*) FROM ($group) p", '1',
		'the worker stores what was learned');
	is(sql($group), 'full', 'which can be believed');
	cmp_ok(sql("SELECT pg_column_size(state) FROM qpsscale.predictors WHERE resource_group_id = $web"),
		'<=', 160000, 'in at most 160 kB');
	$node->append_conf('postgresql.conf', "qpsscale.databases = ''");
	$node->stop('immediate');
	$node->start;
	sql('TRUNCATE qpsscale.samples');
	my $told = evaluate($node, $web)->{explanation}{prediction};
	is($told->{trust}, 'full', 'after a crash, and without the samples, it is known');
	cmp_ok($told->{upper}, '>', 150, 'and foresees as before');
	sql("UPDATE qpsscale.predictors SET state = decode(repeat('00', 1000), 'hex')");
	$told = evaluate($node, $web)->{explanation}{prediction};
	is($told, undef, 'a state that does not fit is learned anew');
	sql("DELETE FROM qpsscale.resource_groups WHERE id = $web");
	is(sql("SELECT count(*) FROM qpsscale.predictors WHERE resource_group_id = $web"), '0',
		'and goes with its group');
};

done_testing();
