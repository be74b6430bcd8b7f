/*-------------------------------------------------------------------------
 * validate.c
 *		What qpsscale_validate() says about one group.
 *
 * The cycle asked everything that scaling the group would ask, and changed
 * nothing; here its answers become one row per check: ok, warn or fail, what
 * was seen, and what to do about it.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/json_writer.h"
#include "pg/user_sql.h"
#include "pg/validate.h"
#include "pg/worker.h"

void
qpsscale_report(ValidationReport *report, const char *check, const char *status,
		const char *detail, const char *hint)
{
	StringInfoData row;

	initStringInfo(&row);
	qpsscale_json_open(&row, NULL, '{');
	qpsscale_json_text(&row, "check", check);
	qpsscale_json_text(&row, "status", status);
	qpsscale_json_text(&row, "detail", detail);
	qpsscale_json_text(&row, "hint", hint);
	qpsscale_json_close(&row, '}');
	report->rows = lappend(report->rows, row.data);
	if (strcmp(status, "fail") == 0)
		report->passed = false;
}

#define CREDENTIAL_HINT \
	"Check the access key that the account refers to, and this host's clock."

/* A key that is wrong, not one that may do too little: the status is the same. */
static bool
names_wrong_key(const char *code)
{
	return strcmp(code, "SignatureDoesNotMatch") == 0 ||
		strcmp(code, "InvalidAccessKey") == 0;
}

const char *
qpsscale_error_hint(const QsError *error)
{
	const char *hint = qpsscale_user_sql_hint(error);

	if (hint != NULL)
		return hint;
	switch (error->class)
	{
		case QS_ERROR_CREDENTIAL:
			return CREDENTIAL_HINT;
		case QS_ERROR_THROTTLED:
			return "The cloud limits this account; try again later.";
		case QS_ERROR_TRANSIENT:
			return "Try again; if it stays, check network, DNS and the account's endpoint.";
		case QS_ERROR_MALFORMED:
			return "The reply is not what the API documents; check the account's endpoint.";
		case QS_ERROR_RESOURCES:
			return "This server ran out of descriptors or memory; see the message.";
		default:
			break;
	}
	if (strcmp(error->code, "address_refused") == 0 ||
		strcmp(error->code, "url_refused") == 0)
		return "Add the host to qpsscale.allowed_hosts if it is meant.";
	if (names_wrong_key(error->code))
		return CREDENTIAL_HINT;
	/* CloudWatch refuses with 400 */
	if (error->http_status == 403 ||
		strncmp(error->code, "AccessDenied", 12) == 0)
		return "Give the account the permission that the message names.";
	return "Check ids, region and permissions of the access key.";
}

void
qpsscale_report_error(ValidationReport *report, const char *check, const char *action,
		  const QsError *error)
{
	qpsscale_report(report, check, "fail",
			psprintf("%s: %s%s%s", action, error->code,
					 error->code[0] == '\0' ? "" : ": ", error->message),
			qpsscale_error_hint(error));
}

static void
check_policy(ValidationReport *report, const QpsscaleGroup *group)
{
	if (!group->enabled)
		qpsscale_report(report, "policy", "warn", "the group is not enabled",
				"UPDATE qpsscale.resource_groups SET enabled = true ...");
	else if (group->row_dry_run)
		qpsscale_report(report, "policy", "warn", "the group is in dry run",
				"UPDATE qpsscale.resource_groups SET dry_run = false ... once its decisions look right");
	else
		qpsscale_report(report, "policy", "ok", "enabled and live", NULL);
	if (!group->policy.armed)
		qpsscale_report(report, "armed", "warn",
				"this database is not armed: every group is in dry run",
				"SELECT qpsscale_arm();");
	else
		qpsscale_report(report, "armed", "ok", "this database is armed", NULL);
}

static bool
check_account(ValidationReport *report, const QpsscaleGroup *group)
{
	const char *name = group->account_name == NULL ?
		"the server's own credentials" : group->account_name;

	if (group->error_source != NULL &&
		strcmp(group->error_source, "account") == 0)
	{
		qpsscale_report(report, "account", "fail", group->error_message,
				"The message says what is missing.");
		return false;
	}
	if (group->provider == &qpsscale_provider_sql)
	{
		qpsscale_report(report, "account", "ok",
				psprintf("functions and queries run as role %s", group->owner),
				NULL);
		return true;
	}
	qpsscale_report(report, "account", "ok",
			group->provider->has_no_regions ?
			psprintf("credentials of %s found, for %s", name,
					 group->account->cloud.endpoint) :
			psprintf("credentials of %s found, region %s", name,
					 group->target.region), NULL);
	return true;
}

static void
check_limits(ValidationReport *report, const QpsscaleGroup *group)
{
	const QsCapacity *capacity = &group->target.capacity;
	const QsPolicy *policy = &group->policy;

	if (capacity->min == 0 && capacity->max == QS_MAX_INSTANCES)
		qpsscale_report(report, "limits", "ok",
				psprintf("the group's own, %d..%d: nothing else bounds it",
						 policy->min_instances, policy->max_instances), NULL);
	else if (capacity->min == capacity->max)
		qpsscale_report(report, "limits", "warn",
				psprintf("the cloud's minimum and maximum are both %d: nothing can be scaled",
						 capacity->min),
				"Widen the scaling group's limits in the cloud.");
	else if ((policy->min_instances != QS_NO_LIMIT &&
			  policy->min_instances > capacity->max) ||
			 (policy->max_instances != QS_NO_LIMIT &&
			  policy->max_instances < capacity->min))
		qpsscale_report(report, "limits", "warn",
				psprintf("the group's own limits lie outside the cloud's %d..%d: the cloud's hold",
						 capacity->min, capacity->max),
				"Change min_instances and max_instances, or the cloud's limits.");
	else
		qpsscale_report(report, "limits", "ok",
				psprintf("the cloud allows %d..%d instances", capacity->min,
						 capacity->max), NULL);
}

static void
check_capacity(ValidationReport *report, const QpsscaleGroup *group)
{
	const QsTarget *target = &group->target;
	const QsCapacity *capacity = &target->capacity;

	if (!capacity->known)
	{
		qpsscale_report_error(report, "capacity", "the scaling group cannot be read",
				  &target->capacity_error);
		return;
	}
	if (capacity->desired == QS_UNKNOWN)
		qpsscale_report(report, "capacity", "warn",
				psprintf("the expected number of instances is not in use; %d instances exist",
						 capacity->total),
				"The first action sets it; nothing need be done.");
	else
		qpsscale_report(report, "capacity", "ok",
				psprintf("desired %d, total %d", capacity->desired,
						 capacity->total), NULL);
	check_limits(report, group);
	if (!capacity->active)
		qpsscale_report(report, "state", "fail", "the scaling group is not active",
				"Enable the scaling group in the cloud.");
	else if (capacity->scale_out_suspended && group->provider->processes == NULL)
		qpsscale_report(report, "state", "warn", "its rollout is paused",
				"Resume it: kubectl rollout resume.");
	else if (capacity->scale_out_suspended || capacity->scale_in_suspended)
		qpsscale_report(report, "state", "warn",
				"processes of the scaling group are suspended",
				psprintf("Resume its processes %s in the cloud.",
						 group->provider->processes));
	else
		qpsscale_report(report, "state", "ok", "active", NULL);
}

static void
check_load(ValidationReport *report, const QpsscaleGroup *group)
{
	const QsTarget *target = &group->target;
	const QsLoad *load = &target->load;

	if (!(group->policy.target_qps > 0))
		return;					/* requests do not drive the group */
	if (target->load_error.class != QS_ERROR_NONE)
		qpsscale_report_error(report, "load", "the load cannot be read",
				  &target->load_error);
	else if (!load->known)
	{
		const char *why = group->provider->explain_silence == NULL ? NULL :
			group->provider->explain_silence(target);

		qpsscale_report(report, "load", "warn",
				psprintf("no data for load balancer \"%s\"", group->alb_id),
				why != NULL ? why :
				"Normal if it has had no request; else check alb_id and region.");
	}
	else
		qpsscale_report(report, "load", "ok",
				psprintf("%.1f requests per second (%d of %d points)",
						 load->mean_qps, load->points, load->expected_points),
				NULL);
}

#define SECONDS_PER_MONTH	(730 * 3600)

/* What asking for the load will cost, at the settings of now. */
static void
check_cost(ValidationReport *report, const QpsscaleGroup *group)
{
	const QpsscaleSettings *settings = qpsscale_worker_host->settings;
	double		pause_s = Max(settings->interval_ms / 1000.0,
							  settings->metric_resolution_s);
	double		metrics = SECONDS_PER_MONTH / pause_s;

	if (group->provider->metric_price_usd <= 0 ||
		!(group->policy.target_qps > 0))
		return;
	qpsscale_report(report, "cost", "ok",
			psprintf("the load of the group's balancer costs %.0f metrics a month, about %.2f USD",
					 metrics, metrics * group->provider->metric_price_usd),
			"As much again per target group while minutes pass without requests; groups of one load balancer share it.");
}

static void
check_permissions(ValidationReport *report, const QpsscaleGroup *group)
{
	const QsTarget *target = &group->target;

	if (!target->activity.known)
		qpsscale_report_error(report, "activities", "the scaling activities cannot be read",
				  &target->activity_error);
	else if (target->activity.rival)
		qpsscale_report(report, "activities", "fail", target->activity_error.message,
				"Delete it, or disable this group: two autoscalers would fight for the object.");
	else if (target->activity_error.class != QS_ERROR_NONE)
		qpsscale_report(report, "activities", "warn",
				psprintf("another autoscaler on the object would not be noticed: %s: %s",
						 target->activity_error.code,
						 target->activity_error.message),
				"The group scales all the same.");
	else
		qpsscale_report(report, "activities", "ok", target->activity.in_progress ? "readable; one is in progress" : "readable", NULL);
	if (target->tried && target->trial_error.class != QS_ERROR_NONE)
		qpsscale_report_error(report, "write", "the number could not be written",
				  &target->trial_error);
	else if (target->tried)
		qpsscale_report(report, "write", "ok", "a number may be written; none was", NULL);
	if (target->capacity.in_service == QS_UNKNOWN)
		qpsscale_report_error(report, "instances", "the instances cannot be read",
				  &target->in_service_error);
	else
		qpsscale_report(report, "instances", "ok",
				psprintf("%d in service", target->capacity.in_service), NULL);
}

List *
qpsscale_validation_rows(const CycleResult *result, bool *passed)
{
	ValidationReport report = {NIL, true};

	for (int i = 0; i < result->snapshot.n_groups; i++)
	{
		const QpsscaleGroup *group = &result->snapshot.groups[i];

		check_policy(&report, group);
		if (!check_account(&report, group))
			continue;
		check_capacity(&report, group);
		check_load(&report, group);
		qpsscale_validate_signals(&report, group);
		if (group->target.capacity.known)
			check_permissions(&report, group);
		check_cost(&report, group);
		qpsscale_report(&report, "decision", "ok",
				psprintf("now: %s, %s", qs_action_name(group->decision.action),
						 qs_reason_name(group->decision.reason)), NULL);
	}
	*passed = report.passed;
	return report.rows;
}
