/*-------------------------------------------------------------------------
 * forecast_bands.h
 *		How far from the forecast the truth may well be: the bands within
 *		which it should be in 80 and in 95 of 100 cases.
 *
 * Both fill the bounds of "ahead" points whose means are set.
 *-------------------------------------------------------------------------
 */
#ifndef QS_FORECAST_BANDS_H
#define QS_FORECAST_BANDS_H

#include "core/forecast.h"
#include "core/forecast_parts.h"

/*
 * From the errors that the model would have made lately.  x is the series as
 * the model was fitted to it: logarithms without their mean.  false when out of
 * memory; *enough is false, and nothing set, where history is too short.
 */
extern bool qs_forecast_bands_of_model(const QsAutoregression *model,
									   QsSeasons seasons, const double *x,
									   int count, int ahead, QsArena *arena,
									   QsForecastPoint *points, bool *enough);

/* From how much the values changed.  room is for "count" values. */
extern void qs_forecast_bands_of_changes(QsSeasons seasons,
										 const double *values, int count,
										 int ahead, double *room,
										 QsForecastPoint *points);

#endif							/* QS_FORECAST_BANDS_H */
