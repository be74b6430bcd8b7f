/*-------------------------------------------------------------------------
 * confirmation.c
 *		N of the last M observations must ask for a direction before the group
 *		goes there.
 *
 * An observation is an evaluation that saw newer data than the last one that
 * counted: asking three times what the monitor published once is one answer,
 * not three.  Observations are about a group of a certain size; when that
 * changes, whoever changed it, they start anew.  A change that the cloud
 * refused does not, so that it is tried again at once.
 *-------------------------------------------------------------------------
 */
#include "core/decide_parts.h"

static bool
is_wanted(const QsConfirm *confirm)
{
	return confirm->n > 1;
}

static bool
any_wanted(const QsPolicy *policy)
{
	return is_wanted(&policy->scale_up_confirm) ||
		is_wanted(&policy->scale_down_confirm);
}

/* Take over what was observed, where it still is about the same size. */
void
qs_confirmations_keep(const QsPolicy *policy, const QsHistory *history,
					  QsDecision *decision)
{
	const QsConfirmations *before = &history->confirmations;
	QsConfirmations *kept = &decision->confirmations;

	if (!any_wanted(policy))
		return;
	kept->base = decision->base == QS_UNKNOWN ? before->base : decision->base;
	kept->observed_at = before->observed_at;
	kept->up = before->base == kept->base ? before->up : 0;
	kept->down = before->base == kept->base ? before->down : 0;
}

/*
 * A source that does not say when gives a new answer each time.  A recorded
 * time in the future was left by a clock that was set back.
 */
void
qs_confirmations_add(const QsPolicy *policy, QsAction seen, int64_t data_at,
					 int64_t now, QsDecision *decision)
{
	QsConfirmations *kept = &decision->confirmations;

	if (!any_wanted(policy))
		return;
	data_at = data_at == QS_NEVER ? now : qs_time_earlier(data_at, now);
	if (data_at <= kept->observed_at && kept->observed_at <= now)
		return;
	kept->observed_at = data_at;
	kept->up = kept->up << 1 | (seen == QS_ACTION_SCALE_UP);
	kept->down = kept->down << 1 | (seen == QS_ACTION_SCALE_DOWN);
}

/* Is what is wanted confirmed?  Sets what the explanation says of it. */
bool
qs_confirmed(const QsPolicy *policy, QsDecision *decision)
{
	bool		up = decision->wanted == QS_ACTION_SCALE_UP;
	const QsConfirm *confirm = up ? &policy->scale_up_confirm :
		&policy->scale_down_confirm;
	uint32_t	seen = up ? decision->confirmations.up :
		decision->confirmations.down;
	int			m = confirm->m;

	if (!is_wanted(confirm))
		return true;
	if (m > QS_MAX_CONFIRMATIONS)
		m = QS_MAX_CONFIRMATIONS;
	decision->confirm_n = confirm->n < QS_MAX_CONFIRMATIONS ? confirm->n :
		QS_MAX_CONFIRMATIONS;
	if (m < decision->confirm_n)
		m = decision->confirm_n;
	decision->confirm_m = m;
	if (m < QS_MAX_CONFIRMATIONS)
		seen &= (UINT32_C(1) << m) - 1;
	decision->confirmed = __builtin_popcount(seen);
	return decision->confirmed >= decision->confirm_n;
}
