/*-------------------------------------------------------------------------
 * last_observed.c
 *		What the last calls said, for as long as nothing newer is published.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pg/last_observed.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct KnownLoad
{
	int64		group_id;		/* key */
	int64		version;
	int64		bucket;			/* publishing interval it was asked in */
	QsLoad		load;
} KnownLoad;

static HTAB *known_loads = NULL;

typedef struct ReadingKey
{
	int64		group_id;
	char		signal[NAMEDATALEN];
} ReadingKey;

typedef struct KnownReading
{
	ReadingKey	key;
	int64		version;
	int64		bucket;
	QsReading	reading;
} KnownReading;

static HTAB *known_readings = NULL;

static void
make_known_loads(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(int64);
	control.entrysize = sizeof(KnownLoad);
	control.hcxt = TopMemoryContext;
	known_loads = hash_create("qpsscale loads", 256, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

bool
qpsscale_reuse_load(const Observer *observer, QpsscaleGroup *group)
{
	KnownLoad  *known;

	if (observer->fresh || known_loads == NULL)
		return false;
	known = hash_search(known_loads, &group->id, HASH_FIND, NULL);
	if (known == NULL || known->version != group->version ||
		known->bucket != observer->bucket)
		return false;
	group->target.load = known->load;
	group->load_reused = true;
	return true;
}

static void
keep_load(const Observer *observer, const QpsscaleGroup *group)
{
	KnownLoad  *known;

	if (group->load_reused || group->target.load_error.class != QS_ERROR_NONE)
		return;
	if (known_loads == NULL)
		make_known_loads();
	known = hash_search(known_loads, &group->id, HASH_ENTER, NULL);
	known->version = group->version;
	known->bucket = observer->bucket;
	known->load = group->target.load;
}

static HTAB *
make_known_readings(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(ReadingKey);
	control.entrysize = sizeof(KnownReading);
	control.hcxt = TopMemoryContext;
	return hash_create("qpsscale readings", 256, &control,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
reading_key(ReadingKey *key, const QpsscaleGroup *group, int i)
{
	memset(key, 0, sizeof(*key));
	key->group_id = group->id;
	strlcpy(key->signal, group->signals[i].name, sizeof(key->signal));
}

bool
qpsscale_reuse_reading(const Observer *observer, QpsscaleGroup *group, int i)
{
	GroupSignal *source = &group->sources[i];
	ReadingKey	key;
	KnownReading *known;

	if (!source->provider->signals_follow_resolution || observer->fresh ||
		known_readings == NULL)
		return false;
	reading_key(&key, group, i);
	known = hash_search(known_readings, &key, HASH_FIND, NULL);
	if (known == NULL || known->version != group->version ||
		known->bucket != observer->bucket)
		return false;
	source->target.reading = known->reading;
	source->reused = true;
	return true;
}

static void
keep_readings(const Observer *observer, const QpsscaleGroup *group)
{
	for (int i = 0; i < group->n_signals; i++)
	{
		const GroupSignal *source = &group->sources[i];
		ReadingKey	key;
		KnownReading *known;

		if (!source->batched || source->reused ||
			!source->provider->signals_follow_resolution ||
			source->target.reading_error.class != QS_ERROR_NONE ||
			source->target.reading.n_pods > 0)
			continue;
		if (known_readings == NULL)
			known_readings = make_known_readings();
		reading_key(&key, group, i);
		known = hash_search(known_readings, &key, HASH_ENTER, NULL);
		known->version = group->version;
		known->bucket = observer->bucket;
		known->reading = source->target.reading;
	}
}

void
qpsscale_keep_observed(const Observer *observer, const QpsscaleGroup *group)
{
	keep_load(observer, group);
	keep_readings(observer, group);
}

/* Starts anew where most are of groups that are gone. */
static void
bound(HTAB **known, long n)
{
	if (*known == NULL || hash_get_num_entries(*known) <= 2 * n + 1000)
		return;
	hash_destroy(*known);
	*known = NULL;
}

void
qpsscale_bound_last_observed(const QpsscaleGroup *groups, int n_groups)
{
	long		n_signals = 0;

	for (int i = 0; i < n_groups; i++)
		n_signals += groups[i].n_signals;
	bound(&known_loads, n_groups);
	bound(&known_readings, n_signals);
}
