/* look.h - a cheap look at a slice before the encoder sees it: how much its pixels differ from those of the
 * last kept slice. A slice that hardly differs is dropped unseen ("early"), at the cost of resizing it. */
#ifndef TOMO_MODEL_LOOK_H
#define TOMO_MODEL_LOOK_H

#include "base/status.h"

#include <stdint.h>

/* The pixels that the encoder would see are compared cell by cell, a cell being one patch: the mean over its
 * blocks of 4 x 4 pixels of the absolute difference between their means, in grey levels of 0..1. Small
 * lesions fill few cells, so what counts is the n-th largest of these, with n as the pruning guard counts
 * patches. */
typedef struct tomo_look {
    int64_t size, patch; /* pixels of the image's and of a patch's side */
    int64_t rank;        /* n, at least 1 */
    float std[3];        /* of the encoder's normalisation, to have grey levels again */
    float *cells;        /* [cells] scratch */
    float *last;         /* [3, size, size]: the last kept slice */
} tomo_look;

tomo_status tomo_look_init(tomo_look *look, int64_t size, int64_t patch, int64_t rank, const float std[3],
                           tomo_error *err);
void tomo_look_free(tomo_look *look);
/* pixels [3, size, size], normalised: the last kept slice from now on. */
void tomo_look_keep(tomo_look *look, const float *pixels);
/* How much pixels differ from the last kept slice's. */
float tomo_look_difference(tomo_look *look, const float *pixels);

#endif
