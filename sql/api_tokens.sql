-- Tokens: who may make one for whom, and what is taken for valid.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

CREATE ROLE regress_qpsscale_gateway NOINHERIT;
CREATE ROLE regress_qpsscale_admin;
CREATE ROLE regress_qpsscale_api_reader;
CREATE ROLE regress_qpsscale_api_other;
CREATE ROLE regress_qpsscale_api_maker CREATEROLE;
CREATE ROLE regress_qpsscale_api_heir;
CREATE ROLE regress_qpsscale_api_super SUPERUSER;
GRANT regress_qpsscale_api_maker TO regress_qpsscale_api_heir;
SELECT qpsscale_grant('regress_qpsscale_gateway', 'gateway');
SELECT qpsscale_grant('regress_qpsscale_admin', 'admin');
SELECT qpsscale_grant('regress_qpsscale_api_reader', 'reader');
GRANT regress_qpsscale_api_reader TO regress_qpsscale_gateway,
	regress_qpsscale_admin;

-- an admin makes tokens for roles that it is a member of
SET ROLE regress_qpsscale_admin;
SELECT id, token AS prometheus, token ~ ('^qps_' || id || '_[A-Za-z0-9_-]{43}$') AS well_formed,
	expires_at = now() + interval '90 days' AS ninety_days
FROM qpsscale_create_token('regress_qpsscale_api_reader', 'prometheus') \gset
SELECT :'id' AS id, :'well_formed' AS well_formed, :'ninety_days' AS ninety_days;
SELECT qpsscale_create_token('regress_qpsscale_api_other', 'not mine');
INSERT INTO qpsscale.api_tokens (name, token_sha256, role_name)
	VALUES ('by hand', sha256('x'), 'regress_qpsscale_api_other');
-- it neither sees the hash nor changes what a token stands for
SELECT token_sha256 FROM qpsscale.api_tokens;
UPDATE qpsscale.api_tokens SET role_name = CURRENT_USER;
UPDATE qpsscale.api_tokens SET expires_at = NULL;
INSERT INTO qpsscale.api_tokens (name, token_sha256, role_name, created_at)
	VALUES ('by hand', sha256('x'), 'regress_qpsscale_api_other', '2000-01-01');
SELECT id, name, role_name, created_by, allowed_cidr, revoked_at, last_used_at
FROM qpsscale.api_tokens;
RESET ROLE;

-- for none that may do more than use this database
SELECT qpsscale_create_token('regress_qpsscale_api_super', 'superuser');
SELECT qpsscale_create_token('regress_qpsscale_api_maker', 'maker');
SELECT qpsscale_create_token('regress_qpsscale_api_heir', 'heir');
SELECT qpsscale_create_token('regress_qpsscale_api_nobody', 'nobody');
SELECT qpsscale_create_token(NULL, 'x');
SELECT qpsscale_create_token('regress_qpsscale_api_reader', NULL);
SELECT qpsscale_create_token('regress_qpsscale_api_reader', '');
SELECT qpsscale_create_token('regress_qpsscale_api_reader', 'x', '0 s');
SELECT qpsscale_create_token('regress_qpsscale_api_reader', 'x', '1 day', '{}');

-- what is stored is its hash
SELECT count(*) FILTER (WHERE token_sha256 = sha256(:'prometheus'::bytea)) AS hashed,
	count(*) FILTER (WHERE strpos(t::text, substr(:'prometheus', 8)) > 0) AS plain
FROM qpsscale.api_tokens t;

-- the gateway learns which role it stands for, and nothing else
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'prometheus', '192.0.2.7');
SELECT qpsscale.token_role(:'prometheus', NULL);
SELECT qpsscale.token_role(:'prometheus' || 'x', '192.0.2.7');
SELECT qpsscale.token_role('', '192.0.2.7');
SELECT qpsscale.token_role(NULL, NULL);
SELECT count(*) FROM qpsscale.api_tokens;
SELECT count(*) FROM qpsscale.resource_groups;
SELECT qpsscale_health();
SELECT qpsscale.http_history('{}');
SELECT qpsscale_create_token('regress_qpsscale_api_reader', 'mine');
-- as the program calls it, in a transaction that only reads
BEGIN READ ONLY;
SELECT set_config('role', qpsscale.token_role(:'prometheus', '::1'), true);
SELECT CURRENT_USER, qpsscale.http_history('{}');
COMMIT;
SELECT CURRENT_USER;
RESET SESSION AUTHORIZATION;

-- it is written down that it was used, but not at each use
SELECT last_used_at AS used FROM qpsscale.api_tokens WHERE id = :id \gset
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'prometheus', '192.0.2.7');
RESET SESSION AUTHORIZATION;
SELECT last_used_at = :'used' AS same FROM qpsscale.api_tokens WHERE id = :id;
UPDATE qpsscale.api_tokens SET last_used_at = now() - interval '61 s' WHERE id = :id;
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
BEGIN READ ONLY;
SELECT qpsscale.token_role(:'prometheus', '192.0.2.7');
COMMIT;
SELECT qpsscale.token_role(:'prometheus', '192.0.2.7');
RESET SESSION AUTHORIZATION;
SELECT last_used_at > now() - interval '30 s' AS newly FROM qpsscale.api_tokens WHERE id = :id;

-- from where
SELECT token AS near FROM qpsscale_create_token('regress_qpsscale_api_reader',
	'near', NULL, '{192.0.2.0/24,2001:db8::/32}') \gset
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'near', '192.0.2.255');
SELECT qpsscale.token_role(:'near', '::ffff:192.0.2.1');
SELECT qpsscale.token_role(:'near', '2001:db8::1%eth0');
SELECT qpsscale.token_role(:'near', '192.0.3.1');
SELECT qpsscale.token_role(:'near', 'somewhere');
SELECT qpsscale.token_role(:'near', NULL);

-- a role that the gateway may not take on
RESET SESSION AUTHORIZATION;
SELECT token AS other FROM qpsscale_create_token('regress_qpsscale_api_other', 'other') \gset
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'other', '192.0.2.1');
RESET SESSION AUTHORIZATION;

-- expired, revoked, or for a role that is gone or has become more
UPDATE qpsscale.api_tokens SET expires_at = clock_timestamp() WHERE name = 'near';
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'near', '192.0.2.1');
RESET SESSION AUTHORIZATION;
-- two are valid at once while one takes the place of the other
SELECT token AS second FROM qpsscale_create_token('regress_qpsscale_api_reader', 'prometheus') \gset
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'prometheus', NULL) = qpsscale.token_role(:'second', NULL) AS both;
SET SESSION AUTHORIZATION regress_qpsscale_admin;
SELECT qpsscale_revoke_token(:id);
SELECT qpsscale_revoke_token(:id);
SELECT qpsscale_revoke_token(4711);
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'prometheus', NULL);
SELECT qpsscale.token_role(:'second', NULL);
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_qpsscale_api_reader SUPERUSER;
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'second', NULL);
RESET SESSION AUTHORIZATION;
ALTER ROLE regress_qpsscale_api_reader NOSUPERUSER;
ALTER ROLE regress_qpsscale_api_reader RENAME TO regress_qpsscale_api_renamed;
SET SESSION AUTHORIZATION regress_qpsscale_gateway;
SELECT qpsscale.token_role(:'second', NULL);
RESET SESSION AUTHORIZATION;

-- an admin does not make gateways
SET ROLE regress_qpsscale_admin;
SELECT qpsscale_grant('regress_qpsscale_api_other', 'gateway');
RESET ROLE;

DROP EXTENSION qpsscale;
DROP ROLE regress_qpsscale_gateway, regress_qpsscale_admin,
	regress_qpsscale_api_renamed, regress_qpsscale_api_other,
	regress_qpsscale_api_maker, regress_qpsscale_api_heir,
	regress_qpsscale_api_super;
