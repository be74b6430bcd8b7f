/*-------------------------------------------------------------------------
 * group_row.h
 *		A resource group as the tables have it: policy, state, open activity.
 *
 * What is selected and what reads it stand side by side, and serve the cycle
 * as well as qpsscale_decide() in a user's backend.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_GROUP_ROW_H
#define QPSSCALE_GROUP_ROW_H

#include "postgres.h"

#include "pg/row_reader.h"

/* Of g (resource_groups), s (state) and a (activities), in the order of
 * qpsscale_read_group(); after them comes whether a's evaluator still runs,
 * QPSSCALE_EVALUATOR_RUNS, for which a reader has no right. */
#define QPSSCALE_GROUP_COLUMNS \
	"g.id, g.version, g.name, g.provider, g.account, g.owner::text," \
	"  g.alb_id, g.asg_id, g.kind, g.region," \
	"  g.get_capacity, g.set_capacity, g.enabled, g.dry_run," \
	"  g.activity_deadline_seconds," \
	"  g.target_cpu, g.target_memory," \
	"  g.mode = 'static', g.target_qps, g.up_threshold, g.down_threshold," \
	"  g.min_instances, g.max_instances, g.max_scale_up_per_action," \
	"  g.max_scale_down_per_action, g.max_scale_down_percent," \
	"  g.scale_up_tolerance, g.scale_down_tolerance, g.scale_up_on = 'peak'," \
	"  g.suspicious_drop_guard, g.scale_up_cooldown_seconds," \
	"  g.scale_down_cooldown_seconds, g.general_cooldown_seconds," \
	"  g.scale_down_window_seconds, g.max_load_age_seconds," \
	"  g.on_foreign_change, g.require_approval," \
	"  g.prediction_mode, g.target_violation, g.boot_seconds," \
	"  g.max_actions_per_hour > 0 OR g.max_instances_per_hour > 0," \
	"  CASE WHEN g.max_hourly_cost IS NOT NULL" \
	"  THEN qpsscale.affordable(g) END," \
	"  g.scale_up_rates, g.scale_up_rates_select," \
	"  g.scale_down_rates, g.scale_down_rates_select," \
	"  g.scale_up_confirm_n, g.scale_up_confirm_m," \
	"  g.scale_down_confirm_n, g.scale_down_confirm_m," \
	"  s.latest_qps_at, s.latest_qps, s.reference_qps, s.drop_seen_at," \
	"  s.last_scale_up_at, s.last_scale_down_at, s.last_action_at," \
	"  s.recommended_until, s.recommended, s.circuit_open_until," \
	"  s.suspended, s.suspended_direction, s.suspended_until," \
	"  s.held_instances, s.held_until," \
	"  s.consecutive_errors, s.last_evaluated_at," \
	"  s.last_action, s.last_reason, s.last_blocker, s.last_desired," \
	"  s.last_dry_run, s.latest_capacity, s.latest_total, s.latest_in_service," \
	"  s.latest_min, s.latest_max, s.latest_optimal, s.blocked_until," \
	"  s.cooldown_until, s.last_error," \
	"  s.failed_actions, s.known_desired, s.known_version, s.lost_desired," \
	"  s.lost_at, s.unfulfilled_scale_ups, s.fulfilled_capacity," \
	"  s.unfulfilled_activity_id, s.stock_out_since, s.stock_out_probe_at," \
	"  s.confirmed_up, s.confirmed_down, s.confirmed_base, s.confirmed_at," \
	"  s.backfilled_from, s.backfill_retry_at," \
	"  a.id, a.status, a.desired_capacity, a.eval_capacity, a.eval_total," \
	"  a.requested_at," \
	"  a.accepted_at"

#define QPSSCALE_EVALUATOR_RUNS \
	"  CASE WHEN a.status = 'requested'" \
	"    AND a.evaluator_pid <> pg_backend_pid()" \
	"  THEN qpsscale.evaluator_runs(a.evaluator_pid, a.evaluator_started_at)" \
	"  ELSE false END"

#define QPSSCALE_OPEN_ACTIVITY \
	"a.resource_group_id = g.id" \
	" AND (a.status = 'requested' OR a.status = 'unknown'" \
	"      OR a.status = 'accepted')"

/* Fills a zeroed group, in the current memory context; now tells which
 * suspensions hold. */
extern void qpsscale_read_group(Row *row, QpsscaleGroup *group,
								TimestampTz now);

#endif							/* QPSSCALE_GROUP_ROW_H */
