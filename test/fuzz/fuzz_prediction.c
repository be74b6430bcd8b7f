/*-------------------------------------------------------------------------
 * fuzz_prediction.c
 *		Any state that may be read back from the table: refused, or gone on
 *		with, in bounds and in bounded time.
 *
 * Input: lines "@OFFSET NUMBER", which overwrite eight bytes of a state that
 * has learned two days, as a double, or as an integer where NUMBER has a
 * leading "i"; other lines are loads that come next.
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include <math.h>

#include "core/prediction.h"

#define US		INT64_C(1000000)
#define BEGIN	(INT64_C(20000) * 86400)
#define STEP	900
#define LEARNED	192				/* steps: two days */
#define MOST	500

static const QsPredictionPlan plan = {STEP, 1800};

static void
observe(QsPrediction *prediction, int step, double load)
{
	QsObserved	observed = {
		.end_us = (BEGIN + (int64_t) (step + 1) * STEP) * US, .load = load,
		.each = 10, .carried = 100, .share = 0.01, .floor_load = 10
	};

	/* now and then late, and by much */
	observed.carried_at_us = observed.end_us + US;
	observed.late_us = step % 5 * step * STEP * US;

	qs_prediction_observe(prediction, &observed);
}

/* Learned once, copied for each input. */
static const void *
learned_state(size_t size)
{
	static QsPrediction *state = NULL;

	if (state != NULL)
		return state;
	state = qs_prediction_begin(malloc(size), &plan, BEGIN * US + 1, 0.01);
	PROMISE(state != NULL);
	for (int i = 0; i < LEARNED; i++)
		observe(state, i, 100 + 50 * sin(i / 15.0) + i % 7);
	return state;
}

static void
overwrite(char *block, size_t size, const char *text)
{
	char	   *rest;
	unsigned long long at = strtoull(text, &rest, 10);
	double		number;
	long long	integer;

	rest += strspn(rest, " ");
	if (at > size - sizeof(double))
		return;
	if (*rest == 'i')
	{
		integer = strtoll(rest + 1, NULL, 10);
		memcpy(block + at, &integer, sizeof(integer));
	}
	else
	{
		number = strtod(rest, NULL);
		memcpy(block + at, &number, sizeof(number));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Lines		lines = {(const char *) data, size};
	size_t		bytes = qs_prediction_bytes(&plan);
	char	   *block = malloc(bytes);
	bool		checked = false;
	int			step = LEARNED;
	QsPredicted told;

	PROMISE(block != NULL && bytes > 0);
	memcpy(block, learned_state(bytes), bytes);
	while (lines.left > 0 && step < LEARNED + MOST)
	{
		char	   *line = next_line(&lines);

		if (line[0] == '@' && !checked)
			overwrite(block, bytes, line + 1);
		else if (line[0] != '@')
		{
			if (!checked && !qs_prediction_is_sane(block, bytes, &plan,
												   (BEGIN + LEARNED * STEP +
													60) * US))
			{
				free(line);
				break;
			}
			checked = true;
			observe((QsPrediction *) block, step++, strtod(line, NULL));
			qs_prediction_tell((QsPrediction *) block, &told);
			/* whatever was in it: a number, or that there is none */
			PROMISE(!(told.upper_grow < 0) && !(told.upper_shrink < 0));
			PROMISE(told.quantile > 0 && told.quantile < 1);
			PROMISE(told.trust >= QS_TRUST_FULL &&
					told.trust <= QS_TRUST_WORSE_THAN_NONE);
		}
		free(line);
	}
	free(block);
	return 0;
}
