# QpsscaleFakes.pm
#
# A server without the extension, whose functions of the HTTP server are
# pretended: for tests of qpsscale-httpd itself, to which they are all the same.
#
#   create_fakes($node);                       # token: $QpsscaleFakes::TOKEN
#   GET /scale/history                         echoes its parameters
#   GET /scale/history?resource_id=slow        lasts until open_gate($node)
#   POST /scale/decide                         echoes its body

package QpsscaleFakes;

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT = qw(create_fakes open_gate close_gate);
our $TOKEN = 'qps_1_' . 'g' x 43;

sub create_fakes
{
	my ($node) = @_;

	$node->safe_psql('postgres', <<"SQL");
CREATE ROLE http_fake;
CREATE SCHEMA qpsscale;
GRANT USAGE ON SCHEMA qpsscale TO http_fake;
CREATE TABLE qpsscale.gate (closed boolean NOT NULL);
GRANT SELECT ON qpsscale.gate TO http_fake;
CREATE FUNCTION qpsscale.token_role(token text, address text) RETURNS text
LANGUAGE plpgsql AS \$\$
BEGIN
	IF token IS DISTINCT FROM '$TOKEN' THEN
		RAISE invalid_authorization_specification USING MESSAGE = 'no valid token';
	END IF;
	RETURN 'http_fake';
END \$\$;
CREATE FUNCTION qpsscale.http_health(request jsonb) RETURNS jsonb
LANGUAGE sql AS \$\$ SELECT jsonb '{"status": "healthy", "service": "scaler"}' \$\$;
CREATE FUNCTION qpsscale.http_decide(request jsonb) RETURNS jsonb
LANGUAGE sql AS \$\$ SELECT request \$\$;
CREATE FUNCTION qpsscale.http_history(request jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE AS \$\$
BEGIN
	WHILE request->>'resource_id' = 'slow'
		AND EXISTS (SELECT FROM qpsscale.gate WHERE closed)
	LOOP
		PERFORM pg_sleep(0.02);
	END LOOP;
	RETURN request;
END \$\$;
SQL
	return;
}

sub close_gate
{
	$_[0]->safe_psql('postgres', 'INSERT INTO qpsscale.gate VALUES (true)');
	return;
}

sub open_gate
{
	$_[0]->safe_psql('postgres', 'DELETE FROM qpsscale.gate');
	return;
}

1;
