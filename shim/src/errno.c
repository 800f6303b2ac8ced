#include "errno.h"

extern int *__errno_location(void) WEAK;

int fail(long error)
{
	if (__errno_location != NULL)
		*__errno_location() = (int)error;
	return -1;
}
