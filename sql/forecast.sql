-- What qpsscale_forecast() says of any series, and what it refuses.
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;
\set VERBOSITY default
\set SHOW_CONTEXT never

-- a load with a day and a week in it, five weeks of it
CREATE TEMP TABLE load AS
SELECT t, 100 * (2 + sin(2 * pi() * t / 24) + 0.5 * sin(2 * pi() * t / 168)) AS qps
FROM generate_series(0, 840 + 47) t;

-- goes on as it was
SELECT count(*) AS rows, min(f.step_number), max(f.step_number),
	max(abs(f.mean / l.qps - 1)) < 0.02 AS near,
	bool_and(f.lower95 <= f.lower80 AND f.lower80 <= f.mean
		AND f.mean <= f.upper80 AND f.upper80 <= f.upper95) AS ordered,
	min(f.method) AS method, count(f.at) AS dated
FROM qpsscale_forecast((SELECT array_agg(qps ORDER BY t) FROM load
						WHERE t < 840)) f
JOIN load l ON l.t = 839 + f.step_number;

-- the same again is the same
SELECT count(*) FROM (
	SELECT * FROM qpsscale_forecast((SELECT array_agg(qps ORDER BY t) FROM load))
	EXCEPT
	SELECT * FROM qpsscale_forecast((SELECT array_agg(qps ORDER BY t) FROM load))) d;

-- with gaps, as NULL or NaN, and two absurd values
SELECT max(abs(f.mean / l.qps - 1)) < 0.05 AS near
FROM qpsscale_forecast((
	SELECT array_agg(CASE WHEN t % 31 = 0 OR t BETWEEN 500 AND 511 THEN NULL
		WHEN t % 97 = 1 THEN 'NaN' WHEN t IN (610, 720) THEN 20 * qps
		ELSE qps END ORDER BY t)
	FROM load WHERE t < 840)) f
JOIN load l ON l.t = 839 + f.step_number;

-- times, from when the series began
SELECT step_number, at AT TIME ZONE 'UTC' AS at, mean, method
FROM qpsscale_forecast('{7,7,7,7}'::float8[], 3, started_at => '2027-01-31 22:00:00+00');
SELECT at AT TIME ZONE 'UTC' AS at
FROM qpsscale_forecast('{7,7,7,7}'::float8[], 2, '15 minutes', '2027-01-31 22:00:00+00');

-- little history allows little, and none nothing
SELECT n, f.method, f.mean IS NULL AS nothing
FROM unnest(ARRAY[0, 1, 2, 3, 47, 48, 239, 240]) n,
LATERAL qpsscale_forecast(array_fill(5::float8, ARRAY[n]), 1) f
ORDER BY n;
SELECT method, mean FROM qpsscale_forecast('{NULL,NULL,NaN}'::float8[], 1);
SELECT method, mean, lower95, upper95 FROM qpsscale_forecast('{0,0,0,0}'::float8[], 1);

-- refused, with a word on what to do
SELECT * FROM qpsscale_forecast(NULL::float8[]);
SELECT * FROM qpsscale_forecast('{1}'::float8[], 0);
SELECT * FROM qpsscale_forecast('{1}'::float8[], 169);
SELECT * FROM qpsscale_forecast('{1,-2}'::float8[]);
SELECT * FROM qpsscale_forecast('{{1,2},{3,4}}'::float8[]);
SELECT * FROM qpsscale_forecast('{1}'::float8[], 1, '1 day');
SELECT * FROM qpsscale_forecast('{1}'::float8[], 1, '7 minutes');
SELECT * FROM qpsscale_forecast('{1}'::float8[], 1, '-1 hour');
SELECT * FROM qpsscale_forecast('{1}'::float8[], 1, '1 hour', 'infinity');
SELECT * FROM qpsscale_forecast(array_fill(1::float8, ARRAY[1000001]));

-- of a group, from its samples: hours, as far as they are known
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps, max_instances, hourly_price, currency)
VALUES ('alb', 'asg', 50, 6, 0.25, 'USD') RETURNING id AS web \gset
SELECT method, count(*), count(mean) AS means, count(instances) AS instances,
	count(instances95) AS instances95, count(hourly_cost) AS costs,
	min(at) > now() - interval '1 hour' AS soon
FROM qpsscale_forecast(:web) GROUP BY method;
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
SELECT date_trunc('hour', now()) - interval '14 days' + t * interval '1 minute', :web >> 5,
	array_fill(NULL::real, ARRAY[(:web & 31)::integer])
		|| (200 + 100 * sin(2 * pi() * t / 1440))::real, '{}', '{}'
FROM generate_series(1, 14 * 1440 + 30) t
-- a gap of some hours, and one hour of which little is known
WHERE t NOT BETWEEN 3000 AND 3200 AND t NOT BETWEEN 5000 AND 5050;
SELECT method, count(*), min(at) = date_trunc('hour', now()) AS from_this_hour,
	max(abs(mean / (200 + 100 * sin(2 * pi() * (extract(epoch FROM at
		- date_trunc('hour', now())) / 60 + 30.5) / 1440)) - 1)) < 0.02 AS near,
	bool_and(lower95 <= lower80 AND upper80 <= upper95) AS ordered,
	bool_and(instances = least(ceil(mean / 50), 6)) AS enough, max(instances95) AS most,
	bool_and(hourly_cost = instances * 0.25 AND currency = 'USD') AS priced
FROM qpsscale_forecast(:web) GROUP BY method;
SELECT count(*) FROM qpsscale_forecast(:web, 5);
SELECT jsonb_array_length(b -> 'at') AS points FROM qpsscale.forecast_band(:web, '6 hours') b;
SELECT * FROM qpsscale_forecast(:web, 0);
SELECT * FROM qpsscale_forecast(4711);
DELETE FROM qpsscale.resource_groups;

DROP EXTENSION qpsscale;
