/* curves.h - a picture of the losses of a run: curves.svg and curves.png. */
#ifndef TOMO_TRAIN_CURVES_H
#define TOMO_TRAIN_CURVES_H

#include "base/status.h"

typedef struct tomo_curve_point {
    double x, y;
} tomo_curve_point;

/* Start with {0}. Steps of later stages follow those of earlier ones on one axis. */
typedef struct tomo_curves {
    struct tomo_curve {
        tomo_curve_point *points;
        size_t count, room;
    } lines[2];        /* training, validation */
    double starts[64]; /* where stages begin */
    int stages;
    int64_t stage;
    double last;
    bool failed; /* out of memory */
} tomo_curves;

/* Losses that are no numbers are left out. */
void tomo_curves_add(tomo_curves *curves, int64_t stage, int64_t step, bool validation, double loss);
tomo_status tomo_curves_write(const tomo_curves *curves, const char *folder, tomo_error *err);
void tomo_curves_free(tomo_curves *curves);

#endif
