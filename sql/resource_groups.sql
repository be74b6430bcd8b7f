-- Resource groups: what a policy may say, and what the triggers do.
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

-- Runs a statement and says how it was refused, without the row's times.
CREATE FUNCTION attempt(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	message text;
	rule text;
	hint text;
	code text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, rule = CONSTRAINT_NAME,
		hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE;
	RETURN code || ' ' || message
		|| coalesce(E'\nHINT: ' || nullif(hint, ''), '');
END
$$;

-- the first original's statement works unchanged
INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, region, target_qps, scale_up_cooldown_seconds,
	 scale_down_cooldown_seconds, general_cooldown_seconds, dry_run, enabled)
	VALUES ('alb-1', 'asg-1', 'ap-southeast-1', 100, 300, 600, 180, true, true);
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, region, target_qps)
	VALUES ('alb-2', 'asg-2', 'ap-southeast-1', 50);
\x on
SELECT id, name, provider, account, kind, alb_id, asg_id, region, mode,
	target_qps, up_threshold, down_threshold, min_instances, max_instances,
	max_scale_up_per_action, max_scale_down_per_action,
	max_scale_down_percent, scale_up_tolerance, scale_down_tolerance,
	scale_up_on, suspicious_drop_guard, scale_down_window_seconds,
	scale_up_cooldown_seconds, scale_down_cooldown_seconds,
	general_cooldown_seconds, max_load_age_seconds,
	activity_deadline_seconds, dry_run, enabled,
	owner = CURRENT_USER AS owner_is_me, version,
	last_validated_at, uuid IS NOT NULL AS has_uuid,
	created_at = updated_at AS untouched
FROM qpsscale.resource_groups
WHERE asg_id = 'asg-2';
-- its state row is there at once
SELECT s.last_evaluated_at, s.cooldown_until, s.consecutive_errors,
	s.circuit_open_until, s.suspended, s.latest_qps, s.latest_capacity,
	s.last_action, s.recommended, s.repeat_count
FROM qpsscale.state s
JOIN qpsscale.resource_groups g ON g.id = s.resource_group_id
WHERE g.asg_id = 'asg-2';
\x off

-- Tries a value of one column, in a row that is good otherwise.
CREATE FUNCTION attempt_column(column_name text, value text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	answer text := attempt(format(
		'UPDATE qpsscale.resource_groups SET %I = %s WHERE asg_id = ''asg-2''',
		column_name, value));
BEGIN
	-- what was allowed is undone by the caller's transaction
	RETURN replace(answer,
		'new row for relation "resource_groups" violates check constraint ',
		'violates ');
END
$$;

BEGIN;
SELECT c.name, c.value, attempt_column(c.name, c.value)
FROM (VALUES
	(1, 'name', $$''$$),
	(2, 'name', 'NULL'),
	(3, 'name', $$'asg-1'$$),
	(4, 'provider', $$'gcp'$$),
	(5, 'account', $$''$$),
	(6, 'kind', $$''$$),
	(7, 'kind', $$'asg'$$),
	(8, 'alb_id', $$''$$),
	(9, 'alb_id', 'NULL'),
	(10, 'asg_id', $$''$$),
	(11, 'asg_id', 'NULL'),
	(12, 'region', $$''$$),
	(13, 'region', $$'a b'$$),
	(14, 'region', $$'x.evil.example/'$$),
	(15, 'region', $$E'eu\n'$$),
	(16, 'region', $$repeat('a', 65)$$),
	(17, 'mode', $$'magic'$$),
	(18, 'target_qps', '0'),
	(19, 'target_qps', '-1'),
	(20, 'target_qps', $$'NaN'$$),
	(21, 'target_qps', $$'Infinity'$$),
	(22, 'target_qps', 'NULL'),
	(23, 'up_threshold', '0'),
	(24, 'up_threshold', '0.6'),
	(25, 'up_threshold', '101'),
	(26, 'up_threshold', $$'NaN'$$),
	(27, 'down_threshold', '-0.1'),
	(28, 'down_threshold', '0.8'),
	(29, 'down_threshold', $$'NaN'$$),
	(30, 'min_instances', '-1'),
	(31, 'max_instances', '-1'),
	(32, 'max_scale_up_per_action', '-1'),
	(33, 'max_scale_down_per_action', '-1'),
	(34, 'max_scale_down_percent', '-1'),
	(35, 'max_scale_down_percent', '101'),
	(36, 'scale_up_tolerance', '-0.1'),
	(37, 'scale_up_tolerance', '10.5'),
	(38, 'scale_up_tolerance', $$'NaN'$$),
	(39, 'scale_down_tolerance', '-0.1'),
	(40, 'scale_down_tolerance', '1'),
	(41, 'scale_down_tolerance', $$'NaN'$$),
	(42, 'scale_up_on', $$'median'$$),
	(43, 'suspicious_drop_guard', 'NULL'),
	(44, 'scale_down_window_seconds', '-1'),
	(45, 'scale_down_window_seconds', '86401'),
	(46, 'scale_up_cooldown_seconds', '-1'),
	(47, 'scale_down_cooldown_seconds', '-1'),
	(48, 'general_cooldown_seconds', '-1'),
	(49, 'max_load_age_seconds', '-1'),
	(50, 'activity_deadline_seconds', '0'),
	(51, 'dry_run', 'NULL'),
	(52, 'enabled', 'NULL'),
	(53, 'owner', 'NULL'),
	(54, 'target_cpu', '0'),
	(55, 'target_cpu', '1000.5'),
	(56, 'target_cpu', $$'NaN'$$),
	(57, 'target_memory', '-1'),
	(58, 'scale_up_rates', $$'{4 per 60}'$$),
	(59, 'scale_up_rates', $$'{0 per 60 s}'$$),
	(60, 'scale_up_rates', $$'{4 per 0 s}'$$),
	(61, 'scale_up_rates', $$'{"4 per 60 s,"}'$$),
	(62, 'scale_up_rates', $$'{4 per 60 s,NULL}'$$),
	(63, 'scale_down_rates', $$'{1 per 9 s,2 per 9 s,3 per 9 s,4 per 9 s,5 per 9 s}'$$),
	(64, 'scale_down_rates_select', $$'mean'$$),
	(65, 'scale_up_confirm_n', '2'),
	(66, 'scale_up_confirm_n', '0'),
	(67, 'scale_down_confirm_m', '33'),
	(68, 'scale_up_rates', $$'{"4 per 60 s,5 per 60 s"}'$$)) c (number, name, value)
ORDER BY c.number;
SELECT attempt('UPDATE qpsscale.resource_groups
	SET min_instances = 3, max_instances = 2') AS minimum_above_maximum;
-- the edges of what is allowed
SELECT c.name, c.value, attempt_column(c.name, c.value)
FROM (VALUES
	(1, 'target_qps', '1e-300'),
	(2, 'target_qps', '1e300'),
	(3, 'up_threshold', '100'),
	(4, 'down_threshold', '0'),
	(5, 'min_instances', '0'),
	(6, 'max_instances', '0'),
	(7, 'max_scale_down_percent', '100'),
	(8, 'scale_up_tolerance', '10'),
	(9, 'scale_down_tolerance', '0.99'),
	(10, 'scale_up_on', $$'peak'$$),
	(11, 'mode', $$'static'$$),
	(12, 'scale_down_window_seconds', '86400'),
	(13, 'region', 'NULL'),
	(14, 'activity_deadline_seconds', '1'),
	(15, 'scale_up_rates', $$'{}'$$),
	(16, 'scale_up_rates', $$'{4 per 60 s,100% per 3600 s}'$$),
	(17, 'scale_down_rates', $$'{1 per 9 s,2 per 9 s,3 per 9 s,4 per 9 s}'$$),
	(18, 'scale_up_confirm_m', '32')) c (number, name, value)
ORDER BY c.number;
-- a group of AWS is as one of BytePlus
UPDATE qpsscale.resource_groups SET provider = 'aws' WHERE asg_id = 'asg-2';
SELECT c.name, c.value, attempt_column(c.name, c.value)
FROM (VALUES
	(1, 'alb_id', 'NULL'),
	(2, 'target_qps', 'NULL'),
	(3, 'kind', $$'asg'$$),
	(4, 'alb_id', $$'app/web/50dc6c495c0c9188'$$)) c (number, name, value)
ORDER BY c.number;
ROLLBACK;

-- name: made from asg_id, unique, never empty
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, region, target_qps)
	VALUES ('alb-3', 'asg-1', 'ap-southeast-1', 100),
		('alb-4', 'asg-1', 'ap-southeast-1', 100),
		('alb-5', 'asg-5', 'ap-southeast-1', 100);
SELECT alb_id, asg_id, name = asg_id AS plain, name = asg_id || '-' || id AS with_id
FROM qpsscale.resource_groups
ORDER BY id;
SELECT attempt($$INSERT INTO qpsscale.resource_groups (alb_id, target_qps)
	VALUES ('alb-6', 100)$$) AS without_asg_id;

-- the same target twice
SELECT attempt($$INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, region, target_qps)
	VALUES ('alb-1', 'asg-1', 'ap-southeast-1', 70)$$) AS duplicate;
-- and where region and account are the default
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps)
	VALUES ('alb-9', 'asg-9', 1);
SELECT attempt($$INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, target_qps) VALUES ('alb-9', 'asg-9', 1)$$) AS duplicate;
DELETE FROM qpsscale.resource_groups WHERE asg_id = 'asg-9';

-- one live group for a scaling group; the error names it
UPDATE qpsscale.resource_groups SET dry_run = false WHERE name = 'asg-1';
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET enabled = true, dry_run = false WHERE alb_id = 'alb-3'$$) AS second_live;
SELECT attempt($$INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, region, target_qps, enabled, dry_run)
	VALUES ('alb-6', 'asg-1', 'ap-southeast-1', 70, true, false)$$) AS second_live;
-- any number may watch, or lie about disabled
UPDATE qpsscale.resource_groups SET enabled = true WHERE alb_id = 'alb-3';
UPDATE qpsscale.resource_groups SET dry_run = false WHERE alb_id = 'alb-4';
SELECT alb_id, enabled, dry_run FROM qpsscale.resource_groups
WHERE asg_id = 'asg-1' ORDER BY alb_id;
-- another region is another scaling group
INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, region, target_qps, enabled, dry_run)
	VALUES ('alb-1', 'asg-1', 'eu-west-1', 70, true, false);
-- the index holds where the trigger was not asked
ALTER TABLE qpsscale.resource_groups DISABLE TRIGGER resource_groups_check;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET dry_run = false WHERE alb_id = 'alb-3'$$) AS second_live;
ALTER TABLE qpsscale.resource_groups ENABLE TRIGGER resource_groups_check;
-- a hand-over: first the one lets go, then the other takes over
BEGIN;
UPDATE qpsscale.resource_groups SET dry_run = true WHERE name = 'asg-1';
UPDATE qpsscale.resource_groups SET dry_run = false WHERE alb_id = 'alb-3';
ROLLBACK;

-- version: rises with the policy, not with the bookkeeping, and not by hand
SELECT version FROM qpsscale.resource_groups WHERE asg_id = 'asg-2';
UPDATE qpsscale.resource_groups SET target_qps = 60 WHERE asg_id = 'asg-2'
	RETURNING version;
UPDATE qpsscale.resource_groups SET target_qps = 60 WHERE asg_id = 'asg-2'
	RETURNING version;
UPDATE qpsscale.resource_groups SET last_validated_at = now()
	WHERE asg_id = 'asg-2' RETURNING version;
UPDATE qpsscale.resource_groups SET version = 99 WHERE asg_id = 'asg-2'
	RETURNING version;
UPDATE qpsscale.resource_groups SET max_instances = 9, mode = 'static'
	WHERE asg_id = 'asg-2' RETURNING version;
UPDATE qpsscale.resource_groups SET enabled = true WHERE asg_id = 'asg-2'
	RETURNING version;

-- every other column is policy: changing it makes a new version
SELECT array_agg(a.attname ORDER BY a.attnum) FILTER (WHERE f.body LIKE
	'%''' || a.attname || '''%') AS bookkeeping
FROM pg_attribute a,
	(SELECT substring(prosrc FROM 'bookkeeping CONSTANT.*?;') AS body
	 FROM pg_proc WHERE oid = 'qpsscale.resource_groups_check'::regproc) f
WHERE a.attrelid = 'qpsscale.resource_groups'::regclass AND a.attnum > 0;

-- updated_at is the time of the last change, whatever the statement says
UPDATE qpsscale.resource_groups SET updated_at = '2001-01-01'
	WHERE asg_id = 'asg-2' RETURNING updated_at = now() AS is_now;

-- a group takes its state along, but not its audit trail
INSERT INTO qpsscale.errors (resource_group_id, source, message)
	SELECT id, 'load', 'no data' FROM qpsscale.resource_groups
	WHERE asg_id = 'asg-2';
DELETE FROM qpsscale.resource_groups WHERE asg_id = 'asg-2';
SELECT (SELECT count(*) FROM qpsscale.resource_groups)
	= (SELECT count(*) FROM qpsscale.state) AS one_state_row_each,
	(SELECT count(*) FROM qpsscale.errors) AS errors;

SELECT attempt('UPDATE qpsscale.resource_groups SET id = id + 100') AS other_ids;

-- a restore may load states before their groups, or after them; a state that
-- was saved is kept, even one that was never evaluated
BEGIN;
INSERT INTO qpsscale.state (resource_group_id, suspended) VALUES (901, true);
INSERT INTO qpsscale.resource_groups (id, alb_id, asg_id, target_qps, created_at)
	VALUES (901, 'alb-901', 'asg-901', 1, '2001-01-01'),
		(902, 'alb-902', 'asg-902', 1, '2001-01-01');
INSERT INTO qpsscale.state (resource_group_id, suspended) VALUES (902, true);
SELECT resource_group_id, suspended FROM qpsscale.state
WHERE resource_group_id > 900 ORDER BY resource_group_id;
-- an emptied table takes the states along
TRUNCATE qpsscale.resource_groups;
SELECT count(*) AS states FROM qpsscale.state;
ROLLBACK;

-- owners: nobody lends himself the rights of others
CREATE ROLE regress_qpsscale_team;
CREATE ROLE regress_qpsscale_anna IN ROLE regress_qpsscale_team;
CREATE ROLE regress_qpsscale_bert;
SELECT qpsscale_grant('regress_qpsscale_team', 'operator');
SELECT qpsscale_grant('regress_qpsscale_bert', 'operator');
GRANT INSERT (created_at), DELETE ON qpsscale.resource_groups
	TO regress_qpsscale_bert;
GRANT EXECUTE ON FUNCTION attempt(text)
	TO regress_qpsscale_team, regress_qpsscale_bert;
SET ROLE regress_qpsscale_anna;
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps)
	VALUES ('alb-a', 'asg-a', 1) RETURNING name, owner;
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps, owner)
	VALUES ('alb-t', 'asg-t', 1, 'regress_qpsscale_team')
	RETURNING name, owner;
SELECT attempt($$INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, target_qps, owner)
	VALUES ('alb-b', 'asg-b', 1, 'regress_qpsscale_bert')$$) AS for_another;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET owner = 'regress_qpsscale_bert' WHERE name = 'asg-a'$$) AS given_away;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET owner = 'regress_qpsscale_nobody' WHERE name = 'asg-a'$$) AS no_role;
RESET ROLE;
SET ROLE regress_qpsscale_bert;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET owner = 'regress_qpsscale_bert' WHERE name = 'asg-a'$$) AS taken;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET asg_id = 'asg-b' WHERE name = 'asg-a'$$) AS aimed_elsewhere;
SELECT attempt($$DELETE FROM qpsscale.resource_groups
	WHERE name = 'asg-a'$$) AS deleted;
RESET ROLE;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET owner = 'regress_qpsscale_bert' WHERE name = 'asg-a'$$) AS by_superuser;
UPDATE qpsscale.resource_groups SET owner = 'regress_qpsscale_anna'
	WHERE name = 'asg-a';

-- accounts: there, of this wrapper, and usable by the group's owner
CREATE SERVER regress_cloud FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'byteplus');
CREATE FOREIGN DATA WRAPPER regress_other;
CREATE SERVER regress_elsewhere FOREIGN DATA WRAPPER regress_other;
SELECT attempt($$UPDATE qpsscale.resource_groups SET account = 'nowhere'
	WHERE name = 'asg-a'$$) AS not_there;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET account = 'regress_elsewhere'
	WHERE name = 'asg-a'$$) AS of_another_wrapper;
SELECT attempt($$UPDATE qpsscale.resource_groups SET account = 'regress_cloud'
	WHERE name = 'asg-a'$$) AS owner_may_not;
GRANT USAGE ON FOREIGN SERVER regress_cloud TO regress_qpsscale_team;
SELECT attempt($$UPDATE qpsscale.resource_groups SET account = 'regress_cloud'
	WHERE name = 'asg-a'$$) AS owner_may;
SELECT attempt($$UPDATE qpsscale.resource_groups
	SET owner = 'regress_qpsscale_bert'
	WHERE name = 'asg-a'$$) AS next_owner_may_not;
SET ROLE regress_qpsscale_bert;
SELECT attempt($$INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, target_qps, account)
	VALUES ('alb-b', 'asg-b', 1, 'regress_cloud')$$) AS owner_may_not;
-- nor by pretending that the row is restored from a dump
SELECT attempt($$INSERT INTO qpsscale.resource_groups
	(alb_id, asg_id, target_qps, account, created_at)
	VALUES ('alb-b', 'asg-b', 1, 'regress_cloud', '2001-01-01')$$)
	AS owner_may_not;
RESET ROLE;
-- other columns can be changed after a right was lost: the group's runs fail
-- with an error of their own, and it can still be switched off
REVOKE USAGE ON FOREIGN SERVER regress_cloud FROM regress_qpsscale_team;
SELECT attempt($$UPDATE qpsscale.resource_groups SET enabled = false
	WHERE name = 'asg-a'$$) AS switched_off;

DROP SERVER regress_cloud;
DROP SERVER regress_elsewhere;
DROP FOREIGN DATA WRAPPER regress_other;
DROP FUNCTION attempt_column(text, text);
DROP FUNCTION attempt(text);
DROP EXTENSION qpsscale;
DROP ROLE regress_qpsscale_anna, regress_qpsscale_team, regress_qpsscale_bert;
