/*-------------------------------------------------------------------------
 * outcome.c
 *		What became of an attempt: curl's code and times put into our words.
 *
 * The rule for "sent": true as soon as a single byte of the request may have
 * left, for then a write without a reply has an unknown outcome.
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/net_internal.h"

/*
 * Is the process out of descriptors?  curl does not tell: a lookup or a CA
 * file that could not be opened looks like a name or a certificate problem.
 */
static bool
descriptors_exhausted(const QsNet *net)
{
	int fd = fcntl(net->mux.epoll_fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return errno == EMFILE;
	(void) close(fd);
	return false;
}

typedef struct CodeMeaning
{
	CURLcode code;
	QsFailure failure;
} CodeMeaning;

static const CodeMeaning meanings[] = {
	{CURLE_URL_MALFORMAT, QS_FAILURE_URL_REFUSED},
	{CURLE_COULDNT_RESOLVE_HOST, QS_FAILURE_RESOLVE},
	{CURLE_COULDNT_RESOLVE_PROXY, QS_FAILURE_RESOLVE},
	{CURLE_COULDNT_CONNECT, QS_FAILURE_CONNECT},
	{CURLE_INTERFACE_FAILED, QS_FAILURE_CONNECT},
	{CURLE_OPERATION_TIMEDOUT, QS_FAILURE_TIMEOUT},
	{CURLE_SSL_CONNECT_ERROR, QS_FAILURE_TLS},
	{CURLE_SSL_SHUTDOWN_FAILED, QS_FAILURE_TLS},
	{CURLE_PEER_FAILED_VERIFICATION, QS_FAILURE_TLS_REFUSED},
	{CURLE_SSL_CERTPROBLEM, QS_FAILURE_TLS_REFUSED},
	{CURLE_SSL_CIPHER, QS_FAILURE_TLS_REFUSED},
	{CURLE_SSL_CACERT_BADFILE, QS_FAILURE_TLS_REFUSED},
	{CURLE_SSL_CRL_BADFILE, QS_FAILURE_TLS_REFUSED},
	{CURLE_SSL_ISSUER_ERROR, QS_FAILURE_TLS_REFUSED},
	{CURLE_SSL_INVALIDCERTSTATUS, QS_FAILURE_TLS_REFUSED},
	{CURLE_SSL_PINNEDPUBKEYNOTMATCH, QS_FAILURE_TLS_REFUSED},
	{CURLE_GOT_NOTHING, QS_FAILURE_RESET},
	{CURLE_SEND_ERROR, QS_FAILURE_RESET},
	{CURLE_RECV_ERROR, QS_FAILURE_RESET},
	{CURLE_HTTP2_STREAM, QS_FAILURE_RESET},
	{CURLE_PARTIAL_FILE, QS_FAILURE_TRUNCATED},
	{CURLE_FILESIZE_EXCEEDED, QS_FAILURE_TOO_LARGE},
	{CURLE_OUT_OF_MEMORY, QS_FAILURE_NO_MEMORY},
};

static QsFailure
failure_of_code(const QsTransfer *transfer, CURLcode code)
{
	const QsReply *reply = transfer->call->reply;
	QsFailure failure = QS_FAILURE_PROTOCOL;
	size_t i;

	if (reply->no_memory)
		return QS_FAILURE_NO_MEMORY;
	if (reply->too_large)
		return QS_FAILURE_TOO_LARGE;
	if (transfer->resend_refused)
		return QS_FAILURE_RESENT;
	if (transfer->stale)
		return QS_FAILURE_STALE;
	for (i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		if (meanings[i].code == code)
			failure = meanings[i].failure;
	if (code == CURLE_UNSUPPORTED_PROTOCOL && !transfer->call->sent)
		failure = QS_FAILURE_URL_REFUSED;
	if (transfer->call->sent)
		return failure;
	if (transfer->no_descriptor)
		return QS_FAILURE_DESCRIPTORS;

	/* A refused address beside others that were tried is not the reason. */
	if (transfer->address_refused &&
		((transfer->sockets == 0 && failure == QS_FAILURE_CONNECT) ||
		 code == CURLE_ABORTED_BY_CALLBACK))
		return transfer->metadata_refused ? QS_FAILURE_METADATA_REFUSED :
			QS_FAILURE_ADDRESS_REFUSED;
	if (failure != QS_FAILURE_TIMEOUT && descriptors_exhausted(transfer->net))
		return QS_FAILURE_DESCRIPTORS;
	return failure;
}

/* How far a request came, for the message of one that took too long. */
static const char *
phase_of(CURL *easy, bool sent)
{
	curl_off_t lookup = 0;
	curl_off_t connect = 0;

	if (sent)
		return "waiting for the reply";
	(void) curl_easy_getinfo(easy, CURLINFO_NAMELOOKUP_TIME_T, &lookup);
	(void) curl_easy_getinfo(easy, CURLINFO_CONNECT_TIME_T, &connect);
	if (connect > 0)
		return "in the TLS handshake";
	return lookup > 0 ? "connecting" : "looking the name up";
}

static void
count_statistics(QsTransfer *transfer)
{
	QsNetStats *stats = &transfer->net->stats;
	CURL *easy = transfer->easy;
	long connects = 0;
	long header_bytes = 0;
	curl_off_t handshake = 0;
	curl_off_t body_bytes = 0;
	curl_off_t total_us = 0;

	(void) curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &connects);
	(void) curl_easy_getinfo(easy, CURLINFO_APPCONNECT_TIME_T, &handshake);
	(void) curl_easy_getinfo(easy, CURLINFO_SIZE_DOWNLOAD_T, &body_bytes);
	(void) curl_easy_getinfo(easy, CURLINFO_HEADER_SIZE, &header_bytes);
	if (connects > 0 && handshake > 0)
		stats->tls_handshakes++;
	stats->bytes_received += body_bytes + header_bytes;
	(void) curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total_us);
	transfer->call->elapsed_ms = (int) (total_us / 1000);
}

/*
 * Writes what became of the attempt into its call, while curl still knows.
 */
void
qs_transfer_conclude(QsTransfer *transfer, CURLcode code)
{
	QsCall *call = transfer->call;
	QsHost *host = call->lane->host;
	CURL *easy = transfer->easy;
	const char *detail = NULL;
	long request_bytes = 0;
	long status = 0;
	long version = 0;
	curl_off_t uploaded = 0;

	count_statistics(transfer);
	(void) curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_bytes);
	(void) curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &uploaded);
	(void) curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	call->sent = request_bytes > 0 || uploaded > 0;
	call->failure = QS_FAILURE_NONE;
	call->reply->status = (int) status;
	if (code == CURLE_OK && status >= 100 && status <= 599)
	{
		(void) curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
		host->http2 = version == CURL_HTTP_VERSION_2_0;
		qs_queue_host_proven(transfer->net, host);
		return;
	}
	if (code == CURLE_OK)
		call->failure = QS_FAILURE_PROTOCOL;
	else
		call->failure = failure_of_code(transfer, code);
	switch (call->failure)
	{
		case QS_FAILURE_TIMEOUT:
			if (qs_net_now_ms() >= call->deadline_ms)
				call->failure = QS_FAILURE_DEADLINE;
			detail = phase_of(easy, call->sent);
			break;
		case QS_FAILURE_TLS:
		case QS_FAILURE_TLS_REFUSED:
			detail = transfer->words;
			break;
		default:
			if (code != CURLE_OK)
				detail = curl_easy_strerror(code);
			break;
	}
	call->fresh = call->failure == QS_FAILURE_RESET ||
		call->failure == QS_FAILURE_RESENT ||
		call->failure == QS_FAILURE_STALE ||
		call->failure == QS_FAILURE_TIMEOUT;
	if (!call->sent && call->failure != QS_FAILURE_DESCRIPTORS &&
		call->failure != QS_FAILURE_STALE)
		host->proven = false;
	free(call->detail);
	call->detail = detail && detail[0] ? strdup(detail) : NULL;
}
