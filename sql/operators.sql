-- What operators call and look at.  It needs no worker: each answers from the
-- caller's own backend.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

-- a session that has not called any other function of ours yet
\c -
SELECT qpsscale_health() ->> 'version' AS version;
\c -
SELECT count(*) AS groups FROM qpsscale.status;
\c -
SELECT count(*) > 0 AS problems FROM qpsscale.problems();

CREATE ROLE regress_qpsscale_team;
CREATE ROLE regress_qpsscale_dora IN ROLE regress_qpsscale_team;
CREATE ROLE regress_qpsscale_emil;
SELECT qpsscale_grant('regress_qpsscale_team', 'operator');
SELECT qpsscale_grant('regress_qpsscale_emil', 'operator');
INSERT INTO qpsscale.resource_groups
	(id, name, alb_id, asg_id, target_qps, enabled, dry_run, owner)
	VALUES
	(1, 'shop', 'alb-1', 'asg-1', 100, true, false, 'regress_qpsscale_team'),
	(2, 'search', 'alb-2', 'asg-2', 100, true, true, 'regress_qpsscale_team'),
	(3, 'admin', 'alb-3', 'asg-3', 100, false, true, CURRENT_USER);

CREATE VIEW suspensions AS
SELECT g.name, s.suspended, s.suspended_direction AS direction,
	s.suspended_until AS until, s.suspended_reason AS reason,
	s.suspended_by = 'regress_qpsscale_dora' AS by_dora
FROM qpsscale.state s
JOIN qpsscale.resource_groups g ON g.id = s.resource_group_id
ORDER BY g.id;

-- suspend: who may, what, until when
SET ROLE regress_qpsscale_dora;
SELECT qpsscale_suspend(1, 'down', '2999-01-01 00:00:00+00', 'sale');
RESET ROLE;
SELECT * FROM suspensions;
SET ROLE regress_qpsscale_dora;
SELECT qpsscale_suspend() AS her_groups;
RESET ROLE;
SELECT * FROM suspensions;
SELECT qpsscale_suspend(reason => 'all hands') AS every_group;
SET ROLE regress_qpsscale_emil;
SELECT qpsscale_suspend() AS his_groups;
SELECT qpsscale_suspend(1);
SELECT qpsscale_resume() AS his_groups;
SELECT qpsscale_resume(1);
SELECT qpsscale_reset_circuit(1);
RESET ROLE;
SELECT qpsscale_suspend(99);
SELECT qpsscale_suspend(1, 'sideways');
SELECT qpsscale_suspend(1, NULL);
SELECT qpsscale_suspend(1, until => now());
SELECT qpsscale_suspend(1, until => '2001-01-01');
SELECT qpsscale_suspend(1, until => 'infinity');
SELECT * FROM suspensions;

-- resume: says how many were suspended
SET ROLE regress_qpsscale_dora;
SELECT qpsscale_resume(1);
SELECT qpsscale_resume(1) AS again;
SELECT qpsscale_resume() AS the_rest_of_hers;
RESET ROLE;
SELECT qpsscale_resume() AS the_rest;
SELECT qpsscale_resume(99);
SELECT * FROM suspensions;

-- each of these is kept: who, what, until when, why
SELECT resource_group_id AS id, kind, direction, until, reason,
	made_by = 'regress_qpsscale_dora' AS by_dora,
	session_by = SESSION_USER AS in_this_session
FROM qpsscale.interventions i
ORDER BY resource_group_id, i.id;

-- reset_circuit: says whether it was open
UPDATE qpsscale.state SET circuit_open_until = now() + interval '1 hour',
	consecutive_errors = 5
WHERE resource_group_id = 1;
SELECT status FROM qpsscale.status WHERE id = 1;
SET ROLE regress_qpsscale_dora;
SELECT qpsscale_reset_circuit(1);
SELECT qpsscale_reset_circuit(1) AS again;
RESET ROLE;
SELECT circuit_open_until, consecutive_errors
FROM qpsscale.state WHERE resource_group_id = 1;
UPDATE qpsscale.state SET circuit_open_until = now() - interval '1 hour'
WHERE resource_group_id = 1;
SELECT qpsscale_reset_circuit(1) AS was_over;
SELECT qpsscale_reset_circuit(99);
SELECT qpsscale_reset_circuit(NULL);

-- a group whose owner was dropped stops nobody, and superusers reach it
CREATE ROLE regress_qpsscale_gone;
INSERT INTO qpsscale.resource_groups (id, alb_id, asg_id, target_qps, owner)
	VALUES (4, 'alb-4', 'asg-4', 100, 'regress_qpsscale_gone');
DROP ROLE regress_qpsscale_gone;
SET ROLE regress_qpsscale_dora;
SELECT qpsscale_suspend() AS hers, qpsscale_resume() AS hers_again;
SELECT qpsscale_suspend(4);
RESET ROLE;
SELECT qpsscale_suspend(4);
SELECT qpsscale_resume() AS suspended_ones;
SELECT qpsscale_resume(4);
SELECT qpsscale_reset_circuit(4);
UPDATE qpsscale.resource_groups SET enabled = true WHERE id = 4;
UPDATE qpsscale.resource_groups SET owner = CURRENT_USER WHERE id = 4;
DELETE FROM qpsscale.resource_groups WHERE id = 4;

-- rights to call are not rights to tables
CREATE ROLE regress_qpsscale_finn;
GRANT EXECUTE ON FUNCTION qpsscale_resume(bigint), qpsscale_health(),
	qpsscale_arm(text[]) TO regress_qpsscale_finn;
\set VERBOSITY terse
SET ROLE regress_qpsscale_finn;
SELECT qpsscale_resume();
SELECT qpsscale_health();
SELECT qpsscale_arm();
RESET ROLE;
\set VERBOSITY default

-- status: one line per group, in words
SELECT id, name, status, qps, target_qps, in_service, instances, desired,
	optimal, limits, action, reason, blocked_until, open_activity, error
FROM qpsscale.status;
UPDATE qpsscale.state SET last_evaluated_at = now(), latest_qps = 404.96,
	latest_in_service = 3, latest_total = 5, latest_capacity = 5,
	latest_optimal = 5, latest_min = 1, latest_max = 20,
	last_reason = 'optimal_instance_count_reached', last_dry_run = false
WHERE resource_group_id < 3;
INSERT INTO qpsscale.activities (resource_group_id, activity_key, action,
	delta, desired_capacity, status, reason, eval_capacity, policy_version)
	VALUES (1, '1-5-0-1', 'scale_up', 2, 5, 'accepted',
			'dynamic_scaling_scale_up', 3, 1),
		(1, '1-4-0-1', 'scale_up', 1, 4, 'superseded',
		 'dynamic_scaling_scale_up', 3, 1);
SELECT name, status, qps, in_service, instances, desired, optimal, limits,
	action, reason, open_activity
FROM qpsscale.status;
UPDATE qpsscale.state SET last_dry_run = true WHERE resource_group_id = 1;
SELECT name, status FROM qpsscale.status WHERE id = 1;
UPDATE qpsscale.state SET consecutive_errors = 1, last_error = 'timed out'
WHERE resource_group_id = 1;
SELECT name, status, error FROM qpsscale.status WHERE id = 1;
UPDATE qpsscale.state SET suspended = true,
	suspended_until = now() - interval '1 second'
WHERE resource_group_id = 1;
SELECT name, status FROM qpsscale.status WHERE id = 1;
UPDATE qpsscale.state SET suspended_until = now() + interval '1 hour'
WHERE resource_group_id = 1;
SELECT name, status FROM qpsscale.status WHERE id = 1;

-- health: counts of the same
SELECT array_agg(key ORDER BY key COLLATE "C") AS keys
FROM jsonb_object_keys(qpsscale_health()) key;
SELECT h ->> 'status' AS status, h ->> 'worker' AS worker,
	h ->> 'armed' AS armed, h ->> 'database' = current_database() AS database,
	h -> 'groups' AS groups, jsonb_typeof(h -> 'problems') AS problems
FROM qpsscale_health() h;
UPDATE qpsscale.state SET last_evaluated_at = now() - interval '1 day'
WHERE resource_group_id = 2;
SELECT qpsscale_health() -> 'groups' -> 'late' AS late;

-- problems: each with what to do about it
SELECT count(*) FILTER (WHERE problem LIKE 'no worker: %') AS no_worker,
	bool_and(hint <> '') AS each_with_a_hint
FROM qpsscale.problems();
SELECT problem, hint FROM qpsscale.problems()
WHERE problem NOT LIKE 'no worker: %';
SELECT count(DISTINCT problems) AS same_in_each_line,
	bool_and(problems LIKE 'no worker: %; not armed: %') AS has_them
FROM qpsscale.status;

-- arm: not a host without an identity, as any other such host would be armed
SELECT qpsscale_arm(ARRAY['']);
SELECT qpsscale_arm('{twin,NULL}');
\set VERBOSITY terse
INSERT INTO qpsscale.armed (system_identifier, database_oid, hosts)
VALUES (1, 1, ARRAY['twin', '']);
\set VERBOSITY default

-- arm: by whom, for which hosts; repeating it replaces the list
SELECT qpsscale.host_identity() <> '' AS has_identity \gset
\if :has_identity
SELECT qpsscale_arm() AS hosts \gset
SELECT qpsscale_arm('{twin,other}') AS hosts \gset
SELECT qpsscale_arm(NULL) AS hosts \gset
SELECT qpsscale_arm('{twin}') AS hosts \gset
\endif
SELECT qpsscale.is_armed() = :'has_identity' AS armed_where_possible,
	(SELECT count(*) FROM qpsscale.problems()
	 WHERE problem LIKE 'not armed%') = (NOT :'has_identity')::integer
		AS no_problem_any_more;
SELECT count(*) AS wrong_rows FROM qpsscale.armed
WHERE hosts <> ARRAY[qpsscale.host_identity(), 'twin']
	OR armed_by <> CURRENT_USER;
-- it is this database of this cluster on this host that is armed
BEGIN;
UPDATE qpsscale.armed SET database_oid = database_oid + 1;
SELECT qpsscale.is_armed();
ROLLBACK;
BEGIN;
UPDATE qpsscale.armed SET system_identifier = system_identifier + 1;
SELECT qpsscale.is_armed();
ROLLBACK;
BEGIN;
UPDATE qpsscale.armed SET hosts = '{twin}';
SELECT qpsscale.is_armed();
ROLLBACK;
-- there is one row at most
\set VERBOSITY terse
INSERT INTO qpsscale.armed (singleton, system_identifier, database_oid, hosts)
	VALUES (false, 1, 1, '{}');

-- stat_worker: no resident worker serves this database
SELECT a.attname AS column, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_attribute a
WHERE a.attrelid = 'qpsscale.stat_worker'::regclass AND a.attnum > 0
ORDER BY a.attnum;
SELECT count(*) FROM qpsscale.stat_worker
WHERE database = current_database();
SELECT qpsscale.is_served(), qpsscale.restart_required();

DROP VIEW suspensions;
DROP EXTENSION qpsscale;
DROP ROLE regress_qpsscale_dora, regress_qpsscale_emil, regress_qpsscale_finn,
	regress_qpsscale_team;
