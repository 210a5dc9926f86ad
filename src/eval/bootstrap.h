/* bootstrap.h - how sure means are: percentile intervals and a paired test by drawing rows anew (Efron;
 * Koehn, Statistical Significance Tests for Machine Translation Evaluation, 2004). Rows are drawn within
 * their group, as the number of questions of each type is the benchmark's choice. Private to src/eval. */
#ifndef TOMO_EVAL_BOOTSTRAP_H
#define TOMO_EVAL_BOOTSTRAP_H

#include "base/hooks.h"
#include "tensor/pool.h"

/* What is averaged: values[row * metrics + metric], and the group of each row. */
typedef struct tomo_scored {
    const double *values;
    const int *groups; /* [rows], each below group_count; every group below has a row */
    size_t rows, metrics, group_count;
} tomo_scored;

/* The statistics of a sample, in this order: [group_count + 2][metrics], each group's mean, then the mean
 * over all rows (micro), then the mean of the groups' means (macro). */
size_t tomo_scored_statistics(const tomo_scored *sample);

typedef struct tomo_estimate {
    double mean;
    double low, high; /* 95 % interval */
    double p;         /* of the two-sided test that the mean is 0: for differences of paired rows */
} tomo_estimate;

/* estimates [tomo_scored_statistics]. The same seed draws the same rows for every sample of the same shape,
 * whatever the number of threads. draws 0: means alone, intervals are NaN. */
tomo_status tomo_bootstrap(tomo_pool *pool, const tomo_hooks *hooks, const tomo_scored *sample, size_t draws,
                           uint64_t seed, tomo_estimate *estimates, tomo_error *err);

#endif
