/*-------------------------------------------------------------------------
 * forecast_loads.h
 *		The load that the tests of the planning forecast make by a formula,
 *		so that others can make it too.
 *-------------------------------------------------------------------------
 */
#ifndef FORECAST_LOADS_H
#define FORECAST_LOADS_H

#define AHEAD	48

/* A day and a week, and noise that any language computes alike. */
static inline double
load_at(int t)
{
	int64_t		i = t;
	double		noise = (double) ((i * 7919 + (i * i % 1013) * 104729) % 1000) /
		1000 - 0.5;

	return 100 * (2 + sin(2 * M_PI * t / 24) + 0.5 * sin(2 * M_PI * t / 168)) *
		(1 + 0.1 * noise);
}

static inline void
make_load(double *values, int count)
{
	for (int t = 0; t < count; t++)
		values[t] = load_at(t);
}

static inline bool
agree(double a, double b)
{
	return fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b));
}

static inline void
assert_agrees(double seen, double expected, const char *what)
{
	if (!agree(seen, expected))
		fail_msg("%s: saw %.12g, expected %.12g", what, seen, expected);
}

#endif							/* FORECAST_LOADS_H */
