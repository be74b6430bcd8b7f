-- What a policy would have made of a load, beside what others would have.
\set SHOW_CONTEXT never
SET timezone = 'UTC';
CREATE EXTENSION qpsscale;

-- four minutes, none to learn from, one minute to boot: 1, 1, 3 and 3 are
-- needed of what carries 10.  In the last 10, 10 and 30 are known, whose mean
-- asks for 2, which is paid for from then on
SELECT policy, violation_time, round(violation_load::numeric, 2) AS violation_load,
	round(instance_hours::numeric * 60) AS instance_minutes, ups_per_day, ticks
FROM qpsscale_backtest(ARRAY[10, 10, 30, 30]::float8[],
	'{"target_qps": 10, "boot_seconds": 60, "scale_down_window_seconds": 0, "prediction_mode": "off"}',
	warm_up => 0)
WHERE policy IN ('policy', 'static_best', 'oracle');

-- what is not known is neither scored nor paid for
SELECT policy, violation_time, round(instance_hours::numeric * 60) AS instance_minutes, ticks
FROM qpsscale_backtest(ARRAY[10, NULL, NULL, 10]::float8[], '{"target_qps": 10}',
	warm_up => 0, players => '{static_best}');

-- a load that comes each day is foreseen
CREATE TEMP TABLE days AS
SELECT array_agg(CASE WHEN t % 1440 < 480 THEN 100 ELSE 300 END + t % 7
	ORDER BY t)::float8[] AS load
FROM generate_series(0, 10 * 1440 - 1) t;
SELECT r.policy, r.violation_time > 0.5 AS too_often, r.cost_ratio < 1.3 AS cheap
FROM days, qpsscale_backtest(load, '{"target_qps": 50}',
	players => '{reactive,predictive}') r;

-- prediction is slower to learn than a policy is to be compared
SELECT off.violation_time > enabled.violation_time AS fewer_violations
FROM days,
	qpsscale_backtest(load, '{"target_qps": 50, "prediction_mode": "off"}', players => '{policy}') off,
	qpsscale_backtest(load, '{"target_qps": 50, "prediction_mode": "enabled"}', players => '{policy}') enabled;

-- what cannot be
SELECT * FROM qpsscale_backtest('{}'::float8[], '{"target_qps": 10}');
SELECT * FROM qpsscale_backtest(ARRAY[-1]::float8[], '{"target_qps": 10}');
SELECT * FROM qpsscale_backtest(ARRAY['Infinity']::float8[], '{"target_qps": 10}');
SELECT * FROM qpsscale_backtest(ARRAY[[1, 2]]::float8[], '{"target_qps": 10}');
SELECT * FROM qpsscale_backtest(array_fill(1::float8, ARRAY[200001]), '{"target_qps": 10}');
SELECT * FROM qpsscale_backtest(ARRAY[1]::float8[], '{"target_qps": -10}');
SELECT * FROM qpsscale_backtest(ARRAY[1]::float8[], '{"taget_qps": 10}');
SELECT * FROM qpsscale_backtest(ARRAY[1]::float8[], '[]');
SELECT * FROM qpsscale_backtest(ARRAY[1]::float8[], '{"target_qps": 10}', capacity_qps => 0);
SELECT * FROM qpsscale_backtest(ARRAY[1]::float8[], '{"target_qps": 10}', step => '7 seconds');
SELECT * FROM qpsscale_backtest(ARRAY[1]::float8[], '{"target_qps": 10}', step => '0');
SELECT * FROM qpsscale_backtest(ARRAY[1, 2]::float8[], '{"target_qps": 10}', warm_up => 2);
SELECT * FROM qpsscale_backtest(ARRAY[1]::float8[], '{"target_qps": 10}', started_at => 'infinity');
SELECT * FROM qpsscale_backtest(4711);
SELECT * FROM qpsscale_backtest_ticks(4711);
SELECT qpsscale_backtest_report(4711);
SELECT * FROM qpsscale_tune(4711);

-- the recorded load of a group
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps, min_instances, max_instances)
VALUES ('alb', 'asg', 50, 1, 20) RETURNING id AS web \gset
SELECT * FROM qpsscale_backtest(:web);
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
SELECT '2026-01-01 00:00Z'::timestamptz + t * interval '1 minute', :web >> 5,
	array_fill(NULL::real, ARRAY[(:web & 31)::integer])
		|| (CASE WHEN t % 1440 < 480 THEN 100 ELSE 300 END + t % 7)::real, '{}', '{}'
FROM generate_series(1, 10 * 1440) t
WHERE t NOT BETWEEN 3000 AND 3100;
SELECT cardinality(load), started_at AT TIME ZONE 'UTC' AS started_at, step_seconds, warm_up,
	(SELECT count(*) FROM unnest(load) l WHERE l IS NULL) AS missing
FROM qpsscale.recorded_load(:web, '-infinity', 'infinity', '1 minute');
SELECT policy, violation_time > 1 AS too_often, ticks
FROM qpsscale_backtest(:web, since => '2026-01-01', until => '2026-02-01');

-- it decides as it does live: each tick has its reason
SELECT reason, count(*) > 0 AS some, bool_or(violated) AS violated
FROM qpsscale_backtest_ticks(:web, '{"prediction_mode": "enabled"}', '2026-01-01', '2026-02-01')
GROUP BY reason ORDER BY reason COLLATE "C";

-- what comes later changes nothing that was decided before
SELECT count(*) AS ticks, count(*) FILTER (WHERE whole IS DISTINCT FROM part) AS different
FROM qpsscale_backtest_ticks(:web, '{"prediction_mode": "enabled"}', '2026-01-01', '2026-01-08') part
JOIN qpsscale_backtest_ticks(:web, '{"prediction_mode": "enabled"}', '2026-01-01', '2026-02-01') whole
USING (at);

-- a load that is passed is played as the same one that was recorded
SELECT count(*) AS ticks, count(*) FILTER (WHERE mine IS DISTINCT FROM its) AS different
FROM qpsscale.recorded_load(:web, '2026-01-01', '2026-02-01', '1 minute') r,
	LATERAL qpsscale_backtest_ticks(r.load, '{"target_qps": 50, "prediction_mode": "enabled"}', r.started_at) mine
JOIN qpsscale_backtest_ticks(:web, '{"prediction_mode": "enabled"}', '2026-01-01', '2026-02-01') its USING (at);
SELECT mine -> 'policies' = its -> 'policies' AS policies, mine -> 'scored_from' = its -> 'scored_from' AS scored_from,
	mine - '{policies,overrides}'::text[] = its - '{policies,overrides,group_id}'::text[] AS rest
FROM qpsscale.recorded_load(:web, '2026-01-01', '2026-02-01', '1 minute') r,
	LATERAL qpsscale_backtest_report(r.load, '{"target_qps": 50}', r.started_at) mine,
	LATERAL qpsscale_backtest_report(:web, since => '2026-01-01', until => '2026-02-01') its;

-- two hours without users, who then all come at once: little of the hour after it is lost
SELECT mode, lost < 2.7 AS hardly_any, lost > 10 AS much
FROM (VALUES ('enabled'), ('off')) modes (mode),
	LATERAL (
		SELECT 100 * sum(greatest(t.load - 50 * t.in_service, 0)) / sum(t.load) AS lost
		FROM (SELECT array_agg(CASE WHEN m BETWEEN 13801 AND 13920 THEN 0
				ELSE (1000 + 800 * sin(2 * pi() * m / 1440) + m % 7)
					* CASE WHEN m BETWEEN 13921 AND 13980 THEN 1.4 ELSE 1 END END ORDER BY m) AS load
			FROM generate_series(1, 14100) m) l,
			LATERAL qpsscale_backtest_ticks(l.load, format('{"target_qps": 50, "boot_seconds": 300, "prediction_mode": %s}', to_json(mode))::jsonb) t
		WHERE t.at > '2001-01-01 00:00Z'::timestamptz + interval '13919 minutes'
			AND t.at <= '2001-01-01 00:00Z'::timestamptz + interval '13979 minutes') hour_after
ORDER BY mode;

-- as one document, and as a proposal, which changes nothing
SELECT r -> 'ticks' AS ticks, r -> 'missing' AS missing, r ->> 'scored_from' AS scored_from,
	(SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM jsonb_object_keys(r -> 'policies') k) AS policies
FROM qpsscale_backtest_report(:web, since => '2026-01-01', until => '2026-02-01') r;
SELECT setting, now, proposed FROM qpsscale_tune(:web, '2026-01-01', '2026-02-01') ORDER BY setting;
UPDATE qpsscale.resource_groups SET target_violation = 0.0005 WHERE id = :web;
SELECT setting, now, proposed <> now AS other, effect ~ '^all of these together: load above capacity' AS told
FROM qpsscale_tune(:web, '2026-01-01', '2026-02-01') ORDER BY setting;
SELECT version, prediction_mode FROM qpsscale.resource_groups WHERE id = :web;
-- ... and for any load: ten times as much for every third hour of ten minutes each
SELECT setting, now, proposed, effect ~ '^all of these together' AS told
FROM qpsscale_tune((SELECT array_agg(CASE WHEN t / 10 % 3 = 0 THEN 500 ELSE 50 END ORDER BY t)::float8[]
		FROM generate_series(0, 1439) t),
	'{"target_qps": 50, "boot_seconds": 60, "prediction_mode": "off"}', warm_up => 0)
ORDER BY setting;
SELECT * FROM qpsscale_tune(ARRAY[10, 10]::float8[], '{"mode": "static", "up_threshold": 60, "down_threshold": 20}');

-- what the page of a group asks: of each stretch the tightest tick
INSERT INTO qpsscale.resource_groups (name, alb_id, asg_id, target_qps) VALUES ('page', 'alb', 'asg-2', 50) RETURNING id AS page \gset
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
SELECT date_trunc('minute', now()) - t * interval '1 minute', :page >> 5,
	array_fill(NULL::real, ARRAY[(:page & 31)::integer]) || (CASE WHEN t % 10 = 0 THEN 900 ELSE 40 END)::real, '{}', '{}'
FROM generate_series(1, 1000) t;
SELECT r -> 'ticks' AS ticks, (SELECT string_agg(p ->> 'policy', ' ' ORDER BY n)
		FROM jsonb_array_elements(r -> 'policies') WITH ORDINALITY AS e (p, n)) AS policies,
	jsonb_array_length(r #> '{series,at}') AS points, r #> '{series,load}' @> '900' AS peaks_stay,
	(SELECT count(*) FROM jsonb_array_elements(r #> '{series,lacking}') l WHERE l::numeric > 0) BETWEEN 95 AND 100 AS lacking
FROM qpsscale.http_backtest('{"resource_id": "page", "overrides": {"prediction_mode": "off"}, "days": 1}') r;
SELECT qpsscale.http_backtest('{"resource_id": "page", "days": 15}');
SELECT qpsscale.http_backtest('{"resource_id": "page", "overrides": {"name": "x"}}');

-- its own limits, and the cloud's, bound it
SELECT max(desired) FROM qpsscale_backtest_ticks(:web, '{"max_instances": 4}', '2026-01-01', '2026-02-01');
SELECT min(desired) FROM qpsscale_backtest_ticks(:web, '{"min_instances": 5}', '2026-01-01', '2026-02-01');

-- who may read groups may play them
CREATE ROLE regress_qpsscale_player;
SELECT qpsscale_grant('regress_qpsscale_player', 'reader');
SET ROLE regress_qpsscale_player;
SELECT count(*) FROM qpsscale_backtest(:web, since => '2026-01-01', until => '2026-02-01');
SELECT count(*) FROM qpsscale_backtest(ARRAY[10, 20]::float8[], '{"target_qps": 10}');
SELECT count(*) FROM qpsscale_backtest_ticks(:web, since => '2026-01-10', until => '2026-01-10 00:10');
SELECT count(*) FROM qpsscale_backtest_ticks(ARRAY[10, 20]::float8[], '{"target_qps": 10}');
SELECT jsonb_typeof(qpsscale_backtest_report(ARRAY[10, 20]::float8[], '{"target_qps": 10}'));
SELECT jsonb_typeof(qpsscale_backtest_report(:web, since => '2026-01-10', until => '2026-01-10 00:10'));
SELECT count(*) >= 0 AS tuned FROM qpsscale_tune(:web, '2026-01-10', '2026-01-10 00:10');
RESET ROLE;
SELECT qpsscale_revoke('regress_qpsscale_player');

DROP EXTENSION qpsscale;
DROP ROLE regress_qpsscale_player;
