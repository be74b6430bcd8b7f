/*-------------------------------------------------------------------------
 * borrowed_kubernetes.c
 *		What a pod of Kubernetes is given: where its API server is, whom to
 *		trust, and the token of its service account.
 *
 * The token is a file that the cluster replaces long before it expires, and
 * the certificate may be replaced, too: both are read anew each cycle.
 * Variables and paths are those of client-go (rest.InClusterConfig).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <unistd.h>

#include "cloud/credential_source.h"
#include "pg/borrowing.h"

#define SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

/* An address of IPv6 stands in the variable without its brackets. */
char *
qpsscale_cluster_host(void)
{
	const char *host = qpsscale_variable("KUBERNETES_SERVICE_HOST");
	const char *port = qpsscale_variable("KUBERNETES_SERVICE_PORT");

	if (host == NULL || port == NULL)
		return NULL;
	return psprintf(strchr(host, ':') != NULL && host[0] != '[' ?
					"[%s]:%s" : "%s:%s", host, port);
}

/* White space around a token is not its own. */
static bool
take_token(char *text, QsCredentials *credentials)
{
	static const char scheme[] = "Bearer ";
	char	   *begin = text;
	char	   *end = text + strlen(text);

	while (isspace((unsigned char) *begin))
		begin++;
	while (end > begin && isspace((unsigned char) end[-1]))
		*--end = '\0';
	if (begin == end ||
		!qs_credential_value(credentials->authorization + strlen(scheme),
							 QS_TOKEN_MAX, begin))
		return false;
	memcpy(credentials->authorization, scheme, strlen(scheme));
	return true;
}

static QpsscaleLink
read_token(QpsscaleBorrowing *borrowing, const char *path,
		   QsCredentials *credentials)
{
	char	   *text = palloc(QS_TOKEN_MAX);
	char		problem[QPSSCALE_SECRET_PROBLEM];
	ssize_t		length = qpsscale_read_secret_file(NULL, path, false, text,
												   QS_TOKEN_MAX, problem);
	QpsscaleLink link = LINK_THERE;

	credentials->authorization[0] = '\0';
	if (length < 0)
		link = qpsscale_broken(borrowing, problem);
	else if (strlen(text) != (size_t) length ||
			 !take_token(text, credentials))
		link = qpsscale_broken(borrowing, psprintf("file \"%s\" holds no token", path));
	explicit_bzero(text, QS_TOKEN_MAX);
	pfree(text);
	return link;
}

QpsscaleLink
qpsscale_borrow_kubernetes(QpsscaleBorrowing *borrowing,
						   QsCredentials *credentials)
{
	const char *directory = borrowing->service_account_dir != NULL ?
		borrowing->service_account_dir : SERVICE_ACCOUNT_DIR;
	const char *host = qpsscale_cluster_host();

	if (strcmp(borrowing->kind, "chain") != 0 &&
		strcmp(borrowing->kind, "in_cluster") != 0)
		return qpsscale_broken(borrowing, "of Kubernetes there are chain and in_cluster, which are the same: the service account of the server's pod");
	if (borrowing->endpoint == NULL && host == NULL)
		return qpsscale_broken(borrowing, "the server does not run in a pod of Kubernetes: neither KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are set nor the account's endpoint");
	if (borrowing->endpoint == NULL)
		borrowing->endpoint = psprintf("https://%s", host);
	if (borrowing->ca_file == NULL)
	{
		borrowing->ca_file = psprintf("%s/ca.crt", directory);
		if (access(borrowing->ca_file, R_OK) != 0)
			return qpsscale_broken(borrowing, psprintf("file \"%s\" cannot be read (%s)", borrowing->ca_file, strerror(errno)));
	}
	return read_token(borrowing, psprintf("%s/token", directory),
					  credentials);
}
