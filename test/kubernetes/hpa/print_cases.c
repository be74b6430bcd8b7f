/*-------------------------------------------------------------------------
 * print_cases.c
 *		The cases of test/unit/hpa_cases.c, as main.go reads them.
 *-------------------------------------------------------------------------
 */
#include "hpa_cases.h"

int
main(void)
{
	hpa_cases_print(stdout);
	return 0;
}
