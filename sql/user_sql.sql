-- Provider sql: what a row may say, and who may have whom run what.
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

-- Runs a statement and says how it was refused.
CREATE FUNCTION attempt(statement text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
	code text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		hint = PG_EXCEPTION_HINT, code = RETURNED_SQLSTATE;
	RETURN code || ' ' || message
		|| coalesce(E'\nHINT: ' || nullif(hint, ''), '');
END
$$;

CREATE SCHEMA pool;
CREATE FUNCTION pool.get(text) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION pool.set(text, integer) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION pool."Odd Name"(text) RETURNS integer LANGUAGE sql AS 'SELECT 1';

-- Tries a row, good but for what is named.
CREATE FUNCTION attempt_row(changes jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	r jsonb := jsonb_build_object('name', 'p', 'provider', 'sql', 'asg_id', 'p',
		'get_capacity', 'pool.get', 'set_capacity', 'pool.set',
		'max_instances', 10) || changes;
BEGIN
	RETURN attempt((
		SELECT format('INSERT INTO qpsscale.resource_groups (%s) VALUES (%s)',
			string_agg(quote_ident(key), ', '),
			string_agg(quote_nullable(value), ', '))
		FROM jsonb_each_text(r)));
END
$$;

\pset format unaligned
\t on
SELECT attempt_row('{}');
\t off
SELECT min_instances, max_instances, get_capacity, set_capacity
FROM qpsscale.resource_groups;
DELETE FROM qpsscale.resource_groups;
\t on

-- names are stored as the catalog has them
SELECT attempt_row('{"get_capacity": "POOL.Get"}');
SELECT get_capacity FROM qpsscale.resource_groups;
DELETE FROM qpsscale.resource_groups;
SELECT attempt_row('{"get_capacity": "pool.\"Odd Name\""}');
SELECT get_capacity FROM qpsscale.resource_groups;
DELETE FROM qpsscale.resource_groups;

-- what is missing, or has no meaning here
SELECT attempt_row('{"get_capacity": null}');
SELECT attempt_row('{"set_capacity": null}');
SELECT attempt_row('{"max_instances": null}');
SELECT attempt_row('{"account": "a", "region": "r"}');
SELECT attempt_row('{"region": "r"}');
SELECT attempt_row('{"alb_id": "alb"}');
SELECT attempt_row('{"kind": "pod"}');
SELECT attempt_row('{"provider": "byteplus"}');
SELECT attempt_row('{"provider": "oracle"}');

-- functions that are none
SELECT attempt_row('{"get_capacity": "get"}');
SELECT attempt_row('{"get_capacity": ""}');
SELECT attempt_row('{"get_capacity": "a.b.c"}');
SELECT attempt_row('{"get_capacity": "pool.nothing"}');
SELECT attempt_row('{"get_capacity": "pool.set"}');
SELECT attempt_row('{"set_capacity": "pool.get"}');
SELECT attempt_row('{"get_capacity": "pool.get(text)"}');
SELECT attempt_row('{"get_capacity": "pool.get; DROP TABLE x"}');

-- who may have whom run what
CREATE ROLE regress_qpsscale_sql_team;
CREATE ROLE regress_qpsscale_sql_member;
CREATE ROLE regress_qpsscale_sql_admin;
GRANT regress_qpsscale_sql_team TO regress_qpsscale_sql_member;
SELECT qpsscale_grant('regress_qpsscale_sql_team', 'operator'),
	qpsscale_grant('regress_qpsscale_sql_member', 'operator'),
	qpsscale_grant('regress_qpsscale_sql_admin', 'admin');
REVOKE EXECUTE ON FUNCTION pool.set(text, integer) FROM PUBLIC;
SELECT attempt_row('{"owner": "regress_qpsscale_sql_team"}');
GRANT USAGE ON SCHEMA pool TO regress_qpsscale_sql_team;
SELECT attempt_row('{"owner": "regress_qpsscale_sql_team"}');
GRANT EXECUTE ON FUNCTION pool.set(text, integer) TO regress_qpsscale_sql_team;
SELECT attempt_row('{"owner": "regress_qpsscale_sql_team"}');

-- an admin may change the group, but not what its owner runs
SET ROLE regress_qpsscale_sql_admin;
SELECT public.attempt('UPDATE qpsscale.resource_groups SET max_instances = 5');
SELECT public.attempt('UPDATE qpsscale.resource_groups SET get_capacity = ''pool."Odd Name"''');
RESET ROLE;
-- a member may
SET ROLE regress_qpsscale_sql_member;
SELECT public.attempt('UPDATE qpsscale.resource_groups SET get_capacity = ''pool."Odd Name"''');
-- another owner must have the rights, too
SELECT public.attempt('UPDATE qpsscale.resource_groups SET owner = ''regress_qpsscale_sql_member''');
RESET ROLE;
SELECT owner, get_capacity FROM qpsscale.resource_groups;
SELECT attempt('UPDATE qpsscale.resource_groups SET min_instances = NULL');

DELETE FROM qpsscale.resource_groups;
SELECT qpsscale_revoke('regress_qpsscale_sql_team'), qpsscale_revoke('regress_qpsscale_sql_member'),
	qpsscale_revoke('regress_qpsscale_sql_admin');
DROP FUNCTION attempt_row(jsonb), attempt(text);
SET client_min_messages = warning;
DROP SCHEMA pool CASCADE;
DROP ROLE regress_qpsscale_sql_admin, regress_qpsscale_sql_member, regress_qpsscale_sql_team;
DROP EXTENSION qpsscale;
