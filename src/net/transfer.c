/*-------------------------------------------------------------------------
 * transfer.c
 *		One attempt of one call: a curl easy handle, its options and
 *		callbacks.  What became of it is read in outcome.c.
 *
 * Easy handles are kept and used again; options that never change are set
 * once, those of qs_net_configure() when they changed, and only what differs
 * from call to call is set for each.  Header lists are built in memory that
 * stays with the handle.
 *
 * curl's callbacks record and return.  They never throw, log or allocate
 * without looking at the result.
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net_internal.h"

/* Longer than any pause between two cycles; a connection that the server
 * closed meanwhile is noticed before it is used. */
#define IDLE_CONNECTION_SECONDS 900

/* How long parsed certificates are kept: a system's are many, an account's are
 * few and may be replaced while we run (those of a cluster are). */
#define SYSTEM_CA_SECONDS 86400L
#define OWN_CA_SECONDS 60L

static size_t
on_body(char *data, size_t size, size_t count, void *context)
{
	QsTransfer *transfer = context;
	size_t length = size * count;

	if (!qs_reply_append(transfer->call->reply, data, length,
						 transfer->max_reply_bytes))
		return length == 0 ? 1 : 0;
	return length;
}

static size_t
on_header(char *data, size_t size, size_t count, void *context)
{
	QsTransfer *transfer = context;
	size_t length = size * count;

	if (!qs_reply_header(transfer->call->reply, data, length))
		return length == 0 ? 1 : 0;
	return length;
}

/* A metadata service is reached by whoever may, and by nobody else, listed
 * or not: it gives this host's credentials to whoever asks. */
static bool
may_reach(QsTransfer *transfer, QsAddressClass class)
{
	const QsHost *host = transfer->call->lane->host;

	if (class == QS_ADDRESS_METADATA ? host->metadata :
		class == QS_ADDRESS_PUBLIC || host->allowed)
		return true;
	transfer->address_refused = true;
	transfer->metadata_refused = class == QS_ADDRESS_METADATA;
	return false;
}

/*
 * The place where the address that was really resolved is judged, and where
 * descriptors are accounted for.
 */
static curl_socket_t
on_open_socket(void *context, curlsocktype purpose,
			   struct curl_sockaddr *address)
{
	QsTransfer *transfer = context;
	QsNet *net = transfer->net;
	int fd;

	if (purpose != CURLSOCKTYPE_IPCXN ||
		!may_reach(transfer,
				   qs_address_class(&address->addr, address->addrlen)))
		return CURL_SOCKET_BAD;
	if (net->acquire_fd != NULL && !net->acquire_fd(net->fd_context))
	{
		transfer->no_descriptor = true;
		return CURL_SOCKET_BAD;
	}
	fd = socket(address->family, address->socktype | SOCK_CLOEXEC,
				address->protocol);
	if (fd < 0)
	{
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			errno == ENOMEM)
			transfer->no_descriptor = true;
		if (net->release_fd != NULL)
			net->release_fd(net->fd_context);
		return CURL_SOCKET_BAD;
	}
	transfer->sockets++;
	net->stats.connections_opened++;
	net->stats.connections_open++;
	return fd;
}

/* May come long after the transfer that opened the socket is gone. */
static int
on_close_socket(void *context, curl_socket_t fd)
{
	QsNet *net = context;

	net->stats.connections_open--;
	if (net->release_fd != NULL)
		net->release_fd(net->fd_context);
	return close(fd);
}

#ifdef QS_CURL_HAS_PREREQ
/*
 * Has an idle connection ended, or does it say what nobody asked for?  Newer
 * versions of libcurl (8.22 is one) do not look when it was used a moment ago,
 * and a write sent into it would have an unknown outcome.  Over HTTP/2 the
 * other side may have something to say at any time.
 */
static bool
connection_is_stale(const QsTransfer *transfer)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	long connects = 1;
	char byte;

	if (transfer->call->lane->host->http2 ||
		curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS,
						  &connects) != CURLE_OK ||
		connects > 0 ||
		curl_easy_getinfo(transfer->easy, CURLINFO_ACTIVESOCKET,
						  &fd) != CURLE_OK ||
		fd == CURL_SOCKET_BAD)
		return false;
	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
		(errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

/*
 * Last stop before a request goes out, on new and on reused connections.
 *
 * curl sends a request again by itself when a reused connection ends without
 * a single byte of reply.  The server may have acted on the first copy, and a
 * cloud's changing calls may well be GET, so the method says nothing: what
 * was sent once is never sent again without the caller's knowledge.
 *
 * The address is looked at once more because a connection may date from
 * before a reload that took its host off the list.
 */
static int
on_request(void *context, char *address, char *local_address, int port,
		   int local_port)
{
	QsTransfer *transfer = context;
	QsHost *host = transfer->call->lane->host;
	long sent = 0;

	(void) local_address;
	(void) port;
	(void) local_port;
	if (curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE,
						  &sent) != CURLE_OK ||
		sent > 0)
	{
		transfer->resend_refused = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if (connection_is_stale(transfer))
	{
		transfer->stale = true;
		return CURL_PREREQFUNC_ABORT;
	}
	if (!may_reach(transfer, qs_address_class_of_text(address)))
		return CURL_PREREQFUNC_ABORT;
	qs_queue_host_proven(transfer->net, host);
	return CURL_PREREQFUNC_OK;
}
#endif

/* Options that hold for the life of a handle. */
static bool
set_fixed_options(QsTransfer *transfer)
{
	CURL *easy = transfer->easy;
	bool ok = true;

#define SET(option, value) \
	ok = curl_easy_setopt(easy, option, value) == CURLE_OK && ok
#define TRY(option, value) \
	((void) curl_easy_setopt(easy, option, value))

	SET(CURLOPT_PRIVATE, transfer);
	SET(CURLOPT_ERRORBUFFER, transfer->words);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, transfer);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, transfer);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
	SET(CURLOPT_OPENSOCKETDATA, transfer);
	SET(CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
	SET(CURLOPT_CLOSESOCKETDATA, transfer->net);
#ifdef QS_CURL_HAS_PREREQ
	SET(CURLOPT_PREREQFUNCTION, on_request);
	SET(CURLOPT_PREREQDATA, transfer);
#else
	SET(CURLOPT_FRESH_CONNECT, 1L);
#endif
#ifdef QS_CURL_HAS_PROTOCOLS_STR
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
#else
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS));
	SET(CURLOPT_REDIR_PROTOCOLS, 0L);
#endif
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	/* Nobody may compress then (RFC 9110, 12.5.3); who does is understood. */
	SET(CURLOPT_ACCEPT_ENCODING, "identity");
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	TRY(CURLOPT_TCP_NODELAY, 1L);
	TRY(CURLOPT_TCP_KEEPALIVE, 1L);
	TRY(CURLOPT_TCP_KEEPIDLE, 30L);
	TRY(CURLOPT_TCP_KEEPINTVL, 10L);
	TRY(CURLOPT_MAXAGE_CONN, (long) IDLE_CONNECTION_SECONDS);
#ifdef QS_CURL_HAS_QUICK_EXIT
	TRY(CURLOPT_QUICK_EXIT, 1L);
#endif
	return ok;
}

/*
 * One bundle file and no directory of certificates: with a directory libcurl
 * cannot keep what it has parsed, which costs 32 ms for each connection
 * (Debian 12).
 */
static bool
set_ca_file(QsTransfer *transfer, const char *ca_file)
{
	QsNet *net = transfer->net;
	CURL *easy = transfer->easy;
	bool ok = true;

	if (ca_file == NULL || ca_file[0] == '\0')
		ca_file = net->ca_file;
	if (ca_file == NULL || ca_file[0] == '\0')
		ca_file = net->system_ca_file;
	if (ca_file == NULL)
	{
		/*
		 * A system without a bundle: what libcurl was built with, said
		 * again, since the call before may have had a file of its own.
		 */
		const curl_version_info_data *info =
			curl_version_info(CURLVERSION_NOW);

		SET(CURLOPT_CAINFO, info->cainfo);
		SET(CURLOPT_CAPATH, info->capath);
		return ok;
	}
	SET(CURLOPT_CAINFO, ca_file);
	SET(CURLOPT_CAPATH, NULL);
	return ok;
}

/*
 * curl reads the caller's memory during the handshake and copies no key.  A
 * connection is used again only by calls with the same certificate.
 */
static bool
set_client_certificate(QsTransfer *transfer, const QsCall *call)
{
	CURL *easy = transfer->easy;
	bool has_one = call->client_certificate != NULL;
	bool ok = true;
	struct curl_blob certificate = {.flags = CURL_BLOB_NOCOPY};
	struct curl_blob key = {.flags = CURL_BLOB_NOCOPY};

	if (!has_one && !transfer->own_certificate)
		return true;
	if (has_one)
	{
		certificate.data = (void *) call->client_certificate;
		certificate.len = strlen(call->client_certificate);
		key.data = (void *) call->client_key;
		key.len = strlen(call->client_key);
	}
	SET(CURLOPT_SSLCERT_BLOB, has_one ? &certificate : NULL);
	SET(CURLOPT_SSLKEY_BLOB, has_one ? &key : NULL);
	transfer->own_certificate = has_one;
	return ok;
}

/* Options of qs_net_configure(), and the CA file, which a call may name. */
static bool
set_configured_options(QsTransfer *transfer, const QsCall *call)
{
	QsNet *net = transfer->net;
	CURL *easy = transfer->easy;
	bool own_ca = call->ca_file != NULL && call->ca_file[0] != '\0';
	bool is_new = transfer->configuration != net->configuration;
	bool ok = true;

	if (is_new)
	{
		SET(CURLOPT_USERAGENT, net->user_agent);
		SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t) net->max_reply_bytes);
		transfer->max_reply_bytes = net->max_reply_bytes;
		transfer->configuration = ok ? net->configuration : -1;
	}
	if (is_new || own_ca || transfer->own_ca)
	{
		ok = set_ca_file(transfer, call->ca_file) && ok;
#ifdef QS_CURL_HAS_CA_CACHE
		TRY(CURLOPT_CA_CACHE_TIMEOUT,
			own_ca ? OWN_CA_SECONDS : SYSTEM_CA_SECONDS);
#endif
		transfer->own_ca = own_ca;
	}
	return ok;
}

static struct curl_slist *
add_header(QsTransfer *transfer, int *count, size_t *used, const char *name,
		   const char *value)
{
	struct curl_slist *node = &transfer->headers[*count];
	char *text = transfer->header_text + *used;
	size_t name_length = strlen(name);
	size_t value_length = value ? strlen(value) : 0;

	node->data = text;
	node->next = NULL;
	if (*count > 0)
		transfer->headers[*count - 1].next = node;
	memcpy(text, name, name_length);
	text += name_length;
	if (value != NULL && value_length == 0)
		*text++ = ';'; /* curl's spelling of an empty value */
	else
	{
		*text++ = ':';
		if (value_length > 0)
			*text++ = ' ';
	}
	memcpy(text, value ? value : "", value_length);
	text += value_length;
	*text++ = '\0';
	*used = (size_t) (text - transfer->header_text);
	(*count)++;
	return node;
}

static bool
reserve_headers(QsTransfer *transfer, const QsHttpRequest *request)
{
	int nodes = request->n_headers + 2;
	size_t bytes = 64;
	int i;

	for (i = 0; i < request->n_headers; i++)
		bytes += strlen(request->headers[i].name) +
			strlen(request->headers[i].value) + 3;
	if (nodes > transfer->headers_capacity)
	{
		void *grown = realloc(transfer->headers,
							  (size_t) nodes * 2 *
								  sizeof(*transfer->headers));

		if (grown == NULL)
			return false;
		transfer->headers = grown;
		transfer->headers_capacity = nodes * 2;
	}
	if (bytes > transfer->header_text_capacity)
	{
		/* Not realloc(): the old text may hold a token. */
		char *larger = malloc(bytes * 2);

		if (larger == NULL)
			return false;
		free(transfer->header_text);
		transfer->header_text = larger;
		transfer->header_text_capacity = bytes * 2;
	}
	return true;
}

/*
 * Besides the request's own headers: no "Expect: 100-continue", which costs a
 * round trip, and no Content-Type that the caller did not choose.
 * Content-Length is curl's business.
 */
static bool
set_headers(QsTransfer *transfer, const QsHttpRequest *request)
{
	CURL *easy = transfer->easy;
	bool has_type = request->body == NULL &&
		strcmp(request->method, "POST") != 0;
	size_t used = 0;
	int count = 0;
	int i;

	if (!reserve_headers(transfer, request))
		return false;
	for (i = 0; i < request->n_headers; i++)
	{
		const QsHttpHeader *header = &request->headers[i];

		if (strcasecmp(header->name, "Content-Length") == 0)
			continue;
		if (strcasecmp(header->name, "Content-Type") == 0)
			has_type = true;
		(void) add_header(transfer, &count, &used, header->name,
						  header->value);
	}
	(void) add_header(transfer, &count, &used, "Expect", NULL);
	if (!has_type)
		(void) add_header(transfer, &count, &used, "Content-Type", NULL);
	return curl_easy_setopt(easy, CURLOPT_HTTPHEADER,
							transfer->headers) == CURLE_OK;
}

static bool
set_method(QsTransfer *transfer, const QsHttpRequest *request)
{
	CURL *easy = transfer->easy;
	bool get = strcmp(request->method, "GET") == 0;
	bool post = strcmp(request->method, "POST") == 0;
	bool head = strcmp(request->method, "HEAD") == 0;
	bool ok = true;

	if (post || (request->body != NULL && !head))
	{
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE,
			(curl_off_t) (request->body ? request->body_length : 0));
		SET(CURLOPT_POSTFIELDS, request->body ? request->body : "");
		SET(CURLOPT_CUSTOMREQUEST, post ? NULL : request->method);
	}
	else
	{
		SET(CURLOPT_HTTPGET, 1L);
		if (head)
			SET(CURLOPT_NOBODY, 1L);
		SET(CURLOPT_CUSTOMREQUEST, get || head ? NULL : request->method);
	}
	return ok;
}

static bool
set_call_options(QsTransfer *transfer, QsCall *call, int64_t now_ms)
{
	CURL *easy = transfer->easy;
	bool https = call->lane->host->url.https;
	int64_t left = call->deadline_ms - now_ms;
	long timeout = call->request_timeout_ms;
	bool ok = true;

	if (left < timeout)
		timeout = left < 1 ? 1 : (long) left;
	SET(CURLOPT_URL, call->request->url);
	SET(CURLOPT_TIMEOUT_MS, timeout);
	SET(CURLOPT_CONNECTTIMEOUT_MS,
		call->connect_timeout_ms > 0 && call->connect_timeout_ms < timeout ?
			(long) call->connect_timeout_ms :
			timeout);
#ifdef QS_CURL_HAS_PREREQ

	/*
	 * What cost this call its connection (a server that gives each a number
	 * of requests, a firewall that forgot them all) is likely true of the
	 * other idle ones: three attempts must not meet three of those.
	 */
	SET(CURLOPT_FRESH_CONNECT, call->fresh ? 1L : 0L);
#endif

	/*
	 * Waiting for a connection that may turn out to be HTTP/2 pays over TLS,
	 * where the handshake tells.  Over plain http only the first reply would,
	 * and all calls would queue behind it.
	 */
	SET(CURLOPT_HTTP_VERSION, https ? (long) CURL_HTTP_VERSION_2TLS : (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_PIPEWAIT, https ? 1L : 0L);
	return set_method(transfer, call->request) && ok;
}

static QsTransfer *
new_transfer(QsNet *net)
{
	QsTransfer *transfer = net->free_transfers;

	if (transfer != NULL)
	{
		net->free_transfers = transfer->next;
		return transfer;
	}
	transfer = calloc(1, sizeof(*transfer));
	if (transfer == NULL)
		return NULL;
	transfer->net = net;
	transfer->configuration = -1;
	transfer->easy = curl_easy_init();
	if (transfer->easy == NULL || !set_fixed_options(transfer))
	{
		curl_easy_cleanup(transfer->easy);
		free(transfer);
		return NULL;
	}
	return transfer;
}

static QsReply *
new_reply(QsNet *net)
{
	QsReply *reply = net->free_replies;

	if (reply != NULL)
	{
		net->free_replies = reply->next;
		net->n_free_replies--;
	}
	else
		reply = calloc(1, sizeof(*reply));
	if (reply != NULL)
		qs_reply_clear(reply);
	return reply;
}

/*
 * Hands the call to curl.  false: call->failure says why; the caller gives
 * the host's place back in either case when the call is over.
 */
bool
qs_transfer_start(QsNet *net, QsCall *call, int64_t now_ms)
{
	QsTransfer *transfer;

	call->attempts++;
	call->sent = false;
	call->failure = QS_FAILURE_NO_MEMORY;
	if (!call->lane->host->url.https && !call->lane->host->allowed &&
		!call->lane->host->metadata)
	{
		call->failure = QS_FAILURE_URL_REFUSED;
		return false;
	}
	if (call->reply == NULL)
		call->reply = new_reply(net);
	transfer = call->reply ? new_transfer(net) : NULL;
	if (transfer == NULL)
		return false;
	transfer->call = call;
	call->transfer = transfer;
	transfer->sockets = 0;
	transfer->address_refused = transfer->metadata_refused =
		transfer->no_descriptor = transfer->resend_refused =
		transfer->stale = false;
	transfer->words[0] = '\0';

	transfer->prev_running = NULL;
	transfer->next_running = net->running;
	if (net->running != NULL)
		net->running->prev_running = transfer;
	net->running = transfer;
	net->in_flight++;
	if (!set_configured_options(transfer, call) ||
		!set_client_certificate(transfer, call) ||
		!set_call_options(transfer, call, now_ms) ||
		!set_headers(transfer, call->request) ||
		curl_multi_add_handle(net->mux.multi, transfer->easy) != CURLM_OK)
	{
		qs_transfer_release(transfer);
		return false;
	}
	call->failure = QS_FAILURE_NONE;
	call->state = QS_CALL_RUNNING;
	net->stats.requests++;
	return true;
}

QsTransfer *
qs_transfer_of(CURL *easy)
{
	char *private = NULL;

	if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private) != CURLE_OK)
		return NULL;
	return (QsTransfer *) private;
}

/*
 * Takes the handle away from curl and puts it back for the next call.  An
 * attempt that was still under way loses its connection.
 */
void
qs_transfer_release(QsTransfer *transfer)
{
	QsNet *net = transfer->net;

	(void) curl_multi_remove_handle(net->mux.multi, transfer->easy);
	if (transfer->next_running != NULL)
		transfer->next_running->prev_running = transfer->prev_running;
	if (transfer->prev_running != NULL)
		transfer->prev_running->next_running = transfer->next_running;
	else
		net->running = transfer->next_running;
	net->in_flight--;
	if (transfer->header_text != NULL)
		explicit_bzero(transfer->header_text, transfer->header_text_capacity);
	transfer->call->transfer = NULL;
	transfer->call = NULL;
	transfer->next = net->free_transfers;
	net->free_transfers = transfer;
}

void
qs_transfer_free_all(QsNet *net)
{
	QsTransfer *transfer;

	while ((transfer = net->free_transfers) != NULL)
	{
		net->free_transfers = transfer->next;
		curl_easy_cleanup(transfer->easy);
		free(transfer->headers);
		free(transfer->header_text);
		free(transfer);
	}
}
