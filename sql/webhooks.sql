-- Endpoints of alerts: what is refused when they are written.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

-- a secret that took a wrong turn is shown to nobody
INSERT INTO qpsscale.webhooks (name, url, secret)
VALUES ('pager', 'https://pager.example/hook', 'whsec_Q0FOQVJZ');
INSERT INTO qpsscale.webhooks (name, url, secret, old_secret)
VALUES ('pager', 'https://pager.example/hook', 'file:pager.key', 'CANARY');
INSERT INTO qpsscale.webhooks (name, url)
VALUES ('pager', 'https://user:CANARY@pager.example/hook');

-- a URL without a host, say because a variable was empty
INSERT INTO qpsscale.webhooks (name, url)
VALUES ('pager', 'https://:/hook'), ('second', 'https://second.example/hook');
INSERT INTO qpsscale.webhooks (name, url) VALUES ('pager', 'https:///hook');
INSERT INTO qpsscale.webhooks (name, url) VALUES ('pager', 'https://host:/hook');
INSERT INTO qpsscale.webhooks (name, url) VALUES ('pager', 'ftp://host/hook');

-- what is fine
INSERT INTO qpsscale.webhooks (name, url)
VALUES ('name', 'https://pager.example'),
	   ('path', 'https://pager.example/a?b=c'),
	   ('port', 'https://pager.example:8443/hook'),
	   ('ipv4', 'https://192.0.2.1/hook'),
	   ('ipv6', 'https://[2001:db8::1]:8443/hook'),
	   ('file', 'file:slack.url'),
	   ('env', 'env:SLACK_URL')
RETURNING name, url, format, enabled;

DROP EXTENSION qpsscale;
