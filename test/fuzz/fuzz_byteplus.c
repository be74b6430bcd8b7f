/*-------------------------------------------------------------------------
 * fuzz_byteplus.c
 *		Replies of BytePlus; cloud_replies.h says what an input is.
 *-------------------------------------------------------------------------
 */
#include "cloud_replies.h"
