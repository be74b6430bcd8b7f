-- What the pages of the dashboard show: bounded, with the rights of whom asks.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;
SET timezone = 'UTC';

INSERT INTO qpsscale.resource_groups (name, uuid, alb_id, asg_id, region, target_qps)
VALUES ('web', '11111111-2222-4333-8444-555555555555', 'alb', 'asg', 'r', 50),
	('empty', '11111111-2222-4333-8444-666666666666', 'alb', 'asg-2', 'r', 50);

-- a minute of a group: two instances, three, and something that is held back
INSERT INTO qpsscale.evaluations (resource_group_id, evaluated_at, action, reason, blocker,
	desired, dry_run, policy_version, explanation)
SELECT g.id, timestamptz '2026-01-01 12:00:00Z' + v.after, v.action, v.reason, v.blocker, v.desired, false, 1,
	jsonb_build_object('inputs', jsonb_build_object(
			'load', jsonb_build_object('known', v.load IS NOT NULL, 'mean_qps', v.load),
			'capacity', jsonb_build_object('known', true, 'desired', v.had, 'total', v.had,
				'in_service', v.had, 'min', 1, 'max', 1000),
			'policy', jsonb_build_object('max_instances', 10)),
		'proposals', jsonb_build_array(jsonb_build_object('source', 'qps', 'load', v.load,
			'target', 50, 'instances', v.desired)),
		'winner', 'qps', 'wanted', v.wanted, 'summary', 'as it was')
FROM qpsscale.resource_groups g, (VALUES
	(interval '0 s', 'none', 'none', 'optimal_instance_count_reached', NULL, 90.0, 2, 2),
	('20 s', 'scale_up', 'scale_up', 'dynamic_scaling_scale_up', NULL, 140, 2, 3),
	('30 s', 'none', 'none', 'load_unknown', NULL, NULL, 3, 3),
	('40 s', 'none', 'scale_down', 'scale_down_cooldown', 'scale_down_cooldown', 60, 3, 3))
	AS v (after, action, wanted, reason, blocker, load, had, desired)
WHERE g.name = 'web';
INSERT INTO qpsscale.activities (resource_group_id, activity_key, requested_at, finished_at, action, delta,
	desired_capacity, status, reason, eval_capacity, policy_version)
SELECT g.id, 'k', '2026-01-01 12:00:20Z', '2026-01-01 12:00:27Z', 'scale_up', 1, 3, 'successful', 'dynamic_scaling_scale_up', 2, 1
FROM qpsscale.resource_groups g WHERE g.name = 'web';
INSERT INTO qpsscale.errors (resource_group_id, source, message, occurred_at)
SELECT g.id, 'load', 'no answer ' || n, timestamptz '2026-01-01 12:00:30Z' + n * interval '1 s'
FROM qpsscale.resource_groups g, generate_series(1, 3) n WHERE g.name = 'web';

-- series: load against what the instances in service can take
SELECT jsonb_pretty(qpsscale.http_group('{"resource_id": "web",
	"since": "2026-01-01T12:00:00Z", "until": "2026-01-01T12:01:00Z"}') -> 'series');
-- a period begins with what held when it began
SELECT qpsscale.http_group('{"resource_id": "web", "since": "2026-01-01T12:00:25Z",
	"until": "2026-01-01T12:00:35Z"}') #> '{series,load}' AS load;
-- few points: the mean of a stretch, its peak, the capacity at its end
SELECT s -> 'load' AS load, s -> 'peak' AS peak, s -> 'desired' AS desired
FROM qpsscale.series((SELECT id FROM qpsscale.resource_groups WHERE name = 'web'),
	'2026-01-01 12:00:00Z', '2026-01-01 12:01:00Z', 2) s;
-- nothing known is an empty list, and no error
SELECT v #> '{series,at}' AS at, v -> 'timeline' AS timeline, v #> '{group,status}' AS status
FROM qpsscale.http_group('{"resource_id": "empty"}') v;

SELECT t ->> 'kind' AS kind, t ->> 'action' AS action, t ->> 'from' AS "from", t ->> 'to' AS "to", t ->> 'status' AS status
FROM jsonb_array_elements(qpsscale.http_group('{"resource_id": "web", "since": "2026-01-01T12:00:00Z",
	"until": "1767268860"}') -> 'timeline') t;

SELECT v #>> '{groups,0,name}' AS name, v ->> 'count' AS count, v ->> 'next' AS next
FROM qpsscale.http_groups('{"limit": "1"}') v;
SELECT v #>> '{groups,0,name}' AS name, v #>> '{groups,0,yours}' AS yours, v #>> '{groups,0,last_change,to}' AS "to"
FROM qpsscale.http_groups('{"after": "empty"}') v;
SELECT v #>> '{errors,0,message}' AS newest, v ->> 'next' AS next FROM qpsscale.http_errors('{"limit": 2}') v;
SELECT v #>> '{errors,0,message}' AS newest, v ->> 'next' AS next FROM qpsscale.http_errors('{"limit": 2, "before_id": "2"}') v;
SELECT qpsscale.http_errors('{"resource_id": "empty"}');
SELECT qpsscale.http_why('{"resource_id": "web", "at": "2026-01-01T12:00:45Z"}') #>> '{details,reason}' AS reason;

-- what is asked wrongly
SELECT qpsscale.http_group('{}');
SELECT qpsscale.http_group('{"resource_id": "none such"}');
SELECT qpsscale.http_group('{"resource_id": "web", "since": "infinity"}');
SELECT qpsscale.http_group('{"resource_id": "web", "since": "2026-02-31T00:00:00Z"}');
SELECT qpsscale.http_group('{"resource_id": "web", "since": "2026-01-01T12:00:00Z", "until": "2020-01-01T12:00:00Z"}');
SELECT qpsscale.http_group('{"resource_id": "web", "since": "0"}');
SELECT qpsscale.http_errors('{"limit": 0}');
SELECT qpsscale.http_errors('{"before_id": "x"}');
SELECT qpsscale.http_what_if('{"resource_id": "web", "overrides": [1]}');
SELECT qpsscale.http_what_if('{"resource_id": "web", "overrides": {"name": "x"}}');
SELECT qpsscale.http_replay('{"delivery_id": 1}');
SELECT qpsscale.http_replay('{"delivery_id": "1 or 2"}');

-- who may what
CREATE ROLE regress_qpsscale_page_reader;
CREATE ROLE regress_qpsscale_page_operator;
SELECT qpsscale_grant('regress_qpsscale_page_reader', 'reader'), qpsscale_grant('regress_qpsscale_page_operator', 'operator');
UPDATE qpsscale.resource_groups SET owner = 'regress_qpsscale_page_operator' WHERE name = 'empty';
SET ROLE regress_qpsscale_page_reader;
SELECT jsonb_array_length(qpsscale.http_groups('{}') -> 'groups') AS groups,
	jsonb_array_length(qpsscale.http_errors('{}') -> 'errors') AS errors,
	qpsscale.http_webhooks('{}') -> 'count' AS deliveries;
SELECT qpsscale.http_group('{"resource_id": "empty"}') #> '{group,yours}' AS yours;
SELECT qpsscale.http_suspend('{"resource_id": "empty"}');
SELECT qpsscale.http_what_if('{"resource_id": "empty"}');
SET ROLE regress_qpsscale_page_operator;
SELECT qpsscale.http_suspend('{"resource_id": "empty", "direction": "down", "reason": "sale"}');
SELECT qpsscale.http_suspend('{"resource_id": "empty", "direction": "left"}');
SELECT qpsscale.http_suspend('{"resource_id": "web"}');
SELECT g ->> 'name' AS name, g -> 'yours' AS yours, g #>> '{suspended,reason}' AS suspended
FROM jsonb_array_elements(qpsscale.http_groups('{}') -> 'groups') g;
SELECT qpsscale.http_resume('{"resource_id": "empty"}');
SELECT qpsscale.http_replay('{"delivery_id": 1}');
RESET ROLE;
SELECT qpsscale_revoke('regress_qpsscale_page_reader'), qpsscale_revoke('regress_qpsscale_page_operator');
DROP EXTENSION qpsscale;
DROP ROLE regress_qpsscale_page_reader, regress_qpsscale_page_operator;
