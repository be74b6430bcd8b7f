/*-------------------------------------------------------------------------
 * assets.h
 *		Files that are served as they are: the dashboard, openapi.json.
 *
 * They lie in src/httpd/assets/ and are part of the program.  A file that is
 * added there becomes a line here: its name in C, the path of the request, the
 * file, the content type.
 *-------------------------------------------------------------------------
 */
#ifndef HTTPD_ASSETS_H
#define HTTPD_ASSETS_H

#define ASSETS(ASSET) \
	ASSET(index, "/", "index.html", "text/html; charset=utf-8") \
	ASSET(openapi, "/openapi.json", "openapi.json", "application/json")

#define DECLARE_ASSET(name, path, file, content_type) \
	extern const char asset_##name##_start[]; \
	extern const char asset_##name##_end[];

ASSETS(DECLARE_ASSET)

#endif							/* HTTPD_ASSETS_H */
