-- What qpsscale_forecast() says of any series, and what it refuses.
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;
\set VERBOSITY default

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
FROM qpsscale_forecast('{7,7,7,7}', 3, started_at => '2027-01-31 22:00:00+00');
SELECT at AT TIME ZONE 'UTC' AS at
FROM qpsscale_forecast('{7,7,7,7}', 2, '15 minutes', '2027-01-31 22:00:00+00');

-- little history allows little, and none nothing
SELECT n, f.method, f.mean IS NULL AS nothing
FROM unnest(ARRAY[0, 1, 2, 3, 47, 48, 239, 240]) n,
LATERAL qpsscale_forecast(array_fill(5::float8, ARRAY[n]), 1) f
ORDER BY n;
SELECT method, mean FROM qpsscale_forecast('{NULL,NULL,NaN}', 1);
SELECT method, mean, lower95, upper95 FROM qpsscale_forecast('{0,0,0,0}', 1);

-- refused, with a word on what to do
SELECT * FROM qpsscale_forecast(NULL);
SELECT * FROM qpsscale_forecast('{1}', 0);
SELECT * FROM qpsscale_forecast('{1}', 169);
SELECT * FROM qpsscale_forecast('{1,-2}');
SELECT * FROM qpsscale_forecast('{{1,2},{3,4}}');
SELECT * FROM qpsscale_forecast('{1}', 1, '1 day');
SELECT * FROM qpsscale_forecast('{1}', 1, '7 minutes');
SELECT * FROM qpsscale_forecast('{1}', 1, '-1 hour');
SELECT * FROM qpsscale_forecast('{1}', 1, '1 hour', 'infinity');
SELECT * FROM qpsscale_forecast(array_fill(1::float8, ARRAY[1000001]));

DROP EXTENSION qpsscale;
