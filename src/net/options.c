/*-------------------------------------------------------------------------
 * options.c
 *		A QsNet's beginning and end, and the options it works with.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "net/net_internal.h"

#define MAX_IN_FLIGHT 1000
#define DEFAULT_REPLY_BYTES ((size_t) 16 * 1024 * 1024)

/*
 * The bundle that libcurl was built with, if it is there; else the usual
 * places.  NULL leaves libcurl to its own devices.
 */
static char *
find_system_ca_file(void)
{
	static const char *const usual[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/ca-bundle.pem",
		"/etc/ssl/cert.pem",
	};
	const curl_version_info_data *info = curl_version_info(CURLVERSION_NOW);
	size_t i;

	/* Never curl_version(): some builds look up the machine's name there. */
	if (info->age >= CURLVERSION_SEVENTH && info->cainfo != NULL &&
		access(info->cainfo, R_OK) == 0)
		return strdup(info->cainfo);
	for (i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (access(usual[i], R_OK) == 0)
			return strdup(usual[i]);
	return NULL;
}

static char *
copy_option(const char *text)
{
	return strdup(text ? text : "");
}

/*
 * Everything that can fail is done before anything is changed.
 */
static bool
apply_options(QsNet *net, const QsNetOptions *options, QsError *error)
{
	QsAllowList *allowed;
	char *ca_file;
	char *user_agent;

	if (options->max_in_flight < 1 || options->max_in_flight > MAX_IN_FLIGHT)
		return qs_error_set(error, QS_ERROR_TERMINAL, "max_in_flight",
							"max_in_flight must be 1 to %d", MAX_IN_FLIGHT);
	allowed = qs_allow_list_new(options->allowed_hosts, error);
	if (allowed == NULL)
		return false;
	ca_file = copy_option(options->ca_file);
	user_agent = copy_option(options->user_agent);
	if (ca_file == NULL || user_agent == NULL)
	{
		free(ca_file);
		free(user_agent);
		qs_allow_list_free(allowed);
		return qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
							"out of memory for the network's options");
	}
	free(net->ca_file);
	free(net->user_agent);
	qs_allow_list_free(net->allowed);
	net->ca_file = ca_file;
	net->user_agent = user_agent;
	net->allowed = allowed;
	net->reach_metadata = options->reach_metadata;
	net->max_in_flight = options->max_in_flight;
	net->max_per_host = options->max_per_host > 0 ? options->max_per_host : 0;
	net->max_reply_bytes = options->max_reply_bytes > 0 ?
		options->max_reply_bytes :
		DEFAULT_REPLY_BYTES;
	if (net->max_reply_bytes > INT64_MAX / 4)
		net->max_reply_bytes = INT64_MAX / 4;
	net->acquire_fd = options->acquire_fd;
	net->release_fd = options->release_fd;
	net->fd_context = options->context;
	net->configuration++;
	net->capacity = net->max_in_flight;
	return true;
}

QsNet *
qs_net_new(const QsNetOptions *options, QsError *error)
{
	static bool curl_is_ready = false;
	QsNet *net = calloc(1, sizeof(*net));
	sigset_t saved;
	bool ok;

	if (net == NULL)
	{
		qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
					 "out of memory for the network layer");
		return NULL;
	}
	if (getrandom(&net->random_state, sizeof(net->random_state),
				  GRND_NONBLOCK) != (ssize_t) sizeof(net->random_state))
		net->random_state = (uint64_t) qs_net_now_ms() << 20 ^
			(uint64_t) getpid();
	net->random_state |= 1; /* xorshift never leaves zero */
	net->mux.epoll_fd = -1;

	qs_signals_block(&saved);
	if (!curl_is_ready)
		curl_is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	ok = curl_is_ready;
	if (!ok)
		qs_error_set(error, QS_ERROR_RESOURCES, "no_memory",
					 "could not initialise libcurl");
	ok = ok && apply_options(net, options, error) &&
		qs_multiplexer_open(&net->mux, error);
	if (ok)
	{
		net->system_ca_file = find_system_ca_file();
		qs_multiplexer_set_limits(&net->mux, net->capacity);
	}
	qs_signals_restore(&saved);
	if (!ok)
	{
		qs_net_free(net);
		return NULL;
	}
	return net;
}

bool
qs_net_configure(QsNet *net, const QsNetOptions *options, QsError *error)
{
	sigset_t saved;
	bool ok;

	qs_signals_block(&saved);
	ok = apply_options(net, options, error);
	if (ok)
	{
		qs_queue_allow(net);
		qs_multiplexer_set_limits(&net->mux, net->capacity);
	}
	qs_signals_restore(&saved);
	return ok;
}

void
qs_net_free(QsNet *net)
{
	sigset_t saved;
	QsCall *call;
	QsReply *reply;

	if (net == NULL)
		return;
	qs_net_cancel_all(net);
	qs_signals_block(&saved);
	qs_transfer_free_all(net);
	qs_multiplexer_close(&net->mux);
	qs_signals_restore(&saved);
	qs_queue_forget(net);
	while ((call = net->free_calls) != NULL)
	{
		net->free_calls = call->next;
		free(call);
	}
	while ((reply = net->free_replies) != NULL)
	{
		net->free_replies = reply->next;
		free(reply->body);
		free(reply);
	}
	qs_priority_free(&net->ready);
	qs_priority_free(&net->paused);
	qs_priority_free(&net->delays);
	qs_priority_free(&net->expiries);
	qs_allow_list_free(net->allowed);
	free(net->ca_file);
	free(net->system_ca_file);
	free(net->user_agent);
	free(net);
}
