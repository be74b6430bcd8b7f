-- Signals of groups: what is refused when they are written, who may write
-- them, and what goes with them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

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
		'new row for relation "signals" violates check constraint ',
		'violates '), E'\n' || nullif('HINT: ' || said_hint, 'HINT: '));
END
$$;

INSERT INTO qpsscale.resource_groups (provider, asg_id, max_instances)
	VALUES ('kubernetes', 'shop/web', 10) RETURNING id \gset
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	VALUES (:id, 'queue', 'sql', 'SELECT 1', 100);
SELECT name, source, law, role, activation, tolerance, empty_means,
	max_age_seconds, hold_seconds, fallback_instances, fallback_after_seconds,
	enabled
FROM qpsscale.signals;

-- one column wrong, all others right
CREATE FUNCTION attempt_column(column_name text, value text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	RETURN attempt(format('UPDATE qpsscale.signals SET %I = %s',
						  column_name, value));
END
$$;
BEGIN;
SELECT c.name, c.value, attempt_column(c.name, c.value)
FROM (VALUES
	(1, 'name', $$''$$),
	(2, 'name', $$'Queue'$$),
	(3, 'name', $$'qps'$$),
	(4, 'name', $$'cpu'$$),
	(5, 'name', $$'limit'$$),
	(6, 'name', $$'queue_fallback'$$),
	(7, 'name', $$repeat('a', 64)$$),
	(8, 'name', 'NULL'),
	(9, 'source', $$'guess'$$),
	(10, 'source', $$'prometheus'$$),
	(11, 'account', $$'none'$$),
	(12, 'query', $$''$$),
	(13, 'query', 'NULL'),
	(14, 'label', $$'group'$$),
	(15, 'label_value', $$'web'$$),
	(16, 'law', $$'sum'$$),
	(17, 'role', $$'guest'$$),
	(18, 'target', '0'),
	(19, 'target', '-1'),
	(20, 'target', $$'NaN'$$),
	(21, 'target', $$'Infinity'$$),
	(22, 'target', 'NULL'),
	(23, 'activation', '-1'),
	(24, 'activation', $$'NaN'$$),
	(25, 'tolerance', '-0.1'),
	(26, 'tolerance', '1.1'),
	(27, 'tolerance', $$'NaN'$$),
	(28, 'empty_means', $$'one'$$),
	(29, 'max_age_seconds', '-1'),
	(30, 'hold_seconds', '-1'),
	(31, 'fallback_instances', '-1'),
	(32, 'fallback_after_seconds', '-1'),
	(33, 'enabled', 'NULL'),
	(34, 'resource_group_id', '0'),
	(35, 'id', '77')) c (number, name, value)
ORDER BY c.number;
SELECT attempt($$UPDATE qpsscale.signals SET role = 'veto',
	fallback_instances = 3$$) AS veto_with_fallback;
ROLLBACK;

-- a second one of that name, and one of no group
SELECT attempt(format('INSERT INTO qpsscale.signals
	(resource_group_id, name, source, query, target)
	VALUES (%s, ''queue'', ''sql'', ''SELECT 2'', 1)', :id)) AS twice;
SELECT attempt('INSERT INTO qpsscale.signals
	(resource_group_id, name, source, query, target)
	VALUES (0, ''queue'', ''sql'', ''SELECT 2'', 1)') AS of_no_group;

-- what a cloud can be asked for
SELECT attempt(format('INSERT INTO qpsscale.signals
	(resource_group_id, name, source, query, target)
	VALUES (%s, ''heat'', ''cloud'', ''temperature'', 1)', :id)) AS unknown_signal;
SELECT attempt('UPDATE qpsscale.resource_groups SET target_cpu = 0') AS zero;
SELECT attempt('UPDATE qpsscale.resource_groups SET target_memory = ''NaN''') AS nan;
SELECT attempt('UPDATE qpsscale.resource_groups SET target_cpu = 60,
	target_memory = 1000') AS both;
SELECT attempt('UPDATE qpsscale.resource_groups SET provider = ''byteplus''') AS no_cpu_there;
UPDATE qpsscale.resource_groups SET target_cpu = NULL, target_memory = NULL;
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, law, target)
	VALUES (:id, 'heat', 'cloud', 'cpu', 'value', 60);
SELECT attempt('UPDATE qpsscale.resource_groups SET provider = ''byteplus''') AS no_signal_there;
DELETE FROM qpsscale.signals WHERE name = 'heat';

-- each change is one of the group's policy
SELECT version FROM qpsscale.resource_groups \gset before_
UPDATE qpsscale.signals SET target = 50;
SELECT version - :before_version AS newer FROM qpsscale.resource_groups;
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target, role)
	VALUES (:id, 'latency', 'sql', 'SELECT 0.2', 0.5, 'veto');
SELECT version - :before_version AS newer FROM qpsscale.resource_groups;

-- a group is enabled once something drives it: a veto does not
UPDATE qpsscale.signals SET enabled = false WHERE name = 'queue';
SELECT attempt('UPDATE qpsscale.resource_groups SET enabled = true') AS only_a_veto;
UPDATE qpsscale.signals SET enabled = true WHERE name = 'queue';
SELECT attempt('UPDATE qpsscale.resource_groups SET enabled = true') AS driven;
SELECT attempt($$INSERT INTO qpsscale.resource_groups (asg_id, enabled)
	VALUES ('asg-2', true)$$) AS undriven;

-- a signal that changed, or a built-in one that was switched off, has no past
INSERT INTO qpsscale.signal_state (resource_group_id, name, missing_since)
	VALUES (:id, 'queue', '2026-01-01'), (:id, 'latency', '2026-01-01'),
		(:id, 'cpu', '2026-01-01');
SELECT name FROM qpsscale.signals_now(:id) ORDER BY name;
UPDATE qpsscale.signals SET target = 60 WHERE name = 'queue';
UPDATE qpsscale.resource_groups SET target_cpu = NULL;
SELECT name FROM qpsscale.signal_state;

-- not more than core takes
INSERT INTO qpsscale.signals (resource_group_id, name, source, query, target)
	SELECT :id, 'more_' || n, 'sql', 'SELECT 1', 1 FROM generate_series(1, 12) n;
SELECT attempt(format('INSERT INTO qpsscale.signals
	(resource_group_id, name, source, query, target)
	VALUES (%s, ''too_many'', ''sql'', ''SELECT 2'', 1)', :id)) AS too_many;
DELETE FROM qpsscale.signals WHERE name LIKE 'more%';

-- who may: the group's owner says what is asked, an admin only how it counts
CREATE ROLE regress_qpsscale_owner;
CREATE ROLE regress_qpsscale_other;
CREATE ROLE regress_qpsscale_admin;
CREATE ROLE regress_qpsscale_reader;
SELECT qpsscale_grant('regress_qpsscale_owner', 'operator');
SELECT qpsscale_grant('regress_qpsscale_other', 'operator');
SELECT qpsscale_grant('regress_qpsscale_admin', 'admin');
SELECT qpsscale_grant('regress_qpsscale_reader', 'reader');
UPDATE qpsscale.resource_groups SET owner = 'regress_qpsscale_owner';
GRANT EXECUTE ON FUNCTION attempt(text) TO PUBLIC;
SET ROLE regress_qpsscale_owner;
SELECT attempt($$UPDATE qpsscale.signals SET query = 'SELECT 3' WHERE name = 'queue'$$) AS owner_query;
SELECT attempt('LOCK TABLE qpsscale.signals') AS owner_lock;
SELECT attempt('DELETE FROM qpsscale.signals') AS owner_delete;
SET ROLE regress_qpsscale_other;
SELECT attempt('UPDATE qpsscale.signals SET target = 1') AS other_target;
SELECT attempt(format('INSERT INTO qpsscale.signals
	(resource_group_id, name, source, query, target)
	VALUES (%s, ''mine'', ''sql'', ''SELECT 2'', 1)', :id)) AS other_insert;
SET ROLE regress_qpsscale_admin;
SELECT attempt($$UPDATE qpsscale.signals SET target = 70 WHERE name = 'queue'$$) AS admin_target;
SELECT attempt($$UPDATE qpsscale.signals SET query = 'SELECT 4' WHERE name = 'queue'$$) AS admin_query;
SET ROLE regress_qpsscale_reader;
SELECT name, query FROM qpsscale.signals ORDER BY name;
SELECT attempt('UPDATE qpsscale.signals SET target = 1') AS reader_target;
SELECT attempt('INSERT INTO qpsscale.signal_state VALUES (1, ''queue'')') AS reader_state;
RESET ROLE;

-- they go with the group
SELECT qpsscale_delete(:id);
SELECT count(*) AS signals FROM qpsscale.signals;
SELECT count(*) AS states FROM qpsscale.signal_state;

DROP FUNCTION attempt_column(text, text);
DROP FUNCTION attempt(text);
DROP EXTENSION qpsscale;
DROP ROLE regress_qpsscale_owner;
DROP ROLE regress_qpsscale_other;
DROP ROLE regress_qpsscale_admin;
DROP ROLE regress_qpsscale_reader;
