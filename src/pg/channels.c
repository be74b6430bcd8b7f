/*-------------------------------------------------------------------------
 * channels.c
 *		The networks of a worker process.
 *
 * One QsNet per purpose: a webhook that hangs for its half minute takes no
 * place in the queue of the clouds' calls, and an address that only the
 * credentials may reach is reachable by nothing else.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "net/address.h"
#include "pg/borrowed_credentials.h"
#include "pg/channels.h"
#include "pg/worker.h"
#include "storage/fd.h"

/* A reply with 100 groups and their tags is some 100 kB. */
#define MAX_REPLY_BYTES			((size_t) 16 * 1024 * 1024)

/* Credentials and answers to webhooks are short. */
#define MAX_SHORT_REPLY_BYTES	((size_t) 64 * 1024)

/* At once, where few are needed. */
#define FEW_IN_FLIGHT			8

static WaitEventSet *joined_set = NULL;
static QsNet *nets[QPSSCALE_CHANNELS];

static bool
acquire_fd(void *context)
{
	return AcquireExternalFD();
}

static void
release_fd(void *context)
{
	ReleaseExternalFD();
}

/*
 * The address of the API server of our own cluster is a private one, and it is
 * the cluster that says so, not a user: calls to clouds may go there without
 * its being listed.  What cannot be understood must not spoil the list.
 */
static const char *
hosts_of_clouds(const char *listed)
{
	char	   *cluster = qpsscale_cluster_host();
	QsAllowList *alone;
	QsError		error;

	if (cluster == NULL)
		return listed;
	alone = strchr(cluster, ',') != NULL ? NULL :
		qs_allow_list_new(cluster, &error);
	if (alone == NULL)
		return listed;
	qs_allow_list_free(alone);
	return psprintf("%s,%s", listed == NULL ? "" : listed, cluster);
}

static QsNetOptions
options_of(QpsscaleChannel channel)
{
	const QpsscaleSettings *settings = qpsscale_worker_host->settings;
	bool		cloud = channel == QPSSCALE_CHANNEL_CLOUD;
	QsNetOptions options = {0};

	options.max_in_flight = cloud ? settings->max_in_flight : FEW_IN_FLIGHT;
	options.max_reply_bytes = cloud ? MAX_REPLY_BYTES : MAX_SHORT_REPLY_BYTES;
	options.ca_file = settings->ca_file;
	options.user_agent = "qpsscale/" QPSSCALE_VERSION;
	options.allowed_hosts = cloud ? hosts_of_clouds(settings->allowed_hosts) :
		settings->allowed_hosts;
	options.reach_metadata = channel == QPSSCALE_CHANNEL_CREDENTIALS;
	options.acquire_fd = acquire_fd;
	options.release_fd = release_fd;
	return options;
}

void
qpsscale_channels_start(WaitEventSet *wait_set)
{
	joined_set = wait_set;
}

QsNet *
qpsscale_channel(QpsscaleChannel channel)
{
	QsNetOptions options;
	QsError		error;
	QsNet	   *net = nets[channel];

	if (net != NULL)
		return net;
	options = options_of(channel);
	net = qs_net_new(&options, &error);
	if (net == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("qpsscale could not start its network layer: %s",
						error.message)));
	AddWaitEventToSet(joined_set, WL_SOCKET_READABLE, qs_net_fd(net), NULL,
					  NULL);
	nets[channel] = net;
	return net;
}

void
qpsscale_channels_configure(void)
{
	for (int i = 0; i < QPSSCALE_CHANNELS; i++)
	{
		QsNetOptions options = options_of(i);
		QsError		error;

		if (nets[i] != NULL && !qs_net_configure(nets[i], &options, &error))
			ereport(qpsscale_elevel(WARNING),
					(errmsg("qpsscale keeps its old network settings: %s",
							error.message)));
	}
}

int64
qpsscale_channels_timeout_ms(void)
{
	int64		shortest = -1;

	for (int i = 0; i < QPSSCALE_CHANNELS; i++)
	{
		int64		ms = nets[i] == NULL ? -1 : qs_net_timeout_ms(nets[i]);

		if (ms >= 0 && (shortest < 0 || ms < shortest))
			shortest = ms;
	}
	return shortest;
}

void
qpsscale_channels_drive(void)
{
	for (int i = 0; i < QPSSCALE_CHANNELS; i++)
		if (nets[i] != NULL)
			qs_net_drive(nets[i]);
}
