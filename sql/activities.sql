-- Activities: what the table itself makes sure of, whoever writes it.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION qpsscale;
RESET client_min_messages;

CREATE FUNCTION act(group_id bigint, status text, eval_capacity integer = 3,
					desired integer = 5, action text = NULL,
					delta integer = NULL)
RETURNS void
LANGUAGE sql AS $$
	INSERT INTO qpsscale.activities
		(resource_group_id, activity_key, action, delta, desired_capacity,
		 status, reason, eval_capacity, policy_version)
	SELECT group_id,
		group_id || '-' || desired || '-0-'
			|| (SELECT count(*) + 1 FROM qpsscale.activities),
		coalesce($5, CASE WHEN desired > eval_capacity THEN 'scale_up'
						 ELSE 'scale_down' END),
		coalesce($6, desired - eval_capacity), desired, status,
		'dynamic_scaling', eval_capacity, 1;
$$;

-- at most one activity of a group is in flight
SELECT act(1, 'requested');
SELECT act(1, 'requested');
SELECT act(1, 'unknown');
SELECT act(1, 'requested', 3, 2);
-- others are, and what is decided or was never sent does not count
SELECT act(2, 'unknown');
SELECT act(2, 'unknown');
SELECT act(1, s) FROM unnest(ARRAY['accepted', 'successful', 'failed',
	'superseded', 'dry_run']) s;
SELECT act(3, 'accepted') FROM generate_series(1, 2) i;
-- once it is decided, the next may follow
UPDATE qpsscale.activities SET status = 'accepted'
WHERE resource_group_id = 1 AND status = 'requested';
SELECT act(1, 'requested');
-- nor can an old one come back beside it
UPDATE qpsscale.activities SET status = 'unknown'
WHERE resource_group_id = 1 AND status = 'failed';

-- status is one of seven words
SELECT act(4, 'pending');
SELECT act(4, 'REQUESTED');
SELECT act(4, '');
SELECT act(4, NULL);

-- delta is the difference, and the action its direction
SELECT act(4, 'dry_run', 3, 5, 'scale_down');
SELECT act(4, 'dry_run', 5, 3, 'scale_up');
SELECT act(4, 'dry_run', 3, 5, 'scale_up', 1);
SELECT act(4, 'dry_run', 3, 3, 'scale_up');
SELECT act(4, 'dry_run', 3, 3, 'none');
SELECT act(4, 'dry_run', 3, -1);
SELECT act(4, 'dry_run', -2147483648, 2147483647, 'scale_up', 1);
-- down to zero and up from it
SELECT act(4, 'dry_run', 3, 0);
SELECT act(4, 'dry_run', 0, 3);

-- an activity's key is its own
INSERT INTO qpsscale.activities
	(resource_group_id, activity_key, action, delta, desired_capacity, status,
	 reason, eval_capacity, policy_version)
	SELECT 5, activity_key, 'scale_up', 1, 2, 'requested', 'dynamic_scaling',
		1, 1
	FROM qpsscale.activities ORDER BY id LIMIT 1;

SELECT resource_group_id, status, action, delta, desired_capacity
FROM qpsscale.activities ORDER BY id;

DROP FUNCTION act(bigint, text, integer, integer, text, integer);
DROP EXTENSION qpsscale;
