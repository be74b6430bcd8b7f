-- What instances cost: numbers that can be checked by hand.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;
INSERT INTO qpsscale.resource_groups
	(id, name, provider, region, alb_id, asg_id, target_qps, enabled,
	 instance_type, spot_percent, hourly_price, currency)
	VALUES
	(1, 'bare', 'byteplus', 'r1', 'alb-1', 'asg-1', 50, true, NULL, 0, NULL, NULL),
	(2, 'typed', 'byteplus', 'r1', 'alb-2', 'asg-2', 50, true, 'g3', 0, NULL, NULL),
	(3, 'mixed', 'byteplus', 'r1', 'alb-3', 'asg-3', 50, true, 'g3', 70, NULL, NULL),
	(4, 'own', 'byteplus', 'r1', 'alb-4', 'asg-4', 50, true, 'g3', 70, 0.5, 'EUR'),
	(5, 'far', 'byteplus', 'r2', 'alb-5', 'asg-5', 50, true, 'g3', 0, NULL, NULL);

-- no price is NULL and a reason, never 0
SELECT * FROM qpsscale.instance_cost(1, 4, '2027-01-15 00:00+00');
SELECT reason_unpriced FROM qpsscale.instance_cost(2, 4, '2027-01-15 00:00+00');

INSERT INTO qpsscale.prices (provider, region, instance_type, purchase_option,
							 price_per_hour, currency, valid_from, valid_until)
	VALUES
	('byteplus', 'r1', 'g3', 'on_demand', 0.1, 'USD', '2027-01-01 00:00+00', NULL),
	('byteplus', 'r1', 'g3', 'on_demand', 0.12, 'USD', '2027-01-10 00:00+00', NULL),
	('byteplus', NULL, 'g3', 'on_demand', 0.2, 'USD', '2027-01-01 00:00+00', NULL),
	('byteplus', 'r1', 'g3', 'spot', 0.03, 'USD', '2027-01-01 00:00+00', '2027-02-01 00:00+00');
-- the price of then, of the region before that of all, mixed by the share
SELECT g.name, w.at::date, c.hourly, c.daily, c.monthly, c.currency,
	c.price_source, (c.price_as_of AT TIME ZONE 'UTC')::date AS as_of, c.reason_unpriced
FROM qpsscale.resource_groups g
CROSS JOIN (VALUES ('2027-01-09 12:00+00'::timestamptz), ('2027-01-15 12:00+00'),
	('2027-03-01 12:00+00')) AS w (at)
CROSS JOIN LATERAL qpsscale.instance_cost(g.id, 10, w.at) c
ORDER BY g.id, w.at;
-- none costs nothing, an unknown number costs what nobody knows
SELECT hourly, monthly, currency FROM qpsscale.instance_cost(4, 0);
SELECT hourly, currency, reason_unpriced FROM qpsscale.instance_cost(4, NULL);

-- currencies are never added
INSERT INTO qpsscale.prices (provider, region, instance_type, purchase_option,
							 price_per_hour, currency, valid_from)
	VALUES ('byteplus', 'r1', 'g3', 'spot', 0.03, 'EUR', '2027-02-01 00:00+00');
SELECT hourly, currency, reason_unpriced
FROM qpsscale.instance_cost(3, 10, '2027-03-01 12:00+00');
UPDATE qpsscale.prices SET valid_from = valid_from - interval '10 years',
	valid_until = NULL;
UPDATE qpsscale.state SET latest_capacity = resource_group_id;
SELECT component, quantity, price, amount, currency, note
FROM qpsscale_estimate_cost() WHERE component = 'instances';
SELECT quantity, price, amount, currency, note
FROM qpsscale_estimate_cost(2, 3) WHERE component = 'instances';

-- what was spent: two hours of four instances, a gap, an hour of two; the price
-- changes after the first hour, and the maximum is ten
UPDATE qpsscale.state SET latest_max = 10 WHERE resource_group_id = 5;
DELETE FROM qpsscale.prices WHERE instance_type = 'g9';
UPDATE qpsscale.resource_groups SET instance_type = 'g9' WHERE id = 5;
INSERT INTO qpsscale.prices (provider, region, instance_type, price_per_hour, currency, valid_from)
	VALUES ('byteplus', 'r2', 'g9', 0.10, 'USD', '2027-01-01 00:00+00'),
	('byteplus', 'r2', 'g9', 0.20, 'USD', '2027-01-15 01:00+00');
INSERT INTO qpsscale.samples (at, chunk, load, in_service, desired)
SELECT '2027-01-15 00:00+00'::timestamptz + m * interval '1 minute', 0, '{}', '{}',
	array_fill(NULL::integer, ARRAY[5]) || CASE WHEN m < 120 THEN 4 ELSE 2 END
FROM generate_series(0, 239) m WHERE m NOT BETWEEN 120 AND 179;
SELECT instance_hours, known_hours, unknown_hours, cost, cost_at_maximum, savings, currency, reason_unpriced
FROM qpsscale_spent(5, '2027-01-15 00:00+00', '2027-01-15 04:00+00');
SELECT cost, unknown_hours, currency, reason_unpriced
FROM qpsscale_spent(5, '2027-01-16 00:00+00', '2027-01-16 04:00+00');
UPDATE qpsscale.prices SET currency = 'EUR' WHERE instance_type = 'g9' AND price_per_hour = 0.20;
SELECT instance_hours, cost, savings, currency, reason_unpriced
FROM qpsscale_spent(5, '2027-01-15 00:00+00', '2027-01-15 04:00+00');
SELECT * FROM qpsscale_spent(5, '2027-01-15 00:00+00', '2027-01-14 04:00+00');
SELECT * FROM qpsscale_spent(4711);

-- what is refused
INSERT INTO qpsscale.prices (provider, instance_type, price_per_hour, currency)
	VALUES ('byteplus', 'g3', -1, 'USD');
INSERT INTO qpsscale.prices (provider, instance_type, price_per_hour, currency)
	VALUES ('byteplus', 'g3', 'NaN', 'USD');
INSERT INTO qpsscale.prices (provider, instance_type, price_per_hour, currency)
	VALUES ('byteplus', 'g3', 1, 'usd');
INSERT INTO qpsscale.prices (provider, region, instance_type, price_per_hour, currency, valid_from)
	SELECT provider, region, instance_type, 9, currency, valid_from
	FROM qpsscale.prices WHERE region IS NULL;
UPDATE qpsscale.resource_groups SET hourly_price = 1 WHERE id = 1;
UPDATE qpsscale.resource_groups SET spot_percent = 101 WHERE id = 1;

DROP EXTENSION qpsscale;
