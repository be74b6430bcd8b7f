-- What CREATE EXTENSION makes: each object, what it says about itself, and
-- who may use it.
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

-- each member of the extension
SELECT i.type, i.identity
FROM pg_depend d,
	pg_identify_object(d.classid, d.objid, 0) i
WHERE d.refclassid = 'pg_extension'::regclass
	AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'qpsscale')
	AND d.deptype = 'e'
	AND i.type <> 'type'
ORDER BY i.type COLLATE "C", i.identity COLLATE "C";

-- each of them has a comment, and so has each column, index and trigger (the
-- indexes of constraints and the sequences' columns are named by PostgreSQL)
WITH member AS (
	SELECT d.classid, d.objid
	FROM pg_depend d
	WHERE d.refclassid = 'pg_extension'::regclass
		AND d.refobjid = (SELECT oid FROM pg_extension
						  WHERE extname = 'qpsscale')
		AND d.deptype = 'e'
), relation AS (
	SELECT c.*
	FROM member m
	JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
), described (classid, objid, objsubid, said) AS (
	SELECT classid, objid, 0, obj_description(objid, classid::regclass::text)
	FROM member
	WHERE classid <> 'pg_type'::regclass
	UNION ALL
	SELECT 'pg_class'::regclass, r.oid, a.attnum,
		col_description(r.oid, a.attnum)
	FROM relation r
	JOIN pg_attribute a ON a.attrelid = r.oid
	WHERE r.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT 'pg_class'::regclass, i.indexrelid, 0,
		obj_description(i.indexrelid, 'pg_class')
	FROM relation r
	JOIN pg_index i ON i.indrelid = r.oid
	WHERE NOT EXISTS (SELECT FROM pg_constraint k
					  WHERE k.conindid = i.indexrelid)
	UNION ALL
	SELECT 'pg_trigger'::regclass, t.oid, 0,
		obj_description(t.oid, 'pg_trigger')
	FROM relation r
	JOIN pg_trigger t ON t.tgrelid = r.oid
	WHERE NOT t.tgisinternal
)
SELECT count(*) > 150 AS many,
	array_agg(pg_describe_object(classid, objid, objsubid))
		FILTER (WHERE coalesce(said, '') = '') AS without_comment
FROM described;

-- indexes and triggers
SELECT i.relname AS index, r.relname AS "table"
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid
JOIN pg_class r ON r.oid = x.indrelid
WHERE r.relnamespace = 'qpsscale'::regnamespace
ORDER BY i.relname COLLATE "C";
SELECT t.tgname AS trigger, t.tgrelid::regclass AS "table"
FROM pg_trigger t
JOIN pg_class r ON r.oid = t.tgrelid
WHERE r.relnamespace = 'qpsscale'::regnamespace AND NOT t.tgisinternal
ORDER BY t.tgname COLLATE "C";

-- functions as they are called: arguments with names and defaults, result
SELECT p.proname AS function, pg_get_function_arguments(p.oid) AS arguments,
	pg_get_function_result(p.oid) AS result
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qpsscale'
WHERE p.proname LIKE 'qpsscale%'
ORDER BY p.proname COLLATE "C", p.pronargs;

-- properties of all functions: each pins its search_path, none runs with the
-- rights of its owner
SELECT p.pronamespace::regnamespace AS schema, p.proname AS function,
	l.lanname AS language,
	CASE p.provolatile WHEN 'v' THEN 'volatile' WHEN 's' THEN 'stable'
		ELSE 'immutable' END AS volatility,
	CASE p.proparallel WHEN 'u' THEN 'unsafe' WHEN 'r' THEN 'restricted'
		ELSE 'safe' END AS parallel,
	p.proisstrict AS strict, p.prosecdef AS definer,
	p.proconfig AS settings
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
	AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'qpsscale'
ORDER BY p.pronamespace::regnamespace::text COLLATE "C",
	p.proname COLLATE "C", p.pronargs;

-- what PUBLIC may do: nothing
WITH granted (object, acl) AS (
	SELECT p.oid::regprocedure::text,
		coalesce(p.proacl, acldefault('f', p.proowner))
	FROM pg_proc p
	WHERE p.pronamespace = 'qpsscale'::regnamespace
		OR p.proname LIKE 'qpsscale%'
	UNION ALL
	SELECT c.oid::regclass::text,
		coalesce(c.relacl, acldefault(CASE WHEN c.relkind = 'S' THEN 's'
									  ELSE 'r' END::"char", c.relowner))
	FROM pg_class c
	WHERE c.relnamespace = 'qpsscale'::regnamespace AND c.relkind <> 'i'
	UNION ALL
	SELECT n.nspname, coalesce(n.nspacl, acldefault('n', n.nspowner))
	FROM pg_namespace n
	WHERE n.nspname = 'qpsscale'
	UNION ALL
	SELECT w.fdwname, coalesce(w.fdwacl, acldefault('F', w.fdwowner))
	FROM pg_foreign_data_wrapper w
	WHERE w.fdwname = 'qpsscale'
)
SELECT count(*) > 30 AS many,
	array_agg(object) FILTER (WHERE EXISTS (
		SELECT FROM aclexplode(acl) a WHERE a.grantee = 0)) AS open_to_public
FROM granted;

-- every table that holds users' data is dumped, with its sequence
SELECT c.relname AS "table or sequence",
	c.oid = ANY (e.extconfig) AS dumped
FROM pg_class c, pg_extension e
WHERE c.relnamespace = 'qpsscale'::regnamespace
	AND c.relkind IN ('r', 'S')
	AND e.extname = 'qpsscale'
ORDER BY c.relname COLLATE "C";

-- a worker updates state rows in place: no column that it writes is indexed
SELECT array_agg(a.attname) AS indexed_columns
FROM pg_index x
JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = ANY (x.indkey)
WHERE x.indrelid = 'qpsscale.state'::regclass;

-- it cannot be moved later, and goes without a trace
ALTER EXTENSION qpsscale SET SCHEMA pg_catalog;
DROP EXTENSION qpsscale;
SELECT to_regnamespace('qpsscale') AS schema_left,
	(SELECT count(*) FROM pg_proc WHERE proname LIKE 'qpsscale%') AS functions,
	(SELECT count(*) FROM pg_foreign_data_wrapper
	 WHERE fdwname = 'qpsscale') AS wrappers;

-- in a schema of one's own: what is called lives there, what is read does not
-- (and an operator that lies in wait there gets into no CHECK and no view)
CREATE SCHEMA scaling;
CREATE FUNCTION scaling.trap(double precision, integer) RETURNS boolean
LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR scaling.> (FUNCTION = scaling.trap,
	LEFTARG = double precision, RIGHTARG = integer);
SET client_min_messages = warning;
CREATE EXTENSION qpsscale SCHEMA scaling;
RESET client_min_messages;
DROP OPERATOR scaling.> (double precision, integer);
DROP FUNCTION scaling.trap(double precision, integer);
SELECT p.oid::regprocedure AS function
FROM pg_proc p
WHERE p.pronamespace = 'scaling'::regnamespace
ORDER BY p.oid::regprocedure::text COLLATE "C";
SELECT to_regprocedure('public.qpsscale_health()') AS in_public;
INSERT INTO qpsscale.resource_groups (alb_id, asg_id, region, target_qps)
	VALUES ('alb-1', 'asg-1', 'ap-southeast-1', 100) RETURNING id \gset
SELECT scaling.qpsscale_suspend(:id, 'down', reason => 'sale');
SELECT suspended, suspended_direction, suspended_reason FROM qpsscale.state;
SELECT scaling.qpsscale_resume();
SELECT scaling.qpsscale_reset_circuit(:id);
-- a host without an identity cannot be armed, so ask for it only elsewhere
SELECT qpsscale.host_identity() <> '' AS has_identity \gset
\if :has_identity
SELECT scaling.qpsscale_arm('{twin}') AS hosts \gset
\endif
SELECT qpsscale.is_armed() = :'has_identity' AS armed_where_possible;
SELECT scaling.qpsscale_health() ->> 'version' AS version;
-- these two ask a worker process, which finds no enabled group here
SELECT count(*) FROM scaling.qpsscale_evaluate();
SELECT count(*) FROM scaling.qpsscale_evaluate(dry_run => true);
SELECT status FROM qpsscale.status;
SELECT count(*) FROM qpsscale.stat_worker
WHERE database = current_database();
DROP EXTENSION qpsscale;
DROP SCHEMA scaling;
