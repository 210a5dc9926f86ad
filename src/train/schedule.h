/* schedule.h - the learning rate of each step, as transformers' schedulers compute it. */
#ifndef TOMO_TRAIN_SCHEDULE_H
#define TOMO_TRAIN_SCHEDULE_H

#include "base/status.h"

typedef enum tomo_schedule_kind {
    TOMO_SCHEDULE_CONSTANT, /* with warm-up: "constant_with_warmup" */
    TOMO_SCHEDULE_LINEAR,
    TOMO_SCHEDULE_COSINE
} tomo_schedule_kind;

typedef struct tomo_schedule {
    tomo_schedule_kind kind;
    int64_t warmup; /* steps of rising linearly from 0; the first step then has rate 0 */
    int64_t steps;  /* of the whole run, warm-up included */
    double least;   /* cosine: what it falls to, as a fraction of the highest rate */
} tomo_schedule;

/* "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr". False: none of them. */
bool tomo_schedule_named(const char *name, tomo_schedule_kind *kind);

/* What the highest rate is multiplied with at step `step`, counted from 0. */
double tomo_schedule_factor(const tomo_schedule *schedule, int64_t step);

#endif
