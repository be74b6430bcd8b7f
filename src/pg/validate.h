/*-------------------------------------------------------------------------
 * validate.h
 *		What qpsscale_validate() says about one group.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_VALIDATE_H
#define QPSSCALE_VALIDATE_H

#include "nodes/pg_list.h"
#include "pg/cycle.h"

/*
 * One JSON text per check {"check", "status", "detail", "hint"}, from a cycle
 * that was run with validate set.  *passed: no check failed.
 */
extern List *qpsscale_validation_rows(const CycleResult *result,
									  bool *passed);

/* What is gathered while a group is looked at. */
typedef struct ValidationReport
{
	List	   *rows;
	bool		passed;
} ValidationReport;

/* status: ok, warn or fail; hint may be NULL. */
extern void qpsscale_report(ValidationReport *report, const char *check,
							const char *status, const char *detail,
							const char *hint);

/* A row that says fail. */
extern void qpsscale_report_error(ValidationReport *report, const char *check,
								  const char *action, const QsError *error);

/* validate_signals.c */
extern void qpsscale_validate_signals(ValidationReport *report,
									  const QpsscaleGroup *group);

/* What to do about what a cloud said. */
extern const char *qpsscale_error_hint(const QsError *error);

#endif							/* QPSSCALE_VALIDATE_H */
