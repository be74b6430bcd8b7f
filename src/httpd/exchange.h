/*-------------------------------------------------------------------------
 * exchange.h
 *		One request and its answer.
 *
 * libmicrohttpd 0.9.75 answers requests whose framing is ambiguous (two
 * Content-Lengths, or one beside Transfer-Encoding) and leaves it to us to
 * refuse them; Host is checked against names that are ours, so that a page of
 * another site cannot reach us through a name of its own.
 *-------------------------------------------------------------------------
 */
#ifndef HTTPD_EXCHANGE_H
#define HTTPD_EXCHANGE_H

#include <microhttpd.h>
#include <stdbool.h>

/* MHD_AccessHandlerCallback and MHD_RequestCompletedCallback */
extern enum MHD_Result exchange_handle(void *cls,
									   struct MHD_Connection *connection,
									   const char *url, const char *method,
									   const char *version,
									   const char *upload_data,
									   size_t *upload_data_size,
									   void **context);
extern void exchange_completed(void *cls, struct MHD_Connection *connection,
							   void **context,
							   enum MHD_RequestTerminationCode code);

/* Asks the database how it is, at most each two seconds. */
extern int	exchange_tick(long long now_ms);

/* Any request still under way? */
extern int	exchange_count(void);

#endif							/* HTTPD_EXCHANGE_H */
