/*-------------------------------------------------------------------------
 * assets.c
 *		Files that are served as they are: the dashboard, openapi.json.
 *
 * The assembler takes them in, on whatever platform, and no tool is needed that
 * turns them into C.  Their paths are those that the Makefile builds with.
 *-------------------------------------------------------------------------
 */
#include "assets.h"

#define TAKE_IN(name, path, file, content_type) \
	__asm__(".pushsection .rodata\n" \
			".global asset_" #name "_start, asset_" #name "_end\n" \
			"asset_" #name "_start:\n" \
			".incbin \"src/httpd/assets/" file "\"\n" \
			"asset_" #name "_end:\n" \
			".byte 0\n" \
			".popsection\n");

ASSETS(TAKE_IN)
