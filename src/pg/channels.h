/*-------------------------------------------------------------------------
 * channels.h
 *		The networks of a worker process.
 *
 * Each channel is a QsNet of its own, with its own connections, queue and
 * address rules, so that what hangs in one costs the others nothing.  A
 * channel comes into being when it is first used.
 *-------------------------------------------------------------------------
 */
#ifndef QPSSCALE_CHANNELS_H
#define QPSSCALE_CHANNELS_H

#include "net/net.h"
#include "pg/compat.h"

typedef enum QpsscaleChannel
{
	QPSSCALE_CHANNEL_CLOUD,		/* clouds' APIs: the calls of a cycle */
	QPSSCALE_CHANNEL_CREDENTIALS,	/* where credentials come from: the only
									 * one that reaches metadata addresses */
	QPSSCALE_CHANNEL_WEBHOOKS	/* alerts */
} QpsscaleChannel;

#define QPSSCALE_CHANNELS	3

/* All channels' descriptors join this set of the worker, in which there must
 * be room for QPSSCALE_CHANNELS more. */
extern void qpsscale_channels_start(WaitEventSet *wait_set);

/* The channel's net, made at its first use; an ERROR if that fails. */
extern QsNet *qpsscale_channel(QpsscaleChannel channel);

/* After a reload of the settings. */
extern void qpsscale_channels_configure(void);

/* Of all channels: how long to wait at most (-1 = for ever), and the work to
 * do after the wait. */
extern int64 qpsscale_channels_timeout_ms(void);
extern void qpsscale_channels_drive(void);

#endif							/* QPSSCALE_CHANNELS_H */
