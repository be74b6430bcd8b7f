-- Schedules: which of them holds when, what is refused, who may write them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;
SET timezone = 'UTC';

CREATE FUNCTION attempt(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	said_hint text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said_hint = PG_EXCEPTION_HINT;
	RETURN concat(SQLSTATE, ' ', replace(SQLERRM,
		'new row for relation "schedules" violates check constraint ',
		'violates '), E'\n' || nullif('HINT: ' || said_hint, 'HINT: '));
END
$$;
-- what holds at each of these moments
CREATE FUNCTION at(moments text[]) RETURNS TABLE (moment text, holds text)
LANGUAGE sql AS $$
	SELECT m, string_agg(CASE WHEN s.schedule IS NOT NULL THEN concat(s.schedule, ' ', s.min_instances, '..',
		s.max_instances, ' from ', s.starts_at, ' to ', s.ends_at) END, ', ')
	FROM unnest(moments) WITH ORDINALITY u (m, nr)
	LEFT JOIN qpsscale.schedules_at(1, m::timestamptz) s ON true
	GROUP BY m, nr
	ORDER BY nr;
$$;

INSERT INTO qpsscale.resource_groups (id, alb_id, asg_id, target_qps)
	VALUES (1, 'alb-1', 'asg-1', 100), (2, 'alb-2', 'asg-2', 100);
INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration, max_instances)
	VALUES (1, 'night', '22:00', '8 hours', 3);
SELECT name, min_instances, max_instances, time_zone, weekdays, starts_at,
	duration, first_date, last_date, except_dates, enabled
FROM qpsscale.schedules;

-- across midnight; its end is not part of it
SELECT * FROM at('{2026-03-10 21:59:59,2026-03-10 22:00,2026-03-11 05:59:59,2026-03-11 06:00}');

-- in Berlin 02:00 becomes 03:00 on 29 March, and 03:00 becomes 02:00 on 25
-- October: by the clocks it is the same span
UPDATE qpsscale.schedules SET time_zone = 'Europe/Berlin';
SELECT * FROM at('{2026-03-28 21:00,2026-03-29 03:59:59,2026-03-29 04:00,2026-10-24 20:00,2026-10-25 04:59:59,2026-10-25 05:00}');
SELECT starts_at, ends_at, ends_at - starts_at AS lasts
FROM qpsscale.schedules_at(1, '2026-03-29 01:30'::timestamptz)
UNION ALL
SELECT starts_at, ends_at, ends_at - starts_at
FROM qpsscale.schedules_at(1, '2026-10-25 01:30'::timestamptz);
-- a start that the clocks skip is later, one that comes twice is the second
UPDATE qpsscale.schedules SET starts_at = '02:30', duration = '1 hour';
SELECT * FROM at('{2026-03-29 01:29,2026-03-29 01:30,2026-10-25 00:45,2026-10-25 01:30,2026-10-25 02:29}');

-- weekdays count where it starts; so do exceptions and the dates of validity
UPDATE qpsscale.schedules SET time_zone = 'UTC', starts_at = '22:00',
	duration = '8 hours', weekdays = '{5}', except_dates = '{2026-03-13}',
	first_date = '2026-03-06', last_date = '2026-03-20';
SELECT * FROM at('{2026-02-27 23:00,2026-03-05 23:00,2026-03-06 23:00,2026-03-07 01:00,2026-03-07 23:00,2026-03-13 23:00,2026-03-14 01:00,2026-03-20 23:00,2026-03-27 23:00}');
-- once, for three days
UPDATE qpsscale.schedules SET name = 'Black Friday', min_instances = 20,
	max_instances = NULL, weekdays = DEFAULT, except_dates = DEFAULT,
	first_date = '2026-11-27', last_date = '2026-11-27', starts_at = '00:00',
	duration = '3 days', time_zone = 'America/New_York';
SELECT * FROM at('{2026-11-27 04:59,2026-11-27 05:00,2026-11-30 04:59,2026-11-30 05:00}');
-- of one that overlaps itself the occurrence that lasts longest
UPDATE qpsscale.schedules SET name = 'long', first_date = NULL,
	last_date = NULL, time_zone = 'UTC', duration = '30 hours';
SELECT * FROM at('{2026-03-10 03:00,2026-03-10 12:00}');
-- others of the group, of another group, and one that is switched off
INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration, min_instances, max_instances, enabled)
	VALUES (1, 'all day', '00:00', '1 day', 2, 5, true),
		(1, 'off', '00:00', '1 day', 2, 5, false),
		(2, 'other', '00:00', '1 day', 2, 5, true);
SELECT * FROM at('{2026-03-10 12:00}');
SELECT resource_group_id, schedule
FROM qpsscale.schedules_at(NULL, '2026-03-10 12:00'::timestamptz);
DELETE FROM qpsscale.schedules WHERE name <> 'long';

-- one column wrong, all others right
CREATE FUNCTION attempt_column(column_name text, value text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	RETURN attempt(format('UPDATE qpsscale.schedules SET %I = %s',
						  column_name, value));
END
$$;
BEGIN;
SELECT c.name, c.value, attempt_column(c.name, c.value)
FROM (VALUES
	(1, 'name', $$''$$),
	(2, 'name', 'NULL'),
	(3, 'min_instances', '-1'),
	(4, 'min_instances', 'NULL'),
	(5, 'max_instances', '-1'),
	(6, 'max_instances', '19'),
	(7, 'time_zone', $$'Atlantis'$$),
	(8, 'time_zone', $$'CEST'$$),
	(9, 'time_zone', $$'XYZ3'$$),
	(10, 'time_zone', $$''$$),
	(11, 'time_zone', 'NULL'),
	(12, 'weekdays', $$'{}'$$),
	(13, 'weekdays', $$'{0}'$$),
	(14, 'weekdays', $$'{1,NULL}'$$),
	(15, 'starts_at', $$'24:00'$$),
	(16, 'starts_at', 'NULL'),
	(17, 'duration', $$'0'$$),
	(18, 'duration', $$'-1 hour'$$),
	(19, 'duration', $$'32 days'$$),
	(20, 'first_date', $$'-infinity'$$),
	(21, 'last_date', $$'infinity'$$),
	(22, 'except_dates', 'NULL'),
	(23, 'resource_group_id', '2'),
	(24, 'duration', $$'31 days'$$),
	(25, 'weekdays', $$'{7}'$$)) c (number, name, value)
ORDER BY c.number;
SELECT attempt($$UPDATE qpsscale.schedules SET first_date = '2026-01-02',
	last_date = '2026-01-01'$$) AS backwards;
ROLLBACK;
SELECT attempt($$INSERT INTO qpsscale.schedules
	(resource_group_id, name, starts_at, duration, min_instances)
	VALUES (1, 'long', '12:00', '1 hour', 1)$$) AS twice;

-- a row of a server that knew another time zone: the floor holds, no cap does
INSERT INTO qpsscale.schedules (resource_group_id, name, starts_at, duration,
	min_instances, max_instances, time_zone, created_at)
	VALUES (2, 'lost', '12:00', '1 hour', 4, 4, 'Atlantis', '2026-01-01'),
		(2, 'cap', '12:00', '1 hour', NULL, 4, 'Atlantis', '2026-01-01');
SELECT * FROM qpsscale.schedules_at(2, '2026-03-10 20:00'::timestamptz);

-- who may write and delete them, and that this is a change of the policy
CREATE ROLE regress_qpsscale_owner;
CREATE ROLE regress_qpsscale_other;
SELECT qpsscale_grant('regress_qpsscale_owner', 'operator');
SELECT qpsscale_grant('regress_qpsscale_other', 'operator');
UPDATE qpsscale.resource_groups SET owner = 'regress_qpsscale_owner';
SELECT version FROM qpsscale.resource_groups WHERE id = 1 \gset before_
SET ROLE regress_qpsscale_other;
UPDATE qpsscale.schedules SET min_instances = 1 WHERE name = 'long';
SELECT qpsscale_delete_schedule(1, 'long');
SET ROLE regress_qpsscale_owner;
UPDATE qpsscale.schedules SET min_instances = 1 WHERE name = 'long';
SELECT version - :before_version AS newer FROM qpsscale.resource_groups WHERE id = 1;
SELECT qpsscale_delete_schedule(1, 'short');
SELECT qpsscale_delete_schedule(1, NULL);
SELECT qpsscale_delete_schedule(1, 'long');
SELECT version - :before_version AS newer FROM qpsscale.resource_groups WHERE id = 1;
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	VALUES (1, 'queue', 'sql', 'SELECT 1', 100);
SELECT qpsscale_delete_signal(1, 'queue');
SELECT qpsscale_delete_signal(1, 'queue');
-- with the group
SELECT qpsscale_delete(2);
RESET ROLE;
SELECT count(*) AS schedules FROM qpsscale.schedules;

DROP FUNCTION attempt_column(text, text);
DROP FUNCTION attempt(text);
DROP FUNCTION at(text[]);
DROP EXTENSION qpsscale;
DROP ROLE regress_qpsscale_owner;
DROP ROLE regress_qpsscale_other;
