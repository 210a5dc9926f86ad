/* scan.h - what lies behind the public tomo_scan. */
#ifndef TOMO_MODEL_SCAN_H
#define TOMO_MODEL_SCAN_H

#include "model/context.h"

struct tomo_scan {
    tomo_context *context;
    char *path; /* for messages */
    tomo_volume *volume;
};

#endif
