/* clock.h - time for measuring. */
#ifndef TOMO_BASE_CLOCK_H
#define TOMO_BASE_CLOCK_H

#include <time.h>

/* Seconds of a clock that only moves forward. */
static inline double tomo_seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#endif
