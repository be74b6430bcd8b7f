-- Accounts: options of foreign servers and user mappings of the wrapper
-- qpsscale are checked when they are written.
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

-- names
CREATE SERVER regress_cloud FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'byteplus', region 'ap-southeast-1');
ALTER SERVER regress_cloud OPTIONS (ADD regoin 'x');
ALTER SERVER regress_cloud OPTIONS (ADD colour 'x');
ALTER SERVER regress_cloud OPTIONS (ADD access_key_id 'x');
ALTER SERVER regress_cloud OPTIONS (ADD "Region" 'x');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_cloud
	OPTIONS (acess_key_id 'env:KEY');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_cloud
	OPTIONS (region 'eu-west-1');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_cloud
	OPTIONS (passphrase 'x');
ALTER FOREIGN DATA WRAPPER qpsscale OPTIONS (ADD region 'eu-west-1');
ALTER FOREIGN DATA WRAPPER qpsscale OPTIONS (ADD colour 'x');
CREATE FOREIGN TABLE regress_table (a integer) SERVER regress_cloud
	OPTIONS (region 'eu-west-1');

-- Each value that is tried, one at a time; says what was refused and how.
CREATE FUNCTION attempt_option(name text, value text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	hint text;
	detail text;
BEGIN
	EXECUTE format('CREATE SERVER regress_tried FOREIGN DATA WRAPPER qpsscale
		OPTIONS (%I %L)', name, value);
	EXECUTE 'DROP SERVER regress_tried';
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT,
		detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || SQLERRM
		|| coalesce(E'\n' || nullif(detail, ''), '')
		|| coalesce(E'\n' || nullif(hint, ''), '');
END
$$;
CREATE FUNCTION attempt_secret(name text, value text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	hint text;
	detail text;
BEGIN
	EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER regress_cloud
		OPTIONS (%I %L)', name, value);
	EXECUTE 'DROP USER MAPPING FOR CURRENT_USER SERVER regress_cloud';
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT,
		detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || SQLERRM
		|| coalesce(E'\n' || nullif(detail, ''), '')
		|| coalesce(E'\n' || nullif(hint, ''), '');
END
$$;

-- the help of each option of a server, by a value that no option allows
SELECT o.name, attempt_option(o.name, E'\t')
FROM (VALUES ('provider'), ('region'), ('endpoint'),
	('autoscaling_endpoint'), ('monitor_endpoint'), ('autoscaling_service'),
	('monitor_service'), ('ca_file'), ('rate_limits'), ('dual_stack'),
	('metadata_endpoint'), ('sts_endpoint'), ('tenant')) o (name);

-- values at the edge
SELECT o.name, o.value, split_part(attempt_option(o.name, o.value), E'\n', 1)
FROM (VALUES
	(1, 'provider', 'byteplus'),
	(2, 'provider', 'BytePlus'),
	(3, 'provider', ''),
	(4, 'region', 'eu-west-1'),
	(5, 'region', 'eu--west'),
	(6, 'region', '-eu'),
	(7, 'region', 'EU'),
	(8, 'region', ''),
	(9, 'endpoint', 'https://open.byteplusapi.com'),
	(10, 'endpoint', 'https://open.byteplusapi.com/'),
	(11, 'endpoint', 'https://open.byteplusapi.com:8443'),
	(12, 'endpoint', 'http://127.0.0.1:8080'),
	(13, 'endpoint', 'https://[::1]:8443'),
	(14, 'endpoint', 'https://::1'),
	(15, 'endpoint', 'https://host/path'),
	(16, 'endpoint', 'https://host?query'),
	(17, 'endpoint', 'https://user@host'),
	(18, 'endpoint', 'https://user:pass@host'),
	(19, 'endpoint', 'https://host:0'),
	(20, 'endpoint', 'https://host:65536'),
	(21, 'endpoint', 'https://host:'),
	(22, 'endpoint', 'https://'),
	(23, 'endpoint', 'https://a..b'),
	(24, 'endpoint', 'https://ho st'),
	(25, 'endpoint', 'ftp://host'),
	(26, 'endpoint', 'file:///etc/passwd'),
	(27, 'endpoint', 'open.byteplusapi.com'),
	(28, 'autoscaling_service', 'auto_scaling'),
	(29, 'autoscaling_service', 'auto scaling'),
	(30, 'monitor_service', 'Volc_Observe'),
	(31, 'ca_file', '/etc/ssl/certs/ca-certificates.crt'),
	(32, 'ca_file', 'ca.pem'),
	(33, 'rate_limits', 'on'),
	(34, 'rate_limits', 'off'),
	(35, 'rate_limits', 'maybe')) o (number, name, value)
ORDER BY o.number;

-- secrets of a superuser: referred to, or written down knowingly
SELECT o.name, o.value, attempt_secret(o.name, o.value)
FROM (VALUES
	(1, 'access_key_id', 'env:ACCESS_KEY'),
	(2, 'secret_access_key', 'file:team/key'),
	(3, 'session_token', 'file:token'),
	(4, 'secret_access_key', 'inline:EXAMPLE')) o (number, name, value)
ORDER BY o.number;
-- the server's own credentials instead
SELECT o.name, o.value, split_part(attempt_secret(o.name, o.value), E'\n', 1)
FROM (VALUES
	(1, 'credentials', 'chain'),
	(2, 'credentials', 'oidc'),
	(3, 'credentials', 'file'),
	(4, 'credentials', 'ecs'),
	(5, 'oidc_role_trn', 'trn:iam::2000000001:role/scaler'),
	(6, 'oidc_role_trn', 'no role'),
	(7, 'oidc_token_file', '/var/run/secrets/token'),
	(8, 'oidc_token_file', 'token'),
	(9, 'cli_config_file', '/home/postgres/.byteplus/config.json'),
	(10, 'cli_config_file', 'config.json'),
	(11, 'cli_profile', 'prod'),
	(12, 'cli_profile', ''),
	(13, 'ecs_role', 'scaler'),
	(14, 'ecs_role', 'a?b')) o (number, name, value)
ORDER BY o.number;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_cloud
	OPTIONS (credentials 'ecs', access_key_id 'env:ACCESS_KEY');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_cloud
	OPTIONS (credental 'ecs');
-- what is refused is not repeated: "canary" must not appear in an answer
SELECT o.number, attempt_secret(o.name, o.value)
FROM (VALUES
	(1, 'secret_access_key', 'canary'),
	(2, 'secret_access_key', ''),
	(3, 'secret_access_key', 'env:'),
	(4, 'secret_access_key', 'env:CANARY-canary'),
	(5, 'secret_access_key', 'env:1canary'),
	(6, 'secret_access_key', 'file:'),
	(7, 'secret_access_key', 'file:/etc/canary'),
	(8, 'secret_access_key', 'file:../canary'),
	(9, 'secret_access_key', 'file:a/../canary'),
	(10, 'secret_access_key', 'file:.canary'),
	(11, 'secret_access_key', 'file:a//canary'),
	(12, 'secret_access_key', 'file:canary/'),
	(13, 'secret_access_key', 'file:' || repeat('canary', 40)),
	(14, 'secret_access_key', 'inline:'),
	(15, 'secret_access_key', 'inline:two canaries'),
	(16, 'secret_access_key', E'inline:canary\n'),
	(17, 'secret_access_key', 'inline:' || repeat('canary', 700)),
	(18, 'secret_access_key', 'ENV:CANARY'),
	(19, 'secret_acess_key', 'canary'),
	(20, 'credentials', 'canary'),
	(21, 'ecs_role', 'can ary')) o (number, name, value)
ORDER BY o.number;
-- a change is checked like the first time
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_cloud
	OPTIONS (access_key_id 'env:ACCESS_KEY');
ALTER USER MAPPING FOR CURRENT_USER SERVER regress_cloud
	OPTIONS (SET access_key_id 'canary');
DROP USER MAPPING FOR CURRENT_USER SERVER regress_cloud;

-- somebody who is not a superuser
CREATE ROLE regress_qpsscale_carl;
SET ROLE regress_qpsscale_carl;
CREATE SERVER regress_of_carl FOREIGN DATA WRAPPER qpsscale;
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER qpsscale TO regress_qpsscale_carl;
GRANT CREATE ON SCHEMA public TO regress_qpsscale_carl;
SET ROLE regress_qpsscale_carl;
-- every address is for superusers, and so is what protects others
SELECT o.name, attempt_option(o.name, o.value)
FROM (VALUES
	(1, 'provider', 'byteplus'),
	(2, 'region', 'eu-west-1'),
	(3, 'endpoint', 'https://open.byteplusapi.com'),
	(4, 'autoscaling_endpoint', 'https://open.byteplusapi.com'),
	(5, 'monitor_endpoint', 'https://open.byteplusapi.com'),
	(6, 'autoscaling_service', 'auto_scaling'),
	(7, 'monitor_service', 'Volc_Observe'),
	(8, 'ca_file', '/etc/ssl/certs/ca-certificates.crt'),
	(9, 'rate_limits', 'off'),
	(10, 'metadata_endpoint', 'http://127.0.0.1'),
	(11, 'sts_endpoint', 'https://sts.example.com')) o (number, name, value)
ORDER BY o.number;
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER regress_cloud TO regress_qpsscale_carl;
SET ROLE regress_qpsscale_carl;
-- own files only, no variables of the server, nothing inline
SELECT o.number, attempt_secret('secret_access_key', o.value)
FROM (VALUES
	(1, 'file:regress_qpsscale_carl/key'),
	(2, 'file:canary'),
	(3, 'file:regress_qpsscale_carl'),
	(4, 'file:regress_qpsscale_carl/../canary'),
	(5, 'file:regress_qpsscale_carla/canary'),
	(6, 'file:other/regress_qpsscale_carl/canary'),
	(7, 'env:CANARY'),
	(8, 'inline:canary'),
	(9, 'canary')) o (number, value)
ORDER BY o.number;
-- nor anything that lends him the server's own credentials
SELECT o.name, split_part(attempt_secret(o.name, o.value), E'\n', 1)
FROM (VALUES
	(1, 'credentials', 'ecs'),
	(2, 'oidc_role_trn', 'r'),
	(3, 'oidc_token_file', '/canary'),
	(4, 'cli_config_file', '/canary'),
	(5, 'cli_profile', 'p'),
	(6, 'ecs_role', 'r')) o (number, name, value)
ORDER BY o.number;
RESET ROLE;
CREATE USER MAPPING FOR regress_qpsscale_carl SERVER regress_cloud
	OPTIONS (credentials 'ecs');
SET ROLE regress_qpsscale_carl;
-- what a superuser has lent him is not his to change
ALTER USER MAPPING FOR regress_qpsscale_carl SERVER regress_cloud
	OPTIONS (ADD ecs_role 'canary');
ALTER USER MAPPING FOR regress_qpsscale_carl SERVER regress_cloud
	OPTIONS (SET credentials 'oidc');
DROP USER MAPPING FOR regress_qpsscale_carl SERVER regress_cloud;
-- a server on which a superuser has set an address is not his to change
CREATE SERVER regress_of_carl FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'byteplus');
ALTER SERVER regress_of_carl OPTIONS (ADD region 'eu-west-1');
RESET ROLE;
ALTER SERVER regress_of_carl OPTIONS (ADD endpoint 'https://example.com');
SET ROLE regress_qpsscale_carl;
ALTER SERVER regress_of_carl OPTIONS (SET region 'eu-west-2');
ALTER SERVER regress_of_carl OPTIONS (SET endpoint 'https://example.org');
ALTER SERVER regress_of_carl OPTIONS (DROP endpoint);
RESET ROLE;

-- only Prometheus may stand behind a path, and a path is not everything
CREATE SERVER regress_tried FOREIGN DATA WRAPPER qpsscale
	OPTIONS (endpoint 'https://example.com/prefix');
CREATE SERVER regress_tried FOREIGN DATA WRAPPER qpsscale
	OPTIONS (endpoint 'https://example.com/prefix', provider 'aws');
CREATE SERVER regress_tried FOREIGN DATA WRAPPER qpsscale
	OPTIONS (endpoint 'https://example.com/a/../b', provider 'prometheus');
CREATE SERVER regress_tried FOREIGN DATA WRAPPER qpsscale
	OPTIONS (endpoint 'https://example.com/a?b=c', provider 'prometheus');
CREATE SERVER regress_tried FOREIGN DATA WRAPPER qpsscale
	OPTIONS (provider 'prometheus', endpoint 'https://example.com:9090/a/b/',
			 tenant 'team-a|team-b');
ALTER SERVER regress_tried OPTIONS (SET provider 'byteplus');
ALTER SERVER regress_tried OPTIONS (SET tenant 'team a');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_tried
	OPTIONS (username 'a:b', password 'file:password');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_tried
	OPTIONS (username 'scaler', password 'canary');
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_tried
	OPTIONS (username 'scaler', password 'file:password');
DROP USER MAPPING FOR CURRENT_USER SERVER regress_tried;
DROP SERVER regress_tried;

DROP SERVER regress_of_carl;
DROP SERVER regress_cloud;
DROP FUNCTION attempt_option(text, text);
DROP FUNCTION attempt_secret(text, text);
DROP EXTENSION qpsscale;
REVOKE CREATE ON SCHEMA public FROM regress_qpsscale_carl;
DROP ROLE regress_qpsscale_carl;
