/*-------------------------------------------------------------------------
 * conflict.c
 *		A write that somebody else's was faster than.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/conflict.h"
#include "pg/resolution.h"

bool
qpsscale_conflict_read_again(Observer *observer, QpsscaleGroup *group)
{
	QsTarget   *target = &group->target;

	if (target->set_accepted || group->met_conflict ||
		target->set_error.class != QS_ERROR_CONFLICT)
		return false;
	group->met_conflict = true;
	group->rereading = true;
	qpsscale_read_again(observer, group);
	return true;
}

/* Certainly not applied: the first write was refused, and no other was made. */
static bool
refuse(QsError *error, const char *code, const char *message)
{
	qs_error_set(error, QS_ERROR_CONFLICT, code, "%s", message);
	error->refused = true;
	return false;
}

bool
qpsscale_conflict_decide_again(QpsscaleGroup *group,
							   const QpsscaleSettings *settings,
							   void (*decide) (QpsscaleGroup *group))
{
	QsTarget   *target = &group->target;
	QpsscaleGroup *before = palloc(sizeof(*before));
	QsDecision *now = palloc(sizeof(*now));
	bool		same;

	group->rereading = false;
	if (!target->capacity.known)
		return refuse(&target->set_error, target->capacity_error.code,
					  psprintf("the object was changed by somebody else, and could not be read again: %s",
							   target->capacity_error.message));

	/* the verdict of this cycle is written already, and stays */
	*before = *group;
	/* what it was made from is what is known */
	group->watch.known_desired = before->decision.base;
	group->watch.known_version = group->version;
	qpsscale_resolve_open(group, settings);
	decide(group);
	*now = group->decision;
	group->decision = before->decision;
	group->decided_at = before->decided_at;
	group->history = before->history;
	group->open = before->open;
	group->watch = before->watch;
	group->change = before->change;
	group->stock_out = before->stock_out;
	same = now->action == group->decision.action &&
		now->desired == group->decision.desired && !now->dry_run;
	if (!same)
		return refuse(&target->set_error, "Conflict",
					  psprintf("somebody else changed the object (desired capacity %d, now %d); decided again: %s, %s",
							   before->decision.base, now->base,
							   qs_action_name(now->action),
							   qs_reason_name(now->reason)));
	qs_error_clear(&target->set_error);
	group->set_sent = false;
	return true;
}
