// HotSpot's own flags.
#ifndef TRUESIZE_HOTSPOT_H
#define TRUESIZE_HOTSPOT_H

#include "types.h"

// active_processor_count_flag returns the value of -XX:ActiveProcessorCount,
// 0 when the JVM was given none or does not tell.
HIDDEN int active_processor_count_flag(void);

#endif
