/*-------------------------------------------------------------------------
 * quantity.h
 *		Quantities and durations as Kubernetes writes them.
 *-------------------------------------------------------------------------
 */
#ifndef QS_QUANTITY_H
#define QS_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

/*
 * "250m", "156340n", "12Mi", "1.5", ".5", "1e3", "2E": the grammar of
 * apimachinery's resource.Quantity, up to what an int64 holds.  Rounded up to
 * thousandths, as the HPA rounds it.  false leaves *value alone.
 */
extern bool qs_quantity_parse(const char *text, double *value);

/* Go's time.Duration: "15s", "1m0.5s", "300ms"; not negative. */
extern bool qs_duration_parse(const char *text, int64_t *microseconds);

#endif							/* QS_QUANTITY_H */
