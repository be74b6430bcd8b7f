/*-------------------------------------------------------------------------
 * fuzz_aws.c
 *		Replies of AWS; cloud_replies.h says what an input is.
 *-------------------------------------------------------------------------
 */
#define FUZZED_PROVIDER	qs_provider_aws

#include "cloud_replies.h"
