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

#define SCRIPT	"text/javascript; charset=utf-8"
#define CSS		"text/css; charset=utf-8"

#define ASSETS(ASSET) \
	ASSET(index, "/", "index.html", "text/html; charset=utf-8") \
	ASSET(openapi, "/openapi.json", "openapi.json", "application/json") \
	ASSET(icon, "/assets/icon.svg", "icon.svg", "image/svg+xml") \
	ASSET(style, "/assets/style.css", "style.css", CSS) \
	ASSET(api, "/assets/api.js", "api.js", SCRIPT) \
	ASSET(app, "/assets/app.js", "app.js", SCRIPT) \
	ASSET(backtest, "/assets/backtest.js", "backtest.js", SCRIPT) \
	ASSET(chart, "/assets/chart.js", "chart.js", SCRIPT) \
	ASSET(elements, "/assets/elements.js", "elements.js", SCRIPT) \
	ASSET(group, "/assets/group.js", "group.js", SCRIPT) \
	ASSET(groups, "/assets/groups.js", "groups.js", SCRIPT) \
	ASSET(lane, "/assets/lane.js", "lane.js", SCRIPT) \
	ASSET(lists, "/assets/lists.js", "lists.js", SCRIPT) \
	ASSET(why, "/assets/why.js", "why.js", SCRIPT) \
	ASSET(words, "/assets/words.js", "words.js", SCRIPT) \
	ASSET(uplot, "/assets/uPlot.iife.min.js", "uPlot.iife.min.js", SCRIPT) \
	ASSET(uplot_style, "/assets/uPlot.min.css", "uPlot.min.css", CSS) \
	ASSET(uplot_license, "/assets/uPlot.LICENSE.txt", "uPlot.LICENSE.txt", \
		  "text/plain; charset=utf-8")

#define DECLARE_ASSET(name, path, file, content_type) \
	extern const char asset_##name##_start[]; \
	extern const char asset_##name##_end[];

ASSETS(DECLARE_ASSET)

#endif							/* HTTPD_ASSETS_H */
