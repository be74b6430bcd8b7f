-- Levels: who gets what, that everything has a level, and that what was given
-- can be taken.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

-- every object of the extension is in the list of privileges, and nothing else
WITH member AS (
	SELECT upper(i.type) || ' ' || i.identity AS object, d.classid, d.objid
	FROM pg_depend d,
		pg_identify_object(d.classid, d.objid, 0) i
	WHERE d.refclassid = 'pg_extension'::regclass
		AND d.refobjid = (SELECT oid FROM pg_extension
						  WHERE extname = 'qpsscale')
		AND d.deptype = 'e'
		AND i.type <> 'type'
), listed AS (
	SELECT p.object, a.classid, a.objid
	FROM (SELECT DISTINCT object FROM qpsscale.privileges) p,
		regexp_match(p.object,
			'^(TABLE|SEQUENCE|FUNCTION|SCHEMA|FOREIGN DATA WRAPPER) (.*)$') m,
		LATERAL (
			SELECT 'pg_class'::regclass, to_regclass(m[2])::oid
			WHERE m[1] = 'TABLE' OR m[1] = 'SEQUENCE'
			UNION ALL
			SELECT 'pg_proc'::regclass, to_regprocedure(m[2])::oid
			WHERE m[1] = 'FUNCTION'
			UNION ALL
			SELECT 'pg_namespace'::regclass, to_regnamespace(m[2])::oid
			WHERE m[1] = 'SCHEMA'
			UNION ALL
			SELECT 'pg_foreign_data_wrapper'::regclass,
				(SELECT oid FROM pg_foreign_data_wrapper WHERE fdwname = m[2])
			WHERE m[1] = 'FOREIGN DATA WRAPPER') a (classid, objid)
)
SELECT member.object AS without_a_level, listed.object AS does_not_exist
FROM member
FULL JOIN listed USING (classid, objid)
WHERE member.objid IS NULL OR listed.objid IS NULL
ORDER BY 1, 2;
SELECT object AS with_and_without FROM qpsscale.privileges
GROUP BY object HAVING bool_or(level = 'nobody') AND count(*) > 1;
-- what hangs on our tables runs as the worker
SELECT object, level, rights FROM qpsscale.privileges
WHERE rights ~ 'TRIGGER|REFERENCES|TRUNCATE|ALL|MAINTAIN';
-- who may lock a table can stop the worker: no level below admin
SELECT object, level, rights FROM qpsscale.privileges
WHERE (level = 'reader' OR level = 'operator')
	AND rights ~ '(UPDATE|DELETE)(,|$)';

-- nothing for PUBLIC
SELECT p.oid::regprocedure AS open_to_all
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qpsscale',
	aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE a.grantee = 0;

-- what a role has, counted from the catalog
CREATE VIEW held AS
SELECT r.rolname,
	(SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
	 WHERE c.relnamespace = 'qpsscale'::regnamespace
		AND a.grantee = r.oid) AS on_relations,
	(SELECT count(*) FROM pg_class c
	 JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
	 WHERE c.relnamespace = 'qpsscale'::regnamespace
		AND a.grantee = r.oid) > 0 AS on_columns,
	(SELECT count(*) FROM pg_proc p, aclexplode(p.proacl) a
	 WHERE (p.pronamespace = 'qpsscale'::regnamespace
			OR p.proname LIKE 'qpsscale%')
		AND a.grantee = r.oid) AS on_functions,
	has_schema_privilege(r.oid, 'qpsscale', 'USAGE') AS in_schema,
	has_foreign_data_wrapper_privilege(r.oid, 'qpsscale', 'USAGE') AS wrapper
FROM pg_roles r
WHERE r.rolname LIKE 'regress_qpsscale_level%';
CREATE VIEW due AS
SELECT count(*) FILTER (WHERE object LIKE 'FUNCTION%' AND level = 'reader') AS reader,
	count(*) FILTER (WHERE object LIKE 'FUNCTION%'
					 AND level IN ('reader', 'operator')) AS operator,
	count(*) FILTER (WHERE object LIKE 'FUNCTION%'
					 AND level IN ('reader', 'operator', 'admin')) AS admin,
	count(*) FILTER (WHERE object LIKE 'FUNCTION%' AND level = 'worker') AS worker
FROM qpsscale.privileges;

CREATE ROLE regress_qpsscale_level;
CREATE ROLE "regress_qpsscale_level ""two""";
SELECT qpsscale_grant('regress_qpsscale_level', 'reader');
SELECT on_relations > 0 AS tables, on_columns, on_functions = reader AS functions,
	in_schema, wrapper FROM held, due WHERE rolname = 'regress_qpsscale_level';
SELECT qpsscale_grant('regress_qpsscale_level', 'operator');
SELECT on_relations > 0 AS tables, on_columns, on_functions = operator AS functions,
	in_schema, wrapper FROM held, due WHERE rolname = 'regress_qpsscale_level';
SELECT qpsscale_grant('regress_qpsscale_level', 'admin');
SELECT on_relations > 0 AS tables, on_columns, on_functions = admin AS functions,
	in_schema, wrapper FROM held, due WHERE rolname = 'regress_qpsscale_level';
-- a lower level takes what it does not have
SELECT qpsscale_grant('regress_qpsscale_level', 'reader');
SELECT on_relations > 0 AS tables, on_columns, on_functions = reader AS functions,
	in_schema, wrapper FROM held, due WHERE rolname = 'regress_qpsscale_level';
SELECT qpsscale_grant('regress_qpsscale_level', 'worker');
SELECT on_relations > 0 AS tables, on_columns, on_functions = worker AS functions,
	in_schema, wrapper FROM held, due WHERE rolname = 'regress_qpsscale_level';
SELECT qpsscale_grant('regress_qpsscale_level "two"', 'operator');
SELECT role, level, granted_by = CURRENT_USER AS by_me
FROM qpsscale.grants ORDER BY role;

-- lost and given again
REVOKE ALL ON ALL TABLES IN SCHEMA qpsscale FROM regress_qpsscale_level;
SELECT on_relations FROM held WHERE rolname = 'regress_qpsscale_level';
SELECT qpsscale.reapply_grants();
SELECT on_relations > 0 AS tables FROM held WHERE rolname = 'regress_qpsscale_level';

-- revoked, nothing is left, and the role can go
SELECT qpsscale_revoke('regress_qpsscale_level');
SELECT qpsscale_revoke('regress_qpsscale_level "two"');
SELECT rolname, on_relations, on_columns, on_functions, in_schema, wrapper
FROM held ORDER BY rolname;
SELECT count(*) FROM qpsscale.grants;
DROP ROLE "regress_qpsscale_level ""two""";

-- a role that was dropped is only remembered
SELECT qpsscale_grant('regress_qpsscale_level', 'operator');
DROP OWNED BY regress_qpsscale_level;
DROP ROLE regress_qpsscale_level;
SELECT qpsscale.reapply_grants();
SELECT qpsscale_revoke('regress_qpsscale_level');
SELECT qpsscale_revoke('regress_qpsscale_level');

-- mistakes
SELECT qpsscale_grant('regress_qpsscale_nobody', 'reader');
SELECT qpsscale_grant('public', 'reader');
SELECT qpsscale_grant(NULL, 'reader');
SELECT qpsscale_grant(CURRENT_USER, 'king');
SELECT qpsscale_grant(CURRENT_USER, NULL);

-- who grants what: admins the levels below their own, nobody else any
CREATE ROLE regress_qpsscale_level_admin;
CREATE ROLE regress_qpsscale_level_reader;
SELECT qpsscale_grant('regress_qpsscale_level_admin', 'admin');
SET ROLE regress_qpsscale_level_admin;
SELECT qpsscale_grant('regress_qpsscale_level_reader', 'operator');
SELECT qpsscale_grant('regress_qpsscale_level_reader', 'reader');
SELECT qpsscale_grant('regress_qpsscale_level_reader', 'admin');
SELECT qpsscale_grant('regress_qpsscale_level_reader', 'worker');
SELECT qpsscale_grant('regress_qpsscale_level_admin', 'reader');
SELECT qpsscale_revoke('regress_qpsscale_level_admin');
SELECT qpsscale.grant_as_admin('regress_qpsscale_level_reader', 'admin');
SELECT qpsscale.set_level('regress_qpsscale_level_reader', 'admin');
INSERT INTO qpsscale.grants (role, level)
	VALUES ('regress_qpsscale_level_reader', 'admin');
SELECT qpsscale.reapply_grants();
RESET ROLE;
SELECT role, level FROM qpsscale.grants ORDER BY role;
SET ROLE regress_qpsscale_level_reader;
SELECT qpsscale_grant('regress_qpsscale_level_reader', 'operator');
SELECT qpsscale_revoke('regress_qpsscale_level_admin');
RESET ROLE;
SET ROLE regress_qpsscale_level_admin;
SELECT qpsscale_revoke('regress_qpsscale_level_reader');
RESET ROLE;
SELECT qpsscale_revoke('regress_qpsscale_level_admin');

-- a target that others own
CREATE ROLE regress_qpsscale_level_a;
CREATE ROLE regress_qpsscale_level_b;
CREATE ROLE regress_qpsscale_level_silent NOINHERIT
	IN ROLE regress_qpsscale_level_a;
CREATE ROLE regress_qpsscale_level_mate IN ROLE regress_qpsscale_level_a;
SELECT qpsscale_grant(r::name, 'operator') FROM unnest(ARRAY[
	'regress_qpsscale_level_a', 'regress_qpsscale_level_b',
	'regress_qpsscale_level_silent', 'regress_qpsscale_level_mate']) r;
CREATE SERVER regress_qpsscale_cloud FOREIGN DATA WRAPPER qpsscale
	OPTIONS (region 'eu-north-1');
GRANT USAGE ON FOREIGN SERVER regress_qpsscale_cloud
	TO regress_qpsscale_level_a, regress_qpsscale_level_b;
SET ROLE regress_qpsscale_level_a;
INSERT INTO qpsscale.resource_groups (name, account, alb_id, asg_id, target_qps)
	VALUES ('a', 'regress_qpsscale_cloud', 'alb-a', 'asg-a', 1)
	RETURNING owner;
RESET ROLE;
SET ROLE regress_qpsscale_level_b;
INSERT INTO qpsscale.resource_groups (name, account, alb_id, asg_id, target_qps)
	VALUES ('b', 'regress_qpsscale_cloud', 'alb-a', 'asg-a', 1);
-- neither with the region written out, nor without an account, nor by another
-- load balancer
INSERT INTO qpsscale.resource_groups (account, alb_id, asg_id, region, target_qps)
	VALUES ('regress_qpsscale_cloud', 'alb-a', 'asg-a', 'eu-north-1', 1);
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, target_qps)
	VALUES ('alb-a', 'asg-a', 1);
INSERT INTO qpsscale.resource_groups (account, alb_id, asg_id, target_qps)
	VALUES ('regress_qpsscale_cloud', 'alb-b', 'asg-a', 1);
-- nor by way of a group of one's own
INSERT INTO qpsscale.resource_groups (name, account, alb_id, asg_id, target_qps)
	VALUES ('b', 'regress_qpsscale_cloud', 'alb-b', 'asg-b', 1);
UPDATE qpsscale.resource_groups SET asg_id = 'asg-a' WHERE name = 'b';
UPDATE qpsscale.resource_groups SET asg_id = 'asg-a', region = 'eu-north-1',
	account = NULL WHERE name = 'b';
INSERT INTO qpsscale.resource_groups (name, alb_id, asg_id, target_qps)
	VALUES ('b', 'alb-a', 'asg-a', 1)
	ON CONFLICT (name) DO UPDATE SET asg_id = EXCLUDED.asg_id;
UPDATE qpsscale.resource_groups SET target_qps = 2 WHERE name = 'a';
SELECT qpsscale_delete(id) FROM qpsscale.resource_groups WHERE name = 'a';
-- what is one's own can be changed and deleted
UPDATE qpsscale.resource_groups SET target_qps = 2 WHERE name = 'b'
	RETURNING version;
SELECT qpsscale_delete(id) FROM qpsscale.resource_groups WHERE name = 'b';
RESET ROLE;
-- members of the owner may watch the same scaling group
SET ROLE regress_qpsscale_level_mate;
INSERT INTO qpsscale.resource_groups (name, account, alb_id, asg_id, target_qps, owner)
	VALUES ('shadow', 'regress_qpsscale_cloud', 'alb-a2', 'asg-a', 1,
			'regress_qpsscale_level_a');
SELECT qpsscale_suspend(id) FROM qpsscale.resource_groups WHERE name = 'a';
RESET ROLE;
-- a membership that is not inherited counts after SET ROLE
SET SESSION AUTHORIZATION regress_qpsscale_level_silent;
SELECT qpsscale_suspend();
UPDATE qpsscale.resource_groups SET target_qps = 3 WHERE name = 'a';
SET ROLE regress_qpsscale_level_a;
SELECT qpsscale_resume();
UPDATE qpsscale.resource_groups SET target_qps = 3 WHERE name = 'a';
RESET SESSION AUTHORIZATION;

-- the state is written through the view, and the view knows who writes
SET ROLE regress_qpsscale_level_mate;
UPDATE qpsscale.own_state SET suspended = true;
UPDATE qpsscale.own_state SET actor = 'postgres', intervention = 'suspend';
UPDATE qpsscale.own_state SET intervention = 'explode';
UPDATE qpsscale.own_state SET suspended_reason = 'by hand';
\set VERBOSITY terse
UPDATE qpsscale.own_state SET intervention = 'suspend',
	suspended_direction = 'sideways';
\set VERBOSITY default
UPDATE qpsscale.own_state SET intervention = 'suspend',
	suspended_reason = 'by hand';
RESET ROLE;
SELECT g.name, s.suspended, s.suspended_by
FROM qpsscale.state s JOIN qpsscale.resource_groups g ON g.id = s.resource_group_id
ORDER BY g.name;
SELECT kind, reason, made_by FROM qpsscale.interventions
ORDER BY id DESC LIMIT 2;
SET ROLE regress_qpsscale_level_b;
UPDATE qpsscale.own_state SET intervention = 'resume';
SELECT count(*) FROM qpsscale.own_state;
UPDATE qpsscale.state SET suspended = false;
RESET ROLE;

SELECT qpsscale_delete(id) FROM qpsscale.resource_groups;
SELECT qpsscale_delete(NULL);
SELECT qpsscale_delete(99);
DROP VIEW held, due;
SELECT qpsscale_revoke(role) FROM qpsscale.grants;
DROP SERVER regress_qpsscale_cloud;
DROP ROLE regress_qpsscale_level_a, regress_qpsscale_level_b,
	regress_qpsscale_level_silent, regress_qpsscale_level_mate,
	regress_qpsscale_level_admin, regress_qpsscale_level_reader;
DROP EXTENSION qpsscale;
